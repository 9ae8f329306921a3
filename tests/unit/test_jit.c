/* Random code, interpreted and as generated code: registers, flags, memory, counts and the way a
 * CPU ends agree, whatever the pieces that it is run in. */
#include "unit.h"

#include "random_code.h"

#define CASES  400
#define ROUNDS 40 /* so that blocks are compiled */

/* The same start again and again, so that what was cold is hot; memory as at the beginning. */
static void again(struct pc *p, const struct cpu_state *s, const uint8_t *ram)
{
    for (unsigned i = 0; i < RAM_SIZE / PAGE_SIZE; i++) {
        if (!(p->bus.page_flags[i] & PAGE_DIRTY))
            continue;
        p->bus.page_flags[i] &= (uint8_t)~PAGE_DIRTY;
        memcpy(p->ram + i * PAGE_SIZE, ram + i * PAGE_SIZE, PAGE_SIZE);
        if (p->cpu.blocks)
            blocks_invalidate(p->cpu.blocks, i * PAGE_SIZE, PAGE_SIZE);
    }
    p->cpu.s = *s;
    p->cpu.request = 0;
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
}

static bool same_memory(const struct pc *a, const struct pc *b)
{
    for (unsigned i = 0; i < RAM_SIZE / PAGE_SIZE; i++)
        if (((a->bus.page_flags[i] | b->bus.page_flags[i]) & PAGE_DIRTY) &&
            memcmp(a->ram + i * PAGE_SIZE, b->ram + i * PAGE_SIZE, PAGE_SIZE))
            return false;
    return true;
}

/* Both from the same start, in rounds of various lengths. */
static void compare(struct pc *interp, struct pc *jit, struct rng *r, uint8_t *ram, unsigned name)
{
    struct cpu *a = &interp->cpu, *b = &jit->cpu;
    struct cpu_state start = a->s;
    memcpy(ram, interp->ram, RAM_SIZE);
    for (unsigned k = 0; k < ROUNDS; k++) {
        uint64_t begin = a->s.icount, n = k & 1 ? INSNS : 1 + rng_next(r) % INSNS;
        enum engine_exit x = ENGINE_BUDGET, y = ENGINE_BUDGET;
        again(interp, &start, ram);
        again(jit, &start, ram);
        a->s.icount = b->s.icount = begin;
        while (a->s.icount < begin + n && x == ENGINE_BUDGET)
            x = engine_interp.run(a, begin + n - a->s.icount);
        while (b->s.icount < begin + n && y == ENGINE_BUDGET)
            y = engine_jit.run(b, begin + n - b->s.icount);
        if (hash(interp) != hash(jit) || x != y)
            fail_msg("case %u round %u: %u instructions from %llx", name, k, (unsigned)n,
                     (unsigned long long)start.rip);
        assert_int_equal(x, y);
        assert_int_equal(a->s.icount, b->s.icount);
        assert_true(same_memory(interp, jit));
    }
}

static void test_same(void **state)
{
    struct pc *interp = pc_new_all(&engine_interp), *jit = pc_new_all(&engine_jit);
    struct cpu *a = &interp->cpu, *b = &jit->cpu;
    struct err e = {0};
    struct rng r;
    uint8_t *ram = malloc(RAM_SIZE);
    (void)state;
    rng_seed(&r, 1);
    assert_true(engine_interp.join(&a, 1, &e));
    assert_true(engine_jit.join(&b, 1, &e));
    for (unsigned i = 0; i < CASES; i++) {
        prepare(interp, (enum mode)(i % MODES), i);
        prepare(jit, (enum mode)(i % MODES), i);
        compare(interp, jit, &r, ram, i);
    }
    free(ram);
    pc_free(interp);
    pc_free(jit);
}

