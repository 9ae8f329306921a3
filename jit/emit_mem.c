/* Emitters of memory accesses: the check against the TLB, loads, stores, the flat stack. */
#include "jit/emit.h"

#define TLB_FIELD(e, field)                                                            \
    ((int32_t)(offsetof(struct cpu, tlb_space.e) + offsetof(struct tlb_entry, field) + \
               (e)->ctx * TLB_SIZE * sizeof(struct tlb_entry)))

static unsigned form_of(const struct uop *u)
{
    unsigned op = u->op;
    if (op >= UOP_PUSH64)
        return FORM_COUNT;
    return (op - (op >= UOP_LDV4_B64 ? UOP_LDV4_B64 : UOP_LD)) % FORM_COUNT;
}

bool e_address(struct emit *e, const struct uop *u)
{
    return e_address_as(e, u, form_of(u));
}

bool e_address_as(struct emit *e, const struct uop *u, unsigned form)
{
    unsigned a = X_NONE, b = X_NONE;
    unsigned size = form == FORM_B32 || form == FORM_X32 ? 4 : 8;
    int64_t imm = u->imm;
    if (form == FORM_S)
        return false;
    if (u->a == R_IP)
        imm += e_page_offset(e, u);
    if (!x_fits32(imm) && (u->a != R_ZERO || u->b != R_ZERO))
        return false;
    if (u->a == R_IP)
        x_load(&e->a, 8, a = J_X0, E_CPU(jit.page));
    else if (u->a != R_ZERO)
        a = e_use(e, u->a, J_X0);
    if (u->b != R_ZERO)
        b = e_use(e, u->b, J_X1);
    if (a == X_NONE && b == X_NONE)
        x_mov_ri(&e->a, J_X0, size == 4 ? (uint32_t)imm : (uint64_t)imm);
    else if (b == X_NONE && !imm && size == 8 && a == J_X0)
        ;
    else if (b == X_NONE)
        x_lea(&e->a, size, J_X0, xm(a, (int32_t)imm));
    else
        x_lea(&e->a, size, J_X0, xmi(a, b, u->scale, (int32_t)imm));
    if (form == FORM_G)
        x_alu_rm(&e->a, XA_ADD, 8, J_X0,
                 e_cpu(offsetof(struct cpu, s.seg) + u->seg * sizeof(struct seg) +
                       offsetof(struct seg, base)));
    return true;
}

struct xmem e_tag(const struct emit *e, bool write)
{
    return xmi(J_CTX, J_X1, 0, write ? TLB_FIELD(e, write) : TLB_FIELD(e, read));
}

int32_t e_tlb_info(const struct emit *e, size_t field)
{
    _Static_assert(sizeof(struct tlb_info) == sizeof(struct tlb_entry), "found alike");
    return (int32_t)(offsetof(struct cpu, tlb_space.info) + field +
                     e->ctx * TLB_SIZE * sizeof(struct tlb_info));
}

void e_in_page(struct emit *e, struct stub *miss, unsigned host, unsigned size, unsigned align)
{
    if (align && size <= align + 1) { /* in the page and aligned, by one instruction */
        x_test_ri(&e->a, 8, host, ~(int64_t)(PAGE_SIZE - 1 - align));
        e_stub_jcc(e, miss, XC_NZ);
        return;
    }
    x_alu_ri(&e->a, XA_CMP, 8, host, (int64_t)(PAGE_SIZE - size));
    e_stub_jcc(e, miss, XC_A);
    if (align) {
        x_test_ri(&e->a, 1, host, (int64_t)align);
        e_stub_jcc(e, miss, XC_NZ);
    }
}

/* J_X0: linear address → offset in its page; J_X1: that of the TLB's entry. */
void e_look_up(struct emit *e, struct stub *miss, unsigned size, unsigned align, bool write)
{
    e->kept = NULL;
    x_rorx(&e->a, 8, J_X1, J_X0, PAGE_SHIFT - 5);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, (TLB_SIZE - 1) << 5);
    x_alu_rm(&e->a, XA_SUB, 8, J_X0, e_tag(e, write));
    e_in_page(e, miss, J_X0, size, align);
}

