/* The x87 unit: its register stack, status word and exceptions (SDM 1 8). Shared by the files
 * x87*.c and fpstate.c; the helpers themselves are declared in helpers.h.
 *
 * What lift_x87() gives a helper, beyond lift_call()'s: u->dst is the row's argument, u->a the i of
 * ST(i) (register forms), and u->aux the 11 bits of FOP with X87_MEM and, where segmentation adds
 * nothing to the offset in r[R_T0], X87_FLAT.
 *
 * FIP and FCS are those of the last instruction. FOP, FDP and FDS are written only with an unmasked
 * exception, as late processors do (SDM 1 8.1.8, 8.1.9): that is when they mean something.
 *
 * The order of every helper: x87_begin() (a pending exception goes first), memory accesses,
 * x87_note() (FIP), and only then changes. */
#ifndef ISHI_CPU_X87_H
#define ISHI_CPU_X87_H

#include "cpu/mem.h"
#include "cpu/softfp.h"
#include "cpu/uop.h"

#define FSW_SF 0x0040u /* stack fault */
#define FSW_ES 0x0080u /* an unmasked exception is pending; B follows it */
#define FSW_C0 0x0100u
#define FSW_C1 0x0200u
#define FSW_C2 0x0400u
#define FSW_C3 0x4000u
#define FSW_B  0x8000u
#define FSW_CC (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)

#define FCW_RESERVED 0x0040u /* reads as 1 */
#define FCW_WRITABLE 0x1f3fu
#define FCW_INIT     0x037fu

#define X87_FOP  0x07ffu
#define X87_MEM  0x8000u
#define X87_FLAT 0x4000u
#define X87_HELP 0x87u /* scale of a UOP_HELP that is an x87 instruction, with aux as above */

/* Arithmetic, by the /digit of D8; FCOM and FCOMP (2, 3) are not among them. */
enum x87_op { X87_ADD, X87_MUL, X87_SUB = 4, X87_SUBR, X87_DIV, X87_DIVR };

/* u->dst of comparisons: or'ed to the number of pops; of integer stores: to the pop. */
#define X87_QUIET    0x10u
#define X87_TRUNCATE 0x20u

/* Exceptions after which an instruction has no result when they are unmasked. */
#define FP_PRE (FP_INVALID | FP_DENORMAL | FP_DIVZERO)

/* The x87 error is pending: #MF, or FERR# with CR0.NE = 0 (SDM 1 8.7). */
bool x87_pending(struct cpu *c);

static inline bool x87_begin(struct cpu *c)
{
    return LIKELY(!(c->s.fsw & FSW_ES)) || x87_pending(c);
}

/* Remembers the instruction, for FSAVE and its kin. */
static inline void x87_note(struct cpu *c, const struct uop *u)
{
    c->s.fip = c->s.rip;
    c->s.fcs = c->s.seg[SEG_CS].sel;
}

/* An unmasked exception: it is pending, and its instruction's operand on record. */
void x87_pend(struct cpu *c, const struct uop *u);

static inline struct fp x87_context(const struct cpu *c)
{
    /* Put together as one word: byte after byte, it would be read before it is in the cache. */
    static const uint8_t precision[] = {24, 64, 53, 64};
    uint64_t v = (c->s.fcw >> 10 & 3) | (uint64_t)precision[c->s.fcw >> 8 & 3] << 8 |
                 (uint64_t)(c->s.fcw & 0x3f) << 32;
    struct fp x;
    _Static_assert(sizeof x == 8 && offsetof(struct fp, masks) == 4, "as shifted above");
    memcpy(&x, &v, sizeof x);
    return x;
}

static inline unsigned x87_index(const struct cpu *c, unsigned i)
{
    return ((c->s.fsw >> 11) + i) & 7;
}

static inline bool x87_empty(const struct cpu *c, unsigned i)
{
    return !(c->s.ftw >> x87_index(c, i) & 1);
}

static inline struct f80 x87_get(const struct cpu *c, unsigned i)
{
    unsigned n = x87_index(c, i);
    return (struct f80){c->s.fp_sig[n], c->s.fp_exp[n]};
}

/* Overwrites a register that is not empty. */
static inline void x87_put(struct cpu *c, unsigned i, struct f80 v)
{
    unsigned n = x87_index(c, i);
    c->s.fp_sig[n] = v.sig;
    c->s.fp_exp[n] = v.exp;
}

