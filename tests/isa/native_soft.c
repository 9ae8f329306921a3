/* native_vec.c's ishi side: a CPU in 64-bit mode, one instruction at a time through soft_run(). */
#include <stdio.h>
#include <stdlib.h>

#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"
#include "tests/isa/native_vec.h"

#define RAM_SIZE (1u << 20)
#define TABLES   0xf0000u
#define MEM_BASE 0x3c00u /* the memory operand's page ends with the operand's memory */
#define CODE     0x10000u
#define CODE_END 0x80000u

static struct bus bus;
static struct clock guest_clock;
static struct rng guest_rng;
static struct cpu cpu;
static uint64_t code_at;

static uint64_t icount_clock(void *opaque)
{
    return cpu_icount(&cpu);
}

bool ishi_init(const struct isa_features *f)
{
    uint8_t *ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    struct cpu_state *s = &cpu.s;
    memset(ram, 0, RAM_SIZE);
    bus_init(&bus, ram, RAM_SIZE, NULL);
    clock_init(&guest_clock, icount_clock, NULL);
    rng_seed(&guest_rng, 1);
    cpu_init(&cpu, 0, 1, &bus, &guest_clock, &guest_rng, NULL, f);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = 0x10, .attr = 0xc093};
    s->seg[SEG_CS].attr = 0xa09b;
    /* One large page, identity-mapped. */
    put_le64(ram + TABLES, (TABLES + 0x1000) | 7);
    put_le64(ram + TABLES + 0x1000, (TABLES + 0x2000) | 7);
    put_le64(ram + TABLES + 0x2000, 0x87);
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->xcr0 = 7;
    s->efer = EFER_LME | EFER_LMA;
    s->cr0 = (s->cr0 | CR0_PE | CR0_PG | CR0_NE) & ~(uint64_t)(CR0_EM | CR0_TS);
    s->idtr.limit = 0; /* any exception is a triple fault: c->chain tells which */
    tlb_flush(&cpu);
    code_at = CODE;
    return true;
}

bool ishi_run(struct cpu_state *s, uint8_t *mem, unsigned size, unsigned at, unsigned base_reg,
              const uint8_t *code, unsigned length, bool *xm, bool rdi)
{
    struct cpu_state *c = &cpu.s;
    const uint64_t base = s->r[base_reg];
    uint8_t text[16] = {0};
    memcpy(text, code, length);
    if (length < sizeof text)
        text[length] = 0xf4; /* HLT ends the block: lifting the zeroes behind is slow */
    if (memcmp(bus.ram + code_at, text, sizeof text)) { /* else the last one again */
        code_at = code_at > CODE_END ? CODE : code_at + sizeof text;
        bus_dma_write(&bus, code_at, text, sizeof text);
    }
    memcpy(bus.ram + MEM_BASE, mem, size);
    memcpy(c->r, s->r, 16 * sizeof c->r[0]);
    memcpy(c->v, s->v, sizeof c->v);
    memcpy(c->fp_sig, s->fp_sig, sizeof c->fp_sig);
    memcpy(c->fp_exp, s->fp_exp, sizeof c->fp_exp);
    c->fcw = s->fcw, c->fsw = s->fsw, c->ftw = s->ftw, c->mxcsr = s->mxcsr;
    c->r[base_reg] = MEM_BASE + at;
    if (rdi)
        c->r[R_DI] = MEM_BASE + at;
    c->rip = code_at;
    c->activity = ACT_RUN;
    cpu.chain_count = 0;
    flags_set(&cpu, s->rflags);
    cpu_mode_changed(&cpu);
    enum engine_exit e = soft_run(&cpu, 1);
    *xm = false;
    if (e == ENGINE_SHUTDOWN && cpu.chain_count && cpu.chain[0].vector == EXC_XM) {
        *xm = true;
    } else if (e != ENGINE_BUDGET || c->rip != code_at + length) {
        printf("exit %d at %llx (code %llx), exception %u\n", (int)e, (unsigned long long)c->rip,
               (unsigned long long)code_at, cpu.chain_count ? cpu.chain[0].vector : 0);
        return false;
    }
    memcpy(mem, bus.ram + MEM_BASE, size);
    flags_sync(&cpu);
    *s = *c;
    s->r[base_reg] = base;
    return true;
}
