/* x87 instructions through the whole CPU against the host's own: random states, every opcode of
 * D8..DF, and the whole state after it. Transcendental results may differ by ULPS; their C1 is not
 * compared.
 *
 * Usage: native_x87 [millions of cases [seed [opcode modrm]]] (hexadecimal opcode and modrm) */
#include "cpu/x87.h"
#include "tests/isa/native_fp.h"
#include "tests/isa/native_vec.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ULPS      1
#define CPU_FLAGS (F_C | F_P | F_A | F_Z | F_S | F_O)

/* What goes in and comes out, as FRSTOR and FNSAVE have it. */
struct image {
    uint8_t fpu[108];
    uint64_t flags;
    uint16_t ax;
    uint8_t mem[128];
};

static uint8_t *code;
static sigjmp_buf escape;

/* ---- Running ---- */

static void on_signal(int sig)
{
    siglongjmp(escape, sig);
}

/* Runs op, modrm on the host. 0, or the signal that it died of. */
static int run_host(unsigned op, unsigned modrm, struct image *im)
{
    static const uint8_t before[] = {0xdd, 0x27, 0x51, 0x9d}; /* frstor [rdi]; push rcx; popf */
    static const uint8_t after[] = {0x9c, 0x41, 0x58,         /* pushf; pop r8 */
                                    0xdd, 0x32,               /* fnsave [rdx] */
                                    0xdb, 0xe3, 0x66, 0x41, 0x89, 0x01, /* fninit; mov [r9], ax */
                                    0x4c, 0x89, 0xc0, 0xc3};            /* mov rax, r8; ret */
    uint8_t *p = code;
    memcpy(p, before, sizeof before);
    p += sizeof before;
    *p++ = (uint8_t)op;
    *p++ = (uint8_t)(modrm < 0xc0 ? (modrm & 0x38) | 6 : modrm);
    memcpy(p, after, sizeof after);
    int sig = sigsetjmp(escape, 1);
    if (sig) {
        __asm__ volatile("fninit");
        return sig;
    }
    uint64_t rax = im->ax;
    static uint8_t out[108];
    register uint16_t *r9 __asm__("r9") = &im->ax;
    /* Below the red zone: the code pushes. */
    __asm__ volatile("sub $256, %%rsp\n call *%[code]\n add $256, %%rsp\n"
                     : "+a"(rax)
                     : [code] "b"(code), "D"(im->fpu), "S"(im->mem), "d"(out),
                       "c"(im->flags | 0x202), "r"(r9)
                     : "r8", "cc", "memory");
    memcpy(im->fpu, out, sizeof out);
    im->flags = rax & CPU_FLAGS;
    return 0;
}

static unsigned top_of(const struct image *im)
{
    return im->fpu[5] >> 3 & 7;
}

/* The same through the whole of ishi's CPU. */
static bool run_soft(unsigned op, unsigned modrm, struct image *im)
{
    struct cpu_state s = {.rflags = im->flags};
    s.fcw = get_le16(im->fpu);
    s.fsw = get_le16(im->fpu + 4);
    s.mxcsr = 0x1f80;
    s.r[R_AX] = im->ax;
    for (unsigned i = 0; i < 8; i++) {
        unsigned r = (i + top_of(im)) & 7;
        s.fp_sig[r] = get_le64(im->fpu + 28 + 10 * i);
        s.fp_exp[r] = get_le16(im->fpu + 36 + 10 * i);
        s.ftw |= (uint8_t)(((get_le16(im->fpu + 8) >> 2 * i & 3) != 3) << i);
    }
    uint8_t bytes[2] = {(uint8_t)op, (uint8_t)(modrm < 0xc0 ? (modrm & 0x38) | 6 : modrm)};
    bool xm;
    if (!ishi_run(&s, im->mem, sizeof im->mem, 0, R_SI, bytes, 2, &xm, false))
        return false;
    unsigned tags = 0;
    put_le16(im->fpu, s.fcw);
    put_le16(im->fpu + 4, s.fsw);
    for (unsigned i = 0; i < 8; i++) {
        unsigned r = (i + top_of(im)) & 7;
        put_le64(im->fpu + 28 + 10 * i, s.fp_sig[r]);
        put_le16(im->fpu + 36 + 10 * i, s.fp_exp[r]);
        bool full = s.ftw >> i & 1;
        tags |= (full ? x87_tag((struct f80){s.fp_sig[i], s.fp_exp[i]}) : 3) << 2 * i;
    }
    put_le16(im->fpu + 8, (uint16_t)tags);
    im->flags = s.rflags & CPU_FLAGS;
    im->ax = (uint16_t)s.r[R_AX];
    return true;
}

/* ---- Cases ---- */

