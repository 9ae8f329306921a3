/* Fused multiply-add (SDM 1 14.5): VF[N]M{ADD,SUB,ADDSUB,SUBADD}{132,213,231}{P,S}{S,D}.
 *
 * u->imm says which operands are multiplied and what is negated, as FMA_* of vec.h; negation leaves
 * NaNs alone. */
#include "cpu/vec_fp.h"

/* The factors and the addend. */
struct terms {
    const union vreg *x, *y, *z;
};

static struct terms terms(struct cpu *c, const struct uop *u)
{
    const union vreg *d = cpu_vreg(c, u->dst), *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    switch (u->imm & FMA_ORDER) {
    case FMA_132: return (struct terms){d, b, a};
    case FMA_213: return (struct terms){a, d, b};
    default: return (struct terms){a, b, d};
    }
}

VEC_INLINE bool minus_addend(const struct uop *u, unsigned lane)
{
    return u->imm & (lane & 1 ? FMA_SUB_ODD : FMA_SUB_EVEN);
}

static f32 negate32(f32 a, bool yes)
{
    return yes && (a & 0x7fffffffu) <= 0x7f800000u ? a ^ 0x80000000u : a;
}

static f64 negate64(f64 a, bool yes)
{
    return yes && (a & ~BIT(63)) <= 0x7ff0000000000000ull ? a ^ BIT(63) : a;
}

/* One lane by the host; false: only softfp knows. A zero result is exact only if a factor is. */
static bool fast32(f32 a, f32 b, f32 c, f32 *r)
{
    *r = f32_guest(__builtin_fmaf(f32_host(a), f32_host(b), f32_host(c)));
    return f32_easy(a) && f32_easy(b) && f32_easy(c) &&
           (f32_clear(*r) || ((!(a << 1) || !(b << 1)) && f32_easy(*r)));
}

static bool fast64(f64 a, f64 b, f64 c, f64 *r)
{
    *r = f64_guest(__builtin_fma(f64_host(a), f64_host(b), f64_host(c)));
    return f64_easy(a) && f64_easy(b) && f64_easy(c) &&
           (f64_clear(*r) || ((!(a << 1) || !(b << 1)) && f64_easy(*r)));
}

VEC_INLINE bool fma32(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    const struct terms t = terms(c, u);
    const bool product = u->imm & FMA_NEGATE;
    bool good = vec_fp_fast(c);
    union vreg r;
    for (unsigned i = 0; i < n / 4 && good; i++)
        good = fast32(negate32(t.x->d[i], product), t.y->d[i],
                      negate32(t.z->d[i], minus_addend(u, i)), &r.d[i]);
    if (!good) {
        struct fp x = vec_fp_begin(c);
        for (unsigned i = 0; i < n / 4; i++)
            r.d[i] = f32_fma(&x, negate32(t.x->d[i], product), t.y->d[i],
                             negate32(t.z->d[i], minus_addend(u, i)));
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    /* The rest of a scalar's destination stays. */
    memcpy(cpu_vreg(c, u->dst), &r, n);
    if (n < 32)
        cpu_vreg(c, u->dst)->q[2] = cpu_vreg(c, u->dst)->q[3] = 0;
    return true;
}

VEC_INLINE bool fma64(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    const struct terms t = terms(c, u);
    const bool product = u->imm & FMA_NEGATE;
    bool good = vec_fp_fast(c);
    union vreg r;
    for (unsigned i = 0; i < n / 8 && good; i++)
        good = fast64(negate64(t.x->q[i], product), t.y->q[i],
                      negate64(t.z->q[i], minus_addend(u, i)), &r.q[i]);
    if (!good) {
        struct fp x = vec_fp_begin(c);
        for (unsigned i = 0; i < n / 8; i++)
            r.q[i] = f64_fma(&x, negate64(t.x->q[i], product), t.y->q[i],
                             negate64(t.z->q[i], minus_addend(u, i)));
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    memcpy(cpu_vreg(c, u->dst), &r, n);
    if (n < 32)
        cpu_vreg(c, u->dst)->q[2] = cpu_vreg(c, u->dst)->q[3] = 0;
    return true;
}

VEC_FP_PACKED(fmaps, fma32, 0)
VEC_FP_PACKED(fmapd, fma64, 0)
VEC_FP_SCALAR(fmass, fma32, 4, 0)
VEC_FP_SCALAR(fmasd, fma64, 8, 0)
