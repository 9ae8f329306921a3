/* The interrupt controllers' states in the kernel's structures: nothing is lost on the way there
 * and back, from either side. */
#include "dev/lapic_timer.h"
#include "engine/kvm_vm.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pic),    cmocka_unit_test(test_pic_keeps),
        cmocka_unit_test(test_ioapic), cmocka_unit_test(test_ioapic_masked_edge),
        cmocka_unit_test(test_lapic),  cmocka_unit_test(test_ended_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
