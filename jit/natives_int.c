/* Integer instructions that the interpreter calls C for, as themselves.
 *
 * Flags that the SDM leaves undefined are the host's here, and Intel's chips' in the helpers.
 *
 * A division first looks whether the quotient fits, as #DE is the guest's; what does not surely
 * fit goes to the helper, which finds out. */
#include "cpu/int_helpers.h"
#include "cpu/lift.h"
#include "jit/emit.h"

static const struct flags_rec no_recipe = {.b = R_ZERO, .a = R_ZERO, .imm = true};

/* `op reg, r` where r may be in memory. */
static void op_guest(struct emit *e, unsigned prefix, unsigned size, unsigned op, unsigned reg,
                     unsigned r)
{
    if (e->home[r] != J_NONE)
        x_rr_p(&e->a, prefix, size, op, reg, e->home[r]);
    else
        x_rm_p(&e->a, prefix, size, op, reg, e_slot(r));
}

static bool plain(unsigned r)
{
    return r < R_ZERO;
}

/* All flags are about to be new, and nobody has looked at the old ones. */
static void kill(struct emit *e)
{
    e->fl.host = e->before.host = false;
    e->fl.rec.kind = REC_NONE;
}

/* Multiplication and division. */

static bool multiply(struct emit *e, const struct uop *u, unsigned digit)
{
    if (!plain(u->a))
        return false;
    kill(e);
    op_guest(e, 0, u->size, u->size == 1 ? 0xf6 : 0xf7, digit, u->a);
    e_flags_out(e, no_recipe);
    return true;
}

static bool mul(struct emit *e, const struct uop *u)
{
    return multiply(e, u, 4);
}

static bool imul(struct emit *e, const struct uop *u)
{
    return multiply(e, u, 5);
}

/* The flags stay what they were: the helper leaves them, and processors differ. */
static struct stub *divide_begin(struct emit *e, const struct uop *u)
{
    e_clobber(e);
    e_write(e, R_AX);
    if (u->size > 1)
        e_write(e, R_DX);
    return e_stub(e, STUB_HELP, u);
}

static void divide_end(struct emit *e, const struct uop *u, struct stub *s, unsigned digit)
{
    op_guest(e, 0, u->size, u->size == 1 ? 0xf6 : 0xf7, digit, u->a);
    s->back = e->a.at;
}

/* The quotient fits if the dividend's upper half is less than the divisor. */
static bool div(struct emit *e, const struct uop *u)
{
    if (!plain(u->a))
        return false;
    struct stub *s = divide_begin(e, u);
    unsigned high = RDX;
    if (u->size == 1)
        x_rorx(&e->a, 8, high = J_X0, RAX, 8);
    op_guest(e, 0, u->size, u->size == 1 ? 0x3a : 0x3b, high, u->a); /* cmp */
    e_stub_jcc(e, s, XC_AE);
    divide_end(e, u, s, 6);
    return true;
}

/* Here the dividend must be its lower half, extended, and the divisor neither 0 nor -1. */
static bool idiv(struct emit *e, const struct uop *u)
{
    unsigned size = u->size, wide = size < 4 ? 4 : size;
    if (!plain(u->a))
        return false;
    struct stub *s = divide_begin(e, u);
    if (size == 1) {
        x_movsx(&e->a, 1, 4, J_X0, RAX);
        x_alu_rr(&e->a, XA_CMP, 2, J_X0, RAX);
    } else {
        if (size == 2)
            x_movsx(&e->a, 2, 4, J_X0, RAX);
        else
            x_mov_rr(&e->a, size, J_X0, RAX);
        x_shift_ri(&e->a, XS_SAR, wide, J_X0, 8 * wide - 1);
        x_alu_rr(&e->a, XA_CMP, size, J_X0, RDX);
    }
    e_stub_jcc(e, s, XC_NZ);
    e_get(e, J_X0, u->a);
    x_alu_ri(&e->a, XA_ADD, size, J_X0, 1);
    x_alu_ri(&e->a, XA_CMP, size, J_X0, 1);
    e_stub_jcc(e, s, XC_BE);
    divide_end(e, u, s, 7);
    return true;
}

