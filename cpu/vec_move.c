/* Shuffles, packs, extensions, blends, and the ways between vector and general registers.
 *
 * Most 256-bit forms work on two 16-byte halves apart; `group` is the size of such a half, 8 for
 * MMX. */
#include "cpu/flags.h"
#include "cpu/vec.h"

#define BODY(name)                                                                            \
    VEC_INLINE void name(union vreg *r, const union vreg *a, const union vreg *b, unsigned n, \
                         unsigned imm)

VEC_INLINE unsigned group_of(unsigned n)
{
    return n < 16 ? n : 16;
}

/* Interleaves the low or high halves of each group, `size` bytes a lane. */
VEC_INLINE void unpack(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                       unsigned size, bool high)
{
    unsigned group = group_of(n);
    for (unsigned g = 0; g < n; g += group) {
        unsigned from = g + (high ? group / 2 : 0);
        for (unsigned i = 0; i < group / 2; i += size) {
            memcpy(r->b + g + 2 * i, a->b + from + i, size);
            memcpy(r->b + g + 2 * i + size, b->b + from + i, size);
        }
    }
}
#define UNPACK(name, size, high)        \
    BODY(name)                          \
    {                                   \
        unpack(r, a, b, n, size, high); \
    }                                   \
    VEC_MXY(name)

UNPACK(punpcklbw, 1, false)
UNPACK(punpcklwd, 2, false)
UNPACK(punpckldq, 4, false)
UNPACK(punpcklqdq, 8, false)
UNPACK(punpckhbw, 1, true)
UNPACK(punpckhwd, 2, true)
UNPACK(punpckhdq, 4, true)
UNPACK(punpckhqdq, 8, true)

/* Narrows with saturation: a's lanes of each group, then b's. */
#define PACK(name, to, from, type, low, high)                            \
    BODY(name)                                                           \
    {                                                                    \
        const unsigned lanes = group_of(n) / sizeof(type);               \
        for (unsigned g = 0; g < n / sizeof(type); g += lanes) {         \
            for (unsigned i = 0; i < lanes; i++) {                       \
                type x = (type)a->from[g + i], y = (type)b->from[g + i]; \
                x = x < (low) ? (low) : x > (high) ? (high) : x;         \
                y = y < (low) ? (low) : y > (high) ? (high) : y;         \
                r->to[2 * g + i] = (__typeof__(r->to[0]))x;              \
                r->to[2 * g + lanes + i] = (__typeof__(r->to[0]))y;      \
            }                                                            \
        }                                                                \
    }                                                                    \
    VEC_MXY(name)

PACK(packsswb, b, w, int16_t, -128, 127)
PACK(packuswb, b, w, int16_t, 0, 255)
PACK(packssdw, w, d, int32_t, -32768, 32767)
PACK(packusdw, w, d, int32_t, 0, 65535)

BODY(pshufb)
{
    unsigned group = group_of(n);
    for (unsigned i = 0; i < n; i++) {
        unsigned from = b->b[i];
        r->b[i] = from & 0x80 ? 0 : a->b[(i & ~(group - 1)) + (from & (group - 1))];
    }
}
VEC_MXY(pshufb)

BODY(pshufw)
{
    for (unsigned i = 0; i < 4; i++)
        r->w[i] = b->w[imm >> 2 * i & 3];
}
VEC_M(pshufw)

BODY(pshufd)
{
    for (unsigned i = 0; i < n / 4; i++)
        r->d[i] = b->d[(i & 4) + (imm >> 2 * (i & 3) & 3)];
}
VEC_XY(pshufd)

BODY(pshuflw)
{
    for (unsigned i = 0; i < n / 2; i++)
        r->w[i] = b->w[i & 4 ? i : (i & 8) + (imm >> 2 * (i & 3) & 3)];
}
VEC_XY(pshuflw)

BODY(pshufhw)
{
    for (unsigned i = 0; i < n / 2; i++)
        r->w[i] = b->w[i & 4 ? (i & 12) + (imm >> 2 * (i & 3) & 3) : i];
}
VEC_XY(pshufhw)

BODY(shufps)
{
    for (unsigned g = 0; g < n / 4; g += 4) {
        r->d[g] = a->d[g + (imm & 3)];
        r->d[g + 1] = a->d[g + (imm >> 2 & 3)];
        r->d[g + 2] = b->d[g + (imm >> 4 & 3)];
        r->d[g + 3] = b->d[g + (imm >> 6 & 3)];
    }
}
VEC_XY(shufps)

