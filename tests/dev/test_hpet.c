#include "dev/hpet.h"

#include "dev.h"

static struct clock clk;
static struct wire pins[HPET_PINS], legacy[2], legacy_on;
static struct hpet h;

static int setup(void **state)
{
    struct hpet_wires w = {.routes = 0xff0104, .legacy_on = wire_irq(&legacy_on)};
    dev_clock(&clk);
    memset(pins, 0, sizeof pins);
    memset(legacy, 0, sizeof legacy);
    legacy_on = (struct wire){0};
    for (unsigned i = 0; i < HPET_PINS; i++)
        w.pin[i] = wire_irq(&pins[i]);
    for (unsigned i = 0; i < 2; i++)
        w.legacy[i] = wire_irq(&legacy[i]);
    hpet_init(&h, &clk, NULL, &w);
    return 0;
}

static uint64_t rd(unsigned offset, unsigned size)
{
    uint64_t v = h.mmio.ops->read(&h, offset, size);
    return size == 4 ? (uint32_t)v : v;
}

static void wr(unsigned offset, unsigned size, uint64_t v)
{
    h.mmio.ops->write(&h, offset, size, v);
}

static void test_identity_and_counter(void **state)
{
    assert_int_equal(rd(0, 8), 0x009896808086a201);
    assert_int_equal(rd(4, 4), 10000000); /* femtoseconds a tick */
    assert_int_equal(rd(0x100, 8), 0x00ff010400000030);
    dev_pass(&clk, 1000);
    assert_int_equal(rd(0xf0, 8), 0);
    wr(0x10, 4, 1);
    dev_pass(&clk, 1000);
    assert_int_equal(rd(0xf0, 8), 100);
    wr(0x10, 4, 0);
    dev_pass(&clk, 1000);
    assert_int_equal(rd(0xf0, 8), 100);
    wr(0xf0, 4, 0xfffffff0);
    wr(0xf4, 4, 7);
    wr(0x10, 4, 1);
    dev_pass(&clk, 320);
    assert_int_equal(rd(0xf0, 8), 0x800000010);
    assert_int_equal(rd(0xf4, 4), 8);
}

static void test_one_shot(void **state)
{
    wr(0x10, 8, 1);
    wr(0x140, 8, 0x4 | 16 << 9); /* timer 2 to pin 16, edge */
    wr(0x148, 8, 100);
    dev_pass(&clk, 999);
    assert_int_equal(pins[16].rises, 0);
    dev_pass(&clk, 1);
    assert_int_equal(pins[16].rises, 1);
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(pins[16].rises, 1);
    wr(0x148, 8, rd(0xf0, 8) - 1); /* past: not for a long while */
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(pins[16].rises, 1);
    wr(0x140, 8, 0x104 | 16 << 9); /* 32 bits: until it wraps */
    dev_pass(&clk, 50 * NS_PER_S);
    assert_int_equal(pins[16].rises, 2);
}

static void test_level(void **state)
{
    wr(0x10, 8, 1);
    wr(0x140, 8, 0x6 | 20 << 9);
    wr(0x148, 8, 100);
    dev_pass(&clk, 1000);
    assert_true(pins[20].level);
    assert_int_equal(rd(0x20, 8), 4);
    wr(0x20, 4, 3);
    assert_true(pins[20].level);
    wr(0x20, 4, 4);
    assert_false(pins[20].level);
    assert_int_equal(rd(0x20, 8), 0);
}

static void test_periodic_legacy(void **state)
{
    /* as Linux does it */
    wr(0x10, 4, 0);
    wr(0xf0, 4, 0);
    wr(0xf4, 4, 0);
    wr(0x10, 4, 3);
    assert_true(legacy_on.level);
    wr(0x100, 4, 0x14c);
    wr(0x108, 4, 100000);
    wr(0x108, 4, 100000);
    dev_pass(&clk, 999999);
    assert_int_equal(legacy[0].rises, 0);
    dev_pass(&clk, 1);
    assert_int_equal(legacy[0].rises, 1);
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(legacy[0].rises, 1001);
    assert_int_equal(rd(0x108, 8), 100000 + 1001 * 100000);
    assert_int_equal(pins[0].rises + pins[2].rises, 0);
    dev_pass(&clk, 60 * NS_PER_S); /* over the 32-bit wrap */
    assert_int_equal(legacy[0].rises, 61001);
    wr(0x108, 4, 1); /* an absurd period must not stop time */
    dev_pass(&clk, 10000000);
    assert_true(legacy[0].rises < 72000);
    wr(0x10, 4, 1);
    assert_false(legacy_on.level);
}

static void test_state(void **state)
{
    assert_table_ok(hpet_table);
    wr(0x10, 4, 3);
    wr(0x100, 4, 0x14c);
    wr(0x108, 4, 1000);
    wr(0x108, 4, 1000);
    dev_pass(&clk, 25000);
    struct hpet_state saved = h.s;
    setup(NULL);
    dev_time = 25000;
    h.s = saved;
    hpet_restore(&h);
    assert_true(legacy_on.level);
    assert_int_equal(rd(0xf0, 8), 2500);
    dev_pass(&clk, 4999);
    assert_int_equal(legacy[0].rises, 0);
    dev_pass(&clk, 1);
    assert_int_equal(legacy[0].rises, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_identity_and_counter, setup),
        cmocka_unit_test_setup(test_one_shot, setup),
        cmocka_unit_test_setup(test_level, setup),
        cmocka_unit_test_setup(test_periodic_legacy, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
