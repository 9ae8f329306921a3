"""Bad input: one clear line that says what, where and what to do; a status that is not 0; no hang."""
import os
import re
import resource
import subprocess

import pytest
from conftest import ISHI, PATIENCE, ROOT, need

CASES = [
    (["--mem", "0", "x"], "--mem 0: at least 1M"),
    (["--mem", "99999999G", "x"], "more than the 256G"),
    (["--mem", "12X", "x"], "give a size, as 512M or 2G"),
    (["--cpus", "0", "x"], "give a number from 1 to 32"),
    (["--cpus", "33", "x"], "give a number from 1 to 32"),
    (["--cpu", "z80", "x"], "no CPU model"),
    (["--nonsense"], "no option --nonsense"),
    (["--mem"], "--mem needs SIZE"),
    (["/no/such/file"], "No such file"),
    (["--ide", "/no/such/disk"], "No such file"),
    (["/etc"], "is not a file"),
    ([], "nothing to boot"),
    (["--serial", "carrier-pigeon", "x"], "not a place for a serial line"),
    (["--engine", "warp", "x"], "--engine warp"),
    (["--sched", "round-robin", "x"], "give turns or parallel"),
    (["--sched", "parallel", "--clock", "virtual", "x"], "runs by the host's clock"),
    (["--sched", "parallel", "--stop-after", "9", "x"], "--stop-after counts the instructions of all CPUs"),
    (["--rom", "/etc/passwd"], "no option ROM"),
    (["--firmware", "/etc/passwd", "x"], "the BIOS has"),
    (["--log", "all:/no/such/folder/x", "x"], "can't be written"),
]


@pytest.mark.parametrize("args,want", CASES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_command_line(piped, tmp_path, args, want):
    sector = tmp_path / "x"
    sector.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    done = piped(*[str(sector) if a == "x" else a for a in args])
    assert want in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("data,want", [
    (b"", "empty"),
    (bytes(4096), "boot"),
    (b"\x7fELF" + bytes(60), "ELF"),
    (b"\x1f\x8b\x08" + bytes(600), "gzip"),
    (b"QFI\xfb" + bytes(600), "qcow2"),
    (b"just some words\n" * 50, "text"),
], ids=["empty", "zeros", "elf", "gzip", "qcow2", "text"])
def test_bad_image(piped, tmp_path, data, want):
    image = tmp_path / "image"
    image.write_bytes(data)
    done = piped(image)
    assert want.lower() in done.stderr.lower()
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("more", [[], ["--firmware", "none"]], ids=["seabios", "none"])
def test_drives_that_do_not_boot(piped, tmp_path, more):
    a, b = tmp_path / "a.img", tmp_path / "b.img"
    a.write_bytes(bytes(1 << 20))
    b.write_bytes(b"data" * 1024)
    done = piped("--ide", a, "--ide", b, *more)
    assert "a.img" in done.stderr and "no drive boots" in done.stderr or more
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


def test_second_drive_boots(piped, tmp_path):
    """It is for the BIOS to choose."""
    a, b = tmp_path / "a.img", tmp_path / "b.img"
    a.write_bytes(bytes(1 << 20))
    b.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    done = piped("--ide", a, "--ide", b, "--clock", "virtual", "--stop-after", "1000000")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["", ",snapshot", ",readonly"])
@pytest.mark.parametrize("option", [[], ["--ide"], ["--disk"]], ids=["image", "ide", "disk"])
def test_what_a_guest_writes(piped, tmp_path, option, mode):
    """A boot sector that writes itself to the second sector, and leaves the BIOS's answer as status."""
    boot = bytes.fromhex("b80103 b90200 ba8000 bb007c cd13 88e0 ba0105 ee f4").ljust(510, b"\0") + b"\x55\xaa"
    disk = tmp_path / "disk.img"
    disk.write_bytes(boot + bytes(4 << 20))
    done = piped("--mem", "16M", *option, f"{disk}{mode}")
    assert (done.returncode == 1) == (mode != ",readonly"), done.stderr
    assert (disk.read_bytes()[512:1024] == boot) == (mode == "")


