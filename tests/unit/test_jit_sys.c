/* Instructions of kernels, interpreted and as generated code: random sequences of them with an
 * interrupt controller that asks now and then, in 32-bit and 64-bit mode, end alike after every
 * number of instructions. */
#include "unit.h"

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "machine_code.h"

#define TOP      0x1000u /* the sequence; whoever faults goes on here */
#define HANDLERS 0x6000u
#define STACK    0x8000u
#define DATA     0xa000u
#define TABLES   0xe0000u  /* GDT, IDT, TSS: a page each */
#define ALIAS    0x200000u /* of all memory, for user code, in 64-bit mode */
#define CASES    300
#define ROUNDS   24

#define CODE0  0x08
#define DATA0  0x10
#define CODE3  0x1b /* and its stack's behind it, as SYSEXIT wants */
#define DATA3  0x23
#define CODE64 0x2b
#define TSS    0x30
#define FS0    0x40
#define FS_BAD 0x48 /* not present */

struct intr {
    struct cpu *cpu;
    bool level, tells;
};

static bool pending(void *apic)
{
    return ((struct intr *)apic)->level;
}

static void set_level(struct intr *i, bool level)
{
    i->level = level;
    if (i->tells)
        cpu_intr(i->cpu, level);
    else if (level)
        cpu_request(i->cpu, REQ_INTR);
}

static int ack(void *apic)
{
    struct intr *i = apic;
    if (!i->level)
        return -1;
    set_level(i, false);
    return 0x40;
}

/* Pieces of code: bytes that stand for themselves, 'D' << 8 for 4 bytes of an address in DATA, 'I'
 * << 8 for any byte, 'F' << 8 for 4 bytes of flags without TF, 'S' << 8 for a selector. */
#define END 0xffffu
#define N   12
typedef uint16_t piece[N];
#define D ('D' << 8)
#define I ('I' << 8)
#define F ('F' << 8)
#define S ('S' << 8)
/* clang-format off */
static const piece both[] = {
    {0xfa, END}, {0xfb, END}, {0xfb, 0x90, END}, {0x9c, 0x58, END}, {0x9c, END},
    {0x83, 0xc0, I, END}, {0x29, 0xd8, END}, {0x21, 0xc3, END}, {0x3c, I, END}, {0xff, 0xc1, END},
    {0x0f, 0x01, 0xcb, END}, {0x0f, 0x01, 0xca, END},
    {0x8c, 0xd8, END}, {0x8c, 0xe1, END}, {0x66, 0x8c, 0xd3, END}, {0x8c, 0xcb, END},
    {0x0f, 0xa0, END}, {0x0f, 0xa8, END}, {0x58, END}, {0x53, END},
    {0x68, F, 0x9d, END}, {0x9c, 0x9d, END}, {0x9c, 0xfa, 0x9d, END}, {0x68, F, 0x9d, 0x90, END},
    {0xb8, S, 0x8e, 0xd8, END}, {0xb8, S, 0x8e, 0xe0, END}, {0xb8, S, 0x8e, 0xc0, END},
    {0x68, S, 0x0f, 0xa1, END}, {0x8e, 0xe0, END}, {0x0f, 0xa9, END},
    {0x0f, 0x31, END}, {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, END}, {0x0f, 0x01, 0x3b, END},
    {0x0f, 0x06, END}, {0xcd, 0x41, END}, {0x74, 1, 0x90, END}, {0xf9, END},
};
static const piece only32[] = {
    {0x1e, END}, {0x06, END}, {0x16, END}, {0x0e, END}, {0x66, 0x1e, END}, {0x66, 0x9c, END},
    {0x1e, 0x1f, END}, {0x06, 0x07, END}, {0x68, S, 0x07, END}, {0x68, S, 0x1f, END},
    {0x64, 0xa1, I, 0x0f, 0, 0, END}, {0x64, 0xa3, I, 0x0f, 0, 0, END},
    {0x64, 0x01, 0x1d, I, 0x0f, 0, 0, END}, {0x64, 0x8a, 0x1d, I, 0x10, 0, 0, END},
    {0x64, 0x66, 0x89, 0x1d, I, 0, 0, 0, END}, {0x65, 0xa1, I, 0, 0, 0, END},
    {0x67, 0x64, 0x8b, 0x47, I, END}, {0x64, 0xff, 0x05, I, 0x01, 0, 0, END}, {0x2e, 0xa1, D, END},
    {0x64, 0x8b, 0x03, END}, {0x3e, 0xa1, D, END}, {0x26, 0x01, 0x05, D, END},
    {0xb8, S, 0x8e, 0xd0, END}, {0x16, 0x17, END}, {0x0f, 0x34, END}, {0x89, 0xe1, 0x0f, 0x35, END},
};
static const piece only64[] = {
    {0x0f, 0x01, 0xf8, END}, {0x65, 0x48, 0x8b, 0x04, 0x25, I, 0, 0, 0, END}, {0x0f, 0x05, END},
    {0x65, 0x48, 0x01, 0x1c, 0x25, I, 0x10, 0, 0, END}, {0x66, 0x9c, END},
    {0x48, 0x8b, 0x04, 0x25, I, 0xa0, 0x20, 0, END}, /* the user's alias */
    {0x48, 0x89, 0x04, 0x25, I, 0xa0, 0, 0, END},
    {0x48, 0xb9, I, 0x10, 0x20, 0, 0, 0, 0, 0, END}, {0x41, 0xbb, F, END}, {0x48, 0x0f, 0x07, END},
};
/* clang-format on */

