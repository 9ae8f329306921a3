/* Configuration mechanism 1, the BARs, INTx, and the two bridges. */
#include "../unit/unit.h"
#include "dev/i440fx.h"
#include "dev/piix3.h"

#define RAM_SIZE 0x200000
static uint8_t ram[RAM_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint8_t rom[I440FX_ROM_SIZE] __attribute__((aligned(PAGE_SIZE)));
static struct bus bus;
static struct pci_bus pci;
static struct i440fx host;
static struct piix3 isa;
static struct piix4_pm pm;
static unsigned resets;

static void on_reset(void *opaque)
{
    resets++;
}

static void start(void)
{
    memset(ram, 0, sizeof ram);
    bus_init(&bus, ram, sizeof ram, NULL);
    pci_init(&pci, &bus, NULL);
    assert_true(bus_add(&bus, BUS_PORT, 0xcf8, &pci.ports, NULL));
    i440fx_init(&host, &pci, rom, NULL);
    piix3_init(&isa, &pci, on_reset, NULL, NULL);
    piix4_pm_init(&pm, &pci, NULL, NULL);
    for (unsigned i = 0; i < 4; i++)
        pci.pirq[i] = (struct irq){piix3_pirq, &isa, i};
    resets = 0;
}

static uint32_t cfg_in(unsigned devfn, unsigned reg, unsigned size)
{
    bus_out(&bus, 0xcf8, 4, 0x80000000u | devfn << 8 | (reg & 0xfc));
    return bus_in(&bus, 0xcfc + (reg & 3), size);
}

static void cfg_out(unsigned devfn, unsigned reg, unsigned size, uint32_t v)
{
    bus_out(&bus, 0xcf8, 4, 0x80000000u | devfn << 8 | (reg & 0xfc));
    bus_out(&bus, 0xcfc + (reg & 3), size, v);
}

static void test_mechanism_1_is_found(void **state)
{
    start();
    bus_out(&bus, 0xcfb, 1, 1);
    bus_out(&bus, 0xcf8, 4, 0x80000000);
    assert_int_equal(bus_in(&bus, 0xcf8, 4), 0x80000000);
    assert_int_equal(bus_in(&bus, 0xcfc, 4), 0x12378086);
    assert_int_equal(bus_in(&bus, 0xcfe, 2), 0x1237);
    assert_int_equal(bus_in(&bus, 0xcfd, 1), 0x80);
    assert_int_equal(cfg_in(PCI_DEVFN(1, 0), 0, 4), 0x70008086);
    assert_int_equal(cfg_in(PCI_DEVFN(1, 0), 0x0e, 1), 0x80);
    assert_int_equal(cfg_in(PCI_DEVFN(1, 3), 0x0a, 2), 0x0680);
    assert_int_equal(cfg_in(PCI_DEVFN(2, 0), 0, 4), 0xffffffff);
    bus_out(&bus, 0xcf8, 4, 0x80010000); /* another bus */
    assert_int_equal(bus_in(&bus, 0xcfc, 4), 0xffffffff);
    bus_out(&bus, 0xcf8, 4, 0);
    assert_int_equal(bus_in(&bus, 0xcfc, 4), 0xffffffff);
    cfg_out(0, 0, 4, 0); /* read-only */
    assert_int_equal(cfg_in(0, 0, 4), 0x12378086);
    bus_free(&bus);
}

static uint64_t probe_read(void *dev, uint64_t offset, unsigned size)
{
    return (uintptr_t)dev + offset;
}

static void probe_write(void *dev, uint64_t offset, unsigned size, uint64_t value) {}

static const struct region_ops probe_ops = {probe_read, probe_write, 1};

static void test_bars_are_sized_moved_and_disabled(void **state)
{
    static const struct pci_ids ids = {0x1234, 0x5678, 0xff0000, 0, 0, 0, 1};
    static struct pci_func f;
    static struct region io, mem, wide;
    io = (struct region){.name = "io", .size = 16, .ops = &probe_ops, .dev = (void *)0x10};
    mem = (struct region){.name = "mem", .size = 4096, .ops = &probe_ops, .dev = (void *)0x20};
    wide = (struct region){.name = "wide", .size = BIT(33), .ops = &probe_ops, .dev = (void *)0x30};
    start();
    pci_func_init(&f, "probe", &ids);
    pci_func_bar(&f, 0, PCI_BAR_IO, &io);
    pci_func_bar(&f, 1, PCI_BAR_MEM32, &mem);
    pci_func_bar(&f, 2, PCI_BAR_MEM64, &wide);
    pci_add(&pci, &f, PCI_DEVFN(3, 0));
    unsigned d = PCI_DEVFN(3, 0);

    assert_int_equal(cfg_in(d, 0x10, 4), 1);
    cfg_out(d, 0x10, 4, 0xffffffff);
    cfg_out(d, 0x14, 4, 0xffffffff);
    cfg_out(d, 0x18, 4, 0xffffffff);
    cfg_out(d, 0x1c, 4, 0xffffffff);
    cfg_out(d, 0x20, 4, 0xffffffff);
    assert_int_equal(cfg_in(d, 0x10, 4), 0xfffffff1);
    assert_int_equal(cfg_in(d, 0x14, 4), 0xfffff000);
    assert_int_equal(cfg_in(d, 0x18, 4), 4);
    assert_int_equal(cfg_in(d, 0x1c, 4), 0xfffffffe);
    assert_int_equal(cfg_in(d, 0x20, 4), 0);

    cfg_out(d, 0x10, 2, 0xc000);
    cfg_out(d, 0x12, 2, 0);
    cfg_out(d, 0x14, 4, 0xfebf0000);
    cfg_out(d, 0x1c, 4, 8);
    assert_int_equal(bus_in(&bus, 0xc003, 1), 0xff);
    cfg_out(d, 4, 2, 3);
    assert_int_equal(bus_in(&bus, 0xc003, 1), 0x13);
    assert_int_equal(bus_read(&bus, 0xfebf0005, 1), 0x25);
    assert_int_equal(bus_read(&bus, 0x800000007, 1), 0x37);
    cfg_out(d, 0x10, 4, 0xd000);
    assert_int_equal(bus_in(&bus, 0xc003, 1), 0xff);
    assert_int_equal(bus_in(&bus, 0xd003, 1), 0x13);
    /* on top of the configuration ports, and in RAM: nowhere */
    cfg_out(d, 0x10, 4, 0xcf0);
    cfg_out(d, 0x14, 4, 0x100000);
    assert_int_equal(cfg_in(d, 0x10, 4), 0xcf1);
    assert_false(io.mapped);
    assert_false(mem.mapped);
    cfg_out(d, 0x14, 4, 0xfebf0000);
    assert_true(mem.mapped);
    cfg_out(d, 4, 1, 1);
    assert_false(mem.mapped);
    /* a loaded state */
    f.s.config[PCI_COMMAND] = 2;
    pci_restore(&pci);
    assert_true(mem.mapped && !io.mapped);
    pci_reset(&pci);
    assert_false(mem.mapped || wide.mapped);
    assert_int_equal(cfg_in(d, 0x14, 4), 0);
    bus_free(&bus);
}

static void test_two_bars_can_swap_and_fill_a_gap(void **state)
{
    static const struct pci_ids ids = {0x1234, 0x5678, 0xff0000, 0, 0, 0, 1};
    static struct pci_func f;
    static struct region a, b;
    a = (struct region){.name = "a", .size = 4096, .ops = &probe_ops, .dev = (void *)0x10};
    b = (struct region){.name = "b", .size = 4096, .ops = &probe_ops, .dev = (void *)0x20};
    start();
    pci_func_init(&f, "probe", &ids);
    pci_func_bar(&f, 0, PCI_BAR_MEM32, &a);
    pci_func_bar(&f, 1, PCI_BAR_MEM32, &b);
    pci_add(&pci, &f, PCI_DEVFN(3, 0));
    pci_config_write(&pci, PCI_DEVFN(3, 0), 0x10, 4, 0xe0000000);
    pci_config_write(&pci, PCI_DEVFN(3, 0), 0x14, 4, 0xe0000000);
    pci_config_write(&pci, PCI_DEVFN(3, 0), 4, 2, 2);
    assert_true(a.mapped && !b.mapped);
    pci_config_write(&pci, PCI_DEVFN(3, 0), 0x10, 4, 0xe0001000);
    assert_true(a.mapped && b.mapped);
    put_le32(f.s.config + 0x10, 0xe0000000);
    put_le32(f.s.config + 0x14, 0xe0001000);
    pci_restore(&pci);
    assert_int_equal(bus_read(&bus, 0xe0000000, 1), 0x10);
    assert_int_equal(bus_read(&bus, 0xe0001000, 1), 0x20);
    bus_free(&bus);
}

static uint16_t pic_lines;

static void on_pic(void *opaque, unsigned n, bool level)
{
    pic_lines = (uint16_t)(level ? pic_lines | 1u << n : pic_lines & ~(1u << n));
}

static void test_intx_is_shared_routed_and_masked(void **state)
{
    static const struct pci_ids ids = {0x1234, 0x5678, 0xff0000, 0, 0, 0, 1};
    static struct pci_func f, g;
    start();
    pic_lines = 0;
    for (unsigned i = 0; i < 16; i++)
        isa.pic[i] = (struct irq){on_pic, NULL, i};
    pci_func_init(&f, "f", &ids);
    pci_func_init(&g, "g", &ids);
    pci_add(&pci, &f, PCI_DEVFN(3, 0)); /* PIRQC */
    pci_add(&pci, &g, PCI_DEVFN(7, 0)); /* PIRQC as well */
    pci_set_intx(&f, true);
    assert_int_equal(pci.pirq_level, 4);
    assert_int_equal(pic_lines, 0);
    cfg_out(PCI_DEVFN(1, 0), 0x62, 1, 11);
    assert_int_equal(pic_lines, 1 << 11);
    pci_set_intx(&g, true);
    pci_set_intx(&f, false);
    assert_int_equal(pic_lines, 1 << 11);
    assert_int_equal(cfg_in(PCI_DEVFN(7, 0), 6, 2) & 8, 8);
    cfg_out(PCI_DEVFN(1, 0), 0x62, 1, 10);
    assert_int_equal(pic_lines, 1 << 10);
    cfg_out(PCI_DEVFN(7, 0), 4, 2, PCI_COMMAND_NO_INTX);
    assert_int_equal(pic_lines, 0);
    cfg_out(PCI_DEVFN(7, 0), 4, 2, 0);
    assert_int_equal(pic_lines, 1 << 10);
    cfg_out(PCI_DEVFN(1, 0), 0x62, 1, 8); /* the clock's: not routable */
    assert_int_equal(pic_lines, 0);
    bus_free(&bus);
}

static void test_pam_shadows_the_bios(void **state)
{
    start();
    memset(rom, 0xea, sizeof rom);
    assert_int_equal(bus_read(&bus, 0xffff0, 1), 0xea);
    assert_int_equal(bus_read(&bus, 0xc0000, 1), 0xff);
    bus_write(&bus, 0xf0000, 4, 0x12345678);
    assert_int_equal(bus_read(&bus, 0xf0000, 4), 0xeaeaeaea);
    /* write-only: the copy on top of itself */
    cfg_out(0, 0x59, 1, 0x20);
    bus_write(&bus, 0xf0000, 4, 0x12345678);
    assert_int_equal(bus_read(&bus, 0xf0000, 4), 0xeaeaeaea);
    cfg_out(0, 0x59, 1, 0x30);
    assert_int_equal(bus_read(&bus, 0xf0000, 4), 0x12345678);
    bus_write(&bus, 0xf0000, 1, 0x9a);
    cfg_out(0, 0x59, 1, 0x10);
    bus_write(&bus, 0xf0000, 1, 0xbb);
    assert_int_equal(bus_read(&bus, 0xf0000, 4), 0x1234569a);
    cfg_out(0, 0x5a, 4, 0x33333333);
    bus_write(&bus, 0xc4000, 1, 0x77);
    assert_int_equal(bus_read(&bus, 0xc4000, 1), 0x77);
    assert_int_equal(bus_read(&bus, 0xe0000, 1), 0xea);
    pci_reset(&pci);
    i440fx_restore(&host);
    assert_int_equal(bus_read(&bus, 0xf0000, 1), 0xea);
    bus_free(&bus);
}

static void test_reset_control_is_port_cf9(void **state)
{
    start();
    bus_out(&bus, 0xcf9, 1, 2);
    assert_int_equal(resets, 0);
    assert_int_equal(bus_in(&bus, 0xcf9, 1), 2);
    bus_out(&bus, 0xcf9, 1, 6);
    assert_int_equal(resets, 1);
    bus_free(&bus);
}

static void test_pm_function_places_its_ports(void **state)
{
    static struct region acpi;
    acpi = (struct region){.name = "acpi", .size = 64, .ops = &probe_ops, .dev = (void *)0x40};
    start();
    pm.acpi = &acpi;
    unsigned d = PCI_DEVFN(1, 3);
    cfg_out(d, 0x40, 4, 0x601);
    assert_false(acpi.mapped);
    cfg_out(d, 0x80, 1, 1);
    assert_int_equal(bus_in(&bus, 0x608, 1), 0x48);
    cfg_out(d, 0x90, 4, 0x701);
    cfg_out(d, 0xd2, 1, 9);
    bus_out(&bus, 0x702, 1, 0x48);
    assert_int_equal(bus_in(&bus, 0x700, 1), 4);
    bus_out(&bus, 0x700, 1, 4);
    assert_int_equal(bus_in(&bus, 0x700, 1), 0);
    pci_reset(&pci);
    piix4_pm_reset(&pm);
    assert_false(acpi.mapped || pm.smbus.mapped);
    bus_free(&bus);
}

static void test_capabilities_are_chained(void **state)
{
    static const struct pci_ids ids = {0x1234, 0x5678, 0xff0000, 0, 0, 0, 1};
    static struct pci_func f;
    start();
    pci_func_init(&f, "f", &ids);
    unsigned a = pci_func_cap(&f, 9, 16), b = pci_func_cap(&f, 0x11, 12);
    pci_add(&pci, &f, PCI_DEVFN(3, 0));
    assert_int_equal(cfg_in(PCI_DEVFN(3, 0), 6, 2) & 0x10, 0x10);
    assert_int_equal(cfg_in(PCI_DEVFN(3, 0), 0x34, 1), b);
    assert_int_equal(cfg_in(PCI_DEVFN(3, 0), b, 2), 0x11 | a << 8);
    assert_int_equal(cfg_in(PCI_DEVFN(3, 0), a, 2), 9);
    bus_free(&bus);
}

static void test_machine_without_firmware_is_set_up(void **state)
{
    static const struct pci_ids ids = {0x1234, 0x5678, 0xff0000, 0, 0, 0, 2};
    static const uint8_t irq[4] = {10, 10, 11, 11};
    static struct pci_func f;
    static struct region io, small, large, acpi;
    io = (struct region){.name = "io", .size = 32, .ops = &probe_ops, .dev = (void *)0x10};
    small = (struct region){.name = "small", .size = 4096, .ops = &probe_ops, .dev = (void *)0x20};
    large =
        (struct region){.name = "large", .size = 1 << 24, .ops = &probe_ops, .dev = (void *)0x30};
    acpi = (struct region){.name = "acpi", .size = 64, .ops = &probe_ops, .dev = (void *)0x40};
    start();
    pm.acpi = &acpi;
    pci_func_init(&f, "f", &ids);
    pci_func_bar(&f, 0, PCI_BAR_MEM32, &small);
    pci_func_bar(&f, 1, PCI_BAR_IO, &io);
    pci_func_bar(&f, 4, PCI_BAR_MEM64, &large);
    pci_add(&pci, &f, PCI_DEVFN(4, 0));
    pci_assign(&pci, 0xc000, 0xe0000000, 0xe1001000, irq);
    assert_true(io.mapped && io.base == 0xc000);
    assert_true(large.mapped && large.base == 0xe0000000);
    assert_true(small.mapped && small.base == 0xe1000000);
    assert_int_equal(cfg_in(PCI_DEVFN(4, 0), 0x3c, 2), 0x020a); /* pin B: PIRQA */
    piix3_route(&isa, irq);
    assert_int_equal(cfg_in(PCI_DEVFN(1, 0), 0x60, 4), 0x0b0b0a0a);
    piix4_pm_enable(&pm, 0x600, 0x700);
    assert_true(acpi.mapped && acpi.base == 0x600 && pm.smbus.mapped);
    bus_free(&bus);
}

struct level {
    bool now;
    unsigned rises;
};

static void set_level(void *opaque, unsigned n, bool level)
{
    struct level *l = opaque;
    l->rises += level && !l->now;
    l->now = level;
}

/* The PC's way to an x87 error: interrupt 13 until port 0xf0 is written, once for each error. */
static void test_coprocessor_error(void **state)
{
    struct level irq13 = {0};
    start();
    isa.irq13 = (struct irq){set_level, &irq13, 0};
    assert_true(bus_add(&bus, BUS_PORT, 0xf0, &isa.coprocessor, NULL));
    bus_out(&bus, 0xf0, 1, 0);
    assert_int_equal(isa.s.ferr, 0); /* no IGNNE# without FERR# */
    piix3_ferr(&isa, true);
    piix3_ferr(&isa, true);
    assert_true(irq13.now && irq13.rises == 1);
    bus_out(&bus, 0xf1, 1, 0);
    assert_true(irq13.now);
    bus_out(&bus, 0xf0, 1, 0);
    assert_false(irq13.now);
    assert_int_equal(isa.s.ferr, PIIX3_FERR | PIIX3_IGNNE);
    piix3_ferr(&isa, true); /* the handler's own x87 instructions meet the same error */
    assert_false(irq13.now);
    piix3_ferr(&isa, false);
    assert_int_equal(isa.s.ferr, 0);
    piix3_ferr(&isa, true);
    piix3_ferr(&isa, false);
    assert_true(irq13.now && irq13.rises == 2); /* it is latched */
    piix3_reset(&isa);
    assert_false(irq13.now);
    bus_free(&bus);
}

static void test_state_is_named(void **state)
{
    assert_true(state_check(&pci_func_table, NULL));
    assert_true(state_check(&pci_bus_table, NULL));
    assert_true(state_check(&piix3_table, NULL));
    assert_true(state_check(&piix4_pm_table, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mechanism_1_is_found),
        cmocka_unit_test(test_bars_are_sized_moved_and_disabled),
        cmocka_unit_test(test_two_bars_can_swap_and_fill_a_gap),
        cmocka_unit_test(test_intx_is_shared_routed_and_masked),
        cmocka_unit_test(test_pam_shadows_the_bios),
        cmocka_unit_test(test_reset_control_is_port_cf9),
        cmocka_unit_test(test_pm_function_places_its_ports),
        cmocka_unit_test(test_capabilities_are_chained),
        cmocka_unit_test(test_machine_without_firmware_is_set_up),
        cmocka_unit_test(test_coprocessor_error),
        cmocka_unit_test(test_state_is_named),
    };
    return RUN(tests);
}
