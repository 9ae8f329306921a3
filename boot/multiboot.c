/* Multiboot 1 (Multiboot Specification 0.6.96): a header in the image's first 8 KiB says how to
 * load it; the kernel starts in 32-bit protected mode with a structure about the machine. */
#include "boot/multiboot.h"

#include "boot/e820.h"
#include "boot/elf.h"
#include "boot/internal.h"

#define HEADER_MAGIC  0x1badb002u
#define HEADER2_MAGIC 0xe85250d6u
#define LOADER_MAGIC  0x2badb002u

/* Header flags. */
#define WANT_UNKNOWN 0x0000fff8u /* requirements that this specification doesn't define */
#define HAS_ADDRESS  0x00010000u

/* Information flags. */
#define HAVE_MEMORY  BIT(0)
#define HAVE_CMDLINE BIT(2)
#define HAVE_MODULES BIT(3)
#define HAVE_MMAP    BIT(6)
#define HAVE_NAME    BIT(9)
#define HAVE_SCREEN  BIT(12)

#define INFO_SIZE   116
#define AT_MODULE   0x080 /* offsets from BOOT_INFO */
#define AT_MMAP     0x0c0
#define MMAP_SIZE   24
#define AT_NAME     0x300
#define AT_STRING   0x310 /* the module's */
#define STRING_SIZE 0x200
#define AREA_SIZE   (AT_STRING + STRING_SIZE)

int multiboot_find(const uint8_t *image, uint64_t size)
{
    for (unsigned at = 0; at + 12 <= min_u64(size, 8192); at += 4)
        if (get_le32(image + at) == HEADER_MAGIC &&
            get_le32(image + at) + get_le32(image + at + 4) + get_le32(image + at + 8) == 0)
            return (int)at;
    return -1;
}

bool multiboot2_find(const uint8_t *image, uint64_t size)
{
    for (unsigned at = 0; at + 16 <= min_u64(size, 32768); at += 8)
        if (get_le32(image + at) == HEADER2_MAGIC &&
            get_le32(image + at) + get_le32(image + at + 4) + get_le32(image + at + 8) +
                    get_le32(image + at + 12) ==
                0)
            return true;
    return false;
}

/* Loads by the header's address fields (the "a.out kludge"). */
static bool load_by_address(struct bus *bus, const uint8_t *image, uint64_t size, unsigned at,
                            uint64_t *end, uint64_t *entry, struct err *e)
{
    if (size - at < 32)
        return err_set(e, ERR_FORMAT, "the multiboot image is cut off in its header");
    uint64_t header = get_le32(image + at + 12), load = get_le32(image + at + 16);
    uint64_t load_end = get_le32(image + at + 20), bss_end = get_le32(image + at + 24);
    *entry = get_le32(image + at + 28);
    if (load > header || header - load > at)
        return err_set(e, ERR_FORMAT,
                       "the multiboot header's addresses make no sense: load at %#llx, header at "
                       "%#llx",
                       (unsigned long long)load, (unsigned long long)header);
    uint64_t from = at - (header - load), len = load_end ? load_end - load : size - from;
    if ((load_end && load_end < load) || len > size - from)
        return err_set(e, ERR_FORMAT,
                       "the multiboot image is truncated: it should be loaded up to %#llx, but the "
                       "file ends before that",
                       (unsigned long long)load_end);
    *end = max_u64(load + len, bss_end);
    if (load < BOOT_LOW_END || (load < 0x100000 && *end > BOOT_EBDA))
        return err_set(e, ERR_UNSUPPORTED,
                       "the multiboot image wants to lie at %#llx to %#llx, where a PC has its "
                       "firmware's data; link it to 1 MiB or above",
                       (unsigned long long)load, (unsigned long long)*end);
    return boot_put(bus, load, image + from, len, "the multiboot image", e) &&
           boot_zero(bus, load + len, *end - (load + len), "the multiboot image", e);
}

