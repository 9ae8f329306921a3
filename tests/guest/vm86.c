/* Virtual-8086 mode: what IOPL lets through, frames, segments of 64 KiB, and the extensions of
 * CR4.VME and CR4.PVI with VIF, VIP and the redirection bitmap (SDM 3B chapter 21).
 *
 * kind: check32
 */
#include "lib/check.h"

#define SEG      0x900 /* where pieces are copied to */
#define STACKSEG 0xa00
#define DATA     0xb00
#define IOMAP                                                                          \
    0x100 /* in the TSS: the I/O bitmap; the redirection bitmap is the 32 bytes before \
           */

#define CONF   (FREE)
#define LEVEL1 (FREE + 8)

static struct code piece;

static void prep(struct code c, unsigned flags)
{
    piece = c;
    fill((void *)0x9000, 0x90, 0x1000);
    for (unsigned i = 0; i < 128; i++)
        ((volatile uint8_t *)0x9000)[i] = ((const uint8_t *)c.start)[i];
    prep0(c);
    in.cs = SEG;
    in.ip = 0;
    in.ss = STACKSEG;
    in.sp = 0x1000;
    in.ds = in.es = in.fs = in.gs = DATA;
    in.flags = FL_VM | 2 | flags;
}

static void v86(struct code c, unsigned flags)
{
    prep(c, flags);
    run();
}

static void vfault(const char *name, unsigned vector, unsigned error)
{
    struct code c = {0, piece.at - piece.start};
    fault(name, c, vector, error);
}

static void sensitive(void)
{
    static const struct {
        const char *name;
        uint8_t bytes[4];
        unsigned length, vector;
        bool iopl; /* IOPL 3 lets it through */
    } row[] = {
        {"CLI", {0xfa}, 1, GP, true},
        {"STI", {0xfb}, 1, GP, true},
        {"PUSHF", {0x9c}, 1, GP, true},
        {"PUSHFD", {0x66, 0x9c}, 2, GP, true},
        {"POPF", {0x9d}, 1, GP, true},
        {"INT 0x41", {0xcd, 0x41}, 2, GP, true},
        {"IRET", {0xcf}, 1, GP, true},
        {"HLT", {0xf4}, 1, GP, false},
        {"MOV CR0, EAX", {0x0f, 0x22, 0xc0}, 3, GP, false},
        {"MOV EAX, DR0", {0x0f, 0x21, 0xc0}, 3, GP, false},
        {"CLTS", {0x0f, 0x06}, 2, GP, false},
        {"INVD", {0x0f, 0x08}, 2, GP, false},
        {"RDMSR", {0x0f, 0x32}, 2, GP, false},
        {"LGDT", {0x0f, 0x01, 0x17}, 3, GP, false},
        {"LMSW", {0x0f, 0x01, 0xf0}, 3, GP, false},
        {"LLDT", {0x0f, 0x00, 0xd0}, 3, UD, false},
        {"LTR", {0x0f, 0x00, 0xd8}, 3, UD, false},
        {"SLDT", {0x0f, 0x00, 0xc0}, 3, UD, false},
        {"STR", {0x0f, 0x00, 0xc8}, 3, UD, false},
        {"VERR", {0x0f, 0x00, 0xe0}, 3, UD, false},
        {"VERW", {0x0f, 0x00, 0xe8}, 3, UD, false},
        {"LAR", {0x0f, 0x02, 0xc0}, 3, UD, false},
        {"LSL", {0x0f, 0x03, 0xc0}, 3, UD, false},
        {"ARPL", {0x63, 0xc0}, 2, UD, false},
        {"IN AL, 0x80", {0xe4, 0x80}, 2, GP, false},
        {"SYSEXIT", {0x0f, 0x35}, 2, GP, false},
    };
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    struct code nothing = CODE16("nop; nop; nop; nop; nop; ud2");
    for (unsigned i = 0; i < 2 * (sizeof row / sizeof *row); i++) {
        unsigned k = i / 2;
        prep(nothing, i & 1 ? FL_IOPL : 0);
        in.sp = 0x0ff0;
        for (unsigned b = 0; b < row[k].length; b++)
            ((volatile uint8_t *)0x9000)[b] = row[k].bytes[b];
        *(volatile uint16_t *)0xaff0 = 0x20; /* for POPF and IRET */
        *(volatile uint16_t *)0xaff2 = SEG;
        *(volatile uint16_t *)0xaff4 = 2;
        *(volatile uint16_t *)0x9020 = 0x0b0f; /* UD2 */
        run();
        if (!(i & 1) || !row[k].iopl)
            same(row[k].name, got.vector << 16 | got.ip, row[k].vector << 16);
        else
            same(row[k].name, got.vector, row[k].bytes[0] == 0xcd ? 0x41 : UD);
    }
}

