#include "cpu_machine.h"

#include "cpu/walk.h"

#define LA 0x234567u

static bool load(struct machine *m, uint64_t la, uint64_t *v)
{
    return lin_load(&m->c, la, 4, v);
}

static uint32_t fault_of(struct machine *m, uint64_t la, unsigned acc)
{
    uint64_t v;
    const uint8_t *host;
    bool ok = acc == ACC_WRITE  ? lin_store(&m->c, la, 4, 1)
              : acc == ACC_EXEC ? mmu_fetch(&m->c, la, &v, &host)
                                : lin_load(&m->c, la, 4, &v);
    if (ok)
        return ~0u;
    assert_int_equal(m->c.fault.vector, EXC_PF);
    assert_int_equal(m->c.fault.addr, la);
    return m->c.fault.error;
}

/* 32-bit paging: a directory at 10000, one table at 11000 for the first 4 MiB. */
static struct machine *paging32(unsigned cpl)
{
    struct machine *m = machine_new("v2");
    protected_mode(m, cpl);
    poke(m, 0x10000, 4, 0x11007);
    for (unsigned i = 0; i < 1024; i++)
        poke(m, 0x11000 + 4 * i, 4, i << 12 | 7);
    m->c.s.cr3 = 0x10000;
    m->c.s.cr0 |= CR0_PG | CR0_WP;
    tlb_flush(&m->c);
    cpu_mode_changed(&m->c);
    return m;
}

static void pte(struct machine *m, uint64_t la, uint32_t bits)
{
    poke(m, 0x11000 + 4 * (la >> 12), 4, bits);
    tlb_flush_page(&m->c, la);
}

static void test_32bit_rights(void **state)
{
    struct machine *m = paging32(3);
    uint64_t v;
    poke(m, LA, 4, 0xdeadbeef);
    assert_true(load(m, LA, &v));
    assert_int_equal(v, 0xdeadbeef);
    assert_int_equal(peek(m, 0x11000 + 4 * 0x234, 4), 0x234027); /* A, not D */
    assert_int_equal(peek(m, 0x10000, 4), 0x11027);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), ~0u);
    assert_int_equal(peek(m, 0x11000 + 4 * 0x234, 4), 0x234067);
    assert_int_equal(peek(m, LA, 4), 1);

    pte(m, LA, 0x234006);
    assert_int_equal(fault_of(m, LA, ACC_READ), 4);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), 6);
    assert_int_equal(fault_of(m, LA, ACC_EXEC), 4); /* no I bit without NX and SMEP */
    pte(m, LA, 0x234005);
    assert_int_equal(fault_of(m, LA, ACC_READ), ~0u);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), 7);
    pte(m, LA, 0x234003);
    assert_int_equal(fault_of(m, LA, ACC_READ), 5);
    assert_int_equal(peek(m, 0x11000 + 4 * 0x234, 4), 0x234003); /* a fault sets no A */
    machine_free(m);
}

static void test_supervisor_wp_smep_smap(void **state)
{
    struct machine *m = paging32(0);
    struct cpu *c = &m->c;
    pte(m, LA, 0x234005);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), 3);
    c->s.cr0 &= ~CR0_WP;
    tlb_flush(c);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), ~0u);
    pte(m, LA, 0x234007);
    assert_int_equal(fault_of(m, LA, ACC_EXEC), ~0u);
    c->s.cr4 |= CR4_SMEP | CR4_SMAP;
    tlb_flush(c);
    cpu_mode_changed(c);
    assert_int_equal(fault_of(m, LA, ACC_EXEC), 0x11);
    assert_int_equal(fault_of(m, LA, ACC_READ), 1);
    assert_int_equal(fault_of(m, LA, ACC_WRITE), 3);
    c->s.rflags |= EF_AC;
    cpu_mode_changed(c);
    assert_int_equal(fault_of(m, LA, ACC_READ), ~0u);
    uint64_t v;
    assert_false(sys_load(c, LA, 4, &v)); /* implicit accesses don't look at AC */
    assert_int_equal(c->fault.error, 1);
    c->s.rflags &= ~(uint64_t)EF_AC;
    cpu_mode_changed(c);
    assert_int_equal(fault_of(m, LA, ACC_READ), 1);
    machine_free(m);
}

