/* Every row of the vector table against the host's own processor.
 *
 * For each row of MMX, SSE, AVX and their kin that the host has, builds instructions (register and
 * memory forms), runs each on the host in a page of its own and on ishi's CPU, from the same state,
 * and compares all that an instruction can change: vector, MMX and general registers, memory,
 * MXCSR, EFLAGS, the x87 tag word and TOP, and whether it raised #XM. Operands are random or from
 * lists of special values; MXCSR has random rounding, FZ, DAZ and masks.
 *
 *   native_vec [seed [rounds [name]]]
 *
 * Differences end the program with 1, and with the seed that repeats them. RCPxx and RSQRTxx are
 * held against their error bound instead, as the SDM leaves the rest open. */
#include <cpuid.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/rng.h"
#include "tests/isa/native_vec.h"

/* XSAVE's legacy area and YMM_Hi128 (SDM 1 13.4, 13.5). */
struct xsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t sig;
        uint16_t exp, pad[3];
    } st[8];
    uint64_t xmm[16][2];
    uint8_t unused[96];
    uint64_t xstate_bv, xcomp_bv, header[6];
    uint64_t ymm_high[16][2];
} __attribute__((aligned(64)));

struct native {
    struct xsave x;
    uint64_t r[16]; /* r[4] is not used */
    uint64_t flags;
};

/* Used by the assembler below. */
void (*native_code)(void);
uint64_t native_rdi, native_mask;
void native_call(struct native *n);

/* clang-format off */
__asm__(".text\n"
        ".globl native_call\n"
        "native_call:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
        "  mov native_mask(%rip), %eax; xor %edx, %edx\n"
        "  xrstor64 (%rdi)\n"
        "  pushq 960(%rdi); popfq\n"
        "  mov 832(%rdi), %rax; mov 840(%rdi), %rcx; mov 848(%rdi), %rdx; mov 856(%rdi), %rbx\n"
        "  mov 872(%rdi), %rbp; mov 880(%rdi), %rsi\n"
        "  mov 896(%rdi), %r8; mov 904(%rdi), %r9; mov 912(%rdi), %r10; mov 920(%rdi), %r11\n"
        "  mov 928(%rdi), %r12; mov 936(%rdi), %r13; mov 944(%rdi), %r14; mov 952(%rdi), %r15\n"
        "  mov 888(%rdi), %rdi\n"
        "  call *native_code(%rip)\n"
        "  mov %rdi, native_rdi(%rip)\n"
        "  pushfq\n"
        "  mov 8(%rsp), %rdi\n"
        "  mov %rax, 832(%rdi); mov %rcx, 840(%rdi); mov %rdx, 848(%rdi); mov %rbx, 856(%rdi)\n"
        "  mov %rbp, 872(%rdi); mov %rsi, 880(%rdi)\n"
        "  mov %r8, 896(%rdi); mov %r9, 904(%rdi); mov %r10, 912(%rdi); mov %r11, 920(%rdi)\n"
        "  mov %r12, 928(%rdi); mov %r13, 936(%rdi); mov %r14, 944(%rdi); mov %r15, 952(%rdi)\n"
        "  mov native_rdi(%rip), %rax; mov %rax, 888(%rdi)\n"
        "  popq 960(%rdi); cld\n"
        "  mov native_mask(%rip), %eax; xor %edx, %edx\n"
        "  xsave64 (%rdi)\n"
        "  fninit; emms\n"
        "  movl $0x1f80, -8(%rsp); ldmxcsr -8(%rsp)\n"
        "  pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n");
/* clang-format on */

_Static_assert(offsetof(struct native, r) == 832 && offsetof(struct native, flags) == 960,
               "the assembler knows the places");

static uint8_t *code_page;
static unsigned code_length;
static volatile sig_atomic_t trapped;

/* #XM: goes on behind the instruction. */
static void on_sigfpe(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    trapped = 1;
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(code_page + code_length);
}

/* --- random operands --- */

static struct rng rng;

static uint64_t rnd(uint64_t n)
{
    return rng_next(&rng) % n;
}

