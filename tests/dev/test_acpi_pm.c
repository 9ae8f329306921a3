#include "dev/acpi_pm.h"

#include "dev.h"

static struct clock clk;
static struct wire sci;
static struct acpi_pm p;
static unsigned offs;

static void on_off(void *opaque)
{
    offs++;
}

static int setup(void **state)
{
    dev_clock(&clk);
    sci = (struct wire){0};
    offs = 0;
    acpi_pm_init(&p, &clk, NULL, wire_irq(&sci), on_off, NULL);
    return 0;
}

static unsigned rd(unsigned offset, unsigned size)
{
    return (unsigned)p.io.ops->read(&p, offset, size);
}

static void wr(unsigned offset, unsigned size, unsigned v)
{
    p.io.ops->write(&p, offset, size, v);
}

static void test_timer(void **state)
{
    dev_pass(&clk, NS_PER_S);
    assert_int_equal(rd(8, 4), 3579545);
    assert_int_equal(rd(8, 2), 3579545 & 0xffff);
    assert_int_equal(rd(10, 1), 3579545 >> 16);
    dev_pass(&clk, 4 * NS_PER_S);
    assert_int_equal(rd(8, 4), 5 * 3579545 - 0x1000000); /* 24 bits */
    p.wide = true;
    assert_int_equal(rd(8, 4), 5 * 3579545);
}

static void test_timer_interrupt(void **state)
{
    wr(4, 2, 1);
    wr(2, 2, 1);
    dev_pass(&clk, 2343 * 1000000ull); /* bit 23 changes after 2.3435 s */
    assert_false(sci.level);
    dev_pass(&clk, 1000000);
    assert_true(sci.level);
    assert_int_equal(rd(0, 4), 0x00010001);
    wr(0, 2, 1);
    assert_false(sci.level);
    dev_pass(&clk, 2344 * 1000000ull);
    assert_true(sci.level);
    wr(2, 2, 0);
    assert_false(sci.level);
    wr(0, 2, 1);
    dev_pass(&clk, 3 * NS_PER_S);
    assert_int_equal(rd(0, 2), 1); /* the flag comes without the interrupt too */
}

static void test_button_and_enable(void **state)
{
    assert_false(acpi_pm_button(&p));
    assert_int_equal(rd(0, 2), 0x100);
    wr(0, 2, 0x100);
    p.smi.ops->write(&p, 0, 1, ACPI_PM_ENABLE);
    assert_int_equal(rd(4, 2), 1);
    wr(3, 1, 1); /* by bytes */
    assert_int_equal(rd(2, 2), 0x100);
    assert_true(acpi_pm_button(&p));
    assert_true(sci.level);
    wr(0, 1, 0xff);
    assert_true(sci.level);
    wr(1, 1, 0x01);
    assert_false(sci.level);
    p.smi.ops->write(&p, 0, 1, ACPI_PM_DISABLE);
    assert_int_equal(rd(4, 2), 0);
    p.smi.ops->write(&p, 1, 1, 0x42);
    assert_int_equal(p.smi.ops->read(&p, 1, 1), 0x42);
}

static void test_general_events(void **state)
{
    wr(4, 2, 1);
    acpi_pm_event(&p, 3);
    assert_false(sci.level);
    wr(0x0e, 2, 8);
    assert_true(sci.level);
    assert_int_equal(rd(0x0c, 4), 0x00080008);
    wr(0x0c, 2, 8);
    assert_false(sci.level);
}

static void test_sleep(void **state)
{
    wr(4, 2, 0x0401); /* a type without SLP_EN */
    assert_int_equal(offs, 0);
    wr(4, 2, 0x2401); /* a type that isn't there */
    assert_int_equal(offs, 0);
    assert_int_equal(rd(0, 2) & 0x8000, 0x8000);
    assert_int_equal(rd(4, 2), 0x0401);
    wr(4, 2, 0x2001);
    assert_int_equal(offs, 1);
}

static void test_state(void **state)
{
    assert_table_ok(acpi_pm_table);
    wr(4, 2, 1);
    wr(2, 2, 0x101);
    dev_pass(&clk, NS_PER_S);
    struct acpi_pm_state saved = p.s;
    setup(NULL);
    dev_time = NS_PER_S;
    p.s = saved;
    acpi_pm_restore(&p);
    assert_int_equal(rd(8, 4), 3579545);
    dev_pass(&clk, 2 * NS_PER_S);
    assert_true(sci.level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timer, setup),
        cmocka_unit_test_setup(test_timer_interrupt, setup),
        cmocka_unit_test_setup(test_button_and_enable, setup),
        cmocka_unit_test_setup(test_general_events, setup),
        cmocka_unit_test_setup(test_sleep, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
