#include "dev/ide.h"

#define DMA_START  0x01
#define DMA_ACTIVE 0x01
#define DMA_ERROR  0x02
#define DMA_INT    0x04

#define S struct ide_drive_state
STATE_TABLE(ide_drive_table, "ide_drive", S, STATE(S, deadline), STATE(S, lba), STATE(S, left),
            STATE(S, pos), STATE(S, end), STATE(S, filled), STATE(S, cylinders), STATE(S, limit),
            STATE(S, sector_size), STATE(S, heads), STATE(S, track_sectors), STATE(S, status),
            STATE(S, error), STATE(S, feature), STATE(S, count), STATE(S, low), STATE(S, mid),
            STATE(S, high), STATE(S, device), STATE(S, hob_feature), STATE(S, hob_count),
            STATE(S, hob_low), STATE(S, hob_mid), STATE(S, hob_high), STATE(S, command),
            STATE(S, phase), STATE(S, block), STATE(S, write), STATE(S, multiple),
            STATE(S, dma_mode), STATE(S, write_cache), STATE(S, pending), STATE(S, sense_key),
            STATE(S, sense_code), STATE(S, sense_qualifier), STATE(S, packet_dma), STATE(S, locked),
            STATE(S, tray_open), STATE(S, new_medium), STATE_ARRAY(S, packet),
            STATE_BLOB(S, buffer));
#undef S
#define S struct ide_channel_state
STATE_TABLE(ide_channel_table, "ide_channel", S, STATE_SUB(S, drive, &ide_drive_table),
            STATE(S, prdt), STATE(S, next), STATE(S, address), STATE(S, left), STATE(S, last),
            STATE(S, dma_command), STATE(S, dma_status), STATE(S, selected), STATE(S, control),
            STATE(S, intrq), STATE_ARRAY(S, reserved));
#undef S
STATE_TABLE(ide_table, "ide", struct ide_state,
            STATE_SUB(struct ide_state, ch, &ide_channel_table));

/* --- what a drive does with its channel --- */

static struct ide_drive *selected(struct ide_channel *c)
{
    return &c->drive[c->s->selected];
}

/* INTRQ is the selected drive's, and the host can hold it off (ATA-6, 5.2.9). */
static void drive_irq(struct ide_channel *c)
{
    const struct ide_drive *d = selected(c);
    bool level = d->kind && d->s->pending && !(c->s->control & ATA_NIEN);
    if (level == c->s->intrq)
        return;
    c->s->intrq = level;
    if (level)
        c->s->dma_status |= DMA_INT;
    irq_set(&c->irq, level);
}

static void set_deadline(struct ide_drive *d, uint64_t when)
{
    d->s->deadline = when;
    timer_set(&d->timer, when);
}

static void raise_irq(struct ide_drive *d)
{
    d->s->pending = 1;
    drive_irq(d->ch);
}

void ide_finish(struct ide_drive *d, uint8_t status, uint8_t error)
{
    set_deadline(d, CLOCK_NEVER);
    d->s->phase = IDE_IDLE;
    d->s->status = status;
    d->s->error = error;
    raise_irq(d);
}

void ide_busy(struct ide_drive *d, enum ide_phase phase, uint64_t ns)
{
    d->s->phase = phase;
    d->s->status = ATA_BSY | ATA_DRDY | ATA_DSC;
    set_deadline(d, clock_now(d->ch->ide->clock) + ns);
}

void ide_data(struct ide_drive *d, enum ide_phase phase, uint32_t pos, uint32_t end, bool irq)
{
    CHECK(pos <= end && end <= IDE_BUFFER);
    set_deadline(d, CLOCK_NEVER);
    d->s->phase = phase;
    d->s->pos = pos;
    d->s->end = end;
    d->s->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    if (irq)
        raise_irq(d);
}

void ide_signature(struct ide_drive *d)
{
    struct ide_drive_state *s = d->s;
    set_deadline(d, CLOCK_NEVER);
    s->phase = IDE_IDLE;
    s->pending = 0;
    s->count = s->low = 1;
    s->mid = d->kind == IDE_CDROM ? 0x14 : 0;
    s->high = d->kind == IDE_CDROM ? 0xeb : 0;
    s->device &= ATA_DEV1;
    s->error = 1; /* diagnostics passed */
    s->status = d->kind == IDE_CDROM ? 0 : ATA_DRDY | ATA_DSC;
}

uint16_t ide_cylinders(const struct ide_drive *d, unsigned heads, unsigned track_sectors)
{
    return (uint16_t)max_u64(min_u64(d->sectors / (heads * track_sectors), 16383), 1);
}

