/* Delivery of exceptions and interrupts (SDM 3A chapter 6).
 *
 * deliver() works out the whole of what an event does (gate, new code segment, new stack, frame in
 * memory) and writes registers only at its end: a fault inside leaves the CPU as it was, with the
 * frame's memory perhaps written, which is allowed. A task gate is the exception: see task.h. */
#include "cpu/intr.h"

#include "cpu/debug.h"
#include "cpu/flags.h"
#include "cpu/seg.h"
#include "cpu/share.h"
#include "cpu/task.h"
#include "cpu/tlb.h"

/* What is being delivered. */
struct event {
    unsigned vector;
    bool has_error;
    uint32_t error;
    bool soft;    /* INT n, INT3, INTO: the gate's DPL is checked */
    unsigned ext; /* EXT bit of error codes that come of it */
    uint64_t rip; /* return address */
    uint64_t flags;
};

/* Where it leads: filled while checking, written by commit(). */
struct entry {
    struct seg cs;
    struct stack st;
    uint64_t rip;
    uint64_t flags;
    bool switched; /* SS is a new one */
};

/* DR7.GD is cleared on the way to the #DB handler, so that it can use the registers. */
static void guard_off(struct cpu *c, unsigned vector)
{
    if (vector == EXC_DB)
        c->s.dr7 &= ~DR7_GD;
}

static void commit(struct cpu *c, const struct entry *n)
{
    struct cpu_state *s = &c->s;
    if (n->switched)
        s->seg[SEG_SS] = n->st.ss;
    s->r[R_SP] = stack_sp(&n->st);
    s->seg[SEG_CS] = n->cs;
    flags_set_arith(c, (uint32_t)n->flags);
    s->rflags = n->flags | EF_FIXED;
    s->shadow = 0;
    s->stepping = 0;
    c->next_rip = n->rip;
    cpu_mode_changed(c);
}

static bool deliver_real(struct cpu *c, const struct event *e)
{
    uint64_t v;
    unsigned at = e->vector * 4;
    struct entry n = {.st = stack_now(c)};
    if (at + 3 > c->s.idtr.limit)
        return cpu_fault_err(c, EXC_GP, at + 2 + e->ext,
                             "vector %#llx is beyond the interrupt table's limit %#llx", e->vector,
                             c->s.idtr.limit);
    if (!sys_load(c, (uint32_t)(c->s.idtr.base + at), 4, &v))
        return false;
    if (!stack_push(c, &n.st, 2, e->flags) || !stack_push(c, &n.st, 2, c->s.seg[SEG_CS].sel) ||
        !stack_push(c, &n.st, 2, e->rip))
        return false;
    n.cs = seg_real(c, SEG_CS, (uint16_t)(v >> 16));
    n.rip = v & 0xffff;
    n.flags = e->flags & ~(uint64_t)(EF_IF | EF_TF | EF_AC | EF_RF);
    if (!code_limit(c, &n.cs, n.rip, 0))
        return false;
    commit(c, &n);
    return true;
}

/* Error code that names an entry of the IDT. */
static bool idt_fault(struct cpu *c, unsigned exc, const struct event *e, const char *why)
{
    return cpu_fault_err(c, exc, e->vector * 8 + 2 + e->ext, why, e->vector, 0);
}

static bool task_gate(struct cpu *c, const struct event *e, uint16_t sel)
{
    c->s.rflags |= e->flags & EF_RF; /* goes into the old TSS */
    if (!task_switch(c, sel, TASK_INT, e->rip, e->ext))
        return false;
    c->s.shadow = c->s.stepping = 0;
    if (!e->has_error)
        return true;
    /* in the new task, by the size of its TSS */
    struct stack st = stack_now(c);
    st.error = e->ext;
    bool tss32 = SEG_TYPE(&c->s.tr) & 8;
    if (!stack_push(c, &st, tss32 ? 4 : 2, e->error)) {
        c->s.rip = c->next_rip;
        return false;
    }
    c->s.r[R_SP] = stack_sp(&st);
    return true;
}

