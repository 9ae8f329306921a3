#include "bus/bus.h"

#include <stdlib.h>

void bus_init(struct bus *b, uint8_t *ram, uint64_t ram_size, const struct log *log)
{
    CHECK(ram_size % PAGE_SIZE == 0 && ram_size <= RAM_MAX);
    *b = (struct bus){.ram = ram, .ram_size = ram_size, .a20_mask = ~0ull, .log = log};
    b->page_flags = xcalloc(ram_size / PAGE_SIZE + 1, 1);
    b->plain_size = bus_ram_low(b);
}

void bus_free(struct bus *b)
{
    free(b->page_flags);
    b->page_flags = NULL;
}

uint64_t bus_ram_low(const struct bus *b)
{
    return min_u64(b->ram_size, PCI_HOLE);
}

uint64_t bus_ram_high(const struct bus *b)
{
    return b->ram_size - bus_ram_low(b);
}

/* Offset into `ram` of a physical address, or ~0 where there is no RAM. */
static uint64_t ram_offset(const struct bus *b, uint64_t paddr)
{
    if (paddr < bus_ram_low(b))
        return paddr;
    if (paddr >= PCI_HOLE_END && paddr - PCI_HOLE_END < bus_ram_high(b))
        return paddr - PCI_HOLE_END + PCI_HOLE;
    return ~0ull;
}

static void still(struct bus *b, enum bus_space space)
{
    if (space == BUS_MEM && b->still)
        b->still(b->still_opaque);
}

/* The region that holds `addr`, or NULL. */
static struct region *find(const struct bus *b, enum bus_space space, uint64_t addr)
{
    unsigned lo = 0, hi = b->region_count[space];
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        struct region *r = b->region[space][mid];
        if (addr < r->base)
            hi = mid;
        else if (addr - r->base >= r->size)
            lo = mid + 1;
        else
            return r;
    }
    return NULL;
}

/* The largest piece of low RAM between regions. */
static void find_plain(struct bus *b)
{
    uint64_t at = 0, end = bus_ram_low(b);
    b->plain_start = b->plain_size = 0;
    for (unsigned i = 0; i <= b->region_count[BUS_MEM]; i++) {
        const struct region *r = i < b->region_count[BUS_MEM] ? b->region[BUS_MEM][i] : NULL;
        uint64_t to = r ? min_u64(r->base, end) : end;
        if (to > at && to - at > b->plain_size) {
            b->plain_start = at;
            b->plain_size = to - at;
        }
        if (r)
            at = max_u64(at, r->base + r->size);
    }
}

bool bus_add(struct bus *b, enum bus_space space, uint64_t base, struct region *r, struct err *e)
{
    CHECK(!r->mapped && r->size);
    struct region **list = b->region[space];
    unsigned n = b->region_count[space], at = 0;
    uint64_t limit = space == BUS_PORT ? 0xffff : ~0ull;
    if (base > limit || r->size - 1 > limit - base)
        return err_set(e, ERR_INVALID, "%s at %#llx, %#llx bytes: beyond the address space",
                       r->name, (unsigned long long)base, (unsigned long long)r->size);
    if (r->host && (base | r->size) % PAGE_SIZE)
        return err_set(e, ERR_INVALID, "%s at %#llx: memory must lie on whole pages", r->name,
                       (unsigned long long)base);
    if (n == BUS_REGIONS)
        return err_set(e, ERR_NO_SPACE, "%s: too many regions", r->name);
    for (; at < n && list[at]->base < base; at++)
        ;
    struct region *before = at ? list[at - 1] : NULL, *after = at < n ? list[at] : NULL;
    if (before && base - before->base >= before->size)
        before = NULL;
    if (after && after->base - base >= r->size)
        after = NULL;
    if (before || after)
        return err_set(e, ERR_CONFLICT, "%s at %#llx overlaps %s", r->name,
                       (unsigned long long)base, before ? before->name : after->name);
    still(b, space);
    memmove(list + at + 1, list + at, (n - at) * sizeof *list);
    list[at] = r;
    b->region_count[space]++;
    r->space = space;
    r->base = base;
    r->mapped = true;
    if (space == BUS_MEM)
        find_plain(b);
    if (space == BUS_MEM && b->remap)
        b->remap(b->opaque);
    return true;
}

