/* The kernel's interval timer in the place of ours, together with its interrupt controllers.
 *
 * The kernel's is poorer than the chip. It takes no phase: a channel that it is given starts anew.
 * One-shot counts therefore get what is left as their count. What channel 0 had counted of a period
 * is added up, and makes for a tick when it comes to a period, so that none is lost in the long
 * run, however often the timer changes sides. Nor does the kernel know a channel 0 that has run out
 * or was not loaded: it gets the longest count, and may bring a tick too many. A channel 0 that no
 * guest has touched goes in mode 5, in which it does nothing.
 *
 * KVM_GET_PIT2 tells when channels 1 and 2 were loaded, but not channel 0: if its count is not what
 * it was, it starts at the moment that it comes back. */
#include "engine/kvm_vm.h"

#include <sys/ioctl.h>

/* Which byte is next, in the kernel's words. */
enum { RW_LOW = 1, RW_HIGH = 2, RW_WORD_LOW = 3, RW_WORD_HIGH = 4 };

#define MODE_IDLE  5
#define IOAPIC_PIN 2 /* that the board's timer goes to */

static bool periodic(const struct i8254_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool waits_for_gate(const struct i8254_channel *c)
{
    return (c->mode == 1 || c->mode == 5) && !c->triggered;
}

static uint32_t count_of(const struct i8254_channel *c, bool first, uint64_t elapsed)
{
    if (periodic(c) && c->loaded)
        return c->reload_at != CLOCK_NEVER ? c->next : c->reload;
    if (!c->loaded || waits_for_gate(c) || (elapsed >= c->reload && first))
        return 65536;
    return elapsed < c->reload ? c->reload - (uint32_t)elapsed : 1; /* the output is to be up */
}

/* A latched count leaves by the byte that is next; the high one first is odd, but possible. */
static uint8_t latched_of(const struct i8254_channel *c)
{
    if (!c->latched)
        return 0;
    return c->rw != RW_WORD_LOW ? c->rw : c->read_high ? RW_HIGH : RW_WORD_LOW;
}

static void channel_from(const struct i8254_channel *c, bool first, bool idle, uint64_t elapsed,
                         struct kvm_pit_channel_state *k)
{
    bool high = c->read_high && !c->latched;
    *k = (struct kvm_pit_channel_state){
        .count = count_of(c, first, elapsed),
        .latched_count = c->latch,
        .count_latched = latched_of(c),
        .status_latched = c->status_latched,
        .status = c->status,
        .read_state = high ? RW_WORD_HIGH : c->rw,
        .write_state = c->write_high ? RW_WORD_HIGH : c->rw,
        .write_latch = c->low,
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
        bool idle = i == 0 && !p->s.touched;
        channel_from(&p->s.ch[i], i == 0, idle, i8254_elapsed(p, i), &k->channels[i]);
        k->channels[i].count_load_time = (int64_t)ns;
    }
}

static uint32_t reload_of(const struct kvm_pit_channel_state *k)
{
    uint32_t n = k->count;
    if (k->bcd) /* the kernel counts in binary all the same */
        n = (n >> 12 & 15) * 1000 + (n >> 8 & 15) * 100 + (n >> 4 & 15) * 10 + (n & 15);
    if (n == 0 || n > 65536)
        return k->bcd ? 10000 : 65536;
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

static void bytes_to(struct i8254_channel *c, const struct kvm_pit_channel_state *k)
{
    c->rw = k->rw_mode & 3 ? k->rw_mode & 3 : RW_WORD_LOW;
    c->write_high = k->write_state == RW_WORD_HIGH;
    c->read_high = k->read_state == RW_WORD_HIGH;
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

void kvm_pit_to(struct i8254 *p, uint64_t ns, const struct kvm_pit_state2 *was,
                const struct kvm_pit_state2 *k)
{
    uint64_t now = i8254_tick(p);
    for (unsigned i = 0; i < 3; i++) {
        struct i8254_channel *c = &p->s.ch[i];
        const struct kvm_pit_channel_state *x = &k->channels[i], *old = &was->channels[i];
        uint64_t since = (uint64_t)x->count_load_time, ago = 0, start;
        bool same = x->count == old->count && x->mode == old->mode && x->bcd == old->bcd &&
                    x->count_load_time == old->count_load_time;
        if (ns > since && (same || i != 0))
            ago = mul_div_u64(ns - since, I8254_HZ, NS_PER_S);
        start = now > ago ? now - ago : 0;
        p->s.touched |= !same;
        if (!same)
            count_to(c, now, start, x);
        else if (periodic(c) && c->loaded && c->counting)
            restart(c, start);
        else
            gate_to(c, now, x->gate);
        c->gate = x->gate;
        bytes_to(c, x);
    }
    p->s.speaker = k->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
}

/* --- in the kernel ---------------------------------------------------------------------------- */

void kvm_pit_make(struct kvm_vm *k)
{
    static const long need[] = {KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_REINJECT_CONTROL};
    const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
    const struct kvm_reinject_control as_ours = {.pit_reinject = 0};
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

/* Ticks of the present period that the kernel won't count. */
static bool owes_tick(struct kvm_vm *k)
{
    const struct i8254 *p = k->chips->pit;
    const struct i8254_channel *c = &p->s.ch[0];
    if (!periodic(c) || !c->loaded || !c->counting || k->pit_off) {
        k->pit_owed = 0;
        return false;
    }
    k->pit_owed += i8254_elapsed(p, 0) % c->reload;
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
    return kvm_call(k->fd, KVM_SET_PIT2, &s) >= 0 &&
           kvm_call(k->fd, KVM_GET_PIT2, &k->pit_was) >= 0;
}

void kvm_pit_out(struct kvm_vm *k)
{
    struct kvm_pit_state2 s = {0};
    if (k->pit) {
        CHECK(kvm_call(k->fd, KVM_GET_PIT2, &s) >= 0);
        kvm_pit_to(k->chips->pit, monotonic(), &k->pit_was, &s);
    }
}
