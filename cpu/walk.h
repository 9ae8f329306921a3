/* The page walk: what the tables in memory say of a linear address (SDM 3A chapter 4).
 *
 * Private to the MMU and to explanations of faults. */
#ifndef ISHI_CPU_WALK_H
#define ISHI_CPU_WALK_H

#include "cpu/cpu.h"

/* One paging-structure entry on the way. */
struct walk_step {
    uint64_t addr; /* physical, of the entry; ~0: a PDPTE register */
    uint64_t value;
    uint8_t size;  /* bytes, 4 or 8 */
    uint8_t level; /* 1 page table, 2 directory, 3 pointer table, 4 PML4 */
};

enum walk_result { WALK_OK, WALK_NOT_PRESENT, WALK_RESERVED, WALK_NOT_CANONICAL };

struct walk {
    enum walk_result result;
    struct walk_step step[4];
    unsigned steps;       /* of step[], the one that ended the walk included */
    uint64_t paddr;       /* of la's 4 KiB */
    uint8_t shift;        /* log2 of the page's size */
    bool user, write, nx; /* rights, all levels together */
    bool global, dirty;
};

/* Reads the tables; changes nothing. With paging off: identity, all rights. */
void walk(const struct cpu *c, uint64_t la, struct walk *w);

/* Loads the four PDPTEs from the table at cr3 (PAE paging without long mode). False: one of them
 * has a reserved bit set, nothing was changed; the caller raises #GP(0) (SDM 3A 4.4.1). */
bool walk_load_pdptes(struct cpu *c, uint64_t cr3);

#endif
