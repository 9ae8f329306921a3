/* Compares the decoder with Zydis: validity, length, mnemonic and operands, over every opcode and
 * ModRM byte under many prefixes, in three modes, and over random bytes.
 *
 * Where the two differ by intent, a rule below says so and which is right by the SDM. Anything that
 * no rule explains fails the test.
 *
 *   test_zydis [--full]        --full: every ModRM byte, more random strings
 */
#include "isa/isa.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>

struct sample {
    uint8_t bytes[16];
    unsigned n;
    enum isa_mode mode;
    enum isa_result res;
    struct insn in;
    bool valid; /* by Zydis */
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    char name[32];      /* our mnemonic, by Zydis's name for it */
    const char *z_name; /* Zydis's */
};

/* Names of the same thing. */
static const char *const aliases[][2] = {
    {"jae", "jnb"},
    {"je", "jz"},
    {"jne", "jnz"},
    {"ja", "jnbe"},
    {"jge", "jnl"},
    {"jg", "jnle"},
    {"setae", "setnb"},
    {"sete", "setz"},
    {"setne", "setnz"},
    {"seta", "setnbe"},
    {"setge", "setnl"},
    {"setg", "setnle"},
    {"cmovae", "cmovnb"},
    {"cmove", "cmovz"},
    {"cmovne", "cmovnz"},
    {"cmova", "cmovnbe"},
    {"cmovge", "cmovnl"},
    {"cmovg", "cmovnle"},
    {"xlatb", "xlat"},
    {"retf", "ret"},
    {"endbr64", "nop"},
    {"fneni", "feni8087_nop"},
    {"fndisi", "fdisi8087_nop"},
    {"fnsetpm", "fsetpm287_nop"},
    {"endbr32", "nop"},
    {"sysretq", "sysret"},
    {"sysexitq", "sysexit"},
};

static void normalise(struct sample *s)
{
    isa_mnemonic(&s->in, s->name, sizeof s->name);
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcmp(s->name, aliases[i][0]))
            snprintf(s->name, sizeof s->name, "%s", aliases[i][1]);
    s->z_name = s->valid ? ZydisMnemonicGetString(s->z.mnemonic) : "(bad)";
}

/* --- Comparison --- */

static ZydisRegister general(unsigned reg, unsigned size)
{
    if (size == 1)
        return reg & ISA_HIGH ? ZYDIS_REGISTER_AH + (reg & 3)
                              : ZYDIS_REGISTER_AL + (reg < 4 ? reg : reg + 4);
    return (size == 2   ? ZYDIS_REGISTER_AX
            : size == 4 ? ZYDIS_REGISTER_EAX
                        : ZYDIS_REGISTER_RAX) +
           reg;
}

static ZydisRegister register_of(const struct isa_opnd *op)
{
    switch (op->where) {
    case W_S:
    case W_SREG: return ZYDIS_REGISTER_ES + op->reg;
    case W_C: return ZYDIS_REGISTER_CR0 + op->reg;
    case W_D: return ZYDIS_REGISTER_DR0 + op->reg;
    case W_V:
    case W_W:
    case W_U:
    case W_H:
    case W_L:
    case W_XMM0: return (op->size == 32 ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0) + op->reg;
    case W_P:
    case W_Q:
    case W_N: return ZYDIS_REGISTER_MM0 + op->reg;
    case W_ST:
    case W_ST0: return ZYDIS_REGISTER_ST0 + op->reg;
    default: return general(op->reg, op->size);
    }
}

