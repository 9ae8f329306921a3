#include "cpu/block.h"

#include <stdlib.h>

#include "cpu/int_helpers.h"
#include "cpu/lift.h"
#include "cpu/mem.h"
#include "cpu/share.h"

#define BUCKETS      (1u << 16)
#define PAGE_BUCKETS (1u << 12)
#define LINE         64  /* bytes of the host's cache */
#define GRAIN        128 /* bytes; blocks' sizes are multiples */
#define CLASSES      ((sizeof(struct block) + BLOCK_UOPS * sizeof(struct uop)) / GRAIN + 2)
#define DEAD_MAX     (1u << 20) /* bytes of dead blocks that are worth a reclaim */

/* A physical page that has blocks. */
struct code_page {
    uint64_t paddr;
    uint64_t lines; /* bit n: some block may have bytes in [64 n, 64 n + 64) of it */
    struct block *first;
    struct code_page *next; /* in its bucket, or free */
};

/* A write that dropped a block. */
struct change {
    uint64_t paddr;
    uint8_t bytes, times;
};
#define CHANGES    256 /* power of two */
#define SOFT_TIMES 3   /* so often changed, an immediate is read from where it is */

struct block_cache {
    struct cpu *cpus[CPU_MAX];
    unsigned count;
    struct bus *bus;
    struct block_cache *peer; /* the next one on the bus, in a ring; itself, if it is alone */
    char *memory;             /* `allocated`, from the first line of the host's cache on */
    void *allocated;
    size_t size, used;
    struct block *free[CLASSES]; /* by size, chained by dead_next */
    struct block *dead;
    size_t dead_bytes;
    struct block *bucket[BUCKETS];
    uint64_t kept; /* blocks in these */
    struct code_page *pages[PAGE_BUCKETS], *free_pages;
    struct block nowhere; /* what empty jump entries point at */
    struct block_stats stats;
    struct block_hooks hooks;
    struct change changes[CHANGES];
    struct uop scratch[BLOCK_UOPS];
};

static unsigned hash(uint64_t paddr, uint32_t key)
{
    return (unsigned)((paddr ^ (uint64_t)key << 32) * 0x9e3779b97f4a7c15u >> 48) & (BUCKETS - 1);
}

static struct code_page **page_slot(struct block_cache *k, uint64_t paddr)
{
    uint64_t page = paddr & ~(uint64_t)(PAGE_SIZE - 1);
    struct code_page **p = &k->pages[paddr >> PAGE_SHIFT & (PAGE_BUCKETS - 1)];
    while (*p && (*p)->paddr != page)
        p = &(*p)->next;
    return p;
}

static void clear_jumps(struct block_cache *k)
{
    for (unsigned i = 0; i < k->count; i++) {
        for (unsigned j = 0; j < 1u << JUMP_BITS; j++)
            k->cpus[i]->jump[j] = (struct jump_entry){.la = ~0ull, .block = &k->nowhere};
        k->cpus[i]->link_from = NULL;
    }
}

struct block_cache *blocks_new(struct cpu **cpus, unsigned count, size_t bytes)
{
    struct block_cache *k = xcalloc(1, sizeof *k);
    k->allocated = xcalloc(1, bytes + LINE);
    k->memory = (char *)(((uintptr_t)k->allocated + LINE - 1) & ~(uintptr_t)(LINE - 1));
    k->size = bytes;
    k->count = count;
    k->bus = cpus[0]->bus;
    k->peer = k;
    k->nowhere.key = KEY_DEAD;
    for (unsigned i = 0; i < count; i++) {
        k->cpus[i] = cpus[i];
        cpus[i]->blocks = k;
        cpus[i]->jump = xcalloc(1u << JUMP_BITS, sizeof *cpus[i]->jump);
    }
    clear_jumps(k);
    return k;
}

void blocks_join(struct block_cache *k, struct block_cache *other)
{
    CHECK(k->peer == k && k->bus == other->bus);
    k->peer = other->peer;
    other->peer = k;
}

