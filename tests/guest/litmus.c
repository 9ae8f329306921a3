/* What CPUs may see of each other's memory accesses (SDM 3A 8.2: TSO), locked instructions as one
 * access, code and translations changed by another CPU.
 *
 * A litmus test runs many times on fresh locations, by CPUs that begin together. An outcome that
 * TSO forbids must not be seen at all; one that it allows is counted in a note. Where CPUs take
 * turns hardly any two instructions interleave, and the forbidden is never seen for that reason.
 * With the command line "parallel" the CPUs are known to run side by side: then store buffering
 * must be seen, and is looked for until it is.
 *
 * kind: check32
 * args: --cpus 4
 * qemu: -smp 4
 */
#include <stddef.h>

#include "lib/ap.h"
#include "lib/check.h"

#define APIC 0xfee00000ul
#define ID   0x20
#define EOI  0xb0
#define SVR  0xf0
#define ICR  0x300
#define ICRH 0x310

#define WAKE 0x52 /* vector */

#define CPUS   4
#define BATCH  2048 /* instances between two meetings */
#define STRIDE 256  /* bytes: the locations of an instance lie on lines of their own */

static uint32_t rd(unsigned reg)
{
    return *(volatile uint32_t *)(APIC + reg);
}

static void wr(unsigned reg, uint32_t v)
{
    *(volatile uint32_t *)(APIC + reg) = v;
}

/* --- the other CPUs --------------------------------------------------------------------------- */

__asm__(AP_START
        /* an interrupt: ap_vector(), then EOI */
        "ap_entry: pusha\n"
        "cld\n"
        "call ap_interrupt\n"
        "movl $0, 0xfee000b0\n"
        "popa\n"
        "iretl\n"
        /* one that only ends HLT */
        "ap_wake: movl $0, 0xfee000b0\n"
        "iretl\n");

extern char ap_begin[], ap_end[], ap_entry[], ap_wake[];
uint64_t ap_idt[256] __attribute__((aligned(8)));
uint32_t ap_stack;
static uint8_t ap_stacks[CPUS][4096] __attribute__((aligned(16)));
static volatile uint32_t starts, ap_index;

/* What all CPUs do: job(its number), when `round` moves on. */
static void (*volatile job)(unsigned me);
static volatile uint32_t round_, finished;
static void (*volatile on_interrupt)(void);

