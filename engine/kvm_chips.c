/* The kernel's interrupt controllers in the place of ours, and its interval timer with them.
 *
 * Either side has all: `live` is when the kernel has the controllers, and then it has the state of
 * every CPU too; CPUs that wait (HLT, a start-up IPI) do so in the kernel. Whenever one CPU's state
 * is wanted here (our own CPU is to run something, the monitor looks, the engine changes), all come
 * back together, in stillness. That is rare where the host's processor virtualises.
 *
 * The board's wire from the interval timer then is a route of the kernel's (GSI 0), and its level
 * here means nothing: what drives inputs at other times does not see it move. */
#include <errno.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/share.h"
#include "dev/lapic_timer.h"
#include "engine/kvm_host.h"
#include "engine/kvm_vm.h"

#define MSR_TSC_DEADLINE 0x6e0

/* GSIs: the inputs of either controller by themselves, as the board's wires go to each; and what
 * the kernel's interval timer drives. */
#define GSI_PIT    0
#define GSI_PIC    32
#define GSI_IOAPIC 64
#define PIT_PIN    2

struct deadline_msr {
    uint32_t nmsrs, pad;
    struct kvm_msr_entry entry;
};

void kvm_chips_input(void *opaque, enum chips_input to, unsigned n, bool level)
{
    struct kvm_vm *k = opaque;
    struct kvm_irq_level l = {.irq = (to == CHIPS_PIC ? GSI_PIC : GSI_IOAPIC) + n, .level = level};
    CHECK(kvm_call(k->fd, KVM_IRQ_LINE, &l) >= 0);
}

bool kvm_chips_route(struct kvm_vm *k, const struct kvm_irq_routing_entry *more, unsigned n_more)
{
    struct {
        uint32_t nr, flags;
        struct kvm_irq_routing_entry entry[16 + IOAPIC_PINS + 2 + KVM_ROUTES];
    } r = {0};
    CHECK(n_more <= KVM_ROUTES);
    for (unsigned n = 0; n < 16; n++)
        r.entry[r.nr++] = (struct kvm_irq_routing_entry){
            .gsi = GSI_PIC + n,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = {n < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, n & 7}};
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        r.entry[r.nr++] = (struct kvm_irq_routing_entry){.gsi = GSI_IOAPIC + n,
                                                         .type = KVM_IRQ_ROUTING_IRQCHIP,
                                                         .u.irqchip = {KVM_IRQCHIP_IOAPIC, n}};
    /* last, as of an input's several GSIs the kernel knows the last when it is acknowledged */
    r.entry[r.nr++] = (struct kvm_irq_routing_entry){
        .gsi = GSI_PIT, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {KVM_IRQCHIP_PIC_MASTER, 0}};
    r.entry[r.nr++] = (struct kvm_irq_routing_entry){.gsi = GSI_PIT,
                                                     .type = KVM_IRQ_ROUTING_IRQCHIP,
                                                     .u.irqchip = {KVM_IRQCHIP_IOAPIC, PIT_PIN}};
    if (n_more)
        memcpy(r.entry + r.nr, more, n_more * sizeof *more);
    r.nr += n_more;
    return kvm_call(k->fd, KVM_SET_GSI_ROUTING, &r) >= 0;
}

static bool lacks_chips(struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED,
                   "this kernel's KVM has no interrupt controllers for ishi: --irqchip ishi");
}

bool kvm_chips_choose(struct kvm_vm *k, struct err *e)
{
    struct irq_chips *chips = k->vcpu[0].c->chips;
    static const long need[] = {KVM_CAP_IRQCHIP, KVM_CAP_IRQ_ROUTING, KVM_CAP_MP_STATE,
                                KVM_CAP_TSC_DEADLINE_TIMER};
    bool threads = k->vcpu[0].c->parallel, can = true;
    if (!chips || chips->wish == CHIPS_OURS)
        return true;
    if (chips->wish == CHIPS_AUTO && (!threads || k->emulates || kvm_chips_lack(k->fd)))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(need); i++)
        can = can && ioctl(k->fd, KVM_CHECK_EXTENSION, need[i]) > 0;
    if (!threads)
        return err_set(e, ERR_INVALID,
                       "--irqchip kernel: CPUs wait in the kernel, and so need --sched parallel");
    k->chips = can ? chips : NULL;
    return can || lacks_chips(e);
}

