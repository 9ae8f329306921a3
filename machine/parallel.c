#include "machine/parallel.h"

#include <stdlib.h>

#include "cpu/share.h"

#define BUDGET        1000000            /* instructions of one engine->run() */
#define PATIENT       (500 * 1000000ull) /* ns of one parallel_run() */
#define FREE(f, what) ((what) ? p->t->f(what) : (void)0)

/* A CPU and its thread. */
struct seat {
    struct parallel *p;
    struct cpu *c;
    void *thread;
    void *bell;   /* go on: there is a request, or `go` has changed */
    bool waiting; /* at the bell, for a request; atomic */
};

struct parallel {
    const struct threads *t;
    const struct outside *outside;
    struct cpu **cpus;
    unsigned count;
    struct clock *clock;
    const struct engine *engine;
    struct share share;
    void *lock;
    void *parked_bell; /* `parked` has changed */
    /* Stillness: taken inside of `lock`, by who leaves guest code and by who waits for that. */
    void *still_lock, *still_bell;
    bool stilling; /* somebody waits; atomic */
    /* The rest is guarded by `lock`. */
    bool go, quit, want;
    unsigned parked; /* threads that wait for `go` */
    struct cpu *shut;
    uint64_t
        sleeps_until; /* of the machine's clock, the thread of parallel_run(); 0: it does not */
    struct seat seat[CPU_MAX];
};

/* --- what CPUs share -------------------------------------------------------------------------- */

static void take(void *opaque)
{
    struct parallel *p = opaque;
    p->t->take(p->lock);
}

static void give(void *opaque)
{
    struct parallel *p = opaque;
    p->t->give(p->lock);
}

static void left(void *opaque)
{
    struct parallel *p = opaque;
    if (!__atomic_load_n(&p->stilling, __ATOMIC_SEQ_CST))
        return;
    p->t->take(p->still_lock);
    p->t->ring(p->still_bell);
    p->t->give(p->still_lock);
}

static bool running(const struct cpu *c)
{
    return __atomic_load_n(&c->running, __ATOMIC_SEQ_CST);
}

static void ask_out(struct parallel *p, struct cpu *c)
{
    __atomic_fetch_or(&c->request, REQ_EXIT, __ATOMIC_SEQ_CST);
    if (p->engine->kick && running(c))
        p->engine->kick(c);
}

/* Nobody begins to run while we have the lock, so each is to be waited for once. */
static void still(void *opaque)
{
    struct parallel *p = opaque;
    bool any = false;
    for (unsigned i = 0; i < p->count; i++) {
        if (!running(p->cpus[i]))
            continue;
        any = true;
        ask_out(p, p->cpus[i]);
    }
    if (!any)
        return;
    p->t->take(p->still_lock);
    __atomic_store_n(&p->stilling, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < p->count; i++)
        while (running(p->cpus[i]))
            p->t->wait(p->still_bell, p->still_lock);
    __atomic_store_n(&p->stilling, false, __ATOMIC_SEQ_CST);
    p->t->give(p->still_lock);
}

static void wake(void *opaque, struct cpu *c)
{
    struct parallel *p = opaque;
    struct seat *s = &p->seat[c->index];
    if (__atomic_load_n(&s->waiting, __ATOMIC_SEQ_CST))
        p->t->ring(s->bell);
    else if (p->engine->kick && running(c))
        p->engine->kick(c);
}

/* --- a CPU's thread --------------------------------------------------------------------------- */

static void wake_outside(struct parallel *p)
{
    if (p->sleeps_until)
        p->outside->wake(p->outside->opaque);
    p->sleeps_until = 0;
}

/* Waits until CPUs run. */
static void park(struct seat *s)
{
    struct parallel *p = s->p;
    p->parked++;
    p->t->ring(p->parked_bell);
    while (!p->go && !p->quit)
        p->t->wait(s->bell, p->lock);
    p->parked--;
}

/* Waits for a request: `waiting` is set before the request is looked at, and who makes one looks at
 * `waiting` after that. */
static void wait_for_request(struct seat *s)
{
    struct parallel *p = s->p;
    __atomic_store_n(&s->waiting, true, __ATOMIC_SEQ_CST);
    while (!cpu_requests(s->c) && p->go)
        p->t->wait(s->bell, p->lock);
    __atomic_store_n(&s->waiting, false, __ATOMIC_SEQ_CST);
}