static void test_4m_and_reserved(void **state)
{
    struct machine *m = paging32(0);
    struct cpu *c = &m->c;
    uint64_t v;
    poke(m, 0x123456, 4, 77);
    poke(m, 0x10004, 4, 0x83); /* 400000 → 0 by a 4 MiB page, if PSE */
    c->s.cr4 |= CR4_PSE;
    tlb_flush(c);
    assert_true(load(m, 0x400000 + 0x123456, &v));
    assert_int_equal(v, 77);
    poke(m, 0x10004, 4, 0x83 | 1u << 21);
    tlb_flush(c);
    assert_int_equal(fault_of(m, 0x400000, ACC_READ), 9);
    struct walk w;
    poke(m, 0x10004, 4, 0x83 | 3u << 13); /* PSE-36: bits 33:32 */
    walk(c, 0x400000, &w);
    assert_int_equal(w.result, WALK_OK);
    assert_true(w.paddr == 0x300000000ull);
    machine_free(m);
}

static void test_page_crossing_checks_both(void **state)
{
    struct machine *m = paging32(3);
    uint64_t v;
    poke(m, 0x234ffc, 8, 0x1122334455667788);
    assert_true(lin_load(&m->c, 0x234ffe, 4, &v));
    assert_int_equal(v, 0x33445566);
    pte(m, 0x235000, 0x235005);
    assert_false(lin_store(&m->c, 0x234ffe, 4, 0));
    assert_int_equal(m->c.fault.addr, 0x235000);
    assert_int_equal(m->c.fault.error, 7);
    assert_int_equal(peek(m, 0x234ffe, 2), 0x5566);
    pte(m, 0x234000, 0x234004);
    assert_false(lin_load(&m->c, 0x234ffe, 4, &v));
    assert_int_equal(m->c.fault.addr, 0x234ffe);
    machine_free(m);
}

static void test_linear_wrap_at_4g(void **state)
{
    struct machine *m = machine_new("v2");
    protected_mode(m, 0);
    uint64_t v;
    poke(m, 0, 4, 0x04030201);
    assert_true(lin_load(&m->c, 0xfffffffe, 4, &v)); /* nothing at the top: ones */
    assert_int_equal(v, 0x0201ffff);
    machine_free(m);
}

static void test_global_survives_cr3(void **state)
{
    struct machine *m = paging32(0);
    struct cpu *c = &m->c;
    uint64_t v;
    c->s.cr4 |= CR4_PGE;
    pte(m, 0x200000, 0x200103);
    poke(m, 0x200000, 4, 1);
    poke(m, 0x201000, 4, 2);
    poke(m, 0x300000, 4, 3);
    assert_true(load(m, 0x200000, &v) && load(m, 0x201000, &v));
    poke(m, 0x11000 + 4 * 0x200, 4, 0x300103);
    poke(m, 0x11000 + 4 * 0x201, 4, 0x300003);
    tlb_flush_nonglobal(c);
    assert_true(load(m, 0x200000, &v));
    assert_int_equal(v, 1);
    assert_true(load(m, 0x201000, &v));
    assert_int_equal(v, 3);
    tlb_flush_page(c, 0x200000); /* INVLPG takes global ones too */
    assert_true(load(m, 0x200000, &v));
    assert_int_equal(v, 3);
    machine_free(m);
}

static void test_invlpg_of_a_large_page(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    long_mode(m, 0);
    poke(m, 0x280000, 4, 5);
    poke(m, 0x80000, 4, 6);
    assert_true(load(m, 0x280000, &v) && load(m, 0x201000, &v));
    poke(m, PD_AT + 8, 8, 0x87); /* 200000 → 0 */
    assert_true(load(m, 0x280000, &v));
    assert_int_equal(v, 5);
    tlb_flush_page(c, 0x201000);
    assert_true(load(m, 0x280000, &v));
    assert_int_equal(v, 6);
    machine_free(m);
}

