/* Counting of executed rows in a test program: where ISHI_COVERAGE names a folder, all its CPUs
 * count together and the program leaves a file there when it ends. */
#ifndef ISHI_TESTS_COVERAGE_H
#define ISHI_TESTS_COVERAGE_H

#include "cpu/cpu.h"
#include "front/coverage.h"

static uint64_t *coverage_counts;

static inline void coverage_end(void)
{
    extern char *program_invocation_short_name;
    coverage_write(getenv(COVERAGE_ENV), program_invocation_short_name, coverage_counts);
}

static inline void coverage_attach(struct cpu *c)
{
    if (!getenv(COVERAGE_ENV))
        return;
    if (!coverage_counts) {
        coverage_counts = calloc(isa_row_count, sizeof *coverage_counts);
        atexit(coverage_end);
    }
    c->coverage = coverage_counts;
}

#endif
