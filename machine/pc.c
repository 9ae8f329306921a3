/* The board. Reading order: struct pc has every chip; place() puts each where it belongs; the wires
 * carry interrupts; pc_reset(), pc_load() start a guest.
 *
 * Interrupts. A chip's line n goes to the 8259 pair's input n and the I/O APIC's pin n (the timer,
 * line 0, to pin 2: both are usual on a PC). PIRQA to PIRQD go to I/O APIC pins 16 to 19 and,
 * through the south bridge's routing, to an input of the 8259 pair. An input that several share is
 * up while any of them drives it. The 8259 pair's output is LINT0 of the local APICs. */
#include "machine/pc.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/tlb.h"
#include "machine/board.h"

/* --- wires ------------------------------------------------------------------------------------ */

/* The bits of input_sources: who drives an input. What the south bridge routes reaches the I/O APIC
 * by other pins. */
enum { FIRST = 1, ROUTED = 2, SECOND = 4 };

static void wire_set(void *opaque, unsigned n, bool level)
{
    struct wire *w = opaque;
    struct pc *p = w->pc;
    uint8_t *sources = &p->input_sources[w->input], bit = (uint8_t)(1u << w->share);
    *sources = level ? *sources | bit : *sources & (uint8_t)~bit;
    chips_pic(&p->chips, w->input, *sources != 0);
    if (w->pin != NO_PIN)
        chips_ioapic(&p->chips, w->pin, (*sources & ~ROUTED) != 0);
}

static void pirq_set(void *opaque, unsigned n, bool level)
{
    struct pc *p = opaque;
    piix3_pirq(&p->isa_bridge, n, level);
    chips_ioapic(&p->chips, PIRQ_PIN + n, level);
}

static void pin_set(void *opaque, unsigned pin, bool level)
{
    chips_ioapic(&((struct pc *)opaque)->chips, pin, level);
}

/* What is no interrupt is a write to memory like any other. */
static void message(void *opaque, uint64_t addr, uint32_t data)
{
    struct pc *p = opaque;
    uint8_t bytes[4];
    put_le32(bytes, data);
    if (addr >> 20 == 0xfee)
        chips_message(&p->chips, addr, data);
    else
        bus_dma_write(&p->bus, addr, bytes, sizeof bytes);
}

/* The interval timer's output is cut off while the HPET stands in for it. */
static void pit_set(void *opaque, unsigned n, bool level)
{
    struct pc *p = opaque;
    p->pit_level = level;
    if (!p->hpet_legacy)
        wire_set(&p->line[0], 0, level);
}

static void legacy_set(void *opaque, unsigned n, bool level)
{
    struct pc *p = opaque;
    p->hpet_legacy = p->chips.pit_off = level;
    wire_set(&p->line[0], 0, level ? false : p->pit_level);
}

static void wire_up(struct pc *p)
{
    for (unsigned i = 0; i < IRQS; i++) {
        p->line[i] = (struct wire){p, (uint8_t)i, i == 0 ? 2 : (uint8_t)i, 0};
        p->routed[i] = (struct wire){p, (uint8_t)i, NO_PIN, 1};
        p->second[i] = (struct wire){p, (uint8_t)i, (uint8_t)i, 2};
    }
    p->line[2].pin = NO_PIN; /* the cascade */
}

static struct irq line(struct pc *p, unsigned n)
{
    return (struct irq){wire_set, &p->line[n], n};
}

/* The same input for a second chip. */
static struct irq second_line(struct pc *p, unsigned n)
{
    return (struct irq){wire_set, &p->second[n], n};
}

/* --- what the guest asks of the board --------------------------------------------------------- */

static void raise_event(struct pc *p, enum pc_event event)
{
    if (p->event == PC_NOTHING)
        p->event = event;
    p->attention(p->opaque);
}

static void on_reset(void *opaque)
{
    raise_event(opaque, PC_RESET);
}

static void on_reset_line(void *opaque, unsigned n, bool level)
{
    if (level)
        raise_event(opaque, PC_RESET);
}

static void on_power_off(void *opaque)
{
    raise_event(opaque, PC_POWER_OFF);
}

static void on_debug_exit(void *opaque, unsigned code)
{
    struct pc *p = opaque;
    p->exit_code = (code * 2 + 1) & 0xff; /* as QEMU: never 0 */
    raise_event(p, PC_DEBUG_EXIT);
}

