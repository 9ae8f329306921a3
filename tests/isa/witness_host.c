/* The host's side of a case: a child process that loads the state, runs the code natively, and
 * stores what came of it.
 *
 * wit_enter (below, in assembler) loads everything from wit_now and jumps to the code through a far
 * pointer, to 64-bit code or to compatibility mode. The code's last jump leads to WIT_EXIT, and
 * from there to wit_exit, which stores everything again; a fault comes to on_signal() instead,
 * which takes the state from the signal frame and leaves through wit_escape. Neither needs the
 * kernel for a case that ends well.
 *
 * The child shares cases and results with its parent, and nothing else: if the code under test
 * kills it, the parent says so of that case and starts another. */
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/isa/witness.h"

/* Selectors of Linux for user code. */
#define USER_CS32 0x23
#define USER_DS   0x2b
#define USER_CS64 0x33

#define XSTATE_MAGIC 0x46505853u /* in a signal frame's FXSAVE area: more follows it */

struct shared {
    struct wit_case cases[2][WIT_BATCH];
    struct wit_result results[2][WIT_BATCH];
    volatile unsigned at; /* the case that runs */
};

static struct shared *shared;
static int to_child = -1, from_child = -1;
static pid_t child;
static unsigned pending_half, pending_n;
static uint8_t *code_alias;
static bool low_memory;
static uint8_t background[WIT_BYTES];
static cpu_set_t own_cpu; /* none: any */

/* Known to the assembler. */
struct wit_state wit_now;
uint64_t wit_rsp;
uint32_t wit_mask;
struct {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed, aligned(8))) wit_target;
unsigned wit_enter(void);
void wit_exit(void);
void wit_escape(void);

_Static_assert(offsetof(struct wit_state, r) == 832 && offsetof(struct wit_state, rflags) == 960 &&
                   offsetof(struct wit_state, ds) == 992,
               "the assembler knows the places");

/* clang-format off */
#define EACH(X) \
    X("rax", 832) X("rcx", 840) X("rdx", 848) X("rbx", 856) X("rsp", 864) X("rbp", 872) \
    X("rsi", 880) X("rdi", 888) X("r8", 896) X("r9", 904) X("r10", 912) X("r11", 920) \
    X("r12", 928) X("r13", 936) X("r14", 944) X("r15", 952)
#define LOAD(reg, at)  "  mov wit_now+" #at "(%rip), %" reg "\n"
#define STORE(reg, at) "  mov %" reg ", wit_now+" #at "(%rip)\n"

__asm__(".text\n"
        ".globl wit_enter, wit_exit, wit_escape\n"
        "wit_enter:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  mov %rsp, wit_rsp(%rip)\n"
        "  mov wit_mask(%rip), %eax; xor %edx, %edx\n"
        "  lea wit_now(%rip), %rdi\n"
        "  xrstor64 (%rdi)\n"
        "  pushq wit_now+960(%rip); popfq\n"
        EACH(LOAD)
        "  ljmpl *wit_target(%rip)\n"
        "wit_exit:\n"
        EACH(STORE)
        "  mov wit_rsp(%rip), %rsp\n"
        "  pushfq; popq wit_now+960(%rip)\n"
        "  pushq $0x202; popfq\n"
        "  mov %ds, wit_now+992(%rip); mov %es, wit_now+994(%rip)\n"
        "  lea wit_now(%rip), %rdi\n"
        "  mov wit_mask(%rip), %eax; xor %edx, %edx\n"
        "  xsave64 (%rdi)\n"
        "  fninit; pushq $0x1f80; ldmxcsr (%rsp); pop %rax\n"
        "  xor %eax, %eax\n"
        "1:\n"
        "  mov $0x2b, %ecx; mov %ecx, %ds; mov %ecx, %es\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n"
        "wit_escape:\n"
        "  mov wit_rsp(%rip), %rsp\n"
        "  mov $1, %eax\n"
        "  jmp 1b\n");
