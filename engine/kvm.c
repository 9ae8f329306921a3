/* The engine on the host's own processor, by Linux's KVM.
 *
 * Devices stay ishi's own. The kernel runs instructions, and may have the interrupt controllers
 * (kvm_chips.c); a machine can change between this engine and the others at any instruction
 * boundary.
 *
 * Time: KVM counts no instructions. A run ends after a slice of host time, or at the next timer;
 * s.icount advances by the share of the budget that this is, so it says nothing of the guest.
 *
 * Threads: a CPU that has one of its own runs until it is kicked. The machine's lock is held but in
 * KVM_RUN, and while our own CPU runs.
 *
 * What the kernel can't do (its emulator refuses an instruction, the A20 gate is shut, an INIT or a
 * start-up IPI comes) our own CPU does. */

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/flags.h"
#include "cpu/intr.h"
#include "cpu/share.h"
#include "engine/kvm_vm.h"

#define KVM_SLICE_NS 1000000ull /* the longest run */
#define RUN_MIN_NS   50000u /* the shortest run: with timers always due, a guest still gets on */
#define SLICE_BUDGET 20000u /* the instructions of a budget that a whole slice stands for */
#define STREAK_MAX   22     /* after refusals in a row our own CPU runs up to 2^this instructions */
#define OTHERS       1000   /* instructions of our own CPU while another has to do first */
#define EXACT        16     /* a budget below this is a wish for exactly that many instructions */
#define TSS_ADDRESS  0xfeffd000u /* three pages that older Intel processors want for real mode … */
#define MAP_ADDRESS  0xfeffc000u /* … and one for its page table; nothing of the board is there */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* --- a run's end ------------------------------------------------------------------------------ */

/* The flag is in the page shared with the kernel, so a signal just before KVM_RUN is not lost. */
static void on_kick(int n, siginfo_t *info, void *context)
{
    struct kvm_run *run = info->si_value.sival_ptr;
    if (info->si_code == SI_TIMER && run)
        __atomic_fetch_or(&run->immediate_exit, EXIT_KICKED, __ATOMIC_SEQ_CST);
}

/* The signal must go to the thread that runs the CPU. */
static void timer_ready(struct kvm_vcpu *v)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK};
    if (v->thread == self)
        return;
    if (v->thread)
        timer_delete(v->timer);
    ev.sigev_value.sival_ptr = v->run;
    ev.sigev_notify_thread_id = self;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &v->timer) == 0);
    v->thread = self;
}

static void timer_arm(struct kvm_vcpu *v, uint64_t ns)
{
    const struct itimerspec t = {
        .it_value = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)},
    };
    timer_settime(v->timer, 0, &t, NULL);
}

/* The request was made before: whoever clears the flag looks at requests after that. */
static void kick(struct cpu *c)
{
    struct kvm_vcpu *v = c->vcpu;
    pid_t tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&v->run->immediate_exit, EXIT_KICKED, __ATOMIC_SEQ_CST);
    if (tid)
        syscall(SYS_tgkill, getpid(), tid, KVM_KICK);
}

/* --- events ----------------------------------------------------------------------------------- */

static void drop(struct cpu *c, uint32_t req)
{
    __atomic_fetch_and(&c->request, ~req, __ATOMIC_SEQ_CST);
}

static bool interrupts_on(const struct kvm_vcpu *v)
{
    return v->loaded ? v->if_flag : (v->c->s.rflags & EF_IF) != 0;
}

static bool apic_pending(const struct cpu *c)
{
    return c->apic.pending && c->apic.pending(c->apic.apic);
}

/* While the kernel has the interrupt controllers, CPUs wait there, and all but NMIs of the board
 * reaches them there. */
static bool attend_live(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    if (cpu_requests(c) & REQ_NMI)
        c->s.nmi_pending = 1;
    drop(c, REQ_INTR | REQ_DB);
    return true;
}