void blocks_free(struct block_cache *k)
{
    struct block_cache *before = k;
    blocks_flush(k);
    while (before->peer != k)
        before = before->peer;
    before->peer = k->peer;
    for (struct code_page *p = k->free_pages, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    for (unsigned i = 0; i < k->count; i++) {
        free(k->cpus[i]->jump);
        k->cpus[i]->jump = NULL;
        k->cpus[i]->blocks = NULL;
    }
    free(k->allocated);
    free(k);
}

void *blocks_memory(const struct block_cache *k, size_t *bytes)
{
    *bytes = k->size;
    return k->memory;
}

const struct block_stats *blocks_stats(const struct block_cache *k)
{
    return &k->stats;
}

/* Pages and their blocks. */

/* Which of the block's two pages is `page`? */
static unsigned page_side(const struct block *b, uint64_t page)
{
    return (b->paddr & ~(uint64_t)(PAGE_SIZE - 1)) == page ? 0 : 1;
}

/* First and last byte of b on its side's page, as offsets in it. */
static void page_span(const struct block *b, unsigned side, unsigned *first, unsigned *last)
{
    unsigned off = b->paddr & (PAGE_SIZE - 1), end = off + b->bytes - 1;
    *first = side ? 0 : off;
    *last = side ? end - PAGE_SIZE : end < PAGE_SIZE ? end : PAGE_SIZE - 1;
}

static uint64_t lines_of(unsigned first, unsigned last)
{
    return ~0ull >> (63 - last / 64) & ~0ull << first / 64;
}

/* Every write to the page is to be seen from now on. */
static void watch_page(struct block_cache *k, uint64_t page)
{
    bool writable;
    uint8_t *flags;
    bus_page(k->bus, page, &writable, &flags);
    if (!flags || bus_marked(flags, PAGE_CODE))
        return;
    bus_mark(flags, PAGE_CODE);
    share_still(k->cpus[0]);
    struct block_cache *q = k;
    do {
        for (unsigned i = 0; i < q->count; i++)
            tlb_protect_code(q->cpus[i], page);
        q = q->peer;
    } while (q != k);
}

static void unwatch_page(struct block_cache *k, uint64_t page)
{
    bool writable;
    uint8_t *flags;
    for (struct block_cache *q = k->peer; q != k; q = q->peer)
        if (*page_slot(q, page))
            return;
    bus_page(k->bus, page, &writable, &flags);
    if (flags)
        __atomic_fetch_and(flags, (uint8_t)~PAGE_CODE, __ATOMIC_SEQ_CST);
}

static void page_add(struct block_cache *k, struct block *b, unsigned side)
{
    uint64_t page = (side ? b->paddr2 : b->paddr) & ~(uint64_t)(PAGE_SIZE - 1);
    struct code_page **slot = page_slot(k, page), *p = *slot;
    unsigned first, last;
    if (!p) {
        p = k->free_pages;
        if (p)
            k->free_pages = p->next;
        else
            p = xcalloc(1, sizeof *p);
        *p = (struct code_page){.paddr = page};
        *slot = p;
        watch_page(k, page);
    }
    b->page_next[side] = p->first;
    b->page_at[side] = &p->first;
    if (p->first)
        p->first->page_at[page_side(p->first, page)] = &b->page_next[side];
    p->first = b;
    page_span(b, side, &first, &last);
    p->lines |= lines_of(first, last);
}

/* Takes b from the list of one of its pages, and gives the page up if it was the last. `lines` may
 * say too much afterwards: count_lines(). */
static void page_remove(struct block_cache *k, struct block *b, unsigned side)
{
    uint64_t page = (side ? b->paddr2 : b->paddr) & ~(uint64_t)(PAGE_SIZE - 1);
    struct code_page **slot = page_slot(k, page), *p = *slot;
    struct block *next = b->page_next[side];
    *b->page_at[side] = next;
    if (next)
        next->page_at[page_side(next, page)] = b->page_at[side];
    if (!p->first) {
        *slot = p->next;
        p->next = k->free_pages;
        k->free_pages = p;
        unwatch_page(k, page);
    }
}

static void count_lines(struct code_page *p)
{
    p->lines = 0;
    for (struct block *b = p->first; b; b = b->page_next[page_side(b, p->paddr)]) {
        unsigned first, last;
        page_span(b, page_side(b, p->paddr), &first, &last);
        p->lines |= lines_of(first, last);
    }
}

/* Links. */

static void unlink_exit(struct block_cache *k, struct block *b, unsigned which)
{
    struct block_link *l = &b->link[which], **at;
    b->to[which] = NULL;
    if (!l->target)
        return;
    if (b->code)
        k->hooks.unlinked(k->hooks.opaque, b, which);
    for (at = &l->target->in; *at != l; at = &(*at)->next)
        ;
    *at = l->next;
    l->target = NULL;
}

void blocks_hook(struct block_cache *k, const struct block_hooks *h)
{
    k->hooks = *h;
}

void blocks_note_link(struct block *b, unsigned which, struct block *target)
{
    struct block_link *l = &b->link[which];
    l->target = target;
    l->next = target->in;
    target->in = l;
}

void blocks_unlink(struct block_cache *k, struct block *b, unsigned which)
{
    unlink_exit(k, b, which);
}

void blocks_each(struct block_cache *k, void (*f)(void *opaque, struct block *b), void *opaque)
{
    uint64_t left = k->kept;
    for (unsigned i = 0; i < BUCKETS && left; i++)
        for (struct block *b = k->bucket[i]; b; b = b->hash_next, left--)
            f(opaque, b);
}

/* Memory of `size` bytes, a multiple of GRAIN, or NULL. */
static void *take(struct block_cache *k, size_t size)
{
    struct block *b = k->free[size / GRAIN];
    if (b) {
        k->free[size / GRAIN] = b->dead_next;
        return b;
    }
    if (k->size - k->used < size)
        return NULL;
    b = (struct block *)(k->memory + k->used);
    k->used += size;
    return b;
}

static void bury(struct block_cache *k, struct block *b)
{
    b->key = KEY_DEAD;
    b->dead_next = k->dead;
    k->dead = b;
    k->dead_bytes += b->size;
}

static void drop(struct block_cache *k, struct block *b)
{
    struct block **at = &k->bucket[hash(b->paddr, b->key)];
    while (*at != b)
        at = &(*at)->hash_next;
    *at = b->hash_next;
    k->kept--;
    page_remove(k, b, 0);
    if (b->paddr2 != ~0ull)
        page_remove(k, b, 1);
    while (b->in)
        unlink_exit(k, b->in->owner, (unsigned)(b->in - b->in->owner->link));
    for (unsigned w = 0; w < 2; w++) {
        unlink_exit(k, b, w);
        if (b->guard[w])
            bury(k, b->guard[w]);
    }
    if (b->code)
        k->hooks.dropped(k->hooks.opaque, b);
    k->stats.dropped++;
    bury(k, b);
}

void blocks_flush(struct block_cache *k)
{
    for (unsigned i = 0; i < BUCKETS && k->kept; i++)
        while (k->bucket[i])
            drop(k, k->bucket[i]);
    k->stats.flushes++;
}

void blocks_drop_offset(struct block_cache *k, unsigned offset)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct block *b = k->bucket[i], *next; b; b = next) {
            next = b->hash_next;
            if (((offset - b->paddr) & (PAGE_SIZE - 1)) < b->bytes)
                drop(k, b);
        }
    }
}

