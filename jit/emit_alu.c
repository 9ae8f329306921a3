/* Emitters of moves and arithmetic on registers. */
#include "jit/emit.h"
#include "jit/vec.h"

#define LG(u, first) (((u)->op - (first)) & 3u)

static const struct flags_rec no_recipe = {.b = R_ZERO, .a = R_ZERO, .imm = true};

/* A uop's second source, cut to the operation's size. */
struct src {
    bool imm;
    uint8_t r;
    int64_t v;
};

static int64_t cut(int64_t v, unsigned size)
{
    return size == 8 ? v : sext((uint64_t)v, 8 * size);
}

/* Constants beyond 32 bits come in J_X1. */
static struct src source(const struct uop *u, bool imm, unsigned size)
{
    if (imm || u->b == R_ZERO)
        return (struct src){true, R_ZERO, imm ? cut(u->imm, size) : 0};
    return (struct src){false, u->b, 0};
}

/* op host, src. */
static void apply(struct emit *e, unsigned op, unsigned size, unsigned host, struct src s)
{
    if (s.imm && !x_fits32(s.v)) {
        x_mov_ri(&e->a, J_X1, (uint64_t)s.v);
        x_alu_rr(&e->a, op, size, host, J_X1);
    } else if (s.imm) {
        x_alu_ri(&e->a, op, size, host, s.v);
    } else if (s.r == R_IP) {
        e_get(e, J_X1, R_IP);
        x_alu_rr(&e->a, op, size, host, J_X1);
    } else if (e->home[s.r] != J_NONE) {
        x_alu_rr(&e->a, op, size, host, e->home[s.r]);
    } else {
        x_alu_rm(&e->a, op, size, host, e_slot(s.r));
    }
}

bool emit_nop(struct emit *e, const struct uop *u)
{
    return true;
}

bool emit_move(struct emit *e, const struct uop *u)
{
    unsigned lg = LG(u, UOP_MOV_R8), size = 1u << lg, d = e->home[u->dst];
    bool imm = u->op >= UOP_MOV_I8;
    e_write(e, u->dst);
    if (imm) {
        uint64_t v = (uint64_t)u->imm & (~0ull >> (64 - 8 * size));
        if (d != J_NONE && size >= 4) {
            x_mov_ri(&e->a, d, v);
        } else if (d != J_NONE) {
            x_mov_ri_small(&e->a, size, d, u->imm);
        } else if (size < 4) {
            x_store_i(&e->a, size, e_slot(u->dst), u->imm);
        } else if (x_fits32((int64_t)v)) {
            x_store_i(&e->a, 8, e_slot(u->dst), (int64_t)v);
        } else {
            x_mov_ri(&e->a, J_X0, v);
            x_store(&e->a, 8, e_slot(u->dst), J_X0);
        }
        return true;
    }
    if (d != J_NONE && u->a < R_ZERO && e->home[u->a] == J_NONE) {
        x_load(&e->a, size, d, e_slot(u->a));
        return true;
    }
    unsigned s = e_use(e, u->a, J_X0);
    if (d == J_NONE && size == 4) { /* the upper half becomes 0 */
        x_mov_rr(&e->a, 4, J_X0, s);
        s = J_X0;
    }
    if (size == 8 && d == s)
        return true;
    e_put(e, u->dst, size, s);
    return true;
}

