/* /dev/kvm itself: opening it, saying what to do where that fails, and what it offers. */
#include "engine/kvm_host.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/kvm_vm.h"

#define LOOP                                                                             \
    200 /* turns of two instructions each that are measured: a fraction of a millisecond \
         */

/* A user can only join a group that may open it. */
static void say_denied(struct err *e)
{
    struct stat s;
    bool group = stat("/dev/kvm", &s) < 0 || ((s.st_mode & 060) == 060 && s.st_gid != 0);
    err_set(e, ERR_DENIED, "/dev/kvm may not be opened: %s",
            group ? "sudo usermod -aG kvm $USER, and log in anew" : "sudo chmod a+rw /dev/kvm");
}

int kvm_open(struct err *e)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        int version = ioctl(fd, KVM_GET_API_VERSION, 0);
        if (version == KVM_API_VERSION)
            return fd;
        close(fd);
        err_set(e, ERR_UNSUPPORTED, "/dev/kvm speaks version %d of its interface, not %d", version,
                KVM_API_VERSION);
        return -1;
    }
    if (errno == EACCES || errno == EPERM)
        say_denied(e);
    else if (errno == ENOENT)
        err_set(e, ERR_NOT_FOUND,
                "there is no /dev/kvm: sudo modprobe -a kvm_intel kvm_amd; a container needs "
                "--device /dev/kvm; WSL needs nestedVirtualization=true in .wslconfig");
    else
        err_set(e, ERR_UNSUPPORTED, "/dev/kvm can't be opened: %s", strerror(errno));
    return -1;
}

bool kvm_on_vmx(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 5 & 1);
}

bool kvm_emulates(void)
{
    unsigned a, b, c, d;
    bool svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 2 & 1);
    return !svm && !kvm_on_vmx();
}

static bool nested(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c >> 31;
}

/* What is asked for, in the order of the report. */
#define CAP(name, needed, use)             \
    {                                      \
        KVM_CAP_##name, #name, use, needed \
    }
static const struct {
    long cap;
    const char *name, *use;
    bool needed;
} caps[] = {
    CAP(USER_MEMORY, true, "guest memory is ishi's own"),
    CAP(IMMEDIATE_EXIT, true, "a run ends in time, without a race"),
    CAP(READONLY_MEM, true, "ROM: reads run at full speed, writes come to ishi"),
    CAP(X86_USER_SPACE_MSR, true, "MSRs are answered as on the other engines"),
    CAP(X86_MSR_FILTER, true, "which MSRs those are"),
    CAP(XSAVE, true, "x87, SSE and AVX state"),
    CAP(XCRS, false, "XCR0, where guests have XSAVE"),
    CAP(DEBUGREGS, true, "debug registers"),
    CAP(VCPU_EVENTS, true, "interrupts and exceptions on their way"),
    CAP(USER_NMI, true, "NMI"),
    CAP(MP_STATE, false, "--irqchip kernel: whether a CPU halts or waits to be started"),
    CAP(SREGS2, false, "PDPTE registers of PAE paging"),
    CAP(EXIT_ON_EMULATION_FAILURE, false, "a refused instruction comes to ishi at every level"),
    CAP(TSC_CONTROL, false, "the guest's time-stamp counter at any rate"),
    CAP(GET_TSC_KHZ, false, "the rate of the time-stamp counter"),
    CAP(SET_TSS_ADDR, false, "real mode on old Intel processors"),
    CAP(SET_IDENTITY_MAP_ADDR, false, "the same"),
    CAP(SET_GUEST_DEBUG, false, "a debugger's breakpoints; steps are ishi's own CPU's"),
    CAP(IRQCHIP, false, "--irqchip kernel: PIC, I/O APIC and local APICs"),
    CAP(IRQ_ROUTING, false, "--irqchip kernel: the board's wires to them"),
    CAP(TSC_DEADLINE_TIMER, false, "--irqchip kernel: that mode of the local APIC's timer"),
    CAP(SPLIT_IRQCHIP, false, "not used: the kernel has all of them or none"),
    CAP(PIT2, false, "--irqchip kernel: the interval timer, and port 61's part of it"),
    CAP(PIT_STATE2, false, "--irqchip kernel: its state, there and back"),
    CAP(REINJECT_CONTROL, false, "--irqchip kernel: ticks that nobody took are no more than one"),
    CAP(IRQFD, false, "--irqchip kernel: messages of PCI devices"),
    CAP(IOEVENTFD, false, "doorbells of virtio devices, without an exit"),
    CAP(IOEVENTFD_ANY_LENGTH, false, "the same, whatever the driver's access"),
    CAP(COALESCED_PIO, false, "not used"),
    CAP(COALESCED_MMIO, false, "writes to the VGA window leave the kernel in one go"),
    CAP(SYNC_REGS, false, "not used"),
    CAP(MANUAL_DIRTY_LOG_PROTECT2, false,
        "which pages are written: asked in one step, cleared in one"),
    CAP(DIRTY_LOG_RING, false, "not used"),
    CAP(ADJUST_CLOCK, false, "not used: kvmclock is ishi's own, the same on every engine"),
    CAP(NESTED_STATE, false, "not used: guests see no VMX"),
    CAP(NR_VCPUS, false, "CPUs that the kernel recommends at most"),
    CAP(MAX_VCPUS, false, "CPUs at most"),
    CAP(NR_MEMSLOTS, false, "pieces of guest memory at most"),
};

