#include "cpu/int_helpers.h"
#include "cpu/lift.h"
#include "cpu_machine.h"

static bool to_cr(struct machine *m, unsigned n, uint64_t v)
{
    struct uop u = {.dst = (uint8_t)n, .a = R_AX, .size = cpu_64(&m->c) ? 8 : 4};
    m->c.s.r[R_AX] = v;
    return h_mov_to_cr(&m->c, &u);
}

static bool rdmsr(struct machine *m, uint32_t n, uint64_t *v)
{
    m->c.s.r[R_CX] = n;
    if (!h_rdmsr(&m->c, &(struct uop){0}))
        return false;
    *v = m->c.s.r[R_AX] | m->c.s.r[R_DX] << 32;
    return true;
}

static bool wrmsr(struct machine *m, uint32_t n, uint64_t v)
{
    m->c.s.r[R_CX] = n;
    m->c.s.r[R_AX] = (uint32_t)v;
    m->c.s.r[R_DX] = v >> 32;
    return h_wrmsr(&m->c, &(struct uop){0});
}

static void test_reset_and_init(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    assert_int_equal(c->s.rip, 0xfff0);
    assert_int_equal(c->s.seg[SEG_CS].base, 0xffff0000);
    assert_int_equal(c->s.cr0, 0x60000010);
    assert_int_equal(c->s.dr6, 0xffff0ff0);
    assert_int_equal(c->s.rflags, 2);
    assert_int_equal(c->key & KEY_CODE, ISA_16);
    long_mode(m, 0);
    c->s.icount = 1000;
    c->s.fmask = 5;
    c->s.mxcsr = 0x1fa0;
    cpu_reset(c, true);
    assert_int_equal(c->s.efer, 0);
    assert_int_equal(c->s.cr4, 0);
    assert_int_equal(c->s.fmask, 5);
    assert_int_equal(c->s.mxcsr, 0x1fa0);
    cpu_reset(c, false);
    assert_int_equal(c->s.fmask, 0);
    assert_int_equal(c->s.mxcsr, 0x1f80);
    assert_int_equal(c->s.icount, 1000); /* time goes on */
    machine_free(m);
}

static void test_cr0_rules(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    assert_false(to_cr(m, 0, CR0_PG));
    assert_fault(m, EXC_GP, 0);
    assert_false(to_cr(m, 0, CR0_NW));
    assert_true(to_cr(m, 0, CR0_PE));
    assert_true(c->s.cr0 & CR0_ET);
    assert_true(c->key & KEY_PROT);
    struct uop u = {.a = R_AX, .size = 4};
    c->s.r[R_AX] = CR0_TS; /* LMSW sets TS, and can't clear PE */
    assert_true(h_lmsw(c, &u));
    assert_int_equal(c->s.cr0 & 0xf, CR0_PE | CR0_TS);
    assert_true(c->key & KEY_FPU_NM);
    assert_true(h_clts(c, &u));
    assert_false(c->key & KEY_FPU_NM);
    assert_true(to_cr(m, 0, 0));
    assert_false(c->key & KEY_PROT);
    assert_false(to_cr(m, 1, 0));
    assert_int_equal(c->fault.vector, EXC_UD);
    machine_free(m);
}

