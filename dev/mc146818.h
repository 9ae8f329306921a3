/* mc146818: the real-time clock and 128 bytes of battery-backed memory of a PC (Motorola MC146818
 * data sheet, Intel PIIX4 for the century byte and the ports).
 *
 * The time is the start time that init was given plus the clock. Nothing ticks unless an interrupt
 * is enabled: registers and flags are computed when they are looked at.
 *
 * A second goes over at its end: UIP is up for the last 244 + 1984 us of it, then all registers
 * change at once and the update-ended flag comes. */
#ifndef ISHI_DEV_MC146818_H
#define ISHI_DEV_MC146818_H

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

struct mc146818_state {
    uint64_t base;     /* ns: when second number `seconds` began (may lie ahead after DV = reset) */
    uint64_t seconds;  /* since 1970-01-01 as the registers show it, at `base` */
    uint64_t chain;    /* ns: when the divider chain last started, for the periodic rate */
    uint64_t seen;     /* ns up to which the flags of register C are worked out */
    uint64_t deadline; /* ns: of the next event that would interrupt; CLOCK_NEVER: none */
    uint8_t index;     /* of port 0x70, without bit 7 */
    bool nmi_masked;   /* bit 7 of port 0x70 */
    uint8_t weekday;   /* days that the weekday register is ahead of the calendar's, 0..6 */
    uint8_t unused[5]; /* 0 */
    uint8_t cmos[128]; /* the time registers in it are stale unless time stands still */
};

extern const struct state_table mc146818_table;

struct mc146818 {
    struct mc146818_state s;
    struct region io; /* 2 ports: 0x70 */
    struct timer timer;
    struct clock *clock;
    const struct log *log;
    struct irq irq; /* IRQ 8 */
};

/* start: seconds since 1970 at time 0 of the clock. */
void mc146818_init(struct mc146818 *r, struct clock *clock, const struct log *log, struct irq irq,
                   uint64_t start);
/* RESET#: interrupts off; time and memory stay. */
void mc146818_reset(struct mc146818 *r);
void mc146818_restore(struct mc146818 *r);
/* For the board: memory sizes and boot order, which a BIOS looks for. index 0x0e..0x7f. */
void mc146818_set_nvram(struct mc146818 *r, uint8_t index, uint8_t value);

#endif
