/* The C functions that are whole instructions (lifter `help` of isa/table_int.def). What they are
 * given: lift_help() in lift.h. Whoever defines one includes this header. */
#ifndef ISHI_CPU_HELPERS_H
#define ISHI_CPU_HELPERS_H

#include "cpu/uop.h"

/* System instructions: segments, control transfers, ports, tables, modes. The port of h_in, h_out
 * is DX, of h_in_imm, h_out_imm u->imm; their size is 1, 2, or 4 (also where u->size is 8). */
uop_helper h_push_sreg;
uop_helper h_pop_sreg;
uop_helper h_mov_to_sreg;
uop_helper h_mov_from_sreg;
uop_helper h_lds;
uop_helper h_les;
uop_helper h_lss;
uop_helper h_lfs;
uop_helper h_lgs;

uop_helper h_callf;
uop_helper h_jmpf;
uop_helper h_retf;
uop_helper h_int;
uop_helper h_int1;
uop_helper h_int3;
uop_helper h_into;
uop_helper h_iret;

uop_helper h_in;
uop_helper h_in_imm;
uop_helper h_ins;
uop_helper h_out;
uop_helper h_out_imm;
uop_helper h_outs;

uop_helper h_cli;
uop_helper h_sti;
uop_helper h_pushf;
uop_helper h_popf;
uop_helper h_hlt;
uop_helper h_pause, h_exchanged;
uop_helper h_clts;
uop_helper h_lmsw;
uop_helper h_smsw;

uop_helper h_lgdt;
uop_helper h_lidt;
uop_helper h_sgdt;
uop_helper h_sidt;
uop_helper h_lldt;
uop_helper h_sldt;
uop_helper h_ltr;
uop_helper h_str;
uop_helper h_arpl;
uop_helper h_lar;
uop_helper h_lsl;
uop_helper h_verr;
uop_helper h_verw;

uop_helper h_mov_to_cr;
uop_helper h_mov_from_cr;
uop_helper h_mov_to_dr;
uop_helper h_mov_from_dr;
uop_helper h_invlpg;
uop_helper h_invpcid;
uop_helper h_invd;
uop_helper h_wbinvd;

uop_helper h_rdmsr;
uop_helper h_wrmsr;
uop_helper h_rdtsc;
uop_helper h_rdtscp;
uop_helper h_rdpmc;
uop_helper h_rdpid;
uop_helper h_cpuid;
uop_helper h_monitor;
uop_helper h_mwait;
uop_helper h_xgetbv;
uop_helper h_xsetbv;
uop_helper h_clac;
uop_helper h_stac;

uop_helper h_syscall;
uop_helper h_sysret;
uop_helper h_sysenter;
uop_helper h_sysexit;
uop_helper h_swapgs;
uop_helper h_rdfsbase;
uop_helper h_rdgsbase;
uop_helper h_wrfsbase;
uop_helper h_wrgsbase;

/* Integer instructions too intricate for uops. */
uop_helper h_aaa;
uop_helper h_aad;
uop_helper h_aam;
uop_helper h_aas;
uop_helper h_daa;
uop_helper h_das;
uop_helper h_bound;
uop_helper h_enter;
uop_helper h_cmpxchg8b;
uop_helper h_cmpxchg16b;
uop_helper h_rdrand;
uop_helper h_touch;
uop_helper h_rdseed;

/* FPU and vector state. */
uop_helper h_fxsave;
uop_helper h_fxrstor;
uop_helper h_xsave;
uop_helper h_xsaveopt;
uop_helper h_xsavec;
uop_helper h_xrstor;
uop_helper h_ldmxcsr;
uop_helper h_stmxcsr;

/* The x87's instructions; see x87.h for what they are given. */
uop_helper h_farith_st0;
uop_helper h_farith_sti;
uop_helper h_farith_pop;
uop_helper h_farith_m32;
uop_helper h_farith_m64;
uop_helper h_fiarith_m16;
uop_helper h_fiarith_m32;
uop_helper h_fcom;
uop_helper h_fcom_m32;
uop_helper h_fcom_m64;
uop_helper h_ficom_m16;
uop_helper h_ficom_m32;
uop_helper h_ftst;
uop_helper h_fcomi;
uop_helper h_fxam;
uop_helper h_fchs;
uop_helper h_fabs;
uop_helper h_fsqrt;
uop_helper h_frndint;
uop_helper h_f2xm1;
uop_helper h_fyl2x;
uop_helper h_fyl2xp1;
uop_helper h_fpatan;
uop_helper h_fscale;
uop_helper h_fprem;
uop_helper h_fxtract;
uop_helper h_fsincos;
uop_helper h_fsin;

uop_helper h_fld_sti;
uop_helper h_fst_sti;
uop_helper h_fxch;
uop_helper h_fcmov;
uop_helper h_ffree;
uop_helper h_fincstp;
uop_helper h_fnop;
uop_helper h_fwait;
uop_helper h_fldc;
uop_helper h_fninit;
uop_helper h_fnclex;
uop_helper h_fnnop;
uop_helper h_fnstcw;
uop_helper h_fnstsw;
uop_helper h_fnstsw_ax;
uop_helper h_fldcw;

uop_helper h_fld_m32;
uop_helper h_fld_m64;
uop_helper h_fld_m80;
uop_helper h_fild_m16;
uop_helper h_fild_m32;
uop_helper h_fild_m64;
uop_helper h_fbld;
uop_helper h_fst_m32;
uop_helper h_fst_m64;
uop_helper h_fstp_m80;
uop_helper h_fist_m16;
uop_helper h_fist_m32;
uop_helper h_fist_m64;
uop_helper h_fbstp;

uop_helper h_fldenv;
uop_helper h_fnstenv;
uop_helper h_frstor;
uop_helper h_fnsave;

/* Their quick forms (x87_quick.c). */
uop_helper q_fadd_st0;
uop_helper q_fadd_sti;
uop_helper q_fadd_pop;
uop_helper q_fadd_m32;
uop_helper q_fadd_m64;
uop_helper q_fmul_st0;
uop_helper q_fmul_sti;
uop_helper q_fmul_pop;
uop_helper q_fmul_m32;
uop_helper q_fmul_m64;
uop_helper q_fsub_st0;
uop_helper q_fsub_sti;
uop_helper q_fsub_pop;
uop_helper q_fsub_m32;
uop_helper q_fsub_m64;
uop_helper q_fsubr_st0;
uop_helper q_fsubr_sti;
uop_helper q_fsubr_pop;
uop_helper q_fsubr_m32;
uop_helper q_fsubr_m64;
uop_helper q_fdiv_st0;
uop_helper q_fdiv_sti;
uop_helper q_fdiv_pop;
uop_helper q_fdiv_m32;
uop_helper q_fdiv_m64;
uop_helper q_fdivr_st0;
uop_helper q_fdivr_sti;
uop_helper q_fdivr_pop;
uop_helper q_fdivr_m32;
uop_helper q_fdivr_m64;
uop_helper q_fld_m32;
uop_helper q_fld_m64;
uop_helper q_fild_m32;
uop_helper q_fld_sti;
uop_helper q_fxch;
uop_helper q_fst_sti;
uop_helper q_fst_m32;
uop_helper q_fst_m64;

#endif
