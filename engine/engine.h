/* What runs a CPU. One interface for all of them: run(budget) → why it came back.
 *
 * An engine executes exactly `budget` instructions, or fewer when something needs the machine: a
 * device event is due at an exact instruction count, so the machine makes the budget end there. */
#ifndef ISHI_ENGINE_ENGINE_H
#define ISHI_ENGINE_ENGINE_H

#include "cpu/cpu.h"

enum engine_exit {
    ENGINE_BUDGET,   /* the budget is spent */
    ENGINE_HALT,     /* the CPU halts, waits for a start-up IPI, or is idle in MWAIT */
    ENGINE_REQUEST,  /* REQ_EXIT was set; it is cleared */
    ENGINE_YIELD,    /* the CPU spins or waits for memory to change: better let another one run */
    ENGINE_SHUTDOWN, /* triple fault; c->chain says how */
};

/* Makes the CPUs of one machine share translated code, and ties them to the bus's hooks. Once, when
 * all are initialised; soft_part undoes it before they are freed. */
void soft_join(struct cpu **cpus, unsigned n);
void soft_part(struct cpu **cpus, unsigned n);

/* The engine of our own CPU, by interpreting uops. s.icount advances by what was executed. */
enum engine_exit soft_run(struct cpu *c, uint64_t budget);

#endif
