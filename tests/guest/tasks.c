/* Hardware task switches: by JMP, CALL, INT and IRET, through task gates, nested, with 16-bit and
 * 32-bit TSSs, and their faults in the old and in the new task (SDM 3A chapter 8).
 *
 * kind: check32
 */
#include "lib/check.h"

enum {
    T2 = FREE,        /* 32-bit TSS */
    T16 = FREE + 8,   /* 16-bit TSS */
    GATE = FREE + 16, /* task gate to T2 */
    LDT = FREE + 24,
    ABSENT3 = FREE + 32,  /* level 3 code, not present */
    DABSENT3 = FREE + 40, /* level 3 data, not present */
    SMALL3 = FREE + 48,   /* level 3 code of 4096 bytes at 0 */
    RO3 = FREE + 56,      /* level 3 data, read-only */
    XO3 = FREE + 64,      /* level 3 code, execute-only */
};

struct tss32 {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, r[8], sel[6], ldt;
    uint16_t trap, iomap;
};

struct tss16 {
    uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, r[8], sel[4], ldt;
};

static struct tss32 t2, t3;
static struct tss16 t16;
static uint8_t stack2[4096] __attribute__((aligned(16)));
static uint64_t ldt[2] __attribute__((aligned(8)));

struct __attribute__((packed)) far {
    uint32_t offset;
    uint16_t sel;
} task = {0xdeadbeef, T2};

static struct code ljmp, lcall;

static unsigned type_of(unsigned sel)
{
    return gdt[sel >> 3] >> 40 & 0xff;
}

static unsigned tr(void)
{
    unsigned sel;
    __asm__ volatile("str %0" : "=r"(sel));
    return sel;
}

static void task_gate_idt(unsigned vector, unsigned sel, unsigned type)
{
    idt[vector] = (uint64_t)sel << 16 | (uint64_t)type << 40;
}

/* T2 about to run `ip` at a level. */
static void tables(word ip, unsigned level)
{
    reset_tables();
    __asm__ volatile("lldt %w0; clts" : : "r"(0));
    gdt[T2 >> 3] = descriptor(addr(&t2), sizeof t2 - 1, 0x89, 0);
    gdt[T16 >> 3] = descriptor(addr(&t16), sizeof t16 - 1, 0x81, 0);
    gdt[GATE >> 3] = (uint64_t)T2 << 16 | 0xe5ull << 40;
    gdt[LDT >> 3] = descriptor(addr(ldt), 15, 0x82, 0);
    gdt[ABSENT3 >> 3] = descriptor(0, 0xfffff, 0x7b, 0xc);
    gdt[DABSENT3 >> 3] = descriptor(0, 0xfffff, 0x73, 0xc);
    gdt[SMALL3 >> 3] = descriptor(0, 0, 0xfb, 0xc);
    gdt[RO3 >> 3] = descriptor(0, 0xfffff, 0xf1, 0xc);
    gdt[XO3 >> 3] = descriptor(0, 0xfffff, 0xf9, 0xc);
    fill(&t2, 0, sizeof t2);
    fill(&t16, 0, sizeof t16);
    t2.link = 0x5555;
    t2.esp0 = addr(stack_intr) + STACK;
    t2.ss0 = DS0;
    t2.eip = ip;
    t2.eflags = FL_CF | 2;
    for (unsigned i = 0; i < 8; i++)
        t2.r[i] = 0x12340000 + i;
    t2.r[4] = addr(stack2) + sizeof stack2;
    for (unsigned i = 0; i < 6; i++)
        t2.sel[i] = level ? DS3 : DS0;
    t2.sel[1] = level ? CS3 : CS0;
    t2.iomap = 104;
    t16.sp0 = (uint16_t)(addr(stack_intr) + STACK);
    t16.ss0 = DS0;
    t16.flags = 2;
    for (unsigned i = 0; i < 8; i++)
        t16.r[i] = (uint16_t)(0xa000 + i);
    t16.sel[0] = t16.sel[2] = t16.sel[3] = DS0;
    t16.sel[1] = CS0;
    task.sel = T2;
}

