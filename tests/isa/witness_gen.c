/* Cases: which rows, which state, and where memory operands point.
 *
 * A case is one instruction with all that user code may do to it, or a sequence of tame ones that
 * seldom fault: registers RSI and RDI point into the data and RSP too, and nothing in a sequence
 * reads a flag that the table calls undefined. */
#include "tests/isa/witness.h"

#include "cpu/flags.h"
#include "tests/isa/witness_code.h"
#include "tests/isa/witness_values.h"

/* --- Which rows --- */

static bool in_list(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(name, *list))
            return true;
    return false;
}

/* NULL: cases are made of the row. */
const char *wit_row_excluded(const struct isa_row *r)
{
    static const char *const own[] = {"cpuid", "rdtsc",  "rdtscp",  "rdpmc", "rdrand", "rdseed",
                                      "rdpid", "xgetbv", "monitor", "mwait", NULL};
    static const char *const kernel[] = {"int", "syscall", "sysenter", "iret/iretd/iretq",
                                         "cli", "sti",     NULL};
    static const char *const umip[] = {"sgdt", "sidt", "sldt", "str", "smsw", NULL};
    static const char *const bases[] = {"wrfsbase", "wrgsbase", "lfs", "lgs", "lss", NULL};
    if (in_list(r->name, own))
        return "its result is the processor's own";
    if (in_list(r->name, kernel))
        return "it enters the host's kernel, or is emulated by it";
    if (in_list(r->name, umip))
        return "the host's kernel may emulate it (UMIP)";
    if (in_list(r->name, bases))
        return "it would take away the process's own segments";
    if (wit_row_uses(r, OP_Ap, OP_Ap) || !strcmp(r->name, "retf") ||
        (wit_row_uses(r, OP_Mp, OP_Mp) && r->attr & A_BRANCH))
        return "a far transfer: its targets are the host kernel's";
    if (!strcmp(r->name, "pop") && (wit_row_uses(r, OP_FS, OP_GS) || wit_row_uses(r, OP_SS, OP_SS)))
        return "it would take away the process's own segments";
    return NULL;
}

bool wit_row_runs(const struct wit *w, const struct isa_row *r, enum isa_mode mode)
{
    return isa_has(&w->features, r->feature) && !wit_row_excluded(r) &&
           !(r->attr & (mode == ISA_64 ? A_I64 : A_O64)) &&
           (!w->only || !strcmp(w->only, r->name)) &&
           (!w->without || strcmp(w->without, r->name) != 0);
}

/* Approximate results, results that depend on where the code is, and what may fault or jump. */
static bool tame_row(const struct isa_row *r)
{
    static const char *const not_these[] = {
        "rcpps",    "rcpss",  "rsqrtps", "rsqrtss", "vrcpps", "vrcpss",   "vrsqrtps", "vrsqrtss",
        "f2xm1",    "fyl2x",  "fyl2xp1", "fptan",   "fpatan", "fsin",     "fcos",     "fsincos",
        "bound",    "int1",   "int3",    "into",    "ud0",    "ud1",      "ud2",      "enter",
        "maskmovq", "fldenv", "frstor",  "xlatb",   "leave",  "rdfsbase", "rdgsbase", NULL};
    if (r->attr & (A_BRANCH | A_CPL0 | A_IOPL | A_HLT) || in_list(r->name, not_these) ||
        wit_row_uses(r, OP_Sw, OP_Mp) || wit_row_uses(r, OP_Ob, OP_Ov) ||
        wit_row_uses(r, OP_VMdx, OP_VMqx) || strstr(r->name, "xrstor") ||
        strstr(r->name, "xsave") || strstr(r->name, "popf") || strstr(r->name, "maskmovdqu"))
        return false;
    return !(wit_row_uses(r, OP_DS, OP_ES) || wit_row_uses(r, OP_FS, OP_GS));
}

#define ROWS 3000
struct rows {
    const struct isa_row *all[ROWS], *tame[ROWS];
    unsigned n, tame_n;
};

