/* SSE and AVX floating-point arithmetic: + - * / square root, minimum, maximum, horizontal sums and
 * dot products (SDM 1 10.4, 11.4, 11.5, 14.3).
 *
 * Three ways to a result, from the quick to the thorough:
 *  - the host's arithmetic on all lanes at once, if all operands and results are normal numbers;
 *  - the host's lane by lane, which knows zeros too; each fast_…() says whether its result serves;
 *    A program that never raised inexact may use both where the results are exact;
 *  - softfp for all lanes: an exception that is not masked leaves the whole destination, so no lane
 *    is written before all are known. */
#include "cpu/vec_fp.h"

#define NOINLINE __attribute__((noinline))

/* One lane by the host; false: only softfp knows. */
typedef bool fast32(f32 a, f32 b, f32 *r);
typedef bool fast64(f64 a, f64 b, f64 *r);
typedef f32 soft32(struct fp *x, f32 a, f32 b);
typedef f64 soft64(struct fp *x, f64 a, f64 b);

/* All lanes by softfp: `even` and `odd` are the same but for ADDSUB. */
static bool soft_lanes32(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                         unsigned lanes, soft32 *even, soft32 *odd)
{
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r->d[i] = (i & 1 ? odd : even)(&x, a->d[i], b->d[i]);
    return vec_fp_end(c, x.flags);
}

static bool soft_lanes64(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                         unsigned lanes, soft64 *even, soft64 *odd)
{
    struct fp x = vec_fp_begin(c);
    for (unsigned i = 0; i < lanes; i++)
        r->q[i] = (i & 1 ? odd : even)(&x, a->q[i], b->q[i]);
    return vec_fp_end(c, x.flags);
}

