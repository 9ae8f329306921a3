/* Lifters of the vector instructions: fetch the operands, call the operation of the row.
 *
 * A vector operand in memory goes through vector temporary VEC_T0, an MMX or general one through a
 * general temporary. Loads come first and stores last, so that nothing has changed when they fault;
 * the operation between them faults only by an exception of its own (lifter vec_fp). */
#include "cpu/lifters.h"
#include "cpu/mem.h"
#include "cpu/vec.h"
#include "cpu/x87.h"

/* A pending x87 exception comes before an MMX instruction (SDM 1 9.6.5). */
static bool mmx_begin(struct cpu *c, const struct uop *u)
{
    return x87_begin(c);
}

/* Is the instruction there, and allowed (SDM 2A 2.4, 2.5)? Else raises what it must. */
static bool begin(struct lift *l)
{
    const uint32_t attr = l->in->row->attr, key = l->key;
    bool ud, nm;
    if (attr & A_VEX) {
        ud = !(key & KEY_AVX) || !(key & KEY_PROT);
        nm = key & KEY_SSE_NM;
    } else {
        ud = (attr & A_SSE && key & KEY_SSE_UD) || (attr & A_MMX && key & KEY_MMX_UD);
        nm = (attr & A_SSE && key & KEY_SSE_NM) || (attr & A_MMX && key & KEY_FPU_NM);
    }
    if (ud)
        lift_ud(l);
    else if (nm)
        lift_raise(l, EXC_NM);
    else if (attr & A_MMX)
        lift_emit(l, UOP_HELP, R_ZERO, R_ZERO, R_ZERO, 0)->helper = mmx_begin;
    return !ud && !nm;
}

static enum vec_width width(const struct lift *l)
{
    if (l->in->vex)
        return l->in->vex_l ? VW_YMM : VW_VEX;
    return l->in->row->attr & A_SSE ? VW_XMM : VW_MMX;
}

/* The low half of a uop's immediate; the rest of it stays. */
static void set_imm(struct uop *u, uint32_t imm)
{
    u->imm = (int64_t)(((uint64_t)u->imm & ~0xffffffffull) | imm);
}

/* Calls one operation. `quiet`: it can't fault. */
static struct uop *emit(struct lift *l, const vec_op op, bool quiet, unsigned dst, unsigned a,
                        unsigned b)
{
    struct uop *u = lift_emit(l, quiet ? UOP_CALLQ : UOP_CALLF, dst, a, b, 0);
    u->helper = op[width(l)];
    u->imm = VEC_IMM(l->in->imm, isa_row_index(l->in->row), l->in->vex_l);
    u->seg = VEC_UOP;
    u->size = l->in->osize == 8 ? 8 : 4;
    u->aux = (uint16_t)l->in->row->flags_written;
    return u;
}

/* Register number of operand i, loaded when it is memory: vector, MMX or general by its row. */
static unsigned source(struct lift *l, unsigned i)
{
    const struct isa_opnd *op = &l->in->op[i];
    if (op->where != W_M)
        return op->reg;
    switch (l->in->row->op[i]) {
    case OP_Eb:
    case OP_Ew:
    case OP_Ed:
    case OP_Eq:
    case OP_Ey:
    case OP_Qd:
    case OP_Qq: {
        unsigned t = lift_temp(l);
        lift_load(l, t, op->size);
        return t;
    }
    default: lift_load_vec(l, VEC_T0, op->size); return VEC_T0;
    }
}

static void operate(struct lift *l, bool quiet)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    unsigned dst = in->op[0].reg, from[2] = {dst, dst}, n = 0;
    for (unsigned i = 1; i < in->op_count && n < 2; i++) {
        unsigned where = in->op[i].where;
        if (where != W_I && where != W_L && where != W_XMM0)
            from[n++] = source(l, i);
    }
    if (n == 1) {
        from[1] = from[0];
        from[0] = dst;
    }
    struct uop *u = emit(l, l->arg->vec, quiet, dst, from[0], from[1]);
    if (in->op[in->op_count - 1].where == W_L)
        set_imm(u, in->op[in->op_count - 1].reg);
    if (l->arg->vec == v_insertps && in->is_mem)
        set_imm(u, in->imm & 0x3f);
}

/* dst = op(first source or dst, last source). */
void lift_vec(struct lift *l)
{
    operate(l, true);
}

/* The same for operations that raise #XM. */
void lift_vec_fp(struct lift *l)
{
    operate(l, false);
}

/* PCMPxSTRx: both operands are sources; results go to fixed registers. */
void lift_vec_text(struct lift *l)
{
    operate(l, true);
}

/* Moves to a vector register; what memory does not give becomes zero. */
void lift_vec_load(struct lift *l)
{
    const struct insn *in = l->in;
    unsigned dst = in->op[0].reg;
    if (!begin(l))
        return;
    if (in->is_mem)
        lift_load_vec(l, dst, in->op[1].size);
    else
        emit(l, l->arg->vec, true, dst, dst, in->op[1].reg);
}

void lift_vec_store(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    if (in->is_mem)
        lift_store_vec(l, in->op[1].reg, in->op[0].size);
    else
        emit(l, l->arg->vec, true, in->op[0].reg, in->op[0].reg, in->op[1].reg);
}

/* A lane to memory: the immediate or, without one, .n chooses it. */
void lift_vec_extract(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    unsigned t = lift_temp(l);
    struct uop *u = emit(l, l->arg->vec, true, t, R_ZERO, in->op[1].reg);
    if (in->op_count == 2)
        set_imm(u, l->arg->n);
    lift_store(l, t, in->op[0].size);
}

