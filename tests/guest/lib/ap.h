/* Where another CPU begins: code for a start-up IPI, from ap_begin to ap_end to be copied to a page
 * below 1 MiB. It notes at 0xf00 of that page the CS, CR0, EFLAGS and EDX that it finds, takes
 * ap_stack for its stack and ap_idt for its IDT, and calls ap_main(), which does not return. For a
 * file's __asm__(), once a program. */
#ifndef GUEST_AP_H
#define GUEST_AP_H

/* clang-format off */
#define AP_START \
    ".globl ap_begin, ap_end\n" \
    "ap_begin: .code16\n" \
    "cli\n" \
    "movl %edx, %cs:0xf0c\n" \
    "pushfl\n" \
    "popl %edx\n" \
    "movl %edx, %cs:0xf08\n" \
    "movl %cr0, %eax\n" \
    "movl %eax, %cs:0xf04\n" \
    "movl %cs, %edx\n" \
    "movl %edx, %cs:0xf00\n" \
    "lgdtl %cs:ap_gdt - ap_begin\n" \
    "andl $0x9fffffff, %eax\n" \
    "orl $1, %eax\n" \
    "movl %eax, %cr0\n" \
    "ljmpl $8, $ap32\n" \
    "ap_gdt: .word 767\n" \
    ".long gdt\n" \
    "ap_end: .code32\n" \
    "ap32: movl $0x10, %eax\n" \
    "movl %eax, %ds\n" \
    "movl %eax, %es\n" \
    "movl %eax, %ss\n" \
    "movl ap_stack, %esp\n" \
    "lidt ap_idtr\n" \
    "call ap_main\n" \
    ".balign 8\n" \
    "ap_idtr: .word 2047\n" \
    ".long ap_idt\n"
/* clang-format on */

#endif