static void frames(void)
{
    struct code c = CODE16("mov $0x1234, %ax; 7: ud2");
    prep(c, FL_IF | FL_CF);
    in.fs = 0xc00;
    in.gs = 0xd00;
    run();
    vfault("#UD in virtual-8086 mode", UD, 0);
    same("frame: CS", got.cs, SEG);
    differs("SDM 3B 17.3.1.1: the EFLAGS image of a fault has RF");
    same("frame: EFLAGS", got.flags, FL_VM | FL_IF | FL_CF | FL_RF | 2);
    same("frame: ESP", got.sp, 0x1000);
    same("frame: SS", got.ss, STACKSEG);
    same("frame: DS", got.ds, DATA);
    same("frame: FS", got.fs, 0xc00);
    same("frame: GS", got.gs, 0xd00);
    same("frame: 9 dwords", got.frame, addr(stack_intr) + STACK - 11 * 4);
    same("DS is null in the handler", got.now_ds, 0);
    same("GS is null in the handler", got.now_gs, 0);
    c = CODE16("7: int3");
    v86(c, 0);
    same("INT3 does not depend on IOPL", got.vector, BP);
    c = CODE16("mov $0x7fff, %ax; inc %ax; into");
    v86(c, 0);
    same("INTO does not depend on IOPL", got.vector, OF);
    c = CODE16("7: int $0x41");
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x8e);
    v86(c, FL_IOPL);
    vfault("INT n: the gate's DPL is 0", GP, 0x41 * 8 + 2);
    gdt[LEVEL1 >> 3] = descriptor(0, 0xfffff, 0xbb, 0xc);
    set_gate(0x41, LEVEL1, (word)(stubs + 16 * 0x41), 0xee);
    v86(c, FL_IOPL);
    differs("SDM 2A INT: from virtual-8086 mode to a DPL that is not 0 is #GP");
    vfault("INT n: the gate leads to level 1", GP, LEVEL1);
    gdt[CONF >> 3] = descriptor(0, 0xfffff, 0x9f, 0xc);
    set_gate(0x41, CONF, (word)(stubs + 16 * 0x41), 0xee);
    v86(c, FL_IOPL);
    vfault("INT n: the gate leads to conforming code", GP, CONF);
    gdt[CONF >> 3] = descriptor(addr(stubs), 0xffff, 0x9b, 4);
    set_gate(0x41, CONF, (word)(raw_entry - stubs), 0xe6);
    prep(c, FL_IOPL | FL_CF);
    in.fs = 0xc00;
    in.gs = 0xd00;
    run();
    same("INT n by a 16-bit gate", got.vector, RAW);
    same("16-bit gate: IP and CS", got.raw[0], 2 | SEG << 16);
    same("16-bit gate: FLAGS and SP", got.raw[1], (FL_IOPL | FL_CF | 2) | 0x1000 << 16);
    same("16-bit gate: SS and ES", got.raw[2], STACKSEG | DATA << 16);
    same("16-bit gate: DS and FS", got.raw[3], DATA | 0xc00u << 16);
    same("16-bit gate: GS", got.raw[4] & 0xffff, 0xd00);
    same("16-bit gate: 9 words", got.frame, addr(stack_intr) + STACK - 18);
    reset_tables();
    /* IRET may not set VM but at level 0 */
    c = CODE(
        "pushl $0; pushf; orl $0x20000, (%esp); pushl $0x1b; pushl $1f; iret; 1: pushf; pop %eax");
    run3(c);
    differs("SDM 2A IRET: VM is loaded at level 0 only");
    done("IRET at level 3 with VM in the image");
    differs("SDM 2A IRET: VM is loaded at level 0 only");
    same("VM does not change", got.flags & FL_VM, 0);
    c = CODE16(
        "pushfl; orl $0x7000, (%esp); andl $0xfffdffff, (%esp); popfl; pushfl; pop %eax; 7: ud2");
    prep(c, FL_IOPL);
    run();
    same("POPFD keeps VM and IOPL", got.flags & (FL_VM | FL_IOPL), FL_VM | FL_IOPL);
    same("PUSHFD shows VM and RF clear", got.ax & (FL_VM | FL_RF), 0);
    c = CODE16("pushf; pop %ax; 7: ud2");
    v86(c, FL_IOPL);
    same("PUSHF with IOPL 3", got.ax & 0xffff, 0x3002);
}

