#include "dev/i8254.h"

#include "dev.h"

static struct clock clk;
static struct wire line;
static struct i8254 p;

/* ns of n ticks, from the middle of a tick to the middle of another */
static void ticks(uint64_t n)
{
    uint64_t now = mul_div_u64(dev_time, I8254_HZ, NS_PER_S);
    dev_until(&clk, mul_div_u64(2 * (now + n) + 1, NS_PER_S, 2 * I8254_HZ));
}

static int setup(void **state)
{
    dev_clock(&clk);
    line = (struct wire){0};
    i8254_init(&p, &clk, NULL, wire_irq(&line));
    ticks(1000);
    return 0;
}

static unsigned read16(unsigned ch)
{
    unsigned lo = in(&p.io, ch);
    return lo | in(&p.io, ch) << 8;
}

static void write16(unsigned ch, unsigned v)
{
    out(&p.io, ch, v & 0xff);
    out(&p.io, ch, v >> 8);
}

static void test_mode0_interrupts_once(void **state)
{
    out(&p.io, 3, 0x30);
    assert_false(line.level);
    write16(0, 100);
    ticks(100);
    assert_false(line.level);
    ticks(1); /* the count was loaded on the first tick after the write */
    assert_true(line.level);
    assert_int_equal(read16(0), 0);
    ticks(5);
    assert_int_equal(read16(0), 0xfffb);
    assert_int_equal(line.rises, 2);
    out(&p.io, 0, 5); /* the first byte stops it and lowers the output */
    assert_false(line.level);
    ticks(1000);
    out(&p.io, 0, 0);
    ticks(6);
    assert_true(line.level);
}

static void test_mode2_periodic(void **state)
{
    out(&p.io, 3, 0x34);
    write16(0, 1000);
    line.rises = 0;
    ticks(1);
    assert_int_equal(read16(0), 1000);
    ticks(999);
    assert_int_equal(read16(0), 1);
    assert_int_equal(line.rises, 0);
    ticks(1);
    assert_int_equal(read16(0), 1000);
    assert_int_equal(line.rises, 1);
    ticks(10000);
    assert_int_equal(line.rises, 11);
    write16(0, 500); /* takes over at the end of the period */
    ticks(400);
    assert_int_equal(read16(0), 600);
    ticks(600);
    assert_int_equal(line.rises, 12);
    assert_int_equal(read16(0), 500);
    ticks(1000);
    assert_int_equal(line.rises, 14);
}

static void test_mode2_keeps_its_rate(void **state)
{
    out(&p.io, 3, 0x34);
    write16(0, 1193);
    line.rises = 0;
    dev_pass(&clk, 100 * NS_PER_S);
    assert_int_equal(line.rises, 100 * I8254_HZ / 1193);
}

static void test_mode3_square(void **state)
{
    out(&p.io, 3, 0x36);
    write16(0, 7);
    ticks(1);
    const char *want = "11110001111000";
    for (unsigned i = 0; want[i]; i++, ticks(1))
        assert_int_equal(line.level, want[i] - '0');
    out(&p.io, 3, 0x36);
    write16(0, 0); /* 65536: what a BIOS sets */
    ticks(1 + 32768);
    assert_false(line.level);
    ticks(32768);
    assert_true(line.level);
    assert_int_equal(read16(0), 0);
    ticks(1);
    assert_int_equal(read16(0), 0xfffe);
}

static void test_mode4_strobe(void **state)
{
    out(&p.io, 3, 0x38);
    line.rises = 0;
    write16(0, 10);
    ticks(10);
    assert_int_equal(line.rises, 0);
    ticks(2);
    assert_int_equal(line.rises, 1);
    ticks(100000);
    assert_int_equal(line.rises, 1);
}

