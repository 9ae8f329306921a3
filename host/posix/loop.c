#include "host/posix/loop.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

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

void loop_wakeable(struct loop *l)
{
    CHECK(!pipe2(l->waker, O_CLOEXEC | O_NONBLOCK));
}

void loop_close(struct loop *l)
{
    for (unsigned i = 0; i < 2 && l->waker[1]; i++)
        close(l->waker[i]);
    l->waker[0] = l->waker[1] = 0;
}

void loop_prepare(struct loop *l)
{
    l->polls = 0;
    for (unsigned i = 0; i < l->count; i++)
        if (!l->fd[i].wants || l->fd[i].wants(l->fd[i].opaque))
            l->poll[l->polls++] = (struct pollfd){.fd = l->fd[i].fd, .events = POLLIN};
    l->poll[l->polls] = (struct pollfd){.fd = l->waker[0], .events = POLLIN};
}

bool loop_wait(struct loop *l, uint64_t timeout_ns)
{
    struct timespec ts = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    char bytes[64];
    int n = ppoll(l->poll, l->polls + 1, &ts, NULL);
    if (n <= 0)
        return n < 0; /* a signal: whoever handles it left a note */
    if (!l->poll[l->polls].revents)
        return true;
    while (read(l->waker[0], bytes, sizeof bytes) == sizeof bytes)
        ;
    return n > 1;
}

void loop_wake(struct loop *l)
{
    ssize_t n = write(l->waker[1], "", 1); /* a full pipe wakes as well */
    (void)n;
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
