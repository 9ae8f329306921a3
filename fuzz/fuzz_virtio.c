/* A virtio disk, its ring and its PCI transport, under any driver: rings, descriptors and requests
 * in memory that the input writes, any access to BARs and configuration space, passing time, and
 * damaged states.
 *
 * Eight bytes of input are one step. The driver begins as a good one, with a queue that works: an
 * input of nothing but pokes and bells reaches requests. */
#include "fuzz/disk.h"
#include "virtio/blk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM   (64u << 10)
#define BAR   0xe0000000u
#define MSIX  0xe0010000u
#define DEVFN PCI_DEVFN(3, 0)
#define STEPS 600

/* Close together, so that small numbers reach everything. */
#define DESC  0x000
#define AVAIL 0x100
#define USED  0x180
#define SIZE  8

struct board {
    struct bus bus;
    struct clock clock;
    struct pci_bus pci;
    struct virtio_blk blk;
    uint64_t now;
    unsigned messages;
};

static uint64_t get_now(void *opaque)
{
    return ((struct board *)opaque)->now;
}

static void on_message(void *opaque, uint64_t addr, uint32_t data)
{
    ((struct board *)opaque)->messages++;
}

static void put(struct board *b, unsigned at, unsigned size, uint64_t v)
{
    bus_write(&b->bus, BAR + at, size, v);
}

/* What a driver does first. */
static void drive(struct board *b, uint8_t how)
{
    put(b, 0x14, 1, 0);
    put(b, 0x14, 1, 3);
    put(b, 0x08, 4, 0);
    put(b, 0x0c, 4, how & 1 ? 0x30000200 : how & 2 ? 0x10000000 : 0);
    put(b, 0x08, 4, 1);
    put(b, 0x0c, 4, 1);
    put(b, 0x14, 1, 0xb);
    put(b, 0x16, 2, 0);
    put(b, 0x18, 2, SIZE);
    put(b, 0x20, 4, DESC);
    put(b, 0x28, 4, AVAIL);
    put(b, 0x30, 4, USED);
    put(b, 0x1a, 2, how >> 2 & 3);
    put(b, 0x1c, 2, 1);
    put(b, 0x14, 1, 0xf);
    pci_config_write(&b->pci, DEVFN, b->blk.virtio.msix.capability + 2, 2, how & 16 ? 0x8000 : 0);
    for (unsigned i = 0; i < 2; i++)
        bus_write(&b->bus, MSIX + 16 * i + 12, 4, 0);
}

