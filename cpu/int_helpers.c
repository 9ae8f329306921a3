#include "cpu/int_helpers.h"

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/helpers.h"
#include "cpu/lift.h"
#include "cpu/locked.h"
#include "cpu/mem.h"
#include "cpu/share.h"

#define R(n) c->s.r[n]

static uint64_t mask_of(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

/* Writes a result by the rules of its size: 8 and 16 bits merge, 32 zero-extend. */
static void put(struct cpu *c, unsigned reg, unsigned size, uint64_t v)
{
    if (size >= 4)
        R(reg) = v & mask_of(size);
    else
        R(reg) = (R(reg) & ~mask_of(size)) | (v & mask_of(size));
}

/* SF, ZF and PF of a result; the others 0. */
static uint32_t szp(uint64_t v, unsigned size)
{
    uint32_t f = __builtin_parity((uint8_t)v) ? 0 : F_P;
    v &= mask_of(size);
    if (!v)
        f |= F_Z;
    return f | (v >> (8 * size - 1) ? F_S : 0);
}

/* Multiplication and division. */

static void mul_flags(struct cpu *c, uint64_t low, unsigned size, bool over)
{
    flags_set_arith(c, (szp(low, size) & ~F_Z) | (over ? F_C | F_O : 0));
}

bool q_mul(struct cpu *c, const struct uop *u)
{
    unsigned bits = 8 * u->size;
    uint64_t m = mask_of(u->size);
    unsigned __int128 p = (unsigned __int128)(R(R_AX) & m) * (R(u->a) & m);
    uint64_t high = (uint64_t)(p >> bits) & m;
    if (u->size == 1) {
        put(c, R_AX, 2, (uint64_t)p);
    } else {
        put(c, R_AX, u->size, (uint64_t)p);
        put(c, R_DX, u->size, high);
    }
    mul_flags(c, (uint64_t)p, u->size, high != 0);
    return true;
}

bool q_imul(struct cpu *c, const struct uop *u)
{
    unsigned bits = 8 * u->size;
    __int128 p = (__int128)sext(R(R_AX), bits) * sext(R(u->a), bits);
    if (u->size == 1) {
        put(c, R_AX, 2, (uint64_t)p);
    } else {
        put(c, R_AX, u->size, (uint64_t)p);
        put(c, R_DX, u->size, (uint64_t)(p >> bits));
    }
    mul_flags(c, (uint64_t)p, u->size, p != sext((uint64_t)p, bits));
    return true;
}

/* The dividend rDX:rAX, or AX for bytes. */
static unsigned __int128 dividend(const struct cpu *c, unsigned size)
{
    uint64_t m = mask_of(size);
    if (size == 1)
        return (uint16_t)R(R_AX);
    return (unsigned __int128)(R(R_DX) & m) << 8 * size | (R(R_AX) & m);
}

static void divided(struct cpu *c, unsigned size, uint64_t quotient, uint64_t rest)
{
    if (size == 1) {
        put(c, R_AX, 2, (quotient & 0xff) | (rest & 0xff) << 8);
    } else {
        put(c, R_AX, size, quotient);
        put(c, R_DX, size, rest);
    }
}

bool h_div(struct cpu *c, const struct uop *u)
{
    uint64_t d = R(u->a) & mask_of(u->size);
    unsigned __int128 n = dividend(c, u->size);
    if (!d)
        return cpu_fault(c, EXC_DE, "division by zero", 0, 0);
    if ((uint64_t)(n >> 64) == 0) { /* most are narrow, and a 64-bit division is quicker */
        uint64_t q = (uint64_t)n / d;
        if (q > mask_of(u->size))
            return cpu_fault(c, EXC_DE, "the quotient does not fit", 0, 0);
        divided(c, u->size, q, (uint64_t)n % d);
        return true;
    }
    if ((uint64_t)(n >> 64) >= d)
        return cpu_fault(c, EXC_DE, "the quotient does not fit", 0, 0);
    divided(c, u->size, (uint64_t)(n / d), (uint64_t)(n % d));
    return true;
}

bool h_idiv(struct cpu *c, const struct uop *u)
{
    unsigned bits = 8 * u->size;
    int64_t d = sext(R(u->a), bits);
    __int128 n = (__int128)dividend(c, u->size);
    if (!d)
        return cpu_fault(c, EXC_DE, "division by zero", 0, 0);
    if (u->size < 8)
        n = sext((uint64_t)n, 2 * bits);
    if (n >= INT64_MIN / 2 && n <= INT64_MAX) {
        int64_t q = (int64_t)n / d, r = (int64_t)n % d;
        if (q != sext((uint64_t)q, bits))
            return cpu_fault(c, EXC_DE, "the quotient does not fit", 0, 0);
        divided(c, u->size, (uint64_t)q, (uint64_t)r);
        return true;
    }
    /* the least dividend by -1 does not even fit 128 bits */
    if (d == -1 && n == (__int128)((unsigned __int128)1 << 127))
        return cpu_fault(c, EXC_DE, "the quotient does not fit", 0, 0);
    __int128 q = n / d;
    if (q != sext((uint64_t)q, bits))
        return cpu_fault(c, EXC_DE, "the quotient does not fit", 0, 0);
    divided(c, u->size, (uint64_t)q, (uint64_t)(n % d));
    return true;
}

/* Double shifts: `wide` is what is shifted in. A 16-bit one by more than 16 is undefined; Intel's
 * chips shift the pair as if the destination followed again. */
static void double_shift(struct cpu *c, const struct uop *u, bool left)
{
    unsigned bits = 8 * u->size, n = R(u->b) & (u->size == 8 ? 63 : 31);
    uint64_t m = mask_of(u->size), d = R(u->dst) & m, s = R(u->a) & m, r, carry;
    if (!n)
        return;
    if (bits == 16) {
        uint64_t three = left ? d << 32 | s << 16 | d : d << 32 | s << 16 | d;
        if (left) {
            r = three << n >> 32;
            carry = three >> (48 - n) & 1;
        } else {
            r = three >> n;
            carry = three >> (n - 1) & 1;
        }
    } else if (left) {
        r = d << n | s >> (bits - n);
        carry = d >> (bits - n) & 1;
    } else {
        r = d >> n | s << (bits - n);
        carry = d >> (n - 1) & 1;
    }
    r &= m;
    /* OF is that of a shift by 1, as Intel's chips give it for all counts */
    bool over = ((left ? d >> (bits - 2) : s) ^ d >> (bits - 1)) & 1;
    flags_set_arith(c, szp(r, u->size) | (uint32_t)carry | (over ? F_O : 0));
    put(c, u->dst, u->size, r);
}

bool q_shld(struct cpu *c, const struct uop *u)
{
    double_shift(c, u, true);
    return true;
}

bool q_shrd(struct cpu *c, const struct uop *u)
{
    double_shift(c, u, false);
    return true;
}

/* Bits. */

bool q_bit(struct cpu *c, const struct uop *u)
{
    uint64_t bit = BIT(R(u->b) & (8 * u->size - 1)), old = R(u->dst);
    flags_set_arith(c, (flags_arith(c) & ~F_C) | (old & bit ? F_C : 0));
    R(u->dst) = u->imm == 1 ? old | bit : u->imm == 2 ? old & ~bit : old ^ bit;
    return true;
}

bool q_bsf(struct cpu *c, const struct uop *u)
{
    unsigned bits = 8 * u->size;
    uint64_t v = R(u->a) & mask_of(u->size), r = 0;
    if (u->imm == 4) {
        r = (uint64_t)__builtin_popcountll(v);
        flags_set_arith(c, v ? 0 : F_Z);
    } else if (u->imm >= 2) {
        unsigned lead = v ? (unsigned)__builtin_clzll(v) - (64 - bits) : bits;
        r = u->imm == 3 ? lead : v ? (uint64_t)__builtin_ctzll(v) : bits;
        flags_set_arith(c, (v ? 0 : F_C) | (r ? 0 : F_Z));
    } else {
        if (v)
            r = u->imm ? 63 - (uint64_t)__builtin_clzll(v) : (uint64_t)__builtin_ctzll(v);
        flags_set_arith(c, (v ? 0 : F_Z) | (__builtin_parity((unsigned)r) ? 0 : F_P));
        if (!v) /* the destination stays, as on both vendors' chips */
            return true;
    }
    put(c, u->dst, u->size, r);
    return true;
}

/* CRC-32C, polynomial 11EDC6F41h, reflected. */
bool q_crc32(struct cpu *c, const struct uop *u)
{
    uint32_t crc = (uint32_t)R(u->dst);
    uint64_t v = R(u->a);
    for (unsigned i = 0; i < u->size; i++, v >>= 8) {
        crc ^= (uint8_t)v;
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    R(u->dst) = crc;
    return true;
}

bool q_andn(struct cpu *c, const struct uop *u)
{
    uint64_t r = ~R(u->a) & R(u->b) & mask_of(u->size);
    flags_set_arith(c, szp(r, u->size) & (F_S | F_Z));
    put(c, u->dst, u->size, r);
    return true;
}

bool q_bmi1(struct cpu *c, const struct uop *u)
{
    uint64_t m = mask_of(u->size), a = R(u->a) & m, r;
    bool carry = !a;
    if (u->imm == 0) {
        r = a & (a - 1);
    } else if (u->imm == 1) {
        r = (a ^ (a - 1)) & m;
    } else {
        r = a & -a;
        carry = a;
    }
    flags_set_arith(c, (szp(r, u->size) & (F_S | F_Z)) | (carry ? F_C : 0));
    put(c, u->dst, u->size, r);
    return true;
}

bool q_bzhi(struct cpu *c, const struct uop *u)
{
    unsigned bits = 8 * u->size, n = (uint8_t)R(u->b);
    uint64_t r = R(u->a) & mask_of(u->size);
    if (n < bits)
        r &= BIT(n) - 1;
    flags_set_arith(c, (szp(r, u->size) & (F_S | F_Z)) | (n >= bits ? F_C : 0));
    put(c, u->dst, u->size, r);
    return true;
}

bool q_bextr(struct cpu *c, const struct uop *u)
{
    unsigned start = (uint8_t)R(u->b), len = (uint8_t)(R(u->b) >> 8);
    uint64_t r = R(u->a) & mask_of(u->size);
    r = start < 64 ? r >> start : 0;
    if (len < 64)
        r &= BIT(len) - 1;
    flags_set_arith(c, r ? 0 : F_Z);
    put(c, u->dst, u->size, r);
    return true;
}

bool q_pdep(struct cpu *c, const struct uop *u)
{
    uint64_t v = R(u->a), mask = R(u->b) & mask_of(u->size), r = 0;
    for (; mask; mask &= mask - 1, v >>= 1)
        if (v & 1)
            r |= mask & -mask;
    put(c, u->dst, u->size, r);
    return true;
}

bool q_pext(struct cpu *c, const struct uop *u)
{
    uint64_t v = R(u->a), mask = R(u->b) & mask_of(u->size), r = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++)
        if (v & mask & -mask)
            r |= BIT(n);
    put(c, u->dst, u->size, r);
    return true;
}

bool q_mulx(struct cpu *c, const struct uop *u)
{
    uint64_t m = mask_of(u->size);
    unsigned __int128 p = (unsigned __int128)(R(R_DX) & m) * (R(u->a) & m);
    put(c, u->b, u->size, (uint64_t)p);
    put(c, u->dst, u->size, (uint64_t)(p >> 8 * u->size));
    return true;
}

bool q_adx(struct cpu *c, const struct uop *u)
{
    uint32_t f = flags_arith(c), bit = u->imm ? F_O : F_C;
    uint64_t m = mask_of(u->size);
    unsigned __int128 sum = (unsigned __int128)(R(u->dst) & m) + (R(u->a) & m) + !!(f & bit);
    flags_set_arith(c, (f & ~bit) | (sum >> 8 * u->size ? bit : 0));
    put(c, u->dst, u->size, (uint64_t)sum);
    return true;
}

bool q_shiftx(struct cpu *c, const struct uop *u)
{
    unsigned n = R(u->b) & (u->size == 8 ? 63 : 31), bits = 8 * u->size;
    uint64_t a = R(u->a) & mask_of(u->size);
    if (u->imm == SH_SHL)
        a <<= n;
    else if (u->imm == SH_SHR)
        a >>= n;
    else
        a = (uint64_t)(sext(a, bits) >> n);
    put(c, u->dst, u->size, a);
    return true;
}

/* Flags by themselves. */

bool q_sahf(struct cpu *c, const struct uop *u)
{
    flags_set_arith(c, (flags_arith(c) & F_O) | ((uint32_t)(R(R_AX) >> 8) & F_SZAPC));
    return true;
}

bool q_lahf(struct cpu *c, const struct uop *u)
{
    uint64_t f = (flags_arith(c) & F_SZAPC) | EF_FIXED;
    R(R_AX) = (R(R_AX) & ~0xff00ull) | f << 8;
    return true;
}

bool q_salc(struct cpu *c, const struct uop *u)
{
    put(c, R_AX, 1, flags_carry(c) ? 0xff : 0);
    return true;
}

bool q_code_immediate(struct cpu *c, const struct uop *u)
{
    c->s.r[u->dst] = mem_get((const void *)(uintptr_t)u->imm, u->size);
    return true;
}

bool q_flagop(struct cpu *c, const struct uop *u)
{
    uint32_t f = flags_arith(c);
    switch (u->imm) {
    case FLAG_CLC: flags_set_arith(c, f & ~F_C); break;
    case FLAG_STC: flags_set_arith(c, f | F_C); break;
    case FLAG_CMC: flags_set_arith(c, f ^ F_C); break;
    case FLAG_CLD: c->s.rflags &= ~(uint64_t)EF_DF; break;
    default: c->s.rflags |= EF_DF;
    }
    return true;
}

/* Decimal adjustment (SDM 2A AAA … DAS). Undefined flags as Intel's chips give them. */

bool h_daa(struct cpu *c, const struct uop *u)
{
    uint32_t f = flags_arith(c), out = 0;
    uint8_t al = (uint8_t)R(R_AX), old = al;
    if ((al & 0xf) > 9 || (f & F_A)) {
        al += 6;
        out |= F_A | ((f & F_C) || al < old ? F_C : 0);
    }
    if (old > 0x99 || (f & F_C)) {
        al += 0x60;
        out |= F_C;
    } else {
        out &= ~F_C;
    }
    put(c, R_AX, 1, al);
    flags_set_arith(c, out | szp(al, 1));
    return true;
}

bool h_das(struct cpu *c, const struct uop *u)
{
    uint32_t f = flags_arith(c), out = 0;
    uint8_t al = (uint8_t)R(R_AX), old = al;
    if ((al & 0xf) > 9 || (f & F_A)) {
        out |= F_A | ((f & F_C) || al < 6 ? F_C : 0);
        al -= 6;
    }
    if (old > 0x99 || (f & F_C)) {
        al -= 0x60;
        out |= F_C;
    }
    put(c, R_AX, 1, al);
    flags_set_arith(c, out | szp(al, 1));
    return true;
}

static bool ascii_adjust(struct cpu *c, int sign)
{
    uint32_t f = flags_arith(c);
    uint16_t ax = (uint16_t)R(R_AX);
    bool adjust = (ax & 0xf) > 9 || (f & F_A);
    if (adjust)
        ax = (uint16_t)(ax + sign * 0x106);
    ax &= 0xff0f;
    put(c, R_AX, 2, ax);
    flags_set_arith(c, szp(ax, 1) | (adjust ? F_A | F_C : 0));
    return true;
}

bool h_aaa(struct cpu *c, const struct uop *u)
{
    return ascii_adjust(c, 1);
}

bool h_aas(struct cpu *c, const struct uop *u)
{
    return ascii_adjust(c, -1);
}

bool h_aam(struct cpu *c, const struct uop *u)
{
    uint8_t base = (uint8_t)u->imm, al = (uint8_t)R(R_AX);
    if (!base)
        return cpu_fault(c, EXC_DE, "AAM by zero", 0, 0);
    put(c, R_AX, 2, (uint64_t)(al / base) << 8 | al % base);
    flags_set_arith(c, szp(al % base, 1));
    return true;
}

bool h_aad(struct cpu *c, const struct uop *u)
{
    uint8_t al = (uint8_t)(R(R_AX) + (uint8_t)(R(R_AX) >> 8) * (uint64_t)u->imm);
    put(c, R_AX, 2, al);
    flags_set_arith(c, szp(al, 1));
    return true;
}

/* Memory. */

bool h_bound(struct cpu *c, const struct uop *u)
{
    uint64_t low, high = 0, next = (R(R_T0) + u->size) & mask_of(u->asize);
    unsigned bits = 8 * u->size;
    int64_t i = sext(R(u->dst), bits);
    if (!seg_load(c, u->seg, R(R_T0), u->size, &low))
        return false;
    bool inside = i >= sext(low, bits); /* if not, processors don't read the upper bound */
    if (inside && !seg_load(c, u->seg, next, u->size, &high))
        return false;
    if (!inside || i > sext(high, bits))
        return cpu_fault(c, EXC_BR, "the index %llx is out of bounds", (uint64_t)i, 0);
    return true;
}

bool h_cmpxchg8b(struct cpu *c, const struct uop *u)
{
    uint64_t la, old = R(R_DX) << 32 | (uint32_t)R(R_AX);
    const uint64_t v = R(R_CX) << 32 | (uint32_t)R(R_BX);
    bool equal;
    if (!seg_linear(c, u->seg, R(R_T0), 8, ACC_WRITE, &la) ||
        !locked_exchange(c, la, 8, &old, &v, &equal))
        return false;
    if (!equal) {
        R(R_AX) = (uint32_t)old;
        R(R_DX) = old >> 32;
    }
    flags_set_arith(c, (flags_arith(c) & ~F_Z) | (equal ? F_Z : 0));
    return true;
}

bool h_cmpxchg16b(struct cpu *c, const struct uop *u)
{
    uint64_t old[2] = {R(R_AX), R(R_DX)}, la;
    const uint64_t v[2] = {R(R_BX), R(R_CX)};
    bool equal;
    if (R(R_T0) & 15 && !(u->seg >= SEG_FS))
        return cpu_fault_err(c, EXC_GP, 0, "CMPXCHG16B at %llx, which is not aligned", R(R_T0), 0);
    if (!seg_linear(c, u->seg, R(R_T0), 16, ACC_WRITE, &la))
        return false;
    if (la & 15)
        return cpu_fault_err(c, EXC_GP, 0, "CMPXCHG16B at %llx, which is not aligned", la, 0);
    if (!locked_exchange(c, la, 16, old, v, &equal))
        return false;
    if (!equal) {
        R(R_AX) = old[0];
        R(R_DX) = old[1];
    }
    flags_set_arith(c, (flags_arith(c) & ~F_Z) | (equal ? F_Z : 0));
    return true;
}

/* The stack pointer's width in bytes. */
static unsigned stack_size(const struct cpu *c)
{
    return cpu_64(c) ? 8 : c->key & KEY_STACK32 ? 4 : 2;
}

bool h_pusha(struct cpu *c, const struct uop *u)
{
    unsigned size = u->size, width = stack_size(c);
    uint64_t m = mask_of(width), sp = R(R_SP);
    for (unsigned i = 0; i < 8; i++) /* all eight or none */
        if (!seg_aligned(c, SEG_SS, (sp - (i + 1) * size) & m, size, ACC_WRITE) ||
            !seg_probe(c, SEG_SS, (sp - (i + 1) * size) & m, size, ACC_WRITE))
            return false;
    for (unsigned i = 0; i < 8; i++)
        if (!seg_store(c, SEG_SS, (sp - (i + 1) * size) & m, size, R(i)))
            return false;
    put(c, R_SP, width, sp - 8 * size);
    return true;
}

bool h_popa(struct cpu *c, const struct uop *u)
{
    unsigned size = u->size, width = stack_size(c);
    uint64_t m = mask_of(width), sp = R(R_SP), v[8];
    for (unsigned i = 0; i < 8; i++)
        if (!seg_load(c, SEG_SS, (sp + i * size) & m, size, &v[7 - i]))
            return false;
    for (unsigned i = 0; i < 8; i++)
        if (i != R_SP)
            put(c, i, size, v[i]);
    put(c, R_SP, width, sp + 8 * size);
    return true;
}

/* ENTER size, level (SDM 2A). The frame is probed before the first write. */
bool h_enter(struct cpu *c, const struct uop *u)
{
    unsigned size = u->size, width = stack_size(c), level = R(R_T1) & 31;
    uint64_t m = mask_of(width), sp = R(R_SP), bp = R(R_BP), frame, v;
    uint64_t local = (uint16_t)u->imm;
    unsigned n = level + 1;
    for (unsigned i = 1; i <= n; i++)
        if (!seg_aligned(c, SEG_SS, (sp - i * size) & m, size, ACC_WRITE) ||
            !seg_probe(c, SEG_SS, (sp - i * size) & m, size, ACC_WRITE))
            return false;
    for (unsigned i = 1; i < level; i++)
        if (!seg_aligned(c, SEG_SS, (bp - i * size) & m, size, ACC_READ) ||
            !seg_probe(c, SEG_SS, (bp - i * size) & m, size, ACC_READ))
            return false;
    uint64_t last = (sp - n * size - local) & m;
    if (!seg_aligned(c, SEG_SS, last, size, ACC_WRITE) ||
        !seg_probe(c, SEG_SS, last, size, ACC_WRITE))
        return false;
    frame = (sp & ~m) | ((sp - size) & m); /* a 16-bit stack keeps ESP's upper half */
    if (!seg_store(c, SEG_SS, frame & m, size, bp))
        return false;
    for (unsigned i = 1; i < level; i++)
        if (!seg_load(c, SEG_SS, (bp - i * size) & m, size, &v) ||
            !seg_store(c, SEG_SS, (sp - (i + 1) * size) & m, size, v))
            return false;
    if (level && !seg_store(c, SEG_SS, (sp - n * size) & m, size, frame))
        return false;
    put(c, R_BP, size, frame);
    put(c, R_SP, width, sp - n * size - local);
    return true;
}

/* Random numbers come from the machine's source. */
static bool random_number(struct cpu *c, const struct uop *u)
{
    cpu_lock(c);
    put(c, u->a, u->size, rng_next(c->rng));
    cpu_unlock(c);
    flags_set_arith(c, F_C);
    return true;
}

bool h_rdrand(struct cpu *c, const struct uop *u)
{
    return random_number(c, u);
}

bool h_rdseed(struct cpu *c, const struct uop *u)
{
    return random_number(c, u);
}

/* CLFLUSH and its kin: there are no caches, but the address is checked as a load's (SDM 2A). No
 * load, which a device would notice. */
bool h_touch(struct cpu *c, const struct uop *u)
{
    return seg_probe(c, u->seg, c->s.r[R_T0], 1, ACC_READ);
}
