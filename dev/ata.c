/* The commands of ATA disks (ATA/ATAPI-6, chapter 8), and what CD-ROM drives answer to them. One
 * table lists them; dev/ide.h says how the pieces go together. */
#include "dev/ide.h"

#define READY (ATA_DRDY | ATA_DSC)

enum {
    EXT = 1,     /* 48-bit address and count */
    MULTI = 2,   /* DRQ blocks of SET MULTIPLE's size */
    WRITE = 4,   /* from guest to disk */
    DMA = 8,     /* through the bus master */
    VERIFY = 16, /* no data moves */
    DISK = 32,   /* for disks */
    PACKET = 64, /* for CD-ROM drives */
    BOTH = DISK | PACKET,
};

struct command {
    uint8_t first, last; /* codes */
    uint8_t flags;
    const char *name;
    void (*run)(struct ide_drive *d, unsigned flags);
};

static void abort_command(struct ide_drive *d)
{
    ide_finish(d, ATA_DRDY | ATA_DSC | ATA_ERR, ATA_ABRT);
}

/* --- addresses --- */

static uint64_t task_file_lba(const struct ide_drive_state *s, bool ext)
{
    uint64_t lba28 = (uint64_t)(s->device & 15) << 24 | s->high << 16 | s->mid << 8 | s->low;
    if (ext)
        return (uint64_t)s->hob_high << 40 | (uint64_t)s->hob_mid << 32 |
               (uint64_t)s->hob_low << 24 | (lba28 & 0xffffff);
    if (s->device & ATA_LBA)
        return lba28;
    uint32_t cylinder = s->high << 8 | s->mid, head = s->device & 15;
    if (!s->low || s->low > s->track_sectors || head >= s->heads)
        return ~0ull;
    return ((uint64_t)cylinder * s->heads + head) * s->track_sectors + s->low - 1;
}

/* The failing sector goes where the command's address came from. */
static void set_task_file_lba(struct ide_drive_state *s, uint64_t lba, bool ext)
{
    if (!ext && !(s->device & ATA_LBA)) {
        uint64_t track = lba / s->track_sectors;
        s->low = (uint8_t)(lba % s->track_sectors + 1);
        s->device = (uint8_t)((s->device & 0xf0) | (track % s->heads & 15));
        s->mid = (uint8_t)(track / s->heads);
        s->high = (uint8_t)(track / s->heads >> 8);
        return;
    }
    s->low = (uint8_t)lba;
    s->mid = (uint8_t)(lba >> 8);
    s->high = (uint8_t)(lba >> 16);
    if (ext) {
        s->hob_low = (uint8_t)(lba >> 24);
        s->hob_mid = (uint8_t)(lba >> 32);
        s->hob_high = (uint8_t)(lba >> 40);
    } else {
        s->device = (uint8_t)((s->device & 0xf0) | (lba >> 24 & 15));
    }
}

/* --- transfers --- */

static const struct command *find(uint8_t code);

static void fail_at(struct ide_drive *d, uint64_t lba, uint8_t error)
{
    const struct command *c = find(d->s->command);
    set_task_file_lba(d->s, lba, c && (c->flags & EXT));
    ide_finish(d, READY | ATA_ERR, error);
}

static uint32_t block_bytes(const struct ide_drive_state *s)
{
    return (uint32_t)min_u64(s->left, s->block) * IDE_SECTOR;
}

