/* What every start without a BIOS shares: low memory as a BIOS leaves it, the tables, and the state
 * of protected mode. */
#include "boot/acpi.h"
#include "boot/internal.h"
#include "boot/mptable.h"
#include "boot/smbios.h"

#include <stdlib.h>

#define IRET_STUB 0xfff53u /* f000:ff53, where PC BIOSes have had their dummy IRET since 1981 */

void boot_config_default(struct boot_config *c)
{
    *c = (struct boot_config){
        .cpus = 1,
        .lapic_base = 0xfee00000,
        .ioapic_base = 0xfec00000,
        .ioapic_id = 0,
        .hpet_base = 0xfed00000,
        .pm_base = 0x600,
        .sci_irq = 9,
        .com_port = {0x3f8, 0x2f8, 0x3e8, 0x2e8},
        .com_irq = {4, 3, 4, 3},
        .smi_command = 0xb2,
        .acpi_enable = 0xf1,
        .acpi_disable = 0xf0,
        .i8042 = true,
        .pirq_gsi = {16, 17, 18, 19},
        .pci_start = PCI_HOLE,
        .pci_end = 0xfec00000,
    };
}

uint8_t boot_checksum(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + b[i]);
    return (uint8_t)-sum;
}

/* RAM at [addr, addr+len), and caches told that it changes. */
static uint8_t *claim(struct bus *bus, uint64_t addr, uint64_t len, const char *what, struct err *e)
{
    uint8_t *p = bus_ram(bus, addr, len);
    if (!p) {
        err_set(e, ERR_NO_SPACE,
                "%s needs memory from %#llx to %#llx, which this machine doesn't have; give it "
                "more with --mem",
                what, (unsigned long long)addr, (unsigned long long)(addr + len));
        return NULL;
    }
    uint64_t first = (uint64_t)(p - bus->ram) >> PAGE_SHIFT;
    uint64_t last = (uint64_t)(p - bus->ram + len + PAGE_SIZE - 1) >> PAGE_SHIFT;
    for (uint64_t page = first; page < last; page++) {
        if ((bus->page_flags[page] & PAGE_CODE) && bus->code_write)
            bus->code_write(bus->opaque,
                            (addr & ~(uint64_t)(PAGE_SIZE - 1)) + ((page - first) << PAGE_SHIFT),
                            PAGE_SIZE);
        bus->page_flags[page] |= PAGE_DIRTY;
    }
    return p;
}

bool boot_put(struct bus *bus, uint64_t addr, const void *data, uint64_t len, const char *what,
              struct err *e)
{
    uint8_t *p = claim(bus, addr, len, what, e);
    if (p && len)
        memcpy(p, data, len);
    return p;
}

bool boot_zero(struct bus *bus, uint64_t addr, uint64_t len, const char *what, struct err *e)
{
    uint8_t *p = claim(bus, addr, len, what, e);
    if (p)
        memset(p, 0, len);
    return p;
}

/* The BIOS data area, as far as boot code and kernels read it. */
static bool bda(struct bus *bus, const struct boot_config *cfg, struct err *e)
{
    uint8_t b[0x100] = {0};
    for (unsigned i = 0; i < 4; i++)
        put_le16(b + 2 * i, cfg->com_port[i]);
    put_le16(b + 0x0e, BOOT_EBDA >> 4);
    unsigned coms = 0;
    for (unsigned i = 0; i < 4; i++)
        coms += cfg->com_port[i] != 0;
    put_le16(b + 0x10, (uint16_t)(0x0002 /* FPU */ | (cfg->i8042 ? 0x0004 : 0) | coms << 9));
    put_le16(b + 0x13, BOOT_EBDA >> 10); /* KiB below the EBDA */
    put_le16(b + 0x1a, 0x1e);            /* keyboard buffer: empty, at its start */
    put_le16(b + 0x1c, 0x1e);
    b[0x49] = 3; /* video mode: 80 x 25 text */
    put_le16(b + 0x4a, 80);
    put_le16(b + 0x4c, 0x1000); /* bytes of a page */
    put_le16(b + 0x60, 0x0607); /* cursor's lines */
    put_le16(b + 0x63, 0x3d4);  /* CRTC */
    b[0x75] = 1;                /* hard disks */
    put_le16(b + 0x80, 0x1e);
    put_le16(b + 0x82, 0x3e);
    b[0x84] = 24;           /* rows - 1 */
    put_le16(b + 0x85, 16); /* lines of a character */
    return boot_put(bus, 0x400, b, sizeof b, "the BIOS data area", e);
}

static bool vectors(struct bus *bus, struct err *e)
{
    uint8_t ivt[0x400], iret = 0xcf;
    for (unsigned i = 0; i < 256; i++) {
        put_le16(ivt + 4 * i, IRET_STUB - 0xf0000);
        put_le16(ivt + 4 * i + 2, 0xf000);
    }
    return boot_put(bus, 0, ivt, sizeof ivt, "the interrupt vectors", e) &&
           boot_put(bus, IRET_STUB, &iret, 1, "the interrupt vectors", e);
}

static bool mp(struct bus *bus, const struct boot_config *cfg, struct err *e)
{
    uint8_t table[MP_TABLE_MAX], pointer[MP_FLOAT_SIZE], size_kib = 1;
    unsigned n = mp_table(cfg, table);
    mp_float(BOOT_MP, pointer);
    return boot_zero(bus, BOOT_EBDA, 0x400, "the EBDA", e) &&
           boot_put(bus, BOOT_EBDA, &size_kib, 1, "the EBDA", e) &&
           boot_put(bus, BOOT_EBDA + 0x10, pointer, sizeof pointer, "the MP tables", e) &&
           boot_put(bus, BOOT_MP, table, n, "the MP tables", e);
}