void blocks_remap(struct block_cache *k)
{
    struct block_cache *q = k;
    share_still(k->cpus[0]);
    do {
        blocks_flush(q);
        for (unsigned i = 0; i < q->count; i++)
            tlb_flush(q->cpus[i]);
        q = q->peer;
    } while (q != k);
}

void blocks_reclaim(struct block_cache *k)
{
    size_t live = k->used;
    clear_jumps(k);
    for (struct block *b = k->dead, *next; b; b = next) {
        next = b->dead_next;
        b->dead_next = k->free[b->size / GRAIN];
        k->free[b->size / GRAIN] = b;
    }
    k->dead = NULL;
    k->dead_bytes = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        for (struct block *b = k->free[i]; live && b; b = b->dead_next)
            live -= b->size;
    if (!live) { /* begin anew, without holes */
        memset(k->free, 0, sizeof k->free);
        k->used = 0;
    }
}

/* A block with room for n uops; makes room when there is none. No uop runs. */
static struct block *allocate(struct block_cache *k, unsigned n)
{
    size_t size = align_up(sizeof(struct block) + n * sizeof(struct uop), GRAIN);
    struct block *b = k->dead_bytes > DEAD_MAX ? NULL : take(k, size);
    if (!b) {
        blocks_reclaim(k);
        b = take(k, size);
    }
    if (!b) {
        blocks_flush(k);
        blocks_reclaim(k);
        b = take(k, size);
        CHECK(b);
    }
    *b = (struct block){.uops = (struct uop *)(b + 1), .paddr2 = ~0ull, .size = (uint32_t)size};
    b->link[0].owner = b->link[1].owner = b;
    return b;
}