/* A CPU that runs on another thread has its state for itself: the request says it all. */

static void on_nmi(void *cpu)
{
    struct cpu *c = cpu;
    if (!c->share)
        c->s.nmi_pending = 1;
    cpu_request(c, REQ_NMI);
}

static void on_a20(void *opaque, unsigned n, bool open)
{
    bus_set_a20(&((struct pc *)opaque)->bus, open);
}

enum pc_event pc_take_event(struct pc *p)
{
    enum pc_event event = p->event;
    p->event = PC_NOTHING;
    return event;
}

unsigned pc_exit_code(const struct pc *p)
{
    return p->exit_code;
}

void pc_ask_reset(struct pc *p)
{
    raise_event(p, PC_RESET);
}

void pc_power_button(struct pc *p)
{
    acpi_pm_button(&p->pm);
}

bool pc_nmi(struct pc *p)
{
    if (p->rtc.s.nmi_masked)
        return false;
    on_nmi(p->cpu[0]);
    return true;
}

static void press(struct pc *p, const struct key_event *events, size_t n)
{
    for (size_t i = 0; i < n; i++)
        i8042_key(&p->kbd, events[i].key, events[i].down);
}

size_t pc_type(struct pc *p, const uint8_t *bytes, size_t n)
{
    struct key_event events[KEYMAP_EVENTS];
    size_t taken = 0, k;
    while (taken < n && i8042_key_room(&p->kbd) >= KEYMAP_EVENTS) {
        k = keymap_feed(&p->keymap, bytes[taken++], events);
        press(p, events, k);
    }
    /* A key's sequence comes in one piece: an ESC at the end of it is the Escape key. */
    if (taken == n && i8042_key_room(&p->kbd) >= KEYMAP_EVENTS)
        press(p, events, keymap_flush(&p->keymap, events));
    return taken;
}

/* --- APICs ------------------------------------------------------------------------------------ */

static void on_intr(void *cpu, bool level)
{
    cpu_intr(cpu, level);
}

static void on_init(void *cpu)
{
    struct cpu *c = cpu;
    if (!c->share)
        c->s.init_pending = 1;
    cpu_request(c, REQ_INIT);
}

static void on_sipi(void *cpu, uint8_t vector)
{
    struct cpu *c = cpu;
    if (!c->share)
        c->s.sipi_pending = 1;
    __atomic_store_n(&c->s.sipi_vector, vector, __ATOMIC_RELAXED);
    cpu_request(c, REQ_SIPI);
}

static uint64_t on_tsc(void *cpu)
{
    return cpu_tsc(cpu);
}

/* INTA reaches the 8259 pair whichever CPU takes an ExtINT. */
static int on_ext_ack(void *cpu)
{
    return i8259_ack(&((struct pc *)((struct cpu *)cpu)->ferr_opaque)->pic);
}

static void on_pic(void *opaque, unsigned n, bool level)
{
    struct pc *p = opaque;
    for (unsigned i = 0; i < p->cpu_count; i++)
        lapic_lint(&p->lapic[i], 0, level);
}

static void on_ferr(void *opaque, bool level)
{
    piix3_ferr(&((struct pc *)opaque)->isa_bridge, level);
}

void pc_attach(struct pc *p, struct cpu *c)
{
    const struct lapic_cpu cpu = {.intr = on_intr,
                                  .nmi = on_nmi,
                                  .init = on_init,
                                  .sipi = on_sipi,
                                  .tsc = on_tsc,
                                  .tsc_hz = c->tsc_hz,
                                  .ext_ack = on_ext_ack,
                                  .cpu = c};
    CHECK(c->index == p->cpu_count);
    p->cpu[p->cpu_count++] = c;
    lapic_init(&p->lapic[c->index], c->index, &p->apic_bus, p->clock, p->log, &cpu);
    c->apic = (struct cpu_apic){
        .ack = lapic_ack,
        .pending = lapic_pending,
        .mmio_read = lapic_mmio_read,
        .mmio_write = lapic_mmio_write,
        .mmio_peek = lapic_mmio_peek,
        .base = lapic_base,
        .set_base = lapic_set_base,
        .msr_read = lapic_msr_read,
        .msr_write = lapic_msr_write,
        .tsc_changed = lapic_tsc_changed,
        .tpr = lapic_tpr,
        .set_tpr = lapic_set_tpr,
        .apic = &p->lapic[c->index],
    };
    c->ferr = on_ferr;
    c->ferr_opaque = p;
}

