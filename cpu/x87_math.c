/* The x87's transcendental functions, in integers of 128 bits: one answer on every host.
 *
 * Each function is reduced to a short series with an error below 2^-90 of the result, which is then
 * rounded by RC to 64 bits: so results are off by hardly more than half a unit in the last place to
 * nearest, and one in the other modes, within the SDM's bound of one (SDM 1 8.3.10). C1 tells the
 * direction of that rounding. As in the processors, they raise inexact even where the result is
 * exact, but for operands that are zero or infinite.
 *
 * Trigonometric arguments are reduced by the processors' own pi of 66 bits (SDM 1 8.3.8), exactly.
 * PC has no say in any of these (SDM 1 8.1.5.2).
 *
 * A `wide` is sig * 2^(exp - 127), its bit 127 set; or zero. A `fix` is a fraction of 2^127. */
#include "cpu/x87.h"
#include "cpu/x87_tables.h"

struct wide {
    u128 sig;
    int exp;
    bool sign;
};

/* The upper half of the product, at most three units too small. */
static inline u128 mul_high(u128 a, u128 b)
{
    uint64_t ah = (uint64_t)(a >> 64), al = (uint64_t)a;
    uint64_t bh = (uint64_t)(b >> 64), bl = (uint64_t)b;
    return (u128)ah * bh + ((u128)ah * bl >> 64) + ((u128)al * bh >> 64);
}

static struct wide wide_make(bool sign, int exp, u128 sig)
{
    if (!sig)
        return (struct wide){0, 0, sign};
    unsigned z = clz128(sig);
    return (struct wide){sig << z, exp - (int)z, sign};
}

static struct wide wide_of(const struct fpn *n)
{
    return (struct wide){(u128)n->sig << 64, n->exp, n->sign};
}

static struct wide wide_int(int v)
{
    return wide_make(v < 0, 127, (u128)(unsigned)(v < 0 ? -v : v));
}

static struct wide wide_mul(struct wide a, struct wide b)
{
    return wide_make(a.sign ^ b.sign, a.exp + b.exp + 1, mul_high(a.sig, b.sig));
}

static struct wide wide_add(struct wide a, struct wide b)
{
    if (!a.sig || !b.sig)
        return a.sig ? a : b;
    if (a.exp < b.exp || (a.exp == b.exp && a.sig < b.sig)) {
        struct wide t = a;
        a = b;
        b = t;
    }
    unsigned d = (unsigned)(a.exp - b.exp);
    u128 low = d < 127 ? b.sig >> 1 >> d : 0;
    return wide_make(a.sign, a.exp + 1, a.sign == b.sign ? (a.sig >> 1) + low : (a.sig >> 1) - low);
}

static struct wide wide_negate(struct wide a)
{
    a.sign = !a.sign;
    return a;
}

/* The next 64 bits of n / d, and the rest to n; n < d, d with bit 127 set. */
static uint64_t divide_step(u128 *n, u128 d)
{
    uint64_t dh = (uint64_t)(d >> 64), dl = (uint64_t)d, rest, q;
    if (UNLIKELY((uint64_t)(*n >> 64) >= dh)) { /* equal: n < d */
        q = ~0ull;
        u128 r = *n - (u128)q * dh;
        if (r >> 64) { /* more than any q * dl can take away */
            *n = (r << 64) - (u128)q * dl;
            return q;
        }
        rest = (uint64_t)r;
    } else {
        q = div_wide((uint64_t)(*n >> 64), (uint64_t)*n, dh, &rest);
    }
    /* The estimate by the upper half of d is at most two too large. */
    u128 left = (u128)rest << 64, take = (u128)q * dl;
    while (take > left) {
        q--;
        take -= dl;
        if (left + ((u128)dh << 64) < left) { /* beyond 128 bits, so certainly enough */
            left += (u128)dh << 64;
            break;
        }
        left += (u128)dh << 64;
    }
    *n = left - take;
    return q;
}

static struct wide wide_div(struct wide a, struct wide b)
{
    if (!a.sig)
        return (struct wide){0, 0, a.sign ^ b.sign};
    bool less = a.sig < b.sig;
    u128 n = less ? a.sig : a.sig - b.sig;
    uint64_t high = divide_step(&n, b.sig), low = divide_step(&n, b.sig);
    u128 q = (u128)high << 64 | low;
    if (!less)
        q = (u128)1 << 127 | q >> 1;
    return wide_make(a.sign ^ b.sign, a.exp - b.exp - less, q);
}

