/* The packet commands of a CD-ROM drive (ATA/ATAPI-6, 9.8; MMC-3; SPC-2 for the common ones).
 *
 * Replies are made in the drive's buffer; sectors of the medium are put there a bufferful at a time
 * and leave by the data port, in blocks of at most the byte count limit, or by the bus master. */
#include "dev/ide.h"

#define READY (ATA_DRDY | ATA_DSC)

/* Sense keys and additional codes (SPC-2, table 107; MMC-3, annex). */
enum { NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };
enum {
    READ_FAILED = 0x11,
    NO_SUCH_COMMAND = 0x20,
    LBA_OUT_OF_RANGE = 0x21,
    INVALID_FIELD = 0x24,
    MEDIUM_CHANGED = 0x28,
    NO_SAVED_VALUES = 0x39,
    NO_MEDIUM = 0x3a,
    REMOVAL_PREVENTED = 0x53,
};

/* What has been decided about a command, when its handler returns. */
enum { NEEDS_MEDIUM = 1, IGNORES_ATTENTION = 2 };

struct packet_command {
    uint8_t code;
    uint8_t flags;
    const char *name;
    void (*run)(struct ide_drive *d, const uint8_t *p);
};

static uint32_t get_be16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint32_t get_be32(const uint8_t *p)
{
    return get_be16(p) << 16 | get_be16(p + 2);
}

static void put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, v >> 16);
    put_be16(p + 2, v);
}

/* --- the end of a command --- */

static void good(struct ide_drive *d)
{
    d->s->count = 3; /* a status, to the host */
    ide_finish(d, READY, 0);
}

static void check(struct ide_drive *d, uint8_t key, uint8_t code)
{
    struct ide_drive_state *s = d->s;
    s->sense_key = key;
    s->sense_code = code;
    s->sense_qualifier = code == REMOVAL_PREVENTED ? 2 : 0;
    s->left = 0;
    s->count = 3;
    ide_finish(d, READY | ATA_ERR, (uint8_t)(key << 4 | ATA_ABRT));
}

/* --- data to the guest --- */

static uint32_t sectors_per_buffer(const struct ide_drive_state *s)
{
    return IDE_BUFFER / s->sector_size;
}

static uint8_t bcd(uint32_t v)
{
    return (uint8_t)(v / 10 % 10 << 4 | v % 10);
}

static void put_msf(uint8_t *at, uint32_t lba)
{
    lba += 150;
    at[0] = (uint8_t)(lba / 75 / 60);
    at[1] = (uint8_t)(lba / 75 % 60);
    at[2] = (uint8_t)(lba % 75);
}

/* A sector as it is on the disc: sync pattern, header, data; the check bytes are zeros. */
static bool read_raw(struct ide_drive *d, uint64_t lba, uint8_t *at)
{
    uint8_t msf[3];
    memset(at, 0, CD_RAW_SECTOR);
    memset(at + 1, 0xff, 10);
    put_msf(msf, (uint32_t)lba);
    for (unsigned i = 0; i < 3; i++)
        at[12 + i] = bcd(msf[i]);
    at[15] = 1; /* mode 1 */
    return ide_media_read(d, lba * CD_SECTOR, at + 16, CD_SECTOR);
}

/* The next sectors of the transfer into the buffer; false after a check condition. */
static bool fill(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    uint32_t n = (uint32_t)min_u64(s->left, sectors_per_buffer(s));
    bool ok = d->blk && n <= d->sectors && s->lba <= d->sectors - n;
    if (ok && s->sector_size == CD_SECTOR)
        ok = ide_media_read(d, s->lba * CD_SECTOR, s->buffer, n * CD_SECTOR);
    else
        for (uint32_t i = 0; ok && i < n; i++)
            ok = read_raw(d, s->lba + i, s->buffer + i * CD_RAW_SECTOR);
    if (!ok) {
        check(d, MEDIUM_ERROR, READ_FAILED);
        return false;
    }
    s->lba += n;
    s->left -= n;
    s->filled = n * s->sector_size;
    return true;
}