static const struct rows *rows_of(const struct wit *w, enum isa_mode mode)
{
    static struct rows lists[3];
    struct rows *l = &lists[mode];
    if (l->n)
        return l;
    for (unsigned i = 0; i < isa_row_count; i++) {
        if (!wit_row_runs(w, &isa_rows[i], mode))
            continue;
        l->all[l->n++] = &isa_rows[i];
        if (tame_row(&isa_rows[i]))
            l->tame[l->tame_n++] = &isa_rows[i];
    }
    return l;
}

/* --- The state --- */

struct maker {
    const struct wit *w;
    struct rng g;
    struct wit_case *c;
    struct wit_insn i;
    bool tame;
};

void wit_default_state(struct wit_state *s)
{
    memset(s, 0, sizeof *s);
    s->x.fcw = 0x37f;
    s->x.mxcsr = 0x1f80;
    s->rflags = EF_FIXED | EF_IF;
    s->vector = EXC_NONE;
    s->ds = s->es = 0x2b;
}

static void any_x87(struct maker *m)
{
    struct wit_xsave *x = &m->c->in.x;
    struct rng *g = &m->g;
    x->fcw = 0x37f;
    if (one_in(g, 2))
        x->fcw = (uint16_t)(0x7f | below(g, 16) << 8);
    if (one_in(g, 16))
        x->fcw &= (uint16_t)~below(g, 64);
    x->fsw = (uint16_t)(below(g, 8) << 11 | below(g, 8) << 8 | below(g, 2) << 14);
    if (one_in(g, 4))
        x->fsw |= rng_next(g) & 0x7f & (m->tame || !one_in(g, 8) ? x->fcw | 0x40 : 0x7f);
    if (x->fsw & ~x->fcw & 0x3f)
        x->fsw |= 0x8080; /* as the hardware would have it */
    x->ftw = one_in(g, 3) ? (uint8_t)rng_next(g) : 0xff;
    if (one_in(g, 3)) /* room to push */
        x->ftw &= (uint8_t)~BIT(((x->fsw >> 11) + 7) & 7);
    uint16_t near = 0x3fff;
    for (unsigned i = 0; i < 8; i++) {
        any_f80(g, &x->st[i].sig, &x->st[i].exp, near);
        near = x->st[i].exp;
    }
}

static void any_mmx(struct maker *m)
{
    struct wit_xsave *x = &m->c->in.x;
    enum lanes kind = (enum lanes)below(&m->g, LANES_KINDS);
    for (unsigned i = 0; i < 8; i++)
        any_lanes(&m->g, &x->st[i].sig, 8, kind);
}

static void any_vectors(struct maker *m)
{
    struct wit_xsave *x = &m->c->in.x;
    struct rng *g = &m->g;
    enum lanes kind = (enum lanes)below(g, LANES_KINDS + 2);
    for (unsigned i = 0; i < 16; i++) {
        enum lanes k = kind < LANES_KINDS ? kind : (enum lanes)below(g, LANES_KINDS);
        any_lanes(g, x->xmm[i], 16, k);
        if (m->w->ymm)
            any_lanes(g, x->high[i], 16, k);
    }
    if (m->w->ymm && one_in(g, 6))
        memset(x->high, 0, sizeof x->high);
    x->mxcsr = 0x1f80;
    if (one_in(g, 2))
        x->mxcsr |= (uint32_t)(rng_next(g) & 0xe07f);
    if (one_in(g, 12))
        x->mxcsr = (uint32_t)(rng_next(g) & 0xffff);
}

static void any_state(struct maker *m)
{
    struct wit_case *c = m->c;
    struct rng *g = &m->g;
    wit_default_state(&c->in);
    for (unsigned i = 0; i < 16; i++)
        c->in.r[i] = any_int(g);
    if (one_in(g, 6)) /* equal operands */
        for (unsigned i = 0; i < 16; i++)
            c->in.r[i] = c->in.r[below(g, 2)];
    c->in.rflags |= rng_next(g) & (F_OSZAPC | F_D);
    if (!m->tame && one_in(g, 16))
        c->in.rflags |= EF_AC | (rng_next(g) & (EF_ID | EF_NT));
    any_x87(m);
    if (one_in(g, 2))
        any_mmx(m);
    any_vectors(m);
    for (unsigned i = 0; i < 16 && c->mode == ISA_32; i++) {
        c->in.r[i] = i < 8 ? (uint32_t)c->in.r[i] : 0;
        if (i >= 8) {
            memset(c->in.x.xmm[i], 0, 16);
            memset(c->in.x.high[i], 0, 16);
        }
    }
}