/* --- building --------------------------------------------------------------------------------- */

static const uint16_t uart_port[MACHINE_SERIALS] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
static const uint8_t uart_irq[MACHINE_SERIALS] = {4, 3, 4, 3};
static const char *const uart_name[MACHINE_SERIALS] = {"com1", "com2", "com3", "com4"};

static void add_state(struct pc *p, const char *name, const struct state_table *t, void *data)
{
    CHECK(p->state_count < PC_STATES);
    p->state[p->state_count++] = (struct state_ref){name, t, data};
}

/* In legacy replacement mode the HPET's first two timers take the places of the interval timer and
 * the real-time clock (HPET 1.0a, 2.3.3). */
static void init_hpet(struct pc *p)
{
    struct hpet_wires w = {.routes = 0xf00000}; /* pins 20 to 23, which nobody else has */
    for (unsigned i = 0; i < HPET_PINS && i < PINS; i++)
        w.pin[i] = (struct irq){pin_set, p, i};
    w.legacy[0] = line(p, 0);
    w.legacy[1] = second_line(p, 8);
    w.legacy_on = (struct irq){legacy_set, p, 0};
    hpet_init(&p->hpet, p->clock, p->log, &w);
}

static void init_chips(struct pc *p)
{
    const struct machine_config *cfg = p->cfg;
    const struct log *log = p->log;
    struct clock *clock = p->clock;
    const struct irq ide_irq[2] = {line(p, 14), line(p, 15)};

    p->chips = (struct irq_chips){.pic = &p->pic,
                                  .ioapic = &p->ioapic,
                                  .pit = &p->pit,
                                  .apics = &p->apic_bus,
                                  .wish = cfg->irqchip};
    i8259_init(&p->pic, log, (struct irq){on_pic, p, 0});
    ioapic_init(&p->ioapic, p->boot.ioapic_id, &p->apic_bus, log);
    i8254_init(&p->pit, clock, log, (struct irq){pit_set, p, 0});
    init_hpet(p);
    mc146818_init(&p->rtc, clock, log, line(p, 8), cfg->start_time);
    i8042_init(&p->kbd, log, line(p, 1), line(p, 12), (struct irq){on_a20, p, 0},
               (struct irq){on_reset_line, p, 0});
    for (unsigned i = 0; i < MACHINE_SERIALS; i++)
        ns16550_init(&p->uart[i], uart_name[i], clock, log,
                     (i < 2 ? line : second_line)(p, uart_irq[i]), cfg->serial[i]);
    acpi_pm_init(&p->pm, clock, log, line(p, 9), on_power_off, p);
    debug_ports_init(&p->debug, cfg->debugcon, on_debug_exit, p);
    fw_cfg_init(&p->fw_cfg, &p->bus, log);

    pci_init(&p->pci, &p->bus, log);
    for (unsigned i = 0; i < 4; i++)
        p->pci.pirq[i] = (struct irq){pirq_set, p, i};
    p->pci.msi = message;
    p->pci.msi_opaque = p;
    i440fx_init(&p->host_bridge, &p->pci, p->firmware.shadow, log);
    piix3_init(&p->isa_bridge, &p->pci, on_reset, p, log);
    for (unsigned i = 0; i < IRQS; i++)
        p->isa_bridge.pic[i] = (struct irq){wire_set, &p->routed[i], i};
    p->isa_bridge.irq13 = line(p, 13);
    ide_init(&p->ide, &p->pci, clock, ide_irq, log);
    piix4_pm_init(&p->power, &p->pci, &p->pm.io, log);
    vga_init(&p->vga, &p->pci, PCI_DEVFN(2, 0), clock, log);
    if (cfg->vga_bios)
        vga_set_rom(&p->vga, cfg->vga_bios, (uint32_t)cfg->vga_bios_size);
    for (unsigned i = 0; i < MACHINE_DISKS; i++) {
        if (cfg->disk[i].dev)
            ide_attach(&p->ide, i / 2, i % 2, cfg->disk[i].cdrom ? IDE_CDROM : IDE_DISK,
                       cfg->disk[i].dev);
    }
}