/* Offers what the buffer has from `pos` on, as far as the guest's limit allows: an even number of
 * bytes but for the end (ATA-6, 9.9). */
static void offer(struct ide_drive *d, uint32_t pos)
{
    struct ide_drive_state *s = d->s;
    uint32_t limit = s->limit == 0 || s->limit == 0xffff ? 0xfffe : s->limit;
    uint32_t n = s->filled - pos;
    if (n > limit)
        n = limit > 1 ? limit & ~1u : 1;
    s->mid = (uint8_t)n;
    s->high = (uint8_t)(n >> 8);
    s->count = 2; /* data, to the host */
    ide_data(d, IDE_DATA_IN, pos, pos + n, true);
}

void atapi_block_read(struct ide_drive *d)
{
    if (d->s->pos < d->s->filled)
        ide_busy(d, IDE_FETCH, 1000);
    else
        ide_busy(d, d->s->left ? IDE_FETCH : IDE_FINISH, 2000);
}

static void start_data(struct ide_drive *d)
{
    d->s->write = 0;
    if (d->s->packet_dma)
        ide_dma_ready(d);
    else if (d->s->filled || fill(d))
        offer(d, 0);
}

/* `len` bytes of the buffer, cut to what the guest has room for. */
static void reply(struct ide_drive *d, uint32_t len, uint32_t room)
{
    d->s->left = 0;
    d->s->filled = (uint32_t)min_u64(len, room);
    if (d->s->filled)
        start_data(d);
    else
        good(d);
}

static void reply_sectors(struct ide_drive *d, uint32_t lba, uint32_t n, uint16_t sector_size)
{
    struct ide_drive_state *s = d->s;
    if (lba > d->sectors || n > d->sectors - lba) {
        check(d, ILLEGAL_REQUEST, LBA_OUT_OF_RANGE);
        return;
    }
    s->lba = lba;
    s->left = n;
    s->sector_size = sector_size;
    s->filled = 0;
    if (n)
        start_data(d);
    else
        good(d);
}

static void transfer_dma(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    do {
        if (!s->filled && !fill(d)) {
            d->ch->s->dma_status &= ~1;
            return;
        }
        if (!ide_dma_move(d->ch, s->buffer, s->filled, true)) {
            d->ch->s->dma_status &= ~1; /* as for disks: no end, no interrupt */
            s->phase = IDE_IDLE;
            s->status = READY;
            return;
        }
        s->filled = 0;
    } while (s->left);
    good(d);
}

/* --- commands --- */

static bool has_medium(const struct ide_drive *d)
{
    return d->blk && !d->s->tray_open;
}

static void test_unit_ready(struct ide_drive *d, const uint8_t *p)
{
    good(d);
}

static void request_sense(struct ide_drive *d, const uint8_t *p)
{
    struct ide_drive_state *s = d->s;
    uint8_t *b = s->buffer;
    memset(b, 0, 18);
    b[0] = 0x70;
    b[2] = s->sense_key;
    b[7] = 10;
    b[12] = s->sense_code;
    b[13] = s->sense_qualifier;
    if (!s->sense_key && s->new_medium) {
        b[2] = UNIT_ATTENTION;
        b[12] = MEDIUM_CHANGED;
        s->new_medium &= ~1;
    }
    s->sense_key = s->sense_code = s->sense_qualifier = 0;
    reply(d, 18, p[4]);
}

static void inquiry(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = d->s->buffer;
    if (p[1] & 1) { /* no vital product data pages */
        check(d, ILLEGAL_REQUEST, INVALID_FIELD);
        return;
    }
    memset(b, 0, 36);
    b[0] = 5;    /* CD-ROM */
    b[1] = 0x80; /* removable */
    b[3] = 0x21; /* response format 1, ATAPI 2 */
    b[4] = 31;
    memcpy(b + 8, "ishi    CD-ROM          1.0 ", 28);
    reply(d, 36, get_be16(p + 3));
}

