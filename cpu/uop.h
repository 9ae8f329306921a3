/* Micro-operations: what a guest instruction is lifted to, and what the interpreter and the
 * emitters run. Semantics are written once, as uops and as the C helpers that they call.
 *
 * Invariants:
 *  - the uops of one instruction are consecutive; block.insn[] says where each begins (the marker),
 *    so that a fault finds its instruction without a uop being spent on it;
 *  - nothing architectural is written before the last uop of the instruction that can fault: then a
 *    fault, or a restart, leaves the state as it was at the instruction's start;
 *  - temporaries (R_T0…) live within one instruction;
 *  - a helper that changes the mode, or after which interrupts must be looked at, is the last of
 * its block (row attribute A_END or A_BRANCH). */
#ifndef ISHI_CPU_UOP_H
#define ISHI_CPU_UOP_H

#include "cpu/cpu.h"

struct uop;

/* A C helper: an intricate instruction, or a part of one. May read and write registers by u->dst,
 * a, b; u->size is the operand size in bytes, u->seg the memory operand's segment. By convention
 * (see lift_help) the offset of the memory operand is in r[R_T0] and an immediate in u->imm. False:
 * fault, as everywhere. */
typedef bool uop_helper(struct cpu *c, const struct uop *u);

struct uop {
    uint16_t op;   /* enum uop_op */
    uint8_t dst;   /* enum reg, or a vector/x87/segment/control register for helpers */
    uint8_t a;     /* first source; base of a memory operand; for a store the value is dst */
    uint8_t b;     /* second source; index of a memory operand */
    uint8_t scale; /* shift of the index, 0..3; free otherwise */
    uint8_t size;  /* bytes */
    uint8_t seg;   /* enum isa_seg of a memory operand */
    uint8_t insn;  /* index of its instruction in the block */
    uint8_t asize; /* address size in bytes */
    uint16_t aux;  /* by operation: condition, flags … */
    uint16_t ip;   /* of its instruction, from the block's first byte */
    uint16_t next; /* of the following instruction, likewise */
    int64_t imm;   /* immediate or displacement */
    union {
        uop_helper *helper;
        const void *fn; /* vec_fn, x87 function … by operation */
        int64_t imm2;   /* a branch's target from the block's first byte; a stored immediate */
    };
};

/* Families of uops. A member's number is the family's first plus its variant, so that a lifter
 * computes it; the names only serve the table of handlers. X(name) for each. */
/* clang-format off */
#define UOP_SIZES(X, n) X(n##8) X(n##16) X(n##32) X(n##64)
/* dst = a op b, or a op imm; with flags, or without (…N). Variant: log2(size) + 4 for an immediate
 * + 8 without flags. 8- and 16-bit results merge into dst, 32-bit ones zero-extend. */
#define UOP_ALU(X, n) UOP_SIZES(X, n##_R) UOP_SIZES(X, n##_I) UOP_SIZES(X, n##_RN) UOP_SIZES(X, n##_IN)
/* The same with flags only. */
#define UOP_CMPS(X, n) UOP_SIZES(X, n##_R) UOP_SIZES(X, n##_I)
/* Addressing forms: flat 64-bit with base, with base and index; flat 32-bit likewise; FS/GS in
 * 64-bit mode; any segment. Variant: enum uop_form. */
