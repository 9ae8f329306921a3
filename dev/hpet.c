#include "dev/hpet.h"

#define H_ID      0x000
#define H_CONFIG  0x010
#define H_STATUS  0x020
#define H_COUNTER 0x0f0
#define H_TIMERS  0x100 /* 0x20 bytes each: configuration, comparator, FSB route */

#define ID (HPET_TICK_NS * 1000000ull << 32 | 0x8086a201) /* Intel, legacy, 64 bits, 3 timers */

#define ON     1u
#define LEGACY 2u

#define T_LEVEL    0x0002ull
#define T_INT      0x0004ull
#define T_PERIODIC 0x0008ull
#define T_CAN_PER  0x0010ull
#define T_CAN_64   0x0020ull
#define T_VAL_SET  0x0040ull
#define T_32       0x0100ull
#define T_WRITABLE 0x3f4eull
#define T_ROUTE(c) ((c) >> 9 & 31)

/* A guest's periodic comparator is not served more often than this. */
#define MIN_PERIOD_NS 1000

/* clang-format off */
STATE_TABLE(hpet_timer_table, "hpet timer", struct hpet_timer,
    STATE(struct hpet_timer, config),
    STATE(struct hpet_timer, comparator),
    STATE(struct hpet_timer, period),
    STATE(struct hpet_timer, deadline),
    STATE(struct hpet_timer, seen));
STATE_TABLE(hpet_table, "hpet", struct hpet_state,
    STATE_SUB(struct hpet_state, timer, &hpet_timer_table),
    STATE(struct hpet_state, config),
    STATE(struct hpet_state, status),
    STATE(struct hpet_state, counter),
    STATE(struct hpet_state, start));
/* clang-format on */

static uint64_t counter_at(const struct hpet *h, uint64_t now)
{
    const struct hpet_state *s = &h->s;
    if (!(s->config & ON) || now < s->start)
        return s->counter;
    return s->counter + (now - s->start) / HPET_TICK_NS;
}

static uint64_t width(const struct hpet_timer *t)
{
    return t->config & T_32 ? 0xffffffff : ~0ull;
}

/* Ticks from counter value `from`, exclusive, to the next match. */
static uint64_t ticks_to_match(const struct hpet_timer *t, uint64_t from)
{
    uint64_t d = (t->comparator - from) & width(t);
    return d ? d : t->config & T_32 ? BIT(32) : ~0ull;
}

static const struct irq *wire(const struct hpet *h, unsigned n)
{
    static const struct irq nowhere;
    unsigned pin = T_ROUTE(h->s.timer[n].config);
    if ((h->s.config & LEGACY) && n < 2)
        return &h->wires.legacy[n];
    return h->wires.routes >> pin & 1 ? &h->wires.pin[pin] : &nowhere;
}

/* A comparator's wire follows its status bit while it is level-triggered. */
static void drive(struct hpet *h, unsigned n)
{
    const struct hpet_timer *t = &h->s.timer[n];
    if (t->config & T_LEVEL)
        irq_set(wire(h, n), (h->s.status >> n & 1) && (t->config & T_INT));
}

static void interrupt(struct hpet *h, unsigned n)
{
    const struct hpet_timer *t = &h->s.timer[n];
    if (!(t->config & T_INT))
        return;
    if (t->config & T_LEVEL) {
        h->s.status |= BIT(n);
        drive(h, n);
    } else {
        irq_pulse(wire(h, n));
    }
}

static void arm(struct hpet *h, unsigned n, uint64_t now)
{
    struct hpet_timer *t = &h->s.timer[n];
    uint64_t at = CLOCK_NEVER, ticks = ticks_to_match(t, t->seen);
    if ((h->s.config & ON) && (t->config & T_INT) && ticks < BIT(58)) {
        /* in ns from the moment at which the counter stood at t->seen */
        at = h->s.start + (t->seen - h->s.counter + ticks) * HPET_TICK_NS;
        if (t->config & T_PERIODIC)
            at = max_u64(at, now + MIN_PERIOD_NS);
    }
    t->deadline = max_u64(at, now);
    timer_set(&h->timer[n], t->deadline);
}

