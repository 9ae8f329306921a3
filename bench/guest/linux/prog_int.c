/* Integer work of the kinds that compilers make of C. */
#include "prog.h"

#include <stdlib.h>
#include <string.h>

static uint32_t crc_table[256];

static void crc_setup(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc(uint32_t c, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n--)
        c = crc_table[(c ^ *p++) & 255] ^ c >> 8;
    return c;
}

/* A list that is reversed and searched, a matrix, a state machine that reads numbers, a CRC. */
static struct item {
    struct item *next;
    int16_t key, value;
} items[256];
static int16_t left[24][24], right[24][24];
static int32_t product[24][24];

static struct item *list_work(struct item *head, uint32_t *sum)
{
    struct item *back = NULL;
    for (struct item *next; head; head = next) {
        next = head->next;
        head->next = back;
        back = head;
    }
    for (int key = 0; key < 64; key++)
        for (struct item *i = back; i; i = i->next)
            if (i->key == key) {
                *sum = mix(*sum, (uint32_t)i->value++);
                break;
            }
    return back;
}

static void matrix_work(void)
{
    for (int i = 0; i < 24; i++)
        for (int j = 0; j < 24; j++) {
            int32_t s = 0;
            for (int k = 0; k < 24; k++)
                s += left[i][k] * right[k][j];
            product[i][j] = s;
        }
    for (int i = 0; i < 24; i++)
        for (int j = 0; j < 24; j++)
            left[i][j] = (int16_t)(product[i][j] >> 3 & 0xff);
}

enum state { START, INTEGER, FRACTION, EXPONENT, BAD };

static uint32_t states_work(const char *p)
{
    uint32_t seen[5] = {0};
    enum state s = START;
    for (; *p; p++) {
        char c = *p;
        if (c == ',') {
            seen[s]++;
            s = START;
            continue;
        }
        switch (s) {
        case START: s = c >= '0' && c <= '9' ? INTEGER : c == '+' || c == '-' ? START : BAD; break;
        case INTEGER:
            if (c == '.')
                s = FRACTION;
            else if (c < '0' || c > '9')
                s = BAD;
            break;
        case FRACTION:
            if (c == 'e')
                s = EXPONENT;
            else if (c < '0' || c > '9')
                s = BAD;
            break;
        case EXPONENT:
            if (c != '-' && (c < '0' || c > '9'))
                s = BAD;
            break;
        default: break;
        }
    }
    return crc(~0u, seen, sizeof seen);
}

static uint32_t mixed(unsigned count)
{
    static const char text[] = "5012,1.2e-7,-12.5,+99,0xaf,12.e5,T0.3,-110.700e3,+0.64400,87,1e,"
                               "5012,1.2e-7,-12.5,+99,0xaf,12.e5,T0.3,-110.700e3,+0.64400,87,1e,";
    uint32_t sum = 1;
    struct item *head = items;
    crc_setup();
    for (int i = 0; i < 256; i++)
        items[i] =
            (struct item){i < 255 ? &items[i + 1] : NULL, (int16_t)(i * 37 & 255), (int16_t)i};
    for (int i = 0; i < 24; i++)
        for (int j = 0; j < 24; j++) {
            left[i][j] = (int16_t)((i * 7 + j * 5) & 63);
            right[i][j] = (int16_t)((i ^ j) * 11 & 63);
        }
    while (count--) {
        head = list_work(head, &sum);
        matrix_work();
        for (int i = 0; i < 8; i++)
            sum = mix(sum, states_work(text));
        sum = mix(sum, crc(sum, product, sizeof product));
    }
    return sum;
}

static uint8_t flags[1 << 18];

static uint32_t sieve(unsigned count)
{
    uint32_t sum = 0;
    while (count--) {
        memset(flags, 1, sizeof flags);
        for (uint32_t i = 2; i < sizeof flags; i++) {
            if (!flags[i])
                continue;
            sum = mix(sum, i);
            for (uint32_t k = 2 * i; k < sizeof flags; k += i)
                flags[k] = 0;
        }
    }
    return sum;
}

static uint32_t ror(uint32_t v, int n)
{
    return v >> n | v << (32 - n);
}

