#include "cpu_machine.h"

static bool mov_sreg(struct machine *m, unsigned seg, uint16_t sel)
{
    struct uop u = {.dst = (uint8_t)seg, .a = R_AX, .size = 4};
    m->c.s.r[R_AX] = sel;
    return h_mov_to_sreg(&m->c, &u);
}

static bool far(struct machine *m, uop_helper *fn, uint16_t sel, uint64_t offset)
{
    struct uop u = {.imm = (int64_t)offset, .size = 4, .asize = 4};
    m->c.s.r[R_T1] = sel;
    return fn(&m->c, &u);
}

static uint32_t stack(struct machine *m, unsigned i)
{
    return (uint32_t)peek(m, m->c.s.seg[SEG_SS].base + m->c.s.r[R_SP] + 4 * i, 4);
}

static void test_state_table(void **state)
{
    struct err e = {0};
    if (!state_check(&cpu_state_table, &e))
        fail_msg("%s", e.text);
}

static void test_unreal_mode(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t la;
    assert_false(seg_linear(c, SEG_DS, 0x10000, 1, ACC_READ, &la));
    assert_fault(m, EXC_GP, 0);
    assert_false(seg_linear(c, SEG_SS, 0xffff, 2, ACC_READ, &la));
    assert_fault(m, EXC_SS, 0);
    protected_mode(m, 0);
    c->s.cr0 &= ~CR0_PE;
    cpu_mode_changed(c);
    assert_true(mov_sreg(m, SEG_DS, 0x1000));
    assert_true(seg_linear(c, SEG_DS, 0x200000, 4, ACC_WRITE, &la));
    assert_int_equal(la, 0x210000);
    assert_int_equal(c->key & KEY_PROT, 0);
    machine_free(m);
}

static void test_limits_and_types(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t la;
    protected_mode(m, 0);
    gdt(m, 0x40, descriptor(0x1000, 0xfff, 0x4093)); /* 4 KiB of data */
    gdt(m, 0x48, descriptor(0x1000, 0xfff, 0x4097)); /* expand-down */
    gdt(m, 0x50, descriptor(0x1000, 0xfff, 0x0097)); /* the same, 16-bit */
    gdt(m, 0x58, descriptor(0x1000, 0xfff, 0x4091)); /* read-only */
    gdt(m, 0x60, descriptor(0x1000, 0xfff, 0x4099)); /* execute-only */
    gdt(m, 0x68, descriptor(0, 1, 0xc093));          /* 8 KiB */
    gdt(m, 0x70, descriptor(0, 0xfff, 0x4013));      /* not present */
    assert_true(mov_sreg(m, SEG_DS, 0x40));
    assert_true(seg_linear(c, SEG_DS, 0xffc, 4, ACC_WRITE, &la));
    assert_int_equal(la, 0x1ffc);
    assert_false(seg_linear(c, SEG_DS, 0xffd, 4, ACC_WRITE, &la));
    assert_false(c->key & KEY_FLAT_DS);
    assert_true(mov_sreg(m, SEG_DS, 0x48));
    assert_false(seg_linear(c, SEG_DS, 0xfff, 1, ACC_READ, &la));
    assert_true(seg_linear(c, SEG_DS, 0x1000, 1, ACC_READ, &la));
    assert_true(seg_linear(c, SEG_DS, 0xfffffffc, 4, ACC_READ, &la));
    assert_int_equal(la, 0xffc);
    assert_true(mov_sreg(m, SEG_DS, 0x50));
    assert_true(seg_linear(c, SEG_DS, 0xfffc, 4, ACC_READ, &la));
    assert_false(seg_linear(c, SEG_DS, 0xfffd, 4, ACC_READ, &la));
    assert_true(mov_sreg(m, SEG_DS, 0x58));
    assert_true(seg_linear(c, SEG_DS, 0, 4, ACC_READ, &la));
    assert_false(seg_linear(c, SEG_DS, 0, 4, ACC_WRITE, &la));
    assert_fault(m, EXC_GP, 0);
    assert_false(mov_sreg(m, SEG_DS, 0x60));
    assert_fault(m, EXC_GP, 0x60);
    assert_true(mov_sreg(m, SEG_ES, 0x68));
    assert_int_equal(c->s.seg[SEG_ES].limit, 0x1fff);
    assert_false(mov_sreg(m, SEG_ES, 0x70));
    assert_fault(m, EXC_NP, 0x70);
    assert_false(mov_sreg(m, SEG_SS, 0x70));
    assert_fault(m, EXC_SS, 0x70);
    assert_false(mov_sreg(m, SEG_SS, 0x58));
    assert_fault(m, EXC_GP, 0x58);
    assert_false(mov_sreg(m, SEG_SS, 0));
    assert_fault(m, EXC_GP, 0);
    assert_true(mov_sreg(m, SEG_DS, 3));
    assert_false(seg_linear(c, SEG_DS, 0, 1, ACC_READ, &la));
    assert_fault(m, EXC_GP, 0);
    assert_false(mov_sreg(m, SEG_DS, 0x1000));
    assert_fault(m, EXC_GP, 0x1000);
    assert_false(mov_sreg(m, SEG_DS, 0x14)); /* in the LDT, which is none */
    assert_fault(m, EXC_GP, 0x14);
    assert_false(mov_sreg(m, SEG_CS, 8));
    assert_int_equal(c->fault.vector, EXC_UD);
    machine_free(m);
}