static void test_entering_long_mode(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    assert_true(wrmsr(m, 0xc0000080, EFER_LME));
    assert_false(to_cr(m, 0, CR0_PE | CR0_PG)); /* no PAE */
    assert_true(to_cr(m, 4, CR4_PAE));
    assert_true(to_cr(m, 3, PML4_AT));
    assert_true(to_cr(m, 0, CR0_PE | CR0_PG));
    assert_true(rdmsr(m, 0xc0000080, &v));
    assert_int_equal(v, EFER_LME | EFER_LMA);
    assert_int_equal(c->key & (KEY_CODE | KEY_LONG), ISA_32 | KEY_LONG);
    assert_false(to_cr(m, 4, 0));                 /* PAE must stay */
    assert_false(wrmsr(m, 0xc0000080, 0));        /* and LME while paging */
    assert_false(to_cr(m, 4, CR4_PAE | BIT(13))); /* VMXE: no such thing */
    c->s.seg[SEG_CS].attr = 0xa09b;
    cpu_mode_changed(c);
    assert_true(cpu_64(c));
    assert_false(to_cr(m, 0, CR0_PE)); /* not from 64-bit code */
    assert_false(to_cr(m, 0, CR0_PE | CR0_PG | BIT(32)));
    assert_false(to_cr(m, 3, BIT(40)));
    assert_false(to_cr(m, 3, BIT(63) | PML4_AT)); /* no PCIDE */
    assert_true(to_cr(m, 4, CR4_PAE | CR4_PCIDE));
    assert_true(to_cr(m, 3, BIT(63) | PML4_AT | 5));
    assert_int_equal(c->s.cr3, PML4_AT | 5);
    assert_true(to_cr(m, 4, CR4_PAE));
    assert_false(to_cr(m, 4, CR4_PAE | CR4_PCIDE)); /* CR3[11:0] is not 0 */
    c->s.seg[SEG_CS].attr = 0xc09b;
    cpu_mode_changed(c);
    assert_true(to_cr(m, 0, CR0_PE));
    assert_int_equal(c->s.efer, EFER_LME);
    machine_free(m);
}

static void test_msrs(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    assert_false(rdmsr(m, 0x12345, &v));
    assert_fault(m, EXC_GP, 0);
    assert_false(wrmsr(m, 0xc0000082, 0x800000000000)); /* LSTAR must be canonical */
    assert_true(wrmsr(m, 0xc0000082, 0xffff800000000000));
    assert_true(wrmsr(m, 0xc0000100, 0x1234));
    assert_int_equal(c->s.seg[SEG_FS].base, 0x1234);
    assert_false(wrmsr(m, 0xc0000080, BIT(12)));
    assert_false(wrmsr(m, 0x277, 2)); /* no such memory type */
    assert_true(wrmsr(m, 0x277, 0x0106040500070406));
    assert_true(wrmsr(m, 0x201, 0xffc0000800));
    assert_true(rdmsr(m, 0x201, &v) && v == 0xffc0000800);
    assert_false(wrmsr(m, 0x200, 0x10000000002));
    assert_true(wrmsr(m, 0x10, 1000));
    assert_true(rdmsr(m, 0x10, &v));
    assert_int_equal(v, 1000);
    assert_true(rdmsr(m, 0xfe, &v));
    assert_int_equal(v & 0xff, MTRR_VAR);
    assert_false(wrmsr(m, 0xfe, 0));
    machine_free(m);
    m = machine_new("686");
    assert_false(rdmsr(m, 0xc0000080, &v));
    machine_free(m);
}

static void test_cpuid(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct cpuid_regs r = cpuid_leaf(c, 0, 0);
    assert_memory_equal(&r.r[1], "Genu", 4);
    assert_memory_equal(&r.r[3], "ineI", 4);
    r = cpuid_leaf(c, 1, 0);
    assert_true(r.r[2] & 1u << 20);  /* SSE4.2 */
    assert_false(r.r[2] & 1u << 27); /* OSXSAVE follows CR4 */
    assert_false(r.r[3] & 1u << 9);  /* no APIC is wired here */
    c->s.cr4 |= CR4_OSXSAVE;
    assert_true(cpuid_leaf(c, 1, 0).r[2] & 1u << 27);
    assert_true(cpuid_leaf(c, 7, 0).r[1] & 1u << 20); /* SMAP */
    r = cpuid_leaf(c, 0xd, 0);
    assert_int_equal(r.r[0], 3);
    assert_int_equal(r.r[1], 576);
    r = cpuid_leaf(c, 0x80000002, 0);
    assert_memory_equal(&r.r[0], "ishi", 4);
    assert_int_equal(cpuid_leaf(c, 0x80000008, 0).r[0], 0x3028);
    r = cpuid_leaf(c, 0x40000000, 0);
    assert_memory_equal(&r.r[1], "ishi", 4);
    /* kernels multiply in 32 bits: crystal kHz * numerator / denominator */
    c->tsc_hz = 2400000000u;
    r = cpuid_leaf(c, 0x15, 0);
    assert_int_equal(r.r[2] / 1000 * r.r[1] / r.r[0], 2400000);
    machine_free(m);
    m = machine_new("486");
    assert_int_equal(cpuid_leaf(&m->c, 0, 0).r[0], 1);
    assert_int_equal(cpuid_leaf(&m->c, 1, 0).r[3], 1); /* FPU, no more */
    machine_free(m);
}

