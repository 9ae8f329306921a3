/* Handlers of memory accesses and of the flat stack. The fast path is one compare against the
 * TLB entry's tag; all else goes to access_slow(), by uop. */
#include "cpu/debug.h"
#include "cpu/interp.h"
#include "cpu/lift.h"

#define NOINLINE __attribute__((noinline))

/* Offset in the segment and linear address of the memory operand; checks the segment. */
static bool operand_la(struct cpu *c, const struct uop *u, unsigned size, unsigned acc,
                       uint64_t *la)
{
    uint64_t off = R(u->a) + (R(u->b) << u->scale) + (uint64_t)u->imm;
    if (u->asize < 8)
        off &= ~0ull >> (64 - 8 * u->asize);
    return seg_linear(c, u->seg, off, size, acc, la);
}

/* Puts a loaded value where the kind of load wants it. */
static void load_put(struct cpu *c, const struct uop *u, uint64_t v)
{
    uint64_t *r = &R(u->dst);
    switch ((u->op - UOP_LD) / FORM_COUNT * FORM_COUNT + UOP_LD) {
    case UOP_LDM8_B64: *r = (*r & ~0xffull) | v; break;
    case UOP_LDM16_B64: *r = (*r & ~0xffffull) | v; break;
    case UOP_LDS8_32_B64: *r = (uint32_t)(int8_t)v; break;
    case UOP_LDS8_64_B64: *r = (uint64_t)(int8_t)v; break;
    case UOP_LDS16_32_B64: *r = (uint32_t)(int16_t)v; break;
    case UOP_LDS16_64_B64: *r = (uint64_t)(int16_t)v; break;
    case UOP_LDS32_64_B64: *r = (uint64_t)(int32_t)v; break;
    default: *r = v;
    }
}

static NOINLINE bool load_slow(struct cpu *c, const struct uop *u)
{
    uint64_t la, v;
    interp_mark(c, u);
    if (!operand_la(c, u, u->size, ACC_READ, &la) || !lin_load(c, la, u->size, &v))
        return false;
    load_put(c, u, v);
    return true;
}

static NOINLINE bool store_slow(struct cpu *c, const struct uop *u, uint64_t v)
{
    uint64_t la;
    interp_mark(c, u);
    return operand_la(c, u, u->size, ACC_WRITE, &la) && lin_store(c, la, u->size, v);
}

/* Intent to write: a store that could not be done straight to host memory afterwards must be the
 * only instruction of its block, as it may have to be done anew. */
static NOINLINE bool rmw_slow(struct cpu *c, const struct uop *u)
{
    uint64_t la, v;
    interp_mark(c, u);
    if (!operand_la(c, u, u->size, ACC_WRITE, &la) || !mmu_load(c, la, u->size, ACC_WRITE, &v) ||
        !debug_reads(c, la, u->size))
        return false;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->write;
    c->rmw_la = la;
    c->rmw = off <= PAGE_SIZE - u->size ? e->host + off : 0;
    if (!c->rmw && !c->single) {
        c->fault.vector = EXC_RESTART;
        return false;
    }
    R(u->dst) = v;
    return true;
}

/* The second half; it can still fail where the first could not tell, then before any change. */
static NOINLINE bool rmw_store_slow(struct cpu *c, const struct uop *u)
{
    interp_mark(c, u);
    return mmu_store(c, c->rmw_la, u->size, ACC_WRITE, R(u->a));
}

/* Checks alignment, which comes before the page. */
static bool vector_offset(struct cpu *c, const struct uop *u, unsigned acc, uint64_t *off)
{
    interp_mark(c, u);
    *off = R(u->a) + (R(u->b) << u->scale) + (uint64_t)u->imm;
    if (u->asize < 8)
        *off &= ~0ull >> (64 - 8 * u->asize);
    if (!u->aux) /* whether 16 bytes that need not be aligned raise #AC is up to the processor */
        return u->size > 8 || seg_aligned(c, u->seg, *off, u->size, acc);
    /* before segment limits and canonical addresses, which would be #SS for the stack segment */
    if ((*off + c->s.seg[u->seg].base) & u->aux)
        return cpu_fault_err(c, EXC_GP, 0, "offset %llx is not aligned", *off, 0);
    return true;
}

