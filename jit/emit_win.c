/* One check for several accesses: windows.
 *
 * Accesses of a block whose addresses differ by constants from each other (off one base register,
 * off one that was made of it by a move or by adding a constant, as the stack pointer is by pushes,
 * or off the same base and index) form a group. The first of them checks that all lie in one page
 * that may be accessed so, and keeps the distance from guest to host addresses in c->jit.win[], or
 * in a register that is free if they are many; the others need no check, destroy no flags and can't
 * fault.
 *
 * If the first check fails because the page is not in the TLB, jit_wide() puts it there. If it
 * fails for another reason (the group lies across two pages, a device, a fault), the interpreter
 * does the rest of the block; a block to which that happens often is compiled anew without windows.
 *
 * A block that goes on at its own beginning keeps its windows from one round to the next, pinned in
 * two host registers: the distance, and what takes an address to its offset in the page. They are
 * loaded from the TLB in front of the loop, by the registers' values there; in the loop, the first
 * access of a group only asks whether the page is still the same, by two instructions, and cold
 * code changes the page. A group whose address stays needs no check at all in the loop. A group of
 * one is worth it there, too.
 *
 * A window holds as long as the translation does. Nothing in a block changes that, but for HELP
 * uops, which end all groups and keep a loop from pinning, and for accesses by the slow path to a
 * device, after which jit_access() looks whether the TLB was flushed. Other CPUs' code is out of
 * its loops before a page is watched for writes (share.h).
 *
 * If the address moves by a small constant in each round, as through an array, nothing is asked in
 * the loop: it runs in strips of as many rounds as the page has room for. The budget, which is
 * looked at in each round anyway, is cut to a strip (jit_cpu.hidden), and after each one the pages
 * are looked for as in front of the loop. That is for loops that were seen to be long.
 *
 * What is done in front of the loop must not be seen if something before the access faults. So a
 * page is put into the TLB there only for the first accesses of the block; for others the
 * interpreter goes through the block once.
 *
 * A group may lie across two pages, as by the place of a stack. A block to which that happens often
 * is compiled with cold code for it, which takes the two for one if they are neighbours in the
 * host's memory, too. A pin's page is then one in the middle of both.
 *
 * 32-bit code: a host address is made of the 64-bit value of a base register, so nothing may wrap
 * around. The group takes in the address in the base register itself whenever that has moved since
 * the check, so that all of them are in the page, below 4 GiB; a group that is checked in front of
 * a loop is not near the ends of these. With an index, each address is cut to 32 bits before the
 * distance is added. */
#include "jit/emit.h"
#include "jit/vec.h"

#include "cpu/x87.h"

#define PINNED_ROUNDS 3
#define WIDE          512  /* bytes that one check may span */
#define FAR_DISP      4096 /* of 32-bit code: beyond it a displacement may be meant to wrap around */

#define R_GENERAL 16u /* general registers */

static bool among(unsigned op, unsigned first, unsigned end)
{
    return op >= first && op < end;
}

static struct access on_stack(int32_t disp, unsigned size, bool write)
{
    return (struct access){
        .base = R_SP, .index = R_ZERO, .size = (uint8_t)size, .write = write, .disp = disp};
}

