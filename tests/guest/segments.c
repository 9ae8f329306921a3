/* Segments of protected mode: limits, types, expand-down, 16-bit stacks, the LDT, loads of segment
 * registers, LAR LSL VERR VERW ARPL, and I/O permission (SDM 3A chapter 5; SDM 1 19.5).
 *
 * kind: check32
 */
#include "lib/check.h"

enum {
    SMALL = FREE,       /* 256 bytes at buffer */
    PAGES = FREE + 8,   /* 2 pages at buffer, page granularity */
    DOWN32 = FREE + 16, /* expand-down above 0xfff, 32 bits */
    DOWN16 = FREE + 24, /* expand-down above 0xfff, 16 bits */
    RO = FREE + 32,
    XO = FREE + 40, /* execute-only code */
    XR = FREE + 48, /* readable code */
    CODE16S = FREE + 56,
    STACK16 = FREE + 64,
    LDT = FREE + 72,
    DATA3 = FREE + 80,
    ABSENT = FREE + 88,
    CONF0 = FREE + 96,
    DATA1 = FREE + 104,
    HIGH = FREE + 112, /* base 0xfffff000: addresses wrap at 4 GiB */
    BUSY16 = FREE + 120,
    CALLG = FREE + 128,
    INTG = FREE + 136,
};

static uint8_t buffer[3 * 65536] __attribute__((aligned(65536)));
static uint64_t ldt[4] __attribute__((aligned(8)));

static void tables(void)
{
    reset_tables();
    gdt[SMALL >> 3] = descriptor(addr(buffer), 255, 0x93, 4);
    gdt[PAGES >> 3] = descriptor(addr(buffer), 1, 0x93, 0xc);
    gdt[DOWN32 >> 3] = descriptor(addr(buffer), 0xfff, 0x97, 4);
    gdt[DOWN16 >> 3] = descriptor(addr(buffer), 0xfff, 0x97, 0);
    gdt[RO >> 3] = descriptor(0, 0xfffff, 0x91, 0xc);
    gdt[XO >> 3] = descriptor(0, 0xfffff, 0x99, 0xc);
    gdt[XR >> 3] = descriptor(0, 0xfffff, 0x9b, 0xc);
    gdt[STACK16 >> 3] = descriptor(addr(buffer), 0xffff, 0x93, 0);
    gdt[LDT >> 3] = descriptor(addr(ldt), 23, 0x82, 0);
    gdt[DATA3 >> 3] = descriptor(0, 0xfffff, 0xf2, 0xc);
    gdt[ABSENT >> 3] = descriptor(0, 0xfffff, 0x13, 0xc);
    gdt[CONF0 >> 3] = descriptor(0, 0xfffff, 0x9f, 0xc);
    gdt[DATA1 >> 3] = descriptor(0, 0xfffff, 0xb3, 0xc);
    gdt[HIGH >> 3] = descriptor(0xfffff000, 0xfffff, 0x93, 0xc);
    gdt[BUSY16 >> 3] = descriptor(0x1234, 0x2b, 0x83, 0);
    gdt[CALLG >> 3] = (uint64_t)CS0 << 16 | 0x8cull << 40;
    gdt[INTG >> 3] = (uint64_t)CS0 << 16 | 0x8eull << 40;
    ldt[1] = descriptor(addr(buffer), 0xff, 0xf3, 4);
    ldt[2] = descriptor(0, 0xfffff, 0x93, 0xc);
    __asm__ volatile("lldt %w0" : : "r"(0));
}

/* EBX is an offset in FS. */
static void access(const char *name, struct code c, unsigned sel, uint32_t offset, unsigned vector)
{
    prep0(c);
    in.fs = sel;
    in.bx = offset;
    run();
    if (vector != DONE)
        differs("SDM 3A 5.3, 5.4: limits and types are checked");
    fault(name, c, vector, 0);
}

