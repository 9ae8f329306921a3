/* The decoder: bytes to struct insn, by the rows (SDM 2A chapter 2).
 *
 * Prefixes, then the opcode chooses a short list of rows (index.h), the first of which that fits
 * prefix, ModRM, mode and features is the instruction; its operand letters say what follows. */
#include "isa/index.h"

struct cursor {
    const uint8_t *p;
    unsigned pos;
    unsigned n; /* bytes that may be looked at: at most ISA_MAX_LEN */
};

/* The next k bytes, little-endian; false: there are not that many. */
static inline bool take(struct cursor *c, unsigned k, uint64_t *v)
{
    if (c->n - c->pos < k)
        return false;
    *v = 0;
    memcpy(v, c->p + c->pos, k);
    c->pos += k;
    return true;
}

static bool take_signed(struct cursor *c, unsigned k, int64_t *v)
{
    uint64_t u;
    if (!take(c, k, &u))
        return false;
    *v = sext(u, k * 8);
    return true;
}

#define NO_SEG 0xff

struct prefixes {
    bool p67;
    uint8_t seg; /* NO_SEG: none */
};

/* Takes the legacy prefixes and REX. A REX that another prefix follows is void (SDM 2A 2.2.1). */
static bool take_prefixes(struct cursor *c, struct insn *in, struct prefixes *px)
{
    for (; c->pos < c->n; c->pos++) {
        uint8_t b = c->p[c->pos];
        switch (b) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            /* Void in 64-bit mode, where they leave an FS or GS override in force. */
            if (in->mode != ISA_64)
                px->seg = b >> 3 & 3;
            break;
        case 0x64:
        case 0x65: px->seg = SEG_FS + (b & 1); break;
        case 0x66: in->p66 = true; break;
        case 0x67: px->p67 = true; break;
        case 0xf0: in->lock = true; break;
        case 0xf2:
        case 0xf3: in->rep = b; break;
        default:
            if (in->mode != ISA_64 || (b & 0xf0) != 0x40)
                return true;
            in->rex = b;
            continue;
        }
        in->rex = 0;
    }
    return false;
}

/* A VEX prefix whose first byte was taken. Fills the map and the mandatory prefix; false:
 * truncated. */
static bool take_vex(struct cursor *c, struct insn *in, unsigned *map, uint8_t *pp)
{
    uint64_t v;
    unsigned second = 0x01; /* C5: map 0F, X and B are 0 */
    unsigned last;
    if (c->p[c->pos - 1] == 0xc5) {
        if (!take(c, 1, &v))
            return false;
        last = v & 0x7f;
        second |= v & 0x80 ? 0xe0 : 0x60;
    } else {
        if (!take(c, 2, &v))
            return false;
        second = v & 0xff;
        last = v >> 8;
    }
    in->vex = true;
    /* R, X and B are stored inverted; W is not. */
    unsigned rxb = ~second >> 5 & 7;
    in->rex = 0x40 | rxb | (last >> 4 & 8);
    in->vvvv = ~last >> 3 & 15;
    if (in->mode != ISA_64)
        in->rex &= 0x48;
    in->vex_l = last >> 2 & 1;
    *pp = (const uint8_t[]){P_NP, P_66, P_F3, P_F2}[last & 3];
    *map = second & 0x1f;
    return true;
}

static bool prefix_fits(const struct insn *in, const struct isa_row *r, uint8_t pp)
{
    switch (r->prefix) {
    case P_ANY: return true;
    case P_NFX: return pp == P_NP || pp == P_66;
    default: return r->prefix == pp;
    }
}

static bool modrm_fits(unsigned modrm, uint16_t want)
{
    bool reg = modrm >= 0xc0;
    unsigned digit = modrm >> 3 & 7, value = want & 0xff;
    switch (want >> 8) {
    case MK_REG: return reg;
    case MK_MEM: return !reg;
    case MK_DIGIT: return digit == value;
    case MK_DIGIT_REG: return digit == value && reg;
    case MK_DIGIT_MEM: return digit == value && !reg;
    case MK_EXACT: return modrm == value;
    case MK_RANGE: return modrm - value < 8;
    default: return true;
    }
}

static bool attr_fits(const struct insn *in, uint32_t attr)
{
    const uint32_t choosy =
        A_I64 | A_O64 | A_W0 | A_W1 | A_L0 | A_L1 | A_NOREXB; /* rows that may be passed over */
    if (!(attr & choosy))
        return true;
    bool w = in->rex & 8;
    return !(attr & A_I64 && in->mode == ISA_64) && !(attr & A_O64 && in->mode != ISA_64) &&
           !(attr & A_W0 && w) && !(attr & A_W1 && !w) && !(attr & A_L0 && in->vex_l) &&
           !(attr & A_L1 && !in->vex_l) && !(attr & A_NOREXB && in->rex & 1);
}