/* clang-format on */

/* --- In the child --- */

static volatile sig_atomic_t on_host;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    /* AC may be set, which the kernel leaves, and then the C below would fault */
    __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    const mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    if (!on_host || sig == SIGALRM)
        _exit(9);
    on_host = 0;
    struct wit_state *s = &wit_now;
    __asm__ volatile("mov %%ds, %0; mov %%es, %1" : "=m"(s->ds), "=m"(s->es));
    memcpy(&s->x, m->fpregs, offsetof(struct wit_xsave, unused));
    const struct wit_xsave *f = (const struct wit_xsave *)m->fpregs;
    bool more = get_le32((const uint8_t *)f + 464) == XSTATE_MAGIC;
    memset(s->x.high, 0, sizeof s->x.high);
    if (more && f->present & 4)
        memcpy(s->x.high, f->high, sizeof f->high);
    if (more && !(f->present & 2))
        memset(s->x.xmm, 0, sizeof s->x.xmm);
    for (unsigned i = 0; i < 16; i++)
        s->r[i] = (uint64_t)m->gregs[order[i]];
    s->rflags = (uint64_t)m->gregs[REG_EFL];
    s->rip = (uint64_t)m->gregs[REG_RIP];
    s->vector = (uint32_t)m->gregs[REG_TRAPNO];
    s->error = (uint32_t)m->gregs[REG_ERR];
    s->cr2 = (uint64_t)m->gregs[REG_CR2];
    (void)info;
    wit_escape();
}

/* Bytes of the code pages that a case may have changed from INT3. */
static void put_code(const struct wit_case *c, bool put)
{
    static const uint8_t jump = 0xe9;
    uint8_t b[WIT_CODE_MAX + 5];
    unsigned n = c->code_len + 5u, room = WIT_CODE_BYTES - c->code_at;
    if (put) {
        memcpy(b, c->code, c->code_len);
        b[c->code_len] = jump;
        uint32_t way = c->mode == ISA_64 ? 0 : 0x40;
        put_le32(b + c->code_len + 1, (uint32_t)(WIT_EXIT + way - (WIT_CODE + c->code_at + n)));
    } else {
        memset(b, 0xcc, n);
    }
    memcpy(code_alias + c->code_at, b, n < room ? n : room);
}

static bool all_zero(const uint64_t (*v)[2], size_t bytes)
{
    uint64_t any = 0;
    for (size_t i = 0; i < bytes / 16; i++)
        any |= v[i][0] | v[i][1];
    return !any;
}

static void run_case(const struct wit_case *c, struct wit_result *r)
{
    static uint8_t before[WIT_BYTES];
    uint8_t *data = (uint8_t *)WIT_DATA;
    wit_memory(c, background, before);
    memcpy(data, before, WIT_RW);
    put_code(c, true);
    memcpy(&wit_now, &c->in, sizeof wit_now);
    wit_now.x.present = wit_mask;
    /* XSAVE tells whether AVX is in its initial state: upper halves that are all 0 had better be */
    if (all_zero(wit_now.x.high, sizeof wit_now.x.high))
        wit_now.x.present &= 3;
    wit_target.offset = (uint32_t)(WIT_CODE + c->code_at);
    wit_target.selector = c->mode == ISA_64 ? USER_CS64 : USER_CS32;
    on_host = 1;
    if (!wit_enter()) {
        wit_now.vector = EXC_NONE;
        wit_now.rip = WIT_EXIT;
        wit_now.error = 0;
        wit_now.cr2 = 0;
    }
    on_host = 0;
    put_code(c, false);
    memcpy(&r->s, &wit_now, sizeof wit_now);
    wit_changed(r, before, data);
    r->died = false;
}

/* Has the pages mapped before a case asks for them: a fault says whether they were. */
static void touch(uint64_t at, unsigned n)
{
    for (unsigned i = 0; i < n; i += PAGE_SIZE)
        (void)*(volatile uint8_t *)(at + i);
}