BODY(shufpd)
{
    for (unsigned i = 0; i < n / 8; i++)
        r->q[i] = (i & 1 ? b : a)->q[(i & 2) + (imm >> i & 1)];
}
VEC_XY(shufpd)

/* Bytes of a:b (a above) from byte imm up, in each group. */
BODY(palignr)
{
    unsigned group = group_of(n);
    for (unsigned g = 0; g < n; g += group) {
        uint8_t both[64] = {0};
        memcpy(both, b->b + g, group);
        memcpy(both + group, a->b + g, group);
        memcpy(r->b + g, both + (imm < 2 * group ? imm : 32), group);
    }
}
VEC_MXY(palignr)

BODY(movddup)
{
    for (unsigned i = 0; i < n / 8; i++)
        r->q[i] = b->q[i & 2];
}
VEC_XY(movddup)

BODY(movsldup)
{
    for (unsigned i = 0; i < n / 4; i++)
        r->d[i] = b->d[i & ~1u];
}
VEC_XY(movsldup)

BODY(movshdup)
{
    for (unsigned i = 0; i < n / 4; i++)
        r->d[i] = b->d[i | 1];
}
VEC_XY(movshdup)

/* Lanes of the source's low bytes, widened. */
#define EXTEND(name, to, from, type)                           \
    BODY(name)                                                 \
    {                                                          \
        for (unsigned i = 0; i < n / sizeof r->to[0]; i++)     \
            r->to[i] = (__typeof__(r->to[0]))(type)b->from[i]; \
    }                                                          \
    VEC_XY(name)

EXTEND(pmovsxbw, w, b, int8_t)
EXTEND(pmovsxbd, d, b, int8_t)
EXTEND(pmovsxbq, q, b, int8_t)
EXTEND(pmovsxwd, d, w, int16_t)
EXTEND(pmovsxwq, q, w, int16_t)
EXTEND(pmovsxdq, q, d, int32_t)
EXTEND(pmovzxbw, w, b, uint8_t)
EXTEND(pmovzxbd, d, b, uint8_t)
EXTEND(pmovzxbq, q, b, uint8_t)
EXTEND(pmovzxwd, d, w, uint16_t)
EXTEND(pmovzxwq, q, w, uint16_t)
EXTEND(pmovzxdq, q, d, uint32_t)

/* Copies: the whole, or a part of b into a. */
BODY(mov)
{
    memcpy(r, b, n);
}
VEC_MXY(mov)

BODY(movss) /* between registers: the rest comes from the first source */
{
    memcpy(r, a, 16);
    r->d[0] = b->d[0];
}
VEC_S(movss)

BODY(movsd)
{
    r->q[0] = b->q[0];
    r->q[1] = a->q[1];
}
VEC_S(movsd)

BODY(movq) /* between registers: the rest becomes zero */
{
    r->q[0] = b->q[0];
    r->q[1] = 0;
}
VEC_X(movq)

BODY(movhlps)
{
    r->q[0] = b->q[1];
    r->q[1] = a->q[1];
}
VEC_X(movhlps)

BODY(movlhps)
{
    r->q[0] = a->q[0];
    r->q[1] = b->q[0];
}
VEC_X(movlhps)

/* Blends by immediate. */
BODY(pblendw)
{
    for (unsigned i = 0; i < n / 2; i++)
        r->w[i] = (imm >> (i & 7) & 1 ? b : a)->w[i];
}
VEC_XY(pblendw)

BODY(blendps)
{
    for (unsigned i = 0; i < n / 4; i++)
        r->d[i] = (imm >> i & 1 ? b : a)->d[i];
}
VEC_XY(blendps)

BODY(blendpd)
{
    for (unsigned i = 0; i < n / 8; i++)
        r->q[i] = (imm >> i & 1 ? b : a)->q[i];
}
VEC_XY(blendpd)

