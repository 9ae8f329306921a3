/* The command line: one table from which parsing, --help and the manual page are made. */
#ifndef ISHI_FRONT_OPTIONS_H
#define ISHI_FRONT_OPTIONS_H

#include "host/posix/file.h"
#include "machine/machine.h"

struct disk_option {
    const char *path;
    enum disk_mode mode;
    bool cdrom;
};

struct options {
    const char *image;         /* positional; NULL: none */
    enum disk_mode image_mode; /* if it is a disk */
    uint64_t mem;              /* bytes */
    unsigned cpus;
    const struct engine *engine; /* NULL: auto */
    const char *cpu;
    const char *append, *initrd, *firmware, *rom;
    struct disk_option disk[MACHINE_DISKS]; /* IDE */
    unsigned disk_count;
    struct disk_option virtio[MACHINE_VIRTIO];
    unsigned virtio_count;
    bool virtio_first; /* one of them was given before any of `disk` */
    const char *serial[MACHINE_SERIALS];
    unsigned serial_count;
    const char *debugcon;
    bool display_term;
    const char *screenshot;
    enum clock_mode clock;
    bool parallel, turns; /* asked for; neither: as it suits */
    enum chips_wish irqchip;
    enum boot_linux_entry entry;
    uint32_t log_mask;
    const char *log_file;
    uint64_t stop_after; /* instructions; 0: never */
    uint64_t seed, start_time;
    bool start_time_given;
    uint16_t debug_exit;
    bool no_reboot;
    const char *coverage; /* folder for counts of executed instructions; NULL: none */
    const char *gdb;      /* where a debugger may come to; NULL: nowhere */
    bool stopped;         /* the machine waits at its first instruction */
    bool stats;
    bool jit_stats;
    bool perf;
    bool boot_cdrom;
};

enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

/* Fills *o from the arguments. OPTIONS_DONE: --help and the like were printed. OPTIONS_BAD: *e. */
enum options_result options_parse(struct options *o, int argc, char **argv, struct err *e);

#endif
