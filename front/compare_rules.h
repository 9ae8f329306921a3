/* What is allowed to differ between ishi and the machine it is compared with, and why: one table.
 * Nothing else is ever forgiven. `ishi compare --rules` prints it, and each run says how often each
 * rule was used. */
#ifndef ISHI_FRONT_COMPARE_RULES_H
#define ISHI_FRONT_COMPARE_RULES_H

#include "front/compare_snap.h"

enum rule {
    RULE_NONE, /* executed by both and compared */
    /* Executed by ishi alone; what it changed is handed over to the other machine. */
    RULE_PORT,
    RULE_DEVICE,
    RULE_INTERRUPT,
    RULE_DMA,
    RULE_TIME,
    RULE_CPUID,
    RULE_MSR,
    RULE_RANDOM,
    RULE_HALT,
    RULE_CR8,
    RULE_FPU_IMAGE,
    RULE_PUSH_SEGMENT,
    RULE_WRITE_FAULT,
    /* Executed by both; the difference is forgiven. */
    RULE_UNDEFINED,
    RULE_RF,
    RULE_NULL_SEGMENT,
    RULE_POWER_ON_FPU,
    RULE_SYSTEM_SEGMENT,
    RULE_FLAGS_IMAGE,
    RULE_ACCESSED,
    RULE_RESET_CS,
    RULE_COUNT
};

struct compare_rule {
    const char *name;
    const char *insns; /* mnemonics of the table, separated by spaces; NULL: found otherwise */
    const char *text;  /* what and why */
};

extern const struct compare_rule compare_rules[RULE_COUNT];

/* The rule of each row of the instruction table; to be freed. */
uint8_t *rules_by_row(void);
/* How the instruction at the CPU's RIP is to be treated. */
enum rule rule_of_insn(const uint8_t *by_row, struct cpu *c, const struct insn *in);
/* Which rule, if any, forgives that bits `diff` of a word differ. `mine` is ishi's state. */
enum rule rule_of_word(const struct snap *mine, unsigned word, uint64_t diff, uint32_t undefined,
                       bool fpu_known, bool system_known);

#endif
