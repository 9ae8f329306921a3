/* Real mode: vectors, frames without error codes, segments of 64 KiB, "unreal" limits, and what is
 * not there (SDM 3B chapter 21).
 *
 * kind: check32
 */
#include "lib/check.h"

#define BASE    0x7000u /* the way in and out, copied here; pieces lie at SEG */
#define SEG     0x900
#define STK     0xa00
#define DATA    0xb00
#define DATA16  FREE
#define CODE16S (FREE + 8)

/* Both ways, at BASE; the state at BASE + 0xe00. */
struct real {
    uint16_t ip, cs, flags, sp, ss, ds, es, pad;
    uint32_t ax, cx, bx, dx, si, di, bp;
    uint16_t vector, idt_limit;
    uint32_t idt_base;
};
#define R ((volatile struct real *)(BASE + 0xe00))

__asm__(".set state, 0xe00\n"
        ".globl real_begin, real_end, real_stubs, real_run\n"
        "real_run: pushal\n"
        "movl %esp, real_esp\n"
        "sidt real_idtr\n"
        "movl $0x10, %eax\n"
        "movl %eax, %fs\n"
        "movl $0x48, %eax\n"
        "ljmp $0x50, $real_go - real_begin\n"
        "real_back: movl $0x10, %eax\n"
        "movl %eax, %ds\n"
        "movl %eax, %es\n"
        "movl %eax, %ss\n"
        "movl %eax, %fs\n"
        "movl %eax, %gs\n"
        "movl real_esp, %esp\n"
        "lidt real_idtr\n"
        "popal\n"
        "ret\n"
        ".balign 8\n"
        "real_begin: .code16\n"
        "real_stubs: .set n, 0\n.rept 256\n"
        ".byte 0x68\n.word n\n" /* PUSH imm16 */
        "jmp real_common\n.balign 8\n.set n, n + 1\n.endr\n"
        "real_go: movw %ax, %ds\n"
        "movw %ax, %es\n"
        "movw %ax, %ss\n"
        "movw %ax, %gs\n" /* FS keeps its 4 GiB */
        "lidtl %cs:state + 46\n"
        "movl %cr0, %eax\n"
        "andl $0xfffffffe, %eax\n"
        "movl %eax, %cr0\n"
        "ljmp $0x700, $1f - real_begin\n"
        "1: movw %cs:state + 8, %ss\n"
        "movzwl %cs:state + 6, %esp\n"
        "pushw %cs:state + 4\n"
        "pushw %cs:state + 2\n"
        "pushw %cs:state + 0\n"
        "movw %cs:state + 10, %ds\n"
        "movw %cs:state + 12, %es\n"
        "movl %cs:state + 16, %eax\n"
        "movl %cs:state + 20, %ecx\n"
        "movl %cs:state + 24, %ebx\n"
        "movl %cs:state + 28, %edx\n"
        "movl %cs:state + 32, %esi\n"
        "movl %cs:state + 36, %edi\n"
        "movl %cs:state + 40, %ebp\n"
        "iretw\n"
        "real_common: popw %cs:state + 44\n"
        "popw %cs:state + 0\n"
        "popw %cs:state + 2\n"
        "popw %cs:state + 4\n"
        "movw %sp, %cs:state + 6\n"
        "movw %ss, %cs:state + 8\n"
        "movw %ds, %cs:state + 10\n"
        "movw %es, %cs:state + 12\n"
        "movl %eax, %cs:state + 16\n"
        "movl %ecx, %cs:state + 20\n"
        "movl %ebx, %cs:state + 24\n"
        "movl %edx, %cs:state + 28\n"
        "movl %esi, %cs:state + 32\n"
        "movl %edi, %cs:state + 36\n"
        "movl %ebp, %cs:state + 40\n"
        "pushfw\n"
        "popw %cs:state + 14\n"
        "lgdtl %cs:2f - real_begin\n"
        "movl %cr0, %eax\n"
        "orl $1, %eax\n"
        "movl %eax, %cr0\n"
        "ljmpl $8, $real_back\n"
        "2: .word 767\n"
        ".long gdt\n"
        "real_end: .code32\n");

extern char real_begin[], real_end[];
void real_run(void);
uint32_t real_esp;
uint64_t real_idtr;

static struct code piece;

