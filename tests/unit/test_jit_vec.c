/* Vector and x87 instructions in generated code: random blocks of them, with integer instructions
 * between, run on the interpreter and on the JIT from the same states. All of the state agrees
 * after every run: registers, MXCSR, the x87's words and pointers, memory, exceptions and where
 * they came.
 *
 *   test_jit_vec [seed [cases]] */
#include "unit.h"

#include <stdio.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "cpu/x87.h"
#include "tests/bare_pc.h"

#define CODE      0x1000u
#define DATA      0x40000u /* 4 pages; the fifth is not present, the sixth may not be written */
#define DATA_SIZE 0x4000u
#define MIDDLE    (DATA + DATA_SIZE / 2)
#define RUNS      18 /* of a block: it is compiled on the way */
#define INSNS     14

static struct rng rng;
static unsigned seed = 1, cases = 400;

static unsigned chance(unsigned n)
{
    return (unsigned)(rng_next(&rng) % n);
}

static struct pc *build(const struct engine *engine)
{
    struct pc *p = pc_new_all(engine);
    struct cpu *c = &p->cpu;
    struct err e;
    if (!engine->join(&c, 1, &e)) {
        printf("%s\n", e.text);
        exit(77);
    }
    return p;
}

/* Doubles or pairs of floats, of every kind; integers of every size. */
static uint64_t value(void)
{
    static const uint64_t special[] = {
        0,
        0x8000000000000000,
        0x3ff0000000000000,
        0xbff8000000000000,
        0x7ff0000000000000,
        0x7ff8000000000001,
        0xfff0000000000001,
        0x0000000000000001,
        0x800fffffffffffff,
        0x41dfffffffc00000,
        0x7fefffffffffffff,
        0x3f8000007f800000,
        0xff8000007fc00001,
        0x7f80000100000001,
        0x007fffff4effffff,
    };
    uint64_t r = rng_next(&rng);
    switch (chance(8)) {
    case 0: return special[chance(ARRAY_LEN(special))];
    case 1:
    case 2: return (r & 0x800fffffffffffff) | (uint64_t)(0x3ff - 16 + chance(32)) << 52;
    case 3:
        return (r & 0x807fffff807fffff) | (uint64_t)chance(256) << 55 | (uint64_t)chance(256) << 23;
    case 4: return chance(256);
    case 5: return BIT(chance(64)) - chance(2);
    default: return r;
    }
}

static void make_state(struct cpu_state *s)
{
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = value();
    s->r[R_DI] = (chance(12) ? MIDDLE : MIDDLE + 0x1fe0 + 0x1000 * chance(2)) +
                 (chance(4) ? 16 * chance(4) : chance(64));
    s->r[R_SI] = MIDDLE + 32 * chance(8);
    s->r[R_BX] = 16 * chance(8);
    s->r[R_SP] = MIDDLE - 0x800;
    s->rflags = EF_FIXED | (rng_next(&rng) & F_OSZAPC);
    s->mxcsr = 0x1f80 | chance(4) << 13 | (chance(2) ? 0 : chance(64));
    if (!chance(4))
        s->mxcsr |= chance(2) << 15 | chance(2) << 6;
    if (!chance(12))
        s->mxcsr &= ~(0x80u << chance(6));
    s->fcw = (uint16_t)(0x37f & ~(chance(3) ? 0 : (chance(2) ? 0x100u : 0x300u)));
    s->fcw |= (uint16_t)(chance(4) << 10);
    if (!chance(12))
        s->fcw &= (uint16_t) ~(1u << chance(6));
    s->fsw = (uint16_t)(chance(8) << 11 | (chance(16) & 7) << 8 | (chance(2) ? 0 : chance(64)));
    if (s->fsw & ~s->fcw & 0x3f)
        s->fsw |= FSW_ES | FSW_B;
    s->ftw = chance(3) ? (uint8_t)rng_next(&rng) : chance(2) ? 0xff : 0;
    for (unsigned i = 0; i < 8; i++) {
        static const uint16_t exps[] = {0, 1, 0x3ffe, 0x3fff, 0x4000, 0x403e, 0x7ffe, 0x7fff};
        s->fp_sig[i] = value();
        s->fp_exp[i] = (uint16_t)(chance(3) ? 0x3fff - 20 + chance(40) : exps[chance(8)]);
        if (s->fp_exp[i] && chance(16))
            s->fp_sig[i] |= BIT(63);
        s->fp_exp[i] |= (uint16_t)(chance(2) << 15);
    }
    bool high = chance(2);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++)
            s->v[i].q[k] = k < 2 || high ? value() : 0;
}

