"""ishi compare: two machines in lockstep. Each way is seen to agree, and to find a difference that is put in."""
import pathlib
import re
import subprocess

import pytest
from conftest import need
from test_gdb import wait_for

FAULTS = pathlib.Path(__file__).parent / "faults.S"


@pytest.fixture
def disk(tmp_path):
    """A disk whose boot sector counts in a loop and stores what it counts."""
    code = bytes.fromhex(
        "31c0"      # xor ax, ax
        "8ed8"      # mov ds, ax
        "bb0050"    # mov bx, 0x5000
        "40"        # l: inc ax
        "01c1"      # add cx, ax
        "8907"      # mov [bx], ax
        "f7e1"      # mul cx
        "83c302"    # add bx, 2
        "80e7df"    # and bh, 0xdf
        "ebf0")     # jmp l
    path = tmp_path / "disk.img"
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(512 * 63))
    return path


def compare(piped, *args):
    done = piped("compare", "--quiet", *args)
    return done.returncode, done.stdout + done.stderr


def test_engines_agree(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "2M", disk)
    assert status == 0, text
    assert "2000000 instructions" in text and "no difference" in text


def test_split_blocks_agree(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "1M", "--split", "3", disk)
    assert status == 0, text


def test_a_changed_register_is_found(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "1M", "--inject", "123457", "--firmware", "none",
                           "--history", "3", disk)
    assert status == 1
    assert "differ after 123457 instructions" in text
    assert re.search(r"cpu0.r\[3\]\n *first +\w+\n *second +\w+", text), text
    assert len(re.findall(r"^ +12345[456]  0000:0000", text, re.M)) == 3, text


def test_a_changed_register_is_found_in_generated_code(piped, disk):
    """Late, when code is compiled and linked: the probes, each in a copy of the process, have code of their own."""
    status, text = compare(piped, "--engines", "interp,jit", "--steps", "60M", "--inject", "40123457", "--history", "3", disk)
    assert status == 1, text
    assert "differ after 40123457 instructions" in text


def test_what_is_not_right_is_said(piped, disk):
    for args, words in [((disk,), "compare with what"), (("--engines", "interp", disk), "two names"),
                        (("--engines", "interp,warp", disk), "no engine warp"), (("--every", "0", disk), "at least 1")]:
        status, text = compare(piped, *args)
        assert status == 2 and words in text, text


@pytest.fixture
def qemu():
    need("qemu-system-x86_64")


def test_qemu_agrees(piped, disk, qemu):
    """SeaBIOS from the reset vector: real and protected mode, ports handed over, CPUID."""
    status, text = compare(piped, "--with", "qemu", "--steps", "20k", disk)
    assert status == 0, text
    assert "20000 steps" in text and "no unexplained difference" in text
    for rule in ("port", "cpuid", "power-on-fpu"):
        assert re.search(rf"^  {rule} +[1-9]", text, re.M), text


def test_qemu_agrees_by_blocks(piped, disk, qemu):
    status, text = compare(piped, "--with", "qemu", "--steps", "20k", "--grain", "block", disk)
    assert status == 0, text


def test_qemu_finds_a_changed_register(piped, disk, qemu):
    status, text = compare(piped, "--with", "qemu", "--steps", "20k", "--firmware", "none", "--inject", "1000", "--history", "3", disk)
    assert status == 1, text
    assert re.search(r"rbx +ishi \w+ +QEMU \w+ +before", text), text
    assert text.count("0000:00007c") >= 3


def test_qemu_agrees_at_hand_overs(piped, disk, qemu):
    """Both run freely in between; loops that poll are ishi's alone."""
    status, text = compare(piped, "--with", "qemu", "--grain", "sync", "--steps", "200k", "--mem", "32M", disk)
    assert status == 0, text
    assert "no unexplained difference" in text
    assert re.search(r"^[1-9]\d* loops of port, device and counter", text, re.M), text


@pytest.mark.parametrize("grain", ["insn", "block", "sync"])
def test_qemu_agrees_on_page_faults(piped, tmp_path, qemu, grain):
    """faults.S: a fetch that faults, for which QEMU logs no state; the error code of one that reads and writes, which
    QEMU has wrong; REP at the beginning of a block, which QEMU shows once an iteration."""
    subprocess.run(["gcc", "-c", FAULTS, "-o", tmp_path / "o"], check=True)
    subprocess.run(["ld", "-Ttext=0x7c00", "--no-warn-rwx-segments", "-N", tmp_path / "o", "-o", tmp_path / "elf"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "elf", tmp_path / "img"], check=True)
    status, text = compare(piped, "--with", "qemu", "--grain", grain, "--firmware", "none", "--steps", "5k", "--mem", "16M", tmp_path / "img")
    assert status == 0, text
    assert "no unexplained difference" in text and re.search(r"^  write-fault +[1-9]\d", text, re.M), text


def test_qemu_agrees_from_a_place_on(piped, disk, qemu):
    status, text = compare(piped, "--with", "qemu", "--grain", "sync", "--from", "30k", "--steps", "35k", "--mem", "32M", disk)
    assert status == 0, text
    assert "no unexplained difference" in text


def test_qemu_finds_a_changed_register_at_a_hand_over(piped, disk, qemu):
    status, text = compare(piped, "--with", "qemu", "--grain", "sync", "--steps", "200k", "--mem", "32M", "--inject", "5000", disk)
    assert status == 1, text
    assert "The last hand-overs:" in text and re.search(r"ishi \w+ +QEMU \w+", text), text


def test_rules_have_reasons(piped):
    done = piped("compare", "--rules")
    assert done.returncode == 0
    assert "cpuid: cpuid" in done.stdout and "SDM 3A" in done.stdout


@pytest.mark.long
def test_qemu_agrees_on_xv6(piped, xv6, qemu):
    done = piped("compare", "--quiet", "--with", "qemu", "--steps", "300k", "--firmware", "none", "--mem", "64M",
                 "--ide", xv6 / "xv6.img", "--ide", xv6 / "fs.img", timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_qemu_agrees_on_xv6_to_its_shell(piped, xv6, qemu):
    done = piped("compare", "--with", "qemu", "--grain", "sync", "--steps", "90M", "--mem", "256M",
                 "--ide", f"{xv6 / 'xv6.img'},snapshot", "--ide", f"{xv6 / 'fs.img'},snapshot", timeout=900)
    assert done.returncode == 0, done.stdout
    assert "init: starting sh\n$ " in done.stdout.replace("\r", "") and "no unexplained difference" in done.stdout


@pytest.mark.long
def test_qemu_agrees_on_linux(piped, default_guest, qemu):
    done = piped("compare", "--quiet", "--with", "qemu", "--steps", "1M", "--mem", "256M", default_guest / "vmlinuz",
                 "--initrd", default_guest / "initrd.gz", "--append", "console=ttyS0", timeout=600)
    assert done.returncode == 0, done.stdout


def test_a_stub_agrees(piped, disk, tmp_path, ishi):
    """ishi's own gdb stub as the other machine, hidden parts of segment registers included."""
    socket = tmp_path / "stub"
    other = ishi("--clock", "virtual", "--gdb", f"unix:{socket}", "-S", "--firmware", "none", "--ide", f"{disk},snapshot", "--serial", "null")
    wait_for(socket)
    status, text = compare(piped, "--with", f"unix:{socket}", "--firmware", "none", "--steps", "2k", disk)
    other.child.close(force=True)
    assert status == 0, text
    assert "2000 steps" in text and "no unexplained difference" in text
