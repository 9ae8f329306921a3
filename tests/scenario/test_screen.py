"""Pictures of the screen: every mode of the VGA BIOS, set and drawn in by a boot sector, seen by --screenshot."""
import struct
import subprocess
import zlib

import pytest

from conftest import need

# Sets a mode, writes a word by the BIOS and draws a row of pixels at line 100: pixel x in colour x.
SECTOR = """
        .code16
        .globl start
start:  xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movw    $MODE, %ax
        int     $0x10
        movw    $word, %si
1:      lodsb
        testb   %al, %al
        jz      2f
        movb    $0x0e, %ah
        movw    $1, %bx
        int     $0x10
        jmp     1b
2:      xorw    %cx, %cx
3:      movb    %cl, %al
        movb    $0x0c, %ah
        movb    $0, %bh
        movw    $100, %dx
        int     $0x10
        incw    %cx
        cmpw    $COLOURS, %cx
        jb      3b
        movb    $0, %al
        movw    $0x501, %dx
        outb    %al, %dx
4:      hlt
        jmp     4b
word:   .asciz  "screen"
        .org    510
        .word   0xaa55
"""

EGA = [0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa,
       0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff]

MODES = [  # mode, width, height, colours of the first pixels
    (0x04, 320, 200, None),
    (0x06, 640, 200, [0x000000, 0xffffff]),
    (0x0d, 320, 200, EGA),
    (0x0e, 640, 200, EGA),
    (0x10, 640, 350, EGA),
    (0x11, 640, 480, [0x000000, 0xffffff]),
    (0x12, 640, 480, EGA),
    (0x13, 320, 200, EGA),
]


def picture(path):
    """Width, height and rows of RGB bytes of a PNG of 8 bits a channel."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2), "not 24-bit RGB"
        if kind == b"IDAT":
            packed += body
        at += 12 + length
    raw, rows, above = zlib.decompress(packed), [], bytes(3 * width)
    for y in range(height):
        line = bytearray(raw[y * (3 * width + 1):(y + 1) * (3 * width + 1)])
        how = line.pop(0)
        for i in range(len(line)):
            left, corner = (line[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            line[i] = (line[i] + guess(how, left, above[i], corner)) & 255
        above = bytes(line)
        rows.append(above)
    return width, height, rows


def guess(how, left, up, corner):
    """What a PNG's filter expects a byte to be (PNG 1.2, 6)."""
    if how < 4:
        return [0, left, up, (left + up) // 2][how]
    distance = left + up - corner
    return min((left, up, corner), key=lambda v: abs(distance - v))


def pixel(rows, x, y):
    return int.from_bytes(rows[y][3 * x:3 * x + 3], "big")


def sector(folder, mode, colours):
    need("clang", "ld.lld")
    (folder / "mode.S").write_text(SECTOR)
    subprocess.run(["clang", "--target=i386-unknown-none", "-c", f"-DMODE={mode:#x}", f"-DCOLOURS={colours}",
                    "-o", folder / "mode.o", folder / "mode.S"], check=True)
    subprocess.run(["ld.lld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "start",
                    "-o", folder / "mode.img", folder / "mode.o"], check=True)
    image = folder / "mode.img"
    image.write_bytes(image.read_bytes()[:512].ljust(1 << 20, b"\0"))
    return image


@pytest.mark.parametrize("mode,width,height,colours", MODES, ids=lambda v: f"{v:02x}" if isinstance(v, int) else "")
def test_bios_mode(piped, tmp_path, mode, width, height, colours):
    image, shot = sector(tmp_path, mode, len(colours or [0] * 4)), tmp_path / "screen.png"
    done = piped("--ide", image, "--clock", "virtual", "--debug-exit", "0x501", "--mem", "16M", "--screenshot", shot)
    assert done.returncode == 1, done.stderr
    w, h, rows = picture(shot)
    assert (w, h) == (width, height)
    if colours:
        assert [pixel(rows, x, 100) for x in range(len(colours))] == colours
    else:
        assert len({pixel(rows, x, 100) for x in range(4)}) == 4
    assert pixel(rows, 20, 100) == 0
    ink = sum(pixel(rows, x, y) != 0 for y in range(16) for x in range(6 * 8))
    assert 60 < ink < 300, "the word is not there"


def test_text_is_drawn_with_the_bios_font(piped, tmp_path):
    image, shot = sector(tmp_path, 3, 0), tmp_path / "screen.png"
    done = piped("--ide", image, "--clock", "virtual", "--debug-exit", "0x501", "--mem", "16M", "--screenshot", shot)
    assert done.returncode == 1, done.stderr
    w, h, rows = picture(shot)
    assert (w, h) == (720, 400)
    stem = ["".join("#" if pixel(rows, x, y) else "." for x in range(8)) for y in range(16)]
    assert "".join(stem).count("#") > 10 and stem[0] == "........"
