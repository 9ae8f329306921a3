/* The engines there are, best first. */
#include "engine/engine.h"

static const struct engine *const engines[] = {
    &engine_kvm,
    &engine_jit,
    &engine_interp,
};

const struct engine *engine_default(void)
{
    return engine_jit.usable() ? &engine_jit : &engine_interp;
}

const struct engine *engine_at(unsigned i)
{
    return i < ARRAY_LEN(engines) ? engines[i] : NULL;
}

const struct engine *engine_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        if (!strcmp(engines[i]->name, name))
            return engines[i];
    }
    return NULL;
}
