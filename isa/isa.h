/* The instruction set, as one table, and what is read from it: the decoder and the disassembler.
 *
 * One row is one instruction form. The rows stand in three files by their unit (table_int.def,
 * table_x87.def, table_sse.def), as
 *
 *   ROW(map, opcode, prefix, modrm, "name", OPS(…), FL(read, written, undefined), attributes,
 *       feature, lifter, argument)
 *
 * as in
 *
 *   ROW(0F, 0xc1, P_ANY, M_ANY, "xadd", OPS(Ev, Gv), FL(0, F_OSZAPC, 0), A_LOCK, FEAT_I486,
 *       xadd, .n = 0)
 *
 *   map        1B, 0F, 0F38, 0F3A: which opcode map (the VEX maps are the same three, with A_VEX)
 *   opcode     the opcode byte. OPS with Z* take the register from its low 3 bits: give the row
 *              once with the low bits 0 and A_PLUS_R
 *   prefix     P_ANY: 66 is the operand size, F2/F3 are free or REP; P_NP: none of 66 F2 F3;
 *              P_66, P_F3, P_F2: that mandatory prefix; P_NFX: not F2, F3, but 66 is the operand
 *              size
 *   modrm      M_NONE: no ModRM byte; M_ANY; M_REG / M_MEM: mod == 3 / mod != 3 only;
 *              M_D(n): /n; M_DR(n) / M_DM(n): /n with mod == 3 / != 3;
 *              M_X(b): the ModRM byte is exactly b (0F 01 C1, D9 E8 …); M_XR(b): the ModRM byte is
 *              b..b+7 (x87's ST(i) forms)
 *   name       alternatives by operand size stand as "16/32/64", by address size as "@16/32/64"
 *   operands   in the SDM's letters (SDM 2 Appendix A.2), up to four: OPS(), OPS(Ev, Gv) …
 *   flags      letters of "odiszapc" as F_* masks: what the form reads, writes, leaves undefined. A
 *              flag that the form may leave alone (shift by 0, REP of 0) is both read and written
 *   attributes A_* below, or'ed
 *   feature    CPUID feature the form belongs to: FEAT_*; #UD without it
 *   lifter     NAME of lift_NAME() in cpu/, which turns a decoded instruction into uops
 *   argument   initialiser of struct lift_arg for it, as `.n = ALU_ADD` or `.vec = v_paddb`
 *
 * Map, operands and lifter stand without their MAP_, OP_, lift_; the other columns are C
 * expressions. The first row that matches wins; more specific rows stand first. isa/ knows nothing
 * of cpu/: the last two columns expand to nothing here, and cpu/lift.c includes the same files for
 * them. */
#ifndef ISHI_ISA_ISA_H
#define ISHI_ISA_ISA_H

#include "base/bits.h"

#define ISA_MAX_LEN 15 /* bytes; longer is #GP (SDM 2A 2.3.11) */

enum isa_map { MAP_1B, MAP_0F, MAP_0F38, MAP_0F3A, MAP_COUNT };
enum isa_prefix { P_ANY, P_NP, P_66, P_F3, P_F2, P_NFX };

/* ModRM constraint: kind in the high byte, value in the low one. */
enum { MK_NONE, MK_ANY, MK_REG, MK_MEM, MK_DIGIT, MK_DIGIT_REG, MK_DIGIT_MEM, MK_EXACT, MK_RANGE };
#define M_NONE  (MK_NONE << 8)
#define M_ANY   (MK_ANY << 8)
#define M_REG   (MK_REG << 8)
#define M_MEM   (MK_MEM << 8)
#define M_D(n)  (MK_DIGIT << 8 | (n))
#define M_DR(n) (MK_DIGIT_REG << 8 | (n))
#define M_DM(n) (MK_DIGIT_MEM << 8 | (n))
#define M_X(b)  (MK_EXACT << 8 | (b))
#define M_XR(b) (MK_RANGE << 8 | (b))

