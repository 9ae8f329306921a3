/* Where a 386 or later does otherwise than the 286, or where the recording doesn't say what came
 * from outside: the recording is made into what the SDM says, and compared in full. */
#include "tests/isa/vectors286.h"

#include <string.h>

/* Registers by their numbers in instructions. */
static const uint8_t order[8] = {AX, CX, DX, BX, SP, BP, SI, DI};
static const uint8_t segment[SEG_COUNT] = {ES, CS, SS, DS, FS, GS};

static const uint8_t *find(const struct state *s, uint32_t address)
{
    for (unsigned i = s->cells; i-- > 0;)
        if (s->ram[i].address == address)
            return &s->ram[i].value;
    return NULL;
}

static void put(struct state *s, uint32_t address, uint8_t value)
{
    CHECK(s->cells < CELLS);
    s->ram[s->cells++] = (struct byte_at){address, value};
}

static void put_word(struct state *s, uint16_t seg, uint16_t offset, uint16_t value)
{
    put(s, ((uint32_t)seg << 4) + offset, (uint8_t)value);
    put(s, ((uint32_t)seg << 4) + (uint16_t)(offset + 1), value >> 8);
}

static void set_final(struct vector *v, unsigned reg, uint16_t value)
{
    v->fina.reg[reg] = value;
    v->fina.mask |= 1u << reg;
}

/* --- LOCK --- */

/* The 286 executes the instruction, or has #UD itself. */
static bool lock_applies(const struct vector *v)
{
    return v->decoded == ISA_UNDEFINED && memchr(v->bytes, 0xf0, v->byte_count) &&
           !(v->has_exception && v->exception == EXC_UD);
}

/* A segment whose first byte neither the recording nor the pushed frame touches. */
static uint16_t free_segment(const struct vector *v)
{
    for (uint16_t seg = 0x40;; seg++)
        if (!find(&v->init, (uint32_t)seg << 4) && !find(&v->fina, (uint32_t)seg << 4))
            return seg;
}

/* #UD, as a fault before the instruction. The recording has no handler for it. */
static void lock_adapt(struct vector *v)
{
    const uint16_t *r = v->init.reg, sp = (uint16_t)(r[SP] - 6);
    v->has_exception = true;
    v->exception = EXC_UD;
    v->flags = FLAGS;
    v->fina = (struct state){.mask = 0};
    put_word(&v->fina, r[SS], sp, r[IP]);
    put_word(&v->fina, r[SS], (uint16_t)(sp + 2), r[CS]);
    put_word(&v->fina, r[SS], (uint16_t)(sp + 4), (r[FLAGS_REG] & FLAGS) | EF_FIXED);
    uint16_t handler = free_segment(v);
    put_word(&v->init, 0, 4 * EXC_UD, 0);
    put_word(&v->init, 0, 4 * EXC_UD + 2, handler);
    put(&v->init, (uint32_t)handler << 4, 0xf4);
    set_final(v, SP, sp);
    set_final(v, CS, handler);
    set_final(v, IP, 1);
    set_final(v, FLAGS_REG, r[FLAGS_REG] & ~(EF_IF | EF_TF));
}

/* --- Strings --- */

static bool is_string(const struct vector *v)
{
    return v->in.row && v->in.row->attr & (A_REP | A_REPZ);
}

static bool uses(const struct vector *v, enum isa_where where)
{
    for (unsigned i = 0; i < v->in.op_count; i++)
        if (v->in.op[i].where == where)
            return true;
    return false;
}

static bool string_applies(const struct vector *v)
{
    return is_string(v) && v->has_exception;
}

/* The first element that has a word at offset FFFF faults; SI, DI and CX are what they were before
 * it, and so point at it. */
