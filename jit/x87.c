/* x87 instructions run as themselves.
 *
 * The guest's x87 lives in the host's while c->jit.x87_live says so: data registers, tags, control
 * and status word. A block looks at the flag before its first x87 instruction and loads the state
 * if it must (STUB_X87). It is stored back before a helper runs as a whole instruction (that may
 * look at it) and when generated code is left. Other calls of C leave it where it is: C code has no
 * use for the x87 on this host.
 *
 * The host's state is loaded only while all exceptions are masked and none is pending: then an x87
 * instruction never traps, and what it sets is what the interpreter sets, which is held against a
 * processor in its tests. Else the block is interpreted. Instructions on which processors differ
 * (the transcendental ones), environments and packed decimals call their helpers.
 *
 * The pointers of the last instruction are the guest's and stay in c->s. Where it is, the emitter
 * knows (e->fip); it is noted, as x87_note() does, only where somebody could look: at the block's
 * end and in cold code. */
#include "jit/vec.h"

#include "cpu/helpers.h"
#include "cpu/x87.h"

/* In 64-bit mode the x87 alone is reached by FNSAVE and FRSTOR, in the 32-bit format
 * (SDM 1 figure 8-9). */
struct fnsave {
    uint32_t fcw, fsw, ftw, fip, fcs, fdp, fds;
    uint8_t st[8][10];
};

/* They copy by __builtin_memcpy(): where _FORTIFY_SOURCE is on by default, memcpy() is an inline
 * function for other registers than these. */
#define GENERAL __attribute__((target("general-regs-only"), noinline))

GENERAL static void store_state(struct cpu *c)
{
    struct fnsave f;
    __asm__ volatile("fnsave %0" : "=m"(f));
    unsigned top = f.fsw >> 11 & 7, tags = 0;
    c->s.fcw = (uint16_t)f.fcw;
    c->s.fsw = (uint16_t)f.fsw;
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = (top + i) & 7;
        __builtin_memcpy(&c->s.fp_sig[n], f.st[i], 8);
        __builtin_memcpy(&c->s.fp_exp[n], f.st[i] + 8, 2);
        tags |= (f.ftw >> 2 * i & 3) != 3 ? 1u << i : 0;
    }
    c->s.ftw = (uint8_t)tags;
    c->jit.x87_live = 0;
}

/* False: an exception is unmasked. */
GENERAL static bool load_state(struct cpu *c)
{
    struct fnsave f;
    unsigned top = c->s.fsw >> 11 & 7;
    if ((c->s.fcw & 0x3f) != 0x3f || c->s.fsw & FSW_ES)
        return false;
    f.fcw = c->s.fcw;
    f.fsw = c->s.fsw;
    f.ftw = f.fip = f.fcs = f.fdp = f.fds = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = (top + i) & 7;
        __builtin_memcpy(f.st[i], &c->s.fp_sig[n], 8);
        __builtin_memcpy(f.st[i] + 8, &c->s.fp_exp[n], 2);
        f.ftw |= c->s.ftw >> i & 1 ? 0 : 3u << 2 * i;
    }
    __asm__ volatile("frstor %0" : : "m"(f));
    c->jit.x87_live = 1;
    return true;
}

/* Calls fn(c) with the guest's registers kept, whatever the stack's alignment; ZF: it was true. */
static void thunk(struct x64 *a, uint64_t fn)
{
    static const uint8_t kept[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        x_op(a, 0, 4, 0x50 | (kept[i] & 7), 0, 0, kept[i], false);
    x_mov_rr(a, 8, J_X1, RSP);
    x_alu_ri(a, XA_AND, 8, RSP, -16);
    x_load(a, 8, RDI, E_CPU(jit.self));
    x_mov_ri(a, RAX, fn);
    x_rr(a, 4, 0xff, 2, RAX);
    x_mov_rr(a, 8, RSP, J_X1);
    x_alu_ri(a, XA_CMP, 1, RAX, 1);
    for (unsigned i = ARRAY_LEN(kept); i-- > 0;)
        x_op(a, 0, 4, 0x58 | (kept[i] & 7), 0, 0, kept[i], false);
    x_u8(a, 0xc3);
}

void x87_thunk_save(struct x64 *a)
{
    thunk(a, (uintptr_t)store_state);
}

void x87_thunk_load(struct x64 *a)
{
    thunk(a, (uintptr_t)load_state);
}

/* What is native. */

/* Bytes of the memory operand, by opcode D8.. and digit; negative: written. 0: a helper's. */
static const int8_t memory_size[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4},       {4, 0, -4, -4, 0, 2, 0, -2},  {4, 4, 4, 4, 4, 4, 4, 4},
    {4, -4, -4, -4, 0, 10, 0, -10}, {8, 8, 8, 8, 8, 8, 8, 8},     {8, -8, -8, -8, 0, 0, 0, -2},
    {2, 2, 2, 2, 2, 2, 2, 2},       {2, -2, -2, -2, 0, 8, 0, -8},
};

