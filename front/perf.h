/* --perf: the names of generated code for the host's perf. */
#ifndef ISHI_FRONT_PERF_H
#define ISHI_FRONT_PERF_H

#include <stdio.h>

#include "base/err.h"
#include "cpu/cpu.h"

struct perf_map {
    FILE *file; /* NULL: none */
};

/* Opens /tmp/perf-PID.map, to which every block of c's engine is added when it is compiled. An
 * engine that generates no code leaves it empty. False: the file can't be made. */
bool perf_open(struct perf_map *p, struct cpu *c, struct err *e);
void perf_close(struct perf_map *p);

#endif
