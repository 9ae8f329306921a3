/* Where there is no KVM: the engine says so. */
#include "engine/engine.h"

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