VEC_INLINE bool lanes32(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                        unsigned lanes, fast32 *fast_even, fast32 *fast_odd, soft32 *even,
                        soft32 *odd)
{
    if (LIKELY(vec_fp_fast(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++)
            good &= (i & 1 ? fast_odd : fast_even)(a->d[i], b->d[i], &r->d[i]);
        if (LIKELY(good))
            return true;
    }
    return soft_lanes32(c, r, a, b, lanes, even, odd);
}

VEC_INLINE bool lanes64(struct cpu *c, union vreg *r, const union vreg *a, const union vreg *b,
                        unsigned lanes, fast64 *fast_even, fast64 *fast_odd, soft64 *even,
                        soft64 *odd)
{
    if (LIKELY(vec_fp_fast(c))) {
        bool good = true;
        for (unsigned i = 0; i < lanes; i++)
            good &= (i & 1 ? fast_odd : fast_even)(a->q[i], b->q[i], &r->q[i]);
        if (LIKELY(good))
            return true;
    }
    return soft_lanes64(c, r, a, b, lanes, even, odd);
}

VEC_INLINE bool binary32(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         fast32 *fast_even, fast32 *fast_odd, soft32 *even, soft32 *odd)
{
    union vreg r;
    if (!lanes32(c, &r, cpu_vreg(c, u->a), cpu_vreg(c, u->b), n / 4, fast_even, fast_odd, even,
                 odd))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool binary64(struct cpu *c, const struct uop *u, unsigned n, bool vex,
                         fast64 *fast_even, fast64 *fast_odd, soft64 *even, soft64 *odd)
{
    union vreg r;
    if (!lanes64(c, &r, cpu_vreg(c, u->a), cpu_vreg(c, u->b), n / 8, fast_even, fast_odd, even,
                 odd))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

/* The conditions on operands and results are softfp_fast.h's. */
#define FAST(name, bits, expr, condition)                                        \
    VEC_INLINE bool fast_##name##bits(f##bits a, f##bits b, f##bits *result)     \
    {                                                                            \
        f##bits r = f##bits##_guest(expr(f##bits##_host(a), f##bits##_host(b))); \
        *result = r;                                                             \
        return condition(bits);                                                  \
    }                                                                            \
    static f##bits soft_##name##bits(struct fp *x, f##bits a, f##bits b)         \
    {                                                                            \
        return f##bits##_##name(x, a, b);                                        \
    }
#define ADD(a, b)      ((a) + (b))
#define SUB(a, b)      ((a) - (b))
#define MUL(a, b)      ((a) * (b))
#define DIV(a, b)      ((a) / (b))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define OPERANDS(bits) (f##bits##_easy(a) && f##bits##_easy(b))
#define GOOD_SUM(bits) (OPERANDS(bits) && f##bits##_easy(r))
#define GOOD_MUL(bits) (OPERANDS(bits) && (f##bits##_clear(r) || !(a << 1) || !(b << 1)))
#define GOOD_DIV(bits) \
    (f##bits##_easy(a) && f##bits##_normal(b) && (f##bits##_clear(r) || !(a << 1)))

/* 16 bytes of lanes. */
typedef float floats __attribute__((vector_size(16)));
typedef double doubles __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

VEC_INLINE ints ints_at(const union vreg *v, unsigned at)
{
    ints x;
    memcpy(&x, v->b + at, 16);
    return x;
}

VEC_INLINE bool none(ints bad)
{
    uint64_t q[2];
    memcpy(q, &bad, 16);
    return !(q[0] | q[1]);
}

/* Where an operand is zero or denormal, or the result is not clear (f32_clear()): with a clear
 * result, an operand is neither infinite nor NaN. Doubles are judged by their upper halves. */
VEC_INLINE ints unclear32(ints a, ints b, ints r)
{
    const ints exp = {0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000};
    const ints size = {0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff};
    const ints least = {0x01000000, 0x01000000, 0x01000000, 0x01000000};
    const ints most = {0x7f7fffff, 0x7f7fffff, 0x7f7fffff, 0x7f7fffff}, zero = {0};
    return ((a & exp) == zero) | ((b & exp) == zero) | ((r & size) < least) | ((r & size) > most);
}

VEC_INLINE ints unclear64(ints a, ints b, ints r)
{
    const ints exp = {0, 0x7ff00000, 0, 0x7ff00000}, size = {0, 0x7fffffff, 0, 0x7fffffff};
    const ints least = {0, 0x00200000, 0, 0x00200000}, most = {0, 0x7fefffff, 0, 0x7fefffff};
    const ints zero = {0}, upper = {0, -1, 0, -1};
    ints bad = ((a & exp) == zero) | ((b & exp) == zero);
    return (bad & upper) | ((r & size) < least) | ((r & size) > most);
}

VEC_INLINE bool clear_scalar32(f32 a, f32 b, f32 r)
{
    return (a & 0x7f800000u) && (b & 0x7f800000u) && f32_clear(r);
}

VEC_INLINE bool clear_scalar64(f64 a, f64 b, f64 r)
{
    return (a & 0x7ff0000000000000ull) && (b & 0x7ff0000000000000ull) && f64_clear(r);
}

/* Is a good result exact? Then nothing at all is raised, and programs that compute with whole
 * numbers, and so never raise inexact, are quick too. False if it can't be told at once. */
VEC_INLINE bool exact_add32(f32 a, f32 b, f32 r)
{
    float x = f32_host(a), y = f32_host(b), s = f32_host(r), part = s - x;
    return (x - (s - part)) + (y - part) == 0;
}

VEC_INLINE bool exact_add64(f64 a, f64 b, f64 r)
{
    double x = f64_host(a), y = f64_host(b), s = f64_host(r), part = s - x;
    return (x - (s - part)) + (y - part) == 0;
}

VEC_INLINE bool exact_sub32(f32 a, f32 b, f32 r)
{
    return exact_add32(a, b ^ 0x80000000u, r);
}

VEC_INLINE bool exact_sub64(f64 a, f64 b, f64 r)
{
    return exact_add64(a, b ^ BIT(63), r);
}

VEC_INLINE bool exact_mul32(f32 a, f32 b, f32 r)
{
    return (double)f32_host(a) * (double)f32_host(b) == (double)f32_host(r);
}

/* Bits from the highest to the lowest that is set, of a normal number. */
VEC_INLINE int significant(f64 a)
{
    return 53 - __builtin_ctzll(a | BIT(52));
}

VEC_INLINE bool exact_mul64(f64 a, f64 b, f64 r)
{
    return !(r << 1) || significant(a) + significant(b) <= 53;
}

VEC_INLINE bool exact_div32(f32 a, f32 b, f32 r)
{
    return (double)f32_host(r) * (double)f32_host(b) == (double)f32_host(a);
}

VEC_INLINE bool exact_div64(f64 a, f64 b, f64 r)
{
    return !(r << 1) ||
           (significant(r) + significant(b) <= 53 && f64_host(r) * f64_host(b) == f64_host(a));
}

/* Rounding to nearest, and inexact masked but not raised so far. */
VEC_INLINE bool not_yet_inexact(const struct cpu *c)
{
    return (c->s.mxcsr & (MXCSR_RC | FP_INEXACT << 7 | FP_INEXACT)) == FP_INEXACT << 7;
}

/* name##bits##_rest: exact results, the second and the third way. */
#define ARITHMETIC(name, bits, lanes, packed, scalar, expr, condition)                             \
    FAST(name, bits, expr, condition)                                                              \
    static NOINLINE bool name##bits##_rest(struct cpu *c, const struct uop *u, unsigned n,         \
                                           bool vex)                                               \
    {                                                                                              \
        const size_t size = sizeof(f##bits);                                                       \
        if (not_yet_inexact(c)) {                                                                  \
            union vreg r;                                                                          \
            bool good = true;                                                                      \
            for (unsigned i = 0; i < n && good; i += size) {                                       \
                f##bits a, b, k;                                                                   \
                memcpy(&a, cpu_vreg(c, u->a)->b + i, size);                                        \
                memcpy(&b, cpu_vreg(c, u->b)->b + i, size);                                        \
                good = fast_##name##bits(a, b, &k) && exact_##name##bits(a, b, k);                 \
                memcpy(r.b + i, &k, size);                                                         \
            }                                                                                      \
            if (good) {                                                                            \
                vec_put(c, u, &r, n, vex);                                                         \
                return true;                                                                       \
            }                                                                                      \
        }                                                                                          \
        return binary##bits(c, u, n, vex, fast_##name##bits, fast_##name##bits, soft_##name##bits, \
                            soft_##name##bits);                                                    \
    }                                                                                              \
    VEC_INLINE bool name##bits##_packed(struct cpu *c, const struct uop *u, unsigned n, bool vex,  \
                                        unsigned unused)                                           \
    {                                                                                              \
        const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);                           \
        ints bad = {0};                                                                            \
        union vreg r;                                                                              \
        for (unsigned g = 0; g < n; g += 16) {                                                     \
            ints i = ints_at(a, g), j = ints_at(b, g), k = (ints)(expr((lanes)i, (lanes)j));       \
            bad |= unclear##bits(i, j, k);                                                         \
            memcpy(r.b + g, &k, 16);                                                               \
        }                                                                                          \
        if (UNLIKELY(!vec_fp_fast(c) || !none(bad)))                                               \
            return name##bits##_rest(c, u, n, vex);                                                \
        vec_put(c, u, &r, n, vex);                                                                 \
        return true;                                                                               \
    }                                                                                              \
    VEC_INLINE bool name##bits##_scalar(struct cpu *c, const struct uop *u, unsigned n, bool vex,  \
                                        unsigned unused)                                           \
    {                                                                                              \
        f##bits a, b, k;                                                                           \
        memcpy(&a, cpu_vreg(c, u->a), n);                                                          \
        memcpy(&b, cpu_vreg(c, u->b), n);                                                          \
        k = f##bits##_guest(expr(f##bits##_host(a), f##bits##_host(b)));                           \
        if (UNLIKELY(!vec_fp_fast(c) || !clear_scalar##bits(a, b, k)))                             \
            return name##bits##_rest(c, u, n, vex);                                                \
        union vreg r;                                                                              \
        memcpy(&r, &k, n);                                                                         \
        vec_put(c, u, &r, n, vex);                                                                 \
        return true;                                                                               \
    }                                                                                              \
    VEC_FP_PACKED(packed, name##bits##_packed, 0)                                                  \
    VEC_FP_SCALAR(scalar, name##bits##_scalar, bits / 8, 0)

ARITHMETIC(add, 32, floats, addps, addss, ADD, GOOD_SUM)
ARITHMETIC(add, 64, doubles, addpd, addsd, ADD, GOOD_SUM)
ARITHMETIC(sub, 32, floats, subps, subss, SUB, GOOD_SUM)
ARITHMETIC(sub, 64, doubles, subpd, subsd, SUB, GOOD_SUM)
ARITHMETIC(mul, 32, floats, mulps, mulss, MUL, GOOD_MUL)
ARITHMETIC(mul, 64, doubles, mulpd, mulsd, MUL, GOOD_MUL)
ARITHMETIC(div, 32, floats, divps, divss, DIV, GOOD_DIV)
ARITHMETIC(div, 64, doubles, divpd, divsd, DIV, GOOD_DIV)

#define SELECTION(name, bits, packed, scalar, expr)                                              \
    FAST(name, bits, expr, OPERANDS)                                                             \
    VEC_FP_PACKED(packed, binary##bits, fast_##name##bits, fast_##name##bits, soft_##name##bits, \
                  soft_##name##bits)                                                             \
    VEC_FP_SCALAR(scalar, binary##bits, bits / 8, fast_##name##bits, fast_##name##bits,          \
                  soft_##name##bits, soft_##name##bits)

SELECTION(min, 32, minps, minss, MIN)
SELECTION(min, 64, minpd, minsd, MIN)
SELECTION(max, 32, maxps, maxss, MAX)
SELECTION(max, 64, maxpd, maxsd, MAX)

VEC_FP_PACKED(addsubps, binary32, fast_sub32, fast_add32, soft_sub32, soft_add32)
VEC_FP_PACKED(addsubpd, binary64, fast_sub64, fast_add64, soft_sub64, soft_add64)

/* The square root of the second source. */
VEC_INLINE bool fast_sqrt32(f32 a, f32 b, f32 *r)
{
    bool good = f32_normal(b) && !(b >> 31);
    *r = good ? f32_guest(__builtin_sqrtf(f32_host(b))) : 0;
    return good;
}

VEC_INLINE bool fast_sqrt64(f64 a, f64 b, f64 *r)
{
    bool good = f64_normal(b) && !(b >> 63);
    *r = good ? f64_guest(__builtin_sqrt(f64_host(b))) : 0;
    return good;
}

static f32 soft_sqrt32(struct fp *x, f32 a, f32 b)
{
    return f32_sqrt(x, b);
}

static f64 soft_sqrt64(struct fp *x, f64 a, f64 b)
{
    return f64_sqrt(x, b);
}

VEC_FP_PACKED(sqrtps, binary32, fast_sqrt32, fast_sqrt32, soft_sqrt32, soft_sqrt32)
VEC_FP_PACKED(sqrtpd, binary64, fast_sqrt64, fast_sqrt64, soft_sqrt64, soft_sqrt64)
VEC_FP_SCALAR(sqrtss, binary32, 4, fast_sqrt32, fast_sqrt32, soft_sqrt32, soft_sqrt32)
VEC_FP_SCALAR(sqrtsd, binary64, 8, fast_sqrt64, fast_sqrt64, soft_sqrt64, soft_sqrt64)

/* Horizontal: pairs of each 16 bytes of the first source, then of the second. */
VEC_INLINE bool horizontal32(struct cpu *c, const struct uop *u, unsigned n, bool vex, fast32 *fast,
                             soft32 *soft)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg even, odd, r;
    for (unsigned i = 0; i < n / 4; i++) {
        const union vreg *s = i & 2 ? b : a;
        even.d[i] = s->d[(i & 4) + 2 * (i & 1)];
        odd.d[i] = s->d[(i & 4) + 2 * (i & 1) + 1];
    }
    if (!lanes32(c, &r, &even, &odd, n / 4, fast, fast, soft, soft))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_INLINE bool horizontal64(struct cpu *c, const struct uop *u, unsigned n, bool vex, fast64 *fast,
                             soft64 *soft)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg even, odd, r;
    for (unsigned i = 0; i < n / 8; i++) {
        const union vreg *s = i & 1 ? b : a;
        even.q[i] = s->q[i & 2];
        odd.q[i] = s->q[(i & 2) + 1];
    }
    if (!lanes64(c, &r, &even, &odd, n / 8, fast, fast, soft, soft))
        return false;
    vec_put(c, u, &r, n, vex);
    return true;
}

VEC_FP_PACKED(haddps, horizontal32, fast_add32, soft_add32)
VEC_FP_PACKED(haddpd, horizontal64, fast_add64, soft_add64)
VEC_FP_PACKED(hsubps, horizontal32, fast_sub32, soft_sub32)
VEC_FP_PACKED(hsubpd, horizontal64, fast_sub64, soft_sub64)

/* Dot products: the products chosen by imm[7:4], summed, to the lanes of imm[3:0]. Each step raises
 * its exceptions before the next. The order of the operands, which shows when both are NaNs, is the
 * chips': the SDM leaves it open. */
VEC_INLINE bool dpps(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg x, y, r;
    for (unsigned i = 0; i < n / 4; i++) {
        bool take = imm >> (4 + (i & 3)) & 1;
        x.d[i] = take ? a->d[i] : 0;
        y.d[i] = take ? b->d[i] : 0;
    }
    if (!lanes32(c, &r, &x, &y, n / 4, fast_mul32, fast_mul32, soft_mul32, soft_mul32))
        return false;
    for (unsigned step = 1; step <= 2; step++) {
        for (unsigned i = 0; i < n / 4; i++) {
            x.d[i] = r.d[step == 1 ? i ^ 1 : i];
            y.d[i] = r.d[step == 1 ? i : i ^ 2];
        }
        if (!lanes32(c, &r, &x, &y, n / 4, fast_add32, fast_add32, soft_add32, soft_add32))
            return false;
    }
    for (unsigned i = 0; i < n / 4; i++)
        if (!(imm >> (i & 3) & 1))
            r.d[i] = 0;
    vec_put(c, u, &r, n, vex);
    return true;
}
VEC_FP_PACKED(dpps, dpps, (unsigned)u->imm)

VEC_INLINE bool dppd(struct cpu *c, const struct uop *u, unsigned n, bool vex, unsigned imm)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    union vreg x, y, r;
    for (unsigned i = 0; i < 2; i++) {
        bool take = imm >> (4 + i) & 1;
        x.q[i] = take ? a->q[i] : 0;
        y.q[i] = take ? b->q[i] : 0;
    }
    if (!lanes64(c, &r, &x, &y, 2, fast_mul64, fast_mul64, soft_mul64, soft_mul64))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        x.q[i] = r.q[i];
        y.q[i] = r.q[i ^ 1];
    }
    if (!lanes64(c, &r, &x, &y, 2, fast_add64, fast_add64, soft_add64, soft_add64))
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (!(imm >> i & 1))
            r.q[i] = 0;
    vec_put(c, u, &r, 16, vex);
    return true;
}
VEC_FP_PACKED(dppd, dppd, (unsigned)u->imm)