static const char *compare_memory(const struct insn *in, const struct isa_opnd *op,
                                  const ZydisDecodedOperand *z)
{
    ZydisRegister base = ZYDIS_REGISTER_NONE, index = ZYDIS_REGISTER_NONE;
    if (in->base == ISA_RIP)
        base = in->asize == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP;
    else if (in->base != ISA_NO_REG)
        base = general(in->base, in->asize);
    if (in->index != ISA_NO_REG && op->where == W_VM)
        index = (in->vex_l && (op->size == 8 || !(in->rex & 8)) ? ZYDIS_REGISTER_YMM0
                                                                : ZYDIS_REGISTER_XMM0) +
                in->index;
    else if (in->index != ISA_NO_REG)
        index = general(in->index, in->asize);
    if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
        return "memory";
    if (z->mem.base != base)
        return "base";
    if (z->mem.index != index)
        return "index";
    if (index && z->mem.scale != 1 << in->scale)
        return "scale";
    uint64_t mask = in->asize == 8 ? ~0ull : BIT(in->asize * 8) - 1;
    if ((z->mem.disp.value & mask) != (in->disp & mask))
        return "displacement";
    if (z->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
        z->mem.segment != (unsigned)ZYDIS_REGISTER_ES + in->seg)
        return "segment";
    if (op->size && op->where != W_VM && z->mem.type == ZYDIS_MEMOP_TYPE_MEM &&
        z->size != op->size * 8)
        return "memory size";
    return NULL;
}

static const char *compare_operand(const struct insn *in, unsigned i, const ZydisDecodedOperand *z)
{
    const struct isa_opnd *op = &in->op[i];
    switch (op->where) {
    case W_M:
    case W_VM: return compare_memory(in, op, z);
    case W_ONE:
        return z->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && z->imm.value.u == 1 ? NULL : "one";
    case W_A:
        return z->type == ZYDIS_OPERAND_TYPE_POINTER && z->ptr.segment == in->imm2 &&
                       z->ptr.offset == in->imm
                   ? NULL
                   : "far pointer";
    case W_J:
        return z->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && z->imm.value.u == in->imm ? NULL
                                                                                    : "target";
    case W_I: {
        if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return "immediate";
        uint64_t v = i && in->op[0].where == W_I ? in->imm2 : in->imm;
        uint64_t mask = op->size >= 8 ? ~0ull : BIT(op->size * 8) - 1;
        return (v & mask) == (z->imm.value.u & mask) ? NULL : "immediate value";
    }
    default:
        return z->type == ZYDIS_OPERAND_TYPE_REGISTER && z->reg.value == register_of(op)
                   ? NULL
                   : "register";
    }
}

static bool is_string(const struct insn *in)
{
    for (unsigned i = 0; i < in->op_count; i++)
        if (in->op[i].where == W_X || in->op[i].where == W_Y)
            return true;
    return false;
}

/* What differs, or NULL. */
static const char *compare(const struct sample *s)
{
    if ((s->res == ISA_OK) != s->valid)
        return s->valid ? "we say undefined" : "we say defined";
    if (!s->valid)
        return NULL;
    if (s->in.length != s->z.length)
        return "length";
    if (strcmp(s->name, s->z_name) != 0)
        return "mnemonic";
    if (is_string(&s->in))
        return NULL;
    /* Zydis hides the implied XMM0. */
    unsigned count = s->in.op_count;
    if (count && s->in.op[count - 1].where == W_XMM0)
        count--;
    if (count != s->z.operand_count_visible)
        return "operand count";
    for (unsigned i = 0; i < count; i++) {
        const char *what = compare_operand(&s->in, i, &s->op[i]);
        if (what)
            return what;
    }
    return NULL;
}

/* --- Differences by intent --- */

