/* What the two halves of a comparison with a stub share: compare_stub.c runs ishi and hands over,
 * compare_follow.c sends the other machine after it and compares. */
#ifndef ISHI_FRONT_LOCKSTEP_H
#define ISHI_FRONT_LOCKSTEP_H

#include "front/compare.h"
#include "front/compare_rules.h"
#include "front/witness.h"

#define WINDOW    16384 /* instructions */
#define SEEN_BITS 14
#define LOW_PAGES 96 /* 0xa0000 to 0xfffff, whose mapping changes */
#define LOW_FIRST 0xa0

/* A place in the run: the state before an instruction. */
struct step {
    struct snap s;
    uint64_t la;
    uint32_t undefined; /* flags that mean nothing here */
    uint8_t count, bytes[ISA_MAX_LEN];
    bool fpu_known, system_known; /* the guest has set what a start leaves open */
    bool repeats;                 /* stands for all iterations of a string instruction */
};

/* A place where something was handed over. */
struct meeting {
    uint64_t icount, rip;
    uint16_t cs;
    uint8_t rule;
};
#define MEETINGS 16

/* A loop that ishi runs alone: see compare_give.c. */
#define POLL_AFTER  16  /* meetings of the same places */
#define POLL_NEAR   256 /* instructions between two of them, at most */
#define POLL_PLACES 6
#define POLL_PAGES  16
struct polling {
    uint64_t la[POLL_PLACES], times, last;
    unsigned count;
    bool on;
    struct snap start, state; /* of the other machine; of ishi, as kept */
    uint64_t at, la_after;    /* icount and address of the latter */
    uint64_t page[POLL_PAGES];
    uint8_t bytes[POLL_PAGES][PAGE_SIZE];
    unsigned pages;
    uint64_t loops, steps; /* to be told */
};

/* How often ishi was at an instruction since the last meeting. */
struct place {
    uint64_t met, count;
};
#define PLACE_BITS 14

struct lockstep {
    const struct compare_options *o;
    struct compare_side side;
    struct cpu *c;
    struct bus *bus;
    struct witness w;
    bool free; /* grain sync, now */
    bool
        sure; /* every execution of the instruction at RIP is a meeting: the other's next is this */
    uint8_t *by_row, *alone_rows;
    struct step *window;            /* WINDOW + 1 */
    unsigned count;                 /* instructions in it; window[count] is where ishi is */
    unsigned matched;               /* states of it that the other machine showed, during a run */
    uint64_t seen[1u << SEEN_BITS]; /* linear address + 1 of instructions in the window */
    uint32_t undefined;
    bool fpu_known, system_known;
    uint8_t *low[LOW_PAGES]; /* what the guest sees there */
    uint8_t *written;        /* a byte a page of RAM: by the CPU since the last look */
    uint8_t *ever;           /* the same since the start */
    uint64_t met;            /* grain sync: icount at which both were the same last */
    uint64_t other_la;       /* and where the other machine was left */
    uint64_t waiting;        /* icount since which an interrupt waits; 0: none does */
    uint64_t stops;          /* grain sync: of the other machine at breakpoints and after steps */
    uint64_t steps, syncs, ever_checked, used[RULE_COUNT];
    struct meeting meeting[MEETINGS]; /* the last ones; the next goes to [meetings % MEETINGS] */
    uint64_t meetings;
    struct place place[1u << PLACE_BITS];
    struct polling poll;
    bool entered, injected, ended, different;
    char trouble[1000]; /* see compare_follow.c */
    struct err e;       /* why it ended, if the host failed */
};

/* The linear address of the next instruction. */
static inline uint64_t lockstep_pc(const struct cpu *c)
{
    return cpu_64(c) ? c->s.rip : (uint32_t)(c->s.seg[SEG_CS].base + c->s.rip);
}

static inline uint64_t lockstep_pages(const struct lockstep *l)
{
    return l->bus->ram_size >> PAGE_SHIFT;
}

/* Ends the comparison; false. */
bool lockstep_stop(struct lockstep *l);
/* Fills window[count] from ishi's CPU. */
void lockstep_note(struct lockstep *l);
/* The other machine executes the window; then both stand at the same instruction, equal. `dma`: a
 * byte a page, those that are about to be handed over; or NULL. False: the comparison ended. */
bool lockstep_sync(struct lockstep *l, const uint8_t *dma);
/* Notes which pages were written since the last call, in `to`, and begins anew. Returns how many.
 */
unsigned lockstep_harvest(struct lockstep *l, uint8_t *to);
/* The first page from i on whose byte has one of the bits; `pages` if none has. */
uint64_t lockstep_next(const uint8_t *bytes, uint8_t bits, uint64_t i, uint64_t pages);
/* What the guest sees of a page of RAM, or NULL if it is hidden. */
uint8_t *lockstep_visible(struct lockstep *l, uint64_t page);

/* After ishi did something alone. `before`: its state then, and the other's now. */
void lockstep_hand_over(struct lockstep *l, const struct snap *before, enum rule r);
/* Hands over pages of RAM, and clears the marks. */
void lockstep_give_pages(struct lockstep *l, uint8_t *which);
/* Is the instruction at RIP one more of a loop that ishi runs alone? */
bool lockstep_polls(struct lockstep *l, enum rule r);
/* It was executed. */
void lockstep_poll_keep(struct lockstep *l, enum rule r);
/* The other machine gets the state behind the last one. */
void lockstep_poll_end(struct lockstep *l);

#endif