static inline uint32_t add_locked(volatile uint32_t *p, uint32_t v)
{
    __asm__ volatile("lock xaddl %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}

void ap_interrupt(void);
void ap_interrupt(void)
{
    on_interrupt();
}

_Noreturn void ap_main(void);
void ap_main(void)
{
    unsigned me = ap_index;
    uint32_t seen = 0;
    wr(SVR, 0x1ff);
    starts++;
    for (;;) {
        __asm__ volatile("cli" : : : "memory");
        if (round_ == seen) { /* STI lets nothing come between it and HLT */
            __asm__ volatile("sti; hlt" : : : "memory");
            continue;
        }
        seen = round_;
        __asm__ volatile("sti");
        job(me);
        add_locked(&finished, 1);
    }
}

static void ipi(unsigned dest, uint32_t low)
{
    wr(ICRH, dest << 24);
    wr(ICR, low);
    while (rd(ICR) >> 12 & 1)
        ;
}

static bool start(unsigned cpu)
{
    uint32_t before = starts;
    ap_index = cpu;
    ap_stack = addr(ap_stacks[cpu]) + sizeof ap_stacks[0];
    ipi(cpu, 0x4500); /* INIT */
    for (unsigned i = 0; i < 30000; i++)
        pause();
    ipi(cpu, 0x4608); /* SIPI 0x08000 */
    return wait_for(&starts, before + 1);
}

static bool start_all(void)
{
    bool ok = true;
    for (unsigned i = 0; i < (word)(ap_end - ap_begin); i++)
        ((volatile uint8_t *)0x8000)[i] = (uint8_t)ap_begin[i];
    for (unsigned v = 0; v < 256; v++) {
        uint32_t at = addr(v == WAKE ? ap_wake : ap_entry);
        ap_idt[v] = (at & 0xffff) | CS0 << 16 | 0x8eull << 40 | (uint64_t)(at >> 16) << 48;
    }
    for (unsigned i = 1; i < CPUS; i++)
        ok = ok && start(i);
    return ok;
}

/* All CPUs do it, this one too. */
static void together(void (*what)(unsigned me))
{
    finished = 0;
    job = what;
    round_++;
    ipi(0, 0xc4000 | WAKE); /* all but self: they halt */
    what(0);
    while (finished < CPUS - 1)
        pause();
}

/* --- litmus tests ----------------------------------------------------------------------------- */

/* One piece of one instance: x and y, two lines apart, as processors fetch lines in pairs; what it
 * saw goes to a and b. */
struct seen {
    uint32_t a, b;
};
typedef void piece_fn(volatile uint32_t *x, struct seen *s);

#define PIECE(name, text)                                             \
    static void name(volatile uint32_t *x, struct seen *s)            \
    {                                                                 \
        uint32_t a = 0, b = 0, one = 1, two = 2;                      \
        __asm__ volatile(text                                         \
                         : "+&r"(a), "+&r"(b), "+&r"(one), "+&r"(two) \
                         : "r"(x)                                     \
                         : "memory", "cc");                           \
        s->a = a;                                                     \
        s->b = b;                                                     \
    }
#define X        "(%4)"
#define Y        "128(%4)"
#define W1(at)   "movl %2, " at "\n"
#define W2(at)   "movl %3, " at "\n"
#define RA(at)   "movl " at ", %0\n"
#define RB(at)   "movl " at ", %1\n"
#define Y_AT     128
#define FENCE    "mfence\n"
#define LOCKED   "lock orl $0, 64(%4)\n"
#define SWAP(at) "xchgl %2, " at "\n"

PIECE(wx_ry, W1(X) RA(Y))
PIECE(wy_rx, W1(Y) RA(X))
PIECE(wx_fence_ry, W1(X) FENCE RA(Y))
PIECE(wy_fence_rx, W1(Y) FENCE RA(X))
PIECE(wx_lock_ry, W1(X) LOCKED RA(Y))
PIECE(wy_lock_rx, W1(Y) LOCKED RA(X))
PIECE(swapx_ry, SWAP(X) RA(Y))
PIECE(swapy_rx, SWAP(Y) RA(X))
PIECE(wx_wy, W1(X) W1(Y))
PIECE(ry_rx, RA(Y) RB(X))
PIECE(rx_ry, RA(X) RB(Y))
PIECE(rx_wy, RA(X) W1(Y))
PIECE(ry_wx, RA(Y) W1(X))
PIECE(wx, W1(X))
PIECE(wy, W1(Y))
PIECE(swapx_swapy, SWAP(X) "movl $1, %2\n" SWAP(Y))
PIECE(w2y_rx, W2(Y) RA(X))
PIECE(w2y_fence_rx, W2(Y) FENCE RA(X))
PIECE(wx_w2y, W1(X) W2(Y))
PIECE(wy_w2x, W1(Y) W2(X))
PIECE(w2x_wy, W2(X) W1(Y))
PIECE(rx_rx, RA(X) RB(X))

static piece_fn *piece[CPUS];
static uint8_t memory[BATCH * STRIDE] __attribute__((aligned(4096)));
static struct seen seen[CPUS][BATCH];

static volatile uint32_t actors;
static volatile uint32_t at[CPUS][32]; /* how far each has come; a line each */

/* All wait before each instance: nothing happens at the same time otherwise. Who has waited long
 * pauses, as the host may not have as many processors as we. */
static void meet(unsigned me, uint32_t where)
{
    at[me][0] = where;
    for (unsigned i = 0; i < actors; i++)
        for (unsigned n = 0; at[i][0] < where; n++)
            if (n > 5000)
                pause();
}

/* Stores wait in a processor's buffer while the line of an earlier one is fetched. So that this
 * lasts as long as it can, each piece begins with stores to lines that no cache close to us has,
 * while x and y are in all of them, to be read at once. */
#define FAR_BASE  0x1000000ul /* beyond us */
#define FAR_PAGES 1024u       /* of each CPU */

static uint32_t pieces[CPUS][32]; /* that it has run; a line each */

static volatile uint32_t *far_page(unsigned me)
{
    return (volatile uint32_t *)(FAR_BASE + (me * FAR_PAGES + pieces[me][0]++ % FAR_PAGES) * 4096);
}

static void fill_buffer(volatile uint32_t *page)
{
    page[0] = page[5 * 64] = page[2 * 64] = page[11 * 64] = 1;
}

static void wait_some(uint32_t n)
{
    while (n--)
        __asm__ volatile("");
}

static void run_pieces(unsigned me)
{
    piece_fn *f = piece[me];
    for (unsigned i = 0; f && i < BATCH; i++) {
        volatile uint32_t *x = (volatile uint32_t *)(memory + i * STRIDE), *page = far_page(me);
        page[1023] = 1; /* nothing but the line is far away */
        (void)x[0], (void)x[Y_AT / 4];
        meet(me, i + 1);
        wait_some(i % 4 == me ? i / 4 % 32 : 0); /* nobody knows who is the first to go on */
        fill_buffer(page);
        f(x, &seen[me][i]);
    }
}

/* Does this hold of an instance? The last two are what x and y are at its end. */
typedef bool outcome_fn(const struct seen *s[CPUS], uint32_t x, uint32_t y);

/* How often it does. */
static unsigned litmus(unsigned batches, outcome_fn *f, piece_fn *a, piece_fn *b, piece_fn *c,
                       piece_fn *d)
{
    unsigned n = 0;
    piece[0] = a;
    piece[1] = b;
    piece[2] = c;
    piece[3] = d;
    actors = d ? 4 : 2;
    while (batches--) {
        fill(memory, 0, sizeof memory);
        for (unsigned i = 0; i < CPUS; i++)
            at[i][0] = 0;
        together(run_pieces);
        for (unsigned i = 0; i < BATCH; i++) {
            const struct seen *s[CPUS] = {&seen[0][i], &seen[1][i], &seen[2][i], &seen[3][i]};
            n += f(s, get32(memory + i * STRIDE), get32(memory + i * STRIDE + Y_AT));
        }
    }
    return n;
}

#define OUTCOME(name, what)                                              \
    static bool name(const struct seen *s[CPUS], uint32_t x, uint32_t y) \
    {                                                                    \
        (void)s, (void)x, (void)y;                                       \
        return what;                                                     \
    }
OUTCOME(none_seen, !s[0]->a && !s[1]->a)
OUTCOME(both_seen, s[0]->a &&s[1]->a)
OUTCOME(later_only, s[1]->a && !s[1]->b)
OUTCOME(two_orders, s[2]->a && !s[2]->b && s[3]->a && !s[3]->b)
OUTCOME(last_and_unseen, y == 2 && !s[1]->a)
OUTCOME(first_ones, x == 1 && y == 1)
OUTCOME(seen_and_lost, s[1]->a == 1 && x == 2)

static unsigned batches = 1; /* of each test */
#define LIMIT 1000           /* batches */

static void store_buffering(void)
{
    bool parallel = told("parallel");
    batches = parallel ? 2 : 1;
    unsigned n = litmus(4 * batches, none_seen, wx_ry, wy_rx, NULL, NULL);
    note("SB: neither store seen (allowed)", n);
    if (!parallel)
        return;
    for (unsigned i = 0; !n && i < LIMIT; i++)
        n = litmus(1, none_seen, wx_ry, wy_rx, NULL, NULL);
    same("SB: store buffering is seen", n > 0, true);
}

static void memory_order(void)
{
    store_buffering();
    note("R: store not seen (allowed)",
         litmus(batches, last_and_unseen, wx_wy, w2y_rx, NULL, NULL));
    same("SB with MFENCE", litmus(batches, none_seen, wx_fence_ry, wy_fence_rx, NULL, NULL), 0);
    same("SB with LOCK", litmus(batches, none_seen, wx_lock_ry, wy_lock_rx, NULL, NULL), 0);
    same("SB by XCHG", litmus(batches, none_seen, swapx_ry, swapy_rx, NULL, NULL), 0);
    same("MP", litmus(2 * batches, later_only, wx_wy, ry_rx, NULL, NULL), 0);
    same("MP by XCHG", litmus(batches, later_only, swapx_swapy, ry_rx, NULL, NULL), 0);
    same("LB", litmus(batches, both_seen, rx_wy, ry_wx, NULL, NULL), 0);
    same("IRIW", litmus(batches, two_orders, wx, wy, rx_ry, ry_rx), 0);
    same("R with MFENCE", litmus(batches, last_and_unseen, wx_wy, w2y_fence_rx, NULL, NULL), 0);
    same("2+2W", litmus(batches, first_ones, wx_w2y, wy_w2x, NULL, NULL), 0);
    same("S", litmus(batches, seen_and_lost, w2x_wy, ry_wx, NULL, NULL), 0);
    same("CoRR", litmus(batches, later_only, wx, rx_rx, NULL, NULL), 0);
}

/* --- locked instructions ---------------------------------------------------------------------- */

#define TIMES 2000 /* by each CPU */

static uint8_t area[8192 + 64] __attribute__((aligned(4096)));
static volatile uint32_t *counter;
static uint32_t got_by[CPUS];

static void by_xadd(unsigned me)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < TIMES; i++) {
        v = add_locked(counter, 1);
    }
    got_by[me] = v;
}