static void child_main(int in, int out)
{
    static uint8_t stack[1 << 16];
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGALRM};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction act = {.sa_sigaction = on_signal,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &act, NULL);
    touch(WIT_DATA, WIT_BYTES);
    touch(WIT_HIGH, WIT_BYTES);
    touch(WIT_OVER, WIT_BYTES);
    touch(WIT_CODE, WIT_CODE_BYTES);
    touch(WIT_EXIT, PAGE_SIZE);
    if (low_memory)
        touch(WIT_LOW, WIT_BYTES);
    syscall(SYS_arch_prctl, ARCH_SET_GS, WIT_GS);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(USER_DS));
    unsigned job[3]; /* half, first, n */
    while (read(in, job, sizeof job) == sizeof job) {
        alarm(30);
        for (unsigned i = job[1]; i < job[2]; i++) {
            shared->at = i;
            run_case(&shared->cases[job[0]][i], &shared->results[job[0]][i]);
        }
        if (write(out, "", 1) != 1)
            break;
    }
    _exit(0);
}

/* --- In the parent --- */

/* The child stays on the CPU whose number it is. */
static uint64_t find_cpu_segment(void)
{
    uint32_t rights, limit = 0;
    bool ok;
    __asm__("lar %3, %1\n\tlsl %3, %0" : "+r"(limit), "=r"(rights), "=@ccz"(ok) : "r"(WIT_CPU_SEL));
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(limit & 0xfff, &set);
    if (!ok || rights & BIT(23) || limit >> 20)
        return 0;
    own_cpu = set;
    return (limit & 0xffff) | (uint64_t)(limit & 0xf0000) << 32 |
           (uint64_t)(rights & 0xf0ff00) << 32;
}

