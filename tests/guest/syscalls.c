/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FS and GS bases in long mode (SDM 2B; SDM 3A
 * 5.8.7, 5.8.8).
 *
 * kind: check64
 */
#include "lib/check.h"

#define BAD   0x800000000000ul
#define EFER  0xc0000080
#define STAR  0xc0000081
#define LSTAR 0xc0000082
#define FMASK 0xc0000084
#define FSB   0xc0000100
#define GSB   0xc0000101
#define KGSB  0xc0000102

#define FSGSBASE 0x10000ul

static void syscall_checks(void)
{
    struct code c = CODE("syscall");
    wrmsr(EFER, rdmsr(EFER) & ~1ull);
    run3(c);
    fault("SYSCALL without EFER.SCE", c, UD, 0);
    c = CODE("sysretq");
    run0(c);
    fault("SYSRET without EFER.SCE", c, UD, 0);
    wrmsr(EFER, rdmsr(EFER) | 1);
    wrmsr(STAR, (uint64_t)0x18 << 48 | (uint64_t)CS0 << 32);
    struct code to = CODE("mov %cs, %eax; mov %ss, %edx; pushfq; pop %rbx; mov %rsp, %rsi");
    wrmsr(LSTAR, to.start);
    wrmsr(FMASK, FL_IF | FL_DF | FL_AC);
    c = CODE("syscall; nop");
    prep3(c);
    in.flags = FL_IF | FL_DF | FL_CF | FL_AC | FL_ID | 2;
    run();
    done("SYSCALL");
    same("… CS", got.ax, CS0);
    same("… SS", got.dx, DS0);
    same("… RCX is the next instruction", got.cx, c.at + 2);
    same("… R11 has the flags", got.r11, FL_IF | FL_DF | FL_CF | FL_AC | FL_ID | 2);
    differs("SDM 2B SYSCALL: RFLAGS AND NOT FMASK");
    same("… FMASK clears flags", got.bx, FL_CF | FL_ID | 2);
    same("… RSP stays", got.si, (word)stack3 + STACK);
    prep0(c);
    run();
    done("SYSCALL at level 0");
    struct code compat = CODE32("syscall");
    prep3(compat);
    in.cs = CS3C;
    run();
    differs("SDM 2B SYSCALL: #UD outside 64-bit mode");
    fault("SYSCALL in compatibility mode", compat, UD, 0);
    c = CODE("mov $0xc0000082, %ecx; mov $0x8000, %edx; xor %eax, %eax; 7: wrmsr");
    run0(c);
    differs("SDM 2B WRMSR: an address that is not canonical is #GP(0)");
    fault("LSTAR not canonical", c, GP, 0);
    wrmsr(LSTAR, to.start);

    struct code end = CODE("mov %cs, %eax; mov %ss, %edx");
    struct code sysret = CODE("sysretq");
    prep0(sysret);
    in.cx = end.start;
    in.r11 = FL_IF | FL_CF | FL_RF | FL_VM | FL_AC | FL_IOPL;
    run();
    done("SYSRETQ");
    same("… CS is STAR 63:48 + 16, RPL 3", got.ax, CS3);
    same("… SS is STAR 63:48 + 8, RPL 3", got.dx, DS3);
    differs("SDM 2B SYSRET: RFLAGS is R11 AND 3C7FD7H");
    same("… RFLAGS from R11, without RF and VM", got.flags, FL_IF | FL_CF | FL_AC | FL_IOPL | 2);
    prep0(sysret);
    in.cx = BAD;
    run();
    differs("SDM 2B SYSRET: RCX not canonical is #GP(0) at level 0");
    fault("SYSRETQ to an address that is not canonical", sysret, GP, 0);
    differs("SDM 2B SYSRET: RCX not canonical is #GP(0) at level 0");
    same("… at level 0", got.cs, CS0);
    run3(sysret);
    fault("SYSRET at level 3", sysret, GP, 0);
    struct code end32 = CODE32("mov %cs, %eax; mov %ss, %edx");
    sysret = CODE("sysretl");
    prep0(sysret);
    in.cx = 0xdead00000000ul + end32.start;
    run();
    done("SYSRETL to compatibility mode");
    same("… CS is STAR 63:48, RPL 3", got.ax, CS3C);
    same("… EIP has 32 bits", got.ip >> 32, 0);
    /* the descriptors are not read: CS and SS are flat whatever the table says */
    uint64_t keep = gdt[CS0 >> 3];
    wrmsr(STAR, (uint64_t)0x18 << 48 | (uint64_t)(GDT_SIZE * 8 - 8) << 32);
    c = CODE("syscall; nop");
    to = CODE("mov %cs, %eax; mov %ss, %ecx");
    wrmsr(LSTAR, to.start);
    prep3(c);
    run();
    done("SYSCALL to a selector whose descriptor is empty");
    same("… CS", got.ax, GDT_SIZE * 8 - 8);
    same("… SS is 8 more, beyond the GDT", got.cx, GDT_SIZE * 8);
    gdt[CS0 >> 3] = keep;
    wrmsr(STAR, (uint64_t)0x18 << 48 | (uint64_t)CS0 << 32);
}

