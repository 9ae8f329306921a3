/* What differs between two machines, in words. */
#include <inttypes.h>
#include <stdio.h>

#include "cpu/explain.h"
#include "cpu/mem.h"
#include "front/compare.h"
#include "front/inspect.h"

#define SHOWN_FIELDS 40
#define SHOWN_BYTES  16

/* A walk of one machine's table beside the other's bytes. */
struct walk {
    const char *state;
    const uint8_t *a, *b;
    const char *name_a, *name_b;
    unsigned found;
    bool print;
};

static void print_value(const char *name, enum state_kind kind, const uint8_t *p, size_t size)
{
    printf("    %-8s ", name);
    if (kind == STATE_UINT && size <= 8) {
        uint64_t v = 0;
        memcpy(&v, p, size);
        printf("%0*" PRIx64 "\n", (int)size * 2, v);
        return;
    }
    for (size_t i = 0; i < size && i < SHOWN_BYTES; i++)
        printf("%02x ", p[i]);
    printf("\n");
}

static void visit(void *opaque, const char *path, enum state_kind kind, const void *data,
                  size_t size)
{
    struct walk *w = opaque;
    const uint8_t *a = data, *b = w->b + (a - w->a);
    if (!memcmp(a, b, size) || kind == STATE_SCRATCH)
        return;
    w->found++;
    if (!w->print || w->found > SHOWN_FIELDS)
        return;
    size_t at = 0;
    if (kind == STATE_BYTES || size > 8) {
        while (a[at] == b[at])
            at++;
        at &= ~(size_t)7;
        printf("  %s.%s, byte %zu of %zu:\n", w->state, path, at, size);
    } else {
        printf("  %s.%s\n", w->state, path);
    }
    print_value(w->name_a, kind, a + at, size - at);
    print_value(w->name_b, kind, b + at, size - at);
}

static unsigned compare_page(const uint8_t *a, const uint8_t *b, uint64_t offset, struct walk *w)
{
    unsigned found = 0;
    for (unsigned i = 0; i < PAGE_SIZE; i += 8) {
        if (!memcmp(a + i, b + i, 8))
            continue;
        found++;
        if (!w->print || w->found + found > SHOWN_FIELDS)
            continue;
        printf("  memory at %" PRIx64 " (offset in RAM)\n", offset + i);
        print_value(w->name_a, STATE_BYTES, a + i, 8);
        print_value(w->name_b, STATE_BYTES, b + i, 8);
    }
    return found;
}

static unsigned compare_memory(struct machine *a, struct machine *b, struct walk *w)
{
    const struct bus *x = machine_bus(a), *y = machine_bus(b);
    unsigned found = 0;
    for (uint64_t page = 0; page < x->ram_size >> PAGE_SHIFT; page++) {
        uint64_t at = page << PAGE_SHIFT;
        if (!((x->page_flags[page] | y->page_flags[page]) & PAGE_DIRTY) ||
            !memcmp(x->ram + at, y->ram + at, PAGE_SIZE))
            continue;
        found += compare_page(x->ram + at, y->ram + at, at, w);
        if (!w->print)
            break;
    }
    return found;
}

unsigned compare_machines(struct machine *a, struct machine *b, const char *name_a,
                          const char *name_b, bool print)
{
    struct walk w = {.name_a = name_a, .name_b = name_b, .print = print};
    unsigned found = 0;
    for (unsigned i = 0; i < machine_cpu_count(a); i++) {
        cpu_settle(machine_cpu(a, i));
        cpu_settle(machine_cpu(b, i));
    }
    for (unsigned i = 0; i < machine_state_count(a); i++) {
        const struct state_ref *x = machine_state(a, i), *y = machine_state(b, i);
        if (!print && state_hash(STATE_HASH_INIT, x->table, x->data) ==
                          state_hash(STATE_HASH_INIT, y->table, y->data))
            continue;
        w.state = x->name;
        w.a = x->data;
        w.b = y->data;
        state_walk(x->table, x->data, visit, &w);
        found = w.found;
        if (found && !print)
            return found;
    }
    found += compare_memory(a, b, &w);
    if (print && found > SHOWN_FIELDS)
        printf("  … %u fields and words in all\n", found);
    return found;
}

void compare_show_insn(struct machine *m, const char *prefix)
{
    char text[200];
    for (unsigned i = 0; i < machine_cpu_count(m); i++) {
        struct cpu *c = machine_cpu(m, i);
        if (machine_cpu_count(m) > 1)
            printf("%scpu%u ", prefix, i);
        else
            printf("%s", prefix);
        explain_insn(c, c->s.rip, text, sizeof text);
        printf("%12" PRIu64 "  %04x:%s\n", c->s.icount, c->s.seg[SEG_CS].sel, text);
    }
}
