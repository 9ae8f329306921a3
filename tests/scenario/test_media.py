"""Boot loaders and tools from real media, through SeaBIOS, seen and steered as at a PC: the VGA screen and the keys."""
import re
import shutil
import subprocess
import time

import pytest
from conftest import PATIENCE, ROOT, guest, need, need_file
from disks import GRUB, grub_disk, grub_menu_disk, isolinux_iso, run
from terminal import Screen

DOWN = "\033[B"
CTRL_N = "\x0e"  # the next line, for GRUB: what begins with ESC has to come all within milliseconds
SCREEN = ["--display", "term", "--mem", "64M"]
MEMTEST = "/usr/lib/memtest86+"
ROMS = "/usr/lib/ipxe/qemu"


@pytest.fixture(scope="module")
def programs():
    """Folder with the programs of tests/guest."""
    need("clang", "ld.lld", "make")
    out = ROOT / "build" / "guest"
    subprocess.run(["make", "-s", "-C", ROOT / "tests" / "guest", f"OUT={out}"], check=True)
    return out


MULTIBOOT_SAYS = ["eax 0x2badb002", "command line: .*one two", "the module", "usable at 0x100000"]


def test_grub_menu_on_the_screen(ishi, tmp_path, programs):
    need("grub-mkimage", "mke2fs")
    need_file(GRUB)
    out = tmp_path / "serial"
    m = ishi(*SCREEN, "--serial", f"file:{out}", grub_menu_disk(tmp_path, programs / "multiboot.elf"))
    screen = Screen(m)
    screen.expect(r"GNU GRUB +version 2")
    screen.expect(r"│\*Nothing at all +│\n.*│ A kernel of our own +│")
    m.send(DOWN)
    screen.expect(r"│ Nothing at all +│\n.*│\*A kernel of our own +│")
    m.send("\r")
    assert m.status() == 11
    assert "GNU GRUB" in out.read_text(errors="replace")


def test_grub_menu_on_the_serial_line(ishi, tmp_path, programs):
    need("grub-mkimage", "mke2fs")
    need_file(GRUB)
    m = ishi("--mem", "64M", grub_menu_disk(tmp_path, programs / "multiboot.elf"))
    m.expect("GNU GRUB +version 2")
    m.expect("A kernel of our own")
    m.send(CTRL_N + "\r")
    for line in MULTIBOOT_SAYS:
        m.expect(line)
    assert m.status() == 11


def linux_answers(m):
    m.expect("Welcome to ishi")
    m.expect("ishi:[^\n]*# ")
    m.line("poweroff")
    assert m.status() == 0


def test_linux_by_grub(ishi, tmp_path):
    need("grub-mkimage", "mformat")
    need_file(GRUB)
    m = ishi(grub_disk(tmp_path, guest("cloud-amd64"), "console=ttyS0 quiet"))
    m.expect("GRUB is here")
    linux_answers(m)


def test_linux_by_isolinux(ishi, tmp_path):
    need("xorriso")
    need_file("/usr/lib/ISOLINUX/isolinux.bin")
    m = ishi(isolinux_iso(tmp_path, guest("cloud-amd64"), "console=ttyS0 quiet"))
    m.expect("ISOLINUX")
    linux_answers(m)


def iso(folder, *boot, **files):
    tree, image = folder / "tree", folder / "cd.iso"
    tree.mkdir()
    for name, source in files.items():
        shutil.copy(source, tree / name.replace("_", "."))
    run("xorriso", "-as", "mkisofs", "-o", image, *boot, tree)
    return image


def isolinux_menu_iso(folder, floppy):
    modules = "/usr/lib/syslinux/modules/bios"
    config = folder / "isolinux.cfg"
    config.write_text("UI menu.c32\nMENU TITLE What to boot\nLABEL nothing\nMENU LABEL Nothing at all\nCOM32 none.c32\n"
                      "LABEL floppy\nMENU LABEL A floppy in memory\nKERNEL memdisk\nINITRD floppy.img\n")
    return iso(folder, "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4",
               "-boot-info-table", isolinux_bin="/usr/lib/ISOLINUX/isolinux.bin", isolinux_cfg=config,
               memdisk="/usr/lib/syslinux/memdisk", floppy_img=floppy,
               **{f"{m}_c32": f"{modules}/{m}.c32" for m in ("ldlinux", "menu", "libutil", "libcom32")})


def test_isolinux_menu_and_memdisk(ishi, tmp_path, programs):
    need("xorriso")
    need_file("/usr/lib/ISOLINUX/isolinux.bin")
    out = tmp_path / "serial"
    m = ishi(*SCREEN, "--serial", f"file:{out}", isolinux_menu_iso(tmp_path, programs / "floppy.bin"))
    screen = Screen(m)
    screen.expect("What to boot")
    screen.expect("Nothing at all.*\n.*A floppy in memory")
    m.send(DOWN)
    m.send("\r")
    assert m.status() == 11
    assert "this sector is the 1466th" in out.read_text()


def test_floppy_emulated_by_a_cd(piped, tmp_path, programs):
    need("xorriso")
    image = iso(tmp_path, "-b", "floppy.img", "-c", "boot.cat", floppy_img=programs / "floppy.bin")
    done = piped("--mem", "64M", image)
    assert done.returncode == 11, done
    assert "this sector is the 1466th" in done.stdout


@pytest.mark.parametrize("rom", ["e1000", "rtl8139", "virtio", "pcnet"])
def test_ipxe_prompt(ishi, rom):
    m = ishi(*SCREEN, "--rom", need_file(f"{ROMS}/pxe-{rom}.rom"))
    screen = Screen(m)
    end = time.monotonic() + PATIENCE
    while not screen.shows("iPXE>", 0.5) and time.monotonic() < end:
        m.send("\x02")  # from the beginning on: it looks for the key for two seconds of the guest's only
    screen.expect("iPXE>", 1)
    assert re.search(r"iPXE \(http", screen.text)
    m.line("show version")
    screen.expect(r"builtin/version:string = \S+\n(.*\n)*iPXE>")


@pytest.mark.parametrize("drive", ["--cdrom", "--ide"])
@pytest.mark.parametrize("bits", ["x64", "ia32"])
def test_memtest_from_its_medium(ishi, bits, drive):
    """The ISO as a CD and, since it is a hybrid, as a disk: GRUB, its menu, the first tests."""
    image = need_file(f"{MEMTEST}/memtest86+{bits}.iso")
    m = ishi("--display", "term", "--mem", "16M", drive, image + (",snapshot" if drive == "--ide" else ""))
    screen = Screen(m)
    screen.expect(r"Memtest86\+ v\d")
    screen.expect(r"Test #[4-9]")
    screen.expect(r"Errors: 0\b")
    assert "ishi x86 processor" in screen.text and "16MB" in screen.text


@pytest.mark.parametrize("name", ["memtest86+x64.bin", "memtest86+ia32.bin"])
def test_memtest_as_a_kernel(ishi, name):
    m = ishi(need_file(f"/boot/{name}"), "--append", "console=ttyS0,115200", "--mem", "32M", "--cpus", 2)
    m.expect(r"#[5-9] +\[")  # the first tests are through
    m.expect(r"Errors: *(\d+)")
    assert m.child.match[1] == "0"


@pytest.mark.long
def test_memtest_full_pass(ishi):
    m = ishi("--display", "term", "--mem", "16M", need_file(f"{MEMTEST}/memtest86+x64.iso"))
    screen = Screen(m)
    screen.expect(r"Pass: +[1-9]", 4 * PATIENCE)
    screen.expect(r"Errors: 0\b")