static void sha_block(uint32_t *h, const uint32_t *k, const uint32_t *data)
{
    uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
    for (int t = 0; t < 16; t++)
        w[t] = __builtin_bswap32(data[t]);
    for (int t = 16; t < 64; t++) {
        uint32_t x = w[t - 15], y = w[t - 2];
        w[t] = w[t - 16] + w[t - 7] + (ror(x, 7) ^ ror(x, 18) ^ x >> 3) +
               (ror(y, 17) ^ ror(y, 19) ^ y >> 10);
    }
    for (int t = 0; t < 64; t++) {
        uint32_t x = i + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t];
        uint32_t y = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        i = g, g = f, f = e, e = d + x, d = c, c = b, b = a, a = x + y;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += i;
}

/* SHA-256's compression; its constants do not matter here. */
static uint32_t sha256(unsigned count)
{
    uint32_t h[8], k[64], data[16], x = 1;
    for (int i = 0; i < 8; i++)
        h[i] = next_random(&x);
    for (int i = 0; i < 64; i++)
        k[i] = next_random(&x);
    while (count--)
        for (int i = 0; i < 64; i++) {
            for (int j = 0; j < 16; j++)
                data[j] = h[j & 7] + (uint32_t)j;
            sha_block(h, k, data);
        }
    return h[0] ^ h[7];
}

/* LZ77 by a hash of four bytes, and back. */
#define LZ_SIZE 65536
static uint8_t lz_in[LZ_SIZE + 8], lz_packed[LZ_SIZE * 2], lz_out[LZ_SIZE];
static uint32_t lz_head[4096];

static void lz_setup(void)
{
    static const char *const words[] = {"the ",  "machine ",  "of ",  "stone ",
                                        "runs ", "anywhere ", "and ", "a "};
    uint32_t x = 7;
    size_t n = 0;
    while (n < LZ_SIZE) {
        const char *w = words[next_random(&x) & 7];
        for (; *w && n < LZ_SIZE; w++)
            lz_in[n++] = (uint8_t)*w;
        if (n < LZ_SIZE && !(x >> 8 & 3))
            lz_in[n++] = (uint8_t)(x >> 16);
    }
}

static size_t lz_pack(void)
{
    size_t out = 0, i = 0;
    memset(lz_head, 0, sizeof lz_head);
    while (i < LZ_SIZE) {
        uint32_t v;
        memcpy(&v, lz_in + i, 4);
        uint32_t h = v * 2654435761u >> 20, at = lz_head[h], len = 0;
        lz_head[h] = (uint32_t)i + 1;
        if (at && i - (at - 1) < 65536)
            while (len < 255 && i + len < LZ_SIZE && lz_in[at - 1 + len] == lz_in[i + len])
                len++;
        if (len < 4) {
            lz_packed[out++] = 0;
            lz_packed[out++] = lz_in[i++];
            continue;
        }
        uint32_t back = (uint32_t)i - (at - 1);
        lz_packed[out++] = (uint8_t)len;
        lz_packed[out++] = (uint8_t)back;
        lz_packed[out++] = (uint8_t)(back >> 8);
        i += len;
    }
    return out;
}

static void lz_unpack(size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        uint32_t len = lz_packed[i++];
        if (!len) {
            lz_out[out++] = lz_packed[i++];
            continue;
        }
        uint32_t back = lz_packed[i] | (uint32_t)lz_packed[i + 1] << 8;
        for (i += 2; len--; out++)
            lz_out[out] = lz_out[out - back];
    }
}

static uint32_t lz(unsigned count)
{
    uint32_t sum = 0;
    crc_setup();
    while (count--) {
        size_t n = lz_pack();
        lz_unpack(n);
        sum = mix(sum, crc((uint32_t)n, lz_out, 4096));
        lz_in[sum % LZ_SIZE]++;
    }
    return sum;
}

static uint32_t array[32768];

static void sort(uint32_t *a, int n)
{
    while (n > 1) {
        uint32_t pivot = a[n / 2], t;
        int i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort(a, j + 1);
        a += i;
        n -= i;
    }
}

static uint32_t quicksort(unsigned count)
{
    uint32_t sum = 0, x = 1;
    while (count--) {
        for (int i = 0; i < 32768; i++)
            array[i] = next_random(&x);
        sort(array, 32768);
        sum = mix(sum, array[16384]);
    }
    return sum;
}

/* A cycle through 64 MB in random order, a cache line a step. */
#define CHASE (1u << 20)
static struct line {
    uint32_t next, pad[15];
} * lines;

