/* The state of a CPU in the kernel's structures: nothing is lost on the way there and back, neither
 * in our own functions nor in the kernel, where /dev/kvm can be opened. */
#include "engine/kvm_vm.h"

#include <stdlib.h>
#include <unistd.h>

#include "cpu/debug.h"
#include "cpu_machine.h"

static uint64_t next(struct rng *r)
{
    return rng_next(r);
}

static void some_seg(struct rng *r, struct seg *g, uint16_t attr)
{
    *g = (struct seg){.base = next(r) & 0xffffffff, .limit = 0xffff, .attr = attr};
    g->sel = (uint16_t)(next(r) & 0xfffc) | (attr >> 5 & 3);
}

/* Everything that a state may have, in 64-bit mode at level 0. */
static void some_state(struct cpu *c, struct rng *r)
{
    struct cpu_state *s = &c->s;
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = next(r);
    s->rip = next(r) & 0x7fffffffffff;
    s->rflags = EF_FIXED | (next(r) & (F_OSZAPC | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_AC | EF_ID));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        some_seg(r, &s->seg[i], 0x0093);
    s->seg[SEG_CS].attr = 0xa09b;
    s->seg[SEG_CS].limit = 0xffffffff;
    s->seg[SEG_FS] = (struct seg){.base = next(r) & 0x7fffffffffff, .sel = 3}; /* null */
    some_seg(r, &s->ldtr, 0x82);
    some_seg(r, &s->tr, 0x8b);
    s->gdtr = (struct dtable){.base = next(r) & 0x7fffffffffff, .limit = next(r) & 0xffff};
    s->idtr = (struct dtable){.base = next(r) & 0x7fffffffffff, .limit = next(r) & 0xffff};
    s->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP | (next(r) & (CR0_TS | CR0_MP | CR0_AM));
    s->cr2 = next(r) & 0x7fffffffffff;
    s->cr3 = 0x5000;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | (next(r) & (CR4_DE | CR4_PGE | CR4_TSD));
    s->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    for (unsigned i = 0; i < 4; i++)
        s->dr[i] = next(r) & 0x7fffffffffff;
    s->dr6 = DR6_FIXED | (next(r) & 0xf) | DR6_BS;
    s->dr7 = DR7_FIXED | (next(r) & 0xff0000);
    s->star = next(r);
    s->lstar = next(r) & 0x7fffffffffff;
    s->cstar = next(r) & 0x7fffffffffff;
    s->fmask = next(r) & 0xffffffff;
    s->kernel_gs_base = next(r) & 0x7fffffffffff;
    s->sysenter_cs = next(r) & 0xffff;
    s->sysenter_esp = next(r) & 0x7fffffffffff;
    s->sysenter_eip = next(r) & 0x7fffffffffff;
    for (unsigned i = 0; i < 8; i++) {
        s->fp_sig[i] = next(r) | BIT(63);
        s->fp_exp[i] = (uint16_t)(next(r) & 0xbfff) | 1;
    }
    s->fcw = 0x37f;
    s->fsw = (uint16_t)(next(r) & 0x7f00); /* no exception waits */
    s->ftw = (uint8_t)next(r);
    s->fop = next(r) & 0x7ff;
    s->fip = next(r) & 0x7fffffffffff;
    s->fdp = next(r) & 0x7fffffffffff;
    s->mxcsr = 0x1f80 | (next(r) & 0x603f);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < (isa_has(&c->features, FEAT_AVX) ? 4u : 2u); k++)
            s->v[i].q[k] = next(r);
    s->nmi_blocked = next(r) & 1;
    c->s.cc_op = 0;
}

