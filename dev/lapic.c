#include "dev/lapic.h"

#include "dev/lapic_timer.h"

/* Register offsets, divided by 16: the low byte of the x2APIC's MSR numbers. */
enum {
    R_ID = 0x02,
    R_VERSION = 0x03,
    R_TPR = 0x08,
    R_APR = 0x09,
    R_PPR = 0x0a,
    R_EOI = 0x0b,
    R_RRD = 0x0c,
    R_LDR = 0x0d,
    R_DFR = 0x0e,
    R_SVR = 0x0f,
    R_ISR = 0x10,
    R_TMR = 0x18,
    R_IRR = 0x20,
    R_ESR = 0x28,
    R_ICR_LOW = 0x30,
    R_ICR_HIGH = 0x31,
    R_LVT = 0x32,
    R_INITIAL = 0x38,
    R_CURRENT = 0x39,
    R_DIVIDE = 0x3e,
    R_SELF_IPI = 0x3f,
};

#define VERSION      ((LVT_COUNT - 1) << 16 | 0x14)
#define SVR_ENABLE   0x100u
#define LVT_MASKED   0x10000u
#define LVT_REMOTE   0x4000u
#define LVT_LEVEL    0x8000u
#define LVT_MODE(v)  ((v) >> 8 & 7)
#define ESR_SEND     0x20u /* illegal vector sent */
#define ESR_RECEIVE  0x40u /* illegal vector received */
#define ESR_REGISTER 0x80u /* no such register */
#define MSR_DEADLINE 0x6e0

/* clang-format off */
STATE_TABLE(lapic_table, "lapic", struct lapic_state,
    STATE(struct lapic_state, base),
    STATE(struct lapic_state, timer_start),
    STATE(struct lapic_state, timer_at),
    STATE(struct lapic_state, tsc_deadline),
    STATE_ARRAY(struct lapic_state, irr),
    STATE_ARRAY(struct lapic_state, isr),
    STATE_ARRAY(struct lapic_state, tmr),
    STATE(struct lapic_state, ldr),
    STATE(struct lapic_state, dfr),
    STATE(struct lapic_state, svr),
    STATE(struct lapic_state, icr_low),
    STATE(struct lapic_state, icr_high),
    STATE(struct lapic_state, esr),
    STATE(struct lapic_state, esr_new),
    STATE_ARRAY(struct lapic_state, lvt),
    STATE(struct lapic_state, timer_initial),
    STATE(struct lapic_state, timer_count),
    STATE(struct lapic_state, timer_divide),
    STATE(struct lapic_state, tpr),
    STATE_ARRAY(struct lapic_state, lint),
    STATE(struct lapic_state, extint),
    STATE(struct lapic_state, unused));

/* Bits that can be written in each LVT register. */
static const uint32_t lvt_mask[LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff, [LVT_ERROR] = 0x100ff,
};
/* clang-format on */

static bool enabled(const struct lapic *l)
{
    return l->s.base & APIC_BASE_EN;
}

static bool x2apic(const struct lapic *l)
{
    return l->s.base & APIC_BASE_X2;
}

static bool software_enabled(const struct lapic *l)
{
    return enabled(l) && (l->s.svr & SVR_ENABLE);
}

/* --- vectors --- */

/* Changes are one at a time, but lapic_pending() may look at any moment (lapic.h). */
static void set_bit(uint32_t *set, uint8_t v)
{
    __atomic_store_n(&set[v >> 5], set[v >> 5] | 1u << (v & 31), __ATOMIC_RELAXED);
}

static void clear_bit(uint32_t *set, uint8_t v)
{
    __atomic_store_n(&set[v >> 5], set[v >> 5] & ~(1u << (v & 31)), __ATOMIC_RELAXED);
}

static bool get_bit(const uint32_t *set, uint8_t v)
{
    return set[v >> 5] >> (v & 31) & 1;
}