static void run_transfer(struct ide_drive *d, unsigned flags)
{
    struct ide_drive_state *s = d->s;
    uint32_t count = flags & EXT ? s->hob_count << 8 | s->count : s->count;
    uint64_t lba = task_file_lba(s, flags & EXT);
    if (!count)
        count = flags & EXT ? 65536 : 256;
    if ((flags & MULTI) && !s->multiple) {
        abort_command(d);
        return;
    }
    if ((flags & WRITE) && d->blk->readonly) {
        LOG(d->ch->ide->log, DISK, "ide%u: a write to %s, which is read-only", d->unit,
            d->blk->name);
        abort_command(d);
        return;
    }
    if (lba >= d->sectors || count > d->sectors - lba) {
        ide_finish(d, READY | ATA_ERR, ATA_IDNF);
        return;
    }
    s->lba = lba;
    s->left = count;
    s->block = flags & MULTI ? s->multiple : 1;
    s->write = !!(flags & WRITE);
    if (flags & VERIFY)
        ide_busy(d, IDE_FINISH, 20000);
    else if (flags & DMA)
        ide_dma_ready(d);
    else if (flags & WRITE)
        ide_data(d, IDE_DATA_OUT, 0, block_bytes(s), false);
    else
        ide_busy(d, IDE_FETCH, 10000);
}

static void fetch_block(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    uint32_t n = block_bytes(s);
    if (!n) { /* IDENTIFY: the data is there */
        ide_data(d, IDE_DATA_IN, 0, s->filled, true);
        return;
    }
    if (!ide_media_read(d, s->lba * IDE_SECTOR, s->buffer, n)) {
        fail_at(d, s->lba, ATA_UNC);
        return;
    }
    s->lba += n / IDE_SECTOR;
    s->left -= n / IDE_SECTOR;
    ide_data(d, IDE_DATA_IN, 0, n, true);
}

static void store_block(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    uint32_t n = s->end;
    if (!ide_media_write(d, s->lba * IDE_SECTOR, s->buffer, n)) {
        fail_at(d, s->lba, ATA_ABRT);
        return;
    }
    s->lba += n / IDE_SECTOR;
    s->left -= (uint32_t)min_u64(s->left, n / IDE_SECTOR);
    if (s->left)
        ide_data(d, IDE_DATA_OUT, 0, block_bytes(s), true);
    else
        ide_finish(d, READY, 0);
}

void ata_block_read(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    if (s->left) {
        ide_busy(d, IDE_FETCH, 2000);
        return;
    }
    s->phase = IDE_IDLE;
    s->status = READY;
}

static void transfer_dma(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    uint8_t *work = d->ch->ide->work;
    while (s->left) {
        uint32_t n = (uint32_t)min_u64((uint64_t)s->left * IDE_SECTOR, IDE_WORK);
        bool ok = s->write || ide_media_read(d, s->lba * IDE_SECTOR, work, n);
        if (ok && !ide_dma_move(d->ch, work, n, !s->write)) {
            /* The table was too short: the transfer stops, and as no end was reached there is no
             * interrupt either. The driver's time-out finds the bus master inactive. */
            d->ch->s->dma_status &= ~1;
            s->phase = IDE_IDLE;
            s->status = READY;
            return;
        }
        ok = ok && (!s->write || ide_media_write(d, s->lba * IDE_SECTOR, work, n));
        if (!ok) {
            d->ch->s->dma_status &= ~1;
            fail_at(d, s->lba, s->write ? ATA_ABRT : ATA_UNC);
            return;
        }
        s->lba += n / IDE_SECTOR;
        s->left -= n / IDE_SECTOR;
    }
    ide_finish(d, READY, 0);
}

void ata_due(struct ide_drive *d)
{
    switch (d->s->phase) {
    case IDE_FETCH: fetch_block(d); break;
    case IDE_STORE: store_block(d); break;
    case IDE_DMA: transfer_dma(d); break;
    case IDE_FINISH: ide_finish(d, READY, 0); break;
    default: break;
    }
}

/* --- IDENTIFY --- */

/* ATA strings have their bytes swapped in each word, and are filled with spaces. */
static void put_string(uint8_t *at, unsigned len, const char *text)
{
    for (unsigned i = 0; i < len; i++)
        at[i ^ 1] = *text ? (uint8_t)*text++ : ' ';
}

static void put_words(uint8_t *id, const uint16_t (*rows)[2], unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put_le16(id + 2 * rows[i][0], rows[i][1]);
}

