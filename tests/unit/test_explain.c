#include "cpu_machine.h"

#include "cpu/explain.h"

static char text[EXPLAIN_SIZE];

static void has(const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

/* A page fault whose gate is not present, whose #NP gate leads to a data segment, and no gate for
 * the double fault. */
static void test_triple_fault(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    uint64_t v;
    protected_mode(m, 0);
    poke(m, 0x10000, 4, 0x11007);
    for (unsigned i = 0; i < 512; i++)
        poke(m, 0x11000 + 4 * i, 4, i << 12 | 7);
    c->s.cr3 = 0x10000;
    c->s.cr0 |= CR0_PG;
    tlb_flush(c);
    c->s.idtr.limit = 15 * 8 - 1;
    idt(m, EXC_PF, gate(SEL_CODE0, 0x1234, 0x0e, 0));
    idt(m, EXC_NP, gate(SEL_DATA0, 0x1234, 0x8e, 0));
    assert_false(lin_load(c, 0x300010, 4, &v));
    assert_false(cpu_deliver(c));
    size_t n = explain_faults(c, text, sizeof text);
    assert_int_equal(n, strlen(text));
    has("cpu0: at 0008:10000, level 0: #PF page fault, reading from 0x300010 as supervisor, error "
        "code 0x0: the page-table entry at 0x11c00 is 0: not present\n");
    has("2. delivering #PF page fault raised #NP segment not present, IDT entry 0xe");
    has("gate 14 at 0x2070 is 00000e0000081234: not present, 32-bit interrupt gate to 0008:1234");
    has("both together are #DF double fault");
    has("delivering #DF double fault raised #GP general protection, IDT entry 0x8");
    has("the processor shut down\n");
    machine_free(m);
}

static void test_registers_and_small_buffers(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    c->s.r[R_DI] = 0xabcd;
    explain_registers(c, text, sizeof text);
    has("edi 0000abcd");
    has("cs  0008 base 0000000000000000 limit ffffffff attr c09b");
    long_mode(m, 0);
    explain_registers(c, text, sizeof text);
    has("rdi 000000000000abcd");
    memset(text, 'x', sizeof text);
    assert_int_equal(explain_registers(c, text, 10), 9);
    assert_int_equal(text[9], 0);
    assert_int_equal(text[10], 'x');
    assert_int_equal(explain_faults(c, text, 1), 0);
    machine_free(m);
}

static void test_code(void **state)
{
    struct machine *m = machine_new("v2");
    struct cpu *c = &m->c;
    protected_mode(m, 0);
    memcpy(m->ram + 0x10000, "\x90\xf4\xeb\xfe", 4); /* nop; hlt; jmp $ */
    c->trail[0] = 0x10000;
    c->trail_at = 1;
    c->s.rip = 0x10001;
    explain_code(c, text, sizeof text);
    has("  10000  nop\n> 10001  hlt\n");
    assert_null(strstr(text, "jmp"));
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_triple_fault),
        cmocka_unit_test(test_registers_and_small_buffers),
        cmocka_unit_test(test_code),
    };
    return RUN(tests);
}
