#include "dev/pci.h"

STATE_TABLE(pci_func_table, "pci_func", struct pci_func_state,
            STATE_BLOB(struct pci_func_state, config));
STATE_TABLE(pci_bus_table, "pci", struct pci_bus_state, STATE(struct pci_bus_state, address));

/* --- BARs --- */

static unsigned bar_offset(unsigned index)
{
    return index == PCI_ROM ? PCI_ROM_BAR : PCI_BAR0 + 4 * index;
}

uint64_t pci_bar_address(const struct pci_func *f, unsigned index)
{
    const uint8_t *at = f->s.config + bar_offset(index);
    if (index == PCI_ROM)
        return get_le32(at) & ~0x7ffu;
    switch (f->bar[index].kind) {
    case PCI_BAR_IO: return get_le32(at) & ~3u;
    case PCI_BAR_MEM32: return get_le32(at) & ~15u;
    case PCI_BAR_MEM64: return get_le64(at) & ~15ull;
    default: return 0;
    }
}

/* Where the BAR's region belongs by its registers; 0 for nowhere. */
static uint64_t bar_wanted(const struct pci_func *f, unsigned index)
{
    const struct pci_bar *bar = &f->bar[index];
    uint16_t command = get_le16(f->s.config + PCI_COMMAND);
    uint16_t enable = bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if (!bar->kind || !(command & enable))
        return 0;
    if (index == PCI_ROM && !(f->s.config[PCI_ROM_BAR] & 1))
        return 0;
    return pci_bar_address(f, index);
}

/* The host bridge claims what is RAM before the PCI bus sees it. */
static bool over_ram(const struct bus *b, const struct region *r, uint64_t base)
{
    uint64_t end = PCI_HOLE_END + bus_ram_high(b);
    if (base < bus_ram_low(b))
        return true;
    return bus_ram_high(b) && base < end && base + r->size > PCI_HOLE_END;
}

static void bar_place(struct pci_func *f, unsigned index)
{
    struct pci_bar *bar = &f->bar[index];
    struct err e;
    uint64_t base = bar_wanted(f, index);
    if (!base || bar->region->mapped)
        return;
    if (bar->kind != PCI_BAR_IO && over_ram(f->bus->bus, bar->region, base)) {
        LOG(f->bus->log, PCI, "%s: BAR %u at %#llx lies in RAM: not mapped", f->name, index,
            (unsigned long long)base);
        return;
    }
    enum bus_space space = bar->kind == PCI_BAR_IO ? BUS_PORT : BUS_MEM;
    if (bus_add(f->bus->bus, space, base, bar->region, &e))
        LOG(f->bus->log, PCI, "%s: BAR %u at %#llx", f->name, index, (unsigned long long)base);
    else
        LOG(f->bus->log, PCI, "%s: BAR %u not mapped: %s", f->name, index, e.text);
}

/* Every function is looked at, since a BAR that moves away may make room for one that had none; and
 * all leave before any enters, since two may swap places. */
static void place_bars(struct pci_bus *p)
{
    for (unsigned i = 0; i < 256; i++) {
        struct pci_func *f = p->func[i];
        for (unsigned n = 0; f && n < PCI_BARS; n++) {
            struct region *r = f->bar[n].region;
            if (r && r->mapped && r->base != bar_wanted(f, n))
                bus_remove(p->bus, r);
        }
    }
    for (unsigned i = 0; i < 256; i++)
        for (unsigned n = 0; p->func[i] && n < PCI_BARS; n++)
            bar_place(p->func[i], n);
}

/* --- INTx --- */

unsigned pci_pirq(unsigned devfn, unsigned pin)
{
    return ((devfn >> 3) + pin + 2) & 3;
}

static bool intx_asserted(const struct pci_func *f)
{
    return (f->s.config[PCI_STATUS] & PCI_STATUS_INTX) &&
           !(get_le16(f->s.config + PCI_COMMAND) & PCI_COMMAND_NO_INTX);
}