void e_look_up_pair(struct emit *e, struct stub *miss, unsigned align, bool write)
{
    const int32_t entry = sizeof(struct tlb_entry), all = (TLB_SIZE - 1) * entry;
    struct xmem addend = xmi(J_CTX, J_X1, 0, TLB_FIELD(e, addend));
    e_look_up(e, miss, 1, align, write);
    x_load(&e->a, 8, J_X0, e_tag(e, write));
    x_alu_ri(&e->a, XA_ADD, 8, J_X0, PAGE_SIZE);
    x_alu_ri(&e->a, XA_ADD, 4, J_X1, entry);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, all);
    x_alu_rm(&e->a, XA_CMP, 8, J_X0, e_tag(e, write));
    e_stub_jcc(e, miss, XC_NZ);
    x_load(&e->a, 8, J_X0, addend);
    x_alu_ri(&e->a, XA_SUB, 4, J_X1, entry);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, all);
    x_alu_rm(&e->a, XA_CMP, 8, J_X0, addend);
    e_stub_jcc(e, miss, XC_NZ);
}

static void look_up(struct emit *e, const struct uop *u, unsigned size, unsigned align, bool write)
{
    struct access a;
    bool stack = e_access_of(e, u, &a) && a.base == R_SP && a.index == R_ZERO;
    e->access = e_stub(e, STUB_ACCESS, u);
    e_look_up_kept(e, e->access, size, align, write, stack);
}

void e_addend_to(struct emit *e, unsigned to)
{
    if (slot_addend(e, to))
        return;
    x_load(&e->a, 8, to, xmi(J_CTX, J_X1, 0, TLB_FIELD(e, addend)));
}

void e_addend(struct emit *e)
{
    e_addend_to(e, J_X1);
}

void e_to_host(struct emit *e)
{
    if (slot_to_host(e))
        return;
    x_alu_rm(&e->a, XA_ADD, 8, J_X0, xmi(J_CTX, J_X1, 0, TLB_FIELD(e, host)));
}

void e_check(struct emit *e, const struct uop *u, unsigned size, bool write)
{
    look_up(e, u, size, 0, write);
    e_to_host(e);
}

/* Memory at register base + disp (64-bit, base at home): the address needs not be computed twice,
 * so that the load has not to wait for the check. */
static struct xmem at_base(struct emit *e, const struct uop *u, unsigned base, int32_t disp,
                           unsigned size, unsigned align, bool write)
{
    if (disp)
        x_lea(&e->a, 8, J_X0, xm(base, disp));
    else
        x_mov_rr(&e->a, 8, J_X0, base);
    look_up(e, u, size, align, write);
    e_addend(e);
    return xmi(base, J_X1, 0, disp);
}

static struct xmem in_segment(unsigned seg, size_t field)
{
    return e_cpu(offsetof(struct cpu, s.seg) + seg * sizeof(struct seg) + field);
}

/* An operand in a segment that is not flat, of 32-bit code in protected mode: the segment must be
 * an expand-up one that may be read and written, and the operand within its limit. */
