/* Interrupt, trap and call gates of protected mode: each check that stands before a transfer, the
 * error code of its failure, and the frame of its success (SDM 3A 5.8, 6.11, 6.12; SDM 2A CALL).
 *
 * kind: check32
 */
#include "lib/check.h"

/* Free descriptors of this program. */
enum {
    CODE1 = FREE,         /* level 1 */
    CODE2 = FREE + 8,     /* level 2 */
    CONF0 = FREE + 16,    /* level 0, conforming */
    CONF3 = FREE + 24,    /* level 3, conforming */
    ABSENT = FREE + 32,   /* level 0 code, not present */
    SMALL = FREE + 40,    /* level 0 code of 16 bytes */
    STACK1 = FREE + 48,   /* level 1 data */
    STACK16 = FREE + 56,  /* level 0 data, 16 bits */
    RODATA = FREE + 64,   /* level 0, read-only */
    NOSTACK = FREE + 72,  /* level 0 data, not present */
    TINY = FREE + 80,     /* level 0 data of 16 bytes */
    GATE = FREE + 88,     /* a call gate of 32 bits */
    GATE16 = FREE + 96,   /* a call gate of 16 bits */
    CODE16S = FREE + 104, /* level 0 code of 16 bits at raw_entry … */
    LDT = FREE + 112,
    CODE3B = FREE + 120, /* level 3 */
    TINY12 = FREE + 128,
};

#define RAW16 ((word)(raw_entry - stubs))

static uint64_t ldt[4] __attribute__((aligned(8)));

static void call_gate(unsigned sel, unsigned target, word offset, unsigned type, unsigned count)
{
    gdt[sel >> 3] = (offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)(count & 31) << 32 |
                    (uint64_t)type << 40 | (uint64_t)(offset >> 16) << 48;
}

static void tables(void)
{
    reset_tables();
    gdt[CODE1 >> 3] = descriptor(0, 0xfffff, 0xbb, 0xc);
    gdt[CODE2 >> 3] = descriptor(0, 0xfffff, 0xdb, 0xc);
    gdt[CONF0 >> 3] = descriptor(0, 0xfffff, 0x9f, 0xc);
    gdt[CONF3 >> 3] = descriptor(0, 0xfffff, 0xff, 0xc);
    gdt[ABSENT >> 3] = descriptor(0, 0xfffff, 0x1b, 0xc);
    gdt[SMALL >> 3] = descriptor(0, 15, 0x9b, 4);
    gdt[STACK1 >> 3] = descriptor(0, 0xfffff, 0xb3, 0xc);
    gdt[STACK16 >> 3] = descriptor(addr(stack_intr), 0xffff, 0x93, 0);
    gdt[RODATA >> 3] = descriptor(0, 0xfffff, 0x91, 0xc);
    gdt[NOSTACK >> 3] = descriptor(0, 0xfffff, 0x13, 0xc);
    gdt[TINY >> 3] = descriptor(addr(stack_intr), 15, 0x93, 4);
    gdt[TINY12 >> 3] = descriptor(addr(stack_intr), 11, 0x93, 4);
    gdt[CODE16S >> 3] = descriptor(addr(stubs), 0xffff, 0x9b, 4);
    gdt[CODE3B >> 3] = descriptor(0, 0xfffff, 0xfb, 0xc);
    gdt[LDT >> 3] = descriptor(addr(ldt), 31, 0x82, 0);
    __asm__ volatile("lldt %w0" : : "r"(0));
}

static void inner_stack(unsigned ss, uint32_t esp)
{
    put32(tss + 4, esp);
    put32(tss + 8, ss);
}

/* INT 0x41 from level 3 with the gate as it is. */
static struct code int41;

static void int_fault(const char *name, unsigned vector, unsigned error)
{
    run3(int41);
    fault(name, int41, vector, error);
    tables();
}

