"""Disks by virtio as a person uses them: in Linux, to boot from, and the same in each run."""
import re
import shutil
import subprocess

import pytest
from conftest import ISHI, PATIENCE, ROOT, kernel, need, need_file
from disks import GRUB, grub_menu_disk

PROMPT = r"ishi:[^\n]*[#] "
MODULES = "load=virtio_pci,virtio_blk"


@pytest.fixture(scope="module")
def programs():
    need("clang", "ld.lld", "make")
    out = ROOT / "build" / "guest"
    subprocess.run(["make", "-s", "-C", ROOT / "tests/guest", f"OUT={out}"], check=True)
    return out


def ext4(path, size="32M"):
    need("mke2fs")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", path, size], check=True)
    return path


def check_ext4(path):
    done = subprocess.run(["e2fsck", "-fn", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("cpus,pci", [(1, ""), (2, ""), (1, "pci=nomsi")])
def test_linux_keeps_files(ishi, tmp_path, cpus, pci):
    """An ext4 made by the host; files are there after a remount, and the host finds nothing amiss. By MSI-X, and by a wire."""
    disk, second = ext4(tmp_path / "disk"), tmp_path / "second"
    second.write_bytes(bytes(8 << 20))
    m = ishi("--engine", "jit", "--cpus", cpus, "--disk", disk, "--disk", f"{second},snapshot",
             *kernel("cloud-amd64", f"console=ttyS0 quiet {MODULES} {pci}"))
    m.expect("Welcome to ishi")
    m.expect(PROMPT)
    m.run("mount -t ext4 /dev/vda /mnt", PROMPT)
    said = m.run("dd if=/dev/urandom of=/mnt/a bs=64k count=100 2>/dev/null; cp /mnt/a /mnt/b; cp /mnt/a /dev/vdb; md5sum </mnt/a; "
                 "umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt; md5sum </mnt/a; md5sum </mnt/b; "
                 "head -c 6553600 /dev/vdb | md5sum", PROMPT)
    sums = re.findall(r"^[0-9a-f]{32}(?=  -)", said, re.M)
    assert len(sums) == 4 and len(set(sums)) == 1, said
    lines = m.run("grep virtio /proc/interrupts", PROMPT)
    assert ("IO-APIC" in lines) == bool(pci) and ("PCI-MSI" in lines) != bool(pci), lines
    assert m.run("cat /sys/block/vda/serial", PROMPT).startswith("disk")
    m.run("umount /mnt", PROMPT)
    assert not re.search(r"(?i)BUG:|\boops\b|call trace|I/O error|nobody cared", m.run("dmesg", PROMPT))
    m.line("poweroff")
    assert m.status() == 0
    check_ext4(disk)


def test_readonly(ishi, tmp_path):
    disk = ext4(tmp_path / "disk")
    before = disk.read_bytes()
    m = ishi("--disk", f"{disk},readonly", *kernel("cloud-amd64", f"console=ttyS0 quiet {MODULES}"))
    m.expect("Welcome to ishi")
    m.expect(PROMPT)
    assert m.run("cat /sys/block/vda/ro", PROMPT).startswith("1")
    assert "not permitted" in m.run("dd if=/dev/zero of=/dev/vda bs=512 count=1", PROMPT)
    m.quit()
    assert disk.read_bytes() == before


def test_boots_from_it(ishi, tmp_path, programs):
    """SeaBIOS has a driver; of several disks the first that boots is taken, whatever its kind."""
    need("grub-mkimage", "mke2fs")
    need_file(GRUB)
    disk = grub_menu_disk(tmp_path, programs / "multiboot.elf")
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(1 << 20))
    other = tmp_path / "other"
    shutil.copy(disk, other)
    for drives in [["--disk", disk], ["--disk", disk, "--ide", other], ["--disk", blank, "--ide", disk]]:
        m = ishi("--mem", "64M", *drives, "--log", f"disk:{tmp_path}/log")
        m.expect("GNU GRUB +version 2")
        m.expect("A kernel of our own")
        m.send("\x0e\r")  # Ctrl-N: the next line
        m.expect("the module")
        assert m.status() == 11
        assert ("virtio0: request 0 at sector 2048," in (tmp_path / "log").read_text()) == (drives[1] == disk), drives


@pytest.mark.parametrize("count", ["100000", "700001"])
def test_same_state_on_each_engine(programs, count):
    """On the virtual clock, a disk's work too is a pure function of the images."""
    found = set()
    for engine in ["interp", "jit"]:
        done = subprocess.run([ISHI, "--engine", engine, "--clock", "virtual", "--stop-after", count, "--mem", "64M", "--append", "go",
                               "--disk", f"{programs}/disk.img,snapshot", programs / "virtio.elf"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        found.add(re.search(r"state ([0-9a-f]{16})", done.stderr)[1])
    assert len(found) == 1, found


def test_info(ishi, tmp_path):
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(1 << 20))
    m = ishi("-S", "--disk", f"{blank},snapshot", *kernel("cloud-amd64", "console=ttyS0"))
    m.send("\x01c")
    m.expect(r"\(ishi\) $")
    assert re.search(r"^03\.0  1af4:1042  class 010000  virtio0  INTA", m.run("info pci", r"\(ishi\) $"), re.M)
    assert "queue[0].size" in m.run("info virtio0", r"\(ishi\) $")
    m.quit()


def test_nine_are_too_many(piped, tmp_path):
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(1 << 20))
    done = piped(*["--disk", f"{blank},snapshot"] * 9)
    assert done.returncode == 2 and "there are 8 already" in done.stderr
