/* The kernel's interval timer in the place of ours, together with its interrupt controllers.
 *
 * The kernel's is poorer than the chip. It takes no phase: a channel that it is given starts anew.
 * One-shot counts therefore get what is left as their count. What channel 0 had counted of a period
 * is added up, and makes for a tick when it comes to a period, so that none is lost in the long
 * run, however often the timer changes sides. Nor does the kernel know a channel 0 that has run out
 * or was not loaded: such a one gets a count that no guest can write and that lasts an hour. A
 * channel 0 that no guest has touched goes in mode 5, in which it does nothing.
 *
 * KVM_GET_PIT2 tells when channels 1 and 2 were loaded, but not channel 0, and not whether its tick
 * has come: kvm_pit_stop() finds that out. */
#include "engine/kvm_vm.h"

#include <sys/ioctl.h>

/* Which byte is next, in the kernel's words. */
enum { RW_LOW = 1, RW_HIGH = 2, RW_WORD_LOW = 3, RW_WORD_HIGH = 4 };

#define MODE_IDLE 5
#define COUNT_MAX 65536
#define COUNT_HOUR                                                                                \
    0xffff0000u                /* and up; what the guest reads are the low 16 bits, counting down \
                                */
#define LATE_NS    20000000ull /* by so much a tick may be late on a host that is busy */
#define LOOK_NS    100000      /* how often to look for it */
#define IOAPIC_PIN 2           /* that the board's timer goes to */