/* Bytes of [offset, offset + len) that the medium has. */
static uint32_t within(const struct ide_drive *d, uint64_t offset, uint32_t len)
{
    return offset >= d->blk->size ? 0 : (uint32_t)min_u64(len, d->blk->size - offset);
}

bool ide_host_done(struct ide_drive *d, bool ok, const struct err *e)
{
    const struct log *log = d->ch->ide->log;
    if (!ok) {
        LOG(log, DISK, "ide%u: %s", d->unit, e->text);
        if (!d->failing)
            LOG(log, HOST, "%s: the guest sees an error", e->text);
    }
    d->failing = !ok;
    return ok;
}

bool ide_media_read(struct ide_drive *d, uint64_t offset, void *buf, uint32_t len)
{
    struct err e;
    uint32_t n = within(d, offset, len);
    memset((uint8_t *)buf + n, 0, len - n);
    return !n || ide_host_done(d, d->blk->ops->read(d->blk->opaque, offset, buf, n, &e), &e);
}

bool ide_media_write(struct ide_drive *d, uint64_t offset, const void *buf, uint32_t len)
{
    struct err e;
    uint32_t n = within(d, offset, len);
    return !n || ide_host_done(d, d->blk->ops->write(d->blk->opaque, offset, buf, n, &e), &e);
}

static void on_timer(void *opaque)
{
    struct ide_drive *d = opaque;
    d->s->deadline = CLOCK_NEVER;
    if (d->kind == IDE_CDROM && (d->s->command == 0xa0 || d->s->phase == IDE_PACKET_RUN))
        atapi_due(d);
    else
        ata_due(d);
}

/* --- bus master --- */

void ide_dma_ready(struct ide_drive *d)
{
    d->s->phase = IDE_DMA;
    d->s->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    /* A few microseconds to find the place, then some 100 MB/s. */
    if (d->ch->s->dma_status & DMA_ACTIVE)
        set_deadline(d, clock_now(d->ch->ide->clock) + 20000 + min_u64(d->s->left, 256) * 1000);
    else
        set_deadline(d, CLOCK_NEVER);
}

/* The next physical region descriptor; each moves at least two bytes, so a table can't hold us. */
static bool next_prd(struct ide_channel *c)
{
    uint8_t guest_prd[8];
    if (c->s->last)
        return false;
    if (!bus_dma_read(c->ide->bus, c->s->next, guest_prd, sizeof guest_prd)) {
        c->s->dma_status |= DMA_ERROR;
        return false;
    }
    c->s->address = get_le32(guest_prd) & ~1u;
    c->s->left = get_le16(guest_prd + 4) & 0xfffe;
    if (!c->s->left)
        c->s->left = 0x10000;
    c->s->last = guest_prd[7] >> 7;
    /* The table doesn't cross 64 KiB: the counter wraps within. */
    c->s->next = (c->s->next & 0xffff0000) | ((c->s->next + 8) & 0xffff);
    return true;
}

bool ide_dma_move(struct ide_channel *c, uint8_t *buf, uint32_t len, bool to_memory)
{
    while (len) {
        if (!c->s->left && !next_prd(c))
            return false;
        uint32_t n = (uint32_t)min_u64(len, c->s->left);
        bool ok = to_memory ? bus_dma_write(c->ide->bus, c->s->address, buf, n)
                            : bus_dma_read(c->ide->bus, c->s->address, buf, n);
        if (!ok)
            c->s->dma_status |= DMA_ERROR;
        c->s->address += n;
        c->s->left -= n;
        buf += n;
        len -= n;
    }
    if (!c->s->left && c->s->last)
        c->s->dma_status &= ~DMA_ACTIVE;
    return true;
}

static void dma_command(struct ide_channel *c, uint8_t value)
{
    bool start = value & ~c->s->dma_command & DMA_START;
    c->s->dma_command = value & 0x09;
    if (start) {
        c->s->next = c->s->prdt;
        c->s->left = c->s->last = 0;
        c->s->dma_status |= DMA_ACTIVE;
    } else if (!(value & DMA_START)) {
        c->s->dma_status &= ~DMA_ACTIVE;
    }
    for (unsigned i = 0; i < 2; i++)
        if (c->drive[i].s->phase == IDE_DMA)
            ide_dma_ready(&c->drive[i]);
}

static uint64_t bus_master_read(void *dev, uint64_t offset, unsigned size)
{
    const struct ide_channel *c = &((struct ide *)dev)->ch[offset >> 3 & 1];
    switch (offset & 7) {
    case 0: return c->s->dma_command;
    case 2: return c->s->dma_status;
    case 4:
    case 5:
    case 6:
    case 7: return c->s->prdt >> 8 * (offset & 3) & 0xff;
    default: return 0;
    }
}