static void sysenter_checks(void)
{
    struct code c = CODE("sysenter");
    wrmsr(0x174, 0);
    run3(c);
    fault("SYSENTER with a null SYSENTER_CS", c, GP, 0);
    wrmsr(0x174, 3);
    if (is_tcg())
        skip("SYSENTER with a null SYSENTER_CS of RPL 3", "QEMU would go there");
    else
        run3(c), fault("SYSENTER with a null SYSENTER_CS of RPL 3", c, GP, 0);
    struct code to = CODE("mov %cs, %eax; mov %ss, %edx; pushfq; pop %rbx");
    wrmsr(0x174, CS0 + 3);
    wrmsr(0x175, (word)stack0 + 512);
    wrmsr(0x176, to.start);
    prep3(c);
    in.flags = FL_IF | FL_CF | FL_AC | 2;
    run();
    done("SYSENTER");
    same("… CS, its RPL cleared", got.ax, CS0);
    same("… SS is 8 more", got.dx, DS0);
    same("… RSP", got.sp, (word)stack0 + 512);
    same("… IF is cleared, the others stay", got.bx, FL_CF | FL_AC | 2);
    struct code compat = CODE32("sysenter");
    prep3(compat);
    in.cs = CS3C;
    run();
    done("SYSENTER from compatibility mode");
    c = CODE("mov $0x176, %ecx; mov $0x8000, %edx; xor %eax, %eax; 7: wrmsr");
    run0(c);
    differs("SDM 2B WRMSR: an address that is not canonical is #GP(0)");
    fault("SYSENTER_EIP not canonical", c, GP, 0);

    struct code end = CODE("mov %cs, %eax; mov %ss, %edx; mov %rsp, %rbx");
    struct code sysexit = CODE(".byte 0x48; sysexit"), sysexit32 = CODE("sysexit");
    wrmsr(0x174, 0x8);
    gdt[5] = 0; /* the descriptors are not read */
    prep0(sysexit);
    in.dx = end.start;
    in.cx = (word)stack3 + 512;
    run();
    done("SYSEXITQ");
    same("… CS is SYSENTER_CS + 32", got.ax, 0x2b);
    same("… SS is SYSENTER_CS + 40", got.dx, 0x33);
    same("… RSP is RCX", got.bx, (word)stack3 + 512);
    prep0(sysexit);
    in.dx = BAD;
    run();
    differs("SDM 2B SYSEXIT: RCX or RDX not canonical is #GP(0)");
    fault("SYSEXITQ: RDX not canonical", sysexit, GP, 0);
    prep0(sysexit);
    in.dx = end.start;
    in.cx = BAD;
    run();
    differs("SDM 2B SYSEXIT: RCX or RDX not canonical is #GP(0)");
    fault("SYSEXITQ: RCX not canonical", sysexit, GP, 0);
    struct code end32 = CODE32("mov %cs, %eax; mov %ss, %edx");
    prep0(sysexit32);
    in.dx = end32.start;
    run();
    done("SYSEXIT to compatibility mode");
    same("… CS is SYSENTER_CS + 16", got.ax, 0x1b);
    reset_tables();
    run3(sysexit32);
    fault("SYSEXIT at level 3", sysexit32, GP, 0);
    wrmsr(0x174, 0);
    run0(sysexit32);
    fault("SYSEXIT with a null SYSENTER_CS", sysexit32, GP, 0);
    reset_tables();
}

