#include "machine/regs.h"

#include "cpu/debug.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "cpu/mem.h"
#include "cpu/tlb.h"
#include "cpu/walk.h"
#include "cpu/x87.h"

#define MSR_EFER 0xc0000080u

/* clang-format off */
#define GPR(name, type, bits, n) {name, type, bits, REG_CORE, REG_GPR, n}
#define SELECTORS \
    {"cs", "int32", 32, REG_CORE, REG_SEG, SEG_CS}, {"ss", "int32", 32, REG_CORE, REG_SEG, SEG_SS}, \
    {"ds", "int32", 32, REG_CORE, REG_SEG, SEG_DS}, {"es", "int32", 32, REG_CORE, REG_SEG, SEG_ES}, \
    {"fs", "int32", 32, REG_CORE, REG_SEG, SEG_FS}, {"gs", "int32", 32, REG_CORE, REG_SEG, SEG_GS}
#define ST(n) {"st" #n, "i387_ext", 80, REG_CORE, REG_ST, n}
#define FPU(name, n) {name, "int", 32, REG_CORE, REG_FPU, n}
#define X87 \
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7), \
    FPU("fctrl", 0), FPU("fstat", 1), FPU("ftag", 2), FPU("fiseg", 3), FPU("fioff", 4), \
    FPU("foseg", 5), FPU("fooff", 6), FPU("fop", 7)
