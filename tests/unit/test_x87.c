/* The x87 and the images of its state by small pieces of machine code. What single instructions
 * compute is compared with the host's in tests/isa/witness.c. */
#include "unit.h"

#include "cpu/x87.h"
#include "machine_code.h"

#define ONE ((struct f80){1ull << 63, 0x3fff})

/* Runs until the code's end (jmp $) or the first exception, whose vector is returned, or -1. */
static int run(struct pc *p, unsigned instructions)
{
    p->cpu.s.idtr.limit = 0;
    enum engine_exit e = soft_run(&p->cpu, instructions);
    if (e == ENGINE_BUDGET)
        return -1;
    assert_int_equal(e, ENGINE_SHUTDOWN);
    return p->cpu.chain[0].vector;
}

static void start_fpu(struct pc *p)
{
    x87_init(&p->cpu);
    p->cpu.s.cr0 |= CR0_NE | CR0_MP;
    p->cpu.s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    p->cpu.s.xcr0 = 7;
    p->cpu.s.mxcsr = 0x1f80;
    cpu_mode_changed(&p->cpu);
}

static void assert_st(struct pc *p, unsigned i, struct f80 v)
{
    assert_false(x87_empty(&p->cpu, i));
    struct f80 got = x87_get(&p->cpu, i);
    assert_int_equal(got.sig, v.sig);
    assert_int_equal(got.exp, v.exp);
}

static void test_compute_and_store(void **state)
{
    START(FLAT32, 0xd9, 0xe8,            /* fld1 */
          0xd9, 0xeb,                    /* fldpi */
          0xde, 0xc1,                    /* faddp */
          0xdd, 0x1d, 0x00, 0x20, 0, 0); /* fstp qword [2000h] */
    start_fpu(p);
    assert_int_equal(run(p, 4), -1);
    assert_int_equal(get_le64(p->ram + 0x2000), 0x401090fdaa22168c); /* 4.14159… */
    assert_int_equal(p->cpu.s.ftw, 0);
    assert_int_equal(p->cpu.s.fsw, FP_INEXACT);
    assert_int_equal(p->cpu.s.fip, 0x1006);
    assert_int_equal(p->cpu.s.fdp, 0); /* only with unmasked exceptions */
    pc_free(p);
}

static void test_stack_faults(void **state)
{
    START(FLAT32, 0xd8, 0xc1,                  /* fadd st, st(1): nothing there */
          0xd9, 0xf7, 0xd9, 0xe8, 0xd9, 0xf7); /* fincstp; fld1; fincstp */
    start_fpu(p);
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(p->cpu.s.fsw, FP_INVALID | FSW_SF); /* C1 = 0: underflow */
    assert_st(p, 0, (struct f80){3ull << 62, 0xffff});
    p->cpu.s.fsw = 0;
    assert_int_equal(run(p, 2), -1); /* over what is there */
    assert_int_equal(p->cpu.s.fsw & 0xff, FP_INVALID | FSW_SF);
    assert_true(p->cpu.s.fsw & FSW_C1);
    pc_free(p);
}

static void test_unmasked_zero_divide(void **state)
{
    START(FLAT32, 0xd9, 0x2d, 0x00, 0x20, 0, 0, /* fldcw [2000h] */
          0xd9, 0xe8, 0xd9, 0xee,               /* fld1; fldz */
          0xde, 0xf9,                           /* fdivp */
          0xdf, 0xe0,                           /* fnstsw ax: does not wait */
          0x9b);                                /* fwait */
    start_fpu(p);
    put_le16(p->ram + 0x2000, 0x037b);
    assert_int_equal(run(p, 5), -1);
    assert_int_equal(R(R_AX), FSW_B | FSW_ES | FP_DIVZERO | 6 << 11);
    assert_st(p, 1, ONE); /* neither result nor pop */
    assert_int_equal(run(p, 1), EXC_MF);
    assert_int_equal(p->cpu.s.fip, 0x100a);
    pc_free(p);
}

static void ferr_level(void *opaque, bool level)
{
    *(int *)opaque = level;
}

static void test_ferr(void **state)
{
    START(FLAT32, 0xd9, 0x2d, 0x00, 0x20, 0, 0, /* fldcw [2000h] */
          0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9,   /* fld1; fldz; fdivp */
          0x9b, 0xdb, 0xe2);                    /* fwait; fnclex */
    int level = -1;
    start_fpu(p);
    p->cpu.s.cr0 &= ~CR0_NE;
    p->cpu.ferr = ferr_level;
    p->cpu.ferr_opaque = &level;
    cpu_mode_changed(&p->cpu);
    put_le16(p->ram + 0x2000, 0x037b);
    assert_int_equal(run(p, 5), -1);
    assert_int_equal(level, 1);
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(level, 0);
    pc_free(p);
}

