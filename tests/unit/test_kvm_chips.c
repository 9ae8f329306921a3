/* The interrupt controllers' states in the kernel's structures: nothing is lost on the way there
 * and back, from either side. */
#include "dev/lapic_timer.h"
#include "engine/kvm_vm.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "cpu_machine.h"

static uint64_t now_ns;

static uint64_t now(void *opaque)
{
    return now_ns;
}

static void fill(struct rng *r, void *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = (uint8_t)rng_next(r);
}

/* A pair's chip as a guest can bring it about. */
static struct i8259_chip some_pic(struct rng *r, bool slave)
{
    struct i8259_chip c = {0};
    static const uint8_t icw[] = {0, 2, 3, 4};
    fill(r, &c.line, 4);
    c.elcr = rng_next(r) & (slave ? 0xde : 0xf8);
    c.base = rng_next(r) & 0xf8;
    c.lowest = rng_next(r) & 7;
    c.icw = icw[rng_next(r) & 3];
    bool *flags[] = {&c.need_icw4, &c.aeoi,     &c.rotate_aeoi, &c.sfnm,
                     &c.poll,      &c.read_isr, &c.special_mask};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        *flags[i] = rng_next(r) & 1;
    return c;
}

static void test_pic(void **state)
{
    struct rng r;
    rng_seed(&r, 1);
    for (unsigned n = 0; n < 500; n++) {
        bool slave = n & 1;
        struct i8259_chip want = some_pic(&r, slave), got = {.line = want.line};
        struct kvm_pic_state k, again;
        kvm_pic_from(&want, slave, &k);
        assert_int_equal(k.priority_add, (want.lowest + 1) % 8);
        kvm_pic_to(&got, slave, &k);
        assert_memory_equal(&want, &got, sizeof want);
        kvm_pic_from(&got, slave, &again);
        assert_memory_equal(&k, &again, sizeof k);
    }
}

/* What the kernel has no field for stays: level-triggered by ICW1, and a pair without a slave. */
static void test_pic_keeps(void **state)
{
    struct i8259_chip c = {.ltim = true, .single = true, .elcr = 0x08};
    struct kvm_pic_state k;
    kvm_pic_from(&c, false, &k);
    assert_int_equal(k.elcr, 0xff);
    kvm_pic_to(&c, false, &k);
    assert_true(c.ltim && c.single);
    assert_int_equal(c.elcr, 0x08);
    /* the cascade follows the slave, all other levels are the board's */
    c.line = 0x12;
    k.last_irr = 0x84;
    kvm_pic_to(&c, false, &k);
    assert_int_equal(c.line, 0x16);
    kvm_pic_to(&c, true, &k);
    assert_int_equal(c.line, 0x16);
}

#define E_LEVEL  0x8000u
#define E_MASKED 0x10000u

static void test_ioapic(void **state)
{
    struct rng r;
    rng_seed(&r, 2);
    for (unsigned n = 0; n < 500; n++) {
        struct ioapic_state want = {.line = rng_next(&r) & 0xffffff,
                                    .id = (rng_next(&r) & 15) << 24,
                                    .select = rng_next(&r) & 0xff};
        struct ioapic_state got = {.line = want.line};
        struct kvm_ioapic_state k, again;
        uint32_t edges = 0;
        for (unsigned i = 0; i < IOAPIC_PINS; i++) {
            uint64_t e = want.entry[i] = rng_next(&r) & 0xff0000000001efffull;
            bool level = (e & E_LEVEL) && (e >> 8 & 7) <= APIC_LOWEST;
            edges |= !level && !(e & E_MASKED) ? 1u << i : 0;
        }
        want.irr = rng_next(&r) & edges;
        kvm_ioapic_from(&want, &k);
        for (unsigned i = 0; i < IOAPIC_PINS; i++) {
            uint64_t e = want.entry[i];
            assert_int_equal(k.redirtbl[i].bits, e);
            if (!(edges >> i & 1) && !(e & E_MASKED)) /* a level: what the wire says */
                assert_int_equal(k.irr >> i & 1, want.line >> i & 1);
        }
        kvm_ioapic_to(&got, &k);
        assert_memory_equal(&want, &got, sizeof want);
        kvm_ioapic_from(&got, &again);
        assert_memory_equal(&k, &again, sizeof k);
    }
}

/* An edge on a masked input, which the kernel keeps, is lost. */
static void test_ioapic_masked_edge(void **state)
{
    struct kvm_ioapic_state k = {.irr = 3};
    struct ioapic_state s = {0};
    k.redirtbl[0].bits = E_MASKED | 0x30;
    k.redirtbl[1].bits = 0x31 | 0x1000;
    kvm_ioapic_to(&s, &k);
    assert_int_equal(s.irr, 2);
    assert_int_equal(s.entry[1], 0x31);
}

static void nothing(void *cpu, bool level) {}

static uint64_t tsc(void *cpu)
{
    return now_ns;
}

struct apic {
    struct clock clock;
    struct apic_bus bus;
    struct lapic l;
};

static void make(struct apic *a)
{
    static const struct lapic_cpu cpu = {.intr = nothing, .tsc = tsc, .tsc_hz = NS_PER_S};
    *a = (struct apic){0};
    clock_init(&a->clock, now, NULL);
    lapic_init(&a->l, 5, &a->bus, &a->clock, NULL, &cpu);
}

enum { ONE_SHOT, PERIODIC, DEADLINE };

static void some_apic(struct rng *r, struct lapic *l, bool x2, unsigned mode)
{
    struct lapic_state *s = &l->s;
    s->base = 0xfee00000 | APIC_BASE_EN | (x2 ? APIC_BASE_X2 : 0);
    fill(r, s->irr, sizeof s->irr);
    fill(r, s->isr, sizeof s->isr);
    fill(r, s->tmr, sizeof s->tmr);
    s->ldr = x2 ? 0 : rng_next(r) & 0xff000000;
    s->dfr = x2 ? 0xffffffff : rng_next(r) | 0x0fffffff;
    s->svr = rng_next(r) & 0x1ff;
    s->icr_low = rng_next(r) & 0xccfff & ~0x1000u;
    s->icr_high = (uint32_t)rng_next(r);
    s->esr = rng_next(r) & 0xe0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        s->lvt[i] = rng_next(r) & 0x1a7ff;
    s->lvt[LVT_TIMER] = (rng_next(r) & 0x100ff) | mode << 17;
    s->timer_divide = rng_next(r) & 0xb;
    s->tpr = (uint8_t)rng_next(r);
    s->tsc_deadline = mode == DEADLINE ? rng_next(r) >> 8 : 0;
    uint32_t initial = mode == DEADLINE ? 0 : (uint32_t)rng_next(r) | 1u << 30;
    lapic_timer_put(l, initial, initial - (mode == DEADLINE ? 0 : 1000));
    lapic_timer_arm(l);
}

static void test_lapic(void **state)
{
    struct rng r;
    rng_seed(&r, 3);
    for (unsigned n = 0; n < 600; n++) {
        struct apic a, b;
        struct kvm_lapic_state k, again;
        bool x2 = n & 1;
        now_ns = rng_next(&r) & 0xffffffffff;
        make(&a);
        make(&b);
        some_apic(&r, &a.l, x2, n % 3);
        b.l.s.base = a.l.s.base;
        now_ns += 12345; /* the count goes on meanwhile */
        uint32_t count = lapic_timer_current(&a.l);
        kvm_lapic_from(&a.l, &k);
        kvm_lapic_to(&b.l, a.l.s.base, a.l.s.tsc_deadline, &k);
        lapic_timer_arm(&b.l);
        assert_int_equal(lapic_timer_current(&b.l), count);
        /* the same moment of expiry, but for what was left of a tick of the divided clock */
        uint64_t x = a.l.s.timer_at, y = b.l.s.timer_at;
        assert_true(x == y || (x < y ? y - x : x - y) < 128);
        kvm_lapic_from(&b.l, &again);
        assert_memory_equal(&k, &again, sizeof k);
        b.l.s.timer_at = x;
        b.l.s.timer_start = a.l.s.timer_start;
        b.l.s.timer_count = a.l.s.timer_count;
        b.l.s.esr_new = a.l.s.esr_new;
        assert_memory_equal(&a.l.s, &b.l.s, sizeof a.l.s);
    }
}

/* A one-shot count that has ended must not end once more: the kernel is told that there is none,
 * and the guest's initial count is kept here. */
static void test_ended_count(void **state)
{
    struct apic a;
    struct kvm_lapic_state k;
    now_ns = 1000;
    make(&a);
    a.l.s.svr = 0x1ff;
    a.l.s.lvt[LVT_TIMER] = 0x40;
    lapic_timer_start(&a.l, 500);
    now_ns += 100000;
    kvm_lapic_from(&a.l, &k); /* it is due, but nobody was told: the kernel does that */
    assert_int_equal(get_le32((uint8_t *)k.regs + 0x380), 500);
    assert_int_equal(get_le32((uint8_t *)k.regs + 0x390), 1);
    clock_run(&a.clock);
    assert_int_equal(a.l.s.irr[2], 1);
    kvm_lapic_from(&a.l, &k);
    assert_int_equal(get_le32((uint8_t *)k.regs + 0x380), 0);
    assert_int_equal(get_le32((uint8_t *)k.regs + 0x390), 0);
    now_ns += 100000;
    kvm_lapic_to(&a.l, a.l.s.base, 0, &k);
    lapic_timer_arm(&a.l);
    assert_int_equal(a.l.s.timer_initial, 500);
    assert_int_equal(lapic_timer_current(&a.l), 0);
    assert_true(a.l.s.timer_at == CLOCK_NEVER);
    /* a count that the guest began under the kernel is taken over */
    put_le32((uint8_t *)k.regs + 0x380, 7000);
    put_le32((uint8_t *)k.regs + 0x390, 6000);
    kvm_lapic_to(&a.l, a.l.s.base, 0, &k);
    assert_int_equal(a.l.s.timer_initial, 7000);
    assert_int_equal(lapic_timer_current(&a.l), 6000);
}

/* A count that ends behind the kernel's back is not lost, and not doubled either. */
static void test_expired(void **state)
{
    static const struct {
        uint32_t lvt, before, now;
        uint8_t irr[2], isr[2]; /* before, now */
        bool requested;
    } row[] = {
        {0x40, 500, 0, {0, 0}, {0, 0}, true},
        {0x40, 500, 0, {0, 1}, {0, 0}, true},  /* the kernel saw to it */
        {0x40, 500, 0, {0, 0}, {0, 1}, false}, /* and the CPU has begun with it */
        {0x40, 500, 0, {1, 0}, {0, 1}, true},  /* that was the one before */
        {0x40, 500, 0, {0, 0}, {1, 1}, true},
        {0x40, 500, 20, {0, 0}, {0, 0}, false},
        {0x40, 0, 0, {0, 0}, {0, 0}, false},
        {0x20040, 500, 900, {0, 0}, {0, 0}, true},
        {0x20040, 500, 400, {0, 0}, {0, 0}, false},
        {0x10040, 500, 0, {0, 0}, {0, 0}, false},
        {0x40040, 500, 0, {0, 0}, {0, 0}, false},
        {0x0f, 500, 0, {0, 0}, {0, 0}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct kvm_lapic_state k[2] = {0};
        for (unsigned j = 0; j < 2; j++) {
            uint8_t *regs = (uint8_t *)k[j].regs;
            put_le32(regs + 0x320, row[i].lvt);
            put_le32(regs + 0x390, j ? row[i].now : row[i].before);
            regs[0x220] = row[i].irr[j];
            regs[0x120] = row[i].isr[j];
        }
        kvm_lapic_expired(&k[1], &k[0]);
        assert_int_equal(k[1].regs[0x220], row[i].requested);
    }
}

/* The kernel has what it is given, whatever it had before. */
static void test_lapic_in_the_kernel(void **state)
{
    struct err e;
    int dev = kvm_open(&e), vm = dev < 0 ? -1 : ioctl(dev, KVM_CREATE_VM, 0);
    if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) {
        if (dev >= 0)
            close(dev);
        skip();
    }
    int fd = ioctl(vm, KVM_CREATE_VCPU, 0);
    struct { /* struct kvm_cpuid2 with its entry */
        uint32_t nent, padding;
        struct kvm_cpuid_entry2 entry;
    } id = {.nent = 1, .entry = {.function = 1, .ecx = 1 << 24, .edx = 1 << 9}};
    assert_true(fd >= 0 && ioctl(fd, KVM_SET_CPUID2, &id) >= 0);
    for (unsigned i = 0; i < 6; i++) {
        struct kvm_lapic_state k = {0}, got;
        struct { /* struct kvm_msrs with its entry */
            uint32_t nmsrs, pad;
            struct kvm_msr_entry entry;
        } m = {.nmsrs = 1, .entry = {.index = 0x6e0}};
        uint64_t deadline = i == 0 || i == 3 ? 1ull << 60 : 0;
        bool counts = i == 2 || i == 4;
        put_le32((uint8_t *)k.regs + 0xf0, 0x1ff);
        put_le32((uint8_t *)k.regs + 0x320, counts ? 0x40 : 0x40040);
        put_le32((uint8_t *)k.regs + 0x380, 4000000000);
        put_le32((uint8_t *)k.regs + 0x390, counts ? 3000000000 : 0);
        put_le32((uint8_t *)k.regs + 0x3e0, 0xb);
        assert_true(kvm_lapic_set(fd, &k, deadline));
        assert_int_equal(ioctl(fd, KVM_GET_MSRS, &m), 1);
        assert_true(m.entry.data == deadline);
        assert_true(ioctl(fd, KVM_GET_LAPIC, &got) >= 0);
        if (counts)
            assert_in_range(get_le32((uint8_t *)got.regs + 0x390), 1, 3000000000);
    }
    close(fd);
    close(vm);
    close(dev);
}

/* --- the interval timer ----------------------------------------------------------------------- */

#define COUNT_HOUR 0xffff0000u /* and up: no tick comes */

struct pit {
    struct clock clock;
    struct i8254 p;
    unsigned rises;
    bool level;
};

static void pit_line(void *opaque, unsigned n, bool level)
{
    struct pit *t = opaque;
    t->rises += level && !t->level;
    t->level = level;
}

static void pit_make(struct pit *t)
{
    *t = (struct pit){0};
    clock_init(&t->clock, now, NULL);
    i8254_init(&t->p, &t->clock, NULL, (struct irq){pit_line, t, 0});
}

static void pit_out(struct pit *t, unsigned port, unsigned v)
{
    struct region *r = port == 0x61 ? &t->p.port61 : &t->p.io;
    r->ops->write(r->dev, port == 0x61 ? 0 : port - 0x40, 1, v);
}

static unsigned pit_in(struct pit *t, unsigned port)
{
    struct region *r = port == 0x61 ? &t->p.port61 : &t->p.io;
    return (unsigned)r->ops->read(r->dev, port == 0x61 ? 0 : port - 0x40, 1);
}

/* Away, back `ns` later, and nobody did anything; `came`: the tick that was due in the kernel. */
static void pit_trip(struct pit *t, uint64_t ns, bool came)
{
    struct kvm_pit_state2 was;
    i8254_pause(&t->p);
    kvm_pit_from(&t->p, now_ns + 5000000, &was); /* the kernel's clock is another */
    now_ns += ns;
    kvm_pit_to(&t->p, now_ns + 5000000, &was, &was, came);
    t->level |= came; /* an edge that came was the kernel's */
    i8254_resume(&t->p);
}

static void pit_write(struct pit *t, unsigned channel, unsigned mode, unsigned count)
{
    pit_out(t, 0x43, channel << 6 | 0x30 | mode << 1);
    pit_out(t, 0x40 + channel, count & 0xff);
    pit_out(t, 0x40 + channel, count >> 8);
}

