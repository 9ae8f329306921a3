/* ishi's side of a case: a CPU at level 3 under four-level paging, driven through the engine's
 * interface, so that any engine can stand there.
 *
 * Nothing is where an exception would go (the IDT is empty), so that every exception ends as a
 * shutdown whose chain says what came first. A case ends at WIT_EXIT, where the code jumps to
 * itself. */
#include <stdlib.h>

#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "tests/coverage.h"
#include "tests/isa/witness.h"

#define RAM_SIZE (4u << 20)
#define KERNEL   0xffff800000000000ull /* where the CPU finds its GDT and TSS */
#define GDT_AT   0x1000u
#define TSS_AT   0x1100u
#define TABLES   0x100000u /* page tables, one behind the other */
#define DATA_AT  0x200000u
#define CODE_AT  0x300000u
#define EXIT_AT  0x310000u

struct own {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct cpu cpu;
    const struct engine *engine;
    uint8_t *ram;
    uint64_t next_table;
    uint8_t background[WIT_BYTES], before[WIT_BYTES];
};

static struct own own;

static uint64_t now(void *opaque)
{
    return cpu_icount(opaque);
}

#define PTE_P  1u
#define PTE_RW 2u
#define PTE_US 4u
#define PTE_NX BIT(63)

static void map(struct own *o, uint64_t la, uint64_t paddr, uint64_t rights)
{
    uint64_t table = TABLES;
    for (unsigned shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        uint8_t *e = o->ram + table + (la >> shift & 511) * 8;
        if (!get_le64(e)) {
            o->next_table += PAGE_SIZE;
            put_le64(e, o->next_table | PTE_P | PTE_RW | PTE_US);
        }
        table = get_le64(e) & ~0xfffull;
    }
    put_le64(o->ram + table + (la >> PAGE_SHIFT & 511) * 8, paddr | rights | PTE_P);
}

static void map_data(struct own *o, uint64_t la)
{
    for (unsigned i = 0; i < WIT_BYTES; i += PAGE_SIZE)
        map(o, la + i, DATA_AT + i, PTE_US | PTE_NX | (i < WIT_RW ? PTE_RW : 0));
}

/* What user code sees of Linux's GDT, selector by selector. */
static void make_gdt(struct own *o, uint64_t cpu_segment)
{
    static const uint64_t entries[] = {
        0,
        0x00cf9b000000ffff, /* 08: the kernel's 32-bit code */
        0x00af9b000000ffff, /* 10: its 64-bit code */
        0x00cf93000000ffff, /* 18: its data */
        0x00cffb000000ffff, /* 20: 32-bit user code */
        0x00cff3000000ffff, /* 28: user data */
        0x00affb000000ffff, /* 30: 64-bit user code */
    };
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
        put_le64(o->ram + GDT_AT + 8 * i, entries[i]);
    put_le64(o->ram + GDT_AT + (WIT_CPU_SEL & ~7u), cpu_segment);
    put_le16(o->ram + TSS_AT + 0x66, 0x68); /* no I/O permission map */
}

bool wit_ishi_init(const struct wit *w, const struct engine *engine, struct err *e)
{
    struct own *o = &own;
    o->engine = engine;
    o->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(o->ram, 0, RAM_SIZE);
    bus_init(&o->bus, o->ram, RAM_SIZE, NULL);
    bus_set_a20(&o->bus, true);
    clock_init(&o->clock, now, &o->cpu);
    rng_seed(&o->rng, 1);
    cpu_init(&o->cpu, 0, 1, &o->bus, &o->clock, &o->rng, NULL, &w->features);
    coverage_attach(&o->cpu);
    o->next_table = TABLES;
    map_data(o, WIT_DATA);
    map_data(o, WIT_HIGH);
    for (unsigned i = 0; i < WIT_BYTES; i += PAGE_SIZE)
        map(o, WIT_OVER + i, DATA_AT + (i < WIT_RW ? PAGE_SIZE - i : i),
            PTE_US | PTE_NX | (i < WIT_RW ? PTE_RW : 0));
    if (w->low)
        map_data(o, WIT_LOW);
    for (unsigned i = 0; i < WIT_CODE_BYTES; i += PAGE_SIZE)
        map(o, WIT_CODE + i, CODE_AT + i, PTE_US);
    map(o, WIT_EXIT, EXIT_AT, PTE_US);
    map(o, KERNEL, GDT_AT, PTE_RW);
    memset(o->ram + CODE_AT, 0xcc, WIT_CODE_BYTES);
    put_le16(o->ram + EXIT_AT, 0xfeeb); /* jmp $, both for 64 and for 32 bits */
    put_le16(o->ram + EXIT_AT + 0x40, 0xfeeb);
    make_gdt(o, w->cpu_segment);
    wit_background(o->background);
    memcpy(o->ram + DATA_AT, o->background, WIT_BYTES);
    struct cpu *c = &o->cpu;
    return engine->join(&c, 1, e);
}

void wit_ishi_end(void)
{
    struct cpu *c = &own.cpu;
    own.engine->part(&c, 1);
    cpu_free(c);
    bus_free(&own.bus);
    free(own.ram);
}