static void test_long_mode_walk(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    long_mode(m, 3);
    poke(m, 0x3ff000, 8, 0xabcdef);
    assert_true(load(m, 0x3ff000, &v));
    assert_int_equal(v, 0xabcdef);
    /* one 4 KiB page at 40000000, by a table of its own */
    poke(m, PDPT_AT + 8, 8, (PD_AT + 0x2000) | 7);
    poke(m, PD_AT + 0x2000, 8, PT_AT | 7);
    poke(m, PT_AT, 8, BIT(63) | 0x3ff000 | 7);
    assert_int_equal(fault_of(m, 0x40000000, ACC_EXEC), 0x15);
    assert_int_equal(fault_of(m, 0x40000000, ACC_READ), ~0u);
    assert_int_equal(fault_of(m, 0x40001000, ACC_EXEC), 0x14);
    c->s.efer &= ~(uint64_t)EFER_NXE; /* the bit is reserved now */
    tlb_flush(c);
    assert_int_equal(fault_of(m, 0x40000000, ACC_READ), 0xd);
    c->s.efer |= EFER_NXE;
    poke(m, PT_AT, 8, BIT(40) | 7); /* beyond the physical address width */
    tlb_flush(c);
    assert_int_equal(fault_of(m, 0x40000000, ACC_WRITE), 0xf);
    poke(m, PML4_AT, 8, PDPT_AT | 0x87); /* PS in a PML4 entry */
    tlb_flush(c);
    assert_int_equal(fault_of(m, 0x40000000, ACC_READ), 0xd);
    poke(m, PML4_AT, 8, PDPT_AT | 3);
    tlb_flush(c);
    assert_int_equal(fault_of(m, 0x3ff000, ACC_READ), 5);
    assert_false(lin_load(c, 0x800000000000, 4, &v));
    assert_fault(m, EXC_GP, 0);
    machine_free(m);
}

static void test_1g_and_2m_reserved(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    struct walk w;
    long_mode(m, 0);
    poke(m, PDPT_AT + 8, 8, 0x40000087);
    walk(c, 0x7fffffff, &w);
    assert_int_equal(w.result, WALK_OK);
    assert_int_equal(w.paddr, 0x7ffff000);
    assert_int_equal(w.shift, 30);
    poke(m, PDPT_AT + 8, 8, 0x40200087);
    walk(c, 0x40000000, &w);
    assert_int_equal(w.result, WALK_RESERVED);
    poke(m, PD_AT, 8, 0x4087); /* bit 14 of a 2 MiB page; bit 12 is PAT */
    walk(c, 0, &w);
    assert_int_equal(w.result, WALK_RESERVED);
    poke(m, PD_AT, 8, 0x1087);
    walk(c, 0, &w);
    assert_int_equal(w.result, WALK_OK);
    assert_int_equal(w.paddr, 0);
    machine_free(m);
}

static void test_pae_registers(void **state)
{
    struct machine *m = machine_new("686");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    poke(m, 0x10020, 8, 0x11001);
    poke(m, 0x11000, 8, 0x83);
    c->s.cr4 |= CR4_PAE;
    assert_true(walk_load_pdptes(c, 0x10020));
    c->s.cr3 = 0x10020;
    c->s.cr0 |= CR0_PG;
    tlb_flush(c);
    assert_true(load(m, 0x1000, &v));
    poke(m, 0x10020, 8, 0); /* no effect until CR3 is written */
    tlb_flush(c);
    assert_true(load(m, 0x1000, &v));
    poke(m, 0x10020, 8, 0x11003); /* bit 1 is reserved */
    struct uop u = {.dst = 3, .a = R_AX, .size = 4};
    c->s.r[R_AX] = 0x10020;
    assert_false(h_mov_to_cr(c, &u));
    assert_fault(m, EXC_GP, 0);
    assert_int_equal(c->s.pdpte[0], 0x11001);
    machine_free(m);
}

static uint64_t dev_value;

static uint64_t dev_read(void *dev, uint64_t offset, unsigned size)
{
    return 0x10 + offset;
}

static void dev_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
    dev_value = v;
}

static void test_device_wants_single(void **state)
{
    static const struct region_ops ops = {dev_read, dev_write, 0};
    struct region r = {.name = "dev", .size = 0x1000, .ops = &ops};
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    assert_true(bus_add(&m->bus, BUS_MEM, 0x10000000, &r, NULL));
    c->single = false;
    assert_false(load(m, 0x10000004, &v));
    assert_int_equal(c->fault.vector, EXC_RESTART);
    dev_value = 0;
    assert_false(lin_store(c, 0x10000004, 4, 9));
    assert_int_equal(dev_value, 0);
    c->single = true;
    assert_true(load(m, 0x10000004, &v));
    assert_int_equal(v, 0x14);
    assert_true(lin_store(c, 0x10000004, 4, 9));
    assert_int_equal(dev_value, 9);
    machine_free(m);
}

static uint64_t apic_at;

static uint64_t apic_base(void *apic)
{
    return apic_at | BIT(11);
}

static uint64_t apic_read(void *apic, uint64_t offset, unsigned size)
{
    return 7;
}

static bool apic_peek(void *apic, uint64_t offset, unsigned size, uint64_t *v)
{
    *v = 0x12345678;
    return offset == 0x20;
}

