#include "cpu/tlb.h"
#include "unit.h"

static bool hits(struct cpu *c, uint64_t la)
{
    for (unsigned ctx = 0; ctx < TLB_CTX_COUNT; ctx++) {
        const struct tlb_entry *e = tlb_slot(c, ctx, la);
        if (la - e->read < PAGE_SIZE || la - e->write < PAGE_SIZE ||
            la - tlb_info_of(c, ctx, la)->exec < PAGE_SIZE)
            return true;
    }
    return false;
}

/* Whatever pointer a guest makes up: an empty TLB has nothing for it. */
static void empty_matches_nothing(void **state)
{
    static struct cpu c;
    static struct tlb t;
    c.tlb = &t;
    tlb_flush(&c);
    assert_false(hits(&c, ~0ull));
    assert_false(hits(&c, 0xfffffffffffff000));
    assert_false(hits(&c, 0));
    assert_false(hits(&c, PAGE_SIZE));
    assert_false(hits(&c, 0x8000000000000000));
    for (unsigned slot = 0; slot < TLB_SIZE; slot++) {
        uint64_t none = tlb_none(slot);
        assert_true(tlb_is_none(none, slot));
        /* the page whose tag it is goes to another slot */
        assert_ptr_not_equal(tlb_slot(&c, 0, none), &t.e[0][slot]);
    }
}

/* INVLPG ends what was found by the page's code, but a page far from all code ends nothing,
 * whatever its bit in the filter. */
static void other_pages_end_no_code(void **state)
{
    static struct cpu c;
    static struct tlb t;
    const uint64_t code = 0xc1000000, alias = TLB_CODE * (uint64_t)PAGE_SIZE;
    c.tlb = &t;
    tlb_flush(&c);
    tlb_note_code(&c, code + 0x123, true);
    tlb_note_code(&c, code + 0x5000, true);
    uint64_t was = t.code[0].generation;
    tlb_flush_page(&c, code - alias);
    tlb_flush_page(&c, code + alias);
    tlb_flush_page(&c, code + 0x1000);
    tlb_flush_page(&c, code - 1);
    assert_int_equal(t.code[0].generation, was);
    tlb_flush_page(&c, code + 0x5fff);
    assert_int_equal(t.code[0].generation, was + 1);
    tlb_flush_page(&c, code); /* nothing is kept any more */
    assert_int_equal(t.code[0].generation, was + 1);
    tlb_note_code(&c, code, true);
    tlb_note(&c, TLB_SUPER, code + 0x3ff000, 22, true);
    tlb_flush_page(&c, code + 0x3ff000); /* a piece of the same large page */
    assert_int_equal(t.code[0].generation, was + 2);
}

/* By PCID, generations of user code come back, and no two spaces ever have the same. */
static void spaces_keep_code(void **state)
{
    static struct cpu c;
    static struct tlb t;
    const uint64_t code = 0x400000;
    uint64_t of[TLB_SPACES + 1];
    c.tlb = &t;
    c.cpl = 3;
    tlb_flush(&c);
    for (unsigned i = 0; i <= TLB_SPACES; i++) { /* one more than there are: 0 has to go */
        tlb_switch(&c, i, true);
        tlb_note_code(&c, code, i == 2);
        of[i] = c.code_generation;
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(of[i], of[k]);
    }
    tlb_switch(&c, 2, true);
    assert_int_equal(c.code_generation, of[2]);
    tlb_switch(&c, 3, true);
    assert_int_equal(c.code_generation, of[3]);
    tlb_flush_page(&c, code); /* 2 has it from a global page */
    assert_int_not_equal(c.code_generation, of[3]);
    tlb_switch(&c, 2, true);
    assert_int_not_equal(c.code_generation, of[2]);
    tlb_switch(&c, 1, true);
    assert_int_equal(c.code_generation, of[1]);
    tlb_forget(&c, 4);
    tlb_switch(&c, 4, true);
    assert_int_not_equal(c.code_generation, of[4]);
    tlb_switch(&c, 1, false);
    assert_int_not_equal(c.code_generation, of[1]);
    tlb_switch(&c, 0, true);
    assert_int_not_equal(c.code_generation, of[0]);
    tlb_note_code(&c, code, false);
    of[0] = c.code_generation;
    tlb_switch(&c, 1, true);
    tlb_flush(&c);
    tlb_switch(&c, 0, true);
    assert_int_not_equal(c.code_generation, of[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_matches_nothing),
        cmocka_unit_test(other_pages_end_no_code),
        cmocka_unit_test(spaces_keep_code),
    };
    return RUN(tests);
}
