/* Finding a multiboot 1 header; the loader itself is boot_multiboot() of boot.h. */
#ifndef ISHI_BOOT_MULTIBOOT_H
#define ISHI_BOOT_MULTIBOOT_H

#include "base/bits.h"

/* Offset of a valid header in the first 8 KiB of an image, or -1. */
int multiboot_find(const uint8_t *image, uint64_t size);
/* True if there is a multiboot 2 header in the first 32 KiB. */
bool multiboot2_find(const uint8_t *image, uint64_t size);

#endif
