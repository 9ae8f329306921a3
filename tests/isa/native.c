/* Runs random instances of the table's rows on ishi's CPU and on this machine's own, in 64-bit
 * mode, and compares registers, flags, FPU and vector state, memory and exceptions.
 *
 *   test_native [-n instances of each row] [-s seed] [-v] [mnemonic …]
 *
 * A signal handler puts the state into its saved context and returns into the test instruction; the
 * INT3 behind it, or its fault, brings the result back by another signal. The guest has the same
 * few pages at the same addresses, and HLT in the place of INT3.
 *
 * Only what user code may do, and neither branches nor segment loads. What a row calls undefined is
 * not compared; `exceptions` lists the rest that processors differ in. */
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "engine/engine.h"

#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#define DATA      0x100000u /* 4 pages, read and write */
#define DATA_SIZE 0x4000u
#define MIDDLE    (DATA + DATA_SIZE / 2)
#define CODE      0x110000u /* 1 page */
#define TABLES    0x3000u   /* the guest's page tables, 4 pages */
#define RAM_SIZE  (2u << 20)

struct fx {
    uint16_t fcw, fsw;
    uint8_t ftw, unused;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t sig;
        uint16_t exp, unused[3];
    } st[8];
    uint64_t xmm[16][2];
    uint8_t rest[96];
};
_Static_assert(sizeof(struct fx) == 512, "FXSAVE's layout");

struct regs {
    uint64_t r[16], rip, rflags; /* in the order of enum reg */
    struct fx fx;
    uint64_t high[16][2]; /* of the YMM registers */
    unsigned vector;      /* EXC_BP: ran to its end */
};

struct test {
    const struct isa_row *row;
    enum isa_mode mode; /* 32 bits: compatibility mode */
    struct insn in;
    uint8_t bytes[ISA_MAX_LEN];
    struct regs before, host, guest;
    uint8_t data[DATA_SIZE], host_data[DATA_SIZE];
};

static struct rng rng;

static unsigned chance(unsigned n)
{
    return rng_next(&rng) % n;
}

/* --- The host --- */

static const uint8_t context_reg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                        REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                        REG_R12, REG_R13, REG_R14, REG_R15};
/* Behind the FXSAVE area of a signal frame: the XSAVE header and the YMM registers' upper halves
 * (SDM 1 13.4). */
struct xstate {
    uint64_t present, unused[7];
    uint64_t high[16][2];
};

#define XSTATE_MAGIC 0x46505853u /* in the last 48 bytes of the FXSAVE area */

static struct xstate *frame_xstate(struct fx *fx)
{
    return get_le32(fx->rest + 48) == XSTATE_MAGIC ? (struct xstate *)(fx + 1) : NULL;
}

/* Selectors of the Linux kernel; the context has CS and SS in the outer words of one register. */
#define USER_CS32 0x23ull
#define USER_CS64 0x33ull
#define USER_SS   0x2bull
#define CS_AND_SS 0xffff00000000ffffull

