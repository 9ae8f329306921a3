/* The PCI bus and what is on it, under any sequence of accesses: configuration space and BARs, IDE
 * registers, packets and descriptor tables, VGA registers and memory, and hostile states.
 *
 * Eight bytes of input are one access; the input also fills the guest's memory, so that descriptor
 * tables are hostile too. */
#include "dev/i440fx.h"
#include "dev/ide.h"
#include "dev/piix3.h"
#include "dev/vga.h"
#include "fuzz/disk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM (2u << 20)

struct board {
    struct bus bus;
    struct clock clock;
    struct pci_bus pci;
    struct i440fx host;
    struct piix3 isa;
    struct piix4_pm pm;
    struct ide ide;
    struct vga vga;
    uint64_t now;
    unsigned captures;
};

static uint64_t get_now(void *opaque)
{
    return ((struct board *)opaque)->now;
}

static void build(struct board *b, uint8_t *ram, uint8_t *rom, struct blockdev dev[2])
{
    static const struct irq none[2];
    static const uint8_t irq[4] = {10, 10, 11, 11};
    bus_init(&b->bus, ram, RAM, NULL);
    clock_init(&b->clock, get_now, b);
    pci_init(&b->pci, &b->bus, NULL);
    i440fx_init(&b->host, &b->pci, rom, NULL);
    piix3_init(&b->isa, &b->pci, NULL, NULL, NULL);
    piix4_pm_init(&b->pm, &b->pci, NULL, NULL);
    ide_init(&b->ide, &b->pci, &b->clock, none, NULL);
    ide_attach(&b->ide, 0, 0, IDE_DISK, &dev[0]);
    ide_attach(&b->ide, 0, 1, IDE_DISK, &dev[1]);
    ide_attach(&b->ide, 1, 0, IDE_CDROM, &dev[1]);
    ide_attach(&b->ide, 1, 1, IDE_CDROM, NULL);
    vga_init(&b->vga, &b->pci, PCI_DEVFN(2, 0), &b->clock, NULL);
    for (unsigned i = 0; i < 4; i++)
        b->pci.pirq[i] = (struct irq){piix3_pirq, &b->isa, i};
    bus_add(&b->bus, BUS_PORT, 0xcf8, &b->pci.ports, NULL);
    bus_add(&b->bus, BUS_PORT, 0x1f0, &b->ide.ch[0].command, NULL);
    bus_add(&b->bus, BUS_PORT, 0x3f6, &b->ide.ch[0].control, NULL);
    bus_add(&b->bus, BUS_PORT, 0x170, &b->ide.ch[1].command, NULL);
    bus_add(&b->bus, BUS_PORT, 0x376, &b->ide.ch[1].control, NULL);
    bus_add(&b->bus, BUS_PORT, 0x1ce, &b->vga.vbe_ports, NULL);
    bus_add(&b->bus, BUS_PORT, 0x3b0, &b->vga.ports, NULL);
    bus_add(&b->bus, BUS_MEM, 0xa0000, &b->vga.window, NULL);
    pci_assign(&b->pci, 0xc000, 0xe0000000, 0xf0000000, irq);
}

static void capture(struct board *b, bool pixels)
{
    struct screen s;
    if (b->captures++ < 4)
        vga_capture(&b->vga, &s, pixels);
}

/* A loaded state is hostile as well: one byte of a chip's state becomes anything. */
static void damage(void *state, size_t size, uint32_t at, uint8_t value)
{
    ((uint8_t *)state)[at % size] = value;
}

static void restore(struct board *b, unsigned which, uint32_t at, uint8_t value)
{
    switch (which % 5) {
    case 0: damage(&b->ide.s.ch[0].drive[0], 96, at, value); break;
    case 1: damage(&b->ide.s.ch[1].drive[0], 96, at, value); break;
    case 2: damage(&b->ide.s, sizeof b->ide.s, at, value); break;
    case 3: damage(&b->vga.s, sizeof b->vga.s, at, value); break;
    default: damage(&b->ide.pci.s, sizeof b->ide.pci.s, at, value); break;
    }
    pci_restore(&b->pci);
    i440fx_restore(&b->host);
    piix4_pm_restore(&b->pm);
    ide_restore(&b->ide);
    vga_restore(&b->vga);
}

static void access(struct board *b, bool in, uint16_t port, unsigned size, uint32_t value)
{
    if (in)
        bus_in(&b->bus, port, size);
    else
        bus_out(&b->bus, port, size, value);
}

static void step(struct board *b, const uint8_t *d)
{
    static const uint16_t base[] = {0x1f0, 0x170, 0xc000, 0x3c0, 0x3d0, 0x1ce, 0x3f6, 0xcf8};
    static const uint8_t packet[] = {0x28, 0xa8, 0xbe, 0x43, 0x5a, 0x4a, 0x46, 0x12};
    uint32_t value = get_le32(d + 4);
    unsigned size = 1u << (d[1] & 3) % 3;
    bool in = d[1] & 4;
    switch (d[0] % 10) {
    case 0:
    case 1:
    case 2: access(b, in, (uint16_t)(base[d[2] & 7] + (d[3] & 15)), size, value); break;
    case 3: pci_config_write(&b->pci, d[2], d[3] & ~(size - 1), size, value); break;
    case 4:
        if (in)
            bus_read(&b->bus, 0xa0000 + (value & 0x1fff8), size);
        else
            bus_write(&b->bus, 0xa0000 + (value & 0x1fff8), size, value * 0x9e3779b9);
        break;
    case 5:
        b->now += get_le16(d + 4) * 16u;
        clock_run(&b->clock);
        break;
    case 6: capture(b, in); break;
    case 7: /* a packet, most of it as it should be */
        bus_out(&b->bus, 0x176, 1, d[3] & 0x10);
        bus_out(&b->bus, 0x171, 1, d[3] & 1);
        bus_out(&b->bus, 0x174, 2, get_le16(d + 6));
        bus_out(&b->bus, 0x177, 1, 0xa0);
        bus_out(&b->bus, 0x170, 4, packet[d[1] >> 3 & 7] | d[3] << 8);
        bus_out(&b->bus, 0x170, 4, get_le16(d + 4) << 8);
        bus_out(&b->bus, 0x170, 4, value);
        break;
    case 8: /* the data port, in bulk */
        for (unsigned i = 0; i < d[3] * 4u; i++)
            access(b, in, d[2] & 1 ? 0x170 : 0x1f0, size, value);
        break;
    default: restore(b, d[1], get_le16(d + 4), d[3]); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t *ram, *rom;
    struct blockdev dev[2] = {{&disk_ops, NULL, DISK_BYTES, false, "disk"},
                              {&disk_ops, NULL, DISK_BYTES - 700, true, "cd"}};
    struct board *b = xcalloc(1, sizeof *b);
    if (!ram) {
        ram = aligned_alloc(PAGE_SIZE, RAM);
        rom = aligned_alloc(PAGE_SIZE, I440FX_ROM_SIZE);
        memset(rom, 0, I440FX_ROM_SIZE);
    }
    memset(ram, 0, RAM);
    for (size_t i = 0; n && i < 0x4000; i += n)
        memcpy(ram + i, data, min_u64(n, 0x4000 - i));
    memset(disk, 0, sizeof disk);
    build(b, ram, rom, dev);
    for (unsigned i = 0; i < 400 && n >= 8; i++, data += 8, n -= 8)
        step(b, data);
    vga_free(&b->vga);
    bus_free(&b->bus);
    free(b);
    return 0;
}
