/* A boot sector with no BIOS: registers as a BIOS leaves them (BIOS Boot Specification 1.01 §6.5),
 * tables in place, no INT services. xv6's boot block needs no more: it reads its kernel through the
 * IDE ports. */
#include "boot/internal.h"

bool boot_sector(struct bus *bus, const struct boot_config *cfg, const uint8_t *sector,
                 uint8_t drive, struct boot_entry *out, struct err *e)
{
    if (sector[510] != 0x55 || sector[511] != 0xaa)
        return err_set(e, ERR_FORMAT,
                       "the disk's first sector doesn't end in 55 aa, so it is not a boot sector");
    if (!boot_tables(bus, cfg, e) || !boot_put(bus, 0x7c00, sector, 512, "the boot sector", e))
        return false;
    *out = (struct boot_entry){.how = "boot sector, no BIOS"};
    for (unsigned i = 0; i < 6; i++)
        out->seg[i] = (struct boot_seg){.limit = 0xffff, .attr = ATTR_DATA16};
    out->seg[1].attr = ATTR_CODE16;
    out->tr = (struct boot_seg){.limit = 0xffff, .attr = ATTR_TSS32};
    out->r[0] = 0xaa55;
    out->r[2] = drive;
    out->r[4] = 0x7000; /* well below the sector, above the BDA */
    out->rip = 0x7c00;
    out->rflags = 0x202; /* a BIOS enters with interrupts on */
    out->cr0 = 0x10;     /* ET: real mode, caches on */
    out->idt_limit = 0x3ff;
    out->gdt_limit = 0xffff;
    return true;
}
