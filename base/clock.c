#include "base/clock.h"

#include "base/err.h"

void clock_init(struct clock *c, uint64_t (*source)(void *), void *opaque)
{
    *c = (struct clock){.source = source, .opaque = opaque, .next = CLOCK_NEVER};
}

void timer_init(struct timer *t, struct clock *c, const char *name, void (*fire)(void *),
                void *opaque)
{
    CHECK(c->timer_count < CLOCK_TIMERS);
    *t = (struct timer){
        .name = name, .fire = fire, .opaque = opaque, .clock = c, .deadline = CLOCK_NEVER};
    c->timers[c->timer_count++] = t;
}

/* A machine has some dozens of timers, most of them unset: a scan beats a heap. */
static struct timer *earliest(struct clock *c)
{
    struct timer *best = NULL;
    for (unsigned i = 0; i < c->timer_count; i++) {
        struct timer *t = c->timers[i];
        if (t->deadline != CLOCK_NEVER && (!best || t->deadline < best->deadline))
            best = t;
    }
    c->next = best ? best->deadline : CLOCK_NEVER;
    return best;
}

void timer_set(struct timer *t, uint64_t deadline)
{
    struct clock *c = t->clock;
    uint64_t old = t->deadline;
    t->deadline = deadline;
    if (deadline < c->next) {
        c->next = deadline;
        if (c->sooner)
            c->sooner(c->opaque);
    } else if (old == c->next && deadline > old) {
        earliest(c);
    }
}

void clock_run(struct clock *c)
{
    uint64_t now = clock_now(c);
    while (c->next <= now) {
        struct timer *t = earliest(c);
        if (!t || t->deadline > now)
            return;
        t->deadline = CLOCK_NEVER;
        earliest(c);
        t->fire(t->opaque);
    }
}
