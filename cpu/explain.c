#include "cpu/explain.h"

#include <stdarg.h>
#include <stdio.h>

#include "cpu/flags.h"
#include "cpu/mem.h"
#include "cpu/seg.h"

struct out {
    char *buf;
    size_t size, at;
};

static void say(struct out *o, const char *fmt, ...) PRINTF(2, 3);

static void say(struct out *o, const char *fmt, ...)
{
    va_list ap;
    if (o->at + 1 >= o->size)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(o->buf + o->at, o->size - o->at, fmt, ap);
    va_end(ap);
    o->at = n < 0 ? o->at : (size_t)min_u64(o->at + (size_t)n, o->size - 1);
}

static struct out start(char *buf, size_t size)
{
    if (size)
        *buf = 0;
    return (struct out){.buf = buf, .size = size};
}

const char *explain_vector(unsigned vector)
{
    static const char *const names[] = {
        "#DE divide error",
        "#DB debug",
        "NMI",
        "#BP breakpoint",
        "#OF overflow",
        "#BR bound range",
        "#UD undefined instruction",
        "#NM no coprocessor",
        "#DF double fault",
        "coprocessor segment overrun",
        "#TS invalid TSS",
        "#NP segment not present",
        "#SS stack fault",
        "#GP general protection",
        "#PF page fault",
        "vector 15",
        "#MF x87 error",
        "#AC alignment check",
        "#MC machine check",
        "#XM SIMD error",
    };
    if (vector < ARRAY_LEN(names))
        return names[vector];
    return vector < 32 ? "a reserved vector" : "an interrupt";
}

/* A fault's static text has two numbers at most; both are given whether it uses them or not. */
static void say_why(struct out *o, const struct fault *f)
{
    char text[200];
    if (!f->why)
        return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(text, sizeof text, f->why, (unsigned long long)f->a, (unsigned long long)f->b);
#pragma GCC diagnostic pop
    say(o, ": %s", text);
}

static const char *table_of(uint32_t error)
{
    return error & 2 ? "IDT" : error & 4 ? "LDT" : "GDT";
}

static void say_error(struct cpu *c, struct out *o, const struct fault *f)
{
    uint32_t e = f->error;
    if (!f->has_error || cpu_real(c)) /* real mode pushes none */
        return;
    if (f->vector == EXC_PF) {
        const char *what = e & 16 ? "fetching from" : e & 2 ? "writing to" : "reading from";
        say(o, ", %s 0x%llx %s", what, (unsigned long long)f->addr,
            e & 4 ? "as user" : "as supervisor");
    } else if (e && f->vector != EXC_DF) {
        if (e & 2)
            say(o, ", IDT entry 0x%x", e >> 3);
        else
            say(o, ", selector 0x%x (%s entry %u)", e & 0xfffc, table_of(e), e >> 3);
    }
    say(o, ", error code 0x%x", e);
}

static void say_fault(struct cpu *c, struct out *o, const struct fault *f)
{
    say(o, "%s", explain_vector(f->vector));
    say_error(c, o, f);
    say_why(o, f);
}

size_t explain_fault(struct cpu *c, const struct fault *f, char *buf, size_t size)
{
    struct out o = start(buf, size);
    say_fault(c, &o, f);
    return o.at;
}

const char *explain_system_type(unsigned type, bool wide)
{
    static const char *const names[] = {
        "reserved",
        "16-bit TSS",
        "LDT",
        "busy 16-bit TSS",
        "16-bit call gate",
        "task gate",
        "16-bit interrupt gate",
        "16-bit trap gate",
        "reserved",
        "32-bit TSS",
        "reserved",
        "busy 32-bit TSS",
        "32-bit call gate",
        "reserved",
        "32-bit interrupt gate",
        "32-bit trap gate",
    };
    static const char *const names64[] = {
        [SYS_LDT] = "LDT",
        [SYS_TSS32] = "64-bit TSS",
        [SYS_TSS32_BUSY] = "busy 64-bit TSS",
        [SYS_CALL32] = "64-bit call gate",
        [SYS_INT32] = "64-bit interrupt gate",
        [SYS_TRAP32] = "64-bit trap gate",
    };
    if (!wide)
        return names[type];
    return names64[type] ? names64[type] : "reserved";
}

