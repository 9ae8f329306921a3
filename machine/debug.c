#include "machine/debug.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/block.h"
#include "cpu/explain.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "cpu/mem.h"
#include "cpu/tlb.h"

const struct debug_stop *debug_stop(const struct machine *m)
{
    return &machine_debug((struct machine *)m)->stop;
}

const struct stops *debug_stops(const struct machine *m)
{
    return &machine_debug((struct machine *)m)->stops;
}

/* Are there stops, or CPUs that don't simply run? */
static void update(struct machine *m)
{
    struct debug *d = machine_debug(m);
    bool stops = d->stops.break_count || d->stops.watch_count;
    d->on = stops || d->trace;
    for (unsigned i = 0; i < machine_cpu_count(m); i++) {
        struct cpu *c = machine_cpu(m, i);
        c->stops = stops ? &d->stops : NULL;
        c->stop.events = d->act[i] == DEBUG_STEPS || d->trace;
        d->on = d->on || d->act[i] != DEBUG_RUN;
    }
}

/* Acts. */

void debug_act(struct machine *m, unsigned cpu, enum debug_act act, uint64_t low, uint64_t high)
{
    struct debug *d = machine_debug(m);
    struct cpu *c = machine_cpu(m, cpu);
    d->act[cpu] = (uint8_t)act;
    d->low[cpu] = low;
    d->high[cpu] = high;
    d->passed[cpu] = c->stop.passed;
    c->stop.why = STOP_NONE;
    c->stop.passing = false;
    if (act != DEBUG_HOLD && d->stopped_here[cpu]) {
        stops_pass(c);
        d->stopped_here[cpu] = false;
    }
    d->stop.why = DEBUG_NONE;
    update(m);
}

void debug_moved(struct machine *m, unsigned cpu)
{
    machine_debug(m)->stopped_here[cpu] = false;
}

bool debug_paused(const struct machine *m)
{
    return machine_debug((struct machine *)m)->paused;
}

void debug_run_all(struct machine *m)
{
    for (unsigned i = 0; i < machine_cpu_count(m); i++)
        debug_act(m, i, DEBUG_RUN, 0, 0);
}

void debug_step_flags(struct machine *m, unsigned flags)
{
    machine_debug(m)->flags = flags;
}

enum machine_event debug_step(struct machine *m, unsigned cpu, struct err *e)
{
    enum machine_event event;
    for (unsigned i = 0; i < machine_cpu_count(m); i++)
        debug_act(m, i, i == cpu ? DEBUG_STEPS : DEBUG_HOLD, 0, 0);
    do
        event = machine_run(m, e);
    while (event == MACHINE_SLICE);
    return event;
}

/* The trace. */

void debug_trace(struct machine *m, bool on)
{
    machine_debug(m)->trace = on;
    update(m);
}

/* What the CPU executes next. If something waits, it may be that and not this instruction. */
static void trace_turn(struct machine *m, struct debug *d, unsigned i)
{
    struct cpu *c = machine_cpu(m, i);
    char text[128];
    d->line[0] = 0;
    if (c->s.activity != ACT_RUN)
        return;
    explain_insn(c, c->s.rip, text, sizeof text);
    snprintf(d->line, sizeof d->line, "cpu%u %04x:%s", i, c->s.seg[SEG_CS].sel, text);
    if (cpu_requests(c))
        return;
    LOG(c->log, INSN, "%s", d->line);
    d->line[0] = 0;
}

static void trace_turned(struct debug *d, struct cpu *c, uint64_t done)
{
    if (done && d->line[0])
        LOG(c->log, INSN, "%s", d->line);
}

/* Turns. */

/* What was held off is asked for again. */
static void let_go(struct cpu *c)
{
    c->stop.hold = false;
    if (c->s.nmi_pending)
        cpu_request(c, REQ_NMI);
    cpu_attention(c);
}

bool debug_turn(struct machine *m, struct cpu *c, uint64_t *budget)
{
    struct debug *d = machine_debug(m);
    if (d->act[c->index] == DEBUG_HOLD)
        return false;
    if (d->trace) {
        *budget = min_u64(*budget, 1);
        trace_turn(m, d, c->index);
    }
    if (d->act[c->index] == DEBUG_STEPS) {
        *budget = min_u64(*budget, 1);
        c->stop.hold = d->flags & DEBUG_NOIRQ;
    }
    return true;
}

static bool stop(struct debug *d, struct cpu *c, enum debug_why why)
{
    d->stop = (struct debug_stop){why, c->index, c->stop.la, c->stop.kinds};
    if (why == DEBUG_STEP)
        d->stop.addr = stops_pc(c);
    d->stopped_here[c->index] = true;
    return true;
}

bool debug_turned(struct machine *m, struct cpu *c, uint64_t done)
{
    struct debug *d = machine_debug(m);
    unsigned i = c->index;
    enum stop_why why = c->stop.why;
    if (d->trace)
        trace_turned(d, c, done);
    if (c->stop.hold)
        let_go(c);
    c->stop.why = STOP_NONE;
    if (why != STOP_NONE)
        return stop(d, c, why == STOP_BREAK ? DEBUG_BREAK : DEBUG_WATCH);
    if (d->act[i] != DEBUG_STEPS || (!done && c->stop.passed == d->passed[i]))
        return false;
    d->passed[i] = c->stop.passed;
    return (c->s.rip < d->low[i] || c->s.rip >= d->high[i]) && stop(d, c, DEBUG_STEP);
}

