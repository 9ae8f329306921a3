/* Calls of C out of generated code. */
#include "cpu/x87.h"
#include "jit/own.h"

uint64_t jit_place(const struct cpu *c, const struct jit_site *s)
{
    uint64_t at = c->jit.page + (uint64_t)(int64_t)s->page;
    return (at + (s->block->paddr & (PAGE_SIZE - 1))) & s->block->mask[0]; /* it may be dead */
}

/* Makes c what the interpreter would have it be before uop s->u. */
static void arrive(struct cpu *c, const struct jit_site *s)
{
    c->block = s->block;
    c->s.r[R_IP] = jit_place(c, s);
    c->s.icount = (uint64_t)(c->jit.limit - c->jit.left - s->ahead);
    flags_settle(c);
}

static bool depart(struct cpu *c, const struct jit_site *s)
{
    c->jit.left = c->jit.limit - (int64_t)c->s.icount - s->ahead;
    if (UNLIKELY(cpu_requests(c) || c->s.activity != ACT_RUN)) { /* no further block fits */
        c->jit.left -= INT64_MAX / 4;
        c->jit.limit -= INT64_MAX / 4;
        c->jit.first -= INT64_MAX / 4;
    }
    return true;
}

/* Must a trace be left at the end of the block that called? It was dropped meanwhile, its pages may
 * be elsewhere, or somebody wants attention. */
static bool gone(const struct cpu *c, const struct jit_site *s)
{
    const uint8_t *code = c->jit.jit->mem.rw;
    if (!s->trace)
        return false;
    const struct jit_block *t = (const struct jit_block *)(const void *)(code + s->trace);
    return cpu_requests(c) || c->s.activity != ACT_RUN || t->gone ||
           (t->span && c->jit.spans[c->jit.space][t->span] != c->jit.stamp);
}

bool jit_access(struct cpu *c, const struct jit_site *s)
{
    const struct uop *u = s->u;
    arrive(c, s);
    c->jit.accesses++;
    uint64_t generation = c->tlb->generation;
    if (!interp_access(c, u))
        return false;
    if (UNLIKELY(c->tlb->generation != generation || gone(c, s)) && !uop_exits(u->op)) {
        c->jit.resume = u + 1; /* windows are no longer what they were */
        return false;
    }
    /* A device's register is read and written in two steps; the interpreter takes the second. */
    if (u->op >= UOP_LDW8_B64 && u->op < UOP_STW8 && !c->rmw) {
        c->jit.resume = u + 1;
        return false;
    }
    return depart(c, s);
}

/* A register's value, or its lower half extended. */
static uint64_t extended(uint64_t v, unsigned as)
{
    return as == 0 ? v : as == 1 ? (uint32_t)v : (uint64_t)(int32_t)v;
}

/* Is a window across two pages that are in the TLB, and neighbours in the host's memory? */
static bool side_by_side(const struct cpu *c, const struct jit_site *s, uint64_t first)
{
    const struct tlb_entry *a = tlb_slot(c, c->tlb_ctx, first);
    const struct tlb_entry *b = tlb_slot(c, c->tlb_ctx, first + PAGE_SIZE);
    uint64_t page = first & ~(uint64_t)(PAGE_SIZE - 1);
    return (first & (PAGE_SIZE - 1)) + s->bytes > PAGE_SIZE && a->addend == b->addend &&
           (s->write ? a->write : a->read) == page &&
           (s->write ? b->write : b->read) == page + PAGE_SIZE;
}

/* Is a window where the check in front of a loop, or of 32-bit code, would have it? */
static bool in_bounds(const struct jit_site *s, uint64_t first)
{
    if (s->block->mask[0] != ~0ull && first >> 32)
        return false;
    return !(first & s->align) &&
           (!s->edge || (uint32_t)(first - PAGE_SIZE) < BIT(32) - 4 * (uint64_t)PAGE_SIZE);
}

/* The page that a window lies in; see emit_win.c. False: the interpreter goes on. */
bool jit_wide(struct cpu *c, const struct jit_site *s)
{
    const struct uop *u = s->u;
    arrive(c, s);
    c->jit.accesses++;
    uint64_t la = s->which == R_IP ? c->jit.page : s->which == R_ZERO ? 0 : c->s.r[s->which];
    la = extended(la, s->which_as);
    if (s->index != R_ZERO)
        la += extended(c->s.r[s->index], s->index_as) << s->scale;
    la += (uint64_t)(int64_t)s->lo + s->at;
    uint64_t first = (s->cut ? (uint32_t)la : la) - s->at;
    bool there = in_bounds(s, first);
    interp_mark(c, u);
    if (!s->slow && there && ((first & (PAGE_SIZE - 1)) + s->bytes <= PAGE_SIZE || s->pairs) &&
        lin_probe(c, first + s->at, s->stores ? ACC_WRITE : ACC_READ, s->size)) {
        const struct tlb_entry *t = tlb_slot(c, c->tlb_ctx, first);
        if ((first - (s->write ? t->write : t->read) <= PAGE_SIZE - s->bytes ||
             side_by_side(c, s, first)) &&
            !gone(c, s))
            return depart(c, s);
    }
    c->jit.wide_pair = there && !s->pairs && side_by_side(c, s, first);
    c->fault = (struct fault){.vector = EXC_NONE};
    while (u > s->block->uops && u[-1].insn == s->u->insn)
        u--;
    c->jit.resume = u;
    c->jit.wide = true;
    c->jit.wide_trace = s->trace;
    return false;
}

bool jit_help(struct cpu *c, const struct jit_site *s)
{
    const struct uop *u = s->u;
    arrive(c, s);
    c->jit.helpers++;
    uint64_t generation = c->tlb->generation;
    if (u->op == UOP_HELP)
        interp_mark(c, u);
    if (!u->helper(c, u)) {
        if (u->op == UOP_CALLF)
            interp_mark(c, u);
        if (u->op != UOP_CALLQ)
            return false;
    }
    bool x87 = u->op == UOP_X87 || (u->op == UOP_HELP && u->scale == X87_HELP);
    if (UNLIKELY((c->tlb->generation != generation && x87) || gone(c, s))) {
        c->jit.resume = u + 1; /* windows are no longer what they were */
        c->insn_index = 0;
        return false;
    }
    return depart(c, s);
}

/* A slot has changed its page some times more; see emit_slot.c. */
bool jit_often(struct cpu *c, const struct jit_site *s)
{
    struct jit *j = c->jit.jit;
    if (!slot_often(c, s->bytes))
        return true;
    j->mem.rw[s->lo] = 0xe9;
    x_patch(j->mem.rw, (uint32_t)s->lo + 1, (uint32_t)s->ahead);
    if (s->block->key == KEY_DEAD)
        return true;
    s->block->scattered |= BIT((s->u - s->block->uops) & 63);
    j->again_trace = s->trace;
    j->again = s->block;
    return true;
}

/* Brings the lazy flags to the one form that generated code reads. */
bool jit_flags(struct cpu *c, const struct jit_site *s)
{
    uint32_t f = flags_arith(c);
    c->s.cc_src = (f & F_SZAPC) << 8 | !!(f & F_O);
    c->s.cc_op = CC_HOST * 4;
    return true;
}
