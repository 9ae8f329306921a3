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
    /* Does somebody else (gdb) say when the machine stops and runs? May be NULL: nobody. */
    bool (*busy)(void *opaque);
    uint64_t steps; /* still to be done, beyond the present one */
};

/* Runs one line; unknown words get a line that says what there is. */
void monitor_run(struct monitor *m, const char *line);

/* machine_run() returned MACHINE_BREAK for what was asked for here: pauses and says where. */
void monitor_stopped(struct monitor *m);

/* For monitor_debug.c, and its commands. */
void monitor_say(struct monitor *m, const char *fmt, ...) PRINTF(2, 3);
/* A number in C's forms, or a register's name of the chosen CPU with a $ before it, as $rip. */
bool monitor_address(struct monitor *m, const char *word, uint64_t *v);
void monitor_stop(struct monitor *m, char **arg);
void monitor_cont(struct monitor *m, char **arg);
void monitor_step(struct monitor *m, char **arg);
void monitor_break(struct monitor *m, char **arg);
void monitor_watch(struct monitor *m, char **arg);
void monitor_delete(struct monitor *m, char **arg);
void monitor_examine(struct monitor *m, char **arg);

#endif
