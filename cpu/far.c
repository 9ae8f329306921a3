/* Far transfers: JMP, CALL, RET and IRET between segments, call gates (SDM 3A 5.8, SDM 2).
 *
 * Each works out the whole transfer with checks and memory accesses first; registers are written by
 * go() at the end. */
#include "cpu/intr.h"
#include "cpu/share.h"
#include "cpu/sysop.h"
#include "cpu/task.h"

/* Where a transfer leads. */
struct target {
    struct seg cs;
    uint64_t rip;
};

static bool go(struct cpu *c, const struct target *t)
{
    c->s.seg[SEG_CS] = t->cs;
    c->next_rip = t->rip;
    cpu_mode_changed(c);
    return true;
}

static bool go_stack(struct cpu *c, const struct target *t, const struct stack *st, bool load_ss)
{
    c->s.r[R_SP] = stack_sp(st);
    if (load_ss)
        c->s.seg[SEG_SS] = st->ss;
    return go(c, t);
}

/* Code that is 64-bit and has a default size of 32: reserved (SDM 3A 5.2.1). */
static bool bad_l_and_d(const struct cpu *c, const struct desc *d)
{
    return cpu_long(c) && (d->lo >> 53 & 3) == 3;
}

/* The offset must be within the new segment: #GP(0). */
static bool finish(struct cpu *c, struct desc *d, uint16_t sel, unsigned cpl, struct target *t)
{
    struct seg cs = desc_seg(d, (uint16_t)((sel & 0xfffc) | cpl));
    if (!code_limit(c, &cs, t->rip, 0) || !desc_accessed(c, d))
        return false;
    t->cs = desc_seg(d, cs.sel);
    return true;
}

/* A code segment named by the instruction itself. */
static bool direct_code(struct cpu *c, uint16_t sel, struct desc *d, struct target *t)
{
    unsigned dpl = desc_dpl(d);
    if (bad_l_and_d(c, d))
        return sel_fault(c, EXC_GP, sel, 0, "code segment %#llx has both L and D set");
    if (desc_type(d) & SEG_CONFORM) {
        if (dpl > c->cpl)
            return sel_fault(c, EXC_GP, sel, 0, "conforming code segment %#llx: DPL above CPL");
    } else if ((sel & 3u) > c->cpl || dpl != c->cpl) {
        return sel_fault(c, EXC_GP, sel, 0, "code segment %#llx: its DPL is not the CPL");
    }
    if (!desc_present(d))
        return sel_fault(c, EXC_NP, sel, 0, "code segment %#llx is not present");
    return finish(c, d, sel, c->cpl, t);
}

/* Checks a gate or TSS that the instruction names: DPL against CPL and RPL, presence. */
static bool gate_usable(struct cpu *c, uint16_t sel, const struct desc *d)
{
    if (desc_dpl(d) < c->cpl || (sel & 3u) > desc_dpl(d))
        return sel_fault(c, EXC_GP, sel, 0, "gate or TSS %#llx: its DPL is below CPL or RPL");
    if (!desc_present(d))
        return sel_fault(c, EXC_NP, sel, 0, "gate or TSS %#llx is not present");
    return true;
}

/* What a call gate says. */
struct gate {
    uint16_t sel; /* of the code */
    uint64_t offset;
    unsigned params; /* words or dwords to copy */
    unsigned size;   /* 2, 4, 8: of what is pushed */
};

/* Reads a call gate and its code segment. */
static bool gate_read(struct cpu *c, uint16_t sel, const struct desc *g, struct gate *out,
                      struct desc *code)
{
    uint64_t hi = 0;
    unsigned type = desc_type(g);
    out->sel = (uint16_t)(g->lo >> 16);
    out->offset = (g->lo & 0xffff) | (type & 8 ? g->lo >> 32 & 0xffff0000 : 0);
    out->params = g->lo >> 32 & 0x1f;
    out->size = type & 8 ? 4 : 2;
    if (cpu_long(c)) {
        if (!desc_read_high(c, sel, g, EXC_GP, 0, &hi))
            return false;
        out->offset |= hi << 32;
        out->params = 0;
        out->size = 8;
    }
    if (sel_null(out->sel))
        return cpu_fault(c, EXC_GP, "call gate %#llx has a null code selector", sel, 0);
    if (!desc_read(c, out->sel, EXC_GP, 0, code))
        return false;
    if (!desc_is_code(code) || desc_dpl(code) > c->cpl)
        return sel_fault(c, EXC_GP, out->sel, 0,
                         "a call gate's selector %#llx is not code, or less privileged");
    if (cpu_long(c) && (code->lo >> 53 & 3) != 1)
        return sel_fault(c, EXC_GP, out->sel, 0, "a call gate's code %#llx is not 64-bit code");
    return true;
}

