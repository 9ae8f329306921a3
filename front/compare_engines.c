/* Two engines in one process.
 *
 * Both machines run to the same instruction count, and their declared state and memory are
 * compared; the distance doubles while they agree. Every so often the process forks: the copy is a
 * checkpoint of both machines that costs what changes after it. When a difference turns up, the
 * copy bisects, each probe in a fork of its own, to the first instruction count at which the
 * machines differ.
 *
 * A probe runs as the failing run did: the same pieces up to the last one, which ends at the probed
 * count. So a fault that needs several instructions to run together (in one block, say) is found
 * too, and then said to be one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/commands.h"
#include "front/compare.h"

#define EVERY_MAX     5000000ull    /* instructions between two comparisons */
#define CHECKPOINT_NS 1000000000ull /* between two checkpoints */
#define MARKS         4096          /* comparisons since the checkpoint */

struct pair {
    const struct compare_options *o;
    struct compare_side side[2];
    const char *name[2];
    uint64_t at; /* instructions that both have run */
    enum machine_event event;
    /* The checkpoint: a process that waits to be told where the difference showed. */
    pid_t keeper;
    int tell;
    uint64_t mark[MARKS]; /* where both stopped since */
    unsigned marks;
};

/* Runs one machine to `target` instructions. MACHINE_STOPPED: it got there. */
static enum machine_event run_to(struct machine *m, uint64_t target, struct err *e)
{
    enum machine_event event;
    machine_stop_after(m, target);
    do
        event = machine_run(m, e);
    while (event == MACHINE_SLICE);
    return event;
}

static enum machine_event run_in_pieces(struct machine *m, uint64_t target, uint64_t piece,
                                        struct err *e)
{
    enum machine_event event = MACHINE_STOPPED;
    while (piece && event == MACHINE_STOPPED && machine_icount(m) + piece < target)
        event = run_to(m, machine_icount(m) + piece, e);
    return event == MACHINE_STOPPED ? run_to(m, target, e) : event;
}

static void inject(struct pair *p, uint64_t target)
{
    if (!p->o->inject || p->at >= p->o->inject || target < p->o->inject)
        return;
    struct err e;
    if (run_in_pieces(p->side[1].machine, p->o->inject, p->o->split, &e) == MACHINE_STOPPED)
        machine_cpu(p->side[1].machine, 0)->s.r[R_BX] ^= BIT(3);
}

/* Both machines to `target`. False: they ended, or one did: p->event. */
static bool advance(struct pair *p, uint64_t target)
{
    struct err e[2] = {{0}, {0}};
    enum machine_event event[2];
    event[0] = run_to(p->side[0].machine, target, &e[0]);
    inject(p, target);
    event[1] = run_in_pieces(p->side[1].machine, target, p->o->split, &e[1]);
    p->at = machine_icount(p->side[0].machine);
    p->event = event[0];
    return event[0] == MACHINE_STOPPED && event[1] == MACHINE_STOPPED;
}

static bool different(struct pair *p, bool print)
{
    struct machine *a = p->side[0].machine, *b = p->side[1].machine;
    return compare_machines(a, b, p->name[0], p->name[1], print) != 0;
}

/* --- in the checkpoint ------------------------------------------------------------------------ */

/* In a copy of this process, which must not write to this one's generated code. */
static bool own(struct pair *p)
{
    return machine_own(p->side[0].machine) && machine_own(p->side[1].machine);
}

/* Runs fn in a copy of this process; true if it returned true. */
static bool in_copy(struct pair *p, bool (*fn)(struct pair *p, uint64_t n, uint64_t k), uint64_t n,
                    uint64_t k)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        p->side[0].shown = false;
        if (!own(p)) {
            fprintf(stderr, "ishi: no memory for a copy of the generated code\n");
            _exit(1);
        }
        bool r = fn(p, n, k);
        fflush(stdout);
        _exit(r ? 1 : 0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

/* As the failing run went, up to n. */
static void repeat(struct pair *p, uint64_t n)
{
    for (unsigned i = 0; i < p->marks && p->mark[i] < n; i++)
        advance(p, p->mark[i]);
    if (p->at < n)
        advance(p, n);
}

static bool differ_at(struct pair *p, uint64_t n, uint64_t unused)
{
    repeat(p, n);
    return different(p, false);
}

/* The same with one more stop of both, k before n. */
static bool differ_together(struct pair *p, uint64_t n, uint64_t k)
{
    repeat(p, n - k);
    advance(p, n);
    return different(p, false);
}

static bool show_steps(struct pair *p, uint64_t n, uint64_t k)
{
    repeat(p, n - k);
    while (p->at < n) {
        compare_show_insn(p->side[0].machine, "  ");
        if (!advance(p, p->at + 1))
            break;
    }
    return true;
}

static bool show_difference(struct pair *p, uint64_t n, uint64_t unused)
{
    repeat(p, n);
    different(p, true);
    compare_show_insn(p->side[0].machine, "  next, ");
    if (machine_cpu(p->side[0].machine, 0)->s.rip != machine_cpu(p->side[1].machine, 0)->s.rip)
        compare_show_insn(p->side[1].machine, "  next in the second, ");
    return true;
}

/* Between `low`, where they agree, and `high`, where they don't. */
static void explain(struct pair *p, uint64_t low, uint64_t high)
{
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (in_copy(p, differ_at, mid, 0))
            high = mid;
        else
            low = mid;
    }
    uint64_t history = min_u64(p->o->history, high - p->at), together = 1;
    while (together < 512 && together <= high - p->at &&
           !in_copy(p, differ_together, high, together))
        together *= 2;
    printf("\n%s and %s differ after %" PRIu64 " instructions. The last steps:\n", p->name[0],
           p->name[1], high);
    if (history)
        in_copy(p, show_steps, high, history);
    printf("Then:\n");
    in_copy(p, show_difference, high, 0);
    if (together > 1)
        printf("A single step does not show it: it takes at least %" PRIu64
               " instructions that run together.\n",
               together / 2 + 1);
}