bool kvm_chips_make(struct kvm_vm *k, struct err *e)
{
    if (!k->chips)
        return true;
    if (ioctl(k->fd, KVM_CREATE_IRQCHIP, 0) < 0 || !kvm_chips_route(k, NULL, 0))
        return lacks_chips(e);
    k->chips->kernels = true;
    return true;
}

/* --- into the kernel -------------------------------------------------------------------------- */

static uint32_t timer_mode(const struct kvm_lapic_state *k)
{
    return get_le32((const uint8_t *)k->regs + 0x320) & 0x60000;
}

bool kvm_lapic_set(int fd, const struct kvm_lapic_state *state, uint64_t deadline)
{
    const struct deadline_msr none = {.nmsrs = 1, .entry = {.index = MSR_TSC_DEADLINE}};
    struct deadline_msr d = none;
    struct kvm_lapic_state old;
    d.entry.data = deadline;
    if (kvm_call(fd, KVM_SET_MSRS, &none) != 1 || kvm_call(fd, KVM_GET_LAPIC, &old) < 0 ||
        kvm_call(fd, KVM_SET_LAPIC, state) < 0)
        return false;
    if (timer_mode(&old) != timer_mode(state) && kvm_call(fd, KVM_SET_LAPIC, state) < 0)
        return false;
    return !deadline || kvm_call(fd, KVM_SET_MSRS, &d) == 1;
}