static void segments(void)
{
    struct code c = CODE16("7: movw 0xffff, %ax");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("a word at 0xffff", GP, 0);
    c = CODE16("7: movl 0xfffd, %eax");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("a dword at 0xfffd", GP, 0);
    c = CODE16("mov $0x10000, %ebx; 7: movb (%ebx), %al");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("an offset of 32 bits beyond 64 KiB", GP, 0);
    c = CODE16("mov $1, %sp; 7: push %ax");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("PUSH with SP 1", SS, 0);
    c = CODE16("mov $0, %sp; push %ax; 7: ud2");
    v86(c, 0);
    same("PUSH with SP 0 wraps to 0xfffe", got.sp & 0xffff, 0xfffe);
    c = CODE16("mov $0xffff, %sp; 7: pop %ax");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("POP at 0xffff", SS, 0);
    c = CODE16("mov $0xfffe, %bp; 7: movl (%bp), %eax");
    v86(c, 0);
    differs("SDM 3A 5.3: limits are checked in every mode");
    vfault("BP addresses the stack: #SS", SS, 0);
    c = CODE16("movw $0x40, %bx; mov $0x5678, %cx; mov %cx, (%bx); mov %cs:0x40, %dx; 7: ud2");
    prep(c, 0);
    in.ds = SEG;
    run();
    same("a segment's base is the selector times 16", got.dx & 0xffff, 0x5678);
    c = CODE16("mov $0xffff, %ax; mov %ax, %ds; movb 0x10, %al; 7: ud2");
    v86(c, 0);
    vfault("ffff:0010 is 0x100000", UD, 0);
    c = CODE16("ljmp $0x8ff, $0x1a; .skip 10 - (. - 9b), 0x90; mov $0x44, %al; 7: ud2");
    v86(c, 0);
    same("a far jump within virtual-8086 mode", got.ax & 0xff, 0x44);
    same("its CS", got.cs, 0x8ff);
}

static void ports(void)
{
    struct code c = CODE16("inb $0x80, %al; 7: ud2"), shut = CODE16("7: inb $0x81, %al");
    *(uint16_t *)(tss + 0x66) = IOMAP;
    fill(tss + IOMAP, 0xff, 8193 - (IOMAP - 0x68));
    tss[IOMAP + 0x80 / 8] = 0xfe;
    v86(c, 0);
    vfault("IN of a port that the bitmap opens", UD, 0);
    v86(shut, 0);
    vfault("IN of the port beside", GP, 0);
    v86(shut, FL_IOPL);
    vfault("IOPL 3 does not help", GP, 0);
    reset_tables();
}

