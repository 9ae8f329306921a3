/* The x87's exact functions of exponents: FSCALE, FXTRACT, FPREM and FPREM1 (SDM 2). */
#include "cpu/softfp_core.h"
#include "cpu/x87.h"

/* a as a result: a pseudo-denormal becomes the normal number that it is. */
static struct f80 unchanged(struct f80 a)
{
    if (!(a.exp & 0x7fff) && a.sig >> 63)
        a.exp |= 1;
    return a;
}

struct f80 f80_scale(struct fp *x, struct f80 a, struct f80 by)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(by);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, by);
    if (v.kind == K_INF && ((v.sign && u.kind == K_INF) || (!v.sign && u.kind == K_ZERO)))
        return f80_invalid(x);
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    if (u.kind != K_FINITE || v.kind == K_ZERO)
        return unchanged(a);
    if (v.kind == K_INF)
        return v.sign ? f80_zero(u.sign) : f80_inf(u.sign);
    int n = 0;
    if (v.kind == K_FINITE && v.exp >= 0)
        n = v.exp > 16 ? 0x20000 : (int)(v.sig >> (63 - v.exp));
    x->precision = 64;
    return f80_round_pack(x, u.sign, u.exp + (v.sign ? -n : n), u.sig, 0);
}

struct f80 f80_extract(struct fp *x, struct f80 a, struct f80 *fraction)
{
    struct fpn u = f80_unpack(a);
    *fraction = a;
    if (fp_is_nan(&u))
        return *fraction = f80_propagate(x, a, a);
    if (u.kind == K_INF)
        return f80_inf(false);
    if (u.kind == K_ZERO) {
        x->flags |= FP_DIVZERO;
        return f80_inf(true);
    }
    if (u.den && fp_raise(x, FP_DENORMAL))
        return a;
    *fraction = (struct f80){u.sig, (uint16_t)(F80_BIAS | u.sign << 15)};
    return i64_to_f80(u.exp);
}

/* rest = a * 2^shift mod b, *q the quotient's low 64 bits. a < 2b or shift is 0. */
static uint64_t divide(uint64_t a, uint64_t b, unsigned shift, uint64_t *q)
{
    *q = a >= b;
    uint64_t rest = a >= b ? a - b : a;
    if (shift) {
        uint64_t whole = div_wide(rest >> (64 - shift), rest << shift, b, &rest);
        *q = (*q << shift) + whole;
    }
    return rest;
}

struct f80 f80_remainder(struct fp *x, struct f80 a, struct f80 b, bool nearest, unsigned *quotient,
                         bool *partial)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(b);
    *quotient = FP_NO_QUOTIENT;
    *partial = false;
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, b);
    if (u.kind == K_INF || v.kind == K_ZERO)
        return f80_invalid(x);
    if ((u.den || v.den) && fp_raise(x, FP_DENORMAL))
        return a;
    *quotient = 0;
    if (u.kind == K_ZERO || v.kind == K_INF)
        return unchanged(a);
    x->precision = 64;
    int d = u.exp - v.exp;
    uint64_t q = 0, rest;
    if (d >= 64) {
        /* Some of the quotient only; how much is the processor's choice between 32 and 63 bits. */
        unsigned n = 32 + ((unsigned)d & 31);
        *partial = true;
        rest = divide(u.sig, v.sig, n, &q);
        u.exp -= (int)n;
    } else if (d >= 0) {
        rest = divide(u.sig, v.sig, (unsigned)d, &q);
        u.exp = v.exp;
    } else {
        rest = u.sig;
    }
    if (nearest && !*partial && d >= -1) {
        /* To the nearest multiple, of two equally near the even one. */
        uint64_t twice = d < 0 ? rest : rest << 1;
        bool over = d >= 0 && rest >> 63;
        if (over || twice > v.sig || (twice == v.sig && (q & 1))) {
            if (d < 0) { /* b - a, in a's finer unit */
                u128 r = ((u128)v.sig << 1) - rest;
                unsigned z = clz128(r) - 64;
                u.sign = !u.sign;
                *quotient = 1;
                if (clz128(r) < 64)
                    return f80_round_pack(x, u.sign, u.exp + 1, (uint64_t)(r >> 1), r << 63);
                return f80_round_pack(x, u.sign, u.exp - (int)z, (uint64_t)r << z, 0);
            }
            rest = v.sig - rest;
            u.sign = !u.sign;
            q++;
        }
    }
    *quotient = *partial ? 0 : q & 7;
    if (!rest)
        return f80_zero(u.sign);
    unsigned z = (unsigned)__builtin_clzll(rest);
    return f80_round_pack(x, u.sign, u.exp - (int)z, rest << z, 0);
}