static const uint32_t special32[] = {
    0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000,
    0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fc00000, 0xffc00000,
    0x7fffffff, 0xffffffff, 0x3f800000, 0xbf800000, 0x3f000000, 0x40000000, 0x4effffff, 0x4f000000,
    0xcf000000, 0x4b000000, 0x4b000001, 0x3effffff, 0x3f7fffff, 0x3f800001, 0x00800001, 0x477fe000,
    0x477ff000, 0x33000000, 0x38800000, 0x387fc000, 0x40490fdb, 0x0d800000, 0x20000000, 0x5f000000,
};
static const uint64_t special64[] = {
    0,
    0x8000000000000000,
    1,
    0x8000000000000001,
    0x000fffffffffffff,
    0x800fffffffffffff,
    0x0010000000000000,
    0x8010000000000000,
    0x7fefffffffffffff,
    0xffefffffffffffff,
    0x7ff0000000000000,
    0xfff0000000000000,
    0x7ff0000000000001,
    0xfff0000000000001,
    0x7ff8000000000000,
    0xfff8000000000000,
    0x7fffffffffffffff,
    0xffffffffffffffff,
    0x3ff0000000000000,
    0xbff0000000000000,
    0x3fe0000000000000,
    0x4000000000000000,
    0x41dfffffffc00000,
    0x41e0000000000000,
    0xc1e0000000000000,
    0xc1e0000000200000,
    0x43e0000000000000,
    0xc3e0000000000000,
    0x3fdfffffffffffff,
    0x3fefffffffffffff,
    0x3ff0000000000001,
    0x47efffffe0000000,
    0x47effffff0000000,
    0x3810000000000000,
    0x380fffffe0000000,
    0x36a0000000000000,
    0x3690000000000000,
    0x4330000000000000,
    0x400921fb54442d18,
    0x2000000000000000,
};

/* A small whole number, or a short fraction: results are often exact. */
static double short_number(void)
{
    return ldexp((double)rnd(1u << rnd(14)) * (rnd(2) ? 1 : -1), (int)rnd(16) - 8);
}

static uint32_t random32(unsigned kind)
{
    float f = (float)short_number();
    uint32_t v;
    switch (kind) {
    case 0: return special32[rnd(ARRAY_LEN(special32))];
    case 1: /* ordinary */
        return (uint32_t)(rng_next(&rng) & 0x807fffff) | (uint32_t)(120 + rnd(16)) << 23;
    case 2: return (uint32_t)rnd(5) - 2;
    case 3: /* near the ends of the range */
        return (uint32_t)(rng_next(&rng) & 0x807fffff) |
               (uint32_t)(rnd(2) ? rnd(30) : 225 + rnd(31)) << 23;
    case 4: memcpy(&v, &f, sizeof v); return v;
    default: return (uint32_t)rng_next(&rng);
    }
}

static uint64_t random64(unsigned kind)
{
    double d = short_number();
    uint64_t v;
    switch (kind) {
    case 0: return special64[rnd(ARRAY_LEN(special64))];
    case 1: return (rng_next(&rng) & 0x800fffffffffffff) | (1000 + rnd(46)) << 52;
    case 2: return rnd(5) - 2;
    case 3:
        return (rng_next(&rng) & 0x800fffffffffffff) | (rnd(2) ? rnd(60) : 1987 + rnd(61)) << 52;
    case 4: memcpy(&v, &d, sizeof v); return v;
    default: return rng_next(&rng);
    }
}

/* Several lanes; `wide` of 64 bits. All of one kind, or mixed. */
static void random_lanes(void *to, unsigned n, bool wide)
{
    unsigned kind = (unsigned)rnd(8);
    for (unsigned i = 0; i < n; i += 8) {
        unsigned k = kind < 6 ? kind : (unsigned)rnd(6);
        uint64_t v = wide ? random64(k)
                          : random32(k) | (uint64_t)random32(kind < 6 ? k : (unsigned)rnd(6)) << 32;
        memcpy((char *)to + i, &v, 8);
    }
}

/* --- instructions --- */

static bool name_has(const struct isa_row *row, const char *part)
{
    return strstr(row->name, part) != NULL;
}

enum form { FORM_REG, FORM_MEM };

static bool is_memory_only(const struct isa_row *row)
{
    return row->modrm == M_MEM || row->modrm >> 8 == MK_DIGIT_MEM;
}

static bool is_register_only(const struct isa_row *row)
{
    return row->modrm == M_REG || row->modrm >> 8 == MK_DIGIT_REG || row->modrm == M_NONE;
}

static bool has_operand(const struct isa_row *row, const uint8_t *list)
{
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; list[j]; j++)
            if (row->op[i] == list[j])
                return true;
    return false;
}

