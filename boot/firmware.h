/* What a BIOS (SeaBIOS) is given: its ROM, the CMOS bytes and the fw_cfg items by which it learns
 * the machine's sizes, and tables that it puts in place. CPU 0 then starts at the reset vector,
 * f000:fff0, in the reset state. */
#ifndef ISHI_BOOT_FIRMWARE_H
#define ISHI_BOOT_FIRMWARE_H

#include "boot/boot.h"

#define FIRMWARE_SHADOW 0x20000u /* bytes of the ROM that are seen below 1 MiB */
#define FIRMWARE_MAX    (16u << 20)

struct firmware {
    uint8_t *rom;       /* page-aligned copy of the file, owned */
    uint64_t size;      /* bytes */
    struct region high; /* the ROM, ending at 4 GiB: bus_add(bus, BUS_MEM, high_base, ...) */
    uint64_t high_base;
    uint8_t *shadow; /* its last 128 KiB, as the host bridge shows them at 0xe0000 */
};

/* Takes a BIOS file: 128 KiB to 16 MiB in steps of 64 KiB, with a jump at its reset vector. */
bool firmware_init(struct firmware *f, const uint8_t *image, uint64_t size, struct err *e);
void firmware_free(struct firmware *f);

/* The drives as the BIOS looks for them in the CMOS. */
enum firmware_device {
    FIRMWARE_NONE,
    FIRMWARE_FLOPPY,
    FIRMWARE_DISK,
    FIRMWARE_CDROM,
    FIRMWARE_NET
};
struct firmware_drives {
    uint64_t sectors[4]; /* IDE disks, of 512 bytes: primary master, slave, secondary …; 0: none */
    uint8_t order[3];    /* enum firmware_device: what to boot from first, second, third */
};

/* Fills CMOS bytes 0x10..0x5f (the rest of `cmos` is untouched): equipment, memory, boot order. */
void firmware_cmos(const struct boot_config *cfg, const struct bus *bus,
                   const struct firmware_drives *drives, uint8_t cmos[128]);

/* Gives every fw_cfg item to `add`, which copies: with a name, a file; without, a legacy key. */
typedef void boot_add_fn(void *opaque, uint16_t key, const char *name, const void *data,
                         uint32_t len);
void firmware_items(const struct boot_config *cfg, const struct bus *bus, boot_add_fn *add,
                    void *opaque);

#endif
