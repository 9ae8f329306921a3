/* The interrupt controllers' states in the kernel's structures and back.
 *
 * What a structure of the kernel does not hold, the functions *_to leave as it was. The levels of
 * inputs are the board's at all times and are not taken back: dev/chips.h. */
#include "dev/lapic_timer.h"
#include "engine/kvm_vm.h"

#define CASCADE 2

/* ICW2 to ICW4 are its states 1 to 3. */
void kvm_pic_from(const struct i8259_chip *c, bool slave, struct kvm_pic_state *k)
{
    *k = (struct kvm_pic_state){.last_irr = c->line,
                                .irr = c->irr,
                                .imr = c->imr,
                                .isr = c->isr,
                                .priority_add = (c->lowest + 1) & 7,
                                .irq_base = c->base,
                                .read_reg_select = c->read_isr,
                                .poll = c->poll,
                                .special_mask = c->special_mask,
                                .init_state = c->icw ? c->icw - 1 : 0,
                                .auto_eoi = c->aeoi,
                                .rotate_on_auto_eoi = c->rotate_aeoi,
                                .special_fully_nested_mode = c->sfnm,
                                .init4 = c->need_icw4,
                                .elcr = c->ltim ? 0xff : c->elcr,
                                .elcr_mask = slave ? 0xde : 0xf8};
}

void kvm_pic_to(struct i8259_chip *c, bool slave, const struct kvm_pic_state *k)
{
    c->irr = k->irr;
    c->imr = k->imr;
    c->isr = k->isr;
    c->lowest = (k->priority_add - 1) & 7;
    c->base = k->irq_base & 0xf8;
    c->read_isr = k->read_reg_select;
    c->poll = k->poll;
    c->special_mask = k->special_mask;
    c->icw = k->init_state && k->init_state < 4 ? k->init_state + 1 : 0;
    c->aeoi = k->auto_eoi;
    c->rotate_aeoi = k->rotate_on_auto_eoi;
    c->sfnm = k->special_fully_nested_mode;
    c->need_icw4 = k->init4;
    if (!c->ltim)
        c->elcr = k->elcr & k->elcr_mask;
    if (!slave) /* this input is the slave's */
        c->line = (uint8_t)((c->line & ~(1 << CASCADE)) | (k->last_irr & 1 << CASCADE));
}

#define E_STATUS   0x1000u
#define E_LEVEL    0x8000u
#define E_MASKED   0x10000u
#define E_MODE(e)  ((e) >> 8 & 7)
#define E_DEFINED  0xff0000000001ffffull
#define IOAPIC_MEM 0xfec00000u

static bool by_level(uint64_t e)
{
    return (e & E_LEVEL) && E_MODE(e) <= APIC_LOWEST;
}

/* The kernel's `irr` has the edges that wait, and the levels. */
void kvm_ioapic_from(const struct ioapic_state *s, struct kvm_ioapic_state *k)
{
    *k = (struct kvm_ioapic_state){.base_address = IOAPIC_MEM,
                                   .ioregsel = s->select & 0xff,
                                   .id = s->id >> 24 & 15,
                                   .irr = s->irr};
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        k->redirtbl[i].bits = s->entry[i];
        if (by_level(s->entry[i]))
            k->irr = (k->irr & ~(1u << i)) | (s->line & 1u << i);
    }
}

/* On a masked input an edge is lost; the kernel remembers it, but never delivers it. */
void kvm_ioapic_to(struct ioapic_state *s, const struct kvm_ioapic_state *k)
{
    s->select = k->ioregsel & 0xff;
    s->id = (k->id & 15) << 24;
    s->irr = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        uint64_t e = k->redirtbl[i].bits & (E_DEFINED & ~(uint64_t)E_STATUS);
        s->entry[i] = e;
        if (!by_level(e) && !(e & E_MASKED))
            s->irr |= k->irr & 1u << i;
    }
}

/* Offsets of the local APIC's registers (SDM 3A table 11-1). */
enum {
    R_ID = 0x20,
    R_VERSION = 0x30,
    R_TPR = 0x80,
    R_LDR = 0xd0,
    R_DFR = 0xe0,
    R_SVR = 0xf0,
    R_ISR = 0x100,
    R_TMR = 0x180,
    R_IRR = 0x200,
    R_ESR = 0x280,
    R_ICR_LOW = 0x300,
    R_ICR_HIGH = 0x310,
    R_LVT = 0x320,
    R_INITIAL = 0x380,
    R_CURRENT = 0x390,
    R_DIVIDE = 0x3e0,
};

#define LVT_STATUS   0x1000u
#define LVT_MASKED   0x10000u
#define LVT_MODE     0x60000u
#define LVT_PERIODIC 0x20000u
#define LVT_DEADLINE 0x40000u

