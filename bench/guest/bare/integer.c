/* Integer work: a sieve, a CRC, a quicksort, SHA-256's compression, a linked list, a bytecode
 * interpreter. Prints a checksum. */
#include "port.h"

typedef unsigned u32;
typedef unsigned char u8;

static u8 flags[65536];
static u32 array[16384], table[256], sum;
static struct node {
    struct node *next;
    u32 value;
} nodes[4096];

static void sieve(void)
{
    for (u32 i = 2; i < sizeof flags; i++)
        flags[i] = 1;
    for (u32 i = 2; i < sizeof flags; i++) {
        if (!flags[i])
            continue;
        sum += i;
        for (u32 k = 2 * i; k < sizeof flags; k += i)
            flags[k] = 0;
    }
}

static void crc(void)
{
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    u32 c = ~0u;
    for (u32 i = 0; i < sizeof flags; i++)
        c = table[(c ^ flags[i]) & 255] ^ c >> 8;
    sum += ~c;
}

static void quicksort(u32 *a, int n)
{
    while (n > 1) {
        u32 pivot = a[n / 2], t;
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
        quicksort(a, j + 1);
        a += i;
        n -= i;
    }
}

static void sort(void)
{
    u32 x = 1;
    for (int i = 0; i < 16384; i++)
        array[i] = x = x * 1664525u + 1013904223u;
    quicksort(array, 16384);
    sum += array[8192];
}

static u32 ror(u32 v, int n)
{
    return v >> n | v << (32 - n);
}

static void sha(void)
{
    u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (int block = 0; block < 512; block++) {
        u32 w[64], s[8];
        for (int i = 0; i < 16; i++)
            w[i] = array[block * 16 + i];
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + w[i - 7] +
                   (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
                   (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
        for (int i = 0; i < 8; i++)
            s[i] = h[i];
        for (int i = 0; i < 64; i++) {
            u32 t = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) +
                    ((s[4] & s[5]) ^ (~s[4] & s[6])) + table[i] + w[i];
            u32 v = (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) +
                    ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            for (int k = 7; k > 0; k--)
                s[k] = s[k - 1];
            s[4] += t;
            s[0] = t + v;
        }
        for (int i = 0; i < 8; i++)
            h[i] += s[i];
    }
    sum += h[0] ^ h[7];
}

static void list(void)
{
    for (u32 i = 0; i < 4096; i++) {
        nodes[i].next = &nodes[(i * 1021 + 7) & 4095];
        nodes[i].value = i;
    }
    struct node *p = nodes;
    for (int i = 0; i < 200000; i++) {
        sum += p->value;
        p = p->next;
    }
}

static void bytecode(void)
{
    static const u8 code[] = {0, 1, 2, 3, 1, 0, 4, 2, 3, 5};
    u32 a = 1, b = 2, at = 0;
    for (int i = 0; i < 300000; i++) {
        switch (code[at]) {
        case 0: a += b; break;
        case 1: b ^= a << 3; break;
        case 2: a -= 7; break;
        case 3: b = b >> 1 | b << 31; break;
        case 4: a *= 3; break;
        default: at = ~0u; break;
        }
        at++;
    }
    sum += a ^ b;
}

void run(void)
{
    for (int i = 0; i < 40; i++) {
        sieve();
        crc();
        sort();
        sha();
        list();
        bytecode();
    }
    print_hex(sum);
}
