/* Translation, and the slow paths of memory accesses: whatever the TLB's tags don't let through.
 *
 * Every access ends in page_get(), which translates one page for one kind of access, sets accessed
 * and dirty bits, and fills the TLB with what later accesses may do without asking. An access that
 * crosses a page asks for both before it touches either. */
#include "cpu/block.h"
#include "cpu/debug.h"
#include "cpu/mem.h"
#include "cpu/share.h"
#include "cpu/walk.h"

#define PF_P    1u
#define PF_W    2u
#define PF_U    4u
#define PF_RSVD 8u
#define PF_I    16u

#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

/* One translated page. */
struct page {
    uint8_t *host; /* NULL: a device */
    uint64_t paddr;
    uint8_t *flags; /* page_flags of RAM, or NULL */
    bool writable;  /* host may be written */
};

static unsigned ctx_of(const struct cpu *c, unsigned acc)
{
    if (acc & ACC_SUPER)
        return TLB_SUPER;
    return c->tlb_ctx == TLB_USER_AC ? TLB_USER : c->tlb_ctx;
}

/* What a context may do with a walked page; `dirty` aside. SDM 3A 4.6. */
static bool allowed(const struct cpu *c, const struct walk *w, unsigned ctx, unsigned kind)
{
    const struct cpu_state *s = &c->s;
    if (!(s->cr0 & CR0_PG))
        return true;
    if (kind == ACC_EXEC && w->nx)
        return false;
    if (ctx == TLB_USER)
        return w->user && (kind != ACC_WRITE || w->write);
    if (kind == ACC_EXEC)
        return !(w->user && (s->cr4 & CR4_SMEP));
    if (w->user && (s->cr4 & CR4_SMAP) && ctx != TLB_SUPER_AC)
        return false;
    return kind != ACC_WRITE || w->write || !(s->cr0 & CR0_WP);
}

static const char *const not_present[] = {
    "",
    "the page-table entry at %#llx is %#llx: not present",
    "the page-directory entry at %#llx is %#llx: not present",
    "the page-directory-pointer entry at %#llx is %#llx: not present",
    "the PML4 entry at %#llx is %#llx: not present",
};

static const char *const reserved_bit[] = {
    "",
    "the page-table entry at %#llx is %#llx: a reserved bit is set",
    "the page-directory entry at %#llx is %#llx: a reserved bit is set",
    "the page-directory-pointer entry at %#llx is %#llx: a reserved bit is set",
    "the PML4 entry at %#llx is %#llx: a reserved bit is set",
};

static const char *denied(const struct cpu *c, const struct walk *w, unsigned ctx, unsigned kind)
{
    if (kind == ACC_EXEC && w->nx)
        return "the page is mapped no-execute (entry at %#llx is %#llx)";
    if (ctx == TLB_USER)
        return w->user ? "the page is read-only (entry at %#llx is %#llx)"
                       : "user access to a supervisor page (entry at %#llx is %#llx)";
    if (kind == ACC_EXEC)
        return "SMEP: supervisor fetch from a user page (entry at %#llx is %#llx)";
    if (w->user && (c->s.cr4 & CR4_SMAP) && ctx != TLB_SUPER_AC)
        return "SMAP: supervisor access to a user page (entry at %#llx is %#llx)";
    return "CR0.WP: supervisor write to a read-only page (entry at %#llx is %#llx)";
}