static void test_privilege_of_data(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    assert_false(mov_sreg(m, SEG_DS, SEL_DATA0));
    assert_fault(m, EXC_GP, SEL_DATA0);
    assert_true(mov_sreg(m, SEG_DS, SEL_DATA3));
    assert_true(mov_sreg(m, SEG_DS, SEL_DATA3 & ~3)); /* RPL 0 does not matter upward */
    assert_false(mov_sreg(m, SEG_SS, SEL_DATA3 & ~3));
    gdt(m, 0x40, descriptor(0, 0xfffff, 0xc09f)); /* conforming, readable: for all */
    assert_true(mov_sreg(m, SEG_DS, 0x43));
    protected_mode(m, 0);
    assert_false(mov_sreg(m, SEG_DS, SEL_DATA0 | 3)); /* RPL 3 of a DPL 0 segment */
    gdt(m, 0x48, descriptor(0, 0xfffff, 0xc092));
    assert_true(mov_sreg(m, SEG_ES, 0x48));
    assert_int_equal(peek(m, GDT_AT + 0x48 + 5, 1), 0x93); /* accessed */
    assert_int_equal(c->s.shadow, 0);
    assert_true(mov_sreg(m, SEG_SS, SEL_DATA0));
    assert_int_equal(c->s.shadow, SHADOW_MOVSS);
    machine_free(m);
}

static void test_stack_sizes(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.dst = SEG_DS, .size = 4};
    protected_mode(m, 0);
    gdt(m, 0x40, descriptor(0x20000, 0xffff, 0x0093)); /* 16-bit stack */
    assert_true(mov_sreg(m, SEG_SS, 0x40));
    c->s.r[R_SP] = 0x77770000;
    poke(m, 0x2fffc, 4, 0xaaaaaaaa);
    assert_true(h_push_sreg(c, &u));
    assert_int_equal(c->s.r[R_SP], 0x7777fffc);
    assert_int_equal(peek(m, 0x2fffc, 4), 0xaaaa0000 | SEL_DATA0); /* 16 bits written */
    u.dst = SEG_ES;
    assert_true(h_pop_sreg(c, &u));
    assert_int_equal(c->s.r[R_SP], 0x77770000);
    assert_int_equal(c->s.seg[SEG_ES].sel, SEL_DATA0);
    machine_free(m);
}

static void test_far_jumps(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    assert_true(far(m, h_jmpf, SEL_CODE3 & ~3, 0x5000));
    assert_int_equal(c->s.seg[SEG_CS].sel, SEL_CODE3); /* RPL becomes the CPL */
    assert_false(far(m, h_jmpf, SEL_CODE0, 0x5000));
    assert_fault(m, EXC_GP, SEL_CODE0);
    assert_false(far(m, h_jmpf, 3, 0x5000));
    assert_fault(m, EXC_GP, 0);
    assert_false(far(m, h_jmpf, SEL_DATA3, 0x5000));
    assert_fault(m, EXC_GP, SEL_DATA3 & ~3);
    gdt(m, 0x40, descriptor(0, 0xfffff, 0xc09e)); /* conforming, DPL 0 */
    assert_true(far(m, h_jmpf, 0x40, 0x6000));
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x43);
    assert_int_equal(c->cpl, 3);
    gdt(m, 0x48, descriptor(0, 0xfff, 0x40fb));
    assert_false(far(m, h_jmpf, 0x4b, 0x1000));
    assert_fault(m, EXC_GP, 0);
    gdt(m, 0x50, descriptor(0, 0xfff, 0x407b));
    assert_false(far(m, h_jmpf, 0x53, 0));
    assert_fault(m, EXC_NP, 0x50);
    machine_free(m);
}

