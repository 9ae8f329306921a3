/* Model-specific registers: those that kernels and firmware read. Any other is #GP(0), logged. */
#include "cpu/msr.h"

#include "cpu/cpuid.h"
#include "cpu/intr.h"
#include "cpu/kvmclock.h"
#include "cpu/share.h"
#include "cpu/sysop.h"

enum {
    MSR_P5_ADDR = 0,
    MSR_P5_TYPE = 1,
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_EBL_CR_POWERON = 0x2a,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_BIOS_UPDT_TRIG = 0x79,
    MSR_BIOS_SIGN_ID = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_FLUSH_CMD = 0x10b,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_LAST = 0x200 + 2 * MTRR_VAR - 1,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX16K_A = 0x259,
    MSR_MTRR_FIX4K = 0x268,
    MSR_MTRR_FIX4K_LAST = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
};
#define MSR_EFER      0xc0000080u
#define MSR_STAR      0xc0000081u
#define MSR_LSTAR     0xc0000082u
#define MSR_CSTAR     0xc0000083u
#define MSR_FMASK     0xc0000084u
#define MSR_FS_BASE   0xc0000100u
#define MSR_GS_BASE   0xc0000101u
#define MSR_KERNEL_GS 0xc0000102u
#define MSR_TSC_AUX   0xc0000103u

/* Not vulnerable to what translators can't have: RDCL, L1TF, MDS, SSB and their kin; IBRS_ALL says
 * that indirect branches need no retpoline (SDM 4, IA32_ARCH_CAPABILITIES). Bit 62, ITS_NO, is set
 * by hypervisors alone. */
#define ARCH_CAPABILITIES                                                                         \
    (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | \
     BIT(20) | BIT(24) | BIT(26) | BIT(27) | BIT(62))

static bool has(const struct cpu *c, enum isa_feature f)
{
    return isa_has(&c->features, f);
}

/* A fixed-range MTRR's place in mtrr_fixed, or -1. */
static int fixed_mtrr(uint32_t n)
{
    if (n == MSR_MTRR_FIX64K)
        return 0;
    if (n == MSR_MTRR_FIX16K || n == MSR_MTRR_FIX16K_A)
        return (int)(n - MSR_MTRR_FIX16K) + 1;
    return n >= MSR_MTRR_FIX4K && n <= MSR_MTRR_FIX4K_LAST ? (int)(n - MSR_MTRR_FIX4K) + 3 : -1;
}

static bool mtrr_read(const struct cpu *c, uint32_t n, uint64_t *v)
{
    const struct cpu_state *s = &c->s;
    int fixed = fixed_mtrr(n);
    if (!has(c, FEAT_MTRR))
        return false;
    if (n == MSR_MTRR_CAP)
        *v = MTRR_VAR | BIT(8) | BIT(10);
    else if (n == MSR_MTRR_DEF)
        *v = s->mtrr_def;
    else if (fixed >= 0)
        *v = s->mtrr_fixed[fixed];
    else if (n >= MSR_MTRR_BASE0 && n <= MSR_MTRR_LAST)
        *v = (n & 1 ? s->mtrr_mask : s->mtrr_base)[(n - MSR_MTRR_BASE0) / 2];
    else
        return false;
    return true;
}

/* Registers of 64-bit mode, of the feature they belong to. */
static bool long_read(const struct cpu *c, uint32_t n, uint64_t *v)
{
    const struct cpu_state *s = &c->s;
    switch (n) {
    case MSR_EFER: *v = s->efer; return has(c, FEAT_LM) || has(c, FEAT_NX) || has(c, FEAT_SYSCALL);
    case MSR_STAR: *v = s->star; break;
    case MSR_LSTAR: *v = s->lstar; break;
    case MSR_CSTAR: *v = s->cstar; break;
    case MSR_FMASK: *v = s->fmask; break;
    case MSR_FS_BASE: *v = s->seg[SEG_FS].base; break;
    case MSR_GS_BASE: *v = s->seg[SEG_GS].base; break;
    case MSR_KERNEL_GS: *v = s->kernel_gs_base; break;
    case MSR_TSC_AUX: *v = s->tsc_aux; return has(c, FEAT_RDTSCP) || has(c, FEAT_RDPID);
    default: return false;
    }
    return has(c, FEAT_LM);
}

/* Bus multiplier, for those who compute the clock rate from it: in units of 100 MHz. */
static uint64_t multiplier(const struct cpu *c)
{
    return (c->tsc_hz / 100000000u) & 0xff;
}

static bool apic_read(struct cpu *c, uint32_t n, uint64_t *v)
{
    if (n == MSR_APIC_BASE) {
        *v = c->apic.base ? c->apic.base(c->apic.apic) : 0;
        return c->apic.base;
    }
    cpu_lock(c);
    bool ok = c->apic.msr_read && c->apic.msr_read(c->apic.apic, n, v);
    cpu_unlock(c);
    return ok;
}