/* Byte 1 in and out; zero and sign extension. */
bool emit_extend(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d, s;
    e_write(e, u->dst);
    s = e_use(e, u->a, J_X0);
    switch (u->op) {
    case UOP_EXTH:
        x_rorx(&e->a, 8, J_X0, s, 8);
        x_movzx(&e->a, 1, to, J_X0);
        break;
    case UOP_INSH:
        if (s != J_X0)
            x_mov_rr(&e->a, 8, J_X0, s);
        to = J_X1;
        s = e_use(e, u->dst, J_X1);
        x_rorx(&e->a, 8, to, s, 8);
        x_mov_rr(&e->a, 1, to, J_X0);
        x_rorx(&e->a, 8, to, to, 56);
        e_put(e, u->dst, 8, to);
        return true;
    case UOP_ZX8: x_movzx(&e->a, 1, to, s); break;
    case UOP_ZX16: x_movzx(&e->a, 2, to, s); break;
    case UOP_ZX32: x_mov_rr(&e->a, 4, to, s); break;
    case UOP_SX8_16:
        x_movsx(&e->a, 1, 4, J_X0, s);
        e_put(e, u->dst, 2, J_X0);
        return true;
    case UOP_SX8_32: x_movsx(&e->a, 1, 4, to, s); break;
    case UOP_SX8_64: x_movsx(&e->a, 1, 8, to, s); break;
    case UOP_SX16_32: x_movsx(&e->a, 2, 4, to, s); break;
    case UOP_SX16_64: x_movsx(&e->a, 2, 8, to, s); break;
    default: x_movsx(&e->a, 4, 8, to, s);
    }
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    return true;
}

/* host = a + (b << scale) + imm, cut to `size` 4 or 8. */
static void address(struct emit *e, unsigned size, unsigned host, const struct uop *u)
{
    unsigned a = X_NONE, b = X_NONE;
    int64_t imm = u->imm;
    if (u->a == R_IP) {
        x_load(&e->a, 8, J_X0, E_CPU(jit.page));
        imm += e_page_offset(e, u);
        a = J_X0;
    } else if (u->a != R_ZERO) {
        a = e_use(e, u->a, J_X0);
    }
    if (u->b != R_ZERO)
        b = e_use(e, u->b, J_X1);
    if (!x_fits32(imm)) {
        x_mov_ri(&e->a, host == a || host == b ? (a == J_X0 ? J_X1 : J_X0) : host, (uint64_t)imm);
        return; /* the lifter makes none with a register */
    }
    if (a == X_NONE && b == X_NONE)
        x_mov_ri(&e->a, host, size == 4 ? (uint32_t)imm : (uint64_t)imm);
    else if (b == X_NONE)
        x_lea(&e->a, size, host, xm(a, (int32_t)imm));
    else
        x_lea(&e->a, size, host,
              xmi(a, b, a == X_NONE && b == X_NONE ? 0 : u->scale, (int32_t)imm));
}

bool emit_lea(struct emit *e, const struct uop *u)
{
    unsigned d = e->home[u->dst], to = d == J_NONE || u->op == UOP_LEA16 ? J_X0 : d;
    if (!x_fits32(u->imm) && (u->a != R_ZERO || u->b != R_ZERO))
        return false;
    if (x87_spares(e, u))
        return true;
    e_write(e, u->dst);
    address(e, u->op == UOP_LEA64 ? 8 : 4, to, u);
    if (u->op == UOP_LEA16)
        e_put(e, u->dst, 2, J_X0);
    else if (d == J_NONE)
        e_put(e, u->dst, 8, J_X0);
    return true;
}

bool emit_bswap(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_BSWAP32 ? 4 : 8, d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    e_write(e, u->dst);
    unsigned s = e_use(e, u->a, J_X0);
    if (s != to || size == 4)
        x_mov_rr(&e->a, size, to, s);
    x_op(&e->a, 0, size, 0x0fc8 | (to & 7), 0, 0, to, false);
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    return true;
}

