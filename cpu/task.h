/* The hardware task switch (SDM 3A 8.3). */
#ifndef ISHI_CPU_TASK_H
#define ISHI_CPU_TASK_H

#include "cpu/seg.h"

enum task_how { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET };

/* Switches to the task of a TSS selector. `return_rip` is what the old task goes on at. `ext` is
 * for error codes while an event is delivered. Sets next_rip. False: a fault, either with nothing
 * changed, or, once the new task's state is loaded, in the context of the new task: then s.rip is
 * the new task's. */
bool task_switch(struct cpu *c, uint16_t sel, enum task_how how, uint64_t return_rip, unsigned ext);

/* The stack of a privilege level from the running task's TSS. Not for long mode. */
bool task_stack(struct cpu *c, unsigned dpl, unsigned ext, uint16_t *ss, uint32_t *esp);
/* RSP0..2 (dpl), or with ist 1..7 the interrupt stack, from the TSS of long mode. */
bool task_stack64(struct cpu *c, unsigned dpl, unsigned ist, unsigned ext, uint64_t *rsp);

/* Is an access of n bytes at a port allowed by the I/O permission bitmap? Else #GP(0). */
bool task_io_allowed(struct cpu *c, uint16_t port, unsigned n);

#endif