static void idt_entry(void)
{
    int41 = CODE("int $0x41");
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x8e);
    int_fault("INT n: the gate's DPL is below CPL", GP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xce);
    int_fault("INT n: a gate of DPL 2 from level 3", GP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x6e);
    int_fault("INT n: the gate is not present", NP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x0e);
    int_fault("INT n: the DPL is checked before the present bit", GP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xec);
    int_fault("INT n: a call gate in the IDT", GP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xfe);
    int_fault("INT n: a code descriptor in the IDT", GP, 0x41 * 8 + 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x00);
    int_fault("INT n: an empty entry", GP, 0x41 * 8 + 2);
    struct code c = CODE("ud2");
    set_gate(UD, CS0, (word)stubs, 0x0e);
    run3(c);
    differs("SDM 3A 6.13: EXT is set by an exception");
    fault("#UD by a gate that is not present: EXT is set", c, NP, UD * 8 + 3);
    c = CODE("sub %ecx, %ecx; 7: idiv %ecx");
    set_gate(DE, CS0, (word)stubs, 0x0e);
    run3(c);
    fault("#DE by a gate that is not present: #NP in #DE is a double fault", c, DF, 0);
    set_gate(DE, CS0, (word)stubs, 0x8e);
    run3(c);
    fault("#DE passes a gate of DPL 0 from level 3", c, DE, 0);
    c = CODE("int3");
    set_gate(BP, CS0, (word)(stubs + 16 * BP), 0x8e);
    run3(c);
    fault("INT3 by a gate of DPL 0", c, GP, BP * 8 + 2);
    c = CODE("mov $0x7fffffff, %eax; inc %eax; 7: into");
    set_gate(OF, CS0, (word)(stubs + 16 * OF), 0x8e);
    run3(c);
    fault("INTO by a gate of DPL 0", c, GP, OF * 8 + 2);
    tables();
    c = CODE(".byte 0xf1");
    run3(c);
    differs("SDM 3A 6.12.1.2: INT1 is a #DB");
    same("INT1 (ICEBP) does not check the gate's DPL", got.vector, DB);
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } small = {0x41 * 8 + 6, addr(idt)};
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    __asm__ volatile("lidt %0" : : "m"(small));
    run3(int41);
    fault("INT n: the IDT ends in the entry's last byte", int41, GP, 0x41 * 8 + 2);
    small.limit++;
    __asm__ volatile("lidt %0" : : "m"(small));
    c = CODE("int $0x41");
    run3(c);
    same("INT n: the IDT just holds the entry", got.vector, 0x41);
    tables();
}

static void gate_code(void)
{
    word at = (word)(stubs + 16 * 0x41);
    set_gate(0x41, 0, at, 0xee);
    int_fault("gate with a null selector", GP, 0);
    set_gate(0x41, 3, at, 0xee);
    int_fault("gate with a null selector of RPL 3", GP, 0);
    set_gate(0x41, GDT_SIZE * 8, at, 0xee);
    int_fault("gate's selector beyond the GDT", GP, GDT_SIZE * 8);
    set_gate(0x41, 4, at, 0xee);
    int_fault("gate's selector in an LDT that isn't there", GP, 4);
    set_gate(0x41, DS0, at, 0xee);
    int_fault("gate to a data segment", GP, DS0);
    set_gate(0x41, TSS_SEL, at, 0xee);
    int_fault("gate to a TSS", GP, TSS_SEL);
    set_gate(0x41, ABSENT, at, 0xee);
    int_fault("gate to code that is not present", NP, ABSENT);
    set_gate(0x41, SMALL, at, 0xee);
    differs("SDM 2A INT: IF new EIP is not within the limit THEN #GP(EXT)");
    int_fault("gate's offset beyond the code segment", GP, 0);
    set_gate(0x41, CS0 + 3, at, 0xee);
    run3(int41);
    same("the gate selector's RPL does not matter", got.vector, 0x41);
    same("CS's RPL is the new level", got.now_cs, CS0);
    struct code c = CODE("int $0x41");
    set_gate(0x41, CS3, at, 0xee);
    run0(c);
    fault("gate to a less privileged segment", c, GP, CS3 & ~3u);
    set_gate(0x41, CONF3, at, 0xee);
    run0(c);
    fault("gate to a less privileged conforming segment", c, GP, CONF3);
    struct code piece = CODE("mov %cs, %eax");
    set_gate(0x41, CONF0, piece.start, 0xee);
    run3(int41);
    same("gate to conforming code: taken", got.vector, DONE);
    same("gate to conforming code: CPL stays 3", got.ax, CONF0 + 3);
    same("gate to conforming code: 3 dwords on the same stack", got.sp, addr(stack3 + STACK) - 12);
    set_gate(0x41, CODE1, piece.start, 0xee);
    put32(tss + 12, addr(stack_intr) + 4096);
    put32(tss + 16, STACK1 + 1);
    run3(int41);
    same("gate to level 1: taken", got.vector, DONE);
    same("gate to level 1: CS", got.ax, CODE1 + 1);
    same("gate to level 1: SS", got.ss, STACK1 + 1);
    same("gate to level 1: ESP1 of the TSS, less 5 dwords", got.sp, addr(stack_intr) + 4096 - 20);
    tables();
}