static bool jump_gate(struct cpu *c, uint16_t sel, const struct desc *g)
{
    struct gate gate;
    struct desc d;
    struct target t;
    if (!gate_read(c, sel, g, &gate, &d))
        return false;
    if (!(desc_type(&d) & SEG_CONFORM) && desc_dpl(&d) != c->cpl)
        return sel_fault(c, EXC_GP, gate.sel, 0,
                         "a jump can't go to the other level of code %#llx");
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, gate.sel, 0, "a call gate's code %#llx is not present");
    t.rip = gate.offset;
    return finish(c, &d, gate.sel, c->cpl, &t) && go(c, &t);
}

/* CALL through a gate to a more privileged level: new stack, parameters, return address. */
static bool call_inner(struct cpu *c, const struct gate *gate, struct desc *d)
{
    unsigned dpl = desc_dpl(d);
    struct stack old = stack_now(c), st;
    struct target t = {.rip = gate->offset};
    uint64_t param[32], rsp;
    if (cpu_long(c)) {
        struct seg null = {.sel = (uint16_t)dpl, .attr = (uint16_t)(dpl << 5)};
        if (!task_stack64(c, dpl, 0, 0, &rsp))
            return false;
        st = stack_at(&null, rsp, true);
    } else {
        uint16_t sel;
        uint32_t esp;
        struct seg ss;
        if (!task_stack(c, dpl, 0, &sel, &esp) || !seg_check_stack(c, sel, dpl, EXC_TS, 0, &ss))
            return false;
        st = stack_at(&ss, esp, false);
        st.error = sel & 0xfffcu;
    }
    st.acc = ACC_SUPER;
    for (unsigned i = 0; i < gate->params; i++)
        if (!stack_pop(c, &old, gate->size, &param[i]))
            return false;
    if (!finish(c, d, gate->sel, dpl, &t))
        return false;
    if (!stack_push(c, &st, gate->size, c->s.seg[SEG_SS].sel) ||
        !stack_push(c, &st, gate->size, c->s.r[R_SP]))
        return false;
    for (unsigned i = gate->params; i > 0; i--)
        if (!stack_push(c, &st, gate->size, param[i - 1]))
            return false;
    if (!stack_push(c, &st, gate->size, c->s.seg[SEG_CS].sel) ||
        !stack_push(c, &st, gate->size, c->next_rip))
        return false;
    return go_stack(c, &t, &st, true);
}

/* Pushes the return address on the present stack and goes. */
static bool call_same(struct cpu *c, unsigned size, const struct target *t)
{
    struct stack st = stack_now(c);
    return stack_push(c, &st, size, c->s.seg[SEG_CS].sel) &&
           stack_push(c, &st, size, c->next_rip) && go_stack(c, t, &st, false);
}

static bool call_gate(struct cpu *c, uint16_t sel, const struct desc *g)
{
    struct gate gate;
    struct desc d;
    struct target t;
    if (!gate_read(c, sel, g, &gate, &d))
        return false;
    if (!desc_present(&d))
        return sel_fault(c, EXC_NP, gate.sel, 0, "a call gate's code %#llx is not present");
    if (!(desc_type(&d) & SEG_CONFORM) && desc_dpl(&d) < c->cpl)
        return call_inner(c, &gate, &d);
    t.rip = gate.offset;
    if (!finish(c, &d, gate.sel, c->cpl, &t))
        return false;
    /* a gate of long mode always makes 64-bit frames, and its code is 64-bit code: on a flat stack
     */
    if (gate.size == 8) {
        struct stack st = stack_at(&c->s.seg[SEG_SS], c->s.r[R_SP], true);
        return stack_push(c, &st, 8, c->s.seg[SEG_CS].sel) && stack_push(c, &st, 8, c->next_rip) &&
               go_stack(c, &t, &st, false);
    }
    return call_same(c, gate.size, &t);
}

