#include "dev/i8259.h"

#include "dev.h"

static struct wire intr;
static struct i8259 p;

static void program(unsigned icw4)
{
    out(&p.io[0], 0, 0x11);
    out(&p.io[0], 1, 0x20);
    out(&p.io[0], 1, 0x04);
    out(&p.io[0], 1, icw4);
    out(&p.io[1], 0, 0x11);
    out(&p.io[1], 1, 0x28);
    out(&p.io[1], 1, 0x02);
    out(&p.io[1], 1, icw4);
}

static int setup(void **state)
{
    intr = (struct wire){0};
    i8259_init(&p, NULL, wire_irq(&intr));
    program(1);
    return 0;
}

static void pulse(unsigned n)
{
    i8259_set(&p, n, true);
    i8259_set(&p, n, false);
}

static void test_priority_and_eoi(void **state)
{
    pulse(4);
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x24);
    assert_false(intr.level);
    pulse(5); /* lower: waits */
    assert_false(intr.level);
    pulse(1); /* higher: nests */
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x21);
    out(&p.io[0], 0, 0x0b);
    assert_int_equal(in(&p.io[0], 0), 0x12);
    out(&p.io[0], 0, 0x0a);
    assert_int_equal(in(&p.io[0], 0), 0x20);
    out(&p.io[0], 0, 0x20); /* ends 1 */
    assert_false(intr.level);
    out(&p.io[0], 0, 0x64); /* ends 4, by name */
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x25);
}

static void test_cascade(void **state)
{
    pulse(12);
    pulse(8);
    assert_int_equal(i8259_ack(&p), 0x28);
    out(&p.io[0], 0, 0x0b);
    assert_int_equal(in(&p.io[0], 0), 0x04);
    assert_false(intr.level);
    out(&p.io[1], 0, 0x20);
    assert_false(intr.level); /* the master still has the cascade in service */
    out(&p.io[0], 0, 0x20);
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x2c);
    out(&p.io[1], 0, 0x64);
    out(&p.io[0], 0, 0x62);
    assert_false(intr.level);
}

static void test_mask(void **state)
{
    out(&p.io[0], 1, 0xfb);
    assert_int_equal(in(&p.io[0], 1), 0xfb);
    pulse(0);
    assert_false(intr.level);
    out(&p.io[0], 1, 0xfa);
    assert_true(intr.level);
    out(&p.io[0], 0, 0x11); /* a new initialisation forgets the edge and the mask */
    assert_false(intr.level);
    assert_int_equal(in(&p.io[0], 1), 0);
}

static void test_spurious(void **state)
{
    pulse(3);
    out(&p.io[0], 1, 0xff);
    assert_int_equal(i8259_ack(&p), 0x27);
    out(&p.io[0], 0, 0x0b);
    assert_int_equal(in(&p.io[0], 0), 0); /* nothing in service: wants no EOI */
    out(&p.io[0], 1, 0);
    assert_int_equal(i8259_ack(&p), 0x23);
    out(&p.io[0], 0, 0x20);
    pulse(14);
    out(&p.io[1], 1, 0xff); /* between the edge and the INTA cycles */
    assert_int_equal(i8259_ack(&p), 0x2f);
    assert_int_equal(in(&p.io[0], 0), 4); /* the cascade is: the master wants one */
    out(&p.io[1], 0, 0x0b);
    assert_int_equal(in(&p.io[1], 0), 0);
}

static void test_auto_eoi(void **state)
{
    program(3);
    pulse(6);
    pulse(7);
    assert_int_equal(i8259_ack(&p), 0x26);
    assert_int_equal(i8259_ack(&p), 0x27);
    out(&p.io[0], 0, 0x80); /* rotate in automatic EOI */
    pulse(1);
    assert_int_equal(i8259_ack(&p), 0x21);
    pulse(1);
    pulse(3);
    assert_int_equal(i8259_ack(&p), 0x23);
    assert_int_equal(i8259_ack(&p), 0x21);
}