void blocks_link(struct cpu *c, struct block *b)
{
    struct block *from = c->link_from, *g;
    unsigned which = c->link_which;
    uint64_t stamp = c->code_generation ^ (uint64_t)c->index << 56;
    c->link_from = NULL;
    if (!from || from->key != b->key || (b->key & KEY_SINGLE) || !b->kept || !from->kept ||
        !((b->key & KEY_FLAT_CS) || (b->key & KEY_CODE) == ISA_64))
        return;
    unlink_exit(c->blocks, from, which);
    if (c->link_near && from->paddr2 == ~0ull && b->paddr2 == ~0ull) {
        from->to[which] = b;
    } else {
        g = from->guard[which];
        if (!g) {
            struct block_cache *k = c->blocks;
            size_t size = align_up(sizeof *g + sizeof(struct uop), GRAIN);
            g = take(k, size);
            if (!g)
                return;
            *g = (struct block){.uops = (struct uop *)(g + 1),
                                .size = (uint32_t)size,
                                .bytes = (uint16_t)which,
                                .key = from->key};
            g->uops[0] = (struct uop){.op = UOP_GUARD, .a = R_ZERO, .b = R_ZERO};
            g->link[0].owner = from;
            from->guard[which] = g;
        }
        g->guarded = b;
        g->stamp = stamp;
        from->to[which] = g;
    }
    blocks_note_link(from, which, b);
}

/* Making and finding. */

struct fetch {
    uint64_t la, paddr;
    const uint8_t *host; /* of the byte at la, or NULL */
    uint32_t key;
};

static struct block *finish(struct block_cache *k, const struct lifted *l, const struct fetch *f,
                            uint64_t paddr2)
{
    struct block *b = allocate(k, l->uop_count);
    unsigned code = f->key & KEY_CODE;
    memcpy(b->uops, k->scratch, l->uop_count * sizeof(struct uop));
    b->insns = (uint16_t)l->insn_count;
    b->bytes = (uint16_t)l->bytes;
    b->key = f->key;
    b->paddr = f->paddr;
    b->paddr2 = paddr2;
    b->mask[0] = code == ISA_64 ? ~0ull : 0xffffffff;
    b->mask[1] = code == ISA_16 ? 0xffff : b->mask[0];
    k->stats.lifted++;
    return b;
}

/* Puts a block where it is found again. */
static void insert(struct block_cache *k, struct block *b)
{
    unsigned h = hash(b->paddr, b->key);
    b->kept = true;
    b->hash_next = k->bucket[h];
    k->bucket[h] = b;
    k->kept++;
    page_add(k, b, 0);
    if (b->paddr2 != ~0ull)
        page_add(k, b, 1);
}

/* A block that nobody finds again: dead from the start, but it can run. */
static void use_once(struct block_cache *k, struct block *b)
{
    uint32_t key = b->key;
    bury(k, b);
    b->key = key;
}