static bool is_apic(uint32_t n)
{
    return n == MSR_APIC_BASE || n == MSR_TSC_DEADLINE || (n >= MSR_X2APIC && n <= MSR_X2APIC_LAST);
}

bool cpu_msr_read(struct cpu *c, uint32_t n, uint64_t *v)
{
    const struct cpu_state *s = &c->s;
    *v = 0;
    if (is_apic(n))
        return apic_read(c, n, v);
    if (kvmclock_read(c, n, v))
        return true;
    if (n >= MSR_EFER)
        return long_read(c, n, v);
    switch (n) {
    case MSR_TSC: *v = cpu_tsc(c); return true;
    case MSR_FEATURE_CONTROL: *v = s->feature_control; return true;
    case MSR_SPEC_CTRL: *v = s->spec_ctrl; return has(c, FEAT_LM);
    case MSR_BIOS_SIGN_ID: *v = s->bios_sign; return true;
    case MSR_PLATFORM_INFO: *v = multiplier(c) << 8; return has(c, FEAT_LM);
    case MSR_PERF_STATUS: *v = multiplier(c) << 8; return has(c, FEAT_LM);
    case MSR_ARCH_CAPABILITIES: *v = ARCH_CAPABILITIES; return has(c, FEAT_LM);
    case MSR_SYSENTER_CS: *v = s->sysenter_cs; return has(c, FEAT_SEP);
    case MSR_SYSENTER_ESP: *v = s->sysenter_esp; return has(c, FEAT_SEP);
    case MSR_SYSENTER_EIP: *v = s->sysenter_eip; return has(c, FEAT_SEP);
    case MSR_MCG_STATUS: *v = s->mcg_status; return has(c, FEAT_MCA);
    case MSR_MCG_CAP: return has(c, FEAT_MCA); /* no banks */
    case MSR_MISC_ENABLE: *v = s->misc_enable; return true;
    case MSR_PAT: *v = s->pat; return has(c, FEAT_PAT);
    case MSR_P5_ADDR:
    case MSR_P5_TYPE:
    case MSR_PLATFORM_ID:
    case MSR_EBL_CR_POWERON:
    case MSR_DEBUGCTL: return true;
    default: return mtrr_read(c, n, v);
    }
}

static bool canonical(uint64_t v)
{
    return (uint64_t)sext(v, 48) == v;
}

/* Memory types that exist; PAT has one more (SDM 3A 11.11.2.1, 11.12.2). */
static bool types_ok(uint64_t v, unsigned count, bool pat)
{
    for (unsigned i = 0; i < count; i++, v >>= 8) {
        unsigned t = v & 0xff;
        if (t > 7 || t == 2 || t == 3 || (t == 7 && !pat))
            return false;
    }
    return true;
}

static bool mtrr_write(struct cpu *c, uint32_t n, uint64_t v)
{
    struct cpu_state *s = &c->s;
    int fixed = fixed_mtrr(n);
    uint64_t beyond = ~(BIT(cpu_paddr_bits(c)) - 1);
    if (!has(c, FEAT_MTRR))
        return false;
    if (n == MSR_MTRR_DEF) {
        if ((v & ~0xcffull) || !types_ok(v, 1, false))
            return false;
        s->mtrr_def = v;
    } else if (fixed >= 0) {
        if (!types_ok(v, 8, false))
            return false;
        s->mtrr_fixed[fixed] = v;
    } else if (n >= MSR_MTRR_BASE0 && n <= MSR_MTRR_LAST) {
        unsigned i = (n - MSR_MTRR_BASE0) / 2;
        if ((v & beyond) || (n & 1 ? (v & 0x7ff) : (v & 0xf00) || !types_ok(v, 1, false)))
            return false;
        (n & 1 ? s->mtrr_mask : s->mtrr_base)[i] = v;
    } else {
        return false;
    }
    return true;
}

static bool efer_write(struct cpu *c, uint64_t v)
{
    struct cpu_state *s = &c->s;
    uint64_t known = (has(c, FEAT_SYSCALL) ? EFER_SCE : 0) |
                     (has(c, FEAT_LM) ? EFER_LME | EFER_LMA : 0) | (has(c, FEAT_NX) ? EFER_NXE : 0);
    uint64_t changed;
    if (v & ~known)
        return false;
    v = (v & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA); /* read-only */
    changed = v ^ s->efer;
    if ((changed & EFER_LME) && (s->cr0 & CR0_PG))
        return false;
    s->efer = v;
    if (changed & EFER_NXE)
        tlb_flush(c);
    cpu_mode_changed(c);
    return true;
}

static bool base_write(uint64_t *reg, uint64_t v)
{
    if (!canonical(v))
        return false;
    *reg = v;
    return true;
}

