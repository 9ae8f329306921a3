/* Random integer code, run by the host's own processor and by ishi: registers, flags, memory and
 * faults must agree. x86-64 Linux only; elsewhere the test says that it is skipped.
 *
 *   native_int [--undefined] [cases [seed]]
 *
 * --undefined compares the flags that the SDM leaves undefined too, which holds on Intel's chips.
 *
 * Both sides see the same addresses: a data area, and a code page. The host gets in and out of the
 * code by a stub that loads and stores all registers by absolute address; a fault comes back
 * through a signal handler. */
#include <stdio.h>
#include <stdlib.h>

#if !defined(__x86_64__) || !defined(__linux__)
int main(void)
{
    puts("skipped: the host is not x86-64 Linux");
    return 77;
}
#else
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"

#define DATA      0x10000000ull /* guest-visible data; the pages around it are not mapped */
#define DATA_SIZE 0x4000u
#define CODE      0x30000000ull /* the code page */
#define CONTEXT   0x30010000ull /* of the host's stub */
#define STUB      0x30020000ull
#define RAM_SIZE  (4u << 20)
#define INSNS     6 /* at most so many instructions a case */

struct regs {
    uint64_t r[16], flags, rip;
    unsigned fault; /* EXC_*, EXC_NONE */
};

/* What the stub uses, at CONTEXT. */
struct context {
    uint64_t in[16], in_flags, out[16], out_flags, rsp, stack[64];
};
#define AT(field) ((uint32_t)(CONTEXT + offsetof(struct context, field)))

static struct rng rng;
static sigjmp_buf back;
static struct regs faulted;
static volatile sig_atomic_t on_host;

static uint64_t any(uint64_t n)
{
    return rng_next(&rng) % n;
}

/* The host's side. */

static void on_signal(int sig, siginfo_t *info, void *context)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (!on_host) { /* our own bug: again, and die of it */
        signal(sig, SIG_DFL);
        return;
    }
    on_host = 0;
    for (unsigned i = 0; i < 16; i++)
        faulted.r[i] = (uint64_t)g[order[i]];
    faulted.flags = (uint64_t)g[REG_EFL];
    faulted.rip = (uint64_t)g[REG_RIP];
    faulted.fault = (unsigned)g[REG_TRAPNO];
    (void)info;
    siglongjmp(back, 1);
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* mov reg, [addr] or mov [addr], reg */
static uint8_t *move(uint8_t *p, unsigned reg, uint32_t addr, bool load)
{
    uint8_t b[8] = {(uint8_t)(0x48 | (reg >> 3) << 2), load ? 0x8b : 0x89,
                    (uint8_t)((reg & 7) << 3 | 4), 0x25};
    put_le32(b + 4, addr);
    return put(p, b, 8);
}

/* push or pop qword [addr] */
static uint8_t *stack_move(uint8_t *p, uint32_t addr, bool push)
{
    uint8_t b[7] = {push ? 0xff : 0x8f, push ? 0x34 : 0x04, 0x25};
    put_le32(b + 3, addr);
    return put(p, b, 7);
}

static uint8_t *jump(uint8_t *p, uint64_t from, uint64_t to)
{
    uint8_t b[5] = {0xe9};
    put_le32(b + 1, (uint32_t)(to - from - 5));
    return put(p, b, 5);
}

/* mov rsp, the end of the context's stack */
static uint8_t *own_stack(uint8_t *p)
{
    uint8_t b[5] = {0xbc};
    put_le32(b + 1, (uint32_t)(CONTEXT + offsetof(struct context, stack) + 32 * 8));
    return put(p, b, 5);
}

#define STUB_OUT                    (STUB + 0x800)

