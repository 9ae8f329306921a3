"""Guests from Debian's packages, by every way there is to start them."""
import os
import pathlib
import subprocess

import pytest
from conftest import ROOT, need
from disks import GRUB, grub_disk, isolinux_iso
from terminal import Screen

PROMPT = r"ishi:\S+# "
SLOW = 600  # seconds that a loaded host may take to a shell


def guest(name):
    """Folder with a guest's vmlinuz and initrd.gz, fetched once."""
    done = subprocess.run([ROOT / "scripts/default-guest", name], text=True, capture_output=True)
    if done.returncode:
        pytest.skip(f"{name} can't be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return pathlib.Path(done.stdout.strip())


def kernel_args(name, append="console=ttyS0 quiet"):
    folder = guest(name)
    return [folder / "vmlinuz", "--initrd", folder / "initrd.gz", "--append", append]


def need_file(path):
    if not os.path.exists(path):
        pytest.skip(f"{path} is not here")
    return path


def shell_works(m, cpus=1):
    """From the first prompt to power-off."""
    m.expect("Welcome to ishi", SLOW)
    m.expect(PROMPT)
    assert m.run("grep -c ^processor /proc/cpuinfo", PROMPT).split()[0] == str(cpus)
    assert "ACPI Error" not in m.run("dmesg | grep ACPI", PROMPT)
    m.line("poweroff")
    assert m.status() == 0


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("name", [
    "cloud-amd64",
    pytest.param("amd64", marks=pytest.mark.long),
    pytest.param("686", marks=pytest.mark.long),
    pytest.param("686-pae", marks=pytest.mark.long),
])
def test_debian_kernel(ishi, name, cpus):
    shell_works(ishi(*kernel_args(name), "--cpus", cpus), cpus)


def test_reboot_boots_again(ishi):
    m = ishi(*kernel_args("cloud-amd64"))
    m.expect(PROMPT, SLOW)
    m.line("reboot")
    shell_works(m)


def test_kernel_by_its_32_bit_entry(ishi):
    shell_works(ishi(*kernel_args("cloud-amd64"), "--entry", "32"))


def test_grub_from_a_disk(ishi, tmp_path):
    need("grub-mkimage", "mformat")
    need_file(GRUB)
    m = ishi(grub_disk(tmp_path, guest("cloud-amd64"), "console=ttyS0 quiet"))
    m.expect("GRUB is here", SLOW)
    shell_works(m)


def test_isolinux_from_a_cd(ishi, tmp_path):
    need("xorriso")
    need_file("/usr/lib/ISOLINUX/isolinux.bin")
    m = ishi(isolinux_iso(tmp_path, guest("cloud-amd64"), "console=ttyS0 quiet"))
    m.expect("ISOLINUX", SLOW)
    shell_works(m)


def test_ipxe_rom(ishi):
    m = ishi("--rom", need_file("/usr/lib/ipxe/qemu/pxe-e1000.rom"), "--display", "term", need_file(
        "/usr/lib/memtest86+/memtest86+x64.iso"))
    m.expect("iPXE", SLOW)


@pytest.mark.parametrize("name", ["memtest86+x64.bin", "memtest86+ia32.bin"])
def test_memtest_as_a_kernel(ishi, name):
    image = need_file(f"/boot/{name}")
    m = ishi(image, "--append", "console=ttyS0,115200", "--mem", "32M", "--cpus", 2)
    m.expect(r"#[5-9] +\[", SLOW)  # the first tests are through
    m.expect(r"Errors: *(\d+)", SLOW)
    assert m.child.match[1] == "0"


@pytest.mark.long
@pytest.mark.parametrize("name", ["installer-amd64", "installer-i386"])
@pytest.mark.parametrize("console", ["serial", "screen"])
def test_installer_asks_its_first_question(ishi, name, console):
    question = "(?i)(low memory mode|select a language|choose language)"
    if console == "serial":
        m = ishi(*kernel_args(name, "console=ttyS0"), "--mem", "1G")
        m.expect(question, 3 * SLOW)
    else:  # nomodeset: else the kernel's driver of this VGA would take the screen to a graphics mode
        m = ishi(*kernel_args(name, "vga=normal fb=false nomodeset"), "--mem", "1G", "--display", "term")
        Screen(m).expect(question, 3 * SLOW)