static void inner_stacks(void)
{
    word at = (word)(stubs + 16 * 0x41);
    struct {
        unsigned ss;
        unsigned vector, error;
        const char *name;
    } bad[] = {
        {STACK1, TS, STACK1, "the TSS's SS: RPL is not the new level"},
        {STACK1 + 2, TS, STACK1, "the TSS's SS: RPL above the new level"},
        {DS0 + 1, TS, DS0, "the TSS's SS: DPL is not the new level"},
        {CODE1 + 1, TS, CODE1, "the TSS's SS is code"},
        {GDT_SIZE * 8 + 1, TS, GDT_SIZE * 8, "the TSS's SS is beyond the GDT"},
        {5, TS, 4, "the TSS's SS is in an LDT that isn't there"},
        {TSS_SEL + 1, TS, TSS_SEL, "the TSS's SS is a TSS"},
        {0, TS, 0, "the TSS's SS is null"},
        {1, TS, 0, "the TSS's SS is null with RPL 1"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        set_gate(0x41, CODE1, at, 0xee);
        put32(tss + 12, addr(stack_intr) + STACK);
        put32(tss + 16, bad[i].ss);
        int_fault(bad[i].name, bad[i].vector, bad[i].error);
    }
    gdt[STACK1 >> 3] = descriptor(0, 0xfffff, 0xb1, 0xc);
    set_gate(0x41, CODE1, at, 0xee);
    put32(tss + 12, addr(stack_intr) + STACK);
    put32(tss + 16, STACK1 + 1);
    int_fault("the TSS's SS is read-only", TS, STACK1);
    gdt[STACK1 >> 3] = descriptor(0, 0xfffff, 0x33, 0xc);
    set_gate(0x41, CODE1, at, 0xee);
    put32(tss + 12, addr(stack_intr) + STACK);
    put32(tss + 16, STACK1 + 1);
    differs("SDM 2A INT: a new stack segment that is not present is #SS");
    int_fault("the TSS's SS is not present", SS, STACK1);
    gdt[STACK1 >> 3] = descriptor(addr(stack_intr), 18, 0xb3, 4);
    set_gate(0x41, CODE1, at, 0xee);
    put32(tss + 12, 19);
    put32(tss + 16, STACK1 + 1);
    differs("SDM 2A INT: IF new stack does not have room for 20 bytes THEN #SS");
    int_fault("the inner stack has no room for the frame", SS, STACK1);
    for (unsigned limit = 16; limit <= 17; limit++) {
        gdt[TSS_SEL >> 3] = descriptor(addr(tss), limit, 0x89, 0);
        __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
        set_gate(0x41, CODE1, CODE("nop").start, 0xee);
        put32(tss + 12, addr(stack_intr) + 4096);
        put32(tss + 16, STACK1 + 1);
        run3(int41);
        if (limit == 16)
            fault("the TSS ends in SS1", int41, TS, TSS_SEL);
        else
            differs("SDM 2A INT: IF TSSstackAddress + 5 > TSS limit THEN #TS"),
                done("the TSS ends with SS1's word");
        tables();
    }
}

/* A fault in the delivery of an exception says so by EXT (SDM 3A 6.13); #UD, as it makes no double
 * fault of another. */
static void delivery_of_exceptions(void)
{
    word at = (word)(stubs + 16 * UD);
    const struct {
        const char *name;
        unsigned sel, type, ss1, vector, error;
    } row[] = {
        {"#UD by a gate with a null selector", 0, 0x8e, 0, GP, 1},
        {"#UD by a gate to a selector beyond the GDT", GDT_SIZE * 8, 0x8e, 0, GP, GDT_SIZE * 8 + 1},
        {"#UD by a gate to data", DS0, 0x8e, 0, GP, DS0 + 1},
        {"#UD by a gate to code that is not present", ABSENT, 0x8e, 0, NP, ABSENT + 1},
        {"#UD by a gate to less privileged code", CS3, 0x8e, 0, GP, (CS3 & ~3u) + 1},
        {"#UD by a call gate in the IDT", CS0, 0x8c, 0, GP, UD * 8 + 3},
        {"#UD, the inner SS's RPL is not the level", CODE1, 0x8e, STACK1, TS, STACK1 + 1},
        {"#UD, the inner SS is null", CODE1, 0x8e, 0, TS, 1},
        {"#UD, the inner SS is beyond the GDT", CODE1, 0x8e, GDT_SIZE * 8 + 1, TS,
         GDT_SIZE * 8 + 1},
        {"#UD, the inner SS is not present", CODE1, 0x8e, NOSTACK + 1, TS, NOSTACK + 1},
    };
    struct code ud = CODE("ud2");
    for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
        set_gate(UD, row[i].sel, at, row[i].type);
        put32(tss + 12, addr(stack_intr) + STACK);
        put32(tss + 16, row[i].ss1);
        if (row[i].sel == CS3)
            run0(ud);
        else
            run3(ud);
        differs("SDM 3A 6.13: EXT is set by an exception");
        fault(row[i].name, ud, row[i].vector, row[i].error);
        tables();
    }
    gdt[NOSTACK >> 3] = descriptor(0, 0xfffff, 0x33, 0xc);
    set_gate(UD, CODE1, at, 0x8e);
    put32(tss + 12, addr(stack_intr) + STACK);
    put32(tss + 16, NOSTACK + 1);
    run3(ud);
    differs("SDM 3A 6.13: EXT is set by an exception");
    fault("#UD, the inner SS of the level is not present", ud, SS, NOSTACK + 1);
    tables();
}