static int64_t ns_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

struct tiny {
    int vm, cpu;
    uint8_t *page;
    struct kvm_run *run;
    size_t run_size;
};

/* A machine of one page with a loop and HLT in it, in real mode. */
static bool tiny_make(int dev, struct tiny *t)
{
    static const uint8_t code[] = {0x49, 0x75, 0xfd, 0xf4}; /* dec cx; jnz; hlt */
    struct kvm_sregs s;
    int size = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    t->vm = ioctl(dev, KVM_CREATE_VM, 0);
    t->page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->vm < 0 || size < 0 || t->page == MAP_FAILED)
        return false;
    struct kvm_userspace_memory_region r = {.memory_size = PAGE_SIZE,
                                            .userspace_addr = (uintptr_t)t->page};
    memcpy(t->page, code, sizeof code);
    t->cpu = kvm_call(t->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0
                 ? -1
                 : ioctl(t->vm, KVM_CREATE_VCPU, 0UL);
    if (t->cpu < 0 || kvm_call(t->cpu, KVM_GET_SREGS, &s) < 0)
        return false;
    s.cs.base = s.cs.selector = 0;
    t->run_size = (size_t)size;
    t->run = mmap(NULL, t->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu, 0);
    return t->run != MAP_FAILED && kvm_call(t->cpu, KVM_SET_SREGS, &s) >= 0;
}

static void tiny_free(struct tiny *t)
{
    if (t->run && t->run != MAP_FAILED)
        munmap(t->run, t->run_size);
    if (t->cpu >= 0)
        close(t->cpu);
    if (t->vm >= 0)
        close(t->vm);
    if (t->page && t->page != MAP_FAILED)
        munmap(t->page, PAGE_SIZE);
}

/* Nanoseconds of so many turns of the loop, or -1. */
static int64_t tiny_time(struct tiny *t, uint64_t turns)
{
    struct kvm_regs g = {.rflags = 2, .rcx = turns};
    int64_t start = ns_now();
    if (kvm_call(t->cpu, KVM_SET_REGS, &g) < 0 || kvm_call(t->cpu, KVM_RUN, NULL) < 0 ||
        t->run->exit_reason != KVM_EXIT_HLT)
        return -1;
    return ns_now() - start;
}