/* The highest vector in the set, or -1. */
static int highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t word = __atomic_load_n(&set[i], __ATOMIC_RELAXED);
        if (word)
            return i * 32 + 31 - __builtin_clz(word);
    }
    return -1;
}

/* Processor priority (SDM 3A 11.8.3.1). */
static uint8_t ppr(const struct lapic *l)
{
    int isr = highest(l->s.isr);
    uint8_t serving = isr < 0 ? 0 : (uint8_t)isr & 0xf0;
    return (l->s.tpr & 0xf0) >= serving ? l->s.tpr : serving;
}

/* The vector in IRR that may interrupt now, or -1. */
static int deliverable(const struct lapic *l)
{
    int v = highest(l->s.irr);
    return v >= 0 && (v & 0xf0) > (ppr(l) & 0xf0) ? v : -1;
}

/* Does the virtual wire ask? With the APIC off, LINT0 is the CPU's INTR pin. */
static bool ext_pending(const struct lapic *l)
{
    uint32_t lvt = l->s.lvt[LVT_LINT0];
    bool wire = __atomic_load_n(&l->s.lint[0], __ATOMIC_RELAXED);
    if (!enabled(l))
        return wire;
    return __atomic_load_n(&l->s.extint, __ATOMIC_RELAXED) ||
           (wire && LVT_MODE(lvt) == APIC_EXTINT && !(lvt & LVT_MASKED));
}

bool lapic_pending(void *apic)
{
    const struct lapic *l = apic;
    return ext_pending(l) || (enabled(l) && deliverable(l) >= 0);
}

static void update(struct lapic *l)
{
    l->cpu.intr(l->cpu.cpu, lapic_pending(l));
}

int lapic_ack(void *apic)
{
    struct lapic *l = apic;
    int v;
    /* ExtINT has no priority of its own: it passes by PPR (SDM 3A 11.8.3). */
    if (ext_pending(l)) {
        __atomic_store_n(&l->s.extint, false, __ATOMIC_RELAXED);
        v = l->cpu.ext_ack(l->cpu.cpu);
        update(l);
        return v;
    }
    v = enabled(l) ? deliverable(l) : -1;
    if (v < 0) {
        update(l);
        return -1;
    }
    clear_bit(l->s.irr, (uint8_t)v);
    set_bit(l->s.isr, (uint8_t)v);
    update(l);
    return v;
}

static void error(struct lapic *l, uint32_t bit)
{
    uint32_t lvt = l->s.lvt[LVT_ERROR];
    l->s.esr_new |= bit;
    if (!(lvt & LVT_MASKED) && software_enabled(l) && (lvt & 0xff) >= 16) {
        set_bit(l->s.irr, (uint8_t)lvt);
        clear_bit(l->s.tmr, (uint8_t)lvt);
        update(l);
    }
}

static bool accept(struct lapic *l, uint8_t vector, bool level)
{
    if (!software_enabled(l))
        return false;
    if (vector < 16) {
        error(l, ESR_RECEIVE);
        return false;
    }
    set_bit(l->s.irr, vector);
    if (level)
        set_bit(l->s.tmr, vector);
    else
        clear_bit(l->s.tmr, vector);
    update(l);
    return true;
}

/* --- messages --- */

static void init_state(struct lapic *l)
{
    struct lapic_state *s = &l->s;
    *s = (struct lapic_state){.base = s->base, .lint = {s->lint[0], s->lint[1]}};
    s->dfr = 0xffffffff;
    s->svr = 0xff;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        s->lvt[i] = LVT_MASKED;
    lapic_timer_arm(l);
}

