/* Files that say how often each row of the instruction table was executed: a line `rows N` with
 * their number, then `ROW COUNT` for every row that was. Row numbers are those of one build. */
#ifndef ISHI_FRONT_COVERAGE_H
#define ISHI_FRONT_COVERAGE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "isa/isa.h"

/* Names a folder in which every process leaves its counts. */
#define COVERAGE_ENV "ISHI_COVERAGE"

/* Adds FOLDER/NAME.PID.cov. `name` is who ran it; pytest's name of the running test goes before it.
 * False: it can't be written. */
static inline bool coverage_write(const char *folder, const char *name, const uint64_t *counts)
{
    char path[1000];
    const char *test = getenv("PYTEST_CURRENT_TEST"), *slash = test ? strrchr(test, '/') : NULL;
    if (test)
        name = slash ? slash + 1 : test;
    snprintf(path, sizeof path, "%s/%.*s.%ld.cov", folder, (int)strcspn(name, "[ /:"), name,
             (long)getpid());
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    fprintf(f, "rows %u\n", isa_row_count);
    for (unsigned i = 0; i < isa_row_count; i++)
        if (counts[i])
            fprintf(f, "%u %" PRIu64 "\n", i, counts[i]);
    return fclose(f) == 0;
}

#endif
