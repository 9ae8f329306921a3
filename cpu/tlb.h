/* The software TLB: linear page → host page, for the fast path of every access.
 *
 * An entry serves reads, writes and fetches separately: a tag is the page's linear address where
 * that kind of access may go straight to host memory, else tlb_none() and the access takes the slow
 * path in mmu.c (not translated yet, no permission, device memory, ROM or a page with translated
 * code for writes, a watchpoint). One compare does hit, permission and page crossing: the access is
 * inside the page if la - tag <= PAGE_SIZE - size.
 *
 * There is one set for each way of looking at memory, so that changing CPL or EFLAGS.AC is free:
 * cpu.tlb_ctx chooses the set; cpu_mode_changed() and whoever writes AC keep it right. */
#ifndef ISHI_CPU_TLB_H
#define ISHI_CPU_TLB_H

#include "cpu/cpu.h"

#define TLB_BITS  11
#define TLB_SIZE  (1u << TLB_BITS)
#define TLB_LARGE 1024 /* bits, a power of two */

enum tlb_ctx {
    TLB_SUPER,    /* CPL 0..2, or implicit supervisor access; SMAP applies where it is on */
    TLB_SUPER_AC, /* CPL 0..2 with EFLAGS.AC: SMAP lets through */
    TLB_USER,     /* CPL 3 */
    TLB_USER_AC,  /* CPL 3 with alignment checks on: stays empty, so that all go the slow way */
    TLB_CTX_COUNT
};

struct tlb_entry {
    uint64_t read, write, exec; /* tags */
    uintptr_t host;             /* of the page's first byte */
    uint64_t paddr;             /* of the page, A20 applied */
    uint8_t global;             /* survives a CR3 write */
    uint8_t listed;             /* is in `listed` below */
    uint8_t shift;              /* log2 of the size of the page it is a piece of: 12, 21, 22, 30 */
    uint8_t unused[5];
};

struct tlb {
    struct tlb_entry e[TLB_CTX_COUNT][TLB_SIZE];
    uint64_t generation; /* counts flushes of any kind; virtual-address caches compare it */
    /* The slots that took a non-global entry since the last flush, so that writing CR3 costs what
     * was used: context * TLB_SIZE + slot. */
    uint16_t listed[TLB_CTX_COUNT * TLB_SIZE];
    unsigned listed_count;
    uint32_t clean; /* bit n: nothing was put into set n since it was emptied */
    /* Where pieces of large pages may be: a filter of bits, by linear address / 2 MiB. huge: there
     * are pieces of 1 GiB pages. */
    uint64_t large[TLB_LARGE / 64];
    bool huge;
    bool globals; /* there may be global entries, which are not listed */
};

/* Notes that the set's slot for la takes an entry; to be called before it is filled. */
void tlb_note(struct cpu *c, unsigned ctx, uint64_t la, unsigned shift, bool global);

static inline struct tlb_entry *tlb_slot(const struct cpu *c, unsigned ctx, uint64_t la)
{
    return &c->tlb->e[ctx][(la >> PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/* The tag that no access matches in a slot: of a page that belongs in another slot. One tag for all
 * would be some page's, and a stray pointer into it would find no host memory behind it. */
static inline uint64_t tlb_none(unsigned slot)
{
    return slot ? 0 : PAGE_SIZE;
}

static inline bool tlb_is_none(uint64_t tag, unsigned slot)
{
    return ((tag >> PAGE_SHIFT) & (TLB_SIZE - 1)) != slot;
}

void tlb_init(struct tlb *t);
void tlb_flush(struct cpu *c);           /* all, global ones too: CR0, CR4, EFER, the bus map */
void tlb_flush_nonglobal(struct cpu *c); /* CR3 */
void tlb_flush_page(struct cpu *c, uint64_t la); /* INVLPG: also global, also large pages */
/* Takes away the write permission of every entry for a physical page, of this CPU: it now holds
 * translated code. */
void tlb_protect_code(struct cpu *c, uint64_t paddr);

#endif
