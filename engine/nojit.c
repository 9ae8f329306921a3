/* Where no code is generated. */
#include "engine/engine.h"
#include "jit/jit.h"

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "code is generated on x86-64 hosts only");
}

static bool usable(void)
{
    return false;
}

static void part(struct cpu **cpus, unsigned n) {}

void jit_watch(struct jit *j, const struct jit_watch *w) {}

bool jit_list(struct jit *j, struct block *b, struct jit_listing *l)
{
    return false;
}

const struct engine engine_jit = {
    .name = "jit",
    .text = "JIT",
    .join = join,
    .part = part,
    .run = soft_run,
    .usable = usable,
};
