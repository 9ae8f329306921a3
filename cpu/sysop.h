/* What the helpers of system instructions share: operands, by the conventions of lift_help(). */
#ifndef ISHI_CPU_SYSOP_H
#define ISHI_CPU_SYSOP_H

#include "cpu/flags.h"
#include "cpu/helpers.h"
#include "cpu/seg.h"

/* Writes a general register as an instruction of that operand size does. */
static inline void reg_put(struct cpu *c, unsigned n, unsigned size, uint64_t v)
{
    uint64_t *r = &c->s.r[n];
    if (size == 8)
        *r = v;
    else if (size == 4)
        *r = (uint32_t)v;
    else if (size == 2)
        *r = (*r & ~0xffffull) | (v & 0xffff);
    else
        *r = (*r & ~0xffull) | (v & 0xff);
}

static inline uint64_t size_mask(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

static inline bool op_is_mem(const struct uop *u)
{
    return u->aux & 1;
}

/* The r/m operand, `size` bytes. */
static inline bool rm_get(struct cpu *c, const struct uop *u, unsigned size, uint64_t *v)
{
    if (op_is_mem(u))
        return seg_load(c, u->seg, c->s.r[R_T0], size, v);
    *v = c->s.r[u->a] & size_mask(size);
    return true;
}

/* Offset of something `n` bytes behind the memory operand. */
static inline uint64_t mem_offset(const struct cpu *c, const struct uop *u, unsigned n)
{
    return (c->s.r[R_T0] + n) & size_mask(u->asize);
}

static inline unsigned iopl(const struct cpu *c)
{
    return c->s.rflags >> 12 & 3;
}

static inline bool op_undefined(struct cpu *c, const char *why)
{
    return cpu_fault(c, EXC_UD, why, 0, 0);
}

/* POPF's and IRET's rules beyond privilege: replaces the flags in `mask` by those of v. */
static inline void flags_replace(struct cpu *c, uint64_t mask, uint64_t v)
{
    flags_set(c, (flags_get(c) & ~mask) | (v & mask));
}

#endif
