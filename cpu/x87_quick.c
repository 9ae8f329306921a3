/* Quick forms of the commonest x87 instructions, for UOP_X87: no exception pending, the usual
 * control word, normal operands, a result without an exception but inexact, and memory that the TLB
 * knows. All else goes on to the instruction's proper helper, before anything was changed.
 *
 * They find the memory operand's address by the uop (a, b, scale, imm, asize), and their own
 * address by the running block, as they are called without c->s.rip being set. */
#include "cpu/helpers.h"
#include "cpu/interp.h"
#include "cpu/x87_fast.h"

#define NOINLINE      __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE uint64_t offset(const struct cpu *c, const struct uop *u)
{
    uint64_t off = c->s.r[u->a] + (c->s.r[u->b] << u->scale) + (uint64_t)u->imm;
    if (u->asize == 8)
        return off;
    return u->asize == 4 ? (uint32_t)off : (uint16_t)off;
}

static NOINLINE bool long_way(struct cpu *c, const struct uop *u, uop_helper *help)
{
    interp_mark(c, u);
    if (u->aux & X87_MEM)
        c->s.r[R_T0] = offset(c, u);
    return help(c, u);
}

ALWAYS_INLINE bool usual(const struct cpu *c)
{
    return LIKELY(!(c->s.fsw & FSW_ES) &&
                  (c->s.fcw & (0xf00 | FP_INEXACT)) == (0x300 | FP_INEXACT));
}

ALWAYS_INLINE void note(struct cpu *c, const struct uop *u)
{
    c->s.fip = (c->s.r[R_IP] + u->ip) & c->block->mask[0];
    c->s.fcs = c->s.seg[SEG_CS].sel;
}

/* The host's bytes of the memory operand, or NULL. */
ALWAYS_INLINE void *readable(const struct cpu *c, const struct uop *u, unsigned size)
{
    uint64_t la = offset(c, u);
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->read;
    return LIKELY((u->aux & X87_FLAT) && off <= PAGE_SIZE - size) ? (void *)(e->host + off) : NULL;
}

ALWAYS_INLINE void *writable(const struct cpu *c, const struct uop *u, unsigned size)
{
    uint64_t la = offset(c, u);
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->write;
    return LIKELY((u->aux & X87_FLAT) && off <= PAGE_SIZE - size) ? (void *)(e->host + off) : NULL;
}

/* Raises `bits`, turns TOP by `turn`, and marks registers full and empty. */
ALWAYS_INLINE void done(struct cpu *c, const struct uop *u, unsigned bits, unsigned turn,
                        unsigned full, unsigned empty)
{
    unsigned w = c->s.fsw;
    c->s.fsw = (uint16_t)((w & ~(0x3800 | FSW_C1)) | ((w + (turn << 11)) & 0x3800) | bits);
    if (full | empty)
        c->s.ftw = (uint8_t)((c->s.ftw | full) & ~empty);
    note(c, u);
}

