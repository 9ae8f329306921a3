#include "cpu_machine.h"

/* What the CPU tells of the words on its stack, dword i above SS:ESP. */
static uint32_t frame(struct machine *m, unsigned i)
{
    return (uint32_t)peek(m, m->c.s.seg[SEG_SS].base + m->c.s.r[R_SP] + 4 * i, 4);
}

static bool raise(struct machine *m, unsigned vector, bool has_error, uint32_t error)
{
    m->c.fault = (struct fault){.vector = (uint16_t)vector, .has_error = has_error, .error = error};
    return cpu_deliver(&m->c);
}

static bool soft(struct machine *m, unsigned vector)
{
    struct uop u = {.imm = (int64_t)vector};
    return h_int(&m->c, &u);
}

/* ---- real mode ---- */

static void test_real_mode(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    poke(m, 4 * 4, 4, 0x12340056);
    c->s.seg[SEG_CS] = (struct seg){.sel = 0x100, .base = 0x1000, .limit = 0xffff, .attr = 0x93};
    c->s.rip = 0x77;
    c->s.r[R_SP] = 0x11110100;
    c->s.rflags = EF_FIXED | EF_IF | EF_TF | F_C;
    assert_true(raise(m, 4, true, 5)); /* no error code in real mode */
    assert_int_equal(c->s.r[R_SP], 0x111100fa);
    assert_int_equal(peek(m, 0xfa, 2), 0x77);
    assert_int_equal(peek(m, 0xfc, 2), 0x100);
    assert_int_equal(peek(m, 0xfe, 2), EF_FIXED | EF_IF | EF_TF | F_C);
    assert_int_equal(c->s.seg[SEG_CS].base, 0x12340);
    assert_int_equal(c->s.rip, 0x56);
    assert_int_equal(c->s.rflags, EF_FIXED | F_C);
    machine_free(m);
}

/* A stack word that would wrap at SP = 1 faults again and again: shutdown. */
static void test_real_mode_stack_wrap(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    c->s.r[R_SP] = 1;
    assert_false(raise(m, EXC_UD, false, 0));
    assert_int_equal(c->s.activity, ACT_SHUTDOWN);
    assert_int_equal(c->chain_count, 5);
    assert_int_equal(c->chain[0].vector, EXC_UD);
    assert_int_equal(c->chain[1].vector, EXC_SS);
    assert_int_equal(c->chain[2].vector, EXC_SS);
    assert_int_equal(c->chain[3].vector, EXC_DF);
    assert_int_equal(c->chain[4].vector, EXC_SS);
    machine_free(m);
}

/* ---- protected mode ---- */

static void test_same_level_gates(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    idt(m, 13, gate(SEL_CODE0, 0x123456, 0x8e, 0));
    idt(m, 3, gate(SEL_CODE0, 0x123456, 0x8f, 0));
    idt(m, 4, gate(SEL_CODE0, 0xabcd1234, 0x86, 0)); /* 16-bit: no upper offset */
    c->s.rflags = EF_FIXED | EF_IF | EF_NT | F_Z;
    assert_true(raise(m, EXC_GP, true, 0x18));
    assert_int_equal(c->s.rip, 0x123456);
    assert_int_equal(c->s.r[R_SP], 0x90000 - 16);
    assert_int_equal(frame(m, 0), 0x18);
    assert_int_equal(frame(m, 1), 0x10000);
    assert_int_equal(frame(m, 2), SEL_CODE0);
    assert_int_equal(frame(m, 3), EF_FIXED | EF_IF | EF_NT | F_Z | EF_RF);
    assert_int_equal(c->s.rflags, EF_FIXED | F_Z);

    protected_mode(m, 0);
    c->s.rflags = EF_FIXED | EF_IF;
    assert_true(soft(m, 3));
    assert_int_equal(c->next_rip, 0x123456);
    assert_int_equal(frame(m, 0), 0x10002); /* behind the instruction */
    assert_int_equal(frame(m, 2), EF_FIXED | EF_IF);
    assert_int_equal(c->s.rflags, EF_FIXED | EF_IF); /* a trap gate leaves IF */

    protected_mode(m, 0);
    assert_true(soft(m, 4));
    assert_int_equal(c->next_rip, 0x1234);
    assert_int_equal(c->s.r[R_SP], 0x90000 - 6);
    machine_free(m);
}

