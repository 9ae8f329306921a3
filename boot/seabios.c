/* SeaBIOS: where it reads what. The CMOS layout is the PC/AT's with QEMU's additions for memory
 * above 16 MiB and 4 GiB, boot order and CPUs. */
#include "boot/acpi.h"
#include "boot/e820.h"
#include "boot/firmware.h"
#include "boot/internal.h"
#include "boot/smbios.h"

#include <stdlib.h>

/* Legacy fw_cfg keys; see dev/fw_cfg.h. */
enum {
    KEY_RAM_SIZE = 0x03,
    KEY_NOGRAPHIC = 0x04,
    KEY_NB_CPUS = 0x05,
    KEY_NUMA = 0x0d,
    KEY_BOOT_MENU = 0x0e,
    KEY_MAX_CPUS = 0x0f,
    KEY_IRQ0_OVERRIDE = 0x8002,
};

bool firmware_init(struct firmware *f, const uint8_t *image, uint64_t size, struct err *e)
{
    *f = (struct firmware){0};
    if (size < FIRMWARE_SHADOW || size > FIRMWARE_MAX || size % 0x10000)
        return err_set(e, ERR_FORMAT,
                       "the BIOS has %llu bytes, but a BIOS ROM is 128 KiB to 16 MiB in steps of "
                       "64 KiB; take SeaBIOS's bios-256k.bin (package seabios)",
                       (unsigned long long)size);
    if (image[size - 16] == 0 || image[size - 16] == 0xff)
        return err_set(e, ERR_FORMAT,
                       "the BIOS has no code at its reset vector (16 bytes before its end); take "
                       "SeaBIOS's bios-256k.bin (package seabios)");
    f->rom = aligned_alloc(PAGE_SIZE, size);
    if (!f->rom)
        return err_set(e, ERR_NO_MEMORY, "no memory for the BIOS");
    memcpy(f->rom, image, size);
    f->size = size;
    f->high = (struct region){.name = "BIOS", .size = size, .host = f->rom, .rom = true};
    f->high_base = PCI_HOLE_END - size;
    f->shadow = f->rom + size - FIRMWARE_SHADOW;
    return true;
}

void firmware_free(struct firmware *f)
{
    free(f->rom);
    f->rom = NULL;
}

static void set16(uint8_t *cmos, unsigned at, uint64_t v, uint64_t max)
{
    put_le16(cmos + at, (uint16_t)min_u64(v, max));
}

void firmware_cmos(const struct boot_config *cfg, const struct bus *bus,
                   const struct firmware_drives *d, uint8_t cmos[128])
{
    uint64_t low = bus_ram_low(bus), high = bus_ram_high(bus) >> 16;
    uint64_t above1 = low > 0x100000 ? (low - 0x100000) >> 10 : 0;
    uint64_t above16 = low > 0x1000000 ? (low - 0x1000000) >> 16 : 0;
    memset(cmos + 0x10, 0, 0x50);
    cmos[0x14] = (uint8_t)(0x02 /* FPU */ | (cfg->i8042 ? 0x04 : 0));
    set16(cmos, 0x15, 640, 640);
    set16(cmos, 0x17, above1, 0xffff); /* KiB above 1 MiB */
    set16(cmos, 0x30, above1, 0xffff);
    set16(cmos, 0x34, above16, 0xffff); /* 64 KiB units above 16 MiB */
    cmos[0x5b] = (uint8_t)high;         /* and above 4 GiB */
    cmos[0x5c] = (uint8_t)(high >> 8);
    cmos[0x5d] = (uint8_t)(high >> 16);
    for (unsigned i = 0; i < 4; i++) {
        if (i < 2 && d->sectors[i]) {
            cmos[0x12] |= (uint8_t)(0xf << (4 - 4 * i)); /* type in an extended byte … */
            cmos[0x19 + i] = 47;                         /* … which says: user-defined */
        }
        /* Two bits a disk: how INT 13h cylinders are made. More than 1024 * 16 * 63 sectors can
         * only be reached by LBA translation (1). */
        if (d->sectors[i] > 1024 * 16 * 63)
            cmos[0x39] |= (uint8_t)(1 << 2 * i);
    }
    cmos[0x3d] = (uint8_t)(d->order[0] | d->order[1] << 4);
    cmos[0x38] = (uint8_t)(d->order[2] << 4 | 1); /* 1: a floppy needs no signature */
    cmos[0x5f] = (uint8_t)(cfg->cpus - 1);
    unsigned sum = 0;
    for (unsigned i = 0x10; i < 0x2e; i++)
        sum += cmos[i];
    cmos[0x2e] = (uint8_t)(sum >> 8);
    cmos[0x2f] = (uint8_t)sum;
}

static void add_int(boot_add_fn *add, void *opaque, uint16_t key, uint64_t value, uint32_t size)
{
    add(opaque, key, NULL, &value, size);
}

static void tables(const struct boot_config *cfg, boot_add_fn *add, void *opaque)
{
    struct acpi *a = xcalloc(1, sizeof *a);
    uint8_t *loader = xcalloc(1, ACPI_LOADER_MAX);
    acpi_build(cfg, a);
    uint32_t n = acpi_loader(a, loader);
    add(opaque, 0, ACPI_FILE_TABLES, a->tables, a->len);
    add(opaque, 0, ACPI_FILE_RSDP, a->rsdp, sizeof a->rsdp);
    add(opaque, 0, "etc/table-loader", loader, n);
    free(loader);
    free(a);
}

static void smbios(const struct boot_config *cfg, const struct bus *bus, boot_add_fn *add,
                   void *opaque)
{
    struct smbios *s = xcalloc(1, sizeof *s);
    uint8_t anchor[SMBIOS_ANCHOR21];
    smbios_build(cfg, bus, s);
    smbios_anchor21(s, 0, anchor);
    add(opaque, 0, "etc/smbios/smbios-anchor", anchor, sizeof anchor);
    add(opaque, 0, "etc/smbios/smbios-tables", s->tables, s->len);
    free(s);
}

void firmware_items(const struct boot_config *cfg, const struct bus *bus, boot_add_fn *add,
                    void *opaque)
{
    /* Sleep states 0..5; bit 7: there, low bits: SLP_TYP. Only S0 and S5. */
    static const uint8_t states[6] = {0x80, 0, 0, 0, 0, 0x80};
    static const uint8_t fail_wait[4] = {0xff, 0xff, 0xff,
                                         0xff}; /* no retry: it stays and says so */
    struct e820_entry map[E820_MAX];
    uint8_t packed[E820_MAX * E820_SIZE];
    unsigned n = e820_ram(bus, map);
    e820_pack(map, n, packed);
    add_int(add, opaque, KEY_RAM_SIZE, bus_ram_low(bus), 8);
    add_int(add, opaque, KEY_NOGRAPHIC, 0, 2);
    add_int(add, opaque, KEY_NB_CPUS, cfg->cpus, 2);
    add_int(add, opaque, KEY_NUMA, 0, 8);
    add_int(add, opaque, KEY_BOOT_MENU, 0, 2);
    add_int(add, opaque, KEY_MAX_CPUS, cfg->cpus, 2);
    add_int(add, opaque, KEY_IRQ0_OVERRIDE, 1, 4);
    add(opaque, 0, "etc/e820", packed, n * E820_SIZE);
    add(opaque, 0, "etc/system-states", states, sizeof states);
    add(opaque, 0, "etc/boot-fail-wait", fail_wait, sizeof fail_wait);
    tables(cfg, add, opaque);
    smbios(cfg, bus, add, opaque);
}
