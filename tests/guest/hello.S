# The first guest: a boot sector that prints on COM1 and ends through isa-debug-exit.
#
# kind: sector
# expect: hello from the boot sector
# status: 11

        .code16
        .globl start
start:
        xorw    %ax, %ax
        movw    %ax, %ds
        cld
        movw    $message, %si
        movw    $0x3f8, %dx
next:
        lodsb
        testb   %al, %al
        jz      end
        outb    %al, %dx
        jmp     next
end:
        movw    $0x501, %dx
        movb    $5, %al                 # status 2 * 5 + 1
        outb    %al, %dx
        hlt
message:
        .asciz  "hello from the boot sector\r\n"
        .org    510
        .word   0xaa55