/* --- Addresses --- */

/* A linear address for an operand: mostly in the middle of the data, at times across an edge of it
 * or outside; `align` asks for an alignment most of the time. */
static uint64_t any_place(struct maker *m, unsigned asize, unsigned align)
{
    struct rng *g = &m->g;
    const unsigned span = align < 16 ? 64 : 0x380; /* an image */
    uint64_t base = WIT_DATA;
    if (asize == 8 && one_in(g, 3))
        base = WIT_HIGH;
    if (asize == 2)
        base = WIT_LOW;
    uint64_t at = 0x200 + below(g, 0x1a00);
    const uint64_t cut = align > 1 && !one_in(g, 8) ? -(uint64_t)align : ~0ull;
    if (m->tame)
        return base + (at & cut);
    switch (below(g, 32)) {
    case 0:
    case 1:
    case 2: return base + ((0x1000 - below(g, span)) & cut);
    case 3: return base + ((WIT_RW - below(g, span)) & cut);
    case 4: return base + ((WIT_RW + below(g, 0x800)) & cut);
    case 5: return base + ((WIT_BYTES - below(g, span)) & cut);
    case 6: return base - (below(g, span) & cut);
    case 7: return asize == 8 ? BIT(47) + (rng_next(g) & 0xffffffffffff) : base + (at & cut);
    default: return base + (at & cut);
    }
}

/* A segment with a base: what an offset of 32 bits reaches wraps. */
static bool may_wrap(const struct maker *m)
{
    const struct insn *in = &m->i.in;
    return m->c->mode == ISA_64 && in->asize == 4 && in->seg == SEG_GS;
}

/* The offset that leads there is below 0, and so at the end of its 32 bits. */
static uint64_t wrapping_place(struct maker *m, unsigned align)
{
    uint64_t at = WIT_GS - 1 - below(&m->g, one_in(&m->g, 2) ? 64 : 0x300);
    return one_in(&m->g, 8) ? at : at & -(uint64_t)align;
}

static uint64_t segment_base(const struct maker *m, unsigned seg)
{
    if (m->c->mode != ISA_64)
        return 0;
    return seg == SEG_FS ? m->w->fs : seg == SEG_GS ? WIT_GS : 0;
}

static uint64_t width_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : BIT(bytes * 8) - 1;
}

/* Sets the low `size` bytes of a register and leaves what is above them random. */
static void set_low(struct maker *m, unsigned reg, unsigned size, uint64_t v)
{
    uint64_t mask = width_mask(size), *r = &m->c->in.r[reg & 15];
    *r = (*r & ~mask) | (v & mask);
    if (m->c->mode == ISA_32)
        *r = (uint32_t)*r;
}

/* Changes registers or the displacement so that the ModRM operand is at `la`, as far as that can
 * be. Returns where it is. */
