# The 32-bit check programs: start by PVH, the way into a piece of code and the way out of it.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18
        .asciz  "Xen"
        .long   start

        .section .start, "ax"
        .globl  start
start:
        cli
        movl    $boot_stack, %esp
        movl    %ebx, start_info
        lgdt    boot_gdt
        ljmp    $8, $1f
1:      movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        call    check_main

        .balign 8
1:      .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt:
        .word   23
        .long   1b

# Offsets in struct start and struct got.
        .equ    ax, 0
        .equ    cx, 4
        .equ    dx, 8
        .equ    bx, 12
        .equ    sp, 16
        .equ    bp, 20
        .equ    si, 24
        .equ    di, 28
        .equ    ip, 64
        .equ    cs, 68
        .equ    flags, 72
        .equ    ss, 76
        .equ    ds, 80
        .equ    es, 84
        .equ    fs, 88
        .equ    gs, 92
        .equ    vector, 96
        .equ    error, 100
        .equ    frame, 104
        .equ    now_ss, 108
        .equ    cr2, 112
        .equ    dr6, 116
        .equ    now_ds, 120
        .equ    now_es, 124
        .equ    now_fs, 128
        .equ    now_gs, 132
        .equ    raw, 136
        .equ    now_cs, 264
        .equ    now_flags, 268

        .text
        .globl  run
run:
        pushl   %ebp
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        movl    %esp, saved_sp
        testl   $0x20000, in + flags
        jnz     2f
        testl   $3, in + cs
        jnz     1f
        movw    in + ss, %ss
        movl    in + sp, %esp
        jmp     4f
1:      pushl   in + ss
        pushl   in + sp
        jmp     4f
2:      pushl   in + gs
        pushl   in + fs
        pushl   in + ds
        pushl   in + es
        pushl   in + ss
        pushl   in + sp
4:      pushl   in + flags
        pushl   in + cs
        pushl   in + ip
        movl    in + ax, %eax
        movl    in + cx, %ecx
        movl    in + dx, %edx
        movl    in + bx, %ebx
        movl    in + bp, %ebp
        movl    in + si, %esi
        movl    in + di, %edi
        testl   $0x20000, %cs:in + flags
        jnz     5f
        movw    %cs:in + gs, %gs
        movw    %cs:in + fs, %fs
        movw    %cs:in + es, %es
        movw    %cs:in + ds, %ds
5:      iretl

# One stub of 16 bytes a vector: error code (0 where there is none), vector.
        .balign 16
        .globl  stubs
stubs:
        .set    n, 0
        .rept   256
        .balign 16
        .if     !(n == 8 || (n >= 10 && n <= 14) || n == 17)
        pushl   $0
        .endif
        pushl   $n
        jmp     common
        .set    n, n + 1
        .endr

        .macro  save
        pushl   %ds
        pushl   %eax
        movl    $0x10, %eax
        movl    %eax, %ds
        popl    got + ax
        popl    got + now_ds
        movl    %ecx, got + cx
        movl    %edx, got + dx
        movl    %ebx, got + bx
        movl    %ebp, got + bp
        movl    %esi, got + si
        movl    %edi, got + di
        xorl    %ecx, %ecx
        movw    %es, %cx
        movl    %ecx, got + now_es
        movw    %fs, %cx
        movl    %ecx, got + now_fs
        movw    %gs, %cx
        movl    %ecx, got + now_gs
        movw    %cs, %cx
        movl    %ecx, got + now_cs
        movw    %ss, %cx
        movl    %ecx, got + now_ss
        movl    %esp, %esi
        larl    %ecx, %edx
        btl     $22, %edx
        jc      81f
        movzwl  %si, %esi
81:     movl    %esi, got + frame
        .endm

common:
        save
        incl    depth
        cmpl    $1, depth
        jne     nested
        movl    %cr2, %eax
        movl    %eax, got + cr2
        movl    %dr6, %eax
        movl    %eax, got + dr6
        movl    %ss:(%esi), %eax
        movl    %eax, got + vector
        movl    %ss:4(%esi), %eax
        movl    %eax, got + error
        movl    %ss:8(%esi), %eax
        movl    %eax, got + ip
        movl    %ss:12(%esi), %edx
        movl    %edx, got + cs
        movl    %ss:16(%esi), %ebx
        movl    %ebx, got + flags
        movl    %ecx, got + ss
        leal    20(%esi), %eax
        movl    %eax, got + sp
        testl   $0x20000, %ebx
        jnz     1f
        testl   $3, %edx
        jz      2f
1:      movl    %ss:20(%esi), %eax
        movl    %eax, got + sp
        movl    %ss:24(%esi), %eax
        movl    %eax, got + ss
        testl   $0x20000, %ebx
        jz      2f
        movl    %ss:28(%esi), %eax
        movl    %eax, got + es
        movl    %ss:32(%esi), %eax
        movl    %eax, got + ds
        movl    %ss:36(%esi), %eax
        movl    %eax, got + fs
        movl    %ss:40(%esi), %eax
        movl    %eax, got + gs
2:      movl    got + vector, %eax
        movl    hooks(, %eax, 4), %eax
        testl   %eax, %eax
        jnz     hook
back:
        movl    $0x10, %eax
        movl    %eax, %ss
        movl    saved_sp, %esp
        movl    %eax, %es
        xorl    %ecx, %ecx
        movl    %ecx, %fs
        movl    %ecx, %gs
        movl    %ecx, depth
        pushl   $2
        popfl
        popl    %edi
        popl    %esi
        popl    %ebx
        popl    %ebp
        ret

hook:
        movl    $0x10, %ecx
        movl    %ecx, %es
        cld
        call    *%eax
        testb   %al, %al
        jz      back
        movl    $0, depth
        movl    got + frame, %esp
        addl    $8, %esp
        movl    got + cx, %ecx
        movl    got + dx, %edx
        movl    got + bx, %ebx
        movl    got + bp, %ebp
        movl    got + si, %esi
        movl    got + di, %edi
        movw    got + now_es, %es
        movl    got + ax, %eax
        movw    got + now_ds, %ds
        iretl

# For gates of another shape: what lies at SS:SP goes to got.raw, as far as the stack reaches.
        .globl  raw_entry
raw_entry:
        pushfl
        save
        popl    got + now_flags
        addl    $4, got + frame
        movl    $0x100, got + vector
        lsll    %ecx, %edx
        movl    got + frame, %esi
        xorl    %edi, %edi
1:      leal    3(%esi), %eax
        cmpl    %edx, %eax
        ja      2f
        movl    %ss:(%esi), %eax
        movl    %eax, got + raw(, %edi, 4)
        addl    $4, %esi
        incl    %edi
        cmpl    $32, %edi
        jb      1b
2:      ljmp    $8, $back

        .bss
        .balign 16
        .skip   16384
boot_stack:
depth:  .long   0
saved_sp:
        .long   0
