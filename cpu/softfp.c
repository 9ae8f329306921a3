/* binary32 and binary64: the four operations, square root, comparison, minimum and maximum, and
 * the rounding core of all formats (SDM 1 4.8.3, 4.8.4, 4.9, 11.5).
 *
 * NaNs here follow SSE: the first operand if it is a NaN, else the second (SDM 1 table 4-7). */
#include "cpu/softfp_core.h"

/* Rounds v to its upper 128 - drop bits by x->round. *carry: it became 2^128, stored as 2^127. */
static bool round128(struct fp *x, bool sign, u128 *v, unsigned drop, bool *carry)
{
    u128 unit = (u128)1 << drop, low = *v & (unit - 1), half = unit >> 1;
    bool up = false;
    if (x->round == FP_NEAREST)
        up = low > half || (low == half && (*v & unit));
    else if (x->round != FP_ZERO && sign == (x->round == FP_DOWN))
        up = low != 0;
    *v = *v - low + (up ? unit : 0);
    *carry = up && !*v;
    if (*carry)
        *v = (u128)1 << 127;
    x->rounded_up = up;
    return low != 0;
}

/* On overflow, is it infinity (else the largest finite number)? */
static bool overflow_is_inf(const struct fp *x, bool sign)
{
    return x->round == FP_NEAREST || (x->round != FP_ZERO && sign == (x->round == FP_DOWN));
}

uint64_t fmt_round_pack_slow(struct fp *x, bool sign, int exp, uint64_t sig, unsigned frac)
{
    const unsigned drop = 127 - frac;
    const int emax = (int)fmt_emax(frac);
    int biased = exp + fmt_bias(frac);
    bool carry;
    u128 v = (u128)sig << 64;
    bool inexact = round128(x, sign, &v, drop, &carry);
    if (biased + carry >= emax) {
        x->flags |= FP_OVERFLOW;
        if (!(x->masks & FP_OVERFLOW)) {
            x->flags |= inexact ? FP_INEXACT : 0;
            return fmt_inf(sign, frac);
        }
        x->flags |= FP_INEXACT;
        x->rounded_up = overflow_is_inf(x, sign);
        return fmt_inf(sign, frac) - !x->rounded_up;
    }
    if (biased + carry <= 0) { /* tiny, as seen after rounding (SDM 1 4.9.1.5) */
        if (!(x->masks & FP_UNDERFLOW)) {
            x->flags |= FP_UNDERFLOW | (inexact ? FP_INEXACT : 0);
            return fmt_make(sign, 0, 0, frac);
        }
        if (x->flush) {
            x->flags |= FP_UNDERFLOW | FP_INEXACT;
            return fmt_make(sign, 0, 0, frac);
        }
        v = shift_right_jam128((u128)sig << 64, (unsigned)(1 - biased));
        if (round128(x, sign, &v, drop, &carry))
            x->flags |= FP_UNDERFLOW | FP_INEXACT;
        return fmt_make(sign, 0, 0, frac) + (uint64_t)(v >> drop);
    }
    if (inexact)
        x->flags |= FP_INEXACT;
    biased += carry;
    return fmt_make(sign, (unsigned)(biased - 1), 0, frac) + (uint64_t)(v >> drop);
}

struct f80 f80_round_pack_slow(struct fp *x, bool sign, int exp, uint64_t hi, uint64_t lo)
{
    const unsigned drop = 128 - x->precision;
    const u128 whole = (u128)hi << 64 | lo;
    int biased = exp + F80_BIAS;
    u128 v = whole;
    bool carry, inexact = round128(x, sign, &v, drop, &carry);
    if (biased + carry > 0x7ffe) {
        x->flags |= FP_OVERFLOW;
        bool masked = x->masks & FP_OVERFLOW;
        if (masked || biased - F80_ADJUST > 0x7ffe) { /* FSCALE can go so far */
            x->flags |= FP_INEXACT;
            x->rounded_up = !masked || overflow_is_inf(x, sign);
            if (x->rounded_up)
                return f80_inf(sign);
            return (struct f80){~0ull << (64 - x->precision), (uint16_t)(0x7ffe | sign << 15)};
        }
        biased -= F80_ADJUST;
    } else if (biased + carry <= 0) {
        bool masked = x->masks & FP_UNDERFLOW;
        if (!masked) {
            x->flags |= FP_UNDERFLOW;
            biased += F80_ADJUST;
        }
        if (biased + carry <= 0 && !masked) { /* FSCALE again */
            x->flags |= FP_INEXACT;
            x->rounded_up = false;
            return (struct f80){0, (uint16_t)(sign << 15)};
        }
        if (masked) {
            v = shift_right_jam128(whole, (unsigned)(1 - biased));
            inexact = round128(x, sign, &v, drop, &carry);
            if (inexact)
                x->flags |= FP_UNDERFLOW;
            biased = v >> 127 ? 1 : 0;
            carry = false;
        }
    }
    if (inexact)
        x->flags |= FP_INEXACT;
    biased += carry;
    return (struct f80){(uint64_t)(v >> 64), (uint16_t)(biased | sign << 15)};
}

