/* Rows that a comparison with the host's processor can't run: what tells of the system, what enters
 * the kernel, and instructions that few processors have. One small test each. */
#include "cpu_machine.h"

#include "engine/engine.h"

#define CODE 0x10000u
#define DATA 0x20000u

static struct machine *level(unsigned cpl)
{
    struct machine *m = machine_new("v3");
    m->c.features.word[FEAT_MONITOR >> 6] |= BIT(FEAT_MONITOR & 63);
    m->c.features.word[FEAT_RDPID >> 6] |= BIT(FEAT_RDPID & 63);
    long_mode(m, cpl);
    m->c.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE;
    m->c.s.idtr.limit = 0;
    m->c.s.ldtr.sel = 0x50;
    cpu_mode_changed(&m->c);
    return m;
}

/* Runs one instruction; its exception, or EXC_NONE. */
static unsigned run_code(struct machine *m, const uint8_t *code, unsigned n)
{
    struct cpu *c = &m->c;
    struct err e;
    memcpy(m->ram + CODE, code, n);
    c->s.rip = CODE;
    assert_true(engine_interp.join(&c, 1, &e));
    enum engine_exit why = engine_interp.run(c, 1);
    engine_interp.part(&c, 1);
    return why == ENGINE_SHUTDOWN ? c->chain[0].vector : EXC_NONE;
}

#define RUN_CODE(m, ...) \
    run_code(m, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))
#define REG(m, n) (m)->c.s.r[n]

static void test_tables_and_status(void **state)
{
    struct machine *m = level(0);
    REG(m, R_BX) = DATA;
    REG(m, R_AX) = ~0ull;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x00, 0x03), EXC_NONE); /* sldt [rbx] */
    assert_int_equal(peek(m, DATA, 4), 0x50);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x00, 0xc0), EXC_NONE); /* sldt eax */
    assert_true(REG(m, R_AX) == 0x50);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x00, 0x0b), EXC_NONE); /* str [rbx] */
    assert_int_equal(peek(m, DATA, 4), SEL_TSS);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x00, 0xc8), EXC_NONE); /* str eax */
    assert_true(REG(m, R_AX) == SEL_TSS);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0x23), EXC_NONE); /* smsw [rbx] */
    assert_int_equal(peek(m, DATA, 2), m->c.s.cr0 & 0xffff);
    assert_int_equal(RUN_CODE(m, 0x48, 0x0f, 0x01, 0xe0), EXC_NONE); /* smsw rax */
    assert_true(REG(m, R_AX) == m->c.s.cr0);
    m->c.s.idtr.base = 0x123456789;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0x0b), EXC_NONE); /* sidt [rbx] */
    assert_int_equal(peek(m, DATA, 2), 0);
    assert_true(peek(m, DATA + 2, 8) == 0x123456789);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0x03), EXC_NONE); /* sgdt [rbx] */
    assert_int_equal(peek(m, DATA, 2), 0xfff);
    assert_int_equal(peek(m, DATA + 2, 8), GDT_AT);
    machine_free(m);
}

static void test_counters(void **state)
{
    struct machine *m = level(0);
    m->c.tsc_hz = 1000000000;
    m->c.s.tsc_offset = 5ull << 32 | 7;
    m->c.s.tsc_aux = 9;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x31), EXC_NONE); /* rdtsc */
    assert_int_equal(REG(m, R_DX), 5);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0xf9), EXC_NONE); /* rdtscp */
    assert_int_equal(REG(m, R_DX), 5);
    assert_int_equal(REG(m, R_CX), 9);
    assert_int_equal(RUN_CODE(m, 0xf3, 0x0f, 0xc7, 0xf8), EXC_NONE); /* rdpid rax */
    assert_int_equal(REG(m, R_AX), 9);
    REG(m, R_AX) = 0;
    assert_int_equal(RUN_CODE(m, 0x0f, 0xa2), EXC_NONE); /* cpuid */
    assert_memory_equal(&REG(m, R_BX), "Genu", 4);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x33), EXC_GP); /* rdpmc: there are none */
    machine_free(m);
}

static void test_monitor(void **state)
{
    struct machine *m = level(0);
    REG(m, R_AX) = DATA + 8;
    REG(m, R_CX) = 0;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0xc8), EXC_NONE); /* monitor */
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0xc9), EXC_NONE); /* mwait */
    assert_int_equal(m->c.s.rip, CODE + 3);
    machine_free(m);
    m = level(3);
    assert_int_equal(RUN_CODE(m, 0x0f, 0x01, 0xc8), EXC_UD);
    machine_free(m);
}