static void test_channel2_and_port61(void **state)
{
    out(&p.port61, 0, 0);
    out(&p.io, 3, 0xb0);
    write16(2, 0x1000);
    ticks(0x2000);
    assert_int_equal(in(&p.port61, 0) & 0x23, 0); /* gate shut: stands still */
    assert_int_equal(read16(2), 0x1000);
    out(&p.port61, 0, 1);
    ticks(0x800);
    assert_int_equal(read16(2), 0x800);
    out(&p.port61, 0, 2);
    ticks(0x800);
    assert_int_equal(read16(2), 0x800);
    out(&p.port61, 0, 3);
    ticks(0x7ff);
    assert_int_equal(in(&p.port61, 0) & 0x23, 0x03);
    ticks(1);
    assert_int_equal(in(&p.port61, 0) & 0x23, 0x23);
    unsigned toggles = 0, last = in(&p.port61, 0) & 0x10;
    for (unsigned i = 0; i < 180; i++, ticks(1)) {
        unsigned v = in(&p.port61, 0) & 0x10;
        toggles += v != last;
        last = v;
    }
    assert_in_range(toggles, 9, 10);
}

static void test_mode1_and_5_wait_for_the_gate(void **state)
{
    out(&p.port61, 0, 0);
    out(&p.io, 3, 0xb2);
    write16(2, 20);
    ticks(100);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0x20);
    out(&p.port61, 0, 1);
    ticks(1);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0);
    ticks(10);
    out(&p.port61, 0, 0);
    out(&p.port61, 0, 1); /* triggers anew */
    ticks(20);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0);
    ticks(1);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0x20);
    out(&p.io, 3, 0xba);
    write16(2, 20);
    out(&p.port61, 0, 0);
    out(&p.port61, 0, 1);
    ticks(20);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0x20);
    ticks(1);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0);
    ticks(1);
    assert_int_equal(in(&p.port61, 0) & 0x20, 0x20);
}

static void test_latch_readback_bcd(void **state)
{
    out(&p.io, 3, 0x35); /* mode 2, BCD */
    write16(0, 0x1234);
    ticks(5);
    assert_int_equal(read16(0), 0x1230);
    out(&p.io, 3, 0x00); /* latch */
    ticks(100);
    out(&p.io, 3, 0x00); /* again: ignored until it was read */
    assert_int_equal(read16(0), 0x1230);
    assert_int_equal(read16(0), 0x1130);
    out(&p.io, 3, 0xc2); /* read back count and status of channel 0 */
    ticks(10);
    assert_int_equal(in(&p.io, 0), 0xb5);
    assert_int_equal(read16(0), 0x1130);
    out(&p.io, 3, 0x36);
    out(&p.io, 3, 0xe2);
    assert_int_equal(in(&p.io, 0), 0xf6); /* null count: nothing loaded yet */
    out(&p.io, 3, 0x14);                  /* low byte only */
    out(&p.io, 0, 200);
    ticks(11);
    assert_int_equal(in(&p.io, 0), 190);
    assert_int_equal(in(&p.io, 0), 190);
    out(&p.io, 3, 0x24); /* high byte only */
    out(&p.io, 0, 2);
    ticks(2);
    assert_int_equal(in(&p.io, 0), 1);
}

static void test_state(void **state)
{
    assert_table_ok(i8254_table);
    out(&p.io, 3, 0x34);
    write16(0, 1000);
    ticks(300);
    struct i8254_state saved = p.s;
    uint64_t then = dev_time;
    ticks(5000);
    unsigned value = read16(0), rises = line.rises;
    setup(NULL);
    dev_time = then;
    p.s = saved;
    line.rises = rises - 5;
    line.level = true;
    i8254_restore(&p);
    ticks(5000);
    assert_int_equal(read16(0), value);
    assert_int_equal(line.rises, rises);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_mode0_interrupts_once, setup),
        cmocka_unit_test_setup(test_mode2_periodic, setup),
        cmocka_unit_test_setup(test_mode2_keeps_its_rate, setup),
        cmocka_unit_test_setup(test_mode3_square, setup),
        cmocka_unit_test_setup(test_mode4_strobe, setup),
        cmocka_unit_test_setup(test_channel2_and_port61, setup),
        cmocka_unit_test_setup(test_mode1_and_5_wait_for_the_gate, setup),
        cmocka_unit_test_setup(test_latch_readback_bcd, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
