/* Floating-point work: matrix product, n bodies, a vector sum. Built twice: by SSE2 (double.bin)
 * and by the x87 (x87.bin). Prints a checksum. */
#include "port.h"

#define N 48
static double a[N][N], b[N][N], c[N][N];
static float x[4096], y[4096];
static double body[5][7];

static void matmul(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double s = 0;
            for (int k = 0; k < N; k++)
                s += a[i][k] * b[k][j];
            c[i][j] = s;
        }
}

static double root(double v)
{
    double r = v > 1 ? v : 1;
    for (int i = 0; i < 12; i++)
        r = 0.5 * (r + v / r);
    return r;
}

static void bodies(void)
{
    for (int step = 0; step < 200; step++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double d[3], q = 0.01;
                for (int k = 0; k < 3; k++) {
                    d[k] = body[i][k] - body[j][k];
                    q += d[k] * d[k];
                }
                double m = 0.001 / (q * root(q));
                for (int k = 0; k < 3; k++) {
                    body[i][3 + k] -= d[k] * body[j][6] * m;
                    body[j][3 + k] += d[k] * body[i][6] * m;
                }
            }
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < 3; k++)
                body[i][k] += 0.001 * body[i][3 + k];
    }
}

static void saxpy(void)
{
    for (int i = 0; i < 4096; i++)
        y[i] = 1.0009f * x[i] + y[i] * 0.5f;
}

void run(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = 1.0 / (i + j + 1);
            b[i][j] = i - j * 0.5;
        }
    for (int i = 0; i < 4096; i++)
        x[i] = (float)i * 0.25f;
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 7; k++)
            body[i][k] = i * 0.7 + k * 1.1 + 1;
    for (int i = 0; i < 200; i++) {
        matmul();
        bodies();
        for (int k = 0; k < 20; k++)
            saxpy();
    }
    print_hex((unsigned)(c[3][5] * 1000) ^ (unsigned)(body[2][1] * 1e6) ^ (unsigned)y[100]);
}
