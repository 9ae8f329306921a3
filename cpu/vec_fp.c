/* SSE and AVX floating point beside arithmetic: exceptions, reciprocals, rounding, compares
 * (SDM 1 10.4, 11.4, 11.5, 14.3). */
#include "cpu/vec_fp.h"

#include "cpu/flags.h"

bool vec_fp_end(struct cpu *c, unsigned flags)
{
    const unsigned before = FP_INVALID | FP_DENORMAL | FP_DIVZERO;
    unsigned unmasked = flags & ~(c->s.mxcsr >> 7) & MXCSR_FLAGS;

    /* Exceptions seen before computing keep any lane from being computed (SDM 1 11.5.3). */
    if (unmasked & before)
        flags &= before;
    c->s.mxcsr |= flags;
    if (!unmasked)
        return true;
    if (c->s.cr4 & CR4_OSXMMEXCPT)
        return cpu_fault(c, EXC_XM, "SIMD exception: MXCSR %llx", c->s.mxcsr, 0);
    return cpu_fault(c, EXC_UD, "SIMD exception without CR4.OSXMMEXCPT: MXCSR %llx", c->s.mxcsr, 0);
}

/* Reciprocal and reciprocal square root. The SDM bounds the relative error by 1.5 * 2^-12 and
 * chips differ; ishi's answer, on every host, is the quotient 1 / x, or 1 / s with s the square
 * root of x, each operation rounded to the nearest float, denormals taken and given as zero. No
 * exceptions; MXCSR does not count. */
static f32 reciprocal(f32 a, bool root)
{
    f32 sign = a & 0x80000000u, size = a & 0x7fffffffu;
    if (size > 0x7f800000u)
        return a | 0x00400000u;
    if (size < 0x00800000u)
        return sign | 0x7f800000u;
    if (root && sign)
        return 0xffc00000u;
    if (size == 0x7f800000u)
        return sign;
    float v = f32_host(a);
    f32 r = f32_guest(1.0f / (root ? __builtin_sqrtf(v) : v));
    return (r & 0x7f800000u) ? r : sign;
}

VEC_INLINE bool approximate(struct cpu *c, const struct uop *u, unsigned n, bool vex, bool root)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    for (unsigned i = 0; i < n / 4; i++)
        r.d[i] = reciprocal(b->d[i], root);
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_FP_PACKED(rcpps, approximate, false)
VEC_FP_SCALAR(rcpss, approximate, 4, false)
VEC_FP_PACKED(rsqrtps, approximate, true)
VEC_FP_SCALAR(rsqrtss, approximate, 4, true)

/* ROUNDxx: imm[1:0] the rounding, [2] take MXCSR's instead, [3] don't report inexact. */
VEC_INLINE bool round32(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    enum fp_round round = imm & 4 ? x.round : imm & 3;
    for (unsigned i = 0; i < n / 4; i++)
        r.d[i] = f32_round(&x, b->d[i], round, imm & 8);
    if (!vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool round64(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    enum fp_round round = imm & 4 ? x.round : imm & 3;
    for (unsigned i = 0; i < n / 8; i++)
        r.q[i] = f64_round(&x, b->q[i], round, imm & 8);
    if (!vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_FP_PACKED(roundps, round32, (unsigned)u->imm)
VEC_FP_PACKED(roundpd, round64, (unsigned)u->imm)
VEC_FP_SCALAR(roundss, round32, 4, (unsigned)u->imm)
VEC_FP_SCALAR(roundsd, round64, 8, (unsigned)u->imm)

/* Orders for which each predicate 0..15 is true, as bits by enum fp_order; 16..31 are the same with
 * the other behaviour on quiet NaNs (SDM 2A CMPPD, table 3-1). */
#define LT BIT(FP_LESS)
#define EQ BIT(FP_EQUAL)
#define GT BIT(FP_GREATER)
#define UN BIT(FP_UNORDERED)
static const uint8_t predicates[16] = {
    EQ,      LT,      LT | EQ,      UN, LT | GT | UN, EQ | GT | UN, GT | UN, LT | EQ | GT,
    EQ | UN, LT | UN, LT | EQ | UN, 0,  LT | GT,      EQ | GT,      GT,      LT | EQ | GT | UN,
};

static bool predicate_quiet(unsigned imm)
{
    return !((imm + 1) & 2) ^ (imm >> 4 & 1);
}

VEC_INLINE bool compare32(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    unsigned wanted = predicates[imm & 15];
    bool quiet = predicate_quiet(imm);
    for (unsigned i = 0; i < n / 4; i++)
        r.d[i] = wanted >> f32_compare(&x, a->d[i], b->d[i], quiet) & 1 ? ~0u : 0;
    if (x.flags && !vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool compare64(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    unsigned wanted = predicates[imm & 15];
    bool quiet = predicate_quiet(imm);
    for (unsigned i = 0; i < n / 8; i++)
        r.q[i] = wanted >> f64_compare(&x, a->q[i], b->q[i], quiet) & 1 ? ~0ull : 0;
    if (x.flags && !vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

/* Legacy forms know 8 predicates, VEX 32. */
VEC_INLINE bool cmp32(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    return compare32(c, u, n, vex, imm & (vex ? 31 : 7));
}

VEC_INLINE bool cmp64(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    return compare64(c, u, n, vex, imm & (vex ? 31 : 7));
}

VEC_FP_PACKED(cmpps, cmp32, (unsigned)u->imm)
VEC_FP_PACKED(cmppd, cmp64, (unsigned)u->imm)
VEC_FP_SCALAR(cmpss, cmp32, 4, (unsigned)u->imm)
VEC_FP_SCALAR(cmpsd, cmp64, 8, (unsigned)u->imm)

/* COMISx and UCOMISx: dst against b, to EFLAGS. */
static const uint8_t order_flags[] = {
    [FP_LESS] = F_C,
    [FP_EQUAL] = F_Z,
    [FP_GREATER] = 0,
    [FP_UNORDERED] = F_Z | F_P | F_C,
};

VEC_INLINE bool comis(struct cpu *c, const struct uop *u, bool is64, bool quiet)
{
    const union vreg *a = cpu_vreg(c, u->dst), *b = cpu_vreg(c, u->b);
    struct fp x = vec_fp_begin(c);
    enum fp_order order =
        is64 ? f64_compare(&x, a->q[0], b->q[0], quiet) : f32_compare(&x, a->d[0], b->d[0], quiet);
    if (x.flags && !vec_fp_end(c, x.flags))
        return false;
    flags_set_arith(c, order_flags[order]);
    return true;
}
#define COMIS(name, is64, quiet)                               \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return comis(c, u, is64, quiet);                       \
    }                                                          \
    vec_op v_##name = {NULL, name##_xmm, name##_xmm, name##_xmm};

COMIS(comiss, false, false)
COMIS(comisd, true, false)
COMIS(ucomiss, false, true)
COMIS(ucomisd, true, true)