static void spawn(void)
{
    int down[2], up[2];
    if (pipe(down) || pipe(up))
        abort();
    child = fork();
    if (!child) {
        close(down[1]);
        close(up[0]);
        sched_setaffinity(0, sizeof own_cpu, &own_cpu);
        child_main(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    to_child = down[1];
    from_child = up[0];
}

static void reap(void)
{
    close(to_child);
    close(from_child);
    waitpid(child, NULL, 0);
    to_child = -1;
}

static bool send(unsigned half, unsigned first, unsigned n)
{
    unsigned job[3] = {half, first, n};
    return write(to_child, job, sizeof job) == sizeof job;
}

struct wit_case *wit_host_cases(unsigned half)
{
    return shared->cases[half];
}

struct wit_result *wit_host_results(unsigned half)
{
    return shared->results[half];
}

void wit_host_start(unsigned half, unsigned n)
{
    pending_half = half;
    pending_n = n;
    send(half, 0, n);
}

void wit_host_wait(void)
{
    char done;
    while (read(from_child, &done, 1) != 1) {
        unsigned at = shared->at;
        reap();
        shared->results[pending_half][at].died = true;
        spawn();
        if (at + 1 == pending_n)
            return;
        send(pending_half, at + 1, pending_n);
    }
}

void wit_host_end(void)
{
    if (to_child >= 0)
        reap();
}

static void *map_file(uint64_t at, int fd, uint64_t offset, size_t n, int prot)
{
    int fixed = at ? MAP_FIXED_NOREPLACE : 0;
    void *p = mmap((void *)at, n, prot, MAP_SHARED | fixed, fd, (off_t)offset);
    if (p != MAP_FAILED && at && p != (void *)at) {
        munmap(p, n); /* a kernel older than the flag */
        return MAP_FAILED;
    }
    return p;
}

/* The three data pages at one of their addresses. */
static bool map_data(uint64_t at, int fd)
{
    return map_file(at, fd, 0, WIT_RW, PROT_READ | PROT_WRITE) != MAP_FAILED &&
           map_file(at + WIT_RW, fd, WIT_RW, WIT_BYTES - WIT_RW, PROT_READ) != MAP_FAILED;
}

/* And with the two that are written exchanged. */
static bool map_exchanged(uint64_t at, int fd)
{
    for (unsigned i = 0; i < WIT_RW; i += PAGE_SIZE)
        if (map_file(at + i, fd, PAGE_SIZE - i, PAGE_SIZE, PROT_READ | PROT_WRITE) == MAP_FAILED)
            return false;
    return map_file(at + WIT_RW, fd, WIT_RW, WIT_BYTES - WIT_RW, PROT_READ) != MAP_FAILED;
}

static struct isa_features host_features(void)
{
    struct isa_features f = {{0, 0}};
    for (unsigned i = 0; i < FEAT_COUNT; i++) {
        const struct isa_feature_info *at = &isa_feature_info[i];
        unsigned r[4] = {0, 0, 0, 0};
        __get_cpuid_count(at->leaf, at->leaf == 0xd, &r[0], &r[1], &r[2], &r[3]);
        if (!at->leaf || r[at->reg] >> at->bit & 1)
            f.word[i >> 6] |= BIT(i & 63);
    }
    return f;
}

/* Where a case leaves: 64-bit code at 0, 32-bit code at 40h. */
static void make_exit(uint8_t *p)
{
    static const uint8_t jump64[] = {0xff, 0x25, 0x1a, 0, 0, 0}; /* jmp [the address at 20h] */
    memset(p, 0xcc, PAGE_SIZE);
    memcpy(p, jump64, sizeof jump64);
    put_le64(p + 0x20, (uint64_t)(uintptr_t)wit_exit);
    p[0x40] = 0xea; /* far, to the code at 0 */
    put_le32(p + 0x41, (uint32_t)WIT_EXIT);
    put_le16(p + 0x45, USER_CS64);
}

bool wit_host_init(struct wit *w, const char **why)
{
    w->features = host_features();
    w->ymm = isa_has(&w->features, FEAT_AVX);
    w->cpu_segment = find_cpu_segment();
    if (!isa_has(&w->features, FEAT_XSAVE)) {
        *why = "the host has no XSAVE";
        return false;
    }
    wit_mask = w->ymm ? 7 : 3;
    int fd = memfd_create("data", 0), code = memfd_create("code", 0);
    int exit_fd = memfd_create("exit", 0);
    *why = "low addresses, or code in memory, can't be mapped here";
    if (fd < 0 || code < 0 || exit_fd < 0 || ftruncate(fd, WIT_BYTES) ||
        ftruncate(code, WIT_CODE_BYTES) || ftruncate(exit_fd, PAGE_SIZE))
        return false;
    wit_background(background);
    if (pwrite(fd, background, WIT_BYTES, 0) != WIT_BYTES)
        return false;
    code_alias = map_file(0, code, 0, WIT_CODE_BYTES, PROT_READ | PROT_WRITE);
    uint8_t *way_out = map_file(0, exit_fd, 0, PAGE_SIZE, PROT_READ | PROT_WRITE);
    if (code_alias == MAP_FAILED || way_out == MAP_FAILED || !map_data(WIT_DATA, fd) ||
        !map_data(WIT_HIGH, fd) || !map_exchanged(WIT_OVER, fd) ||
        map_file(WIT_CODE, code, 0, WIT_CODE_BYTES, PROT_READ | PROT_EXEC) == MAP_FAILED ||
        map_file(WIT_EXIT, exit_fd, 0, PAGE_SIZE, PROT_READ | PROT_EXEC) == MAP_FAILED)
        return false;
    w->low = low_memory = map_data(WIT_LOW, fd);
    memset(code_alias, 0xcc, WIT_CODE_BYTES);
    make_exit(way_out);
    syscall(SYS_arch_prctl, ARCH_GET_FS, &w->fs);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return false;
    signal(SIGPIPE, SIG_IGN);
    spawn();
    return true;
}
