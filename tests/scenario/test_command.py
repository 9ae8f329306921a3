"""The command by itself: how it ends, where its serial lines lead, its keys, its monitor, its pictures."""
import os
import re
import select
import socket
import subprocess
import time

import pytest
from conftest import PATIENCE, Machine, need
from test_screen import picture

PROMPT = r"\(ishi\) $"

START = """
        .code16
        .globl start
start:  ljmp $0, $1f
1:      xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp
        cld
"""

# Sends SI's text on COM1.
PRINT = """
print:  lodsb
        testb %al, %al
        jz 2f
        movb %al, %ah
        movw $0x3fd, %dx
1:      inb %dx, %al
        testb $0x20, %al
        jz 1b
        movb %ah, %al
        movw $0x3f8, %dx
        outb %al, %dx
        jmp print
2:      ret
"""

# Waits for a character on COM1, in AL; AH has the line status.
READ = """
read:   movw $0x3fd, %dx
1:      inb %dx, %al
        testb $1, %al
        jz 1b
        movb %al, %ah
        movw $0x3f8, %dx
        inb %dx, %al
        ret
"""

# Gives back what it reads, in capitals and on its own line; ends at the end of a transmission (^D).
ECHO = f"""
        movw $ready, %si
        call print
next:   call read
        cmpb $4, %al
        je end
        testb $0x10, %ah
        jz 1f
        movw $broken, %si
        call print
        jmp next
1:      cmpb $'a', %al
        jb 1f
        cmpb $'z', %al
        ja 1f
        subb $32, %al
1:      movb %al, letter
        movw $letter, %si
        call print
        jmp next
end:    movw $0x501, %dx
        movb $20, %al
        outb %al, %dx
        hlt
{PRINT}{READ}
letter: .byte 0, 0
ready:  .asciz "ready\\r\\n"
broken: .asciz "<break>"
"""
ECHO_STATUS = 41

NO_FIRMWARE = ["--firmware", "none", "--mem", "2M"]


@pytest.fixture
def sector(tmp_path):
    """Makes a boot sector of 16-bit code."""
    need("clang", "ld.lld")

    def make(code, size=512):
        source, image = tmp_path / "sector.S", tmp_path / "sector.img"
        source.write_text(f"{START}{code}\n.org 510\n.word 0xaa55\n.org {size}\n")
        subprocess.run(["clang", "--target=i386-unknown-none", "-c", "-o", tmp_path / "sector.o", source], check=True)
        subprocess.run(["ld.lld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "start",
                        "-o", image, tmp_path / "sector.o"], check=True)
        return image

    return make


EXIT = "movb $0, %al\n movw $0x501, %dx\n outb %al, %dx\n hlt\n"
# PM1 control: sleep type 0, as the DSDT's S5 has it, and sleep enable.
POWER_OFF = "movw $0x604, %dx\n movw $0x2000, %ax\n outw %ax, %dx\n hlt"


def test_power_off_is_status_0(piped, sector):
    assert piped(*NO_FIRMWARE, sector(POWER_OFF)).returncode == 0


@pytest.mark.parametrize("code", [
    "movb $0xfe, %al\n outb %al, $0x64\n hlt",
    "movw $0xcf9, %dx\n movb $6, %al\n outb %al, %dx",
], ids=["keyboard controller", "port 0xcf9"])
def test_no_reboot_is_status_8(piped, sector, code):
    assert piped(*NO_FIRMWARE, "--no-reboot", sector(code)).returncode == 8


@pytest.mark.parametrize("value,status", [(0, 1), (1, 3), (49, 99)])
def test_debug_exit_is_twice_and_one(piped, sector, value, status):
    code = sector(f"movw $0x701, %dx\n movb ${value}, %al\n outb %al, %dx\n hlt")
    assert piped(*NO_FIRMWARE, "--debug-exit", "0x701", code).returncode == status