static void by_inc(unsigned me)
{
    (void)me;
    for (unsigned i = 0; i < TIMES; i++)
        __asm__ volatile("lock incl %0" : "+m"(*counter) : : "memory", "cc");
}

/* Up by ADD, SUB and ADC, down by DEC, SBB, and twice turned round by NEG and NOT. */
static void by_many(unsigned me)
{
    (void)me;
    for (unsigned i = 0; i < TIMES; i++)
        __asm__ volatile("lock addl $5, %0\n"
                         "lock subl $-2, %0\n"
                         "lock decl %0\n"
                         "stc\n"
                         "lock sbbl $2, %0\n" /* by 3 */
                         "stc\n"
                         "lock adcl $-4, %0\n" /* by -3 */
                         "lock incl %0\n"
                         : "+m"(*counter)
                         :
                         : "memory", "cc");
}

static void by_cmpxchg(unsigned me)
{
    (void)me;
    for (unsigned i = 0; i < TIMES; i++) {
        uint32_t old = *counter;
        bool ok;
        do
            __asm__ volatile("lock cmpxchgl %3, %1"
                             : "=@ccz"(ok), "+m"(*counter), "+a"(old)
                             : "r"(old + 1)
                             : "memory");
        while (!ok);
    }
}

static void by_cmpxchg8b(unsigned me)
{
    volatile uint64_t *p = (volatile uint64_t *)counter;
    (void)me;
    for (unsigned i = 0; i < TIMES; i++) {
        uint64_t old = *p, to;
        bool ok;
        do {
            to = old + 0x100000001ull;
            __asm__ volatile("lock cmpxchg8b %1"
                             : "=@ccz"(ok), "+m"(*p), "+A"(old)
                             : "b"((uint32_t)to), "c"((uint32_t)(to >> 32))
                             : "memory");
        } while (!ok);
    }
}

