#include "boot/smbios.h"

#include "boot/internal.h"

#define HANDLE_CHASSIS 0x0300
#define HANDLE_CPU     0x0400
#define HANDLE_ARRAY   0x1000
#define HANDLE_DEVICE  0x1100
#define HANDLE_MAP     0x1300

/* Appends a structure of `len` bytes and its strings, numbered from 1; NULL ends them. Returns its
 * formatted part. */
static uint8_t *add(struct smbios *s, uint8_t type, uint8_t len, uint16_t handle,
                    const char *const *strings)
{
    uint8_t *start = s->tables + s->len, *p = start + len;
    CHECK(s->len + len + 256 <= SMBIOS_MAX);
    start[0] = type;
    start[1] = len;
    put_le16(start + 2, handle);
    for (unsigned i = 0; strings && strings[i]; i++) {
        size_t n = strlen(strings[i]) + 1;
        CHECK((size_t)(p - start) + n + 2 <= len + 256u);
        memcpy(p, strings[i], n);
        p += n;
    }
    if (p == start + len)
        *p++ = 0; /* no string at all: two zeroes */
    *p++ = 0;
    s->len = (uint32_t)(p - s->tables);
    s->count++;
    s->largest = (unsigned)max_u64(s->largest, (uint64_t)(p - start));
    return start;
}

static void system_info(struct smbios *s)
{
    static const char *const bios[] = {"ishi", "1.0", "01/01/2024", NULL};
    static const char *const system[] = {"ishi", "PC", "1.0", NULL};
    static const char *const chassis[] = {"ishi", NULL};
    uint8_t *p = add(s, 0, 0x18, 0, bios);
    p[4] = 1;
    p[5] = 2;
    put_le16(p + 6, 0xe000); /* segment */
    p[8] = 3;
    p[9] = 1;            /* 128 KiB */
    put_le64(p + 10, 8); /* characteristics: not supported */
    p[0x13] = 0x1c;      /* virtual machine; firmware by the BIOS boot and target specifications */
    p[0x14] = p[0x15] = p[0x16] = p[0x17] = 0xff;
    p[0x14] = 1;
    p[0x15] = 0;

    p = add(s, 1, 0x1b, 0x0100, system);
    p[4] = 1;
    p[5] = 2;
    p[6] = 3;
    p[0x18] = 6; /* woken by the power switch */

    p = add(s, 3, 0x16, HANDLE_CHASSIS, chassis);
    p[4] = 1;
    p[5] = 1;                 /* other */
    p[9] = p[10] = p[11] = 3; /* boot-up, power supply, thermal: safe */
    p[12] = 2;                /* security: unknown */
}

static void processors(struct smbios *s, unsigned cpus)
{
    static const char *const strings[] = {"CPU", "ishi", NULL};
    for (unsigned i = 0; i < cpus; i++) {
        uint8_t *p = add(s, 4, 0x2a, (uint16_t)(HANDLE_CPU + i), strings);
        p[4] = 1;                   /* socket */
        p[5] = 3;                   /* central processor */
        p[6] = 1;                   /* family: other */
        p[7] = 2;                   /* manufacturer */
        p[0x18] = 0x41;             /* socket populated, enabled */
        p[0x19] = 1;                /* upgrade: other */
        put_le16(p + 0x1a, 0xffff); /* no cache handles */
        put_le16(p + 0x1c, 0xffff);
        put_le16(p + 0x1e, 0xffff);
        p[0x23] = p[0x24] = p[0x25] = 1; /* cores, enabled, threads */
        put_le16(p + 0x26, 4);           /* 64-bit capable */
        put_le16(p + 0x28, 1);
    }
}

/* A range of memory addresses, which the array is mapped to. */
static void mapping(struct smbios *s, unsigned n, uint64_t start, uint64_t len)
{
    if (!len)
        return;
    uint8_t *p = add(s, 19, 0x1f, (uint16_t)(HANDLE_MAP + n), NULL);
    uint64_t end = start + len - 1;
    if (end >> 10 < 0xffffffff) {
        put_le32(p + 4, (uint32_t)(start >> 10));
        put_le32(p + 8, (uint32_t)(end >> 10));
    } else {
        put_le32(p + 4, 0xffffffff);
        put_le32(p + 8, 0xffffffff);
        put_le64(p + 0x0f, start);
        put_le64(p + 0x17, end);
    }
    put_le16(p + 12, HANDLE_ARRAY);
    p[14] = 1;
}

static void memory(struct smbios *s, const struct bus *bus)
{
    static const char *const strings[] = {"DIMM 0", "ishi", NULL};
    uint64_t kib = bus->ram_size >> 10, mib = bus->ram_size >> 20;
    uint8_t *p = add(s, 16, 0x17, HANDLE_ARRAY, NULL);
    p[4] = 1; /* location: other */
    p[5] = 3; /* system memory */
    p[6] = 6; /* multi-bit ECC */
    put_le32(p + 7, kib < 0x80000000 ? (uint32_t)kib : 0x80000000);
    put_le16(p + 11, 0xfffe); /* no error information */
    put_le16(p + 13, 1);
    if (kib >= 0x80000000)
        put_le64(p + 15, bus->ram_size);

    p = add(s, 17, 0x28, HANDLE_DEVICE, strings);
    put_le16(p + 4, HANDLE_ARRAY);
    put_le16(p + 6, 0xfffe);
    put_le16(p + 8, 0xffff); /* widths unknown */
    put_le16(p + 10, 0xffff);
    put_le16(p + 12, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
    p[14] = 9; /* DIMM */
    p[16] = 1; /* locator */
    p[18] = 7; /* RAM */
    put_le16(p + 19, 2);
    p[0x17] = 2; /* manufacturer */
    if (mib >= 0x7fff)
        put_le32(p + 0x1c, (uint32_t)mib);

    mapping(s, 0, 0, bus_ram_low(bus));
    mapping(s, 1, PCI_HOLE_END, bus_ram_high(bus));
}

void smbios_build(const struct boot_config *cfg, const struct bus *bus, struct smbios *s)
{
    memset(s, 0, sizeof *s);
    system_info(s);
    processors(s, cfg->cpus);
    memory(s, bus);
    add(s, 32, 0x0b, 0x2000, NULL); /* boot status: no error */
    add(s, 127, 4, 0x7f00, NULL);
}

void smbios_anchor21(const struct smbios *s, uint32_t base, uint8_t to[SMBIOS_ANCHOR21])
{
    memset(to, 0, SMBIOS_ANCHOR21);
    memcpy(to, "_SM_", 4);
    to[5] = SMBIOS_ANCHOR21;
    to[6] = 2;
    to[7] = 8;
    put_le16(to + 8, (uint16_t)s->largest);
    memcpy(to + 16, "_DMI_", 5);
    put_le16(to + 22, (uint16_t)s->len);
    put_le32(to + 24, base);
    put_le16(to + 28, (uint16_t)s->count);
    to[30] = 0x28;
    to[21] = boot_checksum(to + 16, 15);
    to[4] = boot_checksum(to, SMBIOS_ANCHOR21);
}

void smbios_anchor30(const struct smbios *s, uint64_t base, uint8_t to[SMBIOS_ANCHOR30])
{
    memset(to, 0, SMBIOS_ANCHOR30);
    memcpy(to, "_SM3_", 5);
    to[6] = SMBIOS_ANCHOR30;
    to[7] = 3;
    to[10] = 1;
    put_le32(to + 12, s->len);
    put_le64(to + 16, base);
    to[5] = boot_checksum(to, SMBIOS_ANCHOR30);
}