static struct xmem segmented(struct emit *e, const struct uop *u, unsigned size, bool write)
{
    struct x64 *a = &e->a;
    e->access = e_stub(e, STUB_ACCESS, u);
    e_address_as(e, u, FORM_X32);
    if (u->asize == 2)
        x_rr(a, 4, 0x0fb7, J_X0, J_X0);
    x_rm(a, 4, 0x0fb7, J_X1, in_segment(u->seg, offsetof(struct seg, attr)));
    x_alu_ri(a, XA_AND, 4, J_X1, SEG_P | 0xe);
    x_alu_ri(a, XA_CMP, 4, J_X1, SEG_P | 2);
    e_stub_jcc(e, e->access, XC_NZ);
    x_load(a, 4, J_X1, in_segment(u->seg, offsetof(struct seg, limit)));
    x_alu_rr(a, XA_SUB, 8, J_X1, J_X0);
    x_alu_ri(a, XA_CMP, 8, J_X1, size - 1);
    e_stub_jcc(e, e->access, XC_L);
    x_alu_rm(a, XA_ADD, 4, J_X0, in_segment(u->seg, offsetof(struct seg, base)));
    e_look_up(e, e->access, size, 0, write);
    x_alu_rm(a, XA_ADD, 8, J_X0, xmi(J_CTX, J_X1, 0, TLB_FIELD(e, host)));
    return xm(J_X0, 0);
}

bool e_operand(struct emit *e, const struct uop *u, struct xmem *m)
{
    struct access a;
    if (!e_access_of(e, u, &a))
        return false;
    if (e->in_window[e->i])
        *m = win_access(e, u);
    else if (a.index == R_ZERO && !a.cut && a.base < R_ZERO && e->home[a.base] != J_NONE)
        *m = at_base(e, u, e->home[a.base], a.disp, a.size, a.align, a.write);
    else
        return false;
    return true;
}

static struct xmem operand(struct emit *e, const struct uop *u, unsigned size, bool write)
{
    struct xmem m = xm(J_X0, 0);
    if (e_operand(e, u, &m))
        return m;
    if (form_of(u) == FORM_S)
        return segmented(e, u, size, write);
    e_address(e, u);
    e_check(e, u, size, write);
    return m;
}

struct xmem e_read(struct emit *e, const struct uop *u, unsigned size)
{
    return operand(e, u, size, false);
}

struct xmem e_write_to(struct emit *e, const struct uop *u, unsigned size)
{
    return operand(e, u, size, true);
}

void e_resume(struct emit *e)
{
    if (e->access)
        e->access->back = e->a.at;
    e->a.insn = 0; /* must not be moved across that */
}

/* Can the check be made inline? */
static bool inlined(const struct emit *e, const struct uop *u)
{
    int64_t imm = u->imm + (u->a == R_IP ? e_page_offset(e, u) : 0);
    uint32_t mode = e->b->key & (KEY_PROT | KEY_CODE);
    if (form_of(u) == FORM_S && mode != (KEY_PROT | ISA_32))
        return false;
    return x_fits32(imm) || (u->a == R_ZERO && u->b == R_ZERO);
}

/* The scratch register that m leaves free. */
static unsigned other(struct xmem m)
{
    return m.base == J_X0 ? J_X1 : J_X0;
}

/* Before an access: the check destroys EFLAGS. */
static void before_access(struct emit *e)
{
    if (!win_open(e))
        e_clobber(e);
}

bool emit_load(struct emit *e, const struct uop *u)
{
    static const struct {
        uint16_t opcode;
        uint8_t size, dst;
    } kinds[] = {{0x0fb6, 1, 4}, {0x0fb7, 2, 4}, {0x8b, 4, 4},   {0x8b, 8, 8},
                 {0x8a, 1, 1},   {0x8b, 2, 2},   {0x0fbe, 1, 4}, {0x0fbe, 1, 8},
                 {0x0fbf, 2, 4}, {0x0fbf, 2, 8}, {0x63, 4, 8}};
    unsigned k = (u->op - UOP_LD) / FORM_COUNT, d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    if (!inlined(e, u))
        return false;
    if (fuse_load(e, u))
        return true;
    before_access(e);
    e_write(e, u->dst);
    struct xmem m = e_read(e, u, kinds[k].size);
    x_rm(&e->a, kinds[k].dst, kinds[k].opcode, to, m);
    if (d == J_NONE)
        e_put(e, u->dst, kinds[k].dst < 4 ? kinds[k].dst : 8, to);
    e_resume(e);
    return true;
}

