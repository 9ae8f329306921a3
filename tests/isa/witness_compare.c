/* What differs between the two results of a case, and what is allowed to. */
#include <math.h>
#include <stdio.h>

#include "cpu/flags.h"
#include "tests/isa/witness.h"

struct view {
    const struct wit *w;
    const struct wit_case *c;
    const struct wit_state *h, *o;
    struct insn at;     /* the instruction that faulted, else the first; row NULL: undefined */
    uint32_t undefined; /* flags, by the table */
    uint32_t unnamed;   /* flags that no instruction of the case changes, by the table */
    bool done;          /* it ran to its end */
};

static bool starts(const char *s, const char *with)
{
    return !strncmp(s, with, strlen(with));
}

/* Which flags can't be compared: those that the table calls undefined for what ran last. */
static void look_at_code(struct view *v)
{
    const struct wit_case *c = v->c;
    uint64_t end = v->done ? WIT_CODE + WIT_CODE_BYTES : v->h->rip;
    v->unnamed = ~0u;
    for (unsigned i = 0; i < c->insns; i++) {
        struct insn in;
        const uint8_t *p = c->code + c->start[i];
        isa_decode(&in, p, (size_t)(c->code + c->code_len - p), c->mode, &v->w->features);
        if (!i || WIT_CODE + c->code_at + c->start[i] == end)
            v->at = in;
        if (!in.row || WIT_CODE + c->code_at + c->start[i] >= end)
            break;
        v->undefined &= ~(in.row->flags_written & ~in.row->flags_read);
        v->undefined |= in.row->flags_undefined;
        v->unnamed &= ~(in.row->flags_written | in.row->flags_undefined);
    }
}

/* --- Approximate results --- */

static bool reciprocal(const char *name)
{
    return strstr(name, "rcpps") || strstr(name, "rcpss") || strstr(name, "rsqrt");
}

/* RCPxx, RSQRTxx: within 1.5 * 2^-12 of the true value (SDM 2B RCPPS), so twice that apart. */
static bool near_f32(uint32_t ours, uint32_t host)
{
    float a, b;
    memcpy(&a, &ours, 4);
    memcpy(&b, &host, 4);
    if (ours == host)
        return true;
    if (!isfinite(a) || !isfinite(b))
        return false;
    if (fabsf(a) < 0x1p-125f && fabsf(b) < 0x1p-125f) /* flushed or not: open */
        return signbit(a) == signbit(b);
    return fabs((double)a - b) <= 2 * 1.5 / 4096 * fabs((double)b);
}

static bool near_vector(const uint64_t *a, const uint64_t *b)
{
    for (unsigned i = 0; i < 2; i++)
        if (!near_f32((uint32_t)a[i], (uint32_t)b[i]) ||
            !near_f32((uint32_t)(a[i] >> 32), (uint32_t)(b[i] >> 32)))
            return false;
    return true;
}