/* The IDT entry that a vector goes through, as it stands in memory. */
static void say_gate(struct cpu *c, struct out *o, unsigned vector)
{
    unsigned size = cpu_real(c) ? 4 : cpu_long(c) ? 16 : 8;
    uint64_t at = c->s.idtr.base + (uint64_t)vector * size, v[2] = {0};
    say(o, "     gate %u at 0x%llx ", vector, (unsigned long long)at);
    if ((vector + 1) * size - 1 > c->s.idtr.limit) {
        say(o, "is beyond the IDT's limit 0x%x\n", c->s.idtr.limit);
        return;
    }
    if (mmu_peek(c, at, v, size) != size) {
        say(o, "can't be read: its page is not mapped to memory\n");
        return;
    }
    if (size == 4) {
        say(o, "leads to %04x:%04x\n", (unsigned)(v[0] >> 16 & 0xffff), (unsigned)(v[0] & 0xffff));
        return;
    }
    if (v[0] >> 44 & 1) {
        say(o, "is %016llx: not a gate%s\n", (unsigned long long)v[0],
            c->s.idtr.base == 0 && c->s.idtr.limit == 0x3ff
                ? " (IDTR still points to the interrupt table of real mode)"
                : "");
        return;
    }
    uint64_t offset = (v[0] & 0xffff) | (v[0] >> 32 & 0xffff0000) | v[1] << 32;
    unsigned type = v[0] >> 40 & 0xf;
    say(o, "is %016llx: %s%s to %04x:%llx, DPL %u", (unsigned long long)v[0],
        v[0] >> 47 & 1 ? "" : "not present, ", explain_system_type(type, size == 16),
        (unsigned)(v[0] >> 16 & 0xffff), (unsigned long long)offset, (unsigned)(v[0] >> 45 & 3));
    if (size == 16 && (v[0] >> 32 & 7))
        say(o, ", IST %u", (unsigned)(v[0] >> 32 & 7));
    say(o, "\n");
}

/* A selector's descriptor, as it stands in memory. */
static void say_descriptor(struct cpu *c, struct out *o, uint16_t sel)
{
    const struct seg *ldt = &c->s.ldtr;
    bool local = sel & 4;
    uint64_t base = local ? ldt->base : c->s.gdtr.base;
    uint32_t limit = local ? ldt->limit : c->s.gdtr.limit;
    struct desc d = {.la = base + (sel & 0xfff8)};
    const char *table = local ? "LDT" : "GDT";
    if ((sel | 7u) > limit) {
        say(o, "     the %s has entries up to 0x%x\n", table, limit >> 3);
        return;
    }
    if (mmu_peek(c, d.la, &d.lo, 8) != 8) {
        say(o, "     the %s's entry at 0x%llx can't be read\n", table, (unsigned long long)d.la);
        return;
    }
    struct seg s = desc_seg(&d, sel);
    say(o, "     %s entry %u is %016llx: ", table, sel >> 3, (unsigned long long)d.lo);
    if (!desc_is_segment(&d))
        say(o, "%s", explain_system_type(desc_type(&d), cpu_long(c)));
    else if (desc_is_code(&d))
        say(o, "%s%s code", desc_type(&d) & SEG_CONFORM ? "conforming " : "",
            s.attr & SEG_L    ? "64-bit"
            : s.attr & SEG_DB ? "32-bit"
                              : "16-bit");
    else
        say(o, "%s data", desc_type(&d) & SEG_RW ? "writable" : "read-only");
    say(o, ", base 0x%llx, limit 0x%x, DPL %u%s\n", (unsigned long long)s.base, s.limit,
        desc_dpl(&d), desc_present(&d) ? "" : ", not present");
}

