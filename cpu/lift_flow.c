/* Lifters of stack operations and near control transfers. */
#include "cpu/block.h"
#include "cpu/helpers.h"
#include "cpu/int_helpers.h"
#include "cpu/lifters.h"

/* The stack. Its address size is that of SS (SDM 1 6.2.3). */

static unsigned code_mode(const struct lift *l)
{
    return l->key & KEY_CODE;
}

static unsigned stack_size(const struct lift *l)
{
    return code_mode(l) == ISA_64 ? 8 : l->key & KEY_STACK32 ? 4 : 2;
}

static bool stack_flat(const struct lift *l)
{
    return code_mode(l) == ISA_64 || ((l->key & KEY_FLAT_SS) && (l->key & KEY_STACK32));
}

/* Can the fast uops for pushes and pops of `size` bytes be used? */
static bool stack_fast(const struct lift *l, unsigned size)
{
    return stack_flat(l) && size == stack_size(l);
}

/* A load or store of `size` bytes at offset off from register `base` in SS. */
static void stack_access(struct lift *l, unsigned family, unsigned reg, unsigned base, int64_t off,
                         unsigned size)
{
    unsigned form = !stack_flat(l) ? FORM_S : code_mode(l) == ISA_64 ? FORM_B64 : FORM_B32;
    struct uop *u =
        lift_emit(l, family + FORM_COUNT * lg_size(size) + form, reg, base, R_ZERO, off);
    u->size = (uint8_t)size;
    u->seg = SEG_SS;
    u->asize = (uint8_t)stack_size(l);
}

static void stack_move(struct lift *l, int64_t by)
{
    lift_emit(l, UOP_ADD_IN8 + lg_size(stack_size(l)), R_SP, R_SP, R_ZERO, by);
}

static void emit_push(struct lift *l, unsigned reg, unsigned size)
{
    if (stack_fast(l, size)) {
        lift_emit(l, size == 8 ? UOP_PUSH64 : UOP_PUSH32, R_ZERO, reg, R_ZERO, 0)->size =
            (uint8_t)size;
        return;
    }
    stack_access(l, UOP_ST8_B64, reg, R_SP, -(int64_t)size, size);
    stack_move(l, -(int64_t)size);
}

void lift_push(struct lift *l)
{
    unsigned size = l->in->osize;
    if (l->in->op[0].where == W_I && stack_fast(l, size))
        lift_emit(l, size == 8 ? UOP_PUSHI64 : UOP_PUSHI32, R_ZERO, R_ZERO, R_ZERO,
                  (int64_t)l->in->imm);
    else
        emit_push(l, lift_get(l, 0), size);
}

void lift_pop(struct lift *l)
{
    const struct isa_opnd *o = &l->in->op[0];
    unsigned size = l->in->osize, t;
    if (o->where != W_M && stack_fast(l, size)) {
        lift_emit(l, size == 8 ? UOP_POP64 : UOP_POP32, LIFT_REG(o), R_ZERO, R_ZERO, 0);
        return;
    }
    t = lift_temp(l);
    stack_access(l, UOP_LDZ8_B64, t, R_SP, 0, size);
    if (o->where == W_M) {
        /* The address is computed with the new SP (SDM 2B POP). */
        lift_store(l, t, size);
        if (l->in->base == R_SP)
            l->out[l->count - 1].imm += size;
        stack_move(l, size);
    } else {
        stack_move(l, size);
        lift_put(l, 0, t);
    }
}

void lift_pusha(struct lift *l)
{
    lift_call(l, h_pusha);
}

void lift_popa(struct lift *l)
{
    lift_call(l, h_popa);
}

void lift_leave(struct lift *l)
{
    unsigned size = l->in->osize, t = lift_temp(l), lg = lg_size(stack_size(l));
    stack_access(l, UOP_LDZ8_B64, t, R_BP, 0, size);
    lift_emit(l, UOP_ADD_IN8 + lg, R_SP, R_BP, R_ZERO, size);
    lift_emit(l, UOP_MOV_R8 + lg_size(size), R_BP, t, R_ZERO, 0);
}

