/* Instructions on segment registers, selectors and descriptor tables. */
#include "cpu/area.h"
#include "cpu/intr.h"
#include "cpu/sysop.h"

bool h_mov_from_sreg(struct cpu *c, const struct uop *u)
{
    if (u->dst >= SEG_COUNT)
        return op_undefined(c, "no such segment register");
    uint64_t sel = c->s.seg[u->dst].sel;
    if (op_is_mem(u))
        return seg_store(c, u->seg, c->s.r[R_T0], 2, sel);
    reg_put(c, u->a, u->size, sel);
    return true;
}

bool h_mov_to_sreg(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (u->dst >= SEG_COUNT || u->dst == SEG_CS)
        return op_undefined(c, "MOV to CS, or no such segment register");
    if (!rm_get(c, u, 2, &v) || !seg_set(c, u->dst, (uint16_t)v))
        return false;
    if (u->dst == SEG_SS)
        cpu_shadow(c, SHADOW_MOVSS);
    return true;
}

/* 32-bit pushes write only the selector's 16 bits, as processors since the P6 do (SDM 2 PUSH). */
bool h_push_sreg(struct cpu *c, const struct uop *u)
{
    struct stack st = stack_now(c);
    uint64_t sel = c->s.seg[u->dst].sel;
    if (u->size == 4) {
        st.sp -= 2;
        if (!stack_push(c, &st, 2, sel))
            return false;
    } else if (!stack_push(c, &st, u->size, sel)) {
        return false;
    }
    c->s.r[R_SP] = stack_sp(&st);
    return true;
}

bool h_pop_sreg(struct cpu *c, const struct uop *u)
{
    struct stack st = stack_now(c);
    uint64_t v;
    if (!stack_pop(c, &st, 2, &v))
        return false;
    st.sp += u->size - 2u;
    if (!seg_set(c, u->dst, (uint16_t)v))
        return false;
    c->s.r[R_SP] = stack_sp(&st); /* by the old SS's size */
    if (u->dst == SEG_SS)
        cpu_shadow(c, SHADOW_MOVSS);
    return true;
}

static bool load_far(struct cpu *c, const struct uop *u, unsigned seg)
{
    uint64_t off, sel;
    if (!op_is_mem(u))
        return op_undefined(c, "far pointer load from a register");
    if (!seg_load(c, u->seg, c->s.r[R_T0], u->size, &off) ||
        !seg_load(c, u->seg, mem_offset(c, u, u->size), 2, &sel) || !seg_set(c, seg, (uint16_t)sel))
        return false;
    reg_put(c, u->dst, u->size, off);
    return true;
}

bool h_lds(struct cpu *c, const struct uop *u)
{
    return load_far(c, u, SEG_DS);
}

bool h_les(struct cpu *c, const struct uop *u)
{
    return load_far(c, u, SEG_ES);
}

bool h_lss(struct cpu *c, const struct uop *u)
{
    return load_far(c, u, SEG_SS);
}

bool h_lfs(struct cpu *c, const struct uop *u)
{
    return load_far(c, u, SEG_FS);
}

bool h_lgs(struct cpu *c, const struct uop *u)
{
    return load_far(c, u, SEG_GS);
}

/* CR4.UMIP: SGDT, SIDT, SLDT, STR and SMSW are the kernel's. */
static bool umip_ok(struct cpu *c)
{
    if (!(c->s.cr4 & CR4_UMIP) || c->cpl == 0)
        return true;
    return cpu_fault(c, EXC_GP, "CR4.UMIP keeps this instruction to level 0", 0, 0);
}

static bool store_table(struct cpu *c, const struct uop *u, const struct dtable *t)
{
    uint8_t buf[10];
    if (!umip_ok(c))
        return false;
    put_le16(buf, (uint16_t)t->limit);
    put_le64(buf + 2, t->base);
    return seg_aligned(c, u->seg, c->s.r[R_T0], 4, ACC_WRITE) &&
           area_store(c, u, AREA_TABLE, 0, buf, cpu_64(c) ? 10 : 6);
}

bool h_sgdt(struct cpu *c, const struct uop *u)
{
    return store_table(c, u, &c->s.gdtr);
}

