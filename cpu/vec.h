/* The vector unit: MMX, SSE to SSE4.2, AES, SHA, AVX to AVX2, FMA, F16C.
 *
 * An operation is a vec_op: one helper for each width that it comes in. Each takes the destination,
 * the first and the second source apart (legacy two-operand forms name the destination as first
 * source), so that the legacy and the VEX forms share one body:
 *
 *   u->dst, u->a, u->b   vector registers as cpu_vreg() numbers them; for the MMX width 0..7 are
 *                        MM0..7 and other numbers index r[] (a memory operand in a temporary);
 *                        operands that are general registers index r[]
 *   u->imm               low half: the immediate, or the register number of a fourth operand;
 *                        the rest says which row and VEX.L it came from (VEC_IMM), for an emitter
 *                        that encodes the instruction again
 *
 * A source that came from memory holds only the operand's own bytes; the rest is arbitrary, so
 * bodies read no more than their operand. Destinations may be the same register as any source.
 *
 * The legacy width leaves bits 128 and up of the destination; the VEX ones zero what they do not
 * write (SDM 1 14.3.1). */
#ifndef ISHI_CPU_VEC_H
#define ISHI_CPU_VEC_H

#include "cpu/uop.h"

#define VEC_T0 16u /* vector temporaries of one instruction */
#define VEC_T1 17u

/* seg of a UOP_CALLQ or UOP_CALLF that has a row. */
#define VEC_UOP 0xfeu

#define VEC_IMM(imm, row, vex_l) \
    ((int64_t)((uint64_t)(uint32_t)(imm) | (uint64_t)(row) << 32 | (uint64_t)(vex_l) << 48))
#define VEC_ROW(u) ((unsigned)((uint64_t)(u)->imm >> 32 & 0xffff))
#define VEC_L(u)   ((unsigned)((uint64_t)(u)->imm >> 48 & 1))

enum vec_width {
    VW_MMX, /* 8 bytes, MMX registers */
    VW_XMM, /* 16 bytes, legacy SSE */
    VW_VEX, /* 16 bytes, VEX.128 */
    VW_YMM, /* 32 bytes, VEX.256 */
    VW_COUNT
};

/* NULL where the operation has no such width. */
typedef uop_helper *const vec_op[VW_COUNT];

/* r = f(a, b), n bytes; imm where the instruction has one. r is none of the sources. */
typedef void vec_body(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                      unsigned imm);

/* Bodies are to be compiled anew for each width; but not with a sanitizer's checks in them, which
 * keeps the compiler busy for half an hour. */
#if defined(__SANITIZE_ADDRESS__)
#define VEC_INLINE static __attribute__((noinline, unused))
#else
#define VEC_INLINE static inline __attribute__((always_inline))
#endif

VEC_INLINE const union vreg *vec_mmx_source(const struct cpu *c, unsigned n)
{
    return (const union vreg *)(n < 8 ? &c->s.fp_sig[n] : &c->s.r[n]);
}

/* What every MMX instruction does to the x87 state (SDM 3A table 12-2). */
VEC_INLINE void vec_mmx_touch(struct cpu *c)
{
    c->s.fsw &= (uint16_t)~0x3800u;
    c->s.ftw = 0xff;
}

VEC_INLINE void vec_mmx_write(struct cpu *c, unsigned n, uint64_t v)
{
    vec_mmx_touch(c);
    c->s.fp_sig[n] = v;
    c->s.fp_exp[n] = 0xffff;
}

VEC_INLINE bool vec_run_mmx(struct cpu *c, const struct uop *u, vec_body *f)
{
    union vreg r;
    f(&r, vec_mmx_source(c, u->a), vec_mmx_source(c, u->b), 8, (unsigned)u->imm);
    vec_mmx_write(c, u->dst, r.q[0]);
    return true;
}

VEC_INLINE bool vec_run(struct cpu *c, const struct uop *u, vec_body *f, unsigned n, bool vex)
{
    union vreg r, *d = cpu_vreg(c, u->dst);
    f(&r, cpu_vreg(c, u->a), cpu_vreg(c, u->b), n, (unsigned)u->imm);
    memcpy(d, &r, n);
    if (vex && n == 16)
        d->q[2] = d->q[3] = 0;
    return true;
}

/* Makes v_NAME out of the body NAME in the widths that the macro's name says. */
#define VEC_MMX_FN(name)                                       \
    static bool name##_mmx(struct cpu *c, const struct uop *u) \
    {                                                          \
        return vec_run_mmx(c, u, name);                        \
    }
#define VEC_XMM_FN(name)                                       \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return vec_run(c, u, name, 16, false);                 \
    }                                                          \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return vec_run(c, u, name, 16, true);                  \
    }
#define VEC_YMM_FN(name)                                       \
    static bool name##_ymm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return vec_run(c, u, name, 32, true);                  \
    }
#define VEC_M(name)  \
    VEC_MMX_FN(name) \
    vec_op v_##name = {name##_mmx};
#define VEC_X(name)  \
    VEC_XMM_FN(name) \
    vec_op v_##name = {NULL, name##_xmm, name##_vex};
/* Scalars ignore VEX.L. */
#define VEC_S(name)  \
    VEC_XMM_FN(name) \
    vec_op v_##name = {NULL, name##_xmm, name##_vex, name##_vex};
#define VEC_XY(name) \
    VEC_XMM_FN(name) \
    VEC_YMM_FN(name) \
    vec_op v_##name = {NULL, name##_xmm, name##_vex, name##_ymm};
#define VEC_MXY(name) \
    VEC_MMX_FN(name)  \
    VEC_XMM_FN(name)  \
    VEC_YMM_FN(name)  \
    vec_op v_##name = {name##_mmx, name##_xmm, name##_vex, name##_ymm};

/* Which fused multiply-add: which operands are the factors (by the numbers in the mnemonic), and
 * what is negated: the product, the addend of even lanes, of odd lanes. */
#define FMA_132      0u
#define FMA_213      1u
#define FMA_231      2u
#define FMA_ORDER    3u
#define FMA_NEGATE   4u
#define FMA_SUB_EVEN 8u
#define FMA_SUB_ODD  16u

uop_helper vec_mmx_read, vec_mmx_stored, vec_emms;

/* The operations, by file. */
#include "cpu/vec_ops.h"

#endif