static uint64_t aim(struct maker *m, uint64_t la)
{
    const struct insn *in = &m->i.in;
    struct wit_case *c = m->c;
    bool vsib = wit_row_uses(in->row, OP_VMdx, OP_VMqx);
    uint64_t off = la - segment_base(m, in->seg), disp = (uint64_t)in->disp;
    uint64_t index = 0;
    if (in->index != ISA_NO_REG && in->index != in->base && !vsib && in->base < 16) {
        if (one_in(&m->g, 2)) /* a small index, or a wild one that the base makes good */
            set_low(m, in->index, in->asize, below(&m->g, 0x100) - 0x80);
        index = c->in.r[in->index] << in->scale;
    }
    if (in->base < 16) {
        unsigned times = in->index == in->base && !vsib ? 1 + (1u << in->scale) : 1;
        set_low(m, in->base, in->asize, (off - disp - index) / times);
    } else if (in->index != ISA_NO_REG && !vsib) {
        set_low(m, in->index, in->asize, ((off - disp) & width_mask(in->asize)) >> in->scale);
    } else {
        unsigned at = m->i.disp_at, n = m->i.disp_size;
        if (wit_row_uses(in->row, OP_Ob, OP_Ov)) {
            n = in->asize;
            at = in->length - n;
        }
        if (in->base == ISA_RIP)
            off -= WIT_CODE + c->code_at + in->length;
        uint8_t *d = c->code + c->start[c->insns - 1] + at;
        for (unsigned i = 0; i < n; i++)
            d[i] = (uint8_t)(off >> 8 * i);
    }
    return la;
}

/* --- What lies in memory --- */

static void patch_lanes(struct maker *m, uint64_t at, unsigned n)
{
    uint8_t b[64];
    any_lanes(&m->g, b, n, (enum lanes)below(&m->g, LANES_KINDS));
    wit_patch(m->c, at, b, n);
}

/* A number of every format that x87 loads. */
static void patch_x87(struct maker *m, uint64_t at, unsigned size)
{
    uint8_t b[16] = {0};
    struct rng *g = &m->g;
    uint64_t sig;
    uint16_t exp;
    switch (below(g, 5)) {
    case 0: put_le64(b, (uint64_t)((int64_t)rng_next(g) >> below(g, 64))); break;
    case 1: /* packed decimal */
        for (unsigned i = 0; i < 9; i++)
            b[i] = (uint8_t)(below(g, 10) << 4 | below(g, 10));
        b[9] = (uint8_t)(below(g, 2) << 7);
        break;
    default:
        if (size == 10) {
            any_f80(g, &sig, &exp, m->c->in.x.st[0].exp);
            put_le64(b, sig);
            put_le16(b + 8, exp);
        } else if (size == 4) {
            put_le32(b, any_f32(g, 0x3f800000));
        } else {
            put_le64(b, any_f64(g, 0x3ff0000000000000));
        }
    }
    wit_patch(m->c, at, b, sizeof b);
}

/* An image for FXRSTOR and XRSTOR: another random state, mostly well-formed. */
static void patch_xsave(struct maker *m, uint64_t at)
{
    struct wit_state kept = m->c->in;
    struct wit_xsave x;
    any_x87(m);
    any_vectors(m);
    x = m->c->in.x;
    m->c->in = kept;
    if (!one_in(&m->g, 8))
        x.mxcsr &= 0xffff;
    else
        x.mxcsr = (uint32_t)rng_next(&m->g);
    memset(x.unused, 0, sizeof x.unused);
    x.present = below(&m->g, 8) & (m->w->ymm ? 7 : 3);
    x.compact = one_in(&m->g, 3) ? BIT(63) | x.present | below(&m->g, m->w->ymm ? 8 : 4) : 0;
    if (one_in(&m->g, 16))
        x.header[below(&m->g, 6)] = one_in(&m->g, 2);
    wit_patch(m->c, at, &x, sizeof x);
}

/* FLDENV's and FRSTOR's, in 28 or 14 bytes and the registers. */
static void patch_environment(struct maker *m, uint64_t at)
{
    uint8_t b[108];
    struct wit_state kept = m->c->in;
    any_x87(m);
    const struct wit_xsave *x = &m->c->in.x;
    unsigned step = m->i.in.osize == 2 ? 2 : 4;
    for (unsigned i = 0; i < sizeof b; i++)
        b[i] = (uint8_t)rng_next(&m->g);
    put_le16(b, x->fcw);
    put_le16(b + step, x->fsw);
    for (unsigned i = 0; i < 8; i++) {
        put_le64(b + 7 * step + 10 * i, x->st[i].sig);
        put_le16(b + 7 * step + 10 * i + 8, x->st[i].exp);
    }
    m->c->in = kept;
    wit_patch(m->c, at, b, sizeof b);
}

