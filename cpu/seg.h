/* Segment registers, descriptors and selectors (SDM 3A chapters 3 and 5).
 *
 * The functions here compute and check; they write CPU state only where they say so, so that a
 * transfer of control can check everything, access memory, and then commit. Error codes are the
 * selector with RPL cleared, plus `ext` (1 while an event is being delivered). */
#ifndef ISHI_CPU_SEG_H
#define ISHI_CPU_SEG_H

#include "cpu/mem.h"

/* System descriptor types (SDM 3A table 3-2). */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL16 = 4,
    SYS_TASK_GATE = 5,
    SYS_INT16 = 6,
    SYS_TRAP16 = 7,
    SYS_TSS32 = 9,
    SYS_TSS32_BUSY = 11,
    SYS_CALL32 = 12,
    SYS_INT32 = 14,
    SYS_TRAP32 = 15,
};

#define SEG_CODE    0x8 /* of the type: executable */
#define SEG_CONFORM 0x4 /* of a code segment's type */
#define SEG_RW      0x2 /* readable code, writable data */

/* A descriptor as it stands in its table. */
struct desc {
    uint64_t lo;
    uint64_t la; /* where it was read, for the accessed and busy bits */
};

static inline uint16_t desc_attr(const struct desc *d)
{
    return (uint16_t)(d->lo >> 40) & 0xf0ff;
}

static inline unsigned desc_type(const struct desc *d)
{
    return d->lo >> 40 & 0xf;
}

static inline unsigned desc_dpl(const struct desc *d)
{
    return d->lo >> 45 & 3;
}

static inline bool desc_present(const struct desc *d)
{
    return d->lo >> 47 & 1;
}

static inline bool desc_is_segment(const struct desc *d)
{
    return d->lo >> 44 & 1;
}

static inline bool desc_is_code(const struct desc *d)
{
    return (d->lo >> 40 & 0x18) == 0x18;
}

/* Code or data segment, or the low half of a system descriptor, as a segment register. */
struct seg desc_seg(const struct desc *d, uint16_t sel);

static inline bool sel_null(uint16_t sel)
{
    return !(sel & 0xfffc);
}

/* A fault whose error code is a selector. */
bool sel_fault(struct cpu *c, unsigned vector, uint16_t sel, unsigned ext, const char *why);

/* Reads sel's descriptor. Beyond its table's limit: `vector` with the selector. */
bool desc_read(struct cpu *c, uint16_t sel, unsigned vector, unsigned ext, struct desc *d);
/* The upper half of a 16-byte descriptor (long mode): its 8 bytes after d. */
bool desc_read_high(struct cpu *c, uint16_t sel, const struct desc *d, unsigned vector,
                    unsigned ext, uint64_t *hi);
/* Sets the accessed bit in memory and in d. */
bool desc_accessed(struct cpu *c, struct desc *d);

/* Is `la` within the code segment (or canonical, for 64-bit code)? Else #GP(ext). */
bool code_limit(struct cpu *c, const struct seg *cs, uint64_t rip, unsigned ext);

/* Checks a selector for SS at privilege level cpl, as MOV SS does (`vector` #GP) or a stack switch
 * or task switch (`vector` #TS), and gives the register's new contents, accessed bit set. */
bool seg_check_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                     struct seg *out);
/* The same for DS, ES, FS, GS (`vector` #GP, or #TS in a task switch). */
bool seg_check_data(struct cpu *c, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                    struct seg *out);

/* What a load in real (or, vm86, virtual-8086) mode makes of a register. */
struct seg seg_real(const struct cpu *c, unsigned seg, uint16_t sel);
struct seg seg_vm86(uint16_t sel);

/* MOV, POP, LDS …: loads ES, SS, DS, FS or GS with all checks. Ends with cpu_mode_changed(). */
bool seg_set(struct cpu *c, unsigned seg, uint16_t sel);

/* After a return to an outer level: data segments that are too privileged become null. */
void seg_drop_inner(struct cpu *c);

/* A stack that is being pushed to or popped from, apart from SS:rSP until it is committed. */
struct stack {
    struct seg ss;
    uint64_t sp;
    uint64_t mask;  /* ~0, 2^32 - 1 or 2^16 - 1 */
    uint64_t high;  /* bits of ESP beyond a 16-bit mask, which stay */
    unsigned acc;   /* ACC_SUPER when the stack belongs to a more privileged level */
    uint32_t error; /* error code of #SS */
    bool wide;      /* 64-bit: no limit, canonical addresses */
    bool checked;   /* protected mode: a null segment faults */
};

/* The present one. */
struct stack stack_now(struct cpu *c);
/* One about to be switched to. `wide`: for 64-bit code. */
struct stack stack_at(const struct seg *ss, uint64_t sp, bool wide);
bool stack_push(struct cpu *c, struct stack *st, unsigned size, uint64_t v);
bool stack_pop(struct cpu *c, struct stack *st, unsigned size, uint64_t *v);
/* What rSP becomes. */
uint64_t stack_sp(const struct stack *st);

#endif
