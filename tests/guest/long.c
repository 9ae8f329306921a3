/* Long mode: the 64-bit IDT with its checks and frames, IST, IRET, far transfers and call gates,
 * compatibility mode, canonical addresses (SDM 3A 6.14, 5.8.3.1, 3.3.7.1).
 *
 * kind: check64
 */
#include "lib/check.h"

enum {
    ABSENT = FREE,
    CODE32 = FREE + 8, /* level 0 code of 32 bits */
    BOTH = FREE + 16,  /* L and D */
    CONF0 = FREE + 24, /* conforming, 64-bit, level 0 */
    CODE1 = FREE + 32, /* level 1, 64-bit */
    GATE = FREE + 40,  /* 16 bytes */
    DATA1 = FREE + 56,
    LDT = FREE + 64, /* 16 bytes */
    STACK16 = FREE + 80,
    CODE2 = FREE + 88,
};

#define BAD 0x800000000000ul /* not canonical */

static uint8_t ist_stack[4096] __attribute__((aligned(16)));

static void tables(void)
{
    reset_tables();
    gdt[ABSENT >> 3] = descriptor(0, 0xfffff, 0x1b, 0xa);
    gdt[CODE32 >> 3] = descriptor(0, 0xfffff, 0x9b, 0xc);
    gdt[BOTH >> 3] = descriptor(0, 0xfffff, 0x9b, 0xe);
    gdt[CONF0 >> 3] = descriptor(0, 0xfffff, 0x9f, 0xa);
    gdt[CODE1 >> 3] = descriptor(0, 0xfffff, 0xbb, 0xa);
    gdt[DATA1 >> 3] = descriptor(0, 0xfffff, 0xb3, 0xc);
    gdt[STACK16 >> 3] = descriptor(0, 0xffff, 0xf3, 0);
    *(uint64_t *)(tss + 0x24) = addr(ist_stack) + sizeof ist_stack; /* IST1 */
}

static void gate64(unsigned vector, unsigned sel, word offset, unsigned type, unsigned ist)
{
    set_gate(vector, sel, offset, type);
    idt[2 * vector] |= (uint64_t)ist << 32;
}

static struct code int41;

static void refused(const char *name, unsigned vector, unsigned error)
{
    run3(int41);
    if (error == 0x20a)
        differs("SDM 3A 6.13: the index is the vector in long mode too");
    fault(name, int41, vector, error);
    tables();
}

static void idt_checks(void)
{
    word at = (word)(stubs + 16 * 0x41);
    int41 = CODE("int $0x41");
    gate64(0x41, CS0, at, 0x8e, 0);
    refused("gate of DPL 0 from level 3", GP, 0x20a);
    gate64(0x41, CS0, at, 0x6e, 0);
    refused("gate not present", NP, 0x20a);
    gate64(0x41, CS0, at, 0xe6, 0);
    refused("16-bit interrupt gate", GP, 0x20a);
    gate64(0x41, CS0, at, 0xe5, 0);
    refused("task gate", GP, 0x20a);
    gate64(0x41, CS0, at, 0xec, 0);
    refused("call gate", GP, 0x20a);
    gate64(0x41, 0, at, 0xee, 0);
    refused("null code selector", GP, 0);
    gate64(0x41, CODE32, at, 0xee, 0);
    refused("code of 32 bits", GP, CODE32);
    gate64(0x41, BOTH, at, 0xee, 0);
    refused("code with L and D", GP, BOTH);
    gate64(0x41, DS0, at, 0xee, 0);
    refused("data", GP, DS0);
    gate64(0x41, ABSENT, at, 0xee, 0);
    refused("code not present", NP, ABSENT);
    gate64(0x41, CS0, BAD, 0xee, 0);
    differs("SDM 2A INT: a new RIP that is not canonical is #GP");
    refused("offset not canonical", GP, 0);
    gate64(0x41, CS0, at, 0xee, 2);
    *(uint64_t *)(tss + 0x2c) = BAD;
    refused("IST pointer not canonical", SS, 0);
    gate64(0x41, CODE1, at, 0xee, 0);
    *(uint64_t *)(tss + 12) = BAD;
    refused("RSP1 not canonical", SS, 0);
    gate64(0x41, CODE1, at, 0xee, 0);
    gdt[TSS_SEL >> 3] = descriptor(addr(tss), 18, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    refused("the TSS ends in RSP1", TS, TSS_SEL);
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } small = {0x41 * 16 + 14, (word)idt};
    gate64(0x41, CS0, at, 0xee, 0);
    __asm__ volatile("lidt %0" : : "m"(small));
    refused("the IDT ends in the entry's last byte", GP, 0x20a);
    struct code c = CODE("mov $0x800000000000, %rax; 7: mov (%rax), %rax");
    run3(c);
    fault("load from an address that is not canonical", c, GP, 0);
    c = CODE("mov $0x800000000000, %rbp; 7: mov (%rbp), %rax");
    run3(c);
    differs("SDM 3A 6.15 #SS: a stack address that is not canonical");
    fault("… by RBP: #SS", c, SS, 0);
    c = CODE("mov $0x7fffffffffff, %rax; 7: mov (%rax), %eax");
    run3(c);
    same("a load across the end of canonical addresses", got.vector == GP || got.vector == PF, 1);
    c = CODE("mov $0x800000000000, %rax; 7: jmp *%rax");
    run3(c);
    differs("SDM 2A JMP: the target is checked before RIP changes");
    fault("JMP to an address that is not canonical", c, GP, 0);
    c = CODE("mov $0x800000000000, %rax; 7: call *%rax");
    run3(c);
    differs("SDM 2A CALL: the target is checked before RIP changes");
    fault("CALL of an address that is not canonical", c, GP, 0);
    c = CODE("mov $0x800000000000, %rax; push %rax; 7: ret");
    run3(c);
    differs("SDM 2B RET: the target is checked before RIP changes");
    fault("RET to an address that is not canonical", c, GP, 0);
}