/* Near branches. A target is cut to the operand size, which is 64 bits in 64-bit mode. */

static bool limited(const struct lift *l)
{
    return code_mode(l) != ISA_64 && !(l->key & KEY_FLAT_CS);
}

/* Is the operand size the mode's own? Then the block's mask does the cut. */
static bool natural(const struct lift *l)
{
    return l->in->osize == 2u << code_mode(l);
}

/* From the block's first byte. */
static int64_t next_off(const struct lift *l)
{
    return (int64_t)l->ip_off + l->in->length;
}

static int64_t target_off(const struct lift *l)
{
    return next_off(l) + (int64_t)l->in->imm;
}

static void emit_jump_reg(struct lift *l, unsigned reg, unsigned size)
{
    struct uop *u = lift_emit(l, UOP_JMP_R, R_ZERO, reg, R_ZERO, 0);
    u->size = (uint8_t)size;
    u->aux = limited(l);
}

/* A register that holds the address `off` from the block's first byte, cut to the operand size. */
static unsigned emit_address(struct lift *l, int64_t off)
{
    unsigned t = lift_temp(l);
    lift_emit(l, UOP_ADD_IN64, t, R_IP, R_ZERO, off);
    if (l->in->osize < 8)
        lift_emit(l, l->in->osize == 2 ? UOP_ZX16 : UOP_ZX32, t, t, R_ZERO, 0);
    return t;
}

static void emit_target_check(struct lift *l)
{
    if (limited(l))
        lift_emit(l, UOP_TARGET, R_ZERO, R_ZERO, R_ZERO, 0)->imm2 = target_off(l);
}

static void emit_jump(struct lift *l)
{
    if (natural(l)) {
        lift_emit(l, UOP_JMP, R_ZERO, R_ZERO, R_ZERO, 0)->imm2 = target_off(l);
    } else {
        emit_target_check(l);
        emit_jump_reg(l, emit_address(l, target_off(l)), 4);
    }
}

void lift_jmp(struct lift *l)
{
    emit_jump(l);
}

void lift_jmp_ind(struct lift *l)
{
    unsigned r = lift_get(l, 0);
    if (limited(l))
        lift_emit(l, UOP_TARGET_R, R_ZERO, r, R_ZERO, 0);
    emit_jump_reg(l, r, l->in->osize);
}

void lift_call_near(struct lift *l)
{
    unsigned size = l->in->osize;
    emit_target_check(l);
    if (stack_fast(l, size) && natural(l) && !limited(l)) {
        lift_emit(l, size == 8 ? UOP_CALL64 : UOP_CALL32, R_ZERO, R_ZERO, R_ZERO, 0)->imm2 =
            target_off(l);
        return;
    }
    emit_push(l, emit_address(l, next_off(l)), size);
    emit_jump(l);
}

void lift_call_ind(struct lift *l)
{
    unsigned size = l->in->osize, r = lift_get(l, 0);
    if (limited(l))
        lift_emit(l, UOP_TARGET_R, R_ZERO, r, R_ZERO, 0);
    if (stack_fast(l, size) && natural(l) && !limited(l)) {
        lift_emit(l, size == 8 ? UOP_CALLR64 : UOP_CALLR32, R_ZERO, r, R_ZERO, 0);
        return;
    }
    unsigned to = r;
    if (r == R_SP) { /* the push moves it */
        to = lift_temp(l);
        lift_emit(l, UOP_MOV_R64, to, r, R_ZERO, 0);
    }
    emit_push(l, emit_address(l, next_off(l)), size);
    emit_jump_reg(l, to, size);
}

void lift_ret(struct lift *l)
{
    unsigned size = l->in->osize, t;
    int64_t extra = l->arg->n ? (uint16_t)l->in->imm : 0;
    if (stack_fast(l, size) && natural(l) && !limited(l)) {
        lift_emit(l, size == 8 ? UOP_RET64 : UOP_RET32, R_ZERO, R_ZERO, R_ZERO, extra);
        return;
    }
    t = lift_temp(l);
    stack_access(l, UOP_LDZ8_B64, t, R_SP, 0, size);
    if (limited(l))
        lift_emit(l, UOP_TARGET_R, R_ZERO, t, R_ZERO, 0);
    stack_move(l, size + extra);
    emit_jump_reg(l, t, size);
}

