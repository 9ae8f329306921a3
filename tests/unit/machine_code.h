/* Small pieces of machine code on a bare CPU. */
#ifndef ISHI_TESTS_MACHINE_CODE_H
#define ISHI_TESTS_MACHINE_CODE_H

#include "cpu/tlb.h"
#include "tests/bare_pc.h"
#include "tests/coverage.h"

/* A CPU in `mode` about to run the n bytes at `code`, which are at 1000h. The IDT is the real
 * mode's of zeroes. */
static inline struct pc *start(enum mode mode, const void *code, size_t n)
{
    struct pc *p = pc_new_all(&engine_interp);
    struct cpu_state *s = &p->cpu.s;
    coverage_attach(&p->cpu);
    pc_flat(p, mode);
    s->cr4 = mode == FLAT64 ? CR4_PGE : 0;
    if (mode == FLAT64)
        pc_long(p);
    s->rip = 0x1000;
    s->r[R_SP] = 0x8000;
    memcpy(p->ram + 0x1000, code, n);
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    return p;
}

#define START(mode, ...)                  \
    const uint8_t code[] = {__VA_ARGS__}; \
    struct pc *p = start(mode, code, sizeof code)
#define R(n) p->cpu.s.r[n]

#endif
