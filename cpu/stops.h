/* Where a debugger wants the CPUs to stop: breakpoints and watchpoints of its own, beside the
 * guest's in the debug registers. machine/debug.h is the interface to use; this is the CPU's half.
 *
 * Nobody pays who does not debug. A breakpoint is found without a look at any address while code
 * runs: no block runs on past an instruction at the same offset in its page as a breakpoint, and a
 * block that begins at one begins with a call of stops_check(), which compares linear addresses.
 * (Offsets are the same in linear and physical addresses, so it does not matter where a page is
 * mapped, or whether it is at all when the breakpoint is set.) A page with a watched byte has no
 * fast path (tlb.h), so that debug_access() sees every access to it. No guest memory is changed.
 *
 * An engine that runs uops has nothing to do: a hit leaves through EXC_EXIT (a breakpoint, before
 * its instruction) or REQ_EXIT (a watchpoint, behind it), and cpu.stop says what it was. One that
 * does not (KVM) takes the lists below and fills cpu.stop by stops_hit(). */
#ifndef ISHI_CPU_STOPS_H
#define ISHI_CPU_STOPS_H

#include "cpu/cpu.h"

#define STOPS_WATCHES 64

struct stops_watch {
    uint64_t la, length; /* bytes; no wrap */
    unsigned kinds;      /* WATCH_* of cpu/debug.h */
};

/* One for all CPUs of a machine. */
struct stops {
    uint64_t *breaks; /* linear addresses, sorted */
    unsigned break_count, break_room;
    struct stops_watch watch[STOPS_WATCHES];
    unsigned watch_count;
    uint64_t offsets[PAGE_SIZE / 64]; /* bit n: some breakpoint is at offset n of its page */
};

/* The linear address of what the CPU executes next. */
static inline uint64_t stops_pc(const struct cpu *c)
{
    return cpu_64(c) ? c->s.rip : (uint32_t)(c->s.seg[SEG_CS].base + c->s.rip);
}

/* May a block not run on past an instruction at `la`, and must it ask if it begins there? */
static inline bool stops_wanted(const struct cpu *c, uint64_t la)
{
    return UNLIKELY(c->stops != NULL) &&
           (c->stops->offsets[(la & (PAGE_SIZE - 1)) / 64] >> (la & 63) & 1);
}

bool stops_has_break(const struct stops *s, uint64_t la);

/* The first uop of a block that begins where stops_wanted(): leaves if a breakpoint is here, unless
 * the CPU was told to go on from it. u->aux: the instruction is a string instruction with REP. */
struct uop;
bool stops_check(struct cpu *c, const struct uop *u);

/* Is the engine left before instructions of this row? Then its block begins with alone_check(). */
static inline bool alone_wanted(const struct cpu *c, const struct isa_row *row)
{
    return UNLIKELY(c->alone.rows != NULL) && row && c->alone.rows[isa_row_index(row)];
}
bool alone_check(struct cpu *c, const struct uop *u);
/* The same for an access that memory does not answer. True: it may be done. */
bool alone_device(struct cpu *c);
/* And for a write that faults by page: an instruction that reads there first may report that. */
bool alone_fault(struct cpu *c);
/* A read of what that other machine has in its memory there? */
static inline bool alone_same(const struct cpu *c, uint64_t paddr, bool read)
{
    return c->alone.rows && read && paddr == c->alone.same;
}
/* Does that other machine lack the ROM that might be at this physical address: an expansion card's,
 * outside the areas of the BIOS? */
static inline bool alone_rom(const struct cpu *c, uint64_t paddr)
{
    return UNLIKELY(c->alone.rows != NULL) && paddr >= 0x100000 && paddr < 0xff000000;
}

/* Does the CPU's access (any of the WATCH_* in `kind`) of n bytes at la hit a watchpoint? Then *w
 * is its place in the list. */
bool stops_watched(const struct cpu *c, uint64_t la, unsigned n, unsigned kind, unsigned *w);
/* WATCH_* of watchpoints that touch la's page. */
unsigned stops_watches_page(const struct cpu *c, uint64_t la);

/* Notes that the CPU has come upon a breakpoint or watchpoint. */
void stops_hit(struct cpu *c, enum stop_why why, uint64_t la, unsigned kinds);
/* The CPU goes on from where it is: a breakpoint right here is passed. */
void stops_pass(struct cpu *c);

#endif