#define BASE_REG 3 /* rbx holds the memory operand's address */

/* Makes an instruction of the row; returns its length. */
static unsigned encode(const struct isa_row *row, enum form form, uint8_t *p)
{
    static const uint8_t pp[] = {[P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2};
    static const uint8_t imms[] = {OP_Ib, OP_Lx, 0};
    static const uint8_t h[] = {OP_Hss, OP_Hsd, OP_Hq, OP_Hdq, OP_Hqq, OP_Hx, 0};
    static const uint8_t vm[] = {OP_VMdx, OP_VMqx, 0};
    static const uint8_t general_dst[] = {OP_Gd, OP_Gy, OP_Ed, OP_Ey, OP_Eq, 0};
    uint8_t *start = p;
    unsigned reg, rm = (unsigned)rnd(16), w = (unsigned)rnd(2), base = BASE_REG;
    do /* rsp must stay, and rbx too */
        reg = (unsigned)rnd(16);
    while (has_operand(row, general_dst) && (reg == 4 || reg == BASE_REG));
    while (has_operand(row, general_dst) && (rm == 4 || rm == BASE_REG))
        rm = (unsigned)rnd(16);
    bool vsib = has_operand(row, vm);
    unsigned index = 8 + (unsigned)rnd(8), vvvv = (unsigned)rnd(16);
    unsigned kind = row->modrm >> 8;
    if (kind == MK_DIGIT || kind == MK_DIGIT_REG || kind == MK_DIGIT_MEM)
        reg = row->modrm & 7;
    if (vsib) /* all three must differ (SDM 2C VGATHERDPS) */
        while (index == reg || vvvv == reg || index == vvvv)
            reg = (unsigned)rnd(16), vvvv = (unsigned)rnd(16);
    if (row->attr & A_W0)
        w = 0;
    if (row->attr & A_W1)
        w = 1;
    unsigned b = form == FORM_MEM ? 0 : rm >> 3;
    unsigned x = vsib ? index >> 3 : 0;
    if (row->attr & A_VEX) {
        unsigned l = row->attr & A_L0 ? 0 : row->attr & A_L1 ? 1 : (unsigned)rnd(2);
        unsigned v = has_operand(row, h) ? vvvv : 0;
        *p++ = 0xc4;
        *p++ = (uint8_t)((~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (row->map & 3));
        *p++ = (uint8_t)(w << 7 | (~v & 15) << 3 | l << 2 |
                         (const uint8_t[]){
                             [P_NP] = 0, [P_66] = 1, [P_F3] = 2, [P_F2] = 3}[row->prefix]);
    } else {
        if (row->prefix != P_NP)
            *p++ = pp[row->prefix];
        if (w || reg > 7 || b || rnd(2))
            *p++ = (uint8_t)(0x40 | w << 3 | reg >> 3 << 2 | b);
        *p++ = 0x0f;
        if (row->map == MAP_0F38)
            *p++ = 0x38;
        if (row->map == MAP_0F3A)
            *p++ = 0x3a;
    }
    *p++ = row->opcode;
    if (row->modrm != M_NONE) {
        unsigned mod = form == FORM_MEM ? 0 : 3;
        unsigned low = vsib ? 4 : form == FORM_MEM ? base : rm & 7;
        *p++ = (uint8_t)(mod << 6 | (reg & 7) << 3 | low);
        if (vsib)
            *p++ = (uint8_t)((unsigned)rnd(3) << 6 | (index & 7) << 3 | base);
    }
    if (has_operand(row, imms))
        *p++ = (uint8_t)(rnd(3) ? rnd(32) : rng_next(&rng));
    return (unsigned)(p - start);
}

/* --- states --- */

#define MEM_SIZE 1024
#define MEM_AT   512 /* where the operand is: gathers reach both ways */

struct state {
    struct cpu_state s;
    uint8_t mem[MEM_SIZE];
    bool fault;
};

static uint8_t native_mem[MEM_SIZE] __attribute__((aligned(64)));

static void state_random(struct state *st, const struct isa_row *row, const struct insn *in)
{
    struct cpu_state *s = &st->s;
    memset(st, 0, sizeof *st);
    bool wide = rnd(2);
    random_lanes(st->mem, MEM_SIZE, wide);
    for (unsigned i = 0; i < 16; i++)
        random_lanes(&s->v[i], 32, wide);
    if (name_has(row, "gather"))
        for (unsigned i = 0; i < 16; i++) {
            /* indexes that stay within the memory, and masks */
            bool quad = in->op[1].size == 8 || name_has(row, "gatherq");
            for (unsigned j = 0; j < 4 && i >= 8; j++)
                s->v[i].q[j] =
                    quad ? rnd(64) - 32 : (uint32_t)(rnd(64) - 32) | (uint64_t)(rnd(64) - 32) << 32;
        }
    if (rnd(3) == 0) /* equal operands, short texts */
        for (unsigned i = 1; i < 16; i += 2)
            s->v[i] = s->v[i - 1];
    if (name_has(row, "pcmp") && rnd(2))
        for (unsigned i = 0; i < 16; i++)
            for (unsigned j = 0; j < 32; j++)
                s->v[i].b[j] = (uint8_t)rnd(4);
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = rnd(2) ? random64((unsigned)rnd(6)) : (uint64_t)rnd(40) - 20;
    for (unsigned i = 0; i < 8; i++) {
        random_lanes(&s->fp_sig[i], 8, wide);
        s->fp_exp[i] = (uint16_t)rnd(0x10000);
    }
    s->fcw = 0x37f;
    s->fsw = (uint16_t)(rnd(8) << 11);
    s->ftw = (uint8_t)rnd(256);
    s->rflags = (rng_next(&rng) & F_OSZAPC) | EF_FIXED | EF_IF;
    s->mxcsr = 0x1f80;
    if (rnd(2))
        s->mxcsr = (uint32_t)(rng_next(&rng) & 0xe07f) | 0x1f80;
    if (rnd(4) == 0)
        s->mxcsr = (uint32_t)(rng_next(&rng) & 0xffff);
    /* Sticky flags that were masked may not be unmasked: that alone raises nothing. */
}

static void run_native(struct state *st, const uint8_t *code, unsigned length)
{
    static struct native n;
    struct cpu_state *s = &st->s;
    memset(&n, 0, sizeof n);
    unsigned top = s->fsw >> 11 & 7;
    n.x.fcw = s->fcw, n.x.fsw = s->fsw, n.x.ftw = s->ftw, n.x.mxcsr = s->mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        n.x.st[i].sig = s->fp_sig[(top + i) & 7];
        n.x.st[i].exp = s->fp_exp[(top + i) & 7];
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(n.x.xmm[i], &s->v[i], 16);
        memcpy(n.x.ymm_high[i], &s->v[i].q[2], 16);
        n.r[i] = s->r[i];
    }
    n.x.xstate_bv = native_mask;
    n.flags = s->rflags;
    n.r[BASE_REG] = (uint64_t)(uintptr_t)(native_mem + MEM_AT);
    memcpy(native_mem, st->mem, MEM_SIZE);
    memcpy(code_page, code, length);
    code_page[length] = 0xc3;
    code_length = length;
    trapped = 0;
    native_call(&n);
    st->fault = trapped;
    memcpy(st->mem, native_mem, MEM_SIZE);
    top = n.x.fsw >> 11 & 7;
    s->fsw = n.x.fsw, s->ftw = n.x.ftw, s->mxcsr = n.x.mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        s->fp_sig[(top + i) & 7] = n.x.st[i].sig;
        s->fp_exp[(top + i) & 7] = n.x.st[i].exp;
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&s->v[i], n.x.xmm[i], 16);
        if (native_mask & 4)
            memcpy(&s->v[i].q[2], n.x.ymm_high[i], 16);
        if (i != 4 && i != BASE_REG)
            s->r[i] = n.r[i];
    }
    s->rflags = n.flags;
}

