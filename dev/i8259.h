/* i8259: the pair of interrupt controllers of a PC (Intel 8259A data sheet), and the ELCR of PCI
 * boards that makes single inputs level-triggered.
 *
 * Inputs 0 to 15 (2 is the cascade). The board connects INTR to the CPU, and the CPU takes the
 * vector with i8259_ack, which is the pair of INTA cycles. An edge stays requested when its line
 * falls again before that, as later chip sets have it. */
#ifndef ISHI_DEV_I8259_H
#define ISHI_DEV_I8259_H

#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

struct i8259_chip {
    uint8_t line; /* levels of the inputs */
    uint8_t irr, isr, imr;
    uint8_t elcr;   /* bit set: level-triggered */
    uint8_t base;   /* vector of input 0, a multiple of 8 */
    uint8_t lowest; /* the input of lowest priority, 0..7 */
    uint8_t icw;    /* the ICW that is expected next: 2..4; 0: none */
    bool need_icw4, single, ltim;
    bool aeoi, rotate_aeoi, sfnm, special_mask;
    bool read_isr, poll; /* what the next read gives */
};

struct i8259_state {
    struct i8259_chip chip[2]; /* master, slave */
};

extern const struct state_table i8259_table;

struct i8259 {
    struct i8259_state s;
    struct region io[2]; /* 2 ports each: master 0x20, slave 0xa0 */
    struct region elcr;  /* 2 ports: 0x4d0 */
    const struct log *log;
    struct irq intr;
};

void i8259_init(struct i8259 *p, const struct log *log, struct irq intr);
void i8259_reset(struct i8259 *p);
void i8259_restore(struct i8259 *p);
/* Drives an input, 0..15. Fits struct irq's set, with the pair as opaque. */
void i8259_set(void *pair, unsigned n, bool level);
/* Is INTR up? */
bool i8259_pending(const struct i8259 *p);
/* INTA: takes the most urgent request into service and returns its vector; the spurious vector
 * (input 7 of the chip that was asked) if there is none any more. */
uint8_t i8259_ack(struct i8259 *p);

#endif
