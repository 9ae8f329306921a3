"""Engines as a person meets them: which one runs, why, and a change of them under a running guest."""
import os
import re
import subprocess
import time

import pytest
from conftest import ISHI, ROOT

PROMPT = r"\(ishi\) $"
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
needs_kvm = pytest.mark.skipif(not KVM, reason="/dev/kvm can't be opened here")


@pytest.fixture(scope="module")
def guest():
    out = ROOT / "build" / "guest"
    subprocess.run(["make", "-s", "-C", ROOT / "tests/guest", f"OUT={out}", f"{out}/switch.elf"], check=True)
    return out / "switch.elf"


@needs_kvm
def test_switch_under_load(ishi, guest):
    """A hundred changes of engine while the guest writes memory and waits for timers."""
    m = ishi("--engine", "kvm", "--mem", "64M", "--append", "go", guest, timeout=120)
    m.expect("begin")
    m.send("\x01c")
    m.expect(PROMPT)
    for n in range(100):
        name = ("interp", "kvm")[n % 2]
        m.line(f"engine {name}")
        m.expect(PROMPT)
        time.sleep(0.02)
    m.line("engine")
    m.expect(r"\* kvm ")
    m.expect(PROMPT)
    m.send("\x01c")
    m.send("q")
    rounds = int(m.expect(r"rounds 0x([0-9a-f]+)")[1], 16)
    m.expect("nothing was disturbed")
    assert m.status() == 11
    assert rounds >= 10


@needs_kvm
def test_info_kvm(ishi, guest):
    m = ishi("--engine", "kvm", "--mem", "64M", "--append", "go", guest)
    m.expect("begin")
    m.send("\x01c")
    m.expect(PROMPT)
    text = m.run("info kvm", PROMPT)
    assert re.search(r"^entries \d+, states loaded \d+", text, re.M), text
    assert re.search(r"^  port +3f8 +\d+", text, re.M), text
    m.quit()


def test_kvm_and_virtual_clock(guest):
    done = subprocess.run([ISHI, "--engine", "kvm", "--clock", "virtual", guest], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 2
    assert "--clock virtual counts instructions, which engine kvm can't" in done.stdout
