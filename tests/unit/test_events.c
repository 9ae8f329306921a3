/* Events against running code: small programs under the engine. */
#include "cpu_machine.h"
#include "engine/engine.h"

#define CODE    0x10000u
#define HANDLER 0x20000u
#define COUNTER 0x30000u /* the handler's own, where it keeps what it saw */

static void code(struct machine *m, uint32_t at, const char *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        poke(m, at + i, 1, (uint8_t)bytes[i]);
}
#define CODE_AT(m, at, bytes) code(m, at, bytes, sizeof bytes - 1)

static struct machine *machine(void)
{
    struct machine *m = machine_new("v2");
    protected_mode(m, 0);
    for (unsigned v = 0; v < 32; v++)
        idt(m, v, gate(SEL_CODE0, HANDLER, 0x8e, 0));
    CODE_AT(m, HANDLER, "\xf4"); /* hlt */
    m->c.s.dr6 = DR6_FIXED;
    return m;
}

static void done(struct machine *m)
{
    struct cpu *c = &m->c;
    soft_part(&c, 1);
    machine_free(m);
}

static void run(struct machine *m, uint64_t n)
{
    soft_run(&m->c, n);
}

static uint32_t top(struct machine *m, unsigned i)
{
    return (uint32_t)peek(m, m->c.s.r[R_SP] + 4 * i, 4);
}

static int waiting = -1;

static int ack(void *apic)
{
    int v = waiting;
    waiting = -1;
    return v;
}

static bool pending(void *apic)
{
    return waiting >= 0;
}

static void test_sti_shadow(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    c->apic.ack = ack;
    c->apic.pending = pending;
    idt(m, 0x40, gate(SEL_CODE0, HANDLER, 0x8e, 0));
    waiting = 0x40;
    cpu_request(c, REQ_INTR);
    CODE_AT(m, CODE, "\x90\xfb\x40\x40\x40\xf4"); /* nop; sti; inc eax; inc eax; inc eax; hlt */
    run(m, 20);
    assert_int_equal(c->s.activity, ACT_HALT);
    assert_int_equal(c->s.rip, HANDLER + 1);
    assert_int_equal(top(m, 0), CODE + 3);
    assert_int_equal(c->s.r[R_AX], 1);
    done(m);
}

/* STI; HLT: the interrupt that waits wakes it, none is lost between the two. */
static void test_sti_hlt(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    c->apic.ack = ack;
    c->apic.pending = pending;
    idt(m, 0x40, gate(SEL_CODE0, HANDLER, 0x8e, 0));
    waiting = 0x40;
    cpu_request(c, REQ_INTR);
    CODE_AT(m, CODE, "\xfb\xf4\x40");
    run(m, 20);
    assert_int_equal(c->s.rip, HANDLER + 1);
    assert_int_equal(top(m, 0), CODE + 2);
    done(m);
}

/* MOV SS holds off everything for one instruction, the single-step trap too. */
static void test_mov_ss_shadow(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    c->s.r[R_AX] = SEL_DATA0;
    cpu_request(c, REQ_NMI);
    CODE_AT(m, CODE, "\x8e\xd0\x40\x40"); /* mov ss, eax; inc eax … */
    c->request = 0;
    run(m, 1);
    cpu_request(c, REQ_NMI);
    run(m, 20);
    assert_int_equal(top(m, 0), CODE + 3);
    done(m);

    m = machine();
    c = &m->c;
    c->s.r[R_AX] = SEL_DATA0;
    c->s.rflags |= EF_TF;
    cpu_mode_changed(c);
    CODE_AT(m, CODE, "\x8e\xd0\x40\x40");
    run(m, 20);
    assert_int_equal(top(m, 0), CODE + 3);
    assert_true(c->s.dr6 & DR6_BS);
    done(m);
}

