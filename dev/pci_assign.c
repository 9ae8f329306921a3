#include "dev/pci.h"

static void set_bar(struct pci_func *f, unsigned index, uint64_t base)
{
    unsigned at = index == PCI_ROM ? PCI_ROM_BAR : PCI_BAR0 + 4 * index;
    pci_config_write(f->bus, f->devfn, at, 4, (uint32_t)base);
    if (f->bar[index].kind == PCI_BAR_MEM64)
        pci_config_write(f->bus, f->devfn, at + 4, 4, (uint32_t)(base >> 32));
}

/* All BARs of one kind of space and one size: an order in which nothing is lost to alignment. */
static uint64_t assign_size(struct pci_bus *p, bool io, uint64_t size, uint64_t at, uint64_t end)
{
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned n = 0; p->func[i] && n < PCI_BARS; n++) {
            const struct pci_bar *bar = &p->func[i]->bar[n];
            if (!bar->kind || (bar->kind == PCI_BAR_IO) != io || bar->region->size != size)
                continue;
            uint64_t base = align_up(at, size);
            if (base > end || end - base < size)
                continue;
            set_bar(p->func[i], n, base);
            at = base + size;
        }
    }
    return at;
}

void pci_assign(struct pci_bus *p, uint32_t io, uint64_t mem, uint64_t mem_end,
                const uint8_t irq[4])
{
    uint64_t io_at = io, mem_at = mem;
    for (unsigned bit = 32; bit >= 2; bit--) {
        io_at = assign_size(p, true, BIT(bit), io_at, 0x10000);
        mem_at = assign_size(p, false, BIT(bit), mem_at, mem_end);
    }
    for (unsigned i = 0; i < 256; i++) {
        struct pci_func *f = p->func[i];
        if (!f)
            continue;
        uint32_t command = pci_config_read(p, i, PCI_COMMAND, 2);
        pci_config_write(p, i, PCI_COMMAND, 2, command | PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
        if (f->s.config[PCI_INTERRUPT_PIN])
            pci_config_write(p, i, PCI_INTERRUPT_LINE, 1,
                             irq[pci_pirq(i, f->s.config[PCI_INTERRUPT_PIN])]);
    }
}