static bool absent_extension(const struct sample *s, const char *what)
{
    static const ZydisISAExt absent[] = {
        ZYDIS_ISA_EXT_AMD3DNOW,  ZYDIS_ISA_EXT_AMD_INVLPGB,
        ZYDIS_ISA_EXT_AMX_BF16,  ZYDIS_ISA_EXT_AMX_INT8,
        ZYDIS_ISA_EXT_AMX_TILE,  ZYDIS_ISA_EXT_AVX512EVEX,
        ZYDIS_ISA_EXT_AVX512VEX, ZYDIS_ISA_EXT_AVX_VNNI,
        ZYDIS_ISA_EXT_CET,       ZYDIS_ISA_EXT_CLZERO,
        ZYDIS_ISA_EXT_ENQCMD,    ZYDIS_ISA_EXT_FMA4,
        ZYDIS_ISA_EXT_GFNI,      ZYDIS_ISA_EXT_HRESET,
        ZYDIS_ISA_EXT_KEYLOCKER, ZYDIS_ISA_EXT_KEYLOCKER_WIDE,
        ZYDIS_ISA_EXT_KNC,       ZYDIS_ISA_EXT_KNCE,
        ZYDIS_ISA_EXT_KNCV,      ZYDIS_ISA_EXT_MCOMMIT,
        ZYDIS_ISA_EXT_MONITORX,  ZYDIS_ISA_EXT_MOVDIR,
        ZYDIS_ISA_EXT_PADLOCK,   ZYDIS_ISA_EXT_PCONFIG,
        ZYDIS_ISA_EXT_PKU,       ZYDIS_ISA_EXT_PT,
        ZYDIS_ISA_EXT_RDPRU,     ZYDIS_ISA_EXT_RTM,
        ZYDIS_ISA_EXT_SERIALIZE, ZYDIS_ISA_EXT_SGX,
        ZYDIS_ISA_EXT_SGX_ENCLV, ZYDIS_ISA_EXT_SMX,
        ZYDIS_ISA_EXT_SNP,       ZYDIS_ISA_EXT_SSE4A,
        ZYDIS_ISA_EXT_SVM,       ZYDIS_ISA_EXT_TBM,
        ZYDIS_ISA_EXT_TDX,       ZYDIS_ISA_EXT_TSX_LDTRK,
        ZYDIS_ISA_EXT_UINTR,     ZYDIS_ISA_EXT_VAES,
        ZYDIS_ISA_EXT_VMFUNC,    ZYDIS_ISA_EXT_VPCLMULQDQ,
        ZYDIS_ISA_EXT_VTX,       ZYDIS_ISA_EXT_WAITPKG,
        ZYDIS_ISA_EXT_XOP,       ZYDIS_ISA_EXT_XSAVES,
    };
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        if (s->valid && s->res != ISA_OK && s->z.meta.isa_ext == absent[i])
            return true;
    return false;
}

static bool is_one_of(const char *name, const char *list)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

static bool only_ours_differs(const struct sample *s, const char *what, const char *kind,
                              const char *names)
{
    return !strcmp(what, kind) && !strcmp(s->name, s->z_name) && is_one_of(s->name, names);
}

static bool system_management(const struct sample *s, const char *what)
{
    return s->valid && s->z.mnemonic == ZYDIS_MNEMONIC_RSM;
}

static bool legacy_syscall(const struct sample *s, const char *what)
{
    return s->mode != ISA_64 && s->res != ISA_OK && is_one_of(s->z_name, "syscall sysret");
}

static bool hint_operands(const struct sample *s, const char *what)
{
    return !strcmp(s->name, "nop") && !strcmp(s->z_name, "nop") &&
           (!strcmp(what, "operand count") || !strcmp(what, "register"));
}

static bool line_size(const struct sample *s, const char *what)
{
    return only_ours_differs(s, what, "memory size", "clflush clflushopt clwb");
}

static bool selector_register(const struct sample *s, const char *what)
{
    return only_ours_differs(s, what, "register", "lar lsl");
}

static bool movsxd_word(const struct sample *s, const char *what)
{
    return s->in.osize == 2 && (only_ours_differs(s, what, "memory size", "movsxd") ||
                                only_ours_differs(s, what, "register", "movsxd"));
}

static bool mask_width(const struct sample *s, const char *what)
{
    return s->in.rex & 8 && only_ours_differs(s, what, "register", "movmskps movmskpd pmovmskb");
}

static bool x87_implied(const struct sample *s, const char *what)
{
    return only_ours_differs(s, what, "operand count", "fucomp");
}

static bool x87_alias(const struct sample *s, const char *what)
{
    return !strcmp(s->name, "fstp") && !strcmp(s->z_name, "fstpnce");
}

static bool no_base(const struct sample *s, const char *what)
{
    return !strcmp(what, "base") && s->in.asize == 4 && s->in.base == ISA_NO_REG &&
           s->z.raw.sib.base == 5 && s->z.raw.modrm.mod == 0 && s->in.rex & 1;
}

static bool reserved_prefetch(const struct sample *s, const char *what)
{
    return !strcmp(what, "mnemonic") && !strcmp(s->name, "prefetch") &&
           !strcmp(s->z_name, "prefetchwt1");
}

enum right { OURS, ZYDIS, CHOICE };