/* Double shifts. The count is RCX, or a constant that an earlier uop of the instruction has put
 * into u->b. */

static const struct uop *constant_of(const struct emit *e, const struct uop *u, unsigned r)
{
    for (const struct uop *p = u; p > e->b->uops && p[-1].insn == u->insn; p--)
        if (p[-1].dst == r && p[-1].op >= UOP_MOV_I8 && p[-1].op <= UOP_MOV_I64)
            return &p[-1];
    return NULL;
}

static bool double_shift(struct emit *e, const struct uop *u, unsigned op)
{
    const struct uop *k = u->b == R_CX ? NULL : constant_of(e, u, u->b);
    unsigned n = k ? (unsigned)k->imm & (u->size == 8 ? 63 : 31) : 0, d = e->home[u->dst], to;
    if (u->size == 2 || !plain(u->a) || !plain(u->dst) || (!k && u->b != R_CX) ||
        (!k && u->dst == R_CX))
        return false;
    if (k && !n)
        return true;
    if (k) {
        kill(e);
    } else {
        if (e->need[e->i + 1])
            e_flags_in(e);
        e_write(e, u->dst);
    }
    to = d == J_NONE ? J_X0 : d;
    if (d == J_NONE)
        e_get(e, J_X0, u->dst);
    unsigned from = e_use(e, u->a, J_X1);
    if (k) {
        x_rr(&e->a, u->size, op, from, to);
        x_u8(&e->a, n);
    } else {
        x_rr(&e->a, u->size, op + 1, from, to);
    }
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_flags_out(e, no_recipe);
    return true;
}

static bool shld(struct emit *e, const struct uop *u)
{
    return double_shift(e, u, 0x0fa4);
}

static bool shrd(struct emit *e, const struct uop *u)
{
    return double_shift(e, u, 0x0fac);
}

/* Bits. */

/* BTS, BTR, BTC on a register: CF changes alone. */
static bool bit(struct emit *e, const struct uop *u)
{
    static const uint8_t digits[] = {0, 5, 6, 7};
    const struct uop *k = constant_of(e, u, u->b);
    unsigned digit = digits[u->imm & 3], d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    if (!plain(u->dst) || !plain(u->b) || u->size == 1)
        return false;
    if (e->need[e->i + 1])
        e_flags_in(e);
    e_write(e, u->dst);
    if (d == J_NONE)
        e_get(e, J_X0, u->dst);
    if (k) {
        x_rr(&e->a, u->size, 0x0fba, digit, to);
        x_u8(&e->a, (unsigned)k->imm & (8 * u->size - 1));
    } else {
        x_rr(&e->a, u->size, 0x0f83 | digit << 3, e_use(e, u->b, J_X1), to);
    }
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_flags_out(e, no_recipe);
    return true;
}

/* BSF, BSR (the destination stays if the source is 0), TZCNT, LZCNT, POPCNT. */
static bool count_bits(struct emit *e, const struct uop *u)
{
    static const struct {
        uint8_t prefix, op, feature;
    } kinds[] = {{0, 0xbc, FEAT_BASE},
                 {0, 0xbd, FEAT_BASE},
                 {0xf3, 0xbc, FEAT_BMI1},
                 {0xf3, 0xbd, FEAT_LZCNT},
                 {0xf3, 0xb8, FEAT_POPCNT}};
    unsigned d = e->home[u->dst], to, size = u->size;
    if (!plain(u->a) || !plain(u->dst) || size == 1 || !isa_has(&e->host, kinds[u->imm].feature))
        return false;
    kill(e);
    if (u->imm < 2) {
        /* 64 bits are moved for 32 so that the upper half stays, too */
        op_guest(e, 0, size, 0x0f00u | kinds[u->imm].op, J_X0, u->a);
        to = d == J_NONE ? J_X1 : d;
        if (d == J_NONE)
            e_get(e, J_X1, u->dst);
        x_cmov_rr(&e->a, size == 2 ? 2 : 8, XC_NZ, to, J_X0);
        if (d == J_NONE)
            e_put(e, u->dst, 8, to);
    } else {
        to = d == J_NONE ? J_X0 : d;
        op_guest(e, kinds[u->imm].prefix, size, 0x0f00u | kinds[u->imm].op, to, u->a);
        if (d == J_NONE)
            e_put(e, u->dst, size == 2 ? 2 : 8, to);
    }
    e_flags_out(e, no_recipe);
    return true;
}