/* The same state for both, about to run the code. */
static void load(struct pc *p, const struct cpu_state *from, const uint8_t *data, bool code64)
{
    struct cpu_state *s = &p->cpu.s;
    uint64_t icount = s->icount;
    cpu_reset(&p->cpu, false);
    *s = *from;
    s->icount = icount;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = (uint16_t)(8 * i + 8), .attr = 0xc093};
    s->seg[SEG_CS].attr = code64 ? 0xa09b : 0xc09b;
    s->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_ET;
    s->cr3 = 0xf0000;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->xcr0 = 7;
    s->efer = EFER_LME | EFER_LMA;
    s->idtr.limit = 0;
    s->rip = CODE;
    s->activity = ACT_RUN;
    p->cpu.chain_count = 0;
    flags_set(&p->cpu, from->rflags);
    cpu_mode_changed(&p->cpu);
    memcpy(p->ram + DATA, data, DATA_SIZE);
}

static void map(struct pc *p)
{
    put_le64(p->ram + 0xf0000, 0xf1007);
    put_le64(p->ram + 0xf1000, 0xf2007);
    put_le64(p->ram + 0xf2000, 0xf3007);
    for (unsigned i = 0; i < 256; i++)
        put_le64(p->ram + 0xf3000 + 8 * i, i << 12 | 7);
    put_le64(p->ram + 0xf3000 + 8 * ((DATA >> 12) + 4), 0);
    put_le64(p->ram + 0xf3000 + 8 * ((DATA >> 12) + 5), (DATA + 0x5000) | 5);
    tlb_flush(&p->cpu);
}

static bool named(const struct isa_row *r, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(r->name, *names))
            return true;
    return false;
}

static bool wanted(const struct isa_row *r, bool integers)
{
    static const char *const integer[] = {"add", "sub",  "cmp",   "adc",   "inc",
                                          "and", "setc", "lahf",  "lea",   "mov",
                                          "rol", "sete", "cmovb", "cmove", NULL};
    static const char *const native[] = {
        "mul",  "imul", "div",  "idiv",  "shld",  "shrd",   "bt",    "bts",     "btr",
        "btc",  "bsf",  "bsr",  "tzcnt", "lzcnt", "popcnt", "crc32", "andn",    "bextr",
        "bzhi", "pdep", "pext", "sarx",  "shlx",  "shrx",   "blsr",  "blsmsk",  "blsi",
        "mulx", "adcx", "adox", "sahf",  "lahf",  "clc",    "stc",   "cmc",     "cld",
        "std",  "rorx", "rcl",  "rcr",   "shl",   "movbe",  "xadd",  "cmpxchg", NULL};
    if (r->attr & (A_CPL0 | A_BRANCH | A_HLT | A_I64 | A_END))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (r->op[i] == OP_VMdx || r->op[i] == OP_VMqx || r->op[i] == OP_Ob || r->op[i] == OP_Ov)
            return false;
    if (r->attr & (A_SSE | A_VEX | A_X87 | A_MMX))
        return true;
    if (integers && chance(4))
        return named(r, native);
    if (integers)
        return r->map != MAP_1B || (r->opcode & 0xfc) != 0xa4;
    return r->map == MAP_1B && named(r, integer) && !chance(2);
}

