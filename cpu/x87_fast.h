/* The common case of x87 arithmetic, without a struct fp: operands are normal, FCW rounds to
 * nearest with all 64 bits and masks inexact, and the result is normal. The same results as
 * softfp_f80.c gives; what is not common is left to that.
 *
 * The functions return FSW bits to raise (inexact, C1), or X87_SLOW: nothing done. */
#ifndef ISHI_CPU_X87_FAST_H
#define ISHI_CPU_X87_FAST_H

#include "cpu/softfp_core.h"
#include "cpu/x87.h"

#define X87_SLOW ~0u

static inline bool x87_fast_control(const struct cpu *c)
{
    return (c->s.fcw & 0xf00) == 0x300 && (c->s.fcw & FP_INEXACT);
}

static inline bool f80_normal(struct f80 a)
{
    return (a.exp & 0x7fffu) - 1 < 0x7ffe && a.sig >> 63;
}

static inline bool f80_easy(struct f80 a)
{
    return f80_normal(a) || !((a.exp & 0x7fff) | a.sig);
}

/* The order of two easy numbers. */
static inline enum fp_order order_easy(struct f80 a, struct f80 b)
{
    if ((a.exp == b.exp && a.sig == b.sig) || !(a.sig | b.sig))
        return FP_EQUAL;
    bool sign = a.exp >> 15;
    if ((a.exp ^ b.exp) & 0x8000)
        return sign ? FP_LESS : FP_GREATER;
    bool less = a.exp != b.exp ? a.exp < b.exp : a.sig < b.sig;
    return less != sign ? FP_LESS : FP_GREATER;
}

static inline unsigned fast_pack(struct f80 *r, unsigned sign, int biased, uint64_t hi, uint64_t lo)
{
    if (UNLIKELY((unsigned)biased - 1 >= 0x7ffd))
        return X87_SLOW;
    uint64_t up = lo >> 63 & ((lo << 1 != 0) | (hi & 1));
    hi += up;
    if (UNLIKELY(hi < up)) {
        hi = F80_INT;
        biased++;
    }
    *r = (struct f80){hi, (uint16_t)((unsigned)biased | sign)};
    return (lo ? FP_INEXACT : 0) | (unsigned)up * FSW_C1;
}

/* a + b, with the sign of b turned by `negate` (0 or 0x8000). */
static inline unsigned fast_add(struct f80 *r, struct f80 a, struct f80 b, unsigned negate)
{
    b.exp ^= (uint16_t)negate;
    bool swap = (a.exp & 0x7fff) < (b.exp & 0x7fff) ||
                ((a.exp & 0x7fff) == (b.exp & 0x7fff) && a.sig < b.sig);
    struct f80 u = swap ? b : a, v = swap ? a : b;
    int exp = u.exp & 0x7fff;
    unsigned d = (unsigned)(exp - (v.exp & 0x7fff)), sign = u.exp & 0x8000;
    if (d > 63)
        return X87_SLOW;
    uint64_t hi = v.sig >> d, lo = v.sig << 1 << (63 - d);
    if (!((u.exp ^ v.exp) & 0x8000)) {
        hi += u.sig;
        if (hi < u.sig) {
            lo = hi << 63 | lo >> 1 | (lo & 1);
            hi = F80_INT | hi >> 1;
            exp++;
        }
        return fast_pack(r, sign, exp, hi, lo);
    }
    hi = u.sig - hi - (lo != 0);
    lo = 0 - lo;
    if (UNLIKELY(!hi))
        return X87_SLOW;
    unsigned z = (unsigned)__builtin_clzll(hi);
    hi = hi << z | lo >> 1 >> (63 - z);
    return fast_pack(r, sign, exp - (int)z, hi, lo << z);
}