/* Takes a->base and imm, if they are a base and a displacement to work with. */
static bool usable(const struct emit *e, const struct uop *u, struct access *a, unsigned form,
                   int64_t imm)
{
    bool code64 = (e->b->key & KEY_CODE) == ISA_64, narrow = form == FORM_B32 || form == FORM_X32;
    if (a->base == R_IP)
        imm += e_page_offset(e, u);
    if (!x_fits32(imm) || form > FORM_X32)
        return false;
    if (narrow && (code64 || (form == FORM_B32 && a->base >= R_GENERAL)))
        return false;
    a->cut = form == FORM_B32 && (imm <= -FAR_DISP || imm >= FAR_DISP);
    if (a->cut && !among(u->op, UOP_LD, UOP_PUSH64)) /* an x87 operand: e_address() can't do it */
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
        if (!x87_access(e, u, a, &imm))
            return false;
        if (a->index != R_ZERO)
            return usable(e, u, a, code64 ? FORM_X64 : FORM_X32, imm);
        return usable(e, u, a, code64 ? FORM_B64 : FORM_B32, imm);
    default: break;
    }
    bool vec = among(u->op, UOP_LDV4_B64, UOP_PUSH64);
    if (!among(u->op, UOP_LD, UOP_STW8) && !(vec && vec_access(e, u, a)))
        return false;
    unsigned form = (u->op - (vec ? UOP_LDV4_B64 : UOP_LD)) % FORM_COUNT;
    if (!vec)
        *a = (struct access){.size = u->size, .write = u->op >= UOP_ST8_B64};
    a->base = u->a;
    a->index = R_ZERO;
    if (form == FORM_X64 || form == FORM_X32) {
        a->index = u->b;
        a->scale = u->scale;
    }
    return usable(e, u, a, form, u->imm);
}

/* Planning: what is known of the registers while the block is walked through: each is a root's
 * value and a constant. The roots below R_COUNT are the registers' values at the beginning; those
 * are followed by their lower halves, zero- and sign-extended. */
#define ROOT_ZX    R_COUNT
#define ROOT_SX    (2 * R_COUNT)
#define ROOT_LATER (3 * R_COUNT)
struct known {
    uint16_t root;
    int32_t delta;
};
struct planner {
    struct emit *e;
    struct known r[R_COUNT];
    uint16_t roots;
    unsigned closed; /* windows that nothing may join any more */
    bool code64;
};

static void forget(struct planner *p, unsigned r)
{
    if (r < R_ZERO)
        p->r[r] = (struct known){p->roots++, 0};
}