static void make_stub(void)
{
    static const uint8_t save[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const uint8_t restore[] = {0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41,
                                      0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    uint8_t *p = put((uint8_t *)STUB, save, sizeof save);
    p = move(p, 4, AT(rsp), false);
    p = own_stack(p);
    p = stack_move(p, AT(in_flags), true);
    *p++ = 0x9d;
    for (unsigned i = 0; i < 16; i++)
        p = move(p, i, AT(in) + 8 * i, true);
    jump(p, (uint64_t)p, CODE);
    p = (uint8_t *)STUB_OUT;
    for (unsigned i = 0; i < 16; i++)
        p = move(p, i, AT(out) + 8 * i, false);
    p = own_stack(p);
    *p++ = 0x9c;
    p = stack_move(p, AT(out_flags), false);
    p = move(p, 4, AT(rsp), true);
    put(p, restore, sizeof restore);
}

static void run_host(const struct regs *in, struct regs *out)
{
    struct context *x = (struct context *)CONTEXT;
    memcpy(x->in, in->r, sizeof x->in);
    x->in_flags = in->flags;
    if (sigsetjmp(back, 1)) {
        *out = faulted;
        return;
    }
    on_host = 1;
    ((void (*)(void))STUB)();
    on_host = 0;
    memcpy(out->r, x->out, sizeof out->r);
    out->flags = x->out_flags;
    out->fault = EXC_NONE;
}

static void *map(uint64_t at, size_t n, int prot)
{
    void *p = mmap((void *)at, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)at) {
        puts("skipped: the addresses are taken");
        exit(77);
    }
    return p;
}

static void host_init(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    static char alternate[1 << 16];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
    map(CODE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map(CONTEXT, PAGE_SIZE, PROT_READ | PROT_WRITE);
    map(STUB, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    make_stub();
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &act, NULL);
}

/* ishi's side. RAM: page tables at 1 MiB, the data at 2 MiB, the code at 3 MiB. */

static struct bus bus;
static struct clock ticks;
static struct cpu cpu;
static uint8_t *ram;

static uint64_t now(void *opaque)
{
    return cpu_icount(opaque);
}

static void map_guest(uint64_t la, uint64_t paddr)
{
    static uint64_t next = 0x101000;
    uint64_t table = 0x100000;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint8_t *e = ram + table + (la >> shift & 511) * 8;
        if (!get_le64(e)) {
            put_le64(e, next | 7);
            next += PAGE_SIZE;
        }
        table = get_le64(e) & ~0xfffull;
    }
    put_le64(ram + table + (la >> 12 & 511) * 8, paddr | 7);
}

static void guest_init(const struct isa_features *features)
{
    ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(ram, 0, RAM_SIZE);
    bus_init(&bus, ram, RAM_SIZE, NULL);
    clock_init(&ticks, now, &cpu);
    cpu_init(&cpu, 0, 1, &bus, &ticks, &rng, NULL, features);
    for (unsigned i = 0; i < DATA_SIZE; i += PAGE_SIZE)
        map_guest(DATA + i, 0x200000 + i);
    map_guest(CODE, 0x300000);
    struct cpu_state *s = &cpu.s;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffffffff, .sel = 0x10, .attr = 0xc093};
    s->seg[SEG_CS].attr = 0xa09b;
    s->cr0 |= CR0_PE | CR0_PG | CR0_WP;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    s->cr3 = 0x100000;
    s->idtr.limit = 0; /* any exception is a triple fault, and c->chain tells */
}

static void run_guest(const struct regs *in, uint64_t end, struct regs *out)
{
    struct cpu_state *s = &cpu.s;
    memcpy(s->r, in->r, sizeof in->r);
    s->rflags = in->flags;
    s->cc_op = CC_NONE;
    s->rip = CODE;
    s->activity = ACT_RUN;
    cpu.chain_count = 0;
    tlb_flush(&cpu);
    cpu_mode_changed(&cpu);
    if (cpu.blocks)
        blocks_invalidate(cpu.blocks, 0x300000, PAGE_SIZE);
    out->fault = EXC_NONE;
    for (unsigned i = 0; s->rip != end && i < 100000; i++) {
        /* the whole at once if it ends there, else to the end one by one */
        unsigned budget = i ? 1 : (unsigned)any(INSNS) + 1;
        if (soft_run(&cpu, budget) == ENGINE_SHUTDOWN) {
            out->fault = cpu.chain[0].vector;
            out->rip = cpu.chain[0].rip;
            break;
        }
    }
    memcpy(out->r, s->r, sizeof out->r);
    out->flags = flags_get(&cpu);
}

/* Instructions. */