static void test_apic_registers_that_may_be_read_anywhere(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    apic_at = 0xfee00000;
    c->apic = (struct cpu_apic){.base = apic_base, .mmio_read = apic_read, .mmio_peek = apic_peek};
    c->single = false;
    for (unsigned i = 0; i < 2; i++) { /* the second time without a walk */
        assert_true(lin_load(c, 0xfee00020, 1, &v));
        assert_int_equal(v, 0x78);
        assert_true(load(m, 0xfee00020, &v));
        assert_int_equal(v, 0x12345678);
        assert_false(load(m, 0xfee00030, &v));
        assert_int_equal(c->fault.vector, EXC_RESTART);
        assert_false(mmu_load(c, 0xfee00020, 4, ACC_WRITE, &v)); /* a store will follow */
        assert_int_equal(c->fault.vector, EXC_RESTART);
    }
    apic_at = 0xfed00000;
    tlb_flush(c);
    c->single = true;
    assert_true(load(m, 0xfee00020, &v));
    assert_int_equal(v, 0xffffffff);
    assert_true(load(m, 0xfed00030, &v));
    assert_int_equal(v, 7);
    machine_free(m);
}

static void test_dirty_pages_are_tagged_once(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    assert_true(load(m, 0x50000, &v));
    assert_true(tlb_slot(c, TLB_SUPER, 0x50000)->write != 0x50000);
    assert_int_equal(m->bus.page_flags[0x50], 0);
    assert_true(lin_store(c, 0x50000, 4, 1));
    assert_int_equal(m->bus.page_flags[0x50], PAGE_DIRTY);
    assert_true(tlb_slot(c, TLB_SUPER, 0x50000)->write == 0x50000);
    m->bus.page_flags[0x50] |= PAGE_CODE;
    tlb_protect_code(c, 0x50000);
    assert_true(tlb_slot(c, TLB_SUPER, 0x50000)->write != 0x50000);
    assert_true(tlb_slot(c, TLB_SUPER, 0x50000)->read == 0x50000);
    machine_free(m);
}

static void test_alignment_check(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 3);
    c->s.cr0 |= CR0_AM;
    assert_true(lin_load(c, 0x50001, 4, &v));
    c->s.rflags |= EF_AC;
    cpu_mode_changed(c);
    assert_true(lin_load(c, 0x50004, 4, &v));
    assert_false(lin_load(c, 0x50002, 4, &v));
    assert_fault(m, EXC_AC, 0);
    assert_true(lin_load(c, 0x50002, 2, &v));
    assert_true(sys_load(c, 0x50002, 4, &v));
    protected_mode(m, 0);
    assert_true(lin_load(c, 0x50002, 4, &v));
    machine_free(m);
}

static void test_data_breakpoint(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    assert_true(lin_store(c, 0x50000, 4, 1));
    debug_set(c, 0, 0x50004);
    debug_set(c, 7, 0xd0001); /* L0, 4 bytes, write */
    assert_true(load(m, 0x50004, &v));
    assert_int_equal(c->s.pending_db, 0);
    assert_true(lin_store(c, 0x50000, 4, 1));
    assert_int_equal(c->s.pending_db, 0);
    assert_true(lin_store(c, 0x50007, 1, 1));
    assert_int_equal(c->s.pending_db, 1);
    assert_true(c->request & REQ_DB);
    c->single = false;
    assert_false(lin_store(c, 0x50002, 4, 1));
    assert_int_equal(c->fault.vector, EXC_RESTART);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_32bit_rights),
        cmocka_unit_test(test_supervisor_wp_smep_smap),
        cmocka_unit_test(test_4m_and_reserved),
        cmocka_unit_test(test_page_crossing_checks_both),
        cmocka_unit_test(test_linear_wrap_at_4g),
        cmocka_unit_test(test_global_survives_cr3),
        cmocka_unit_test(test_invlpg_of_a_large_page),
        cmocka_unit_test(test_long_mode_walk),
        cmocka_unit_test(test_1g_and_2m_reserved),
        cmocka_unit_test(test_pae_registers),
        cmocka_unit_test(test_device_wants_single),
        cmocka_unit_test(test_apic_registers_that_may_be_read_anywhere),
        cmocka_unit_test(test_dirty_pages_are_tagged_once),
        cmocka_unit_test(test_alignment_check),
        cmocka_unit_test(test_data_breakpoint),
    };
    return RUN(tests);
}
