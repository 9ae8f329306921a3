"""Debian's kernels, unmodified, to a busybox shell."""
import re
import subprocess

import pytest
from conftest import ROOT

PROMPT = r"ishi:[^\n]*[#] "
COMMAND_LINE = "console=ttyS0 quiet"


@pytest.fixture(scope="session")
def guest():
    """Folder with a kernel of Debian's and its initrd."""
    def fetch(name):
        done = subprocess.run([str(ROOT / "scripts/default-guest"), name], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode:
            pytest.skip(f"{name} can't be had: {done.stderr.strip().splitlines()[-1]}")
        return done.stdout.strip()

    return fetch


def boot(ishi, folder, *more, append=COMMAND_LINE):
    m = ishi(f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append", append, *more, timeout=240)
    m.expect("Welcome to ishi")
    m.expect(PROMPT)
    return m


def check_shell(m, cpus):
    assert int(m.run("grep -c ^processor /proc/cpuinfo", PROMPT).split()[0]) == cpus
    assert "7 3 0.333333" in m.run("awk 'BEGIN{print 3.5*2, int(7/2), 1/3}'", PROMPT)
    assert "d41d8cd98f00b204e9800998ecf8427e" in m.run("md5sum </dev/null", PROMPT)
    assert not re.search(r"(?i)BUG:|oops|call trace", m.run("dmesg", PROMPT))


def test_default_guest(ishi, guest):
    m = boot(ishi, guest("cloud-amd64"), "--cpus", "2")
    check_shell(m, 2)
    m.line("poweroff")
    assert m.status() == 0


def test_reboot(ishi, guest):
    m = boot(ishi, guest("cloud-amd64"))
    m.line("reboot")
    m.expect("Welcome to ishi", timeout=240)
    m.expect(PROMPT)
    m.line("poweroff")
    assert m.status() == 0


@pytest.mark.long
@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("kernel", ["cloud-amd64", "amd64", "686", "686-pae"])
def test_kernel(ishi, guest, kernel, cpus):
    # The 686 kernel has no PAE and is built for one CPU.
    online = 1 if kernel == "686" else cpus
    m = boot(ishi, guest(kernel), "--cpus", cpus)
    check_shell(m, online)
    m.line("poweroff")
    assert m.status() == 0


@pytest.mark.long
def test_32_bit_entry(ishi, guest):
    m = boot(ishi, guest("cloud-amd64"), "--entry", "32")
    m.line("poweroff")
    assert m.status() == 0


def test_same_state_in_each_run(piped, guest):
    """On the virtual clock, a boot is a pure function of its images."""
    folder = guest("cloud-amd64")
    seen = set()
    for _ in range(2):
        done = piped(f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append", COMMAND_LINE, "--cpus", "2",
                     "--clock", "virtual", "--stop-after", "700000000", timeout=300)
        assert done.returncode == 0, done.stderr
        seen.add(re.search(r"700000000 instructions, state ([0-9a-f]{16})", done.stderr)[1])
    assert len(seen) == 1


def test_the_hash_sees_a_difference(piped, guest):
    folder = guest("cloud-amd64")
    states = [re.search(r"state ([0-9a-f]{16})", piped(
        f"{folder}/vmlinuz", "--append", COMMAND_LINE, "--clock", "virtual", "--stop-after", n).stderr)[1]
        for n in ("100000000", "100000001")]
    assert states[0] != states[1]