static enum isa_mode running_mode;
static bool host_has_ymm;
static struct regs *running; /* what the next signal starts, then what runs */
static bool started;
static mcontext_t saved;
static struct fx saved_fx;
static struct xstate saved_x;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    struct fx *fx = (struct fx *)m->fpregs;
    struct xstate *x = frame_xstate(fx);
    if (!started) {
        started = true;
        saved = *m;
        saved_fx = *fx;
        for (unsigned i = 0; i < 16; i++)
            m->gregs[context_reg[i]] = running->r[i];
        m->gregs[REG_RIP] = CODE;
        m->gregs[REG_CSGSFS] &= ~CS_AND_SS;
        m->gregs[REG_CSGSFS] |= USER_SS << 48 | (running_mode == ISA_64 ? USER_CS64 : USER_CS32);
        m->gregs[REG_EFL] = running->rflags;
        memcpy(fx, &running->fx, offsetof(struct fx, rest));
        host_has_ymm = x != NULL;
        if (x) {
            saved_x = *x;
            x->present |= 7;
            memcpy(x->high, running->high, sizeof x->high);
        }
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        running->r[i] = m->gregs[context_reg[i]];
    running->rip = m->gregs[REG_RIP];
    running->rflags = m->gregs[REG_EFL];
    running->vector = m->gregs[REG_TRAPNO];
    running->fx = *fx;
    if (x) {
        memset(running->high, 0, sizeof running->high);
        if (x->present & 4)
            memcpy(running->high, x->high, sizeof x->high);
        if (!(x->present & 2))
            memset(running->fx.xmm, 0, sizeof running->fx.xmm);
        *x = saved_x;
    }
    memcpy(m->gregs, saved.gregs, sizeof saved.gregs);
    memcpy(fx, &saved_fx, offsetof(struct fx, rest));
}

static void run_host(struct test *t)
{
    memcpy((void *)(uintptr_t)DATA, t->data, DATA_SIZE);
    memset((void *)(uintptr_t)CODE, 0xcc, 32);
    memcpy((void *)(uintptr_t)CODE, t->bytes, t->in.length);
    t->host = t->before;
    running = &t->host;
    running_mode = t->mode;
    started = false;
    raise(SIGUSR1);
    memcpy(t->host_data, (void *)(uintptr_t)DATA, DATA_SIZE);
}

