#include "front/compare_snap.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/flags.h"

static const char *const reg_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const seg_names[8] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

/* Words with one name everywhere. */
static const struct {
    const char *name;
    unsigned word;
} names[] = {
    {"rip", SW_RIP},           {"eflags", SW_FLAGS}, {"gdt.base", SW_GDT},
    {"gdt.limit", SW_GDT + 1}, {"idt.base", SW_IDT}, {"idt.limit", SW_IDT + 1},
    {"cr0", SW_CR0},           {"cr2", SW_CR2},      {"cr3", SW_CR3},
    {"cr4", SW_CR4},           {"efer", SW_EFER},    {"k_gs_base", SW_KGS},
    {"dr6", SW_DR6},           {"dr7", SW_DR7},      {"fctrl", SW_FCW},
    {"fstat", SW_FSW},         {"ftw", SW_FTW},      {"mxcsr", SW_MXCSR},
};

static void take_seg(uint64_t *w, const struct seg *s)
{
    w[0] = s->sel;
    w[1] = s->base;
    w[2] = s->limit;
    w[3] = s->attr & SNAP_ATTR;
}

void snap_take(struct snap *snap, const struct cpu *c)
{
    const struct cpu_state *s = &c->s;
    uint64_t *w = snap->w;
    memcpy(w, s->r, 16 * sizeof *w);
    w[SW_RIP] = s->rip;
    w[SW_FLAGS] = flags_get(c);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        take_seg(&w[SW_SEL(i)], &s->seg[i]);
    take_seg(&w[SW_SEL(SNAP_LDTR)], &s->ldtr);
    take_seg(&w[SW_SEL(SNAP_TR)], &s->tr);
    w[SW_GDT] = s->gdtr.base;
    w[SW_GDT + 1] = s->gdtr.limit;
    w[SW_IDT] = s->idtr.base;
    w[SW_IDT + 1] = s->idtr.limit;
    w[SW_CR0] = s->cr0;
    w[SW_CR2] = s->cr2;
    w[SW_CR3] = s->cr3;
    w[SW_CR4] = s->cr4;
    w[SW_EFER] = s->efer;
    w[SW_KGS] = s->kernel_gs_base;
    memcpy(&w[SW_DR], s->dr, sizeof s->dr);
    w[SW_DR6] = s->dr6;
    w[SW_DR7] = s->dr7;
    w[SW_FCW] = s->fcw;
    w[SW_FSW] = s->fsw;
    w[SW_FTW] = s->ftw;
    for (unsigned i = 0; i < 8; i++) {
        w[SW_SIG + i] = s->fp_sig[i];
        w[SW_EXP + i] = s->fp_exp[i];
    }
    w[SW_MXCSR] = s->mxcsr;
    for (unsigned i = 0; i < 16; i++) {
        w[SW_XMM + 2 * i] = s->v[i].q[0];
        w[SW_XMM + 2 * i + 1] = s->v[i].q[1];
    }
}

void snap_name(unsigned word, char *buf, size_t size)
{
    static const char *const part[4] = {"", ".base", ".limit", ".attr"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].word == word) {
            snprintf(buf, size, "%s", names[i].name);
            return;
        }
    }
    if (word < SW_R + 16)
        snprintf(buf, size, "%s", reg_names[word - SW_R]);
    else if (word >= SW_SEG && word < SW_GDT)
        snprintf(buf, size, "%s%s", seg_names[(word - SW_SEG) / 4], part[(word - SW_SEG) % 4]);
    else if (word >= SW_DR && word < SW_DR6)
        snprintf(buf, size, "dr%u", word - SW_DR);
    else if (word >= SW_SIG && word < SW_MXCSR)
        snprintf(buf, size, "fpr%u.%s", (word - SW_SIG) % 8, word < SW_EXP ? "sig" : "exp");
    else
        snprintf(buf, size, "xmm%u.%s", (word - SW_XMM) / 2, (word - SW_XMM) % 2 ? "hi" : "lo");
}

unsigned snap_by_gdb_name(const char *name)
{
    for (unsigned i = 0; i < 16; i++) {
        if (!strcmp(name, reg_names[i]) ||
            (i < 8 && name[0] == 'e' && !strcmp(name + 1, reg_names[i] + 1)))
            return SW_R + i;
    }
    for (unsigned i = 0; i < 6; i++) {
        if (!strcmp(name, seg_names[i]))
            return SW_SEL(i);
    }
    for (unsigned i = 0; i < 8; i++) { /* the hidden parts, in ishi's own stub */
        size_t k = strlen(seg_names[i]);
        if (strncmp(name, seg_names[i], k) || name[k] != '_')
            continue;
        const char *part = name + k + 1;
        return !strcmp(part, "base")    ? SW_BASE(i)
               : !strcmp(part, "limit") ? SW_LIMIT(i)
               : !strcmp(part, "attr")  ? SW_ATTR(i)
                                        : ~0u;
    }
    if (!strcmp(name, "eip"))
        return SW_RIP;
    if (!strncmp(name, "xmm", 3))
        return SW_XMM + 2 * (unsigned)atoi(name + 3);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!strcmp(names[i].name, name))
            return names[i].word;
    }
    return ~0u;
}

static void know(struct partial *p, unsigned word, uint64_t v, uint64_t mask)
{
    p->s.w[word] = v & mask;
    p->known[word] = mask;
}