/* INIT, start-up IPIs and traps that wait are our own CPU's. False: the CPU does not run. */
static bool attend(struct kvm_vcpu *v, enum engine_exit *why)
{
    struct cpu *c = v->c;
    if (cpu_requests(c) & (REQ_EXIT | REQ_YIELD)) {
        drop(c, REQ_EXIT | REQ_YIELD);
        *why = ENGINE_REQUEST;
        return false;
    }
    if (v->vm->live)
        return attend_live(v);
    bool ipi = (cpu_requests(c) & (REQ_INIT | REQ_SIPI)) || c->s.init_pending || c->s.sipi_pending;
    if (ipi || (!v->loaded && (c->s.pending_db || c->s.stepping))) {
        kvm_store(v);
        if (!cpu_interrupt(c)) {
            *why = ENGINE_SHUTDOWN;
            return false;
        }
    }
    if (cpu_requests(c) & REQ_NMI)
        c->s.nmi_pending = 1;
    if (c->s.activity == ACT_HALT && (c->s.nmi_pending || (interrupts_on(v) && apic_pending(c))))
        c->s.activity = ACT_RUN;
    if (c->s.activity == ACT_RUN)
        return true;
    drop(c, REQ_INTR | REQ_DB);
    *why = c->s.activity == ACT_SHUTDOWN ? ENGINE_SHUTDOWN : ENGINE_HALT;
    return false;
}

static void inject_nmi(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    v->gave_nmi = c->s.nmi_pending && kvm_call(v->fd, KVM_NMI, NULL) >= 0;
    if (v->gave_nmi)
        c->s.nmi_pending = 0;
    drop(c, REQ_NMI);
}

/* Hands over what interrupts now, or asks to be told when it may. */
static void inject(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    if (v->ready && apic_pending(c)) {
        int vector = c->apic.ack(c->apic.apic);
        struct kvm_interrupt i = {.irq = (uint32_t)vector};
        if (vector >= 0) {
            CHECK(kvm_call(v->fd, KVM_INTERRUPT, &i) >= 0);
            LOG(c->log, INT, "cpu%u: interrupt %#x", c->index, (unsigned)vector);
            v->ready = false;
            v->gave_vector = vector;
        }
    }
    drop(c, REQ_INTR | REQ_DB);
    v->run->request_interrupt_window = apic_pending(c);
}

/* The low four bits of TPR are no part of CR8. */
static void give_tpr(struct kvm_vcpu *v)
{
    const struct cpu_apic *a = &v->c->apic;
    v->run->cr8 = a->tpr ? a->tpr(a->apic) >> 4 : 0;
}

static void take_tpr(struct kvm_vcpu *v)
{
    const struct cpu_apic *a = &v->c->apic;
    if (a->tpr && a->tpr(a->apic) >> 4 != v->run->cr8)
        a->set_tpr(a->apic, (uint8_t)(v->run->cr8 << 4));
}

/* --- running ---------------------------------------------------------------------------------- */

/* Takes the state back after a failure. A kernel that could not begin may have spoilt it (CR0.PG
 * was seen to go), but then ours, of kvm_load(), still holds. */
static void take_back(struct kvm_vcpu *v)
{
    struct kvm_regs now, then;
    kvm_regs_from(&v->c->s, &then);
    if (!v->loaded || kvm_call(v->fd, KVM_GET_REGS, &now) < 0 || memcmp(&now, &then, sizeof now)) {
        kvm_store(v);
        return;
    }
    v->loaded = false;
    if (v->vm->live)
        kvm_chips_out(v->vm);
    if (v->gave_nmi) {
        v->c->s.nmi_pending = 1;
        cpu_request(v->c, REQ_NMI);
    }
    if (v->gave_vector >= 0)
        cpu_take_vector(v->c, (unsigned)v->gave_vector);
}

/* The kernel can't go on: our own CPU does, from the same instruction. Longer each time when the
 * kernel fails again at once: such code comes in runs (a copy by vector registers), and some hosts
 * refuse a whole mode. */
static enum engine_exit take_over(struct kvm_vcpu *v, const char *what)
{
    uint64_t runs = v->vm->stats.runs;
    bool again = runs - v->refused_run <= 2;
    v->streak = !again ? 0 : v->streak < STREAK_MAX ? v->streak + 1 : STREAK_MAX;
    v->refused_run = runs;
    v->own = 1ull << v->streak;
    take_back(v);
    kvm_refused(v, what);
    return ENGINE_BUDGET;
}

/* Our own CPU's share. */
static enum engine_exit run_own(struct kvm_vcpu *v, uint64_t budget)
{
    uint64_t n = min_u64(v->own, budget), before = v->c->s.icount;
    kvm_store(v);
    enum engine_exit why = kvm_step(v, n);
    v->own -= min_u64(v->own, max_u64(v->c->s.icount - before, 1));
    return why;
}

static bool just_reset(const struct cpu *c)
{
    return c->s.rip == 0xfff0 && c->s.seg[SEG_CS].sel == 0xf000 && !(c->s.cr0 & CR0_PE);
}