/* To 80 bits. `exact`: the wide is the result itself, not an approximation of it; inexact is
 * raised nevertheless, and underflow of a tiny result, as processors do. */
static struct f80 finish(struct fp *x, struct wide w, bool exact)
{
    x->precision = 64;
    x->flags |= FP_INEXACT;
    if (!w.sig)
        return f80_zero(w.sign);
    if (exact && w.exp < 1 - F80_BIAS)
        x->flags |= FP_UNDERFLOW;
    return f80_round_pack(x, w.sign, w.exp, (uint64_t)(w.sig >> 64), (uint64_t)w.sig | !exact);
}

static struct f80 rounded(struct fp *x, struct wide w)
{
    return finish(x, w, false);
}

/* z as a fixed fraction of 2^128, z.exp < 0. */
static u128 fix_of(struct wide z)
{
    unsigned shift = (unsigned)(-1 - z.exp);
    return shift < 128 ? z.sig >> shift : 0;
}

/* terms[0] + z terms[1] + … + z^n terms[n], or with alternating signs; z of 2^128, terms of 2^127.
 */
static u128 series(const u128 *terms, unsigned n, u128 z, bool alternate)
{
    u128 sum = terms[n];
    while (n--)
        sum = alternate ? terms[n] - mul_high(sum, z) : terms[n] + mul_high(sum, z);
    return sum - alternate;
}

/* How many terms beyond the first leave an error below 2^-bits, if each brings 2^exp at least. */
static unsigned terms_for(int exp, unsigned bits, unsigned most)
{
    unsigned n = exp < 0 ? bits / (unsigned)-exp + 1 : most;
    return n < most ? n : most;
}

/* ---- Logarithms ---- */

/* (2 / ln 2) * atanh(s), |s| < 0.18. */
static struct wide log2_of_ratio(struct wide s)
{
    struct wide square = wide_mul(s, s);
    u128 z = s.sig ? fix_of(square) : 0;
    unsigned n = terms_for(square.exp, 92, ARRAY_LEN(odd_reciprocals) - 1);
    struct wide a = wide_make(false, 0, series(odd_reciprocals, n, z, false));
    return wide_mul(wide_mul(s, a), wide_make(false, 2, two_log2e_quarter));
}

/* log2 of a positive number. */
static struct wide log2_wide(struct wide a)
{
    /* Into sqrt(1/2) … sqrt(2), roughly. */
    int e = a.exp + (a.sig >> 120 >= 0xb5);
    a.exp -= e;
    struct wide one = wide_int(1);
    struct wide s = wide_div(wide_add(a, wide_negate(one)), wide_add(a, one));
    struct wide fraction = log2_of_ratio(s);
    return wide_add(wide_int(e), fraction);
}

static bool operands(struct fp *x, const struct fpn *u, const struct fpn *v)
{
    return !((u->den || v->den) && fp_raise(x, FP_DENORMAL));
}

struct f80 f80_yl2x(struct fp *x, struct f80 a, struct f80 y)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(y);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, y);
    bool one = u.kind == K_FINITE && !u.exp && u.sig == F80_INT;
    bool below = u.kind == K_ZERO || (u.kind == K_FINITE && u.exp < 0);
    if ((u.sign && u.kind != K_ZERO) || (one && v.kind == K_INF) ||
        (v.kind == K_ZERO && (u.kind == K_ZERO || u.kind == K_INF)))
        return f80_invalid(x);
    if (u.kind == K_ZERO && v.kind == K_FINITE) {
        x->flags |= FP_DIVZERO;
        return f80_inf(!v.sign);
    }
    if (!operands(x, &u, &v))
        return a;
    if (v.kind == K_INF || u.kind == K_INF)
        return f80_inf(v.sign ^ below);
    if (v.kind == K_ZERO || one)
        return f80_zero(v.sign ^ below);
    if (u.sig == F80_INT) /* a power of two */
        return finish(x, wide_mul(wide_int(u.exp), wide_of(&v)), true);
    return rounded(x, wide_mul(log2_wide(wide_of(&u)), wide_of(&v)));
}

