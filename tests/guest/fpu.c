/* The FPU's own ways to fault: #NM, #MF and FERR#, #XM, #UD by control bits, and FXSAVE, FXRSTOR,
 * XSAVE and XRSTOR with their formats (SDM 1 chapters 8, 11, 13; SDM 3A 2.5, 6.15).
 *
 * kind: check64
 */
#include "lib/check.h"

#define CR0_MP  2ul
#define CR0_EM  4ul
#define CR0_TS  8ul
#define CR0_NE  0x20ul
#define OSFXSR  0x200ul
#define OSXMM   0x400ul
#define OSXSAVE 0x40000ul

uint8_t area[1024] __attribute__((aligned(64)));
static uint8_t *const save = area;

static void cr0(word bits)
{
    WRITE_REG("cr0", (READ_REG("cr0") & ~(CR0_MP | CR0_EM | CR0_TS | CR0_NE)) | bits);
}

static void cr4(word bits)
{
    WRITE_REG("cr4", (READ_REG("cr4") & ~(OSFXSR | OSXMM | OSXSAVE)) | bits);
}

/* RDI is the save area. */
static void with(struct code c, word offset)
{
    prep0(c);
    in.di = (word)area + offset;
    run();
}

static void expect(const char *name, struct code c, unsigned vector)
{
    with(c, 0);
    fault(name, c, vector, 0);
}

static void control_bits(void)
{
    struct code x87 = CODE("fnop"), wait = CODE("fwait"), mmx = CODE("emms"),
                sse = CODE("xorps %xmm0, %xmm0"), sse2 = CODE("movapd (%rdi), %xmm0"),
                fx = CODE("fxsave (%rdi)"), init = CODE("fninit"), mxcsr = CODE("stmxcsr (%rdi)"),
                fence = CODE("lfence; mfence; sfence; prefetcht0 (%rdi)"),
                nti = CODE("movnti %eax, (%rdi)"),
                crc = CODE("crc32b %al, %ecx; popcnt %eax, %ecx");
    cr4(OSFXSR | OSXMM);
    cr0(CR0_NE);
    expect("x87", x87, DONE);
    expect("SSE", sse, DONE);
    cr0(CR0_NE | CR0_TS);
    expect("TS: x87", x87, NM);
    differs("SDM 3A 2.5: TS makes MMX #NM");
    expect("TS: MMX", mmx, NM);
    expect("TS: SSE", sse, NM);
    expect("TS: FXSAVE", fx, NM);
    expect("TS: FNINIT", init, NM);
    expect("TS: STMXCSR", mxcsr, NM);
    expect("TS without MP: FWAIT", wait, DONE);
    expect("TS: fences and PREFETCH", fence, DONE);
    expect("TS: MOVNTI", nti, DONE);
    if ((cpuid(1, 0).c >> 20 & 1) && (cpuid(1, 0).c >> 23 & 1))
        expect("TS: CRC32 and POPCNT", crc, DONE);
    else
        skip("TS: CRC32 and POPCNT", "no such features");
    cr0(CR0_NE | CR0_TS | CR0_MP);
    expect("TS and MP: FWAIT", wait, NM);
    cr0(CR0_NE | CR0_MP);
    expect("MP alone: FWAIT", wait, DONE);
    cr0(CR0_NE | CR0_EM);
    expect("EM: x87", x87, NM);
    differs("SDM 3A 2.5: EM makes MMX #UD");
    expect("EM: MMX", mmx, UD);
    expect("EM: SSE", sse, UD);
    expect("EM: SSE2 load", sse2, UD);
    expect("EM: FXSAVE", fx, NM);
    expect("EM: FWAIT", wait, DONE);
    cr0(CR0_NE | CR0_EM | CR0_TS);
    differs("SDM 3A 2.5: EM makes MMX #UD");
    expect("EM and TS: MMX", mmx, UD);
    differs("SDM 3A 6.15 #UD comes before #NM");
    expect("EM and TS: SSE", sse, UD);
    cr0(CR0_NE);
    cr4(0);
    expect("no OSFXSR: SSE", sse, UD);
    expect("no OSFXSR: STMXCSR", mxcsr, UD);
    expect("no OSFXSR: MMX", mmx, DONE);
    expect("no OSFXSR: FXSAVE", fx, DONE);
    cr0(CR0_NE | CR0_TS);
    expect("no OSFXSR and TS: SSE", sse, UD);
    cr0(CR0_NE);
    cr4(OSFXSR | OSXMM);
    struct code clts = CODE("clts");
    run3(clts);
    fault("CLTS at level 3", clts, GP, 0);
    cr0(CR0_NE | CR0_TS);
    expect("CLTS", CODE("clts; fnop"), DONE);
}

