#include "dev/acpi_pm.h"

#define PM_STS  0x00
#define PM_EN   0x02
#define PM_CNT  0x04
#define PM_TMR  0x08
#define PM_GPST 0x0c
#define PM_GPEN 0x0e

#define STS_TMR    0x0001
#define STS_PWRBTN 0x0100
#define STS_WAKE   0x8000
#define STS_ALL    0x8d31
#define EN_ALL     0x0521
#define CNT_SCI    0x0001
#define CNT_SLP    0x2000
#define CNT_KEPT   0x1c03 /* SCI_EN, BM_RLD, SLP_TYP */

/* clang-format off */
STATE_TABLE(acpi_pm_table, "acpi_pm", struct acpi_pm_state,
    STATE(struct acpi_pm_state, seen),
    STATE(struct acpi_pm_state, deadline),
    STATE(struct acpi_pm_state, sts),
    STATE(struct acpi_pm_state, en),
    STATE(struct acpi_pm_state, cnt),
    STATE(struct acpi_pm_state, gpsts),
    STATE(struct acpi_pm_state, gpen),
    STATE(struct acpi_pm_state, command),
    STATE(struct acpi_pm_state, command_status),
    STATE_BLOB(struct acpi_pm_state, other),
    STATE_BLOB(struct acpi_pm_state, unused));
/* clang-format on */

static uint64_t tick_now(const struct acpi_pm *p)
{
    return mul_div_u64(clock_now(p->clock), ACPI_PM_HZ, NS_PER_S);
}

/* TMR_STS is set whenever the timer's highest bit changes. */
static unsigned high_bit(const struct acpi_pm *p)
{
    return p->wide ? 31 : 23;
}

static void drive(struct acpi_pm *p)
{
    const struct acpi_pm_state *s = &p->s;
    irq_set(&p->sci, (s->cnt & CNT_SCI) && ((s->sts & s->en & EN_ALL) || (s->gpsts & s->gpen)));
    timer_set(&p->timer, s->deadline);
}

static void update(struct acpi_pm *p)
{
    struct acpi_pm_state *s = &p->s;
    uint64_t now = tick_now(p);
    if (now >> high_bit(p) != s->seen >> high_bit(p))
        s->sts |= STS_TMR;
    s->seen = now;
    s->deadline = CLOCK_NEVER;
    if ((s->en & STS_TMR) && !(s->sts & STS_TMR)) {
        uint64_t tick = ((now >> high_bit(p)) + 1) << high_bit(p);
        s->deadline = mul_div_u64(tick, NS_PER_S, ACPI_PM_HZ) + 1;
    }
    drive(p);
}

static void timer_fire(void *opaque)
{
    update(opaque);
}

static void write_control(struct acpi_pm *p, uint16_t v, uint16_t mask)
{
    struct acpi_pm_state *s = &p->s;
    s->cnt = (s->cnt & ~mask) | (v & mask & CNT_KEPT);
    if (!(v & mask & CNT_SLP))
        return;
    if ((s->cnt >> 10 & 7) == ACPI_PM_S5) {
        p->power_off(p->opaque);
        return;
    }
    /* No other sleep state is on offer: the guest wakes at once. */
    LOG(p->log, DEV, "acpi: sleep type %u", s->cnt >> 10 & 7);
    s->sts |= STS_WAKE;
}

/* A 16-bit register; mask: the bits that the access covers. */
static void write_register(struct acpi_pm *p, unsigned r, uint16_t v, uint16_t mask)
{
    struct acpi_pm_state *s = &p->s;
    switch (r) {
    case PM_STS: s->sts &= (uint16_t) ~(v & mask & STS_ALL); break;
    case PM_EN: s->en = (s->en & ~mask) | (v & mask & EN_ALL); break;
    case PM_CNT: write_control(p, v, mask); break;
    case PM_TMR:
    case PM_TMR + 2: break;
    case PM_GPST: s->gpsts &= (uint16_t) ~(v & mask); break;
    case PM_GPEN: s->gpen = (s->gpen & ~mask) | (v & mask); break;
    default:
        put_le16(s->other + r, (uint16_t)((get_le16(s->other + r) & ~mask) | (v & mask)));
        break;
    }
}

