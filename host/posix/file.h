/* Files and memory of the host. */
#ifndef ISHI_HOST_FILE_H
#define ISHI_HOST_FILE_H

#include "backend/blockdev.h"

/* `size` zeroed bytes on page boundaries, taken from the host only as they are touched. */
uint8_t *host_ram_alloc(uint64_t size, struct err *e);
void host_ram_free(uint8_t *ram, uint64_t size);
/* Physical memory of the host, bytes; 0 if unknown. */
uint64_t host_ram_total(void);

/* A whole file in memory, followed by a NUL byte; free() it. ERR_NOT_FOUND, ERR_DENIED, ERR_IO, or
 * ERR_INVALID if it is a directory or larger than `limit` bytes. `what` names its role for the
 * message
 * ("initrd"). */
uint8_t *host_read_file(const char *path, const char *what, uint64_t limit, size_t *size,
                        struct err *e);
/* Creates or replaces a file. */
bool host_write_file(const char *path, const void *data, size_t n, struct err *e);

enum disk_mode {
    DISK_RW,       /* writes go to the image, in order */
    DISK_SNAPSHOT, /* writes are kept in memory and thrown away */
    DISK_RO        /* the guest sees a read-only disk */
};

/* Opens a raw disk image (a file or a block device). A second writer of the same image is refused
 * (advisory lock). The result is closed by b->ops->close(b->opaque). `name` must outlive it. */
bool disk_open_raw(struct blockdev *b, const char *path, enum disk_mode mode, struct err *e);

#endif