static void test_syscall_and_back(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 8};
    long_mode(m, 3);
    assert_false(h_syscall(c, &u));
    assert_int_equal(c->fault.vector, EXC_UD);
    c->s.efer |= EFER_SCE;
    c->s.star = 0x0023001000000000;
    c->s.lstar = 0xffffffff81000000;
    c->s.fmask = EF_IF | EF_TF;
    c->s.rflags = EF_FIXED | EF_IF | F_C;
    assert_true(h_syscall(c, &u));
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->s.r[R_CX], 0x10002);
    assert_int_equal(c->s.r[R_11], EF_FIXED | EF_IF | F_C);
    assert_int_equal(c->s.rflags, EF_FIXED | F_C);
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x10);
    assert_int_equal(c->s.seg[SEG_SS].sel, 0x18);
    assert_true(c->next_rip == 0xffffffff81000000);
    assert_true(h_sysret(c, &u));
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x33);
    assert_int_equal(c->s.seg[SEG_SS].sel, 0x2b);
    assert_int_equal(c->next_rip, 0x10002);
    assert_true(cpu_64(c));
    u.size = 4;
    assert_true(h_sysret(c, &u));
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x23);
    assert_int_equal(c->key & KEY_CODE, ISA_32);
    u.size = 8;
    c->s.r[R_CX] = 0x800000000000;
    assert_false(h_sysret(c, &u));
    assert_fault(m, EXC_GP, 0);
    machine_free(m);
}

static void test_sysenter_and_back(void **state)
{
    struct machine *m = machine_new("686");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 3);
    assert_false(h_sysenter(c, &u)); /* SYSENTER_CS is 0 */
    assert_fault(m, EXC_GP, 0);
    c->s.sysenter_cs = 8;
    c->s.sysenter_eip = 0x5000;
    c->s.sysenter_esp = 0x6000;
    c->s.rflags |= EF_IF;
    assert_true(h_sysenter(c, &u));
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->s.r[R_SP], 0x6000);
    assert_int_equal(c->next_rip, 0x5000);
    assert_int_equal(c->s.rflags & EF_IF, 0);
    c->s.r[R_CX] = 0x7000;
    c->s.r[R_DX] = 0x8000;
    assert_true(h_sysexit(c, &u));
    assert_int_equal(c->s.seg[SEG_CS].sel, 0x1b);
    assert_int_equal(c->s.seg[SEG_SS].sel, 0x23);
    assert_int_equal(c->s.r[R_SP], 0x7000);
    assert_int_equal(c->next_rip, 0x8000);
    assert_false(h_sysexit(c, &u)); /* from level 3 */
    assert_fault(m, EXC_GP, 0);
    machine_free(m);
}

