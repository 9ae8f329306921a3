/* `ishi isa`: the instruction table as people read it.
 *
 *   ishi isa                       how large the table is
 *   ishi isa MNEMONIC              rows by name, or a part of one between asterisks: *shuf*
 *   ishi isa BYTES                 which row these bytes are, and what they do
 *   ishi isa --feature NAME        rows of a CPUID feature
 *   ishi isa --coverage FOLDER …   also how often each row ran, and in which tests
 *   ishi isa --coverage FOLDER --never    rows that no test ran
 *
 * FOLDER is what a run of the tests left with ISHI_COVERAGE set, or `ishi --coverage` did. */
#include <ctype.h>
#include <dirent.h>
#include <fnmatch.h>

#include "front/commands.h"
#include "front/coverage.h"

#include "base/err.h"

#define COVERERS 5 /* tests named for a row */

struct covered {
    uint64_t count;
    char *by[COVERERS];
    unsigned tests;
};

struct query {
    const char *what, *feature, *folder;
    enum isa_mode mode;
    bool never, all;
    struct covered *covered; /* by row; NULL: no folder was given */
};

/* --- Columns as text --- */

static const char *const operand_names[] = {"",
#define X(id, where, width, reg) #id,
                                            ISA_OPERANDS(X)
#undef X
};