def test_triple_fault_is_status_4_and_told(piped, sector):
    done = piped(*NO_FIRMWARE, sector("lidt none\n int3\n hlt\nnone: .word 0\n .long 0"))
    assert done.returncode == 4
    told = done.stderr
    assert "vector 0x3 is beyond" in told and "#DF" in told and "shut down" in told, told
    assert "error code" not in told, "real mode has none"
    assert re.search(r"\bint3\b", told) and "rip" in told, told


def test_triple_fault_by_a_bad_stack(piped, sector):
    """Protected mode, no IDT entry present: #GP, then #DF, then the end."""
    done = piped(*NO_FIRMWARE, sector("""
        cli
        lgdt gdtr
        lidt idtr
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmp $8, $1f
        .code32
1:      movw $0x1234, %ax
        movw %ax, %ds
        hlt
        .balign 8
gdt:    .quad 0, 0x00cf9a000000ffff
gdtr:   .word 15
        .long gdt
idtr:   .word 0x7ff
        .long 0x8000
"""))
    assert done.returncode == 4
    assert "#GP" in done.stderr and "1234" in done.stderr and "#DF" in done.stderr, done.stderr


def test_piped_input_reaches_the_guest(piped, sector):
    done = piped(*NO_FIRMWARE, sector(ECHO), text="through a pipe\n" * 200 + "\4")
    assert done.returncode == ECHO_STATUS
    assert done.stdout == "ready\n" + "THROUGH A PIPE\n" * 200
    assert done.stderr == ""


def test_closed_input_does_not_end_the_guest(piped, sector):
    done = piped(*NO_FIRMWARE, "--clock", "virtual", "--stop-after", "1000000", sector(ECHO))
    assert done.stdout == "ready\n" and "1000000 instructions" in done.stderr


def test_serial_to_a_file(piped, sector, tmp_path):
    out = tmp_path / "out"
    code = sector(f"movw $text, %si\n call print\n {EXIT}{PRINT}text: .asciz \"on file\"")
    done = piped(*NO_FIRMWARE, "--serial", f"file:{out}", code)
    assert done.returncode == 1 and done.stdout == "" and out.read_text() == "on file"


def test_serial_to_a_file_that_cannot_be(piped, sector):
    done = piped(*NO_FIRMWARE, "--serial", "file:/no/such/folder/x", sector("hlt"))
    assert done.returncode == 2 and "/no/such/folder/x" in done.stderr


def test_serial_on_a_pty(ishi, sector):
    m = ishi(*NO_FIRMWARE, "--serial", "pty", sector(ECHO))
    name = m.expect(r"serial line on (/dev/pts/\d+)\s")[1]
    fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
    try:
        def receive():
            assert select.select([fd], [], [], PATIENCE)[0], "nothing comes"
            return os.read(fd, 100)

        talk(receive, lambda data: os.write(fd, data))
    finally:
        os.close(fd)
    assert m.status() == ECHO_STATUS


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_serial_on_a_socket(ishi, sector, tmp_path, kind, server):
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    address = ("127.0.0.1", 0) if kind == "tcp" else str(tmp_path / "line")
    with socket.socket(family) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(address)
        listener.listen()
        address = listener.getsockname()
        where = f"tcp:127.0.0.1:{address[1]}" if kind == "tcp" else f"unix:{address}"
        if server:
            listener.close()
            if kind == "unix":
                os.unlink(address)
            m = ishi(*NO_FIRMWARE, "--serial", where + ",server", sector(ECHO))
            m.expect("waits at")
            line = socket.socket(family)
            line.connect(address)
        else:
            m = ishi(*NO_FIRMWARE, "--serial", where, sector(ECHO))
            line = listener.accept()[0]
        with line:
            line.settimeout(PATIENCE)
            talk(lambda: line.recv(100), line.sendall)
        assert m.status() == ECHO_STATUS


def talk(receive, send):
    """With ECHO, whose greeting may have gone before somebody listened."""
    send(b"hello?")
    got = b""
    while b"HELLO?" not in got:
        got += receive()
    send(b"\4")


