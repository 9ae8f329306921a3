/* Corners that a comparison with the host's processor found wrong, one small test each. All run as
 * user code; a fault ends in a shutdown whose chain tells of it. */
#include "cpu_machine.h"

#include "engine/engine.h"

#define CODE   0x10000u
#define DATA   0x20000u
#define ABSENT 0x40000000u /* the tables end there */

static struct machine *user64(void)
{
    struct machine *m = machine_new("v3");
    long_mode(m, 3);
    m->c.s.cr0 |= CR0_AM;
    m->c.s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    m->c.s.xcr0 = 7;
    m->c.s.idtr.limit = 0;
    cpu_mode_changed(&m->c);
    return m;
}

static struct machine *user32(const char *model)
{
    struct machine *m = machine_new(model);
    protected_mode(m, 3);
    m->c.s.cr0 |= CR0_AM;
    m->c.s.idtr.limit = 0;
    cpu_mode_changed(&m->c);
    return m;
}

/* Runs one instruction; its exception, or EXC_NONE. The machine goes. */
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

static void check_alignment(struct machine *m)
{
    flags_set(&m->c, flags_get(&m->c) | EF_AC);
}

static void test_segment_numbers_ignore_rex(void **state)
{
    struct machine *m = user64();
    m->c.s.seg[SEG_FS].sel = 3;
    assert_int_equal(RUN_CODE(m, 0x47, 0x8c, 0xe3), EXC_NONE); /* mov r11d, fs */
    assert_int_equal(REG(m, R_11), 3);
    machine_free(m);
}

static void test_arpl_writes_only_a_change(void **state)
{
    for (unsigned raises = 0; raises < 2; raises++) {
        struct machine *m = user32("v3");
        m->c.s.seg[SEG_DS].attr = 0xc0f1; /* read-only */
        cpu_mode_changed(&m->c);
        poke(m, DATA, 2, raises ? 0 : 3);
        REG(m, R_BX) = DATA;
        REG(m, R_AX) = 3;
        assert_int_equal(RUN_CODE(m, 0x63, 0x03), raises ? EXC_GP : EXC_NONE); /* arpl [ebx], ax */
        machine_free(m);
    }
}

static void test_bound_reads_the_lower_bound_first(void **state)
{
    for (unsigned below = 0; below < 2; below++) {
        struct machine *m = user32("v3");
        m->c.s.seg[SEG_DS].limit = DATA + 3; /* the upper bound is beyond */
        cpu_mode_changed(&m->c);
        poke(m, DATA, 4, 5);
        REG(m, R_BX) = DATA;
        REG(m, R_DX) = below ? 4 : 5;
        assert_int_equal(RUN_CODE(m, 0x62, 0x13), below ? EXC_BR : EXC_GP); /* bound edx, [ebx] */
        machine_free(m);
    }
}

static void test_cache_lines_must_be_mapped(void **state)
{
    for (unsigned i = 0; i < 6; i++) {
        struct machine *m = user64();
        unsigned want = i & 1 ? EXC_NONE : EXC_PF;
        REG(m, R_BX) = i & 1 ? DATA : ABSENT;
        if (i < 2)
            assert_int_equal(RUN_CODE(m, 0x0f, 0xae, 0x3b), want); /* clflush [rbx] */
        else if (i < 4)
            assert_int_equal(RUN_CODE(m, 0x66, 0x0f, 0xae, 0x3b), want); /* clflushopt */
        else
            assert_int_equal(RUN_CODE(m, 0x66, 0x0f, 0xae, 0x33), want); /* clwb */
        machine_free(m);
    }
}

static void test_later_models_keep_no_fpu_selectors(void **state)
{
    for (unsigned late = 0; late < 2; late++) {
        struct machine *m = user32(late ? "v3" : "v2");
        m->c.s.fcs = 0x1234;
        m->c.s.fds = 0x5678;
        REG(m, R_BX) = DATA;
        assert_int_equal(RUN_CODE(m, 0xd9, 0x33), EXC_NONE); /* fnstenv [ebx] */
        assert_int_equal(peek(m, DATA + 16, 2), late ? 0 : 0x1234);
        assert_int_equal(peek(m, DATA + 24, 2), late ? 0 : 0x5678);
        machine_free(m);
    }
}

