/* Vector instructions by machine code: which exception, what stays of the registers, alignment. */
#include "unit.h"

#include "cpu/tlb.h"
#include "tests/bare_pc.h"
#include "tests/coverage.h"

#define DATA     0x2000u
#define UNMAPPED 0x300000u

/* 64-bit mode, the first 2 MiB mapped, no interrupt table: an exception is a shutdown that
 * c->chain explains. Or 32-bit code with paging off, or real mode. */
static struct pc *start(unsigned bits, const void *code, size_t n)
{
    struct pc *p = pc_new_all(&engine_interp);
    struct cpu_state *s = &p->cpu.s;
    coverage_attach(&p->cpu);
    pc_flat(p, bits == 16 ? REAL : bits == 32 ? FLAT32 : FLAT64);
    s->cr0 = bits == 16 ? CR0_ET | CR0_NE : CR0_PE | CR0_ET | CR0_NE;
    s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->xcr0 = 7;
    s->idtr.limit = 0;
    if (bits == 64)
        pc_long(p);
    s->fcw = 0x37f;
    s->mxcsr = 0x1f80;
    s->rip = 0x1000;
    s->r[R_SP] = 0x8000;
    s->r[R_BX] = DATA;
    memcpy(p->ram + 0x1000, code, n);
    for (unsigned i = 0; i < 64; i++)
        p->ram[DATA + i] = (uint8_t)(i + 1);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 4; j++)
            s->v[i].q[j] = 0x1010101010101010 * (j + 1);
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    return p;
}

/* The exception that n instructions raise, or EXC_NONE. */
static unsigned run(struct pc *p, unsigned n)
{
    cpu_mode_changed(&p->cpu);
    return soft_run(&p->cpu, n) == ENGINE_SHUTDOWN ? p->cpu.chain[0].vector : EXC_NONE;
}

#define START(bits, ...)                  \
    const uint8_t code[] = {__VA_ARGS__}; \
    struct pc *p = start(bits, code, sizeof code)
#define V(n) p->cpu.s.v[n]

static void test_aligned(void **state)
{
    START(64, 0x0f, 0x28, 0x03,         /* movaps xmm0, [rbx] */
          0x0f, 0x10, 0x4b, 0x01,       /* movups xmm1, [rbx+1] */
          0xc5, 0xe9, 0xfc, 0x53, 0x01, /* vpaddb xmm2, xmm2, [rbx+1] */
          0x0f, 0x28, 0x03);            /* movaps xmm0, [rbx], now unaligned */
    assert_int_equal(run(p, 3), EXC_NONE);
    assert_int_equal(V(0).q[0], 0x0807060504030201);
    assert_int_equal(V(1).b[0], 2);
    assert_int_equal(V(2).b[0], 0x12);
    p->cpu.s.r[R_BX] += 8;
    assert_int_equal(run(p, 1), EXC_GP);
    assert_int_equal(p->cpu.chain[0].error, 0);
    pc_free(p);
}

static void test_aligned_operand(void **state)
{
    START(64, 0x66, 0x0f, 0xfc, 0x43, 0x04); /* paddb xmm0, [rbx+4] */
    assert_int_equal(run(p, 1), EXC_GP);
    pc_free(p);
}

static void test_aligned_store(void **state)
{
    START(64, 0x0f, 0x29, 0x43, 0x08); /* movaps [rbx+8], xmm0 */
    assert_int_equal(run(p, 1), EXC_GP);
    assert_int_equal(p->ram[DATA + 8], 9);
    pc_free(p);
}

/* Legacy forms keep the upper half, VEX forms clear it. */
static void test_upper_half(void **state)
{
    START(64, 0x0f, 0x10, 0x03,       /* movups xmm0, [rbx] */
          0xf3, 0x0f, 0x10, 0x0b,     /* movss xmm1, [rbx] */
          0xc5, 0xf8, 0x10, 0x13,     /* vmovups xmm2, [rbx] */
          0xc5, 0xfb, 0x10, 0x1b,     /* vmovsd xmm3, [rbx] */
          0xc5, 0xfc, 0x10, 0x63, 1); /* vmovups ymm4, [rbx+1] */
    assert_int_equal(run(p, 5), EXC_NONE);
    assert_int_equal(V(0).q[2], 0x3030303030303030);
    assert_int_equal(V(1).q[0], 0x04030201);
    assert_int_equal(V(1).q[1], 0);
    assert_int_equal(V(1).q[3], 0x4040404040404040);
    assert_int_equal(V(2).q[1], 0x100f0e0d0c0b0a09);
    assert_int_equal(V(2).q[2] | V(2).q[3], 0);
    assert_int_equal(V(3).q[0], 0x0807060504030201);
    assert_int_equal(V(3).q[1] | V(3).q[2] | V(3).q[3], 0);
    assert_int_equal(V(4).q[3], 0x21201f1e1d1c1b1a);
    pc_free(p);
}

/* Which exception, by CR0 and CR4 (SDM 2A 2.4, 3A 2.5). */
static unsigned by_mode(unsigned bits, uint64_t cr0, uint64_t no_cr4, const void *code, size_t n)
{
    struct pc *p = start(bits, code, n);
    p->cpu.s.cr0 |= cr0;
    p->cpu.s.cr4 &= ~no_cr4;
    unsigned vector = run(p, 1);
    pc_free(p);
    return vector;
}

