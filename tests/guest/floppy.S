# A 1.44M floppy that SeaBIOS starts: the screen by INT 10h, a far sector and the drive's geometry by
# INT 13h, and the line by INT 14h.
#
# kind: floppy
# expect: drive 0 is a floppy of 80 tracks
# expect: this sector is the 1466th
# expect: H attribute 07
# status: 11

        .code16
        .globl start
start:
        ljmp    $0, $1f
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        cld
        movb    %dl, drive
        movw    $0x00e3, %ax            # 9600 baud, 8 bits
        xorw    %dx, %dx
        int     $0x14

        movb    $8, %ah                 # the geometry
        movb    drive, %dl
        xorw    %di, %di
        int     $0x13
        jc      fail
        cmpw    $0x4f12, %cx            # track 79, 18 sectors
        jne     fail
        cmpb    $1, %dh
        jne     fail
        xorw    %ax, %ax
        movw    %ax, %es
        movw    $geometry, %si
        call    print

        movw    $0x0201, %ax            # one sector: track 40, head 1, sector 9
        movw    $0x2809, %cx
        movb    $1, %dh
        movb    drive, %dl
        movw    $0x8000, %bx
        int     $0x13
        jc      fail
        movw    $0x8000, %si
        call    print

        movw    $0x0201, %ax            # a track that isn't there
        movw    $0x5a01, %cx
        movb    $0, %dh
        movb    drive, %dl
        movw    $0x8200, %bx
        int     $0x13
        jnc     fail

        movw    $0x0003, %ax            # 80 by 25, cleared
        int     $0x10
        movw    $0x0e48, %ax            # H
        movw    $7, %bx
        int     $0x10
        movb    $2, %ah                 # back on it
        xorw    %bx, %bx
        xorw    %dx, %dx
        int     $0x10
        movb    $8, %ah                 # and read
        int     $0x10
        movb    %al, read
        cmpb    $7, %ah
        jne     fail
        movw    $0xb800, %ax
        movw    %ax, %es
        cmpw    $0x0748, %es:0
        jne     fail
        movw    $read, %si
        call    print
        movb    $5, %al
        jmp     end
fail:
        movb    $1, %al
end:
        movw    $0x501, %dx
        outb    %al, %dx
        hlt

print:                                  # the text at SI, by the BIOS's serial services
        lodsb
        testb   %al, %al
        jz      1f
        movb    $1, %ah
        xorw    %dx, %dx
        int     $0x14
        jmp     print
1:      ret

drive:  .byte   0
geometry:
        .asciz  "drive 0 is a floppy of 80 tracks\r\n"
read:   .asciz  "? attribute 07\r\n"
        .org    510
        .word   0xaa55
        .org    1466 * 512
        .asciz  "this sector is the 1466th\r\n"
        .org    2880 * 512 - 1
        .byte   0
