/* Processor models: feature sets by name. */
#include "cpu/cpuid.h"

#define W0(f) ((FEAT_##f) < 64 ? BIT((FEAT_##f) & 63) : 0)
#define W1(f) ((FEAT_##f) >= 64 ? BIT((FEAT_##f) & 63) : 0)

/* MONITOR is in none: MWAIT is no better than a busy loop here (sys.c), the host's processor under
 * KVM can't watch a line for the guest either, and kernels halt without it. Each model is the one
 * before it and what came new. X(f) is applied to every feature name. */
/* clang-format off */
#define M_386(X)     X(BASE)
#define M_486(X)     M_386(X) X(I486) X(FPU)
#define M_PENTIUM(X) M_486(X) X(VME) X(DE) X(PSE) X(TSC) X(MSR) X(MCE) X(CX8) X(APIC)
#define M_686(X)     M_PENTIUM(X) X(PAE) X(SEP) X(MTRR) X(PGE) X(MCA) X(CMOV) X(PAT) X(PSE36) \
                     X(MMX) X(FXSR) X(HYPERVISOR)
#define M_SSE2(X)    M_686(X) X(CLFSH) X(SSE) X(SSE2)
#define M_V1(X)      M_SSE2(X) X(SYSCALL) X(NX) X(LM) X(PREFETCHW)
#define M_V2(X)      M_V1(X) X(SSE3) X(SSSE3) X(SSE41) X(SSE42) X(CX16) X(POPCNT) X(LAHF64) \
                     X(PCID) X(X2APIC) X(TSCDL) X(XSAVE) X(RDRAND) X(FSGSBASE) X(FDPX) \
                     X(SMEP) X(SMAP) X(INVPCID) X(ERMS) X(RDSEED) X(UMIP) X(RDPID) X(XSAVEOPT) \
                     X(XSAVEC) X(XGETBV1) X(PDPE1GB) X(RDTSCP)
#define M_V3(X)      M_V2(X) X(AVX) X(AVX2) X(FMA) X(F16C) X(BMI1) X(BMI2) X(LZCNT) X(MOVBE) X(ADX) \
                     X(AES) X(PCLMUL) X(SHA) X(CLFLUSHOPT) X(CLWB) X(NOFCS)
/* clang-format on */

#define OR0(f) | W0(f)
#define OR1(f) | W1(f)
/* clang-format off */
#define MODEL(name, text, list) {name, text, {{0 list(OR0), 0 list(OR1)}}}
/* clang-format on */

static const struct cpu_model models[] = {
    MODEL("v3", "x86-64-v3: AVX2, FMA, BMI, AES, SHA (default)", M_V3),
    MODEL("v2", "x86-64-v2: SSE4.2, POPCNT, and what kernels ask for", M_V2),
    MODEL("v1", "x86-64: long mode, SSE2", M_V1),
    MODEL("sse2", "32-bit with SSE2", M_SSE2),
    MODEL("686", "a Pentium II: PAE, CMOV, MMX", M_686),
    MODEL("pentium", "a Pentium", M_PENTIUM),
    MODEL("486", "a 486DX", M_486),
    MODEL("386", "a 386: no CPUID, no FPU", M_386),
};

const struct cpu_model *cpu_model_find(const char *name)
{
    if (!name || !*name)
        return &models[0];
    for (unsigned i = 0; i < ARRAY_LEN(models); i++)
        if (!strcmp(models[i].name, name))
            return &models[i];
    return NULL;
}

const struct cpu_model *cpu_model_at(unsigned n)
{
    return n < ARRAY_LEN(models) ? &models[n] : NULL;
}
