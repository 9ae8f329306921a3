/* The engine of our own CPU that generates code (jit/). The same blocks as the interpreter's, and
 * the same loop around them. */
#include "jit/jit.h"

#include <stdio.h>

#include "engine/soft.h"

#define CODE_BYTES (256u << 20) /* of generated code, touched as it is used */

static bool usable(void)
{
    struct codemem m;
    if (!jit_host_ok() || !codemem_host(&m, CODE_BYTES))
        return false;
    m.free(&m);
    return true;
}

static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    struct codemem m;
    if (!jit_host_ok())
        return err_set(e, ERR_UNSUPPORTED,
                       "the host's CPU has no BMI2, which generated code needs");
    if (!codemem_host(&m, CODE_BYTES))
        return err_set(e, ERR_UNSUPPORTED, "the host gives no memory for generated code");
    soft_join(cpus, n);
    jit_new(cpus, n, &m);
    return true;
}

static void part(struct cpu **cpus, unsigned n)
{
    if (cpus[0]->jit.jit)
        jit_free(cpus[0]->jit.jit);
    soft_part(cpus, n);
}

static enum engine_exit run(struct cpu *c, uint64_t budget)
{
    return soft_run_by(c, budget, jit_run);
}

static void show(struct cpu *c, char *buf, size_t size)
{
    jit_show(c->jit.jit, buf, size);
}

const struct engine engine_jit = {"jit", "JIT", join, part, run, NULL, show, false, usable};