/* Every setting a guest can make comes back as it was, in the middle of a byte pair or a latch. */
static void test_pit_there_and_back(void **state)
{
    struct rng r;
    rng_seed(&r, 4);
    for (unsigned n = 0; n < 3000; n++) {
        struct pit t;
        now_ns = (rng_next(&r) & 0xffffffffff) + NS_PER_S;
        pit_make(&t);
        for (unsigned i = 0, steps = rng_next(&r) % 24; i < steps; i++) {
            static const uint16_t port[] = {0x40, 0x41, 0x42, 0x43, 0x43, 0x61};
            unsigned at = port[rng_next(&r) % ARRAY_LEN(port)], v = rng_next(&r) & 0xff;
            if (rng_next(&r) % 4 == 0)
                pit_in(&t, at);
            else
                pit_out(&t, at, at == 0x43 ? v & 0xfe : v);
            now_ns += rng_next(&r) % 4000000;
        }
        i8254_pause(&t.p);
        struct i8254_state was = t.p.s;
        struct kvm_pit_state2 k, again;
        kvm_pit_from(&t.p, now_ns, &k);
        kvm_pit_to(&t.p, now_ns, &k, &k, (k.channels[0].count & COUNT_HOUR) == COUNT_HOUR);
        kvm_pit_from(&t.p, now_ns, &again);
        for (unsigned i = 0; i < 3; i++) {
            struct i8254_channel *a = &was.ch[i], *b = &t.p.s.ch[i];
            assert_true(b->mode == a->mode && b->rw == a->rw && b->bcd == a->bcd);
            assert_true(b->gate == a->gate && b->counting == a->counting);
            assert_true(b->loaded == a->loaded && b->triggered == a->triggered);
            assert_true(b->write_high == a->write_high && b->low == a->low);
            assert_int_equal(b->status_latched, a->status_latched);
            assert_int_equal(b->latch, a->latch);
            assert_int_equal(b->reload, b->reload_at == a->reload_at ? a->reload : a->next);
            /* a latch in the middle of a pair: its bytes are in an order the kernel has not */
            bool odd = a->rw == 3 && a->latched && a->read_high == (a->latched == 2);
            assert_true(odd || (b->latched == a->latched && b->read_high == a->read_high));
            if (!odd)
                assert_memory_equal(&k.channels[i], &again.channels[i], sizeof k.channels[i]);
        }
        assert_int_equal(t.p.s.speaker, was.speaker);
        assert_int_equal(k.flags, again.flags);
    }
}

/* One-shot counts end when they would have, on channel 0 and as port 61's output. */
static void test_pit_one_shot(void **state)
{
    struct pit t;
    now_ns = NS_PER_S;
    pit_make(&t);
    pit_out(&t, 0x61, 3);
    pit_write(&t, 2, 0, 11932); /* 10 ms */
    pit_write(&t, 0, 4, 11932);
    now_ns += 4000000;
    struct kvm_pit_state2 k;
    kvm_pit_from(&t.p, now_ns, &k);
    assert_int_equal(k.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
    assert_in_range(k.channels[0].count, 7150, 7170);
    assert_in_range(k.channels[2].count, 7150, 7170);
    unsigned rises = t.rises;
    pit_trip(&t, 3000000, false);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 3);
    assert_int_equal(t.rises, rises);
    now_ns += 3100000;
    clock_run(&t.clock);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 0x23);
    assert_int_equal(t.rises, rises + 1);
    /* what has run out stays so: the output is up there, too */
    kvm_pit_from(&t.p, now_ns, &k);
    assert_int_equal(k.channels[2].count, 1);
    assert_int_equal(k.channels[0].count & COUNT_HOUR, COUNT_HOUR);
    pit_trip(&t, 3000000, true);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 0x23);
    clock_run(&t.clock);
    assert_int_equal(t.rises, rises + 1);
}

/* The kernel starts periods anew, and ours go on from its. */
static void test_pit_phase(void **state)
{
    struct pit t;
    now_ns = NS_PER_S;
    pit_make(&t);
    pit_write(&t, 0, 2, 11932);
    now_ns += 4000000;
    unsigned rises = t.rises;
    pit_trip(&t, 26000000, true); /* its ticks, at 10 and 20 ms, were the kernel's */
    assert_int_equal(t.rises, rises);
    now_ns += 3900000;
    clock_run(&t.clock);
    assert_int_equal(t.rises, rises);
    now_ns += 200000;
    clock_run(&t.clock);
    assert_int_equal(t.rises, rises + 1);
}

