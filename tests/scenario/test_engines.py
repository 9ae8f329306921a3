"""Engines as a person meets them: which one runs, why, and a change of them under a running guest."""
import json
import os
import pathlib
import re
import resource
import shlex
import shutil
import subprocess
import tempfile
import time

import pytest
from conftest import ISHI, PATIENCE, ROOT, kernel

PROMPT = r"\(ishi\) $"
SHELL = r"ishi:[^\n]*[#] "
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
needs_kvm = pytest.mark.skipif(not KVM, reason="/dev/kvm can't be opened here")


@pytest.fixture(scope="module")
def guest():
    out = ROOT / "build" / "guest"
    subprocess.run(["make", "-s", "-C", ROOT / "tests/guest", f"OUT={out}", f"{out}/switch.elf"], check=True)
    return out / "switch.elf"


@needs_kvm
@pytest.mark.parametrize("irqchip", ["ishi", "kernel"])
def test_switch_under_load(ishi, guest, irqchip):
    """A hundred changes of engine while the guest writes memory and waits for timers, whoever has the controllers: none is
    lost, and none comes twice."""
    m = ishi("--engine", "kvm", "--irqchip", irqchip, "--mem", "64M", "--append", "go", guest)
    m.expect("begin")
    m.send("\x01c")
    m.expect(PROMPT)
    for n in range(100):
        name = ("interp", "kvm", "jit", "kvm")[n % 4]
        m.line(f"engine {name}")
        m.expect(PROMPT)
        time.sleep(0.02)
    m.line("engine")
    m.expect(r"\* kvm ")
    m.expect(PROMPT)
    m.send("\x01c")
    m.send("q")
    rounds = int(m.expect(r"rounds 0x([0-9a-f]+)\r")[1], 16)
    stray = int(m.expect(r"stray 0x([0-9a-f]+)\r")[1], 16)
    m.expect("nothing was disturbed")
    assert m.status() == 11
    assert rounds >= 10
    assert stray == 0, f"{stray} timer interrupts too many"


@pytest.fixture(scope="module")
def disk_guest():
    out = ROOT / "build" / "guest"
    subprocess.run(["make", "-s", "-C", ROOT / "tests/guest", f"OUT={out}", f"{out}/virtio.elf", f"{out}/disk.img"], check=True)
    return ["--disk", f"{out}/disk.img,snapshot", out / "virtio.elf"]


@needs_kvm
@pytest.mark.parametrize("irqchip", ["ishi", "kernel"])
def test_switch_under_io(ishi, disk_guest, irqchip):
    """Forty changes of engine while the guest writes and reads a disk by virtio, each request with an interrupt."""
    m = ishi("--engine", "kvm", "--irqchip", irqchip, "--mem", "64M", "--append", "go", *disk_guest)
    m.expect("begin")
    m.send("\x01c")
    m.expect(PROMPT)
    for n in range(40):
        m.line(f"engine {('interp', 'kvm', 'jit', 'kvm')[n % 4]}")
        m.expect(PROMPT)
        time.sleep(0.05)
    by_eventfd, seen = r"doorbells rung [1-9]\d*, messages " + ("[1-9]" if irqchip == "kernel" else "0"), ""
    end = time.time() + PATIENCE
    while not re.search(by_eventfd, seen) and time.time() < end:  # of its last time on KVM
        time.sleep(0.5)
        seen = m.run("info kvm", PROMPT)
    m.send("\x01c")
    m.send("q")
    rounds = int(m.expect(r"rounds 0x([0-9a-f]+)\r")[1], 16)
    m.expect("end 1 checks 0 failed")
    assert m.status() == 11
    assert rounds >= 5
    assert re.search(by_eventfd, seen), seen


@needs_kvm
@pytest.mark.parametrize("irqchip", ["ishi", "kernel"])
def test_doorbells(disk_guest, irqchip):
    """A driver's notification leaves the kernel by eventfd, and with the kernel's interrupt controllers the answer goes
    back by irqfd; where CPUs take turns, by exits, to the same end."""
    text = {}
    for sched in ["parallel"] + ["turns"] * (irqchip == "ishi"):
        done = subprocess.run([ISHI, "--engine", "kvm", "--irqchip", irqchip, "--sched", sched, "--log", "kvm", "--mem", "64M",
                               *disk_guest], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=PATIENCE)
        assert done.returncode == 11 and " 0 failed" in done.stdout, done.stdout
        text[sched] = done.stdout
    rung = re.search(r"by eventfd: doorbells rung (\d+), messages (\d+)", text["parallel"])
    assert rung and int(rung[1]) >= 10, text["parallel"]
    assert (int(rung[2]) >= 3) == (irqchip == "kernel"), rung[0]
    assert irqchip == "kernel" or "by eventfd" not in text["turns"]


