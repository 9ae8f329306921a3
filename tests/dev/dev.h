/* What the chip tests share: a clock that the test turns, wires that remember, and ports. */
#ifndef ISHI_TESTS_DEV_H
#define ISHI_TESTS_DEV_H

#include "base/clock.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static uint64_t dev_time; /* ns */

static inline uint64_t dev_time_source(void *opaque)
{
    return dev_time;
}

/* Turns the clock to `ns`, stopping at each deadline on the way, as an engine does. */
static inline void dev_until(struct clock *c, uint64_t ns)
{
    while (c->next <= ns) {
        dev_time = c->next > dev_time ? c->next : dev_time;
        clock_run(c);
    }
    dev_time = ns;
}

static inline void dev_pass(struct clock *c, uint64_t ns)
{
    dev_until(c, dev_time + ns);
}

static inline void dev_clock(struct clock *c)
{
    dev_time = 0;
    clock_init(c, dev_time_source, NULL);
}

struct wire {
    bool level;
    unsigned rises;
};

static inline void wire_set(void *opaque, unsigned n, bool level)
{
    struct wire *w = (struct wire *)opaque + n;
    w->rises += level && !w->level;
    w->level = level;
}

static inline struct irq wire_irq(struct wire *w)
{
    return (struct irq){wire_set, w, 0};
}

static inline unsigned in(const struct region *r, unsigned offset)
{
    return (unsigned)r->ops->read(r->dev, offset, 1);
}

static inline void out(const struct region *r, unsigned offset, unsigned v)
{
    r->ops->write(r->dev, offset, 1, v);
}

#define assert_table_ok(table)           \
    do {                                 \
        struct err e_;                   \
        if (!state_check(&(table), &e_)) \
            fail_msg("%s", e_.text);     \
    } while (0)

#endif
