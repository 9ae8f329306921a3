/* An interrupt line: one wire from a device to whatever listens. Level is what the wire carries; an
 * edge-triggered input sees the change. The board makes the wires; a device only drives its end. */
#ifndef ISHI_BUS_IRQ_H
#define ISHI_BUS_IRQ_H

#include "base/bits.h"

struct irq {
    void (*set)(void *opaque, unsigned n, bool level); /* NULL: not connected */
    void *opaque;
    unsigned n; /* the listener's input number */
};

/* Drives the wire. Telling a listener the same level twice must be harmless to it. */
static inline void irq_set(const struct irq *i, bool level)
{
    if (i->set)
        i->set(i->opaque, i->n, level);
}

/* Low, high, low: one edge. */
static inline void irq_pulse(const struct irq *i)
{
    irq_set(i, true);
    irq_set(i, false);
}

#endif
