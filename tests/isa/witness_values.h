/* Random operands of a case: integers, floating-point numbers and lanes, with a liking for the
 * edges. */
#ifndef ISHI_TESTS_WITNESS_VALUES_H
#define ISHI_TESTS_WITNESS_VALUES_H

#include "base/rng.h"

static inline uint64_t below(struct rng *g, uint64_t n)
{
    return rng_next(g) % n;
}

static inline bool one_in(struct rng *g, unsigned n)
{
    return rng_next(g) % n == 0;
}

static inline uint64_t any_int(struct rng *g)
{
    static const uint64_t edges[] = {0,          1,      ~0ull,      0x7f,       0x80,
                                     0x7fff,     0x8000, 0x7fffffff, 0x80000000, INT64_MAX,
                                     1ull << 63, 0xff,   0xffff,     0xffffffff};
    uint64_t r = rng_next(g);
    switch (r >> 60) {
    case 0:
    case 1:
    case 2: return edges[r % ARRAY_LEN(edges)];
    case 3:
    case 4: return r & 63;
    case 5: return BIT(r & 63);
    case 6: return BIT(r & 63) - 1;
    case 7: return -BIT(r & 63);
    case 8: return (uint64_t)(int64_t)(int32_t)r;
    case 9: return (uint32_t)r;
    default: return rng_next(g);
    }
}

/* A fraction of `bits`: random, or few bits set, or nearly all, at either end. */
static inline uint64_t any_fraction(struct rng *g, unsigned bits)
{
    uint64_t r = rng_next(g), mask = ~0ull >> (64 - bits), v = rng_next(g);
    unsigned s = r >> 8 & 63;
    switch (r & 15) {
    case 0: return 0;
    case 1: return mask;
    case 2: return (1ull << (s % bits)) & mask;
    case 3: return (mask ^ 1ull << (s % bits)) & mask;
    case 4: return mask & mask << (s % bits);
    case 5: return mask >> (s % bits);
    case 6: return (v & v >> 7 & v >> 13) & mask;
    case 7: return v & mask & mask << (s % bits);
    case 8: return 1;
    default: return v & mask;
    }
}

/* An exponent field of `bits`: the ends, the middle, near another one, anything. */
static inline unsigned any_exponent(struct rng *g, unsigned bits, unsigned near)
{
    uint64_t r = rng_next(g);
    unsigned max = (1u << bits) - 1, v = (uint32_t)(r >> 16);
    switch (r & 15) {
    case 0: return 0;
    case 1: return max;
    case 2: return 1 + v % 3;
    case 3: return max - 1 - v % 3;
    case 4:
    case 5: return v & max;
    case 6: return (max / 2 + v % 200 - 100) & max;
    case 7: return (v % (max / 2)) & max;
    case 8: return v % 70 & max;
    case 9: return (max - v % 70) & max;
    case 10: return near;
    default: return (near + v % 9 - 4) & max;
    }
}

/* A small whole number or a short fraction: results are often exact. */
static inline double short_number(struct rng *g)
{
    double v = (double)below(g, BIT(below(g, 14))) * (one_in(g, 2) ? 1 : -1);
    return v / (double)BIT(below(g, 8));
}

static inline uint32_t any_f32(struct rng *g, uint32_t near)
{
    if (one_in(g, 5)) {
        float f = (float)short_number(g);
        uint32_t v;
        memcpy(&v, &f, sizeof v);
        return v;
    }
    return (uint32_t)(below(g, 2) << 31 | (uint64_t)any_exponent(g, 8, near >> 23 & 0xff) << 23 |
                      any_fraction(g, 23));
}

static inline uint64_t any_f64(struct rng *g, uint64_t near)
{
    if (one_in(g, 5)) {
        double d = short_number(g);
        uint64_t v;
        memcpy(&v, &d, sizeof v);
        return v;
    }
    return below(g, 2) << 63 | (uint64_t)any_exponent(g, 11, near >> 52 & 0x7ff) << 52 |
           any_fraction(g, 52);
}

static inline void any_f80(struct rng *g, uint64_t *sig, uint16_t *exp, uint16_t near)
{
    unsigned e = any_exponent(g, 15, near & 0x7fff);
    uint64_t r = rng_next(g);
    bool integer = r % 64 ? e != 0 : r >> 8 & 1;
    *sig = (uint64_t)integer << 63 | any_fraction(g, 63);
    *exp = (uint16_t)(e | (r >> 16 & 0x8000));
    if (one_in(g, 8)) { /* a whole number */
        int64_t v = (int64_t)any_int(g) >> below(g, 64);
        uint64_t m = v < 0 ? -(uint64_t)v : (uint64_t)v;
        unsigned shift = 0;
        for (; m && !(m >> 63); m <<= 1)
            shift++;
        *sig = m;
        *exp = (uint16_t)((m ? 0x3fff + 63 - shift : 0) | (v < 0 ? 0x8000 : 0));
    }
}

enum lanes { LANES_INT, LANES_BYTES, LANES_F32, LANES_F64, LANES_F16, LANES_KINDS };

/* n bytes, a multiple of 8, of one kind of lanes. */
static inline void any_lanes(struct rng *g, void *to, unsigned n, enum lanes kind)
{
    static _Thread_local uint64_t last; /* exponents near each other: sums that cancel */
    for (unsigned i = 0; i < n; i += 8) {
        uint64_t v = rng_next(g);
        switch (kind) {
        case LANES_INT: v = any_int(g); break;
        case LANES_BYTES: v &= one_in(g, 2) ? 0x0303030303030303 : ~0ull; break;
        case LANES_F32:
            v = any_f32(g, (uint32_t)last);
            v |= (uint64_t)any_f32(g, (uint32_t)v) << 32;
            break;
        case LANES_F64: v = any_f64(g, last); break;
        default: break;
        }
        last = v;
        memcpy((char *)to + i, &v, 8);
    }
}

#endif
