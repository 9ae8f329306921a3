/* Random code, run in one piece and in small ones: soft_run() executes exactly its budget, and
 * nothing depends on where a run ends. Registers, flags, memory and the way a CPU ends agree. */
#include "unit.h"

#include "random_code.h"
#include "tests/coverage.h"

#define CASES 600

static void test_pieces(void **state)
{
    struct pc *whole = pc_new_all(&engine_interp), *pieces = pc_new_all(&engine_interp);
    struct rng r;
    (void)state;
    coverage_attach(&whole->cpu);
    coverage_attach(&pieces->cpu);
    rng_seed(&r, 1);
    for (unsigned i = 0; i < CASES; i++) {
        enum engine_exit a, b = ENGINE_BUDGET;
        uint64_t done, most = i & 1 ? 1 : 9;
        prepare(whole, (enum mode)(i % MODES), i);
        prepare(pieces, (enum mode)(i % MODES), i);
        a = soft_run(&whole->cpu, INSNS);
        while ((done = pieces->cpu.s.icount) < INSNS && b == ENGINE_BUDGET) {
            uint64_t n = min_u64(1 + rng_next(&r) % most, INSNS - done);
            b = soft_run(&pieces->cpu, n);
            if (b == ENGINE_BUDGET)
                assert_int_equal(pieces->cpu.s.icount, done + n);
        }
        assert_int_equal(a, b);
        assert_int_equal(whole->cpu.s.icount, pieces->cpu.s.icount);
        assert_int_equal(hash(whole), hash(pieces));
        assert_memory_equal(whole->ram, pieces->ram, RAM_SIZE);
    }
    pc_free(whole);
    pc_free(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
    };
    return RUN(tests);
}
