/* Running generated code: the way in and out, links between blocks, the code memory. */
#include "jit/jit.h"

#include <stdlib.h>

#include "cpu/x87.h"
#include "jit/emit.h"
#include "jit/own.h"
#include "jit/vec.h"

#define HOT       12          /* runs of a block before it is compiled */
#define WATCHED   24          /* blocks interpreted to see where a hot path goes */
#define STALE     16          /* far links with old stamps taken before one gets a new one */
#define SLICE     (1 << 16)   /* instructions before requests of other threads are looked at */
#define BLOCK_MAX (64u << 10) /* bytes that a block's code may take, hot or cold */

bool jit_host_ok(void)
{
    return __builtin_cpu_supports("bmi2");
}

/* The common code. */

static void move_registers(struct x64 *a, bool store)
{
    for (unsigned r = 0; r < R_ZERO; r++) {
        if (jit_home[r] == J_NONE)
            continue;
        if (store)
            x_store(a, 8, e_slot(r), jit_home[r]);
        else
            x_load(a, 8, jit_home[r], e_slot(r));
    }
    if (store)
        x_store(a, 8, E_CPU(jit.left), J_LEFT);
    else
        x_load(a, 8, J_LEFT, E_CPU(jit.left));
}

static void push_pop(struct x64 *a, bool pop)
{
    static const uint8_t saved[] = {RBP, RBX, R12, R13, R14, R15};
    for (unsigned i = 0; i < sizeof saved; i++) {
        unsigned r = saved[pop ? sizeof saved - 1 - i : i];
        x_op(a, 0, 4, (pop ? 0x58 : 0x50) | (r & 7), 0, 0, r, false);
    }
}

/* Calls `thunk` if the flag is set. */
static void call_if(struct x64 *a, size_t flag, uint32_t thunk)
{
    x_alu_mi(a, XA_CMP, 1, e_cpu(flag), 0);
    uint32_t not = x_jcc(a, XC_Z, a->at);
    x_call(a, thunk);
    x_patch(a->base, not, a->at);
}

/* The host's vector and x87 registers, and back. */
static void vector_code(struct emit *e)
{
    struct x64 *a = &e->a;
    vec_host(&e->host);
    bool avx = isa_has(&e->host, FEAT_AVX);
    e->vec_load = a->at;
    e->vec_reload = vec_load(a, avx);
    e->vec_save = a->at;
    vec_save(a, avx);
    e->x87_load = a->at;
    x87_thunk_load(a);
    e->x87_save = a->at;
    x87_thunk_save(a);
}

/* To the linear address in J_X0 by the table of jumps; not there: out, by the site in scratch[1].
 * Out now and then even so, so that a link that is used often gets the present stamp. */
static void far_code(struct emit *e)
{
    struct x64 *a = &e->a;
    uint32_t miss[3];
    e->thunk_far = a->at;
    e_jump_entry(a, true);
    x_alu_rm(a, XA_CMP, 8, J_X0, E_JUMP(la));
    miss[0] = x_jcc(a, XC_NZ, a->at);
    x_load(a, 8, J_X0, E_CPU(jit.stamp));
    x_alu_rm(a, XA_CMP, 8, J_X0, E_JUMP(stamp));
    miss[1] = x_jcc(a, XC_NZ, a->at);
    x_alu_mi(a, XA_SUB, 4, E_CPU(jit.stale), 1);
    miss[2] = x_jcc(a, XC_S, a->at);
    x_load(a, 8, J_X0, E_JUMP(page));
    x_store(a, 8, E_CPU(jit.page), J_X0);
    x_rm(a, 4, 0xff, 4, E_JUMP(code)); /* jmp */
    for (unsigned i = 0; i < ARRAY_LEN(miss); i++)
        x_patch(a->base, miss[i], a->at);
    x_load(a, 8, J_X0, E_CPU(jit.scratch[1]));
    x_jmp(a, e->thunk_leave);
}

