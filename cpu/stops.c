#include "cpu/stops.h"

#include "cpu/debug.h"
#include "cpu/uop.h"

bool stops_has_break(const struct stops *s, uint64_t la)
{
    unsigned low = 0, high = s->break_count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (s->breaks[mid] == la)
            return true;
        if (s->breaks[mid] < la)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

void stops_pass(struct cpu *c)
{
    struct cpu_stop *s = &c->stop;
    s->passing = true;
    s->pass_la = stops_pc(c);
    s->pass_icount = cpu_icount(c);
    s->pass_count = c->s.r[R_CX];
}

/* Was the CPU told to go on from here? The iterations of one REP are one instruction to a
 * debugger: they all begin here, and each counts RCX down by one. */
static bool passes(struct cpu *c, uint64_t la, bool rep)
{
    const struct cpu_stop *s = &c->stop;
    uint64_t done = cpu_icount(c) - s->pass_icount;
    if (!s->passing || s->pass_la != la)
        return false;
    return !done || (rep && (uint32_t)(s->pass_count - c->s.r[R_CX]) == (uint32_t)done);
}

bool stops_check(struct cpu *c, const struct uop *u)
{
    uint64_t la = stops_pc(c);
    if (!c->stops || !stops_has_break(c->stops, la) || passes(c, la, u->aux))
        return true;
    stops_hit(c, STOP_BREAK, la, 0);
    return cpu_fault(c, EXC_EXIT, NULL, 0, 0);
}

static bool leave_alone(struct cpu *c, unsigned why)
{
    if (!c->alone.rows || c->alone.pass)
        return true;
    c->alone.hit = (uint8_t)why;
    return cpu_fault(c, EXC_EXIT, NULL, 0, 0);
}

bool alone_check(struct cpu *c, const struct uop *u)
{
    if (u->aux == ALONE_PLACE && !c->alone.place(c, stops_pc(c)))
        return true;
    if (u->aux == ALONE_INTERRUPT && !((cpu_requests(c) & REQ_INTR) && (c->s.rflags & EF_IF)))
        return true;
    return leave_alone(c, u->aux);
}

bool alone_device(struct cpu *c)
{
    return leave_alone(c, ALONE_DEVICE);
}

bool alone_fault(struct cpu *c)
{
    return leave_alone(c, ALONE_FAULT);
}

bool stops_watched(const struct cpu *c, uint64_t la, unsigned n, unsigned kind, unsigned *w)
{
    for (unsigned i = 0; c->stops && i < c->stops->watch_count; i++) {
        const struct stops_watch *x = &c->stops->watch[i];
        if ((x->kinds & kind) && (la - x->la < x->length || x->la - la < n)) {
            *w = i;
            return true;
        }
    }
    return false;
}

unsigned stops_watches_page(const struct cpu *c, uint64_t la)
{
    uint64_t page = la & ~(uint64_t)(PAGE_SIZE - 1);
    unsigned kinds = 0;
    for (unsigned i = 0; c->stops && i < c->stops->watch_count; i++) {
        const struct stops_watch *x = &c->stops->watch[i];
        if (page - x->la < x->length || x->la - page < PAGE_SIZE)
            kinds |= x->kinds;
    }
    /* what may be written on a fast path may be read there too */
    return kinds & WATCH_READ ? kinds | WATCH_WRITE : kinds;
}

void stops_hit(struct cpu *c, enum stop_why why, uint64_t la, unsigned kinds)
{
    c->stop.why = why;
    c->stop.la = la;
    c->stop.kinds = kinds;
}
