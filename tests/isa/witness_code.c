/* Instructions from rows: prefixes, opcode, every form of ModRM and SIB, immediates. What comes out
 * is decoded again, and may turn out to be another row or undefined; both are as good. */
#include "tests/isa/witness_code.h"

#include "tests/isa/witness_values.h"

bool wit_row_uses(const struct isa_row *r, enum isa_operand a, enum isa_operand b)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->op); i++)
        if (r->op[i] == a || r->op[i] == b)
            return true;
    return false;
}

struct bytes {
    struct rng *g;
    struct wit_insn *o;
    unsigned n;
    bool code64, tame;
};

static void put(struct bytes *b, unsigned v)
{
    if (b->n < sizeof b->o->b)
        b->o->b[b->n++] = (uint8_t)v;
}

static void put_disp(struct bytes *b, unsigned size)
{
    b->o->disp_at = b->n;
    b->o->disp_size = size;
    uint64_t v = rng_next(b->g);
    if (size == 4 && one_in(b->g, 2)) /* sign-extended bytes are as common */
        v = (uint64_t)(int64_t)(int8_t)v;
    if (b->tame && size == 4)
        v = below(b->g, 0x1000) - 0x800;
    for (unsigned i = 0; i < size; i++)
        put(b, v >> 8 * i & 0xff);
}

/* Memory by 32- or 64-bit addressing: ModRM with `reg`, SIB, displacement. */
static void put_memory32(struct bytes *b, unsigned reg, bool vsib)
{
    unsigned mod = (unsigned)below(b->g, 3), rm = (unsigned)below(b->g, 8);
    if (b->tame) {
        mod = 1 + (unsigned)below(b->g, 2);
        rm = 6 + (unsigned)below(b->g, 2);
    }
    if (vsib)
        rm = 4;
    put(b, mod << 6 | reg << 3 | rm);
    unsigned base = rm;
    if (rm == 4) {
        unsigned sib = (unsigned)below(b->g, 256);
        if (b->tame)
            sib = (sib & 0xf8) | 7;
        put(b, sib);
        base = sib & 7;
    }
    if (mod == 0 && base == 5)
        put_disp(b, 4);
    else if (mod)
        put_disp(b, mod == 1 ? 1 : 4);
}

static void put_memory16(struct bytes *b, unsigned reg)
{
    unsigned mod = (unsigned)below(b->g, 3), rm = (unsigned)below(b->g, 8);
    put(b, mod << 6 | reg << 3 | rm);
    if (mod == 0 && rm == 6)
        put_disp(b, 2);
    else if (mod)
        put_disp(b, mod == 1 ? 1 : 2);
}

static void put_modrm(struct bytes *b, const struct isa_row *r, bool memory, bool p67)
{
    unsigned kind = r->modrm >> 8, v = r->modrm & 0xff;
    unsigned reg = (unsigned)below(b->g, 8);
    if (kind == MK_NONE)
        return;
    if (kind == MK_EXACT || kind == MK_RANGE) {
        put(b, v + (kind == MK_RANGE ? (unsigned)below(b->g, 8) : 0));
        return;
    }
    if (kind >= MK_DIGIT)
        reg = v;
    if (!memory)
        put(b, 0xc0 | reg << 3 | (unsigned)below(b->g, 8));
    else if (p67 && !b->code64)
        put_memory16(b, reg);
    else
        put_memory32(b, reg, wit_row_uses(r, OP_VMdx, OP_VMqx));
}

static void put_vex(struct bytes *b, const struct isa_row *r, unsigned rex)
{
    static const uint8_t pp[] = {[P_NP] = 0, [P_66] = 1, [P_F3] = 2, [P_F2] = 3};
    unsigned l = r->attr & A_L1 ? 1 : r->attr & A_L0 ? 0 : (unsigned)below(b->g, 2);
    unsigned vvvv = (unsigned)below(b->g, 16), w = rex & 8;
    bool has_v = false;
    for (unsigned i = 0; i < ARRAY_LEN(r->op); i++)
        switch (r->op[i]) {
        case OP_By:
        case OP_Hss:
        case OP_Hsd:
        case OP_Hq:
        case OP_Hdq:
        case OP_Hqq:
        case OP_Hx: has_v = true; break;
        default: break;
        }
    if (!has_v && (b->tame || !one_in(b->g, 16)))
        vvvv = 15; /* anything else is undefined */
    unsigned last = vvvv << 3 | l << 2 | (r->prefix < sizeof pp ? pp[r->prefix] : 0);
    if (!b->code64)
        rex &= ~3u; /* C4 and C5 are LES and LDS unless these bits are set */
    if (r->map == MAP_0F && !(rex & 11) && one_in(b->g, 2)) {
        put(b, 0xc5);
        put(b, (rex & 4 && b->code64 ? 0 : 0x80) | last);
        return;
    }
    if (!b->code64)
        rex &= ~4u;
    put(b, 0xc4);
    put(b, (~rex & 7) << 5 | r->map);
    put(b, w << 4 | last);
}

