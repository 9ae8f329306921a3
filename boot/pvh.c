/* PVH: a kernel entered in 32-bit protected mode with a start-info structure, as Xen's
 * docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h define it. Linux's vmlinux and
 * FreeBSD's kernel carry the ELF note that says where. */
#include "boot/e820.h"
#include "boot/elf.h"
#include "boot/internal.h"

#define START_MAGIC 0x336ec578u
#define MODULES     (BOOT_INFO + 0x40)
#define MEMMAP      (BOOT_INFO + 0x80)

static bool start_info(struct bus *bus, const struct boot_config *cfg, uint64_t initrd,
                       struct err *e)
{
    uint8_t p[0x80 + 24 * E820_MAX] = {0};
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(bus, map);
    put_le32(p, START_MAGIC);
    put_le32(p + 4, 1); /* version: with a memory map */
    put_le32(p + 12, initrd != 0);
    put_le64(p + 16, initrd ? MODULES : 0);
    put_le64(p + 24, BOOT_CMDLINE);
    put_le64(p + 32, BOOT_RSDP);
    put_le64(p + 40, MEMMAP);
    put_le32(p + 48, n);
    put_le64(p + 0x40, initrd);
    put_le64(p + 0x48, cfg->initrd_size);
    for (unsigned i = 0; i < n; i++)
        e820_pack(map + i, 1, p + 0x80 + 24 * i);
    return boot_put(bus, BOOT_INFO, p, sizeof p, "the PVH start info", e);
}

bool boot_pvh(struct bus *bus, const struct boot_config *cfg, const uint8_t *image, uint64_t size,
              struct boot_entry *out, struct err *e)
{
    static const uint16_t gdt[] = {ATTR_CODE32, ATTR_DATA32, ATTR_TSS32};
    struct elf f;
    uint32_t entry;
    uint64_t end, initrd;
    if (!elf_open(&f, image, size, e))
        return false;
    if (!elf_pvh_entry(&f, &entry))
        return err_set(e, ERR_FORMAT, "the ELF file has no PVH entry note");
    *out = (struct boot_entry){.how = "ELF, PVH entry"};
    if (!boot_tables(bus, cfg, e) || !elf_load(&f, bus, &end, e) ||
        !boot_initrd(bus, cfg, end, PCI_HOLE_END - 1, &initrd, e) ||
        !boot_cmdline(bus, cfg, 0xffff, e) || !start_info(bus, cfg, initrd, e) ||
        !boot_gdt(bus, gdt, ARRAY_LEN(gdt), out, e))
        return false;
    boot_prot32(out, 0x08, 0x10);
    out->tr.sel = 0x18;
    out->rip = entry;
    out->r[3] = BOOT_INFO;
    return true;
}