/* What the functions move; the rest of the struct stays with us. */
static void same(const struct cpu_state *a, const struct cpu_state *b)
{
    assert_memory_equal(a->r, b->r, 16 * 8);
    assert_int_equal(a->rip, b->rip);
    assert_int_equal(a->rflags, b->rflags);
    assert_memory_equal(a->seg, b->seg, sizeof a->seg);
    assert_memory_equal(&a->ldtr, &b->ldtr, sizeof a->ldtr);
    assert_memory_equal(&a->tr, &b->tr, sizeof a->tr);
    assert_memory_equal(&a->gdtr, &b->gdtr, sizeof a->gdtr);
    assert_memory_equal(&a->idtr, &b->idtr, sizeof a->idtr);
    assert_int_equal(a->cr0, b->cr0);
    assert_int_equal(a->cr2, b->cr2);
    assert_int_equal(a->cr3, b->cr3);
    assert_int_equal(a->cr4, b->cr4);
    assert_int_equal(a->efer, b->efer);
    assert_memory_equal(a->dr, b->dr, sizeof a->dr);
    assert_int_equal(a->dr6, b->dr6);
    assert_int_equal(a->dr7, b->dr7);
    assert_memory_equal(&a->star, &b->star, 8 * 8); /* … sysenter_eip */
    assert_memory_equal(a->fp_sig, b->fp_sig, sizeof a->fp_sig);
    assert_memory_equal(a->fp_exp, b->fp_exp, sizeof a->fp_exp);
    assert_int_equal(a->fcw, b->fcw);
    assert_int_equal(a->fsw, b->fsw);
    assert_int_equal(a->ftw, b->ftw);
    assert_int_equal(a->fop, b->fop);
    assert_int_equal(a->fip, b->fip);
    assert_int_equal(a->fdp, b->fdp);
    assert_int_equal(a->mxcsr, b->mxcsr);
    assert_memory_equal(a->v, b->v, sizeof a->v);
}

static void test_pure(void **state)
{
    struct rng r;
    rng_seed(&r, 7);
    for (unsigned n = 0; n < 200; n++) {
        struct machine *m = machine_new("v3");
        struct cpu *c = &m->c;
        some_state(c, &r);
        struct cpu_state want = c->s;
        struct kvm_regs regs;
        struct kvm_sregs2 sregs;
        struct kvm_debugregs debug;
        struct kvm_msr_entry msr[KVM_MSRS];
        uint8_t *image = calloc(1, KVM_XSAVE_SIZE);
        kvm_regs_from(&c->s, &regs);
        kvm_sregs_from(c, &sregs);
        kvm_debug_from(&c->s, &debug);
        kvm_xsave_from(c, image);
        unsigned count = kvm_msrs_from(c, msr);
        cpu_reset(c, false);
        kvm_regs_to(&c->s, &regs);
        kvm_sregs_to(c, &sregs);
        kvm_debug_to(&c->s, &debug);
        kvm_xsave_to(c, image);
        kvm_msrs_to(c, msr, count);
        same(&want, &c->s);
        free(image);
        machine_free(m);
    }
}

/* PDPTE registers are state of their own, whatever memory says meanwhile. */
static void test_pdpte(void **state)
{
    struct machine *m = machine_new("v3");
    struct cpu *c = &m->c;
    struct kvm_sregs2 r;
    c->s.cr0 |= CR0_PE | CR0_PG;
    c->s.cr4 = CR4_PAE;
    for (unsigned i = 0; i < 4; i++)
        c->s.pdpte[i] = 0x1001 + 0x1000 * i;
    kvm_sregs_from(c, &r);
    assert_int_equal(r.flags, KVM_SREGS2_FLAGS_PDPTRS_VALID);
    memset(c->s.pdpte, 0, sizeof c->s.pdpte);
    kvm_sregs_to(c, &r);
    assert_int_equal(c->s.pdpte[3], 0x4001);
    c->s.efer = EFER_LMA;
    kvm_sregs_from(c, &r);
    assert_int_equal(r.flags, 0);
    machine_free(m);
}