static void test_modes(void **state)
{
    static const uint8_t sse[] = {0x0f, 0x58, 0xc1}, mmx[] = {0x0f, 0xfc, 0xc1};
    static const uint8_t avx[] = {0xc5, 0xf0, 0x58, 0xc2};
    assert_int_equal(by_mode(64, 0, 0, sse, sizeof sse), EXC_NONE);
    assert_int_equal(by_mode(64, CR0_TS, 0, sse, sizeof sse), EXC_NM);
    assert_int_equal(by_mode(64, CR0_EM, 0, sse, sizeof sse), EXC_UD);
    assert_int_equal(by_mode(64, CR0_TS, CR4_OSFXSR, sse, sizeof sse), EXC_UD);
    assert_int_equal(by_mode(64, 0, CR4_OSFXSR, mmx, sizeof mmx), EXC_NONE);
    assert_int_equal(by_mode(64, CR0_TS, 0, mmx, sizeof mmx), EXC_NM);
    assert_int_equal(by_mode(64, CR0_EM | CR0_TS, 0, mmx, sizeof mmx), EXC_UD);
    assert_int_equal(by_mode(64, 0, 0, avx, sizeof avx), EXC_NONE);
    assert_int_equal(by_mode(64, CR0_TS, 0, avx, sizeof avx), EXC_NM);
    assert_int_equal(by_mode(64, 0, CR4_OSXSAVE, avx, sizeof avx), EXC_UD);
    assert_int_equal(by_mode(32, 0, 0, avx, sizeof avx), EXC_NONE);
    assert_int_equal(by_mode(16, 0, 0, sse, sizeof sse), EXC_NONE);
    assert_int_equal(by_mode(16, 0, 0, avx, sizeof avx), EXC_UD);
}

/* A pending x87 exception comes first; a store that faults leaves the x87 state. */
static void test_mmx(void **state)
{
    START(64, 0x0f, 0x7f, 0x03,                  /* movq [rbx], mm0 */
          0x0f, 0x7f, 0x04, 0x25, 0, 0, 0x30, 0, /* movq [UNMAPPED], mm0 */
          0x0f, 0x6f, 0xc1);                     /* movq mm0, mm1 */
    p->cpu.s.fsw = 3 << 11;
    p->cpu.s.fp_sig[0] = 0x1122334455667788;
    assert_int_equal(run(p, 1), EXC_NONE);
    assert_int_equal(get_le64(p->ram + DATA), 0x1122334455667788);
    assert_int_equal(p->cpu.s.fsw, 0);
    assert_int_equal(p->cpu.s.ftw, 0xff);
    p->cpu.s.fsw = 3 << 11;
    p->cpu.s.ftw = 0;
    assert_int_equal(run(p, 1), EXC_PF);
    assert_int_equal(p->cpu.s.fsw, 3 << 11);
    assert_int_equal(p->cpu.s.ftw, 0);
    pc_free(p);
    p = start(64, code + 11, 3);
    p->cpu.s.fcw = 0x37e;
    p->cpu.s.fsw = 0x8081; /* invalid, not masked */
    assert_int_equal(run(p, 1), EXC_MF);
    pc_free(p);
}

/* Bytes that are masked out are not touched, nor do they fault. */
static void test_masked(void **state)
{
    START(64, 0x66, 0x0f, 0xf7, 0xc1,   /* maskmovdqu xmm0, xmm1 */
          0xc4, 0xe2, 0x75, 0x8c, 0x13, /* vpmaskmovd ymm2, ymm1, [rbx] */
          0x66, 0x0f, 0xf7, 0xc1);
    p->cpu.s.r[R_DI] = UNMAPPED - 2;
    p->cpu.s.r[R_BX] = UNMAPPED;
    memset(&V(1), 0, 32);
    assert_int_equal(run(p, 2), EXC_NONE);
    assert_int_equal(V(2).q[0] | V(2).q[1] | V(2).q[2] | V(2).q[3], 0);
    p->cpu.s.r[R_DI] = DATA;
    V(1).b[3] = 0x80;
    assert_int_equal(run(p, 1), EXC_NONE);
    assert_int_equal(get_le64(p->ram + DATA), 0x0807060510030201);
    pc_free(p);
}

/* A gather that faults keeps what it has, and says so in the mask (SDM 2C VPGATHERDD). */
static void test_gather(void **state)
{
    START(64, 0xc4, 0xe2, 0x71, 0x90, 0x04, 0x13); /* vpgatherdd xmm0, [rbx+xmm2], xmm1 */
    memset(&V(1), 0xff, 32);
    V(2).d[0] = 0;
    V(2).d[1] = 8;
    V(2).d[2] = UNMAPPED;
    assert_int_equal(run(p, 1), EXC_PF);
    assert_int_equal(V(0).q[0], 0x0c0b0a0904030201);
    assert_int_equal(V(1).q[0], 0);
    assert_int_equal(V(1).d[2], 0xffffffff);
    pc_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned),       cmocka_unit_test(test_aligned_operand),
        cmocka_unit_test(test_aligned_store), cmocka_unit_test(test_upper_half),
        cmocka_unit_test(test_modes),         cmocka_unit_test(test_mmx),
        cmocka_unit_test(test_masked),        cmocka_unit_test(test_gather),
    };
    return RUN(tests);
}