/* The register forms: bit n of word 0 for the 8 of C0 + 8n, and single ones of D9. */
static bool native_register(unsigned op, unsigned modrm)
{
    static const uint8_t rows[8] = {
        0xff, /* D8: arithmetic and compares */
        0x03, /* D9: FLD, FXCH */
        0x0f, /* DA: FCMOVcc */
        0x6f, /* DB: FCMOVNcc, FUCOMI, FCOMI */
        0xf3, /* DC: arithmetic */
        0x3d, /* DD: FFREE, FST, FSTP, FUCOM, FUCOMP */
        0xf3, /* DE: arithmetic that pops */
        0x60, /* DF: FUCOMIP, FCOMIP */
    };
    if (rows[op] >> (modrm >> 3 & 7) & 1)
        return true;
    switch (op << 8 | modrm) {
    case 0x1d0: /* FNOP */
    case 0x1e0: /* FCHS, FABS, FTST, FXAM */
    case 0x1e1:
    case 0x1e4:
    case 0x1e5:
    case 0x1f6: /* FDECSTP, FINCSTP, FSQRT, FRNDINT */
    case 0x1f7:
    case 0x1fa:
    case 0x1fc:
    case 0x2e9: /* FUCOMPP */
    case 0x3e2: /* FNCLEX */
    case 0x6d9: /* FCOMPP */
    case 0x7e0: /* FNSTSW AX */ return true;
    default: return op == 1 && modrm >= 0xe8 && modrm <= 0xee; /* constants */
    }
}

static unsigned opcode(const struct uop *u)
{
    return u->aux >> 8 & 7;
}

static unsigned digit(const struct uop *u)
{
    return u->aux >> 3 & 7;
}

static bool is_x87(const struct uop *u)
{
    return u->op == UOP_X87 || (u->op == UOP_HELP && u->scale == X87_HELP);
}

static bool is_fwait(const struct uop *u)
{
    return u->op == UOP_HELP && u->helper == h_fwait;
}

/* Can it be done by the host's instruction? */
static bool native(const struct emit *e, const struct uop *u)
{
    if (!is_x87(u) || e->b->mask[0] == 0xffff)
        return false;
    if (is_fwait(u))
        return true;
    if (!(u->aux & X87_MEM))
        return native_register(opcode(u), u->aux & 0xff);
    if (!(u->aux & X87_FLAT) || !memory_size[opcode(u)][digit(u)])
        return false;
    return u->op == UOP_HELP || (u->asize > 2 && x_fits32(u->imm + PAGE_SIZE));
}

/* FNSTCW, FNSTSW, FLDCW, FNCLEX and FWAIT leave the pointers alone. */
static bool notes(const struct uop *u)
{
    unsigned op = opcode(u), modrm = u->aux & 0xff;
    if (is_fwait(u))
        return false;
    if (u->aux & X87_MEM)
        return memory_size[op][digit(u)] != 2 && memory_size[op][digit(u)] != -2 ? true : op >= 6;
    return !(op == 3 && modrm == 0xe2) && !(op == 7 && modrm == 0xe0);
}

static void note(struct emit *e, const struct uop *u)
{
    if (notes(u))
        e->fip = e_page_offset(e, u) + u->ip;
}

void x87_point(struct emit *e, int64_t fip)
{
    unsigned size = e->b->mask[0] == ~0ull ? 8 : 4;
    if (fip == FIP_NOTED)
        return;
    x_rm(&e->a, 4, 0x0fb7, J_X0,
         e_cpu(offsetof(struct cpu, s.seg) + SEG_CS * sizeof(struct seg) +
               offsetof(struct seg, sel)));
    x_store(&e->a, 2, E_CPU(s.fcs), J_X0);
    x_load(&e->a, 8, J_X0, E_CPU(jit.page));
    x_lea(&e->a, size, J_X0, xm(J_X0, (int32_t)fip));
    x_store(&e->a, 8, E_CPU(s.fip), J_X0);
    if (fip == e->fip)
        e->fip = FIP_NOTED;
}

static void begin(struct emit *e, const struct uop *u, bool memory)
{
    if (!e->x87_live || memory)
        e_clobber(e);
    if (e->x87_live)
        return;
    struct stub *s = e_stub(e, STUB_X87, u);
    x_alu_mi(&e->a, XA_CMP, 1, E_CPU(jit.x87_live), 0);
    e_stub_jcc(e, s, XC_Z);
    s->back = e->a.at;
    e->x87_live = true;
}

bool x87_quiet(const struct emit *e, const struct uop *u)
{
    unsigned op = opcode(u), modrm = u->aux & 0xff;
    if (!native(e, u) || is_fwait(u) || u->aux & X87_MEM)
        return false;
    return !((op == 2 || op == 3) && modrm < 0xe0) && !((op == 3 || op == 7) && modrm >= 0xe0);
}

void x87_ready(struct emit *e, const struct uop *u)
{
    begin(e, u, false);
}

static bool is_fldcw(const struct uop *u)
{
    return opcode(u) == 1 && digit(u) == 5;
}

/* The uop that has the operand's address: u, or the LEA before it that makes the helper's offset.
 * NULL: it is made otherwise. */