static void limits(void)
{
    struct code load1 = CODE("movb %fs:(%ebx), %al");
    struct code load4 = CODE("movl %fs:(%ebx), %eax");
    struct code store2 = CODE("movw %ax, %fs:(%ebx)");
    struct code run8 = CODE("fildll %fs:(%ebx)");
    access("byte at the limit", load1, SMALL, 255, DONE);
    access("byte beyond the limit", load1, SMALL, 256, GP);
    access("dword that ends at the limit", load4, SMALL, 252, DONE);
    access("dword across the limit", load4, SMALL, 253, GP);
    access("word across the limit, written", store2, SMALL, 255, GP);
    access("8 bytes across the limit", run8, SMALL, 249, GP);
    access("8 bytes to the limit", run8, SMALL, 248, DONE);
    access("page granularity: the last byte", load1, PAGES, 8191, DONE);
    access("page granularity: one beyond", load1, PAGES, 8192, GP);
    access("offset 0xffffffff", load4, SMALL, 0xffffffff, GP);
    access("expand-down: at its limit", load1, DOWN32, 0xfff, GP);
    access("expand-down: above its limit", load1, DOWN32, 0x1000, DONE);
    access("expand-down, 16 bits: up to 0xffff", load1, DOWN16, 0xffff, DONE);
    access("expand-down, 16 bits: 0x10000", load1, DOWN16, 0x10000, GP);
    access("expand-down, 16 bits: across 0xffff", load4, DOWN16, 0xfffd, GP);
    access("expand-down: across its limit", load4, DOWN16, 0xffe, GP);
    access("base and offset wrap at 4 GiB", load1, HIGH, 0x2000, DONE);
    access("a write to a read-only segment", store2, RO, 0x9000, GP);
    access("a read of it", load4, RO, 0x9000, DONE);
    access("a write to readable code", store2, XR, 0x9000, GP);
    access("a read of readable code", load4, XR, 0x9000, DONE);
    access("null selector", load4, 0, 0x9000, GP);
    access("null selector with RPL 3", load4, 3, 0x9000, GP);
    struct code push = CODE("movl %ebx, %esp; 7: push %eax");
    prep0(push);
    in.ss = SMALL;
    in.sp = 256;
    in.bx = 0; /* below 0: 0xfffffffc */
    /* its #SS needs a stack to be seen: a task with an own one */
    static uint32_t t[26];
    t[1] = addr(stack_intr) + STACK;
    t[2] = DS0;
    t[8] = addr(stubs + 16 * SS);
    t[9] = 2;
    t[14] = addr(stack_intr) + STACK;
    for (unsigned i = 18; i < 24; i++)
        t[i] = DS0;
    t[19] = CS0;
    gdt[(FREE + 144) >> 3] = descriptor(addr(t), 103, 0x89, 0);
    idt[SS] = (uint64_t)(FREE + 144) << 16 | 0x85ull << 40;
    run();
    differs("SDM 3A 5.3: the stack's limit");
    same("PUSH beyond a 32-bit stack's limit: #SS", got.vector, SS);
    same("… with error code 0", got.error, 0);
    tables();
}