static volatile uint32_t lock_[4];

static bool taken(void)
{
    uint32_t v = 1;
    __asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(lock_[0]) : : "memory");
    return v;
}

static void by_lock(unsigned me)
{
    (void)me;
    for (unsigned i = 0; i < TIMES; i++) {
        while (taken())
            pause();
        *counter = *counter + 1;
        __asm__ volatile("" : : : "memory");
        lock_[0] = 0;
    }
}

/* A lock of one bit, by BTS; the bit string goes beyond the operand. */
static bool bit_taken(void)
{
    bool was;
    __asm__ volatile("lock btsl %2, %1" : "=@ccc"(was), "+m"(lock_[0]) : "r"(77) : "memory");
    return was;
}

static void by_bit(unsigned me)
{
    (void)me;
    for (unsigned i = 0; i < TIMES; i++) {
        while (bit_taken())
            pause();
        *counter = *counter + 1;
        __asm__ volatile("lock btrl %1, %0" : "+m"(lock_[0]) : "r"(77) : "memory", "cc");
    }
}

static void by_byte(unsigned me)
{
    for (unsigned i = 0; i < TIMES; i++)
        __asm__ volatile("lock addb $1, %0" : "+m"(((volatile uint8_t *)counter)[me]) : : "memory");
}

static uint32_t count(void (*f)(unsigned me), unsigned offset)
{
    fill(area, 0, sizeof area);
    lock_[0] = lock_[2] = 0;
    counter = (volatile uint32_t *)(area + offset);
    together(f);
    return *counter;
}

