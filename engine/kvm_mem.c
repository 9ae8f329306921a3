/* Guest memory as the kernel's slots: what the bus's map says, region by region. A page that is no
 * slot leaves the kernel at each access. */
#include <errno.h>
#include <stdlib.h>

#include "engine/kvm_vm.h"

struct map {
    struct kvm_slot piece[KVM_SLOTS];
    unsigned count;
    bool full;
};

/* Pieces that touch, in the guest and in the host, become one. */
static void add(struct map *m, uint64_t paddr, uint64_t size, uint8_t *host, bool rom)
{
    struct kvm_slot *last = m->count ? &m->piece[m->count - 1] : NULL;
    if (!size)
        return;
    if (last && last->paddr + last->size == paddr && last->host + last->size == host &&
        last->rom == rom) {
        last->size += size;
        return;
    }
    if (m->count == KVM_SLOTS) {
        m->full = true;
        return;
    }
    m->piece[m->count++] =
        (struct kvm_slot){.paddr = paddr, .size = size, .host = host, .rom = rom};
}

/* RAM at [start, start + size), seen through what lies above it. */
static void add_ram(struct map *m, const struct bus *b, uint64_t start, uint64_t size,
                    uint8_t *host)
{
    uint64_t at = start, end = start + size;
    for (unsigned i = 0; i <= b->region_count[BUS_MEM] && at < end; i++) {
        const struct region *r = i < b->region_count[BUS_MEM] ? b->region[BUS_MEM][i] : NULL;
        uint64_t base = r ? r->base & ~(uint64_t)(PAGE_SIZE - 1) : end;
        uint64_t stop = r ? align_up(r->base + r->size, PAGE_SIZE) : end;
        if (r && (stop <= at || base >= end))
            continue;
        if (base > at)
            add(m, at, min_u64(base, end) - at, host + (at - start), false);
        if (r && r->host)
            add(m, r->base, r->size, r->host, r->rom);
        at = stop;
    }
}

/* Memory of a device's, in the hole below 4 GiB. */
static bool on_device(const struct region *r)
{
    return r->host && !r->rom && r->base >= PCI_HOLE && r->base < PCI_HOLE_END;
}

void kvm_map_devices(struct kvm_vm *k, uint64_t paddr)
{
    for (unsigned i = 0; i < k->bus->region_count[BUS_MEM] && !k->maps_devices; i++) {
        const struct region *r = k->bus->region[BUS_MEM][i];
        if (on_device(r) && paddr - r->base < r->size)
            k->maps_devices = k->remapped = true;
    }
}

static void describe(struct map *m, const struct kvm_vm *k)
{
    const struct bus *b = k->bus;
    uint64_t low = bus_ram_low(b), high = bus_ram_high(b);
    m->count = 0;
    m->full = false;
    add_ram(m, b, 0, low, b->ram);
    add_ram(m, b, PCI_HOLE_END, high, b->ram + PCI_HOLE);
    for (unsigned i = 0; i < b->region_count[BUS_MEM]; i++) {
        const struct region *r = b->region[BUS_MEM][i];
        bool over_ram = r->base < low || (r->base >= PCI_HOLE_END && r->base - PCI_HOLE_END < high);
        if (r->host && !over_ram && (k->maps_devices || !on_device(r)))
            add(m, r->base, r->size, r->host, r->rom);
    }
}

static bool set_slot(struct kvm_vm *k, unsigned i, struct err *e)
{
    const struct kvm_slot *s = &k->slot[i];
    struct kvm_userspace_memory_region r = {.slot = i,
                                            .flags = (s->rom ? KVM_MEM_READONLY : 0) |
                                                     (s->logs ? KVM_MEM_LOG_DIRTY_PAGES : 0),
                                            .guest_phys_addr = s->paddr,
                                            .memory_size = s->size,
                                            .userspace_addr = (uintptr_t)s->host};
    return kvm_call(k->fd, KVM_SET_USER_MEMORY_REGION, &r) >= 0 ||
           err_set(e, ERR_NO_MEMORY, "KVM takes no memory at %#llx, %#llx bytes: %s",
                   (unsigned long long)s->paddr, (unsigned long long)s->size, strerror(errno));
}

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->paddr == b->paddr && a->size == b->size && a->host == b->host && a->rom == b->rom;
}

/* A screen that is filled byte by byte: an exit for each is what costs. */
static unsigned zones(const struct kvm_vm *k, struct kvm_coalesced_mmio_zone *z)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->bus->region_count[BUS_MEM] && k->ring_page; i++) {
        const struct region *r = k->bus->region[BUS_MEM][i];
        if (r->posted && !r->host && n < KVM_ZONES)
            z[n++] = (struct kvm_coalesced_mmio_zone){.addr = r->base, .size = (uint32_t)r->size};
    }
    return n;
}

