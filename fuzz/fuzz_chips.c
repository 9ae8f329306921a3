/* The board's classic chips, wired to each other as on the board, under any sequence of register
 * accesses, input from outside, passing time, and states from outside.
 *
 * Eight bytes of input are one step. Two properties hold beside "no sanitizer report, no hang":
 * after a copy of all states into a fresh board, both boards answer every further step alike and
 * end in the same state; and a board whose state was damaged goes on in some way. */
#include "dev/acpi_pm.h"
#include "dev/debug_ports.h"
#include "dev/hpet.h"
#include "dev/i8042.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CPUS    3
#define REGIONS 18
#define STATES  (9 + CPUS)
#define FIRES   200 /* deadlines that are met one by one in a step */

struct board {
    uint64_t now;
    struct clock clock;
    struct i8259 pic;
    struct ioapic ioapic;
    struct apic_bus apic_bus;
    struct lapic lapic[CPUS];
    struct i8254 pit;
    struct hpet hpet;
    struct mc146818 rtc;
    struct i8042 kbd;
    struct ns16550 uart;
    struct acpi_pm pm;
    struct debug_ports debug;
    struct chardev chr;
    bool intr[CPUS];
    uint64_t events; /* what came out: a running hash */
    struct region *region[REGIONS];
    struct state_ref state[STATES];
};

static void event(struct board *b, uint64_t what)
{
    b->events = hash_bytes(b->events, &what, sizeof what);
}

static uint64_t get_now(void *opaque)
{
    return ((struct board *)opaque)->now;
}

static void on_line(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    i8259_set(&b->pic, n, level);
    ioapic_set(&b->ioapic, n ? n : 2, level);
}

static void on_pin(void *opaque, unsigned n, bool level)
{
    ioapic_set(&((struct board *)opaque)->ioapic, n, level);
}

static void on_pic(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    for (unsigned i = 0; i < b->apic_bus.count; i++)
        lapic_lint(&b->lapic[i], 0, level);
}

static void on_wire(void *opaque, unsigned n, bool level)
{
    event(opaque, n << 1 | level);
}

struct cpu_end {
    struct board *board;
    unsigned n;
};

static void on_intr(void *cpu, bool level)
{
    struct cpu_end *c = cpu;
    c->board->intr[c->n] = level;
}

static void on_nmi(void *cpu)
{
    event(((struct cpu_end *)cpu)->board, 0x100);
}

static void on_init(void *cpu)
{
    event(((struct cpu_end *)cpu)->board, 0x200);
}

static void on_sipi(void *cpu, uint8_t vector)
{
    event(((struct cpu_end *)cpu)->board, 0x300 | vector);
}

static uint64_t on_tsc(void *cpu)
{
    return ((struct cpu_end *)cpu)->board->now * 3;
}

static int on_ext_ack(void *cpu)
{
    return i8259_ack(&((struct cpu_end *)cpu)->board->pic);
}

static void on_write(void *opaque, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        event(opaque, 0x400 | bytes[i]);
}

static void on_power_off(void *opaque)
{
    event(opaque, 0x500);
}

static void on_exit_port(void *opaque, unsigned code)
{
    event(opaque, 0x600 | (uint64_t)code << 32);
}

static struct irq line(struct board *b, unsigned n)
{
    return (struct irq){on_line, b, n};
}

static void list(struct board *b)
{
    struct region *r[REGIONS] = {&b->pic.io[0],  &b->pic.io[1],   &b->pic.elcr,   &b->ioapic.mmio,
                                 &b->pit.io,     &b->pit.port61,  &b->hpet.mmio,  &b->rtc.io,
                                 &b->kbd.data,   &b->kbd.command, &b->kbd.port92, &b->uart.io,
                                 &b->pm.io,      &b->pm.smi,      &b->debug.post, &b->debug.e9,
                                 &b->debug.exit, &b->debug.bios};
    struct state_ref s[STATES] = {
        {"pic", &i8259_table, &b->pic.s},          {"ioapic", &ioapic_table, &b->ioapic.s},
        {"pit", &i8254_table, &b->pit.s},          {"hpet", &hpet_table, &b->hpet.s},
        {"rtc", &mc146818_table, &b->rtc.s},       {"kbd", &i8042_table, &b->kbd.s},
        {"uart", &ns16550_table, &b->uart.s},      {"pm", &acpi_pm_table, &b->pm.s},
        {"debug", &debug_ports_table, &b->debug.s}};
    for (unsigned i = 0; i < CPUS; i++)
        s[9 + i] = (struct state_ref){"lapic", &lapic_table, &b->lapic[i].s};
    memcpy(b->region, r, sizeof r);
    memcpy(b->state, s, sizeof s);
}

