#include "virtio/blk.h"

#define QUEUE  0
#define SECTOR 512u

/* Features (5.2.3). */
#define F_SEG_MAX      BIT(2)
#define F_RO           BIT(5)
#define F_BLK_SIZE     BIT(6)
#define F_FLUSH        BIT(9)
#define F_WRITE_ZEROES BIT(14)

/* Requests (5.2.6): a header, data, and at the end a byte for the device's answer. */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_WRITE_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };
#define HEADER_SIZE 16u
#define ID_SIZE     20u
#define RANGE_SIZE  16u /* of WRITE ZEROES' data */

#define SEG_MAX     (VIRTQ_SIZE - 2) /* pieces of data, beside header and answer */
#define ZEROES_MAX  16384u           /* sectors of one WRITE ZEROES */
#define ENOUGH      (1u << 20)       /* bytes moved, after which others have their turn */
#define CONFIG_SIZE 60

static void config(void *dev, uint8_t *image)
{
    const struct virtio_blk *b = dev;
    put_le64(image, b->sectors);
    put_le32(image + 12, SEG_MAX);
    put_le32(image + 20, SECTOR);
    put_le32(image + 48, ZEROES_MAX);
    put_le32(image + 52, 1); /* ranges in one WRITE ZEROES */
}

/* --- the medium ------------------------------------------------------------------------------- */

/* Bytes of [offset, offset + len) that the medium has. */
static uint64_t within(const struct virtio_blk *b, uint64_t offset, uint64_t len)
{
    return offset >= b->blk->size ? 0 : min_u64(len, b->blk->size - offset);
}

/* The first of a row of failures is for the user, each for those who watch the disk. */
static bool host_done(struct virtio_blk *b, bool ok, const struct err *e)
{
    const struct log *log = b->virtio.log;
    if (!ok) {
        LOG(log, DISK, "%s: %s", b->virtio.pci.name, e->text);
        if (!b->failing)
            LOG(log, HOST, "%s: the guest sees an error", e->text);
    }
    b->failing = !ok;
    return ok;
}

static bool media_read(struct virtio_blk *b, uint64_t offset, uint64_t len)
{
    struct err e;
    uint64_t n = within(b, offset, len);
    memset(b->work + n, 0, len - n);
    return !n || host_done(b, b->blk->ops->read(b->blk->opaque, offset, b->work, n, &e), &e);
}

static bool media_write(struct virtio_blk *b, uint64_t offset, uint64_t len)
{
    struct err e;
    uint64_t n = within(b, offset, len);
    return !n || host_done(b, b->blk->ops->write(b->blk->opaque, offset, b->work, n, &e), &e);
}

static bool flush(struct virtio_blk *b)
{
    struct err e;
    return b->blk->readonly || host_done(b, b->blk->ops->flush(b->blk->opaque, &e), &e);
}

static bool flush_if_wanted(struct virtio_blk *b)
{
    return virtio_has(&b->virtio, F_FLUSH) || flush(b);
}

/* --- requests --------------------------------------------------------------------------------- */

/* May `len` bytes be moved at this sector? */
static bool in_range(const struct virtio_blk *b, uint64_t sector, uint64_t len, bool write)
{
    if (write && b->blk->readonly) {
        LOG(b->virtio.log, DISK, "%s: a write to %s, which is read-only", b->virtio.pci.name,
            b->blk->name);
        return false;
    }
    return len % SECTOR == 0 && sector <= b->sectors && len / SECTOR <= b->sectors - sector;
}

static uint8_t read_data(struct virtio_blk *b, const struct virtq *q, uint64_t sector, uint64_t len)
{
    if (!in_range(b, sector, len, false))
        return S_IOERR;
    for (uint64_t at = 0, n; at < len; at += n) {
        n = min_u64(len - at, VIRTIO_BLK_WORK);
        if (!media_read(b, sector * SECTOR + at, n) || !virtq_write(q, &b->chain, at, b->work, n))
            return S_IOERR;
    }
    return S_OK;
}

static uint8_t write_data(struct virtio_blk *b, const struct virtq *q, uint64_t sector,
                          uint64_t len)
{
    if (!in_range(b, sector, len, true))
        return S_IOERR;
    for (uint64_t at = 0, n; at < len; at += n) {
        n = min_u64(len - at, VIRTIO_BLK_WORK);
        if (!virtq_read(q, &b->chain, HEADER_SIZE + at, b->work, n) ||
            !media_write(b, sector * SECTOR + at, n))
            return S_IOERR;
    }
    return flush_if_wanted(b) ? S_OK : S_IOERR;
}

