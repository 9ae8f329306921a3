/* SMBIOS (DMTF DSP0134 3.x): what the machine is called and made of, for dmidecode and for kernels
 * that look at it. Structures of types 0, 1, 3, 4, 16, 17, 19, 32 and 127, with a 2.8 and a 3.0
 * entry point. */
#ifndef ISHI_BOOT_SMBIOS_H
#define ISHI_BOOT_SMBIOS_H

#include "boot/boot.h"

#define SMBIOS_MAX      0x1800u
#define SMBIOS_ANCHOR21 31 /* bytes of the entry points */
#define SMBIOS_ANCHOR30 24

struct smbios {
    uint8_t tables[SMBIOS_MAX];
    uint32_t len;
    unsigned count;   /* structures */
    unsigned largest; /* bytes of the largest one */
};

void smbios_build(const struct boot_config *cfg, const struct bus *bus, struct smbios *s);
/* Entry points for tables at physical address `base`. */
void smbios_anchor21(const struct smbios *s, uint32_t base, uint8_t to[SMBIOS_ANCHOR21]);
void smbios_anchor30(const struct smbios *s, uint64_t base, uint8_t to[SMBIOS_ANCHOR30]);

#endif
