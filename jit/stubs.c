/* Cold code: what stands behind a block's hot code, for exits, slow paths and calls of C. A stub
 * begins with flags, homes and vector state as they were where it was made. */
#include "jit/emit.h"
#include "jit/vec.h"

/* If the page is what it was when the exit was linked: to `tail`, with jit.page set. Gives back the
 * jump for when it is not. */
static uint32_t far_check(struct emit *e, const struct jit_exit *x, unsigned size, int64_t delta)
{
    x_load(&e->a, 8, J_X0, E_CPU(jit.stamp));
    /* cmp r14, [rip + …] */
    x_op(&e->a, 0, 8, 0x3b, J_X0, 0, 0, false);
    x_u8(&e->a, (J_X0 & 7) << 3 | 5);
    x_u32(&e->a, x->site + (uint32_t)offsetof(struct jit_site, stamp) - (e->a.at + 4));
    uint32_t stale = x_jcc(&e->a, XC_NZ, e->a.at);
    x_load(&e->a, size, J_X0, E_CPU(jit.page));
    x_alu_ri(&e->a, XA_ADD, size, J_X0, delta);
    x_store(&e->a, 8, E_CPU(jit.page), J_X0);
    return stale;
}

/* What hot code has left to its stubs: where the last x87 instruction is, and flags that may be
 * those of the round before. Destroys J_X0, J_X1, and EFLAGS if the guest's are in memory. */
static void note_late(struct emit *e, const struct stub *s)
{
    struct flags_where fl = e->fl;
    x87_point(e, s->fip);
    if (!s->fl.entry || !e->late.kind)
        return;
    x_alu_rm(&e->a, XA_CMP, 8, J_LEFT, E_CPU(jit.first));
    uint32_t first = x_jcc(&e->a, XC_Z, e->a.at);
    e_pin_recipe(e, &e->late);
    e->fl = e->before = fl;
    if (!e->a.full)
        x_patch(e->a.base, first, e->a.at);
}

/* An exit's cold half. `tail` jumps on, when linked. */
static void exit_stub(struct emit *e, const struct stub *s)
{
    struct jit_exit *x = &e->jb->exit[s->which];
    const struct uop *u = s->u;
    struct jit_site *site;
    int64_t to = e_page_offset(e, u) + (s->which ? u->imm2 : u->next);
    /* what begins so near to the end may lie on the next page, too */
    bool far = to < 0 || to > PAGE_SIZE - ISA_MAX_LEN || e->b->paddr2 != ~0ull;
    x->site = e_site(e, NULL, JIT_EXIT_UNLINKED, u, 0);
    site = (struct jit_site *)(void *)(e->a.base + x->site);
    uint32_t skip = 0;
    x->asked = e->a.at;
    if (!x->loop && x->flags != EXIT_MEM && e->fl.rec.kind) {
        struct flags_where before = e->fl;
        note_late(e, s);
        win_unstrip(e);
        e_flags_to_memory(e);
        home_store(e);
        skip = x_jmp(&e->a, e->a.at);
        e->fl = before;
    }
    x->out = e->a.at;
    if (!skip)
        x->asked = x->out;
    if (x->loop)
        x_alu_ri(&e->a, XA_ADD, 8, J_LEFT, e->b->insns);
    note_late(e, s);
    win_unstrip(e);
    if (x->flags != EXIT_MEM)
        e_flags_pin(e);
    home_store(e);
    home_at(e, true);
    if (skip && !e->a.full)
        x_patch(e->a.base, skip, e->a.at);
    if (far) {
        int64_t delta = to & ~(int64_t)(PAGE_SIZE - 1);
        unsigned size = e->b->mask[s->which] == ~0ull ? 8 : 4;
        x->mem = x->quick = e->a.at;
        uint32_t stale = far_check(e, x, size, delta), other = 0;
        x->tail = x_jmp(&e->a, e->a.at);
        if (x->flags == EXIT_RECIPE) {
            x->mem = e->a.at;
            other = far_check(e, x, size, delta);
            x_jmp(&e->a, x->tail - 1);
        }
        if (!e->a.full)
            x_patch(e->a.base, stale, e->a.at);
        /* another CPU's link, or an old one: the CPU's own table of jumps may know the way */
        if (x->flags == EXIT_RECIPE)
            e_pin_recipe(e, &e->fl.rec);
        if (other && !e->a.full)
            x_patch(e->a.base, other, e->a.at);
        x_lea_at(&e->a, J_X0, x->site);
        x_store(&e->a, 8, E_CPU(jit.scratch[1]), J_X0);
        x_load(&e->a, 8, J_X0, E_CPU(jit.page));
        x_alu_ri(&e->a, XA_ADD, size, J_X0, to);
        x_jmp(&e->a, e->thunk_far);
        x->away = e->a.at; /* not linked: the page must be what it was */
    } else {
        x->tail = x_jmp(&e->a, e->a.at);
        x->mem = x->tail - 1;
        x->away = e->a.at;
    }
    if (!e->a.full) {
        x_patch(e->a.base, x->tail, x->away);
        site->which = s->which;
    }
    e_leave_by(e, x->site);
}