/* Arithmetic flags, at their place in EFLAGS. */
#define F_C      0x0001u
#define F_P      0x0004u
#define F_A      0x0010u
#define F_Z      0x0040u
#define F_S      0x0080u
#define F_T      0x0100u
#define F_I      0x0200u
#define F_D      0x0400u
#define F_O      0x0800u
#define F_OSZAPC (F_O | F_S | F_Z | F_A | F_P | F_C)
#define F_SZAPC  (F_S | F_Z | F_A | F_P | F_C)
#define F_OSZAP  (F_O | F_S | F_Z | F_A | F_P)
#define F_OSZPC  (F_O | F_S | F_Z | F_P | F_C)
#define F_ALL    0x3f7fd5u

#define A_LOCK     BIT(0)  /* LOCK allowed with a memory destination */
#define A_D64      BIT(1)  /* operand size is 64 in 64-bit mode unless 66 makes it 16 */
#define A_F64      BIT(2)  /* operand size is 64 in 64-bit mode whatever the prefixes */
#define A_I64      BIT(3)  /* #UD in 64-bit mode */
#define A_O64      BIT(4)  /* only in 64-bit mode */
#define A_CPL0     BIT(5)  /* #GP(0) unless CPL is 0 */
#define A_IOPL     BIT(6)  /* sensitive to IOPL (checks in its helper) */
#define A_BRANCH   BIT(7)  /* changes RIP other than to the next instruction: ends a block */
#define A_END      BIT(8)  /* ends a block though RIP goes on: mode, interrupt flag, I/O … */
#define A_PLUS_R   BIT(9)  /* opcode low 3 bits are a register */
#define A_REP      BIT(10) /* F3/F2 repeat it */
#define A_REPZ     BIT(11) /* F3/F2 repeat it while ZF is 1/0 (CMPS, SCAS) */
#define A_PM       BIT(12) /* #UD in real and virtual-8086 mode */
#define A_X87      BIT(13) /* needs CR0.EM = TS = 0, else #NM (SDM 3A 2.5) */
#define A_MMX      BIT(14) /* the same, with #UD for EM */
#define A_SSE      BIT(15) /* needs CR4.OSFXSR and not EM, else #UD; TS: #NM */
#define A_VEX      BIT(16) /* VEX-encoded form (needs XCR0 AVX state unless A_GPR) */
#define A_W0       BIT(17) /* VEX.W / REX.W must be 0 */
#define A_W1       BIT(18) /* VEX.W / REX.W must be 1 */
#define A_L0       BIT(19) /* VEX.L must be 0 */
#define A_L1       BIT(20) /* VEX.L must be 1 */
#define A_ALIGN    BIT(21) /* 16-byte (VEX: 32 with L) aligned memory operand, else #GP(0) */
#define A_NOREX66  BIT(22) /* 66 is ignored, e.g. MOV CR */
#define A_HLT      BIT(23) /* may stop the CPU */
#define A_O32      BIT(24) /* 66 does not make the operand 16 bits: 32, or 64 with REX.W */
#define A_NOREXB   BIT(26) /* REX.B must be 0: NOP, which else is XCHG r8, rAX */
#define A_GPR      BIT(27) /* VEX form on general registers: needs no AVX state, only A_PM */
#define A_WAITFREE BIT(25) /* x87 form that does not check for pending exceptions (FNxxx) */

/* CPUID features. X(identifier, leaf, register, bit, name). Register 0..3 is eax ebx ecx edx;
 * leaf 7 is sub-leaf 0. FEAT_BASE is what every model has. */
