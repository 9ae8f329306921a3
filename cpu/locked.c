#include "cpu/locked.h"
#include "cpu/debug.h"

#include "cpu/flags.h"
#include "cpu/mem.h"
#include "cpu/share.h"
#include "cpu/wide.h"

bool lift_is_locked(const struct lift *l, bool always)
{
    return l->parallel && (always || l->in->lock);
}

unsigned lift_locked(struct lift *l, enum locked_op op, unsigned b, unsigned size)
{
    unsigned at = lift_temp(l), old = lift_temp(l);
    lift_ea(l, at);
    struct uop *u = lift_call(l, h_locked);
    u->dst = (uint8_t)old;
    u->a = (uint8_t)at;
    u->b = (uint8_t)b;
    u->size = (uint8_t)size;
    u->seg = l->in->seg;
    u->imm = (int64_t)op;
    return old;
}

void lift_fence(struct lift *l)
{
    if (l->parallel)
        lift_call_quiet(l, q_fence, 0, false);
    else
        lift_emit(l, UOP_NOP, R_ZERO, R_ZERO, R_ZERO, 0);
}

bool q_fence(struct cpu *c, const struct uop *u)
{
    cpu_fence(c);
    return true;
}

/* What is stored instead of `old`. */
static uint64_t changed(const struct cpu *c, const struct uop *u, uint64_t old, bool carry)
{
    uint64_t b = c->s.r[u->b], mask = ~0ull >> (64 - 8 * u->size);
    uint64_t bit = BIT(b & (8u * u->size - 1));
    switch ((enum locked_op)u->imm) {
    case LOCKED_ADD: return old + b;
    case LOCKED_OR: return old | b;
    case LOCKED_ADC: return old + b + carry;
    case LOCKED_SBB: return old - b - carry;
    case LOCKED_AND: return old & b;
    case LOCKED_SUB: return old - b;
    case LOCKED_XOR: return old ^ b;
    case LOCKED_NEG: return -old;
    case LOCKED_XCHG: return b;
    case LOCKED_CMPXCHG: return (old ^ c->s.r[R_AX]) & mask ? old : b;
    case LOCKED_BTS: return old | bit;
    case LOCKED_BTR: return old & ~bit;
    case LOCKED_BTC: return old ^ bit;
    }
    return old;
}

/* Any alignment: a host whose locked accesses must be aligned runs no CPUs side by side. */
#define ATOMIC(T)                                                                     \
    do {                                                                              \
        T *p = (T *)host, v = __atomic_load_n(p, __ATOMIC_RELAXED);                   \
        while (!__atomic_compare_exchange_n(p, &v, (T)changed(c, u, v, carry), false, \
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))      \
            ;                                                                         \
        return v;                                                                     \
    } while (0)
static uint64_t change(const struct cpu *c, const struct uop *u, uintptr_t host, bool carry)
{
    switch (u->size) {
    case 1: ATOMIC(uint8_t);
    case 2: ATOMIC(uint16_t);
    case 4: ATOMIC(uint32_t);
    default: ATOMIC(uint64_t);
    }
}
#undef ATOMIC

/* Host memory that may be written at once, or 0. */
static uintptr_t straight(const struct cpu *c, uint64_t la, unsigned size)
{
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->write;
    return off <= PAGE_SIZE - size ? e->host + off : 0;
}

/* Finds host memory, after a first use of the page. *host 0: it has to be done in stillness, as it
 * is a device, crosses a page, or there is translated code. */
static bool find(struct cpu *c, uint64_t la, unsigned size, uintptr_t *host)
{
    *host = straight(c, la, size);
    if (LIKELY(*host))
        return true;
    if (c->tlb_ctx != TLB_USER_AC && !lin_probe(c, la, ACC_WRITE, size))
        return false;
    *host = straight(c, la, size);
    return debug_reads(c, la, size);
}

static bool by_the_book(struct cpu *c, const struct uop *u, uint64_t la, bool carry, uint64_t *old)
{
    cpu_lock(c);
    share_still(c);
    bool ok = mmu_load(c, la, u->size, ACC_WRITE, old) &&
              mmu_store(c, la, u->size, ACC_WRITE, changed(c, u, *old, carry));
    cpu_unlock(c);
    return ok;
}

bool h_locked(struct cpu *c, const struct uop *u)
{
    enum locked_op op = (enum locked_op)u->imm;
    bool carry = (op == LOCKED_ADC || op == LOCKED_SBB) && (flags_arith(c) & F_C);
    uint64_t la, old;
    uintptr_t host;
    if (!seg_linear(c, u->seg, c->s.r[u->a], u->size, ACC_WRITE, &la) ||
        !find(c, la, u->size, &host))
        return false;
    if (host)
        old = change(c, u, host, carry);
    else if (!by_the_book(c, u, la, carry, &old))
        return false;
    c->s.r[u->dst] = old;
    return true;
}

static bool exchange_still(struct cpu *c, uint64_t la, unsigned size, uint64_t *expected,
                           const uint64_t *with, bool *equal)
{
    uint64_t old[2] = {0};
    cpu_lock(c);
    share_still(c);
    bool ok = size == 8 ? mmu_load(c, la, 8, ACC_WRITE, old)
                        : lin_load_bytes(c, la, ACC_WRITE, old, size);
    *equal = ok && !memcmp(old, expected, size);
    const uint64_t *v = *equal ? with : old;
    ok = ok && (size == 8 ? mmu_store(c, la, 8, ACC_WRITE, v[0])
                          : lin_store_bytes(c, la, ACC_WRITE, v, size));
    cpu_unlock(c);
    if (ok)
        memcpy(expected, old, size);
    return ok;
}

bool locked_exchange(struct cpu *c, uint64_t la, unsigned size, uint64_t *expected,
                     const uint64_t *with, bool *equal)
{
    uintptr_t host;
    if (!c->share)
        return exchange_still(c, la, size, expected, with, equal);
    if (!find(c, la, size, &host))
        return false;
    if (!host)
        return exchange_still(c, la, size, expected, with, equal);
    if (size == 8)
        *equal = __atomic_compare_exchange_n((uint64_t *)host, expected, *with, false,
                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    else
        *equal = wide_exchange((uint64_t *)host, expected, with);
    return true;
}
