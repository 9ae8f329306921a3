/* One recorded step of an 80286, and what a later chip makes of it. */
#ifndef ISHI_TESTS_VECTORS286_H
#define ISHI_TESTS_VECTORS286_H

#include "cpu/cpu.h"

/* NT and IOPL are random in the recordings; bit 1 is not compared. */
#define FLAGS 0x0fd5u

/* The registers of a recording in its order, then those that only a later chip has. */
enum {
    AX,
    BX,
    CX,
    DX,
    CS,
    SS,
    DS,
    ES,
    SP,
    BP,
    SI,
    DI,
    IP,
    FLAGS_REG,
    RECORDED,
    FS = RECORDED,
    GS,
    REGS
};

struct byte_at {
    uint32_t address;
    uint8_t value;
};

#define CELLS 600

struct state {
    unsigned mask; /* registers present */
    uint16_t reg[REGS];
    struct byte_at ram[CELLS];
    unsigned cells;
};

struct vector {
    const char *file;
    unsigned index;
    char name[80];
    uint8_t bytes[16]; /* the instruction and its HLT */
    unsigned byte_count;
    struct state init, fina;
    bool has_exception;
    uint8_t exception;

    struct insn in;
    enum isa_result decoded;
    unsigned flags; /* those that are compared */

    /* What ports give, in order, and what is asked of them. */
    uint16_t port;
    uint8_t port_size; /* bytes of one access; 0: no port is read */
    uint8_t port_byte[CELLS];
    unsigned port_count; /* bytes */
};

/* A register after the step. */
static inline uint16_t final_reg(const struct vector *v, unsigned reg)
{
    return (v->fina.mask >> reg & 1 ? v->fina : v->init).reg[reg];
}

/* A way in which later chips differ from the 286. `adapt` turns the recording into what they do;
 * nothing is left out of the comparison by it. */
struct adaptation {
    const char *what, *source; /* the rule in words, and where the SDM has it */
    bool (*applies)(const struct vector *v);
    void (*adapt)(struct vector *v);
};

extern const struct adaptation adaptations[];
extern const size_t adaptation_count;

#endif