static void common_code(struct jit *j)
{
    struct x64 *a = &j->emit.a;
    vector_code(&j->emit);
    j->enter = a->at; /* void (*)(struct cpu *c, const void *code) */
    push_pop(a, false);
    x_alu_ri(a, XA_SUB, 8, RSP, 8);
    if (!j->mem.set_gs)
        x_bytes(a, "\xf3\x48\x0f\xae\xdf", 5); /* wrgsbase rdi */
    x_mov_rr(a, 8, J_X0, RSI);
    move_registers(a, false);
    x_rr(a, 4, 0xff, 4, J_X0); /* jmp */

    j->emit.thunk_leave = a->at;
    x_store(a, 8, E_CPU(jit.site), J_X0);
    move_registers(a, true);
    uint32_t out = a->at;
    call_if(a, offsetof(struct cpu, jit.vec_live), j->emit.vec_save);
    call_if(a, offsetof(struct cpu, jit.x87_live), j->emit.x87_save);
    x_alu_ri(a, XA_ADD, 8, RSP, 8);
    push_pop(a, true);
    x_u8(a, 0xc3);

    j->emit.thunk_help = a->at;
    call_if(a, offsetof(struct cpu, jit.x87_live), j->emit.x87_save);
    j->emit.thunk_call = a->at;
    call_if(a, offsetof(struct cpu, jit.vec_live), j->emit.vec_save);
    move_registers(a, true);
    x_alu_ri(a, XA_SUB, 8, RSP, 8);
    x_load(a, 8, RDI, E_CPU(jit.self));
    x_mov_rr(a, 8, RSI, J_X0);
    x_rm(a, 4, 0xff, 2, xm(J_X0, offsetof(struct jit_site, fn)));
    x_test_rr(a, 1, RAX, RAX);
    uint32_t failed = x_jcc(a, XC_Z, a->at);
    move_registers(a, false);
    x_alu_ri(a, XA_ADD, 8, RSP, 8);
    x_u8(a, 0xc3);
    x_patch(a->base, failed, a->at);
    x_alu_ri(a, XA_ADD, 8, RSP, 16);
    x_store_i(a, 8, E_CPU(jit.site), 0);
    x_jmp(a, out);
    far_code(&j->emit);
    j->start = a->at;
}

/* Links. */

static void unlinked(void *opaque, struct block *b, unsigned which)
{
    struct jit *j = opaque;
    const struct jit_exit *x = &b->jit->exit[which];
    struct jit_site *s = (struct jit_site *)(void *)(j->mem.rw + x->site);
    x_patch(j->mem.rw, x->at, x->out);
    x_patch(j->mem.rw, x->tail, x->away);
    s->stamp = 0;
}

/* Code at `at`, which nobody is in, leads to `to` from now on. */
static void redirect(struct jit *j, uint32_t at, uint32_t to)
{
    if (at == to)
        return;
    j->mem.rw[at] = 0xe9;
    x_patch(j->mem.rw, at + 1, to);
}

/* b's code, or that of the trace that begins with it, is at `entry` from now on. */
static void enter_at(struct jit *j, struct block *b, uint32_t entry)
{
    redirect(j, b->jit->first, entry);
    b->jit->entry = entry;
    b->code = j->mem.rx + entry;
}

static struct jit_block *about(struct jit *j, uint32_t jb)
{
    return (struct jit_block *)(void *)(j->mem.rw + jb);
}

/* Its first block goes on alone. */
static void end_trace(struct jit *j, struct trace *t)
{
    struct jit_block *head = t->head->jit;
    t->live = false;
    about(j, t->jb)->gone = true;
    redirect(j, t->entry, head->plain);
    enter_at(j, t->head, head->plain);
    head->loops = false;
}

/* Ends all traces that b is a part of. */
static void drop_traces(struct jit *j, struct block *b)
{
    for (uint32_t n = b->traces; n; n = j->nodes[n].next)
        if (j->traces[j->nodes[n].trace].live)
            end_trace(j, &j->traces[j->nodes[n].trace]);
    b->traces = 0;
}

