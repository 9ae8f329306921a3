/* The ACPI and SMBIOS tables: checksums, pointers, and what an independent reader (iasl) says. */
#include "boot/acpi.h"
#include "boot/firmware.h"
#include "boot/smbios.h"
#include "boot_machine.h"

#include <stdio.h>
#include <unistd.h>

static struct acpi acpi;

/* The table at a physical address, after checks of its header. */
static const uint8_t *table(uint64_t at, uint64_t base)
{
    assert_in_range(at, base, base + acpi.len - 8);
    const uint8_t *t = acpi.tables + (at - base);
    uint32_t len = get_le32(t + 4);
    assert_true(at - base + len <= acpi.len);
    if (memcmp(t, "FACS", 4))
        assert_int_equal(sum(t, len), 0);
    else
        assert_int_equal(at % 64, 0);
    return t;
}

/* Follows every pointer as a kernel does; returns a bit for each table of `names` that was seen. */
static unsigned follow(uint64_t base, const char *const *names, unsigned count)
{
    unsigned seen = 0;
    assert_int_equal(sum(acpi.rsdp, 20), 0);
    assert_int_equal(sum(acpi.rsdp, 36), 0);
    const uint8_t *rsdt = table(get_le32(acpi.rsdp + 16), base);
    const uint8_t *xsdt = table(get_le64(acpi.rsdp + 24), base);
    unsigned n = (get_le32(rsdt + 4) - 36) / 4;
    assert_int_equal(get_le32(xsdt + 4), 36 + 8 * n);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *t = table(get_le64(xsdt + 36 + 8 * i), base);
        assert_int_equal(get_le32(rsdt + 36 + 4 * i), get_le64(xsdt + 36 + 8 * i));
        for (unsigned k = 0; k < count; k++)
            seen |= memcmp(t, names[k], 4) ? 0 : 1u << k;
        if (!memcmp(t, "FACP", 4)) {
            assert_memory_equal(table(get_le32(t + 36), base), "FACS", 4);
            assert_memory_equal(table(get_le64(t + 140), base), "DSDT", 4);
            assert_int_equal(get_le32(t + 40), get_le64(t + 140));
        }
    }
    return seen;
}

static void test_tables_hang_together(void **state)
{
    static const char *const names[] = {"FACP", "APIC", "HPET"};
    for (unsigned cpus = 1; cpus <= BOOT_CPUS; cpus += 31) {
        struct boot_config c = config(cpus);
        acpi_build(&c, &acpi);
        acpi_relocate(&acpi, BOOT_ACPI);
        assert_int_equal(follow(BOOT_ACPI, names, 3), 7);
        assert_true(acpi.len <= BOOT_ACPI_END - BOOT_ACPI);
        c.hpet_base = 0;
        acpi_build(&c, &acpi);
        acpi_relocate(&acpi, 0x7ffe0000);
        assert_int_equal(follow(0x7ffe0000, names, 3), 3);
    }
}

/* Firmware's part of the bargain: runs the loader's commands on the unrelocated files. */
static void test_loader_commands_do_the_same(void **state)
{
    static uint8_t loader[ACPI_LOADER_MAX];
    struct boot_config c = config(3);
    acpi_build(&c, &acpi);
    struct acpi direct = acpi;
    uint32_t base = 0x7fe0000, n = acpi_loader(&acpi, loader);
    acpi_relocate(&direct, base);
    assert_int_equal(n % 128, 0);
    for (const uint8_t *p = loader; p < loader + n; p += 128) {
        uint8_t *file = strcmp((const char *)p + 4, ACPI_FILE_RSDP) ? acpi.tables : acpi.rsdp;
        const uint8_t *arg = p + 4 + 56;
        uint64_t v = 0;
        switch (get_le32(p)) {
        case 1: assert_in_range(arg[4], 1, 2); break;
        case 2:
            assert_string_equal((const char *)arg, ACPI_FILE_TABLES);
            memcpy(&v, file + get_le32(arg + 56), arg[60]);
            v += base;
            memcpy(file + get_le32(arg + 56), &v, arg[60]);
            break;
        case 3:
            file[get_le32(arg)] = 0;
            file[get_le32(arg)] = (uint8_t)-sum(file + get_le32(arg + 4), get_le32(arg + 8));
            break;
        default: fail();
        }
    }
    assert_memory_equal(acpi.tables, direct.tables, acpi.len);
    assert_memory_equal(acpi.rsdp, direct.rsdp, sizeof acpi.rsdp);
}