def test_disk_that_cannot_be_written(piped, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(510) + b"\x55\xaa")
    image.chmod(0o444)
    done = piped("--ide", image)
    assert "can't be written" in done.stderr and ",snapshot" in done.stderr
    assert done.returncode == 2


def truncated_kernels(folder):
    data = (folder / "vmlinuz").read_bytes()
    return [data[:n] for n in (1000, 20000, len(data) // 2, len(data) - 20000)]


def test_truncated_kernel(piped, default_guest, tmp_path):
    image = tmp_path / "vmlinuz"
    for data in truncated_kernels(default_guest):
        image.write_bytes(data)
        done = piped(image)
        assert re.search("truncated|no bzImage", done.stderr), (len(data), done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1 and done.returncode == 2


@pytest.mark.parametrize("mem,want", [("16M", "needs memory up to"), ("96M", "there is room for")])
def test_initrd_larger_than_memory(piped, default_guest, tmp_path, mem, want):
    initrd = tmp_path / "initrd"
    with open(initrd, "wb") as f:
        f.truncate(100 << 20)
    done = piped(default_guest / "vmlinuz", "--initrd", initrd, "--mem", mem)
    assert want in done.stderr and "--mem" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.returncode == 2


# Writes the second disk's sector 4096 by the BIOS; ends with the BIOS's error code.
WRITER = """
        .code16
        .globl start
start:  xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movw    $packet, %si
        movw    $0x4300, %ax
        movb    $0x80, %dl
        int     $0x13
        movb    %ah, %al
        movw    $0x501, %dx
        outb    %al, %dx
        hlt
        .balign 4
packet: .byte   16, 0, 1, 0
        .word   0x7c00, 0
        .quad   4096
        .org    510
        .word   0xaa55
"""


def test_full_host_disk(tmp_path):
    """A write that the host refuses is an error of the guest's disk, and said once."""
    need("clang", "ld.lld")
    (tmp_path / "w.S").write_text(WRITER)
    subprocess.run(["clang", "--target=i386-unknown-none", "-c", "-o", tmp_path / "w.o", tmp_path / "w.S"], check=True)
    subprocess.run(["ld.lld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "start",
                    "-o", tmp_path / "floppy.img", tmp_path / "w.o"], check=True)
    floppy, disk = tmp_path / "floppy.img", tmp_path / "disk.img"
    floppy.write_bytes(floppy.read_bytes().ljust(1474560, b"\0"))
    with open(disk, "wb") as f:
        f.truncate(4 << 20)
    ends = []
    for limit in (1 << 20, resource.RLIM_INFINITY):
        done = subprocess.run([str(ISHI), "--mem", "16M", "--ide", disk, floppy], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        ends.append((done.returncode, done.stderr))
    assert ends[1] == (1, ""), ends
    code, told = ends[0]
    assert code > 1 and code % 2 == 1, ends
    assert "disk.img" in told and "too large" in told.lower() and len(told.strip().splitlines()) == 1, ends


def test_disk_in_use(ishi, piped, tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(b"\xeb\xfe" + bytes(508) + b"\x55\xaa")
    first = ishi("--firmware", "none", "--ide", image)
    first.expect("engine ")
    done = piped("--firmware", "none", "--ide", image)
    assert "in use" in done.stderr and done.returncode == 2
    assert first.quit() == 0


def test_help_lists_every_option_of_the_manual(piped):
    text, manual = piped("--help").stdout, piped("--man").stdout
    options = set(re.findall(r"\\fB\\-\\-([a-z\\-]+)\\fR", manual))
    assert len(options) > 15
    for o in options:
        assert "--" + o.replace("\\", "") in text


def test_help_lists_every_cpu_model(piped, tmp_path):
    sector = tmp_path / "x"
    sector.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    refusal = piped("--cpu", "z80", sector).stderr
    listed = re.search(r"CPU models:\n((?:  \S.*\n)+)", piped("--help").stdout)[1]
    assert [line.split()[0] for line in listed.splitlines()] == refusal.partition("there are ")[2].strip().split(", ")


def test_manual_page_is_current(piped):
    assert (ROOT / "docs" / "ishi.1").read_text() == piped("--man").stdout, "renew it: build/ishi --man >docs/ishi.1"
