#include "dev/mc146818.h"

/* Register numbers, in the data sheet's order. */
enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MONTH, YEAR, A, B, C, D };
#define CENTURY 0x32

#define A_UIP   0x80
#define B_SET   0x80
#define B_PIE   0x40
#define B_AIE   0x20
#define B_UIE   0x10
#define B_DM    0x04 /* binary */
#define B_24H   0x02
#define C_IRQF  0x80
#define C_PF    0x40
#define C_AF    0x20
#define C_UF    0x10
#define D_VRT   0x80
#define HOUR_PM 0x80
#define ANY     0xc0 /* in an alarm register: matches always */

#define UPDATE_NS ((244 + 1984) * 1000ull) /* UIP is up so long before a second ends */
#define DAY       86400u

/* clang-format off */
STATE_TABLE(mc146818_table, "mc146818", struct mc146818_state,
    STATE(struct mc146818_state, base),
    STATE(struct mc146818_state, seconds),
    STATE(struct mc146818_state, chain),
    STATE(struct mc146818_state, seen),
    STATE(struct mc146818_state, deadline),
    STATE(struct mc146818_state, index),
    STATE(struct mc146818_state, nmi_masked),
    STATE(struct mc146818_state, weekday),
    STATE_BLOB(struct mc146818_state, unused),
    STATE_BLOB(struct mc146818_state, cmos));
/* clang-format on */

struct civil {
    unsigned sec, min, hour, wday /* 0: Sunday */, mday, month, year;
};

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; counting years from March
 * puts the leap day last. */
