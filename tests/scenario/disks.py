"""Bootable images made on the spot, from packages and without root."""
import shutil
import struct
import subprocess

GRUB = "/usr/lib/grub/i386-pc"
SECTOR = 512


def run(*args):
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def first_track(core, kind, first, sectors):
    """GRUB's boot sector with a table of one partition, and its core behind it, as grub-install puts them."""
    boot = bytearray(open(f"{GRUB}/boot.img", "rb").read())
    boot[0x66:0x68] = b"\x90\x90"  # believe the drive number in DL, as grub-install makes it on hard disks
    partition = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", first, sectors)
    boot[446:512] = partition + bytes(48) + b"\x55\xaa"
    return boot + core.read_bytes()


def grub_menu_disk(folder, program):
    """A disk with GRUB, whose menu stands in an ext2 partition beside a multiboot kernel."""
    disk, core, part, tree = (folder / n for n in ("disk.img", "core.img", "part.img", "tree"))
    first, sectors = 2048, 16384
    (tree / "grub").mkdir(parents=True)
    shutil.copy(program, tree / "kernel.elf")
    (tree / "module.txt").write_text("the module\r\n")
    (tree / "grub" / "grub.cfg").write_text("""
set timeout=-1
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "Nothing at all" { echo nothing; sleep 100 }
menuentry "A kernel of our own" { multiboot /kernel.elf one two; module /module.txt }
""")
    run("mke2fs", "-q", "-t", "ext2", "-d", tree, part, f"{sectors // 2}k")
    run("grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-p", "(hd0,msdos1)/grub", "-o", core, "biosdisk", "part_msdos",
        "ext2", "multiboot", "serial", "terminal", "echo", "sleep", "normal", "boot")
    with open(disk, "wb") as f:
        f.write(first_track(core, 0x83, first, sectors))
        f.seek(first * SECTOR)
        f.write(part.read_bytes())
    return disk


def grub_disk(folder, guest, append):
    """A hard disk with GRUB in its first track and a FAT partition with the guest's kernel and initrd."""
    disk, core, config = folder / "grub.img", folder / "core.img", folder / "grub.cfg"
    sectors, first = 128 * 1024, 2048
    config.write_text("serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
                      "echo GRUB is here\nset root=(hd0,msdos1)\n"
                      f"linux /vmlinuz {append}\ninitrd /initrd.gz\nboot\n")
    run("grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-p", "(hd0,msdos1)/", "-c", config, "-o", core, "biosdisk",
        "part_msdos", "fat", "linux", "serial", "terminal", "echo", "normal", "boot")
    with open(disk, "wb") as f:
        f.write(first_track(core, 0x0e, first, sectors - first))
        f.truncate(sectors * SECTOR)
    inside = f"{disk}@@{first * SECTOR}"
    run("mformat", "-i", inside, "-T", sectors - first, "::")
    run("mcopy", "-i", inside, guest / "vmlinuz", "::vmlinuz")
    run("mcopy", "-i", inside, guest / "initrd.gz", "::initrd.gz")
    return disk


def isolinux_iso(folder, guest, append):
    """A CD that starts the guest by ISOLINUX."""
    tree, iso = folder / "tree", folder / "isolinux.iso"
    (tree / "isolinux").mkdir(parents=True)
    shutil.copy("/usr/lib/ISOLINUX/isolinux.bin", tree / "isolinux")
    shutil.copy("/usr/lib/syslinux/modules/bios/ldlinux.c32", tree / "isolinux")
    shutil.copy(guest / "vmlinuz", tree)
    shutil.copy(guest / "initrd.gz", tree)
    (tree / "isolinux/isolinux.cfg").write_text(
        f"SERIAL 0 115200\nPROMPT 0\nDEFAULT linux\nLABEL linux\nKERNEL /vmlinuz\nINITRD /initrd.gz\nAPPEND {append}\n")
    run("xorriso", "-as", "mkisofs", "-o", iso, "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat",
        "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree)
    return iso
