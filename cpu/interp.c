/* Handlers of helpers and branches, the table, and the way in. */
#include "cpu/interp.h"

#include "cpu/lift.h"

#define NOINLINE __attribute__((noinline))

const char *uop_name(unsigned op)
{
    static const char *const names[] = {
#define X(n) #n,
        UOPS(X)
#undef X
    };
    return op < UOP_COUNT ? names[op] : "?";
}

/* STAC and POPF change the set of translations. */
#define TLB_AGAIN (tlb = c->tlb->e[c->tlb_ctx], (void)tlb)

OP(HELP)
{
    interp_mark(c, u);
    if (!u->helper(c, u))
        return interp_fault(c);
    TLB_AGAIN;
    NEXT;
}

OP(CALLF)
{
    if (UNLIKELY(!u->helper(c, u))) {
        interp_mark(c, u);
        return interp_fault(c);
    }
    NEXT;
}

OP(X87)
{
    if (UNLIKELY(!u->helper(c, u)))
        return interp_fault(c); /* it has marked */
    NEXT;
}

OP(CALLQ)
{
    u->helper(c, u);
    NEXT;
}

static NOINLINE bool raise_fault(struct cpu *c, const struct uop *u)
{
    interp_mark(c, u);
    if (u->imm == EXC_GP)
        return cpu_fault_err(c, EXC_GP, 0, u->fn, 0, 0);
    return cpu_fault(c, (unsigned)u->imm, u->fn, 0, 0);
}

OP(RAISE)
{
    raise_fault(c, u);
    return interp_fault(c);
}

static NOINLINE bool raise_unknown(struct cpu *c, const struct uop *u)
{
    uint8_t b[8] = {0};
    interp_mark(c, u);
    c->unknown_count++;
    size_t n = mmu_peek(c, c->s.seg[SEG_CS].base + c->s.rip, b, sizeof b);
    LOG(c->log, CPU, "unknown instruction at %04x:%llx: %02x %02x %02x %02x %02x %02x%s",
        c->s.seg[SEG_CS].sel, (unsigned long long)c->s.rip, b[0], b[1], b[2], b[3], b[4], b[5],
        n < 6 ? " (cut)" : "");
    return cpu_fault(c, EXC_UD, "unknown instruction", 0, 0);
}

OP(UNKNOWN)
{
    raise_unknown(c, u);
    return interp_fault(c);
}

/* Near branches check their target against the CS limit before anything is written. */
static NOINLINE bool target_ok(struct cpu *c, const struct uop *u, uint64_t to)
{
    to &= u->size == 2 ? 0xffff : 0xffffffff;
    if (to <= c->s.seg[SEG_CS].limit)
        return true;
    interp_mark(c, u);
    return cpu_fault_err(c, EXC_GP, 0, "a branch to %llx, beyond the limit of CS, %llx", to,
                         c->s.seg[SEG_CS].limit);
}

OP(TARGET)
{
    if (!target_ok(c, u, R(R_IP) + (uint64_t)u->imm2))
        return interp_fault(c);
    NEXT;
}

OP(TARGET_R)
{
    if (!target_ok(c, u, R(u->a)))
        return interp_fault(c);
    NEXT;
}

/* Blocks in a code segment that is not flat are not linked: the same bytes may be reached through
 * another base, and their end may lie beyond the limit. The jump cache takes them on. */
static const struct uop *segment_next(struct cpu *c, uint32_t key)
{
    const struct seg *cs = &c->s.seg[SEG_CS];
    uint64_t ip = R(R_IP), la = (uint32_t)(ip + cs->base);
    const struct jump_entry *e = &c->jump[jump_hash(la)];
    struct block *n = e->block;
    if (e->la == la && e->stamp == c->code_generation && n->key == key &&
        ip + n->bytes - 1 <= cs->limit && interp_enter(c, n))
        return n->uops;
    return interp_leave_at(c, ip);
}

const struct uop *interp_exit(struct cpu *c, const struct uop *u, unsigned which)
{
    struct block *b = c->block;
    const struct seg *cs = &c->s.seg[SEG_CS];
    uint64_t to = R(R_IP), old = (to - (which ? (uint64_t)u->imm2 : u->next)) & b->mask[which];
    bool limited = !(b->key & KEY_FLAT_CS) && (b->key & KEY_CODE) != ISA_64;
    if (limited && (!which || to <= cs->limit))
        return segment_next(c, b->key);
    if (limited) {
        R(R_IP) = old;
        c->s.icount -= b->insns;
        interp_mark(c, u);
        cpu_fault_err(c, EXC_GP, 0, "a branch to %llx, beyond the limit of CS, %llx", to,
                      cs->limit);
        return interp_fault(c);
    }
    c->s.rip = to;
    c->insn_index = 0;
    c->link_from = b->to[which] ? NULL : b;
    c->link_which = (uint8_t)which;
    c->link_near = (old ^ to) < PAGE_SIZE;
    c->leave = LEAVE_NEXT;
    return NULL;
}

