/* Memory as an instruction sees it: linear and segmented accesses that may fault.
 *
 * All return false with c->fault filled and nothing changed. Values are zero-extended. Any
 * alignment; an access across two pages checks both before it changes either. A store to a page
 * with translated code drops that code (block.h). Device memory met by an instruction that shares
 * its block with others raises EXC_RESTART, so a helper must not have changed anything before its
 * last access that can fault. */
#ifndef ISHI_CPU_MEM_H
#define ISHI_CPU_MEM_H

#include "cpu/tlb.h"

#define ACC_READ  0u
#define ACC_WRITE 1u /* a read-modify-write checks with ACC_WRITE before it reads */
#define ACC_EXEC  2u
#define ACC_SUPER 4u /* implicit supervisor access (GDT, IDT, TSS …), whatever the CPL */

/* Slow paths, in mmu.c. Size 1, 2, 4, 8. */
bool mmu_load(struct cpu *c, uint64_t la, unsigned size, unsigned acc, uint64_t *v);
bool mmu_store(struct cpu *c, uint64_t la, unsigned size, unsigned acc, uint64_t v);

/* n bytes, 1..4096, at any alignment; checks all before it touches any. */
bool lin_load_bytes(struct cpu *c, uint64_t la, unsigned acc, void *buf, unsigned n);
bool lin_store_bytes(struct cpu *c, uint64_t la, unsigned acc, const void *buf, unsigned n);
bool lin_probe(struct cpu *c, uint64_t la, unsigned acc, unsigned n);

/* Host memory that is the guest's: one access of 1, 2, 4 or 8 bytes, which other CPUs see whole
 * where it is aligned (SDM 3A 8.1.1). The C library's memcpy() with a size that varies may write a
 * byte twice. */
static inline uint64_t mem_get(const void *p, unsigned size)
{
    switch (size) {
    case 1: return *(const uint8_t *)p;
    case 2: return get_le16(p);
    case 4: return get_le32(p);
    default: return get_le64(p);
    }
}

static inline void mem_put(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1: *(uint8_t *)p = (uint8_t)v; break;
    case 2: put_le16(p, (uint16_t)v); break;
    case 4: put_le32(p, (uint32_t)v); break;
    default: put_le64(p, v);
    }
}

/* n bytes, one of which is; those of a scalar's size at once. */
static inline void mem_copy(void *to, const void *from, unsigned n)
{
    if (n == 8)
        memcpy(to, from, 8);
    else if (n == 4)
        memcpy(to, from, 4);
    else if (n == 16)
        memcpy(to, from, 16);
    else
        memcpy(to, from, n);
}

/* Linear accesses with the CPU's present rights. */
static inline bool lin_load(struct cpu *c, uint64_t la, unsigned size, uint64_t *v)
{
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->read;
    if (LIKELY(off <= PAGE_SIZE - size)) {
        *v = mem_get((const void *)(e->host + off), size);
        return true;
    }
    return mmu_load(c, la, size, ACC_READ, v);
}

static inline bool lin_store(struct cpu *c, uint64_t la, unsigned size, uint64_t v)
{
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    uint64_t off = la - e->write;
    if (LIKELY(off <= PAGE_SIZE - size)) {
        mem_put((void *)(e->host + off), size, v);
        return true;
    }
    return mmu_store(c, la, size, ACC_WRITE, v);
}

/* Implicit supervisor accesses: descriptor tables, task state. */
bool sys_load(struct cpu *c, uint64_t la, unsigned size, uint64_t *v);
bool sys_store(struct cpu *c, uint64_t la, unsigned size, uint64_t v);

/* Linear address of seg:off for an access of `size` bytes, or false: limit, type, null, canonical
 * (#SS for SS, else #GP; SDM 3A 5.3, 5.4). Addresses wrap as the mode says. Segment `seg` of enum
 * isa_seg; off already cut to the address size. */
bool seg_linear(struct cpu *c, unsigned seg, uint64_t off, unsigned size, unsigned acc,
                uint64_t *la);

/* seg_linear and the access. */
bool seg_load(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t *v);
bool seg_store(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t v);
/* n bytes, 1..4096, all checked before the first is written. For FXSAVE, SSE operands … */
bool seg_load_bytes(struct cpu *c, unsigned seg, uint64_t off, void *buf, unsigned n);
bool seg_store_bytes(struct cpu *c, unsigned seg, uint64_t off, const void *buf, unsigned n);
/* Alignment of an operand that is moved as bytes, where EFLAGS.AC asks for it (SDM 3A table 6-7).
 * align: 2, 4 or 8. The segment is asked first. */
bool seg_aligned(struct cpu *c, unsigned seg, uint64_t off, unsigned align, unsigned acc);
/* Checks that n bytes, 1..4096, can be accessed; changes nothing. */
bool seg_probe(struct cpu *c, unsigned seg, uint64_t off, unsigned n, unsigned acc);

/* Translates for fetch. False: fault. *paddr of la; *host: the page's bytes or NULL for a device.
 */
bool mmu_fetch(struct cpu *c, uint64_t la, uint64_t *paddr, const uint8_t **host);

/* The same where it changes nothing that the guest can see; else false, with no fault raised. */
bool mmu_fetch_again(struct cpu *c, uint64_t la, uint64_t *paddr);

/* For the monitor, the debugger and explanations: no side effect, no A/D bits, no fault. False if
 * not mapped. */
bool mmu_peek_translate(struct cpu *c, uint64_t la, uint64_t *paddr);
/* Likewise: may the program that runs write there? */
bool mmu_may_write(struct cpu *c, uint64_t la);
/* Reads what can be read without touching devices; returns the bytes read before the first gap. */
size_t mmu_peek(struct cpu *c, uint64_t la, void *buf, size_t n);

#endif