static void loads(void)
{
    static const struct {
        unsigned sel, vector, error;
        const char *name;
    } ds[] = {
        {0, DONE, 0, "DS: null"},
        {3, DONE, 0, "DS: null with RPL 3"},
        {DATA3, DONE, 0, "DS: level 3 at level 0"},
        {DATA3 + 3, DONE, 0, "DS: RPL 3 and DPL 3"},
        {DS0 + 1, GP, DS0, "DS: RPL above DPL"},
        {DATA1 + 2, GP, DATA1, "DS: RPL 2, DPL 1"},
        {XO, GP, XO, "DS: execute-only code"},
        {XR, DONE, 0, "DS: readable code"},
        {CONF0 + 3, DONE, 0, "DS: conforming code, any RPL"},
        {TSS_SEL, GP, TSS_SEL, "DS: a TSS"},
        {CALLG, GP, CALLG, "DS: a call gate"},
        {ABSENT, NP, ABSENT, "DS: not present"},
        {GDT_SIZE * 8, GP, GDT_SIZE * 8, "DS: beyond the GDT"},
        {0xffff, GP, 0xfffc, "DS: the largest selector, in the LDT that isn't there"},
        {12, GP, 12, "DS: in the LDT that isn't there"},
    };
    struct code c = CODE("movl %ebx, %fs");
    for (unsigned i = 0; i < sizeof ds / sizeof *ds; i++) {
        prep0(c);
        in.bx = ds[i].sel;
        run();
        fault(ds[i].name, c, ds[i].vector, ds[i].error);
    }
    c = CODE("push %ebx; 7: pop %gs");
    for (unsigned i = 3; i < sizeof ds / sizeof *ds; i += 3) {
        prep0(c);
        in.bx = ds[i].sel;
        run();
        fault(ds[i].name, c, ds[i].vector, ds[i].error);
        if (ds[i].vector != DONE)
            same("POP that faults keeps ESP", got.sp, addr(stack0 + STACK) - 4);
    }
    static const struct {
        unsigned sel, vector, error;
        const char *name;
    } ss[] = {
        {0, GP, 0, "SS: null"},
        {DS0 + 3, GP, DS0, "SS: RPL is not CPL"},
        {DATA3, GP, DATA3, "SS: DPL is not CPL"},
        {DATA3 + 3, GP, DATA3, "SS: level 3"},
        {RO, GP, RO, "SS: read-only"},
        {XR, GP, XR, "SS: code"},
        {ABSENT, SS, ABSENT, "SS: not present"},
        {TSS_SEL, GP, TSS_SEL, "SS: a TSS"},
        {12, GP, 12, "SS: in the LDT that isn't there"},
        {DS0, DONE, 0, "SS: data of level 0"},
    };
    c = CODE("movl %ebx, %ss");
    for (unsigned i = 0; i < sizeof ss / sizeof *ss; i++) {
        prep0(c);
        in.bx = ss[i].sel;
        run();
        fault(ss[i].name, c, ss[i].vector, ss[i].error);
    }
    c = CODE("movl %ebx, %ds");
    prep3(c);
    in.bx = DS0;
    run();
    fault("DS: level 0 at level 3", c, GP, DS0);
    c = CODE(".byte 0x8e, 0xc8");
    run0(c);
    fault("MOV to CS", c, UD, 0);
    c = CODE(".byte 0x8e, 0xf0");
    run0(c);
    fault("MOV to segment register 6", c, UD, 0);
    gdt[DATA3 >> 3] = descriptor(0, 0xfffff, 0xf2, 0xc);
    c = CODE("movl %ebx, %fs");
    prep0(c);
    in.bx = DATA3;
    run();
    same("a load sets the accessed bit", gdt[DATA3 >> 3] >> 40 & 1, 1);
    /* LDT */
    c = CODE("lldt %bx; movl $12, %eax; movl %eax, %fs; movb %fs:255, %al; 7: movb %fs:256, %al");
    prep0(c);
    in.bx = LDT;
    run();
    differs("SDM 3A 5.3: limits are checked");
    fault("a segment of the LDT, and its limit", c, GP, 0);
    c = CODE("movl $28, %eax; 7: movl %eax, %fs");
    run0(c);
    fault("beyond the LDT's limit", c, GP, 28);
    c = CODE("sldt %eax");
    run0(c);
    same("SLDT", got.ax, LDT);
    c = CODE("movl $0x4c, %eax; 7: lldt %ax");
    run0(c);
    fault("LLDT with a selector in the LDT", c, GP, 0x4c);
    c = CODE("movl $0x10, %eax; 7: lldt %ax");
    run0(c);
    fault("LLDT of data", c, GP, 0x10);
    gdt[LDT >> 3] = descriptor(addr(ldt), 23, 0x02, 0);
    c = CODE("lldt %bx");
    prep0(c);
    in.bx = LDT;
    run();
    fault("LLDT, not present", c, NP, LDT);
    c = CODE("lldt %bx");
    prep3(c);
    in.bx = LDT;
    run();
    fault("LLDT at level 3", c, GP, 0);
    c = CODE("xor %eax, %eax; lldt %ax; movl $12, %eax; 7: movl %eax, %fs");
    run0(c);
    fault("LLDT of null, and a load from it", c, GP, 12);
    c = CODE("ltr %bx");
    prep0(c);
    in.bx = TSS_SEL;
    run();
    fault("LTR of a busy TSS", c, GP, TSS_SEL);
    prep0(c);
    in.bx = 0;
    run();
    differs("SDM 2A LTR: a null selector is #GP(0)");
    fault("LTR of null", c, GP, 0);
    tables();
}

/* ZF and the answer; bits 19:16 of LAR's are undefined. */
static void ask(const char *name, struct code c, unsigned sel, bool user, uint64_t want)
{
    (user ? prep3 : prep0)(c);
    in.bx = sel;
    in.ax = 0xdead;
    run();
    same(name, (uint64_t)(got.flags >> 6 & 1) << 32 | (got.ax & ~0xf0000ul), want);
}

