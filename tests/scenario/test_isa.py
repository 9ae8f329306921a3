"""`ishi isa` and `ishi disasm`, as a person would ask them."""
import os
import pathlib
import subprocess
import time

import pytest
from conftest import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]
ISHI = os.environ.get("ISHI", str(ROOT / "build/ishi"))


def ask(*args, status=0, **more):
    done = subprocess.run([ISHI, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, **more)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_rows_by_name():
    text = ask("isa", "adc")
    assert "10 /r" in text and "reads c, writes oszapc" in text and "LOCK allowed" in text
    assert "VEX.256.66.0F38.WIG 00 /r" in ask("isa", "vpshuf*")
    assert "no row of the table" in ask("isa", "nosuch", status=2)


def test_rows_by_bytes():
    assert "vaddps ymm0, ymm1, ymm1, 4 bytes" in ask("isa", "c5 f4 58 c1")
    assert "mov ax, 0x1234" in ask("isa", "--mode", 16, "b83412")
    assert "more bytes" in ask("isa", "66", status=2)


def test_disassembly(tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes.fromhex("b83412cd100f0bff"))
    lines = ask("disasm", "--mode", 16, "--base", "0x7c00", raw).splitlines()
    assert [line.split(None, 2)[2] for line in lines] == ["mov ax, 0x1234", "int 0x10", "ud2", "(bad)"]
    assert lines[1].split()[0] == "7c03"
    assert "int 0x10" not in ask("disasm", "--mode", 16, "--offset", 5, raw)
    assert "ret" in ask("disasm", ISHI)  # an ELF file
    assert "disasm" in ask("disasm", status=2)


def test_code_that_the_jit_makes(tmp_path):
    raw = tmp_path / "raw"
    # push rax; mov rdx, [rsp+8]; add rdx, 5; mov [rsp+16], rdx; ret
    raw.write_bytes(bytes.fromhex("50" "488b542408" "4883c205" "4889542410" "c3"))
    text = ask("disasm", "--base", "0x401000", "--jit", "0x401000", raw)
    if "x86-64 hosts only" in text:
        pytest.skip("no JIT on this host")
    lines = text.splitlines()
    assert "5 instructions" in lines[0]
    at = lines.index("401006  add rdx, 0x5")
    assert lines[at + 1].split()[0].startswith("ADD_I")  # the uop, and then host code
    assert "rdx" in lines[at + 2]
    # one check for the whole stack frame, the other accesses go straight to memory
    assert sum(line.split()[1:2] in (["ja"], ["jae"]) for line in lines) == 1
    assert "16-bit" in ask("disasm", "--mode", 16, "--jit", 0, raw, status=2)


def test_counts(tmp_path):
    kernel = tmp_path / "boot"
    code = bytes.fromhex("b83412" "0fa2" "b000e6f4" "f4")  # mov, cpuid, mov, out, hlt
    kernel.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    counts = tmp_path / "counts"
    counts.mkdir()
    ask("--firmware", "none", "--ide", kernel, "--coverage", counts, "--debug-exit", "0xf4", "--serial", "null",
        status=1)
    assert "ran 1 times" in ask("isa", "--coverage", counts, "cpuid")
    assert "ran 0 times" in ask("isa", "--coverage", counts, "vpaddd")
    assert "cpuid" not in ask("isa", "--coverage", counts, "--never")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["interp", "jit"])
def test_the_hosts_processor_for_minutes(engine):
    seed = int(time.time())  # printed by the program
    done = subprocess.run([ROOT / "build/tests/witness", "--seconds", "300", "--seed", str(seed), "--engine", engine, "--warm",
                           "13" if engine == "jit" else "0"],
                          capture_output=True, text=True, timeout=900)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_the_decoder_exhaustively():
    program = ROOT / "build/tests/test_zydis"
    if not program.exists():
        pytest.skip("Zydis (libzydis-dev) is not installed")
    done = subprocess.run([program, "--full"], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout
