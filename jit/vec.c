/* Vector instructions run as themselves.
 *
 * The guest's XMM and YMM registers live in the host's of the same numbers, and the guest's MXCSR
 * in the host's, while c->jit.vec_live says so. A block with vector instructions looks at the flag
 * before the first of them and, if it must, loads the registers (STUB_VEC). Whatever calls C or
 * leaves generated code stores them back first (the thunks). So a loop that computes pays nothing,
 * and a block without vector instructions nothing either.
 *
 * What is encoded again comes from the instruction's row (VEC_ROW): opcode, prefix, W; the
 * registers are the uop's. A memory operand is loaded by a uop of its own into VEC_T0; that uop's
 * check gives a host address, and the instruction takes its operand from there. The host's
 * alignment is the guest's, as pages are.
 *
 * Floating point is the host's own: both follow IEEE 754 and the SDM's rules for NaNs, and the
 * interpreter's arithmetic is held against a processor in its tests. Exceptions are only recorded:
 * with one unmasked in MXCSR the block is interpreted. Reciprocals (RCPPS, RSQRTPS), where
 * processors differ, and what this processor does not have, call their helpers. */
#include "jit/vec.h"

#include "cpu/vec.h"

#include <cpuid.h>

#define MXCSR_MASKS 0x1f80u

/* Of the host. */

static bool cpuid_bit(unsigned leaf, unsigned reg, unsigned bit)
{
    unsigned r[4];
    if (!leaf)
        return true;
    return __get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> bit & 1;
}

void vec_host(struct isa_features *f)
{
    const struct isa_feature_info *at = isa_feature_info;
    *f = (struct isa_features){0};
    for (unsigned i = 0; i < FEAT_COUNT; i++)
        if (cpuid_bit(at[i].leaf, at[i].reg, at[i].bit))
            f->word[i >> 6] |= BIT(i & 63);
    if (!__builtin_cpu_supports("avx")) /* the operating system has a say, too */
        f->word[FEAT_AVX >> 6] &= ~BIT(FEAT_AVX & 63);
}

/* Loading and storing all registers. */

static struct xmem vreg(unsigned n)
{
    return e_cpu(offsetof(struct cpu, s.v) + sizeof(union vreg) * n);
}

static struct xmem upper(unsigned n)
{
    return e_cpu(offsetof(struct cpu, s.v) + sizeof(union vreg) * n + 16);
}

static void mxcsr(struct x64 *a, unsigned digit, size_t field)
{
    x_rm(a, 4, 0x0fae, digit, e_cpu(field));
}

#define MOVUPS_LOAD  0x0f10
#define MOVUPS_STORE 0x0f11

void vec_save(struct x64 *a, bool avx)
{
    for (unsigned i = 0; i < 16; i++)
        if (avx)
            x_vex_rm(a, 1, 0, 0, 1, MOVUPS_STORE & 0xff, i, 0, vreg(i));
        else
            x_rm(a, 4, MOVUPS_STORE, i, vreg(i));
    mxcsr(a, 3, offsetof(struct cpu, s.mxcsr));
    mxcsr(a, 2, offsetof(struct cpu, jit.mxcsr));
    x_store_i(a, 1, E_CPU(jit.vec_live), 0);
    if (avx)
        x_bytes(a, "\xc5\xf8\x77", 3); /* vzeroupper: C code's own SSE would be slowed down */
    x_u8(a, 0xc3);
}

static uint32_t forward(struct x64 *a, enum x64_cond cond)
{
    return x_jcc(a, cond, a->at);
}

static void here(struct x64 *a, uint32_t from)
{
    if (!a->full)
        x_patch(a->base, from, a->at);
}

