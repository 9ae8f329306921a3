#include "dev/ioapic.h"
#include "dev/lapic.h"

#include "dev.h"

#define CPUS 4

struct fake_cpu {
    bool intr;
    unsigned nmis, inits, sipis;
    uint8_t sipi;
    uint64_t tsc_offset;
};

static struct clock clk;
static struct apic_bus bus;
static struct lapic apic[CPUS];
static struct fake_cpu cpu[CPUS];
static struct ioapic io;
static int ext_vector;

static void on_intr(void *c, bool level)
{
    ((struct fake_cpu *)c)->intr = level;
}

static void on_nmi(void *c)
{
    ((struct fake_cpu *)c)->nmis++;
}

static void on_init(void *c)
{
    ((struct fake_cpu *)c)->inits++;
}

static void on_sipi(void *c, uint8_t vector)
{
    ((struct fake_cpu *)c)->sipis++;
    ((struct fake_cpu *)c)->sipi = vector;
}

static uint64_t on_tsc(void *c) /* 2 GHz */
{
    return ((struct fake_cpu *)c)->tsc_offset + 2 * dev_time;
}

static int on_ext_ack(void *c)
{
    return ext_vector;
}

static uint32_t rd(unsigned n, unsigned reg)
{
    return (uint32_t)lapic_mmio_read(&apic[n], reg, 4);
}

static void wr(unsigned n, unsigned reg, uint32_t v)
{
    lapic_mmio_write(&apic[n], reg, 4, v);
}

static int setup(void **state)
{
    dev_clock(&clk);
    memset(cpu, 0, sizeof cpu);
    bus = (struct apic_bus){0};
    for (unsigned i = 0; i < CPUS; i++) {
        struct lapic_cpu c = {on_intr, on_nmi,       on_init,    on_sipi,
                              on_tsc,  2 * NS_PER_S, on_ext_ack, &cpu[i]};
        lapic_init(&apic[i], i, &bus, &clk, NULL, &c);
        wr(i, 0xf0, 0x1ff);
    }
    ioapic_init(&io, 4, &bus, NULL);
    return 0;
}

static void test_identity(void **state)
{
    assert_int_equal(lapic_base(&apic[0]), 0xfee00900);
    assert_int_equal(lapic_base(&apic[1]), 0xfee00800);
    assert_int_equal(rd(2, 0x20), 2 << 24);
    assert_int_equal(rd(0, 0x30), 0x00050014);
    assert_int_equal(rd(0, 0x350), 0x700);
    assert_int_equal(rd(1, 0x350), 0x10000);
    assert_int_equal(rd(0, 0xe0), 0xffffffff);
    wr(0, 0x80, 0x35);
    assert_int_equal(rd(0, 0x80), 0x35);
    assert_int_equal(rd(0, 0xa0), 0x35);
    assert_int_equal(lapic_mmio_read(&apic[0], 0x81, 1), 0);
    wr(0, 0x280, 0);
    assert_int_equal(rd(0, 0x280), 0);
    rd(0, 0x40);
    wr(0, 0x280, 0);
    assert_int_equal(rd(0, 0x280), 0x80); /* illegal register address */
    wr(0, 0x280, 0);
    assert_int_equal(rd(0, 0x280), 0);
}

static void test_peek(void **state)
{
    uint64_t v;
    wr(2, 0x80, 0x35);
    for (unsigned reg = 0; reg < 0x1000; reg += 16)
        if (lapic_mmio_peek(&apic[2], reg, 4, &v))
            assert_int_equal(v, rd(2, reg));
    wr(2, 0x280, 0);
    assert_int_equal(rd(2, 0x280), 0);
    assert_true(lapic_mmio_peek(&apic[2], 0x20, 4, &v));
    assert_int_equal(v, 2 << 24);
    assert_false(lapic_mmio_peek(&apic[2], 0x40, 4, &v)); /* there is no such register */
    assert_false(lapic_mmio_peek(&apic[2], 0x22, 1, &v));
    wr(2, 0x280, 0);
    assert_int_equal(rd(2, 0x280), 0);
}

