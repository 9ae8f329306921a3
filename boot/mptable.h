/* Intel MultiProcessor Specification 1.4: the floating pointer and the configuration table, by
 * which xv6 and kernels without ACPI find processors and the I/O APIC. */
#ifndef ISHI_BOOT_MPTABLE_H
#define ISHI_BOOT_MPTABLE_H

#include "boot/boot.h"

#define MP_FLOAT_SIZE 16
#define MP_TABLE_MAX  4096

/* Writes the configuration table; returns its length, at most MP_TABLE_MAX. */
unsigned mp_table(const struct boot_config *cfg, uint8_t to[MP_TABLE_MAX]);
/* Writes the floating pointer for a table at physical address `table`. */
void mp_float(uint32_t table, uint8_t to[MP_FLOAT_SIZE]);

#endif
