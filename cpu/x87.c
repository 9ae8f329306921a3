/* The x87's register instructions: arithmetic, comparison, constants, the stack, and control
 * (SDM 1 8.3, SDM 2). Loads and stores are in x87_mem.c, transcendental functions in x87_math.c.
 *
 * An instruction whose operand is missing (or whose place is taken) does not compute: the masked
 * answer is the indefinite in the place of the result (SDM 1 8.5.1.1). */
#include "cpu/x87.h"
#include "cpu/share.h"

#include "cpu/flags.h"
#include "cpu/helpers.h"
#include "cpu/softfp_core.h"
#include "cpu/x87_fast.h"

static void drive_ferr(struct cpu *c, bool level)
{
    if (!c->ferr)
        return;
    cpu_lock(c);
    c->ferr(c->ferr_opaque, level);
    cpu_unlock(c);
}

bool x87_pending(struct cpu *c)
{
    if (c->s.cr0 & CR0_NE)
        return cpu_fault(c, EXC_MF, "x87 exception pending, status %llx, control %llx", c->s.fsw,
                         c->s.fcw);
    /* The PC's way: FERR# asks for interrupt 13, and the CPU waits for one until the board lets
     * the instruction through with IGNNE# (SDM 3A 9.2.2). Here: it comes first if it can. */
    drive_ferr(c, true);
    bool shadow = c->s.shadow && c->s.shadow_at == cpu_icount(c);
    if ((cpu_requests(c) & REQ_INTR) && (c->s.rflags & EF_IF) && !shadow)
        return cpu_fault(c, EXC_EXIT, NULL, 0, 0);
    return true;
}

void x87_pend(struct cpu *c, const struct uop *u)
{
    c->s.fsw |= FSW_ES | FSW_B;
    c->s.fop = u->aux & X87_FOP;
    if (u->aux & X87_MEM) {
        c->s.fdp = c->s.r[R_T0];
        c->s.fds = c->s.seg[u->seg].sel;
    }
}

bool x87_stack_fault(struct cpu *c, const struct uop *u, bool overflow)
{
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C1) | FSW_SF | FP_INVALID | (overflow ? FSW_C1 : 0));
    if (c->s.fcw & FP_INVALID)
        return true;
    x87_pend(c, u);
    return false;
}

void x87_update_es(struct cpu *c)
{
    bool pending = c->s.fsw & ~c->s.fcw & 0x3f;
    c->s.fsw &= (uint16_t) ~(FSW_ES | FSW_B);
    if (pending)
        c->s.fsw |= FSW_ES | FSW_B;
    else if (!(c->s.cr0 & CR0_NE))
        drive_ferr(c, false);
}

void x87_init(struct cpu *c)
{
    c->s.fcw = FCW_INIT;
    c->s.fsw = 0;
    c->s.ftw = 0;
    c->s.fip = c->s.fdp = 0;
    c->s.fop = c->s.fcs = c->s.fds = 0;
    x87_update_es(c);
}

unsigned x87_tag(struct f80 v)
{
    unsigned e = v.exp & 0x7fff;
    if (!e && !v.sig)
        return 1;
    return e == 0 || e == 0x7fff || !(v.sig >> 63) ? 2 : 0;
}

#define NOINLINE __attribute__((noinline))

/* ---- Arithmetic ---- */

static inline struct f80 arith(struct fp *x, unsigned op, struct f80 a, struct f80 b)
{
    switch (op) {
    case X87_ADD: return f80_add(x, a, b);
    case X87_MUL: return f80_mul(x, a, b);
    case X87_SUB: return f80_sub(x, a, b);
    case X87_SUBR: return f80_sub(x, b, a);
    case X87_DIV: return f80_div(x, a, b);
    default: return f80_div(x, b, a);
    }
}

/* ST(0) op ST(i), the result to ST(to). */
static NOINLINE void arith_slow(struct cpu *c, const struct uop *u, unsigned to, bool pop)
{
    struct f80 r = F80_INDEFINITE;
    bool write;
    if (x87_empty(c, 0) || x87_empty(c, u->a)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        r = arith(&x, u->dst, x87_get(c, 0), x87_get(c, u->a));
        write = x87_raise(c, u, &x);
    }
    if (write) {
        x87_set(c, to, r);
        if (pop)
            x87_pop(c);
    }
}

