#include "dev/ns16550.h"

#include "dev.h"

static struct clock clk;
static struct wire line;
static struct ns16550 u;
static struct chardev chr;
static char sent[64];
static unsigned sent_count;

static void chr_write(void *opaque, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && sent_count < sizeof sent; i++)
        sent[sent_count++] = (char)bytes[i];
}

static int setup(void **state)
{
    dev_clock(&clk);
    line = (struct wire){0};
    sent_count = 0;
    chr = (struct chardev){.write = chr_write};
    ns16550_init(&u, "com1", &clk, NULL, wire_irq(&line), &chr);
    return 0;
}

static void type(const char *text)
{
    chr.sink.input(chr.sink.dev, (const uint8_t *)text, strlen(text));
}

/* The steps by which Linux's 8250 driver and SeaBIOS find out what they have. */
static void test_detection(void **state)
{
    out(&u.io, 7, 0x5a);
    assert_int_equal(in(&u.io, 7), 0x5a);
    out(&u.io, 1, 0xff);
    assert_int_equal(in(&u.io, 1), 0x0f);
    out(&u.io, 1, 0);
    assert_int_equal(in(&u.io, 2), 0x01);
    out(&u.io, 2, 0x01);
    assert_int_equal(in(&u.io, 2), 0xc1);
    out(&u.io, 3, 0x80); /* 16650 and 16750 have more here: EFR, a 64-byte FIFO */
    out(&u.io, 2, 0x21);
    assert_int_equal(in(&u.io, 2) >> 5, 6);
    out(&u.io, 3, 0xbf);
    assert_int_equal(in(&u.io, 2), 0xc1);
    out(&u.io, 3, 0x03);
    out(&u.io, 4, 0x10 | 0x0a);
    assert_int_equal(in(&u.io, 6) & 0xf0, 0x90);
    out(&u.io, 4, 0);
    assert_int_equal(in(&u.io, 6) & 0xf0, 0xb0);
}

static void test_divisor_and_lcr(void **state)
{
    out(&u.io, 3, 0x80);
    out(&u.io, 0, 0x0c);
    out(&u.io, 1, 0x01);
    assert_int_equal(in(&u.io, 0), 0x0c);
    assert_int_equal(in(&u.io, 1), 0x01);
    out(&u.io, 3, 0x03);
    assert_int_equal(in(&u.io, 3), 0x03);
    assert_int_equal(in(&u.io, 1), 0x00);
}

static void test_transmit_interrupt(void **state)
{
    out(&u.io, 1, 2);
    assert_true(line.level);
    assert_int_equal(in(&u.io, 2), 0x02);
    assert_false(line.level); /* reading IIR answered it */
    assert_int_equal(in(&u.io, 2), 0x01);
    unsigned before = line.rises;
    out(&u.io, 0, 'x');
    assert_int_equal(line.rises, before + 1);
    out(&u.io, 0, 'y'); /* each byte is an edge of its own */
    assert_int_equal(line.rises, before + 2);
    assert_int_equal(in(&u.io, 5), 0x60);
    assert_memory_equal(sent, "xy", 2);
    assert_int_equal(in(&u.io, 2), 0x02);
    out(&u.io, 1, 0);
    out(&u.io, 1, 2); /* enabling it again asks again: Linux's test for THRE bugs */
    assert_int_equal(in(&u.io, 2), 0x02);
}

static void test_receive_without_fifo(void **state)
{
    out(&u.io, 1, 1);
    assert_int_equal(chr.sink.room(chr.sink.dev), 1);
    type("a");
    assert_int_equal(chr.sink.room(chr.sink.dev), 0);
    assert_true(line.level);
    assert_int_equal(in(&u.io, 2), 0x04);
    assert_int_equal(in(&u.io, 5), 0x61);
    assert_int_equal(in(&u.io, 0), 'a');
    assert_false(line.level);
    assert_int_equal(in(&u.io, 5), 0x60);
    type("bc"); /* a back end that ignores room() */
    assert_int_equal(in(&u.io, 5), 0x63);
    assert_int_equal(in(&u.io, 5), 0x61);
    assert_int_equal(in(&u.io, 0), 'c');
}

