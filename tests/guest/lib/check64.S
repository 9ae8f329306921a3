# The 64-bit check programs: start by PVH, into 64-bit mode with the low 4 GiB mapped to themselves
# for every level; the way into a piece of code and the way out of it.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18
        .asciz  "Xen"
        .long   start

        .section .start, "ax"
        .code32
        .globl  start
start:
        cli
        movl    $boot_stack, %esp
        movl    %ebx, start_info
        xorl    %ecx, %ecx              # 2048 pages of 2 MiB
        movl    $0x87, %eax
1:      movl    %eax, boot_pd(, %ecx, 8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $2048, %ecx
        jb      1b
        movl    %cr4, %eax
        orl     $0x20, %eax
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax
        movl    %eax, %cr0
        lgdt    boot_gdt
        ljmp    $8, $1f
        .code64
1:      movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movl    $boot_stack, %esp
        call    check_main

        .balign 8
1:      .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt:
        .word   23
        .quad   1b

        .data
        .balign 4096
        .globl  boot_pml4, boot_pdpt, boot_pd
boot_pml4:
        .quad   boot_pdpt + 7
        .skip   4088
boot_pdpt:
        .quad   boot_pd + 7, boot_pd + 0x1007, boot_pd + 0x2007, boot_pd + 0x3007
        .skip   4064
        .bss
        .balign 4096
boot_pd:
        .skip   4 * 4096

# Offsets in struct start and struct got: 16 registers in the order of their numbers …
        .equ    ip, 128
        .equ    cs, 136
        .equ    flags, 144
        .equ    ss, 152
        .equ    ds, 160
        .equ    es, 168
        .equ    fs, 176
        .equ    gs, 184
        .equ    vector, 192
        .equ    error, 200
        .equ    frame, 208
        .equ    now_ss, 216
        .equ    cr2, 224
        .equ    dr6, 232
        .equ    now_ds, 240
        .equ    now_es, 248
        .equ    now_fs, 256
        .equ    now_gs, 264
        .equ    raw, 272
        .equ    now_cs, 400
        .equ    now_flags, 408

        .macro  each op                 # all but RSP
        \op     rax, 0
        \op     rcx, 8
        \op     rdx, 16
        \op     rbx, 24
        \op     rbp, 40
        \op     rsi, 48
        \op     rdi, 56
        \op     r8, 64
        \op     r9, 72
        \op     r10, 80
        \op     r11, 88
        \op     r12, 96
        \op     r13, 104
        \op     r14, 112
        \op     r15, 120
        .endm
        .macro  load_in reg, at
        movq    in + \at, %\reg
        .endm
        .macro  load_got reg, at
        movq    got + \at, %\reg
        .endm
        .macro  save_got reg, at
        movq    %\reg, got + \at
        .endm

        .text
        .globl  run
run:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, saved_sp
        pushq   in + ss
        pushq   in + 32
        pushq   in + flags
        pushq   in + cs
        pushq   in + ip
        movw    in + es, %es
        movw    in + ds, %ds
        each    load_in
        iretq

        .balign 16
        .globl  stubs
stubs:
        .set    n, 0
        .rept   256
        .balign 16
        .if     !(n == 8 || (n >= 10 && n <= 14) || n == 17)
        pushq   $0
        .endif
        pushq   $n
        jmp     common
        .set    n, n + 1
        .endr

common:
        each    save_got
        incl    depth
        cmpl    $1, depth
        jne     nested
        movq    %rsp, got + frame
        popq    got + vector
        popq    got + error
        popq    got + ip
        popq    got + cs
        popq    got + flags
        popq    got + 32
        popq    got + ss
        movq    %cr2, %rax
        movq    %rax, got + cr2
        movq    %dr6, %rax
        movq    %rax, got + dr6
        movl    %ds, %eax
        movq    %rax, got + now_ds
        movq    %rax, got + ds
        movl    %es, %eax
        movq    %rax, got + now_es
        movq    %rax, got + es
        movl    %fs, %eax
        movq    %rax, got + now_fs
        movl    %gs, %eax
        movq    %rax, got + now_gs
        movl    %cs, %eax
        movq    %rax, got + now_cs
        movl    %ss, %eax
        movq    %rax, got + now_ss
        movq    got + frame, %rsp
        movq    got + vector, %rax
        movq    hooks(, %rax, 8), %rax
        testq   %rax, %rax
        jnz     hook
back:
        movl    $0x10, %eax
        movl    %eax, %ss
        movq    saved_sp, %rsp
        movl    %eax, %ds
        movl    %eax, %es
        movl    $0, depth
        pushq   $2
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret

hook:
        cld
        andq    $-16, %rsp
        call    *%rax
        testb   %al, %al
        jz      back
        movl    $0, depth
        movq    got + frame, %rsp
        addq    $16, %rsp
        movw    got + now_ds, %ds
        movw    got + now_es, %es
        each    load_got
        iretq

        .globl  raw_entry
raw_entry:
        each    save_got
        movq    %rsp, got + frame
        movq    %rsp, %rsi
        movl    $got + raw, %edi
        movl    $32, %ecx
        cld
        rep movsl
        movl    %cs, %eax
        movq    %rax, got + now_cs
        movl    %ss, %eax
        movq    %rax, got + now_ss
        pushfq
        popq    got + now_flags
        movq    $0x100, got + vector
        jmp     back

        .bss
        .balign 16
        .skip   16384
boot_stack:
depth:  .long   0
        .balign 8
saved_sp:
        .quad   0
