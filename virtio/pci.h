/* The transport of virtio devices by PCI, without the old interface of before 1.0
 * (virtio 1.2, 4.1).
 *
 * A device says what it is (struct virtio_kind), and is called when a queue has something. This
 * file has the rest: capabilities, features, status, the registers of queues, interrupts.
 *
 *     BAR 1   MSI-X
 *     BAR 4   0x0000 common configuration · 0x1000 ISR · 0x2000 the device's · 0x3000 doorbells
 *
 * A queue's chains are carried out in the driver's write to its doorbell, so that between two
 * instructions of a guest nothing is under way. But a device that was given much stops after a
 * while and goes on by a timer, as others want to do something, too. */
#ifndef ISHI_VIRTIO_PCI_H
#define ISHI_VIRTIO_PCI_H

#include "base/clock.h"
#include "dev/msix.h"
#include "virtio/queue.h"

#define VIRTIO_QUEUES 4   /* at most so many of a device */
#define VIRTIO_CONFIG 256 /* bytes of a device's own configuration, at most */

/* Device status (virtio 1.2, 2.1). */
#define VIRTIO_ACKNOWLEDGE 0x01
#define VIRTIO_DRIVER      0x02
#define VIRTIO_DRIVER_OK   0x04
#define VIRTIO_FEATURES_OK 0x08
#define VIRTIO_NEEDS_RESET 0x40
#define VIRTIO_FAILED      0x80

#define VIRTIO_VERSION_1 BIT(32)

struct virtio_state {
    uint64_t features; /* that the driver takes */
    uint64_t deadline; /* ns: of going on with `waiting`; CLOCK_NEVER */
    struct virtq_state queue[VIRTIO_QUEUES];
    uint32_t device_select, driver_select; /* which 32 of the features are shown, and written */
    uint16_t queue_select;
    uint16_t config_vector;
    uint8_t status, isr;
    uint8_t waiting; /* bit a queue: it was left before it was empty */
    uint8_t generation;
};
extern const struct state_table virtio_table;

struct virtio_pci;

struct virtio_kind {
    const char *name;
    uint16_t id;         /* device type (virtio 1.2, 5) */
    uint32_t class_code; /* of PCI */
    unsigned queues;     /* up to VIRTIO_QUEUES */
    unsigned config_size;
    /* The device's configuration as the driver reads it, config_size bytes. */
    void (*config)(void *dev, uint8_t *image);
    /* Queue n has something, or may have. True: enough for now, to be called again soon. */
    bool (*serve)(void *dev, unsigned n);
};

struct virtio_pci {
    struct virtio_state s;
    const struct virtio_kind *kind;
    void *dev;
    uint64_t offered; /* features */
    struct pci_func pci;
    struct msix msix;
    struct region bar;
    unsigned window; /* offset of the capability that shows BAR 4 in configuration space */
    struct bus *bus;
    struct timer timer;
    const struct log *log;
};

/* Puts the device on the bus. `features`: the device's own that it offers. */
void virtio_pci_init(struct virtio_pci *v, const struct virtio_kind *kind, const char *name,
                     void *dev, uint64_t features, struct pci_bus *pci, unsigned devfn,
                     struct clock *clock, const struct log *log);
/* Power-on; after pci_reset. */
void virtio_pci_reset(struct virtio_pci *v);
/* After a loaded state: what is not possible in it, the timer. */
void virtio_pci_restore(struct virtio_pci *v);

/* For devices. */
bool virtio_has(const struct virtio_pci *v, uint64_t feature);
struct virtq virtio_queue(struct virtio_pci *v, unsigned n);
/* The driver of queue n gets its interrupt, if it wants one. */
void virtio_used(struct virtio_pci *v, unsigned n);
/* The driver broke the rules: nothing happens any more until it resets the device. */
void virtio_broken(struct virtio_pci *v, const char *why);

#endif