/* The gate's code segment. */
static bool gate_code(struct cpu *c, const struct event *e, uint16_t sel, struct desc *d)
{
    if (sel_null(sel))
        return cpu_fault_err(c, EXC_GP, e->ext, "the gate of vector %#llx has a null selector",
                             e->vector, 0);
    if (!desc_read(c, sel, EXC_GP, e->ext, d))
        return false;
    if (!desc_is_code(d))
        return sel_fault(c, EXC_GP, sel, e->ext, "the gate's selector %#llx is not a code segment");
    if (desc_dpl(d) > c->cpl)
        return sel_fault(c, EXC_GP, sel, e->ext,
                         "the gate's code segment %#llx is less privileged than the CPL");
    if (cpu_long(c) && (d->lo >> 53 & 3) != 1)
        return sel_fault(c, EXC_GP, sel, e->ext,
                         "the gate's code segment %#llx is not a 64-bit one");
    if (!desc_present(d))
        return sel_fault(c, EXC_NP, sel, e->ext, "the gate's code segment %#llx is not present");
    return true;
}

static bool inner_stack(struct cpu *c, const struct event *e, unsigned dpl, struct entry *n)
{
    uint16_t ss;
    uint32_t esp;
    struct seg s;
    if (!task_stack(c, dpl, e->ext, &ss, &esp) || !seg_check_stack(c, ss, dpl, EXC_TS, e->ext, &s))
        return false;
    n->st = stack_at(&s, esp, false);
    n->st.acc = ACC_SUPER;
    n->st.error = (ss & 0xfffcu) | e->ext;
    n->switched = true;
    return true;
}

static bool push_all(struct cpu *c, struct entry *n, unsigned size, const uint64_t *v,
                     unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!stack_push(c, &n->st, size, v[i]))
            return false;
    return true;
}

static bool push_frame(struct cpu *c, const struct event *e, struct entry *n, unsigned size,
                       bool vm)
{
    const struct seg *s = c->s.seg;
    uint64_t v[10];
    unsigned k = 0;
    if (vm) {
        v[k++] = s[SEG_GS].sel;
        v[k++] = s[SEG_FS].sel;
        v[k++] = s[SEG_DS].sel;
        v[k++] = s[SEG_ES].sel;
    }
    if (n->switched || n->st.wide) {
        v[k++] = s[SEG_SS].sel;
        v[k++] = c->s.r[R_SP];
    }
    v[k++] = e->flags;
    v[k++] = s[SEG_CS].sel;
    v[k++] = e->rip;
    if (e->has_error)
        v[k++] = e->error;
    return push_all(c, n, size, v, k);
}

static bool deliver_gate(struct cpu *c, const struct event *e, uint64_t gate)
{
    unsigned type = gate >> 40 & 0xf, size = type & 8 ? 4 : 2;
    uint16_t sel = (uint16_t)(gate >> 16);
    bool vm = cpu_vm86(c);
    struct entry n = {.rip =
                          size == 4 ? (gate & 0xffff) | (gate >> 32 & 0xffff0000) : gate & 0xffff};
    struct desc d;
    if (!gate_code(c, e, sel, &d))
        return false;
    unsigned dpl = desc_type(&d) & SEG_CONFORM ? c->cpl : desc_dpl(&d);
    if (vm && dpl != 0)
        return sel_fault(c, EXC_GP, sel, e->ext,
                         "an interrupt from virtual-8086 mode must go to level 0, not by %#llx");
    if (dpl < c->cpl) {
        if (!inner_stack(c, e, dpl, &n))
            return false;
    } else {
        n.st = stack_now(c);
        n.st.error = e->ext;
    }
    if (!desc_accessed(c, &d))
        return false;
    n.cs = desc_seg(&d, (uint16_t)((sel & 0xfffc) | dpl));
    if (!code_limit(c, &n.cs, n.rip, e->ext) || !push_frame(c, e, &n, size, vm))
        return false;
    n.flags = e->flags & ~(uint64_t)(EF_TF | EF_NT | EF_VM | EF_RF);
    if (!(type & 1))
        n.flags &= ~(uint64_t)EF_IF;
    if (vm)
        for (unsigned i = 0; i < SEG_COUNT; i++)
            if (i != SEG_CS && i != SEG_SS)
                c->s.seg[i] = (struct seg){0};
    commit(c, &n);
    return true;
}