/* clang-format off */
#define ISA_FEATURES(X) \
    X(BASE, 0, 0, 0, "i386") X(I486, 0, 0, 0, "i486") X(FPU, 1, 3, 0, "fpu") \
    X(VME, 1, 3, 1, "vme") X(DE, 1, 3, 2, "de") X(PSE, 1, 3, 3, "pse") \
    X(TSC, 1, 3, 4, "tsc") X(MSR, 1, 3, 5, "msr") X(PAE, 1, 3, 6, "pae") \
    X(MCE, 1, 3, 7, "mce") X(CX8, 1, 3, 8, "cx8") X(APIC, 1, 3, 9, "apic") \
    X(SEP, 1, 3, 11, "sep") X(MTRR, 1, 3, 12, "mtrr") X(PGE, 1, 3, 13, "pge") \
    X(MCA, 1, 3, 14, "mca") X(CMOV, 1, 3, 15, "cmov") X(PAT, 1, 3, 16, "pat") \
    X(PSE36, 1, 3, 17, "pse36") X(CLFSH, 1, 3, 19, "clflush") X(MMX, 1, 3, 23, "mmx") \
    X(FXSR, 1, 3, 24, "fxsr") X(SSE, 1, 3, 25, "sse") X(SSE2, 1, 3, 26, "sse2") \
    X(HTT, 1, 3, 28, "htt") X(SSE3, 1, 2, 0, "sse3") X(PCLMUL, 1, 2, 1, "pclmulqdq") \
    X(MONITOR, 1, 2, 3, "monitor") X(SSSE3, 1, 2, 9, "ssse3") X(FMA, 1, 2, 12, "fma") \
    X(CX16, 1, 2, 13, "cx16") X(PCID, 1, 2, 17, "pcid") X(SSE41, 1, 2, 19, "sse4_1") \
    X(SSE42, 1, 2, 20, "sse4_2") X(X2APIC, 1, 2, 21, "x2apic") X(MOVBE, 1, 2, 22, "movbe") \
    X(POPCNT, 1, 2, 23, "popcnt") X(TSCDL, 1, 2, 24, "tsc_deadline") X(AES, 1, 2, 25, "aes") \
    X(XSAVE, 1, 2, 26, "xsave") X(AVX, 1, 2, 28, "avx") X(F16C, 1, 2, 29, "f16c") \
    X(RDRAND, 1, 2, 30, "rdrand") X(HYPERVISOR, 1, 2, 31, "hypervisor") \
    X(FSGSBASE, 7, 1, 0, "fsgsbase") X(BMI1, 7, 1, 3, "bmi1") X(AVX2, 7, 1, 5, "avx2") \
    X(FDPX, 7, 1, 6, "fdp_excptn_only") \
    X(SMEP, 7, 1, 7, "smep") X(BMI2, 7, 1, 8, "bmi2") X(ERMS, 7, 1, 9, "erms") \
    X(INVPCID, 7, 1, 10, "invpcid") X(NOFCS, 7, 1, 13, "zero_fcs_fds") X(RDSEED, 7, 1, 18, "rdseed") X(ADX, 7, 1, 19, "adx") \
    X(SMAP, 7, 1, 20, "smap") X(CLFLUSHOPT, 7, 1, 23, "clflushopt") \
    X(CLWB, 7, 1, 24, "clwb") X(SHA, 7, 1, 29, "sha_ni") X(UMIP, 7, 2, 2, "umip") \
    X(RDPID, 7, 2, 22, "rdpid") X(XSAVEOPT, 0xd, 0, 0, "xsaveopt") \
    X(XSAVEC, 0xd, 0, 1, "xsavec") X(XGETBV1, 0xd, 0, 2, "xgetbv1") \
    X(SYSCALL, 0x80000001, 3, 11, "syscall") X(NX, 0x80000001, 3, 20, "nx") \
    X(PDPE1GB, 0x80000001, 3, 26, "pdpe1gb") X(RDTSCP, 0x80000001, 3, 27, "rdtscp") \
    X(LM, 0x80000001, 3, 29, "lm") X(LAHF64, 0x80000001, 2, 0, "lahf_lm") \
    X(LZCNT, 0x80000001, 2, 5, "abm") X(PREFETCHW, 0x80000001, 2, 8, "3dnowprefetch") \
    X(KVMCLOCK, 0x40000001, 0, 3, "kvmclock")
/* clang-format on */

enum isa_feature {
#define X(id, leaf, reg, bit, name) FEAT_##id,
    ISA_FEATURES(X)
#undef X
        FEAT_COUNT
};
_Static_assert(FEAT_COUNT <= 128, "a feature set is two words");

/* Where CPUID shows a feature, and the name that Linux gives it. Leaf 0: nowhere. */
extern const struct isa_feature_info {
    uint32_t leaf;
    uint8_t reg, bit;
    const char *name;
} isa_feature_info[FEAT_COUNT];

struct isa_features {
    uint64_t word[2];
};