/* A triple fault: our own CPU runs the instruction again, as it can say how it came about. If it
 * finds none, the kernel can't run this code at all and shuts down for want of a better answer:
 * emulating hosts do so in 32-bit paging. AMD's processors lose the state on the way, which then is
 * that of a reset. */
static enum engine_exit shut_down(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    take_back(v);
    if (just_reset(c)) {
        c->s.activity = ACT_SHUTDOWN;
        return ENGINE_SHUTDOWN;
    }
    if (c->s.activity != ACT_RUN)
        return ENGINE_SHUTDOWN;
    enum engine_exit why = kvm_step(v, 1);
    if (why != ENGINE_SHUTDOWN)
        take_over(v, "shuts down at");
    return why;
}

static enum engine_exit other_exit(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    switch (v->run->exit_reason) {
    case KVM_EXIT_HLT: c->s.activity = ACT_HALT; return ENGINE_BUDGET;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR: return ENGINE_BUDGET;
    case KVM_EXIT_SHUTDOWN: return shut_down(v);
    case KVM_EXIT_DEBUG: return kvm_debug_exit(v);
    case KVM_EXIT_INTERNAL_ERROR: return take_over(v, "refuses");
    default:
        LOG(c->log, KVM, "cpu%u: KVM stopped for reason %u (%llx)", c->index, v->run->exit_reason,
            (unsigned long long)v->run->hw.hardware_exit_reason);
        return take_over(v, "stops at");
    }
}

/* Is this guest beyond a kernel that emulates? Such a kernel delivers faults through a task gate as
 * if it were another, does not check control registers as it should, takes interrupts late, and
 * stays at level 3 after SYSCALL. A system that loads the task register or asks for 64 bits is
 * about to meet all that; programs and boot loaders without either are not. */
static bool beyond(uint64_t efer, uint16_t tr)
{
    return (efer & (EFER_SCE | EFER_LME)) || tr;
}

/* Into the guest and back, once. ENGINE_BUDGET: nothing to report. */
static enum engine_exit enter(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    if (v->slice && !v->c->share) {
        timer_ready(v);
        timer_arm(v, v->slice);
        v->slice = 0;
    }
    inject_nmi(v);
    v->gave_vector = -1;
    run->request_interrupt_window = 0;
    if (!v->vm->live) {
        inject(v);
        give_tpr(v);
    }
    v->vm->stats.runs++;
    cpu_unlock(v->c);
    v->unfinished = false;
    int r = ioctl(v->fd, KVM_RUN, 0), error = errno;
    v->exited = r >= 0;
    cpu_lock(v->c);
    kvm_drain(v->vm);
    if (!v->c->share) /* no other thread may do it */
        kvm_notify_serve(v->vm);
    bool seen = !v->exited; /* who took the state back meanwhile has dealt with it */
    v->exited = false;
    v->c->stop.passing = false; /* it has left that place */
    v->if_flag = run->if_flag;
    v->ready = run->ready_for_interrupt_injection;
    if (!v->vm->chips)
        take_tpr(v);
    bool mine = v->vm->emulates && beyond(run->s.regs.sregs.efer, run->s.regs.sregs.tr.selector);
    if (r < 0 && (error == EINTR || error == EAGAIN)) {
        if (mine)
            kvm_store(v);
        return ENGINE_BUDGET;
    }
    if (r < 0) { /* memory that the host can't give, say */
        LOG(v->c->log, HOST, "cpu%u: KVM_RUN: %s", v->c->index, strerror(error));
        return take_over(v, "can't run");
    }
    if (seen)
        return ENGINE_BUDGET;
    kvm_exit_count(v);
    enum engine_exit why = kvm_exit_device(v) ? ENGINE_BUDGET : other_exit(v);
    if (mine)
        kvm_store(v);
    return why;
}

/* How long this run may last, in ns. */
static uint64_t slice(const struct cpu *c, uint64_t budget)
{
    uint64_t now = clock_now(c->clock), most, left;
    most = min_u64(budget, SLICE_BUDGET) * (KVM_SLICE_NS / SLICE_BUDGET);
    left = c->clock->next > now ? c->clock->next - now : 0;
    return max_u64(min_u64(most, left), RUN_MIN_NS);
}

