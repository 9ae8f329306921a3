#include "cpu/task.h"

#include "cpu/debug.h"
#include "cpu/flags.h"
#include "cpu/walk.h"

/* Offsets in the two kinds of TSS. */
#define T32_CR3   0x1c
#define T32_EIP   0x20
#define T32_LDT   0x60
#define T32_TRAP  0x64
#define T32_IOMAP 0x66
#define T32_LIMIT 0x67
#define T16_IP    0x0e
#define T16_LDT   0x2a
#define T16_LIMIT 0x2b
#define TSS_BUSY  2u /* of the type */
#define EF_LOADED 0x003f7fd5u

/* A task's state as its TSS has it. */
struct task {
    uint32_t cr3, eip, eflags, r[8];
    uint16_t sel[SEG_COUNT], ldt;
    bool trap;
};

static bool is32(const struct seg *tss)
{
    return tss->attr & 8;
}

static uint64_t at(const struct seg *tss, unsigned offset)
{
    return (uint32_t)(tss->base + offset);
}

bool task_stack(struct cpu *c, unsigned dpl, unsigned ext, uint16_t *ss, uint32_t *esp)
{
    const struct seg *tr = &c->s.tr;
    unsigned size = is32(tr) ? 4 : 2, where = is32(tr) ? 4 + dpl * 8 : 2 + dpl * 4;
    uint64_t sp, sel;
    if (where + size + 1 > tr->limit)
        return sel_fault(c, EXC_TS, tr->sel, ext,
                         "the TSS (selector %#llx) ends before the stack of the inner level");
    if (!sys_load(c, at(tr, where), size, &sp) || !sys_load(c, at(tr, where + size), 2, &sel))
        return false;
    *esp = (uint32_t)sp;
    *ss = (uint16_t)sel;
    return true;
}

bool task_stack64(struct cpu *c, unsigned dpl, unsigned ist, unsigned ext, uint64_t *rsp)
{
    const struct seg *tr = &c->s.tr;
    unsigned where = ist ? 0x24 + (ist - 1) * 8 : 4 + dpl * 8;
    uint64_t sp;
    if (where + 7 > tr->limit)
        return sel_fault(c, EXC_TS, tr->sel, ext,
                         "the TSS (selector %#llx) ends before the stack pointer");
    if (!sys_load(c, tr->base + where, 8, &sp))
        return false;
    if ((uint64_t)sext(sp, 48) != sp)
        return cpu_fault_err(c, EXC_SS, ext, "the TSS's stack pointer %#llx is not canonical", sp,
                             0);
    *rsp = sp;
    return true;
}

bool task_io_allowed(struct cpu *c, uint16_t port, unsigned n)
{
    const struct seg *tr = &c->s.tr;
    uint64_t base, bits;
    if (!(tr->attr & SEG_P) || !is32(tr) || tr->limit < T32_LIMIT)
        return cpu_fault(c, EXC_GP, "port %#llx: no I/O permission bitmap", port, 0);
    if (!sys_load(c, tr->base + T32_IOMAP, 2, &base))
        return false;
    /* two bytes are read whatever the port: the map ends with a byte of ones (SDM 1 18.5.2) */
    if (base + port / 8 + 1 > tr->limit)
        return cpu_fault(c, EXC_GP, "port %#llx is beyond the I/O permission bitmap", port, 0);
    if (!sys_load(c, tr->base + base + port / 8, 2, &bits))
        return false;
    if (bits >> (port & 7) & ((1u << n) - 1))
        return cpu_fault(c, EXC_GP, "port %#llx is closed in the I/O permission bitmap", port, 0);
    return true;
}

static bool get(struct cpu *c, const struct seg *tss, unsigned offset, unsigned size, uint32_t *out)
{
    uint64_t v;
    if (!sys_load(c, at(tss, offset), size, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool put(struct cpu *c, const struct seg *tss, unsigned offset, unsigned size, uint32_t v)
{
    return sys_store(c, at(tss, offset), size, v);
}

static bool read_task(struct cpu *c, const struct seg *tss, struct task *t)
{
    bool w = is32(tss), ok = true;
    unsigned size = w ? 4 : 2, field = w ? T32_EIP : T16_IP;
    uint32_t v, sel_count = w ? 6 : 4;
    *t = (struct task){0};
    if (w)
        ok = get(c, tss, T32_CR3, 4, &t->cr3);
    ok = ok && get(c, tss, field, size, &t->eip) && get(c, tss, field + size, size, &t->eflags);
    for (unsigned i = 0; i < 8 && ok; i++) {
        ok = get(c, tss, field + size * (2 + i), size, &t->r[i]);
        if (!w) /* undefined in the SDM; what processors do */
            t->r[i] |= 0xffff0000;
    }
    for (unsigned i = 0; i < sel_count && ok; i++) {
        ok = get(c, tss, field + size * (10 + i), 2, &v);
        t->sel[i] = (uint16_t)v;
    }
    ok = ok && get(c, tss, w ? T32_LDT : T16_LDT, 2, &v);
    t->ldt = (uint16_t)v;
    if (w && ok) {
        ok = get(c, tss, T32_TRAP, 2, &v);
        t->trap = v & 1;
    }
    return ok;
}

/* Only what changes: registers and selectors, not the stacks, CR3 and LDT (SDM 3A 8.2.1). */
static bool write_task(struct cpu *c, const struct seg *tss, uint32_t eip, uint32_t eflags)
{
    bool w = is32(tss), ok;
    unsigned size = w ? 4 : 2, field = w ? T32_EIP : T16_IP, sel_count = w ? 6 : 4;
    ok = put(c, tss, field, size, eip) && put(c, tss, field + size, size, eflags);
    for (unsigned i = 0; i < 8 && ok; i++)
        ok = put(c, tss, field + size * (2 + i), size, (uint32_t)c->s.r[i]);
    for (unsigned i = 0; i < sel_count && ok; i++)
        ok = put(c, tss, field + size * (10 + i), 2, c->s.seg[i].sel);
    return ok;
}

/* Flips the busy bit of a TSS descriptor in the GDT. */
static bool set_busy(struct cpu *c, uint16_t sel, bool busy)
{
    struct desc d;
    uint8_t type;
    if (!desc_read(c, sel, EXC_TS, 0, &d))
        return false;
    type = (uint8_t)(d.lo >> 40);
    type = busy ? type | TSS_BUSY : type & (uint8_t)~TSS_BUSY;
    return sys_store(c, d.la + 5, 1, type);
}

/* Checks the descriptor; gives the TSS as TR will hold it. */
static bool find_tss(struct cpu *c, uint16_t sel, enum task_how how, unsigned ext, struct seg *tss)
{
    unsigned vector = how == TASK_IRET ? EXC_TS : EXC_GP;
    struct desc d;
    if (sel_null(sel) || (sel & 4))
        return sel_fault(c, vector, sel, ext, "the TSS selector %#llx is not in the GDT");
    if (!desc_read(c, sel, vector, ext, &d))
        return false;
    unsigned type = desc_type(&d);
    bool avail = type == SYS_TSS16 || type == SYS_TSS32;
    bool busy = type == SYS_TSS16_BUSY || type == SYS_TSS32_BUSY;
    if (desc_is_segment(&d) || (how == TASK_IRET ? !busy : !avail))
        return sel_fault(c, vector, sel, ext,
                         how == TASK_IRET
                             ? "the task to return to (selector %#llx) is not a busy TSS"
                             : "selector %#llx is not an available TSS");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, sel, ext, "the TSS %#llx is not present");
    *tss = desc_seg(&d, sel);
    if (tss->limit < (is32(tss) ? T32_LIMIT : T16_LIMIT))
        return sel_fault(c, EXC_TS, sel, ext, "the limit of TSS %#llx is too small");
    tss->attr |= TSS_BUSY;
    return true;
}

/* Everything that the switch touches must be reachable before anything is changed. */
static bool probe(struct cpu *c, const struct seg *old, const struct seg *new)
{
    unsigned old_size = (is32(old) ? T32_LIMIT : T16_LIMIT) + 1;
    unsigned new_size = (is32(new) ? T32_LIMIT : T16_LIMIT) + 1;
    if (old->limit + 1ull < old_size)
        return sel_fault(c, EXC_TS, old->sel, 0, "the limit of the running TSS %#llx is too small");
    return lin_probe(c, at(old, 0), ACC_WRITE | ACC_SUPER, old_size) &&
           lin_probe(c, at(new, 0), ACC_READ | ACC_SUPER, new_size) &&
           lin_probe(c, at(new, 0), ACC_WRITE | ACC_SUPER, 2);
}

static bool load_cr3(struct cpu *c, uint32_t cr3)
{
    if (!(c->s.cr0 & CR0_PG))
        return true;
    if ((c->s.cr4 & CR4_PAE) && !walk_load_pdptes(c, cr3))
        return cpu_fault(c, EXC_GP, "the TSS's CR3 %#llx: a PDPTE has a reserved bit set", cr3, 0);
    c->s.cr3 = cr3;
    tlb_flush_nonglobal(c);
    return true;
}

static bool load_ldt(struct cpu *c, uint16_t sel, unsigned ext)
{
    struct desc d;
    c->s.ldtr = (struct seg){.sel = sel};
    if (sel_null(sel))
        return true;
    if (sel & 4)
        return sel_fault(c, EXC_TS, sel, ext, "the TSS's LDT selector %#llx is not in the GDT");
    if (!desc_read(c, sel, EXC_TS, ext, &d))
        return false;
    if (desc_is_segment(&d) || desc_type(&d) != SYS_LDT || !desc_present(&d))
        return sel_fault(c, EXC_TS, sel, ext, "the TSS's LDT selector %#llx is no present LDT");
    c->s.ldtr = desc_seg(&d, sel);
    return true;
}

static bool load_cs(struct cpu *c, uint16_t sel, unsigned ext)
{
    struct desc d;
    if (sel_null(sel))
        return sel_fault(c, EXC_TS, sel, ext, "the TSS's CS is null");
    if (!desc_read(c, sel, EXC_TS, ext, &d))
        return false;
    unsigned dpl = desc_dpl(&d), rpl = sel & 3;
    if (!desc_is_code(&d) || (desc_type(&d) & SEG_CONFORM ? dpl > rpl : dpl != rpl))
        return sel_fault(c, EXC_TS, sel, ext, "the TSS's CS %#llx is not code of its RPL's level");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, sel, ext, "the TSS's code segment %#llx is not present");
    if (!desc_accessed(c, &d))
        return false;
    c->s.seg[SEG_CS] = desc_seg(&d, sel);
    return true;
}

static bool load_segments(struct cpu *c, const struct task *t, unsigned ext)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    unsigned cpl = t->sel[SEG_CS] & 3;
    if (t->eflags & EF_VM) {
        for (unsigned i = 0; i < SEG_COUNT; i++)
            c->s.seg[i] = seg_vm86(t->sel[i]);
        return true;
    }
    /* SS first, as it alone says what the CPL is now; a fault in CS is reported before one in SS */
    if (!load_cs(c, t->sel[SEG_CS], ext) ||
        !seg_check_stack(c, t->sel[SEG_SS], cpl, EXC_TS, ext, &c->s.seg[SEG_SS]))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(data); i++)
        if (!seg_check_data(c, t->sel[data[i]], cpl, EXC_TS, ext, &c->s.seg[data[i]]))
            return false;
    return true;
}