static unsigned irqs;

static bool on_irq13(void)
{
    irqs++;
    __asm__ volatile("fnclex");
    outb(0xf0, 0);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    return true;
}

#define NO_FERR "SDM 3C A.7: CR0.NE is 1 in VMX operation; and nobody listens to SVM's FERR#"

static void x87_errors(void)
{
    struct code c;
    cr0(CR0_NE);
    c = CODE("fninit; fldz; fld1; fdivp; fnstsw %ax; fwait");
    expect("zero divide, masked", c, DONE);
    same("… ZE is set, ES is not", got.ax & 0x80ff, 0x0004);
    *(uint16_t *)area = 0x037b; /* ZM clear */
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; fnstsw %ax; 7: fwait");
    with(c, 0);
    fault("zero divide, unmasked: #MF at the next instruction that waits", c, MF, 0);
    same("… ES and B are set", got.ax & 0x8084, 0x8084);
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; 7: fld1");
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("… the next x87 instruction waits", c, MF, 0);
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; fnstcw 8(%rdi); fnstsw %ax; "
             "fnclex; fwait; fld1");
    with(c, 0);
    done("FNSTCW, FNSTSW and FNCLEX do not wait; FNCLEX clears it");
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; 7: emms");
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("MMX waits too", c, MF, 0);
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; xorps %xmm0, %xmm0; fninit");
    with(c, 0);
    done("SSE and FNINIT do not");
    c = CODE("fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; fxsave 64(%rdi); fninit");
    with(c, 0);
    done("FXSAVE does not");
    c = CODE("fninit; fldz; fld1; fdiv %st(1), %st; fldcw (%rdi); 7: fld1");
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("FLDCW unmasks an old exception", c, MF, 0);
    *(uint16_t *)area = 0x037e; /* IM clear */
    c = CODE("fninit; fldcw (%rdi); fstp %st(0); fnstsw %ax; 7: fwait");
    with(c, 0);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    fault("stack underflow, unmasked", c, MF, 0);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    same("… IE and SF, C1 clear", got.ax & 0x0241, 0x0041);
    c = CODE("fninit; .rept 9; fld1; .endr; fnstsw %ax; fxsave 64(%rdi)");
    with(c, 0);
    done("stack overflow, masked");
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    same("… IE, SF and C1", got.ax & 0x0241, 0x0241);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    same("… the indefinite NaN", *(uint64_t *)(area + 64 + 32), 0xc000000000000000ul);
    c = CODE("fninit; fldpi; .rept 7; fld1; .endr; fldcw (%rdi); fldz; fnstsw %ax; fxsave 64(%rdi);"
             "7: fwait");
    with(c, 0);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    fault("stack overflow, unmasked", c, MF, 0);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    same("… IE, SF and C1, TOP as before", got.ax & 0x3a41, 0x0241);
    differs("SDM 1 8.5.1.1: stack overflow and underflow");
    same("… no register changes", *(uint64_t *)(area + 64 + 32 + 7 * 16), 0xc90fdaa22168c235ul);
    *(uint16_t *)area = 0x035f; /* PM clear */
    c = CODE("fninit; fldcw (%rdi); fld1; fldpi; fdivrp; fxsave 64(%rdi); 7: fwait");
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("inexact, unmasked", c, MF, 0);
    same("… the result is written all the same", *(uint64_t *)(area + 64 + 32),
         0xa2f9836e4e44152aul);
    *(uint16_t *)area = 0x0377; /* OM clear */
    *(uint32_t *)(area + 40) = 0x11111111;
    c = CODE("fninit; fldcw (%rdi); fldl 48(%rdi); fstps 40(%rdi); fnstsw %ax; 7: fwait");
    *(uint64_t *)(area + 48) = 0x7fe0000000000000ul;
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("overflow of FSTP, unmasked", c, MF, 0);
    differs("SDM 1 8.5.4: nothing is stored, and the stack is not popped");
    same("… nothing is stored", *(uint32_t *)(area + 40), 0x11111111);
    differs("SDM 1 8.5.4: nothing is stored, and the stack is not popped");
    same("… nothing is popped", got.ax & 0x3800, 0x3800);
    *(uint16_t *)area = 0x037d; /* DM clear */
    *(uint64_t *)(area + 48) = 1;
    c = CODE("fninit; fldcw (%rdi); fld1; faddl 48(%rdi); fxsave 64(%rdi); 7: fwait");
    with(c, 0);
    differs("SDM 1 8.6: waiting instructions check for pending exceptions");
    fault("denormal operand, unmasked", c, MF, 0);
    same("… ST0 is as it was", *(uint64_t *)(area + 64 + 32), 0x8000000000000000ul);
    c = CODE("fninit; fnstsw %ax");
    with(c, 0);
    same("FNINIT clears the status", got.ax & 0xffff, 0);
    /* CR0.NE 0: IRQ 13 by FERR# at the next instruction that waits, port 0xf0 lets it go on */
    static const uint8_t icw[] = {0x11, 0x20, 4, 1, 0xfb, 0x11, 0x28, 2, 1, 0xdf};
    for (unsigned i = 0; i < sizeof icw; i++)
        outb(0x20 + 0x80 * (i / 5) + (i % 5 > 0), icw[i]);
    *(volatile uint32_t *)0xfee000f0ul = 0x1ff; /* the 8259 pair by the local APIC's LINT0 */
    *(volatile uint32_t *)0xfee00350ul = 0x700;
    cr0(0);
    *(uint16_t *)area = 0x037b;
    c = CODE("fninit; fldcw (%rdi); sti; fldz; fld1; fdiv %st(1), %st; fld1; nop; cli");
    hooks[0x2d] = on_irq13;
    irqs = 0;
    with(c, 0);
    not_virtualised(NO_FERR);
    done("NE 0: no #MF");
    not_virtualised(NO_FERR);
    differs("SDM 3A 9.2.2: FERR# at the next waiting instruction");
    same("NE 0: IRQ 13", irqs, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    c = CODE("fnclex; fwait");
    with(c, 0);
    done("FNCLEX at NE 0");
    cr0(CR0_NE);
}