static void build(struct board *b, struct cpu_end *ends)
{
    struct hpet_wires w = {.routes = 0xff0104, .legacy_on = {on_wire, b, 1}};
    memset(b, 0, sizeof *b);
    clock_init(&b->clock, get_now, b);
    b->chr = (struct chardev){.write = on_write, .opaque = b};
    i8259_init(&b->pic, NULL, (struct irq){on_pic, b, 0});
    ioapic_init(&b->ioapic, 0, &b->apic_bus, NULL);
    for (unsigned i = 0; i < CPUS; i++) {
        ends[i] = (struct cpu_end){b, i};
        struct lapic_cpu c = {on_intr, on_nmi,       on_init,    on_sipi,
                              on_tsc,  3 * NS_PER_S, on_ext_ack, &ends[i]};
        lapic_init(&b->lapic[i], i, &b->apic_bus, &b->clock, NULL, &c);
    }
    for (unsigned i = 0; i < HPET_PINS; i++)
        w.pin[i] = (struct irq){on_pin, b, i};
    w.legacy[0] = line(b, 0);
    w.legacy[1] = line(b, 8);
    i8254_init(&b->pit, &b->clock, NULL, line(b, 0));
    hpet_init(&b->hpet, &b->clock, NULL, &w);
    mc146818_init(&b->rtc, &b->clock, NULL, line(b, 8), 1700000000);
    i8042_init(&b->kbd, NULL, line(b, 1), line(b, 12), (struct irq){on_wire, b, 2},
               (struct irq){on_wire, b, 3});
    ns16550_init(&b->uart, "com1", &b->clock, NULL, line(b, 4), &b->chr);
    acpi_pm_init(&b->pm, &b->clock, NULL, line(b, 9), on_power_off, b);
    debug_ports_init(&b->debug, &b->chr, on_exit_port, b);
    list(b);
}

static void restore(struct board *b)
{
    for (unsigned i = 0; i < STATES; i++)
        state_clean(b->state[i].table, b->state[i].data);
    i8259_restore(&b->pic);
    ioapic_restore(&b->ioapic);
    for (unsigned i = 0; i < CPUS; i++)
        lapic_restore(&b->lapic[i]);
    i8254_restore(&b->pit);
    hpet_restore(&b->hpet);
    mc146818_restore(&b->rtc);
    i8042_restore(&b->kbd);
    ns16550_restore(&b->uart);
    acpi_pm_restore(&b->pm);
}

static void reset(struct board *b)
{
    i8259_reset(&b->pic);
    ioapic_reset(&b->ioapic);
    for (unsigned i = 0; i < CPUS; i++)
        lapic_reset(&b->lapic[i]);
    i8254_reset(&b->pit);
    hpet_reset(&b->hpet);
    mc146818_reset(&b->rtc);
    i8042_reset(&b->kbd);
    ns16550_reset(&b->uart);
    acpi_pm_reset(&b->pm);
    debug_ports_reset(&b->debug);
}

static void copy(struct board *to, const struct board *from)
{
    to->now = from->now;
    for (unsigned i = 0; i < STATES; i++)
        memcpy(to->state[i].data, from->state[i].data, from->state[i].table->size);
    restore(to);
    to->events = from->events;
}

/* Time passes, deadline by deadline; if there are too many, the rest is slept through. */
static void pass(struct board *b, uint64_t ns)
{
    uint64_t end = b->now + ns;
    for (unsigned i = 0; i < FIRES && b->clock.next <= end; i++) {
        b->now = max_u64(b->now, b->clock.next);
        clock_run(&b->clock);
    }
    b->now = end;
    clock_run(&b->clock);
    assert(b->clock.next > b->now);
}

static uint64_t access(struct board *b, const uint8_t *op)
{
    struct region *r = b->region[op[1] % REGIONS];
    unsigned sizes = r->ops->sizes ? r->ops->sizes : 1 | 2 | 4;
    unsigned size = 1u << (op[0] >> 4 & 3);
    uint64_t offset = get_le16(op + 2) % r->size;
    uint64_t value = get_le32(op + 4) & ~0ull >> (64 - 8 * size);
    if (!(sizes & size))
        size = sizes & -sizes;
    if (offset + size > r->size)
        offset = r->size - size;
    if (op[0] & 0x80)
        return r->ops->read(r->dev, offset, size) & ~0ull >> (64 - 8 * size);
    r->ops->write(r->dev, offset, size, value & ~0ull >> (64 - 8 * size));
    return 0;
}

