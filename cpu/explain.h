/* A processor's state and misfortunes in words, for people.
 *
 * Nothing here changes the CPU or touches a device. Each function writes whole lines, each ended by
 * a newline, to a caller's buffer, always NUL-terminated and cut where it is full, and returns the
 * length that was written. */
#ifndef ISHI_CPU_EXPLAIN_H
#define ISHI_CPU_EXPLAIN_H

#include "cpu/cpu.h"

#define EXPLAIN_SIZE 8192 /* bytes that hold any of these texts */

/* The chain of faults in c->chain: the first one, which access or check raised it and why, what its
 * delivery tripped on, down to the shutdown. "" if there is none. */
size_t explain_faults(struct cpu *c, char *buf, size_t size);

/* General, segment, control and debug registers. */
size_t explain_registers(struct cpu *c, char *buf, size_t size);

/* The last blocks of code that were entered, and where the CPU stands, disassembled. */
size_t explain_code(struct cpu *c, char *buf, size_t size);

/* One instruction at offset `at` of the code segment as a line with its bytes, without a newline.
 * Returns its length; 0 when there is no memory or no instruction (the line says so). */
unsigned explain_insn(struct cpu *c, uint64_t at, char *buf, size_t size);

/* One fault in one line, without the newline: "#PF page fault at …: …". */
size_t explain_fault(struct cpu *c, const struct fault *f, char *buf, size_t size);

/* What a system descriptor of this type (0..15) is, in long mode (wide) or not: "16-bit TSS". */
const char *explain_system_type(unsigned type, bool wide);

/* "#PF page fault"; "vector 0x21" for one that is no exception. Static text for 0..31. */
const char *explain_vector(unsigned vector);

#endif