static const struct isa_row *find_row(const struct insn *in, unsigned from, unsigned to, uint8_t pp,
                                      const struct isa_features *features)
{
    for (unsigned i = from; i < to; i++) {
        const struct isa_row *r = &isa_rows[isa_index_row[i]];
        if (prefix_fits(in, r, pp) && modrm_fits(in->modrm, r->modrm) && attr_fits(in, r->attr) &&
            (!features || isa_has(features, r->feature)))
            return r;
    }
    return NULL;
}

static unsigned operand_size(const struct insn *in, const struct isa_row *r)
{
    bool w = in->rex & 8;
    bool p66 = in->p66 && r->prefix != P_66;
    if (in->mode != ISA_64) {
        if (r->attr & (A_O32 | A_NOREX66 | A_VEX))
            return 4;
        return p66 == (in->mode == ISA_16) ? 4 : 2;
    }
    if (r->attr & A_F64 || w)
        return 8;
    if (r->attr & A_D64)
        return p66 ? 2 : 8;
    return p66 && !(r->attr & (A_O32 | A_NOREX66 | A_VEX)) ? 2 : 4;
}

/* Bytes of a width letter; S_sb is as wide as what it is extended to. */
static unsigned width_size(const struct insn *in, enum isa_width w)
{
    switch (w) {
    case S_v:
    case S_sb: return in->osize;
    case S_z: return in->osize == 2 ? 2 : 4;
    case S_y: return in->osize == 8 ? 8 : 4;
    case S_p: return in->osize + 2;
    case S_s: return in->mode == ISA_64 ? 10 : 6;
    case S_x: return in->vex_l ? 32 : 16;
    case S_m14: return in->osize == 2 ? 14 : 28;
    case S_m94: return in->osize == 2 ? 94 : 108;
    case S_m512:
    case S_any: return 0;
    default: return w;
    }
}

/* 16-bit addressing (SDM 2A table 2-1). */
static bool take_mem16(struct cursor *c, struct insn *in, unsigned mod, unsigned rm)
{
    static const uint8_t base[8] = {3, 3, 5, 5, 6, 7, 5, 3};
    static const uint8_t index[4] = {6, 7, 6, 7};
    if (mod == 0 && rm == 6)
        return take_signed(c, 2, &in->disp);
    in->base = base[rm];
    if (rm < 4)
        in->index = index[rm];
    if (in->base == 5)
        in->seg = SEG_SS;
    return mod == 0 || take_signed(c, mod, &in->disp);
}

/* 32- and 64-bit addressing (SDM 2A tables 2-2, 2-3; 2.2.1.6). */
static bool take_mem32(struct cursor *c, struct insn *in, unsigned mod, unsigned rm)
{
    unsigned low = rm;
    if (rm == 4) {
        uint64_t sib;
        if (!take(c, 1, &sib))
            return false;
        in->scale = sib >> 6;
        in->index = (sib >> 3 & 7) | (in->rex << 2 & 8);
        low = sib & 7;
    }
    if (low == 5 && mod == 0) {
        if (rm == 5 && in->mode == ISA_64)
            in->base = ISA_RIP;
        return take_signed(c, 4, &in->disp);
    }
    in->base = low | (in->rex << 3 & 8);
    if (in->base == 4 || in->base == 5)
        in->seg = SEG_SS;
    return mod == 0 || take_signed(c, mod == 1 ? 1 : 4, &in->disp);
}

static bool take_mem(struct cursor *c, struct insn *in)
{
    unsigned mod = in->modrm >> 6, rm = in->modrm & 7;
    in->is_mem = true;
    return in->asize == 2 ? take_mem16(c, in, mod, rm) : take_mem32(c, in, mod, rm);
}

static uint8_t byte_reg(const struct insn *in, unsigned reg)
{
    return in->rex || reg < 4 ? reg : ISA_HIGH | (reg - 4);
}

static uint8_t general_reg(const struct insn *in, unsigned reg, unsigned size)
{
    return size == 1 ? byte_reg(in, reg) : reg;
}

/* Takes the immediate of an operand. */
static bool take_imm(struct cursor *c, struct insn *in, enum isa_where where, enum isa_width width)
{
    uint64_t v = 0;
    unsigned size = width == S_sb ? 1 : where == W_A ? in->osize : width_size(in, width);
    if (!take(c, size, &v))
        return false;
    if (where == W_J || width == S_sb || width == S_z)
        v = (uint64_t)sext(v, size * 8);
    if (where == W_A) {
        uint64_t sel;
        if (!take(c, 2, &sel))
            return false;
        in->imm2 = sel;
    }
    if (where == W_I && in->row->op[0] != OP_None && in->op_count && in->op[0].where == W_I)
        in->imm2 = v; /* ENTER's second one */
    else
        in->imm = v;
    return true;
}