static bool far_protected(struct cpu *c, uint16_t sel, uint64_t offset, unsigned size, bool call)
{
    struct desc d;
    struct target t = {.rip = offset};
    if (sel_null(sel))
        return cpu_fault(c, EXC_GP, "far transfer to a null selector", 0, 0);
    if (!desc_read(c, sel, EXC_GP, 0, &d))
        return false;
    if (desc_is_code(&d)) {
        if (!direct_code(c, sel, &d, &t))
            return false;
        return call ? call_same(c, size, &t) : go(c, &t);
    }
    if (desc_is_segment(&d))
        return sel_fault(c, EXC_GP, sel, 0, "far transfer to selector %#llx, a data segment");
    unsigned type = desc_type(&d);
    bool gate = type == SYS_CALL32 || (type == SYS_CALL16 && !cpu_long(c));
    bool task = !cpu_long(c) && (type == SYS_TASK_GATE || type == SYS_TSS16 || type == SYS_TSS32);
    if (!gate && !task)
        return sel_fault(c, EXC_GP, sel, 0,
                         "far transfer to selector %#llx, no code, gate or task");
    if (!gate_usable(c, sel, &d))
        return false;
    if (gate)
        return call ? call_gate(c, sel, &d) : jump_gate(c, sel, &d);
    if (type == SYS_TASK_GATE)
        sel = (uint16_t)(d.lo >> 16);
    return task_switch(c, sel, call ? TASK_CALL : TASK_JMP, c->next_rip, 0);
}

static bool far_to(struct cpu *c, uint16_t sel, uint64_t offset, unsigned size, bool call)
{
    if (c->key & KEY_PROT)
        return far_protected(c, sel, offset, size, call);
    struct target t = {.cs = cpu_real(c) ? seg_real(c, SEG_CS, sel) : seg_vm86(sel), .rip = offset};
    if (!code_limit(c, &t.cs, offset, 0))
        return false;
    return call ? call_same(c, size, &t) : go(c, &t);
}

/* The far pointer, from memory or the instruction. */
static bool pointer(struct cpu *c, const struct uop *u, uint16_t *sel, uint64_t *offset)
{
    uint64_t v;
    if (!op_is_mem(u)) {
        *sel = (uint16_t)c->s.r[R_T1];
        *offset = (uint64_t)u->imm & size_mask(u->size);
        return true;
    }
    if (!seg_load(c, u->seg, c->s.r[R_T0], u->size, offset) ||
        !seg_load(c, u->seg, mem_offset(c, u, u->size), 2, &v))
        return false;
    *sel = (uint16_t)v;
    return true;
}

bool h_jmpf(struct cpu *c, const struct uop *u)
{
    uint16_t sel;
    uint64_t offset;
    return pointer(c, u, &sel, &offset) && far_to(c, sel, offset, u->size, false);
}

bool h_callf(struct cpu *c, const struct uop *u)
{
    uint16_t sel;
    uint64_t offset;
    return pointer(c, u, &sel, &offset) && far_to(c, sel, offset, u->size, true);
}

/* The code segment that RET or IRET goes back to. */
static bool return_code(struct cpu *c, uint16_t sel, struct desc *d)
{
    unsigned rpl = sel & 3, dpl;
    if (sel_null(sel))
        return cpu_fault(c, EXC_GP, "return to a null code selector", 0, 0);
    if (!desc_read(c, sel, EXC_GP, 0, d))
        return false;
    dpl = desc_dpl(d);
    if (!desc_is_code(d))
        return sel_fault(c, EXC_GP, sel, 0, "return to selector %#llx, not a code segment");
    if (rpl < c->cpl)
        return sel_fault(c, EXC_GP, sel, 0, "return to selector %#llx, of a more privileged level");
    if (desc_type(d) & SEG_CONFORM ? dpl > rpl : dpl != rpl)
        return sel_fault(c, EXC_GP, sel, 0,
                         "return to selector %#llx: its DPL does not suit its RPL");
    if (bad_l_and_d(c, d))
        return sel_fault(c, EXC_GP, sel, 0, "code segment %#llx has both L and D set");
    if (!desc_present(d))
        return sel_fault(c, EXC_NP, sel, 0, "return to selector %#llx, which is not present");
    return true;
}

