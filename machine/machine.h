/* A whole PC: CPUs, board and the loop that runs them. What a front end talks to.
 *
 * A machine is single-threaded to who uses it: everything happens inside machine_run() and the
 * calls below. CPUs may have threads of their own, but they stand still outside of machine_run(); a
 * back end's functions are then called by any of them, one at a time. Several machines may live in
 * one process. On the virtual clock a run is a pure function of the configuration, the images and
 * what comes in between two calls of machine_run().
 */
#ifndef ISHI_MACHINE_MACHINE_H
#define ISHI_MACHINE_MACHINE_H

#include "backend/blockdev.h"
#include "backend/chardev.h"
#include "backend/display.h"
#include "boot/boot.h"
#include "cpu/cpu.h"
#include "dev/chips.h"
#include "engine/engine.h"
#include "machine/parallel.h"

#define MACHINE_SERIALS 4
#define MACHINE_DISKS                                                                              \
    4                     /* IDE: primary master, primary slave, secondary master, secondary slave \
                           */
#define MACHINE_VIRTIO  8 /* disks by virtio */
#define MACHINE_RAM_MIN (1ull << 20)
#define MACHINE_ROMS    2

enum clock_mode {
    CLOCK_HOST,    /* time is the host's */
    CLOCK_VIRTUAL, /* time is the number of instructions executed; an idle machine jumps */
};

struct machine_disk {
    struct blockdev *dev; /* NULL: no drive */
    bool cdrom;
};

/* Everything a machine is made of. Pointers stay the caller's and must outlive the machine. */
struct machine_config {
    uint8_t *ram; /* page-aligned, zeroed */
    uint64_t ram_size;
    const struct engine *engine; /* NULL: the default */
    unsigned cpus;               /* 1..CPU_MAX */
    const char *cpu_model;       /* MODEL[,+kvmclock]; NULL: the default */
    enum clock_mode clock;
    enum chips_wish irqchip; /* on an engine that has interrupt controllers of its own */
    /* For CPUs that run side by side, on CLOCK_HOST; NULL: they take turns. */
    const struct threads *threads;
    struct outside outside;
    uint64_t (*host_ns)(void);               /* monotonic, for CLOCK_HOST */
    uint64_t start_time;                     /* of the real-time clock: seconds since 1970, UTC */
    uint64_t seed;                           /* of the random source */
    struct chardev *serial[MACHINE_SERIALS]; /* NULL: the port is there, nothing is connected */
    struct chardev *debugcon;                /* ports 0xe9 and 0x402; may be NULL */
    uint16_t debug_exit_port;                /* of isa-debug-exit; 0: none */
    struct machine_disk disk[MACHINE_DISKS];
    struct blockdev *virtio_disk[MACHINE_VIRTIO]; /* NULL: none */
    /* Firmware: the disks by virtio before the first of `disk`. */
    bool boot_virtio;
    bool boot_cdrom; /* firmware: try the CD-ROM before the disks */
    struct log log;
    uint64_t *coverage; /* counts executions by isa_row_index(); NULL: not wanted */

    /* How it starts: a kernel, else a BIOS, else the first disk's boot sector. */
    const uint8_t *kernel; /* whole file; NULL: none */
    uint64_t kernel_size;
    enum boot_kind kernel_kind;
    enum boot_linux_entry linux_entry;
    const char *cmdline;
    const uint8_t *initrd;
    uint64_t initrd_size;
    const char *initrd_name;
    const uint8_t *bios; /* NULL: no firmware */
    uint64_t bios_size;
    const uint8_t *vga_bios; /* its option ROM; NULL: none */
    uint64_t vga_bios_size;
    const uint8_t *floppy; /* image that the BIOS offers as drive A, held in memory; NULL: none */
    uint64_t floppy_size;
    struct {
        const char *name;
        const uint8_t *data;
        uint64_t size;
    } rom[MACHINE_ROMS]; /* more option ROMs for the BIOS */
};