/* Are the flags as the block's own exit would have them? */
static bool same_recipe(const struct jit_exit *x, const struct flags_where *f)
{
    const struct flags_rec *r = &f->rec, *q = &x->rec;
    return x->flags == EXIT_RECIPE && f->host && !f->mem && r->kind == q->kind && r->lg == q->lg &&
           r->a == q->a && r->imm == q->imm && (r->imm ? r->v == q->v : r->b == q->b) &&
           r->a < R_T0 && (r->imm || r->b < R_T0);
}

void e_side(struct emit *e, const struct uop *u, unsigned which)
{
    const struct part *p = e_part(e, u);
    const struct jit_exit *x = &p->b->jit->exit[which];
    int32_t rest = e->b->insns - p->insns - p->b->insns;
    bool same = same_recipe(x, &e->fl);
    if (same)
        e_note_recipe(e, &e->fl.rec);
    else if (!e->fl.mem)
        e_flags_pin(e);
    home_store(e);
    home_at(e, true);
    if (p->page) {
        unsigned size = e->b->mask[0] == ~0ull ? 8 : 4;
        x_load(&e->a, size, J_X0, E_CPU(jit.page));
        x_lea(&e->a, size, J_X0, xm(J_X0, p->page));
        x_store(&e->a, 8, E_CPU(jit.page), J_X0);
    }
    if (rest)
        x_lea(&e->a, 8, J_LEFT, xm(J_LEFT, rest));
    x_jmp(&e->a, same ? x->begin : x->mem);
}

/* Loads the vector registers or the x87; if that can't be, the interpreter goes on. */
static uint32_t load_stub(struct emit *e, const struct stub *s)
{
    const struct uop *first = s->u;
    while (first > e->b->uops && first[-1].insn == s->u->insn)
        first--;
    uint32_t site = e_site(e, NULL, JIT_EXIT_RESUME, first, e->b->insns), at = e->a.at;
    x_call(&e->a, s->kind == STUB_VEC ? e->vec_load : e->x87_load);
    x_jcc(&e->a, XC_Z, s->back);
    note_late(e, s);
    if (s->save)
        e_flags_to_memory(e);
    home_store(e);
    e_leave_by(e, site);
    return at;
}

/* Finds the page and tries again, or lets the interpreter go on. */
static uint32_t wide_stub(struct emit *e, const struct stub *s)
{
    uint32_t site = e_site(e, jit_wide, JIT_EXIT_FAULT, s->u, e->b->insns), at = e->a.at;
    struct jit_site *p = (struct jit_site *)(void *)(e->a.base + site);
    if (!e->a.full)
        win_site(e, s, p);
    if (s->pinned)
        win_refill(e, s);
    if (e->b->pairs)
        win_pair(e, s);
    note_late(e, s);
    if (s->save)
        e_flags_to_memory(e);
    home_store(e);
    e_call_site(e, site, e->thunk_call);
    home_load(e);
    if (s->vec)
        x_call(&e->a, e->vec_reload);
    x_jmp(&e->a, s->back);
    return at;
}

