/* Linux by its own boot protocol: Documentation/arch/x86/boot.rst of the kernel. The bzImage's
 * real-mode part is not run; its header tells where the rest goes, and the kernel is entered
 *   at code32_start, in protected mode (any bzImage), or
 *   0x200 bytes further, in long mode with 0..4 GiB mapped one to one (XLF_KERNEL_64).
 *
 * The kernel is placed where it would move itself to: at pref_address when it is relocatable, so
 * that a RAM too small for it is told here and not by a kernel that dies without a word. */
#include "boot/e820.h"
#include "boot/internal.h"

/* Offsets into the file and, alike, into boot_params. */
enum {
    P_SCREEN_INFO = 0x000,
    P_ACPI_RSDP = 0x070,
    P_ALT_MEM_K = 0x1e0,
    P_E820_COUNT = 0x1e8,
    P_SETUP_SECTS = 0x1f1,
    P_SYSSIZE = 0x1f4,
    P_VID_MODE = 0x1fa,
    P_BOOT_FLAG = 0x1fe,
    P_JUMP = 0x200,
    P_MAGIC = 0x202,
    P_VERSION = 0x206,
    P_LOADER = 0x210,
    P_LOADFLAGS = 0x211,
    P_CODE32_START = 0x214,
    P_INITRD = 0x218,
    P_INITRD_SIZE = 0x21c,
    P_HEAP_END = 0x224,
    P_CMDLINE = 0x228,
    P_INITRD_MAX = 0x22c,
    P_ALIGNMENT = 0x230,
    P_RELOCATABLE = 0x234,
    P_XLOADFLAGS = 0x236,
    P_CMDLINE_SIZE = 0x238,
    P_SETUP_DATA = 0x250,
    P_PREF_ADDRESS = 0x258,
    P_INIT_SIZE = 0x260,
    P_HEADER_END = 0x290, /* of the room that boot_params has for the header */
    P_E820_TABLE = 0x2d0,
};

#define LOADED_HIGH    0x01
#define CAN_USE_HEAP   0x80
#define XLF_KERNEL_64  0x0001
#define LOADER_UNKNOWN 0xff
#define KERNEL_MIN     0x100000ull /* where a bzImage goes if it has no other wish */

/* A checked header. */
struct kernel {
    unsigned version; /* 0x0206: 2.06 */
    const uint8_t *setup;
    uint64_t setup_size; /* of the header, from the file's start */
    const uint8_t *body;
    uint64_t body_size;
    uint64_t load;    /* where the body goes */
    uint64_t need;    /* bytes from there that the kernel uses before it looks at its memory map */
    uint64_t cmdline; /* longest command line, without the NUL */
    uint64_t initrd_max;
    bool long_entry;
};

/* Reads where the kernel wants to be. */
static bool placement(struct kernel *k, struct err *e)
{
    const uint8_t *s = k->setup;
    k->load = KERNEL_MIN;
    k->need = k->body_size;
    if (k->version >= 0x20a) {
        k->load = get_le64(s + P_PREF_ADDRESS);
        k->need = max_u64(k->need, get_le32(s + P_INIT_SIZE));
    }
    if (k->version >= 0x205 && s[P_RELOCATABLE]) {
        uint64_t align = get_le32(s + P_ALIGNMENT);
        if (!align || (align & (align - 1)))
            return err_set(e, ERR_FORMAT,
                           "the kernel's header asks for an alignment of %#llx, which is not a "
                           "power of two; the file is damaged",
                           (unsigned long long)align);
        k->load = max_u64(k->load, KERNEL_MIN);
        if (k->load <= PCI_HOLE)
            k->load = align_up(k->load, align);
    }
    if (k->load < KERNEL_MIN || k->load >= PCI_HOLE)
        return err_set(e, ERR_FORMAT,
                       "the kernel's header asks to be loaded at %#llx, which is not in 1 MiB to 3 "
                       "GiB; the file is damaged or not for a PC",
                       (unsigned long long)k->load);
    return true;
}