static bool host_feature(enum isa_feature f)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
    } where[] = {
#define X(id, leaf, reg, bit, name) {leaf, reg, bit},
        ISA_FEATURES(X)
#undef X
    };
    unsigned v[4] = {0};
    if (!where[f].leaf)
        return true;
    __get_cpuid_count(where[f].leaf, 0, &v[0], &v[1], &v[2], &v[3]);
    return v[where[f].reg] >> where[f].bit & 1;
}

static bool named(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strncmp(name, *list, strlen(*list)))
            return true;
    return false;
}

/* Rows that a user program may run, whose result is a function of what both sides share. */
static bool usable(const struct isa_row *r)
{
    static const char *const not_these[] = {
        "cpuid", "rd",    "sldt",    "str",     "smsw",    "sgdt", "sidt",     "xgetbv",
        "stac",  "clac",  "swapgs",  "wr",      "monitor", "fx",   "xsave",    "xrstor",
        "ver",   "lar",   "lsl",     "cli",     "pushf",   "ud",   "prefetch", "clflush",
        "clwb",  "fwait", "ldmxcsr", "stmxcsr", NULL};
    if (r->attr & (A_BRANCH | A_END | A_CPL0 | A_IOPL | A_X87 | A_MMX | A_SSE | A_I64 | A_HLT))
        return false;
    if (((r->attr & A_VEX) && !(r->attr & A_GPR)) || !host_feature(r->feature))
        return false;
    for (unsigned i = 0; i < 4; i++)
        switch (r->op[i]) {
        case OP_ES:
        case OP_CS:
        case OP_SS:
        case OP_DS:
        case OP_FS:
        case OP_GS:
        case OP_Sw:
        case OP_Ob:
        case OP_Ov: return false;
        default: break;
        }
    return !named(r->name, not_these);
}

static unsigned immediate_size(const struct isa_row *r, bool p66, bool w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 4; i++)
        switch (r->op[i]) {
        case OP_Ib:
        case OP_sIb: n += 1; break;
        case OP_Iw: n += 2; break;
        case OP_Iz: n += p66 && !w ? 2 : 4; break;
        case OP_Iv: n += w ? 8 : p66 ? 2 : 4; break;
        default: break;
        }
    return n;
}

static uint8_t *put_modrm(uint8_t *p, const struct isa_row *r, bool *memory)
{
    unsigned kind = r->modrm >> 8, v = r->modrm & 0xff, reg = (unsigned)any(8);
    bool digit = kind == MK_DIGIT || kind == MK_DIGIT_REG || kind == MK_DIGIT_MEM;
    *memory = any(2);
    if (kind == MK_REG || kind == MK_DIGIT_REG)
        *memory = false;
    if (kind == MK_MEM || kind == MK_DIGIT_MEM)
        *memory = true;
    if (digit)
        reg = v;
    if (!*memory) {
        *p++ = (uint8_t)(0xc0 | reg << 3 | any(8));
        return p;
    }
    switch (any(3)) { /* with REX.B, rm 7 is r15: the data's middle */
    case 0:
        *p++ = (uint8_t)(0x40 | reg << 3 | 7);
        *p++ = (uint8_t)any(256);
        break;
    case 1:
        *p++ = (uint8_t)(0x80 | reg << 3 | 7);
        put_le32(p, (uint32_t)(any(0x3000) - 0x1800));
        p += 4;
        break;
    default: /* with REX.X, index r14 */
        *p++ = (uint8_t)(0x44 | reg << 3);
        *p++ = (uint8_t)(any(4) << 6 | 6 << 3 | 7);
        *p++ = (uint8_t)any(256);
    }
    return p;
}