/* Breakpoints and watchpoints. */

static void offset_changed(struct machine *m, uint64_t la)
{
    struct debug *d = machine_debug(m);
    unsigned off = la & (PAGE_SIZE - 1);
    uint64_t *word = &d->stops.offsets[off / 64], bit = 1ull << off % 64;
    *word &= ~bit;
    for (unsigned i = 0; i < d->stops.break_count; i++)
        if ((d->stops.breaks[i] & (PAGE_SIZE - 1)) == off)
            *word |= bit;
    update(m);
    struct cpu *last = NULL;
    for (unsigned i = 0; i < machine_cpu_count(m); i++) { /* most share one cache */
        struct cpu *c = machine_cpu(m, i);
        if (c->blocks && (!last || last->blocks != c->blocks))
            blocks_drop_offset(c->blocks, off);
        last = c;
    }
}

bool debug_break_add(struct machine *m, uint64_t la)
{
    struct stops *s = &machine_debug(m)->stops;
    unsigned at = s->break_count;
    if (s->break_count == s->break_room) {
        unsigned room = s->break_room ? 2 * s->break_room : 16;
        uint64_t *more = realloc(s->breaks, room * sizeof *more);
        if (!more)
            return false;
        s->breaks = more;
        s->break_room = room;
    }
    while (at && s->breaks[at - 1] > la)
        at--;
    memmove(&s->breaks[at + 1], &s->breaks[at], (s->break_count - at) * sizeof *s->breaks);
    s->breaks[at] = la;
    s->break_count++;
    offset_changed(m, la);
    return true;
}

bool debug_break_remove(struct machine *m, uint64_t la)
{
    struct stops *s = &machine_debug(m)->stops;
    unsigned at = 0;
    while (at < s->break_count && s->breaks[at] != la)
        at++;
    if (at == s->break_count)
        return false;
    s->break_count--;
    memmove(&s->breaks[at], &s->breaks[at + 1], (s->break_count - at) * sizeof *s->breaks);
    offset_changed(m, la);
    return true;
}

/* Which pages have a fast path has changed. */
static void watches_changed(struct machine *m)
{
    update(m);
    for (unsigned i = 0; i < machine_cpu_count(m); i++)
        tlb_flush(machine_cpu(m, i));
}

bool debug_watch_add(struct machine *m, uint64_t la, uint64_t length, unsigned kinds)
{
    struct stops *s = &machine_debug(m)->stops;
    if (s->watch_count == STOPS_WATCHES || !length || la + length - 1 < la || !kinds)
        return false;
    s->watch[s->watch_count++] = (struct stops_watch){la, length, kinds};
    watches_changed(m);
    return true;
}

bool debug_watch_remove(struct machine *m, uint64_t la, uint64_t length, unsigned kinds)
{
    struct stops *s = &machine_debug(m)->stops;
    for (unsigned i = 0; i < s->watch_count; i++) {
        struct stops_watch *w = &s->watch[i];
        if (w->la != la || w->length != length || w->kinds != kinds)
            continue;
        *w = s->watch[--s->watch_count];
        watches_changed(m);
        return true;
    }
    return false;
}

void debug_clear(struct machine *m)
{
    struct stops *s = &machine_debug(m)->stops;
    while (s->break_count)
        debug_break_remove(m, s->breaks[s->break_count - 1]);
    while (s->watch_count) {
        struct stops_watch *w = &s->watch[s->watch_count - 1];
        debug_watch_remove(m, w->la, w->length, w->kinds);
    }
}

void debug_free(struct machine *m)
{
    free(machine_debug(m)->stops.breaks);
}

/* Memory. */

/* What lies in a device's memory, as far as reading it does nothing. */
static size_t peek(struct bus *b, uint64_t paddr, uint8_t *buf, size_t n)
{
    size_t done = 0;
    while (done < n && bus_peek(b, paddr + done, &buf[done]))
        done++;
    return done;
}

/* One page's part. */
static size_t piece(struct machine *m, unsigned cpu, bool physical, uint64_t at, uint8_t *buf,
                    size_t n, bool write)
{
    struct bus *b = machine_bus(m);
    uint64_t paddr = at & b->a20_mask;
    bool writable;
    uint8_t *flags, *host;
    n = min_u64(n, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    if (!physical && !mmu_peek_translate(machine_cpu(m, cpu), at, &paddr))
        return 0;
    host = bus_page(b, paddr, &writable, &flags);
    if (!host && !write)
        return peek(b, paddr, buf, n);
    if (!host || (write && !writable))
        return 0;
    if (!write)
        memcpy(buf, host + (paddr & (PAGE_SIZE - 1)), n);
    else if (!bus_dma_write(b, paddr, buf, n))
        return 0;
    return n;
}

static size_t transfer(struct machine *m, unsigned cpu, bool physical, uint64_t at, uint8_t *buf,
                       size_t n, bool write)
{
    size_t done = 0;
    while (done < n) {
        size_t got = piece(m, cpu, physical, at + done, buf + done, n - done, write);
        if (!got)
            break;
        done += got;
    }
    return done;
}

size_t debug_read(struct machine *m, unsigned cpu, bool physical, uint64_t at, void *buf, size_t n)
{
    return transfer(m, cpu, physical, at, buf, n, false);
}

size_t debug_write(struct machine *m, unsigned cpu, bool physical, uint64_t at, const void *buf,
                   size_t n)
{
    return transfer(m, cpu, physical, at, (uint8_t *)buf, n, true);
}