static void test_call_gate_with_parameters(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4, .imm = 8};
    protected_mode(m, 3);
    gdt(m, 0x40, gate(SEL_CODE0, 0x7000, 0xec, 2));
    poke(m, 0x90000, 4, 0x1111);
    poke(m, 0x90004, 4, 0x2222);
    assert_true(far(m, h_callf, 0x40, 0xdead));
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->next_rip, 0x7000);
    assert_int_equal(c->s.seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(c->s.r[R_SP], 0x80000 - 24);
    assert_int_equal(stack(m, 0), 0x10002);
    assert_int_equal(stack(m, 1), SEL_CODE3);
    assert_int_equal(stack(m, 2), 0x1111);
    assert_int_equal(stack(m, 3), 0x2222);
    assert_int_equal(stack(m, 4), 0x90000);
    assert_int_equal(stack(m, 5), SEL_DATA3);
    assert_true(mov_sreg(m, SEG_ES, SEL_DATA0));
    assert_true(mov_sreg(m, SEG_FS, SEL_DATA3));
    assert_true(mov_sreg(m, SEG_GS, 3));
    assert_true(h_retf(c, &u));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->next_rip, 0x10002);
    assert_int_equal(c->s.r[R_SP], 0x90008);   /* released on both stacks */
    assert_int_equal(c->s.seg[SEG_ES].sel, 0); /* too privileged: null now */
    assert_int_equal(c->s.seg[SEG_ES].attr, 0);
    assert_int_equal(c->s.seg[SEG_FS].sel, SEL_DATA3);
    assert_int_equal(c->s.seg[SEG_GS].sel, 0);
    machine_free(m);
}

static void test_call_gate_checks(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    gdt(m, 0x40, gate(SEL_CODE0, 0x7000, 0x8c, 0)); /* DPL 0 */
    assert_false(far(m, h_callf, 0x40, 0));
    assert_fault(m, EXC_GP, 0x40);
    gdt(m, 0x40, gate(SEL_CODE0, 0x7000, 0x6c, 0));
    assert_false(far(m, h_callf, 0x40, 0));
    assert_fault(m, EXC_NP, 0x40);
    gdt(m, 0x40, gate(SEL_CODE0, 0x7000, 0xec, 0));
    assert_false(far(m, h_jmpf, 0x40, 0)); /* only a call changes the level */
    assert_fault(m, EXC_GP, SEL_CODE0);
    gdt(m, 0x40, gate(SEL_DATA0, 0x7000, 0xec, 0));
    assert_false(far(m, h_callf, 0x40, 0));
    assert_fault(m, EXC_GP, SEL_DATA0);
    gdt(m, 0x40, gate(SEL_CODE0, 0xabcd7000, 0xe4, 1)); /* 16-bit: words, 16-bit offset */
    poke(m, 0x90000, 2, 0x3333);
    assert_true(far(m, h_callf, 0x40, 0));
    assert_int_equal(c->next_rip, 0x7000);
    assert_int_equal(c->s.r[R_SP], 0x80000 - 10);
    assert_int_equal(peek(m, 0x80000 - 6, 2), 0x3333);
    machine_free(m);
}

static void test_iret_flags_and_levels(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 0);
    uint32_t f[5] = {0x5000, SEL_CODE3, 0x3202 | EF_AC | EF_ID, 0x40000, SEL_DATA3};
    memcpy(m->ram + 0x90000, f, sizeof f);
    assert_true(h_iret(c, &u));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->s.r[R_SP], 0x40000);
    assert_int_equal(c->s.rflags, 0x3202 | EF_AC | EF_ID);
    assert_int_equal(c->s.seg[SEG_DS].sel, 0);
    /* level 3 with IOPL 0 can change neither IOPL nor IF */
    protected_mode(m, 3);
    c->s.rflags = EF_FIXED | EF_IF;
    uint32_t g[3] = {0x5000, SEL_CODE3, 0x3002 | F_C};
    memcpy(m->ram + 0x90000, g, sizeof g);
    assert_true(h_iret(c, &u));
    assert_int_equal(c->s.rflags, EF_FIXED | EF_IF | F_C);
    /* not inward */
    g[1] = SEL_CODE0;
    memcpy(m->ram + 0x90000, g, sizeof g);
    protected_mode(m, 3);
    assert_false(h_iret(c, &u));
    assert_fault(m, EXC_GP, SEL_CODE0);
    machine_free(m);
}

