/* The whole state of a CPU, given to the kernel and taken back.
 *
 * An instruction that left the kernel for a device ends with the next KVM_RUN only: taking the
 * state back finishes it first, with a KVM_RUN that goes no further. */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cpu/debug.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "cpu/walk.h"
#include "engine/kvm_vm.h"

#define MSR_TSC 0x10

/* struct kvm_msrs with its entries. */
struct msr_list {
    uint32_t nmsrs, pad;
    struct kvm_msr_entry entry[KVM_MSRS];
};
_Static_assert(offsetof(struct msr_list, entry) == sizeof(struct kvm_msrs), "the kernel's layout");

int kvm_call(int fd, unsigned long request, const void *arg)
{
    int r;
    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r;
}

/* KVM_GET_SREGS's structure is the same up to its last field. */
static bool set_sregs(struct kvm_vcpu *v)
{
    struct kvm_sregs2 r;
    struct kvm_sregs old = {0};
    kvm_sregs_from(v->c, &r);
    if (v->vm->sregs2)
        return kvm_call(v->fd, KVM_SET_SREGS2, &r) >= 0;
    memcpy(&old, &r, offsetof(struct kvm_sregs2, flags));
    return kvm_call(v->fd, KVM_SET_SREGS, &old) >= 0;
}

/* A host that emulates may quietly leave out paging where it has none, and so run something else.
 */
static bool mode_taken(const struct kvm_vcpu *v)
{
    const struct cpu_state *s = &v->c->s;
    const uint64_t bits = CR0_PE | CR0_PG | CR0_WP;
    struct kvm_sregs r;
    return kvm_call(v->fd, KVM_GET_SREGS, &r) >= 0 && !((r.cr0 ^ s->cr0) & bits) &&
           r.cr3 == s->cr3 && r.cr4 == s->cr4 && r.efer == s->efer;
}

void kvm_peek_sregs(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    struct kvm_sregs2 r = {0};
    struct kvm_sregs old = {0};
    if (v->vm->sregs2) {
        CHECK(kvm_call(v->fd, KVM_GET_SREGS2, &r) >= 0);
    } else {
        CHECK(kvm_call(v->fd, KVM_GET_SREGS, &old) >= 0);
        memcpy(&r, &old, offsetof(struct kvm_sregs2, flags));
    }
    kvm_sregs_to(c, &r);
    bool pae = (c->s.cr0 & CR0_PG) && (c->s.cr4 & CR4_PAE) && !(c->s.efer & EFER_LMA);
    if (pae && !(r.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
        walk_load_pdptes(c, c->s.cr3); /* the nearest to what the kernel has */
}

static bool set_msrs(struct kvm_vcpu *v, uint32_t *failed)
{
    struct msr_list l = {0};
    unsigned n = kvm_msrs_from(v->c, l.entry);
    l.entry[n++] = (struct kvm_msr_entry){.index = MSR_TSC, .data = cpu_tsc(v->c)};
    l.nmsrs = n;
    int done = kvm_call(v->fd, KVM_SET_MSRS, &l);
    if (done == (int)n)
        return true;
    *failed = l.entry[done < 0 ? 0 : done].index;
    return false;
}

/* A value within a second of what the kernel expects, or 0, it takes for an attempt to make the
 * CPUs' counters agree, and goes on with the count that it has: one far away comes first. */
void kvm_load_tsc(struct kvm_vcpu *v)
{
    uint64_t tsc = cpu_tsc(v->c), is = tsc ? tsc : 1;
    struct msr_list l = {
        .nmsrs = 2,
        .entry = {{.index = MSR_TSC, .data = is + BIT(44)}, {.index = MSR_TSC, .data = is}}};
    kvm_call(v->fd, KVM_SET_MSRS, &l);
}

void kvm_store_tsc(struct kvm_vcpu *v)
{
    struct msr_list l = {.nmsrs = 1, .entry = {{.index = MSR_TSC}}};
    if (v->loaded && kvm_call(v->fd, KVM_GET_MSRS, &l) == 1)
        v->c->s.tsc_offset += l.entry[0].data - cpu_tsc(v->c);
}

static void get_msrs(struct kvm_vcpu *v)
{
    struct msr_list l = {0};
    unsigned n = kvm_msrs_from(v->c, l.entry);
    l.nmsrs = n;
    CHECK(kvm_call(v->fd, KVM_GET_MSRS, &l) == (int)n);
    kvm_msrs_to(v->c, l.entry, n);
    kvm_store_tsc(v);
}

static bool set_xsave(struct kvm_vcpu *v)
{
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = v->c->s.xcr0}}};
    uint8_t *image = xcalloc(1, KVM_XSAVE_SIZE);
    bool ok = !isa_has(&v->c->features, FEAT_XSAVE) || kvm_call(v->fd, KVM_SET_XCRS, &x) >= 0;
    kvm_xsave_from(v->c, image);
    ok = ok && kvm_call(v->fd, KVM_SET_XSAVE, image) >= 0;
    free(image);
    return ok;
}