# What the guest does meanwhile, round after round: files on a disk and its DMA, memory by way of the page
# cache, a timer, the other CPU. What differs, it says; a lost interrupt it does not survive, or its kernel tells of it.
WORK = r"""
mkdir -p /mnt; mke2fs -F /dev/DISK >/dev/null 2>&1; mount -t ext2 /dev/DISK /mnt || mount -t ext4 /dev/DISK /mnt
n=0
while [ ! -f /tmp/enough ]; do
  dd if=/dev/urandom of=/mnt/a bs=4k count=40 2>/dev/null; sum=$(md5sum </mnt/a); cp /mnt/a /mnt/b
  cp /mnt/a /tmp/a & usleep 20000; sync; echo 3 >/proc/sys/vm/drop_caches; wait
  for f in /mnt/a /mnt/b /tmp/a; do [ "$(md5sum <$f)" = "$sum" ] || echo DIFFERENT $f; done
  n=$((n + 1))
done
umount /mnt; echo rounds: $n; dmesg | grep -E '[Ll]ost |exception Emask|nobody cared|lockup|BUG:|Oops|stalls|segfault|clocksource.*unstable' | sed s/^/KERNEL:/; echo done:
"""


@needs_kvm
@pytest.mark.long
@pytest.mark.parametrize("sched,drive,name", [("parallel", "--ide", "sda"), ("turns", "--ide", "sda"), ("parallel", "--disk", "vda")])
def test_switch_under_linux(ishi, sched, drive, name, tmp_path):
    """A hundred changes of engine, both ways, while Linux with two CPUs works on files."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, 16 << 20)
    m = ishi("--engine", "kvm", "--sched", sched, "--cpus", 2, "--mem", "256M", drive, disk,
             *kernel("cloud-amd64", "console=ttyS0 quiet load=ata_piix,sd_mod,virtio_pci,virtio_blk"))
    m.send("\x01c")
    m.expect(PROMPT)
    m.line("engine jit")  # half of the boot under the one, half under the other
    m.expect(PROMPT)
    m.send("\x01c")
    m.expect("Welcome to ishi")
    m.expect(SHELL)
    for line in WORK.strip().replace("DISK", name).splitlines():
        m.line(f"echo {shlex.quote(line)} >>/tmp/work")
        m.expect(SHELL)
    m.line("sh /tmp/work & ")
    m.expect(SHELL)
    m.send("\x01c")
    m.expect(PROMPT)
    for n in range(100):
        m.line(f"engine {('kvm', 'jit', 'kvm', 'interp')[n % 4]}")
        m.expect(PROMPT)
        time.sleep(0.1)
    m.line("engine jit")
    m.expect(PROMPT)
    m.send("\x01c")
    m.line("touch /tmp/enough; wait")
    m.expect(r"rounds: (\d+)\r")
    rounds = int(m.child.match[1])
    m.expect("done:")
    said = m.child.before
    assert "DIFFERENT" not in said and "KERNEL:" not in said, said
    assert rounds >= 3
    m.line("poweroff")
    assert m.status() == 0


@needs_kvm
@pytest.mark.long
def test_xv6_on_kvm(ishi, xv6):
    """Two CPUs to a shell, and through usertests, which begins under changing engines."""
    m = ishi("--engine", "kvm", "--cpus", 2, "--firmware", "none", "--ide", f"{xv6}/xv6.img,snapshot", "--ide",
             f"{xv6}/fs.img,snapshot")
    m.expect("cpu1: starting")
    m.expect(r"\$ $")
    assert "usertests" in m.run("ls", r"\$ $")
    m.line("usertests")
    m.expect("usertests starting")
    for name in "jit", "kvm", "interp", "kvm":
        time.sleep(0.3)
        m.send("\x01c")
        m.expect(PROMPT)
        m.line(f"engine {name}")
        m.expect(PROMPT)
        m.send("\x01c")
    m.expect("ALL TESTS PASSED")
    assert m.quit() == 0


# For each character that comes on COM1, it adds one to a byte in each of the pages at 20000h, 23000h and 24000h,
# sends the character back, and touches no other memory.
WRITER = bytes.fromhex("fa bafd03 ec a801 74fb baf803 ec 88c3"  # cli; waits; bl = the character
                       "b80020 8ed8 fe060001 b80023 8ed8 fe060002 b80024 8ed8 fe06ff0f"
                       "88d8 ee ebd2")  # mov al, bl; out dx, al; jmp


def test_written_pages(ishi, tmp_path):
    """Exactly the pages that a guest writes are told, on every engine, and through changes of it."""
    image = tmp_path / "image"
    image.write_bytes(WRITER.ljust(510, b"\0") + b"\x55\xaa")
    m = ishi("--engine", engines()[0], "--firmware", "none", "--mem", "16M", image)
    monitor = lambda: (m.send("\x01c"), m.expect(PROMPT))
    want = "0x20000 to 0x20fff", "0x23000 to 0x24fff", "3 pages"

    def write(c):
        m.send("\x01c")
        m.send(c)
        m.expect(c)
        monitor()

    monitor()
    assert "nobody takes note" in m.run("written", PROMPT)
    for name in engines():
        m.run(f"engine {name}", PROMPT)
        write("a")
        m.run("written on", PROMPT)
        assert "0 pages" in m.run("written", PROMPT), name
        for c in "bc":
            write(c)
            text = m.run("written", PROMPT)
            assert all(line in text for line in want), (name, text)
        write("d")
        m.run(f"engine {engines()[0]}", PROMPT)
        assert "3 pages" in m.run("written", PROMPT), name
        m.run("written off", PROMPT)
    m.quit()


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


def engines():
    return ["interp", "jit"] + ["kvm"] * KVM


def test_trace(guest, tmp_path):
    """The same instructions on every engine, up to where a guest of this kind first waits for something."""
    seen = {}
    for name in engines():
        log = tmp_path / name
        child = subprocess.Popen([ISHI, "--engine", name, "--mem", "64M", "--log", f"insn:{log}", guest],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.time() + PATIENCE
        while time.time() < end and (not log.exists() or log.stat().st_size < 200000):
            time.sleep(0.05)
        child.kill()
        child.wait()
        seen[name] = log.read_text().splitlines()[:2000]
    assert re.fullmatch(r"insn: cpu0 [0-9a-f]{4}:[0-9a-f]{8}  bc [0-9a-f ]+mov esp, .*", seen["interp"][0]), seen["interp"][0]
    assert all(lines == seen["interp"] for lines in seen.values())


def test_trace_in_the_monitor(ishi, guest):
    m = ishi("--engine", "jit", "--mem", "64M", "--append", "go", guest)
    m.expect("begin")
    m.send("\x01c")
    m.expect(PROMPT)
    m.line("log insn,int")
    m.expect(r"insn: cpu0 0008:001[0-9a-f]{5}  [0-9a-f]{2} .*\r")
    m.expect(r"int: cpu0: interrupt 0x[24]0 at 8:(1[0-9a-f]{5})")
    # the interrupted instruction has a line once: when it is executed
    m.expect(r"insn: cpu0 0008:001[0-9a-f]{5}  60 +pusha|insn: cpu0 0008:001[0-9a-f]{5}  ff 05 [0-9a-f ]+inc")
    m.line("log none")
    m.expect(PROMPT)
    m.line("log nosuch")
    m.expect('no topic "nosuch"')
    m.quit()


@needs_kvm
def test_exits_in_the_log(guest):
    done = subprocess.run([ISHI, "--engine", "kvm", "--irqchip", "ishi", "--mem", "64M", "--log", "kvm,exit", guest],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    assert done.returncode == 11
    assert re.search(r"^exit: cpu0: OUT to port 20 of 11, 1 bytes, 1 times$", done.stdout, re.M)
    assert re.search(r"^kvm:   port +3f8 +\d+$", done.stdout, re.M)
    assert re.search(r"^kvm:   memory page +fee00000 +\d+$", done.stdout, re.M)


@needs_kvm
@pytest.mark.parametrize("irqchip", ["ishi", "kernel", "auto", "default", "turns"])
def test_irqchip(guest, irqchip):
    """With the kernel's interrupt controllers no access to them leaves the kernel; the guest sees no difference."""
    more = {"turns": ["--irqchip", "auto", "--sched", "turns"], "default": []}.get(irqchip, ["--irqchip", irqchip])
    done = subprocess.run([ISHI, "--engine", "kvm", *more, "--mem", "64M", "--log", "kvm", guest],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    assert done.returncode == 11 and "nothing was disturbed" in done.stdout, done.stdout
    if irqchip in ("auto", "default"):  # as probe says of this host
        irqchip = json.loads(subprocess.run([ISHI, "probe", "--json"], stdout=subprocess.PIPE, check=True).stdout)["irqchip"]
    assert ("interrupt controllers: ishi's" in done.stdout) == (irqchip != "kernel")
    assert ("interrupt controllers: the kernel's" in done.stdout) == (irqchip == "kernel")
    assert (re.search(r"port +(20|21|40|a0|a1) |page +fee00000", done.stdout) is None) == (irqchip == "kernel"), done.stdout
    first = re.search(r"port +43 +(\d+)", done.stdout)  # has the kernel make an interval timer
    assert irqchip != "kernel" or not first or first[1] == "1", done.stdout


@needs_kvm
def test_irqchip_hpet(guest):
    """The HPET in the interval timer's place and back, with the kernel's one: all go out and in each time."""
    program = guest.parent / "hpet.elf"
    subprocess.run(["make", "-s", "-C", ROOT / "tests/guest", f"OUT={guest.parent}", program], check=True)
    done = subprocess.run([ISHI, "--engine", "kvm", "--irqchip", "kernel", "--mem", "64M", "--log", "kvm", program],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    assert done.returncode == 11 and "all ticked as they should" in done.stdout, done.stdout
    assert int(re.search(r"they went there (\d+) times", done.stdout)[1]) >= 8, done.stdout


@needs_kvm
def test_irqchip_wants_threads(guest):
    done = subprocess.run([ISHI, "--engine", "kvm", "--irqchip", "kernel", "--sched", "turns", "--mem", "64M", guest],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and "need --sched parallel" in done.stdout


def test_kvm_and_virtual_clock(guest):
    done = subprocess.run([ISHI, "--engine", "kvm", "--clock", "virtual", guest], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--clock virtual counts instructions, which engine kvm can't" in done.stdout


def test_probe():
    plain = subprocess.run([ISHI, "probe"], stdout=subprocess.PIPE, text=True, check=True).stdout
    parts = json.loads(subprocess.run([ISHI, "probe", "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert parts["usable"] == plain.startswith("KVM        usable")
    assert f"takes {parts['auto']}: {parts['why']}\n" in plain
    assert parts["usable"] or parts["why_not"]
    if parts["usable"]:
        assert parts["instruction_ps"] > 0 and "fpu" in parts["features"]
        assert f"takes {parts['irqchip']}'s on KVM: {parts['irqchip_why']}\n" in plain
        assert parts["irqchip"] == "ishi" or not parts["emulates"]


@needs_kvm
def test_without_permission(guest):
    """An ordinary user who may not open /dev/kvm is told what to do, and auto still runs the guest."""
    if os.geteuid() != 0 or os.stat("/dev/kvm").st_mode & 0o006:
        pytest.skip("needs root to become another user, and a /dev/kvm that not everyone may open")
    with tempfile.TemporaryDirectory(prefix="ishi-") as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o755)
        program, kernel = shutil.copy(ISHI, folder), shutil.copy(guest, folder)

        def as_nobody(*args):
            return subprocess.run([program, *args, kernel], user=65534, group=65534,
                                  extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        refused = as_nobody("--engine", "kvm")
        mends = "usermod -aG kvm" if os.stat("/dev/kvm").st_mode & 0o060 == 0o060 else "chmod a+rw /dev/kvm"
        assert refused.returncode == 2 and mends in refused.stdout
        fallen_back = as_nobody()
        assert fallen_back.returncode == 11 and "nothing was disturbed" in fallen_back.stdout


def test_no_memory_for_generated_code(guest):
    """Where addresses are few, generated code has no place: auto runs the interpreter, jit says why not."""
    def limited(*args):
        return subprocess.run([ISHI, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20)))
    assert not re.search(r"takes jit", limited("probe").stdout)
    refused = limited("--engine", "jit", "--mem", "16M", guest)
    assert refused.returncode == 2 and "no memory for generated code" in refused.stdout


def test_names_for_perf(default_guest):
    args = [ISHI, "--engine", "jit", "--perf", "--stop-after", "20000000",
            default_guest / "vmlinuz"]
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out = p.communicate(timeout=PATIENCE)[0]
    if "x86-64 hosts only" in out:
        pytest.skip("no JIT on this host")
    path = pathlib.Path(f"/tmp/perf-{p.pid}.map")
    lines = [line.split() for line in path.read_text().splitlines()]
    path.unlink()
    assert len(lines) > 50  # longer traces make for fewer
    assert all(int(start, 16) and int(size, 16) for start, size, _ in lines)
    assert all(name.startswith("kernel_") for _, _, name in lines)