static bool parse(struct kernel *k, const uint8_t *image, uint64_t size, struct err *e)
{
    if (size < 0x400 || get_le16(image + P_BOOT_FLAG) != 0xaa55 ||
        memcmp(image + P_MAGIC, "HdrS", 4))
        return err_set(e, ERR_FORMAT, "not a Linux kernel: no bzImage header");
    *k = (struct kernel){.version = get_le16(image + P_VERSION), .setup = image};
    if (k->version < 0x204 || !(image[P_LOADFLAGS] & LOADED_HIGH))
        return err_set(e, ERR_UNSUPPORTED,
                       "this Linux kernel is too old (boot protocol %u.%02u%s): ishi boots a "
                       "bzImage of 2.6.14 or later; an older one starts from a disk with its own "
                       "boot loader",
                       k->version >> 8, k->version & 0xff,
                       image[P_LOADFLAGS] & LOADED_HIGH ? "" : ", zImage");
    unsigned sects = image[P_SETUP_SECTS] ? image[P_SETUP_SECTS] : 4;
    uint64_t setup = (sects + 1) * 512ull, body = get_le32(image + P_SYSSIZE) * 16ull;
    k->setup_size = min_u64(P_MAGIC + image[P_JUMP + 1], P_HEADER_END);
    /* the header counts in units of 16 bytes, rounded up */
    if (size <= setup || size - setup + 15 < body)
        return err_set(e, ERR_FORMAT,
                       "the kernel is truncated: %llu bytes, but its header speaks of %llu; fetch "
                       "it again",
                       (unsigned long long)size, (unsigned long long)(setup + body));
    k->body = image + setup;
    k->body_size = body ? min_u64(body, size - setup) : size - setup;
    k->cmdline = k->version >= 0x206 ? get_le32(image + P_CMDLINE_SIZE) : 255;
    k->initrd_max = get_le32(image + P_INITRD_MAX);
    k->long_entry = k->version >= 0x20c && (get_le16(image + P_XLOADFLAGS) & XLF_KERNEL_64);
    if (k->long_entry && k->body_size <= 0x200)
        return err_set(e, ERR_FORMAT, "the kernel is truncated: its 64-bit entry is missing");
    return placement(k, e);
}

/* What a VGA BIOS would have told the kernel's set-up code: colour text, 80 x 25. */
static void screen_info(uint8_t *p)
{
    p[0x06] = 3; /* mode */
    p[0x07] = 80;
    put_le16(p + 0x0a, 3); /* EGA BX: 256 KiB, and not the 0x10 that means "no EGA" */
    p[0x0e] = 25;
    p[0x0f] = 1;            /* VGA */
    put_le16(p + 0x10, 16); /* lines of a character */
}

static bool boot_params(struct bus *bus, const struct boot_config *cfg, const struct kernel *k,
                        uint64_t initrd, struct err *e)
{
    uint8_t p[PAGE_SIZE] = {0};
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(bus, map);
    memcpy(p + P_SETUP_SECTS, k->setup + P_SETUP_SECTS, k->setup_size - P_SETUP_SECTS);
    screen_info(p + P_SCREEN_INFO);
    put_le64(p + P_ACPI_RSDP, BOOT_RSDP);
    put_le32(p + P_ALT_MEM_K, (uint32_t)min_u64((bus_ram_low(bus) - KERNEL_MIN) >> 10, 0xffffffff));
    p[P_E820_COUNT] = (uint8_t)n;
    e820_pack(map, n, p + P_E820_TABLE);
    put_le16(p + P_VID_MODE, 0xffff); /* normal */
    p[P_LOADER] = LOADER_UNKNOWN;
    p[P_LOADFLAGS] |= CAN_USE_HEAP;
    put_le16(p + P_HEAP_END, 0xfe00);
    put_le32(p + P_CODE32_START, (uint32_t)k->load);
    put_le32(p + P_CMDLINE, BOOT_CMDLINE);
    put_le32(p + P_INITRD, (uint32_t)initrd);
    put_le32(p + P_INITRD_SIZE, initrd ? (uint32_t)cfg->initrd_size : 0);
    if (k->version >= 0x209)
        put_le64(p + P_SETUP_DATA, 0);
    return boot_put(bus, BOOT_PARAMS, p, sizeof p, "the kernel's parameters", e);
}

