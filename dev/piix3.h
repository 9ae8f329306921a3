/* The south bridge: PIIX3's ISA bridge (Intel 290550) as function 0, with the routing of PCI
 * interrupts to the PICs and the reset control register, and the power management function of its
 * successor PIIX4 (Intel 290562) as function 3, which is what stock systems look for on this board.
 * IDE, function 1, is dev/ide.h. */
#ifndef ISHI_DEV_PIIX3_H
#define ISHI_DEV_PIIX3_H

#include "dev/pci.h"

#define PIIX3_PIRQRC                                                            \
    0x60 /* four registers, PIRQA to PIRQD: bit 7 off, bits 3:0 the PIC's input \
          */

/* The bits of piix3_state.ferr (290550, 3.4.4). */
enum {
    PIIX3_FERR = 1,  /* FERR# is asserted */
    PIIX3_IRQ13 = 2, /* its interrupt waits for a write of port 0xf0 */
    PIIX3_IGNNE = 4, /* port 0xf0 was written: the CPU may go on; until FERR# goes */
};

struct piix3_state {
    uint16_t pic_level;    /* bit n: what PIC input n is driven to from here */
    uint8_t pirq_level;    /* bit n: PIRQ n is asserted */
    uint8_t reset_control; /* port 0xcf9: bit 1 kind of reset, bit 2 reset */
    uint8_t ferr;          /* PIIX3_FERR_*: the coprocessor's error line and what became of it */
    uint8_t unused;        /* 0 */
};
extern const struct state_table piix3_table;

struct piix3 {
    struct piix3_state s;
    struct pci_func pci;
    struct region reset_port;    /* one port; reached by struct pci_bus's reset_control */
    struct region coprocessor;   /* 2 ports: 0xf0 */
    struct irq pic[16];          /* the board's to connect; several sources may share an input */
    struct irq irq13;            /* the board's to connect */
    void (*reset)(void *opaque); /* the guest asks for a reset of the machine */
    void *reset_opaque;
    const struct log *log;
};

/* Becomes function 0 of device 1 and the bus's reset control register. The caller fills `pic` and
 * connects the bus's pirq[n] so that it reaches piix3_pirq(this, n, level). */
void piix3_init(struct piix3 *x, struct pci_bus *pci, void (*reset)(void *), void *opaque,
                const struct log *log);
/* After pci_reset: nothing routed, nothing asserted. */
void piix3_reset(struct piix3 *x);
/* An interrupt line of the PCI bus, 0 to 3; the shape is struct irq's. */
void piix3_pirq(void *piix3, unsigned n, bool level);
/* The CPU's FERR# line: an x87 error waits, and CR0.NE is clear. */
void piix3_ferr(struct piix3 *x, bool level);
/* Routes PIRQ n to PIC input irq[n], as firmware does. */
void piix3_route(struct piix3 *x, const uint8_t irq[4]);

/* Power management. The ACPI registers are another chip's, given as a region of 64 ports that is
 * placed where PMBASE (0x40) says while PMREGMISC (0x80) bit 0 is set. The SMBus host controller
 * has no device on its bus: every transfer ends in an error. */
struct piix4_pm_state {
    uint8_t smbus[16]; /* the host controller's registers */
};
extern const struct state_table piix4_pm_table;

struct piix4_pm {
    struct piix4_pm_state s;
    struct pci_func pci;
    struct region *acpi; /* not owned; may be NULL */
    struct region smbus;
    struct bus *bus;
    const struct log *log;
};

/* Becomes function 3 of device 1. */
void piix4_pm_init(struct piix4_pm *m, struct pci_bus *pci, struct region *acpi,
                   const struct log *log);
/* After pci_reset. */
void piix4_pm_reset(struct piix4_pm *m);
/* Places the ACPI registers, and the SMBus unless smb_base is 0, as firmware does. */
void piix4_pm_enable(struct piix4_pm *m, uint16_t pm_base, uint16_t smb_base);
/* After a loaded state: the two regions where the registers say. */
void piix4_pm_restore(struct piix4_pm *m);

#endif
