/* The x87's moves within the stack, constants, and control instructions (SDM 1 8.1, 8.3.3). */
#include "cpu/flags.h"
#include "cpu/helpers.h"
#include "cpu/softfp_core.h"
#include "cpu/x87.h"

static void clear_c1(struct cpu *c)
{
    c->s.fsw &= (uint16_t)~FSW_C1;
}

/* Pushes v, or its stack fault's answer. */
static void push_value(struct cpu *c, const struct uop *u, struct f80 v)
{
    if (LIKELY(x87_empty(c, 7))) {
        clear_c1(c);
        x87_push(c, v);
    } else if (x87_stack_fault(c, u, true)) {
        x87_push(c, F80_INDEFINITE);
    }
}

bool h_fld_sti(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    if (UNLIKELY(x87_empty(c, u->a))) {
        if (x87_stack_fault(c, u, false))
            x87_push(c, F80_INDEFINITE);
        return true;
    }
    push_value(c, u, x87_get(c, u->a));
    return true;
}

/* u->dst: 1 pops; 2 is the alias D9 D8 of FSTP, to which an empty ST(0) is no error: it pops
 * only. */
bool h_fst_sti(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 v = x87_get(c, 0);
    if (LIKELY(!x87_empty(c, 0))) {
        clear_c1(c);
        x87_set(c, u->a, v);
    } else if (u->dst == 2) {
        clear_c1(c);
    } else if (x87_stack_fault(c, u, false)) {
        x87_set(c, u->a, F80_INDEFINITE);
    } else {
        return true;
    }
    if (u->dst)
        x87_pop(c);
    return true;
}

bool h_fxch(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    struct f80 a = x87_get(c, 0), b = x87_get(c, u->a);
    if (UNLIKELY(x87_empty(c, 0) || x87_empty(c, u->a))) {
        if (!x87_stack_fault(c, u, false))
            return true;
        a = x87_empty(c, 0) ? F80_INDEFINITE : a;
        b = x87_empty(c, u->a) ? F80_INDEFINITE : b;
    } else {
        clear_c1(c);
    }
    x87_set(c, 0, b);
    x87_set(c, u->a, a);
    return true;
}

/* u->dst: 0..3 B, E, BE, U; 4..7 their negations. */
bool h_fcmov(struct cpu *c, const struct uop *u)
{
    static const uint8_t condition[] = {2, 4, 6, 10, 3, 5, 7, 11};
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    if (x87_empty(c, 0) || x87_empty(c, u->a)) {
        if (x87_stack_fault(c, u, false))
            x87_set(c, 0, F80_INDEFINITE);
        return true;
    }
    if (flags_cond(c, condition[u->dst]))
        x87_set(c, 0, x87_get(c, u->a));
    return true;
}

/* FFREE; FFREEP with u->dst 1. */
bool h_ffree(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    clear_c1(c);
    c->s.ftw &= (uint8_t) ~(1u << x87_index(c, u->a));
    if (u->dst)
        x87_pop(c);
    return true;
}

/* FINCSTP, FDECSTP: u->dst is what TOP grows by. */
bool h_fincstp(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    clear_c1(c);
    x87_turn(c, u->dst);
    return true;
}

bool h_fnop(struct cpu *c, const struct uop *u)
{
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    return true;
}

/* FWAIT, which is no instruction to remember. */
bool h_fwait(struct cpu *c, const struct uop *u)
{
    return x87_begin(c);
}

/* The constants, rounded to 64 bits as RC says (SDM 1 8.3.8): u->dst is 0 for FLD1 … 6 for FLDZ,
 * as D9 E8 to EE. */
bool h_fldc(struct cpu *c, const struct uop *u)
{
    /* Rounded down; `near`: to nearest rounds up. All are positive. */
    static const struct {
        uint64_t sig;
        uint16_t exp;
        bool exact, near;
    } constants[] = {
        {0x8000000000000000, 0x3fff, true, false},  /* 1 */
        {0xd49a784bcd1b8afe, 0x4000, false, false}, /* log2(10) */
        {0xb8aa3b295c17f0bb, 0x3fff, false, true},  /* log2(e) */
        {0xc90fdaa22168c234, 0x4000, false, true},  /* pi */
        {0x9a209a84fbcff798, 0x3ffd, false, true},  /* log10(2) */
        {0xb17217f7d1cf79ab, 0x3ffe, false, true},  /* ln(2) */
        {0, 0, true, false},                        /* 0 */
    };
    if (!x87_begin(c))
        return false;
    x87_note(c, u);
    unsigned round = c->s.fcw >> 10 & 3, n = u->dst;
    bool up = !constants[n].exact && (round == FP_NEAREST ? constants[n].near : round == FP_UP);
    push_value(c, u, (struct f80){constants[n].sig + up, constants[n].exp});
    return true;
}

/* ---- Control ---- */

bool h_fninit(struct cpu *c, const struct uop *u)
{
    x87_init(c);
    return true;
}

bool h_fnclex(struct cpu *c, const struct uop *u)
{
    c->s.fsw &= (uint16_t) ~(FSW_B | FSW_ES | FSW_SF | 0x3f);
    x87_update_es(c);
    return true;
}

/* FENI, FDISI, FSETPM of old coprocessors. */
bool h_fnnop(struct cpu *c, const struct uop *u)
{
    return true;
}

bool h_fnstcw(struct cpu *c, const struct uop *u)
{
    return x87_store(c, u, 2, c->s.fcw);
}

bool h_fnstsw(struct cpu *c, const struct uop *u)
{
    return x87_store(c, u, 2, c->s.fsw);
}

bool h_fnstsw_ax(struct cpu *c, const struct uop *u)
{
    c->s.r[R_AX] = (c->s.r[R_AX] & ~0xffffull) | c->s.fsw;
    return true;
}

bool h_fldcw(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!x87_begin(c) || !x87_load(c, u, 2, &v))
        return false;
    c->s.fcw = (uint16_t)((v & FCW_WRITABLE) | FCW_RESERVED);
    x87_update_es(c);
    return true;
}
