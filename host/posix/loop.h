/* Waiting for the outside: file descriptors and a timeout, by poll(2). One loop a process end. */
#ifndef ISHI_HOST_LOOP_H
#define ISHI_HOST_LOOP_H

#include <poll.h>

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
    int waker[2]; /* a pipe; both 0: there is none */
    struct pollfd poll[LOOP_FDS + 1];
    unsigned polls;
};

/* Registers; the descriptor stays the caller's. Aborts beyond LOOP_FDS, which is ishi's own limit.
 */
void loop_add(struct loop *l, int fd, bool (*wants)(void *), void (*ready)(void *), void *opaque);
void loop_remove(struct loop *l, int fd);
/* Waits at most timeout_ns (0: looks only), then calls what is ready. */
void loop_poll(struct loop *l, uint64_t timeout_ns);

/* The same in steps, for who lets threads run meanwhile. loop_prepare() asks what is wanted now;
 * loop_wait() waits for that, at most timeout_ns, and calls nothing. True: loop_poll() would find
 * something. loop_wake(), from any thread, ends the present or the next loop_wait(). */
void loop_wakeable(struct loop *l); /* once, before them */
void loop_prepare(struct loop *l);
bool loop_wait(struct loop *l, uint64_t timeout_ns);
void loop_wake(struct loop *l);
void loop_close(struct loop *l);

/* The host's monotonic clock, ns. */
uint64_t host_now(void);
/* Seconds since 1970, UTC. */
uint64_t host_wall_seconds(void);

#endif
