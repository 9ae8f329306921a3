/* An x87, SSE or AVX image that a guest loads may hold anything, and any code may run on it: the
 * CPU stays sound, and what is saved and loaded again is the same. First byte: which instruction
 * loads the image and in which mode; second byte: bytes of code, which follow; the rest is the
 * image, with zeroes behind it. */
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM       (1u << 20)
#define CODE      0x1000u
#define IMAGE     0x10000u
#define SAVED     0x20000u
#define TABLES    0xf0000u
#define AREA      832u /* bytes: XSAVE with AVX */
#define MXCSR_IMM 24   /* offset of MXCSR in an image of FXSAVE */
#define INSNS     200

struct pc {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct cpu cpu;
    uint8_t *ram;
};

static uint64_t icount_clock(void *opaque)
{
    return cpu_icount(&((const struct pc *)opaque)->cpu);
}

static struct pc *build(void)
{
    struct pc *p = calloc(1, sizeof *p);
    p->ram = aligned_alloc(PAGE_SIZE, RAM);
    bus_init(&p->bus, p->ram, RAM, NULL);
    clock_init(&p->clock, icount_clock, p);
    cpu_init(&p->cpu, 0, 1, &p->bus, &p->clock, &p->rng, NULL, &cpu_model_find("v3")->features);
    return p;
}

static void code_changed(struct pc *p, uint64_t at, uint64_t n)
{
    if (p->bus.code_write)
        p->bus.code_write(p->bus.opaque, at, n);
}

/* Level 0, flat; in 64-bit mode one large page maps the first 2 MiB. No IDT: a fault is the end. */
static void prepare(struct pc *p, bool wide)
{
    struct cpu_state *s = &p->cpu.s;
    memset(p->ram, 0, RAM);
    put_le64(p->ram + TABLES, (TABLES + 0x1000) | 7);
    put_le64(p->ram + TABLES + 0x1000, (TABLES + 0x2000) | 7);
    put_le64(p->ram + TABLES + 0x2000, 0x87);
    rng_seed(&p->rng, 1);
    cpu_reset(&p->cpu, false);
    s->cr0 = CR0_ET | CR0_PE | CR0_NE | (wide ? CR0_PG : 0);
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->efer = wide ? EFER_LME | EFER_LMA : 0;
    s->xcr0 = 7;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = 8, .attr = 0xc093};
    s->seg[SEG_CS].attr = wide ? 0xa09b : 0xc09b;
    s->idtr.limit = 0;
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = IMAGE + 64 * i;
    s->r[R_SP] = 0x80000;
    tlb_flush(&p->cpu);
    cpu_mode_changed(&p->cpu);
    code_changed(p, 0, RAM);
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
        p = build();
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