/* A component that the image calls absent has its initial value (SDM 1 13.6). */
static void test_absent(void **state)
{
    struct machine *m = machine_new("v3");
    uint8_t *image = calloc(1, KVM_XSAVE_SIZE);
    m->c.s.v[3].q[1] = 5;
    m->c.s.fp_sig[2] = 5;
    put_le32(image + 24, 0x1f80);
    kvm_xsave_to(&m->c, image);
    assert_int_equal(m->c.s.fcw, 0x37f);
    assert_int_equal(m->c.s.fp_sig[2], 0);
    assert_int_equal(m->c.s.v[3].q[1], 0);
    free(image);
    machine_free(m);
}

/* A debugger's stops in the debug registers, as far as they fit, and what comes of a hit. */
static void test_stops(void **state)
{
    uint64_t breaks[5] = {0x1000, 0x1000, 0x2000, 0x3000, 0x4000};
    struct stops s = {.breaks = breaks, .break_count = 3, .watch_count = 2};
    struct machine *m = machine_new("v3");
    struct kvm_run *run = calloc(1, sizeof *run);
    struct kvm_vm vm = {.debugs = true, .fd = -1};
    struct kvm_vcpu v = {.vm = &vm, .c = &m->c, .fd = -1, .run = run};
    s.watch[0] = (struct stops_watch){0x5004, 4, WATCH_WRITE};
    s.watch[1] = (struct stops_watch){0x6008, 8, WATCH_READ | WATCH_WRITE};
    m->c.stops = &s;
    kvm_debug(&v); /* fails to tell the kernel, there being none */
    assert_int_equal(v.debug.control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP);
    assert_int_equal(v.debug.arch.debugreg[0], 0x1000);
    assert_int_equal(v.debug.arch.debugreg[1], 0x2000);
    assert_int_equal(v.debug.arch.debugreg[2], 0x5004);
    assert_int_equal(v.debug.arch.debugreg[3], 0x6008);
    assert_int_equal(v.debug.arch.debugreg[7], 0xbd0004aa);
    run->debug.arch.dr6 = 0xffff0ff8;
    assert_int_equal(kvm_debug_exit(&v), ENGINE_REQUEST);
    assert_int_equal(m->c.stop.why, STOP_WATCH);
    assert_int_equal(m->c.stop.la, 0x6008);
    assert_int_equal(m->c.stop.kinds, WATCH_READ | WATCH_WRITE);
    run->debug.arch.dr6 = 0xffff0ff2;
    assert_int_equal(kvm_debug_exit(&v), ENGINE_REQUEST);
    assert_int_equal(m->c.stop.why, STOP_BREAK);
    assert_int_equal(m->c.stop.la, 0x2000);
    run->debug.arch.dr6 = 0xffff4ff0; /* the guest's own TF: no stop, but its trap */
    assert_int_equal(kvm_debug_exit(&v), ENGINE_BUDGET);
    assert_int_equal(m->c.s.pending_db, DR6_BS);
    /* one too many, then what debug registers can't do */
    const struct stops_watch odd[] = {
        {0x5004, 4, WATCH_READ}, {0x5002, 4, WATCH_WRITE}, {0x5004, 3, WATCH_WRITE}};
    s.break_count = 4;
    assert_false(kvm_debug(&v));
    assert_int_equal(v.debug.control, 0);
    for (unsigned i = 0; i < ARRAY_LEN(odd); i++) {
        s.break_count = 0;
        s.watch_count = 1;
        s.watch[0] = odd[i];
        assert_false(kvm_debug(&v));
        assert_int_equal(v.debug.control, 0);
    }
    m->c.stops = NULL;
    assert_true(kvm_debug(&v));
    free(run);
    machine_free(m);
}

static bool usable(void)
{
    struct err e;
    int fd = kvm_open(&e);
    if (fd < 0) {
        print_message("skipped: %s\n", e.text);
        return false;
    }
    close(fd);
    return true;
}