static void test_rep_of_nothing_truncates(void **state)
{
    static const uint8_t ops[] = {0xa4, 0xaa, 0xac, 0xa6};
    static const bool truncates[][2] = {
        {true, true}, {false, true}, {false, false}, {false, false}};
    for (unsigned i = 0; i < 4; i++) {
        struct machine *m = user64();
        REG(m, R_CX) = 5ull << 32;
        REG(m, R_SI) = REG(m, R_DI) = 7ull << 32 | DATA;
        assert_int_equal(RUN_CODE(m, 0x67, 0xf3, ops[i]), EXC_NONE);
        assert_int_equal(REG(m, R_CX), 0);
        assert_int_equal(REG(m, R_SI) >> 32, truncates[i][0] ? 0 : 7);
        assert_int_equal(REG(m, R_DI) >> 32, truncates[i][1] ? 0 : 7);
        machine_free(m);
    }
}

static void test_rep_io_of_nothing_needs_the_right(void **state)
{
    struct machine *m = user64();
    REG(m, R_CX) = 0;
    assert_int_equal(RUN_CODE(m, 0xf3, 0x6e), EXC_GP); /* rep outsb */
    machine_free(m);
    m = user64();
    assert_int_equal(RUN_CODE(m, 0xf3, 0x6c), EXC_GP); /* rep insb */
    machine_free(m);
}

static void test_frames_are_checked_for_alignment(void **state)
{
    struct machine *m = user64();
    check_alignment(m);
    REG(m, R_SP) = DATA;
    assert_int_equal(RUN_CODE(m, 0xc8, 0xba, 0, 0), EXC_AC); /* enter: rsp ends misaligned */
    machine_free(m);
    m = user64();
    check_alignment(m);
    REG(m, R_SP) = DATA + 0x800;
    REG(m, R_BP) = ABSENT + 0x7f; /* the frames before are read misaligned where no page is, too */
    assert_int_equal(RUN_CODE(m, 0xc8, 0, 0, 3), EXC_AC);
    machine_free(m);
    m = user64();
    check_alignment(m);
    REG(m, R_SP) = ABSENT + 0x1003;
    assert_int_equal(RUN_CODE(m, 0xc8, 0, 0, 0), EXC_AC); /* before the page fault */
    machine_free(m);
    m = user32("v3");
    check_alignment(m);
    REG(m, R_SP) = DATA + 2;
    assert_int_equal(RUN_CODE(m, 0x60), EXC_AC); /* pushad */
    machine_free(m);
}

static void test_masked_lanes_are_not_checked_for_alignment(void **state)
{
    struct machine *m = user64();
    check_alignment(m);
    REG(m, R_CX) = DATA + 1;
    memset(&m->c.s.v[1], 0xff, 32);
    poke(m, DATA + 1, 8, 0x1122334455667788);
    /* vmaskmovpd ymm3, ymm1, [rcx] */
    assert_int_equal(RUN_CODE(m, 0xc4, 0xe2, 0x75, 0x2d, 0x19), EXC_NONE);
    assert_true(m->c.s.v[3].q[0] == 0x1122334455667788);
    machine_free(m);
}

static void test_a_gather_that_faults(void **state)
{
    struct machine *m = user64();
    struct cpu_state *s = &m->c.s;
    memset(&s->v[0], 0x55, 32);
    memset(&s->v[1], 0, 32);
    s->v[1].d[1] = ABSENT - DATA;
    memset(&s->v[2], 0, 32);
    s->v[2].d[0] = s->v[2].d[1] = s->v[2].d[3] = 0x80000000;
    s->v[2].q[3] = 1;
    REG(m, R_BX) = DATA;
    poke(m, DATA, 4, 0x1234);
    /* vpgatherdd xmm0, [rbx+xmm1], xmm2 */
    assert_int_equal(RUN_CODE(m, 0xc4, 0xe2, 0x69, 0x90, 0x04, 0x0b), EXC_PF);
    assert_int_equal(s->v[0].d[0], 0x1234); /* done, and the upper half went */
    assert_int_equal(s->v[0].d[1], 0x55555555);
    assert_int_equal(s->v[0].q[2], 0);
    assert_int_equal(s->v[2].d[0], 0);
    assert_int_equal(s->v[2].d[1], 0xffffffff);
    assert_int_equal(s->v[2].d[2], 0);
    assert_int_equal(s->v[2].d[3], 0xffffffff);
    assert_int_equal(s->v[2].q[3], 0);
    machine_free(m);
}