static void start_stop(struct ide_drive *d, const uint8_t *p)
{
    bool load_eject = p[4] & 2, start = p[4] & 1;
    if (load_eject && !start && d->s->locked) {
        check(d, d->blk ? ILLEGAL_REQUEST : NOT_READY, REMOVAL_PREVENTED);
        return;
    }
    if (load_eject) {
        if (d->s->tray_open && start && d->blk)
            d->s->new_medium = 3;
        d->s->tray_open = !start;
    }
    good(d);
}

static void prevent_allow(struct ide_drive *d, const uint8_t *p)
{
    d->s->locked = p[4] & 1;
    good(d);
}

static void read_capacity(struct ide_drive *d, const uint8_t *p)
{
    put_be32(d->s->buffer, (uint32_t)d->sectors - 1);
    put_be32(d->s->buffer + 4, CD_SECTOR);
    reply(d, 8, 8);
}

static void read_10(struct ide_drive *d, const uint8_t *p)
{
    reply_sectors(d, get_be32(p + 2), get_be16(p + 7), CD_SECTOR);
}

static void read_12(struct ide_drive *d, const uint8_t *p)
{
    reply_sectors(d, get_be32(p + 2), get_be32(p + 6), CD_SECTOR);
}

static void read_cd(struct ide_drive *d, const uint8_t *p)
{
    uint32_t n = p[6] << 16 | get_be16(p + 7);
    switch (p[9] & 0xf8) {
    case 0x00: good(d); break;
    case 0x10: reply_sectors(d, get_be32(p + 2), n, CD_SECTOR); break;
    case 0xf8: reply_sectors(d, get_be32(p + 2), n, CD_RAW_SECTOR); break;
    default: check(d, ILLEGAL_REQUEST, INVALID_FIELD); break;
    }
}

static void seek(struct ide_drive *d, const uint8_t *p)
{
    if (get_be32(p + 2) >= d->sectors)
        check(d, ILLEGAL_REQUEST, LBA_OUT_OF_RANGE);
    else
        good(d);
}

static void put_address(uint8_t *at, uint32_t lba, bool msf)
{
    if (msf) {
        at[0] = 0;
        put_msf(at + 1, lba);
    } else {
        put_be32(at, lba);
    }
}

/* A disc of one data track: its descriptor, and the lead-out's. */
static uint32_t toc_tracks(struct ide_drive *d, uint8_t *b, unsigned first, bool msf)
{
    uint8_t *at = b + 4;
    b[2] = b[3] = 1;
    if (first <= 1) {
        memcpy(at, (uint8_t[]){0, 0x14, 1, 0}, 4);
        put_address(at + 4, 0, msf);
        at += 8;
    }
    memcpy(at, (uint8_t[]){0, 0x14, 0xaa, 0}, 4);
    put_address(at + 4, (uint32_t)d->sectors, msf);
    return (uint32_t)(at + 8 - b);
}

static uint32_t toc_raw(struct ide_drive *d, uint8_t *b, bool msf)
{
    uint8_t *at = b + 4;
    b[2] = b[3] = 1;
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    for (unsigned i = 0; i < ARRAY_LEN(points); i++, at += 11) {
        memset(at, 0, 11);
        at[0] = 1;
        at[1] = 0x14;
        at[3] = points[i];
        if (i < 2)
            at[8] = 1; /* first and last track */
        else
            put_address(at + 7, i == 2 ? (uint32_t)d->sectors : 0, true);
    }
    return (uint32_t)(at - b);
}

static void read_toc(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = d->s->buffer;
    bool msf = p[1] & 2;
    unsigned format = p[2] & 15 ? p[2] & 15 : p[9] >> 6; /* the latter is SFF-8020's place */
    uint32_t len;
    switch (format) {
    case 0:
        if (p[6] > 1 && p[6] != 0xaa) {
            check(d, ILLEGAL_REQUEST, INVALID_FIELD);
            return;
        }
        len = toc_tracks(d, b, p[6], msf);
        break;
    case 1: /* one session, from track 1 */
        memcpy(b, (uint8_t[]){0, 0, 1, 1, 0, 0x14, 1, 0}, 8);
        put_address(b + 8, 0, msf);
        len = 12;
        break;
    case 2: len = toc_raw(d, b, msf); break;
    default: check(d, ILLEGAL_REQUEST, INVALID_FIELD); return;
    }
    put_be16(b, len - 2);
    reply(d, len, get_be16(p + 7));
}