static uint64_t code_target(struct maker *m)
{
    if (one_in(&m->g, 12))
        return any_int(&m->g);
    return WIT_CODE + m->c->code_at + 0x40 + below(&m->g, 0x200);
}

/* Those that Linux has for user code, null ones, and those of its own that are refused. */
static uint16_t any_selector(struct maker *m)
{
    static const uint16_t some[] = {0,    1,    2,    3,    0x08, 0x0b, 0x10, 0x13, 0x18,  0x1b,
                                    0x20, 0x23, 0x28, 0x2a, 0x2b, 0x2b, 0x30, 0x33, 0xfff3};
    return some[below(&m->g, ARRAY_LEN(some))];
}

static unsigned alignment(const struct isa_row *r)
{
    if (strstr(r->name, "xsave") || strstr(r->name, "xrstor"))
        return 64;
    if (r->attr & A_ALIGN)
        return 32;
    return strstr(r->name, "fx") || strstr(r->name, "16b") ? 16 : 1;
}

static void fill_operand(struct maker *m, uint64_t at)
{
    const struct isa_row *r = m->i.in.row;
    struct wit_case *c = m->c;
    bool image = strstr(r->name, "fxrstor") || strstr(r->name, "xrstor");
    if (image)
        patch_xsave(m, at);
    else if (!strcmp(r->name, "fldenv") || !strcmp(r->name, "frstor"))
        patch_environment(m, at);
    else if (r->attr & A_X87)
        patch_x87(m, at, m->i.in.op_count ? m->i.in.op[0].size : 8);
    else if (r->attr & A_BRANCH) {
        uint8_t b[8];
        put_le64(b, code_target(m));
        wit_patch(c, at, b, sizeof b);
    } else if (!strncmp(r->name, "cmpxchg", 7) && one_in(&m->g, 2)) {
        uint8_t b[16];
        unsigned half = r->name[7] == '1' ? 8 : 4;
        put_le64(b, c->in.r[R_AX]);
        put_le64(b + half, c->in.r[R_DX]);
        wit_patch(c, at, b, r->name[7] ? 2 * half : 8);
    } else if (!strcmp(r->name, "ldmxcsr")) {
        uint8_t b[4];
        put_le32(b, (uint32_t)(rng_next(&m->g) & (one_in(&m->g, 8) ? ~0u : 0xffff)));
        wit_patch(c, at, b, 4);
    } else
        patch_lanes(m, at, 64);
    if (r->op[0] == OP_Sw || wit_row_uses(r, OP_Mp, OP_Mp) || strchr("lv", r->name[0])) {
        uint8_t b[2];
        put_le16(b, any_selector(m));
        if (r->op[0] == OP_Sw || !strcmp(r->name, "lar") || !strcmp(r->name, "lsl") ||
            !strncmp(r->name, "verr", 3))
            wit_patch(c, at, b, 2);
        else if (wit_row_uses(r, OP_Mp, OP_Mp))
            wit_patch(c, at + m->i.in.osize, b, 2);
    }
}

/* --- Instructions with ways of their own --- */

static bool uses_stack(const struct isa_row *r)
{
    static const char *const names[] = {"call", "ret", "enter", "leave", NULL};
    return in_list(r->name, names) || !strncmp(r->name, "pop", 3) || !strncmp(r->name, "push", 4);
}