static uint8_t *put_piece(uint8_t *at, const uint16_t *p, struct rng *r)
{
    static const uint16_t selectors[] = {DATA0, DATA3, FS0, FS0, DATA0, 0, FS_BAD, CODE0};
    static const uint32_t flags[] = {EF_IF, EF_AC, EF_DF, 0x3000, EF_ID, EF_NT, EF_RF, F_C};
    for (; *p != END; p++) {
        uint32_t v = DATA + (uint32_t)(rng_next(r) & 0xff);
        switch (*p) {
        case F:
            v = (uint32_t)rng_next(r) & F_OSZAPC;
            for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
                v |= rng_next(r) % 4 ? 0 : flags[i];
            break;
        case S: v = selectors[rng_next(r) % ARRAY_LEN(selectors)]; break;
        case D: break;
        default: *at++ = *p == I ? (uint8_t)rng_next(r) : (uint8_t)*p; continue;
        }
        put_le32(at, v);
        at += 4;
    }
    return at;
}

static void put_code(struct pc *p, bool wide, uint64_t seed)
{
    struct rng r;
    uint8_t *at = p->ram + TOP;
    rng_seed(&r, seed);
    for (unsigned i = 0; i < 40; i++) {
        unsigned kind = rng_next(&r) % 3;
        const uint16_t *k = kind   ? both[rng_next(&r) % ARRAY_LEN(both)]
                            : wide ? only64[rng_next(&r) % ARRAY_LEN(only64)]
                                   : only32[rng_next(&r) % ARRAY_LEN(only32)];
        at = put_piece(at, k, &r);
    }
    *at++ = 0xe9; /* jmp TOP */
    put_le32(at, (uint32_t)(TOP - (at + 4 - p->ram)));
}

/* Faults with and without an error code go on at TOP at level 0, with a stack of their own; the
 * interrupt and INT 41h return. */