static uint32_t mode_page(uint8_t *at, unsigned page)
{
    switch (page) {
    case 0x01: memcpy(at, (uint8_t[8]){0x01, 6, 0, 5}, 8); return 8; /* error recovery */
    case 0x0e:                                                       /* audio */
        memcpy(at, (uint8_t[16]){0x0e, 14, 4, 0, 0, 0, 0, 75, 1, 0xff, 2, 0xff}, 16);
        return 16;
    case 0x2a: /* capabilities: reads CD-R, CD-RW; lock, eject, tray; 706 KB/s */
        memcpy(at, (uint8_t[20]){0x2a, 18, 3, 0, 0, 0, 0x29, 0, 2, 0xc2, 0, 2, 2, 0, 2, 0xc2}, 20);
        return 20;
    default: return 0;
    }
}

static void mode_sense(struct ide_drive *d, const uint8_t *p)
{
    static const uint8_t pages[] = {0x01, 0x0e, 0x2a};
    uint8_t *b = d->s->buffer;
    bool ten = p[0] == 0x5a;
    unsigned page = p[2] & 0x3f, header = ten ? 8 : 4;
    uint32_t len = header;
    if (p[2] >> 6 == 3) {
        check(d, ILLEGAL_REQUEST, NO_SAVED_VALUES);
        return;
    }
    memset(b, 0, header);
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        if (page == pages[i] || page == 0x3f)
            len += mode_page(b + len, pages[i]);
    if (len == header) {
        check(d, ILLEGAL_REQUEST, INVALID_FIELD);
        return;
    }
    uint8_t medium = has_medium(d) ? 0x01 : 0x70;
    if (ten) {
        put_be16(b, len - 2);
        b[2] = medium;
    } else {
        b[0] = (uint8_t)(len - 1);
        b[1] = medium;
    }
    reply(d, len, ten ? get_be16(p + 7) : p[4]);
}

static void get_configuration(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = d->s->buffer;
    /* More than an 80-minute disc holds is a DVD. */
    uint8_t profile = !has_medium(d) ? 0 : d->sectors > 80 * 60 * 75 ? 0x10 : 0x08;
    const uint8_t features[] = {
        0,
        0,
        3,
        8,
        0,
        0x10,
        profile == 0x10,
        0,
        0,
        0x08,
        profile == 0x08,
        0, /* profiles */
        0,
        1,
        3,
        8,
        0,
        0,
        0,
        2,
        1,
        0,
        0,
        0, /* core, ATAPI */
        0,
        3,
        3,
        4,
        0x29,
        0,
        0,
        0, /* removable, tray */
    };
    memset(b, 0, 8);
    b[7] = profile;
    memcpy(b + 8, features, sizeof features);
    put_be32(b, 8 + sizeof features - 4);
    reply(d, 8 + sizeof features, get_be16(p + 7));
}

static void get_event_status(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = d->s->buffer;
    if (!(p[1] & 1)) { /* only polling */
        check(d, ILLEGAL_REQUEST, INVALID_FIELD);
        return;
    }
    memset(b, 0, 8);
    b[3] = 0x10; /* media events are what there is */
    if (!(p[4] & 0x10)) {
        b[1] = 2;
        b[2] = 0x80;
        reply(d, 4, get_be16(p + 7));
        return;
    }
    b[1] = 6;
    b[2] = 4;
    if (d->s->new_medium & 2)
        b[4] = d->blk ? 2 : 3; /* new medium, medium removed */
    d->s->new_medium &= ~2;
    b[5] = (uint8_t)(d->s->tray_open | (has_medium(d) ? 2 : 0));
    reply(d, 8, get_be16(p + 7));
}