static void dropped(void *opaque, struct block *b)
{
    struct jit *j = opaque;
    drop_traces(j, b);
    if (j->again == b)
        j->again = NULL;
    redirect(j, b->jit->first, b->jit->dead);
    redirect(j, b->jit->plain, b->jit->dead);
    j->stats.dropped++;
}

static void link_exit(struct jit *j, struct cpu *c, struct block *b)
{
    struct block *from = c->link_from;
    unsigned which = c->link_which;
    c->link_from = NULL;
    if (!from || !from->code || !b->code || from->key != b->key)
        return;
    const struct jit_exit *x = &from->jit->exit[which];
    if (c->jit.stale < 0)
        c->jit.stale = STALE;
    if (!x->at)
        return;
    if (x->loop) { /* from a trace that has the block in it; else nobody comes here */
        if (b == from)
            x_patch(j->mem.rw, x->tail, b->jit->entry);
        return;
    }
    bool far = x->quick, quick = x->flags == EXIT_MEM;
    if (!far && b->paddr2 != ~0ull)
        return; /* the second page may be mapped anew */
    if (x->flags == EXIT_RECIPE)
        quick = b->jit->kills && !(b->jit->writes & x->regs);
    if (far)
        ((struct jit_site *)(void *)(j->mem.rw + x->site))->stamp = c->jit.stamp;
    if (far && from->link[which].target == b)
        return; /* only the stamp was another */
    blocks_unlink(j->blocks, from, which);
    uint32_t to = b->jit->entry;
    if (far) /* unlinking took it away */
        ((struct jit_site *)(void *)(j->mem.rw + x->site))->stamp = c->jit.stamp;
    x_patch(j->mem.rw, x->tail, to);
    x_patch(j->mem.rw, x->at, !quick ? (b->jit->asks ? x->asked : x->out) : far ? x->quick : to);
    blocks_note_link(from, which, b);
    j->stats.links++;
}

/* Code memory. */

static void forget(void *opaque, struct block *b)
{
    struct jit *j = opaque;
    if (!b->code)
        return;
    blocks_unlink(j->blocks, b, 0);
    blocks_unlink(j->blocks, b, 1);
    b->code = NULL;
    b->jit = NULL;
    b->traces = 0;
    b->runs = HOT / 2;
}

static void begin_anew(struct jit *j)
{
    struct emit *e = &j->emit;
    e->a = (struct x64){.base = j->mem.rw, .at = j->start, .end = j->split};
    e->cold = (struct x64){.base = j->mem.rw, .at = j->split, .end = (uint32_t)j->mem.size};
    j->full = false;
    j->hot = NULL;
    j->again = NULL;
    memset(j->emit.slots, 0, sizeof j->emit.slots);
    j->trace_count = 0;
    j->node_count = 1;
    j->spans = 0;
    for (unsigned i = 0; i < j->count; i++) {
        memset(j->cpus[i]->jit.jump, 0xff, sizeof j->cpus[i]->jit.jump);
        memset(j->cpus[i]->jit.spans, 0xff, sizeof j->cpus[i]->jit.spans);
    }
}

/* Not while generated code runs. */
static void flush(struct jit *j, struct cpu *c)
{
    c->link_from = NULL;
    blocks_each(j->blocks, forget, j);
    begin_anew(j);
    j->stats.flushes++;
}

struct jit *jit_new(struct cpu **cpus, unsigned count, const struct codemem *m)
{
    struct jit *j = xcalloc(1, sizeof *j);
    j->mem = *m;
    j->peer = j;
    j->blocks = cpus[0]->blocks;
    j->count = count;
    for (unsigned i = 0; i < count; i++) {
        j->cpus[i] = cpus[i];
        cpus[i]->jit.jit = j;
        cpus[i]->jit.self = cpus[i];
        __asm__ volatile("stmxcsr %0" : "=m"(cpus[i]->jit.mxcsr));
        for (unsigned k = 0; k < JIT_HEAT; k++)
            cpus[i]->jit.heat[k] = HEAT;
    }
    j->traces = xcalloc(TRACES, sizeof *j->traces);
    j->nodes = xcalloc(TRACE_NODES, sizeof *j->nodes);
    j->split = (uint32_t)(m->size / 3) & ~63u;
    begin_anew(j);
    common_code(j);
    blocks_hook(j->blocks, &(struct block_hooks){unlinked, dropped, j});
    return j;
}