static void prep(struct code c)
{
    piece = c;
    gdt[DATA16 >> 3] = descriptor(0, 0xffff, 0x93, 0);
    gdt[CODE16S >> 3] = descriptor(BASE, 0xffff, 0x9b, 0);
    for (unsigned i = 0; i < (word)(real_end - real_begin); i++)
        ((volatile uint8_t *)BASE)[i] = (uint8_t)real_begin[i];
    for (unsigned v = 0; v < 256; v++) {
        ((volatile uint16_t *)0)[2 * v] = (uint16_t)(8 * v);
        ((volatile uint16_t *)0)[2 * v + 1] = BASE >> 4;
    }
    fill((void *)0x9000, 0x90, 0x1000);
    for (unsigned i = 0; i < 128; i++)
        ((volatile uint8_t *)0x9000)[i] = ((const uint8_t *)c.start)[i];
    *(struct real *)R = (struct real){
        .cs = SEG, .flags = 2, .sp = 0x1000, .ss = STK, .ds = DATA, .es = DATA, .idt_limit = 0x3ff};
}

static void go(struct code c)
{
    prep(c);
    real_run();
}

/* The vector and where. */
static void at(const char *name, struct code c, unsigned vector)
{
    go(c);
    if (vector == GP || vector == SS)
        differs("SDM 3B 21.1.1: limits of 64 KiB are checked");
    same(name, (uint64_t)R->vector << 16 | (vector == DONE ? 0 : R->ip),
         (uint64_t)vector << 16 | (vector == DONE ? 0 : c.at - c.start));
}

static void vectors(void)
{
    struct code c = CODE16("7: int $0x41");
    go(c);
    same("INT n", R->vector, 0x41);
    same("… IP is the next instruction", R->ip, 2);
    same("… CS", R->cs, SEG);
    same("… 3 words", R->sp, 0x1000);
    prep(CODE16("int $0x41"));
    R->flags = FL_IF | FL_CF | FL_IOPL | FL_NT | 2;
    real_run();
    same("… FLAGS as they were", R->flags, FL_IF | FL_CF | FL_IOPL | FL_NT | 2);
    same("… IF is clear in the handler", R->pad & (FL_IF | FL_TF), 0);
    at("UD2", CODE16("nop; 7: ud2"), UD);
    same("… no error code", R->sp, 0x1000);
    at("DIV by 0: the instruction itself", CODE16("xor %cx, %cx; 7: div %cx"), DE);
    at("INT3", CODE16("int3; 7: nop"), BP);
    at("INTO", CODE16("mov $0x7fff, %ax; inc %ax; into; 7: nop"), OF);
    at("BOUND", CODE16("movl $0x00050001, 0; mov $9, %ax; 7: bound %ax, 0"), BR);
    at("a word at 0xffff: #GP", CODE16("7: movw 0xffff, %ax"), GP);
    same("… without an error code", R->sp, 0x1000);
    at("a dword at 0xfffd", CODE16("7: movl %eax, 0xfffd"), GP);
    at("an address of 32 bits beyond 64 KiB", CODE16("mov $0x10000, %ebx; 7: movb (%ebx), %al"),
       GP);
    at("POP at 0xffff: #SS", CODE16("mov $0xffff, %sp; 7: pop %ax"), SS);
    at("by BP: #SS", CODE16("mov $0xffff, %bp; 7: mov (%bp), %ax"), SS);
    if (is_tcg())
        skip("a jump beyond 64 KiB", "QEMU goes there");
    else
        at("a jump beyond 64 KiB", CODE16("7: jmpl *%cs:1f - 9b; 1: .long 0x10000"), GP);
    prep(CODE16("7: int $0x41"));
    R->idt_limit = 0x41 * 4 + 2;
    real_run();
    same("a vector beyond the IDT's limit: #GP", R->vector << 16 | R->ip, GP << 16);
    prep(CODE16("7: int $0x41"));
    R->idt_limit = 0x41 * 4 + 3;
    real_run();
    same("a vector just within", R->vector, 0x41);
    prep(CODE16("nop; nop"));
    R->flags = FL_TF | 2;
    real_run();
    same("single step", R->vector << 16 | R->ip, DB << 16 | 1);
}

