/* ioapic: the I/O APIC (Intel 82093AA data sheet; version 0x20 with the EOI register, as in ICH).
 *
 * 24 inputs. A line that is up is active, whatever polarity its entry says: the board's wires carry
 * no polarity. Messages go out through a callback, which says whether a CPU took it. */
#ifndef ISHI_DEV_IOAPIC_H
#define ISHI_DEV_IOAPIC_H

#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "dev/lapic.h"

#define IOAPIC_PINS 24

struct ioapic_state {
    uint64_t entry[IOAPIC_PINS]; /* redirection table */
    uint32_t line;               /* levels of the inputs */
    uint32_t irr;                /* edges that wait */
    uint32_t id;                 /* as register 0 reads */
    uint32_t select;             /* IOREGSEL, 8 bits */
};

extern const struct state_table ioapic_table;

struct ioapic {
    struct ioapic_state s;
    struct region mmio; /* one page: 0xfec00000 */
    const struct log *log;
    struct apic_bus *bus;
};

/* Also becomes the listener for the bus's EOIs. id: 0..15. */
void ioapic_init(struct ioapic *a, uint8_t id, struct apic_bus *bus, const struct log *log);
void ioapic_reset(struct ioapic *a);
void ioapic_restore(struct ioapic *a);
/* Drives an input. Fits struct irq's set. */
void ioapic_set(void *ioapic, unsigned pin, bool level);

#endif