void jit_join(struct jit *j, struct jit *other)
{
    CHECK(j->peer == j);
    j->peer = other->peer;
    other->peer = j;
}

bool jit_own(struct jit *j)
{
    return j->mem.own(&j->mem, j->emit.a.at, j->split, j->emit.cold.at);
}

void jit_free(struct jit *j)
{
    struct jit *before = j;
    while (before->peer != j)
        before = before->peer;
    before->peer = j->peer;
    for (unsigned i = 0; i < j->count; i++)
        j->cpus[i]->jit.jit = NULL;
    blocks_each(j->blocks, forget, j);
    j->mem.free(&j->mem);
    free(j->traces);
    free(j->nodes);
    free(j);
}

static bool suits(const struct block *b)
{
    unsigned code = b->key & KEY_CODE;
    return b->kept && b->key != KEY_DEAD && !(b->key & KEY_SINGLE) &&
           (code == ISA_64 || (code == ISA_32 && (b->key & KEY_FLAT_CS)));
}

/* Code was emitted, its halves from `hot` and `cold` on. */
static void compiled(struct jit *j, const struct block *b, uint64_t rip, uint32_t hot,
                     uint32_t cold)
{
    const struct emit *e = &j->emit;
    const struct jit_watch *w = &j->watch;
    uint32_t at = e->jb->entry;
    j->stats.bytes += e->a.at - hot;
    if (!w->compiled)
        return;
    w->compiled(w->opaque, b, rip, j->mem.rx + at, e->a.at - at);
    w->compiled(w->opaque, b, rip, j->mem.rx + cold, e->cold.at - cold);
}

static bool compile(struct jit *j, struct block *b, uint64_t rip)
{
    struct emit *e = &j->emit;
    struct x64 a = e->a, cold = e->cold;
    if (a.end - a.at < BLOCK_MAX || cold.end - cold.at < BLOCK_MAX) {
        j->full = true;
        return false;
    }
    e->j = j;
    if (!emit_block(e, b)) {
        e->a = a;
        e->cold = cold;
        b->runs = 0; /* too long: try again some day */
        return false;
    }
    b->jit = e->jb;
    b->code = j->mem.rx + e->jb->entry;
    if (b->jit->exit[1].loop)
        blocks_note_link(b, 1, b); /* so that it ends when b is dropped */
    j->stats.compiled++;
    j->stats.uops += e->n;
    compiled(j, b, rip, a.at, cold.at);
    return true;
}

static bool compile_part(struct jit *j, struct block *b, int32_t page)
{
    return compile(j, b, j->page + (uint64_t)(int64_t)page + (b->paddr & (PAGE_SIZE - 1)));
}

static uint64_t find_part(struct jit *j, int64_t at)
{
    uint64_t paddr, la = j->page + (uint64_t)at;
    if ((j->path.key & KEY_CODE) != ISA_64)
        la = (uint32_t)la;
    return mmu_fetch_again(j->runs, la, &paddr) ? paddr : ~0ull;
}

