/* Fusion of an instruction's memory operand: what the lifter makes a load, an operation and perhaps
 * a store is one host instruction again where nobody needs the value in a register.
 *
 * Flags that somebody may want are best kept as a recipe, which needs that value. So an operation
 * whose flags are looked at is done in a register, and only the way of the address is shortened. */
#include "jit/emit.h"

static const struct flags_rec no_recipe = {.b = R_ZERO, .a = R_ZERO, .imm = true};

/* An operation on memory: by a host opcode's digit. */
struct fused {
    enum { FUSED_ALU, FUSED_SHIFT } kind;
    unsigned op, size;
    bool imm, flags; /* flags: it sets them */
    int64_t v;
};

/* Does nothing of the instruction after u use temporary t? */
static bool ends_here(const struct uop *u, unsigned t)
{
    for (const struct uop *n = u + 1; n->insn == u->insn; n++) {
        if (n->dst == t || n->a == t || n->b == t || uop_observes(n))
            return false;
        if (uop_exits(n->op))
            break;
    }
    return !uop_exits(u->op);
}

static bool among(unsigned op, unsigned first, unsigned end)
{
    return op >= first && op < end;
}

/* The operation of u, if a host instruction does it in memory. */
static bool operation(const struct uop *u, struct fused *f)
{
    static const uint8_t shifts[] = {XS_ROL, XS_ROR, 0xff, 0xff, XS_SHL, XS_SHR, XS_SAR};
    unsigned v = u->op - UOP_ADD_R8;
    if (among(u->op, UOP_INC8, UOP_ROL_R8)) {
        bool dec = u->op >= UOP_DEC8;
        *f = (struct fused){.op = dec ? XA_SUB : XA_ADD, .imm = true, .flags = true, .v = 1};
        f->size = 1u << ((u->op - UOP_INC8) & 3);
        return true;
    }
    if (among(u->op, UOP_ROL_R8, UOP_IMUL_R8)) {
        v = u->op - UOP_ROL_R8;
        *f = (struct fused){.kind = FUSED_SHIFT, .op = shifts[v / 16], .size = 1u << (v & 3)};
        f->imm = v & UOP_IMM;
        f->flags = true; /* or some of them */
        f->v = u->imm;
        return f->imm && f->op != 0xff && f->v > 0 && f->v < 8 * (int64_t)f->size;
    }
    if (!among(u->op, UOP_ADD_R8, UOP_CMP_R8))
        return false;
    *f = (struct fused){.op = v / 16, .size = 1u << (v & 3)};
    f->flags = !(v & UOP_NOFLAGS);
    f->imm = v & UOP_IMM;
    f->v = f->size == 8 ? u->imm : sext((uint64_t)u->imm, 8 * f->size);
    if (!f->imm && (u->b == R_ZERO || u->b == R_IP))
        return false;
    return f->op != XA_ADC && f->op != XA_SBB && (!f->imm || x_fits32(f->v));
}

/* The load's slow path has put the value into its temporary; the operation is still to be done. */
static void from_temporary(struct emit *e, const struct stub *s)
{
    const struct uop *op = s->u + 1;
    struct fused f;
    if (operation(op, &f))
        x_alu_rm(&e->a, f.op, f.size, e->home[op->dst], e_slot(s->u->dst));
}

bool fuse_load(struct emit *e, const struct uop *u)
{
    const struct uop *op = u + 1;
    struct fused f;
    if (!among(u->op, UOP_LDZ8_B64, UOP_LDM8_B64) || op->insn != u->insn || !operation(op, &f) ||
        f.kind != FUSED_ALU || f.imm || f.size != u->size)
        return false;
    bool logic = f.op == XA_AND || f.op == XA_OR || f.op == XA_XOR;
    if (op->b != u->dst || op->a != op->dst || op->dst == u->dst || u->dst < R_T0 ||
        e->home[op->dst] == J_NONE || !ends_here(op, u->dst))
        return false;
    if (!f.flags ? e->need[e->i + 2] : e->need[e->i + 2] && !logic)
        return false;
    e_clobber(e);
    e_write(e, op->dst);
    struct xmem m = e_read(e, u, f.size);
    if (e->access)
        e->access->after = from_temporary;
    x_alu_rm(&e->a, f.op, f.size, e->home[op->dst], m);
    e_resume(e);
    if (f.flags)
        e_flags_out(e, logic ? (struct flags_rec){.kind = REC_LOGIC,
                                                  .lg = (uint8_t)(f.size == 8   ? 3
                                                                  : f.size == 4 ? 2
                                                                                : f.size - 1),
                                                  .a = op->dst,
                                                  .imm = true}
                             : no_recipe);
    e->skip = 1;
    return true;
}

/* The slow path has put the host address into c->rmw. */
static void from_rmw(struct emit *e, const struct stub *s)
{
    if (s->at.index == X_NONE) {
        x_load(&e->a, 8, J_X0, E_CPU(rmw));
        return;
    }
    x_load(&e->a, 8, J_X1, E_CPU(rmw));
    x_alu_rr(&e->a, XA_SUB, 8, J_X1, s->at.base);
    if (s->at.disp)
        x_alu_ri(&e->a, XA_SUB, 8, J_X1, s->at.disp);
}

static struct xmem place(struct emit *e, const struct uop *u, unsigned size)
{
    struct xmem m = e_write_to(e, u, size);
    if (e->access) {
        e->access->after = from_rmw;
        e->access->at = m;
    }
    return m;
}

static void in_memory(struct emit *e, const struct uop *op, const struct fused *f, struct xmem m)
{
    if (f->kind == FUSED_SHIFT)
        x_shift_mi(&e->a, f->op, f->size, m, (unsigned)f->v);
    else if (f->imm)
        x_alu_mi(&e->a, f->op, f->size, m, f->v);
    else
        x_alu_mr(&e->a, f->op, f->size, m, e_use(e, op->b, m.base == J_X0 ? J_X1 : J_X0));
}

bool fuse_rmw(struct emit *e, const struct uop *u)
{
    const struct uop *op = u + 1, *st = u + 2;
    unsigned t = u->dst;
    struct fused f;
    if (op->insn != u->insn || uop_exits(op->op) || st->insn != u->insn || u->aux & UOP_LOCK ||
        !among(st->op, UOP_STW8, UOP_LDV4_B64) || st->a != t || op->dst != t || op->a != t ||
        t < R_T0 || !operation(op, &f) || f.size != u->size || st->size != u->size ||
        (!f.imm && op->b == t) || !ends_here(st, t))
        return false;
    bool needed = f.flags && e->need[e->i + 3];
    if (needed && (e->home[t] == J_NONE || f.kind == FUSED_SHIFT ||
                   among(op->op, UOP_INC8, UOP_ROL_R8) || (!f.imm && e->home[op->b] == J_NONE)))
        return false;
    e_clobber(e);
    e_write(e, t);
    struct xmem m = place(e, u, f.size);
    e_resume(e);
    e->skip = 2;
    if (!needed) {
        in_memory(e, op, &f, m);
        if (f.flags)
            e_flags_out(e, no_recipe);
        return true;
    }
    x_rm(&e->a, f.size == 8 ? 8 : 4,
         f.size == 1   ? 0x0fb6
         : f.size == 2 ? 0x0fb7
                       : 0x8b,
         e->home[t], m);
    emit_alu(e, op);
    x_store(&e->a, f.size, m, e->home[t]);
    return true;
}