static void test_kernel(void **state)
{
    struct rng r;
    struct err e;
    if (!usable())
        skip();
    rng_seed(&r, 11);
    struct machine *m = machine_new("v3");
    struct cpu *c = &m->c;
    if (!engine_kvm.join(&c, 1, &e))
        fail_msg("%s", e.text);
    for (unsigned n = 0; n < 50; n++) {
        struct cpu_state want;
        some_state(c, &r);
        c->s.tsc_aux = 0;
        want = c->s;
        if (!kvm_load(c->vcpu, &e))
            fail_msg("%s", e.text);
        cpu_reset(c, false);
        kvm_store(c->vcpu);
        same(&want, &c->s);
        assert_int_equal(want.nmi_blocked, c->s.nmi_blocked);
    }
    engine_kvm.part(&c, 1);
    cpu_reset(c, false);
    machine_free(m);
}

/* The interrupt shadow goes along. */
static void test_shadow(void **state)
{
    struct err e;
    if (!usable())
        skip();
    struct machine *m = machine_new("v3");
    struct cpu *c = &m->c;
    assert_true(engine_kvm.join(&c, 1, &e));
    c->s.shadow = SHADOW_STI;
    c->s.shadow_at = c->s.icount;
    assert_true(kvm_load(c->vcpu, &e));
    c->s.shadow = 0;
    kvm_store(c->vcpu);
    assert_int_equal(c->s.shadow, SHADOW_STI);
    engine_kvm.part(&c, 1);
    machine_free(m);
}

/* A time-stamp counter that is written goes on from there, be it near to what it was or far. (Where
 * the kernel emulates, its guests may have the host's, whatever is written.) */
static void test_tsc(void **state)
{
    struct err e;
    if (!usable())
        skip();
    if (kvm_emulates()) {
        print_message("skipped: this host's kernel emulates\n");
        skip();
    }
    struct machine *m = machine_new("v3");
    struct cpu *c = &m->c;
    assert_true(engine_kvm.join(&c, 1, &e));
    assert_true(kvm_load(c->vcpu, &e));
    const uint64_t far = BIT(50), half = c->tsc_hz / 2;
    const uint64_t row[] = {far, far - half, far + half, 12345, 1, half};
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        c->s.tsc_offset += row[i] - cpu_tsc(c);
        uint64_t begin = monotonic();
        kvm_load_tsc(c->vcpu);
        c->s.tsc_offset = 0; /* forgotten here */
        kvm_store_tsc(c->vcpu);
        uint64_t most = mul_div_u64(monotonic() - begin, c->tsc_hz, NS_PER_S);
        assert_in_range(cpu_tsc(c), row[i], row[i] + most + most / 64 + 1000);
    }
    engine_kvm.part(&c, 1);
    machine_free(m);
}

/* A loop that writes memory, and its end by HLT. */
static void test_run(void **state)
{
    static const uint8_t code[] = {0x40, 0x89, 0x05, 0x47, 0x47, 0x49, 0x75, 0xf8, 0xf4};
    struct err e;
    if (!usable())
        skip();
    struct machine *m =
        machine_new("v3"); /* inc ax; mov [di], ax; inc di twice; dec cx; jnz; hlt */
    struct cpu *c = &m->c;
    assert_true(engine_kvm.join(&c, 1, &e));
    memcpy(m->ram + 0x1000, code, sizeof code);
    c->s.seg[SEG_CS].sel = 0;
    c->s.seg[SEG_CS].base = 0;
    c->s.rip = 0x1000;
    c->s.r[R_CX] = 100;
    c->s.r[R_DI] = 0x2000;
    cpu_mode_changed(c);
    enum engine_exit why;
    do
        why = engine_kvm.run(c, 20000);
    while (why == ENGINE_BUDGET);
    engine_kvm.sync(c);
    assert_int_equal(why, ENGINE_HALT);
    assert_int_equal(c->s.r[R_AX], 100);
    assert_int_equal(c->s.r[R_CX], 0);
    assert_int_equal(c->s.rip, 0x1009);
    assert_int_equal(m->ram[0x2000 + 2 * 99], 100);
    engine_kvm.part(&c, 1);
    machine_free(m);
}

