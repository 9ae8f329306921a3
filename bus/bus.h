/* Guest-physical memory and the two address spaces of devices: ports and memory.
 *
 * A device knows an offset, not an address: it gives a region (name, size, read, write), the board
 * or a PCI BAR places it. Regions of one space never overlap; bus_add rejects that by name.
 *
 * Memory is one of three things, by page of 4096 bytes:
 *   RAM     host bytes, read and written in place;
 *   ROM     host bytes, read in place; a write goes to the region's write function or is dropped;
 *   device  each access calls the region.
 * RAM lies at 0 up to PCI_HOLE, the rest from 4 GiB up. What lies above RAM in the list (a BIOS,
 * the VGA window) hides the RAM below it, page by page.
 *
 * Reading where nothing is gives all ones, writing does nothing, as on a PC. Accesses that a region
 * doesn't take in one piece (its sizes, its end) are split into bytes.
 *
 * Whoever caches translations or code hooks `remap` and `code_write`. */
#ifndef ISHI_BUS_BUS_H
#define ISHI_BUS_BUS_H

#include "base/err.h"
#include "base/log.h"

#define PAGE_SIZE    4096u
#define PAGE_SHIFT   12
#define PCI_HOLE     0xc0000000ull /* RAM below 4 GiB ends here at the latest */
#define PCI_HOLE_END 0x100000000ull
#define RAM_MAX      (BIT(38)) /* 256 GiB */

enum bus_space { BUS_PORT, BUS_MEM };

struct region_ops {
    /* offset: bytes from the region's start; size: 1, 2, 4 or 8 bytes, offset + size within the
     * region. The value is in the low bits. */
    uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
    void (*write)(void *dev, uint64_t offset, unsigned size, uint64_t value);
    /* Bit mask of the sizes that are taken in one piece (1 | 2 | 4 | 8); 0 means 1 | 2 | 4. */
    unsigned sizes;
    /* One byte of a device that is memory in all but name (a video window), without any effect of
     * the read. NULL: reading may do something, so nobody but the guest may. False: nothing is
     * there. */
    bool (*peek)(void *dev, uint64_t offset, uint8_t *v);
    /* Up to n reads, or writes, of `size` bytes at one offset, of which each but moves the next
     * piece of a buffer: nothing that the guest could see between them is lost. Returns how many
     * were done, perhaps none; the next is a single one. May be NULL. */
    unsigned (*read_many)(void *dev, uint64_t offset, unsigned size, void *to, unsigned n);
    unsigned (*write_many)(void *dev, uint64_t offset, unsigned size, const void *from, unsigned n);
};

struct region {
    const char *name;
    uint64_t size;                /* bytes */
    const struct region_ops *ops; /* NULL for plain RAM or ROM without a write function */
    void *dev;
    uint8_t *host; /* RAM or ROM: `size` bytes, page-sized; NULL for a device. Not owned. */
    bool rom;      /* writes don't reach `host` */
    bool posted;   /* writes may come late, in order: before anything else that the guest asks of a
                    * device, and before anybody looks at the machine */
    /* A write at offset `at`, at + stride, … says by its place alone that something waits: size and
     * value mean nothing, and several may come as one, as late as posted ones. */
    struct {
        uint32_t at, stride, count; /* count 0: there are none */
    } doorbells;

    /* Set by bus_add. */
    enum bus_space space;
    uint64_t base;
    bool mapped;
};

#define BUS_REGIONS 128 /* at most so many mapped at once in each space */

/* Per page of RAM. */
#define PAGE_CODE  1u /* translated code was made from it: a write must call code_write */
#define PAGE_DIRTY 2u /* written since the flag was cleared */

struct bus {
    uint8_t *ram;        /* ram_size bytes, page-aligned; not owned */
    uint8_t *page_flags; /* one byte a page of RAM, indexed by host offset; owned */
    uint64_t ram_size;   /* multiple of PAGE_SIZE */
    uint64_t a20_mask;   /* ~0, or ~BIT(20) while the A20 gate is shut */
    struct region *region[2][BUS_REGIONS]; /* sorted by base */
    unsigned region_count[2];
    /* RAM at plain_start, plain_size bytes, that no region hides: where most accesses go. */
    uint64_t plain_start, plain_size;
    bool logs_writes; /* somebody asks for PAGE_DIRTY: engines that don't mark pages as they go, may
                       * begin to note them; a change is told as one of the map */
    const struct log *log;
    /* The map or A20 changed: drop every cached translation. */
    void (*remap)(void *opaque);
    /* Somebody other than the running CPU writes RAM that holds translated code. */
    void (*code_write)(void *opaque, uint64_t paddr, uint64_t len);
    void *opaque;
    /* Where CPUs run side by side: the map or A20 is about to change; returns when nobody looks at
     * it. NULL: nobody ever does. */
    void (*still)(void *opaque);
    void *still_opaque;
};