#define UOP_FORMS(X, n) X(n##_B64) X(n##_X64) X(n##_B32) X(n##_X32) X(n##_G) X(n##_S)
/* Conditions that depend on the operands of the last subtraction or comparison. */
#define UOP_CONDS(X, n) X(n##_B) X(n##_AE) X(n##_Z) X(n##_NZ) X(n##_BE) X(n##_A) X(n##_S) X(n##_NS) \
    X(n##_L) X(n##_GE) X(n##_LE) X(n##_G)

#define UOPS(X)                                                                              \
    X(NOP)                                                                                   \
    /* dst = a, or imm */                                                                    \
    UOP_SIZES(X, MOV_R) UOP_SIZES(X, MOV_I)                                                  \
    /* byte 1 of a, zero-extended; and a into byte 1 of dst */                               \
    X(EXTH) X(INSH)                                                                          \
    X(ZX8) X(ZX16) X(ZX32)                                                                   \
    X(SX8_16) X(SX8_32) X(SX8_64) X(SX16_32) X(SX16_64) X(SX32_64)                           \
    /* dst = a + (b << scale) + imm */                                                       \
    X(LEA16) X(LEA32) X(LEA64)                                                               \
    X(BSWAP32) X(BSWAP64)                                                                    \
    UOP_ALU(X, ADD) UOP_ALU(X, OR) UOP_ALU(X, ADC) UOP_ALU(X, SBB)                           \
    UOP_ALU(X, AND) UOP_ALU(X, SUB) UOP_ALU(X, XOR)                                          \
    UOP_CMPS(X, CMP) UOP_CMPS(X, TEST)                                                       \
    UOP_SIZES(X, INC) UOP_SIZES(X, DEC)                                                      \
    UOP_ALU(X, ROL) UOP_ALU(X, ROR) UOP_ALU(X, RCL) UOP_ALU(X, RCR)                          \
    UOP_ALU(X, SHL) UOP_ALU(X, SHR) UOP_ALU(X, SAR)                                          \
    UOP_ALU(X, IMUL)                                                                         \
    UOP_CMPS(X, BT)                                                                          \
    /* dst = dst with CF … of the flags: condition aux; of a known SUB; zero or sign of cc_dst */ \
    X(COND) UOP_CONDS(X, COND_SUB8) UOP_CONDS(X, COND_SUB16) UOP_CONDS(X, COND_SUB32)        \
    UOP_CONDS(X, COND_SUB64) UOP_SIZES(X, COND_Z) UOP_SIZES(X, COND_NZ)                      \
    UOP_SIZES(X, COND_S) UOP_SIZES(X, COND_NS)                                               \
    /* dst = b ? a : dst; for 32 bits zero-extended either way */                            \
    X(CMOV16) X(CMOV32) X(CMOV64)                                                            \
    /* Loads: zero-extended, merged, sign-extended from → to bits */                         \
    UOP_FORMS(X, LDZ8) UOP_FORMS(X, LDZ16) UOP_FORMS(X, LDZ32) UOP_FORMS(X, LDZ64)           \
    UOP_FORMS(X, LDM8) UOP_FORMS(X, LDM16)                                                   \
    UOP_FORMS(X, LDS8_32) UOP_FORMS(X, LDS8_64) UOP_FORMS(X, LDS16_32)                       \
    UOP_FORMS(X, LDS16_64) UOP_FORMS(X, LDS32_64)                                            \
    /* Stores of register dst, of the immediate imm2 */                                      \
    UOP_FORMS(X, ST8) UOP_FORMS(X, ST16) UOP_FORMS(X, ST32) UOP_FORMS(X, ST64)               \
    UOP_FORMS(X, STI8) UOP_FORMS(X, STI16) UOP_FORMS(X, STI32) UOP_FORMS(X, STI64)           \
    /* Load with the intent to write, zero-extended; the store to the same place */          \
    UOP_FORMS(X, LDW8) UOP_FORMS(X, LDW16) UOP_FORMS(X, LDW32) UOP_FORMS(X, LDW64)           \
    UOP_SIZES(X, STW)                                                                        \
    /* Vector register dst: 4, 8, 16 bytes, zero-extended to 16 (what is above stays);       \
     * `size` bytes, zero-extended to 32. Stores likewise. aux: address bits that must be 0, \
     * else #GP(0) */                                                                        \
    UOP_FORMS(X, LDV4) UOP_FORMS(X, LDV8) UOP_FORMS(X, LDV16) UOP_FORMS(X, LDV)              \
    UOP_FORMS(X, STV4) UOP_FORMS(X, STV8) UOP_FORMS(X, STV16) UOP_FORMS(X, STV)              \
    /* Flat stacks: push a, imm; pop to dst */                                               \
    X(PUSH64) X(PUSH32) X(PUSHI64) X(PUSHI32) X(POP64) X(POP32)                              \
    /* Helper that may fault, or look at rip; helper that may fault, but looks at neither rip\
     * nor flags; helper that does neither (aux: flags that it always sets; scale: 1 if it   \
     * depends on flags); x87 helper that may fault, touches no flag and has all it needs in \
     * the uop, an address too (x87.h) */                                                    \
    X(HELP) X(CALLF) X(CALLQ) X(X87)                                                         \
    /* Fault with vector imm; #UD of an instruction that has no row */                       \
    X(RAISE) X(UNKNOWN)                                                                      \
    /* #GP(0) unless a, or imm2 from the block's start cut to `size`, is a valid target */   \
    X(TARGET) X(TARGET_R)                                                                    \
    /* Exits. All end the block. To imm2; on a condition, else on; through a register; to    \
     * next_rip */                                                                           \
    X(JMP) X(JCC) X(JNZ) X(JZ)                                                               \
    UOP_CONDS(X, JCC_SUB8) UOP_CONDS(X, JCC_SUB16) UOP_CONDS(X, JCC_SUB32)                   \
    UOP_CONDS(X, JCC_SUB64) UOP_SIZES(X, JCC_Z) UOP_SIZES(X, JCC_NZ)                         \
    UOP_SIZES(X, JCC_S) UOP_SIZES(X, JCC_NS)                                                 \
    UOP_CONDS(X, CMPJ_R8) UOP_CONDS(X, CMPJ_R16) UOP_CONDS(X, CMPJ_R32)                      \
    UOP_CONDS(X, CMPJ_R64) UOP_CONDS(X, CMPJ_I8) UOP_CONDS(X, CMPJ_I16)                      \
    UOP_CONDS(X, CMPJ_I32) UOP_CONDS(X, CMPJ_I64)                                            \
    UOP_CONDS(X, TESTJ_R8) UOP_CONDS(X, TESTJ_R16) UOP_CONDS(X, TESTJ_R32)                   \
    UOP_CONDS(X, TESTJ_R64) UOP_CONDS(X, TESTJ_I8) UOP_CONDS(X, TESTJ_I16)                   \
    UOP_CONDS(X, TESTJ_I32) UOP_CONDS(X, TESTJ_I64)                                          \
    X(CALL64) X(CALL32) X(RET64) X(RET32) X(JMP_R) X(CALLR64) X(CALLR32) X(EXIT)             \
    /* In front of a block on another page: is the translation still the same? */            \
    X(GUARD)
/* clang-format on */

enum uop_op {
#define X(n) UOP_##n,
    UOPS(X)
#undef X
        UOP_COUNT
};

enum uop_form { FORM_B64, FORM_X64, FORM_B32, FORM_X32, FORM_G, FORM_S, FORM_COUNT };

/* First members of the families. */
#define UOP_LD       UOP_LDZ8_B64
#define UOP_FIRST(n) UOP_##n##_R8
#define UOP_IMM      4 /* immediate variant of a UOP_ALU or UOP_CMPS family */
#define UOP_NOFLAGS  8 /* flagless variant of a UOP_ALU family */

/* Conditions in the order of UOP_CONDS. */
enum uop_cond {
    UC_B,
    UC_AE,
    UC_Z,
    UC_NZ,
    UC_BE,
    UC_A,
    UC_S,
    UC_NS,
    UC_L,
    UC_GE,
    UC_LE,
    UC_G,
    UC_COUNT
};

/* LOCK prefix, in aux of LDW and STW: an emitter for several threads makes the pair atomic. */
#define UOP_LOCK 1

const char *uop_name(unsigned op);

/* What a uop does to the arithmetic flags. Exits and helpers that look at everything are not
 * described: see uop_observes(). */
struct uop_effect {
    uint32_t sets;  /* always */
    uint32_t may;   /* perhaps, as a shift by CL */
    uint32_t reads; /* to work */
    bool has_quiet; /* there is a variant without flags */
};
struct uop_effect uop_effect(const struct uop *u);

/* Can the uop fault, leave the block, or look at all the state? Flags stay alive before it. */
bool uop_observes(const struct uop *u);
/* Is it the last of a block? */
bool uop_exits(unsigned op);

#endif
