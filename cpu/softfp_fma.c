/* Fused multiply and add of binary32 and binary64: a * b + c with one rounding (SDM 1 14.5.2). */
#include "cpu/softfp_core.h"

/* p * 2^(exp - 127) of sign `sign`, p nonzero. */
static inline uint64_t pack128(struct fp *x, bool sign, int exp, u128 p, unsigned frac)
{
    unsigned z = clz128(p);
    return fmt_round_pack(x, sign, exp - (int)z, jam128(p << z), frac);
}

/* The product of finite nonzero u and v, plus finite nonzero w. */
static inline uint64_t fma_finite(struct fp *x, const struct fpn *u, const struct fpn *v,
                                  const struct fpn *w, unsigned frac)
{
    bool sign = u->sign ^ v->sign;
    /* One bit of headroom for the sum; both have zeroes enough below to lose nothing there. */
    u128 p = (u128)u->sig * v->sig >> 1, q = (u128)w->sig << 63;
    int pe = u->exp + v->exp + 2, qe = w->exp + 1;
    int exp = pe;
    if (pe >= qe) {
        q = shift_right_jam128(q, (unsigned)(pe - qe));
    } else {
        p = shift_right_jam128(p, (unsigned)(qe - pe));
        exp = qe;
    }
    if (sign == w->sign)
        return pack128(x, sign, exp, p + q, frac);
    if (p == q)
        return fmt_make(x->round == FP_DOWN, 0, 0, frac);
    return p > q ? pack128(x, sign, exp, p - q, frac) : pack128(x, w->sign, exp, q - p, frac);
}

static inline uint64_t fma_any(struct fp *x, uint64_t a, uint64_t b, uint64_t c, unsigned frac)
{
    struct fpn u = fmt_unpack(x, a, frac), v = fmt_unpack(x, b, frac), w = fmt_unpack(x, c, frac);
    bool bad = (u.kind == K_INF && v.kind == K_ZERO) || (u.kind == K_ZERO && v.kind == K_INF);
    bool sign = u.sign ^ v.sign;
    if (u.kind == K_SNAN || v.kind == K_SNAN || w.kind == K_SNAN)
        x->flags |= FP_INVALID;
    if (fp_is_nan(&u))
        return fmt_quiet(a, frac);
    if (fp_is_nan(&v))
        return fmt_quiet(b, frac);
    if (fp_is_nan(&w))
        return fmt_quiet(c, frac); /* also of infinity times zero, which is then no invalid */
    bool product_inf = u.kind == K_INF || v.kind == K_INF;
    if (bad || (product_inf && w.kind == K_INF && sign != w.sign)) {
        x->flags |= FP_INVALID;
        return fmt_indefinite(frac);
    }
    if ((u.den || v.den || w.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (product_inf || w.kind == K_INF)
        return fmt_inf(product_inf ? sign : w.sign, frac);
    if (u.kind == K_ZERO || v.kind == K_ZERO) {
        if (w.kind != K_ZERO)
            return fmt_round_pack(x, w.sign, w.exp, w.sig, frac);
        return fmt_make(sign == w.sign ? sign : x->round == FP_DOWN, 0, 0, frac);
    }
    if (w.kind == K_ZERO)
        return pack128(x, sign, u.exp + v.exp + 1, (u128)u.sig * v.sig, frac);
    return fma_finite(x, &u, &v, &w, frac);
}

f32 f32_fma_slow(struct fp *x, f32 a, f32 b, f32 c)
{
    return (f32)fma_any(x, a, b, c, F32_FRAC);
}

f64 f64_fma(struct fp *x, f64 a, f64 b, f64 c)
{
    return fma_any(x, a, b, c, F64_FRAC);
}
