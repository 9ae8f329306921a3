/* The timer of a local APIC (SDM 3A 11.5.4); a part of lapic.c that stands by itself.
 *
 * The count is computed when somebody looks: `timer_count` ticks were left at `timer_start`. Once
 * it has run out it is 0, or starts over at the initial count in periodic mode. */
#ifndef ISHI_DEV_LAPIC_TIMER_H
#define ISHI_DEV_LAPIC_TIMER_H

#include "dev/lapic.h"

void lapic_timer_init(struct lapic *l);
/* After a load of the state. */
void lapic_timer_restore(struct lapic *l);
/* Waits for the next expiry, as the state says. */
void lapic_timer_arm(struct lapic *l);
/* The LVT register was written; it was `old`. */
void lapic_timer_mode(struct lapic *l, uint32_t old);
/* Initial count and divide registers; current count. */
void lapic_timer_start(struct lapic *l, uint32_t initial);
void lapic_timer_divide(struct lapic *l, uint32_t divide);
uint32_t lapic_timer_current(const struct lapic *l);
/* What the counter and its initial count are now; the mode is in the LVT register already. */
void lapic_timer_put(struct lapic *l, uint32_t initial, uint32_t count);
/* Some time after that: waits for the end of that count, be it past, or for the deadline, which the
 * time-stamp counter may have moved meanwhile. */
void lapic_timer_go_on(struct lapic *l);
/* IA32_TSC_DEADLINE. */
uint64_t lapic_timer_deadline(const struct lapic *l);
void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc);

/* lapic.c: the timer expired. */
void lapic_timer_interrupt(struct lapic *l);

#endif