void bus_remove(struct bus *b, struct region *r)
{
    if (!r->mapped)
        return;
    struct region **list = b->region[r->space];
    unsigned n = b->region_count[r->space], at = 0;
    while (at < n && list[at] != r)
        at++;
    CHECK(at < n);
    still(b, r->space);
    memmove(list + at, list + at + 1, (n - at - 1) * sizeof *list);
    b->region_count[r->space]--;
    r->mapped = false;
    if (r->space == BUS_MEM)
        find_plain(b);
    if (r->space == BUS_MEM && b->remap)
        b->remap(b->opaque);
}

static unsigned sizes_of(const struct region *r)
{
    return r->ops->sizes ? r->ops->sizes : 1 | 2 | 4;
}

static uint64_t region_read(struct bus *b, enum bus_space space, uint64_t addr, unsigned size)
{
    struct region *r = find(b, space, addr);
    if (r && r->ops && (sizes_of(r) & size) && r->size - (addr - r->base) >= size)
        return r->ops->read(r->dev, addr - r->base, size);
    if (size > 1) {
        uint64_t v = 0;
        /* halves, so that a register pair is still read in the largest pieces it takes */
        v = region_read(b, space, addr, size / 2);
        return v | region_read(b, space, addr + size / 2, size / 2) << size * 4;
    }
    if (r && r->host)
        return r->host[addr - r->base];
    if (!r)
        LOG(b->log, IO, "read of %s %#llx: nothing there", space == BUS_PORT ? "port" : "memory",
            (unsigned long long)addr);
    return 0xff;
}

static void region_write(struct bus *b, enum bus_space space, uint64_t addr, unsigned size,
                         uint64_t v)
{
    struct region *r = find(b, space, addr);
    if (r && r->ops && r->ops->write && (sizes_of(r) & size) &&
        r->size - (addr - r->base) >= size) {
        r->ops->write(r->dev, addr - r->base, size, v);
        return;
    }
    if (size > 1) {
        region_write(b, space, addr, size / 2, v);
        region_write(b, space, addr + size / 2, size / 2, v >> size * 4);
        return;
    }
    if (r && r->host && !r->rom)
        r->host[addr - r->base] = (uint8_t)v;
    else if (!r)
        LOG(b->log, IO, "write of %#x to %s %#llx: nothing there", (unsigned)(v & 0xff),
            space == BUS_PORT ? "port" : "memory", (unsigned long long)addr);
}

