/* Traces: a path over several blocks, compiled as one.
 *
 * A block's code counts its runs (cpu.jit.heat); when it has run often, the path that it begins is
 * followed over jumps, calls and the branches' more frequent sides, as they were seen while blocks
 * were interpreted, until it comes back to its beginning or is long. A return is followed if its
 * call is in the path: then it is compared with where that wanted to return to. A loop of few
 * rounds is unrolled. The uops of all its blocks become one listing, for which windows, homes and
 * the places of flags are planned as for a block. Where the path may be left, a stub gives back the
 * budget paid for the rest, puts homes and flags where they are between blocks, and takes that
 * block's own exit, whose link it shares. What faults, calls C or leaves to the interpreter is a
 * site of the block that it belongs to; so nobody but the emitter knows of the trace.
 *
 * A path goes on to another page if that is known just then. jit.page stays the first block's while
 * the trace runs, and sites know where their block's page lies from there. What the other pages are
 * is looked at when the trace is entered under a stamp that it was not entered under before
 * (cpu.jit.spans).
 *
 * It stands in for its first block, whose own code is run when the budget is too short for the
 * whole path. It ends when one of its blocks is dropped or compiled anew. If that happens while it
 * runs, in a call of C, or a page changes its place, the call's site finds that out, and the
 * interpreter goes on. */
#include "jit/emit.h"

#define CALLS  8 /* calls whose returns a path remembers */
#define ROUNDS 8 /* of a loop that is short */
#define SEEN   8 /* rounds by which it is known */

const struct part *e_part(const struct emit *e, const struct uop *u)
{
    if (e->parts == 1 || !u)
        return &e->part[0];
    unsigned i = (unsigned)(u - e->b->uops), p = e->parts;
    CHECK(i < e->n); /* not a copy of it */
    while (p > 1 && e->part[p - 1].first > i)
        p--;
    return &e->part[p - 1];
}

const struct part *e_onward(const struct emit *e, unsigned i)
{
    for (unsigned p = 1; p < e->parts; p++)
        if (e->part[p].first == i + 1)
            return &e->part[p];
    return NULL;
}

int e_inner(const struct emit *e, unsigned i)
{
    const struct part *p = e_onward(e, i);
    return p ? p->via : -1;
}

/* The end of a block that only was too long: it goes on behind it. */
static bool falls(const struct uop *u)
{
    return u->op == UOP_JNZ && u->a == R_ZERO;
}

bool e_passes(const struct emit *e, unsigned i)
{
    const struct uop *u = &e->b->uops[i];
    return (u->op == UOP_JMP || falls(u)) && e_inner(e, i) >= 0;
}

static bool follows(const struct uop *u)
{
    return u->op == UOP_JMP || u->op == UOP_JCC || falls(u) || uop_calls(u) ||
           (u->op >= UOP_JCC_SUB8_B && u->op < UOP_CALL64);
}

/* The exit of u that a trace takes. */
static unsigned likely(const struct block *b, const struct uop *u)
{
    return u->op == UOP_JMP || uop_calls(u) || b->went[1] > b->went[0];
}

static const struct uop *last_of(const struct block *b)
{
    const struct uop *u = b->uops;
    while (!uop_exits(u->op))
        u++;
    return u;
}

bool trace_worth(const struct block *b)
{
    const struct uop *u = last_of(b);
    return b->kept && b->paddr2 == ~0ull && follows(u) &&
           (u->imm2 != 0 || falls(u) || uop_calls(u));
}

/* Planning. */

struct planner {
    struct emit *e;
    const struct trace_env *env;
    struct part path[TRACE_PARTS];
    unsigned n;
    int64_t back[CALLS]; /* where calls return to, from the head's page; the last `calls` of them */
    unsigned calls;
};

static int64_t page_of(int64_t at)
{
    return at & ~(int64_t)(PAGE_SIZE - 1);
}

/* The physical page at a place from the head's, if the path has been there; else ~0. */
static uint64_t known_page(const struct planner *p, int64_t page)
{
    const struct emit *e = p->e;
    if (!page)
        return p->path[0].b->paddr & ~(uint64_t)(PAGE_SIZE - 1);
    for (unsigned i = 0; i < e->pages; i++)
        if (e->page[i].at == page)
            return e->page[i].paddr;
    return ~0ull;
}

static bool add_page(struct planner *p, int64_t page, uint64_t paddr)
{
    struct emit *e = p->e;
    uint64_t known = known_page(p, page);
    paddr &= ~(uint64_t)(PAGE_SIZE - 1);
    if (known != ~0ull)
        return known == paddr;
    if (!p->env->wide || e->pages == SPAN_PAGES || page != (int32_t)page)
        return false;
    e->page[e->pages++] = (struct span_page){paddr, (int32_t)page};
    return true;
}