static bool periodic(const struct i8254_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool waits_for_gate(const struct i8254_channel *c)
{
    return (c->mode == 1 || c->mode == 5) && !c->triggered;
}

static uint64_t passed(const struct i8254_channel *c, uint64_t tick)
{
    return !c->counting ? c->elapsed : tick > c->start ? tick - c->start : 0;
}

/* `told`: the tick up to which edges were passed on; one that came since is still to be seen. */
static uint32_t count_of(const struct i8254_channel *c, bool first, uint64_t told, uint64_t elapsed)
{
    if (periodic(c) && c->loaded)
        return c->reload_at != CLOCK_NEVER ? c->next : c->reload;
    bool over = passed(c, told) >= c->reload + (c->mode >= 4);
    if (first && (!c->loaded || waits_for_gate(c) || over))
        return COUNT_HOUR | (uint16_t)(c->reload - elapsed);
    if (!c->loaded || waits_for_gate(c))
        return COUNT_MAX;
    return elapsed < c->reload ? c->reload - (uint32_t)elapsed : 1; /* the output is to be up */
}

/* A latched count leaves by the byte that is next; the high one first is odd, but possible. */
static uint8_t latched_of(const struct i8254_channel *c)
{
    if (!c->latched)
        return 0;
    return c->rw != RW_WORD_LOW ? c->rw : c->read_high ? RW_HIGH : RW_WORD_LOW;
}

static void channel_from(const struct i8254 *p, unsigned i, struct kvm_pit_channel_state *k)
{
    const struct i8254_channel *c = &p->s.ch[i];
    bool high = c->read_high && !c->latched, idle = i == 0 && !p->s.touched;
    uint32_t count = idle ? COUNT_MAX : count_of(c, i == 0, p->s.fired, i8254_elapsed(p, i));
    *k = (struct kvm_pit_channel_state){
        .count = count,
        .latched_count = c->latch,
        .count_latched = latched_of(c),
        .status_latched = c->status_latched,
        .status = c->status,
        .read_state = high ? RW_WORD_HIGH : c->rw,
        .write_state = c->write_high ? RW_WORD_HIGH : c->rw,
        .write_latch = c->write_high ? c->low : (uint8_t)~count, /* else free: loaded_anew() */
        .rw_mode = c->rw,
        .mode = idle ? MODE_IDLE : c->mode,
        .bcd = c->bcd,
        .gate = c->gate,
    };
}

void kvm_pit_from(const struct i8254 *p, uint64_t ns, struct kvm_pit_state2 *k)
{
    *k = (struct kvm_pit_state2){.flags = p->s.speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0};
    for (unsigned i = 0; i < 3; i++) {
        channel_from(p, i, &k->channels[i]);
        k->channels[i].count_load_time = (int64_t)ns;
    }
}

static uint32_t reload_of(const struct kvm_pit_channel_state *k)
{
    uint32_t n = k->count;
    if (k->bcd) /* the kernel counts in binary all the same */
        n = (n >> 12 & 15) * 1000 + (n >> 8 & 15) * 100 + (n >> 4 & 15) * 10 + (n & 15);
    if (n == 0 || n > COUNT_MAX)
        return k->bcd ? 10000 : COUNT_MAX;
    return n == 1 && (k->mode == 2 || k->mode == 3) ? 2 : n;
}

/* What it counts, and since when. */
static void count_to(struct i8254_channel *c, uint64_t now, uint64_t start,
                     const struct kvm_pit_channel_state *k)
{
    c->mode = k->mode > 5 ? 3 : k->mode;
    c->bcd = k->bcd;
    c->reload = c->next = reload_of(k);
    c->reload_at = CLOCK_NEVER;
    c->loaded = true;
    c->triggered = k->gate && (c->mode == 1 || c->mode == 5);
    c->start = start;
    c->counting = c->triggered || k->gate;
    c->elapsed = c->counting ? 0 : now - start;
}

/* The period that the kernel began. */
static void restart(struct i8254_channel *c, uint64_t start)
{
    c->start = start;
    if (c->reload_at != CLOCK_NEVER)
        c->reload = c->next;
    c->reload_at = CLOCK_NEVER;
}

/* A control word without a count. */
static void unload(struct i8254_channel *c, uint64_t now, const struct kvm_pit_channel_state *k)
{
    c->elapsed = passed(c, now) % c->reload;
    c->mode = k->mode > 5 ? 3 : k->mode;
    c->bcd = k->bcd;
    c->loaded = c->counting = c->triggered = false;
    c->reload_at = CLOCK_NEVER;
}

static void bytes_to(struct i8254_channel *c, const struct kvm_pit_channel_state *k)
{
    c->rw = k->rw_mode & 3 ? k->rw_mode & 3 : RW_WORD_LOW;
    c->write_high = k->write_state == RW_WORD_HIGH;
    c->read_high = k->read_state == RW_WORD_HIGH;
    if (c->write_high)
        c->low = k->write_latch;
    c->latch = k->latched_count;
    c->latched = k->count_latched == 0 ? 0 : k->count_latched == RW_WORD_LOW ? 2 : 1;
    if (c->rw == RW_WORD_LOW && k->count_latched == RW_HIGH)
        c->read_high = true;
    c->status_latched = k->status_latched;
    c->status = k->status;
}

/* The gate of a channel that nobody loaded meanwhile. */
static void gate_to(struct i8254_channel *c, uint64_t now, bool gate)
{
    if (gate == c->gate || !c->loaded || c->mode == 1 || c->mode == 5)
        return;
    if (gate)
        c->start = now > c->elapsed ? now - c->elapsed : 0;
    else
        c->elapsed = now > c->start ? now - c->start : 0;
    c->counting = gate;
}

/* A guest may write the very count that was given, but not both that and the byte that was in its
 * latch. */
static bool loaded_anew(unsigned i, const struct kvm_pit_channel_state *was,
                        const struct kvm_pit_channel_state *k)
{
    bool latch = k->rw_mode == RW_WORD_LOW && k->write_state == RW_WORD_LOW;
    return k->count != was->count || k->count_load_time != was->count_load_time ||
           (i == 0 && latch && k->write_latch != was->write_latch);
}

/* Channel 0 goes on behind the kernel's last tick, or just before it if it has not come. */
static void last_tick(struct i8254_channel *c, uint64_t now, bool came)
{
    uint64_t end = c->reload + (c->mode == 4), before = now + 1 > end ? now + 1 - end : 0;
    if (!c->loaded || !c->counting || waits_for_gate(c) || (periodic(c) && came))
        return;
    if (came)
        c->start = min_u64(c->start, now > end ? now - end : 0);
    else
        c->start = periodic(c) ? before : max_u64(c->start, before);
}

void kvm_pit_to(struct i8254 *p, uint64_t ns, const struct kvm_pit_state2 *was,
                const struct kvm_pit_state2 *k, bool came)
{
    uint64_t now = i8254_tick(p);
    for (unsigned i = 0; i < 3; i++) {
        struct i8254_channel *c = &p->s.ch[i];
        const struct kvm_pit_channel_state *x = &k->channels[i], *old = &was->channels[i];
        uint64_t since = (uint64_t)x->count_load_time, ago = 0, start;
        bool anew = loaded_anew(i, old, x),
             counts = i != 0 || !(k->flags & KVM_PIT_FLAGS_HPET_LEGACY);
        bool control = x->mode != old->mode || x->bcd != old->bcd || x->rw_mode != old->rw_mode;
        if (ns > since && !(anew && i == 0))
            ago = mul_div_u64(ns - since, I8254_HZ, NS_PER_S);
        start = now > ago ? now - ago : 0;
        p->s.touched |= anew || control;
        if (anew)
            count_to(c, now, start, x);
        else if (control)
            unload(c, now, x);
        else if (periodic(c) && c->loaded && c->counting && counts)
            restart(c, start);
        else
            gate_to(c, now, x->gate);
        c->gate = x->gate;
        bytes_to(c, x);
        if (c->mode == 0 && c->write_high && old->write_state != RW_WORD_HIGH)
            unload(c, now, x); /* the first byte stops it */
        if (i == 0 && counts)
            last_tick(c, now, came);
    }
    p->s.speaker = k->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
}

/* --- in the kernel ---------------------------------------------------------------------------- */

bool kvm_pit_wanted(const struct kvm_vm *k)
{
    return !k->pit && !k->pit_asked && k->chips->pit->s.touched;
}

void kvm_pit_make(struct kvm_vm *k)
{
    static const long need[] = {KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_REINJECT_CONTROL};
    const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
    const struct kvm_reinject_control as_ours = {.pit_reinject = 0};
    k->pit_asked = true;
    for (size_t i = 0; i < ARRAY_LEN(need); i++)
        if (ioctl(k->fd, KVM_CHECK_EXTENSION, need[i]) <= 0)
            return;
    k->pit = kvm_call(k->fd, KVM_CREATE_PIT2, &config) >= 0 &&
             kvm_call(k->fd, KVM_REINJECT_CONTROL, &as_ours) >= 0;
}

static uint64_t monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void set_inputs(struct kvm_vm *k, bool level)
{
    kvm_chips_input(k, CHIPS_PIC, 0, level);
    kvm_chips_input(k, CHIPS_IOAPIC, IOAPIC_PIN, level);
}

/* Ticks that are due and that the kernel won't count. */
static bool owes_tick(struct kvm_vm *k)
{
    const struct i8254 *p = k->chips->pit;
    const struct i8254_channel *c = &p->s.ch[0];
    if (!periodic(c) || !c->loaded || !c->counting || k->pit_off) {
        k->pit_owed = 0;
        return false;
    }
    uint64_t told = passed(c, p->s.fired);
    k->pit_owed += i8254_elapsed(p, 0) - (told - told % c->reload);
    if (k->pit_owed < c->reload)
        return false;
    k->pit_owed %= c->reload;
    return true;
}

bool kvm_pit_in(struct kvm_vm *k)
{
    if (!k->pit)
        return true;
    struct kvm_pit_state2 s;
    k->pit_off = k->chips->pit_off;
    kvm_pit_from(k->chips->pit, monotonic(), &s);
    if (k->pit_off)
        s.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
    else
        set_inputs(k, false); /* it has an output of its own, which only pulses */
    if (owes_tick(k)) {
        set_inputs(k, true);
        set_inputs(k, false);
    }
    k->pit_since = monotonic();
    bool ok =
        kvm_call(k->fd, KVM_SET_PIT2, &s) >= 0 && kvm_call(k->fd, KVM_GET_PIT2, &k->pit_was) >= 0;
    k->pit_was.channels[0].count_load_time = (int64_t)monotonic(); /* at the latest */
    return ok;
}

/* --- its last tick ---------------------------------------------------------------------------- */

/* Whether a tick comes shows in the first controller, whose input 0 nothing else drives: requests
 * there are taken away, and put back in the end. */
struct look {
    struct kvm_vm *k;
    struct kvm_irqchip chip;
    bool before, any; /* one waited at first; there was one */
};

static bool request(struct look *l)
{
    l->chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
    CHECK(kvm_call(l->k->fd, KVM_GET_IRQCHIP, &l->chip) >= 0);
    return l->chip.chip.pic.irr & 1;
}

static void set_request(struct look *l, bool on)
{
    l->chip.chip.pic.irr = (uint8_t)((l->chip.chip.pic.irr & ~1) | on);
    CHECK(kvm_call(l->k->fd, KVM_SET_IRQCHIP, &l->chip) >= 0);
}

/* A tick came since the last call. */
static bool ticked(struct look *l)
{
    if (!request(l))
        return false;
    set_request(l, false);
    return l->any = true;
}

/* Waits for a tick that is due from one moment on and surely over at the other. False: it is not
 * due yet. */
static bool await(struct look *l, uint64_t from, uint64_t over)
{
    const struct timespec a_while = {.tv_nsec = LOOK_NS};
    uint64_t now = monotonic();
    if (now < from)
        return false;
    for (; now < over && !ticked(l); now = monotonic())
        nanosleep(&a_while, NULL);
    return true;
}

static void stop_ticking(struct kvm_vm *k)
{
    struct kvm_pit_state2 idle = k->pit_now;
    idle.channels[0].mode = MODE_IDLE;
    CHECK(kvm_call(k->fd, KVM_SET_PIT2, &idle) >= 0);
}

/* Both return whether the latest tick that was due came. */
static bool stop_one_shot(struct kvm_vm *k, struct look *l, bool anew)
{
    uint64_t span = mul_div_u64(k->pit_now.channels[0].count, NS_PER_S, I8254_HZ);
    uint64_t from = k->pit_since + span,
             to = (uint64_t)k->pit_was.channels[0].count_load_time + span;
    bool new_request = l->before && !(k->chips->pic->s.chip[0].irr & 1), over;
    if (anew) { /* at an unknown moment */
        from = 0;
        to = monotonic() + span;
    }
    over = (!anew && new_request) || await(l, from, to + LATE_NS);
    stop_ticking(k);
    return ticked(l) || over;
}

static bool stop_periodic(struct kvm_vm *k, struct look *l)
{
    __s64 *since = &k->pit_was.channels[0].count_load_time;
    uint64_t span = mul_div_u64(k->pit_now.channels[0].count, NS_PER_S, I8254_HZ);
    uint64_t n = max_u64((monotonic() - k->pit_since) / span, 1), late = min_u64(LATE_NS, span / 2);
    bool over = await(l, k->pit_since + n * span, (uint64_t)*since + n * span + late);
    stop_ticking(k);
    uint64_t now = monotonic(), due = (now - k->pit_since) / span;
    if (due > (over ? n : n - 1) && !ticked(l))
        return false;
    *since = (__s64)min_u64((uint64_t)*since, now - due * span);
    return true;
}

/* A timer of the kernel's that is due has its tick raised by a thread some time later, and stopping
 * the timer waits for that; but a timer that is late is stopped with its tick. So what is due is
 * waited for; and a one-shot that the guest loaded meanwhile, at a moment that nobody knows, is as
 * well: it has run out, or is about to. A period that the guest began meanwhile begins anew. */
void kvm_pit_stop(struct kvm_vm *k)
{
    if (!k->pit)
        return;
    const struct kvm_pit_channel_state *was = &k->pit_was.channels[0], *c = &k->pit_now.channels[0];
    struct look l = {.k = k};
    CHECK(kvm_call(k->fd, KVM_GET_PIT2, &k->pit_now) >= 0);
    k->pit_now.channels[0].count_load_time = was->count_load_time;
    bool anew = loaded_anew(0, was, c), repeats = c->mode == 2 || c->mode == 3;
    bool idle = c->count > COUNT_MAX || c->mode == MODE_IDLE || k->pit_off;
    l.before = ticked(&l);
    k->pit_came = true;
    if (idle || (anew && repeats))
        stop_ticking(k);
    else
        k->pit_came = repeats ? stop_periodic(k, &l) : stop_one_shot(k, &l, anew);
    k->pit_now.channels[0].count_load_time = was->count_load_time;
    if (l.any && !request(&l))
        set_request(&l, true);
}

void kvm_pit_out(struct kvm_vm *k)
{
    if (k->pit)
        kvm_pit_to(k->chips->pit, monotonic(), &k->pit_was, &k->pit_now, k->pit_came);
}
