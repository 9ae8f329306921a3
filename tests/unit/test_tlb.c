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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_matches_nothing),
        cmocka_unit_test(other_pages_end_no_code),
    };
    return RUN(tests);
}