static int64_t days_of(int64_t year, unsigned month, unsigned mday)
{
    int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400, doy = (153 * ((month + 9) % 12) + 2) / 5 + mday - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_of(uint64_t seconds, struct civil *t)
{
    uint64_t days = seconds / DAY, z = days + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned s = (unsigned)(seconds % DAY);
    t->sec = s % 60;
    t->min = s / 60 % 60;
    t->hour = s / 3600;
    t->wday = (unsigned)((days + 4) % 7);
    t->mday = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    t->month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    t->year = (unsigned)((yoe + era * 400 + (t->month <= 2)) % 10000);
}

/* Does time stand still? SET, or a divider chain that isn't running. */
static bool stopped(const struct mc146818 *r)
{
    return (r->s.cmos[B] & B_SET) || (r->s.cmos[A] >> 4 & 7) != 2;
}

static uint64_t seconds_at(const struct mc146818 *r, uint64_t now)
{
    return r->s.seconds + (now > r->s.base ? (now - r->s.base) / NS_PER_S : 0);
}

static uint8_t encode(const struct mc146818 *r, unsigned v)
{
    return (uint8_t)(r->s.cmos[B] & B_DM ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct mc146818 *r, uint8_t v)
{
    return r->s.cmos[B] & B_DM ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct mc146818 *r, unsigned h)
{
    if (r->s.cmos[B] & B_24H)
        return encode(r, h);
    return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *r, uint8_t v)
{
    if (r->s.cmos[B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Brings the time registers up to date. */
static void show_time(struct mc146818 *r, uint64_t now)
{
    uint8_t *m = r->s.cmos;
    struct civil t;
    if (stopped(r))
        return;
    civil_of(seconds_at(r, now), &t);
    m[SEC] = encode(r, t.sec);
    m[MIN] = encode(r, t.min);
    m[HOUR] = encode_hour(r, t.hour);
    m[WDAY] = encode(r, (t.wday + r->s.weekday) % 7 + 1);
    m[MDAY] = encode(r, t.mday);
    m[MONTH] = encode(r, t.month);
    m[YEAR] = encode(r, t.year % 100);
    m[CENTURY] = encode(r, t.year / 100);
}

/* Takes the time registers as the time. Whatever they hold, the result is a time: the 31st of
 * February is in March. */
static void take_time(struct mc146818 *r)
{
    const uint8_t *m = r->s.cmos;
    unsigned month = decode(r, m[MONTH]);
    int64_t year = decode(r, m[CENTURY]) * 100 + decode(r, m[YEAR]);
    int64_t days = days_of(year, month < 1 ? 1 : month > 12 ? 12 : month, decode(r, m[MDAY]));
    int64_t s = days * DAY + decode_hour(r, m[HOUR]) * 3600 + decode(r, m[MIN]) * 60;
    struct civil t;
    s += decode(r, m[SEC]);
    r->s.seconds = s > 0 ? (uint64_t)s : 0;
    civil_of(r->s.seconds, &t);
    r->s.weekday = (uint8_t)((decode(r, m[WDAY]) + 6 + 7 - t.wday) % 7);
}

static bool alarm_part(uint8_t reg, unsigned alarm, unsigned v)
{
    return reg >= ANY || alarm == v;
}

/* The first second from `from` on, of the coming day, at which the alarm matches; ~0: none. */
static uint64_t next_alarm(const struct mc146818 *r, uint64_t from)
{
    const uint8_t *m = r->s.cmos;
    uint64_t s = from, end = from + DAY;
    unsigned hour = decode_hour(r, m[HOUR_ALARM]), min = decode(r, m[MIN_ALARM]);
    unsigned sec = decode(r, m[SEC_ALARM]);
    if ((hour > 23 && m[HOUR_ALARM] < ANY) || (min > 59 && m[MIN_ALARM] < ANY) ||
        (sec > 59 && m[SEC_ALARM] < ANY))
        return ~0ull;
    while (s < end) {
        unsigned t = (unsigned)(s % DAY);
        if (!alarm_part(m[HOUR_ALARM], hour, t / 3600))
            s += 3600 - t % 3600;
        else if (!alarm_part(m[MIN_ALARM], min, t / 60 % 60))
            s += 60 - t % 60;
        else if (!alarm_part(m[SEC_ALARM], sec, t % 60))
            s++;
        else
            return s;
    }
    return ~0ull;
}

/* Periodic interrupts per second are 32768 / steps; 0: off (data sheet, table 5). */
static unsigned periodic_steps(const struct mc146818 *r)
{
    unsigned rate = r->s.cmos[A] & 15;
    if (!rate || (r->s.cmos[A] >> 4 & 7) != 2)
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static uint64_t periods_at(const struct mc146818 *r, uint64_t ns)
{
    uint64_t run = ns > r->s.chain ? ns - r->s.chain : 0;
    return mul_div_u64(run, 32768, NS_PER_S * periodic_steps(r));
}

/* ns at which a second number begins. */
static uint64_t ns_of_second(const struct mc146818 *r, uint64_t second)
{
    uint64_t n = second - r->s.seconds;
    return n > BIT(62) / NS_PER_S ? CLOCK_NEVER : r->s.base + n * NS_PER_S;
}

/* Waits for the next event that would raise the line. */
static void wait_for_event(struct mc146818 *r, uint64_t now)
{
    const uint8_t *m = r->s.cmos;
    uint8_t wanted = m[B] & ~m[C] & (B_PIE | B_AIE | B_UIE);
    uint64_t at = CLOCK_NEVER;
    if ((wanted & B_PIE) && periodic_steps(r)) {
        uint64_t n = periods_at(r, now) + 1;
        at = r->s.chain + mul_div_u64(n, NS_PER_S * periodic_steps(r), 32768) + 1;
    }
    if ((wanted & B_UIE) && !stopped(r))
        at = min_u64(at, ns_of_second(r, seconds_at(r, now) + 1));
    if ((wanted & B_AIE) && !stopped(r)) {
        uint64_t second = next_alarm(r, seconds_at(r, now) + 1);
        if (second != ~0ull)
            at = min_u64(at, ns_of_second(r, second));
    }
    r->s.deadline = at > now ? at : now + 1;
    timer_set(&r->timer, r->s.deadline);
}

/* Works out what happened since the flags were last looked at. */
static void update(struct mc146818 *r)
{
    uint8_t *m = r->s.cmos;
    uint64_t now = clock_now(r->clock);
    if (!stopped(r)) {
        uint64_t was = seconds_at(r, r->s.seen), is = seconds_at(r, now);
        if (is > was) {
            m[C] |= C_UF;
            if (next_alarm(r, was + 1) <= is)
                m[C] |= C_AF;
        }
    }
    if (periodic_steps(r) && periods_at(r, now) > periods_at(r, r->s.seen))
        m[C] |= C_PF;
    r->s.seen = now;
    m[C] &= (uint8_t)~C_IRQF;
    m[C] |= m[B] & m[C] & (C_PF | C_AF | C_UF) ? C_IRQF : 0;
    irq_set(&r->irq, m[C] & C_IRQF);
    wait_for_event(r, now);
}

static void timer_fire(void *opaque)
{
    update(opaque);
}

static bool is_time(uint8_t index)
{
    return index == SEC || index == MIN || index == HOUR || (index >= WDAY && index <= YEAR) ||
           index == CENTURY;
}

static void write_a(struct mc146818 *r, uint8_t v, uint64_t now)
{
    uint8_t *m = r->s.cmos;
    bool was = stopped(r), ran = (m[A] >> 4 & 7) == 2;
    if (!was && (v >> 4 & 7) != 2)
        show_time(r, now);
    m[A] = v & 0x7f;
    if (ran || (v >> 4 & 7) != 2)
        return;
    r->s.chain = now;
    if (stopped(r))
        return;
    /* The first update comes half a second after the chain was let go (data sheet, "Divider"). */
    take_time(r);
    r->s.base = now - min_u64(now, NS_PER_S / 2);
}

static void write_b(struct mc146818 *r, uint8_t v, uint64_t now)
{
    uint8_t *m = r->s.cmos;
    bool was = stopped(r);
    uint64_t phase = now > r->s.base ? (now - r->s.base) % NS_PER_S : 0;
    show_time(r, now);
    if (v & B_SET)
        v &= (uint8_t)~B_UIE;
    m[B] = v;
    if (was && !stopped(r)) {
        take_time(r);
        r->s.base = now - min_u64(now, phase);
    }
    /* Changing DM or 24/12 alone leaves the registers as they are on the chip; here they are
     * shown anew in the new form, which a guest that obeys the data sheet can't tell. */
}

static void write_time(struct mc146818 *r, uint8_t index, uint8_t v, uint64_t now)
{
    show_time(r, now);
    r->s.cmos[index] = v;
    if (stopped(r))
        return;
    uint64_t phase = now > r->s.base ? (now - r->s.base) % NS_PER_S : 0;
    take_time(r);
    r->s.base = now - min_u64(now, phase);
}

static void write_data(struct mc146818 *r, uint8_t v)
{
    uint64_t now = clock_now(r->clock);
    uint8_t index = r->s.index;
    update(r);
    if (index == A)
        write_a(r, v, now);
    else if (index == B)
        write_b(r, v, now);
    else if (is_time(index))
        write_time(r, index, v, now);
    else if (index != C && index != D)
        r->s.cmos[index] = v;
    update(r);
}

static bool updating(const struct mc146818 *r, uint64_t now)
{
    uint64_t phase = now > r->s.base ? (now - r->s.base) % NS_PER_S : 0;
    return !stopped(r) && phase >= NS_PER_S - UPDATE_NS;
}

static uint8_t read_data(struct mc146818 *r)
{
    uint64_t now = clock_now(r->clock);
    uint8_t index = r->s.index, v;
    update(r);
    if (is_time(index))
        show_time(r, now);
    v = r->s.cmos[index];
    if (index == A)
        v = (v & 0x7f) | (updating(r, now) ? A_UIP : 0);
    if (index == C) {
        r->s.cmos[C] = 0;
        update(r);
    }
    return v;
}

static uint64_t mc146818_read(void *dev, uint64_t offset, unsigned size)
{
    return offset ? read_data(dev) : 0xff; /* the index can't be read */
}

static void mc146818_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct mc146818 *r = dev;
    if (offset) {
        write_data(r, (uint8_t)value);
        return;
    }
    r->s.index = value & 0x7f;
    r->s.nmi_masked = value & 0x80;
}

static const struct region_ops mc146818_ops = {mc146818_read, mc146818_write, 1};

void mc146818_set_nvram(struct mc146818 *r, uint8_t index, uint8_t value)
{
    CHECK(index > D && index < sizeof r->s.cmos);
    r->s.cmos[index] = value;
}

void mc146818_reset(struct mc146818 *r)
{
    update(r);
    r->s.cmos[B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | 0x08 /* square wave */);
    r->s.cmos[C] = 0;
    r->s.index = 0;
    r->s.nmi_masked = false;
    update(r);
}

void mc146818_restore(struct mc146818 *r)
{
    uint64_t now = clock_now(r->clock);
    r->s.index &= 0x7f;
    /* Times ahead of the clock, or before the big bang, can only come from a damaged state. */
    r->s.base = min_u64(r->s.base, now);
    r->s.chain = min_u64(r->s.chain, now);
    r->s.seen = min_u64(r->s.seen, now);
    r->s.seconds = min_u64(r->s.seconds, BIT(40));
    timer_set(&r->timer, r->s.deadline);
    irq_set(&r->irq, r->s.cmos[C] & C_IRQF);
}

void mc146818_init(struct mc146818 *r, struct clock *clock, const struct log *log, struct irq irq,
                   uint64_t start)
{
    *r = (struct mc146818){.clock = clock, .log = log, .irq = irq};
    r->io = (struct region){.name = "rtc", .size = 2, .ops = &mc146818_ops, .dev = r};
    timer_init(&r->timer, clock, "rtc", timer_fire, r);
    r->s.seconds = start;
    r->s.cmos[A] = 0x26; /* 32.768 kHz, 1024 Hz, as a BIOS would have left it */
    r->s.cmos[B] = B_24H;
    r->s.cmos[D] = D_VRT;
    mc146818_reset(r);
}
