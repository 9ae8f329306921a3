#include "cpu/tlb.h"

static void clear(struct tlb_entry *e, unsigned slot)
{
    uint64_t none = tlb_none(slot);
    *e = (struct tlb_entry){.read = none, .write = none, .exec = none};
}

void tlb_init(struct tlb *t)
{
    for (unsigned ctx = 0; ctx < TLB_CTX_COUNT; ctx++)
        for (unsigned i = 0; i < TLB_SIZE; i++)
            clear(&t->e[ctx][i], i);
    t->listed_count = 0;
    t->large_low = ~0ull;
    t->large_high = 0;
}

void tlb_flush(struct cpu *c)
{
    tlb_init(c->tlb);
    c->tlb->generation++;
}

void tlb_flush_nonglobal(struct cpu *c)
{
    struct tlb *t = c->tlb;
    for (unsigned i = 0; i < t->listed_count; i++) {
        struct tlb_entry *e = &t->e[0][0] + t->listed[i];
        if (e->global)
            e->listed = 0;
        else
            clear(e, t->listed[i] % TLB_SIZE);
    }
    t->listed_count = 0;
    t->generation++;
}

static uint64_t tag_of(const struct tlb_entry *e, unsigned slot)
{
    return !tlb_is_none(e->read, slot)    ? e->read
           : !tlb_is_none(e->write, slot) ? e->write
                                          : e->exec;
}

static void drop(struct tlb *t, unsigned ctx, unsigned slot, uint64_t la)
{
    struct tlb_entry *e = &t->e[ctx][slot];
    uint64_t tag = tag_of(e, slot);
    uint8_t listed = e->listed;
    if (tlb_is_none(tag, slot) || (tag ^ la) >> e->shift)
        return;
    clear(e, slot);
    e->listed = listed;
}

/* An entry holds 4 KiB of whatever page it came from, but INVLPG drops all of a large page (SDM 3A
 * 4.10.4.1): near a large page every entry must be looked at. */
void tlb_flush_page(struct cpu *c, uint64_t la)
{
    struct tlb *t = c->tlb;
    bool large = la >= t->large_low && la <= t->large_high;
    for (unsigned ctx = 0; ctx < TLB_USER_AC; ctx++) {
        drop(t, ctx, (la >> PAGE_SHIFT) & (TLB_SIZE - 1), la);
        for (unsigned i = 0; large && i < TLB_SIZE; i++)
            drop(t, ctx, i, la);
    }
    t->generation++;
}

void tlb_protect_code(struct cpu *c, uint64_t paddr)
{
    struct tlb *t = c->tlb;
    paddr &= ~(uint64_t)(PAGE_SIZE - 1);
    for (unsigned ctx = 0; ctx < TLB_USER_AC; ctx++)
        for (unsigned i = 0; i < TLB_SIZE; i++)
            if (t->e[ctx][i].paddr == paddr)
                t->e[ctx][i].write = tlb_none(i);
}
