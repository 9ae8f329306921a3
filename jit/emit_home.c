/* Homes for the block: which guest registers and temporaries that have none between blocks get a
 * host register while a block runs.
 *
 * rbp and r13 are free for it. Beyond them, a register that is used often may borrow the home of
 * one that the block does not use. What was moved is put back at the block's end (home_leave), and
 * in the cold code of everything that leaves or calls C (home_store, home_load), so that the common
 * code knows nothing of it. A temporary lives in one instruction and is never put back at the end,
 * unless the recipe of the flags is made of it. */
#include "jit/emit.h"
#include "jit/vec.h"

#include "cpu/vec.h"
#include "cpu/x87.h"

#define OWN      2 /* uses of a register that make it worth a load and a store */
#define BORROWED 6 /* … and the same for the owner */

struct uses {
    uint16_t n[R_COUNT];
    uint32_t written;
    bool helpers;
};

static bool uses_stack(unsigned op)
{
    return (op >= UOP_PUSH64 && op < UOP_HELP) || (op >= UOP_CALL64 && op < UOP_JMP_R) ||
           op == UOP_CALLR64 || op == UOP_CALLR32;
}

static void count(const struct emit *e, struct uses *x)
{
    *x = (struct uses){0};
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        bool help = u->op >= UOP_HELP && u->op < UOP_RAISE, vec = help && u->seg == VEC_UOP;
        bool x87 = u->op == UOP_X87 || (u->op == UOP_HELP && u->scale == X87_HELP);
        x->helpers |= help && !vec && !x87;
        if (x87_spares(e, u) || (u->op == UOP_X87 && u->aux & X87_MEM)) {
            x->n[u->a]++;
            x->n[u->b]++;
            continue;
        }
        x->written |= e_writes(u);
        if (x87) {
            x->n[R_T0] += !!(u->aux & X87_MEM);
            continue;
        }
        if (u->dst < R_COUNT)
            x->n[u->dst]++;
        if (u->a < R_COUNT)
            x->n[u->a]++;
        if (u->b < R_COUNT && u->b != u->a)
            x->n[u->b]++;
        if (vec) /* PCMPxSTRI's */
            x->n[R_CX]++;
        if (uses_stack(u->op))
            x->n[R_SP]++;
    }
}

static bool homeless(unsigned r)
{
    return r < R_ZERO && jit_home[r] == J_NONE;
}

/* The homeless register that is used most. */
static unsigned most_used(const struct uses *x)
{
    unsigned best = R_COUNT;
    for (unsigned r = 0; r < R_ZERO; r++)
        if (homeless(r) && x->n[r] && (best == R_COUNT || x->n[r] > x->n[best]))
            best = r;
    return best;
}

static const uint8_t spare[] = {RBP, R13};
static const uint8_t lenders[] = {R_BX, R_9, R_8, R_SI, R_DI, R_BP, R_SP};

/* Somebody whose home can be had. */
static unsigned lender(const struct uses *x)
{
    for (unsigned i = 0; i < sizeof lenders && !x->helpers; i++)
        if (!x->n[lenders[i]])
            return lenders[i];
    return R_COUNT;
}

/* Host registers that a pin could have. */
static unsigned left(const struct emit *e, const struct uses *x)
{
    unsigned n = e->moves < sizeof spare ? sizeof spare - e->moves : 0;
    for (unsigned i = 0; i < ARRAY_LEN(lenders) && !x->helpers; i++)
        n += !x->n[lenders[i]];
    return n < MOVED - e->moves ? n : MOVED - e->moves;
}

static uint8_t take(struct emit *e, struct uses *x, unsigned window, bool second)
{
    unsigned owner = e->moves < sizeof spare ? R_COUNT : lender(x);
    unsigned host = owner == R_COUNT ? spare[e->moves] : jit_home[owner];
    e->moved[e->moves++] = (struct moved){.r = R_COUNT,
                                          .host = (uint8_t)host,
                                          .owner = (uint8_t)owner,
                                          .window = (uint8_t)window,
                                          .second = second};
    if (owner != R_COUNT) {
        e->moved_home[owner] = J_NONE;
        x->n[owner] = 1;
    }
    return (uint8_t)host;
}

/* Those that move need two registers, or are none: to load slots in front of the loop would cost
 * more than they save in a short one. Those that stay, or are a strip's, may be in memory. */
static void plan_pins(struct emit *e, struct uses *x)
{
    for (unsigned n = 0; n < e->windows; n++) {
        struct window *w = &e->window[n];
        if (!w->pinned || w->still || w->stride)
            continue;
        w->pinned = left(e, x) >= 2;
        if (w->pinned) {
            w->distance = take(e, x, n, false);
            w->offset = take(e, x, n, true);
        }
    }
    for (unsigned k = 0; k < 2; k++)
        for (unsigned n = 0; n < e->windows; n++)
            if ((k ? e->window[n].still : e->window[n].stride != 0) && left(e, x))
                e->window[n].distance = take(e, x, n, false);
}