static void test_trigger_level_and_timeout(void **state)
{
    out(&u.io, 3, 0x80);
    out(&u.io, 0, 12); /* 9600 baud */
    out(&u.io, 3, 0x03);
    out(&u.io, 2, 0x41); /* trigger at 4 */
    out(&u.io, 1, 1);
    assert_int_equal(chr.sink.room(chr.sink.dev), 16);
    type("abc");
    assert_false(line.level);
    dev_pass(&clk, 4000000);
    assert_false(line.level);
    dev_pass(&clk, 200000); /* 4 characters of 10 bits: 4.17 ms */
    assert_true(line.level);
    assert_int_equal(in(&u.io, 2), 0xcc);
    assert_int_equal(in(&u.io, 0), 'a');
    assert_false(line.level);
    type("de");
    assert_int_equal(in(&u.io, 2), 0xc4);
    assert_int_equal(in(&u.io, 0), 'b');
    assert_int_equal(in(&u.io, 2), 0xc1);
    dev_pass(&clk, 5000000);
    assert_int_equal(in(&u.io, 2), 0xcc);
    out(&u.io, 2, 0x43); /* clear */
    assert_int_equal(in(&u.io, 2), 0xc1);
    assert_int_equal(in(&u.io, 5), 0x60);
}

static void test_overrun_and_break(void **state)
{
    out(&u.io, 2, 0x01);
    out(&u.io, 1, 5);
    type("0123456789abcdef");
    assert_int_equal(chr.sink.room(chr.sink.dev), 0);
    type("g");
    assert_int_equal(in(&u.io, 2), 0xc6);
    assert_int_equal(in(&u.io, 5), 0x63);
    for (unsigned i = 0; i < 15; i++)
        in(&u.io, 0);
    chr.sink.brk(chr.sink.dev);
    assert_int_equal(in(&u.io, 5), 0xe1); /* some byte in the FIFO has an error, not the top one */
    assert_int_equal(in(&u.io, 0), 'f');
    assert_int_equal(in(&u.io, 2), 0xc6);
    assert_int_equal(in(&u.io, 5), 0x71);
    assert_int_equal(in(&u.io, 0), 0);
    assert_int_equal(in(&u.io, 5), 0x60);
}

static void test_loopback_and_modem_interrupt(void **state)
{
    out(&u.io, 4, 0x10);
    in(&u.io, 6);
    out(&u.io, 1, 8);
    assert_false(line.level);
    out(&u.io, 4, 0x14); /* OUT1 -> RI: the rise doesn't count */
    assert_false(line.level);
    out(&u.io, 4, 0x13);
    assert_true(line.level);
    assert_int_equal(in(&u.io, 2), 0x00);
    assert_int_equal(in(&u.io, 6), 0x37); /* CTS and DSR rose, RI fell */
    assert_false(line.level);
    out(&u.io, 0, 'L');
    assert_int_equal(sent_count, 0);
    assert_int_equal(in(&u.io, 5), 0x61);
    assert_int_equal(in(&u.io, 0), 'L');
    assert_int_equal(chr.sink.room(chr.sink.dev), 0);
}

static void test_input_waits_for_a_listener(void **state)
{
    assert_int_equal(chr.sink.room(chr.sink.dev), 0);
    for (unsigned i = 0; i < 16; i++)
        in(&u.io, 5);
    assert_int_equal(chr.sink.room(chr.sink.dev), 1);
    out(&u.io, 2, 7);
    assert_int_equal(chr.sink.room(chr.sink.dev), 0);
    out(&u.io, 4, 2);
    assert_int_equal(chr.sink.room(chr.sink.dev), 16);
}

static void test_state(void **state)
{
    assert_table_ok(ns16550_table);
    out(&u.io, 2, 0x41);
    out(&u.io, 1, 1);
    type("ab");
    struct ns16550_state saved = u.s;
    dev_pass(&clk, 1000000);
    assert_true(line.level);
    setup(NULL);
    u.s = saved;
    ns16550_restore(&u);
    assert_false(line.level);
    dev_pass(&clk, 1000000);
    assert_true(line.level);
    assert_int_equal(in(&u.io, 0), 'a');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_detection, setup),
        cmocka_unit_test_setup(test_divisor_and_lcr, setup),
        cmocka_unit_test_setup(test_transmit_interrupt, setup),
        cmocka_unit_test_setup(test_receive_without_fifo, setup),
        cmocka_unit_test_setup(test_trigger_level_and_timeout, setup),
        cmocka_unit_test_setup(test_overrun_and_break, setup),
        cmocka_unit_test_setup(test_loopback_and_modem_interrupt, setup),
        cmocka_unit_test_setup(test_input_waits_for_a_listener, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