static void put(struct kvm_lapic_state *k, unsigned at, uint32_t v)
{
    put_le32((uint8_t *)k->regs + at, v);
}

static uint32_t get(const struct kvm_lapic_state *k, unsigned at)
{
    return get_le32((const uint8_t *)k->regs + at);
}

static bool x2apic(uint64_t base)
{
    return base & APIC_BASE_X2;
}

/* A one-shot count that has run out, and was told of. The kernel would let it end once more. */
static bool ran_out(const struct lapic *l)
{
    return !(l->s.lvt[LVT_TIMER] & LVT_MODE) && l->s.timer_at == CLOCK_NEVER &&
           lapic_timer_current(l) == 0;
}

/* An expiry that is due is still to come: the kernel's comes at once. */
static uint32_t current(const struct lapic *l)
{
    bool deadline = (l->s.lvt[LVT_TIMER] & LVT_MODE) == LVT_DEADLINE;
    return !deadline && l->s.timer_at <= clock_now(l->clock) ? 1 : lapic_timer_current(l);
}

void kvm_lapic_from(const struct lapic *l, struct kvm_lapic_state *k)
{
    const struct lapic_state *s = &l->s;
    memset(k, 0, sizeof *k);
    put(k, R_ID, l->id << 24); /* in this form in both modes */
    put(k, R_VERSION, (LVT_COUNT - 1) << 16 | 0x14);
    put(k, R_TPR, s->tpr);
    put(k, R_LDR, s->ldr);
    put(k, R_DFR, s->dfr);
    put(k, R_SVR, s->svr);
    for (unsigned i = 0; i < 8; i++) {
        put(k, R_ISR + 16 * i, s->isr[i]);
        put(k, R_TMR + 16 * i, s->tmr[i]);
        put(k, R_IRR + 16 * i, s->irr[i]);
    }
    put(k, R_ESR, s->esr);
    put(k, R_ICR_LOW, s->icr_low);
    put(k, R_ICR_HIGH, s->icr_high);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        put(k, R_LVT + 16 * i, s->lvt[i]);
    put(k, R_INITIAL, ran_out(l) ? 0 : s->timer_initial);
    put(k, R_CURRENT, current(l));
    put(k, R_DIVIDE, s->timer_divide);
}

static bool bit(const struct kvm_lapic_state *k, unsigned at, unsigned n)
{
    return get(k, at + n / 32 * 16) >> n % 32 & 1;
}

void kvm_lapic_expired(struct kvm_lapic_state *k, const struct kvm_lapic_state *before)
{
    uint32_t lvt = get(k, R_LVT), was = get(before, R_CURRENT), is = get(k, R_CURRENT);
    bool ended = lvt & LVT_PERIODIC ? is > was : was && !is;
    unsigned n = lvt & 0xff, at = R_IRR + n / 32 * 16;
    bool taken = bit(k, R_ISR, n) && !bit(before, R_ISR, n) && !bit(before, R_IRR, n);
    if (!(lvt & (LVT_MASKED | LVT_DEADLINE)) && n >= 16 && ended && !taken)
        put(k, at, get(k, at) | 1u << n % 32);
}

void kvm_lapic_to(struct lapic *l, uint64_t base, uint64_t deadline,
                  const struct kvm_lapic_state *k)
{
    struct lapic_state *s = &l->s;
    bool over = ran_out(l);
    s->base = base;
    s->tpr = (uint8_t)get(k, R_TPR);
    s->svr = get(k, R_SVR) & 0x1ff;
    if (!x2apic(base)) {
        s->ldr = get(k, R_LDR) & 0xff000000;
        s->dfr = get(k, R_DFR) | 0x0fffffff;
    }
    for (unsigned i = 0; i < 8; i++) {
        s->isr[i] = get(k, R_ISR + 16 * i);
        s->tmr[i] = get(k, R_TMR + 16 * i);
        s->irr[i] = get(k, R_IRR + 16 * i);
    }
    s->esr = get(k, R_ESR);
    s->icr_low = get(k, R_ICR_LOW) & ~LVT_STATUS;
    s->icr_high = get(k, R_ICR_HIGH);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        s->lvt[i] = get(k, R_LVT + 16 * i) & ~LVT_STATUS;
    s->timer_divide = get(k, R_DIVIDE) & 0xb;
    s->tsc_deadline = (s->lvt[LVT_TIMER] & LVT_MODE) == LVT_DEADLINE ? deadline : 0;
    if (!over || !ran_out(l) || get(k, R_INITIAL))
        lapic_timer_put(l, get(k, R_INITIAL), get(k, R_CURRENT));
}
