/* The engine of our own CPU: finds a block, lets the interpreter run, looks at what came of it.
 *
 * Exactness: a block runs only if all its instructions fit in the budget; the last few run one by
 * one, as KEY_SINGLE blocks, unless the CPU is `loose`. Events are looked at between blocks, when
 * c->request or the activity says so, which depends on the instruction stream alone. */
#include "engine/soft.h"
#include "cpu/block.h"
#include "cpu/interp.h"
#include "cpu/intr.h"
#include "cpu/share.h"

#define CODE_BYTES (128u << 20) /* of memory for translated code, touched as it is used */

static void remapped(void *opaque)
{
    struct cpu *c = opaque;
    blocks_remap(c->blocks);
}

static void code_written(void *opaque, uint64_t paddr, uint64_t len)
{
    struct cpu *c = opaque;
    blocks_invalidate(c->blocks, paddr, len);
}

static void still(void *opaque)
{
    share_still(opaque);
}

/* CPUs with threads of their own have caches of their own: nothing that they run or link is shared
 * then. */
void soft_join(struct cpu **cpus, unsigned n)
{
    struct bus *b = cpus[0]->bus;
    bool parallel = cpus[0]->parallel;
    blocks_new(cpus, parallel ? 1 : n, CODE_BYTES);
    for (unsigned i = 1; i < n && parallel; i++)
        blocks_join(blocks_new(cpus + i, 1, CODE_BYTES), cpus[0]->blocks);
    b->remap = remapped;
    b->code_write = code_written;
    b->opaque = cpus[0];
    b->still = still;
    b->still_opaque = cpus[0];
}

void soft_part(struct cpu **cpus, unsigned n)
{
    struct bus *b = cpus[0]->bus;
    if (!cpus[0]->blocks)
        return;
    b->remap = NULL;
    b->code_write = NULL;
    b->still = NULL;
    for (unsigned i = n; i-- > 0;)
        if (cpus[i]->blocks)
            blocks_free(cpus[i]->blocks);
}

static bool leave(struct cpu *c, enum engine_exit *why)
{
    if (!(cpu_requests(c) & REQ_EXIT))
        return false;
    __atomic_fetch_and(&c->request, ~REQ_EXIT, __ATOMIC_SEQ_CST);
    *why = ENGINE_REQUEST;
    return true;
}

/* Between blocks. False: leave with *why. */
static bool attend(struct cpu *c, enum engine_exit *why)
{
    if (leave(c, why))
        return false;
    if (cpu_requests(c) & REQ_YIELD) {
        __atomic_fetch_and(&c->request, ~REQ_YIELD, __ATOMIC_SEQ_CST);
        *why = ENGINE_YIELD;
        return false;
    }
    if (cpu_requests(c) || c->s.activity != ACT_RUN) {
        if (!cpu_interrupt(c)) {
            *why = ENGINE_SHUTDOWN;
            return false;
        }
        if (c->s.activity != ACT_RUN) {
            *why = c->s.activity == ACT_SHUTDOWN ? ENGINE_SHUTDOWN : ENGINE_HALT;
            return false;
        }
        if (c->stop.events && leave(c, why)) /* a debugger steps: it sees the handler's first */
            return false;
    }
    return true;
}

/* An instruction did not end: deliver its fault, or arrange that it runs by itself. False: leave.
 */
static bool failed(struct cpu *c, uint32_t *extra, enum engine_exit *why)
{
    if (c->fault.vector == EXC_RESTART) {
        *extra = KEY_SINGLE;
        return true;
    }
    if (c->fault.vector == EXC_EXIT) {
        *why = ENGINE_REQUEST;
        return false;
    }
    if (!cpu_deliver(c)) {
        *why = ENGINE_SHUTDOWN;
        return false;
    }
    return true;
}

typedef enum interp_leave run_fn(struct cpu *c, struct block *b);

/* How the interpreter runs: it follows links between blocks. */
static inline enum interp_leave interpret(struct cpu *c, struct block *b)
{
    if (c->link_from)
        blocks_link(c, b);
    return interp_run(c, b);
}

static inline __attribute__((always_inline)) enum engine_exit run(struct cpu *c, uint64_t budget,
                                                                  run_fn *run_block)
{
    enum engine_exit why = ENGINE_BUDGET;
    uint32_t extra = 0;
    if (!c->blocks)
        soft_join(&c, 1);
    uint64_t start = c->s.icount;
    c->limit = start + budget;
    c->link_from = NULL;
    while (c->s.icount < c->limit) {
        if ((cpu_requests(c) || c->s.activity != ACT_RUN) && !extra) {
            if (!attend(c, &why))
                return why;
            c->link_from = NULL;
            if (c->s.icount >= c->limit)
                break; /* breakpoints in handlers took what was left */
        }
        struct block *b = blocks_find(c, extra);
        if (b && b->insns > c->limit - c->s.icount) {
            if (!c->loose)
                b = blocks_find(c, KEY_SINGLE);
            else if (c->s.icount != start)
                break;
            else
                c->limit = c->s.icount + b->insns;
        }
        if (!b) {
            if (!failed(c, &extra, &why))
                return why;
            continue;
        }
        extra = 0;
        if (run_block(c, b) == LEAVE_FAULT && !failed(c, &extra, &why))
            return why;
    }
    return why;
}

enum engine_exit soft_run(struct cpu *c, uint64_t budget)
{
    return run(c, budget, interpret);
}

enum engine_exit soft_run_by(struct cpu *c, uint64_t budget,
                             enum interp_leave (*run_block)(struct cpu *c, struct block *b))
{
    return run(c, budget, run_block);
}

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    soft_join(cpus, n);
    return true;
}

const struct engine engine_interp = {.name = "interp",
                                     .text = "interpreter",
                                     .join = join,
                                     .part = soft_part,
                                     .run = soft_run,
                                     .parallel = true};