static void test_into_the_kernel(void **state)
{
    struct machine *m = level(3);
    m->c.s.efer |= EFER_SCE;
    m->c.s.star = (uint64_t)SEL_CODE64 << 32;
    m->c.s.lstar = 0x30000;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x05), EXC_NONE); /* syscall */
    assert_int_equal(m->c.s.rip, 0x30000);
    assert_int_equal(m->c.cpl, 0);
    assert_int_equal(REG(m, R_CX), CODE + 2);
    machine_free(m);
    m = level(3);
    m->c.s.sysenter_cs = SEL_CODE64;
    m->c.s.sysenter_eip = 0x31000;
    m->c.s.sysenter_esp = 0x80000;
    assert_int_equal(RUN_CODE(m, 0x0f, 0x34), EXC_NONE); /* sysenter */
    assert_int_equal(m->c.s.rip, 0x31000);
    assert_int_equal(REG(m, R_SP), 0x80000);
    machine_free(m);
}

static void test_segment_loads(void **state)
{
    struct machine *m = level(0);
    REG(m, R_SP) = DATA;
    poke(m, DATA, 8, SEL_DATA0);
    poke(m, DATA + 8, 8, SEL_DATA3);
    assert_int_equal(RUN_CODE(m, 0x0f, 0xa1), EXC_NONE); /* pop fs */
    assert_int_equal(m->c.s.seg[SEG_FS].sel, SEL_DATA0);
    assert_int_equal(RUN_CODE(m, 0x0f, 0xa9), EXC_NONE); /* pop gs */
    assert_int_equal(m->c.s.seg[SEG_GS].sel, SEL_DATA3);
    REG(m, R_BX) = DATA + 0x20;
    poke(m, DATA + 0x20, 8, (uint64_t)SEL_DATA0 << 32 | 0x1234);
    m->c.s.seg[SEG_GS].sel = 0;
    assert_int_equal(RUN_CODE(m, 0x0f, 0xb5, 0x03), EXC_NONE); /* lgs eax, [rbx] */
    assert_int_equal(m->c.s.seg[SEG_GS].sel, SEL_DATA0);
    assert_int_equal(REG(m, R_AX), 0x1234);
    poke(m, DATA + 0x24, 2, SEL_DATA3);
    assert_int_equal(RUN_CODE(m, 0x0f, 0xb4, 0x03), EXC_NONE); /* lfs */
    assert_int_equal(m->c.s.seg[SEG_FS].sel, SEL_DATA3);
    assert_int_equal(RUN_CODE(m, 0x0f, 0xb2, 0x03), EXC_GP); /* lss: not at level 0 */
    poke(m, DATA + 0x24, 2, SEL_DATA0);
    m->c.s.activity = ACT_RUN;
    assert_int_equal(RUN_CODE(m, 0x0f, 0xb2, 0x03), EXC_NONE);
    assert_int_equal(m->c.s.seg[SEG_SS].sel, SEL_DATA0);
    machine_free(m);
    m = level(3);
    REG(m, R_AX) = 0x12345678abcd;
    assert_int_equal(RUN_CODE(m, 0xf3, 0x48, 0x0f, 0xae, 0xd0), EXC_NONE); /* wrfsbase rax */
    assert_true(m->c.s.seg[SEG_FS].base == 0x12345678abcd);
    assert_int_equal(RUN_CODE(m, 0xf3, 0x0f, 0xae, 0xd8), EXC_NONE); /* wrgsbase eax */
    assert_true(m->c.s.seg[SEG_GS].base == 0x5678abcd);
    machine_free(m);
}

/* --- SHA, by FIPS 180-4 --- */

static uint32_t ror(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static uint32_t small0(uint32_t v)
{
    return ror(v, 7) ^ ror(v, 18) ^ v >> 3;
}

static uint32_t small1(uint32_t v)
{
    return ror(v, 17) ^ ror(v, 19) ^ v >> 10;
}

struct sha {
    struct machine *m;
    union vreg *a, *b;
};

static struct sha sha(void)
{
    struct machine *m = level(3);
    m->c.s.xcr0 = 7;
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 3; k++)
            m->c.s.v[k].d[i] = 0x9e3779b9u * (4 * k + i + 1);
    return (struct sha){m, &m->c.s.v[1], &m->c.s.v[2]};
}