static void forget_all(struct planner *p)
{
    for (unsigned r = 0; r < R_ZERO; r++)
        forget(p, r);
    p->closed = p->e->windows;
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

/* Widens w by the access at lo … hi, if that can be. */
static bool widen(struct window *w, const struct access *a, int32_t at, int32_t lo, int32_t hi)
{
    lo = lo < w->lo ? lo : w->lo;
    hi = hi > w->hi ? hi : w->hi;
    if ((int64_t)hi - lo > WIDE || !aligns(w, a, at))
        return false;
    w->lo = lo;
    w->hi = hi;
    return true;
}

/* Could the base register's value be 4 GiB from what it is taken for? */
static bool may_wrap(const struct planner *p, const struct access *a)
{
    return !p->code64 && a->index == R_ZERO && !a->cut && a->base != R_ZERO;
}

/* Takes the access of uop i into a group, or begins one. */
static void join(struct planner *p, unsigned i, const struct access *a)
{
    struct emit *e = p->e;
    const struct known *k = &p->r[a->base], *x = &p->r[a->index];
    int64_t moved = (int64_t)k->delta + ((int64_t)x->delta << a->scale), at = moved + a->disp;
    int64_t lo = at, hi = at + a->size;
    unsigned scale = a->index == R_ZERO ? 0 : a->scale;
    if (!x_fits32(lo - WIDE) || !x_fits32(hi + WIDE))
        return;
    for (unsigned n = e->windows; n-- > p->closed;) {
        struct window *w = &e->window[n];
        int64_t low = lo, high = hi;
        if (may_wrap(p, a) && moved < w->from)
            low = moved < lo ? moved : lo;
        if (may_wrap(p, a) && moved > w->from)
            high = moved + 1 > hi ? moved + 1 : hi;
        if (w->root != k->root || w->index != x->root || w->scale != scale || w->cut != a->cut ||
            !widen(w, a, (int32_t)at, (int32_t)low, (int32_t)high))
            continue;
        w->moves |= moved != 0;
        w->mixed |= w->write != a->write;
        w->write |= a->write;
        w->uses++;
        w->last = (uint16_t)i;
        e->in_window[i] = (uint8_t)(n + 1);
        return;
    }
    if (e->windows == WINDOWS)
        return;
    e->window[e->windows] = (struct window){.lo = (int32_t)lo,
                                            .hi = (int32_t)hi,
                                            .at = (int32_t)at,
                                            .root = k->root,
                                            .index = x->root,
                                            .scale = (uint8_t)scale,
                                            .write = a->write,
                                            .align = a->align,
                                            .aligned = (int32_t)at,
                                            .first = (uint16_t)i,
                                            .last = (uint16_t)i,
                                            .uses = 1,
                                            .cut = a->cut,
                                            .from = (int32_t)moved,
                                            .moves = moved != 0,
                                            .disp = a->index == R_ZERO && !a->cut ? a->disp : 0,
                                            .distance = J_NONE,
                                            .offset = J_NONE};
    e->in_window[i] = (uint8_t)++e->windows;
}

/* dst = src + by. */
static void derive(struct planner *p, unsigned dst, unsigned src, int64_t by)
{
    struct known k = p->r[src];
    if (dst >= R_ZERO)
        return;
    if (src >= R_GENERAL || by < -FAR_DISP || by > FAR_DISP || k.delta > 1 << 20 ||
        k.delta < -(1 << 20)) {
        forget(p, dst);
        return;
    }
    k.delta += (int32_t)by;
    p->r[dst] = k;
}

/* dst = the lower half of src; `to` is ROOT_ZX or ROOT_SX. */
static void extend(struct planner *p, unsigned dst, unsigned src, unsigned to)
{
    struct known k = p->r[src];
    if (src >= R_GENERAL || k.root != src || k.delta || dst >= R_ZERO)
        forget(p, dst);
    else
        p->r[dst] = (struct known){(uint16_t)(to + src), 0};
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
    } else if (wide && (op == UOP_MOV_R32 || op == UOP_ZX32)) {
        extend(p, u->dst, u->a, ROOT_ZX);
    } else if (wide && op == UOP_SX32_64) {
        extend(p, u->dst, u->a, ROOT_SX);
    } else if (op == (wide ? UOP_ADD_I64 : UOP_ADD_I32) ||
               op == (wide ? UOP_ADD_IN64 : UOP_ADD_IN32)) {
        derive(p, u->dst, u->a, wide ? u->imm : (int32_t)u->imm);
    } else if (op == (wide ? UOP_SUB_I64 : UOP_SUB_I32) ||
               op == (wide ? UOP_SUB_IN64 : UOP_SUB_IN32)) {
        derive(p, u->dst, u->a, wide ? -u->imm : -(int64_t)(int32_t)u->imm);
    } else if (op == (wide ? UOP_INC64 : UOP_INC32) || op == (wide ? UOP_DEC64 : UOP_DEC32)) {
        derive(p, u->dst, u->a, op == UOP_INC64 || op == UOP_INC32 ? 1 : -1);
    } else if (op == (wide ? UOP_LEA64 : UOP_LEA32) && u->b == R_ZERO && u->a < R_GENERAL) {
        derive(p, u->dst, u->a, wide ? u->imm : (int32_t)u->imm);
    } else if (uop_calls(u) || uop_returns(u)) {
        int by = op == UOP_CALL64 || op == UOP_RET64 ? 8 : 4;
        derive(p, R_SP, R_SP, uop_calls(u) ? -by : by + u->imm);
    } else if (among(op, UOP_PUSH64, UOP_POP64)) {
        derive(p, R_SP, R_SP, op == UOP_PUSH64 || op == UOP_PUSHI64 ? -8 : -4);
    } else {
        bool pop = op == UOP_POP64 || op == UOP_POP32;
        uint32_t w = e_writes(u);
        if (pop)
            derive(p, R_SP, R_SP, op == UOP_POP64 ? 8 : 4);
        for (unsigned r = 0; r < R_ZERO; r++)
            if (w >> r & 1 && !(pop && r == R_SP && u->dst != R_SP))
                forget(p, r);
    }
}

