#include "dev/i8042.h"

#include "dev.h"

static struct wire kbd, aux, a20, reset;
static struct i8042 k;

static int setup(void **state)
{
    kbd = aux = a20 = reset = (struct wire){0};
    i8042_init(&k, NULL, wire_irq(&kbd), wire_irq(&aux), wire_irq(&a20), wire_irq(&reset));
    return 0;
}

static void command(unsigned v)
{
    out(&k.command, 0, v);
}

static void data(unsigned v)
{
    out(&k.data, 0, v);
}

static unsigned status(void)
{
    return in(&k.command, 0);
}

/* Everything that waits, in hexadecimal; bytes of the mouse marked. */
static const char *drain(void)
{
    static char text[200];
    unsigned n = 0;
    text[0] = 0;
    while ((status() & 1) && n < 150) {
        bool mouse = status() & 0x20;
        n +=
            (unsigned)sprintf(text + n, "%s%s%02x", n ? " " : "", mouse ? "m" : "", in(&k.data, 0));
    }
    return text;
}

static const char *ask(unsigned v)
{
    command(v);
    return drain();
}

static const char *tell_kbd(unsigned v)
{
    data(v);
    return drain();
}

static const char *tell_mouse(unsigned v)
{
    command(0xd4);
    data(v);
    return drain();
}

static void test_controller(void **state)
{
    assert_int_equal(status(), 0x14);
    assert_string_equal(ask(0xaa), "55");
    assert_int_equal(status(), 0x1c);
    assert_string_equal(ask(0xab), "00");
    assert_string_equal(ask(0xa9), "00");
    assert_string_equal(ask(0x20), "65");
    command(0x60);
    data(0x47);
    assert_string_equal(ask(0x20), "47");
    command(0xa7);
    assert_string_equal(ask(0x20), "67");
    command(0xad);
    assert_string_equal(ask(0x20), "77");
    command(0x65);
    data(0x5a);
    assert_string_equal(ask(0x25), "5a");
    assert_string_equal(ask(0xd0), "cf");
    command(0xd2);
    data(0x33);
    assert_string_equal(drain(), "33");
    command(0xd3); /* Linux looks for a mouse port, and for a multiplexer, by this */
    data(0xa4);
    assert_string_equal(drain(), "ma4");
    assert_int_equal(aux.rises, 1);
}

static void test_keyboard_commands(void **state)
{
    assert_string_equal(tell_kbd(0xff), "fa aa");
    assert_string_equal(tell_kbd(0xf2), "fa ab 41");
    command(0x60);
    data(0x05); /* translation off */
    assert_string_equal(tell_kbd(0xf2), "fa ab 83");
    assert_string_equal(tell_kbd(0xed), "fa");
    assert_string_equal(tell_kbd(0x07), "fa");
    assert_int_equal(k.s.leds, 7);
    assert_string_equal(tell_kbd(0xf3), "fa");
    assert_string_equal(tell_kbd(0x00), "fa");
    assert_string_equal(tell_kbd(0xee), "ee");
    assert_string_equal(tell_kbd(0xf0), "fa");
    assert_string_equal(tell_kbd(0x00), "fa 02");
    assert_string_equal(tell_kbd(0x12), "fe");
    assert_string_equal(tell_kbd(0xf5), "fa");
    i8042_key(&k, 0x1e, true);
    assert_string_equal(drain(), "");
    assert_string_equal(tell_kbd(0xf4), "fa");
    i8042_key(&k, 0x1e, true);
    assert_string_equal(drain(), "1c");
    assert_string_equal(tell_kbd(0xfe), "1c");
}

static void test_keys_translated(void **state)
{
    assert_true(i8042_type(&k, 'a'));
    assert_int_equal(kbd.rises, 1);
    assert_int_equal(status(), 0x15);
    assert_string_equal(drain(), "1e 9e");
    assert_int_equal(kbd.rises, 2); /* an edge a byte */
    assert_true(i8042_type(&k, 'A'));
    assert_string_equal(drain(), "2a 1e 9e aa");
    i8042_key(&k, KEY_UP, true);
    i8042_key(&k, KEY_UP, false);
    assert_string_equal(drain(), "e0 48 e0 c8");
    i8042_key(&k, KEY_PAUSE, true);
    i8042_key(&k, KEY_PAUSE, false);
    assert_string_equal(drain(), "e1 1d 45 e1 9d c5");
    for (unsigned key = 1; key <= 0x58; key++) {
        char want[8];
        i8042_key(&k, key, true);
        sprintf(want, "%02x", key);
        assert_string_equal(drain(), want);
    }
}

static void test_keys_set2(void **state)
{
    command(0x60);
    data(0x05);
    i8042_key(&k, KEY_F1 + 6, true);
    i8042_key(&k, KEY_DELETE, true);
    i8042_key(&k, KEY_DELETE, false);
    assert_string_equal(drain(), "83 e0 71 e0 f0 71");
    i8042_key(&k, KEY_PAUSE, true);
    assert_string_equal(drain(), "e1 14 77 e1 f0 14 f0 77");
}