/* The stack that RET or IRET goes back to. A null SS is only for 64-bit code above level 3. */
static bool return_stack(struct cpu *c, uint16_t sel, unsigned cpl, const struct desc *code,
                         struct seg *ss)
{
    if (sel_null(sel) && cpu_long(c) && (code->lo & BIT(53)) && cpl != 3) {
        if ((sel & 3u) != cpl)
            return sel_fault(c, EXC_GP, sel, 0, "return: the RPL of null SS %#llx is not the CPL");
        *ss = (struct seg){.sel = sel, .attr = (uint16_t)(cpl << 5)};
        return true;
    }
    if (sel_null(sel))
        return cpu_fault(c, EXC_GP, "return to a null stack selector", 0, 0);
    return seg_check_stack(c, sel, cpl, EXC_GP, 0, ss);
}

static bool ret_protected(struct cpu *c, unsigned size, unsigned extra)
{
    struct stack st = stack_now(c);
    uint64_t rip, cs, rsp, ss_sel;
    struct desc d;
    struct seg ss;
    struct target t;
    if (!stack_pop(c, &st, size, &rip) || !stack_pop(c, &st, size, &cs) ||
        !return_code(c, (uint16_t)cs, &d))
        return false;
    unsigned rpl = cs & 3;
    t.rip = rip;
    st.sp += extra;
    if (rpl == c->cpl)
        return finish(c, &d, (uint16_t)cs, rpl, &t) && go_stack(c, &t, &st, false);
    if (!stack_pop(c, &st, size, &rsp) || !stack_pop(c, &st, size, &ss_sel) ||
        !return_stack(c, (uint16_t)ss_sel, rpl, &d, &ss) || !finish(c, &d, (uint16_t)cs, rpl, &t))
        return false;
    st = stack_at(&ss, rsp, cpu_long(c) && (t.cs.attr & SEG_L));
    st.sp += extra;
    go_stack(c, &t, &st, true);
    seg_drop_inner(c);
    cpu_mode_changed(c);
    return true;
}

bool h_retf(struct cpu *c, const struct uop *u)
{
    unsigned extra = (uint16_t)u->imm;
    if (c->key & KEY_PROT)
        return ret_protected(c, u->size, extra);
    struct stack st = stack_now(c);
    uint64_t rip, cs;
    if (!stack_pop(c, &st, u->size, &rip) || !stack_pop(c, &st, u->size, &cs))
        return false;
    struct target t = {
        .cs = cpu_real(c) ? seg_real(c, SEG_CS, (uint16_t)cs) : seg_vm86((uint16_t)cs), .rip = rip};
    st.sp += extra;
    return code_limit(c, &t.cs, rip, 0) && go_stack(c, &t, &st, false);
}

/* Flags that IRET takes from the stack at the level it runs at. */
static uint64_t iret_mask(const struct cpu *c, unsigned size)
{
    uint64_t mask = F_OSZAPC | EF_TF | EF_DF | EF_NT;
    bool real = cpu_real(c);
    if (size > 2)
        mask |= EF_RF | EF_AC | EF_ID;
    if (real || c->cpl <= iopl(c))
        mask |= EF_IF;
    if (c->cpl == 0 && !cpu_vm86(c)) {
        mask |= EF_IOPL;
        if (size > 2 && !real)
            mask |= EF_VIF | EF_VIP;
    }
    return mask;
}

static void nmi_unblock(struct cpu *c)
{
    c->s.nmi_blocked = 0;
    if (c->s.nmi_pending)
        cpu_request(c, REQ_NMI);
}

static bool iret_real(struct cpu *c, unsigned size, uint64_t mask)
{
    struct stack st = stack_now(c);
    uint64_t rip, cs, flags;
    if (!stack_pop(c, &st, size, &rip) || !stack_pop(c, &st, size, &cs) ||
        !stack_pop(c, &st, size, &flags))
        return false;
    struct target t = {
        .cs = cpu_real(c) ? seg_real(c, SEG_CS, (uint16_t)cs) : seg_vm86((uint16_t)cs), .rip = rip};
    if (!code_limit(c, &t.cs, rip, 0))
        return false;
    if (cpu_vm86(c) && iopl(c) < 3) { /* by CR4.VME: SDM 3B 20.3.1 */
        if ((flags & EF_TF) || ((flags & EF_IF) && (c->s.rflags & EF_VIP)))
            return cpu_fault(c, EXC_GP, "IRET in virtual-8086 mode: a virtual interrupt pends", 0,
                             0);
        flags = (flags & ~(uint64_t)EF_VIF) | (flags & EF_IF ? EF_VIF : 0);
        mask = (mask & ~(uint64_t)EF_IF) | EF_VIF;
    }
    go_stack(c, &t, &st, false);
    flags_replace(c, mask, flags);
    return true;
}

