/* Floating point: SSE2 double, SSE and AVX2 vectors of float, integer vectors, x87. */
#include "prog.h"

#include <string.h>

#define N 48
static double a[N][N], b[N][N], c[N][N];

static uint32_t bits(double v)
{
    uint64_t q;
    memcpy(&q, &v, 8);
    return (uint32_t)(q ^ q >> 32);
}

static uint32_t matmul(unsigned count)
{
    uint32_t sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = 1.0 / (i + j + 1);
            b[i][j] = i - j * 0.5;
        }
    while (count--) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double s = 0;
                for (int k = 0; k < N; k++)
                    s += a[i][k] * b[k][j];
                c[i][j] = s;
            }
        a[count % N][3] += 0.5;
        sum = mix(sum, bits(c[3][5]));
    }
    return sum;
}

/* Bodies under gravity; once in double, once in the x87's format. */
#define NBODY(name, real, root)                                     \
    static uint32_t name(unsigned count)                            \
    {                                                               \
        real body[5][7];                                            \
        for (int i = 0; i < 5; i++)                                 \
            for (int k = 0; k < 7; k++)                             \
                body[i][k] = i * (real)0.7 + k * (real)1.1 + 1;     \
        while (count--) {                                           \
            for (int i = 0; i < 5; i++)                             \
                for (int j = i + 1; j < 5; j++) {                   \
                    real d[3], q = (real)0.01;                      \
                    for (int k = 0; k < 3; k++) {                   \
                        d[k] = body[i][k] - body[j][k];             \
                        q += d[k] * d[k];                           \
                    }                                               \
                    real m = (real)0.001 / (q * root(q));           \
                    for (int k = 0; k < 3; k++) {                   \
                        body[i][3 + k] -= d[k] * body[j][6] * m;    \
                        body[j][3 + k] += d[k] * body[i][6] * m;    \
                    }                                               \
                }                                                   \
            for (int i = 0; i < 5; i++)                             \
                for (int k = 0; k < 3; k++)                         \
                    body[i][k] += (real)0.001 * body[i][3 + k];     \
        }                                                           \
        return bits((double)body[2][1]) ^ bits((double)body[4][3]); \
    }

static double root(double v)
{
    double r;
    __asm__("sqrtsd %1, %0" : "=x"(r) : "x"(v));
    return r;
}

static long double root_x87(long double v)
{
    __asm__("fsqrt" : "+t"(v));
    return v;
}

NBODY(nbody, double, root)
NBODY(x87, long double, root_x87)

/* y = k x + y/2 over 16 KB, in vectors of 16 and of 32 bytes. */
typedef float f4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
static float x[4096] __attribute__((aligned(32))), y[4096] __attribute__((aligned(32)));

static void saxpy_setup(void)
{
    for (int i = 0; i < 4096; i++)
        x[i] = (float)i * 0.25f;
}

static uint32_t saxpy_sse(unsigned count)
{
    f4 *u = (f4 *)x, *v = (f4 *)y;
    while (count--)
        for (int i = 0; i < 1024; i++)
            v[i] = u[i] * 1.0009f + v[i] * 0.5f;
    return bits((double)y[100]) ^ bits((double)y[4001]);
}

__attribute__((target("avx2"))) static uint32_t saxpy_avx2(unsigned count)
{
    f8 *u = (f8 *)x, *v = (f8 *)y;
    while (count--)
        for (int i = 0; i < 512; i++)
            v[i] = u[i] * 1.0009f + v[i] * 0.5f;
    return bits((double)y[100]) ^ bits((double)y[4001]);
}

__attribute__((target("avx2,fma"))) static uint32_t fma_dot(unsigned count)
{
    f8 *u = (f8 *)x, *v = (f8 *)y, s[4] = {{0}};
    while (count--)
        for (int i = 0; i < 512; i += 4)
            for (int k = 0; k < 4; k++) {
                s[k] = __builtin_ia32_vfmaddps256(u[i + k], v[i + k] + 0.01f, s[k] * 0.5f);
            }
    return bits((double)s[0][1]) ^ bits((double)s[3][6]);
}

/* Counts bytes and adds them up, 16 and 32 at a time. */
typedef int8_t b16 __attribute__((vector_size(16)));
typedef int8_t b32 __attribute__((vector_size(32)));
typedef char c16 __attribute__((vector_size(16)));
typedef char c32 __attribute__((vector_size(32)));
typedef int64_t q2 __attribute__((vector_size(16)));
typedef int64_t q4 __attribute__((vector_size(32)));
static int8_t bytes[16384] __attribute__((aligned(32)));

static void bytes_setup(void)
{
    uint32_t r = 5;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (int8_t)(next_random(&r) >> 8);
}

static uint32_t bytes_sse2(unsigned count)
{
    uint32_t sum = 0;
    q2 all = {0};
    while (count--) {
        for (unsigned i = 0; i < sizeof bytes; i += 16) {
            b16 v = *(b16 *)(bytes + i);
            all += (q2)__builtin_ia32_psadbw128((c16)v, (c16){0});
            sum += (uint32_t)__builtin_ia32_pmovmskb128((c16)(v == (int8_t)count));
        }
        sum = mix(sum, (uint32_t)(all[0] + all[1]));
    }
    return sum;
}

__attribute__((target("avx2"))) static uint32_t bytes_avx2(unsigned count)
{
    uint32_t sum = 0;
    q4 all = {0};
    while (count--) {
        for (unsigned i = 0; i < sizeof bytes; i += 32) {
            b32 v = *(b32 *)(bytes + i);
            all += (q4)__builtin_ia32_psadbw256((c32)v, (c32){0});
            sum += (uint32_t)__builtin_ia32_pmovmskb256((c32)(v == (int8_t)count));
        }
        sum = mix(sum, (uint32_t)(all[0] + all[3]));
    }
    return sum;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct prog progs_fp[] = {
    {"matmul", matmul},
    {"nbody", nbody},
    {"saxpy-sse", saxpy_sse, saxpy_setup},
    {"saxpy-avx2", saxpy_avx2, saxpy_setup, has_avx2},
    {"fma", fma_dot, saxpy_setup, has_avx2},
    {"bytes-sse2", bytes_sse2, bytes_setup},
    {"bytes-avx2", bytes_avx2, bytes_setup, has_avx2},
    {"x87", x87},
    {0},
};