static void test_iret_in_64bit_mode(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 8};
    long_mode(m, 0);
    uint64_t f[5] = {0x5000, SEL_CODE64, 2, 0x12340, 0};
    memcpy(m->ram + 0x90000, f, sizeof f);
    assert_true(h_iret(c, &u)); /* same level: SS:RSP too, and SS may be null */
    assert_int_equal(c->s.r[R_SP], 0x12340);
    assert_int_equal(c->s.seg[SEG_SS].sel, 0);
    assert_int_equal(c->cpl, 0);
    long_mode(m, 0);
    f[1] = 0x4b;
    memcpy(m->ram + 0x90000, f, sizeof f);
    assert_false(h_iret(c, &u)); /* null SS at level 3 */
    assert_fault(m, EXC_GP, 0);
    f[4] = SEL_DATA3;
    f[0] = 0x800000000000;
    memcpy(m->ram + 0x90000, f, sizeof f);
    assert_false(h_iret(c, &u));
    assert_fault(m, EXC_GP, 0);
    f[0] = 0x5000;
    f[1] = SEL_CODE3; /* compatibility mode */
    memcpy(m->ram + 0x90000, f, sizeof f);
    assert_true(h_iret(c, &u));
    assert_int_equal(c->key & KEY_CODE, ISA_32);
    assert_true(c->key & KEY_LONG);
    machine_free(m);
}

static void tss32(struct machine *m, uint32_t at, uint32_t eip, uint16_t cs, uint16_t ds)
{
    poke(m, at + 0x20, 4, eip);
    poke(m, at + 0x24, 4, EF_FIXED);
    poke(m, at + 0x28, 4, 0xaaaa);
    poke(m, at + 0x38, 4, 0x70000);
    for (unsigned i = 0; i < 6; i++)
        poke(m, at + 0x48 + 4 * i, 4, i == SEG_CS ? cs : ds);
}

static void test_task_switch_and_back(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop iret = {.size = 4};
    protected_mode(m, 0);
    tss32(m, 0x5000, 0x7777, SEL_CODE3, SEL_DATA3);
    poke(m, 0x5064, 2, 1); /* T */
    gdt(m, 0x40, descriptor(0x5000, 0x67, 0x89));
    c->s.r[R_BX] = 0xb;
    c->s.dr7 |= 3;
    assert_true(far(m, h_callf, 0x40, 0));
    assert_int_equal(c->s.tr.sel, 0x40);
    assert_int_equal(c->next_rip, 0x7777);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->s.r[R_AX], 0xaaaa);
    assert_int_equal(c->s.rflags & EF_NT, EF_NT);
    assert_true(c->s.cr0 & CR0_TS);
    assert_int_equal(c->s.dr7 & 3, 2);
    assert_int_equal(c->s.pending_db, DR6_BT);
    assert_int_equal(peek(m, 0x5000, 2), SEL_TSS);
    assert_int_equal(peek(m, GDT_AT + 0x40 + 5, 1), 0x8b);
    assert_int_equal(peek(m, GDT_AT + SEL_TSS + 5, 1), 0x8b); /* nested: still busy */
    assert_int_equal(peek(m, TSS_AT + 0x20, 4), 0x10002);
    assert_int_equal(peek(m, TSS_AT + 0x34, 4), 0xb);
    assert_int_equal(peek(m, TSS_AT + 0x4c, 4), SEL_CODE0);
    /* itself is busy now */
    assert_false(far(m, h_callf, 0x43, 0));
    assert_fault(m, EXC_GP, 0x40);
    c->s.rip = 0x7777;
    c->next_rip = 0x7778;
    assert_true(h_iret(c, &iret));
    assert_int_equal(c->s.tr.sel, SEL_TSS);
    assert_int_equal(c->next_rip, 0x10002);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(peek(m, GDT_AT + 0x40 + 5, 1), 0x89);
    assert_int_equal(peek(m, 0x5024, 4) & EF_NT, 0);
    assert_int_equal(peek(m, 0x5020, 4), 0x7778);
    machine_free(m);
}