static void test_inner_level(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    idt(m, 14, gate(SEL_CODE0, 0x5000, 0x8e, 0));
    c->fault = (struct fault){.vector = EXC_PF, .has_error = true, .error = 6, .addr = 0xcafe};
    assert_true(cpu_deliver(c));
    assert_int_equal(c->s.cr2, 0xcafe);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->s.seg[SEG_SS].sel, SEL_DATA0);
    assert_int_equal(c->s.seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(c->s.r[R_SP], 0x80000 - 24);
    assert_int_equal(frame(m, 0), 6);
    assert_int_equal(frame(m, 2), SEL_CODE3);
    assert_int_equal(frame(m, 4), 0x90000);
    assert_int_equal(frame(m, 5), SEL_DATA3);
    assert_int_equal(c->s.seg[SEG_DS].sel, SEL_DATA3);
    machine_free(m);
}

static void test_gate_checks(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    struct cpu_state before = c->s;
    /* DPL 0 gate from level 3; not present; not a gate; beyond the limit */
    idt(m, 0x20, gate(SEL_CODE0, 0, 0x8e, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x20 * 8 + 2);
    idt(m, 0x20, gate(SEL_CODE0, 0, 0x6e, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_NP, 0x20 * 8 + 2);
    idt(m, 0x20, gate(SEL_CODE0, 0, 0xec, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x20 * 8 + 2);
    c->s.idtr.limit = before.idtr.limit = 0x20 * 8 + 6;
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x20 * 8 + 2);
    c->s.idtr.limit = before.idtr.limit = 0x7ff;
    /* the code segment: null, beyond the table, data, not present */
    idt(m, 0x20, gate(0, 0, 0xee, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0);
    idt(m, 0x20, gate(0x1008, 0, 0xee, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x1008);
    idt(m, 0x20, gate(SEL_DATA0, 0, 0xee, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, SEL_DATA0);
    gdt(m, SEL_FREE, descriptor(0, 0xfffff, 0xc01b));
    idt(m, 0x20, gate(SEL_FREE, 0, 0xee, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_NP, SEL_FREE);
    /* the offset beyond the segment */
    gdt(m, SEL_FREE, descriptor(0, 0xfff, 0x409b));
    idt(m, 0x20, gate(SEL_FREE, 0x1000, 0xee, 0));
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0);
    assert_memory_equal(&c->s, &before, sizeof before);
    machine_free(m);
}

static void test_inner_stack_checks(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    idt(m, 0x20, gate(SEL_CODE0, 0x5000, 0xee, 0));
    poke(m, TSS_AT + 8, 4, 0);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_TS, 0);
    poke(m, TSS_AT + 8, 4, SEL_DATA3);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_TS, SEL_DATA3 & ~3);
    poke(m, TSS_AT + 8, 4, SEL_CODE0);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_TS, SEL_CODE0);
    gdt(m, SEL_FREE, descriptor(0, 0xfffff, 0xc013));
    poke(m, TSS_AT + 8, 4, SEL_FREE);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_SS, SEL_FREE);
    gdt(m, SEL_FREE, descriptor(0, 0x1000, 0x4093)); /* ESP0 beyond its limit */
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_SS, SEL_FREE);
    c->s.tr.limit = 8;
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_TS, SEL_TSS);
    /* the same by an exception: EXT is set */
    c->s.tr.limit = 0x67;
    poke(m, TSS_AT + 8, 4, SEL_CODE0);
    idt(m, EXC_UD, gate(SEL_CODE0, 0x5000, 0x8e, 0));
    idt(m, EXC_TS, gate(SEL_CODE3, 0x6000, 0x8e, 0));
    assert_true(raise(m, EXC_UD, false, 0));
    assert_int_equal(c->s.rip, 0x6000);
    assert_int_equal(frame(m, 0), SEL_CODE0 | 1);
    assert_int_equal(c->cpl, 3);
    machine_free(m);
}

