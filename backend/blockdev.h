/* A disk's bytes. Calls are synchronous and in order; the device decides when the guest sees the
 * result. Offsets and lengths are in bytes, any alignment, and must lie within the size. */
#ifndef ISHI_BACKEND_BLOCKDEV_H
#define ISHI_BACKEND_BLOCKDEV_H

#include "base/err.h"

struct blockdev_ops {
    /* False with *e filled when the host fails; the device reports an error to the guest. */
    bool (*read)(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e);
    bool (*write)(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e);
    bool (*flush)(void *opaque, struct err *e); /* all writes so far are on stable storage */
    void (*close)(void *opaque);
};

struct blockdev {
    const struct blockdev_ops *ops;
    void *opaque;
    uint64_t size; /* bytes */
    bool readonly;
    const char *name; /* for messages: the path */
};

#endif
