/* A debugger's stops by the host's debug registers, so that a guest runs at full speed towards
 * them.
 *
 * Four addresses, shared by breakpoints and watchpoints; nothing is written to the guest's memory,
 * where INT3 would be seen by a guest that reads its own code. What does not fit is our own CPU's:
 * more stops, a watchpoint on reads alone (processors have none) or of an odd size, a guest that
 * uses the debug registers itself, watchpoints where the kernel emulates (it looks at code only).
 *
 * Single steps are always our own CPU's. By KVM_GUESTDBG_SINGLESTEP the kernel sets TF behind the
 * guest's back: PUSHF and the frame of any exception show it, a faulting instruction takes its
 * whole handler with it, and a task that is switched away in between keeps TF for later. */
#include "cpu/debug.h"
#include "cpu/intr.h"
#include "engine/kvm_vm.h"

#define SLOTS 4

struct plan {
    uint64_t at[SLOTS];
    uint32_t dr7;
    unsigned count;
};

/* False: no room. */
static bool take(struct plan *p, uint64_t la, unsigned kind, unsigned length)
{
    static const uint8_t len[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    for (unsigned i = 0; i < p->count; i++)
        if (p->at[i] == la && (p->dr7 >> (16 + 4 * i) & 15) == (kind | (unsigned)len[length] << 2))
            return true;
    if (p->count == SLOTS)
        return false;
    p->at[p->count] = la;
    p->dr7 |= 2u << 2 * p->count | (kind | (unsigned)len[length] << 2) << (16 + 4 * p->count);
    p->count++;
    return true;
}

static bool plan_watch(struct plan *p, const struct stops_watch *w)
{
    bool size = w->length == 1 || w->length == 2 || w->length == 4 || w->length == 8;
    bool writes = w->kinds & WATCH_WRITE, reads = w->kinds & WATCH_READ;
    return size && !(w->la & (w->length - 1)) && writes &&
           take(p, w->la, reads ? 3 : 1, (unsigned)w->length);
}

static bool make_plan(const struct kvm_vcpu *v, struct plan *p)
{
    const struct stops *s = v->c->stops;
    *p = (struct plan){.dr7 = DR7_FIXED};
    if (!v->vm->debugs || (s->watch_count && v->vm->emulates))
        return false;
    for (unsigned i = 0; i < s->break_count; i++)
        if (!take(p, s->breaks[i], 0, 1))
            return false;
    for (unsigned i = 0; i < s->watch_count; i++)
        if (!plan_watch(p, &s->watch[i]))
            return false;
    return true;
}

bool kvm_debug(struct kvm_vcpu *v)
{
    struct kvm_guest_debug g = {0};
    struct plan p;
    bool ok = !v->c->stops || make_plan(v, &p);
    if (ok && v->c->stops) {
        g.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        memcpy(g.arch.debugreg, p.at, sizeof p.at);
        g.arch.debugreg[7] = p.dr7;
    }
    if (!memcmp(&g, &v->debug, sizeof g))
        return ok;
    v->debug = g;
    return kvm_call(v->fd, KVM_SET_GUEST_DEBUG, &g) >= 0 && ok;
}

bool kvm_debug_passes(const struct kvm_vcpu *v)
{
    const struct cpu *c = v->c;
    return c->stops && !v->loaded && c->stop.passing && stops_pc(c) == c->stop.pass_la;
}

/* #DB that the kernel gave us, though the guest made it: by TF, or by INT1, which notes nothing. */
static enum engine_exit guests_own(struct cpu *c, uint64_t dr6)
{
    if (dr6 & DR6_BS) {
        c->s.pending_db |= (uint32_t)DR6_BS;
        return ENGINE_BUDGET;
    }
    cpu_fault(c, EXC_DB, "INT1", 0, 0);
    return cpu_deliver(c) ? ENGINE_BUDGET : ENGINE_SHUTDOWN;
}

/* The kinds that a debugger gave for a watchpoint at la. */
static unsigned kinds_at(const struct stops *s, uint64_t la)
{
    for (unsigned i = 0; i < s->watch_count; i++)
        if (s->watch[i].la == la)
            return s->watch[i].kinds;
    return 0;
}

enum engine_exit kvm_debug_exit(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    uint64_t dr6 = v->run->debug.arch.dr6, dr7 = v->debug.arch.debugreg[7];
    kvm_store(v);
    for (unsigned i = 0; i < SLOTS; i++) {
        bool data = dr7 >> (16 + 4 * i) & 3;
        uint64_t la = v->debug.arch.debugreg[i];
        if (!(dr6 >> i & 1) || !(dr7 >> 2 * i & 3) || !c->stops)
            continue;
        stops_hit(c, data ? STOP_WATCH : STOP_BREAK, la, data ? kinds_at(c->stops, la) : 0);
        return ENGINE_REQUEST;
    }
    return guests_own(c, dr6);
}
