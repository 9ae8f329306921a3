#include "boot/acpi.h"

#include "boot/internal.h"

#define HEADER 36 /* bytes of a table's header */

/* Loader commands, 128 bytes each. */
enum { LOADER_ALLOCATE = 1, LOADER_POINTER, LOADER_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_FSEG };
#define LOADER_SIZE 128
#define FILE_NAME   56

/* FADT flags (ACPI 6.4 table 5.10). */
#define FADT_WBINVD        BIT(0)
#define FADT_PROC_C1       BIT(2)
#define FADT_NO_SLP_BUTTON BIT(5)
#define FADT_RESET_REG     BIT(10)

static void pointer(struct acpi *a, bool in_rsdp, uint32_t at, uint8_t size, uint64_t target)
{
    CHECK(a->pointer_count < ACPI_FIXES);
    a->pointer[a->pointer_count++] = (struct acpi_pointer){in_rsdp, size, at};
    memcpy((in_rsdp ? a->rsdp : a->tables) + at, &target, size);
}

static void sum(struct acpi *a, bool in_rsdp, uint32_t at, uint32_t start, uint32_t len)
{
    CHECK(a->sum_count < ACPI_FIXES);
    a->sum[a->sum_count++] = (struct acpi_sum){in_rsdp, at, start, len};
}

/* Room for a table of `len` bytes with its header filled in. Returns its offset. */
static uint32_t table(struct acpi *a, const char *signature, uint8_t revision, uint32_t len)
{
    uint32_t at = (uint32_t)align_up(a->len, 16);
    CHECK(len >= HEADER && at + len <= ACPI_TABLES_MAX);
    uint8_t *p = a->tables + at;
    memcpy(p, signature, 4);
    put_le32(p + 4, len);
    p[8] = revision;
    memcpy(p + 10, "ISHI  ", 6);
    memcpy(p + 16, "ISHIPC  ", 8);
    put_le32(p + 24, 1);
    memcpy(p + 28, "ISHI", 4);
    put_le32(p + 32, 1);
    a->len = at + len;
    sum(a, false, at + 9, at, len);
    return at;
}

static uint32_t facs(struct acpi *a)
{
    uint32_t at = (uint32_t)align_up(a->len, 64); /* its alignment is required */
    uint8_t *p = a->tables + at;
    memcpy(p, "FACS", 4);
    put_le32(p + 4, 64);
    p[32] = 1;
    a->len = at + 64;
    return at;
}

static uint32_t dsdt(struct acpi *a, const struct boot_config *cfg)
{
    uint32_t start = (uint32_t)align_up(a->len, 16) + HEADER;
    uint32_t len = dsdt_build(cfg, a->tables + start, ACPI_TABLES_MAX - start);
    return table(a, "DSDT", 2, HEADER + len);
}

/* A generic address: I/O space. */
static void gas_io(uint8_t *p, uint64_t port, uint8_t bits, uint8_t access)
{
    p[0] = 1;
    p[1] = bits;
    p[3] = access; /* 1 byte, 2 word, 3 dword */
    put_le64(p + 4, port);
}

static uint32_t fadt(struct acpi *a, const struct boot_config *cfg, uint32_t facs_at,
                     uint32_t dsdt_at)
{
    uint32_t at = table(a, "FACP", 4, 244);
    uint8_t *p = a->tables + at;
    uint16_t pm = cfg->pm_base;
    pointer(a, false, at + 36, 4, facs_at);
    pointer(a, false, at + 40, 4, dsdt_at);
    pointer(a, false, at + 140, 8, dsdt_at);
    p[45] = 1; /* desktop */
    put_le16(p + 46, cfg->sci_irq);
    put_le32(p + 48, cfg->smi_command);
    p[52] = cfg->smi_command ? cfg->acpi_enable : 0;
    p[53] = cfg->smi_command ? cfg->acpi_disable : 0;
    put_le32(p + 56, pm);
    put_le32(p + 64, pm + 4u);
    put_le32(p + 76, pm + 8u);
    put_le32(p + 80, pm + 0xcu);
    p[88] = 4; /* bytes of PM1 events, control, timer, of general purpose events */
    p[89] = 2;
    p[91] = 4;
    p[92] = 4;
    put_le16(p + 96, 0xfff); /* no C2, no C3 */
    put_le16(p + 98, 0xfff);
    p[108] = 0x32; /* century in CMOS */
    put_le16(p + 109, (uint16_t)(1 /* ISA devices */ | (cfg->i8042 ? 2 : 0)));
    put_le32(p + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLP_BUTTON | FADT_RESET_REG);
    gas_io(p + 116, 0xcf9, 8, 1);
    p[128] = 0x06; /* hard reset */
    gas_io(p + 148, pm, 32, 2);
    gas_io(p + 172, pm + 4u, 16, 2);
    gas_io(p + 208, pm + 8u, 32, 3);
    gas_io(p + 220, pm + 0xcu, 32, 1);
    return at;
}

static uint8_t *madt_entry(uint8_t **p, uint8_t type, uint8_t len)
{
    uint8_t *e = *p;
    e[0] = type;
    e[1] = len;
    *p += len;
    return e;
}

static void override(uint8_t **p, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    uint8_t *e = madt_entry(p, 2, 10);
    e[3] = irq;
    put_le32(e + 4, gsi);
    put_le16(e + 8, flags);
}

