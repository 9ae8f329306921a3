/* f32, f64 and half-precision arithmetic against the host's own SSE, FMA and F16C: results and
 * exception flags, in all rounding modes, with DAZ and FZ, masked and unmasked.
 *
 * Usage: native_fp [millions of cases [seed]] */
#include "native_fp.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

/* One operation: the host's, and ours. Operands and results are raw bits in 64. */
struct op {
    const char *name;
    unsigned a, b, c; /* operand kinds: 32, 64, 16 floats; 1: int32, 2: int64; 0: none */
    unsigned result;  /* result kind: the same, 3: an order as EFLAGS ZF PF CF */
    const char *needs;
    uint64_t (*native)(uint64_t a, uint64_t b, uint64_t c, uint32_t *mxcsr);
    uint64_t (*soft)(struct fp *x, uint64_t a, uint64_t b, uint64_t c);
};

uint64_t native_fp_resume;
static uint32_t trapped; /* MXCSR as the signal found it; 0: no trap */

static void on_fpe(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    trapped = uc->uc_mcontext.fpregs->mxcsr;
    uc->uc_mcontext.fpregs->mxcsr = 0x1f80;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)native_fp_resume;
}

/* Runs text between loading and storing MXCSR; a trap lands behind it. */
#define GUARDED(text)                                                                  \
    "leaq 1f(%%rip), %%rax\n mov %%rax, native_fp_resume(%%rip)\n ldmxcsr %[m]\n" text \
    "\n 1: stmxcsr %[m]\n ldmxcsr %[std]\n"
#define NATIVE(name, text)                                                             \
    static uint64_t name(uint64_t a, uint64_t b, uint64_t c, uint32_t *mxcsr)          \
    {                                                                                  \
        static const uint32_t standard = 0x1f80;                                       \
        uint64_t r = 0;                                                                \
        __asm__ volatile("movq %[a], %%xmm0\n movq %[b], %%xmm1\n movq %[c], %%xmm2\n" \
                         "xor %%edx, %%edx\n" GUARDED(text) "mov %%rdx, %[r]\n"        \
                         : [r] "+&r"(r), [m] "+m"(*mxcsr)                              \
                         : [a] "r"(a), [b] "r"(b), [c] "r"(c), [std] "m"(standard)     \
                         : "rax", "rdx", "xmm0", "xmm1", "xmm2", "cc", "memory");      \
        return r;                                                                      \
    }
#define RESULT "movq %%xmm0, %%rdx\n"
#define ORDER  "pushfq\n pop %%rdx\n and $0x45, %%edx\n"

