/* Lifts the x87 rows: every instruction is one call of its helper, or of its quick form. x87.h says
 * what those are given. */
#include "cpu/lift.h"
#include "cpu/x87.h"

/* Does the segment add nothing to an offset, and forbid nothing? Then the helper needs only the
 * translation. */
static bool flat(const struct lift *l)
{
    static const uint32_t key[SEG_COUNT] = {
        [SEG_ES] = KEY_FLAT_ES, [SEG_SS] = KEY_FLAT_SS, [SEG_DS] = KEY_FLAT_DS};
    if ((l->key & KEY_CODE) == ISA_64)
        return l->in->seg != SEG_FS && l->in->seg != SEG_GS;
    return l->key & key[l->in->seg];
}

void lift_x87(struct lift *l)
{
    const struct insn *in = l->in;
    const struct lift_arg *arg = l->arg;
    uint32_t stop = in->opcode == 0x9b ? KEY_WAIT_NM : KEY_FPU_NM;
    struct uop *u;
    if (l->key & stop) {
        lift_raise(l, EXC_NM);
        return;
    }
    if (arg->x87) {
        u = lift_emit(l, UOP_X87, R_ZERO, R_ZERO, R_ZERO, 0);
        u->helper = arg->x87;
        if (in->is_mem)
            lift_address(l, u);
    } else {
        if (in->is_mem)
            lift_ea(l, R_T0);
        u = lift_call(l, arg->help);
        u->scale = X87_HELP;
    }
    u->dst = (uint8_t)arg->n;
    u->aux = (uint16_t)((in->opcode & 7) << 8 | in->modrm);
    if (in->is_mem)
        u->aux |= X87_MEM | (flat(l) ? X87_FLAT : 0);
    else
        u->a = in->modrm & 7;
}
