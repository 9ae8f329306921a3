/* The memory map in the form of INT 15h AX=E820h (ACPI 6.4 §15): what Linux's zero page, PVH and
 * fw_cfg's etc/e820 carry. */
#ifndef ISHI_BOOT_E820_H
#define ISHI_BOOT_E820_H

#include "bus/bus.h"

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_MAX      16
#define E820_SIZE     20 /* bytes of one entry in a table */

struct e820_entry {
    uint64_t addr, len; /* bytes; len > 0 */
    uint32_t type;
};

/* As a BIOS would report it, the low megabyte with its holes; sorted, without overlaps. */
unsigned e820_build(const struct bus *bus, struct e820_entry map[E820_MAX]);
/* Just the RAM there is, for firmware that makes its own holes. */
unsigned e820_ram(const struct bus *bus, struct e820_entry map[E820_MAX]);
/* Writes n entries of E820_SIZE bytes. */
void e820_pack(const struct e820_entry *map, unsigned n, uint8_t *to);

#endif
