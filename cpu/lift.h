/* Lifting: one decoded instruction becomes uops.
 *
 * A lifter is named in the instruction's row and picks up an argument there. Most are short: get
 * the operands into registers, emit the operation, put the result back. The functions below do the
 * common parts. A lifter that finds the instruction undefined in this mode calls lift_ud().
 *
 * To add an instruction: a row in isa/table_*.def, and a lifter here only if no present one fits.
 */
#ifndef ISHI_CPU_LIFT_H
#define ISHI_CPU_LIFT_H

#include "cpu/uop.h"

struct lift;
struct vec_op;

/* What the `n` of some lifters means. */
enum alu_op {
    ALU_ADD,
    ALU_OR,
    ALU_ADC,
    ALU_SBB,
    ALU_AND,
    ALU_SUB,
    ALU_XOR,
    ALU_CMP,  /* SUB without a result */
    ALU_TEST, /* AND without a result */
    ALU_INC,
    ALU_DEC
};
enum shift_op { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAR };
enum string_op { STR_MOVS, STR_CMPS, STR_STOS, STR_LODS, STR_SCAS };
enum flag_op { FLAG_CLC, FLAG_STC, FLAG_CMC, FLAG_CLD, FLAG_STD };

/* The last column of a row. */
struct lift_arg {
    unsigned n;       /* a number: ALU operation, condition, size … */
    uop_helper *help; /* lifter `help`: the C function that is the instruction */
    const void *vec;  /* lifters of lift_vec.c: function by row, type in vec.h */
    const void *x87;  /* lifters of lift_x87.c: function by row, type in x87.h */
};

typedef void lift_fn(struct lift *l);

struct lift {
    const struct insn *in;
    const struct lift_arg *arg;
    uint32_t key;    /* KEY_* the block is lifted for */
    uint64_t ip_off; /* instruction's own offset from the block's first byte */
    uint8_t temps;   /* temporaries given out in this instruction */
    uint8_t insn_index;
    bool ends;       /* set by a lifter: the block ends after this instruction */
    bool overflow;   /* no room left: the instruction does not join this block */
    struct uop *out; /* where uops are appended */
    unsigned count, capacity;
};

/* Appends a uop with every other field zero and R_ZERO where a register is not named. */
struct uop *lift_emit(struct lift *l, unsigned op, unsigned dst, unsigned a, unsigned b,
                      int64_t imm);

/* A fresh temporary. */
unsigned lift_temp(struct lift *l);

/* Raises an exception without error code as this instruction's whole effect. */
void lift_raise(struct lift *l, unsigned vector);
void lift_ud(struct lift *l);

/* Fills a uop's addressing fields (a, b, scale, seg, asize, imm) from the memory operand. The uop's
 * op must be a memory form that lift_mem_op() chose for the segment and address size. */
void lift_address(struct lift *l, struct uop *u);

/* Emits uops after which register `dst` holds the memory operand's offset in its segment, cut to
 * the address size (LEA without the operand-size cut). */
void lift_ea(struct lift *l, unsigned dst);

/* Emits a call of `fn`, for instructions that are C functions:
 *   r[R_T0]   offset of the memory operand, if there is one (u->seg its segment)
 *   u->size   operand size in bytes (in->osize), or the row's .n if that isn't 0 (byte forms of IN,
 *             OUT, INS, OUTS); u->asize address size
 *   u->dst    in->modrm's reg field with REX.R; u->a the r/m register when it is not memory, and
 *             u->aux is 1 for memory, 0 for a register; in its high byte in->rep (INS, OUTS). For a
 *             fixed segment register (PUSH ES) u->dst is its number
 *   u->imm    the immediate (the first W_I, W_J or W_A operand)
 *   r[R_T1]   in->imm2: a far pointer's selector, ENTER's level
 * Before the call s.rip and next_rip are those of the instruction. */
void lift_help(struct lift *l);
struct uop *lift_call(struct lift *l, uop_helper *fn);

#endif
