#include "cpu/flags.h"

/* The result and the sign bit of the lazy operation, cut to its size. */
struct lazy {
    uint64_t dst, src, msb;
};

static struct lazy lazy(const struct cpu *c)
{
    unsigned bits = 8u << (c->s.cc_op & 3);
    uint64_t mask = ~0ull >> (64 - bits);
    return (struct lazy){c->s.cc_dst & mask, c->s.cc_src & mask, BIT(bits - 1)};
}

static uint32_t zsp(const struct lazy *l)
{
    uint32_t f = __builtin_parity((uint8_t)l->dst) ? 0 : F_P;
    if (!l->dst)
        f |= F_Z;
    if (l->dst & l->msb)
        f |= F_S;
    return f;
}

static uint32_t flags_by(unsigned kind, struct lazy l)
{
    uint64_t a, mask = l.msb | (l.msb - 1);
    switch (kind) {
    case CC_ADD:
        a = (l.dst - l.src) & mask;
        return zsp(&l) | (l.dst < l.src ? F_C : 0) | (uint32_t)((a ^ l.src ^ l.dst) & F_A) |
               ((a ^ l.dst) & (l.src ^ l.dst) & l.msb ? F_O : 0);
    case CC_SUB:
        a = (l.dst + l.src) & mask;
        return zsp(&l) | (a < l.src ? F_C : 0) | (uint32_t)((a ^ l.src ^ l.dst) & F_A) |
               ((a ^ l.src) & (a ^ l.dst) & l.msb ? F_O : 0);
    default: return zsp(&l);
    }
}

/* INC and DEC, which keep CF. */
static uint32_t step(uint64_t carry, const struct lazy *l, bool down)
{
    uint64_t most = down ? l->msb - 1 : l->msb, low = down ? 0xf : 0;
    return zsp(l) | (uint32_t)(carry & F_C) | ((l->dst & 0xf) == low ? F_A : 0) |
           (l->dst == most ? F_O : 0);
}

static uint32_t by_recipe(const struct cpu *c)
{
    int32_t op = (int32_t)c->s.cc_op;
    unsigned kind = op >> 9 & 7, bits = 8u << (op & 3);
    uint64_t mask = ~0ull >> (64 - bits), a = c->s.r[op >> 12 & 31];
    uint64_t src = op >> 17 & 1 ? (uint64_t)(op >> 18) : c->s.r[op >> 18 & 31];
    if (kind == REC_CMP)
        a -= src;
    else if (kind == REC_TEST)
        a &= src;
    struct lazy l = {a & mask, src & mask, BIT(bits - 1)};
    if (kind == REC_INC || kind == REC_DEC)
        return step(c->jit.carry, &l, kind == REC_DEC);
    return flags_by(kind == REC_ADD                      ? CC_ADD
                    : kind == REC_SUB || kind == REC_CMP ? CC_SUB
                                                         : CC_LOGIC,
                    l);
}

/* Neither of the kinds above CC_MIX is on the interpreter's way. */
static uint32_t of_generated_code(const struct cpu *c)
{
    if (c->s.cc_op & CC_RECIPE)
        return by_recipe(c);
    if (c->s.cc_op >> 2 == CC_HOST)
        return (uint32_t)(c->s.cc_src >> 8 & F_SZAPC) | (c->s.cc_src & 1 ? F_O : 0);
    return (uint32_t)(c->s.rflags & F_OSZAPC);
}

uint32_t flags_arith(const struct cpu *c)
{
    struct lazy l = lazy(c);
    switch (c->s.cc_op >> 2) {
    case CC_ADD:
    case CC_SUB:
    case CC_LOGIC: return flags_by((unsigned)(c->s.cc_op >> 2), l);
    case CC_INC: return step(l.src, &l, false);
    case CC_DEC: return step(l.src, &l, true);
    case CC_MIX: return zsp(&l) | (uint32_t)(c->s.cc_src & (F_C | F_A | F_O));
    default: return of_generated_code(c);
    }
}

bool flags_carry(const struct cpu *c)
{
    struct lazy l;
    switch (c->s.cc_op >> 2) {
    case CC_ADD: l = lazy(c); return l.dst < l.src;
    case CC_SUB: l = lazy(c); return ((l.dst + l.src) & (l.msb | (l.msb - 1))) < l.src;
    case CC_LOGIC: return false;
    case CC_INC:
    case CC_DEC:
    case CC_MIX: return c->s.cc_src & F_C;
    default: return of_generated_code(c) & F_C;
    }
}

bool flags_cond(const struct cpu *c, unsigned cond)
{
    uint32_t f;
    bool r;
    switch (cond >> 1) {
    case 0: r = flags_arith(c) & F_O; break;
    case 1: r = flags_carry(c); break;
    case 2: r = flags_arith(c) & F_Z; break;
    case 3: r = flags_arith(c) & (F_C | F_Z); break;
    case 4: r = flags_arith(c) & F_S; break;
    case 5: r = flags_arith(c) & F_P; break;
    default:
        f = flags_arith(c);
        r = !(f & F_S) != !(f & F_O);
        if (cond >> 1 == 7)
            r |= !!(f & F_Z);
    }
    return r != (cond & 1);
}

void flags_set(struct cpu *c, uint64_t v)
{
    uint64_t changed = c->s.rflags ^ v;
    c->s.rflags = v | EF_FIXED;
    c->s.cc_op = CC_NONE;
    if (changed & (EF_VM | EF_TF | EF_AC | EF_IF | EF_RF))
        cpu_mode_changed(c);
}

void flags_pose(struct cpu *c)
{
    /* a - b by CF, SF, OF: in the lowest 8, 16, 32 bits and in all 64 alike. Where no subtraction
     * sets the flags so, only the result counts. */
    static const struct {
        uint64_t a, b;
    } pose[2][2][2] = {
        {{{2, 1}, {0x8080808080808080, 0x7f7f7f7f7f7f7f7f}}, {{~0ull, 1}, {~0ull, 1}}},
        {{{1, ~0ull}, {2, 1}}, {{1, 2}, {0x7f7f7f7f7f7f7f7f, 0x8080808080808080}}},
    };
    if (c->s.cc_op >> 2 != CC_HOST)
        return;
    uint32_t f = flags_arith(c);
    uint64_t a = pose[!!(f & F_C)][!!(f & F_S)][!!(f & F_O)].a;
    uint64_t b = pose[!!(f & F_C)][!!(f & F_S)][!!(f & F_O)].b;
    flags_set_arith(c, f);
    c->s.cc_dst = f & F_Z ? 0 : a - b;
    c->s.cc_src = f & F_Z ? 0 : b;
}