static void string_adapt(struct vector *v)
{
    const uint16_t *r = v->init.reg;
    uint16_t step = r[FLAGS_REG] & EF_DF ? -2 : 2, si = r[SI], di = r[DI], cx = r[CX];
    bool reads = uses(v, W_X), writes = uses(v, W_Y);
    for (unsigned n = 0; !(reads && si == 0xffff) && !(writes && di == 0xffff); n++) {
        CHECK(n < 0x10000);
        si += step;
        di += step;
        cx--;
    }
    if (reads)
        set_final(v, SI, si);
    if (writes)
        set_final(v, DI, di);
    if (v->in.rep)
        set_final(v, CX, cx);
}

/* --- The stack segment --- */

static bool stack_applies(const struct vector *v)
{
    if (!v->has_exception || v->exception != EXC_GP || !v->in.row)
        return false;
    const char *name = v->in.row->name;
    bool source = is_string(v) && uses(v, W_X) && v->in.seg == SEG_SS && final_reg(v, SI) == 0xffff;
    return !strcmp(name, "pop") || !strcmp(name, "leave") || !strncmp(name, "ret", 3) || source ||
           (v->in.is_mem && v->in.seg == SEG_SS);
}

/* The handler of #GP becomes that of #SS: the same frame, the same place. */
static void stack_adapt(struct vector *v)
{
    v->exception = EXC_SS;
    for (unsigned i = 0; i < v->init.cells; i++)
        if (v->init.ram[i].address / 4 == EXC_GP)
            v->init.ram[i].address -= 4 * (EXC_GP - EXC_SS);
}

/* --- Ports --- */

static bool port_applies(const struct vector *v)
{
    return v->in.row && (!strcmp(v->in.row->name, "in") || !strncmp(v->in.row->name, "ins", 3));
}

static uint8_t final_byte(const struct vector *v, uint16_t offset)
{
    uint32_t at = ((uint32_t)v->init.reg[ES] << 4) + offset;
    const uint8_t *p = find(&v->fina, at);
    p = p ? p : find(&v->init, at);
    return p ? *p : 0;
}

/* What the recorded chip read, as it ended up in the accumulator or in memory. There is no port
 * beyond FFFF: it gives all ones, as it did for the recorded chip. */
static void port_adapt(struct vector *v)
{
    const uint16_t *r = v->init.reg, ax = final_reg(v, AX);
    bool immediate = (v->in.opcode & 0xfe) == 0xe4;
    v->port = immediate ? (uint16_t)v->in.imm : r[DX];
    v->port_size = v->in.opcode & 1 ? 2 : 1;
    uint16_t di = r[DI], step = r[FLAGS_REG] & EF_DF ? -v->port_size : v->port_size;
    unsigned n = v->in.rep ? (uint16_t)(r[CX] - final_reg(v, CX)) : v->has_exception ? 0 : 1;
    CHECK(n * v->port_size <= CELLS);
    for (unsigned i = 0; i < n; i++, di += step) {
        for (unsigned k = 0; k < v->port_size && v->port + k <= 0xffff; k++) {
            unsigned byte = is_string(v) ? final_byte(v, (uint16_t)(di + k)) : ax >> 8 * k;
            v->port_byte[v->port_count++] = (uint8_t)byte;
        }
    }
}

/* --- FS and GS --- */

static bool fs_gs_applies(const struct vector *v)
{
    return v->in.row && (v->in.opcode == 0x8c || v->in.opcode == 0x8e) &&
           (v->in.modrm >> 3 & 6) == 4;
}

static uint16_t address_16(const struct vector *v)
{
    uint16_t at = (uint16_t)v->in.disp;
    if (v->in.base != ISA_NO_REG)
        at += v->init.reg[order[v->in.base]];
    if (v->in.index != ISA_NO_REG)
        at += v->init.reg[order[v->in.index]];
    return at;
}