static inline bool arith_regs(struct cpu *c, const struct uop *u, unsigned to, bool pop)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    if (LIKELY(!x87_empty(c, 0) && !x87_empty(c, u->a))) {
        struct f80 r;
        unsigned bits = fast_arith(c, &r, u->dst, x87_get(c, 0), x87_get(c, u->a));
        if (LIKELY(bits != X87_SLOW)) {
            x87_put(c, to, r);
            x87_fast_raise(c, bits);
            if (pop)
                x87_pop(c);
            return true;
        }
    }
    arith_slow(c, u, to, pop);
    return true;
}

bool h_farith_st0(struct cpu *c, const struct uop *u)
{
    return arith_regs(c, u, 0, false);
}

bool h_farith_sti(struct cpu *c, const struct uop *u)
{
    return arith_regs(c, u, u->a, false);
}

bool h_farith_pop(struct cpu *c, const struct uop *u)
{
    return arith_regs(c, u, u->a, true);
}

/* ST(0) op a memory operand; `den`: it was denormal in its own format. */
static NOINLINE bool arith_mem_slow(struct cpu *c, const struct uop *u, struct f80 m, bool den)
{
    struct f80 r = F80_INDEFINITE;
    bool write;
    if (x87_empty(c, 0)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        struct f80 a = x87_get(c, 0);
        if (den) {
            /* Invalid and zero divide go before it, and it goes before the rest. */
            struct fpn n = f80_unpack(a);
            if (!fp_is_nan(&n) && !(u->dst == X87_DIVR && n.kind == K_ZERO))
                x.flags = FP_DENORMAL;
        }
        if (!(x.flags & ~x.masks))
            r = arith(&x, u->dst, a, m);
        write = x87_raise(c, u, &x);
    }
    if (write)
        x87_set(c, 0, r);
    return true;
}

static inline bool arith_mem(struct cpu *c, const struct uop *u, struct f80 m, bool den)
{
    x87_note(c, u);
    struct f80 r;
    if (UNLIKELY(den || x87_empty(c, 0)))
        return arith_mem_slow(c, u, m, den);
    unsigned bits = fast_arith(c, &r, u->dst, x87_get(c, 0), m);
    if (UNLIKELY(bits == X87_SLOW))
        return arith_mem_slow(c, u, m, den);
    x87_put(c, 0, r);
    x87_fast_raise(c, bits);
    return true;
}

bool h_farith_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 4, &v))
        return false;
    bool den;
    struct f80 m = f32_widen((f32)v, &den);
    return arith_mem(c, u, m, den);
}

bool h_farith_m64(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 8, &v))
        return false;
    bool den;
    struct f80 m = f64_widen(v, &den);
    return arith_mem(c, u, m, den);
}

bool h_fiarith_m16(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 2, &v) && arith_mem(c, u, i64_to_f80((int16_t)v), false);
}

bool h_fiarith_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 4, &v) && arith_mem(c, u, i64_to_f80((int32_t)v), false);
}

/* ---- Comparison. u->dst: the number of pops in its low bits, and X87_QUIET ---- */

static const uint16_t order_codes[] = {[FP_LESS] = FSW_C0,
                                       [FP_EQUAL] = FSW_C3,
                                       [FP_GREATER] = 0,
                                       [FP_UNORDERED] = FSW_C0 | FSW_C2 | FSW_C3};

static void set_codes(struct cpu *c, unsigned codes)
{
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_CC) | codes);
}

static void pops(struct cpu *c, unsigned n)
{
    while (n--)
        x87_pop(c);
}

static bool compare_with(struct cpu *c, const struct uop *u, bool missing, struct f80 b, bool den)
{
    x87_note(c, u);
    struct f80 a = x87_get(c, 0);
    if (LIKELY(!missing && !den && f80_easy(a) && f80_easy(b))) {
        set_codes(c, order_codes[order_easy(a, b)]);
        pops(c, u->dst & 3);
        return true;
    }
    enum fp_order order = FP_UNORDERED;
    bool write;
    if (UNLIKELY(missing)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        order = f80_compare(&x, a, b, u->dst & X87_QUIET);
        if (den && order != FP_UNORDERED)
            x.flags |= FP_DENORMAL;
        write = x87_raise(c, u, &x);
    }
    set_codes(c, order_codes[order]); /* whatever is unmasked */
    if (write)
        pops(c, u->dst & 3);
    return true;
}

bool h_fcom(struct cpu *c, const struct uop *u)
{
    return x87_begin(c) &&
           compare_with(c, u, x87_empty(c, 0) || x87_empty(c, u->a), x87_get(c, u->a), false);
}

bool h_fcom_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 4, &v))
        return false;
    bool den;
    struct f80 b = f32_widen((f32)v, &den);
    return compare_with(c, u, x87_empty(c, 0), b, den);
}