static const struct rule {
    enum right right;
    const char *why;
    bool (*applies)(const struct sample *s, const char *what);
} rules[] = {
    {CHOICE, "an extension that ishi does not have", absent_extension},
    {OURS, "RSM outside system management is undefined (SDM 3C 31.3)", system_management},
    {CHOICE, "SYSCALL and SYSRET outside 64-bit mode: AMD's only (SDM 2B SYSCALL)", legacy_syscall},
    {CHOICE, "what a hint's operands are (no operation)", hint_operands},
    {CHOICE, "a cache line's size as the operand of CLFLUSH", line_size},
    {CHOICE, "LAR, LSL: the source register's low word is what counts", selector_register},
    {OURS, "MOVSXD r16, r/m16 reads a word (SDM 2B MOVSX)", movsxd_word},
    {OURS, "mod 0 with SIB base 5 has no base, whatever REX.B is (SDM 2A table 2-3)", no_base},
    {CHOICE, "MOVMSK fills a 64-bit register with or without REX.W", mask_width},
    {CHOICE, "whether x87's ST(0) is named", x87_implied},
    {CHOICE, "D9 D8+i is an alias of FSTP ST(i) that Zydis calls FSTPNCE", x87_alias},
    {CHOICE, "PREFETCHWT1 is a reserved prefetch", reserved_prefetch},
};

/* --- Bookkeeping --- */

struct group {
    char key[120];
    unsigned count;
    struct sample first;
};

struct tally {
    unsigned long samples, valid, explained[ARRAY_LEN(rules)], unexplained;
    struct group group[1000];
    unsigned groups;
    ZydisDecoder decoder[3];
};

static void record(struct tally *t, const struct sample *s, const char *what)
{
    char key[120];
    t->unexplained++;
    snprintf(key, sizeof key, "%s: ours %s, Zydis %s, %d-bit", what, s->name, s->z_name,
             16 << s->mode);
    for (unsigned i = 0; i < t->groups; i++) {
        if (!strcmp(t->group[i].key, key)) {
            t->group[i].count++;
            return;
        }
    }
    if (t->groups == ARRAY_LEN(t->group))
        return;
    struct group *g = &t->group[t->groups++];
    memcpy(g->key, key, sizeof key);
    g->count = 1;
    g->first = *s;
}

static void check(struct tally *t, enum isa_mode mode, const uint8_t *bytes, unsigned n)
{
    struct sample s;
    memset(&s, 0, sizeof s);
    s.n = n;
    s.mode = mode;
    memcpy(s.bytes, bytes, n);
    s.res = isa_decode(&s.in, s.bytes, n, mode, NULL);
    s.valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&t->decoder[mode], s.bytes, n, &s.z, s.op));
    normalise(&s);
    t->samples++;
    t->valid += s.valid;
    const char *what = compare(&s);
    if (!what)
        return;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].applies(&s, what)) {
            t->explained[i]++;
            return;
        }
    }
    record(t, &s, what);
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

/* Fills what follows the first `at` bytes. */
static void fill(uint8_t *b, unsigned at, uint64_t *x)
{
    for (; at < 15; at++)
        b[at] = next_random(x) >> 24;
}

static const struct {
    uint8_t n, b[3];
} prefix_sets[] = {
    {0, {0}},
    {1, {0x66}},
    {1, {0xf3}},
    {1, {0xf2}},
    {2, {0x66, 0xf3}},
    {2, {0x66, 0xf2}},
    {1, {0xf0}},
    {1, {0x67}},
    {1, {0x48}},
    {1, {0x44}},
    {1, {0x41}},
    {1, {0x42}},
    {2, {0x66, 0x48}},
    {2, {0xf3, 0x48}},
    {2, {0xf2, 0x48}},
    {2, {0xf0, 0x4f}},
    {2, {0x48, 0x66}},
    {2, {0x67, 0x4f}},
    {1, {0x2e}},
    {2, {0x64, 0x36}},
    {2, {0xf2, 0xf3}},
    {2, {0xf3, 0xf0}},
    {3, {0xf2, 0x66, 0x41}},
    {1, {0x40}},
};