static void bus_master_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *c = &((struct ide *)dev)->ch[offset >> 3 & 1];
    unsigned shift = 8 * (offset & 3);
    switch (offset & 7) {
    case 0: dma_command(c, (uint8_t)value); break;
    case 2:
        c->s->dma_status &= (uint8_t) ~(value & (DMA_INT | DMA_ERROR));
        c->s->dma_status = (uint8_t)((c->s->dma_status & ~0x60) | (value & 0x60));
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        c->s->prdt &= ~(0xffu << shift);
        c->s->prdt |= (uint32_t)value << shift;
        c->s->prdt &= ~3u;
        break;
    default: break;
    }
}

static const struct region_ops bus_master_ops = {bus_master_read, bus_master_write, 1};

/* --- the data port --- */

static void block_read(struct ide_drive *d)
{
    if (d->kind == IDE_CDROM && d->s->command == 0xa0)
        atapi_block_read(d);
    else
        ata_block_read(d);
}

static void block_written(struct ide_drive *d)
{
    if (d->s->phase == IDE_PACKET) {
        memcpy(d->s->packet, d->s->buffer, sizeof d->s->packet);
        atapi_packet(d);
    } else {
        ide_busy(d, IDE_STORE, 5000);
    }
}

static uint32_t data_read(struct ide_drive *d, unsigned size)
{
    struct ide_drive_state *s = d->s;
    uint32_t v = 0;
    if (s->phase != IDE_DATA_IN)
        return 0;
    unsigned n = (unsigned)min_u64(size, s->end - s->pos);
    memcpy(&v, s->buffer + s->pos, n);
    s->pos += n;
    if (s->pos == s->end)
        block_read(d);
    return v;
}

static void data_write(struct ide_drive *d, unsigned size, uint32_t value)
{
    struct ide_drive_state *s = d->s;
    if (s->phase != IDE_DATA_OUT && s->phase != IDE_PACKET)
        return;
    unsigned n = (unsigned)min_u64(size, s->end - s->pos);
    memcpy(s->buffer + s->pos, &value, n);
    s->pos += n;
    if (s->pos == s->end)
        block_written(d);
}

/* --- task file --- */

static uint8_t status_of(const struct ide_channel *c)
{
    const struct ide_drive *d = &c->drive[c->s->selected];
    if (!d->kind)
        return 0;
    return c->s->control & ATA_SRST ? ATA_BSY : d->s->status;
}

static uint8_t register_read(struct ide_channel *c, unsigned offset)
{
    struct ide_drive *d = selected(c);
    const struct ide_drive_state *s = d->s;
    bool hob = c->s->control & ATA_HOB;
    if (!c->drive[0].kind && !c->drive[1].kind)
        return 0;
    if (!d->kind && offset != 6)
        return 0;
    switch (offset) {
    case 1: return hob ? s->hob_feature : s->error;
    case 2: return hob ? s->hob_count : s->count;
    case 3: return hob ? s->hob_low : s->low;
    case 4: return hob ? s->hob_mid : s->mid;
    case 5: return hob ? s->hob_high : s->high;
    case 6: return s->device | 0xa0;
    case 7:
        d->s->pending = 0;
        drive_irq(c);
        return status_of(c);
    default: return (uint8_t)data_read(d, 1);
    }
}

static void task_file_write(struct ide_drive_state *s, unsigned offset, uint8_t v)
{
    if ((s->status & ATA_BSY) && offset != 6)
        return;
    switch (offset) {
    case 1:
        s->hob_feature = s->feature;
        s->feature = v;
        break;
    case 2:
        s->hob_count = s->count;
        s->count = v;
        break;
    case 3:
        s->hob_low = s->low;
        s->low = v;
        break;
    case 4:
        s->hob_mid = s->mid;
        s->mid = v;
        break;
    case 5:
        s->hob_high = s->high;
        s->high = v;
        break;
    default: s->device = v; break;
    }
}

/* EXECUTE DIAGNOSTIC is for both drives, whichever is selected; drive 0 reports (ATA-6, 8.11). */
static void diagnose(struct ide_channel *c)
{
    ide_signature(&c->drive[0]);
    ide_signature(&c->drive[1]);
    c->drive[0].s->device = c->drive[1].s->device = 0;
    c->s->selected = 0;
    if (c->drive[0].kind)
        raise_irq(&c->drive[0]);
}