static void locked(void)
{
    const uint32_t all = CPUS * TIMES;
    same("LOCK XADD", count(by_xadd, 0), all);
    uint32_t most = 0;
    for (unsigned i = 0; i < CPUS; i++)
        most = got_by[i] > most ? got_by[i] : most;
    same("… the last one saw all others", most, all - 1);
    same("LOCK INC", count(by_inc, 4), all);
    same("LOCK ADD, SUB, DEC, SBB, ADC", count(by_many, 8), all);
    same("LOCK CMPXCHG", count(by_cmpxchg, 12), all);
    same("LOCK CMPXCHG8B", count(by_cmpxchg8b, 16), all);
    same("… the upper half", counter[1], all);
    same("a lock by XCHG", count(by_lock, 20), all);
    same("a lock by BTS", count(by_bit, 24), all);
    uint32_t byte = TIMES & 0xff;
    same("LOCK ADD of bytes", count(by_byte, 28), byte * 0x01010101u);
    same("LOCK INC across a line", count(by_inc, 62), all);
    same("LOCK XADD across a page", count(by_xadd, 4094), all);
    same("LOCK CMPXCHG across a page", count(by_cmpxchg, 4093), all);
}

/* --- code ------------------------------------------------------------------------------------- */

static uint8_t code[4096] __attribute__((aligned(4096)));
static volatile uint32_t asked, answer, phase;

/* mov $n, %eax; ret */
static void write_code(uint32_t n)
{
    volatile uint8_t *p = code;
    p[0] = 0xb8;
    *(volatile uint32_t *)(p + 1) = n;
    p[5] = 0xc3;
}

static uint32_t call_code(void)
{
    return ((uint32_t(*)(void))(word)code)();
}

static void serialise(void)
{
    cpuid(0, 0);
}

static void ask(void)
{
    serialise();
    answer = call_code();
    asked++;
}

/* CPU 1 runs what is written while it runs it, until it is told so and looks anew. */
static void run_code(unsigned me)
{
    uint32_t last = 0, n;
    if (me != 1)
        return;
    while ((n = phase) < 1000) {
        serialise();
        uint32_t v = call_code();
        if (v < n || v < last) {
            answer = 1;
            return;
        }
        last = v;
    }
}

static void patch(unsigned me)
{
    if (me == 1)
        run_code(me);
    if (me)
        return;
    for (uint32_t n = 1; n <= 1000; n++) {
        write_code(n);
        phase = n;
    }
}

/* CPU 1 calls it from a loop that gets hot, so that a translator may make one piece of code of both
 * pages. What is written in the middle of that holds once CPU 1 was told. */
#define HOT_CALLS 4000
static volatile uint32_t sums, hot, noticed;