uint64_t fp_isqrt128(u128 n)
{
    /* 53 good bits, and then one step of Newton's, whose error is never below the root. */
    double estimate = __builtin_sqrt((double)(uint64_t)(n >> 64)) * 4294967296.0;
    uint64_t r = estimate < 18446744073709551615.0 ? (uint64_t)estimate : ~0ull;
    if (UNLIKELY((uint64_t)(n >> 64) >= r)) { /* near the top; the quotient must fit */
        r = ~0ull;
        if ((uint64_t)(n >> 64) == r)
            return r;
    }
    uint64_t rest, q = div_wide((uint64_t)(n >> 64), (uint64_t)n, r, &rest);
    r = (uint64_t)(((u128)q + r) >> 1);
    while ((u128)r * r > n)
        r--;
    return r;
}

static uint64_t invalid(struct fp *x, unsigned frac)
{
    x->flags |= FP_INVALID;
    return fmt_indefinite(frac);
}

static inline uint64_t propagate(struct fp *x, uint64_t a, uint64_t b, const struct fpn *u,
                                 const struct fpn *v, unsigned frac)
{
    if (u->kind == K_SNAN || v->kind == K_SNAN)
        x->flags |= FP_INVALID;
    return fmt_quiet(fp_is_nan(u) ? a : b, frac);
}

/* The sum of two finite nonzero numbers of like sign: u is the larger. */
static inline uint64_t add_same(struct fp *x, const struct fpn *u, const struct fpn *v,
                                unsigned frac)
{
    uint64_t b = shift_right_jam(v->sig, (unsigned)(u->exp - v->exp)), sum = u->sig + b;
    if (sum < b)
        return fmt_round_pack(x, u->sign, u->exp + 1, 1ull << 63 | sum >> 1 | (sum & 1), frac);
    return fmt_round_pack(x, u->sign, u->exp, sum, frac);
}

/* |u| - |v| with u's sign, |u| > |v|. */
static inline uint64_t sub_magnitude(struct fp *x, const struct fpn *u, const struct fpn *v,
                                     unsigned frac)
{
    uint64_t diff = u->sig - shift_right_jam(v->sig, (unsigned)(u->exp - v->exp));
    unsigned z = (unsigned)__builtin_clzll(diff);
    return fmt_round_pack(x, u->sign, u->exp - (int)z, diff << z, frac);
}

static inline uint64_t add(struct fp *x, uint64_t a, uint64_t b, bool negate, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac), v = fmt_unpack(x, b, frac);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return propagate(x, a, b, &u, &v, frac);
    v.sign ^= negate;
    if (u.kind == K_INF && v.kind == K_INF && u.sign != v.sign)
        return invalid(x, frac);
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF || v.kind == K_INF)
        return fmt_inf(u.kind == K_INF ? u.sign : v.sign, frac);
    if (u.kind == K_ZERO && v.kind == K_ZERO)
        return fmt_make(u.sign == v.sign ? u.sign : x->round == FP_DOWN, 0, 0, frac);
    if (u.kind == K_ZERO)
        return fmt_round_pack(x, v.sign, v.exp, v.sig, frac);
    if (v.kind == K_ZERO)
        return fmt_round_pack(x, u.sign, u.exp, u.sig, frac);
    bool u_larger = u.exp > v.exp || (u.exp == v.exp && u.sig > v.sig);
    if (u.sign == v.sign)
        return u_larger ? add_same(x, &u, &v, frac) : add_same(x, &v, &u, frac);
    if (u.exp == v.exp && u.sig == v.sig)
        return fmt_make(x->round == FP_DOWN, 0, 0, frac);
    return u_larger ? sub_magnitude(x, &u, &v, frac) : sub_magnitude(x, &v, &u, frac);
}

static inline uint64_t mul(struct fp *x, uint64_t a, uint64_t b, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac), v = fmt_unpack(x, b, frac);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return propagate(x, a, b, &u, &v, frac);
    if ((u.kind == K_INF && v.kind == K_ZERO) || (u.kind == K_ZERO && v.kind == K_INF))
        return invalid(x, frac);
    bool sign = u.sign ^ v.sign;
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF || v.kind == K_INF)
        return fmt_inf(sign, frac);
    if (u.kind == K_ZERO || v.kind == K_ZERO)
        return fmt_make(sign, 0, 0, frac);
    u128 p = (u128)u.sig * v.sig;
    int exp = u.exp + v.exp + 1;
    if (!(p >> 127)) {
        p <<= 1;
        exp--;
    }
    return fmt_round_pack(x, sign, exp, jam128(p), frac);
}

