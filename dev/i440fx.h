/* The host bridge, Intel 82441FX (datasheet 290549): what of 0xc0000 to 0xfffff is ROM and what is
 * RAM (the PAM registers), and the SMRAM register, kept without effect as there is no SMM.
 *
 * Each of 13 segments has a read and a write enable: set, the access goes to RAM; clear, to the
 * PCI bus, where the BIOS ROM answers at 0xe0000 and above and nothing below. Firmware copies
 * itself and the option ROMs to RAM that way. */
#ifndef ISHI_DEV_I440FX_H
#define ISHI_DEV_I440FX_H

#include "dev/pci.h"

#define I440FX_PAM      0x59
#define I440FX_SMRAM    0x72
#define I440FX_SEGMENTS 13
#define I440FX_ROM_SIZE 0x20000u /* bytes of ROM seen below 1 MiB */

struct i440fx;

struct i440fx_segment {
    struct i440fx *bridge;
    struct region region; /* what hides the RAM, when anything does */
    uint32_t base, size;  /* bytes, physical */
    uint8_t access;       /* bit 0: RAM is read, bit 1: RAM is written; as last applied */
};

struct i440fx {
    struct pci_func pci; /* its whole state */
    struct i440fx_segment segment[I440FX_SEGMENTS];
    uint8_t *rom; /* I440FX_ROM_SIZE bytes, page-aligned; NULL when there is no firmware */
    struct bus *bus;
    const struct log *log;
};

/* Becomes function 0 of device 0. rom: the last 128 KiB of the firmware, the caller's; NULL for a
 * machine without firmware, whose segments are then RAM from the start, as firmware leaves them.
 * RAM must reach to 1 MiB. */
void i440fx_init(struct i440fx *h, struct pci_bus *pci, uint8_t *rom, const struct log *log);
/* After pci_reset or a loaded state: the segments as the registers say. */
void i440fx_restore(struct i440fx *h);

#endif
