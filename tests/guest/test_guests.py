"""Runs every guest program of this folder and compares what it prints and how it ends with its head.

A head is comment lines:
    kind: sector | floppy | multiboot | pvh     how it starts; a floppy by SeaBIOS
    args: …                      more arguments of ishi (optional, several allowed)
    expect: TEXT                 a line it prints on COM1 (several: in this order)
    status: N                    ishi's exit status
    engines: interp, …           only these (optional)
"""
import pathlib
import re
import shlex
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "build" / "guest"
ENGINES = ["interp"]


def head(path):
    found = {"expect": [], "args": [], "kind": [], "status": ["0"], "engines": []}
    for line in path.read_text().splitlines():
        m = re.match(r"[#/ *]*\s*(kind|args|expect|status|engines): ?(.*)$", line)
        if m:
            if m[1] == "status":
                found["status"] = [m[2]]
            else:
                found[m[1]].append(m[2])
    return found


PROGRAMS = sorted(p for p in [*HERE.glob("*.S"), *HERE.glob("*.c")] if head(p)["kind"])


@pytest.fixture(scope="session", autouse=True)
def programs():
    subprocess.run(["make", "-s", "-j2", "-C", HERE, f"OUT={OUT}"], check=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_guest(program, engine):
    h = head(program)
    if h["engines"] and engine not in " ".join(h["engines"]):
        pytest.skip(f"{program.stem} is not for {engine}")
    image = OUT / (program.stem + (".bin" if h["kind"][0] in ("sector", "floppy") else ".elf"))
    args = [ROOT / "build/ishi", "--engine", engine, "--clock", "virtual", "--stop-after", "2000000000"]
    if h["kind"][0] == "sector":
        args += ["--firmware", "none"]
    for more in h["args"]:
        args += shlex.split(more)
    done = subprocess.run([*args, image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=120, cwd=ROOT)
    lines = done.stdout.replace("\r", "").splitlines()
    at = 0
    for want in h["expect"]:
        assert want in lines[at:], f"no line {want!r} in:\n{done.stdout}"
        at = lines.index(want, at) + 1
    assert done.returncode == int(h["status"][0]), done.stdout