/* dst = a op src on the host, whatever lives where. */
static void binary(struct emit *e, unsigned op, unsigned size, const struct uop *u, struct src s)
{
    unsigned d = e->home[u->dst];
    bool same = !s.imm && s.r == u->dst && u->dst != u->a;
    if (d == J_NONE) {
        if (u->dst == u->a && size != 4 && !(s.imm && !x_fits32(s.v))) {
            if (s.imm)
                x_alu_mi(&e->a, op, size, e_slot(u->dst), s.v);
            else
                x_alu_mr(&e->a, op, size, e_slot(u->dst), e_use(e, s.r, J_X1));
            return;
        }
        e_get(e, J_X0, u->a);
        apply(e, op, size, J_X0, s);
        e_put(e, u->dst, size, J_X0);
    } else if (u->dst == u->a) {
        apply(e, op, size, d, s);
    } else if (same && op == XA_SUB && u->a == R_ZERO) {
        x_rr(&e->a, size, size == 1 ? 0xf6 : 0xf7, 3, d); /* neg */
    } else if (same && op != XA_SUB && op != XA_SBB && u->a != R_ZERO && u->a != R_IP) {
        apply(e, op, size, d, (struct src){false, u->a, 0});
    } else if (same || size < 4) {
        e_get(e, J_X0, u->a);
        apply(e, op, size, J_X0, s);
        e_put(e, u->dst, size, J_X0);
    } else {
        e_get(e, d, u->a);
        apply(e, op, size, d, s);
    }
}

/* Without flags: forms that leave EFLAGS alone. */
static bool quiet(struct emit *e, unsigned op, unsigned size, const struct uop *u, struct src s)
{
    unsigned d = e->home[u->dst], a;
    if (d == J_NONE || size < 4)
        return false;
    if (op == XA_XOR && s.imm && s.v == -1 && u->a == u->dst) {
        e_write(e, u->dst);
        x_rr(&e->a, size, 0xf7, 2, d); /* not */
        return true;
    }
    if (!(op == XA_ADD || (op == XA_SUB && s.imm && s.v != INT32_MIN)) || u->a == R_ZERO)
        return false;
    if (s.imm && !x_fits32(s.v))
        return false;
    if (!s.imm && (s.r == R_IP || e->home[s.r] == J_NONE))
        return false;
    e_write(e, u->dst);
    if (u->a == R_IP) {
        int64_t v = e_page_offset(e, u) + s.v;
        x_load(&e->a, 8, J_X0, E_CPU(jit.page));
        if (s.imm)
            x_lea(&e->a, size, d, xm(J_X0, (int32_t)v));
        else
            x_lea(&e->a, size, d, xmi(J_X0, e->home[s.r], 0, (int32_t)v));
        return true;
    }
    a = e_use(e, u->a, J_X0);
    if (s.imm)
        x_lea(&e->a, size, d, xm(a, (int32_t)(op == XA_SUB ? -s.v : s.v)));
    else
        x_lea(&e->a, size, d, xmi(a, e->home[s.r], 0, 0));
    return true;
}

bool emit_alu(struct emit *e, const struct uop *u)
{
    unsigned v = u->op - UOP_ADD_R8, op = v / 16, size = 1u << (v & 3);
    bool flags = !(v & UOP_NOFLAGS), carry = op == XA_ADC || op == XA_SBB;
    struct src s = source(u, v & UOP_IMM, size);
    if (!flags && !carry && quiet(e, op, size, u, s))
        return true;
    if (carry)
        e_flags_in(e);
    else
        e_clobber(e);
    if (carry && !flags)
        e_clobber(e);
    e_write(e, u->dst);
    binary(e, op, size, u, s);
    if (!flags)
        return true;
    struct flags_rec rec = no_recipe;
    bool lasts = s.imm ? x_fits32(s.v) : s.r != u->dst;
    rec = (struct flags_rec){
        .lg = (uint8_t)(v & 3), .a = u->dst, .b = s.r, .imm = s.imm, .v = (int32_t)s.v};
    if (op == XA_AND || op == XA_OR || op == XA_XOR) {
        rec.kind = REC_LOGIC;
        rec.imm = true;
        rec.v = 0;
    } else if (lasts && op == XA_ADD) {
        rec.kind = REC_ADD;
    } else if (lasts && op == XA_SUB) {
        rec.kind = REC_SUB;
    } else {
        rec = no_recipe;
    }
    e_flags_out(e, rec);
    return true;
}

