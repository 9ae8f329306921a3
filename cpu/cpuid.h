/* CPUID: what the processor says of itself. Answers come from the feature set of its model. */
#ifndef ISHI_CPU_CPUID_H
#define ISHI_CPU_CPUID_H

#include "cpu/cpu.h"

/* What the local APIC's timer counts before its divider, as CPUID leaf 15h tells kernels. */
#define APIC_TIMER_HZ 1000000000u

struct cpuid_regs {
    uint32_t r[4]; /* eax, ebx, ecx, edx */
};

/* The answer to a leaf and sub-leaf, as the CPU would give it now (some bits follow CR4). */
struct cpuid_regs cpuid_leaf(const struct cpu *c, uint32_t leaf, uint32_t sub);

/* Family, model, stepping: leaf 1 eax, and EDX after RESET. */
uint32_t cpuid_signature(const struct cpu *c);

/* Width of a physical address, in bits: what page-table entries may hold. */
unsigned cpu_paddr_bits(const struct cpu *c);

/* A processor model by name. */
struct cpu_model {
    const char *name;
    const char *text; /* one line, for the list of models */
    struct isa_features features;
};

/* NULL: no such model. "" or NULL names the default. */
const struct cpu_model *cpu_model_find(const char *name);
/* The n-th model, or NULL beyond the last. */
const struct cpu_model *cpu_model_at(unsigned n);

#endif