bool h_fcom_m64(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 8, &v))
        return false;
    bool den;
    struct f80 b = f64_widen(v, &den);
    return compare_with(c, u, x87_empty(c, 0), b, den);
}

bool h_ficom_m16(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 2, &v) &&
           compare_with(c, u, x87_empty(c, 0), i64_to_f80((int16_t)v), false);
}

bool h_ficom_m32(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    return x87_begin(c) && x87_load(c, u, 4, &v) &&
           compare_with(c, u, x87_empty(c, 0), i64_to_f80((int32_t)v), false);
}

bool h_ftst(struct cpu *c, const struct uop *u)
{
    return x87_begin(c) && compare_with(c, u, x87_empty(c, 0), f80_zero(false), false);
}

/* FCOMI and its kin: the order goes to EFLAGS. */
bool h_fcomi(struct cpu *c, const struct uop *u)
{
    static const uint8_t zpc[] = {
        [FP_LESS] = F_C, [FP_EQUAL] = F_Z, [FP_GREATER] = 0, [FP_UNORDERED] = F_Z | F_P | F_C};
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    enum fp_order order = FP_UNORDERED;
    bool write = true;
    struct f80 a = x87_get(c, 0), b = x87_get(c, u->a);
    if (x87_empty(c, 0) || x87_empty(c, u->a)) {
        write = x87_stack_fault(c, u, false);
    } else if (LIKELY(f80_easy(a) && f80_easy(b))) {
        order = order_easy(a, b);
    } else {
        struct fp x = x87_context(c);
        order = f80_compare(&x, a, b, u->dst & X87_QUIET);
        unsigned c1 = c->s.fsw & FSW_C1; /* which stays */
        write = x87_raise(c, u, &x);
        c->s.fsw |= (uint16_t)c1;
    }
    flags_set_arith(c, zpc[order]); /* whatever is unmasked */
    if (write)
        pops(c, u->dst & 3);
    return true;
}

bool h_fxam(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 a = x87_get(c, 0);
    unsigned codes = a.exp >> 15 ? FSW_C1 : 0;
    if (x87_empty(c, 0)) {
        codes |= FSW_C3 | FSW_C0;
    } else {
        static const uint16_t class[] = {
            [K_ZERO] = FSW_C3, [K_FINITE] = FSW_C2, [K_INF] = FSW_C2 | FSW_C0,
            [K_QNAN] = FSW_C0, [K_SNAN] = FSW_C0,   [K_UNSUPPORTED] = 0};
        struct fpn n = f80_unpack(a);
        codes |= n.den ? FSW_C3 | FSW_C2 : class[n.kind];
    }
    set_codes(c, codes);
    return true;
}

/* ---- One operand ---- */

static inline bool unary(struct cpu *c, const struct uop *u,
                         struct f80 (*fn)(struct fp *x, struct f80 a))
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 r = F80_INDEFINITE;
    bool write;
    if (x87_empty(c, 0)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        r = fn(&x, x87_get(c, 0));
        write = x87_raise(c, u, &x);
    }
    if (write)
        x87_set(c, 0, r);
    return true;
}

static struct f80 change_sign(struct fp *x, struct f80 a)
{
    return (struct f80){a.sig, a.exp ^ 0x8000};
}

static struct f80 magnitude(struct fp *x, struct f80 a)
{
    return (struct f80){a.sig, a.exp & 0x7fff};
}

bool h_fchs(struct cpu *c, const struct uop *u)
{
    return unary(c, u, change_sign);
}

bool h_fabs(struct cpu *c, const struct uop *u)
{
    return unary(c, u, magnitude);
}

bool h_fsqrt(struct cpu *c, const struct uop *u)
{
    return unary(c, u, f80_sqrt);
}

bool h_frndint(struct cpu *c, const struct uop *u)
{
    return unary(c, u, f80_round);
}

bool h_f2xm1(struct cpu *c, const struct uop *u)
{
    return unary(c, u, f80_2xm1);
}

/* ---- Two operands on the stack ---- */

typedef struct f80 binary_fn(struct fp *x, struct f80 a, struct f80 b);

/* *r = fn(ST(0), ST(1)). Returns whether it is to be written. */
static bool binary(struct cpu *c, const struct uop *u, binary_fn *fn, struct f80 *r)
{
    x87_note(c, u);
    *r = F80_INDEFINITE;
    if (x87_empty(c, 0) || x87_empty(c, 1))
        return x87_stack_fault(c, u, false);
    struct fp x = x87_context(c);
    *r = fn(&x, x87_get(c, 0), x87_get(c, 1));
    return x87_raise(c, u, &x);
}