/* CMP and TEST, also for the fused forms: flags of a op src. */
void emit_flags_of(struct emit *e, const struct uop *u, bool test, bool imm, unsigned lg)
{
    unsigned size = 1u << lg, a;
    struct src s = source(u, imm, size);
    bool wide = s.imm && !x_fits32(s.v);
    e_clobber(e);
    if (!test && u->a < R_ZERO && e->home[u->a] == J_NONE && !wide &&
        (s.imm || (s.r < R_ZERO && e->home[s.r] != J_NONE))) {
        if (s.imm)
            x_alu_mi(&e->a, XA_CMP, size, e_slot(u->a), s.v);
        else
            x_alu_mr(&e->a, XA_CMP, size, e_slot(u->a), e->home[s.r]);
    } else {
        a = e_use(e, u->a, J_X0);
        if (!test)
            apply(e, XA_CMP, size, a, s);
        else if (wide)
            x_mov_ri(&e->a, J_X1, (uint64_t)s.v), x_test_rr(&e->a, size, a, J_X1);
        else if (s.imm)
            x_test_ri(&e->a, size, a, s.v);
        else
            x_test_rr(&e->a, size, a, e_use(e, s.r, J_X1));
    }
    struct flags_rec rec = {.kind = wide   ? REC_NONE
                                    : test ? REC_TEST
                                           : REC_CMP,
                            .lg = (uint8_t)lg,
                            .a = u->a,
                            .b = s.r,
                            .imm = s.imm,
                            .v = (int32_t)s.v};
    e_flags_out(e, rec);
}

bool emit_compare(struct emit *e, const struct uop *u)
{
    bool test = u->op >= UOP_TEST_R8;
    unsigned v = u->op - (test ? UOP_TEST_R8 : UOP_CMP_R8);
    emit_flags_of(e, u, test, v & UOP_IMM, v & 3);
    return true;
}

/* INC and DEC keep CF, which is noted apart at once. */
bool emit_step(struct emit *e, const struct uop *u)
{
    unsigned size = 1u << LG(u, UOP_INC8), d = e->home[u->dst], digit = u->op >= UOP_DEC8;
    unsigned opcode = size == 1 ? 0xfe : 0xff;
    struct flags_rec rec = no_recipe;
    if (u->dst != u->a)
        return false;
    if (e->need[e->i + 1]) {
        e_flags_in(e);
        rec = (struct flags_rec){.kind = digit ? REC_DEC : REC_INC,
                                 .lg = (uint8_t)LG(u, UOP_INC8),
                                 .a = u->dst,
                                 .imm = true};
        e->fl.rec.kind = REC_NONE;
        x_rm(&e->a, 1, 0x0f90 | XC_B, 0, E_CPU(jit.carry)); /* setc */
    }
    e_write(e, u->dst);
    if (d != J_NONE) {
        x_rr(&e->a, size, opcode, digit, d);
    } else if (size != 4) {
        x_rm(&e->a, size, opcode, digit, e_slot(u->dst));
    } else {
        e_get(e, J_X0, u->dst);
        x_rr(&e->a, 4, opcode, digit, J_X0);
        e_put(e, u->dst, 8, J_X0);
    }
    e_flags_out(e, rec);
    return true;
}

/* The instruction itself, on register or memory. */
static void shift_host(struct emit *e, unsigned op, unsigned size, const struct uop *u, bool imm)
{
    unsigned d = e->home[u->dst], to = d == J_NONE || (size < 4 && u->dst != u->a) ? J_X0 : d;
    if (to == J_X0 || u->dst != u->a)
        e_get(e, to, u->a);
    if (imm)
        x_shift_ri(&e->a, op, size, to, (unsigned)u->imm & (size == 8 ? 63 : 31));
    else
        x_shift_cl(&e->a, op, size, to);
    if (to == J_X0)
        e_put(e, u->dst, size, J_X0);
}

