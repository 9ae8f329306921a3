/* i8254: the interval timer of a PC (Intel 8254 data sheet), with the parts of port 0x61 that hang
 * on it: the gate and output of channel 2, the speaker bit and the refresh toggle.
 *
 * Nothing ticks. A channel remembers at which tick of the 1.193182 MHz clock it was loaded; its
 * count and its output are computed from the present tick. Only channel 0's output is a wire (IRQ
 * 0), so only it has a timer. The low phase of modes 2, 4 and 5, one tick long, is passed on as a
 * fall and a rise at once.
 *
 * Channel 1 (DRAM refresh) works like the others; the refresh toggle of port 0x61 doesn't depend on
 * it, since some guests never program it. */
#ifndef ISHI_DEV_I8254_H
#define ISHI_DEV_I8254_H

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

#define I8254_HZ 1193182ull

struct i8254_channel {
    uint64_t start;     /* tick at which counting began (may be the next one); see `counting` */
    uint64_t elapsed;   /* ticks counted when it was stopped, valid while not counting */
    uint64_t reload_at; /* tick at which `next` takes over; CLOCK_NEVER: no new count waits */
    uint32_t reload;    /* initial count, 1..65536 (10000 in BCD) */
    uint32_t next;
    uint16_t latch; /* latched count, as the guest reads it */
    uint8_t mode;   /* 0..5 */
    uint8_t rw;     /* 1: low byte, 2: high byte, 3: low then high */
    uint8_t status; /* latched status byte */
    uint8_t low;    /* the low byte that was written first */
    bool bcd, gate;
    bool loaded; /* a count was written since the control word */
    bool counting;
    bool triggered;             /* modes 1 and 5: a gate edge came */
    bool write_high, read_high; /* rw 3: the high byte is next */
    uint8_t latched;            /* bytes of `latch` still to read */
    bool status_latched;
    uint8_t unused[9]; /* 0 */
};

struct i8254_state {
    struct i8254_channel ch[3];
    uint64_t deadline; /* ns: of its next edge; CLOCK_NEVER: none */
    uint64_t fired;    /* tick up to which channel 0's edges were passed on */
    bool speaker;      /* port 0x61 bit 1 */
    bool irq_level;
    bool touched;      /* by a guest, since the reset */
    uint8_t unused[5]; /* 0 */
};

extern const struct state_table i8254_table;

struct i8254 {
    struct i8254_state s;
    struct region io;     /* 4 ports: 0x40 */
    struct region port61; /* 1 port */
    struct timer timer;
    struct clock *clock;
    const struct log *log;
    struct irq irq;
};

void i8254_init(struct i8254 *p, struct clock *clock, const struct log *log, struct irq irq);
void i8254_reset(struct i8254 *p);
void i8254_restore(struct i8254 *p);

/* For who takes its place for a time (dev/chips.h). Passes on what happened up to now, and waits
 * for nothing more; counts that were due have taken over. */
void i8254_pause(struct i8254 *p);
/* Goes on from the state that it has now: edges before are somebody else's. */
void i8254_resume(struct i8254 *p);
/* The present tick; those that a channel has counted, as far as its state says. */
uint64_t i8254_tick(const struct i8254 *p);
uint64_t i8254_elapsed(const struct i8254 *p, unsigned channel);

#endif