bool h_sidt(struct cpu *c, const struct uop *u)
{
    return store_table(c, u, &c->s.idtr);
}

static bool load_table(struct cpu *c, const struct uop *u, struct dtable *t)
{
    uint8_t buf[10] = {0};
    uint64_t base;
    if (!area_load(c, u, AREA_TABLE, 0, buf, cpu_64(c) ? 10 : 6))
        return false;
    base = get_le64(buf + 2);
    if (!cpu_64(c) && u->size == 2)
        base &= 0xffffff;
    if ((uint64_t)sext(base, 48) != base)
        return cpu_fault(c, EXC_GP, "the table's base %#llx is not canonical", base, 0);
    *t = (struct dtable){.base = base, .limit = get_le16(buf)};
    return true;
}

bool h_lgdt(struct cpu *c, const struct uop *u)
{
    return load_table(c, u, &c->s.gdtr);
}

bool h_lidt(struct cpu *c, const struct uop *u)
{
    return load_table(c, u, &c->s.idtr);
}

static bool store_selector(struct cpu *c, const struct uop *u, uint16_t sel)
{
    if (!umip_ok(c))
        return false;
    if (op_is_mem(u))
        return seg_store(c, u->seg, c->s.r[R_T0], 2, sel);
    reg_put(c, u->a, u->size, sel);
    return true;
}

bool h_sldt(struct cpu *c, const struct uop *u)
{
    return store_selector(c, u, c->s.ldtr.sel);
}

bool h_str(struct cpu *c, const struct uop *u)
{
    return store_selector(c, u, c->s.tr.sel);
}

/* A system descriptor from the GDT, 16 bytes in long mode. */
static bool system_desc(struct cpu *c, uint16_t sel, struct desc *d, struct seg *s)
{
    uint64_t hi = 0;
    if (sel & 4)
        return sel_fault(c, EXC_GP, sel, 0, "selector %#llx must be in the GDT");
    if (!desc_read(c, sel, EXC_GP, 0, d))
        return false;
    *s = desc_seg(d, sel);
    if (!cpu_long(c))
        return true;
    if (!desc_read_high(c, sel, d, EXC_GP, 0, &hi))
        return false;
    s->base |= hi << 32;
    if ((uint64_t)sext(s->base, 48) != s->base)
        return sel_fault(c, EXC_GP, sel, 0, "the base in descriptor %#llx is not canonical");
    return true;
}

bool h_lldt(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    struct desc d;
    struct seg s;
    if (!rm_get(c, u, 2, &v))
        return false;
    uint16_t sel = (uint16_t)v;
    if (sel_null(sel)) {
        c->s.ldtr = (struct seg){.sel = sel};
        return true;
    }
    if (!system_desc(c, sel, &d, &s))
        return false;
    if (desc_is_segment(&d) || desc_type(&d) != SYS_LDT)
        return sel_fault(c, EXC_GP, sel, 0, "LLDT: selector %#llx is not an LDT");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, sel, 0, "LLDT: selector %#llx is not present");
    c->s.ldtr = s;
    return true;
}

bool h_ltr(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    struct desc d;
    struct seg s;
    if (!rm_get(c, u, 2, &v))
        return false;
    uint16_t sel = (uint16_t)v;
    if (sel_null(sel))
        return cpu_fault(c, EXC_GP, "LTR of a null selector", 0, 0);
    if (!system_desc(c, sel, &d, &s))
        return false;
    bool tss = desc_type(&d) == SYS_TSS32 || (desc_type(&d) == SYS_TSS16 && !cpu_long(c));
    if (desc_is_segment(&d) || !tss)
        return sel_fault(c, EXC_GP, sel, 0, "LTR: selector %#llx is not an available TSS");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, sel, 0, "LTR: selector %#llx is not present");
    if (!sys_store(c, d.la + 5, 1, (d.lo >> 40 & 0xff) | 2))
        return false;
    s.attr |= 2; /* busy */
    c->s.tr = s;
    return true;
}