static void queries(void)
{
    struct code lar = CODE("lar %ebx, %eax"), lsl = CODE("lsl %ebx, %eax"), verr = CODE("verr %bx"),
                verw = CODE("verw %bx");
    uint64_t ok = 1ull << 32, no = 0xdead;
    ask("LAR: data", lar, DS0, false, ok | 0xc09300);
    ask("LAR: level 0 from level 3", lar, DS0, true, no);
    ask("LAR: RPL above DPL", lar, DS0 + 3, false, no);
    ask("LAR: conforming code from level 3", lar, CONF0 + 3, true, ok | 0xc09f00);
    ask("LAR: not present", lar, ABSENT, false, ok | 0xc01300);
    ask("LAR: a 16-bit TSS, busy", lar, BUSY16, false, ok | 0x008300);
    ask("LAR: a call gate", lar, CALLG, false, ok | 0x008c00);
    ask("LAR: an interrupt gate", lar, INTG, false, no);
    ask("LAR: null", lar, 0, false, no);
    ask("LAR: beyond the GDT", lar, GDT_SIZE * 8, false, no);
    ask("LSL: bytes", lsl, SMALL, false, ok | 255);
    ask("LSL: pages", lsl, PAGES, false, ok | 8191);
    ask("LSL: a TSS", lsl, BUSY16, false, ok | 0x2b);
    ask("LSL: a call gate", lsl, CALLG, false, no);
    ask("LSL: level 0 from level 3", lsl, DS0, true, no);
    ask("VERR: data", verr, DS0, false, ok | no);
    ask("VERR: execute-only code", verr, XO, false, no);
    ask("VERR: readable code", verr, XR, false, ok | no);
    ask("VERR: level 0 from level 3", verr, DS0, true, no);
    ask("VERR: conforming code from level 3", verr, CONF0 + 3, true, ok | no);
    ask("VERR: a TSS", verr, TSS_SEL, false, no);
    ask("VERW: data", verw, DS0, false, ok | no);
    ask("VERW: read-only data", verw, RO, false, no);
    ask("VERW: code", verw, XR, false, no);
    ask("VERW: null", verw, 0, false, no);
    /* ARPL */
    struct code c = CODE("mov $0x48, %ax; mov $3, %bx; arpl %bx, %ax; pushf; pop %ecx");
    run0(c);
    same("ARPL raises the RPL and sets ZF", got.ax << 16 | (got.cx & 0x40), 0x4b0040);
    c = CODE("mov $0x4b, %ax; mov $1, %bx; arpl %bx, %ax; pushf; pop %ecx");
    run0(c);
    same("ARPL leaves a higher RPL", (got.ax & 0xffff) << 16 | (got.cx & 0x40), 0x4b0000);
    *(volatile uint16_t *)0x9000 = 0x4b;
    c = CODE("mov $1, %bx; arpl %bx, %fs:0x9000");
    prep0(c);
    in.fs = RO;
    run();
    differs("SDM 2A ARPL: the destination is written only to raise the RPL");
    done("ARPL does not write what it does not change");
    c = CODE("mov $0x4b, %bx; movw $0x48, 0x9000; 7: arpl %bx, %fs:0x9000");
    prep0(c);
    in.fs = RO;
    run();
    differs("SDM 3A 5.3, 5.4: limits and types are checked");
    fault("ARPL raises the RPL of read-only memory", c, GP, 0);
}

/* Pieces with a stack of 16 bits at buffer, ESP's upper half set. */
static void small_stack(const char *name, struct code c, unsigned sp, uint32_t want_sp)
{
    prep0(c);
    in.ss = STACK16;
    in.sp = 0x120000 | sp;
    in.si = addr(stack0) + STACK;
    run();
    done(name);
    same("… ESP", got.ax, want_sp);
}

#define BACK "; movl %esp, %eax; movl $0x10, %ecx; movl %ecx, %ss; movl %esi, %esp"

static void stacks16(void)
{
    small_stack("PUSH on a 16-bit stack", CODE("pushl $5" BACK), 0x1000, 0x120ffc);
    small_stack("PUSH wraps at 0", CODE("pushl $0x11223344" BACK), 0, 0x12fffc);
    same("… and writes at 0xfffc", get32(buffer + 0xfffc), 0x11223344);
    small_stack("POP wraps at 0xffff", CODE("popl %edx" BACK), 0xfffc, 0x120000);
    small_stack("CALL and RET", CODE("push $1; call 1f; jmp 2f; 1: ret $4; 2:" BACK), 0x1000,
                0x121000);
    small_stack("PUSHA", CODE("pusha" BACK), 0x1000, 0x120fe0);
    small_stack("ENTER 8, 0", CODE("enter $8, $0; mov %ebp, %edi" BACK), 0, 0x12fff4);
    differs("SDM 2A ENTER: PUSH changes SP, so FrameTemp has ESP's upper half");
    same("… EBP has ESP's upper half", got.di, 0x12fffc);
    small_stack("ENTER 4, 3", CODE("mov $0x0100, %ebp; enter $4, $3; mov %ebp, %edi" BACK), 0x1000,
                0x120fec);
    same("… EBP", got.di, 0x120ffc);
    same("… the frame's own pointer", get32(buffer + 0xff0), 0x120ffc);
    small_stack("LEAVE", CODE("mov $0x0f00, %ebp; leave" BACK), 0x1000, 0x120f04);
    small_stack("PUSHF and POPF", CODE("pushf; popf" BACK), 4, 0x120004);
}