/* Each instruction is followed by a trap; a handler that counts and returns. */
static void test_single_steps(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    CODE_AT(m, HANDLER, "\xff\x05\x00\x00\x03\x00\xcf"); /* inc dword [30000]; iret */
    c->s.rflags |= EF_TF;
    c->s.r[R_CX] = 3;
    c->s.r[R_SI] = 0x50000;
    c->s.r[R_DI] = 0x51000;
    cpu_mode_changed(c);
    /* nop; inc eax; rep movsb (3); jmp +0; hlt is at the end: the trap comes before it stops */
    CODE_AT(m, CODE, "\x90\x40\xf3\xa4\xeb\x00\x9c\x58\x90\x90");
    run(m, 6 + 3 * 6); /* six instructions, each with a handler of two and the trap itself */
    assert_true(peek(m, COUNTER, 4) >= 6);
    assert_int_equal(c->s.r[R_CX], 0);
    done(m);

    /* INT n does not trap after itself: its handler runs untraced */
    m = machine();
    c = &m->c;
    idt(m, 0x40, gate(SEL_CODE0, 0x21000, 0x8e, 0));
    CODE_AT(m, 0x21000, "\x90\xf4");
    CODE_AT(m, CODE, "\xcd\x40");
    c->s.rflags |= EF_TF;
    cpu_mode_changed(c);
    run(m, 10);
    assert_int_equal(c->s.rip, 0x21002);
    done(m);
}

/* In the middle of straight-line code the trap comes right behind the access. */
static void test_data_breakpoint(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    /* inc eax; mov [50000], eax; inc eax; inc eax */
    CODE_AT(m, CODE, "\x40\xa3\x00\x00\x05\x00\x40\x40\xf4");
    debug_set(c, 1, 0x50000);
    debug_set(c, 7, 0x00d00004); /* L1, 4 bytes, write */
    run(m, 20);
    assert_int_equal(c->s.rip, HANDLER + 1);
    assert_int_equal(top(m, 0), CODE + 6);
    assert_int_equal(c->s.dr6 & 0xf, 2);
    assert_int_equal(c->s.r[R_AX], 1);
    assert_int_equal(peek(m, 0x50000, 4), 1);
    done(m);

    /* a REP store stops within */
    m = machine();
    c = &m->c;
    CODE_AT(m, CODE, "\xf3\xaa\xf4"); /* rep stosb */
    c->s.r[R_CX] = 16;
    c->s.r[R_DI] = 0x50000 - 4;
    debug_set(c, 1, 0x50000);
    debug_set(c, 7, 0x00100004);
    run(m, 40);
    assert_int_equal(c->s.rip, HANDLER + 1);
    assert_int_equal(top(m, 0), CODE);
    assert_int_equal(c->s.r[R_CX], 11);
    assert_int_equal(top(m, 2), EF_FIXED | EF_RF); /* iterations are left */
    done(m);
}

/* An interrupt between two iterations has RF in its frame, so that a breakpoint on the REP hits
 * once for all of it; behind the last one it hasn't (SDM 3B 17.3.1.1). */
static void test_rep_and_rf(void **state)
{
    static const char *const rep[] = {"\xf3\xaa\x90\xf4", "\xf3\x6e\x90\xf4"}; /* stosb, outsb */
    for (unsigned i = 0; i < 4; i++) {
        unsigned left = i & 1 ? 0 : 2;
        struct machine *m = machine();
        struct cpu *c = &m->c;
        c->apic.ack = ack;
        c->apic.pending = pending;
        idt(m, 0x40, gate(SEL_CODE0, 0x21000, 0x8e, 0));
        CODE_AT(m, 0x21000, "\xcf"); /* iret */
        /* the handler of the breakpoint counts, sets RF in its frame, returns */
        CODE_AT(m, HANDLER, "\xff\x05\x00\x00\x03\x00\x81\x4c\x24\x08\x00\x00\x01\x00\xcf");
        code(m, CODE, rep[i / 2], 4);
        c->s.r[R_CX] = 5;
        c->s.r[R_SI] = c->s.r[R_DI] = 0x50000;
        c->s.rflags |= EF_IF;
        debug_set(c, 0, CODE);
        debug_set(c, 7, 1);
        run(m, 4 + 5 - left); /* the breakpoint and its handler, iterations */
        assert_int_equal(c->s.r[R_CX], left);
        waiting = 0x40;
        cpu_request(c, REQ_INTR);
        run(m, 1);
        assert_int_equal(peek(m, 0x90000 - 4, 4), EF_FIXED | EF_IF | (left ? EF_RF : 0));
        run(m, left + 2);
        assert_int_equal(c->s.activity, ACT_HALT);
        assert_int_equal(c->s.r[R_CX], 0);
        assert_int_equal(peek(m, COUNTER, 4), 1);
        done(m);
    }
}

