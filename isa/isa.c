/* The rows of the instruction set, put together from the three tables.
 *
 * Order: where two rows match the same bytes the first one wins, within a file and over the files
 * in the order below. */
#include "isa/isa.h"

/* Up to four operands, as OP_* padded with OP_None; OPS() is none. */
#define OPS(...)                  \
    {                             \
        OPS4(__VA_ARGS__, , , , ) \
    }
#define OPS4(a, b, c, d, ...) OP_##a, OP_##b, OP_##c, OP_##d
#define FL(read_, written_, undefined_) \
    .flags_read = (read_), .flags_written = (written_), .flags_undefined = (undefined_)
/* The last two columns (lifter, argument) are cpu/'s. */
#define ROW(map_, opcode_, prefix_, modrm_, name_, ops_, flags_, attr_, feature_, ...) \
    {.name = name_,                                                                    \
     .map = MAP_##map_,                                                                \
     .opcode = opcode_,                                                                \
     .prefix = prefix_,                                                                \
     .modrm = modrm_,                                                                  \
     .op = ops_,                                                                       \
     flags_,                                                                           \
     .attr = attr_,                                                                    \
     .feature = feature_},

const struct isa_row isa_rows[] = {
#include "isa/table_int.def"
#include "isa/table_sse.def"
#include "isa/table_x87.def"
};
const unsigned isa_row_count = ARRAY_LEN(isa_rows);

const struct isa_feature_info isa_feature_info[FEAT_COUNT] = {
#define X(id, leaf, reg, bit, name) {leaf, reg, bit, name},
    ISA_FEATURES(X)
#undef X
};