static void ipi(unsigned from, uint32_t high, uint32_t low)
{
    wr(from, 0x310, high);
    wr(from, 0x300, low);
}

static void test_ipi_and_priorities(void **state)
{
    ipi(0, 1 << 24, 0x4041);
    assert_true(cpu[1].intr);
    assert_false(cpu[2].intr);
    assert_int_equal(rd(1, 0x220), 2);
    assert_int_equal(lapic_ack(&apic[1]), 0x41);
    assert_false(cpu[1].intr);
    assert_int_equal(rd(1, 0x120), 2);
    assert_int_equal(rd(1, 0xa0), 0x40);
    ipi(0, 1 << 24, 0x404f); /* the same class: waits */
    assert_false(cpu[1].intr);
    ipi(0, 1 << 24, 0x4050);
    assert_true(cpu[1].intr);
    assert_int_equal(lapic_ack(&apic[1]), 0x50);
    wr(1, 0xb0, 0);
    assert_false(cpu[1].intr);
    wr(1, 0xb0, 0);
    assert_true(cpu[1].intr);
    lapic_set_tpr(&apic[1], 0x40);
    assert_false(cpu[1].intr);
    assert_int_equal(lapic_ack(&apic[1]), -1);
    lapic_set_tpr(&apic[1], 0x30);
    assert_true(cpu[1].intr);
    assert_int_equal(lapic_ack(&apic[1]), 0x4f);
}

static void test_shorthands_and_modes(void **state)
{
    ipi(1, 0, 0x44000 | 0x31); /* self */
    assert_true(cpu[1].intr && !cpu[0].intr);
    ipi(1, 0, 0xc4000 | 0x32); /* all but self */
    assert_true(cpu[0].intr && cpu[2].intr && cpu[3].intr);
    assert_int_equal(rd(1, 0x210), 1 << 17);
    ipi(0, 0, 0x84000 | 0x33); /* all */
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(lapic_ack(&apic[i]), 0x33);
    ipi(0, 0xff000000, 0x4434); /* NMI to everybody */
    assert_int_equal(cpu[0].nmis + cpu[1].nmis + cpu[2].nmis + cpu[3].nmis, 4);
    ipi(0, 3 << 24, 0x4003); /* an illegal vector */
    wr(0, 0x280, 0);
    assert_int_equal(rd(0, 0x280), 0x20);
    /* what xv6 and Linux do to start a CPU */
    ipi(0, 0, 0x88500);
    assert_int_equal(cpu[1].inits, 0); /* level de-assert */
    ipi(0, 1 << 24, 0xc500);
    ipi(0, 1 << 24, 0x8500);
    assert_int_equal(cpu[1].inits, 1);
    assert_int_equal(rd(1, 0xf0), 0xff);
    assert_false(cpu[1].intr);
    ipi(0, 1 << 24, 0x4607);
    assert_int_equal(cpu[1].sipi, 7);
    assert_int_equal(cpu[1].sipis, 1);
    assert_int_equal(cpu[2].sipis, 0);
}

