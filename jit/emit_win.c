/* One check for several accesses: windows.
 *
 * Accesses of a block whose addresses differ by constants from each other (off one base register,
 * or off one that was made of it by a move or by adding a constant, as the stack pointer is by
 * pushes) form a group. The first of them checks that all lie in one page that may be accessed so,
 * and keeps the distance from guest to host addresses in c->jit.win[]; the others need no check,
 * destroy no flags and can't fault.
 *
 * If the first check fails because the page is not in the TLB, jit_wide() puts it there. If it
 * fails for another reason (the group lies across two pages, a device, a fault), the interpreter
 * does the rest of the block; a block to which that happens often is compiled anew without windows.
 *
 * A window holds as long as the translation does. Nothing in a block changes that, but for HELP
 * uops, which end all groups, and for accesses by the slow path to a device, after which
 * jit_access() looks whether the TLB was flushed.
 *
 * 32-bit code: a host address is made of the 64-bit value of a base register, so nothing may wrap
 * around. The group takes in the address in the base register itself whenever that has moved, so
 * that all of them are in the page, below 4 GiB. */
#include "jit/emit.h"
#include "jit/vec.h"

#define WIDE     512  /* bytes that one check may span */
#define FAR_DISP 4096 /* of 32-bit code: beyond it a displacement may be meant to wrap around */

#define R_GENERAL 16u /* general registers */

static bool among(unsigned op, unsigned first, unsigned end)
{
    return op >= first && op < end;
}

static struct access on_stack(int32_t disp, unsigned size, bool write)
{
    return (struct access){.base = R_SP, .size = (uint8_t)size, .write = write, .disp = disp};
}

/* Takes a->base and imm, if they are a base and a displacement to work with. */
static bool usable(const struct emit *e, struct access *a, unsigned form, int64_t imm)
{
    bool code64 = (e->b->key & KEY_CODE) == ISA_64;
    if (a->base == R_IP)
        imm += (int64_t)(e->b->paddr & (PAGE_SIZE - 1));
    if (!x_fits32(imm) || (form != FORM_B64 && form != FORM_B32))
        return false;
    if (form == FORM_B32 && (code64 || a->base >= R_GENERAL || imm <= -FAR_DISP || imm >= FAR_DISP))
        return false;
    a->disp = (int32_t)imm;
    return true;
}

bool e_access_of(const struct emit *e, const struct uop *u, struct access *a)
{
    bool code64 = (e->b->key & KEY_CODE) == ISA_64;
    int64_t imm;
    switch (u->op) {
    case UOP_PUSH64:
    case UOP_PUSHI64:
    case UOP_CALL64:
    case UOP_CALLR64: *a = on_stack(-8, 8, true); return true;
    case UOP_PUSH32:
    case UOP_PUSHI32:
    case UOP_CALL32:
    case UOP_CALLR32: *a = on_stack(-4, 4, true); return true;
    case UOP_POP64:
    case UOP_RET64: *a = on_stack(0, 8, false); return true;
    case UOP_POP32:
    case UOP_RET32: *a = on_stack(0, 4, false); return true;
    case UOP_X87:
    case UOP_HELP:
        return x87_access(e, u, a, &imm) && usable(e, a, code64 ? FORM_B64 : FORM_B32, imm);
    default: break;
    }
    bool vec = among(u->op, UOP_LDV4_B64, UOP_PUSH64);
    if (!among(u->op, UOP_LD, UOP_STW8) && !(vec && vec_access(e, u, a)))
        return false;
    unsigned form = (u->op - (vec ? UOP_LDV4_B64 : UOP_LD)) % FORM_COUNT;
    if (!vec)
        *a = (struct access){.size = u->size, .write = u->op >= UOP_ST8_B64};
    a->base = u->a;
    return usable(e, a, form, u->imm);
}

/* Planning: what is known of the base registers while the block is walked through. */
struct known {
    uint8_t group; /* + 1; 0: none */
    int32_t delta; /* its value now, from that of the group's first base */
};
struct planner {
    struct emit *e;
    struct known r[R_COUNT];
    bool code64;
};

static void forget_all(struct planner *p)
{
    memset(p->r, 0, sizeof p->r);
}

/* Notes what a, at `at` in the window, needs of its address. False: others need another one. */
static bool aligns(struct window *w, const struct access *a, int32_t at)
{
    if (a->align && w->align && (at - w->aligned) & (a->align & w->align))
        return false;
    if (a->align > w->align) {
        w->align = a->align;
        w->aligned = at;
    }
    return true;
}

/* Takes the access of uop i into its base's group, or begins one. */
static void join(struct planner *p, unsigned i, const struct access *a)
{
    struct emit *e = p->e;
    struct known *k = &p->r[a->base];
    if (k->group) {
        struct window *w = &e->window[k->group - 1];
        int32_t lo = k->delta + a->disp, hi = lo + a->size;
        if (!p->code64 && k->delta < lo)
            lo = k->delta;
        if (!p->code64 && k->delta + 1 > hi)
            hi = k->delta + 1;
        lo = lo < w->lo ? lo : w->lo;
        hi = hi > w->hi ? hi : w->hi;
        if (hi - lo <= WIDE && aligns(w, a, k->delta + a->disp)) {
            w->lo = lo;
            w->hi = hi;
            w->mixed |= w->write != a->write;
            w->write |= a->write;
            w->last = (uint16_t)i;
            e->in_window[i] = k->group;
            return;
        }
    }
    k->group = 0;
    if (e->windows == WINDOWS)
        return;
    e->window[e->windows] = (struct window){.lo = a->disp,
                                            .hi = a->disp + a->size,
                                            .base = a->base,
                                            .write = a->write,
                                            .align = a->align,
                                            .aligned = a->disp,
                                            .first = (uint16_t)i,
                                            .last = (uint16_t)i};
    if (!p->code64 && a->base != R_ZERO) {
        struct window *w = &e->window[e->windows];
        w->lo = w->lo < 0 ? w->lo : 0;
        w->hi = w->hi > 1 ? w->hi : 1;
    }
    *k = (struct known){(uint8_t)++e->windows, 0};
    e->in_window[i] = k->group;
}

