/* Operands for comparisons of floating-point arithmetic with the host's, and their report. */
#ifndef ISHI_TESTS_NATIVE_FP_H
#define ISHI_TESTS_NATIVE_FP_H

#include "cpu/softfp.h"

#include <stdint.h>

struct gen {
    uint64_t state;
};

static inline uint64_t gen_next(struct gen *g)
{
    uint64_t z = g->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* A fraction of `bits`: random, or few bits set, or nearly all, at either end. */
static inline uint64_t gen_fraction(struct gen *g, unsigned bits)
{
    uint64_t r = gen_next(g), mask = ~0ull >> (64 - bits), v = gen_next(g);
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

/* An exponent field of `bits`: the ends, the middle, anything. */
static inline unsigned gen_exponent(struct gen *g, unsigned bits, unsigned near)
{
    uint64_t r = gen_next(g);
    unsigned max = (1u << bits) - 1, v = r >> 16;
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

static inline f32 gen_f32(struct gen *g, f32 near)
{
    uint64_t e = gen_exponent(g, 8, near >> 23 & 0xff);
    return (f32)(gen_next(g) << 31 | e << 23 | gen_fraction(g, 23));
}

static inline f64 gen_f64(struct gen *g, f64 near)
{
    uint64_t e = gen_exponent(g, 11, near >> 52 & 0x7ff);
    return gen_next(g) << 63 | e << 52 | gen_fraction(g, 52);
}

static inline struct f80 gen_f80(struct gen *g, struct f80 near)
{
    unsigned e = gen_exponent(g, 15, near.exp & 0x7fff);
    uint64_t f = gen_fraction(g, 63), r = gen_next(g);
    bool integer = r % 64 ? e != 0 : r >> 8 & 1;
    return (struct f80){(uint64_t)integer << 63 | f, (uint16_t)(e | (r >> 16 & 0x8000))};
}

#endif
