/* What the files of boot/ share. Not for others. */
#ifndef ISHI_BOOT_INTERNAL_H
#define ISHI_BOOT_INTERNAL_H

#include "boot/boot.h"

/* Segment attributes, descriptor bits 40..55. */
#define ATTR_CODE16 0x009b
#define ATTR_DATA16 0x0093
#define ATTR_CODE32 0xc09b
#define ATTR_DATA32 0xc093
#define ATTR_CODE64 0xa09b
#define ATTR_TSS32  0x008b

/* Copies to RAM, even where a region hides it; `what` names the part in the error. Translated code
 * made from these bytes is dropped. */
bool boot_put(struct bus *bus, uint64_t addr, const void *data, uint64_t len, const char *what,
              struct err *e);
/* Fills with zeroes likewise. */
bool boot_zero(struct bus *bus, uint64_t addr, uint64_t len, const char *what, struct err *e);

/* Checks the configuration and the RAM's least size; writes vectors, BDA, EBDA and all tables. */
bool boot_tables(struct bus *bus, const struct boot_config *cfg, struct err *e);

/* A GDT at BOOT_GDT with `n` of these descriptors from selector 8 up, and the entry's gdt fields.
 * Bases 0; limits 4 GiB - 1 (TSS: 0x67). */
bool boot_gdt(struct bus *bus, const uint16_t *attr, unsigned n, struct boot_entry *out,
              struct err *e);
/* A flat segment, as loaded from that GDT. */
struct boot_seg boot_flat(uint16_t sel, uint16_t attr);
/* 32-bit protected mode, interrupts off, paging off: CS = `code`, all others `data`. */
void boot_prot32(struct boot_entry *out, uint16_t code, uint16_t data);

/* Command line to BOOT_CMDLINE; `max` bytes without the NUL, at most 65535. */
bool boot_cmdline(struct bus *bus, const struct boot_config *cfg, uint64_t max, struct err *e);

/* Places the initrd as high as possible: page-aligned, at or above `floor`, its last byte at or
 * below `max`, in RAM below 4 GiB. *addr 0 when there is none. */
bool boot_initrd(struct bus *bus, const struct boot_config *cfg, uint64_t floor, uint64_t max,
                 uint64_t *addr, struct err *e);

/* A sum that makes all bytes of [p, p+n) add up to 0, with the byte that holds it being 0. */
uint8_t boot_checksum(const void *p, size_t n);

#endif