/* What the guest did while the kernel had it. */
static void test_pit_changed(void **state)
{
    struct pit t;
    struct kvm_pit_state2 was, k;
    now_ns = 10 * NS_PER_S;
    pit_make(&t);
    kvm_pit_from(&t.p, now_ns, &was);
    assert_int_equal(was.channels[0].mode, 5); /* never touched: no tick comes */
    k = was;
    k.flags = KVM_PIT_FLAGS_SPEAKER_DATA_ON;
    k.channels[0].mode = 3;
    k.channels[0].count = 1193;
    k.channels[2].mode = 0;
    k.channels[2].gate = 1;
    k.channels[2].count = 0x8000;
    k.channels[2].count_load_time += 5000000;
    now_ns += 15000000;
    kvm_pit_to(&t.p, now_ns, &was, &k, true);
    i8254_resume(&t.p);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 3);
    pit_out(&t, 0x43, 0x80);
    unsigned count = pit_in(&t, 0x42);
    count |= pit_in(&t, 0x42) << 8;
    assert_in_range(count, 0x8000 - 11933, 0x8000 - 11930);
    unsigned rises = t.rises;
    for (unsigned i = 0; i < 40; i++) {
        now_ns += 250000;
        clock_run(&t.clock);
    }
    assert_in_range(t.rises - rises, 9, 10);
    /* a count in BCD, which the kernel has as it was written */
    kvm_pit_from(&t.p, now_ns, &was);
    k = was;
    k.channels[2].bcd = 1;
    k.channels[2].count = 0x1234;
    k.channels[2].count_load_time = (int64_t)now_ns;
    kvm_pit_to(&t.p, now_ns, &was, &k, true);
    assert_int_equal(t.p.s.ch[2].reload, 1234);
}

/* Lets the time pass and counts the ticks. */
static unsigned pit_ticks(struct pit *t, uint64_t ns)
{
    unsigned rises = t->rises;
    for (uint64_t end = now_ns + ns; now_ns < end;) {
        now_ns += 10000;
        clock_run(&t->clock);
    }
    return t->rises - rises;
}

/* Each tick is the kernel's or ours, whenever the timer changes sides. */
static void test_pit_each_tick_once(void **state)
{
    struct pit t;
    struct kvm_pit_state2 k;
    static const uint8_t mode[] = {0, 4, 2, 3};
    for (unsigned i = 0; i < ARRAY_LEN(mode); i++) {
        bool repeats = mode[i] == 2 || mode[i] == 3;
        now_ns = 10 * NS_PER_S;
        pit_make(&t);
        pit_write(&t, 0, mode[i], 11932); /* 10 ms */
        pit_ticks(&t, 9000000);
        /* due between the pause and the giving: the kernel has it at once, or it was added up */
        i8254_pause(&t.p);
        now_ns += 1100000;
        kvm_pit_from(&t.p, now_ns, &k);
        assert_int_equal(k.channels[0].count, repeats ? 11932 : 1);
        /* the kernel had not brought it yet when it stopped: ours comes at once, and then as ever
         */
        now_ns += 100000;
        kvm_pit_to(&t.p, now_ns, &k, &k, false);
        i8254_resume(&t.p);
        assert_int_equal(pit_ticks(&t, 100000), 1);
        assert_int_equal(pit_ticks(&t, 24900000), repeats ? 2 : 0);
        /* the same, brought */
        pit_write(&t, 0, mode[i], 11932);
        pit_ticks(&t, 9000000);
        pit_trip(&t, repeats ? 10500000 : 2000000, true);
        assert_int_equal(pit_ticks(&t, 100000), 0);
        assert_int_equal(pit_ticks(&t, 24900000), repeats ? 2 : 0);
    }
}