/* Blends by the sign bits of register imm: XMM0 in the legacy forms. */
VEC_INLINE bool blendv(struct cpu *c, const struct uop *u, unsigned size, unsigned n, bool vex)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    const union vreg *mask = cpu_vreg(c, (unsigned)u->imm & 15);
    union vreg r, *d = cpu_vreg(c, u->dst);
    for (unsigned i = 0; i < n; i += size) {
        bool take = mask->b[i + size - 1] >> 7;
        memcpy(r.b + i, (take ? b : a)->b + i, size);
    }
    memcpy(d, &r, n);
    if (vex && n == 16)
        d->q[2] = d->q[3] = 0;
    return true;
}
#define BLENDV(name, size)                                     \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return blendv(c, u, size, 16, false);                  \
    }                                                          \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return blendv(c, u, size, 16, true);                   \
    }                                                          \
    static bool name##_ymm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return blendv(c, u, size, 32, true);                   \
    }                                                          \
    vec_op v_##name = {NULL, name##_xmm, name##_vex, name##_ymm};

BLENDV(pblendvb, 1)
BLENDV(blendvps, 4)
BLENDV(blendvpd, 8)

/* A register source names its lane; of memory there is one only, and the lifter clears the bits. */
BODY(insertps)
{
    memcpy(r, a, 16);
    r->d[imm >> 4 & 3] = b->d[imm >> 6 & 3];
    for (unsigned i = 0; i < 4; i++)
        if (imm >> i & 1)
            r->d[i] = 0;
}
VEC_X(insertps)

/* General register into a lane. MMX: PINSRW only. */
VEC_INLINE bool insert(struct cpu *c, const struct uop *u, unsigned size, bool vex)
{
    union vreg *d = cpu_vreg(c, u->dst), r;
    memcpy(&r, cpu_vreg(c, u->a), 16);
    memcpy(r.b + ((unsigned)u->imm * size & 15), &c->s.r[u->b], size);
    memcpy(d, &r, 16);
    if (vex)
        d->q[2] = d->q[3] = 0;
    return true;
}
#define INSERT(name, mmx, size)                                \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return insert(c, u, size, false);                      \
    }                                                          \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return insert(c, u, size, true);                       \
    }                                                          \
    vec_op v_##name = {mmx, name##_xmm, name##_vex};

static bool pinsrw_mmx(struct cpu *c, const struct uop *u)
{
    unsigned at = (unsigned)u->imm & 3;
    uint64_t v = c->s.fp_sig[u->a] & ~(0xffffull << 16 * at);
    vec_mmx_write(c, u->dst, v | (c->s.r[u->b] & 0xffff) << 16 * at);
    return true;
}

INSERT(pinsrb, NULL, 1)
INSERT(pinsrw, pinsrw_mmx, 2)
INSERT(pinsrd, NULL, 4)
INSERT(pinsrq, NULL, 8)

/* A lane of b into a general register, zero-extended. */
#define EXTRACT(name, mmx, field, lanes)                                           \
    static bool name##_xmm(struct cpu *c, const struct uop *u)                     \
    {                                                                              \
        c->s.r[u->dst] = cpu_vreg(c, u->b)->field[(unsigned)u->imm & (lanes - 1)]; \
        return true;                                                               \
    }                                                                              \
    vec_op v_##name = {mmx, name##_xmm, name##_xmm, name##_xmm};

static bool pextrw_mmx(struct cpu *c, const struct uop *u)
{
    vec_mmx_touch(c);
    c->s.r[u->dst] = c->s.fp_sig[u->b] >> 16 * ((unsigned)u->imm & 3) & 0xffff;
    return true;
}

EXTRACT(pextrb, NULL, b, 16)
EXTRACT(pextrw, pextrw_mmx, w, 8)
EXTRACT(pextrd, NULL, d, 4)
EXTRACT(pextrq, NULL, q, 2)

/* Sign bits of b's lanes into a general register. */
VEC_INLINE uint64_t sign_bits(const union vreg *b, unsigned size, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n / size; i++)
        v |= (uint64_t)(b->b[i * size + size - 1] >> 7) << i;
    return v;
}
#define SIGN_BITS(name, mmx, size)                               \
    static bool name##_xmm(struct cpu *c, const struct uop *u)   \
    {                                                            \
        c->s.r[u->dst] = sign_bits(cpu_vreg(c, u->b), size, 16); \
        return true;                                             \
    }                                                            \
    static bool name##_ymm(struct cpu *c, const struct uop *u)   \
    {                                                            \
        c->s.r[u->dst] = sign_bits(cpu_vreg(c, u->b), size, 32); \
        return true;                                             \
    }                                                            \
    vec_op v_##name = {mmx, name##_xmm, name##_xmm, name##_ymm};

