/* Links between blocks, and traces, end when they must: a store to a block of the running trace, a
 * page of code that is mapped elsewhere. The same pieces of code, interpreted and generated, in
 * runs of random length: the same state after each. */
#include "unit.h"

#include "twins.h"

#define TABLE 0xf3000u /* maps the first 2 MiB by pages */
#define ROUND 3000     /* in which the change comes */

/* Once per round RCX: a store at RSI; RBX is the sum. */
static const uint8_t over_blocks[] = {
    0xff, 0xc1,                         /* top: inc ecx */
    0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /* cmp ecx, 3000 */
    0x48, 0x0f, 0x44, 0xf7,             /* cmove rsi, rdi */
    0x81, 0xf9, 0xb9, 0x0b, 0x00, 0x00, /* cmp ecx, 3001 */
    0x48, 0x0f, 0x44, 0xf2,             /* cmove rsi, rdx */
    0x88, 0x0e,                         /* mov [rsi], cl */
    0xeb, 0x01, 0x90,                   /* jmp 1 */
    0x83, 0xc3, 0x03,                   /* 1: add ebx, 3 */
    0xf6, 0xc1, 0x07,                   /* test cl, 7 */
    0x74, 0x05,                         /* jz 2 */
    0xc1, 0xc3, 0x05,                   /* rol ebx, 5 */
    0xeb, 0x03,                         /* jmp 3 */
    0x83, 0xf3, 0x55,                   /* 2: xor ebx, 55h */
    0x81, 0xf9, 0x70, 0x17, 0x00, 0x00, /* 3: cmp ecx, 6000 */
    0x72, 0xcd,                         /* jb top */
    0xeb, 0xfe,                         /* jmp . */
};
#define ADDEND (CODE + 29) /* the 3 */

static void test_store_to_trace(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 20; seed++) {
        struct twins t = twins(FLAT64, over_blocks, sizeof over_blocks);
        twins_set(&t, R_DI, seed % 3 ? ADDEND : CODE + 47); /* … or the end's 6000 */
        go(&t, seed);
        assert_true(end(&t).traces > 0);
    }
}

/* Operands off RIP are so off the block that the instruction is of. */
static void test_x87_in_trace(void **state)
{
    static const uint8_t code[] = {
        0xdb, 0xe3,                         /* fninit */
        0xff, 0xc1,                         /* top: inc ecx */
        0xd9, 0x05, 0x76, 0x00, 0x00, 0x00, /* fld dword [rip + 76h]: 1080h */
        0xeb, 0x01, 0x90,                   /* jmp 1 */
        0xd8, 0xc0,                         /* 1: fadd st, st */
        0xdb, 0x1e,                         /* fistp dword [rsi] */
        0x03, 0x1e,                         /* add ebx, [rsi] */
        0xf6, 0xc1, 0x07,                   /* test cl, 7 */
        0x74, 0x05,                         /* jz 2 */
        0xc1, 0xc3, 0x05,                   /* rol ebx, 5 */
        0xeb, 0x03,                         /* jmp 3 */
        0x83, 0xf3, 0x55,                   /* 2: xor ebx, 55h */
        0x81, 0xf9, 0x70, 0x17, 0x00, 0x00, /* 3: cmp ecx, 6000 */
        0x72, 0xda,                         /* jb top */
        0xeb, 0xfe,                         /* jmp . */
    };
    (void)state;
    for (unsigned seed = 0; seed < 20; seed++) {
        struct twins t = twins(FLAT64, code, sizeof code);
        for (unsigned i = 0; i < 2; i++)
            put_le32(t.p[i]->ram + 0x1080, 0x41c40000); /* 24.5 */
        go(&t, seed);
        assert_int_equal(get_le32(t.p[1]->ram + DATA), 49);
        assert_true(end(&t).traces > 0);
    }
}

/* A loop over two pages, the second at 5000h; in round 3000 its entry of the page table changes. */
enum way { BY_JUMP, BY_CALL, BY_POINTER, WAYS };
enum flush { INVLPG, CR3, FLUSHES };

/* The first 2 MiB by pages, one to one. */
static void map_pages(struct pc *p)
{
    for (unsigned i = 0; i < 512; i++)
        put_le64(p->ram + TABLE + 8 * i, i << PAGE_SHIFT | 7);
    put_le64(p->ram + 0xf2000, TABLE | 7);
}

