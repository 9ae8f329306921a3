#include "dev/i8254.h"

/* clang-format off */
STATE_TABLE(i8254_channel_table, "i8254 channel", struct i8254_channel,
    STATE(struct i8254_channel, start),
    STATE(struct i8254_channel, elapsed),
    STATE(struct i8254_channel, reload_at),
    STATE(struct i8254_channel, reload),
    STATE(struct i8254_channel, next),
    STATE(struct i8254_channel, latch),
    STATE(struct i8254_channel, mode),
    STATE(struct i8254_channel, rw),
    STATE(struct i8254_channel, status),
    STATE(struct i8254_channel, low),
    STATE(struct i8254_channel, bcd),
    STATE(struct i8254_channel, gate),
    STATE(struct i8254_channel, loaded),
    STATE(struct i8254_channel, counting),
    STATE(struct i8254_channel, triggered),
    STATE(struct i8254_channel, write_high),
    STATE(struct i8254_channel, read_high),
    STATE(struct i8254_channel, latched),
    STATE(struct i8254_channel, status_latched),
    STATE_BLOB(struct i8254_channel, unused));
STATE_TABLE(i8254_table, "i8254", struct i8254_state,
    STATE_SUB(struct i8254_state, ch, &i8254_channel_table),
    STATE(struct i8254_state, deadline),
    STATE(struct i8254_state, fired),
    STATE(struct i8254_state, speaker),
    STATE(struct i8254_state, irq_level),
    STATE(struct i8254_state, touched),
    STATE_BLOB(struct i8254_state, unused));
/* clang-format on */

#define REFRESH_TICKS 18 /* between two refreshes: 15 us */

static uint64_t tick_now(const struct i8254 *p)
{
    return mul_div_u64(clock_now(p->clock), I8254_HZ, NS_PER_S);
}

/* The first ns at which tick_now() gives `tick`. */
static uint64_t ns_of_tick(uint64_t tick)
{
    return tick > BIT(62) / NS_PER_S * I8254_HZ ? CLOCK_NEVER
                                                : mul_div_u64(tick, NS_PER_S, I8254_HZ) + 1;
}

