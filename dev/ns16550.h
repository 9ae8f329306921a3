/* ns16550: the serial port of a PC (National Semiconductor PC16550D data sheet).
 *
 * A byte written to THR is on the wire at once, so THR and the transmitter are always empty; the
 * THRE interrupt still comes and goes as the data sheet says. Received bytes wait in the FIFO (16
 * bytes, or one with the FIFO off); room() tells the back end how many fit, so nothing overruns.
 * The receive time-out runs on the clock: four characters at the programmed speed.
 *
 * Input waits outside until the guest listens: until it raises RTS, enables the receive interrupt
 * or polls LSR over and over. Otherwise a driver that clears the FIFO when it starts would lose the
 * first bytes of a script that is piped in.
 *
 * OUT2 doesn't gate the interrupt, unlike on a PC's board: xv6 never sets it. */
#ifndef ISHI_DEV_NS16550_H
#define ISHI_DEV_NS16550_H

#include "backend/chardev.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

#define NS16550_FIFO 16

struct ns16550_state {
    uint64_t timeout_at; /* ns: when the receive time-out strikes; CLOCK_NEVER: not running */
    uint8_t ier, lcr, mcr, lsr, msr, scr, fcr;
    uint8_t dll, dlm;    /* divisor latch */
    bool thre_pending;   /* the THRE interrupt has a cause that wasn't seen yet */
    bool timed_out;      /* the receive time-out interrupt is due */
    uint8_t head, count; /* of the receive FIFO */
    uint8_t lsr_polls;   /* reads of LSR with nothing sent in between; saturates */
    uint8_t unused[2];   /* 0 */
    uint8_t fifo[NS16550_FIFO];
    uint8_t error[NS16550_FIFO]; /* LSR error bits that came with each byte */
};

extern const struct state_table ns16550_table;

struct ns16550 {
    struct ns16550_state s;
    struct region io; /* 8 ports */
    struct timer timeout;
    struct clock *clock;
    const struct log *log;
    struct irq irq;
    bool level; /* what the line was last told; it is told on changes alone */
    struct chardev *chr;
};

/* chr may be NULL: nothing is plugged in. Fills chr->sink. */
void ns16550_init(struct ns16550 *u, const char *name, struct clock *clock, const struct log *log,
                  struct irq irq, struct chardev *chr);
void ns16550_reset(struct ns16550 *u);
/* After s was filled from outside: timers and the interrupt line again. */
void ns16550_restore(struct ns16550 *u);

#endif