static void test_debug_registers(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.dst = 7, .a = R_AX, .size = 4};
    protected_mode(m, 0);
    idt(m, 1, gate(SEL_CODE0, 0x7000, 0x8e, 0));
    c->s.r[R_AX] = 0xffffffff;
    assert_true(h_mov_to_dr(c, &u));
    assert_int_equal(c->s.dr7, 0xffff2fff);
    c->s.dr7 = 0x400 | DR7_GD;
    u.dst = 0;
    assert_false(h_mov_from_dr(c, &u));
    assert_int_equal(c->fault.vector, EXC_DB);
    assert_true(cpu_deliver(c));
    assert_true(c->s.dr6 & DR6_BD);
    assert_false(c->s.dr7 & DR7_GD);
    u.dst = 5; /* DR7 by its old name */
    assert_true(h_mov_from_dr(c, &u));
    assert_int_equal(c->s.r[R_AX], c->s.dr7);
    c->s.cr4 |= CR4_DE;
    assert_false(h_mov_from_dr(c, &u));
    assert_int_equal(c->fault.vector, EXC_UD);
    machine_free(m);
}

/* By the stack segment, then straight; and where ESP wraps. */
static void test_pushf_and_esp(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 0);
    for (unsigned i = 0; i < 3; i++) {
        c->s.r[R_SP] = 0x90000;
        c->s.rflags = EF_FIXED | EF_IF | EF_RF | F_C << i;
        poke(m, 0x8fff8, 4, 0x5555);
        poke(m, 0x90000, 4, 0x5555);
        assert_true(h_pushf(c, &u));
        assert_int_equal(c->s.r[R_SP], 0x8fffc);
        assert_int_equal(peek(m, 0x8fffc, 4), (uint32_t)flags_get(c) & ~EF_RF);
        assert_int_equal(peek(m, 0x8fff8, 4), 0x5555);
        assert_int_equal(peek(m, 0x90000, 4), 0x5555);
        poke(m, 0x8fffc, 4, EF_FIXED | EF_DF);
        assert_true(h_popf(c, &u));
        assert_int_equal(c->s.r[R_SP], 0x90000);
        assert_int_equal(c->s.rflags, EF_FIXED | EF_DF);
    }
    c->s.r[R_SP] = 0;
    assert_true(h_pushf(c, &u));
    assert_int_equal(c->s.r[R_SP], 0xfffffffc);
    machine_free(m);
}

static void test_popf_and_iopl(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4};
    protected_mode(m, 3);
    poke(m, 0x90000, 4, 0xffffffff);
    assert_true(h_popf(c, &u));
    assert_int_equal(c->s.rflags, F_OSZAPC | EF_FIXED | EF_TF | EF_DF | EF_NT | EF_AC | EF_ID);
    protected_mode(m, 3);
    c->s.rflags = EF_FIXED | EF_IOPL;
    assert_true(h_popf(c, &u));
    assert_true(c->s.rflags & EF_IF);
    protected_mode(m, 0);
    c->s.rflags = EF_FIXED;
    assert_true(h_popf(c, &u));
    assert_int_equal(c->s.rflags & (EF_IOPL | EF_IF), EF_IOPL | EF_IF);
    assert_int_equal(c->s.rflags & (EF_VM | EF_RF | EF_VIP | EF_VIF), 0);
    protected_mode(m, 3);
    c->s.rflags = EF_FIXED;
    assert_false(h_cli(c, &u));
    assert_fault(m, EXC_GP, 0);
    c->s.cr4 |= CR4_PVI;
    assert_true(h_sti(c, &u));
    assert_int_equal(c->s.rflags, EF_FIXED | EF_VIF);
    machine_free(m);
}

static void count(void *n)
{
    ++*(int *)n;
}

static void test_tsc_is_set(void **state)
{
    struct machine *m = machine_new("v2");
    int told = 0;
    m->c.apic.tsc_changed = count;
    m->c.apic.apic = &told;
    assert_true(wrmsr(m, 0x10, 123456789));
    assert_int_equal(cpu_tsc(&m->c), 123456789);
    assert_int_equal(told, 1);
    machine_free(m);
}