static void drive_pirqs(struct pci_bus *p)
{
    uint8_t level = 0;
    for (unsigned i = 0; i < 256; i++) {
        const struct pci_func *f = p->func[i];
        if (f && f->s.config[PCI_INTERRUPT_PIN] && intx_asserted(f))
            level |= 1u << pci_pirq(i, f->s.config[PCI_INTERRUPT_PIN]);
    }
    uint8_t change = level ^ p->pirq_level;
    p->pirq_level = level;
    for (unsigned n = 0; n < 4; n++)
        if (change >> n & 1)
            irq_set(&p->pirq[n], level >> n & 1);
}

void pci_set_intx(struct pci_func *f, bool level)
{
    uint8_t *status = &f->s.config[PCI_STATUS];
    if (!!(*status & PCI_STATUS_INTX) == level)
        return;
    *status ^= PCI_STATUS_INTX;
    drive_pirqs(f->bus);
}

/* --- configuration space --- */

uint32_t pci_config_read(struct pci_bus *p, unsigned devfn, unsigned offset, unsigned size)
{
    struct pci_func *f = p->func[devfn & 0xff];
    uint32_t v = 0;
    if (!f)
        return ~0u >> (32 - 8 * size);
    if (f->config_read)
        f->config_read(f->opaque, offset, size);
    memcpy(&v, f->s.config + offset, size);
    return v;
}

static bool touches(unsigned offset, unsigned size, unsigned at, unsigned len)
{
    return offset < at + len && at < offset + size;
}

void pci_config_write(struct pci_bus *p, unsigned devfn, unsigned offset, unsigned size,
                      uint32_t value)
{
    struct pci_func *f = p->func[devfn & 0xff];
    if (!f)
        return;
    for (unsigned i = 0; i < size; i++) {
        uint8_t v = (uint8_t)(value >> 8 * i), *at = &f->s.config[offset + i];
        uint8_t mask = f->wmask[offset + i];
        *at = (*at & ~mask) | (v & mask);
        *at &= ~(v & f->w1c[offset + i]);
    }
    if (touches(offset, size, PCI_COMMAND, 2)) {
        place_bars(p);
        drive_pirqs(p);
    } else if (touches(offset, size, PCI_BAR0, 24) || touches(offset, size, PCI_ROM_BAR, 4)) {
        place_bars(p);
    }
    if (f->config_written)
        f->config_written(f->opaque, offset, size);
}

/* Mechanism 1: only a doubleword access at 0xcf8 is the address register; a smaller one is an
 * ordinary port access, of which the board has one, the reset control register at 0xcf9. */
static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
    struct pci_bus *p = dev;
    uint32_t a = p->s.address;
    if (offset == 0 && size == 4)
        return a;
    if (offset == 1 && size == 1 && p->reset_control)
        return p->reset_control->ops->read(p->reset_control->dev, 0, 1);
    if (offset < 4 || !(a & 0x80000000) || (a >> 16 & 0xff))
        return ~0ull;
    return pci_config_read(p, a >> 8 & 0xff, (a & 0xfc) + (offset - 4), size);
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *p = dev;
    uint32_t a = p->s.address;
    if (offset == 0 && size == 4) {
        p->s.address = (uint32_t)value & 0x80fffffc;
        return;
    }
    if (offset == 1 && size == 1 && p->reset_control)
        p->reset_control->ops->write(p->reset_control->dev, 0, 1, value);
    if (offset < 4 || !(a & 0x80000000) || (a >> 16 & 0xff))
        return;
    pci_config_write(p, a >> 8 & 0xff, (a & 0xfc) + (unsigned)(offset - 4), size, (uint32_t)value);
}

static const struct region_ops port_ops = {port_read, port_write, 0};

/* --- set-up --- */

void pci_init(struct pci_bus *p, struct bus *bus, const struct log *log)
{
    *p = (struct pci_bus){.bus = bus, .log = log};
    p->ports = (struct region){.name = "pci config", .size = 8, .ops = &port_ops, .dev = p};
}