static void frames(void)
{
    struct code c = CODE("int $0x41");
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    prep3(c);
    in.flags = FL_IF | FL_IOPL | FL_CF | 2;
    run();
    same("frame: EIP after INT n", got.ip, c.at + 2);
    same("frame: CS", got.cs, CS3);
    same("frame: EFLAGS", got.flags, FL_IF | FL_IOPL | FL_CF | 2);
    same("frame: ESP", got.sp, (word)(stack3 + STACK));
    same("frame: SS", got.ss, DS3);
    same("the handler's SS is the TSS's", got.now_ss, DS0);
    same("frame of 32 bits: 5 dwords on the inner stack", got.frame,
         (word)(stack_intr + STACK) - 7 * 4);
    same("DS is kept", got.now_ds, DS3);
    set_gate(0x41, CS0, (word)raw_entry, 0xee);
    prep3(c);
    in.flags = FL_IF | FL_NT | FL_TF | FL_AC | FL_CF | 2;
    in.flags &= ~FL_TF;
    run();
    same("interrupt gate: IF, NT, TF clear, AC stays", got.now_flags, FL_AC | FL_CF | 2);
    set_gate(0x41, CS0, (word)raw_entry, 0xef);
    run();
    same("trap gate: IF stays", got.now_flags, FL_IF | FL_AC | FL_CF | 2);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    run0(c);
    same("frame of the same level: 3 dwords", got.frame, (word)(stack0 + STACK) - 5 * 4);
    same("frame of the same level: CS", got.cs, CS0);

    /* 16-bit gates: raw_entry is a 32-bit offset, so its segment begins there */
    fill(raw_entry + 0x100000, 0xcc, 16); /* where the forbidden bits lead: INT3 */
    set_gate(0x41, CODE16S, 0x100000 + RAW16, 0xe6);
    prep3(c);
    in.flags = FL_IF | FL_IOPL | FL_AC | 2;
    run();
    differs("SDM 3A 6.11: a 16-bit gate has no offset bits 31:16");
    same("16-bit interrupt gate: taken, offset 15:0", got.vector, RAW);
    differs("SDM 3A 6.11: a 16-bit gate has no offset bits 31:16");
    same("16-bit gate: IP and CS", got.raw[0], (c.at + 2 & 0xffff) | CS3 << 16);
    differs("SDM 3A 6.11: a 16-bit gate has no offset bits 31:16");
    same("16-bit gate: FLAGS and SP", got.raw[1],
         (FL_IF | FL_IOPL | 2) | (addr(stack3 + STACK) & 0xffff) << 16);
    differs("SDM 3A 6.11: a 16-bit gate has no offset bits 31:16");
    same("16-bit gate: SS", got.raw[2] & 0xffff, DS3);
    differs("SDM 3A 6.11: a 16-bit gate has no offset bits 31:16");
    same("16-bit gate: frame of 5 words", got.frame, (word)(stack_intr + STACK) - 10);
    set_gate(0x41, CODE16S, RAW16, 0xe6);
    run();
    same("16-bit interrupt gate, upper half 0", got.vector, RAW);
    same("16-bit interrupt gate clears IF", got.now_flags & FL_IF, 0);
    same("16-bit interrupt gate: IP and CS", got.raw[0], (c.at + 2 & 0xffff) | CS3 << 16);
    same("16-bit interrupt gate: FLAGS and SP", got.raw[1],
         (FL_IF | FL_IOPL | 2) | (addr(stack3 + STACK) & 0xffff) << 16);
    set_gate(0x41, CODE16S, RAW16, 0xe7);
    run();
    same("16-bit trap gate keeps IF", got.now_flags & FL_IF, FL_IF);
    prep0(c);
    run();
    same("16-bit gate of the same level: 3 words", got.frame, (word)(stack0 + STACK) - 6);
    struct code gp = CODE("mov $0x7770, %eax; 7: mov %eax, %ds");
    set_gate(GP, CODE16S, RAW16, 0x86);
    run3(gp);
    same("16-bit gate with error code: it lies below IP", got.raw[0],
         0x7770 | (gp.at & 0xffff) << 16);
    same("16-bit gate with error code: frame of 6 words", got.frame,
         (word)(stack_intr + STACK) - 12);
    tables();

    /* an inner stack of 16 bits: SP alone counts, ESP's upper half stays what the TSS has */
    inner_stack(STACK16, 0xabcd0000 + STACK);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0xee);
    run3(c);
    same("inner stack of 16 bits: taken", got.vector, 0x41);
    same("inner stack of 16 bits: SP", got.frame, STACK - 28);
    tables();
}