static bool put_lapic(struct kvm_vcpu *v)
{
    static const uint32_t mp[] = {[ACT_RUN] = KVM_MP_STATE_RUNNABLE,
                                  [ACT_HALT] = KVM_MP_STATE_HALTED,
                                  [ACT_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
                                  [ACT_SHUTDOWN] = KVM_MP_STATE_RUNNABLE};
    struct cpu *c = v->c;
    struct lapic *l = v->vm->chips->apics->lapic[c->index];
    struct kvm_lapic_state state;
    struct kvm_mp_state m = {.mp_state = mp[c->s.activity]};
    kvm_lapic_from(l, &state);
    return kvm_lapic_set(v->fd, &state, lapic_timer_deadline(l)) &&
           kvm_call(v->fd, KVM_SET_MP_STATE, &m) >= 0;
}

static bool put_chip(struct kvm_vm *k, struct kvm_irqchip *chip)
{
    return kvm_call(k->fd, KVM_SET_IRQCHIP, chip) >= 0;
}

/* The slave first: the master would keep an edge of what waits in the slave of the last time. */
static bool put_board(struct kvm_vm *k)
{
    struct kvm_irqchip chip[3] = {{.chip_id = KVM_IRQCHIP_PIC_MASTER},
                                  {.chip_id = KVM_IRQCHIP_PIC_SLAVE},
                                  {.chip_id = KVM_IRQCHIP_IOAPIC}};
    for (unsigned i = 0; i < 2; i++)
        kvm_pic_from(&k->chips->pic->s.chip[i], i, &chip[i].chip.pic);
    kvm_ioapic_from(&k->chips->ioapic->s, &chip[2].chip.ioapic);
    return put_chip(k, &chip[1]) && put_chip(k, &chip[0]) && put_chip(k, &chip[2]);
}

/* What only our own CPU does is done before. */
static bool settled(const struct kvm_vcpu *v)
{
    const struct cpu *c = v->c;
    bool ipi = (cpu_requests(c) & (REQ_INIT | REQ_SIPI)) || c->s.init_pending || c->s.sipi_pending;
    return !ipi && !(c->s.activity == ACT_RUN && (v->own || c->s.pending_db || c->s.stepping));
}

bool kvm_chips_ready(const struct kvm_vm *k)
{
    for (unsigned i = 0; i < k->count; i++)
        if (!settled(&k->vcpu[i]))
            return false;
    return true;
}

bool kvm_chips_in(struct kvm_vm *k, struct err *e)
{
    bool ok = true;
    if (kvm_pit_wanted(k))
        kvm_pit_make(k);
    if (k->pit)
        i8254_pause(k->chips->pit);
    kvm_load_tsc(&k->vcpu[0]); /* the others' are near, and so agree with it */
    for (unsigned i = 0; i < k->count && ok; i++)
        ok = kvm_load(&k->vcpu[i], e);
    for (unsigned i = 0; i < k->count && ok; i++)
        ok = put_lapic(&k->vcpu[i]) ||
             err_set(e, ERR_UNSUPPORTED, "KVM does not take the state of local APIC %u", i);
    /* what waits in these goes on to the local APICs at once */
    if (ok && !(put_board(k) && kvm_pit_in(k)))
        ok = err_set(e, ERR_UNSUPPORTED, "KVM does not take the interrupt controllers' state");
    if (!ok) {
        for (unsigned i = 0; i < k->count; i++)
            kvm_store(&k->vcpu[i]);
        if (k->pit)
            i8254_resume(k->chips->pit);
        return false;
    }
    for (unsigned i = 0; i < k->count; i++) {
        struct cpu *c = k->vcpu[i].c;
        timer_set(&k->chips->apics->lapic[i]->timer, CLOCK_NEVER);
        if (c->s.activity != ACT_SHUTDOWN)
            c->s.activity = ACT_RUN;
        cpu_request(c, REQ_INTR); /* its thread may wait: it is to do so in the kernel */
    }
    k->chips->input = kvm_chips_input;
    k->chips->message = kvm_notify_message;
    k->chips->opaque = k;
    k->live = true;
    k->stats.chips_in++;
    return true;
}

/* --- and back --------------------------------------------------------------------------------- */

/* What a CPU's local APIC was before the kernel let its timer's interrupt in. */
struct settled {
    struct kvm_lapic_state before;
    bool ran; /* it did not wait */
};

static bool is_running(const struct kvm_vcpu *v)
{
    struct kvm_mp_state m = {0};
    CHECK(kvm_call(v->fd, KVM_GET_MP_STATE, &m) >= 0);
    return m.mp_state == KVM_MP_STATE_RUNNABLE;
}

/* A timer's expiry becomes a request in the local APIC when its CPU next runs, and not before. With
 * a signal that only KVM_RUN lets through, the CPU runs up to the guest's door and no further; it
 * does so as one that halts, as where the processor itself counts for a guest that runs, the kernel
 * looks at the time itself only then. An exit that its own thread is yet to look at (a triple
 * fault, a breakpoint) stays. */
static void settle_timer(struct kvm_vcpu *v, struct settled *s)
{
    struct kvm_run was = *v->run;
    struct { /* struct kvm_signal_mask, with its set */
        uint32_t len;
        uint8_t set[8];
    } all = {.len = 8};
    const struct kvm_mp_state halts = {.mp_state = KVM_MP_STATE_HALTED};
    sigset_t kick, old;
    s->ran = is_running(v);
    CHECK(kvm_call(v->fd, KVM_GET_LAPIC, &s->before) >= 0);
    if (s->ran)
        CHECK(kvm_call(v->fd, KVM_SET_MP_STATE, &halts) >= 0);
    sigemptyset(&kick);
    sigaddset(&kick, KVM_KICK);
    pthread_sigmask(SIG_BLOCK, &kick, &old);
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), KVM_KICK);
    if (kvm_call(v->fd, KVM_SET_SIGNAL_MASK, &all) >= 0) {
        ioctl(v->fd, KVM_RUN, 0);
        kvm_call(v->fd, KVM_SET_SIGNAL_MASK, NULL);
    }
    if (v->exited) {
        v->run->exit_reason = was.exit_reason;
        memcpy(v->run->padding, was.padding, sizeof was.padding);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* The kernel applies INIT and start-up IPIs that wait when it is asked for the MP state, so that
 * comes before the registers. */
static void take_lapic(struct kvm_vcpu *v, const struct settled *s)
{
    struct cpu *c = v->c;
    struct lapic *l = v->vm->chips->apics->lapic[c->index];
    struct kvm_lapic_state state;
    struct kvm_mp_state m = {0};
    struct kvm_sregs r = {0};
    struct deadline_msr d = {.nmsrs = 1, .entry = {.index = MSR_TSC_DEADLINE}};
    CHECK(kvm_call(v->fd, KVM_GET_MP_STATE, &m) >= 0);
    CHECK(kvm_call(v->fd, KVM_GET_SREGS, &r) >= 0);
    CHECK(kvm_call(v->fd, KVM_GET_LAPIC, &state) >= 0);
    if (kvm_call(v->fd, KVM_GET_MSRS, &d) != 1)
        d.entry.data = 0;
    kvm_lapic_expired(&state, &s->before);
    kvm_lapic_to(l, r.apic_base, d.entry.data, &state);
    if (c->s.activity == ACT_RUN)
        c->s.activity =
            m.mp_state == KVM_MP_STATE_HALTED && !s->ran ? ACT_HALT
            : m.mp_state == KVM_MP_STATE_UNINITIALIZED || m.mp_state == KVM_MP_STATE_INIT_RECEIVED
                ? ACT_WAIT_SIPI
                : ACT_RUN;
}

static void take_board(struct kvm_vm *k)
{
    struct irq_chips *c = k->chips;
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_irqchip chip = {.chip_id = i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER};
        CHECK(kvm_call(k->fd, KVM_GET_IRQCHIP, &chip) >= 0);
        kvm_pic_to(&c->pic->s.chip[i], i, &chip.chip.pic);
    }
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    CHECK(kvm_call(k->fd, KVM_GET_IRQCHIP, &chip) >= 0);
    kvm_ioapic_to(&c->ioapic->s, &chip.chip.ioapic);
}