bool h_arpl(struct cpu *c, const struct uop *u)
{
    uint64_t dst, src = c->s.r[u->dst] & 3;
    uint32_t flags = flags_arith(c) & ~F_Z;
    if (!rm_get(c, u, 2, &dst))
        return false;
    bool raise = (dst & 3) < src;
    dst = raise ? (dst & ~3ull) | src : dst;
    /* memory is written only if the RPL changes: it may be read-only */
    if (op_is_mem(u) && raise && !seg_store(c, u->seg, c->s.r[R_T0], 2, dst))
        return false;
    if (!op_is_mem(u) && raise)
        reg_put(c, u->a, 2, dst);
    flags_set_arith(c, flags | (raise ? F_Z : 0));
    return true;
}

/* Reads a descriptor for LAR, LSL, VERR, VERW: a bad selector is an answer (*ok), not a fault. */
static bool look(struct cpu *c, uint16_t sel, struct desc *d, bool *ok)
{
    uint64_t base = sel & 4 ? c->s.ldtr.base : c->s.gdtr.base;
    uint32_t limit = sel & 4 ? c->s.ldtr.limit : c->s.gdtr.limit;
    *ok = !sel_null(sel) && (sel | 7u) <= limit && (!(sel & 4) || (c->s.ldtr.attr & SEG_P));
    if (!*ok)
        return true;
    d->la = base + (sel & 0xfff8);
    if (!cpu_long(c))
        d->la = (uint32_t)d->la;
    return sys_load(c, d->la, 8, &d->lo);
}

/* May code at CPL see the segment through this selector? Conforming code: always. */
static bool visible(const struct cpu *c, uint16_t sel, const struct desc *d)
{
    if (desc_is_code(d) && (desc_type(d) & SEG_CONFORM))
        return true;
    return desc_dpl(d) >= c->cpl && desc_dpl(d) >= (sel & 3u);
}

static void answer(struct cpu *c, bool yes)
{
    flags_set_arith(c, (flags_arith(c) & ~F_Z) | (yes ? F_Z : 0));
}

/* Bit n: system type n has an answer. */
#define LAR_TYPES   0x1a3eu /* 1 2 3 4 5 9 11 12 */
#define LAR_TYPES64 0x1a04u /* 2 9 11 12 */
#define LSL_TYPES   0x0a0eu /* 1 2 3 9 11 */
#define LSL_TYPES64 0x0a04u

static bool examine(struct cpu *c, const struct uop *u, uint32_t types, struct desc *d, bool *ok)
{
    uint64_t sel;
    if (!rm_get(c, u, 2, &sel) || !look(c, (uint16_t)sel, d, ok))
        return false;
    *ok =
        *ok && visible(c, (uint16_t)sel, d) && (desc_is_segment(d) || (types >> desc_type(d) & 1));
    return true;
}

bool h_lar(struct cpu *c, const struct uop *u)
{
    struct desc d;
    bool ok;
    if (!examine(c, u, cpu_long(c) ? LAR_TYPES64 : LAR_TYPES, &d, &ok))
        return false;
    if (ok)
        reg_put(c, u->dst, u->size, d.lo >> 32 & 0xffff00);
    answer(c, ok);
    return true;
}

bool h_lsl(struct cpu *c, const struct uop *u)
{
    struct desc d;
    bool ok;
    if (!examine(c, u, cpu_long(c) ? LSL_TYPES64 : LSL_TYPES, &d, &ok))
        return false;
    if (ok)
        reg_put(c, u->dst, u->size, desc_seg(&d, 0).limit);
    answer(c, ok);
    return true;
}

bool h_verr(struct cpu *c, const struct uop *u)
{
    struct desc d;
    bool ok;
    if (!examine(c, u, 0, &d, &ok))
        return false;
    answer(c, ok && (desc_type(&d) & (SEG_CODE | SEG_RW)) != SEG_CODE);
    return true;
}

bool h_verw(struct cpu *c, const struct uop *u)
{
    struct desc d;
    bool ok;
    if (!examine(c, u, 0, &d, &ok))
        return false;
    answer(c, ok && (desc_type(&d) & (SEG_CODE | SEG_RW)) == SEG_RW);
    return true;
}