struct f80 f80_yl2xp1(struct fp *x, struct f80 a, struct f80 y)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(y);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, y);
    if ((u.kind == K_INF && (u.sign || v.kind == K_ZERO)) || (u.kind == K_ZERO && v.kind == K_INF))
        return f80_invalid(x);
    if (!operands(x, &u, &v))
        return a;
    bool sign = u.sign ^ v.sign;
    if (u.kind == K_INF || v.kind == K_INF)
        return f80_inf(sign);
    if (u.kind == K_ZERO || v.kind == K_ZERO)
        return f80_zero(sign);
    struct wide w = wide_of(&u), log;
    if (u.exp < -2) {
        log = log2_of_ratio(wide_div(w, wide_add(w, wide_int(2))));
    } else {
        w = wide_add(w, wide_int(1));
        if (w.sign || !w.sig) { /* -1 and below, undefined: processors leave a */
            x->flags |= FP_INEXACT;
            return a;
        }
        log = log2_wide(w);
    }
    return rounded(x, wide_mul(log, wide_of(&v)));
}

/* ---- 2^a - 1, for |a| <= 1. Beyond, where the SDM defines nothing, a is left as it is ---- */

struct f80 f80_2xm1(struct fp *x, struct f80 a)
{
    struct fpn u = f80_unpack(a);
    if (fp_is_nan(&u))
        return f80_propagate(x, a, a);
    if (u.kind == K_INF)
        return u.sign ? (struct f80){F80_INT, 0xbfff} : a;
    if (u.kind == K_ZERO)
        return a;
    if (!operands(x, &u, &u))
        return a;
    if (u.exp >= 0) {
        x->flags |= FP_INEXACT;
        if (u.exp > 0 || u.sig != F80_INT)
            return a;
        return u.sign ? (struct f80){F80_INT, 0xbffe} : a;
    }
    /* (e^t - 1) / t as a series, t = a ln 2. */
    struct wide t = wide_mul(wide_of(&u), wide_make(false, -1, ln2));
    unsigned n = terms_for(t.exp, 92, ARRAY_LEN(exp_terms) - 1);
    u128 sum = series(exp_terms, n, fix_of(t), u.sign);
    return rounded(x, wide_mul(t, wide_make(false, 0, sum)));
}

/* ---- Arc tangent ---- */

/* atan(n / d) of positive numbers, 0 < n / d <= 1. */
static struct wide atan_ratio(struct wide n, struct wide d)
{
    /* The nearest eighth k: n/d = tan(atan(k/8) + atan(t)), t = (n - d k/8) / (d + n k/8). */
    unsigned k = 0;
    int lag = d.exp - n.exp;
    if (lag < 6) {
        uint64_t top = (uint64_t)(n.sig >> 96) << 16, q = (top >> lag) / (uint64_t)(d.sig >> 96);
        k = (unsigned)((q + 0x1000) >> 13); /* q is of 2^16 */
    }
    if (k) {
        struct wide part = wide_int((int)k);
        part.exp -= 3;
        struct wide num = wide_add(n, wide_negate(wide_mul(d, part)));
        d = wide_add(d, wide_mul(n, part));
        n = num;
    }
    struct wide t = wide_div(n, d);
    if (t.sig) {
        struct wide square = wide_mul(t, t);
        unsigned count = terms_for(square.exp, 92, ARRAY_LEN(odd_reciprocals) - 1);
        u128 sum = series(odd_reciprocals, count, fix_of(square), true);
        t = wide_mul(t, wide_make(false, 0, sum));
    }
    return k ? wide_add(wide_make(false, 0, atan_eighths[k]), t) : t;
}

/* A multiple of pi/4, with y's sign. */
static struct f80 quarters_of_pi(struct fp *x, unsigned n, bool sign)
{
    return rounded(x, wide_mul(wide_int(sign ? -(int)n : (int)n), wide_make(false, -1, half_pi)));
}

struct f80 f80_atan2(struct fp *x, struct f80 y, struct f80 a)
{
    struct fpn u = f80_unpack(a), v = f80_unpack(y);
    if (fp_is_nan(&u) || fp_is_nan(&v))
        return f80_propagate(x, a, y);
    if (!operands(x, &u, &v))
        return a;
    if (v.kind == K_INF)
        return quarters_of_pi(x, u.kind != K_INF ? 2 : u.sign ? 3 : 1, v.sign);
    if (u.kind == K_INF || v.kind == K_ZERO)
        return u.sign ? quarters_of_pi(x, 4, v.sign) : f80_zero(v.sign);
    if (u.kind == K_ZERO)
        return quarters_of_pi(x, 2, v.sign);
    struct wide n = wide_of(&v), d = wide_of(&u), r, half = wide_make(false, 0, half_pi);
    n.sign = d.sign = false;
    if (n.exp < d.exp || (n.exp == d.exp && n.sig <= d.sig)) {
        r = atan_ratio(n, d);
        if (u.sign) {
            half.exp++;
            r = wide_add(half, wide_negate(r));
        }
    } else {
        r = atan_ratio(d, n);
        r = wide_add(half, u.sign ? r : wide_negate(r));
    }
    r.sign = v.sign;
    return rounded(x, r);
}