static void test_double_and_triple_fault(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    idt(m, EXC_DF, gate(SEL_CODE0, 0x8000, 0x8e, 0));
    /* #GP, its gate empty: #GP inside, so #DF with error code 0 */
    assert_true(raise(m, EXC_GP, true, 0));
    assert_int_equal(c->s.rip, 0x8000);
    assert_int_equal(frame(m, 0), 0);
    /* #UD is benign: the #GP of its empty gate is delivered by itself */
    protected_mode(m, 0);
    idt(m, EXC_GP, gate(SEL_CODE0, 0x9000, 0x8e, 0));
    assert_true(raise(m, EXC_UD, false, 0));
    assert_int_equal(c->s.rip, 0x9000);
    assert_int_equal(frame(m, 0), EXC_UD * 8 + 2 + 1);
    /* no gate at all */
    idt(m, EXC_DF, 0);
    idt(m, EXC_GP, 0);
    protected_mode(m, 0);
    assert_false(raise(m, EXC_NP, true, 0));
    assert_int_equal(c->s.activity, ACT_SHUTDOWN);
    assert_int_equal(c->chain_count, 4);
    assert_int_equal(c->chain[1].vector, EXC_GP);
    assert_int_equal(c->chain[1].error, EXC_NP * 8 + 3);
    assert_int_equal(c->chain[2].vector, EXC_DF);
    assert_int_equal(c->chain[3].error, EXC_DF * 8 + 3);
    assert_false(cpu_interrupt(c));
    machine_free(m);
}

/* A page fault while a contributory one is delivered is no double fault, the other way it is. */
static void test_classes(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    poke(m, 0x10000, 4, 0x11007);
    for (unsigned i = 0; i < 1024; i++)
        poke(m, 0x11000 + 4 * i, 4, i << 12 | 7);
    poke(m, 0x11000 + 4 * 0x7f, 4, 0); /* the stack of level 0 */
    c->s.cr3 = 0x10000;
    c->s.cr0 |= CR0_PG;
    tlb_flush(c);
    idt(m, EXC_GP, gate(SEL_CODE0, 0x9000, 0x8e, 0));
    idt(m, EXC_PF, gate(SEL_CODE3, 0xa000, 0x8e, 0));
    idt(m, EXC_DF, gate(SEL_CODE3, 0xb000, 0x8e, 0));
    assert_true(raise(m, EXC_GP, true, 0));
    assert_int_equal(c->s.rip, 0xa000);
    assert_int_equal(frame(m, 0), 2); /* a supervisor write */
    assert_int_equal(c->s.cr2, 0x80000 - 4);
    idt(m, EXC_PF, gate(SEL_CODE0, 0xa000, 0x8e, 0));
    assert_true(raise(m, EXC_PF, true, 7));
    assert_int_equal(c->s.rip, 0xb000);
    assert_int_equal(c->s.cr2, 0x80000 - 4);
    machine_free(m);
}

/* ---- long mode ---- */

static void idt64(struct machine *m, unsigned vector, uint16_t sel, uint64_t offset, uint8_t access,
                  unsigned ist)
{
    poke(m, IDT_AT + 16 * vector, 8, gate(sel, (uint32_t)offset, access, ist));
    poke(m, IDT_AT + 16 * vector + 8, 8, offset >> 32);
}

static uint64_t frame64(struct machine *m, unsigned i)
{
    return peek(m, m->c.s.r[R_SP] + 8 * i, 8);
}