static bool transcendental(const char *name)
{
    static const char *const names[] = {"f2xm1",  "fyl2x", "fyl2xp1", "fptan",
                                        "fpatan", "fsin",  "fcos",    "fsincos"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

/* Units of the last place between two numbers of 80 bits. */
static uint64_t distance(uint64_t sa, uint16_t ea, uint64_t sb, uint16_t eb)
{
    if (ea == eb)
        return sa > sb ? sa - sb : sb - sa;
    if ((uint16_t)(ea + 1) == eb && (ea & 0x7fff))
        return (sb - BIT(63)) * 2 + (0 - sa);
    if ((uint16_t)(eb + 1) == ea && (eb & 0x7fff))
        return distance(sb, eb, sa, ea);
    if (!(ea & 0x7fff) && (uint16_t)(ea + 1) == eb)
        return sb - sa;
    if (!(eb & 0x7fff) && (uint16_t)(eb + 1) == ea)
        return sa - sb;
    return ~0ull;
}

/* --- Parts of the state --- */

static const char *compare_exit(const struct view *v, char *text, unsigned size)
{
    const struct wit_state *h = v->h, *o = v->o;
    bool trap = h->vector == EXC_BP || h->vector == EXC_OF || h->vector == EXC_DB;
    if (h->vector != o->vector) {
        snprintf(text, size, "exception: host %d, ishi %d", (int)(int8_t)h->vector,
                 (int)(int8_t)o->vector);
        return "exception";
    }
    /* the host has the address behind the instruction in a trap, ishi's chain the instruction's */
    uint64_t away = h->rip - o->rip;
    if (v->done ? o->rip != WIT_EXIT && o->rip != WIT_EXIT + 0x40 : trap ? away > 15 : away) {
        snprintf(text, size, "rip: host %llx, ishi %llx", (unsigned long long)h->rip,
                 (unsigned long long)o->rip);
        return "rip";
    }
    /* Linux tells a process of no page of the kernel's half, or the last of its own, whether it is
     * there */
    uint32_t seen = h->vector == EXC_PF && h->cr2 >= BIT(47) - PAGE_SIZE ? ~1u : ~0u;
    if (!v->done && ((h->error ^ o->error) & seen || (h->vector == EXC_PF && h->cr2 != o->cr2))) {
        snprintf(text, size, "fault %u: host error %x address %llx, ishi error %x address %llx",
                 h->vector, h->error, (unsigned long long)h->cr2, o->error,
                 (unsigned long long)o->cr2);
        return "fault";
    }
    return NULL;
}

#define FLAGS_SEEN (F_OSZAPC | F_D | EF_AC | EF_NT | EF_ID)

static const char *compare_general(const struct view *v, char *text, unsigned size)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct wit_state *h = v->h, *o = v->o;
    for (unsigned i = 0; i < (v->c->mode == ISA_64 ? 16 : 8); i++) {
        uint64_t mask = v->c->mode == ISA_64 ? ~0ull : 0xffffffff;
        if ((h->r[i] ^ o->r[i]) & mask) {
            snprintf(text, size, "%s: host %llx, ishi %llx", names[i],
                     (unsigned long long)(h->r[i] & mask), (unsigned long long)(o->r[i] & mask));
            return names[i];
        }
    }
    if ((h->rflags ^ o->rflags) & FLAGS_SEEN & ~v->undefined) {
        snprintf(text, size, "flags: host %llx, ishi %llx, undefined %x",
                 (unsigned long long)h->rflags & FLAGS_SEEN,
                 (unsigned long long)o->rflags & FLAGS_SEEN, v->undefined);
        return "flags";
    }
    uint64_t changed = (h->rflags ^ v->c->in.rflags) & (F_OSZAPC | F_D);
    if (v->done && changed & v->unnamed) {
        snprintf(text, size, "flags %llx change, of which the row says nothing",
                 (unsigned long long)(changed & v->unnamed));
        return "flags that the row does not name";
    }
    /* on the way out of the kernel a null selector loses its lowest bits (SDM 2A IRET) */
    unsigned gone = v->done ? 0 : 3;
    if ((h->ds != o->ds && (h->ds | o->ds) > gone) || (h->es != o->es && (h->es | o->es) > gone)) {
        snprintf(text, size, "ds, es: host %x, %x, ishi %x, %x", h->ds, h->es, o->ds, o->es);
        return "segments";
    }
    return NULL;
}

static const char *compare_vectors(const struct view *v, char *text, unsigned size)
{
    const struct wit_xsave *h = &v->h->x, *o = &v->o->x;
    bool loose = v->at.row && reciprocal(v->at.row->name);
    for (unsigned i = 0; i < 16; i++) {
        bool same = !memcmp(h->xmm[i], o->xmm[i], 16) &&
                    (!v->w->ymm || !memcmp(h->high[i], o->high[i], 16));
        if (same ||
            (loose && near_vector(o->xmm[i], h->xmm[i]) && near_vector(o->high[i], h->high[i])))
            continue;
        snprintf(text, size,
                 "ymm%u: host %016llx%016llx%016llx%016llx, ishi %016llx%016llx%016llx%016llx", i,
                 (unsigned long long)h->high[i][1], (unsigned long long)h->high[i][0],
                 (unsigned long long)h->xmm[i][1], (unsigned long long)h->xmm[i][0],
                 (unsigned long long)o->high[i][1], (unsigned long long)o->high[i][0],
                 (unsigned long long)o->xmm[i][1], (unsigned long long)o->xmm[i][0]);
        return "ymm";
    }
    if (h->mxcsr != o->mxcsr) {
        snprintf(text, size, "mxcsr: host %x, ishi %x", h->mxcsr, o->mxcsr);
        return "mxcsr";
    }
    return NULL;
}

#define FSW_C1 0x0200u
#define FSW_OU 0x0018u /* overflow, underflow */

static const char *compare_x87(const struct view *v, char *text, unsigned size)
{
    const struct wit_xsave *h = &v->h->x, *o = &v->o->x;
    bool loose = v->at.row && transcendental(v->at.row->name), close = false;
    unsigned fsw_mask = loose ? 0xffff & ~FSW_C1 : 0xffff;
    for (unsigned i = 0; i < 8; i++) {
        if (h->st[i].sig == o->st[i].sig && h->st[i].exp == o->st[i].exp)
            continue;
        if (loose && distance(h->st[i].sig, h->st[i].exp, o->st[i].sig, o->st[i].exp) <= 1) {
            close = true;
            continue;
        }
        snprintf(text, size, "st%u: host %04x:%016llx, ishi %04x:%016llx", i, h->st[i].exp,
                 (unsigned long long)h->st[i].sig, o->st[i].exp, (unsigned long long)o->st[i].sig);
        return "st";
    }
    if (close) /* at the edge of zero, of the normal numbers or of infinity */
        fsw_mask &= ~FSW_OU;
    if (((h->fsw ^ o->fsw) & fsw_mask) || h->fcw != o->fcw || h->ftw != o->ftw) {
        snprintf(text, size, "x87: host fsw %04x fcw %04x ftw %02x, ishi %04x %04x %02x", h->fsw,
                 h->fcw, h->ftw, o->fsw, o->fcw, o->ftw);
        return "x87";
    }
    if (h->fip != o->fip || h->fdp != o->fdp || h->fop != o->fop) {
        snprintf(text, size, "x87 pointers: host fip %llx fdp %llx fop %x, ishi %llx %llx %x",
                 (unsigned long long)h->fip, (unsigned long long)h->fdp, h->fop,
                 (unsigned long long)o->fip, (unsigned long long)o->fdp, o->fop);
        return "x87 pointers";
    }
    return NULL;
}

static const char *compare_memory(const struct wit_result *h, const struct wit_result *o,
                                  const uint8_t *before, char *text, unsigned size)
{
    uint32_t lo = h->lo < o->lo ? h->lo : o->lo, hi = h->hi > o->hi ? h->hi : o->hi;
    for (uint32_t i = lo; i < hi; i++) {
        uint8_t a = i >= h->lo && i < h->hi ? h->mem[i] : before[i];
        uint8_t b = i >= o->lo && i < o->hi ? o->mem[i] : before[i];
        if (a != b) {
            snprintf(text, size, "memory at %llx: host %02x, ishi %02x, was %02x",
                     (unsigned long long)(WIT_DATA + i), a, b, before[i]);
            return "memory";
        }
    }
    return NULL;
}

/* --- What may differ, beside undefined flags --- */

static unsigned count_of(const struct view *v)
{
    const struct insn *in = &v->at;
    return in->op_count == 3 && in->op[2].where == W_I ? (unsigned)in->imm
                                                       : (unsigned)v->c->in.r[R_CX];
}

static bool double_shift(const struct view *v, const char *what)
{
    const char *n = v->at.row->name;
    return (starts(n, "shld") || starts(n, "shrd")) && v->at.osize == 2 && (count_of(v) & 31) > 16;
}

static bool swapped_word(const struct view *v, const char *what)
{
    return !strcmp(v->at.row->name, "bswap") && v->at.osize == 2;
}

static bool partial_stores(const struct view *v, const char *what)
{
    const char *n = v->at.row->name;
    if (!strcmp(n, "movbe") && v->at.p66 && v->at.rex & 8)
        return !v->done && !strcmp(what, "memory");
    return !v->done && !strcmp(what, "memory") &&
           (starts(n, "enter") || starts(n, "fstp") || starts(n, "fbstp") || starts(n, "call") ||
            starts(n, "pusha") || starts(n, "fsave") || starts(n, "fnsave") || starts(n, "xsave"));
}

static bool masked_move(const struct view *v, const char *what)
{
    return strstr(v->at.row->name, "maskmov") &&
           (v->h->vector == EXC_PF || v->h->vector == EXC_AC || v->h->vector == EXC_GP) &&
           (v->o->vector == EXC_NONE || v->o->vector == EXC_PF);
}

/* Of FXSAVE and the like. */
static bool image(const struct view *v)
{
    const char *n = v->at.row->name;
    return starts(n, "fxsave") || starts(n, "fxrstor") || starts(n, "xsave") ||
           starts(n, "xrstor") || starts(n, "fnsave") || starts(n, "frstor") ||
           starts(n, "fldenv") || starts(n, "fnstenv");
}

static bool image_order(const struct view *v, const char *what)
{
    return image(v) && !strcmp(what, "fault") && v->h->vector == EXC_PF &&
           v->h->error == v->o->error;
}

static bool image_half_loaded(const struct view *v, const char *what)
{
    return image(v) && !v->done && strcmp(what, "exception") != 0 && strcmp(what, "rip") != 0;
}

static bool call_order(const struct view *v, const char *what)
{
    return !strcmp(v->at.row->name, "call") && v->o->vector == EXC_GP && !v->done;
}

static bool half_popped(const struct view *v, const char *what)
{
    return starts(v->at.row->name, "popa") && !v->done && what[0] == 'r';
}

static bool step_to_come(const struct view *v, const char *what)
{
    return starts(v->at.row->name, "popf") && v->h->vector == EXC_DB;
}

static bool unchecked(const struct view *v, const char *what)
{
    const char *n = v->at.row->name;
    bool movbe = !strcmp(n, "movbe") && v->at.p66 && v->at.rex & 8;
    return v->o->vector == EXC_AC && (movbe || !strcmp(n, "vcvtps2ph") || !strcmp(n, "vcvtph2ps"));
}

/* The processor's own way of a form that needs neither prefix: its store goes by the last override,
 * though 64-bit mode knows only FS and GS. */
static bool movbe_override(const struct view *v, const char *what)
{
    return !strcmp(v->at.row->name, "movbe") && v->at.p66 && v->at.rex & 8 && v->at.is_mem &&
           (v->h->vector == EXC_GP || v->h->vector == EXC_SS || v->h->vector == EXC_PF) &&
           !strcmp(what, "exception");
}

/* Around FS the host's process has memory of its own. */
static bool host_memory(const struct view *v, const char *what)
{
    uint64_t at = v->o->cr2;
    bool ours = at < BIT(16) || at - WIT_DATA + BIT(16) < BIT(17) ||
                at - WIT_HIGH + BIT(16) < BIT(17) || at - WIT_OVER + BIT(16) < BIT(17);
    return v->at.seg == SEG_FS && v->o->vector == EXC_PF && !ours;
}

static bool image_alignment(const struct view *v, const char *what)
{
    return image(v) && v->h->vector == EXC_AC && v->o->vector == EXC_GP;
}

static bool mmx_fault(const struct view *v, const char *what)
{
    return !v->done && v->at.row->attr & A_MMX && (!strcmp(what, "st") || !strcmp(what, "x87"));
}

static const struct {
    const char *why;
    bool (*applies)(const struct view *v, const char *what);
} allowed[] = {
    {"a count beyond the operand: undefined (SDM 2B SHLD)", double_shift},
    {"BSWAP of 16 bits: undefined (SDM 2A BSWAP)", swapped_word},
    {"page faults of bytes that are masked away: open (SDM 2B MASKMOVDQU)", masked_move},
    {"in which order the parts of a state image are accessed", image_order},
    {"what of a state image was loaded before the fault", image_half_loaded},
    {"what POPA popped before the fault", half_popped},
    {"a CALL to an address that is not canonical: which fault comes first", call_order},
    {"a POPF that sets TF: the trap comes behind the case", step_to_come},
    {"no alignment check by VCVTPH2PS, VCVTPS2PH, or MOVBE with 66 and REX.W", unchecked},
    {"MOVBE with 66, REX.W and an override that doesn't count", movbe_override},
    {"memory that the host's process has by FS", host_memory},
    {"#AC or #GP for a misaligned image: open (SDM 2A FXSAVE)", image_alignment},
    {"an MMX instruction that faults has switched to MMX state already", mmx_fault},
    {"stores of an instruction that faults on the way", partial_stores},
};

static unsigned allowed_seen[ARRAY_LEN(allowed)];

const char *wit_compare(const struct wit *w, const struct wit_case *c,
                        const struct wit_result *host, const struct wit_result *own, char *text,
                        unsigned size)
{
    static uint8_t background[WIT_BYTES], before[WIT_BYTES];
    struct view v = {.w = w, .c = c, .h = &host->s, .o = &own->s};
    if (host->died) {
        snprintf(text, size, "the host's process died of it");
        return "died";
    }
    v.done = host->s.vector == EXC_NONE;
    look_at_code(&v);
    const char *what = compare_exit(&v, text, size);
    if (!what)
        what = compare_general(&v, text, size);
    if (!what)
        what = compare_vectors(&v, text, size);
    if (!what)
        what = compare_x87(&v, text, size);
    if (!what && (host->lo != own->lo || host->hi != own->hi || host->lo < host->hi)) {
        if (host->lo == own->lo && host->hi == own->hi &&
            !memcmp(host->mem + host->lo, own->mem + own->lo, host->hi - host->lo))
            return NULL;
        wit_background(background);
        wit_memory(c, background, before);
        what = compare_memory(host, own, before, text, size);
    }
    for (unsigned i = 0; what && v.at.row && i < ARRAY_LEN(allowed); i++)
        if (allowed[i].applies(&v, what)) {
            allowed_seen[i]++;
            return NULL;
        }
    return what;
}

void wit_print_allowed(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(allowed); i++)
        printf("%8u by rule: %s\n", allowed_seen[i], allowed[i].why);
}