#define MANY      3 /* accesses of a window that make it worth a register of its own … */
#define MANY_LENT 6 /* … or somebody else's */

/* Windows of a block that is no loop. */
static void plan_windows(struct emit *e, struct uses *x)
{
    while (left(e, x)) {
        unsigned least = e->moves < sizeof spare ? MANY : MANY_LENT, best = WINDOWS;
        for (unsigned n = 0; n < e->windows; n++) {
            const struct window *w = &e->window[n];
            if (!w->pinned && w->distance == J_NONE && w->uses >= least &&
                (best == WINDOWS || w->uses > e->window[best].uses))
                best = n;
        }
        if (best == WINDOWS)
            return;
        e->window[best].distance = take(e, x, best, false);
    }
}

void home_plan(struct emit *e)
{
    struct uses x;
    unsigned r;
    count(e, &x);
    e->moves = 0;
    memcpy(e->moved_home, jit_home, sizeof e->moved_home);
    while (e->moves < MOVED && (r = most_used(&x)) != R_COUNT) {
        bool temp = r >= R_T0, borrow = e->moves >= sizeof spare;
        unsigned owner = borrow ? lender(&x) : R_COUNT;
        if ((borrow && owner == R_COUNT) || (x.n[r] < OWN && !temp) ||
            (borrow && x.n[r] < BORROWED))
            break;
        unsigned host = borrow ? jit_home[owner] : spare[e->moves];
        e->moved[e->moves++] = (struct moved){.r = (uint8_t)r,
                                              .host = (uint8_t)host,
                                              .owner = (uint8_t)owner,
                                              .written = temp || (x.written >> r & 1)};
        e->moved_home[r] = (uint8_t)host;
        x.n[r] = 0;
        if (owner != R_COUNT) {
            e->moved_home[owner] = J_NONE;
            x.n[owner] = 1;
        }
    }
    plan_pins(e, &x);
    plan_windows(e, &x);
}

/* Where it is while C runs. */
static struct xmem place(const struct emit *e, const struct moved *m)
{
    return m->r == R_COUNT ? win_slot(e->window[m->window].slot + m->second) : e_slot(m->r);
}

void home_at(struct emit *e, bool settled)
{
    e->settled = settled;
    memcpy(e->home, settled ? jit_home : e->moved_home, sizeof e->home);
}

void home_load(struct emit *e)
{
    for (unsigned i = 0; i < e->moves && !e->settled; i++)
        x_load(&e->a, 8, e->moved[i].host, place(e, &e->moved[i]));
}

void home_store(struct emit *e)
{
    for (unsigned i = 0; i < e->moves && !e->settled; i++) {
        const struct moved *m = &e->moved[i];
        if (m->written || m->r == R_COUNT)
            x_store(&e->a, 8, place(e, m), m->host);
        if (m->owner != R_COUNT)
            x_load(&e->a, 8, m->host, e_slot(m->owner));
    }
}

void home_enter(struct emit *e)
{
    for (unsigned i = 0; i < e->moves; i++) {
        const struct moved *m = &e->moved[i];
        if (m->owner != R_COUNT)
            x_store(&e->a, 8, e_slot(m->owner), m->host);
        if (m->r < R_T0)
            x_load(&e->a, 8, m->host, e_slot(m->r));
    }
    home_at(e, false);
}

/* Uses its register when homes are back. */
static bool jumps_if(unsigned op)
{
    return op == UOP_JZ || op == UOP_JNZ;
}

void home_leave(struct emit *e)
{
    struct flags_rec *rec = &e->fl.rec;
    const struct uop *end = &e->b->uops[e->i];
    if (e->settled)
        return;
    if (!e->fl.mem && rec->kind) {
        if (rec->a >= R_T0 && rec->a < R_ZERO && e->home[rec->a] != J_NONE)
            rec->a = (uint8_t)e_keep(e, R_K0, rec->a);
        if (!rec->imm && rec->b >= R_T0 && rec->b < R_ZERO && e->home[rec->b] != J_NONE)
            rec->b = (uint8_t)e_keep(e, R_K1, rec->b);
    }
    for (unsigned i = 0; i < e->moves; i++) {
        const struct moved *m = &e->moved[i];
        bool used = m->r == R_COUNT && e->window[m->window].last >= e->i;
        if (used) /* by what the last instruction does with homes as between blocks */
            x_store(&e->a, 8, place(e, m), m->host);
        if (m->written && (m->r < R_T0 || (end->a == m->r && jumps_if(end->op))))
            x_store(&e->a, 8, e_slot(m->r), m->host);
        if (m->owner != R_COUNT)
            x_load(&e->a, 8, m->host, e_slot(m->owner));
    }
    e->before = e->fl;
    home_at(e, true);
}
