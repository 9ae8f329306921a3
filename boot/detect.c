/* What is this file? By content, never by name. An image that ishi can't start gets an answer that
 * says what it seems to be and what would help. */
#include "boot/elf.h"
#include "boot/internal.h"
#include "boot/multiboot.h"

/* Things that are often handed in and don't boot. */
static const struct {
    uint16_t offset;
    uint8_t len;
    const char *magic;
    const char *what; /* "is …" */
    const char *hint;
} strangers[] = {
    {0, 2, "\x1f\x8b", "compressed with gzip", "unpack it first (gunzip)"},
    {0, 6,
     "\xfd"
     "7zXZ",
     "compressed with xz", "unpack it first (unxz)"},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first (unzstd)"},
    {0, 3, "BZh", "compressed with bzip2", "unpack it first (bunzip2)"},
    {0, 4, "PK\3\4", "a zip archive", "unpack it first (unzip)"},
    {0, 4, "QFI\xfb", "a qcow2 disk image",
     "convert it to a raw image: qemu-img convert -O raw IN OUT"},
    {0, 4, "KDMV", "a VMDK disk image",
     "convert it to a raw image: qemu-img convert -O raw IN OUT"},
    {0, 21, "# Disk DescriptorFile", "the descriptor of a VMDK disk image",
     "convert the disk to a raw image: qemu-img convert -O raw IN OUT"},
    {64, 4, "\x7f\x10\xda\xbe", "a VDI disk image",
     "convert it to a raw image: qemu-img convert -O raw IN OUT"},
    {0, 8, "vhdxfile", "a VHDX disk image",
     "convert it to a raw image: qemu-img convert -O raw IN OUT"},
    {0, 8, "conectix", "a VHD disk image",
     "convert it to a raw image: qemu-img convert -O raw IN OUT"},
    {0, 6, "070701", "a cpio archive, as an initrd is",
     "boot a kernel, and give this one with --initrd"},
    {0, 8, "!<arch>\n", "a package or library (ar)", "take the kernel or image out of it first"},
    {0, 4, "\x27\x05\x19\x56", "a U-Boot image", "a PC needs a bzImage or an ELF kernel"},
    {56, 4, "ARMd", "a Linux kernel for ARM", "ishi is an x86 PC: take an amd64 or i386 kernel"},
    {0, 4, "\xcf\xfa\xed\xfe", "a macOS program", "ishi boots kernels and disks of PCs"},
    {0, 4, "hsqs", "a squashfs file system",
     "boot a kernel, and give this one as a disk with --ide"},
    {1080, 2, "\x53\xef", "an ext2, ext3 or ext4 file system without a boot sector",
     "boot a kernel, and give this one as its disk with --ide and --append root=/dev/sda"},
    {257, 5, "ustar", "a tar archive", "unpack it first (tar xf)"},
    {0, 2, "MZ", "a DOS, Windows or EFI program", "give a bootable disk, an ISO or a kernel"},
    {0, 2, "#!", "a script", "give a bootable disk, an ISO or a kernel"},
};

const char *boot_kind_name(enum boot_kind k)
{
    static const char *const name[] = {
        [BOOT_LINUX] = "a Linux kernel (bzImage)",     [BOOT_PVH] = "an ELF kernel (PVH)",
        [BOOT_MULTIBOOT] = "a multiboot kernel",       [BOOT_DISK] = "a bootable disk image",
        [BOOT_ISO] = "a bootable CD image (ISO 9660)", [BOOT_SNAPSHOT] = "a snapshot of ishi",
    };
    return (unsigned)k < BOOT_KIND_COUNT ? name[k] : "?";
}

static bool elf(const uint8_t *head, size_t n, const char *name, enum boot_kind *kind,
                struct err *e)
{
    struct elf f;
    uint32_t entry;
    if (!elf_open(&f, head, n, e))
        return err_prefix(e, "%s", name);
    *kind = BOOT_PVH;
    if (elf_pvh_entry(&f, &entry))
        return true;
    *kind = BOOT_MULTIBOOT;
    if (multiboot_find(head, n) >= 0)
        return true;
    if (multiboot2_find(head, n))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is a multiboot 2 kernel; ishi starts multiboot 1: add that header too, "
                       "or put the kernel on a disk or ISO with GRUB",
                       name);
    return err_set(e, ERR_UNSUPPORTED,
                   "%s is an ELF program without a PVH note or a multiboot header in its first 8 "
                   "KiB, so nothing says how to start it; add one of them, or give a bzImage",
                   name);
}