static bool acpi(struct bus *bus, const struct boot_config *cfg, struct err *e)
{
    struct acpi *a = xcalloc(1, sizeof *a);
    acpi_build(cfg, a);
    acpi_relocate(a, BOOT_ACPI);
    bool ok = boot_put(bus, BOOT_ACPI, a->tables, a->len, "the ACPI tables", e) &&
              boot_put(bus, BOOT_RSDP, a->rsdp, sizeof a->rsdp, "the ACPI tables", e);
    free(a);
    return ok;
}

static bool smbios(struct bus *bus, const struct boot_config *cfg, struct err *e)
{
    struct smbios *s = xcalloc(1, sizeof *s);
    uint8_t anchor[0x40] = {0}; /* both entry points, each on a multiple of 16 */
    smbios_build(cfg, bus, s);
    smbios_anchor30(s, BOOT_SMBIOS + sizeof anchor, anchor);
    smbios_anchor21(s, BOOT_SMBIOS + sizeof anchor, anchor + 0x20);
    bool ok = boot_put(bus, BOOT_SMBIOS, anchor, sizeof anchor, "SMBIOS", e) &&
              boot_put(bus, BOOT_SMBIOS + sizeof anchor, s->tables, s->len, "SMBIOS", e);
    free(s);
    return ok;
}

bool boot_tables(struct bus *bus, const struct boot_config *cfg, struct err *e)
{
    if (cfg->cpus < 1 || cfg->cpus > BOOT_CPUS)
        return err_set(e, ERR_INVALID, "%u CPUs: give 1 to %u", cfg->cpus, BOOT_CPUS);
    if (bus_ram_low(bus) < 0x100000)
        return err_set(e, ERR_INVALID,
                       "%llu KiB of memory: a PC needs at least 1 MiB; give it more with --mem",
                       (unsigned long long)bus_ram_low(bus) >> 10);
    return boot_zero(bus, 0xe0000, 0x20000, "the BIOS area", e) && vectors(bus, e) &&
           bda(bus, cfg, e) && mp(bus, cfg, e) && acpi(bus, cfg, e) && smbios(bus, cfg, e);
}

bool boot_gdt(struct bus *bus, const uint16_t *attr, unsigned n, struct boot_entry *out,
              struct err *e)
{
    uint8_t gdt[8 * 8] = {0};
    CHECK(n < 8);
    for (unsigned i = 0; i < n; i++) {
        uint32_t limit = attr[i] == ATTR_TSS32 ? 0x67 : 0xfffff;
        put_le64(gdt + 8 * (i + 1),
                 (limit & 0xffff) | (uint64_t)(limit >> 16) << 48 | (uint64_t)attr[i] << 40);
    }
    out->gdt_base = BOOT_GDT;
    out->gdt_limit = 8 * (n + 1) - 1;
    return boot_put(bus, BOOT_GDT, gdt, 8 * (n + 1), "the GDT", e);
}

struct boot_seg boot_flat(uint16_t sel, uint16_t attr)
{
    return (struct boot_seg){.limit = 0xffffffff, .sel = sel, .attr = attr};
}

void boot_prot32(struct boot_entry *out, uint16_t code, uint16_t data)
{
    for (unsigned i = 0; i < 6; i++)
        out->seg[i] = boot_flat(data, ATTR_DATA32);
    out->seg[1] = boot_flat(code, ATTR_CODE32);
    out->tr = (struct boot_seg){.limit = 0x67, .attr = ATTR_TSS32};
    out->rflags = 2;
    out->cr0 = 0x11; /* PE, ET */
    out->cr3 = out->cr4 = out->efer = 0;
    out->mtrr_def = 0x806; /* on; write-back */
}

bool boot_cmdline(struct bus *bus, const struct boot_config *cfg, uint64_t max, struct err *e)
{
    const char *line = cfg->cmdline ? cfg->cmdline : "";
    size_t n = strlen(line);
    max = min_u64(max, 0xffff);
    if (n > max)
        return err_set(e, ERR_INVALID,
                       "the command line has %zu characters, but this kernel takes at most %llu; "
                       "shorten --append",
                       n, (unsigned long long)max);
    return boot_put(bus, BOOT_CMDLINE, line, n + 1, "the command line", e);
}

bool boot_initrd(struct bus *bus, const struct boot_config *cfg, uint64_t floor, uint64_t max,
                 uint64_t *addr, struct err *e)
{
    *addr = 0;
    if (!cfg->initrd || !cfg->initrd_size)
        return true;
    uint64_t size = cfg->initrd_size, top = bus_ram_low(bus);
    if (max < top)
        top = max + 1;
    floor = align_up(max_u64(floor, 0x100000), PAGE_SIZE);
    uint64_t at = size <= top ? (top - size) & ~(uint64_t)(PAGE_SIZE - 1) : 0;
    if (size > top || at < floor)
        return err_set(e, ERR_NO_SPACE,
                       "%s has %llu KiB, but there is room for %llu KiB above the kernel and below "
                       "%#llx; give the machine more memory with --mem, or make it smaller",
                       cfg->initrd_name ? cfg->initrd_name : "the initrd",
                       (unsigned long long)((size + 1023) >> 10),
                       (unsigned long long)(top > floor ? (top - floor) >> 10 : 0),
                       (unsigned long long)top);
    *addr = at;
    return boot_put(bus, at, cfg->initrd, size, "the initrd", e);
}