static const struct uop *address_of(const struct emit *e, const struct uop *u)
{
    bool code64 = (e->b->key & KEY_CODE) == ISA_64;
    const struct uop *from = u;
    if (u->op == UOP_HELP) {
        from = u - 1;
        if (u == e->b->uops || from->insn != u->insn || from->dst != R_T0 ||
            from->op != (code64 ? UOP_LEA64 : UOP_LEA32))
            return NULL;
    } else if (u->asize != (code64 ? 8 : 4)) {
        return NULL;
    }
    if ((from->a >= R_T0 && from->a != R_ZERO && from->a != R_IP) ||
        (from->b >= R_T0 && from->b != R_ZERO))
        return NULL;
    return from;
}

/* Of FLDCW it is not asked: it may have to go to the helper though it is in a window. */
static bool can_operate(const struct emit *e, const struct uop *u)
{
    return is_x87(u) && u->aux & X87_MEM && !is_fwait(u) && native(e, u) && !is_fldcw(u);
}

bool x87_access(const struct emit *e, const struct uop *u, struct access *a, int64_t *imm)
{
    const struct uop *from = can_operate(e, u) ? address_of(e, u) : NULL;
    if (!from || (from->b != R_ZERO && from->a == R_IP))
        return false;
    int size = memory_size[opcode(u)][digit(u)];
    *a = (struct access){.base = from->a,
                         .index = from->b,
                         .scale = from->scale,
                         .size = (uint8_t)(size < 0 ? -size : size),
                         .write = size < 0};
    *imm = from->imm;
    return true;
}

bool x87_address(struct emit *e, const struct uop *u)
{
    bool code64 = (e->b->key & KEY_CODE) == ISA_64;
    return e_address_as(e, address_of(e, u), code64 ? FORM_X64 : FORM_X32);
}

bool x87_spares(const struct emit *e, const struct uop *lea)
{
    const struct uop *u = lea + 1;
    return (lea->op == UOP_LEA64 || lea->op == UOP_LEA32) && lea->dst == R_T0 &&
           x_fits32(lea->imm + PAGE_SIZE) && u->op == UOP_HELP && u->insn == lea->insn &&
           can_operate(e, u) && address_of(e, u) == lea;
}

void x87_offset(struct emit *e, const struct stub *s)
{
    if (!is_x87(s->u) || s->u == e->b->uops || !x87_spares(e, s->u - 1))
        return;
    x87_address(e, s->u);
    e_put(e, R_T0, 8, J_X0);
}

uint32_t x87_writes(const struct uop *u)
{
    if (u->aux & X87_MEM)
        return BIT(R_T0);
    return !is_fwait(u) && opcode(u) == 7 && (u->aux & 0xff) == 0xe0 ? BIT(R_AX) : 0;
}

/* The operand. What the check does not let pass is the helper's. */
static struct xmem operand(struct emit *e, const struct uop *u, int size)
{
    struct xmem m = xm(J_X0, 0);
    if (!e_operand(e, u, &m)) {
        if (address_of(e, u) && (u->op == UOP_X87 || x87_spares(e, u - 1)))
            x87_address(e, u);
        else if (u->op == UOP_X87)
            e_address_as(e, u, u->asize == 8 ? FORM_X64 : FORM_X32);
        else
            e_get(e, J_X0, R_T0);
        e_check(e, u, (unsigned)(size < 0 ? -size : size), size < 0);
    }
    if (e->access)
        e->access->kind = STUB_HELP;
    return m;
}

static void with_memory(struct emit *e, const struct uop *u)
{
    bool fldcw = is_fldcw(u);
    e_write(e, R_T0); /* the quick forms' helpers leave the offset there */
    begin(e, u, !win_open(e));
    struct xmem m = operand(e, u, memory_size[opcode(u)][digit(u)]);
    if (fldcw) { /* an exception unmasked: no longer the host's business */
        x_rm(&e->a, 4, 0x0fb7, J_X1, m);
        x_rr(&e->a, 4, 0xf7, 2, J_X1);
        x_test_ri(&e->a, 4, J_X1, 0x3f);
        e_stub_jcc(e, e->access, XC_NZ);
        e->access->x87 = false;
        e->x87_live = false;
    }
    note(e, u);
    x_rm(&e->a, 4, 0xd8 | opcode(u), digit(u), m);
    e_resume(e);
}

bool emit_x87(struct emit *e, const struct uop *u)
{
    unsigned op = opcode(u), modrm = u->aux & 0xff;
    if (!native(e, u))
        return false;
    if (is_fwait(u)) {
        begin(e, u, false);
        return true;
    }
    if (u->aux & X87_MEM) {
        with_memory(e, u);
        return true;
    }
    if (op == 7 && modrm == 0xe0)
        e_write(e, R_AX);
    begin(e, u, false);
    note(e, u);
    if ((op == 2 || op == 3) && modrm < 0xe0)
        e_flags_in(e);
    x_u8(&e->a, 0xd8 | op);
    x_u8(&e->a, modrm);
    if ((op == 3 || op == 7) && modrm >= 0xe8)
        e_flags_out(e, (struct flags_rec){0});
    return true;
}
