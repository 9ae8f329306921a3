/* What the floating-point files of the vector unit share: MXCSR as softfp sees it, and its
 * exceptions. */
#ifndef ISHI_CPU_VEC_FP_H
#define ISHI_CPU_VEC_FP_H

#include "cpu/softfp.h"
#include "cpu/vec.h"

#define MXCSR_FLAGS 0x003fu
#define MXCSR_DAZ   0x0040u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_RC    0x6000u
#define MXCSR_FZ    0x8000u

/* May the host's arithmetic serve? Rounding to nearest, and inexact, the one exception that
 * ordinary operands raise, masked and raised before. */
VEC_INLINE bool vec_fp_fast(const struct cpu *c)
{
    return (c->s.mxcsr & (MXCSR_RC | FP_INEXACT << 7 | FP_INEXACT)) ==
           (FP_INEXACT << 7 | FP_INEXACT);
}

VEC_INLINE struct fp vec_fp_begin(const struct cpu *c)
{
    uint32_t m = c->s.mxcsr;
    return (struct fp){.round = (uint8_t)((m & MXCSR_RC) >> 13),
                       .flush = m & MXCSR_FZ,
                       .daz = m & MXCSR_DAZ,
                       .masks = (uint8_t)((m & MXCSR_MASKS) >> 7)};
}

/* Takes the flags that the lanes of an instruction raised into MXCSR. False: one is not masked, the
 * destination must stay (SDM 1 11.5.2). */
bool vec_fp_end(struct cpu *c, unsigned flags);

/* Puts n bytes of result (32 or 16 whole, 8 or 4 a scalar with the rest of a) into u->dst. */
VEC_INLINE void vec_put(struct cpu *c, const struct uop *u, const union vreg *r, unsigned n,
                        bool vex)
{
    union vreg *d = cpu_vreg(c, u->dst);
    union vreg v;
    if (n < 16 && vex) {
        memcpy(&v, cpu_vreg(c, u->a), 16);
        memcpy(d, &v, 16);
    }
    memcpy(d, r, n);
    if (vex && n < 32)
        d->q[2] = d->q[3] = 0;
}

/* The four widths of NAME, made by calling run(c, u, n, vex, …). */
#define VEC_FP(name, run, n128, n256, ...)                     \
    static bool name##_xmm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, n128, false, __VA_ARGS__);            \
    }                                                          \
    static bool name##_vex(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, n128, true, __VA_ARGS__);             \
    }                                                          \
    static bool name##_ymm(struct cpu *c, const struct uop *u) \
    {                                                          \
        return run(c, u, n256, true, __VA_ARGS__);             \
    }                                                          \
    vec_op v_##name = {NULL, name##_xmm, name##_vex, name##_ymm};
#define VEC_FP_PACKED(name, run, ...) VEC_FP(name, run, 16, 32, __VA_ARGS__)
/* VEX.L is ignored by scalar forms. */
#define VEC_FP_SCALAR(name, run, n, ...) VEC_FP(name, run, n, n, __VA_ARGS__)

#endif
