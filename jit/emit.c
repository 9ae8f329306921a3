/* Compiling a block: the walk over its uops, and where flags are. emit.h has the rules.
 */
#include "jit/emit.h"
#include "jit/vec.h"

#include "cpu/vec.h"
#include "cpu/x87.h"

/* clang-format off */
const uint8_t jit_home[R_COUNT] = {
    [R_AX] = RAX, [R_CX] = RCX, [R_DX] = RDX, [R_BX] = RBX,
    [R_SP] = R10, [R_BP] = R11, [R_SI] = RSI, [R_DI] = RDI,
    [R_8] = R8, [R_9] = R9, [R_10] = J_NONE, [R_11] = J_NONE,
    [R_12] = J_NONE, [R_13] = J_NONE, [R_14] = J_NONE, [R_15] = J_NONE,
    [R_T0] = J_NONE, [R_T1] = J_NONE, [R_T2] = J_NONE, [R_T3] = J_NONE,
    [R_T4] = J_NONE, [R_T5] = J_NONE, [R_T6] = J_NONE, [R_T7] = J_NONE,
    [R_ZERO] = J_NONE, [R_IP] = J_NONE, [R_K0] = J_NONE, [R_K1] = J_NONE,
};
/* clang-format on */

static bool in(unsigned op, unsigned first, unsigned end)
{
    return op >= first && op < end;
}

static bool kills_flags(const struct uop *u);

static bool is_help(unsigned op)
{
    return in(op, UOP_HELP, UOP_RAISE);
}

/* Registers. */

void e_get(struct emit *e, unsigned host, unsigned r)
{
    if (r == R_ZERO) {
        x_mov_ri(&e->a, host, 0);
    } else if (r == R_IP) {
        x_load(&e->a, 8, host, E_CPU(jit.page));
        int64_t off = e_page_offset(e, &e->b->uops[e->i]);
        if (off)
            x_lea(&e->a, 8, host, xm(host, (int32_t)off));
    } else if (e->home[r] == J_NONE) {
        x_load(&e->a, 8, host, e_slot(r));
    } else if (e->home[r] != host) {
        x_mov_rr(&e->a, 8, host, e->home[r]);
    }
}

unsigned e_use(struct emit *e, unsigned r, unsigned scratch)
{
    if (e->home[r] != J_NONE)
        return e->home[r];
    e_get(e, scratch, r);
    return scratch;
}

void e_put(struct emit *e, unsigned r, unsigned size, unsigned host)
{
    unsigned d = e->home[r];
    if (r == R_ZERO)
        return;
    if (d == J_NONE)
        x_store(&e->a, size < 4 ? size : 8, e_slot(r), host);
    else if (d != host || size == 4)
        x_mov_rr(&e->a, size, d, host);
}

/* Flags. */

/* cc_* from EFLAGS, which stay. */
static void save_host(struct emit *e)
{
    x_mov_rr(&e->a, 8, J_X0, RAX);
    x_setcc(&e->a, XC_O, RAX);
    x_u8(&e->a, 0x9f); /* lahf */
    x_store(&e->a, 4, E_CPU(s.cc_src), RAX);
    x_mov_rr(&e->a, 8, RAX, J_X0);
    x_store_i(&e->a, 8, E_CPU(s.cc_op), CC_HOST * 4);
    e->fl.mem = e->fl.mem_host = true;
    e->before.mem = e->before.mem_host = true;
}

/* EFLAGS from cc_* of CC_HOST. Adding 127 to AL overflows if it is 1. */
static void restore_host(struct emit *e)
{
    x_mov_rr(&e->a, 8, J_X0, RAX);
    x_load(&e->a, 4, RAX, E_CPU(s.cc_src));
    x_alu_ri(&e->a, XA_ADD, 1, RAX, 127);
    x_u8(&e->a, 0x9e); /* sahf */
    x_mov_rr(&e->a, 8, RAX, J_X0);
}