static void command_write(struct ide_channel *c, uint8_t code)
{
    struct ide_drive *d = selected(c);
    if (code == 0x90) {
        diagnose(c);
        return;
    }
    if (!d->kind || (c->s->control & ATA_SRST))
        return;
    if (code == 0x08 && d->kind == IDE_CDROM) { /* DEVICE RESET: also while busy, no interrupt */
        ide_signature(d);
        drive_irq(c);
        return;
    }
    if (d->s->status & (ATA_BSY | ATA_DRQ)) {
        LOG(c->ide->log, DISK, "ide%u: command %#x while busy", d->unit, code);
        return;
    }
    d->s->pending = 0;
    drive_irq(c);
    d->s->command = code;
    d->s->error = 0;
    ata_command(d);
}

static void register_write(struct ide_channel *c, unsigned offset, uint8_t v)
{
    c->s->control &= ~ATA_HOB;
    if (offset == 0) {
        data_write(selected(c), 1, v);
    } else if (offset == 7) {
        command_write(c, v);
    } else {
        task_file_write(c->drive[0].s, offset, v);
        task_file_write(c->drive[1].s, offset, v);
        if (offset == 6) {
            c->s->selected = v >> 4 & 1;
            drive_irq(c);
        }
    }
}

static uint64_t command_port_read(void *dev, uint64_t offset, unsigned size)
{
    struct ide_channel *c = dev;
    uint64_t v = 0;
    if (LIKELY(offset == 0))
        return data_read(selected(c), size);
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)register_read(c, (unsigned)offset + i) << 8 * i;
    return v;
}

static void command_port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *c = dev;
    if (LIKELY(offset == 0)) {
        data_write(selected(c), size, (uint32_t)value);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        register_write(c, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
}

/* All but the last of a block's, which is an event. */
static unsigned short_of_end(const struct ide_drive_state *s, unsigned size, unsigned n)
{
    return (unsigned)min_u64(n, (s->end - s->pos - 1) / size);
}

static unsigned command_port_read_many(void *dev, uint64_t offset, unsigned size, void *to,
                                       unsigned n)
{
    struct ide_drive_state *s = selected(dev)->s;
    if (offset != 0 || s->phase != IDE_DATA_IN || s->pos >= s->end)
        return 0;
    n = short_of_end(s, size, n);
    memcpy(to, s->buffer + s->pos, n * size);
    s->pos += n * size;
    return n;
}

static unsigned command_port_write_many(void *dev, uint64_t offset, unsigned size, const void *from,
                                        unsigned n)
{
    struct ide_drive_state *s = selected(dev)->s;
    if (offset != 0 || (s->phase != IDE_DATA_OUT && s->phase != IDE_PACKET) || s->pos >= s->end)
        return 0;
    n = short_of_end(s, size, n);
    memcpy(s->buffer + s->pos, from, n * size);
    s->pos += n * size;
    return n;
}

static uint64_t control_read(void *dev, uint64_t offset, unsigned size)
{
    return status_of(dev);
}

static void control_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *c = dev;
    uint8_t old = c->s->control;
    c->s->control = (uint8_t)value & (ATA_HOB | ATA_SRST | ATA_NIEN);
    if ((value & ATA_SRST) && !(old & ATA_SRST)) {
        for (unsigned i = 0; i < 2; i++) {
            ide_signature(&c->drive[i]);
            c->drive[i].s->device = 0;
            c->drive[i].s->multiple = 0;
        }
        c->s->selected = 0;
    }
    drive_irq(c);
}

static const struct region_ops command_ops = {.read = command_port_read,
                                              .write = command_port_write,
                                              .sizes = 1 | 2 | 4,
                                              .read_many = command_port_read_many,
                                              .write_many = command_port_write_many};
static const struct region_ops control_ops = {control_read, control_write, 1};

/* --- set-up --- */