static void run_legacy(struct tally *t, unsigned step, uint64_t *x)
{
    static const uint8_t escape[4][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    static const uint8_t escape_n[4] = {0, 1, 2, 2};
    for (unsigned p = 0; p < ARRAY_LEN(prefix_sets); p++)
        for (unsigned map = 0; map < 4; map++)
            for (unsigned k = next_random(x) % step; k < 65536; k += step) {
                uint8_t b[15];
                unsigned n = prefix_sets[p].n;
                memcpy(b, prefix_sets[p].b, n);
                memcpy(b + n, escape[map], escape_n[map]);
                n += escape_n[map];
                b[n++] = k >> 8;
                b[n++] = k;
                fill(b, n, x);
                for (unsigned mode = 0; mode < 3; mode++)
                    check(t, mode, b, sizeof b);
            }
}

static void run_vex(struct tally *t, unsigned step, uint64_t *x)
{
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned pp = 0; pp < 16; pp++) /* W, one bit of vvvv, L, pp by bits */
            for (unsigned k = next_random(x) % step; k < 65536; k += step) {
                uint8_t b[15] = {0xc4, map | 0xe0, (pp >> 3) << 7 | 0x78 | (pp & 7), k >> 8, k};
                if (next_random(x) >> 20 & 1)
                    b[1] ^= next_random(x) & 0xe0;
                if (next_random(x) >> 20 & 1)
                    b[2] ^= next_random(x) & 0x78;
                fill(b, 5, x);
                for (unsigned mode = 0; mode < 3; mode++)
                    check(t, mode, b, sizeof b);
                b[1] = 0xc5;
                b[2] |= 0x80;
                for (unsigned mode = 0; mode < 3 && map == 1 && pp < 8; mode++)
                    check(t, mode, b + 1, sizeof b - 1);
            }
}

static void run_random(struct tally *t, unsigned long count, uint64_t *x)
{
    while (count--) {
        uint8_t b[15];
        uint64_t r = next_random(x);
        fill(b, 0, x);
        if (r & 1)
            b[0] = (const uint8_t[]){0x66, 0xf2, 0xf3, 0x0f, 0xf0, 0x67, 0x48, 0xc4}[r >> 8 & 7];
        check(t, (r >> 16) % 3, b, 1 + (r >> 32) % 15);
    }
}

static void show(const struct group *g)
{
    char text[100];
    printf("  %7u  %s:", g->count, g->key);
    for (unsigned i = 0; i < g->first.n && i < 12; i++)
        printf(" %02x", g->first.bytes[i]);
    isa_format(&g->first.in, 0, text, sizeof text);
    printf("  (%s; %u, %u bytes)\n", text, g->first.in.length, g->first.z.length);
}

static int by_count(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->count < y->count ? 1 : -1;
}

int main(int argc, char **argv)
{
    static struct tally tally;
    static const ZydisDecoderMode off[] = {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                           ZYDIS_DECODER_MODE_WBNOINVD,
                                           ZYDIS_DECODER_MODE_CLDEMOTE};
    bool full = argc > 1 && !strcmp(argv[1], "--full");
    ZydisDecoderInit(&tally.decoder[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&tally.decoder[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&tally.decoder[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 3 * ARRAY_LEN(off); i++)
        ZydisDecoderEnableMode(&tally.decoder[i % 3], off[i / 3], ZYAN_FALSE);
    uint64_t x = 0x9e3779b97f4a7c15;
    run_legacy(&tally, full ? 1 : 5, &x);
    run_vex(&tally, full ? 1 : 5, &x);
    run_random(&tally, full ? 10000000 : 500000, &x);
    printf("%lu samples, %lu valid\n", tally.samples, tally.valid);
    unsigned stale = 0;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        stale += !tally.explained[i];
        printf("  %9lu  %s (%s)\n", tally.explained[i], rules[i].why,
               (const char *[]){"we are right", "Zydis is right", "both may be"}[rules[i].right]);
    }
    printf("%lu unexplained, %u kinds\n", tally.unexplained, tally.groups);
    qsort(tally.group, tally.groups, sizeof *tally.group, by_count);
    for (unsigned i = 0; i < tally.groups; i++)
        show(&tally.group[i]);
    if (stale)
        printf("%u rules explain nothing any more: take them out\n", stale);
    return tally.unexplained || stale ? EXIT_FAILURE : EXIT_SUCCESS;
}
