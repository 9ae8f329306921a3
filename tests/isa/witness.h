/* The host's CPU as witness: random user-mode instructions, made from the instruction table, run by
 * the host's own processor in a child process and by one of ishi's engines, from the same state.
 *
 * A case is some bytes of code, a state, and patches of memory. Both sides have the same addresses:
 *
 *   WIT_DATA   three pages, the third read-only; nothing before and behind them
 *   WIT_HIGH   the same pages again, above 4 GiB
 *   WIT_LOW    the same pages again below 64 KiB, where the host allows it
 *   WIT_OVER   the same pages again, 4 GiB above WIT_DATA, the first two exchanged: what an offset
 *              of 32 bits near its end reaches by GS, and what lies behind
 *   WIT_CODE   two pages of code, then nothing. Behind the case's bytes stands a jump to WIT_EXIT;
 *              all else is INT3
 *   WIT_EXIT   where a case leaves
 *
 * Files: witness_gen.c makes cases, witness_host.c and witness_ishi.c run them, witness_compare.c
 * says what differs, witness_text.c writes a case as a line, reads it and makes it smaller,
 * witness.c is the program. */
#ifndef ISHI_TESTS_WITNESS_H
#define ISHI_TESTS_WITNESS_H

#include "base/rng.h"
#include "cpu/cpu.h"
#include "engine/engine.h"

#define WIT_DATA       0x10000000ull
#define WIT_HIGH       0x123410000000ull
#define WIT_LOW        0x4000ull
#define WIT_OVER       (WIT_DATA + BIT(32))
#define WIT_RW         0x2000u /* bytes that may be written */
#define WIT_BYTES      0x3000u
#define WIT_CODE       0x20000000ull
#define WIT_CODE_BYTES 0x2000u
#define WIT_EXIT       0x21000000ull
#define WIT_GS         (WIT_DATA + 0x340) /* GS.base in 64-bit mode */

#define WIT_INSNS    8 /* at most so many instructions a case */
#define WIT_CODE_MAX (WIT_INSNS * ISA_MAX_LEN)
#define WIT_PATCHES  8

/* XSAVE's standard form with AVX (SDM 1 13.4). */
struct wit_xsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t sig;
        uint16_t exp, pad[3];
    } st[8];
    uint64_t xmm[16][2];
    uint8_t unused[96];
    uint64_t present, compact, header[6];
    uint64_t high[16][2]; /* of the YMM registers */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct wit_xsave) == 832, "the architecture's layout");

struct wit_state {
    struct wit_xsave x;
    uint64_t r[16], rflags; /* the assembler of witness_host.c knows these two's places */
    uint64_t rip;
    uint64_t cr2;    /* of a page fault */
    uint32_t vector; /* EXC_*; EXC_NONE: left by WIT_EXIT */
    uint32_t error;
    uint16_t ds, es;
};

struct wit_patch {
    uint16_t at, len; /* in the data; where in the pool is the sum of those before */
};

struct wit_case {
    enum isa_mode mode; /* ISA_32 is compatibility mode */
    uint16_t code_at;   /* offset of the code in its pages */
    uint16_t code_len;
    uint8_t code[WIT_CODE_MAX];
    uint8_t insns;
    uint8_t start[WIT_INSNS]; /* offset of each instruction in code */
    struct wit_state in;
    unsigned patches, pool_used;
    struct wit_patch patch[WIT_PATCHES];
    uint8_t pool[1024];
    bool odd_budget; /* the engine gets its instructions one by one */
};

/* What came of a case. */
struct wit_result {
    struct wit_state s;
    uint32_t lo, hi; /* bytes [lo, hi) of the data may have changed; they are in mem */
    uint8_t mem[WIT_RW];
    bool died; /* the host's process did not survive it */
};

/* The selector, for any program, of a segment whose limit is the CPU's number. */
#define WIT_CPU_SEL 0x7bu

/* What the program was told and what it found out. */
struct wit {
    struct isa_features features; /* that both sides have */
    uint64_t cpu_segment;         /* Linux's descriptor at WIT_CPU_SEL, or 0 */
    uint64_t fs;                  /* FS.base of the host's process in 64-bit mode */
    bool ymm, low;                /* the host has AVX; WIT_LOW can be used */
    unsigned warm;                /* times that a case runs on ishi before the one that counts */
    bool sequences, singles;
    const char *only;    /* a mnemonic, or NULL */
    const char *without; /* this mnemonic is left out, or NULL */
};

/* The data before any patch: byte i of every case's memory. */
void wit_background(uint8_t *to);
/* The memory that a case starts from. */
void wit_memory(const struct wit_case *c, const uint8_t *background, uint8_t *to);
/* What differs from `before` in the writable pages; fills lo, hi and mem. */
void wit_changed(struct wit_result *r, const uint8_t *before, const uint8_t *now);
/* Adds a patch; ignored when there is no room or it lies outside. */
void wit_patch(struct wit_case *c, uint64_t at, const void *bytes, unsigned n);
/* Finds the instructions again after the code changed. */
void wit_find_insns(const struct wit *w, struct wit_case *c);

/* witness_gen.c: case number `n` of a seed. False: this number makes none. */
bool wit_make(const struct wit *w, uint64_t seed, uint64_t n, struct wit_case *c);
/* Rows that are made into cases, and why not. */
bool wit_row_runs(const struct wit *w, const struct isa_row *r, enum isa_mode mode);
const char *wit_row_excluded(const struct isa_row *r);
void wit_default_state(struct wit_state *s);

/* witness_host.c: false with a reason where this host can't be a witness. */
bool wit_host_init(struct wit *w, const char **why);
/* Starts running a batch in the child; the results are there after the wait. */
#define WIT_BATCH 512
struct wit_case *wit_host_cases(unsigned half);
struct wit_result *wit_host_results(unsigned half);
void wit_host_start(unsigned half, unsigned n);
void wit_host_wait(void);
void wit_host_end(void);

/* witness_ishi.c */
bool wit_ishi_init(const struct wit *w, const struct engine *engine, struct err *e);
void wit_ishi_run(const struct wit *w, const struct wit_case *c, struct wit_result *r);
void wit_ishi_end(void);

/* witness_compare.c: NULL, or what differs, in words, in `text`. */
const char *wit_compare(const struct wit *w, const struct wit_case *c,
                        const struct wit_result *host, const struct wit_result *own, char *text,
                        unsigned size);

/* How often each rule explained a difference. */
void wit_print_allowed(void);

/* witness_text.c */
void wit_print_case(const struct wit_case *c);
bool wit_parse_case(const struct wit *w, const char *line, struct wit_case *c);
/* True while the case still shows it. */
typedef bool wit_shows(void *opaque, const struct wit_case *c);
void wit_shrink(const struct wit *w, struct wit_case *c, wit_shows *shows, void *opaque);

#endif
