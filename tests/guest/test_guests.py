"""Runs every guest program of this folder on every engine and compares what it prints and how it ends
with its head; the check programs also under QEMU, where that is installed, as a check on themselves.

A head is comment lines:
    kind: sector | floppy | multiboot | pvh     how it starts; a floppy by SeaBIOS
    kind: check32 | check64      a program of checks (lib/check.h): all must be ok
    args: …                      more arguments of ishi (optional, several allowed)
    qemu: …                      more arguments of QEMU, or "no" (optional); also makes a program of another kind,
                                 which prints as those do, one of checks
    expect: TEXT                 a line it prints on COM1 (several: in this order)
    status: N                    ishi's exit status
    engines: interp, …           only these (optional)

A check program's line "FAIL … [qemu: SECTION]" is a check that QEMU is known to fail, and why it is wrong;
"FAIL … [kvm: WHY]" is one that no guest of Linux's KVM passes where the processor virtualises.
"""
import functools
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess

import pytest
from telling import PATIENCE

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "build" / "guest"
ISHI = ROOT / "build" / "ishi"
QEMU = shutil.which("qemu-system-x86_64")
KEYS = "kind|args|expect|status|engines|qemu"


def engines():
    """The engines that this ishi has, "auto" aside; it names them when asked for one that it hasn't.
    GUEST_ENGINES="a b" chooses."""
    if chosen := os.environ.get("GUEST_ENGINES"):
        return chosen.split()
    asked = subprocess.run([ISHI, "--engine", "?"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.findall(r"\b(?!auto)\w+", asked.stdout.rpartition("there are")[2])
    usable = {"kvm": os.access("/dev/kvm", os.W_OK)}
    return [e for e in dict.fromkeys(found) if usable.get(e, True)] or ["interp"]


def head(path):
    found = {key: [] for key in KEYS.split("|")}
    for line in path.read_text().splitlines():
        if m := re.match(rf"[#/ *]*\s*({KEYS}): ?(.*)$", line):
            found[m[1]].append(m[2])
    return found


PROGRAMS = sorted(p for p in [*HERE.glob("*.S"), *HERE.glob("*.c")] if head(p)["kind"])
CHECKS = [p for p in PROGRAMS if head(p)["kind"][0].startswith("check") or head(p)["qemu"]]


@pytest.fixture(scope="session", autouse=True)
def programs():
    subprocess.run(["make", "-s", "-j2", "-C", HERE, f"OUT={OUT}"], check=True)


def run(args, timeout=PATIENCE):  # a BIOS takes a minute on KVM where the host's kernel emulates its guests
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=timeout, cwd=ROOT)
    return done.returncode, done.stdout.replace("\r", "")


def judge(text, tolerate):
    """A check program's output: every check reported, none failed (but those tolerated)."""
    bad = [line for line in text.splitlines() if line.startswith("FAIL ") and not re.search(tolerate, line)]
    assert not bad, "\n".join(bad)
    end = re.search(r"^end (\d+) checks (\d+) failed$", text, re.M)
    assert end, f"no end in:\n{text[-3000:]}"
    seen = len(re.findall(r"^(?:ok|FAIL|skip) \d+ ", text, re.M))
    assert seen == int(end[1]) > 0, text[-3000:]


ENGINES = engines()


@functools.lru_cache(maxsize=None)
def beyond(engine):
    """The pattern of failed checks that the engine is not to blame for on this host."""
    if engine != "kvm":
        return r"^$"
    probe = json.loads(subprocess.run([ISHI, "probe", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    return r"^$" if probe["emulates"] else r"\[kvm: "


def made_for(program, engine):
    only = head(program)["engines"]
    return not only or engine in " ".join(only)


@functools.lru_cache(maxsize=None)
def outcome(program, engine):
    """Exit status and text of a program on an engine; run once."""
    h = head(program)
    kind = h["kind"][0]
    image = OUT / (program.stem + (".bin" if kind in ("sector", "floppy") else ".elf"))
    args = [ISHI, "--engine", engine]
    if engine != "kvm":
        args += ["--clock", "virtual", "--stop-after", "2000000000"]
    if kind == "sector":
        args += ["--firmware", "none"]
    for more in h["args"]:
        args += shlex.split(more)
    return run([*args, image])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_guest(program, engine):
    h = head(program)
    if not made_for(program, engine):
        pytest.skip(f"{program.stem} is not for {engine}")
    status, text = outcome(program, engine)
    at, lines = 0, text.splitlines()
    for want in h["expect"]:
        assert want in lines[at:], f"no line {want!r} in:\n{text}"
        at = lines.index(want, at) + 1
    if program in CHECKS:
        judge(text, beyond(engine))
        assert status == (3 if re.search("^FAIL ", text, re.M) else 11), text
    else:
        assert status == int((h["status"] or ["0"])[0]), text


@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "kvm"])
@pytest.mark.parametrize("program", ["litmus", "apic"])
def test_parallel(program, engine):
    """Each CPU on a thread of the host: only what the memory model allows, and nothing is lost. Store buffering, which
    it allows, is looked for until it is seen."""
    if len(os.sched_getaffinity(0)) < 2 or platform.machine() != "x86_64":
        pytest.skip("CPUs side by side need an x86-64 host with two processors")
    args = [a for more in head(HERE / f"{program}.c")["args"] for a in shlex.split(more)]
    args += ["--engine", engine, "--sched", "parallel", "--append", "parallel"]
    for left in reversed(range(5)):  # a busy host may give both threads the same processor all the while
        status, text = run([ISHI, *args, OUT / f"{program}.elf"])
        if program != "litmus" or re.search(r"^ok \d+ SB: store buffering is seen$", text, re.M):
            break
        judge(text, r"SB: store buffering is seen" if left else r"^$")
    judge(text, r"^$")
    assert status == 11, text
    print("\n".join(line for line in text.splitlines() if line.startswith("# ")))


def results(program, engine):
    """What is said of each check, by its name: ok, FAIL, or skip with its reason; and the exit status."""
    status, text = outcome(program, engine)
    text = re.sub(rf"^FAIL (.*): got .*{beyond(engine)}.*", r"skip \1: KVM has it not", text, flags=re.M)
    found = {"exit status": "11" if status == 3 and not re.search("^FAIL ", text, re.M) else str(status)}
    for said, name in re.findall(r"^(ok|FAIL|skip) \d+ (.*)$", text, re.M):
        name = name.partition(": ")[0] if said == "skip" else re.sub(r": got .*", "", name)
        again = sum(seen.partition(" (")[0] == name for seen in found)
        found[f"{name} ({again + 1})" if again else name] = said
    return found


def test_one_table():
    """All programs, all engines, one table of results: they differ in nothing but what a host's processor lacks, and
    that is skipped by name."""
    table, differ = [f"{'':10}" + "".join(f"{e:>24}" for e in ENGINES)], []
    for program in PROGRAMS:
        columns = {e: results(program, e) for e in ENGINES if made_for(program, e)}
        row = f"{program.stem:10}"
        for e in ENGINES:
            said = list(columns.get(e, {}).values())
            row += f"{said.count('ok'):8} ok {said.count('skip'):3} skip, {said[0]:>3}" if said else f"{'-':>24}"
        table.append(row)
        best = columns.get("interp") or next(iter(columns.values()))
        for e, column in columns.items():
            skipped = [name for name, said in column.items() if said == "skip"]
            for name, said in column.items():
                if said == "FAIL" or (name in best and said not in (best[name], "skip")):
                    differ.append(f"{program.stem} on {e}: {name}: {said}, not {best.get(name)}")
            if not skipped:
                differ += [f"{program.stem} on {e}: {name}: missing" for name in best if name not in column]
    (OUT / "results.txt").write_text("\n".join(table) + "\n")
    print("\n".join(table))
    assert not differ, "\n".join(differ)


@pytest.mark.skipif(not QEMU, reason="qemu-system-x86_64 is not installed")
@pytest.mark.parametrize("program", CHECKS, ids=lambda p: p.stem)
def test_qemu(program):
    h = head(program)
    if h["qemu"] == ["no"]:
        pytest.skip(f"{program.stem} asks for what QEMU does not have")
    args = [QEMU, "-accel", "tcg", "-cpu", "max,vendor=GenuineIntel", "-display", "none", "-serial", "stdio", "-monitor", "none",
            "-no-reboot", "-device", "isa-debug-exit,iobase=0x501,iosize=1"]
    for more in h["qemu"]:
        args += shlex.split(more)
    # its CPUs spin side by side, on however few processors
    _, text = run([*args, "-kernel", OUT / (program.stem + ".elf")], 2 * PATIENCE)
    judge(text, r"\[qemu: ")
