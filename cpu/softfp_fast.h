/* The common case of f32 and f64 arithmetic, by the host's floating point; included by softfp.h.
 *
 * C's float and double are binary32 and binary64 here, rounding to nearest, without traps, flushing
 * or contraction (meson.build sees to the last). So the host's result is the right one if the guest
 * also rounds to nearest. It raises no flag but inexact, which does not matter if that is masked
 * and was raised before, provided that
 *   - each operand is normal or zero: no NaN, infinity or denormal; and
 *   - the result is normal, and for products and quotients not the smallest normal number either
 *     (it may have been tiny before rounding), or is an exact zero. */
#ifndef ISHI_CPU_SOFTFP_FAST_H
#define ISHI_CPU_SOFTFP_FAST_H

#include "cpu/softfp.h"

_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE formats");

static inline float f32_host(f32 a)
{
    float v;
    memcpy(&v, &a, sizeof v);
    return v;
}

static inline double f64_host(f64 a)
{
    double v;
    memcpy(&v, &a, sizeof v);
    return v;
}

static inline f32 f32_guest(float v)
{
    f32 a;
    memcpy(&a, &v, sizeof a);
    return a;
}

static inline f64 f64_guest(double v)
{
    f64 a;
    memcpy(&a, &v, sizeof a);
    return a;
}

static inline bool fp_fast(const struct fp *x)
{
    return x->round == FP_NEAREST && (x->flags & x->masks & FP_INEXACT);
}

/* Normal, by one comparison. */
static inline bool f32_normal(f32 a)
{
    return (uint32_t)(a << 1) - 0x01000000u < 0xfe000000u;
}

static inline bool f64_normal(f64 a)
{
    return (a << 1) - (1ull << 53) < 0xffc0000000000000ull;
}

static inline bool f32_easy(f32 a)
{
    return f32_normal(a) || !(a << 1);
}

static inline bool f64_easy(f64 a)
{
    return f64_normal(a) || !(a << 1);
}

/* Normal, and not of the lowest exponent. */
static inline bool f32_clear(f32 a)
{
    return (uint32_t)(a << 1) - 0x02000000u < 0xfd000000u;
}

static inline bool f64_clear(f64 a)
{
    return (a << 1) - (2ull << 53) < 0xffa0000000000000ull;
}

static inline f32 f32_add(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(fp_fast(x) && f32_easy(a) && f32_easy(b))) {
        f32 r = f32_guest(f32_host(a) + f32_host(b));
        if (LIKELY(f32_easy(r)))
            return r;
    }
    return f32_add_slow(x, a, b);
}

static inline f32 f32_sub(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(fp_fast(x) && f32_easy(a) && f32_easy(b))) {
        f32 r = f32_guest(f32_host(a) - f32_host(b));
        if (LIKELY(f32_easy(r)))
            return r;
    }
    return f32_sub_slow(x, a, b);
}

static inline f32 f32_mul(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(fp_fast(x) && f32_easy(a) && f32_easy(b))) {
        f32 r = f32_guest(f32_host(a) * f32_host(b));
        if (LIKELY(f32_clear(r) || !(a << 1) || !(b << 1)))
            return r;
    }
    return f32_mul_slow(x, a, b);
}

static inline f32 f32_div(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(fp_fast(x) && f32_easy(a) && f32_normal(b))) {
        f32 r = f32_guest(f32_host(a) / f32_host(b));
        if (LIKELY(f32_clear(r) || !(a << 1)))
            return r;
    }
    return f32_div_slow(x, a, b);
}

static inline f32 f32_sqrt(struct fp *x, f32 a)
{
    if (LIKELY(fp_fast(x) && f32_normal(a) && !(a >> 31)))
        return f32_guest(__builtin_sqrtf(f32_host(a)));
    return f32_sqrt_slow(x, a);
}

/* The product is exact in binary64. The sum is rounded there and then to binary32, which is the
 * same as one rounding unless the first one ends half way between two of binary32. */
static inline f32 f32_fma(struct fp *x, f32 a, f32 b, f32 c)
{
    if (LIKELY(fp_fast(x) && f32_easy(a) && f32_easy(b) && f32_easy(c))) {
        double sum = (double)f32_host(a) * f32_host(b) + f32_host(c);
        f32 r = f32_guest((float)sum);
        if (LIKELY(f32_clear(r) && (f64_guest(sum) & 0x1fffffff) != 0x10000000))
            return r;
    }
    return f32_fma_slow(x, a, b, c);
}

static inline f64 f64_add(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(fp_fast(x) && f64_easy(a) && f64_easy(b))) {
        f64 r = f64_guest(f64_host(a) + f64_host(b));
        if (LIKELY(f64_easy(r)))
            return r;
    }
    return f64_add_slow(x, a, b);
}

static inline f64 f64_sub(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(fp_fast(x) && f64_easy(a) && f64_easy(b))) {
        f64 r = f64_guest(f64_host(a) - f64_host(b));
        if (LIKELY(f64_easy(r)))
            return r;
    }
    return f64_sub_slow(x, a, b);
}

static inline f64 f64_mul(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(fp_fast(x) && f64_easy(a) && f64_easy(b))) {
        f64 r = f64_guest(f64_host(a) * f64_host(b));
        if (LIKELY(f64_clear(r) || !(a << 1) || !(b << 1)))
            return r;
    }
    return f64_mul_slow(x, a, b);
}

static inline f64 f64_div(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(fp_fast(x) && f64_easy(a) && f64_normal(b))) {
        f64 r = f64_guest(f64_host(a) / f64_host(b));
        if (LIKELY(f64_clear(r) || !(a << 1)))
            return r;
    }
    return f64_div_slow(x, a, b);
}