static bool names_selector(const struct fault *f)
{
    return f->has_error && f->vector >= EXC_TS && f->vector <= EXC_GP && !(f->error & 2) &&
           f->error >> 2;
}

size_t explain_faults(struct cpu *c, char *buf, size_t size)
{
    struct out o = start(buf, size);
    unsigned going = EXC_NONE; /* the vector that was being delivered */
    for (unsigned i = 0; i < c->chain_count; i++) {
        const struct fault *f = &c->chain[i];
        bool made = f->vector == EXC_DF; /* stands for the two before it */
        if (i == 0)
            say(&o, "cpu%u: at %04x:%llx, level %u: ", c->index, c->s.seg[SEG_CS].sel,
                (unsigned long long)f->rip, c->cpl);
        else if (made)
            say(&o, "  %u. both together are ", i + 1);
        else
            say(&o, "  %u. delivering %s raised ", i + 1, explain_vector(going));
        say_fault(c, &o, f);
        say(&o, "\n");
        if (i && !made && going != EXC_NONE)
            say_gate(c, &o, going);
        if (names_selector(f))
            say_descriptor(c, &o, (uint16_t)f->error);
        going = f->vector;
    }
    if (c->s.activity == ACT_SHUTDOWN)
        say(&o, "cpu%u: a fault while delivering a double fault: the processor shut down\n",
            c->index);
    return o.at;
}

static void say_flags(struct out *o, uint64_t flags)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
        {EF_ID, "ID"}, {EF_VIP, "VIP"}, {EF_VIF, "VIF"}, {EF_AC, "AC"},
        {EF_VM, "VM"}, {EF_RF, "RF"},   {EF_NT, "NT"},   {F_O, "OF"},
        {EF_DF, "DF"}, {EF_IF, "IF"},   {EF_TF, "TF"},   {F_S, "SF"},
        {F_Z, "ZF"},   {F_A, "AF"},     {F_P, "PF"},     {F_C, "CF"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (flags & names[i].bit)
            say(o, " %s", names[i].name);
    say(o, " IOPL=%u\n", (unsigned)(flags >> 12 & 3));
}

static void say_seg(struct out *o, const char *name, const struct seg *s)
{
    say(o, "%s %04x base %016llx limit %08x attr %04x\n", name, s->sel, (unsigned long long)s->base,
        s->limit, s->attr);
}

size_t explain_registers(struct cpu *c, char *buf, size_t size)
{
    static const char *const r64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const segs[] = {"es ", "cs ", "ss ", "ds ", "fs ", "gs "};
    struct out o = start(buf, size);
    const struct cpu_state *s = &c->s;
    bool wide = cpu_long(c);
    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        if (wide)
            say(&o, "%s %016llx%s", r64[i], (unsigned long long)s->r[i], i % 4 == 3 ? "\n" : "  ");
        else
            say(&o, "e%s %08x%s", r64[i] + 1, (uint32_t)s->r[i], i % 4 == 3 ? "\n" : "  ");
    }
    say(&o, "%s %0*llx  flags %08x:", wide ? "rip" : "eip", wide ? 16 : 8,
        (unsigned long long)s->rip, (uint32_t)flags_get(c));
    say_flags(&o, flags_get(c));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        say_seg(&o, segs[i], &s->seg[i]);
    say_seg(&o, "ldt", &s->ldtr);
    say_seg(&o, "tr ", &s->tr);
    say(&o, "gdt %016llx limit %04x  idt %016llx limit %04x\n", (unsigned long long)s->gdtr.base,
        s->gdtr.limit, (unsigned long long)s->idtr.base, s->idtr.limit);
    say(&o, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx\n",
        (unsigned long long)s->cr0, (unsigned long long)s->cr2, (unsigned long long)s->cr3,
        (unsigned long long)s->cr4, (unsigned long long)s->efer);
    say(&o, "dr0 %llx  dr1 %llx  dr2 %llx  dr3 %llx  dr6 %08llx  dr7 %08llx\n",
        (unsigned long long)s->dr[0], (unsigned long long)s->dr[1], (unsigned long long)s->dr[2],
        (unsigned long long)s->dr[3], (unsigned long long)s->dr6, (unsigned long long)s->dr7);
    say(&o, "level %u, %llu instructions executed\n", c->cpl, (unsigned long long)s->icount);
    return o.at;
}