static void host_init(void)
{
    static const int signals[] = {SIGUSR1, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    static uint8_t stack[65536];
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction sa = {.sa_sigaction = on_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &sa, NULL);
    void *data = mmap((void *)(uintptr_t)DATA, DATA_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    void *code = mmap((void *)(uintptr_t)CODE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    /* 64-bit code has none in them; 32-bit code needs them. */
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"((unsigned)USER_SS));
    if (data == MAP_FAILED || code == MAP_FAILED) {
        puts("skipped: low addresses can't be mapped here");
        exit(77);
    }
}

static struct isa_features host_features(void)
{
    struct isa_features f = {{0, 0}};
#define X(id, leaf, reg, bit, name)                                       \
    {                                                                     \
        unsigned r[4] = {0, 0, 0, 0};                                     \
        __get_cpuid_count(leaf, leaf == 0xd, &r[0], &r[1], &r[2], &r[3]); \
        if (!(leaf) || r[reg] >> (bit)&1)                                 \
            f.word[FEAT_##id >> 6] |= BIT(FEAT_##id & 63);                \
    }
    ISA_FEATURES(X)
#undef X
    return f;
}

/* --- The guest --- */

struct guest {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct log log;
    struct cpu cpu;
    uint8_t *ram;
};

static uint64_t no_time(void *opaque)
{
    return 0;
}

static void guest_init(struct guest *g, struct isa_features features)
{
    g->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(g->ram, 0, RAM_SIZE);
    for (unsigned level = 0; level < 3; level++)
        put_le64(g->ram + TABLES + level * PAGE_SIZE, (TABLES + (level + 1) * PAGE_SIZE) | 3);
    for (unsigned page = DATA; page < DATA + DATA_SIZE; page += PAGE_SIZE)
        put_le64(g->ram + TABLES + 3 * PAGE_SIZE + (page >> PAGE_SHIFT) * 8, page | 3);
    put_le64(g->ram + TABLES + 3 * PAGE_SIZE + (CODE >> PAGE_SHIFT) * 8, CODE | 3);
    bus_init(&g->bus, g->ram, RAM_SIZE, &g->log);
    bus_set_a20(&g->bus, true);
    clock_init(&g->clock, no_time, NULL);
    rng_seed(&g->rng, 1);
    cpu_init(&g->cpu, 0, 1, &g->bus, &g->clock, &g->rng, &g->log, &features);
    struct cpu *c = &g->cpu;
    soft_join(&c, 1);
}

static void guest_load(struct guest *g, const struct test *t)
{
    struct cpu *c = &g->cpu;
    const struct regs *b = &t->before;
    uint8_t code[32];
    memset(code, 0xf4, sizeof code);
    memcpy(code, t->bytes, t->in.length);
    bus_dma_write(&g->bus, DATA, t->data, DATA_SIZE);
    bus_dma_write(&g->bus, CODE, code, sizeof code);
    cpu_reset(c, false);
    c->s.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    c->s.cr3 = TABLES;
    c->s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    c->s.xcr0 = 7;
    c->s.efer = EFER_LME | EFER_LMA;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        c->s.seg[i] =
            (struct seg){.limit = ~0u, .sel = 0x10, .attr = SEG_P | SEG_S | SEG_DB | SEG_G | 3};
    unsigned size = t->mode == ISA_64 ? SEG_L : SEG_DB;
    c->s.seg[SEG_CS] =
        (struct seg){.limit = ~0u, .sel = 8, .attr = SEG_P | SEG_S | size | SEG_G | 0xb};
    c->s.idtr.limit = 0;
    memcpy(c->s.r, b->r, sizeof b->r);
    c->s.rip = CODE;
    flags_set(c, (b->rflags & ~(uint64_t)EF_IF) | EF_FIXED);
    c->s.fcw = b->fx.fcw;
    c->s.fsw = b->fx.fsw;
    c->s.ftw = b->fx.ftw;
    c->s.mxcsr = b->fx.mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        unsigned phys = ((b->fx.fsw >> 11) + i) & 7;
        c->s.fp_sig[phys] = b->fx.st[i].sig;
        c->s.fp_exp[phys] = b->fx.st[i].exp;
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&c->s.v[i], b->fx.xmm[i], 16);
        memcpy(&c->s.v[i].q[2], b->high[i], 16);
    }
    cpu_mode_changed(c);
}

static void guest_store(const struct guest *g, struct regs *a, enum engine_exit e)
{
    const struct cpu *c = &g->cpu;
    memcpy(a->r, c->s.r, sizeof a->r);
    a->rip = c->s.rip;
    a->rflags = flags_get(c);
    a->vector = e == ENGINE_HALT ? EXC_BP : e == ENGINE_SHUTDOWN ? c->chain[0].vector : EXC_NONE;
    a->fx = (struct fx){.fcw = c->s.fcw, .fsw = c->s.fsw, .ftw = c->s.ftw, .mxcsr = c->s.mxcsr};
    for (unsigned i = 0; i < 8; i++) {
        unsigned phys = ((c->s.fsw >> 11) + i) & 7;
        a->fx.st[i].sig = c->s.fp_sig[phys];
        a->fx.st[i].exp = c->s.fp_exp[phys];
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(a->fx.xmm[i], &c->s.v[i], 16);
        memcpy(a->high[i], &c->s.v[i].q[2], 16);
    }
}

static void run_guest(struct guest *g, struct test *t)
{
    guest_load(g, t);
    guest_store(g, &t->guest, soft_run(&g->cpu, 1000));
}

/* --- Making tests --- */

static uint64_t interesting(void)
{
    uint64_t r = rng_next(&rng);
    switch (chance(8)) {
    case 0: return BIT(chance(64));
    case 1: return BIT(chance(64)) - 1;
    case 2: return -BIT(chance(64));
    case 3: return chance(256);
    case 4: return (uint64_t)-1 - chance(4);
    case 5: return (uint32_t)r;
    default: return r;
    }
}

/* A double, or two floats, of every kind. */
static uint64_t interesting_float(void)
{
    static const uint64_t doubles[] = {
        0,
        0x8000000000000000,
        0x3ff0000000000000,
        0xbff8000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000001,
        0x7ff0000000000001,
        0x0000000000000001,
        0x000fffffffffffff,
        0x41dfffffffc00000,
        0x43e0000000000000,
        0x7fefffffffffffff,
    };
    static const uint32_t floats[] = {0,          0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000,
                                      0xff800000, 0x7fc00001, 0x7f800001, 1,          0x007fffff,
                                      0x4effffff, 0x5f000000, 0x7f7fffff};
    switch (chance(4)) {
    case 0: return doubles[chance(ARRAY_LEN(doubles))];
    case 1:
        return (uint64_t)floats[chance(ARRAY_LEN(floats))] << 32 |
               floats[chance(ARRAY_LEN(floats))];
    case 2:
        /* near one */
        return (rng_next(&rng) & 0x800fffffffffffff) | (uint64_t)(0x3ff - 32 + chance(64)) << 52;
    default: return interesting();
    }
}

static void interesting_f80(uint64_t *sig, uint16_t *exp)
{
    static const uint16_t exps[] = {0, 1, 0x3ffe, 0x3fff, 0x4000, 0x403e, 0x7ffe, 0x7fff};
    *sig = interesting();
    *exp = chance(2) ? exps[chance(ARRAY_LEN(exps))] : 0x3fff - 40 + chance(80);
    *exp |= chance(2) << 15;
    if (*exp & 0x7fff)
        *sig |= BIT(63);
    else if (chance(4))
        *sig &= ~BIT(63);
}

static bool uses(const struct isa_row *r, unsigned operand)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->op); i++)
        if (r->op[i] == operand)
            return true;
    return false;
}