/* Far calls and jumps, by these. */
struct __attribute__((packed)) far {
    uint32_t offset;
    uint16_t sel;
} far_target = {0, GATE};

static struct code lcall, ljmp;

static void transfer(struct code c, const char *name, unsigned cpl, unsigned vector, unsigned error)
{
    (cpl ? run3 : run0)(c);
    fault(name, c, vector, error);
    tables();
}

static void gate_checks(void)
{
    word to = CODE("mov %cs, %eax").start;
    lcall = CODE("lcall *far_target");
    ljmp = CODE("ljmp *far_target");
    far_target.sel = GATE + 3;
    call_gate(GATE, CS0, to, 0x8c, 0);
    transfer(lcall, "CALL: the gate's DPL is below CPL", 3, GP, GATE);
    call_gate(GATE, CS0, to, 0xec, 0);
    far_target.sel = GATE + 3;
    run3(lcall);
    done("CALL: a gate with RPL and DPL 3");
    same("CALL: it leads to level 0", got.ax, CS0);
    far_target.sel = GATE + 1;
    call_gate(GATE, CS0, to, 0x8c, 0);
    transfer(lcall, "CALL: the gate's DPL is below RPL", 0, GP, GATE);
    call_gate(GATE, CS0, to, 0xcc, 0);
    run0(lcall);
    done("CALL: RPL 1, DPL 2 at level 0");
    far_target.sel = GATE + 3;
    call_gate(GATE, CS0, to, 0x6c, 0);
    transfer(lcall, "CALL: the gate is not present", 3, NP, GATE);
    call_gate(GATE, CS0, to, 0x0c, 0);
    transfer(lcall, "CALL: DPL before the present bit", 3, GP, GATE);
    call_gate(GATE, 0, to, 0xec, 0);
    transfer(lcall, "CALL: the gate's selector is null", 3, GP, 0);
    call_gate(GATE, GDT_SIZE * 8, to, 0xec, 0);
    transfer(lcall, "CALL: the gate's selector is beyond the GDT", 3, GP, GDT_SIZE * 8);
    call_gate(GATE, DS0, to, 0xec, 0);
    transfer(lcall, "CALL: the gate leads to data", 3, GP, DS0);
    call_gate(GATE, GATE, to, 0xec, 0);
    transfer(lcall, "CALL: the gate leads to a gate", 3, GP, GATE);
    call_gate(GATE, ABSENT, to, 0xec, 0);
    transfer(lcall, "CALL: the gate's code is not present", 3, NP, ABSENT);
    call_gate(GATE, SMALL, 16, 0xec, 0);
    differs("SDM 2A CALL: new EIP outside the limit is #GP(0)");
    transfer(lcall, "CALL: the gate's offset is beyond the segment", 3, GP, 0);
    call_gate(GATE, CS3, to, 0xec, 0);
    far_target.sel = GATE;
    transfer(lcall, "CALL: the gate leads to a less privileged segment", 0, GP, CS3 & ~3u);
    far_target.sel = GATE + 3;
    call_gate(GATE, CONF3, to, 0xec, 0);
    far_target.sel = GATE;
    transfer(lcall, "CALL: the gate leads to a less privileged conforming one", 0, GP, CONF3);
    far_target.sel = GATE + 3;
    call_gate(GATE, CS0, to, 0xec, 0);
    transfer(ljmp, "JMP: a gate to a more privileged segment", 3, GP, CS0);
    call_gate(GATE, CONF0, to, 0xec, 0);
    run3(ljmp);
    done("JMP: a gate to a more privileged conforming segment");
    same("JMP: CPL stays", got.ax, CONF0 + 3);
    same("JMP: the stack stays", got.sp, (word)(stack3 + STACK));
    call_gate(GATE, CONF0, to, 0xec, 5);
    run3(lcall);
    done("CALL: a gate to a more privileged conforming segment");
    differs("SDM 2A CALL: CS(RPL) becomes CPL");
    same("CALL: no parameters are copied without a change of level", got.sp,
         (word)(stack3 + STACK) - 8);
    call_gate(GATE, CS3, to, 0xec, 0);
    run3(ljmp);
    done("JMP: a gate to a segment of the same level");
    far_target.sel = 0;
    transfer(lcall, "CALL: null selector", 3, GP, 0);
    far_target.sel = 3;
    transfer(ljmp, "JMP: null selector", 3, GP, 0);
    far_target.sel = GDT_SIZE * 8 + 3;
    transfer(lcall, "CALL: selector beyond the GDT", 3, GP, GDT_SIZE * 8);
    far_target.sel = DS3;
    transfer(lcall, "CALL: a data segment", 3, GP, DS3 & ~3u);
    far_target.sel = LDT;
    transfer(lcall, "CALL: an LDT", 0, GP, LDT);
    gdt[GATE >> 3] = descriptor(0, 0, 0xee, 0);
    far_target.sel = GATE;
    transfer(lcall, "CALL: an interrupt gate in the GDT", 0, GP, GATE);
}

