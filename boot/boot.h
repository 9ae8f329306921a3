/* Boot: recognises an image by its content, puts it into guest memory with the tables that it
 * expects, and says in what state CPU 0 starts.
 *
 * Three ways:
 *   direct     a Linux kernel, an ELF kernel (PVH, multiboot 1): boot_kernel();
 *   sector     the first sector of a disk, without a BIOS: boot_sector();
 *   firmware   SeaBIOS from the reset vector; it finds all it wants in the CMOS (boot/seabios.h)
 *              and in fw_cfg (dev/fw_cfg.h).
 * Each call works on a machine that was just reset (A20 open, RAM of any content), and is made
 * again after each reset. It takes nothing over: images and strings stay the caller's.
 *
 * The first two leave this in low memory, as a BIOS would (all of it RAM; the board must let reads
 * of 0xe0000..0xfffff reach RAM, PAM registers 0x59..0x5f = 0x33 or 0x11):
 *   0x00000  interrupt vectors, each to an IRET at f000:ff53
 *   0x00400  BIOS data area
 *   0x00500  GDT of the entry                              direct only, up to 0x30000
 *   0x06000  PVH start info, or multiboot information
 *   0x10000  Linux boot_params ("zero page")
 *   0x11000  page tables of the 64-bit entry: 0..4 GiB, identity, 2 MiB pages
 *   0x20000  command line, up to 64 KiB
 *   0x9fc00  extended BIOS data area, 1 KiB, with the MP floating pointer
 *   0xe0000  ACPI tables, RSDP at 0xf0000
 *   0xf0400  MP configuration table
 *   0xf2000  SMBIOS entry points and structures
 * What a guest's image says of itself is hostile until checked. */
#ifndef ISHI_BOOT_BOOT_H
#define ISHI_BOOT_BOOT_H

#include "bus/bus.h"

#define BOOT_GDT      0x500u
#define BOOT_INFO     0x6000u
#define BOOT_PARAMS   0x10000u
#define BOOT_PAGES    0x11000u
#define BOOT_CMDLINE  0x20000u
#define BOOT_LOW_END  0x30000u /* an image's own parts lie above (and below 0x9fc00) */
#define BOOT_EBDA     0x9fc00u
#define BOOT_ACPI     0xe0000u
#define BOOT_ACPI_END 0xf0000u
#define BOOT_RSDP     0xf0000u
#define BOOT_MP       0xf0400u
#define BOOT_MP_END   0xf2000u
#define BOOT_SMBIOS   0xf2000u
#define BOOT_SM_END   0xff000u

#define BOOT_CPUS 32 /* at most */

/* The board as its tables describe it. boot_config_default() fills what a plain PC of this project
 * has; the machine then sets what differs. RAM sizes come from the bus. */
struct boot_config {
    unsigned cpus; /* 1..BOOT_CPUS; local APIC IDs 0..cpus-1 */
    uint32_t lapic_base, ioapic_base;
    uint8_t ioapic_id;    /* as the chip's register says */
    uint32_t hpet_base;   /* 0: no HPET */
    uint16_t pm_base;     /* PIIX4 power management block, 64 ports */
    uint8_t sci_irq;      /* 9; level, active high */
    uint16_t com_port[4]; /* 0: absent */
    uint8_t com_irq[4];
    /* FADT's SMI_CMD and its two values; port 0: the board is in ACPI mode from the start. */
    uint16_t smi_command;
    uint8_t acpi_enable, acpi_disable;
    bool i8042; /* keyboard and mouse are there */
    /* GSI of PIRQA..D at the I/O APIC (they reach the PIC through PIRQ routing too); 0: only
     * through PIRQ routing, in both modes. */
    uint8_t pirq_gsi[4];
    uint64_t pci_start, pci_end;     /* memory window of PCI below 4 GiB, end exclusive */
    uint64_t pci64_start, pci64_end; /* above RAM; equal: none */

    const char *cmdline; /* kernel's command line; NULL: empty */
    const void *initrd;  /* initrd or, for multiboot and PVH, the one module; NULL: none */
    uint64_t initrd_size;
    const char *initrd_name; /* for messages, and the module's string; may be NULL */
};