void kvm_collect(struct kvm_vm *k)
{
    struct kvm_coalesced_mmio_zone z[KVM_ZONES];
    unsigned n = zones(k, z);
    k->collects = true;
    kvm_notify_map(k);
    if (n == k->zone_count && !memcmp(z, k->zone, n * sizeof *z))
        return;
    for (; k->zone_count; k->zone_count--)
        kvm_call(k->fd, KVM_UNREGISTER_COALESCED_MMIO, &k->zone[k->zone_count - 1]);
    for (unsigned i = 0; i < n; i++)
        if (kvm_call(k->fd, KVM_REGISTER_COALESCED_MMIO, &z[i]) >= 0)
            k->zone[k->zone_count++] = z[i];
}

void kvm_drain(struct kvm_vm *k)
{
    if (!k->ring_page)
        return;
    struct kvm_coalesced_mmio_ring *ring =
        (void *)((char *)k->vcpu[0].run + (size_t)k->ring_page * PAGE_SIZE);
    while (ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
        const struct kvm_coalesced_mmio *w = &ring->coalesced_mmio[ring->first];
        uint64_t value = 0;
        memcpy(&value, w->data, min_u64(w->len, 8));
        if (w->len == 1 || w->len == 2 || w->len == 4 || w->len == 8)
            bus_write(k->bus, w->phys_addr, w->len, value);
        __atomic_store_n(&ring->first, (ring->first + 1) % KVM_COALESCED_MMIO_MAX,
                         __ATOMIC_RELEASE);
        k->stats.posted++;
    }
}

/* --- what is written -------------------------------------------------------------------------- */

static bool in_ram(const struct kvm_slot *s, const struct bus *b)
{
    return s->size && !s->rom && s->host >= b->ram && s->host < b->ram + b->ram_size;
}

static void take_log(struct kvm_vm *k, unsigned i)
{
    const struct kvm_slot *s = &k->slot[i];
    uint64_t pages = s->size >> PAGE_SHIFT, words = (pages + 63) / 64;
    uint64_t *bits = xcalloc(words, 8);
    struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = bits};
    struct kvm_clear_dirty_log clear = {
        .slot = i, .num_pages = (uint32_t)pages, .dirty_bitmap = bits};
    uint8_t *flags = k->bus->page_flags + ((s->host - k->bus->ram) >> PAGE_SHIFT);
    CHECK(kvm_call(k->fd, KVM_GET_DIRTY_LOG, &log) >= 0);
    CHECK(!k->clears || kvm_call(k->fd, KVM_CLEAR_DIRTY_LOG, &clear) >= 0);
    for (uint64_t w = 0; w < words; w++)
        for (uint64_t left = bits[w]; left; left &= left - 1)
            bus_mark(&flags[w * 64 + (unsigned)__builtin_ctzll(left)], PAGE_DIRTY);
    free(bits);
}

void kvm_written(struct kvm_vm *k)
{
    for (unsigned i = 0; i < KVM_SLOTS; i++)
        if (k->slot[i].size && k->slot[i].logs)
            take_log(k, i);
}

/* Slots that stay, but whose writes somebody asks for now, or no more. */
static bool set_logs(struct kvm_vm *k, struct err *e)
{
    for (unsigned i = 0; i < KVM_SLOTS; i++) {
        struct kvm_slot *s = &k->slot[i];
        bool want = k->bus->logs_writes && in_ram(s, k->bus);
        if (s->logs == want)
            continue;
        s->logs = want;
        if (s->size && !set_slot(k, i, e))
            return false;
    }
    return true;
}

bool kvm_map(struct kvm_vm *k, struct err *e)
{
    struct map m;
    unsigned i, n;
    kvm_written(k); /* a slot that goes takes its log with it */
    if (!set_logs(k, e))
        return false;
    describe(&m, k);
    if (m.full)
        return err_set(e, ERR_NO_SPACE, "the memory map has more than %d pieces", KVM_SLOTS);
    for (i = 0; i < KVM_SLOTS; i++) {
        k->slot[i].keep = false;
        for (n = 0; n < m.count && k->slot[i].size; n++) {
            if (same(&k->slot[i], &m.piece[n]))
                k->slot[i].keep = m.piece[n].keep = true;
        }
        if (k->slot[i].size && !k->slot[i].keep) {
            k->slot[i].size = 0;
            k->slot[i].logs = false;
            if (!set_slot(k, i, e))
                return false;
        }
    }
    for (i = n = 0; n < m.count; n++) {
        if (m.piece[n].keep)
            continue;
        while (k->slot[i].size)
            i++;
        k->slot[i] = m.piece[n];
        k->slot[i].logs = k->bus->logs_writes && in_ram(&k->slot[i], k->bus);
        if (!set_slot(k, i, e))
            return false;
    }
    k->remapped = k->collects = false;
    return true;
}