/* The new task's registers, its selectors without their descriptors. */
static void load_registers(struct cpu *c, const struct task *t)
{
    struct cpu_state *s = &c->s;
    for (unsigned i = 0; i < 8; i++)
        s->r[i] = t->r[i];
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.sel = t->sel[i]};
    s->seg[SEG_SS].attr = (uint16_t)((t->sel[SEG_CS] & 3) << 5); /* the CPL */
    flags_set_arith(c, t->eflags);
    s->rflags = (t->eflags & EF_LOADED) | EF_FIXED;
    s->rip = c->next_rip = t->eip;
    cpu_mode_changed(c);
}

static bool enter(struct cpu *c, const struct task *t, bool w, unsigned ext)
{
    load_registers(c, t);
    if (w && !load_cr3(c, t->cr3))
        return false;
    if (!load_ldt(c, t->ldt, ext) || !load_segments(c, t, ext)) {
        cpu_mode_changed(c);
        return false;
    }
    cpu_mode_changed(c);
    if (!code_limit(c, &c->s.seg[SEG_CS], t->eip, ext))
        return false;
    if (t->trap) {
        c->s.pending_db |= (uint32_t)DR6_BT;
        cpu_request(c, REQ_DB);
    }
    return true;
}

bool task_switch(struct cpu *c, uint16_t sel, enum task_how how, uint64_t return_rip, unsigned ext)
{
    struct seg old = c->s.tr, new;
    struct task t;
    uint32_t eflags = (uint32_t)flags_get(c);
    bool nested = how == TASK_CALL || how == TASK_INT;
    if (!find_tss(c, sel, how, ext, &new) || !probe(c, &old, &new))
        return false;
    if (how == TASK_IRET)
        eflags &= ~EF_NT;
    if ((how == TASK_JMP || how == TASK_IRET) && !set_busy(c, old.sel, false))
        return false;
    if (!write_task(c, &old, (uint32_t)return_rip, eflags) || !read_task(c, &new, &t))
        return false;
    if (nested && !put(c, &new, 0, 2, old.sel))
        return false;
    if (how != TASK_IRET && !set_busy(c, sel, true))
        return false;
    if (nested)
        t.eflags |= EF_NT;
    c->s.tr = new;
    c->s.cr0 |= CR0_TS;
    c->s.dr7 &= ~0x155ull; /* L0..L3, LE: breakpoints of the old task */
    return enter(c, &t, is32(&new), ext);
}