static void make_state(struct test *t)
{
    struct regs *b = &t->before;
    memset(b, 0, sizeof *b);
    for (unsigned i = 0; i < 16; i++)
        b->r[i] = interesting();
    if (chance(2))
        b->r[R_CX] &= 0xff;
    if (t->in.rep)
        b->r[R_CX] &= 7;
    for (unsigned i = 0; i < 2; i++)
        b->r[i ? R_SI : R_DI] = MIDDLE + chance(64);
    b->r[R_SP] = MIDDLE + 0x800 + chance(2) * 8;
    if (chance(2))
        b->r[R_BP] = MIDDLE - 0x400;
    if (!strcmp(t->row->name, "xlatb"))
        b->r[R_BX] = MIDDLE;
    for (unsigned i = 0; i < 16 && t->mode == ISA_32; i++)
        b->r[i] = (uint32_t)b->r[i];
    if (t->row->attr & A_ALIGN && chance(4))
        b->r[R_DI] = MIDDLE + chance(2) * 16;
    b->rflags = EF_FIXED | EF_IF | (rng_next(&rng) & (F_OSZAPC | F_D));
    b->fx.fcw = 0x37f & ~(chance(4) << 8 | chance(4) << 10);
    b->fx.fcw |= chance(4) << 10;
    if (b->fx.fcw >> 8 == 1)
        b->fx.fcw |= 0x300;
    b->fx.fsw = chance(8) << 11 | chance(8) << 8 | (chance(2) ? 0 : chance(0x3f));
    b->fx.ftw = chance(3) ? 0xff : rng_next(&rng);
    b->fx.mxcsr = 0x1f80 | chance(4) << 13 | (chance(2) ? 0 : chance(64));
    if (!chance(4))
        b->fx.mxcsr |= chance(2) << 15 | chance(2) << 6;
    for (unsigned i = 0; i < 8; i++) {
        interesting_f80(&b->fx.st[i].sig, &b->fx.st[i].exp);
        if (t->row->attr & A_MMX)
            b->fx.st[i].sig = interesting();
    }
    for (unsigned i = 0; i < 32; i++)
        b->fx.xmm[i / 2][i % 2] = interesting_float();
    for (unsigned i = 0; i < 32; i++)
        b->high[i / 2][i % 2] = interesting_float();
    if (uses(t->row, OP_VMdx) || uses(t->row, OP_VMqx))
        for (unsigned i = 0; i < 2 && t->in.index < 16; i++) {
            bool dwords = uses(t->row, OP_VMdx);
            b->fx.xmm[t->in.index][i] = chance(200) | (dwords ? (uint64_t)chance(200) << 32 : 0);
            b->high[t->in.index][i] = chance(200) | (dwords ? (uint64_t)chance(200) << 32 : 0);
        }
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        put_le64(t->data + i, i & 8 ? interesting_float() : interesting());
    if (t->row->attr & A_X87 && chance(2)) {
        uint64_t sig;
        uint16_t exp;
        interesting_f80(&sig, &exp);
        memcpy(t->data + b->r[R_DI] - DATA + 16, &sig, 8);
        memcpy(t->data + b->r[R_DI] - DATA + 24, &exp, 2);
    }
}

