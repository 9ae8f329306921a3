#include "front/inspect.h"

#include <stdarg.h>
#include <stdio.h>

#include "cpu/explain.h"
#include "cpu/flags.h"
#include "cpu/mem.h"
#include "machine/pc.h"

/* Text that grows; what doesn't fit is cut with a line that says so. */
struct text {
    char *p;
    size_t n, size;
};

static void add(struct text *t, const char *fmt, ...) PRINTF(2, 3);

static void add(struct text *t, const char *fmt, ...)
{
    static const char cut[] = "…\n";
    if (t->n + 1 >= t->size)
        return;
    va_list ap;
    va_start(ap, fmt);
    int k = vsnprintf(t->p + t->n, t->size - t->n, fmt, ap);
    va_end(ap);
    t->n += (size_t)k;
    if (t->n >= t->size) {
        memcpy(t->p + t->size - sizeof cut, cut, sizeof cut);
        t->n = t->size - 1;
    }
}

static const char *const reg64[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs"};

bool inspect_register(struct cpu *c, const char *name, uint64_t *v)
{
    static const struct {
        const char *name;
        size_t offset;
    } others[] = {{"rip", offsetof(struct cpu_state, rip)},
                  {"cr0", offsetof(struct cpu_state, cr0)},
                  {"cr2", offsetof(struct cpu_state, cr2)},
                  {"cr3", offsetof(struct cpu_state, cr3)},
                  {"cr4", offsetof(struct cpu_state, cr4)},
                  {"gdtr", offsetof(struct cpu_state, gdtr.base)},
                  {"idtr", offsetof(struct cpu_state, idtr.base)},
                  {"tr", offsetof(struct cpu_state, tr.base)},
                  {"ldtr", offsetof(struct cpu_state, ldtr.base)}};
    char full[8];
    snprintf(full, sizeof full, "%s%s", name[0] == 'e' && name[1] && !name[3] ? "r" : "",
             name[0] == 'e' && name[1] && !name[3] ? name + 1 : name);
    for (unsigned i = 0; i < 16; i++) {
        if (!strcmp(full, reg64[i])) {
            *v = c->s.r[i];
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (!strcmp(full, others[i].name)) {
            memcpy(v, (char *)&c->s + others[i].offset, 8);
            return true;
        }
    }
    return false;
}

static void flags_text(uint64_t f, char *buf)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{F_O, "OF"},   {F_D, "DF"},   {F_I, "IF"},   {F_T, "TF"},     {F_S, "SF"},
                 {F_Z, "ZF"},   {F_A, "AF"},   {F_P, "PF"},   {F_C, "CF"},     {EF_NT, "NT"},
                 {EF_RF, "RF"}, {EF_VM, "VM"}, {EF_AC, "AC"}, {EF_VIF, "VIF"}, {EF_ID, "ID"}};
    *buf = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (f & names[i].bit)
            strcat(strcat(buf, " "), names[i].name);
    }
}

static const char *mode_name(const struct cpu *c)
{
    if (cpu_real(c))
        return "real mode";
    if (cpu_vm86(c))
        return "virtual-8086 mode";
    if (cpu_64(c))
        return "64-bit mode";
    if (cpu_long(c))
        return "compatibility mode";
    return (c->key & KEY_CODE) == ISA_32 ? "protected mode, 32 bits" : "protected mode, 16 bits";
}

static void show_segment(struct text *t, const char *name, const struct seg *s)
{
    add(t, "%-4s %04x base %016llx limit %08x attr %04x%s\n", name, s->sel,
        (unsigned long long)s->base, s->limit, s->attr, s->attr & SEG_P ? "" : " unusable");
}