/* --- comparing --- */

/* RCPxx, RSQRTxx: within 1.5 * 2^-12 of the true value, or both zero, infinite or NaN. */
static bool near_enough(uint32_t ours, uint32_t host)
{
    float a, b;
    memcpy(&a, &ours, 4);
    memcpy(&b, &host, 4);
    if (ours == host)
        return true;
    if (!isfinite(a) || !isfinite(b))
        return false;
    if (fabsf(a) < 0x1p-125f && fabsf(b) < 0x1p-125f) /* flushed or not: open */
        return signbit(a) == signbit(b);
    return fabs((double)a - b) <= 2 * 1.5 / 4096 * fabs((double)b);
}

static bool same_vector(const struct isa_row *row, const union vreg *a, const union vreg *b)
{
    if (!memcmp(a, b, sizeof *a))
        return true;
    if (!name_has(row, "rcp") && !name_has(row, "rsqrt"))
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (!near_enough(a->d[i], b->d[i]))
            return false;
    return true;
}

static const char *difference(const struct isa_row *row, const struct state *ours,
                              const struct state *host)
{
    const struct cpu_state *a = &ours->s, *b = &host->s;
    for (unsigned i = 0; i < 16; i++) {
        if (!same_vector(row, &a->v[i], &b->v[i]))
            return "vector register";
        if (i != 4 && i != BASE_REG && a->r[i] != b->r[i])
            return "general register";
    }
    if (ours->fault != host->fault)
        return "exception";
    if (a->mxcsr != b->mxcsr)
        return "mxcsr";
    if (memcmp(a->fp_sig, b->fp_sig, sizeof a->fp_sig))
        return "mmx register";
    if (memcmp(a->fp_exp, b->fp_exp, sizeof a->fp_exp))
        return "x87 exponent";
    if (a->ftw != b->ftw || (a->fsw & 0x3800) != (b->fsw & 0x3800))
        return "x87 tags or top";
    if ((a->rflags ^ b->rflags) & F_OSZAPC & ~row->flags_undefined)
        return "eflags";
    if (memcmp(ours->mem, host->mem, MEM_SIZE))
        return "memory";
    return NULL;
}