/* A part of a register, or its conversion, to memory or a register. What raises #XM does so before
 * the memory is looked at, and a fault of the store leaves MXCSR's flags raised, as processors do.
 */
static void part(struct lift *l, bool quiet)
{
    const struct insn *in = l->in;
    unsigned dst = in->is_mem ? VEC_T1 : in->op[0].reg;
    if (!begin(l))
        return;
    emit(l, l->arg->vec, quiet, dst, dst, in->op[1].reg);
    if (in->is_mem)
        lift_store_vec(l, dst, in->op[0].size);
}

void lift_vec_part(struct lift *l)
{
    part(l, true);
}

void lift_vec_part_fp(struct lift *l)
{
    part(l, false);
}

/* VMASKMOVxx: op[1] is the mask; the other register is the destination or what is stored. */
void lift_vec_masked(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    lift_ea(l, R_T0);
    struct uop *u = emit(l, l->arg->vec, false, in->op[in->op[0].where == W_M ? 2 : 0].reg, R_ZERO,
                         in->op[1].reg);
    u->op = UOP_HELP; /* it accesses memory */
    u->seg = in->seg;
    u->asize = in->asize;
}

/* Destination, indexes in memory's place, mask. */
void lift_vec_gather(struct lift *l)
{
    const struct insn *in = l->in;
    unsigned dst = in->op[0].reg, mask = in->op[2].reg;
    if (!begin(l))
        return;
    struct uop *u =
        emit(l, l->arg->vec, false, dst, in->base == ISA_NO_REG ? R_ZERO : in->base, in->index);
    u->op = UOP_HELP; /* it accesses memory */
    u->aux = (uint16_t)mask;
    u->scale = in->scale;
    u->seg = in->seg;
    u->asize = in->asize;
    u->imm = in->disp;
}

/* The fused multiply-add that .n says. */
void lift_vec_fma(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    unsigned b = source(l, 2);
    set_imm(emit(l, l->arg->vec, false, in->op[0].reg, in->op[1].reg, b), l->arg->n);
}

/* VEX forms of instructions that are helpers. */
void lift_vec_help(struct lift *l)
{
    if (begin(l))
        lift_help(l);
}

/* MMX registers to memory or a register. */
void lift_mmx_store(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    if (!in->is_mem) {
        emit(l, l->arg->vec, true, in->op[0].reg, in->op[0].reg, in->op[1].reg);
        return;
    }
    unsigned t = lift_temp(l);
    lift_emit(l, UOP_CALLQ, t, R_ZERO, in->op[1].reg, 0)->helper = vec_mmx_read;
    lift_store(l, t, in->op[0].size);
    lift_emit(l, UOP_CALLQ, R_ZERO, R_ZERO, R_ZERO, 0)->helper = vec_mmx_stored;
}

void lift_mmx_empty(struct lift *l)
{
    if (begin(l))
        lift_emit(l, UOP_CALLQ, R_ZERO, R_ZERO, R_ZERO, 0)->helper = vec_emms;
}

/* VZEROUPPER; VZEROALL with .n = 1. Eight registers outside 64-bit mode. */
static bool zero(struct cpu *c, const struct uop *u)
{
    const bool all = (uint32_t)u->imm;
    for (unsigned i = 0; i < u->size; i++)
        memset((char *)&c->s.v[i] + (all ? 0 : 16), 0, all ? 32 : 16);
    return true;
}

void lift_vec_zero(struct lift *l)
{
    if (!begin(l))
        return;
    int64_t imm = VEC_IMM(l->arg->n, isa_row_index(l->in->row), l->in->vex_l);
    struct uop *u = lift_emit(l, UOP_CALLQ, R_ZERO, R_ZERO, R_ZERO, imm);
    u->helper = zero;
    u->seg = VEC_UOP;
    u->size = l->in->mode == ISA_64 ? 16 : 8;
}

/* MASKMOVQ, MASKMOVDQU: the bytes of a whose byte in b has its top bit set, to DS:rDI. Only they
 * are checked. The address size cuts where each half begins, as of other pieces (cpu/area.h). */
static uint64_t maskmov_offset(const struct cpu *c, const struct uop *u, unsigned i)
{
    return ((c->s.r[R_DI] + (i & 8)) & ~0ull >> (64 - 8 * u->asize)) + (i & 7);
}

static bool maskmov(struct cpu *c, const struct uop *u)
{
    const bool mmx = u->size == 8;
    const union vreg *data = mmx ? vec_mmx_source(c, u->a) : cpu_vreg(c, u->a);
    const union vreg *mask = mmx ? vec_mmx_source(c, u->b) : cpu_vreg(c, u->b);
    for (unsigned i = 0; i < u->size; i++)
        if (mask->b[i] >> 7 && !seg_probe(c, u->seg, maskmov_offset(c, u, i), 1, ACC_WRITE))
            return false;
    for (unsigned i = 0; i < u->size; i++)
        if (mask->b[i] >> 7 && !seg_store(c, u->seg, maskmov_offset(c, u, i), 1, data->b[i]))
            return false;
    if (mmx)
        vec_mmx_touch(c);
    return true;
}

void lift_vec_maskmov(struct lift *l)
{
    const struct insn *in = l->in;
    if (!begin(l))
        return;
    struct uop *u = lift_emit(l, UOP_HELP, R_ZERO, in->op[0].reg, in->op[1].reg, 0);
    u->helper = maskmov;
    u->size = (uint8_t)l->arg->n;
    u->seg = in->seg;
    u->asize = in->asize;
}
