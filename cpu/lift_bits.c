/* Lifters of multiplication, bits, single flags, strings: mostly C functions on registers. */
#include "cpu/int_helpers.h"
#include "cpu/lifters.h"
#include "cpu/locked.h"

static bool memory(const struct isa_opnd *o)
{
    return o->where == W_M;
}

/* A quiet call with its operands. */
static struct uop *quiet(struct lift *l, uop_helper *fn, unsigned sets, bool reads, unsigned dst,
                         unsigned a, unsigned b)
{
    struct uop *u = lift_call_quiet(l, fn, sets, reads);
    u->dst = (uint8_t)dst;
    u->a = (uint8_t)a;
    u->b = (uint8_t)b;
    return u;
}

void lift_mul(struct lift *l)
{
    unsigned r = lift_get(l, 0);
    quiet(l, l->arg->n ? q_imul : q_mul, F_OSZAPC, false, R_ZERO, r, R_ZERO)->size =
        l->in->op[0].size;
}

void lift_div(struct lift *l)
{
    unsigned r = lift_get(l, 0);
    struct uop *u = lift_call(l, l->arg->n ? h_idiv : h_div);
    u->a = (uint8_t)r;
    u->size = l->in->op[0].size;
}

/* A fresh copy of the destination's value, so that a helper can change it; r is kept for the
 * write-back. */
static unsigned copy_of(struct lift *l, unsigned r)
{
    unsigned t = lift_temp(l);
    lift_emit(l, UOP_MOV_R64, t, r, R_ZERO, 0);
    return t;
}

void lift_shld(struct lift *l)
{
    const struct isa_opnd *o = &l->in->op[0];
    unsigned count = R_CX, t;
    if (l->in->op[2].where == W_I)
        count = lift_get(l, 2);
    t = memory(o) ? lift_load_rmw(l, o->size) : copy_of(l, lift_get(l, 0));
    quiet(l, l->arg->n ? q_shrd : q_shld, 0, true, t, LIFT_REG(&l->in->op[1]), count);
    if (memory(o))
        lift_store_rmw(l, t, o->size);
    else
        lift_put(l, 0, t);
}

/* The temporary that holds the memory operand's offset moved by the signed bit number in `bit`, to
 * the word that has the bit (SDM 2A BT). */
static unsigned bit_address(struct lift *l, unsigned bit, unsigned size)
{
    unsigned t = lift_temp(l), base = lift_temp(l), lg = lg_size(size);
    static const uint16_t extend[] = {0, UOP_SX16_64, UOP_SX32_64, UOP_MOV_R64};
    lift_ea(l, base);
    lift_emit(l, extend[lg], t, bit, R_ZERO, 0);
    lift_emit(l, UOP_SAR_IN64, t, t, R_ZERO, lg + 3);
    lift_emit(l, UOP_SHL_IN64, t, t, R_ZERO, lg);
    lift_emit(l, UOP_ADD_RN64, base, base, t, 0);
    return base;
}

void lift_bt(struct lift *l)
{
    const struct isa_opnd *o = &l->in->op[0];
    unsigned size = o->size, lg = lg_size(size), n = l->arg->n, t;
    bool constant = l->in->op[1].where == W_I, mem = memory(o);
    unsigned bit = constant ? R_ZERO : LIFT_REG(&l->in->op[1]);
    struct insn moved = *l->in;
    const struct insn *in = l->in;
    if (mem && !constant) {
        moved.base = (uint8_t)bit_address(l, bit, size);
        moved.index = ISA_NO_REG;
        moved.disp = 0;
        l->in = &moved;
    }
    bool locked = n && mem && lift_is_locked(l, false);
    if (locked && constant)
        bit = lift_get(l, 1);
    if (locked)
        t = lift_locked(l, (enum locked_op)(LOCKED_BTS + n - 1), bit, size);
    else if (n && mem)
        t = lift_load_rmw(l, size);
    else
        t = n ? copy_of(l, lift_get(l, 0)) : lift_get(l, 0);
    if (n == 0) {
        lift_emit(l, (constant ? UOP_BT_I8 : UOP_BT_R8) + lg, R_ZERO, t, bit,
                  (int64_t)l->in->imm & 63);
    } else {
        if (constant && !locked)
            bit = lift_get(l, 1);
        struct uop *u = quiet(l, q_bit, F_C, true, t, R_ZERO, bit);
        u->imm = n;
        if (mem && !locked)
            lift_store_rmw(l, t, size);
        else if (!mem)
            lift_put(l, 0, t);
    }
    l->in = in;
}

void lift_bsf(struct lift *l)
{
    unsigned src = lift_get(l, 1), n = l->arg->n;
    quiet(l, q_bsf, F_OSZAPC, false, LIFT_REG(&l->in->op[0]), src, R_ZERO)->imm = n;
}

void lift_crc32(struct lift *l)
{
    unsigned src = lift_get(l, 1);
    quiet(l, q_crc32, 0, false, LIFT_REG(&l->in->op[0]), src, R_ZERO)->size = l->in->op[1].size;
}