static void test_umip_and_tsd(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 4, .a = R_AX};
    protected_mode(m, 3);
    assert_true(h_smsw(c, &u) && h_str(c, &u) && h_rdtsc(c, &u));
    c->s.cr4 |= CR4_UMIP | CR4_TSD;
    assert_false(h_smsw(c, &u));
    assert_false(h_str(c, &u));
    assert_false(h_rdtsc(c, &u));
    assert_fault(m, EXC_GP, 0);
    machine_free(m);
}

static void test_ins_repeats(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct uop u = {.size = 2, .asize = 4, .aux = 0xf3 << 8};
    protected_mode(m, 0);
    c->s.r[R_CX] = 2;
    c->s.r[R_DI] = 0x50000;
    assert_true(h_ins(c, &u)); /* nothing at the port: ones */
    assert_int_equal(c->next_rip, c->s.rip);
    assert_int_equal(c->s.r[R_CX], 1);
    assert_int_equal(c->s.r[R_DI], 0x50002);
    assert_int_equal(peek(m, 0x50000, 4), 0xffff);
    c->request = 0;    /* the engine has looked at it */
    c->s.r[R_CX] = 10; /* as far as the engine's budget goes */
    c->limit = c->s.icount + 3;
    assert_true(h_ins(c, &u));
    assert_int_equal(c->s.icount, c->limit - 1);
    assert_int_equal(c->s.r[R_CX], 7);
    assert_int_equal(c->next_rip, c->s.rip);
    c->s.r[R_DI] = 0x50002;
    c->s.r[R_CX] = 1;
    c->next_rip = 0x10002;
    assert_true(h_ins(c, &u));
    assert_int_equal(c->next_rip, 0x10002);
    assert_true(h_ins(c, &u));
    assert_int_equal(c->s.r[R_DI], 0x50004);
    machine_free(m);
}

/* A port behind which a row of numbers is read, or checked. */
static struct row {
    uint32_t next;
    unsigned many; /* accesses that were not single */
    bool wrong;
} row;

static uint64_t row_read(void *dev, uint64_t offset, unsigned size)
{
    return row.next++;
}

static void row_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
    row.wrong |= v != row.next++;
}

static unsigned row_read_many(void *dev, uint64_t offset, unsigned size, void *to, unsigned n)
{
    n = n < 5 ? n : 5;
    for (unsigned i = 0; i < n; i++)
        put_le32((uint8_t *)to + 4 * i, (uint32_t)row_read(dev, offset, size));
    row.many += n;
    return n;
}

static unsigned row_write_many(void *dev, uint64_t offset, unsigned size, const void *from,
                               unsigned n)
{
    n = n < 5 ? n : 5;
    for (unsigned i = 0; i < n; i++)
        row_write(dev, offset, size, get_le32((const uint8_t *)from + 4 * i));
    row.many += n;
    return n;
}

/* Elements at once or one by one, the state is the same wherever a run ends. */
static void test_ins_and_outs_in_bulk(void **state)
{
    static const struct region_ops single = {row_read, row_write, 4},
                                   many = {.read = row_read,
                                           .write = row_write,
                                           .sizes = 4,
                                           .read_many = row_read_many,
                                           .write_many = row_write_many};
    for (unsigned budget = 1; budget < 44; budget++) {
        struct machine *m[2];
        unsigned at_once = 0;
        for (unsigned i = 0; i < 2; i++) {
            m[i] = machine_new("v2");
            struct cpu *c = &m[i]->c;
            struct region r = {.name = "row", .size = 4, .ops = i ? &many : &single};
            struct uop u = {.size = 4, .asize = 4, .seg = SEG_DS, .aux = 0xf3 << 8};
            protected_mode(m[i], 0);
            assert_true(bus_add(&m[i]->bus, BUS_PORT, 0x40, &r, NULL));
            row = (struct row){.next = 100};
            c->s.r[R_DX] = 0x40;
            for (unsigned out = 0; out < 2; out++) {
                c->s.r[R_CX] = 40;
                c->s.r[R_DI] = c->s.r[R_SI] = 0x50fd0; /* on to the next page */
                row.next = 100;
                for (uint64_t start; c->s.r[R_CX]; c->s.icount++) {
                    start = c->s.icount;
                    c->limit = start + budget;
                    c->request = 0;
                    assert_true((out ? h_outs : h_ins)(c, &u));
                    assert_true(c->s.icount - start < budget);
                    assert_int_equal(row.next, 140 - c->s.r[R_CX]);
                }
            }
            assert_false(row.wrong);
            at_once = row.many;
            bus_remove(&m[i]->bus, &r);
        }
        assert_true(budget < 3 || at_once);
        assert_memory_equal(m[0]->ram, m[1]->ram, RAM_SIZE);
        m[0]->c.s.rflags = m[1]->c.s.rflags; /* RF: one left its runs more often */
        assert_memory_equal(&m[0]->c.s, &m[1]->c.s, sizeof m[0]->c.s);
        machine_free(m[0]);
        machine_free(m[1]);
    }
}

