/* Lifting a block: the loop over its instructions, what all lifters share, and the removal of
 * flags that nobody reads. */
#include "cpu/lift.h"

#include "cpu/block.h"
#include "cpu/helpers.h"
#include "cpu/lifters.h"
#include "cpu/stops.h"
#include "cpu/vec.h"
#include "cpu/x87.h"

/* The last two columns of the rows. */
struct lifter {
    lift_fn *fn;
    struct lift_arg arg;
};
#define ROW(map, opcode, prefix, modrm, name, ops, fl, attr, feature, lifter_, ...) \
    {lift_##lifter_, {__VA_ARGS__}},
static const struct lifter lifters[] = {
#include "isa/table_int.def"
#include "isa/table_sse.def"
#include "isa/table_x87.def"
};
#undef ROW

#define INSN_UOPS 48 /* at most so many uops an instruction */

struct uop *lift_emit(struct lift *l, unsigned op, unsigned dst, unsigned a, unsigned b,
                      int64_t imm)
{
    CHECK(l->count < l->capacity);
    struct uop *u = &l->out[l->count++];
    *u = (struct uop){.op = (uint16_t)op,
                      .dst = (uint8_t)dst,
                      .a = (uint8_t)a,
                      .b = (uint8_t)b,
                      .size = l->in->osize,
                      .seg = l->in->seg,
                      .insn = l->insn_index,
                      .asize = l->in->asize,
                      .ip = (uint16_t)l->ip_off,
                      .next = (uint16_t)(l->ip_off + l->in->length),
                      .imm = imm};
    return u;
}

unsigned lift_temp(struct lift *l)
{
    CHECK(l->temps < R_T7 - R_T0);
    return R_T0 + l->temps++;
}

void lift_raise(struct lift *l, unsigned vector)
{
    lift_emit(l, UOP_RAISE, R_ZERO, R_ZERO, R_ZERO, vector);
    l->ends = true;
}

void lift_ud(struct lift *l)
{
    lift_raise(l, EXC_UD);
}

/* Addresses. */

static bool flat_data(const struct lift *l)
{
    switch (l->in->seg) {
    case SEG_DS: return l->key & KEY_FLAT_DS;
    case SEG_ES: return l->key & KEY_FLAT_ES;
    case SEG_SS: return l->key & KEY_FLAT_SS;
    default: return false; /* CS may be execute-only */
    }
}

static unsigned form_of(const struct lift *l, bool indexed)
{
    bool code64 = (l->key & KEY_CODE) == ISA_64, fs_gs = l->in->seg >= SEG_FS;
    if (code64 && fs_gs)
        return l->in->asize == 8 ? FORM_G : FORM_S;
    if (code64 || flat_data(l)) {
        if (l->in->asize == 8)
            return indexed ? FORM_X64 : FORM_B64;
        if (l->in->asize == 4)
            return indexed ? FORM_X32 : FORM_B32;
    }
    return FORM_S;
}

unsigned lift_form(const struct lift *l)
{
    return form_of(l, l->in->index != ISA_NO_REG);
}

void lift_address(struct lift *l, struct uop *u)
{
    const struct insn *in = l->in;
    u->a = in->base == ISA_NO_REG ? R_ZERO : in->base == ISA_RIP ? R_IP : in->base;
    u->b = in->index == ISA_NO_REG ? R_ZERO : in->index;
    u->scale = in->index == ISA_NO_REG ? 0 : in->scale;
    u->seg = in->seg;
    u->asize = in->asize;
    u->imm = in->disp;
    if (in->base == ISA_RIP)
        u->imm += (int64_t)l->ip_off + in->length;
}

void lift_ea(struct lift *l, unsigned dst)
{
    unsigned asize = l->in->asize;
    lift_address(l, lift_emit(l, asize == 4 ? UOP_LEA32 : UOP_LEA64, dst, 0, 0, 0));
    if (asize == 2)
        lift_emit(l, UOP_ZX16, dst, dst, R_ZERO, 0);
}

static struct uop *memory(struct lift *l, unsigned family, unsigned reg, unsigned size)
{
    struct uop *u = lift_emit(l, family + lift_form(l), reg, R_ZERO, R_ZERO, 0);
    lift_address(l, u);
    u->size = (uint8_t)size;
    return u;
}

void lift_load(struct lift *l, unsigned dst, unsigned size)
{
    memory(l, UOP_LDZ8_B64 + FORM_COUNT * lg_size(size), dst, size);
}

void lift_store(struct lift *l, unsigned from, unsigned size)
{
    memory(l, UOP_ST8_B64 + FORM_COUNT * lg_size(size), from, size);
}

void lift_load_at(struct lift *l, unsigned dst, unsigned a, unsigned b, int64_t imm, unsigned size)
{
    unsigned op = UOP_LDZ8_B64 + FORM_COUNT * lg_size(size) + form_of(l, b != R_ZERO);
    lift_emit(l, op, dst, a, b, imm)->size = (uint8_t)size;
}

unsigned lift_load_rmw(struct lift *l, unsigned size)
{
    unsigned t = lift_temp(l);
    struct uop *u = memory(l, UOP_LDW8_B64 + FORM_COUNT * lg_size(size), t, size);
    u->aux = l->in->lock ? UOP_LOCK : 0;
    return t;
}

void lift_store_rmw(struct lift *l, unsigned from, unsigned size)
{
    struct uop *u = lift_emit(l, UOP_STW8 + lg_size(size), R_ZERO, from, R_ZERO, 0);
    u->size = (uint8_t)size;
    u->aux = l->in->lock ? UOP_LOCK : 0;
}

/* Alignment that the row asks for, as address bits. */
static void memory_vec(struct lift *l, unsigned family, unsigned vreg, unsigned size)
{
    memory(l, family, vreg, size)->aux = l->in->row->attr & A_ALIGN ? (uint16_t)(size - 1) : 0;
}

void lift_load_vec(struct lift *l, unsigned vreg, unsigned size)
{
    unsigned family = size == 4    ? UOP_LDV4_B64
                      : size == 8  ? UOP_LDV8_B64
                      : size == 16 ? UOP_LDV16_B64
                                   : UOP_LDV_B64;
    if (l->in->vex && vreg < 16)
        family = UOP_LDV_B64;
    memory_vec(l, family, vreg, size);
}

void lift_store_vec(struct lift *l, unsigned vreg, unsigned size)
{
    unsigned family = size == 4    ? UOP_STV4_B64
                      : size == 8  ? UOP_STV8_B64
                      : size == 16 ? UOP_STV16_B64
                                   : UOP_STV_B64;
    memory_vec(l, family, vreg, size);
}

/* Operands. */

static bool is_memory(const struct isa_opnd *o)
{
    return o->where == W_M || o->where == W_O;
}

unsigned lift_get(struct lift *l, unsigned i)
{
    const struct isa_opnd *o = &l->in->op[i];
    unsigned t;
    if (is_memory(o)) {
        t = lift_temp(l);
        lift_load(l, t, o->size);
        return t;
    }
    if (o->where == W_I || o->where == W_ONE) {
        t = lift_temp(l);
        lift_emit(l, UOP_MOV_I64, t, R_ZERO, R_ZERO, o->where == W_ONE ? 1 : (int64_t)l->in->imm);
        return t;
    }
    if (o->size == 1 && (o->reg & ISA_HIGH)) {
        t = lift_temp(l);
        lift_emit(l, UOP_EXTH, t, LIFT_REG(o), R_ZERO, 0);
        return t;
    }
    return LIFT_REG(o);
}

void lift_put(struct lift *l, unsigned i, unsigned from)
{
    const struct isa_opnd *o = &l->in->op[i];
    if (is_memory(o))
        lift_store(l, from, o->size);
    else if (o->size == 1 && (o->reg & ISA_HIGH))
        lift_emit(l, UOP_INSH, LIFT_REG(o), from, R_ZERO, 0);
    else
        lift_emit(l, UOP_MOV_R8 + lg_size(o->size), LIFT_REG(o), from, R_ZERO, 0);
}

/* Helpers. */

struct uop *lift_call(struct lift *l, uop_helper *fn)
{
    struct uop *u = lift_emit(l, UOP_HELP, R_ZERO, R_ZERO, R_ZERO, 0);
    u->helper = fn;
    return u;
}

struct uop *lift_call_quiet(struct lift *l, uop_helper *fn, unsigned sets, bool reads)
{
    struct uop *u = lift_emit(l, UOP_CALLQ, R_ZERO, R_ZERO, R_ZERO, 0);
    u->helper = fn;
    u->aux = (uint16_t)sets;
    u->scale = reads;
    return u;
}

void lift_help(struct lift *l)
{
    const struct insn *in = l->in;
    const struct isa_opnd *o = in->op;
    unsigned immediates = 0;
    if (in->is_mem)
        lift_ea(l, R_T0);
    for (unsigned i = 0; i < in->op_count; i++)
        immediates += o[i].where == W_A ? 2 : o[i].where == W_I;
    if (immediates > 1)
        lift_emit(l, UOP_MOV_I64, R_T1, R_ZERO, R_ZERO, in->imm2);
    struct uop *u = lift_call(l, l->arg->help);
    u->imm = (int64_t)in->imm;
    if (l->arg->n)
        u->size = (uint8_t)l->arg->n;
    u->dst = o[0].reg;
    if (in->has_modrm) {
        bool segment = in->op_count && (o[0].where == W_S || o[in->op_count - 1].where == W_S);
        u->dst = (uint8_t)(in->modrm >> 3 & 7); /* REX.R does not reach segment registers */
        if (in->rex & 4 && !segment)
            u->dst |= 8;
        if (!in->is_mem)
            u->a = (uint8_t)((in->modrm & 7) | (in->rex & 1 ? 8 : 0));
        u->aux = in->is_mem;
    }
    if (in->row->attr & A_REP)
        u->aux |= (uint16_t)(in->rep << 8);
}

/* Flags. */

static bool in_family(unsigned op, unsigned first, unsigned n)
{
    return op - first < n;
}

struct uop_effect uop_effect(const struct uop *u)
{
    unsigned op = u->op, v;
    if (in_family(op, UOP_ADD_R8, UOP_CMP_R8 - UOP_ADD_R8)) {
        v = (op - UOP_ADD_R8) / 16;
        uint32_t reads = v == ALU_ADC || v == ALU_SBB ? F_C : 0;
        if ((op - UOP_ADD_R8) & UOP_NOFLAGS)
            return (struct uop_effect){0, 0, reads, false};
        return (struct uop_effect){F_OSZAPC, 0, reads, true};
    }
    if (in_family(op, UOP_CMP_R8, UOP_INC8 - UOP_CMP_R8))
        return (struct uop_effect){F_OSZAPC, 0, 0, false};
    if (in_family(op, UOP_INC8, UOP_ROL_R8 - UOP_INC8))
        return (struct uop_effect){F_OSZAP, 0, 0, false};
    if (in_family(op, UOP_ROL_R8, UOP_SHL_R8 - UOP_ROL_R8)) {
        uint32_t reads = op >= UOP_RCL_R8 ? F_C : 0;
        if ((op - UOP_ROL_R8) & UOP_NOFLAGS)
            return (struct uop_effect){0, 0, reads, false};
        bool sure = ((op - UOP_ROL_R8) & UOP_IMM) && !reads;
        return (struct uop_effect){sure ? F_C | F_O : 0, F_C | F_O, reads, true};
    }
    if (in_family(op, UOP_SHL_R8, UOP_IMUL_R8 - UOP_SHL_R8)) {
        if ((op - UOP_SHL_R8) & UOP_NOFLAGS)
            return (struct uop_effect){0};
        bool sure = (op - UOP_SHL_R8) & UOP_IMM;
        return (struct uop_effect){sure ? F_OSZAPC : 0, F_OSZAPC, 0, true};
    }
    if (in_family(op, UOP_IMUL_R8, UOP_BT_R8 - UOP_IMUL_R8)) {
        if ((op - UOP_IMUL_R8) & UOP_NOFLAGS)
            return (struct uop_effect){0};
        return (struct uop_effect){F_OSZAPC, 0, 0, true};
    }
    if (in_family(op, UOP_BT_R8, UOP_COND - UOP_BT_R8))
        return (struct uop_effect){F_C, 0, 0, false};
    if (in_family(op, UOP_COND, UOP_CMOV16 - UOP_COND))
        return (struct uop_effect){0, 0, F_OSZAPC, false};
    if (op == UOP_CALLQ)
        return (struct uop_effect){u->aux & F_OSZAPC, u->scale ? F_OSZAPC : 0,
                                   u->scale ? F_OSZAPC : 0, false};
    return (struct uop_effect){0};
}

bool uop_observes(const struct uop *u)
{
    unsigned op = u->op;
    if (in_family(op, UOP_STW8, 4) || op == UOP_CALLQ)
        return false;
    return op >= UOP_LD;
}

bool uop_exits(unsigned op)
{
    return op >= UOP_JMP || op == UOP_RAISE || op == UOP_UNKNOWN;
}

const struct uop *lift_flag_setter(const struct lift *l)
{
    for (unsigned i = l->count; i-- > 0;) {
        const struct uop *u = &l->out[i];
        struct uop_effect e = uop_effect(u);
        bool calls = u->op == UOP_CALLQ || u->op == UOP_CALLF;
        if (u->op == UOP_HELP || (calls && (u->aux || u->scale)))
            return NULL;
        if (e.sets | e.may)
            return (e.sets & F_OSZAP) == F_OSZAP && u->op < UOP_IMUL_R8 ? u : NULL;
    }
    return NULL;
}

/* INC and DEC whose CF nobody wants become ADD and SUB of 1, which needs no old CF. */
static void quiet_step(struct uop *u, bool flags)
{
    bool dec = u->op >= UOP_DEC8;
    unsigned lg = (u->op - UOP_INC8) & 3;
    u->op = (uint16_t)((dec ? UOP_SUB_I8 : UOP_ADD_I8) + lg + (flags ? 0 : UOP_NOFLAGS));
    u->imm = 1;
}

static void remove_dead_flags(struct lift *l)
{
    uint32_t live = F_OSZAPC;
    unsigned kept = l->capacity;
    for (unsigned i = l->count; i-- > 0;) {
        struct uop u = l->out[i];
        struct uop_effect e = uop_effect(&u);
        if (in_family(u.op, UOP_INC8, 8) && !(live & F_C)) {
            quiet_step(&u, live & F_OSZAP);
            e = uop_effect(&u);
        } else if (in_family(u.op, UOP_INC8, 8) && !(live & F_OSZAP)) {
            quiet_step(&u, false);
            e = uop_effect(&u);
        }
        if (!(live & (e.sets | e.may)) && (e.sets | e.may)) {
            if (e.has_quiet) {
                u.op = (uint16_t)(u.op + UOP_NOFLAGS);
                e.sets = 0;
            } else if (u.op != UOP_CALLQ) {
                continue; /* flags were all it was for */
            }
        }
        live = (live & ~e.sets) | e.reads;
        if (uop_observes(&u))
            live = F_OSZAPC;
        if (u.op != UOP_NOP)
            l->out[--kept] = u;
    }
    l->count = l->capacity - kept;
    memmove(l->out, l->out + kept, l->count * sizeof *l->out);
}

/* The loop. */

/* What must be so before an instruction of this row may run; false: it raised. */
static bool allowed(struct lift *l)
{
    uint32_t attr = l->in->row->attr, key = l->key;
    if ((attr & A_PM) && !(key & KEY_PROT))
        return lift_ud(l), false;
    if ((attr & A_VEX) && !(attr & A_GPR) && !(key & KEY_AVX))
        return lift_ud(l), false;
    if ((attr & A_SSE) && (key & KEY_SSE_UD))
        return lift_ud(l), false;
    if ((attr & A_MMX) && (key & KEY_MMX_UD))
        return lift_ud(l), false;
    if ((attr & A_CPL0) && (key >> KEY_CPL_SHIFT & 3)) {
        lift_raise(l, EXC_GP);
        return false;
    }
    if (((attr & A_SSE) && (key & KEY_SSE_NM)) ||
        ((attr & (A_X87 | A_MMX)) && (key & KEY_FPU_NM))) {
        lift_raise(l, EXC_NM);
        return false;
    }
    return true;
}

static void lift_one(struct lift *l, enum isa_result result)
{
    const struct insn *in = l->in;
    l->temps = 0;
    l->ends = false;
    if (result == ISA_TOO_LONG) {
        lift_raise(l, EXC_GP);
        return;
    }
    if (result != ISA_OK) {
        lift_emit(l, UOP_UNKNOWN, R_ZERO, R_ZERO, R_ZERO, 0);
        l->ends = true;
        return;
    }
    if (!allowed(l))
        return;
    const struct lifter *f = &lifters[isa_row_index(in->row)];
    l->arg = &f->arg;
    f->fn(l);
    if (in->row->attr & (A_BRANCH | A_END))
        l->ends = true;
}

/* Closes the block after its last instruction. */
static void close_block(struct lift *l, unsigned bytes)
{
    const struct uop *last = l->count ? &l->out[l->count - 1] : NULL;
    if (last && uop_exits(last->op))
        return;
    struct uop *u;
    if (l->ends) {
        u = lift_emit(l, UOP_EXIT, R_ZERO, R_ZERO, R_ZERO, 0);
        u->aux = !last || last->op != UOP_HELP || last->insn != u->insn;
    } else {
        u = lift_emit(l, UOP_JNZ, R_ZERO, R_ZERO, R_ZERO, 0); /* never taken: behind the block */
    }
    u->next = (uint16_t)bytes;
}

static bool count_row(struct cpu *c, const struct uop *u)
{
    __atomic_fetch_add(&c->coverage[u->imm], 1, __ATOMIC_RELAXED); /* of all CPUs */
    return true;
}

/* Is a long block to end here? In straight code blocks end at the same places wherever they began,
 * so that a run which stopped in the middle of one soon meets blocks that are there already. n:
 * bytes from the block's first to the page's end. */
static bool at_line(const struct lifted *out, size_t n, unsigned length)
{
    size_t end = out->bytes - n; /* to the page's end, negative; lines are 256 bytes */
    return out->insn_count >= 24 && ((end ^ (end - length)) >> 8);
}

void lift_block(const struct cpu *c, struct lifted *out, struct uop *uops, unsigned capacity,
                const uint8_t *bytes, size_t n, uint32_t key, unsigned max)
{
    struct insn in;
    struct lift l = {.in = &in,
                     .key = key,
                     .out = uops,
                     .capacity = capacity,
                     .parallel = c->parallel,
                     .turns = c->count > 1 && !c->parallel};
    uint64_t la = stops_pc(c);
    *out = (struct lifted){0};
    while (out->insn_count < max && l.count + INSN_UOPS < capacity) {
        enum isa_result r = isa_decode(&in, bytes + out->bytes, n - out->bytes,
                                       (enum isa_mode)(key & KEY_CODE), &c->features);
        if (r == ISA_TRUNCATED) {
            out->crosses = !out->insn_count;
            break;
        }
        if (r == ISA_TOO_LONG)
            in.length = ISA_MAX_LEN;
        l.ip_off = out->bytes;
        l.insn_index = (uint8_t)out->insn_count;
        if (stops_wanted(c, la + out->bytes)) { /* its block begins with the question */
            if (out->insn_count)
                break;
            lift_call(&l, stops_check)->aux = in.rep && r == ISA_OK && (in.row->attr & A_REP);
        }
        if (r == ISA_OK && alone_wanted(c, in.row)) {
            if (out->insn_count)
                break;
            lift_call(&l, alone_check)->aux = c->alone.rows[isa_row_index(in.row)];
        }
        if (UNLIKELY(c->coverage != NULL) && r == ISA_OK)
            lift_call_quiet(&l, count_row, 0, false)->imm = isa_row_index(in.row);
        lift_one(&l, r);
        out->insn_count++;
        out->bytes += in.length;
        if (l.ends || l.rests || out->bytes >= n || at_line(out, n, in.length))
            break;
    }
    if (out->crosses)
        return;
    close_block(&l, out->bytes);
    remove_dead_flags(&l);
    out->uop_count = l.count;
}
