/* An x87, SSE or AVX image that a guest loads may hold anything, and any code may run on it: the
 * CPU stays sound, and what is saved and loaded again is the same. First byte: which instruction
 * loads the image and in which mode; second byte: bytes of code, which follow; the rest is the
 * image, with zeroes behind it. */
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "tests/bare_pc.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CODE      0x1000u
#define IMAGE     0x10000u
#define SAVED     0x20000u
#define AREA      832u /* bytes: XSAVE with AVX */
#define MXCSR_IMM 24   /* offset of MXCSR in an image of FXSAVE */
#define INSNS     200

static void code_changed(struct pc *p, uint64_t at, uint64_t n)
{
    if (p->bus.code_write)
        p->bus.code_write(p->bus.opaque, at, n);
}

/* Level 0, flat; in 64-bit mode one large page maps the first 2 MiB. No IDT: a fault is the end. */
static void prepare(struct pc *p, bool wide)
{
    struct cpu_state *s = &p->cpu.s;
    memset(p->ram, 0, RAM_SIZE);
    rng_seed(&p->rng, 1);
    cpu_reset(&p->cpu, false);
    s->cr0 = CR0_ET | CR0_NE;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->efer = 0;
    s->xcr0 = 7;
    pc_flat(p, wide ? FLAT64 : FLAT32);
    if (wide)
        pc_long(p);
    s->idtr.limit = 0;
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = IMAGE + 64 * i;
    s->r[R_SP] = 0x80000;
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    code_changed(p, 0, RAM_SIZE);
}

/* Runs one instruction with EBX at `at`, EDX:EAX = 7. False: it faulted. */
static bool one(struct pc *p, const char *bytes, unsigned n, uint32_t at)
{
    struct cpu_state *s = &p->cpu.s;
    memset(p->ram + 0x800, 0xf4, 64);
    memcpy(p->ram + 0x800, bytes, n);
    s->rip = 0x800;
    s->r[R_BX] = at;
    s->r[R_AX] = 7;
    s->r[R_DX] = 0;
    s->activity = ACT_RUN;
    s->rflags = EF_FIXED;
    code_changed(p, 0x800, 64);
    cpu_mode_changed(&p->cpu);
    soft_run(&p->cpu, 1);
    return s->rip == 0x800u + n;
}

#define XSAVE  "\x0f\xae\x23"
#define XRSTOR "\x0f\xae\x2b"

static const struct {
    const char *bytes;
    unsigned n;
} load[] = {
    {"\x0f\xae\x0b", 3}, /* fxrstor */
    {XRSTOR, 3},
    {"\xdd\x23", 2}, /* frstor */
    {"\xd9\x23", 2}, /* fldenv */
};

/* XSAVE, XRSTOR, XSAVE: the second image is the first. */
static void round_trip(struct pc *p)
{
    struct cpu_state *s = &p->cpu.s;
    s->cr0 &= ~(uint64_t)(CR0_TS | CR0_EM);
    s->cr4 |= CR4_OSXSAVE | CR4_OSFXSR;
    s->xcr0 = 7;
    s->dr7 = 0x400;
    p->cpu.request = 0;
    memset(p->ram + SAVED, 0, 2 * PAGE_SIZE);
    assert(one(p, XSAVE, 3, SAVED));
    assert(one(p, XRSTOR, 3, SAVED));
    assert(one(p, XSAVE, 3, SAVED + PAGE_SIZE));
    assert(!memcmp(p->ram + SAVED, p->ram + SAVED + PAGE_SIZE, AREA));
}

static bool load_image(struct pc *p, uint8_t choice, const uint8_t *image, size_t n)
{
    uint8_t *at = p->ram + IMAGE;
    prepare(p, choice & 0x80);
    memcpy(at, image, min_u64(n, AREA));
    if (choice & 0x40) { /* or hardly an image would pass */
        put_le32(at + MXCSR_IMM, get_le32(at + MXCSR_IMM) & 0xffff);
        at[512] &= 7;
        memset(at + 513, 0, 63);
    }
    return one(p, load[choice % ARRAY_LEN(load)].bytes, load[choice % ARRAY_LEN(load)].n, IMAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct pc *p;
    if (n < 2 || n < 2u + data[1])
        return 0;
    if (!p)
        p = pc_new(&engine_interp, &cpu_model_find("v3")->features);
    const uint8_t *code = data + 2, *image = code + data[1];
    n -= 2u + data[1];
    if (load_image(p, data[0], image, n))
        round_trip(p);
    load_image(p, data[0], image, n);
    memset(p->ram + CODE, 0xf4, PAGE_SIZE); /* hlt */
    memcpy(p->ram + CODE, code, data[1]);
    code_changed(p, CODE, PAGE_SIZE);
    p->cpu.s.rip = CODE;
    p->cpu.s.activity = ACT_RUN;
    soft_run(&p->cpu, INSNS);
    return 0;
}
