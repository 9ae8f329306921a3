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
    uop_helper *x87;  /* lifter `x87`: the quick form of `help` (x87_quick.c), or NULL */
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
    bool parallel;   /* locked accesses are to be atomic: locked.h */
    bool turns;      /* CPUs take turns: h_exchanged() is told of every XCHG */
    bool rests;      /* set by a lifter: the block ends after this instruction, and is linked on */
    bool overflow;   /* no room left: the instruction does not join this block */
    struct uop *out; /* where uops are appended */
    unsigned count, capacity;
};

/* Number of the general register of a register operand, without ISA_HIGH. */
#define LIFT_REG(o) ((o)->reg & 0xfu)

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
/* The same for a function that neither faults nor looks at rip: quicker, and flags are not kept
 * for it. `sets`: F_* that it always writes; `reads`: does it depend on the old flags? */
struct uop *lift_call_quiet(struct lift *l, uop_helper *fn, unsigned sets, bool reads);

/* Vector operands, `size` bytes (1..32). lift_load_vec: the memory operand into vector register
 * vreg (16 and 17 are the temporaries); the rest of its low 16 bytes becomes zero, and of all 32
 * where a VEX form loads an architectural register. Rows with A_ALIGN check the address. Stores
 * come last. */
void lift_load_vec(struct lift *l, unsigned vreg, unsigned size);
void lift_store_vec(struct lift *l, unsigned vreg, unsigned size);

/* General operands. Loads operand i (register, memory, immediate) for reading as `size` bytes, and
 * returns the register that holds it; bits above `size` may be anything. */
unsigned lift_get(struct lift *l, unsigned i);
/* Writes register `from` to operand i, which is a register or memory: the instruction's last
 * write. Bits above the operand's size are not looked at. */
void lift_put(struct lift *l, unsigned i, unsigned from);
/* Memory accesses of `size` bytes at the memory operand, zero-extended. */
void lift_load(struct lift *l, unsigned dst, unsigned size);
void lift_store(struct lift *l, unsigned from, unsigned size);
/* Number of the addressing form for the memory operand. */
unsigned lift_form(const struct lift *l);
/* Read-modify-write of the memory operand: lift_load_rmw() returns the temporary with the old
 * value, lift_store_rmw() writes. Between them no uop may fault. */
unsigned lift_load_rmw(struct lift *l, unsigned size);
void lift_store_rmw(struct lift *l, unsigned from, unsigned size);
/* dst = the offset a + (b << scale) + imm in segment in->seg, loaded as `size` bytes. */
void lift_load_at(struct lift *l, unsigned dst, unsigned a, unsigned b, int64_t imm, unsigned size);
/* The last uop that has set flags, if it is in this block and leaves them lazy; else NULL. */
const struct uop *lift_flag_setter(const struct lift *l);
/* Emits uops after which `dst`, which is returned, is 1 if condition 0..15 is true, else 0. */
unsigned lift_cond(struct lift *l, unsigned cond);
/* UC_* of a condition, or UC_COUNT for O, NO, P, NP. */
unsigned lift_uc(unsigned cond);

/* log2 of 1, 2, 4, 8. */
static inline unsigned lg_size(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

struct block;
/* Lifts the block at c's rip from `bytes` (n of them, to the page's end) for `key` into uops; fills
 * what the lifter knows of the block (block.h). Where a debugger may want to stop, the block ends
 * or asks (stops.h). `max`: at most so many instructions. */
struct lifted {
    unsigned uop_count, insn_count, bytes;
    bool crosses; /* the first instruction does not end within n: more bytes are needed */
};
void lift_block(const struct cpu *c, struct lifted *out, struct uop *uops, unsigned capacity,
                const uint8_t *bytes, size_t n, uint32_t key, unsigned max);

#endif