static void show_registers(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    static const char *const activity[] = {"running", "halted", "waits for a start-up IPI",
                                           "shut down"};
    struct text t = {buf, 0, size};
    char text[200];
    uint64_t f = flags_get(c);
    add(&t, "CPU %u, %s, CPL %u, %s, %llu instructions\n", c->index, mode_name(c), c->cpl,
        activity[c->s.activity & 3], (unsigned long long)c->s.icount);
    for (unsigned i = 0; i < 16; i++)
        add(&t, "%-3s %016llx%s", reg64[i], (unsigned long long)c->s.r[i],
            i % 4 == 3 ? "\n" : "  ");
    flags_text(f, text);
    add(&t, "rip %016llx  flags %08llx%s  IOPL %u\n", (unsigned long long)c->s.rip,
        (unsigned long long)f, text, (unsigned)(f >> 12 & 3));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        show_segment(&t, seg_names[i], &c->s.seg[i]);
    show_segment(&t, "ldtr", &c->s.ldtr);
    show_segment(&t, "tr", &c->s.tr);
    add(&t, "gdtr base %016llx limit %04x   idtr base %016llx limit %04x\n",
        (unsigned long long)c->s.gdtr.base, c->s.gdtr.limit, (unsigned long long)c->s.idtr.base,
        c->s.idtr.limit);
    add(&t, "cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx\n",
        (unsigned long long)c->s.cr0, (unsigned long long)c->s.cr2, (unsigned long long)c->s.cr3,
        (unsigned long long)c->s.cr4, (unsigned long long)c->s.efer);
    add(&t, "dr6 %08llx dr7 %08llx dr0-3 %llx %llx %llx %llx\n", (unsigned long long)c->s.dr6,
        (unsigned long long)c->s.dr7, (unsigned long long)c->s.dr[0],
        (unsigned long long)c->s.dr[1], (unsigned long long)c->s.dr[2],
        (unsigned long long)c->s.dr[3]);
    explain_insn(c, c->s.rip, text, sizeof text);
    add(&t, "next: %s\n", text);
}

static void show_fpu(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    struct text t = {buf, 0, size};
    unsigned top = c->s.fsw >> 11 & 7;
    add(&t, "fcw %04x fsw %04x (top %u) mxcsr %08x\n", c->s.fcw, c->s.fsw, top, c->s.mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        unsigned r = (top + i) & 7;
        add(&t, "st%u %04x %016llx%s\n", i, c->s.fp_exp[r], (unsigned long long)c->s.fp_sig[r],
            c->s.ftw >> r & 1 ? "" : " empty");
    }
    for (unsigned i = 0; i < 16; i++)
        add(&t, "ymm%-2u %016llx %016llx %016llx %016llx\n", i, (unsigned long long)c->s.v[i].q[3],
            (unsigned long long)c->s.v[i].q[2], (unsigned long long)c->s.v[i].q[1],
            (unsigned long long)c->s.v[i].q[0]);
}

/* A descriptor in words: what a table's reader wants to know of its 8 (long mode system: 16) bytes.
 */
static void describe(struct text *t, const struct cpu *c, const uint8_t *d, bool *wide)
{
    uint64_t v = get_le64(d);
    unsigned type = v >> 40 & 15, s = v >> 44 & 1, dpl = v >> 45 & 3, present = v >> 47 & 1;
    uint64_t base = (v >> 16 & 0xffffff) | (v >> 56 & 0xff) << 24;
    uint32_t limit = (uint32_t)((v & 0xffff) | (v >> 32 & 0xf0000));
    *wide = !s && cpu_long(c) && v;
    if (v >> 55 & 1)
        limit = limit << 12 | 0xfff;
    if (!s && (type & 4) && type != 5 + 8 && type != 13) { /* gates */
        uint64_t off = (v & 0xffff) | (v >> 32 & 0xffff0000);
        if (type < 8)
            off &= 0xffff;
        if (*wide)
            off |= (uint64_t)get_le32(d + 8) << 32;
        add(t, "%s to %04x:%llx DPL %u%s%s", explain_system_type(type, *wide),
            (unsigned)(v >> 16 & 0xffff), (unsigned long long)off, dpl,
            present ? "" : " not present", *wide && (v >> 32 & 7) ? " IST" : "");
        return;
    }
    if (*wide)
        base |= (uint64_t)get_le32(d + 8) << 32;
    add(t, "base %llx limit %x DPL %u %s%s", (unsigned long long)base, limit, dpl,
        s ? (type & 8 ? (type & 2 ? "code, readable" : "code")
                      : (type & 2 ? "data, writable" : "data"))
          : explain_system_type(type, *wide),
        present ? "" : ", not present");
    if (s)
        add(t, "%s%s%s", type & 4 ? (type & 8 ? ", conforming" : ", expand-down") : "",
            v >> 53 & 1   ? ", 64-bit"
            : v >> 54 & 1 ? ", 32-bit"
                          : ", 16-bit",
            type & 1 ? ", accessed" : "");
}