/* A loop that works on its stack, which lies across pages and where addresses wrap around. */
static void test_windows(void **state)
{
    static const uint8_t code64[] = {
        0x50, 0x53,                   /* push rax; push rbx */
        0x48, 0x8b, 0x4c, 0x24, 0x08, /* mov rcx, [rsp + 8] */
        0x48, 0x01, 0x0c, 0x24,       /* add [rsp], rcx */
        0x4c, 0x89, 0x64, 0x24, 0xf0, /* mov [rsp - 16], r12 */
        0x5a, 0x49, 0x01, 0xd4,       /* pop rdx; add r12, rdx */
        0x58, 0x48, 0x83, 0xe8, 0x01, /* pop rax; sub rax, 1 */
        0x75, 0xe5,                   /* jnz to the first */
        0xeb, 0xe3,                   /* jmp to the first */
    };
    static const uint8_t code32[] = {
        0x50, 0x53,             /* push eax; push ebx */
        0x8b, 0x4c, 0x24, 0x04, /* mov ecx, [esp + 4] */
        0x01, 0x0c, 0x24,       /* add [esp], ecx */
        0x89, 0x6c, 0x24, 0xf0, /* mov [esp - 16], ebp */
        0x5a, 0x01, 0xd3,       /* pop edx; add ebx, edx */
        0x58, 0x83, 0xe8, 0x01, /* pop eax; sub eax, 1 */
        0x75, 0xea,             /* jnz to the first */
        0xeb, 0xe8,             /* jmp to the first */
    };
    /* the call uses the window behind all others, when homes are back */
    static const uint8_t call64[] = {
        0x48, 0x8d, 0x05, 0x1f, 0x00, 0x00, 0x00, /* lea rax, [the pop below] */
        0x53, 0x56,                               /* push rbx; push rsi */
        0x48, 0x8b, 0x4c, 0x24, 0x08,             /* mov rcx, [rsp + 8] */
        0x48, 0x01, 0x0c, 0x24,                   /* add [rsp], rcx */
        0x48, 0x8b, 0x1c, 0x24,                   /* mov rbx, [rsp] */
        0x49, 0x01, 0xcc, 0x4d, 0x01, 0xe5,       /* add r12, rcx; add r13, r12 */
        0x49, 0x01, 0xcc, 0x4d, 0x01, 0xe5,       /* … which take the registers that are free */
        0xff, 0xd0, 0x90, 0x90,                   /* call rax; nop; nop */
        0x5a, 0x5a, 0x5a,                         /* pop rdx, three times */
        0xeb, 0xd5,                               /* jmp to the first */
    };
    /* at the end of RAM, what a check forgets is not there */
    static const uint32_t stacks[] = {0x8000, 0x8100, RAM_SIZE, 0x10, 0xfffffff0};
    struct pc *interp = pc_new_all(&engine_interp), *jit = pc_new_all(&engine_jit);
    struct cpu *a = &interp->cpu, *b = &jit->cpu;
    struct err e = {0};
    struct rng r;
    uint8_t *ram = malloc(RAM_SIZE);
    (void)state;
    rng_seed(&r, 2);
    assert_true(engine_interp.join(&a, 1, &e));
    assert_true(engine_jit.join(&b, 1, &e));
    for (unsigned i = 0; i < 3 * 17 * ARRAY_LEN(stacks); i++) {
        unsigned kind = i % 3;
        bool wide = kind != 0;
        for (struct pc *p = interp; p; p = p == interp ? jit : NULL) {
            prepare(p, wide ? FLAT64 : FLAT32, i);
            memcpy(p->ram + CODE,
                   kind == 2   ? call64
                   : kind == 1 ? code64
                               : code32,
                   kind == 2   ? sizeof call64
                   : kind == 1 ? sizeof code64
                               : sizeof code32);
            p->cpu.s.rip = CODE;
            p->cpu.s.r[R_AX] = i % 5 ? 20 : 0;
            p->cpu.s.r[R_SP] = stacks[i / 3 / 17] + (uint32_t)(i / 3 % 17 * 3) - 24;
        }
        compare(interp, jit, &r, ram, i);
    }
    free(ram);
    pc_free(interp);
    pc_free(jit);
}