static void by_jump(void)
{
    tables(CODE("nop").start, 0);
    prep0(ljmp);
    in.ax = 0x77;
    in.flags = FL_DF | 2;
    run();
    done("JMP to a TSS");
    const struct tss32 *t = (struct tss32 *)tss;
    same("JMP: TR", tr(), T2);
    same("JMP: the new TSS is busy", type_of(T2), 0x8b);
    same("JMP: the old TSS is available", type_of(TSS_SEL), 0x89);
    same("JMP: no back link", t2.link, 0x5555);
    same("JMP: NT is clear, CF from the TSS", got.flags, FL_CF | 2);
    same("JMP: CR0.TS", READ_REG("cr0") & 8, 8);
    same("JMP: EAX", got.ax, 0x12340000);
    same("JMP: EDI", got.di, 0x12340007);
    same("JMP: ESP", got.sp, t2.r[4]);
    same("old TSS: EIP is the next instruction", t->eip, ljmp.at + 6);
    same("old TSS: EAX", t->r[0], 0x77);
    same("old TSS: EFLAGS", t->eflags, FL_DF | 2);
    same("old TSS: CS", t->sel[1], CS0);
    same("old TSS: ESP0 is not written", t->esp0, addr(stack_intr) + STACK);
}

static void by_call(void)
{
    tables(CODE("nop").start, 0);
    run0(lcall);
    done("CALL of a TSS");
    same("CALL: NT is set", got.flags, FL_NT | FL_CF | 2);
    same("CALL: the back link", t2.link, TSS_SEL);
    same("CALL: the new TSS is busy", type_of(T2), 0x8b);
    same("CALL: the old TSS stays busy", type_of(TSS_SEL), 0x8b);
    struct code c = CODE("7: iret; mov $0x99, %ebx; iret");
    tables(c.start, 0);
    struct code twice = CODE("lcall *task; mov $0x31, %ecx; lcall *task; mov $0x32, %edx");
    run0(twice);
    done("CALL, IRET, CALL, IRET");
    same("IRET: the caller's registers", got.cx, 0x31);
    same("IRET: again", got.dx, 0x32);
    same("the task goes on behind its IRET", t2.r[3], 0x99);
    same("IRET: the task is available", type_of(T2), 0x89);
    same("IRET: NT is clear in the task's EFLAGS", t2.eflags & FL_NT, 0);
    same("IRET: the caller is busy", type_of(TSS_SEL), 0x8b);
    same("IRET: TR", tr(), TSS_SEL);
    same("IRET: the caller's EFLAGS", got.flags, 2);
    /* by a gate, from level 3 */
    tables(CODE("nop").start, 0);
    task.sel = GATE + 3;
    run3(lcall);
    done("CALL of a task gate of DPL 3; the TSS's DPL does not matter");
    same("task gate: back link", t2.link & 0xffff, TSS_SEL);
    same("task gate: the old CS", ((struct tss32 *)tss)->sel[1], CS3);
    tables(CODE("nop").start, 3);
    run0(ljmp);
    done("JMP to a task of level 3");
    same("JMP: CS of level 3", got.cs, CS3);
    same("JMP: SS of level 3", got.ss, DS3);
}

