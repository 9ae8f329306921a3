/* Random user-mode instructions on the host's processor and on ishi: all that they change must
 * agree, bit by bit, faults included; flags that the table calls undefined aside (witness.h).
 *
 *   witness [options]
 *     --cases N, --seconds N   how long; the first that is reached
 *     --seed N                 another random sequence; printed, so that it can be given again
 *     --engine NAME            whom to test (interp)
 *     --warm N                 run each case N times before the run that counts, for engines that
 *                              translate what runs often
 *     --row MNEMONIC           only this instruction
 *     --not MNEMONIC           all but this instruction
 *     --sequences, --singles   only one kind of case
 *     --rows                   list how often each row ran, and which never did
 *     --case LINE              run the one case of a line that a difference was printed as
 *
 * Exit status 1: something differs. 77: this host can't be a witness. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__x86_64__) || !defined(__linux__)
int main(void)
{
    puts("skipped: the host is not x86-64 Linux");
    return 77;
}
#else
#include <time.h>

#include "cpu/cpuid.h"
#include "tests/isa/witness.h"

#define DIFFERENCES 20 /* shown, and looked for, at most */

struct options {
    uint64_t cases, seconds, seed;
    const char *engine, *line;
    bool rows;
};

struct tally {
    uint64_t cases, done, differences;
    uint64_t *ran, *finished; /* by row */
};

/* Both sides, for one case. */
static const char *run_both(const struct wit *w, const struct wit_case *c, char *text,
                            unsigned size)
{
    static struct wit_result own;
    wit_host_cases(0)[0] = *c;
    wit_host_start(0, 1);
    wit_ishi_run(w, c, &own);
    wit_host_wait();
    return wit_compare(w, c, &wit_host_results(0)[0], &own, text, size);
}

struct sought {
    const struct wit *w;
    const char *what;
};

static bool shows_it(void *opaque, const struct wit_case *c)
{
    const struct sought *s = opaque;
    char text[300];
    const char *what = run_both(s->w, c, text, sizeof text);
    return what && !strcmp(what, s->what);
}

static void print_code(const struct wit *w, const struct wit_case *c)
{
    for (unsigned i = 0; i < c->insns; i++) {
        struct insn in;
        char text[100];
        uint64_t at = WIT_CODE + c->code_at + c->start[i];
        isa_decode(&in, c->code + c->start[i], c->code_len - c->start[i], c->mode, &w->features);
        isa_format(&in, at, text, sizeof text);
        printf("    %llx  %s\n", (unsigned long long)at, text);
    }
}

/* A case that differed is run again, made smaller, and shown. */
static bool report(const struct wit *w, const struct wit_case *seen)
{
    struct wit_case c = *seen;
    char text[300];
    const char *what = run_both(w, &c, text, sizeof text);
    if (!what)
        return false;
    if (strcmp(what, "died") != 0)
        wit_shrink(w, &c, shows_it, &(struct sought){w, what});
    run_both(w, &c, text, sizeof text);
    printf("%s\n", text);
    print_code(w, &c);
    wit_print_case(&c);
    return true;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned make_batch(const struct wit *w, const struct options *o, uint64_t *number,
                           struct wit_case *c)
{
    unsigned n = 0;
    for (unsigned tries = 0; n < WIT_BATCH && tries < 20 * WIT_BATCH; tries++)
        n += wit_make(w, o->seed, (*number)++, &c[n]);
    return n;
}

static void count(struct tally *t, const struct wit *w, const struct wit_case *c,
                  const struct wit_result *r)
{
    bool done = r->s.vector == EXC_NONE;
    t->cases++;
    t->done += done;
    for (unsigned i = 0; i < c->insns; i++) {
        struct insn in;
        const uint8_t *p = c->code + c->start[i];
        if (!done && WIT_CODE + c->code_at + c->start[i] > r->s.rip)
            break;
        isa_decode(&in, p, (size_t)(c->code + c->code_len - p), c->mode, &w->features);
        if (in.row) {
            t->ran[isa_row_index(in.row)]++;
            t->finished[isa_row_index(in.row)] += done || in.row->attr & A_BRANCH;
        }
    }
}

/* The child runs one half of the cases while ishi runs the other. */
static void run(const struct wit *w, const struct options *o, struct tally *t)
{
    static struct wit_result own[WIT_BATCH];
    static struct wit_case differing[DIFFERENCES];
    uint64_t number = 0;
    double end = now() + (double)o->seconds;
    unsigned half = 0, found = 0, n = make_batch(w, o, &number, wit_host_cases(0));
    wit_host_start(0, n);
    while (n && t->cases < o->cases && now() < end && found < DIFFERENCES) {
        const struct wit_case *c = wit_host_cases(half);
        unsigned next = make_batch(w, o, &number, wit_host_cases(!half));
        for (unsigned i = 0; i < n; i++)
            wit_ishi_run(w, &c[i], &own[i]);
        wit_host_wait();
        if (next)
            wit_host_start(!half, next);
        for (unsigned i = 0; i < n; i++) {
            const struct wit_result *host = &wit_host_results(half)[i];
            char text[300];
            if (wit_compare(w, &c[i], host, &own[i], text, sizeof text) && found < DIFFERENCES)
                differing[found++] = c[i];
            count(t, w, &c[i], host);
        }
        half = !half;
        n = next;
    }
    if (n)
        wit_host_wait();
    for (unsigned i = 0; i < found; i++) {
        if (report(w, &differing[i]))
            t->differences++;
        else
            puts("a difference did not come again");
    }
}

/* Features that the model has and the host lacks, and rows that no case is made of. */
static void print_skipped(const struct wit *w, const struct isa_features *model,
                          const struct options *o)
{
    if (!w->low)
        puts("skipped: memory below 64 KiB (16-bit addresses): the host lets nobody map it");
    for (unsigned f = 0; f < FEAT_COUNT; f++) {
        unsigned rows = 0;
        for (unsigned i = 0; i < isa_row_count; i++)
            rows += isa_rows[i].feature == f;
        if (rows && isa_has(model, (enum isa_feature)f) &&
            !isa_has(&w->features, (enum isa_feature)f))
            printf("skipped: %u rows of %s, which the host lacks\n", rows,
                   isa_feature_info[f].name);
    }
    for (unsigned i = 0; o->rows && i < isa_row_count; i++)
        if (wit_row_excluded(&isa_rows[i]))
            printf("not made: %s (%02x): %s\n", isa_rows[i].name, isa_rows[i].opcode,
                   wit_row_excluded(&isa_rows[i]));
}

static unsigned print_rows(const struct wit *w, const struct options *o, const struct tally *t)
{
    unsigned never = 0;
    for (unsigned i = 0; i < isa_row_count; i++) {
        const struct isa_row *r = &isa_rows[i];
        bool runs = wit_row_runs(w, r, ISA_32) || wit_row_runs(w, r, ISA_64);
        never += runs && !t->ran[i];
        if (o->rows && runs)
            printf("%10llu %10llu  %s (%02x)\n", (unsigned long long)t->ran[i],
                   (unsigned long long)t->finished[i], r->name, r->opcode);
    }
    return never;
}

static bool parse(int argc, char **argv, struct options *o, struct wit *w)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        i++;
        if (!strcmp(a, "--cases"))
            o->cases = strtoull(v, NULL, 0);
        else if (!strcmp(a, "--seconds"))
            o->seconds = strtoull(v, NULL, 0);
        else if (!strcmp(a, "--seed"))
            o->seed = strtoull(v, NULL, 0);
        else if (!strcmp(a, "--engine"))
            o->engine = v;
        else if (!strcmp(a, "--warm"))
            w->warm = (unsigned)atoi(v);
        else if (!strcmp(a, "--row"))
            w->only = v;
        else if (!strcmp(a, "--not"))
            w->without = v;
        else if (!strcmp(a, "--case"))
            o->line = v;
        else if (i--, !strcmp(a, "--rows"))
            o->rows = true;
        else if (!strcmp(a, "--sequences"))
            w->singles = false;
        else if (!strcmp(a, "--singles"))
            w->sequences = false;
        else
            return false;
    }
    return true;
}