void ide_init(struct ide *d, struct pci_bus *pci, struct clock *clock, const struct irq irq[2],
              const struct log *log)
{
    static const struct pci_ids ids = {0x8086, 0x7010, 0x010180, 0, 0x1af4, 0x1100, 0};
    static const char *const names[2][2] = {{"ide0", "ide0 control"}, {"ide1", "ide1 control"}};
    memset(d, 0, sizeof *d);
    d->bus = pci->bus;
    d->clock = clock;
    d->log = log;
    pci_func_init(&d->pci, "ide", &ids);
    d->pci.image[PCI_STATUS] = 0x80;
    d->pci.image[PCI_STATUS + 1] = 2;
    /* IDETIM: both channels decode their ports from the start, as firmware leaves them. */
    d->pci.image[0x41] = d->pci.image[0x43] = 0x80;
    memset(d->pci.wmask + 0x40, 0xff, 5);
    d->bus_master =
        (struct region){.name = "ide bus master", .size = 16, .ops = &bus_master_ops, .dev = d};
    pci_func_bar(&d->pci, 4, PCI_BAR_IO, &d->bus_master);
    for (unsigned i = 0; i < 2; i++) {
        struct ide_channel *c = &d->ch[i];
        c->s = &d->s.ch[i];
        c->ide = d;
        c->irq = irq[i];
        c->command = (struct region){.name = names[i][0], .size = 8, .ops = &command_ops, .dev = c};
        c->control = (struct region){.name = names[i][1], .size = 1, .ops = &control_ops, .dev = c};
        for (unsigned k = 0; k < 2; k++) {
            struct ide_drive *v = &c->drive[k];
            v->s = &c->s->drive[k];
            v->ch = c;
            v->unit = 2 * i + k;
            timer_init(&v->timer, clock, "ide", on_timer, v);
        }
    }
    pci_add(pci, &d->pci, PCI_DEVFN(1, 1));
    ide_reset(d);
}

static void set_medium(struct ide_drive *v, struct blockdev *blk)
{
    uint32_t size = v->kind == IDE_CDROM ? CD_SECTOR : IDE_SECTOR;
    v->blk = blk;
    v->sectors = blk ? blk->size / size + (blk->size % size != 0) : 0;
}

void ide_attach(struct ide *d, unsigned channel, unsigned drive, enum ide_kind kind,
                struct blockdev *blk)
{
    struct ide_drive *v = &d->ch[channel].drive[drive];
    CHECK(channel < 2 && drive < 2 && (blk || kind != IDE_DISK));
    v->kind = kind;
    set_medium(v, blk);
    ide_reset(d);
}

void ide_change_medium(struct ide *d, unsigned channel, unsigned drive, struct blockdev *blk)
{
    struct ide_drive *v = &d->ch[channel].drive[drive];
    CHECK(channel < 2 && drive < 2 && v->kind == IDE_CDROM);
    set_medium(v, blk);
    v->s->tray_open = 0;
    v->s->new_medium = 3;
    v->s->left = 0;
}

void ide_reset(struct ide *d)
{
    for (unsigned i = 0; i < 4; i++) {
        struct ide_channel *c = &d->ch[i / 2];
        struct ide_drive *v = &c->drive[i & 1];
        memset(v->s, 0, sizeof *v->s);
        v->s->sector_size = CD_SECTOR;
        v->s->write_cache = 1;
        v->s->dma_mode = 0x22;
        v->s->heads = 16;
        v->s->track_sectors = 63;
        v->s->cylinders = ide_cylinders(v, 16, 63);
        ide_signature(v);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct ide_channel *c = &d->ch[i];
        c->s->prdt = c->s->next = c->s->address = c->s->left = 0;
        c->s->last = c->s->dma_command = c->s->selected = c->s->control = 0;
        c->s->dma_status = 0x60; /* both drives can, as firmware would note here */
        drive_irq(c);
    }
}

/* A loaded state is not to be trusted with the sizes and divisors that the code relies on. */
static void make_sane(struct ide_drive_state *s, uint64_t sectors)
{
    s->filled = (uint32_t)min_u64(s->filled, IDE_BUFFER);
    s->end = (uint32_t)min_u64(s->end, IDE_BUFFER);
    s->pos = (uint32_t)min_u64(s->pos, s->end);
    s->block = (uint8_t)min_u64(s->block, IDE_MAX_MULTIPLE);
    s->multiple = (uint8_t)min_u64(s->multiple, IDE_MAX_MULTIPLE);
    s->heads = (uint8_t)max_u64(s->heads, 1);
    s->track_sectors = (uint8_t)max_u64(s->track_sectors, 1);
    s->left = (uint32_t)min_u64(s->left, max_u64(sectors, 65536));
    if (s->sector_size != CD_RAW_SECTOR)
        s->sector_size = CD_SECTOR;
    if (s->phase > IDE_PACKET_RUN)
        s->phase = IDE_IDLE;
}

void ide_restore(struct ide *d)
{
    for (unsigned i = 0; i < 2; i++) {
        d->ch[i].s->selected &= 1;
        make_sane(&d->ch[i].s->drive[0], d->ch[i].drive[0].sectors);
        make_sane(&d->ch[i].s->drive[1], d->ch[i].drive[1].sectors);
        for (unsigned k = 0; k < 2; k++)
            timer_set(&d->ch[i].drive[k].timer, d->ch[i].drive[k].s->deadline);
        irq_set(&d->ch[i].irq, d->ch[i].s->intrq);
    }
}