static void by_int(void)
{
    tables(CODE("iret").start, 0);
    task_gate_idt(0x41, T2, 0xe5);
    struct code c = CODE("7: int $0x41; mov $0x55, %eax");
    run3(c);
    done("INT n through a task gate and IRET");
    same("INT: back at level 3", got.cs, CS3);
    same("INT: EIP", ((struct tss32 *)tss)->eip, c.at + 2);
    same("INT: NT not in the old task", got.flags & FL_NT, 0);
    tables(CODE("iret").start, 0);
    task_gate_idt(0x41, T2, 0x85);
    run3(c);
    fault("INT n: a task gate of DPL 0", c, GP, 0x41 * 8 + 2);
    task_gate_idt(0x41, T2, 0x65);
    run3(c);
    fault("INT n: a task gate that is not present", c, NP, 0x41 * 8 + 2);
    task_gate_idt(0x41, TSS_SEL, 0xe5);
    run3(c);
    fault("INT n: the task is busy", c, GP, TSS_SEL);
    task_gate_idt(0x41, DS0, 0xe5);
    run3(c);
    fault("INT n: the task gate's selector is no TSS", c, GP, DS0);
    task_gate_idt(0x41, T2 + 4, 0xe5);
    run3(c);
    differs("SDM 2A INT: a TSS selector with TI set is #GP");
    fault("INT n: the task gate's selector is in the LDT", c, GP, T2 + 4);
    task_gate_idt(0x41, GDT_SIZE * 8, 0xe5);
    run3(c);
    fault("INT n: the task gate's selector is beyond the GDT", c, GP, GDT_SIZE * 8);
    gdt[T2 >> 3] = descriptor(addr(&t2), sizeof t2 - 1, 0x09, 0);
    task_gate_idt(0x41, T2, 0xe5);
    run3(c);
    fault("INT n: the TSS is not present", c, NP, T2);
    gdt[T2 >> 3] = descriptor(addr(&t2), 0x66, 0x89, 0);
    run3(c);
    fault("INT n: the TSS is too small", c, TS, T2);
    /* exceptions */
    tables(CODE("mov (%esp), %ebx").start, 0);
    task_gate_idt(GP, T2, 0x85);
    struct code gp = CODE("mov $0x7770, %eax; 7: mov %eax, %ds");
    run3(gp);
    done("#GP through a task gate");
    same("#GP: its error code is on the new stack", got.bx, 0x7770);
    same("#GP: as a dword", got.sp, addr(stack2) + sizeof stack2 - 4);
    same("#GP: EIP is the instruction", ((struct tss32 *)tss)->eip, gp.at);
    differs("SDM 3B 17.3.1.1: the EFLAGS image of a fault has RF, in a TSS too");
    same("#GP: EFLAGS in the old TSS has RF", ((struct tss32 *)tss)->eflags & FL_RF, FL_RF);
    /* a double fault on a stack of its own, as kernels have it */
    tables(CODE("mov (%esp), %ebx").start, 0);
    set_gate(GP, CS0, 0, 0x0e);
    task_gate_idt(DF, T2, 0x85);
    run3(gp);
    done("#DF through a task gate");
    same("#DF: its error code is 0, on the new stack", got.bx, 0);
    same("#DF: ESP", got.sp, addr(stack2) + sizeof stack2 - 4);
    same("#DF: EIP is the instruction of the first fault", ((struct tss32 *)tss)->eip, gp.at);
    same("#DF: the back link", t2.link, TSS_SEL);
    /* an external interrupt: no DPL check, no error code */
    tables(CODE("movl $0, 0xfee000b0").start, 0);
    task_gate_idt(0x41, T2, 0x85);
    *(volatile uint32_t *)0xfee00350 = 0x10000;
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
    struct code irq = CODE("movl $0x40041, 0xfee00300; sti; nop; nop; nop; 7: ud2");
    run0(irq);
    done("an interrupt through a task gate");
    same("interrupt: no error code", got.sp, addr(stack2) + sizeof stack2);
    same("interrupt: the new task's IF", got.flags & FL_IF, 0);
    same("interrupt: IF in the old TSS", ((struct tss32 *)tss)->eflags & FL_IF, FL_IF);
    tables(0, 0);
    task_gate_idt(UD, TSS_SEL, 0x85);
    struct code ud = CODE("ud2");
    run3(ud);
    differs("SDM 3A 6.13: EXT is set by an exception");
    fault("#UD through a task gate to a busy task: EXT", ud, GP, TSS_SEL + 1);
}

static void transfer(struct code c, const char *name, bool user, unsigned vector, unsigned error)
{
    (user ? run3 : run0)(c);
    fault(name, c, vector, error);
    same("TR stays", tr(), TSS_SEL);
    tables(CODE("nop").start, 0);
}

