/* Model-specific registers, as RDMSR and WRMSR do them at level 0 (SDM 4). */
#ifndef ISHI_CPU_MSR_H
#define ISHI_CPU_MSR_H

#include "cpu/cpu.h"

/* False: the register is not there, or does not take the value: #GP(0). *v is 0 then. */
bool cpu_msr_read(struct cpu *c, uint32_t n, uint64_t *v);
bool cpu_msr_write(struct cpu *c, uint32_t n, uint64_t v);

#endif
