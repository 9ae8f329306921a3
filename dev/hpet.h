/* hpet: the high precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter of 100 MHz
 * and three comparators.
 *
 * The counter is computed from the clock; only a comparator whose interrupt is on waits on a timer.
 * In legacy replacement mode comparators 0 and 1 take the place of the interval timer and the
 * real-time clock, which the board then mutes. */
#ifndef ISHI_DEV_HPET_H
#define ISHI_DEV_HPET_H

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

#define HPET_TIMERS  3
#define HPET_TICK_NS 10
#define HPET_PINS    24

struct hpet_timer {
    uint64_t config;
    uint64_t comparator;
    uint64_t period;   /* periodic mode: the last value written to the comparator */
    uint64_t deadline; /* ns: of its next match; CLOCK_NEVER: nobody waits for it */
    uint64_t seen;     /* counter up to which matches have been dealt with */
};

struct hpet_state {
    struct hpet_timer timer[HPET_TIMERS];
    uint64_t config;  /* bit 0 on, bit 1 legacy replacement */
    uint64_t status;  /* bit n: comparator n's level interrupt is up */
    uint64_t counter; /* at `start`; while off: as it stands */
    uint64_t start;   /* ns: when it was switched on */
};

extern const struct state_table hpet_table;

/* Where the interrupts go. */
struct hpet_wires {
    uint32_t routes;           /* bit n: pin n can be chosen */
    struct irq pin[HPET_PINS]; /* of the I/O APIC */
    struct irq legacy[2];      /* in the places of the interval timer and the real-time clock */
    struct irq legacy_on;      /* up in legacy replacement mode */
};

struct hpet {
    struct hpet_state s;
    struct region mmio; /* 1 KiB: 0xfed00000 */
    struct timer timer[HPET_TIMERS];
    struct hpet_unit {
        struct hpet *hpet;
        unsigned n;
    } unit[HPET_TIMERS];
    struct clock *clock;
    const struct log *log;
    struct hpet_wires wires;
};

void hpet_init(struct hpet *h, struct clock *clock, const struct log *log,
               const struct hpet_wires *wires);
void hpet_reset(struct hpet *h);
void hpet_restore(struct hpet *h);

#endif