static void refusals(void)
{
    tables(CODE("nop").start, 0);
    task.sel = TSS_SEL;
    transfer(ljmp, "JMP to the running task", false, GP, TSS_SEL);
    task.sel = T2 + 3;
    transfer(ljmp, "JMP to a TSS of DPL 0 from level 3", true, GP, T2);
    task.sel = T2 + 1;
    transfer(lcall, "CALL of a TSS with RPL above its DPL", false, GP, T2);
    gdt[T2 >> 3] = descriptor(addr(&t2), sizeof t2 - 1, 0x09, 0);
    transfer(lcall, "CALL of a TSS that is not present", false, NP, T2);
    gdt[T2 >> 3] = descriptor(addr(&t2), 0x66, 0x89, 0);
    transfer(lcall, "CALL of a TSS of 103 bytes", false, TS, T2);
    gdt[T16 >> 3] = descriptor(addr(&t16), 0x2a, 0x81, 0);
    task.sel = T16;
    transfer(lcall, "CALL of a 16-bit TSS of 43 bytes", false, TS, T16);
    gdt[GATE >> 3] = (uint64_t)T2 << 16 | 0x85ull << 40;
    task.sel = GATE + 3;
    transfer(lcall, "CALL of a task gate of DPL 0 from level 3", true, GP, GATE);
    gdt[GATE >> 3] = (uint64_t)T2 << 16 | 0x65ull << 40;
    task.sel = GATE + 3;
    transfer(lcall, "CALL of a task gate that is not present", true, NP, GATE);
    gdt[GATE >> 3] = (uint64_t)0 << 16 | 0xe5ull << 40;
    task.sel = GATE;
    transfer(lcall, "CALL of a task gate with a null selector", false, GP, 0);
    gdt[GATE >> 3] = (uint64_t)DS0 << 16 | 0xe5ull << 40;
    task.sel = GATE;
    transfer(ljmp, "JMP to a task gate to data", false, GP, DS0);
    gdt[GATE >> 3] = (uint64_t)(T2 + 4) << 16 | 0xe5ull << 40;
    task.sel = GATE;
    differs("SDM 2A JMP: a TSS selector with TI set is #GP");
    transfer(ljmp, "JMP to a task gate into the LDT", false, GP, T2 + 4);
    /* IRET of a nested task: the running TSS's link */
    struct code c = CODE("pushf; orl $0x4000, (%esp); popf; 7: iret");
    put32(tss, 0);
    run0(c);
    fault("nested IRET: null link", c, TS, 0);
    tables(CODE("nop").start, 0);
    put32(tss, T2);
    run0(c);
    fault("nested IRET: the link is not busy", c, TS, T2);
    tables(CODE("nop").start, 0);
    put32(tss, DS0);
    run0(c);
    fault("nested IRET: the link is no TSS", c, TS, DS0);
    tables(CODE("nop").start, 0);
    put32(tss, GDT_SIZE * 8);
    run0(c);
    fault("nested IRET: the link is beyond the GDT", c, TS, GDT_SIZE * 8);
    tables(CODE("nop").start, 0);
    put32(tss, T2);
    gdt[T2 >> 3] = descriptor(addr(&t2), sizeof t2 - 1, 0x0b, 0);
    run0(c);
    fault("nested IRET: the link is not present", c, NP, T2);
    tables(CODE("nop").start, 0);
    put32(tss, T2);
    gdt[T2 >> 3] = descriptor(addr(&t2), sizeof t2 - 1, 0x8b, 0);
    run0(c);
    done("nested IRET to a busy task");
    same("nested IRET: that task stays busy", type_of(T2), 0x8b);
    same("nested IRET: the task left is available", type_of(TSS_SEL), 0x89);
}

#define BY_KERNEL "each task switch is the kernel's own work, and it leaves this out"

/* A fault in the new task, which is of level 3, so that its handler has a stack. */
static void in_new_task(const char *name, unsigned vector, unsigned error)
{
    struct code at = {t2.eip, t2.eip};
    run0(ljmp);
    differs("SDM 3A 8.3: the fault is the new task's, with its EIP");
    not_virtualised(BY_KERNEL);
    fault(name, at, vector, error);
    not_virtualised(BY_KERNEL);
    same("… and TR is the new task's", tr(), T2);
    tables(CODE("nop").start, 3);
}

