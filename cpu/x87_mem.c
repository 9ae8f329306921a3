/* The x87's loads and stores: real, integer and packed BCD (SDM 1 8.3.3, SDM 2).
 *
 * A store that an unmasked exception forbids (invalid, and for memory also overflow and underflow)
 * neither writes nor pops; one that faults changes nothing at all. */
#include "cpu/area.h"
#include "cpu/helpers.h"
#include "cpu/softfp_core.h"
#include "cpu/x87_fast.h"

/* ---- Loads ---- */

static __attribute__((noinline)) bool push_special(struct cpu *c, const struct uop *u, struct f80 v,
                                                   bool den)
{
    if ((!x87_empty(c, 7))) {
        if (x87_stack_fault(c, u, true))
            x87_push(c, F80_INDEFINITE);
        return true;
    }
    struct fp x = x87_context(c);
    if ((den))
        x.flags |= FP_DENORMAL;
    if (((v.exp & 0x7fff) == 0x7fff && v.sig << 1 && !(v.sig & F80_QUIET))) {
        x.flags |= FP_INVALID;
        v.sig |= F80_QUIET;
    }
    /* A denormal is loaded even if its exception is unmasked. */
    x87_raise(c, u, &x);
    if ((!(x.flags & ~x.masks & FP_INVALID)))
        x87_push(c, v);
    return true;
}

static inline bool push_loaded(struct cpu *c, const struct uop *u, struct f80 v, bool den)
{
    x87_note(c, u);
    if (UNLIKELY(!f80_easy(v) || den || !x87_empty(c, 7)))
        return push_special(c, u, v, den);
    c->s.fsw &= (uint16_t)~FSW_C1;
    x87_push(c, v);
    return true;
}

bool h_fld_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 4, &v))
        return false;
    bool den;
    struct f80 r = f32_widen((f32)v, &den);
    return push_loaded(c, u, r, den);
}

bool h_fld_m64(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 8, &v))
        return false;
    bool den;
    struct f80 r = f64_widen(v, &den);
    return push_loaded(c, u, r, den);
}

/* An exact value, whatever it is: no exception but the stack's. */
static bool push_exact(struct cpu *c, const struct uop *u, struct f80 v)
{
    x87_note(c, u);
    if (LIKELY(x87_empty(c, 7))) {
        c->s.fsw &= (uint16_t)~FSW_C1;
        x87_push(c, v);
    } else if (x87_stack_fault(c, u, true)) {
        x87_push(c, F80_INDEFINITE);
    }
    return true;
}

bool h_fld_m80(struct cpu *c, const struct uop *u)
{
    uint8_t b[10];
    if (!x87_begin(c) || !seg_aligned(c, u->seg, c->s.r[R_T0], 8, ACC_READ) ||
        !area_load(c, u, AREA_TEN, 0, b, sizeof b))
        return false;
    return push_exact(c, u, (struct f80){get_le64(b), get_le16(b + 8)});
}

bool h_fild_m16(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 2, &v) && push_exact(c, u, i64_to_f80((int16_t)v));
}

bool h_fild_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 4, &v) && push_exact(c, u, i64_to_f80((int32_t)v));
}

bool h_fild_m64(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 8, &v) && push_exact(c, u, i64_to_f80((int64_t)v));
}

/* Eighteen digits, two to a byte, and a sign byte. A nibble over 9 is undefined to the SDM; it
 * counts for what it is here, as in the processors. */
bool h_fbld(struct cpu *c, const struct uop *u)
{
    uint8_t b[10];
    if (!x87_begin(c) || !seg_aligned(c, u->seg, c->s.r[R_T0], 8, ACC_READ) ||
        !area_load(c, u, AREA_TEN, 0, b, sizeof b))
        return false;
    uint64_t v = 0;
    for (int i = 8; i >= 0; i--)
        v = v * 100 + (b[i] >> 4) * 10u + (b[i] & 15);
    struct f80 r = i64_to_f80((int64_t)v);
    r.exp |= (uint16_t)((b[9] & 0x80) << 8);
    return push_exact(c, u, r);
}

/* ---- Stores. u->dst: pop ---- */

/* The exceptions of a store to memory, and with them whether it may happen: what x87_raise() does,
 * in two steps, for the memory access comes between. */
static inline bool store_allowed(struct fp *x)
{
    if (LIKELY(!(x->flags & ~x->masks & (FP_PRE | FP_OVERFLOW | FP_UNDERFLOW))))
        return true;
    x->flags &= (uint8_t)~FP_INEXACT; /* nothing was rounded */
    x->rounded_up = false;
    return false;
}

static inline bool store_done(struct cpu *c, const struct uop *u, const struct fp *x, bool stored)
{
    x87_note(c, u);
    x87_raise(c, u, x);
    if (stored && u->dst)
        x87_pop(c);
    return true;
}

/* ST(0) is empty: the indefinite is stored, if masked. */
static bool store_missing(struct cpu *c, const struct uop *u, unsigned size, uint64_t indefinite)
{
    bool masked = c->s.fcw & FP_INVALID;
    if (masked && !x87_store(c, u, size, indefinite))
        return false;
    x87_note(c, u);
    if (x87_stack_fault(c, u, false) && u->dst)
        x87_pop(c);
    return true;
}

static inline bool store_fast(struct cpu *c, const struct uop *u, unsigned size, uint64_t v,
                              unsigned bits)
{
    if (!x87_store(c, u, size, v))
        return false;
    x87_note(c, u);
    x87_fast_raise(c, bits);
    if (u->dst)
        x87_pop(c);
    return true;
}

