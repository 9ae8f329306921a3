/* CPUs on threads of their own: what they share, and how one of them gets to it.
 *
 * One lock, the machine's, guards everything that is not one CPU's alone: devices, timers, local
 * APICs, the bus's map, and which pages have translated code in which cache. A CPU that runs guest
 * code does not hold it. It takes it by cpu_lock() for an access to a device and for changes of its
 * own block cache's lists of pages; both nest. Guest RAM, the CPU's own state, its TLB and its
 * blocks need no lock.
 *
 * What must not change while any CPU looks at it (the bus's map; another CPU's TLB or blocks) is
 * changed in stillness: share_still(), with the lock held, returns when no CPU runs guest code; all
 * are outside of engine->run() or wait in cpu_lock(). They stay so until the lock is given. So
 * whoever calls cpu_lock() must expect that translations, links and blocks are gone when it
 * returns.
 *
 * cpu.share is NULL while no CPU thread runs, and always where CPUs take turns: then none of this
 * does anything. */
#ifndef ISHI_CPU_SHARE_H
#define ISHI_CPU_SHARE_H

#include "cpu/cpu.h"

struct share {
    void (*take)(void *opaque);
    void (*give)(void *opaque);
    /* The lock is held by the caller. */
    void (*still)(void *opaque);
    /* Some CPU left guest code; still() may wait for that. Without the lock. */
    void (*left)(void *opaque);
    /* c->request was or'ed to, by any thread: ends the wait of a CPU that halts. */
    void (*wake)(void *opaque, struct cpu *c);
    void *opaque;
};

/* By the thread of c. */
void cpu_lock_shared(struct cpu *c);
void cpu_unlock_shared(struct cpu *c);

static inline void cpu_lock(struct cpu *c)
{
    if (UNLIKELY(c->share))
        cpu_lock_shared(c);
}

static inline void cpu_unlock(struct cpu *c)
{
    if (UNLIKELY(c->share))
        cpu_unlock_shared(c);
}

static inline void share_still(const struct cpu *c)
{
    if (c->share)
        c->share->still(c->share->opaque);
}

/* Stores of this CPU are seen by all before it loads again; part of what serialises (SDM 3A 8.3).
 */
static inline void cpu_fence(const struct cpu *c)
{
    if (UNLIKELY(c->share))
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Around engine->run(), with the lock held before and after. */
void cpu_enter_guest(struct cpu *c);
void cpu_leave_guest(struct cpu *c);

#endif
