/* The software TLB: linear page → host page, for the fast path of every access.
 *
 * An entry serves reads, writes and fetches separately: a tag is the page's linear address where
 * that kind of access may go straight to host memory, else tlb_none() and the access takes the slow
 * path in mmu.c (not translated yet, no permission, device memory, ROM or a page with translated
 * code for writes, a watchpoint). One compare does hit, permission and page crossing: the access is
 * inside the page if la - tag <= PAGE_SIZE - size.
 *
 * What finds code by its virtual address keeps it only while the generation of its level stays:
 * that of user code is another one after each write of CR3, that of a kernel in global pages hardly
 * ever changes. Where the guest names its address spaces (PCID), user code has a generation in each
 * of the last few, and it comes back with the space. Entries do not: a program that comes back
 * touches few pages before it goes again, and a walk costs little.
 *
 * There is one set for each way of looking at memory, so that changing CPL or EFLAGS.AC is free:
 * cpu.tlb_ctx chooses the set; cpu_mode_changed() and whoever writes AC keep it right. */
#ifndef ISHI_CPU_TLB_H
#define ISHI_CPU_TLB_H

#include "cpu/cpu.h"

/* Notes that the set's slot for la takes an entry; to be called before it is filled. */
void tlb_note(struct cpu *c, unsigned ctx, uint64_t la, unsigned shift, bool global);

static inline unsigned tlb_index(uint64_t la)
{
    return (unsigned)(la >> PAGE_SHIFT) & (TLB_SIZE - 1);
}

static inline struct tlb_entry *tlb_slot(const struct cpu *c, unsigned ctx, uint64_t la)
{
    return &c->tlb->e[ctx][tlb_index(la)];
}

static inline struct tlb_info *tlb_info_of(const struct cpu *c, unsigned ctx, uint64_t la)
{
    return &c->tlb->info[ctx][tlb_index(la)];
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

/* Notes that code is fetched from la's page, at the present CPL. */
static inline void tlb_note_code(struct cpu *c, uint64_t la, bool global)
{
    struct tlb_code *k = &c->tlb->code[c->cpl == 3 ? 1 + c->tlb->space : 0];
    unsigned bit = (unsigned)(la >> PAGE_SHIFT) & (TLB_CODE - 1);
    k->pages[bit / 64] |= BIT(bit % 64);
    la &= ~(uint64_t)(PAGE_SIZE - 1);
    if (!k->any || la < k->first)
        k->first = la;
    if (!k->any || la > k->last)
        k->last = la;
    k->any = true;
    k->nonglobal = k->nonglobal || !global;
    k->global = k->global || global;
}

void tlb_init(struct tlb *t);
/* The same in memory that is zero, which most of it stays: pages that nobody touches cost nothing.
 */
void tlb_new(struct tlb *t);
/* Ends generated code's copies of entries; whoever takes an entry away that may have one calls it.
 */
void tlb_forget_copies(struct cpu *c);
void tlb_flush(struct cpu *c);           /* all, global ones too: CR0, CR4, EFER, the bus map */
void tlb_flush_nonglobal(struct cpu *c); /* CR3 */
/* CR3 with CR4.PCIDE: what was kept of the new PCID holds on, if that is wished (bit 63). */
void tlb_switch(struct cpu *c, unsigned pcid, bool keep);
void tlb_forget(struct cpu *c, unsigned pcid);   /* INVPCID of one that is not the present one */
void tlb_flush_page(struct cpu *c, uint64_t la); /* INVLPG: also global, also large pages */
/* A page fault takes the page's entries away, as INVLPG does (SDM 3A 4.10.4.1). */
void tlb_page_fault(struct cpu *c, uint64_t la);
/* Takes away the write permission of every entry for a physical page, of this CPU: it now holds
 * translated code. */
void tlb_protect_code(struct cpu *c, uint64_t paddr);

#endif
