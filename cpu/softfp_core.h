/* What the files of softfp share: numbers taken apart, rounded and put together again.
 *
 * A finite number is (-1)^sign * sig * 2^(exp - 63) with bit 63 of sig set. Formats narrower than
 * 80 bits are handled as raw bits in a uint64_t with their number of fraction bits as a constant
 * argument, so that one text serves binary16, binary32 and binary64 and the compiler makes a
 * version for each.
 *
 * Exceptions that are found before the computation (invalid, denormal, divide by zero) end it at
 * once when unmasked: the caller delivers them and uses no result (SDM 1 4.9.1.5, 8.4). */
#ifndef ISHI_CPU_SOFTFP_CORE_H
#define ISHI_CPU_SOFTFP_CORE_H

#include "cpu/softfp.h"

typedef unsigned __int128 u128;

enum fp_kind { K_ZERO, K_FINITE, K_INF, K_QNAN, K_SNAN, K_UNSUPPORTED };

struct fpn {
    uint64_t sig;
    int32_t exp;
    uint8_t kind; /* enum fp_kind */
    bool sign;
    bool den; /* was denormal in its format */
};

#define F16_FRAC 10
#define F32_FRAC 23
#define F64_FRAC 52

#define F80_BIAS   16383
#define F80_INT    (1ull << 63)
#define F80_QUIET  (1ull << 62)
#define F80_ADJUST 24576 /* unmasked over- and underflow: SDM 1 8.5.4, 8.5.5 */

#define F80_INDEFINITE ((struct f80){F80_INT | F80_QUIET, 0xffff})

/* Biased exponent of infinity and NaN, and the bias, of a format. */
static inline unsigned fmt_emax(unsigned frac)
{
    return frac == F16_FRAC ? 0x1f : frac == F32_FRAC ? 0xff : 0x7ff;
}

static inline int fmt_bias(unsigned frac)
{
    return (int)(fmt_emax(frac) >> 1);
}

static inline unsigned fmt_sign_bit(unsigned frac)
{
    return frac == F16_FRAC ? 15 : frac == F32_FRAC ? 31 : 63;
}

static inline uint64_t fmt_make(bool sign, unsigned biased, uint64_t fraction, unsigned frac)
{
    return (uint64_t)sign << fmt_sign_bit(frac) | (uint64_t)biased << frac | fraction;
}

static inline uint64_t fmt_inf(bool sign, unsigned frac)
{
    return fmt_make(sign, fmt_emax(frac), 0, frac);
}

static inline uint64_t fmt_quiet(uint64_t a, unsigned frac)
{
    return a | 1ull << (frac - 1);
}

/* The QNaN floating-point indefinite. */
static inline uint64_t fmt_indefinite(unsigned frac)
{
    return fmt_make(true, fmt_emax(frac), 1ull << (frac - 1), frac);
}

static inline struct fpn fmt_unpack(const struct fp *x, uint64_t a, unsigned frac)
{
    unsigned e = a >> frac & fmt_emax(frac);
    uint64_t f = a & ((1ull << frac) - 1);
    struct fpn n = {.sign = a >> fmt_sign_bit(frac) & 1, .kind = K_FINITE};
    if (LIKELY(e - 1 < fmt_emax(frac) - 1)) {
        n.sig = (f | 1ull << frac) << (63 - frac);
        n.exp = (int)e - fmt_bias(frac);
    } else if (e) {
        n.kind = !f ? K_INF : f >> (frac - 1) ? K_QNAN : K_SNAN;
        n.sig = (f | 1ull << frac) << (63 - frac);
    } else if (!f || x->daz) {
        n.kind = K_ZERO;
    } else {
        unsigned z = (unsigned)__builtin_clzll(f);
        n.sig = f << z;
        n.exp = 1 - fmt_bias(frac) + (int)(63 - frac) - (int)z;
        n.den = true;
    }
    return n;
}

static inline bool fp_is_nan(const struct fpn *n)
{
    return n->kind >= K_QNAN;
}

/* Raises pre-computation exceptions; true: one of them is unmasked and the operation is off. */
static inline bool fp_raise(struct fp *x, uint8_t flags)
{
    x->flags |= flags;
    return flags & ~x->masks;
}

static inline uint64_t shift_right_jam(uint64_t v, unsigned n)
{
    if (n >= 64)
        return v != 0;
    return n ? v >> n | ((v << (64 - n)) != 0) : v;
}

static inline u128 shift_right_jam128(u128 v, unsigned n)
{
    if (n >= 128)
        return v != 0;
    return n ? v >> n | ((v << (128 - n)) != 0) : v;
}

static inline unsigned clz128(u128 v)
{
    uint64_t hi = (uint64_t)(v >> 64);
    return (unsigned)(hi ? __builtin_clzll(hi) : 64 + __builtin_clzll((uint64_t)v));
}

/* v without its low bits, the lowest kept one set if any of them was. */
static inline uint64_t jam128(u128 v)
{
    return (uint64_t)(v >> 64) | ((uint64_t)v != 0);
}

/* hi:lo / d and the rest, for hi < d and d with bit 63 set: the quotient by two estimates in
 * doubles, each good for 50 bits, then made exact. Faster than the compiler's 128-bit division
 * everywhere, and many times so on WebAssembly. */
