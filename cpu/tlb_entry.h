/* What the software TLB is made of (tlb.h says how it works). Apart, because it is a part of struct
 * cpu: generated code reaches an entry from the CPU's address alone. */
#ifndef ISHI_CPU_TLB_ENTRY_H
#define ISHI_CPU_TLB_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#define TLB_BITS   11
#define TLB_SIZE   (1u << TLB_BITS)
#define TLB_LARGE  1024 /* bits, a power of two */
#define TLB_CODE   8192 /* bits, a power of two */
#define TLB_SPACES 4    /* of user code, by PCID */

enum tlb_ctx {
    TLB_SUPER,    /* CPL 0..2, or implicit supervisor access; SMAP applies where it is on */
    TLB_SUPER_AC, /* CPL 0..2 with EFLAGS.AC: SMAP lets through */
    TLB_USER,     /* CPL 3 */
    TLB_USER_AC,  /* CPL 3 with alignment checks on: stays empty, so that all go the slow way */
    TLB_CTX_COUNT
};

/* What every access looks at; 32 bytes on 64-bit hosts, a power of two, for a cheap index. */
struct tlb_entry {
    uint64_t read, write; /* tags */
    uintptr_t host;       /* of the page's first byte */
    uintptr_t addend;     /* host - linear address of the page */
};
_Static_assert(sizeof(uintptr_t) != 8 || sizeof(struct tlb_entry) == 32,
               "generated code shifts by 5");

/* The rest of it. */
struct tlb_info {
    uint64_t exec;  /* tag */
    uint64_t code;  /* tag: could be written straight away, but for the code made from the page */
    uint64_t paddr; /* of the page, A20 applied */
    uint8_t global; /* survives a CR3 write */
    uint8_t listed; /* is in `listed` below */
    uint8_t shift;  /* log2 of the size of the page it is a piece of: 12, 21, 22, 30 */
    uint8_t kept;   /* generated code has a copy: jit_cpu.slot */
    uint8_t unused[4];
};

/* Translations that code was found by: a supervisor's, or of user code (CPL 3) under one PCID. */
struct tlb_code {
    uint64_t generation;           /* another one after a flush that may have changed one of them */
    uint64_t pages[TLB_CODE / 64]; /* a filter of bits: where code was fetched under it */
    uint64_t first, last;          /* the lowest and the highest page of that */
    bool nonglobal, global;        /* from pages that are not global; from such as are */
    bool any;
};

struct tlb {
    struct tlb_entry e[TLB_CTX_COUNT][TLB_SIZE];
    struct tlb_info info[TLB_CTX_COUNT][TLB_SIZE];
    uint64_t generation; /* counts flushes of any kind */
    /* Caches of code by virtual address compare the generation. 1 + n: user code of space n. */
    struct tlb_code code[1 + TLB_SPACES];
    uint64_t generations; /* of code, given so far: no two are the same */
    /* What the spaces hold: a PCID + 1, or 0 for one that nobody comes back to. */
    uint16_t pcid[TLB_SPACES];
    uint64_t used[TLB_SPACES]; /* `generation` when it was left */
    unsigned space;            /* the present one */
    /* The slots that took a non-global entry since the last flush, so that writing CR3 costs what
     * was used: context * TLB_SIZE + slot. */
    uint16_t listed[TLB_CTX_COUNT * TLB_SIZE];
    unsigned listed_count;
    uint32_t clean; /* bit n: nothing was put into set n since it was emptied */
    /* Where pieces of large pages may be: a filter of bits, by half of the address space and linear
     * address / 2 MiB. huge: there are pieces of 1 GiB pages. */
    uint64_t large[2][TLB_LARGE / 64];
    bool huge;
    bool globals; /* there may be global entries, which are not listed */
};

#endif
