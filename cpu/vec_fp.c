/* SSE and AVX floating-point arithmetic, compares and rounding (SDM 1 10.4, 11.4, 11.5, 14.3).
 *
 * Each operation has a fast form by the host's arithmetic, which says whether it met only operands
 * and results that raise nothing new, and softfp's for everything else. If one lane of an
 * instruction is not ordinary, all are done again by softfp, because an exception that is not
 * masked leaves the whole destination. */
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

/* One lane by the host; false: only softfp knows. */
typedef bool fast32(f32 a, f32 b, f32 *r);
typedef bool fast64(f64 a, f64 b, f64 *r);
typedef f32 soft32(struct fp *x, f32 a, f32 b);
typedef f64 soft64(struct fp *x, f64 a, f64 b);

/* All lanes by softfp: `even` and `odd` are the same but for ADDSUB. */
static bool soft_lanes32(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                         unsigned lanes, soft32 *even, soft32 *odd)
{
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r->d[i] = (i & 1 ? odd : even)(&x, a->d[i], b->d[i]);
    return vec_fp_end(c, x.flags);
}

static bool soft_lanes64(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                         unsigned lanes, soft64 *even, soft64 *odd)
{
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r->q[i] = (i & 1 ? odd : even)(&x, a->q[i], b->q[i]);
    return vec_fp_end(c, x.flags);
}