void pci_reset(struct pci_bus *p)
{
    p->s.address = 0;
    for (unsigned i = 0; i < 256; i++)
        if (p->func[i])
            memcpy(p->func[i]->s.config, p->func[i]->image, sizeof p->func[i]->image);
    pci_restore(p);
}

void pci_restore(struct pci_bus *p)
{
    place_bars(p);
    drive_pirqs(p);
}

void pci_func_init(struct pci_func *f, const char *name, const struct pci_ids *ids)
{
    *f = (struct pci_func){.name = name, .cap_end = 0x40};
    put_le16(f->image + PCI_VENDOR, ids->vendor);
    put_le16(f->image + PCI_DEVICE, ids->device);
    f->image[PCI_REVISION] = ids->revision;
    put_le16(f->image + PCI_CLASS, (uint16_t)ids->class_code);
    f->image[PCI_CLASS + 2] = (uint8_t)(ids->class_code >> 16);
    put_le16(f->image + PCI_SUBSYS_VENDOR, ids->subsys_vendor);
    put_le16(f->image + PCI_SUBSYS, ids->subsys);
    f->image[PCI_INTERRUPT_PIN] = ids->pin;
    uint16_t command = PCI_COMMAND_MASTER | 0x0140; /* parity and SERR: kept, without effect */
    if (ids->pin)
        command |= PCI_COMMAND_NO_INTX;
    put_le16(f->wmask + PCI_COMMAND, command);
    f->w1c[PCI_STATUS + 1] = 0xf9;
    f->wmask[0x0c] = f->wmask[0x0d] = 0xff; /* cache line size, latency timer */
    if (ids->pin)
        f->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_func_bar(struct pci_func *f, unsigned index, enum pci_bar_kind kind, struct region *r)
{
    uint8_t *mask = f->wmask + bar_offset(index), *image = f->image + bar_offset(index);
    CHECK(index < PCI_BARS && !f->bar[index].kind && kind);
    CHECK(r->size >= 4 && (r->size & (r->size - 1)) == 0);
    f->bar[index] = (struct pci_bar){kind, r};
    f->wmask[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if (kind == PCI_BAR_MEM64) {
        CHECK(index < 5 && !f->bar[index + 1].kind);
        put_le64(mask, ~(r->size - 1) & ~15ull);
        image[0] = 4;
    } else {
        put_le32(mask, ~(uint32_t)(r->size - 1) & (kind == PCI_BAR_IO ? ~3u : ~15u));
        image[0] = kind == PCI_BAR_IO ? 1 : 0;
    }
    if (index == PCI_ROM) {
        CHECK(kind == PCI_BAR_MEM32 && r->size >= 2048);
        mask[0] |= 1;
    } else if (kind != PCI_BAR_IO && r->host) {
        image[0] |= 8; /* plain memory may be prefetched */
    }
}

unsigned pci_func_cap(struct pci_func *f, uint8_t id, unsigned size)
{
    unsigned at = f->cap_end;
    CHECK(size >= 2 && at + size <= 256);
    f->cap_end = (unsigned)align_up(at + size, 4);
    f->image[at] = id;
    f->image[at + 1] = f->image[PCI_CAP_POINTER];
    f->image[PCI_CAP_POINTER] = (uint8_t)at;
    f->image[PCI_STATUS] |= PCI_STATUS_CAPS;
    return at;
}

void pci_add(struct pci_bus *p, struct pci_func *f, unsigned devfn)
{
    CHECK(devfn < 256 && !p->func[devfn]);
    p->func[devfn] = f;
    f->bus = p;
    f->devfn = (uint8_t)devfn;
    if (devfn & 7 && p->func[devfn & ~7u]) {
        struct pci_func *first = p->func[devfn & ~7u];
        first->image[PCI_HEADER_TYPE] |= 0x80;
        first->s.config[PCI_HEADER_TYPE] |= 0x80;
    }
    memcpy(f->s.config, f->image, sizeof f->image);
}
