#include "bus/bus.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static uint8_t ram[16 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static unsigned last_size;
static uint64_t last_offset, last_value;

static uint64_t dev_read(void *dev, uint64_t offset, unsigned size)
{
    last_size = size;
    return 0x40 + offset;
}

static void dev_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    last_size = size;
    last_offset = offset;
    last_value = value;
}

static const struct region_ops byte_ops = {dev_read, dev_write, 1};
static const struct region_ops any_ops = {dev_read, dev_write, 0};

static void test_overlap_is_rejected_by_name(void **state)
{
    struct bus b;
    struct err e;
    bus_init(&b, ram, sizeof ram, NULL);
    struct region pit = {.name = "pit", .size = 4, .ops = &byte_ops};
    struct region clash = {.name = "clash", .size = 2, .ops = &byte_ops};
    assert_true(bus_add(&b, BUS_PORT, 0x40, &pit, &e));
    assert_false(bus_add(&b, BUS_PORT, 0x43, &clash, &e));
    assert_string_equal(e.text, "clash at 0x43 overlaps pit");
    assert_false(bus_add(&b, BUS_PORT, 0x3f, &clash, &e));
    assert_true(bus_add(&b, BUS_PORT, 0x44, &clash, &e));
    assert_false(bus_add(&b, BUS_PORT, 0xffff, &(struct region){.name = "x", .size = 2}, &e));
    bus_remove(&b, &pit);
    assert_int_equal(bus_in(&b, 0x40, 1), 0xff);
    assert_int_equal(bus_in(&b, 0x44, 1), 0x40);
    bus_free(&b);
}

static void test_wide_accesses_are_split(void **state)
{
    struct bus b;
    bus_init(&b, ram, sizeof ram, NULL);
    struct region narrow = {.name = "narrow", .size = 2, .ops = &byte_ops};
    struct region wide = {.name = "wide", .size = 8, .ops = &any_ops};
    assert_true(bus_add(&b, BUS_PORT, 0x10, &narrow, NULL));
    assert_true(bus_add(&b, BUS_PORT, 0x20, &wide, NULL));
    assert_int_equal(bus_in(&b, 0x10, 2), 0x4140);
    assert_int_equal(bus_in(&b, 0x10, 4), 0xffff4140);
    assert_int_equal(bus_in(&b, 0x20, 4), 0x40);
    assert_int_equal(last_size, 4);
    bus_out(&b, 0x11, 1, 0x1234);
    assert_int_equal(last_value, 0x34);
    assert_int_equal(last_offset, 1);
    bus_free(&b);
}

static uint64_t code_at;

static void on_code(void *opaque, uint64_t paddr, uint64_t len)
{
    code_at = paddr;
}

static void test_memory_rom_and_a20(void **state)
{
    static uint8_t bios[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE))) = {0xea};
    struct bus b;
    bus_init(&b, ram, sizeof ram, NULL);
    b.code_write = on_code;
    struct region rom = {.name = "bios", .size = PAGE_SIZE, .host = bios, .rom = true};
    assert_true(bus_add(&b, BUS_MEM, 0x2000, &rom, NULL));
    bus_write(&b, 0x2000, 1, 0x55);
    assert_int_equal(bus_read(&b, 0x2000, 1), 0xea);
    bus_write(&b, 0x1000, 8, 0x1122334455667788);
    assert_int_equal(bus_read(&b, 0x1004, 4), 0x11223344);
    assert_int_equal(b.page_flags[1], PAGE_DIRTY);
    b.page_flags[1] |= PAGE_CODE;
    bus_write(&b, 0x1010, 1, 1);
    assert_int_equal(code_at, 0x1010);
    bus_set_a20(&b, false);
    assert_int_equal(bus_read(&b, 0x101004, 4), 0x11223344);
    bus_set_a20(&b, true);
    assert_int_equal(bus_read(&b, 0x101004, 4), 0xffffffff);
    bus_free(&b);
}

static void test_dma_survives_absurd_ranges(void **state)
{
    struct bus b;
    uint8_t buf[2 * PAGE_SIZE];
    bus_init(&b, ram, sizeof ram, NULL);
    assert_true(bus_dma_write(&b, 5, "hello", 5));
    assert_memory_equal(ram + 5, "hello", 5);
    assert_false(bus_dma_read(&b, sizeof ram - 4, buf, 8));
    assert_int_equal(buf[4], 0xff);
    assert_false(bus_dma_read(&b, ~0ull - 3, buf, 8));
    assert_null(bus_ram(&b, sizeof ram - 4, 8));
    assert_null(bus_ram(&b, 4, ~0ull));
    assert_ptr_equal(bus_ram(&b, 4, 8), ram + 4);
    bus_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlap_is_rejected_by_name),
        cmocka_unit_test(test_wide_accesses_are_split),
        cmocka_unit_test(test_memory_rom_and_a20),
        cmocka_unit_test(test_dma_survives_absurd_ranges),
    };
    return RUN(tests);
}
