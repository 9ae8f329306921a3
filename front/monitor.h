/* The monitor: questions about the machine and things to do to it, a line each, at Ctrl-A c. */
#ifndef ISHI_FRONT_MONITOR_H
#define ISHI_FRONT_MONITOR_H

#include "machine/machine.h"

struct monitor {
    struct machine *machine;
    unsigned cpu; /* that `info registers` and others look at */
    /* Filled by the owner. */
    void (*print)(void *opaque, const char *text);
    void (*quit)(void *opaque);
    bool (*screenshot)(void *opaque, const char *path, struct err *e);
    void *opaque;
};

/* Runs one line; unknown words get a line that says what there is. */
void monitor_run(struct monitor *m, const char *line);

#endif