static void enter32(const struct kernel *k, struct boot_entry *out)
{
    boot_prot32(out, 0x10, 0x18);
    out->rip = k->load;
    out->how = "Linux, 32-bit entry";
}

/* Page tables for the first 4 GiB, then long mode as `enter32` plus paging. */
static bool enter64(struct bus *bus, const struct kernel *k, struct boot_entry *out, struct err *e)
{
    enum { PRESENT_WRITE = 3, LARGE = 0x80 };
    uint64_t table[6 * 512] = {0};
    table[0] = (BOOT_PAGES + PAGE_SIZE) | PRESENT_WRITE;
    for (unsigned gib = 0; gib < 4; gib++)
        table[512 + gib] = (BOOT_PAGES + (2 + gib) * PAGE_SIZE) | PRESENT_WRITE;
    for (uint64_t i = 0; i < 4 * 512; i++)
        table[1024 + i] = i << 21 | LARGE | PRESENT_WRITE;
    boot_prot32(out, 0x10, 0x18);
    out->seg[1] = boot_flat(0x10, ATTR_CODE64);
    out->cr0 = 0x80000011; /* PG, ET, PE */
    out->cr3 = BOOT_PAGES;
    out->cr4 = 0x20;   /* PAE */
    out->efer = 0x500; /* LME, LMA */
    out->rip = k->load + 0x200;
    out->how = "Linux, 64-bit entry";
    return boot_put(bus, BOOT_PAGES, table, sizeof table, "the first page tables", e);
}

bool boot_linux(struct bus *bus, const struct boot_config *cfg, const uint8_t *image, uint64_t size,
                enum boot_linux_entry how, struct boot_entry *out, struct err *e)
{
    struct kernel k;
    uint64_t initrd;
    if (!parse(&k, image, size, e) || !boot_tables(bus, cfg, e))
        return false;
    if (how == BOOT_ENTRY_64 && !k.long_entry)
        return err_set(e, ERR_UNSUPPORTED,
                       "this kernel has no 64-bit entry; it starts by the 32-bit one");
    if (!bus_ram(bus, k.load, k.need))
        return err_set(e, ERR_NO_SPACE,
                       "this kernel needs memory up to %llu MiB to start, and the machine has %llu "
                       "MiB there; give it more with --mem",
                       (unsigned long long)((k.load + k.need + 0xfffff) >> 20),
                       (unsigned long long)(bus_ram_low(bus) >> 20));
    bool long_mode = k.long_entry && how != BOOT_ENTRY_32;
    uint16_t gdt[] = {0, long_mode ? ATTR_CODE64 : ATTR_CODE32, ATTR_DATA32};
    *out = (struct boot_entry){0};
    if (!boot_put(bus, k.load, k.body, k.body_size, "the kernel", e) ||
        !boot_initrd(bus, cfg, k.load + k.need, k.initrd_max, &initrd, e) ||
        !boot_cmdline(bus, cfg, k.cmdline, e) || !boot_params(bus, cfg, &k, initrd, e) ||
        !boot_gdt(bus, gdt, ARRAY_LEN(gdt), out, e))
        return false;
    if (long_mode && !enter64(bus, &k, out, e))
        return false;
    if (!long_mode)
        enter32(&k, out);
    out->r[6] = BOOT_PARAMS;
    return true;
}