static void store_value(struct emit *e, struct xmem m, unsigned size, unsigned r)
{
    x_store(&e->a, size, m, e_use(e, r, other(m)));
}

static void store_constant(struct emit *e, struct xmem m, unsigned size, int64_t v)
{
    if (size == 8 && !x_fits32(v)) {
        x_mov_ri(&e->a, other(m), (uint64_t)v);
        x_store(&e->a, 8, m, other(m));
    } else {
        x_store_i(&e->a, size, m, v);
    }
}

bool emit_store(struct emit *e, const struct uop *u)
{
    bool imm = u->op >= UOP_STI8_B64;
    unsigned size = 1u << (u->op - (imm ? UOP_STI8_B64 : UOP_ST8_B64)) / FORM_COUNT;
    if (!inlined(e, u))
        return false;
    before_access(e);
    struct xmem m = e_write_to(e, u, size);
    if (imm)
        store_constant(e, m, size, u->imm2);
    else
        store_value(e, m, size, u->dst);
    e_resume(e);
    return true;
}

/* Read-modify-write: the check finds the host address, c->rmw keeps it. The slow path leaves it
 * there, too, or the generated code altogether (jit_access). */
bool emit_load_rmw(struct emit *e, const struct uop *u)
{
    unsigned lg = (u->op - UOP_LDW8_B64) / FORM_COUNT, size = 1u << lg, d = e->home[u->dst];
    unsigned to = d == J_NONE ? J_X0 : d;
    if (!inlined(e, u))
        return false;
    if (fuse_rmw(e, u))
        return true;
    before_access(e);
    e_write(e, u->dst);
    struct xmem m = e_write_to(e, u, size);
    if (m.base != J_X0 || m.index != X_NONE || m.disp)
        x_lea(&e->a, 8, J_X0, m);
    x_store(&e->a, 8, E_CPU(rmw), J_X0);
    x_rm(&e->a, size == 8 ? 8 : 4, size == 1 ? 0x0fb6 : size == 2 ? 0x0fb7 : 0x8b, to, xm(J_X0, 0));
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_resume(e);
    return true;
}

bool emit_store_rmw(struct emit *e, const struct uop *u)
{
    x_load(&e->a, 8, J_X0, E_CPU(rmw));
    store_value(e, xm(J_X0, 0), u->size, u->a);
    return true;
}

/* The stack. */

static struct xmem stack_at(struct emit *e, const struct uop *u, int32_t disp, unsigned size,
                            bool write)
{
    if (e->in_window[e->i])
        return win_access(e, u);
    return at_base(e, u, e->home[R_SP], disp, size, 0, write);
}

static void move_sp(struct emit *e, unsigned size, int64_t by)
{
    x_lea(&e->a, size, e->home[R_SP], xm(e->home[R_SP], (int32_t)by));
}

bool emit_push(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_PUSH64 || u->op == UOP_PUSHI64 ? 8 : 4;
    before_access(e);
    e_write(e, R_SP);
    struct xmem m = stack_at(e, u, -(int32_t)size, size, true);
    if (u->op >= UOP_PUSHI64)
        store_constant(e, m, size, u->imm);
    else
        store_value(e, m, size, u->a);
    move_sp(e, size, -(int64_t)size);
    e_resume(e);
    return true;
}

bool emit_pop(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_POP64 ? 8 : 4, d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    before_access(e);
    e_write(e, R_SP);
    e_write(e, u->dst);
    struct xmem m = stack_at(e, u, 0, size, false);
    x_load(&e->a, size, to, m);
    if (u->dst != R_SP)
        move_sp(e, size, size);
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_resume(e);
    return true;
}

/* Pushes the address behind the block. */
static void push_return(struct emit *e, const struct uop *u, unsigned size)
{
    struct xmem m = stack_at(e, u, -(int32_t)size, size, true);
    unsigned v = other(m);
    x_load(&e->a, 8, v, E_CPU(jit.page));
    x_lea(&e->a, size, v, xm(v, (int32_t)(e_page_offset(e, u) + u->next)));
    x_store(&e->a, size, m, v);
    move_sp(e, size, -(int64_t)size);
    e_resume(e);
}