/* Deals with the matches up to now. */
static void settle(struct hpet *h, unsigned n, uint64_t now)
{
    struct hpet_timer *t = &h->s.timer[n];
    uint64_t counter = counter_at(h, now), passed = counter - t->seen;
    uint64_t ticks = ticks_to_match(t, t->seen), period = t->period & width(t);
    if (!(h->s.config & ON))
        return;
    t->seen = counter;
    if (passed < ticks)
        return;
    if ((t->config & T_PERIODIC) && period)
        t->comparator = (t->comparator + ((passed - ticks) / period + 1) * period) & width(t);
    interrupt(h, n);
}

static void update(struct hpet *h)
{
    uint64_t now = clock_now(h->clock);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        settle(h, n, now);
        arm(h, n, now);
    }
}

static void fire(void *opaque)
{
    struct hpet_unit *u = opaque;
    uint64_t now = clock_now(u->hpet->clock);
    settle(u->hpet, u->n, now);
    arm(u->hpet, u->n, now);
}

/* The counter continues from `value` now; what matched before is past. */
static void set_counter(struct hpet *h, uint64_t value, uint64_t now)
{
    h->s.counter = value;
    h->s.start = now;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        h->s.timer[n].seen = value;
}

static void write_config(struct hpet *h, uint64_t v, uint64_t now)
{
    uint64_t change = h->s.config ^ v;
    if (change & ON)
        set_counter(h, counter_at(h, now), now);
    h->s.config = v & (ON | LEGACY);
    if (change & LEGACY)
        irq_set(&h->wires.legacy_on, v & LEGACY);
}

static void write_timer_config(struct hpet *h, unsigned n, uint64_t v)
{
    struct hpet_timer *t = &h->s.timer[n];
    if (t->config & T_LEVEL)
        irq_set(wire(h, n), false); /* it may go to another pin */
    t->config = (t->config & ~T_WRITABLE) | (v & T_WRITABLE);
    if (!(t->config & T_LEVEL))
        h->s.status &= ~BIT(n);
    if (t->config & T_32) {
        t->comparator &= 0xffffffff;
        t->period &= 0xffffffff;
    }
    drive(h, n);
}

static void write_comparator(struct hpet *h, unsigned n, uint64_t v, uint64_t now)
{
    struct hpet_timer *t = &h->s.timer[n];
    v &= width(t);
    /* 2.3.9.2.2: in periodic mode a plain write sets the period, and with VAL_SET the comparator
     * itself; Linux writes the first match, then the period. */
    if (!(t->config & T_PERIODIC) || (t->config & T_VAL_SET))
        t->comparator = v;
    t->period = v;
    t->config &= ~T_VAL_SET;
    t->seen = counter_at(h, now);
}

static uint64_t read_timer(const struct hpet *h, unsigned n, unsigned r)
{
    const struct hpet_timer *t = &h->s.timer[n];
    switch (r) {
    case 0x00: return t->config | (uint64_t)h->wires.routes << 32;
    case 0x08: return t->comparator;
    default: return 0;
    }
}

/* A whole 64-bit register; r: its offset. */
static uint64_t read_register(const struct hpet *h, unsigned r, uint64_t now)
{
    if (r >= H_TIMERS && r < H_TIMERS + 0x20 * HPET_TIMERS)
        return read_timer(h, (r - H_TIMERS) / 0x20, r & 0x18);
    switch (r) {
    case H_ID: return ID;
    case H_CONFIG: return h->s.config;
    case H_STATUS: return h->s.status;
    case H_COUNTER: return counter_at(h, now);
    default: return 0;
    }
}

