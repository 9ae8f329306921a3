/* Which pages of RAM were written: the marks of the bus, which every engine sets in its own way. */
#include "cpu/tlb.h"
#include "machine/machine.h"

/* All marks into the bus, and every CPU asks again before it writes. */
static void settle(struct machine *m)
{
    const struct engine *x = machine_engine(m);
    if (x->written)
        x->written(machine_cpu(m, 0));
    for (unsigned i = 0; i < machine_cpu_count(m); i++)
        tlb_flush(machine_cpu(m, i));
}

static bool take(uint8_t *flags)
{
    return *flags &&
           (__atomic_fetch_and(flags, (uint8_t)~PAGE_DIRTY, __ATOMIC_SEQ_CST) & PAGE_DIRTY);
}

static uint64_t paddr_of(uint64_t page)
{
    uint64_t at = page << PAGE_SHIFT;
    return at < PCI_HOLE ? at : at - PCI_HOLE + PCI_HOLE_END;
}

void machine_log_writes(struct machine *m, bool on)
{
    struct bus *b = machine_bus(m);
    if (b->logs_writes != on) {
        b->logs_writes = on;
        if (b->remap)
            b->remap(b->opaque);
    }
    if (on)
        machine_written(m, NULL, NULL);
}

uint64_t machine_written(struct machine *m, void (*f)(void *opaque, uint64_t paddr, uint64_t pages),
                         void *opaque)
{
    struct bus *b = machine_bus(m);
    uint64_t pages = b->ram_size >> PAGE_SHIFT, hole = PCI_HOLE >> PAGE_SHIFT, total = 0, n;
    settle(m);
    for (uint64_t at = 0; at < pages; at += n + 1) {
        for (n = 0; at + n < pages && (n == 0 || at + n != hole) && take(&b->page_flags[at + n]);)
            n++;
        if (n && f)
            f(opaque, paddr_of(at), n);
        total += n;
        if (n && at + n == hole)
            at--; /* that page has not been looked at */
    }
    return total;
}