/* Notes that the trace e is one of its blocks'. False: no room. */
static bool note_trace(struct jit *j, const struct emit *e)
{
    struct block *head = e->part[0].b;
    if (j->trace_count == TRACES || j->node_count + e->parts > TRACE_NODES)
        return false;
    j->traces[j->trace_count] = (struct trace){.head = head,
                                               .entry = e->jb->entry,
                                               .jb = (uint32_t)((uint8_t *)e->jb - j->mem.rw),
                                               .live = true,
                                               .pages = (uint8_t)e->pages};
    memcpy(j->traces[j->trace_count].page, e->page, sizeof e->page);
    for (unsigned i = 0; i < e->parts; i++) {
        struct block *b = e->part[i].b;
        j->nodes[j->node_count] = (struct trace_node){j->trace_count, b->traces};
        b->traces = j->node_count++;
    }
    j->trace_count++;
    return true;
}

/* Compiles the path that begins with b; if that is no use, its runs are counted no more. */
static void make_trace(struct jit *j, struct cpu *c, struct block *b)
{
    struct emit *e = &j->emit;
    uint64_t rip = c->s.rip;
    struct trace_env env = {j->blocks, compile_part, find_part, j->spans < JIT_SPANS - 1};
    e->j = j;
    j->page = rip & ~(uint64_t)(PAGE_SIZE - 1);
    j->runs = c;
    j->path = (struct block){.uops = j->path_uops,
                             .key = b->key,
                             .mask = {b->mask[0], b->mask[1]},
                             .paddr = b->paddr,
                             .paddr2 = ~0ull};
    bool plan = trace_plan(e, &env, b, &j->path);
    e->span = e->pages ? (uint16_t)(j->spans + 1) : 0;
    e->number = j->trace_count;
    struct x64 a = e->a, cold = e->cold;
    if (a.end - a.at < BLOCK_MAX || cold.end - cold.at < BLOCK_MAX || !plan ||
        !emit_trace(e, &j->path) || !note_trace(j, e)) {
        e->a = a;
        e->cold = cold;
        enter_at(j, b, b->jit->plain);
        return;
    }
    while (b->in) /* they are linked anew, to the trace */
        blocks_unlink(j->blocks, b->in->owner, (unsigned)(b->in - b->in->owner->link));
    enter_at(j, b, e->jb->entry);
    if (e->span)
        c->jit.spans[c->jit.space][j->spans = e->span] = c->jit.stamp;
    b->jit->loops = e->jb->loops;
    b->jit->looks |= e->jb->looks;
    b->jit->writes |= e->jb->writes;
    j->stats.traces++;
    j->stats.parts += e->parts;
    compiled(j, b, rip, a.at, cold.at);
}

void jit_watch(struct jit *j, const struct jit_watch *w)
{
    struct jit *q = j;
    do {
        q->watch = *w;
        q = q->peer;
    } while (q != j);
}

/* A trace over several pages was to be entered under a new stamp: are they still where they were?
 */
static void look_at_pages(struct jit *j, struct cpu *c, const struct jit_site *s)
{
    uint64_t mask = s->block->mask[0], paddr;
    const struct trace *t = &j->traces[s->lo];
    for (unsigned i = 0; i < t->pages; i++) {
        uint64_t la = (c->jit.page + (uint64_t)(int64_t)t->page[i].at) & mask;
        if (!mmu_fetch_again(c, la, &paddr) || paddr != t->page[i].paddr) {
            j->alone = t->head;
            return;
        }
    }
    c->jit.spans[c->jit.space][about(j, t->jb)->span] = c->jit.stamp;
}