static uint8_t *put_insn(uint8_t *p, const struct isa_row *r)
{
    bool p66 = r->prefix == P_66 || ((r->prefix == P_ANY || r->prefix == P_NFX) && !any(4));
    bool memory = false, vex = r->attr & A_VEX;
    bool w = (r->attr & A_W1) || (!(r->attr & A_W0) && any(2));
    uint8_t tail[8], *t = tail, rex = (uint8_t)(w << 3 | any(8));
    uint8_t rep = r->prefix == P_F3 ? 0xf3 : r->prefix == P_F2 ? 0xf2 : 0;
    if ((r->attr & (A_REP | A_REPZ)) && any(2))
        rep = any(2) ? 0xf3 : 0xf2;
    if (r->modrm != M_NONE)
        t = put_modrm(t, r, &memory);
    if (memory)
        rex |= 3;
    if (r->attr & A_NOREXB)
        rex &= 8;
    if (p66 && !vex)
        *p++ = 0x66;
    if (memory && (r->attr & A_LOCK) && !any(4) && strcmp(r->name, "xchg"))
        *p++ = 0xf0;
    if (vex) {
        unsigned pp = r->prefix == P_66 ? 1 : r->prefix == P_F3 ? 2 : r->prefix == P_F2 ? 3 : 0;
        *p++ = 0xc4;
        *p++ = (uint8_t)((~rex & 7) << 5 | r->map);
        *p++ = (uint8_t)(w << 7 | any(16) << 3 | pp);
    } else {
        if (rep)
            *p++ = rep;
        if (memory || w || any(2))
            *p++ = (uint8_t)(0x40 | rex);
        if (r->map != MAP_1B)
            *p++ = 0x0f;
        if (r->map == MAP_0F38)
            *p++ = 0x38;
        if (r->map == MAP_0F3A)
            *p++ = 0x3a;
    }
    *p++ = (uint8_t)(r->opcode | (r->attr & A_PLUS_R ? any(8) : 0));
    p = put(p, tail, (size_t)(t - tail));
    for (unsigned n = immediate_size(r, p66, rex & 8); n; n--)
        *p++ = (uint8_t)any(256);
    return p;
}

static uint64_t value(void)
{
    static const uint64_t edges[] = {0,          1,      ~0ull,      0x7f,       0x80,
                                     0x7fff,     0x8000, 0x7fffffff, 0x80000000, INT64_MAX,
                                     1ull << 63, 0xff,   0xffff,     0xffffffff};
    switch (any(4)) {
    case 0: return edges[any(ARRAY_LEN(edges))];
    case 1: return any(64);
    case 2: return (uint64_t)(int64_t)(int32_t)rng_next(&rng);
    default: return rng_next(&rng);
    }
}

/* Flags that some instruction of the case leaves undefined, and nobody wrote since. */
static uint32_t undefined_flags(uint64_t end, unsigned *insns)
{
    struct insn in;
    uint32_t undefined = 0;
    *insns = 0;
    for (uint64_t at = CODE; at < end; at += in.length, ++*insns) {
        if (isa_decode(&in, (const uint8_t *)at, end - at, ISA_64, NULL) != ISA_OK)
            return F_OSZAPC;
        undefined |= in.row->flags_undefined;
        if (!strncmp(in.row->name, "sh", 2) || !strncmp(in.row->name, "ro", 2) ||
            !strncmp(in.row->name, "rc", 2) || !strncmp(in.row->name, "sa", 2))
            undefined |= F_O | F_A | (in.osize == 2 || in.op[0].size < 4 ? F_C : 0);
    }
    return undefined;
}

static void print_case(const struct regs *in, const struct regs *host, const struct regs *own,
                       uint64_t end)
{
    struct insn i;
    char text[128];
    for (uint64_t at = CODE; at < end; at += i.length) {
        if (isa_decode(&i, (const uint8_t *)at, end - at, ISA_64, NULL) != ISA_OK)
            break;
        isa_format(&i, at, text, sizeof text);
        printf("  %llx:", (unsigned long long)at);
        for (unsigned n = 0; n < i.length; n++)
            printf(" %02x", ((const uint8_t *)at)[n]);
        printf("  %s\n", text);
    }
    printf("  fault %u / %u at %llx / %llx\n", host->fault, own->fault,
           (unsigned long long)host->rip, (unsigned long long)own->rip);
    for (unsigned n = 0; n < 16; n++)
        printf("  r%-2u %016llx -> %016llx / %016llx%s\n", n, (unsigned long long)in->r[n],
               (unsigned long long)host->r[n], (unsigned long long)own->r[n],
               host->r[n] != own->r[n] ? " <--" : "");
    printf("  flags %03llx -> %03llx / %03llx, differ in %03llx\n",
           (unsigned long long)in->flags & F_OSZAPC, (unsigned long long)host->flags & F_OSZAPC,
           (unsigned long long)own->flags & F_OSZAPC,
           (unsigned long long)(host->flags ^ own->flags) & F_OSZAPC);
}

