/* Arithmetic flags, lazy and eager.
 *
 * After an ALU uop the six flags are described by (cc_op, cc_dst, cc_src) and worked out when
 * someone reads them; cc_op == CC_NONE means they are in s.rflags. Anything outside the
 * interpreter's inner loop uses the four functions below and never the fields. */
#ifndef ISHI_CPU_FLAGS_H
#define ISHI_CPU_FLAGS_H

#include "cpu/cpu.h"

/* cc_op = kind * 4 + log2(size). cc_dst is the result, cc_src the second operand (kind by kind). */
enum cc_kind {
    CC_EAGER, /* CC_NONE when the whole cc_op is 0 */
    CC_ADD,   /* dst = a + src */
    CC_SUB,   /* dst = a - src; CMP, NEG (a = 0) */
    CC_LOGIC, /* CF = OF = AF = 0 */
    CC_INC,   /* src = old CF */
    CC_DEC,   /* src = old CF */
    CC_MIX,   /* SF ZF PF of dst; src has CF, AF and OF at their places */
    CC_HOST,  /* src: OF in bit 0, the others as LAHF gives them in bits 8 to 15 */
};
#define CC_NONE 0

/* Generated code may leave the flags as a recipe instead: cc_op with CC_RECIPE says how to make
 * them from general registers, which must not change before flags_settle(). Bits: 0..1 log2 of the
 * size, 9..11 enum rec_kind, 12..16 register a, 17: src is the constant in 18..31 (signed), else
 * register 18..22. */
#define CC_RECIPE 0x100u

enum rec_kind {
    REC_NONE,
    REC_ADD,   /* r[a] = x + src */
    REC_SUB,   /* r[a] = x - src */
    REC_LOGIC, /* r[a] is the result of a logical operation */
    REC_CMP,   /* r[a] - src */
    REC_TEST,  /* r[a] & src */
    REC_INC,   /* r[a] = x + 1; CF is jit.carry */
    REC_DEC,
};

/* The six arithmetic flags at their places. */
uint32_t flags_arith(const struct cpu *c);

/* CF alone. */
bool flags_carry(const struct cpu *c);

/* The whole of EFLAGS/RFLAGS. */
static inline uint64_t flags_get(const struct cpu *c)
{
    return (c->s.rflags & ~(uint64_t)F_OSZAPC) | flags_arith(c) | EF_FIXED;
}

/* Sets the six arithmetic flags from their places in v; the others stay. */
static inline void flags_set_arith(struct cpu *c, uint32_t v)
{
    c->s.rflags = (c->s.rflags & ~(uint64_t)F_OSZAPC) | (v & F_OSZAPC);
    c->s.cc_op = CC_NONE;
}

/* Makes s.rflags hold all flags. */
static inline void flags_sync(struct cpu *c)
{
    if (c->s.cc_op != CC_NONE)
        flags_set_arith(c, flags_arith(c));
}

/* Makes them independent of the general registers. */
static inline void flags_settle(struct cpu *c)
{
    if (c->s.cc_op & CC_RECIPE)
        flags_set_arith(c, flags_arith(c));
}

/* Between two instructions of a block whose rest the interpreter runs: flags that generated code
 * saved (CC_HOST) become eager, and cc_dst and cc_src such that the conditions that a lifter chose
 * after a subtraction of whatever size, or after a result, come out as the flags say. */
void flags_pose(struct cpu *c);

/* Replaces RFLAGS; the caller has applied privilege rules. Follows up changes of VM, TF, AC, IF. */
void flags_set(struct cpu *c, uint64_t v);

/* Is condition 0..15 (the low nibble of Jcc's opcode) true now? */
bool flags_cond(const struct cpu *c, unsigned cond);

#endif