static uint16_t dma_word(const struct ide_drive_state *s, unsigned kind, uint16_t supported)
{
    return (s->dma_mode & 0xf8) == kind ? (uint16_t)(supported | 0x100u << (s->dma_mode & 7))
                                        : supported;
}

static void put_common(struct ide_drive *d, uint8_t *id, const char *model)
{
    char serial[] = "ishi-0";
    serial[5] = (char)('0' + d->unit);
    put_string(id + 20, 20, serial);
    put_string(id + 46, 8, "1.0");
    put_string(id + 54, 40, model);
    put_le16(id + 2 * 63, dma_word(d->s, 0x20, 7));
    put_le16(id + 2 * 88, dma_word(d->s, 0x40, 0x3f));
}

static void identify_disk(struct ide_drive *d, uint8_t *id)
{
    const struct ide_drive_state *s = d->s;
    uint64_t chs = (uint64_t)s->cylinders * s->heads * s->track_sectors;
    uint16_t cylinders = ide_cylinders(d, 16, 63);
    const uint16_t words[][2] = {
        {0, 0x0040}, /* fixed disk */
        {1, cylinders},
        {3, 16},
        {6, 63},
        {20, 3},
        {21, IDE_BUFFER / IDE_SECTOR},
        {22, 4},
        {47, 0x8000 | IDE_MAX_MULTIPLE},
        {48, 1},      /* doubleword I/O */
        {49, 0x0b00}, /* IORDY, LBA, DMA */
        {50, 0x4000},
        {51, 0x0200},
        {52, 0x0200},
        {53, 7}, /* words 54 to 58, 64 to 70 and 88 are valid */
        {54, s->cylinders},
        {55, s->heads},
        {56, s->track_sectors},
        {57, (uint16_t)chs},
        {58, (uint16_t)(chs >> 16)},
        {59, s->multiple ? 0x100 | s->multiple : 0},
        {60, (uint16_t)min_u64(d->sectors, 0x0fffffff)},
        {61, (uint16_t)(min_u64(d->sectors, 0x0fffffff) >> 16)},
        {64, 3},
        {65, 120},
        {66, 120},
        {67, 120},
        {68, 120},
        {80, 0x00f0}, /* ATA-4 to ATA-7 */
        {81, 0x0016},
        {82, 0x4020}, /* NOP, write cache */
        {83, 0x7400}, /* FLUSH CACHE (EXT), 48-bit addresses */
        {84, 0x4000},
        {85, 0x4000 | s->write_cache << 5},
        {86, 0x3400},
        {87, 0x4000},
        {93, 0x6001}, /* 80-wire cable */
        {100, (uint16_t)d->sectors},
        {101, (uint16_t)(d->sectors >> 16)},
        {102, (uint16_t)(d->sectors >> 32)},
        {103, (uint16_t)(d->sectors >> 48)},
    };
    put_words(id, words, ARRAY_LEN(words));
    put_common(d, id, "ishi disk");
}

static void identify_cdrom(struct ide_drive *d, uint8_t *id)
{
    static const uint16_t words[][2] = {
        {0, 0x85c0}, /* CD-ROM, removable, DRQ within 50 us, packets of 12 bytes */
        {20, 3},      {21, IDE_BUFFER / IDE_SECTOR},
        {22, 4},      {48, 1},
        {49, 0x0b00}, {53, 7},
        {64, 3},      {65, 180},
        {66, 180},    {67, 180},
        {68, 180},    {71, 30},
        {72, 30},     {80, 0x00f0},
        {81, 0x0016}, {82, 0x4210},
        {85, 0x4210}, {87, 0x4000},
        {93, 0x6001},
    };
    put_words(id, words, ARRAY_LEN(words));
    put_common(d, id, "ishi CD-ROM");
}