void boot_config_default(struct boot_config *c);

/* Which of PIRQA..D (0..3) a device's INTA..D (pin 0..3) is wired to. The same rule as in QEMU's
 * PC, as SeaBIOS relies on it. */
static inline unsigned boot_pirq(unsigned slot, unsigned pin)
{
    return (slot + 3 + pin) & 3;
}

/* The state that CPU 0 starts in, applied by the machine over the reset state. */
struct boot_seg {
    uint64_t base;
    uint32_t limit; /* last offset, in bytes */
    uint16_t sel;
    uint16_t attr; /* descriptor bits 40..55, as in cpu/cpu.h */
};

struct boot_entry {
    uint64_t r[16]; /* AX CX DX BX SP BP SI DI R8.. */
    uint64_t rip, rflags;
    struct boot_seg seg[6]; /* ES CS SS DS FS GS */
    struct boot_seg tr;
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint64_t cr0, cr3, cr4, efer;
    uint64_t mtrr_def; /* IA32_MTRR_DEF_TYPE: memory is write-back, as a BIOS leaves it */
    const char *how;   /* for the log: "Linux, 64-bit entry" */
};

/* What an image is. */
enum boot_kind {
    BOOT_LINUX,     /* bzImage */
    BOOT_PVH,       /* ELF with a PVH note */
    BOOT_MULTIBOOT, /* multiboot 1, ELF or not */
    BOOT_DISK,      /* a disk or floppy image with a boot sector */
    BOOT_ISO,       /* ISO 9660 with an El Torito boot record */
    BOOT_SNAPSHOT,  /* ishi's own */
    BOOT_KIND_COUNT
};
const char *boot_kind_name(enum boot_kind k); /* for people: "a Linux kernel (bzImage)" */

#define BOOT_SNAPSHOT_MAGIC "ishisnap" /* first 8 bytes of a snapshot */
#define BOOT_HEAD           0x10000u   /* detection looks at no more than this */

/* Tells what an image is by its first bytes (`n` of them, min(BOOT_HEAD, size) are enough, and
 * the image's full `size`). ELF needs all of the file's program headers and notes within `n`;
 * hand in the whole file where it is at hand. Else false: what it looks like, and what to do. */
bool boot_detect(const uint8_t *head, size_t n, uint64_t size, const char *name,
                 enum boot_kind *kind, struct err *e);

enum boot_linux_entry { BOOT_ENTRY_AUTO, BOOT_ENTRY_32, BOOT_ENTRY_64 };

/* Loads a kernel of kind BOOT_LINUX, BOOT_PVH or BOOT_MULTIBOOT from its whole file. `how` matters
 * to Linux only: AUTO takes the 64-bit entry where the kernel has one. */
bool boot_kernel(struct bus *bus, const struct boot_config *cfg, enum boot_kind kind,
                 const uint8_t *image, uint64_t size, enum boot_linux_entry how,
                 struct boot_entry *out, struct err *e);

/* The same by protocol. */
bool boot_linux(struct bus *bus, const struct boot_config *cfg, const uint8_t *image, uint64_t size,
                enum boot_linux_entry how, struct boot_entry *out, struct err *e);
bool boot_pvh(struct bus *bus, const struct boot_config *cfg, const uint8_t *image, uint64_t size,
              struct boot_entry *out, struct err *e);
bool boot_multiboot(struct bus *bus, const struct boot_config *cfg, const uint8_t *image,
                    uint64_t size, struct boot_entry *out, struct err *e);

/* Starts a boot sector with no BIOS: `sector` (512 bytes, ending in 55 aa) goes to 0x7c00, real
 * mode, DL = drive (0x80: first hard disk; 0: floppy). There are no INT services: the sector must
 * do with ports, as xv6's does. */
bool boot_sector(struct bus *bus, const struct boot_config *cfg, const uint8_t *sector,
                 uint8_t drive, struct boot_entry *out, struct err *e);

#endif