static void frames(void)
{
    struct code c = CODE("int $0x41");
    prep3(c);
    in.sp = (word)stack3 + STACK - 5;
    in.flags = FL_IF | FL_CF | FL_AC | 2;
    run();
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    run();
    same("from level 3: RIP", got.ip, c.at + 2);
    same("from level 3: CS", got.cs, CS3);
    same("from level 3: RFLAGS", got.flags, FL_IF | FL_CF | FL_AC | 2);
    same("from level 3: RSP", got.sp, (word)stack3 + STACK - 5);
    same("from level 3: SS", got.ss, DS3);
    same("the handler's SS is null", got.now_ss, 0);
    same("5 quadwords on RSP0", got.frame, (word)stack_intr + STACK - 7 * 8);
    prep0(c);
    in.sp = (word)stack0 + STACK - 5;
    run();
    same("same level: RSP is aligned to 16 first", got.frame,
         (((word)stack0 + STACK - 5) & -16ul) - 56);
    same("same level: the frame has RSP itself", got.sp, (word)stack0 + STACK - 5);
    same("same level: and SS", got.ss, DS0);
    same("same level: SS stays", got.now_ss, DS0);
    struct code gp = CODE("mov $0x7770, %eax; 7: mov %eax, %ds");
    run3(gp);
    fault("an error code", gp, GP, 0x7770);
    same("… 6 quadwords", got.frame, (word)stack_intr + STACK - 7 * 8);
    gate64(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee, 1);
    run0(c);
    same("IST from level 0", got.frame, (word)ist_stack + sizeof ist_stack - 56);
    run3(c);
    same("IST from level 3", got.frame, (word)ist_stack + sizeof ist_stack - 56);
    *(uint64_t *)(tss + 0x24) = addr(ist_stack) + sizeof ist_stack - 3;
    run3(c);
    same("IST pointer is aligned", got.frame, (word)ist_stack + sizeof ist_stack - 16 - 56);
    tables();
    set_gate(0x41, CONF0, CODE("mov %cs, %eax").start, 0xee);
    run3(c);
    done("conforming gate");
    same("conforming gate: CPL stays", got.ax, CONF0 + 3);
    same("conforming gate: 5 quadwords on the same stack", got.sp, (word)stack3 + STACK - 40);
    set_gate(0x41, CODE1, CODE("mov %cs, %eax; mov %ss, %ecx").start, 0xee);
    *(uint64_t *)(tss + 12) = addr(ist_stack) + 2048;
    run3(c);
    done("gate to level 1");
    same("level 1: CS", got.ax, CODE1 + 1);
    same("level 1: SS is null with RPL 1", got.cx, 1);
    set_gate(0x41, CS0, (word)raw_entry, 0xef);
    prep3(c);
    in.flags = FL_IF | FL_NT | 2;
    run();
    same("trap gate: IF stays, NT goes", got.now_flags & (FL_IF | FL_NT), FL_IF);
    tables();
}