/* A #DB handler whose first instruction has a breakpoint: it never gets on, and yet time does. */
static void test_breakpoint_on_its_own_handler(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    debug_set(c, 0, HANDLER);
    debug_set(c, 7, 1);
    CODE_AT(m, CODE, "\xcd\x01");
    run(m, 20);
    assert_int_equal(c->s.icount, 20);
    assert_int_equal(c->s.rip, HANDLER);
    assert_int_equal(c->s.r[R_SP], 0x90000 - 20 * 12);
    done(m);

    /* nor is one missed that an interrupt leads to */
    m = machine();
    c = &m->c;
    c->apic.ack = ack;
    c->apic.pending = pending;
    idt(m, 0x40, gate(SEL_CODE0, 0x21000, 0x8e, 0));
    CODE_AT(m, 0x21000, "\x90\xf4");
    CODE_AT(m, CODE, "\x90\xf4");
    debug_set(c, 0, 0x21000);
    debug_set(c, 7, 1);
    c->s.rflags |= EF_IF;
    waiting = 0x40;
    cpu_request(c, REQ_INTR);
    run(m, 20);
    assert_int_equal(c->s.rip, HANDLER + 1);
    assert_int_equal(top(m, 0), 0x21000);
    done(m);
}

static void test_code_breakpoint(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    /* the handler counts, sets RF in its frame, returns */
    CODE_AT(m, HANDLER, "\xff\x05\x00\x00\x03\x00\x81\x4c\x24\x08\x00\x00\x01\x00\xcf");
    CODE_AT(m, CODE, "\x40\x40\x40\xf4");
    debug_set(c, 0, CODE + 1);
    debug_set(c, 7, 1);
    run(m, 20);
    assert_int_equal(peek(m, COUNTER, 4), 1);
    assert_int_equal(c->s.r[R_AX], 3);
    assert_int_equal(c->s.activity, ACT_HALT);
    done(m);
}

static void test_io_breakpoint(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    c->s.cr4 |= CR4_DE;
    CODE_AT(m, CODE, "\x40\xe6\x80\x40\x40\xf4"); /* inc eax; out 80h, al; … */
    debug_set(c, 3, 0x80);
    debug_set(c, 7, 0x20000040);
    run(m, 20);
    assert_int_equal(top(m, 0), CODE + 3);
    assert_int_equal(c->s.dr6 & 0xf, 8);
    done(m);
}

/* Paging with one hole, at 60000. */
static void with_hole(struct machine *m)
{
    struct cpu *c = &m->c;
    poke(m, 0x70000, 4, 0x71007);
    for (unsigned i = 0; i < 1024; i++)
        poke(m, 0x71000 + 4 * i, 4, i == 0x60 ? 0 : i << 12 | 7);
    c->s.cr3 = 0x70000;
    c->s.cr0 |= CR0_PG | CR0_WP;
    tlb_flush(c);
    cpu_mode_changed(c);
}