static inline uint64_t div(struct fp *x, uint64_t a, uint64_t b, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac), v = fmt_unpack(x, b, frac);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return propagate(x, a, b, &u, &v, frac);
    if (u.kind == v.kind && u.kind != K_FINITE)
        return invalid(x, frac);
    bool sign = u.sign ^ v.sign;
    if (v.kind == K_ZERO) {
        if (u.kind != K_INF)
            x->flags |= FP_DIVZERO;
        return fmt_inf(sign, frac);
    }
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF)
        return fmt_inf(sign, frac);
    if (u.kind == K_ZERO || v.kind == K_INF)
        return fmt_make(sign, 0, 0, frac);
    bool less = u.sig < v.sig;
    uint64_t rest, q = div_wide(less ? u.sig : u.sig >> 1, less ? 0 : u.sig << 63, v.sig, &rest);
    q |= rest != 0;
    return fmt_round_pack(x, sign, u.exp - v.exp - less, q, frac);
}

static inline uint64_t root(struct fp *x, uint64_t a, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac);
    if (fp_is_nan(&u))
        return propagate(x, a, a, &u, &u, frac);
    if (u.kind == K_ZERO)
        return fmt_make(u.sign, 0, 0, frac);
    if (u.sign)
        return invalid(x, frac);
    if (u.den && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF)
        return a;
    bool odd = u.exp & 1;
    u128 n = (u128)u.sig << (odd ? 64 : 63);
    uint64_t r = fp_isqrt128(n);
    return fmt_round_pack(x, false, (u.exp - odd) / 2, r | ((u128)r * r != n), frac);
}

static inline enum fp_order order(struct fp *x, uint64_t a, uint64_t b, bool quiet, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac), v = fmt_unpack(x, b, frac);
    if (fp_is_nan(&u) || fp_is_nan(&v)) {
        if (!quiet || u.kind == K_SNAN || v.kind == K_SNAN)
            x->flags |= FP_INVALID;
        return FP_UNORDERED;
    }
    if (u.den || v.den)
        x->flags |= FP_DENORMAL;
    if (u.kind == K_ZERO && v.kind == K_ZERO)
        return FP_EQUAL;
    if (u.kind == K_ZERO)
        return v.sign ? FP_GREATER : FP_LESS;
    if (v.kind == K_ZERO || u.sign != v.sign)
        return u.sign ? FP_LESS : FP_GREATER;
    if (a == b)
        return FP_EQUAL;
    return (a < b) != u.sign ? FP_LESS : FP_GREATER;
}

/* MIN (want FP_LESS) and MAX (want FP_GREATER): SDM 2 MINPS. A denormal that DAZ takes for zero is
 * returned as zero. */
static inline uint64_t choose(struct fp *x, uint64_t a, uint64_t b, enum fp_order want,
                              unsigned frac)
{
    uint64_t r = order(x, a, b, false, frac) == want ? a : b;
    if (x->daz && !(r >> frac & fmt_emax(frac)))
        return r & 1ull << fmt_sign_bit(frac);
    return r;
}

f32 f32_add_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)add(x, a, b, false, F32_FRAC);
}

f32 f32_sub_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)add(x, a, b, true, F32_FRAC);
}

f32 f32_mul_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)mul(x, a, b, F32_FRAC);
}

f32 f32_div_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)div(x, a, b, F32_FRAC);
}

f32 f32_sqrt_slow(struct fp *x, f32 a)
{
    return (f32)root(x, a, F32_FRAC);
}

f64 f64_add_slow(struct fp *x, f64 a, f64 b)
{
    return add(x, a, b, false, F64_FRAC);
}

f64 f64_sub_slow(struct fp *x, f64 a, f64 b)
{
    return add(x, a, b, true, F64_FRAC);
}

f64 f64_mul_slow(struct fp *x, f64 a, f64 b)
{
    return mul(x, a, b, F64_FRAC);
}

f64 f64_div_slow(struct fp *x, f64 a, f64 b)
{
    return div(x, a, b, F64_FRAC);
}

f64 f64_sqrt_slow(struct fp *x, f64 a)
{
    return root(x, a, F64_FRAC);
}

enum fp_order f32_compare_slow(struct fp *x, f32 a, f32 b, bool quiet)
{
    return order(x, a, b, quiet, F32_FRAC);
}

enum fp_order f64_compare_slow(struct fp *x, f64 a, f64 b, bool quiet)
{
    return order(x, a, b, quiet, F64_FRAC);
}

f32 f32_min_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)choose(x, a, b, FP_LESS, F32_FRAC);
}

f32 f32_max_slow(struct fp *x, f32 a, f32 b)
{
    return (f32)choose(x, a, b, FP_GREATER, F32_FRAC);
}

f64 f64_min_slow(struct fp *x, f64 a, f64 b)
{
    return choose(x, a, b, FP_LESS, F64_FRAC);
}

f64 f64_max_slow(struct fp *x, f64 a, f64 b)
{
    return choose(x, a, b, FP_GREATER, F64_FRAC);
}
