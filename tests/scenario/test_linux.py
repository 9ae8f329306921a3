"""Debian's kernels, unmodified, to a busybox shell; Debian's installer to its first question."""
import os
import pathlib
import re
import subprocess

import pytest
from conftest import PATIENCE, ROOT, kernel
from terminal import Screen

PROMPT = r"ishi:[^\n]*[#] "
COMMAND_LINE = "console=ttyS0 quiet"


def to_shell(m):
    m.expect("Welcome to ishi")
    m.expect(PROMPT)


def check_shell(m, cpus):
    assert int(m.run("grep -c ^processor /proc/cpuinfo", PROMPT).split()[0]) == cpus
    assert "7 3 0.333333" in m.run("awk 'BEGIN{print 3.5*2, int(7/2), 1/3}'", PROMPT)
    assert "d41d8cd98f00b204e9800998ecf8427e" in m.run("md5sum </dev/null", PROMPT)
    assert not re.search(r"(?i)BUG:|\boops\b|call trace|ACPI Error", m.run("dmesg", PROMPT))


def power_off(m):
    m.line("poweroff")
    assert m.status() == 0


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("name", ["cloud-amd64", *(pytest.param(n, marks=pytest.mark.long) for n in ("amd64", "686", "686-pae"))])
def test_kernel(ishi, name, cpus):
    m = ishi(*kernel(name, COMMAND_LINE), "--cpus", cpus)
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
    assert state(piped(*args)) == state(piped(*args))


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
        m.expect(question, 3 * PATIENCE)
    else:  # nomodeset: else the kernel's driver of this VGA would take the screen to a graphics mode
        m = ishi(*kernel(name, "vga=normal fb=false nomodeset"), "--mem", "1G", "--display", "term")
        Screen(m).expect(question, 3 * PATIENCE)


@pytest.fixture(scope="module")
def small():
    """Folder with the small Linux of scripts/make-small-linux; its first time takes minutes to an hour."""
    done = subprocess.run([ROOT / "scripts/make-small-linux"], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip((done.stderr.strip().splitlines() or ["?"])[-1])
    return pathlib.Path(done.stdout.strip())


@pytest.mark.long
@pytest.mark.parametrize("engine", ["kvm", "jit", "interp"])
@pytest.mark.parametrize("drive,root", [("--ide", "sda"), ("--disk", "vda")])
def test_small_linux(ishi, small, engine, drive, root):
    """Built from source, with its root on a disk's ext4: to a shell, and files that are there after a remount."""
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("/dev/kvm can't be opened here")
    prompt = r"small:[^\n]*# "
    m = ishi("--engine", engine, "--cpus", 2, "--mem", "128M", drive, f"{small}/root.img,snapshot", small / "vmlinuz",
             "--append", f"console=ttyS0 root=/dev/{root} rw")
    m.expect(r"Linux 6\.[0-9.]+-ishi on 2 CPU\(s\)")
    m.expect(prompt)
    said = m.run("dd if=/dev/urandom of=/root/a bs=64k count=8 2>/dev/null; md5sum </root/a; mount -o remount,ro /; "
                 "echo 3 >/proc/sys/vm/drop_caches; md5sum </root/a", prompt)
    sums = re.findall(r"^[0-9a-f]{32}(?=  -)", said, re.M)
    assert len(sums) == 2 and sums[0] == sums[1], said
    assert not re.search(r"(?i)BUG:|\boops\b|call trace|lost interrupt|exception Emask", m.run("dmesg", prompt))
    m.line("poweroff -f")
    assert m.status() == 0