static bool pmovmskb_mmx(struct cpu *c, const struct uop *u)
{
    vec_mmx_touch(c);
    c->s.r[u->dst] = sign_bits(vec_mmx_source(c, u->b), 1, 8);
    return true;
}

SIGN_BITS(pmovmskb, pmovmskb_mmx, 1)
SIGN_BITS(movmskps, NULL, 4)
SIGN_BITS(movmskpd, NULL, 8)

/* MOVD and MOVQ between general and vector registers; a memory operand comes in a temporary. */
static bool movd_load_mmx(struct cpu *c, const struct uop *u)
{
    vec_mmx_write(c, u->dst, u->size == 8 ? c->s.r[u->b] : (uint32_t)c->s.r[u->b]);
    return true;
}

static bool movd_load_xmm(struct cpu *c, const struct uop *u)
{
    union vreg *d = cpu_vreg(c, u->dst);
    d->q[0] = u->size == 8 ? c->s.r[u->b] : (uint32_t)c->s.r[u->b];
    d->q[1] = 0;
    return true;
}

static bool movd_load_vex(struct cpu *c, const struct uop *u)
{
    union vreg *d = cpu_vreg(c, u->dst);
    d->q[2] = d->q[3] = 0;
    return movd_load_xmm(c, u);
}
vec_op v_movd_load = {movd_load_mmx, movd_load_xmm, movd_load_vex};

static bool movd_store_mmx(struct cpu *c, const struct uop *u)
{
    vec_mmx_touch(c);
    c->s.r[u->dst] = u->size == 8 ? c->s.fp_sig[u->b] : (uint32_t)c->s.fp_sig[u->b];
    return true;
}

static bool movd_store_xmm(struct cpu *c, const struct uop *u)
{
    const union vreg *b = cpu_vreg(c, u->b);
    c->s.r[u->dst] = u->size == 8 ? b->q[0] : b->d[0];
    return true;
}
vec_op v_movd_store = {movd_store_mmx, movd_store_xmm, movd_store_xmm};

static bool movq2dq_xmm(struct cpu *c, const struct uop *u)
{
    union vreg *d = cpu_vreg(c, u->dst);
    d->q[0] = c->s.fp_sig[u->b];
    d->q[1] = 0;
    vec_mmx_touch(c);
    return true;
}
vec_op v_movq2dq = {NULL, movq2dq_xmm};

static bool movdq2q_mmx(struct cpu *c, const struct uop *u)
{
    vec_mmx_write(c, u->dst, cpu_vreg(c, u->b)->q[0]);
    return true;
}
vec_op v_movdq2q = {movdq2q_mmx, movdq2q_mmx};

/* An MMX store: the value, without a change of state because the store may fault; and afterwards
 * what it leaves in the x87 state. */
bool vec_mmx_read(struct cpu *c, const struct uop *u)
{
    c->s.r[u->dst] = c->s.fp_sig[u->b];
    return true;
}

bool vec_mmx_stored(struct cpu *c, const struct uop *u)
{
    vec_mmx_touch(c);
    return true;
}

bool vec_emms(struct cpu *c, const struct uop *u)
{
    vec_mmx_touch(c);
    c->s.ftw = 0;
    return true;
}

/* ZF: no bit of b under the mask a; CF: no bit of b outside it. The others become 0. */
VEC_INLINE bool test_bits(struct cpu *c, const struct uop *u, uint64_t select, unsigned n)
{
    const union vreg *a = cpu_vreg(c, u->a), *b = cpu_vreg(c, u->b);
    uint64_t in = 0, out = 0;
    for (unsigned i = 0; i < n / 8; i++) {
        in |= a->q[i] & b->q[i];
        out |= ~a->q[i] & b->q[i];
    }
    flags_set_arith(c, (in & select ? 0 : F_Z) | (out & select ? 0 : F_C));
    return true;
}
#define TEST_BITS(name, select)                                \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return test_bits(c, u, select, 16);                    \
    }                                                          \
    static bool name##_ymm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return test_bits(c, u, select, 32);                    \
    }                                                          \
    vec_op v_##name = {NULL, name##_xmm, name##_xmm, name##_ymm};

TEST_BITS(ptest, ~0ull)
TEST_BITS(vtestps, 0x8000000080000000ull)
TEST_BITS(vtestpd, 0x8000000000000000ull)