ALWAYS_INLINE unsigned compute(struct f80 *r, unsigned op, struct f80 a, struct f80 b)
{
    if (UNLIKELY(!f80_normal(a) || !f80_normal(b)))
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

ALWAYS_INLINE struct f80 reg(const struct cpu *c, unsigned n)
{
    return (struct f80){c->s.fp_sig[n], c->s.fp_exp[n]};
}

ALWAYS_INLINE void put(struct cpu *c, unsigned n, struct f80 v)
{
    c->s.fp_sig[n] = v.sig;
    c->s.fp_exp[n] = v.exp;
}

ALWAYS_INLINE bool registers(struct cpu *c, const struct uop *u, unsigned op, bool to_sti, bool pop,
                             uop_helper *help)
{
    unsigned n0 = x87_index(c, 0), ni = x87_index(c, u->a);
    struct f80 r;
    if (UNLIKELY(!usual(c) || !(c->s.ftw >> n0 & c->s.ftw >> ni & 1)))
        return long_way(c, u, help);
    unsigned bits = compute(&r, op, reg(c, n0), reg(c, ni));
    if (UNLIKELY(bits == X87_SLOW))
        return long_way(c, u, help);
    put(c, to_sti ? ni : n0, r);
    done(c, u, bits, pop, 0, pop ? 1u << n0 : 0);
    return true;
}

ALWAYS_INLINE bool memory(struct cpu *c, const struct uop *u, unsigned op, unsigned size,
                          uop_helper *help)
{
    unsigned n0 = x87_index(c, 0);
    const void *p = readable(c, u, size);
    struct f80 r;
    bool den;
    if (UNLIKELY(!p || !usual(c) || !(c->s.ftw >> n0 & 1)))
        return long_way(c, u, help);
    struct f80 m = size == 4 ? f32_widen(get_le32(p), &den) : f64_widen(get_le64(p), &den);
    unsigned bits = den ? X87_SLOW : compute(&r, op, reg(c, n0), m);
    if (UNLIKELY(bits == X87_SLOW))
        return long_way(c, u, help);
    put(c, n0, r);
    done(c, u, bits, 0, 0, 0);
    return true;
}

/* The six operations in their five forms: q_fadd_st0, q_fadd_sti, q_fadd_pop, q_fadd_m32 … */
#define ARITHMETIC(X) X(add, ADD) X(mul, MUL) X(sub, SUB) X(subr, SUBR) X(div, DIV) X(divr, DIVR)
#define X(name, op)                                                   \
    bool q_f##name##_st0(struct cpu *c, const struct uop *u)          \
    {                                                                 \
        return registers(c, u, X87_##op, false, false, h_farith_st0); \
    }                                                                 \
    bool q_f##name##_sti(struct cpu *c, const struct uop *u)          \
    {                                                                 \
        return registers(c, u, X87_##op, true, false, h_farith_sti);  \
    }                                                                 \
    bool q_f##name##_pop(struct cpu *c, const struct uop *u)          \
    {                                                                 \
        return registers(c, u, X87_##op, true, true, h_farith_pop);   \
    }                                                                 \
    bool q_f##name##_m32(struct cpu *c, const struct uop *u)          \
    {                                                                 \
        return memory(c, u, X87_##op, 4, h_farith_m32);               \
    }                                                                 \
    bool q_f##name##_m64(struct cpu *c, const struct uop *u)          \
    {                                                                 \
        return memory(c, u, X87_##op, 8, h_farith_m64);               \
    }
ARITHMETIC(X)
#undef X

ALWAYS_INLINE bool push(struct cpu *c, const struct uop *u, struct f80 v)
{
    unsigned n = x87_index(c, 7);
    put(c, n, v);
    done(c, u, 0, 7, 1u << n, 0);
    return true;
}

ALWAYS_INLINE bool load(struct cpu *c, const struct uop *u, unsigned size, uop_helper *help)
{
    const void *p = readable(c, u, size);
    bool den;
    if (UNLIKELY(!p || (c->s.fsw & FSW_ES) || !x87_empty(c, 7)))
        return long_way(c, u, help);
    struct f80 v = size == 4 ? f32_widen(get_le32(p), &den) : f64_widen(get_le64(p), &den);
    if (UNLIKELY(den || !f80_easy(v)))
        return long_way(c, u, help);
    return push(c, u, v);
}

bool q_fld_m32(struct cpu *c, const struct uop *u)
{
    return load(c, u, 4, h_fld_m32);
}

bool q_fld_m64(struct cpu *c, const struct uop *u)
{
    return load(c, u, 8, h_fld_m64);
}

bool q_fild_m32(struct cpu *c, const struct uop *u)
{
    const void *p = readable(c, u, 4);
    if (UNLIKELY(!p || (c->s.fsw & FSW_ES) || !x87_empty(c, 7)))
        return long_way(c, u, h_fild_m32);
    return push(c, u, i64_to_f80((int32_t)get_le32(p)));
}

bool q_fld_sti(struct cpu *c, const struct uop *u)
{
    unsigned n = x87_index(c, u->a);
    if (UNLIKELY((c->s.fsw & FSW_ES) || !x87_empty(c, 7) || !(c->s.ftw >> n & 1)))
        return long_way(c, u, h_fld_sti);
    return push(c, u, reg(c, n));
}

bool q_fxch(struct cpu *c, const struct uop *u)
{
    unsigned n0 = x87_index(c, 0), ni = x87_index(c, u->a);
    if (UNLIKELY((c->s.fsw & FSW_ES) || !(c->s.ftw >> n0 & c->s.ftw >> ni & 1)))
        return long_way(c, u, h_fxch);
    struct f80 a = reg(c, n0);
    put(c, n0, reg(c, ni));
    put(c, ni, a);
    done(c, u, 0, 0, 0, 0);
    return true;
}

/* FST and FSTP ST(i); u->dst pops. */
bool q_fst_sti(struct cpu *c, const struct uop *u)
{
    unsigned n0 = x87_index(c, 0), ni = x87_index(c, u->a);
    if (UNLIKELY((c->s.fsw & FSW_ES) || !(c->s.ftw >> n0 & 1)))
        return long_way(c, u, h_fst_sti);
    put(c, ni, reg(c, n0));
    done(c, u, 0, u->dst != 0, 1u << ni, u->dst ? 1u << n0 : 0);
    return true;
}

ALWAYS_INLINE bool store(struct cpu *c, const struct uop *u, unsigned frac, uop_helper *help)
{
    unsigned n0 = x87_index(c, 0), size = frac == F32_FRAC ? 4 : 8;
    void *p = writable(c, u, size);
    uint64_t v;
    if (UNLIKELY(!p || !usual(c) || !(c->s.ftw >> n0 & 1)))
        return long_way(c, u, help);
    unsigned bits = fast_narrow(c, &v, reg(c, n0), frac);
    if (UNLIKELY(bits == X87_SLOW))
        return long_way(c, u, help);
    if (frac == F32_FRAC)
        put_le32(p, (uint32_t)v);
    else
        put_le64(p, v);
    done(c, u, bits, u->dst != 0, 0, u->dst ? 1u << n0 : 0);
    return true;
}

bool q_fst_m32(struct cpu *c, const struct uop *u)
{
    return store(c, u, F32_FRAC, h_fst_m32);
}

bool q_fst_m64(struct cpu *c, const struct uop *u)
{
    return store(c, u, F64_FRAC, h_fst_m64);
}