static void test_sha256_schedule(void **state)
{
    struct sha s = sha();
    union vreg a = *s.a, b = *s.b;
    assert_int_equal(RUN_CODE(s.m, 0x0f, 0x38, 0xcc, 0xca), EXC_NONE); /* sha256msg1 xmm1, xmm2 */
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(s.a->d[i], a.d[i] + small0(i < 3 ? a.d[i + 1] : b.d[0]));
    *s.a = a;
    assert_int_equal(RUN_CODE(s.m, 0x0f, 0x38, 0xcd, 0xca), EXC_NONE); /* sha256msg2 */
    uint32_t w[4] = {a.d[0] + small1(b.d[2]), a.d[1] + small1(b.d[3])};
    w[2] = a.d[2] + small1(w[0]);
    w[3] = a.d[3] + small1(w[1]);
    assert_memory_equal(s.a, w, sizeof w);
    machine_free(s.m);
}

static void test_sha256_rounds(void **state)
{
    struct sha s = sha();
    const union vreg *wk = &s.m->c.s.v[0];
    uint32_t x[8] = {s.b->d[3], s.b->d[2], s.a->d[3], s.a->d[2], /* A B C D */
                     s.b->d[1], s.b->d[0], s.a->d[1], s.a->d[0]};
    assert_int_equal(RUN_CODE(s.m, 0x0f, 0x38, 0xcb, 0xca), EXC_NONE); /* sha256rnds2 */
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = x[7] + (ror(x[4], 6) ^ ror(x[4], 11) ^ ror(x[4], 25)) +
                     ((x[4] & x[5]) ^ (~x[4] & x[6])) + wk->d[i];
        uint32_t u = (ror(x[0], 2) ^ ror(x[0], 13) ^ ror(x[0], 22)) +
                     ((x[0] & x[1]) ^ (x[0] & x[2]) ^ (x[1] & x[2]));
        memmove(x + 1, x, 7 * sizeof x[0]);
        x[4] += t;
        x[0] = t + u;
    }
    const uint32_t want[4] = {x[5], x[4], x[1], x[0]}; /* F E B A */
    assert_memory_equal(s.a, want, sizeof want);
    machine_free(s.m);
}

static void test_sha1(void **state)
{
    struct sha s = sha();
    union vreg a = *s.a, b = *s.b;
    assert_int_equal(RUN_CODE(s.m, 0x0f, 0x38, 0xc9, 0xca), EXC_NONE); /* sha1msg1 */
    const uint32_t msg1[4] = {b.d[2] ^ a.d[0], b.d[3] ^ a.d[1], a.d[0] ^ a.d[2], a.d[1] ^ a.d[3]};
    assert_memory_equal(s.a, msg1, sizeof msg1);
    *s.a = a;
    assert_int_equal(RUN_CODE(s.m, 0x0f, 0x38, 0xca, 0xca), EXC_NONE); /* sha1msg2 */
    uint32_t msg2[4];
    for (unsigned i = 4; i--;)
        msg2[i] = ror(a.d[i] ^ (i ? b.d[i - 1] : msg2[3]), 31);
    assert_memory_equal(s.a, msg2, sizeof msg2);
    for (unsigned f = 0; f < 4; f++) {
        static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        *s.a = a;
        uint32_t x[5] = {a.d[3], a.d[2], a.d[1], a.d[0], 0};
        assert_int_equal(RUN_CODE(s.m, 0x0f, 0x3a, 0xcc, 0xca, f), EXC_NONE); /* sha1rnds4 */
        for (unsigned i = 0; i < 4; i++) { /* E comes with the first word */
            uint32_t t = f == 0   ? (x[1] & x[2]) ^ (~x[1] & x[3])
                         : f == 2 ? (x[1] & x[2]) ^ (x[1] & x[3]) ^ (x[2] & x[3])
                                  : x[1] ^ x[2] ^ x[3];
            t += ror(x[0], 27) + b.d[3 - i] + x[4] + k[f];
            memmove(x + 1, x, 4 * sizeof x[0]);
            x[2] = ror(x[2], 2);
            x[0] = t;
        }
        const uint32_t want[4] = {x[3], x[2], x[1], x[0]};
        assert_memory_equal(s.a, want, sizeof want);
    }
    machine_free(s.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_and_status), cmocka_unit_test(test_counters),
        cmocka_unit_test(test_monitor),           cmocka_unit_test(test_into_the_kernel),
        cmocka_unit_test(test_segment_loads),     cmocka_unit_test(test_sha256_schedule),
        cmocka_unit_test(test_sha256_rounds),     cmocka_unit_test(test_sha1),
    };
    return RUN(tests);
}