uint32_t vec_load(struct x64 *a, bool avx)
{
    uint32_t reload, masked, small = 0, done = 0;
    x_load(a, 4, J_X0, E_CPU(s.mxcsr));
    x_alu_ri(a, XA_AND, 4, J_X0, MXCSR_MASKS);
    x_alu_ri(a, XA_CMP, 4, J_X0, MXCSR_MASKS);
    masked = forward(a, XC_Z);
    x_u8(a, 0xc3);
    here(a, masked);
    reload = a->at;
    if (avx) {
        /* Upper halves that are all zero stay in their initial state: legacy SSE instructions are
         * slower beside others. */
        x_vex_rm(a, 1, 0, 0, 0, MOVUPS_LOAD & 0xff, 0, 0, upper(0));
        for (unsigned i = 1; i < 16; i++)
            x_vex_rm(a, 1, 1, 0, 0, 0xeb, 0, 0, upper(i)); /* vpor */
        x_vex_rr(a, 2, 1, 0, 0, 0x17, 0, 0, 0);            /* vptest */
        small = forward(a, XC_Z);
        for (unsigned i = 0; i < 16; i++)
            x_vex_rm(a, 1, 0, 0, 1, MOVUPS_LOAD & 0xff, i, 0, vreg(i));
        done = x_jmp(a, a->at);
        here(a, small);
        x_bytes(a, "\xc5\xf8\x77", 3);
    }
    for (unsigned i = 0; i < 16; i++)
        x_rm(a, 4, MOVUPS_LOAD, i, vreg(i));
    if (avx)
        here(a, done);
    mxcsr(a, 2, offsetof(struct cpu, s.mxcsr));
    x_store_i(a, 1, E_CPU(jit.vec_live), 1);
    x_alu_rr(a, XA_CMP, 4, J_X0, J_X0);
    x_u8(a, 0xc3);
    return reload;
}

/* Before the first vector instruction of a block, and of what follows a call. Destroys EFLAGS if
 * they were not known to be live. */
static void begin(struct emit *e, const struct uop *u, bool memory)
{
    if (!e->vec_live || memory)
        e_clobber(e);
    if (e->vec_live)
        return;
    struct stub *s = e_stub(e, STUB_VEC, u);
    x_alu_mi(&e->a, XA_CMP, 1, E_CPU(jit.vec_live), 0);
    e_stub_jcc(e, s, XC_Z);
    s->back = e->a.at;
    e->vec_live = true;
}

/* Encoding an instruction of a row again. */

struct form {
    const struct isa_row *row;
    unsigned reg, vvvv, rm; /* X_NONE: none; rm: the register, unless memory */
    bool memory;            /* rm is the memory operand, or VEC_T1 */
    bool gpr_reg, gpr_rm;   /* these are guest registers, enum reg */
    bool gpr_write;         /* the first operand is such a one */
    bool byte;              /* an immediate byte follows */
    uint8_t imm;
    unsigned opcode, w, l;
};

/* Puts a register where operand `i` of the row has its place. False: none that is known here. */
static bool place(struct form *f, unsigned where, unsigned value, bool first)
{
    switch (where) {
    case W_G:
        f->gpr_reg = true;
        f->gpr_write = first;
        f->reg = value;
        return true;
    case W_V: f->reg = value; return value < 16;
    case W_H: f->vvvv = value; return value < 16;
    case W_E:
    case W_M:
        if (first || value < R_COUNT) {
            f->gpr_rm = true;
            f->gpr_write = first;
        }
        f->rm = value;
        return true;
    case W_U:
    case W_W:
        f->rm = value;
        f->memory = value >= 16;
        return true;
    default: return false;
    }
}

static unsigned where_of(unsigned operand)
{
    static const uint8_t table[] = {
#define X(id, where, width, reg) [OP_##id] = where,
        ISA_OPERANDS(X)
#undef X
    };
    return table[operand];
}

static bool implied(unsigned where)
{
    return where == W_I || where == W_L || where == W_XMM0 || where == W_NONE;
}

/* A vector source in memory, named by M letters (MOVLPS, VBROADCASTSS …). */
static bool vector_memory(const struct uop *u, unsigned where, unsigned value)
{
    return where == W_M && value == VEC_T0 && u->b == VEC_T0;
}