static void hot_path(unsigned me)
{
    if (me == 1) {
        uint32_t sum = 0, n;
        while ((n = phase) < 1000) {
            serialise();
            if (call_code() < n)
                answer++;
            noticed = n;
            for (unsigned i = 0; i < HOT_CALLS; i++)
                sum += call_code();
            sums = sum;
            hot++;
        }
    } else if (!me) {
        for (uint32_t n = 1; n <= 40; n++) {
            uint32_t before = hot;
            wait_for(&hot, before + 1);
            write_code(n);
            phase = n;
            wait_for(&noticed, n);
        }
        phase = 1000;
    }
}

static void other_code(void)
{
    unsigned bad = 0;
    on_interrupt = ask;
    for (uint32_t n = 1; n <= 200; n++) {
        uint32_t before = asked;
        write_code(n);
        ipi(1, 0x4050);
        bad += !wait_for(&asked, before + 1) || answer != n;
    }
    same("code by another CPU, noticed by an interrupt", bad, 0);
    write_code(0);
    answer = phase = 0;
    together(patch);
    /* QEMU 7.2 was noticed to keep what another of its threads translated while it was written. */
    differs("its threads may keep old code; SDM 3A 8.1.3, 11.6");
    same("code by another CPU, noticed by a variable", answer, 0);
    differs("its threads may keep old code; SDM 3A 8.1.3, 11.6");
    same("… its last form", call_code(), 1000);
    write_code(0);
    answer = phase = hot = noticed = 0;
    together(hot_path);
    differs("its threads may keep old code; SDM 3A 8.1.3, 11.6");
    same("code on the path of a hot loop", answer, 0);
}

/* --- translations ----------------------------------------------------------------------------- */

#define WINDOW 0x400000ul /* linear; 4 MiB with a table of its own */

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint8_t pages[2][4096] __attribute__((aligned(4096)));
static volatile uint32_t flushed;

static void paging_on(unsigned me)
{
    (void)me;
    WRITE_REG("cr4", READ_REG("cr4") | 0x10); /* PSE */
    WRITE_REG("cr3", addr(directory));
    WRITE_REG("cr0", READ_REG("cr0") | 0x80010000);
}

static void paging_off(unsigned me)
{
    (void)me;
    WRITE_REG("cr0", READ_REG("cr0") & ~0x80000000ul);
}

static volatile uint32_t *const window = (volatile uint32_t *)WINDOW;

static void shoot(void)
{
    __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
    answer = *window;
    add_locked(&flushed, 1);
}

static volatile bool over;

/* The others look through the window all the time, and write beside what is looked at. */
static void look(unsigned me)
{
    uint32_t bad = 0;
    if (!me) {
        on_interrupt = shoot;
        for (unsigned n = 0; n < 100; n++) {
            uint32_t before = flushed;
            table[0] = addr(pages[n & 1]) | 3;
            ipi(1, 0xc4051); /* all but self */
            wait_for(&flushed, before + CPUS - 1);
            put32(pages[~n & 1] + 8, 0); /* nobody sees this page any more */
            for (unsigned i = 0; i < 100; i++)
                bad += get32(pages[~n & 1] + 8) != 0;
            bad += flushed != before + CPUS - 1;
        }
        over = true;
        got_by[0] = bad;
        return;
    }
    while (!over)
        window[2] = me;
}

static void translations(void)
{
    for (unsigned i = 0; i < 1024; i++)
        directory[i] = (uint32_t)i << 22 | 0x83; /* 4 MiB, itself */
    directory[WINDOW >> 22] = addr(table) | 3;
    put32(pages[0], 0x1111);
    put32(pages[1], 0x2222);
    table[0] = addr(pages[0]) | 3;
    together(paging_on);
    together(look);
    same("a page changed for all: nobody writes to the old one", got_by[0], 0);
    same("… all see the new one", answer, 0x2222);
    same("accessed and dirty", table[0] & 0x60, 0x60);
    together(paging_off);
}

void checks(void)
{
    wr(SVR, 0x1ff);
    same("all CPUs start", start_all(), 1);
    if (starts != CPUS - 1)
        return;
    memory_order();
    locked();
    other_code();
    translations();
}
