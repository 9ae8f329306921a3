/* Checks by a slot: a place in hot code keeps the entry of the TLB that it met last.
 *
 * The TLB's entry is found by some bits of the address, so that nothing of the check can begin
 * before the address is known. Most accesses of hot code meet the page that they met before. There
 * the place has a slot of its own in struct cpu, at a constant offset: two instructions less, and
 * the distance to host memory waits for nothing. Cold code changes the slot if the TLB has the
 * page. A place that changes its page often (jit_often()) gets a jump to cold code that asks the
 * TLB each time, and soon its code is made anew without the slot.
 *
 * That is for paths and loops of user code, which are hot, and for its stack everywhere, whose
 * accesses share slots. Others may share by chance, when all have been given. Kernels meet too many
 * pages, and give translations up too often: with slots there, too, a boot took a tenth longer. A
 * slot holds nothing that the TLB does not (tlb_forget_copies()); what it is for, reads or writes
 * and up to how many bytes, is a matter of its number. */
#include "jit/emit.h"

#define MISSES 32   /* of a slot, after which somebody looks … */
#define EVERY  2000 /* … whether it was one in so many instructions, or fewer */

/* By number of bytes: the classes' limits, and how many slots each has of each kind. */
static const struct {
    uint16_t bytes, first, each;
} classes[] = {{8, 0, 128}, {64, 256, 64}, {512, 384, 64}};
_Static_assert(384 + 2 * 64 == JIT_SLOTS && ARRAY_LEN(classes) * 2 == SLOT_KINDS, "all given");

static struct xmem field(const struct stub *s, size_t offset)
{
    return e_cpu(offsetof(struct cpu, jit.slot) + (s->slot - 1u) * sizeof(struct jit_slot) +
                 offset);
}
#define FIELD(s, name) field(s, offsetof(struct jit_slot, name))

/* A slot for an access, or JIT_SLOTS. */
static unsigned give(struct emit *e, const struct uop *u, unsigned size, bool write, bool stack)
{
    unsigned kind = write, n = 0;
    const struct part *p = e_part(e, u);
    unsigned at = (unsigned)(u - e->b->uops) - p->first;
    while (n < ARRAY_LEN(classes) && classes[n].bytes < size)
        n++;
    if (p->b->scattered >> (at & 63) & 1 || n == ARRAY_LEN(classes) || e->ctx != TLB_USER ||
        (!stack && e->parts == 1 && !e_loops(e)))
        return JIT_SLOTS;
    unsigned first = classes[n].first + kind * classes[n].each;
    uint16_t *last = &e->slots[n * 2 + kind];
    if (stack)
        return first;
    *last = *last + 1 < classes[n].each ? *last + 1 : 1;
    return first + *last;
}

void e_look_up_kept(struct emit *e, struct stub *miss, unsigned size, unsigned align, bool write,
                    bool stack)
{
    unsigned slot = align ? JIT_SLOTS : give(e, miss->u, size, write, stack);
    if (slot == JIT_SLOTS) {
        e_look_up(e, miss, size, align, write);
        return;
    }
    miss->slot = (uint16_t)(slot + 1);
    miss->bytes = (uint16_t)size;
    miss->write = write;
    miss->addend = J_NONE;
    miss->sub = e->a.at;
    x_alu_rm(&e->a, XA_SUB, 8, J_X0, FIELD(miss, tag));
    x_alu_rm(&e->a, XA_CMP, 8, J_X0, FIELD(miss, limit));
    x_branch_in_line(&e->a, 6);
    miss->missed = x_jcc(&e->a, XC_AE, e->a.at);
    miss->done = miss->end = e->a.at;
    e->a.insn = 0;
    e->kept = miss;
}

bool slot_addend(struct emit *e, unsigned to)
{
    if (!e->kept)
        return false;
    x_load(&e->a, 8, to, FIELD(e->kept, addend));
    e->kept->addend = (uint8_t)to;
    e->kept->end = e->a.at;
    e->a.insn = 0;
    return true;
}

bool slot_to_host(struct emit *e)
{
    if (!e->kept)
        return false;
    x_alu_rm(&e->a, XA_ADD, 8, J_X0, FIELD(e->kept, host));
    e->kept->to_host = true;
    e->kept->end = e->a.at;
    e->a.insn = 0;
    return true;
}

/* The TLB's entry, at J_X1, becomes the slot's. */
static void take_entry(struct emit *e, const struct stub *s)
{
    unsigned n = 0;
    while (classes[n].bytes < s->bytes)
        n++;
    x_store_i(&e->a, 1, xmi(J_CTX, J_X1, 0, e_tlb_info(e, offsetof(struct tlb_info, kept))), 1);
    x_alu_mi(&e->a, XA_OR, 4, E_CPU(jit.slots_filled),
             (int32_t)(1u << (s->slot - 1u) / (JIT_SLOTS / 32)));
    x_store_i(&e->a, 8, FIELD(s, limit), PAGE_SIZE + 1 - classes[n].bytes);
    x_store(&e->a, 8, E_CPU(jit.scratch[2]), J_X0);
    x_load(&e->a, 8, J_X0, e_tag(e, s->write));
    x_store(&e->a, 8, FIELD(s, tag), J_X0);
    e_addend_to(e, J_X0);
    x_store(&e->a, 8, FIELD(s, addend), J_X0);
    x_mov_ri(&e->a, J_X0, 0);
    e_to_host(e);
    x_store(&e->a, 8, FIELD(s, host), J_X0);
    x_load(&e->a, 8, J_X0, E_CPU(jit.scratch[2]));
}

void slot_refill(struct emit *e, const struct stub *s, struct stub *miss)
{
    uint32_t site = e_site(e, jit_often, JIT_EXIT_FAULT, s->u, 0), often, far;
    if (!e->a.full)
        x_patch(e->a.base, s->missed, e->a.at);
    x_alu_rm(&e->a, XA_ADD, 8, J_X0, FIELD(s, tag));
    x_alu_mi(&e->a, XA_SUB, 4,
             e_cpu(offsetof(struct cpu, jit.slot_misses) + (s->slot - 1u) * sizeof(int32_t)), 1);
    often = x_jcc(&e->a, XC_S, e->a.at);
    e_look_up(e, miss, s->bytes, 0, s->write);
    take_entry(e, s);
    x_jmp(&e->a, s->done);
    if (!e->a.full)
        x_patch(e->a.base, often, e->a.at);
    x_store(&e->a, 8, E_CPU(jit.scratch[2]), J_X0);
    home_store(e);
    e_call_site(e, site, e->thunk_call);
    home_load(e);
    if (s->vec)
        x_call(&e->a, e->vec_reload);
    x_load(&e->a, 8, J_X0, E_CPU(jit.scratch[2]));
    far = e->a.at;
    e_look_up(e, miss, s->bytes, 0, s->write);
    if (s->to_host)
        e_to_host(e);
    if (s->addend != J_NONE)
        e_addend_to(e, s->addend);
    x_jmp(&e->a, s->end);
    if (!e->a.full) {
        struct jit_site *p = (struct jit_site *)(void *)(e->a.base + site);
        p->lo = (int32_t)s->sub;
        p->ahead = (int32_t)far;
        p->bytes = s->slot - 1u;
    }
}

/* The page of a slot changed some times more. */
bool slot_often(struct cpu *c, unsigned slot)
{
    uint64_t now = (uint64_t)(c->jit.limit - c->jit.left), since = c->jit.slot_since[slot];
    c->jit.slot_misses[slot] = MISSES;
    c->jit.slot_since[slot] = now;
    return now - since < MISSES * (uint64_t)EVERY;
}
