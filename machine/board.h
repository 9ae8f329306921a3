/* What the board is made of; for the files of pc.h alone. */
#ifndef ISHI_MACHINE_BOARD_H
#define ISHI_MACHINE_BOARD_H

#include "boot/firmware.h"
#include "dev/acpi_pm.h"
#include "dev/chips.h"
#include "dev/debug_ports.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/i440fx.h"
#include "dev/i8042.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ide.h"
#include "dev/ioapic.h"
#include "dev/keymap.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/pci.h"
#include "dev/piix3.h"
#include "dev/vga.h"
#include "machine/pc.h"
#include "virtio/blk.h"

#define IRQS       16
#define PINS       24
#define PIRQ_PIN   16
#define PC_STATES  112
#define VIRTIO_DEV 3 /* PCI device of the first disk by virtio */

/* One chip's interrupt line, or one of the south bridge's routed ones, on its way to the
 * controllers. */
struct wire {
    struct pc *pc;
    uint8_t input; /* of the 8259 pair */
    uint8_t pin;   /* of the I/O APIC; NO_PIN: none */
    uint8_t share; /* which of the input's sources this is */
};
#define NO_PIN 0xff

struct pc {
    const struct machine_config *cfg;
    struct clock *clock;
    const struct log *log;
    void (*attention)(void *opaque);
    void *opaque;
    enum pc_event event;
    unsigned exit_code;
    unsigned cpu_count;
    struct cpu *cpu[CPU_MAX];

    struct bus bus;
    struct pci_bus pci;
    struct i440fx host_bridge;
    struct piix3 isa_bridge;
    struct piix4_pm power;
    struct acpi_pm pm;
    struct ide ide;
    struct vga vga;
    struct virtio_blk *virtio_disk[MACHINE_VIRTIO]; /* owned; NULL: none */
    struct i8259 pic;
    struct i8254 pit;
    struct mc146818 rtc;
    struct i8042 kbd;
    struct ns16550 uart[MACHINE_SERIALS];
    struct ioapic ioapic;
    struct apic_bus apic_bus;
    struct lapic lapic[CPU_MAX];
    struct irq_chips chips; /* those above, for an engine to take over */
    struct hpet hpet;
    struct fw_cfg fw_cfg;
    struct debug_ports debug;
    struct firmware firmware;
    struct boot_config boot;
    struct keymap keymap; /* of the terminal that types */

    struct wire line[IRQS], second[IRQS], routed[IRQS];
    bool hpet_legacy, pit_level; /* follow from the chips */
    uint8_t input_sources[IRQS]; /* bit per source that drives the input; follows from the chips */

    unsigned state_count;
    struct state_ref state[PC_STATES];
};

#endif