/* Counts are known from control words, halves of counts, and the same count once more. */
static void test_pit_programmed(void **state)
{
    struct pit t;
    struct kvm_pit_state2 was, k;
    now_ns = 10 * NS_PER_S;
    pit_make(&t);
    pit_write(&t, 0, 0, 0x1234);
    i8254_pause(&t.p);
    kvm_pit_from(&t.p, now_ns, &was);
    struct kvm_pit_channel_state *c = &k.channels[0];
    /* a control word alone: no tick will come */
    k = was;
    c->mode = 4;
    kvm_pit_to(&t.p, now_ns, &was, &k, true);
    assert_true(t.p.s.ch[0].mode == 4 && !t.p.s.ch[0].loaded);
    kvm_pit_from(&t.p, now_ns, &was);
    assert_int_equal(was.channels[0].count & COUNT_HOUR, COUNT_HOUR);
    assert_int_equal(was.channels[0].mode, 4);
    /* the low half of a count, then both */
    k = was;
    c->write_latch = 0x78;
    c->write_state = 4;
    kvm_pit_to(&t.p, now_ns, &was, &k, true);
    assert_true(t.p.s.ch[0].write_high && t.p.s.ch[0].low == 0x78 && !t.p.s.ch[0].loaded);
    kvm_pit_from(&t.p, now_ns, &was);
    assert_int_equal(was.channels[0].write_latch, 0x78);
    k = was;
    c->write_state = 3;
    c->count = 0x5678;
    now_ns += 20 * (NS_PER_S / I8254_HZ);
    kvm_pit_to(&t.p, now_ns, &was, &k, false);
    assert_true(t.p.s.ch[0].loaded && t.p.s.ch[0].reload == 0x5678);
    i8254_resume(&t.p);
    assert_int_equal(i8254_elapsed(&t.p, 0), 0);
    /* the count that is left, written by the guest */
    now_ns += NS_PER_S / 1000;
    i8254_pause(&t.p);
    kvm_pit_from(&t.p, now_ns, &was);
    now_ns += NS_PER_S / 1000;
    k = was;
    kvm_pit_to(&t.p, now_ns, &was, &k, false);
    assert_int_equal(t.p.s.ch[0].reload, 0x5678);
    c->write_latch = (uint8_t)c->count;
    kvm_pit_to(&t.p, now_ns, &was, &k, false);
    assert_int_equal(t.p.s.ch[0].reload, was.channels[0].count);
    assert_int_equal(i8254_elapsed(&t.p, 0), 0);
    /* in mode 0 the first half stops the count */
    pit_write(&t, 0, 0, 0x1234);
    kvm_pit_from(&t.p, now_ns, &was);
    k = was;
    c->write_state = 4;
    kvm_pit_to(&t.p, now_ns, &was, &k, false);
    assert_true(!t.p.s.ch[0].loaded && !t.p.s.ch[0].counting);
}

/* While the HPET stands in for channel 0, that counts on as it did. */
static void test_pit_off(void **state)
{
    struct pit t;
    struct kvm_pit_state2 was;
    now_ns = 10 * NS_PER_S;
    pit_make(&t);
    pit_write(&t, 0, 2, 11932);
    now_ns += 4000000;
    i8254_pause(&t.p);
    kvm_pit_from(&t.p, now_ns, &was);
    was.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
    uint64_t start = t.p.s.ch[0].start;
    now_ns += 3000000;
    kvm_pit_to(&t.p, now_ns, &was, &was, true);
    assert_int_equal(t.p.s.ch[0].start, start);
}

struct pit_vm {
    struct pit t;
    struct i8259 pic;
    struct irq_chips chips;
    struct kvm_vm k;
};

static void no_intr(void *opaque, unsigned n, bool level) {}

static void pit_vm_make(struct pit_vm *m)
{
    struct err e;
    *m = (struct pit_vm){.k = {.dev = kvm_open(&e), .fd = -1}};
    if (m->k.dev >= 0)
        m->k.fd = ioctl(m->k.dev, KVM_CREATE_VM, 0);
    if (m->k.fd < 0 || ioctl(m->k.fd, KVM_CREATE_IRQCHIP, 0) < 0) {
        if (m->k.dev >= 0)
            close(m->k.dev);
        skip();
    }
    pit_make(&m->t);
    i8259_init(&m->pic, NULL, (struct irq){no_intr, NULL, 0});
    m->chips = (struct irq_chips){.pit = &m->t.p, .pic = &m->pic};
    m->k.chips = &m->chips;
    kvm_pit_make(&m->k);
    assert_true(m->k.pit);
}

static void pit_vm_free(struct pit_vm *m)
{
    close(m->k.fd);
    close(m->k.dev);
}

/* Whether the kernel's has ticked since the last time. */
static bool kernel_ticked(struct pit_vm *m)
{
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};
    assert_true(ioctl(m->k.fd, KVM_GET_IRQCHIP, &chip) >= 0);
    bool was = chip.chip.pic.irr & 1;
    chip.chip.pic.irr &= 0xfe;
    assert_true(ioctl(m->k.fd, KVM_SET_IRQCHIP, &chip) >= 0);
    return was;
}

