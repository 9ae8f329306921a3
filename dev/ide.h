/* IDE: two channels of two drives at the legacy ports, and the PIIX3's bus master (Intel 290550,
 * 2.5; ATA/ATAPI-6, T13 1410D; SFF-8038i for the bus master).
 *
 * ide.c has the ports, the interrupt lines and the bus master; ata.c the commands of disks; atapi.c
 * the packet commands of CD-ROM drives. A command's work is done when its time is up, on the
 * machine's clock, in one go; until then the drive says BSY. The exception is the first block of a
 * PIO write and the packet of a PACKET command: DRQ is there at once, since simple drivers send
 * data without waiting.
 *
 * Both drives of a channel see every task file write; the selected one answers reads, takes
 * commands and drives the interrupt line. */
#ifndef ISHI_DEV_IDE_H
#define ISHI_DEV_IDE_H

#include "backend/blockdev.h"
#include "base/clock.h"
#include "dev/pci.h"

#define IDE_SECTOR       512u
#define CD_SECTOR        2048u
#define CD_RAW_SECTOR    2352u
#define IDE_MAX_MULTIPLE 16     /* sectors in a block of READ and WRITE MULTIPLE */
#define IDE_BUFFER       16384u /* bytes of a drive's buffer */
#define IDE_WORK         65536u /* bytes moved by DMA in one piece */

/* Status and error bits (ATA-6, 7.15 and 7.9). */
#define ATA_BSY  0x80
#define ATA_DRDY 0x40
#define ATA_DF   0x20
#define ATA_DSC  0x10
#define ATA_DRQ  0x08
#define ATA_ERR  0x01
#define ATA_UNC  0x40
#define ATA_IDNF 0x10
#define ATA_ABRT 0x04
#define ATA_SRST 0x04 /* device control */
#define ATA_NIEN 0x02
#define ATA_HOB  0x80
#define ATA_LBA  0x40 /* device register */
#define ATA_DEV1 0x10

enum ide_phase {
    IDE_IDLE,
    IDE_FETCH,      /* busy: a block of a PIO read is due */
    IDE_DATA_IN,    /* the guest reads buffer[pos, end) */
    IDE_DATA_OUT,   /* the guest writes it */
    IDE_STORE,      /* busy: it has been written, and is due on the disk */
    IDE_DMA,        /* data goes through the bus master, once that is started */
    IDE_FINISH,     /* busy: a command without data is due to end */
    IDE_PACKET,     /* the guest writes a command packet to buffer[0, 12) */
    IDE_PACKET_RUN, /* busy: the packet is due to be carried out */
};

struct ide_drive_state {
    uint64_t deadline; /* ns when the busy phase ends; CLOCK_NEVER */
    uint64_t lba;      /* next sector of the transfer, in the drive's sectors */
    uint32_t left;     /* sectors of it that are not in the buffer or moved yet */
    uint32_t pos, end; /* bytes of the buffer that the data port moves next; end <= filled */
    uint32_t filled;   /* bytes of valid data in the buffer */
    uint16_t cylinders, limit; /* CHS translation; byte count limit of a packet's data */
    uint16_t sector_size;      /* bytes a sector takes in a packet's data: 2048 or 2352 */
    uint8_t heads, track_sectors;
    uint8_t status, error, feature, count, low, mid, high, device;
    uint8_t hob_feature, hob_count, hob_low, hob_mid, hob_high; /* what was there one write ago */
    uint8_t command, phase; /* the command's code; enum ide_phase */
    uint8_t block;          /* sectors in a DRQ block of this command */
    uint8_t write;          /* the command writes to the disk */
    uint8_t multiple;       /* SET MULTIPLE MODE: sectors, 0 off */
    uint8_t dma_mode;       /* SET FEATURES transfer mode: 0x20 + multiword, 0x40 + ultra */
    uint8_t write_cache;
    uint8_t pending; /* an interrupt that the guest has not acknowledged */
    uint8_t sense_key, sense_code, sense_qualifier;
    uint8_t packet_dma, locked, tray_open, new_medium; /* ATAPI */
    uint8_t packet[12];
    uint8_t buffer[IDE_BUFFER];
};

struct ide_channel_state {
    struct ide_drive_state drive[2];
    uint32_t prdt;          /* guest-physical address of the descriptor table */
    uint32_t next;          /* of the descriptor after the present one */
    uint32_t address, left; /* what remains of the present one */
    uint8_t last;           /* the present one ends the table */
    uint8_t dma_command;    /* bit 0 start, bit 3 direction */
    uint8_t dma_status;     /* bit 0 active, 1 error, 2 interrupt, 5 and 6 drives can DMA */
    uint8_t selected;       /* drive, 0 or 1 */
    uint8_t control;        /* device control register */
    uint8_t intrq;          /* level of the interrupt line */
    uint8_t reserved[2];
};