static bool have(unsigned bit)
{
    return cpuid(1, 0).d >> bit & 1;
}

static void vme_map(unsigned vector, bool idt)
{
    *(uint16_t *)(tss + 0x66) = IOMAP;
    fill(tss + IOMAP - 32, idt ? 0xff : 0, 32);
    fill(tss + IOMAP, 0, 8192);
    tss[IOMAP + 8192] = 0xff;
    volatile uint16_t *ivt = (volatile uint16_t *)(vector * 4ul);
    ivt[0] = 0x60;
    ivt[1] = SEG;
}

static void vme(void)
{
    struct code c;
    if (!have(1)) {
        skip("CR4.VME", "no such feature");
        return;
    }
    WRITE_REG("cr4", READ_REG("cr4") | 1);
    c = CODE16("7: cli; ud2");
    v86(c, FL_VIF | FL_IF);
    same("VME: CLI clears VIF", got.flags & (FL_VIF | FL_IF), FL_IF);
    c = CODE16("sti; 7: ud2");
    v86(c, 0);
    same("VME: STI sets VIF", got.flags & (FL_VIF | FL_IF), FL_VIF);
    c = CODE16("7: sti; ud2");
    v86(c, FL_VIP);
    vfault("VME: STI with VIP", GP, 0);
    c = CODE16("7: cli; ud2");
    v86(c, FL_VIP | FL_VIF);
    same("VME: CLI with VIP", got.vector, UD);
    c = CODE16("pushf; pop %ax; 7: ud2");
    v86(c, FL_VIF);
    same("VME: PUSHF shows VIF as IF, and IOPL 3", got.ax & 0xffff, 0x3202);
    v86(c, FL_IF);
    same("VME: PUSHF does not show IF", got.ax & 0xffff, 0x3002);
    c = CODE16("7: pushfl; ud2");
    v86(c, 0);
    vfault("VME: PUSHFD", GP, 0);
    c = CODE16("push $0x7203; popf; 7: ud2");
    v86(c, 0);
    same("VME: POPF sets VIF, not IF and IOPL", got.flags & 0x83201, FL_VIF | FL_CF);
    c = CODE16("push $0x0002; popf; 7: ud2");
    v86(c, FL_VIF | FL_IF);
    same("VME: POPF clears VIF", got.flags & (FL_VIF | FL_IF), FL_IF);
    c = CODE16("push $0x0202; 7: popf; ud2");
    v86(c, FL_VIP);
    vfault("VME: POPF of IF with VIP", GP, 0);
    c = CODE16("push $0x0102; 7: popf; ud2");
    v86(c, 0);
    vfault("VME: POPF of TF", GP, 0);
    c = CODE16("pushl $2; 7: popfl; ud2");
    v86(c, 0);
    vfault("VME: POPFD", GP, 0);

    c = CODE16("7: int $0x41; mov $1, %bl; ud2; .skip 0x60 - (. - 9b), 0x90; pushf; pop %dx; ud2");
    vme_map(0x41, false);
    v86(c, FL_VIF | FL_IF | FL_CF);
    same("VME: INT n by the table of real mode", got.vector << 16 | got.ip, UD << 16 | 0x62);
    same("VME: INT n: 3 words", got.sp, 0x1000 - 6);
    same("VME: INT n: IP", *(uint16_t *)(0xb000 - 6), 2);
    same("VME: INT n: CS", *(uint16_t *)(0xb000 - 4), SEG);
    same("VME: INT n: FLAGS has VIF as IF, and IOPL 3", *(uint16_t *)(0xb000 - 2), 0x3203);
    same("VME: INT n clears VIF, not IF", got.flags & (FL_VIF | FL_IF), FL_IF);
    vme_map(0x41, true);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    v86(c, 0);
    vfault("VME: INT n, its bit set, IOPL 0", GP, 0);
    v86(c, FL_IOPL);
    same("VME: INT n, its bit set, IOPL 3: by the IDT", got.vector, 0x41);
    vme_map(0x41, false);
    v86(c, FL_IOPL | FL_IF);
    same("VME: INT n, its bit clear, IOPL 3: by the table", got.vector << 16 | got.ip,
         UD << 16 | 0x62);
    same("VME: INT n with IOPL 3 clears IF", got.flags & FL_IF, 0);
    tss[IOMAP - 32 + 0x41 / 8] = 1 << (0x41 & 7);
    v86(c, 0);
    vfault("VME: this vector's bit alone", GP, 0);
    vme_map(3, false);
    c = CODE16("7: int3; mov $1, %bl; ud2; .skip 0x60 - (. - 9b), 0x90; ud2");
    v86(c, FL_IOPL);
    same("VME: INT3 is not redirected", got.vector, BP);
    c = CODE16("push $0x0202; push $0x900; push $0x60; iret; .skip 0x60 - (. - 9b), 0x90; ud2");
    v86(c, 0);
    same("VME: IRET", got.vector << 16 | got.ip, UD << 16 | 0x60);
    same("VME: IRET sets VIF", got.flags & (FL_VIF | FL_IF), FL_VIF);
    c = CODE16("push $0x0202; push $0x900; push $0x60; 7: iret; .skip 0x60 - (. - 9b), 0x90; ud2");
    v86(c, FL_VIP);
    vfault("VME: IRET of IF with VIP", GP, 0);
    c = CODE16("push $0x0102; push $0x900; push $0x60; 7: iret; .skip 0x60 - (. - 9b), 0x90; ud2");
    v86(c, 0);
    vfault("VME: IRET of TF", GP, 0);
    c = CODE16(
        "pushl $0x0002; pushl $0x900; pushl $0x60; 7: iretl; .skip 0x60 - (. - 9b), 0x90; ud2");
    v86(c, 0);
    vfault("VME: IRETD", GP, 0);
    c = CODE16("sti; 7: ud2");
    v86(c, FL_IOPL);
    same("VME: STI with IOPL 3 sets IF", got.flags & (FL_VIF | FL_IF), FL_IF);
    WRITE_REG("cr4", READ_REG("cr4") & ~1ul);
    reset_tables();
}

