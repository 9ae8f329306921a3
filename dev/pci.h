/* PCI: configuration mechanism 1 (PCI 3.0, 3.2.2.3), one bus of functions, their BARs and INTx.
 *
 * A chip embeds a `struct pci_func`, describes itself (pci_func_init, pci_func_bar, pci_func_cap,
 * and `image`, `wmask`, `w1c` for registers of its own) and is put on the bus by pci_add. From then
 * on the bus answers for its configuration space, and places its BARs' regions in the machine's
 * address spaces whenever the guest moves or enables them.
 *
 * Invariants: a BAR's region is mapped exactly when the command register enables its space, its
 * address is neither 0 nor in RAM, and nothing else was there first; otherwise it is unmapped and
 * logged. The level a function drives on its INTx pin is bit 3 of its status register, and so part
 * of its configuration space. */
#ifndef ISHI_DEV_PCI_H
#define ISHI_DEV_PCI_H

#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

/* Offsets in the header of type 0 (PCI 3.0, 6.1). */
#define PCI_VENDOR          0x00
#define PCI_DEVICE          0x02
#define PCI_COMMAND         0x04
#define PCI_STATUS          0x06
#define PCI_REVISION        0x08
#define PCI_CLASS           0x09 /* three bytes: interface, subclass, class */
#define PCI_HEADER_TYPE     0x0e
#define PCI_BAR0            0x10
#define PCI_SUBSYS_VENDOR   0x2c
#define PCI_SUBSYS          0x2e
#define PCI_ROM_BAR         0x30
#define PCI_CAP_POINTER     0x34
#define PCI_INTERRUPT_LINE  0x3c
#define PCI_INTERRUPT_PIN   0x3d
#define PCI_COMMAND_IO      0x0001
#define PCI_COMMAND_MEMORY  0x0002
#define PCI_COMMAND_MASTER  0x0004
#define PCI_COMMAND_NO_INTX 0x0400
#define PCI_STATUS_INTX     0x0008
#define PCI_STATUS_CAPS     0x0010

#define PCI_ROM            6 /* index of the expansion ROM among a function's BARs */
#define PCI_BARS           7
#define PCI_DEVFN(dev, fn) ((dev) << 3 | (fn))

struct pci_func_state {
    uint8_t config[256];
};
extern const struct state_table pci_func_table;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
    enum pci_bar_kind kind;
    struct region *region;
};

struct pci_func {
    struct pci_func_state s;
    uint8_t image[256]; /* configuration space after a reset */
    uint8_t wmask[256]; /* bits that a guest can write */
    uint8_t w1c[256];   /* bits that writing 1 clears */
    const char *name;
    struct pci_bus *bus; /* NULL until pci_add */
    uint8_t devfn;
    unsigned cap_end; /* where the next capability goes */
    struct pci_bar bar[PCI_BARS];
    /* Either may be NULL. config_read is called before configuration bytes are read, and may bring
     * them up to date; config_written after they changed and the BARs were placed anew. */
    void (*config_read)(void *opaque, unsigned offset, unsigned size);
    void (*config_written)(void *opaque, unsigned offset, unsigned size);
    void *opaque;
};

struct pci_ids {
    uint16_t vendor, device;
    uint32_t class_code; /* 24 bits: class, subclass, interface */
    uint8_t revision;
    uint16_t subsys_vendor, subsys; /* 0 where there is none */
    uint8_t pin;                    /* INTx pin: 0 none, 1 A … 4 D */
};

struct pci_bus_state {
    uint32_t address; /* what was written to 0xcf8 */
};
extern const struct state_table pci_bus_table;

struct pci_bus {
    struct pci_bus_state s;
    struct region ports;          /* 8 ports, at 0xcf8 */
    struct region *reset_control; /* one port, reached as byte 1 of `ports` (0xcf9); may be NULL */
    struct pci_func *func[256];   /* by device << 3 | function */
    struct irq pirq[4]; /* the four interrupt lines PIRQA to PIRQD; the board's to connect */
    uint8_t pirq_level; /* bit n: what pirq[n] was last driven to; follows from the state */
    /* A write of a message (MSI-X); the board's to connect. */
    void (*msi)(void *opaque, uint64_t addr, uint32_t data);
    void *msi_opaque;
    struct bus *bus;
    const struct log *log;
};

void pci_init(struct pci_bus *p, struct bus *bus, const struct log *log);
/* As a reset of the bus: the address register, every function's configuration space to its image,
 * all BARs unmapped, all INTx low. The chips' own resets are the board's to call. */
void pci_reset(struct pci_bus *p);
/* After the states of the bus and of all functions were loaded: BARs and lines as they say. */
void pci_restore(struct pci_bus *p);

/* Clears *f and fills the header. Nothing but the standard bits is writable. */
void pci_func_init(struct pci_func *f, const char *name, const struct pci_ids *ids);
/* A BAR: index 0 to 5, or PCI_ROM (kind PCI_BAR_MEM32). The region's size is a power of two (I/O:
 * 4 to 256, memory: 16 and up); the region is the caller's and lives as long as the function. A
 * 64-bit BAR takes the next index too. */
void pci_func_bar(struct pci_func *f, unsigned index, enum pci_bar_kind kind, struct region *r);
/* Adds a capability of `size` bytes (its two header bytes included) to the image. Returns its
 * offset; the rest of it is the caller's to fill. */
unsigned pci_func_cap(struct pci_func *f, uint8_t id, unsigned size);
/* Puts a function on the bus and resets its configuration space. The place must be free. */
void pci_add(struct pci_bus *p, struct pci_func *f, unsigned devfn);

/* Drives the function's INTx pin. */
void pci_set_intx(struct pci_func *f, bool level);
/* Which of the four PIRQs a function's pin (1 to 4) is wired to: (device - 1 + pin - 1) mod 4, the
 * wiring that PC firmware expects of this board. */
unsigned pci_pirq(unsigned devfn, unsigned pin);

/* A BAR's present address, whether enabled or not; 0 when not set. */
uint64_t pci_bar_address(const struct pci_func *f, unsigned index);

/* Configuration accesses as through the ports, for firmware of our own. `size` 1, 2 or 4; aligned.
 * Where no function is, reads give all ones. */
uint32_t pci_config_read(struct pci_bus *p, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *p, unsigned devfn, unsigned offset, unsigned size,
                      uint32_t value);

/* What firmware does for a machine that starts without any: gives every BAR an address, I/O from
 * `io` up, memory from `mem` up to mem_end (below 4 GiB), larger ones first; enables them, but for
 * expansion ROMs; and notes irq[n], the PIC input of PIRQ n, as interrupt line. A BAR that finds no
 * room stays 0. */
void pci_assign(struct pci_bus *p, uint32_t io, uint64_t mem, uint64_t mem_end,
                const uint8_t irq[4]);

#endif
