/* Segmented accesses: from an offset in a segment to a linear address (SDM 3A 5.3, 5.4). */
#include "cpu/mem.h"

static bool seg_fault(struct cpu *c, unsigned seg, const char *why, uint64_t a, uint64_t b)
{
    return cpu_fault(c, seg == SEG_SS ? EXC_SS : EXC_GP, why, a, b);
}

static bool canonical(uint64_t la)
{
    return (uint64_t)sext(la, 48) == la;
}

/* Null, and read or write against the type. Real and virtual-8086 mode don't ask. */
static bool type_ok(struct cpu *c, unsigned seg, const struct seg *s, unsigned acc)
{
    if (!(s->attr & SEG_P))
        return seg_fault(c, seg, "the segment register holds a null selector (%#llx)", s->sel, 0);
    if ((acc & ACC_WRITE) && (s->attr & 0xa) != 2)
        return seg_fault(c, seg, "write to a read-only segment (selector %#llx)", s->sel, 0);
    if (!(acc & ACC_WRITE) && (s->attr & 0xa) == 8)
        return seg_fault(c, seg, "read of an execute-only segment (selector %#llx)", s->sel, 0);
    return true;
}

static bool limit_ok(const struct seg *s, uint64_t off, unsigned size)
{
    uint64_t last = off + size - 1;
    if ((s->attr & 0xc) == 4) /* expand-down: what is above the limit */
        return off > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffu : 0xffffu);
    return last <= s->limit || s->limit == 0xffffffff;
}

static bool linear64(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t *la)
{
    uint64_t a = off;
    if (seg == SEG_FS || seg == SEG_GS)
        a += c->s.seg[seg].base;
    if (!canonical(a) || !canonical(a + size - 1))
        return seg_fault(c, seg, "the address %#llx is not canonical", a, 0);
    *la = a;
    return true;
}

bool seg_linear(struct cpu *c, unsigned seg, uint64_t off, unsigned size, unsigned acc,
                uint64_t *la)
{
    const struct seg *s = &c->s.seg[seg];
    if (cpu_64(c))
        return linear64(c, seg, off, size, la);
    if ((c->key & KEY_PROT) && !type_ok(c, seg, s, acc))
        return false;
    if (!limit_ok(s, off, size))
        return seg_fault(c, seg, "offset %#llx is beyond the segment's limit %#llx", off, s->limit);
    *la = (uint32_t)(s->base + off);
    return true;
}

bool seg_load(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t *v)
{
    uint64_t la = 0;
    return seg_linear(c, seg, off, size, ACC_READ, &la) && lin_load(c, la, size, v);
}

bool seg_store(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t v)
{
    uint64_t la = 0;
    return seg_linear(c, seg, off, size, ACC_WRITE, &la) && lin_store(c, la, size, v);
}

bool seg_load_bytes(struct cpu *c, unsigned seg, uint64_t off, void *buf, unsigned n)
{
    uint64_t la = 0;
    if (!seg_linear(c, seg, off, n, ACC_READ, &la))
        return false;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    if (la - e->read > PAGE_SIZE - n)
        return lin_load_bytes(c, la, ACC_READ, buf, n);
    memcpy(buf, (const void *)(e->host + (la - e->read)), n);
    return true;
}

bool seg_store_bytes(struct cpu *c, unsigned seg, uint64_t off, const void *buf, unsigned n)
{
    uint64_t la = 0;
    if (!seg_linear(c, seg, off, n, ACC_WRITE, &la))
        return false;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    if (la - e->write > PAGE_SIZE - n)
        return lin_store_bytes(c, la, ACC_WRITE, buf, n);
    memcpy((void *)(e->host + (la - e->write)), buf, n);
    return true;
}

bool seg_aligned(struct cpu *c, unsigned seg, uint64_t off, unsigned align, unsigned acc)
{
    uint64_t la = 0;
    if (LIKELY(c->tlb_ctx != TLB_USER_AC))
        return true;
    if (!seg_linear(c, seg, off, 1, acc, &la))
        return false;
    return !(la & (align - 1)) ||
           cpu_fault(c, EXC_AC, "an operand of alignment %llu at %#llx, and EFLAGS.AC is set",
                     align, la);
}

bool seg_probe(struct cpu *c, unsigned seg, uint64_t off, unsigned n, unsigned acc)
{
    uint64_t la = 0;
    return seg_linear(c, seg, off, n, acc, &la) && lin_probe(c, la, acc, n);
}