static inline bool isa_has(const struct isa_features *f, enum isa_feature n)
{
    return f->word[n >> 6] >> (n & 63) & 1;
}

/* Where an operand is, by the SDM's first letter (Appendix A.2.1). */
enum isa_where {
    W_NONE,
    W_E,    /* ModRM r/m: general register or memory */
    W_G,    /* ModRM reg: general register */
    W_R,    /* ModRM r/m, register only (mod ignored): MOV CR */
    W_Z,    /* general register in the opcode's low 3 bits */
    W_B,    /* general register in VEX.vvvv */
    W_M,    /* ModRM r/m, memory only */
    W_I,    /* immediate */
    W_J,    /* relative branch target */
    W_A,    /* far pointer in the instruction */
    W_O,    /* offset in the instruction, no ModRM */
    W_X,    /* DS:rSI */
    W_Y,    /* ES:rDI */
    W_S,    /* ModRM reg: segment register */
    W_C,    /* ModRM reg: control register */
    W_D,    /* ModRM reg: debug register */
    W_V,    /* ModRM reg: XMM/YMM */
    W_W,    /* ModRM r/m: XMM/YMM or memory */
    W_U,    /* ModRM r/m: XMM/YMM register only */
    W_H,    /* VEX.vvvv: XMM/YMM */
    W_L,    /* XMM/YMM in the immediate's high 4 bits */
    W_P,    /* ModRM reg: MMX */
    W_Q,    /* ModRM r/m: MMX or memory */
    W_N,    /* ModRM r/m: MMX register only */
    W_ST,   /* x87 ST(i), i from ModRM r/m */
    W_REG,  /* a fixed general register */
    W_SREG, /* a fixed segment register */
    W_ST0,  /* x87 ST(0) */
    W_XMM0, /* implied XMM0 */
    W_ONE,  /* the constant 1 */
    W_VM,   /* memory by a vector of indexes (VSIB) */
};

/* How wide, by the SDM's second letter. Sizes in bytes, or a rule. */
enum isa_width {
    S_0 = 0,
    S_b = 1,
    S_w = 2,
    S_d = 4,
    S_q = 8,
    S_t = 10,  /* 80-bit real or packed BCD */
    S_dq = 16, /* 128 bits */
    S_qq = 32, /* 256 bits */
    S_v = 64,  /* 16, 32 or 64 by operand size */
    S_z,       /* 16 or 32 by operand size (32 for 64) */
    S_y,       /* 32 or 64 by operand size */
    S_p,       /* far pointer: 16:16, 16:32, 16:64 */
    S_s,       /* descriptor-table operand: 2 + 4 or 2 + 8 */
    S_x,       /* 128, or 256 with VEX.L */
    S_sb,      /* byte immediate, sign-extended to the operand size */
    S_m14,     /* FPU environment, 14 or 28 bytes */
    S_m94,     /* FPU state, 94 or 108 bytes */
    S_m512,    /* FXSAVE area */
    S_any,     /* no memory access of its own: LEA, INVLPG, PREFETCH, XSAVE */
};

