/* The 80-bit format: the four operations, square root and comparison, as the x87 does them
 * (SDM 1 8.2, 8.3, 8.5). Results are rounded to x->precision bits but keep the format's exponent
 * range (SDM 1 8.1.5.2). */
#include "cpu/softfp_core.h"

static struct f80 quiet(struct f80 a)
{
    a.sig |= F80_QUIET;
    return a;
}

/* Of two NaNs of one kind the larger significand wins; of equal ones the positive. A quiet one
 * wins over a signalling one. */
struct f80 f80_propagate(struct fp *x, struct f80 a, struct f80 b)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    if (u.kind == K_UNSUPPORTED || v.kind == K_UNSUPPORTED)
        return f80_invalid(x);
    if (u.kind == K_SNAN || v.kind == K_SNAN)
        x->flags |= FP_INVALID;
    if (!fp_is_nan(&v))
        return quiet(a);
    if (!fp_is_nan(&u))
        return quiet(b);
    if (u.kind != v.kind)
        return u.kind == K_QNAN ? a : b;
    if (u.sig != v.sig)
        return quiet(u.sig > v.sig ? a : b);
    return quiet(u.sign ? b : a);
}

static inline bool is_normal(struct f80 a)
{
    return (a.exp & 0x7fffu) - 1 < 0x7ffe && a.sig >> 63;
}

/* The sum of two finite nonzero numbers, u not smaller in magnitude than v. */
static inline struct f80 add_ordered(struct fp *x, const struct fpn *u, const struct fpn *v)
{
    unsigned d = (unsigned)(u->exp - v->exp);
    uint64_t hi = 0, lo = 1;
    if (d < 64) {
        hi = v->sig >> d;
        lo = d ? v->sig << (64 - d) : 0;
    } else if (d < 128) {
        lo = shift_right_jam(v->sig, d - 64);
    }
    if (u->sign == v->sign) {
        hi += u->sig;
        if (hi < u->sig) {
            lo = hi << 63 | lo >> 1 | (lo & 1);
            return f80_round_pack(x, u->sign, u->exp + 1, F80_INT | hi >> 1, lo);
        }
        return f80_round_pack(x, u->sign, u->exp, hi, lo);
    }
    hi = u->sig - hi - (lo != 0);
    lo = 0 - lo;
    int exp = u->exp;
    if (!hi) {
        if (!lo)
            return f80_zero(x->round == FP_DOWN);
        hi = lo;
        lo = 0;
        exp -= 64;
    }
    unsigned z = (unsigned)__builtin_clzll(hi);
    if (z) {
        hi = hi << z | lo >> (64 - z);
        lo <<= z;
    }
    return f80_round_pack(x, u->sign, exp - (int)z, hi, lo);
}

static inline struct f80 add_finite(struct fp *x, const struct fpn *u, const struct fpn *v)
{
    if (u->exp > v->exp || (u->exp == v->exp && u->sig >= v->sig))
        return add_ordered(x, u, v);
    return add_ordered(x, v, u);
}

static struct f80 add_special(struct fp *x, struct f80 a, struct f80 b, bool negate)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, b);
    v.sign ^= negate;
    if (u.kind == K_INF && v.kind == K_INF && u.sign != v.sign)
        return f80_invalid(x);
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF || v.kind == K_INF)
        return f80_inf(u.kind == K_INF ? u.sign : v.sign);
    if (u.kind == K_ZERO && v.kind == K_ZERO)
        return f80_zero(u.sign == v.sign ? u.sign : x->round == FP_DOWN);
    if (u.kind == K_ZERO)
        return f80_round_pack(x, v.sign, v.exp, v.sig, 0);
    if (v.kind == K_ZERO)
        return f80_round_pack(x, u.sign, u.exp, u.sig, 0);
    return add_finite(x, &u, &v);
}

static inline struct f80 add(struct fp *x, struct f80 a, struct f80 b, bool negate)
{
    if (UNLIKELY(!is_normal(a) || !is_normal(b)))
        return add_special(x, a, b, negate);
    struct fpn u = {.sig = a.sig, .exp = (a.exp & 0x7fff) - F80_BIAS, .sign = a.exp >> 15};
    struct fpn v = {.sig = b.sig, .exp = (b.exp & 0x7fff) - F80_BIAS, .sign = b.exp >> 15};
    v.sign ^= negate;
    return add_finite(x, &u, &v);
}

