/* What a jit is made of: for calls.c, jit.c and show.c only. */
#ifndef ISHI_JIT_OWN_H
#define ISHI_JIT_OWN_H

#include "jit/emit.h"

/* A trace that was compiled. */
struct trace {
    struct block *head;
    uint32_t entry, jb; /* offsets of its code and of what is known of it */
    bool live;
    struct span_page page[SPAN_PAGES]; /* beside the head's */
    uint8_t pages;
};
/* Its blocks know it: block.traces is the number of the first node, 0 for none. */
struct trace_node {
    uint32_t trace, next;
};
#define TRACES      (1u << 14)
#define TRACE_NODES (1u << 16)

struct jit {
    struct codemem mem;
    struct jit *peer; /* the next one of the machine, in a ring; itself, if it is alone */
    struct block_cache *blocks;
    struct cpu *cpus[CPU_MAX];
    unsigned count;
    struct emit emit;
    uint32_t start, split; /* offsets of the first hot and the first cold byte */
    uint32_t enter;
    bool full;
    struct jit_stats stats;
    struct jit_watch watch;

    struct block *hot;   /* a trace shall begin with it */
    unsigned watch_left; /* blocks to be interpreted before one is made */
    /* What is to be compiled anew, as a slot of it (emit_slot.c) is no use: the trace that
     * jit_block stands for, or a block. */
    uint32_t again_trace;
    struct block *again;
    struct block *alone; /* the trace that begins with it cannot be run now */
    uint64_t page;       /* linear address of the page of the block that is being compiled */
    struct cpu *runs;    /* whose it is */
    uint16_t spans;      /* numbers given */
    struct block path;   /* the trace's blocks as one */
    struct uop path_uops[BLOCK_UOPS];
    struct trace *traces;
    struct trace_node *nodes; /* 0 is none */
    uint32_t trace_count, node_count;
};

/* The linear address of a site's block. */
uint64_t jit_place(const struct cpu *c, const struct jit_site *s);

#endif
