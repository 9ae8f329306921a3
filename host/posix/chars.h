/* Where a serial line can lead: a file, a pseudo-terminal, a TCP connection. (The terminal itself
 * is front/console.c, which shares it between the guest and the monitor.) */
#ifndef ISHI_HOST_CHARS_H
#define ISHI_HOST_CHARS_H

#include "backend/chardev.h"
#include "host/posix/loop.h"

struct host_char;

/* Opens `spec` and hangs it on the loop:
 *   null            nowhere
 *   file:PATH       output to a file (created, replaced)
 *   pty             a new pseudo-terminal; its name is in *note
 *   tcp:HOST:PORT           connects
 *   tcp:HOST:PORT,server    listens, one connection at a time; what is sent before one is there is
 *                           dropped
 *   unix:PATH[,server]      the same by a local socket
 * note (at least 128 bytes): one line to tell the user, or "". The chardev is chr->chardev. */
struct host_char *host_char_open(const char *spec, struct loop *loop, char *note, struct err *e);
void host_char_close(struct host_char *c);
struct chardev *host_char_dev(struct host_char *c);
/* The failure that stopped it (disk full, peer gone), once; false: none. */
bool host_char_failed(struct host_char *c, struct err *e);

#endif
