/* virtio-blk: a disk (virtio 1.2, 5.2), with one queue.
 *
 * Sectors have 512 bytes. A driver that does not agree on VIRTIO_BLK_F_FLUSH gets each write on
 * stable storage before it is told of its end. A size that is not whole sectors is rounded up: the
 * rest reads as zeros. */
#ifndef ISHI_VIRTIO_BLK_H
#define ISHI_VIRTIO_BLK_H

#include "backend/blockdev.h"
#include "virtio/pci.h"

#define VIRTIO_BLK_WORK 65536u /* bytes moved in one piece */

struct virtio_blk {
    struct virtio_pci virtio;
    struct blockdev *blk;
    uint64_t sectors;
    bool failing;             /* the host's last read, write or flush failed, and was reported */
    struct virtq_chain chain; /* these two hold nothing between calls */
    uint8_t work[VIRTIO_BLK_WORK];
};

/* blk stays the caller's. */
void virtio_blk_init(struct virtio_blk *b, const char *name, struct blockdev *blk,
                     struct pci_bus *pci, unsigned devfn, struct clock *clock,
                     const struct log *log);

#endif
