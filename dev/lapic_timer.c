#include "dev/lapic_timer.h"

#define MASKED   0x10000u
#define MODE     0x60000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u

/* timer_start of a count that ended, and does not begin again by itself. */
#define STOPPED UINT64_MAX

/* A guest's periodic timer is not served more often than this, so that a count of 1 can't stop the
 * machine. */
#define MIN_PERIOD_NS 1000

static uint32_t mode(const struct lapic *l)
{
    return l->s.lvt[LVT_TIMER] & MODE;
}

/* ns a tick: bits 3, 1 and 0 of the divide register, 111 is undivided (SDM 3A figure 11-10). */
static uint64_t divider(const struct lapic *l)
{
    unsigned d = (l->s.timer_divide & 3) | (l->s.timer_divide >> 1 & 4);
    return d == 7 ? 1 : 2ull << d;
}

static uint64_t ticks_passed(const struct lapic *l, uint64_t now)
{
    return now > l->s.timer_start ? (now - l->s.timer_start) / divider(l) : 0;
}

uint32_t lapic_timer_current(const struct lapic *l)
{
    const struct lapic_state *s = &l->s;
    uint64_t passed = ticks_passed(l, clock_now(l->clock));
    if (mode(l) == DEADLINE || s->timer_start == STOPPED)
        return 0;
    if (passed < s->timer_count)
        return s->timer_count - (uint32_t)passed;
    if (mode(l) != PERIODIC || !s->timer_initial)
        return 0;
    return s->timer_initial - (uint32_t)((passed - s->timer_count) % s->timer_initial);
}

/* ns of the first expiry after `now`; CLOCK_NEVER: none. */
static uint64_t next_expiry(const struct lapic *l, uint64_t now)
{
    const struct lapic_state *s = &l->s;
    uint64_t passed = ticks_passed(l, now), ticks = s->timer_count;
    if (s->timer_start == STOPPED)
        return CLOCK_NEVER;
    if (passed >= ticks) {
        if (mode(l) != PERIODIC || !s->timer_initial)
            return CLOCK_NEVER;
        ticks += ((passed - ticks) / s->timer_initial + 1) * s->timer_initial;
    }
    return s->timer_start + ticks * divider(l);
}

static uint64_t deadline_ns(const struct lapic *l, uint64_t now)
{
    uint64_t tsc = l->cpu.tsc(l->cpu.cpu), left;
    if (!l->s.tsc_deadline)
        return CLOCK_NEVER;
    if (tsc >= l->s.tsc_deadline)
        return now;
    left = l->s.tsc_deadline - tsc;
    if (left / l->cpu.tsc_hz >= BIT(32)) /* a century: Linux stops its timer so */
        return CLOCK_NEVER;
    return now + mul_div_u64(left, NS_PER_S, l->cpu.tsc_hz) + 1;
}

/* `now` is the moment at which the count was set, where it was: a later one may be behind its end.
 * A count that ended unnoticed is still due. */
static void arm_at(struct lapic *l, uint64_t now)
{
    bool masked = l->s.lvt[LVT_TIMER] & MASKED;
    uint64_t at;
    if (mode(l) == DEADLINE) {
        at = deadline_ns(l, now);
    } else {
        at = masked ? CLOCK_NEVER : next_expiry(l, now);
        if (mode(l) == PERIODIC)
            at = max_u64(at, now + MIN_PERIOD_NS);
        else if (at == CLOCK_NEVER && !masked && l->s.timer_at <= now)
            at = l->s.timer_at;
    }
    l->s.timer_at = at;
    timer_set(&l->timer, at);
}

void lapic_timer_arm(struct lapic *l)
{
    arm_at(l, clock_now(l->clock));
}

static void fire(void *opaque)
{
    struct lapic *l = opaque;
    if (mode(l) == DEADLINE) {
        /* The TSC may have been set back meanwhile. */
        if (l->cpu.tsc(l->cpu.cpu) < l->s.tsc_deadline) {
            lapic_timer_arm(l);
            return;
        }
        l->s.tsc_deadline = 0;
    }
    lapic_timer_interrupt(l);
    l->s.timer_at = CLOCK_NEVER;
    lapic_timer_arm(l);
}

void lapic_timer_mode(struct lapic *l, uint32_t old)
{
    struct lapic_state *s = &l->s;
    uint64_t now = clock_now(l->clock);
    /* Into or out of TSC-deadline mode the timer is disarmed (SDM 3A 11.5.4.1). */
    if ((old ^ s->lvt[LVT_TIMER]) & DEADLINE) {
        s->tsc_deadline = 0;
        s->timer_initial = s->timer_count = 0;
        s->timer_at = CLOCK_NEVER;
    } else if ((old ^ s->lvt[LVT_TIMER]) & PERIODIC) {
        /* It counts on from where it is; a one-shot count that ended stays 0. */
        uint32_t new = s->lvt[LVT_TIMER], left;
        s->lvt[LVT_TIMER] = old;
        left = lapic_timer_current(l);
        s->lvt[LVT_TIMER] = new;
        s->timer_count = left;
        s->timer_start = left ? now : STOPPED;
    }
    arm_at(l, now);
}

void lapic_timer_start(struct lapic *l, uint32_t initial)
{
    if (mode(l) == DEADLINE)
        return;
    l->s.timer_initial = l->s.timer_count = initial;
    l->s.timer_start = clock_now(l->clock);
    l->s.timer_at = CLOCK_NEVER;
    arm_at(l, l->s.timer_start);
}

void lapic_timer_put(struct lapic *l, uint32_t initial, uint32_t count)
{
    l->s.timer_initial = initial;
    l->s.timer_count = count;
    l->s.timer_start = count || mode(l) == PERIODIC ? clock_now(l->clock) : STOPPED;
    l->s.timer_at = CLOCK_NEVER;
    arm_at(l, min_u64(l->s.timer_start, clock_now(l->clock)));
}

void lapic_timer_divide(struct lapic *l, uint32_t divide)
{
    uint64_t now = clock_now(l->clock);
    uint32_t left = lapic_timer_current(l);
    l->s.timer_count = left;
    if (l->s.timer_start != STOPPED)
        l->s.timer_start = now;
    l->s.timer_divide = divide;
    arm_at(l, now);
}

uint64_t lapic_timer_deadline(const struct lapic *l)
{
    return mode(l) == DEADLINE ? l->s.tsc_deadline : 0;
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc)
{
    if (mode(l) != DEADLINE)
        return;
    l->s.tsc_deadline = tsc;
    lapic_timer_arm(l);
}

void lapic_tsc_changed(void *apic)
{
    struct lapic *l = apic;
    if (l->s.tsc_deadline)
        lapic_timer_arm(l);
}

void lapic_timer_restore(struct lapic *l)
{
    uint64_t now = clock_now(l->clock);
    if (l->s.timer_start != STOPPED && l->s.timer_start > now)
        l->s.timer_start = now;
    timer_set(&l->timer, l->s.timer_at);
}

void lapic_timer_go_on(struct lapic *l)
{
    if (mode(l) == DEADLINE)
        lapic_timer_arm(l);
    else
        lapic_timer_restore(l);
}

void lapic_timer_init(struct lapic *l)
{
    timer_init(&l->timer, l->clock, "lapic", fire, l);
}
