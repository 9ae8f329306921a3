/* The processor models: what CPUID says of each, and that a model has no instruction beyond it. */
#include "cpu_machine.h"

#include "engine/engine.h"

static void test_default_is_v3(void **state)
{
    assert_string_equal(cpu_model_find(NULL)->name, "v3");
    assert_string_equal(cpu_model_find("")->name, "v3");
    assert_null(cpu_model_find("v9"));
}

/* Family, model, stepping, last leaf, and one bit that the model before it has not. */
static void test_signatures(void **state)
{
    static const struct {
        const char *name;
        unsigned family, model, last_leaf;
        enum isa_feature has, lacks;
    } want[] = {
        {"486", 4, 8, 1, FEAT_FPU, FEAT_TSC},      {"pentium", 5, 2, 1, FEAT_CX8, FEAT_CMOV},
        {"686", 6, 5, 2, FEAT_CMOV, FEAT_SSE},     {"v1", 6, 26, 7, FEAT_LM, FEAT_SSE3},
        {"v2", 6, 26, 0x16, FEAT_SSE42, FEAT_AVX}, {"v3", 6, 60, 0x16, FEAT_AVX2, FEAT_COUNT},
    };
    for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
        const struct cpu_model *model = cpu_model_find(want[i].name);
        assert_non_null(model);
        struct machine *m = machine_new(want[i].name);
        uint32_t eax = cpuid_leaf(&m->c, 1, 0).r[0];
        assert_int_equal(eax, cpuid_signature(&m->c));
        assert_int_equal(eax >> 8 & 15, want[i].family);
        assert_int_equal((eax >> 4 & 15) | (eax >> 12 & 0xf0), want[i].model);
        assert_int_equal(cpuid_leaf(&m->c, 0, 0).r[0], want[i].last_leaf);
        assert_true(isa_has(&model->features, want[i].has));
        if (want[i].lacks < FEAT_COUNT)
            assert_false(isa_has(&model->features, want[i].lacks));
        machine_free(m);
    }
}

/* Whatever a model's decoder accepts belongs to the model. */
static void test_rows_are_gated(void **state)
{
    const struct cpu_model *model;
    uint64_t x = 0x9e3779b97f4a7c15;
    for (unsigned i = 0; (model = cpu_model_at(i)); i++)
        for (unsigned k = 0; k < 200000; k++) {
            static const uint8_t lead[] = {0x66, 0xf2, 0xf3, 0x0f, 0x0f, 0xc4, 0xc5, 0x48};
            uint8_t b[15];
            struct insn in;
            for (unsigned n = 0; n < sizeof b; n++) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                b[n] = (uint8_t)(x >> 24);
            }
            b[0] = lead[x >> 40 & 7];
            if (x >> 50 & 1)
                b[1] = 0x0f;
            if (isa_decode(&in, b, sizeof b, k % 3, &model->features) == ISA_OK)
                assert_true(isa_has(&model->features, in.row->feature));
        }
}

static unsigned run_on(const char *name, const uint8_t *code, unsigned n, uint64_t *ax)
{
    struct machine *m = machine_new(name);
    struct cpu *c = &m->c;
    struct err e;
    long_mode(m, 0);
    c->s.cr4 |= CR4_OSFXSR | (isa_has(&c->features, FEAT_XSAVE) ? CR4_OSXSAVE : 0);
    c->s.xcr0 = isa_has(&c->features, FEAT_AVX) ? 7 : 1;
    c->s.idtr.limit = 0;
    c->s.r[R_AX] = c->s.r[R_CX] = 1;
    c->s.v[1].q[0] = 1;
    memcpy(m->ram + 0x10000, code, n);
    m->ram[0x10000 + n] = 0xf4;
    cpu_mode_changed(c);
    assert_true(engine_interp.join(&c, 1, &e));
    enum engine_exit why = engine_interp.run(c, 10);
    unsigned vector = why == ENGINE_HALT ? EXC_NONE : c->chain[0].vector;
    *ax = c->s.r[R_AX];
    engine_interp.part(&c, 1);
    machine_free(m);
    return vector;
}

