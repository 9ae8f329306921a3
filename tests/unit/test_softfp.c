#include "cpu/softfp.h"
#include "unit.h"

#define QNAN64 0x7ff8000000000000ull
#define SNAN64 0x7ff0000000000001ull
#define DEF64  0xfff8000000000000ull /* the indefinite */
#define INF64  0x7ff0000000000000ull
#define ONE64  0x3ff0000000000000ull
#define MAX64  0x7fefffffffffffffull
#define MIN64  0x0010000000000000ull /* smallest normal */

#define I FP_INVALID
#define D FP_DENORMAL
#define Z FP_DIVZERO
#define O FP_OVERFLOW
#define U FP_UNDERFLOW
#define P FP_INEXACT

static struct fp context(unsigned round, unsigned flags)
{
    return (struct fp){.round = round, .precision = 64, .masks = 0x3f, .flags = flags};
}

struct case64 {
    char op;
    uint8_t round, flags;
    f64 a, b, result;
};

static const struct case64 cases64[] = {
    {'+', FP_NEAREST, P, ONE64, 0x3ca0000000000000, ONE64}, /* tie to even */
    {'+', FP_NEAREST, P, ONE64 + 1, 0x3ca0000000000000, ONE64 + 2},
    {'+', FP_UP, D | P, ONE64, 1 << 20, ONE64 + 1},
    {'+', FP_NEAREST, 0, ONE64, ONE64 ^ 1ull << 63, 0}, /* x - x is +0 … */
    {'+', FP_DOWN, 0, ONE64, ONE64 ^ 1ull << 63, 1ull << 63},
    {'+', FP_NEAREST, I, INF64, INF64 ^ 1ull << 63, DEF64},
    {'+', FP_NEAREST, I, SNAN64, QNAN64 + 5, QNAN64 + 1}, /* the first operand's NaN */
    {'+', FP_NEAREST, 0, QNAN64 + 5, QNAN64 + 9, QNAN64 + 5},
    {'+', FP_NEAREST, 0, 1, QNAN64 + 9, QNAN64 + 9}, /* no denormal exception with a NaN */
    {'+', FP_NEAREST, O | P, MAX64, MAX64, INF64},
    {'+', FP_ZERO, O | P, MAX64, MAX64, MAX64},
    {'+', FP_DOWN, O | P, MAX64, MAX64, MAX64},
    {'*', FP_NEAREST, I, 0, INF64, DEF64},
    {'*', FP_NEAREST, D | P | U, 1, 0x3fe0000000000000, 0},
    {'*', FP_UP, D | P | U, 1, 0x3fe0000000000000, 1},
    /* Tiny before rounding, normal after: no underflow. */
    {'*', FP_NEAREST, P, 0x3fefffffffffffff, MIN64 + 1, MIN64},
    {'*', FP_NEAREST, D, 1, 0x4340000000000000, 0x0020000000000000},
    {'/', FP_NEAREST, Z, ONE64, 0, INF64},
    {'/', FP_NEAREST, Z, 1, 1ull << 63, INF64 ^ 1ull << 63}, /* before the denormal one */
    {'/', FP_NEAREST, I, 0, 0, DEF64},
    {'/', FP_NEAREST, P, ONE64, 0x4008000000000000, 0x3fd5555555555555},
    {'/', FP_UP, P, ONE64, 0x4008000000000000, 0x3fd5555555555556},
};

static f64 apply64(struct fp *x, const struct case64 *t)
{
    switch (t->op) {
    case '+': return f64_add(x, t->a, t->b);
    case '*': return f64_mul(x, t->a, t->b);
    default: return f64_div(x, t->a, t->b);
    }
}

/* Each by the long way, and with inexact raised before, by the short cut where there is one. */
static void test_arithmetic(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases64); i++) {
        const struct case64 *t = &cases64[i];
        struct fp x = context(t->round, 0), y = context(t->round, P);
        f64 r = apply64(&x, t);
        if (r != t->result || x.flags != t->flags)
            fail_msg("case %zu: %llx flags %x", i, (unsigned long long)r, x.flags);
        assert_int_equal(apply64(&y, t), t->result);
        assert_int_equal(y.flags, t->flags | P);
    }
}

static void test_unmasked_exceptions_stop_the_computation(void **state)
{
    struct fp x = context(FP_NEAREST, 0);
    x.masks = 0x3f & ~D;
    f64_mul(&x, 1, 0x3fe0000000000001);
    assert_int_equal(x.flags, D); /* no underflow, no inexact */
    x = context(FP_NEAREST, 0);
    x.masks = 0x3f & ~U;
    f64_mul(&x, MIN64, 0x3fe0000000000000);
    assert_int_equal(x.flags, U); /* tiny is enough, though exact */
    x = context(FP_NEAREST, 0);
    assert_int_equal(f64_mul(&x, MIN64, 0x3fe0000000000000), MIN64 >> 1);
    assert_int_equal(x.flags, 0);
}

static void test_flush_and_daz(void **state)
{
    struct fp x = context(FP_NEAREST, 0);
    x.flush = true;
    assert_int_equal(f64_mul(&x, MIN64 | 1ull << 63, 0x3fe0000000000000), 1ull << 63);
    assert_int_equal(x.flags, U | P);
    x = context(FP_NEAREST, 0);
    x.daz = true;
    assert_int_equal(f64_add(&x, 5, 1ull << 63 | 7), 0);
    assert_int_equal(f64_to_i32(&x, 5, FP_UP), 0);
    assert_int_equal(x.flags, 0);
}

