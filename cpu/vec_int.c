/* Integer arithmetic, logic, compares and shifts on vector lanes (SDM 1 9.4, 11.4, 12).
 *
 * A body is a plain loop over the lanes of n bytes, which the compiler vectorises for the host. */
#include "cpu/vec.h"

/* One lane at a time: x and y are the sources' lanes as `type`, of union vreg's `field`. */
#define LANES(name, field, type, expr)                                                        \
    VEC_INLINE void name(union vreg *r, const union vreg *a, const union vreg *b, unsigned n, \
                         unsigned imm)                                                        \
    {                                                                                         \
        for (unsigned i = 0; i < n / sizeof(type); i++) {                                     \
            type x = (type)a->field[i], y = (type)b->field[i];                                \
            (void)x, (void)y;                                                                 \
            r->field[i] = (expr);                                                             \
        }                                                                                     \
    }                                                                                         \
    VEC_MXY(name)

VEC_INLINE int8_t sat_s8(int v)
{
    return (int8_t)(v > 127 ? 127 : v < -128 ? -128 : v);
}

VEC_INLINE int16_t sat_s16(int v)
{
    return (int16_t)(v > 32767 ? 32767 : v < -32768 ? -32768 : v);
}

VEC_INLINE uint8_t sat_u8(int v)
{
    return (uint8_t)(v > 255 ? 255 : v < 0 ? 0 : v);
}

VEC_INLINE uint16_t sat_u16(int v)
{
    return (uint16_t)(v > 65535 ? 65535 : v < 0 ? 0 : v);
}

/* clang-format off */
LANES(paddb, b, uint8_t, (uint8_t)(x + y))
LANES(paddw, w, uint16_t, (uint16_t)(x + y))
LANES(paddd, d, uint32_t, x + y)
LANES(paddq, q, uint64_t, x + y)
LANES(psubb, b, uint8_t, (uint8_t)(x - y))
LANES(psubw, w, uint16_t, (uint16_t)(x - y))
LANES(psubd, d, uint32_t, x - y)
LANES(psubq, q, uint64_t, x - y)
LANES(paddsb, b, int8_t, (uint8_t)sat_s8(x + y))
LANES(paddsw, w, int16_t, (uint16_t)sat_s16(x + y))
LANES(paddusb, b, uint8_t, sat_u8(x + y))
LANES(paddusw, w, uint16_t, sat_u16(x + y))
LANES(psubsb, b, int8_t, (uint8_t)sat_s8(x - y))
LANES(psubsw, w, int16_t, (uint16_t)sat_s16(x - y))
LANES(psubusb, b, uint8_t, sat_u8(x - y))
LANES(psubusw, w, uint16_t, sat_u16(x - y))
LANES(pminub, b, uint8_t, x < y ? x : y)
LANES(pminuw, w, uint16_t, x < y ? x : y)
LANES(pminud, d, uint32_t, x < y ? x : y)
LANES(pminsb, b, int8_t, (uint8_t)(x < y ? x : y))
LANES(pminsw, w, int16_t, (uint16_t)(x < y ? x : y))
LANES(pminsd, d, int32_t, (uint32_t)(x < y ? x : y))
LANES(pmaxub, b, uint8_t, x > y ? x : y)
LANES(pmaxuw, w, uint16_t, x > y ? x : y)
LANES(pmaxud, d, uint32_t, x > y ? x : y)
LANES(pmaxsb, b, int8_t, (uint8_t)(x > y ? x : y))
LANES(pmaxsw, w, int16_t, (uint16_t)(x > y ? x : y))
LANES(pmaxsd, d, int32_t, (uint32_t)(x > y ? x : y))
LANES(pavgb, b, uint8_t, (uint8_t)((x + y + 1) >> 1))
LANES(pavgw, w, uint16_t, (uint16_t)((x + y + 1) >> 1))
LANES(pcmpeqb, b, uint8_t, x == y ? 0xff : 0)
LANES(pcmpeqw, w, uint16_t, x == y ? 0xffff : 0)
LANES(pcmpeqd, d, uint32_t, x == y ? ~0u : 0)
LANES(pcmpeqq, q, uint64_t, x == y ? ~0ull : 0)
LANES(pcmpgtb, b, int8_t, x > y ? 0xff : 0)
LANES(pcmpgtw, w, int16_t, x > y ? 0xffff : 0)
LANES(pcmpgtd, d, int32_t, x > y ? ~0u : 0)
LANES(pcmpgtq, q, int64_t, x > y ? ~0ull : 0)
LANES(pand, q, uint64_t, x & y)
LANES(pandn, q, uint64_t, ~x & y)
LANES(por, q, uint64_t, x | y)
LANES(pxor, q, uint64_t, x ^ y)
LANES(pmullw, w, int16_t, (uint16_t)(x * y))
LANES(pmulhw, w, int16_t, (uint16_t)((x * y) >> 16))
LANES(pmulhuw, w, uint16_t, (uint16_t)(((uint32_t)x * y) >> 16))
LANES(pmulhrsw, w, int16_t, (uint16_t)((((x * y) >> 14) + 1) >> 1))
LANES(pmulld, d, uint32_t, x * y)
LANES(pmuludq, q, uint64_t, (uint64_t)(uint32_t)x * (uint32_t)y)
LANES(pmuldq, q, uint64_t, (uint64_t)((int64_t)(int32_t)x * (int32_t)y))
LANES(pabsb, b, int8_t, (uint8_t)(y < 0 ? -y : y))
LANES(pabsw, w, int16_t, (uint16_t)(y < 0 ? -y : y))
LANES(pabsd, d, uint32_t, y >> 31 ? 0u - y : y)
LANES(psignb, b, int8_t, (uint8_t)(y < 0 ? -x : y == 0 ? 0 : x))
LANES(psignw, w, int16_t, (uint16_t)(y < 0 ? -x : y == 0 ? 0 : x))
LANES(psignd, d, uint32_t, y >> 31 ? 0u - x : y == 0 ? 0 : x)
LANES(psllvd, d, uint32_t, y > 31 ? 0 : x << y)
LANES(psllvq, q, uint64_t, y > 63 ? 0 : x << y)
LANES(psrlvd, d, uint32_t, y > 31 ? 0 : x >> y)
LANES(psrlvq, q, uint64_t, y > 63 ? 0 : x >> y)
LANES(psravd, d, uint32_t, (uint32_t)((int32_t)x >> (y > 31 ? 31 : y)))
/* clang-format on */