/* Far transfers straight to code segments. */
static void direct(void)
{
    struct code to = CODE("mov %cs, %eax");
    far_target.offset = to.start;
    far_target.sel = CS0;
    transfer(ljmp, "JMP: a more privileged segment", 3, GP, CS0);
    far_target.sel = CS3;
    transfer(lcall, "CALL: a less privileged segment", 0, GP, CS3 & ~3u);
    far_target.sel = CS0 + 1;
    transfer(ljmp, "JMP: RPL above CPL", 0, GP, CS0);
    far_target.sel = CS3 & ~3u;
    run3(ljmp);
    done("JMP: RPL below CPL");
    same("JMP: CS's RPL becomes CPL", got.ax, CS3);
    far_target.sel = CONF0;
    run3(lcall);
    done("CALL: more privileged conforming code");
    same("CALL: CPL stays 3 in conforming code", got.ax, CONF0 + 3);
    same("CALL: the return address", got.vector == DONE ? get32((void *)got.sp) : 0, lcall.at + 6);
    same("CALL: the return CS", got.vector == DONE ? get32((void *)(got.sp + 4)) & 0xffff : 0, CS3);
    far_target.sel = CONF3;
    transfer(lcall, "CALL: less privileged conforming code", 0, GP, CONF3);
    far_target.sel = ABSENT;
    transfer(ljmp, "JMP: code that is not present", 0, NP, ABSENT);
    far_target.sel = SMALL;
    far_target.offset = 16;
    transfer(ljmp, "JMP: an offset beyond the limit", 0, GP, 0);
    far_target.offset = to.start;
    far_target.sel = DS0;
    transfer(ljmp, "JMP: data", 0, GP, DS0);
    tables();
}

