/* Conversions between the floating-point formats and integers, and rounding to an integral value
 * (SDM 1 4.8.4, 8.1.7, 11.5.2.1). */
#include "cpu/softfp_core.h"

/* |n| as an integer by `round`, or 2^64 - 1 and more: *big. Flags are the caller's. */
static uint64_t to_magnitude(const struct fpn *n, unsigned round, bool *inexact, bool *up,
                             bool *big)
{
    *inexact = *up = *big = false;
    if (n->kind == K_ZERO)
        return 0;
    if (n->exp >= 64) {
        *big = true;
        return 0;
    }
    if (n->exp == 63)
        return n->sig;
    unsigned drop = (unsigned)(63 - n->exp);
    u128 v = shift_right_jam128((u128)n->sig << 64, drop < 128 ? drop : 127);
    uint64_t whole = (uint64_t)(v >> 64), low = (uint64_t)v;
    *inexact = low != 0;
    if (round == FP_NEAREST)
        *up = low > 1ull << 63 || (low == 1ull << 63 && (whole & 1));
    else if (round != FP_ZERO && n->sign == (round == FP_DOWN))
        *up = low != 0;
    return whole + *up;
}

/* To a signed integer of `bits`, or its indefinite. */
static int64_t to_int(struct fp *x, const struct fpn *n, unsigned bits, unsigned round)
{
    bool inexact = false, up = false, big = n->kind >= K_INF;
    uint64_t m = big ? 0 : to_magnitude(n, round, &inexact, &up, &big);
    uint64_t limit = 1ull << (bits - 1);
    x->rounded_up = false;
    if (big || m > limit - !n->sign) {
        x->flags |= FP_INVALID;
        return (int64_t)(0 - limit);
    }
    x->rounded_up = up;
    if (inexact)
        x->flags |= FP_INEXACT;
    return (int64_t)(n->sign ? 0 - m : m);
}

int32_t f32_to_i32_slow(struct fp *x, f32 a, enum fp_round round)
{
    struct fpn n = fmt_unpack(x, a, F32_FRAC);
    return (int32_t)to_int(x, &n, 32, round);
}

int64_t f32_to_i64(struct fp *x, f32 a, enum fp_round round)
{
    struct fpn n = fmt_unpack(x, a, F32_FRAC);
    return to_int(x, &n, 64, round);
}

int32_t f64_to_i32_slow(struct fp *x, f64 a, enum fp_round round)
{
    struct fpn n = fmt_unpack(x, a, F64_FRAC);
    return (int32_t)to_int(x, &n, 32, round);
}

int64_t f64_to_i64_slow(struct fp *x, f64 a, enum fp_round round)
{
    struct fpn n = fmt_unpack(x, a, F64_FRAC);
    return to_int(x, &n, 64, round);
}

int16_t f80_to_i16(struct fp *x, struct f80 a, enum fp_round round)
{
    struct fpn n = f80_unpack(a);
    return (int16_t)to_int(x, &n, 16, round);
}

int32_t f80_to_i32(struct fp *x, struct f80 a, enum fp_round round)
{
    struct fpn n = f80_unpack(a);
    return (int32_t)to_int(x, &n, 32, round);
}

int64_t f80_to_i64(struct fp *x, struct f80 a, enum fp_round round)
{
    struct fpn n = f80_unpack(a);
    return to_int(x, &n, 64, round);
}

static inline uint64_t from_int(struct fp *x, int64_t a, unsigned frac)
{
    if (!a)
        return 0;
    uint64_t m = a < 0 ? 0 - (uint64_t)a : (uint64_t)a;
    unsigned z = (unsigned)__builtin_clzll(m);
    return fmt_round_pack(x, a < 0, 63 - (int)z, m << z, frac);
}

f32 i32_to_f32_slow(struct fp *x, int32_t a)
{
    return (f32)from_int(x, a, F32_FRAC);
}