/* One message that has found its CPU. */
static bool take(struct lapic *l, const struct apic_msg *m)
{
    void *cpu = l->cpu.cpu;
    switch (m->mode) {
    case APIC_FIXED:
    case APIC_LOWEST: return accept(l, m->vector, m->level);
    case APIC_NMI: l->cpu.nmi(cpu); return true;
    case APIC_INIT:
        init_state(l);
        update(l);
        l->cpu.init(cpu);
        return true;
    case APIC_SIPI: l->cpu.sipi(cpu, m->vector); return true;
    case APIC_EXTINT:
        __atomic_store_n(&l->s.extint, true, __ATOMIC_RELAXED);
        update(l);
        return true;
    default: LOG(l->log, DEV, "lapic %u: message of mode %u ignored", l->id, m->mode); return false;
    }
}

static uint32_t x2_logical(const struct lapic *l)
{
    return l->id >> 4 << 16 | 1u << (l->id & 15);
}

/* SDM 3A 11.6.2. A destination beyond 8 bits is for x2APICs alone. */
static bool matches(const struct lapic *l, const struct apic_msg *m)
{
    uint32_t ldr = l->s.ldr >> 24;
    if (!enabled(l))
        return false;
    if (m->dest == APIC_ALL)
        return true;
    if (!m->logical)
        return m->dest == l->id;
    if (x2apic(l)) {
        ldr = x2_logical(l);
        return m->dest >> 16 == ldr >> 16 && (m->dest & ldr & 0xffff);
    }
    if (m->dest > 0xff)
        return false;
    if (l->s.dfr >> 28 == 0xf)
        return m->dest & ldr;
    return (m->dest >> 4 == 0xf || m->dest >> 4 == ldr >> 4) && (m->dest & ldr & 0xf);
}

static bool send_lowest(struct apic_bus *b, const struct apic_msg *m)
{
    struct lapic *best = NULL;
    for (unsigned i = 0; i < b->count; i++) {
        struct lapic *l = b->lapic[i];
        if (matches(l, m) && software_enabled(l) && (!best || ppr(l) < ppr(best)))
            best = l;
    }
    return best && take(best, m);
}

bool apic_bus_send(struct apic_bus *b, const struct apic_msg *m)
{
    bool taken = false;
    if (m->mode == APIC_LOWEST)
        return send_lowest(b, m);
    for (unsigned i = 0; i < b->count; i++)
        if (matches(b->lapic[i], m))
            taken |= take(b->lapic[i], m);
    return taken;
}

bool apic_bus_msi(struct apic_bus *b, uint64_t addr, uint32_t data)
{
    struct apic_msg m = {.dest = addr >> 12 & 0xff,
                         .vector = (uint8_t)data,
                         .mode = data >> 8 & 7,
                         .logical = addr & 4,
                         .level = data & 0x8000};
    if (!m.logical && m.dest == 0xff)
        m.dest = APIC_ALL;
    return apic_bus_send(b, &m);
}

/* A write of ICR's low half (SDM 3A 11.6.1). */
static void send_ipi(struct lapic *l)
{
    uint32_t low = l->s.icr_low, shorthand = low >> 18 & 3;
    struct apic_msg m = {.dest = x2apic(l) ? l->s.icr_high : l->s.icr_high >> 24,
                         .vector = (uint8_t)low,
                         .mode = low >> 8 & 7,
                         .logical = low & 0x800};
    if (m.mode == APIC_INIT && (low & 0xc000) == 0x8000)
        return; /* INIT level de-assert: only old APICs did something with it */
    if (m.mode == APIC_REMOTE_READ || m.mode == APIC_EXTINT)
        return;
    if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST) && m.vector < 16) {
        error(l, ESR_SEND);
        return;
    }
    if (!x2apic(l) && !m.logical && m.dest == 0xff)
        m.dest = APIC_ALL;
    if (shorthand == 0) {
        apic_bus_send(l->bus, &m);
    } else if (shorthand == 1) {
        if (m.mode == APIC_FIXED)
            take(l, &m);
    } else {
        /* Each CPU by itself, also for lowest priority, of which one alone would get it. */
        for (unsigned i = 0; i < l->bus->count; i++) {
            struct lapic *other = l->bus->lapic[i];
            if (enabled(other) && (shorthand == 2 || other != l))
                take(other, &m);
        }
    }
}