static struct twins begin_pages(enum way way, enum flush flush)
{
    static const uint8_t go_there[WAYS][5] = {{0xe9, 0xf9, 0x3f, 0x00, 0x00},  /* jmp 5000h */
                                              {0xe8, 0xf9, 0x3f, 0x00, 0x00},  /* call 5000h */
                                              {0x41, 0xff, 0xd0, 0x66, 0x90}}; /* call r8 */
    static const uint8_t flushes[FLUSHES][3] = {{0x0f, 0x01, 0x3f},            /* invlpg [rdi] */
                                                {0x0f, 0x22, 0xda}};           /* mov cr3, rdx */
    static const uint8_t back[WAYS][5] = {
        {0xe9, 0xff, 0xbf, 0xff, 0xff}, {0xc3}, {0xc3}}; /* jmp 1007h; ret */
    uint8_t code[] = {
        0xff, 0xc1,                         /* top: inc ecx */
        0x90, 0x90, 0x90, 0x90, 0x90,       /* go there */
        0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /* cmp ecx, 3000 */
        0x75, 0x06,                         /* jne 1 */
        0x48, 0x89, 0x06,                   /* mov [rsi], rax */
        0x90, 0x90, 0x90,                   /* flush */
        0x81, 0xf9, 0x70, 0x17, 0x00, 0x00, /* 1: cmp ecx, 6000 */
        0x72, 0xe3,                         /* jb top */
        0xeb, 0xfe,                         /* jmp . */
    };
    memcpy(code + 2, go_there[way], 5);
    memcpy(code + 18, flushes[flush], 3);
    struct twins t = twins(FLAT64, code, sizeof code);
    for (unsigned k = 0; k < 2; k++) {
        struct pc *p = t.p[k];
        map_pages(p);
        put_le64(p->ram + TABLE + 8 * 5, 0x6007);
        for (unsigned i = 0; i < 2; i++) { /* add ebx, 1 or 100 */
            uint8_t *to = p->ram + (i ? 0x7000 : 0x6000);
            memcpy(to, (uint8_t[]){0x83, 0xc3, i ? 100 : 1}, 3);
            memcpy(to + 3, back[way], 5);
        }
        tlb_flush(&p->cpu);
    }
    twins_set(&t, R_SI, TABLE + 8 * 5);
    twins_set(&t, R_AX, 0x7007);
    twins_set(&t, R_DI, 0x5000);
    twins_set(&t, R_8, 0x5000);
    twins_set(&t, R_DX, t.p[0]->cpu.s.cr3);
    return t;
}

static void test_pages(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WAYS * FLUSHES * 4; i++) {
        enum way way = (enum way)(i % WAYS);
        enum flush flush = (enum flush)(i / WAYS % FLUSHES);
        struct twins t = begin_pages(way, flush);
        go(&t, i);
        assert_int_equal(t.p[1]->cpu.s.r[R_BX], ROUND + ROUND * 100);
        end(&t);
    }
}

/* The same loop while a second CPU writes the addend on the second page: by one cache of code for
 * both CPUs, as they take turns, or by one for each, as on threads. */
#define ROUNDS 12

static struct cpu *second(struct pc *p, bool apart)
{
    static const uint8_t code[] = {0x88, 0x06, 0xeb, 0xfe}; /* mov [rsi], al; jmp . */
    struct cpu *c = aligned_alloc(64, (sizeof *c + 63) / 64 * 64), *both[] = {&p->cpu, c};
    struct isa_features all = {{~0ull, ~0ull}};
    struct err e;
    memset(c, 0, sizeof *c);
    p->engine->part(both, 1);
    cpu_init(c, 1, 2, &p->bus, &p->clock, &p->rng, NULL, &all);
    p->cpu.parallel = c->parallel = apart;
    assert_true(p->engine->join(both, 2, &e));
    c->s = p->cpu.s;
    c->s.rip = 0x3000;
    c->s.r[R_SI] = 0x5002;
    memcpy(p->ram + 0x3000, code, sizeof code);
    tlb_flush(c);
    cpu_mode_changed(c);
    return c;
}