/* An ISO's volume descriptors, 2048 bytes each from sector 16; the boot record is type 0. */
static bool iso(const uint8_t *head, size_t n, const char *name, enum boot_kind *kind,
                struct err *e)
{
    *kind = BOOT_ISO;
    for (size_t at = 0x8000; at + 2048 <= n && !memcmp(head + at + 1, "CD001", 5); at += 2048) {
        if (head[at] == 0 && !memcmp(head + at + 7, "EL TORITO SPECIFICATION", 23))
            return true;
        if (head[at] == 255)
            break;
    }
    return err_set(e, ERR_FORMAT,
                   "%s is a CD image without a boot record (El Torito), so no PC can start it; "
                   "give it as a second drive with --cdrom",
                   name);
}

static bool all(const uint8_t *p, size_t n, bool (*is)(uint8_t))
{
    for (size_t i = 0; i < n; i++)
        if (!is(p[i]))
            return false;
    return true;
}

static bool is_zero(uint8_t c)
{
    return !c;
}

static bool is_text(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || (c >= '\t' && c <= '\r');
}

static bool refuse(const uint8_t *head, size_t n, const char *name, struct err *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(strangers); i++)
        if (n >= (size_t)strangers[i].offset + strangers[i].len &&
            !memcmp(head + strangers[i].offset, strangers[i].magic, strangers[i].len))
            return err_set(e, ERR_UNSUPPORTED, "%s is %s; %s", name, strangers[i].what,
                           strangers[i].hint);
    const char *what = "is nothing that a PC boots";
    if (all(head, n, is_zero))
        what = "begins with zeroes only, as an empty disk does";
    else if (all(head, min_u64(n, 4096), is_text))
        what = "is a text file";
    else if (n < 512)
        what = "is shorter than one sector";
    return err_set(e, ERR_FORMAT,
                   "%s %s: no boot sector (55 aa at 510), ISO 9660 boot record, bzImage, ELF or "
                   "multiboot header; give a bootable disk, an ISO or a kernel",
                   name, what);
}

bool boot_detect(const uint8_t *head, size_t n, uint64_t size, const char *name,
                 enum boot_kind *kind, struct err *e)
{
    if (!size || !n)
        return err_set(e, ERR_FORMAT, "%s is empty", name);
    if (n >= 8 && !memcmp(head, BOOT_SNAPSHOT_MAGIC, 8)) {
        *kind = BOOT_SNAPSHOT;
        return true;
    }
    if (n >= 4 && !memcmp(head, "\177ELF", 4))
        return elf(head, n, name, kind, e);
    if (n >= 0x8006 && !memcmp(head + 0x8001, "CD001", 5))
        return iso(head, n, name, kind, e);
    bool signature = n >= 512 && head[510] == 0x55 && head[511] == 0xaa;
    if (signature && n >= 0x210 && !memcmp(head + 0x202, "HdrS", 4))
        *kind = BOOT_LINUX;
    else if (signature)
        *kind = BOOT_DISK;
    else if (multiboot_find(head, n) >= 0)
        *kind = BOOT_MULTIBOOT;
    else
        return refuse(head, n, name, e);
    return true;
}

bool boot_kernel(struct bus *bus, const struct boot_config *cfg, enum boot_kind kind,
                 const uint8_t *image, uint64_t size, enum boot_linux_entry how,
                 struct boot_entry *out, struct err *e)
{
    switch (kind) {
    case BOOT_LINUX: return boot_linux(bus, cfg, image, size, how, out, e);
    case BOOT_PVH: return boot_pvh(bus, cfg, image, size, out, e);
    case BOOT_MULTIBOOT: return boot_multiboot(bus, cfg, image, size, out, e);
    default: return err_set(e, ERR_INVALID, "%s is not started as a kernel", boot_kind_name(kind));
    }
}
