/* ishi compare: two machines in lockstep, stopped at their first difference.
 *
 * The other machine is either a second ishi in this process, which runs on another engine
 * (compare_engines.c), or anything that has a gdb stub, which then follows ishi instruction by
 * instruction (compare_stub.c). docs/debugging.md says what each proves. */
#ifndef ISHI_FRONT_COMPARE_H
#define ISHI_FRONT_COMPARE_H

#include "front/setup.h"
#include "front/witness.h"

struct compare_options {
    const struct engine *engine[2]; /* two engines; both NULL: the other side is a stub */
    const char *with;               /* a stub: qemu, HOST:PORT, unix:PATH */
    enum witness_grain grain;       /* how often the state is looked at */
    uint64_t every;                 /* instructions to the first comparison */
    uint64_t steps;                 /* instructions to compare; 0: until the machine ends */
    uint64_t from;                  /* grain sync: instructions after which it is grain insn */
    uint64_t split;   /* the second machine runs at most so many instructions at once; 0: freely */
    uint64_t inject;  /* after so many instructions a bit of a register is changed in the second
                         machine, or in ishi beside a stub, to see that it is found; 0: never */
    unsigned history; /* instructions to show before the difference */
    bool rules;       /* prints the rules and ends */
    bool quiet;       /* does not show what the guest prints */
};

/* One machine of a comparison. */
struct compare_side {
    struct setup setup;
    struct loop loop;
    struct chardev terminal;
    struct machine *machine;
    bool shown; /* its serial output goes to stdout */
};

/* The exit status of the command: 0 for no difference, 1 for one; others as for `ishi run`. */
#define STATUS_DIFFERENT 1

/* Builds a machine from the options as they were parsed, on the virtual clock, its disks as
 * snapshots. The engine is o.engine. False with *e. compare_close() in either case. */
bool compare_open(struct compare_side *s, const struct options *o, bool shown, struct err *e);
void compare_close(struct compare_side *s);

/* What is different between the machines' states, one line each, to stdout; returns how many
 * fields are. With `print` false it stops at the first. Memory is compared by the pages that were
 * written in either. */
unsigned compare_machines(struct machine *a, struct machine *b, const char *name_a,
                          const char *name_b, bool print);

/* The instruction at the CPU's RIP as one line to stdout. */
void compare_show_insn(struct machine *m, const char *prefix);

/* Against what is behind a gdb stub. */
int compare_stub(const struct compare_options *co, const struct options *o);
int compare_engines(const struct compare_options *co, const struct options *o);

#endif