static void print_vector(const char *what, unsigned n, const union vreg *v)
{
    printf("    %s%-2u %016llx %016llx %016llx %016llx\n", what, n, (unsigned long long)v->q[3],
           (unsigned long long)v->q[2], (unsigned long long)v->q[1], (unsigned long long)v->q[0]);
}

static void explain(const struct isa_row *row, const struct insn *in, const char *what,
                    const struct state *from, const struct state *ours, const struct state *host)
{
    char text[128];
    isa_format(in, 0, text, sizeof text);
    printf("%s: %s differs\n  mxcsr %x: ishi %x host %x; fault %d, %d; flags %llx: %llx, %llx; "
           "fsw %x: %x, %x; ftw %x: %x %x\n",
           text, what, from->s.mxcsr, ours->s.mxcsr, host->s.mxcsr, ours->fault, host->fault,
           (unsigned long long)from->s.rflags, (unsigned long long)ours->s.rflags,
           (unsigned long long)host->s.rflags, from->s.fsw, ours->s.fsw, host->s.fsw, from->s.ftw,
           ours->s.ftw, host->s.ftw);
    for (unsigned i = 0; i < in->op_count; i++)
        if (in->op[i].where == W_V || in->op[i].where == W_W || in->op[i].where == W_U ||
            in->op[i].where == W_H || in->op[i].where == W_L)
            print_vector("in   v", in->op[i].reg, &from->s.v[in->op[i].reg]);
        else if (in->op[i].where == W_M)
            print_vector("in mem", 0, (const union vreg *)(from->mem + MEM_AT));
        else if (in->op[i].where == W_P || in->op[i].where == W_Q || in->op[i].where == W_N)
            printf("    in  mm%u %016llx\n", in->op[i].reg,
                   (unsigned long long)from->s.fp_sig[in->op[i].reg]);
    for (unsigned i = 0; i < 16; i++) {
        if (!same_vector(row, &ours->s.v[i], &host->s.v[i])) {
            print_vector("ishi v", i, &ours->s.v[i]);
            print_vector("host v", i, &host->s.v[i]);
        }
        if (i != 4 && i != BASE_REG && ours->s.r[i] != host->s.r[i])
            printf("    r%u: ishi %llx host %llx, from %llx\n", i, (unsigned long long)ours->s.r[i],
                   (unsigned long long)host->s.r[i], (unsigned long long)from->s.r[i]);
        if (i < 8 &&
            (ours->s.fp_sig[i] != host->s.fp_sig[i] || ours->s.fp_exp[i] != host->s.fp_exp[i]))
            printf("    mm%u: ishi %x %llx host %x %llx\n", i, ours->s.fp_exp[i],
                   (unsigned long long)ours->s.fp_sig[i], host->s.fp_exp[i],
                   (unsigned long long)host->s.fp_sig[i]);
    }
}

/* --- the run --- */

