/* The DSDT: what of the board can't be found by asking it. In ASL it would read
 *
 *   Scope (\_SB) {
 *     Device (CPnn) { _HID "ACPI0007", _UID nn }                       one a CPU
 *     Device (PCI0) { _HID PNP0A03, _CRS windows, _PRT
 *       Device (ISA_) { _ADR 1.0, PIRQ routing registers; RTC, PIT, keyboard, mouse, COM ports … }
 * } Device (LNKA..D) { interrupt links over the routing registers } Device (HPET) …
 *   }
 *   \_S0, \_S5, \_PIC
 *
 * In PIC mode a PCI interrupt goes through a link to one of IRQ 5, 10, 11; in APIC mode (the system
 * says so by _PIC(1)) straight to its own input of the I/O APIC, where the board has that. */
#include "boot/acpi.h"
#include "boot/aml.h"

static const char *const link_name[4] = {"LNKA", "LNKB", "LNKC", "LNKD"};
static const char *const route_name[4] = {"PRQA", "PRQB", "PRQC", "PRQD"};
static const char *const route_path[4] = {"\\_SB_.PCI0.ISA_.PRQA", "\\_SB_.PCI0.ISA_.PRQB",
                                          "\\_SB_.PCI0.ISA_.PRQC", "\\_SB_.PCI0.ISA_.PRQD"};

static void sleep_state(struct aml *a, const char *name, uint8_t slp_typ)
{
    aml_name(a, name);
    aml_mark m = aml_package(a, 4);
    aml_int(a, slp_typ);
    aml_int(a, slp_typ);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_close(a, m);
}

