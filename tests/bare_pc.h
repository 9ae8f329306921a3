/* A CPU with 1 MiB of memory and nothing else, for tests of the CPU and its engines. */
#ifndef ISHI_TESTS_BARE_PC_H
#define ISHI_TESTS_BARE_PC_H

#include <stdlib.h>

#include "cpu/cpu.h"
#include "engine/engine.h"

#define RAM_SIZE (1u << 20)

enum mode { REAL, FLAT32, FLAT64, MODES };

struct pc {
    const struct engine *engine;
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct cpu cpu;
    uint8_t *ram;
};

static inline uint64_t pc_icount(void *opaque)
{
    const struct pc *p = opaque;
    return cpu_icount(&p->cpu);
}

/* With zeroes in its memory, not reset and not joined to the engine. pc_free() frees it. */
static inline struct pc *pc_new(const struct engine *engine, const struct isa_features *features)
{
    struct pc *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    memset(p, 0, sizeof *p);
    p->engine = engine;
    p->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(p->ram, 0, RAM_SIZE);
    bus_init(&p->bus, p->ram, RAM_SIZE, NULL);
    clock_init(&p->clock, pc_icount, p);
    rng_seed(&p->rng, 1);
    cpu_init(&p->cpu, 0, 1, &p->bus, &p->clock, &p->rng, NULL, features);
    return p;
}

static inline struct pc *pc_new_all(const struct engine *engine)
{
    struct isa_features all = {{~0ull, ~0ull}};
    return pc_new(engine, &all);
}

static inline void pc_free(struct pc *p)
{
    struct cpu *c = &p->cpu;
    p->engine->part(&c, 1);
    cpu_free(c);
    bus_free(&p->bus);
    free(p->ram);
    free(p);
}

/* Every segment from 0, as wide as the mode has them; CR0.PE and CS by the mode. */
static inline void pc_flat(struct pc *p, enum mode mode)
{
    struct cpu_state *s = &p->cpu.s;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = mode == REAL ? (struct seg){.limit = 0xffff, .attr = 0x93}
                                 : (struct seg){.limit = 0xffffffff, .sel = 0x10, .attr = 0xc093};
    if (mode == REAL)
        return;
    s->cr0 |= CR0_PE;
    s->seg[SEG_CS].attr = mode == FLAT64 ? 0xa09b : 0xc09b;
}

/* Long mode; one large page maps the first 2 MiB to themselves. Its tables are at F0000h. */
static inline void pc_long(struct pc *p)
{
    struct cpu_state *s = &p->cpu.s;
    put_le64(p->ram + 0xf0000, 0xf1000 | 7);
    put_le64(p->ram + 0xf1000, 0xf2000 | 7);
    put_le64(p->ram + 0xf2000, 0x87);
    s->cr3 = 0xf0000;
    s->cr4 |= CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    s->cr0 |= CR0_PG;
}

#endif
