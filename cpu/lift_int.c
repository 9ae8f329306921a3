/* Lifters of moves, arithmetic, conditions. */
#include "cpu/helpers.h"
#include "cpu/lifters.h"
#include "cpu/locked.h"

static bool high(const struct isa_opnd *o)
{
    return o->size == 1 && (o->reg & ISA_HIGH);
}

static bool memory(const struct isa_opnd *o)
{
    return o->where == W_M || o->where == W_O;
}

static bool constant(const struct lift *l, unsigned i, int64_t *v)
{
    if (i >= l->in->op_count)
        return false;
    const struct isa_opnd *o = &l->in->op[i];
    *v = o->where == W_ONE ? 1 : (int64_t)l->in->imm;
    return o->where == W_I || o->where == W_ONE;
}

/* dst = a op operand 1, where op is the first of a UOP_ALU or UOP_CMPS family. */
static void emit_binary(struct lift *l, unsigned first, unsigned dst, unsigned a, unsigned b,
                        bool immediate, int64_t imm)
{
    unsigned op = first + lg_size(l->in->op[0].size) + (immediate ? UOP_IMM : 0);
    lift_emit(l, op, dst, a, immediate ? R_ZERO : b, immediate ? imm : 0)->size = l->in->op[0].size;
}

void lift_nop(struct lift *l)
{
    lift_emit(l, UOP_NOP, R_ZERO, R_ZERO, R_ZERO, 0);
}

void lift_mov(struct lift *l)
{
    const struct isa_opnd *to = &l->in->op[0], *from = &l->in->op[1];
    unsigned size = to->size, lg = lg_size(size), r;
    int64_t imm;
    if (constant(l, 1, &imm)) {
        if (memory(to)) {
            struct uop *u = lift_emit(l, UOP_STI8_B64 + FORM_COUNT * lg + lift_form(l), R_ZERO,
                                      R_ZERO, R_ZERO, 0);
            lift_address(l, u);
            u->size = (uint8_t)size;
            u->imm2 = imm;
        } else if (high(to)) {
            lift_put(l, 0, lift_get(l, 1));
        } else {
            lift_emit(l, UOP_MOV_I8 + lg, LIFT_REG(to), R_ZERO, R_ZERO, imm);
        }
        return;
    }
    if (memory(from) && !high(to)) {
        static const uint16_t family[] = {UOP_LDM8_B64, UOP_LDM16_B64, UOP_LDZ32_B64,
                                          UOP_LDZ64_B64};
        struct uop *u = lift_emit(l, family[lg] + lift_form(l), LIFT_REG(to), R_ZERO, R_ZERO, 0);
        lift_address(l, u);
        u->size = (uint8_t)size;
        return;
    }
    r = lift_get(l, 1);
    lift_put(l, 0, r);
}

void lift_alu(struct lift *l)
{
    static const uint16_t first[] = {
        [ALU_ADD] = UOP_ADD_R8, [ALU_OR] = UOP_OR_R8,   [ALU_ADC] = UOP_ADC_R8,
        [ALU_SBB] = UOP_SBB_R8, [ALU_AND] = UOP_AND_R8, [ALU_SUB] = UOP_SUB_R8,
        [ALU_XOR] = UOP_XOR_R8, [ALU_CMP] = UOP_CMP_R8, [ALU_TEST] = UOP_TEST_R8,
    };
    const struct isa_opnd *to = &l->in->op[0];
    unsigned op = first[l->arg->n], b = R_ZERO, a;
    bool compare = l->arg->n >= ALU_CMP;
    int64_t imm = 0;
    bool immediate = constant(l, 1, &imm);
    if (!immediate)
        b = lift_get(l, 1);
    if (compare) {
        emit_binary(l, op, R_ZERO, lift_get(l, 0), b, immediate, imm);
    } else if (memory(to) && lift_is_locked(l, false)) {
        if (immediate)
            b = lift_get(l, 1);
        a = lift_locked(l, (enum locked_op)l->arg->n, b, to->size);
        emit_binary(l, op, a, a, b, immediate, imm);
    } else if (memory(to)) {
        a = lift_load_rmw(l, to->size);
        emit_binary(l, op, a, a, b, immediate, imm);
        lift_store_rmw(l, a, to->size);
    } else {
        a = lift_get(l, 0);
        emit_binary(l, op, a, a, b, immediate, imm);
        if (high(to))
            lift_put(l, 0, a);
    }
}

/* One operand, read and written; a locked one is written by begin_unary(), with `b`. */
static unsigned begin_unary(struct lift *l, enum locked_op op, int64_t b)
{
    const struct isa_opnd *o = &l->in->op[0];
    if (memory(o) && lift_is_locked(l, false)) {
        unsigned t = lift_temp(l);
        lift_emit(l, UOP_MOV_I64, t, R_ZERO, R_ZERO, b);
        return lift_locked(l, op, t, o->size);
    }
    return memory(o) ? lift_load_rmw(l, o->size) : lift_get(l, 0);
}