static void test_integers(void **state)
{
    struct fp x = context(FP_NEAREST, 0);
    assert_int_equal(f64_to_i32(&x, 0x4004000000000000, FP_NEAREST), 2); /* 2.5 */
    assert_int_equal(f64_to_i32(&x, 0x400c000000000000, FP_NEAREST), 4); /* 3.5 */
    assert_int_equal(f64_to_i32(&x, 0xc00c000000000000, FP_ZERO), -3);
    assert_int_equal(x.flags, P);
    x.flags = 0;
    assert_int_equal(f64_to_i32(&x, 0xc1e0000000000000, FP_ZERO), INT32_MIN);
    assert_int_equal(x.flags, 0);
    assert_int_equal(f64_to_i32(&x, 0x41e0000000000000, FP_ZERO), INT32_MIN);
    assert_int_equal(x.flags, I);
    x.flags = 0;
    assert_int_equal(f64_to_i64(&x, QNAN64, FP_ZERO), INT64_MIN);
    assert_int_equal(x.flags, I);
    x.flags = 0;
    assert_int_equal(i64_to_f32(&x, INT64_MAX), 0x5f000000);
    assert_int_equal(x.flags, P);
}

static void assert_f80(struct f80 v, unsigned exp, uint64_t sig)
{
    if (v.exp != exp || v.sig != sig)
        fail_msg("%04x.%016llx, expected %04x.%016llx", v.exp, (unsigned long long)v.sig, exp,
                 (unsigned long long)sig);
}

static void test_extended(void **state)
{
    const struct f80 one = {1ull << 63, 0x3fff}, third = {0xaaaaaaaaaaaaaaab, 0x3ffd};
    const struct f80 three = {3ull << 62, 0x4000}, unnormal = {1, 0x3fff};
    struct fp x = context(FP_NEAREST, 0);
    assert_f80(f80_div(&x, one, three), third.exp, third.sig);
    assert_int_equal(x.flags, P);
    assert_true(x.rounded_up);
    x.precision = 24;
    assert_f80(f80_div(&x, one, three), 0x3ffd, 0xaaaaab0000000000);
    x = context(FP_NEAREST, 0);
    assert_f80(f80_add(&x, one, unnormal), 0xffff, 3ull << 62);
    assert_int_equal(x.flags, I);
    /* A pseudo-denormal counts as the smallest normal number, with the denormal exception. */
    x = context(FP_NEAREST, 0);
    assert_f80(f80_add(&x, (struct f80){1ull << 63, 0}, (struct f80){0, 0}), 1, 1ull << 63);
    assert_int_equal(x.flags, D);
    /* The larger significand of two NaNs, a quiet one before a signalling one. */
    x = context(FP_NEAREST, 0);
    struct f80 small = {0xc000000000000001, 0x7fff}, large = {0xc000000000000002, 0xffff};
    struct f80 signalling = {0xbfffffffffffffff, 0x7fff};
    assert_f80(f80_mul(&x, small, large), 0xffff, large.sig);
    assert_int_equal(x.flags, 0);
    assert_f80(f80_mul(&x, small, signalling), 0x7fff, small.sig);
    assert_int_equal(x.flags, I);
    /* Unmasked overflow leaves the result with its exponent wound back. */
    x = context(FP_NEAREST, 0);
    x.masks = 0x3f & ~O;
    struct f80 big = {1ull << 63, 0x7ffe};
    assert_f80(f80_mul(&x, big, big), 0x7ffe + 0x7ffe - 0x3fff - 24576, 1ull << 63);
    assert_int_equal(x.flags, O);
}

static void test_narrowing(void **state)
{
    struct fp x = context(FP_NEAREST, 0);
    /* Half way between two floats, plus the last bit of the 80-bit format. */
    assert_int_equal(f80_to_f32(&x, (struct f80){0x8000008000000000, 0x3fff}), 0x3f800000);
    assert_int_equal(f80_to_f32(&x, (struct f80){0x8000008000000001, 0x3fff}), 0x3f800001);
    assert_int_equal(f80_to_f64(&x, (struct f80){0xbfffffffffffffff, 0x7fff}), 0x7fffffffffffffff);
    assert_int_equal(x.flags, I | P);
    assert_int_equal(f32_to_f16(&x, 0x477ff000, FP_NEAREST), 0x7c00); /* 65520 */
    assert_int_equal(f16_to_f32(&x, 1), 0x33800000);
}

static void test_fused(void **state)
{
    struct fp x = context(FP_NEAREST, 0);
    /* (1 + e)(1 - e) - 1 = -e*e, which separate roundings lose. */
    f64 e = 0x3cb0000000000000;
    assert_int_equal(f64_fma(&x, ONE64 + 1, 0x3feffffffffffffe, ONE64 | 1ull << 63),
                     (e - (52ull << 52)) | 1ull << 63);
    assert_int_equal(x.flags, 0);
    assert_int_equal(f64_fma(&x, 0, INF64, QNAN64 + 3), QNAN64 + 3);
    assert_int_equal(x.flags, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_unmasked_exceptions_stop_the_computation),
        cmocka_unit_test(test_flush_and_daz),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_extended),
        cmocka_unit_test(test_narrowing),
        cmocka_unit_test(test_fused),
    };
    return RUN(tests);
}