def test_two_serial_lines(piped, sector, tmp_path):
    out = tmp_path / "com2"
    code = sector("movw $0x2f8, %dx\n movb $'x', %al\n outb %al, %dx\n movw $text, %si\n call print\n"
                  f"{EXIT}{PRINT}text: .asciz \"first\"")
    done = piped(*NO_FIRMWARE, "--serial", "stdio", "--serial", f"file:{out}", code)
    assert done.stdout == "first" and out.read_text() == "x"


def test_keys(ishi, sector):
    m = ishi(*NO_FIRMWARE, sector(ECHO))
    m.expect("ready")
    m.send("\x01h")
    m.expect("Ctrl-A x  quit")
    m.expect("Ctrl-A a  send Ctrl-A")
    m.send("\x01b")
    m.expect("<break>")
    m.send("\x01a!")
    m.expect("\x01!")
    m.send("\x01r")
    m.expect("ready")
    m.send("abc")
    m.expect("ABC")
    assert m.quit() == 0


def test_monitor_and_back(ishi, sector):
    m = ishi(*NO_FIRMWARE, sector(ECHO))
    m.expect("ready")
    m.send("\x01c")
    m.expect(PROMPT)
    assert "read " not in m.run("nonsense", PROMPT)
    assert "no command" in m.child.before
    m.send("\x01c")
    m.send("guest")
    m.expect("GUEST")
    m.send("\x01c")
    m.expect(PROMPT)
    m.line("quit")
    assert m.status() == 0


def test_nmi_and_its_mask(ishi, sector):
    m = ishi(*NO_FIRMWARE, sector(f"""
        movw $handler, 8
        movw $0, 10
        movb $0x80, %al
        outb %al, $0x70
        movw $masked, %si
        call print
        call read
        movb $0, %al
        outb %al, $0x70
        movw $open, %si
        call print
1:      hlt
        jmp 1b
handler: {EXIT}{PRINT}{READ}
masked: .asciz "masked"
open:   .asciz "open"
"""))
    m.expect("masked")
    m.send("\x01c")
    m.expect(PROMPT)
    assert "masks the NMI" in m.run("nmi", PROMPT)
    m.send("\x01cx")
    m.expect("open")
    m.send("\x01c")
    m.expect(PROMPT)
    m.line("nmi")
    m.send("\x01c")
    assert m.status() == 1


def test_x87_error_by_interrupt_13(piped, sector):
    """As PC programs had it: CR0.NE is clear, FERR# leads to the interrupt controller."""
    done = piped(*NO_FIRMWARE, sector(f"""
        movw $handler, 0x75 * 4
        movw $0, 0x75 * 4 + 2
        .irp pair, 0x1120, 0x0821, 0x0421, 0x0121, 0xfb21, 0x11a0, 0x70a1, 0x02a1, 0x01a1, 0xdfa1
        movw $\\pair, %ax
        xorw %dx, %dx
        movb %al, %dl
        movb %ah, %al
        outb %al, %dx
        .endr
        sti
        fninit
        fldcw control
        fld1
        fldz
        fdivrp
        fwait
        fwait
        movw $text, %si
        call print
        {EXIT}
handler: incb count
        outb %al, $0xf0
        fnstsw status
        fnclex
        movb $0x20, %al
        outb %al, $0xa0
        outb %al, $0x20
        iretw
control: .word 0x37b
status: .word 0
text:   .ascii "interrupts: "
count:  .asciz "0"
{PRINT}"""))
    assert done.returncode == 1 and done.stdout == "interrupts: 1", done