static void test_which_fault_for_a_stack_operand(void **state)
{
    struct machine *m = user64();
    REG(m, R_BP) = 0xc80000000001;
    /* paddusb xmm7, [rbp+0]: alignment comes before the address */
    assert_int_equal(RUN_CODE(m, 0x66, 0x0f, 0xdc, 0x7d, 0), EXC_GP);
    machine_free(m);
    m = user64();
    REG(m, R_BP) = 0xc80000000000;
    assert_int_equal(RUN_CODE(m, 0x66, 0x0f, 0xdc, 0x7d, 0), EXC_SS);
    machine_free(m);
    m = user64();
    REG(m, R_BP) = 0xc80000000000;
    assert_int_equal(RUN_CODE(m, 0xde, 0x75, 0), EXC_SS); /* fidiv word [rbp+0] */
    machine_free(m);
    m = user64();
    check_alignment(m);
    REG(m, R_SI) = 0xc80000000001;
    assert_int_equal(RUN_CODE(m, 0xdd, 0x0e), EXC_GP); /* fisttp qword [rsi] */
    machine_free(m);
}

static void test_segment_comes_before_alignment(void **state)
{
    struct machine *m = user32("v3");
    check_alignment(m);
    REG(m, R_BX) = DATA + 2;
    assert_int_equal(RUN_CODE(m, 0x2e, 0xd9, 0x33), EXC_GP); /* fnstenv cs:[ebx] */
    machine_free(m);
}

static void test_base_registers_ignore_66(void **state)
{
    struct machine *m = user64();
    m->c.s.seg[SEG_FS].base = 0x12345678;
    REG(m, R_10) = ~0ull;
    assert_int_equal(RUN_CODE(m, 0x66, 0xf3, 0x41, 0x0f, 0xae, 0xc2), EXC_NONE); /* rdfsbase r10d */
    assert_true(REG(m, R_10) == 0x12345678);
    machine_free(m);
}

static void test_half_precision_is_computed_before_it_is_stored(void **state)
{
    for (unsigned unmasked = 0; unmasked < 2; unmasked++) {
        struct machine *m = user64();
        m->c.s.mxcsr = unmasked ? 0x1f80 & ~0x1000u : 0x1f80;
        m->c.s.v[1].d[0] = 0x3f800001; /* inexact in half precision */
        REG(m, R_BX) = ABSENT;
        /* vcvtps2ph [rbx], xmm1, 0 */
        assert_int_equal(RUN_CODE(m, 0xc4, 0xe3, 0x79, 0x1d, 0x0b, 0), unmasked ? EXC_XM : EXC_PF);
        assert_true(m->c.s.mxcsr & 0x20);
        machine_free(m);
    }
}

/* Images and ten-byte numbers are accessed in pieces, each of which begins where the address size
 * can reach; vectors are one operand, whose bytes go on beyond it. FS is below: offsets near 4 GiB
 * are in memory, and so is what lies behind them, while offset 0 is nowhere. */
