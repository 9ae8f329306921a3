/* The interrupt controllers of a board, and its interval timer, as one thing that an engine may
 * take over: a kernel that runs the CPUs can have controllers of its own.
 *
 * While it has them, the states here are old, but for the levels of the inputs (and of the interval
 * timer's, if that went with them, not even its level); those the board hands on by `input`.
 * Whoever took them puts the states right again before it gives them back. */
#ifndef ISHI_DEV_CHIPS_H
#define ISHI_DEV_CHIPS_H

#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"

/* Who has them while an engine can choose. */
enum chips_wish {
    CHIPS_OURS,   /* we have */
    CHIPS_KERNEL, /* the kernel, or the engine does not join */
    CHIPS_AUTO,   /* the kernel, where it has all and they spare something; else we */
};

enum chips_input { CHIPS_PIC, CHIPS_IOAPIC };

struct irq_chips {
    struct i8259 *pic;
    struct ioapic *ioapic;
    struct i8254 *pit;
    struct apic_bus *apics; /* lapic[i] is CPU i's */
    enum chips_wish wish;
    bool kernels; /* the engine has others, which take these's place while it runs CPUs */
    bool pit_off; /* the HPET stands in for the interval timer's channel 0 */
    /* An input's level changed. NULL: nobody has taken the chips. */
    void (*input)(void *opaque, enum chips_input to, unsigned n, bool level);
    /* A message of a PCI device's to the local APICs; NULL as `input`. */
    void (*message)(void *opaque, uint64_t addr, uint32_t data);
    void *opaque;
};

/* Drive an input, 0..15 and 0..23, of whoever has the chips. */
void chips_pic(struct irq_chips *c, unsigned n, bool level);
void chips_ioapic(struct irq_chips *c, unsigned pin, bool level);
/* The same for a message: a write of `data` to the window at 0xfee00000. */
void chips_message(struct irq_chips *c, uint64_t addr, uint32_t data);

#endif
