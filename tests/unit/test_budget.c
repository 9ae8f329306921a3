/* Random code, run in one piece and in small ones: soft_run() executes exactly its budget, and
 * nothing depends on where a run ends. Registers, flags, memory and the way a CPU ends agree. */
#include "unit.h"

#include <stdlib.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"
#include "tests/coverage.h"

#define RAM_SIZE (1u << 20)
#define CODE     0x1000u /* random bytes up to 4000h */
#define INSNS    400
#define CASES    600

enum mode { REAL, FLAT32, FLAT64, MODES };

struct pc {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct cpu cpu;
    uint8_t *ram;
};

static uint64_t icount_clock(void *opaque)
{
    const struct pc *p = opaque;
    return cpu_icount(&p->cpu);
}

static struct pc *build(void)
{
    struct pc *p = calloc(1, sizeof *p);
    struct isa_features all = {{~0ull, ~0ull}};
    p->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    bus_init(&p->bus, p->ram, RAM_SIZE, NULL);
    clock_init(&p->clock, icount_clock, p);
    cpu_init(&p->cpu, 0, 1, &p->bus, &p->clock, &p->rng, NULL, &all);
    coverage_attach(&p->cpu);
    return p;
}

static void scrap(struct pc *p)
{
    struct cpu *c = &p->cpu;
    soft_part(&c, 1);
    cpu_free(c);
    bus_free(&p->bus);
    free(p->ram);
    free(p);
}

/* One large page maps the first 2 MiB to themselves. */
static void long_mode(struct pc *p)
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

/* Real mode has a vector table of zeros, so it goes on from there; else a fault is the end. */
static void prepare(struct pc *p, enum mode mode, uint64_t seed)
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
    s->cr0 = CR0_ET | (mode == REAL ? 0 : CR0_PE);
    s->cr4 = mode == REAL ? 0 : CR4_OSFXSR;
    s->efer = 0;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = mode == REAL ? (struct seg){.limit = 0xffff, .attr = 0x93}
                                 : (struct seg){.limit = 0xffffffff, .sel = 8, .attr = 0xc093};
    if (mode != REAL)
        s->seg[SEG_CS].attr = mode == FLAT64 ? 0xa09b : 0xc09b;
    if (mode == FLAT64)
        long_mode(p);
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

static uint64_t hash(struct pc *p)
{
    flags_sync(&p->cpu);
    return state_hash(STATE_HASH_INIT, &cpu_state_table, &p->cpu.s);
}

static void test_pieces(void **state)
{
    struct pc *whole = build(), *pieces = build();
    struct rng r;
    (void)state;
    rng_seed(&r, 1);
    for (unsigned i = 0; i < CASES; i++) {
        enum engine_exit a, b = ENGINE_BUDGET;
        uint64_t done, most = i & 1 ? 1 : 9;
        prepare(whole, (enum mode)(i % MODES), i);
        prepare(pieces, (enum mode)(i % MODES), i);
        a = soft_run(&whole->cpu, INSNS);
        while ((done = pieces->cpu.s.icount) < INSNS && b == ENGINE_BUDGET) {
            uint64_t n = min_u64(1 + rng_next(&r) % most, INSNS - done);
            b = soft_run(&pieces->cpu, n);
            if (b == ENGINE_BUDGET)
                assert_int_equal(pieces->cpu.s.icount, done + n);
        }
        assert_int_equal(a, b);
        assert_int_equal(whole->cpu.s.icount, pieces->cpu.s.icount);
        assert_int_equal(hash(whole), hash(pieces));
        assert_memory_equal(whole->ram, pieces->ram, RAM_SIZE);
    }
    scrap(whole);
    scrap(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
    };
    return RUN(tests);
}
