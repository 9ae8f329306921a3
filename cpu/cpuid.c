#include "cpu/cpuid.h"

static bool has(const struct cpu *c, enum isa_feature f)
{
    return isa_has(&c->features, f);
}

uint32_t cpuid_signature(const struct cpu *c)
{
    if (has(c, FEAT_LM))
        return 0x000106a5; /* family 6, model 26, stepping 5 */
    if (has(c, FEAT_SSE2))
        return 0x000006d8; /* family 6, model 13 */
    if (has(c, FEAT_CMOV))
        return 0x00000652; /* family 6, model 5: Pentium II */
    if (has(c, FEAT_TSC))
        return 0x0000052c; /* Pentium, family 5 model 2 */
    return has(c, FEAT_I486) ? 0x00000480 : 0x00000308;
}

unsigned cpu_paddr_bits(const struct cpu *c)
{
    if (has(c, FEAT_LM))
        return 40;
    return has(c, FEAT_PAE) || has(c, FEAT_PSE36) ? 36 : 32;
}
