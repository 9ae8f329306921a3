/* KVM's paravirtual clock: the page's arithmetic against the HPET, through a change of the
 * time-stamp counter, and the time of day at its start (Linux, Documentation/virt/kvm/x86/msr.rst).
 *
 * kind: check32
 * args: --cpu v3,+kvmclock --rtc 1000000000
 * qemu: no
 */
#include "lib/check.h"

#define WALL      0x4b564d00u
#define TIME      0x4b564d01u
#define NS_PER_MS 1000000ull

static struct {
    uint32_t version, pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
} volatile page __attribute__((aligned(64)));
static volatile uint32_t wall[3];

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return lo | (uint64_t)hi << 32;
}

static uint64_t now(void)
{
    uint64_t d = rdtsc() - page.tsc;
    d = page.shift < 0 ? d >> -page.shift : d << page.shift;
    return page.ns + ((d >> 32) * page.mul + ((d & 0xffffffff) * page.mul >> 32));
}

static uint64_t hpet(void)
{
    return *(volatile uint32_t *)0xfed000f0 * 10ull; /* ns; 43 seconds long */
}

static void leaves(void)
{
    struct cpuid r = cpuid(0x40000000, 0);
    same("the last leaf", r.a, 0x40000001);
    same("KVMK", r.b, 0x4b4d564b);
    same("VMKV", r.c, 0x564b4d56);
    same("M", r.d, 0x4d);
    r = cpuid(0x40000001, 0);
    same("the MSRs, and stable", r.a, 1 << 3 | 1 << 24);
}

/* What lies between two looks at the one clock lies between looks at the other. */
static void rate(const char *name)
{
    uint64_t a = hpet(), t = now(), b = hpet(), c, u, d;
    do {
        c = hpet();
        u = now();
        d = hpet();
    } while (c - b < 20 * NS_PER_MS);
    same(name, u - t >= (c - b) - ((c - b) >> 9) && u - t <= (d - a) + ((d - a) >> 9), 1);
}

/* now(), between two looks at the HPET. */
struct moment {
    uint64_t before, now, after;
};

static struct moment moment(void)
{
    struct moment m;
    m.before = hpet();
    m.now = now();
    m.after = hpet();
    return m;
}

/* Time went on, and not by more than by the HPET. */
static bool goes_on(struct moment a, struct moment b)
{
    uint64_t most = b.after - a.before;
    return b.now >= a.now && b.now - a.now <= most + (most >> 9) + NS_PER_MS;
}

static void time_page(void)
{
    wrmsr(TIME, (uint32_t)&page | 1);
    same("where the page is", rdmsr(TIME), (uint32_t)&page | 1);
    same("a version", page.version != 0 && !(page.version & 1), 1);
    same("stable", page.flags, 1);
    same("the counter, a while ago", page.tsc <= rdtsc(), 1);
    same("a rate", page.mul >> 31, 1);
    rate("as fast as the HPET");
    struct moment before = moment();
    uint32_t version = page.version;
    wrmsr(0x10, 12345);
    struct moment after = moment();
    same("a new version", page.version != version && !(page.version & 1), 1);
    same("the counter began anew", page.tsc >= 12345 && page.tsc <= rdtsc(), 1);
    same("time did not", goes_on(before, after), 1);
    rate("as fast as the HPET still");
    before = moment();
    wrmsr(TIME, (uint32_t)&page | 1);
    after = moment();
    same("the same time by a new page", goes_on(before, after), 1);
    version = page.version;
    wrmsr(TIME, 0);
    wrmsr(0x10, 0);
    same("no page is written any more", page.version, version);
}

static void wall_clock(void)
{
    wrmsr(WALL, (uint32_t)wall);
    same("a version of the start", wall[0] != 0 && !(wall[0] & 1), 1);
    same("the second of the start", wall[1] == 1000000000 || wall[1] == 1000000001, 1);
    same("and its nanosecond", wall[2] < 1000000000, 1);
}

void checks(void)
{
    *(volatile uint32_t *)0xfed00010 = 1;
    leaves();
    time_page();
    wall_clock();
}
