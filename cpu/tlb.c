#include "cpu/tlb.h"

#include "cpu/share.h"

_Static_assert(TLB_CTX_COUNT *TLB_SIZE <= 0x10000, "tlb.listed holds 16-bit numbers");

static void clear(struct tlb *t, unsigned ctx, unsigned slot)
{
    uint64_t none = tlb_none(slot);
    t->e[ctx][slot] = (struct tlb_entry){.read = none, .write = none};
    t->info[ctx][slot] = (struct tlb_info){.exec = none, .code = none};
}

void tlb_init(struct tlb *t)
{
    for (unsigned ctx = 0; ctx < TLB_CTX_COUNT; ctx++) {
        if (t->clean >> ctx & 1)
            continue;
        for (unsigned i = 0; i < TLB_SIZE; i++)
            clear(t, ctx, i);
    }
    t->clean = (1u << TLB_CTX_COUNT) - 1;
    t->listed_count = 0;
    memset(t->large, 0, sizeof t->large);
    t->huge = false;
    t->globals = false;
}

void tlb_new(struct tlb *t)
{
    for (unsigned ctx = 0; ctx < TLB_CTX_COUNT; ctx++)
        clear(t, ctx, 0);
    t->clean = (1u << TLB_CTX_COUNT) - 1;
}

static void forget_code(struct tlb *t, struct tlb_code *k)
{
    if (!k->any)
        return;
    k->generation = ++t->generations;
    k->any = k->nonglobal = k->global = false;
    memset(k->pages, 0, sizeof k->pages);
}

void tlb_forget_copies(struct cpu *c)
{
    struct jit_cpu *j = &c->jit;
    for (unsigned g = 0; g < 32 && j->slots_filled >> g; g++)
        for (unsigned i = 0; i < JIT_SLOTS / 32 && j->slots_filled >> g & 1; i++)
            j->slot[g * (JIT_SLOTS / 32) + i].limit = 0;
    j->slots_filled = 0;
}

/* Ends a flush. */
static void flushed(struct cpu *c, bool user, bool super)
{
    struct tlb *t = c->tlb;
    tlb_forget_copies(c);
    t->generation++;
    cpu_fence(c); /* what flushes also serialises */
    if (super)
        forget_code(t, &t->code[0]);
    if (user)
        forget_code(t, &t->code[1 + t->space]);
    cpu_stamp(c);
}

static void forget_spaces(struct tlb *t)
{
    for (unsigned n = 0; n < TLB_SPACES; n++) {
        forget_code(t, &t->code[1 + n]);
        t->pcid[n] = 0;
    }
}

static void drop_listed(struct tlb *t)
{
    for (unsigned i = 0; i < t->listed_count; i++) {
        unsigned ctx = t->listed[i] / TLB_SIZE, slot = t->listed[i] % TLB_SIZE;
        if (t->info[ctx][slot].global)
            t->info[ctx][slot].listed = 0;
        else
            clear(t, ctx, slot);
    }
    t->listed_count = 0;
}

void tlb_flush(struct cpu *c)
{
    /* few entries, as after a short stay in a mode: one by one */
    if (c->tlb->clean && !c->tlb->globals && c->tlb->listed_count < TLB_SIZE / 4) {
        drop_listed(c->tlb);
    } else {
        tlb_init(c->tlb);
    }
    forget_spaces(c->tlb);
    flushed(c, true, true);
}

static unsigned large_bit(uint64_t la)
{
    return (la >> 21) & (TLB_LARGE - 1);
}

/* Kernels use large pages in the upper half, of 32 or 64 bits. */
static unsigned half_of(uint64_t la)
{
    return (unsigned)(la >> 32 ? la >> 63 : la >> 31);
}

static bool maybe_large(const struct tlb *t, uint64_t la)
{
    unsigned bit = large_bit(la);
    return t->large[half_of(la)][bit / 64] >> (bit % 64) & 1;
}

static void set_large(struct tlb *t, uint64_t la)
{
    unsigned bit = large_bit(la);
    t->large[half_of(la)][bit / 64] |= BIT(bit % 64);
}

void tlb_note(struct cpu *c, unsigned ctx, uint64_t la, unsigned shift, bool global)
{
    struct tlb *t = c->tlb;
    struct tlb_info *e = tlb_info_of(c, ctx, la);
    t->clean &= ~(1u << ctx);
    t->globals = t->globals || global;
    if (!global && !e->listed) {
        e->listed = 1;
        t->listed[t->listed_count++] = (uint16_t)(e - &t->info[0][0]);
    }
    if (shift == PAGE_SHIFT)
        return;
    set_large(t, la);
    set_large(t, la ^ (shift == 22 ? BIT(21) : 0)); /* the other half of 4 MiB */
    t->huge = t->huge || shift > 22;
}

void tlb_flush_nonglobal(struct cpu *c)
{
    struct tlb *t = c->tlb;
    drop_listed(t);
    flushed(c, t->code[1 + t->space].nonglobal, t->code[0].nonglobal);
}

static unsigned space_of(const struct tlb *t, unsigned pcid)
{
    unsigned n = 0;
    while (n < TLB_SPACES && t->pcid[n] != pcid + 1)
        n++;
    return n;
}

