/* Events: exceptions, interrupts, traps, INIT and start-up IPIs.
 *
 * How an engine uses them. Between blocks, when c->request (beside REQ_EXIT) or c->s.activity is
 * not 0, it calls cpu_interrupt(). An instruction that returned false left c->fault, which is not
 * EXC_RESTART or EXC_EXIT: the engine calls cpu_deliver(). After either, execution goes on at
 * c->s.rip, in the mode that c->key says, if c->s.activity is ACT_RUN; c->key may have KEY_SINGLE,
 * and then the next block must be one instruction (a REP string instruction: one iteration), after
 * which the request is looked at again.
 *
 * For both calls c->s.rip is the address of the instruction at the boundary (deliver: of the
 * instruction that raised the fault) and cpu_icount() is exact. */
#ifndef ISHI_CPU_INTR_H
#define ISHI_CPU_INTR_H

#include "cpu/cpu.h"

/* Delivers c->fault, and what comes of it: contributory faults, double fault, shutdown. False:
 * shutdown (c->s.activity is ACT_SHUTDOWN, c->chain says how it came). */
bool cpu_deliver(struct cpu *c);

/* Takes what is pending at an instruction boundary, by the priorities of SDM 3A table 6-2: INIT,
 * start-up IPI, debug traps, NMI, maskable interrupt, code breakpoint. Wakes from HLT. Clears what
 * it can of c->request. False: shutdown. */
bool cpu_interrupt(struct cpu *c);

/* Delivers a maskable interrupt that was acknowledged already. False: shutdown. */
bool cpu_take_vector(struct cpu *c, unsigned vector);

/* INT n, INT3, INTO and INT1 from inside the instruction: return address and frame point behind
 * it. On success next_rip is the handler's first byte. */
enum intr_soft { SOFT_INT, SOFT_INT3, SOFT_INTO, SOFT_INT1 };
bool intr_software(struct cpu *c, unsigned vector, enum intr_soft kind);

/* Sets c->request and KEY_SINGLE by what the flags, the debug registers and the APIC want now. Part
 * of cpu_mode_changed(); enough by itself after a change of IF or RF. */
void cpu_attention(struct cpu *c);

/* A REP that has iterations left: it goes on at the next boundary. What comes there finds RF set in
 * its frame, and a code breakpoint on the REP doesn't hit again (SDM 3B 17.3.1.1). */
void cpu_repeat(struct cpu *c);

/* STI and MOV SS: holds interrupts off at the boundary after this instruction. SHADOW_*. */
void cpu_shadow(struct cpu *c, uint8_t kind);

#endif