static bool deliver_protected(struct cpu *c, const struct event *e)
{
    uint64_t gate;
    if (e->vector * 8 + 7 > c->s.idtr.limit)
        return idt_fault(c, EXC_GP, e, "vector %#llx is beyond the IDT's limit");
    if (!sys_load(c, (uint32_t)(c->s.idtr.base + e->vector * 8), 8, &gate))
        return false;
    unsigned type = gate >> 40 & 0x1f;
    if (type != SYS_TASK_GATE && type != SYS_INT16 && type != SYS_TRAP16 && type != SYS_INT32 &&
        type != SYS_TRAP32)
        return idt_fault(c, EXC_GP, e, "IDT entry %#llx is not a gate");
    if (e->soft && (gate >> 45 & 3) < c->cpl)
        return idt_fault(c, EXC_GP, e, "the program may not use gate %#llx: its DPL is below CPL");
    if (!(gate >> 47 & 1))
        return idt_fault(c, EXC_NP, e, "IDT entry %#llx is not present");
    if (type == SYS_TASK_GATE)
        return task_gate(c, e, (uint16_t)(gate >> 16));
    return deliver_gate(c, e, gate);
}

static bool deliver_long(struct cpu *c, const struct event *e)
{
    uint64_t lo, hi, at = c->s.idtr.base + e->vector * 16;
    struct entry n = {0};
    struct desc d;
    if (e->vector * 16 + 15 > c->s.idtr.limit)
        return idt_fault(c, EXC_GP, e, "vector %#llx is beyond the IDT's limit");
    if (!sys_load(c, at, 8, &lo) || !sys_load(c, at + 8, 8, &hi))
        return false;
    unsigned type = lo >> 40 & 0x1f;
    if (type != SYS_INT32 && type != SYS_TRAP32)
        return idt_fault(c, EXC_GP, e, "IDT entry %#llx is not a 64-bit interrupt or trap gate");
    if (e->soft && (lo >> 45 & 3) < c->cpl)
        return idt_fault(c, EXC_GP, e, "the program may not use gate %#llx: its DPL is below CPL");
    if (!(lo >> 47 & 1))
        return idt_fault(c, EXC_NP, e, "IDT entry %#llx is not present");
    uint16_t sel = (uint16_t)(lo >> 16);
    if (!gate_code(c, e, sel, &d))
        return false;
    unsigned dpl = desc_type(&d) & SEG_CONFORM ? c->cpl : desc_dpl(&d), ist = lo >> 32 & 7;
    uint64_t rsp = c->s.r[R_SP];
    struct seg ss = c->s.seg[SEG_SS];
    if (dpl < c->cpl) {
        n.switched = true;
        ss = (struct seg){.sel = (uint16_t)dpl, .attr = (uint16_t)(dpl << 5)};
    }
    if ((n.switched || ist) && !task_stack64(c, dpl, ist, e->ext, &rsp))
        return false;
    if (!desc_accessed(c, &d))
        return false;
    n.st = stack_at(&ss, rsp & ~0xfull, true);
    n.st.error = e->ext;
    n.st.acc = n.switched ? ACC_SUPER : 0;
    n.cs = desc_seg(&d, (uint16_t)((sel & 0xfffc) | dpl));
    n.rip = (lo & 0xffff) | (lo >> 32 & 0xffff0000) | hi << 32;
    if (!code_limit(c, &n.cs, n.rip, e->ext) || !push_frame(c, e, &n, 8, false))
        return false;
    n.flags = e->flags & ~(uint64_t)(EF_TF | EF_NT | EF_VM | EF_RF);
    if (!(type & 1))
        n.flags &= ~(uint64_t)EF_IF;
    commit(c, &n);
    return true;
}

/* Sets next_rip. False: c->fault is what went wrong. A page-crossing or device access inside must
 * not ask for a restart, so the event counts as alone in its block. */
static bool deliver(struct cpu *c, const struct event *e)
{
    bool single = c->single, ok;
    c->single = true;
    if (cpu_real(c))
        ok = deliver_real(c, e);
    else if (cpu_long(c))
        ok = deliver_long(c, e);
    else
        ok = deliver_protected(c, e);
    c->single = single;
    if (ok && !e->soft)
        guard_off(c, e->vector);
    return ok;
}

