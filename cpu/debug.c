#include "cpu/debug.h"

#include "cpu/tlb.h"

enum { BP_EXEC, BP_WRITE, BP_IO, BP_ACCESS };

static unsigned enabled(const struct cpu *c, unsigned i)
{
    return c->s.dr7 >> 2 * i & 3;
}

static unsigned kind_of(const struct cpu *c, unsigned i)
{
    return c->s.dr7 >> (16 + 4 * i) & 3;
}

static unsigned len_of(const struct cpu *c, unsigned i)
{
    static const uint8_t len[] = {1, 2, 8, 4};
    return len[c->s.dr7 >> (18 + 4 * i) & 3];
}

/* Does [a, a + n) meet the watched range? The low bits of DRi that its length covers are ignored.
 */
static bool overlaps(const struct cpu *c, unsigned i, uint64_t a, unsigned n)
{
    unsigned len = len_of(c, i);
    uint64_t first = c->s.dr[i] & ~(uint64_t)(len - 1);
    return a - first < len || first - a < n;
}

bool debug_has_code(const struct cpu *c)
{
    if (!(c->s.dr7 & 0xff))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (enabled(c, i) && kind_of(c, i) == BP_EXEC)
            return true;
    return false;
}

/* DR6 shows every breakpoint whose condition is met, enabled or not, but only when an enabled one
 * raised the exception (SDM 3B 17.2.3). */
static uint32_t report(const struct cpu *c, uint32_t met)
{
    for (unsigned i = 0; i < 4; i++)
        if ((met >> i & 1) && enabled(c, i))
            return met;
    return 0;
}

uint32_t debug_code_hits(const struct cpu *c, uint64_t la)
{
    uint32_t met = 0;
    for (unsigned i = 0; i < 4; i++)
        if (kind_of(c, i) == BP_EXEC && c->s.dr[i] == la)
            met |= 1u << i;
    return report(c, met);
}

unsigned debug_watches(const struct cpu *c, uint64_t la)
{
    unsigned w = 0;
    if (LIKELY(!debug_watching(c)))
        return 0;
    w = stops_watches_page(c, la);
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = kind_of(c, i);
        if (!enabled(c, i) || (c->s.dr[i] ^ la) >> PAGE_SHIFT)
            continue;
        if (kind == BP_WRITE)
            w |= WATCH_WRITE;
        else if (kind == BP_ACCESS)
            w |= WATCH_READ | WATCH_WRITE;
    }
    return w;
}

static void note(struct cpu *c, uint32_t hits)
{
    if (!hits)
        return;
    c->s.pending_db |= hits;
    cpu_request(c, REQ_DB);
}

/* A debugger's watchpoint: the engine leaves when the instruction is done. */
static bool debugger_access(struct cpu *c, uint64_t la, unsigned n, bool write)
{
    unsigned w;
    if (!stops_watched(c, la, n, write ? WATCH_WRITE : WATCH_READ, &w))
        return true;
    if (!c->single)
        return cpu_fault(c, EXC_RESTART, "a debugger's watchpoint", 0, 0);
    stops_hit(c, STOP_WATCH, c->stops->watch[w].la, c->stops->watch[w].kinds);
    cpu_request(c, REQ_EXIT);
    return true;
}

bool debug_reads(struct cpu *c, uint64_t la, unsigned n)
{
    return LIKELY(!debug_watching(c)) || debugger_access(c, la, n, false);
}

bool debug_access(struct cpu *c, uint64_t la, unsigned n, bool write)
{
    uint32_t met = 0;
    if (LIKELY(!debug_watching(c)))
        return true;
    if (!debugger_access(c, la, n, write))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = kind_of(c, i);
        if ((kind == BP_ACCESS || (kind == BP_WRITE && write)) && overlaps(c, i, la, n))
            met |= 1u << i;
    }
    met = report(c, met);
    if (met && !c->single)
        return cpu_fault(c, EXC_RESTART, "a breakpoint of the debug registers", 0, 0);
    note(c, met);
    return true;
}

void debug_port(struct cpu *c, uint16_t port, unsigned n)
{
    uint32_t met = 0;
    if (LIKELY(!(c->s.dr7 & 0xff)) || !(c->s.cr4 & CR4_DE))
        return;
    for (unsigned i = 0; i < 4; i++)
        if (kind_of(c, i) == BP_IO && overlaps(c, i, port, n))
            met |= 1u << i;
    note(c, report(c, met));
}

void debug_set(struct cpu *c, unsigned n, uint64_t v)
{
    if (n == 6)
        c->s.dr6 = (v & 0xe00f) | DR6_FIXED;
    else if (n == 7)
        c->s.dr7 = (v & 0xffff2bff) | DR7_FIXED;
    else
        c->s.dr[n] = v;
    if (n == 6)
        return;
    tlb_flush(c); /* the pages with a fast path are others now */
    cpu_mode_changed(c);
}
