#include "cpu/seg.h"

struct seg desc_seg(const struct desc *d, uint16_t sel)
{
    uint64_t v = d->lo;
    struct seg s = {.sel = sel, .attr = desc_attr(d)};
    s.base = bits_get(v, 16, 24) | bits_get(v, 56, 8) << 24;
    s.limit = (uint32_t)(bits_get(v, 0, 16) | bits_get(v, 48, 4) << 16);
    if (s.attr & SEG_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

bool sel_fault(struct cpu *c, unsigned vector, uint16_t sel, unsigned ext, const char *why)
{
    return cpu_fault_err(c, vector, (sel & 0xfffcu) | ext, why, sel, 0);
}

bool desc_read(struct cpu *c, uint16_t sel, unsigned vector, unsigned ext, struct desc *d)
{
    uint64_t base, at = sel & 0xfff8u;
    uint32_t limit;
    if (sel & 4) {
        base = c->s.ldtr.base;
        limit = c->s.ldtr.limit;
        if (!(c->s.ldtr.attr & SEG_P))
            return sel_fault(c, vector, sel, ext,
                             "selector %#llx is in the LDT, and there is none");
    } else {
        base = c->s.gdtr.base;
        limit = c->s.gdtr.limit;
    }
    if (at + 7 > limit)
        return cpu_fault_err(c, vector, (sel & 0xfffcu) | ext,
                             sel & 4 ? "selector %#llx is beyond the LDT's limit %#llx"
                                     : "selector %#llx is beyond the GDT's limit %#llx",
                             sel, limit);
    d->la = base + at;
    if (!cpu_long(c))
        d->la = (uint32_t)d->la;
    return sys_load(c, d->la, 8, &d->lo);
}

bool desc_read_high(struct cpu *c, uint16_t sel, const struct desc *d, unsigned vector,
                    unsigned ext, uint64_t *hi)
{
    uint32_t limit = sel & 4 ? c->s.ldtr.limit : c->s.gdtr.limit;
    if ((sel & 0xfff8u) + 15 > limit)
        return sel_fault(
            c, vector, sel, ext,
            "the 16-byte descriptor of selector %#llx is cut off by its table's limit");
    if (!sys_load(c, d->la + 8, 8, hi))
        return false;
    if (*hi >> 40 & 0x1f)
        return sel_fault(c, vector, sel, ext,
                         "the upper half of selector %#llx's descriptor has a type, not 0");
    return true;
}

bool desc_accessed(struct cpu *c, struct desc *d)
{
    if (d->lo & BIT(40))
        return true;
    d->lo |= BIT(40);
    return sys_store(c, d->la + 5, 1, d->lo >> 40 & 0xff);
}

bool code_limit(struct cpu *c, const struct seg *cs, uint64_t rip, unsigned ext)
{
    if (cpu_long(c) && (cs->attr & SEG_L)) {
        if ((uint64_t)sext(rip, 48) == rip)
            return true;
        return cpu_fault_err(c, EXC_GP, ext, "the target %#llx is not canonical", rip, 0);
    }
    if (rip <= cs->limit)
        return true;
    return cpu_fault_err(c, EXC_GP, ext,
                         "the target %#llx is beyond the code segment's limit %#llx", rip,
                         cs->limit);
}

bool seg_check_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                     struct seg *out)
{
    struct desc d;
    if (sel_null(sel)) {
        /* only MOV and POP in 64-bit mode may load one, and IRET, which knows it itself */
        if (vector == EXC_GP && cpu_64(c) && cpl != 3 && (sel & 3) == cpl) {
            *out = (struct seg){.sel = sel, .attr = (uint16_t)(cpl << 5)};
            return true;
        }
        return cpu_fault_err(c, vector, ext, "the selector for SS is null", 0, 0);
    }
    if (!desc_read(c, sel, vector, ext, &d))
        return false;
    if ((sel & 3u) != cpl)
        return sel_fault(c, vector, sel, ext, "the RPL of SS selector %#llx is not the CPL");
    if (!desc_is_segment(&d) || (desc_type(&d) & (SEG_CODE | SEG_RW)) != SEG_RW)
        return sel_fault(c, vector, sel, ext, "SS selector %#llx is not a writable data segment");
    if (desc_dpl(&d) != cpl)
        return sel_fault(c, vector, sel, ext, "the DPL of SS selector %#llx is not the CPL");
    if (!desc_present(&d))
        return sel_fault(c, EXC_SS, sel, ext, "the stack segment %#llx is not present");
    if (!desc_accessed(c, &d))
        return false;
    *out = desc_seg(&d, sel);
    return true;
}

bool seg_check_data(struct cpu *c, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                    struct seg *out)
{
    struct desc d;
    if (sel_null(sel)) {
        *out = (struct seg){.sel = sel};
        return true;
    }
    if (!desc_read(c, sel, vector, ext, &d))
        return false;
    unsigned type = desc_type(&d), dpl = desc_dpl(&d), rpl = sel & 3;
    if (!desc_is_segment(&d) || (type & (SEG_CODE | SEG_RW)) == SEG_CODE)
        return sel_fault(c, vector, sel, ext, "selector %#llx is not a readable segment");
    bool conforming = (type & (SEG_CODE | SEG_CONFORM)) == (SEG_CODE | SEG_CONFORM);
    if (!conforming && (rpl > dpl || cpl > dpl))
        return sel_fault(c, vector, sel, ext,
                         "the DPL of selector %#llx is more privileged than RPL or CPL");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, sel, ext, "the segment %#llx is not present");
    if (!desc_accessed(c, &d))
        return false;
    *out = desc_seg(&d, sel);
    return true;
}