static void memory_map(const struct bus *bus, uint8_t *p)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(bus, map);
    put_le32(p + 4, BOOT_EBDA >> 10);
    put_le32(p + 8, (uint32_t)((bus_ram_low(bus) - 0x100000) >> 10));
    put_le32(p + 44, n * MMAP_SIZE);
    put_le32(p + 48, BOOT_INFO + AT_MMAP);
    for (unsigned i = 0; i < n; i++) {
        put_le32(p + AT_MMAP + i * MMAP_SIZE, MMAP_SIZE - 4);
        e820_pack(map + i, 1, p + AT_MMAP + i * MMAP_SIZE + 4);
    }
}

/* The screen as it is: EGA text. */
static void screen(uint8_t *p)
{
    put_le64(p + 88, 0xb8000);
    put_le32(p + 96, 160);
    put_le32(p + 100, 80);
    put_le32(p + 104, 25);
    p[108] = 16;
    p[109] = 2;
}

static bool info(struct bus *bus, const struct boot_config *cfg, uint64_t module, struct err *e)
{
    uint8_t p[AREA_SIZE] = {0};
    const char *name = cfg->initrd_name ? cfg->initrd_name : "module";
    uint64_t flags =
        HAVE_MEMORY | HAVE_CMDLINE | HAVE_MODULES | HAVE_MMAP | HAVE_NAME | HAVE_SCREEN;
    _Static_assert(AT_MMAP + E820_MAX * MMAP_SIZE <= AT_NAME, "room for the memory map");
    _Static_assert(INFO_SIZE <= AT_MODULE, "room for the information");
    put_le32(p, (uint32_t)flags);
    put_le32(p + 16, BOOT_CMDLINE);
    memory_map(bus, p);
    screen(p);
    put_le32(p + 24, BOOT_INFO + AT_MODULE);
    if (module) {
        put_le32(p + 20, 1);
        put_le32(p + AT_MODULE, (uint32_t)module);
        put_le32(p + AT_MODULE + 4, (uint32_t)(module + cfg->initrd_size));
        put_le32(p + AT_MODULE + 8, BOOT_INFO + AT_STRING);
        memcpy(p + AT_STRING, name, min_u64(strlen(name), STRING_SIZE - 1));
    }
    put_le32(p + 64, BOOT_INFO + AT_NAME);
    memcpy(p + AT_NAME, "ishi", 5);
    return boot_put(bus, BOOT_INFO, p, sizeof p, "the multiboot information", e);
}

bool boot_multiboot(struct bus *bus, const struct boot_config *cfg, const uint8_t *image,
                    uint64_t size, struct boot_entry *out, struct err *e)
{
    static const uint16_t gdt[] = {ATTR_CODE32, ATTR_DATA32};
    int at = multiboot_find(image, size);
    uint64_t end, entry = 0, module;
    struct elf f;
    if (at < 0)
        return err_set(e, ERR_FORMAT, "no multiboot header in the image's first 8 KiB");
    uint32_t flags = get_le32(image + at + 4);
    if (flags & WANT_UNKNOWN)
        return err_set(e, ERR_UNSUPPORTED,
                       "the multiboot header asks for features that ishi doesn't know (flags %#x)",
                       flags);
    if (!boot_tables(bus, cfg, e))
        return false;
    if (flags & HAS_ADDRESS) {
        if (!load_by_address(bus, image, size, (unsigned)at, &end, &entry, e))
            return false;
    } else {
        if (!elf_open(&f, image, size, e) || !elf_load(&f, bus, &end, e))
            return false;
        entry = elf_entry_paddr(&f);
    }
    if (entry > 0xffffffff)
        return err_set(e, ERR_UNSUPPORTED,
                       "the image's entry %#llx is not a 32-bit address: multiboot starts kernels "
                       "in 32-bit mode",
                       (unsigned long long)entry);
    *out = (struct boot_entry){.how = "multiboot"};
    if (!boot_initrd(bus, cfg, end, PCI_HOLE_END - 1, &module, e) ||
        !boot_cmdline(bus, cfg, 0xffff, e) || !info(bus, cfg, module, e) ||
        !boot_gdt(bus, gdt, ARRAY_LEN(gdt), out, e))
        return false;
    boot_prot32(out, 0x08, 0x10);
    out->rip = entry;
    out->r[0] = LOADER_MAGIC;
    out->r[3] = BOOT_INFO;
    return true;
}