/* SDM 3A table 6-5. */
enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE };

static enum class class_of(unsigned vector) {
    switch (vector){
        case EXC_DE : case EXC_TS : case EXC_NP : case EXC_SS : case EXC_GP : return CONTRIBUTORY;
        case EXC_PF : return PAGE_FAULT;
        case EXC_DF : return DOUBLE;
        default : return BENIGN;
    }
}

static void record(struct cpu *c)
{
    c->fault.rip = c->s.rip;
    if (c->chain_count < ARRAY_LEN(c->chain))
        c->chain[c->chain_count++] = c->fault;
}

/* A fault's frame has RF set, so that its instruction is not stopped again by a code breakpoint;
 * not when that breakpoint is the fault (SDM 3B 17.3.1.1), nor for traps. */
static struct event fault_event(struct cpu *c)
{
    const struct fault *f = &c->fault;
    bool trap = f->soft || f->vector == EXC_DB || f->vector == EXC_NMI || f->vector == EXC_BP ||
                f->vector == EXC_OF;
    struct event e = {.vector = f->vector,
                      .has_error = f->has_error && !cpu_real(c),
                      .error = f->error,
                      .soft = f->soft,
                      .ext = !f->soft,
                      .rip = f->soft ? c->next_rip : c->s.rip};
    e.flags = flags_get(c) | (trap ? 0 : EF_RF);
    return e;
}

static void note_page_fault(struct cpu *c)
{
    c->s.cr2 = c->fault.addr;
    tlb_page_fault(c, c->fault.addr);
}

/* Delivers c->fault, raised while an event of class `before` was being delivered. */
static bool deliver_chain(struct cpu *c, enum class before)
{
    for (;;) {
        enum class now = class_of(c->fault.vector);
        record(c);
        if (before == DOUBLE) {
            c->s.activity = ACT_SHUTDOWN;
            LOG(c->log, CPU, "cpu%u: shutdown after a triple fault", c->index);
            return false;
        }
        if ((before == CONTRIBUTORY && now == CONTRIBUTORY) ||
            (before == PAGE_FAULT && (now == CONTRIBUTORY || now == PAGE_FAULT))) {
            if (now == PAGE_FAULT)
                note_page_fault(c);
            cpu_fault(c, EXC_DF, "a fault while another was being delivered", 0, 0);
            now = DOUBLE;
            record(c);
        }
        if (c->fault.vector == EXC_PF)
            note_page_fault(c);
        LOG(c->log, INT, "cpu%u: exception %u, error %#x, at %x:%llx", c->index, c->fault.vector,
            c->fault.error, c->s.seg[SEG_CS].sel, (unsigned long long)c->s.rip);
        struct event e = fault_event(c);
        if (deliver(c, &e)) {
            c->s.rip = c->next_rip;
            return true;
        }
        before = now;
    }
}

bool cpu_deliver(struct cpu *c)
{
    c->chain_count = 0;
    c->s.pending_db = 0; /* the instruction did not complete: no trap for what it touched */
    c->s.stepping = 0;
    if (c->stop.why == STOP_WATCH) /* nor a debugger's stop */
        c->stop.why = STOP_NONE;
    /* counts as an instruction, or a guest whose handler faults at once would stop the clock */
    c->s.icount++;
    return deliver_chain(c, BENIGN);
}

/* An event from outside or a trap: if its delivery faults, that fault is delivered. */
static bool deliver_event(struct cpu *c, const struct event *e)
{
    c->chain_count = 0;
    if (c->stop.events) {
        c->stop.passed++;
        cpu_request(c, REQ_EXIT);
    }
    if (deliver(c, e)) {
        c->s.rip = c->next_rip;
        return true;
    }
    return deliver_chain(c, BENIGN);
}

static struct event outside(struct cpu *c, unsigned vector)
{
    return (struct event){.vector = vector, .ext = 1, .rip = c->s.rip, .flags = flags_get(c)};
}

