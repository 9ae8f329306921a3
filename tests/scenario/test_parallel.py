"""What a person does with a machine whose CPUs run side by side, as several do by default."""
import os
import pathlib
import platform
import re

import pytest
from conftest import kernel

SHELL = r"ishi:[^\n]*[#] "
MONITOR = r"\(ishi\) "
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="CPUs run side by side on x86-64 hosts")


def boot(ishi, *args):
    m = ishi(*kernel("cloud-amd64", "console=ttyS0 quiet"), "--mem", "256M", *args)
    m.expect("Welcome to ishi")
    m.expect(SHELL)
    return m


def monitor(m, *commands):
    """Into the monitor and out of it again; what the commands printed."""
    m.send("\x01c")
    m.expect(MONITOR)
    said = [m.run(c, MONITOR) for c in commands]
    m.send("\x01c")
    return said


def threads(m):
    return len(os.listdir(f"/proc/{m.child.pid}/task"))


@pytest.mark.parametrize("engine, cpus", [("jit", 4), ("interp", 2)])
def test_all_cpus_spin(ishi, engine, cpus, tmp_path):
    """No CPU of the guest ever waits, and yet everything from outside comes through."""
    picture = tmp_path / "screen.png"
    m = boot(ishi, "--engine", engine, "--cpus", cpus, "--screenshot", picture, "--jit-stats")
    assert threads(m) == cpus + 1
    m.run(f"for i in $(seq {2 * cpus}); do while :; do :; done & done", SHELL)
    registers, lapic = monitor(m, "info registers", "info lapic")
    assert re.search(r"CPU \d, 64-bit mode", registers) and "base fee00" in lapic
    other = {"jit": "interp", "interp": "jit"}[engine]
    monitor(m, f"engine {other}")
    assert "alive" in m.run("echo al''ive", SHELL)
    monitor(m, f"engine {engine}")
    assert "alive" in m.run("echo al''ive", SHELL)
    m.send("\x01s")
    m.expect("screen written to")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    picture.unlink()
    assert m.quit() == 0
    assert picture.exists()


def test_of_all_cpus(ishi):
    """--jit-stats and --perf are about the code of all CPUs."""
    m = boot(ishi, "--engine", "jit", "--cpus", 2, "--jit-stats", "--perf")
    names = pathlib.Path(f"/tmp/perf-{m.child.pid}.map")
    m.run("seq 1 20000 | sort | md5sum & seq 1 20000 | sort | md5sum; wait", SHELL)
    m.line("poweroff")
    m.expect(r"blocks compiled +(\d+)\r\n")
    compiled = int(m.child.match[1])
    assert m.status() == 0
    named = names.read_text().count("\n")
    names.unlink()
    assert named >= 2 * compiled > 20000, "hot and cold code of each block, whichever CPU it is for"


def test_turns_when_asked(ishi):
    m = boot(ishi, "--cpus", 2, "--engine", "jit", "--sched", "turns")
    assert threads(m) == 1
    assert m.quit() == 0


@pytest.mark.parametrize("command, status", [("reboot -f", 8), ("poweroff -f", 0)])
def test_end(ishi, command, status):
    m = boot(ishi, "--cpus", 2, "--engine", "jit", "--no-reboot")
    m.run("while :; do :; done &", SHELL)
    m.line(command)
    assert m.status() == status