static const char *const virtio_name[MACHINE_VIRTIO] = {"virtio0", "virtio1", "virtio2", "virtio3",
                                                        "virtio4", "virtio5", "virtio6", "virtio7"};

static void init_virtio(struct pc *p)
{
    for (unsigned i = 0; i < MACHINE_VIRTIO; i++) {
        if (!p->cfg->virtio_disk[i])
            continue;
        p->virtio_disk[i] = xcalloc(1, sizeof *p->virtio_disk[i]);
        virtio_blk_init(p->virtio_disk[i], virtio_name[i], p->cfg->virtio_disk[i], &p->pci,
                        PCI_DEVFN(VIRTIO_DEV + i, 0), p->clock, p->log);
    }
}

/* What lies where, beside the PCI BARs. */
static bool place(struct pc *p, struct err *e)
{
    const struct {
        enum bus_space space;
        uint64_t base;
        struct region *region;
    } map[] = {
        {BUS_PORT, 0x20, &p->pic.io[0]},
        {BUS_PORT, 0xa0, &p->pic.io[1]},
        {BUS_PORT, 0x4d0, &p->pic.elcr},
        {BUS_PORT, 0x40, &p->pit.io},
        {BUS_PORT, 0x61, &p->pit.port61},
        {BUS_PORT, 0x60, &p->kbd.data},
        {BUS_PORT, 0x64, &p->kbd.command},
        {BUS_PORT, 0x92, &p->kbd.port92},
        {BUS_PORT, 0x70, &p->rtc.io},
        {BUS_PORT, 0x80, &p->debug.post},
        {BUS_PORT, 0xe9, &p->debug.e9},
        {BUS_PORT, 0xf0, &p->isa_bridge.coprocessor},
        {BUS_PORT, 0x402, &p->debug.bios},
        {BUS_PORT, 0xb2, &p->pm.smi},
        {BUS_PORT, 0xcf8, &p->pci.ports},
        {BUS_PORT, 0x3b0, &p->vga.ports},
        {BUS_PORT, 0x1ce, &p->vga.vbe_ports},
        {BUS_MEM, 0xa0000, &p->vga.window},
        {BUS_PORT, 0x1f0, &p->ide.ch[0].command},
        {BUS_PORT, 0x3f6, &p->ide.ch[0].control},
        {BUS_PORT, 0x170, &p->ide.ch[1].command},
        {BUS_PORT, 0x376, &p->ide.ch[1].control},
        {BUS_PORT, FW_CFG_PORT, &p->fw_cfg.io},
        {BUS_PORT, FW_CFG_DMA_PORT, &p->fw_cfg.dma},
        {BUS_MEM, p->boot.ioapic_base, &p->ioapic.mmio},
        {BUS_MEM, p->boot.hpet_base, &p->hpet.mmio},
    };
    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        if (!bus_add(&p->bus, map[i].space, map[i].base, map[i].region, e))
            return false;
    }
    for (unsigned i = 0; i < MACHINE_SERIALS; i++) {
        if (!bus_add(&p->bus, BUS_PORT, uart_port[i], &p->uart[i].io, e))
            return false;
    }
    if (p->cfg->debug_exit_port &&
        !bus_add(&p->bus, BUS_PORT, p->cfg->debug_exit_port, &p->debug.exit, e))
        return err_prefix(e, "--debug-exit");
    return !p->firmware.rom ||
           bus_add(&p->bus, BUS_MEM, p->firmware.high_base, &p->firmware.high, e);
}