static void chase_setup(void)
{
    uint32_t x = 3, *order = malloc(CHASE * sizeof *order);
    lines = malloc(CHASE * sizeof *lines);
    for (uint32_t i = 0; i < CHASE; i++)
        order[i] = i;
    for (uint32_t i = CHASE - 1; i > 0; i--) {
        uint32_t j = next_random(&x) % i, t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < CHASE; i++)
        lines[order[i]].next = order[(i + 1) % CHASE];
    free(order);
}

static uint32_t chase(unsigned count)
{
    uint32_t at = 0, sum = 0;
    while (count--)
        for (int i = 0; i < 10000; i++)
            sum += at = lines[at].next;
    return sum;
}

/* A machine with a stack and sixteen variables that counts primes. */
enum { PUSH, LOAD, STORE, ADD, SUB, REM, LESS, JZ, JMP, HALT };

static uint32_t interpret(const int8_t *code, int32_t limit)
{
    int32_t stack[16], var[16] = {limit}, *sp = stack;
    for (const int8_t *pc = code;;)
        switch (*pc++) {
        case PUSH: *sp++ = *pc++; break;
        case LOAD: *sp++ = var[*pc++]; break;
        case STORE: var[*pc++] = *--sp; break;
        case ADD: sp--, sp[-1] += sp[0]; break;
        case SUB: sp--, sp[-1] -= sp[0]; break;
        case REM: sp--, sp[-1] %= sp[0]; break;
        case LESS: sp--, sp[-1] = sp[-1] < sp[0]; break;
        case JZ: pc += *--sp ? 1 : *pc; break;
        case JMP: pc += *pc; break;
        default: return (uint32_t)var[1];
        }
}

static uint32_t bytecode(unsigned count)
{
    /* For each n from 2 to the limit: is there a d from 2 to n - 1 that divides it? */
    static const int8_t code[] = {
        PUSH, 2, STORE, 2,                            /* 0: n = 2 */
        LOAD, 2, LOAD,  0, LESS, JZ,    44,           /* 4: to 54 unless n < limit */
        PUSH, 2, STORE, 3,                            /* 11: d = 2 */
        LOAD, 3, LOAD,  2, LESS, JZ,    17,           /* 15: to 38 unless d < n */
        LOAD, 2, LOAD,  3, REM,  JZ,    17,           /* 22: to 45 if d divides n */
        LOAD, 3, PUSH,  1, ADD,  STORE, 3,  JMP, -22, /* 29: d++, to 15 */
        LOAD, 1, PUSH,  1, ADD,  STORE, 1,            /* 38: found++ */
        LOAD, 2, PUSH,  1, ADD,  STORE, 2,  JMP, -49, /* 45: n++, to 4 */
        HALT};
    uint32_t sum = 0;
    while (count--)
        sum = mix(sum, interpret(code, 200));
    return sum;
}

static __attribute__((noinline)) uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint32_t f_add(uint32_t a, uint32_t b)
{
    return a + b;
}
static uint32_t f_xor(uint32_t a, uint32_t b)
{
    return a ^ b << 1;
}
static uint32_t f_mul(uint32_t a, uint32_t b)
{
    return a * 3 + b;
}
static uint32_t f_rot(uint32_t a, uint32_t b)
{
    return ror(a, 5) - b;
}

static uint32_t calls(unsigned count)
{
    static uint32_t (*const volatile table[])(uint32_t, uint32_t) = {f_add, f_xor, f_mul, f_rot};
    uint32_t sum = 0;
    while (count--) {
        sum += fib(16);
        for (uint32_t i = 0; i < 2000; i++)
            sum = table[(i ^ i >> 3) & 3](sum, i);
    }
    return sum;
}

static uint32_t muldiv(unsigned count)
{
    uint64_t a = 0x123456789abcdefull, sum = 0;
    while (count--)
        for (uint32_t i = 1; i < 1000; i++) {
            a = a * 6364136223846793005ull + 1442695040888963407ull;
            sum += a / (i * 977ull) + a % (a >> 40 | 1);
            sum ^= (uint32_t)(a >> 32) / i * (uint32_t)a % (i + 5);
        }
    return (uint32_t)(sum ^ sum >> 32);
}

const struct prog progs_int[] = {
    {"mixed", mixed},         {"sieve", sieve},
    {"sha256", sha256},       {"lz", lz, lz_setup},
    {"quicksort", quicksort}, {"chase", chase, chase_setup},
    {"bytecode", bytecode},   {"calls", calls},
    {"muldiv", muldiv},       {0},
};
