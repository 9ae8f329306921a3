#include "dev/fw_cfg.h"

#include <stdlib.h>

/* clang-format off */
STATE_TABLE(fw_cfg_table, "fw_cfg", struct fw_cfg_state,
    STATE(struct fw_cfg_state, dma_address),
    STATE(struct fw_cfg_state, offset),
    STATE(struct fw_cfg_state, selector),
    STATE_BLOB(struct fw_cfg_state, unused));
/* clang-format on */

#define ID_TRADITIONAL 1
#define ID_DMA         2
#define DMA_SIGNATURE  "QEMU CFG"

/* Control word of a transfer. */
#define DMA_ERROR  0x01u
#define DMA_READ   0x02u
#define DMA_SKIP   0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE  0x10u

#define KEY_WRITE  0x4000u /* in a selector: meant for writing; without effect */
#define FILE_ENTRY (8 + FW_CFG_NAME)

static uint32_t be32(uint32_t v)
{
    return __builtin_bswap32(v);
}

static const struct fw_cfg_item *selected(const struct fw_cfg *f)
{
    for (unsigned i = 0; i < f->item_count; i++)
        if (f->item[i].key == (f->s.selector & ~KEY_WRITE))
            return &f->item[i];
    return NULL;
}

static void select_item(struct fw_cfg *f, uint16_t key)
{
    f->s.selector = key;
    f->s.offset = 0;
    if (!selected(f))
        LOG(f->log, DEV, "fw_cfg: no item %#x", key);
}

/* Takes up to `n` bytes of the selected item: their place and number, and moves on. */
static const uint8_t *take(struct fw_cfg *f, uint32_t n, uint32_t *got)
{
    const struct fw_cfg_item *i = selected(f);
    uint32_t at = f->s.offset;
    *got = i && at < i->len ? (uint32_t)min_u64(n, i->len - at) : 0;
    f->s.offset += *got;
    return *got ? i->data + at : NULL;
}

static bool dma_read(struct fw_cfg *f, uint64_t to, uint32_t len)
{
    static const uint8_t zero[PAGE_SIZE];
    uint32_t got;
    const uint8_t *from = take(f, len, &got);
    if (got && !bus_dma_write(f->bus, to, from, got))
        return false;
    /* beyond the item's end come zeroes */
    while (got < len) {
        uint32_t n = (uint32_t)min_u64(len - got, sizeof zero);
        if (!bus_dma_write(f->bus, to + got, zero, n))
            return false;
        got += n;
    }
    return true;
}

static void dma_run(struct fw_cfg *f, uint64_t guest_descriptor)
{
    uint8_t d[16];
    uint32_t got;
    if (!bus_dma_read(f->bus, guest_descriptor, d, sizeof d)) {
        LOG(f->log, DEV, "fw_cfg: DMA descriptor at %#llx is not in memory",
            (unsigned long long)guest_descriptor);
        return;
    }
    uint32_t control = be32(get_le32(d)), len = be32(get_le32(d + 4));
    uint64_t addr = __builtin_bswap64(get_le64(d + 8));
    bool ok = true;
    if (control & DMA_SELECT)
        select_item(f, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        ok = dma_read(f, addr, len);
    else if (control & DMA_WRITE)
        ok = len == 0; /* nothing here can be written */
    else if (control & DMA_SKIP)
        take(f, len, &got);
    put_le32(d, be32(ok ? 0 : DMA_ERROR));
    bus_dma_write(f->bus, guest_descriptor, d, 4);
}

static uint64_t io_read(void *dev, uint64_t offset, unsigned size)
{
    uint32_t got;
    if (offset == 0)
        return 0; /* the selector can't be read */
    const uint8_t *p = take(dev, 1, &got);
    return p ? *p : 0;
}

static void io_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *f = dev;
    if (offset == 0)
        select_item(f, (uint16_t)value);
    /* writing data had a use in old firmware only; it is dropped, as QEMU does */
}

static uint64_t dma_port_read(void *dev, uint64_t offset, unsigned size)
{
    static const char signature[8] = DMA_SIGNATURE;
    uint64_t v = 0;
    memcpy(&v, signature + offset, size);
    return v;
}

static void dma_port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *f = dev;
    if (size != 4 || offset % 4)
        return;
    uint64_t half = be32((uint32_t)value);
    if (offset == 0) {
        f->s.dma_address = half << 32;
        return;
    }
    uint64_t at = f->s.dma_address | half;
    f->s.dma_address = 0;
    dma_run(f, at);
}

static const struct region_ops io_ops = {io_read, io_write, 1 | 2};
static const struct region_ops dma_ops = {dma_port_read, dma_port_write, 1 | 2 | 4};

/* Puts the directory together anew; item 0 holds it. */
static void list_files(struct fw_cfg *f)
{
    uint32_t len = 4 + f->file_count * FILE_ENTRY;
    uint8_t *dir = xcalloc(len, 1), *p = dir + 4;
    put_le32(dir, be32(f->file_count));
    for (unsigned i = 0; i < f->item_count; i++) {
        const struct fw_cfg_item *it = &f->item[i];
        if (!it->name[0])
            continue;
        put_le32(p, be32(it->len));
        put_le16(p + 4, __builtin_bswap16(it->key));
        memcpy(p + 8, it->name, FW_CFG_NAME);
        p += FILE_ENTRY;
    }
    free(f->item[0].data);
    f->item[0].data = dir;
    f->item[0].len = len;
}

void fw_cfg_add(void *fw_cfg, uint16_t key, const char *name, const void *data, uint32_t len)
{
    struct fw_cfg *f = fw_cfg;
    CHECK(f->item_count < FW_CFG_ITEMS);
    struct fw_cfg_item *it = &f->item[f->item_count++];
    *it = (struct fw_cfg_item){.key = key, .len = len};
    if (name) {
        size_t n = strlen(name);
        CHECK(n && n < FW_CFG_NAME);
        memcpy(it->name, name, n);
        it->key = (uint16_t)(FW_CFG_FIRST_FILE + f->file_count++);
    }
    it->data = xcalloc(len ? len : 1, 1);
    if (len)
        memcpy(it->data, data, len);
    if (name)
        list_files(f);
}

void fw_cfg_init(struct fw_cfg *f, struct bus *bus, const struct log *log)
{
    static const uint8_t id[4] = {ID_TRADITIONAL | ID_DMA};
    *f = (struct fw_cfg){.bus = bus, .log = log};
    f->io = (struct region){.name = "fw_cfg", .size = 2, .ops = &io_ops, .dev = f};
    f->dma = (struct region){.name = "fw_cfg DMA", .size = 8, .ops = &dma_ops, .dev = f};
    fw_cfg_add(f, FW_CFG_DIRECTORY, NULL, "\0\0\0", 4); /* first: list_files() relies on it */
    fw_cfg_add(f, FW_CFG_SIGNATURE, NULL, "QEMU", 4);
    fw_cfg_add(f, FW_CFG_ID, NULL, id, sizeof id);
}

void fw_cfg_free(struct fw_cfg *f)
{
    for (unsigned i = 0; i < f->item_count; i++)
        free(f->item[i].data);
    f->item_count = 0;
}

void fw_cfg_reset(struct fw_cfg *f)
{
    f->s = (struct fw_cfg_state){0};
}
