/* What CPUID says: the model's answers, the same as on the other engines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cpu/cpuid.h"
#include "engine/kvm_vm.h"
#include "jit/vec.h"

#define HOST_ENTRIES 256

#define ENTRIES 64

/* struct kvm_cpuid2 with its entries. */
struct list {
    uint32_t nent, padding;
    struct kvm_cpuid_entry2 entry[ENTRIES];
};
_Static_assert(offsetof(struct list, entry) == sizeof(struct kvm_cpuid2), "the kernel's layout");

static void add(struct list *l, const struct cpu *c, uint32_t leaf, uint32_t sub, bool indexed)
{
    struct cpuid_regs v = cpuid_leaf(c, leaf, sub);
    if (leaf == 0x80000001 && isa_has(&c->features, FEAT_SYSCALL))
        v.r[3] |= 1u << 11; /* in all modes, as the kernel lets EFER.SCE be set by it */
    if (leaf == 1) /* no count beside HTT, which it goes with: SeaBIOS takes 1 for a shift by -1 */
        v.r[1] &= ~0xff0000u;
    CHECK(l->nent < ENTRIES);
    l->entry[l->nent++] =
        (struct kvm_cpuid_entry2){.function = leaf,
                                  .index = sub,
                                  .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                  .eax = v.r[0],
                                  .ebx = v.r[1],
                                  .ecx = v.r[2],
                                  .edx = v.r[3]};
}

/* Sub-leaves of those that have some. */
static unsigned subs(uint32_t leaf)
{
    switch (leaf) {
    case 4: return 4;
    case 7: return 3;
    case 0xb: return 3;
    case 0xd: return 3;
    default: return 1;
    }
}

/* Some kernels that emulate say more than they were told: HTT, say, which makes firmware count
 * packages of CPUs that there are not. */
static void compare(const struct kvm_vcpu *v, const struct list *told)
{
    struct list *l = xcalloc(1, sizeof *l);
    l->nent = ENTRIES;
    if (v->c->index == 0 && kvm_call(v->fd, KVM_GET_CPUID2, l) >= 0)
        for (unsigned i = 0; i < min_u64(l->nent, told->nent); i++) {
            const struct kvm_cpuid_entry2 *is = &l->entry[i], *was = &told->entry[i];
            if (is->function == 1 && was->function == 1 &&
                ((is->ecx & ~was->ecx) | (is->edx & ~was->edx)))
                LOG(v->c->log, KVM, "the kernel adds to CPUID 1: ECX %08x, EDX %08x",
                    is->ecx & ~was->ecx, is->edx & ~was->edx);
        }
    free(l);
}

bool kvm_set_cpuid(struct kvm_vcpu *v, struct err *e)
{
    struct list *l = xcalloc(1, sizeof *l);
    const struct cpu *c = v->c;
    uint32_t last = cpuid_leaf(c, 0, 0).r[0], last_extended = cpuid_leaf(c, 0x80000000, 0).r[0];
    for (uint32_t leaf = 0; leaf <= last; leaf++)
        for (unsigned sub = 0; sub < subs(leaf); sub++)
            add(l, c, leaf, sub, subs(leaf) > 1);
    /* kvmclock is ours (cpu/kvmclock.h): the kernel's page is written from the host's clock, and no
     * other engine would go on with it. */
    if (isa_has(&c->features, FEAT_HYPERVISOR))
        add(l, c, 0x40000000, 0, false);
    if (isa_has(&c->features, FEAT_KVMCLOCK))
        add(l, c, 0x40000001, 0, false);
    for (uint32_t leaf = 0x80000000; leaf <= last_extended && leaf < 0x80000010; leaf++)
        add(l, c, leaf, 0, false);
    int r = kvm_call(v->fd, KVM_SET_CPUID2, l);
    if (r >= 0)
        compare(v, l);
    free(l);
    return r >= 0 ||
           err_set(e, ERR_UNSUPPORTED, "KVM does not take this CPU model: %s", strerror(errno));
}

/* --- what the host can do --------------------------------------------------------------------- */

/* Bits that say nothing of the host's processor, or that our own chips stand for. */
static const uint8_t ours[] = {
    FEAT_BASE, FEAT_I486, FEAT_APIC,       FEAT_X2APIC, FEAT_TSCDL,     FEAT_MTRR,    FEAT_PAT,
    FEAT_MCE,  FEAT_MCA,  FEAT_HYPERVISOR, FEAT_MSR,    FEAT_PREFETCHW, FEAT_KVMCLOCK};

static void add_feature(struct isa_features *f, unsigned n)
{
    f->word[n >> 6] |= BIT(n & 63);
}

