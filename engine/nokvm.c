/* Where there is no KVM: the engine says so. */
#include "engine/kvm_host.h"

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "KVM is for x86-64 Linux: take --engine interp");
}

static void part(struct cpu **cpus, unsigned n) {}

const struct engine engine_kvm = {.name = "kvm",
                                  .text = "KVM: the host's processor",
                                  .join = join,
                                  .part = part,
                                  .run = soft_run,
                                  .by_time = true};

void kvm_probe(struct kvm_report *r, bool thorough)
{
    *r = (struct kvm_report){0};
    err_set(&r->why_not, ERR_UNSUPPORTED, "KVM is for x86-64 Linux");
}

const struct engine *kvm_choose(const struct kvm_report *r, char *why, size_t size)
{
    if (size)
        why[0] = 0;
    return engine_default();
}

const char *kvm_choose_chips(const struct kvm_report *r, char *why, size_t size)
{
    if (size)
        why[0] = 0;
    return "ishi";
}