static void end_of_interrupt(struct lapic *l)
{
    int v = highest(l->s.isr);
    uint32_t *lint0 = &l->s.lvt[LVT_LINT0];
    if (v < 0)
        return;
    clear_bit(l->s.isr, (uint8_t)v);
    if (get_bit(l->s.tmr, (uint8_t)v)) {
        if ((*lint0 & LVT_REMOTE) && (*lint0 & 0xff) == (uint32_t)v) {
            *lint0 &= ~LVT_REMOTE;
            lapic_lint(l, 0, l->s.lint[0]);
        }
        if (l->bus->eoi)
            l->bus->eoi(l->bus->opaque, (uint8_t)v);
    }
    update(l);
}

/* --- the pins --- */

void lapic_lint(void *lapic, unsigned pin, bool level)
{
    struct lapic *l = lapic;
    uint32_t *lvt = &l->s.lvt[LVT_LINT0 + (pin & 1)];
    bool rises = level && !l->s.lint[pin & 1];
    __atomic_store_n(&l->s.lint[pin & 1], level, __ATOMIC_RELAXED);
    if (!enabled(l)) { /* the pins are INTR and NMI */
        if ((pin & 1) && rises)
            l->cpu.nmi(l->cpu.cpu);
        update(l);
        return;
    }
    if (!(*lvt & LVT_MASKED) && LVT_MODE(*lvt) != APIC_EXTINT) {
        struct apic_msg m = {.vector = (uint8_t)*lvt, .mode = LVT_MODE(*lvt)};
        bool by_level = m.mode == APIC_FIXED && (pin & 1) == 0 && (*lvt & LVT_LEVEL);
        m.level = by_level;
        if (by_level && level && !(*lvt & LVT_REMOTE) && take(l, &m))
            *lvt |= LVT_REMOTE;
        else if (!by_level && rises)
            take(l, &m);
    }
    update(l);
}

/* --- the timer --- */

void lapic_timer_interrupt(struct lapic *l)
{
    uint32_t lvt = l->s.lvt[LVT_TIMER];
    if (!(lvt & LVT_MASKED))
        accept(l, (uint8_t)lvt, false);
}

/* --- registers --- */

static bool read_register(struct lapic *l, unsigned r, uint32_t *v)
{
    struct lapic_state *s = &l->s;
    if (r >= R_ISR && r < R_ESR) {
        *v = (r < R_TMR ? s->isr : r < R_IRR ? s->tmr : s->irr)[r & 7];
        return true;
    }
    if (r >= R_LVT && r < R_LVT + LVT_COUNT) {
        *v = s->lvt[r - R_LVT];
        return true;
    }
    switch (r) {
    case R_ID: *v = x2apic(l) ? l->id : l->id << 24; return true;
    case R_VERSION: *v = VERSION; return true;
    case R_TPR: *v = s->tpr; return true;
    case R_PPR: *v = ppr(l); return true;
    case R_LDR: *v = x2apic(l) ? x2_logical(l) : s->ldr; return true;
    case R_SVR: *v = s->svr; return true;
    case R_ESR: *v = s->esr; return true;
    case R_ICR_LOW: *v = s->icr_low; return true;
    case R_INITIAL: *v = s->timer_initial; return true;
    case R_CURRENT: *v = lapic_timer_current(l); return true;
    case R_DIVIDE: *v = s->timer_divide; return true;
    default: break;
    }
    if (x2apic(l))
        return false;
    switch (r) {
    case R_APR:
    case R_EOI:
    case R_RRD: *v = 0; return true;
    case R_DFR: *v = s->dfr; return true;
    case R_ICR_HIGH: *v = s->icr_high; return true;
    default: return false;
    }
}

