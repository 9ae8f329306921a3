/* The terminal: shared by the guest's serial port (or its keyboard, with --display term), the
 * monitor and the keys that begin with Ctrl-A.
 *
 * A terminal is put into raw mode and put back at the end, also when ishi is killed by a signal.
 * Piped input works the same way, so that a run can be scripted. */
#ifndef ISHI_FRONT_CONSOLE_H
#define ISHI_FRONT_CONSOLE_H

#include "backend/chardev.h"
#include "host/posix/loop.h"

#define CONSOLE_BUFFER 65536

struct console {
    struct chardev dev; /* what a serial port on stdio is tied to */
    struct loop *loop;
    bool tty;           /* standard input is a terminal */
    bool prefix;        /* Ctrl-A was typed */
    bool monitor;       /* input goes to the monitor's prompt */
    bool start_of_line; /* of what was printed last */
    bool output_lost;   /* standard output can't be written any more */
    char line[512];     /* monitor input */
    size_t line_length;
    uint8_t in[CONSOLE_BUFFER]; /* typed, not yet taken by the guest */
    size_t in_count;
    /* Filled by the owner. */
    void (*command)(void *opaque, const char *line); /* a line for the monitor */
    void (*key)(void *opaque, char letter);          /* Ctrl-A letter, other than c h a b */
    size_t (*type)(void *opaque, const uint8_t *p,
                   size_t n); /* takes input instead of dev; or NULL */
    void *opaque;
};

/* Ties standard input to the loop. The signals that end a process restore the terminal first. */
void console_open(struct console *c, struct loop *loop);
void console_close(struct console *c);
/* Hands buffered input to the guest as far as it has room. Call between slices. */
void console_feed(struct console *c);
/* Prints to the terminal, for people; raw mode or not. */
void console_print(struct console *c, const char *fmt, ...) PRINTF(2, 3);

#endif
