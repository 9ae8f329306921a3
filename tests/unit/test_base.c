#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/state.h"
#include "unit.h"

#include <string.h>

struct inner {
    uint16_t a, b;
};
struct outer {
    uint32_t n;
    struct inner in[2];
    uint8_t blob[4];
    uint32_t temp;
};
STATE_TABLE(inner_table, "inner", struct inner, STATE(struct inner, a), STATE(struct inner, b));
STATE_TABLE(outer_table, "outer", struct outer, STATE(struct outer, n),
            STATE_SUB(struct outer, in, &inner_table), STATE_BLOB(struct outer, blob),
            STATE_TEMP(struct outer, temp));

struct padded {
    uint8_t a;
    uint32_t b;
};
STATE_TABLE(padded_table, "padded", struct padded, STATE(struct padded, a),
            STATE(struct padded, b));

static void test_state_names_every_byte(void **state)
{
    struct err e;
    assert_true(state_check(&outer_table, &e));
    assert_false(state_check(&padded_table, &e));
    assert_string_equal(e.text, "padded: byte 1, after a, is not named");
}

static void collect(void *opaque, const char *path, enum state_kind kind, const void *data,
                    size_t size)
{
    char *all = opaque;
    strcat(strcat(all, path), " ");
}

static void test_state_walk_gives_paths(void **state)
{
    struct outer o = {0};
    char all[200] = "";
    state_walk(&outer_table, &o, collect, all);
    assert_string_equal(all, "n in[0].a in[0].b in[1].a in[1].b blob ");
}

struct flags {
    bool one, many[2];
    uint8_t count;
};
STATE_TABLE(flags_table, "flags", struct flags, STATE(struct flags, one),
            STATE_ARRAY(struct flags, many), STATE(struct flags, count));

static void test_clean_makes_bools_of_bytes(void **state)
{
    uint8_t bytes[4] = {2, 0, 0xff, 7}, want[4] = {1, 0, 1, 7};
    assert_true(state_check(&flags_table, NULL));
    state_clean(&flags_table, bytes);
    assert_memory_equal(bytes, want, 4);
}

static void test_hash_sees_fields_but_not_scratch(void **state)
{
    struct outer a = {.n = 1, .in = {{1, 2}, {3, 4}}}, b = a;
    b.temp = 9;
    assert_int_equal(state_hash(STATE_HASH_INIT, &outer_table, &a),
                     state_hash(STATE_HASH_INIT, &outer_table, &b));
    b.in[1].b = 5;
    assert_int_not_equal(state_hash(STATE_HASH_INIT, &outer_table, &a),
                         state_hash(STATE_HASH_INIT, &outer_table, &b));
    assert_int_not_equal(hash_bytes(1, "abc", 3), hash_bytes(1, "abc\0", 4));
}

static uint64_t fake_now;

static uint64_t fake_source(void *opaque)
{
    return fake_now;
}

static char fired[16];
static struct timer ta, tb;

static void fire_a(void *opaque)
{
    strcat(fired, "a");
    if (strlen(fired) < 4)
        timer_set(&ta, 15);
}

static void fire_b(void *opaque)
{
    strcat(fired, "b");
}

static void test_timers_fire_in_order(void **state)
{
    struct clock c;
    fake_now = 0;
    clock_init(&c, fake_source, NULL);
    timer_init(&ta, &c, "a", fire_a, NULL);
    timer_init(&tb, &c, "b", fire_b, NULL);
    timer_set(&tb, 20);
    timer_set(&ta, 10);
    assert_int_equal(c.next, 10);
    clock_run(&c);
    assert_string_equal(fired, "");
    fake_now = 20;
    clock_run(&c);
    assert_string_equal(fired, "aaaab");
    assert_int_equal(c.next, CLOCK_NEVER);
    timer_set(&ta, 100);
    timer_set(&tb, 50);
    timer_set(&tb, CLOCK_NEVER);
    assert_int_equal(c.next, 100);
}

static void test_rng_repeats(void **state)
{
    struct rng a, b;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    assert_int_equal(rng_next(&a), rng_next(&b));
    assert_int_not_equal(rng_next(&a), rng_next(&a));
}

static void test_err_prefix(void **state)
{
    struct err e = {0};
    assert_false(err_set(&e, ERR_IO, "no such sector %d", 5));
    assert_false(err_prefix(&e, "%s", "disk.img"));
    assert_string_equal(e.text, "disk.img: no such sector 5");
    assert_int_equal(e.code, ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_names_every_byte),
        cmocka_unit_test(test_state_walk_gives_paths),
        cmocka_unit_test(test_clean_makes_bools_of_bytes),
        cmocka_unit_test(test_hash_sees_fields_but_not_scratch),
        cmocka_unit_test(test_timers_fire_in_order),
        cmocka_unit_test(test_rng_repeats),
        cmocka_unit_test(test_err_prefix),
    };
    return RUN(tests);
}