/* op a, src with flags only; `a` is a host register or in memory. */
static void compare_src(struct emit *e, unsigned op, unsigned size, unsigned host,
                        const struct flags_rec *r)
{
    if (r->imm)
        x_alu_ri(&e->a, op, size, host, r->v);
    else if (e->home[r->b] != J_NONE)
        x_alu_rr(&e->a, op, size, host, e->home[r->b]);
    else
        x_alu_rm(&e->a, op, size, host, e_slot(r->b));
}

/* EFLAGS by the recipe. Destroys J_X0 and J_X1. */
static void by_recipe(struct emit *e, const struct flags_rec *r)
{
    unsigned size = 1u << r->lg, a;
    switch (r->kind) {
    case REC_LOGIC:
        a = e_use(e, r->a, J_X0);
        x_test_rr(&e->a, size, a, a);
        break;
    case REC_CMP: compare_src(e, XA_CMP, size, e_use(e, r->a, J_X0), r); break;
    case REC_TEST:
        a = e_use(e, r->a, J_X0);
        if (r->imm)
            x_test_ri(&e->a, size, a, r->v);
        else if (e->home[r->b] != J_NONE)
            x_test_rr(&e->a, size, a, e->home[r->b]);
        else
            x_test_mr(&e->a, size, e_slot(r->b), a);
        break;
    case REC_REDO:
        e_get(e, J_X0, r->a);
        if (r->redo != REDO_IMUL) {
            x_shift_ri(&e->a, r->redo, size, J_X0, (unsigned)r->v);
        } else if (r->imm) {
            x_rr(&e->a, size, 0x69, J_X0, J_X0);
            x_imm(&e->a, size, r->v);
        } else {
            x_rr(&e->a, size, 0x0faf, J_X0, e_use(e, r->b, J_X1));
        }
        break;
    case REC_INC:
    case REC_DEC:
        e_get(e, J_X0, r->a);
        x_lea(&e->a, 8, J_X0, xm(J_X0, r->kind == REC_INC ? -1 : 1));
        x_rm(&e->a, 4, 0x0fba, 4, E_CPU(jit.carry)); /* bt */
        x_u8(&e->a, 0);
        x_rr(&e->a, size, size == 1 ? 0xfe : 0xff, r->kind == REC_DEC, J_X0);
        break;
    case REC_SUB: /* what it was before: result + src */
        e_get(e, J_X0, r->a);
        compare_src(e, XA_ADD, 8, J_X0, r);
        compare_src(e, XA_CMP, size, J_X0, r);
        break;
    default:
        e_get(e, J_X0, r->a);
        compare_src(e, XA_SUB, 8, J_X0, r);
        compare_src(e, XA_ADD, size, J_X0, r);
    }
}

void e_flags_in(struct emit *e)
{
    struct flags_where *f = &e->fl;
    if (f->host)
        return;
    if (f->rec.kind) {
        by_recipe(e, &f->rec);
    } else {
        if (!f->mem_host) {
            struct stub *s = e_stub(e, STUB_FLAGS, &e->b->uops[e->i]);
            x_alu_mi(&e->a, XA_CMP, 4, E_CPU(s.cc_op), CC_HOST * 4);
            e_stub_jcc(e, s, XC_NZ);
            s->back = e->a.at;
            f->mem_host = true;
        }
        restore_host(e);
    }
    f->host = true;
}

void e_flags_to_memory(struct emit *e)
{
    if (e->fl.mem)
        return;
    if (!e->fl.host)
        by_recipe(e, &e->fl.rec);
    save_host(e);
}

/* Notes the recipe with values instead of registers, so that these may change. */
void e_pin_recipe(struct emit *e, const struct flags_rec *r)
{
    struct flags_rec kept = *r;
    bool same = r->kind == REC_TEST && !r->imm && r->a == r->b;
    if (same)
        kept = (struct flags_rec){.kind = REC_LOGIC, .lg = r->lg, .a = r->a, .imm = true};
    if (kept.a != R_K0)
        kept.a = (uint8_t)e_keep(e, R_K0, kept.a);
    if (kept.kind == REC_LOGIC) {
        kept.imm = true;
        kept.v = 0;
    } else if (!kept.imm && kept.b != R_K1) {
        kept.b = (uint8_t)e_keep(e, R_K1, kept.b);
    }
    e_note_recipe(e, &kept);
    e->fl.mem = e->before.mem = true;
    e->fl.mem_host = e->before.mem_host = false;
}