static void flag_letters(char *to, uint32_t flags)
{
    static const struct {
        char letter;
        uint32_t bit;
    } letters[] = {{'o', F_O}, {'d', F_D}, {'i', F_I}, {'s', F_S},
                   {'z', F_Z}, {'a', F_A}, {'p', F_P}, {'c', F_C}};
    if (flags == F_ALL) {
        strcpy(to, "all");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (flags & letters[i].bit)
            *to++ = letters[i].letter;
    *to = 0;
}

/* As the SDM writes it: VEX.256.66.0F38.W0 8C /r. */
static void encoding(const struct isa_row *r, char *to, size_t size)
{
    static const char *const prefixes[] = {"", "NP ", "66 ", "F3 ", "F2 ", "NFx "};
    static const char *const vex_pp[] = {"", "", ".66", ".F3", ".F2", ""};
    static const char *const maps[] = {"", "0F", "0F38", "0F3A"};
    static const char *const escapes[] = {"", "0F ", "0F 38 ", "0F 3A "};
    int n = 0;
    if (r->attr & A_VEX)
        n = snprintf(to, size, "VEX.%s%s.%s.%s ",
                     r->attr & A_L1   ? "256"
                     : r->attr & A_L0 ? "128"
                                      : "LIG",
                     vex_pp[r->prefix], maps[r->map],
                     r->attr & A_W1   ? "W1"
                     : r->attr & A_W0 ? "W0"
                                      : "WIG");
    else
        n = snprintf(to, size, "%s%s%s", prefixes[r->prefix], r->attr & A_W1 ? "REX.W " : "",
                     escapes[r->map]);
    n += snprintf(to + n, size - (size_t)n, "%02X%s", r->opcode, r->attr & A_PLUS_R ? "+r" : "");
    unsigned v = r->modrm & 0xff;
    static const char *const forms[] = {"", " /r", " /r (register)", " /r (memory)"};
    switch (r->modrm >> 8) {
    case MK_DIGIT: snprintf(to + n, size - (size_t)n, " /%u", v); break;
    case MK_DIGIT_REG: snprintf(to + n, size - (size_t)n, " /%u (register)", v); break;
    case MK_DIGIT_MEM: snprintf(to + n, size - (size_t)n, " /%u (memory)", v); break;
    case MK_EXACT: snprintf(to + n, size - (size_t)n, " %02X", v); break;
    case MK_RANGE: snprintf(to + n, size - (size_t)n, " %02X+i", v); break;
    default: snprintf(to + n, size - (size_t)n, "%s", forms[r->modrm >> 8]); break;
    }
}

static void print_attributes(const struct isa_row *r)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } texts[] = {
        {A_LOCK, "LOCK allowed"},
        {A_D64, "64-bit operands in 64-bit mode"},
        {A_F64, "64-bit operands in 64-bit mode"},
        {A_I64, "not in 64-bit mode"},
        {A_O64, "64-bit mode only"},
        {A_CPL0, "level 0 only"},
        {A_IOPL, "depends on IOPL"},
        {A_BRANCH, "branch"},
        {A_REP, "REP"},
        {A_REPZ, "REPE, REPNE"},
        {A_PM, "protected mode only"},
        {A_ALIGN, "memory must be aligned"},
        {A_HLT, "may stop the CPU"},
        {A_WAITFREE, "does not wait for x87 exceptions"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (r->attr & texts[i].bit)
            printf(", %s", texts[i].text);
}

static void print_row(const struct query *q, const struct isa_row *r)
{
    char code[64], read[12], written[12], undefined[12], operands[64] = "";
    encoding(r, code, sizeof code);
    flag_letters(read, r->flags_read);
    flag_letters(written, r->flags_written);
    flag_letters(undefined, r->flags_undefined);
    for (unsigned i = 0; i < ARRAY_LEN(r->op) && r->op[i]; i++)
        snprintf(operands + strlen(operands), sizeof operands - strlen(operands), "%s%s",
                 i ? ", " : "", operand_names[r->op[i]]);
    printf("%-30s %-12s %-22s %s", code, r->name, operands, isa_feature_info[r->feature].name);
    if (*read)
        printf(", reads %s", read);
    if (*written)
        printf(", writes %s", written);
    if (*undefined)
        printf(", leaves %s undefined", undefined);
    print_attributes(r);
    if (q->covered) {
        const struct covered *c = &q->covered[isa_row_index(r)];
        printf(", ran %llu times", (unsigned long long)c->count);
        for (unsigned i = 0; i < c->tests && i < COVERERS; i++)
            printf("%s%s", i ? ", " : ": ", c->by[i]);
        if (c->tests > COVERERS)
            printf(" and %u more", c->tests - COVERERS);
    }
    printf("\n");
}

/* --- Counts --- */

static bool read_counts(struct query *q, const char *name, const char *path, struct err *e)
{
    FILE *f = fopen(path, "r");
    unsigned rows = 0, row;
    unsigned long long count;
    if (!f)
        return err_set(e, ERR_NOT_FOUND, "%s can't be read", path);
    bool ok = fscanf(f, "rows %u", &rows) == 1 && rows == isa_row_count;
    while (ok && fscanf(f, "%u %llu", &row, &count) == 2) {
        if (row >= isa_row_count)
            break;
        struct covered *c = &q->covered[row];
        c->count += count;
        size_t n = strcspn(name, ".");
        bool known = false;
        for (unsigned i = 0; i < c->tests && i < COVERERS; i++)
            known |= strlen(c->by[i]) == n && !memcmp(c->by[i], name, n);
        if (known)
            continue;
        if (c->tests < COVERERS) {
            c->by[c->tests] = xcalloc(1, n + 1);
            memcpy(c->by[c->tests], name, n);
        }
        c->tests++;
    }
    fclose(f);
    return ok ||
           err_set(e, ERR_FORMAT, "%s is not of this build: its table has %u rows", path, rows);
}

static bool read_folder(struct query *q, struct err *e)
{
    DIR *d = opendir(q->folder);
    if (!d)
        return err_set(e, ERR_NOT_FOUND, "no folder %s: run the tests with %s set to it", q->folder,
                       COVERAGE_ENV);
    q->covered = xcalloc(isa_row_count, sizeof *q->covered);
    bool ok = true;
    for (struct dirent *f; ok && (f = readdir(d));) {
        char path[1200];
        if (!strstr(f->d_name, ".cov"))
            continue;
        snprintf(path, sizeof path, "%s/%s", q->folder, f->d_name);
        ok = read_counts(q, f->d_name, path, e);
    }
    closedir(d);
    return ok;
}

/* --- Searching --- */

/* One of the alternatives of a name, as in "16/32/64". */
static bool name_matches(const char *names, const char *pattern)
{
    char part[40];
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, *p == '@' ? p + 1 : p);
        part[n < sizeof part ? n - (*p == '@') : sizeof part - 1] = 0;
        if (!fnmatch(pattern, part, 0))
            return true;
        p += n + (p[n] == '/');
    }
    return false;
}