static void test_queue_is_bounded_and_replies_overtake(void **state)
{
    command(0xad);
    while (i8042_type(&k, 'x'))
        ;
    assert_true(i8042_key_room(&k) < 2);
    assert_string_equal(drain(), "");
    command(0xae);
    assert_string_equal((tell_kbd(0xee), "ok"), "ok");
    for (unsigned i = 0; i < 1000; i++)
        i8042_key(&k, 0x2d, i & 1);
    data(0xee);
    in(&k.data, 0); /* the key that was in the buffer already */
    assert_int_equal(in(&k.data, 0), 0xee);
}

static void test_a20_and_reset(void **state)
{
    assert_true(a20.level);
    command(0xd1);
    data(0xdd);
    assert_false(a20.level);
    assert_int_equal(in(&k.port92, 0), 0);
    out(&k.port92, 0, 2);
    assert_true(a20.level);
    assert_string_equal(ask(0xd0), "cf");
    assert_int_equal(reset.rises, 0);
    command(0xfe);
    assert_int_equal(reset.rises, 1);
    command(0xff);
    assert_int_equal(reset.rises, 1);
    out(&k.port92, 0, 3);
    assert_int_equal(reset.rises, 2);
    command(0xd1);
    data(0xde);
    assert_int_equal(reset.rises, 3);
}

static void test_mouse(void **state)
{
    command(0x60);
    data(0x47);
    assert_string_equal(tell_mouse(0xff), "mfa maa m00");
    assert_string_equal(tell_mouse(0xf2), "mfa m00");
    assert_string_equal(tell_mouse(0xe9), "mfa m00 m02 m64");
    i8042_mouse(&k, 5, 5, 0, 1);
    assert_string_equal(drain(), ""); /* not reporting */
    i8042_mouse(&k, 0, 0, 0, 0);
    assert_string_equal(tell_mouse(0xf4), "mfa");
    i8042_mouse(&k, 5, 3, 0, 1);
    assert_true(aux.level);
    assert_string_equal(drain(), "m29 m05 mfd");
    static const uint8_t knock[] = {0xf3, 200, 0xf3, 100, 0xf3, 80};
    for (unsigned i = 0; i < sizeof knock; i++)
        assert_string_equal(tell_mouse(knock[i]), "mfa");
    assert_string_equal(tell_mouse(0xf2), "mfa m03");
    i8042_mouse(&k, -300, 0, -1, 0);
    assert_string_equal(drain(), "m18 m01 m00 mff m18 md3 m00 m00");
    assert_string_equal(tell_mouse(0xee), "mfa");
    assert_string_equal(tell_mouse(0x55), "m55");
    assert_string_equal(tell_mouse(0xec), "mfa");
    assert_string_equal(tell_mouse(0xe1), "mfe");
}

static void test_keymap(void **state)
{
    struct keymap m = {0};
    struct key_event ev[KEYMAP_EVENTS];
    const char *up = "\033[A", *ctrl_del = "\033[3;5~", *f1 = "\033OP";
    assert_int_equal(keymap_feed(&m, up[0], ev), 0);
    assert_int_equal(keymap_feed(&m, up[1], ev), 0);
    assert_int_equal(keymap_feed(&m, up[2], ev), 2);
    assert_int_equal(ev[0].key, KEY_UP);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(keymap_feed(&m, (uint8_t)ctrl_del[i], ev), 0);
    assert_int_equal(keymap_feed(&m, '~', ev), 4);
    assert_int_equal(ev[0].key, KEY_LCTRL);
    assert_int_equal(ev[1].key, KEY_DELETE);
    keymap_feed(&m, (uint8_t)f1[0], ev);
    keymap_feed(&m, (uint8_t)f1[1], ev);
    assert_int_equal(keymap_feed(&m, (uint8_t)f1[2], ev), 2);
    assert_int_equal(ev[0].key, KEY_F1);
    keymap_feed(&m, 27, ev);
    assert_int_equal(keymap_flush(&m, ev), 2);
    assert_int_equal(ev[0].key, KEY_ESC);
    assert_int_equal(keymap_flush(&m, ev), 0);
    keymap_feed(&m, 27, ev);
    assert_int_equal(keymap_feed(&m, 'X', ev), 6);
    assert_int_equal(ev[0].key, KEY_LALT);
    assert_int_equal(keymap_char(3, ev), 4);
    assert_int_equal(ev[1].key, 0x2e);
    assert_int_equal(keymap_char(0xe9, ev), 0);
    for (uint8_t c = ' '; c < 127; c++)
        assert_true(keymap_char(c, ev) >= 2);
}

static void test_state(void **state)
{
    assert_table_ok(i8042_table);
    i8042_type(&k, 'Z');
    struct i8042_state saved = k.s;
    setup(NULL);
    k.s = saved;
    i8042_restore(&k);
    assert_true(kbd.level);
    assert_string_equal(drain(), "2a 2c ac aa");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_controller, setup),
        cmocka_unit_test_setup(test_keyboard_commands, setup),
        cmocka_unit_test_setup(test_keys_translated, setup),
        cmocka_unit_test_setup(test_keys_set2, setup),
        cmocka_unit_test_setup(test_queue_is_bounded_and_replies_overtake, setup),
        cmocka_unit_test_setup(test_a20_and_reset, setup),
        cmocka_unit_test_setup(test_mouse, setup),
        cmocka_unit_test_setup(test_keymap, setup),
        cmocka_unit_test_setup(test_state, setup),
    };
    return RUN(tests);
}