static void without(struct isa_features *f, unsigned n)
{
    f->word[n >> 6] &= ~BIT(n & 63);
}

bool kvm_features(int dev, struct isa_features *f, struct err *e)
{
    const struct isa_feature_info *at = isa_feature_info;
    struct isa_features host;
    struct kvm_cpuid2 *l = xcalloc(1, sizeof *l + HOST_ENTRIES * sizeof l->entries[0]);
    l->nent = HOST_ENTRIES;
    *f = (struct isa_features){{0, 0}};
    if (kvm_call(dev, KVM_GET_SUPPORTED_CPUID, l) < 0) {
        free(l);
        return err_set(e, ERR_UNSUPPORTED, "KVM does not say what its CPUs can do: %s",
                       strerror(errno));
    }
    for (unsigned i = 0; i < l->nent; i++) {
        const struct kvm_cpuid_entry2 *x = &l->entries[i];
        const uint32_t r[4] = {x->eax, x->ebx, x->ecx, x->edx};
        uint32_t sub = x->function == 0xd ? 1 : 0;
        for (unsigned n = 0; n < FEAT_COUNT; n++)
            if (at[n].leaf == x->function && at[n].leaf && x->index == sub &&
                (r[at[n].reg] >> at[n].bit & 1))
                add_feature(f, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        add_feature(f, ours[i]);
    vec_host(&host);
    if (!isa_has(&host, FEAT_UMIP)) /* the kernel stands in for it, but SMSW gets through */
        without(f, FEAT_UMIP);
    free(l);
    return true;
}

static void name_features(const struct isa_features *f, char *buf, size_t size)
{
    size_t at = 0;
    for (unsigned i = 0; i < FEAT_COUNT && at < size; i++)
        if (isa_has(f, i))
            at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? " " : "",
                                   isa_feature_info[i].name);
}

/* On VMX the kernel takes each write to IA32_TSC_DEADLINE for its own local APIC's, at once and
 * past the filter of MSRs, and drops it where it has none: ours would never hear of it. */
static bool loses_deadlines(const struct kvm_vm *k)
{
    return !k->chips && kvm_on_vmx();
}

static bool fit_features(struct kvm_vm *k, bool fresh, struct err *e)
{
    struct isa_features host, lacks;
    char names[300] = "";
    if (!kvm_features(k->dev, &host, e))
        return false;
    if (loses_deadlines(k))
        without(&host, FEAT_TSCDL);
    for (unsigned i = 0; i < 2; i++)
        lacks.word[i] = k->vcpu[0].c->features.word[i] & ~host.word[i];
    if (!(lacks.word[0] | lacks.word[1]))
        return true;
    name_features(&lacks, names, sizeof names);
    if (!fresh)
        return err_set(e, ERR_UNSUPPORTED,
                       "the guest was told of features that this host's KVM lacks: %s; start it "
                       "with a lesser --cpu, or with --engine kvm",
                       names);
    LOG(k->log, KVM, "left out of the CPU model, as this host's KVM lacks it: %s", names);
    for (unsigned i = 0; i < k->count; i++)
        for (unsigned w = 0; w < 2; w++)
            k->vcpu[i].c->features.word[w] &= host.word[w];
    return true;
}

/* The kernel's counter runs at the host's rate, unless the processor can scale it. (Where it can't,
 * the kernel would take a higher rate all the same, and make the counter leap at each entry.) */
static bool fit_tsc(struct kvm_vm *k, bool fresh, struct err *e)
{
    struct cpu *first = k->vcpu[0].c;
    int khz = ioctl(k->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);
    uint64_t hz = khz > 0 ? (uint64_t)khz * 1000 : first->tsc_hz, want = first->tsc_hz;
    uint64_t off = hz > want ? hz - want : want - hz;
    bool scaled = off != 0 && ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
    for (unsigned i = 0; i < k->count && scaled; i++)
        scaled = ioctl(k->vcpu[i].fd, KVM_SET_TSC_KHZ, (unsigned long)(want / 1000)) >= 0;
    if (scaled || off <= want / 1000)
        return true;
    if (!fresh)
        return err_set(e, ERR_UNSUPPORTED,
                       "the guest's time-stamp counter runs at %llu MHz and this host's at %llu, "
                       "and KVM can't scale it here: start with --engine kvm",
                       (unsigned long long)want / 1000000, (unsigned long long)hz / 1000000);
    for (unsigned i = 0; i < k->count; i++)
        k->vcpu[i].c->tsc_hz = hz;
    return true;
}

bool kvm_fit(struct kvm_vm *k, struct err *e)
{
    bool fresh = k->vcpu[0].c->s.icount == 0;
    return fit_features(k, fresh, e) && fit_tsc(k, fresh, e);
}
