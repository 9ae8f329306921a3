/* The clock a machine runs by, and the timers that hang on it.
 *
 * Time comes in from outside: whoever owns the clock gives it a source, and devices only ever ask
 * clock_now(). Two sources exist (DESIGN.md, section 2): the host's wall clock, and the count of
 * instructions executed. Time is in nanoseconds since power-on and never goes back.
 *
 * Timers that are due fire in order of deadline, then of registration, so that a run on the virtual
 * clock is reproducible. A timer is not state: its device keeps the deadline in its own state
 * struct and sets the timer again after a restore. */
#ifndef ISHI_BASE_CLOCK_H
#define ISHI_BASE_CLOCK_H

#include "base/bits.h"

#define NS_PER_S     1000000000ull
#define CLOCK_NEVER  (~0ull)
#define CLOCK_TIMERS 256 /* at most so many timers on one clock */

struct timer {
    const char *name;
    void (*fire)(void *opaque); /* called with the timer already unset; may set it again */
    void *opaque;
    struct clock *clock;
    uint64_t deadline; /* ns; CLOCK_NEVER when not set */
};

struct clock {
    uint64_t (*source)(void *opaque); /* ns since power-on, not going back */
    void *opaque;
    uint64_t next; /* earliest deadline of all, ns */
    unsigned timer_count;
    struct timer *timers[CLOCK_TIMERS]; /* in order of registration */
    /* Called when `next` became earlier, so that an engine can shorten its slice. May be NULL. */
    void (*sooner)(void *opaque);
};

void clock_init(struct clock *c, uint64_t (*source)(void *), void *opaque);

static inline uint64_t clock_now(const struct clock *c)
{
    return c->source(c->opaque);
}

/* Fires every timer whose deadline is at or before now. A timer that is set again for a past time
 * by its own function fires again in the same call. */
void clock_run(struct clock *c);

/* Ties a timer to a clock, unset, for the life of both. */
void timer_init(struct timer *t, struct clock *c, const char *name, void (*fire)(void *),
                void *opaque);
/* Sets or moves the deadline, in ns; CLOCK_NEVER unsets. */
void timer_set(struct timer *t, uint64_t deadline);

static inline bool timer_is_set(const struct timer *t)
{
    return t->deadline != CLOCK_NEVER;
}

#endif