static bool crc32(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d, size = u->size;
    if (!plain(u->a) || !plain(u->dst) || !isa_has(&e->host, FEAT_SSE42))
        return false;
    e_write(e, u->dst);
    if (d == J_NONE)
        e_get(e, J_X0, u->dst);
    unsigned from = e_use(e, u->a, J_X1);
    x_op(&e->a, 0xf2, size, size == 1 ? 0x0f38f0 : 0x0f38f1, to, 0, from, size == 1 && from >= 4);
    x_u8(&e->a, 0xc0 | (to & 7) << 3 | (from & 7));
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    return true;
}

/* BMI. Register numbers by operand of the encoding; those in memory go through scratch. */

static bool bmi_ok(const struct emit *e, const struct uop *u, unsigned feature)
{
    return (u->size == 4 || u->size == 8) && plain(u->a) && u->b <= R_ZERO && plain(u->dst) &&
           isa_has(&e->host, feature);
}

/* dst = op(rm, vvvv): vvvv is u->b, or u->a if `swapped`. */
static bool bmi(struct emit *e, const struct uop *u, unsigned pp, unsigned op, bool swapped,
                bool flags)
{
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    if (!bmi_ok(e, u, FEAT_BMI2) || !bmi_ok(e, u, FEAT_BMI1) || !plain(u->b))
        return false;
    if (flags)
        kill(e);
    else
        e_write(e, u->dst);
    unsigned v = e_use(e, swapped ? u->a : u->b, J_X1), r = swapped ? u->b : u->a;
    if (e->home[r] != J_NONE)
        x_vex_rr(&e->a, 2, pp, u->size == 8, 0, op, to, v, e->home[r]);
    else
        x_vex_rm(&e->a, 2, pp, u->size == 8, 0, op, to, v, e_slot(r));
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    if (flags)
        e_flags_out(e, no_recipe);
    return true;
}

static bool andn(struct emit *e, const struct uop *u)
{
    return bmi(e, u, 0, 0xf2, true, true);
}

static bool bextr(struct emit *e, const struct uop *u)
{
    return bmi(e, u, 0, 0xf7, false, true);
}

static bool bzhi(struct emit *e, const struct uop *u)
{
    return bmi(e, u, 0, 0xf5, false, true);
}

static bool pdep(struct emit *e, const struct uop *u)
{
    return bmi(e, u, 3, 0xf5, true, false);
}

static bool pext(struct emit *e, const struct uop *u)
{
    return bmi(e, u, 2, 0xf5, true, false);
}

static bool shiftx(struct emit *e, const struct uop *u)
{
    return bmi(e, u, u->imm == SH_SHL ? 1 : u->imm == SH_SHR ? 3 : 2, 0xf7, false, false);
}

/* BLSR, BLSMSK, BLSI: the destination is VEX.vvvv. */
static bool bmi1(struct emit *e, const struct uop *u)
{
    static const uint8_t digits[] = {1, 2, 3};
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    if (!bmi_ok(e, u, FEAT_BMI1))
        return false;
    kill(e);
    x_vex_rr(&e->a, 2, 0, u->size == 8, 0, 0xf3, digits[u->imm], to, e_use(e, u->a, J_X1));
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_flags_out(e, no_recipe);
    return true;
}

static bool mulx(struct emit *e, const struct uop *u)
{
    unsigned high = e->home[u->dst], low = e->home[u->b];
    if (!bmi_ok(e, u, FEAT_BMI2) || !plain(u->b))
        return false;
    e_write(e, u->dst);
    e_write(e, u->b);
    unsigned from = e_use(e, u->a, J_X1);
    x_vex_rr(&e->a, 2, 3, u->size == 8, 0, 0xf6, high == J_NONE ? J_X0 : high,
             low == J_NONE ? J_X1 : low, from);
    if (low == J_NONE)
        e_put(e, u->b, 8, J_X1);
    if (high == J_NONE)
        e_put(e, u->dst, 8, J_X0);
    return true;
}