struct f80 f80_add(struct fp *x, struct f80 a, struct f80 b)
{
    return add(x, a, b, false);
}

struct f80 f80_sub(struct fp *x, struct f80 a, struct f80 b)
{
    return add(x, a, b, true);
}

static inline struct f80 mul_finite(struct fp *x, bool sign, int exp, uint64_t a, uint64_t b)
{
    u128 p = (u128)a * b;
    unsigned shift = !(p >> 127);
    p <<= shift;
    return f80_round_pack(x, sign, exp + 1 - (int)shift, (uint64_t)(p >> 64), (uint64_t)p);
}

static struct f80 mul_special(struct fp *x, struct f80 a, struct f80 b)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, b);
    if ((u.kind == K_INF && v.kind == K_ZERO) || (u.kind == K_ZERO && v.kind == K_INF))
        return f80_invalid(x);
    bool sign = u.sign ^ v.sign;
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF || v.kind == K_INF)
        return f80_inf(sign);
    if (u.kind == K_ZERO || v.kind == K_ZERO)
        return f80_zero(sign);
    return mul_finite(x, sign, u.exp + v.exp, u.sig, v.sig);
}

struct f80 f80_mul(struct fp *x, struct f80 a, struct f80 b)
{
    if (UNLIKELY(!is_normal(a) || !is_normal(b)))
        return mul_special(x, a, b);
    int exp = (a.exp & 0x7fff) + (b.exp & 0x7fff) - 2 * F80_BIAS;
    return mul_finite(x, (a.exp ^ b.exp) >> 15, exp, a.sig, b.sig);
}

static inline struct f80 div_finite(struct fp *x, bool sign, int exp, uint64_t a, uint64_t b)
{
    bool less = a < b;
    uint64_t r, q = div_wide(less ? a : a >> 1, less ? 0 : a << 63, b, &r), lo = 0;
    /* The quotient's further bits, as far as rounding asks: over, at or below a half. */
    if (r)
        lo = r > b - r ? 3ull << 62 : r == b - r ? 1ull << 63 : 1;
    return f80_round_pack(x, sign, exp - less, q, lo);
}

static struct f80 div_special(struct fp *x, struct f80 a, struct f80 b)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, b);
    if (u.kind == v.kind && u.kind != K_FINITE)
        return f80_invalid(x);
    bool sign = u.sign ^ v.sign;
    if (v.kind == K_ZERO) {
        if (u.kind != K_INF)
            x->flags |= FP_DIVZERO;
        return f80_inf(sign);
    }
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF)
        return f80_inf(sign);
    if (u.kind == K_ZERO || v.kind == K_INF)
        return f80_zero(sign);
    return div_finite(x, sign, u.exp - v.exp, u.sig, v.sig);
}

struct f80 f80_div(struct fp *x, struct f80 a, struct f80 b)
{
    if (UNLIKELY(!is_normal(a) || !is_normal(b)))
        return div_special(x, a, b);
    return div_finite(x, (a.exp ^ b.exp) >> 15, (a.exp & 0x7fff) - (b.exp & 0x7fff), a.sig, b.sig);
}

struct f80 f80_sqrt(struct fp *x, struct f80 a)
{
    struct fpn u = f80_unpack(a);
    if (fp_is_nan(&u))
        return f80_propagate(x, a, a);
    if (u.kind == K_ZERO)
        return a;
    if (u.sign)
        return f80_invalid(x);
    if (u.den && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind == K_INF)
        return a;
    bool odd = u.exp & 1;
    u128 n = (u128)u.sig << (odd ? 64 : 63);
    uint64_t r = fp_isqrt128(n);
    u128 rest = n - (u128)r * r;
    /* (r + 1/2)^2 = r^2 + r + 1/4: never met exactly. */
    uint64_t lo = !rest ? 0 : rest > r ? 3ull << 62 : 1;
    return f80_round_pack(x, false, (u.exp - odd) / 2, r, lo);
}

enum fp_order f80_compare(struct fp *x, struct f80 a, struct f80 b, bool quiet_nan)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    if (fp_is_nan(&u) || fp_is_nan(&v)) {
        if (!quiet_nan || u.kind > K_QNAN || v.kind > K_QNAN)
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
    if (u.exp == v.exp && u.sig == v.sig)
        return FP_EQUAL;
    bool less = u.exp < v.exp || (u.exp == v.exp && u.sig < v.sig);
    return less != u.sign ? FP_LESS : FP_GREATER;
}
