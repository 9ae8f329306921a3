#include "boot/firmware.h"
#include "boot_machine.h"
#include "dev/fw_cfg.h"

static struct fw_cfg f;

static void plug(void)
{
    machine(MIB);
    fw_cfg_init(&f, &bus, NULL);
    assert_true(bus_add(&bus, BUS_PORT, FW_CFG_PORT, &f.io, &err));
    assert_true(bus_add(&bus, BUS_PORT, FW_CFG_DMA_PORT, &f.dma, &err));
}

static int unplug(void **state)
{
    fw_cfg_free(&f);
    return teardown(state);
}

static void read_item(uint16_t key, void *to, unsigned n)
{
    bus_out(&bus, FW_CFG_PORT, 2, key);
    for (unsigned i = 0; i < n; i++)
        ((uint8_t *)to)[i] = (uint8_t)bus_in(&bus, FW_CFG_PORT + 1, 1);
}

/* Starts a transfer as firmware does, and gives the control word afterwards. */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t addr)
{
    uint8_t *d = bus.ram + 0x1000;
    put_le32(d, __builtin_bswap32(control));
    put_le32(d + 4, __builtin_bswap32(len));
    put_le64(d + 8, __builtin_bswap64(addr));
    bus_out(&bus, FW_CFG_DMA_PORT, 4, 0);
    bus_out(&bus, FW_CFG_DMA_PORT + 4, 4, __builtin_bswap32(0x1000));
    return __builtin_bswap32(get_le32(d));
}

static void test_state_is_declared(void **state)
{
    assert_true(state_check(&fw_cfg_table, &err));
}

static void test_ports(void **state)
{
    uint8_t b[12];
    plug();
    read_item(FW_CFG_SIGNATURE, b, 6);
    assert_memory_equal(b, "QEMU\0\0", 6);
    read_item(FW_CFG_ID, b, 4);
    assert_int_equal(get_le32(b), 3);
    read_item(0x1234, b, 2);
    assert_int_equal(b[0], 0);
    assert_int_equal(bus_in(&bus, FW_CFG_DMA_PORT, 4), get_le32("QEMU"));
    assert_int_equal(bus_in(&bus, FW_CFG_DMA_PORT + 4, 4), get_le32(" CFG"));
    /* a write changes nothing */
    bus_out(&bus, FW_CFG_PORT, 2, FW_CFG_SIGNATURE | 0x4000);
    bus_out(&bus, FW_CFG_PORT + 1, 1, 'X');
    read_item(FW_CFG_SIGNATURE, b, 4);
    assert_memory_equal(b, "QEMU", 4);
}

/* Finds a file as firmware does; returns its key, or 0. */
static uint16_t find(const char *name, uint32_t *len)
{
    uint8_t e[64];
    read_item(FW_CFG_DIRECTORY, e, 4);
    uint32_t n = __builtin_bswap32(get_le32(e));
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned k = 0; k < sizeof e; k++)
            e[k] = (uint8_t)bus_in(&bus, FW_CFG_PORT + 1, 1);
        *len = __builtin_bswap32(get_le32(e));
        if (!strcmp((char *)e + 8, name))
            return __builtin_bswap16(get_le16(e + 4));
    }
    return 0;
}

static void test_files(void **state)
{
    static const char *const expected[] = {"etc/e820",
                                           "etc/acpi/tables",
                                           "etc/acpi/rsdp",
                                           "etc/table-loader",
                                           "etc/system-states",
                                           "etc/smbios/smbios-tables",
                                           "etc/smbios/smbios-anchor",
                                           "vgaroms/x.bin"};
    struct boot_config c = config(2);
    uint8_t b[20];
    uint32_t len;
    plug();
    firmware_items(&c, &bus, fw_cfg_add, &f);
    fw_cfg_add(&f, 0, "vgaroms/x.bin", "\x55\xaa\1", 3);
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(find(expected[i], &len) >= FW_CFG_FIRST_FILE);
        assert_true(len > 0);
    }
    read_item(find("vgaroms/x.bin", &len), b, 4);
    assert_int_equal(len, 3);
    assert_memory_equal(b, "\x55\xaa\1\0", 4);
    read_item(find("etc/e820", &len), b, 20);
    assert_int_equal(len, 20);
    assert_int_equal(get_le64(b + 8), MIB);
    read_item(FW_CFG_NB_CPUS, b, 2);
    assert_int_equal(get_le16(b), 2);
}

static void test_dma(void **state)
{
    plug();
    fw_cfg_add(&f, 0, "a", "0123456789", 10);
    uint32_t key = FW_CFG_FIRST_FILE << 16;
    assert_int_equal(dma(key | 8 | 2, 4, 0x2000), 0);
    assert_memory_equal(bus.ram + 0x2000, "0123\xcc", 5);
    assert_int_equal(dma(4, 2, 0), 0);      /* skip */
    assert_int_equal(dma(2, 8, 0x2000), 0); /* the rest, then zeroes */
    assert_memory_equal(bus.ram + 0x2000, "6789\0\0\0\0\xcc", 9);
    assert_int_equal(dma(key | 8 | 0x10, 4, 0x2000), 1); /* read-only */
    assert_int_equal(dma(key | 8 | 4, 0xffffffff, 0), 0);
    assert_int_equal(dma(4, 0xffffffff, 0), 0);
    assert_int_equal(dma(2, 4, 0x2000), 0);
    assert_int_equal(get_le32(bus.ram + 0x2000), 0);
    /* where no memory is */
    assert_int_equal(dma(key | 8 | 2, 4, ~0ull - 1), 1);
    assert_int_equal(dma(key | 8 | 2, 0xffffffff, 0x2000), 1);
    bus_out(&bus, FW_CFG_DMA_PORT, 4, 0xffffffff);
    bus_out(&bus, FW_CFG_DMA_PORT + 4, 4, 0xffffffff);
    bus_out(&bus, FW_CFG_DMA_PORT + 4, 4, __builtin_bswap32((uint32_t)MIB - 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_is_declared),
        cmocka_unit_test_teardown(test_ports, unplug),
        cmocka_unit_test_teardown(test_files, unplug),
        cmocka_unit_test_teardown(test_dma, unplug),
    };
    return RUN(tests);
}