/* Only base and selector change: limit and attributes stay, which is what makes "unreal" mode. A
 * register that was unusable gets the limits of real mode back. */
struct seg seg_real(const struct cpu *c, unsigned seg, uint16_t sel)
{
    struct seg s = c->s.seg[seg];
    if (!(s.attr & SEG_P)) {
        s.limit = 0xffff;
        s.attr = 0x93;
    }
    s.attr = (uint16_t)((s.attr & ~0x60u) | SEG_S | SEG_P);
    s.sel = sel;
    s.base = (uint64_t)sel << 4;
    return s;
}

struct seg seg_vm86(uint16_t sel)
{
    return (struct seg){.base = (uint64_t)sel << 4, .limit = 0xffff, .sel = sel, .attr = 0xf3};
}

bool seg_set(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct seg s;
    if (cpu_real(c))
        s = seg_real(c, seg, sel);
    else if (cpu_vm86(c))
        s = seg_vm86(sel);
    else if (seg == SEG_SS ? !seg_check_stack(c, sel, c->cpl, EXC_GP, 0, &s)
                           : !seg_check_data(c, sel, c->cpl, EXC_GP, 0, &s))
        return false;
    struct seg old = c->s.seg[seg];
    c->s.seg[seg] = s;
    /* the mode knows of FS and GS nothing, of DS and ES whether they are flat */
    if (seg < SEG_FS && memcmp(&old, &s, sizeof s))
        cpu_mode_changed(c);
    return true;
}

void seg_drop_inner(struct cpu *c)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        struct seg *s = &c->s.seg[data[i]];
        bool conforming = (s->attr & (SEG_CODE | SEG_CONFORM)) == (SEG_CODE | SEG_CONFORM);
        if (!(s->attr & SEG_P))
            s->sel = 0; /* a null selector keeps no RPL */
        else if (!conforming && SEG_DPL(s) < c->cpl)
            *s =
                (struct seg){.base = cpu_long(c) ? s->base : 0}; /* as MOV of null: GS.base stays */
    }
}

struct stack stack_at(const struct seg *ss, uint64_t sp, bool wide)
{
    struct stack st = {.ss = *ss, .sp = sp, .wide = wide, .checked = !wide};
    st.mask = wide ? ~0ull : ss->attr & SEG_DB ? 0xffffffff : 0xffff;
    st.high = wide ? 0 : sp & 0xffffffff & ~st.mask;
    return st;
}

struct stack stack_now(struct cpu *c)
{
    struct stack st = stack_at(&c->s.seg[SEG_SS], c->s.r[R_SP], cpu_64(c));
    st.checked = c->key & KEY_PROT;
    return st;
}

static bool stack_linear(struct cpu *c, const struct stack *st, uint64_t off, unsigned size,
                         uint64_t *la)
{
    const struct seg *s = &st->ss;
    if (st->wide) {
        *la = off;
        if ((uint64_t)sext(off, 48) == off && (uint64_t)sext(off + size - 1, 48) == off + size - 1)
            return true;
        return cpu_fault_err(c, EXC_SS, st->error, "the stack address %#llx is not canonical", off,
                             0);
    }
    if (st->checked && !(s->attr & SEG_P))
        return cpu_fault_err(c, EXC_SS, st->error, "the stack segment is null", 0, 0);
    uint64_t last = off + size - 1;
    bool ok = (s->attr & 0xc) == 4
                  ? off > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffu : 0xffffu)
                  : last <= s->limit || s->limit == 0xffffffff;
    if (!ok)
        return cpu_fault_err(c, EXC_SS, st->error,
                             "stack offset %#llx is beyond the segment's limit %#llx", off,
                             s->limit);
    *la = (uint32_t)(s->base + off);
    return true;
}

bool stack_push(struct cpu *c, struct stack *st, unsigned size, uint64_t v)
{
    uint64_t la = 0, sp = (st->sp - size) & st->mask;
    if (!stack_linear(c, st, sp, size, &la))
        return false;
    if (st->acc & ACC_SUPER ? !sys_store(c, la, size, v) : !lin_store(c, la, size, v))
        return false;
    st->sp = sp;
    return true;
}

bool stack_pop(struct cpu *c, struct stack *st, unsigned size, uint64_t *v)
{
    uint64_t la = 0, sp = st->sp & st->mask;
    if (!stack_linear(c, st, sp, size, &la) || !lin_load(c, la, size, v))
        return false;
    st->sp = (sp + size) & st->mask;
    return true;
}

uint64_t stack_sp(const struct stack *st)
{
    return st->high | (st->sp & st->mask);
}
