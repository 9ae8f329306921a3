/* IN, OUT, INS, OUTS: the ports (SDM 1 chapter 18). */
#include "cpu/debug.h"
#include "cpu/intr.h"
#include "cpu/share.h"
#include "cpu/sysop.h"
#include "cpu/task.h"

/* May the program touch these ports? By IOPL, else by the bitmap in its TSS. */
static bool allowed(struct cpu *c, uint16_t port, unsigned n)
{
    if (cpu_real(c) || (!cpu_vm86(c) && c->cpl <= iopl(c)))
        return true;
    return task_io_allowed(c, port, n);
}

static unsigned port_size(const struct uop *u)
{
    return u->size > 4 ? 4 : u->size;
}

static uint32_t port_read(struct cpu *c, uint16_t port, unsigned n)
{
    cpu_lock(c);
    uint32_t v = bus_in(c->bus, port, n);
    cpu_unlock(c);
    return v;
}

static void port_write(struct cpu *c, uint16_t port, unsigned n, uint32_t v)
{
    cpu_lock(c);
    bus_out(c->bus, port, n, v);
    cpu_unlock(c);
}

static bool in(struct cpu *c, const struct uop *u, uint16_t port)
{
    unsigned n = port_size(u);
    if (!allowed(c, port, n))
        return false;
    debug_port(c, port, n);
    reg_put(c, R_AX, n, port_read(c, port, n));
    return true;
}

static bool out(struct cpu *c, const struct uop *u, uint16_t port)
{
    unsigned n = port_size(u);
    if (!allowed(c, port, n))
        return false;
    debug_port(c, port, n);
    port_write(c, port, n, (uint32_t)(c->s.r[R_AX] & size_mask(n)));
    return true;
}

bool h_in(struct cpu *c, const struct uop *u)
{
    return in(c, u, (uint16_t)c->s.r[R_DX]);
}

bool h_in_imm(struct cpu *c, const struct uop *u)
{
    return in(c, u, (uint8_t)u->imm);
}

bool h_out(struct cpu *c, const struct uop *u)
{
    return out(c, u, (uint16_t)c->s.r[R_DX]);
}

bool h_out_imm(struct cpu *c, const struct uop *u)
{
    return out(c, u, (uint8_t)u->imm);
}

/* Steps an index register by one element, within the address size. */
static void advance(struct cpu *c, const struct uop *u, unsigned reg, unsigned n)
{
    uint64_t v = c->s.r[reg] + (c->s.rflags & EF_DF ? -(uint64_t)n : n);
    reg_put(c, reg, u->asize, v);
}

static bool repeated(const struct uop *u)
{
    return u->aux >> 8;
}

/* Is there nothing to do? */
static bool rep_done(const struct cpu *c, const struct uop *u)
{
    return repeated(u) && !(c->s.r[R_CX] & size_mask(u->asize));
}

/* The count is 0; ECX is written all the same. */
static bool rep_nothing(struct cpu *c, const struct uop *u)
{
    reg_put(c, R_CX, u->asize, 0);
    return true;
}

/* One element is done. True: go on with the next at once, as nobody wants attention and the budget
 * lasts. Else next_rip says whether the instruction comes again. */
static bool rep_next(struct cpu *c, const struct uop *u)
{
    if (!repeated(u))
        return false;
    reg_put(c, R_CX, u->asize, c->s.r[R_CX] - 1);
    if (rep_done(c, u))
        return false;
    if (cpu_requests(c) || cpu_icount(c) + 1 >= c->limit) {
        cpu_repeat(c);
        return false;
    }
    c->s.icount++; /* the engine counts the last one */
    return true;
}

/* Host address of the elements at seg:off, if several can be moved at once: upwards, within a page
 * that the TLB has, the segment and the run's budget. *many: how many, at most. */
