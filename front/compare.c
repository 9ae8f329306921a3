/* ishi compare: its options, and what both of its kinds need. */
#include "front/compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "front/commands.h"
#include "front/compare_rules.h"

struct own_option {
    const char *name, *arg, *text;
    bool (*set)(struct compare_options *c, const char *s, struct err *e);
};

static bool number(const char *name, const char *s, uint64_t *v, struct err *e)
{
    char *end;
    *v = strtoull(s, &end, 0);
    if (*s < '0' || *s > '9' || (*end && strcmp(end, "k") && strcmp(end, "M") && strcmp(end, "G")))
        return err_set(e, ERR_INVALID, "--%s %s: give a number, as 5000, 20k or 2M", name, s);
    *v *= *end == 'k' ? 1000 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 1;
    return true;
}

static bool set_engines(struct compare_options *c, const char *s, struct err *e)
{
    const char *comma = strchr(s, ',');
    char first[32];
    if (!comma || (size_t)(comma - s) >= sizeof first)
        return err_set(e, ERR_INVALID, "--engines %s: give two names, as interp,jit", s);
    memcpy(first, s, (size_t)(comma - s));
    first[comma - s] = 0;
    c->engine[0] = engine_find(first);
    c->engine[1] = engine_find(comma + 1);
    for (unsigned i = 0; i < 2; i++) {
        if (!c->engine[i])
            return err_set(e, ERR_INVALID, "--engines: no engine %s in this build",
                           i ? comma + 1 : first);
    }
    return true;
}

static bool set_with(struct compare_options *c, const char *s, struct err *e)
{
    c->with = s;
    return true;
}

static bool set_grain(struct compare_options *c, const char *s, struct err *e)
{
    static const char *const names[] = {"insn", "block", "sync"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (!strcmp(names[i], s)) {
            c->grain = (enum witness_grain)i;
            return true;
        }
    }
    return err_set(e, ERR_INVALID, "--grain %s: give insn, block or sync", s);
}

static bool set_every(struct compare_options *c, const char *s, struct err *e)
{
    return number("every", s, &c->every, e) &&
           (c->every || err_set(e, ERR_INVALID, "--every 0: give at least 1"));
}

static bool set_steps(struct compare_options *c, const char *s, struct err *e)
{
    return number("steps", s, &c->steps, e);
}

static bool set_from(struct compare_options *c, const char *s, struct err *e)
{
    return number("from", s, &c->from, e);
}

static bool set_split(struct compare_options *c, const char *s, struct err *e)
{
    return number("split", s, &c->split, e);
}

static bool set_inject(struct compare_options *c, const char *s, struct err *e)
{
    return number("inject", s, &c->inject, e);
}

static bool set_history(struct compare_options *c, const char *s, struct err *e)
{
    uint64_t v = 0;
    if (!number("history", s, &v, e))
        return false;
    c->history = (unsigned)min_u64(v, 1000);
    return true;
}

static bool set_quiet(struct compare_options *c, const char *s, struct err *e)
{
    c->quiet = true;
    return true;
}

static bool set_rules(struct compare_options *c, const char *s, struct err *e)
{
    c->rules = true;
    return true;
}

static const struct own_option table[] = {
    {"engines", "A,B", "Compares two machines in this process, on these engines.", set_engines},
    {"with", "qemu|HOST:PORT|unix:PATH",
     "Compares with a machine behind a gdb stub. qemu: ishi starts QEMU, as a CPU with memory.",
     set_with},
    {"grain", "insn|block|sync",
     "With QEMU: compares its state before each instruction, each of its blocks, or only where "
     "something is handed over. Default insn.",
     set_grain},
    {"every", "N",
     "Instructions to the first comparison of two engines; the distance grows while nothing "
     "differs. Default 10k. With --grain sync: also compares after N instructions; default not.",
     set_every},
    {"steps", "N", "Ends after N instructions. Default: when the machine ends.", set_steps},
    {"from", "N",
     "With --grain sync: after N instructions, compares each one, as --grain insn does.", set_from},
    {"split", "N",
     "The second machine runs at most N instructions at a time, so that its blocks are cut "
     "elsewhere.",
     set_split},
    {"inject", "N",
     "Changes a bit of RBX in one machine after N instructions, to see that it is found.",
     set_inject},
    {"history", "N", "Instructions to show before a difference. Default 16.", set_history},
    {"rules", NULL, "Prints what may differ from a machine behind a stub, and why.", set_rules},
    {"quiet", NULL, "Does not show what the guest prints.", set_quiet},
};