bool intr_software(struct cpu *c, unsigned vector, enum intr_soft kind)
{
    struct event e = outside(c, vector);
    e.rip = c->next_rip;
    e.soft = kind != SOFT_INT1;
    e.ext = !e.soft;
    e.flags &= ~(uint64_t)EF_RF;
    if (!deliver(c, &e))
        return false;
    if (kind == SOFT_INT1 && c->s.pending_db) {
        /* one #DB for it and for what MOV SS held back (SDM 3A 6.8.3) */
        c->s.dr6 = (c->s.dr6 & ~0xfull) | c->s.pending_db;
        c->s.pending_db = 0;
    }
    return true;
}

void cpu_shadow(struct cpu *c, uint8_t kind)
{
    c->s.shadow = kind;
    c->s.shadow_at = cpu_icount(c) + 1;
}

void cpu_attention(struct cpu *c)
{
    const struct cpu_state *s = &c->s;
    uint32_t want = 0;
    bool single = (s->rflags & EF_TF) || debug_has_code(c);
    if (single || (s->rflags & EF_RF) || s->pending_db || s->stepping)
        want |= REQ_DB;
    bool quiet = __atomic_load_n(&c->intr_quiet, __ATOMIC_RELAXED);
    if ((s->rflags & EF_IF) && !quiet && c->apic.pending && c->apic.pending(c->apic.apic))
        want |= REQ_INTR;
    c->key = single ? c->key | KEY_SINGLE : c->key & ~KEY_SINGLE;
    cpu_stamp(c);
    if (want & ~cpu_requests(c))
        cpu_request(c, want);
}

void cpu_repeat(struct cpu *c)
{
    c->next_rip = c->s.rip;
    c->s.rflags |= EF_RF;
    cpu_request(c, REQ_DB);
}

static void drop(struct cpu *c, uint32_t req)
{
    __atomic_fetch_and(&c->request, ~req, __ATOMIC_SEQ_CST);
}

/* A start-up IPI: real mode at vector * 4096 (SDM 3A 8.4.3). */
static void start_up(struct cpu *c)
{
    struct seg *cs = &c->s.seg[SEG_CS];
    unsigned vector = __atomic_load_n(&c->s.sipi_vector, __ATOMIC_RELAXED);
    cs->sel = (uint16_t)(vector << 8);
    cs->base = (uint64_t)vector << 12;
    c->s.rip = c->next_rip = 0;
    c->s.activity = ACT_RUN;
    cpu_mode_changed(c);
}

static bool init_and_sipi(struct cpu *c)
{
    if (cpu_requests(c) & REQ_INIT) {
        drop(c, REQ_INIT);
        c->s.init_pending = 1;
    }
    if (cpu_requests(c) & REQ_SIPI) {
        drop(c, REQ_SIPI);
        c->s.sipi_pending = 1;
    }
    if (c->s.init_pending) {
        uint8_t sipi = c->s.sipi_pending;
        cpu_reset(c, true);
        c->s.sipi_pending = sipi;
    }
    if (c->s.sipi_pending && c->s.activity == ACT_WAIT_SIPI)
        start_up(c);
    c->s.sipi_pending = 0; /* one that nobody waits for is lost */
    return c->s.activity == ACT_RUN || c->s.activity == ACT_HALT;
}

static bool debug_trap(struct cpu *c, uint32_t hits)
{
    struct event e = outside(c, EXC_DB);
    c->s.pending_db = 0;
    c->s.dr6 = (c->s.dr6 & ~(uint64_t)0xf) | hits;
    return deliver_event(c, &e);
}

static bool take_nmi(struct cpu *c)
{
    struct event e = outside(c, EXC_NMI);
    drop(c, REQ_NMI);
    c->s.nmi_pending = 0;
    c->s.nmi_blocked = 1;
    c->s.activity = ACT_RUN;
    LOG(c->log, INT, "cpu%u: NMI", c->index);
    return deliver_event(c, &e);
}

bool cpu_take_vector(struct cpu *c, unsigned vector)
{
    struct event e = outside(c, vector);
    c->s.activity = ACT_RUN;
    LOG(c->log, INT, "cpu%u: interrupt %#x at %x:%llx", c->index, vector, c->s.seg[SEG_CS].sel,
        (unsigned long long)c->s.rip);
    return deliver_event(c, &e);
}