static void pvi(void)
{
    struct code c;
    if (!have(1)) {
        skip("CR4.PVI", "no such feature");
        return;
    }
    c = CODE("7: cli");
    run3(c);
    fault("CLI at level 3", c, GP, 0);
    WRITE_REG("cr4", READ_REG("cr4") | 2);
    c = CODE("cli");
    prep3(c);
    in.flags = FL_VIF | FL_IF | 2;
    run();
    done("PVI: CLI");
    same("PVI: CLI clears VIF", got.flags & (FL_VIF | FL_IF), FL_IF);
    c = CODE("7: sti");
    run3(c);
    done("PVI: STI");
    same("PVI: STI sets VIF", got.flags & (FL_VIF | FL_IF), FL_VIF);
    prep3(c);
    in.flags = FL_VIP | 2;
    run();
    fault("PVI: STI with VIP", c, GP, 0);
    c = CODE("pushf; pop %eax; push $2; popf");
    prep3(c);
    in.flags = FL_VIF | FL_IF | 2;
    run();
    same("PVI: PUSHF shows IF itself", got.ax & 0x3200, FL_IF);
    same("PVI: POPF changes neither IF nor VIF", got.flags & (FL_VIF | FL_IF), FL_VIF | FL_IF);
    WRITE_REG("cr4", READ_REG("cr4") & ~2ul);
}

void checks(void)
{
    sensitive();
    frames();
    segments();
    ports();
    vme();
    pvi();
}