void snap_from_gdb(struct partial *p, const struct gdb_client *g, const uint8_t *regs, size_t n)
{
    memset(p->known, 0, sizeof p->known);
    for (unsigned i = 0; i < g->reg_count; i++) {
        const struct gdb_reg *r = &g->reg[i];
        unsigned word = snap_by_gdb_name(r->name);
        uint64_t v = 0;
        if (word == ~0u || r->offset + r->size > n || p->known[word]) /* eax beside rax */
            continue;
        memcpy(&v, regs + r->offset, min_u64(r->size, 8));
        know(p, word, v, r->size >= 8 ? ~0ull : BIT(8 * r->size) - 1);
        if (r->size == 16)
            know(p, word + 1, get_le64(regs + r->offset + 8), ~0ull);
    }
    /* A stub of a 64-bit machine tells nothing of what 32-bit code doesn't see. */
    if (!(p->s.w[SW_EFER] & EFER_LMA)) {
        for (unsigned i = SW_R; i <= SW_RIP; i++)
            p->known[i] = i < SW_R + 8 || i == SW_RIP ? 0xffffffff : 0;
    }
}

/* --- QEMU's log ------------------------------------------------------------------------------- */

static int nibble(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* A hexadecimal number; *digits of it. Moves *s behind it and the spaces after it. */
static uint64_t hex(const char **s, unsigned *digits)
{
    uint64_t v = 0;
    unsigned n = 0;
    while (nibble(**s) >= 0) {
        v = v << 4 | (unsigned)nibble(*(*s)++);
        n++;
    }
    while (**s == ' ')
        (*s)++;
    *digits = n;
    return v;
}

static void know_digits(struct partial *p, unsigned word, uint64_t v, unsigned digits)
{
    know(p, word, v, digits >= 16 ? ~0ull : BIT(4 * digits) - 1);
}

static void log_seg(struct partial *p, unsigned s, const char *at)
{
    unsigned d;
    while (*at == ' ')
        at++;
    know(p, SW_SEL(s), hex(&at, &d), 0xffff);
    uint64_t base = hex(&at, &d);
    know(p, SW_BASE(s), base, ~0ull);
    know(p, SW_LIMIT(s), hex(&at, &d), 0xffffffff);
    know(p, SW_ATTR(s), hex(&at, &d) >> 8 & SNAP_ATTR, SNAP_ATTR);
}

static void log_table(struct partial *p, unsigned word, const char *at)
{
    unsigned d;
    while (*at == ' ')
        at++;
    know(p, word, hex(&at, &d), ~0ull);
    know(p, word + 1, hex(&at, &d), 0xffff);
}

/* The word of "NAME=" in a log, ~0 for none. */
static unsigned log_name(const char *s, size_t n)
{
    char name[8];
    if (n >= sizeof name)
        return ~0u;
    for (size_t i = 0; i < n; i++)
        name[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 32 : s[i]);
    name[n] = 0;
    if (!strcmp(name, "efl") || !strcmp(name, "rfl"))
        return SW_FLAGS;
    if (!strcmp(name, "fcw"))
        return SW_FCW;
    if (!strcmp(name, "fsw"))
        return SW_FSW;
    if (n == 3 && !strncmp(name, "dr", 2) && name[2] < '4')
        return SW_DR + (unsigned)(name[2] - '0');
    unsigned word = snap_by_gdb_name(name);
    return word >= SW_XMM || (word >= SW_SEG && word < SW_GDT) ? ~0u : word;
}

bool snap_log_begins(const char *line)
{
    return !strncmp(line, "EAX=", 4) || !strncmp(line, "RAX=", 4);
}

void snap_from_log(struct partial *p, const char *line)
{
    static const char segs[8][4] = {"ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "};
    unsigned d;
    for (unsigned i = 0; i < 8; i++) {
        if (!strncmp(line, segs[i], 3) && line[3] == '=') {
            log_seg(p, i, line + 4);
            return;
        }
    }
    if (!strncmp(line, "GDT=", 4) || !strncmp(line, "IDT=", 4)) {
        log_table(p, line[0] == 'G' ? SW_GDT : SW_IDT, line + 4);
        return;
    }
    while (*line) {
        while (*line == ' ')
            line++;
        const char *name = line;
        while (*line && *line != '=' && *line != ' ')
            line++;
        size_t n = (size_t)(line - name);
        if (line[0] == ' ' && line[1] == '=') /* "R8 =" */
            line++;
        if (*line != '=')
            continue;
        line++;
        if (n == 4 && !strncmp(name, "FPR", 3)) {
            unsigned i = (unsigned)(name[3] - '0') & 7;
            know(p, SW_SIG + i, hex(&line, &d), ~0ull);
            know(p, SW_EXP + i, hex(&line, &d), 0xffff);
        } else if (n == 5 && (!strncmp(name, "XMM", 3) || !strncmp(name, "YMM", 3))) {
            unsigned i = SW_XMM + 2 * ((unsigned)atoi(name + 3) & 15);
            if (name[0] == 'Y') {
                hex(&line, &d);
                hex(&line, &d);
            }
            know(p, i + 1, hex(&line, &d), ~0ull);
            know(p, i, hex(&line, &d), ~0ull);
        } else {
            unsigned word = log_name(name, n);
            uint64_t v = hex(&line, &d);
            if (word != ~0u && d)
                know_digits(p, word, v, d);
            while (*line && *line != ' ')
                line++;
        }
    }
}
