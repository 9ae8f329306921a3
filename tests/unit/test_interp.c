/* The lifter, the interpreter, the block cache and soft_run(), by small pieces of machine code. */
#include "unit.h"

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/share.h"
#include "machine_code.h"

static void test_moves64(void **state)
{
    START(FLAT64, 0x48, 0xc7, 0xc0, 0xfe, 0xff, 0xff, 0xff, /* mov rax, -2 */
          0xb9, 5, 0, 0, 0,                                 /* mov ecx, 5 */
          0x48, 0x01, 0xc8,                                 /* add rax, rcx */
          0x89, 0x04, 0x25, 0x00, 0x20, 0, 0,               /* mov [2000h], eax */
          0x66, 0xb8, 0x34, 0x12,                           /* mov ax, 1234h */
          0xb4, 0x56,                                       /* mov ah, 56h */
          0x50,                                             /* push rax */
          0x5b,                                             /* pop rbx */
          0xeb, 0xfe);                                      /* jmp $ */
    (void)state;
    assert_int_equal(soft_run(&p->cpu, 8), ENGINE_BUDGET);
    assert_int_equal(R(R_BX), 0x5634);
    assert_int_equal(get_le32(p->ram + 0x2000), 3);
    assert_int_equal(p->cpu.s.rip, 0x1000 + sizeof code - 2);
    assert_int_equal(p->cpu.s.icount, 8);
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_BUDGET);
    assert_int_equal(p->cpu.s.icount, 1008);
    pc_free(p);
}

/* Sum of 1..n by a loop, at every budget: the budget is exact wherever it ends. */
static void test_exact(void **state)
{
    (void)state;
    for (unsigned budget = 1; budget < 60; budget++) {
        START(FLAT32, 0xb9, 10, 0, 0, 0, /* mov ecx, 10 */
              0x31, 0xc0,                /* xor eax, eax */
              0x01, 0xc8,                /* add eax, ecx */
              0x49,                      /* dec ecx */
              0x75, 0xfb,                /* jnz -5 */
              0xeb, 0xfe);               /* jmp $ */
        uint64_t done = 0;
        while (done < 100) {
            assert_int_equal(soft_run(&p->cpu, budget), ENGINE_BUDGET);
            done += budget;
            assert_int_equal(p->cpu.s.icount, done);
            if (done >= 32)
                assert_int_equal(R(R_AX), 55);
        }
        pc_free(p);
    }
}

static void test_real(void **state)
{
    START(REAL, 0xb8, 0x00, 0x20, /* mov ax, 2000h */
          0x8e, 0xd8,             /* mov ds, ax */
          0xbb, 0x10, 0x00,       /* mov bx, 10h */
          0xc6, 0x47, 0x05, 0x7f, /* mov byte [bx+5], 7fh */
          0xfe, 0x47, 0x05,       /* inc byte [bx+5] */
          0x71, 0x02,             /* jno +2 */
          0x8a, 0x6f, 0x05,       /* mov ch, [bx+5] */
          0xe8, 0x02, 0x00,       /* call +2 */
          0xeb, 0xfe,             /* jmp $ */
          0x40,                   /* inc ax */
          0xc3);                  /* ret */
    (void)state;
    soft_run(&p->cpu, 11);
    assert_int_equal(p->ram[0x20015], 0x80);
    assert_int_equal(R(R_CX), 0x8000);
    assert_int_equal(R(R_AX), 0x2001);
    assert_int_equal(R(R_SP), 0x8000);
    assert_int_equal(p->cpu.s.rip, 0x1000 + 23);
    pc_free(p);
}

/* A store into the running block takes effect at once. */
static void test_own_code(void **state)
{
    START(FLAT32, 0xc6, 0x05, 0x08, 0x10, 0, 0, 42, /* mov byte [1008h], 42 */
          0xb0, 1,                                  /* mov al, 1 */
          0xeb, 0xfe);
    (void)state;
    soft_run(&p->cpu, 2);
    assert_int_equal(R(R_AX), 42);
    pc_free(p);
}

/* Code that another page's code rewrites between calls. */
static void test_rewritten(void **state)
{
    START(FLAT64, 0xb8, 0, 0x30, 0, 0,  /* mov eax, 3000h */
          0xc7, 0x00, 0xb3, 7, 0xc3, 0, /* mov dword [rax], mov bl,7; ret */
          0xff, 0xd0,                   /* call rax */
          0xc6, 0x40, 0x01, 9,          /* mov byte [rax+1], 9 */
          0x00, 0xd9,                   /* add cl, bl */
          0xff, 0xd0,                   /* call rax */
          0x00, 0xd9,                   /* add cl, bl */
          0xeb, 0xfe);
    (void)state;
    soft_run(&p->cpu, 20);
    assert_int_equal(R(R_CX), 16);
    pc_free(p);
}

/* Two instructions over a page's end. */
static void test_crossing(void **state)
{
    START(FLAT32, 0xe9, 0xf8, 0x0f, 0, 0);                    /* jmp 1ffdh */
    const uint8_t crossing[] = {0xb8, 0x78, 0x56, 0x34, 0x12, /* mov eax, 12345678h */
                                0x40, 0xeb, 0xfe};
    (void)state;
    memcpy(p->ram + 0x1ffd, crossing, sizeof crossing);
    soft_run(&p->cpu, 5);
    assert_int_equal(R(R_AX), 0x12345679);
    p->ram[0x2001] = 0x22; /* unseen by the cache: as DMA, tell it */
    p->cpu.s.rip = 0x1000;
    blocks_invalidate(p->cpu.blocks, 0x2001, 1);
    soft_run(&p->cpu, 5);
    assert_int_equal(R(R_AX), 0x22345679);
    pc_free(p);
}

/* Among several CPUs, XCHG that finds a lock taken ends the turn, and any does when it is old. */
static void test_turn_ends_at_locks(void **state)
{
    START(FLAT64, 0xbb, 0x00, 0x50, 0, 0, /* mov ebx, 5000h */
          0xb8, 0x01, 0, 0, 0,            /* mov eax, 1 */
          0x87, 0x03,                     /* xchg [rbx], eax: takes it */
          0xb8, 0x01, 0, 0, 0,            /* mov eax, 1 */
          0x87, 0x03,                     /* xchg [rbx], eax: is taken */
          0x31, 0xc0,                     /* xor eax, eax */
          0x87, 0x03,                     /* xchg [rbx], eax: frees it */
          0xeb, 0xfe);
    (void)state;
    p->cpu.count = 2;
    p->cpu.turn_end = 7;
    assert_int_equal(soft_run(&p->cpu, 100), ENGINE_YIELD);
    assert_int_equal(p->cpu.s.icount, 5);
    assert_true(p->cpu.lock_failed);
    assert_int_equal(R(R_AX), 1);
    p->cpu.lock_failed = false;
    assert_int_equal(soft_run(&p->cpu, 100), ENGINE_BUDGET); /* too early by one instruction */
    assert_int_equal(p->cpu.s.icount, 105);
    assert_false(p->cpu.lock_failed);
    p->cpu.s.rip = 0x1000;
    assert_int_equal(soft_run(&p->cpu, 100), ENGINE_YIELD);
    assert_int_equal(p->cpu.s.icount, 108);
    assert_false(p->cpu.lock_failed);
    p->cpu.s.rip = 0x1000 + 19;
    p->cpu.turn_end = 109;
    assert_int_equal(soft_run(&p->cpu, 100), ENGINE_YIELD);
    assert_int_equal(p->cpu.s.icount, 110);
    p->cpu.count = 1; /* nobody to give way to */
    blocks_flush(p->cpu.blocks);
    p->cpu.s.rip = 0x1000;
    p->ram[0x5000] = 1;
    assert_int_equal(soft_run(&p->cpu, 100), ENGINE_BUDGET);
    pc_free(p);
}

static void nothing(void *opaque) {}

static void nobody(void *opaque, struct cpu *c) {}

/* PAUSE gives way at once in turns, and now and then beside others that run. */
static void test_pause(void **state)
{
    static const struct share others = {nothing, nothing, nothing, nothing, nobody, NULL};
    START(FLAT64, 0xf3, 0x90, /* pause */
          0xeb, 0xfc);        /* jmp to it */
    (void)state;
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_BUDGET);
    p->cpu.count = 2;
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_YIELD);
    assert_int_equal(p->cpu.s.icount, 1001);
    p->cpu.share = &others;
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_YIELD);
    assert_in_range(p->cpu.s.icount, 1001 + 2 * 8, 1001 + 2 * 256);
    p->cpu.share = NULL;
    pc_free(p);
}

/* So does XCHG that finds a lock taken, in vain. */
static void test_spin_by_xchg(void **state)
{
    static const struct share others = {nothing, nothing, nothing, nothing, nobody, NULL};
    START(FLAT64, 0xbb, 0x00, 0x50, 0, 0, /* mov ebx, 5000h */
          0xb0, 0x01,                     /* mov al, 1 */
          0x86, 0x03,                     /* xchg [rbx], al */
          0x84, 0xc0,                     /* test al, al */
          0x75, 0xf8,                     /* jnz to mov al */
          0xc6, 0x03, 0x00,               /* mov byte [rbx], 0 */
          0xeb, 0xf3);                    /* jmp to mov al */
    (void)state;
    p->cpu.count = 2;
    p->cpu.parallel = true;
    p->cpu.share = &others;
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_BUDGET); /* always free */
    p->cpu.s.rip = 0x1000;
    p->ram[0x5000] = 1;
    assert_int_equal(soft_run(&p->cpu, 1000), ENGINE_YIELD);
    p->cpu.share = NULL;
    pc_free(p);
}

static void test_strings(void **state)
{
    START(FLAT64, 0xbf, 0, 0x40, 0, 0, /* mov edi, 4000h */
          0xb9, 0, 0x18, 0, 0,         /* mov ecx, 1800h */
          0xb0, 0xaa,                  /* mov al, aah */
          0xf3, 0xaa,                  /* rep stosb */
          0xbe, 0, 0x40, 0, 0,         /* mov esi, 4000h */
          0xbf, 0x01, 0x40, 0, 0,      /* mov edi, 4001h */
          0xc6, 0x06, 0x55,            /* mov byte [rsi], 55h */
          0xb9, 0, 0x10, 0, 0,         /* mov ecx, 1000h */
          0xf3, 0xa4,                  /* rep movsb: replicates */
          0xeb, 0xfe);
    (void)state;
    uint64_t n = 3 + 0x1800 + 4 + 0x1000;
    for (uint64_t done = 0; done < n; done += 7)
        soft_run(&p->cpu, min_u64(7, n - done));
    assert_int_equal(p->cpu.s.icount, n);
    assert_int_equal(p->cpu.s.rip, 0x1000 + sizeof code - 2);
    assert_int_equal(R(R_CX), 0);
    assert_int_equal(R(R_DI), 0x5001);
    assert_int_equal(p->ram[0x5000], 0x55);
    assert_int_equal(p->ram[0x5001], 0xaa);
    assert_int_equal(p->ram[0x57ff], 0xaa);
    assert_int_equal(p->ram[0x5800], 0);
    pc_free(p);
}

/* Long searches and comparisons end where one element after the other does, whatever the size, the
 * alignment and the place. */
static void test_long_searches(void **state)
{
    static const uint8_t opcodes[2][2] = {{0xae, 0xa6}, {0xaf, 0xa7}}; /* SCAS, CMPS */
    enum { A = 0x20003, B = 0x28001, BYTES = 3000 };
    (void)state;
    START(FLAT64, 0xf4);
    for (unsigned i = 0; i < 600; i++) {
        unsigned lg = i % 4, size = 1u << lg, repne = i / 4 % 2, cmps = i / 8 % 2;
        unsigned n = 1 + i * 37 % (BYTES / size), end = i * 101 % (n + n / 4 + 1), done = 0;
        uint8_t prefix = repne ? 0xf2 : 0xf3, rex = lg == 3 ? 0x48 : 0x40;
        const uint8_t insn[] = {lg == 1 ? 0x66 : prefix, lg == 1 ? prefix : rex,
                                opcodes[lg > 0][cmps], 0xeb, 0xfe};
        p->cpu.s.rip = 0x2000 + sizeof insn * i; /* no code yet */
        memcpy(p->ram + p->cpu.s.rip, insn, sizeof insn);
        memset(p->ram + A, 7, BYTES);
        memset(p->ram + B, 7, BYTES);
        R(R_AX) = 0x0707070707070707;
        for (unsigned k = 0; repne && k < n; k++) /* all differ */
            p->ram[A + k * size + k % size] = 9;
        if (end < n && repne)
            memset(p->ram + A + end * size, 7, size);
        else if (end < n)
            p->ram[A + end * size + i % size] = 9;
        R(R_DI) = A;
        R(R_SI) = B;
        R(R_CX) = n;
        soft_run(&p->cpu, n + 1);
        done = end < n ? end + 1 : n;
        assert_int_equal(R(R_CX), n - done);
        assert_int_equal(R(R_DI), A + done * size);
        assert_int_equal(!!(flags_get(&p->cpu) & F_Z), end < n ? repne : !repne);
    }
    pc_free(p);
}

static void test_copy_between_pages_of_one_slot(void **state)
{
    /* 2 MiB apart, source and destination want the same TLB slot */
    START(FLAT64, 0xbe, 0x03, 0x80, 0, 0, /* mov esi, 8003h */
          0xbf, 0x07, 0x80, 0x20, 0,      /* mov edi, 208007h */
          0xb9, 0x00, 0x0f, 0, 0,         /* mov ecx, 0f00h */
          0xf3, 0xa4,                     /* rep movsb */
          0xeb, 0xfe);
    (void)state;
    put_le64(p->ram + 0xf2008, 0xf3000 | 7);
    put_le64(p->ram + 0xf3000 + 8 * 8, 0x40000 | 7);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        p->ram[0x8000 + i] = (uint8_t)(i * 7 + (i >> 8));
    soft_run(&p->cpu, 3 + 0xf00 + 2);
    assert_int_equal(R(R_CX), 0);
    assert_memory_equal(p->ram + 0x40007, p->ram + 0x8003, 0xf00);
    assert_int_equal(p->ram[0x40006] | p->ram[0x40f07], 0);
    pc_free(p);
}

static void test_flags_of_a_helper(void **state)
{
    /* BSF writes ZF through a helper: the OR before it isn't what CMOVZ asks about */
    START(FLAT32, 0x31, 0xc9, /* xor ecx, ecx */
          0x83, 0xcb, 0xff,   /* or ebx, -1 */
          0x0f, 0xbc, 0xd1,   /* bsf edx, ecx */
          0x0f, 0x44, 0xd3,   /* cmovz edx, ebx */
          0xeb, 0xfe);
    (void)state;
    soft_run(&p->cpu, 5);
    assert_int_equal(R(R_DX), 0xffffffff);
    pc_free(p);
}

/* UCOMISD says "unequal" after an XOR that said "zero": the jump asks the right one. */
static void test_flags_of_a_vector_operation(void **state)
{
    START(FLAT64, 0x0f, 0x20, 0xe0, /* mov rax, cr4 */
          0x80, 0xcc, 0x06,         /* or ah, 6: OSFXSR, OSXMMEXCPT */
          0x0f, 0x22, 0xe0,         /* mov cr4, rax */
          0x66, 0x0f, 0xef, 0xc9,   /* pxor xmm1, xmm1 */
          0xbb, 1, 0, 0, 0,         /* mov ebx, 1 */
          0xf2, 0x0f, 0x2a, 0xc3,   /* cvtsi2sd xmm0, ebx */
          0x31, 0xc0,               /* xor eax, eax */
          0x66, 0x0f, 0x2e, 0xc1,   /* ucomisd xmm0, xmm1 */
          0x75, 0x02,               /* jne +2 */
          0xb0, 0x55,               /* mov al, 55h */
          0xeb, 0xfe);              /* jmp $ */
    (void)state;
    soft_run(&p->cpu, 12);
    assert_int_equal(R(R_AX), 0);
    pc_free(p);
}

static void test_segmented(void **state)
{
    /* ES with base 30000h, through the stack and back; a 16-bit stack wraps */
    START(REAL, 0xbc, 0x00, 0x00, /* mov sp, 0 */
          0x68, 0x34, 0x12,       /* push 1234h */
          0x07,                   /* pop es */
          0x66, 0x68, 1, 2, 3, 4, /* push dword 04030201h */
          0x66, 0x5a,             /* pop edx */
          0xeb, 0xfe);
    (void)state;
    soft_run(&p->cpu, 5);
    assert_int_equal(p->cpu.s.seg[SEG_ES].sel, 0x1234);
    assert_int_equal(get_le32(p->ram + 0xfffc), 0x04030201);
    assert_int_equal(R(R_DX), 0x04030201);
    assert_int_equal(R(R_SP), 0);
    pc_free(p);
}

/* SDM 3A 6.8.3: behind a load of SS one instruction has no breakpoint. */
static void test_breakpoints_behind_mov_ss(void **state)
{
    (void)state;
    for (unsigned behind = 4; behind < 6; behind++) {
        START(FLAT64, 0x31, 0xc0, /* xor eax, eax */
              0x8e, 0xd0,         /* mov ss, eax */
              0x90,               /* nop */
              0x90,               /* nop */
              0xeb, 0xfe);
        p->cpu.s.idtr.limit = 0;
        p->cpu.s.dr[0] = 0x1000 + behind;
        p->cpu.s.dr7 |= 2;
        cpu_mode_changed(&p->cpu);
        assert_int_equal(soft_run(&p->cpu, 20), behind == 4 ? ENGINE_BUDGET : ENGINE_SHUTDOWN);
        pc_free(p);
    }
}

/* What a failed CMPXCHG of 32 bits leaves of its register: all of it. */
static void test_failed_cmpxchg(void **state)
{
    START(FLAT64, 0x48, 0xc7, 0xc1, 0xff, 0xff, 0xff, 0xff, /* mov rcx, -1 */
          0x48, 0xc7, 0xc0, 0xfe, 0xff, 0xff, 0xff,         /* mov rax, -2 */
          0x0f, 0xb1, 0xd1,                                 /* cmpxchg ecx, edx */
          0x48, 0x89, 0xc3,                                 /* mov rbx, rax */
          0x0f, 0xb1, 0xd1);                                /* cmpxchg ecx, edx */
    (void)state;
    soft_run(&p->cpu, 4);
    assert_int_equal(R(R_CX), ~0ull);
    assert_int_equal(R(R_BX), 0xffffffff);
    soft_run(&p->cpu, 1);
    assert_int_equal(R(R_CX), (uint32_t)R(R_DX));
    pc_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves64),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_own_code),
        cmocka_unit_test(test_rewritten),
        cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_turn_ends_at_locks),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_spin_by_xchg),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_segmented),
        cmocka_unit_test(test_breakpoints_behind_mov_ss),
        cmocka_unit_test(test_failed_cmpxchg),
        cmocka_unit_test(test_flags_of_a_helper),
        cmocka_unit_test(test_flags_of_a_vector_operation),
        cmocka_unit_test(test_long_searches),
        cmocka_unit_test(test_copy_between_pages_of_one_slot),
    };
    return RUN(tests);
}