def test_screenshot_of_a_high_resolution(piped, sector, tmp_path):
    """Mode 118h by VBE, 1024x768 in 24 or 32 bits, and a ramp written through the window at A0000h."""
    png = tmp_path / "screen.png"
    floppy = sector("""
        movw $0x4f02, %ax
        movw $0x118, %bx
        int $0x10
        movw $0xa000, %ax
        movw %ax, %es
        movw $900, %cx
        xorw %di, %di
1:      movw %di, %ax
        stosb
        loop 1b
        movw $0x501, %dx
        outb %al, %dx
        hlt""", 1474560)
    done = piped("--mem", "16M", "--serial", "null", "--screenshot", png, floppy)
    assert done.returncode % 2 == 1, done.stderr
    width, height, rows = picture(png)
    assert (width, height) == (1024, 768)
    assert len({rows[0][x:x + 3] for x in range(0, 3 * width, 3)}) > 200


def test_screenshot_key(ishi, sector, tmp_path):
    png = tmp_path / "screen.png"
    m = ishi(*NO_FIRMWARE, "--screenshot", png, sector(ECHO))
    m.expect("ready")
    m.send("\x01s")
    m.expect("screen written to")
    assert picture(png)[:2] == (720, 400)
    assert m.quit() == 0


def test_screenshot_that_cannot_be_written(piped, sector):
    done = piped(*NO_FIRMWARE, "--screenshot", "/no/such/folder/x.png", sector(POWER_OFF))
    assert done.returncode == 6 and "/no/such/folder/x.png" in done.stderr


@pytest.fixture(scope="module")
def linux(default_guest):
    """One Linux at its shell with the monitor's prompt open, for all that look at it."""
    m = Machine("--mem", "128M", default_guest / "vmlinuz", "--initrd", default_guest / "initrd.gz", "--append",
                "console=ttyS0 quiet")
    m.expect(r"ishi:\S+# ")
    m.send("\x01c")
    m.expect(PROMPT)
    while "CPL 0, halted" not in m.run("info registers", PROMPT):  # the shell may not sleep yet
        m.send("\x01c")
        time.sleep(0.1)
        m.send("\x01c")
        m.expect(PROMPT)
    yield m
    m.line("quit")
    assert m.status() == 0


@pytest.mark.parametrize("topic,want", [
    ("registers", r"64-bit mode.*\nrip [0-9a-f]{16} .*cr0 8005003[13]"),
    ("fpu", r"fcw 037f.*st7.*mm15"),
    ("gdt", r"0010 .*64-bit.*busy 64-bit TSS"),
    ("idt", r"0e  64-bit interrupt gate to 0010:ffffffff[0-9a-f]{8} DPL 0.*80  64-bit interrupt gate .* DPL 3"),
    ("tss", r"rsp0 f{5}.*ist1 f{5}"),
    ("pagetable", r"4 levels.*ffffffff[0-9a-f]{8} to ffffffff[0-9a-f]{8} .* rx"),
    ("lapic", r"boot CPU, on by software.*timer +vector ec"),
    ("pci", r"8086:1237.*8086:7010.*1234:1111"),
    ("irq", r"8259 master.*pin 4 +vector"),
    ("devices", r"0x3f8 to 0x3ff +com1.*0xfec00000.*cpu0"),
    ("com1", r"(?m)^  \S+ +(0x)?[0-9a-f]+$"),
])
def test_monitor_shows_a_running_linux(linux, topic, want):
    assert re.search(want, linux.run(f"info {topic}", PROMPT), re.S), linux.child.before


def test_monitor_shows_the_task_state_segment_at_its_64_bit_address(linux):
    base = re.search(r"tr +0040 base ([0-9a-f]{16})", linux.run("info tss", PROMPT))[1]
    assert f"0040  base {base} " in linux.run("info gdt", PROMPT), linux.child.before


def test_monitor_reads_memory_and_code(linux):
    assert re.match(r"ffffffff[0-9a-f]{8}  ([0-9a-f]{2} ){16}", linux.run("x $rip 16", PROMPT))
    assert len(linux.run("disasm $rip 5", PROMPT).splitlines()) == 5
    assert "no memory here" in linux.run("x 0xdead000000000000", PROMPT)
    assert "no memory here" in linux.run("xp 0x7fffffffffff0000", PROMPT)