static void put_handlers(struct pc *p, bool wide)
{
    static const uint8_t to_top32[] = {
        0x83, 0xc4, 0x04,                                /* add esp, 4 */
        0xc7, 0x04, 0x24, 0x00, 0x10,  0x00, 0x00,       /* mov dword [esp], TOP */
        0xc7, 0x44, 0x24, 0x04, CODE0, 0x00, 0x00, 0x00, /* mov dword [esp + 4], CODE0 */
        0xbc, 0x00, 0x80, 0x00, 0x00,                    /* mov esp, STACK */
        0xe9};
    static const uint8_t to_top64[] = {0xbc, 0x00, 0x80, 0x00, 0x00, 0xe9};
    uint8_t *h = p->ram + HANDLERS;
    memcpy(h + 3, wide ? to_top64 : to_top32, wide ? sizeof to_top64 : sizeof to_top32);
    h += 3 + (wide ? sizeof to_top64 : sizeof to_top32);
    put_le32(h, (uint32_t)(TOP - (h + 4 - p->ram)));
    memcpy(p->ram + HANDLERS + 0x80, wide ? "\x48\xcf" : "\xcf\x90", 2);
}

static uint64_t seg_desc(uint32_t base, uint32_t limit, uint16_t attr)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(attr >> 12) << 52 |
           (uint64_t)(base >> 24) << 56;
}

static void put_tables(struct pc *p, bool wide, uint16_t fs_attr)
{
    uint8_t *gdt = p->ram + TABLES, *idt = gdt + PAGE_SIZE, *tss = idt + PAGE_SIZE;
    put_le64(gdt + CODE0, seg_desc(0, 0xfffff, wide ? 0xa09b : 0xc09b));
    put_le64(gdt + DATA0, seg_desc(0, 0xfffff, 0xc093));
    put_le64(gdt + (CODE3 & ~7), seg_desc(0, 0xfffff, 0xc0fb));
    put_le64(gdt + (DATA3 & ~7), seg_desc(0, 0xfffff, 0xc0f3));
    put_le64(gdt + (CODE64 & ~7), seg_desc(0, 0xfffff, 0xa0fb));
    put_le64(gdt + TSS, seg_desc(TABLES + 2 * PAGE_SIZE, 0x67, 0x8b));
    put_le64(gdt + FS0, seg_desc(DATA, 0xfff, fs_attr));
    put_le64(gdt + FS_BAD, seg_desc(DATA, 0xfff, 0x4013));
    for (unsigned v = 0; v < 0x42; v++) {
        uint32_t to = v >= 0x40 ? HANDLERS + 0x80 : HANDLERS + 3;
        uint8_t *g = idt + v * (wide ? 16u : 8u);
        put_le64(g, (to & 0xffff) | (uint64_t)CODE0 << 16 |
                        (uint64_t)(v == 0x41 ? 0xee : 0x8e) << 40 | (uint64_t)(to >> 16) << 48);
    }
    put_le32(tss + 4, STACK + 0x800); /* ESP0; RSP0 */
    put_le32(tss + 8, wide ? 0 : DATA0);
}

static void prepare(struct pc *p, struct intr *apic, bool wide, uint64_t seed)
{
    struct cpu *c = &p->cpu;
    struct cpu_state *s = &c->s;
    struct rng r;
    rng_seed(&r, seed);
    memset(p->ram, 0, RAM_SIZE);
    cpu_reset(c, false);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = DATA0, .attr = 0xc093};
    s->cr0 = CR0_ET | CR0_PE | (rng_next(&r) & CR0_AM);
    if (wide)
        pc_long(p);
    s->cr4 |= CR4_OSFXSR | (rng_next(&r) & CR4_SMAP);
    s->efer |= EFER_SCE;
    s->seg[SEG_CS] =
        (struct seg){.limit = 0xffffffff, .sel = CODE0, .attr = wide ? 0xa09b : 0xc09b};
    s->seg[SEG_FS] = (struct seg){.base = DATA, .limit = 0xfff, .sel = FS0, .attr = 0x4093};
    s->seg[SEG_GS].base = DATA;
    s->kernel_gs_base = STACK;
    s->tr = (struct seg){.base = TABLES + 2 * PAGE_SIZE, .limit = 0x67, .sel = TSS, .attr = 0x8b};
    s->gdtr = (struct dtable){.base = TABLES, .limit = 0xfff};
    s->idtr = (struct dtable){.base = TABLES + PAGE_SIZE, .limit = 0xfff};
    s->sysenter_cs = CODE0;
    s->sysenter_esp = STACK;
    s->sysenter_eip = s->lstar = TOP;
    s->star = (uint64_t)CODE0 << 32 | (uint64_t)(CODE3) << 48;
    s->fmask = EF_TF | EF_NT | (rng_next(&r) & EF_IF);
    if (wide) { /* the first 2 MiB are the kernel's */
        put_le64(p->ram + 0xf2000, 0x83);
        put_le64(p->ram + 0xf2008, 0x87);
    }
    put_tables(p, wide, rng_next(&r) % 4 ? 0x4093 : (uint16_t)(0x4090 | (rng_next(&r) & 0xf)));
    put_handlers(p, wide);
    put_code(p, wide, seed);
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = DATA + (rng_next(&r) & 0xfff);
    s->r[R_DX] = TOP;
    s->r[R_SP] = STACK;
    s->rip = TOP;
    s->rflags = EF_FIXED | (rng_next(&r) & EF_IF);
    c->request = 0;
    apic->level = false;
    apic->tells = seed & 1;
    c->intr_quiet = apic->tells;
    c->apic.pending = pending;
    c->apic.ack = ack;
    c->apic.apic = apic;
    tlb_flush(c);
    cpu_mode_changed(c);
    blocks_flush(c->blocks);
}