/* BMI: two sources in the row's order, operands 1 and 2. */
static void three(struct lift *l, uop_helper *fn, unsigned sets)
{
    unsigned a = lift_get(l, 1), b = lift_get(l, 2);
    struct uop *u = quiet(l, fn, sets, false, LIFT_REG(&l->in->op[0]), a, b);
    u->size = l->in->op[0].size;
    u->imm = l->arg->n;
}

void lift_andn(struct lift *l)
{
    three(l, q_andn, F_OSZAPC);
}

void lift_bzhi(struct lift *l)
{
    three(l, q_bzhi, F_OSZAPC);
}

void lift_bextr(struct lift *l)
{
    three(l, q_bextr, F_OSZAPC);
}

void lift_pdep(struct lift *l)
{
    three(l, q_pdep, 0);
}

void lift_pext(struct lift *l)
{
    three(l, q_pext, 0);
}

void lift_shiftx(struct lift *l)
{
    three(l, q_shiftx, 0);
}

void lift_rorx(struct lift *l)
{
    unsigned a = lift_get(l, 1), lg = lg_size(l->in->op[0].size);
    lift_emit(l, UOP_ROR_IN8 + lg, LIFT_REG(&l->in->op[0]), a, R_ZERO, (int64_t)l->in->imm);
}

/* High half to operand 0, low half to operand 1; the high one wins when they are the same. */
void lift_mulx(struct lift *l)
{
    unsigned src = lift_get(l, 2);
    quiet(l, q_mulx, 0, false, LIFT_REG(&l->in->op[0]), src, LIFT_REG(&l->in->op[1]))->size =
        l->in->op[0].size;
}

void lift_bmi1(struct lift *l)
{
    unsigned a = lift_get(l, 1);
    struct uop *u = quiet(l, q_bmi1, F_OSZAPC, false, LIFT_REG(&l->in->op[0]), a, R_ZERO);
    u->size = l->in->op[0].size;
    u->imm = l->arg->n;
}

void lift_adx(struct lift *l)
{
    unsigned a = lift_get(l, 1);
    struct uop *u = quiet(l, q_adx, 0, true, LIFT_REG(&l->in->op[0]), a, R_ZERO);
    u->size = l->in->op[0].size;
    u->imm = l->arg->n;
}

void lift_sahf(struct lift *l)
{
    lift_call_quiet(l, q_sahf, F_SZAPC, true);
}

void lift_lahf(struct lift *l)
{
    lift_call_quiet(l, q_lahf, 0, true);
}

void lift_salc(struct lift *l)
{
    lift_call_quiet(l, q_salc, 0, true);
}

void lift_flagop(struct lift *l)
{
    lift_call_quiet(l, q_flagop, l->arg->n <= FLAG_CMC ? F_C : 0, true)->imm = l->arg->n;
}

/* An access at (R)SI in the source segment, or at (R)DI in ES. */
static void string_access(struct lift *l, unsigned reg, unsigned value, bool store)
{
    const struct insn *in = l->in;
    struct insn at = *in;
    unsigned size = in->op[0].size;
    at.base = (uint8_t)reg;
    at.index = ISA_NO_REG;
    at.disp = 0;
    if (reg == R_DI)
        at.seg = SEG_ES;
    l->in = &at;
    if (store)
        lift_store(l, value, size);
    else
        lift_load(l, value, size);
    l->in = in;
}

static void string_step(struct lift *l, unsigned reg)
{
    struct uop *u = lift_call_quiet(l, q_string_step, 0, false);
    u->dst = (uint8_t)reg;
    u->imm = l->in->op[0].size;
    u->asize = l->in->asize;
}

/* Without REP: the loads and stores that it is made of. Processors read the second operand of CMPS
 * first, which shows when both fault. */
static void string_one(struct lift *l, enum string_op op)
{
    unsigned lg = lg_size(l->in->op[0].size), from = R_AX, to = lift_temp(l);
    if (op == STR_CMPS || op == STR_SCAS)
        string_access(l, R_DI, to, false);
    if (op == STR_MOVS || op == STR_CMPS || op == STR_LODS)
        string_access(l, R_SI, from = lift_temp(l), false);
    if (op == STR_MOVS || op == STR_STOS)
        string_access(l, R_DI, from, true);
    if (op == STR_LODS)
        lift_emit(l, UOP_MOV_R8 + lg, R_AX, from, R_ZERO, 0);
    if (op == STR_MOVS || op == STR_CMPS || op == STR_LODS)
        string_step(l, R_SI);
    if (op != STR_LODS)
        string_step(l, R_DI);
    if (op == STR_CMPS || op == STR_SCAS)
        lift_emit(l, UOP_CMP_R8 + lg, R_ZERO, from, to, 0)->size = l->in->op[0].size;
}

void lift_string(struct lift *l)
{
    unsigned n = l->arg->n;
    if (!l->in->rep && l->in->asize > 2) {
        string_one(l, (enum string_op)n);
        return;
    }
    struct uop *u = lift_call(l, h_string);
    u->imm = n;
    /* the operand whose width is the element's: a register or a string */
    u->size = l->in->op[0].size;
    u->aux = l->in->rep;
    if (l->in->rep)
        l->ends = true;
}