static void list_states(struct pc *p)
{
    static const char *const lapic_name[CPU_MAX] = {
        "lapic0",  "lapic1",  "lapic2",  "lapic3",  "lapic4",  "lapic5",  "lapic6",  "lapic7",
        "lapic8",  "lapic9",  "lapic10", "lapic11", "lapic12", "lapic13", "lapic14", "lapic15",
        "lapic16", "lapic17", "lapic18", "lapic19", "lapic20", "lapic21", "lapic22", "lapic23",
        "lapic24", "lapic25", "lapic26", "lapic27", "lapic28", "lapic29", "lapic30", "lapic31"};
    add_state(p, "pic", &i8259_table, &p->pic.s);
    add_state(p, "ioapic", &ioapic_table, &p->ioapic.s);
    for (unsigned i = 0; i < p->cfg->cpus; i++)
        add_state(p, lapic_name[i], &lapic_table, &p->lapic[i].s);
    add_state(p, "pit", &i8254_table, &p->pit.s);
    add_state(p, "hpet", &hpet_table, &p->hpet.s);
    add_state(p, "rtc", &mc146818_table, &p->rtc.s);
    add_state(p, "kbd", &i8042_table, &p->kbd.s);
    for (unsigned i = 0; i < MACHINE_SERIALS; i++)
        add_state(p, uart_name[i], &ns16550_table, &p->uart[i].s);
    add_state(p, "pm", &acpi_pm_table, &p->pm.s);
    add_state(p, "debug", &debug_ports_table, &p->debug.s);
    add_state(p, "fw_cfg", &fw_cfg_table, &p->fw_cfg.s);
    add_state(p, "pci", &pci_bus_table, &p->pci.s);
    add_state(p, "host_bridge.pci", &pci_func_table, &p->host_bridge.pci.s);
    add_state(p, "isa_bridge", &piix3_table, &p->isa_bridge.s);
    add_state(p, "isa_bridge.pci", &pci_func_table, &p->isa_bridge.pci.s);
    add_state(p, "power", &piix4_pm_table, &p->power.s);
    add_state(p, "power.pci", &pci_func_table, &p->power.pci.s);
    add_state(p, "ide", &ide_table, &p->ide.s);
    add_state(p, "ide.pci", &pci_func_table, &p->ide.pci.s);
    add_state(p, "vga", &vga_table, &p->vga.s);
    add_state(p, "vga.pci", &pci_func_table, &p->vga.pci.s);
    add_state(p, "vga.memory", &vga_vram_table, p->vga.vram);
    for (unsigned i = 0; i < MACHINE_VIRTIO; i++) {
        static const char *const msix[MACHINE_VIRTIO] = {
            "virtio0.msix", "virtio1.msix", "virtio2.msix", "virtio3.msix",
            "virtio4.msix", "virtio5.msix", "virtio6.msix", "virtio7.msix"};
        static const char *const pci[MACHINE_VIRTIO] = {"virtio0.pci", "virtio1.pci", "virtio2.pci",
                                                        "virtio3.pci", "virtio4.pci", "virtio5.pci",
                                                        "virtio6.pci", "virtio7.pci"};
        struct virtio_pci *v = p->virtio_disk[i] ? &p->virtio_disk[i]->virtio : NULL;
        if (!v)
            continue;
        add_state(p, virtio_name[i], &virtio_table, &v->s);
        add_state(p, msix[i], &msix_table, &v->msix.s);
        add_state(p, pci[i], &pci_func_table, &v->pci.s);
    }
}

static void describe_board(struct pc *p)
{
    const struct machine_config *cfg = p->cfg;
    boot_config_default(&p->boot);
    p->boot.cpus = cfg->cpus;
    p->boot.cmdline = cfg->cmdline;
    p->boot.initrd = cfg->initrd;
    p->boot.initrd_size = cfg->initrd_size;
    p->boot.initrd_name = cfg->initrd_name;
    for (unsigned i = 0; i < 4; i++)
        p->boot.pirq_gsi[i] = (uint8_t)(PIRQ_PIN + i);
}

/* Among hard disks SeaBIOS takes those of IDE first, if it isn't told. A list that it gets also
 * goes before floppies and CD-ROMs, so it only gets one where that does not matter. */
static void add_boot_order(struct pc *p)
{
    char list[48];
    if (!p->cfg->boot_virtio || p->cfg->floppy || p->cfg->boot_cdrom)
        return;
    int n = snprintf(list, sizeof list, "/pci@i0cf8/scsi@%x/disk@0,0", VIRTIO_DEV);
    fw_cfg_add(&p->fw_cfg, 0, "bootorder", list, (uint32_t)n + 1);
}

/* What the firmware reads from fw_cfg. */
static void fill_fw_cfg(struct pc *p)
{
    const struct machine_config *cfg = p->cfg;
    char name[FW_CFG_NAME];
    firmware_items(&p->boot, &p->bus, fw_cfg_add, &p->fw_cfg);
    if (cfg->floppy)
        fw_cfg_add(&p->fw_cfg, 0, "floppyimg/floppy.img", cfg->floppy, (uint32_t)cfg->floppy_size);
    add_boot_order(p);
    for (unsigned i = 0; i < MACHINE_ROMS; i++) {
        if (!cfg->rom[i].data)
            continue;
        snprintf(name, sizeof name, "genroms/%u.rom", i);
        fw_cfg_add(&p->fw_cfg, 0, name, cfg->rom[i].data, (uint32_t)cfg->rom[i].size);
    }
}