struct ide_state {
    struct ide_channel_state ch[2];
};
extern const struct state_table ide_table;

enum ide_kind { IDE_NONE, IDE_DISK, IDE_CDROM };

struct ide_drive {
    struct ide_drive_state *s;
    struct ide_channel *ch;
    enum ide_kind kind;
    struct blockdev *blk; /* NULL: no medium (CD-ROM), no drive */
    uint64_t sectors;     /* of IDE_SECTOR or CD_SECTOR bytes */
    bool failing;         /* the host's last read, write or flush failed, and was reported */
    struct timer timer;
    unsigned unit; /* 0 to 3 */
};

struct ide_channel {
    struct ide_channel_state *s;
    struct ide *ide;
    struct ide_drive drive[2];
    struct irq irq;
    struct region command; /* 8 ports: 0x1f0 or 0x170 */
    struct region control; /* 1 port: 0x3f6 or 0x376 */
};

struct ide {
    struct ide_state s;
    struct pci_func pci;
    struct ide_channel ch[2];
    struct region bus_master; /* 16 ports: BAR 4 */
    struct bus *bus;
    struct clock *clock;
    const struct log *log;
    uint8_t work[IDE_WORK]; /* holds nothing between calls */
};

/* Becomes function 1 of device 1, without drives. irq: of the two channels. The board places the
 * `command` and `control` regions. */
void ide_init(struct ide *d, struct pci_bus *pci, struct clock *clock, const struct irq irq[2],
              const struct log *log);
/* Connects drive 0 or 1 of channel 0 or 1, before the first reset. blk stays the caller's; it may
 * be NULL for a CD-ROM drive without a medium. A size that is not whole sectors is rounded up: the
 * rest reads as zeros. */
void ide_attach(struct ide *d, unsigned channel, unsigned drive, enum ide_kind kind,
                struct blockdev *blk);
/* Changes the medium of a CD-ROM drive; NULL takes it out. */
void ide_change_medium(struct ide *d, unsigned channel, unsigned drive, struct blockdev *blk);
/* Power-on; after pci_reset. */
void ide_reset(struct ide *d);
/* After a loaded state: timers and interrupt lines. */
void ide_restore(struct ide *d);

/* --- between ide.c, ata.c and atapi.c --- */

/* Ends the command: status `status` (without BSY), error register, and an interrupt. */
void ide_finish(struct ide_drive *d, uint8_t status, uint8_t error);
/* Makes the drive busy in `phase` for `ns`. */
void ide_busy(struct ide_drive *d, enum ide_phase phase, uint64_t ns);
/* Offers buffer[pos, end) at the data port, in (IDE_DATA_IN) or out, with or without an
 * interrupt. */
void ide_data(struct ide_drive *d, enum ide_phase phase, uint32_t pos, uint32_t end, bool irq);
/* Waits for the bus master, or starts when that is active. */
void ide_dma_ready(struct ide_drive *d);
/* Moves bytes between the channel's PRD table and `buf`. False when the table ended first. */
bool ide_dma_move(struct ide_channel *c, uint8_t *buf, uint32_t len, bool to_memory);
/* Task file and status as after a reset of the drive. */
void ide_signature(struct ide_drive *d);
/* Cylinders of the drive under such a translation, 1 to 16383. */
uint16_t ide_cylinders(const struct ide_drive *d, unsigned heads, unsigned track_sectors);
/* Logs the outcome of a host operation: the first of a row of failures for the user, each for those
 * who watch the disk. Returns ok. */
bool ide_host_done(struct ide_drive *d, bool ok, const struct err *e);
/* Sectors from or to the medium, `len` bytes, with the rest of a last, broken sector as zeros. */
bool ide_media_read(struct ide_drive *d, uint64_t offset, void *buf, uint32_t len);
bool ide_media_write(struct ide_drive *d, uint64_t offset, const void *buf, uint32_t len);

void ata_command(struct ide_drive *d);      /* s->command was just written */
void ata_due(struct ide_drive *d);          /* a busy phase or a DMA ended */
void ata_block_read(struct ide_drive *d);   /* the guest has read [pos, end) */
void atapi_packet(struct ide_drive *d);     /* a packet has arrived in s->packet */
void atapi_due(struct ide_drive *d);        /* as ata_due */
void atapi_block_read(struct ide_drive *d); /* as ata_block_read */

#endif