static void run_identify(struct ide_drive *d, unsigned flags)
{
    uint8_t *id = d->s->buffer;
    memset(id, 0, IDE_SECTOR);
    if (d->kind == IDE_DISK)
        identify_disk(d, id);
    else
        identify_cdrom(d, id);
    d->s->left = 0;
    d->s->filled = IDE_SECTOR;
    ide_busy(d, IDE_FETCH, 5000);
}

/* --- the rest --- */

static void run_nothing(struct ide_drive *d, unsigned flags)
{
    ide_busy(d, IDE_FINISH, 5000);
}

static void run_check_power(struct ide_drive *d, unsigned flags)
{
    d->s->count = 0xff; /* active or idle */
    ide_busy(d, IDE_FINISH, 5000);
}

/* A flush is done before it is reported: this is what databases wait for. */
static void run_flush(struct ide_drive *d, unsigned flags)
{
    struct err e;
    if (d->blk->readonly || ide_host_done(d, d->blk->ops->flush(d->blk->opaque, &e), &e))
        ide_busy(d, IDE_FINISH, 20000);
    else
        abort_command(d);
}

static void run_init_params(struct ide_drive *d, unsigned flags)
{
    struct ide_drive_state *s = d->s;
    if (!s->count) {
        abort_command(d);
        return;
    }
    s->heads = (s->device & 15) + 1;
    s->track_sectors = s->count;
    s->cylinders = ide_cylinders(d, s->heads, s->track_sectors);
    ide_busy(d, IDE_FINISH, 5000);
}

static void run_set_multiple(struct ide_drive *d, unsigned flags)
{
    uint8_t n = d->s->count;
    if (n > IDE_MAX_MULTIPLE || (n & (n - 1))) {
        abort_command(d);
        return;
    }
    d->s->multiple = n;
    ide_busy(d, IDE_FINISH, 5000);
}

static bool set_transfer_mode(struct ide_drive_state *s)
{
    unsigned kind = s->count & 0xf8, mode = s->count & 7;
    switch (kind) {
    case 0x00: return mode <= 1;
    case 0x08: return mode <= 4;
    case 0x20:
        if (mode > 2)
            return false;
        break;
    case 0x40:
        if (mode > 5)
            return false;
        break;
    default: return false;
    }
    s->dma_mode = s->count;
    return true;
}

static void run_set_features(struct ide_drive *d, unsigned flags)
{
    bool ok = true;
    switch (d->s->feature) {
    case 0x02: d->s->write_cache = 1; break;
    case 0x82: d->s->write_cache = 0; break;
    case 0x03: ok = set_transfer_mode(d->s); break;
    case 0x55: /* read look-ahead off and on, defaults after a reset: nothing to change */
    case 0xaa:
    case 0x66:
    case 0xcc: break;
    default: ok = false; break;
    }
    if (ok)
        ide_busy(d, IDE_FINISH, 5000);
    else
        abort_command(d);
}

/* A CD-ROM drive aborts the disks' commands with its signature, by which a driver knows it
 * (ATA-6, 8.34.5). */
static void run_signature_abort(struct ide_drive *d, unsigned flags)
{
    d->s->count = d->s->low = 1;
    d->s->mid = 0x14;
    d->s->high = 0xeb;
    abort_command(d);
}

/* No data moves yet: the packet itself comes through the data port. */
static void run_packet(struct ide_drive *d, unsigned flags)
{
    struct ide_drive_state *s = d->s;
    s->packet_dma = s->feature & 1;
    s->limit = (uint16_t)(s->high << 8 | s->mid);
    s->count = 1; /* command, to the drive */
    ide_data(d, IDE_PACKET, 0, sizeof s->packet, false);
}