struct pc *pc_new(const struct machine_config *cfg, struct clock *clock, void (*attention)(void *),
                  void *opaque, struct err *e)
{
    struct pc *p = xcalloc(1, sizeof *p);
    p->cfg = cfg;
    p->clock = clock;
    p->log = &cfg->log;
    p->attention = attention;
    p->opaque = opaque;
    bus_init(&p->bus, cfg->ram, cfg->ram_size, p->log);
    describe_board(p);
    if (cfg->bios && !cfg->kernel && !firmware_init(&p->firmware, cfg->bios, cfg->bios_size, e)) {
        pc_free(p);
        return NULL;
    }
    wire_up(p);
    init_chips(p);
    init_virtio(p);
    list_states(p);
    if (!place(p, e)) {
        pc_free(p);
        return NULL;
    }
    if (p->firmware.rom)
        fill_fw_cfg(p);
    return p;
}

void pc_free(struct pc *p)
{
    if (!p)
        return;
    fw_cfg_free(&p->fw_cfg);
    vga_free(&p->vga);
    for (unsigned i = 0; i < MACHINE_VIRTIO; i++)
        free(p->virtio_disk[i]);
    firmware_free(&p->firmware);
    bus_free(&p->bus);
    free(p);
}

void pc_reset(struct pc *p)
{
    p->event = PC_NOTHING;
    p->hpet_legacy = p->chips.pit_off = p->pit_level = false;
    pci_reset(&p->pci);
    i440fx_restore(&p->host_bridge);
    piix3_reset(&p->isa_bridge);
    piix4_pm_reset(&p->power);
    ide_reset(&p->ide);
    vga_reset(&p->vga);
    for (unsigned i = 0; i < MACHINE_VIRTIO; i++)
        if (p->virtio_disk[i])
            virtio_pci_reset(&p->virtio_disk[i]->virtio);
    i8259_reset(&p->pic);
    ioapic_reset(&p->ioapic);
    for (unsigned i = 0; i < p->cfg->cpus; i++)
        lapic_reset(&p->lapic[i]);
    i8254_reset(&p->pit);
    hpet_reset(&p->hpet);
    mc146818_reset(&p->rtc);
    i8042_reset(&p->kbd);
    for (unsigned i = 0; i < MACHINE_SERIALS; i++)
        ns16550_reset(&p->uart[i]);
    acpi_pm_reset(&p->pm);
    debug_ports_reset(&p->debug);
    fw_cfg_reset(&p->fw_cfg);
    bus_set_a20(&p->bus, true);
}

/* --- starting a guest ------------------------------------------------------------------------- */

static void fill_cmos(struct pc *p)
{
    const struct machine_config *cfg = p->cfg;
    struct firmware_drives drives = {0};
    uint8_t cmos[128] = {0};
    unsigned n = 0;
    for (unsigned i = 0; i < MACHINE_DISKS; i++) {
        if (cfg->disk[i].dev && !cfg->disk[i].cdrom)
            drives.sectors[i] = (cfg->disk[i].dev->size + 511) / 512;
    }
    if (cfg->floppy)
        drives.order[n++] = FIRMWARE_FLOPPY;
    if (cfg->boot_cdrom)
        drives.order[n++] = FIRMWARE_CDROM;
    drives.order[n++] = FIRMWARE_DISK;
    if (!cfg->boot_cdrom && n < 3)
        drives.order[n++] = FIRMWARE_CDROM;
    if (n < 3)
        drives.order[n++] = FIRMWARE_NET;
    firmware_cmos(&p->boot, &p->bus, &drives, cmos);
    for (unsigned i = 0x10; i < 0x60; i++)
        mc146818_set_nvram(&p->rtc, (uint8_t)i, cmos[i]);
}

