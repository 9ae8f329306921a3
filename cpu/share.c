#include "cpu/share.h"

static void leave(struct cpu *c)
{
    __atomic_store_n(&c->running, false, __ATOMIC_SEQ_CST);
    c->share->left(c->share->opaque);
    c->share->take(c->share->opaque);
}

/* With the lock, so that nobody waits for stillness meanwhile. */
static void enter(struct cpu *c)
{
    __atomic_store_n(&c->running, true, __ATOMIC_SEQ_CST);
    c->share->give(c->share->opaque);
}

void cpu_lock_shared(struct cpu *c)
{
    if (c->locks++ == 0)
        leave(c);
}

void cpu_unlock_shared(struct cpu *c)
{
    if (--c->locks == 0)
        enter(c);
}

void cpu_enter_guest(struct cpu *c)
{
    CHECK(!c->locks);
    enter(c);
}

void cpu_leave_guest(struct cpu *c)
{
    CHECK(!c->locks);
    leave(c);
}
