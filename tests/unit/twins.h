/* Two machines with the same code, one interpreted, one with generated code. */
#ifndef ISHI_TESTS_TWINS_H
#define ISHI_TESTS_TWINS_H

#include "cpu/tlb.h"
#include "jit/jit.h"
#include "random_code.h"
#include "unit.h"

#define DATA 0x9000u

struct twins {
    struct pc *p[2];
};

/* The code is at CODE; RSI and RDX are DATA, RSP is 8000h, the others are 0. */
static inline struct twins twins(enum mode mode, const uint8_t *code, size_t n)
{
    struct twins t;
    for (unsigned i = 0; i < 2; i++) {
        const struct engine *engine = i ? &engine_jit : &engine_interp;
        struct pc *p = t.p[i] = pc_new_all(engine);
        struct cpu *c = &p->cpu;
        struct cpu_state *s = &c->s;
        struct err e;
        assert_true(engine->join(&c, 1, &e));
        prepare(p, mode, 1);
        memset(p->ram + CODE, 0, PAGE_SIZE);
        memcpy(p->ram + CODE, code, n);
        memset(s->r, 0, 16 * sizeof s->r[0]);
        s->r[R_SP] = 0x8000;
        s->r[R_SI] = s->r[R_DX] = DATA;
        s->rip = CODE;
    }
    return t;
}

static inline void twins_set(struct twins *t, unsigned r, uint64_t v)
{
    t->p[0]->cpu.s.r[r] = t->p[1]->cpu.s.r[r] = v;
}

/* Both to the loop at the end, in runs of random length. */
static inline void go(struct twins *t, unsigned seed)
{
    struct pc *a = t->p[0], *b = t->p[1];
    struct rng r;
    rng_seed(&r, seed);
    uint64_t most = seed & 1 ? 3000 : 50;
    while (a->cpu.s.icount < 110000) {
        uint64_t n = 1 + rng_next(&r) % most;
        assert_int_equal(a->engine->run(&a->cpu, n), ENGINE_BUDGET);
        assert_int_equal(b->engine->run(&b->cpu, n), ENGINE_BUDGET);
        if (hash(a) != hash(b))
            fail_msg("seed %u: after %llu instructions", seed, (unsigned long long)a->cpu.s.icount);
    }
    assert_memory_equal(a->ram, b->ram, RAM_SIZE);
}

static inline struct jit_stats end(struct twins *t)
{
    struct jit_stats s = *jit_stats(t->p[1]->cpu.jit.jit);
    pc_free(t->p[0]);
    pc_free(t->p[1]);
    return s;
}

#endif
