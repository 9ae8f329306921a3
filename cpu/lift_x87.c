/* Lifts the x87 rows: every instruction is one call of its helper. x87.h says what that is given.
 */
#include "cpu/lift.h"
#include "cpu/x87.h"

/* Does the segment add nothing to an offset, and forbid nothing? Then the helper needs only the
 * translation. */
static bool flat(const struct lift *l)
{
    static const uint32_t key[SEG_COUNT] = {
        [SEG_ES] = KEY_FLAT_ES, [SEG_CS] = 0, [SEG_SS] = KEY_FLAT_SS, [SEG_DS] = KEY_FLAT_DS};
    if ((l->key & KEY_CODE) == ISA_64)
        return l->in->seg != SEG_FS && l->in->seg != SEG_GS;
    return l->key & key[l->in->seg];
}

void lift_x87(struct lift *l)
{
    uint32_t stop = l->in->opcode == 0x9b ? KEY_WAIT_NM : KEY_FPU_NM;
    if (l->key & stop) {
        lift_raise(l, EXC_NM);
        return;
    }
    if (l->in->is_mem)
        lift_ea(l, R_T0);
    struct uop *u = lift_call(l, l->arg->help);
    u->scale = (uint8_t)l->arg->n;
    u->a = l->in->modrm & 7;
    u->imm = (l->in->opcode & 7) << 8 | l->in->modrm;
    u->aux = l->in->is_mem ? X87_MEM | (flat(l) ? X87_FLAT : 0) : 0;
}
