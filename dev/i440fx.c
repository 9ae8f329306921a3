#include "dev/i440fx.h"

enum { READ_RAM = 1, WRITE_RAM = 2, UNPLACED = 0xff };

/* A segment whose reads go to the ROM, or nowhere, and whose writes may reach RAM all the same. */
static uint64_t segment_read(void *dev, uint64_t offset, unsigned size)
{
    return ~0ull;
}

static void segment_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    const struct i440fx_segment *g = dev;
    struct bus *b = g->bridge->bus;
    if (!(g->access & WRITE_RAM))
        return;
    memcpy(b->ram + g->base + offset, &value, size);
    bus_mark(&b->page_flags[(g->base + offset) >> PAGE_SHIFT], PAGE_DIRTY);
}

static const struct region_ops segment_ops = {segment_read, segment_write, 1 | 2 | 4 | 8};

static void segment_apply(struct i440fx *h, struct i440fx_segment *g, uint8_t access)
{
    struct region *r = &g->region;
    struct err e;
    if (access == g->access)
        return;
    g->access = access;
    bus_remove(h->bus, r);
    if (access == (READ_RAM | WRITE_RAM))
        return;
    r->rom = true;
    if (access & READ_RAM)
        r->host = h->bus->ram + g->base;
    else if (h->rom && g->base >= 0x100000 - I440FX_ROM_SIZE)
        r->host = h->rom + (g->base - (0x100000 - I440FX_ROM_SIZE));
    else
        r->host = NULL;
    if (!bus_add(h->bus, BUS_MEM, g->base, r, &e))
        LOG(h->log, PCI, "i440fx: %s", e.text);
}

/* PAM0's high nibble is 0xf0000 to 0xfffff; PAM1 to PAM6 have 16 KiB a nibble from 0xc0000 up. */
void i440fx_restore(struct i440fx *h)
{
    const uint8_t *pam = h->pci.s.config + I440FX_PAM;
    for (unsigned i = 0; i < 12; i++)
        segment_apply(h, &h->segment[i], pam[1 + i / 2] >> (i & 1 ? 4 : 0) & 3);
    segment_apply(h, &h->segment[12], pam[0] >> 4 & 3);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    struct i440fx *h = opaque;
    if (offset < I440FX_PAM + 7 && offset + size > I440FX_PAM)
        i440fx_restore(h);
}

void i440fx_init(struct i440fx *h, struct pci_bus *pci, uint8_t *rom, const struct log *log)
{
    static const struct pci_ids ids = {0x8086, 0x1237, 0x060000, 2, 0x1af4, 0x1100, 0};
    *h = (struct i440fx){.rom = rom, .bus = pci->bus, .log = log};
    CHECK(bus_ram_low(pci->bus) >= 0x100000);
    pci_func_init(&h->pci, "i440fx", &ids);
    h->pci.config_written = config_written;
    h->pci.opaque = h;
    h->pci.image[PCI_COMMAND] = 6;
    h->pci.image[PCI_STATUS + 1] = 2; /* medium DEVSEL timing */
    h->pci.image[I440FX_SMRAM] = 2;
    h->pci.wmask[I440FX_SMRAM] = 0x78;
    memset(h->pci.wmask + 0x50, 0xff, 9);
    memset(h->pci.wmask + I440FX_PAM, 0x33, 7);
    h->pci.wmask[I440FX_PAM] = 0x30;
    memset(h->pci.wmask + 0x60, 0xff, 8); /* DRAM row boundaries: the firmware's notes */
    if (!rom) {
        memset(h->pci.image + I440FX_PAM, 0x33, 7);
        h->pci.image[I440FX_PAM] = 0x30;
    }
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++) {
        struct i440fx_segment *g = &h->segment[i];
        g->bridge = h;
        g->base = 0xc0000 + 0x4000 * i;
        g->size = i == 12 ? 0x10000 : 0x4000;
        g->access = UNPLACED;
        g->region =
            (struct region){.name = "shadow", .size = g->size, .ops = &segment_ops, .dev = g};
    }
    pci_add(pci, &h->pci, PCI_DEVFN(0, 0));
    i440fx_restore(h);
}