/* Can what is made from this page be kept? Only if writes to it are seen, or there are none. */
static bool keepable(struct block_cache *k, uint64_t paddr)
{
    bool writable;
    uint8_t *flags;
    return bus_page(k->bus, paddr, &writable, &flags) && (flags || !writable);
}

/* Before the bytes of a page are read, where other CPUs may write them meanwhile. */
static void watch_shared(struct cpu *c, uint64_t paddr)
{
    if (c->share)
        watch_page(c->blocks, paddr & ~(uint64_t)(PAGE_SIZE - 1));
}

static struct block *make_crossing(struct cpu *c, const struct fetch *f, size_t n)
{
    struct block_cache *k = c->blocks;
    struct lifted l;
    uint8_t bytes[2 * ISA_MAX_LEN + 2];
    const uint8_t *host;
    uint64_t paddr2, mask = (f->key & KEY_CODE) == ISA_64 ? ~0ull : 0xffffffff;
    memcpy(bytes, f->host, n);
    if (!mmu_fetch(c, (f->la + n) & mask, &paddr2, &host))
        return NULL;
    watch_shared(c, paddr2);
    for (unsigned i = 0; i < ISA_MAX_LEN + 1; i++)
        bytes[n + i] = host ? host[i] : (uint8_t)bus_read(k->bus, paddr2 + i, 1);
    lift_block(c, &l, k->scratch, BLOCK_UOPS, bytes, n + ISA_MAX_LEN + 1, f->key, 1);
    CHECK(!l.crosses);
    bool both = l.bytes > n;
    struct block *b = finish(k, &l, f, both ? paddr2 : ~0ull);
    if (keepable(k, f->paddr) &&
        (!both || (keepable(k, paddr2) && (paddr2 ^ f->paddr) >= PAGE_SIZE)))
        insert(k, b);
    else
        use_once(k, b);
    return b;
}

/* Immediates that programs change again and again, as code that they make by a pattern: where
 * exactly that was written several times, MOV reads it from the code each time, and what is written
 * there drops nothing. */

static struct change *change_at(struct block_cache *k, uint64_t paddr)
{
    return &k->changes[hash(paddr, 0) & (CHANGES - 1)];
}

static void note_change(struct block_cache *k, uint64_t paddr, unsigned bytes)
{
    struct change *n = change_at(k, paddr);
    if (n->paddr != paddr || n->bytes != bytes)
        *n = (struct change){.paddr = paddr, .bytes = (uint8_t)bytes};
    if (n->times < UINT8_MAX)
        n->times++;
}

/* Bytes of the immediate at the end of MOV r, imm (SDM 2B: B8+r), or 0. */
static unsigned immediate_of(const struct uop *u, const uint8_t *bytes)
{
    const uint8_t *p = bytes + u->ip;
    unsigned n = (unsigned)(u->next - u->ip);
    unsigned rex = n == 6 || n == 10 ? *p++ : 0;
    if ((*p & 0xf8) != 0xb8)
        return 0;
    if (u->op == UOP_MOV_I32 && (n == 5 || (n == 6 && (rex & 0xf8) == 0x40)))
        return 4;
    return u->op == UOP_MOV_I64 && n == 10 && (rex & 0xf8) == 0x48 ? 8 : 0;
}

/* The first such immediate of a block that was lifted from memory at `host`. */
static void soften(struct block_cache *k, struct block *b, const uint8_t *host)
{
    for (struct uop *u = b->uops; !uop_exits(u->op); u++) {
        if (u->op != UOP_MOV_I32 && u->op != UOP_MOV_I64)
            continue;
        unsigned n = immediate_of(u, host), at = u->next - n;
        const struct change *h = change_at(k, b->paddr + at);
        if (!n || h->paddr != b->paddr + at || h->bytes != n || h->times < SOFT_TIMES)
            continue;
        u->op = UOP_CALLQ;
        u->aux = 0;
        u->scale = 0;
        u->size = (uint8_t)n;
        u->imm = (int64_t)(uintptr_t)(host + at);
        u->helper = q_code_immediate;
        b->soft = (uint16_t)at;
        b->soft_bytes = (uint16_t)n;
        return;
    }
}

