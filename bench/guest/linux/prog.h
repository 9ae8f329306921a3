/* A bench program that runs under Linux: in a guest, and natively for comparison. */
#ifndef ISHI_BENCH_PROG_H
#define ISHI_BENCH_PROG_H

#include <stdbool.h>
#include <stdint.h>

struct prog {
    const char *name;
    uint32_t (*run)(unsigned count); /* the work, `count` times; a checksum that depends on count */
    void (*setup)(void);             /* not measured; may be NULL */
    bool (*there)(void);             /* can this CPU run it? NULL: any can */
};

/* Each ends with a name of NULL. */
extern const struct prog progs_int[], progs_fp[], progs_sys[];

/* Runs argv `count` times; the checksum of what it writes. */
uint32_t run_command(char **argv, unsigned count);
/* Files for the real programs, made anew: text to compress, a C source. */
void write_inputs(unsigned kilobytes);

static inline uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    return *x ^= *x << 5;
}

static inline uint32_t mix(uint32_t sum, uint32_t v)
{
    return (sum << 5 | sum >> 27) ^ v * 0x9e3779b1u;
}

#endif