static uint64_t mask_of(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

uint32_t bus_in(struct bus *b, uint16_t port, unsigned size)
{
    return (uint32_t)(region_read(b, BUS_PORT, port, size) & mask_of(size));
}

void bus_out(struct bus *b, uint16_t port, unsigned size, uint32_t value)
{
    region_write(b, BUS_PORT, port, size, value & mask_of(size));
}

/* The region of a port that takes accesses of `size` bytes there in one piece, or NULL. */
static struct region *port_whole(struct bus *b, uint16_t port, unsigned size)
{
    struct region *r = find(b, BUS_PORT, port);
    return r && r->ops && (sizes_of(r) & size) && r->size - (port - r->base) >= size ? r : NULL;
}

unsigned bus_in_many(struct bus *b, uint16_t port, unsigned size, void *to, unsigned n)
{
    struct region *r = port_whole(b, port, size);
    return r && r->ops->read_many ? r->ops->read_many(r->dev, port - r->base, size, to, n) : 0;
}

unsigned bus_out_many(struct bus *b, uint16_t port, unsigned size, const void *from, unsigned n)
{
    struct region *r = port_whole(b, port, size);
    return r && r->ops->write_many ? r->ops->write_many(r->dev, port - r->base, size, from, n) : 0;
}

/* bus_page(), with nothing to be seen of A20. */
static uint8_t *page_at(struct bus *b, uint64_t paddr, bool *writable, uint8_t **flags)
{
    paddr &= ~(uint64_t)(PAGE_SIZE - 1);
    *writable = true;
    if (paddr - b->plain_start < b->plain_size) {
        *flags = &b->page_flags[paddr >> PAGE_SHIFT];
        return b->ram + paddr;
    }
    struct region *r = find(b, BUS_MEM, paddr);
    *flags = NULL;
    if (r) {
        *writable = !r->rom;
        return r->host ? r->host + (paddr - r->base) : NULL;
    }
    uint64_t off = ram_offset(b, paddr);
    if (off == ~0ull)
        return NULL;
    *flags = &b->page_flags[off >> PAGE_SHIFT];
    return b->ram + off;
}

bool bus_peek(struct bus *b, uint64_t paddr, uint8_t *v)
{
    struct region *r = find(b, BUS_MEM, paddr);
    return r && r->ops && r->ops->peek && r->ops->peek(r->dev, paddr - r->base, v);
}

uint8_t *bus_page(struct bus *b, uint64_t paddr, bool *writable, uint8_t **flags)
{
    return page_at(b, paddr & b->a20_mask, writable, flags);
}

uint64_t bus_read(struct bus *b, uint64_t paddr, unsigned size)
{
    bool writable;
    uint8_t *flags, *host = bus_page(b, paddr, &writable, &flags);
    if (host) {
        uint64_t v = 0;
        memcpy(&v, host + (paddr & (PAGE_SIZE - 1)), size);
        return v;
    }
    return region_read(b, BUS_MEM, paddr & b->a20_mask, size) & mask_of(size);
}

static void touched(struct bus *b, uint64_t paddr, uint64_t len, uint8_t *flags)
{
    if (bus_marked(flags, PAGE_CODE) && b->code_write)
        b->code_write(b->opaque, paddr, len);
    bus_mark(flags, PAGE_DIRTY);
}

void bus_write(struct bus *b, uint64_t paddr, unsigned size, uint64_t value)
{
    bool writable;
    uint8_t *flags, *host = bus_page(b, paddr, &writable, &flags);
    if (host && writable) {
        memcpy(host + (paddr & (PAGE_SIZE - 1)), &value, size);
        if (flags)
            touched(b, paddr & b->a20_mask, size, flags);
        return;
    }
    region_write(b, BUS_MEM, paddr & b->a20_mask, size, value & mask_of(size));
}

/* The piece of [paddr, …) up to the page's end, as host memory; A20 left out as DMA doesn't see
 * the gate. */
static uint8_t *dma_piece(struct bus *b, uint64_t paddr, bool write, uint8_t **flags)
{
    bool writable;
    uint8_t *host = page_at(b, paddr, &writable, flags);
    return host && (writable || !write) ? host + (paddr & (PAGE_SIZE - 1)) : NULL;
}

bool bus_dma_read(struct bus *b, uint64_t paddr, void *buf, uint64_t len)
{
    uint8_t *to = buf, *flags;
    bool ok = true;
    while (len) {
        uint64_t n = min_u64(len, PAGE_SIZE - (paddr & (PAGE_SIZE - 1)));
        const uint8_t *from = dma_piece(b, paddr, false, &flags);
        if (from)
            memcpy(to, from, n);
        else
            memset(to, 0xff, n);
        ok = ok && from;
        to += n;
        paddr += n;
        len -= n;
    }
    return ok;
}

bool bus_dma_write(struct bus *b, uint64_t paddr, const void *buf, uint64_t len)
{
    const uint8_t *from = buf;
    bool ok = true;
    while (len) {
        uint64_t n = min_u64(len, PAGE_SIZE - (paddr & (PAGE_SIZE - 1)));
        uint8_t *flags, *to = dma_piece(b, paddr, true, &flags);
        if (to)
            memcpy(to, from, n);
        if (to && flags)
            touched(b, paddr, n, flags);
        ok = ok && to;
        from += n;
        paddr += n;
        len -= n;
    }
    return ok;
}

bool bus_dma_load16(struct bus *b, uint64_t paddr, uint16_t *v)
{
    uint8_t *flags, *from = dma_piece(b, paddr & ~1ull, false, &flags);
    *v = from ? __atomic_load_n((uint16_t *)from, __ATOMIC_ACQUIRE) : 0xffff;
    return from != NULL;
}

bool bus_dma_store16(struct bus *b, uint64_t paddr, uint16_t v)
{
    uint8_t *flags, *to = dma_piece(b, paddr & ~1ull, true, &flags);
    if (!to)
        return false;
    __atomic_store_n((uint16_t *)to, v, __ATOMIC_RELEASE);
    if (flags)
        touched(b, paddr & ~1ull, 2, flags);
    return true;
}

uint8_t *bus_ram(struct bus *b, uint64_t paddr, uint64_t len)
{
    uint64_t end = paddr < PCI_HOLE_END ? bus_ram_low(b) : PCI_HOLE_END + bus_ram_high(b);
    uint64_t off = ram_offset(b, paddr);
    if (off == ~0ull || len > end - paddr)
        return NULL;
    return b->ram + off;
}

void bus_set_a20(struct bus *b, bool on)
{
    uint64_t mask = on ? ~0ull : ~BIT(20);
    if (mask == b->a20_mask)
        return;
    still(b, BUS_MEM);
    b->a20_mask = mask;
    if (b->remap)
        b->remap(b->opaque);
}