static unsigned print_matches(const struct query *q)
{
    unsigned n = 0;
    for (unsigned i = 0; i < isa_row_count; i++) {
        const struct isa_row *r = &isa_rows[i];
        if ((q->what && !name_matches(r->name, q->what)) ||
            (q->feature && strcmp(q->feature, isa_feature_info[r->feature].name) != 0) ||
            (q->never && q->covered[i].count))
            continue;
        print_row(q, r);
        n++;
    }
    return n;
}

/* Hexadecimal bytes, with or without spaces; 0: it is something else. */
static unsigned parse_bytes(const char *s, uint8_t *to, unsigned max)
{
    unsigned n = 0;
    while (*s && n < max) {
        unsigned v;
        if (isspace((unsigned char)*s)) {
            s++;
            continue;
        }
        if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) ||
            sscanf(s, "%2x", &v) != 1)
            return 0;
        to[n++] = (uint8_t)v;
        s += 2;
    }
    return *s ? 0 : n;
}

static int print_bytes(const struct query *q, const uint8_t *b, unsigned n)
{
    unsigned at = 0;
    while (at < n) {
        struct insn in;
        char text[120];
        enum isa_result r = isa_decode(&in, b + at, n - at, q->mode, NULL);
        if (r == ISA_TRUNCATED) {
            printf("more bytes are needed\n");
            return STATUS_BAD;
        }
        isa_format(&in, at, text, sizeof text);
        printf("%d-bit: %s, %u bytes\n", 16 << q->mode, text, in.length);
        if (in.row)
            print_row(q, in.row);
        at += in.length ? in.length : 1;
    }
    return STATUS_OK;
}

static void print_summary(const struct query *q)
{
    unsigned ran = 0;
    unsigned long long executions = 0;
    for (unsigned i = 0; q->covered && i < isa_row_count; i++) {
        ran += q->covered[i].count != 0;
        executions += q->covered[i].count;
    }
    printf("%u rows", isa_row_count);
    if (q->covered)
        printf(", %u of them ran, %llu times; %u never", ran, executions, isa_row_count - ran);
    printf("\n");
}

static int usage(bool asked)
{
    fprintf(asked ? stdout : stderr,
            "usage: ishi isa [--mode 16|32|64] [--feature NAME] [--coverage FOLDER [--never]] "
            "[--all] [MNEMONIC|BYTES]\n");
    return asked ? STATUS_OK : STATUS_BAD;
}

static bool set_mode(struct query *q, const char *s)
{
    q->mode = !strcmp(s, "16") ? ISA_16 : !strcmp(s, "32") ? ISA_32 : ISA_64;
    return !strcmp(s, "16") || !strcmp(s, "32") || !strcmp(s, "64");
}

static bool parse(struct query *q, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        bool more = i + 1 < argc;
        if (!strcmp(a, "--mode") && more) {
            if (!set_mode(q, argv[++i]))
                return false;
        } else if (!strcmp(a, "--feature") && more)
            q->feature = argv[++i];
        else if (!strcmp(a, "--coverage") && more)
            q->folder = argv[++i];
        else if (!strcmp(a, "--never"))
            q->never = true;
        else if (!strcmp(a, "--all"))
            q->all = true;
        else if (*a == '-' || q->what)
            return false;
        else
            q->what = a;
    }
    return !q->never || q->folder;
}

int command_isa(int argc, char **argv)
{
    struct query q = {.mode = ISA_64};
    struct err e;
    uint8_t b[64];
    if (!parse(&q, argc, argv))
        return usage(argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")));
    if (q.folder && !read_folder(&q, &e)) {
        fprintf(stderr, "ishi: %s\n", e.text);
        return STATUS_BAD;
    }
    if (!q.what && !q.feature && !q.never && !q.all) {
        print_summary(&q);
        return STATUS_OK;
    }
    unsigned found = print_matches(&q), n;
    if (!found && q.what && (n = parse_bytes(q.what, b, sizeof b)))
        return print_bytes(&q, b, n);
    if (!found && !q.never) {
        fprintf(stderr, "ishi: no row of the table is %s\n", q.what ? q.what : q.feature);
        return STATUS_BAD;
    }
    if (q.never)
        print_summary(&q);
    return STATUS_OK;
}