static bool iret_vm86(struct cpu *c, unsigned size)
{
    if (iopl(c) < 3 && !((c->s.cr4 & CR4_VME) && size == 2))
        return cpu_fault(c, EXC_GP, "IRET in virtual-8086 mode with IOPL %#llx", iopl(c), 0);
    return iret_real(c, size, iret_mask(c, size));
}

static bool iret_task(struct cpu *c)
{
    uint64_t link;
    if (cpu_long(c))
        return cpu_fault(c, EXC_GP, "IRET with NT set in long mode", 0, 0);
    return sys_load(c, (uint32_t)c->s.tr.base, 2, &link) &&
           task_switch(c, (uint16_t)link, TASK_IRET, c->next_rip, 0);
}

/* To virtual-8086 mode; `st` stands behind EFLAGS. */
static bool iret_to_vm86(struct cpu *c, struct stack *st, uint64_t eip, uint64_t cs, uint64_t flags)
{
    static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint64_t esp, sel[ARRAY_LEN(order)];
    if (!stack_pop(c, st, 4, &esp))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        if (!stack_pop(c, st, 4, &sel[i]))
            return false;
    if (eip > 0xffff)
        return cpu_fault(c, EXC_GP, "IRET to virtual-8086 mode: EIP %#llx", eip, 0);
    c->s.seg[SEG_CS] = seg_vm86((uint16_t)cs);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        c->s.seg[order[i]] = seg_vm86((uint16_t)sel[i]);
    c->s.r[R_SP] = (uint32_t)esp;
    c->next_rip = eip;
    flags_set(c, (flags & 0x3f7fd5) | EF_FIXED);
    cpu_mode_changed(c);
    return true;
}

static bool iret_protected(struct cpu *c, unsigned size)
{
    struct stack st = stack_now(c);
    uint64_t rip, cs, flags, rsp, ss_sel, mask = iret_mask(c, size);
    bool from64 = cpu_64(c);
    struct desc d;
    struct seg ss;
    struct target t;
    if (c->s.rflags & EF_NT)
        return iret_task(c);
    if (!stack_pop(c, &st, size, &rip) || !stack_pop(c, &st, size, &cs) ||
        !stack_pop(c, &st, size, &flags))
        return false;
    if ((flags & EF_VM) && size == 4 && c->cpl == 0 && !cpu_long(c))
        return iret_to_vm86(c, &st, rip, cs, flags);
    if (!return_code(c, (uint16_t)cs, &d))
        return false;
    unsigned rpl = cs & 3;
    bool outer = rpl > c->cpl;
    t.rip = rip;
    /* 64-bit mode takes SS:RSP from the stack whatever the levels (SDM 3A 6.14.3) */
    if (outer || from64) {
        if (!stack_pop(c, &st, size, &rsp) || !stack_pop(c, &st, size, &ss_sel) ||
            !return_stack(c, (uint16_t)ss_sel, rpl, &d, &ss))
            return false;
    }
    if (!finish(c, &d, (uint16_t)cs, rpl, &t))
        return false;
    if (outer || from64)
        st = stack_at(&ss, rsp, cpu_long(c) && (t.cs.attr & SEG_L));
    flags_replace(c, mask, flags);
    go_stack(c, &t, &st, outer || from64);
    if (outer) {
        seg_drop_inner(c);
        cpu_mode_changed(c);
    }
    return true;
}

bool h_iret(struct cpu *c, const struct uop *u)
{
    cpu_fence(c);
    nmi_unblock(c); /* also by an IRET that faults (SDM 3A 6.7.1) */
    if (cpu_real(c))
        return iret_real(c, u->size, iret_mask(c, u->size));
    return cpu_vm86(c) ? iret_vm86(c, u->size) : iret_protected(c, u->size);
}