/* The system's part of the state: as Linux has it for a process. */
static void load_system(const struct wit *w, struct cpu *c, enum isa_mode mode)
{
    struct cpu_state *s = &c->s;
    s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    if (isa_has(&w->features, FEAT_FSGSBASE))
        s->cr4 |= CR4_FSGSBASE;
    s->xcr0 = w->ymm ? 7 : 3;
    s->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    s->gdtr = (struct dtable){.base = KERNEL, .limit = 0x7f};
    s->tr =
        (struct seg){.base = KERNEL + TSS_AT - GDT_AT, .limit = 0x67, .sel = 0x40, .attr = 0x8b};
    s->idtr = (struct dtable){0};
    s->ldtr = (struct seg){0};
    struct seg data = {.limit = ~0u, .sel = 0x2b, .attr = 0xc0f3};
    s->seg[SEG_DS] = s->seg[SEG_ES] = s->seg[SEG_SS] = data;
    s->seg[SEG_FS] = (struct seg){.base = w->fs};
    s->seg[SEG_GS] = (struct seg){.base = WIT_GS};
    bool wide = mode == ISA_64;
    s->seg[SEG_CS] =
        (struct seg){.limit = ~0u, .sel = wide ? 0x33 : 0x23, .attr = wide ? 0xa0fb : 0xc0fb};
}

static void load(const struct wit *w, struct own *o, const struct wit_case *t)
{
    struct cpu *c = &o->cpu;
    struct cpu_state *s = &c->s;
    const struct wit_state *in = &t->in;
    memcpy(o->ram + DATA_AT, o->before, WIT_RW);
    load_system(w, c, t->mode);
    memcpy(s->r, in->r, sizeof in->r);
    s->rip = WIT_CODE + t->code_at;
    s->rflags = in->rflags | EF_FIXED;
    s->cc_op = 0;
    s->fcw = in->x.fcw;
    s->fsw = in->x.fsw;
    s->ftw = in->x.ftw;
    s->fop = in->x.fop;
    s->fip = in->x.fip;
    s->fdp = in->x.fdp;
    s->fcs = s->fds = 0;
    s->mxcsr = in->x.mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        unsigned phys = ((in->x.fsw >> 11) + i) & 7;
        s->fp_sig[phys] = in->x.st[i].sig;
        s->fp_exp[phys] = in->x.st[i].exp;
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&s->v[i], in->x.xmm[i], 16);
        memcpy(&s->v[i].q[2], in->x.high[i], 16);
    }
    s->activity = ACT_RUN;
    s->shadow = 0;
    s->pending_db = 0;
    s->stepping = 0;
    c->request = 0;
    c->chain_count = 0;
    cpu_mode_changed(c);
}

static void store(const struct cpu *c, struct wit_state *a, enum engine_exit why)
{
    memcpy(a->r, c->s.r, sizeof a->r);
    a->rflags = flags_get(c);
    a->vector = EXC_NONE;
    a->rip = c->s.rip;
    a->error = 0;
    a->cr2 = 0;
    if (why == ENGINE_SHUTDOWN) {
        const struct fault *f = &c->chain[0];
        a->vector = f->vector;
        a->error = f->has_error ? f->error : 0;
        a->cr2 = f->vector == EXC_PF ? f->addr : 0;
        a->rip = f->rip;
        if (f->vector == EXC_GP && f->error & 2) { /* INT3, INTO: no gate, says this one */
            a->vector = f->error >> 3;
            a->error = 0;
        }
    }
    a->x.fcw = c->s.fcw;
    a->x.fsw = c->s.fsw;
    a->x.ftw = c->s.ftw;
    a->x.fop = c->s.fop;
    a->x.fip = c->s.fip;
    a->x.fdp = c->s.fdp;
    a->x.mxcsr = c->s.mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        unsigned phys = ((c->s.fsw >> 11) + i) & 7;
        a->x.st[i].sig = c->s.fp_sig[phys];
        a->x.st[i].exp = c->s.fp_exp[phys];
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(a->x.xmm[i], &c->s.v[i], 16);
        memcpy(a->x.high[i], &c->s.v[i].q[2], 16);
    }
    a->ds = c->s.seg[SEG_DS].sel;
    a->es = c->s.seg[SEG_ES].sel;
}

static bool at_exit(const struct cpu *c)
{
    return c->s.rip == WIT_EXIT || c->s.rip == WIT_EXIT + 0x40;
}

static void put_code(struct own *o, const struct wit_case *t, bool put)
{
    uint8_t b[WIT_CODE_MAX + 5];
    unsigned n = t->code_len + 5u, room = WIT_CODE_BYTES - t->code_at;
    memset(b, 0xcc, n);
    if (put) {
        memcpy(b, t->code, t->code_len);
        b[t->code_len] = 0xe9;
        uint32_t way = t->mode == ISA_64 ? 0 : 0x40;
        put_le32(b + t->code_len + 1, (uint32_t)(WIT_EXIT + way - (WIT_CODE + t->code_at + n)));
    }
    bus_dma_write(&o->bus, CODE_AT + t->code_at, b, n < room ? n : room);
}

#define STEPS 14000 /* runs; a repeated string instruction may go through all the data */

void wit_ishi_run(const struct wit *w, const struct wit_case *t, struct wit_result *r)
{
    struct own *o = &own;
    struct cpu *c = &o->cpu;
    enum engine_exit why = ENGINE_BUDGET;
    wit_memory(t, o->background, o->before);
    put_code(o, t, true);
    for (unsigned pass = 0; pass <= w->warm; pass++) {
        load(w, o, t);
        why = ENGINE_BUDGET;
        for (unsigned i = 0; i < STEPS && why != ENGINE_SHUTDOWN && !at_exit(c); i++)
            why = o->engine->run(c, t->odd_budget ? 1 : i ? 64 : t->insns + 1u);
    }
    store(c, &r->s, why);
    wit_changed(r, o->before, o->ram + DATA_AT);
    r->died = false;
    put_code(o, t, false);
}