/* #UD on the 286; MOV like any other on a 386, with a selector of our own at its source. */
static void fs_gs_adapt(struct vector *v)
{
    unsigned reg = FS + (v->in.modrm >> 3 & 1), other = order[v->in.modrm & 7];
    uint16_t seg = v->init.reg[segment[v->in.seg]], at = v->in.is_mem ? address_16(v) : 0;
    v->has_exception = false;
    v->fina = (struct state){.mask = 0};
    set_final(v, IP, (uint16_t)(v->init.reg[IP] + v->byte_count));
    CHECK(at != 0xffff);
    if (v->in.opcode == 0x8e && v->in.is_mem) {
        put_word(&v->init, seg, at, 0x7e57);
        set_final(v, reg, 0x7e57);
    } else if (v->in.opcode == 0x8e) {
        set_final(v, reg, v->init.reg[other]);
    } else if (v->in.is_mem) {
        put_word(&v->fina, seg, at, v->init.reg[reg]);
    } else {
        set_final(v, other, v->init.reg[reg]);
    }
}

/* --- Length --- */

static bool long_applies(const struct vector *v)
{
    return v->has_exception && v->exception == EXC_GP && v->decoded == ISA_OK && v->in.length > 10;
}

/* Group 1's word arithmetic: what is written, and the flags. */
static uint16_t group1(unsigned digit, uint16_t a, uint16_t b, uint16_t *flags)
{
    bool minus = digit == 3 || digit == 5 || digit == 7, plus = digit == 0 || digit == 2;
    unsigned carry = digit == 2 || digit == 3 ? *flags & F_C : 0;
    uint32_t r = minus        ? (uint32_t)a - b - carry
                 : plus       ? (uint32_t)a + b + carry
                 : digit == 1 ? (uint32_t)a | b
                 : digit == 4 ? (uint32_t)a & b
                              : (uint32_t)a ^ b;
    uint16_t f = (r & 0xffff ? 0 : F_Z) | (r & 0x8000 ? F_S : 0) |
                 (__builtin_popcount(r & 0xff) & 1 ? 0 : F_P);
    if (plus || minus)
        f |= (r >> 16 & F_C) | ((a ^ b ^ r) & F_A) |
             ((a ^ r) & (minus ? a ^ b : ~(a ^ b)) & 0x8000 ? F_O : 0);
    *flags = (*flags & ~F_OSZAPC) | f;
    return digit == 7 ? a : (uint16_t)r;
}

/* 11 bytes, most of them prefixes, are executed. Those recorded are MOV, TEST and group 1 of a word
 * in memory, for which a value is made up, and an immediate. */
static void long_adapt(struct vector *v)
{
    uint16_t flags = v->init.reg[FLAGS_REG], seg = v->init.reg[segment[v->in.seg]];
    uint16_t at = address_16(v), old = 0x7e57, new = (uint16_t)v->in.imm;
    unsigned digit = v->in.modrm >> 3 & 7;
    v->has_exception = false;
    v->fina = (struct state){.mask = 0};
    CHECK(v->in.is_mem && at != 0xffff);
    if (v->in.opcode == 0x81) {
        new = group1(digit, old, new, &flags);
    } else if (v->in.opcode == 0xf7 && digit < 2) {
        group1(4, old, new, &flags);
        new = old;
    } else {
        CHECK(v->in.opcode == 0xc7);
    }
    put_word(&v->init, seg, at, old);
    put_word(&v->fina, seg, at, new);
    set_final(v, FLAGS_REG, flags);
    set_final(v, IP, (uint16_t)(v->init.reg[IP] + v->byte_count));
}

/* In the order in which they are applied: a rule sees what those before it made. */
const struct adaptation adaptations[] = {
    {"LOCK on an instruction that can't be locked is #UD", "SDM 2A, LOCK", lock_applies,
     lock_adapt},
    {"a string instruction that faults points at the element", "SDM 2B, REP", string_applies,
     string_adapt},
    {"a word at SS:FFFF is #SS, not #GP", "SDM 3A 6.15, interrupt 12", stack_applies, stack_adapt},
    {"MOV knows FS and GS", "SDM 2B, MOV", fs_gs_applies, fs_gs_adapt},
    {"an instruction may have 15 bytes, not 10", "SDM 2A 2.3.11", long_applies, long_adapt},
    {"IN, INS: the port gives what the recorded chip read", "SDM 2A, IN and INS", port_applies,
     port_adapt},
};
const size_t adaptation_count = ARRAY_LEN(adaptations);