static void frames_of_calls(void)
{
    struct code to = CODE("mov %cs, %eax; pushf; pop %ebx");
    struct code c =
        CODE("push $0x33333333; push $0x22222222; push $0x11111111; 7: lcall *far_target");
    far_target.sel = GATE + 3;
    call_gate(GATE, CS0, to.start, 0xec, 3);
    prep3(c);
    in.flags = FL_AC | FL_DF | FL_NT | 2;
    run();
    done("CALL with 3 parameters");
    uint32_t *s = (uint32_t *)got.sp;
    same("parameters: ESP", got.sp, addr(stack_intr) + STACK - 7 * 4);
    same("parameters: EIP", s[0], c.at + 6);
    same("parameters: CS", s[1] & 0xffff, CS3);
    same("parameters: the last", s[2], 0x11111111);
    same("parameters: the first", s[4], 0x33333333);
    same("parameters: the outer ESP", s[5], addr(stack3 + STACK) - 12);
    same("parameters: the outer SS", s[6] & 0xffff, DS3);
    same("a call gate changes no flag", got.bx & 0x5fffff, FL_AC | FL_DF | FL_NT | 2);
    /* and back by RET n */
    to = CODE("mov %esp, %ebx; lret $12");
    call_gate(GATE, CS0, to.start, 0xec, 3);
    c = CODE("push $3; push $2; push $1; lcall *far_target; mov %cs, %eax; mov %ss, %ecx");
    run3(c);
    done("RET 12 to level 3");
    same("RET n takes parameters from both stacks", got.sp, (word)(stack3 + STACK));
    same("RET: CS", got.ax, CS3);
    same("RET: SS", got.cx, DS3);
    call_gate(GATE, CS0, CODE("nop").start, 0xec, 31);
    run3(lcall);
    done("CALL with 31 parameters");
    same("31 parameters", got.sp, addr(stack_intr) + STACK - 35 * 4);
    call_gate(GATE, CS0, CODE("nop").start, 0xe4, 2);
    run3(lcall);
    differs("SDM 3A 5.8.3: a 16-bit gate has no offset bits 31:16");
    same("a 16-bit gate's offset has 16 bits", got.vector == DONE, 0);
    gdt[CODE16S >> 3] = descriptor(CODE("nop").start, 0xffff, 0x9b, 4);
    c = CODE("push $0x11112222; lcall *far_target");
    call_gate(GATE, CODE16S, 0, 0xe4, 2);
    run3(c);
    done("CALL by a 16-bit gate");
    same("16-bit gate: parameters are words", got.sp, addr(stack_intr) + STACK - 12);
    s = (uint32_t *)got.sp;
    same("16-bit gate: IP and CS", s[0], ((c.start + 11) & 0xffff) | CS3 << 16);
    same("16-bit gate: the parameters", s[1], 0x11112222);
    same("16-bit gate: SP and SS", s[2], ((addr(stack3 + STACK) - 4) & 0xffff) | DS3 << 16);
    tables();
    /* no room, and bad inner stacks */
    call_gate(GATE, CODE1, to.start, 0xec, 3);
    put32(tss + 12, 27);
    put32(tss + 16, STACK1 + 1);
    gdt[STACK1 >> 3] = descriptor(addr(stack_intr), 26, 0xb3, 4);
    differs("SDM 2A CALL: a new stack without room is #SS");
    transfer(lcall, "CALL: the inner stack is one byte too small", 3, SS, STACK1);
    call_gate(GATE, CODE1, to.start, 0xec, 3);
    put32(tss + 12, 28);
    put32(tss + 16, DS0);
    transfer(lcall, "CALL: the inner SS has another level", 3, TS, DS0);
    call_gate(GATE, CODE1, to.start, 0xec, 3);
    put32(tss + 16, 0);
    transfer(lcall, "CALL: the inner SS is null", 3, TS, 0);
    call_gate(GATE, CODE1, to.start, 0xec, 0);
    put32(tss + 16, STACK1 + 1);
    gdt[STACK1 >> 3] = descriptor(0, 0xfffff, 0x33, 0xc);
    differs("SDM 2A CALL: a new stack segment that is not present is #SS");
    transfer(lcall, "CALL: the inner SS is not present", 3, SS, STACK1);
}