static void set_string(struct maker *m)
{
    const struct insn *in = &m->i.in;
    bool x = false, y = false;
    for (unsigned i = 0; i < in->op_count; i++) {
        x |= in->op[i].where == W_X;
        y |= in->op[i].where == W_Y;
    }
    if (!x && !y)
        return;
    uint64_t from = any_place(m, in->asize, 1), to = any_place(m, in->asize, 1);
    /* Not the same pages by two addresses: a processor that copies quickly does not see that source
     * and destination overlap. */
    if (from >> 40 != to >> 40)
        to = (from & ~0xffffffffull) | (uint32_t)to;
    if (one_in(&m->g, 3)) /* overlapping */
        to = from + below(&m->g, 40) - 20;
    if (x)
        set_low(m, R_SI, in->asize, from - segment_base(m, in->seg));
    if (y)
        set_low(m, R_DI, in->asize, to);
    if (in->rep)
        set_low(m, R_CX, in->asize, one_in(&m->g, 8) ? below(&m->g, 300) : below(&m->g, 9));
    if (in->row->attr & A_REPZ && one_in(&m->g, 2)) {
        uint8_t b[32];
        any_lanes(&m->g, b, sizeof b, LANES_BYTES);
        wit_patch(m->c, from, b, sizeof b);
        wit_patch(m->c, to, b, sizeof b);
    }
}

static void set_gather(struct maker *m)
{
    const struct insn *in = &m->i.in;
    bool dwords = wit_row_uses(in->row, OP_VMdx, OP_VMdx);
    if ((!dwords && !wit_row_uses(in->row, OP_VMqx, OP_VMqx)) || in->index > 15)
        return;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t v = below(&m->g, 400) - 200;
        if (dwords)
            v = (uint32_t)v | (below(&m->g, 400) - 200) << 32;
        *(i < 2 ? &m->c->in.x.xmm[in->index][i] : &m->c->in.x.high[in->index][i - 2]) = v;
    }
}

static void set_stack(struct maker *m)
{
    struct wit_case *c = m->c;
    bool code64 = c->mode == ISA_64;
    uint64_t at = any_place(m, code64 ? 8 : 4, one_in(&m->g, 8) ? 1 : 8);
    set_low(m, R_SP, code64 ? 8 : 4, at);
    const char *name = m->i.in.row->name;
    if (!strcmp(name, "enter") || !strcmp(name, "leave"))
        set_low(m, R_BP, code64 ? 8 : 4, any_place(m, code64 ? 8 : 4, 8));
    uint8_t b[8];
    put_le64(b, any_int(&m->g));
    if (!strcmp(name, "ret"))
        put_le64(b, code_target(m));
    if (!strncmp(name, "popf", 4)) /* no single steps, which come behind the next instruction */
        put_le64(b, rng_next(&m->g) & ~(uint64_t)EF_TF);
    if (wit_row_uses(m->i.in.row, OP_DS, OP_ES))
        put_le16(b, any_selector(m));
    wit_patch(c, at, b, sizeof b);
}

static void set_special(struct maker *m)
{
    const struct insn *in = &m->i.in;
    struct wit_case *c = m->c;
    const char *name = in->row->name;
    if (!strcmp(name, "xlatb"))
        set_low(m, R_BX, in->asize,
                any_place(m, in->asize, 1) - segment_base(m, in->seg) - (c->in.r[R_AX] & 0xff));
    if (strstr(name, "maskmov") && !in->is_mem)
        set_low(
            m, R_DI, in->asize,
            (may_wrap(m) && one_in(&m->g, 2) ? wrapping_place(m, 1) : any_place(m, in->asize, 1)) -
                segment_base(m, in->seg));
    if (!strncmp(name, "bt", 2) && in->is_mem && in->op[1].where == W_G && !one_in(&m->g, 16))
        c->in.r[in->op[1].reg] = below(&m->g, 0x800) - 0x400;
    if (strstr(name, "xsave") || strstr(name, "xrstor")) { /* the host may have more components */
        c->in.r[R_AX] = below(&m->g, 8);
        c->in.r[R_DX] = 0;
    }
    if ((!strcmp(name, "div") || !strcmp(name, "idiv")) && !one_in(&m->g, 4)) {
        uint64_t v = below(&m->g, 4);
        c->in.r[R_DX] = one_in(&m->g, 2) ? v : c->in.r[R_AX] >> 63 ? ~0ull : 0;
        if (one_in(&m->g, 2) && in->op[0].size == 1)
            c->in.r[R_AX] &= 0xfff;
    }
    bool selector = in->row->op[0] == OP_Sw || !strcmp(name, "lar") || !strcmp(name, "lsl") ||
                    !strcmp(name, "verr") || !strcmp(name, "verw");
    if (selector && !in->is_mem) {
        const struct isa_opnd *op = &in->op[in->op_count - 1];
        set_low(m, op->reg, 2, any_selector(m));
    }
    if (in->row->attr & A_BRANCH && in->op_count && in->op[0].where == W_E)
        c->in.r[in->op[0].reg & 15] = code_target(m);
    if (c->mode == ISA_32)
        for (unsigned i = 0; i < 8; i++)
            c->in.r[i] = (uint32_t)c->in.r[i];
}

