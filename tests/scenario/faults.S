# A boot sector that faults by page for ever, for tests of comparisons: a fetch that faults, an instruction that reads
# and writes where nothing is mapped and where nothing may be written, and a string instruction that begins a block. The
# handler sums error codes and page-directory entries, and maps the page; the program unmaps it again. Linked at 0x7c00.
.code16
.globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdt gdtr
    lidt idtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $0x08, $prot
.code32
prot:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x7000, %esp
    movl $0x00080000 + handler, 0x500 + 14 * 8
    movl $0x00008e00, 0x500 + 14 * 8 + 4
    movl $0x00000083, 0x10000   # the first 4 MiB, and nothing else
    mov $0x10000, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x10, %al               # PSE
    mov %eax, %cr4
    mov %cr0, %eax
    or $0x80010000, %eax        # PG, WP
    mov %eax, %cr0
again:
    incl counter
    call unmap
    mov $0x407000, %esi
    xor %edx, %edx
    lock xadd %edx, 8(%esi)     # the error code says W
    mov $0x807000, %esi
    add %edx, 8(%esi)           # and the accessed bit is not set
    call unmap
    jmp far_away
unmap:
    movl $0, 0x10004
    movl $0x00000081, 0x10008
    mov %cr3, %eax
    mov %eax, %cr3
    ret
handler:
    pop %ebp                    # the error code
    add %ebp, %ebx
    mov %cr2, %eax
    shr $22, %eax
    add 0x10000(, %eax, 4), %ebx
    movl $0x00000083, 0x10000(, %eax, 4)
    iret
far_away:
    mov $0x400000 + there, %eax
    jmp *%eax
there:
    mov $0x7c00, %esi
    mov $0x6000, %edi
    mov $20, %ecx
    jmp 1f
1:  rep movsl
    mov $again, %eax
    jmp *%eax
    .align 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word . - gdt - 1
    .long gdt
idtr:
    .word 0x7ff
    .long 0x500
counter:
    .long 0
    .org 510
    .word 0xaa55