static void end_unary(struct lift *l, unsigned r)
{
    const struct isa_opnd *o = &l->in->op[0];
    if (memory(o) && lift_is_locked(l, false))
        return;
    if (memory(o))
        lift_store_rmw(l, r, o->size);
    else if (high(o))
        lift_put(l, 0, r);
}

void lift_incdec(struct lift *l)
{
    bool inc = l->arg->n == ALU_INC;
    unsigned r = begin_unary(l, LOCKED_ADD, inc ? 1 : -1), first = inc ? UOP_INC8 : UOP_DEC8;
    lift_emit(l, first + lg_size(l->in->op[0].size), r, r, R_ZERO, 0);
    end_unary(l, r);
}

void lift_not(struct lift *l)
{
    unsigned r = begin_unary(l, LOCKED_XOR, -1);
    emit_binary(l, UOP_XOR_R8 + UOP_NOFLAGS, r, r, R_ZERO, true, -1);
    end_unary(l, r);
}

void lift_neg(struct lift *l)
{
    unsigned r = begin_unary(l, LOCKED_NEG, 0);
    emit_binary(l, UOP_SUB_R8, r, R_ZERO, r, false, 0);
    end_unary(l, r);
}

void lift_shift(struct lift *l)
{
    static const uint16_t first[] = {
        [SH_ROL] = UOP_ROL_R8, [SH_ROR] = UOP_ROR_R8, [SH_RCL] = UOP_RCL_R8, [SH_RCR] = UOP_RCR_R8,
        [SH_SHL] = UOP_SHL_R8, [SH_SHR] = UOP_SHR_R8, [SH_SAR] = UOP_SAR_R8,
    };
    unsigned size = l->in->op[0].size, r = begin_unary(l, LOCKED_XCHG, 0); /* never locked */
    int64_t n = 0;
    bool immediate = constant(l, 1, &n);
    n &= size == 8 ? 63 : 31;
    if (immediate && !n) {
        if (size == 4 && !memory(&l->in->op[0])) /* writes its register all the same */
            lift_emit(l, UOP_ZX32, r, r, R_ZERO, 0);
    } else {
        emit_binary(l, first[l->arg->n], r, r, R_CX, immediate, n);
        l->out[l->count - 1].aux = immediate && !memory(&l->in->op[0]);
    }
    end_unary(l, r);
}

void lift_imul(struct lift *l)
{
    unsigned dst = LIFT_REG(&l->in->op[0]), src = lift_get(l, 1);
    int64_t imm;
    if (constant(l, 2, &imm))
        emit_binary(l, UOP_IMUL_R8, dst, src, R_ZERO, true, imm);
    else
        emit_binary(l, UOP_IMUL_R8, dst, dst, src, false, 0);
}

void lift_lea(struct lift *l)
{
    unsigned osize = l->in->osize, asize = l->in->asize, dst = LIFT_REG(&l->in->op[0]);
    if (asize == 2 && osize > 2) {
        lift_ea(l, R_T0);
        lift_emit(l, UOP_MOV_R64, dst, R_T0, R_ZERO, 0);
        return;
    }
    unsigned op = osize == 2 ? UOP_LEA16 : osize == 4 || asize == 4 ? UOP_LEA32 : UOP_LEA64;
    struct uop *u = lift_emit(l, op, dst, R_ZERO, R_ZERO, 0);
    lift_address(l, u);
    if (op == UOP_LEA64 && u->b == R_ZERO)
        u->op = UOP_ADD_IN64;
    else if (op == UOP_LEA32 && u->b == R_ZERO)
        u->op = UOP_ADD_IN32;
}

/* Extensions. */

void lift_movzx(struct lift *l)
{
    const struct isa_opnd *to = &l->in->op[0], *from = &l->in->op[1];
    unsigned dst = to->size == 2 ? lift_temp(l) : LIFT_REG(to);
    if (memory(from))
        lift_load(l, dst, from->size);
    else
        lift_emit(l, from->size == 1 ? UOP_ZX8 : UOP_ZX16, dst, lift_get(l, 1), R_ZERO, 0);
    if (to->size == 2)
        lift_put(l, 0, dst);
}

/* Sign extension of register r from `from` to `to` bytes in dst. */
static void emit_sx(struct lift *l, unsigned dst, unsigned r, unsigned from, unsigned to)
{
    static const uint16_t op[3][4] = {
        {0, UOP_SX8_16, UOP_SX8_32, UOP_SX8_64},
        {0, UOP_MOV_R16, UOP_SX16_32, UOP_SX16_64},
        {0, UOP_MOV_R16, UOP_MOV_R32, UOP_SX32_64},
    };
    lift_emit(l, op[lg_size(from)][lg_size(to)], dst, r, R_ZERO, 0);
}

