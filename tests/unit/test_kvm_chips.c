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

/* --- the interval timer ----------------------------------------------------------------------- */

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

/* Away at `gone`, back `ns` later, and nobody did anything. */
static void pit_trip(struct pit *t, uint64_t ns)
{
    struct kvm_pit_state2 was;
    i8254_pause(&t->p);
    kvm_pit_from(&t->p, now_ns + 5000000, &was); /* the kernel's clock is another */
    now_ns += ns;
    kvm_pit_to(&t->p, now_ns + 5000000, &was, &was);
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
        kvm_pit_to(&t.p, now_ns, &k, &k);
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
    pit_trip(&t, 3000000);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 3);
    assert_int_equal(t.rises, rises);
    now_ns += 3100000;
    clock_run(&t.clock);
    assert_int_equal(pit_in(&t, 0x61) & 0x23, 0x23);
    assert_int_equal(t.rises, rises + 1);
    /* what has run out stays so: the output is up there, too */
    kvm_pit_from(&t.p, now_ns, &k);
    assert_int_equal(k.channels[2].count, 1);
    pit_trip(&t, 3000000);
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
    pit_trip(&t, 26000000); /* its ticks, at 10 and 20 ms, were the kernel's */
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
    kvm_pit_to(&t.p, now_ns, &was, &k);
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
    kvm_pit_to(&t.p, now_ns, &was, &k);
    assert_int_equal(t.p.s.ch[2].reload, 1234);
}

/* The kernel keeps what it is given, and says when it began to count. */
static void test_pit_in_the_kernel(void **state)
{
    struct err e;
    struct pit t;
    struct kvm_vm k = {.dev = kvm_open(&e), .fd = -1};
    struct irq_chips chips = {.pit = &t.p};
    if (k.dev >= 0)
        k.fd = ioctl(k.dev, KVM_CREATE_VM, 0);
    if (k.fd < 0 || ioctl(k.fd, KVM_CREATE_IRQCHIP, 0) < 0) {
        if (k.dev >= 0)
            close(k.dev);
        skip();
    }
    now_ns = NS_PER_S;
    pit_make(&t);
    pit_out(&t, 0x61, 3);
    pit_write(&t, 0, 2, 1193);
    pit_write(&t, 2, 0, 0xffff);
    pit_out(&t, 0x40, 0x12); /* half a count */
    now_ns += 10000000;
    k.chips = &chips;
    kvm_pit_make(&k);
    assert_true(k.pit);
    i8254_pause(&t.p);
    struct i8254_state want = t.p.s;
    for (unsigned i = 0; i < 50; i++) {
        assert_true(kvm_pit_in(&k));
        kvm_pit_out(&k);
        i8254_pause(&t.p);
        want.ch[0].start = t.p.s.ch[0].start; /* a new period */
        want.deadline = t.p.s.deadline;
        want.fired = t.p.s.fired;
        assert_memory_equal(&want, &t.p.s, sizeof want);
    }
    close(k.fd);
    close(k.dev);
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
        cmocka_unit_test(test_pit_there_and_back),
        cmocka_unit_test(test_pit_one_shot),
        cmocka_unit_test(test_pit_phase),
        cmocka_unit_test(test_pit_changed),
        cmocka_unit_test(test_pit_in_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