/* clang-format off */
static const struct command commands[] = {
    {0x10, 0x1f, DISK, "RECALIBRATE", run_nothing},
    {0x20, 0x21, DISK, "READ SECTORS", run_transfer},
    {0x24, 0x24, DISK | EXT, "READ SECTORS EXT", run_transfer},
    {0x25, 0x25, DISK | EXT | DMA, "READ DMA EXT", run_transfer},
    {0x29, 0x29, DISK | EXT | MULTI, "READ MULTIPLE EXT", run_transfer},
    {0x30, 0x31, DISK | WRITE, "WRITE SECTORS", run_transfer},
    {0x34, 0x34, DISK | EXT | WRITE, "WRITE SECTORS EXT", run_transfer},
    {0x35, 0x35, DISK | EXT | WRITE | DMA, "WRITE DMA EXT", run_transfer},
    {0x39, 0x39, DISK | EXT | WRITE | MULTI, "WRITE MULTIPLE EXT", run_transfer},
    {0x3c, 0x3c, DISK | WRITE, "WRITE VERIFY", run_transfer},
    {0x40, 0x41, DISK | VERIFY, "READ VERIFY", run_transfer},
    {0x42, 0x42, DISK | EXT | VERIFY, "READ VERIFY EXT", run_transfer},
    {0x70, 0x7f, DISK, "SEEK", run_nothing},
    {0x91, 0x91, DISK, "INITIALIZE DEVICE PARAMETERS", run_init_params},
    {0x94, 0x97, BOTH, "STANDBY, IDLE", run_nothing},
    {0x98, 0x98, BOTH, "CHECK POWER MODE", run_check_power},
    {0x99, 0x99, BOTH, "SLEEP", run_nothing},
    {0xa0, 0xa0, PACKET, "PACKET", run_packet},
    {0xa1, 0xa1, PACKET, "IDENTIFY PACKET DEVICE", run_identify},
    {0xc4, 0xc4, DISK | MULTI, "READ MULTIPLE", run_transfer},
    {0xc5, 0xc5, DISK | WRITE | MULTI, "WRITE MULTIPLE", run_transfer},
    {0xc6, 0xc6, DISK, "SET MULTIPLE MODE", run_set_multiple},
    {0xc8, 0xc9, DISK | DMA, "READ DMA", run_transfer},
    {0xca, 0xcb, DISK | WRITE | DMA, "WRITE DMA", run_transfer},
    {0xe0, 0xe3, BOTH, "STANDBY, IDLE", run_nothing},
    {0xe5, 0xe5, BOTH, "CHECK POWER MODE", run_check_power},
    {0xe6, 0xe6, BOTH, "SLEEP", run_nothing},
    {0xe7, 0xe7, DISK, "FLUSH CACHE", run_flush},
    {0xea, 0xea, DISK | EXT, "FLUSH CACHE EXT", run_flush},
    {0xec, 0xec, DISK, "IDENTIFY DEVICE", run_identify},
    {0xec, 0xec, PACKET, "IDENTIFY DEVICE", run_signature_abort},
    {0x20, 0x20, PACKET, "READ SECTORS", run_signature_abort},
    {0xef, 0xef, BOTH, "SET FEATURES", run_set_features},
};
/* clang-format on */

static const struct command *find_for(uint8_t code, unsigned kinds)
{
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *c = &commands[i];
        if (code >= c->first && code <= c->last && (c->flags & kinds))
            return c;
    }
    return NULL;
}

static const struct command *find(uint8_t code)
{
    return find_for(code, DISK);
}

/* What isn't in the table is aborted: NOP by its definition, SMART and the rest as not there. */
void ata_command(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    const struct command *c = find_for(s->command, d->kind == IDE_DISK ? DISK : PACKET);
    if (c && c->run == run_transfer)
        LOG(d->ch->ide->log, DISK, "ide%u: %s, %u from %llu", d->unit, c->name,
            c->flags & EXT ? s->hob_count << 8 | s->count : s->count,
            (unsigned long long)task_file_lba(s, c->flags & EXT));
    else
        LOG(d->ch->ide->log, DISK, "ide%u: %s (%#x)", d->unit, c ? c->name : "aborted", s->command);
    if (c)
        c->run(d, c->flags);
    else
        abort_command(d);
}