f32 i64_to_f32(struct fp *x, int64_t a)
{
    return (f32)from_int(x, a, F32_FRAC);
}

f64 i64_to_f64_slow(struct fp *x, int64_t a)
{
    return from_int(x, a, F64_FRAC);
}

struct f80 i64_to_f80(int64_t a)
{
    if (!a)
        return f80_zero(false);
    uint64_t m = a < 0 ? 0 - (uint64_t)a : (uint64_t)a;
    unsigned z = (unsigned)__builtin_clzll(m);
    return (struct f80){m << z, (uint16_t)((F80_BIAS + 63 - z) | (a < 0 ? 0x8000 : 0))};
}

/* Between the formats that are raw bits. */
static inline uint64_t convert(struct fp *x, uint64_t a, unsigned from, unsigned to)
{
    struct fpn n = fmt_unpack(x, a, from);
    if (fp_is_nan(&n)) {
        if (n.kind == K_SNAN)
            x->flags |= FP_INVALID;
        return fmt_quiet(fmt_make(n.sign, fmt_emax(to), n.sig << 1 >> (64 - to), to), to);
    }
    if (n.kind == K_INF)
        return fmt_inf(n.sign, to);
    if (n.kind == K_ZERO)
        return fmt_make(n.sign, 0, 0, to);
    if (n.den && fp_raise(x, FP_DENORMAL))
        return 0;
    return fmt_round_pack(x, n.sign, n.exp, n.sig, to);
}

f64 f32_to_f64_slow(struct fp *x, f32 a)
{
    return convert(x, a, F32_FRAC, F64_FRAC);
}

f32 f64_to_f32_slow(struct fp *x, f64 a)
{
    return (f32)convert(x, a, F64_FRAC, F32_FRAC);
}

/* MXCSR.DAZ does not matter to half-precision sources, nor do they raise the denormal exception
 * (SDM 1 14.4.1); every one of them is a normal binary32. */
f32 f16_to_f32(struct fp *x, uint16_t a)
{
    struct fp own = {.masks = 0x3f};
    f32 r = (f32)convert(&own, a, F16_FRAC, F32_FRAC);
    x->flags |= own.flags & FP_INVALID;
    return r;
}

/* MXCSR.FZ does not matter to half-precision results (SDM 1 14.4.1). */
uint16_t f32_to_f16(struct fp *x, f32 a, enum fp_round round)
{
    struct fp own = *x;
    own.round = (uint8_t)round;
    own.flush = false;
    own.flags = 0;
    uint16_t r = (uint16_t)convert(&own, a, F32_FRAC, F16_FRAC);
    /* As processors have it: a denormal source is inexact in an unmasked underflow too. */
    if ((own.flags & (FP_DENORMAL | FP_UNDERFLOW)) == (FP_DENORMAL | FP_UNDERFLOW))
        own.flags |= FP_INEXACT;
    x->flags |= own.flags;
    return r;
}

static inline struct f80 widen(uint64_t a, unsigned frac, bool *den)
{
    struct fp own = {.masks = 0x3f};
    struct fpn n = fmt_unpack(&own, a, frac);
    *den = n.den;
    if (n.kind == K_ZERO)
        return f80_zero(n.sign);
    if (n.kind != K_FINITE)
        return (struct f80){n.sig, (uint16_t)(0x7fff | n.sign << 15)};
    return (struct f80){n.sig, (uint16_t)((n.exp + F80_BIAS) | n.sign << 15)};
}

struct f80 f32_widen_slow(f32 a, bool *den)
{
    return widen(a, F32_FRAC, den);
}

struct f80 f64_widen_slow(f64 a, bool *den)
{
    return widen(a, F64_FRAC, den);
}

/* Quiets what a widening load brought in. */
static struct f80 loaded(struct fp *x, struct f80 r, bool den)
{
    if (den)
        x->flags |= FP_DENORMAL;
    if ((r.exp & 0x7fff) == 0x7fff && r.sig << 1 && !(r.sig & F80_QUIET)) {
        x->flags |= FP_INVALID;
        r.sig |= F80_QUIET;
    }
    return r;
}

