/* CPUs on threads of their own, with an engine that only waits for requests: every one comes out
 * when the machine is to stand still, wherever it is just then. */
#include "machine/parallel.h"

#include <stdlib.h>
#include <time.h>

#include "cpu/share.h"
#include "host/posix/threads.h"
#include "unit.h"

#define CPUS    3
#define PATIENT (60 * NS_PER_S) /* for what comes at once, unless the host does something else */

static bool come; /* CPU 0 is to ask for the lock; atomic, as the next */
static unsigned stuck;

static uint64_t ns(void *opaque)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Guest code: some of it, an access to a device where `come` says so, and more. */
static enum engine_exit guest(struct cpu *c, uint64_t budget)
{
    uint64_t end = ns(NULL) + PATIENT;
    while (!(cpu_requests(c) & REQ_EXIT)) {
        if (c->index == 0 && __atomic_exchange_n(&come, false, __ATOMIC_SEQ_CST)) {
            cpu_lock(c);
            cpu_unlock(c);
        }
        if (ns(NULL) > end) {
            __atomic_add_fetch(&stuck, 1, __ATOMIC_SEQ_CST);
            break;
        }
        host_threads.yield();
    }
    __atomic_fetch_and(&c->request, ~REQ_EXIT, __ATOMIC_SEQ_CST);
    return ENGINE_REQUEST;
}

static const struct engine engine = {.name = "waits", .run = guest, .parallel = true};

static void prepare(void *opaque) {}

static bool outside_wait(void *opaque, uint64_t most)
{
    host_threads.yield();
    return false;
}

static void outside_wake(void *opaque) {}

struct box {
    struct clock clock;
    struct cpu *cpu[CPUS];
    struct parallel *p;
    struct timer timer;
    bool holds; /* what the timer does: CPU 0 waits for the lock when all are to stand still */
};

static bool all_run(const struct box *b)
{
    for (unsigned i = 0; i < CPUS; i++)
        if (!__atomic_load_n(&b->cpu[i]->running, __ATOMIC_SEQ_CST))
            return false;
    return true;
}

/* With the machine's lock. */
static void fire(void *opaque)
{
    struct box *b = opaque;
    if (!all_run(b)) { /* not yet */
        timer_set(&b->timer, ns(NULL) + 100000);
        return;
    }
    if (b->holds) {
        __atomic_store_n(&come, true, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&b->cpu[0]->running, __ATOMIC_SEQ_CST))
            host_threads.yield();
    }
    parallel_stop(b->p);
}

static struct box *box_new(void)
{
    static const struct outside outside = {prepare, outside_wait, outside_wake, NULL};
    struct box *b = calloc(1, sizeof *b);
    clock_init(&b->clock, ns, NULL);
    timer_init(&b->timer, &b->clock, "test", fire, b);
    for (unsigned i = 0; i < CPUS; i++) {
        b->cpu[i] = calloc(1, sizeof *b->cpu[i]);
        b->cpu[i]->index = i;
    }
    b->p = parallel_new(&host_threads, &outside, b->cpu, CPUS, &b->clock, NULL);
    assert_non_null(b->p);
    stuck = 0;
    come = false;
    return b;
}

static void box_free(struct box *b)
{
    parallel_free(b->p);
    for (unsigned i = 0; i < CPUS; i++)
        free(b->cpu[i]);
    free(b);
}

static void stop(struct box *b, bool holds)
{
    b->holds = holds;
    timer_set(&b->timer, ns(NULL) + 100000);
    assert_null(parallel_run(b->p, &engine));
    assert_int_equal(stuck, 0);
    for (unsigned i = 0; i < CPUS; i++) {
        assert_false(b->cpu[i]->running);
        assert_int_equal(cpu_requests(b->cpu[i]) & REQ_EXIT, 0); /* nothing left for the next run */
    }
}

static void test_running(void **state)
{
    struct box *b = box_new();
    for (unsigned i = 0; i < 50; i++)
        stop(b, false);
    box_free(b);
}

static void test_waits_for_lock(void **state)
{
    struct box *b = box_new();
    for (unsigned i = 0; i < 50; i++)
        stop(b, true);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running),
        cmocka_unit_test(test_waits_for_lock),
    };
    return RUN(tests);
}