static uint32_t madt(struct acpi *a, const struct boot_config *cfg)
{
    enum { AS_BUS = 0, HIGH_LEVEL = 0xd };
    uint32_t len = HEADER + 8 + 8 * cfg->cpus + 12 + 2 * 10 + 6;
    uint32_t at = table(a, "APIC", 3, len);
    uint8_t *p = a->tables + at + HEADER + 8, *e;
    put_le32(a->tables + at + HEADER, cfg->lapic_base);
    put_le32(a->tables + at + HEADER + 4, 1); /* there are PICs too */
    for (unsigned i = 0; i < cfg->cpus; i++) {
        e = madt_entry(&p, 0, 8);
        e[2] = e[3] = (uint8_t)i;
        put_le32(e + 4, 1);
    }
    e = madt_entry(&p, 1, 12);
    e[2] = cfg->ioapic_id;
    put_le32(e + 4, cfg->ioapic_base);
    override(&p, 0, 2, AS_BUS);
    override(&p, cfg->sci_irq, cfg->sci_irq, HIGH_LEVEL);
    e = madt_entry(&p, 4, 6); /* NMI: LINT1 of every CPU */
    e[2] = 0xff;
    e[5] = 1;
    CHECK(p == a->tables + at + len);
    return at;
}

static uint32_t hpet(struct acpi *a, const struct boot_config *cfg)
{
    uint32_t at = table(a, "HPET", 1, 56);
    uint8_t *p = a->tables + at;
    put_le32(p + 36, 0x8086a201); /* Intel, legacy routing, 64 bits, three comparators */
    put_le64(p + 44, cfg->hpet_base);
    return at;
}

void acpi_build(const struct boot_config *cfg, struct acpi *a)
{
    uint32_t at[3];
    unsigned n = 0;
    memset(a, 0, sizeof *a);
    uint32_t facs_at = facs(a), dsdt_at = dsdt(a, cfg);
    at[n++] = fadt(a, cfg, facs_at, dsdt_at);
    at[n++] = madt(a, cfg);
    if (cfg->hpet_base)
        at[n++] = hpet(a, cfg);
    uint32_t rsdt = table(a, "RSDT", 1, HEADER + 4 * n);
    uint32_t xsdt = table(a, "XSDT", 1, HEADER + 8 * n);
    for (unsigned i = 0; i < n; i++) {
        pointer(a, false, rsdt + HEADER + 4 * i, 4, at[i]);
        pointer(a, false, xsdt + HEADER + 8 * i, 8, at[i]);
    }
    memcpy(a->rsdp, "RSD PTR ", 8);
    memcpy(a->rsdp + 9, "ISHI  ", 6);
    a->rsdp[15] = 2;
    put_le32(a->rsdp + 20, ACPI_RSDP_SIZE);
    pointer(a, true, 16, 4, rsdt);
    pointer(a, true, 24, 8, xsdt);
    /* the first covers what ACPI 1.0 knew, the second all, the first included: so in this order */
    sum(a, true, 8, 0, 20);
    sum(a, true, 32, 0, ACPI_RSDP_SIZE);
}

void acpi_relocate(struct acpi *a, uint64_t base)
{
    for (unsigned i = 0; i < a->pointer_count; i++) {
        const struct acpi_pointer *f = &a->pointer[i];
        uint8_t *p = (f->in_rsdp ? a->rsdp : a->tables) + f->at;
        uint64_t v = 0;
        memcpy(&v, p, f->size);
        v += base;
        memcpy(p, &v, f->size);
    }
    for (unsigned i = 0; i < a->sum_count; i++) {
        const struct acpi_sum *s = &a->sum[i];
        uint8_t *p = s->in_rsdp ? a->rsdp : a->tables;
        p[s->at] = boot_checksum(p + s->start, s->len);
    }
}

/* The next command, with a file's name in it. */
static uint8_t *command(uint8_t **out, uint32_t what, const char *file)
{
    uint8_t *p = *out;
    memset(p, 0, LOADER_SIZE);
    put_le32(p, what);
    memcpy(p + 4, file, strlen(file));
    *out += LOADER_SIZE;
    return p + 4 + FILE_NAME;
}

uint32_t acpi_loader(const struct acpi *a, uint8_t out[ACPI_LOADER_MAX])
{
    uint8_t *end = out, *p;
    p = command(&end, LOADER_ALLOCATE, ACPI_FILE_RSDP);
    put_le32(p, 16);
    p[4] = ZONE_FSEG;
    p = command(&end, LOADER_ALLOCATE, ACPI_FILE_TABLES);
    put_le32(p, 64);
    p[4] = ZONE_HIGH;
    for (unsigned i = 0; i < a->pointer_count; i++) {
        const struct acpi_pointer *f = &a->pointer[i];
        p = command(&end, LOADER_POINTER, f->in_rsdp ? ACPI_FILE_RSDP : ACPI_FILE_TABLES);
        memcpy(p, ACPI_FILE_TABLES, sizeof ACPI_FILE_TABLES);
        put_le32(p + FILE_NAME, f->at);
        p[FILE_NAME + 4] = f->size;
    }
    for (unsigned i = 0; i < a->sum_count; i++) {
        const struct acpi_sum *s = &a->sum[i];
        p = command(&end, LOADER_CHECKSUM, s->in_rsdp ? ACPI_FILE_RSDP : ACPI_FILE_TABLES);
        put_le32(p, s->at);
        put_le32(p + 4, s->start);
        put_le32(p + 8, s->len);
    }
    CHECK((uint32_t)(end - out) <= ACPI_LOADER_MAX);
    return (uint32_t)(end - out);
}