const struct uop *interp_leave_at(struct cpu *c, uint64_t rip)
{
    c->s.rip = rip;
    c->insn_index = 0;
    c->link_from = NULL;
    c->leave = LEAVE_NEXT;
    return NULL;
}

const struct uop *interp_segment_to(struct cpu *c, uint64_t to)
{
    c->s.icount += c->block->insns;
    R(R_IP) = to;
    return segment_next(c, c->block->key);
}

OP(EXIT)
{
    c->s.icount += c->block->insns;
    if (u->aux) /* nobody set next_rip */
        c->next_rip = (R(R_IP) + u->next) & c->block->mask[0];
    return interp_leave_at(c, c->next_rip);
}

OP(GUARD)
{
    struct block *g = c->block, *to = g->guarded;
    if (LIKELY(g->stamp == (c->code_generation ^ (uint64_t)c->index << 56))) {
        c->trail_at--; /* its own entry */
        if (interp_enter(c, to))
            GO(to->uops);
        c->trail_at++;
        return interp_leave_at(c, R(R_IP));
    }
    c->s.rip = R(R_IP);
    c->insn_index = 0;
    c->link_from = g->link[0].owner;
    c->link_which = (uint8_t)g->bytes;
    c->link_near = false;
    c->leave = LEAVE_NEXT;
    return NULL;
}

OP(JMP)
{
    CHAIN(1, R(R_IP) + (uint64_t)u->imm2);
}

/* Taken or not, without a branch of the host's own: what is predicted is the jump to the next
 * block's first handler. */
#define BRANCH(condition)                                                  \
    do {                                                                   \
        bool t_ = (condition);                                             \
        CHAIN(t_, R(R_IP) + (t_ ? (uint64_t)u->imm2 : (uint64_t)u->next)); \
    } while (0)
#define JUMP(name, condition) \
    OP(name)                  \
    {                         \
        BRANCH(condition);    \
    }

JUMP(JCC, flags_cond(c, u->aux))
JUMP(JNZ, R(u->a) != 0)
JUMP(JZ, R(u->a) == 0)

#define EACH_SIZE(M)         \
    M(8, uint8_t, int8_t)    \
    M(16, uint16_t, int16_t) \
    M(32, uint32_t, int32_t) \
    M(64, uint64_t, int64_t)
#define LG8  0
#define LG16 1
#define LG32 2
#define LG64 3