/* iasl takes the DSDT apart and puts it together again without an error or a warning. */
static void test_dsdt_by_iasl(void **state)
{
    char dir[] = "/tmp/ishi-iasl-XXXXXX", command[256], path[64];
    if (system("iasl -v >/dev/null 2>&1")) {
        print_message("iasl (package acpica-tools) is not here: skipped\n");
        skip();
    }
    struct boot_config c = config(4);
    c.pci64_start = BIT(38);
    c.pci64_end = BIT(39);
    acpi_build(&c, &acpi);
    acpi_relocate(&acpi, BOOT_ACPI);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/dsdt.aml", dir);
    FILE *f = fopen(path, "wb");
    const uint8_t *dsdt = acpi.tables + 64; /* after the FACS */
    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(fwrite(dsdt, get_le32(dsdt + 4), 1, f), 1);
    fclose(f);
    snprintf(command, sizeof command,
             "cd %s && iasl -d dsdt.aml >d.txt 2>&1 && iasl -p again dsdt.dsl >c.txt 2>&1 && "
             "grep -q ' 0 Errors, 0 Warnings, 0 Remarks' c.txt && ! grep -qi warning d.txt",
             dir);
    int status = system(command);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(status, 0);
}

static void test_smbios(void **state)
{
    static struct smbios s;
    uint8_t a21[SMBIOS_ANCHOR21], a30[SMBIOS_ANCHOR30];
    struct boot_config c = config(BOOT_CPUS);
    machine(16 * MIB);
    smbios_build(&c, &bus, &s);
    smbios_anchor21(&s, 0xf2040, a21);
    smbios_anchor30(&s, 0xf2040, a30);
    assert_int_equal(sum(a21, sizeof a21), 0);
    assert_int_equal(sum(a21 + 16, 15), 0);
    assert_int_equal(sum(a30, sizeof a30), 0);
    assert_int_equal(get_le16(a21 + 22), s.len);
    unsigned cpus = 0, count = 0, type = 0;
    const uint8_t *p = s.tables;
    for (; p < s.tables + s.len; count++) {
        type = p[0];
        cpus += type == 4;
        for (p += p[1]; p[0] || p[1]; p++)
            ;
        p += 2;
    }
    assert_ptr_equal(p, s.tables + s.len);
    assert_int_equal(type, 127);
    assert_int_equal(cpus, BOOT_CPUS);
    assert_int_equal(count, get_le16(a21 + 28));
    assert_true(BOOT_SMBIOS + 0x40 + SMBIOS_MAX <= BOOT_SM_END);
}

static void test_cmos(void **state)
{
    struct boot_config c = config(3);
    struct firmware_drives d = {.sectors = {2048, 0, 1 << 24},
                                .order = {FIRMWARE_CDROM, FIRMWARE_DISK, FIRMWARE_FLOPPY}};
    uint8_t cmos[128];
    memset(cmos, 0xaa, sizeof cmos);
    machine(64 * MIB);
    firmware_cmos(&c, &bus, &d, cmos);
    assert_int_equal(cmos[0x0f], 0xaa);
    assert_int_equal(cmos[0x60], 0xaa);
    assert_int_equal(get_le16(cmos + 0x15), 640);
    assert_int_equal(get_le16(cmos + 0x17), 63 * 1024);
    assert_int_equal(get_le16(cmos + 0x34), 48 * 16);
    assert_int_equal(cmos[0x12], 0xf0);
    assert_int_equal(cmos[0x39], 0x10);
    assert_int_equal(cmos[0x3d], 0x23);
    assert_int_equal(cmos[0x38] & 0xf0, 0x10);
    assert_int_equal(cmos[0x5f], 2);
    bus.ram_size = 5ull << 30;
    firmware_cmos(&c, &bus, &d, cmos);
    assert_int_equal(get_le16(cmos + 0x34), (0xc0000000 - 0x1000000) >> 16);
    assert_int_equal(cmos[0x5b] | cmos[0x5c] << 8 | cmos[0x5d] << 16, 0x80000000u >> 16);
    bus.ram_size = 64 * MIB;
}

static void test_bios_images(void **state)
{
    static uint8_t rom[256 * 1024];
    struct firmware f;
    assert_false(firmware_init(&f, rom, sizeof rom, &err));
    rom[sizeof rom - 16] = 0xea;
    assert_false(firmware_init(&f, rom, 0, &err));
    assert_false(firmware_init(&f, rom, 1000, &err));
    assert_false(firmware_init(&f, rom, sizeof rom - 1, &err));
    assert_true(firmware_init(&f, rom, sizeof rom, &err));
    assert_int_equal(f.high_base, 0xfffc0000);
    assert_int_equal(f.shadow[FIRMWARE_SHADOW - 16], 0xea);
    machine(4 * MIB);
    assert_true(bus_add(&bus, BUS_MEM, f.high_base, &f.high, &err));
    assert_int_equal(bus_read(&bus, 0xfffffff0, 1), 0xea);
    firmware_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_hang_together),
        cmocka_unit_test(test_loader_commands_do_the_same),
        cmocka_unit_test(test_dsdt_by_iasl),
        cmocka_unit_test_teardown(test_smbios, teardown),
        cmocka_unit_test_teardown(test_cmos, teardown),
        cmocka_unit_test_teardown(test_bios_images, teardown),
    };
    return RUN(tests);
}