/* dst = src + by. */
static void derive(struct planner *p, unsigned dst, unsigned src, int64_t by)
{
    struct known k = p->r[src];
    if (src >= R_GENERAL || by < -FAR_DISP || by > FAR_DISP || k.delta > 1 << 20 ||
        k.delta < -(1 << 20))
        k.group = 0;
    k.delta += (int32_t)(k.group ? by : 0);
    p->r[dst] = k;
}

/* What uop u does to the base registers. */
static void follow(struct planner *p, const struct uop *u)
{
    bool wide = p->code64;
    unsigned op = u->op;
    if (op == UOP_HELP && e_writes(u) == ~0u) {
        forget_all(p);
    } else if (op == (wide ? UOP_MOV_R64 : UOP_MOV_R32)) {
        derive(p, u->dst, u->a, 0);
    } else if (op == (wide ? UOP_ADD_I64 : UOP_ADD_I32) ||
               op == (wide ? UOP_ADD_IN64 : UOP_ADD_IN32)) {
        derive(p, u->dst, u->a, wide ? u->imm : (int32_t)u->imm);
    } else if (op == (wide ? UOP_SUB_I64 : UOP_SUB_I32) ||
               op == (wide ? UOP_SUB_IN64 : UOP_SUB_IN32)) {
        derive(p, u->dst, u->a, wide ? -u->imm : -(int64_t)(int32_t)u->imm);
    } else if (among(op, UOP_PUSH64, UOP_POP64)) {
        derive(p, R_SP, R_SP, op == UOP_PUSH64 || op == UOP_PUSHI64 ? -8 : -4);
    } else {
        if (op == UOP_POP64 || op == UOP_POP32)
            derive(p, R_SP, R_SP, op == UOP_POP64 ? 8 : 4);
        uint32_t w = e_writes(u);
        for (unsigned r = 0; r < R_ZERO; r++)
            if (w >> r & 1 &&
                !(r == R_SP && (op == UOP_POP64 || op == UOP_POP32) && u->dst != R_SP))
                p->r[r].group = 0;
    }
}

void win_plan(struct emit *e)
{
    struct planner p = {.e = e, .code64 = (e->b->key & KEY_CODE) == ISA_64};
    e->windows = 0;
    memset(e->in_window, 0, e->n);
    if (e->b->narrow || (e->b->key & KEY_AC))
        return;
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        struct access a;
        if (e_access_of(e, u, &a))
            join(&p, i, &a);
        follow(&p, u);
    }
    for (unsigned i = 0; i < e->n; i++) /* groups of one are none */
        if (e->in_window[i] &&
            e->window[e->in_window[i] - 1].first == e->window[e->in_window[i] - 1].last)
            e->in_window[i] = 0;
    for (unsigned n = 0; n < e->windows; n++) { /* what must be aligned is so if `lo` is */
        struct window *w = &e->window[n];
        w->lo -= (w->lo - w->aligned) & w->align;
    }
}

bool win_open(const struct emit *e)
{
    unsigned n = e->in_window[e->i];
    return n && e->window[n - 1].first != e->i;
}

static struct xmem slot(unsigned n)
{
    return e_cpu(offsetof(struct cpu, jit.win) + 8 * (n - 1));
}

/* The base register, or what its value was loaded to. */
static unsigned base_of(struct emit *e, const struct access *a)
{
    if (a->base == R_ZERO)
        return X_NONE;
    if (a->base == R_IP) {
        x_load(&e->a, 8, J_X0, E_CPU(jit.page));
        return J_X0;
    }
    return e_use(e, a->base, J_X0);
}

/* Guest base and distance to host memory (in J_X1) as an operand. */
static struct xmem at(struct emit *e, const struct access *a, unsigned base)
{
    if (base == X_NONE)
        return xm(J_X1, a->disp);
    if (base == J_X0) {
        x_lea(&e->a, 8, J_X0, xmi(J_X0, J_X1, 0, 0));
        return xm(J_X0, a->disp);
    }
    return xmi(base, J_X1, 0, a->disp);
}

struct xmem win_access(struct emit *e, const struct uop *u)
{
    unsigned n = e->in_window[e->i];
    const struct window *w = &e->window[n - 1];
    struct access a;
    e_access_of(e, u, &a);
    e->access = NULL;
    if (w->first != e->i) {
        unsigned base = base_of(e, &a);
        x_load(&e->a, 8, J_X1, slot(n));
        return at(e, &a, base);
    }
    struct stub *s = e_stub(e, STUB_WIDE, u);
    s->which = (uint8_t)(n - 1);
    s->back = e->a.at;
    unsigned base = base_of(e, &a);
    if (base == X_NONE)
        x_mov_ri(&e->a, J_X0, (uint64_t)(int64_t)w->lo);
    else if (w->lo || base == J_X0)
        x_lea(&e->a, 8, J_X0, xm(base, w->lo));
    else
        x_mov_rr(&e->a, 8, J_X0, base);
    e_look_up(e, s, (unsigned)(w->hi - w->lo), w->align, w->write);
    if (base == J_X0)
        base = base_of(e, &a);
    e_addend(e);
    x_store(&e->a, 8, slot(n), J_X1);
    return at(e, &a, base);
}