/* X(letters, where, width, register): what may stand in OPS(). */
/* clang-format off */
#define ISA_OPERANDS(X) \
    X(Eb, W_E, S_b, 0) X(Ew, W_E, S_w, 0) X(Ed, W_E, S_d, 0) X(Eq, W_E, S_q, 0) \
    X(Ev, W_E, S_v, 0) X(Ez, W_E, S_z, 0) X(Ey, W_E, S_y, 0) X(Gb, W_G, S_b, 0) X(Gw, W_G, S_w, 0) \
    X(Gd, W_G, S_d, 0) X(Gq, W_G, S_q, 0) X(Gv, W_G, S_v, 0) X(Gz, W_G, S_z, 0) \
    X(Gy, W_G, S_y, 0) X(Rd, W_R, S_d, 0) X(Ry, W_R, S_y, 0) X(Rv, W_R, S_v, 0) \
    X(Zb, W_Z, S_b, 0) X(Zv, W_Z, S_v, 0) X(Zy, W_Z, S_y, 0) X(By, W_B, S_y, 0) \
    X(M, W_M, S_any, 0) X(Mb, W_M, S_b, 0) X(Mw, W_M, S_w, 0) X(Md, W_M, S_d, 0) \
    X(Mq, W_M, S_q, 0) X(Mt, W_M, S_t, 0) X(Mdq, W_M, S_dq, 0) X(Mqq, W_M, S_qq, 0) \
    X(Mv, W_M, S_v, 0) X(My, W_M, S_y, 0) X(Mp, W_M, S_p, 0) X(Ms, W_M, S_s, 0) \
    X(Mx, W_M, S_x, 0) X(Ma, W_M, S_any, 0) X(M14, W_M, S_m14, 0) X(M94, W_M, S_m94, 0) \
    X(M512, W_M, S_m512, 0) X(Ib, W_I, S_b, 0) X(Iw, W_I, S_w, 0) X(Iz, W_I, S_z, 0) \
    X(Iv, W_I, S_v, 0) X(sIb, W_I, S_sb, 0) X(Jb, W_J, S_b, 0) X(Jz, W_J, S_z, 0) \
    X(Ap, W_A, S_p, 0) X(Ob, W_O, S_b, 0) X(Ov, W_O, S_v, 0) X(Xb, W_X, S_b, 0) \
    X(Xv, W_X, S_v, 0) X(Xz, W_X, S_z, 0) X(Yb, W_Y, S_b, 0) X(Yv, W_Y, S_v, 0) \
    X(Yz, W_Y, S_z, 0) X(Sw, W_S, S_w, 0) X(Cy, W_C, S_y, 0) X(Dy, W_D, S_y, 0) \
    X(Vss, W_V, S_d, 0) X(Vsd, W_V, S_q, 0) X(Vd, W_V, S_d, 0) X(Vq, W_V, S_q, 0) \
    X(Vdq, W_V, S_dq, 0) X(Vqq, W_V, S_qq, 0) X(Vx, W_V, S_x, 0) X(Wb, W_W, S_b, 0) \
    X(Ww, W_W, S_w, 0) X(Wss, W_W, S_d, 0) X(Wsd, W_W, S_q, 0) X(Wd, W_W, S_d, 0) \
    X(Wq, W_W, S_q, 0) X(Wdq, W_W, S_dq, 0) X(Wqq, W_W, S_qq, 0) X(Wx, W_W, S_x, 0) \
    X(Uss, W_U, S_d, 0) X(Usd, W_U, S_q, 0) X(Uq, W_U, S_q, 0) X(Udq, W_U, S_dq, 0) \
    X(Ux, W_U, S_x, 0) X(Hss, W_H, S_d, 0) X(Hsd, W_H, S_q, 0) X(Hq, W_H, S_q, 0) \
    X(Hdq, W_H, S_dq, 0) X(Hqq, W_H, S_qq, 0) X(Hx, W_H, S_x, 0) X(Lx, W_L, S_x, 0) \
    X(Pd, W_P, S_d, 0) X(Pq, W_P, S_q, 0) X(Qd, W_Q, S_d, 0) X(Qq, W_Q, S_q, 0) \
    X(Nq, W_N, S_q, 0) X(ST0, W_ST0, S_t, 0) X(STi, W_ST, S_t, 0) X(XMM0, W_XMM0, S_dq, 0) \
    X(AL, W_REG, S_b, 0) X(CL, W_REG, S_b, 1) X(AH, W_REG, S_b, 4) X(AX, W_REG, S_w, 0) \
    X(DX, W_REG, S_w, 2) X(EAX, W_REG, S_d, 0) X(ECX, W_REG, S_d, 1) X(EDX, W_REG, S_d, 2) \
    X(rAX, W_REG, S_v, 0) X(rDX, W_REG, S_v, 2) X(zAX, W_REG, S_z, 0) X(ES, W_SREG, S_w, 0) \
    X(CS, W_SREG, S_w, 1) X(SS, W_SREG, S_w, 2) X(DS, W_SREG, S_w, 3) X(FS, W_SREG, S_w, 4) \
    X(GS, W_SREG, S_w, 5) X(One, W_ONE, S_b, 0) X(VMdx, W_VM, S_d, 0) X(VMqx, W_VM, S_q, 0)