/* A relative branch goes outside the case's own bytes: whatever immediates may spell, nobody runs
 * it. */
static void set_target(struct maker *m)
{
    const struct insn *in = &m->i.in;
    if (!in->op_count || in->op[0].where != W_J)
        return;
    uint8_t *end = m->c->code + m->c->start[m->c->insns - 1] + in->length;
    if (in->row->op[0] == OP_Jb) {
        end[-1] = (uint8_t)(one_in(&m->g, 2) ? 0x20 + below(&m->g, 0x60) : 0x80 + below(&m->g, 64));
        return;
    }
    uint32_t d =
        (uint32_t)(one_in(&m->g, 12) ? rng_next(&m->g) | 0x1000 : 0x20 + below(&m->g, 999));
    for (unsigned i = in->osize == 2 ? 2 : 4; i; i--)
        end[-(int)i] = (uint8_t)d, d >>= 8;
}

/* --- Cases --- */

static bool append(struct maker *m, const struct isa_row *r)
{
    struct wit_case *c = m->c;
    unsigned tries = 0;
    while (!wit_encode(&m->g, &m->w->features, r, c->mode, m->tame, &m->i))
        if (++tries == 20)
            return false;
    const struct isa_row *row = m->i.in.row;
    if (row && (wit_row_excluded(row) || (m->w->only && row != r)))
        return false;
    if (row && row->op[0] == OP_Sw && m->i.in.op[0].reg != SEG_DS && m->i.in.op[0].reg != SEG_ES)
        return false;
    c->start[c->insns++] = (uint8_t)c->code_len;
    memcpy(c->code + c->code_len, m->i.b, m->i.in.length);
    c->code_len += m->i.in.length;
    return true;
}

static void any_code_place(struct maker *m)
{
    struct wit_case *c = m->c;
    c->code_at = (uint16_t)(0x100 + below(&m->g, 0xc00));
    if (m->tame || !one_in(&m->g, 32))
        return;
    if (one_in(&m->g, 2)) /* across the pages' border, or over the end of the second */
        c->code_at = (uint16_t)(PAGE_SIZE - below(&m->g, 16));
    else
        c->code_at = (uint16_t)(WIT_CODE_BYTES - 1 - below(&m->g, 14));
}

static bool make_single(struct maker *m, const struct rows *rows)
{
    struct wit_case *c = m->c;
    any_code_place(m);
    if (!rows->n || !append(m, rows->all[below(&m->g, rows->n)]))
        return false;
    any_state(m);
    const struct insn *in = &m->i.in;
    if (!in->row)
        return true;
    if (in->row->attr & A_MMX)
        any_mmx(m);
    set_gather(m);
    if (uses_stack(in->row))
        set_stack(m);
    set_string(m);
    set_special(m);
    set_target(m);
    if (!strcmp(in->row->name, "enter")) { /* few levels, mostly */
        c->code[c->code_len - 2] &= 1;
        c->code[c->code_len - 1] &= one_in(&m->g, 4) ? 31 : 3;
    }
    bool by_mask = strstr(in->row->name, "xsave") || strstr(in->row->name, "xrstor");
    if (by_mask && (in->base == R_AX || in->index == R_AX || in->base == R_DX || in->index == R_DX))
        return false; /* EDX:EAX chooses components, and the host may have more */
    if (in->is_mem) {
        unsigned align = alignment(in->row);
        bool wraps = may_wrap(m) && one_in(&m->g, 2);
        uint64_t at = aim(m, wraps ? wrapping_place(m, align) : any_place(m, in->asize, align));
        fill_operand(m, wraps && one_in(&m->g, 2) ? at + PAGE_SIZE : at); /* see WIT_OVER */
    }
    return true;
}

