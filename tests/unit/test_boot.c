#include "boot/e820.h"
#include "boot/mptable.h"
#include "boot_machine.h"

static void test_e820_covers_ram_without_overlaps(void **state)
{
    machine(64 * MIB);
    bus.ram_size = 5ull << 30; /* only sizes are looked at */
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(&bus, map);
    uint64_t ram = 0, end = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_true(map[i].addr >= end && map[i].len);
        end = map[i].addr + map[i].len;
        ram += map[i].type == E820_RAM ? map[i].len : 0;
    }
    assert_int_equal(end, (4ull << 30) + (2ull << 30));
    assert_int_equal(ram, (5ull << 30) - MIB + 0x9fc00);
    bus.ram_size = 64 * MIB;
    uint8_t packed[E820_MAX * E820_SIZE];
    n = e820_ram(&bus, map);
    assert_int_equal(n, 1);
    e820_pack(map, n, packed);
    assert_int_equal(get_le64(packed + 8), 64 * MIB);
    assert_int_equal(get_le32(packed + 16), E820_RAM);
}

/* Walks the MP configuration table as a kernel does; returns the processors it lists. */
static unsigned walk_mp(const uint8_t *t)
{
    static const uint8_t size[] = {20, 8, 8, 8, 8};
    unsigned cpus = 0, entries = 0;
    const uint8_t *end = t + get_le16(t + 4), *p = t + 44;
    assert_memory_equal(t, "PCMP", 4);
    assert_int_equal(sum(t, get_le16(t + 4)), 0);
    for (; p < end; p += size[*p], entries++) {
        assert_true(*p < sizeof size);
        cpus += *p == 0;
        if (*p == 0) {
            assert_int_equal(p[1], cpus - 1);
            assert_int_equal(p[3], p[1] ? 1 : 3);
        }
    }
    assert_ptr_equal(p, end);
    assert_int_equal(entries, get_le16(t + 34));
    return cpus;
}

static void test_mp_tables_list_every_cpu(void **state)
{
    for (unsigned cpus = 1; cpus <= BOOT_CPUS; cpus++) {
        struct boot_config c = config(cpus);
        uint8_t t[MP_TABLE_MAX];
        unsigned len = mp_table(&c, t);
        assert_int_equal(len, get_le16(t + 4));
        assert_int_equal(walk_mp(t), cpus);
    }
    assert_true(BOOT_MP_END - BOOT_MP >= MP_TABLE_MAX);
}

static void test_sector_starts_as_a_bios_would(void **state)
{
    machine(4 * MIB);
    struct boot_config c = config(2);
    struct boot_entry entry;
    uint8_t sector[512] = {0xfa, 0x31, 0xc0};
    assert_false(boot_sector(&bus, &c, sector, 0x80, &entry, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    assert_true(boot_sector(&bus, &c, sector, 0x80, &entry, &err));
    assert_int_equal(entry.rip, 0x7c00);
    assert_int_equal(entry.r[2], 0x80);
    assert_int_equal(entry.cr0 & 1, 0);
    assert_int_equal(entry.seg[1].base, 0);
    assert_memory_equal(bus.ram + 0x7c00, sector, 512);
    assert_int_equal(get_le16(bus.ram + 0x40e), 0x9fc0);
    assert_int_equal(get_le16(bus.ram + 0x413), 639);
    assert_int_equal(get_le16(bus.ram + 0x400), 0x3f8);
    /* every vector leads to an IRET */
    for (unsigned v = 0; v < 256; v++)
        assert_int_equal(bus.ram[get_le16(bus.ram + 4 * v) + get_le16(bus.ram + 4 * v + 2) * 16],
                         0xcf);
    /* the MP floating pointer as xv6 finds it: in the EBDA's first KiB */
    const uint8_t *ebda = bus.ram + get_le16(bus.ram + 0x40e) * 16, *p = ebda;
    while (p < ebda + 1024 && memcmp(p, "_MP_", 4))
        p += 16;
    assert_true(p < ebda + 1024);
    assert_int_equal(sum(p, 16), 0);
    assert_int_equal(walk_mp(bus.ram + get_le32(p + 4)), 2);
}

static void test_absurd_machines_are_refused(void **state)
{
    struct boot_entry entry;
    uint8_t sector[512] = {0};
    put_le16(sector + 510, 0xaa55);
    machine(64 * 1024);
    struct boot_config c = config(1);
    assert_false(boot_sector(&bus, &c, sector, 0x80, &entry, &err));
    assert_non_null(strstr(err.text, "--mem"));
    teardown(NULL);
    machine(2 * MIB);
    c.cpus = 0;
    assert_false(boot_sector(&bus, &c, sector, 0x80, &entry, &err));
    c.cpus = BOOT_CPUS + 1;
    assert_false(boot_sector(&bus, &c, sector, 0x80, &entry, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_e820_covers_ram_without_overlaps, teardown),
        cmocka_unit_test(test_mp_tables_list_every_cpu),
        cmocka_unit_test_teardown(test_sector_starts_as_a_bios_would, teardown),
        cmocka_unit_test_teardown(test_absurd_machines_are_refused, teardown),
    };
    return RUN(tests);
}
