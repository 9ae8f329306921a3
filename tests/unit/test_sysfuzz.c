/* System instructions and events on random descriptors: nothing breaks, and what faults has changed
 * no register. Deterministic; the seed of a failure is printed. */
#include "cpu_machine.h"

#include "cpu/explain.h"

#define ROUNDS 60000u

static uint64_t rnd(struct machine *m)
{
    return rng_next(&m->rng);
}

static unsigned pick(struct machine *m, unsigned n)
{
    return (unsigned)(rnd(m) % n);
}

/* Mostly near what is valid: pure noise never gets past the first check. */
static uint64_t random_descriptor(struct machine *m)
{
    static const uint8_t access[] = {0x9b, 0x9f, 0x93, 0x97, 0xfb, 0xff, 0xf3, 0xdb, 0x99, 0x91,
                                     0x82, 0x89, 0x8b, 0xe9, 0x81, 0x83, 0x8c, 0xec, 0xe4, 0xe5,
                                     0x85, 0x8e, 0xee, 0xef, 0x86, 0xe7, 0x1b, 0x12};
    uint8_t a = pick(m, 10) ? access[pick(m, ARRAY_LEN(access))] : (uint8_t)rnd(m);
    uint32_t base = pick(m, 3) ? pick(m, RAM_SIZE) : (uint32_t)rnd(m);
    if (!pick(m, 3))
        base = TSS_AT;
    if (!(a & 0x10) && (a & 0xf) >= 4 && (a & 0xf) != 9 && (a & 0xf) != 11)
        return gate((uint16_t)(pick(m, 64) * 8 + pick(m, 4)), (uint32_t)rnd(m) & 0xfffff, a,
                    pick(m, 32));
    static const uint32_t limits[] = {0xfffff, 0xffff, 0xfff, 0x67, 0x2b, 0};
    return descriptor(pick(m, 4) ? base : 0, limits[pick(m, ARRAY_LEN(limits))],
                      (uint16_t)(a | (rnd(m) & 0xf000)));
}

static void fill(struct machine *m)
{
    for (unsigned i = 8; i < 64; i++)
        poke(m, GDT_AT + 8 * i, 8, random_descriptor(m));
    for (unsigned i = 0; i < 16; i++)
        poke(m, LDT_AT + 8 * i, 8, random_descriptor(m));
    for (unsigned i = 0; i < 256; i++)
        poke(m, IDT_AT + 8 * i, 8, random_descriptor(m));
    for (unsigned i = 0; i < 0x70; i += 4)
        poke(m, TSS_AT + i, 4, pick(m, 2) ? pick(m, 64) * 8 + pick(m, 4) : (uint32_t)rnd(m));
}

static void prepare(struct machine *m)
{
    struct cpu *c = &m->c;
    cpu_reset(c, false);
    unsigned cpl = pick(m, 2) ? 3 : 0;
    switch (pick(m, 4)) {
    case 0: break;
    case 1: long_mode(m, cpl); break;
    default: protected_mode(m, cpl); break;
    }
    if (!cpu_real(c) && !cpu_long(c) && !pick(m, 4)) {
        c->s.rflags |= EF_VM;
        for (unsigned i = 0; i < SEG_COUNT; i++)
            c->s.seg[i] = seg_vm86((uint16_t)pick(m, 0x4000));
    }
    c->s.ldtr = (struct seg){.sel = 0x40, .base = LDT_AT, .limit = 0x7f, .attr = 0x82};
    c->s.rflags |= (pick(m, 4) << 12) | (pick(m, 4) ? 0 : EF_NT) | (rnd(m) & EF_IF);
    if (pick(m, 2))
        c->s.cr4 |= CR4_VME | CR4_PVI;
    for (unsigned i = 0; i < 16; i++)
        c->s.r[i] = pick(m, 2) ? pick(m, 64) * 8 + pick(m, 4) : rnd(m);
    c->s.r[R_SP] = pick(m, 8) ? 0x8000 + 2 * pick(m, 64) : rnd(m);
    for (unsigned i = 0; i < 64; i++)
        poke(m, c->s.seg[SEG_SS].base + (c->s.r[R_SP] & 0xffff) + 4 * i, 4,
             pick(m, 2) ? pick(m, 64) * 8 + pick(m, 4) : (uint32_t)rnd(m));
    c->s.rip = 0x100;
    c->next_rip = 0x102;
    c->single = pick(m, 2);
    cpu_mode_changed(c);
}

static const struct {
    const char *name;
    uop_helper *fn;
} ops[] = {
#define O(n)      \
    {             \
#n, h_##n \
    }
    O(callf),       O(callf),       O(jmpf),     O(jmpf),    O(retf),  O(retf),
    O(iret),        O(iret),        O(int),      O(int),     O(int3),  O(lldt),
    O(ltr),         O(lar),         O(lsl),      O(verr),    O(verw),  O(arpl),
    O(pushf),       O(popf),        O(cli),      O(sti),     O(lds),   O(lss),
    O(pop_sreg),    O(push_sreg),   O(in),       O(outs),    O(lgdt),  O(sidt),
    O(mov_to_sreg), O(mov_to_sreg), O(sysenter), O(sysexit), O(lmsw),  O(mov_to_cr),
    O(mov_from_cr), O(mov_to_dr),   O(wrmsr),    O(rdmsr),   O(cpuid), O(invlpg),
#undef O
};

static void check(struct machine *m, const char *name, unsigned round, bool ok,
                  const struct cpu_state *before)
{
    static char text[EXPLAIN_SIZE];
    struct cpu *c = &m->c;
    struct cpu_state now = c->s;
    explain_registers(c, text, sizeof text);
    if (c->cpl > 3 || (cpu_64(c) && !cpu_long(c)))
        fail_msg("round %u, %s: impossible mode", round, name);
    /* a task switch may fault in the new task, which may be the old one */
    if (ok || now.tr.sel != before->tr.sel || (!strcmp(name, "iret") && (before->rflags & EF_NT)))
        return;
    /* what a fault may leave behind */
    now.dr6 = before->dr6;
    now.pending_db = before->pending_db;
    memcpy(now.r + R_T0, before->r + R_T0, sizeof now.r - 8 * R_T0);
    if (memcmp(&now, before, sizeof now))
        for (unsigned i = 0; i < sizeof now; i++)
            if (((uint8_t *)&now)[i] != ((const uint8_t *)before)[i])
                fail_msg("round %u, %s: byte %u of the state changed though it faulted (%s)", round,
                         name, i, c->fault.why ? c->fault.why : "?");
}

static void test_instructions(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    unsigned ok_count = 0;
    rng_seed(&m->rng, 7);
    for (unsigned i = 0; i < ROUNDS; i++) {
        static const uint8_t sizes[] = {2, 4, 8};
        if (i % 16 == 0)
            fill(m);
        prepare(m);
        unsigned k = pick(m, ARRAY_LEN(ops)), limit = cpu_64(c) ? 3 : 2;
        struct uop u = {.size = sizes[pick(m, limit)],
                        .asize = sizes[pick(m, limit)],
                        .dst = (uint8_t)pick(m, 6),
                        .a = (uint8_t)pick(m, 8),
                        .aux = (uint16_t)pick(m, 2),
                        .seg = (uint8_t)pick(m, 6),
                        .imm = (int64_t)(pick(m, 4) ? pick(m, 256) : rnd(m))};
        c->s.r[R_T0] = pick(m, 2) ? 0x8000 + pick(m, 256) : rnd(m) & 0xffffffff;
        c->s.r[R_T1] = pick(m, 64) * 8 + pick(m, 4);
        if (ops[k].fn == h_wrmsr || ops[k].fn == h_rdmsr)
            c->s.r[R_CX] = pick(m, 2) ? pick(m, 0x300) : 0xc0000080 + pick(m, 0x90);
        struct cpu_state before = c->s;
        bool ok = ops[k].fn(c, &u);
        ok_count += ok;
        check(m, ops[k].name, i, ok, &before);
        if (!ok && c->fault.vector != EXC_RESTART && pick(m, 2)) {
            cpu_deliver(c);
            check(m, "delivery", i, true, &before);
        }
    }
    assert_true(ok_count > ROUNDS / 10 && ok_count < ROUNDS);
    machine_free(m);
}

static void test_deliveries(void **state)
{
    static char text[EXPLAIN_SIZE];
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    unsigned shut = 0;
    rng_seed(&m->rng, 11);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (i % 16 == 0)
            fill(m);
        prepare(m);
        if (pick(m, 4))
            idt(m, EXC_DF, gate(SEL_CODE0, 0x100, 0x8e, 0));
        c->fault = (struct fault){.vector = (uint16_t)pick(m, 20), .has_error = pick(m, 2)};
        bool ok = cpu_deliver(c);
        shut += !ok;
        assert_int_equal(ok, c->s.activity != ACT_SHUTDOWN);
        explain_faults(c, text, sizeof text);
        assert_true(c->chain_count <= FAULT_CHAIN);
        cpu_request(c, (uint32_t)rnd(m) & (REQ_NMI | REQ_INIT | REQ_SIPI | REQ_DB));
        cpu_interrupt(c);
        assert_true(c->cpl <= 3);
    }
    assert_true(shut > 100 && shut < ROUNDS);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instructions),
        cmocka_unit_test(test_deliveries),
    };
    return RUN(tests);
}