/* IRETQ with this frame, made in RBX … */
static struct code iretq;

static void iret(const char *name, word ip, word cs, word flags, word sp, word ss, unsigned vector,
                 unsigned error)
{
    prep0(iretq);
    in.bx = ip;
    in.cx = cs;
    in.dx = flags;
    in.si = sp;
    in.di = ss;
    run();
    fault(name, iretq, vector, error);
}

static void irets(void)
{
    word end = CODE("mov %cs, %eax; mov %ss, %ecx; mov %rsp, %rdx").start;
    iretq = CODE("push %rdi; push %rsi; push %rdx; push %rcx; push %rbx; 7: iretq");
    word sp = (word)stack3 + 256;
    iret("IRETQ to level 3", end, CS3, 2, sp, DS3, DONE, 0);
    same("… CS", got.ax, CS3);
    same("… RSP", got.dx, sp);
    iret("IRETQ to the same level takes SS:RSP", end, CS0, 2, sp, DS0, DONE, 0);
    same("… RSP", got.dx, sp);
    iret("IRETQ to level 0 with a null SS", end, CS0, 2, sp, 0, DONE, 0);
    same("… SS", got.cx, 0);
    differs("SDM 2A IRET: the RPL of a null SS must be the new CPL");
    iret("IRETQ with a null SS of RPL 1 to level 0", end, CS0, 2, sp, 1, GP, 0);
    iret("IRETQ to level 3 with a null SS", end, CS3, 2, sp, 0, GP, 0);
    iret("IRETQ to level 3 with a null SS of RPL 3", end, CS3, 2, sp, 3, GP, 0);
    iret("IRETQ to level 1 with a null SS of RPL 1", end, CODE1 + 1, 2, sp, 1, DONE, 0);
    differs("SDM 2A IRET: a return RIP that is not canonical is #GP(0)");
    iret("IRETQ: RIP not canonical", BAD, CS3, 2, sp, DS3, GP, 0);
    iret("IRETQ: RSP not canonical is no fault yet", end, CS3, 2, BAD, DS3, DONE, 0);
    same("… RSP", got.dx, BAD);
    iret("IRETQ: CS null", end, 3, 2, sp, DS3, GP, 0);
    differs("SDM 3A 5.2.1: L and D together are reserved");
    iret("IRETQ: CS with L and D", end, BOTH, 2, sp, DS0, GP, BOTH);
    iret("IRETQ: CS not present", end, ABSENT, 2, sp, DS0, NP, ABSENT);
    iret("IRETQ: CS data", end, DS0, 2, sp, DS0, GP, DS0);
    iret("IRETQ: CS's DPL is not its RPL", end, CS0 + 3, 2, sp, DS3, GP, CS0);
    iret("IRETQ: SS's RPL is not CS's", end, CS3, 2, sp, DS3 - 1, GP, DS3 - 3);
    iret("IRETQ: SS's DPL is not CS's RPL", end, CS3, 2, sp, DS0 + 3, GP, DS0);
    iret("IRETQ: VM in the image is ignored", end, CS3, FL_VM | 2, sp, DS3, DONE, 0);
    same("… RFLAGS.VM", got.flags & FL_VM, 0);
    iret("IRETQ: RF, ID, AC", end, CS3, FL_ID | FL_AC | FL_RF | 2, sp, DS3, DONE, 0);
    same("… RFLAGS", got.flags & (FL_ID | FL_AC), FL_ID | FL_AC);
    struct code nt = CODE("pushfq; orl $0x4000, (%rsp); popfq; 7: iretq");
    run0(nt);
    fault("IRET with NT in long mode", nt, GP, 0);
    /* to compatibility mode and back */
    struct code compat = CODE32("mov %cs, %eax; .byte 0x40; mov %esp, %edx");
    iret("IRETQ to compatibility mode", compat.start, CS3C, 2, 0x123456789ul, DS3, DONE, 0);
    same("… INC EAX is no REX there", got.ax, CS3C + 1);
    same("… ESP has 32 bits", got.dx, 0x23456789);
    differs("SDM 2A IRET: RIP must be within the limit");
    iret("IRETQ to compatibility mode, EIP above 4 GiB", 0x100000000ul + compat.start, CS3C, 2, sp,
         DS3, GP, 0);
    struct code low = CODE("pushq $0x10; pushq $0x1000; pushfq; pushq $8; pushq $0x1000; 7: iretq");
    run3(low);
    fault("IRETQ to an inner level", low, GP, CS0);
}

