/* An x86-64 assembler: one function an encoding, bytes straight into the code buffer.
 *
 * Sizes are in bytes (1, 2, 4, 8). Opcodes are written as in the SDM's maps: 0x01, 0x0f01,
 * 0x0f3801, 0x0f3a01, with a mandatory prefix (66, F2, F3) given apart. A byte register is always
 * the low one (SPL, not AH). Addresses are offsets from the buffer's beginning, the same for its
 * writable and its executable view. Running out of room sets `full` and writes nothing more: the
 * caller looks once at the end. */
#ifndef ISHI_JIT_X64_H
#define ISHI_JIT_X64_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* clang-format off */
enum x64_reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum x64_alu { XA_ADD, XA_OR, XA_ADC, XA_SBB, XA_AND, XA_SUB, XA_XOR, XA_CMP };
enum x64_shift { XS_ROL, XS_ROR, XS_RCL, XS_RCR, XS_SHL, XS_SHR, XS_SAR = 7 };
enum x64_cond { XC_O, XC_NO, XC_B, XC_AE, XC_Z, XC_NZ, XC_BE, XC_A, XC_S, XC_NS, XC_P, XC_NP,
                XC_L, XC_GE, XC_LE, XC_G };
/* clang-format on */
#define X_NONE 0xffu
#define X_GS   0xfeu /* as a base: the address is in segment GS */

struct x64 {
    uint8_t *base;    /* writable view */
    uint32_t at, end; /* offsets: where the next byte goes, and the first that may not be written */
    uint32_t insn;    /* where the last instruction begins, if a branch may be fused with it */
    bool full;
};

struct xmem {
    uint8_t base, index; /* X_NONE: none */
    uint8_t scale;       /* shift, 0..3 */
    int32_t disp;
};

static inline struct xmem xm(unsigned base, int32_t disp)
{
    return (struct xmem){(uint8_t)base, X_NONE, 0, disp};
}

static inline struct xmem xmi(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (struct xmem){(uint8_t)base, (uint8_t)index, (uint8_t)scale, disp};
}

static inline void x_bytes(struct x64 *a, const void *p, unsigned n)
{
    if (a->end - a->at < n) {
        a->full = true;
        return;
    }
    memcpy(a->base + a->at, p, n);
    a->at += n;
}

static inline void x_u8(struct x64 *a, unsigned v)
{
    uint8_t b = (uint8_t)v;
    x_bytes(a, &b, 1);
}

static inline void x_u32(struct x64 *a, uint32_t v)
{
    x_bytes(a, &v, 4);
}

static inline void x_u64(struct x64 *a, uint64_t v)
{
    x_bytes(a, &v, 8);
}

static inline bool x_fits8(int64_t v)
{
    return v == (int8_t)v;
}

static inline bool x_fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* Prefixes and opcode. reg, index, base: register numbers (0 where there is none). */
static inline void x_op(struct x64 *a, unsigned prefix, unsigned size, unsigned op, unsigned reg,
                        unsigned index, unsigned base, bool byte_reg)
{
    unsigned rex = (size == 8 ? 8 : 0) | (reg & 8) >> 1 | (index & 8) >> 2 | (base & 8) >> 3;
    if (size == 2)
        x_u8(a, 0x66);
    if (prefix)
        x_u8(a, prefix);
    if (rex || byte_reg)
        x_u8(a, 0x40 | rex);
    if (op >> 16)
        x_u8(a, op >> 16);
    if (op >> 8)
        x_u8(a, op >> 8 & 0xff);
    x_u8(a, op & 0xff);
}

/* ModRM, SIB, displacement of a memory operand; base X_NONE with no index: RIP-relative is not
 * made here. */
static inline void x_modrm(struct x64 *a, unsigned reg, struct xmem m)
{
    unsigned r = (reg & 7) << 3, base = m.base & 7, mod;
    if (m.base >= X_GS) { /* [index * scale + disp32] or [disp32] */
        x_u8(a, r | 4);
        x_u8(a, (unsigned)m.scale << 6 | (m.index == X_NONE ? 4u : m.index & 7u) << 3 | 5);
        x_u32(a, (uint32_t)m.disp);
        return;
    }
    mod = !m.disp && base != 5 ? 0 : x_fits8(m.disp) ? 1 : 2;
    if (m.index != X_NONE || base == 4) {
        x_u8(a, mod << 6 | r | 4);
        x_u8(a, (unsigned)m.scale << 6 | (m.index == X_NONE ? 4u : m.index & 7u) << 3 | base);
    } else {
        x_u8(a, mod << 6 | r | base);
    }
    if (mod == 1)
        x_u8(a, (unsigned)m.disp & 0xff);
    else if (mod == 2)
        x_u32(a, (uint32_t)m.disp);
}