static void put_prefixes(struct bytes *b, const struct isa_row *r, bool memory, bool *p67)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    struct rng *g = b->g;
    uint8_t list[8];
    unsigned n = 0;
    bool vex = r->attr & A_VEX, string = r->attr & (A_REP | A_REPZ);
    bool free66 = r->prefix == P_ANY || r->prefix == P_NFX;
    if (!vex && free66 ? one_in(g, 4) : !b->tame && one_in(g, 100))
        list[n++] = 0x66;
    if (string ? one_in(g, 2) : !b->tame && !vex && one_in(g, 60))
        list[n++] = 0xf2 | (uint8_t)below(g, 2);
    if (memory && r->attr & A_LOCK ? one_in(g, 3) : !b->tame && one_in(g, 100))
        list[n++] = 0xf0;
    if (!b->tame && one_in(g, memory || string ? 6 : 40))
        list[n++] = segments[below(g, 6)];
    *p67 = !b->tame && one_in(g, memory || string ? 6 : 40);
    if (*p67 && b->code64 && one_in(g, 4)) /* an offset of 32 bits may wrap */
        list[n++] = 0x65;
    if (*p67)
        list[n++] = 0x67;
    for (unsigned i = n; i > 1; i--) { /* in any order */
        unsigned k = (unsigned)below(g, i);
        uint8_t t = list[i - 1];
        list[i - 1] = list[k];
        list[k] = t;
    }
    for (unsigned i = 0; i < n; i++)
        put(b, list[i]);
    static const uint8_t mandatory[] = {[P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2};
    if (!vex && r->prefix < sizeof mandatory && mandatory[r->prefix])
        put(b, mandatory[r->prefix]);
}

static void put_opcode(struct bytes *b, const struct isa_row *r, unsigned rex)
{
    if (r->attr & A_VEX) {
        put_vex(b, r, rex);
    } else {
        if (b->code64 && (rex || one_in(b->g, 4)))
            put(b, 0x40 | rex);
        if (r->map != MAP_1B)
            put(b, 0x0f);
        if (r->map > MAP_0F)
            put(b, r->map == MAP_0F38 ? 0x38 : 0x3a);
    }
    put(b, r->opcode | (r->attr & A_PLUS_R ? (unsigned)below(b->g, 8) : 0));
}

bool wit_encode(struct rng *g, const struct isa_features *f, const struct isa_row *r,
                enum isa_mode mode, bool tame, struct wit_insn *out)
{
    struct bytes b = {.g = g, .o = out, .code64 = mode == ISA_64, .tame = tame};
    out->disp_size = 0;
    unsigned kind = r->modrm >> 8;
    bool memory = one_in(g, 2), p67;
    if (kind == MK_REG || kind == MK_DIGIT_REG || kind >= MK_EXACT || kind == MK_NONE)
        memory = false;
    if (kind == MK_MEM || kind == MK_DIGIT_MEM)
        memory = true;
    unsigned rex = b.code64 && !one_in(g, 3) ? (unsigned)below(g, 16) : 0;
    if (r->attr & A_W0)
        rex &= 7;
    if (r->attr & A_W1 && (b.code64 || r->attr & A_VEX))
        rex |= 8;
    if (memory && tame)
        rex &= 0xe; /* the base is RSI or RDI, the index anything */
    if (r->attr & A_NOREXB)
        rex &= 0xe;
    put_prefixes(&b, r, memory, &p67);
    put_opcode(&b, r, rex);
    put_modrm(&b, r, memory, p67);
    unsigned end = b.n;
    for (unsigned i = 0; i < 12; i++) { /* more than any immediate */
        uint64_t v = any_int(g);
        for (unsigned k = 0; k < 4; k++)
            put(&b, (unsigned)(v >> 8 * k) & 0xff);
    }
    out->result = isa_decode(&out->in, out->b, sizeof out->b, mode, f);
    if (out->result == ISA_OK)
        return !tame || out->in.row == r;
    /* What is undefined must be so on the host too, whatever it has beyond ishi: only prefixes
     * that no instruction takes. */
    if (out->result != ISA_UNDEFINED || tame || r->attr & A_VEX || !memchr(out->b, 0xf0, end))
        return false;
    out->in.length = (uint8_t)end;
    out->in.row = NULL;
    return end <= ISA_MAX_LEN;
}