/* After a known lazy subtraction d = a - s, and zero and sign after anything lazy. */
#define D(T) ((T)c->s.cc_dst)
#define B(T) ((T)c->s.cc_src)
#define A(T) ((T)(D(T) + B(T)))
#define JCCS(bits, T, S)                      \
    JUMP(JCC_SUB##bits##_B, A(T) < B(T))      \
    JUMP(JCC_SUB##bits##_AE, A(T) >= B(T))    \
    JUMP(JCC_SUB##bits##_Z, !D(T))            \
    JUMP(JCC_SUB##bits##_NZ, !!D(T))          \
    JUMP(JCC_SUB##bits##_BE, A(T) <= B(T))    \
    JUMP(JCC_SUB##bits##_A, A(T) > B(T))      \
    JUMP(JCC_SUB##bits##_S, D(S) < 0)         \
    JUMP(JCC_SUB##bits##_NS, D(S) >= 0)       \
    JUMP(JCC_SUB##bits##_L, (S)A(T) < B(S))   \
    JUMP(JCC_SUB##bits##_GE, (S)A(T) >= B(S)) \
    JUMP(JCC_SUB##bits##_LE, (S)A(T) <= B(S)) \
    JUMP(JCC_SUB##bits##_G, (S)A(T) > B(S))   \
    JUMP(JCC_Z##bits, !D(T))                  \
    JUMP(JCC_NZ##bits, !!D(T))                \
    JUMP(JCC_S##bits, D(S) < 0)               \
    JUMP(JCC_NS##bits, D(S) >= 0)
EACH_SIZE(JCCS)

/* CMP or TEST with its branch. */
#define FUSED(name, bits, T, S, second, result, kind, src, condition) \
    OP(name)                                                          \
    {                                                                 \
        T a = (T)R(u->a), b = (T)(second), r = (T)(result);           \
        c->s.cc_op = CC_##kind * 4 + LG##bits;                        \
        c->s.cc_dst = r;                                              \
        c->s.cc_src = (src);                                          \
        (void)a, (void)b;                                             \
        BRANCH(condition);                                            \
    }
#define CMPJ(name, bits, T, S, second)                                \
    FUSED(name##_B, bits, T, S, second, a - b, SUB, b, a < b)         \
    FUSED(name##_AE, bits, T, S, second, a - b, SUB, b, a >= b)       \
    FUSED(name##_Z, bits, T, S, second, a - b, SUB, b, a == b)        \
    FUSED(name##_NZ, bits, T, S, second, a - b, SUB, b, a != b)       \
    FUSED(name##_BE, bits, T, S, second, a - b, SUB, b, a <= b)       \
    FUSED(name##_A, bits, T, S, second, a - b, SUB, b, a > b)         \
    FUSED(name##_S, bits, T, S, second, a - b, SUB, b, (S)r < 0)      \
    FUSED(name##_NS, bits, T, S, second, a - b, SUB, b, (S)r >= 0)    \
    FUSED(name##_L, bits, T, S, second, a - b, SUB, b, (S)a < (S)b)   \
    FUSED(name##_GE, bits, T, S, second, a - b, SUB, b, (S)a >= (S)b) \
    FUSED(name##_LE, bits, T, S, second, a - b, SUB, b, (S)a <= (S)b) \
    FUSED(name##_G, bits, T, S, second, a - b, SUB, b, (S)a > (S)b)
#define TESTJ(name, bits, T, S, second)                             \
    FUSED(name##_B, bits, T, S, second, a &b, LOGIC, 0, false)      \
    FUSED(name##_AE, bits, T, S, second, a &b, LOGIC, 0, true)      \
    FUSED(name##_Z, bits, T, S, second, a &b, LOGIC, 0, !r)         \
    FUSED(name##_NZ, bits, T, S, second, a &b, LOGIC, 0, !!r)       \
    FUSED(name##_BE, bits, T, S, second, a &b, LOGIC, 0, !r)        \
    FUSED(name##_A, bits, T, S, second, a &b, LOGIC, 0, !!r)        \
    FUSED(name##_S, bits, T, S, second, a &b, LOGIC, 0, (S)r < 0)   \
    FUSED(name##_NS, bits, T, S, second, a &b, LOGIC, 0, (S)r >= 0) \
    FUSED(name##_L, bits, T, S, second, a &b, LOGIC, 0, (S)r < 0)   \
    FUSED(name##_GE, bits, T, S, second, a &b, LOGIC, 0, (S)r >= 0) \
    FUSED(name##_LE, bits, T, S, second, a &b, LOGIC, 0, (S)r <= 0) \
    FUSED(name##_G, bits, T, S, second, a &b, LOGIC, 0, (S)r > 0)
#define FUSEDS(bits, T, S)                    \
    CMPJ(CMPJ_R##bits, bits, T, S, R(u->b))   \
    CMPJ(CMPJ_I##bits, bits, T, S, u->imm)    \
    TESTJ(TESTJ_R##bits, bits, T, S, R(u->b)) \
    TESTJ(TESTJ_I##bits, bits, T, S, u->imm)
EACH_SIZE(FUSEDS)

const struct uop_table uop_table = {{
#define X(n) op_##n,
    UOPS(X)
#undef X
}};

static enum interp_leave run(struct cpu *c, const struct uop *u)
{
    while (u)
        u = uop_table.fn[u->op](c, u, c->tlb->e[c->tlb_ctx], &uop_table);
    c->block = NULL;
    if (c->leave == LEAVE_FAULT) {
        c->s.icount += c->insn_index;
        c->insn_index = 0;
    }
    return (enum interp_leave)c->leave;
}

enum interp_leave interp_run(struct cpu *c, struct block *b)
{
    R(R_IP) = c->s.rip;
    R(R_ZERO) = 0;
    c->block = b;
    c->link_from = NULL;
    c->trail[c->trail_at++ & (TRAIL - 1)] = c->s.seg[SEG_CS].base + c->s.rip;
    return run(c, b->uops);
}

enum interp_leave interp_rest(struct cpu *c, struct block *b, const struct uop *u)
{
    uint64_t limit = c->limit;
    flags_pose(c);
    c->block = b;
    c->link_from = NULL;
    c->limit = c->s.icount + b->insns; /* no other block will fit */
    enum interp_leave r = run(c, u);
    c->limit = limit;
    return r;
}