static bool long_write(struct cpu *c, uint32_t n, uint64_t v)
{
    struct cpu_state *s = &c->s;
    if (n == MSR_EFER)
        return efer_write(c, v);
    if (n == MSR_TSC_AUX) {
        if (v >> 32)
            return false;
        s->tsc_aux = v;
        return has(c, FEAT_RDTSCP) || has(c, FEAT_RDPID);
    }
    if (!has(c, FEAT_LM))
        return false;
    switch (n) {
    case MSR_STAR: s->star = v; return true;
    case MSR_FMASK: s->fmask = (uint32_t)v; return true;
    case MSR_LSTAR: return base_write(&s->lstar, v);
    case MSR_CSTAR: return base_write(&s->cstar, v);
    case MSR_FS_BASE: return base_write(&s->seg[SEG_FS].base, v);
    case MSR_GS_BASE: return base_write(&s->seg[SEG_GS].base, v);
    case MSR_KERNEL_GS: return base_write(&s->kernel_gs_base, v);
    default: return false;
    }
}

static bool apic_write(struct cpu *c, uint32_t n, uint64_t v)
{
    bool ok;
    if (n == MSR_APIC_BASE) {
        cpu_lock(c);
        ok = c->apic.set_base && c->apic.set_base(c->apic.apic, v);
        cpu_unlock(c);
        tlb_flush(c); /* the page that it hides is another now */
        return ok;
    }
    cpu_lock(c);
    ok = c->apic.msr_write && c->apic.msr_write(c->apic.apic, n, v);
    cpu_unlock(c);
    cpu_attention(c);
    return ok;
}

bool cpu_msr_write(struct cpu *c, uint32_t n, uint64_t v)
{
    struct cpu_state *s = &c->s;
    if (is_apic(n))
        return apic_write(c, n, v);
    if (kvmclock_write(c, n, v))
        return true;
    if (n >= MSR_EFER)
        return long_write(c, n, v);
    switch (n) {
    case MSR_TSC:
        cpu_lock(c); /* the APIC's timer looks at it */
        v -= cpu_tsc(c);
        s->tsc_offset += v;
        kvmclock_adjust(c, v);
        if (c->apic.tsc_changed)
            c->apic.tsc_changed(c->apic.apic);
        cpu_unlock(c);
        return true;
    case MSR_BIOS_SIGN_ID: /* software clears it, CPUID puts the revision back */
    case MSR_BIOS_UPDT_TRIG:
    case MSR_P5_ADDR:
    case MSR_P5_TYPE:
    case MSR_EBL_CR_POWERON:
    case MSR_DEBUGCTL: return true;
    case MSR_PRED_CMD:
    case MSR_FLUSH_CMD: return has(c, FEAT_LM) && !(v & ~1ull);
    case MSR_SPEC_CTRL:
        if (v & ~(7ull | BIT(10))) /* IBRS, STIBP, SSBD, BHI_DIS_S */
            return false;
        s->spec_ctrl = v;
        return has(c, FEAT_LM);
    case MSR_SYSENTER_CS: s->sysenter_cs = (uint32_t)v; return has(c, FEAT_SEP);
    case MSR_SYSENTER_ESP: return has(c, FEAT_SEP) && base_write(&s->sysenter_esp, v);
    case MSR_SYSENTER_EIP: return has(c, FEAT_SEP) && base_write(&s->sysenter_eip, v);
    case MSR_MCG_STATUS: s->mcg_status = v; return has(c, FEAT_MCA);
    case MSR_MISC_ENABLE: s->misc_enable = v; return true;
    case MSR_PAT:
        if (!has(c, FEAT_PAT) || !types_ok(v, 8, true))
            return false;
        s->pat = v;
        return true;
    default: return mtrr_write(c, n, v);
    }
}

bool h_rdmsr(struct cpu *c, const struct uop *u)
{
    uint32_t n = (uint32_t)c->s.r[R_CX];
    uint64_t v;
    if (!cpu_msr_read(c, n, &v)) {
        LOG(c->log, CPU, "cpu%u: read of unknown MSR %#x at %llx", c->index, n,
            (unsigned long long)c->s.rip);
        return cpu_fault(c, EXC_GP, "RDMSR: there is no MSR %#llx", n, 0);
    }
    c->s.r[R_AX] = (uint32_t)v;
    c->s.r[R_DX] = v >> 32;
    return true;
}

bool h_wrmsr(struct cpu *c, const struct uop *u)
{
    uint32_t n = (uint32_t)c->s.r[R_CX];
    uint64_t v = (uint32_t)c->s.r[R_AX] | c->s.r[R_DX] << 32;
    cpu_fence(c);
    if (cpu_msr_write(c, n, v))
        return true;
    LOG(c->log, CPU, "cpu%u: write of %#llx to MSR %#x at %llx, which it does not take", c->index,
        (unsigned long long)v, n, (unsigned long long)c->s.rip);
    return cpu_fault(c, EXC_GP, "WRMSR: MSR %#llx does not take %#llx", n, v);
}