static void show_table(struct cpu *c, char *buf, size_t size, uint64_t base, uint32_t limit,
                       unsigned step, bool idt)
{
    struct text t = {buf, 0, size};
    add(&t, "base %016llx limit %04x\n", (unsigned long long)base, limit);
    for (uint32_t at = 0; at + 7 <= limit; at += step) {
        uint8_t d[16] = {0};
        bool wide;
        if (mmu_peek(c, base + at, d, step) < step) {
            add(&t, "%04x  not mapped\n", at);
            break;
        }
        if (step < sizeof d) /* a system descriptor's upper half, in long mode */
            mmu_peek(c, base + at + step, d + step, sizeof d - step);
        if (!get_le64(d))
            continue;
        if (idt)
            add(&t, "%02x  ", at / step);
        else
            add(&t, "%04x  ", at);
        describe(&t, c, d, &wide);
        add(&t, "\n");
        if (wide && !idt)
            at += step;
    }
}

static void show_gdt(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    show_table(c, buf, size, c->s.gdtr.base, c->s.gdtr.limit, 8, false);
}

static void show_idt(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    if (!cpu_real(c)) {
        show_table(c, buf, size, c->s.idtr.base, c->s.idtr.limit, cpu_long(c) ? 16 : 8, true);
        return;
    }
    struct text t = {buf, 0, size};
    for (unsigned i = 0; i < 256 && 4 * i + 3 <= c->s.idtr.limit; i++) {
        uint8_t v[4];
        if (mmu_peek(c, c->s.idtr.base + 4 * i, v, 4) == 4)
            add(&t, "%02x %04x:%04x%s", i, get_le16(v + 2), get_le16(v), i % 6 == 5 ? "\n" : "   ");
    }
    add(&t, "\n");
}

static void show_tss(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    struct text t = {buf, 0, size};
    uint8_t d[104];
    show_segment(&t, "tr", &c->s.tr);
    if (!(c->s.tr.attr & SEG_P) || mmu_peek(c, c->s.tr.base, d, sizeof d) < sizeof d) {
        add(&t, "no task state segment in memory\n");
        return;
    }
    if (cpu_long(c)) {
        for (unsigned i = 0; i < 3; i++)
            add(&t, "rsp%u %016llx\n", i, (unsigned long long)get_le64(d + 4 + 8 * i));
        for (unsigned i = 1; i < 8; i++)
            add(&t, "ist%u %016llx\n", i, (unsigned long long)get_le64(d + 0x1c + 8 * i));
    } else if (SEG_TYPE(&c->s.tr) & 8) {
        for (unsigned i = 0; i < 3; i++)
            add(&t, "ss%u:esp%u %04x:%08x\n", i, i, get_le16(d + 8 + 8 * i),
                get_le32(d + 4 + 8 * i));
        add(&t, "link %04x cr3 %08x eip %08x eflags %08x ldt %04x\n", get_le16(d), get_le32(d + 28),
            get_le32(d + 32), get_le32(d + 36), get_le16(d + 96));
    } else {
        for (unsigned i = 0; i < 3; i++)
            add(&t, "ss%u:sp%u %04x:%04x\n", i, i, get_le16(d + 4 + 4 * i),
                get_le16(d + 2 + 4 * i));
    }
    if (cpu_long(c) || (SEG_TYPE(&c->s.tr) & 8))
        add(&t, "I/O permission bitmap at %04x\n", get_le16(d + 102));
}

/* Runs of pages with the same rights, as one line each. */
struct run {
    uint64_t la, pa, length;
    unsigned rights;
};

#define RIGHT_W  1u
#define RIGHT_U  2u
#define RIGHT_NX 4u
#define RIGHT_G  8u

static void flush_run(struct text *t, struct run *r)
{
    if (r->length)
        add(t, "%016llx to %016llx  at %012llx  %s%s%s%s\n", (unsigned long long)r->la,
            (unsigned long long)(r->la + r->length - 1), (unsigned long long)r->pa,
            r->rights & RIGHT_U ? "user " : "kernel ", r->rights & RIGHT_W ? "rw" : "r",
            r->rights & RIGHT_NX ? "" : "x", r->rights & RIGHT_G ? " global" : "");
    r->length = 0;
}