static int run_line(const struct wit *w, const char *line)
{
    static struct wit_case c;
    char text[300];
    if (!wit_parse_case(w, line, &c)) {
        fprintf(stderr, "witness: can't read that case\n");
        return 2;
    }
    print_code(w, &c);
    const char *what = run_both(w, &c, text, sizeof text);
    const struct wit_result *h = &wit_host_results(0)[0];
    puts(what ? text : "the same");
    printf("host: vector %d error %x address %llx rip %llx\n", (int)(int8_t)h->s.vector, h->s.error,
           (unsigned long long)h->s.cr2, (unsigned long long)h->s.rip);
    return what != NULL;
}

int main(int argc, char **argv)
{
    struct options o = {.cases = ~0ull, .seconds = 10, .seed = 1, .engine = "interp"};
    static struct wit w = {.sequences = true, .singles = true};
    const char *why;
    struct err e;
    if (!parse(argc, argv, &o, &w)) {
        fprintf(stderr, "witness: see the head of tests/isa/witness.c\n");
        return 2;
    }
    const struct engine *engine = engine_find(o.engine);
    if (!engine) {
        printf("skipped: no engine %s\n", o.engine);
        return 77;
    }
    if (!wit_host_init(&w, &why)) {
        printf("skipped: %s\n", why);
        return 77;
    }
    const struct isa_features *model = &cpu_model_find(NULL)->features;
    print_skipped(&w, model, &o);
    for (unsigned i = 0; i < ARRAY_LEN(w.features.word); i++)
        w.features.word[i] &= model->word[i];
    if (!wit_ishi_init(&w, engine, &e)) {
        printf("skipped: engine %s: %s\n", o.engine, e.text);
        return 77;
    }
    int status;
    if (o.line) {
        status = run_line(&w, o.line);
    } else {
        struct tally t = {.ran = calloc(isa_row_count, 8), .finished = calloc(isa_row_count, 8)};
        double began = now();
        run(&w, &o, &t);
        double minutes = (now() - began) / 60, busy = (double)clock() / CLOCKS_PER_SEC / 60;
        unsigned never = print_rows(&w, &o, &t);
        wit_print_allowed();
        printf("seed %llu, engine %s: %llu cases, %.1f million a minute (%.1f of CPU time), "
               "%llu ran to their end, %u rows never; %llu differ\n",
               (unsigned long long)o.seed, o.engine, (unsigned long long)t.cases,
               (double)t.cases / 1e6 / minutes, (double)t.cases / 1e6 / busy,
               (unsigned long long)t.done, never, (unsigned long long)t.differences);
        status = t.differences || !t.done;
        free(t.ran);
        free(t.finished);
    }
    wit_host_end();
    wit_ishi_end();
    return status;
}
#endif