void e_flags_pin(struct emit *e)
{
    if (!e->fl.mem && e->fl.rec.kind && e->fl.rec.kind != REC_REDO)
        e_pin_recipe(e, &e->fl.rec);
    else
        e_flags_to_memory(e);
}

void e_clobber(struct emit *e)
{
    struct flags_where *f = &e->fl;
    if (f->host && !f->mem && !f->rec.kind && e->need[e->i])
        save_host(e);
    f->host = false;
    e->before.host = false;
}

static bool in_recipe(const struct flags_rec *rec, unsigned r)
{
    return rec->kind && (rec->a == r || (!rec->imm && rec->b == r));
}

unsigned e_keep(struct emit *e, unsigned k, unsigned r)
{
    x_store(&e->a, 8, e_slot(k), e_use(e, r, J_X0));
    return k;
}

void e_write(struct emit *e, unsigned r)
{
    struct flags_where *f = &e->fl;
    if (!in_recipe(&f->rec, r))
        return;
    if (f->mem || !e->need[e->i + 1] || kills_flags(&e->b->uops[e->i])) {
        f->rec.kind = REC_NONE;
        return;
    }
    if (f->rec.a == r)
        f->rec.a = (uint8_t)e_keep(e, R_K0, r);
    if (!f->rec.imm && f->rec.b == r)
        f->rec.b = (uint8_t)e_keep(e, R_K1, r);
}

void e_flags_out(struct emit *e, struct flags_rec rec)
{
    e->fl = (struct flags_where){.host = true, .rec = rec};
    if (rec.a == R_ZERO || rec.a == R_IP || (!rec.imm && (rec.b == R_ZERO || rec.b == R_IP)))
        e->fl.rec.kind = REC_NONE;
}

/* Stubs. */

struct stub *e_stub(struct emit *e, enum stub_kind kind, const struct uop *u)
{
    struct stub *s = &e->stub[e->stubs];
    if (e->stubs + 1 < STUBS)
        e->stubs++;
    else
        e->a.full = true;
    *s = (struct stub){.kind = (uint8_t)kind, .u = u};
    s->settled = e->settled;
    s->vec = e->vec_live;
    s->x87 = e->x87_live;
    s->fip = e->fip;
    bool exits = kind == STUB_EXIT || kind == STUB_SIDE;
    s->fl = exits ? e->fl : e->before;
    s->fl.host = exits && e->fl.host;
    s->save = !s->fl.mem && kind != STUB_FLAGS && (exits || e->need[e->i]);
    return s;
}

void e_stub_jcc(struct emit *e, struct stub *s, enum x64_cond cond)
{
    x_branch_in_line(&e->a, 6);
    s->jump[s->jumps++] = x_jcc(&e->a, cond, e->a.at);
}

void e_stub_jmp(struct emit *e, struct stub *s)
{
    x_branch_in_line(&e->a, 5);
    s->jump[s->jumps++] = x_jmp(&e->a, e->a.at);
}

/* Sites are data: they are put into the cold part, wherever code is being emitted. */
static struct x64 *cold_of(struct emit *e)
{
    return e->cold.base ? &e->cold : &e->a;
}

uint32_t e_site(struct emit *e, bool (*fn)(struct cpu *, const struct jit_site *), unsigned kind,
                const struct uop *u, int32_t ahead)
{
    struct x64 *a = cold_of(e);
    const struct part *p = e_part(e, u);
    struct jit_site s = {.fn = fn,
                         .u = p->b->uops + (u - e->b->uops - p->first),
                         .block = p->b,
                         .ahead = ahead ? ahead - p->insns : 0,
                         .page = p->page,
                         .kind = (uint8_t)kind};
    static const uint8_t zeros[8];
    if (e->parts > 1)
        s.trace = (uint32_t)((uint8_t *)e->jb - a->base);
    x_bytes(a, zeros, -a->at & 7);
    uint32_t at = a->at;
    x_bytes(a, &s, sizeof s);
    return at;
}

