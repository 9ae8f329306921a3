/* A disk in memory whose upper half is broken: reads and writes there do their work and fail. Each
 * access must lie within it. */
#ifndef FUZZ_DISK_H
#define FUZZ_DISK_H

#include <assert.h>
#include <string.h>

#include "backend/blockdev.h"

#define DISK_BYTES (64u << 10)

static uint8_t disk[DISK_BYTES];

static bool disk_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    assert(offset <= DISK_BYTES && len <= DISK_BYTES - offset);
    memcpy(buf, disk + offset, len);
    return offset < DISK_BYTES / 2 || err_set(e, ERR_IO, "broken");
}

static bool disk_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    assert(offset <= DISK_BYTES && len <= DISK_BYTES - offset);
    memcpy(disk + offset, buf, len);
    return offset < DISK_BYTES / 2 || err_set(e, ERR_NO_SPACE, "full");
}

static bool disk_flush(void *opaque, struct err *e)
{
    return true;
}

static const struct blockdev_ops disk_ops = {disk_read, disk_write, disk_flush, NULL};

#endif
