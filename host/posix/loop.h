/* Waiting for the outside: file descriptors and a timeout, by poll(2). One loop a process end. */
#ifndef ISHI_HOST_LOOP_H
#define ISHI_HOST_LOOP_H

#include "base/bits.h"

#define LOOP_FDS 32

struct loop_fd {
    int fd;
    /* Is input wanted now? Not polled while false. NULL: always. */
    bool (*wants)(void *opaque);
    void (*ready)(void *opaque); /* readable, or hung up */
    void *opaque;
};

struct loop {
    struct loop_fd fd[LOOP_FDS];
    unsigned count;
};

/* Registers; the descriptor stays the caller's. Aborts beyond LOOP_FDS, which is ishi's own limit.
 */
void loop_add(struct loop *l, int fd, bool (*wants)(void *), void (*ready)(void *), void *opaque);
void loop_remove(struct loop *l, int fd);
/* Waits at most timeout_ns (0: looks only), then calls what is ready. */
void loop_poll(struct loop *l, uint64_t timeout_ns);

/* The host's monotonic clock, ns. */
uint64_t host_now(void);
/* Seconds since 1970, UTC. */
uint64_t host_wall_seconds(void);

#endif
