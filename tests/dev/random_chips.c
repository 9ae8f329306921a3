/* The fuzz target of the chips, or of virtio, fed from a seeded generator: a short run of it
 * wherever the unit tests run, with any compiler. */
#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define INPUTS 4000
#define STEPS  300

int main(void)
{
    static uint8_t data[STEPS * 8];
    struct rng r;
    rng_seed(&r, 1);
    for (unsigned i = 0; i < INPUTS; i++) {
        for (unsigned k = 0; k < STEPS; k++) {
            uint64_t v = rng_next(&r);
            /* Small numbers reach more registers and modes than large ones. */
            if (v & BIT(60))
                v &= 0x0f0f0f0fffff0fffull;
            put_le64(data + k * 8, v);
        }
        data[rng_next(&r) % STEPS * 8] = 0x0f; /* a copy goes along from here */
        if (i % 4 == 0)
            data[rng_next(&r) % STEPS * 8] = 0x17; /* a damaged state */
        LLVMFuzzerTestOneInput(data, sizeof data);
    }
    return 0;
}