static void call_gate(unsigned target, word offset, unsigned type)
{
    gdt[GATE >> 3] = (offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)type << 40 |
                     (uint64_t)(offset >> 16 & 0xffff) << 48;
    gdt[(GATE >> 3) + 1] = offset >> 32;
}

struct __attribute__((packed)) far {
    uint32_t offset;
    uint16_t sel;
} target;
struct __attribute__((packed)) far64 {
    uint64_t offset;
    uint16_t sel;
} target64;

static void far_transfers(void)
{
    word end = CODE("mov %cs, %eax; mov %ss, %ecx").start;
    struct code lcall = CODE("lcall *target"), ljmp = CODE("ljmp *target");
    struct code lcallq = CODE(".byte 0x48; lcall *target64");
    target.sel = GATE;
    call_gate(CS0, end, 0xec);
    run3(lcall);
    done("CALL through a 64-bit gate to level 0");
    same("… SS is null", got.cx, 0);
    same("… 4 quadwords on RSP0", got.sp, (word)stack_intr + STACK - 32);
    const word *s = (const word *)got.sp;
    same("… RIP", s[0], lcall.at + 7);
    same("… CS", s[1], CS3);
    same("… RSP", s[2], (word)stack3 + STACK);
    same("… SS", s[3], DS3);
    run0(lcall);
    done("CALL through a gate at level 0");
    same("… 2 quadwords", got.sp, (word)stack0 + STACK - 16);
    call_gate(CODE32, end, 0xec);
    run3(lcall);
    fault("gate to code of 32 bits", lcall, GP, CODE32);
    call_gate(BOTH, end, 0xec);
    run3(lcall);
    fault("gate to code with L and D", lcall, GP, BOTH);
    call_gate(CS0, BAD, 0xec);
    run3(lcall);
    differs("SDM 2A CALL: a target that is not canonical is #GP(0)");
    fault("gate with an offset that is not canonical", lcall, GP, 0);
    call_gate(CS0, end, 0xec);
    gdt[(GATE >> 3) + 1] |= 0xeull << 40;
    run3(lcall);
    differs("SDM 3A 5.8.3.1: the type field of the upper half must be 0");
    fault("gate whose upper half has a type", lcall, GP, GATE);
    call_gate(CS0, end, 0xe4);
    run3(lcall);
    fault("16-bit call gate", lcall, GP, GATE);
    call_gate(CS0, end, 0x8c);
    run3(lcall);
    fault("gate of DPL 0 from level 3", lcall, GP, GATE);
    call_gate(CS0, end, 0x6c);
    run3(lcall);
    fault("gate not present", lcall, NP, GATE);
    target.sel = TSS_SEL;
    run0(ljmp);
    fault("JMP to a TSS", ljmp, GP, TSS_SEL);
    target.sel = BOTH;
    target.offset = end;
    run0(ljmp);
    differs("SDM 3A 5.2.1: L and D together are reserved");
    fault("JMP to code with L and D", ljmp, GP, BOTH);
    struct code direct = CODE("1: .byte 0xea, 0, 0, 0, 0, 8, 0");
    run0(direct);
    fault("JMP ptr16:32 in 64-bit mode", direct, UD, 0);
    target64.sel = CS0;
    target64.offset = end;
    run0(lcallq);
    done("CALL m16:64");
    same("… 2 quadwords", got.sp, (word)stack0 + STACK - 16);
    target64.offset = BAD;
    run0(lcallq);
    differs("SDM 2A CALL: a target that is not canonical is #GP(0)");
    fault("CALL m16:64, not canonical", lcallq, GP, 0);
    struct code c = CODE("push $0x23; push %rsp; push $0x2b; push $1f; lretq; 1: mov %cs, %eax");
    run0(c);
    done("RETFQ to level 3");
    same("… CS", got.ax, CS3);
    c = CODE("pushq $8; pushq $0; movabs $0x800000000000, %rax; mov %rax, (%rsp); 7: lretq");
    run0(c);
    differs("SDM 2B RET: the target is checked before RIP changes");
    fault("RETFQ to an address that is not canonical", c, GP, 0);
}