static void test_long_mode(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    long_mode(m, 3);
    c->s.r[R_SP] = 0x90003;
    idt64(m, 14, SEL_CODE64, 0xffff800000001234, 0x8e, 0);
    assert_true(raise(m, EXC_PF, true, 4));
    assert_true(c->s.rip == 0xffff800000001234);
    assert_int_equal(c->s.r[R_SP], 0x80000 - 48);
    assert_int_equal(frame64(m, 0), 4);
    assert_int_equal(frame64(m, 1), 0x10000);
    assert_int_equal(frame64(m, 2), 0x4b);
    assert_int_equal(frame64(m, 4), 0x90003);
    assert_int_equal(frame64(m, 5), SEL_DATA3);
    assert_int_equal(c->s.seg[SEG_SS].sel, 0);
    assert_int_equal(c->cpl, 0);

    /* same level: aligned, SS:RSP pushed too, SS stays */
    long_mode(m, 0);
    c->s.r[R_SP] = 0x90009;
    assert_true(raise(m, EXC_PF, true, 4));
    assert_int_equal(c->s.r[R_SP], 0x90000 - 48);
    assert_int_equal(frame64(m, 4), 0x90009);
    assert_int_equal(c->s.seg[SEG_SS].sel, SEL_DATA0);

    /* IST, whatever the level */
    long_mode(m, 0);
    idt64(m, 2, SEL_CODE64, 0x7000, 0x8e, 3);
    poke(m, TSS_AT + 0x24 + 16, 8, 0x70000);
    cpu_request(c, REQ_NMI);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.r[R_SP], 0x70000 - 40);
    assert_int_equal(c->s.nmi_blocked, 1);
    machine_free(m);
}

static void test_long_mode_checks(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    long_mode(m, 3);
    idt64(m, 0x20, SEL_CODE0, 0x7000, 0xee, 0); /* not 64-bit code */
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, SEL_CODE0);
    idt64(m, 0x20, SEL_CODE64, 0x7000, 0xe6, 0); /* no 16-bit gates */
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x20 * 8 + 2);
    idt64(m, 0x20, SEL_CODE64, 0x800000000000, 0xee, 0);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0);
    idt64(m, 0x20, SEL_CODE64, 0x7000, 0xee, 0);
    poke(m, TSS_AT + 4, 8, 0x800000000000);
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_SS, 0);
    poke(m, TSS_AT + 4, 8, 0x80000);
    c->s.idtr.limit = 0x20 * 16 + 14;
    assert_false(soft(m, 0x20));
    assert_fault(m, EXC_GP, 0x20 * 8 + 2);
    machine_free(m);
}

/* ---- virtual-8086 mode ---- */

static void vm86(struct machine *m, unsigned iopl_)
{
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    c->s.rflags = EF_FIXED | EF_VM | EF_IF | iopl_ << 12;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        c->s.seg[i] = seg_vm86((uint16_t)(0x1000 + i));
    c->s.r[R_SP] = 0x100;
    c->s.rip = 0x20;
    c->next_rip = 0x22;
    cpu_mode_changed(c);
}

static void test_vm86_to_monitor_and_back(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    vm86(m, 3);
    idt(m, 0x21, gate(SEL_CODE0, 0x7000, 0xee, 0));
    assert_true(soft(m, 0x21));
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->s.r[R_SP], 0x80000 - 36);
    assert_int_equal(frame(m, 0), 0x22);
    assert_int_equal(frame(m, 1), 0x1000 + SEG_CS);
    assert_int_equal(frame(m, 2), EF_FIXED | EF_VM | EF_IF | 3 << 12);
    assert_int_equal(frame(m, 3), 0x100);
    assert_int_equal(frame(m, 4), 0x1000 + SEG_SS);
    assert_int_equal(frame(m, 5), 0x1000 + SEG_ES);
    assert_int_equal(frame(m, 8), 0x1000 + SEG_GS);
    assert_int_equal(c->s.seg[SEG_DS].sel, 0);
    assert_int_equal(c->s.seg[SEG_DS].attr, 0);
    struct uop u = {.size = 4};
    assert_true(h_iret(c, &u));
    assert_true(cpu_vm86(c));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->next_rip, 0x22);
    assert_int_equal(c->s.r[R_SP], 0x100);
    assert_int_equal(c->s.seg[SEG_FS].base, 0x10000 + 16 * SEG_FS);
    assert_int_equal(c->s.rflags & EF_IOPL, 3 << 12);
    machine_free(m);
}