/* The block at `to`, which has been made. */
static struct block *onward(struct planner *p, uint32_t key, int64_t to)
{
    int64_t page = page_of(to);
    uint64_t paddr = known_page(p, page);
    if (paddr == ~0ull)
        paddr = p->env->find(p->e->j, page);
    if (paddr == ~0ull)
        return NULL;
    struct block *n = blocks_peek(p->env->blocks, paddr + (uint64_t)(to - page), key);
    if (!n || !add_page(p, page, paddr))
        return NULL;
    if (n->paddr2 != ~0ull && (p->env->find(p->e->j, page + PAGE_SIZE) != n->paddr2 ||
                               !add_page(p, page + PAGE_SIZE, n->paddr2)))
        return NULL;
    return n;
}

/* Where the path goes on behind b, the block it came to last; false: nowhere. */
static bool step(struct planner *p, struct part *last, int64_t *to)
{
    const struct block *b = last->b;
    const struct uop *u = last_of(b);
    last->via = (uint8_t)likely(b, u); /* of this one */
    if (uop_returns(u)) {
        if (!p->calls)
            return false;
        *to = p->back[--p->calls];
        return true;
    }
    if (!follows(u))
        return false;
    *to = part_offset(last) + (last->via ? u->imm2 : u->next);
    if (uop_calls(u)) {
        if (p->calls == CALLS) {
            memmove(p->back, p->back + 1, (CALLS - 1) * sizeof p->back[0]);
            p->calls--;
        }
        p->back[p->calls++] = part_offset(last) + u->next;
    }
    return true;
}

/* How often a block that goes back to its own beginning is run in a row; 0: often, or not known. */
static unsigned rounds_of(const struct block *b)
{
    unsigned back = b->went[1], on = b->went[0], n = on ? (back + on / 2) / on + 1 : 0;
    return back + on >= SEEN && n <= ROUNDS ? n : 0;
}

/* A short loop within the path: all its rounds. False: it does not fit. */
static bool walk_loop(struct planner *p, struct block *b, int64_t *to)
{
    unsigned n = rounds_of(b);
    const struct uop *u = last_of(b);
    struct part part = {.b = b, .page = (int32_t)page_of(*to), .via = 1};
    if (!n || !p->n || p->n + n > TRACE_PARTS || u->op == UOP_JMP)
        return false;
    while (n--)
        p->path[p->n++] = part;
    p->path[p->n - 1].via = 0;
    *to = part_offset(&part) + u->next;
    return true;
}

static void walk_path(struct planner *p, struct block *head)
{
    struct emit *e = p->e;
    struct block *b = head;
    int64_t to = (int64_t)(head->paddr & (PAGE_SIZE - 1));
    while (b && p->n < TRACE_PARTS) { /* compiling one overwrites what e knows */
        bool seen = false;
        for (unsigned i = 0; i < p->n; i++)
            seen |= p->path[i].b == b;
        if (seen || (p->n && !b->code && !p->env->compile(e->j, b, (int32_t)page_of(to))) ||
            !b->jit || (p->n && b->jit->loops))
            return;
        if (b->jit->exit[1].loop) {
            if (!walk_loop(p, b, &to))
                return;
            b = onward(p, b->key, to);
            continue;
        }
        struct part *last = &p->path[p->n++];
        *last = (struct part){.b = b, .page = (int32_t)page_of(to)};
        b = step(p, last, &to) ? onward(p, b->key, to) : NULL;
    }
}

/* Appends b's uops to the listing. False: there is no room. */
static bool append(struct emit *e, struct block *to, const struct part *p, unsigned via)
{
    struct block *b = p->b;
    unsigned n = (unsigned)(last_of(b) - b->uops) + 1;
    if (e->parts == TRACE_PARTS || e->n + n > BLOCK_UOPS || to->insns + b->insns > TRACE_INSNS)
        return false;
    e->part[e->parts++] = (struct part){b, (uint16_t)e->n, to->insns, (uint8_t)via, p->page};
    memcpy(to->uops + e->n, b->uops, n * sizeof *b->uops);
    for (unsigned i = e->n; i < e->n + n; i++)
        to->uops[i].insn = (uint8_t)(to->uops[i].insn + to->insns);
    e->n += n;
    to->insns = (uint16_t)(to->insns + b->insns);
    to->narrow |= b->narrow;
    to->pairs |= b->pairs;
    return true;
}

bool trace_plan(struct emit *e, const struct trace_env *env, struct block *head, struct block *to)
{
    struct planner p = {.e = e, .env = env};
    e->pages = 0;
    walk_path(&p, head);
    e->b = to;
    e->n = e->parts = 0;
    e->closed = false;
    to->insns = 0;
    to->narrow = 0;
    to->pairs = false;
    for (unsigned i = 0; i < p.n; i++)
        if (!append(e, to, &p.path[i], i ? p.path[i - 1].via : 0))
            break;
    if (!e->parts)
        return false;
    const struct part *end = &e->part[e->parts - 1];
    const struct uop *u = last_of(end->b);
    e->via = p.path[e->parts - 1].via;
    e->closed = follows(u) && part_offset(end) + (e->via ? u->imm2 : u->next) ==
                                  (int64_t)(head->paddr & (PAGE_SIZE - 1));
    return e->parts > 1;
}