static enum interp_leave after_exit(struct jit *j, struct cpu *c, const struct jit_site *s)
{
    struct block *b = s->block;
    j->stats.exits[s->kind]++;
    if (s->kind == JIT_EXIT_DEAD) { /* b's memory may be another's */
        c->s.icount = (uint64_t)(c->jit.limit - c->jit.left);
        c->s.rip = c->jit.page + (uint64_t)s->lo;
        c->link_from = NULL;
        return LEAVE_NEXT;
    }
    uint64_t at = jit_place(c, s), to;
    c->s.icount = (uint64_t)(c->jit.limit - c->jit.left - s->ahead);
    c->link_from = NULL;
    switch (s->kind) {
    case JIT_EXIT_RESUME:
        c->s.r[R_IP] = at;
        c->s.r[R_ZERO] = 0;
        if (interp_rest(c, b, s->u) == LEAVE_FAULT)
            return LEAVE_FAULT;
        c->link_from = NULL;
        return LEAVE_NEXT;
    case JIT_EXIT_INDIRECT: c->s.rip = c->next_rip; return LEAVE_NEXT;
    case JIT_EXIT_HOT:
        c->jit.heat[b->paddr % JIT_HEAT] = b->watched ? HEAT : 0;
        j->hot = b;
        j->watch_left = b->watched ? 0 : WATCHED;
        b->watched = true;
        c->s.rip = at;
        return LEAVE_NEXT;
    case JIT_EXIT_STALE:
        look_at_pages(j, c, s);
        c->s.rip = at;
        return LEAVE_NEXT;
    case JIT_EXIT_ENTRY: c->s.rip = at; return LEAVE_NEXT;
    default:
        to = (at + (s->which ? (uint64_t)s->u->imm2 : s->u->next)) & b->mask[s->which];
        c->s.rip = to;
        c->link_from = b->key == KEY_DEAD ? NULL : b;
        c->link_which = s->which;
        return LEAVE_NEXT;
    }
}

/* The block may be compiled again; whoever led to its code finds the new one. */
static void discard(struct jit *j, struct block *b)
{
    while (b->in)
        blocks_unlink(j->blocks, b->in->owner, (unsigned)(b->in - b->in->owner->link));
    blocks_unlink(j->blocks, b, 0);
    blocks_unlink(j->blocks, b, 1);
    dropped(j, b);
    b->code = NULL;
    b->jit = NULL;
    b->runs = HOT / 2;
}

/* Windows that fail more often than this, a block is better without: the way out and back takes
 * some 4 us. */
#define WIDE_FAILS 16
#define WIDE_INSNS (WIDE_FAILS * 50000u)
/* … because of two pages that could be taken for one: compiled anew for that. */
#define PAIR_FAILS 4

/* The same for a trace: its blocks have their own. */
static void wide_failed_trace(struct jit *j, const struct cpu *c)
{
    struct jit_block *jb = about(j, c->jit.wide_trace);
    bool pair = ++jb->failed >= PAIR_FAILS && c->jit.wide_pair;
    bool often = jb->failed >= WIDE_FAILS && c->s.icount - jb->since < WIDE_INSNS;
    for (uint32_t n = 0; n < j->trace_count && (pair || often); n++) {
        struct trace *t = &j->traces[n];
        if (t->jb != c->jit.wide_trace || !t->live)
            continue;
        end_trace(j, t);
        if (t->head->key == KEY_DEAD)
            continue;
        if (pair && !t->head->pairs) {
            t->head->pairs = true;
            discard(j, t->head);
        } else if (jb->strips && !t->head->narrow) { /* again, without them */
            t->head->narrow = 1;
            discard(j, t->head);
        }
    }
    if (jb->failed < WIDE_FAILS)
        return;
    jb->failed = 0;
    jb->since = c->s.icount;
}

/* Compiles anew what has slots that are no use, by the path that it is in, at once. */
static void begin_again(struct jit *j, struct cpu *c)
{
    struct block *b = j->again;
    for (uint32_t n = 0; n < j->trace_count && j->again_trace; n++)
        if (j->traces[n].jb == j->again_trace)
            b = j->traces[n].live ? j->traces[n].head : NULL;
    j->again = NULL;
    if (!b || !b->code)
        return;
    discard(j, b);
    c->jit.heat[b->paddr % JIT_HEAT] = HEAT / 16;
}

