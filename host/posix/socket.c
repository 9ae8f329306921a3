#include "host/posix/socket.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool bind_or_connect(int fd, const struct sockaddr *a, socklen_t n, bool server)
{
    int one = 1;
    if (!server)
        return connect(fd, a, n) == 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(fd, a, n) == 0 && listen(fd, 1) == 0;
}

static int open_tcp(const char *where, bool server, struct err *e)
{
    char *host = xstrdup(where), *colon = strrchr(host, ':');
    if (!colon) {
        free(host);
        err_set(e, ERR_INVALID, "tcp:%s: write tcp:HOST:PORT", where);
        return -1;
    }
    *colon = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int bad = getaddrinfo(*host ? host : "127.0.0.1", colon + 1, &hints, &list);
    free(host);
    if (bad) {
        err_set(e, ERR_INVALID, "tcp:%s: %s", where, gai_strerror(bad));
        return -1;
    }
    int fd = -1, error = 0;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !bind_or_connect(fd, a->ai_addr, a->ai_addrlen, server)) {
            error = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0)
        err_set(e, ERR_IO, "tcp:%s: %s", where, strerror(error));
    return fd;
}

static int open_unix(const char *path, bool server, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path) {
        err_set(e, ERR_INVALID, "unix:%s: the path is longer than %zu bytes", path,
                sizeof a.sun_path - 1);
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (server && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path); /* left by a run before */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind_or_connect(fd, (struct sockaddr *)&a, sizeof a, server))
        return fd;
    err_set(e, ERR_IO, "unix:%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int host_socket(const char *where, bool server, struct err *e)
{
    if (!strncmp(where, "tcp:", 4))
        return open_tcp(where + 4, server, e);
    if (!strncmp(where, "unix:", 5))
        return open_unix(where + 5, server, e);
    err_set(e, ERR_INVALID, "\"%s\": write tcp:HOST:PORT or unix:PATH", where);
    return -1;
}
