/* What a debugger does with a machine: stop, look, step, go on. For the gdb stub, the monitor,
 * comparisons with another machine, and whatever else wants to stand beside a guest.
 *
 * How to use it:
 *
 *     debug_break_add(m, 0x7c00);               // linear address
 *     debug_run_all(m);                         // what every CPU may do from here on
 *     while (machine_run(m, &e) != MACHINE_BREAK)
 *         ...                                   // other events as ever
 *     const struct debug_stop *s = debug_stop(m);   // which CPU, why
 *     debug_step(m, s->cpu, &e);                // one instruction of that CPU, nothing else
 *     debug_run_all(m);                         // goes on; the breakpoint it stands at is passed
 *
 * A machine stops between two instructions of each CPU. Looking changes nothing: on the virtual
 * clock a run with stops, breakpoints and steps of the CPU whose turn it is ends in the same state
 * as one without, instruction by instruction (as long as interrupts are not held off). Running
 * some CPUs while others stand still changes the order of their turns.
 *
 * Addresses are linear; the register rip is the offset in CS, as everywhere. Nothing is written to
 * the guest's memory but by debug_write(). On the host's clock, time stands still between
 * debug_pause() and debug_resume(). */
#ifndef ISHI_MACHINE_DEBUG_H
#define ISHI_MACHINE_DEBUG_H

#include "cpu/debug.h"
#include "machine/machine.h"

enum debug_why {
    DEBUG_NONE,
    DEBUG_BREAK, /* addr: the breakpoint, which is the next instruction */
    DEBUG_WATCH, /* addr: the watchpoint's; the instruction that touched it is done */
    DEBUG_STEP,  /* the step that was asked for is done */
};

struct debug_stop {
    enum debug_why why;
    unsigned cpu;
    uint64_t addr;
    unsigned kinds; /* DEBUG_WATCH: WATCH_* that it watches for */
};

/* What one CPU does in the machine_run()s to come. */
enum debug_act {
    DEBUG_RUN,
    DEBUG_HOLD,  /* stands still; nothing but a step of another CPU does this for long */
    DEBUG_STEPS, /* one instruction at a time; stops when rip is outside [low, high) */
};

/* What a step is. An interrupt, an exception or one iteration of a REP is a step of its own, which
 * ends at the handler's first instruction. A step of a halted CPU ends when it was woken. */
#define DEBUG_NOIRQ 1u /* no interrupt is taken while a CPU steps, unless it is halted */

/* A debugger wrote the CPU's rip or CS: a breakpoint there stops it, were it to go on. */
void debug_moved(struct machine *m, unsigned cpu);
/* Why machine_run() returned MACHINE_BREAK last. */
const struct debug_stop *debug_stop(const struct machine *m);

/* All CPUs run; those that stand at a breakpoint where they stopped go on from it. */
void debug_run_all(struct machine *m);
/* The same for one CPU; to be called for each before machine_run(). */
void debug_act(struct machine *m, unsigned cpu, enum debug_act act, uint64_t low, uint64_t high);
/* DEBUG_NOIRQ or 0 for steps from now on. At first: 0. */
void debug_step_flags(struct machine *m, unsigned flags);
/* Runs the machine until the CPU has done one step and the others nothing. MACHINE_BREAK, or what
 * machine_run() said instead; MACHINE_IDLE: it is halted, and nothing woke it. */
enum machine_event debug_step(struct machine *m, unsigned cpu, struct err *e);

/* Breakpoints, of all CPUs. An address can be added more than once, and is then to be removed as
 * often. False: there is no such breakpoint, or no room. */
bool debug_break_add(struct machine *m, uint64_t la);
bool debug_break_remove(struct machine *m, uint64_t la);
/* Watchpoints: `kinds` of WATCH_READ and WATCH_WRITE; length at least 1, and no wrap. Accesses by
 * devices (DMA) and by the page walk are not seen. */
bool debug_watch_add(struct machine *m, uint64_t la, uint64_t length, unsigned kinds);
bool debug_watch_remove(struct machine *m, uint64_t la, uint64_t length, unsigned kinds);
/* A line for each instruction of every CPU, to the log's topic "insn", from the next turn on: as it
 * is about to be executed, with its bytes and disassembled. An instruction in whose place an
 * interrupt is taken has none. The machine then runs by single steps, on every engine. At first: as
 * the log's mask has it. */
void debug_trace(struct machine *m, bool on);
/* Removes all. */
void debug_clear(struct machine *m);
const struct stops *debug_stops(const struct machine *m);

/* The host's clock stands still from the one call to the other; calls don't nest. */
void debug_pause(struct machine *m);
void debug_resume(struct machine *m);
bool debug_paused(const struct machine *m);

/* Memory as the CPU sees it (linear: present paging, no rights checked) or by physical address.
 * RAM, ROM, and video memory, whose reading does nothing (bus_peek()); other devices' memory is not
 * touched. Returns how many bytes could be had before the first gap; writes change RAM only. */
size_t debug_read(struct machine *m, unsigned cpu, bool physical, uint64_t at, void *buf, size_t n);
size_t debug_write(struct machine *m, unsigned cpu, bool physical, uint64_t at, const void *buf,
                   size_t n);

/* For machine.c. */

struct debug {
    struct stops stops;
    struct debug_stop stop;
    bool on; /* some CPU does not simply run, or there are stops, or a trace is written */
    bool trace;
    bool paused;
    uint64_t paused_at; /* host's ns */
    unsigned flags;     /* DEBUG_NOIRQ */
    uint8_t act[CPU_MAX];
    uint64_t low[CPU_MAX], high[CPU_MAX];
    bool stopped_here[CPU_MAX]; /* this CPU's stop was told, and nobody moved it since */
    uint64_t passed[CPU_MAX];   /* cpu.stop.passed when its step began */
    char line[160];             /* of the trace: an instruction that an interrupt may forestall */
};

struct debug *machine_debug(struct machine *m);
/* Before a CPU's turn. False: it stands still. Cuts the turn to a step. */
bool debug_turn(struct machine *m, struct cpu *c, uint64_t *budget);
/* After it, `done` instructions later. True: the machine stops. */
bool debug_turned(struct machine *m, struct cpu *c, uint64_t done);
void debug_free(struct machine *m);

#endif
