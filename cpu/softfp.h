/* IEEE 754 arithmetic in integers: binary32, binary64 and the x87's 80-bit format, with the x86
 * rules for NaNs, denormals and exceptions (SDM 1 4.8, 8.5, 11.5; SDM 1 table 4-7).
 *
 * The same bits on every host. Pure functions over a context of rounding and flags. */
#ifndef ISHI_CPU_SOFTFP_H
#define ISHI_CPU_SOFTFP_H

#include "base/bits.h"

/* Exceptions, at their place in MXCSR and the x87 status word. */
#define FP_INVALID   0x01u
#define FP_DENORMAL  0x02u
#define FP_DIVZERO   0x04u
#define FP_OVERFLOW  0x08u
#define FP_UNDERFLOW 0x10u
#define FP_INEXACT   0x20u

enum fp_round { FP_NEAREST, FP_DOWN, FP_UP, FP_ZERO }; /* the encoding of RC */

struct fp {
    uint8_t round;     /* enum fp_round */
    uint8_t precision; /* x87 results: significand bits 24, 53 or 64; other formats ignore it */
    bool flush;        /* MXCSR.FZ: tiny results become zero (masked underflow only) */
    bool daz;          /* MXCSR.DAZ */
    uint8_t masks;     /* FP_* that are masked: decides what an overflow or underflow returns */
    uint8_t flags;     /* FP_* raised; only ever or'ed */
    bool rounded_up;   /* x87 C1: the last rounding went away from zero */
    uint8_t unused;
};

/* 80-bit extended: explicit integer bit, sign in bit 15 of the exponent word. */
struct f80 {
    uint64_t sig;
    uint16_t exp;
};

typedef uint32_t f32; /* raw bits */
typedef uint64_t f64;

/* Where a name ends in _slow, the function proper (f32_add() …) has the same arguments without that
 * ending and is in softfp_fast.h, included below: a short cut through the host's own IEEE
 * arithmetic, and this one for the rest. */
f32 f32_add_slow(struct fp *x, f32 a, f32 b);
f32 f32_sub_slow(struct fp *x, f32 a, f32 b);
f32 f32_mul_slow(struct fp *x, f32 a, f32 b);
f32 f32_div_slow(struct fp *x, f32 a, f32 b);
f32 f32_sqrt_slow(struct fp *x, f32 a);
f64 f64_add_slow(struct fp *x, f64 a, f64 b);
f64 f64_sub_slow(struct fp *x, f64 a, f64 b);
f64 f64_mul_slow(struct fp *x, f64 a, f64 b);
f64 f64_div_slow(struct fp *x, f64 a, f64 b);
f64 f64_sqrt_slow(struct fp *x, f64 a);
/* a * b + c, rounded once. Of several NaNs the first wins, so a and b must come in the order of the
 * SDM's formula (VFMADD213: its second operand first). */
f32 f32_fma_slow(struct fp *x, f32 a, f32 b, f32 c);
f64 f64_fma(struct fp *x, f64 a, f64 b, f64 c);
/* The x87's operations. NaNs: the larger significand (SDM 1 table 4-7). */
struct f80 f80_add(struct fp *x, struct f80 a, struct f80 b);
struct f80 f80_sub(struct fp *x, struct f80 a, struct f80 b);
struct f80 f80_mul(struct fp *x, struct f80 a, struct f80 b);
struct f80 f80_div(struct fp *x, struct f80 a, struct f80 b);
struct f80 f80_sqrt(struct fp *x, struct f80 a);

/* SSE's MIN and MAX: the second operand if either is NaN or both are zero (SDM 2 MINPS). */
f32 f32_min_slow(struct fp *x, f32 a, f32 b);
f32 f32_max_slow(struct fp *x, f32 a, f32 b);
f64 f64_min_slow(struct fp *x, f64 a, f64 b);
f64 f64_max_slow(struct fp *x, f64 a, f64 b);

enum fp_order { FP_LESS, FP_EQUAL, FP_GREATER, FP_UNORDERED };
/* `quiet`: only a signalling NaN raises invalid; else any NaN. */
enum fp_order f32_compare_slow(struct fp *x, f32 a, f32 b, bool quiet);
enum fp_order f64_compare_slow(struct fp *x, f64 a, f64 b, bool quiet);
enum fp_order f80_compare(struct fp *x, struct f80 a, struct f80 b, bool quiet);

/* Conversions. To integers: out of range or NaN raises invalid and gives the integer indefinite
 * (0x80…0). `round` is used instead of x->round, so that truncation is FP_ZERO. */
int32_t f32_to_i32_slow(struct fp *x, f32 a, enum fp_round round);
int64_t f32_to_i64(struct fp *x, f32 a, enum fp_round round);
int32_t f64_to_i32_slow(struct fp *x, f64 a, enum fp_round round);
int64_t f64_to_i64_slow(struct fp *x, f64 a, enum fp_round round);
int16_t f80_to_i16(struct fp *x, struct f80 a, enum fp_round round);
int32_t f80_to_i32(struct fp *x, struct f80 a, enum fp_round round);
int64_t f80_to_i64(struct fp *x, struct f80 a, enum fp_round round);
f32 i32_to_f32_slow(struct fp *x, int32_t a);
f32 i64_to_f32(struct fp *x, int64_t a);
f64 i64_to_f64_slow(struct fp *x, int64_t a);
struct f80 i64_to_f80(int64_t a); /* exact */
f64 f32_to_f64_slow(struct fp *x, f32 a);
f32 f64_to_f32_slow(struct fp *x, f64 a);
struct f80 f32_to_f80(struct fp *x, f32 a);
struct f80 f64_to_f80(struct fp *x, f64 a);
f32 f80_to_f32(struct fp *x, struct f80 a);
f64 f80_to_f64(struct fp *x, struct f80 a);
/* Half precision, for F16C. */
f32 f16_to_f32(struct fp *x, uint16_t a);
uint16_t f32_to_f16(struct fp *x, f32 a, enum fp_round round);

/* To an integral value in the same format. `exact_quiet`: don't raise inexact (ROUNDPS bit 3). */
f32 f32_round(struct fp *x, f32 a, enum fp_round round, bool exact_quiet);
f64 f64_round(struct fp *x, f64 a, enum fp_round round, bool exact_quiet);
struct f80 f80_round(struct fp *x, struct f80 a); /* FRNDINT */

/* Widening without a look at NaNs, for x87 operands in memory: signalling NaNs stay so, and a
 * denormal is reported instead of raised, for it becomes normal. */
struct f80 f32_widen_slow(f32 a, bool *den);
struct f80 f64_widen_slow(f64 a, bool *den);

#include "cpu/softfp_fast.h"

#endif
