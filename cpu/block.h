/* Blocks: runs of guest instructions lifted to uops, and where they are kept.
 *
 * A block is found by the physical address of its first byte and a key: the mode it was lifted for
 * (KEY_*) and the CPL. It ends at a branch, at an instruction that may change the mode, at the
 * page's end or after BLOCK_INSNS instructions. An instruction that crosses a page is a block by
 * itself and remembers both physical pages.
 *
 * Invariants:
 *  - while a page of RAM has blocks, its page_flags entry has PAGE_CODE and no TLB entry lets a
 *    store past the slow path, so that every write comes to blocks_written() or
 *    blocks_invalidate();
 *  - a dropped block is dead (key KEY_DEAD) and linked from nowhere, but its memory stays until
 *    blocks_reclaim(), which an engine calls when no uop of any block runs;
 *  - links between blocks of one page need no check: the page is mapped if the code on it runs.
 *    Links to other pages go through a guard that compares the TLB's generation. */
#ifndef ISHI_CPU_BLOCK_H
#define ISHI_CPU_BLOCK_H

#include "cpu/uop.h"

#define BLOCK_INSNS 64  /* at most so many instructions a block */
#define BLOCK_UOPS  320 /* at most so many uops */

#define KEY_DEAD 0xffffffffu

struct block;

/* One end of a block: who leads to whom. */
struct block_link {
    struct block *owner, *target; /* target NULL: not linked */
    struct block_link *next;      /* that leads to the same target */
};

struct block {
    /* The host's cache line that is looked at to find it and to begin it. */
    uint64_t paddr; /* of the first byte */
    uint32_t key;
    uint16_t insns; /* instructions; 0 for a guard */
    uint16_t bytes; /* of guest code */
    struct block *hash_next;
    const void *code; /* where its generated code (jit/) begins, or NULL */
    struct uop *uops;
    uint64_t paddr2;       /* of the second page's first byte, or ~0 */
    uint32_t runs;         /* so often the block was run without generated code */
    bool kept;             /* can be found again; else it is for one run */
    uint8_t narrow;        /* 1: is compiled without strips (jit/emit_win.c); 2: without windows */
    uint8_t went[2];       /* so often each exit was seen taken, at most 255 */
    struct jit_block *jit; /* what is known of the generated code */

    /* By exit: 0 is behind the block or not taken, 1 is taken. */
    struct block *to[2]; /* where it goes on, perhaps a guard; NULL: not known yet */
    uint64_t mask[2];    /* of the offset in CS there: 16, 32 or 64 bits */

    /* A guard: what it leads to, under which stamp. */
    uint64_t stamp;
    struct block *guarded;

    struct block_link link[2];
    struct block *page_next[2]; /* other blocks of the first and the second page */
    struct block **page_at[2];  /* what leads to it in these lists */
    struct block_link *in;      /* links that lead here */
    struct block *dead_next;
    struct block *guard[2]; /* of its exits, made when needed */
    uint32_t size;          /* of its memory */

    uint32_t traces;      /* those that it is a part of (jit/trace.c) */
    uint64_t wide_since;  /* a check of several accesses failed … */
    uint16_t wide_failed; /* … so often since this instruction count */
    uint64_t scattered;   /* bit n: uop n, modulo 64, accesses one page after the other */
    bool watched;         /* its path was interpreted, to see where it goes */
    bool pairs;           /* is compiled for windows across two pages (jit/emit_win.c) */
    /* Bytes of an immediate that is read anew each time: from the first byte, and how many. */
    uint16_t soft, soft_bytes;
};

/* Where an indirect branch last went. */
#define JUMP_BITS 12
struct jump_entry {
    uint64_t la, stamp;
    struct block *block; /* never NULL: an empty entry has la ~0 */
    uint64_t unused;
};

static inline unsigned jump_hash(uint64_t la)
{
    return (unsigned)(la ^ la >> JUMP_BITS) & ((1u << JUMP_BITS) - 1);
}

/* A cache for up to `count` CPUs that share `bus`. `bytes`: of memory for blocks. */
struct block_cache *blocks_new(struct cpu **cpus, unsigned count, size_t bytes);
void blocks_free(struct block_cache *k);
/* The memory for blocks, which is used all over. */
void *blocks_memory(const struct block_cache *k, size_t *bytes);
/* A second cache on the same bus, of other CPUs: writes come to both. Their CPUs may run at the
 * same time: the lists of a cache's pages change with the lock of share.h held, a cache of other
 * CPUs in stillness. */
void blocks_join(struct block_cache *k, struct block_cache *other);

/* The block at s.rip in c's present mode; `extra` is or'ed to the key (KEY_SINGLE). NULL: fault. */
struct block *blocks_find(struct cpu *c, uint32_t extra);

/* A block that was made already, or NULL. Nothing is said of where its second page is, if it has
 * one. */
struct block *blocks_peek(struct block_cache *k, uint64_t paddr, uint32_t key);

/* Makes the exit that the CPU took last (c->link_from) lead to b from now on, if it may. */
void blocks_link(struct cpu *c, struct block *b);

/* A store of the running CPU, before it is done, to a page with PAGE_CODE; not across pages. Where
 * CPUs run side by side, the lock is held until the store is done.
 * False: it hits the running block, which has other instructions: EXC_RESTART. */
bool blocks_written(struct cpu *c, uint64_t paddr, uint64_t len);
/* A write by anyone else, in all caches on the bus; any length. */
void blocks_invalidate(struct block_cache *k, uint64_t paddr, uint64_t len);
/* Drops everything. */
void blocks_flush(struct block_cache *k);
/* The bus's map or the A20 gate changed: drops all blocks and translations, of all caches on the
 * bus. */
void blocks_remap(struct block_cache *k);
/* Drops every block with a byte at this offset of a page: a breakpoint came or went there. Not
 * while uops run. */
void blocks_drop_offset(struct block_cache *k, unsigned offset);
/* Frees what is dead. Not while uops run. */
void blocks_reclaim(struct block_cache *k);

/* Who keeps generated code of the blocks is told when exit `which` of a block with code loses its
 * link, and when such a block is dropped. */
struct block_hooks {
    void (*unlinked)(void *opaque, struct block *b, unsigned which);
    void (*dropped)(void *opaque, struct block *b);
    void *opaque;
};
void blocks_hook(struct block_cache *k, const struct block_hooks *h);
/* Notes that exit `which` of b leads to `target`, until blocks_unlink() or the end of either. */
void blocks_note_link(struct block *b, unsigned which, struct block *target);
void blocks_unlink(struct block_cache *k, struct block *b, unsigned which);
/* Calls f for every block that can be found. */
void blocks_each(struct block_cache *k, void (*f)(void *opaque, struct block *b), void *opaque);

struct block_stats {
    uint64_t lifted, dropped, flushes;
};
const struct block_stats *blocks_stats(const struct block_cache *k);

#endif
