# The start of a PVH kernel: the note with the 32-bit physical entry, XEN_ELFNOTE_PHYS32_ENTRY.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18
        .asciz  "Xen"
        .long   start
        .section .start, "ax"
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
