/* Code that changes: the next instruction, the running one's bytes, across pages, through another
 * mapping, by DMA-like string stores, from another CPU (SDM 3A 8.1.3, 11.6).
 *
 * kind: check32
 * args: --cpus 2
 * qemu: -smp 2
 */
#include "lib/check.h"

static uint8_t code[3 * 4096] __attribute__((aligned(4096)));
static uint32_t pd[1024] __attribute__((aligned(4096)));

/* CALL of what lies at `at`; EAX. */
static uint32_t call(word at)
{
    prep0(CODE("call *%ebx"));
    in.bx = at;
    in.di = (word)code;
    run();
    return (uint32_t)got.ax;
}

/* MOV EAX, imm32; RET */
static void put(uint8_t *at, uint32_t v)
{
    at[0] = 0xb8;
    for (unsigned i = 0; i < 4; i++)
        at[1 + i] = (uint8_t)(v >> 8 * i);
    at[5] = 0xc3;
    __asm__ volatile("" : : : "memory");
}

static void plain(void)
{
    put(code, 1);
    same("written, then run", call((word)code), 1);
    put(code, 2);
    same("written again", call((word)code), 2);
    for (unsigned i = 0; i < 50; i++) {
        put(code, 0x1000 + i);
        if (call((word)code) != 0x1000 + i) {
            same("written many times", i, 50);
            return;
        }
    }
    same("written many times", 50, 50);
    code[1] = 0x99;
    same("one byte of the operand", call((word)code), 0x1099);
    uint8_t *edge = code + 4096 - 3;
    put(edge, 0x11223344);
    same("across two pages", call((word)edge), 0x11223344);
    edge[4] = 0x55;
    same("across two pages: the second page changes", call((word)edge), 0x55223344);
    edge[1] = 0x66;
    same("across two pages: the first page changes", call((word)edge), 0x55223366);
    edge = code + 4096 - 1;
    put(edge, 0x77777777);
    same("one byte on the first page", call((word)edge), 0x77777777);
    edge[0] = 0xbb; /* MOV EBX */
    prep0(CODE("call *%ecx"));
    in.cx = (word)edge;
    in.ax = 5;
    run();
    same("… its opcode changes", got.bx + got.ax, 0x7777777c);
}

static void near(void)
{
    /* movb $7, 1f+1; 1: mov $1, %al; … : the very next instruction */
    prep0(CODE("xor %eax, %eax; movb $7, 1f + 1; 1: mov $1, %al"));
    run();
    same("the next instruction", got.ax, 7);
    prep0(CODE("mov $3, %ecx; xor %eax, %eax; 1: movb %cl, 2f + 2; 2: add $0x11, %eax; loop 1b"));
    run();
    same("in a loop", got.ax, 6);
    /* REP STOSB over the instructions behind it */
    prep0(
        CODE("xor %eax, %eax; mov $1f, %edi; mov $4, %ecx; mov $0x40, %al; rep stosb; mov $0, %eax;"
             "1: nop; nop; nop; nop"));
    run();
    same("REP STOSB over what follows", got.ax, 4);
    prep0(CODE("xor %eax, %eax; mov $1f, %edi; mov $2f, %esi; mov $2, %ecx; rep movsw; 1: nop; "
               "nop; nop; nop; jmp 3f;"
               "2: inc %eax; inc %eax; inc %eax; inc %eax; 3:"));
    run();
    same("REP MOVSW", got.ax, 4);
    prep0(CODE("xor %eax, %eax; mov $0x40404040, %ecx; lock xchg %ecx, 1f; 1: nop; nop; nop; nop"));
    run();
    same("XCHG", got.ax, 4);
    prep0(CODE("xor %eax, %eax; push $0x40404040; fninit; fildl (%esp); fistpl 1f; 1: nop; nop; "
               "nop; nop"));
    run();
    same("an x87 store", got.ax, 4);
    prep0(
        CODE("xor %eax, %eax; mov %esp, %ebx; mov $1f + 4, %esp; push $0x40404040; mov %ebx, %esp;"
             "1: nop; nop; nop; nop"));
    run();
    same("PUSH", got.ax, 4);
    prep0(CODE("xor %eax, %eax; mov $1f + 8, %ecx; mov %esp, %ebx; lea (%ecx), %esp; pushl "
               "$0x90904040; mov %ebx, %esp;"
               "1: nop; nop; nop; nop; nop; nop; nop; nop"));
    run();
    same("PUSH, further ahead", got.ax, 2);
}