static uint64_t apic(struct board *b, const uint8_t *op)
{
    struct lapic *l = &b->lapic[op[1] % CPUS];
    uint32_t value = get_le32(op + 4);
    uint64_t v = 0;
    switch (op[2] % 9) {
    case 0: return lapic_mmio_read(l, (op[3] & 0x3f) * 16u, 4);
    case 1: lapic_mmio_write(l, (op[3] & 0x3f) * 16u, 4, value); return 0;
    case 2: return lapic_msr_read(l, 0x800u + (op[3] & 0x3f), &v) ? v : ~0ull;
    case 3: return lapic_msr_write(l, 0x800u + (op[3] & 0x3f), value);
    case 4: return lapic_msr_write(l, 0x6e0, b->now * 3 + value);
    case 5: return lapic_set_base(l, 0xfee00000 | (value & 0xd00));
    case 6: lapic_set_tpr(l, (uint8_t)value); return lapic_tpr(l);
    case 7: return lapic_mmio_read(l, value & 0xfff, 1u << (op[3] & 3));
    default: return apic_bus_msi(&b->apic_bus, 0xfee00000 | (value & 0xff00c), value >> 16);
    }
}

static uint64_t acknowledge(struct board *b, unsigned n)
{
    struct lapic *l = &b->lapic[n % CPUS];
    bool pending = lapic_pending(l);
    int v;
    assert(pending == b->intr[n % CPUS]);
    if (!pending)
        return 0;
    v = lapic_ack(l);
    assert(v >= 0 && v < 256);
    return (uint64_t)v;
}

static uint64_t input(struct board *b, const uint8_t *op)
{
    switch (op[1] % 6) {
    case 0: i8042_key(&b->kbd, get_le16(op + 2), op[4] & 1); break;
    case 1: i8042_type(&b->kbd, op[2]); break;
    case 2:
        i8042_mouse(&b->kbd, (int16_t)get_le16(op + 2), (int16_t)get_le16(op + 4), (int8_t)op[6],
                    op[7]);
        break;
    case 3: b->chr.sink.input(b->chr.sink.dev, op + 3, op[2] % 6); break;
    case 4: b->chr.sink.brk(b->chr.sink.dev); break;
    default: acpi_pm_button(&b->pm); break;
    }
    return b->chr.sink.room(b->chr.sink.dev);
}

static uint64_t step(struct board *b, const uint8_t *op)
{
    static const uint8_t free_lines[8] = {3, 5, 6, 7, 10, 11, 13, 14}; /* no chip of ours there */
    switch (op[0] & 7) {
    case 0:
    case 1:
    case 2: return access(b, op);
    case 3: return apic(b, op);
    case 4: pass(b, (uint64_t)get_le32(op + 4) << (op[1] & 7)); return 0;
    case 5: return acknowledge(b, op[1]);
    case 6: return input(b, op);
    default: on_line(b, free_lines[op[1] & 7], op[2] & 1); return 0;
    }
}

/* Whatever was loaded, the machine must go on. */
static void damage(struct board *b, const uint8_t *op)
{
    const struct state_ref *s = &b->state[op[1] % STATES];
    uint8_t *bytes = s->data;
    for (unsigned i = 0; i < 4; i++)
        bytes[(get_le16(op + 2) + i) % s->table->size] = op[4 + i];
    restore(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct board a, b;
    static struct cpu_end ends[2][CPUS];
    bool twins = false, damaged = false;
    build(&a, ends[0]);
    for (; n >= 8; data += 8, n -= 8) {
        if (data[0] == 0x0f && !damaged) {
            build(&b, ends[1]);
            copy(&b, &a);
            twins = true;
        } else if (data[0] == 0x17) {
            damage(&a, data);
            twins = false;
            damaged = true;
        } else if (data[0] == 0x27) {
            reset(&a);
            if (twins)
                reset(&b);
        } else {
            uint64_t v = step(&a, data);
            if (twins) {
                uint64_t w = step(&b, data);
                assert(v == w);
                assert(a.clock.next == b.clock.next);
            }
        }
    }
    for (unsigned i = 0; twins && i < STATES; i++)
        assert(state_hash(1, a.state[i].table, a.state[i].data) ==
               state_hash(1, b.state[i].table, b.state[i].data));
    assert(!twins || a.events == b.events);
    return 0;
}