bool e_reloads(const struct emit *e, const struct uop *u)
{
    const struct uop *l = u - 1;
    return u->op >= UOP_JMP_R && u->op < UOP_EXIT && l >= e->b->uops && l->insn == u->insn &&
           l->op >= UOP_LD && l->op < UOP_ST8_B64 && l->dst == u->a &&
           (l == e->b->uops || l[-1].insn != l->insn);
}

void e_emit_stub(struct emit *e, const struct stub *s)
{
    struct stub miss = {0};
    uint32_t at;
    e->fl = s->fl;
    e->before = s->fl;
    home_at(e, s->settled);
    if (s->slot)
        slot_refill(e, s, &miss);
    if (s->kind == STUB_VEC || s->kind == STUB_X87) {
        at = load_stub(e, s);
    } else if (s->kind == STUB_WIDE) {
        at = wide_stub(e, s);
    } else if (s->kind == STUB_SIDE) {
        at = e->a.at;
        note_late(e, s);
        win_unstrip(e);
        e_side(e, s->u, s->which);
    } else if (s->kind == STUB_PLAIN) {
        at = e->a.at;
        x_lea(&e->a, 8, J_LEFT, xm(J_LEFT, e->b->insns));
        x_jmp(&e->a, e->part[0].b->jit->plain);
    } else if (s->kind == STUB_EXIT) {
        exit_stub(e, s);
        at = e->jb->exit[s->which].out;
    } else {
        uint32_t site =
            s->kind == STUB_ACCESS     ? e_site(e, jit_access, JIT_EXIT_FAULT, s->u, e->b->insns)
            : s->kind == STUB_HELP     ? e_site(e, jit_help, JIT_EXIT_FAULT, s->u, e->b->insns)
            : s->kind == STUB_FLAGS    ? e_site(e, jit_flags, JIT_EXIT_FAULT, s->u, e->b->insns)
            : s->kind == STUB_INDIRECT ? e_site(e, NULL, JIT_EXIT_INDIRECT, s->u, 0)
            : s->kind == STUB_HOT      ? e_site(e, NULL, JIT_EXIT_HOT, s->u, 0)
            : s->kind == STUB_STALE    ? e_site(e, NULL, JIT_EXIT_STALE, s->u, 0)
            : s->kind == STUB_ENTRY
                ? e_site(e, NULL, JIT_EXIT_ENTRY, s->u, e->b->insns)
                : e_site(e, NULL, JIT_EXIT_RESUME, s->u - e_reloads(e, s->u), e->b->insns);
        at = e->a.at;
        if (s->kind == STUB_STALE && !e->a.full)
            ((struct jit_site *)(void *)(e->a.base + site))->lo = (int32_t)e->number;
        if (s->pinned)
            win_refill(e, s);
        note_late(e, s);
        if (s->save)
            e_flags_to_memory(e);
        if (s->kind == STUB_HELP)
            x87_offset(e, s);
        home_store(e);
        if (s->kind == STUB_RESUME || s->kind == STUB_STALE || s->kind == STUB_ENTRY ||
            s->kind == STUB_INDIRECT || s->kind == STUB_HOT) {
            e_leave_by(e, site);
        } else {
            e_call_site(e, site, s->kind == STUB_HELP ? e->thunk_help : e->thunk_call);
            home_load(e);
            if (s->vec)
                x_call(&e->a, e->vec_reload);
            if (s->x87 && s->kind == STUB_HELP)
                x_call(&e->a, e->x87_load);
            if (s->after)
                s->after(e, s);
            x_jmp(&e->a, s->back);
        }
    }
    for (unsigned i = 0; i < s->jumps && !e->a.full; i++)
        x_patch(e->a.base, s->jump[i], at);
    for (unsigned i = 0; i < miss.jumps && !e->a.full; i++)
        x_patch(e->a.base, miss.jump[i], at);
}