static bool periodic(const struct i8254_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* A new count written while modes 2 and 3 run takes over at the end of the period (data sheet,
 * "Mode 2"; for mode 3 it says half period, which no driver can rely on). */
static void settle(struct i8254_channel *c, uint64_t now)
{
    if (c->reload_at > now)
        return;
    c->start = c->reload_at;
    c->reload = c->next;
    c->reload_at = CLOCK_NEVER;
}

static uint64_t elapsed(const struct i8254_channel *c, uint64_t now)
{
    if (!c->counting)
        return c->elapsed;
    return now > c->start ? now - c->start : 0;
}

static uint32_t high_half(const struct i8254_channel *c)
{
    return (c->reload + 1) / 2;
}

static bool output(const struct i8254_channel *c, uint64_t now)
{
    uint64_t e = elapsed(c, now), n = c->reload;
    switch (c->mode) {
    case 0: return c->loaded && e >= n;
    case 1: return !c->triggered || e >= n;
    case 2: return !c->loaded || !c->gate || e % n != n - 1;
    case 3: return !c->loaded || !c->gate || e % n < high_half(c);
    case 4: return !c->loaded || e != n;
    default: return !c->triggered || e != n;
    }
}

/* The counting element, as the guest reads it. */
static uint16_t count(const struct i8254_channel *c, uint64_t now)
{
    uint64_t e = elapsed(c, now), modulus = c->bcd ? 10000 : 65536, v;
    if (c->mode == 2) {
        v = c->reload - e % c->reload;
    } else if (c->mode == 3) {
        e %= c->reload;
        e = e < high_half(c) ? e : e - high_half(c);
        v = (c->reload & ~1u) - 2 * e;
    } else {
        v = c->reload + modulus - e % modulus;
    }
    v %= modulus;
    if (!c->bcd)
        return (uint16_t)v;
    return (uint16_t)(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

/* The first tick after `now` at which the output rises (or, mode 3, changes); CLOCK_NEVER: none. */
static uint64_t next_edge(const struct i8254_channel *c, uint64_t now)
{
    uint64_t e = elapsed(c, now), n = c->reload, at;
    if (!c->loaded || !c->counting)
        return CLOCK_NEVER;
    switch (c->mode) {
    case 0:
    case 1: at = n; break;
    case 2: at = e - e % n + n; break;
    case 3: at = e % n < high_half(c) ? e - e % n + high_half(c) : e - e % n + n; break;
    default: at = n + 1; break;
    }
    if ((c->mode == 1 || c->mode == 5) && !c->triggered)
        return CLOCK_NEVER;
    /* the start may lie one tick ahead */
    return at > e ? c->start + at : CLOCK_NEVER;
}

/* The strobes of modes 2, 4 and 5 are too short to be seen as levels. */
static bool strobes(const struct i8254_channel *c)
{
    return c->mode == 2 || c->mode >= 4;
}

static void drive(struct i8254 *p, bool level)
{
    p->s.irq_level = level;
    irq_set(&p->irq, level);
}

/* Passes on what happened to channel 0's output up to now and waits for what comes next. Several
 * edges that were slept through count as one, as the interrupt controller would see them. */
static void update(struct i8254 *p)
{
    struct i8254_channel *c = &p->s.ch[0];
    uint64_t now = tick_now(p), edge = next_edge(c, p->s.fired);
    bool rose = strobes(c) && edge <= now;
    settle(c, now);
    bool level = strobes(c) || output(c, now);
    if (rose || (c->mode == 3 && edge <= now && p->s.irq_level && level))
        drive(p, false);
    drive(p, level);
    p->s.fired = now;
    edge = min_u64(next_edge(c, now), c->reload_at);
    p->s.deadline = edge == CLOCK_NEVER ? CLOCK_NEVER : ns_of_tick(edge);
    timer_set(&p->timer, p->s.deadline);
}

static void timer_fire(void *opaque)
{
    update(opaque);
}

static void start(struct i8254_channel *c, uint64_t at)
{
    c->start = at;
    c->counting = true;
    c->elapsed = 0;
}

static void load(struct i8254_channel *c, uint32_t written, uint64_t now)
{
    uint32_t n = written;
    if (c->bcd)
        n = (written >> 12) * 1000 + (written >> 8 & 15) * 100 + (written >> 4 & 15) * 10 +
            (written & 15);
    if (n == 0)
        n = c->bcd ? 10000 : 65536;
    if (periodic(c) && n == 1)
        n = 2; /* illegal there; the chip doesn't stop */
    if (c->mode == 1 || c->mode == 5) {
        /* waits for the trigger, which takes the count that is there then */
        c->next = n;
        c->loaded = true;
        if (!c->triggered)
            c->reload = n;
        return;
    }
    if (periodic(c) && c->loaded && c->counting) {
        uint64_t e = elapsed(c, now), at = e - e % c->reload + c->reload;
        c->next = n;
        c->reload_at = c->start + at;
        return;
    }
    c->reload = n;
    c->loaded = true;
    start(c, now + 1);
    c->counting = c->gate;
}

static void write_count(struct i8254 *p, unsigned i, uint8_t v)
{
    struct i8254_channel *c = &p->s.ch[i];
    uint64_t now = tick_now(p);
    settle(c, now);
    if (c->rw == 1) {
        load(c, v, now);
    } else if (c->rw == 2) {
        load(c, (uint32_t)v << 8, now);
    } else if (!c->write_high) {
        c->low = v;
        c->write_high = true;
        if (c->mode == 0) { /* counting stops, the output goes low, until the second byte */
            c->loaded = c->counting = false;
            c->elapsed = 0;
        }
        return;
    } else {
        c->write_high = false;
        load(c, (uint32_t)v << 8 | c->low, now);
    }
}

static void latch_count(struct i8254_channel *c, uint64_t now)
{
    if (c->latched)
        return;
    c->latch = count(c, now);
    c->latched = c->rw == 3 ? 2 : 1;
}

static void latch_status(struct i8254_channel *c, uint64_t now)
{
    bool null = !c->loaded || c->reload_at != CLOCK_NEVER || (c->counting && c->start > now);
    if (c->status_latched)
        return;
    c->status = (uint8_t)(output(c, now) << 7 | null << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
    c->status_latched = true;
}

static void write_control(struct i8254 *p, uint8_t v)
{
    uint64_t now = tick_now(p);
    unsigned select = v >> 6;
    if (select == 3) {
        for (unsigned i = 0; i < 3; i++) {
            settle(&p->s.ch[i], now);
            if ((v >> (i + 1) & 1) && !(v & 0x20))
                latch_count(&p->s.ch[i], now);
            if ((v >> (i + 1) & 1) && !(v & 0x10))
                latch_status(&p->s.ch[i], now);
        }
        return;
    }
    struct i8254_channel *c = &p->s.ch[select];
    settle(c, now);
    if (!(v & 0x30)) {
        latch_count(c, now);
        return;
    }
    c->elapsed = elapsed(c, now);
    c->rw = v >> 4 & 3;
    c->mode = (v >> 1 & 7) > 5 ? (v >> 1 & 3) : v >> 1 & 7;
    c->bcd = v & 1;
    c->loaded = c->counting = c->triggered = false;
    c->write_high = c->read_high = false;
    c->latched = 0;
    c->reload_at = CLOCK_NEVER;
    if (c->elapsed >= c->reload)
        c->elapsed %= c->reload;
}

static uint8_t read_count(struct i8254 *p, unsigned i)
{
    struct i8254_channel *c = &p->s.ch[i];
    uint64_t now = tick_now(p);
    settle(c, now);
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t v = c->latched ? c->latch : count(c, now);
    bool high = c->rw == 2 || (c->rw == 3 && c->read_high);
    c->read_high = c->rw == 3 && !c->read_high;
    c->latched -= c->latched != 0;
    return (uint8_t)(high ? v >> 8 : v);
}

static void set_gate(struct i8254 *p, unsigned i, bool level)
{
    struct i8254_channel *c = &p->s.ch[i];
    uint64_t now = tick_now(p);
    bool rises = level && !c->gate;
    settle(c, now);
    if (level == c->gate)
        return;
    switch (c->mode) {
    case 0:
    case 4: /* the level stops and continues the count */
        if (c->loaded && !level) {
            c->elapsed = elapsed(c, now);
            c->counting = false;
        } else if (c->loaded) {
            c->start = now + 1 > c->elapsed ? now - c->elapsed : 0;
            c->counting = true;
        }
        break;
    case 2:
    case 3: /* low stops it, a rise starts a new period */
        if (c->reload_at != CLOCK_NEVER && rises)
            c->reload = c->next;
        if (rises)
            c->reload_at = CLOCK_NEVER;
        if (c->loaded && rises)
            start(c, now + 1);
        if (!level) {
            c->elapsed = elapsed(c, now);
            c->counting = false;
        }
        break;
    default: /* 1, 5: a rise triggers */
        if (rises && c->loaded) {
            c->reload = c->next;
            c->triggered = true;
            start(c, now + 1);
        }
        break;
    }
    c->gate = level;
}

static uint64_t i8254_read(void *dev, uint64_t offset, unsigned size)
{
    if (offset > 2)
        return 0xff;
    update(dev); /* an edge that is due comes before the count after it */
    return read_count(dev, (unsigned)offset);
}

static void i8254_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8254 *p = dev;
    update(p); /* what happened under the old setting */
    if (offset < 3)
        write_count(p, (unsigned)offset, (uint8_t)value);
    else
        write_control(p, (uint8_t)value);
    p->s.touched = true;
    update(p);
}

static uint64_t port61_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8254 *p = dev;
    struct i8254_channel *c = &p->s.ch[2];
    uint64_t now = tick_now(p);
    settle(c, now);
    return (uint64_t)c->gate | (uint64_t)p->s.speaker << 1 | (now / REFRESH_TICKS & 1) << 4 |
           (uint64_t)output(c, now) << 5;
}

static void port61_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8254 *p = dev;
    p->s.speaker = value & 2;
    set_gate(p, 2, value & 1);
}

static const struct region_ops i8254_ops = {i8254_read, i8254_write, 1};
static const struct region_ops port61_ops = {port61_read, port61_write, 1};

void i8254_reset(struct i8254 *p)
{
    p->s = (struct i8254_state){.fired = tick_now(p)};
    for (unsigned i = 0; i < 3; i++)
        p->s.ch[i] = (struct i8254_channel){.reload = 65536,
                                            .next = 65536,
                                            .reload_at = CLOCK_NEVER,
                                            .mode = 3,
                                            .rw = 3,
                                            .gate = i != 2};
    update(p);
}

void i8254_restore(struct i8254 *p)
{
    uint64_t now = tick_now(p);
    p->s.fired = min_u64(p->s.fired, now);
    for (unsigned i = 0; i < 3; i++) {
        struct i8254_channel *c = &p->s.ch[i];
        c->reload = c->reload ? c->reload : 65536;
        c->next = c->next ? c->next : 65536;
        c->start = min_u64(c->start, now + 1);
        c->mode = c->mode > 5 ? 3 : c->mode;
        c->rw = c->rw & 3 ? c->rw & 3 : 3;
    }
    timer_set(&p->timer, p->s.deadline);
    irq_set(&p->irq, p->s.irq_level);
}

void i8254_pause(struct i8254 *p)
{
    update(p);
    for (unsigned i = 0; i < 3; i++)
        settle(&p->s.ch[i], p->s.fired);
    timer_set(&p->timer, CLOCK_NEVER);
}

void i8254_resume(struct i8254 *p)
{
    p->s.fired = tick_now(p);
    update(p);
}

uint64_t i8254_tick(const struct i8254 *p)
{
    return tick_now(p);
}

uint64_t i8254_elapsed(const struct i8254 *p, unsigned channel)
{
    return elapsed(&p->s.ch[channel], tick_now(p));
}

void i8254_init(struct i8254 *p, struct clock *clock, const struct log *log, struct irq irq)
{
    *p = (struct i8254){.clock = clock, .log = log, .irq = irq};
    p->io = (struct region){.name = "pit", .size = 4, .ops = &i8254_ops, .dev = p};
    p->port61 = (struct region){.name = "port61", .size = 1, .ops = &port61_ops, .dev = p};
    timer_init(&p->timer, clock, "pit", timer_fire, p);
    i8254_reset(p);
}