/* The kernel keeps what it is given, and says when it began to count. */
static void test_pit_in_the_kernel(void **state)
{
    struct pit_vm m;
    now_ns = NS_PER_S;
    pit_vm_make(&m);
    pit_out(&m.t, 0x61, 3);
    pit_write(&m.t, 0, 2, 0xffff);
    pit_write(&m.t, 2, 0, 0xffff);
    pit_out(&m.t, 0x40, 0x12); /* half a count */
    now_ns += 10000000;
    i8254_pause(&m.t.p);
    struct i8254_state want = m.t.p.s;
    for (unsigned i = 0; i < 50; i++) {
        assert_true(kvm_pit_in(&m.k));
        kvm_pit_stop(&m.k);
        kvm_pit_out(&m.k);
        i8254_pause(&m.t.p);
        want.ch[0].start = m.t.p.s.ch[0].start; /* a new period */
        want.deadline = m.t.p.s.deadline;
        want.fired = m.t.p.s.fired;
        assert_memory_equal(&want, &m.t.p.s, sizeof want);
    }
    pit_vm_free(&m);
}

/* A one-shot that is there while it runs out, or before or after, ticks once, and not again while
 * it goes to and fro. */
static void test_pit_kernel_one_shot(void **state)
{
    struct pit_vm m;
    struct rng r;
    rng_seed(&r, 5);
    now_ns = monotonic();
    pit_vm_make(&m);
    for (unsigned i = 0; i < 60; i++) {
        unsigned there = 0, ours = m.t.rises, trips = 0;
        now_ns = monotonic();
        pit_write(&m.t, 0, i & 1 ? 4 : 0, 1024); /* 0.86 ms */
        m.t.level = i & 1;
        ours = m.t.rises;
        for (uint64_t end = now_ns + 3000000; now_ns < end; trips++) {
            i8254_pause(&m.t.p);
            assert_true(kvm_pit_in(&m.k));
            usleep(rng_next(&r) % 1200);
            kvm_pit_stop(&m.k);
            bool ticked = kernel_ticked(&m);
            there += ticked;
            now_ns = monotonic();
            kvm_pit_out(&m.k);
            m.t.level |= ticked;
            i8254_resume(&m.t.p);
            now_ns = monotonic();
            clock_run(&m.t.clock);
        }
        assert_int_equal(there + (m.t.rises - ours), 1);
    }
    pit_vm_free(&m);
}

/* With the HPET in its place the kernel's does not tick; and does again after that. */
static void test_pit_kernel_off(void **state)
{
    struct pit_vm m;
    now_ns = monotonic();
    pit_vm_make(&m);
    pit_write(&m.t, 0, 2, 1193);
    for (unsigned i = 0; i < 6; i++) {
        m.chips.pit_off = i % 3;
        i8254_pause(&m.t.p);
        assert_true(kvm_pit_in(&m.k));
        kernel_ticked(&m); /* what had been added up */
        usleep(10000);
        kvm_pit_stop(&m.k);
        assert_int_equal(kernel_ticked(&m), !m.chips.pit_off);
        assert_int_equal(m.k.pit_now.flags & KVM_PIT_FLAGS_HPET_LEGACY, m.chips.pit_off);
        now_ns = monotonic();
        kvm_pit_out(&m.k);
        i8254_resume(&m.t.p);
    }
    pit_vm_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pic),
        cmocka_unit_test(test_pic_keeps),
        cmocka_unit_test(test_ioapic),
        cmocka_unit_test(test_ioapic_masked_edge),
        cmocka_unit_test(test_lapic),
        cmocka_unit_test(test_ended_count),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_lapic_in_the_kernel),
        cmocka_unit_test(test_pit_there_and_back),
        cmocka_unit_test(test_pit_one_shot),
        cmocka_unit_test(test_pit_phase),
        cmocka_unit_test(test_pit_changed),
        cmocka_unit_test(test_pit_each_tick_once),
        cmocka_unit_test(test_pit_programmed),
        cmocka_unit_test(test_pit_off),
        cmocka_unit_test(test_pit_in_the_kernel),
        cmocka_unit_test(test_pit_kernel_one_shot),
        cmocka_unit_test(test_pit_kernel_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