static void wide_failed(struct jit *j, struct cpu *c, struct block *b)
{
    j->stats.wide++;
    if (c->jit.wide_trace) {
        wide_failed_trace(j, c);
        return;
    }
    bool usable = b->code && b->key != KEY_DEAD;
    if (++b->wide_failed >= PAIR_FAILS && c->jit.wide_pair && usable && !b->pairs) {
        b->pairs = true;
        b->wide_failed = 0;
        discard(j, b);
        return;
    }
    if (b->wide_failed < WIDE_FAILS)
        return;
    if (c->s.icount - b->wide_since < WIDE_INSNS && usable) {
        b->narrow = b->jit->strips ? 1 : 2;
        discard(j, b);
    }
    b->wide_failed = 0;
    b->wide_since = c->s.icount;
}

static enum interp_leave after_fault(struct jit *j, struct cpu *c)
{
    if (c->jit.resume) {
        const struct uop *u = c->jit.resume;
        struct block *b = c->block;
        c->jit.resume = NULL;
        if (c->jit.wide)
            wide_failed(j, c, b);
        c->jit.wide = false;
        enum interp_leave r = interp_rest(c, b, u);
        c->link_from = NULL;
        return r;
    }
    j->stats.exits[JIT_EXIT_FAULT]++;
    c->s.icount += c->insn_index;
    c->insn_index = 0;
    c->block = NULL;
    return LEAVE_FAULT;
}

/* Makes b known to indirect branches. */
static void note(struct cpu *c, const struct block *b)
{
    uint64_t la = c->s.rip;
    uint32_t salt = c->jit.salt / (uint32_t)sizeof(struct jit_jump);
    struct jit_jump *e = &c->jit.jump[(la & ((1u << JIT_JUMP_BITS) - 1)) ^ salt];
    *e = (struct jit_jump){la, c->jit.stamp, (uintptr_t)b->code, la & ~(uint64_t)(PAGE_SIZE - 1)};
}

static void count_exit(struct block *b, unsigned which, unsigned by)
{
    if (b->went[which] <= UINT8_MAX - by) {
        b->went[which] = (uint8_t)(b->went[which] + by);
    } else { /* what was long ago counts less */
        b->went[0] /= 2;
        b->went[1] /= 2;
    }
}

enum interp_leave jit_run(struct cpu *c, struct block *b)
{
    struct jit *j = c->jit.jit;
    union {
        const void *p;
        void (*fn)(struct cpu *c, const void *code);
    } enter = {.p = j->mem.rx + j->enter};
    if (UNLIKELY(j->full))
        flush(j, c);
    if (UNLIKELY(j->again != NULL))
        begin_again(j, c);
    if (c->link_from)
        count_exit(c->link_from, c->link_which, j->watch_left ? 4 : 1);
    if (UNLIKELY(j->watch_left)) {
        j->watch_left--;
        j->hot = NULL;
        j->stats.interpreted++;
        return interp_run(c, b);
    }
    if (!b->code && (!suits(b) || ++b->runs < HOT || !compile(j, b, c->s.rip))) {
        j->stats.interpreted++;
        return interp_run(c, b);
    }
    if (UNLIKELY(j->hot)) {
        if (j->hot == b)
            make_trace(j, c, b);
        j->hot = NULL;
    }
    if (c->link_from)
        link_exit(j, c, b);
    note(c, b);
    uint64_t n = min_u64(c->limit - c->s.icount, SLICE);
    c->jit.left = (int64_t)n;
    c->jit.limit = (int64_t)(c->s.icount + n);
    c->jit.page = c->s.rip & ~(uint64_t)(PAGE_SIZE - 1);
    c->s.r[R_ZERO] = 0;
    c->jit.resume = NULL;
    c->trail[c->trail_at++ & (TRAIL - 1)] = c->s.seg[SEG_CS].base + c->s.rip;
    if (UNLIKELY(j->mem.set_gs != NULL))
        j->mem.set_gs(c);
    bool alone = UNLIKELY(j->alone == b);
    j->alone = NULL;
    enter.fn(c, alone ? j->mem.rx + b->jit->plain : b->code);
    flags_settle(c);
    const struct jit_site *s = c->jit.site;
    if (!s)
        return after_fault(j, c);
    c->block = NULL;
    c->insn_index = 0;
    return after_exit(j, c, s);
}