static const struct isa_row *rows[2048];
static unsigned row_count;

/* A sequence of random instructions, conditional jumps over one of them in between. */
static uint64_t make_code(void)
{
    uint8_t *p = (uint8_t *)CODE;
    unsigned n = 1 + (unsigned)any(INSNS);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *jcc = p;
        bool skip = i + 1 < n && !any(4);
        if (skip)
            p += 2;
        p = put_insn(p, rows[any(row_count)]);
        if (skip) {
            jcc[0] = (uint8_t)(0x70 | any(16));
            jcc[1] = (uint8_t)(p - jcc - 2);
        }
    }
    jump(p, (uint64_t)p, STUB_OUT);
    return (uint64_t)p;
}

static bool one_case(bool undefined)
{
    static uint8_t data[DATA_SIZE];
    struct regs in, host = {0}, own = {0};
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        put_le64(data + i, value());
    for (unsigned i = 0; i < 16; i++)
        in.r[i] = value();
    in.r[R_SP] = DATA + DATA_SIZE / 2 + any(512);
    in.r[R_15] = DATA + DATA_SIZE / 2 + any(64) * 8 + (any(4) ? 0 : any(8));
    in.r[R_14] = any(128) - 64;
    if (any(2)) {
        in.r[R_SI] = DATA + any(DATA_SIZE);
        in.r[R_DI] = DATA + any(DATA_SIZE);
        in.r[R_CX] = any(300);
    }
    in.flags = EF_FIXED | EF_IF | (rng_next(&rng) & (F_OSZAPC | EF_DF));
    uint64_t end = make_code();
    memcpy((void *)DATA, data, DATA_SIZE);
    run_host(&in, &host);
    memcpy(ram + 0x200000, data, DATA_SIZE);
    memcpy(ram + 0x300000, (void *)CODE, PAGE_SIZE);
    put_le16(ram + 0x300000 + (end - CODE), 0xfeeb); /* jmp $ */
    run_guest(&in, end, &own);
    uint64_t mask = F_OSZAPC | EF_DF;
    bool same = host.fault == own.fault && (host.fault == EXC_NONE || host.rip == own.rip);
    if (!undefined) {
        unsigned insns;
        uint32_t u = undefined_flags(end, &insns);
        mask &= ~(uint64_t)u;
        if (u && insns > 1) /* may have been read on the way */
            return true;
    }
    same = same && !memcmp(host.r, own.r, sizeof host.r) && !((host.flags ^ own.flags) & mask);
    /* a processor may leave what a faulting instruction wrote before; ENTER does */
    if (same && host.fault == EXC_NONE && memcmp((void *)DATA, ram + 0x200000, DATA_SIZE)) {
        same = false;
        puts("memory differs");
    }
    if (!same)
        print_case(&in, &host, &own, end);
    return same;
}

int main(int argc, char **argv)
{
    bool undefined = argc > 1 && !strcmp(argv[1], "--undefined");
    unsigned long cases = 200000, seed = 1, bad = 0;
    struct isa_features features = {{0}};
    argc -= undefined;
    argv += undefined;
    if (argc > 1)
        cases = strtoul(argv[1], NULL, 0);
    if (argc > 2)
        seed = strtoul(argv[2], NULL, 0);
    rng_seed(&rng, seed);
    for (unsigned f = 0; f < FEAT_COUNT; f++)
        if (host_feature((enum isa_feature)f))
            features.word[f >> 6] |= BIT(f & 63);
    for (unsigned i = 0; i < isa_row_count && row_count < ARRAY_LEN(rows); i++)
        if (usable(&isa_rows[i]))
            rows[row_count++] = &isa_rows[i];
    host_init();
    guest_init(&features);
    for (unsigned long i = 0; i < cases && bad < 10; i++)
        if (!one_case(undefined)) {
            printf("case %lu of seed %lu\n", i, seed);
            bad++;
        }
    printf("%u rows, %lu cases, %lu differ\n", row_count, cases, bad);
    return bad != 0;
}
#endif
