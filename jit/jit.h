/* The x86-64 JIT: blocks of uops become host code.
 *
 * A block is interpreted until it has run a few times, then compiled (emit.h). Generated code runs
 * from block to block by patched jumps and comes back for what it can't do: an exit that leads
 * nowhere yet, the end of the budget, a fault, a uop that has no emitter (the interpreter does the
 * rest of that block). The state is then the interpreter's, bit for bit.
 *
 * One jit goes with one block cache, and its blocks' generated code lives as long as they do: a
 * dropped block's entry leads out at once. Code memory is bounded; when it is full, all of it is
 * given up at the next moment when no generated code runs. */
#ifndef ISHI_JIT_JIT_H
#define ISHI_JIT_JIT_H

#include "backend/codemem.h"
#include "cpu/interp.h"

struct jit;

/* For CPUs that share one block cache. Owns *m from now on. To be freed before the blocks. */
struct jit *jit_new(struct cpu **cpus, unsigned count, const struct codemem *m);
void jit_free(struct jit *j);
/* In a copy of the process, as codemem.own() says; for j alone, not for those it was joined to. */
bool jit_own(struct jit *j);
/* Of the same machine, whose CPUs each have a jit: what is shown and watched is of all. */
void jit_join(struct jit *j, struct jit *other);

/* As interp_run(): from block b until there is a reason to leave; b's instructions fit what is left
 * to c->limit. */
enum interp_leave jit_run(struct cpu *c, struct block *b);

/* The code of a block that is compiled only to be looked at: b needs its uops, instructions, key
 * and address, and is in no cache. The next compilation overwrites what is given back. */
struct jit_listing {
    unsigned uops;              /* up to the one that ends the block */
    const uint8_t *code, *cold; /* for the usual way; stubs and data */
    uint64_t address;           /* of code[0] when it runs */
    uint32_t bytes, cold_bytes;
    uint32_t
        at[BLOCK_UOPS + 1]; /* offset in `code` of each uop's; the first has the entry before it */
};
bool jit_list(struct jit *j, struct block *b, struct jit_listing *l);

/* Whoever wants to know what is compiled: a profiler. Called by the threads of CPUs, several at a
 * time. */
struct jit_watch {
    void (*compiled)(void *opaque, const struct block *b, uint64_t rip, const void *code,
                     uint32_t bytes);
    void *opaque;
};
void jit_watch(struct jit *j, const struct jit_watch *w);

/* What left generated code, or called out of it. */
#define JIT_EXITS(X)                                         \
    X(UNLINKED, "exit without a link")                       \
    X(ENTRY, "budget spent or attention wanted at a block")  \
    X(DEAD, "jump to a block that was dropped")              \
    X(STALE, "path over pages that may have changed")        \
    X(INDIRECT, "indirect branch to where no code is known") \
    X(HOT, "block often run, for a trace")                   \
    X(RESUME, "rest of a block interpreted")                 \
    X(FAULT, "fault")
enum jit_exit_kind {
#define X(n, text) JIT_EXIT_##n,
    JIT_EXITS(X)
#undef X
        JIT_EXIT_COUNT
};

struct jit_stats {
    uint64_t compiled, uops, bytes; /* blocks; uops in them; bytes of code */
    uint64_t interpreted;           /* runs of blocks that had no code */
    uint64_t links, dropped, flushes, wide;
    uint64_t traces, parts; /* paths over several blocks compiled as one; blocks in them */
    uint64_t exits[JIT_EXIT_COUNT];
};
const struct jit_stats *jit_stats(const struct jit *j);
/* The same as text, the sum of all that are joined. Not while CPUs run. */
void jit_show(const struct jit *j, char *buf, size_t size);
/* Has the host what generated code uses? */
bool jit_host_ok(void);

#endif