/* Jumps if register `cond` is (not) zero, or goes on behind. */
static void emit_jump_if(struct lift *l, unsigned cond, bool zero)
{
    if (natural(l)) {
        lift_emit(l, zero ? UOP_JZ : UOP_JNZ, R_ZERO, cond, R_ZERO, 0)->imm2 = target_off(l);
        return;
    }
    unsigned taken = emit_address(l, target_off(l)), go = lift_temp(l);
    lift_emit(l, UOP_ADD_IN64, go, R_IP, R_ZERO, next_off(l));
    if (zero) {
        lift_emit(l, UOP_CMOV64, taken, go, cond, 0);
        go = taken;
    } else {
        lift_emit(l, UOP_CMOV64, go, taken, cond, 0);
    }
    emit_jump_reg(l, go, 4);
}

/* Turns a CMP or TEST that stands just before into itself with its branch. */
static bool fuse(struct lift *l, unsigned uc)
{
    struct uop *u = l->count ? &l->out[l->count - 1] : NULL;
    if (!u || uc == UC_COUNT || u->op < UOP_CMP_R8 || u->op >= UOP_INC8)
        return false;
    bool test = u->op >= UOP_TEST_R8;
    unsigned variant = u->op - (test ? UOP_TEST_R8 : UOP_CMP_R8);
    u->op = (uint16_t)((test ? UOP_TESTJ_R8_B : UOP_CMPJ_R8_B) + UC_COUNT * variant + uc);
    u->insn = l->insn_index;
    u->ip = (uint16_t)l->ip_off;
    u->next = (uint16_t)next_off(l);
    u->imm2 = target_off(l);
    return true;
}

void lift_jcc(struct lift *l)
{
    unsigned cond = l->in->opcode & 0xf, uc = lift_uc(cond), op = UOP_JCC, lg;
    const struct uop *u;
    if (!natural(l)) {
        emit_jump_if(l, lift_cond(l, cond), false);
        return;
    }
    if (fuse(l, uc))
        return;
    u = lift_flag_setter(l);
    if (u && uc != UC_COUNT) {
        bool sub = (u->op >= UOP_SUB_R8 && u->op < UOP_XOR_R8) ||
                   (u->op >= UOP_CMP_R8 && u->op < UOP_TEST_R8);
        lg = (u->op - UOP_ADD_R8) & 3;
        if (sub)
            op = UOP_JCC_SUB8_B + UC_COUNT * lg + uc;
        else if (uc == UC_Z || uc == UC_NZ)
            op = (uc == UC_Z ? UOP_JCC_Z8 : UOP_JCC_NZ8) + lg;
        else if (uc == UC_S || uc == UC_NS)
            op = (uc == UC_S ? UOP_JCC_S8 : UOP_JCC_NS8) + lg;
    }
    struct uop *j = lift_emit(l, op, R_ZERO, R_ZERO, R_ZERO, 0);
    j->aux = (uint16_t)cond;
    j->imm2 = target_off(l);
}

/* LOOPNE, LOOPE, LOOP, JCXZ: on rCX of the address size. */
void lift_loop(struct lift *l)
{
    unsigned asize = l->in->asize, n = l->arg->n, cx = R_CX;
    if (n < 3) {
        emit_target_check(l);
        lift_emit(l, UOP_ADD_IN8 + lg_size(asize), R_CX, R_CX, R_ZERO, -1);
    }
    if (asize < 8) {
        cx = lift_temp(l);
        lift_emit(l, asize == 2 ? UOP_ZX16 : UOP_ZX32, cx, R_CX, R_ZERO, 0);
    }
    if (n < 2) {
        unsigned both = lift_temp(l), zf = lift_cond(l, n ? 4 : 5);
        lift_emit(l, UOP_MOV_R64, both, R_ZERO, R_ZERO, 0);
        lift_emit(l, UOP_CMOV64, both, cx, zf, 0);
        cx = both;
    }
    emit_jump_if(l, cx, n == 3);
}