/* An instance of row r. 0: it did not come out. */
static unsigned make_insn(const struct isa_row *r, uint8_t *b, bool code64)
{
    static const uint8_t mandatory[] = {[P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2};
    static const uint8_t pp[] = {[P_NP] = 0, [P_66] = 1, [P_F3] = 2, [P_F2] = 3};
    unsigned n = 0, kind = r->modrm >> 8, low = r->modrm & 0xff;
    if (!chance(8)) /* the flat FS */
        b[n++] = 0x64;
    unsigned rex = code64 && chance(3) ? chance(16) : 0;
    struct insn in;
    if (r->attr & A_W0)
        rex &= 7;
    if (r->attr & A_W1)
        rex |= 8;
    if (!code64 && r->attr & A_VEX)
        rex &= 8;
    unsigned modrm = kind == MK_EXACT   ? low
                     : kind == MK_RANGE ? low + chance(8)
                     : kind >= MK_DIGIT ? low << 3 | chance(8)
                                        : chance(64);
    if (kind == MK_REG || kind == MK_DIGIT_REG)
        modrm |= 0xc0;
    else if (kind == MK_MEM || kind == MK_DIGIT_MEM || (kind < MK_EXACT && chance(2)))
        modrm = (modrm & 0x38) | 0x40 | (chance(4) ? R_DI : R_SI);
    else if (kind < MK_EXACT)
        modrm |= 0xc0;
    bool mem = kind != MK_NONE && modrm < 0xc0;
    if (mem)
        rex &= ~1u;
    if (r->attr & A_VEX) {
        unsigned vvvv = chance(code64 ? 16 : 8), l = chance(2);
        bool three = false;
        for (unsigned i = 0; i < 4; i++)
            three |= r->op[i] >= OP_Hss && r->op[i] <= OP_Hx;
        for (unsigned i = 0; i < 4; i++)
            three |= r->op[i] == OP_By;
        b[n++] = 0xc4;
        b[n++] = (uint8_t)((~rex & 7) << 5 | r->map);
        b[n++] = (uint8_t)((rex & 8) << 4 | (three ? ~vvvv & 15 : 15) << 3 |
                           (r->attr & A_L0   ? 0
                            : r->attr & A_L1 ? 1
                                             : l)
                               << 2 |
                           pp[r->prefix]);
    } else {
        if (r->prefix < sizeof mandatory && mandatory[r->prefix])
            b[n++] = mandatory[r->prefix];
        if (code64 && rex)
            b[n++] = (uint8_t)(0x40 | rex);
        if (r->map != MAP_1B)
            b[n++] = 0x0f;
        if (r->map > MAP_0F)
            b[n++] = r->map == MAP_0F38 ? 0x38 : 0x3a;
    }
    b[n++] = r->opcode;
    if (kind != MK_NONE)
        b[n++] = (uint8_t)modrm;
    if (mem && chance(2)) { /* by SIB, with RBX as an index */
        b[n - 1] = (uint8_t)((modrm & 0xf8) | 4);
        b[n++] = (uint8_t)((chance(2) ? R_BX : 4) << 3 | (modrm & 7));
    }
    if (mem)
        b[n++] = (uint8_t)(chance(4) ? 16 * chance(4) : chance(64));
    for (unsigned i = 0; i < 8; i++)
        b[n + i] = (uint8_t)rng_next(&rng);
    if (chance(2))
        b[n] &= 15;
    if (isa_decode(&in, b, 15, code64 ? ISA_64 : ISA_32, NULL) != ISA_OK || in.row != r)
        return 0;
    /* the pointers stay */
    for (unsigned i = 0; i < in.op_count; i++)
        if ((in.op[i].where == W_E || in.op[i].where == W_G || in.op[i].where == W_Z) && i == 0 &&
            ((in.op[i].reg & 15) == R_DI || (in.op[i].reg & 15) == R_SI ||
             (in.op[i].reg & 15) == R_BX))
            return 0;
    return in.length;
}

static unsigned make_code(uint8_t *code, bool code64)
{
    unsigned n = 0, only = chance(4); /* mixed, vectors, x87, integers */
    for (unsigned i = 0; i < INSNS;) {
        const struct isa_row *r = &isa_rows[chance(isa_row_count)];
        if (!wanted(r, only == 3) || (only == 3 && r->attr & (A_SSE | A_X87 | A_MMX)) ||
            (only == 1 && r->attr & (A_X87 | A_MMX)) ||
            (only == 2 && r->attr & (A_SSE | A_VEX | A_MMX)))
            continue;
        unsigned length = make_insn(r, code + n, code64);
        n += length;
        i += length > 0;
    }
    code[n++] = 0xf4;
    return n;
}

static void print_code(const uint8_t *code, unsigned n, bool code64)
{
    for (unsigned at = 0; at < n;) {
        char text[80];
        struct insn in;
        isa_decode(&in, code + at, n + 15 - at, code64 ? ISA_64 : ISA_32, NULL);
        isa_format(&in, CODE + at, text, sizeof text);
        printf("  %x: %s\n", CODE + at, text);
        at += in.length;
    }
}

static void print_differences(const struct pc *a, const struct pc *b)
{
#define SHOW(f, n)                                                                           \
    for (unsigned k = 0; k < (n); k++)                                                       \
        if (memcmp(&(&a->cpu.s.f)[k], &(&b->cpu.s.f)[k], sizeof a->cpu.s.f))                 \
            printf("  " #f " %u: %llx, jit %llx\n", k, (unsigned long long)(&a->cpu.s.f)[k], \
                   (unsigned long long)(&b->cpu.s.f)[k]);
    SHOW(r[0], 16)
    SHOW(rip, 1)
    SHOW(rflags, 1)
    SHOW(icount, 1)
    SHOW(mxcsr, 1)
    SHOW(fcw, 1)
    SHOW(fsw, 1)
    SHOW(ftw, 1)
    SHOW(fip, 1)
    SHOW(fcs, 1)
    SHOW(fop, 1)
    SHOW(fdp, 1)
    SHOW(fp_sig[0], 8)
    SHOW(fp_exp[0], 8)
    SHOW(v[0].q[0], 64)
#undef SHOW
    for (unsigned i = 0; i < DATA_SIZE; i++)
        if (a->ram[DATA + i] != b->ram[DATA + i])
            printf("  memory %x: %x, jit %x\n", DATA + i, a->ram[DATA + i], b->ram[DATA + i]);
}

static uint64_t hash(struct pc *p)
{
    flags_sync(&p->cpu);
    return state_hash(STATE_HASH_INIT, &cpu_state_table, &p->cpu.s);
}

static bool same(struct pc *a, enum engine_exit ea, struct pc *b, enum engine_exit eb)
{
    const struct cpu *x = &a->cpu, *y = &b->cpu;
    return ea == eb && hash(a) == hash(b) && x->chain_count == y->chain_count &&
           (!x->chain_count || x->chain[0].vector == y->chain[0].vector) &&
           !memcmp(a->ram + DATA, b->ram + DATA, DATA_SIZE);
}

static void test_random(void **state)
{
    struct pc *a = build(&engine_interp), *b = build(&engine_jit);
    static uint8_t code[512], data[DATA_SIZE];
    static struct cpu_state from;
    (void)state;
    for (unsigned i = 0; i < cases; i++) {
        bool code64;
        unsigned n;
        rng_seed(&rng, seed * 1000003ull + i);
        code64 = chance(4);
        n = make_code(code, code64);
        struct pc *both[] = {a, b};
        if (getenv("V"))
            printf("case %u\n", i), print_code(code, n, code64), fflush(stdout);
        for (unsigned k = 0; k < 2; k++) {
            blocks_flush(both[k]->cpu.blocks);
            memcpy(both[k]->ram + CODE, code, sizeof code);
            map(both[k]);
        }
        for (unsigned run = 0; run < RUNS; run++) {
            make_state(&from);
            for (unsigned k = 0; k < DATA_SIZE; k += 8)
                put_le64(data + k, value());
            for (unsigned k = 0; !code64 && k < 16; k++)
                from.r[k] = (uint32_t)from.r[k];
            for (unsigned k = 0; k < 2; k++)
                load(both[k], &from, data, code64);
            enum engine_exit ea = a->engine->run(&a->cpu, 1000), eb = b->engine->run(&b->cpu, 1000);
            if (!same(a, ea, b, eb)) {
                printf("seed %u, case %u, run %u: exits %d, jit %d; exceptions %u, jit %u\n", seed,
                       i, run, (int)ea, (int)eb, a->cpu.chain_count ? a->cpu.chain[0].vector : 99,
                       b->cpu.chain_count ? b->cpu.chain[0].vector : 99);
                print_code(code, n, code64);
                print_differences(a, b);
                fflush(stdout);
                fail();
            }
        }
    }
    pc_free(a);
    pc_free(b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    if (argc > 1)
        seed = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        cases = (unsigned)strtoul(argv[2], NULL, 0);
    return RUN(tests);
}