VEC_INLINE bool lanes32(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                        unsigned lanes, fast32 *fast_even, fast32 *fast_odd, soft32 *even,
                        soft32 *odd)
{
    if (LIKELY(vec_fp_fast(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++)
            good &= (i & 1 ? fast_odd : fast_even)(a->d[i], b->d[i], &r->d[i]);
        if (LIKELY(good))
            return true;
    }
    return soft_lanes32(c, r, a, b, lanes, even, odd);
}

VEC_INLINE bool lanes64(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                        unsigned lanes, fast64 *fast_even, fast64 *fast_odd, soft64 *even,
                        soft64 *odd)
{
    if (LIKELY(vec_fp_fast(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++)
            good &= (i & 1 ? fast_odd : fast_even)(a->q[i], b->q[i], &r->q[i]);
        if (LIKELY(good))
            return true;
    }
    return soft_lanes64(c, r, a, b, lanes, even, odd);
}

VEC_INLINE bool binary32(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         fast32 *fast_even, fast32 *fast_odd, soft32 *even, soft32 *odd)
{
    union vreg r;
    if (!lanes32(c, &r, cpu_vreg(c, u->a), cpu_vreg(c, u->b), n / 4, fast_even, fast_odd, even,
                 odd))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool binary64(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         fast64 *fast_even, fast64 *fast_odd, soft64 *even, soft64 *odd)
{
    union vreg r;
    if (!lanes64(c, &r, cpu_vreg(c, u->a), cpu_vreg(c, u->b), n / 8, fast_even, fast_odd, even,
                 odd))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

/* The conditions on operands and results are softfp_fast.h's. */
#define FAST(name, bits, expr, condition)                                        \
    VEC_INLINE bool fast_##name##bits(f##bits a, f##bits b, f##bits *result)     \
    {                                                                            \
        f##bits r = f##bits##_guest(expr(f##bits##_host(a), f##bits##_host(b))); \
        *result = r;                                                             \
        return condition(bits);                                                  \
    }                                                                            \
    static f##bits soft_##name##bits(struct fp *x, f##bits a, f##bits b)         \
    {                                                                            \
        return f##bits##_##name(x, a, b);                                        \
    }
#define ADD(a, b)      ((a) + (b))
#define SUB(a, b)      ((a) - (b))
#define MUL(a, b)      ((a) * (b))
#define DIV(a, b)      ((a) / (b))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define OPERANDS(bits) (f##bits##_easy(a) & f##bits##_easy(b))
#define GOOD_SUM(bits) (OPERANDS(bits) & f##bits##_easy(r))
#define GOOD_MUL(bits) (OPERANDS(bits) & (f##bits##_clear(r) | !(a << 1) | !(b << 1)))
#define GOOD_DIV(bits) (f##bits##_easy(a) & f##bits##_normal(b) & (f##bits##_clear(r) | !(a << 1)))
#define ARITHMETIC(name, expr, condition)                                                   \
    FAST(name, 32, expr, condition)                                                         \
    FAST(name, 64, expr, condition)                                                         \
    VEC_FP_PACKED(name##ps, binary32, fast_##name##32, fast_##name##32, soft_##name##32,    \
                  soft_##name##32)                                                          \
    VEC_FP_PACKED(name##pd, binary64, fast_##name##64, fast_##name##64, soft_##name##64,    \
                  soft_##name##64)                                                          \
    VEC_FP_SCALAR(name##ss, binary32, 4, fast_##name##32, fast_##name##32, soft_##name##32, \
                  soft_##name##32)                                                          \
    VEC_FP_SCALAR(name##sd, binary64, 8, fast_##name##64, fast_##name##64, soft_##name##64, \
                  soft_##name##64)

ARITHMETIC(add, ADD, GOOD_SUM)
ARITHMETIC(sub, SUB, GOOD_SUM)
ARITHMETIC(mul, MUL, GOOD_MUL)
ARITHMETIC(div, DIV, GOOD_DIV)
ARITHMETIC(min, MIN, OPERANDS)
ARITHMETIC(max, MAX, OPERANDS)

VEC_FP_PACKED(addsubps, binary32, fast_sub32, fast_add32, soft_sub32, soft_add32)
VEC_FP_PACKED(addsubpd, binary64, fast_sub64, fast_add64, soft_sub64, soft_add64)

/* The square root of the second source. */
VEC_INLINE bool fast_sqrt32(f32 a, f32 b, f32 *r)
{
    bool good = f32_normal(b) && !(b >> 31);
    *r = good ? f32_guest(__builtin_sqrtf(f32_host(b))) : 0;
    return good;
}

VEC_INLINE bool fast_sqrt64(f64 a, f64 b, f64 *r)
{
    bool good = f64_normal(b) && !(b >> 63);
    *r = good ? f64_guest(__builtin_sqrt(f64_host(b))) : 0;
    return good;
}

static f32 soft_sqrt32(struct fp *x, f32 a, f32 b)
{
    return f32_sqrt(x, b);
}

static f64 soft_sqrt64(struct fp *x, f64 a, f64 b)
{
    return f64_sqrt(x, b);
}

VEC_FP_PACKED(sqrtps, binary32, fast_sqrt32, fast_sqrt32, soft_sqrt32, soft_sqrt32)
VEC_FP_PACKED(sqrtpd, binary64, fast_sqrt64, fast_sqrt64, soft_sqrt64, soft_sqrt64)
VEC_FP_SCALAR(sqrtss, binary32, 4, fast_sqrt32, fast_sqrt32, soft_sqrt32, soft_sqrt32)
VEC_FP_SCALAR(sqrtsd, binary64, 8, fast_sqrt64, fast_sqrt64, soft_sqrt64, soft_sqrt64)

/* Horizontal: pairs of each 16 bytes of the first source, then of the second. */
VEC_INLINE bool horizontal32(struct cpu *c, const struct uop *u, unsigned n, bool vex, fast32 *fast,
                             soft32 *soft)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg even, odd, r;
    for (unsigned i = 0; i < n / 4; i++) {
        const union vreg *s = i & 2 ? b : a;
        even.d[i] = s->d[(i & 4) + 2 * (i & 1)];
        odd.d[i] = s->d[(i & 4) + 2 * (i & 1) + 1];
    }
    if (!lanes32(c, &r, &even, &odd, n / 4, fast, fast, soft, soft))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool horizontal64(struct cpu *c, const struct uop *u, unsigned n, bool vex, fast64 *fast,
                             soft64 *soft)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg even, odd, r;
    for (unsigned i = 0; i < n / 8; i++) {
        const union vreg *s = i & 1 ? b : a;
        even.q[i] = s->q[i & 2];
        odd.q[i] = s->q[(i & 2) + 1];
    }
    if (!lanes64(c, &r, &even, &odd, n / 8, fast, fast, soft, soft))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_FP_PACKED(haddps, horizontal32, fast_add32, soft_add32)
VEC_FP_PACKED(haddpd, horizontal64, fast_add64, soft_add64)
VEC_FP_PACKED(hsubps, horizontal32, fast_sub32, soft_sub32)
VEC_FP_PACKED(hsubpd, horizontal64, fast_sub64, soft_sub64)

/* Dot products: the products chosen by imm[7:4], summed, to the lanes of imm[3:0]. Each step raises
 * its exceptions before the next. The order of the operands, which shows when both are NaNs, is the
 * chips': the SDM leaves it open. */
VEC_INLINE bool dpps(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg x, y, r;
    for (unsigned i = 0; i < n / 4; i++) {
        bool take = imm >> (4 + (i & 3)) & 1;
        x.d[i] = take ? a->d[i] : 0;
        y.d[i] = take ? b->d[i] : 0;
    }
    if (!lanes32(c, &r, &x, &y, n / 4, fast_mul32, fast_mul32, soft_mul32, soft_mul32))
        return false;
    for (unsigned step = 1; step <= 2; step++) {
        for (unsigned i = 0; i < n / 4; i++) {
            x.d[i] = r.d[step == 1 ? i ^ 1 : i];
            y.d[i] = r.d[step == 1 ? i : i ^ 2];
        }
        if (!lanes32(c, &r, &x, &y, n / 4, fast_add32, fast_add32, soft_add32, soft_add32))
            return false;
    }
    for (unsigned i = 0; i < n / 4; i++)
        if (!(imm >> (i & 3) & 1))
            r.d[i] = 0;
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(dpps, dpps, (unsigned)u->imm)

VEC_INLINE bool dppd(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg x, y, r;
    for (unsigned i = 0; i < 2; i++) {
        bool take = imm >> (4 + i) & 1;
        x.q[i] = take ? a->q[i] : 0;
        y.q[i] = take ? b->q[i] : 0;
    }
    if (!lanes64(c, &r, &x, &y, 2, fast_mul64, fast_mul64, soft_mul64, soft_mul64))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        x.q[i] = r.q[i];
        y.q[i] = r.q[i ^ 1];
    }
    if (!lanes64(c, &r, &x, &y, 2, fast_add64, fast_add64, soft_add64, soft_add64))
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (!(imm >> i & 1))
            r.q[i] = 0;
    vec_put(c, u, &r, 16, vex);
    return true;
}
VEC_FP_PACKED(dppd, dppd, (unsigned)u->imm)

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

VEC_INLINE enum fp_order order32(struct fp *x, f32 a, f32 b, bool quiet)
{
    if (LIKELY(f32_easy(a) && f32_easy(b))) {
        float p = f32_host(a), q = f32_host(b);
        return p < q ? FP_LESS : p > q ? FP_GREATER : FP_EQUAL;
    }
    return f32_compare(x, a, b, quiet);
}

VEC_INLINE enum fp_order order64(struct fp *x, f64 a, f64 b, bool quiet)
{
    if (LIKELY(f64_easy(a) && f64_easy(b))) {
        double p = f64_host(a), q = f64_host(b);
        return p < q ? FP_LESS : p > q ? FP_GREATER : FP_EQUAL;
    }
    return f64_compare(x, a, b, quiet);
}

VEC_INLINE bool compare32(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    unsigned wanted = predicates[imm & 15];
    bool quiet = predicate_quiet(imm);
    for (unsigned i = 0; i < n / 4; i++)
        r.d[i] = wanted >> order32(&x, a->d[i], b->d[i], quiet) & 1 ? ~0u : 0;
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
        r.q[i] = wanted >> order64(&x, a->q[i], b->q[i], quiet) & 1 ? ~0ull : 0;
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
        is64 ? order64(&x, a->q[0], b->q[0], quiet) : order32(&x, a->d[0], b->d[0], quiet);
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