static bool adx(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    if (!bmi_ok(e, u, FEAT_ADX))
        return false;
    e_flags_in(e);
    e_write(e, u->dst);
    if (d == J_NONE)
        e_get(e, J_X0, u->dst);
    op_guest(e, u->imm ? 0xf3 : 0x66, u->size, 0x0f38f6, to, u->a);
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    e_flags_out(e, no_recipe);
    return true;
}

/* Flags by themselves. */

static bool sahf(struct emit *e, const struct uop *u)
{
    if (e->need[e->i + 1])
        e_flags_in(e); /* OF stays */
    x_u8(&e->a, 0x9e);
    e_flags_out(e, no_recipe);
    return true;
}

static bool lahf(struct emit *e, const struct uop *u)
{
    e_flags_in(e);
    e_write(e, R_AX);
    x_u8(&e->a, 0x9f);
    return true;
}

static bool flagop(struct emit *e, const struct uop *u)
{
    static const uint8_t opcodes[] = {[FLAG_CLC] = 0xf8, [FLAG_STC] = 0xf9, [FLAG_CMC] = 0xf5};
    struct xmem second = E_CPU(s.rflags); /* the byte that has DF */
    second.disp++;
    if (u->imm <= FLAG_CMC) {
        if (u->imm == FLAG_CMC || e->need[e->i + 1])
            e_flags_in(e);
        x_u8(&e->a, opcodes[u->imm]);
        e_flags_out(e, no_recipe);
        return true;
    }
    e_clobber(e);
    if (u->imm == FLAG_CLD)
        x_alu_mi(&e->a, XA_AND, 1, second, (int8_t) ~(EF_DF >> 8));
    else
        x_alu_mi(&e->a, XA_OR, 1, second, EF_DF >> 8);
    return true;
}

/* EFLAGS stay as they are: DF becomes 0 or -1 by a shift that has no flags. */
static bool string_step(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], lg = lg_size((unsigned)u->imm), width = u->asize;
    int32_t by = (int32_t)u->imm;
    if (d == J_NONE)
        return false;
    e_write(e, u->dst);
    x_load(&e->a, 8, J_X0, E_CPU(s.rflags));
    x_rorx(&e->a, 8, J_X0, J_X0, 11); /* DF comes to be the highest bit */
    x_mov_ri(&e->a, J_X1, 63);
    x_shiftx(&e->a, XS_SAR, 8, J_X0, J_X0, J_X1);
    if (lg == 3) {
        x_lea(&e->a, 8, d, xmi(d, J_X0, 3, by));
        x_lea(&e->a, width, d, xmi(d, J_X0, 3, 0));
    } else {
        x_lea(&e->a, width, d, xmi(d, J_X0, lg + 1, by));
    }
    return true;
}

static bool code_immediate(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X1 : d;
    e_write(e, u->dst);
    x_mov_ri(&e->a, J_X0, (uint64_t)u->imm);
    x_load(&e->a, u->size, to, xm(J_X0, 0));
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    return true;
}

const struct jit_native jit_natives_int[] = {
    {q_mul, mul},
    {q_imul, imul},
    {h_div, div},
    {h_idiv, idiv},
    {q_shld, shld},
    {q_shrd, shrd},
    {q_bit, bit},
    {q_bsf, count_bits},
    {q_crc32, crc32},
    {q_andn, andn},
    {q_bextr, bextr},
    {q_bzhi, bzhi},
    {q_pdep, pdep},
    {q_pext, pext},
    {q_shiftx, shiftx},
    {q_bmi1, bmi1},
    {q_mulx, mulx},
    {q_adx, adx},
    {q_sahf, sahf},
    {q_lahf, lahf},
    {q_flagop, flagop},
    {q_string_step, string_step},
    {q_code_immediate, code_immediate},
    {NULL, NULL},
};