static void test_logical_destinations(void **state)
{
    for (unsigned i = 0; i < CPUS; i++)
        wr(i, 0xd0, 1u << (24 + i));
    ipi(0, 0x06000000, 0x4841);
    assert_true(!cpu[0].intr && cpu[1].intr && cpu[2].intr && !cpu[3].intr);
    for (unsigned i = 0; i < CPUS; i++) { /* clusters of two */
        wr(i, 0xe0, 0x0fffffff);
        wr(i, 0xd0, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    ipi(0, 0x13000000, 0x4851);
    assert_int_equal(rd(2, 0x220), 0x20002);
    assert_int_equal(rd(3, 0x220), 0x20000);
    assert_int_equal(rd(0, 0x220), 0);
    lapic_set_tpr(&apic[2], 0x10); /* lowest priority: 3 is freer */
    ipi(0, 0x13000000, 0x4961);
    assert_int_equal(rd(2, 0x230), 0);
    assert_int_equal(rd(3, 0x230), 2);
}

static void test_x2apic(void **state)
{
    uint64_t v;
    assert_false(lapic_msr_read(&apic[1], 0x802, &v));
    assert_false(lapic_set_base(&apic[1], 0xfee00400));
    assert_false(lapic_set_base(&apic[1], 0xfee00801));
    assert_true(lapic_set_base(&apic[1], 0xfee00c00));
    assert_false(lapic_set_base(&apic[1], 0xfee00800));
    assert_true(lapic_msr_read(&apic[1], 0x802, &v));
    assert_int_equal(v, 1);
    assert_true(lapic_msr_read(&apic[1], 0x80d, &v));
    assert_int_equal(v, 2);
    assert_false(lapic_msr_read(&apic[1], 0x80e, &v));
    assert_false(lapic_msr_read(&apic[1], 0x80b, &v));
    assert_false(lapic_msr_write(&apic[1], 0x80b, 1));
    assert_false(lapic_msr_write(&apic[1], 0x802, 1));
    assert_false(lapic_msr_write(&apic[1], 0x80f, 0x11ff));
    assert_true(lapic_msr_write(&apic[1], 0x830, 3ull << 32 | 0x4045));
    assert_int_equal(lapic_ack(&apic[3]), 0x45);
    assert_true(lapic_msr_read(&apic[1], 0x830, &v));
    assert_int_equal(v, 3ull << 32 | 0x4045);
    assert_true(lapic_msr_write(&apic[1], 0x83f, 0x46));
    assert_int_equal(lapic_ack(&apic[1]), 0x46);
    assert_true(lapic_msr_write(&apic[1], 0x80b, 0));
    ipi(0, 1 << 24, 0x4047); /* from an xAPIC */
    assert_int_equal(lapic_ack(&apic[1]), 0x47);
    assert_true(lapic_set_base(&apic[1], 0xfee00000));
    assert_false(lapic_set_base(&apic[1], 0xfee00c00));
    assert_true(lapic_set_base(&apic[1], 0xfee00800));
    assert_int_equal(rd(1, 0xf0), 0xff);
}

static void test_timer_one_shot(void **state)
{
    wr(0, 0x3e0, 0xb); /* undivided: 1 ns */
    wr(0, 0x320, 0x40);
    wr(0, 0x380, 10000);
    dev_pass(&clk, 4000);
    assert_int_equal(rd(0, 0x390), 6000);
    wr(0, 0x3e0, 0x3); /* by 16 from here */
    dev_pass(&clk, 1600);
    assert_int_equal(rd(0, 0x390), 5900);
    dev_pass(&clk, 5900 * 16 - 1);
    assert_false(cpu[0].intr);
    dev_pass(&clk, 1);
    assert_int_equal(lapic_ack(&apic[0]), 0x40);
    assert_int_equal(rd(0, 0x390), 0);
    assert_int_equal(clk.next, CLOCK_NEVER);
}

static uint64_t hasty(void *opaque)
{
    return dev_time += 2000;
}

/* A count that is over before its expiry is waited for, or that ended while nobody looked at the
 * clock, expires all the same; one that ended behind a mask does not. */
static void test_timer_late(void **state)
{
    clk.source = hasty;
    wr(0, 0x3e0, 0xb);
    wr(0, 0x320, 0x40);
    for (unsigned i = 0; i < 2; i++) {
        wr(0, 0x380, 1000);
        if (i) /* the vector changes meanwhile */
            wr(0, 0x320, 0x41);
        clock_run(&clk);
        assert_int_equal(lapic_ack(&apic[0]), 0x40 + i);
        wr(0, 0xb0, 0);
        clock_run(&clk);
        assert_false(cpu[0].intr);
    }
    wr(0, 0x320, 0x10040);
    wr(0, 0x380, 1000);
    clock_run(&clk);
    wr(0, 0x320, 0x40);
    clock_run(&clk);
    assert_false(cpu[0].intr);
    wr(0, 0x380, 0);
    assert_int_equal(clk.next, CLOCK_NEVER);
}

static void test_timer_periodic(void **state)
{
    unsigned n = 0;
    wr(0, 0x3e0, 0xb);
    wr(0, 0x320, 0x20040);
    wr(0, 0x380, 10000);
    for (unsigned i = 0; i < 100; i++) {
        dev_pass(&clk, 7500);
        if (cpu[0].intr) {
            n++;
            assert_int_equal(lapic_ack(&apic[0]), 0x40);
            wr(0, 0xb0, 0);
        }
    }
    assert_int_equal(n, 75);
    dev_pass(&clk, 2500);
    assert_int_equal(rd(0, 0x390), 7500);
    wr(0, 0x320, 0x30040);
    assert_int_equal(clk.next, CLOCK_NEVER); /* masked, but counting */
    dev_pass(&clk, 10000);
    assert_int_equal(rd(0, 0x390), 7500);
    wr(0, 0x380, 0);
    assert_int_equal(rd(0, 0x390), 0);
    wr(0, 0x320, 0x20040);
    wr(0, 0x380, 1); /* an absurd period must not stop time */
    dev_pass(&clk, 1000000);
    assert_true(cpu[0].intr);
}

static void test_timer_deadline(void **state)
{
    uint64_t v;
    assert_true(lapic_msr_write(&apic[0], 0x6e0, 12345)); /* another mode: no effect */
    assert_true(lapic_msr_read(&apic[0], 0x6e0, &v));
    assert_int_equal(v, 0);
    wr(0, 0x320, 0x40041);
    assert_true(lapic_msr_write(&apic[0], 0x6e0, 2001));
    dev_pass(&clk, 1000);
    assert_false(cpu[0].intr);
    assert_true(lapic_msr_read(&apic[0], 0x6e0, &v));
    assert_int_equal(v, 2001);
    dev_pass(&clk, 1);
    assert_int_equal(lapic_ack(&apic[0]), 0x41);
    assert_true(lapic_msr_read(&apic[0], 0x6e0, &v));
    assert_int_equal(v, 0);
    wr(0, 0xb0, 0);
    assert_true(lapic_msr_write(&apic[0], 0x6e0, 5)); /* long past */
    dev_pass(&clk, 0);
    assert_true(cpu[0].intr);
    assert_true(lapic_msr_write(&apic[0], 0x6e0, ~0ull));
    assert_int_equal(clk.next, CLOCK_NEVER);

    /* a TSC that is set forward, or back */
    assert_int_equal(lapic_ack(&apic[0]), 0x41);
    wr(0, 0xb0, 0);
    assert_true(lapic_msr_write(&apic[0], 0x6e0, 2 * dev_time + 2000));
    cpu[0].tsc_offset = 1000;
    lapic_tsc_changed(&apic[0]);
    dev_pass(&clk, 499);
    assert_false(cpu[0].intr);
    cpu[0].tsc_offset = 0;
    lapic_tsc_changed(&apic[0]);
    dev_pass(&clk, 400);
    assert_false(cpu[0].intr);
    cpu[0].tsc_offset = 1ull << 40;
    lapic_tsc_changed(&apic[0]);
    dev_pass(&clk, 1);
    assert_int_equal(lapic_ack(&apic[0]), 0x41);
    assert_int_equal(clk.next, CLOCK_NEVER);
}

static void test_virtual_wire_and_pins(void **state)
{
    ext_vector = 0x08;
    lapic_lint(&apic[0], 0, true);
    assert_true(cpu[0].intr);
    assert_int_equal(lapic_ack(&apic[0]), 0x08);
    lapic_lint(&apic[0], 0, false);
    assert_false(cpu[0].intr);
    lapic_lint(&apic[0], 1, true);
    lapic_lint(&apic[0], 1, true);
    assert_int_equal(cpu[0].nmis, 1);
    wr(0, 0x350, 0x10700);
    lapic_lint(&apic[0], 0, true);
    assert_false(cpu[0].intr);
    wr(0, 0x350, 0x80a5); /* fixed, level */
    assert_int_equal(lapic_ack(&apic[0]), 0xa5);
    assert_int_equal(rd(0, 0x350), 0xc0a5);
    wr(0, 0xb0, 0);
    assert_int_equal(lapic_ack(&apic[0]), 0xa5); /* the pin is still up */
    lapic_lint(&apic[0], 0, false);
    wr(0, 0xb0, 0);
    assert_false(cpu[0].intr);
    assert_int_equal(rd(0, 0x350), 0x80a5);
    assert_true(lapic_set_base(&apic[0], 0xfee00100)); /* off: the pin is INTR */
    lapic_lint(&apic[0], 0, true);
    assert_int_equal(lapic_ack(&apic[0]), 0x08);
}

static void test_software_disable(void **state)
{
    wr(1, 0x320, 0x40);
    wr(1, 0xf0, 0xff);
    assert_int_equal(rd(1, 0x320), 0x10040);
    wr(1, 0x320, 0x40);
    assert_int_equal(rd(1, 0x320), 0x10040);
    ipi(0, 1 << 24, 0x4041);
    assert_false(cpu[1].intr);
    ipi(0, 1 << 24, 0x4400);
    assert_int_equal(cpu[1].nmis, 1);
}

static uint32_t io_rd(unsigned reg)
{
    io.mmio.ops->write(&io, 0, 4, reg);
    return (uint32_t)io.mmio.ops->read(&io, 0x10, 4);
}

static void io_wr(unsigned reg, uint32_t v)
{
    io.mmio.ops->write(&io, 0, 4, reg);
    io.mmio.ops->write(&io, 0x10, 4, v);
}

static void test_ioapic_registers(void **state)
{
    assert_int_equal(io_rd(0), 4 << 24);
    assert_int_equal(io_rd(1), 0x00170020);
    io_wr(0, 0xffffffff);
    assert_int_equal(io_rd(0), 0x0f000000);
    assert_int_equal(io_rd(0x10), 0x10000);
    io_wr(0x10, 0xffffffff);
    io_wr(0x11, 0xffffffff);
    assert_int_equal(io_rd(0x10), 0x1afff);
    assert_int_equal(io_rd(0x11), 0xff000000);
    assert_int_equal(io_rd(0x50), 0);
}

static void test_ioapic_edge(void **state)
{
    ioapic_set(&io, 4, true); /* masked: lost */
    io_wr(0x19, 2 << 24);
    io_wr(0x18, 0x34);
    assert_false(cpu[2].intr);
    ioapic_set(&io, 4, false);
    ioapic_set(&io, 4, true);
    ioapic_set(&io, 4, true);
    assert_int_equal(lapic_ack(&apic[2]), 0x34);
    assert_int_equal(rd(2, 0x190), 0); /* TMR */
    wr(2, 0xb0, 0);
    assert_false(cpu[2].intr);
}

static void test_ioapic_level(void **state)
{
    io_wr(0x27, 1 << 24);
    io_wr(0x26, 0xa061); /* pin 11: level, low */
    ioapic_set(&io, 11, true);
    assert_int_equal(io_rd(0x26), 0xe061);
    assert_int_equal(lapic_ack(&apic[1]), 0x61);
    assert_int_equal(rd(1, 0x1b0), 2);
    ioapic_set(&io, 11, false);
    ioapic_set(&io, 11, true); /* no new message before the EOI */
    assert_int_equal(rd(1, 0x230), 0);
    wr(1, 0xb0, 0);
    assert_int_equal(lapic_ack(&apic[1]), 0x61); /* still up */
    ioapic_set(&io, 11, false);
    wr(1, 0xb0, 0);
    assert_false(cpu[1].intr);
    assert_int_equal(io_rd(0x26), 0xa061);
    /* by the EOI register, and by Linux's way of old: to edge and back */
    ioapic_set(&io, 11, true);
    lapic_ack(&apic[1]);
    io.mmio.ops->write(&io, 0x40, 4, 0x61);
    assert_int_equal(rd(1, 0x230), 2);
    ioapic_set(&io, 11, false);
    io_wr(0x26, 0x12061);
    io_wr(0x26, 0xa061);
    assert_int_equal(io_rd(0x26), 0xa061);
    /* masked while up: comes when it is unmasked */
    wr(1, 0xb0, 0);
    lapic_ack(&apic[1]);
    wr(1, 0xb0, 0);
    io_wr(0x26, 0x1a061);
    ioapic_set(&io, 11, true);
    assert_false(cpu[1].intr);
    io_wr(0x26, 0xa061);
    assert_true(cpu[1].intr);
}

static void test_ioapic_extint_nmi_and_msi(void **state)
{
    ext_vector = 0x30;
    io_wr(0x11, 3 << 24);
    io_wr(0x10, 0x700);
    ioapic_set(&io, 0, true);
    assert_true(cpu[3].intr);
    assert_int_equal(lapic_ack(&apic[3]), 0x30);
    assert_false(cpu[3].intr);
    io_wr(0x13, 0xff000000);
    io_wr(0x12, 0x400);
    ioapic_set(&io, 1, true);
    assert_int_equal(cpu[0].nmis, 1);
    assert_int_equal(cpu[3].nmis, 1);
    assert_true(apic_bus_msi(&bus, 0xfee02000, 0x4055));
    assert_int_equal(lapic_ack(&apic[2]), 0x55);
    assert_false(apic_bus_msi(&bus, 0xfee77000, 0x4055));
}

static void test_state(void **state)
{
    assert_table_ok(lapic_table);
    assert_table_ok(ioapic_table);
    wr(0, 0x3e0, 0xb);
    wr(0, 0x320, 0x20040);
    wr(0, 0x380, 10000);
    dev_pass(&clk, 13000);
    struct lapic_state saved = apic[0].s;
    setup(NULL);
    dev_time = 13000;
    apic[0].s = saved;
    lapic_restore(&apic[0]);
    assert_true(cpu[0].intr);
    assert_int_equal(lapic_ack(&apic[0]), 0x40);
    wr(0, 0xb0, 0);
    dev_pass(&clk, 6999);
    assert_false(cpu[0].intr);
    dev_pass(&clk, 1);
    assert_true(cpu[0].intr);
}

/* A one-shot count that ended, in periodic mode meanwhile: it stays ended over a restore. */
static void test_state_of_an_ended_count(void **state)
{
    wr(0, 0x3e0, 0xb);
    wr(0, 0x320, 0x40);
    wr(0, 0x380, 10000);
    dev_pass(&clk, 13000);
    wr(0, 0x320, 0x20040);
    struct lapic_state saved = apic[0].s;
    lapic_restore(&apic[0]);
    assert_memory_equal(&apic[0].s, &saved, sizeof saved);
    assert_int_equal(rd(0, 0x390), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_identity, setup),
        cmocka_unit_test_setup(test_peek, setup),
        cmocka_unit_test_setup(test_ipi_and_priorities, setup),
        cmocka_unit_test_setup(test_shorthands_and_modes, setup),
        cmocka_unit_test_setup(test_logical_destinations, setup),
        cmocka_unit_test_setup(test_x2apic, setup),
        cmocka_unit_test_setup(test_timer_one_shot, setup),
        cmocka_unit_test_setup(test_timer_late, setup),
        cmocka_unit_test_setup(test_timer_periodic, setup),
        cmocka_unit_test_setup(test_timer_deadline, setup),
        cmocka_unit_test_setup(test_virtual_wire_and_pins, setup),
        cmocka_unit_test_setup(test_software_disable, setup),
        cmocka_unit_test_setup(test_ioapic_registers, setup),
        cmocka_unit_test_setup(test_ioapic_edge, setup),
        cmocka_unit_test_setup(test_ioapic_level, setup),
        cmocka_unit_test_setup(test_ioapic_extint_nmi_and_msi, setup),
        cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_state_of_an_ended_count, setup),
    };
    return RUN(tests);
}