static inline __attribute__((always_inline)) bool store_float(struct cpu *c, const struct uop *u,
                                                              unsigned size, unsigned frac)
{
    if (!x87_begin(c))
        return false;
    if (UNLIKELY(x87_empty(c, 0)))
        return store_missing(c, u, size, fmt_indefinite(frac));
    uint64_t r;
    unsigned bits = fast_narrow(c, &r, x87_get(c, 0), frac);
    if (LIKELY(bits != X87_SLOW))
        return store_fast(c, u, size, r, bits);
    struct fp x = x87_context(c);
    uint64_t v = size == 4 ? f80_to_f32(&x, x87_get(c, 0)) : f80_to_f64(&x, x87_get(c, 0));
    bool allowed = store_allowed(&x);
    if (LIKELY(allowed) && !x87_store(c, u, size, v))
        return false;
    return store_done(c, u, &x, allowed);
}

bool h_fst_m32(struct cpu *c, const struct uop *u)
{
    return store_float(c, u, 4, F32_FRAC);
}

bool h_fst_m64(struct cpu *c, const struct uop *u)
{
    return store_float(c, u, 8, F64_FRAC);
}

/* Ten bytes to memory, then the pop; `x` has what the conversion raised. */
static bool store_ten(struct cpu *c, const struct uop *u, struct fp *x, uint64_t low, uint16_t high)
{
    uint8_t b[10];
    put_le64(b, low);
    put_le16(b + 8, high);
    bool allowed = store_allowed(x);
    if (allowed && (!seg_aligned(c, u->seg, c->s.r[R_T0], 8, ACC_WRITE) ||
                    !area_store(c, u, AREA_TEN, 0, b, sizeof b)))
        return false;
    return store_done(c, u, x, allowed);
}

static bool store_ten_missing(struct cpu *c, const struct uop *u, struct f80 indefinite)
{
    struct fp x = x87_context(c);
    x.flags = FP_INVALID;
    if (!store_ten(c, u, &x, indefinite.sig, indefinite.exp))
        return false;
    x87_stack_fault(c, u, false);
    return true;
}

bool h_fstp_m80(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    if (UNLIKELY(x87_empty(c, 0)))
        return store_ten_missing(c, u, F80_INDEFINITE);
    struct fp x = x87_context(c);
    struct f80 v = x87_get(c, 0);
    return store_ten(c, u, &x, v.sig, v.exp);
}

/* FIST, FISTP; FISTTP (X87_TRUNCATE in u->dst) cuts off. */
static inline enum fp_round integer_round(const struct fp *x, const struct uop *u)
{
    return u->dst & X87_TRUNCATE ? FP_ZERO : x->round;
}

static inline bool store_integer(struct cpu *c, const struct uop *u, struct fp *x, unsigned size,
                                 int64_t v)
{
    bool allowed = store_allowed(x);
    if (LIKELY(allowed) && !x87_store(c, u, size, (uint64_t)v))
        return false;
    return store_done(c, u, x, allowed);
}

static inline int64_t to_integer(struct fp *x, struct f80 v, unsigned bits, enum fp_round round)
{
    return bits == 16   ? f80_to_i16(x, v, round)
           : bits == 32 ? f80_to_i32(x, v, round)
                        : f80_to_i64(x, v, round);
}

/* `bits` is known at each call. */
static inline __attribute__((always_inline)) bool store_rounded(struct cpu *c, const struct uop *u,
                                                                unsigned bits)
{
    if (!x87_begin(c))
        return false;
    if (UNLIKELY(x87_empty(c, 0)))
        return store_missing(c, u, bits / 8, 1ull << (bits - 1));
    struct fp x = x87_context(c);
    enum fp_round round = integer_round(&x, u);
    int64_t v;
    unsigned raised = fast_integer(c, &v, x87_get(c, 0), bits, round);
    if (LIKELY(raised != X87_SLOW))
        return store_fast(c, u, bits / 8, (uint64_t)v, raised);
    v = to_integer(&x, x87_get(c, 0), bits, round);
    return store_integer(c, u, &x, bits / 8, v);
}

bool h_fist_m16(struct cpu *c, const struct uop *u)
{
    return store_rounded(c, u, 16);
}

bool h_fist_m32(struct cpu *c, const struct uop *u)
{
    return store_rounded(c, u, 32);
}

bool h_fist_m64(struct cpu *c, const struct uop *u)
{
    return store_rounded(c, u, 64);
}

/* The packed BCD indefinite (SDM 1 4.7). */
#define BCD_INDEFINITE ((struct f80){0xc000000000000000ull, 0xffff})
#define BCD_MAX        999999999999999999ull

bool h_fbstp(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    if (x87_empty(c, 0))
        return store_ten_missing(c, u, BCD_INDEFINITE);
    struct fp x = x87_context(c);
    struct f80 a = x87_get(c, 0);
    int64_t v = f80_to_i64(&x, a, x.round);
    uint64_t m = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (m > BCD_MAX) {
        x.flags = FP_INVALID;
        x.rounded_up = false;
        return store_ten(c, u, &x, BCD_INDEFINITE.sig, BCD_INDEFINITE.exp);
    }
    uint8_t digits[9];
    for (unsigned i = 0; i < 9; i++, m /= 100)
        digits[i] = (uint8_t)(m / 10 % 10 << 4 | m % 10);
    return store_ten(c, u, &x, get_le64(digits), (uint16_t)(digits[8] | (a.exp & 0x8000)));
}