static void get_xsave(struct kvm_vcpu *v)
{
    struct kvm_xcrs x = {0};
    uint8_t *image = xcalloc(1, KVM_XSAVE_SIZE);
    CHECK(kvm_call(v->fd, KVM_GET_XSAVE, image) >= 0);
    kvm_xsave_to(v->c, image);
    free(image);
    if (isa_has(&v->c->features, FEAT_XSAVE) && kvm_call(v->fd, KVM_GET_XCRS, &x) >= 0)
        v->c->s.xcr0 = x.xcrs[0].value;
}

bool kvm_load(struct kvm_vcpu *v, struct err *e)
{
    struct cpu *c = v->c;
    struct kvm_regs regs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    const char *what = NULL;
    uint32_t msr = 0;
    flags_sync(c);
    if (!v->told && !kvm_set_cpuid(v, e))
        return false;
    v->told = true;
    kvm_regs_from(&c->s, &regs);
    kvm_debug_from(&c->s, &debug);
    kvm_events_from(c, &events);
    if (!set_sregs(v))
        what = "system registers";
    else if (!mode_taken(v))
        what = "paging mode";
    else if (kvm_call(v->fd, KVM_SET_REGS, &regs) < 0)
        what = "registers";
    else if (!set_xsave(v))
        what = "floating-point state";
    else if (!set_msrs(v, &msr))
        what = "model-specific registers";
    else if (kvm_call(v->fd, KVM_SET_DEBUGREGS, &debug) < 0)
        what = "debug registers";
    else if (kvm_call(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
        what = "events";
    if (msr)
        return err_set(e, ERR_UNSUPPORTED, "KVM does not take MSR %#x", msr);
    if (what)
        return err_set(e, ERR_UNSUPPORTED, "KVM does not take this CPU's %s", what);
    v->vm->stats.loads++;
    v->loaded = true;
    v->unfinished = false;
    v->if_flag = c->s.rflags & EF_IF;
    v->ready = v->if_flag && !events.interrupt.shadow;
    return true;
}

/* What the kernel had begun to deliver when it left: our own CPU delivers it. A software interrupt
 * or breakpoint is not: its instruction runs again. */
static void deliver_begun(struct kvm_vcpu *v, const struct kvm_vcpu_events *e)
{
    struct cpu *c = v->c;
    bool soft = e->exception.nr == EXC_BP || e->exception.nr == EXC_OF;
    if ((e->exception.injected || e->exception.pending) && !soft) {
        cpu_fault(c, e->exception.nr, "an exception that KVM had begun to deliver", 0, 0);
        c->fault.has_error = e->exception.has_error_code;
        c->fault.error = e->exception.error_code;
        c->fault.addr = c->s.cr2;
        cpu_deliver(c);
    } else if (e->nmi.injected) {
        c->s.nmi_blocked = 0; /* it counts as blocked from the injection on */
        c->s.nmi_pending = 1;
        cpu_request(c, REQ_NMI);
    } else if (e->interrupt.injected && !e->interrupt.soft) {
        cpu_take_vector(c, e->interrupt.nr);
    }
}

void kvm_finish(struct kvm_vcpu *v)
{
    if (v->exited && kvm_exit_device(v)) {
        kvm_exit_count(v);
        v->exited = false;
    }
    while (v->unfinished) {
        __atomic_fetch_or(&v->run->immediate_exit, EXIT_FINISHED, __ATOMIC_SEQ_CST);
        v->unfinished = false;
        if (ioctl(v->fd, KVM_RUN, 0) >= 0 && !kvm_exit_device(v))
            break;
    }
    __atomic_fetch_and(&v->run->immediate_exit, (uint8_t)~EXIT_FINISHED, __ATOMIC_SEQ_CST);
}

void kvm_store(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    struct kvm_regs regs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    if (v->vm->live) {
        kvm_chips_out(v->vm);
        return;
    }
    if (!v->loaded)
        return;
    kvm_finish(v);
    /* events first: reading them makes the kernel settle CR2 and DR6 */
    CHECK(kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &events) >= 0);
    CHECK(kvm_call(v->fd, KVM_GET_REGS, &regs) >= 0);
    CHECK(kvm_call(v->fd, KVM_GET_DEBUGREGS, &debug) >= 0);
    kvm_regs_to(&c->s, &regs);
    kvm_peek_sregs(v);
    get_xsave(v);
    get_msrs(v);
    kvm_debug_to(&c->s, &debug);
    c->s.nmi_blocked = events.nmi.masked;
    if (events.nmi.pending) {
        c->s.nmi_pending = 1;
        cpu_request(c, REQ_NMI);
    }
    /* SVM knows one kind only, which the kernel calls both: STI's holds back less */
    c->s.shadow = events.interrupt.shadow == KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_MOVSS
                  : events.interrupt.shadow                            ? SHADOW_STI
                                                                       : 0;
    c->s.shadow_at = c->s.icount;
    c->s.stepping = 0;
    c->s.pending_db = 0;
    c->next_rip = c->s.rip;
    v->vm->stats.stores++;
    v->loaded = false;
    cpu_mode_changed(c);
    /* the guest wrote memory that our own CPU has translated, and its page tables */
    if (v->vm->soft.remap)
        v->vm->soft.remap(v->vm->soft.opaque);
    deliver_begun(v, &events);
}