/* The first disk's first sector, as a BIOS would load it. */
static bool load_sector(struct pc *p, struct boot_entry *entry, struct err *e)
{
    uint8_t sector[512];
    const unsigned all = MACHINE_DISKS + MACHINE_VIRTIO;
    for (unsigned k = 0; k < all; k++) {
        unsigned i = p->cfg->boot_virtio ? (k + MACHINE_DISKS) % all : k;
        bool cdrom = i < MACHINE_DISKS && p->cfg->disk[i].cdrom;
        struct blockdev *d =
            i < MACHINE_DISKS ? p->cfg->disk[i].dev : p->cfg->virtio_disk[i - MACHINE_DISKS];
        if (!d || cdrom)
            continue;
        if (d->size < sizeof sector)
            return err_set(e, ERR_FORMAT, "disk %s is smaller than a sector: nothing to boot",
                           d->name);
        return d->ops->read(d->opaque, 0, sector, sizeof sector, e) &&
               (boot_sector(&p->bus, &p->boot, sector, 0x80, entry, e) ||
                err_prefix(e, "%s", d->name));
    }
    return err_set(
        e, ERR_INVALID,
        "without firmware a disk is needed to boot from: give --disk FILE or --ide FILE");
}

/* What a guest that starts without firmware may expect a BIOS to have done: PCI addresses and
 * routes, power management at its port, a text screen. */
static void stand_in_for_firmware(struct pc *p)
{
    static const uint8_t irq[4] = {10, 10, 11, 11};
    const unsigned bridge = PCI_DEVFN(1, 0), power = PCI_DEVFN(1, 3);
    pci_assign(&p->pci, 0xc000, p->boot.pci_start, p->boot.pci_end, irq);
    for (unsigned i = 0; i < 4; i++)
        pci_config_write(&p->pci, bridge, PIIX3_PIRQRC + i, 1, irq[i]);
    bus_out(&p->bus, 0x4d1, 1, 0x0c); /* inputs 10 and 11 are level-triggered */
    pci_config_write(&p->pci, power, 0x40, 4, p->boot.pm_base | 1u);
    pci_config_write(&p->pci, power, 0x80, 1, 1);
    pci_config_write(&p->pci, power, PCI_COMMAND, 2, PCI_COMMAND_IO);
    vga_text_mode(&p->vga);
}

bool pc_load(struct pc *p, struct boot_entry *entry, bool *direct, struct err *e)
{
    const struct machine_config *cfg = p->cfg;
    fill_cmos(p);
    *direct = p->firmware.rom == NULL;
    if (!*direct)
        return true;
    stand_in_for_firmware(p);
    if (!cfg->kernel)
        return load_sector(p, entry, e);
    if (!boot_kernel(&p->bus, &p->boot, cfg->kernel_kind, cfg->kernel, cfg->kernel_size,
                     cfg->linux_entry, entry, e))
        return false;
    LOG(p->log, BOOT, "%s at %#llx", entry->how, (unsigned long long)entry->rip);
    return true;
}

static struct seg seg_of(const struct boot_seg *s)
{
    return (struct seg){s->base, s->limit, s->sel, s->attr};
}

void pc_enter(struct cpu *c, const struct boot_entry *entry)
{
    memcpy(c->s.r, entry->r, sizeof entry->r);
    c->s.rip = entry->rip;
    c->s.rflags = entry->rflags | EF_FIXED;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        c->s.seg[i] = seg_of(&entry->seg[i]);
    c->s.tr = seg_of(&entry->tr);
    c->s.gdtr = (struct dtable){entry->gdt_base, entry->gdt_limit, 0};
    c->s.idtr = (struct dtable){entry->idt_base, entry->idt_limit, 0};
    c->s.cr0 = entry->cr0;
    c->s.cr3 = entry->cr3;
    c->s.cr4 = entry->cr4;
    c->s.efer = entry->efer;
    c->s.mtrr_def = entry->mtrr_def;
    tlb_flush(c);
    cpu_mode_changed(c);
}

/* --- for the monitor -------------------------------------------------------------------------- */

struct irq_chips *pc_chips(struct pc *p)
{
    return &p->chips;
}

struct bus *pc_bus(struct pc *p)
{
    return &p->bus;
}

const struct display_source *pc_display(struct pc *p)
{
    return &p->vga.display;
}

unsigned pc_state_count(const struct pc *p)
{
    return p->state_count;
}

const struct state_ref *pc_state(const struct pc *p, unsigned i)
{
    return &p->state[i];
}