static void io(const char *name, struct code c, unsigned port, unsigned flags, unsigned vector)
{
    prep3(c);
    in.dx = port;
    in.flags = flags | 2;
    run();
    fault(name, c, vector, 0);
}

static void ports(void)
{
    struct code in1 = CODE("inb %dx, %al"), in2 = CODE("inw %dx, %ax"), in4 = CODE("inl %dx, %eax"),
                out1 = CODE("outb %al, %dx"), ins = CODE("mov $0x9000, %edi; 7: insb"),
                cli = CODE("cli"), imm = CODE("inb $0x80, %al");
    io("IN with IOPL 0 and no bitmap", in1, 0x80, 0, GP);
    io("IN with IOPL 2 and no bitmap", in1, 0x80, 0x2000, GP);
    io("IN with IOPL 3", in1, 0x80, FL_IOPL, DONE);
    io("CLI with IOPL 2", cli, 0, 0x2000, GP);
    io("CLI with IOPL 3", cli, 0, FL_IOPL, DONE);
    *(uint16_t *)(tss + 0x66) = 0x68;
    fill(tss + 0x68, 0xff, 8193);
    tss[0x68 + 0x80 / 8] = 0xfe; /* 0x80 */
    tss[0x68 + 0x90 / 8] = 0xf0; /* 0x90 to 0x93 */
    tss[0x68 + 0xa0 / 8 - 1] = 0x7f;
    tss[0x68 + 0xa0 / 8] = 0xfe; /* 0x9f and 0xa0 */
    io("the bitmap opens a port", in1, 0x80, 0, DONE);
    io("… for OUT", out1, 0x80, 0, DONE);
    io("… for an immediate port", imm, 0, 0, DONE);
    io("… for INS", ins, 0x80, 0, DONE);
    io("the port beside it is shut", in1, 0x81, 0, GP);
    io("INS from a shut port", ins, 0x81, 0, GP);
    io("a word needs both ports", in2, 0x80, 0, GP);
    io("a dword with its 4 ports", in4, 0x90, 0, DONE);
    io("a dword with 3 of its ports", in4, 0x91, 0, GP);
    io("a word across bytes of the map", in2, 0x9f, 0, DONE);
    tss[0x68 + 8191] = 0x7f;
    io("port 0xffff", in1, 0xffff, 0, DONE);
    io("a word at 0xffff meets the map's last byte", in2, 0xffff, 0, GP);
    gdt[TSS_SEL >> 3] = descriptor(addr(tss), 0x68 + 0x80 / 8, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    io("two bytes of the map are read", in1, 0x80, 0, GP);
    gdt[TSS_SEL >> 3] = descriptor(addr(tss), 0x68 + 0x80 / 8 + 1, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    io("the TSS just holds both", in1, 0x80, 0, DONE);
    gdt[TSS_SEL >> 3] = descriptor(addr(tss), 0x66, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    io("a TSS of 103 bytes has no map", in1, 0x80, 0, GP);
    tables();
}

void checks(void)
{
    tables();
    limits();
    loads();
    queries();
    stacks16();
    ports();
    /* LMSW reaches 4 bits of CR0, and can't clear PE */
    struct code c = CODE("mov $0x1e, %eax; lmsw %ax; smsw %ebx; mov $1, %eax; lmsw %ax; smsw %ecx;"
                         "mov $0xfff0, %eax; lmsw %ax; smsw %edx");
    run0(c);
    done("LMSW");
    same("LMSW sets MP, EM and TS", got.bx & 0x1f, 0x1f);
    same("LMSW clears them", got.cx & 0x1f, 0x11);
    same("LMSW keeps PE", got.dx & 0x1f, 0x11);
}