/* Exits. */

static bool recipe_fits(const struct flags_rec *r)
{
    return r->kind && r->kind != REC_REDO;
}

static bool constant_fits(const struct flags_rec *r)
{
    return !r->imm || (r->v >= -(1 << 13) && r->v < 1 << 13);
}

/* As flags.h says. */
static int32_t recipe_code(const struct flags_rec *r)
{
    uint32_t src = r->imm ? (uint32_t)BIT(17) | (uint32_t)r->v << 18 : (uint32_t)r->b << 18;
    return (int32_t)(r->lg | CC_RECIPE | (uint32_t)r->kind << 9 | (uint32_t)r->a << 12 | src);
}

/* Notes the recipe. A constant that does not fit into the code is kept as a register would be. */
void e_note_recipe(struct emit *e, struct flags_rec *r)
{
    if (!constant_fits(r)) {
        x_store_i(&e->a, 8, e_slot(R_K1), r->v);
        r->imm = false;
        r->b = R_K1;
    }
    x_store_i(&e->a, 8, E_CPU(s.cc_op), recipe_code(r));
}

/* The flags as exits want them: in memory, or noted there as a recipe, or nowhere. */
static enum exit_flags settle(struct emit *e)
{
    if (e->fl.mem)
        return EXIT_MEM;
    if (!recipe_fits(&e->fl.rec) || e->parts > 1)
        return EXIT_SAVE;
    e_note_recipe(e, &e->fl.rec);
    return EXIT_RECIPE;
}

#define ALWAYS 16u
static void leave_to(struct emit *e, const struct uop *u, unsigned which, unsigned cond,
                     enum exit_flags flags)
{
    struct jit_exit *x = &e->jb->exit[which];
    if (e->parts > 1 && cond == ALWAYS && e_inner(e, e->i) < 0 && !e->jb->loops) {
        e_side(e, u, which);
        return;
    }
    struct stub *s = e_stub(e, e->parts > 1 ? STUB_SIDE : STUB_EXIT, u);
    s->which = (uint8_t)which;
    x->flags = (uint8_t)flags;
    if (flags == EXIT_RECIPE) {
        x->regs = (uint32_t)BIT(e->fl.rec.a);
        if (!e->fl.rec.imm)
            x->regs |= (uint32_t)BIT(e->fl.rec.b);
        x->rec = e->fl.rec;
    }
    if (cond == ALWAYS)
        e_stub_jmp(e, s);
    else
        e_stub_jcc(e, s, (enum x64_cond)cond);
    x->at = s->jump[0];
    x->begin = x->at - (cond == ALWAYS ? 1 : 2);
}

bool e_loops(const struct emit *e)
{
    const struct uop *u = &e->b->uops[e->n - 1];
    if (e->parts > 1)
        return e->closed;
    bool jumps =
        u->op == UOP_JMP || u->op == UOP_JCC || (u->op >= UOP_JCC_SUB8_B && u->op < UOP_CALL64);
    return jumps && !u->imm2 && e->b->paddr2 == ~0ull;
}

/* The recipe of the flags at the end of a round, which somebody may look at in the next one. */
static void note_round(struct emit *e)
{
    if (e->early_call)
        e_note_recipe(e, &e->fl.rec);
    else
        e->late = e->fl.rec;
}

/* At the end of a strip, or of the budget. back: the displacement of the jump to the next round,
 * which is another when the block has been dropped. */