static void bases(void)
{
    struct code c;
    wrmsr(GSB, 0x11111000);
    wrmsr(KGSB, 0xffff800000002000ull);
    c = CODE("swapgs");
    run3(c);
    fault("SWAPGS at level 3", c, GP, 0);
    run0(c);
    done("SWAPGS");
    same("… GS.base", rdmsr(GSB), 0xffff800000002000ull);
    same("… KERNEL_GS_BASE", rdmsr(KGSB), 0x11111000);
    struct code compat = CODE32("swapgs");
    prep0(compat);
    in.cs = CS0C;
    run();
    fault("SWAPGS outside 64-bit mode", compat, UD, 0);
    c = CODE("mov %ebx, %ecx; mov $0x8000, %edx; xor %eax, %eax; 7: wrmsr");
    for (unsigned msr = FSB; msr <= KGSB; msr++) {
        prep0(c);
        in.bx = msr;
        run();
        differs("SDM 2B WRMSR: an address that is not canonical is #GP(0)");
        fault("a base that is not canonical", c, GP, 0);
    }
    wrmsr(FSB, 0x9000);
    *(volatile uint32_t *)0x9010 = 0x13579bdf;
    c = CODE("mov %fs:0x10, %eax");
    run3(c);
    same("FS.base is added", got.ax, 0x13579bdf);
    wrmsr(FSB, -16ul);
    c = CODE("mov %fs:0x9020, %eax");
    run3(c);
    same("a base near 2^64 wraps", got.ax, 0x13579bdf);
    wrmsr(FSB, 0x100000000ull);
    c = CODE("mov %fs:(%ebx), %eax");
    prep3(c);
    in.bx = 0xffffffff00000000ul;
    run();
    same("with an address size of 32, the base still has 64 bits", got.vector, PF);
    same("… CR2", got.cr2, 0x100000000ull);
    c = CODE("mov $0x23, %eax; mov %eax, %fs");
    run3(c);
    same("MOV to FS loads the descriptor's base", rdmsr(FSB), 0);

    if (!(cpuid(7, 0).b & 1)) {
        skip("FSGSBASE", "no such feature");
        return;
    }
    WRITE_REG("cr4", READ_REG("cr4") & ~FSGSBASE);
    c = CODE("rdfsbase %rax");
    run3(c);
    fault("RDFSBASE without CR4.FSGSBASE", c, UD, 0);
    WRITE_REG("cr4", READ_REG("cr4") | FSGSBASE);
    wrmsr(FSB, 0x123456789000);
    run3(c);
    done("RDFSBASE");
    same("… RAX", got.ax, 0x123456789000);
    c = CODE("rdfsbase %eax");
    run3(c);
    same("RDFSBASE EAX", got.ax, 0x56789000);
    c = CODE("mov $0xffff900000000000, %rax; wrgsbase %rax");
    run3(c);
    done("WRGSBASE");
    same("… GS.base", rdmsr(GSB), 0xffff900000000000ull);
    c = CODE("mov $-1, %rax; wrgsbase %eax");
    run3(c);
    same("WRGSBASE EAX", rdmsr(GSB), 0xffffffff);
    c = CODE("mov $0x800000000000, %rax; 7: wrfsbase %rax");
    run3(c);
    differs("SDM 2B WRFSBASE: not canonical is #GP(0)");
    fault("WRFSBASE: not canonical", c, GP, 0);
    compat = CODE32(".byte 0xf3, 0x0f, 0xae, 0xc0");
    prep3(compat);
    in.cs = CS3C;
    run();
    fault("RDFSBASE outside 64-bit mode", compat, UD, 0);
    WRITE_REG("cr4", READ_REG("cr4") & ~FSGSBASE);
    /* A return to level 3 makes GS null if its DPL is below, and leaves its base alone. */
    c = CODE("mov $0x10, %eax; mov %eax, %gs; mov $0xc0000101, %ecx; mov $0x1234000, %eax;"
             "xor %edx, %edx; wrmsr; pushq $0x23; pushq $0x9000; pushq $2; pushq $0x2b; pushq $1f; "
             "iretq;"
             "1: mov %gs, %eax");
    run0(c);
    done("IRETQ to level 3 with GS of level 0");
    same("… GS is null", got.ax, 0);
    differs("seen on processors: the base of a GS made null stays");
    same("… GS.base stays", rdmsr(GSB), 0x1234000);
}

void checks(void)
{
    syscall_checks();
    sysenter_checks();
    bases();
}