static void test_vm86_iopl_and_vme(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop w = {.size = 2}, d = {.size = 4};
    vm86(m, 0);
    assert_false(h_cli(c, &w));
    assert_fault(m, EXC_GP, 0);
    assert_false(h_pushf(c, &w));
    assert_false(h_popf(c, &w));
    assert_false(h_iret(c, &w));
    assert_false(soft(m, 0x21));
    assert_fault(m, EXC_GP, 0);

    c->s.cr4 |= CR4_VME;
    poke(m, TSS_AT + 0x66, 2, 0x88); /* redirection bitmap at 68 */
    c->s.tr.limit = 0xfff;
    c->s.rflags |= EF_VIF;
    poke(m, 0x21 * 4, 4, 0x20000010);
    assert_true(soft(m, 0x21));
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x2000);
    assert_int_equal(c->next_rip, 0x10);
    assert_int_equal(c->s.rflags & (EF_VIF | EF_IF), EF_IF);
    uint64_t ss = c->s.seg[SEG_SS].base;
    assert_int_equal(peek(m, ss + 0xfa, 2), 0x22);
    assert_int_equal(peek(m, ss + 0xfe, 2), EF_FIXED | EF_IF | EF_IOPL); /* IF is VIF's image */
    assert_true(h_iret(c, &w));
    assert_int_equal(c->s.rflags & (EF_VIF | EF_IF), EF_VIF | EF_IF);
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x1000 + SEG_CS);
    assert_false(h_iret(c, &d));      /* VME knows only the 16-bit form */
    poke(m, TSS_AT + 0x68 + 4, 1, 2); /* INT 21h goes to the monitor */
    assert_false(soft(m, 0x21));
    assert_fault(m, EXC_GP, 0);
    assert_true(h_cli(c, &w));
    assert_int_equal(c->s.rflags & (EF_VIF | EF_IF), EF_IF);
    c->s.rflags |= EF_VIP;
    assert_false(h_sti(c, &w));
    machine_free(m);
}

/* ---- what comes between instructions ---- */

static int ack_vector = -1;

static int ack(void *apic)
{
    int v = ack_vector;
    ack_vector = -1;
    return v;
}

static bool pending(void *apic)
{
    return ack_vector >= 0;
}

static void interrupt(struct machine *m, int vector)
{
    ack_vector = vector;
    cpu_request(&m->c, REQ_INTR);
}

static void test_if_and_shadow(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {0};
    protected_mode(m, 0);
    c->apic.ack = ack;
    c->apic.pending = pending;
    idt(m, 0x30, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    interrupt(m, 0x30);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x10000);
    assert_false(c->request & REQ_INTR); /* no point in asking while IF is 0 */
    assert_true(h_sti(c, &u));
    assert_true(c->request & REQ_INTR);
    c->s.icount++; /* STI is over */
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x10000);
    assert_true(c->key & KEY_SINGLE);
    c->s.icount++; /* one more instruction */
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7000);
    assert_int_equal(c->s.r[R_SP], 0x90000 - 12);
    assert_false(c->key & KEY_SINGLE);
    /* NMI waits out the shadow too */
    idt(m, 2, gate(SEL_CODE0, 0x7100, 0x8e, 0));
    assert_true(h_sti(c, &u));
    c->s.icount++;
    c->s.rip = 0x7200;
    interrupt(m, -1);
    cpu_request(c, REQ_NMI);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7200);
    c->s.icount++;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7100);
    machine_free(m);
}

static void test_hlt_wakes(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {0};
    protected_mode(m, 0);
    c->apic.ack = ack;
    c->apic.pending = pending;
    idt(m, 0x30, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    idt(m, 2, gate(SEL_CODE0, 0x7100, 0x8e, 0));
    assert_true(h_hlt(c, &u));
    interrupt(m, 0x30);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.activity, ACT_HALT); /* IF is 0 */
    cpu_request(c, REQ_NMI);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.activity, ACT_RUN);
    assert_int_equal(c->s.rip, 0x7100);
    /* a second NMI waits for IRET */
    cpu_request(c, REQ_NMI);
    c->s.rip = 0x7200;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7200);
    struct uop iret = {.size = 4};
    assert_true(h_iret(c, &iret));
    c->s.rip = c->next_rip;
    assert_true(c->request & REQ_NMI);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7100);
    machine_free(m);
}