/* Random loops of one block, which keep what they know of memory from round to round: bases that
 * stay, move and cross pages, indices, copies and extensions of them, vectors, the stack, and
 * memory that ends. */
#define LOOPS 300

struct code {
    uint8_t byte[128];
    unsigned n;
    bool wide;
    struct rng *r;
};

static unsigned pick(struct code *k, unsigned n)
{
    return (unsigned)(rng_next(k->r) % n);
}

static void put(struct code *k, unsigned v)
{
    k->byte[k->n++] = (uint8_t)v;
}

/* RBX, RSI or RDI. */
static unsigned a_base(struct code *k)
{
    static const uint8_t regs[] = {3, 6, 7};
    return regs[pick(k, 3)];
}

/* An operand of some base, index and displacement; reg: the other operand. */
static void put_operand(struct code *k, unsigned reg)
{
    unsigned base = a_base(k), small = pick(k, 4) * 16;
    switch (pick(k, 6)) {
    case 0: /* [base + index * scale + disp8] */
        put(k, 0x44 | reg << 3);
        put(k, pick(k, 4) << 6 | 2 << 3 | base);
        put(k, small);
        break;
    case 1: /* [base + disp32] */
        put(k, 0x80 | reg << 3 | base);
        for (unsigned i = 0, d = pick(k, 3) * 0x1000 + small; i < 4; i++, d >>= 8)
            put(k, d & 255);
        break;
    default: put(k, 0x40 | reg << 3 | base); put(k, (small - 16) & 255);
    }
}

static void put_access(struct code *k)
{
    static const struct {
        uint8_t bytes[3], n;
        bool vector;
    } forms[] = {
        {{0x8b}, 1, false},       {{0x8a}, 1, false},       {{0x89}, 1, false},
        {{0x88}, 1, false},       {{0x01}, 1, false},       {{0x03}, 1, false},
        {{0x3b}, 1, false},       {{0x0f, 0xb6}, 2, false}, {{0x0f, 0xbf}, 2, false},
        {{0x66, 0x89}, 2, false}, {{0x0f, 0x10}, 2, true},  {{0x0f, 0x11}, 2, true},
        {{0x0f, 0x58}, 2, true},  {{0x0f, 0x29}, 2, true},  {{0x66, 0x0f, 0xfe}, 3, true},
        {{0x31}, 1, false},       {{0x85}, 1, false},       {{0x11}, 1, false},
        {{0x23}, 1, false},
    };
    unsigned f = pick(k, ARRAY_LEN(forms));
    if (k->wide && !forms[f].vector && forms[f].bytes[0] != 0x66 && pick(k, 2))
        put(k, 0x48);
    for (unsigned i = 0; i < forms[f].n; i++)
        put(k, forms[f].bytes[i]);
    put_operand(k, forms[f].vector ? pick(k, 3) : pick(k, 2)); /* AX, CX */
}

static void put_other(struct code *k)
{
    static const uint8_t steps[] = {1, 4, 8, 16, 0x40, 0x7f, 0xf8, 0xf0};
    unsigned rex = k->wide && pick(k, 4) ? 0x48 : 0;
    if (rex)
        put(k, rex);
    switch (pick(k, 6)) {
    case 0: /* add base, imm8 */
    case 1:
        put(k, 0x83);
        put(k, 0xc0 | a_base(k));
        put(k, steps[pick(k, sizeof steps)]);
        break;
    case 2: /* lea base, [base + disp8] */
        put(k, 0x8d);
        put(k, 0x40 | a_base(k) << 3 | a_base(k));
        put(k, steps[pick(k, sizeof steps)]);
        break;
    case 3: /* mov base, base */
        put(k, 0x8b);
        put(k, 0xc0 | a_base(k) << 3 | a_base(k));
        break;
    case 4: /* movsxd rdx, edi; or add edx, 1 */
        put(k, k->wide ? 0x63 : 0x83);
        put(k, k->wide ? 0xd7 : 0xc2);
        if (!k->wide)
            put(k, 1);
        break;
    default: put(k, 0x83), put(k, 0xe2), put(k, 0x3f); /* and edx, 63 */
    }
}

static void make_loop(struct code *k)
{
    unsigned n = 2 + pick(k, 7);
    k->n = 0;
    for (unsigned i = 0; i < n; i++)
        if (pick(k, 3))
            put_access(k);
        else
            put_other(k);
    if (pick(k, 4) == 0)
        put(k, 0x50), put(k, 0x59); /* push rax; pop rcx */
    if (pick(k, 2)) {
        put(k, 0x83), put(k, 0xed), put(k, 1); /* sub ebp, 1 */
    } else {
        put(k, 0x81), put(k, 0xfd); /* cmp ebp, a large number */
        put(k, 0), put(k, 0x12), put(k, 0x34), put(k, 0);
    }
    unsigned back = 256 - (k->n + 2);
    put(k, 0x75), put(k, back); /* jnz to the first */
    put(k, 0xeb), put(k, back - 2);
}

static void test_loops(void **state)
{
    static const uint32_t places[] = {0x8000, 0x8fc0, 0xa800, 0xafe0, RAM_SIZE - 0x100, 0x2001};
    struct pc *interp = pc_new_all(&engine_interp), *jit = pc_new_all(&engine_jit);
    struct cpu *a = &interp->cpu, *b = &jit->cpu;
    struct err e = {0};
    struct rng r;
    struct code k = {.r = &r};
    uint8_t *ram = malloc(RAM_SIZE);
    (void)state;
    rng_seed(&r, 3);
    assert_true(engine_interp.join(&a, 1, &e));
    assert_true(engine_jit.join(&b, 1, &e));
    for (unsigned i = 0; i < LOOPS; i++) {
        uint64_t seed = rng_next(&r);
        k.wide = i & 1;
        make_loop(&k);
        assert_true(k.n <= 128);
        for (struct pc *p = interp; p; p = p == interp ? jit : NULL) {
            uint64_t v = seed;
            prepare(p, k.wide ? FLAT64 : FLAT32, i);
            p->cpu.s.cr4 |= CR4_OSFXSR;
            cpu_mode_changed(&p->cpu);
            memcpy(p->ram + CODE, k.byte, k.n);
            p->cpu.s.rip = CODE;
            for (unsigned n = 0; n < 8; n++, v /= 7)
                p->cpu.s.r[n] = n == 3 || n == 6 || n == 7
                                    ? places[v % ARRAY_LEN(places)] + (v >> 8 & 0x30)
                                    : v & 0x7f;
            p->cpu.s.r[R_SP] = 0x9010;
            p->cpu.s.r[R_BP] = 200;
        }
        compare(interp, jit, &r, ram, i);
    }
    free(ram);
    pc_free(interp);
    pc_free(jit);
}

/* Flags that generated code saved, then read by conditions that were chosen for a subtraction. */
static void test_pose(void **state)
{
    struct cpu *c = calloc(1, sizeof *c);
    struct rng r;
    rng_seed(&r, 9);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned bits = 8u << (i & 3);
        uint64_t mask = ~0ull >> (64 - bits), high = BIT(bits - 1);
        uint64_t a = rng_next(&r) & mask, b = i % 7 ? rng_next(&r) & mask : a, d = (a - b) & mask;
        uint32_t f = (a < b ? F_C : 0) | (d ? 0 : F_Z) | (d & high ? F_S : 0) |
                     ((a ^ b) & (a ^ d) & high ? F_O : 0) | (rng_next(&r) & (F_A | F_P));
        c->s.cc_op = CC_HOST * 4;
        c->s.cc_src = (f & F_SZAPC) << 8 | !!(f & F_O);
        flags_pose(c);
        assert_int_equal(flags_get(c) & F_OSZAPC, f);
        uint64_t x = (c->s.cc_dst + c->s.cc_src) & mask, y = c->s.cc_src & mask;
        assert_int_equal(x < y, a < b);
        assert_int_equal(x <= y, a <= b);
        assert_int_equal(sext(x, bits) < sext(y, bits), sext(a, bits) < sext(b, bits));
        assert_int_equal(sext(x, bits) <= sext(y, bits), sext(a, bits) <= sext(b, bits));
        assert_int_equal((c->s.cc_dst & mask) == 0, d == 0);
        assert_int_equal((c->s.cc_dst & high) != 0, (d & high) != 0);
    }
    free(c);
}

/* A function whose constant changes with each call, in whole and in part, and now and then the
 * bytes beside it: the sum is right, and code is made anew only where more than the constant
 * changed. */
static void test_constants(void **state)
{
    static const uint8_t code32[] = {
        0x89, 0x4f, 0x01, 0xff, 0xd7, 0x01, 0xc3, /* mov [edi + 1], ecx; call edi; add ebx, eax */
        0xc6, 0x07, 0xb8, 0xff, 0xd7, 0x01, 0xc3, /* the opcode as it is; call edi; add ebx, eax */
        0x88, 0x4f, 0x02, 0xff, 0xd7, 0x01, 0xc3, /* mov [edi + 2], cl; call edi; add ebx, eax */
        0x89, 0x57, 0x04, 0xff, 0xd7, 0x01, 0xc3, /* mov [edi + 4], edx; call edi; add ebx, eax */
        0x83, 0xc1, 0x01, 0xeb, 0xdf,             /* add ecx, 1; jmp to the first */
    };
    static const uint8_t callee[] = {0xb8, 0, 0, 0, 0, 0xc3};
    enum { CALLEE = 0x9000, TURNS = 2000 };
    for (unsigned i = 0; i < 8; i++) {
        const struct engine *engine = i & 1 ? &engine_jit : &engine_interp;
        bool wide = i & 2, edges = i & 4;
        struct pc *p = pc_new_all(engine);
        struct cpu *c = &p->cpu;
        struct err e = {0};
        assert_true(engine->join(&c, 1, &e));
        prepare(p, wide ? FLAT64 : FLAT32, 1);
        memcpy(p->ram + CODE, code32, sizeof code32);
        memcpy(p->ram + CALLEE, callee, sizeof callee);
        if (!edges)
            memset(p->ram + CODE + 21, 0x90, 7);
        c->s.rip = CODE;
        c->s.r[R_CX] = 0x1111;
        c->s.r[R_DX] = 0xc3aa; /* the last byte of the constant, and RET */
        c->s.r[R_BX] = 0;
        c->s.r[R_SP] = 0x8000;
        c->s.r[R_DI] = CALLEE;
        unsigned per_round = edges ? 4 * 5 + 2 : 3 * 5 + 7 + 2;
        uint64_t end = c->s.icount + (uint64_t)TURNS * per_round, lifted = 0;
        while (c->s.icount < end) {
            assert_int_equal(engine->run(c, 1 + (end - c->s.icount) % 997), ENGINE_BUDGET);
            if (end - c->s.icount > (uint64_t)TURNS * per_round * 9 / 10)
                lifted = blocks_stats(c->blocks)->lifted;
        }
        uint32_t sum = 0, x = 0x1111;
        for (unsigned k = 0; k < TURNS; k++, x++) {
            uint32_t part = (x & ~0xff00u) | (x & 0xff) << 8;
            sum += 2 * x + part + (edges ? (part & 0xffffff) | 0xaa000000 : 0);
        }
        assert_int_equal((uint32_t)c->s.r[R_CX], x);
        assert_int_equal((uint32_t)c->s.r[R_BX], sum);
        if (!edges)
            assert_true(blocks_stats(c->blocks)->lifted - lifted < TURNS / 2);
        pc_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),  cmocka_unit_test(test_windows),
        cmocka_unit_test(test_loops), cmocka_unit_test(test_constants),
        cmocka_unit_test(test_pose),
    };
    return RUN(tests);
}
