/* What runs a CPU. One interface for all of them: run(budget) → why it came back.
 *
 * An engine executes exactly `budget` instructions, or fewer when something needs the machine: a
 * device event is due at an exact instruction count, so the machine makes the budget end there. */
#ifndef ISHI_ENGINE_ENGINE_H
#define ISHI_ENGINE_ENGINE_H

#include "base/err.h"
#include "cpu/cpu.h"

enum engine_exit {
    ENGINE_BUDGET,   /* the budget is spent */
    ENGINE_HALT,     /* the CPU halts, waits for a start-up IPI, or is idle in MWAIT */
    ENGINE_REQUEST,  /* REQ_EXIT was set; it is cleared */
    ENGINE_YIELD,    /* the CPU spins or waits for memory to change: better let another one run */
    ENGINE_SHUTDOWN, /* triple fault; c->chain says how */
};

/* One way of running CPUs; all have the same architectural state, so that a machine may change its
 * engine between two runs. */
struct engine {
    const char *name; /* as in --engine */
    const char *text; /* for people */
    /* Prepares the CPUs of one machine, once, when all are initialised, and undoes it before they
     * are freed, or before another engine joins. CPUs that have executed nothing may lose features
     * that the host lacks, and get another tsc_hz; others are refused for it. False with *e: the
     * host can't. */
    bool (*join)(struct cpu **cpus, unsigned n, struct err *e);
    void (*part)(struct cpu **cpus, unsigned n);
    /* s.icount advances by what was executed. */
    enum engine_exit (*run)(struct cpu *c, uint64_t budget);
    /* The rest may be NULL. */
    /* Makes c->s true, where the engine keeps state elsewhere between runs. After it the caller may
     * also change c->s. */
    void (*sync)(struct cpu *c);
    /* Text for the monitor, of the machine that c is in. */
    void (*show)(struct cpu *c, char *buf, size_t size);
    /* In a copy of the process that fork() made, while the other one waits: what they would share
     * becomes the copy's own. False: that can't be, and nothing may run in the copy. NULL: they
     * share nothing. */
    bool (*own)(struct cpu **cpus, unsigned n);
    /* While bus.logs_writes is set, for an engine that does not mark pages of RAM as PAGE_DIRTY
     * when its CPUs write them: marks those that they have written since the last call, or since
     * that was set. By any CPU of the machine, while all stand still. */
    void (*written)(struct cpu *c);
    bool by_time;         /* a run ends by the host's clock, and s.icount is a guess */
    bool (*usable)(void); /* NULL: on every host */
    /* CPUs can run at the same time, each on a thread of its own, if cpu.parallel was set when they
     * joined. run(), then: by the thread of c, as long as c->share is set (share.h says what it
     * may touch then); it leaves soon, with ENGINE_REQUEST, after REQ_EXIT was set by another
     * thread, and takes what else is or'ed to c->request while it runs. While c->share is NULL all
     * is as for engines that can't: one call at a time, by any thread. */
    bool parallel;
    /* From any thread, after c->request was or'ed to: makes a run() that does not look at it by
     * itself look. NULL: every run() does, within some ten microseconds. */
    void (*kick)(struct cpu *c);
};

/* The best of our own CPU's on this host: what `auto` takes where KVM is not worth it. */
const struct engine *engine_default(void);
/* By name, and the i-th, best first; NULL: there is none. */
const struct engine *engine_find(const char *name);
const struct engine *engine_at(unsigned i);

extern const struct engine engine_interp; /* our own CPU, by interpreting uops */
extern const struct engine engine_jit;    /* our own CPU, by generated code */
extern const struct engine engine_kvm;    /* the host's, by Linux's KVM */

/* The functions of engine_interp, for tests that run a bare CPU. soft_join makes the CPUs share
 * translated code (each has its own where cpu.parallel is set), and ties them to the bus's hooks.
 */
void soft_join(struct cpu **cpus, unsigned n);
void soft_part(struct cpu **cpus, unsigned n);
enum engine_exit soft_run(struct cpu *c, uint64_t budget);

#endif