/* A fault leaves every register as it was, whatever the instruction: it can be begun again. */
static void test_faults_restart(void **state)
{
    static const struct {
        const char *name, *bytes;
        unsigned n;
    } insn[] = {
#define I(name, bytes) {name, bytes, sizeof bytes - 1}
        I("mov eax,[ebx]", "\x8b\x03"),
        I("mov [ebx],eax", "\x89\x03"),
        I("add [ebx],eax", "\x01\x03"),
        I("adc eax,[ebx]", "\x13\x03"),
        I("inc dword [ebx]", "\xff\x03"),
        I("neg byte [ebx]", "\xf6\x1b"),
        I("xchg [ebx],eax", "\x87\x03"),
        I("lock xadd [ebx],eax", "\xf0\x0f\xc1\x03"),
        I("cmpxchg [ebx],ecx", "\x0f\xb1\x0b"),
        I("cmpxchg8b [ebx]", "\x0f\xc7\x0b"),
        I("shl dword [ebx],cl", "\xd3\x23"),
        I("shld [ebx],eax,3", "\x0f\xa4\x03\x03"),
        I("bts [ebx],eax", "\x0f\xab\x03"),
        I("setc [ebx]", "\x0f\x92\x03"),
        I("mul dword [ebx]", "\xf7\x23"),
        I("idiv dword [ebx]", "\xf7\x3b"),
        I("imul eax,[ebx],5", "\x6b\x03\x05"),
        I("push dword [ebx]", "\xff\x33"),
        I("pop dword [ebx]", "\x8f\x03"),
        I("call [ebx]", "\xff\x13"),
        I("jmp [ebx]", "\xff\x23"),
        I("call far [ebx]", "\xff\x1b"),
        I("les eax,[ebx]", "\xc4\x03"),
        I("mov es,[ebx]", "\x8e\x03"),
        I("mov [ebx],ds", "\x8c\x1b"),
        I("lgdt [ebx]", "\x0f\x01\x13"),
        I("sgdt [ebx]", "\x0f\x01\x03"),
        I("lodsd", "\xad"),
        I("stosd", "\xab"),
        I("movsd", "\xa5"),
        I("cmpsd", "\xa7"),
        I("scasd", "\xaf"),
        I("rep movsd", "\xf3\xa5"),
        I("rep stosd", "\xf3\xab"),
        I("repe cmpsd", "\xf3\xa7"),
        I("xlat", "\xd7"),
        I("bound eax,[ebx]", "\x62\x03"),
        I("movzx eax,byte [ebx]", "\x0f\xb6\x03"),
        I("bsf eax,[ebx]", "\x0f\xbc\x03"),
        I("cmovc eax,[ebx]", "\x0f\x42\x03"),
        I("lar eax,[ebx]", "\x0f\x02\x03"),
        I("fld dword [ebx]", "\xd9\x03"),
        I("fstp qword [ebx]", "\xdd\x1b"),
        I("movups xmm0,[ebx]", "\x0f\x10\x03"),
        I("movups [ebx],xmm0", "\x0f\x11\x03"),
        I("maskmovdqu is not here; fxsave [ebx]", "\x0f\xae\x03"),
        I("arpl [ebx],ax", "\x63\x03"),
        I("movbe is not in v2; crc32 eax,[ebx]", "\xf2\x0f\x38\xf1\x03"),
#undef I
    };
    for (unsigned i = 0; i < ARRAY_LEN(insn); i++) {
        struct machine *m = machine();
        struct cpu *c = &m->c;
        with_hole(m);
        c->s.cr4 |= CR4_OSFXSR;
        c->s.fcw = 0x37f;
        c->s.ftw = 0x80;
        c->s.fsw = 7 << 11;
        cpu_mode_changed(c);
        idt(m, EXC_PF, gate(SEL_CODE0, HANDLER, 0x8e, 0));
        c->s.r[R_BX] = c->s.r[R_SI] = c->s.r[R_DI] = 0x60000;
        c->s.r[R_AX] = 2;
        c->s.r[R_CX] = 3;
        c->s.r[R_DX] = 4;
        c->s.rflags = EF_FIXED | F_C | F_Z | F_A;
        struct cpu_state before = c->s;
        code(m, CODE, insn[i].bytes, insn[i].n);
        run(m, 1);
        if (c->s.rip != HANDLER || c->chain[0].vector != EXC_PF)
            fail_msg("%s: no page fault, rip %llx", insn[i].name, (unsigned long long)c->s.rip);
        if (c->s.cr2 >> 12 != 0x60)
            fail_msg("%s: fault at %llx", insn[i].name, (unsigned long long)c->s.cr2);
        assert_int_equal(top(m, 1), CODE);
        assert_int_equal(top(m, 3), before.rflags | EF_RF);
        before.r[R_SP] -= 16;
        if (memcmp(before.r, c->s.r, 16 * 8) || memcmp(before.v, c->s.v, sizeof before.v) ||
            memcmp(before.fp_sig, c->s.fp_sig, sizeof before.fp_sig) ||
            memcmp(before.seg, c->s.seg, sizeof before.seg) || before.fsw != c->s.fsw ||
            before.ftw != c->s.ftw || before.gdtr.limit != c->s.gdtr.limit)
            fail_msg("%s: changed a register before it faulted", insn[i].name);
        done(m);
    }
}