/* To ST(1), and a pop. */
static bool binary_pop(struct cpu *c, const struct uop *u, binary_fn *fn)
{
    struct f80 r;
    if (!x87_begin(c))
        return false;
    if (binary(c, u, fn, &r)) {
        x87_set(c, 1, r);
        x87_pop(c);
    }
    return true;
}

static struct f80 arc_tangent(struct fp *x, struct f80 a, struct f80 b)
{
    return f80_atan2(x, b, a);
}

bool h_fyl2x(struct cpu *c, const struct uop *u)
{
    return binary_pop(c, u, f80_yl2x);
}

bool h_fyl2xp1(struct cpu *c, const struct uop *u)
{
    return binary_pop(c, u, f80_yl2xp1);
}

bool h_fpatan(struct cpu *c, const struct uop *u)
{
    return binary_pop(c, u, arc_tangent);
}

bool h_fscale(struct cpu *c, const struct uop *u)
{
    struct f80 r;
    if (!x87_begin(c))
        return false;
    if (binary(c, u, f80_scale, &r))
        x87_set(c, 0, r);
    return true;
}

/* FPREM; FPREM1 with u->dst 1. The quotient's bits 2, 1, 0 go to C0, C3, C1. */
bool h_fprem(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 r = F80_INDEFINITE;
    unsigned q = FP_NO_QUOTIENT;
    bool partial = false, write;
    if (x87_empty(c, 0) || x87_empty(c, 1)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        r = f80_remainder(&x, x87_get(c, 0), x87_get(c, 1), u->dst, &q, &partial);
        write = x87_raise(c, u, &x);
    }
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C2) | (partial ? FSW_C2 : 0));
    if (q != FP_NO_QUOTIENT)
        c->s.fsw = (uint16_t)((c->s.fsw & ~(FSW_C0 | FSW_C3 | FSW_C1)) | (q & 1 ? FSW_C1 : 0) |
                              (q & 2 ? FSW_C3 : 0) | (q & 4 ? FSW_C0 : 0));
    if (write)
        x87_set(c, 0, r);
    return true;
}

/* ---- Two results ---- */

/* ST(0) becomes `first`, and `second` is pushed. */
static void replace_and_push(struct cpu *c, struct f80 first, struct f80 second)
{
    x87_set(c, 0, first);
    x87_push(c, second);
}

/* Is there an operand in ST(0) and room for one more? */
static bool room(struct cpu *c, const struct uop *u, bool *write)
{
    if (!x87_empty(c, 0) && x87_empty(c, 7))
        return true;
    *write = x87_stack_fault(c, u, !x87_empty(c, 0));
    return false;
}

bool h_fxtract(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 exponent = F80_INDEFINITE, fraction = F80_INDEFINITE;
    bool write;
    if (room(c, u, &write)) {
        struct fp x = x87_context(c);
        exponent = f80_extract(&x, x87_get(c, 0), &fraction);
        write = x87_raise(c, u, &x);
    }
    if (write)
        replace_and_push(c, exponent, fraction);
    return true;
}

/* The sine in ST(0) and the cosine above it; or for FPTAN (u->dst 1) the tangent and 1.0. */
bool h_fsincos(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 first = F80_INDEFINITE, second = F80_INDEFINITE;
    bool write, done = true;
    if (room(c, u, &write)) {
        struct fp x = x87_context(c);
        struct f80 a = x87_get(c, 0);
        done = u->dst ? f80_tan(&x, a, &first) : f80_sincos(&x, a, &first, &second);
        if (u->dst) /* a NaN fills both places */
            second = (first.exp & 0x7fff) == 0x7fff ? first : i64_to_f80(1);
        write = x87_raise(c, u, &x) && done;
    }
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C2) | (done ? 0 : FSW_C2));
    if (write)
        replace_and_push(c, first, second);
    return true;
}

/* FSIN; FCOS with u->dst 1. */
bool h_fsin(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 r = F80_INDEFINITE;
    bool write, done = true;
    if (x87_empty(c, 0)) {
        write = x87_stack_fault(c, u, false);
    } else {
        struct fp x = x87_context(c);
        struct f80 a = x87_get(c, 0);
        done = f80_sincos(&x, a, u->dst ? NULL : &r, u->dst ? &r : NULL);
        write = x87_raise(c, u, &x) && done;
    }
    c->s.fsw = (uint16_t)((c->s.fsw & ~FSW_C2) | (done ? 0 : FSW_C2));
    if (write)
        x87_set(c, 0, r);
    return true;
}