/* PCMPxSTRx: they read EAX and EDX and write ECX or XMM0 in their own places. */
static bool is_text(const struct isa_row *row)
{
    return row->map == MAP_0F3A && row->opcode >= 0x60 && row->opcode <= 0x63;
}

static bool plan(const struct emit *e, const struct uop *u, struct form *f)
{
    const struct isa_row *row = &isa_rows[VEC_ROW(u)];
    unsigned sources = 0, given = 0;
    bool vex = row->attr & A_VEX;
    *f = (struct form){.row = row, .reg = X_NONE, .vvvv = 0, .rm = X_NONE};
    if (!isa_has(&e->host, row->feature) || (vex && !isa_has(&e->host, FEAT_AVX)))
        return false;
    if (row->map == MAP_0F && (row->opcode == 0x52 || row->opcode == 0x53))
        return false;
    f->opcode = row->opcode;
    f->l = vex ? VEC_L(u) : 0;
    f->w = row->attr & A_W1 ? 1 : 0;
    for (unsigned i = 1; i < 4; i++)
        sources += !implied(where_of(row->op[i]));
    if (sources > 2)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        unsigned where = where_of(row->op[i]);
        if (where == W_I) {
            f->byte = true;
            f->imm = (uint8_t)u->imm;
        } else if (where == W_L) {
            f->byte = true;
            f->imm = (uint8_t)(u->imm << 4);
        }
        if (implied(where))
            continue;
        unsigned value = i == 0 ? u->dst : sources == 2 && given == 0 ? u->a : u->b;
        given += i > 0;
        if (i && vector_memory(u, where, value))
            where = W_W;
        if (!place(f, where, value, i == 0))
            return false;
        if ((row->op[i] == OP_Ey || row->op[i] == OP_Gy) && u->size == 8)
            f->w = 1;
    }
    if (is_text(row) && u->size == 8)
        f->w = 1;
    if ((row->modrm >> 8) == MK_DIGIT_REG)
        f->reg = row->modrm & 7;
    if (row->map == MAP_0F && row->opcode == 0x17) { /* MOVHPS to memory: as an extraction */
        static const unsigned pextrq = 0x16;
        f->opcode = pextrq;
        f->byte = true;
        f->imm = 1;
        f->w = 1;
    }
    return true;
}