static void mechanism_status(struct ide_drive *d, const uint8_t *p)
{
    memset(d->s->buffer, 0, 8);
    d->s->buffer[1] = d->s->tray_open ? 0x10 : 0;
    reply(d, 8, get_be16(p + 8));
}

static void read_disc_info(struct ide_drive *d, const uint8_t *p)
{
    uint8_t *b = d->s->buffer;
    memset(b, 0, 34);
    b[1] = 32;
    b[2] = 0x0e;                   /* complete, last session complete */
    b[3] = b[4] = b[5] = b[6] = 1; /* first track, sessions, first and last track in the last */
    b[7] = 0x20;                   /* unrestricted use */
    reply(d, 34, get_be16(p + 7));
}

/* clang-format off */
static const struct packet_command commands[] = {
    {0x00, NEEDS_MEDIUM, "TEST UNIT READY", test_unit_ready},
    {0x03, IGNORES_ATTENTION, "REQUEST SENSE", request_sense},
    {0x12, IGNORES_ATTENTION, "INQUIRY", inquiry},
    {0x1a, 0, "MODE SENSE (6)", mode_sense},
    {0x1b, 0, "START STOP UNIT", start_stop},
    {0x1e, 0, "PREVENT ALLOW MEDIUM REMOVAL", prevent_allow},
    {0x25, NEEDS_MEDIUM, "READ CAPACITY", read_capacity},
    {0x28, NEEDS_MEDIUM, "READ (10)", read_10},
    {0x2b, NEEDS_MEDIUM, "SEEK", seek},
    {0x43, NEEDS_MEDIUM, "READ TOC", read_toc},
    {0x46, IGNORES_ATTENTION, "GET CONFIGURATION", get_configuration},
    {0x4a, IGNORES_ATTENTION, "GET EVENT STATUS", get_event_status},
    {0x51, NEEDS_MEDIUM, "READ DISC INFORMATION", read_disc_info},
    {0x5a, 0, "MODE SENSE (10)", mode_sense},
    {0xa8, NEEDS_MEDIUM, "READ (12)", read_12},
    {0xbb, 0, "SET CD SPEED", test_unit_ready},
    {0xbd, 0, "MECHANISM STATUS", mechanism_status},
    {0xbe, NEEDS_MEDIUM, "READ CD", read_cd},
};
/* clang-format on */

static const struct packet_command *find(uint8_t code)
{
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].code == code)
            return &commands[i];
    return NULL;
}

static void run(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    const struct packet_command *c = find(s->packet[0]);
    unsigned flags = c ? c->flags : 0;
    s->filled = s->left = 0;
    s->sector_size = CD_SECTOR;
    LOG(d->ch->ide->log, DISK, "ide%u: packet %02x %s", d->unit, s->packet[0],
        c ? c->name : "(unknown)");
    if (!(flags & IGNORES_ATTENTION) && (s->new_medium & 1) && has_medium(d)) {
        s->new_medium &= ~1;
        check(d, UNIT_ATTENTION, MEDIUM_CHANGED);
        return;
    }
    /* REQUEST SENSE asks about the command before it; any other one starts anew. */
    if (s->packet[0] != 0x03)
        s->sense_key = s->sense_code = s->sense_qualifier = 0;
    if (!c)
        check(d, ILLEGAL_REQUEST, NO_SUCH_COMMAND);
    else if ((flags & NEEDS_MEDIUM) && !has_medium(d))
        check(d, NOT_READY, NO_MEDIUM);
    else
        c->run(d, s->packet);
}

void atapi_packet(struct ide_drive *d)
{
    ide_busy(d, IDE_PACKET_RUN, 10000);
}

void atapi_due(struct ide_drive *d)
{
    switch (d->s->phase) {
    case IDE_PACKET_RUN: run(d); break;
    case IDE_FETCH:
        if (d->s->pos < d->s->filled)
            offer(d, d->s->pos);
        else if (fill(d))
            offer(d, 0);
        break;
    case IDE_DMA: transfer_dma(d); break;
    case IDE_FINISH: good(d); break;
    default: break;
    }
}
