/* The uop interpreter: one small function a uop, each of which goes on to the next.
 *
 * Where the compiler makes a call in tail position a jump, a handler ends by jumping to the next
 * one, with the CPU, the uop and two table bases in registers: threaded code without one huge
 * function. Elsewhere (no optimisation, sanitizers, WebAssembly) the same functions return the
 * next uop to a loop; a threaded one may do that too, and the loop goes on with it. */
#ifndef ISHI_CPU_INTERP_H
#define ISHI_CPU_INTERP_H

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/mem.h"

enum interp_leave {
    LEAVE_NEXT,  /* go on at s.rip; if link_from is not NULL, that exit wants its link */
    LEAVE_FAULT, /* c->fault; s.rip is the instruction's, s.icount counts those before it */
};

/* Runs from block b until the interpreter must leave. */
enum interp_leave interp_run(struct cpu *c, struct block *b);

/* Runs block b from uop u on, the first of its instruction, and no other block. c->s.icount is that
 * at the block's beginning, and r[R_IP] its address. */
enum interp_leave interp_rest(struct cpu *c, struct block *b, const struct uop *u);

/* A memory access (UOP_LDZ8_B64 … UOP_POP32, and the push of CALL64, CALL32) by the slow path,
 * which does any; c->block, r[R_IP] and s.icount as above. False: fault. */
bool interp_access(struct cpu *c, const struct uop *u);

struct uop_table;
typedef const struct uop *uop_fn(struct cpu *c, const struct uop *u, const struct tlb_entry *tlb,
                                 const struct uop_table *tab);
struct uop_table {
    uop_fn *fn[UOP_COUNT];
};
extern const struct uop_table uop_table;

#define X(n) uop_fn op_##n;
UOPS(X)
#undef X

/* Writing handlers. */
#define OP(n)                                                                                 \
    const struct uop *op_##n(struct cpu *c, const struct uop *u, const struct tlb_entry *tlb, \
                             const struct uop_table *tab)
#if defined(__clang__) && __has_attribute(musttail) && !defined(__wasm__)
#define TAIL __attribute__((musttail)) return
#else
#define TAIL return
#endif
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__wasm__) && !defined(ISHI_LOOP)
#define ISHI_THREADED 1
#define GO(next)                                 \
    do {                                         \
        const struct uop *go_ = (next);          \
        TAIL tab->fn[go_->op](c, go_, tlb, tab); \
    } while (0)
#else
#define ISHI_THREADED 0
#define GO(next)      return (next)
#endif
#define NEXT GO(u + 1)

#define R(n) c->s.r[n]

/* Before a slow path or a helper: what it may ask for. */
static inline void interp_mark(struct cpu *c, const struct uop *u)
{
    c->insn_index = u->insn;
    c->single = c->block->insns == 1;
    c->s.rip = (R(R_IP) + u->ip) & c->block->mask[0];
    c->next_rip = (R(R_IP) + u->next) & c->block->mask[0];
}

/* Leaves with the fault that a marked slow path or helper raised. */
static inline const struct uop *interp_fault(struct cpu *c)
{
    c->leave = LEAVE_FAULT;
    return NULL;
}

/* The block is done and R_IP is where to go on, u->next (0) or u->imm2 (1) from its beginning:
 * leaves, wanting a link for exit `which` if there is none. Checks the CS limit for a taken branch.
 */
const struct uop *interp_exit(struct cpu *c, const struct uop *u, unsigned which);

/* Begins block n at the offset that is in R_IP, if nothing speaks against it. */
static inline bool interp_enter(struct cpu *c, struct block *n)
{
    if (UNLIKELY(c->s.icount + n->insns > c->limit || cpu_requests(c)))
        return false;
    c->block = n;
    c->trail[c->trail_at++ & (TRAIL - 1)] = c->s.seg[SEG_CS].base + R(R_IP);
    return true;
}

/* Goes on at offset `where` by exit `which` of the block. */
#define CHAIN(which, where)                      \
    do {                                         \
        struct block *from_ = c->block;          \
        R(R_IP) = (where)&from_->mask[which];    \
        c->s.icount += from_->insns;             \
        struct block *to_ = from_->to[which];    \
        if (LIKELY(to_ && interp_enter(c, to_))) \
            GO(to_->uops);                       \
        return interp_exit(c, u, which);         \
    } while (0)

/* Goes on at offset `where`, which is cut to the mode already, by the jump cache. */
#define CHAIN_TO(where)                                                         \
    do {                                                                        \
        struct block *from_ = c->block;                                         \
        uint64_t la_ = (where);                                                 \
        const struct jump_entry *e_ = &c->jump[jump_hash(la_)];                 \
        c->s.icount += from_->insns;                                            \
        R(R_IP) = la_;                                                          \
        if (LIKELY(e_->la == la_ && e_->stamp == c->code_generation &&          \
                   e_->block->key == from_->key && interp_enter(c, e_->block))) \
            GO(e_->block->uops);                                                \
        return interp_leave_at(c, la_);                                         \
    } while (0)

const struct uop *interp_leave_at(struct cpu *c, uint64_t rip);
/* The block is done and goes on at `to` in a code segment that is not flat. */
const struct uop *interp_segment_to(struct cpu *c, uint64_t to);

#endif