enum machine_event {
    MACHINE_SLICE,      /* time to look at the outside; call again */
    MACHINE_IDLE,       /* every CPU waits; nothing need be done before machine_wakeup() */
    MACHINE_OFF,        /* the guest powered off */
    MACHINE_TRIPLE,     /* triple fault: a CPU shut down; machine_triple() */
    MACHINE_DEBUG_EXIT, /* isa-debug-exit; machine_exit_code() */
    MACHINE_STOPPED,    /* machine_stop_after()'s count is reached */
    MACHINE_REBOOT,     /* the guest asked for a reset, and machine_stop_on_reboot() was set */
    MACHINE_BREAK,      /* what a debugger waits for: debug_stop() of debug.h */
    MACHINE_FAILED,     /* a reset could not load the guest again; the error is in *e */
};

extern const struct state_table machine_table; /* of the loop's own state */

struct machine;
struct pc;

/* Builds and boots. NULL with *e for a configuration that can't be. */
struct machine *machine_new(const struct machine_config *cfg, struct err *e);
void machine_free(struct machine *m);

/* Runs for about a millisecond. */
enum machine_event machine_run(struct machine *m, struct err *e);
/* After MACHINE_IDLE: the moment of the next timer, in ns of machine_now(), or a little later than
 * now if the guest waits in a loop; CLOCK_NEVER: only input can wake it. */
uint64_t machine_wakeup(const struct machine *m);
uint64_t machine_now(const struct machine *m);
/* Makes machine_run() stop when all CPUs together have executed n instructions. */
void machine_stop_after(struct machine *m, uint64_t n);
/* A reset by the guest makes machine_run() return MACHINE_REBOOT. */
void machine_stop_on_reboot(struct machine *m, bool stop);
uint64_t machine_icount(const struct machine *m);
unsigned machine_exit_code(const struct machine *m);
struct cpu *machine_triple(struct machine *m);

/* Which topics the log has from here on: bits of enum log_topic. */
void machine_log(struct machine *m, uint32_t mask);
uint32_t machine_log_mask(const struct machine *m);

/* The hash of all state: CPUs, chips, memory. Equal state, equal hash. */
uint64_t machine_hash(struct machine *m);

/* Which pages of RAM are written, by CPUs or devices, the same way on every engine: from `on` on,
 * or since the last call of machine_written(), which calls f for each run of such pages, by rising
 * physical address, and returns how many pages they are. Between two calls of machine_run(). */
void machine_log_writes(struct machine *m, bool on);
uint64_t machine_written(struct machine *m, void (*f)(void *opaque, uint64_t paddr, uint64_t pages),
                         void *opaque);

/* What a person does at the machine. */
void machine_reset(struct machine *m);        /* the reset button */
void machine_power_button(struct machine *m); /* ACPI */
bool machine_nmi(struct machine *m);          /* false: the guest has the board's NMI masked */
/* Types what a terminal sent (ASCII and escape sequences) on the PS/2 keyboard; returns how many
 * bytes it took. */
size_t machine_type(struct machine *m, const uint8_t *bytes, size_t n);

/* For the monitor. */
struct cpu *machine_cpu(struct machine *m, unsigned i);
unsigned machine_cpu_count(const struct machine *m);
const struct display_source *machine_display(struct machine *m);
struct bus *machine_bus(struct machine *m);
struct pc *machine_pc(struct machine *m);
const struct engine *machine_engine(const struct machine *m);
/* In a copy of the process that fork() made, while the other one waits: the machine runs apart from
 * the one there. False: there is no memory for that. */
bool machine_own(struct machine *m);
/* At an instruction boundary, so between two calls of machine_run(). False with *e: the machine
 * stays on the engine that it has. */
bool machine_set_engine(struct machine *m, const struct engine *x, struct err *e);
unsigned machine_state_count(const struct machine *m);
const struct state_ref *machine_state(const struct machine *m, unsigned i);

#endif