static inline uint64_t div_wide(uint64_t hi, uint64_t lo, uint64_t d, uint64_t *rest)
{
    double inverse = 0x1p63 / (double)(int64_t)(d >> 1); /* 2^64 / d */
    /* Half the estimate, and a little less, so that it stays below 2^63. */
    double half = (double)(int64_t)(hi >> 1) * inverse * (1 - 0x1p-50);
    uint64_t q = (uint64_t)(int64_t)half << 1;
    __int128 r = (__int128)(((u128)hi << 64 | lo) - (u128)q * d); /* below 2^80 in magnitude */
    int64_t more = (int64_t)((double)(int64_t)(r >> 32) * inverse * 0x1p-32);
    q += (uint64_t)more;
    r -= (__int128)more * d;
    while (r < 0) {
        r += d;
        q--;
    }
    while (r >= (__int128)d) {
        r -= d;
        q++;
    }
    *rest = (uint64_t)r;
    return q;
}

/* The square root of n, rounded down; n has bit 127 or 126 set. */
uint64_t fp_isqrt128(u128 n);

/* What is added to a significand whose `drop` low bits are to go. drop 1..63. */
static inline uint64_t round_increment(unsigned round, bool sign, unsigned drop)
{
    if (round == FP_NEAREST)
        return 1ull << (drop - 1);
    if (round == FP_ZERO || sign != (round == FP_DOWN))
        return 0;
    return (1ull << drop) - 1;
}

/* (-1)^sign * sig * 2^(exp - 63), sig with bit 63 set and bit 0 sticky, rounded to the format. */
uint64_t fmt_round_pack_slow(struct fp *x, bool sign, int exp, uint64_t sig, unsigned frac);

static inline uint64_t fmt_round_pack(struct fp *x, bool sign, int exp, uint64_t sig, unsigned frac)
{
    const unsigned drop = 63 - frac;
    unsigned biased = (unsigned)(exp + fmt_bias(frac));
    if (UNLIKELY(biased - 1 >= fmt_emax(frac) - 2))
        return fmt_round_pack_slow(x, sign, exp, sig, frac);
    uint64_t low = sig & ((1ull << drop) - 1);
    if (!low)
        return fmt_make(sign, biased - 1, 0, frac) + (sig >> drop);
    x->flags |= FP_INEXACT;
    uint64_t up = round_increment(x->round, sign, drop);
    uint64_t kept = (sig >> drop) + ((low + up) >> drop);
    if (x->round == FP_NEAREST && low == 1ull << (drop - 1))
        kept &= ~1ull;
    x->rounded_up = kept > sig >> drop;
    /* The hidden bit, and a carry out of the fraction, add themselves to the exponent. */
    return fmt_make(sign, biased - 1, 0, frac) + kept;
}

/* The same for the 80-bit format, `hi` with bit 63 set, `lo` below it and sticky in its bit 0. */
struct f80 f80_round_pack_slow(struct fp *x, bool sign, int exp, uint64_t hi, uint64_t lo);

static inline struct f80 f80_round_pack(struct fp *x, bool sign, int exp, uint64_t hi, uint64_t lo)
{
    unsigned biased = (unsigned)(exp + F80_BIAS);
    if (LIKELY(biased - 1 < 0x7ffd && x->precision == 64)) {
        if (!lo)
            return (struct f80){hi, (uint16_t)(biased | sign << 15)};
        if (LIKELY(x->round == FP_NEAREST)) {
            x->flags |= FP_INEXACT;
            uint64_t up = (lo >> 63) & ((lo << 1 != 0) | (hi & 1));
            x->rounded_up = up;
            hi += up;
            if (UNLIKELY(up && !hi)) {
                hi = F80_INT;
                biased++;
            }
            return (struct f80){hi, (uint16_t)(biased | sign << 15)};
        }
    }
    return f80_round_pack_slow(x, sign, exp, hi, lo);
}

static inline struct fpn f80_unpack(struct f80 a)
{
    unsigned e = a.exp & 0x7fff;
    struct fpn n = {.sig = a.sig, .exp = (int)e - F80_BIAS, .sign = a.exp >> 15, .kind = K_FINITE};
    if (LIKELY(e - 1 < 0x7ffe && a.sig >> 63))
        return n;
    if (!e) {
        if (!a.sig) {
            n.kind = K_ZERO;
            return n;
        }
        /* Denormals and pseudo-denormals (integer bit set) share the exponent of 1. */
        unsigned z = (unsigned)__builtin_clzll(a.sig);
        n.sig <<= z;
        n.exp = 1 - F80_BIAS - (int)z;
        n.den = true;
    } else if (!(a.sig >> 63)) {
        n.kind = K_UNSUPPORTED;
    } else {
        n.kind = !(a.sig << 1) ? K_INF : a.sig & F80_QUIET ? K_QNAN : K_SNAN;
    }
    return n;
}

/* Two operands of which at least one is NaN or unsupported: SDM 1 table 4-7, the x87 column. */
struct f80 f80_propagate(struct fp *x, struct f80 a, struct f80 b);

static inline struct f80 f80_invalid(struct fp *x)
{
    x->flags |= FP_INVALID;
    return F80_INDEFINITE;
}

static inline struct f80 f80_zero(bool sign)
{
    return (struct f80){0, (uint16_t)(sign << 15)};
}

static inline struct f80 f80_inf(bool sign)
{
    return (struct f80){F80_INT, (uint16_t)(0x7fff | sign << 15)};
}

#endif