static void test_absent_instructions_are_undefined(void **state)
{
    /* clang-format off */
    static const struct {
        const char *text, *from, *below; /* the first model that has it, and the one before */
        uint8_t n, code[8];
    } want[] = {
        {"vpaddd ymm0, ymm1, ymm1", "v3", "v2", 4, {0xc5, 0xf5, 0xfe, 0xc1}},
        {"vaddps xmm0, xmm1, xmm1", "v3", "v2", 4, {0xc5, 0xf0, 0x58, 0xc1}},
        {"vfmadd132sd", "v3", "v2", 5, {0xc4, 0xe2, 0xf1, 0x99, 0xc1}},
        {"vcvtph2ps xmm0, xmm1", "v3", "v2", 5, {0xc4, 0xe2, 0x79, 0x13, 0xc1}},
        {"andn eax, eax, ecx", "v3", "v2", 5, {0xc4, 0xe2, 0x78, 0xf2, 0xc1}},
        {"pdep eax, eax, ecx", "v3", "v2", 5, {0xc4, 0xe2, 0x7b, 0xf5, 0xc1}},
        {"movbe eax, [rsp]", "v3", "v2", 5, {0x0f, 0x38, 0xf0, 0x04, 0x24}},
        {"adcx eax, ecx", "v3", "v2", 5, {0x66, 0x0f, 0x38, 0xf6, 0xc1}},
        {"aesenc xmm0, xmm1", "v3", "v2", 5, {0x66, 0x0f, 0x38, 0xdc, 0xc1}},
        {"pclmulqdq xmm0, xmm1, 0", "v3", "v2", 6, {0x66, 0x0f, 0x3a, 0x44, 0xc1, 0}},
        {"sha1nexte xmm0, xmm1", "v3", "v2", 4, {0x0f, 0x38, 0xc8, 0xc1}},
        {"pshufb xmm0, xmm1", "v2", "v1", 5, {0x66, 0x0f, 0x38, 0x00, 0xc1}},
        {"popcnt eax, ecx", "v2", "v1", 4, {0xf3, 0x0f, 0xb8, 0xc1}},
        {"xgetbv", "v2", "v1", 5, {0x31, 0xc9, 0x0f, 0x01, 0xd0}},
        {"rdrand eax", "v2", "v1", 3, {0x0f, 0xc7, 0xf0}},
        {"rdseed eax", "v2", "v1", 3, {0x0f, 0xc7, 0xf8}},
    };
    /* clang-format on */
    uint64_t ax;
    for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
        if (run_on(want[i].from, want[i].code, want[i].n, &ax) != EXC_NONE)
            fail_msg("%s is not in %s", want[i].text, want[i].from);
        if (run_on(want[i].below, want[i].code, want[i].n, &ax) != EXC_UD)
            fail_msg("%s is in %s", want[i].text, want[i].below);
    }
    /* what older processors take for something else: LZCNT is BSR, TZCNT is BSF */
    static const uint8_t lzcnt[] = {0xf3, 0x0f, 0xbd, 0xc1}; /* of 1 */
    run_on("v3", lzcnt, sizeof lzcnt, &ax);
    assert_int_equal(ax, 31);
    run_on("v2", lzcnt, sizeof lzcnt, &ax);
    assert_int_equal(ax, 0);
}

static void test_xsave_leaf(void **state)
{
    struct machine *m = machine_new("v3");
    m->c.s.xcr0 = 3;
    struct cpuid_regs r = cpuid_leaf(&m->c, 0xd, 0);
    assert_int_equal(r.r[0], 7);   /* may be set in XCR0 */
    assert_int_equal(r.r[1], 576); /* what XCR0 enables now */
    assert_int_equal(r.r[2], 832); /* with all */
    m->c.s.xcr0 = 7;
    assert_int_equal(cpuid_leaf(&m->c, 0xd, 0).r[1], 832);
    assert_int_equal(cpuid_leaf(&m->c, 0xd, 1).r[0], 7); /* XSAVEOPT, XSAVEC, XGETBV1; no XSAVES */
    r = cpuid_leaf(&m->c, 0xd, 2);
    assert_int_equal(r.r[0], 256);
    assert_int_equal(r.r[1], 576);
    assert_int_equal(cpuid_leaf(&m->c, 0xd, 3).r[0], 0);
    machine_free(m);
}

/* A kernel's way to the TSC's rate: crystal's kHz * EBX / EAX, in 32 bits. */
static void test_tsc_leaf(void **state)
{
    static const uint64_t rate[] = {1000000000, 2500000000, 2500006000, 2499998000,
                                    3187204000, 5000000000, 999999999,  1695361000};
    struct machine *m = machine_new("v3");
    for (size_t i = 0; i < ARRAY_LEN(rate); i++) {
        m->c.tsc_hz = rate[i];
        struct cpuid_regs r = cpuid_leaf(&m->c, 0x15, 0);
        uint64_t product = (uint64_t)(r.r[2] / 1000) * r.r[1];
        assert_int_equal(product, (uint32_t)product);
        uint64_t khz = product / r.r[0], want = rate[i] / 1000, off = want / 100000;
        assert_true(khz <= want + off && want <= khz + off);
    }
    m->c.tsc_hz = 2500120000; /* 48 millionths off: nothing short is near */
    assert_int_equal(cpuid_leaf(&m->c, 0x15, 0).r[1], 0);
    m->c.tsc_hz = 1000000000;
    assert_int_equal(cpuid_leaf(&m->c, 0x15, 0).r[1], 1);
    machine_free(m);
}

static void test_xgetbv_tells_what_is_in_use(void **state)
{
    static const uint8_t code[] = {0x0f, 0x01, 0xd0}; /* xgetbv of XCR1 */
    uint64_t ax;
    assert_int_equal(run_on("v3", code, sizeof code, &ax), EXC_NONE);
    assert_int_equal(ax, 3); /* the upper halves are all 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_is_v3),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_rows_are_gated),
        cmocka_unit_test(test_absent_instructions_are_undefined),
        cmocka_unit_test(test_xsave_leaf),
        cmocka_unit_test(test_tsc_leaf),
        cmocka_unit_test(test_xgetbv_tells_what_is_in_use),
    };
    return RUN(tests);
}