static inline f64 f64_sqrt(struct fp *x, f64 a)
{
    if (LIKELY(fp_fast(x) && f64_normal(a) && !(a >> 63)))
        return f64_guest(__builtin_sqrt(f64_host(a)));
    return f64_sqrt_slow(x, a);
}

static inline f64 f32_to_f64(struct fp *x, f32 a)
{
    if (LIKELY(f32_easy(a)))
        return f64_guest((double)f32_host(a));
    return f32_to_f64_slow(x, a);
}

static inline f32 f64_to_f32(struct fp *x, f64 a)
{
    if (LIKELY(fp_fast(x) && f64_easy(a))) {
        f32 r = f32_guest((float)f64_host(a));
        if (LIKELY(f32_clear(r) || !(a << 1)))
            return r;
    }
    return f64_to_f32_slow(x, a);
}

/* Comparisons of easy numbers raise nothing. */
static inline enum fp_order f32_compare(struct fp *x, f32 a, f32 b, bool quiet)
{
    if (LIKELY(f32_easy(a) && f32_easy(b))) {
        float u = f32_host(a), v = f32_host(b);
        return u < v ? FP_LESS : u > v ? FP_GREATER : FP_EQUAL;
    }
    return f32_compare_slow(x, a, b, quiet);
}

static inline enum fp_order f64_compare(struct fp *x, f64 a, f64 b, bool quiet)
{
    if (LIKELY(f64_easy(a) && f64_easy(b))) {
        double u = f64_host(a), v = f64_host(b);
        return u < v ? FP_LESS : u > v ? FP_GREATER : FP_EQUAL;
    }
    return f64_compare_slow(x, a, b, quiet);
}

static inline f32 f32_min(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(f32_easy(a) && f32_easy(b)))
        return f32_host(a) < f32_host(b) ? a : b;
    return f32_min_slow(x, a, b);
}

static inline f32 f32_max(struct fp *x, f32 a, f32 b)
{
    if (LIKELY(f32_easy(a) && f32_easy(b)))
        return f32_host(a) > f32_host(b) ? a : b;
    return f32_max_slow(x, a, b);
}

static inline f64 f64_min(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(f64_easy(a) && f64_easy(b)))
        return f64_host(a) < f64_host(b) ? a : b;
    return f64_min_slow(x, a, b);
}

static inline f64 f64_max(struct fp *x, f64 a, f64 b)
{
    if (LIKELY(f64_easy(a) && f64_easy(b)))
        return f64_host(a) > f64_host(b) ? a : b;
    return f64_max_slow(x, a, b);
}

/* Truncation of what is well in range. */
static inline int32_t f32_to_i32(struct fp *x, f32 a, enum fp_round round)
{
    float v = f32_host(a);
    if (LIKELY(round == FP_ZERO && f32_easy(a) && v > -0x1p31f && v < 0x1p31f)) {
        int32_t r = (int32_t)v;
        if ((float)r != v)
            x->flags |= FP_INEXACT;
        return r;
    }
    return f32_to_i32_slow(x, a, round);
}

static inline int32_t f64_to_i32(struct fp *x, f64 a, enum fp_round round)
{
    double v = f64_host(a);
    if (LIKELY(round == FP_ZERO && f64_easy(a) && v > -0x1p31 && v < 0x1p31)) {
        int32_t r = (int32_t)v;
        if ((double)r != v)
            x->flags |= FP_INEXACT;
        return r;
    }
    return f64_to_i32_slow(x, a, round);
}

static inline int64_t f64_to_i64(struct fp *x, f64 a, enum fp_round round)
{
    double v = f64_host(a);
    if (LIKELY(round == FP_ZERO && f64_easy(a) && v > -0x1p63 && v < 0x1p63)) {
        int64_t r = (int64_t)v;
        if ((double)r != v)
            x->flags |= FP_INEXACT;
        return r;
    }
    return f64_to_i64_slow(x, a, round);
}

static inline f32 i32_to_f32(struct fp *x, int32_t a)
{
    if (LIKELY(a > -0x1000000 && a < 0x1000000)) /* exact */
        return f32_guest((float)a);
    return i32_to_f32_slow(x, a);
}

static inline f64 i32_to_f64(struct fp *x, int32_t a)
{
    return f64_guest((double)a);
}

static inline f64 i64_to_f64(struct fp *x, int64_t a)
{
    if (LIKELY(a > -(1ll << 53) && a < 1ll << 53)) /* exact */
        return f64_guest((double)a);
    return i64_to_f64_slow(x, a);
}

/* Widening is exact; only the rare kinds leave the line. */
static inline struct f80 f32_widen(f32 a, bool *den)
{
    *den = false;
    if (LIKELY(f32_normal(a)))
        return (struct f80){1ull << 63 | (uint64_t)a << 40,
                            (uint16_t)(((a >> 23 & 0xff) + 16383 - 127) | (a >> 31) << 15)};
    if (!(a << 1))
        return (struct f80){0, (uint16_t)(a >> 31 << 15)};
    return f32_widen_slow(a, den);
}

static inline struct f80 f64_widen(f64 a, bool *den)
{
    *den = false;
    if (LIKELY(f64_normal(a)))
        return (struct f80){1ull << 63 | a << 11,
                            (uint16_t)(((a >> 52 & 0x7ff) + 16383 - 1023) | (a >> 63) << 15)};
    if (!(a << 1))
        return (struct f80){0, (uint16_t)(a >> 63 << 15)};
    return f64_widen_slow(a, den);
}

#endif
