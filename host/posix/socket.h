/* Stream sockets by a name that people write: tcp:HOST:PORT (no HOST: this machine's own), or
 * unix:PATH. */
#ifndef ISHI_HOST_SOCKET_H
#define ISHI_HOST_SOCKET_H

#include "base/err.h"

/* Connects, or listens for one connection at a time. Returns the descriptor, or -1 with *e. A
 * server's PATH may be left from a run before: it is replaced. */
int host_socket(const char *where, bool server, struct err *e);

#endif
