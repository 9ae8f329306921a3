/* C functions behind integer instructions: what lifters call beside the rows' own helpers. */
#ifndef ISHI_CPU_INT_HELPERS_H
#define ISHI_CPU_INT_HELPERS_H

#include "cpu/uop.h"

uop_helper h_pusha; /* imm: none; u->size 2 or 4 */
uop_helper h_popa;

/* rDX:rAX by r[a], u->size bytes. */
uop_helper q_mul;
uop_helper q_imul;
uop_helper h_div; /* #DE */
uop_helper h_idiv;

/* Quiet ones (lift_call_quiet). Operands are registers u->a and u->b, the result goes to u->dst;
 * bits above u->size are left as they come unless said. */
uop_helper q_shld; /* dst by bits of a, count b */
uop_helper q_shrd;
uop_helper q_bit; /* bit b of dst: imm 1 set, 2 reset, 3 complement; CF is what it was */
uop_helper q_bsf; /* imm: 0 bsf 1 bsr 2 tzcnt 3 lzcnt 4 popcnt */
uop_helper q_crc32;
uop_helper q_andn;
uop_helper q_bmi1; /* imm: 0 blsr 1 blsmsk 2 blsi */
uop_helper q_bzhi;
uop_helper q_bextr;
uop_helper q_pdep;
uop_helper q_pext;
uop_helper q_mulx;   /* dst, and r[b] the low half, which is written first */
uop_helper q_adx;    /* dst += a + CF or OF (imm 1) */
uop_helper q_shiftx; /* imm: enum shift_op */
uop_helper q_sahf;
uop_helper q_lahf;
uop_helper q_salc;
uop_helper q_flagop; /* imm: enum flag_op */

/* r[u->dst] = the u->size bytes of code at host address imm (block.c). */
uop_helper q_code_immediate;

/* String instructions (string.c): imm is enum string_op, u->aux is 0 or the REP prefix, u->seg the
 * source segment. */
uop_helper h_string;
/* (R)SI or (R)DI, which is r[u->dst], goes on by imm bytes, up or down. */
uop_helper q_string_step;

#endif