/* RET and IRET outwards: what they refuse, and the data segments they clear. */
static void returns(void)
{
    struct code c;
    struct {
        unsigned cs, ss, vector, error;
        const char *name;
    } bad[] = {
        {0, DS3, GP, 0, "CS null"},
        {3, DS3, GP, 0, "CS null with RPL 3"},
        {GDT_SIZE * 8 + 3, DS3, GP, GDT_SIZE * 8, "CS beyond the GDT"},
        {DS3, DS3, GP, DS3 - 3, "CS data"},
        {CS0 + 3, DS3, GP, CS0, "CS's DPL is not its RPL"},
        {CONF3 + 1, STACK1 + 1, GP, CONF3, "conforming CS with DPL above RPL"},
        {CS3, 0, GP, 0, "SS null"},
        {CS3, 3, GP, 0, "SS null with RPL 3"},
        {CS3, GDT_SIZE * 8 + 3, GP, GDT_SIZE * 8, "SS beyond the GDT"},
        {CS3, DS3 - 1, GP, DS3 - 3, "SS's RPL is not CS's"},
        {CS3, DS0 + 3, GP, DS0, "SS's DPL is not CS's RPL"},
        {CS3, CS3, GP, CS3 - 3, "SS is code"},
        {CS3, FREE + 136 + 3, SS, FREE + 136, "SS not present"},
        {FREE + 144 + 3, DS3, NP, FREE + 144, "CS not present"},
    };
    for (unsigned i = 0; i < 2 * sizeof bad / sizeof *bad; i++) {
        unsigned k = i / 2;
        gdt[(FREE + 136) >> 3] = descriptor(0, 0xfffff, 0x73, 0xc);
        gdt[(FREE + 144) >> 3] = descriptor(0, 0xfffff, 0x7b, 0xc);
        c = i & 1 ? CODE("push %esi; push $0x9000; pushf; push %edi; push $0x1000; 7: iret")
                  : CODE("push %esi; push $0x9000; push %edi; push $0x1000; 7: lret");
        prep0(c);
        in.si = bad[k].ss;
        in.di = bad[k].cs;
        run();
        if (bad[k].vector == SS)
            differs("SDM 2A RET, IRET: SS that is not present is #SS");
        fault(bad[k].name, c, bad[k].vector, bad[k].error);
        if (got.ip == c.at)
            same(i & 1 ? "IRET: ESP is kept" : "RET: ESP is kept", got.sp,
                 addr(stack0 + STACK) - (i & 1 ? 20 : 16));
        tables();
    }
    c = CODE("pushl $0x23; pushl %esp; pushl $0x1b; push $1f; mov $0x10, %eax; mov %eax, %ds;"
             "mov $0x60, %eax; mov %eax, %es; mov $0x23, %eax; mov %eax, %fs;"
             "mov $0x58, %eax; mov %eax, %gs; lret; 1: mov %ds, %eax; mov %es, %ebx;"
             "mov %fs, %ecx; mov %gs, %edx");
    gdt[0x60 >> 3] = descriptor(0, 0xfffff, 0xff, 0xc); /* conforming, readable, level 3 */
    gdt[0x58 >> 3] = descriptor(0, 0xfffff, 0x9f, 0xc); /* conforming, readable, level 0 */
    run0(c);
    done("RET to level 3 with segments of level 0");
    same("RET clears DS of level 0", got.ax, 0);
    same("RET keeps conforming code in ES", got.bx, 0x60);
    same("RET keeps FS of level 3", got.cx, 0x23);
    same("RET keeps conforming code of level 0 in GS", got.dx, 0x58);
    tables();
    struct code low = CODE("pushl $0x08; pushl $0x1000; 7: lret");
    run3(low);
    fault("RET to an inner level", low, GP, CS0);
    low = CODE("pushfl; pushl $0x08; pushl $0x1000; 7: iret");
    run3(low);
    fault("IRET to an inner level", low, GP, CS0);
    c = CODE("pushf; orl $0x3200, (%esp); popf; pushf; pop %eax");
    run3(c);
    same("POPF at level 3 with IOPL 0 changes neither IOPL nor IF", got.ax & 0x3200, 0);
    prep3(c);
    in.flags = FL_IOPL | 2;
    run();
    same("POPF at level 3 with IOPL 3 sets IF", got.ax & 0x3200, 0x3200);
    c = CODE("pushf; orl $0x3200, (%esp); pushl $0x1b; pushl $1f; iret; 1: pushf; pop %eax");
    run3(c);
    same("IRET at level 3 with IOPL 0 changes neither", got.ax & 0x3200, 0);
}

void checks(void)
{
    tables();
    idt_entry();
    gate_code();
    inner_stacks();
    delivery_of_exceptions();
    frames();
    gate_checks();
    direct();
    frames_of_calls();
    returns();
}