/* What paging depends on, as a small number. */
static uint8_t mode_of(const struct cpu_state *s)
{
    return (uint8_t)(1 | (s->cr0 & CR0_PE ? 2 : 0) | (s->cr0 & CR0_PG ? 4 : 0) |
                     (s->cr4 & CR4_PAE ? 8 : 0) | (s->efer & EFER_LMA ? 16 : 0));
}

/* All CPUs of a system are: one that waits for another by PAUSE would give way to a slow one. */
static bool has_system(const struct kvm_vm *k)
{
    for (unsigned i = 0; i < k->count; i++)
        if (beyond(k->vcpu[i].c->s.efer, k->vcpu[i].c->s.tr.sel))
            return true;
    return false;
}

/* Where an emulating kernel goes astray without a word, our own CPU runs: systems (beyond()), and
 * all of level 3, where it answers what it does not know with #UD to the guest. */
static bool own_mode(struct kvm_vcpu *v)
{
    const struct cpu *c = v->c;
    bool level3 = !v->loaded && c->cpl == 3, system = has_system(v->vm);
    if (!v->loaded && v->refused_mode == mode_of(&c->s))
        return true;
    if (!v->vm->emulates || !(level3 || system))
        return false;
    if (system && !v->told_system)
        LOG(c->log, KVM,
            "cpu%u: this host's KVM emulates, and not all that a system needs: ishi's own CPU "
            "runs on",
            c->index);
    v->told_system |= system;
    return true;
}

/* Into the kernel: with its interrupt controllers, all CPUs at once. */
static bool load(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_vm *k = v->vm;
    if (!k->chips)
        return v->loaded || kvm_load(v, e);
    if (k->live && (kvm_pit_wanted(k) || (k->pit && k->pit_off != k->chips->pit_off)))
        kvm_chips_out(k);
    if (k->live)
        return true;
    share_still(v->c);
    return kvm_chips_in(k, e);
}

/* False: our own CPU has to go on. */
static bool prepare(struct kvm_vcpu *v)
{
    struct err e;
    bool ok = !v->vm->remapped || kvm_map(v->vm, &e);
    if (ok && !v->vm->collects)
        kvm_collect(v->vm);
    if (ok && load(v, &e))
        return true;
    LOG(v->c->log, KVM, "cpu%u: %s: ishi's own CPU runs it", v->c->index, e.text);
    v->refused_mode = mode_of(&v->c->s);
    return false;
}

static enum engine_exit loop(struct kvm_vcpu *v, uint64_t budget)
{
    struct cpu *c = v->c;
    enum engine_exit why = ENGINE_BUDGET;
    /* An address line that is held low is nothing that the kernel knows, and it never lasts. Nor
     * can it count instructions. */
    if (c->bus->a20_mask != ~0ull || budget < EXACT || !kvm_debug(v)) {
        kvm_store(v);
        return kvm_step(v, budget);
    }
    while (attend(v, &why)) {
        if (own_mode(v)) {
            kvm_store(v);
            return kvm_step(v, budget);
        }
        if (kvm_debug_passes(v)) {
            why = kvm_step(v, 1);
            if (why != ENGINE_BUDGET)
                return why;
            continue;
        }
        if (v->own)
            return run_own(v, budget);
        if (v->vm->chips && !v->vm->live && !kvm_chips_ready(v->vm))
            return kvm_step(v, min_u64(budget, OTHERS));
        if (!prepare(v))
            return kvm_step(v, budget);
        why = enter(v);
        if (why != ENGINE_BUDGET || v->run->immediate_exit)
            return why;
        if (c->bus->a20_mask != ~0ull)
            return ENGINE_BUDGET;
    }
    return why;
}

