/* PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 2B 4.1): text compares of 16 bytes.
 *
 * Control byte: [0] words instead of bytes, [1] signed, [3:2] how to aggregate, [5:4] what to
 * negate, [6] which index, or how the mask is written. */
#include "cpu/flags.h"
#include "cpu/vec.h"

enum aggregation { EQUAL_ANY, RANGES, EQUAL_EACH, EQUAL_ORDERED };

struct text {
    int lane[16];  /* values, sign- or zero-extended */
    unsigned size; /* lanes before the end */
};

static void text_fill(struct text *t, const union vreg *v, unsigned imm)
{
    for (unsigned i = 0; i < 16; i++) {
        switch (imm & 3) {
        case 0: t->lane[i] = v->b[i]; break;
        case 1: t->lane[i] = v->w[i & 7]; break;
        case 2: t->lane[i] = (int8_t)v->b[i]; break;
        default: t->lane[i] = (int16_t)v->w[i & 7]; break;
        }
    }
}

/* Length up to the first zero lane. */
static unsigned implicit_length(const struct text *t, unsigned lanes)
{
    unsigned n = 0;
    while (n < lanes && t->lane[n])
        n++;
    return n;
}

/* Length by EAX or EDX, RAX or RDX with REX.W: its absolute value, cut to the lanes. */
static unsigned explicit_length(uint64_t v, bool wide, unsigned lanes)
{
    int64_t n = wide ? (int64_t)v : (int32_t)v;
    uint64_t size = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    return size < lanes ? (unsigned)size : lanes;
}

static unsigned any_of(const struct text *a, const struct text *b)
{
    unsigned result = 0;
    for (unsigned j = 0; j < b->size; j++)
        for (unsigned i = 0; i < a->size; i++)
            if (a->lane[i] == b->lane[j])
                result |= 1u << j;
    return result;
}

/* a holds pairs: from, to. */
static unsigned in_ranges(const struct text *a, const struct text *b)
{
    unsigned result = 0;
    for (unsigned j = 0; j < b->size; j++)
        for (unsigned i = 0; i + 1 < a->size; i += 2)
            if (b->lane[j] >= a->lane[i] && b->lane[j] <= a->lane[i + 1])
                result |= 1u << j;
    return result;
}

/* Lanes past both ends are equal, past one end different. */
static unsigned each_equal(const struct text *a, const struct text *b, unsigned lanes)
{
    unsigned result = 0;
    for (unsigned i = 0; i < lanes; i++) {
        bool in_a = i < a->size, in_b = i < b->size;
        if (in_a == in_b && (!in_a || a->lane[i] == b->lane[i]))
            result |= 1u << i;
    }
    return result;
}

/* Where in b does a begin? A match may run out of the register, not of the text. */
static unsigned substring(const struct text *a, const struct text *b, unsigned lanes)
{
    unsigned result = 0;
    for (unsigned j = 0; j < lanes; j++) {
        bool match = true;
        for (unsigned i = 0; i < a->size && j + i < lanes; i++)
            match = match && j + i < b->size && a->lane[i] == b->lane[j + i];
        result |= (unsigned)match << j;
    }
    return result;
}

/* The second intermediate result; *size is of b, for negation and flags. Sets EFLAGS. */
static unsigned compare(struct cpu *c, const struct uop *u, bool has_lengths)
{
    unsigned imm = (unsigned)u->imm & 0xff, lanes = imm & 1 ? 8 : 16, all = (1u << lanes) - 1;
    struct text a, b;
    text_fill(&a, cpu_vreg(c, u->a), imm);
    text_fill(&b, cpu_vreg(c, u->b), imm);
    if (has_lengths) {
        a.size = explicit_length(c->s.r[R_AX], u->size == 8, lanes);
        b.size = explicit_length(c->s.r[R_DX], u->size == 8, lanes);
    } else {
        a.size = implicit_length(&a, lanes);
        b.size = implicit_length(&b, lanes);
    }
    unsigned result = 0;
    switch ((enum aggregation)(imm >> 2 & 3)) {
    case EQUAL_ANY: result = any_of(&a, &b); break;
    case RANGES: result = in_ranges(&a, &b); break;
    case EQUAL_EACH: result = each_equal(&a, &b, lanes); break;
    case EQUAL_ORDERED: result = substring(&a, &b, lanes); break;
    }
    if (imm & 0x10) /* negative; masked negative: only what is inside b */
        result ^= imm & 0x20 ? (1u << b.size) - 1 : all;
    flags_set_arith(c, (result ? F_C : 0) | (b.size < lanes ? F_Z : 0) |
                           (a.size < lanes ? F_S : 0) | (result & 1 ? F_O : 0));
    return result;
}

static bool to_index(struct cpu *c, const struct uop *u, bool has_lengths)
{
    unsigned result = compare(c, u, has_lengths);
    unsigned at = u->imm & 1 ? 8 : 16;
    if (result)
        at = u->imm & 0x40 ? 31 - (unsigned)__builtin_clz(result) : (unsigned)__builtin_ctz(result);
    c->s.r[R_CX] = at;
    return true;
}

static bool to_mask(struct cpu *c, const struct uop *u, bool has_lengths, bool vex)
{
    unsigned result = compare(c, u, has_lengths);
    union vreg *d = cpu_vreg(c, 0);
    for (unsigned i = 0; i < 16; i++)
        if (u->imm & 0x40)
            d->b[i] = result >> (u->imm & 1 ? i / 2 : i) & 1 ? 0xff : 0;
        else
            d->b[i] = i < 2 ? (uint8_t)(result >> 8 * i) : 0;
    if (vex)
        d->q[2] = d->q[3] = 0;
    return true;
}

static bool pcmpestri(struct cpu *c, const struct uop *u)
{
    return to_index(c, u, true);
}

static bool pcmpistri(struct cpu *c, const struct uop *u)
{
    return to_index(c, u, false);
}

static bool pcmpestrm_xmm(struct cpu *c, const struct uop *u)
{
    return to_mask(c, u, true, false);
}

static bool pcmpestrm_vex(struct cpu *c, const struct uop *u)
{
    return to_mask(c, u, true, true);
}

static bool pcmpistrm_xmm(struct cpu *c, const struct uop *u)
{
    return to_mask(c, u, false, false);
}

static bool pcmpistrm_vex(struct cpu *c, const struct uop *u)
{
    return to_mask(c, u, false, true);
}

vec_op v_pcmpestri = {NULL, pcmpestri, pcmpestri};
vec_op v_pcmpistri = {NULL, pcmpistri, pcmpistri};
vec_op v_pcmpestrm = {NULL, pcmpestrm_xmm, pcmpestrm_vex};
vec_op v_pcmpistrm = {NULL, pcmpistrm_xmm, pcmpistrm_vex};