static void be_keeper(struct pair *p, int told)
{
    uint64_t high, low = p->at;
    if (read(told, &p->marks, sizeof p->marks) != sizeof p->marks || p->marks > MARKS ||
        read(told, p->mark, p->marks * sizeof p->mark[0]) !=
            (ssize_t)(p->marks * sizeof p->mark[0]) ||
        !p->marks)
        _exit(0);
    high = p->mark[p->marks - 1];
    if (p->marks > 1)
        low = p->mark[p->marks - 2];
    explain(p, low, high);
    fflush(stdout);
    _exit(0);
}

/* --- in the run ------------------------------------------------------------------------------- */

/* Ends the old checkpoint, if there is one; with `show` it explains first. */
static void dismiss(struct pair *p, bool show)
{
    if (!p->keeper)
        return;
    bool ok = show && write(p->tell, &p->marks, sizeof p->marks) == sizeof p->marks &&
              write(p->tell, p->mark, p->marks * sizeof p->mark[0]) > 0;
    close(p->tell);
    while (waitpid(p->keeper, NULL, 0) < 0 && errno == EINTR)
        ;
    p->keeper = 0;
    if (show && !ok)
        fprintf(stderr, "ishi: the checkpoint is lost\n");
}

static void checkpoint(struct pair *p)
{
    int fd[2], ready[2];
    char c;
    dismiss(p, false);
    p->marks = 0;
    if (pipe(fd) < 0)
        return;
    if (pipe(ready) < 0) {
        close(fd[0]);
        close(fd[1]);
        return;
    }
    fflush(stdout);
    p->keeper = fork();
    if (p->keeper == 0) {
        close(fd[1]);
        close(ready[0]);
        if (!own(p))
            _exit(1);
        close(ready[1]);
        be_keeper(p, fd[0]);
    }
    close(fd[0]);
    close(ready[1]);
    while (read(ready[0], &c, 1) < 0 && errno == EINTR)
        ;
    close(ready[0]);
    p->tell = fd[1];
    if (p->keeper < 0) {
        close(fd[1]);
        p->keeper = 0;
    }
}

static const char *event_text(enum machine_event e)
{
    switch (e) {
    case MACHINE_IDLE: return "the machine waits for input";
    case MACHINE_OFF: return "the guest powered off";
    case MACHINE_TRIPLE: return "triple fault";
    case MACHINE_DEBUG_EXIT: return "the guest ended the machine";
    case MACHINE_REBOOT: return "the guest rebooted";
    case MACHINE_FAILED: return "the machine failed";
    default: return "all steps are done";
    }
}

/* True: they differ. */
static bool compare(struct pair *p)
{
    uint64_t every = p->o->every ? p->o->every : 10000, checked = host_now(),
             end = p->o->steps ? p->o->steps : ~0ull;
    bool on = true;
    checkpoint(p);
    while (on && p->at < end) {
        if (host_now() - checked > CHECKPOINT_NS || p->marks == MARKS) {
            checkpoint(p);
            checked = host_now();
        }
        uint64_t target = min_u64(p->at + every, end);
        p->mark[p->marks++] = target;
        on = advance(p, target);
        if (different(p, false)) {
            dismiss(p, true);
            return true;
        }
        fflush(stdout);
        every = min_u64(every * 2, max_u64(EVERY_MAX, p->o->every));
    }
    dismiss(p, false);
    return false;
}

int compare_engines(const struct compare_options *co, const struct options *o)
{
    static const char *const second[2] = {"first", "second"};
    struct pair *p = xcalloc(1, sizeof *p);
    struct err e = {0};
    int status = STATUS_BAD;
    bool same = co->engine[0] == co->engine[1];
    p->o = co;
    for (unsigned i = 0; i < 2; i++) {
        struct options mine = *o;
        mine.engine = co->engine[i];
        p->name[i] = same ? second[i] : co->engine[i]->name;
        if (!compare_open(&p->side[i], &mine, !i && !co->quiet, &e)) {
            fprintf(stderr, "ishi: %s\n", e.text);
            goto out;
        }
        machine_stop_on_reboot(p->side[i].machine, o->no_reboot);
    }
    uint64_t start = host_now();
    bool differ = compare(p);
    double s = (double)(host_now() - start) / 1e9;
    printf("\nishi: %s against %s: %" PRIu64 " instructions in %.1f s, %.1f million a second; ",
           co->engine[0]->name, co->engine[1]->name, p->at, s, (double)p->at / 1e6 / s);
    printf(differ ? "a difference\n" : "no difference (%s)\n", event_text(p->event));
    status = differ ? STATUS_DIFFERENT : STATUS_OK;
out:
    compare_close(&p->side[0]);
    compare_close(&p->side[1]);
    free(p);
    return status;
}