static void test_rotation(void **state)
{
    pulse(3);
    i8259_ack(&p);
    out(&p.io[0], 0, 0xa0); /* rotate on EOI: 3 becomes the lowest */
    pulse(3);
    pulse(4);
    assert_int_equal(i8259_ack(&p), 0x24);
    out(&p.io[0], 0, 0x20);
    assert_int_equal(i8259_ack(&p), 0x23);
    out(&p.io[0], 0, 0xe3); /* by name: EOI 3, and 3 lowest */
    out(&p.io[0], 0, 0xc6); /* 6 lowest: 7 is the highest */
    pulse(0);
    pulse(7);
    assert_int_equal(i8259_ack(&p), 0x27);
}

static void test_special_mask(void **state)
{
    pulse(1);
    i8259_ack(&p);
    pulse(5);
    assert_false(intr.level);
    out(&p.io[0], 1, 0x02); /* mask what is in service … */
    assert_false(intr.level);
    out(&p.io[0], 0, 0x68); /* … and in special mask mode the lower ones come through */
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x25);
    out(&p.io[0], 0, 0x20); /* must end 5, not the masked 1 */
    out(&p.io[0], 0, 0x0b);
    assert_int_equal(in(&p.io[0], 0), 0x02);
    out(&p.io[0], 0, 0x48);
    pulse(5);
    assert_false(intr.level);
}

static void test_special_fully_nested(void **state)
{
    program(0x11);
    pulse(12);
    assert_int_equal(i8259_ack(&p), 0x2c);
    pulse(9); /* more urgent on the same slave */
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x29);
}

static void test_poll(void **state)
{
    out(&p.io[0], 0, 0x0c);
    assert_int_equal(in(&p.io[0], 0), 0);
    pulse(6);
    out(&p.io[0], 0, 0x0c);
    assert_int_equal(in(&p.io[0], 0), 0x86);
    assert_false(intr.level);
    out(&p.io[0], 0, 0x0b);
    assert_int_equal(in(&p.io[0], 0), 0x40);
}

static void test_level(void **state)
{
    out(&p.elcr, 0, 0xff);
    out(&p.elcr, 1, 0xff);
    assert_int_equal(in(&p.elcr, 0), 0xf8);
    assert_int_equal(in(&p.elcr, 1), 0xde);
    i8259_set(&p, 11, true);
    assert_int_equal(i8259_ack(&p), 0x2b);
    out(&p.io[1], 0, 0x20);
    out(&p.io[0], 0, 0x20);
    assert_true(intr.level); /* still up: again */
    assert_int_equal(i8259_ack(&p), 0x2b);
    i8259_set(&p, 11, false);
    out(&p.io[1], 0, 0x20);
    out(&p.io[0], 0, 0x20);
    assert_false(intr.level);
    i8259_set(&p, 5, true);
    i8259_set(&p, 5, false); /* a level that went away asks no more */
    assert_false(intr.level);
}

static void test_initialisation_needs_new_edges(void **state)
{
    i8259_set(&p, 4, true);
    program(1);
    assert_false(intr.level);
    i8259_set(&p, 4, true);
    assert_false(intr.level);
    i8259_set(&p, 4, false);
    i8259_set(&p, 4, true);
    assert_true(intr.level);
}

static void test_state(void **state)
{
    assert_table_ok(i8259_table);
    pulse(12);
    pulse(3);
    struct i8259_state saved = p.s;
    setup(NULL);
    p.s = saved;
    i8259_restore(&p);
    assert_true(intr.level);
    assert_int_equal(i8259_ack(&p), 0x2c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_priority_and_eoi, setup),
        cmocka_unit_test_setup(test_cascade, setup),
        cmocka_unit_test_setup(test_mask, setup),
        cmocka_unit_test_setup(test_spurious, setup),
        cmocka_unit_test_setup(test_auto_eoi, setup),
        cmocka_unit_test_setup(test_rotation, setup),
        cmocka_unit_test_setup(test_special_mask, setup),
        cmocka_unit_test_setup(test_special_fully_nested, setup),
        cmocka_unit_test_setup(test_poll, setup),
        cmocka_unit_test_setup(test_level, setup),
        cmocka_unit_test_setup(test_initialisation_needs_new_edges, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
