/* gdb's remote protocol: one debugger's session with a machine. Bytes in, bytes out; where they
 * come from and go to is the owner's (gdb.c: a socket). What comes in is hostile.
 *
 * The machine stands still while debug_paused() is true; the owner runs it otherwise, and tells the
 * session of what machine_run() returned. What gdb expects of QEMU's stub is here, too:
 * `maintenance packet Qqemu.PhyMemMode:1`, `qemu.sstep`, `monitor …`. */
#ifndef ISHI_FRONT_GDB_REMOTE_H
#define ISHI_FRONT_GDB_REMOTE_H

#include "front/monitor.h"
#include "machine/debug.h"
#include "machine/regs.h"

#define GDB_PACKET 16384 /* bytes between $ and # */
#define GDB_STOPS  4096  /* breakpoints and watchpoints that a session may have */

struct gdb_stop {
    uint64_t addr, length;
    uint8_t type; /* as in Z packets */
};

struct gdb_remote {
    /* Filled by the owner. */
    struct machine *machine;
    void (*send)(void *opaque, const char *bytes, size_t n);
    void (*detach)(void *opaque); /* gdb is done with the machine, which runs on */
    void (*kill)(void *opaque);   /* gdb wants ishi to end */
    void *opaque;
    bool (*screenshot)(void *opaque, const char *path, struct err *e);
    struct monitor monitor; /* the session's own */

    /* The packet that comes in. */
    enum { GDB_IDLE, GDB_BODY, GDB_SUM1, GDB_SUM2 } state;
    char in[GDB_PACKET + 1];
    size_t in_size;
    bool too_long;
    uint8_t sum, wanted;

    /* The one that goes out; kept to be sent again. */
    char out[GDB_PACKET + 8];
    size_t out_size;

    enum reg_set regs;
    bool no_ack, swbreak, hwbreak, physical;
    bool running;      /* gdb waits for a stop */
    bool triple;       /* the machine shut down, and gdb was told */
    unsigned cpu;      /* that g, m … are about */
    int cpu_run;       /* that c and s are about; -1: all */
    unsigned sstep;    /* QEMU's bits */
    char reason[200];  /* the last stop reply */
    char *description; /* of the registers, for the session */
    struct gdb_stop *stops;
    unsigned stop_count, stop_room;
};

/* QEMU's bits of qemu.sstep. */
#define SSTEP_ENABLE  1u
#define SSTEP_NOIRQ   2u
#define SSTEP_NOTIMER 4u

/* A debugger has come; the machine is paused. */
void gdb_begin(struct gdb_remote *g);
/* It has gone: takes its breakpoints away. The machine stays as it is. */
void gdb_end(struct gdb_remote *g);

void gdb_input(struct gdb_remote *g, const char *bytes, size_t n);
/* machine_run() returned MACHINE_BREAK or MACHINE_TRIPLE: pauses, and tells gdb. */
void gdb_stopped(struct gdb_remote *g, enum machine_event event);
/* ishi ends with this status. */
void gdb_exited(struct gdb_remote *g, unsigned status);

/* For gdb_packets.c. */

/* An answer in parts, from gdb_begin_answer() to gdb_send(), or whole. Too much is cut. */
void gdb_begin_answer(struct gdb_remote *g);
void gdb_add(struct gdb_remote *g, const char *fmt, ...) PRINTF(2, 3);
void gdb_add_hex(struct gdb_remote *g, const uint8_t *bytes, size_t n);
void gdb_send(struct gdb_remote *g);
void gdb_answer(struct gdb_remote *g, const char *fmt, ...) PRINTF(2, 3);
void gdb_answer_hex(struct gdb_remote *g, const void *bytes, size_t n);
/* Text for gdb's user, at once. */
void gdb_print(struct gdb_remote *g, const char *text);
/* One packet, NUL at its end. */
void gdb_packet(struct gdb_remote *g, char *p, size_t n);
/* Goes on; or stops, as if by Ctrl-C. */
void gdb_go(struct gdb_remote *g);
void gdb_interrupt(struct gdb_remote *g);

/* The register description, to be freed. */
char *gdb_describe(enum reg_set set);

#endif
