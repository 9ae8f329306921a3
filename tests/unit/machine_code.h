/* A bare CPU with 1 MiB of memory, for tests by small pieces of machine code. */
#ifndef ISHI_TESTS_MACHINE_CODE_H
#define ISHI_TESTS_MACHINE_CODE_H

#include <stdlib.h>

#include "cpu/cpu.h"
#include "cpu/tlb.h"
#include "engine/engine.h"
#include "tests/coverage.h"

#define RAM_SIZE (1u << 20)

struct pc {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct cpu cpu;
    uint8_t *ram;
};

static inline uint64_t icount_clock(void *opaque)
{
    const struct pc *p = opaque;
    return cpu_icount(&p->cpu);
}

enum mode { REAL, FLAT32, FLAT64 };

/* Identity maps the first 2 MiB by one large page. */
static inline void long_mode(struct pc *p)
{
    struct cpu_state *s = &p->cpu.s;
    put_le64(p->ram + 0xf0000, 0xf1000 | 7);
    put_le64(p->ram + 0xf1000, 0xf2000 | 7);
    put_le64(p->ram + 0xf2000, 0x000000 | 0x87);
    s->cr3 = 0xf0000;
    s->cr4 = CR4_PAE | CR4_PGE;
    s->efer = EFER_LME | EFER_LMA;
    s->cr0 |= CR0_PG;
}

/* A CPU in `mode` about to run the n bytes at `code`, which are at 1000h. The IDT is the real
 * mode's of zeroes. */
static inline struct pc *start(enum mode mode, const void *code, size_t n)
{
    struct pc *p = calloc(1, sizeof *p);
    struct isa_features all = {{~0ull, ~0ull}};
    p->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(p->ram, 0, RAM_SIZE);
    bus_init(&p->bus, p->ram, RAM_SIZE, NULL);
    clock_init(&p->clock, icount_clock, p);
    rng_seed(&p->rng, 1);
    cpu_init(&p->cpu, 0, 1, &p->bus, &p->clock, &p->rng, NULL, &all);
    coverage_attach(&p->cpu);
    struct cpu_state *s = &p->cpu.s;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (mode == REAL)
            s->seg[i] = (struct seg){.limit = 0xffff, .attr = 0x93};
        else
            s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = 0x10, .attr = 0xc093};
    }
    if (mode != REAL) {
        s->cr0 |= CR0_PE;
        s->seg[SEG_CS].attr = mode == FLAT64 ? 0xa09b : 0xc09b;
    }
    if (mode == FLAT64)
        long_mode(p);
    s->rip = 0x1000;
    s->r[R_SP] = 0x8000;
    memcpy(p->ram + 0x1000, code, n);
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    return p;
}

static inline void stop(struct pc *p)
{
    struct cpu *c = &p->cpu;
    soft_part(&c, 1);
    cpu_free(c);
    bus_free(&p->bus);
    free(p->ram);
    free(p);
}

#define START(mode, ...)                  \
    const uint8_t code[] = {__VA_ARGS__}; \
    struct pc *p = start(mode, code, sizeof code)
#define R(n) p->cpu.s.r[n]

#endif