/* ---- Sine, cosine, tangent ---- */

/* pi/2 by the processors: 66 bits, of 2^65. */
static const u128 hard_half_pi = U128(3, 0x243f6a8885a308d3);

/* Below 2^TINY the argument is its sine and tangent, in every rounding mode, as processors do. */
#define TINY (-68)

/* a = quadrant * pi/2 + r, |r| <= pi/4. a.exp < 63. */
static struct wide reduce(struct wide a, unsigned *quadrant)
{
    *quadrant = 0;
    if (a.exp < -1)
        return a;
    /* In units of 2^-65 such a number is an integer. */
    u128 n = a.sig >> (62 - a.exp), q = n / hard_half_pi, r = n - q * hard_half_pi;
    bool sign = a.sign;
    if (r > hard_half_pi >> 1) {
        r = hard_half_pi - r;
        q++;
        sign = !sign;
    }
    *quadrant = (unsigned)(a.sign ? 0 - (uint64_t)q : (uint64_t)q) & 3;
    return wide_make(sign, 62, r);
}

static struct wide sine(struct wide r, u128 square, int exp)
{
    if (!r.sig)
        return r;
    unsigned n = terms_for(exp - 2, 92, ARRAY_LEN(sin_terms) - 1);
    return wide_mul(r, wide_make(false, 0, series(sin_terms, n, square, true)));
}

static struct wide cosine(u128 square, int exp)
{
    unsigned n = terms_for(exp - 1, 92, ARRAY_LEN(cos_terms) - 1);
    return wide_make(false, 0, series(cos_terms, n, square, true));
}

/* Sine and cosine of finite nonzero a, |a| < 2^63; either may be NULL. */
static void sincos_wide(struct wide a, struct wide *s, struct wide *c)
{
    unsigned quadrant;
    struct wide r = reduce(a, &quadrant), square = wide_mul(r, r);
    u128 z = r.sig ? fix_of(square) : 0;
    int exp = r.sig ? square.exp : -128;
    if (s) {
        *s = quadrant & 1 ? cosine(z, exp) : sine(r, z, exp);
        s->sign ^= quadrant >> 1;
    }
    if (c) {
        *c = quadrant & 1 ? sine(r, z, exp) : cosine(z, exp);
        c->sign ^= (quadrant + 1) >> 1 & 1;
    }
}

/* The answers that need no computation. *done false: |a| is too large. */
static bool trigonometric_special(struct fp *x, struct f80 a, const struct fpn *u, struct f80 *s,
                                  struct f80 *c, bool *done)
{
    *done = true;
    if (fp_is_nan(u)) {
        *s = *c = f80_propagate(x, a, a);
    } else if (u->kind == K_INF) {
        *s = *c = f80_invalid(x);
    } else if (u->kind == K_ZERO) {
        *s = a;
        *c = (struct f80){F80_INT, F80_BIAS};
    } else if (u->exp >= 63) {
        *done = false;
    } else {
        return !operands(x, u, u);
    }
    return true;
}

bool f80_sincos(struct fp *x, struct f80 a, struct f80 *s, struct f80 *c)
{
    struct fpn u = f80_unpack(a);
    struct f80 sr, cr;
    bool done;
    if (trigonometric_special(x, a, &u, &sr, &cr, &done)) {
        if (s)
            *s = sr;
        if (c)
            *c = cr;
        return done;
    }
    struct wide sw = wide_of(&u), cw = wide_int(1);
    bool tiny = u.exp < TINY;
    if (!tiny)
        sincos_wide(wide_of(&u), s ? &sw : NULL, c ? &cw : NULL);
    if (s)
        *s = finish(x, sw, tiny);
    if (c)
        *c = finish(x, cw, tiny);
    return true;
}

bool f80_tan(struct fp *x, struct f80 a, struct f80 *tangent)
{
    struct fpn u = f80_unpack(a);
    struct f80 unused;
    bool done;
    if (trigonometric_special(x, a, &u, tangent, &unused, &done))
        return done;
    if (u.exp < TINY) {
        *tangent = finish(x, wide_of(&u), true);
        return true;
    }
    struct wide s, c;
    sincos_wide(wide_of(&u), &s, &c);
    *tangent = rounded(x, wide_div(s, c));
    return true;
}