static enum engine_exit go(struct pc *p, const struct engine *x, uint64_t end)
{
    enum engine_exit why = ENGINE_BUDGET;
    while (p->cpu.s.icount < end && why == ENGINE_BUDGET)
        why = x->run(&p->cpu, end - p->cpu.s.icount);
    cpu_settle(&p->cpu);
    return why;
}

/* Gives back how many instructions ran. */
static uint64_t compare(struct pc *a, struct pc *b, struct intr *ia, struct intr *ib, unsigned name)
{
    uint64_t begin = b->cpu.s.icount;
    struct rng r;
    rng_seed(&r, name);
    for (unsigned k = 0; k < ROUNDS; k++) {
        uint64_t end = a->cpu.s.icount + (k & 1 ? 1500 : 1 + rng_next(&r) % 300);
        enum engine_exit x = go(a, &engine_interp, end), y = go(b, &engine_jit, end);
        if (x != y ||
            state_hash(STATE_HASH_INIT, &cpu_state_table, &a->cpu.s) !=
                state_hash(STATE_HASH_INIT, &cpu_state_table, &b->cpu.s) ||
            memcmp(a->ram, b->ram, 0x10000) ||
            memcmp(a->ram + TABLES, b->ram + TABLES, 3 * PAGE_SIZE))
            fail_msg("case %u round %u: at %llx and %llx, flags %llx and %llx", name, k,
                     (unsigned long long)a->cpu.s.rip, (unsigned long long)b->cpu.s.rip,
                     (unsigned long long)a->cpu.s.rflags, (unsigned long long)b->cpu.s.rflags);
        if (x != ENGINE_BUDGET) /* a triple fault */
            break;
        bool level = rng_next(&r) & 1;
        set_level(ia, level);
        set_level(ib, level);
    }
    return b->cpu.s.icount - begin;
}

static void test_same(void **state)
{
    static const uint8_t nop = 0x90;
    (void)state;
    struct pc *a = start(FLAT32, &nop, 1), *b = start(FLAT32, &nop, 1);
    struct cpu *ca = &a->cpu, *cb = &b->cpu;
    struct intr ia = {.cpu = ca}, ib = {.cpu = cb};
    struct err e = {0};
    assert_true(engine_interp.join(&ca, 1, &e));
    assert_true(engine_jit.join(&cb, 1, &e));
    uint64_t done = 0;
    for (unsigned i = 0; i < CASES; i++) {
        prepare(a, &ia, i % 4 >= 2, i);
        prepare(b, &ib, i % 4 >= 2, i);
        done += compare(a, b, &ia, &ib, i);
    }
    assert_true(done > CASES * ROUNDS * 100);
    engine_jit.part(&cb, 1);
    pc_free(b);
    pc_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
    };
    return RUN(tests);
}
