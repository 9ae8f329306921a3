/* Results and flags of the arithmetic instructions on bytes, against a model that works bit by bit
 * and so shares nothing with the lazy flags. Each runs alone, and again with readers of its flags
 * in the same block, which takes the specialised paths. */
#include "unit.h"

#include <stdlib.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"
#include "tests/coverage.h"

#define CODE 0x1000

static uint8_t *ram;
static struct bus bus;
static struct clock ticks;
static struct rng rng;
static struct cpu cpu;

static uint64_t now(void *opaque)
{
    return cpu_icount(opaque);
}

static int begin(void **state)
{
    struct isa_features all = {{~0ull, ~0ull}};
    (void)state;
    ram = aligned_alloc(PAGE_SIZE, 1 << 20);
    memset(ram, 0, 1 << 20);
    bus_init(&bus, ram, 1 << 20, NULL);
    clock_init(&ticks, now, &cpu);
    cpu_init(&cpu, 0, 1, &bus, &ticks, &rng, NULL, &all);
    coverage_attach(&cpu);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu.s.seg[i] = (struct seg){.limit = 0xffffffff, .sel = 8, .attr = 0xc093};
    cpu.s.seg[SEG_CS].attr = 0xc09b;
    cpu.s.cr0 |= CR0_PE;
    tlb_flush(&cpu);
    cpu_mode_changed(&cpu);
    return 0;
}

static int end(void **state)
{
    struct cpu *c = &cpu;
    (void)state;
    soft_part(&c, 1);
    cpu_free(c);
    bus_free(&bus);
    free(ram);
    return 0;
}

/* The model: a full adder, bit by bit. */
struct result {
    uint8_t value;
    bool carry, aux, over;
};

static struct result add_bits(uint8_t a, uint8_t b, bool carry)
{
    struct result r = {0};
    bool into = carry;
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = (a >> i & 1u) + (b >> i & 1u) + carry;
        r.value |= (uint8_t)((sum & 1) << i);
        into = carry;
        carry = sum > 1;
        if (i == 3)
            r.aux = carry;
    }
    r.carry = carry;
    r.over = into != carry;
    return r;
}

static struct result sub_bits(uint8_t a, uint8_t b, bool borrow)
{
    struct result r = add_bits(a, (uint8_t)~b, !borrow);
    r.carry = !r.carry;
    r.aux = !r.aux;
    return r;
}

enum op { ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG, SHL1, SHR1, SAR1, OPS };

static struct result model(enum op op, uint8_t a, uint8_t b, bool carry)
{
    struct result r;
    switch (op) {
    case ADD: return add_bits(a, b, 0);
    case ADC: return add_bits(a, b, carry);
    case SUB: return sub_bits(a, b, 0);
    case SBB: return sub_bits(a, b, carry);
    case CMP: r = sub_bits(a, b, 0); break;
    case NEG: return sub_bits(0, a, 0);
    case INC:
        r = add_bits(a, 1, 0);
        r.carry = carry;
        return r;
    case DEC:
        r = sub_bits(a, 1, 0);
        r.carry = carry;
        return r;
    case OR: return (struct result){.value = a | b};
    case AND:
    case TEST: return (struct result){.value = a & b};
    case XOR: return (struct result){.value = a ^ b};
    case SHL1: return (struct result){(uint8_t)(a << 1), a >> 7, 0, (a >> 7) != (a >> 6 & 1)};
    case SHR1: return (struct result){a >> 1, a & 1, 0, a >> 7};
    default: return (struct result){(uint8_t)((int8_t)a >> 1), a & 1, 0, 0};
    }
    return r;
}

static uint32_t flags_of(const struct result *r)
{
    unsigned ones = 0;
    for (unsigned i = 0; i < 8; i++)
        ones += r->value >> i & 1;
    return (r->carry ? F_C : 0) | (ones % 2 ? 0 : F_P) | (r->aux ? F_A : 0) | (r->value ? 0 : F_Z) |
           (r->value & 0x80 ? F_S : 0) | (r->over ? F_O : 0);
}