static void test_pieces_begin_within_the_address_size(void **state)
{
    static const struct {
        uint8_t code[8];
        uint8_t length;
        uint32_t below; /* 4 GiB, the operand begins */
        bool pieces;
    } cases[] = {
        {{0x64, 0x67, 0x0f, 0xae, 0x00}, 5, 0x100, true},    /* fxsave fs:[eax] */
        {{0x64, 0x67, 0x0f, 0xae, 0x00}, 5, 0x200, false},   /* it ends there */
        {{0x64, 0x67, 0x0f, 0xae, 0x20}, 5, 0x100, true},    /* xsave */
        {{0x64, 0x67, 0x0f, 0xc7, 0x20}, 5, 0x100, true},    /* xsavec */
        {{0x64, 0x67, 0x0f, 0xae, 0x28}, 5, 0x100, true},    /* xrstor */
        {{0x64, 0x67, 0xdd, 0x30}, 4, 108 - 10, true},       /* fnsave */
        {{0x64, 0x67, 0xd9, 0x30}, 4, 28 - 4, true},         /* fnstenv */
        {{0x64, 0x67, 0xd9, 0x30}, 4, 28 - 2, false},        /* its last doubleword crosses */
        {{0x64, 0x67, 0xd9, 0x20}, 4, 28 - 4, true},         /* fldenv */
        {{0x64, 0x67, 0xdb, 0x38}, 4, 8, true},              /* fstp tbyte ptr */
        {{0x64, 0x67, 0xdb, 0x38}, 4, 9, false},             /* the exponent crosses */
        {{0x64, 0x67, 0xdb, 0x28}, 4, 8, true},              /* fld tbyte ptr */
        {{0x64, 0x67, 0x0f, 0x11, 0x00}, 5, 8, false},       /* movups fs:[eax], xmm0 */
        {{0x64, 0x67, 0xc5, 0xfc, 0x11, 0x00}, 6, 8, false}, /* vmovups fs:[eax], ymm0 */
        {{0x64, 0x67, 0xc4, 0xe2, 0x75, 0x2e, 0x08},
         7,
         8,
         false},                                              /* vmaskmovps [eax], ymm1, ymm1 */
        {{0x64, 0x67, 0x66, 0x0f, 0xf7, 0xc9}, 6, 8, true},   /* maskmovdqu xmm1, xmm1 */
        {{0x64, 0x67, 0x66, 0x0f, 0xf7, 0xc9}, 6, 11, false}, /* the second half crosses */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct machine *m = user64();
        m->c.s.seg[SEG_FS].base = (uint64_t)DATA - BIT(32);
        cpu_mode_changed(&m->c);
        memset(m->c.s.v[1].b, 0xff, 32);
        put_le32(m->ram + DATA - 0x100 + 24, 0x1f80); /* MXCSR of an image */
        REG(m, R_AX) = 0xdeadbeef00000000 | (uint32_t)-cases[i].below;
        REG(m, R_DI) = REG(m, R_AX);
        assert_int_equal(run_code(m, cases[i].code, cases[i].length),
                         cases[i].pieces ? EXC_PF : EXC_NONE);
        machine_free(m);
    }
}

/* Here the legacy region is nowhere, and the header is at offset 0. `present` and
 * `comp` are its XSTATE_BV and XCOMP_BV. */
static void test_which_parts_of_an_image_are_asked_for(void **state)
{
    static const struct {
        uint8_t code[5], want, present;
        uint64_t comp;
        unsigned vector;
    } cases[] = {
        {{0x64, 0x67, 0x0f, 0xae, 0x23}, 0, 0, 0, EXC_NONE}, /* xsave fs:[ebx] */
        {{0x64, 0x67, 0x0f, 0xae, 0x23}, 1, 0, 0, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x23}, 4, 0, 0, EXC_PF},   /* for MXCSR */
        {{0x64, 0x67, 0x0f, 0xc7, 0x23}, 0, 0, 0, EXC_NONE}, /* xsavec */
        {{0x64, 0x67, 0x0f, 0xc7, 0x23}, 2, 0, 0, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xc7, 0x23}, 4, 0, 0, EXC_NONE},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 0, 0, 0, EXC_NONE}, /* xrstor */
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 1, 0, 0, EXC_PF},   /* though it is initial */
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 4, 0, 0, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 4, 0, BIT(63) | 7, EXC_NONE},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 2, 0, BIT(63) | 7, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 3, 0, BIT(63) | 4, EXC_NONE}, /* the image has none */
        /* A bad header: XCOMP_BV comes before the legacy region, the rest behind it. */
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 0, 0x80, 0, EXC_GP},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 1, 0x80, 0, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 1, 0, 1, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 1, 0, BIT(63) | BIT(62) | 7, EXC_GP},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 1, 4, BIT(63) | 3, EXC_PF},
        {{0x64, 0x67, 0x0f, 0xae, 0x2b}, 4, 4, BIT(63) | 3, EXC_GP},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct machine *m = user64();
        m->c.s.seg[SEG_FS].base = DATA;
        cpu_mode_changed(&m->c);
        put_le64(m->ram + DATA, cases[i].present);
        put_le64(m->ram + DATA + 8, cases[i].comp);
        REG(m, R_BX) = 0xfffffe00;
        REG(m, R_AX) = cases[i].want;
        REG(m, R_DX) = 0;
        assert_int_equal(run_code(m, cases[i].code, 5), cases[i].vector);
        machine_free(m);
    }
}