struct posts {
    unsigned count, wrong;
};

static void post(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct posts *p = dev;
    p->wrong += offset != p->count % 1000 || size != 1 || value != (p->count & 0xff);
    p->count++;
}

static uint64_t no_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

/* Writes to a region that takes them late come all, in order, and don't leave the kernel each. */
static void test_posted(void **state)
{
    /* l: stosb; inc ax; loop l; hlt, from AX 0, DI 0, ES 0xa000 */
    static const uint8_t code[] = {0xaa, 0x40, 0xe2, 0xfc, 0xf4};
    static const struct region_ops ops = {no_read, post, 0};
    struct err e;
    if (!usable())
        skip();
    struct machine *m = machine_new("v3");
    struct cpu *c = &m->c;
    struct posts p = {0};
    struct region r = {.name = "posts", .size = 0x1000, .ops = &ops, .dev = &p, .posted = true};
    assert_true(bus_add(&m->bus, BUS_MEM, 0xa0000, &r, &e));
    assert_true(engine_kvm.join(&c, 1, &e));
    memcpy(m->ram + 0x1000, code, sizeof code);
    c->s.seg[SEG_CS].sel = 0;
    c->s.seg[SEG_CS].base = 0;
    c->s.seg[SEG_ES].sel = 0xa000;
    c->s.seg[SEG_ES].base = 0xa0000;
    c->s.rip = 0x1000;
    c->s.r[R_CX] = 1000;
    cpu_mode_changed(c);
    while (engine_kvm.run(c, 20000) == ENGINE_BUDGET)
        ;
    engine_kvm.sync(c);
    assert_int_equal(p.count, 1000);
    assert_int_equal(p.wrong, 0);
    struct kvm_vm *k = c->vcpu->vm;
    assert_true(!k->ring_page || k->stats.exits[KVM_EXIT_MMIO] < 100);
    engine_kvm.part(&c, 1);
    machine_free(m);
}

/* An NMI wakes a halted CPU, in the kernel and where our own CPU runs for it (A20 shut). */
static void test_nmi(void **state)
{
    struct err e;
    if (!usable())
        skip();
    for (unsigned own = 0; own < 2; own++) {
        struct machine *m = machine_new("v3");
        struct cpu *c = &m->c;
        assert_true(engine_kvm.join(&c, 1, &e));
        m->ram[0x1000] = 0xf4;                                           /* hlt */
        memcpy(m->ram + 0x3000, (const uint8_t[]){0xb0, 0x42, 0xf4}, 3); /* mov al, 42h; hlt */
        poke(m, 8, 4, 0x3000);
        c->s.seg[SEG_CS].sel = 0;
        c->s.seg[SEG_CS].base = 0;
        c->s.rip = 0x1000;
        c->s.r[R_SP] = 0x2000;
        cpu_mode_changed(c);
        if (own)
            bus_set_a20(&m->bus, false);
        enum engine_exit why;
        while ((why = engine_kvm.run(c, 20000)) == ENGINE_BUDGET)
            ;
        assert_int_equal(why, ENGINE_HALT);
        c->s.nmi_pending = 1;
        cpu_request(c, REQ_NMI);
        while ((why = engine_kvm.run(c, 20000)) == ENGINE_BUDGET)
            ;
        assert_int_equal(why, ENGINE_HALT);
        engine_kvm.sync(c);
        assert_int_equal(c->s.r[R_AX] & 0xff, 0x42);
        engine_kvm.part(&c, 1);
        machine_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pure),   cmocka_unit_test(test_pdpte),  cmocka_unit_test(test_absent),
        cmocka_unit_test(test_kernel), cmocka_unit_test(test_shadow), cmocka_unit_test(test_run),
        cmocka_unit_test(test_nmi),    cmocka_unit_test(test_stops),  cmocka_unit_test(test_posted),
        cmocka_unit_test(test_tsc),
    };
    return RUN(tests);
}