static void new_task(void)
{
    tables(CODE("nop").start, 3);
    t2.sel[1] = 3;
    in_new_task("new task: CS null", TS, 0);
    t2.sel[1] = DS3;
    in_new_task("new task: CS is data", TS, DS3 & ~3u);
    t2.sel[1] = CS0 + 3;
    in_new_task("new task: CS's DPL is not its RPL", TS, CS0);
    t2.sel[1] = ABSENT3 + 3;
    in_new_task("new task: CS is not present", NP, ABSENT3);
    t2.sel[1] = GDT_SIZE * 8 + 3;
    in_new_task("new task: CS beyond the GDT", TS, GDT_SIZE * 8);
    t2.sel[1] = SMALL3 + 3;
    in_new_task("new task: EIP beyond CS's limit", GP, 0);
    t2.sel[2] = 0;
    in_new_task("new task: SS null", TS, 0);
    t2.sel[2] = RO3 + 3;
    in_new_task("new task: SS is read-only", TS, RO3);
    t2.sel[2] = DS0 + 3;
    in_new_task("new task: SS's DPL is not the CPL", TS, DS0);
    t2.sel[2] = DABSENT3 + 3;
    in_new_task("new task: SS is not present", SS, DABSENT3);
    t2.sel[3] = DS0;
    in_new_task("new task: DS of level 0", TS, DS0);
    t2.sel[0] = XO3 + 3;
    in_new_task("new task: ES is execute-only", TS, XO3);
    t2.sel[4] = DABSENT3 + 3;
    in_new_task("new task: FS is not present", NP, DABSENT3);
    t2.sel[5] = TSS_SEL;
    in_new_task("new task: GS is a TSS", TS, TSS_SEL);
    t2.ldt = DS0;
    in_new_task("new task: the LDT's selector is data", TS, DS0);
    t2.ldt = LDT + 4;
    in_new_task("new task: the LDT's selector is in an LDT", TS, LDT + 4);
    gdt[LDT >> 3] = descriptor(addr(ldt), 15, 0x02, 0);
    t2.ldt = LDT;
    in_new_task("new task: the LDT is not present", TS, LDT);
    ldt[1] = descriptor(0, 0xfffff, 0xf3, 0xc);
    t2.ldt = LDT;
    t2.sel[3] = 15;
    run0(ljmp);
    done("new task with an LDT");
    same("new task: DS from the LDT", got.now_ds, 15);
    tables(CODE("nop").start, 3);
    t2.sel[3] = t2.sel[4] = 0;
    run0(ljmp);
    done("new task: null DS and FS are no fault");
}

/* T16 runs a piece, whose code segment begins there since IP has 16 bits. */
static void small_task(struct code c)
{
    gdt[(FREE + 72) >> 3] = descriptor(c.start, 0xffff, 0x9b, 4);
    gdt[(FREE + 80) >> 3] = descriptor(addr(stack2), 0xffff, 0x93, 0);
    t16.sel[1] = FREE + 72;
    t16.sel[2] = FREE + 80;
    t16.r[4] = sizeof stack2;
    t16.ip = 0;
}

