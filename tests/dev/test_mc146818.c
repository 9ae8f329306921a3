#include "dev/mc146818.h"

#include "dev.h"

#define MS 1000000ull

static struct clock clk;
static struct wire line;
static struct mc146818 r;

/* 2024-02-28 23:59:58 UTC, a Wednesday */
#define START 1709164798ull

static int setup(void **state)
{
    dev_clock(&clk);
    line = (struct wire){0};
    mc146818_init(&r, &clk, NULL, wire_irq(&line), START);
    return 0;
}

static unsigned get(unsigned index)
{
    out(&r.io, 0, index);
    return in(&r.io, 1);
}

static void put(unsigned index, unsigned v)
{
    out(&r.io, 0, index);
    out(&r.io, 1, v);
}

static void test_time_bcd(void **state)
{
    assert_int_equal(get(0), 0x58);
    assert_int_equal(get(2), 0x59);
    assert_int_equal(get(4), 0x23);
    assert_int_equal(get(6), 4);
    assert_int_equal(get(7), 0x28);
    assert_int_equal(get(8), 0x02);
    assert_int_equal(get(9), 0x24);
    assert_int_equal(get(0x32), 0x20);
    dev_pass(&clk, 2 * NS_PER_S);
    assert_int_equal(get(0), 0);
    assert_int_equal(get(4), 0);
    assert_int_equal(get(6), 5);
    assert_int_equal(get(7), 0x29); /* a leap year */
    dev_pass(&clk, 86400 * NS_PER_S);
    assert_int_equal(get(7), 0x01);
    assert_int_equal(get(8), 0x03);
    assert_int_equal(get(0x0d), 0x80);
}

static void test_time_binary_12h(void **state)
{
    put(0x0b, 0x04);
    assert_int_equal(get(4), 0x8b); /* 11 pm */
    assert_int_equal(get(0), 58);
    dev_pass(&clk, 2 * NS_PER_S);
    assert_int_equal(get(4), 12); /* midnight */
    dev_pass(&clk, 12 * 3600 * NS_PER_S);
    assert_int_equal(get(4), 0x8c); /* noon */
}

static void test_set(void **state)
{
    dev_pass(&clk, 300 * MS);
    put(0x0b, 0x82);
    put(0, 0x59);
    put(2, 0x59);
    put(4, 0x23);
    put(6, 0x06);
    put(7, 0x31);
    put(8, 0x12);
    put(9, 0x99);
    put(0x32, 0x19);
    dev_pass(&clk, 5 * NS_PER_S); /* stands still */
    assert_int_equal(get(0), 0x59);
    assert_int_equal(get(0x0a) & 0x80, 0);
    put(0x0b, 0x02);
    dev_pass(&clk, 900 * MS);
    assert_int_equal(get(0), 0x00);
    assert_int_equal(get(9), 0x00);
    assert_int_equal(get(0x32), 0x20);
    assert_int_equal(get(8), 0x01);
    assert_int_equal(get(6), 0x07);
    put(4, 0x77); /* nonsense is still some time */
    put(8, 0xff);
    assert_in_range(get(8), 1, 0x12);
}

static void test_uip(void **state)
{
    dev_until(&clk, 997 * MS);
    assert_int_equal(get(0x0a), 0x26);
    dev_until(&clk, 998 * MS);
    assert_int_equal(get(0x0a), 0xa6);
    assert_int_equal(get(0), 0x58);
    dev_until(&clk, NS_PER_S);
    assert_int_equal(get(0x0a), 0x26);
    assert_int_equal(get(0), 0x59);
}

static void test_update_interrupt(void **state)
{
    put(0x0b, 0x12);
    dev_until(&clk, 999 * MS);
    assert_false(line.level);
    dev_until(&clk, NS_PER_S);
    assert_true(line.level);
    dev_pass(&clk, 3 * NS_PER_S);
    assert_int_equal(line.rises, 1);   /* until register C is read */
    assert_int_equal(get(0x0c), 0xf0); /* midnight has passed, the alarm's reset value */
    assert_false(line.level);
    assert_int_equal(get(0x0c), 0);
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(line.rises, 2);
}

static void test_flags_without_interrupts(void **state)
{
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(get(0x0c), 0x50);
    assert_int_equal(line.rises, 0);
    assert_int_equal(clk.next, CLOCK_NEVER);
}

static void test_periodic(void **state)
{
    unsigned n = 0;
    put(0x0b, 0x42); /* 1024 Hz */
    dev_pass(&clk, 1000);
    for (unsigned i = 0; i < 2000; i++) {
        dev_pass(&clk, MS / 2);
        if (line.level) {
            n++;
            assert_int_equal(get(0x0c) & 0xc0, 0xc0);
        }
    }
    assert_int_equal(n, 1024);
    put(0x0a, 0x2f);
    get(0x0c);
    line.rises = 0;
    dev_pass(&clk, 600 * MS); /* 2 Hz */
    assert_int_equal(line.rises, 1);
}

static void test_alarm(void **state)
{
    put(1, 0x05);
    put(3, 0x00);
    put(5, 0x00);
    put(0x0b, 0x22);
    dev_pass(&clk, 6 * NS_PER_S);
    assert_false(line.level);
    dev_pass(&clk, NS_PER_S);
    assert_true(line.level); /* 00:00:05 */
    assert_int_equal(get(0x0c) & 0xb0, 0xb0);
    put(5, 0xff); /* every hour */
    dev_pass(&clk, 3600 * NS_PER_S);
    assert_true(line.level);
    get(0x0c);
    put(1, 0xff);
    put(3, 0xff); /* every second */
    dev_pass(&clk, NS_PER_S);
    assert_true(line.level);
    put(1, 0x99); /* never */
    get(0x0c);
    dev_pass(&clk, 100000 * NS_PER_S);
    assert_false(line.level);
}

static void test_memory_and_nmi_mask(void **state)
{
    put(0x80 | 0x5f, 0x77);
    assert_true(r.s.nmi_masked);
    assert_int_equal(get(0x5f), 0x77);
    assert_false(r.s.nmi_masked);
    put(0x0d, 0);
    assert_int_equal(get(0x0d), 0x80);
    put(0x0b, 0x72);
    mc146818_reset(&r);
    assert_int_equal(get(0x0b), 0x02);
    assert_int_equal(get(0x5f), 0x77);
    mc146818_set_nvram(&r, 0x5f, 1);
    assert_int_equal(get(0x5f), 1);
}

static void test_state(void **state)
{
    assert_table_ok(mc146818_table);
    put(0x0b, 0x12);
    dev_pass(&clk, 300 * MS);
    struct mc146818_state saved = r.s;
    setup(NULL);
    dev_time = 300 * MS;
    r.s = saved;
    mc146818_restore(&r);
    dev_pass(&clk, 699 * MS);
    assert_false(line.level);
    dev_pass(&clk, MS);
    assert_true(line.level);
    assert_int_equal(get(0), 0x59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_time_bcd, setup),
        cmocka_unit_test_setup(test_time_binary_12h, setup),
        cmocka_unit_test_setup(test_set, setup),
        cmocka_unit_test_setup(test_uip, setup),
        cmocka_unit_test_setup(test_update_interrupt, setup),
        cmocka_unit_test_setup(test_flags_without_interrupts, setup),
        cmocka_unit_test_setup(test_periodic, setup),
        cmocka_unit_test_setup(test_alarm, setup),
        cmocka_unit_test_setup(test_memory_and_nmi_mask, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