static void encode(struct x64 *a, const struct form *f, unsigned reg, unsigned rm, struct xmem m)
{
    static const uint8_t prefix[] = {
        [P_NP] = 0, [P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2, [P_ANY] = 0, [P_NFX] = 0};
    const struct isa_row *row = f->row;
    unsigned p = prefix[row->prefix], map = row->map;
    if (f->opcode != row->opcode) {
        map = MAP_0F3A;
        p = 0x66;
    }
    if (row->attr & A_VEX) {
        unsigned n = map == MAP_0F ? 1 : map == MAP_0F38 ? 2 : 3;
        unsigned vp = p == 0x66 ? 1 : p == 0xf3 ? 2 : p == 0xf2 ? 3 : 0;
        if (rm == X_NONE)
            x_vex_rm(a, n, vp, f->w, f->l, f->opcode, reg, f->vvvv, m);
        else
            x_vex_rr(a, n, vp, f->w, f->l, f->opcode, reg, f->vvvv, rm);
    } else {
        unsigned op = (map == MAP_0F     ? 0x0f00u
                       : map == MAP_0F38 ? 0x0f3800u
                                         : 0x0f3a00u) |
                      f->opcode;
        if (rm == X_NONE)
            x_rm_p(a, p, f->w ? 8 : 4, op, reg, m);
        else
            x_rr_p(a, p, f->w ? 8 : 4, op, reg, rm);
    }
    if (f->byte)
        x_u8(a, f->imm);
}

uint32_t vec_writes(const struct uop *u)
{
    const struct isa_row *row = &isa_rows[VEC_ROW(u)];
    unsigned to = where_of(row->op[0]);
    if (is_text(row))
        return BIT(R_CX);
    return to == W_V || to == W_U || to == W_W ? 0 : (uint32_t)BIT(u->dst & 31);
}

/* The instruction itself. `at`: its memory operand, if it has one. */
static void perform(struct emit *e, const struct uop *u, const struct form *f, struct xmem at)
{
    unsigned reg = f->reg, rm = f->memory ? X_NONE : f->rm, dst = f->gpr_write ? u->dst : X_NONE;
    unsigned host = X_NONE;
    if (dst != X_NONE)
        host = e->home[dst] != J_NONE ? e->home[dst] : J_X0;
    if (f->gpr_reg)
        reg = f->gpr_write ? host : e_use(e, reg, J_X0);
    if (f->gpr_rm)
        rm = f->gpr_write ? host : e_use(e, rm, J_X0);
    encode(&e->a, f, reg, rm, at);
    if (host != X_NONE && e->home[dst] == J_NONE)
        x_store(&e->a, 8, e_slot(dst), host);
    if (f->row->flags_written)
        e_flags_out(e, (struct flags_rec){0});
}

static void before_write(struct emit *e, const struct uop *u, const struct form *f)
{
    if (f->gpr_write)
        e_write(e, u->dst);
    if (is_text(f->row) && f->row->opcode & 1)
        e_write(e, R_CX);
}

/* VZEROUPPER, VZEROALL. Outside 64-bit mode they leave registers 8 to 15 alone (SDM 2C). */
static bool zero(struct emit *e, const struct uop *u)
{
    const uint8_t all = (uint32_t)u->imm ? 0xfc : 0xf8;
    if (!isa_has(&e->host, FEAT_AVX))
        return false;
    begin(e, u, false);
    if (u->size == 16)
        x_bytes(&e->a, (const uint8_t[]){0xc5, all, 0x77}, 3);
    for (unsigned i = 0; u->size != 16 && i < u->size; i++)
        if (all == 0xfc)
            x_vex_rr(&e->a, 1, 1, 0, 0, 0xef, i, i, i); /* vpxor */
        else
            x_vex_rr(&e->a, 1, 0, 0, 0, 0x28, i, 0, i); /* vmovaps: the upper half becomes 0 */
    return true;
}

bool vec_quiet(const struct emit *e, const struct uop *u)
{
    struct form f;
    return (u->op == UOP_CALLF || u->op == UOP_CALLQ) && u->seg == VEC_UOP && plan(e, u, &f);
}

void vec_ready(struct emit *e, const struct uop *u)
{
    begin(e, u, false);
}

bool emit_vec(struct emit *e, const struct uop *u)
{
    const struct isa_row *row = &isa_rows[VEC_ROW(u)];
    struct form f;
    if (row->map == MAP_0F && row->opcode == 0x77)
        return zero(e, u);
    if (!plan(e, u, &f))
        return false;
    before_write(e, u, &f);
    begin(e, u, false);
    perform(e, u, &f, vreg(f.memory ? f.rm : 0));
    return true;
}

/* Loads and stores. */

static unsigned access_size(const struct uop *u, unsigned first)
{
    switch ((u->op - first) / FORM_COUNT) {
    case 0: return 4;
    case 1: return 8;
    case 2: return 16;
    default: return u->size;
    }
}

static bool slow_form(const struct uop *u)
{
    return (u->op - UOP_LDV4_B64) % FORM_COUNT == FORM_S;
}

/* Is the load followed by the instruction whose operand it is, and which has an encoding? */
static bool feeds(const struct emit *e, const struct uop *u, struct form *f)
{
    const struct uop *next = u + 1;
    return (next->op == UOP_CALLQ || next->op == UOP_CALLF) && next->seg == VEC_UOP &&
           plan(e, next, f) && f->memory && next->b == u->dst;
}

bool vec_access(const struct emit *e, const struct uop *u, struct access *a)
{
    bool store = u->op >= UOP_STV4_B64,
         vex = u->op >= UOP_STV_B64 || (!store && u->op >= UOP_LDV_B64);
    unsigned size = access_size(u, store ? UOP_STV4_B64 : UOP_LDV4_B64);
    struct form f;
    *a = (struct access){.size = (uint8_t)size, .write = store, .align = (uint8_t)u->aux};
    if (slow_form(u))
        return false;
    if (!store && u->dst >= 16)
        return feeds(e, u, &f);
    if (size != 4 && size != 8 && size != 16 && size != 32)
        return false;
    return !(store ? size == 32 : vex) || isa_has(&e->host, FEAT_AVX);
}

/* The operand; of one that is known not to fault, the check has been made. */
static struct xmem operand(struct emit *e, const struct uop *u, unsigned size, bool write)
{
    struct xmem m = xm(J_X0, 0);
    begin(e, u, !win_open(e));
    if (e_operand(e, u, &m))
        return m;
    e_address(e, u);
    e_check(e, u, size, write);
    if (u->aux) {
        x_test_ri(&e->a, 1, J_X0, u->aux);
        e_stub_jcc(e, e->access, XC_NZ);
    }
    return m;
}

/* After the slow path: the temporary has it, and is where hot code looks for it: through J_X0, or a
 * base and J_X1. */
static void in_temporary(struct emit *e, const struct stub *s)
{
    int32_t at = vreg(s->u->dst).disp - s->at.disp;
    unsigned to = s->at.index == X_NONE ? J_X0 : J_X1;
    x_load(&e->a, 8, to, E_CPU(jit.self)); /* LEA knows no segment */
    x_lea(&e->a, 8, to, xm(to, at));
    if (s->at.index != X_NONE)
        x_alu_rr(&e->a, XA_SUB, 8, J_X1, s->at.base);
}

static void move(struct emit *e, unsigned size, bool store, bool vex, unsigned reg, struct xmem m)
{
    unsigned op = MOVUPS_LOAD | store, pp = size == 4 ? 2 : size == 8 ? 3 : 0;
    static const uint8_t prefix[] = {0, 0, 0xf3, 0xf2};
    if (vex)
        x_vex_rm(&e->a, 1, pp, 0, size == 32, op & 0xff, reg, 0, m);
    else
        x_rm_p(&e->a, prefix[pp], 4, op, reg, m);
}

bool emit_vec_load(struct emit *e, const struct uop *u)
{
    unsigned size = access_size(u, UOP_LDV4_B64);
    bool vex = u->op >= UOP_LDV_B64;
    struct form f;
    if (slow_form(u))
        return false;
    if (u->dst >= 16) { /* a memory operand: the instruction follows */
        const struct uop *next = u + 1;
        if (!feeds(e, u, &f))
            return false;
        before_write(e, next, &f);
        struct xmem m = operand(e, u, size, false);
        if (e->access) {
            e->access->after = in_temporary;
            e->access->at = m;
        }
        e_resume(e);
        perform(e, next, &f, m);
        e->skip = 1;
        return true;
    }
    if ((size != 4 && size != 8 && size != 16 && size != 32) ||
        (vex && !isa_has(&e->host, FEAT_AVX)))
        return false;
    struct xmem m = operand(e, u, size, false);
    move(e, size, false, vex, u->dst, m);
    e_resume(e);
    return true;
}

bool emit_vec_store(struct emit *e, const struct uop *u)
{
    unsigned size = access_size(u, UOP_STV4_B64);
    if (slow_form(u) || (size != 4 && size != 8 && size != 16 && size != 32) ||
        (size == 32 && !isa_has(&e->host, FEAT_AVX)))
        return false;
    struct xmem m = operand(e, u, size, true);
    unsigned free = m.base == J_X0 ? J_X1 : J_X0;
    if (u->dst < 16)
        move(e, size, true, u->op >= UOP_STV_B64 && isa_has(&e->host, FEAT_AVX), u->dst, m);
    for (unsigned i = 0; u->dst >= 16 && i < size; i += 8, m.disp += 8) {
        struct xmem from = vreg(u->dst);
        from.disp += (int32_t)i;
        x_load(&e->a, size < 8 ? size : 8, free, from);
        x_store(&e->a, size < 8 ? size : 8, m, free);
    }
    e_resume(e);
    return true;
}