static struct block *make(struct cpu *c, struct fetch *f)
{
    struct block_cache *k = c->blocks;
    struct lifted l;
    uint8_t bytes[ISA_MAX_LEN];
    size_t n = PAGE_SIZE - (f->paddr & (PAGE_SIZE - 1));
    unsigned max = f->key & KEY_SINGLE ? 1 : BLOCK_INSNS;
    bool keep = f->host && keepable(k, f->paddr);
    if (!f->host) { /* a device's memory: one instruction, fetched each time */
        n = min_u64(n, sizeof bytes);
        for (unsigned i = 0; i < n; i++)
            bytes[i] = (uint8_t)bus_read(k->bus, f->paddr + i, 1);
        f->host = bytes;
    }
    lift_block(c, &l, k->scratch, BLOCK_UOPS, f->host, n, f->key, keep ? max : 1);
    if (l.crosses)
        return make_crossing(c, f, n);
    struct block *b = finish(k, &l, f, ~0ull);
    if (keep && max > 1)
        soften(k, b, f->host);
    if (keep)
        insert(k, b);
    else
        use_once(k, b);
    return b;
}

/* The page's bytes are read and the block is put where writes to them find it in one go: no write
 * by another CPU comes between, as those to a page with code wait for the lock, and those to
 * another page end before the page is watched. */
static struct block *make_locked(struct cpu *c, struct fetch *f)
{
    uint64_t generation = c->tlb->generation;
    cpu_lock(c);
    if (c->tlb->generation != generation) { /* while we waited: another map */
        if (!mmu_fetch(c, f->la, &f->paddr, &f->host)) {
            cpu_unlock(c);
            return NULL;
        }
    }
    watch_shared(c, f->paddr);
    if (f->host)
        f->host += f->paddr & (PAGE_SIZE - 1);
    struct block *b = make(c, f);
    cpu_unlock(c);
    return b;
}

static struct block *search(struct block_cache *k, uint64_t paddr, uint32_t key)
{
    struct block *b = k->bucket[hash(paddr, key)];
    while (b && (b->paddr != paddr || b->key != key))
        b = b->hash_next;
    return b;
}

struct block *blocks_peek(struct block_cache *k, uint64_t paddr, uint32_t key)
{
    return search(k, paddr, key);
}

/* Unless another CPU's write has dropped it meanwhile. */
static void drop_locked(struct cpu *c, struct block *b)
{
    cpu_lock(c);
    if (b->key != KEY_DEAD)
        drop(c->blocks, b);
    cpu_unlock(c);
}

static bool fetch_fault(struct cpu *c, uint64_t ip)
{
    return cpu_fault_err(c, EXC_GP, 0, "fetch at %llx, beyond what CS allows", ip, 0);
}

struct block *blocks_find(struct cpu *c, uint32_t extra)
{
    const struct seg *cs = &c->s.seg[SEG_CS];
    uint64_t ip = c->s.rip, paddr2;
    const uint8_t *host2;
    struct fetch f = {.la = ip, .key = c->key | (uint32_t)c->cpl << KEY_CPL_SHIFT | extra};
    bool code64 = (f.key & KEY_CODE) == ISA_64, limited = !code64 && !(f.key & KEY_FLAT_CS);
    struct jump_entry *e;
    struct block *b;
    if (!code64)
        f.la = (uint32_t)(ip + cs->base);
    if (code64 ? sext(ip, 48) != (int64_t)ip : limited && ip > cs->limit)
        return fetch_fault(c, ip), NULL;
    e = &c->jump[jump_hash(f.la)];
    b = e->block;
    if (e->la != f.la || e->stamp != c->code_generation || b->key != f.key) {
        if (!mmu_fetch(c, f.la, &f.paddr, &f.host))
            return NULL;
        b = search(c->blocks, f.paddr, f.key);
        if (b && b->paddr2 != ~0ull) {
            unsigned n = PAGE_SIZE - (f.la & (PAGE_SIZE - 1));
            if (!mmu_fetch(c, code64 ? f.la + n : (uint32_t)(f.la + n), &paddr2, &host2))
                return NULL;
            if (paddr2 != b->paddr2) {
                drop_locked(c, b);
                b = NULL;
            }
        }
        if (!b)
            b = make_locked(c, &f);
        if (!b)
            return NULL;
        if (!(f.key & KEY_SINGLE) && b->kept)
            *e = (struct jump_entry){.la = f.la, .stamp = c->code_generation, .block = b};
    }
    if (limited && ip + b->bytes - 1 > cs->limit) {
        if (b->insns > 1)
            return blocks_find(c, extra | KEY_SINGLE);
        return fetch_fault(c, ip), NULL;
    }
    return b;
}