struct operand_row {
    uint8_t where, width, reg;
};

static const struct operand_row operand_rows[OP_COUNT] = {
#define X(id, where, width, reg) [OP_##id] = {where, width, reg},
    ISA_OPERANDS(X)
#undef X
};

/* Control registers that exist: 0, 2, 3, 4 and 8. */
#define CR_EXIST 0x11du

/* Resolves one operand; ISA_UNDEFINED if it names something that does not exist. */
static enum isa_result take_operand(struct cursor *c, struct insn *in, enum isa_operand id)
{
    const struct operand_row *o = &operand_rows[id];
    struct isa_opnd *op = &in->op[in->op_count];
    unsigned reg = (in->modrm >> 3 & 7) | (in->rex << 1 & 8);
    unsigned rm = (in->modrm & 7) | (in->rex << 3 & 8);
    bool ok = true;
    op->where = o->where;
    op->size = width_size(in, o->width);
    switch (o->where) {
    case W_E:
    case W_M:
        op->where = in->is_mem ? W_M : W_E;
        op->reg = general_reg(in, rm, op->size);
        ok = in->is_mem || o->where == W_E;
        break;
    case W_W:
    case W_Q:
        op->reg = o->where == W_Q ? rm & 7 : rm;
        if (in->is_mem)
            op->where = W_M;
        break;
    case W_U:
    case W_N:
    case W_ST:
        op->reg = o->where == W_U ? rm : rm & 7;
        ok = !in->is_mem;
        break;
    case W_VM:
        /* The index is a vector register: 4 is one too. No SIB, no VSIB. */
        ok = in->is_mem && in->asize != 2 && (in->modrm & 7) == 4;
        break;
    case W_R: op->reg = rm; break;
    case W_G: op->reg = general_reg(in, reg, op->size); break;
    case W_V: op->reg = reg; break;
    case W_P: op->reg = reg & 7; break;
    case W_S:
        op->reg = reg & 7;
        ok = op->reg <= SEG_GS && !(in->op_count == 0 && op->reg == SEG_CS);
        break;
    case W_C:
        op->reg = reg;
        ok = CR_EXIST >> reg & 1;
        break;
    case W_D:
        op->reg = reg;
        ok = reg < 8;
        break;
    case W_Z: op->reg = general_reg(in, (in->opcode & 7) | (in->rex << 3 & 8), op->size); break;
    case W_B:
    case W_H: op->reg = in->vvvv & (in->mode == ISA_64 ? 15 : 7); break;
    case W_REG: op->reg = o->width == S_b && o->reg >= 4 ? ISA_HIGH | (o->reg - 4) : o->reg; break;
    case W_SREG: op->reg = o->reg; break;
    case W_I:
    case W_J:
    case W_A:
        if (!take_imm(c, in, o->where, o->width))
            return ISA_TRUNCATED;
        break;
    case W_L:
        if (!take(c, 1, &in->imm))
            return ISA_TRUNCATED;
        op->reg = in->imm >> 4 & (in->mode == ISA_64 ? 15 : 7);
        break;
    case W_O: {
        uint64_t off;
        if (!take(c, in->asize, &off))
            return ISA_TRUNCATED;
        in->disp = (int64_t)off;
        in->is_mem = true;
        op->where = W_M;
        break;
    }
    default: break;
    }
    in->op_count++;
    return ok ? ISA_OK : ISA_UNDEFINED;
}

static bool row_uses(const struct isa_row *r, enum isa_where a, enum isa_where b)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->op); i++) {
        unsigned w = operand_rows[r->op[i]].where;
        if (w == a || w == b)
            return true;
    }
    return false;
}

