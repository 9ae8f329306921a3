/* A byte stream to the outside: a terminal, a file, a socket. The device end writes when it likes;
 * input reaches it only while the machine polls, between slices of execution, so that a run can be
 * recorded. */
#ifndef ISHI_BACKEND_CHARDEV_H
#define ISHI_BACKEND_CHARDEV_H

#include "base/err.h"

/* The device's end, registered by the device. */
struct chardev_sink {
    size_t (*room)(void *dev); /* bytes that input() takes now */
    void (*input)(void *dev, const uint8_t *bytes, size_t n);
    void (*brk)(void *dev); /* a break condition; may be NULL */
    void *dev;
};

struct chardev {
    /* Takes all n bytes, buffering if it must; a failure is the backend's to report. */
    void (*write)(void *opaque, const uint8_t *bytes, size_t n);
    void *opaque;
    struct chardev_sink sink; /* filled by the device; all NULL until then */
};

static inline void chardev_write(const struct chardev *c, const uint8_t *bytes, size_t n)
{
    if (c && c->write)
        c->write(c->opaque, bytes, n);
}

#endif