static void test_task_switch_faults(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    gdt(m, 0x40, descriptor(0x5000, 0x66, 0x89));
    assert_false(far(m, h_jmpf, 0x40, 0));
    assert_fault(m, EXC_TS, 0x40);
    gdt(m, 0x40, descriptor(0x5000, 0x67, 0x09));
    assert_false(far(m, h_jmpf, 0x40, 0));
    assert_fault(m, EXC_NP, 0x40);
    assert_int_equal(c->s.tr.sel, SEL_TSS);
    /* a bad SS in the new task: the fault is the new task's */
    gdt(m, 0x40, descriptor(0x5000, 0x67, 0x89));
    tss32(m, 0x5000, 0x7777, SEL_CODE3, SEL_DATA0);
    assert_false(far(m, h_jmpf, 0x40, 0));
    assert_fault(m, EXC_TS, SEL_DATA0);
    assert_int_equal(c->s.tr.sel, 0x40);
    assert_int_equal(c->s.rip, 0x7777);
    assert_int_equal(peek(m, GDT_AT + SEL_TSS + 5, 1), 0x89); /* a jump leaves for good */
    machine_free(m);
}

static void test_task_gate_with_error(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 3);
    tss32(m, 0x5000, 0x7777, SEL_CODE0, SEL_DATA0);
    gdt(m, 0x40, descriptor(0x5000, 0x67, 0x89));
    idt(m, EXC_DF, gate(0x40, 0, 0x85, 0));
    c->fault = (struct fault){.vector = EXC_GP, .has_error = true};
    assert_true(cpu_deliver(c));
    assert_int_equal(c->s.rip, 0x7777);
    assert_int_equal(c->s.tr.sel, 0x40);
    assert_int_equal(c->s.r[R_SP], 0x70000 - 4);
    assert_int_equal(stack(m, 0), 0);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(peek(m, TSS_AT + 0x20, 4), 0x10000);
    machine_free(m);
}

static void test_16bit_task(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    gdt(m, 0x40, descriptor(0x5000, 0x2b, 0x81));
    gdt(m, 0x48, descriptor(0, 0xffff, 0x9b));
    poke(m, 0x500e, 2, 0x1234);
    poke(m, 0x5010, 2, EF_FIXED | F_C);
    poke(m, 0x5012, 2, 0xbeef);
    poke(m, 0x501a, 2, 0x2000);
    poke(m, 0x5022, 2, SEL_DATA0);
    poke(m, 0x5024, 2, 0x48);
    poke(m, 0x5026, 2, SEL_DATA0);
    poke(m, 0x5028, 2, SEL_DATA0);
    poke(m, 0x502a, 2, 0);
    assert_true(far(m, h_jmpf, 0x40, 0));
    assert_int_equal(c->next_rip, 0x1234);
    assert_int_equal(c->s.r[R_AX] & 0xffff, 0xbeef);
    assert_int_equal(c->s.r[R_SP] & 0xffff, 0x2000);
    assert_int_equal(c->s.seg[SEG_FS].sel, 0);
    assert_int_equal(c->s.rflags, EF_FIXED | F_C);
    machine_free(m);
}

static void test_io_bitmap(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 2};
    protected_mode(m, 3);
    c->s.r[R_DX] = 0x3f8;
    assert_false(h_in(c, &u)); /* no room for a bitmap */
    assert_fault(m, EXC_GP, 0);
    c->s.tr.limit = 0x68 + 0x80;
    poke(m, TSS_AT + 0x66, 2, 0x68);
    assert_true(h_in(c, &u));
    assert_int_equal(c->s.r[R_AX] & 0xffff, 0xffff);
    poke(m, TSS_AT + 0x68 + 0x7f, 1, 2); /* 3f9 */
    assert_false(h_in(c, &u));
    u.size = 1;
    assert_true(h_in(c, &u));
    c->s.r[R_DX] = 0x400;
    assert_false(h_in(c, &u)); /* its second byte is beyond the limit */
    c->s.rflags |= EF_IOPL;
    assert_true(h_in(c, &u));
    machine_free(m);
}

static uint64_t lar(struct machine *m, uop_helper *fn, uint16_t sel)
{
    struct uop u = {.dst = R_BX, .a = R_AX, .size = 4};
    m->c.s.r[R_AX] = sel;
    m->c.s.r[R_BX] = 0x5555;
    assert_true(fn(&m->c, &u));
    return flags_get(&m->c) & F_Z ? m->c.s.r[R_BX] : ~0ull;
}

