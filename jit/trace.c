/* Traces: a path over several blocks of a page, compiled as one.
 *
 * A block's code counts its runs (cpu.jit.heat); when it has run often, the path that it begins is
 * followed over jumps and over the branches' more frequent sides, as they were seen while blocks
 * were interpreted, until it comes back to its beginning, leaves the page or is long. The uops of
 * all its blocks become one listing, for which windows, homes and the places of flags are planned
 * as for a block. Where the path may be left, a stub gives back the budget paid for the rest, puts
 * homes and flags where they are between blocks, and takes that block's own exit, whose link it
 * shares. What faults, calls C or leaves to the interpreter is a site of the block that it belongs
 * to; so nobody but the emitter knows of the trace.
 *
 * It stands in for its first block, whose own code is run when the budget is too short for the
 * whole path. It ends when one of its blocks is dropped or compiled anew. If that happens while it
 * runs, in a call of C, the call's site finds jit_block.gone set, and the interpreter goes on. */
#include "jit/emit.h"

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

int e_inner(const struct emit *e, unsigned i)
{
    for (unsigned p = 1; p < e->parts; p++)
        if (e->part[p].first == i + 1)
            return e->part[p].via;
    return -1;
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
    return u->op == UOP_JMP || u->op == UOP_JCC || falls(u) ||
           (u->op >= UOP_JCC_SUB8_B && u->op < UOP_CALL64);
}

/* The exit of u that a trace takes. */
static unsigned likely(const struct block *b, const struct uop *u)
{
    return u->op == UOP_JMP || b->went[1] > b->went[0];
}

static const struct uop *last_of(const struct block *b)
{
    const struct uop *u = b->uops;
    while (!uop_exits(u->op))
        u++;
    return u;
}

/* The address that an exit leads to, or ~0 if that is not on the page for sure. */
static uint64_t target(const struct block *b, const struct uop *u, unsigned which)
{
    int64_t to = (int64_t)(b->paddr & (PAGE_SIZE - 1)) + (which ? u->imm2 : u->next);
    if (to < 0 || to > PAGE_SIZE - ISA_MAX_LEN)
        return ~0ull;
    return (b->paddr & ~(uint64_t)(PAGE_SIZE - 1)) + (uint64_t)to;
}

bool trace_worth(const struct block *b)
{
    const struct uop *u = last_of(b);
    return b->kept && b->paddr2 == ~0ull && follows(u) && (u->imm2 != 0 || falls(u)) &&
           ((!falls(u) && target(b, u, 1) != ~0ull) ||
            (u->op != UOP_JMP && target(b, u, 0) != ~0ull));
}

/* Appends b's uops to the listing. False: there is no room. */
static bool append(struct emit *e, struct block *to, struct block *b, unsigned via)
{
    unsigned n = (unsigned)(last_of(b) - b->uops) + 1;
    if (e->parts == TRACE_PARTS || e->n + n > BLOCK_UOPS || to->insns + b->insns > TRACE_INSNS)
        return false;
    e->part[e->parts++] = (struct part){b, (uint16_t)e->n, to->insns, (uint8_t)via};
    memcpy(to->uops + e->n, b->uops, n * sizeof *b->uops);
    for (unsigned i = e->n; i < e->n + n; i++)
        to->uops[i].insn = (uint8_t)(to->uops[i].insn + to->insns);
    e->n += n;
    to->insns = (uint16_t)(to->insns + b->insns);
    to->narrow |= b->narrow;
    return true;
}

bool trace_plan(struct emit *e, struct block_cache *k, struct block *head, struct block *to,
                bool (*compile)(struct jit *j, struct block *b))
{
    struct part path[TRACE_PARTS];
    unsigned n = 0;
    e->closed = false;
    for (struct block *b = head; b; n++) { /* compiling one overwrites what e knows */
        const struct uop *u = last_of(b);
        bool seen = false;
        for (unsigned i = 0; i < n; i++)
            seen |= path[i].b == b;
        if (seen || n == TRACE_PARTS || (n && !b->code && !compile(e->j, b)) || !b->jit ||
            b->jit->exit[1].loop || (n && b->jit->loops))
            break;
        path[n].b = b;
        path[n].via = (uint8_t)likely(b, u); /* of this one */
        uint64_t at = follows(u) ? target(b, u, path[n].via) : ~0ull;
        b = at == ~0ull ? NULL : blocks_peek(k, at, head->key);
    }
    e->b = to;
    e->n = e->parts = 0;
    to->insns = 0;
    to->narrow = false;
    for (unsigned i = 0; i < n; i++)
        if (!append(e, to, path[i].b, i ? path[i - 1].via : 0))
            break;
    if (!e->parts)
        return false;
    const struct part *end = &e->part[e->parts - 1];
    const struct uop *u = last_of(end->b);
    e->via = path[e->parts - 1].via;
    e->closed = follows(u) && target(end->b, u, e->via) == head->paddr;
    return e->parts > 1;
}