/* The AVX part of an image is behind the end of memory. */
static void test_avx_is_asked_for_though_initial(void **state)
{
    static const struct {
        uint8_t want;
        uint64_t comp;
        unsigned vector;
    } cases[] = {
        {3, 0, EXC_NONE},           {4, 0, EXC_PF},           {4, 1, EXC_PF}, {3, 1, EXC_GP},
        {7, BIT(63) | 3, EXC_NONE}, {4, BIT(63) | 4, EXC_PF},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct machine *m = user64();
        const uint32_t at = BIT(21) - 576; /* by the tables' last entry */
        poke(m, PD_AT + 8 * 511, 8, 0x87);
        put_le32(m->ram + at + 24, 0x1f80);
        put_le64(m->ram + at + 512 + 8, cases[i].comp);
        REG(m, R_BX) = ABSENT - 576;
        REG(m, R_AX) = cases[i].want;
        REG(m, R_DX) = 0;
        assert_int_equal(RUN_CODE(m, 0x0f, 0xae, 0x2b), cases[i].vector); /* xrstor [rbx] */
        machine_free(m);
    }
}

static void test_instruction_pointers_of_images_have_48_bits(void **state)
{
    struct machine *m = user64();
    REG(m, R_BX) = DATA;
    put_le64(m->ram + DATA + 8, 0x3481e92927dd0f7e);
    put_le64(m->ram + DATA + 16, 0x380ed581d4e44fcf);
    assert_int_equal(RUN_CODE(m, 0x48, 0x0f, 0xae, 0x0b), EXC_NONE); /* fxrstor64 [rbx] */
    assert_int_equal(m->c.s.fip, 0xffffe92927dd0f7e);
    assert_int_equal(m->c.s.fdp, 0x380ed581d4e44fcf);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_numbers_ignore_rex),
        cmocka_unit_test(test_arpl_writes_only_a_change),
        cmocka_unit_test(test_bound_reads_the_lower_bound_first),
        cmocka_unit_test(test_cache_lines_must_be_mapped),
        cmocka_unit_test(test_later_models_keep_no_fpu_selectors),
        cmocka_unit_test(test_rep_of_nothing_truncates),
        cmocka_unit_test(test_rep_io_of_nothing_needs_the_right),
        cmocka_unit_test(test_frames_are_checked_for_alignment),
        cmocka_unit_test(test_masked_lanes_are_not_checked_for_alignment),
        cmocka_unit_test(test_a_gather_that_faults),
        cmocka_unit_test(test_which_fault_for_a_stack_operand),
        cmocka_unit_test(test_segment_comes_before_alignment),
        cmocka_unit_test(test_base_registers_ignore_66),
        cmocka_unit_test(test_half_precision_is_computed_before_it_is_stored),
        cmocka_unit_test(test_pieces_begin_within_the_address_size),
        cmocka_unit_test(test_which_parts_of_an_image_are_asked_for),
        cmocka_unit_test(test_avx_is_asked_for_though_initial),
        cmocka_unit_test(test_instruction_pointers_of_images_have_48_bits),
    };
    return RUN(tests);
}