static inline unsigned fast_mul(struct f80 *r, struct f80 a, struct f80 b)
{
    u128 p = (u128)a.sig * b.sig;
    uint64_t hi = (uint64_t)(p >> 64), lo = (uint64_t)p;
    bool top = hi >> 63;
    hi = top ? hi : hi << 1 | lo >> 63;
    lo = top ? lo : lo << 1;
    int exp = (a.exp & 0x7fff) + (b.exp & 0x7fff) - F80_BIAS + top;
    return fast_pack(r, (a.exp ^ b.exp) & 0x8000, exp, hi, lo);
}

static inline unsigned fast_div(struct f80 *r, struct f80 a, struct f80 b)
{
    bool less = a.sig < b.sig;
    uint64_t rest, lo = 0;
    uint64_t q = div_wide(less ? a.sig : a.sig >> 1, less ? 0 : a.sig << 63, b.sig, &rest);
    if (rest)
        lo = rest > b.sig - rest ? 3ull << 62 : rest == b.sig - rest ? 1ull << 63 : 1;
    int exp = (a.exp & 0x7fff) - (b.exp & 0x7fff) + F80_BIAS - less;
    return fast_pack(r, (a.exp ^ b.exp) & 0x8000, exp, q, lo);
}

static inline unsigned fast_arith(const struct cpu *c, struct f80 *r, unsigned op, struct f80 a,
                                  struct f80 b)
{
    if (UNLIKELY(!x87_fast_control(c) || !f80_normal(a) || !f80_normal(b)))
        return X87_SLOW;
    switch (op) {
    case X87_ADD: return fast_add(r, a, b, 0);
    case X87_MUL: return fast_mul(r, a, b);
    case X87_SUB: return fast_add(r, a, b, 0x8000);
    case X87_SUBR: return fast_add(r, b, a, 0x8000);
    case X87_DIV: return fast_div(r, a, b);
    default: return fast_div(r, b, a);
    }
}

/* To binary64 or 32 (`frac` fraction bits), when the result is zero, or normal and not in the
 * largest binade. */
static inline unsigned fast_narrow(const struct cpu *c, uint64_t *r, struct f80 a, unsigned frac)
{
    const unsigned drop = 63 - frac;
    if (!((a.exp & 0x7fff) | a.sig)) {
        *r = fmt_make(a.exp >> 15, 0, 0, frac);
        return 0;
    }
    unsigned biased = (a.exp & 0x7fffu) - F80_BIAS + (unsigned)fmt_bias(frac);
    if (UNLIKELY((c->s.fcw & 0xc00) || !(c->s.fcw & FP_INEXACT) || !(a.sig >> 63) ||
                 biased - 1 >= fmt_emax(frac) - 2))
        return X87_SLOW;
    uint64_t low = a.sig << (64 - drop), kept = a.sig >> drop;
    uint64_t up = low >> 63 & ((low << 1 != 0) | (kept & 1));
    *r = fmt_make(a.exp >> 15, biased - 1, 0, frac) + kept + up;
    return (low ? FP_INEXACT : 0) | (unsigned)up * FSW_C1;
}

/* To an integer of `bits`, of a normal number of 1 and more. */
static inline unsigned fast_integer(const struct cpu *c, int64_t *r, struct f80 a, unsigned bits,
                                    enum fp_round round)
{
    unsigned e = (a.exp & 0x7fffu) - F80_BIAS;
    if (UNLIKELY(e >= bits - 1 || !(a.sig >> 63) || !(c->s.fcw & FP_INEXACT)))
        return X87_SLOW;
    uint64_t whole = a.sig >> (63 - e), low = a.sig << 1 << e, up = 0;
    bool sign = a.exp >> 15;
    if (round == FP_NEAREST)
        up = low >> 63 & ((low << 1 != 0) | (whole & 1));
    else if (round != FP_ZERO)
        up = low != 0 && sign == (round == FP_DOWN);
    whole += up;
    if (UNLIKELY(whole >> (bits - 1)))
        return X87_SLOW;
    *r = (int64_t)(sign ? 0 - whole : whole);
    return (low ? FP_INEXACT : 0) | (unsigned)up * FSW_C1;
}

static inline void x87_fast_raise(struct cpu *c, unsigned bits)
{
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C1) | bits);
}

#endif