static void write_svr(struct lapic *l, uint32_t v)
{
    l->s.svr = v & 0x1ff;
    if (v & SVR_ENABLE)
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->s.lvt[i] |= LVT_MASKED; /* SDM 3A 11.4.7.2 */
    lapic_timer_arm(l);
}

static void write_lvt(struct lapic *l, unsigned i, uint32_t v)
{
    uint32_t *lvt = &l->s.lvt[i], old = *lvt;
    v &= lvt_mask[i];
    if (!(l->s.svr & SVR_ENABLE))
        v |= LVT_MASKED;
    *lvt = v | (old & LVT_REMOTE);
    if (!(v & LVT_LEVEL))
        *lvt &= ~LVT_REMOTE;
    if (i == LVT_TIMER)
        lapic_timer_mode(l, old);
    if (i == LVT_LINT0 && (v & LVT_LEVEL))
        lapic_lint(l, 0, l->s.lint[0]);
}

static bool write_register(struct lapic *l, unsigned r, uint32_t v)
{
    struct lapic_state *s = &l->s;
    if (r >= R_LVT && r < R_LVT + LVT_COUNT) {
        write_lvt(l, r - R_LVT, v);
        update(l);
        return true;
    }
    switch (r) {
    case R_TPR: s->tpr = (uint8_t)v; break;
    case R_EOI: end_of_interrupt(l); break;
    case R_SVR: write_svr(l, v); break;
    case R_ESR:
        s->esr = s->esr_new;
        s->esr_new = 0;
        break;
    case R_ICR_LOW:
        s->icr_low = v & 0xccfff; /* the delivery status is always "idle" */
        send_ipi(l);
        break;
    case R_INITIAL: lapic_timer_start(l, v); break;
    case R_DIVIDE: lapic_timer_divide(l, v & 0xb); break;
    default:
        if (x2apic(l))
            return false;
        switch (r) {
        case R_ID: /* fixed on processors of this age */
        case R_VERSION:
        case R_APR:
        case R_PPR:
        case R_RRD:
        case R_CURRENT: break;
        case R_LDR: s->ldr = v & 0xff000000; break;
        case R_DFR: s->dfr = v | 0x0fffffff; break;
        case R_ICR_HIGH: s->icr_high = v & 0xff000000; break;
        default: return false;
        }
    }
    update(l);
    return true;
}

uint64_t lapic_mmio_read(void *apic, uint64_t offset, unsigned size)
{
    struct lapic *l = apic;
    uint32_t v = 0;
    if ((offset & 15) + size > 4 && (offset & 15))
        return 0;
    if (!read_register(l, (unsigned)(offset >> 4 & 0xff), &v))
        error(l, ESR_REGISTER);
    return v >> (offset & 3) * 8;
}

bool lapic_mmio_peek(void *apic, uint64_t offset, unsigned size, uint64_t *v)
{
    uint32_t v32;
    if ((offset & 15) || size > 4 || !read_register(apic, (unsigned)(offset >> 4 & 0xff), &v32))
        return false;
    *v = v32;
    return true;
}

void lapic_mmio_write(void *apic, uint64_t offset, unsigned size, uint64_t value)
{
    struct lapic *l = apic;
    /* Only aligned accesses of 32 bits mean something (SDM 3A 11.4.1). */
    if ((offset & 15) || size < 4)
        return;
    if (!write_register(l, (unsigned)(offset >> 4 & 0xff), (uint32_t)value))
        error(l, ESR_REGISTER);
}

/* --- MSRs --- */

uint64_t lapic_base(void *apic)
{
    return ((struct lapic *)apic)->s.base;
}