static void measure(int dev, struct kvm_report *r)
{
    struct tiny t = {.vm = -1, .cpu = -1};
    int64_t start = ns_now(), once, many;
    if (tiny_make(dev, &t)) {
        int khz = ioctl(t.cpu, KVM_GET_TSC_KHZ, 0);
        r->tsc_khz = khz > 0 ? (uint64_t)khz : 0;
        tiny_time(&t, 1); /* the first entry maps memory */
        once = tiny_time(&t, 1);
        many = tiny_time(&t, LOOP + 1);
        if (once >= 0 && many >= 0)
            r->insn_ps = many > once ? (uint64_t)(many - once) * 1000 / (2 * LOOP) + 1 : 1;
    }
    tiny_free(&t);
    r->measure_ns = (uint64_t)(ns_now() - start);
}

const char *kvm_chips_lack(int fd)
{
    static const char *const need[] = {"IRQCHIP", "IRQ_ROUTING", "TSC_DEADLINE_TIMER", "MP_STATE",
                                       "PIT2",    "PIT_STATE2",  "REINJECT_CONTROL"};
    for (size_t i = 0; i < ARRAY_LEN(caps); i++)
        for (size_t n = 0; n < ARRAY_LEN(need); n++)
            if (!strcmp(caps[i].name, need[n]) && ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap) <= 0)
                return need[n];
    return NULL;
}

static bool ask(int dev, struct kvm_report *r)
{
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
        int value = ioctl(dev, KVM_CHECK_EXTENSION, caps[i].cap);
        r->cap[r->cap_count++] =
            (struct kvm_cap){caps[i].name, caps[i].use, caps[i].needed, value > 0 ? value : 0};
        if (caps[i].needed && value <= 0)
            ok =
                err_set(&r->why_not, ERR_UNSUPPORTED,
                        "this kernel's KVM has no %s: Linux 5.10 or later is needed", caps[i].name);
    }
    return ok;
}

_Static_assert(ARRAY_LEN(caps) <= KVM_CAPS, "the report has room for all");

void kvm_probe(struct kvm_report *r, bool thorough)
{
    *r = (struct kvm_report){.emulates = kvm_emulates(), .nested = nested()};
    int dev = kvm_open(&r->why_not);
    if (dev < 0)
        return;
    r->version = KVM_API_VERSION;
    r->chips_lack = kvm_chips_lack(dev);
    r->usable = ask(dev, r) && kvm_features(dev, &r->features, &r->why_not);
    bool run = r->usable && (thorough || !r->emulates);
    if (run)
        measure(dev, r);
    if (run && !r->insn_ps)
        r->usable = err_set(&r->why_not, ERR_UNSUPPORTED, "KVM makes no machine that runs");
    close(dev);
}

const struct engine *kvm_choose(const struct kvm_report *r, char *why, size_t size)
{
    bool slow = r->emulates || r->insn_ps > KVM_SLOW_PS;
    if (!r->usable)
        snprintf(why, size, "%s", r->why_not.text);
    else if (r->emulates)
        snprintf(why, size,
                 "this processor has no VMX or SVM, so the kernel's KVM emulates guests; --engine "
                 "kvm still works");
    else if (slow)
        snprintf(why, size, "KVM takes %llu ns an instruction here; --engine kvm still works",
                 (unsigned long long)r->insn_ps / 1000);
    else
        snprintf(why, size, "/dev/kvm works");
    return r->usable && !slow ? &engine_kvm : engine_default();
}

const char *kvm_choose_chips(const struct kvm_report *r, char *why, size_t size)
{
    if (r->chips_lack)
        snprintf(why, size, "this kernel's KVM has no %s", r->chips_lack);
    else if (r->emulates)
        snprintf(why, size, "a kernel that emulates hands over to ishi's own CPU too often");
    else
        snprintf(why, size, "they spare exits, with --sched parallel");
    return r->chips_lack || r->emulates ? "ishi" : "kernel";
}
