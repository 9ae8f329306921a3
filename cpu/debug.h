/* The debug registers: breakpoints on code, data and ports (SDM 3B chapter 17).
 *
 * Data and port breakpoints are traps: a hit is noted in s.pending_db and taken at the end of the
 * instruction. A page with a watched byte has no fast path (tlb.h), so that every access to it is
 * seen here. */
#ifndef ISHI_CPU_DEBUG_H
#define ISHI_CPU_DEBUG_H

#include "cpu/stops.h"

#define DR6_FIXED 0xffff0ff0u
#define DR6_BD    BIT(13)
#define DR6_BS    BIT(14)
#define DR6_BT    BIT(15)
#define DR7_GD    BIT(13)
#define DR7_FIXED 0x400u

#define WATCH_READ  1u
#define WATCH_WRITE 2u

/* May an access hit a breakpoint of the debug registers or a debugger's watchpoint? */
static inline bool debug_watching(const struct cpu *c)
{
    return (c->s.dr7 & 0xff) || (c->stops && c->stops->watch_count);
}

/* Is any code breakpoint enabled? */
bool debug_has_code(const struct cpu *c);

/* The DR6 bits of the enabled code breakpoints at linear address la. */
uint32_t debug_code_hits(const struct cpu *c, uint64_t la);

/* WATCH_*: what may not be done to the page at `la` without asking debug_access(). */
unsigned debug_watches(const struct cpu *c, uint64_t la);

/* Notes hits of an access of n bytes that is about to be done. False: EXC_RESTART, as the trap must
 * come right after this instruction and others share its block. */
bool debug_access(struct cpu *c, uint64_t la, unsigned n, bool write);
/* What is translated for writing is read, too: for a debugger's watchpoints that are for reads
 * alone. */
bool debug_reads(struct cpu *c, uint64_t la, unsigned n);

/* The same for a port, by an instruction that ends its block. */
void debug_port(struct cpu *c, uint16_t port, unsigned n);

/* Writes DR0..DR7 (4 and 5 resolved by the caller); cuts reserved bits and follows up. */
void debug_set(struct cpu *c, unsigned n, uint64_t v);

#endif