static void write_register(struct hpet *h, unsigned r, uint64_t v, uint64_t now)
{
    if (r >= H_TIMERS && r < H_TIMERS + 0x20 * HPET_TIMERS) {
        unsigned n = (r - H_TIMERS) / 0x20;
        if ((r & 0x18) == 0)
            write_timer_config(h, n, v);
        else if ((r & 0x18) == 8)
            write_comparator(h, n, v, now);
        return;
    }
    switch (r) {
    case H_CONFIG: write_config(h, v, now); break;
    case H_STATUS:
        h->s.status &= ~v;
        for (unsigned n = 0; n < HPET_TIMERS; n++)
            drive(h, n);
        break;
    case H_COUNTER: set_counter(h, v, now); break;
    default: break;
    }
}

static uint64_t hpet_read(void *dev, uint64_t offset, unsigned size)
{
    struct hpet *h = dev;
    uint64_t now = clock_now(h->clock);
    update(h);
    return read_register(h, (unsigned)offset & ~7u, now) >> (offset & 4) * 8;
}

/* What the half of a register that a 32-bit write doesn't touch is taken as. */
static uint64_t other_half(const struct hpet *h, unsigned r, uint64_t now)
{
    unsigned n = (r - H_TIMERS) / 0x20;
    if (r == H_STATUS)
        return 0; /* clears nothing */
    if (r >= H_TIMERS && n < HPET_TIMERS && (r & 0x18) == 8 && (h->s.timer[n].config & T_PERIODIC))
        return h->s.timer[n].period;
    return read_register(h, r, now);
}

static void hpet_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct hpet *h = dev;
    unsigned r = (unsigned)offset & ~7u;
    uint64_t now = clock_now(h->clock), v = value;
    if (offset & 3)
        return; /* 2.3.2: aligned only */
    update(h);
    if (size == 4) {
        uint64_t keep = other_half(h, r, now);
        v = offset & 4 ? (keep & 0xffffffff) | value << 32
                       : (keep & ~0xffffffffull) | (value & 0xffffffff);
    }
    write_register(h, r, v, now);
    update(h);
}

static const struct region_ops hpet_ops = {hpet_read, hpet_write, 4 | 8};

void hpet_reset(struct hpet *h)
{
    bool was_legacy = h->s.config & LEGACY;
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        if (h->s.status >> n & 1)
            irq_set(wire(h, n), false);
    h->s = (struct hpet_state){.start = clock_now(h->clock)};
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->s.timer[n].config = T_CAN_PER | T_CAN_64;
        h->s.timer[n].comparator = ~0ull;
    }
    if (was_legacy)
        irq_set(&h->wires.legacy_on, false);
    update(h);
}

void hpet_restore(struct hpet *h)
{
    uint64_t now = clock_now(h->clock);
    h->s.start = min_u64(h->s.start, now);
    h->s.config &= ON | LEGACY;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &h->s.timer[n];
        t->config = (t->config & T_WRITABLE) | T_CAN_PER | T_CAN_64;
        /* Matches are looked for from a counter value that has been. */
        if (counter_at(h, now) - t->seen > counter_at(h, now) - h->s.counter)
            t->seen = h->s.counter;
        drive(h, n);
        timer_set(&h->timer[n], t->deadline);
    }
    irq_set(&h->wires.legacy_on, h->s.config & LEGACY);
}

void hpet_init(struct hpet *h, struct clock *clock, const struct log *log,
               const struct hpet_wires *wires)
{
    *h = (struct hpet){.clock = clock, .log = log, .wires = *wires};
    h->wires.routes &= BIT(HPET_PINS) - 1;
    h->mmio = (struct region){.name = "hpet", .size = 1024, .ops = &hpet_ops, .dev = h};
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->unit[n] = (struct hpet_unit){h, n};
        timer_init(&h->timer[n], clock, "hpet", fire, &h->unit[n]);
    }
    hpet_reset(h);
}
