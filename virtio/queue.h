/* virtqueue: the split ring of virtio 1.2 (2.7), from the device's side.
 *
 * A driver lays chains of buffers into guest memory and makes them available; the device takes one
 * (virtq_take), reads its first pieces and writes the others (virtq_read, virtq_write), and gives
 * it back with the number of bytes that it wrote (virtq_give). Then virtq_wants_interrupt() says
 * whether the driver wants to hear of it.
 *
 * All that lies in guest memory is hostile, and may change while it is read: everything is read
 * once, and checked in the copy. A ring that breaks the rules gives VIRTQ_BROKEN: the device then
 * needs a reset. The copy of a chain holds addresses that nobody has checked: whether there is
 * memory, virtq_read() and virtq_write() say.
 *
 * Order of memory accesses (2.7.13): an index is read before what it covers, and written after. */
#ifndef ISHI_VIRTIO_QUEUE_H
#define ISHI_VIRTIO_QUEUE_H

#include "base/state.h"
#include "bus/bus.h"

#define VIRTQ_SIZE     256 /* entries of the largest queue; pieces of the longest chain */
#define VIRTQ_NOBODY   0xffff
#define VIRTQ_INDIRECT BIT(28) /* features of a queue */
#define VIRTQ_EVENTS   BIT(29)

struct virtq_state {
    uint64_t desc, avail, used; /* guest-physical addresses of the ring's three parts */
    uint16_t size;              /* entries: a power of two up to VIRTQ_SIZE, if enabled */
    uint16_t next;              /* avail's index of the next chain to take */
    uint16_t done;              /* used's index of the next one to give back */
    uint16_t told;              /* `done` when an interrupt was last thought about */
    uint16_t vector;            /* MSI-X; VIRTQ_NOBODY: none */
    bool enabled;
    uint8_t reserved[5];
};
extern const struct state_table virtq_table;

struct virtq_piece {
    uint64_t addr;
    uint32_t len;
};

/* A chain, as a copy: first the pieces for the device to read, then those for it to write. */
struct virtq_chain {
    uint16_t head;            /* its name in the ring */
    unsigned count, readable; /* pieces; those of them to read */
    uint64_t out_len, in_len; /* bytes to read, and to write; together up to 4 GiB */
    struct virtq_piece piece[VIRTQ_SIZE];
};

struct virtq {
    struct virtq_state *s;
    struct bus *bus;
    uint64_t features; /* those that were agreed on; VIRTQ_INDIRECT and VIRTQ_EVENTS count */
};

enum virtq_took { VIRTQ_EMPTY, VIRTQ_CHAIN, VIRTQ_BROKEN };

/* As after a reset of the device, with `size` entries offered. */
void virtq_reset(struct virtq_state *s, uint16_t size);
/* Can the queue be enabled: is its size a power of two, is everything where it may be (2.7)? */
bool virtq_valid(const struct virtq_state *s);

/* The next chain. After VIRTQ_EMPTY the driver notifies when there is more. VIRTQ_BROKEN: *why is a
 * clause for the log. */
enum virtq_took virtq_take(const struct virtq *q, struct virtq_chain *c, const char **why);
/* Gives a chain back, of which `written` bytes were written, from the first on. False: broken. */
bool virtq_give(const struct virtq *q, const struct virtq_chain *c, uint32_t written);
/* To be asked after chains were given back; the answer counts for all that were until now. */
bool virtq_wants_interrupt(const struct virtq *q);

/* Bytes of the readable or the writable part, from `offset` on; the range must lie in it. False:
 * some of it is no memory; what is, is done. */
bool virtq_read(const struct virtq *q, const struct virtq_chain *c, uint64_t offset, void *buf,
                uint64_t len);
bool virtq_write(const struct virtq *q, const struct virtq_chain *c, uint64_t offset,
                 const void *buf, uint64_t len);

#endif