static void test_other_cpu(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * WAYS; i++) {
        struct twins t = begin_pages((enum way)(i % WAYS), INVLPG);
        struct cpu *other[2];
        struct rng r;
        rng_seed(&r, i);
        for (unsigned k = 0; k < 2; k++) {
            put_le32(t.p[k]->ram + CODE + 9, 0); /* the page table stays */
            put_le32(t.p[k]->ram + CODE + 23, 1u << 30);
            other[k] = second(t.p[k], i >= WAYS);
        }
        for (unsigned round = 0; round < ROUNDS; round++) {
            uint64_t n = 25000 + rng_next(&r) % 9; /* anywhere in the loop */
            for (unsigned k = 0; k < 2; k++) {
                struct pc *p = t.p[k];
                assert_int_equal(p->engine->run(&p->cpu, n), ENGINE_BUDGET);
                other[k]->s.rip = 0x3000;
                other[k]->s.r[R_AX] = round;
                assert_int_equal(p->engine->run(other[k], 2), ENGINE_BUDGET);
                assert_int_equal(p->engine->run(&p->cpu, 40), ENGINE_BUDGET);
            }
            if (hash(t.p[0]) != hash(t.p[1]))
                fail_msg("case %u round %u", i, round);
        }
        assert_true(jit_stats(t.p[1]->cpu.jit.jit)->traces >= (i % WAYS == BY_JUMP ? ROUNDS : 2));
        for (unsigned k = 0; k < 2; k++) {
            struct cpu *both[] = {&t.p[k]->cpu, other[k]};
            struct err e;
            t.p[k]->engine->part(both, 2);
            cpu_free(other[k]);
            free(other[k]);
            assert_true(t.p[k]->engine->join(both, 1, &e));
        }
        end(&t);
    }
}

/* A loop in which an instruction lies across the end of its page. In round 3000 the next page is
 * put elsewhere, or one of the two is written. */
enum change { MAP_INVLPG, MAP_CR3, WRITE_FIRST, WRITE_SECOND, CHANGES };

static struct twins begin_across(enum change change)
{
    static const uint8_t code[] = {
        0xff, 0xc1,                         /* 1fe0h: inc ecx */
        0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /* cmp ecx, 3000 */
        0x75, 0x06,                         /* jne 1 */
        0x48, 0x89, 0x06,                   /* mov [rsi], rax */
        0x90, 0x90, 0x90,                   /* flush */
        0x01, 0xcb,                         /* 1: add ebx, ecx */
        0x8d, 0x9b, 0x01, 0x00, 0x00, 0x00, /* lea ebx, [rbx + 1] */
        0x90, 0x90, 0x90, 0x90, 0x90,       /* to 1ffdh */
        0x81, 0xc3, 0x05, 0x00, 0x00, 0x00, /* add ebx, 5 */
        0x81, 0xf9, 0x70, 0x17, 0x00, 0x00, /* cmp ecx, 6000 */
        0x72, 0xd5,                         /* jb 1fe0h */
        0xeb, 0xfe,                         /* jmp . */
    };
    static const uint8_t flush[CHANGES][3] = {
        {0x0f, 0x01, 0x3f}, {0x0f, 0x22, 0xda}, {0x90, 0x90, 0x90}, {0x90, 0x90, 0x90}};
    static const uint64_t at[CHANGES] = {TABLE + 16, TABLE + 16, 0x1ff4, 0x2001};
    static const uint64_t value[CHANGES] = {0x7007, 0x7007, 0x9090909000000009, 0x00001770f9810001};
    struct twins t = twins(FLAT64, code, 0);
    for (unsigned k = 0; k < 2; k++) {
        struct pc *p = t.p[k];
        map_pages(p);
        put_le64(p->ram + TABLE + 16, 0x6007);
        memcpy(p->ram + 0x1fe0, code, 0x20);
        memcpy(p->ram + 0x1fed, flush[change], 3);
        for (unsigned i = 0; i < 2; i++)
            memcpy(p->ram + 0x6000 + 0x1000 * i, code + 0x20, sizeof code - 0x20);
        p->ram[0x7000] = 1; /* add ebx, 105h there */
        p->cpu.s.rip = 0x1fe0;
        tlb_flush(&p->cpu);
    }
    twins_set(&t, R_SI, at[change]);
    twins_set(&t, R_AX, value[change]);
    twins_set(&t, R_DI, 0x2000);
    twins_set(&t, R_DX, t.p[0]->cpu.s.cr3);
    return t;
}

static void test_across(void **state)
{
    static const uint32_t more[CHANGES] = {0x100, 0x100, 8, 0x10000};
    (void)state;
    for (unsigned i = 0; i < CHANGES * 8; i++) {
        enum change change = (enum change)(i % CHANGES);
        struct twins t = begin_across(change);
        go(&t, i / CHANGES);
        /* round 3000 has the new addend already */
        assert_int_equal(t.p[1]->cpu.s.r[R_BX],
                         (uint32_t)(6000 * 6001 / 2 + 6000 * 6 + 3001 * more[change]));
        struct jit_stats s = end(&t);
        assert_true(s.traces > 0);
        assert_true(change != MAP_CR3 || i / CHANGES % 2 == 0 || s.exits[JIT_EXIT_STALE] > 0);
    }
}

/* A call whose return is in the trace, too; in round 3000 it returns elsewhere. */
static void test_return(void **state)
{
    static const uint8_t code[] = {
        0xff, 0xc1,                         /* top: inc ecx */
        0x50,                               /* push rax */
        0xe8, 0x18, 0x00, 0x00, 0x00,       /* call 1020h */
        0x83, 0xd3, 0x03,                   /* adc ebx, 3 */
        0xc1, 0xc3, 0x05,                   /* rol ebx, 5 */
        0x81, 0xf9, 0x70, 0x17, 0x00, 0x00, /* cmp ecx, 6000 */
        0x72, 0xea,                         /* jb top */
        0xeb, 0xfe,                         /* jmp . */
        0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
        0x90, 0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /* 1020h: cmp ecx, 3000 */
        0x75, 0x05,                               /* jne 1 */
        0x48, 0x83, 0x04, 0x24, 0x03,             /* add qword [rsp], 3 */
        0x81, 0xc3, 0x01, 0x00, 0x00, 0xc0,       /* 1: add ebx, c0000001h */
        0xc2, 0x08, 0x00,                         /* ret 8 */
    };
    (void)state;
    for (unsigned seed = 0; seed < 20; seed++) {
        struct twins t = twins(FLAT64, code, sizeof code);
        twins_set(&t, R_SP, seed % 2 ? 0x8000 : 0x8008); /* across pages */
        go(&t, seed);
        assert_int_equal(t.p[1]->cpu.s.r[R_SP], seed % 2 ? 0x8000 : 0x8008);
        assert_true(end(&t).traces > 0);
    }
}

/* A loop of three rounds, and of five each 32nd time, that reads and writes across pages. */
static void test_short_loop(void **state)
{
    static const uint8_t code[] = {
        0xff, 0xc1,                         /* top: inc ecx */
        0x89, 0xca,                         /* mov edx, ecx */
        0x83, 0xe2, 0x1f,                   /* and edx, 31 */
        0x83, 0xfa, 0x1f,                   /* cmp edx, 31 */
        0xb8, 0x03, 0x00, 0x00, 0x00,       /* mov eax, 3 */
        0x75, 0x05,                         /* jne 1 */
        0xb8, 0x05, 0x00, 0x00, 0x00,       /* mov eax, 5 */
        0x89, 0xcf,                         /* 1: mov edi, ecx */
        0x81, 0xe7, 0xff, 0x0f, 0x00, 0x00, /* and edi, 0fffh */
        0x03, 0x1c, 0x3e,                   /* 2: add ebx, [rsi + rdi] */
        0x89, 0x5c, 0x3e, 0x08,             /* mov [rsi + rdi + 8], ebx */
        0x83, 0xc7, 0x04,                   /* add edi, 4 */
        0xff, 0xc8,                         /* dec eax */
        0x75, 0xf2,                         /* jnz 2 */
        0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /* cmp ecx, 3000 */
        0x72, 0xcc,                         /* jb top */
        0xeb, 0xfe,                         /* jmp . */
    };
    unsigned unrolled = 0;
    (void)state;
    for (unsigned seed = 0; seed < 10; seed++) {
        struct twins t = twins(FLAT64, code, sizeof code);
        twins_set(&t, R_SI, DATA + seed * 501);
        go(&t, seed);
        unrolled += end(&t).parts >= 5;
    }
    assert_true(unrolled >= 8); /* another path may be seen first */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_to_trace), cmocka_unit_test(test_x87_in_trace),
        cmocka_unit_test(test_pages),          cmocka_unit_test(test_across),
        cmocka_unit_test(test_other_cpu),      cmocka_unit_test(test_return),
        cmocka_unit_test(test_short_loop),
    };
    return RUN(tests);
}