static void run(struct seat *s)
{
    struct parallel *p = s->p;
    struct cpu *c = s->c;
    cpu_enter_guest(c);
    enum engine_exit why = p->engine->run(c, BUDGET);
    cpu_leave_guest(c);
    if (why == ENGINE_SHUTDOWN && !p->shut) {
        p->shut = c;
        wake_outside(p);
    }
    if (why == ENGINE_YIELD) {
        give(p);
        p->t->yield();
        take(p);
    }
    /* the thread that sees to timers may have to wait for a processor */
    if (p->clock->next <= clock_now(p->clock))
        clock_run(p->clock);
    if (why == ENGINE_HALT || why == ENGINE_SHUTDOWN)
        wait_for_request(s);
}

static void seat_main(void *opaque)
{
    struct seat *s = opaque;
    struct parallel *p = s->p;
    take(p);
    while (!p->quit) {
        if (!p->go)
            park(s);
        else if (s->c->s.activity != ACT_RUN && !cpu_requests(s->c))
            wait_for_request(s);
        else
            run(s);
    }
    give(p);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void let_go(struct parallel *p)
{
    for (unsigned i = 0; i < p->count; i++)
        p->cpus[i]->share = &p->share;
    p->go = true;
    for (unsigned i = 0; i < p->count; i++)
        p->t->ring(p->seat[i].bell);
}

/* One that does not run guest code may wait for the lock in the midst of engine->run(), to run on
 * when it has it: so all are asked. */
static void stop_all(struct parallel *p)
{
    p->go = false;
    for (unsigned i = 0; i < p->count; i++) {
        ask_out(p, p->cpus[i]);
        p->t->ring(p->seat[i].bell);
    }
    while (p->parked < p->count)
        p->t->wait(p->parked_bell, p->lock);
    for (unsigned i = 0; i < p->count; i++) {
        p->cpus[i]->share = NULL;
        __atomic_fetch_and(&p->cpus[i]->request, ~REQ_EXIT, __ATOMIC_SEQ_CST);
    }
}

/* Timers and the outside, until the machine is to stand still. */
static void attend(struct parallel *p)
{
    uint64_t end = clock_now(p->clock) + PATIENT;
    while (!p->want && !p->shut) {
        uint64_t now = clock_now(p->clock), until = min_u64(p->clock->next, end);
        if (now >= end)
            return;
        if (until <= now) {
            clock_run(p->clock);
            continue;
        }
        p->outside->prepare(p->outside->opaque);
        p->sleeps_until = until;
        give(p);
        bool look = p->outside->wait(p->outside->opaque, until - now);
        take(p);
        p->sleeps_until = 0;
        if (look)
            return;
    }
}

struct cpu *parallel_run(struct parallel *p, const struct engine *engine)
{
    take(p);
    p->engine = engine;
    p->want = false;
    p->shut = NULL;
    let_go(p);
    attend(p);
    stop_all(p);
    give(p);
    return p->shut;
}

bool parallel_on(const struct parallel *p)
{
    return p->go;
}

void parallel_stop(struct parallel *p)
{
    p->want = true;
    wake_outside(p);
}

void parallel_sooner(struct parallel *p)
{
    if (p->clock->next < p->sleeps_until)
        wake_outside(p);
}

/* --- making ----------------------------------------------------------------------------------- */

struct parallel *parallel_new(const struct threads *t, const struct outside *outside,
                              struct cpu **cpus, unsigned count, struct clock *clock, struct err *e)
{
    struct parallel *p = xcalloc(1, sizeof *p);
    *p =
        (struct parallel){.t = t, .outside = outside, .cpus = cpus, .count = count, .clock = clock};
    p->share = (struct share){take, give, still, left, wake, p};
    p->lock = t->lock_new();
    p->still_lock = t->lock_new();
    p->parked_bell = t->bell_new();
    p->still_bell = t->bell_new();
    for (unsigned i = 0; i < count; i++) {
        struct seat *s = &p->seat[i];
        *s = (struct seat){.p = p, .c = cpus[i], .bell = t->bell_new()};
        s->thread = t->start(seat_main, s);
        if (!s->thread) {
            parallel_free(p);
            err_set(e, ERR_NO_MEMORY, "the host gives no thread for CPU %u", i);
            return NULL;
        }
    }
    take(p);
    while (p->parked < count)
        t->wait(p->parked_bell, p->lock);
    give(p);
    return p;
}

void parallel_free(struct parallel *p)
{
    if (!p)
        return;
    take(p);
    p->quit = true;
    for (unsigned i = 0; i < p->count && p->seat[i].bell; i++)
        p->t->ring(p->seat[i].bell);
    give(p);
    for (unsigned i = 0; i < p->count; i++) {
        FREE(join, p->seat[i].thread);
        FREE(bell_free, p->seat[i].bell);
    }
    p->t->bell_free(p->still_bell);
    p->t->bell_free(p->parked_bell);
    p->t->lock_free(p->still_lock);
    p->t->lock_free(p->lock);
    free(p);
}
