/* What native_vec.c asks of ishi's side. */
#ifndef ISHI_TESTS_NATIVE_VEC_H
#define ISHI_TESTS_NATIVE_VEC_H

#include "cpu/cpu.h"

bool ishi_init(const struct isa_features *f);

/* Runs one instruction from state *s with `mem` (size bytes) in guest memory; register base_reg
 * points to mem[at], and rDI too if `rdi`. Leaves the new state in *s and mem, base_reg as it was;
 * *xm: it raised #XM. False: something else happened. */
bool ishi_run(struct cpu_state *s, uint8_t *mem, unsigned size, unsigned at, unsigned base_reg,
              const uint8_t *code, unsigned length, bool *xm, bool rdi);

#endif