static void processors(struct aml *a, unsigned n)
{
    static const char digit[] = "0123456789ABCDEF";
    for (unsigned i = 0; i < n; i++) {
        char name[5] = {'C', 'P', digit[i >> 4], digit[i & 15], 0};
        aml_mark m = aml_device(a, name);
        aml_name(a, "_HID");
        aml_string(a, "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_close(a, m);
    }
}

/* The routing of 32 slots with four pins each: to links, or to inputs of the I/O APIC. */
static void routing(struct aml *a, const struct boot_config *cfg, const char *name, bool apic)
{
    aml_name(a, name);
    aml_mark table = aml_package(a, 128);
    for (unsigned i = 0; i < 128; i++) {
        unsigned slot = i / 4, pin = i % 4, pirq = boot_pirq(slot, pin);
        aml_mark m = aml_package(a, 4);
        aml_int(a, slot << 16 | 0xffff);
        aml_int(a, pin);
        if (apic)
            aml_int(a, 0);
        else
            aml_path(a, link_name[pirq]);
        aml_int(a, apic ? cfg->pirq_gsi[pirq] : 0);
        aml_close(a, m);
    }
    aml_close(a, table);
}

static void prt(struct aml *a, const struct boot_config *cfg)
{
    bool apic = cfg->pirq_gsi[0];
    routing(a, cfg, "PRTP", false);
    if (apic)
        routing(a, cfg, "PRTA", true);
    aml_mark m = aml_method(a, "_PRT", 0);
    if (apic) {
        aml_mark branch = aml_if(a);
        aml_path(a, "\\PICF");
        aml_return(a);
        aml_path(a, "PRTA");
        aml_close(a, branch);
    }
    aml_return(a);
    aml_path(a, "PRTP");
    aml_close(a, m);
}

static void pci_windows(struct aml *a, const struct boot_config *cfg)
{
    aml_name(a, "_CRS");
    aml_mark m = aml_resources(a);
    aml_res_bus(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0, 0xcf7);
    aml_res_io_window(a, 0xd00, 0xffff);
    aml_res_memory_window(a, 0xa0000, 0xbffff, true);
    if (cfg->pci_start < cfg->pci_end)
        aml_res_memory_window(a, cfg->pci_start, cfg->pci_end - 1, false);
    if (cfg->pci64_start < cfg->pci64_end)
        aml_res_memory_window(a, cfg->pci64_start, cfg->pci64_end - 1, true);
    aml_resources_end(a, m);
}

/* A device of the ISA bus: ports, `n` of them with a length each, and an interrupt or -1. */
struct isa_device {
    const char *name, *id;
    struct {
        uint16_t base;
        uint8_t len;
    } port[2];
    int irq;
};

static void isa_device(struct aml *a, const struct isa_device *d, unsigned uid)
{
    aml_mark m = aml_device(a, d->name);
    aml_name_eisa(a, "_HID", d->id);
    if (uid)
        aml_name_int(a, "_UID", uid);
    aml_name(a, "_CRS");
    aml_mark r = aml_resources(a);
    for (unsigned i = 0; i < 2; i++)
        if (d->port[i].len)
            aml_res_io(a, d->port[i].base, d->port[i].len);
    if (d->irq >= 0)
        aml_res_irq(a, (unsigned)d->irq);
    aml_resources_end(a, r);
    aml_close(a, m);
}

static void isa_bus(struct aml *a, const struct boot_config *cfg)
{
    static const struct isa_device fixed[] = {
        {"RTC_", "PNP0B00", {{0x70, 2}}, 8},
        {"TIMR", "PNP0100", {{0x40, 4}}, 0},
        {"SPKR", "PNP0800", {{0x61, 1}}, -1},
        {"FPU_", "PNP0C04", {{0xf0, 1}}, 13},
    };
    static const struct isa_device keyboard = {"KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, 1};
    static const struct isa_device mouse = {"MOU_", "PNP0F13", {{0, 0}}, 12};
    static const char *const com[4] = {"COM1", "COM2", "COM3", "COM4"};
    aml_mark m = aml_device(a, "ISA_");
    aml_name_int(a, "_ADR", 1 << 16);
    aml_pci_bytes(a, "PRQR", 0x60, route_name, 4);
    for (unsigned i = 0; i < ARRAY_LEN(fixed); i++)
        isa_device(a, &fixed[i], 0);
    if (cfg->i8042) {
        isa_device(a, &keyboard, 0);
        isa_device(a, &mouse, 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        struct isa_device d = {com[i], "PNP0501", {{cfg->com_port[i], 8}}, cfg->com_irq[i]};
        if (cfg->com_port[i])
            isa_device(a, &d, i + 1);
    }
    /* ports that belong to no device above, and to no PCI device */
    static const struct isa_device board[] = {
        {"MBR1", "PNP0C02", {{0x4d0, 2}, {0x510, 12}}, -1},
        {"MBR2", "PNP0C02", {{0x80, 1}, {0x92, 1}}, -1},
    };
    struct isa_device smi = {"MBR4", "PNP0C02", {{cfg->smi_command, 2}}, -1};
    struct isa_device pm = {"MBR3", "PNP0C02", {{cfg->pm_base, 64}}, -1};
    isa_device(a, &board[0], 1);
    isa_device(a, &board[1], 2);
    if (cfg->pm_base)
        isa_device(a, &pm, 3);
    if (cfg->smi_command)
        isa_device(a, &smi, 4);
    aml_close(a, m);
}

/* _CRS of a link: the number in its routing register, or 0 while bit 7 says "off". */
static void link_crs(struct aml *a, const char *route)
{
    static const uint32_t none = 0;
    static const uint8_t make_field[] = {0x8a, 0x60, 0x0a, 5}; /* CreateDWordField(Local0, 5, …) */
    aml_mark m = aml_method(a, "_CRS", AML_SERIALIZED);
    aml_store(a);
    aml_mark r = aml_resources(a);
    aml_res_interrupt(a, &none, 1);
    aml_resources_end(a, r);
    aml_local(a, 0);
    aml_bytes(a, make_field, sizeof make_field);
    aml_path(a, "IRQN");
    aml_store(a);
    aml_byte(a, 0x7b); /* And(route, 15, IRQN): And has its own target; Store copies it on */
    aml_path(a, route);
    aml_int(a, 15);
    aml_byte(a, 0);
    aml_path(a, "IRQN");
    aml_return(a);
    aml_local(a, 0);
    aml_close(a, m);
}

static void link_methods(struct aml *a, const char *route)
{
    static const uint8_t make_field[] = {0x8a, 0x68, 0x0a, 5}; /* CreateDWordField(Arg0, 5, …) */
    aml_mark m = aml_method(a, "_STA", 0);
    aml_mark off = aml_if(a);
    aml_byte(a, 0x7b); /* And */
    aml_path(a, route);
    aml_int(a, 0x80);
    aml_byte(a, 0);
    aml_return(a);
    aml_int(a, 9); /* present, working, disabled */
    aml_close(a, off);
    aml_return(a);
    aml_int(a, 0xb);
    aml_close(a, m);

    m = aml_method(a, "_DIS", 0);
    aml_byte(a, 0x7d); /* Or */
    aml_path(a, route);
    aml_int(a, 0x80);
    aml_path(a, route);
    aml_close(a, m);

    m = aml_method(a, "_SRS", 1 | AML_SERIALIZED);
    aml_bytes(a, make_field, sizeof make_field);
    aml_path(a, "IRQN");
    aml_store(a);
    aml_path(a, "IRQN");
    aml_path(a, route);
    aml_close(a, m);
}

static void pci_links(struct aml *a)
{
    static const uint32_t possible[] = {5, 10, 11};
    for (unsigned i = 0; i < 4; i++) {
        aml_mark m = aml_device(a, link_name[i]);
        aml_name_eisa(a, "_HID", "PNP0C0F");
        aml_name_int(a, "_UID", i + 1);
        aml_name(a, "_PRS");
        aml_mark r = aml_resources(a);
        aml_res_interrupt(a, possible, ARRAY_LEN(possible));
        aml_resources_end(a, r);
        link_crs(a, route_path[i]);
        link_methods(a, route_path[i]);
        aml_close(a, m);
    }
}

static void hpet(struct aml *a, uint32_t base)
{
    aml_mark m = aml_device(a, "HPET");
    aml_name_eisa(a, "_HID", "PNP0103");
    aml_name_int(a, "_UID", 0);
    aml_name(a, "_CRS");
    aml_mark r = aml_resources(a);
    aml_res_memory(a, base, 0x400, false);
    aml_resources_end(a, r);
    aml_close(a, m);
}

uint32_t dsdt_build(const struct boot_config *cfg, uint8_t *to, uint32_t cap)
{
    struct aml aml = {to, 0, cap}, *a = &aml;
    sleep_state(a, "\\_S0_", 5);
    sleep_state(a, "\\_S5_", 0);
    aml_name_int(a, "\\PICF", 0);
    aml_mark pic = aml_method(a, "\\_PIC", 1);
    aml_store(a);
    aml_arg(a, 0);
    aml_path(a, "\\PICF");
    aml_close(a, pic);

    aml_mark sb = aml_scope(a, "\\_SB_");
    processors(a, cfg->cpus);
    aml_mark pci = aml_device(a, "PCI0");
    aml_name_eisa(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    pci_windows(a, cfg);
    prt(a, cfg);
    isa_bus(a, cfg);
    aml_close(a, pci);
    pci_links(a);
    if (cfg->hpet_base)
        hpet(a, cfg->hpet_base);
    aml_close(a, sb);
    return a->len;
}
