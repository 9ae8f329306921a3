#include "dev/debug_ports.h"

#include "dev.h"

static char text[16];
static unsigned text_len, exit_code;

static void chr_write(void *opaque, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && text_len < sizeof text; i++)
        text[text_len++] = (char)bytes[i];
}

static void on_exit_port(void *opaque, unsigned code)
{
    exit_code = code;
}

static void test_ports(void **state)
{
    struct chardev chr = {.write = chr_write};
    struct debug_ports d;
    debug_ports_init(&d, &chr, on_exit_port, NULL);
    out(&d.e9, 0, 'o');
    out(&d.bios, 0, 'k');
    assert_memory_equal(text, "ok", 2);
    assert_int_equal(in(&d.e9, 0), 0xe9);
    assert_int_equal(in(&d.bios, 0), 0xe9);
    out(&d.post, 0, 0x37);
    assert_int_equal(in(&d.post, 0), 0x37);
    d.exit.ops->write(&d, 0, 4, 0x10);
    assert_int_equal(exit_code, 0x10);
    debug_ports_init(&d, NULL, NULL, NULL);
    assert_int_equal(in(&d.bios, 0), 0xff); /* SeaBIOS then keeps quiet */
    out(&d.bios, 0, 'x');
    out(&d.exit, 0, 1);
    assert_table_ok(debug_ports_table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
    };
    return RUN(tests);
}
