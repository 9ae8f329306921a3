/* Faults of single instructions: length, LOCK, alignment, divide, opcodes that aren't there,
 * level-0 instructions, BOUND; their order; double faults (SDM 3A 6.15; SDM 2A 2.2; SDM
 * 3A 8.1.2.2).
 *
 * kind: check64
 */
#include "lib/check.h"

uint8_t area[256] __attribute__((aligned(64)));

static void expect(const char *name, struct code c, unsigned vector, unsigned error)
{
    prep3(c);
    in.di = (word)area;
    run();
    fault(name, c, vector, error);
}

static void lengths(void)
{
    struct code c = CODE(".rept 14; .byte 0x66; .endr; nop");
    expect("15 bytes", c, DONE, 0);
    c = CODE(".rept 15; .byte 0x66; .endr; nop");
    expect("16 bytes", c, GP, 0);
    c = CODE(".rept 5; .byte 0x2e; .endr; .byte 0x48, 0x81, 0x84, 0x25; .long area, 0");
    expect("5 prefixes, REX, opcode, ModRM, SIB, disp32, imm32: 17", c, GP, 0);
    c = CODE(".rept 3; .byte 0x2e; .endr; .byte 0x48, 0x81, 0x84, 0x27; .long 0, 0");
    expect("3 prefixes and 12 bytes: 15", c, DONE, 0);
    c = CODE(".byte 0x48; .byte 0x66; nop");
    expect("REX before a prefix is ignored", c, DONE, 0);
    c = CODE("mov $0x1111111122222222, %rax; .byte 0x48, 0x66, 0xb8; .word 0x3333; .byte 0x90, "
             "0x90, 0x90, 0x90");
    prep3(c);
    run();
    differs("SDM 2A 2.2.1: REX counts only right before the opcode");
    same("REX, 66: an operand of 16 bits", got.ax, 0x1111111122223333);
    c = CODE("mov $0x1111111122222222, %rax; .byte 0x66, 0x48, 0xc7, 0xc0; .long 0x44444444");
    prep3(c);
    run();
    same("66, REX.W: 64 bits", got.ax, 0x44444444);
}