static uint64_t here(const struct cpu *c)
{
    uint64_t la = c->s.seg[SEG_CS].base + c->s.rip;
    return cpu_64(c) ? c->s.rip : (uint32_t)la;
}

/* Up to `count` instructions from linear address la, until `stop` or behind a branch. Returns where
 * it stopped. */
static uint64_t say_instructions(struct cpu *c, struct out *o, uint64_t la, uint64_t stop,
                                 unsigned count)
{
    enum isa_mode mode = (enum isa_mode)(c->key & KEY_CODE);
    uint64_t base = mode == ISA_64 ? 0 : c->s.seg[SEG_CS].base;
    for (unsigned i = 0; i < count && la != stop; i++) {
        uint8_t bytes[ISA_MAX_LEN];
        char text[96];
        struct insn in;
        size_t n = mmu_peek(c, la, bytes, sizeof bytes);
        say(o, "%s%llx  ", la == here(c) ? "> " : "  ", (unsigned long long)la);
        if (!n || isa_decode(&in, bytes, n, mode, &c->features) != ISA_OK) {
            say(o, "%s\n", n ? "(no instruction)" : "(not mapped to memory)");
            return ~0ull;
        }
        isa_format(&in, la - base, text, sizeof text);
        say(o, "%s\n", text);
        la += in.length;
        if (in.row->attr & A_BRANCH)
            break;
    }
    return la;
}

unsigned explain_insn(struct cpu *c, uint64_t at, char *buf, size_t size)
{
    uint8_t bytes[ISA_MAX_LEN];
    char hex[3 * 8 + 4] = "", text[120];
    struct insn in;
    uint64_t la = cpu_64(c) ? at : (uint32_t)(c->s.seg[SEG_CS].base + at);
    size_t n = mmu_peek(c, la, bytes, sizeof bytes);
    if (!n) {
        snprintf(buf, size, "%08llx  no memory is mapped here", (unsigned long long)at);
        return 0;
    }
    enum isa_result r = isa_decode(&in, bytes, n, c->key & KEY_CODE, NULL);
    unsigned length = r == ISA_OK ? in.length : 1;
    for (unsigned i = 0; i < length && i < 8; i++)
        snprintf(hex + 3 * i, sizeof hex - 3 * i, "%02x ", bytes[i]);
    if (r == ISA_OK)
        isa_format(&in, at, text, sizeof text);
    else
        snprintf(text, sizeof text, "(undefined)");
    snprintf(buf, size, "%08llx  %-24s %s", (unsigned long long)at, hex, text);
    return r == ISA_OK ? length : 0;
}

#define BLOCKS_TOLD 6

/* Blocks are given by the linear address of their first byte; the code is read as it is now, in the
 * present mode. One that runs on into the next is told in one piece. */
size_t explain_code(struct cpu *c, char *buf, size_t size)
{
    struct out o = start(buf, size);
    uint64_t begin[BLOCKS_TOLD + 1], rip = here(c), at = ~0ull;
    unsigned n = 0;
    for (unsigned i = BLOCKS_TOLD; i > 0; i--) {
        uint64_t la = c->trail[(c->trail_at - i) & (TRAIL - 1)];
        if (la && !(n && begin[n - 1] == la))
            begin[n++] = la;
    }
    if (!n || begin[n - 1] != rip)
        begin[n++] = rip;
    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        if (i && at != begin[i])
            say(&o, "  ...\n");
        at = say_instructions(c, &o, begin[i], last ? ~0ull : begin[i + 1], last ? 1 : 20);
    }
    return o.at;
}