/* What follows the opcode and ModRM, by the row. */
static enum isa_result take_rest(struct cursor *c, struct insn *in, const struct prefixes *px)
{
    const struct isa_row *r = in->row;
    in->osize = operand_size(in, r);
    /* MOV CR and DR take mod as 3 (SDM 2B MOV). */
    bool mem = in->has_modrm && in->modrm < 0xc0 && !row_uses(r, W_R, W_R);
    if (mem && !take_mem(c, in))
        return ISA_TRUNCATED;
    if (in->index == 4 && !row_uses(r, W_VM, W_VM))
        in->index = ISA_NO_REG;
    if (px->seg != NO_SEG) {
        in->seg = px->seg;
        in->seg_override = true;
    }
    for (unsigned i = 0; i < ARRAY_LEN(r->op) && r->op[i] != OP_None; i++) {
        enum isa_result res = take_operand(c, in, r->op[i]);
        if (res != ISA_OK)
            return res;
    }
    if (in->lock && !(r->attr & A_LOCK && in->is_mem))
        return ISA_UNDEFINED;
    if (in->vex && in->vvvv && !row_uses(r, W_B, W_H))
        return ISA_UNDEFINED;
    /* A gather's destination, indexes and mask are three registers (SDM 2C VPGATHERDD). */
    unsigned dst = in->op[0].reg, mask = in->op[2].reg;
    if (row_uses(r, W_VM, W_VM) && (dst == in->index || dst == mask || in->index == mask))
        return ISA_UNDEFINED;
    return ISA_OK;
}

/* The opcode, behind the prefixes: its map and mandatory prefix. */
static enum isa_result take_opcode(struct cursor *c, struct insn *in, unsigned *map, uint8_t *pp)
{
    uint64_t b;
    *pp = in->rep == 0xf3 ? P_F3 : in->rep ? P_F2 : in->p66 ? P_66 : P_NP;
    *map = MAP_1B;
    if (!take(c, 1, &b))
        return ISA_TRUNCATED;
    if (b == 0xc4 || b == 0xc5) {
        /* Outside 64-bit mode it is VEX where LES and LDS would have a register operand. */
        if (in->mode != ISA_64 && c->pos == c->n)
            return ISA_TRUNCATED;
        if (in->mode == ISA_64 || c->p[c->pos] >= 0xc0) {
            bool bad = in->lock || in->rep || in->p66 || in->rex;
            if (!take_vex(c, in, map, pp) || !take(c, 1, &b))
                return ISA_TRUNCATED;
            in->opcode = b;
            if (bad || *map < MAP_0F || *map > MAP_0F3A)
                return ISA_UNDEFINED;
            *map += 3;
            return ISA_OK;
        }
    }
    if (b == 0x0f) {
        *map = MAP_0F;
        if (!take(c, 1, &b))
            return ISA_TRUNCATED;
        if (b == 0x38 || b == 0x3a) {
            *map = b == 0x38 ? MAP_0F38 : MAP_0F3A;
            if (!take(c, 1, &b))
                return ISA_TRUNCATED;
        }
    }
    in->opcode = b;
    return ISA_OK;
}

static enum isa_result decode(struct cursor *c, struct insn *in,
                              const struct isa_features *features)
{
    struct prefixes px = {.seg = NO_SEG};
    if (!take_prefixes(c, in, &px))
        return ISA_TRUNCATED;
    in->asize = in->mode == ISA_64 ? (px.p67 ? 4 : 8) : px.p67 == (in->mode == ISA_16) ? 4 : 2;
    unsigned map;
    uint8_t pp;
    enum isa_result res = take_opcode(c, in, &map, &pp);
    if (res != ISA_OK)
        return res;
    const uint16_t *first = &isa_index_first[map * 256 + in->opcode];
    if (first[0] == first[1])
        return ISA_UNDEFINED;
    in->has_modrm = isa_rows[isa_index_row[first[0]]].modrm != M_NONE;
    if (in->has_modrm) {
        uint64_t b;
        if (!take(c, 1, &b))
            return ISA_TRUNCATED;
        in->modrm = b;
    }
    in->row = find_row(in, first[0], first[1], pp, features);
    if (in->row)
        return take_rest(c, in, &px);
    /* A processor fetches all that the opcode asks for before it finds that the prefix or digit is
     * none: so the end may be too long, or not to be had, and that is what the guest sees. */
    in->row = &isa_rows[isa_index_row[first[0]]];
    res = take_rest(c, in, &px);
    return res == ISA_TRUNCATED ? res : ISA_UNDEFINED;
}

enum isa_result isa_decode(struct insn *in, const uint8_t *bytes, size_t n, enum isa_mode mode,
                           const struct isa_features *features)
{
    struct cursor c = {.p = bytes, .n = n < ISA_MAX_LEN ? n : ISA_MAX_LEN};
    memset(in, 0, sizeof *in);
    in->mode = mode;
    in->seg = SEG_DS;
    in->base = in->index = ISA_NO_REG;
    enum isa_result res = decode(&c, in, features);
    in->length = c.pos;
    if (!in->vex)
        in->vvvv = ISA_NO_REG;
    if (res == ISA_TRUNCATED && n >= ISA_MAX_LEN)
        res = ISA_TOO_LONG;
    if (res != ISA_OK)
        in->row = NULL;
    return res;
}
