/* The vector operations, by cases worked out by hand or taken from the standards. */
#include "unit.h"

#include "cpu/flags.h"
#include "cpu/vec.h"
#include "cpu/vec_fp.h"

static struct cpu cpu;

static bool run(const vec_op op, enum vec_width width, unsigned dst, unsigned a, unsigned b,
                int64_t imm)
{
    const struct uop u = {
        .dst = (uint8_t)dst, .a = (uint8_t)a, .b = (uint8_t)b, .size = 4, .imm = imm};
    return op[width](&cpu, &u);
}

static int fresh(void **state)
{
    memset(&cpu, 0, sizeof cpu);
    cpu.s.mxcsr = 0x1f80;
    cpu.s.cr4 = CR4_OSXMMEXCPT;
    return 0;
}

static void set(unsigned n, uint64_t high, uint64_t low)
{
    cpu.s.v[n] = (union vreg){.q = {low, high, 0x1111111111111111, 0x2222222222222222}};
}

#define assert_xmm(n, high, low)                 \
    do {                                         \
        assert_int_equal(cpu.s.v[n].q[1], high); \
        assert_int_equal(cpu.s.v[n].q[0], low);  \
    } while (0)

static void test_saturation(void **state)
{
    set(0, 0, 0x7f80ff0001020304);
    set(1, 0, 0x01ff010001fefdfc);
    assert_true(run(v_paddsb, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0, 0x7f80000002000000);
    set(0, 0, 0x00000000ffff8000);
    set(1, 0, 0x0001000080007fff);
    assert_true(run(v_packssdw, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0x000000007fff8000, 0x0000000000008000);
}

/* Legacy forms leave the upper half, VEX.128 ones zero it. */
static void test_upper_half(void **state)
{
    set(0, 1, 2);
    set(1, 3, 4);
    assert_true(run(v_paddq, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 4, 6);
    assert_int_equal(cpu.s.v[0].q[3], 0x2222222222222222);
    assert_true(run(v_paddq, VW_VEX, 0, 0, 1, 0));
    assert_xmm(0, 7, 10);
    assert_int_equal(cpu.s.v[0].q[2] | cpu.s.v[0].q[3], 0);
}

static void test_mmx_state(void **state)
{
    cpu.s.fsw = 5 << 11;
    cpu.s.fp_sig[1] = 0x0001000200030004;
    cpu.s.fp_sig[2] = 0x0001000100010001;
    assert_true(run(v_paddw, VW_MMX, 1, 1, 2, 0));
    assert_int_equal(cpu.s.fp_sig[1], 0x0002000300040005);
    assert_int_equal(cpu.s.fp_exp[1], 0xffff);
    assert_int_equal(cpu.s.fp_exp[2], 0);
    assert_int_equal(cpu.s.ftw, 0xff);
    assert_int_equal(cpu.s.fsw & 0x3800, 0);
    const struct uop none = {0};
    assert_true(vec_emms(&cpu, &none));
    assert_int_equal(cpu.s.ftw, 0);
}

static void test_shift_counts(void **state)
{
    set(0, 0x8000000000000000, 0x8000800080008000);
    set(1, ~0ull, 16);
    assert_true(run(v_psraw, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0xffff000000000000, ~0ull);
    set(1, 0, 0x100000000);
    assert_true(run(v_psllw, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0, 0);
}

/* An exception that is not masked: flags, but no result. */
static void test_unmasked(void **state)
{
    set(0, 0x3ff0000000000000, 0x3ff0000000000000);
    set(1, 0, 0x3ff0000000000000);
    cpu.s.mxcsr = 0x1f80 & ~(FP_DIVZERO << 7);
    assert_false(run(v_divpd, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.fault.vector, EXC_XM);
    assert_xmm(0, 0x3ff0000000000000, 0x3ff0000000000000);
    assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, FP_DIVZERO);
    cpu.s.cr4 = 0;
    assert_false(run(v_divpd, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.fault.vector, EXC_UD);
}

/* Both ways through the arithmetic, with and without inexact seen before. */
static void test_add(void **state)
{
    for (unsigned seen = 0; seen < 2; seen++) {
        cpu.s.mxcsr = 0x1f80 | (seen ? FP_INEXACT : 0);
        set(0, 0x4000000000000000, 0x3ff0000000000000); /* 2, 1 */
        set(1, 0x3ca0000000000000, 0x3ca0000000000000); /* 2^-53 */
        assert_true(run(v_addpd, VW_XMM, 0, 0, 1, 0));
        assert_xmm(0, 0x4000000000000000, 0x3ff0000000000000);
        assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, FP_INEXACT);
    }
    set(0, 5, 0x7ff0000000000001); /* signalling NaN */
    set(1, 6, 0x7ff8000000000002);
    assert_true(run(v_addsd, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 5, 0x7ff8000000000001);
    assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, FP_INEXACT | FP_INVALID);
}

static void test_min(void **state)
{
    set(0, 0, 0x0000000080000000); /* +0, -0 */
    set(1, 0, 0x8000000000000000); /* -0, +0 */
    assert_true(run(v_minps, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.s.v[0].q[0], 0x8000000000000000);
}

static void test_comis(void **state)
{
    set(0, 0, 0x7ff8000000000000);
    assert_true(run(v_ucomisd, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(flags_arith(&cpu), F_Z | F_P | F_C);
    assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, 0);
    assert_true(run(v_comisd, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, FP_INVALID);
}

static void test_convert(void **state)
{
    set(1, 0, 0x41e0000000000000); /* 2^31 */
    assert_true(run(v_cvttsd2si, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.s.r[0], 0x80000000);
    assert_int_equal(cpu.s.mxcsr & MXCSR_FLAGS, FP_INVALID);
    cpu.s.mxcsr = 0x1f80 | FP_INEXACT;
    set(1, 0, 0xc000800000000000); /* -2.0625 */
    assert_true(run(v_cvttsd2si, VW_XMM, 0, 0, 1, 0));
    assert_int_equal(cpu.s.r[0], 0xfffffffe);
}

static void test_reciprocal(void **state)
{
    set(1, 0x7f80000000000001, 0xff7fffff40000000);
    assert_true(run(v_rcpps, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0x000000007f800000, 0x800000003f000000);
    set(1, 0x80000000bf800000, 0x4080000000000000);
    assert_true(run(v_rsqrtps, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0xff800000ffc00000, 0x3f0000007f800000);
}

/* "abc" in "xxabcabc": ordered, bytes, least index; and the mask of it. */
static void test_text(void **state)
{
    memcpy(cpu.s.v[1].b, "abc", 4);
    memcpy(cpu.s.v[2].b, "xxabcabc", 9);
    assert_true(run(v_pcmpistri, VW_XMM, 1, 1, 2, 0x0c));
    assert_int_equal(cpu.s.r[R_CX], 2);
    assert_int_equal(flags_arith(&cpu), F_C | F_Z | F_S);
    assert_true(run(v_pcmpistri, VW_XMM, 1, 1, 2, 0x4c));
    assert_int_equal(cpu.s.r[R_CX], 5);
    assert_true(run(v_pcmpistrm, VW_XMM, 1, 1, 2, 0x0c));
    assert_xmm(0, 0, 0x24);
    cpu.s.r[R_AX] = (uint64_t)-2;
    cpu.s.r[R_DX] = 1000;
    assert_true(run(v_pcmpestri, VW_XMM, 1, 1, 2, 0x04)); /* in the range a..b */
    assert_int_equal(cpu.s.r[R_CX], 2);
    assert_int_equal(flags_arith(&cpu), F_C | F_S);
}

/* FIPS 197 appendix C.1, its first round. */
static void test_aes(void **state)
{
    set(0, 0xf0e0d0c0b0a09080, 0x7060504030201000);
    set(1, 0xfe76abd6f178a6da, 0xfa72afd2fd74aad6); /* round key 1 */
    assert_true(run(v_aesenc, VW_XMM, 0, 0, 1, 0));
    assert_xmm(0, 0xe48f12cbd843182d, 0x68ce5a85e810d889);
}

/* SHA-1 and SHA-256 of "abc" (FIPS 180-4's examples), by the instructions' usual loops. */
static void test_sha1(void **state)
{
    /* State A B C D in v0 (A on top), E in v1; words in v2..v5. */
    set(0, 0x67452301efcdab89, 0x98badcfe10325476);
    set(1, 0xc3d2e1f000000000, 0);
    set(2, 0x6162638000000000, 0);
    set(3, 0, 0);
    set(4, 0, 0);
    set(5, 0, 0x18);
    /* E of the next four rounds is A of the last four, turned: v6 keeps A B C D. */
    const union vreg abcd0 = cpu.s.v[0];
    for (unsigned i = 0; i < 20; i++) {
        unsigned w = 2 + (i & 3);
        if (i >= 4) {
            unsigned w4 = w, w3 = 2 + ((i + 1) & 3), w2 = 2 + ((i + 2) & 3), w1 = 2 + ((i + 3) & 3);
            assert_true(run(v_sha1msg1, VW_XMM, w4, w4, w3, 0));
            assert_true(run(v_pxor, VW_XMM, w4, w4, w2, 0));
            assert_true(run(v_sha1msg2, VW_XMM, w4, w4, w1, 0));
        }
        if (i == 0)
            assert_true(run(v_paddd, VW_XMM, 7, 1, w, 0));
        else
            assert_true(run(v_sha1nexte, VW_XMM, 7, 6, w, 0));
        cpu.s.v[6] = cpu.s.v[0];
        assert_true(run(v_sha1rnds4, VW_XMM, 0, 0, 7, i / 5));
    }
    set(8, 0xc3d2e1f000000000, 0);
    assert_true(run(v_sha1nexte, VW_XMM, 7, 6, 8, 0));
    cpu.s.v[8] = abcd0;
    assert_true(run(v_paddd, VW_XMM, 0, 0, 8, 0));
    assert_xmm(0, 0xa9993e364706816a, 0xba3e25717850c26c);
    assert_int_equal(cpu.s.v[7].d[3], 0x9cd0d89d);
}

static void test_sha256(void **state)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    set(1, 0x6a09e667bb67ae85, 0x510e527f9b05688c); /* A B E F */
    set(2, 0x3c6ef372a54ff53a, 0x1f83d9ab5be0cd19); /* C D G H */
    set(3, 0, 0x0000000061626380);
    set(4, 0, 0);
    set(5, 0, 0);
    set(6, 0x0000001800000000, 0);
    const union vreg abef = cpu.s.v[1], cdgh = cpu.s.v[2];
    for (unsigned i = 0; i < 16; i++) {
        unsigned w = 3 + (i & 3), w3 = 3 + ((i + 1) & 3), w2 = 3 + ((i + 2) & 3),
                 w1 = 3 + ((i + 3) & 3);
        if (i >= 4) {
            assert_true(run(v_sha256msg1, VW_XMM, w, w, w3, 0));
            assert_true(run(v_palignr, VW_XMM, 7, w1, w2, 4));
            assert_true(run(v_paddd, VW_XMM, w, w, 7, 0));
            assert_true(run(v_sha256msg2, VW_XMM, w, w, w1, 0));
        }
        for (unsigned j = 0; j < 4; j++)
            cpu.s.v[0].d[j] = cpu.s.v[w].d[j] + k[4 * i + j];
        assert_true(run(v_sha256rnds2, VW_XMM, 2, 2, 1, 0));
        assert_true(run(v_pshufd, VW_XMM, 0, 0, 0, 0x0e));
        assert_true(run(v_sha256rnds2, VW_XMM, 1, 1, 2, 0));
    }
    cpu.s.v[3] = abef;
    cpu.s.v[4] = cdgh;
    assert_true(run(v_paddd, VW_XMM, 1, 1, 3, 0));
    assert_true(run(v_paddd, VW_XMM, 2, 2, 4, 0));
    assert_xmm(1, 0xba7816bf8f01cfea, 0xb00361a396177a9c);
    assert_xmm(2, 0x414140de5dae2223, 0xb410ff61f20015ad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, fresh)
        T(test_saturation), T(test_upper_half), T(test_mmx_state), T(test_shift_counts),
        T(test_unmasked),   T(test_add),        T(test_min),       T(test_comis),
        T(test_convert),    T(test_reciprocal), T(test_text),      T(test_aes),
        T(test_sha1),       T(test_sha256),
#undef T
    };
    return RUN(tests);
}
