# A boot sector that loads the program behind it by the BIOS, turns on protected mode and SSE, and calls
# run(). The same image starts in ishi, QEMU and Bochs. Ends by isa-debug-exit and Bochs's own port.

        .code16
        .section .boot, "ax"
        .globl start
start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        movb    %dl, drive
read:                                   # 64 sectors at a time would cross 64 KiB: take 32
        movw    $packet, %si
        movb    $0x42, %ah
        movb    drive, %dl
        int     $0x13
        jc      stop
        addw    $(32 * 512 / 16), packet_segment
        addl    $32, packet_lba
        decw    left
        jnz     read
        cli
        inb     $0x92, %al
        orb     $2, %al
        outb    %al, $0x92
        lgdt    gdt_pointer
        movl    %cr0, %eax
        orl     $1, %eax
        movl    %eax, %cr0
        ljmp    $8, $protected
stop:
        hlt
        jmp     stop

        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x90000, %esp
        movl    %cr0, %eax
        andl    $~4, %eax               # no emulation
        orl     $2, %eax
        movl    %eax, %cr0
        movl    %cr4, %eax
        orl     $0x600, %eax            # OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        fninit
        call    run
        movw    $0x501, %dx
        xorl    %eax, %eax
        outl    %eax, %dx
        movw    $0x8900, %dx
        movl    $goodbye, %esi
        movl    $8, %ecx
        rep outsb
        hlt

        .align  8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
        .word   23
        .long   gdt
drive:  .byte   0
left:   .word   4
        .align  4
packet: .byte   16, 0
        .word   32
        .word   0
packet_segment:
        .word   0x7e0
packet_lba:
        .long   1, 0
goodbye:
        .ascii  "Shutdown"
        .org    510
        .word   0xaa55
