/* A processor with some RAM, for tests that call the CPU's functions without an engine. */
#ifndef ISHI_TESTS_CPU_MACHINE_H
#define ISHI_TESTS_CPU_MACHINE_H

#include <stdlib.h>
#include <time.h>

#include "cpu/cpuid.h"
#include "cpu/debug.h"
#include "cpu/flags.h"
#include "cpu/helpers.h"
#include "cpu/intr.h"
#include "cpu/seg.h"
#include "cpu/task.h"
#include "tests/coverage.h"
#include "unit.h"

#define RAM_SIZE (4u << 20)
#define GDT_AT   0x1000u
#define IDT_AT   0x2000u
#define TSS_AT   0x3000u
#define LDT_AT   0x4000u

/* Selectors of gdt_flat(). */
#define SEL_CODE0  0x08
#define SEL_DATA0  0x10
#define SEL_CODE3  0x1b
#define SEL_DATA3  0x23
#define SEL_TSS    0x28
#define SEL_CODE64 0x38 /* 0x30 is the TSS's upper half in long mode */
#define SEL_FREE   0x40 /* 0x40.. are the test's own */

/* ns of the host's clock. */
static inline uint64_t monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

struct machine {
    struct cpu c;
    struct bus bus;
    struct clock clock;
    struct rng rng;
    uint8_t *ram;
};

static inline uint64_t machine_time(void *opaque)
{
    return 0;
}

static inline struct machine *machine_new(const char *model)
{
    struct machine *m = calloc(1, sizeof *m);
    m->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(m->ram, 0, RAM_SIZE);
    bus_init(&m->bus, m->ram, RAM_SIZE, NULL);
    clock_init(&m->clock, machine_time, NULL);
    cpu_init(&m->c, 0, 1, &m->bus, &m->clock, &m->rng, NULL, &cpu_model_find(model)->features);
    m->c.single = true;
    coverage_attach(&m->c);
    return m;
}

static inline void machine_free(struct machine *m)
{
    cpu_free(&m->c);
    bus_free(&m->bus);
    free(m->ram);
    free(m);
}

static inline uint64_t peek(struct machine *m, uint64_t addr, unsigned size)
{
    return bus_read(&m->bus, addr, size);
}

static inline void poke(struct machine *m, uint64_t addr, unsigned size, uint64_t v)
{
    bus_write(&m->bus, addr, size, v);
}

/* A descriptor; attr as in struct seg: access byte, and G D L AVL in bits 15:12. limit in the
 * descriptor's own unit. */
static inline uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attr)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(attr >> 12) << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline void gdt(struct machine *m, unsigned sel, uint64_t v)
{
    poke(m, GDT_AT + (sel & 0xfff8), 8, v);
}

/* An interrupt, trap, task or call gate: `access` is its byte 5. */
static inline uint64_t gate(uint16_t sel, uint32_t offset, uint8_t access, unsigned params)
{
    return (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)params << 32 |
           (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

static inline void idt(struct machine *m, unsigned vector, uint64_t v)
{
    poke(m, IDT_AT + vector * 8, 8, v);
}

static inline void set_seg(struct cpu *c, unsigned seg, uint16_t sel, uint16_t attr)
{
    c->s.seg[seg] =
        (struct seg){.sel = sel, .attr = attr, .limit = attr & SEG_G ? 0xffffffff : 0xffff};
}

/* Flat 32-bit protected mode at level 0 or 3, tables at their places, TSS with SS0:ESP0 =
 * 10:80000. */
static inline void protected_mode(struct machine *m, unsigned cpl)
{
    struct cpu *c = &m->c;
    gdt(m, SEL_CODE0, descriptor(0, 0xfffff, 0xc09b));
    gdt(m, SEL_DATA0, descriptor(0, 0xfffff, 0xc093));
    gdt(m, SEL_CODE3, descriptor(0, 0xfffff, 0xc0fb));
    gdt(m, SEL_DATA3, descriptor(0, 0xfffff, 0xc0f3));
    gdt(m, SEL_TSS, descriptor(TSS_AT, 0x67, 0x8b));
    gdt(m, SEL_CODE64, descriptor(0, 0xfffff, 0xa09b));
    c->s.gdtr = (struct dtable){.base = GDT_AT, .limit = 0xfff};
    c->s.idtr = (struct dtable){.base = IDT_AT, .limit = 0x7ff};
    c->s.cr0 |= CR0_PE;
    c->s.tr = (struct seg){.sel = SEL_TSS, .base = TSS_AT, .limit = 0x67, .attr = 0x8b};
    poke(m, TSS_AT + 4, 4, 0x80000);
    poke(m, TSS_AT + 8, 4, SEL_DATA0);
    set_seg(c, SEG_CS, cpl ? SEL_CODE3 : SEL_CODE0, cpl ? 0xc0fb : 0xc09b);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (i != SEG_CS)
            set_seg(c, i, cpl ? SEL_DATA3 : SEL_DATA0, cpl ? 0xc0f3 : 0xc093);
    c->s.rip = 0x10000;
    c->next_rip = 0x10002;
    c->s.r[R_SP] = 0x90000;
    c->s.activity = ACT_RUN;
    cpu_mode_changed(c);
}

/* 4-level tables at 100000: the first 1 GiB by 2 MiB pages, identity, user and writable. */
#define PML4_AT 0x100000u
#define PDPT_AT 0x101000u
#define PD_AT   0x102000u
#define PT_AT   0x103000u /* not linked; for the test */

static inline void long_mode(struct machine *m, unsigned cpl)
{
    struct cpu *c = &m->c;
    protected_mode(m, cpl);
    poke(m, PML4_AT, 8, PDPT_AT | 7);
    poke(m, PDPT_AT, 8, PD_AT | 7);
    for (unsigned i = 0; i < 512; i++)
        poke(m, PD_AT + 8 * i, 8, (uint64_t)i << 21 | 0x87);
    c->s.idtr.limit = 0xfff;
    c->s.cr3 = PML4_AT;
    c->s.cr4 |= CR4_PAE;
    c->s.efer |= EFER_LME | EFER_LMA | EFER_NXE;
    c->s.cr0 |= CR0_PG | CR0_WP;
    c->s.seg[SEG_CS].attr = cpl ? 0xa0fb : 0xa09b;
    c->s.seg[SEG_CS].sel = cpl ? 0x4b : SEL_CODE64;
    gdt(m, 0x48, descriptor(0, 0xfffff, 0xa0fb));
    poke(m, TSS_AT + 4, 8, 0x80000);
    tlb_flush(c);
    cpu_mode_changed(c);
}

#define assert_fault(m, vec, err)                    \
    do {                                             \
        assert_int_equal((m)->c.fault.vector, vec);  \
        assert_int_equal((m)->c.fault.error, (err)); \
    } while (0)

#endif