static void next_strip(struct emit *e, uint32_t back)
{
    uint32_t gone, rel;
    if (!e->strips || e->a.full)
        return;
    memcpy(&rel, e->a.base + back, 4);
    x_bytes(&e->a, "\x81\x3d", 2); /* cmp [back], rel */
    x_u32(&e->a, back - (e->a.at + 8));
    x_u32(&e->a, rel);
    gone = x_jcc(&e->a, XC_NZ, e->a.at);
    win_unstrip(e);
    x_alu_mr(&e->a, XA_ADD, 8, E_CPU(jit.first), J_X0);
    x_store_i(&e->a, 8, E_CPU(jit.hidden), 0);
    x_test_rr(&e->a, 8, J_LEFT, J_LEFT);
    x_branch_in_line(&e->a, 6);
    x_jcc(&e->a, XC_NS, e->round);
    if (!e->a.full)
        x_patch(e->a.base, gone, e->a.at);
}

/* The same for a trace, by either exit of its last block. */
static bool loop_trace(struct emit *e, const struct uop *u, unsigned cond)
{
    const struct flags_rec *r = &e->fl.rec;
    uint32_t regs = r->kind ? (uint32_t)(BIT(r->a) | (r->imm ? 0 : BIT(r->b))) : 0;
    bool note = !e->fl.mem && !e_quiet(e);
    bool fits = recipe_fits(r) && e->jb->kills && !(e->jb->writes & regs);
    if (cond != ALWAYS)
        leave_to(e, u, !e->via, e->via ? cond ^ 1 : cond, EXIT_SAVE);
    if (note && fits)
        note_round(e);
    else if (note || !(e->fl.mem || r->kind))
        e_flags_pin(e); /* at the latest where the budget ends somebody looks */
    e->fl.host = false;
    x_alu_ri(&e->a, XA_SUB, 8, J_LEFT, e->b->insns);
    bool same = e->vec_live >= e->vec_early && e->x87_live >= e->x87_early;
    x_branch_in_line(&e->a, 6);
    uint32_t back = x_jcc(&e->a, XC_GE, same ? e->loop : e->round);
    next_strip(e, back);
    x_alu_ri(&e->a, XA_ADD, 8, J_LEFT, e->b->insns);
    e->jb->loops = true;
    leave_to(e, u, e->via, ALWAYS, EXIT_SAVE);
    return true;
}

/* A block that goes on at its own beginning stays inside: homes are kept, and flags only noted if
 * somebody may look at them. False: nothing was emitted. */
static bool loop(struct emit *e, const struct uop *u, unsigned cond)
{
    struct jit_exit *x = &e->jb->exit[1];
    if (e->parts > 1)
        return e->closed && loop_trace(e, u, cond);
    const struct flags_rec *r = &e->fl.rec;
    uint32_t regs = r->kind ? (uint32_t)(BIT(r->a) | (r->imm ? 0 : BIT(r->b))) : 0;
    bool note = !e->fl.mem && !e_quiet(e);
    if (!e_loops(e) || !(e->fl.mem || r->kind))
        return false;
    if (note && !(recipe_fits(r) && e->jb->kills && !(e->jb->writes & regs)))
        return false;
    if (note)
        note_round(e);
    if (cond != ALWAYS)
        leave_to(e, u, 0, cond ^ 1, EXIT_SAVE);
    e->fl.host = false;
    x_alu_ri(&e->a, XA_SUB, 8, J_LEFT, e->b->insns);
    bool same = e->vec_live >= e->vec_early && e->x87_live >= e->x87_early;
    x_branch_in_line(&e->a, 6);
    uint32_t back = x_jcc(&e->a, XC_GE, same ? e->loop : e->round);
    next_strip(e, back);
    leave_to(e, u, 1, ALWAYS, EXIT_SAVE);
    x->at = back;
    x->loop = true;
    return true;
}

bool emit_jump(struct emit *e, const struct uop *u)
{
    if (e_inner(e, e->i) >= 0)
        return true;
    if (loop(e, u, ALWAYS))
        return true;
    home_leave(e);
    leave_to(e, u, 1, ALWAYS, settle(e));
    return true;
}

