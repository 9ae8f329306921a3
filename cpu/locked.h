/* Instructions that read, change and write memory as one access, for CPUs that run side by side:
 * those with LOCK, and XCHG, which always has it (SDM 3A 8.1.2.2).
 *
 * They are lifted to one call that does the whole access by an atomic operation of the host and
 * gives back what was there; the flags come from the uops that an unlocked form has, too. Where
 * CPUs take turns no other can come between, and they are lifted as if there were no LOCK. */
#ifndef ISHI_CPU_LOCKED_H
#define ISHI_CPU_LOCKED_H

#include "cpu/lift.h"

enum locked_op {
    LOCKED_ADD,
    LOCKED_OR,
    LOCKED_ADC,
    LOCKED_SBB,
    LOCKED_AND,
    LOCKED_SUB,
    LOCKED_XOR, /* as enum alu_op up to here */
    LOCKED_NEG,
    LOCKED_XCHG,
    LOCKED_CMPXCHG, /* with the accumulator */
    LOCKED_BTS,     /* r[b] is the bit's number */
    LOCKED_BTR,
    LOCKED_BTC,
};

/* Is the instruction, which has a memory destination, to be lifted so? */
bool lift_is_locked(const struct lift *l, bool always);
/* The memory operand of `size` bytes, changed by `op` with register b. Returns the temporary with
 * the old value, zero-extended. */
unsigned lift_locked(struct lift *l, enum locked_op op, unsigned b, unsigned size);

/* MFENCE: nothing but where CPUs run side by side. */
void lift_fence(struct lift *l);
bool q_fence(struct cpu *c, const struct uop *u);
/* r[dst] = what is at seg:r[a] of `size` bytes, which is changed by enum locked_op imm with r[b].
 */
bool h_locked(struct cpu *c, const struct uop *u);
/* CMPXCHG8B and CMPXCHG16B: compares with expected[] (one or two words of 8 bytes, as `size` says),
 * which receives what was there; *equal: and `with` was stored. */
bool locked_exchange(struct cpu *c, uint64_t la, unsigned size, uint64_t *expected,
                     const uint64_t *with, bool *equal);

#endif