static void segments(void)
{
    struct code c = CODE16("mov $0xfff0, %ax; mov %ax, %ds; movb 0x100, %al; movb $0x5a, 0x0100");
    *(volatile uint8_t *)0x100000 = 0;
    go(c);
    same("fff0:0100 is 0x100000 with A20", *(volatile uint8_t *)0x100000, 0x5a);
    go(CODE16("xor %sp, %sp; pushw $0x1234; mov %sp, %bx; popw %ax; mov %sp, %cx"));
    same("PUSH with SP 0 wraps", (R->bx & 0xffff) << 16 | (R->cx & 0xffff), 0xfffe0000);
    go(CODE16("ljmp $0x8ff, $1f - 9b + 16; ud2; 1: mov %cs, %ax"));
    same("a far jump", R->vector << 16 | (R->ax & 0xffff), DONE << 16 | 0x8ff);
    go(CODE16("lcall $0x900, $1f - 9b; jmp 2f; 1: mov %sp, %bp; mov (%bp), %ax; mov 2(%bp), %bx; "
              "lret; 2: mov %sp, %dx"));
    same("a far call: IP and CS", (R->bx & 0xffff) << 16 | (R->ax & 0xffff), SEG << 16 | 5);
    same("… and back", R->dx & 0xffff, 0x1000);
    go(CODE16("mov $0xffff, %si; mov $0x10, %di; mov $3, %cx; cld; rep movsb; mov %si, %ax"));
    same("string addresses wrap at 64 KiB", R->ax & 0xffff, 2);
    *(volatile uint32_t *)0x200000 = 0x89abcdef;
    go(CODE16("xor %eax, %eax; mov $0x200000, %ebx; movl %fs:(%ebx), %eax"));
    same("a limit loaded in protected mode stays", R->vector == DONE ? R->ax : 0, 0x89abcdef);
    *(volatile uint32_t *)0x200010 = 0x76543210;
    go(CODE16("mov $1, %ax; mov %ax, %fs; mov $0x200000, %ebx; movl %fs:(%ebx), %eax"));
    same("MOV to FS changes the base, not the limit", R->vector == DONE ? R->ax : 0, 0x76543210);
    go(CODE16("push %ds; pushl $0x12345678; pop %es; mov %es, %ax; pop %cx"));
    same("POP to a segment takes any value", R->ax & 0xffff, 0x5678);
    go(CODE16("lds %cs:1f - 9b, %si; mov %ds, %ax; jmp 2f; 1: .word 0x1111, 0x2222; 2:"));
    same("LDS", (R->ax & 0xffff) << 16 | (R->si & 0xffff), 0x22221111);
}

static void absent(void)
{
    at("LLDT", CODE16("7: .byte 0x0f, 0, 0xd0"), UD);
    at("STR", CODE16("7: .byte 0x0f, 0, 0xc8"), UD);
    at("VERR", CODE16("7: .byte 0x0f, 0, 0xe0"), UD);
    at("LAR", CODE16("7: .byte 0x0f, 2, 0xc0"), UD);
    at("LSL", CODE16("7: .byte 0x0f, 3, 0xc0"), UD);
    at("ARPL", CODE16("7: .byte 0x63, 0xc0"), UD);
    at("SYSENTER", CODE16("7: sysenter"), GP);
    at("LOCK NOP", CODE16("7: .byte 0xf0, 0x90"), UD);
    at("SMSW, SGDT, SIDT", CODE16("smsw %ax; sgdt 0; sidt 8"), DONE);
    at("CLTS, MOV CR0, HLT's kin are allowed", CODE16("clts; mov %cr0, %eax; mov %eax, %cr0; cli"),
       DONE);
    if (is_tcg())
        skip("CR0: PG without PE", "QEMU goes on");
    else
        at("CR0: PG without PE", CODE16("mov %cr0, %eax; or $0x80000000, %eax; 7: mov %eax, %cr0"),
           GP);
    go(CODE16("pushf; pop %ax; or $0x7000, %ax; push %ax; popf; pushf; pop %ax; push $2; popf"));
    same("POPF changes IOPL and NT", R->ax & 0x7000, 0x7000);
    go(CODE16("pushl $0x240002; popfl; pushfl; popl %eax"));
    same("POPFD changes AC and ID", R->ax & 0x240000, 0x240000);
    go(CODE16("cpuid; mov $1, %al; mul %al; aam; daa; xlat; bswap %ecx; movzbl %al, %edx; cmpxchg "
              "%cx, %dx"));
    same("instructions of all sizes", R->vector, DONE);
}

void checks(void)
{
    vectors();
    segments();
    absent();
}