/* Shifts by a constant set all flags; all others keep some or, for a count of 0, all. */
bool emit_shift(struct emit *e, const struct uop *u)
{
    static const uint8_t ops[] = {XS_ROL, XS_ROR, XS_RCL, XS_RCR, XS_SHL, XS_SHR, XS_SAR};
    unsigned v = u->op - UOP_ROL_R8, op = ops[v / 16], size = 1u << (v & 3), d = e->home[u->dst];
    bool imm = v & UOP_IMM, flags = !(v & UOP_NOFLAGS), through = op == XS_RCL || op == XS_RCR;
    unsigned n = (unsigned)u->imm & (size == 8 ? 63 : 31);
    if (!imm && (u->b != R_CX || (u->dst == R_CX && u->a != R_CX)))
        return false;
    if (flags && op < XS_SHL && imm && n != 1 && !u->aux)
        return false; /* OF is the memory form's */
    if (imm && !n)
        return false;
    if (!flags && !through && size >= 4 && u->a < R_ZERO) {
        unsigned to = d == J_NONE ? J_X0 : d;
        if (op == XS_ROR && imm) {
            e_write(e, u->dst);
            x_rorx(&e->a, size, to, e_use(e, u->a, J_X0), n);
        } else if (op >= XS_SHL && !imm) {
            e_write(e, u->dst);
            x_shiftx(&e->a, op, size, to, e_use(e, u->a, J_X0), RCX);
        } else {
            goto native;
        }
        if (d == J_NONE)
            e_put(e, u->dst, 8, J_X0);
        return true;
    }
native:
    if (through || (flags && !(imm && op >= XS_SHL) && e->need[e->i + 1]))
        e_flags_in(e);
    if (!flags)
        e_clobber(e);
    e_write(e, u->dst);
    struct flags_rec rec = no_recipe;
    if (flags && imm && op >= XS_SHL && e->need[e->i + 1] && u->a < R_ZERO)
        rec = (struct flags_rec){.kind = REC_REDO,
                                 .lg = (uint8_t)(v & 3),
                                 .a = (uint8_t)e_keep(e, R_K0, u->a),
                                 .redo = (uint8_t)op,
                                 .imm = true,
                                 .v = (int32_t)n};
    shift_host(e, op, size, u, imm);
    if (flags)
        e_flags_out(e, rec);
    else
        e->fl.host = false;
    return true;
}

/* What the flags of IMUL can be made of again. */
static struct flags_rec multiplied(struct emit *e, const struct uop *u, struct src s, unsigned lg)
{
    struct flags_rec r = {.kind = REC_REDO, .lg = (uint8_t)lg, .redo = REDO_IMUL};
    r.a = u->a == u->dst ? (uint8_t)e_keep(e, R_K0, u->a) : u->a;
    r.imm = s.imm;
    r.v = (int32_t)s.v;
    r.b = s.r == u->dst ? (uint8_t)e_keep(e, R_K1, s.r) : s.r;
    return r;
}

bool emit_imul(struct emit *e, const struct uop *u)
{
    unsigned v = u->op - UOP_IMUL_R8, size = 1u << (v & 3), d = e->home[u->dst], to;
    bool imm = v & UOP_IMM, flags = !(v & UOP_NOFLAGS);
    struct src s = source(u, imm, size);
    if (size == 1 || (s.imm && !x_fits32(s.v)) || s.r == R_IP)
        return false;
    e_clobber(e);
    e_write(e, u->dst);
    struct flags_rec rec = no_recipe;
    if (flags && e->need[e->i + 1] && u->a < R_ZERO)
        rec = multiplied(e, u, s, v & 3);
    if (s.imm) {
        to = d == J_NONE || size == 2 ? J_X0 : d;
        unsigned a = e_use(e, u->a, J_X0);
        x_rr(&e->a, size, 0x69, to, a);
        x_imm(&e->a, size, s.v);
        if (to == J_X0)
            e_put(e, u->dst, size, J_X0);
    } else {
        to = d != J_NONE && u->dst == u->a ? d : J_X0;
        if (to == J_X0)
            e_get(e, J_X0, u->a);
        if (e->home[s.r] != J_NONE)
            x_rr(&e->a, size, 0x0faf, to, e->home[s.r]);
        else
            x_rm(&e->a, size, 0x0faf, to, e_slot(s.r));
        if (to == J_X0)
            e_put(e, u->dst, size, J_X0);
    }
    if (flags)
        e_flags_out(e, rec);
    return true;
}