static void sse_errors(void)
{
    struct code c =
        CODE("ldmxcsr (%rdi); xorps %xmm0, %xmm0; movss 16(%rdi), %xmm1; 7: divss %xmm0, %xmm1;"
             "stmxcsr 4(%rdi)");
    *(uint32_t *)(area + 16) = 0x3f800000;
    *(uint32_t *)area = 0x1f80;
    expect("SSE zero divide, masked", c, DONE);
    same("… MXCSR.ZE", *(uint32_t *)(area + 4) & 0x3f, 4);
    *(uint32_t *)area = 0x1d80;
    differs("SDM 1 11.5: unmasked SSE exceptions are #XM");
    expect("SSE zero divide, unmasked", c, XM);
    with(CODE("stmxcsr 4(%rdi); movd %xmm1, %eax"), 0);
    same("… MXCSR.ZE is set all the same", *(uint32_t *)(area + 4) & 0x3f, 4);
    differs("SDM 1 11.5: unmasked SSE exceptions are #XM");
    same("… the destination is not written", got.ax, 0x3f800000);
    cr4(OSFXSR);
    differs("SDM 1 11.5: unmasked SSE exceptions are #XM");
    expect("… without OSXMMEXCPT: #UD", c, UD);
    cr4(OSFXSR | OSXMM);
    struct code ld = CODE("ldmxcsr (%rdi)");
    *(uint32_t *)area = 0x10000;
    differs("SDM 1 10.2.3.3: a reserved bit of MXCSR is #GP(0)");
    expect("LDMXCSR with a reserved bit", ld, GP);
    *(uint32_t *)area = 0x1fff;
    expect("LDMXCSR with flags set unmasks nothing", ld, DONE);
    *(uint32_t *)area = 0x1f80;
    expect("LDMXCSR", ld, DONE);
    struct code unaligned = CODE("movaps (%rdi), %xmm0");
    with(unaligned, 8);
    fault("MOVAPS not aligned", unaligned, GP, 0);
    unaligned = CODE("paddd (%rdi), %xmm0");
    with(unaligned, 4);
    fault("PADDD memory not aligned", unaligned, GP, 0);
    with(CODE("movups (%rdi), %xmm0; movss (%rdi), %xmm0"), 1);
    done("MOVUPS, MOVSS need no alignment");
    if (cpuid(1, 0).c & 1) {
        with(CODE("lddqu (%rdi), %xmm0"), 1);
        done("LDDQU needs no alignment");
    } else {
        skip("LDDQU needs no alignment", "no such feature");
    }
    c = CODE("cvttss2si 16(%rdi), %eax");
    *(uint32_t *)(area + 16) = 0x7f800000;
    expect("CVTTSS2SI of infinity, masked", c, DONE);
    same("… the indefinite integer", got.ax, 0x80000000);
    *(uint32_t *)area = 0x1f80;
    expect("LDMXCSR", ld, DONE);
}