static inline void x87_set(struct cpu *c, unsigned i, struct f80 v)
{
    x87_put(c, i, v);
    c->s.ftw |= (uint8_t)(1u << x87_index(c, i));
}

static inline void x87_turn(struct cpu *c, unsigned by)
{
    c->s.fsw = (uint16_t)((c->s.fsw & ~0x3800u) | ((c->s.fsw + (by << 11)) & 0x3800u));
}

static inline void x87_pop(struct cpu *c)
{
    c->s.ftw &= (uint8_t) ~(1u << x87_index(c, 0));
    x87_turn(c, 1);
}

static inline void x87_push(struct cpu *c, struct f80 v)
{
    x87_turn(c, 7);
    x87_set(c, 0, v);
}

/* Brings what an operation raised into the status word. False: it may not leave a result. */
static inline bool x87_raise(struct cpu *c, const struct uop *u, const struct fp *x)
{
    unsigned w = (c->s.fsw & ~FSW_C1) | x->flags;
    if (x->rounded_up)
        w |= FSW_C1;
    unsigned bad = x->flags & ~x->masks & 0x3fu;
    c->s.fsw = (uint16_t)w;
    if (UNLIKELY(bad))
        x87_pend(c, u);
    return !(bad & FP_PRE);
}

/* Stack overflow or underflow. True: masked, go on with the indefinite. */
bool x87_stack_fault(struct cpu *c, const struct uop *u, bool overflow);

/* Recomputes ES and B after FSW or FCW were loaded, and FERR#. */
void x87_update_es(struct cpu *c);

/* FNINIT. */
void x87_init(struct cpu *c);

/* What FXAM and tag words call a register: 0 valid, 1 zero, 2 special (SDM 1 8.1.7). */
unsigned x87_tag(struct f80 v);

/* Memory operands. */
static inline bool x87_load(struct cpu *c, const struct uop *u, unsigned size, uint64_t *v)
{
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, c->s.r[R_T0]);
    uint64_t off = c->s.r[R_T0] - e->read;
    if (UNLIKELY(!(u->aux & X87_FLAT) || off > PAGE_SIZE - size))
        return seg_load(c, u->seg, c->s.r[R_T0], size, v);
    *v = 0;
    memcpy(v, (const void *)(e->host + off), size);
    return true;
}

static inline bool x87_store(struct cpu *c, const struct uop *u, unsigned size, uint64_t v)
{
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, c->s.r[R_T0]);
    uint64_t off = c->s.r[R_T0] - e->write;
    if (UNLIKELY(!(u->aux & X87_FLAT) || off > PAGE_SIZE - size))
        return seg_store(c, u->seg, c->s.r[R_T0], size, v);
    memcpy((void *)(e->host + off), &v, size);
    return true;
}

/* Lifts every x87 row (lift_x87.c). */
struct lift;
void lift_x87(struct lift *l);

/* XINUSE: the state components that are not in their initial state (SDM 1 13.6); fpstate.c. */
uint64_t xsave_in_use(const struct cpu *c);

/* The functions of x87_math.c and x87_rem.c: results by the SDM's tables of special operands;
 * x->flags raised. */
struct f80 f80_2xm1(struct fp *x, struct f80 a);
struct f80 f80_yl2x(struct fp *x, struct f80 a, struct f80 y);   /* y * log2(a) */
struct f80 f80_yl2xp1(struct fp *x, struct f80 a, struct f80 y); /* y * log2(a + 1) */
struct f80 f80_atan2(struct fp *x, struct f80 y, struct f80 a);  /* FPATAN: atan(y / a) */
/* sin and cos of a, either NULL if not wanted. False: |a| >= 2^63, nothing done (C2). */
bool f80_sincos(struct fp *x, struct f80 a, struct f80 *sine, struct f80 *cosine);
bool f80_tan(struct fp *x, struct f80 a, struct f80 *tangent);
struct f80 f80_scale(struct fp *x, struct f80 a, struct f80 by);
/* The exponent of a, and *fraction its significand. */
struct f80 f80_extract(struct fp *x, struct f80 a, struct f80 *fraction);
/* FPREM, or FPREM1 with `nearest`. *quotient: its low 3 bits, or FP_NO_QUOTIENT. *partial: more is
 * left to do. */
#define FP_NO_QUOTIENT 8u
struct f80 f80_remainder(struct fp *x, struct f80 a, struct f80 b, bool nearest, unsigned *quotient,
                         bool *partial);

#endif
