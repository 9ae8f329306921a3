/* The lifters that rows name, beside lift_help() of lift.h. */
#ifndef ISHI_CPU_LIFTERS_H
#define ISHI_CPU_LIFTERS_H

#include "cpu/lift.h"

/* lift_int.c, lift_flow.c, lift_bits.c */
lift_fn lift_adx;
lift_fn lift_alu;
lift_fn lift_andn;
lift_fn lift_bextr;
lift_fn lift_bmi1;
lift_fn lift_bsf;
lift_fn lift_bswap;
lift_fn lift_bt;
lift_fn lift_bzhi;
lift_fn lift_call_near;
lift_fn lift_call_ind;
lift_fn lift_cbw;
lift_fn lift_cmov;
lift_fn lift_cmpxchg;
lift_fn lift_crc32;
lift_fn lift_cwd;
lift_fn lift_div;
lift_fn lift_flagop;
lift_fn lift_imul;
lift_fn lift_incdec;
lift_fn lift_jcc;
lift_fn lift_jmp;
lift_fn lift_jmp_ind;
lift_fn lift_lahf;
lift_fn lift_lea;
lift_fn lift_leave;
lift_fn lift_loop;
lift_fn lift_mov;
lift_fn lift_movbe;
lift_fn lift_movsx;
lift_fn lift_movzx;
lift_fn lift_mul;
lift_fn lift_mulx;
lift_fn lift_neg;
lift_fn lift_nop;
lift_fn lift_fence;
lift_fn lift_not;
lift_fn lift_pdep;
lift_fn lift_pext;
lift_fn lift_pop;
lift_fn lift_popa;
lift_fn lift_push;
lift_fn lift_pusha;
lift_fn lift_ret;
lift_fn lift_rorx;
lift_fn lift_sahf;
lift_fn lift_salc;
lift_fn lift_setcc;
lift_fn lift_shift;
lift_fn lift_shiftx;
lift_fn lift_shld;
lift_fn lift_string;
lift_fn lift_ud;
lift_fn lift_xadd;
lift_fn lift_xchg;
lift_fn lift_xlat;

/* lift_vec.c */
lift_fn lift_mmx_empty;
lift_fn lift_mmx_store;
lift_fn lift_vec;
lift_fn lift_vec_extract;
lift_fn lift_vec_fma;
lift_fn lift_vec_fp;
lift_fn lift_vec_gather;
lift_fn lift_vec_help;
lift_fn lift_vec_load;
lift_fn lift_vec_maskmov;
lift_fn lift_vec_masked;
lift_fn lift_vec_part;
lift_fn lift_vec_part_fp;
lift_fn lift_vec_store;
lift_fn lift_vec_text;
lift_fn lift_vec_zero;

/* lift_x87.c */
lift_fn lift_x87;

#endif