static void test_lar_lsl_verr_verw(void **state)
{
    struct machine *m = machine_new("v2");
    protected_mode(m, 3);
    assert_int_equal(lar(m, h_lar, SEL_CODE3), 0xcffb00);
    assert_true(lar(m, h_lar, SEL_CODE0) == ~0ull);
    assert_true(lar(m, h_lar, 0) == ~0ull);
    assert_true(lar(m, h_lar, 0x1003) == ~0ull);
    assert_int_equal(lar(m, h_lsl, SEL_DATA3), 0xffffffff);
    assert_int_equal(lar(m, h_verr, SEL_DATA3), 0x5555);
    assert_int_equal(lar(m, h_verw, SEL_DATA3), 0x5555);
    assert_int_equal(lar(m, h_verr, SEL_CODE3), 0x5555);
    assert_true(lar(m, h_verw, SEL_CODE3) == ~0ull);
    protected_mode(m, 0);
    assert_int_equal(lar(m, h_lar, SEL_TSS), 0x8b00);
    assert_int_equal(lar(m, h_lsl, SEL_TSS), 0x67);
    gdt(m, 0x40, gate(8, 0, 0x8e, 0)); /* an interrupt gate has neither */
    assert_true(lar(m, h_lar, 0x40) == ~0ull);
    gdt(m, 0x40, gate(8, 0, 0x8c, 0)); /* a call gate has rights, no limit */
    assert_true(lar(m, h_lar, 0x40) != ~0ull);
    assert_true(lar(m, h_lsl, 0x40) == ~0ull);
    assert_true(lar(m, h_verr, SEL_TSS) == ~0ull);
    machine_free(m);
}

static void test_ltr_lldt(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.a = R_AX, .size = 4};
    protected_mode(m, 0);
    c->s.r[R_AX] = SEL_TSS;
    assert_false(h_ltr(c, &u)); /* busy */
    assert_fault(m, EXC_GP, SEL_TSS);
    gdt(m, SEL_TSS, descriptor(TSS_AT, 0x67, 0x89));
    assert_true(h_ltr(c, &u));
    assert_int_equal(peek(m, GDT_AT + SEL_TSS + 5, 1), 0x8b);
    gdt(m, 0x40, descriptor(LDT_AT, 0xf, 0x82));
    poke(m, LDT_AT + 8, 8, descriptor(0x77000, 0xfff, 0x4093));
    c->s.r[R_AX] = 0x40;
    assert_true(h_lldt(c, &u));
    assert_true(mov_sreg(m, SEG_DS, 0xc));
    assert_int_equal(c->s.seg[SEG_DS].base, 0x77000);
    assert_false(mov_sreg(m, SEG_DS, 0x14));
    assert_fault(m, EXC_GP, 0x14);
    c->s.r[R_AX] = 0;
    assert_true(h_lldt(c, &u));
    assert_false(mov_sreg(m, SEG_DS, 0xc));
    c->s.r[R_AX] = SEL_DATA0;
    assert_false(h_lldt(c, &u));
    assert_fault(m, EXC_GP, SEL_DATA0);
    /* long mode: 16-byte descriptors */
    long_mode(m, 0);
    gdt(m, SEL_TSS, descriptor(TSS_AT, 0x67, 0x89));
    gdt(m, 0x30, 0xffff8000);
    c->s.r[R_AX] = SEL_TSS;
    assert_true(h_ltr(c, &u));
    assert_true(c->s.tr.base == 0xffff800000000000 + TSS_AT);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_table),
        cmocka_unit_test(test_unreal_mode),
        cmocka_unit_test(test_limits_and_types),
        cmocka_unit_test(test_privilege_of_data),
        cmocka_unit_test(test_stack_sizes),
        cmocka_unit_test(test_far_jumps),
        cmocka_unit_test(test_call_gate_with_parameters),
        cmocka_unit_test(test_call_gate_checks),
        cmocka_unit_test(test_iret_flags_and_levels),
        cmocka_unit_test(test_iret_in_64bit_mode),
        cmocka_unit_test(test_task_switch_and_back),
        cmocka_unit_test(test_task_switch_faults),
        cmocka_unit_test(test_task_gate_with_error),
        cmocka_unit_test(test_16bit_task),
        cmocka_unit_test(test_io_bitmap),
        cmocka_unit_test(test_lar_lsl_verr_verw),
        cmocka_unit_test(test_ltr_lldt),
    };
    return RUN(tests);
}