/* CF alone. */
bool emit_bit_test(struct emit *e, const struct uop *u)
{
    unsigned v = u->op - UOP_BT_R8, size = 1u << (v & 3), a;
    bool imm = v & UOP_IMM;
    if (size == 1)
        return false;
    if (e->need[e->i + 1])
        e_flags_in(e);
    a = e_use(e, u->a, J_X0);
    if (imm) {
        x_rr(&e->a, size, 0x0fba, 4, a);
        x_u8(&e->a, (unsigned)u->imm & (8 * size - 1));
    } else {
        x_rr(&e->a, size, 0x0fa3, e_use(e, u->b, J_X1), a);
    }
    e_flags_out(e, no_recipe);
    return true;
}

/* Is the uop after this one in its instruction, with the condition in b? */
static bool followed_by_cmov(const struct emit *e, const struct uop *u)
{
    return e->i + 1 < e->n && u[1].insn == u->insn && u[1].op >= UOP_CMOV16 &&
           u[1].op <= UOP_CMOV64 && u[1].b == u->dst && u[1].a != u->dst;
}

/* A condition into a register; with the CMOV that follows, as one. */
bool emit_cond(struct emit *e, const struct uop *u)
{
    unsigned cond = u->aux, d = e->home[u->dst], to = d == J_NONE ? J_X0 : d;
    e_flags_in(e);
    if (followed_by_cmov(e, u) && u[1].dst != u->dst &&
        (e->i + 2 >= e->n || u[2].insn != u->insn)) {
        const struct uop *m = u + 1;
        unsigned size = m->op == UOP_CMOV16 ? 2 : m->op == UOP_CMOV32 ? 4 : 8;
        e->i++;
        e_write(e, m->dst);
        d = e->home[m->dst];
        to = d == J_NONE ? J_X0 : d;
        if (d == J_NONE)
            e_get(e, J_X0, m->dst);
        if (e->home[m->a] != J_NONE)
            x_cmov_rr(&e->a, size, cond, to, e->home[m->a]);
        else
            x_rm(&e->a, size, 0x0f40 | cond, to, e_slot(m->a));
        if (d == J_NONE)
            e_put(e, m->dst, size, J_X0);
        return true;
    }
    e_write(e, u->dst);
    x_setcc(&e->a, cond, to);
    x_movzx(&e->a, 1, to, to);
    if (d == J_NONE)
        e_put(e, u->dst, 8, to);
    return true;
}

bool emit_cmov(struct emit *e, const struct uop *u)
{
    unsigned size = u->op == UOP_CMOV16 ? 2 : u->op == UOP_CMOV32 ? 4 : 8;
    unsigned d = e->home[u->dst], to = d == J_NONE ? J_X0 : d, b;
    e_clobber(e);
    e_write(e, u->dst);
    b = e_use(e, u->b, J_X1);
    x_test_rr(&e->a, 8, b, b);
    if (d == J_NONE)
        e_get(e, J_X0, u->dst);
    if (u->a < R_ZERO && e->home[u->a] == J_NONE) {
        x_rm(&e->a, size, 0x0f40 | XC_NZ, to, e_slot(u->a));
    } else {
        unsigned a = e_use(e, u->a, J_X1);
        x_cmov_rr(&e->a, size, XC_NZ, to, a);
    }
    if (d == J_NONE)
        e_put(e, u->dst, size, J_X0);
    return true;
}