/* op reg, rm: register and memory forms. */
static inline void x_rr_p(struct x64 *a, unsigned prefix, unsigned size, unsigned op, unsigned reg,
                          unsigned rm)
{
    x_op(a, prefix, size, op, reg, 0, rm, size == 1 && (reg >= 4 || rm >= 4));
    x_u8(a, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void x_rm_p(struct x64 *a, unsigned prefix, unsigned size, unsigned op, unsigned reg,
                          struct xmem m)
{
    if (m.base == X_GS)
        x_u8(a, 0x65);
    x_op(a, prefix, size, op, reg, m.index == X_NONE ? 0 : m.index, m.base >= X_GS ? 0 : m.base,
         size == 1 && reg >= 4);
    x_modrm(a, reg, m);
}

static inline void x_rr(struct x64 *a, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    x_rr_p(a, 0, size, op, reg, rm);
}

static inline void x_rm(struct x64 *a, unsigned size, unsigned op, unsigned reg, struct xmem m)
{
    x_rm_p(a, 0, size, op, reg, m);
}

/* VEX-encoded three-operand forms (BMI, AVX): map 1 = 0F, 2 = 0F38, 3 = 0F3A; pp 0 none, 1 = 66,
 * 2 = F3, 3 = F2; w and l are the bits. */
static inline void x_vex(struct x64 *a, unsigned map, unsigned pp, unsigned w, unsigned l,
                         unsigned op, unsigned reg, unsigned vvvv, unsigned index, unsigned base)
{
    x_u8(a, 0xc4);
    x_u8(a, (reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20) | map);
    x_u8(a, w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
    x_u8(a, op);
}

static inline void x_vex_rr(struct x64 *a, unsigned map, unsigned pp, unsigned w, unsigned l,
                            unsigned op, unsigned reg, unsigned vvvv, unsigned rm)
{
    x_vex(a, map, pp, w, l, op, reg, vvvv, 0, rm);
    x_u8(a, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void x_vex_rm(struct x64 *a, unsigned map, unsigned pp, unsigned w, unsigned l,
                            unsigned op, unsigned reg, unsigned vvvv, struct xmem m)
{
    if (m.base == X_GS)
        x_u8(a, 0x65);
    x_vex(a, map, pp, w, l, op, reg, vvvv, m.index == X_NONE ? 0 : m.index,
          m.base >= X_GS ? 0 : m.base);
    x_modrm(a, reg, m);
}

/* Moves. */
static inline void x_mov_rr(struct x64 *a, unsigned size, unsigned dst, unsigned src)
{
    x_rr(a, size, size == 1 ? 0x8a : 0x8b, dst, src);
}

static inline void x_load(struct x64 *a, unsigned size, unsigned dst, struct xmem m)
{
    x_rm(a, size, size == 1 ? 0x8a : 0x8b, dst, m);
}

static inline void x_store(struct x64 *a, unsigned size, struct xmem m, unsigned src)
{
    x_rm(a, size, size == 1 ? 0x88 : 0x89, src, m);
}

/* dst = v, shortest form; the flags stay. */
static inline void x_mov_ri(struct x64 *a, unsigned dst, uint64_t v)
{
    if (v <= 0xffffffff) {
        x_op(a, 0, 4, 0xb8 | (dst & 7), 0, 0, dst, false);
        x_u32(a, (uint32_t)v);
    } else if (x_fits32((int64_t)v)) {
        x_rr(a, 8, 0xc7, 0, dst);
        x_u32(a, (uint32_t)v);
    } else {
        x_op(a, 0, 8, 0xb8 | (dst & 7), 0, 0, dst, false);
        x_u64(a, v);
    }
}

static inline void x_imm(struct x64 *a, unsigned size, int64_t v)
{
    uint32_t w = (uint32_t)v;
    x_bytes(a, &w, size == 8 ? 4 : size);
}

/* Small registers merge: mov dst.b, imm and so on; for 4 and 8 bytes use x_mov_ri. */
static inline void x_mov_ri_small(struct x64 *a, unsigned size, unsigned dst, int64_t v)
{
    x_rr(a, size, size == 1 ? 0xc6 : 0xc7, 0, dst);
    x_imm(a, size, v);
}

/* [m] = v; 8 bytes: v must fit 32 bits, signed. */
static inline void x_store_i(struct x64 *a, unsigned size, struct xmem m, int64_t v)
{
    x_rm(a, size, size == 1 ? 0xc6 : 0xc7, 0, m);
    x_imm(a, size, v);
}

static inline void x_lea(struct x64 *a, unsigned size, unsigned dst, struct xmem m)
{
    x_rm(a, size, 0x8d, dst, m);
}

/* Arithmetic. */
static inline void x_alu_rr(struct x64 *a, unsigned op, unsigned size, unsigned dst, unsigned src)
{
    a->insn = a->at;
    x_rr(a, size, op << 3 | (size == 1 ? 2 : 3), dst, src);
}

static inline void x_alu_rm(struct x64 *a, unsigned op, unsigned size, unsigned dst, struct xmem m)
{
    a->insn = a->at;
    x_rm(a, size, op << 3 | (size == 1 ? 2 : 3), dst, m);
}

static inline void x_alu_mr(struct x64 *a, unsigned op, unsigned size, struct xmem m, unsigned src)
{
    a->insn = a->at;
    x_rm(a, size, op << 3 | (size == 1 ? 0 : 1), src, m);
}

/* v: signed, at most 32 bits. */
static inline void x_alu_ri(struct x64 *a, unsigned op, unsigned size, unsigned dst, int64_t v)
{
    bool small = size > 1 && x_fits8(v);
    a->insn = a->at;
    x_rr(a, size, size == 1 ? 0x80 : small ? 0x83 : 0x81, op, dst);
    x_imm(a, small ? 1 : size, v);
}

static inline void x_alu_mi(struct x64 *a, unsigned op, unsigned size, struct xmem m, int64_t v)
{
    bool small = size > 1 && x_fits8(v);
    a->insn = a->at;
    x_rm(a, size, size == 1 ? 0x80 : small ? 0x83 : 0x81, op, m);
    x_imm(a, small ? 1 : size, v);
}

static inline void x_test_rr(struct x64 *a, unsigned size, unsigned x, unsigned y)
{
    a->insn = a->at;
    x_rr(a, size, size == 1 ? 0x84 : 0x85, y, x);
}

static inline void x_test_ri(struct x64 *a, unsigned size, unsigned x, int64_t v)
{
    a->insn = a->at;
    x_rr(a, size, size == 1 ? 0xf6 : 0xf7, 0, x);
    x_imm(a, size, v);
}

static inline void x_test_mr(struct x64 *a, unsigned size, struct xmem m, unsigned y)
{
    a->insn = a->at;
    x_rm(a, size, size == 1 ? 0x84 : 0x85, y, m);
}

static inline void x_test_mi(struct x64 *a, unsigned size, struct xmem m, int64_t v)
{
    a->insn = a->at;
    x_rm(a, size, size == 1 ? 0xf6 : 0xf7, 0, m);
    x_imm(a, size, v);
}

static inline void x_shift_ri(struct x64 *a, unsigned op, unsigned size, unsigned dst, unsigned n)
{
    if (n == 1) {
        x_rr(a, size, size == 1 ? 0xd0 : 0xd1, op, dst);
        return;
    }
    x_rr(a, size, size == 1 ? 0xc0 : 0xc1, op, dst);
    x_u8(a, n);
}

static inline void x_shift_cl(struct x64 *a, unsigned op, unsigned size, unsigned dst)
{
    x_rr(a, size, size == 1 ? 0xd2 : 0xd3, op, dst);
}

static inline void x_shift_mi(struct x64 *a, unsigned op, unsigned size, struct xmem m, unsigned n)
{
    if (n == 1) {
        x_rm(a, size, size == 1 ? 0xd0 : 0xd1, op, m);
        return;
    }
    x_rm(a, size, size == 1 ? 0xc0 : 0xc1, op, m);
    x_u8(a, n);
}

/* dst = src rotated right by n, flags untouched (BMI2). */
static inline void x_rorx(struct x64 *a, unsigned size, unsigned dst, unsigned src, unsigned n)
{
    x_vex_rr(a, 3, 3, size == 8, 0, 0xf0, dst, 0, src);
    x_u8(a, n);
}

/* dst = src shifted by `by`, flags untouched (BMI2); op: XS_SHL, XS_SHR, XS_SAR; size 4 or 8. */
static inline void x_shiftx(struct x64 *a, unsigned op, unsigned size, unsigned dst, unsigned src,
                            unsigned by)
{
    x_vex_rr(a, 2, op == XS_SHL ? 1 : op == XS_SHR ? 3 : 2, size == 8, 0, 0xf7, dst, by, src);
}

static inline void x_setcc(struct x64 *a, unsigned cond, unsigned dst)
{
    x_rr(a, 1, 0x0f90 | cond, 0, dst);
}

static inline void x_cmov_rr(struct x64 *a, unsigned size, unsigned cond, unsigned dst,
                             unsigned src)
{
    x_rr(a, size, 0x0f40 | cond, dst, src);
}

/* Zero and sign extension of a byte or word register; size: of the result. */
static inline void x_movzx(struct x64 *a, unsigned from, unsigned dst, unsigned src)
{
    x_op(a, 0, 4, from == 1 ? 0x0fb6 : 0x0fb7, dst, 0, src, from == 1 && src >= 4);
    x_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}

static inline void x_movsx(struct x64 *a, unsigned from, unsigned size, unsigned dst, unsigned src)
{
    x_op(a, 0, size,
         from == 1   ? 0x0fbe
         : from == 2 ? 0x0fbf
                     : 0x63,
         dst, 0, src, from == 1 && src >= 4);
    x_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}

/* Control. Jumps are always the near form (rel32) and return the offset of their displacement, for
 * x_patch(); `to` is an offset in the buffer. */
static inline uint32_t x_jmp(struct x64 *a, uint32_t to)
{
    x_u8(a, 0xe9);
    x_u32(a, to - (a->at + 4));
    a->insn = 0;
    return a->at - 4;
}

static inline uint32_t x_jcc(struct x64 *a, unsigned cond, uint32_t to)
{
    x_u8(a, 0x0f);
    x_u8(a, 0x80 | cond);
    x_u32(a, to - (a->at + 4));
    a->insn = 0;
    return a->at - 4;
}

static inline uint32_t x_call(struct x64 *a, uint32_t to)
{
    x_u8(a, 0xe8);
    x_u32(a, to - (a->at + 4));
    a->insn = 0;
    return a->at - 4;
}

/* dst = address of the buffer's offset `to`. */
static inline void x_lea_at(struct x64 *a, unsigned dst, uint32_t to)
{
    x_op(a, 0, 8, 0x8d, dst, 0, 0, false);
    x_u8(a, (dst & 7) << 3 | 5);
    x_u32(a, to - (a->at + 4));
}

/* n up to 15: one instruction. */
static inline void x_nop(struct x64 *a, unsigned n)
{
    static const uint8_t longest[9] = {0x66, 0x0f, 0x1f, 0x84}; /* nopw 0(rax, rax) */
    for (; n > 9; n--)
        x_u8(a, 0x66);
    if (n == 9) {
        x_bytes(a, longest, 9);
    } else if (n >= 4) { /* nop 0(rax), and prefixes */
        for (; n > 4; n--)
            x_u8(a, 0x66);
        x_bytes(a, "\x0f\x1f\x40", 4);
    } else if (n) {
        for (; n > 1; n--)
            x_u8(a, 0x66);
        x_u8(a, 0x90);
    }
}

/* `to`: a power of two up to 32. */
static inline void x_align(struct x64 *a, unsigned to)
{
    unsigned n = -a->at & (to - 1);
    x_nop(a, n > 15 ? 15 : n);
    x_nop(a, n > 15 ? n - 15 > 15 ? 15 : n - 15 : 0);
    x_nop(a, n > 30 ? n - 30 : 0);
    a->insn = 0;
}

/* In front of a branch of n bytes: some processors decode a 32-byte line anew each time if a branch
 * crosses or touches its end, with the comparison that it is fused with. So both move on, by a NOP:
 * prefixes of the comparison would let the pair begin in the old line still. */
static inline void x_branch_in_line(struct x64 *a, unsigned n)
{
    uint32_t from = a->at - a->insn <= 15 ? a->insn : a->at, bytes = a->at - from;
    uint32_t by = 32 - (from & 31);
    uint8_t insn[15];
    if ((from & 31) + bytes + n < 32 || a->full || bytes + n >= 32)
        return;
    memcpy(insn, a->base + from, bytes);
    a->at = from;
    if (by <= 15)
        x_nop(a, by);
    else
        x_nop(a, 9), x_nop(a, by - 9);
    x_bytes(a, insn, bytes);
}

/* Makes the jump whose displacement is at offset `at` go to `to`. One aligned-or-not 4-byte store:
 * only for code that no other thread runs. */
static inline void x_patch(uint8_t *base, uint32_t at, uint32_t to)
{
    uint32_t rel = to - (at + 4);
    memcpy(base + at, &rel, 4);
}

#endif