/* clang-format off */
#define BINARY(X) X(add) X(sub) X(mul) X(div) X(min) X(max)
#define X(n) \
    NATIVE(n##32, #n "ss %%xmm1, %%xmm0\n" RESULT) NATIVE(n##64, #n "sd %%xmm1, %%xmm0\n" RESULT) \
    static uint64_t s_##n##32(struct fp *x, uint64_t a, uint64_t b, uint64_t c) \
    { return f32_##n(x, (f32)a, (f32)b); } \
    static uint64_t s_##n##64(struct fp *x, uint64_t a, uint64_t b, uint64_t c) \
    { return f64_##n(x, a, b); }
BINARY(X)
#undef X

NATIVE(sqrt32, "sqrtss %%xmm0, %%xmm0\n" RESULT)
NATIVE(sqrt64, "sqrtsd %%xmm0, %%xmm0\n" RESULT)
/* Of several NaNs the first wins in the order of the SDM's formula, which is not the order of the
 * instruction's operands. */
NATIVE(fma132, "vfmadd132ss %%xmm1, %%xmm2, %%xmm0\n" RESULT)
NATIVE(fma213, "vfmadd213ss %%xmm2, %%xmm0, %%xmm1\n movaps %%xmm1, %%xmm0\n" RESULT)
NATIVE(fma64, "vfmadd231sd %%xmm1, %%xmm0, %%xmm2\n movaps %%xmm2, %%xmm0\n" RESULT)
NATIVE(comi32, "comiss %%xmm1, %%xmm0\n" ORDER)
NATIVE(comi64, "comisd %%xmm1, %%xmm0\n" ORDER)
NATIVE(ucomi32, "ucomiss %%xmm1, %%xmm0\n" ORDER)
NATIVE(ucomi64, "ucomisd %%xmm1, %%xmm0\n" ORDER)
NATIVE(cvt32to64, "cvtss2sd %%xmm0, %%xmm0\n" RESULT)
NATIVE(cvt64to32, "cvtsd2ss %%xmm0, %%xmm0\n" RESULT)
NATIVE(cvt32toi32, "cvtss2si %%xmm0, %%edx\n")
NATIVE(cvt32toi64, "cvtss2si %%xmm0, %%rdx\n")
NATIVE(cvt64toi32, "cvtsd2si %%xmm0, %%edx\n")
NATIVE(cvt64toi64, "cvtsd2si %%xmm0, %%rdx\n")
NATIVE(cvtt32toi32, "cvttss2si %%xmm0, %%edx\n")
NATIVE(cvtt32toi64, "cvttss2si %%xmm0, %%rdx\n")
NATIVE(cvtt64toi32, "cvttsd2si %%xmm0, %%edx\n")
NATIVE(cvtt64toi64, "cvttsd2si %%xmm0, %%rdx\n")
NATIVE(cvti32to32, "cvtsi2ssl %k[a], %%xmm0\n" RESULT)
NATIVE(cvti64to32, "cvtsi2ssq %[a], %%xmm0\n" RESULT)
NATIVE(cvti32to64, "cvtsi2sdl %k[a], %%xmm0\n" RESULT)
NATIVE(cvti64to64, "cvtsi2sdq %[a], %%xmm0\n" RESULT)
NATIVE(round32, "roundss $4, %%xmm0, %%xmm0\n" RESULT)
NATIVE(round64, "roundsd $4, %%xmm0, %%xmm0\n" RESULT)
NATIVE(floor32, "roundss $9, %%xmm0, %%xmm0\n" RESULT)
NATIVE(ceil64, "roundsd $10, %%xmm0, %%xmm0\n" RESULT)
NATIVE(half_up, "vcvtph2ps %%xmm0, %%xmm0\n" RESULT)
NATIVE(half_down, "vcvtps2ph $4, %%xmm0, %%xmm0\n" RESULT)

static uint64_t eflags(enum fp_order o)
{
    static const uint8_t zpc[] = {[FP_LESS] = 1, [FP_EQUAL] = 0x40, [FP_GREATER] = 0,
                                  [FP_UNORDERED] = 0x45};
    return zpc[o];
}

#define SOFT(name, expr) \
    static uint64_t s_##name(struct fp *x, uint64_t a, uint64_t b, uint64_t c) \
    { return (uint64_t)(expr); }
SOFT(sqrt32, f32_sqrt(x, (f32)a))
SOFT(sqrt64, f64_sqrt(x, a))
SOFT(fma132, f32_fma(x, (f32)a, (f32)b, (f32)c))
SOFT(fma213, f32_fma(x, (f32)a, (f32)b, (f32)c))
SOFT(fma64, f64_fma(x, a, b, c))
SOFT(comi32, eflags(f32_compare(x, (f32)a, (f32)b, false)))
SOFT(comi64, eflags(f64_compare(x, a, b, false)))
SOFT(ucomi32, eflags(f32_compare(x, (f32)a, (f32)b, true)))
SOFT(ucomi64, eflags(f64_compare(x, a, b, true)))
SOFT(cvt32to64, f32_to_f64(x, (f32)a))
SOFT(cvt64to32, f64_to_f32(x, a))
SOFT(cvt32toi32, (uint32_t)f32_to_i32(x, (f32)a, x->round))
SOFT(cvt32toi64, f32_to_i64(x, (f32)a, x->round))
SOFT(cvt64toi32, (uint32_t)f64_to_i32(x, a, x->round))
SOFT(cvt64toi64, f64_to_i64(x, a, x->round))
SOFT(cvtt32toi32, (uint32_t)f32_to_i32(x, (f32)a, FP_ZERO))
SOFT(cvtt32toi64, f32_to_i64(x, (f32)a, FP_ZERO))
SOFT(cvtt64toi32, (uint32_t)f64_to_i32(x, a, FP_ZERO))
SOFT(cvtt64toi64, f64_to_i64(x, a, FP_ZERO))
SOFT(cvti32to32, i32_to_f32(x, (int32_t)a))
SOFT(cvti64to32, i64_to_f32(x, (int64_t)a))
SOFT(cvti32to64, i32_to_f64(x, (int32_t)a))
SOFT(cvti64to64, i64_to_f64(x, (int64_t)a))
SOFT(round32, f32_round(x, (f32)a, x->round, false))
SOFT(round64, f64_round(x, a, x->round, false))
SOFT(floor32, f32_round(x, (f32)a, FP_DOWN, true))
SOFT(ceil64, f64_round(x, a, FP_UP, true))
SOFT(half_up, f16_to_f32(x, (uint16_t)a))
SOFT(half_down, f32_to_f16(x, (f32)a, x->round))

#define OP(n, a, b, c, r) {#n, a, b, c, r, NULL, n, s_##n},
#define OP_IF(need, n, a, b, c, r) {#n, a, b, c, r, need, n, s_##n},
static const struct op ops[] = {
#define X(n) OP(n##32, 32, 32, 0, 32) OP(n##64, 64, 64, 0, 64)
    BINARY(X)
#undef X
    OP(sqrt32, 32, 0, 0, 32) OP(sqrt64, 64, 0, 0, 64)
    OP_IF("fma", fma132, 32, 32, 32, 32)
    OP_IF("fma", fma213, 32, 32, 32, 32) OP_IF("fma", fma64, 64, 64, 64, 64)
    OP(comi32, 32, 32, 0, 3) OP(comi64, 64, 64, 0, 3)
    OP(ucomi32, 32, 32, 0, 3) OP(ucomi64, 64, 64, 0, 3)
    OP(cvt32to64, 32, 0, 0, 64) OP(cvt64to32, 64, 0, 0, 32)
    OP(cvt32toi32, 32, 0, 0, 1) OP(cvt32toi64, 32, 0, 0, 2)
    OP(cvt64toi32, 64, 0, 0, 1) OP(cvt64toi64, 64, 0, 0, 2)
    OP(cvtt32toi32, 32, 0, 0, 1) OP(cvtt32toi64, 32, 0, 0, 2)
    OP(cvtt64toi32, 64, 0, 0, 1) OP(cvtt64toi64, 64, 0, 0, 2)
    OP(cvti32to32, 1, 0, 0, 32) OP(cvti64to32, 2, 0, 0, 32)
    OP(cvti32to64, 1, 0, 0, 64) OP(cvti64to64, 2, 0, 0, 64)
    OP(round32, 32, 0, 0, 32) OP(round64, 64, 0, 0, 64)
    OP(floor32, 32, 0, 0, 32) OP(ceil64, 64, 0, 0, 64)
    OP_IF("f16c", half_up, 16, 0, 0, 32) OP_IF("f16c", half_down, 32, 0, 0, 16)
};
/* clang-format on */

static uint64_t operand(struct gen *g, unsigned kind, uint64_t near)
{
    switch (kind) {
    case 16: return gen_next(g) & 0xffff;
    case 32: return gen_f32(g, (f32)near);
    case 64: return gen_f64(g, near);
    case 1:
    case 2: return (uint64_t)((int64_t)gen_next(g) >> (gen_next(g) & 63));
    default: return 0;
    }
}

static uint64_t width(unsigned kind, uint64_t v)
{
    return kind == 16 ? v & 0xffff : kind == 32 || kind == 1 ? (uint32_t)v : v;
}

static unsigned failures;

/* One case; `mxcsr` has the control bits and the flags raised before. */
static void check(const struct op *op, uint64_t a, uint64_t b, uint64_t c, uint32_t mxcsr)
{
    uint32_t host = mxcsr;
    trapped = 0;
    uint64_t want = op->native(a, b, c, &host);
    if (trapped)
        host = trapped;
    struct fp x = {.round = mxcsr >> 13 & 3,
                   .precision = 64,
                   .flush = mxcsr >> 15,
                   .daz = mxcsr >> 6 & 1,
                   .masks = mxcsr >> 7 & 0x3f,
                   .flags = mxcsr & 0x3f};
    uint64_t got = op->soft(&x, a, b, c);
    bool trap = x.flags & ~x.masks & ~mxcsr;
    if ((trap || trapped || width(op->result, want) == width(op->result, got)) &&
        trap == (trapped != 0) && (host & 0x3f) == x.flags)
        return;
    if (failures++ < 40)
        printf("%s(%016llx, %016llx, %016llx) mxcsr %04x%s: %llx flags %02x, host %llx %02x%s\n",
               op->name, (unsigned long long)a, (unsigned long long)b, (unsigned long long)c, mxcsr,
               mxcsr & 0x3f ? " sticky" : "", (unsigned long long)got, x.flags,
               (unsigned long long)want, host & 0x3f, trapped ? " trapped" : "");
}

static bool host_has(const char *feature)
{
    __builtin_cpu_init();
    if (!feature)
        return true;
    return feature[1] == 'm' ? __builtin_cpu_supports("fma") : __builtin_cpu_supports("avx2");
}

int main(int argc, char **argv)
{
    double millions = argc > 1 ? atof(argv[1]) : 4;
    struct gen g = {argc > 2 ? strtoull(argv[2], NULL, 0) : 1};
    struct sigaction sa = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGFPE, &sa, NULL);
    unsigned long per_op = (unsigned long)(millions * 1e6 / ARRAY_LEN(ops));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const struct op *op = &ops[i];
        if (!host_has(op->needs)) {
            printf("skipped %s: the host has no %s\n", op->name, op->needs);
            continue;
        }
        for (unsigned long n = 0; n < per_op; n++) {
            uint64_t a = operand(&g, op->a, gen_next(&g)), b = operand(&g, op->b, a);
            uint64_t c = operand(&g, op->c, b), r = gen_next(&g);
            uint32_t mxcsr = 0x1f80 | (r & 0xe040) | (r >> 20 & 1 ? 0x20 : 0);
            if (r >> 24 & 1) /* the modes that programs run in */
                mxcsr &= 0x1fbf;
            if (n % 50 == 0) /* a trap is slow */
                mxcsr = (mxcsr & ~0x1fbfu) | (uint32_t)((r >> 32) & 0x1f80);
            check(op, a, b, c, mxcsr);
        }
    }
    printf("%u differences\n", failures);
    return failures != 0;
}
