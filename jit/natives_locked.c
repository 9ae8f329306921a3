/* Locked instructions (cpu/locked.h) as the host's own.
 *
 * Those for which x86 has one instruction that gives back the old value are it: XCHG, XADD (for ADD
 * and SUB), CMPXCHG. The others are a loop around CMPXCHG, as their flags are made from the old
 * value by the uops behind. Whatever the TLB does not let through goes to the helper.
 *
 * J_X0 is the host address, J_X1 the operand and then the old value. The guest's RAX waits in
 * memory where CMPXCHG wants that register. */
#include "cpu/helpers.h"
#include "cpu/locked.h"
#include "jit/emit.h"

#define LOCK  0xf0
#define SAVED E_CPU(jit.scratch[2]) /* RAX */

static bool flat(const struct emit *e, unsigned seg)
{
    uint32_t key = e->b->key;
    if ((key & KEY_CODE) == ISA_64)
        return true;
    return (seg == SEG_DS && (key & KEY_FLAT_DS)) || (seg == SEG_ES && (key & KEY_FLAT_ES)) ||
           (seg == SEG_SS && (key & KEY_FLAT_SS));
}

/* The offset, which is not cut to the address size by more than lift_ea() did, with its base. */
static void address(struct emit *e, const struct uop *u)
{
    e_get(e, J_X0, u->a);
    if (u->seg == SEG_FS || u->seg == SEG_GS)
        x_alu_rm(&e->a, XA_ADD, 8, J_X0,
                 e_cpu(offsetof(struct cpu, s.seg) + u->seg * sizeof(struct seg) +
                       offsetof(struct seg, base)));
    e_check(e, u, u->size, true);
    e->access->kind = STUB_HELP;
}

/* op [J_X0], J_X1. */
static void at_memory(struct emit *e, unsigned size, unsigned op8, unsigned op)
{
    x_rm(&e->a, size, size == 1 ? op8 : op, J_X1, xm(J_X0, 0));
}

static void xadd(struct emit *e, const struct uop *u)
{
    e_get(e, J_X1, u->b);
    if (u->imm == LOCKED_SUB)
        x_rr(&e->a, 8, 0xf7, 3, J_X1); /* neg */
    x_u8(&e->a, LOCK);
    at_memory(e, u->size, 0x0fc0, 0x0fc1);
}

static void xchg(struct emit *e, const struct uop *u)
{
    e_get(e, J_X1, u->b);
    at_memory(e, u->size, 0x86, 0x87);
}

static void cmpxchg_instruction(struct emit *e, const struct uop *u)
{
    x_u8(&e->a, LOCK);
    at_memory(e, u->size, 0x0fb0, 0x0fb1);
}

static void old_is_rax(struct emit *e)
{
    x_mov_rr(&e->a, 8, J_X1, RAX);
    x_load(&e->a, 8, RAX, SAVED);
}

static void cmpxchg(struct emit *e, const struct uop *u)
{
    x_store(&e->a, 8, SAVED, RAX);
    e_get(e, J_X1, u->b);
    cmpxchg_instruction(e, u);
    old_is_rax(e);
}

static void change(struct emit *e, const struct uop *u)
{
    static const uint8_t alu[] = {
        [LOCKED_OR] = XA_OR, [LOCKED_AND] = XA_AND, [LOCKED_XOR] = XA_XOR};
    if (u->imm >= LOCKED_BTS)
        x_rr(&e->a, u->size, 0x0fab + 8u * (unsigned)(u->imm - LOCKED_BTS), e->home[u->b], J_X1);
    else if (u->b != R_AX && e->home[u->b] != J_NONE)
        x_alu_rr(&e->a, alu[u->imm], 8, J_X1, e->home[u->b]);
    else
        x_alu_rm(&e->a, alu[u->imm], 8, J_X1, u->b == R_AX ? SAVED : e_slot(u->b));
}

static void loop(struct emit *e, const struct uop *u)
{
    static const uint16_t load[] = {0, 0x0fb6, 0x0fb7, 0, 0x8b, 0, 0, 0, 0x8b};
    x_store(&e->a, 8, SAVED, RAX);
    x_rm(&e->a, u->size == 8 ? 8 : 4, load[u->size], RAX, xm(J_X0, 0));
    uint32_t again = e->a.at;
    x_mov_rr(&e->a, 8, J_X1, RAX);
    change(e, u);
    cmpxchg_instruction(e, u);
    x_jcc(&e->a, XC_NZ, again);
    old_is_rax(e);
}

static bool locked(struct emit *e, const struct uop *u)
{
    static void (*const emit[])(struct emit *, const struct uop *) = {
        [LOCKED_ADD] = xadd,  [LOCKED_SUB] = xadd, [LOCKED_OR] = loop,         [LOCKED_AND] = loop,
        [LOCKED_XOR] = loop,  [LOCKED_BTS] = loop, [LOCKED_BTR] = loop,        [LOCKED_BTC] = loop,
        [LOCKED_XCHG] = xchg, [LOCKED_ADC] = NULL, [LOCKED_CMPXCHG] = cmpxchg,
    };
    bool bits = u->imm >= LOCKED_BTS;
    if (!emit[u->imm] || !flat(e, u->seg) || u->b == R_ZERO || u->b >= R_IP ||
        (bits && (u->b == R_AX || e->home[u->b] == J_NONE)))
        return false;
    e_clobber(e);
    e_write(e, u->dst);
    address(e, u);
    emit[u->imm](e, u);
    if (u->size < 4)
        x_movzx(&e->a, u->size, J_X1, J_X1);
    e_put(e, u->dst, 8, J_X1);
    e_resume(e);
    return true;
}

/* XCHG that gives back what it wrote, and that isn't 0, is told. */
static bool exchanged(struct emit *e, const struct uop *u)
{
    if (!u->imm)
        return false;
    unsigned size = u->size < 4 ? 4 : u->size;
    e_clobber(e);
    struct stub *s = e_stub(e, STUB_HELP, u);
    e_get(e, J_X0, u->b);
    e_get(e, J_X1, u->a);
    if (u->size < 4) {
        x_movzx(&e->a, u->size, J_X0, J_X0);
        x_movzx(&e->a, u->size, J_X1, J_X1);
    }
    x_alu_rr(&e->a, XA_CMP, size, J_X0, J_X1);
    uint32_t other = x_jcc(&e->a, XC_NZ, e->a.at);
    x_test_rr(&e->a, size, J_X1, J_X1);
    e_stub_jcc(e, s, XC_NZ);
    if (!e->a.full)
        x_patch(e->a.base, other, e->a.at);
    s->back = e->a.at;
    return true;
}

static bool fence(struct emit *e, const struct uop *u)
{
    x_bytes(&e->a, (const uint8_t[]){0x0f, 0xae, 0xf0}, 3);
    return true;
}

const struct jit_native jit_natives_locked[] = {
    {h_locked, locked}, {q_fence, fence}, {h_exchanged, exchanged}, {NULL, NULL}};