/* Shifts of all lanes by one count: the low 64 bits of the second source, or the immediate. */
#define SHIFT(name, field, type, source, count, expr)                                         \
    VEC_INLINE void name(union vreg *r, const union vreg *a, const union vreg *b, unsigned n, \
                         unsigned imm)                                                        \
    {                                                                                         \
        const unsigned width = 8 * sizeof(type);                                              \
        uint64_t wanted = (count);                                                            \
        bool out = wanted >= width;                                                           \
        unsigned s = out ? width - 1 : (unsigned)wanted;                                      \
        for (unsigned i = 0; i < n / sizeof(type); i++) {                                     \
            type x = (type)source->field[i];                                                  \
            r->field[i] = (expr);                                                             \
        }                                                                                     \
    }                                                                                         \
    VEC_MXY(name)
#define SHIFT_BOTH(name, field, type, expr)    \
    SHIFT(name, field, type, a, b->q[0], expr) \
    SHIFT(name##_imm, field, type, b, imm, expr)

SHIFT_BOTH(psllw, w, uint16_t, out ? 0 : (uint16_t)(x << s))
SHIFT_BOTH(pslld, d, uint32_t, out ? 0 : x << s)
SHIFT_BOTH(psllq, q, uint64_t, out ? 0 : x << s)
SHIFT_BOTH(psrlw, w, uint16_t, out ? 0 : (uint16_t)(x >> s))
SHIFT_BOTH(psrld, d, uint32_t, out ? 0 : x >> s)
SHIFT_BOTH(psrlq, q, uint64_t, out ? 0 : x >> s)
SHIFT_BOTH(psraw, w, int16_t, (uint16_t)(x >> s))
SHIFT_BOTH(psrad, d, int32_t, (uint32_t)(x >> s))

/* Whole 16-byte lanes by bytes. */
VEC_INLINE void pslldq(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                       unsigned imm)
{
    memset(r, 0, n);
    for (unsigned g = 0; g < n && imm < 16; g += 16)
        memcpy(r->b + g + imm, b->b + g, 16 - imm);
}
VEC_XY(pslldq)

VEC_INLINE void psrldq(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                       unsigned imm)
{
    memset(r, 0, n);
    for (unsigned g = 0; g < n && imm < 16; g += 16)
        memcpy(r->b + g, b->b + g + imm, 16 - imm);
}
VEC_XY(psrldq)

VEC_INLINE void pmaddwd(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                        unsigned imm)
{
    for (unsigned i = 0; i < n / 4; i++) {
        int32_t lo = (int16_t)a->w[2 * i] * (int16_t)b->w[2 * i];
        int32_t hi = (int16_t)a->w[2 * i + 1] * (int16_t)b->w[2 * i + 1];
        r->d[i] = (uint32_t)lo + (uint32_t)hi;
    }
}
VEC_MXY(pmaddwd)

/* Unsigned bytes of the first source, signed ones of the second. */
VEC_INLINE void pmaddubsw(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                          unsigned imm)
{
    for (unsigned i = 0; i < n / 2; i++) {
        int lo = a->b[2 * i] * (int8_t)b->b[2 * i];
        int hi = a->b[2 * i + 1] * (int8_t)b->b[2 * i + 1];
        r->w[i] = (uint16_t)sat_s16(lo + hi);
    }
}
VEC_MXY(pmaddubsw)

VEC_INLINE void psadbw(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                       unsigned imm)
{
    for (unsigned i = 0; i < n / 8; i++) {
        unsigned sum = 0;
        for (unsigned j = 8 * i; j < 8 * i + 8; j++)
            sum += a->b[j] > b->b[j] ? a->b[j] - b->b[j] : b->b[j] - a->b[j];
        r->q[i] = sum;
    }
}
VEC_MXY(psadbw)

/* Horizontal pairs: within each 16 bytes (8 for MMX), first the pairs of a, then those of b. */
#define PAIRS(name, field, type, expr)                                                        \
    VEC_INLINE void name(union vreg *r, const union vreg *a, const union vreg *b, unsigned n, \
                         unsigned imm)                                                        \
    {                                                                                         \
        const unsigned lanes = (n < 16 ? n : 16) / sizeof(type);                              \
        for (unsigned g = 0; g < n / sizeof(type); g += lanes) {                              \
            for (unsigned i = 0; i < lanes; i++) {                                            \
                const union vreg *s = i < lanes / 2 ? a : b;                                  \
                type x = (type)s->field[g + (2 * i & (lanes - 1))];                           \
                type y = (type)s->field[g + (2 * i & (lanes - 1)) + 1];                       \
                r->field[g + i] = (expr);                                                     \
            }                                                                                 \
        }                                                                                     \
    }                                                                                         \
    VEC_MXY(name)

PAIRS(phaddw, w, uint16_t, (uint16_t)(x + y))
PAIRS(phaddd, d, uint32_t, x + y)
PAIRS(phaddsw, w, int16_t, (uint16_t)sat_s16(x + y))
PAIRS(phsubw, w, uint16_t, (uint16_t)(x - y))
PAIRS(phsubd, d, uint32_t, x - y)
PAIRS(phsubsw, w, int16_t, (uint16_t)sat_s16(x - y))

/* Eight sums of absolute differences of four bytes: a's window slides, b's block stands. */
VEC_INLINE void mpsadbw(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                        unsigned imm)
{
    for (unsigned g = 0; g < n; g += 16) {
        unsigned control = g ? imm >> 3 : imm;
        const uint8_t *window = a->b + g + (control >> 2 & 1) * 4;
        const uint8_t *block = b->b + g + (control & 3) * 4;
        for (unsigned i = 0; i < 8; i++) {
            int sum = 0;
            for (unsigned j = 0; j < 4; j++) {
                int diff = window[i + j] - block[j];
                sum += diff < 0 ? -diff : diff;
            }
            r->w[g / 2 + i] = (uint16_t)sum;
        }
    }
}
VEC_XY(mpsadbw)

VEC_INLINE void phminposuw(union vreg *r, const union vreg *a, const union vreg *b, unsigned n,
                           unsigned imm)
{
    unsigned at = 0;
    for (unsigned i = 1; i < 8; i++)
        if (b->w[i] < b->w[at])
            at = i;
    r->q[0] = b->w[at] | at << 16;
    r->q[1] = 0;
}
VEC_X(phminposuw)
