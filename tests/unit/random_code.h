/* Random bytes as code, the same for the same seed. */
#ifndef ISHI_TESTS_RANDOM_CODE_H
#define ISHI_TESTS_RANDOM_CODE_H

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "tests/bare_pc.h"

#define CODE  0x1000u /* random bytes up to 4000h */
#define INSNS 400

/* Real mode has a vector table of zeros, so it goes on from there; else a fault is the end. */
static inline void prepare(struct pc *p, enum mode mode, uint64_t seed)
{
    struct cpu_state *s = &p->cpu.s;
    struct rng r;
    rng_seed(&r, seed);
    rng_seed(&p->rng, seed);
    memset(p->ram, 0, RAM_SIZE);
    for (unsigned i = CODE; i < 0x4000; i += 8)
        put_le64(p->ram + i, rng_next(&r));
    cpu_reset(&p->cpu, false);
    s->icount = 0;
    s->cr0 = CR0_ET;
    s->cr4 = mode == REAL ? 0 : CR4_OSFXSR;
    s->efer = 0;
    pc_flat(p, mode);
    if (mode == FLAT64)
        pc_long(p);
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = rng_next(&r) & (rng_next(&r) % 3 ? 0xffff : mode == FLAT64 ? ~0ull : 0xffffffff);
    s->r[R_SP] = 0x8000;
    s->rip = CODE + rng_next(&r) % PAGE_SIZE;
    s->idtr.limit = mode == REAL ? 0x3ff : 0;
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    if (p->cpu.blocks)
        blocks_flush(p->cpu.blocks);
}

/* Of all that a guest can see of the CPU. */
static inline uint64_t hash(struct pc *p)
{
    flags_sync(&p->cpu);
    return state_hash(STATE_HASH_INIT, &cpu_state_table, &p->cpu.s);
}

#endif