static NOINLINE bool loadv_slow(struct cpu *c, const struct uop *u)
{
    uint64_t off;
    union vreg v = {0};
    if (!vector_offset(c, u, ACC_READ, &off) || !seg_load_bytes(c, u->seg, off, &v, u->size))
        return false;
    memcpy(cpu_vreg(c, u->dst), &v, u->op >= UOP_LDV_B64 ? 32 : 16);
    return true;
}

static NOINLINE bool storev_slow(struct cpu *c, const struct uop *u)
{
    uint64_t off;
    return vector_offset(c, u, ACC_WRITE, &off) &&
           seg_store_bytes(c, u->seg, off, cpu_vreg(c, u->dst), u->size);
}

/* Tail calls of the slow halves. */
#define SLOW(name, call)            \
    static NOINLINE OP(name)        \
    {                               \
        if (!(call))                \
            return interp_fault(c); \
        NEXT;                       \
    }
SLOW(load, load_slow(c, u))
SLOW(store, store_slow(c, u, R(u->dst)))
SLOW(storei, store_slow(c, u, (uint64_t)u->imm2))
SLOW(rmw, rmw_slow(c, u))
SLOW(rmw_store, rmw_store_slow(c, u))
SLOW(loadv, loadv_slow(c, u))
SLOW(storev, storev_slow(c, u))

#define EA_B64 (R(u->a) + (uint64_t)u->imm)
#define EA_X64 (R(u->a) + (R(u->b) << u->scale) + (uint64_t)u->imm)
#define EA_B32 (uint32_t) EA_B64
#define EA_X32 (uint32_t) EA_X64
#define EA_G   (c->s.seg[u->seg].base + EA_X64)

#define ENTRY(la) (tlb + ((la) >> PAGE_SHIFT & (TLB_SIZE - 1)))

/* An access of sizeof(T) bytes at ea, unless `not`: `body` sees the host pointer p. */
#define ACCESS_UNLESS(name, ea, T, tag, slow, not, body)     \
    OP(name)                                                 \
    {                                                        \
        uint64_t la = (ea);                                  \
        const struct tlb_entry *e = ENTRY(la);               \
        uint64_t off = la - e->tag;                          \
        if (UNLIKELY(off > PAGE_SIZE - sizeof(T) || (not ))) \
            TAIL op_##slow(c, u, tlb, tab);                  \
        char *p = (char *)(e->host + off);                   \
        body;                                                \
        NEXT;                                                \
    }
