/* The engine of our own CPU that generates code (jit/). The same blocks as the interpreter's, and
 * the same loop around them. */
#include "jit/jit.h"

#include <stdio.h>

#include "engine/soft.h"

#define CODE_BYTES (256u << 20) /* of generated code, touched as it is used */
/* The same, where each CPU has its own. A compiler's code is some 100 MiB of ours, and with less
 * all of it is given up and made again, for ever. */
#define CODE_BYTES_ALL (1u << 30)

static bool usable(void)
{
    struct codemem m;
    if (!jit_host_ok() || !codemem_host(&m, CODE_BYTES))
        return false;
    m.free(&m);
    return true;
}

static void part(struct cpu **cpus, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (cpus[i]->jit.jit)
            jit_free(cpus[i]->jit.jit);
    soft_part(cpus, n);
}

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    unsigned jits = cpus[0]->parallel ? n : 1, of = n / jits;
    size_t size = min_u64(CODE_BYTES, CODE_BYTES_ALL / jits);
    struct codemem m;
    if (!jit_host_ok())
        return err_set(e, ERR_UNSUPPORTED,
                       "the host's CPU has no BMI2, which generated code needs");
    soft_join(cpus, n);
    for (unsigned i = 0; i < jits; i++) {
        size_t bytes;
        void *blocks = blocks_memory(cpus[i * of]->blocks, &bytes);
        codemem_spread(blocks, bytes);
        if (!codemem_host(&m, size)) {
            part(cpus, n);
            return err_set(e, ERR_UNSUPPORTED, "the host gives no memory for generated code");
        }
        struct jit *j = jit_new(cpus + i * of, of, &m);
        if (i)
            jit_join(j, cpus[0]->jit.jit);
    }
    return true;
}

static bool own(struct cpu **cpus, unsigned n)
{
    bool ok = true;
    for (unsigned i = 0; i < n && ok; i++)
        if (!i || cpus[i]->jit.jit != cpus[i - 1]->jit.jit)
            ok = jit_own(cpus[i]->jit.jit);
    return ok;
}

static enum engine_exit run(struct cpu *c, uint64_t budget)
{
    return soft_run_by(c, budget, jit_run);
}

static void show(struct cpu *c, char *buf, size_t size)
{
    jit_show(c->jit.jit, buf, size);
}

const struct engine engine_jit = {.name = "jit",
                                  .text = "JIT",
                                  .join = join,
                                  .part = part,
                                  .run = run,
                                  .show = show,
                                  .own = own,
                                  .usable = usable,
                                  .parallel = true};