static void help(void)
{
    printf(
        "Usage: ishi compare [OPTION…] [IMAGE]\n\n"
        "Runs a machine beside another one and stops at the first difference: registers,\n"
        "flags, segment caches, memory, devices. No image is written. Options of its own, beside "
        "those of ishi run:\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        printf("  --%s%s%s\n        %s\n", table[i].name, table[i].arg ? " " : "",
               table[i].arg ? table[i].arg : "", table[i].text);
    printf("\nExit status: 0 no difference, 1 a difference, 2 the command line or a file is not "
           "right.\n");
}

/* Takes the options of its own out of argv. *done: --help was answered. */
static bool parse(struct compare_options *c, int *argc, char **argv, bool *done, struct err *e)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        const struct own_option *o = NULL;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            help();
            *done = true;
            return true;
        }
        for (size_t k = 0; k < ARRAY_LEN(table); k++) {
            if (!strncmp(argv[i], "--", 2) && !strcmp(argv[i] + 2, table[k].name))
                o = &table[k];
        }
        if (!o) {
            argv[kept++] = argv[i];
            continue;
        }
        if (o->arg && ++i == *argc)
            return err_set(e, ERR_INVALID, "--%s needs %s", o->name, o->arg);
        if (!o->set(c, o->arg ? argv[i] : NULL, e))
            return false;
    }
    argv[kept] = NULL;
    *argc = kept;
    return true;
}

static void print_guest(void *opaque, const uint8_t *bytes, size_t n)
{
    struct compare_side *s = opaque;
    if (s->shown)
        fwrite(bytes, 1, n, stdout);
}

bool compare_open(struct compare_side *s, const struct options *o, bool shown, struct err *e)
{
    s->shown = shown;
    s->terminal = (struct chardev){.write = print_guest, .opaque = s};
    s->setup.options = *o;
    s->setup.options.clock = CLOCK_VIRTUAL;
    s->setup.loop = &s->loop;
    s->setup.terminal = &s->terminal;
    s->setup.keep = true;
    if (!setup_open(&s->setup, e))
        return false;
    s->machine = machine_new(&s->setup.config, e);
    return s->machine != NULL;
}

void compare_close(struct compare_side *s)
{
    machine_free(s->machine);
    setup_close(&s->setup);
}

int command_compare(int argc, char **argv)
{
    struct compare_options c = {.history = 16};
    struct options o;
    struct err e = {0};
    bool done = false, ok = parse(&c, &argc, argv, &done, &e);
    if (ok && c.rules) {
        for (unsigned i = 0; i < RULE_COUNT; i++)
            printf("%s%s%s\n        %s\n", compare_rules[i].name,
                   compare_rules[i].insns ? ": " : "",
                   compare_rules[i].insns ? compare_rules[i].insns : "", compare_rules[i].text);
        return STATUS_OK;
    }
    if (done)
        return STATUS_OK;
    if (ok) {
        switch (options_parse(&o, argc, argv, &e)) {
        case OPTIONS_DONE: return STATUS_OK;
        case OPTIONS_BAD: ok = false; break;
        case OPTIONS_RUN: break;
        }
    }
    if (ok && !c.engine[0] && !c.with)
        ok = err_set(&e, ERR_INVALID, "compare with what? Give --engines A,B or --with qemu");
    if (!ok) {
        fprintf(stderr, "ishi: %s\n", e.text);
        return STATUS_BAD;
    }
    return c.with ? compare_stub(&c, &o) : compare_engines(&c, &o);
}
