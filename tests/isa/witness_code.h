/* Bytes of one random instruction of a row. */
#ifndef ISHI_TESTS_WITNESS_CODE_H
#define ISHI_TESTS_WITNESS_CODE_H

#include "tests/isa/witness.h"

struct wit_insn {
    uint8_t b[ISA_MAX_LEN + 8];
    struct insn in;
    unsigned disp_at, disp_size; /* of the displacement; size 0: none */
    enum isa_result result;
};

/* `tame`: part of a sequence: no odd prefixes, memory by RDI or RSI alone. False: this attempt is
 * no instruction that a case may have. */
bool wit_encode(struct rng *g, const struct isa_features *f, const struct isa_row *r,
                enum isa_mode mode, bool tame, struct wit_insn *out);

bool wit_row_uses(const struct isa_row *r, enum isa_operand a, enum isa_operand b);

#endif
