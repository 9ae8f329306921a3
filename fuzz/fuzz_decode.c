/* Any bytes decode and format without a crash, within their length, and the same way twice. */
#include "isa/isa.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_decoded(const struct insn *in, enum isa_result res, size_t n)
{
    assert(in->length <= ISA_MAX_LEN && in->length <= n);
    assert((res == ISA_OK) == (in->row != NULL));
    if (res == ISA_TRUNCATED)
        assert(n < ISA_MAX_LEN);
    char text[128];
    int len = isa_format(in, 0x1000, text, sizeof text);
    assert(len > 0 && (size_t)len < sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 + sizeof(struct isa_features))
        return 0;
    enum isa_mode mode = data[0] % 3;
    struct isa_features features;
    memcpy(&features, data + 1, sizeof features);
    data += 1 + sizeof features;
    n -= 1 + sizeof features;
    struct insn in, again;
    for (unsigned k = 0; k < 2; k++) {
        enum isa_result res = isa_decode(&in, data, n, mode, k ? &features : NULL);
        check_decoded(&in, res, n);
        /* The length suffices. */
        if (res == ISA_OK) {
            assert(isa_decode(&again, data, in.length, mode, k ? &features : NULL) == ISA_OK);
            assert(!memcmp(&in, &again, sizeof in));
        }
    }
    return 0;
}