static void moves_nothing(void *opaque, enum chips_input to, unsigned n, bool level) {}

/* Ours begin to work again, from the states that they have now. */
static void restart(struct kvm_vm *k)
{
    struct irq_chips *c = k->chips;
    bool intr = i8259_pending(c->pic);
    for (unsigned i = 0; i < k->count; i++)
        c->apics->lapic[i]->s.lint[0] = intr; /* no edge: it was so before */
    for (unsigned i = 0; i < k->count; i++)
        lapic_timer_go_on(c->apics->lapic[i]);
    i8259_restore(c->pic);
    for (unsigned i = 0; i < k->count; i++)
        lapic_lint(c->apics->lapic[i], 0, intr); /* tells the CPU what waits */
}

/* The timer's edges up to now were the kernel's: its level comes about without one. */
static void take_pit(struct kvm_vm *k)
{
    kvm_pit_out(k);
    k->chips->input = moves_nothing;
    if (k->pit)
        i8254_resume(k->chips->pit);
}

void kvm_chips_out(struct kvm_vm *k)
{
    share_still(k->vcpu[0].c);
    kvm_notify_settle(k);
    for (unsigned i = 0; i < k->count; i++)
        kvm_finish(&k->vcpu[i]);
    kvm_pit_stop(k);
    for (unsigned i = 0; i < k->count; i++) {
        struct settled s;
        settle_timer(&k->vcpu[i], &s);
        take_lapic(&k->vcpu[i], &s);
    }
    take_board(k);
    take_pit(k);
    k->chips->input = NULL;
    k->chips->message = NULL;
    k->live = false;
    for (unsigned i = 0; i < k->count; i++)
        kvm_store(&k->vcpu[i]);
    restart(k);
}