static struct isa_features host_features(void)
{
    static const struct {
        uint32_t leaf, reg, bit;
    } where[] = {
#define X(id, leaf, reg, bit, name) {leaf, reg, bit},
        ISA_FEATURES(X)
#undef X
    };
    struct isa_features f = {{0}};
    for (unsigned i = 0; i < FEAT_COUNT; i++) {
        uint32_t r[4] = {0};
        __get_cpuid_count(where[i].leaf, 0, &r[0], &r[1], &r[2], &r[3]);
        if (where[i].leaf == 0 || r[where[i].reg] >> where[i].bit & 1)
            f.word[i >> 6] |= BIT(i & 63);
    }
    return f;
}

static bool tested(const struct isa_row *row)
{
    if (!(row->attr & (A_MMX | A_SSE | A_VEX)) || row->attr & A_GPR)
        return false;
    return !name_has(row, "mxcsr") && row->feature != FEAT_FXSR && row->feature != FEAT_XSAVE;
}

static unsigned try_row(const struct isa_row *row, unsigned rounds, const struct isa_features *f)
{
    static struct state from, ours, host;
    unsigned bad = 0;
    for (unsigned i = 0; i < rounds; i++) {
        uint8_t code[32];
        enum form form = is_memory_only(row) ? FORM_MEM : is_register_only(row) ? FORM_REG : i & 1;
        unsigned length = encode(row, form, code);
        struct insn in;
        if (isa_decode(&in, code, length, ISA_64, f) != ISA_OK || in.row != row) {
            /* e.g. W chose the row beside */
            if (in.row && in.row != row)
                continue;
            printf("%s: not decoded:", row->name);
            for (unsigned j = 0; j < length; j++)
                printf(" %02x", code[j]);
            printf("\n");
            return 1;
        }
        state_random(&from, row, &in);
        if (name_has(row, "maskmov") && is_register_only(row))
            from.s.r[R_DI] = 0; /* set by each side to its memory */
        host = from, ours = from;
        if (name_has(row, "maskmov") && is_register_only(row))
            host.s.r[R_DI] = (uint64_t)(uintptr_t)(native_mem + MEM_AT);
        run_native(&host, code, length);
        if (!ishi_run(&ours.s, ours.mem, MEM_SIZE, MEM_AT, BASE_REG, code, length, &ours.fault,
                      name_has(row, "maskmov") && is_register_only(row))) {
            printf("%s: did not run on ishi\n", row->name);
            return 1;
        }
        if (name_has(row, "maskmov"))
            ours.s.r[R_DI] = host.s.r[R_DI];
        const char *what = difference(row, &ours, &host);
        if (what && ++bad <= 2)
            explain(row, &in, what, &from, &ours, &host);
        if (bad > 20)
            break;
    }
    return bad;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 100, done = 0, bad = 0;
    struct isa_features f = host_features();
    struct sigaction sa = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO};
    bool skipped[FEAT_COUNT] = {false};
    if (!isa_has(&f, FEAT_XSAVE)) {
        printf("skipped: this host has no XSAVE\n");
        return 77;
    }
    native_mask = isa_has(&f, FEAT_AVX) ? 7 : 3;
    sigaction(SIGFPE, &sa, NULL);
    code_page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code_page == MAP_FAILED) {
        printf("skipped: no executable memory to be had\n");
        return 77;
    }
    native_code = (void (*)(void))code_page;
    if (!ishi_init(&f))
        return 1;
    for (unsigned i = 0; i < isa_row_count; i++) {
        const struct isa_row *row = &isa_rows[i];
        if (!tested(row) || (argc > 3 && strcmp(row->name, argv[3])))
            continue;
        if (!isa_has(&f, row->feature)) {
            skipped[row->feature] = true;
            continue;
        }
        rng_seed(&rng, seed + i * 1000003ull);
        unsigned b = try_row(row, rounds, &f);
        if (b)
            printf("%s (row %u): %u differences\n", row->name, i, b);
        bad += b != 0;
        done++;
    }
    for (unsigned i = 0; i < FEAT_COUNT; i++)
        if (skipped[i]) {
#define X(id, leaf, reg, bit, name) [FEAT_##id] = name,
            static const char *const names[] = {ISA_FEATURES(X)};
#undef X
            printf("skipped: this host has no %s\n", names[i]);
        }
    printf("%u rows, %u rounds each, seed %llu: %u rows differ\n", done, rounds,
           (unsigned long long)seed, bad);
    return bad != 0;
}