/* Are all these bits of a page_flags entry set? Other threads change it, too. */
static inline bool bus_marked(const uint8_t *flags, uint8_t bits)
{
    return (__atomic_load_n(flags, __ATOMIC_RELAXED) & bits) == bits;
}

/* Sets them. */
static inline void bus_mark(uint8_t *flags, uint8_t bits)
{
    if (!bus_marked(flags, bits))
        __atomic_fetch_or(flags, bits, __ATOMIC_SEQ_CST);
}

/* ram: page-aligned, zeroed, ram_size a multiple of PAGE_SIZE up to RAM_MAX; stays the caller's. */
void bus_init(struct bus *b, uint8_t *ram, uint64_t ram_size, const struct log *log);
void bus_free(struct bus *b);

/* Places a region. The caller keeps it alive until bus_remove. In BUS_MEM, host-backed regions are
 * page-aligned. ERR_CONFLICT names both regions when they overlap. */
bool bus_add(struct bus *b, enum bus_space space, uint64_t base, struct region *r, struct err *e);
/* Takes it away; nothing happens if it is not mapped. */
void bus_remove(struct bus *b, struct region *r);

/* Ports. `size` 1, 2 or 4. */
uint32_t bus_in(struct bus *b, uint16_t port, unsigned size);
void bus_out(struct bus *b, uint16_t port, unsigned size, uint32_t value);
/* As many of n such accesses, one after another, as can be done at once; perhaps none. */
unsigned bus_in_many(struct bus *b, uint16_t port, unsigned size, void *to, unsigned n);
unsigned bus_out_many(struct bus *b, uint16_t port, unsigned size, const void *from, unsigned n);

/* What a physical page (any address in it) is. Returns the host address of its first byte, or NULL
 * for a device or nothing. *writable: false for ROM. *flags: its page_flags entry, NULL for memory
 * that is not main RAM (video memory, ROM). */
uint8_t *bus_page(struct bus *b, uint64_t paddr, bool *writable, uint8_t **flags);

/* The host address of a physical address in the plain part of RAM, or NULL: ask bus_page. */
static inline uint8_t *bus_plain(const struct bus *b, uint64_t paddr)
{
    paddr &= b->a20_mask;
    return LIKELY(paddr - b->plain_start < b->plain_size) ? b->ram + paddr : NULL;
}

/* Physical accesses of a CPU or for bookkeeping: any of RAM, ROM, device. Size 1, 2, 4 or 8, not
 * crossing a page. A20 is applied. bus_write tells code_write about code pages. */
uint64_t bus_read(struct bus *b, uint64_t paddr, unsigned size);
void bus_write(struct bus *b, uint64_t paddr, unsigned size, uint64_t value);

/* A byte of a device's memory for somebody who only looks: see region_ops.peek. A20 does not apply.
 */
bool bus_peek(struct bus *b, uint64_t paddr, uint8_t *v);

/* A device's DMA, or a loader: RAM (and host-backed regions); A20 does not apply. Returns false if
 * some of the range is not memory; what is, is still done, and the rest reads as all ones. Any len,
 * any address: wraps and absurd values are the guest's and are answered with false. */
bool bus_dma_read(struct bus *b, uint64_t paddr, void *buf, uint64_t len);
bool bus_dma_write(struct bus *b, uint64_t paddr, const void *buf, uint64_t len);
/* The same for two bytes at an even address, which CPUs that run meanwhile see in one piece. The
 * load is before what the caller reads next, the store after what it wrote before. */
bool bus_dma_load16(struct bus *b, uint64_t paddr, uint16_t *v);
bool bus_dma_store16(struct bus *b, uint64_t paddr, uint16_t v);

/* Host address of [paddr, paddr+len) if it is contiguous main RAM, else NULL. For loaders. */
uint8_t *bus_ram(struct bus *b, uint64_t paddr, uint64_t len);

/* RAM below 4 GiB and from 4 GiB up, in bytes. */
uint64_t bus_ram_low(const struct bus *b);
uint64_t bus_ram_high(const struct bus *b);

void bus_set_a20(struct bus *b, bool on);

#endif