static void test_init_and_sipi(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    c->index = 1;
    c->s.lstar = 0x1234;
    cpu_request(c, REQ_INIT);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.activity, ACT_WAIT_SIPI);
    assert_int_equal(c->s.cr0 & CR0_PE, 0);
    assert_int_equal(c->s.lstar, 0x1234);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.activity, ACT_WAIT_SIPI);
    c->s.sipi_vector = 0x9a;
    cpu_request(c, REQ_SIPI);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.activity, ACT_RUN);
    assert_int_equal(c->s.seg[SEG_CS].base, 0x9a000);
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x9a00);
    assert_int_equal(c->s.rip, 0);
    cpu_request(c, REQ_SIPI); /* a running CPU takes none */
    c->s.rip = 5;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 5);
    machine_free(m);
}

static void test_single_step(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 0);
    idt(m, 1, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    /* POPF sets TF: the trap comes after the next instruction */
    c->s.r[R_SP] = 0x90000;
    poke(m, 0x90000, 4, EF_FIXED | EF_TF);
    assert_true(h_popf(c, &u));
    assert_true(c->request & REQ_DB);
    c->s.rip = 0x10001;
    c->s.icount++;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x10001);
    assert_true(c->key & KEY_SINGLE);
    c->s.rip = 0x10003;
    c->s.icount++;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7000);
    assert_int_equal(c->s.dr6 & 0xe00f, DR6_BS);
    assert_int_equal(frame(m, 0), 0x10003);
    assert_int_equal(frame(m, 2), EF_FIXED | EF_TF);
    assert_false(c->key & KEY_SINGLE);
    /* and IRET goes on stepping */
    assert_true(h_iret(c, &u));
    c->s.rip = c->next_rip;
    c->s.icount++;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x10003);
    c->s.rip = 0x10004;
    c->s.icount++;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7000);
    machine_free(m);
}

static void test_code_breakpoint_and_rf(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 0);
    idt(m, 1, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    debug_set(c, 2, 0x10000);
    debug_set(c, 7, 0x10); /* L2, execution */
    assert_true(c->key & KEY_SINGLE);
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7000);
    assert_int_equal(c->s.dr6 & 0xe00f, 4);
    assert_int_equal(frame(m, 0), 0x10000);
    assert_int_equal(frame(m, 2) & EF_RF, 0);
    poke(m, c->s.r[R_SP] + 8, 4, EF_FIXED | EF_RF); /* the handler sets RF */
    assert_true(h_iret(c, &u));
    c->s.rip = c->next_rip;
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x10000); /* not again */
    assert_int_equal(c->s.rflags & EF_RF, 0);
    machine_free(m);
}

static void test_interrupt_fault_has_ext(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    c->apic.ack = ack;
    c->apic.pending = pending;
    c->s.rflags |= EF_IF;
    idt(m, EXC_GP, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    interrupt(m, 0x31); /* an empty gate */
    assert_true(cpu_interrupt(c));
    assert_int_equal(c->s.rip, 0x7000);
    assert_int_equal(frame(m, 0), 0x31 * 8 + 2 + 1);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_mode),
        cmocka_unit_test(test_real_mode_stack_wrap),
        cmocka_unit_test(test_same_level_gates),
        cmocka_unit_test(test_inner_level),
        cmocka_unit_test(test_gate_checks),
        cmocka_unit_test(test_inner_stack_checks),
        cmocka_unit_test(test_double_and_triple_fault),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_long_mode),
        cmocka_unit_test(test_long_mode_checks),
        cmocka_unit_test(test_vm86_to_monitor_and_back),
        cmocka_unit_test(test_vm86_iopl_and_vme),
        cmocka_unit_test(test_if_and_shadow),
        cmocka_unit_test(test_hlt_wakes),
        cmocka_unit_test(test_init_and_sipi),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_code_breakpoint_and_rf),
        cmocka_unit_test(test_interrupt_fault_has_ext),
    };
    return RUN(tests);
}
