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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(empty_matches_nothing)};
    return RUN(tests);
}
