#include "front/gdb.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/posix/socket.h"

static void send_bytes(void *opaque, const char *bytes, size_t n)
{
    struct gdb *g = opaque;
    while (n && g->fd >= 0 && !g->gone) {
        ssize_t k = send(g->fd, bytes, n, MSG_NOSIGNAL);
        if (k > 0) {
            bytes += k;
            n -= (size_t)k;
        } else if (k < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = g->fd, .events = POLLOUT};
            if (poll(&p, 1, 5000) <= 0) /* it has stopped reading */
                g->gone = true;
        } else if (k == 0 || errno != EINTR) {
            g->gone = true;
        }
    }
}

static void leave(struct gdb *g)
{
    struct machine *m = g->remote.machine;
    loop_remove(g->loop, g->fd);
    close(g->fd);
    g->fd = -1;
    gdb_end(&g->remote);
    if (g->detached) {
        debug_run_all(m);
        if (debug_paused(m))
            debug_resume(m);
    } else if (debug_paused(m) && !g->killed) {
        g->note(g->opaque, "gdb is gone and the machine stands still: attach again, or type cont "
                           "in the monitor");
    } else {
        debug_run_all(m);
    }
}

static void ready(void *opaque)
{
    struct gdb *g = opaque;
    char buf[4096];
    ssize_t n = recv(g->fd, buf, sizeof buf, 0);
    if (n > 0)
        gdb_input(&g->remote, buf, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        g->gone = true;
    if (g->gone)
        leave(g);
}

static bool wants_peer(void *opaque)
{
    return ((struct gdb *)opaque)->fd < 0;
}

static void accept_peer(void *opaque)
{
    struct gdb *g = opaque;
    int one = 1, fd = accept4(g->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not for a local socket */
    g->fd = fd;
    g->gone = g->detached = false;
    if (!debug_paused(g->remote.machine))
        debug_pause(g->remote.machine);
    gdb_begin(&g->remote);
    loop_add(g->loop, fd, NULL, ready, g);
}

static void detach(void *opaque)
{
    struct gdb *g = opaque;
    g->gone = g->detached = true;
}

static void kill_machine(void *opaque)
{
    struct gdb *g = opaque;
    g->gone = g->killed = true;
    g->quit(g->opaque);
}

static bool take_screenshot(void *opaque, const char *path, struct err *e)
{
    struct gdb *g = opaque;
    return g->screenshot(g->opaque, path, e);
}

bool gdb_open(struct gdb *g, const char *where, struct loop *loop, struct err *e)
{
    char *copy = xstrdup(where), *comma = strchr(copy, ',');
    if (comma) /* ",server,nowait", as QEMU's users write */
        *comma = 0;
    g->loop = loop;
    g->fd = -1;
    g->listen = host_socket(copy, true, e);
    if (g->listen >= 0 && !strncmp(copy, "unix:", 5))
        g->path = xstrdup(copy + 5);
    free(copy);
    if (g->listen < 0)
        return false;
    g->remote.send = send_bytes;
    g->remote.detach = detach;
    g->remote.kill = kill_machine;
    g->remote.screenshot = take_screenshot;
    g->remote.opaque = g;
    loop_add(loop, g->listen, wants_peer, accept_peer, g);
    return true;
}

void gdb_close(struct gdb *g)
{
    if (!g->loop)
        return;
    if (g->fd >= 0) {
        g->detached = true;
        leave(g);
    }
    if (g->listen >= 0) {
        loop_remove(g->loop, g->listen);
        close(g->listen);
    }
    if (g->path)
        unlink(g->path);
    free((char *)g->path);
}

bool gdb_event(struct gdb *g, enum machine_event event)
{
    if (g->fd < 0 || (event != MACHINE_BREAK && event != MACHINE_TRIPLE))
        return false;
    gdb_stopped(&g->remote, event);
    if (g->gone)
        leave(g);
    return true;
}

bool gdb_over(struct gdb *g)
{
    struct gdb_remote *r = &g->remote;
    if (g->fd < 0 || !r->triple || debug_paused(r->machine))
        return false;
    r->triple = false; /* it may have been reset */
    return machine_triple(r->machine)->s.activity == ACT_SHUTDOWN;
}

void gdb_end_of_run(struct gdb *g, unsigned status)
{
    if (g->fd >= 0)
        gdb_exited(&g->remote, status);
}