/* In hot or cold code: calls a site's function. */
void e_call_site(struct emit *e, uint32_t site, uint32_t thunk)
{
    x_lea_at(&e->a, J_X0, site);
    x_call(&e->a, thunk);
}

void e_leave_by(struct emit *e, uint32_t site)
{
    x_lea_at(&e->a, J_X0, site);
    x_jmp(&e->a, e->thunk_leave);
}

/* The flags go to memory, if they must: for all that look at everything. After the call they are
 * there, in whatever form. */
static void before_call(struct emit *e)
{
    x87_point(e, e->fip);
    e->early_call |= e->fl.entry;
    if (e->need[e->i])
        e_flags_to_memory(e);
    e->before = e->fl = (struct flags_where){.mem = true};
}

void e_call_helper(struct emit *e, const struct uop *u)
{
    before_call(e);
    home_store(e);
    e_call_site(e, e_site(e, jit_help, JIT_EXIT_FAULT, u, e->b->insns), e->thunk_help);
    home_load(e);
    e->vec_live = e->x87_live = false;
}

void e_call_access(struct emit *e, const struct uop *u)
{
    before_call(e);
    home_store(e);
    e_call_site(e, e_site(e, jit_access, JIT_EXIT_FAULT, u, e->b->insns), e->thunk_call);
    home_load(e);
    e->vec_live = false;
}

void e_interpret(struct emit *e, const struct uop *u)
{
    x87_point(e, e->fip);
    e->early_call |= e->fl.entry;
    if (e->need[e->i])
        e_flags_to_memory(e);
    home_store(e);
    e_leave_by(e, e_site(e, NULL, JIT_EXIT_RESUME, u, e->b->insns));
}

/* Before a block: what matters of the flags. */

static bool is_exit(unsigned op)
{
    return op >= UOP_JMP;
}

static bool is_fused(unsigned op)
{
    return in(op, UOP_CMPJ_R8_B, UOP_CALL64);
}

static bool is_jcc(unsigned op)
{
    return op == UOP_JCC || in(op, UOP_JCC_SUB8_B, UOP_CMPJ_R8_B);
}

/* Reads flags, or keeps a part of the old ones. */
static bool reads_flags(const struct emit *e, const struct uop *u)
{
    struct uop_effect f = uop_effect(u);
    if (is_jcc(u->op))
        return true;
    if ((u->op == UOP_HELP || u->op == UOP_CALLF) && !vec_quiet(e, u) && !x87_quiet(e, u))
        return true;
    return f.reads || ((f.sets | f.may) && f.sets != F_OSZAPC);
}

static bool kills_flags(const struct uop *u)
{
    return is_fused(u->op) || uop_effect(u).sets == F_OSZAPC;
}

/* May the state be looked at in the middle of the block, as by a fault? */
static bool observes(const struct emit *e, unsigned i)
{
    const struct uop *u = &e->b->uops[i];
    if (e_passes(e, i))
        return false;
    const struct window *w = e->in_window[i] ? &e->window[e->in_window[i] - 1] : NULL;
    bool integer = in(u->op, UOP_LD, UOP_LDV4_B64) || in(u->op, UOP_PUSH64, UOP_HELP) ||
                   (uop_calls(u) && (e_inner(e, i) >= 0 || e_loops(e)));
    /* an instruction of the vector unit or the x87 may find its registers not loaded */
    bool ready = integer || (in(u->op, UOP_LDV4_B64, UOP_PUSH64) ? e->vec_early : e->x87_early);
    if (is_fused(u->op) || (u->op == UOP_JMP && e_inner(e, i) >= 0) ||
        (w && (w->first != i || w->still || w->stride) && ready))
        return false;
    if ((e->vec_early && vec_quiet(e, u)) || (e->x87_early && x87_quiet(e, u)))
        return false;
    return uop_observes(u);
}

