#include "host/posix/loop.h"

#include <poll.h>
#include <time.h>

#include "base/err.h"

void loop_add(struct loop *l, int fd, bool (*wants)(void *), void (*ready)(void *), void *opaque)
{
    CHECK(l->count < LOOP_FDS);
    l->fd[l->count++] = (struct loop_fd){fd, wants, ready, opaque};
}

void loop_remove(struct loop *l, int fd)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->fd[i].fd == fd) {
            memmove(&l->fd[i], &l->fd[i + 1], (l->count - i - 1) * sizeof l->fd[0]);
            l->count--;
            return;
        }
    }
}

void loop_poll(struct loop *l, uint64_t timeout_ns)
{
    struct pollfd p[LOOP_FDS];
    struct loop_fd who[LOOP_FDS];
    unsigned n = 0;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->fd[i].wants && !l->fd[i].wants(l->fd[i].opaque))
            continue;
        who[n] = l->fd[i];
        p[n++] = (struct pollfd){.fd = l->fd[i].fd, .events = POLLIN};
    }
    struct timespec ts = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    if (ppoll(p, n, &ts, NULL) <= 0)
        return;
    for (unsigned i = 0; i < n; i++) {
        if (p[i].revents)
            who[i].ready(who[i].opaque);
    }
}

uint64_t host_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t host_wall_seconds(void)
{
    return (uint64_t)time(NULL);
}
