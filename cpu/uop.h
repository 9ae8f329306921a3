/* Micro-operations: what a guest instruction is lifted to, and what the interpreter and the
 * emitters run. Semantics are written once, as uops and as the C helpers that they call.
 *
 * Invariants:
 *  - the uops of one instruction are consecutive; block.insn[] says where each begins (the marker),
 *    so that a fault finds its instruction without a uop being spent on it;
 *  - nothing architectural is written before the last uop of the instruction that can fault: then a
 *    fault, or a restart, leaves the state as it was at the instruction's start;
 *  - temporaries (R_T0…) live within one instruction;
 *  - a helper that changes the mode, or after which interrupts must be looked at, is the last of
 * its block (row attribute A_END or A_BRANCH). */
#ifndef ISHI_CPU_UOP_H
#define ISHI_CPU_UOP_H

#include "cpu/cpu.h"

struct uop;

/* A C helper: an intricate instruction, or a part of one. May read and write registers by u->dst,
 * a, b; u->size is the operand size in bytes, u->seg the memory operand's segment. By convention
 * (see lift_help) the offset of the memory operand is in r[R_T0] and an immediate in u->imm. False:
 * fault, as everywhere. */
typedef bool uop_helper(struct cpu *c, const struct uop *u);

struct uop {
    uint16_t op;   /* enum uop_op */
    uint8_t dst;   /* enum reg, or a vector/x87/segment/control register for helpers */
    uint8_t a;     /* first source; base of a memory operand */
    uint8_t b;     /* second source; index of a memory operand */
    uint8_t scale; /* shift of the index, 0..3; free otherwise */
    uint8_t size;  /* bytes */
    uint8_t seg;   /* enum isa_seg of a memory operand */
    uint8_t insn;  /* index of its instruction in the block */
    uint8_t asize; /* address size in bytes */
    uint16_t aux;  /* by operation: condition, flags … */
    int64_t imm;   /* immediate or displacement */
    union {
        uop_helper *helper;
        const void *fn; /* vec_fn, x87 function … by operation */
    };
};

#endif