static void lock(void)
{
    static const struct {
        const char *name;
        uint8_t bytes[6];
        unsigned vector;
    } row[] = {
        {"LOCK ADD [mem]", {0xf0, 0x01, 0x07}, DONE},
        {"LOCK ADD reg", {0xf0, 0x01, 0xc7}, UD},
        {"LOCK ADD reg, [mem]", {0xf0, 0x03, 0x07}, UD},
        {"LOCK CMP [mem]", {0xf0, 0x39, 0x07}, UD},
        {"LOCK MOV", {0xf0, 0x89, 0x07}, UD},
        {"LOCK NOP", {0xf0, 0x90}, UD},
        {"LOCK XCHG [mem]", {0xf0, 0x87, 0x07}, DONE},
        {"LOCK XCHG reg", {0xf0, 0x87, 0xc7}, UD},
        {"LOCK INC [mem]", {0xf0, 0xff, 0x07}, DONE},
        {"LOCK DEC reg", {0xf0, 0xff, 0xcf}, UD},
        {"LOCK PUSH [mem]", {0xf0, 0xff, 0x37}, UD},
        {"LOCK NOT [mem]", {0xf0, 0xf7, 0x17}, DONE},
        {"LOCK TEST [mem]", {0xf0, 0xf7, 0x07, 0, 0, 0}, UD},
        {"LOCK MUL [mem]", {0xf0, 0xf7, 0x27}, UD},
        {"LOCK BT [mem]", {0xf0, 0x0f, 0xa3, 0x07}, UD},
        {"LOCK BTS [mem]", {0xf0, 0x0f, 0xab, 0x07}, DONE},
        {"LOCK BTS reg", {0xf0, 0x0f, 0xab, 0xc7}, UD},
        {"LOCK BTC [mem], imm", {0xf0, 0x0f, 0xba, 0x3f, 1}, DONE},
        {"LOCK BT [mem], imm", {0xf0, 0x0f, 0xba, 0x27, 1}, UD},
        {"LOCK CMPXCHG [mem]", {0xf0, 0x0f, 0xb1, 0x07}, DONE},
        {"LOCK CMPXCHG reg", {0xf0, 0x0f, 0xb1, 0xc7}, UD},
        {"LOCK XADD [mem]", {0xf0, 0x0f, 0xc1, 0x07}, DONE},
        {"LOCK CMPXCHG8B", {0xf0, 0x0f, 0xc7, 0x0f}, DONE},
        {"CMPXCHG8B reg", {0x0f, 0xc7, 0xcf}, UD},
        {"LOCK SHL [mem]", {0xf0, 0xd1, 0x27}, UD},
        {"LOCK SETZ [mem]", {0xf0, 0x0f, 0x94, 0x07}, UD},
        {"LOCK MOVSB", {0xf0, 0xa4}, UD},
        {"LOCK FLD1", {0xf0, 0xd9, 0xe8}, UD},
        {"LOCK ADDPS", {0xf0, 0x0f, 0x58, 0x07}, UD},
        {"LOCK CPUID", {0xf0, 0x0f, 0xa2}, UD},
    };
    struct code c = CODE("9: nop; nop; nop; nop; nop; nop");
    for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
        if (row[i].vector == UD && is_tcg()) {
            skip(row[i].name, "QEMU lets some of these through and aborts at others");
            continue;
        }
        for (unsigned b = 0; b < 6; b++)
            ((volatile uint8_t *)c.start)[b] =
                row[i].bytes[b] | (b >= 2 && !row[i].bytes[b] ? 0x90 : 0);
        if (i == 12)
            ((volatile uint8_t *)c.start)[3] = 0;
        prep3(c);
        in.di = in.si = (word)area;
        run();
        fault(row[i].name, c, row[i].vector, 0);
    }
}