static void *several(struct cpu *c, const struct uop *u, unsigned seg, uint64_t off, bool write,
                     unsigned *many)
{
    unsigned n = port_size(u);
    uint64_t mask = size_mask(u->asize), count = c->s.r[R_CX] & mask, la;
    if (!repeated(u) || (c->s.rflags & EF_DF) || (c->key & KEY_SINGLE) || (c->s.dr7 & 0xff) ||
        cpu_requests(c) || !seg_linear(c, seg, off, n, write ? ACC_WRITE : ACC_READ, &la))
        return NULL;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t at = la & (PAGE_SIZE - 1), used = cpu_icount(c);
    if ((write ? e->write : e->read) != la - at || used >= c->limit)
        return NULL;
    count = min_u64(count, c->limit - used);
    count = min_u64(count, (PAGE_SIZE - at) / n);
    if (mask - off < PAGE_SIZE)
        count = min_u64(count, (mask - off + 1) / n);
    if (count < 2 || !seg_linear(c, seg, off, (unsigned)count * n, ACC_READ, &la))
        return NULL;
    *many = (unsigned)count;
    return (void *)(e->host + at);
}

/* Elements are done, of which the last is not the string's: the engine counts that one. */
static void moved(struct cpu *c, const struct uop *u, unsigned reg, unsigned done)
{
    advance(c, u, reg, done * port_size(u));
    reg_put(c, R_CX, u->asize, c->s.r[R_CX] - done);
    c->s.icount += done;
}

/* Does what can be done of REP INS at once, but never its last element. */
static void in_several(struct cpu *c, const struct uop *u, uint16_t port)
{
    unsigned n, size = port_size(u), done;
    void *to = several(c, u, SEG_ES, c->s.r[R_DI] & size_mask(u->asize), true, &n);
    if (!to)
        return;
    cpu_lock(c);
    done = bus_in_many(c->bus, port, size, to, n - 1);
    cpu_unlock(c);
    moved(c, u, R_DI, done);
}

static void out_several(struct cpu *c, const struct uop *u, uint16_t port)
{
    unsigned n, size = port_size(u), done;
    const void *from = several(c, u, u->seg, c->s.r[R_SI] & size_mask(u->asize), false, &n);
    if (!from)
        return;
    cpu_lock(c);
    done = bus_out_many(c->bus, port, size, from, n - 1);
    cpu_unlock(c);
    moved(c, u, R_SI, done);
}

static bool in_one(struct cpu *c, const struct uop *u, uint16_t port, unsigned n)
{
    uint64_t off = c->s.r[R_DI] & size_mask(u->asize);
    if (!seg_probe(c, SEG_ES, off, n, ACC_WRITE))
        return false;
    debug_port(c, port, n);
    if (!seg_store(c, SEG_ES, off, n, port_read(c, port, n)))
        return false;
    advance(c, u, R_DI, n);
    return true;
}

bool h_ins(struct cpu *c, const struct uop *u)
{
    unsigned n = port_size(u);
    uint16_t port = (uint16_t)c->s.r[R_DX];
    if (!allowed(c, port, n)) /* even if there is nothing to do */
        return false;
    if (rep_done(c, u))
        return rep_nothing(c, u);
    /* what was read from the port could not be given back */
    if (!c->single)
        return cpu_fault(c, EXC_RESTART, "INS", 0, 0);
    do {
        in_several(c, u, port);
        if (!in_one(c, u, port, n))
            return false;
    } while (rep_next(c, u));
    return true;
}

bool h_outs(struct cpu *c, const struct uop *u)
{
    unsigned n = port_size(u);
    uint16_t port = (uint16_t)c->s.r[R_DX];
    uint64_t v;
    if (!allowed(c, port, n))
        return false;
    if (rep_done(c, u))
        return rep_nothing(c, u);
    do {
        out_several(c, u, port);
        if (!seg_load(c, u->seg, c->s.r[R_SI] & size_mask(u->asize), n, &v))
            return false;
        debug_port(c, port, n);
        port_write(c, port, n, (uint32_t)v);
        advance(c, u, R_SI, n);
    } while (rep_next(c, u));
    return true;
}