/* The same for what touches the stack, at a stack that is not there. */
static void test_stack_faults_restart(void **state)
{
    static const struct {
        const char *name, *bytes;
        unsigned n;
    } insn[] = {
#define I(name, bytes) {name, bytes, sizeof bytes - 1}
        I("push eax", "\x50"),
        I("pop eax", "\x58"),
        I("pusha", "\x60"),
        I("popa", "\x61"),
        I("pushf", "\x9c"),
        I("popf", "\x9d"),
        I("call", "\xe8\x00\x00\x00\x00"),
        I("ret", "\xc3"),
        I("ret 8", "\xc2\x08\x00"),
        I("retf", "\xcb"),
        I("iret", "\xcf"),
        I("enter 8,0", "\xc8\x08\x00\x00"),
        I("enter 8,2", "\xc8\x08\x00\x02"),
        I("leave", "\xc9"),
        I("push ds", "\x1e"),
        I("pop ds", "\x1f"),
        I("call far", "\x9a\x00\x00\x02\x00\x1b\x00"),
        I("push [esi]", "\xff\x36"),
        I("pop [esi]", "\x8f\x06"),
#undef I
    };
    for (unsigned i = 0; i < ARRAY_LEN(insn); i++) {
        struct machine *m = machine();
        struct cpu *c = &m->c;
        with_hole(m);
        protected_mode(m, 3); /* so that the handler has another stack */
        c->s.r[R_SP] = 0x60ff0;
        c->s.r[R_BP] = 0x60ff0;
        c->s.r[R_SI] = 0x50000;
        c->s.r[R_AX] = 2;
        struct cpu_state before = c->s;
        code(m, CODE, insn[i].bytes, insn[i].n);
        run(m, 1);
        if (c->s.rip != HANDLER || c->chain[0].vector != EXC_PF)
            fail_msg("%s: no page fault, rip %llx", insn[i].name, (unsigned long long)c->s.rip);
        assert_int_equal(top(m, 1), CODE);
        assert_int_equal(top(m, 4), 0x60ff0);
        before.r[R_SP] = c->s.r[R_SP];
        if (memcmp(before.r, c->s.r, 16 * 8) || before.seg[SEG_DS].sel != c->s.seg[SEG_DS].sel)
            fail_msg("%s: changed a register before it faulted", insn[i].name);
        done(m);
    }
}

/* An instruction across two pages, the second of them missing: the fault names the second page. */
static void test_fetch_fault_across_pages(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    with_hole(m);
    CODE_AT(m, 0x5fffe, "\xb8\x11"); /* mov eax, imm32 */
    c->s.rip = 0x5fffe;
    run(m, 1);
    assert_int_equal(c->s.rip, HANDLER);
    assert_int_equal(c->s.cr2, 0x60000);
    assert_int_equal(top(m, 1), 0x5fffe);
    done(m);
}

static void test_own_code_is_rewritten(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    /* mov byte [next], 0x43; next: inc eax → inc ebx; hlt */
    CODE_AT(m, CODE, "\xc6\x05\x07\x00\x01\x00\x43\x40\xf4");
    run(m, 10);
    assert_int_equal(c->s.r[R_AX], 0);
    assert_int_equal(c->s.r[R_BX], 1);
    done(m);
}