static void fxsave(void)
{
    struct code sv = CODE("fxsave (%rdi)"), rs = CODE("fxrstor (%rdi)");
    with(sv, 8);
    fault("FXSAVE not aligned", sv, GP, 0);
    with(rs, 8);
    fault("FXRSTOR not aligned", rs, GP, 0);
    for (unsigned i = 0; i < sizeof area; i++)
        area[i] = 0xaa;
    with(CODE("fninit; fld1; fldpi; fxsave (%rdi)"), 0);
    same("FXSAVE: FCW", *(uint16_t *)save, 0x37f);
    same("FXSAVE: FSW has TOP", *(uint16_t *)(save + 2) & 0x3800, 6 << 11);
    same("FXSAVE: abridged tag", save[4], 0xc0);
    same("FXSAVE: ST0", *(uint64_t *)(save + 32), 0xc90fdaa22168c235ul);
    same("FXSAVE: ST1's exponent", *(uint16_t *)(save + 32 + 16 + 8), 0x3fff);
    same("FXSAVE: MXCSR_MASK", *(uint32_t *)(save + 28) & 0xffbf, 0xffbf);
    same("FXSAVE: bytes 464 to 511 are the program's", *(uint64_t *)(save + 464),
         0xaaaaaaaaaaaaaaaaul);
    *(uint32_t *)(save + 24) = 0x10000;
    with(rs, 0);
    differs("SDM 1 10.2.3.3: a reserved bit of MXCSR is #GP(0)");
    fault("FXRSTOR: a reserved bit of MXCSR", rs, GP, 0);
    *(uint32_t *)(save + 24) = 0x1f80;
    *(uint16_t *)save = 0x27f;
    *(uint64_t *)(save + 160) = 0x1122334455667788ul;
    with(CODE("fxrstor (%rdi); fnstcw 512(%rdi); movq %xmm0, %rax"), 0);
    done("FXRSTOR");
    same("FXRSTOR: XMM0", got.ax, 0x1122334455667788ul);
    same("FXRSTOR: FCW", *(uint16_t *)(save + 512), 0x27f);
    with(CODE("fninit"), 0);
}