void lift_movsx(struct lift *l)
{
    const struct isa_opnd *to = &l->in->op[0], *from = &l->in->op[1];
    static const uint16_t load[3][2] = {
        {UOP_LDS8_32_B64, UOP_LDS8_64_B64},
        {UOP_LDS16_32_B64, UOP_LDS16_64_B64},
        {UOP_LDZ32_B64, UOP_LDS32_64_B64},
    };
    if (memory(from) && to->size >= 4) {
        unsigned op = load[lg_size(from->size)][to->size == 8] + lift_form(l);
        struct uop *u = lift_emit(l, op, LIFT_REG(to), R_ZERO, R_ZERO, 0);
        lift_address(l, u);
        u->size = from->size;
        return;
    }
    unsigned r = lift_get(l, 1);
    emit_sx(l, LIFT_REG(to), r, from->size, to->size);
}

void lift_cbw(struct lift *l)
{
    unsigned size = l->in->osize;
    emit_sx(l, R_AX, R_AX, size / 2, size);
}

void lift_cwd(struct lift *l)
{
    unsigned size = l->in->osize, t = R_AX;
    if (size < 8) {
        t = lift_temp(l);
        emit_sx(l, t, R_AX, size, 8);
    }
    unsigned sign = lift_temp(l);
    lift_emit(l, UOP_SAR_IN64, sign, t, R_ZERO, 63);
    lift_emit(l, UOP_MOV_R8 + lg_size(size), R_DX, sign, R_ZERO, 0);
}

void lift_bswap(struct lift *l)
{
    unsigned r = LIFT_REG(&l->in->op[0]);
    if (l->in->osize == 2) /* undefined; Intel's chips clear it */
        lift_emit(l, UOP_MOV_I16, r, R_ZERO, R_ZERO, 0);
    else
        lift_emit(l, l->in->osize == 4 ? UOP_BSWAP32 : UOP_BSWAP64, r, r, R_ZERO, 0);
}

static void emit_bswap(struct lift *l, unsigned dst, unsigned a, unsigned size)
{
    if (size == 2) {
        lift_emit(l, UOP_BSWAP32, dst, a, R_ZERO, 0);
        lift_emit(l, UOP_SHR_IN64, dst, dst, R_ZERO, 16);
    } else {
        lift_emit(l, size == 4 ? UOP_BSWAP32 : UOP_BSWAP64, dst, a, R_ZERO, 0);
    }
}

void lift_movbe(struct lift *l)
{
    unsigned r = lift_get(l, 1), t = lift_temp(l);
    emit_bswap(l, t, r, l->in->op[0].size);
    lift_put(l, 0, t);
}

/* Exchanges. */

static struct uop *tell_exchanged(struct lift *l, unsigned old, unsigned b, unsigned size)
{
    struct uop *u = lift_call_quiet(l, h_exchanged, 0, false);
    u->a = (uint8_t)old;
    u->b = (uint8_t)b;
    u->size = (uint8_t)size;
    return u;
}

void lift_xchg(struct lift *l)
{
    const struct isa_opnd *a = &l->in->op[0];
    unsigned rb = lift_get(l, 1), t;
    if (memory(a) && lift_is_locked(l, true)) {
        t = lift_locked(l, LOCKED_XCHG, rb, a->size);
        tell_exchanged(l, t, rb, a->size)->imm = 1;
        lift_put(l, 1, t);
        return;
    }
    if (memory(a)) {
        t = lift_load_rmw(l, a->size);
        lift_store_rmw(l, rb, a->size);
        if (l->turns) {
            tell_exchanged(l, t, rb, a->size);
            l->rests = true;
        }
        lift_put(l, 1, t);
        return;
    }
    t = lift_temp(l);
    lift_emit(l, UOP_MOV_R64, t, lift_get(l, 0), R_ZERO, 0);
    lift_put(l, 0, rb);
    lift_put(l, 1, t);
}

void lift_xadd(struct lift *l)
{
    const struct isa_opnd *a = &l->in->op[0];
    unsigned rb = lift_get(l, 1), old = lift_temp(l), sum = lift_temp(l);
    bool mem = memory(a), locked = mem && lift_is_locked(l, false);
    unsigned ra = locked ? lift_locked(l, LOCKED_ADD, rb, a->size)
                  : mem  ? lift_load_rmw(l, a->size)
                         : lift_get(l, 0);
    lift_emit(l, UOP_MOV_R64, old, ra, R_ZERO, 0);
    emit_binary(l, UOP_ADD_R8, sum, ra, rb, false, 0);
    if (mem && !locked)
        lift_store_rmw(l, sum, a->size);
    lift_put(l, 1, old);
    if (!mem)
        lift_put(l, 0, sum); /* last: it wins when both are the same register */
}