/* Is a root at the block's end what it was at its beginning? */
static bool stays(const struct planner *p, unsigned root)
{
    const struct known *k = &p->r[root % R_COUNT];
    return k->root == root % R_COUNT && !k->delta;
}

/* By how much a window's address moves from round to round, if that is little, always the same and
 * leaves what is aligned so; else 0. */
static int8_t stride(const struct planner *p, const struct window *w)
{
    const struct known *k = &p->r[w->root % R_COUNT], *x = &p->r[w->index % R_COUNT];
    if (w->root >= R_COUNT || w->index >= R_COUNT || k->root != w->root || x->root != w->index)
        return 0;
    int64_t by = k->delta + (int64_t)x->delta * (1 << w->scale);
    return by >= -64 && by <= 64 && !(by & w->align) ? (int8_t)by : 0;
}

/* Has the loop more rounds than that, as far as they were seen? Of a path each branch may end it.
 */
static bool is_long(const struct emit *e, unsigned rounds)
{
    unsigned left = 0;
    for (unsigned p = 0; p < e->parts; p++) {
        bool last = p + 1 == e->parts;
        unsigned via = !last ? e->part[p + 1].via : e->parts > 1 ? e->via : 1;
        const uint8_t *went = e->part[p].b->went;
        unsigned all = went[0] + went[1];
        left += all ? went[!via] * 1024u / all : 0;
    }
    return left * rounds < 1024;
}

/* Nothing in the block forbids that windows are kept from round to round. */
static bool can_pin(const struct emit *e)
{
    if (!e_loops(e) || (e->parts > 1 && !is_long(e, PINNED_ROUNDS)))
        return false;
    for (unsigned i = 0; i < e->n; i++)
        if (e->b->uops[i].op == UOP_HELP && e->b->uops[i].scale != X87_HELP)
            return false;
    return true;
}

/* Which windows a loop keeps, and of which the page may be looked for in front of it. */
static void plan_pins(struct planner *p)
{
    struct emit *e = p->e;
    bool early = true;
    for (unsigned n = 0; n < e->windows; n++) {
        struct window *w = &e->window[n];
        w->pinned = w->root < ROOT_LATER && w->index < ROOT_LATER;
        w->still = w->pinned && stays(p, w->root) && stays(p, w->index);
        w->stride =
            w->pinned && !e->b->narrow && is_long(e, e->parts > 1 ? 16 : 7) ? stride(p, w) : 0;
        w->edge = !p->code64 && w->index == R_ZERO && !w->cut && w->root != R_ZERO &&
                  (w->stride || (w->still && w->moves));
    }
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        struct window *w = e->in_window[i] ? &e->window[e->in_window[i] - 1] : NULL;
        if (w && w->first == i)
            w->early = early && w->pinned && !w->mixed;
        if (e_passes(e, i))
            continue;
        if (w ? w->first == i && !w->early
              : uop_observes(u) && !vec_quiet(e, u) && !x87_quiet(e, u))
            early = false;
    }
}

void win_settle(struct emit *e)
{
    unsigned slots = 0;
    for (unsigned n = 0; n < e->windows; n++) {
        struct window *w = &e->window[n];
        if (w->first == w->last && !w->pinned)
            w->dropped = true;
        if (!w->pinned)
            w->disp = 0;
        w->dropped |= slots + 2 > JIT_WINDOWS;
        w->stride = w->dropped || !w->pinned ? 0 : w->stride;
        e->strips |= w->stride != 0;
        w->slot = (uint8_t)slots;
        slots += w->dropped ? 0 : w->pinned ? 2 : 1;
        w->lo -= (w->lo - w->aligned) & w->align; /* what must be aligned is so if `lo` is */
    }
    for (unsigned i = 0; i < e->n; i++)
        if (e->in_window[i] && e->window[e->in_window[i] - 1].dropped)
            e->in_window[i] = 0;
}

