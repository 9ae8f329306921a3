# A boot sector that goes from real mode to protected mode to long mode, calls `count` there ten times,
# and halts with interrupts on; for tests of debuggers. Linked at 0x7c00.
.code16
.globl _start, real, prot, long, count, counter, idle
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $0x5678, %bx
real:
    lgdt gdtr
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
    mov $0x12345678, %ebx
    mov $0x10000, %edi          # PML4, PDPT, PD with one page of 2 MiB
    mov %edi, %cr3
    xor %eax, %eax
    mov $0xc00, %ecx
    rep stosl
    movl $0x11003, 0x10000
    movl $0x12003, 0x11000
    movl $0x00083, 0x12000
    mov %cr4, %eax
    or $0x620, %eax             # PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ljmp $0x18, $long
.code64
long:
    movabs $0x1122334455667788, %rbx
    movq %rbx, %xmm9
    fninit
    fldpi
    mov $10, %ecx
again:
    call count
    dec %ecx
    jnz again
    mov $0x20, %al              # all interrupts masked
    mov $0xff, %al
    out %al, $0x21
    out %al, $0xa1
    sti
idle:
    hlt
    jmp idle
count:
    incl counter
    mov counter, %eax
    ret
    .align 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:
    .word . - gdt - 1
    .long gdt
counter:
    .long 0
    .org 510
    .word 0xaa55