static void absent(void)
{
    expect("UD2", CODE("ud2"), UD, 0);
    expect("UD1", CODE(".byte 0x0f, 0xb9, 0xc0"), UD, 0);
    expect("UD0", CODE(".byte 0x0f, 0xff, 0xc0"), UD, 0);
    expect("FE /2", CODE(".byte 0xfe, 0xd0"), UD, 0);
    expect("FF /7", CODE(".byte 0xff, 0xf8"), UD, 0);
    differs("SDM 2D A.4: groups 1A and 11 have /0 alone");
    expect("8F /1", CODE(".byte 0x8f, 0xc8, 0x00, 0x00"), UD, 0);
    differs("SDM 2D A.4: groups 1A and 11 have /0 alone");
    expect("C6 /1", CODE(".byte 0xc6, 0xc8, 0x00"), UD, 0);
    expect("0F 05 with LOCK", CODE(".byte 0xf0, 0x0f, 0x05"), UD, 0);
    expect("LEA of a register", CODE(".byte 0x8d, 0xc0"), UD, 0);
    expect("LFENCE's group with memory form /5 is XRSTOR, not here", CODE(".byte 0x0f, 0xae, 0x2f"),
           UD, 0);
    expect("MOV to a segment register 7", CODE(".byte 0x8e, 0xf8"), UD, 0);
    expect("0F 0B with operands left out", CODE(".byte 0x0f, 0x0b"), UD, 0);
    expect("D6 (SALC) in 64-bit mode", CODE(".byte 0xd6"), UD, 0);
    expect("long NOP", CODE(".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0"), DONE, 0);
    expect("ENDBR64 is a NOP", CODE(".byte 0xf3, 0x0f, 0x1e, 0xfa"), DONE, 0);
    expect("0F 0D PREFETCHW", CODE(".byte 0x0f, 0x0d, 0x0f"), DONE, 0);
    expect("VEX with a REX prefix", CODE(".byte 0x48, 0xc5, 0xf8, 0x77"), UD, 0);
    expect("VEX with 66", CODE(".byte 0x66, 0xc5, 0xf8, 0x77"), UD, 0);
    static const struct {
        const char *name;
        uint8_t bytes[3];
    } kernel[] = {
        {"HLT", {0xf4, 0x90, 0x90}},          {"CLI", {0xfa, 0x90, 0x90}},
        {"WRMSR", {0x0f, 0x30, 0x90}},        {"RDMSR", {0x0f, 0x32, 0x90}},
        {"INVD", {0x0f, 0x08, 0x90}},         {"WBINVD", {0x0f, 0x09, 0x90}},
        {"CLTS", {0x0f, 0x06, 0x90}},         {"MOV CR0", {0x0f, 0x22, 0xc0}},
        {"MOV from CR8", {0x44, 0x0f, 0x20}}, {"LGDT", {0x0f, 0x01, 0x17}},
        {"LIDT", {0x0f, 0x01, 0x1f}},         {"LTR", {0x0f, 0x00, 0xd8}},
        {"LMSW", {0x0f, 0x01, 0xf0}},         {"INVLPG", {0x0f, 0x01, 0x3f}},
        {"IN", {0xe4, 0x80, 0x90}},           {"RDPMC", {0x0f, 0x33, 0x90}},
    };
    struct code c = CODE("9: nop; nop; nop; nop; nop; nop");
    for (unsigned i = 0; i < sizeof kernel / sizeof *kernel; i++) {
        for (unsigned b = 0; b < 3; b++)
            ((volatile uint8_t *)c.start)[b] = kernel[i].bytes[b];
        ((volatile uint8_t *)c.start)[3] = kernel[i].bytes[0] == 0x44 ? 0xc0 : 0x90;
        expect(kernel[i].name, c, GP, 0);
    }
    WRITE_REG("cr4", READ_REG("cr4") | 4);
    expect("RDTSC with CR4.TSD", CODE("rdtsc"), GP, 0);
    WRITE_REG("cr4", READ_REG("cr4") & ~4ul);
    expect("RDTSC", CODE("rdtsc"), DONE, 0);
    expect("SWAPGS", CODE("swapgs"), GP, 0);
    if (cpuid(7, 0).c >> 2 & 1) {
        expect("SGDT without UMIP", CODE("sgdt (%rdi)"), DONE, 0);
        WRITE_REG("cr4", READ_REG("cr4") | 0x800);
        expect("UMIP: SGDT", CODE("sgdt (%rdi)"), GP, 0);
        expect("UMIP: SIDT", CODE("sidt (%rdi)"), GP, 0);
        expect("UMIP: SLDT", CODE("sldt %eax"), GP, 0);
        expect("UMIP: STR", CODE("str %eax"), GP, 0);
        expect("UMIP: SMSW", CODE("smsw %eax"), GP, 0);
        WRITE_REG("cr4", READ_REG("cr4") & ~0x800ul);
    } else {
        skip("UMIP", "no such feature");
    }
    struct code msr = CODE("mov $0x12345, %ecx; 7: rdmsr");
    run0(msr);
    differs("SDM 2B RDMSR: an MSR that isn't there is #GP(0)");
    fault("RDMSR of an MSR that isn't there", msr, GP, 0);
    struct code cr = CODE(".byte 0x0f, 0x20, 0xe8"); /* CR5 */
    run0(cr);
    fault("MOV from CR5", cr, UD, 0);
    cr = CODE("mov $0x10, %eax; 7: mov %rax, %cr8");
    run0(cr);
    differs("SDM 2B MOV: reserved bits of CR8");
    fault("MOV to CR8 of 16", cr, GP, 0);
    cr = CODE("mov $5, %eax; mov %rax, %cr8; mov %cr8, %rbx; mov $0xfee00080, %edx; mov (%rdx), "
              "%ecx; xor %eax, %eax;"
              "mov %rax, %cr8");
    run0(cr);
    done("CR8");
    same("CR8 is TPR's upper half", got.bx << 8 | got.cx, 0x550);
    cr = CODE("mov %cr0, %rax; bts $32, %rax; 7: mov %rax, %cr0");
    run0(cr);
    differs("SDM 2B MOV: bits 63:32 of CR0");
    fault("MOV to CR0 with a bit above 31", cr, GP, 0);
    if (!is_tcg()) {
        cr = CODE("mov %cr4, %rax; bts $31, %rax; 7: mov %rax, %cr4");
        run0(cr);
        fault("MOV to CR4 with a reserved bit", cr, GP, 0);
        cr = CODE("mov %cr4, %rax; btr $5, %rax; 7: mov %rax, %cr4");
        run0(cr);
        fault("CR4.PAE can't be cleared in long mode", cr, GP, 0);
        cr = CODE("mov %cr3, %rax; bts $60, %rax; 7: mov %rax, %cr3");
        run0(cr);
        fault("MOV to CR3 with a reserved bit", cr, GP, 0);
        cr = CODE("mov $0xc0000080, %ecx; rdmsr; btr $8, %eax; 7: wrmsr");
        run0(cr);
        fault("EFER.LME can't change with paging on", cr, GP, 0);
        cr = CODE("mov $0xc0000080, %ecx; rdmsr; bts $1, %eax; 7: wrmsr");
        run0(cr);
        fault("EFER: a reserved bit", cr, GP, 0);
        cr = CODE("mov $0x277, %ecx; mov $2, %eax; xor %edx, %edx; 7: wrmsr");
        run0(cr);
        fault("PAT: memory type 2", cr, GP, 0);
        cr = CODE("mov %cr0, %rax; btr $31, %rax; 7: mov %rax, %cr0");
        run0(cr);
        fault("CR0.PG can't be cleared in 64-bit mode", cr, GP, 0);
    }
}