/* clang-format on */

enum isa_operand {
    OP_None,
    OP_ = OP_None, /* what OPS() pads with */
#define X(id, where, width, reg) OP_##id,
    ISA_OPERANDS(X)
#undef X
        OP_COUNT
};

struct isa_row {
    const char *name; /* lower case mnemonic, Intel syntax */
    uint8_t map, opcode, prefix;
    uint8_t op[4]; /* enum isa_operand, destination first */
    uint16_t modrm;
    uint8_t feature;
    uint32_t flags_read, flags_written, flags_undefined; /* F_* */
    uint32_t attr;
};

/* All rows, numbered; the number is stable within one build and indexes cpu/'s lifter table. */
extern const struct isa_row isa_rows[];
extern const unsigned isa_row_count;

static inline unsigned isa_row_index(const struct isa_row *r)
{
    return (unsigned)(r - isa_rows);
}

enum isa_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };
enum isa_mode { ISA_16, ISA_32, ISA_64 }; /* default code size */

#define ISA_NO_REG 0xff /* no base, no index */
#define ISA_RIP    0xfe /* base is the next instruction's address */
#define ISA_HIGH   0x10 /* or'ed to a byte register number 0..3: AH CH DH BH */

/* One operand, resolved. */
struct isa_opnd {
    uint8_t where; /* enum isa_where; W_E, W_W, W_Q … become W_M when memory */
    uint8_t size;  /* bytes; 0 for S_any and S_m512 */
    uint8_t reg;   /* register number with REX/VEX bits, ISA_HIGH for AH..BH; for W_ST i */
};

struct insn {
    const struct isa_row *row; /* NULL when undefined: #UD */
    uint8_t length;            /* bytes, prefixes included */
    uint8_t mode;              /* enum isa_mode it was decoded for */
    uint8_t osize;             /* operand size in bytes, 2, 4, 8; P_66's 66 does not count */
    uint8_t asize;             /* address size in bytes, 2, 4, 8 */
    uint8_t opcode;            /* the opcode byte itself */
    uint8_t modrm;
    bool has_modrm, is_mem; /* is_mem: the ModRM or moffs operand is memory */
    bool lock, p66, vex;
    uint8_t rep;   /* 0, 0xf3, 0xf2: the last of them */
    uint8_t rex;   /* the REX byte or 0; the VEX bits in the same places */
    uint8_t vvvv;  /* VEX.vvvv, upright, or ISA_NO_REG */
    uint8_t vex_l; /* 0: 128, 1: 256 */
    uint8_t seg;   /* segment of the memory operand, override applied */
    bool seg_override;
    uint8_t base, index, scale; /* scale as a shift, 0..3 */
    int64_t disp;               /* sign-extended; for moffs the whole offset */
    uint64_t imm;               /* Iz, sIb, J: sign-extended to 64 bits; else zero-extended */
    uint16_t imm2;              /* ENTER's level, a far pointer's selector */
    uint8_t op_count;
    struct isa_opnd op[4];
};

enum isa_result {
    ISA_OK,
    ISA_TRUNCATED, /* more bytes are needed than were given */
    ISA_TOO_LONG,  /* beyond 15 bytes: #GP(0) */
    ISA_UNDEFINED, /* no row, or a form this mode, prefix or LOCK does not allow: #UD; length is
                      what was consumed */
};

/* Decodes one instruction. `features` limits the rows; NULL: all. Never reads beyond n bytes. Pure.
 */
enum isa_result isa_decode(struct insn *in, const uint8_t *bytes, size_t n, enum isa_mode mode,
                           const struct isa_features *features);

/* Intel syntax, as `mov eax, dword ptr fs:[rbx+rcx*4+0x10]`; the default segment is left out. ip is
 * the instruction's own address, for branch targets and RIP-relative operands. Undefined: "(bad)".
 * Returns the length, as snprintf does. */
int isa_format(const struct insn *in, uint64_t ip, char *buf, size_t size);

/* The mnemonic alone. */
int isa_mnemonic(const struct insn *in, char *buf, size_t size);

#endif