static bool take_intr(struct cpu *c, bool *taken)
{
    cpu_lock(c);
    int vector = c->apic.ack ? c->apic.ack(c->apic.apic) : -1;
    cpu_unlock(c);
    *taken = vector >= 0;
    if (vector < 0)
        return true;
    return cpu_take_vector(c, (unsigned)vector);
}

static uint32_t breakpoints_here(const struct cpu *c)
{
    if (!debug_has_code(c))
        return 0;
    return debug_code_hits(c, cpu_64(c) ? c->s.rip : (uint32_t)(c->s.seg[SEG_CS].base + c->s.rip));
}

/* The #DB is a fault: rip is the instruction itself. It counts, as in cpu_deliver(): the handler
 * may begin with the next one. */
static bool code_breakpoint(struct cpu *c, uint32_t hits)
{
    c->s.icount++;
    return debug_trap(c, hits);
}

/* The instruction about to run, once nothing else is pending: code breakpoints, RF, stepping. */
static bool before_instruction(struct cpu *c, bool *delivered)
{
    struct cpu_state *s = &c->s;
    drop(c, REQ_DB);
    if (s->rflags & EF_RF) {
        s->rflags &= ~(uint64_t)EF_RF;        /* it holds for one instruction */
    } else if (!(s->shadow & SHADOW_MOVSS)) { /* as RF would: SDM 3A 6.8.3 */
        uint32_t hits = breakpoints_here(c);
        *delivered = hits;
        if (hits)
            return code_breakpoint(c, hits);
    }
    s->stepping = (s->rflags & EF_TF) != 0;
    cpu_attention(c);
    return true;
}

/* The maskable interrupt. True: it was taken, or *ok is false. */
static bool maskable(struct cpu *c, uint8_t shadow, bool *ok)
{
    bool taken;
    if (!(cpu_requests(c) & REQ_INTR) || shadow)
        return false;
    drop(c, REQ_INTR);
    if (!(c->s.rflags & EF_IF))
        return false; /* whoever sets IF asks the APIC anew: cpu_attention() */
    *ok = take_intr(c, &taken);
    return taken;
}

/* *delivered: execution goes on in a handler. */
static bool look(struct cpu *c, bool *delivered)
{
    struct cpu_state *s = &c->s;
    uint8_t shadow = s->shadow_at == cpu_icount(c) ? s->shadow : 0;
    bool hold_all = shadow & SHADOW_MOVSS, ok = true;
    if (s->activity == ACT_SHUTDOWN)
        return false;
    if (!init_and_sipi(c))
        return true;
    s->shadow = shadow;
    if (cpu_requests(c) & REQ_NMI)
        s->nmi_pending = 1;
    if (s->stepping && !hold_all)
        s->pending_db |= (uint32_t)DR6_BS;
    s->stepping = 0;
    *delivered = true;
    if (s->pending_db && !hold_all) {
        s->activity = ACT_RUN;
        return debug_trap(c, s->pending_db);
    }
    bool held = c->stop.hold && s->activity == ACT_RUN; /* by a debugger that steps */
    /* STI's shadow holds NMI too, as on processors: a handler never sees STI; HLT torn apart */
    if (s->nmi_pending && !s->nmi_blocked && !shadow && !held)
        return take_nmi(c);
    if (!shadow)
        drop(c, REQ_NMI); /* IRET asks for it again */
    if (!held && maskable(c, shadow, &ok))
        return ok;
    *delivered = false;
    if (s->activity != ACT_RUN)
        return true;
    if (!before_instruction(c, delivered))
        return false;
    if (shadow && (cpu_requests(c) & (REQ_INTR | REQ_NMI | REQ_DB)))
        c->key |= KEY_SINGLE; /* look again after one instruction */
    return true;
}

bool cpu_interrupt(struct cpu *c)
{
    bool delivered = false, ok = look(c, &delivered);
    uint32_t hits;
    while (ok && delivered && c->s.icount < c->limit && (hits = breakpoints_here(c)))
        ok = code_breakpoint(c, hits);
    return ok;
}