bool lapic_set_base(void *apic, uint64_t v)
{
    struct lapic *l = apic;
    uint64_t mode = v & (APIC_BASE_EN | APIC_BASE_X2);
    uint64_t old = l->s.base & (APIC_BASE_EN | APIC_BASE_X2);
    if (v & (0x2ff | ~(BIT(40) - 1)))
        return false;
    /* SDM 3A figure 11-27: x2APIC mode is entered from xAPIC mode and left by switching off. */
    if (mode == APIC_BASE_X2 || (old == APIC_BASE_EN + APIC_BASE_X2 && mode == APIC_BASE_EN) ||
        (old == 0 && mode == APIC_BASE_EN + APIC_BASE_X2))
        return false;
    l->s.base = (v & ~APIC_BASE_BSP) | (l->s.base & APIC_BASE_BSP);
    if (mode != old && !mode)
        init_state(l);
    if (mode != old && (mode & APIC_BASE_X2))
        l->s.icr_high = 0;
    update(l);
    return true;
}

bool lapic_msr_read(void *apic, uint32_t msr, uint64_t *v)
{
    struct lapic *l = apic;
    unsigned r = msr & 0xff;
    uint32_t v32;
    if (msr == MSR_DEADLINE) {
        *v = lapic_timer_deadline(l);
        return true;
    }
    if (!x2apic(l) || msr >> 8 != 8 || !read_register(l, r, &v32))
        return false;
    *v = v32 | (r == R_ICR_LOW ? (uint64_t)l->s.icr_high << 32 : 0);
    return true;
}

bool lapic_msr_write(void *apic, uint32_t msr, uint64_t v)
{
    struct lapic *l = apic;
    unsigned r = msr & 0xff;
    uint64_t reserved = ~0xffffffffull;
    if (msr == MSR_DEADLINE) {
        lapic_timer_set_deadline(l, v);
        return true;
    }
    if (!x2apic(l) || msr >> 8 != 8)
        return false;
    switch (r) {
    case R_TPR: reserved = ~0xffull; break;
    case R_EOI:
    case R_ESR: reserved = ~0ull; break;
    case R_SVR: reserved = ~0x1ffull; break;
    case R_DIVIDE: reserved = ~0xbull; break;
    case R_ICR_LOW: reserved = 0xfff32000; break;
    case R_SELF_IPI: reserved = ~0xffull; break;
    default:
        if (r >= R_LVT && r < R_LVT + LVT_COUNT) /* the read-only bits may be written back */
            reserved = ~(uint64_t)(lvt_mask[r - R_LVT] | 0x1000 | LVT_REMOTE);
    }
    if (v & reserved)
        return false;
    if (r == R_SELF_IPI) {
        l->s.icr_low = (uint32_t)v | 0x40000;
        send_ipi(l);
        return true;
    }
    if (r == R_ICR_LOW)
        l->s.icr_high = v >> 32;
    return write_register(l, r, (uint32_t)v);
}

uint8_t lapic_tpr(void *apic)
{
    return ((struct lapic *)apic)->s.tpr;
}

void lapic_set_tpr(void *apic, uint8_t v)
{
    struct lapic *l = apic;
    l->s.tpr = v;
    update(l);
}

/* --- life --- */

void lapic_reset(struct lapic *l)
{
    l->s.base = 0xfee00000 | APIC_BASE_EN | (l->id == 0 ? APIC_BASE_BSP : 0);
    init_state(l);
    if (l->id == 0) {
        l->s.lvt[LVT_LINT0] = APIC_EXTINT << 8;
        l->s.lvt[LVT_LINT1] = APIC_NMI << 8;
    }
    update(l);
}

void lapic_restore(struct lapic *l)
{
    lapic_timer_restore(l);
    update(l);
}

void lapic_init(struct lapic *l, uint32_t id, struct apic_bus *bus, struct clock *clock,
                const struct log *log, const struct lapic_cpu *cpu)
{
    CHECK(bus->count < LAPIC_MAX && id < 0xff);
    *l = (struct lapic){.id = id, .bus = bus, .clock = clock, .log = log, .cpu = *cpu};
    lapic_timer_init(l);
    bus->lapic[bus->count++] = l;
    lapic_reset(l);
}