static void xsave(void)
{
    struct code sv = CODE("xsave (%rdi)"), rs = CODE("xrstor (%rdi)"), get = CODE("xgetbv"),
                set = CODE("xsetbv"), comp = CODE("xsavec (%rdi)");
    if (!(cpuid(1, 0).c >> 26 & 1)) {
        skip("XSAVE", "no such feature");
        return;
    }
    cr4(OSFXSR | OSXMM);
    expect("XSAVE without OSXSAVE", sv, UD);
    expect("XGETBV without OSXSAVE", get, UD);
    same("CPUID.OSXSAVE is clear", cpuid(1, 0).c >> 27 & 1, 0);
    cr4(OSFXSR | OSXMM | OSXSAVE);
    same("CPUID.OSXSAVE follows CR4", cpuid(1, 0).c >> 27 & 1, 1);
    uint32_t all = cpuid(13, 0).a;
    bool avx = all >> 2 & 1;
    static const struct {
        const char *name;
        uint32_t ax, dx, cx;
        unsigned vector;
    } row[] = {
        {"XSETBV: without x87", 2, 0, 0, GP},
        {"XSETBV: AVX without SSE", 5, 0, 0, GP},
        {"XSETBV: a bit that is not offered", 3, 0x20000000, 0, GP},
        {"XSETBV: XCR1", 1, 0, 1, GP},
        {"XSETBV: x87 and SSE", 3, 0, 0, DONE},
    };
    for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
        prep0(set);
        in.ax = row[i].ax;
        in.dx = row[i].dx;
        in.cx = row[i].cx;
        run();
        if (row[i].cx)
            differs("SDM 2D XSETBV: only XCR0");
        fault(row[i].name, set, row[i].vector, 0);
    }
    run3(set);
    fault("XSETBV at level 3", set, GP, 0);
    same("CPUID 13: the size of what is enabled", cpuid(13, 0).b, 576);
    with(sv, 32);
    fault("XSAVE not aligned to 64", sv, GP, 0);
    cr0(CR0_NE | CR0_TS);
    differs("SDM 2D XSAVE: #NM if CR0.TS");
    expect("XSAVE with TS", sv, NM);
    expect("XGETBV with TS", get, DONE);
    cr0(CR0_NE);
    fill(area, 0, sizeof area);
    prep0(CODE("fninit; fld1; xorps %xmm3, %xmm3; pcmpeqb %xmm4, %xmm4; xsave (%rdi)"));
    in.ax = 3;
    in.di = (word)area;
    run();
    done("XSAVE");
    same("XSAVE: XSTATE_BV", *(uint64_t *)(area + 512) & 3, 3);
    same("XSAVE: XCOMP_BV", *(uint64_t *)(area + 520), 0);
    *(uint64_t *)(area + 512) |= 1ul << 62;
    prep0(rs);
    in.ax = 3;
    in.di = (word)area;
    run();
    fault("XRSTOR: XSTATE_BV beyond XCR0", rs, GP, 0);
    *(uint64_t *)(area + 512) = 3;
    *(uint64_t *)(area + 528) = 1;
    run();
    differs("SDM 1 13.8: bytes 23:8 of the header must be 0 in the standard form");
    fault("XRSTOR: the header's reserved bytes", rs, GP, 0);
    *(uint64_t *)(area + 528) = 0;
    *(uint64_t *)(area + 520) = 1;
    run();
    differs("SDM 1 13.8: bytes 23:8 of the header must be 0 in the standard form");
    fault("XRSTOR: XCOMP_BV without its top bit", rs, GP, 0);
    *(uint64_t *)(area + 520) = 0;
    *(uint32_t *)(area + 24) = 0x10000;
    run();
    differs("SDM 1 10.2.3.3: a reserved bit of MXCSR is #GP(0)");
    fault("XRSTOR: a reserved bit of MXCSR", rs, GP, 0);
    *(uint32_t *)(area + 24) = 0x1f80;
    *(uint64_t *)(area + 512) = 0;
    prep0(CODE("pcmpeqb %xmm0, %xmm0; xrstor (%rdi); movq %xmm0, %rbx; fnstcw 600(%rdi)"));
    in.ax = 3;
    in.di = (word)area;
    run();
    done("XRSTOR of the initial state");
    same("… XMM0 is 0", got.bx, 0);
    same("… FCW", *(uint16_t *)(area + 600), 0x37f);
    if (avx) {
        prep0(CODE("xsetbv; mov $7, %eax; vpcmpeqb %ymm1, %ymm1, %ymm1; xsave (%rdi); vzeroall;"
                   "xrstor (%rdi); vextractf128 $1, %ymm1, %xmm2; movq %xmm2, %rbx"));
        in.ax = 7;
        in.cx = 0;
        in.di = (word)area;
        *(uint64_t *)(area + 512) = 0;
        run();
        done("XSAVE and XRSTOR of YMM");
        same("… the upper half comes back", got.bx, ~0ul);
        same("… it lies at 576", *(uint64_t *)(area + 576 + 16), ~0ul);
        struct code vex = CODE("vpaddd %xmm0, %xmm0, %xmm0");
        cr0(CR0_NE | CR0_TS);
        expect("AVX with TS", vex, NM);
        cr0(CR0_NE | CR0_EM);
        differs("SDM 2A 2.4: CR0.EM does not matter to VEX");
        expect("AVX with EM", vex, DONE);
        cr0(CR0_NE);
        struct code off = CODE("xsetbv; 7: vpaddd %xmm0, %xmm0, %xmm0");
        prep0(off);
        in.ax = 3;
        in.cx = 0;
        run();
        fault("AVX without its bit in XCR0", off, UD, 0);
        cr4(OSFXSR | OSXMM);
        expect("AVX without OSXSAVE", vex, UD);
        cr4(OSFXSR | OSXMM | OSXSAVE);
    } else {
        skip("XSAVE of YMM", "no AVX");
    }
    if (!(cpuid(13, 1).a >> 1 & 1)) {
        skip("XSAVEC", "no such feature");
        return;
    }
    prep0(set);
    in.ax = avx ? 7 : 3;
    in.cx = 0;
    run();
    fill(area, 0, sizeof area); /* XSAVEC does not write all of the header */
    prep0(CODE(
        "fninit; xorps %xmm0, %xmm0; .byte 0xc5, 0xfc, 0x77; pcmpeqb %xmm5, %xmm5; xsavec (%rdi)"));
    if (!avx)
        prep0(CODE("fninit; pcmpeqb %xmm5, %xmm5; xsavec (%rdi)"));
    in.ax = 7;
    in.di = (word)area;
    run();
    done("XSAVEC");
    same("XSAVEC: XSTATE_BV has what is not initial", *(uint64_t *)(area + 512) & 6, 2);
    same("XSAVEC: XCOMP_BV", *(uint64_t *)(area + 520), 1ul << 63 | (avx ? 7 : 3));
    prep0(CODE("xorps %xmm5, %xmm5; xrstor (%rdi); movq %xmm5, %rbx"));
    in.ax = 7;
    in.di = (word)area;
    run();
    done("XRSTOR of the compact form");
    same("… XMM5", got.bx, ~0ul);
    *(uint64_t *)(area + 520) = 1ul << 63 | 1;
    prep0(rs);
    in.ax = 7;
    in.di = (word)area;
    run();
    fault("XRSTOR: XSTATE_BV has a bit that XCOMP_BV has not", rs, GP, 0);
    with(comp, 16);
    fault("XSAVEC not aligned", comp, GP, 0);
    with(CODE("fninit"), 0);
}

void checks(void)
{
    control_bits();
    x87_errors();
    sse_errors();
    fxsave();
    xsave();
}
