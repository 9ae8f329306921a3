/* The ACPI tables of the board (ACPI 6.4 chapter 5): RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET,
 * DSDT.
 *
 * They are built once, with pointers that count from the start of the blob, and then either placed
 * at an address (acpi_relocate), or handed to firmware together with commands by which it does the
 * same (acpi_loader, for fw_cfg's etc/table-loader). */
#ifndef ISHI_BOOT_ACPI_H
#define ISHI_BOOT_ACPI_H

#include "boot/boot.h"

#define ACPI_TABLES_MAX  0x8000u
#define ACPI_RSDP_SIZE   36
#define ACPI_FIXES       32
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP   "etc/acpi/rsdp"
#define ACPI_LOADER_MAX  (128u * (2 + 2 * ACPI_FIXES)) /* bytes of commands at most */

struct acpi {
    uint8_t tables[ACPI_TABLES_MAX]; /* to be placed at a multiple of 64 */
    uint32_t len;                    /* bytes used */
    uint8_t rsdp[ACPI_RSDP_SIZE];
    /* Where a pointer into `tables` is, and its size. */
    struct acpi_pointer {
        bool in_rsdp;
        uint8_t size; /* 4 or 8 bytes */
        uint32_t at;
    } pointer[ACPI_FIXES];
    /* A byte that makes [start, start + len) add up to 0. */
    struct acpi_sum {
        bool in_rsdp;
        uint32_t at, start, len;
    } sum[ACPI_FIXES];
    unsigned pointer_count, sum_count;
};

void acpi_build(const struct boot_config *cfg, struct acpi *a);
/* Makes pointers and checksums right for tables that lie at `base`. Once. */
void acpi_relocate(struct acpi *a, uint64_t base);
/* Writes the loader's commands for the tables as built; returns their length in bytes. */
uint32_t acpi_loader(const struct acpi *a, uint8_t out[ACPI_LOADER_MAX]);

/* The DSDT's AML without its header; returns its length. For acpi_build. */
uint32_t dsdt_build(const struct boot_config *cfg, uint8_t *to, uint32_t cap);

#endif