/* Does a tame instruction write a register that the others point by? */
static bool writes_pointer(const struct insn *in)
{
    for (unsigned i = 0; i < in->op_count; i++) {
        unsigned where = in->op[i].where, reg = in->op[i].reg;
        bool general = where == W_E || where == W_G || where == W_Z || where == W_B;
        if (general && (reg == R_SP || reg == R_SI || reg == R_DI))
            return true;
    }
    return false;
}

/* SDM: results, not flags, that are undefined. */
static bool undefined_result(const struct insn *in)
{
    const char *n = in->row->name;
    return in->osize == 2 &&
           (!strncmp(n, "shld", 4) || !strncmp(n, "shrd", 4) || !strncmp(n, "bswap", 5));
}

static void remove_last(struct wit_case *c)
{
    c->code_len = c->start[--c->insns];
}

static bool make_sequence(struct maker *m, const struct rows *rows)
{
    struct wit_case *c = m->c;
    unsigned want = 2 + (unsigned)below(&m->g, WIT_INSNS - 2);
    uint32_t undefined = 0;
    any_code_place(m);
    unsigned jump = below(&m->g, 3) ? WIT_INSNS : (unsigned)below(&m->g, want - 1);
    for (unsigned tries = 0; rows->tame_n && c->insns < want && tries < 64; tries++) {
        bool skip = c->insns == jump && !undefined && want - c->insns >= 2;
        if (skip) {
            c->start[c->insns++] = (uint8_t)c->code_len;
            c->code[c->code_len++] = (uint8_t)(0x70 | below(&m->g, 16));
            c->code[c->code_len++] = 0;
        }
        jump = skip ? WIT_INSNS : jump;
        bool ok = append(m, rows->tame[below(&m->g, rows->tame_n)]);
        const struct insn *in = &m->i.in;
        if (ok && (writes_pointer(in) || undefined_result(in) || in->seg_override ||
                   in->row->flags_read & undefined)) {
            remove_last(c);
            ok = false;
        }
        if (!ok) {
            if (skip)
                remove_last(c);
            continue;
        }
        /* a row that reads a flag and writes it may leave it alone */
        undefined &= ~(in->row->flags_written & ~in->row->flags_read) | (skip ? ~0u : 0);
        undefined |= in->row->flags_undefined;
        if (skip)
            c->code[c->start[c->insns - 2] + 1] = in->length;
    }
    any_state(m);
    for (unsigned i = 0; i < 2; i++)
        c->in.r[i ? R_SI : R_DI] =
            WIT_DATA + 0x1000 + below(&m->g, 0x40) * (one_in(&m->g, 2) ? 8 : 1);
    c->in.r[R_SP] = WIT_DATA + 0x1000 + below(&m->g, 0x40) * 8;
    c->in.r[R_CX] &= one_in(&m->g, 2) ? 0x1f : ~0ull;
    for (unsigned i = 0; i < 2; i++)
        patch_lanes(m, WIT_DATA + 0x1000 + below(&m->g, 0x80), 64);
    return c->insns > 0;
}

bool wit_make(const struct wit *w, uint64_t seed, uint64_t n, struct wit_case *c)
{
    struct maker m = {.w = w, .c = c};
    rng_seed(&m.g, seed * 0x9e3779b97f4a7c15ull + n);
    c->mode = one_in(&m.g, 3) ? ISA_32 : ISA_64;
    c->code_len = 0;
    c->insns = 0;
    c->patches = c->pool_used = 0;
    c->odd_budget = one_in(&m.g, 4);
    m.tame = !w->singles || (w->sequences && one_in(&m.g, 3));
    const struct rows *rows = rows_of(w, c->mode);
    bool ok = m.tame ? make_sequence(&m, rows) : make_single(&m, rows);
    return ok && c->code_len <= WIT_CODE_MAX;
}