/* Bytes of an instance of the row; false: this attempt did not come out as the row. */
static bool make_bytes(struct test *t, const struct isa_features *features)
{
    static const uint8_t mandatory[] = {[P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2};
    const struct isa_row *r = t->row;
    uint8_t b[40];
    unsigned n = 0;
    bool code64 = t->mode == ISA_64;
    unsigned rex = code64 && chance(3) ? chance(16) : 0;
    if (r->attr & A_W0)
        rex &= 7;
    if (r->attr & A_W1 && (code64 || r->attr & A_VEX))
        rex |= 8;
    for (unsigned i = 0; i < sizeof b; i++)
        b[i] = rng_next(&rng);
    unsigned kind = r->modrm >> 8, low = r->modrm & 0xff;
    unsigned modrm = kind == MK_EXACT   ? low
                     : kind == MK_RANGE ? low + chance(8)
                     : kind >= MK_DIGIT ? low << 3 | chance(8)
                                        : chance(64);
    if (kind == MK_REG || kind == MK_DIGIT_REG)
        modrm |= 0xc0;
    else if (kind == MK_MEM || kind == MK_DIGIT_MEM || (kind < MK_EXACT && chance(2)))
        modrm = (modrm & 0x38) | 0x47;
    else if (kind < MK_EXACT)
        modrm |= 0xc0;
    bool mem = kind != MK_NONE && modrm < 0xc0;
    if (mem)
        rex &= ~1u;
    if (r->attr & A_VEX) {
        static const uint8_t pp[] = {[P_NP] = 0, [P_66] = 1, [P_F3] = 2, [P_F2] = 3};
        b[n++] = 0xc4;
        b[n++] = (~rex & 7) << 5 | r->map;
        b[n] = (rex & 8) << 4 | (b[n] & 0x7c) | pp[r->prefix];
        n++;
    } else {
        if (mem && r->attr & A_LOCK && !chance(4))
            b[n++] = 0xf0;
        if (r->prefix == P_ANY && !chance(4))
            b[n++] = 0x66;
        if (r->attr & (A_REP | A_REPZ) && chance(2))
            b[n++] = 0xf2 | chance(2);
        if (r->prefix < sizeof mandatory && mandatory[r->prefix])
            b[n++] = mandatory[r->prefix];
        if (code64 && (rex || !chance(4)))
            b[n++] = 0x40 | rex;
        if (r->map != MAP_1B)
            b[n++] = 0x0f;
        if (r->map > MAP_0F)
            b[n++] = r->map == MAP_0F38 ? 0x38 : 0x3a;
    }
    b[n++] = r->opcode | (r->attr & A_PLUS_R ? chance(8) : 0);
    if (kind != MK_NONE)
        b[n++] = modrm;
    bool gather = uses(r, OP_VMdx) || uses(r, OP_VMqx);
    if (gather) {
        b[n - 1] = (modrm & 0x38) | 0x44;
        b[n] = (b[n] & 0xf8) | R_DI;
        n++;
    }
    if (mem)
        b[n] = 16 * (1 + chance(2));
    if (uses(r, OP_Ob) || uses(r, OP_Ov))
        put_le64(b + n, MIDDLE + chance(16)); /* in 32-bit mode its low half */
    else if (chance(2))
        b[n + mem] &= 31;            /* small immediates */
    if (!strcmp(r->name, "enter")) { /* a frame on the page, few levels mostly */
        b[n + 1] = 0;
        b[n + 2] &= chance(4) ? 3 : 31;
    }
    memcpy(t->bytes, b, sizeof t->bytes);
    return isa_decode(&t->in, t->bytes, sizeof t->bytes, t->mode, features) == ISA_OK &&
           t->in.row == r;
}

/* Rows that user code can't run alone, or whose result is the processor's own. */
static bool testable(const struct isa_row *r, enum isa_mode mode)
{
    static const char *const not [] = {
        "rdtsc",
        "rdtscp",
        "rdpmc",
        "cpuid",
        "rdrand",
        "rdseed",
        "rdpid",
        "xgetbv",
        "monitor",
        "mwait",
        "sgdt",
        "sidt",
        "sldt",
        "str",
        "smsw",
        "lar",
        "lsl",
        "verr",
        "verw",
        "rdfsbase",
        "rdgsbase",
        "wrfsbase",
        "wrgsbase",
        "clac",
        "stac",
        "pause",
        "rcpps",
        "rcpss",
        "rsqrtps",
        "vrcpps",
        "vrcpss",
        "vrsqrtps",
        "vrsqrtss",
        "rsqrtss",
        "fsin",
        "fcos",
        "fsincos",
        "fptan",
        "fpatan",
        "f2xm1",
        "fyl2x",
        "fyl2xp1",
        "pushf/pushfd/pushfq",
        "popf/popfd/popfq",
        "fxsave/fxsave/fxsave64",
        "fxrstor/fxrstor/fxrstor64",
        "xsave/xsave/xsave64",
        "xrstor/xrstor/xrstor64",
        "xsavec/xsavec/xsavec64",
        "xsaveopt/xsaveopt/xsaveopt64",
        "fnsave",
        "fnstenv",
        "frstor",
        "fldenv",
    };
    if (r->attr & (A_CPL0 | A_IOPL | A_BRANCH | A_HLT | (mode == ISA_64 ? A_I64 : A_O64)))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(r->op); i++) {
        unsigned o = r->op[i];
        if (o == OP_Sw || (o >= OP_ES && o <= OP_GS))
            return false;
        if (o == OP_Mp)
            return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(not ); i++)
        if (!strcmp(r->name, not [i]))
            return false;
    return true;
}