static void others(void)
{
    struct code c = CODE("7: nop");
    tables(c.start, 0);
    t2.trap = 1;
    WRITE_REG("dr6", 0xffff0ff0);
    run0(ljmp);
    differs("SDM 3A 8.2.1: the T flag of the TSS");
    not_virtualised(BY_KERNEL);
    fault("the T flag traps before the first instruction", c, DB, 0);
    differs("SDM 3A 8.2.1: the T flag of the TSS");
    not_virtualised(BY_KERNEL);
    same("the T flag sets DR6.BT", got.dr6 & 0x8000, 0x8000);
    WRITE_REG("dr6", 0xffff0ff0);
    tables(c.start, 0);
    WRITE_REG("dr0", addr(stack2));
    WRITE_REG("dr7", 0x703);
    run0(ljmp);
    done("a task switch with breakpoints");
    differs("SDM 3A 8.2: local breakpoints are disabled");
    same("DR7: L0 and LE are cleared, G0 and GE stay", READ_REG("dr7"), 0x602);
    WRITE_REG("dr7", 0x400);

    /* 16-bit TSS: its code segment begins at the piece, since IP has 16 bits */
    c = CODE("nop");
    tables(c.start, 0);
    small_task(c);
    task.sel = T16;
    run0(lcall);
    done("CALL of a 16-bit TSS");
    same("16-bit TSS: link", t16.link, TSS_SEL);
    differs("SDM 3A 8.6 leaves them undefined");
    not_virtualised(BY_KERNEL);
    same("16-bit TSS: the upper half of EAX is ones (as processors do)", got.ax, 0xffffa000);
    not_virtualised(BY_KERNEL);
    same("16-bit TSS: FS is null", got.now_fs, 0);
    same("16-bit TSS: busy", type_of(T16), 0x83);
    same("16-bit TSS: NT", got.flags, FL_NT | 2);
    c = CODE("iret");
    tables(c.start, 0);
    small_task(c);
    task.sel = T16;
    lcall = CODE("lcall *task");
    prep0(lcall);
    in.ax = 0x76543210;
    run();
    done("CALL of a 16-bit TSS and IRET");
    same("16-bit TSS: the caller's EAX is whole", got.ax, 0x76543210);
    same("16-bit TSS: its IP stands behind IRET", t16.ip, 1);
    c = CODE("7: mov $0x7770, %eax; mov %eax, %ds; nop; nop");
    struct code handler = CODE("movw %sp, %si; movw %ss:(%si), %bx");
    tables(0, 0);
    small_task(handler);
    task_gate_idt(GP, T16, 0x85);
    run0(c);
    done("#GP through a task gate to a 16-bit task");
    same("#GP: the error code is a word", got.bx & 0xffff, 0x7770);
    same("#GP: SP", got.sp & 0xffff, 4096 - 2);

    /* virtual-8086 mode by a TSS */
    static const uint8_t v86[] = {0x8c, 0xc8, 0xcd, 0xff}; /* mov %cs, %ax; int $0xff */
    for (unsigned i = 0; i < sizeof v86; i++)
        ((volatile uint8_t *)0x9000)[i] = v86[i];
    tables(0, 0);
    t2.eflags = FL_VM | FL_IOPL | 2;
    for (unsigned i = 0; i < 6; i++)
        t2.sel[i] = 0x900;
    run0(ljmp);
    done("JMP to a task in virtual-8086 mode");
    same("virtual-8086 task: CS", got.ax & 0xffff, 0x900);
    same("virtual-8086 task: EFLAGS", got.flags, FL_VM | FL_IOPL | 2);
    same("virtual-8086 task: GS", got.gs, 0x900);

    /* from there through a task gate, and back by IRET */
    static const uint8_t nested[] = {0xcd, 0x41, 0x8c, 0xc8, 0xcd, 0xff}; /* int $0x41; … */
    for (unsigned i = 0; i < sizeof nested; i++)
        ((volatile uint8_t *)0x9000)[i] = nested[i];
    tables(CODE("mov %esp, %ebx; iret").start, 0);
    t3 = t2;
    t2.eip = 0;
    t2.eflags = FL_VM | FL_IOPL | 2;
    for (unsigned i = 0; i < 6; i++)
        t2.sel[i] = 0x900;
    gdt[T16 >> 3] = descriptor(addr(&t3), sizeof t3 - 1, 0x89, 0);
    task_gate_idt(0x41, T16, 0xe5);
    run0(ljmp);
    done("INT n in virtual-8086 mode through a task gate, and IRET");
    same("… runs on in virtual-8086 mode", got.ax & 0xffff, 0x900);
    same("… EFLAGS in its TSS has VM", t2.eflags, FL_VM | FL_IOPL | 2);
    same("… IP is the next instruction", t2.eip, 2);
    same("… CS in its TSS", t2.sel[1], 0x900);
    same("… the other task ran", t3.r[3], t3.r[4]);
}

void checks(void)
{
    ljmp = CODE("ljmp *task");
    lcall = CODE("lcall *task");
    by_jump();
    by_call();
    by_int();
    refusals();
    new_task();
    others();
    tables(0, 0);
}
