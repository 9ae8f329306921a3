#include "dev/msix.h"

#define CAPABILITY   0x11
#define CONTROL      2 /* offset in the capability */
#define ENABLE       0x8000
#define MASK_ALL     0x4000
#define ENTRY        16u
#define ENTRY_MASKED 1u

STATE_TABLE(msix_entry_table, "msix_entry", struct msix_entry, STATE(struct msix_entry, address),
            STATE(struct msix_entry, data), STATE(struct msix_entry, control));
STATE_TABLE(msix_table, "msix", struct msix_state,
            STATE_SUB(struct msix_state, table, &msix_entry_table),
            STATE(struct msix_state, pending));

static uint16_t control(const struct msix *m)
{
    return get_le16(m->pci->s.config + m->capability + CONTROL);
}

bool msix_on(const struct msix *m)
{
    return control(m) & ENABLE;
}

/* A function that may not master the bus keeps its messages. */
static bool held(const struct msix *m, unsigned vector)
{
    return (control(m) & (ENABLE | MASK_ALL)) != ENABLE ||
           (m->s.table[vector].control & ENTRY_MASKED) ||
           !(get_le16(m->pci->s.config + PCI_COMMAND) & PCI_COMMAND_MASTER);
}

static void send_waiting(struct msix *m)
{
    for (unsigned i = 0; m->s.pending && i < m->count; i++) {
        if (!(m->s.pending & BIT(i)) || held(m, i))
            continue;
        m->s.pending &= ~BIT(i);
        if (m->pci->bus->msi)
            m->pci->bus->msi(m->pci->bus->msi_opaque, m->s.table[i].address, m->s.table[i].data);
    }
}

void msix_raise(struct msix *m, unsigned vector)
{
    if (vector >= m->count || !msix_on(m))
        return;
    m->s.pending |= BIT(vector);
    send_waiting(m);
}

void msix_config_written(struct msix *m, unsigned offset, unsigned size)
{
    send_waiting(m);
}

/* --- the BAR: by doublewords ------------------------------------------------------------------ */

static uint32_t read32(const struct msix *m, uint64_t offset)
{
    const struct msix_entry *e = &m->s.table[offset / ENTRY % MSIX_VECTORS];
    if (offset >= MSIX_PBA)
        return offset < MSIX_PBA + 8 ? (uint32_t)(m->s.pending >> 8 * (offset & 4)) : 0;
    if (offset >= m->count * ENTRY)
        return 0;
    switch (offset % ENTRY) {
    case 0: return (uint32_t)e->address;
    case 4: return (uint32_t)(e->address >> 32);
    case 8: return e->data;
    default: return e->control;
    }
}

static void write32(struct msix *m, uint64_t offset, uint32_t v)
{
    struct msix_entry *e = &m->s.table[offset / ENTRY % MSIX_VECTORS];
    if (offset >= m->count * ENTRY)
        return;
    switch (offset % ENTRY) {
    case 0: e->address = (e->address & ~0xffffffffull) | (v & ~3u); break;
    case 4: e->address = (uint32_t)e->address | (uint64_t)v << 32; break;
    case 8: e->data = v; break;
    default:
        e->control = v & ENTRY_MASKED;
        send_waiting(m);
        break;
    }
}

static uint64_t memory_read(void *dev, uint64_t offset, unsigned size)
{
    uint64_t v = read32(dev, offset & ~3ull);
    return size == 8 ? v | (uint64_t)read32(dev, (offset & ~3ull) + 4) << 32 : v;
}

static void memory_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    write32(dev, offset & ~3ull, (uint32_t)value);
    if (size == 8)
        write32(dev, (offset & ~3ull) + 4, (uint32_t)(value >> 32));
}

/* Other sizes are not allowed (PCI 3.0, 6.8.2). */
static const struct region_ops memory_ops = {memory_read, memory_write, 4 | 8};

/* --- set-up ----------------------------------------------------------------------------------- */

void msix_init(struct msix *m, struct pci_func *f, unsigned bar, unsigned count)
{
    CHECK(count && count <= MSIX_VECTORS);
    *m = (struct msix){.pci = f, .count = count};
    m->memory = (struct region){.name = "msi-x", .size = MSIX_SIZE, .ops = &memory_ops, .dev = m};
    pci_func_bar(f, bar, PCI_BAR_MEM32, &m->memory);
    m->capability = pci_func_cap(f, CAPABILITY, 12);
    put_le16(f->image + m->capability + CONTROL, (uint16_t)(count - 1));
    put_le16(f->wmask + m->capability + CONTROL, ENABLE | MASK_ALL);
    put_le32(f->image + m->capability + 4, bar);
    put_le32(f->image + m->capability + 8, MSIX_PBA | bar);
    msix_reset(m);
}

void msix_reset(struct msix *m)
{
    memset(&m->s, 0, sizeof m->s);
    for (unsigned i = 0; i < MSIX_VECTORS; i++)
        m->s.table[i].control = ENTRY_MASKED;
}

void msix_restore(struct msix *m)
{
    m->s.pending &= ~0ull >> (64 - m->count);
}