/* --- Comparison --- */

/* Differences that are no fault: true if `what` of this test is not compared. */
static bool excepted(const struct test *t, const char *what)
{
    unsigned count =
        t->in.op_count == 3 && t->in.op[2].where == W_I ? t->in.imm : t->before.r[R_CX];
    bool shld = !strncmp(t->row->name, "shld", 4) || !strncmp(t->row->name, "shrd", 4);
    /* SDM 2B SHLD: undefined if the count exceeds the operand. */
    if (shld && t->in.osize == 2 && (count & 31) > 16)
        return true;
    /* A stack frame may be half written when a fault comes. */
    if (!strcmp(t->row->name, "enter") && !strcmp(what, "memory") && t->host.vector != EXC_BP)
        return true;
    /* SDM 2A BSWAP: undefined for 16 bits. */
    return !strcmp(t->row->name, "bswap") && t->in.osize == 2;
}

static const char *compare(const struct guest *g, const struct test *t, unsigned *at)
{
    const struct regs *h = &t->host, *a = &t->guest;
    *at = 0;
    if (h->vector != a->vector)
        return "exception";
    unsigned regs = t->mode == ISA_64 ? 16 : 8;
    for (unsigned i = 0; i < regs; i++)
        if (*at = i, h->r[i] != a->r[i])
            return "register";
    if (h->rip != a->rip)
        return "rip";
    uint64_t flags = (F_OSZAPC | F_D) & ~t->row->flags_undefined;
    if (h->vector == EXC_BP && (h->rflags ^ a->rflags) & flags)
        return "flags";
    uint64_t changed = h->rflags ^ t->before.rflags;
    uint64_t known = t->row->flags_written | t->row->flags_undefined;
    if (h->vector == EXC_BP && changed & (F_OSZAPC | F_D) & ~known)
        return "flags that the row does not name";
    if (memcmp(t->host_data, g->ram + DATA, DATA_SIZE) != 0)
        return "memory";
    for (unsigned i = 0; i < 32; i++)
        if (*at = i / 2, h->fx.xmm[i / 2][i % 2] != a->fx.xmm[i / 2][i % 2])
            return "xmm";
    for (unsigned i = 0; i < 32; i++)
        if (*at = i / 2, host_has_ymm && h->high[i / 2][i % 2] != a->high[i / 2][i % 2])
            return "ymm";
    if (h->fx.mxcsr != a->fx.mxcsr)
        return "mxcsr";
    if (h->fx.fcw != a->fx.fcw)
        return "fcw";
    if (h->fx.ftw != a->fx.ftw)
        return "ftw";
    if (h->fx.fsw != a->fx.fsw)
        return "fsw";
    for (unsigned i = 0; i < 8; i++)
        if (*at = i, h->fx.st[i].sig != a->fx.st[i].sig || h->fx.st[i].exp != a->fx.st[i].exp)
            return "st";
    return NULL;
}

