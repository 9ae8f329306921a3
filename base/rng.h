/* The random source a machine is given. Seeded by its owner, so that a run can be repeated.
 * xoshiro256**, by its published definition (Blackman and Vigna 2018). */
#ifndef ISHI_BASE_RNG_H
#define ISHI_BASE_RNG_H

#include "base/state.h"

struct rng {
    uint64_t s[4];
};

extern const struct state_table rng_table;

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);

#endif