static void find_needs(struct emit *e)
{
    const struct uop *uops = e->b->uops;
    e->need[e->n] = true;
    for (unsigned i = e->n; i-- > 0;) {
        const struct uop *u = &uops[i];
        struct uop_effect f = uop_effect(u);
        bool reads = f.reads || is_jcc(u->op) || observes(e, i);
        if (e_inner(e, i) >= 0 && !e_passes(e, i))
            e->need[i + 1] = true; /* where it leaves the trace */
        e->need[i] = reads || (e->need[i + 1] && !kills_flags(u));
    }
}

static emit_fn *by_helper(const struct uop *u)
{
    if ((u->op == UOP_CALLQ || u->op == UOP_CALLF) && u->seg == VEC_UOP)
        return emit_vec;
    if (u->op == UOP_X87 || (u->op == UOP_HELP && u->scale == X87_HELP))
        return emit_x87;
#define X(n) n,
    static const struct jit_native *const tables[] = {JIT_NATIVES(X)};
#undef X
    for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct jit_native *n = tables[i]; n->helper; n++)
            if (n->helper == u->helper)
                return n->emit;
    return NULL;
}

/* General registers that a call of C writes that has an emitter. */
static uint32_t native_writes(const struct uop *u)
{
    if (u->op == UOP_X87 || (u->op == UOP_HELP && u->scale == X87_HELP))
        return x87_writes(u);
    if (u->op != UOP_HELP && u->seg == VEC_UOP)
        return vec_writes(u);
    return (uint32_t)(BIT(u->dst & 31) | BIT(u->b & 31) | BIT(R_AX) | BIT(R_DX));
}

uint32_t e_writes(const struct uop *u)
{
    unsigned op = u->op;
    uint32_t dst = (uint32_t)BIT(u->dst & 31);
    if (in(op, UOP_PUSH64, UOP_POP64))
        return BIT(R_SP);
    if (op == UOP_POP64 || op == UOP_POP32)
        return BIT(R_SP) | dst;
    if (in(op, UOP_CALL64, UOP_JMP_R) || op == UOP_CALLR64 || op == UOP_CALLR32)
        return BIT(R_SP);
    if (is_help(op))
        return by_helper(u) ? native_writes(u) : ~0u;
    if (in(op, UOP_ST8_B64, UOP_LDW8_B64) || in(op, UOP_LDV4_B64, UOP_PUSH64))
        return 0;
    return dst;
}

/* Does its host instruction want the old flags, to read or to keep a part of them? */
static bool asks_flags(const struct emit *e, unsigned i)
{
    const struct uop *u = &e->b->uops[i];
    struct uop_effect f = uop_effect(u);
    bool keeps = u->op < UOP_LD && (f.sets | f.may) && f.sets != F_OSZAPC && e->need[i + 1];
    return is_jcc(u->op) || f.reads || keeps;
}

static void describe(struct emit *e)
{
    struct jit_block *jb = e->jb;
    uint32_t writes = 0;
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        jb->asks = asks_flags(e, i);
        if (reads_flags(e, u) || (is_exit(u->op) && !is_fused(u->op)))
            return;
        if (observes(e, i)) {
            jb->looks = true;
            jb->writes = writes;
        }
        if (kills_flags(u)) {
            jb->kills = true;
            return;
        }
        writes |= e_writes(u);
    }
}

bool e_quiet(const struct emit *e)
{
    if (e->strips) /* the next one may begin with a fault */
        return false;
    for (unsigned i = 0; i < e->n; i++) {
        const struct uop *u = &e->b->uops[i];
        if (is_fused(u->op))
            return true;
        if (observes(e, i) || reads_flags(e, u))
            return false;
        if (kills_flags(u))
            return true;
    }
    return false;
}

/* The block. */

