#include "cpu/kvmclock.h"

#include "cpu/share.h"

#define MSR_WALL_CLOCK  0x4b564d00u
#define MSR_SYSTEM_TIME 0x4b564d01u

#define ENABLE     1ull
#define HAS_CLOCK2 (1u << 3)  /* these MSRs */
#define HAS_STABLE (1u << 24) /* the flag below means what it says */
#define STABLE     1u         /* no CPU sees a time that is before another's */

static bool has_clock(const struct cpu *c)
{
    return isa_has(&c->features, FEAT_KVMCLOCK);
}

/* Counters of several CPUs agree to within what taking them from an engine and giving them to
 * another takes: microseconds. A guest then has to see to it itself that time does not go back. */
static bool stable(const struct cpu *c)
{
    return c->count == 1;
}

uint32_t kvmclock_features(const struct cpu *c)
{
    return has_clock(c) ? HAS_CLOCK2 | (stable(c) ? HAS_STABLE : 0) : 0;
}

void kvmclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
    uint64_t ns = NS_PER_S;
    *shift = 0;
    for (; ns >= hz; (*shift)++) /* mul is a fraction below 1 … */
        hz *= 2;
    for (; 2 * ns < hz; (*shift)--) /* … with its highest bit set */
        ns *= 2;
    *mul = (uint32_t)mul_div_u64(ns, BIT(32), hz);
}

static uint64_t system_time(const struct cpu *c, uint64_t tsc)
{
    return mul_div_u64(tsc - c->s.kvmclock_start, NS_PER_S, c->tsc_hz);
}

/* Who reads it meanwhile sees an odd version, and tries again. */
static void publish(struct cpu *c, uint64_t at, uint8_t *page, size_t size)
{
    uint8_t was[4] = {0};
    bus_dma_read(c->bus, at, was, 4);
    uint32_t version = (get_le32(was) | 1) + 2;
    put_le32(page, version);
    bus_dma_write(c->bus, at, page, 4);
    cpu_fence(c);
    bus_dma_write(c->bus, at + 4, page + 4, size - 4);
    cpu_fence(c);
    put_le32(page, version + 1);
    bus_dma_write(c->bus, at, page, 4);
}

static void write_time(struct cpu *c)
{
    uint8_t page[32] = {0};
    uint32_t mul;
    int8_t shift;
    uint64_t tsc = cpu_tsc(c);
    if (!(c->s.kvmclock & ENABLE))
        return;
    kvmclock_scale(c->tsc_hz, &mul, &shift);
    put_le64(page + 8, tsc);
    put_le64(page + 16, system_time(c, tsc));
    put_le32(page + 24, mul);
    page[28] = (uint8_t)shift;
    page[29] = stable(c) ? STABLE : 0;
    publish(c, c->s.kvmclock & ~ENABLE, page, sizeof page);
}

/* When the time was 0. */
static void write_wall(struct cpu *c)
{
    uint8_t page[12] = {0};
    uint64_t start = c->wall_start * NS_PER_S + clock_now(c->clock) - system_time(c, cpu_tsc(c));
    put_le32(page + 4, (uint32_t)(start / NS_PER_S));
    put_le32(page + 8, (uint32_t)(start % NS_PER_S));
    publish(c, c->s.kvmclock_wall, page, sizeof page);
}

void kvmclock_adjust(struct cpu *c, uint64_t ticks)
{
    c->s.kvmclock_start += ticks;
    write_time(c);
}

bool kvmclock_read(const struct cpu *c, uint32_t n, uint64_t *v)
{
    if (!has_clock(c) || (n != MSR_WALL_CLOCK && n != MSR_SYSTEM_TIME))
        return false;
    *v = n == MSR_WALL_CLOCK ? c->s.kvmclock_wall : c->s.kvmclock;
    return true;
}

bool kvmclock_write(struct cpu *c, uint32_t n, uint64_t v)
{
    if (!has_clock(c) || (n != MSR_WALL_CLOCK && n != MSR_SYSTEM_TIME))
        return false;
    cpu_lock(c); /* other CPUs may have code in that page */
    if (n == MSR_WALL_CLOCK) {
        c->s.kvmclock_wall = v;
        write_wall(c);
    } else {
        c->s.kvmclock = v;
        write_time(c);
    }
    cpu_unlock(c);
    return true;
}