static void explain(const struct test *t, const char *what, unsigned at)
{
    char text[100];
    const struct regs *b = &t->before, *h = &t->host, *a = &t->guest;
    isa_format(&t->in, CODE, text, sizeof text);
    printf("  %s [", text);
    for (unsigned i = 0; i < t->in.length; i++)
        printf("%02x", t->bytes[i]);
    printf("]: %s %u\n", what, at);
    for (unsigned i = 0; i < t->in.op_count; i++) {
        const struct isa_opnd *op = &t->in.op[i];
        if (op->where == W_E || op->where == W_G || op->where == W_Z || op->where == W_B)
            printf("    r%u = %llx\n", op->reg & 15, (unsigned long long)b->r[op->reg & 15]);
        else if (op->where == W_V || op->where == W_W || op->where == W_H)
            printf("    xmm%u = %016llx %016llx\n", op->reg,
                   (unsigned long long)b->fx.xmm[op->reg][1],
                   (unsigned long long)b->fx.xmm[op->reg][0]);
        else if (op->where == W_M && t->in.base == R_DI) {
            const uint8_t *p = t->data + (b->r[R_DI] + t->in.disp - DATA);
            printf("    memory = %016llx %016llx\n", (unsigned long long)get_le64(p + 8),
                   (unsigned long long)get_le64(p));
        }
    }
    printf("    rcx %llx flags %llx fcw %x fsw %x ftw %x mxcsr %x\n",
           (unsigned long long)b->r[R_CX], (unsigned long long)b->rflags, b->fx.fcw, b->fx.fsw,
           b->fx.ftw, b->fx.mxcsr);
    for (unsigned k = 0; k < 2; k++) {
        const struct regs *r = k ? a : h;
        printf("    %s vector %u flags %llx fsw %x ftw %x mxcsr %x",
               k ? "ishi:" : "host:", r->vector, (unsigned long long)r->rflags & (F_OSZAPC | F_D),
               r->fx.fsw, r->fx.ftw, r->fx.mxcsr);
        if (!strcmp(what, "register"))
            printf(" r%u %llx", at, (unsigned long long)r->r[at]);
        if (!strcmp(what, "xmm"))
            printf(" xmm%u %016llx %016llx", at, (unsigned long long)r->fx.xmm[at][1],
                   (unsigned long long)r->fx.xmm[at][0]);
        if (!strcmp(what, "ymm"))
            printf(" ymm%u %016llx %016llx", at, (unsigned long long)r->high[at][1],
                   (unsigned long long)r->high[at][0]);
        if (!strcmp(what, "st"))
            printf(" st%u %04x %016llx, was %04x %016llx", at, r->fx.st[at].exp,
                   (unsigned long long)r->fx.st[at].sig, b->fx.st[at].exp,
                   (unsigned long long)b->fx.st[at].sig);
        printf("\n");
    }
}

