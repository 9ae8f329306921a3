/* The registers of a CPU as a table: names, sizes, kinds, and how each is read and written. What a
 * debugger shows and a comparison compares.
 *
 * There are two lists, in the order and by the names that gdb's descriptions of i386 and x86-64
 * have: org.gnu.gdb.i386.core, .sse, .avx, and then system registers. */
#ifndef ISHI_MACHINE_REGS_H
#define ISHI_MACHINE_REGS_H

#include "cpu/cpu.h"

#define REG_BYTES 32  /* at most */
#define REGS_MAX  160 /* rows of a list */

/* REGS_BOTH is REGS_64 and then the eight registers and eip by their 32-bit names, too: a debugger
 * that looks at 32-bit code of a 64-bit processor finds its own there. */
enum reg_set { REGS_32, REGS_64, REGS_BOTH };

enum reg_feature { REG_CORE, REG_SSE, REG_AVX, REG_SYSTEM, REG_FEATURES };

/* What a register is, which is also how it is got at; `n` of struct reg_row counts within it. */
enum reg_kind {
    REG_GPR, /* enum reg */
    REG_IP,
    REG_FLAGS,
    REG_SEG,  /* the selector; enum isa_seg, then LDTR, TR */
    REG_BASE, /* likewise */
    REG_LIMIT,
    REG_ATTR,
    REG_ST,
    REG_FPU, /* control, status, tag, FISEG, FIOFF, FOSEG, FOOFF, FOP */
    REG_XMM,
    REG_YMMH, /* upper halves */
    REG_MXCSR,
    REG_CR,
    REG_DR,
    REG_MSR,
    REG_TABLE_BASE, /* GDTR, IDTR */
    REG_TABLE_LIMIT,
};
#define REG_LDTR 6
#define REG_TR   7

struct reg_row {
    const char *name;
    const char *type; /* gdb's name of it */
    uint16_t bits;
    uint8_t feature; /* enum reg_feature */
    uint8_t kind;    /* enum reg_kind */
    uint32_t n;
};

const struct reg_row *regs_table(enum reg_set set, unsigned *count);

/* The row's value, bits / 8 bytes, the lowest first. Outside 64-bit mode a general register, rip
 * and flags are their low 32 bits. */
void regs_get(struct cpu *c, const struct reg_row *r, uint8_t *buf);
/* Writes it and follows up (translations, mode). False, and nothing is changed: the value is one
 * that the processor could not have, or the descriptor of a selector can't be had. */
bool regs_set(struct cpu *c, const struct reg_row *r, const uint8_t *buf);

#endif
