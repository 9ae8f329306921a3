/* From the command line to a machine's configuration: finds and opens the images, the firmware, the
 * serial lines and the memory, and closes them. What every command that builds a machine does
 * first. */
#ifndef ISHI_FRONT_SETUP_H
#define ISHI_FRONT_SETUP_H

#include <stdio.h>

#include "front/options.h"
#include "host/posix/chars.h"

struct setup {
    /* Filled by the caller. */
    struct options options;
    struct loop *loop;
    struct chardev *terminal; /* what `--serial stdio` is tied to */
    bool keep;                /* no image is written: disks are opened as snapshots */
    bool raw;                 /* the terminal is in raw mode: lines on stderr need a CR */

    struct machine_config config; /* ready for machine_new() after setup_open() */
    struct blockdev disks[MACHINE_DISKS + MACHINE_VIRTIO]; /* IDE, virtio */
    struct host_char *chars[MACHINE_SERIALS + 1];
    unsigned char_count;
    uint8_t *files[8]; /* freed at the end */
    unsigned file_count;
    FILE *log;
};

/* Fills s->config. False with *e; setup_close() is to be called in either case, after the machine
 * is freed. */
bool setup_open(struct setup *s, struct err *e);
/* Flushes and closes; what fails is told on stderr. */
void setup_close(struct setup *s);

#endif