static void test_vm86_program(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    idt(m, 0x21, gate(SEL_CODE0, 0x21000, 0xee, 0));
    CODE_AT(m, 0x21000, "\xcf");                         /* the monitor returns at once */
    CODE_AT(m, 0x31000, "\xb8\x34\x12\xcd\x21\x40\xfa"); /* mov ax,1234; int 21; inc ax; cli */
    uint32_t f[9] = {0, 0x3100, EF_FIXED | EF_VM | 3 << 12, 0x1000, 0x4000, 1, 2, 3, 4};
    memcpy(m->ram + 0x90000, f, sizeof f);
    CODE_AT(m, CODE, "\xcf");
    run(m, 5);
    assert_true(cpu_vm86(c));
    assert_int_equal(c->s.r[R_AX], 0x1235);
    assert_int_equal(c->s.rip, 6);
    /* HLT is the monitor's */
    CODE_AT(m, 0x31006, "\xf4");
    run(m, 1);
    assert_false(cpu_vm86(c));
    assert_int_equal(c->chain[0].vector, EXC_GP);
    done(m);
}

static void expect(struct machine *m, const char *name, unsigned vector, uint32_t rip)
{
    if (m->c.chain_count == 0 || m->c.chain[0].vector != vector || top(m, 1) != rip)
        fail_msg("%s: vector %u at %x", name, m->c.chain_count ? m->c.chain[0].vector : 0xff,
                 top(m, 1));
    assert_int_equal(top(m, 0), 0);
}

static void test_alignment_check(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    c->s.cr0 |= CR0_AM;
    CODE_AT(m, CODE, "\xa1\x04\x00\x05\x00\x66\xa1\x02\x00\x05\x00\xa1\x02\x00\x05\x00");
    protected_mode(m, 3);
    c->s.rflags |= EF_AC;
    cpu_mode_changed(c);
    run(m, 3); /* the aligned two pass */
    expect(m, "mov", EXC_AC, CODE + 11);
    protected_mode(m, 3);
    c->s.r[R_SP] = 0x8fffe;
    CODE_AT(m, CODE, "\x50");
    c->s.rip = CODE;
    run(m, 1);
    expect(m, "push", EXC_AC, CODE);
    /* what moves as bytes; {bytes}, lowest alignment that passes at 50000h + alignment */
    static const struct {
        const char *name, *bytes;
        unsigned n, align;
    } insn[] = {
#define I(name, bytes, align) {name, bytes, sizeof bytes - 1, align}
        I("fld m80", "\xdb\x2b", 8),       I("fstp m80", "\xdb\x3b", 8),
        I("fbld", "\xdf\x23", 8),          I("fbstp", "\xdf\x33", 8),
        I("fnstenv", "\xd9\x33", 4),       I("fldenv", "\xd9\x23", 4),
        I("fnsave", "\xdd\x33", 4),        I("frstor", "\xdd\x23", 4),
        I("fnstenv16", "\x66\xd9\x33", 2), I("frstor16", "\x66\xdd\x23", 2),
        I("sgdt", "\x0f\x01\x03", 4),      I("movss", "\xf3\x0f\x10\x03", 4),
        I("movsd", "\xf2\x0f\x11\x03", 8), I("movq", "\x0f\x6f\x03", 8),
#undef I
    };
    for (unsigned i = 0; i < 2 * ARRAY_LEN(insn); i++) {
        unsigned k = i / 2, good = i & 1;
        protected_mode(m, 3);
        c->s.cr4 |= CR4_OSFXSR;
        c->s.fcw = 0x37f;
        c->s.fsw = 0;
        c->s.ftw = 1; /* something to store, room to load */
        c->s.r[R_BX] = 0x50000 + (good ? insn[k].align : insn[k].align / 2);
        c->s.rip = CODE;
        c->s.activity = ACT_RUN;
        cpu_mode_changed(c);
        code(m, CODE, insn[k].bytes, insn[k].n);
        run(m, 1);
        if (!good)
            expect(m, insn[k].name, EXC_AC, CODE);
        else if (c->s.rip != CODE + insn[k].n)
            fail_msg("%s: aligned, and yet it is at %llx", insn[k].name,
                     (unsigned long long)c->s.rip);
    }
    /* level 0 does not ask */
    CODE_AT(m, CODE, "\x50");
    c->s.rip = CODE;
    protected_mode(m, 0);
    c->s.r[R_SP] = 0x8fffe;
    run(m, 1);
    assert_int_equal(c->s.rip, CODE + 1);
    done(m);
}

