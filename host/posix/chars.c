#include "host/posix/chars.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "host/posix/socket.h"

struct host_char {
    struct chardev dev;
    struct loop *loop;
    int fd;      /* the stream, -1: none now */
    int listen;  /* -1: not a server */
    bool input;  /* the stream can be read */
    bool failed; /* err is to be told */
    struct err err;
};

static void stream_lost(struct host_char *c)
{
    if (c->input)
        loop_remove(c->loop, c->fd);
    close(c->fd);
    c->fd = -1;
}

static void out(void *opaque, const uint8_t *p, size_t n)
{
    struct host_char *c = opaque;
    while (n && c->fd >= 0) {
        ssize_t w = write(c->fd, p, n);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
            continue;
        }
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno == EAGAIN) {
            /* A reader that stalls for a second loses output rather than stopping the machine. */
            struct pollfd p1 = {.fd = c->fd, .events = POLLOUT};
            if (poll(&p1, 1, 1000) > 0)
                continue;
            return;
        }
        if (c->listen < 0) {
            err_set(&c->err, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "serial output: %s",
                    strerror(errno));
            c->failed = true;
        }
        stream_lost(c);
    }
}

static bool wants(void *opaque)
{
    struct host_char *c = opaque;
    return c->dev.sink.room && c->dev.sink.room(c->dev.sink.dev) > 0;
}

static void ready(void *opaque)
{
    struct host_char *c = opaque;
    uint8_t buf[4096];
    size_t room = c->dev.sink.room(c->dev.sink.dev);
    ssize_t n = read(c->fd, buf, room < sizeof buf ? room : sizeof buf);
    if (n > 0)
        c->dev.sink.input(c->dev.sink.dev, buf, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN && errno != EIO))
        stream_lost(c);
}

static void stream_begin(struct host_char *c, int fd)
{
    c->fd = fd;
    c->input = true;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    loop_add(c->loop, fd, wants, ready, c);
}

static bool wants_peer(void *opaque)
{
    return ((struct host_char *)opaque)->fd < 0;
}

static void accept_peer(void *opaque)
{
    struct host_char *c = opaque;
    int fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        stream_begin(c, fd);
}

static bool open_pty(struct host_char *c, char *note, struct err *e)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0)
        return err_set(e, ERR_IO, "no pseudo-terminal to be had: %s", strerror(errno));
    struct termios t;
    if (tcgetattr(fd, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSANOW, &t);
    }
    snprintf(note, 128, "serial line on %s", ptsname(fd));
    /* Holding the other end open keeps reads from failing until somebody connects. */
    int other = open(ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
    (void)other;
    stream_begin(c, fd);
    return true;
}

static bool begin_socket(struct host_char *c, int fd, bool server)
{
    if (!server) {
        stream_begin(c, fd);
        return true;
    }
    c->listen = fd;
    loop_add(c->loop, fd, wants_peer, accept_peer, c);
    return true;
}

static bool open_socket(struct host_char *c, const char *where, bool server, char *note,
                        struct err *e)
{
    int fd = host_socket(where, server, e);
    if (fd < 0)
        return false;
    if (server)
        snprintf(note, 128, "serial line waits at %.90s", where);
    return begin_socket(c, fd, server);
}

static bool open_file(struct host_char *c, const char *path, struct err *e)
{
    c->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (c->fd < 0)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, "file:%s: %s", path,
                       strerror(errno));
    return true;
}

struct host_char *host_char_open(const char *spec, struct loop *loop, char *note, struct err *e)
{
    struct host_char *c = xcalloc(1, sizeof *c);
    c->loop = loop;
    c->fd = c->listen = -1;
    c->dev.write = out;
    c->dev.opaque = c;
    *note = 0;
    char *copy = xstrdup(spec), *comma = strrchr(copy, ',');
    bool server = comma && !strcmp(comma, ",server");
    if (server)
        *comma = 0;
    bool ok;
    if (!strcmp(copy, "null"))
        ok = true;
    else if (!strcmp(copy, "pty"))
        ok = open_pty(c, note, e);
    else if (!strncmp(copy, "file:", 5))
        ok = open_file(c, copy + 5, e);
    else if (!strncmp(copy, "tcp:", 4) || !strncmp(copy, "unix:", 5))
        ok = open_socket(c, copy, server, note, e);
    else
        ok = err_set(e, ERR_INVALID,
                     "\"%s\" is not a place for a serial line: use stdio, null, pty, "
                     "file:PATH, tcp:HOST:PORT[,server] or unix:PATH[,server]",
                     spec);
    free(copy);
    if (ok)
        return c;
    free(c);
    return NULL;
}

void host_char_close(struct host_char *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        stream_lost(c);
    if (c->listen >= 0) {
        loop_remove(c->loop, c->listen);
        close(c->listen);
    }
    free(c);
}

struct chardev *host_char_dev(struct host_char *c)
{
    return &c->dev;
}

bool host_char_failed(struct host_char *c, struct err *e)
{
    bool was = c->failed;
    if (was)
        *e = c->err;
    c->failed = false;
    return was;
}