#define XMM(n) {"xmm" #n, "vec128", 128, REG_SSE, REG_XMM, n}
#define YMMH(n) {"ymm" #n "h", "uint128", 128, REG_AVX, REG_YMMH, n}
#define EIGHT(M) M(0), M(1), M(2), M(3), M(4), M(5), M(6), M(7)
#define UPPER(M) M(8), M(9), M(10), M(11), M(12), M(13), M(14), M(15)
#define MXCSR {"mxcsr", "i386_mxcsr", 32, REG_SSE, REG_MXCSR, 0}
#define BASE(name, bits, n) {name, "int" #bits, bits, REG_SYSTEM, REG_BASE, n}
#define HIDDEN(name, bits, n) \
    {name "_base", "uint" #bits, bits, REG_SYSTEM, REG_BASE, n}, \
    {name "_limit", "uint32", 32, REG_SYSTEM, REG_LIMIT, n}, \
    {name "_attr", "uint32", 32, REG_SYSTEM, REG_ATTR, n}
#define SYS(name, type, bits, kind, n) {name, type, bits, REG_SYSTEM, kind, n}
#define DR(n, bits) SYS("dr" #n, "uint" #bits, bits, REG_DR, n)
#define TABLES(bits) \
    SYS("ldtr", "uint32", 32, REG_SEG, REG_LDTR), SYS("tr", "uint32", 32, REG_SEG, REG_TR), \
    HIDDEN("ldtr", bits, REG_LDTR), HIDDEN("tr", bits, REG_TR), \
    SYS("gdtr_base", "uint" #bits, bits, REG_TABLE_BASE, 0), \
    SYS("gdtr_limit", "uint32", 32, REG_TABLE_LIMIT, 0), \
    SYS("idtr_base", "uint" #bits, bits, REG_TABLE_BASE, 1), \
    SYS("idtr_limit", "uint32", 32, REG_TABLE_LIMIT, 1), \
    HIDDEN("cs", bits, SEG_CS), HIDDEN("ss", bits, SEG_SS), HIDDEN("ds", bits, SEG_DS), \
    HIDDEN("es", bits, SEG_ES), \
    DR(0, bits), DR(1, bits), DR(2, bits), DR(3, bits), DR(6, bits), DR(7, bits)
#define MSR(name, bits, n) SYS(name, "uint" #bits, bits, REG_MSR, n)
#define SYSENTER(bits) \
    MSR("sysenter_cs", bits, 0x174), MSR("sysenter_esp", bits, 0x175), MSR("sysenter_eip", bits, 0x176)

#define NARROW \
    GPR("eax", "int32", 32, R_AX), GPR("ecx", "int32", 32, R_CX), GPR("edx", "int32", 32, R_DX), \
    GPR("ebx", "int32", 32, R_BX), GPR("esp", "data_ptr", 32, R_SP), \
    GPR("ebp", "data_ptr", 32, R_BP), GPR("esi", "int32", 32, R_SI), GPR("edi", "int32", 32, R_DI), \
    {"eip", "code_ptr", 32, REG_CORE, REG_IP, 0}

#define NARROW_COUNT 9

static const struct reg_row rows64[] = {
    GPR("rax", "int64", 64, R_AX), GPR("rbx", "int64", 64, R_BX), GPR("rcx", "int64", 64, R_CX),
    GPR("rdx", "int64", 64, R_DX), GPR("rsi", "int64", 64, R_SI), GPR("rdi", "int64", 64, R_DI),
    GPR("rbp", "data_ptr", 64, R_BP), GPR("rsp", "data_ptr", 64, R_SP),
    GPR("r8", "int64", 64, R_8), GPR("r9", "int64", 64, R_9), GPR("r10", "int64", 64, R_10),
    GPR("r11", "int64", 64, R_11), GPR("r12", "int64", 64, R_12), GPR("r13", "int64", 64, R_13),
    GPR("r14", "int64", 64, R_14), GPR("r15", "int64", 64, R_15),
    {"rip", "code_ptr", 64, REG_CORE, REG_IP, 0},
    {"eflags", "i386_eflags", 32, REG_CORE, REG_FLAGS, 0},
    SELECTORS, X87,
    EIGHT(XMM), UPPER(XMM), MXCSR,
    EIGHT(YMMH), UPPER(YMMH),
    {"fs_base", "int64", 64, REG_SYSTEM, REG_BASE, SEG_FS},
    {"gs_base", "int64", 64, REG_SYSTEM, REG_BASE, SEG_GS},
    MSR("k_gs_base", 64, 0xc0000102),
    SYS("cr0", "x86_cr0", 64, REG_CR, 0), SYS("cr2", "uint64", 64, REG_CR, 2),
    SYS("cr3", "uint64", 64, REG_CR, 3), SYS("cr4", "x86_cr4", 64, REG_CR, 4),
    SYS("cr8", "uint64", 64, REG_CR, 8), SYS("efer", "x86_efer", 64, REG_MSR, MSR_EFER),
    TABLES(64),
    SYS("fs_limit", "uint32", 32, REG_LIMIT, SEG_FS), SYS("fs_attr", "uint32", 32, REG_ATTR, SEG_FS),
    SYS("gs_limit", "uint32", 32, REG_LIMIT, SEG_GS), SYS("gs_attr", "uint32", 32, REG_ATTR, SEG_GS),
    MSR("star", 64, 0xc0000081), MSR("lstar", 64, 0xc0000082), MSR("cstar", 64, 0xc0000083),
    MSR("fmask", 64, 0xc0000084), SYSENTER(64),
    NARROW, /* of REGS_BOTH alone */
};

static const struct reg_row rows32[] = {
    NARROW,
    {"eflags", "i386_eflags", 32, REG_CORE, REG_FLAGS, 0},
    SELECTORS, X87,
    EIGHT(XMM), MXCSR,
    EIGHT(YMMH),
    SYS("cr0", "x86_cr0", 32, REG_CR, 0), SYS("cr2", "uint32", 32, REG_CR, 2),
    SYS("cr3", "uint32", 32, REG_CR, 3), SYS("cr4", "x86_cr4", 32, REG_CR, 4),
    SYS("efer", "x86_efer", 64, REG_MSR, MSR_EFER),
    TABLES(32), HIDDEN("fs", 32, SEG_FS), HIDDEN("gs", 32, SEG_GS), SYSENTER(32),
};
/* clang-format on */

_Static_assert(ARRAY_LEN(rows64) <= REGS_MAX && ARRAY_LEN(rows32) <= REGS_MAX, "see regs.h");

const struct reg_row *regs_table(enum reg_set set, unsigned *count)
{
    *count = set == REGS_32   ? ARRAY_LEN(rows32)
             : set == REGS_64 ? ARRAY_LEN(rows64) - NARROW_COUNT
                              : ARRAY_LEN(rows64);
    return set == REGS_32 ? rows32 : rows64;
}

static struct seg *segment(struct cpu *c, unsigned n)
{
    return n == REG_TR ? &c->s.tr : n == REG_LDTR ? &c->s.ldtr : &c->s.seg[n];
}

/* All 64 bits of CR n, MSR n or DR n; NULL: not one that is kept as it is. */
static uint64_t *plain(struct cpu *c, const struct reg_row *r)
{
    struct cpu_state *s = &c->s;
    switch (r->kind) {
    case REG_CR: return r->n == 0 ? &s->cr0 : r->n == 2 ? &s->cr2 : r->n == 3 ? &s->cr3 : &s->cr4;
    case REG_DR: return r->n == 6 ? &s->dr6 : r->n == 7 ? &s->dr7 : &s->dr[r->n & 3];
    case REG_BASE: return &segment(c, r->n)->base;
    case REG_TABLE_BASE: return r->n ? &s->idtr.base : &s->gdtr.base;
    case REG_MSR: break;
    default: return NULL;
    }
    switch (r->n) {
    case 0x174: return &s->sysenter_cs;
    case 0x175: return &s->sysenter_esp;
    case 0x176: return &s->sysenter_eip;
    case MSR_EFER: return &s->efer;
    case 0xc0000081: return &s->star;
    case 0xc0000082: return &s->lstar;
    case 0xc0000083: return &s->cstar;
    case 0xc0000084: return &s->fmask;
    default: return &s->kernel_gs_base;
    }
}

static uint64_t tag_word(const struct cpu *c)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        bool used = c->s.ftw >> i & 1;
        tags |= (used ? x87_tag((struct f80){c->s.fp_sig[i], c->s.fp_exp[i]}) : 3u) << 2 * i;
    }
    return tags;
}

static uint64_t fpu_get(const struct cpu *c, unsigned n)
{
    const struct cpu_state *s = &c->s;
    switch (n) {
    case 0: return s->fcw;
    case 1: return s->fsw;
    case 2: return tag_word(c);
    case 3: return s->fcs;
    case 4: return s->fip & 0xffffffff;
    case 5: return s->fds;
    case 6: return s->fdp & 0xffffffff;
    default: return s->fop;
    }
}

static unsigned st_index(const struct cpu *c, unsigned n)
{
    return ((c->s.fsw >> 11) + n) & 7;
}

static uint64_t get64(struct cpu *c, const struct reg_row *r)
{
    uint64_t wide = cpu_64(c) ? ~0ull : 0xffffffff;
    switch (r->kind) {
    case REG_GPR: return c->s.r[r->n] & wide;
    case REG_IP: return c->s.rip & wide;
    case REG_FLAGS: return flags_get(c);
    case REG_SEG: return segment(c, r->n)->sel;
    case REG_LIMIT: return segment(c, r->n)->limit;
    case REG_ATTR: return segment(c, r->n)->attr;
    case REG_FPU: return fpu_get(c, r->n);
    case REG_MXCSR: return c->s.mxcsr;
    case REG_TABLE_LIMIT: return (r->n ? &c->s.idtr : &c->s.gdtr)->limit;
    case REG_CR:
        if (r->n == 8)
            return c->apic.tpr ? c->apic.tpr(c->apic.apic) >> 4 : 0;
        break;
    default: break;
    }
    return *plain(c, r);
}

void regs_get(struct cpu *c, const struct reg_row *r, uint8_t *buf)
{
    uint8_t v[8];
    unsigned i;
    switch (r->kind) {
    case REG_ST:
        i = st_index(c, r->n);
        put_le64(buf, c->s.fp_sig[i]);
        put_le16(buf + 8, c->s.fp_exp[i]);
        return;
    case REG_XMM: memcpy(buf, c->s.v[r->n].b, 16); return;
    case REG_YMMH: memcpy(buf, c->s.v[r->n].b + 16, 16); return;
    default: break;
    }
    put_le64(v, get64(c, r));
    memcpy(buf, v, r->bits / 8);
}

/* Writing. */

static bool canonical(uint64_t v)
{
    return (uint64_t)sext(v, 48) == v;
}

/* A selector of one of the six segment registers, by the descriptor in the tables; as a load with
 * all rights would do it. */
static bool set_selector(struct cpu *c, unsigned n, uint64_t v)
{
    struct seg *s = segment(c, n), new = {.sel = (uint16_t)v};
    const struct seg *ldt = &c->s.ldtr;
    uint64_t base = v & 4 ? ldt->base : c->s.gdtr.base,
             limit = v & 4 ? ldt->limit : c->s.gdtr.limit;
    uint8_t d[8];
    if (v == s->sel)
        return true;
    if (v > 0xffff || n >= REG_LDTR)
        return false;
    if (cpu_real(c) || cpu_vm86(c)) {
        s->sel = (uint16_t)v;
        s->base = v << 4;
        return true;
    }
    if (!(v & ~3ull)) {
        if (n == SEG_CS || n == SEG_SS)
            return false;
        *s = new;
        return true;
    }
    if ((v | 7) > limit || mmu_peek(c, base + (v & ~7ull), d, 8) < 8)
        return false;
    uint64_t q = get_le64(d);
    new.attr = (uint16_t)((q >> 40 & 0xff) | (q >> 40 & 0xf000));
    new.limit = (uint32_t)((q & 0xffff) | (q >> 32 & 0xf0000));
    if (new.attr & SEG_G)
        new.limit = new.limit << 12 | 0xfff;
    new.base = (q >> 16 & 0xffffff) | (q >> 32 & 0xff000000);
    if (!(new.attr &SEG_S) || !(new.attr &SEG_P) || (n == SEG_CS) != !!(new.attr & 8))
        return false;
    *s = new;
    return true;
}

static bool set_fpu(struct cpu *c, unsigned n, uint64_t v)
{
    struct cpu_state *s = &c->s;
    switch (n) {
    case 0: s->fcw = (uint16_t)((v & 0x1f3f) | 0x40); break;
    case 1: s->fsw = (uint16_t)v; break;
    case 2:
        s->ftw = 0;
        for (unsigned i = 0; i < 8; i++)
            s->ftw |= (uint8_t)(((v >> 2 * i & 3) != 3) << i);
        break;
    case 3: s->fcs = (uint16_t)v; break;
    case 4: s->fip = (s->fip & ~0xffffffffull) | (uint32_t)v; break;
    case 5: s->fds = (uint16_t)v; break;
    case 6: s->fdp = (s->fdp & ~0xffffffffull) | (uint32_t)v; break;
    default: s->fop = v & 0x7ff; break;
    }
    return true;
}

/* CR0, CR4 and EFER together must be a state that there is: SDM 3A 4.1.2, 9.8.5. */
static bool mode_ok(const struct cpu_state *s)
{
    bool paging = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;
    if (paging && !(s->cr0 & CR0_PE))
        return false;
    if (lma != (paging && (s->efer & EFER_LME)))
        return false;
    return !lma || ((s->cr4 & CR4_PAE) && !(s->rflags & EF_VM));
}

static bool set_control(struct cpu *c, const struct reg_row *r, uint64_t v)
{
    struct cpu_state *s = &c->s;
    uint64_t *at = plain(c, r), old = *at;
    if (r->kind == REG_CR && r->n == 2) {
        *at = v;
        return true;
    }
    *at = v;
    if (!mode_ok(s) ||
        ((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !cpu_long(c) && !walk_load_pdptes(c, s->cr3))) {
        *at = old;
        return false;
    }
    tlb_flush(c);
    cpu_mode_changed(c);
    return true;
}

static bool set_flags(struct cpu *c, uint64_t v)
{
    uint64_t can = F_OSZAPC | EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_RF | EF_VM | EF_AC |
                   EF_VIF | EF_VIP | EF_ID;
    if ((v & EF_VM) && (cpu_long(c) || cpu_real(c)))
        return false;
    flags_set(c, (v & can) | EF_FIXED);
    cpu_mode_changed(c);
    return true;
}

static bool set_ip(struct cpu *c, uint64_t v)
{
    if (!cpu_64(c))
        v = (uint32_t)v;
    else if (!canonical(v))
        return false;
    c->s.rip = c->next_rip = v;
    return true;
}

static bool set_base(struct cpu *c, const struct reg_row *r, uint64_t v)
{
    if (!canonical(v))
        return false;
    *plain(c, r) = v;
    cpu_mode_changed(c);
    return true;
}

static bool set64(struct cpu *c, const struct reg_row *r, uint64_t v)
{
    switch (r->kind) {
    case REG_GPR:
        c->s.r[r->n] = cpu_64(c) ? v : (c->s.r[r->n] & ~0xffffffffull) | (uint32_t)v;
        break;
    case REG_IP: return set_ip(c, v);
    case REG_FLAGS: return set_flags(c, v);
    case REG_SEG: {
        bool ok = set_selector(c, r->n, v);
        cpu_mode_changed(c);
        return ok;
    }
    case REG_FPU: return set_fpu(c, r->n, v);
    case REG_MXCSR: c->s.mxcsr = v & 0xffff; break;
    case REG_BASE: return set_base(c, r, v);
    case REG_TABLE_LIMIT: (r->n ? &c->s.idtr : &c->s.gdtr)->limit = v & 0xffff; break;
    case REG_CR:
        if (r->n != 8)
            return set_control(c, r, v);
        if (c->apic.set_tpr)
            c->apic.set_tpr(c->apic.apic, (uint8_t)(v << 4));
        cpu_attention(c);
        break;
    case REG_DR: debug_set(c, r->n, v); break;
    case REG_MSR:
        if (r->n == MSR_EFER)
            return set_control(c, r, v & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
        if (!canonical(v))
            return false;
        *plain(c, r) = v;
        break;
    case REG_TABLE_BASE:
        if (!canonical(v))
            return false;
        *plain(c, r) = v;
        break;
    default: return false; /* limits and attributes come with their selector */
    }
    return true;
}

bool regs_set(struct cpu *c, const struct reg_row *r, const uint8_t *buf)
{
    uint8_t now[REG_BYTES], v[8] = {0};
    unsigned i;
    regs_get(c, r, now);
    if (!memcmp(now, buf, r->bits / 8))
        return true;
    switch (r->kind) {
    case REG_ST:
        i = st_index(c, r->n);
        c->s.fp_sig[i] = get_le64(buf);
        c->s.fp_exp[i] = get_le16(buf + 8);
        return true;
    case REG_XMM: memcpy(c->s.v[r->n].b, buf, 16); return true;
    case REG_YMMH: memcpy(c->s.v[r->n].b + 16, buf, 16); return true;
    default: break;
    }
    memcpy(v, buf, r->bits / 8);
    return set64(c, r, get_le64(v));
}