/* Writes. */

static bool overlaps(const struct block *b, uint64_t page, unsigned first, unsigned last)
{
    unsigned bf, bl;
    page_span(b, page_side(b, page), &bf, &bl);
    if (b->soft_bytes && first >= bf + b->soft && last < bf + b->soft + b->soft_bytes)
        return false;
    return bf <= last && first <= bl;
}

/* The page, if it may have code there. */
static struct code_page *page_hit(struct block_cache *k, uint64_t page, unsigned first,
                                  unsigned last)
{
    struct code_page *p = *page_slot(k, page);
    return p && (p->lines & lines_of(first, last)) ? p : NULL;
}

/* Drops what has bytes in [first, last] of a page. */
static void invalidate_page(struct block_cache *k, uint64_t page, unsigned first, unsigned last)
{
    struct code_page *p = page_hit(k, page, first, last);
    bool dropped = false;
    if (!p)
        return;
    for (struct block *b = p->first, *next; b; b = next) {
        next = b->page_next[page_side(b, page)];
        if (overlaps(b, page, first, last)) {
            drop(k, b);
            dropped = true;
        }
    }
    if (dropped && last - first < 8)
        note_change(k, page + first, last - first + 1);
    p = *page_slot(k, page);
    if (p)
        count_lines(p);
}

/* In all caches but k; in all, if `self`. Other CPUs must not be running what is dropped. */
static void invalidate_peers(struct block_cache *k, uint64_t page, unsigned first, unsigned last,
                             bool self)
{
    struct block_cache *q = k;
    bool stands = false;
    do {
        if ((q != k || self) && page_hit(q, page, first, last)) {
            if (!stands)
                share_still(k->cpus[0]);
            stands = true;
            invalidate_page(q, page, first, last);
        }
        q = q->peer;
    } while (q != k);
}

void blocks_invalidate(struct block_cache *k, uint64_t paddr, uint64_t len)
{
    while (len) {
        unsigned first = paddr & (PAGE_SIZE - 1);
        uint64_t n = min_u64(len, PAGE_SIZE - first);
        invalidate_peers(k, paddr - first, first, first + (unsigned)n - 1, true);
        paddr += n;
        len -= n;
    }
}

bool blocks_written(struct cpu *c, uint64_t paddr, uint64_t len)
{
    struct block_cache *k = c->blocks;
    uint64_t page = paddr & ~(uint64_t)(PAGE_SIZE - 1);
    unsigned first = paddr & (PAGE_SIZE - 1), last = first + (unsigned)len - 1;
    struct block *b = c->block;
    if (!k)
        return true;
    if (page_hit(k, page, first, last)) {
        if (b && b->insns > 1 && b->key != KEY_DEAD &&
            ((b->paddr ^ page) < PAGE_SIZE || (b->paddr2 ^ page) < PAGE_SIZE) &&
            overlaps(b, page, first, last)) {
            c->fault.vector = EXC_RESTART;
            return false;
        }
        invalidate_page(k, page, first, last);
    }
    invalidate_peers(k, page, first, last, false);
    return true;
}