static void aliases(void)
{
    /* 4 MiB pages to themselves, and the program's own once more at 1 GiB */
    for (unsigned i = 0; i < 1024; i++)
        pd[i] = i << 22 | 0x87;
    for (unsigned i = 0; i < 8; i++)
        pd[256 + i] = i << 22 | 0x87;
    WRITE_REG("cr4", 0x10);
    WRITE_REG("cr3", addr(pd));
    WRITE_REG("cr0", READ_REG("cr0") | 0x80000000);
    uint8_t *other = code + 0x40000000;
    put(code, 0x10);
    same("run by one address", call((word)code), 0x10);
    same("run by the other", call((word)other), 0x10);
    put(other, 0x20);
    same("written by the other", call((word)code), 0x20);
    put(code, 0x30);
    same("run by the other", call((word)other), 0x30);
    /* a new page under the same address */
    static uint8_t large[8 << 20] __attribute__((aligned(4 << 20)));
    put(large, 0x41);
    put(large + (4 << 20), 0x42);
    pd[512] = addr(large) | 0x87;
    WRITE_REG("cr3", addr(pd));
    same("one page at an address", call(0x80000000), 0x41);
    pd[512] = (addr(large) + (4 << 20)) | 0x87;
    WRITE_REG("cr3", addr(pd));
    same("another page at the same address", call(0x80000000), 0x42);
    pd[512] = addr(large) | 0x87;
    __asm__ volatile("invlpg 0x80000000" : : : "memory");
    same("… and by INVLPG", call(0x80000000), 0x41);
    WRITE_REG("cr0", READ_REG("cr0") & 0x7fffffff);
}

static void modes(void)
{
    /* the same bytes as 32-bit and as 16-bit code */
    static const uint8_t bytes[] = {0xb8, 0x34, 0x12,
                                    0x40, 0x40, 0xc3}; /* 32: 0x40401234; 16: 0x1236 */
    for (unsigned i = 0; i < sizeof bytes; i++)
        code[i] = bytes[i];
    same("as 32-bit code", call((word)code), 0x40401234);
    gdt[FREE >> 3] = descriptor(addr(code), 0xffff, 0x9b, 0);
    code[5] = 0xcd;
    code[6] = 0xff;
    prep0((struct code){0, 0});
    in.cs = FREE;
    run();
    same("as 16-bit code", got.ax, 0x1236);
    code[5] = 0xc3;
    same("as 32-bit code again", call((word)code), 0x40401234);
}

/* --- another CPU's code --- */

__asm__(".globl cpu2_begin, cpu2_end\n"
        "cpu2_begin: .code16\n"
        "cli\n"
        "lgdtl %cs:1f - cpu2_begin\n"
        "movl %cr0, %eax\n"
        "andl $0x9fffffff, %eax\n"
        "orl $1, %eax\n"
        "movl %eax, %cr0\n"
        "ljmpl $8, $cpu2_main\n"
        "1: .word 767\n"
        ".long gdt\n"
        "cpu2_end: .code32\n"
        "cpu2_main: movl $0x10, %eax\n"
        "movl %eax, %ds\n"
        "movl %eax, %es\n"
        "movl %eax, %ss\n"
        "movl $cpu2_stack + 1024, %esp\n"
        "2: movl cpu2_go, %ecx\n"
        "pause\n"
        "cmpl cpu2_done, %ecx\n"
        "je 2b\n"
        "xorl %eax, %eax\n"
        "cpuid\n" /* serialise, as cross-modifying code must */
        "call *cpu2_code\n"
        "movl %eax, cpu2_eax\n"
        "movl cpu2_go, %ecx\n"
        "movl %ecx, cpu2_done\n"
        "jmp 2b\n");

extern char cpu2_begin[], cpu2_end[];
uint8_t cpu2_stack[1024];
volatile uint32_t cpu2_go, cpu2_done, cpu2_eax, cpu2_code;

static uint32_t ask(void)
{
    cpu2_go++;
    return wait_for(&cpu2_done, cpu2_go) ? cpu2_eax : 0xdead;
}

static void cross(void)
{
    volatile uint32_t *apic = (volatile uint32_t *)0xfee00000ul;
    for (unsigned i = 0; i < (word)(cpu2_end - cpu2_begin); i++)
        ((volatile uint8_t *)0x8000)[i] = (uint8_t)cpu2_begin[i];
    cpu2_code = (word)code;
    put(code, 0x1111);
    apic[0xf0 / 4] = 0x1ff;
    apic[0x310 / 4] = 1 << 24;
    apic[0x300 / 4] = 0x4500;
    for (volatile unsigned i = 0; i < 30000; i++)
        ;
    apic[0x310 / 4] = 1 << 24;
    apic[0x300 / 4] = 0x4608;
    same("another CPU runs it", ask(), 0x1111);
    put(code, 0x2222);
    same("this CPU changes it, the other runs it", ask(), 0x2222);
    unsigned good = 0;
    for (unsigned i = 0; i < 20; i++) {
        put(code, 0x3000 + i);
        good += ask() == 0x3000 + i;
    }
    same("… 20 times", good, 20);
}

void checks(void)
{
    plain();
    near();
    aliases();
    modes();
    cross();
}