static void segment_registers(void)
{
    struct code c = CODE("xor %eax, %eax; mov %eax, %ss; mov %ss, %ecx");
    run0(c);
    done("null SS at level 0");
    c = CODE("xor %eax, %eax; 7: mov %eax, %ss");
    run3(c);
    fault("null SS at level 3", c, GP, 0);
    c = CODE("mov $3, %eax; 7: mov %eax, %ss");
    run3(c);
    fault("null SS of RPL 3 at level 3", c, GP, 0);
    c = CODE("mov $1, %eax; 7: mov %eax, %ss");
    run0(c);
    differs("SDM 2B MOV: the RPL of a null SS must be the CPL");
    fault("null SS of RPL 1 at level 0", c, GP, 0);
    c = CODE(
        "xor %eax, %eax; mov %eax, %ds; mov %eax, %es; mov $0x9000, %ebx; mov %ds:(%rbx), %rax;"
        "mov %ecx, %es:(%rbx)");
    run3(c);
    done("null DS and ES do not matter");
    c = CODE(".byte 0x06");
    run3(c);
    fault("PUSH ES", c, UD, 0);
    c = CODE(".byte 0x1f");
    run3(c);
    fault("POP DS", c, UD, 0);
    c = CODE(".byte 0xc5, 0x03");
    run3(c);
    same("LDS is a VEX prefix: #UD here", got.vector, UD);
    static const uint8_t gone[] = {0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61,
                                   0x62, 0xce, 0xd4, 0xd5, 0xd6, 0x82};
    c = CODE("9: nop; nop; nop; nop");
    for (unsigned i = 0; i < sizeof gone; i++) {
        *(volatile uint8_t *)c.start = gone[i];
        *(volatile uint8_t *)(c.start + 1) = 0;
        run3(c);
        if (gone[i] != 0x62)
            fault("an instruction that 64-bit mode does not have", c, UD, 0);
    }
    /* system descriptors of 16 bytes */
    c = CODE("mov %bx, %ax; 7: lldt %ax");
    gdt[LDT >> 3] = descriptor(0x9000, 31, 0x82, 0);
    gdt[(LDT >> 3) + 1] = 0;
    prep0(c);
    in.bx = LDT;
    run();
    done("LLDT");
    gdt[(LDT >> 3) + 1] = 0x8000; /* base 0x8000:00009000 */
    prep0(c);
    in.bx = LDT;
    run();
    differs("SDM 2A LLDT: a base that is not canonical is #GP(selector)");
    fault("LLDT: base not canonical", c, GP, LDT);
    gdt[(LDT >> 3) + 1] = 2ull << 40;
    prep0(c);
    in.bx = LDT;
    run();
    differs("SDM 3A 8.2.3: the type field of the upper half must be 0");
    fault("LLDT: the upper half has a type", c, GP, LDT);
    prep0(c);
    in.bx = (GDT_SIZE - 1) * 8;
    gdt[GDT_SIZE - 1] = descriptor(0x9000, 31, 0x82, 0);
    run();
    fault("LLDT: cut off by the GDT's limit", c, GP, (GDT_SIZE - 1) * 8);
    __asm__ volatile("lldt %w0" : : "r"(0));
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } *g = (void *)0x9000;
    if (is_tcg()) {
        skip("LGDT: base not canonical", "QEMU would load it");
        return;
    }
    g->limit = 0x7f;
    g->base = BAD;
    c = CODE("mov $0x9000, %ebx; 7: lgdt (%rbx)");
    run0(c);
    fault("LGDT: base not canonical", c, GP, 0);
    c = CODE("mov $0x9000, %ebx; 7: lidt (%rbx)");
    run0(c);
    fault("LIDT: base not canonical", c, GP, 0);
    tables();
}

void checks(void)
{
    tables();
    idt_checks();
    frames();
    irets();
    far_transfers();
    segment_registers();
}