static bool branch(struct emit *e, const struct uop *u, unsigned cond)
{
    int on = e_inner(e, e->i);
    if (on >= 0) {
        leave_to(e, u, !on, on ? cond ^ 1 : cond, EXIT_SAVE);
        return true;
    }
    if (loop(e, u, cond))
        return true;
    home_leave(e);
    enum exit_flags flags = settle(e);
    leave_to(e, u, 1, cond, flags);
    leave_to(e, u, 0, ALWAYS, flags);
    return true;
}

bool emit_jcc(struct emit *e, const struct uop *u)
{
    e_flags_in(e);
    return branch(e, u, u->aux);
}

bool emit_fused(struct emit *e, const struct uop *u)
{
    static const uint8_t cc[UC_COUNT] = {XC_B, XC_AE, XC_Z, XC_NZ, XC_BE, XC_A,
                                         XC_S, XC_NS, XC_L, XC_GE, XC_LE, XC_G};
    bool test = u->op >= UOP_TESTJ_R8_B;
    unsigned v = u->op - (test ? UOP_TESTJ_R8_B : UOP_CMPJ_R8_B), variant = v / UC_COUNT;
    emit_flags_of(e, u, test, variant & UOP_IMM, variant & 3);
    return branch(e, u, cc[v % UC_COUNT]);
}

bool emit_jump_if(struct emit *e, const struct uop *u)
{
    if (u->a == R_ZERO && u->op == UOP_JNZ && (e_passes(e, e->i) || loop(e, u, ALWAYS)))
        return true;
    home_leave(e);
    bool zero = u->op == UOP_JZ;
    if (u->a == R_ZERO) {
        leave_to(e, u, zero, ALWAYS, settle(e));
        return true;
    }
    e_clobber(e);
    unsigned r = e_use(e, u->a, J_X0);
    enum exit_flags flags = settle(e);
    x_test_rr(&e->a, 8, r, r);
    leave_to(e, u, 1, zero ? XC_Z : XC_NZ, flags);
    leave_to(e, u, 0, ALWAYS, flags);
    return true;
}

void e_jump_entry(struct x64 *a, bool salt)
{
    _Static_assert(sizeof(struct jit_jump) == 32, "shifted by 5");
    x_rorx(a, 8, J_X1, J_X0, 64 - 5);
    x_alu_ri(a, XA_AND, 4, J_X1, ((1 << JIT_JUMP_BITS) - 1) << 5);
    if (salt)
        x_alu_rm(a, XA_XOR, 4, J_X1, E_CPU(jit.salt));
}

/* Finds the linear address in J_X0 in the CPU's table: J_X1 is its entry; not there: to `miss`. */
static void look_up_jump(struct emit *e, struct stub *miss)
{
    /* a helper may have left the level */
    e_jump_entry(&e->a, e_user(e) || e->b->uops[e->i].op == UOP_EXIT);
    x_alu_rm(&e->a, XA_CMP, 8, J_X0, E_JUMP(la));
    e_stub_jcc(e, miss, XC_NZ);
    x_load(&e->a, 8, J_X0, E_CPU(jit.stamp));
    x_alu_rm(&e->a, XA_CMP, 8, J_X0, E_JUMP(stamp));
    e_stub_jcc(e, miss, XC_NZ);
}

/* Goes on there. */
static void dispatch(struct emit *e, struct stub *miss, unsigned sp_size, int64_t sp_by)
{
    look_up_jump(e, miss);
    x_load(&e->a, 8, J_X0, E_JUMP(page));
    x_store(&e->a, 8, E_CPU(jit.page), J_X0);
    if (sp_by)
        move_sp(e, sp_size, sp_by);
    x_rm(&e->a, 4, 0xff, 4, E_JUMP(code)); /* jmp */
}

