/* A thread for each CPU.
 *
 * parallel_run() lets all CPUs of a machine run at once, each on its thread, and comes back when
 * somebody wants the machine to stand still: there is input, the guest asked the board for
 * something, a CPU shut down. Before it returns, every CPU has come out of its engine and stays
 * out. So whoever looks at a machine between two calls (monitor, gdb, a hash, an engine switch) has
 * it for himself, as where CPUs take turns.
 *
 * The caller's thread fires the timers meanwhile and waits for the outside; CPUs' threads do what
 * their CPUs ask of devices. What they share is guarded as cpu/share.h says; a CPU's thread holds
 * the lock but while it runs its guest, and while it waits for an interrupt. */
#ifndef ISHI_MACHINE_PARALLEL_H
#define ISHI_MACHINE_PARALLEL_H

#include "backend/threads.h"
#include "engine/engine.h"

/* How the thread that called parallel_run() waits. */
struct outside {
    /* What is to be waited for; the machine's lock is held, and CPUs may run. */
    void (*prepare)(void *opaque);
    /* Waits for that, at most ns; CPUs run. True: there is something to be looked at in a machine
     * that stands still. */
    bool (*wait)(void *opaque, uint64_t ns);
    /* From any thread: ends wait(), now or the next one. */
    void (*wake)(void *opaque);
    void *opaque;
};

struct parallel;

/* Everything stays the caller's. NULL with *e: the host has no threads for it. */
struct parallel *parallel_new(const struct threads *t, const struct outside *outside,
                              struct cpu **cpus, unsigned count, struct clock *clock,
                              struct err *e);
void parallel_free(struct parallel *p);

/* Comes back after half a second at the latest. The CPU that has shut down, or NULL. */
struct cpu *parallel_run(struct parallel *p, const struct engine *engine);
/* Do CPUs run? To be asked with the lock held. */
bool parallel_on(const struct parallel *p);
/* With the lock held: parallel_run() is to come back. */
void parallel_stop(struct parallel *p);
/* With the lock held: a timer's deadline is earlier now. */
void parallel_sooner(struct parallel *p);

#endif
