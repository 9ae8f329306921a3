/* SSE, AVX and F16C conversions between floating-point formats and integers (SDM 1 11.4.1.6).
 *
 * Ordinary values are converted by the host, under the conditions of softfp_fast.h. */
#include "cpu/vec_fp.h"

/* Are PE's effects done with? Truncation then needs no regard for the rounding mode. */
VEC_INLINE bool inexact_seen(const struct cpu *c)
{
    return c->s.mxcsr & c->s.mxcsr >> 7 & FP_INEXACT;
}

/* --- float and double --- */

VEC_INLINE bool widen(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    bool good = true;
    for (unsigned i = 0; i < n / 8; i++) {
        good &= f32_easy(b->d[i]);
        r.q[i] = f64_guest((double)f32_host(b->d[i]));
    }
    if (UNLIKELY(!good)) {
        struct fp x = vec_fp_begin(c);
        for (unsigned i = 0; i < n / 8; i++)
            r.q[i] = f32_to_f64(&x, b->d[i]);
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(cvtps2pd, widen, 0)
VEC_FP_SCALAR(cvtss2sd, widen, 8, 0)

/* n: bytes of source. */
VEC_INLINE bool narrow(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r = {.q = {0}};
    bool good = vec_fp_fast(c);
    for (unsigned i = 0; i < n / 8; i++) {
        f64 a = b->q[i];
        r.d[i] = f32_guest((float)f64_host(a));
        good = good && f64_easy(a) && (f32_clear(r.d[i]) || !(a << 1));
    }
    if (UNLIKELY(!good)) {
        struct fp x = vec_fp_begin(c);
        for (unsigned i = 0; i < n / 8; i++)
            r.d[i] = f64_to_f32(&x, b->q[i]);
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    vec_put(c, u, &r, n == 8 ? 4 : 16, vex);
    return true;
}
VEC_FP_PACKED(cvtpd2ps, narrow, 0)
VEC_FP_SCALAR(cvtsd2ss, narrow, 8, 0)

/* --- from integers --- */

VEC_INLINE bool dq_to_ps(struct cpu *c, union vreg *r, const union vreg *b, unsigned lanes)
{
    if (LIKELY(vec_fp_fast(c))) {
        for (unsigned i = 0; i < lanes; i++)
            r->d[i] = f32_guest((float)(int32_t)b->d[i]);
        return true;
    }
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r->d[i] = i32_to_f32(&x, (int32_t)b->d[i]);
    return vec_fp_end(c, x.flags);
}

VEC_INLINE bool cvtdq2ps(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    union vreg r;
    if (!dq_to_ps(c, &r, cpu_vreg(c, u->b), n / 4))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(cvtdq2ps, cvtdq2ps, 0)

VEC_INLINE bool cvtdq2pd(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    for (unsigned i = 0; i < n / 8; i++)
        r.q[i] = f64_guest((double)(int32_t)b->d[i]);
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(cvtdq2pd, cvtdq2pd, 0)

/* A general register, 4 or 8 bytes, into a scalar. */
VEC_INLINE bool cvtsi2ss(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    union vreg r;
    int64_t v = u->size == 8 ? (int64_t)c->s.r[u->b] : (int32_t)c->s.r[u->b];
    if (LIKELY(vec_fp_fast(c) || (v >= -(1 << 24) && v <= 1 << 24))) {
        r.d[0] = f32_guest((float)v);
    } else {
        struct fp x = vec_fp_begin(c);
        r.d[0] = i64_to_f32(&x, v);
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_SCALAR(cvtsi2ss, cvtsi2ss, 4, 0)

VEC_INLINE bool cvtsi2sd(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned unused)
{
    union vreg r;
    int64_t v = u->size == 8 ? (int64_t)c->s.r[u->b] : (int32_t)c->s.r[u->b];
    if (LIKELY(vec_fp_fast(c) || (v >= -(1ll << 53) && v <= 1ll << 53))) {
        r.q[0] = f64_guest((double)v);
    } else {
        struct fp x = vec_fp_begin(c);
        r.q[0] = i64_to_f64(&x, v);
        if (!vec_fp_end(c, x.flags))
            return false;
    }
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_SCALAR(cvtsi2sd, cvtsi2sd, 8, 0)

/* --- to integers --- */

enum truncation { BY_MXCSR, TRUNCATE };

VEC_INLINE enum fp_round rounding(const struct fp *x, enum truncation t)
{
    return t == TRUNCATE ? FP_ZERO : x->round;
}

/* Converts ordinary values in range by truncation; the rounding modes are softfp's. */
VEC_INLINE bool ps_to_dq(struct cpu *c, uint32_t *r, const uint32_t *b, unsigned lanes,
                         enum truncation t)
{
    if (LIKELY(t == TRUNCATE && inexact_seen(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++) {
            bool fits = f32_easy(b[i]) && (b[i] & 0x7fffffff) < 0x4f000000;
            r[i] = (uint32_t)(int32_t)(fits ? f32_host(b[i]) : 0.0f);
            good &= fits;
        }
        if (LIKELY(good))
            return true;
    }
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r[i] = (uint32_t)f32_to_i32(&x, b[i], rounding(&x, t));
    return vec_fp_end(c, x.flags);
}

VEC_INLINE bool pd_to_dq(struct cpu *c, uint32_t *r, const uint64_t *b, unsigned lanes,
                         enum truncation t)
{
    if (LIKELY(t == TRUNCATE && inexact_seen(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++) {
            bool fits = f64_easy(b[i]) && (b[i] & ~BIT(63)) < 0x41e0000000000000ull;
            r[i] = (uint32_t)(int32_t)(fits ? f64_host(b[i]) : 0.0);
            good &= fits;
        }
        if (LIKELY(good))
            return true;
    }
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r[i] = (uint32_t)f64_to_i32(&x, b[i], rounding(&x, t));
    return vec_fp_end(c, x.flags);
}

VEC_INLINE bool cvtps2dq(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         enum truncation t)
{
    union vreg r;
    if (!ps_to_dq(c, r.d, cpu_vreg(c, u->b)->d, n / 4, t))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(cvtps2dq, cvtps2dq, BY_MXCSR)
VEC_FP_PACKED(cvttps2dq, cvtps2dq, TRUNCATE)

VEC_INLINE bool cvtpd2dq(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         enum truncation t)
{
    union vreg r = {.q = {0}};
    if (!pd_to_dq(c, r.d, cpu_vreg(c, u->b)->q, n / 8, t))
        return false;
    vec_put(c, u, &r, 16, vex);
    return true;
}
VEC_FP_PACKED(cvtpd2dq, cvtpd2dq, BY_MXCSR)
VEC_FP_PACKED(cvttpd2dq, cvtpd2dq, TRUNCATE)

/* A scalar into general register dst of u->size bytes. */
VEC_INLINE bool cvtss2si(struct cpu *c, const struct uop *u, enum truncation t)
{
    f32 b = cpu_vreg(c, u->b)->d[0];
    struct fp x = vec_fp_begin(c);
    uint64_t v;
    if (u->size == 8)
        v = (uint64_t)f32_to_i64(&x, b, rounding(&x, t));
    else
        v = (uint32_t)f32_to_i32(&x, b, rounding(&x, t));
    if (x.flags && !vec_fp_end(c, x.flags))
        return false;
    c->s.r[u->dst] = v;
    return true;
}

VEC_INLINE bool cvtsd2si(struct cpu *c, const struct uop *u, enum truncation t)
{
    f64 b = cpu_vreg(c, u->b)->q[0];
    if (t == TRUNCATE && f64_easy(b) && (b & ~BIT(63)) < 0x41e0000000000000ull && inexact_seen(c)) {
        int32_t v = (int32_t)f64_host(b);
        c->s.r[u->dst] = u->size == 8 ? (uint64_t)(int64_t)v : (uint32_t)v;
        return true;
    }
    struct fp x = vec_fp_begin(c);
    uint64_t v;
    if (u->size == 8)
        v = (uint64_t)f64_to_i64(&x, b, rounding(&x, t));
    else
        v = (uint32_t)f64_to_i32(&x, b, rounding(&x, t));
    if (x.flags && !vec_fp_end(c, x.flags))
        return false;
    c->s.r[u->dst] = v;
    return true;
}

#define TO_GENERAL(name, run, t)                               \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, t);                                   \
    }                                                          \
    vec_op v_##name = {NULL, name##_xmm, name##_xmm, name##_xmm};

TO_GENERAL(cvtss2si, cvtss2si, BY_MXCSR)
TO_GENERAL(cvttss2si, cvtss2si, TRUNCATE)
TO_GENERAL(cvtsd2si, cvtsd2si, BY_MXCSR)
TO_GENERAL(cvttsd2si, cvtsd2si, TRUNCATE)

/* --- MMX registers: two 32-bit integers ---
 *
 * From memory it is no MMX instruction (SDM 2A CVTPI2PD; chips treat CVTPI2PS alike). Otherwise the
 * x87 state changes even if the conversion then raises #XM. */

static bool cvtpi2ps_xmm(struct cpu *c, const struct uop *u)
{
    union vreg r;
    if (u->b < 8)
        vec_mmx_touch(c);
    if (!dq_to_ps(c, &r, vec_mmx_source(c, u->b), 2))
        return false;
    cpu_vreg(c, u->dst)->q[0] = r.q[0];
    return true;
}
vec_op v_cvtpi2ps = {NULL, cvtpi2ps_xmm};

static bool cvtpi2pd_xmm(struct cpu *c, const struct uop *u)
{
    const union vreg *b = vec_mmx_source(c, u->b);
    union vreg *d = cpu_vreg(c, u->dst);
    f64 lo = f64_guest((double)(int32_t)b->d[0]), hi = f64_guest((double)(int32_t)b->d[1]);
    d->q[0] = lo;
    d->q[1] = hi;
    if (u->b < 8)
        vec_mmx_touch(c);
    return true;
}
vec_op v_cvtpi2pd = {NULL, cvtpi2pd_xmm};

VEC_INLINE bool cvtps2pi(struct cpu *c, const struct uop *u, enum truncation t)
{
    union vreg r;
    vec_mmx_touch(c);
    if (!ps_to_dq(c, r.d, cpu_vreg(c, u->b)->d, 2, t))
        return false;
    vec_mmx_write(c, u->dst, r.q[0]);
    return true;
}

VEC_INLINE bool cvtpd2pi(struct cpu *c, const struct uop *u, enum truncation t)
{
    union vreg r;
    vec_mmx_touch(c);
    if (!pd_to_dq(c, r.d, cpu_vreg(c, u->b)->q, 2, t))
        return false;
    vec_mmx_write(c, u->dst, r.q[0]);
    return true;
}

TO_GENERAL(cvtps2pi, cvtps2pi, BY_MXCSR)
TO_GENERAL(cvttps2pi, cvtps2pi, TRUNCATE)
TO_GENERAL(cvtpd2pi, cvtpd2pi, BY_MXCSR)
TO_GENERAL(cvttpd2pi, cvtpd2pi, TRUNCATE)

/* --- half precision --- */

VEC_INLINE bool half_to_single(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                               unsigned unused)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r;
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < n / 4; i++)
        r.d[i] = f16_to_f32(&x, b->w[i]);
    if (!vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(vcvtph2ps, half_to_single, 0)

/* imm[2]: MXCSR's rounding, else imm[1:0]. */
VEC_INLINE bool single_to_half(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                               unsigned imm)
{
    const union vreg *b = cpu_vreg(c, u->b);
    union vreg r = {.q = {0}};
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < n / 4; i++)
        r.w[i] = f32_to_f16(&x, b->d[i], imm & 4 ? x.round : imm & 3);
    if (!vec_fp_end(c, x.flags))
        return false;
    vec_put(c, u, &r, 16, vex);
    return true;
}
VEC_FP_PACKED(vcvtps2ph, single_to_half, (unsigned)u->imm)
