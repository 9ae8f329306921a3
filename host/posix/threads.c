#include "host/posix/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/err.h"

#ifdef __x86_64__
#define HOST_TSO true
#else
#define HOST_TSO false
#endif

struct thread {
    pthread_t id;
    void (*main)(void *opaque);
    void *opaque;
};

static void *lock_new(void)
{
    pthread_mutex_t *m = xcalloc(1, sizeof *m);
    CHECK(!pthread_mutex_init(m, NULL));
    return m;
}

static void lock_free(void *lock)
{
    pthread_mutex_destroy(lock);
    free(lock);
}

static void take(void *lock)
{
    CHECK(!pthread_mutex_lock(lock));
}

static void give(void *lock)
{
    CHECK(!pthread_mutex_unlock(lock));
}

static void *bell_new(void)
{
    pthread_cond_t *c = xcalloc(1, sizeof *c);
    CHECK(!pthread_cond_init(c, NULL));
    return c;
}

static void bell_free(void *bell)
{
    pthread_cond_destroy(bell);
    free(bell);
}

static void wait(void *bell, void *lock)
{
    pthread_cond_wait(bell, lock);
}

static void ring(void *bell)
{
    pthread_cond_broadcast(bell);
}

static void *begin(void *opaque)
{
    struct thread *t = opaque;
    t->main(t->opaque);
    return NULL;
}

/* Signals that end or stop the process are the first thread's: it knows what the terminal needs. An
 * engine has the real-time ones for itself. */
static void *start(void (*entry)(void *opaque), void *opaque)
{
    struct thread *t = xcalloc(1, sizeof *t);
    sigset_t most, old;
    *t = (struct thread){.main = entry, .opaque = opaque};
    sigfillset(&most);
    for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
        sigdelset(&most, n);
    for (unsigned i = 0; i < 4; i++)
        sigdelset(&most, (const int[]){SIGSEGV, SIGBUS, SIGILL, SIGFPE}[i]);
    pthread_sigmask(SIG_BLOCK, &most, &old);
    int failed = pthread_create(&t->id, NULL, begin, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed)
        return t;
    free(t);
    return NULL;
}

static void join(void *thread)
{
    struct thread *t = thread;
    pthread_join(t->id, NULL);
    free(t);
}

static void yield(void)
{
    sched_yield();
}

const struct threads host_threads = {lock_new, lock_free, take,  give, bell_new, bell_free,
                                     wait,     ring,      start, join, yield,    HOST_TSO};
