/* The description of the registers that gdb asks for (qXfer:features:read), from the table.
 *
 * gdb refuses a description of another architecture than its program's, and then fails ("remote 'g'
 * packet reply is too long"); nor does it take a new one when the processor changes its mode. So
 * while a 64-bit processor is not in long mode yet, its description has the registers by both
 * names, rax and eax, and names no architecture: gdb takes that of the program, or of `set
 * architecture`, whenever it is set, and finds all it needs. Pointers are integers then, as a
 * type's size must not depend on gdb's architecture. In long mode the architecture is named, for
 * who comes without a program. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "front/gdb_remote.h"

struct flag {
    const char *name;
    uint8_t bit;
};

static const struct flag eflags[] = {{"CF", 0},   {"", 1},    {"PF", 2},  {"AF", 4},  {"ZF", 6},
                                     {"SF", 7},   {"TF", 8},  {"IF", 9},  {"DF", 10}, {"OF", 11},
                                     {"NT", 14},  {"RF", 16}, {"VM", 17}, {"AC", 18}, {"VIF", 19},
                                     {"VIP", 20}, {"ID", 21}, {NULL, 0}};
static const struct flag mxcsr[] = {{"IE", 0},  {"DE", 1},  {"ZE", 2},  {"OE", 3},  {"UE", 4},
                                    {"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8},  {"ZM", 9},
                                    {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}, {NULL, 0}};
static const struct flag cr0[] = {{"PE", 0},  {"MP", 1},  {"EM", 2},  {"TS", 3},
                                  {"ET", 4},  {"NE", 5},  {"WP", 16}, {"AM", 18},
                                  {"NW", 29}, {"CD", 30}, {"PG", 31}, {NULL, 0}};
static const struct flag cr4[] = {
    {"VME", 0},   {"PVI", 1},   {"TSD", 2},   {"DE", 3},        {"PSE", 4},         {"PAE", 5},
    {"MCE", 6},   {"PGE", 7},   {"PCE", 8},   {"OSFXSR", 9},    {"OSXMMEXCPT", 10}, {"UMIP", 11},
    {"LA57", 12}, {"VMXE", 13}, {"SMXE", 14}, {"FSGSBASE", 16}, {"PCIDE", 17},      {"OSXSAVE", 18},
    {"SMEP", 20}, {"SMAP", 21}, {"PKE", 22},  {NULL, 0}};
static const struct flag efer[] = {{"SCE", 0}, {"LME", 8}, {"LMA", 10}, {"NXE", 11}, {NULL, 0}};

struct text {
    char *p;
    size_t n, size;
};

static void add(struct text *t, const char *fmt, ...) PRINTF(2, 3);

static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    if (t->size - t->n < 400) {
        t->size = 2 * t->size + 4096;
        t->p = realloc(t->p, t->size);
        CHECK(t->p);
    }
    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, t->size - t->n, fmt, ap);
    va_end(ap);
}

static void add_flags(struct text *t, const char *id, const struct flag *f, unsigned size)
{
    add(t, "<flags id=\"%s\" size=\"%u\">", id, size);
    for (; f->name; f++)
        add(t, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", f->name, f->bit, f->bit);
    add(t, "</flags>");
}

static void add_vectors(struct text *t)
{
    static const struct {
        const char *id, *type, *field;
        unsigned count;
    } v[] = {{"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
             {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
             {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2}};
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        add(t, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", v[i].id, v[i].type, v[i].count);
    add(t, "<union id=\"vec128\">");
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        add(t, "<field name=\"%s\" type=\"%s\"/>", v[i].field, v[i].id);
    add(t, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void add_types(struct text *t, unsigned feature, unsigned size)
{
    switch (feature) {
    case REG_CORE: add_flags(t, "i386_eflags", eflags, 4); break;
    case REG_SSE:
        add_vectors(t);
        add_flags(t, "i386_mxcsr", mxcsr, 4);
        break;
    case REG_SYSTEM:
        add_flags(t, "x86_cr0", cr0, size);
        add_flags(t, "x86_cr4", cr4, size);
        add_flags(t, "x86_efer", efer, 8);
        break;
    default: break;
    }
}

static const char *group(const struct reg_row *r)
{
    switch (r->kind) {
    case REG_ST:
    case REG_FPU: return " group=\"float\"";
    case REG_XMM:
    case REG_YMMH:
    case REG_MXCSR: return " group=\"vector\"";
    default:
        /* a call of a function by gdb saves and restores the others */
        return r->feature == REG_SYSTEM ? " group=\"system\" save-restore=\"no\"" : "";
    }
}

static const char *architecture(enum reg_set set)
{
    return set == REGS_32   ? "<architecture>i386</architecture>"
           : set == REGS_64 ? "<architecture>i386:x86-64</architecture>"
                              "<compatible>i386</compatible><compatible>i8086</compatible>"
                            : "";
}

static const char *type(enum reg_set set, const struct reg_row *r)
{
    bool pointer = strstr(r->type, "_ptr");
    return set != REGS_BOTH || !pointer ? r->type : r->bits == 64 ? "uint64" : "uint32";
}

char *gdb_describe(enum reg_set set)
{
    static const char *const features[] = {"org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse",
                                           "org.gnu.gdb.i386.avx", "ishi.x86.system"};
    unsigned count;
    const struct reg_row *r = regs_table(set, &count);
    struct text t = {0};
    add(&t, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>%s",
        architecture(set));
    for (unsigned f = 0; f < REG_FEATURES; f++) {
        bool open = false;
        for (unsigned i = 0; i < count; i++) {
            if (r[i].feature != f)
                continue;
            if (!open) {
                add(&t, "<feature name=\"%s\">", features[f]);
                add_types(&t, f, set == REGS_32 ? 4 : 8);
                open = true;
            }
            add(&t, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"%s/>", r[i].name,
                r[i].bits, type(set, &r[i]), i, group(&r[i]));
        }
        if (open)
            add(&t, "</feature>");
    }
    add(&t, "</target>");
    return t.p;
}
