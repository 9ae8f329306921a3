#include "dev/ioapic.h"

#define VERSION (0x20 | (IOAPIC_PINS - 1) << 16)

#define E_LOGICAL  0x0800u
#define E_STATUS   0x1000u
#define E_REMOTE   0x4000u
#define E_LEVEL    0x8000u
#define E_MASKED   0x10000u
#define E_READONLY (E_STATUS | E_REMOTE)
#define E_MODE(e)  ((e) >> 8 & 7)
#define E_WRITABLE 0xff0000000001afffull

/* clang-format off */
STATE_TABLE(ioapic_table, "ioapic", struct ioapic_state,
    STATE_ARRAY(struct ioapic_state, entry),
    STATE(struct ioapic_state, line),
    STATE(struct ioapic_state, irr),
    STATE(struct ioapic_state, id),
    STATE(struct ioapic_state, select));
/* clang-format on */

static bool is_level(uint64_t e)
{
    /* NMI, SMI, INIT and ExtINT are edges whatever the entry says. */
    return (e & E_LEVEL) && E_MODE(e) <= APIC_LOWEST;
}

static void service(struct ioapic *a, unsigned pin)
{
    uint64_t *e = &a->s.entry[pin];
    uint32_t bit = 1u << pin;
    bool level = is_level(*e);
    struct apic_msg m = {.dest = (uint32_t)(*e >> 56),
                         .vector = (uint8_t)*e,
                         .mode = E_MODE(*e),
                         .logical = *e & E_LOGICAL,
                         .level = level};
    if ((*e & E_MASKED) || !(level ? a->s.line & bit : a->s.irr & bit))
        return;
    if (level && (*e & E_REMOTE))
        return;
    if (!m.logical && m.dest == 0xff)
        m.dest = APIC_ALL;
    a->s.irr &= ~bit;
    /* Nobody there to take it: a level is tried again when something changes. */
    if (apic_bus_send(a->bus, &m) && level)
        *e |= E_REMOTE;
}

void ioapic_set(void *ioapic, unsigned pin, bool level)
{
    struct ioapic *a = ioapic;
    if (pin >= IOAPIC_PINS)
        return;
    uint32_t bit = 1u << pin;
    bool rises = level && !(a->s.line & bit);
    a->s.line = level ? a->s.line | bit : a->s.line & ~bit;
    /* An edge on a masked input is lost (data sheet 3.2.4). */
    if (rises && !is_level(a->s.entry[pin]) && !(a->s.entry[pin] & E_MASKED))
        a->s.irr |= bit;
    service(a, pin);
}

static void eoi(void *opaque, uint8_t vector)
{
    struct ioapic *a = opaque;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *e = &a->s.entry[pin];
        if (!(*e & E_REMOTE) || (uint8_t)*e != vector)
            continue;
        *e &= ~(uint64_t)E_REMOTE;
        service(a, pin); /* still up: again */
    }
}

static uint32_t read_register(const struct ioapic *a)
{
    unsigned r = a->s.select;
    if (r >= 0x10 && r < 0x10 + 2 * IOAPIC_PINS)
        return (uint32_t)(a->s.entry[(r - 0x10) / 2] >> (r & 1) * 32);
    switch (r) {
    case 0:
    case 2: return a->s.id; /* the arbitration ID is taken from the ID */
    case 1: return VERSION;
    default: return 0;
    }
}

static void write_entry(struct ioapic *a, unsigned pin, bool high, uint32_t v)
{
    uint64_t *e = &a->s.entry[pin], fresh;
    fresh = high ? (uint32_t)*e | (uint64_t)v << 32 : (*e & ~0xffffffffull) | v;
    *e = (fresh & E_WRITABLE) | (*e & E_READONLY);
    if (!(*e & E_LEVEL))
        *e &= ~(uint64_t)E_REMOTE; /* how Linux ends an interrupt on an I/O APIC without EOI */
    if ((*e & E_MASKED) || is_level(*e))
        a->s.irr &= ~(1u << pin);
    service(a, pin);
}

static void write_register(struct ioapic *a, uint32_t v)
{
    unsigned r = a->s.select;
    if (r >= 0x10 && r < 0x10 + 2 * IOAPIC_PINS)
        write_entry(a, (r - 0x10) / 2, r & 1, v);
    else if (r == 0)
        a->s.id = v & 0x0f000000;
}

static uint64_t ioapic_read(void *dev, uint64_t offset, unsigned size)
{
    const struct ioapic *a = dev;
    switch (offset) {
    case 0x00: return a->s.select;
    case 0x10: return read_register(a);
    default: return 0;
    }
}

static void ioapic_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *a = dev;
    switch (offset) {
    case 0x00: a->s.select = value & 0xff; break;
    case 0x10:
        if (size >= 4)
            write_register(a, (uint32_t)value);
        break;
    case 0x40: eoi(a, (uint8_t)value); break;
    default: LOG(a->log, DEV, "ioapic: write to offset %#x", (unsigned)offset); break;
    }
}

static const struct region_ops ioapic_ops = {ioapic_read, ioapic_write, 1 | 2 | 4 | 8};

void ioapic_reset(struct ioapic *a)
{
    a->s.select = a->s.irr = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        a->s.entry[i] = E_MASKED;
}

void ioapic_restore(struct ioapic *a)
{
    a->s.select &= 0xff;
}

void ioapic_init(struct ioapic *a, uint8_t id, struct apic_bus *bus, const struct log *log)
{
    *a = (struct ioapic){.log = log, .bus = bus};
    a->s.id = (uint32_t)(id & 15) << 24;
    a->mmio = (struct region){.name = "ioapic", .size = PAGE_SIZE, .ops = &ioapic_ops, .dev = a};
    bus->eoi = eoi;
    bus->opaque = a;
    ioapic_reset(a);
}