/* op al, bl or op al */
static const uint8_t bytes[OPS][2] = {
    [ADD] = {0x00, 0xd8},  [OR] = {0x08, 0xd8},   [ADC] = {0x10, 0xd8},  [SBB] = {0x18, 0xd8},
    [AND] = {0x20, 0xd8},  [SUB] = {0x28, 0xd8},  [XOR] = {0x30, 0xd8},  [CMP] = {0x38, 0xd8},
    [TEST] = {0x84, 0xd8}, [INC] = {0xfe, 0xc0},  [DEC] = {0xfe, 0xc8},  [NEG] = {0xf6, 0xd8},
    [SHL1] = {0xd0, 0xe0}, [SHR1] = {0xd0, 0xe8}, [SAR1] = {0xd0, 0xf8},
};

static void load(const uint8_t *code, size_t n)
{
    memcpy(ram + CODE, code, n);
    if (cpu.blocks)
        blocks_invalidate(cpu.blocks, CODE, n);
}

static void run(uint8_t a, uint8_t b, bool carry, unsigned n)
{
    cpu.s.r[R_AX] = 0x5500 | a;
    cpu.s.r[R_BX] = b;
    cpu.s.rip = CODE;
    flags_set_arith(&cpu, carry ? F_OSZAPC : 0);
    soft_run(&cpu, n);
}

/* The interesting bytes and some others. */
static uint8_t sample(unsigned i)
{
    static const uint8_t edges[] = {0,    1,    2,    7,    8,    0xf,  0x10, 0x40,
                                    0x7e, 0x7f, 0x80, 0x81, 0xf0, 0xfe, 0xff};
    return i < sizeof edges ? edges[i] : (uint8_t)(i * 37);
}
#define SAMPLES 40

static void test_flags(void **state)
{
    (void)state;
    for (unsigned op = 0; op < OPS; op++) {
        const uint8_t code[] = {bytes[op][0], bytes[op][1], 0xeb, 0xfe};
        load(code, sizeof code);
        for (unsigned i = 0; i < SAMPLES * SAMPLES * 2; i++) {
            uint8_t a = sample(i % SAMPLES), b = sample(i / SAMPLES % SAMPLES);
            bool carry = i / SAMPLES / SAMPLES;
            struct result r = model((enum op)op, a, b, carry);
            uint32_t mask = op == AND || op == OR || op == XOR || op == TEST || op >= SHL1
                                ? F_OSZPC
                                : F_OSZAPC; /* AF is undefined there */
            run(a, b, carry, 1);
            assert_int_equal(flags_arith(&cpu) & mask, flags_of(&r) & mask);
            assert_int_equal(cpu.s.r[R_AX] & 0xff, op == CMP || op == TEST ? a : r.value);
            assert_int_equal(cpu.s.r[R_AX] >> 8, 0x55);
        }
    }
}

static bool true_by(uint32_t f, unsigned cond)
{
    bool c = f & F_C, z = f & F_Z, s = f & F_S, o = f & F_O, p = f & F_P;
    const bool yes[8] = {o, c, z, c || z, s, p, s != o, z || s != o};
    return yes[cond / 2] != (cond & 1);
}

/* op; setcc cl; jcc over a move: the flags are known inside the block. */
static void test_conditions(void **state)
{
    (void)state;
    for (unsigned op = 0; op < OPS; op++)
        for (unsigned cond = 0; cond < 16; cond++) {
            const uint8_t code[] = {0xb2,
                                    1, /* mov dl, 1 */
                                    bytes[op][0],
                                    bytes[op][1],
                                    0x0f,
                                    (uint8_t)(0x90 | cond),
                                    0xc1, /* setcc cl */
                                    bytes[CMP][0],
                                    bytes[CMP][1], /* kills them */
                                    0xb4,
                                    0x55, /* mov ah, 55h */
                                    bytes[op][0],
                                    bytes[op][1],
                                    (uint8_t)(0x70 | cond),
                                    2,
                                    0xb2,
                                    0, /* mov dl, 0 */
                                    0xeb,
                                    0xfe};
            load(code, sizeof code);
            for (unsigned i = 0; i < SAMPLES * 8; i++) {
                uint8_t a = sample(i % SAMPLES), b = sample(i * 7 % SAMPLES);
                struct result r = model((enum op)op, a, b, i & 1);
                run(a, b, i & 1, 8);
                assert_int_equal(cpu.s.r[R_CX] & 1, true_by(flags_of(&r), cond));
                uint8_t second = op == CMP || op == TEST ? a : r.value;
                r = model((enum op)op, second, b, sub_bits(second, b, 0).carry);
                assert_int_equal(cpu.s.r[R_DX] & 1, true_by(flags_of(&r), cond));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_conditions),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
