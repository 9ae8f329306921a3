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
    u128 n = (u128)a.sig << 63 << less;
    uint64_t q = (uint64_t)(n / b.sig), rest = (uint64_t)(n - (u128)q * b.sig), lo = 0;
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

/* To binary64 or 32 (`frac` fraction bits), when the result is normal and not the largest. */
static inline unsigned fast_narrow(const struct cpu *c, uint64_t *r, struct f80 a, unsigned frac)
{
    const unsigned drop = 63 - frac;
    unsigned biased = (a.exp & 0x7fffu) - F80_BIAS + (unsigned)fmt_bias(frac);
    if (UNLIKELY((c->s.fcw & 0xc00) || !(c->s.fcw & FP_INEXACT) || !(a.sig >> 63) ||
                 biased - 1 >= fmt_emax(frac) - 2))
        return X87_SLOW;
    uint64_t low = a.sig << (64 - drop), kept = a.sig >> drop;
    uint64_t up = low >> 63 & ((low << 1 != 0) | (kept & 1));
    *r = fmt_make(a.exp >> 15, biased - 1, 0, frac) + kept + up;
    return (low ? FP_INEXACT : 0) | (unsigned)up * FSW_C1;
}

static inline void x87_fast_raise(struct cpu *c, unsigned bits)
{
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C1) | bits);
}

#endif
