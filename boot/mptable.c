#include "boot/mptable.h"

#include "boot/internal.h"

enum { MP_PROC, MP_BUS, MP_IOAPIC, MP_IOINT, MP_LINT };
enum { INT_NORMAL, INT_NMI, INT_SMI, INT_EXT };

#define BUS_PCI_ID 0
#define BUS_ISA_ID 1

/* Polarity (bits 0, 1) and trigger (2, 3) of an interrupt entry; 0: as the bus has it. */
#define FLAG_HIGH_LEVEL 0x000d
#define FLAG_LOW_LEVEL  0x000f

struct table {
    uint8_t *p;
    unsigned len, entries;
};

static uint8_t *entry(struct table *t, uint8_t type, unsigned size)
{
    CHECK(t->len + size <= MP_TABLE_MAX);
    uint8_t *p = t->p + t->len;
    memset(p, 0, size);
    p[0] = type;
    t->len += size;
    t->entries++;
    return p;
}

static void bus(struct table *t, uint8_t id, const char name[6])
{
    uint8_t *p = entry(t, MP_BUS, 8);
    p[1] = id;
    memcpy(p + 2, name, 6);
}

static void interrupt(struct table *t, uint8_t entry_type, uint8_t kind, uint16_t flags,
                      uint8_t bus_id, uint8_t bus_irq, uint8_t apic, uint8_t pin)
{
    uint8_t *p = entry(t, entry_type, 8);
    p[1] = kind;
    put_le16(p + 2, flags);
    p[4] = bus_id;
    p[5] = bus_irq;
    p[6] = apic;
    p[7] = pin;
}

static void interrupts(struct table *t, const struct boot_config *cfg)
{
    if (cfg->pirq_gsi[0])
        for (unsigned slot = 0; slot < 32; slot++)
            for (unsigned pin = 0; pin < 4; pin++)
                interrupt(t, MP_IOINT, INT_NORMAL, FLAG_LOW_LEVEL, BUS_PCI_ID,
                          (uint8_t)(slot << 2 | pin), cfg->ioapic_id,
                          cfg->pirq_gsi[boot_pirq(slot, pin)]);
    for (uint8_t irq = 0; irq < 16; irq++) {
        if (irq == 2) /* the cascade; its pin takes the timer */
            continue;
        interrupt(t, MP_IOINT, INT_NORMAL, irq == cfg->sci_irq ? FLAG_HIGH_LEVEL : 0, BUS_ISA_ID,
                  irq, cfg->ioapic_id, irq ? irq : 2);
    }
    interrupt(t, MP_LINT, INT_EXT, 0, BUS_ISA_ID, 0, 0xff, 0);
    interrupt(t, MP_LINT, INT_NMI, 0, BUS_ISA_ID, 0, 0xff, 1);
}

unsigned mp_table(const struct boot_config *cfg, uint8_t to[MP_TABLE_MAX])
{
    struct table t = {to, 44, 0};
    memset(to, 0, 44);
    for (unsigned i = 0; i < cfg->cpus; i++) {
        uint8_t *p = entry(&t, MP_PROC, 20);
        p[1] = (uint8_t)i;
        p[2] = 0x14;            /* local APIC version */
        p[3] = i == 0 ? 3 : 1;  /* enabled; the first boots */
        put_le32(p + 4, 0x600); /* family 6 */
        put_le32(p + 8, 0x201); /* FPU, APIC */
    }
    bus(&t, BUS_PCI_ID, "PCI   ");
    bus(&t, BUS_ISA_ID, "ISA   ");
    uint8_t *p = entry(&t, MP_IOAPIC, 8);
    p[1] = cfg->ioapic_id;
    p[2] = 0x11;
    p[3] = 1; /* usable */
    put_le32(p + 4, cfg->ioapic_base);
    interrupts(&t, cfg);

    memcpy(to, "PCMP", 4);
    put_le16(to + 4, (uint16_t)t.len);
    to[6] = 4; /* version 1.4 */
    memcpy(to + 8, "ISHI    ", 8);
    memcpy(to + 16, "PC          ", 12);
    put_le16(to + 34, (uint16_t)t.entries);
    put_le32(to + 36, cfg->lapic_base);
    to[7] = boot_checksum(to, t.len);
    return t.len;
}

void mp_float(uint32_t table, uint8_t to[MP_FLOAT_SIZE])
{
    memset(to, 0, MP_FLOAT_SIZE);
    memcpy(to, "_MP_", 4);
    put_le32(to + 4, table);
    to[8] = 1; /* of 16 bytes */
    to[9] = 4; /* version 1.4 */
    to[10] = boot_checksum(to, MP_FLOAT_SIZE);
}
