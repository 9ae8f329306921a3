# The start of a multiboot 1 kernel, an ELF file that wants page alignment and the memory's size.
        .equ    flags, 0x3
        .section .start, "ax"
        .balign 4
        .long   0x1badb002, flags, -(0x1badb002 + flags)
        .globl  start
start:
        movl    $stack, %esp
        pushl   %ebx
        pushl   %eax
        call    guest_main
        .bss
        .balign 16
        .skip   16384
stack:
