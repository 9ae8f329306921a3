/* Checks of several accesses at once (jit/emit_win.c), where they lie across pages and at the ends
 * of the address space. */
#include "unit.h"

#include "twins.h"

static void count_narrow(void *opaque, struct block *b)
{
    *(unsigned *)opaque += b->narrow > 0;
}

/* Blocks that lost their windows as the checks failed too often. */
static unsigned narrow(struct twins *t)
{
    unsigned n = 0;
    blocks_each(t->p[1]->cpu.blocks, count_narrow, &n);
    return n;
}

/* The stack across pages: pushes, accesses off ESP, pops. */
static void test_stack(void **state)
{
    static const uint8_t code[] = {
        0xbd, 0xb8, 0x0b, 0x00, 0x00, /* mov ebp, 3000 */
        0x53,                         /* top: push ebx */
        0x55,                         /* push ebp */
        0x01, 0x2c, 0x24,             /* add [esp], ebp */
        0x50,                         /* push eax */
        0x8b, 0x44, 0x24, 0x04,       /* mov eax, [esp + 4] */
        0xff, 0x44, 0x24, 0x08,       /* inc dword [esp + 8] */
        0x89, 0x44, 0x24, 0xf0,       /* mov [esp - 16], eax */
        0x58, 0x5a, 0x5b,             /* pop eax; pop edx; pop ebx */
        0x01, 0xd0,                   /* add eax, edx */
        0x4d, 0x90,                   /* dec ebp; nop */
        0x75, 0xe5,                   /* jnz top */
        0xeb, 0xfe,                   /* jmp . */
    };
    (void)state;
    for (unsigned i = 0; i < 40; i += 3) {
        struct twins t = twins(FLAT32, code, sizeof code);
        twins_set(&t, R_SP, 0x7fe8 + i);
        go(&t, i);
        assert_int_equal(t.p[1]->cpu.s.r[R_BP], 0);
        assert_int_equal(narrow(&t), 0);
        end(&t);
    }
}

/* A copy, whose pointers go over ends of pages, and of the address space. */
static struct twins begin_copy(uint32_t from, int32_t from_disp, uint32_t to, int32_t to_disp,
                               bool down)
{
    uint8_t code[] = {
        0xbd, 0x0a, 0x00, 0x00, 0x00,       /* mov ebp, 10 */
        0xbe, 0x00, 0x00, 0x00, 0x00,       /* top: mov esi, … */
        0xbf, 0x00, 0x00, 0x00, 0x00,       /* mov edi, … */
        0xb9, 0xb8, 0x03, 0x00, 0x00,       /* mov ecx, 952 */
        0x46,                               /* 1: inc esi */
        0x8a, 0x86, 0x00, 0x00, 0x00, 0x00, /* mov al, [esi + …] */
        0x8d, 0x7f, 0x04,                   /* lea edi, [edi + 4] */
        0x00, 0xc3,                         /* add bl, al */
        0x89, 0x9f, 0x00, 0x00, 0x00, 0x00, /* mov [edi + …], ebx */
        0x49,                               /* dec ecx */
        0x75, 0xeb,                         /* jnz 1 */
        0x4d,                               /* dec ebp */
        0x75, 0xd9,                         /* jnz top */
        0xeb, 0xfe,                         /* jmp . */
    };
    put_le32(code + 6, from);
    put_le32(code + 11, to);
    put_le32(code + 23, (uint32_t)from_disp);
    put_le32(code + 34, (uint32_t)to_disp);
    if (down) {
        code[20] = 0x4e; /* dec esi */
        code[29] = 0xfc; /* lea edi, [edi - 4] */
    }
    return twins(FLAT32, code, sizeof code);
}

static void test_copy(void **state)
{
    static const struct {
        uint32_t from;
        int32_t from_disp;
        uint32_t to;
        int32_t to_disp;
        bool down;
    } rows[] = {
        {0x9ff0, -1, 0x20fe2, 0, false},        {0x9010, 1, 0x21003, -8, true},
        {0xffffff00, 0x7ff, 0x20ffe, 0, false}, /* addresses and base wrap up … */
        {0x100, 0x7ff, 0x20800, 0, true},       /* the base wraps down */
        {0x40, 0x100, 0x100, 0xf0, true},       {0xfffff800, 0xffe, 0xfffff900, 0x780, false},
        {0x9ff0, -1, 0xfffff000, 0x7fd, false}, {0xfffffe00, -0x80, 0x21000, 0, false},
        {0xa000, -0xfff, 0x22000, 0xffd, true}, {0x9000, 0x1000, 0x22000, -0x2000, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        unsigned k = i / 2;
        struct twins t =
            begin_copy(rows[k].from, rows[k].from_disp, rows[k].to, rows[k].to_disp, rows[k].down);
        go(&t, i);
        assert_int_equal(t.p[1]->cpu.s.r[R_BP], 0);
        assert_true(k > 1 || !narrow(&t));
        end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_copy),
    };
    return RUN(tests);
}
