/* The gdb stub: waits for a debugger at a socket, one at a time, and lets it stop and run the
 * machine. When one comes, the machine stops; when it detaches, the machine runs on. */
#ifndef ISHI_FRONT_GDB_H
#define ISHI_FRONT_GDB_H

#include "front/gdb_remote.h"
#include "host/posix/loop.h"

struct gdb {
    struct gdb_remote remote; /* its machine and sstep filled by the owner */
    struct loop *loop;
    int listen, fd; /* -1: none */
    bool gone;      /* gdb detached, or its connection broke */
    bool detached, killed;
    void (*note)(void *opaque, const char *text); /* for the user; filled by the owner, as: */
    void (*quit)(void *opaque);
    bool (*screenshot)(void *opaque, const char *path, struct err *e);
    void *opaque;
    const char *path; /* of a local socket, removed at the end; NULL: none */
};

/* Listens at `where`: tcp:HOST:PORT or unix:PATH. */
bool gdb_open(struct gdb *g, const char *where, struct loop *loop, struct err *e);
void gdb_close(struct gdb *g);
/* After each machine_run(): true if the event was for the debugger, and the machine is paused. */
bool gdb_event(struct gdb *g, enum machine_event event);
/* After it, too: gdb has looked at a triple fault, and lets go of it. */
bool gdb_over(struct gdb *g);
/* ishi ends. */
void gdb_end_of_run(struct gdb *g, unsigned status);
/* Is a debugger there? */
static inline bool gdb_here(const struct gdb *g)
{
    return g->fd >= 0;
}

#endif
