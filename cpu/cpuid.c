/* Leaves are numbered as in SDM 2, CPUID. Feature words come from isa.h's list; what is not in it,
 * as it names no instruction, stands here. */
#include "cpu/cpuid.h"

#include "cpu/kvmclock.h"

#define VENDOR_LEAF_MAX   0x16u
#define EXTENDED_LEAF_MAX 0x80000008u

static bool has(const struct cpu *c, enum isa_feature f)
{
    return isa_has(&c->features, f);
}

uint32_t cpuid_signature(const struct cpu *c)
{
    if (has(c, FEAT_AVX2))
        return 0x000306c3; /* family 6, model 60, stepping 3: Haswell */
    if (has(c, FEAT_LM))
        return 0x000106a5; /* family 6, model 26, stepping 5: Nehalem */
    if (has(c, FEAT_SSE2))
        return 0x000006d8; /* family 6, model 13 */
    if (has(c, FEAT_CMOV))
        return 0x00000652; /* family 6, model 5: Pentium II */
    if (has(c, FEAT_TSC))
        return 0x0000052c; /* Pentium, family 5 model 2 */
    return has(c, FEAT_I486) ? 0x00000480 : 0x00000308;
}

unsigned cpu_paddr_bits(const struct cpu *c)
{
    if (has(c, FEAT_LM))
        return 40;
    return has(c, FEAT_PAE) || has(c, FEAT_PSE36) ? 36 : 32;
}

/* One 32-bit word of feature bits. */
static uint32_t word(const struct cpu *c, uint32_t leaf, unsigned reg)
{
    const struct isa_feature_info *at = isa_feature_info;
    uint32_t v = 0;
    for (unsigned i = 0; i < FEAT_COUNT; i++)
        if (at[i].leaf && at[i].leaf == leaf && at[i].reg == reg && has(c, (enum isa_feature)i))
            v |= 1u << at[i].bit;
    return v;
}

static uint32_t max_leaf(const struct cpu *c)
{
    if (has(c, FEAT_LM) && has(c, FEAT_XSAVE))
        return VENDOR_LEAF_MAX;
    return has(c, FEAT_LM) ? 7 : has(c, FEAT_CMOV) ? 2 : 1;
}

static uint32_t text4(const char *s)
{
    return get_le32(s);
}

static struct cpuid_regs text12(uint32_t eax, const char *bdc)
{
    return (struct cpuid_regs){{eax, text4(bdc), text4(bdc + 8), text4(bdc + 4)}};
}

/* Bytes of an XSAVE area with the components of `mask`. */
static uint32_t xsave_size(uint64_t mask)
{
    return mask & 4 ? 512 + 64 + 256 : 512 + 64;
}

static struct cpuid_regs leaf1(const struct cpu *c)
{
    struct cpuid_regs v = {{cpuid_signature(c), 0, word(c, 1, 2), word(c, 1, 3)}};
    v.r[1] = c->index << 24 | (has(c, FEAT_CLFSH) ? 8u << 8 : 0);
    v.r[2] &= ~(1u << 27);
    if (c->s.cr4 & CR4_OSXSAVE)
        v.r[2] |= 1u << 27;
    if (!c->apic.base || !(c->apic.base(c->apic.apic) & 0x800))
        v.r[3] &= ~(1u << 9); /* switched off in APIC_BASE: gone (SDM 3A 10.4.3) */
    v.r[3] &= ~(1u << 28);
    v.r[1] |= 1u << 16; /* CPUs in the package; see leaf_b */
    return v;
}

/* Deterministic cache parameters: 32 KiB, 8 ways, twice; 4 MiB, 16 ways. */
static struct cpuid_regs leaf4(const struct cpu *c, uint32_t sub)
{
    switch (sub) {
    case 0: return (struct cpuid_regs){{1 | 1 << 5 | 1 << 8, 7u << 22 | 63, 63, 0}};
    case 1: return (struct cpuid_regs){{2 | 1 << 5 | 1 << 8, 7u << 22 | 63, 63, 0}};
    case 2: return (struct cpuid_regs){{3 | 2 << 5 | 1 << 8, 15u << 22 | 63, 4095, 1}};
    default: return (struct cpuid_regs){{0}};
    }
}

static struct cpuid_regs leaf7(const struct cpu *c, uint32_t sub)
{
    struct cpuid_regs v = {{0}};
    if (sub == 0) {
        v = (struct cpuid_regs){{0, word(c, 7, 1), word(c, 7, 2), 0}};
        /* SPEC_CTRL, STIBP, FLUSH_CMD, ARCH_CAPABILITIES, SSBD: see msr.c */
        if (has(c, FEAT_XSAVE)) {
            v.r[0] = 2;
            v.r[3] = 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 | 1u << 31;
        }
    } else if (sub == 2 && has(c, FEAT_XSAVE)) {
        v.r[3] = 1u << 4; /* BHI_CTRL: or kernels run through a long loop at every system call */
    }
    return v;
}

/* Topology: each CPU is a package by itself. SeaBIOS lists one CPU of each package in the MP table
 * that it makes, and systems that start by that table, as xv6, would see no more. */
static struct cpuid_regs leaf_b(const struct cpu *c, uint32_t sub)
{
    struct cpuid_regs v = {{0, 0, sub & 0xff, c->index}};
    if (sub == 0) {
        v.r[1] = 1;
        v.r[2] |= 1 << 8;
    } else if (sub == 1) {
        v.r[1] = 1;
        v.r[2] |= 2 << 8;
    }
    return v;
}