/* REP MOVS and STOS are done by page, up and down; the result is that of one element after another,
 * however source and destination overlap. */
static void test_rep_by_page(void **state)
{
    static const int distance[] = {-9000, -64, -8, -5, -4, -3, -1, 0, 1, 2, 3, 4, 7, 8, 64, 9000};
    enum { AT = 0x60000, AROUND = 0x8000, COUNT = 2500 };
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint8_t *expect = malloc(RAM_SIZE);
    protected_mode(m, 0);
    c->limit = ~0ull;
    for (unsigned n = 0; n < ARRAY_LEN(distance) * 12; n++) {
        int d = distance[n / 12];
        bool down = n & 1, fills = n & 2;
        unsigned size = 1u << n / 4 % 3;
        struct uop u = {.size = (uint8_t)size,
                        .asize = 4,
                        .seg = SEG_DS,
                        .imm = fills ? STR_STOS : STR_MOVS,
                        .aux = 0xf3};
        for (unsigned i = AT - AROUND; i < AT + AROUND; i++)
            m->ram[i] = (uint8_t)(i * 7 + i / 251);
        memcpy(expect, m->ram, RAM_SIZE);
        int step = down ? -(int)size : (int)size;
        for (int i = 0, si = AT, di = AT + d; i < COUNT; i++, si += step, di += step)
            for (unsigned k = 0, v = get_le32(expect + si); k < size; k++)
                expect[di + (int)k] = (uint8_t)((fills ? 0x12345678 : v) >> 8 * k);
        c->s.r[R_SI] = AT;
        c->s.r[R_DI] = (uint32_t)(AT + d);
        c->s.r[R_CX] = COUNT;
        c->s.r[R_AX] = 0x12345678;
        c->s.rflags = (c->s.rflags & ~(uint64_t)EF_DF) | (down ? EF_DF : 0);
        assert_true(h_string(c, &u));
        assert_int_equal(c->s.r[R_CX], 0);
        assert_int_equal(c->s.r[R_DI], AT + d + COUNT * step);
        assert_memory_equal(m->ram + AT - AROUND, expect + AT - AROUND, 2 * AROUND);
    }
    free(expect);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_and_init),
        cmocka_unit_test(test_cr0_rules),
        cmocka_unit_test(test_entering_long_mode),
        cmocka_unit_test(test_msrs),
        cmocka_unit_test(test_cpuid),
        cmocka_unit_test(test_syscall_and_back),
        cmocka_unit_test(test_sysenter_and_back),
        cmocka_unit_test(test_debug_registers),
        cmocka_unit_test(test_pushf_and_esp),
        cmocka_unit_test(test_popf_and_iopl),
        cmocka_unit_test(test_tsc_is_set),
        cmocka_unit_test(test_umip_and_tsd),
        cmocka_unit_test(test_ins_repeats),
        cmocka_unit_test(test_ins_and_outs_in_bulk),
        cmocka_unit_test(test_rep_by_page),
    };
    return RUN(tests);
}
