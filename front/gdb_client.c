#include "front/gdb_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 30000 /* for an answer that is not about running */

static int connect_unix(const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        err_set(e, ERR_INVALID, "%s: too long for a socket's name", path);
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    err_set(e, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_tcp(const char *where, struct err *e)
{
    char host[200];
    const char *colon = strrchr(where, ':');
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM}, *list;
    if (!colon || (size_t)(colon - where) >= sizeof host) {
        err_set(e, ERR_INVALID, "%s: give qemu, HOST:PORT or unix:PATH", where);
        return -1;
    }
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = 0;
    int r = getaddrinfo(*host ? host : "localhost", colon + 1, &hint, &list), fd = -1;
    if (r) {
        err_set(e, ERR_NOT_FOUND, "%s: %s", where, gai_strerror(r));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0)
        err_set(e, ERR_NOT_FOUND, "no gdb stub at %s: %s", where, strerror(errno));
    return fd;
}

bool gdbc_connect(struct gdb_client *g, const char *where, struct err *e)
{
    g->fd = strncmp(where, "unix:", 5) ? connect_tcp(where, e) : connect_unix(where + 5, e);
    return g->fd >= 0;
}

/* --- packets ---------------------------------------------------------------------------------- */

static bool put(struct gdb_client *g, const char *packet, size_t n)
{
    unsigned sum = 0;
    if (n + 4 > sizeof g->out - g->out_count)
        return false;
    g->out[g->out_count++] = '$';
    for (size_t i = 0; i < n; i++) {
        sum += (uint8_t)packet[i];
        g->out[g->out_count++] = packet[i];
    }
    g->out_count += (size_t)sprintf(g->out + g->out_count, "#%02x", sum & 0xff);
    return true;
}

static bool write_all(struct gdb_client *g, struct err *e)
{
    for (size_t done = 0; done < g->out_count;) {
        ssize_t n = send(g->fd, g->out + done, g->out_count - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_IO, "the gdb stub: %s", strerror(errno));
        done += (size_t)n;
    }
    g->out_count = 0;
    return true;
}

/* One packet out of `in`, its text in reply. False: there is none yet. */
static bool take(struct gdb_client *g, char *reply, size_t size)
{
    char *start = memchr(g->in, '$', g->in_count), *hash;
    if (!start || !(hash = memchr(start, '#', g->in_count - (size_t)(start - g->in))) ||
        hash + 3 > g->in + g->in_count)
        return false;
    size_t n = (size_t)(hash - start - 1), k = 0;
    for (size_t i = 0; i < n && k + 1 < size; i++) {
        if (start[1 + i] == '}' && i + 1 < n) /* an escaped character */
            reply[k++] = (char)(start[1 + ++i] ^ 0x20);
        else if (start[1 + i] == '*' && k && i + 1 < n) /* so many more of the last one */
            for (int more = start[1 + ++i] - 29; more > 0 && k + 1 < size; more--, k++)
                reply[k] = reply[k - 1];
        else
            reply[k++] = start[1 + i];
    }
    reply[k] = 0;
    g->in_count -= (size_t)(hash + 3 - g->in);
    memmove(g->in, hash + 3, g->in_count);
    return true;
}

bool gdbc_receive(struct gdb_client *g, char *reply, size_t size, bool *done, struct err *e)
{
    *done = false;
    ssize_t n = recv(g->fd, g->in + g->in_count, sizeof g->in - g->in_count, MSG_DONTWAIT);
    if (n == 0)
        return err_set(e, ERR_IO, "the gdb stub hung up");
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return err_set(e, ERR_IO, "the gdb stub: %s", strerror(errno));
    g->in_count += n > 0 ? (size_t)n : 0;
    while (!*done && take(g, reply, size)) {
        if (!g->queued) {
            *done = true;
            continue;
        }
        g->queued--;
        if (strcmp(reply, "OK"))
            return err_set(e, ERR_UNSUPPORTED, "the gdb stub refused: \"%s\"", reply);
    }
    return true;
}

bool gdbc_send(struct gdb_client *g, const char *packet, struct err *e)
{
    CHECK(put(g, packet, strlen(packet)));
    return write_all(g, e);
}

static bool wait_reply(struct gdb_client *g, char *reply, size_t size, struct err *e)
{
    for (bool done = false; !done;) {
        struct pollfd p = {g->fd, POLLIN, 0};
        if (poll(&p, 1, PATIENCE_MS) == 0)
            return err_set(e, ERR_IO, "the gdb stub does not answer");
        if (!gdbc_receive(g, reply, size, &done, e))
            return false;
    }
    return true;
}

bool gdbc_ask(struct gdb_client *g, const char *packet, char *reply, size_t size, struct err *e)
{
    return gdbc_send(g, packet, e) && wait_reply(g, reply, size, e);
}

static void queue(struct gdb_client *g, const char *packet)
{
    struct err e;
    if (g->out_count + strlen(packet) + 4 > sizeof g->out / 2)
        write_all(g, &e); /* what fails here fails again when an answer is wanted */
    CHECK(put(g, packet, strlen(packet)));
    g->queued++;
}

void gdbc_queue(struct gdb_client *g, const char *fmt, ...)
{
    char packet[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(packet, sizeof packet, fmt, ap);
    va_end(ap);
    queue(g, packet);
}

static void add_hex(char *to, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sprintf(to + 2 * i, "%02x", p[i]);
}

void gdbc_queue_write(struct gdb_client *g, uint64_t at, const void *p, size_t n)
{
    char packet[64 + 2 * 1024];
    for (size_t done = 0, k; done < n; done += k) {
        k = min_u64(n - done, 1024);
        int head = sprintf(packet, "M%llx,%zx:", (unsigned long long)(at + done), k);
        add_hex(packet + head, (const uint8_t *)p + done, k);
        queue(g, packet);
    }
}

void gdbc_queue_reg(struct gdb_client *g, const struct gdb_reg *r, const void *value)
{
    char packet[100];
    int head = sprintf(packet, "P%x=", r->number);
    add_hex(packet + head, value, r->size);
    queue(g, packet);
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10) & 15;
}

static size_t from_hex(const char *s, uint8_t *p, size_t size)
{
    size_t n = 0;
    for (; s[0] && s[1] && n < size; s += 2)
        p[n++] = (uint8_t)(digit(s[0]) << 4 | digit(s[1]));
    return n;
}

bool gdbc_registers(struct gdb_client *g, uint8_t *buf, size_t size, size_t *n, struct err *e)
{
    char reply[GDB_PACKET];
    if (!gdbc_ask(g, "g", reply, sizeof reply, e))
        return false;
    *n = from_hex(reply, buf, size);
    return *n > 16 || err_set(e, ERR_UNSUPPORTED, "the gdb stub gives no registers: %s", reply);
}

bool gdbc_read(struct gdb_client *g, uint64_t at, void *p, size_t n, struct err *e)
{
    char reply[GDB_PACKET], packet[64];
    for (size_t done = 0, k; done < n; done += k) {
        k = min_u64(n - done, 1024);
        sprintf(packet, "m%llx,%zx", (unsigned long long)(at + done), k);
        if (!gdbc_ask(g, packet, reply, sizeof reply, e))
            return false;
        if (from_hex(reply, (uint8_t *)p + done, k) != k)
            return err_set(e, ERR_UNSUPPORTED, "the gdb stub can't read memory at %llx: %s",
                           (unsigned long long)at, reply);
    }
    return true;
}

/* --- the target description ------------------------------------------------------------------- */

/* A whole annex, in text, which the caller frees. NULL with *e. */
static char *annex(struct gdb_client *g, const char *name, struct err *e)
{
    char *text = xcalloc(1, 65536), reply[GDB_PACKET], packet[200];
    for (size_t n = 0;;) {
        snprintf(packet, sizeof packet, "qXfer:features:read:%s:%zx,7fb", name, n);
        if (!gdbc_ask(g, packet, reply, sizeof reply, e))
            break;
        if (reply[0] != 'l' && reply[0] != 'm') {
            err_set(e, ERR_UNSUPPORTED, "the gdb stub has no target description %s", name);
            break;
        }
        size_t k = strlen(reply + 1);
        if (n + k >= 65535)
            break;
        memcpy(text + n, reply + 1, k + 1);
        n += k;
        if (reply[0] == 'l')
            return text;
    }
    free(text);
    return NULL;
}

/* The value of an attribute of the tag at s, which ends at `end`. */
static bool attribute(const char *s, const char *end, const char *name, char *to, size_t size)
{
    char key[32];
    snprintf(key, sizeof key, "%s=\"", name);
    const char *at = strstr(s, key), *quote;
    if (!at || at > end || !(quote = strchr(at + strlen(key), '"')))
        return false;
    snprintf(to, size, "%.*s", (int)(quote - at - (long)strlen(key)), at + strlen(key));
    return true;
}

static void add_reg(struct gdb_client *g, const char *tag, const char *end)
{
    struct gdb_reg *r = &g->reg[g->reg_count];
    const struct gdb_reg *last = g->reg_count ? r - 1 : NULL;
    char text[32];
    if (g->reg_count == GDB_REGS || !attribute(tag, end, "name", r->name, sizeof r->name) ||
        !attribute(tag, end, "bitsize", text, sizeof text))
        return;
    r->size = (unsigned)atoi(text) / 8;
    r->number = last ? last->number + 1 : 0;
    if (attribute(tag, end, "regnum", text, sizeof text))
        r->number = (unsigned)atoi(text);
    g->reg_count++;
}

static bool describe(struct gdb_client *g, const char *name, unsigned depth, struct err *e)
{
    char *text = annex(g, name, e), file[100];
    bool ok = text != NULL;
    for (const char *s = text; ok && (s = strchr(s, '<'));) {
        if (!strncmp(s, "<!--", 4)) {
            const char *close = strstr(s, "-->");
            s = close ? close : s + 1;
            continue;
        }
        const char *end = strchr(s, '>');
        if (!end)
            break;
        if (!strncmp(s, "<reg ", 5))
            add_reg(g, s, end);
        else if (!strncmp(s, "<xi:include", 11) && depth < 3 &&
                 attribute(s, end, "href", file, sizeof file))
            ok = describe(g, file, depth + 1, e);
        s = end;
    }
    free(text);
    return ok;
}

/* The reply to g has them by number. */
static void place_regs(struct gdb_client *g)
{
    for (unsigned i = 1; i < g->reg_count; i++) {
        for (unsigned k = i; k && g->reg[k - 1].number > g->reg[k].number; k--) {
            struct gdb_reg other = g->reg[k];
            g->reg[k] = g->reg[k - 1];
            g->reg[k - 1] = other;
        }
    }
    for (unsigned i = 1; i < g->reg_count; i++)
        g->reg[i].offset = g->reg[i - 1].offset + g->reg[i - 1].size;
}

bool gdbc_describe(struct gdb_client *g, struct err *e)
{
    char reply[GDB_PACKET];
    if (!gdbc_ask(g, "qSupported:xmlRegisters=i386", reply, sizeof reply, e) ||
        !describe(g, "target.xml", 0, e))
        return false;
    place_regs(g);
    return (g->reg_count || err_set(e, ERR_UNSUPPORTED, "the gdb stub describes no registers"));
}

const struct gdb_reg *gdbc_find(const struct gdb_client *g, const char *name)
{
    for (unsigned i = 0; i < g->reg_count; i++) {
        if (!strcmp(g->reg[i].name, name))
            return &g->reg[i];
    }
    return NULL;
}