struct row {
    uint16_t first, end;
    emit_fn *emit;
};
static const struct row rows[] = {
    {UOP_NOP, UOP_MOV_R8, emit_nop},
    {UOP_MOV_R8, UOP_EXTH, emit_move},
    {UOP_EXTH, UOP_LEA16, emit_extend},
    {UOP_LEA16, UOP_BSWAP32, emit_lea},
    {UOP_BSWAP32, UOP_ADD_R8, emit_bswap},
    {UOP_ADD_R8, UOP_CMP_R8, emit_alu},
    {UOP_CMP_R8, UOP_INC8, emit_compare},
    {UOP_INC8, UOP_ROL_R8, emit_step},
    {UOP_ROL_R8, UOP_IMUL_R8, emit_shift},
    {UOP_IMUL_R8, UOP_BT_R8, emit_imul},
    {UOP_BT_R8, UOP_COND, emit_bit_test},
    {UOP_COND, UOP_CMOV16, emit_cond},
    {UOP_CMOV16, UOP_LDZ8_B64, emit_cmov},
    {UOP_LDZ8_B64, UOP_ST8_B64, emit_load},
    {UOP_ST8_B64, UOP_LDW8_B64, emit_store},
    {UOP_LDW8_B64, UOP_STW8, emit_load_rmw},
    {UOP_STW8, UOP_LDV4_B64, emit_store_rmw},
    {UOP_LDV4_B64, UOP_STV4_B64, emit_vec_load},
    {UOP_STV4_B64, UOP_PUSH64, emit_vec_store},
    {UOP_PUSH64, UOP_POP64, emit_push},
    {UOP_POP64, UOP_HELP, emit_pop},
    {UOP_JMP, UOP_JCC, emit_jump},
    {UOP_JCC, UOP_JNZ, emit_jcc},
    {UOP_JNZ, UOP_JCC_SUB8_B, emit_jump_if},
    {UOP_JCC_SUB8_B, UOP_CMPJ_R8_B, emit_jcc},
    {UOP_CMPJ_R8_B, UOP_CALL64, emit_fused},
    {UOP_CALL64, UOP_RET64, emit_call},
    {UOP_RET64, UOP_JMP_R, emit_ret},
    {UOP_JMP_R, UOP_EXIT, emit_indirect},
    {UOP_EXIT, UOP_GUARD, emit_exit},
};

static void emit_uop(struct emit *e, const struct uop *u)
{
    emit_fn *f = NULL;
    if (is_help(u->op))
        f = by_helper(u);
    else
        for (unsigned i = 0; i < ARRAY_LEN(rows) && !f; i++)
            if (in(u->op, rows[i].first, rows[i].end))
                f = rows[i].emit;
    e->before = e->fl;
    if (is_exit(u->op) && (e_inner(e, e->i) < 0 || e->i == e->n - 1))
        x87_point(e, e->fip);
    if (f && f(e, u))
        return;
    if (is_help(u->op))
        e_call_helper(e, u);
    else if (in(u->op, UOP_LD, UOP_HELP))
        e_call_access(e, u);
    else
        e_interpret(e, u);
}

static void align(struct x64 *a, unsigned to)
{
    while (a->at & (to - 1) && !a->full)
        x_u8(a, 0x90);
}

/* Has a loop instructions of the unit, so that all its rounds but the first find it loaded? */
static bool shared(const struct emit *e, bool (*quiet)(const struct emit *, const struct uop *))
{
    bool any = false;
    for (unsigned i = 0; i < e->n; i++)
        any |= quiet(e, &e->b->uops[i]);
    return any && e_loops(e);
}

/* In front of a loop: what its rounds share. */
static void enter_loop(struct emit *e)
{
    if (e_loops(e) && e->jb->kills && !e_quiet(e))
        x_store(&e->a, 8, E_CPU(jit.first), J_LEFT);
    e->fl.entry = e->before.entry = true;
    e->round = e->a.at;
    if (e->vec_early)
        vec_ready(e, e->b->uops);
    if (e->x87_early)
        x87_ready(e, e->b->uops);
    win_enter(e);
    if (e_loops(e))
        x_align(&e->a, 32);
    e->loop = e->a.at;
}

