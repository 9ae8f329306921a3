/* What only AVX and AVX2 have: broadcasts, permutations across lanes, masked moves, gathers
 * (SDM 1 14.1, 14.7). */
#include "cpu/mem.h"
#include "cpu/vec.h"

#define BODY(name)                                                                            \
    VEC_INLINE void name(union vreg *r, const union vreg *a, const union vreg *b, unsigned n, \
                         unsigned imm)

/* VEX.128 and VEX.256, or the latter alone. */
#define VEC_V(name)                                            \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return vec_run(c, u, name, 16, true);                  \
    }                                                          \
    VEC_YMM_FN(name)                                           \
    vec_op v_##name = {NULL, NULL, name##_vex, name##_ymm};
#define VEC_Y(name)  \
    VEC_YMM_FN(name) \
    vec_op v_##name = {NULL, NULL, NULL, name##_ymm};

#define BROADCAST(name, size)                  \
    BODY(name)                                 \
    {                                          \
        for (unsigned i = 0; i < n; i += size) \
            memcpy(r->b + i, b->b, size);      \
    }                                          \
    VEC_V(name)

BROADCAST(vbroadcast8, 1)
BROADCAST(vbroadcast16, 2)
BROADCAST(vbroadcast32, 4)
BROADCAST(vbroadcast64, 8)
BROADCAST(vbroadcast128, 16)

BODY(vpermilps)
{
    for (unsigned i = 0; i < n / 4; i++)
        r->d[i] = a->d[(i & 4) + (b->d[i] & 3)];
}
VEC_V(vpermilps)

BODY(vpermilpd)
{
    for (unsigned i = 0; i < n / 8; i++)
        r->q[i] = a->q[(i & 2) + (b->q[i] >> 1 & 1)];
}
VEC_V(vpermilpd)

BODY(vpermilpd_imm)
{
    for (unsigned i = 0; i < n / 8; i++)
        r->q[i] = b->q[(i & 2) + (imm >> i & 1)];
}
VEC_V(vpermilpd_imm)

/* Dwords of the second source, chosen by the first. */
BODY(vpermd)
{
    for (unsigned i = 0; i < 8; i++)
        r->d[i] = b->d[a->d[i] & 7];
}
VEC_Y(vpermd)

BODY(vpermq)
{
    for (unsigned i = 0; i < 4; i++)
        r->q[i] = b->q[imm >> 2 * i & 3];
}
VEC_Y(vpermq)

/* Each half: one of the four halves of both sources, or zero. */
BODY(vperm2x128)
{
    for (unsigned i = 0; i < 2; i++) {
        unsigned control = imm >> 4 * i;
        const union vreg *from = control & 2 ? b : a;
        if (control & 8)
            memset(r->b + 16 * i, 0, 16);
        else
            memcpy(r->b + 16 * i, from->b + 16 * (control & 1), 16);
    }
}
VEC_Y(vperm2x128)

BODY(vinsert128)
{
    memcpy(r, a, 32);
    memcpy(r->b + 16 * (imm & 1), b->b, 16);
}
VEC_Y(vinsert128)

static bool vextract128_ymm(struct cpu *c, const struct uop *u)
{
    union vreg *d = cpu_vreg(c, u->dst), v = {.q = {0}};
    memcpy(&v, cpu_vreg(c, u->b)->b + 16 * (u->imm & 1), 16);
    *d = v;
    return true;
}
vec_op v_vextract128 = {NULL, NULL, NULL, vextract128_ymm};

/* Masked moves and gathers access lane by lane, and without alignment checks whatever EFLAGS.AC
 * says: a load and a store of a lane that skip mmu_load()'s. */
static bool lane_load(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t *v)
{
    *v = 0;
    return seg_load_bytes(c, seg, off, v, size);
}

/* Masked moves. Lanes whose mask (register b) has its sign bit clear are neither accessed nor
 * checked. The memory operand's offset is in r[R_T0]. */

static bool selected(const union vreg *mask, unsigned i, unsigned size)
{
    return mask->b[i * size + size - 1] >> 7;
}

/* Not cut to the address size: the lanes are parts of one operand. */
static uint64_t lane_offset(const struct cpu *c, const struct uop *u, unsigned i, unsigned size)
{
    return c->s.r[R_T0] + (uint64_t)i * size;
}

