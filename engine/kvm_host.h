/* What this host's KVM offers, for `ishi probe` and for the choice of an engine. */
#ifndef ISHI_ENGINE_KVM_HOST_H
#define ISHI_ENGINE_KVM_HOST_H

#include "engine/engine.h"

struct kvm_cap {
    const char *name; /* as the kernel's header has it, without KVM_CAP_ */
    const char *use;  /* what ishi does, or would do, with it */
    bool needed;      /* the engine does not run without it */
    int value;        /* as KVM_CHECK_EXTENSION says; 0: not there */
};

#define KVM_CAPS 40

struct kvm_report {
    bool usable;        /* the engine could run a guest */
    struct err why_not; /* if not: what is the matter, and what to do */
    int version;        /* of the interface */
    bool emulates;      /* the host's processor has neither VMX nor SVM */
    bool nested;        /* the host is itself a virtual machine */
    uint64_t insn_ps;   /* measured: picoseconds an instruction of level 0 takes; 0: not measured */
    uint64_t measure_ns;          /* how long that took, with the making of a machine */
    uint64_t tsc_khz;             /* of a guest's time-stamp counter; 0: not known */
    struct isa_features features; /* that a guest can have */
    const char *chips_lack;       /* kvm_chips_lack() */
    unsigned cap_count;
    struct kvm_cap cap[KVM_CAPS];
};

/* What this kernel lacks to have the interrupt controllers and the interval timer (`--irqchip
 * auto`), as kvm_cap.name; NULL: nothing. `fd`: of /dev/kvm or a machine. */
const char *kvm_chips_lack(int fd);

/* Opens /dev/kvm, asks it, and runs a short loop in a machine of one page; where the processor's
 * lack of virtualisation says enough, that only if `thorough`. */
void kvm_probe(struct kvm_report *r, bool thorough);

/* Slower than this, and KVM is no gain over our own CPU: picoseconds an instruction. */
#define KVM_SLOW_PS 100000

/* What `auto` takes after such a report, and in `why` a clause that says why. */
const struct engine *kvm_choose(const struct kvm_report *r, char *why, size_t size);
/* Whose interrupt controllers `--irqchip auto` takes on KVM where CPUs run side by side: "kernel"
 * or "ishi"; and why. */
const char *kvm_choose_chips(const struct kvm_report *r, char *why, size_t size);

#endif
