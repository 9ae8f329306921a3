/* Which rows an opcode can be: generated at build time by mkindex.c from the three tables. Only
 * decode.c needs it. */
#ifndef ISHI_ISA_INDEX_H
#define ISHI_ISA_INDEX_H

#include "isa/isa.h"

/* Maps 0..3 are enum isa_map, 4..6 are VEX's 0F, 0F38, 0F3A. */
#define ISA_INDEX_MAPS 7

static inline unsigned isa_index_map(const struct isa_row *r)
{
    return r->attr & A_VEX ? r->map + 3u : r->map;
}

/* The rows of an opcode are isa_index_row[first[k]] up to before isa_index_row[first[k + 1]], in
 * the order of the tables, where k is map * 256 + opcode. All of them agree on whether a ModRM byte
 * follows. */
extern const uint16_t isa_index_first[ISA_INDEX_MAPS * 256 + 1];
extern const uint16_t isa_index_row[];

#endif