static uint8_t write_zeroes(struct virtio_blk *b, const struct virtq *q, uint64_t len)
{
    uint8_t guest_range[RANGE_SIZE];
    if (len != RANGE_SIZE || !virtq_read(q, &b->chain, HEADER_SIZE, guest_range, RANGE_SIZE))
        return S_IOERR;
    uint64_t sector = get_le64(guest_range), count = get_le32(guest_range + 8);
    if (get_le32(guest_range + 12) & ~1u) /* bit 0: the medium may give up the place (5.2.6.2) */
        return S_UNSUPP;
    if (count > ZEROES_MAX || !in_range(b, sector, count * SECTOR, true))
        return S_IOERR;
    memset(b->work, 0, sizeof b->work);
    for (uint64_t at = 0, n; at < count * SECTOR; at += n) {
        n = min_u64(count * SECTOR - at, VIRTIO_BLK_WORK);
        if (!media_write(b, sector * SECTOR + at, n))
            return S_IOERR;
    }
    return flush_if_wanted(b) ? S_OK : S_IOERR;
}

/* The end of the path, which is what tells two disks apart; no NUL where there is no room. */
static uint8_t get_id(struct virtio_blk *b, const struct virtq *q, uint64_t len)
{
    char id[ID_SIZE] = {0};
    const char *name = b->blk->name, *slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    memcpy(id, name, min_u64(strlen(name), ID_SIZE));
    return virtq_write(q, &b->chain, 0, id, min_u64(len, ID_SIZE)) ? S_OK : S_IOERR;
}

static uint8_t carry_out(struct virtio_blk *b, const struct virtq *q, uint32_t type,
                         uint64_t sector, uint64_t out, uint64_t in)
{
    switch (type) {
    case T_IN: return read_data(b, q, sector, in);
    case T_OUT: return write_data(b, q, sector, out);
    case T_FLUSH: return flush(b) ? S_OK : S_IOERR;
    case T_GET_ID: return get_id(b, q, in);
    case T_WRITE_ZEROES: return write_zeroes(b, q, out);
    default: return S_UNSUPP;
    }
}

/* The chain in b->chain. False, with *why: it is no request. */
static bool request(struct virtio_blk *b, const struct virtq *q, const char **why)
{
    const struct virtq_chain *c = &b->chain;
    uint8_t guest_header[HEADER_SIZE];
    *why = "a request without header or answer";
    if (c->out_len < HEADER_SIZE || !c->in_len)
        return false;
    *why = "a request's header or answer is not in memory";
    if (!virtq_read(q, c, 0, guest_header, HEADER_SIZE))
        return false;
    uint32_t type = get_le32(guest_header);
    uint64_t sector = get_le64(guest_header + 8);
    uint64_t out = c->out_len - HEADER_SIZE, in = c->in_len - 1;
    uint8_t status = carry_out(b, q, type, sector, out, in);
    LOG(b->virtio.log, DISK, "%s: request %u at sector %llu, %llu bytes: %s", b->virtio.pci.name,
        type, (unsigned long long)sector, (unsigned long long)(out + in),
        status == S_OK      ? "done"
        : status == S_IOERR ? "failed"
                            : "not known");
    return virtq_write(q, c, in, &status, 1) &&
           virtq_give(q, c, (uint32_t)min_u64(c->in_len, 0xffffffff));
}

static bool serve(void *dev, unsigned n)
{
    struct virtio_blk *b = dev;
    const struct virtq q = virtio_queue(&b->virtio, n);
    const char *why = NULL;
    uint64_t moved = 0;
    enum virtq_took took = VIRTQ_EMPTY;
    while (moved < ENOUGH && (took = virtq_take(&q, &b->chain, &why)) == VIRTQ_CHAIN) {
        if (!request(b, &q, &why)) {
            took = VIRTQ_BROKEN;
            break;
        }
        moved += b->chain.out_len + b->chain.in_len;
    }
    virtio_used(&b->virtio, n);
    if (took == VIRTQ_BROKEN)
        virtio_broken(&b->virtio, why);
    return took == VIRTQ_CHAIN;
}

static const struct virtio_kind kind = {.name = "blk",
                                        .id = 2,
                                        .class_code = 0x010000,
                                        .queues = QUEUE + 1,
                                        .config_size = CONFIG_SIZE,
                                        .config = config,
                                        .serve = serve};

void virtio_blk_init(struct virtio_blk *b, const char *name, struct blockdev *blk,
                     struct pci_bus *pci, unsigned devfn, struct clock *clock,
                     const struct log *log)
{
    uint64_t features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH;
    features |= blk->readonly ? F_RO : F_WRITE_ZEROES;
    b->blk = blk;
    b->sectors = blk->size / SECTOR + (blk->size % SECTOR != 0);
    b->failing = false;
    virtio_pci_init(&b->virtio, &kind, name, b, features, pci, devfn, clock, log);
}