static void divides(void)
{
    expect("DIV by 0", CODE("xor %ecx, %ecx; 7: div %ecx"), DE, 0);
    expect("DIV overflow", CODE("mov $1, %edx; xor %eax, %eax; mov $1, %ecx; 7: div %ecx"), DE, 0);
    expect("IDIV of the least by -1",
           CODE("mov $0x80000000, %eax; cdq; mov $-1, %ecx; 7: idiv %ecx"), DE, 0);
    expect("IDIV to the least", CODE("mov $0x80000000, %eax; cdq; mov $1, %ecx; 7: idiv %ecx"),
           DONE, 0);
    expect("DIV of 8 bits", CODE("mov $0x100, %ax; mov $1, %cl; 7: div %cl"), DE, 0);
    expect("IDIV of 64 bits",
           CODE("mov $0x8000000000000000, %rax; cqo; mov $-1, %rcx; 7: idiv %rcx"), DE, 0);
}

static void alignment(void)
{
    expect("CMPXCHG16B, aligned", CODE("cmpxchg16b (%rdi)"), DONE, 0);
    expect("CMPXCHG16B, not aligned", CODE("cmpxchg16b 8(%rdi)"), GP, 0);
    expect("LOCK CMPXCHG16B, not aligned", CODE("lock cmpxchg16b 1(%rdi)"), GP, 0);
    *(uint64_t *)area = 1;
    *(uint64_t *)(area + 8) = 2;
    struct code c = CODE(
        "mov $1, %eax; mov $2, %edx; mov $3, %ebx; mov $4, %ecx; lock cmpxchg16b (%rdi); setz %al");
    prep3(c);
    in.di = (word)area;
    run();
    same("CMPXCHG16B: equal", (got.ax & 0xff) << 16 | area[0] << 8 | area[8], 0x10304);
    run();
    same("CMPXCHG16B: not equal loads RDX:RAX", got.dx << 8 | (got.ax & 0xff), 0x400);
    /* #AC: CR0.AM, EFLAGS.AC, level 3 */
    struct code word4 = CODE("movl 2(%rdi), %eax"), byte1 = CODE("movb 1(%rdi), %al"),
                push = CODE("lea 33(%rdi), %rsp; 7: push %rax"), word2 = CODE("movw 1(%rdi), %ax"),
                qword = CODE("movq 4(%rdi), %rax"), sse = CODE("movups 4(%rdi), %xmm0"),
                fld = CODE("fldl 4(%rdi)");
    WRITE_REG("cr4", READ_REG("cr4") | 0x600);
    WRITE_REG("cr0", READ_REG("cr0") | 0x40000);
    expect("AM without AC", word4, DONE, 0);
    struct {
        const char *name;
        struct code c;
        unsigned vector;
    } row[] = {{"#AC: dword", word4, AC},
               {"#AC: word", word2, AC},
               {"#AC: byte", byte1, DONE},
               {"#AC: qword", qword, AC},
               {"#AC: PUSH", push, AC},
               {"#AC: x87 load", fld, AC},
               {"#AC: MOVUPS of 16 at 4 (Intel checks, AMD does not: either)", sse, 0}};
    for (unsigned i = 0; i < 7; i++) {
        prep3(row[i].c);
        in.di = (word)area;
        in.flags = FL_AC | 2;
        run();
        if (i == 6) {
            same(row[i].name, got.vector == AC || got.vector == DONE, 1);
            continue;
        }
        if (row[i].vector == AC)
            differs("SDM 3A 6.15 #AC");
        fault(row[i].name, row[i].c, row[i].vector, 0);
    }
    prep0(word4);
    in.di = (word)area;
    in.flags = FL_AC | 2;
    run();
    done("#AC: not at level 0");
    WRITE_REG("cr0", READ_REG("cr0") & ~0x40000ul);
    prep3(word4);
    in.di = (word)area;
    in.flags = FL_AC | 2;
    run();
    done("AC without AM");
}