static enum engine_exit run(struct cpu *c, uint64_t budget)
{
    struct kvm_vcpu *v = c->vcpu;
    uint64_t before = c->s.icount, start;
    cpu_lock(c);
    start = clock_now(c->clock);
    v->slice = slice(c, budget);
    __atomic_store_n(&v->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    enum engine_exit why = loop(v, budget);
    kvm_notify_serve(v->vm);
    cpu_unlock(c);
    if (why == ENGINE_HALT && !v->slice && v->thread)
        timer_arm(v, 0); /* nobody is to be woken for nothing */
    uint64_t spent = (clock_now(c->clock) - start) / (KVM_SLICE_NS / SLICE_BUDGET);
    if (c->s.icount - before < budget)
        c->s.icount = before + min_u64(budget, max_u64(c->s.icount - before, spent));
    return why;
}

static void sync_state(struct cpu *c)
{
    kvm_store(c->vcpu);
}

static void written(struct cpu *c)
{
    kvm_written(c->vcpu->vm);
}

/* --- a machine of the kernel's ---------------------------------------------------------------- */

static void remapped(void *opaque)
{
    struct kvm_vm *k = opaque;
    k->remapped = true;
    if (k->soft.remap)
        k->soft.remap(k->soft.opaque);
}

static void code_written(void *opaque, uint64_t paddr, uint64_t len)
{
    struct kvm_vm *k = opaque;
    if (k->soft.code_write)
        k->soft.code_write(k->soft.opaque, paddr, len);
}

static bool capable(const struct kvm_vm *k, long what)
{
    return ioctl(k->fd, KVM_CHECK_EXTENSION, what) > 0;
}

static bool needs(const struct kvm_vm *k, struct err *e)
{
    static const struct {
        long cap;
        const char *name, *since;
    } need[] = {
        {KVM_CAP_IMMEDIATE_EXIT, "immediate_exit", "4.13"},
        {KVM_CAP_READONLY_MEM, "read-only memory", "3.7"},
        {KVM_CAP_X86_USER_SPACE_MSR, "user-space MSRs", "5.10"},
        {KVM_CAP_X86_MSR_FILTER, "the MSR filter", "5.10"},
        {KVM_CAP_XSAVE, "XSAVE", "2.6.36"},
        {KVM_CAP_DEBUGREGS, "debug registers", "2.6.35"},
        {KVM_CAP_VCPU_EVENTS, "events", "2.6.33"},
    };
    for (size_t i = 0; i < ARRAY_LEN(need); i++)
        if (!capable(k, need[i].cap))
            return err_set(e, ERR_UNSUPPORTED, "this kernel's KVM has no %s: Linux %s is needed",
                           need[i].name, need[i].since);
    return true;
}

static bool enable(const struct kvm_vm *k, uint32_t cap, uint64_t arg)
{
    struct kvm_enable_cap c = {.cap = cap, .args = {arg}};
    return kvm_call(k->fd, KVM_ENABLE_CAP, &c) >= 0;
}

/* Every MSR but those that instructions use by themselves comes back to us, and is answered as on
 * the other engines (cpu/msr.c). */
static bool keep_msrs(const struct kvm_vm *k, struct err *e)
{
    uint8_t all = 0xff;
    const uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
    uint8_t first = 1;
    struct kvm_msr_filter f = {
        .flags = KVM_MSR_FILTER_DEFAULT_DENY,
        .ranges = {{.flags = KVM_MSR_FILTER_READ, .base = 0x10, .nmsrs = 1, .bitmap = &all},
                   {.flags = both, .base = 0x174, .nmsrs = 3, .bitmap = &all},
                   {.flags = both, .base = 0xc0000080, .nmsrs = 5, .bitmap = &all},
                   {.flags = both, .base = 0xc0000100, .nmsrs = 4, .bitmap = &all}},
    };
    if (k->chips) { /* the local APIC's: IA32_APIC_BASE, IA32_TSC_DEADLINE */
        f.ranges[4] = (struct kvm_msr_filter_range){
            .flags = both, .base = 0x1b, .nmsrs = 1, .bitmap = &first};
        f.ranges[5] = (struct kvm_msr_filter_range){
            .flags = both, .base = 0x6e0, .nmsrs = 1, .bitmap = &first};
    }
    if (k->emulates) /* own_mode() wants to know */
        f.ranges[2] = (struct kvm_msr_filter_range){
            .flags = both, .base = 0xc0000081, .nmsrs = 4, .bitmap = &all};
    uint64_t why =
        KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
    return (enable(k, KVM_CAP_X86_USER_SPACE_MSR, why) &&
            kvm_call(k->fd, KVM_X86_SET_MSR_FILTER, &f) >= 0) ||
           err_set(e, ERR_UNSUPPORTED, "KVM's MSR filter: %s", strerror(errno));
}

static bool new_vcpu(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_vm *k = v->vm;
    int size = ioctl(k->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    v->fd = ioctl(k->fd, KVM_CREATE_VCPU, (unsigned long)v->c->index);
    if (v->fd < 0 || size < 0)
        return err_set(e, ERR_UNSUPPORTED, "KVM makes no CPU %u: %s", v->c->index, strerror(errno));
    v->run_size = (size_t)size;
    v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return err_set(e, ERR_NO_MEMORY, "KVM's CPU %u can't be mapped: %s", v->c->index,
                       strerror(errno));
    }
    if (k->emulates)
        v->run->kvm_valid_regs = KVM_SYNC_X86_SREGS;
    return true;
}

static bool open_vm(struct kvm_vm *k, struct err *e)
{
    uint64_t map = MAP_ADDRESS;
    k->dev = kvm_open(e);
    if (k->dev < 0)
        return false;
    k->fd = ioctl(k->dev, KVM_CREATE_VM, 0);
    if (k->fd < 0)
        return err_set(e, ERR_UNSUPPORTED, "KVM makes no machine: %s", strerror(errno));
    k->emulates = kvm_emulates();
    /* in this order: the filter of MSRs and the slots wait for readers of lists, 10 ms and more
     * where other such lists have just changed, which making interrupt controllers does */
    if (!needs(k, e) || !kvm_chips_choose(k, e) || !keep_msrs(k, e) || !kvm_map(k, e) ||
        !kvm_chips_make(k, e))
        return false;
    k->sregs2 = capable(k, KVM_CAP_SREGS2);
    int ring = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    k->ring_page = ring > 0 ? (unsigned)ring : 0;
    k->debugs = capable(k, KVM_CAP_SET_GUEST_DEBUG);
    k->clears = capable(k, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &&
                enable(k, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    if (capable(k, KVM_CAP_EXIT_ON_EMULATION_FAILURE))
        enable(k, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    kvm_call(k->fd, KVM_SET_IDENTITY_MAP_ADDR, &map);
    ioctl(k->fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS);
    return true;
}

static void free_vm(struct kvm_vm *k)
{
    if (k->live) {
        k->chips->input = NULL;
        k->chips->message = NULL;
    }
    if (k->chips)
        k->chips->kernels = false;
    kvm_notify_free(k);
    for (unsigned i = 0; i < k->count; i++) {
        struct kvm_vcpu *v = &k->vcpu[i];
        if (v->thread)
            timer_delete(v->timer);
        if (v->run)
            munmap(v->run, v->run_size);
        if (v->fd >= 0)
            close(v->fd);
        if (v->c)
            v->c->vcpu = NULL;
    }
    if (k->fd >= 0)
        close(k->fd);
    if (k->dev >= 0)
        close(k->dev);
    free(k->vcpu);
    free(k);
}

static bool build(struct kvm_vm *k, struct cpu **cpus, struct err *e)
{
    for (unsigned i = 0; i < k->count; i++)
        k->vcpu[i] = (struct kvm_vcpu){.vm = k, .c = cpus[i], .fd = -1};
    if (!open_vm(k, e))
        return false;
    for (unsigned i = 0; i < k->count; i++) {
        if (!new_vcpu(&k->vcpu[i], e))
            return false;
    }
    return kvm_fit(k, e);
}

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    struct bus *b = cpus[0]->bus;
    struct kvm_vm *k = xcalloc(1, sizeof *k);
    struct sigaction kick = {.sa_sigaction = on_kick, .sa_flags = SA_SIGINFO | SA_RESTART};
    *k = (struct kvm_vm){.dev = -1, .fd = -1, .count = n, .bus = b, .log = cpus[0]->log};
    k->vcpu = xcalloc(n, sizeof *k->vcpu);
    if (!build(k, cpus, e)) {
        free_vm(k);
        return false;
    }
    sigemptyset(&kick.sa_mask);
    sigaction(KVM_KICK, &kick, NULL);
    soft_join(cpus, n);
    k->soft = (struct kvm_hooks){b->remap, b->code_write, b->opaque};
    b->remap = remapped;
    b->code_write = code_written;
    b->opaque = k;
    for (unsigned i = 0; i < n; i++)
        cpus[i]->vcpu = &k->vcpu[i];
    return true;
}

static void part(struct cpu **cpus, unsigned n)
{
    struct kvm_vm *k;
    if (!cpus[0] || !cpus[0]->vcpu)
        return;
    k = cpus[0]->vcpu->vm;
    kvm_written(k);
    kvm_show_log(cpus[0]);
    soft_part(cpus, n);
    free_vm(k);
}

const struct engine engine_kvm = {.name = "kvm",
                                  .text = "KVM: the host's processor",
                                  .join = join,
                                  .part = part,
                                  .run = run,
                                  .sync = sync_state,
                                  .written = written,
                                  .show = kvm_show,
                                  .by_time = true,
                                  .parallel = true,
                                  .kick = kick};