static void test_device_not_available(void **state)
{
    static const struct {
        uint8_t code[2];
        uint32_t cr0;
        int vector;
    } cases[] = {
        {{0xd9, 0xe8}, CR0_TS, EXC_NM},          /* fld1 */
        {{0xdb, 0xe3}, CR0_TS, EXC_NM},          /* fninit */
        {{0xd9, 0xe8}, CR0_EM, EXC_NM},          /* … */
        {{0x9b, 0x90}, CR0_TS, -1},              /* fwait without MP */
        {{0x9b, 0x90}, CR0_TS | CR0_MP, EXC_NM}, /* … */
        {{0x9b, 0x90}, CR0_EM | CR0_MP, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        START(FLAT32, cases[i].code[0], cases[i].code[1]);
        start_fpu(p);
        p->cpu.s.cr0 = (p->cpu.s.cr0 & ~(CR0_TS | CR0_EM | CR0_MP)) | cases[i].cr0;
        cpu_mode_changed(&p->cpu);
        assert_int_equal(run(p, 1), cases[i].vector);
        pc_free(p);
    }
}

static void test_faulting_store_changes_nothing(void **state)
{
    START(FLAT64, 0xd9, 0xeb,                    /* fldpi */
          0xdd, 0x1c, 0x25, 0x00, 0x00, 0x40, 0, /* fstp qword [400000h], not mapped */
          0xeb, 0xfe);
    start_fpu(p);
    assert_int_equal(run(p, 1), -1);
    uint16_t fsw = p->cpu.s.fsw;
    uint64_t fip = p->cpu.s.fip;
    assert_int_equal(run(p, 1), EXC_PF);
    assert_int_equal(p->cpu.s.fsw, fsw);
    assert_int_equal(p->cpu.s.fip, fip);
    assert_false(x87_empty(&p->cpu, 0));
    pc_free(p);
}

static void test_real_mode_environment(void **state)
{
    START(REAL, 0xd9, 0x06, 0x00, 0x20, /* fld dword [2000h] */
          0xd9, 0x36, 0x00, 0x30,       /* fnstenv [3000h] */
          0x66, 0xdd, 0x36, 0x00, 0x40, /* fnsave [4000h], 108 bytes */
          0x66, 0xdd, 0x26, 0x00, 0x40, /* frstor [4000h] */
          0xd9, 0x26, 0x00, 0x30);      /* fldenv [3000h] */
    start_fpu(p);
    p->cpu.s.seg[SEG_DS].sel = 0x1000; /* as if; the base stays 0 */
    p->cpu.s.fcw &= ~FP_DENORMAL;
    put_le32(p->ram + 0x2000, 0x00400000); /* a denormal is loaded, and its exception pending */
    assert_int_equal(run(p, 2), -1);
    uint8_t *b = p->ram + 0x3000;
    assert_int_equal(get_le16(b), FCW_INIT & ~FP_DENORMAL);
    assert_int_equal(get_le16(b + 2), 7 << 11 | FP_DENORMAL | FSW_ES | FSW_B);
    assert_int_equal(get_le16(b + 4), 0x3fff);
    assert_int_equal(get_le16(b + 6), 0x1000);
    assert_int_equal(get_le16(b + 8), 0x106);   /* IP 19:16, opcode */
    assert_int_equal(get_le16(b + 10), 0x2000); /* 12000h */
    assert_int_equal(get_le16(b + 12), 0x1000);
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(p->cpu.s.ftw, 0); /* FNSAVE initialises */
    assert_int_equal(get_le64(p->ram + 0x4000 + 28), 1ull << 63);
    put_le16(b + 2, 7 << 11);
    put_le16(p->ram + 0x4000 + 4, 7 << 11);
    assert_int_equal(run(p, 2), -1);
    assert_st(p, 0, (struct f80){1ull << 63, 0x3f80});
    assert_int_equal(p->cpu.s.fdp, 0x12000);
    pc_free(p);
}

static void test_fxsave(void **state)
{
    START(FLAT64, 0xd9, 0xe8,                        /* fld1 */
          0x0f, 0xae, 0x04, 0x25, 0x00, 0x20, 0, 0,  /* fxsave [2000h] */
          0xdb, 0xe3,                                /* fninit */
          0x0f, 0xae, 0x0c, 0x25, 0x00, 0x20, 0, 0,  /* fxrstor [2000h] */
          0x0f, 0xae, 0x04, 0x25, 0x08, 0x20, 0, 0); /* fxsave [2008h] */
    start_fpu(p);
    p->cpu.s.v[15].q[1] = 77;
    memset(p->ram + 0x2000 + 416, 0x5a, 96);
    assert_int_equal(run(p, 2), -1);
    assert_int_equal(p->ram[0x2004], 0x80);
    assert_int_equal(get_le64(p->ram + 0x2020), 1ull << 63);
    assert_int_equal(get_le32(p->ram + 0x2018), 0x1f80);
    assert_int_equal(get_le64(p->ram + 0x2000 + 160 + 15 * 16 + 8), 77);
    assert_int_equal(p->ram[0x2000 + 416], 0x5a);
    p->cpu.s.v[15].q[1] = 0;
    assert_int_equal(run(p, 2), -1);
    assert_st(p, 0, ONE);
    assert_int_equal(p->cpu.s.v[15].q[1], 77);
    assert_int_equal(run(p, 1), EXC_GP);
    pc_free(p);
}

static void test_fxrstor_refuses_reserved_mxcsr(void **state)
{
    START(FLAT64, 0x0f, 0xae, 0x0c, 0x25, 0x00, 0x20, 0, 0); /* fxrstor [2000h] */
    start_fpu(p);
    put_le32(p->ram + 0x2018, 0x10000);
    assert_int_equal(run(p, 1), EXC_GP);
    assert_int_equal(p->cpu.s.fcw, FCW_INIT);
    pc_free(p);
}

#define XSAVE(reg) 0x0f, 0xae, 0x04 | (reg) << 3, 0x25, 0x00, 0x20, 0, 0 /* [2000h] */

static void test_xsave(void **state)
{
    START(FLAT64, XSAVE(4), XSAVE(5),                /* xsave, xrstor */
          0x0f, 0xc7, 0x24, 0x25, 0x00, 0x30, 0, 0,  /* xsavec [3000h] */
          0x0f, 0xae, 0x2c, 0x25, 0x00, 0x30, 0, 0); /* xrstor [3000h] */
    start_fpu(p);
    R(R_AX) = 7;
    p->cpu.s.v[3].q[0] = 5;
    p->cpu.s.v[3].q[2] = 6;
    memset(p->ram + 0x2000, 0x11, 64);
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(get_le64(p->ram + 0x2200), 7); /* XSTATE_BV */
    assert_int_equal(get_le64(p->ram + 0x2208), 0);
    assert_int_equal(get_le16(p->ram + 0x2000), FCW_INIT);
    assert_int_equal(get_le64(p->ram + 0x2000 + 160 + 48), 5);
    assert_int_equal(get_le64(p->ram + 0x2000 + 576 + 48), 6);
    p->cpu.s.fcw = 0x27f;
    p->cpu.s.v[3].q[0] = p->cpu.s.v[3].q[2] = 0;
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(p->cpu.s.fcw, FCW_INIT);
    assert_int_equal(p->cpu.s.v[3].q[0], 5);
    assert_int_equal(p->cpu.s.v[3].q[2], 6);
    p->cpu.s.v[3].q[2] = 0;
    memset(p->ram + 0x3240, 0x11, 256);
    assert_int_equal(run(p, 1), -1);
    assert_int_equal(get_le64(p->ram + 0x3200), 3);
    assert_int_equal(get_le64(p->ram + 0x3208), 7 | 1ull << 63);
    assert_int_equal(p->ram[0x3240], 0x11); /* XSAVEC leaves what is initial alone */
    put_le64(p->ram + 0x3210, 1);           /* a reserved part of the header */
    assert_int_equal(run(p, 1), EXC_GP);
    pc_free(p);
}

static void test_xsave_needs_osxsave(void **state)
{
    START(FLAT64, XSAVE(4));
    start_fpu(p);
    p->cpu.s.cr4 &= ~CR4_OSXSAVE;
    cpu_mode_changed(&p->cpu);
    assert_int_equal(run(p, 1), EXC_UD);
    pc_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compute_and_store),
        cmocka_unit_test(test_stack_faults),
        cmocka_unit_test(test_unmasked_zero_divide),
        cmocka_unit_test(test_ferr),
        cmocka_unit_test(test_device_not_available),
        cmocka_unit_test(test_faulting_store_changes_nothing),
        cmocka_unit_test(test_real_mode_environment),
        cmocka_unit_test(test_fxsave),
        cmocka_unit_test(test_fxrstor_refuses_reserved_mxcsr),
        cmocka_unit_test(test_xsave),
        cmocka_unit_test(test_xsave_needs_osxsave),
    };
    return RUN(tests);
}
