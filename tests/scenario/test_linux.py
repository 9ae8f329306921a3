"""Debian's kernels, unmodified, to a busybox shell; Debian's installer to its first question."""
import re

import pytest
from conftest import kernel
from terminal import Screen

PROMPT = r"ishi:[^\n]*[#] "
COMMAND_LINE = "console=ttyS0 quiet"
SLOW = 600  # seconds that a busy host may take to a shell


def to_shell(m):
    m.expect("Welcome to ishi", SLOW)
    m.expect(PROMPT)


def check_shell(m, cpus):
    assert int(m.run("grep -c ^processor /proc/cpuinfo", PROMPT).split()[0]) == cpus
    assert "7 3 0.333333" in m.run("awk 'BEGIN{print 3.5*2, int(7/2), 1/3}'", PROMPT)
    assert "d41d8cd98f00b204e9800998ecf8427e" in m.run("md5sum </dev/null", PROMPT)
    assert not re.search(r"(?i)BUG:|oops|call trace|ACPI Error", m.run("dmesg", PROMPT))


def power_off(m):
    m.line("poweroff")
    assert m.status(SLOW) == 0


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("name", ["cloud-amd64", *(pytest.param(n, marks=pytest.mark.long) for n in ("amd64", "686", "686-pae"))])
def test_kernel(ishi, name, cpus):
    m = ishi(*kernel(name, COMMAND_LINE), "--cpus", cpus, timeout=SLOW)
    to_shell(m)
    check_shell(m, cpus)
    m.line("reboot")
    to_shell(m)
    check_shell(m, cpus)
    power_off(m)


@pytest.mark.long
@pytest.mark.parametrize("name", ["cloud-amd64", "686-pae"])
def test_32_bit_entry(ishi, name):
    m = ishi(*kernel(name, COMMAND_LINE), "--entry", "32")
    to_shell(m)
    power_off(m)


def deterministic(name, *more):
    return [*kernel(name, COMMAND_LINE), "--clock", "virtual", "--stop-after", *more]


def state(done):
    assert done.returncode == 0, done.stderr
    return re.search(r"\d+ instructions, state ([0-9a-f]{16})", done.stderr)[1]


def test_same_state_in_each_run(piped):
    """On the virtual clock, a boot is a pure function of its images."""
    args = deterministic("cloud-amd64", "700000000", "--cpus", "2")
    assert state(piped(*args, timeout=SLOW)) == state(piped(*args, timeout=SLOW))


def test_the_hash_sees_a_difference(piped):
    assert state(piped(*deterministic("cloud-amd64", "100000000"))) != state(
        piped(*deterministic("cloud-amd64", "100000001")))


@pytest.mark.long
@pytest.mark.parametrize("name", ["installer-amd64", "installer-i386"])
@pytest.mark.parametrize("console", ["serial", "screen"])
def test_installer_asks_its_first_question(ishi, name, console):
    question = "(?i)(low memory mode|select a language|choose language)"
    if console == "serial":
        m = ishi(*kernel(name, "console=ttyS0"), "--mem", "1G")
        m.expect(question, 3 * SLOW)
    else:  # nomodeset: else the kernel's driver of this VGA would take the screen to a graphics mode
        m = ishi(*kernel(name, "vga=normal fb=false nomodeset"), "--mem", "1G", "--display", "term")
        Screen(m).expect(question, 3 * SLOW)