static bool masked_load(struct cpu *c, const struct uop *u, unsigned size, unsigned n)
{
    const union vreg *mask = cpu_vreg(c, u->b);
    union vreg r = {.q = {0}};
    for (unsigned i = 0; i < n / size; i++) {
        uint64_t v;
        if (!selected(mask, i, size))
            continue;
        if (!lane_load(c, u->seg, lane_offset(c, u, i, size), size, &v))
            return false;
        memcpy(r.b + i * size, &v, size);
    }
    *cpu_vreg(c, u->dst) = r;
    return true;
}

static bool masked_store(struct cpu *c, const struct uop *u, unsigned size, unsigned n)
{
    const union vreg *mask = cpu_vreg(c, u->b), *from = cpu_vreg(c, u->dst);
    for (unsigned i = 0; i < n / size; i++)
        if (selected(mask, i, size) &&
            !seg_probe(c, u->seg, lane_offset(c, u, i, size), size, ACC_WRITE))
            return false;
    for (unsigned i = 0; i < n / size; i++) {
        uint64_t v = 0;
        memcpy(&v, from->b + i * size, size);
        if (selected(mask, i, size) &&
            !seg_store_bytes(c, u->seg, lane_offset(c, u, i, size), &v, size))
            return false;
    }
    return true;
}

#define MASKED(name, run, size)                                \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, size, 16);                            \
    }                                                          \
    static bool name##_ymm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, size, 32);                            \
    }                                                          \
    vec_op v_##name = {NULL, NULL, name##_vex, name##_ymm};

MASKED(vmaskload32, masked_load, 4)
MASKED(vmaskload64, masked_load, 8)
MASKED(vmaskstore32, masked_store, 4)
MASKED(vmaskstore64, masked_store, 8)

/* Gathers: u->a the base, u->b the vector of indexes, u->aux the mask register. A lane that was
 * loaded is done: its mask is cleared, and a fault of a later one finds it so (SDM 2C VPGATHERDD).
 * The whole of the mask, `width` bytes, is widened from the sign bits first. */
static bool gather(struct cpu *c, const struct uop *u, unsigned index_size, unsigned size,
                   unsigned lanes, unsigned width)
{
    const union vreg *index = cpu_vreg(c, u->b);
    union vreg *dst = cpu_vreg(c, u->dst), *mask = cpu_vreg(c, u->aux);
    const uint64_t cut = ~0ull >> (64 - 8 * u->asize);
    for (unsigned i = 0; i < width / size; i++)
        memset(mask->b + i * size, selected(mask, i, size) ? 0xff : 0, size);
    memset(mask->b + width, 0, sizeof *mask - width);
    for (unsigned i = 0; i < lanes; i++) {
        int64_t at = index_size == 4 ? (int32_t)index->d[i] : (int64_t)index->q[i];
        uint64_t off = c->s.r[u->a] + ((uint64_t)at << u->scale) + (uint64_t)u->imm, v;
        if (selected(mask, i, size)) {
            if (!lane_load(c, u->seg, off & cut, size, &v))
                return false;
            memcpy(dst->b + i * size, &v, size);
            memset(dst->b + width, 0, sizeof *dst - width);
        }
        memset(mask->b + i * size, 0, size);
    }
    memset(dst->b + lanes * size, 0, sizeof *dst - lanes * size);
    memset(mask, 0, sizeof *mask);
    return true;
}

#define GATHER(name, index_size, size, lanes128)                 \
    static bool name##_vex(struct cpu *c, const struct uop *u)   \
    {                                                            \
        return gather(c, u, index_size, size, lanes128, 16);     \
    }                                                            \
    static bool name##_ymm(struct cpu *c, const struct uop *u)   \
    {                                                            \
        return gather(c, u, index_size, size, 2 * lanes128, 32); \
    }                                                            \
    vec_op v_##name = {NULL, NULL, name##_vex, name##_ymm};

GATHER(vgatherdd, 4, 4, 4)
GATHER(vgatherdq, 4, 8, 2)
GATHER(vgatherqd, 8, 4, 2)
GATHER(vgatherqq, 8, 8, 2)