static uint16_t read_register(const struct acpi_pm *p, unsigned r)
{
    const struct acpi_pm_state *s = &p->s;
    uint32_t timer = (uint32_t)(tick_now(p) & (p->wide ? 0xffffffff : 0xffffff));
    switch (r) {
    case PM_STS: return s->sts;
    case PM_EN: return s->en;
    case PM_CNT: return s->cnt;
    case PM_TMR: return (uint16_t)timer;
    case PM_TMR + 2: return (uint16_t)(timer >> 16);
    case PM_GPST: return s->gpsts;
    case PM_GPEN: return s->gpen;
    default: return get_le16(s->other + r);
    }
}

static uint64_t io_read(void *dev, uint64_t offset, unsigned size)
{
    struct acpi_pm *p = dev;
    uint64_t v = 0;
    unsigned first = (unsigned)offset & ~1u, end = (unsigned)offset + size;
    update(p);
    for (unsigned r = first; r < end && r < 64; r += 2)
        v |= (uint64_t)read_register(p, r) << (r - first) * 8;
    return v >> (offset & 1) * 8;
}

static void io_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *p = dev;
    unsigned first = (unsigned)offset & ~1u, end = (unsigned)offset + size;
    uint64_t v = value << (offset & 1) * 8, mask = (BIT(size * 8) - 1) << (offset & 1) * 8;
    update(p);
    for (unsigned r = first; r < end && r < 64; r += 2, v >>= 16, mask >>= 16)
        write_register(p, r, (uint16_t)v, (uint16_t)mask);
    update(p);
}

static uint64_t smi_read(void *dev, uint64_t offset, unsigned size)
{
    const struct acpi_pm *p = dev;
    return offset ? p->s.command_status : p->s.command;
}

static void smi_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *p = dev;
    if (offset) {
        p->s.command_status = (uint8_t)value;
        return;
    }
    p->s.command = (uint8_t)value;
    if (value == ACPI_PM_ENABLE)
        p->s.cnt |= CNT_SCI;
    else if (value == ACPI_PM_DISABLE)
        p->s.cnt &= (uint16_t)~CNT_SCI;
    update(p);
}

static const struct region_ops io_ops = {io_read, io_write, 1 | 2 | 4};
static const struct region_ops smi_ops = {smi_read, smi_write, 1};

bool acpi_pm_button(struct acpi_pm *p)
{
    p->s.sts |= STS_PWRBTN;
    update(p);
    return (p->s.cnt & CNT_SCI) && (p->s.en & STS_PWRBTN);
}

void acpi_pm_event(struct acpi_pm *p, unsigned n)
{
    p->s.gpsts |= (uint16_t)(1u << (n & 15));
    update(p);
}

void acpi_pm_reset(struct acpi_pm *p)
{
    p->s = (struct acpi_pm_state){.seen = tick_now(p)};
    update(p);
}

void acpi_pm_restore(struct acpi_pm *p)
{
    drive(p);
}

void acpi_pm_init(struct acpi_pm *p, struct clock *clock, const struct log *log, struct irq sci,
                  void (*power_off)(void *opaque), void *opaque)
{
    *p = (struct acpi_pm){
        .clock = clock, .log = log, .sci = sci, .power_off = power_off, .opaque = opaque};
    p->io = (struct region){.name = "acpi pm", .size = 64, .ops = &io_ops, .dev = p};
    p->smi = (struct region){.name = "smi command", .size = 2, .ops = &smi_ops, .dev = p};
    timer_init(&p->timer, clock, "acpi pm", timer_fire, p);
    acpi_pm_reset(p);
}