static void test_privileged_instructions(void **state)
{
    static const struct {
        const char *name, *bytes;
        unsigned n;
    } insn[] = {
#define I(name, bytes) {name, bytes, sizeof bytes - 1}
        I("hlt", "\xf4"),
        I("cli", "\xfa"),
        I("in", "\xec"),
        I("out", "\xe6\x80"),
        I("insb", "\x6c"),
        I("mov cr0", "\x0f\x22\xc0"),
        I("mov from cr0", "\x0f\x20\xc0"),
        I("mov dr7", "\x0f\x23\xf8"),
        I("lgdt", "\x0f\x01\x15\x00\x00\x05\x00"),
        I("lldt", "\x0f\x00\xd0"),
        I("ltr", "\x0f\x00\xd8"),
        I("lmsw", "\x0f\x01\xf0"),
        I("clts", "\x0f\x06"),
        I("invlpg", "\x0f\x01\x3d\x00\x00\x05\x00"),
        I("wbinvd", "\x0f\x09"),
        I("rdmsr", "\x0f\x32"),
        I("wrmsr", "\x0f\x30"),
        I("sysexit", "\x0f\x35"),
#undef I
    };
    for (unsigned i = 0; i < ARRAY_LEN(insn); i++) {
        struct machine *m = machine();
        protected_mode(m, 3);
        poke(m, TSS_AT + 0x66, 2, 0x68); /* no I/O bitmap */
        code(m, CODE, insn[i].bytes, insn[i].n);
        run(m, 1);
        expect(m, insn[i].name, EXC_GP, CODE);
        done(m);
    }
}

static void test_real_to_long_mode(void **state)
{
    struct machine *m = machine();
    struct cpu *c = &m->c;
    long_mode(m, 0);
    struct cpu_state tables = c->s;
    cpu_reset(c, false);
    c->s.gdtr = tables.gdtr;
    c->s.idtr = tables.idtr;
    c->s.seg[SEG_CS] = (struct seg){.sel = 0x1000, .base = 0x10000, .limit = 0xffff, .attr = 0x93};
    c->s.rip = 0;
    cpu_mode_changed(c);
    CODE_AT(m, CODE,
            "\x66\xb8\xa0\x00\x00\x00\x0f\x22\xe0" /* mov eax,a0; mov cr4,eax */
            "\x66\xb8\x00\x00\x10\x00\x0f\x22\xd8" /* mov eax,PML4; mov cr3,eax */
            "\x66\xb9\x80\x00\x00\xc0\x66\xb8\x00\x01\x00\x00\x66\x31\xd2\x0f\x30" /* EFER.LME */
            "\x66\xb8\x01\x00\x00\x80\x0f\x22\xc0"                       /* mov cr0: PE, PG */
            "\x66\xea\x00\x00\x02\x00\x38\x00");                         /* jmp 38:20000 */
    CODE_AT(m, HANDLER, "\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x11\xf4"); /* mov rax, imm64; hlt */
    run(m, 20);
    assert_int_equal(c->s.activity, ACT_HALT);
    assert_true(cpu_64(c));
    assert_true(c->s.r[R_AX] == 0x1122334455667788);
    done(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sti_shadow),
        cmocka_unit_test(test_sti_hlt),
        cmocka_unit_test(test_mov_ss_shadow),
        cmocka_unit_test(test_single_steps),
        cmocka_unit_test(test_data_breakpoint),
        cmocka_unit_test(test_code_breakpoint),
        cmocka_unit_test(test_rep_and_rf),
        cmocka_unit_test(test_breakpoint_on_its_own_handler),
        cmocka_unit_test(test_io_breakpoint),
        cmocka_unit_test(test_faults_restart),
        cmocka_unit_test(test_stack_faults_restart),
        cmocka_unit_test(test_fetch_fault_across_pages),
        cmocka_unit_test(test_own_code_is_rewritten),
        cmocka_unit_test(test_vm86_program),
        cmocka_unit_test(test_alignment_check),
        cmocka_unit_test(test_privileged_instructions),
        cmocka_unit_test(test_real_to_long_mode),
    };
    return RUN(tests);
}
