/* MSI-X (PCI 3.0, 6.8.2): interrupts of a function as writes to memory, one message a vector.
 *
 * The table and the bits of what waits are a BAR of their own: the table from offset 0, the bits
 * from MSIX_PBA. While a vector is masked its interrupts wait, as one. A message goes out by the
 * bus (pci_bus.msi), in the call of msix_raise() or in the write that unmasks it. */
#ifndef ISHI_DEV_MSIX_H
#define ISHI_DEV_MSIX_H

#include "dev/pci.h"

#define MSIX_VECTORS 8 /* at most so many of a function */
#define MSIX_PBA     0x800
#define MSIX_SIZE    0x1000

struct msix_entry {
    uint64_t address;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
};

struct msix_state {
    struct msix_entry table[MSIX_VECTORS];
    uint64_t pending; /* bit a vector */
};
extern const struct state_table msix_table;

struct msix {
    struct msix_state s;
    struct pci_func *pci;
    struct region memory;
    unsigned count, capability; /* vectors; offset in configuration space */
};

/* Gives a function `count` vectors by BAR `bar`, before pci_add. */
void msix_init(struct msix *m, struct pci_func *f, unsigned bar, unsigned count);
/* After pci_reset. */
void msix_reset(struct msix *m);
void msix_restore(struct msix *m);
/* The function's configuration space was written: to be called by its config_written. */
void msix_config_written(struct msix *m, unsigned offset, unsigned size);
/* Has the guest turned it on? INTx is silent then. */
bool msix_on(const struct msix *m);
/* One interrupt; nothing happens for a vector that there is not. */
void msix_raise(struct msix *m, unsigned vector);

#endif