static void map_page(struct text *t, struct run *r, uint64_t la, uint64_t pa, uint64_t length,
                     unsigned rights)
{
    if (r->length && r->la + r->length == la && r->pa + r->length == pa && r->rights == rights) {
        r->length += length;
        return;
    }
    flush_run(t, r);
    *r = (struct run){la, pa, length, rights};
}

static void walk(struct text *t, struct run *r, struct machine *m, struct cpu *c, uint64_t table,
                 unsigned level, uint64_t la, unsigned rights)
{
    bool pae = c->s.cr4 & CR4_PAE;
    unsigned bits = pae ? 9 : 10, entries = level == 3 && pae && !cpu_long(c) ? 4 : 1u << bits;
    unsigned shift = 12 + bits * (level - 1), size = pae ? 8 : 4;
    for (unsigned i = 0; i < entries && t->n + 200 < t->size; i++) {
        uint64_t e = 0;
        uint64_t at = la | (uint64_t)i << shift;
        if (!bus_dma_read(machine_bus(m), table + i * size, &e, size) || !(e & 1))
            continue;
        bool top_pae = level == 3 && pae && !cpu_long(c);
        unsigned now = top_pae ? rights : rights & ((e & 2 ? RIGHT_W : 0) | (e & 4 ? RIGHT_U : 0));
        unsigned nx = (rights & RIGHT_NX) | (pae && e >> 63 ? RIGHT_NX : 0);
        if (level == 4 && at >> 47 & 1)
            at |= 0xffff000000000000ull;
        uint64_t frame = e & (pae ? 0x000ffffffffff000ull : 0xfffff000ull);
        bool large = level > 1 && (e & 0x80) && !top_pae && (pae || (c->s.cr4 & CR4_PSE));
        if (level > 1 && !large) {
            walk(t, r, m, c, frame, level - 1, at, now | nx);
            continue;
        }
        map_page(t, r, at, frame & ~(BIT(shift) - 1), BIT(shift),
                 now | nx | (e & 0x100 ? RIGHT_G : 0));
    }
}

static void show_pagetable(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    struct text t = {buf, 0, size};
    struct run r = {0};
    if (!(c->s.cr0 & CR0_PG)) {
        add(&t, "paging is off: linear addresses are physical\n");
        return;
    }
    unsigned levels = cpu_long(c) ? 4 : c->s.cr4 & CR4_PAE ? 3 : 2;
    uint64_t root = c->s.cr3 & (levels == 3 ? 0xffffffe0ull : 0x000ffffffffff000ull);
    add(&t, "cr3 %llx, %u levels\n", (unsigned long long)c->s.cr3, levels);
    walk(&t, &r, m, c, root, levels, 0, RIGHT_W | RIGHT_U);
    flush_run(&t, &r);
}

static void show_lapic(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    struct text t = {buf, 0, size};
    if (!c->apic.mmio_read || !(c->apic.base(c->apic.apic) & BIT(11))) {
        add(&t, "CPU %u: the local APIC is off\n", c->index);
        return;
    }
    void *a = c->apic.apic;
    add(&t, "CPU %u base %llx\n", c->index, (unsigned long long)c->apic.base(a));
    pc_show_lapic(machine_pc(m), c->index, t.p + t.n, t.size - t.n);
}

static void show_pci(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    pc_show_pci(machine_pc(m), buf, size);
}

static void show_irq(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    pc_show_irq(machine_pc(m), buf, size);
}

static void show_engine(struct machine *m, struct cpu *c, char *buf, size_t size)
{
    const struct engine *x = machine_engine(m);
    int n = snprintf(buf, size, "%s\n", x->text);
    if (x->show && n > 0 && (size_t)n < size)
        x->show(c, buf + n, size - (size_t)n);
}

const struct inspect_topic inspect_topics[] = {
    {"registers", show_registers},
    {"fpu", show_fpu},
    {"gdt", show_gdt},
    {"idt", show_idt},
    {"tss", show_tss},
    {"pagetable", show_pagetable},
    {"lapic", show_lapic},
    {"pci", show_pci},
    {"irq", show_irq},
    {"engine", show_engine},
    {"kvm", show_engine},
    {NULL, NULL},
};
