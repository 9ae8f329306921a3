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
};
#define CC_NONE 0

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

/* Replaces RFLAGS; the caller has applied privilege rules. Follows up changes of VM, TF, AC, IF. */
void flags_set(struct cpu *c, uint64_t v);

/* Is condition 0..15 (the low nibble of Jcc's opcode) true now? */
bool flags_cond(const struct cpu *c, unsigned cond);

#endif