/* Where links lead: the budget, and homes. */
static void enter(struct emit *e)
{
    struct block *b = e->b;
    struct stub *s;
    e->jb->first = e->jb->entry = e->a.at;
    e->i = 0;
    e->vec_live = e->x87_live = false;
    e->fip = FIP_NOTED;
    e->late.kind = REC_NONE;
    e->early_call = false;
    e->before = e->fl = (struct flags_where){.mem = true};
    home_at(e, true);
    /* of a loop, not where flags would have to be brought from its end to its beginning */
    if (e->parts == 1 && trace_worth(b) && !e->jb->asks) {
        size_t at = b->paddr % JIT_HEAT * sizeof(int32_t);
        s = e_stub(e, STUB_HOT, b->uops);
        x_alu_mi(&e->a, XA_SUB, 4, e_cpu(offsetof(struct cpu, jit.heat) + at), 1);
        e_stub_jcc(e, s, XC_S);
    }
    if (e->span) {
        s = e_stub(e, STUB_STALE, b->uops);
        x_load(&e->a, 8, J_X0, E_CPU(jit.stamp));
        int32_t at = (int32_t)(offsetof(struct cpu, jit.spans) + 8 * e->span);
        if (e_user(e))
            x_load(&e->a, 8, J_X1, E_CPU(jit.span_at));
        x_alu_rm(&e->a, XA_CMP, 8, J_X0, e_user(e) ? xmi(J_CTX, J_X1, 0, at) : xm(J_CTX, at));
        e_stub_jcc(e, s, XC_NZ);
    }
    e->jb->span = e->span;
    e->jb->plain = e->a.at;
    s = e_stub(e, e->parts > 1 ? STUB_PLAIN : STUB_ENTRY, b->uops);
    x_alu_ri(&e->a, XA_SUB, 8, J_LEFT, b->insns);
    e_stub_jcc(e, s, XC_L);
    home_enter(e);
    enter_loop(e);
}

bool emit_block(struct emit *e, struct block *b)
{
    e->part[0] = (struct part){.b = b};
    e->parts = 1;
    e->span = 0;
    e->closed = false;
    for (e->n = 1; !uop_exits(b->uops[e->n - 1].op); e->n++)
        ;
    return emit_trace(e, b);
}

bool emit_trace(struct emit *e, struct block *b)
{
    static const struct jit_block none;
    unsigned cpl = b->key >> KEY_CPL_SHIFT & 3;
    e->b = b;
    e->stubs = e->skip = 0;
    e->ctx = (cpl == 3 ? TLB_USER : TLB_SUPER) | (b->key & KEY_AC ? 1 : 0);
    e->i = 0;
    e->vec_early = shared(e, vec_quiet);
    e->x87_early = shared(e, x87_quiet);
    win_plan(e);
    home_plan(e);
    win_settle(e);
    find_needs(e);
    align(&e->cold, 8);
    e->jb = (struct jit_block *)(void *)(e->cold.base + e->cold.at);
    x_bytes(&e->cold, &none, sizeof none);
    if (e->cold.full)
        return false;
    e->jb->strips = e->strips;
    describe(e);
    align(&e->a, 16);
    enter(e);
    for (e->i = 0; e->i < e->n; e->i += 1 + e->skip) {
        e->skip = 0;
        e->at[e->i] = e->a.at;
        emit_uop(e, &b->uops[e->i]);
        for (unsigned k = 1; k <= e->skip; k++)
            e->at[e->i + k] = e->a.at;
    }
    e->at[e->n] = e->a.at;
    struct x64 hot = e->a;
    e->a = e->cold;
    e->cold.base = NULL;
    e->jb->dead = e->a.at;
    uint32_t site = e_site(e, NULL, JIT_EXIT_DEAD, NULL, 0);
    if (!e->a.full)
        ((struct jit_site *)(void *)(e->a.base + site))->lo = (int32_t)(b->paddr & (PAGE_SIZE - 1));
    e->jb->dead = e->a.at;
    e_leave_by(e, site);
    for (unsigned i = 0; i < e->stubs; i++)
        e_emit_stub(e, &e->stub[i]);
    e->cold = e->a;
    e->a = hot;
    return !e->a.full && !e->cold.full;
}