struct tally {
    unsigned long run, finished; /* finished: without an exception */
};

struct options {
    unsigned instances, verbose;
    char **names; /* NULL-terminated; empty: all */
};

static bool wanted(const struct options *o, const struct isa_row *r)
{
    char **n = o->names;
    while (*n && strcmp(*n, r->name) != 0)
        n++;
    return *n || !o->names[0];
}

/* Returns the failures of a row. */
static unsigned run_row(struct guest *g, const struct isa_row *r, enum isa_mode mode,
                        const struct options *o, struct tally *n)
{
    static struct test t;
    unsigned failed = 0;
    for (unsigned k = 0; k < o->instances; k++) {
        unsigned at, tries = 0;
        t.row = r;
        t.mode = mode;
        while (!make_bytes(&t, &g->cpu.features) && tries < 100)
            tries++;
        if (tries == 100)
            break;
        make_state(&t);
        run_host(&t);
        run_guest(g, &t);
        n->run++;
        n->finished += t.host.vector == EXC_BP;
        const char *what = compare(g, &t, &at);
        if (!what || excepted(&t, what))
            continue;
        if (failed++ <= o->verbose * 10)
            explain(&t, what, at);
    }
    if (failed)
        printf("%s (%02x, %d bits): %u of %u failed\n", r->name, r->opcode, 16 << mode, failed,
               o->instances);
    return failed;
}

int main(int argc, char **argv)
{
    struct options o = {.instances = 50};
    uint64_t seed = 1;
    for (argv++; *argv && **argv == '-'; argv++) {
        if (!strcmp(*argv, "-v"))
            o.verbose = 1;
        else if (!strcmp(*argv, "-n") && argv[1])
            o.instances = atoi(*++argv);
        else if (!strcmp(*argv, "-s") && argv[1])
            seed = strtoull(*++argv, NULL, 0);
    }
    o.names = argv;
    rng_seed(&rng, seed);
    host_init();
    struct isa_features host = host_features();
    static struct guest g;
    struct isa_features all = cpu_model_find("")->features;
    static const uint8_t more[] = {FEAT_BMI1,  FEAT_BMI2, FEAT_ADX,    FEAT_MOVBE,
                                   FEAT_LZCNT, FEAT_AES,  FEAT_PCLMUL, FEAT_SHA,
                                   FEAT_AVX,   FEAT_AVX2, FEAT_FMA,    FEAT_F16C};
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        all.word[more[i] >> 6] |= BIT(more[i] & 63);
    guest_init(&g, all);
    struct tally n = {0, 0};
    unsigned long rows = 0, bad = 0;
    for (unsigned i = 0; i < isa_row_count; i++) {
        const struct isa_row *r = &isa_rows[i];
        if (!wanted(&o, r) || !isa_has(&host, r->feature) || !isa_has(&all, r->feature))
            continue;
        for (unsigned mode = ISA_32; mode <= ISA_64; mode++) {
            if (!testable(r, mode))
                continue;
            rows++;
            bad += run_row(&g, r, mode, &o, &n) != 0;
        }
    }
    printf("%lu instances of %lu rows, %lu of them without an exception; %lu rows differ\n", n.run,
           rows, n.finished, bad);
    return bad || !n.finished ? EXIT_FAILURE : EXIT_SUCCESS;
}