static struct f80 gen_register(struct gen *g, struct f80 near)
{
    uint64_t r = gen_next(g);
    switch (r & 7) {
    case 0: return i64_to_f80((int64_t)gen_next(g) >> (r >> 8 & 63));
    case 1: near.exp = (uint16_t)(near.exp ^ (r >> 8 & 0x8001)); return near;
    case 2: return (struct f80){gen_next(g) | 1ull << 63, 0x3fff - (r >> 8 & 15)};
    case 3: {
        bool den;
        return f64_widen(gen_f64(g, 0x3ff0000000000000), &den);
    }
    default: return gen_f80(g, near);
    }
}

static bool transcendental(unsigned op, unsigned modrm)
{
    return op == 0xd9 && modrm >= 0xf0 &&
           (modrm <= 0xf3 || modrm == 0xf9 || modrm == 0xfb || modrm >= 0xfe);
}

static void gen_image(struct gen *g, unsigned op, unsigned modrm, struct image *im)
{
    uint64_t r = gen_next(g);
    memset(im, 0, sizeof *im);
    unsigned fcw = 0x7f | (r & 0xf00);
    if (r >> 60 == 0)
        fcw &= ~0x3fu | (unsigned)(r >> 48);
    if (r >> 54 & 1)
        fcw = (fcw & ~0xf00u) | 0x300;
    unsigned tags = r >> 55 & 3 ? 0 : (unsigned)(r >> 12) & (unsigned)(r >> 28) & 0xff;
    if (!(r >> 57 & 3)) /* room to push */
        tags |= 1u << (((r >> 40 & 7) + 7) & 7);
    unsigned fsw = (unsigned)(r >> 40 & 7) << 11 | (unsigned)(r >> 43 & 7) << 8 |
                   (unsigned)(r >> 46 & 1) << 14;
    fsw |= (unsigned)(gen_next(g) & gen_next(g)) & 0x7f & (fcw | 0x40);
    unsigned ftw = 0;
    for (unsigned i = 0; i < 8; i++)
        ftw |= (tags >> i & 1 ? 3u : 0u) << 2 * i;
    put_le32(im->fpu, 0xffff0000 | fcw);
    put_le32(im->fpu + 4, 0xffff0000 | fsw);
    put_le32(im->fpu + 8, 0xffff0000 | ftw);
    struct f80 v = {1ull << 63, 0x3fff};
    for (unsigned i = 0; i < 8; i++) {
        v = gen_register(g, v);
        put_le64(im->fpu + 28 + 10 * i, v.sig);
        put_le16(im->fpu + 36 + 10 * i, v.exp);
    }
    for (unsigned i = 0; i < 128; i += 8)
        put_le64(im->mem + i, gen_next(g));
    unsigned digit = modrm >> 3 & 7;
    if (op == 0xd8 || op == 0xd9) {
        put_le32(im->mem, gen_f32(g, 0x3f800000));
    } else if (op == 0xdc || op == 0xdd) {
        put_le64(im->mem, gen_f64(g, 0x3ff0000000000000));
    } else if (op == 0xdb && digit >= 5) {
        v = gen_register(g, v);
        put_le64(im->mem, v.sig);
        put_le16(im->mem + 8, v.exp);
    } else if (op == 0xdf && digit == 4) {
        for (unsigned i = 0; i < 9; i++)
            im->mem[i] = (uint8_t)((gen_next(g) % 10) << 4 | gen_next(g) % 10);
    } else {
        put_le64(im->mem, (uint64_t)((int64_t)gen_next(g) >> (gen_next(g) & 63)));
    }
    /* Exceptions are not pending at the start. */
    if (op == 0xd9 && digit == 4 && modrm < 0xc0)
        memcpy(im->mem, im->fpu, 28);
    if (op == 0xdd && digit == 4 && modrm < 0xc0)
        memcpy(im->mem, im->fpu, 108);
    im->flags = gen_next(g) & CPU_FLAGS;
    im->ax = (uint16_t)gen_next(g);
}

static struct f80 image_st(const struct image *im, unsigned i)
{
    return (struct f80){get_le64(im->fpu + 28 + 10 * i), get_le16(im->fpu + 36 + 10 * i)};
}

/* Distance in units of the last place, saturated. */
static uint64_t distance(struct f80 a, struct f80 b)
{
    if (a.exp == b.exp)
        return a.sig > b.sig ? a.sig - b.sig : b.sig - a.sig;
    if ((uint16_t)(a.exp + 1) == b.exp && (a.exp & 0x7fff))
        return (b.sig - (1ull << 63)) * 2 + (0 - a.sig);
    if ((uint16_t)(b.exp + 1) == a.exp && (b.exp & 0x7fff))
        return distance(b, a);
    if (!(a.exp & 0x7fff) && (uint16_t)(a.exp + 1) == b.exp)
        return b.sig - a.sig;
    if (!(b.exp & 0x7fff) && (uint16_t)(b.exp + 1) == a.exp)
        return a.sig - b.sig;
    return ~0ull;
}

static uint64_t worst;