void win_plan(struct emit *e)
{
    struct planner p = {.e = e, .code64 = (e->b->key & KEY_CODE) == ISA_64, .roots = ROOT_LATER};
    e->windows = 0;
    memset(e->in_window, 0, e->n);
    e->strips = false;
    if (e->b->narrow > 1 || (e->b->key & KEY_AC))
        return;
    for (unsigned r = 0; r < R_COUNT; r++)
        p.r[r] = (struct known){(uint16_t)r, 0};
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        struct access a;
        if (e_access_of(e, u, &a))
            join(&p, i, &a);
        follow(&p, u);
    }
    if (can_pin(e))
        plan_pins(&p);
}

bool win_open(const struct emit *e)
{
    unsigned n = e->in_window[e->i];
    const struct window *w = n ? &e->window[n - 1] : NULL;
    return w && (w->first != e->i || w->still || w->stride);
}

struct xmem win_slot(unsigned slot)
{
    return e_cpu(offsetof(struct cpu, jit.win) + 8 * slot);
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

/* Where an access begins: a base and a displacement, the base in J_X0 if there is an index. */
static struct xmem origin(struct emit *e, const struct uop *u, const struct access *a)
{
    if (a->index == R_ZERO && !a->cut)
        return xm(base_of(e, a), a->disp);
    if (u->op == UOP_X87 || u->op == UOP_HELP)
        x87_address(e, u);
    else
        e_address(e, u);
    return xm(J_X0, 0);
}

/* The same and the distance to host memory, which is in `host`, as an operand. */
static struct xmem plus(struct emit *e, struct xmem m, unsigned host)
{
    if (m.base == X_NONE)
        return xm(host, m.disp);
    if (host == J_X1 && m.base == J_X0) {
        x_lea(&e->a, 8, J_X0, xmi(J_X0, J_X1, 0, 0));
        return xm(J_X0, m.disp);
    }
    return xmi(m.base, host, 0, m.disp);
}

/* The access, its window being open. */
static struct xmem inside(struct emit *e, const struct uop *u, const struct window *w,
                          const struct access *a)
{
    struct xmem m = origin(e, u, a);
    unsigned host = e->settled ? J_NONE : w->distance;
    m.disp -= w->disp;
    if (host == J_NONE)
        x_load(&e->a, 8, host = J_X1, win_slot(w->slot));
    return plus(e, m, host);
}

/* to = the window's first byte, by m, which is the first access; plus `host`. */
static void first_byte(struct emit *e, const struct window *w, unsigned to, struct xmem m,
                       unsigned host)
{
    int64_t disp = (int64_t)m.disp + w->lo - w->at;
    if (m.base == X_NONE && host == J_NONE)
        x_mov_ri(&e->a, to, (uint64_t)disp);
    else if (m.base == X_NONE)
        x_lea(&e->a, 8, to, xm(host, (int32_t)disp));
    else if (host != J_NONE)
        x_lea(&e->a, 8, to, xmi(m.base, host, 0, (int32_t)disp));
    else if (disp)
        x_lea(&e->a, 8, to, xm(m.base, (int32_t)disp));
    else if (to != m.base)
        x_mov_rr(&e->a, 8, to, m.base);
}

/* May the slow path do the access of u alone, and go on behind it? Not if the instruction's operand
 * is to be where the slow path has put it. */
static bool by_itself(const struct uop *u)
{
    return !among(u->op, UOP_LDV4_B64, UOP_STV4_B64) && !among(u->op, UOP_LDW8_B64, UOP_STW8) &&
           !among(u->op, UOP_CALL64, UOP_JMP_R);
}

/* The check of a pinned window whose address moves. */
static struct xmem same_page(struct emit *e, const struct uop *u, const struct window *w,
                             const struct access *a)
{
    bool alone = w->first == w->last && by_itself(u);
    struct stub *s = e_stub(e, alone ? STUB_ACCESS : STUB_WIDE, u);
    s->which = (uint8_t)(w - e->window);
    s->pinned = true;
    s->check = s->back = e->a.at;
    if (alone)
        e->access = s;
    struct xmem m = origin(e, u, a);
    m.disp -= w->disp;
    first_byte(e, w, J_X1, m, w->offset);
    e_in_page(e, s, J_X1, (unsigned)(w->hi - w->lo), w->align);
    return plus(e, m, w->distance);
}

struct xmem win_access(struct emit *e, const struct uop *u)
{
    unsigned n = e->in_window[e->i];
    const struct window *w = &e->window[n - 1];
    struct access a;
    e_access_of(e, u, &a);
    e->access = NULL;
    if (win_open(e))
        return inside(e, u, w, &a);
    if (w->pinned)
        return same_page(e, u, w, &a);
    struct stub *s = e_stub(e, STUB_WIDE, u);
    s->which = (uint8_t)(n - 1);
    s->back = e->a.at;
    struct xmem m = origin(e, u, &a);
    first_byte(e, w, J_X0, m, J_NONE);
    bool stack = a.base == R_SP && a.index == R_ZERO;
    e_look_up_kept(e, s, (unsigned)(w->hi - w->lo), w->align, w->write, stack);
    if (m.base == J_X0) /* it is gone */
        e_to_host(e);
    unsigned host = w->distance == J_NONE || e->settled ? J_X1 : w->distance;
    e_addend_to(e, host);
    if (host == J_X1)
        x_store(&e->a, 8, win_slot(w->slot), J_X1);
    s->paired = e->a.at;
    e->a.insn = 0;
    return m.base == J_X0 ? xm(J_X0, w->at - w->lo) : plus(e, m, host);
}

/* Loads a pin from the TLB's entry at J_X1. */
static void take_page(struct emit *e, const struct window *w)
{
    if (!w->still && !w->stride) {
        x_load(&e->a, 8, w->offset, e_tag(e, w->write));
        x_rr(&e->a, 8, 0xf7, 3, w->offset); /* neg */
        if (w->disp)
            x_alu_ri(&e->a, XA_ADD, 8, w->offset, w->disp);
    }
    unsigned to = w->distance == J_NONE ? J_X1 : w->distance;
    e_addend_to(e, to);
    if (w->disp)
        x_alu_ri(&e->a, XA_ADD, 8, to, w->disp);
    if (to == J_X1)
        x_store(&e->a, 8, win_slot(w->slot), J_X1);
}

void win_refill(struct emit *e, const struct stub *s)
{
    const struct window *w = &e->window[s->which];
    struct stub miss = {0};
    struct access a;
    e_access_of(e, s->u, &a);
    first_byte(e, w, J_X0, origin(e, s->u, &a), J_NONE);
    e_look_up(e, &miss, (unsigned)(w->hi - w->lo), w->align, w->write);
    take_page(e, w);
    x_jmp(&e->a, s->check);
    for (unsigned i = 0; i < miss.jumps && !e->a.full; i++)
        x_patch(e->a.base, miss.jump[i], e->a.at);
}

/* The register that has a root's value now; `to` may become it. */
static unsigned root_value(struct emit *e, unsigned root, unsigned to)
{
    struct access a = {.base = root % R_COUNT};
    unsigned r = to == J_X0 ? base_of(e, &a) : e_use(e, a.base, to);
    if (root < ROOT_ZX)
        return r;
    if (root < ROOT_SX)
        x_mov_rr(&e->a, 4, to, r);
    else
        x_movsx(&e->a, 4, 8, to, r);
    return to;
}

/* J_X0 = the first byte of a window whose roots are the registers' values now. */
static void root_byte(struct emit *e, const struct window *w)
{
    unsigned base = root_value(e, w->root, J_X0), index;
    bool narrow = (e->b->key & KEY_CODE) != ISA_64;
    if (w->index == R_ZERO && !w->cut) {
        first_byte(e, w, J_X0, xm(base, w->at), J_NONE);
        return;
    }
    if (w->cut) {
        x_lea(&e->a, 4, J_X0, xm(base, w->at));
        first_byte(e, w, J_X0, xm(J_X0, 0), J_NONE);
        return;
    }
    index = root_value(e, w->index, J_X1);
    x_lea(&e->a, narrow ? 4 : 8, J_X0, xmi(base, index, w->scale, narrow ? w->at : w->lo));
    if (narrow)
        first_byte(e, w, J_X0, xm(J_X0, 0), J_NONE);
}

/* A window that is open for all rounds is not near the ends of the 32-bit space: the base
 * registers, from which its accesses have less than FAR_DISP, do not wrap around then. J_X0 is an
 * address; destroys J_X1. */
#define EDGE  ((int64_t)PAGE_SIZE)
#define EDGES (BIT(32) - 4 * EDGE)
static void within_edges(struct emit *e, struct stub *miss)
{
    x_lea(&e->a, 4, J_X1, xm(J_X0, (int32_t)-EDGE));
    x_alu_ri(&e->a, XA_CMP, 4, J_X1, (int32_t)EDGES);
    e_stub_jcc(e, miss, XC_AE);
}

/* A page for a pin, in the middle of two that are neighbours: from here in the first. */
#define MIDDLE (PAGE_SIZE / 2)

/* J_X0 = where a pin's page is wanted; true: the operand's base is J_X0. */
static bool wanted(struct emit *e, const struct window *w, const struct stub *s)
{
    struct access a;
    if (s->entry) {
        root_byte(e, w);
        return false;
    }
    e_access_of(e, s->u, &a);
    struct xmem m = origin(e, s->u, &a);
    first_byte(e, w, J_X0, m, J_NONE);
    return m.base == J_X0;
}

void win_pair(struct emit *e, const struct stub *s)
{
    const struct window *w = &e->window[s->which];
    struct stub miss = {0};
    struct xmem slot = win_slot(w->slot);
    bool held = w->distance != J_NONE && !e->settled, gone = wanted(e, w, s);
    if (s->entry && w->edge)
        within_edges(e, &miss);
    e_look_up_pair(e, &miss, w->align, w->write);
    if (w->pinned && !w->still && !w->stride) {
        x_load(&e->a, 8, w->offset, e_tag(e, w->write));
        x_rr(&e->a, 8, 0xf7, 3, w->offset); /* neg */
        x_alu_ri(&e->a, XA_ADD, 8, w->offset, w->disp - (int)MIDDLE);
    }
    if (w->disp)
        x_alu_ri(&e->a, XA_ADD, 8, J_X0, w->disp);
    if (held)
        x_mov_rr(&e->a, 8, w->distance, J_X0);
    else
        x_store(&e->a, 8, slot, J_X0);
    if (w->stride) {
        struct stub never = {0};
        wanted(e, w, s);
        e_look_up(e, &never, 1, 0, w->write);
        for (unsigned i = 0; i < never.jumps && !e->a.full; i++)
            x_patch(e->a.base, never.jump[i], e->a.at);
        x_alu_ri(&e->a, XA_SUB, 8, J_X0, MIDDLE);
    } else if (gone) {
        wanted(e, w, s);
        held ? x_alu_rr(&e->a, XA_ADD, 8, J_X0, w->distance)
             : x_alu_rm(&e->a, XA_ADD, 8, J_X0, slot);
    } else if (!held) {
        x_mov_rr(&e->a, 8, J_X1, J_X0);
    }
    x_jmp(&e->a, s->pinned ? s->check : s->paired);
    for (unsigned i = 0; i < miss.jumps && !e->a.full; i++)
        x_patch(e->a.base, miss.jump[i], e->a.at);
}

/* How many more rounds a strip's window stays in the page: at least that many. J_X0 is its offset
 * there. */
static void count_rounds(struct emit *e, const struct window *w, bool others)
{
    unsigned by = (unsigned)(w->stride < 0 ? -w->stride : w->stride), log = 0;
    while (1u << log < by)
        log++;
    if (w->stride > 0) {
        x_rr(&e->a, 8, 0xf7, 3, J_X0); /* neg */
        x_alu_ri(&e->a, XA_ADD, 8, J_X0, PAGE_SIZE - (w->hi - w->lo));
    }
    if (log)
        x_shift_ri(&e->a, XS_SHR, 8, J_X0, log);
    if (others) {
        x_alu_rm(&e->a, XA_CMP, 8, J_X0, E_CPU(jit.strip));
        x_rm(&e->a, 8, 0x0f40 | XC_A, J_X0, E_CPU(jit.strip)); /* cmova */
    }
    x_store(&e->a, 8, E_CPU(jit.strip), J_X0);
}

/* The budget is cut to the rounds of a strip: what is beyond it is hidden. */
static void begin_strip(struct emit *e)
{
    x_rm(&e->a, 8, 0x69, J_X1, E_CPU(jit.strip)); /* imul */
    x_imm(&e->a, 4, e->b->insns);
    x_mov_rr(&e->a, 8, J_X0, J_LEFT);
    x_alu_rr(&e->a, XA_SUB, 8, J_X0, J_X1);
    x_mov_ri(&e->a, J_X1, 0);
    x_cmov_rr(&e->a, 8, XC_L, J_X0, J_X1);
    x_store(&e->a, 8, E_CPU(jit.hidden), J_X0);
    x_alu_rr(&e->a, XA_SUB, 8, J_LEFT, J_X0);
    x_alu_mr(&e->a, XA_SUB, 8, E_CPU(jit.limit), J_X0);
    x_alu_mr(&e->a, XA_SUB, 8, E_CPU(jit.first), J_X0);
}

void win_enter(struct emit *e)
{
    bool any = false;
    for (unsigned n = 0; n < e->windows; n++) {
        const struct window *w = &e->window[n];
        if (!w->pinned || w->dropped)
            continue;
        struct stub *s = e_stub(e, STUB_WIDE, e->b->uops);
        s->which = (uint8_t)n;
        s->entry = true;
        s->back = e->a.at;
        root_byte(e, w);
        if (w->edge)
            within_edges(e, s);
        e_look_up(e, s, (unsigned)(w->hi - w->lo), w->align, w->write);
        take_page(e, w);
        s->paired = e->a.at;
        e->a.insn = 0;
        if (w->stride)
            count_rounds(e, w, any);
        any |= w->stride != 0;
    }
    if (any)
        begin_strip(e);
}

void win_unstrip(struct emit *e)
{
    if (!e->strips)
        return;
    x_load(&e->a, 8, J_X0, E_CPU(jit.hidden));
    x_lea(&e->a, 8, J_LEFT, xmi(J_LEFT, J_X0, 0, 0));
    x_load(&e->a, 8, J_X1, E_CPU(jit.limit));
    x_lea(&e->a, 8, J_X1, xmi(J_X1, J_X0, 0, 0));
    x_store(&e->a, 8, E_CPU(jit.limit), J_X1);
}

void win_site(const struct emit *e, const struct stub *s, struct jit_site *p)
{
    const struct window *w = &e->window[s->which];
    struct access a;
    e_access_of(e, &e->b->uops[w->first], &a);
    p->lo = s->entry ? w->lo : a.disp + w->lo - w->at;
    p->bytes = (uint16_t)(w->hi - w->lo);
    p->at = (uint16_t)(w->at - w->lo);
    p->size = a.size & 63;
    p->align = w->align & 31;
    p->write = w->write;
    p->stores = a.write;
    p->slow = s->entry && !w->early;
    p->which = s->entry ? w->root % R_COUNT : a.base;
    p->index = s->entry ? w->index % R_COUNT : a.index;
    p->which_as = s->entry ? (uint8_t)(w->root / R_COUNT) : 0;
    p->index_as = s->entry ? (uint8_t)(w->index / R_COUNT) : 0;
    p->edge = s->entry && w->edge;
    p->pairs = e->b->pairs;
    p->scale = w->scale;
    p->cut = w->cut || (w->index != R_ZERO && (e->b->key & KEY_CODE) != ISA_64);
}