static void build(struct board *b, uint8_t *ram, struct blockdev *dev, uint8_t how)
{
    bus_init(&b->bus, ram, RAM, NULL);
    clock_init(&b->clock, get_now, b);
    pci_init(&b->pci, &b->bus, NULL);
    b->pci.msi = on_message;
    b->pci.msi_opaque = b;
    virtio_blk_init(&b->blk, "virtio0", dev, &b->pci, DEVFN, &b->clock, NULL);
    pci_config_write(&b->pci, DEVFN, 0x14, 4, MSIX);
    pci_config_write(&b->pci, DEVFN, 0x20, 4, BAR);
    pci_config_write(&b->pci, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    drive(b, how);
}

/* A descriptor that is one, but for its numbers. */
static void lay(uint8_t *ram, const uint8_t *d)
{
    uint8_t *at = ram + DESC + 16 * (d[1] % 24); /* also behind the ring: indirect tables */
    put_le64(at, d[2] * 16u);
    put_le32(at + 8, d[3] & 0x80 ? d[4] * 512u : d[4]);
    put_le16(at + 12, d[5] & 7);
    put_le16(at + 14, d[6] % 12);
}

static void offer(uint8_t *ram, uint8_t head)
{
    uint16_t idx = get_le16(ram + AVAIL + 2);
    put_le16(ram + AVAIL + 4 + 2 * (idx % SIZE), head % 9);
    put_le16(ram + AVAIL + 2, (uint16_t)(idx + 1));
}

/* A request's header, most of it as it should be. */
static void head(uint8_t *ram, const uint8_t *d)
{
    static const uint8_t type[8] = {0, 1, 4, 8, 13, 11, 0, 1};
    uint8_t *at = ram + d[2] * 16u;
    put_le32(at, type[d[1] & 7]);
    put_le64(at + 8, d[3] & 0x80 ? get_le32(d + 4) * 0x100000001ull : d[4]);
}

static void desc(uint8_t *at, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
    put_le64(at, addr);
    put_le32(at + 8, len);
    put_le16(at + 12, (uint16_t)flags);
    put_le16(at + 14, (uint16_t)next);
}

/* A whole request as a driver makes it, in the ring or an indirect table. */
static void request(uint8_t *ram, const uint8_t *d)
{
    bool in = !(d[1] & 1), apart = d[1] & 8;
    uint8_t *table = ram + (apart ? 0x300 : DESC);
    uint8_t h[8] = {0, d[1], 0x20, 0, d[2], 0, 0, 0};
    head(ram, h);
    desc(table, 0x200, 16, 1, d[3] ? 1 : 2);
    desc(table + 16, 0x1000, (uint32_t)d[3] << (d[1] & 16 ? 13 : 9), in ? 3 : 1, 2);
    desc(table + 32, 0x280, 1, 2, 0);
    if (apart)
        desc(ram + DESC, 0x300, 48, 4, 0);
    offer(ram, 0);
}

static void damage(struct board *b, const uint8_t *d)
{
    struct virtio_pci *v = &b->blk.virtio;
    uint8_t *state[] = {(uint8_t *)&v->s, (uint8_t *)&v->msix.s, (uint8_t *)&v->pci.s};
    static const size_t size[] = {sizeof v->s, sizeof v->msix.s, sizeof v->pci.s};
    unsigned which = d[1] % 3;
    state[which][get_le16(d + 2) % size[which]] = d[4];
    state_clean(&virtio_table, &v->s);
    state_clean(&msix_table, &v->msix.s);
    pci_restore(&b->pci);
    virtio_pci_restore(v);
}

static void step(struct board *b, uint8_t *ram, const uint8_t *d)
{
    uint32_t value = get_le32(d + 4), at = get_le16(d + 2);
    unsigned size = 1u << (d[1] & 3) % 3;
    switch (d[0] % 13) {
    case 0: bus_read(&b->bus, BAR + at % 0x4000, size); break;
    case 1: put(b, at % 0x4000, size, value); break;
    case 2: put(b, at % 0x40, size, value); break;
    case 3: pci_config_write(&b->pci, DEVFN, d[2] & ~(size - 1), size, value); break;
    case 4: pci_config_read(&b->pci, DEVFN, d[2] & ~(size - 1), size); break;
    case 5:
        if (d[1] & 4)
            bus_read(&b->bus, MSIX + (at % 0x1000 & ~7u), 8);
        else
            bus_write(&b->bus, MSIX + (at % 0x1000 & ~3u), 4, value);
        break;
    case 6: lay(ram, d); break;
    case 7:
        if (d[2] & 1)
            offer(ram, d[1]);
        put(b, 0x3000, 2, 0);
        break;
    case 8: head(ram, d); break;
    case 9:
        b->now += at;
        clock_run(&b->clock);
        break;
    case 10: put_le32(ram + at % 0x1000, value); break;
    case 11: request(ram, d); break;
    default:
        if (d[1] & 1)
            damage(b, d);
        else
            drive(b, d[2]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t *ram;
    if (n < 8)
        return 0;
    struct blockdev dev = {&disk_ops, NULL, DISK_BYTES - 100, data[0] & 0x40, "disk"};
    struct board *b = xcalloc(1, sizeof *b);
    if (!ram)
        ram = aligned_alloc(PAGE_SIZE, RAM);
    memset(ram, 0, RAM);
    build(b, ram, &dev, data[0]);
    for (unsigned i = 0; i < STEPS && n >= 16; i++, n -= 8)
        step(b, ram, data += 8);
    bus_free(&b->bus);
    free(b);
    return 0;
}
