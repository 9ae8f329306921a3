/* Handlers of moves and arithmetic. Register operands hold anything above their size. */
#include "cpu/interp.h"

/* A write of a register: small sizes merge, as read-modify-write of the whole register, because
 * reading 8 bytes just after storing 1 would wait for the store. */
#define PUT8(v)  (R(u->dst) = (R(u->dst) & ~0xffull) | (uint8_t)(v))
#define PUT16(v) (R(u->dst) = (R(u->dst) & ~0xffffull) | (uint16_t)(v))
#define PUT32(v) (R(u->dst) = (uint32_t)(v))
#define PUT64(v) (R(u->dst) = (uint64_t)(v))
#define LG8      0
#define LG16     1
#define LG32     2
#define LG64     3

#define CC(kind, bits, result, second) \
    (c->s.cc_op = CC_##kind * 4 + LG##bits, c->s.cc_dst = (result), c->s.cc_src = (second))

/* The same body for the four sizes: T is the unsigned type, S the signed one. */
#define EACH_SIZE(M, ...)                 \
    M(8, uint8_t, int8_t, __VA_ARGS__)    \
    M(16, uint16_t, int16_t, __VA_ARGS__) \
    M(32, uint32_t, int32_t, __VA_ARGS__) \
    M(64, uint64_t, int64_t, __VA_ARGS__)

OP(NOP)
{
    NEXT;
}

#define MOVES(bits, T, S, x) \
    OP(MOV_R##bits)          \
    {                        \
        PUT##bits(R(u->a));  \
        NEXT;                \
    }                        \
    OP(MOV_I##bits)          \
    {                        \
        PUT##bits(u->imm);   \
        NEXT;                \
    }
EACH_SIZE(MOVES, )

#define UNARY(name, expression) \
    OP(name)                    \
    {                           \
        uint64_t a = R(u->a);   \
        expression;             \
        NEXT;                   \
    }
UNARY(EXTH, PUT64((uint8_t)(a >> 8)))
UNARY(INSH, PUT64((R(u->dst) & ~0xff00ull) | (a & 0xff) << 8))
UNARY(ZX8, PUT64((uint8_t)a))
UNARY(ZX16, PUT64((uint16_t)a))
UNARY(ZX32, PUT64((uint32_t)a))
UNARY(SX8_16, PUT16((int8_t)a))
UNARY(SX8_32, PUT32((int8_t)a))
UNARY(SX8_64, PUT64((int8_t)a))
UNARY(SX16_32, PUT32((int16_t)a))
UNARY(SX16_64, PUT64((int16_t)a))
UNARY(SX32_64, PUT64((int32_t)a))
UNARY(LEA16, PUT16(a + (R(u->b) << u->scale) + (uint64_t)u->imm))
UNARY(LEA32, PUT32(a + (R(u->b) << u->scale) + (uint64_t)u->imm))
UNARY(LEA64, PUT64(a + (R(u->b) << u->scale) + (uint64_t)u->imm))
UNARY(BSWAP32, PUT32(__builtin_bswap32((uint32_t)a)))
UNARY(BSWAP64, PUT64(__builtin_bswap64(a)))

/* dst = a op b. `flags` is done after r is known, before dst is written. */
#define BINARY(name, bits, T, S, second, expression, flags, put) \
    OP(name)                                                     \
    {                                                            \
        T a = (T)R(u->a), b = (T)(second), r;                    \
        expression;                                              \
        flags;                                                   \
        put;                                                     \
        NEXT;                                                    \
    }
#define ALU(bits, T, S, name, expression, flags)                                    \
    BINARY(name##_R##bits, bits, T, S, R(u->b), expression, flags, PUT##bits(r))    \
    BINARY(name##_I##bits, bits, T, S, u->imm, expression, flags, PUT##bits(r))     \
    BINARY(name##_RN##bits, bits, T, S, R(u->b), expression, (void)0, PUT##bits(r)) \
    BINARY(name##_IN##bits, bits, T, S, u->imm, expression, (void)0, PUT##bits(r))
#define ADDS(bits, T, S, x) ALU(bits, T, S, ADD, r = (T)(a + b), CC(ADD, bits, r, b))
#define SUBS(bits, T, S, x) ALU(bits, T, S, SUB, r = (T)(a - b), CC(SUB, bits, r, b))
#define ANDS(bits, T, S, x) ALU(bits, T, S, AND, r = a & b, CC(LOGIC, bits, r, 0))
#define ORS(bits, T, S, x)  ALU(bits, T, S, OR, r = a | b, CC(LOGIC, bits, r, 0))
#define XORS(bits, T, S, x) ALU(bits, T, S, XOR, r = a ^ b, CC(LOGIC, bits, r, 0))
#define ADCS(bits, T, S, x)                                                   \
    ALU(bits, T, S, ADC, unsigned in = flags_carry(c);                        \
        r = (T)(a + b + in), CC(MIX, bits, r,                                 \
                                ((a ^ b ^ r) & F_A) | (in ? r <= a : r < a) | \
                                    ((uint64_t)(((a ^ r) & (b ^ r)) >> (bits - 1) & 1) << 11)))
#define SBBS(bits, T, S, x)                                                   \
    ALU(bits, T, S, SBB, unsigned in = flags_carry(c);                        \
        r = (T)(a - b - in), CC(MIX, bits, r,                                 \
                                ((a ^ b ^ r) & F_A) | (in ? a <= b : a < b) | \
                                    ((uint64_t)(((a ^ b) & (a ^ r)) >> (bits - 1) & 1) << 11)))
EACH_SIZE(ADDS, )
EACH_SIZE(SUBS, )
EACH_SIZE(ANDS, )
EACH_SIZE(ORS, )
EACH_SIZE(XORS, )
EACH_SIZE(ADCS, )
EACH_SIZE(SBBS, )

#define CMPS(bits, T, S, x)                                                                \
    BINARY(CMP_R##bits, bits, T, S, R(u->b), r = (T)(a - b), CC(SUB, bits, r, b), (void)0) \
    BINARY(CMP_I##bits, bits, T, S, u->imm, r = (T)(a - b), CC(SUB, bits, r, b), (void)0)  \
    BINARY(TEST_R##bits, bits, T, S, R(u->b), r = a & b, CC(LOGIC, bits, r, 0), (void)0)   \
    BINARY(TEST_I##bits, bits, T, S, u->imm, r = a & b, CC(LOGIC, bits, r, 0), (void)0)
EACH_SIZE(CMPS, )

#define STEPS(bits, T, S, name, sign)    \
    OP(name##bits)                       \
    {                                    \
        T r = (T)(R(u->a) sign 1);       \
        unsigned carry = flags_carry(c); \
        CC(name, bits, r, carry);        \
        PUT##bits(r);                    \
        NEXT;                            \
    }
EACH_SIZE(STEPS, INC, +)
EACH_SIZE(STEPS, DEC, -)

/* Shifts by a count n that is cut to 5 or 6 bits. The lifter makes no shift by the constant 0; by
 * CL it may be 0, and then the flags stay (SDM 2B SAL/SAR/SHL/SHR). OF of longer shifts and
 * rotates is undefined; Intel's chips give what a shift of the same operand by 1 would. */
#define COUNT(bits) (bits == 64 ? 63 : 31)
#define SHIFT_BODY(bits, T, S, count, expression, flags) \
    {                                                    \
        T a = (T)R(u->a), r;                             \
        unsigned n = (unsigned)(count)&COUNT(bits);      \
        expression;                                      \
        flags;                                           \
        PUT##bits(r);                                    \
        NEXT;                                            \
    }
#define SHIFT(bits, T, S, name, expression, flags)            \
    OP(name##_R##bits)                                        \
    SHIFT_BODY(bits, T, S, R(u->b), expression, if (n) flags) \
    OP(name##_I##bits)                                        \
    SHIFT_BODY(bits, T, S, u->imm, expression, flags)         \
    OP(name##_RN##bits)                                       \
    SHIFT_BODY(bits, T, S, R(u->b), expression, (void)0)      \
    OP(name##_IN##bits) SHIFT_BODY(bits, T, S, u->imm, expression, (void)0)
/* CF and OF in the places of CC_MIX. */
#define CO(carry, over) ((uint64_t)(carry) | (uint64_t)(over) << 11)
#define MSB(v, bits)    ((v) >> (bits - 1) & 1)

/* Of a shift or rotate to the left by one: does the sign change? */
#define OF_LEFT(a, bits) (MSB(a, bits) ^ ((a) >> (bits - 2) & 1))

static inline uint64_t shl_flags(uint64_t a, unsigned n, unsigned bits)
{
    uint64_t carry = n <= bits ? a >> (bits - n) & 1 : 0;
    return CO(carry, OF_LEFT(a, bits));
}

#define SHLS(bits, T, S, x) \
    SHIFT(bits, T, S, SHL, r = (T)((uint64_t)a << n), CC(MIX, bits, r, shl_flags(a, n, bits)))
#define SHRS(bits, T, S, x)                           \
    SHIFT(bits, T, S, SHR, r = (T)((uint64_t)a >> n), \
          CC(MIX, bits, r, CO((uint64_t)a >> (n - 1) & 1, MSB(a, bits))))
#define SARS(bits, T, S, x)                             \
    SHIFT(bits, T, S, SAR, r = (T)((int64_t)(S)a >> n), \
          CC(MIX, bits, r, CO((int64_t)(S)a >> (n - 1) & 1, 0)))
EACH_SIZE(SHLS, )
EACH_SIZE(SHRS, )
EACH_SIZE(SARS, )

/* Rotates touch CF and OF alone. */
static void rotate_flags(struct cpu *c, unsigned carry, unsigned over)
{
    uint32_t f = flags_arith(c) & ~(F_C | F_O);
    flags_set_arith(c, f | (carry ? F_C : 0) | (over ? F_O : 0));
}

#define ROTL(T, a, n, bits) (T)((a) << ((n) & (bits - 1)) | (a) >> (-(n) & (bits - 1)))
#define ROTR(T, a, n, bits) (T)((a) >> ((n) & (bits - 1)) | (a) << (-(n) & (bits - 1)))
/* A register by a constant beyond 1 (aux): Intel's chips leave OF; else it is that of a rotate by
 * 1. */
static void rotated(struct cpu *c, const struct uop *u, unsigned n, unsigned carry, unsigned over)
{
    if (u->aux && n != 1)
        over = flags_arith(c) & F_O;
    rotate_flags(c, carry, over);
}

#define ROLS(bits, T, S, x) \
    SHIFT(bits, T, S, ROL, r = ROTL(T, a, n, bits), rotated(c, u, n, r & 1, OF_LEFT(a, bits)))
#define RORS(bits, T, S, x)                         \
    SHIFT(bits, T, S, ROR, r = ROTR(T, a, n, bits), \
          rotated(c, u, n, MSB(r, bits), MSB(a, bits) ^ (a & 1)))
EACH_SIZE(ROLS, )
EACH_SIZE(RORS, )

/* A rotate of bits + 1 through the carry. 8 and 16 bits: the count counts modulo 9 and 17. */
static uint64_t rcl(uint64_t a, unsigned n, unsigned bits, unsigned *carry)
{
    if (bits < 32)
        n %= bits + 1;
    uint64_t r = a;
    if (n) {
        unsigned in = *carry;
        *carry = a >> (bits - n) & 1;
        r = n == 1 ? a << 1 | in : a << (n & 63) | (uint64_t)in << (n - 1) | a >> (bits + 1 - n);
    }
    return r;
}

static uint64_t rcr(uint64_t a, unsigned n, unsigned bits, unsigned *carry)
{
    if (bits < 32)
        n %= bits + 1;
    uint64_t r = a;
    if (n) {
        unsigned in = *carry;
        *carry = a >> (n - 1) & 1;
        r = (n == 64 ? 0 : a >> n) | (uint64_t)in << (bits - n);
        if (n > 1)
            r |= a << (bits + 1 - n);
    }
    return r;
}

/* A count of 8 or 16 bits that is 0 modulo 9 or 17 leaves the flags. */
#define RC_COUNT(n, bits) (bits < 32 ? (n) % (bits + 1) : (n))
#define RCLS(bits, T, S, x)                                 \
    SHIFT(bits, T, S, RCL, unsigned carry = flags_carry(c); \
          r = (T)rcl(a, n, bits, &carry),                   \
          if (RC_COUNT(n, bits)) rotate_flags(c, carry, OF_LEFT(a, bits)))
#define RCRS(bits, T, S, x)                                                      \
    SHIFT(bits, T, S, RCR, unsigned carry = flags_carry(c); unsigned in = carry; \
          r = (T)rcr(a, n, bits, &carry);                                        \
          (void)in, if (RC_COUNT(n, bits)) rotate_flags(c, carry, MSB(a, bits) ^ in))
EACH_SIZE(RCLS, )
EACH_SIZE(RCRS, )

/* Two-operand product. SF ZF PF AF are undefined; Intel's chips give SF and PF of the low half. */
static void product_flags(struct cpu *c, uint64_t r, bool sign, bool over)
{
    flags_set_arith(c, (sign ? F_S : 0) | (__builtin_parity((uint8_t)r) ? 0 : F_P) |
                           (over ? F_C | F_O : 0));
}

#define IMULS(bits, T, S, Wide)                       \
    ALU(bits, T, S, IMUL, Wide w = (Wide)(S)a * (S)b; \
        r = (T)w, product_flags(c, r, MSB(r, bits), w != (S)r))
IMULS(8, uint8_t, int8_t, int32_t)
IMULS(16, uint16_t, int16_t, int32_t)
IMULS(32, uint32_t, int32_t, int64_t)
IMULS(64, uint64_t, int64_t, __int128)

/* Bit test: CF; the other flags stay. */
static void carry_only(struct cpu *c, uint64_t bit)
{
    flags_set_arith(c, (flags_arith(c) & ~F_C) | (uint32_t)(bit & 1));
}

#define BTS(bits, T, S, x)                                \
    OP(BT_R##bits)                                        \
    {                                                     \
        carry_only(c, R(u->a) >> (R(u->b) & (bits - 1))); \
        NEXT;                                             \
    }                                                     \
    OP(BT_I##bits)                                        \
    {                                                     \
        carry_only(c, R(u->a) >> (u->imm & (bits - 1)));  \
        NEXT;                                             \
    }
EACH_SIZE(BTS, )

OP(CMOV16)
{
    if (R(u->b))
        PUT16(R(u->a));
    NEXT;
}

OP(CMOV32)
{
    PUT32(R(u->b) ? R(u->a) : R(u->dst));
    NEXT;
}

OP(CMOV64)
{
    PUT64(R(u->b) ? R(u->a) : R(u->dst));
    NEXT;
}

OP(COND)
{
    R(u->dst) = flags_cond(c, u->aux);
    NEXT;
}

/* Conditions after a known subtraction d = a - s. */
#define COND_OF(name, expression) \
    OP(name)                      \
    {                             \
        R(u->dst) = (expression); \
        NEXT;                     \
    }
#define D(T) ((T)c->s.cc_dst)
#define B(T) ((T)c->s.cc_src)
#define A(T) ((T)(D(T) + B(T)))
#define CONDS(bits, T, S, x)                      \
    COND_OF(COND_SUB##bits##_B, A(T) < B(T))      \
    COND_OF(COND_SUB##bits##_AE, A(T) >= B(T))    \
    COND_OF(COND_SUB##bits##_Z, !D(T))            \
    COND_OF(COND_SUB##bits##_NZ, !!D(T))          \
    COND_OF(COND_SUB##bits##_BE, A(T) <= B(T))    \
    COND_OF(COND_SUB##bits##_A, A(T) > B(T))      \
    COND_OF(COND_SUB##bits##_S, D(S) < 0)         \
    COND_OF(COND_SUB##bits##_NS, D(S) >= 0)       \
    COND_OF(COND_SUB##bits##_L, (S)A(T) < B(S))   \
    COND_OF(COND_SUB##bits##_GE, (S)A(T) >= B(S)) \
    COND_OF(COND_SUB##bits##_LE, (S)A(T) <= B(S)) \
    COND_OF(COND_SUB##bits##_G, (S)A(T) > B(S))   \
    COND_OF(COND_Z##bits, !D(T))                  \
    COND_OF(COND_NZ##bits, !!D(T))                \
    COND_OF(COND_S##bits, D(S) < 0)               \
    COND_OF(COND_NS##bits, D(S) >= 0)
EACH_SIZE(CONDS, )
