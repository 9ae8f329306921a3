/* What the jit has done, as figures, and the code of one block. */
#include <stdio.h>

#include "jit/own.h"

const struct jit_stats *jit_stats(const struct jit *j)
{
    return &j->stats;
}

/* All fields are counts. */
static void add_stats(struct jit_stats *sum, const struct jit_stats *s)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)s;
    for (size_t i = 0; i < sizeof *s / sizeof *from; i++)
        to[i] += from[i];
}

void jit_show(const struct jit *j, char *buf, size_t size)
{
    static const char *const text[] = {
#define X(n, text) text,
        JIT_EXITS(X)
#undef X
    };
    struct jit_stats s = {0};
    uint64_t accesses = 0, helpers = 0;
    const struct jit *q = j;
    do {
        add_stats(&s, &q->stats);
        for (unsigned i = 0; i < q->count; i++) {
            accesses += q->cpus[i]->jit.accesses;
            helpers += q->cpus[i]->jit.helpers;
        }
        q = q->peer;
    } while (q != j);
    const struct {
        const char *what;
        uint64_t n;
    } rows[] = {
        {"blocks compiled", s.compiled},
        {"uops in them", s.uops},
        {"bytes of their code", s.bytes},
        {"runs of blocks without code", s.interpreted},
        {"paths compiled as one", s.traces},
        {"blocks in them", s.parts},
        {"links made", s.links},
        {"compiled blocks dropped", s.dropped},
        {"times all code was given up", s.flushes},
        {"checks of several accesses failed", s.wide},
        {"memory accesses by the slow path", accesses},
        {"calls of helpers", helpers},
    };
    size_t at = 0;
    for (unsigned i = 0; i < ARRAY_LEN(rows) && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%-36s %14llu\n", rows[i].what,
                               (unsigned long long)rows[i].n);
    for (unsigned i = 0; i < JIT_EXIT_COUNT && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "left: %-30s %14llu\n", text[i],
                               (unsigned long long)s.exits[i]);
}

bool jit_list(struct jit *j, struct block *b, struct jit_listing *l)
{
    struct emit *e = &j->emit;
    struct x64 a = e->a, cold = e->cold;
    e->j = j;
    bool done = emit_block(e, b);
    uint32_t entry = done ? e->jb->entry : 0;
    if (done) {
        l->uops = e->n;
        l->code = j->mem.rw + entry;
        l->address = (uintptr_t)j->mem.rx + entry;
        l->bytes = e->a.at - entry;
        l->cold = j->mem.rw + cold.at;
        l->cold_bytes = e->cold.at - cold.at;
        for (unsigned i = 0; i <= e->n; i++)
            l->at[i] = e->at[i] - entry;
    }
    e->a = a;
    e->cold = cold;
    return done;
}