/* A memory destination is written in either case (SDM 2A CMPXCHG), a register only when equal. */
void lift_cmpxchg(struct lift *l)
{
    const struct isa_opnd *a = &l->in->op[0];
    unsigned size = a->size, lg = lg_size(size);
    unsigned rb = lift_get(l, 1), old = lift_temp(l), result = lift_temp(l);
    bool mem = memory(a), locked = mem && lift_is_locked(l, false);
    unsigned ra = locked ? lift_locked(l, LOCKED_CMPXCHG, rb, size)
                  : mem  ? lift_load_rmw(l, size)
                         : lift_get(l, 0);
    unsigned equal = lift_temp(l), differ = lift_temp(l);
    if (size == 4)
        lift_emit(l, UOP_ZX32, old, ra, R_ZERO, 0);
    else
        lift_emit(l, UOP_MOV_R64, old, ra, R_ZERO, 0);
    lift_emit(l, UOP_CMP_R8 + lg, R_ZERO, R_AX, old, 0);
    lift_emit(l, UOP_COND_Z8 + lg, equal, R_ZERO, R_ZERO, 0)->aux = 4;
    lift_emit(l, UOP_XOR_IN64, differ, equal, R_ZERO, 1);
    if (!locked) {
        lift_emit(l, UOP_MOV_R64, result, old, R_ZERO, 0);
        lift_emit(l, UOP_CMOV64, result, rb, equal, 0);
    }
    if (locked) {
        ;
    } else if (mem) {
        lift_store_rmw(l, result, size);
    } else if (size == 4) {
        lift_emit(l, UOP_ZX32, result, rb, R_ZERO, 0);
        lift_emit(l, UOP_CMOV64, ra, result, equal, 0);
    } else {
        lift_put(l, 0, result);
    }
    /* the accumulator changes only on failure */
    if (size >= 4) {
        lift_emit(l, UOP_CMOV64, R_AX, old, differ, 0);
    } else {
        lift_emit(l, UOP_MOV_R64, equal, R_AX, R_ZERO, 0);
        lift_emit(l, UOP_CMOV64, equal, old, differ, 0);
        lift_emit(l, UOP_MOV_R8 + lg, R_AX, equal, R_ZERO, 0);
    }
}

/* Conditions. */

unsigned lift_uc(unsigned cond)
{
    static const uint8_t uc[16] = {UC_COUNT, UC_COUNT, UC_B,  UC_AE, UC_Z,     UC_NZ,
                                   UC_BE,    UC_A,     UC_S,  UC_NS, UC_COUNT, UC_COUNT,
                                   UC_L,     UC_GE,    UC_LE, UC_G};
    return uc[cond];
}

unsigned lift_cond(struct lift *l, unsigned cond)
{
    const struct uop *u = lift_flag_setter(l);
    unsigned uc = lift_uc(cond), dst = lift_temp(l), op = UOP_COND;
    if (u && uc != UC_COUNT) {
        bool sub = (u->op >= UOP_SUB_R8 && u->op < UOP_XOR_R8) ||
                   (u->op >= UOP_CMP_R8 && u->op < UOP_TEST_R8);
        unsigned lg = (u->op - UOP_ADD_R8) & 3; /* all flag setters stand in fours */
        if (sub)
            op = UOP_COND_SUB8_B + UC_COUNT * lg + uc;
        else if (uc == UC_Z || uc == UC_NZ)
            op = (uc == UC_Z ? UOP_COND_Z8 : UOP_COND_NZ8) + lg;
        else if (uc == UC_S || uc == UC_NS)
            op = (uc == UC_S ? UOP_COND_S8 : UOP_COND_NS8) + lg;
    }
    lift_emit(l, op, dst, R_ZERO, R_ZERO, 0)->aux = (uint16_t)cond;
    return dst;
}

void lift_setcc(struct lift *l)
{
    lift_put(l, 0, lift_cond(l, l->in->opcode & 0xf));
}

void lift_cmov(struct lift *l)
{
    unsigned src = lift_get(l, 1), cond = lift_cond(l, l->in->opcode & 0xf);
    lift_emit(l, UOP_CMOV16 + lg_size(l->in->osize) - 1, LIFT_REG(&l->in->op[0]), src, cond, 0);
}

void lift_xlat(struct lift *l)
{
    unsigned t = lift_temp(l);
    lift_emit(l, UOP_ZX8, t, R_AX, R_ZERO, 0);
    lift_load_at(l, t, R_BX, t, 0, 1);
    lift_emit(l, UOP_MOV_R8, R_AX, t, R_ZERO, 0);
}