static struct cpuid_regs leaf_d(const struct cpu *c, uint32_t sub)
{
    uint32_t known = has(c, FEAT_AVX) ? 7 : 3;
    if (!has(c, FEAT_XSAVE))
        return (struct cpuid_regs){{0}};
    if (sub == 0)
        return (struct cpuid_regs){{known, xsave_size(c->s.xcr0), xsave_size(known), 0}};
    if (sub == 1)
        return (struct cpuid_regs){{word(c, 0xd, 0), xsave_size(c->s.xcr0), 0, 0}};
    if (sub == 2 && (known & 4))
        return (struct cpuid_regs){{256, 576, 0, 0}};
    return (struct cpuid_regs){{0}};
}

/* The TSC's rate as a fraction of the crystal's, which is what the local APIC's timer counts.
 * Kernels multiply the crystal's kHz by the numerator in 32 bits, so where the fraction is long, as
 * a host's measured rate makes it, this is the nearest of the short ones; if that is off by more
 * than a crystal may be, it says nothing, and they measure. */
static struct cpuid_regs leaf_15(const struct cpu *c)
{
    const uint64_t most = UINT32_MAX / (APIC_TIMER_HZ / 1000);
    uint64_t up = 1, down = 1, least = UINT64_MAX;
    for (uint64_t d = 1; least; d++) {
        uint64_t n = (c->tsc_hz * d + APIC_TIMER_HZ / 2) / APIC_TIMER_HZ;
        uint64_t hz = n * APIC_TIMER_HZ / d, off = hz > c->tsc_hz ? hz - c->tsc_hz : c->tsc_hz - hz;
        if (n > most || d > most)
            break;
        if (off < least) {
            least = off;
            up = n;
            down = d;
        }
    }
    if (least > c->tsc_hz / 100000)
        return (struct cpuid_regs){{0}};
    return (struct cpuid_regs){{(uint32_t)down, (uint32_t)up, APIC_TIMER_HZ, 0}};
}

static struct cpuid_regs leaf_16(const struct cpu *c)
{
    uint32_t mhz = (uint32_t)(c->tsc_hz / 1000000);
    return (struct cpuid_regs){{mhz, mhz, 100, 0}};
}

static struct cpuid_regs basic(const struct cpu *c, uint32_t leaf, uint32_t sub)
{
    switch (leaf) {
    case 0: return text12(max_leaf(c), "GenuineIntel");
    case 1: return leaf1(c);
    case 2: return (struct cpuid_regs){{0x0000ff01, 0, 0, 0}}; /* ask leaf 4 */
    case 4: return leaf4(c, sub);
    case 5:
        return (struct cpuid_regs){{has(c, FEAT_MONITOR) ? 64 : 0, has(c, FEAT_MONITOR) ? 64 : 0}};
    case 7: return leaf7(c, sub);
    case 0xb: return leaf_b(c, sub);
    case 0xd: return leaf_d(c, sub);
    case 0x15: return leaf_15(c);
    case 0x16: return leaf_16(c);
    default: return (struct cpuid_regs){{0}};
    }
}

static struct cpuid_regs brand(unsigned part)
{
    static const char text[48] = "ishi x86 processor";
    const char *s = text + 16 * part;
    return (struct cpuid_regs){{text4(s), text4(s + 4), text4(s + 8), text4(s + 12)}};
}

static struct cpuid_regs extended(const struct cpu *c, uint32_t leaf)
{
    struct cpuid_regs v = {{0}};
    switch (leaf) {
    case 0x80000000: v.r[0] = EXTENDED_LEAF_MAX; break;
    case 0x80000001:
        v.r[2] = word(c, leaf, 2);
        v.r[3] = word(c, leaf, 3);
        if (!cpu_64(c))
            v.r[3] &= ~(1u << 11); /* SYSCALL shows in 64-bit mode only (SDM 2 CPUID) */
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: return brand(leaf - 0x80000002);
    case 0x80000006: v.r[2] = 4096u << 16 | 8 << 12 | 64; break; /* 4 MiB, 16 ways, lines of 64 */
    case 0x80000007: v.r[3] = 1u << 8; break;                    /* invariant TSC */
    case 0x80000008: v.r[0] = cpu_paddr_bits(c) | (has(c, FEAT_LM) ? 48u : 32u) << 8; break;
    default: break;
    }
    return v;
}

struct cpuid_regs cpuid_leaf(const struct cpu *c, uint32_t leaf, uint32_t sub)
{
    bool extended_exists = has(c, FEAT_CMOV);
    if (leaf == 0x40000000 && has(c, FEAT_KVMCLOCK))  /* by this name guests know that interface */
        return text12(0x40000001, "KVMKM\0\0\0VMKV"); /* EDX comes last */
    if (leaf == 0x40000001 && has(c, FEAT_KVMCLOCK))
        return (struct cpuid_regs){{kvmclock_features(c)}};
    if (leaf == 0x40000000 && has(c, FEAT_HYPERVISOR))
        return text12(0x40000000, "ishiishiishi");
    if (leaf >= 0x80000000 && leaf <= EXTENDED_LEAF_MAX && extended_exists)
        return extended(c, leaf);
    /* beyond the last leaf: the last basic leaf's answer (SDM 2 CPUID) */
    if (leaf > max_leaf(c))
        leaf = max_leaf(c);
    return basic(c, leaf, sub);
}