#define ACCESS(name, ea, T, tag, slow, body) ACCESS_UNLESS(name, ea, T, tag, slow, false, body)
#define FORMS_UNLESS(name, T, tag, slow, not, body)            \
    ACCESS_UNLESS(name##_B64, EA_B64, T, tag, slow, not, body) \
    ACCESS_UNLESS(name##_X64, EA_X64, T, tag, slow, not, body) \
    ACCESS_UNLESS(name##_B32, EA_B32, T, tag, slow, not, body) \
    ACCESS_UNLESS(name##_X32, EA_X32, T, tag, slow, not, body) \
    ACCESS_UNLESS(name##_G, EA_G, T, tag, slow, not, body)     \
    OP(name##_S)                                               \
    {                                                          \
        TAIL op_##slow(c, u, tlb, tab);                        \
    }
#define FORMS(name, T, tag, slow, body) FORMS_UNLESS(name, T, tag, slow, false, body)

/* The value at p, of type T. */
#define GET(T) \
    T v;       \
    memcpy(&v, p, sizeof v)
#define LOAD(name, T, put) FORMS(name, T, read, load, GET(T); put)
LOAD(LDZ8, uint8_t, R(u->dst) = v)
LOAD(LDZ16, uint16_t, R(u->dst) = v)
LOAD(LDZ32, uint32_t, R(u->dst) = v)
LOAD(LDZ64, uint64_t, R(u->dst) = v)
LOAD(LDM8, uint8_t, R(u->dst) = (R(u->dst) & ~0xffull) | v)
LOAD(LDM16, uint16_t, R(u->dst) = (R(u->dst) & ~0xffffull) | v)
LOAD(LDS8_32, int8_t, R(u->dst) = (uint32_t)v)
LOAD(LDS8_64, int8_t, R(u->dst) = (uint64_t)v)
LOAD(LDS16_32, int16_t, R(u->dst) = (uint32_t)v)
LOAD(LDS16_64, int16_t, R(u->dst) = (uint64_t)v)
LOAD(LDS32_64, int32_t, R(u->dst) = (uint64_t)v)

#define STORE(bits)                                                                  \
    FORMS(ST##bits, uint##bits##_t, write, store, memcpy(p, &R(u->dst), bits / 8))   \
    FORMS(STI##bits, uint##bits##_t, write, storei, memcpy(p, &u->imm2, bits / 8))   \
    FORMS(LDW##bits, uint##bits##_t, write, rmw, GET(uint##bits##_t); R(u->dst) = v; \
          c->rmw = (uintptr_t)p)                                                     \
    OP(STW##bits)                                                                    \
    {                                                                                \
        if (UNLIKELY(!c->rmw))                                                       \
            TAIL op_rmw_store(c, u, tlb, tab);                                       \
        memcpy((char *)(uintptr_t)c->rmw, &R(u->a), bits / 8);                       \
        NEXT;                                                                        \
    }
STORE(8)
STORE(16)
STORE(32)
STORE(64)

/* Vectors: 4, 8, 16 bytes, or as many as the uop says. */
union bytes16 {
    char b[16];
};
FORMS(LDV4, uint32_t, read, loadv, GET(uint32_t); union vreg *r = cpu_vreg(c, u->dst); r->q[0] = v;
      r->q[1] = 0)
FORMS(LDV8, uint64_t, read, loadv, GET(uint64_t); union vreg *r = cpu_vreg(c, u->dst); r->q[0] = v;
      r->q[1] = 0)
FORMS_UNLESS(LDV16, union bytes16, read, loadv, off & u->aux, memcpy(cpu_vreg(c, u->dst), p, 16))
FORMS(STV4, uint32_t, write, storev, memcpy(p, cpu_vreg(c, u->dst), 4))
FORMS(STV8, uint64_t, write, storev, memcpy(p, cpu_vreg(c, u->dst), 8))
FORMS_UNLESS(STV16, union bytes16, write, storev, off & u->aux, memcpy(p, cpu_vreg(c, u->dst), 16))

static void vec_copy(void *to, const void *from, unsigned n)
{
    switch (n) {
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    case 16: memcpy(to, from, 16); break;
    case 32: memcpy(to, from, 32); break;
    default: memcpy(to, from, n);
    }
}

/* The widest type stands for all sizes: what is nearer to the page's end takes the slow path. */
FORMS_UNLESS(LDV, union vreg, read, loadv, off & u->aux, union vreg *v = cpu_vreg(c, u->dst);
             *v = (union vreg){0}; vec_copy(v, p, u->size))
FORMS_UNLESS(STV, union vreg, write, storev, off & u->aux,
             vec_copy(p, cpu_vreg(c, u->dst), u->size))

/* Flat stacks. A push's slow path goes through the segment too. */
static NOINLINE bool push_slow(struct cpu *c, const struct uop *u, unsigned size, uint64_t v)
{
    uint64_t la, sp = R(R_SP) - size;
    interp_mark(c, u);
    if (size == 4)
        sp = (uint32_t)sp;
    if (!seg_linear(c, SEG_SS, sp, size, ACC_WRITE, &la) || !lin_store(c, la, size, v))
        return false;
    R(R_SP) = sp;
    return true;
}

static NOINLINE bool pop_slow(struct cpu *c, const struct uop *u, unsigned size)
{
    uint64_t la, v, sp = R(R_SP);
    interp_mark(c, u);
    if (!seg_linear(c, SEG_SS, size == 4 ? (uint32_t)sp : sp, size, ACC_READ, &la) ||
        !lin_load(c, la, size, &v))
        return false;
    R(R_SP) = size == 4 ? (uint32_t)(sp + size) : sp + size;
    R(u->dst) = v;
    return true;
}

SLOW(push64, push_slow(c, u, 8, R(u->a)))
SLOW(push32, push_slow(c, u, 4, R(u->a)))
SLOW(pushi64, push_slow(c, u, 8, (uint64_t)u->imm))
SLOW(pushi32, push_slow(c, u, 4, (uint64_t)u->imm))
SLOW(pop64, pop_slow(c, u, 8))
SLOW(pop32, pop_slow(c, u, 4))

#define EA_PUSH64 (R(R_SP) - 8)
#define EA_PUSH32 (uint32_t)(R(R_SP) - 4)
ACCESS(PUSH64, EA_PUSH64, uint64_t, write, push64, memcpy(p, &R(u->a), 8); R(R_SP) = la)
ACCESS(PUSH32, EA_PUSH32, uint32_t, write, push32, memcpy(p, &R(u->a), 4); R(R_SP) = la)
ACCESS(PUSHI64, EA_PUSH64, uint64_t, write, pushi64, memcpy(p, &u->imm, 8); R(R_SP) = la)
ACCESS(PUSHI32, EA_PUSH32, uint32_t, write, pushi32, memcpy(p, &u->imm, 4); R(R_SP) = la)
ACCESS(POP64, R(R_SP), uint64_t, read, pop64, GET(uint64_t); R(R_SP) = la + 8; R(u->dst) = v)
ACCESS(POP32, (uint32_t)R(R_SP), uint32_t, read, pop32, GET(uint32_t); R(R_SP) = (uint32_t)(la + 4);
       R(u->dst) = v)

/* Near calls and returns on flat stacks. A canonical check stands before the push or pop, so that
 * nothing has changed when it fails. */
static NOINLINE bool call_slow(struct cpu *c, const struct uop *u, unsigned size)
{
    interp_mark(c, u);
    return push_slow(c, u, size, c->next_rip);
}

static NOINLINE const struct uop *bad_target(struct cpu *c, const struct uop *u)
{
    interp_mark(c, u);
    cpu_fault_err(c, EXC_GP, 0, "a branch to %llx, which is not canonical", R(R_T7), 0);
    return interp_fault(c);
}

#define CANONICAL(v) (sext((v), 48) == (int64_t)(v))

/* A near call: the target first, then the push of the return address, straight or (name_slow, which
 * stands apart so that the quick way needs no stack frame) through the slow path, then the jump. */
#define NEAR_CALL(name, bits, bytes, target, jump)              \
    static NOINLINE OP(name##_slow)                             \
    {                                                           \
        target;                                                 \
        if (!call_slow(c, u, bytes))                            \
            return interp_fault(c);                             \
        jump;                                                   \
    }                                                           \
    OP(name)                                                    \
    {                                                           \
        uint64_t la = EA_PUSH##bits;                            \
        const struct tlb_entry *e = ENTRY(la);                  \
        uint64_t off = la - e->write;                           \
        target;                                                 \
        if (UNLIKELY(off > PAGE_SIZE - bytes))                  \
            TAIL op_##name##_slow(c, u, tlb, tab);              \
        uint64_t ret = (R(R_IP) + u->next) & c->block->mask[0]; \
        memcpy((char *)(e->host + off), &ret, bytes);           \
        R(R_SP) = la;                                           \
        jump;                                                   \
    }
#define TARGET64                    \
    uint64_t to = R(u->a);          \
    if (UNLIKELY(!CANONICAL(to))) { \
        R(R_T7) = to;               \
        return bad_target(c, u);    \
    }
NEAR_CALL(CALL64, 64, 8, (void)0, CHAIN(1, R(R_IP) + (uint64_t)u->imm2))
NEAR_CALL(CALL32, 32, 4, (void)0, CHAIN(1, R(R_IP) + (uint64_t)u->imm2))
NEAR_CALL(CALLR64, 64, 8, TARGET64, CHAIN_TO(to))
NEAR_CALL(CALLR32, 32, 4, uint32_t to = (uint32_t)R(u->a), CHAIN_TO(to))

static NOINLINE bool ret_slow(struct cpu *c, const struct uop *u, unsigned size)
{
    uint64_t sp = R(R_SP);
    struct uop pop = *u;
    pop.dst = R_T7;
    if (!pop_slow(c, &pop, size))
        return false;
    if (size == 8 && !CANONICAL(R(R_T7))) {
        R(R_SP) = sp;
        return cpu_fault_err(c, EXC_GP, 0, "a return to %llx, which is not canonical", R(R_T7), 0);
    }
    R(R_SP) += (uint64_t)u->imm;
    return true;
}

static NOINLINE OP(ret_slow64)
{
    if (!ret_slow(c, u, 8))
        return interp_fault(c);
    CHAIN_TO(R(R_T7));
}

static NOINLINE OP(ret_slow32)
{
    if (!ret_slow(c, u, 4))
        return interp_fault(c);
    R(R_SP) = (uint32_t)R(R_SP);
    CHAIN_TO(R(R_T7));
}

OP(RET64)
{
    uint64_t la = R(R_SP), to;
    const struct tlb_entry *e = ENTRY(la);
    uint64_t off = la - e->read;
    if (UNLIKELY(off > PAGE_SIZE - 8))
        TAIL op_ret_slow64(c, u, tlb, tab);
    to = get_le64((char *)(e->host + off));
    if (UNLIKELY(!CANONICAL(to))) {
        R(R_T7) = to;
        return bad_target(c, u);
    }
    R(R_SP) = la + 8 + (uint64_t)u->imm;
    CHAIN_TO(to);
}

OP(RET32)
{
    uint64_t la = (uint32_t)R(R_SP), to;
    const struct tlb_entry *e = ENTRY(la);
    uint64_t off = la - e->read;
    if (UNLIKELY(off > PAGE_SIZE - 4))
        TAIL op_ret_slow32(c, u, tlb, tab);
    to = get_le32((char *)(e->host + off));
    R(R_SP) = (uint32_t)(la + 4 + (uint64_t)u->imm);
    CHAIN_TO(to);
}

OP(JMP_R)
{
    uint64_t to = R(u->a);
    if (u->size == 8 && UNLIKELY(!CANONICAL(to))) {
        R(R_T7) = to;
        return bad_target(c, u);
    }
    if (u->size == 4)
        to = (uint32_t)to;
    else if (u->size == 2)
        to = (uint16_t)to;
    if (UNLIKELY(u->aux)) /* the CS base is not 0: la is not the offset */
        return interp_segment_to(c, to);
    CHAIN_TO(to);
}

bool interp_access(struct cpu *c, const struct uop *u)
{
    unsigned op = u->op;
    switch (op) {
    case UOP_PUSH64: return push_slow(c, u, 8, R(u->a));
    case UOP_PUSH32: return push_slow(c, u, 4, R(u->a));
    case UOP_PUSHI64: return push_slow(c, u, 8, (uint64_t)u->imm);
    case UOP_PUSHI32: return push_slow(c, u, 4, (uint64_t)u->imm);
    case UOP_POP64: return pop_slow(c, u, 8);
    case UOP_POP32: return pop_slow(c, u, 4);
    case UOP_CALL64:
    case UOP_CALLR64: return call_slow(c, u, 8);
    case UOP_CALL32:
    case UOP_CALLR32: return call_slow(c, u, 4);
    case UOP_STW8:
    case UOP_STW16:
    case UOP_STW32:
    case UOP_STW64:
        if (!c->rmw)
            return rmw_store_slow(c, u);
        mem_put((char *)(uintptr_t)c->rmw, u->size, R(u->a));
        return true;
    default: break;
    }
    if (op < UOP_ST8_B64)
        return load_slow(c, u);
    if (op < UOP_STI8_B64)
        return store_slow(c, u, R(u->dst));
    if (op < UOP_LDW8_B64)
        return store_slow(c, u, (uint64_t)u->imm2);
    if (op < UOP_STW8)
        return rmw_slow(c, u);
    return op < UOP_STV4_B64 ? loadv_slow(c, u) : storev_slow(c, u);
}
