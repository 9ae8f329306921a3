/* Build-time program: writes the opcode index (index.h) as C. It is linked with the same isa.c as
 * the decoder, so that row numbers agree. */
#include "isa/index.h"

#include <stdio.h>
#include <stdlib.h>

static bool row_has_opcode(const struct isa_row *r, unsigned map, unsigned opcode)
{
    unsigned mask = r->attr & A_PLUS_R ? 0xf8 : 0xff;
    return isa_index_map(r) == map && (opcode & mask) == r->opcode;
}

int main(void)
{
    unsigned first[ISA_INDEX_MAPS * 256 + 1], n = 0;
    puts("#include \"isa/index.h\"\nconst uint16_t isa_index_row[] = {");
    for (unsigned k = 0; k < ISA_INDEX_MAPS * 256; k++) {
        first[k] = n;
        int modrm = -1;
        for (unsigned i = 0; i < isa_row_count; i++) {
            if (!row_has_opcode(&isa_rows[i], k >> 8, k & 0xff))
                continue;
            int has = isa_rows[i].modrm != M_NONE;
            if (modrm >= 0 && modrm != has) {
                fprintf(stderr, "map %u opcode %02x: rows disagree about ModRM (%s)\n", k >> 8,
                        k & 0xff, isa_rows[i].name);
                return EXIT_FAILURE;
            }
            modrm = has;
            printf("%u,%c", i, ++n % 16 ? ' ' : '\n');
        }
    }
    first[ISA_INDEX_MAPS * 256] = n;
    puts("};\nconst uint16_t isa_index_first[] = {");
    for (unsigned k = 0; k <= ISA_INDEX_MAPS * 256; k++)
        printf("%u,%c", first[k], (k + 1) % 16 ? ' ' : '\n');
    puts("};");
    return EXIT_SUCCESS;
}
