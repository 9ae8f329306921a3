/* The board in words, for the monitor. */
#include <stdarg.h>
#include <stdio.h>

#include "machine/board.h"

struct text {
    char *p;
    size_t left;
};

static void add(struct text *t, const char *fmt, ...) PRINTF(2, 3);

static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->p, t->left, fmt, ap);
    va_end(ap);
    size_t k = n > 0 ? min_u64((uint64_t)n, t->left ? t->left - 1 : 0) : 0;
    t->p += k;
    t->left -= k;
}

static void add_vectors(struct text *t, const char *name, const uint32_t set[8])
{
    add(t, "%s", name);
    for (unsigned v = 0; v < 256; v++) {
        if (set[v / 32] >> v % 32 & 1)
            add(t, " %02x", v);
    }
    add(t, "\n");
}

void pc_show_lapic(struct pc *p, unsigned cpu, char *buf, size_t size)
{
    static const char *const lvt[LVT_COUNT] = {"timer", "thermal", "perf",
                                               "LINT0", "LINT1",   "error"};
    static const char *const mode[8] = {"fixed", "lowest", "SMI", "3",
                                        "NMI",   "INIT",   "6",   "ExtINT"};
    const struct lapic_state *s = &p->lapic[cpu].s;
    struct text t = {buf, size};
    add(&t, "%s%s, %s by software, TPR %02x, LDR %08x, DFR %08x, spurious vector %02x\n",
        s->base & APIC_BASE_X2 ? "x2APIC" : "xAPIC", s->base & APIC_BASE_BSP ? ", boot CPU" : "",
        s->svr & 0x100 ? "on" : "off", s->tpr, s->ldr, s->dfr, s->svr & 0xff);
    add_vectors(&t, "requested ", s->irr);
    add_vectors(&t, "in service", s->isr);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        add(&t, "%-8s vector %02x %s%s\n", lvt[i], s->lvt[i] & 0xff, mode[s->lvt[i] >> 8 & 7],
            s->lvt[i] & 0x10000 ? ", masked" : "");
    add(&t, "timer    initial %u, divide register %x, deadline %llx\n", s->timer_initial,
        s->timer_divide, (unsigned long long)s->tsc_deadline);
}

void pc_show_pci(struct pc *p, char *buf, size_t size)
{
    struct text t = {buf, size};
    for (unsigned d = 0; d < 256; d++) {
        const struct pci_func *f = p->pci.func[d];
        if (!f)
            continue;
        const uint8_t *c = f->s.config;
        add(&t, "%02x.%u  %04x:%04x  class %02x%02x%02x  %s", d >> 3, d & 7, get_le16(c),
            get_le16(c + 2), c[11], c[10], c[9], f->name);
        if (c[PCI_INTERRUPT_PIN])
            add(&t, "  INT%c line %u", 'A' + c[PCI_INTERRUPT_PIN] - 1, c[PCI_INTERRUPT_LINE]);
        add(&t, "\n");
        for (unsigned i = 0; i < PCI_BARS; i++) {
            const struct region *r = f->bar[i].region;
            if (r)
                add(&t, "      BAR %u at %#llx, %#llx bytes, %s%s\n", i,
                    (unsigned long long)pci_bar_address(f, i), (unsigned long long)r->size,
                    f->bar[i].kind == PCI_BAR_IO ? "ports" : "memory",
                    r->mapped ? "" : ", not mapped");
        }
    }
}

void pc_show_irq(struct pc *p, char *buf, size_t size)
{
    struct text t = {buf, size};
    for (unsigned i = 0; i < 2; i++) {
        const struct i8259_chip *c = &p->pic.s.chip[i];
        add(&t,
            "8259 %s: lines %02x requested %02x in service %02x masked %02x level %02x vectors "
            "%02x\n",
            i ? "slave" : "master", c->line, c->irr, c->isr, c->imr, c->elcr, c->base);
    }
    add(&t, "I/O APIC: lines %06x\n", p->ioapic.s.line);
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        uint64_t e = p->ioapic.s.entry[i];
        if (e & 0x10000)
            continue;
        add(&t, "pin %-2u vector %02x mode %u to %s %02x, %s, active %s%s\n", i,
            (unsigned)(e & 0xff), (unsigned)(e >> 8 & 7), e & 0x800 ? "logical" : "CPU",
            (unsigned)(e >> 56), e & 0x8000 ? "level" : "edge", e & 0x2000 ? "low" : "high",
            e & 0x4000 ? ", waits for EOI" : "");
    }
}