struct f80 f32_to_f80(struct fp *x, f32 a)
{
    bool den;
    struct f80 r = f32_widen(a, &den);
    return loaded(x, r, den);
}

struct f80 f64_to_f80(struct fp *x, f64 a)
{
    bool den;
    struct f80 r = f64_widen(a, &den);
    return loaded(x, r, den);
}

/* Stores narrow without looking at DAZ and FZ, which are SSE's; a denormal 80-bit operand raises
 * no denormal exception (SDM 2 FST). */
static inline uint64_t narrow(struct fp *x, struct f80 a, unsigned to)
{
    struct fpn n = f80_unpack(a);
    if (n.kind == K_FINITE)
        return fmt_round_pack(x, n.sign, n.exp, n.sig, to);
    if (n.kind == K_ZERO)
        return fmt_make(n.sign, 0, 0, to);
    if (n.kind == K_INF)
        return fmt_inf(n.sign, to);
    if (n.kind != K_QNAN)
        x->flags |= FP_INVALID;
    if (n.kind == K_UNSUPPORTED)
        return fmt_indefinite(to);
    return fmt_quiet(fmt_make(n.sign, fmt_emax(to), n.sig << 1 >> (64 - to), to), to);
}

f32 f80_to_f32(struct fp *x, struct f80 a)
{
    return (f32)narrow(x, a, F32_FRAC);
}

f64 f80_to_f64(struct fp *x, struct f80 a)
{
    return narrow(x, a, F64_FRAC);
}

static inline uint64_t integral(struct fp *x, uint64_t a, unsigned round, bool exact_quiet,
                                unsigned frac)
{
    struct fpn n = fmt_unpack(x, a, frac);
    if (n.kind == K_ZERO)
        return fmt_make(n.sign, 0, 0, frac);
    if (n.kind == K_SNAN)
        x->flags |= FP_INVALID;
    if (fp_is_nan(&n))
        return fmt_quiet(a, frac);
    if (n.kind == K_INF || n.exp >= (int)frac)
        return a;
    bool inexact, up, big;
    uint64_t m = to_magnitude(&n, round, &inexact, &up, &big);
    if (inexact && !exact_quiet)
        x->flags |= FP_INEXACT;
    if (!m)
        return fmt_make(n.sign, 0, 0, frac);
    unsigned z = (unsigned)__builtin_clzll(m);
    return fmt_round_pack(x, n.sign, 63 - (int)z, m << z, frac);
}

f32 f32_round(struct fp *x, f32 a, enum fp_round round, bool exact_quiet)
{
    return (f32)integral(x, a, round, exact_quiet, F32_FRAC);
}

f64 f64_round(struct fp *x, f64 a, enum fp_round round, bool exact_quiet)
{
    return integral(x, a, round, exact_quiet, F64_FRAC);
}

struct f80 f80_round(struct fp *x, struct f80 a)
{
    struct fpn n = f80_unpack(a);
    if (fp_is_nan(&n))
        return f80_propagate(x, a, a);
    if (n.kind == K_INF || n.kind == K_ZERO)
        return a;
    if (n.den && fp_raise(x, FP_DENORMAL))
        return a;
    if (n.exp >= 63)
        return a;
    bool inexact, up, big;
    uint64_t m = to_magnitude(&n, x->round, &inexact, &up, &big);
    if (inexact)
        x->flags |= FP_INEXACT;
    x->rounded_up = up;
    struct f80 r = i64_to_f80(0);
    if (m) {
        unsigned z = (unsigned)__builtin_clzll(m);
        r = (struct f80){m << z, (uint16_t)(F80_BIAS + 63 - z)};
    }
    r.exp |= (uint16_t)(n.sign << 15);
    return r;
}