bool emit_call(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_CALL64 ? 8 : 4;
    bool inner = e_inner(e, e->i) >= 0, inside = inner || (e->parts > 1 && e->closed);
    if (!inside)
        home_leave(e);
    before_access(e);
    e_write(e, R_SP);
    push_return(e, u, size);
    if (inside && e->access)
        e->access->kind = STUB_RESUME; /* the slow path would end behind the block */
    if (!inner && !loop(e, u, ALWAYS))
        leave_to(e, u, 1, ALWAYS, settle(e));
    return true;
}

/* At the end of a block from which an indirect jump leads. */
static void leave_pinned(struct emit *e)
{
    e_flags_pin(e);
    home_leave(e);
    e->before = e->fl;
    e->fl.host = e->before.host = false;
}

/* To where the trace knows that its call came from. */
static void return_inside(struct emit *e, const struct uop *u, unsigned size,
                          const struct part *next)
{
    e_clobber(e);
    e_write(e, R_SP);
    struct stub *miss = e_stub(e, STUB_RESUME, u);
    struct xmem m = stack_at(e, u, 0, size, false);
    if (e->access)
        e->access->kind = STUB_RESUME;
    unsigned v = other(m);
    x_load(&e->a, 8, v, E_CPU(jit.page));
    x_lea(&e->a, size, v, xm(v, (int32_t)part_offset(next)));
    x_alu_rm(&e->a, XA_CMP, size, v, m);
    e_stub_jcc(e, miss, XC_NZ);
    move_sp(e, size, size + u->imm);
}

bool emit_ret(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_RET64 ? 8 : 4;
    const struct part *next = e_onward(e, e->i);
    if (next) {
        return_inside(e, u, size, next);
        return true;
    }
    leave_pinned(e);
    struct stub *miss = e_stub(e, STUB_RESUME, u);
    struct xmem m = stack_at(e, u, 0, size, false);
    if (e->access)
        e->access->kind = STUB_RESUME;
    x_load(&e->a, size, J_X0, m);
    dispatch(e, miss, size, size + u->imm);
    return true;
}

/* JMP through a register; CALL likewise. The interpreter does what needs a check: a target that is
 * not canonical is in no table. */
bool emit_indirect(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_CALLR64 ? 8 : u->op == UOP_CALLR32 ? 4 : u->size;
    if (size == 2 || (u->op == UOP_JMP_R && u->aux))
        return false;
    e_flags_pin(e);
    x_mov_rr(&e->a, size, J_X0, e_use(e, u->a, J_X0));
    if (u->a >= R_T0 && u->a < R_ZERO && !e_reloads(e, u))
        x_store(&e->a, 8, e_slot(u->a), e_use(e, u->a, J_X1)); /* for the interpreter */
    leave_pinned(e);
    struct stub *miss = e_stub(e, STUB_RESUME, u);
    if (u->op == UOP_JMP_R) {
        dispatch(e, miss, 0, 0);
        return true;
    }
    /* A target that is in the table is canonical, so that only the push can fault. Between blocks
     * rbp and r13 are nobody's. */
    look_up_jump(e, miss);
    x_load(&e->a, 8, RBP, E_JUMP(page));
    x_load(&e->a, 8, R13, E_JUMP(code));
    push_return(e, u, size);
    x_store(&e->a, 8, E_CPU(jit.page), RBP);
    x_rr(&e->a, 4, 0xff, 4, R13); /* jmp */
    return true;
}

/* To next_rip, which a helper has set; or else behind the block. */
bool emit_exit(struct emit *e, const struct uop *u)
{
    leave_pinned(e);
    if (u->aux) {
        int32_t off = (int32_t)(e_page_offset(e, u) + u->next);
        x_load(&e->a, 8, J_X0, E_CPU(jit.page));
        x_lea(&e->a, e->b->mask[0] == ~0ull ? 8 : 4, J_X0, xm(J_X0, off));
        x_store(&e->a, 8, E_CPU(next_rip), J_X0);
    } else {
        x_load(&e->a, 8, J_X0, E_CPU(next_rip));
    }
    dispatch(e, e_stub(e, STUB_INDIRECT, u), 0, 0);
    return true;
}