static void double_faults(void)
{
    struct code gp = CODE("mov $0x7770, %eax; 7: mov %eax, %ds");
    set_gate(GP, CS0, (word)(stubs + 16 * GP), 0x0e);
    run3(gp);
    fault("#GP whose gate is not present: #DF, error code 0", gp, DF, 0);
    set_gate(GP, 0x7778, (word)(stubs + 16 * GP), 0x8e);
    run3(gp);
    fault("#GP whose gate leads nowhere: #DF", gp, DF, 0);
    reset_tables();
    struct code pf = CODE("mov $0x200000000, %rbx; 7: mov (%rbx), %eax");
    set_gate(PF, CS0, (word)(stubs + 16 * PF), 0x0e);
    run3(pf);
    fault("#PF whose gate is not present: #DF", pf, DF, 0);
    reset_tables();
    struct code ud = CODE("ud2");
    set_gate(UD, CS0, (word)(stubs + 16 * UD), 0x0e);
    run3(ud);
    differs("SDM 3A 6.13: EXT is set by an exception");
    fault("#UD whose gate is not present: #NP, not #DF", ud, NP, UD * 8 + 3);
    /* #PF on the push of #GP's frame: serial, not double */
    reset_tables();
    *(uint64_t *)(tss + 0x24) = 0x200001000;
    idt[2 * GP] |= 1ull << 32;
    run3(gp);
    fault("#PF on #GP's stack: the #PF is taken", gp, PF, 2);
    same("… CR2", got.cr2, 0x200000ff8);
    reset_tables();
    *(uint64_t *)(tss + 0x24) = 0x200001000;
    idt[2 * PF] |= 1ull << 32;
    run3(pf);
    fault("#PF on #PF's stack: #DF", pf, DF, 0);
    reset_tables();
    *(uint64_t *)(tss + 4) = 0x800000000000;
    idt[2 * DF] |= 1ull << 32;
    *(uint64_t *)(tss + 0x24) = (word)stack_intr + STACK;
    run3(gp);
    fault("RSP0 not canonical: #SS in #GP is #DF", gp, DF, 0);
    same("… DF's IST", got.frame, (word)stack_intr + STACK - 56);
    reset_tables();
}

void checks(void)
{
    lengths();
    lock();
    absent();
    divides();
    alignment();
    double_faults();
}
