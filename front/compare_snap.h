/* The architectural state of a CPU as a row of words with names, whoever it comes from: ishi's CPU,
 * a gdb stub's registers, a line of QEMU's log. What a source doesn't tell is marked so. */
#ifndef ISHI_FRONT_COMPARE_SNAP_H
#define ISHI_FRONT_COMPARE_SNAP_H

#include "cpu/cpu.h"
#include "front/gdb_client.h"

/* clang-format off */
enum snap_word {
    SW_R, SW_RIP = SW_R + 16, SW_FLAGS,
    SW_SEG, /* selector, base, limit, attributes of ES CS SS DS FS GS LDTR TR */
    SW_GDT = SW_SEG + 32, SW_IDT = SW_GDT + 2, /* base, limit */
    SW_CR0 = SW_IDT + 2, SW_CR2, SW_CR3, SW_CR4, SW_EFER, SW_KGS,
    SW_DR, SW_DR6 = SW_DR + 4, SW_DR7,
    SW_FCW, SW_FSW, SW_FTW,
    SW_SIG, SW_EXP = SW_SIG + 8, /* of the physical x87 registers */
    SW_MXCSR = SW_EXP + 8, SW_XMM, /* low and high half of each */
    SW_COUNT = SW_XMM + 32
};
/* clang-format on */
#define SW_SEL(s)   (SW_SEG + 4 * (s))
#define SW_BASE(s)  (SW_SEG + 4 * (s) + 1)
#define SW_LIMIT(s) (SW_SEG + 4 * (s) + 2)
#define SW_ATTR(s)  (SW_SEG + 4 * (s) + 3)
#define SNAP_LDTR   6
#define SNAP_TR     7
#define SNAP_ATTR   0xf0ffu /* bits of SW_ATTR: the limit's are left out */

struct snap {
    uint64_t w[SW_COUNT];
};

/* A snapshot of which some words, or bits of them, are known. */
struct partial {
    struct snap s;
    uint64_t known[SW_COUNT]; /* mask of bits */
};

void snap_take(struct snap *s, const struct cpu *c);
void snap_name(unsigned word, char *buf, size_t size);
/* By the name a gdb stub gives to a register; ~0: it is none of ours. */
unsigned snap_by_gdb_name(const char *name);
/* From the bytes of a reply to g. */
void snap_from_gdb(struct partial *p, const struct gdb_client *g, const uint8_t *regs, size_t n);
/* One line of QEMU's `-d cpu,fpu` log, without the newline. */
void snap_from_log(struct partial *p, const char *line);
/* Is it the first line of such a dump? */
bool snap_log_begins(const char *line);

#endif