static bool page_fault(struct cpu *c, uint64_t la, const struct walk *w, unsigned ctx,
                       unsigned kind)
{
    const struct walk_step *last = &w->step[w->steps ? w->steps - 1 : 0];
    const struct cpu_state *s = &c->s;
    uint32_t error = 0;
    const char *why;
    if (w->result == WALK_NOT_CANONICAL)
        return cpu_fault(c, EXC_GP, "the address %#llx is not canonical", la, 0);
    if (w->result == WALK_NOT_PRESENT) {
        why = not_present[last->level];
    } else if (w->result == WALK_RESERVED) {
        error = PF_P | PF_RSVD;
        why = reserved_bit[last->level];
    } else {
        error = PF_P;
        why = denied(c, w, ctx, kind);
    }
    if (kind == ACC_WRITE)
        error |= PF_W;
    if (ctx == TLB_USER)
        error |= PF_U;
    if (kind == ACC_EXEC && ((s->cr4 & CR4_SMEP) || ((s->cr4 & CR4_PAE) && (s->efer & EFER_NXE))))
        error |= PF_I;
    cpu_fault_err(c, EXC_PF, error, why, last->addr, last->value);
    c->fault.addr = la;
    return false;
}

/* Puts v where an entry was, if it still is. */
static bool replace_entry(uint8_t *host, const struct walk_step *s, uint64_t v)
{
    uint64_t old64 = s->value;
    uint32_t old32 = (uint32_t)s->value;
    if (s->size == 4)
        return __atomic_compare_exchange_n((uint32_t *)(void *)host, &old32, (uint32_t)v, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n((uint64_t *)(void *)host, &old64, v, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* Or's bits into a paging-structure entry. False: another CPU changed it since it was read, and the
 * walk must be made again (SDM 3A 8.1.2.1: such updates are locked). */
static bool mark(struct cpu *c, const struct walk_step *s, uint32_t bits)
{
    bool writable;
    uint8_t *flags, *host;
    if (s->addr == ~0ull || (s->value & bits) == bits)
        return true;
    host = bus_page(c->bus, s->addr, &writable, &flags);
    if (!host || !writable) {
        cpu_lock(c);
        bus_write(c->bus, s->addr, s->size, s->value | bits);
        cpu_unlock(c);
        return true;
    }
    if (!replace_entry(host + (s->addr & (PAGE_SIZE - 1)), s, s->value | bits))
        return false;
    if (!flags)
        return true;
    if (bus_marked(flags, PAGE_CODE) && c->bus->code_write) {
        cpu_lock(c);
        c->bus->code_write(c->bus->opaque, s->addr & c->bus->a20_mask, s->size);
        cpu_unlock(c);
    }
    bus_mark(flags, PAGE_DIRTY);
    return true;
}

static bool mark_all(struct cpu *c, struct walk *w, bool write)
{
    for (unsigned i = 0; i < w->steps; i++)
        if (!mark(c, &w->step[i], i + 1 == w->steps && write ? 0x60 : 0x20))
            return false;
    w->dirty = w->dirty || write;
    return true;
}

/* The local APIC's page is inside the processor: it never reaches the bus. */
static bool is_apic(const struct cpu *c, uint64_t paddr)
{
    if (!c->apic.base)
        return false;
    uint64_t base = c->apic.base(c->apic.apic);
    return (base & 0xc00) == 0x800 && ((paddr ^ base) & PAGE_MASK) == 0;
}

static void page_of(struct cpu *c, uint64_t paddr, struct page *p)
{
    p->paddr = paddr & c->bus->a20_mask;
    p->flags = NULL;
    p->writable = false;
    p->host = is_apic(c, paddr) ? NULL : bus_page(c->bus, paddr, &p->writable, &p->flags);
}

static void fill(struct cpu *c, uint64_t la, unsigned ctx, const struct walk *w,
                 const struct page *p)
{
    struct tlb_entry *e = tlb_slot(c, ctx, la);
    struct tlb_info *i = tlb_info_of(c, ctx, la);
    uint64_t tag = la & PAGE_MASK, none = tlb_none((la >> PAGE_SHIFT) & (TLB_SIZE - 1));
    unsigned watch = debug_watches(c, tag);
    bool coded = p->flags && bus_marked(p->flags, PAGE_CODE);
    bool ram_write = p->writable && (!p->flags || bus_marked(p->flags, PAGE_DIRTY));
    if (i->kept)
        tlb_forget_copies(c);
    i->kept = 0;
    tlb_note(c, ctx, la, w->shift, w->global);
    e->read = !(watch & WATCH_READ) && allowed(c, w, ctx, ACC_READ) ? tag : none;
    ram_write = ram_write && w->dirty && !(watch & WATCH_WRITE) && allowed(c, w, ctx, ACC_WRITE);
    e->write = ram_write && !coded ? tag : none;
    i->code = ram_write && coded ? tag : none;
    e->host = (uintptr_t)p->host;
    e->addend = e->host - tag;
    i->exec = allowed(c, w, ctx, ACC_EXEC) ? tag : none;
    i->paddr = p->paddr;
    i->global = w->global;
    i->shift = w->shift;
}

/* Translates la's page for one access. */
static bool page_get(struct cpu *c, uint64_t la, unsigned acc, struct page *p)
{
    unsigned ctx = ctx_of(c, acc), kind = acc & 3;
    struct walk w;
    bool card;
    do {
        walk(c, la, &w);
        if (w.result != WALK_OK || !allowed(c, &w, ctx, kind))
            return (acc != ACC_WRITE || alone_fault(c)) && page_fault(c, la, &w, ctx, kind);
        page_of(c, w.paddr, p);
        card = alone_rom(c, w.paddr) && p->host && !p->flags;
        if ((!p->host || card || (kind == ACC_WRITE && !p->writable)) &&
            !alone_same(c, w.paddr | (la & (PAGE_SIZE - 1)), kind == ACC_READ) && !alone_device(c))
            return false; /* before accessed and dirty bits */
    } while (!mark_all(c, &w, kind == ACC_WRITE));
    if (!p->host || card)
        return true;
    if (kind == ACC_WRITE && p->writable && p->flags)
        bus_mark(p->flags, PAGE_DIRTY);
    fill(c, la, ctx, &w, p);
    return true;
}

/* The same for a store to a page with code that was stored to before. False: ask page_get(). */
static bool code_page(struct cpu *c, uint64_t la, unsigned acc, struct page *p)
{
    unsigned ctx = ctx_of(c, acc);
    const struct tlb_entry *e = tlb_slot(c, ctx, la);
    const struct tlb_info *i = tlb_info_of(c, ctx, la);
    if (i->code != (la & PAGE_MASK))
        return false;
    p->host = (uint8_t *)e->host;
    p->paddr = i->paddr;
    p->flags = &c->bus->page_flags[(uint64_t)(p->host - c->bus->ram) >> PAGE_SHIFT];
    p->writable = true;
    return *p->flags == (PAGE_CODE | PAGE_DIRTY);
}

/* Is it what is there already? Then translated code stays what it is. Not beside other CPUs, whose
 * stores could come between. */
static bool silent(const struct cpu *c, const struct page *p, unsigned offset, unsigned size,
                   uint64_t v)
{
    return p->flags && bus_marked(p->flags, PAGE_CODE) && p->writable && !c->share &&
           !((mem_get(p->host + offset, size) ^ v) << (64 - 8 * size));
}

/* May this instruction meet a device now? A device's access can't be undone or done twice, so the
 * instruction must be alone in its block: it then runs at an exact time, with all before it done.
 */
static bool may_touch(struct cpu *c, const struct page *p)
{
    if (p->host || c->single)
        return true;
    return cpu_fault(c, EXC_RESTART, "device memory at %#llx", p->paddr, 0);
}

/* A store that may_store() let through is done, or will not be. False. */
static bool store_done(struct cpu *c)
{
    for (; UNLIKELY(c->store_locks); c->store_locks--)
        cpu_unlock(c);
    return false;
}

/* The same for a store to a page with translated code and for one that ROM's device sees. */
static bool may_store(struct cpu *c, const struct page *p, unsigned offset, unsigned n)
{
    if (p->host && !p->writable)
        return c->single || cpu_fault(c, EXC_RESTART, "ROM at %#llx", p->paddr, 0);
    if (!may_touch(c, p))
        return false;
    if (!p->flags || !bus_marked(p->flags, PAGE_CODE))
        return true;
    cpu_lock(c);
    c->store_locks++;
    return blocks_written(c, p->paddr + offset, n) || store_done(c);
}

static uint64_t device_read(struct cpu *c, const struct page *p, unsigned offset, unsigned size)
{
    cpu_lock(c);
    uint64_t v = is_apic(c, p->paddr) ? c->apic.mmio_read(c->apic.apic, offset, size)
                                      : bus_read(c->bus, p->paddr | offset, size);
    cpu_unlock(c);
    return v;
}

/* A register of the local APIC that can be read in the middle of a block: kernels ask it for the
 * CPU's number all the time. */
static bool apic_read(struct cpu *c, uint64_t la, unsigned size, uint64_t *v)
{
    uint64_t got, offset = la & (PAGE_SIZE - 1);
    bool others = offset != 0x20; /* the ID is nobody else's business */
    if (others)
        cpu_lock(c);
    bool ok = c->apic.mmio_peek(c->apic.apic, offset, size, &got);
    if (others)
        cpu_unlock(c);
    if (!ok)
        return false;
    *v = size < 4 ? got & (BIT(8 * size) - 1) : got;
    return true;
}

static bool apic_known(const struct cpu *c, uint64_t la, unsigned acc)
{
    return ((la & PAGE_MASK) | ctx_of(c, acc)) == c->apic_la &&
           c->tlb->generation == c->apic_generation && (acc & 3) == ACC_READ && !c->alone.rows;
}

/* Notes a page for apic_known(), if it is the APIC's. */
static bool apic_learn(struct cpu *c, uint64_t la, unsigned acc, const struct page *p)
{
    if (!c->apic.mmio_peek || !is_apic(c, p->paddr) || (acc & 3) != ACC_READ)
        return false;
    c->apic_la = (la & PAGE_MASK) | ctx_of(c, acc);
    c->apic_generation = c->tlb->generation;
    return true;
}

static void device_write(struct cpu *c, const struct page *p, unsigned offset, unsigned size,
                         uint64_t v)
{
    cpu_lock(c);
    if (is_apic(c, p->paddr))
        c->apic.mmio_write(c->apic.apic, offset, size, v);
    else
        bus_write(c->bus, p->paddr | offset, size, v);
    cpu_unlock(c);
}

/* The largest of 8, 4, 2, 1 not beyond n. */
static unsigned piece_of(unsigned n)
{
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

/* n bytes of one page, already checked. */
static void page_read(struct cpu *c, const struct page *p, unsigned offset, uint8_t *to, unsigned n)
{
    if (p->host) {
        mem_copy(to, p->host + offset, n);
        return;
    }
    for (unsigned done = 0, size; done < n; done += size) {
        size = piece_of(n - done);
        uint64_t v = device_read(c, p, offset + done, size);
        memcpy(to + done, &v, size);
    }
}

static void page_write(struct cpu *c, const struct page *p, unsigned offset, const uint8_t *from,
                       unsigned n)
{
    if (p->host && p->writable) {
        mem_copy(p->host + offset, from, n);
        return;
    }
    for (unsigned done = 0, size; done < n; done += size) {
        uint64_t v = 0;
        size = piece_of(n - done);
        memcpy(&v, from + done, size);
        device_write(c, p, offset + done, size, v);
    }
}

/* The address that follows la by n bytes: linear addresses are 32 bits wide but in long mode. */
static uint64_t step_la(const struct cpu *c, uint64_t la, unsigned n, unsigned acc)
{
    bool wide = acc & ACC_SUPER ? cpu_long(c) : cpu_64(c);
    return wide ? la + n : (uint32_t)(la + n);
}

/* Up to two pages of an access of n bytes, 1..4096, both translated and free to touch. */
struct span {
    struct page page[2];
    unsigned first; /* bytes in page[0] */
};

static bool span_get(struct cpu *c, uint64_t la, unsigned n, unsigned acc, struct span *s)
{
    unsigned offset = la & (PAGE_SIZE - 1);
    bool write = (acc & 3) == ACC_WRITE;
    s->first = n <= PAGE_SIZE - offset ? n : PAGE_SIZE - offset;
    if (!page_get(c, la, acc, &s->page[0]))
        return false;
    if (s->first < n && !page_get(c, step_la(c, la, s->first, acc), acc, &s->page[1]))
        return false;
    if (!debug_access(c, la, n, write))
        return false;
    if (!write)
        return may_touch(c, &s->page[0]) && (s->first == n || may_touch(c, &s->page[1]));
    return may_store(c, &s->page[0], offset, s->first) &&
           (s->first == n || may_store(c, &s->page[1], 0, n - s->first) || store_done(c));
}

bool lin_load_bytes(struct cpu *c, uint64_t la, unsigned acc, void *buf, unsigned n)
{
    struct span s;
    if (!span_get(c, la, n, acc, &s))
        return false;
    page_read(c, &s.page[0], la & (PAGE_SIZE - 1), buf, s.first);
    if (s.first < n)
        page_read(c, &s.page[1], 0, (uint8_t *)buf + s.first, n - s.first);
    return true;
}

bool lin_store_bytes(struct cpu *c, uint64_t la, unsigned acc, const void *buf, unsigned n)
{
    struct span s;
    if (!span_get(c, la, n, acc, &s))
        return false;
    page_write(c, &s.page[0], la & (PAGE_SIZE - 1), buf, s.first);
    if (s.first < n)
        page_write(c, &s.page[1], 0, (const uint8_t *)buf + s.first, n - s.first);
    store_done(c);
    return true;
}

/* Translates and checks, and marks nothing but what the access itself would. */
bool lin_probe(struct cpu *c, uint64_t la, unsigned acc, unsigned n)
{
    struct page p;
    unsigned first = PAGE_SIZE - (la & (PAGE_SIZE - 1));
    if (!page_get(c, la, acc, &p))
        return false;
    return n <= first || page_get(c, step_la(c, la, first, acc), acc, &p);
}

static bool aligned(struct cpu *c, uint64_t la, unsigned size, unsigned acc)
{
    if (LIKELY(c->tlb_ctx != TLB_USER_AC || (acc & ACC_SUPER) || !(la & (size - 1))))
        return true;
    return cpu_fault(c, EXC_AC, "%llu bytes at %#llx are not aligned, and EFLAGS.AC is set", size,
                     la);
}

/* The commonest case, apart: a page's first use, within the page, of plain memory. */
static bool within(uint64_t la, unsigned size)
{
    return (la & (PAGE_SIZE - 1)) + size <= PAGE_SIZE;
}

bool mmu_load(struct cpu *c, uint64_t la, unsigned size, unsigned acc, uint64_t *v)
{
    uint64_t got = 0;
    if (!aligned(c, la, size, acc))
        return false;
    if (within(la, size) && !debug_watching(c)) {
        struct page p;
        unsigned offset = la & (PAGE_SIZE - 1);
        if (apic_known(c, la, acc) && apic_read(c, la, size, v))
            return true;
        if (!page_get(c, la, acc, &p))
            return false;
        if (!p.host && apic_learn(c, la, acc, &p) && apic_read(c, la, size, v))
            return true;
        if (!may_touch(c, &p))
            return false;
        if (p.host)
            got = mem_get(p.host + offset, size);
        else
            got = device_read(c, &p, offset, size);
    } else if (!lin_load_bytes(c, la, acc, &got, size)) {
        return false;
    }
    *v = got;
    return true;
}

bool mmu_store(struct cpu *c, uint64_t la, unsigned size, unsigned acc, uint64_t v)
{
    if (!aligned(c, la, size, acc))
        return false;
    if (!within(la, size) || debug_watching(c))
        return lin_store_bytes(c, la, acc, &v, size);
    struct page p;
    unsigned offset = la & (PAGE_SIZE - 1);
    if (!code_page(c, la, acc, &p) && !page_get(c, la, acc, &p))
        return false;
    if (silent(c, &p, offset, size, v))
        return true;
    if (!may_store(c, &p, offset, size))
        return false;
    if (p.host && p.writable)
        mem_put(p.host + offset, size, v);
    else
        device_write(c, &p, offset, size, v);
    store_done(c);
    return true;
}

bool sys_load(struct cpu *c, uint64_t la, unsigned size, uint64_t *v)
{
    const struct tlb_entry *e = tlb_slot(c, TLB_SUPER, la);
    uint64_t off = la - e->read;
    if (off > PAGE_SIZE - size)
        return mmu_load(c, la, size, ACC_READ | ACC_SUPER, v);
    *v = mem_get((const void *)(e->host + off), size);
    return true;
}

bool sys_store(struct cpu *c, uint64_t la, unsigned size, uint64_t v)
{
    const struct tlb_entry *e = tlb_slot(c, TLB_SUPER, la);
    uint64_t off = la - e->write;
    if (off > PAGE_SIZE - size)
        return mmu_store(c, la, size, ACC_WRITE | ACC_SUPER, v);
    mem_put((void *)(e->host + off), size, v);
    return true;
}

bool mmu_fetch(struct cpu *c, uint64_t la, uint64_t *paddr, const uint8_t **host)
{
    unsigned ctx = ctx_of(c, ACC_EXEC);
    const struct tlb_entry *e = tlb_slot(c, ctx, la);
    const struct tlb_info *i = tlb_info_of(c, ctx, la);
    struct page p;
    if (i->exec == (la & PAGE_MASK)) {
        *paddr = i->paddr | (la & (PAGE_SIZE - 1));
        *host = (const uint8_t *)e->host;
        tlb_note_code(c, la, i->global);
        return true;
    }
    if (!page_get(c, la, ACC_EXEC, &p))
        return false;
    tlb_note_code(c, la, p.host && i->global); /* filled, but for a device */
    *paddr = p.paddr | (la & (PAGE_SIZE - 1));
    *host = p.host;
    return true;
}

bool mmu_fetch_again(struct cpu *c, uint64_t la, uint64_t *paddr)
{
    unsigned ctx = ctx_of(c, ACC_EXEC);
    const uint8_t *host;
    if (tlb_info_of(c, ctx, la)->exec != (la & PAGE_MASK)) {
        struct walk w;
        walk(c, la, &w);
        if (w.result != WALK_OK || !allowed(c, &w, ctx, ACC_EXEC))
            return false;
        for (unsigned i = 0; i < w.steps; i++)
            if (w.step[i].addr != ~0ull && !(w.step[i].value & BIT(5)) /* accessed */)
                return false;
    }
    return mmu_fetch(c, la, paddr, &host);
}

bool mmu_peek_translate(struct cpu *c, uint64_t la, uint64_t *paddr)
{
    struct walk w;
    walk(c, la, &w);
    if (w.result != WALK_OK)
        return false;
    *paddr = (w.paddr | (la & (PAGE_SIZE - 1))) & c->bus->a20_mask;
    return true;
}

bool mmu_may_write(struct cpu *c, uint64_t la)
{
    struct walk w;
    walk(c, la, &w);
    return w.result == WALK_OK && allowed(c, &w, ctx_of(c, ACC_WRITE), ACC_WRITE);
}

size_t mmu_peek(struct cpu *c, uint64_t la, void *buf, size_t n)
{
    size_t done = 0;
    while (done < n) {
        uint64_t at = la + done, paddr;
        size_t piece = min_u64(n - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
        bool writable;
        uint8_t *flags, *host;
        if (!mmu_peek_translate(c, at, &paddr))
            break;
        host = bus_page(c->bus, paddr, &writable, &flags);
        if (!host)
            break;
        memcpy((uint8_t *)buf + done, host + (paddr & (PAGE_SIZE - 1)), piece);
        done += piece;
    }
    return done;
}