static bool same(unsigned op, unsigned modrm, const struct image *a, const struct image *b,
                 const struct image *in)
{
    bool loose = transcendental(op, modrm), close = false;
    for (unsigned i = 0; i < 8; i++) {
        struct f80 x = image_st(a, i), y = image_st(b, i);
        if (x.sig == y.sig && x.exp == y.exp)
            continue;
        uint64_t d = distance(x, y);
        if (!loose || d > ULPS)
            return false;
        worst = max_u64(worst, d);
        close = true;
    }
    unsigned fsw = get_le16(a->fpu + 4) ^ get_le16(b->fpu + 4);
    unsigned ta = get_le16(a->fpu + 8), tb = get_le16(b->fpu + 8);
    if (loose)
        fsw &= (unsigned)~FSW_C1;
    if (close) { /* at the edge of zero, of the normal numbers or of infinity? */
        fsw &= (unsigned)~(FP_OVERFLOW | FP_UNDERFLOW);
        ta &= ta >> 1 & 0x5555;
        tb &= tb >> 1 & 0x5555;
    }
    if (get_le16(a->fpu) != get_le16(b->fpu) || fsw || ta != tb)
        return false;
    /* FSTENV and FSAVE write addresses too. */
    bool env = modrm < 0xc0 && (modrm >> 3 & 7) == 6 && (op == 0xd9 || op == 0xdd);
    if (env ? memcmp(a->mem, b->mem, 12) || memcmp(a->mem + 28, b->mem + 28, 100)
            : memcmp(a->mem, b->mem, 128))
        return false;
    return a->flags == b->flags && a->ax == b->ax;
}

static void print_image(const char *name, const struct image *im, bool mem)
{
    printf("  %s fcw %04x fsw %04x ftw %04x flags %03llx", name, get_le16(im->fpu),
           get_le16(im->fpu + 4), get_le16(im->fpu + 8), (unsigned long long)im->flags);
    for (unsigned i = 0; i < 3; i++)
        printf(" %04x.%016llx", image_st(im, i).exp, (unsigned long long)image_st(im, i).sig);
    if (mem)
        printf(" mem %04x.%016llx", get_le16(im->mem + 8), (unsigned long long)get_le64(im->mem));
    printf("\n");
}

static unsigned failures;

static void check(struct gen *g, unsigned op, unsigned modrm, unsigned long cases)
{
    uint8_t bytes[16] = {(uint8_t)op, (uint8_t)modrm};
    struct insn in;
    enum isa_result known = isa_decode(&in, bytes, sizeof bytes, ISA_64, NULL);
    unsigned shown = 0, bad = 0;
    for (unsigned long i = 0; i < cases; i++) {
        struct image start, host, soft;
        gen_image(g, op, modrm, &start);
        host = soft = start;
        int sig = run_host(op, modrm, &host);
        if (known != ISA_OK || sig == SIGILL) {
            if ((known != ISA_OK) != (sig == SIGILL)) {
                printf("%02x %02x: %s, host %s\n", op, modrm, known ? "undefined" : "defined",
                       sig == SIGILL ? "undefined" : "defined");
                failures++;
            }
            return;
        }
        bool ok = run_soft(op, modrm, &soft);
        if (!sig && ok && same(op, modrm, &soft, &host, &start))
            continue;
        failures++;
        bad++;
        if (shown++ < 3) {
            printf("%02x %02x %s%s\n", op, modrm, in.row->name, sig ? " signal" : "");
            print_image("in  ", &start, modrm < 0xc0);
            print_image("host", &host, modrm < 0xc0);
            print_image("soft", &soft, modrm < 0xc0);
        }
    }
    if (bad)
        printf("%02x %02x %s: %u of %lu differ\n", op, modrm, in.row->name, bad, cases);
}

int main(int argc, char **argv)
{
    double millions = argc > 1 ? atof(argv[1]) : 2;
    struct gen g = {argc > 2 ? strtoull(argv[2], NULL, 0) : 1};
    signal(SIGILL, on_signal);
    signal(SIGFPE, on_signal);
    __builtin_cpu_init();
    if (!__builtin_cpu_is("intel")) {
        printf("skipped: the quirks compared are those of Intel's processors\n");
        return 77;
    }
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) {
        printf("skipped: no executable memory\n");
        return 77;
    }
    struct isa_features all = {{~0ull, ~0ull}};
    ishi_init(&all);
    if (argc > 4) {
        check(&g, (unsigned)strtoul(argv[3], NULL, 16), (unsigned)strtoul(argv[4], NULL, 16),
              (unsigned long)(millions * 1e6));
    } else {
        unsigned long per_op = (unsigned long)(millions * 1e6 / (8 * 72));
        for (unsigned op = 0xd8; op <= 0xdf; op++)
            for (unsigned modrm = 0; modrm < 0x100; modrm += modrm < 0xc0 ? 8 : 1) {
                if (modrm >= 0x40 && modrm < 0xc0)
                    continue;
                check(&g, op, modrm, per_op);
            }
    }
    printf("%u differences; transcendental results within %llu ulp\n", failures,
           (unsigned long long)worst);
    return failures != 0;
}