/* The one that nobody comes back to, or that was left longest ago. */
static unsigned oldest_space(const struct tlb *t)
{
    unsigned found = t->space ? 0 : 1;
    for (unsigned n = 0; n < TLB_SPACES; n++) {
        if (n == t->space)
            continue;
        if (!t->pcid[n])
            return n;
        if (t->used[n] < t->used[found])
            found = n;
    }
    return found;
}

void tlb_switch(struct cpu *c, unsigned pcid, bool keep)
{
    struct tlb *t = c->tlb;
    unsigned n = space_of(t, pcid);
    drop_listed(t);
    t->used[t->space] = t->generation;
    if (n == TLB_SPACES) {
        n = oldest_space(t);
        t->code[1 + n].any = true; /* its generation must be nobody's */
        forget_code(t, &t->code[1 + n]);
        t->pcid[n] = (uint16_t)(pcid + 1);
    }
    t->space = n;
    flushed(c, !keep && t->code[1 + n].nonglobal, t->code[0].nonglobal);
}

void tlb_forget(struct cpu *c, unsigned pcid)
{
    unsigned n = space_of(c->tlb, pcid);
    if (n < TLB_SPACES)
        forget_code(c->tlb, &c->tlb->code[1 + n]);
}

static uint64_t tag_of(const struct tlb *t, unsigned ctx, unsigned slot)
{
    const struct tlb_entry *e = &t->e[ctx][slot];
    return !tlb_is_none(e->read, slot)    ? e->read
           : !tlb_is_none(e->write, slot) ? e->write
                                          : t->info[ctx][slot].exec;
}

static void drop(struct tlb *t, unsigned ctx, unsigned slot, uint64_t la)
{
    struct tlb_info *e = &t->info[ctx][slot];
    uint64_t tag = tag_of(t, ctx, slot);
    uint8_t listed = e->listed;
    if (tlb_is_none(tag, slot) || (tag ^ la) >> e->shift)
        return;
    clear(t, ctx, slot);
    e->listed = listed;
}

/* Was code fetched from the page, or the large one, that `la` is in? Perhaps not, where the answer
 * is yes; a kernel's code is hardly ever thought to be hit by what user pages do, as it is apart.
 */
static bool is_code(const struct tlb_code *k, uint64_t la, uint64_t size)
{
    if (!k->any || la < (k->first & ~(size - 1)) || la > (k->last | (size - 1)))
        return false;
    if (size > PAGE_SIZE)
        return true;
    unsigned bit = (unsigned)(la >> PAGE_SHIFT) & (TLB_CODE - 1);
    return k->pages[bit / 64] >> (bit % 64) & 1;
}

/* An entry holds 4 KiB of whatever page it came from, but INVLPG drops all of a large page (SDM 3A
 * 4.10.4.1): near one, every slot that a piece of it may be in is looked at. */
void tlb_flush_page(struct cpu *c, uint64_t la)
{
    struct tlb *t = c->tlb;
    unsigned first = (unsigned)(la >> PAGE_SHIFT) & (TLB_SIZE - 1), n = 1;
    uint64_t size = PAGE_SIZE;
    if (t->huge) {
        n = TLB_SIZE;
        size = BIT(30);
    } else if (maybe_large(t, la)) {
        n = 1u << (22 - PAGE_SHIFT);
        first &= ~(n - 1);
        size = BIT(22);
    }
    for (unsigned ctx = 0; ctx < TLB_USER_AC; ctx++)
        for (unsigned i = 0; i < n && !(t->clean >> ctx & 1); i++)
            drop(t, ctx, (first + i) & (TLB_SIZE - 1), la);
    for (unsigned n = 0; n < TLB_SPACES; n++) /* global pages are everybody's */
        if (t->code[1 + n].global && is_code(&t->code[1 + n], la, size))
            forget_code(t, &t->code[1 + n]);
    flushed(c, is_code(&t->code[1 + t->space], la, size), is_code(&t->code[0], la, size));
}

/* Most faults are of pages that are not present, and so have nothing here. */
void tlb_page_fault(struct cpu *c, uint64_t la)
{
    const struct tlb *t = c->tlb;
    unsigned slot = tlb_index(la);
    bool any =
        is_code(&t->code[1 + t->space], la, PAGE_SIZE) || is_code(&t->code[0], la, PAGE_SIZE);
    for (unsigned ctx = 0; ctx < TLB_USER_AC; ctx++)
        any = any || (!(t->clean >> ctx & 1) && !((tag_of(t, ctx, slot) ^ la) >> PAGE_SHIFT));
    if (any)
        tlb_flush_page(c, la);
}

void tlb_protect_code(struct cpu *c, uint64_t paddr)
{
    struct tlb *t = c->tlb;
    paddr &= ~(uint64_t)(PAGE_SIZE - 1);
    tlb_forget_copies(c);
    for (unsigned ctx = 0; ctx < TLB_USER_AC; ctx++)
        for (unsigned i = 0; i < TLB_SIZE && !(t->clean >> ctx & 1); i++)
            if (t->info[ctx][i].paddr == paddr)
                t->e[ctx][i].write = tlb_none(i);
}
