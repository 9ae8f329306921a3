/* The local APIC and interrupts: priorities, ISR and IRR, the timer's modes, IPIs of every kind,
 * INIT and SIPI, x2APIC, the shadows of STI and MOV SS, blocking of NMI (SDM 3A chapter
 * 11, 6.7, 6.8).
 *
 * kind: check32
 * args: --cpus 3 --irqchip ishi
 * qemu: -smp 3
 */
#include "lib/ap.h"
#include "lib/check.h"

#define APIC  0xfee00000ul
#define ID    0x20
#define VER   0x30
#define TPR   0x80
#define PPR   0xa0
#define EOI   0xb0
#define LDR   0xd0
#define DFR   0xe0
#define SVR   0xf0
#define ISR   0x100
#define TMR   0x180
#define IRR   0x200
#define ESR   0x280
#define ICR   0x300
#define ICRH  0x310
#define TIMER 0x320
#define LINT0 0x350
#define LINT1 0x360
#define ERROR 0x370
#define INIT  0x380
#define COUNT 0x390
#define DIV   0x3e0

#define CPUS 3

static uint32_t rd(unsigned reg)
{
    return *(volatile uint32_t *)(APIC + reg);
}

static void wr(unsigned reg, uint32_t v)
{
    *(volatile uint32_t *)(APIC + reg) = v;
}

static bool bit(unsigned regs, unsigned v)
{
    return rd(regs + (v >> 5) * 16) >> (v & 31) & 1;
}

/* --- what the boot processor took, in order --- */

static uint8_t log_[32];
static unsigned logged;
static bool no_eoi, hold; /* handlers: leave the interrupt in service; end the piece */

static void self(unsigned vector)
{
    wr(ICR, 0x40000 | vector);
}

static bool on_vector(void)
{
    if (logged < sizeof log_)
        log_[logged++] = (uint8_t)got.vector;
    if (!no_eoi)
        wr(EOI, 0);
    return !hold;
}

static void piece(struct code c)
{
    logged = 0;
    run0(c);
}

static void drain(void)
{
    for (unsigned i = 0;
         i < 256 && (rd(ISR + 0x10) | rd(ISR + 0x20) | rd(ISR + 0x30) | rd(ISR + 0x40) |
                     rd(ISR + 0x50) | rd(ISR + 0x60) | rd(ISR + 0x70));
         i++)
        wr(EOI, 0);
    wr(TPR, 0);
}

static struct code open_window; /* interrupts on for a while */

static uint32_t order(void)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < logged && i < 4; i++)
        v = v << 8 | log_[i];
    return v;
}

static void priorities(void)
{
    open_window = CODE("sti; mov $2000, %ecx; 1: pause; loop 1b; cli");
    for (unsigned v = 0x20; v < 0xf0; v++)
        if (v != 0x41)
            hooks[v] = on_vector;
    self(0x45);
    self(0x61);
    self(0x33);
    piece(open_window);
    same("the highest vector first", order(), 0x614533);
    wr(TPR, 0x50);
    self(0x5f);
    self(0x60);
    self(0x45);
    piece(open_window);
    same("TPR holds its class and those below", order(), 0x60);
    same("… they wait in IRR", bit(IRR, 0x5f) && bit(IRR, 0x45), 1);
    same("PPR is TPR", rd(PPR), 0x50);
    wr(TPR, 0x4f);
    piece(open_window);
    same("TPR lowered", order(), 0x5f);
    wr(TPR, 0);
    piece(open_window);
    same("TPR 0", order(), 0x45);
    no_eoi = true;
    self(0x61);
    piece(open_window);
    same("in service", bit(ISR, 0x61), 1);
    same("… and no more in IRR", bit(IRR, 0x61), 0);
    same("PPR is the class in service", rd(PPR), 0x60);
    self(0x6f);
    self(0x71);
    piece(open_window);
    same("in service holds its class", order(), 0x71);
    wr(TPR, 0x75);
    same("PPR: TPR with a class as high", rd(PPR), 0x75);
    wr(TPR, 0x65);
    same("PPR: TPR below", rd(PPR), 0x70);
    wr(TPR, 0);
    wr(EOI, 0);
    same("EOI ends the highest", bit(ISR, 0x71) << 1 | bit(ISR, 0x61), 1);
    wr(EOI, 0);
    no_eoi = false;
    piece(open_window);
    same("what was held comes then", order(), 0x6f);
    self(0x55);
    self(0x55);
    piece(open_window);
    same("IRR has one bit a vector", order(), 0x55);
    same("TMR: an IPI is an edge", bit(TMR, 0x55), 0);
    wr(ESR, 0);
    wr(ICR, 0x40000 | 9);
    wr(ESR, 0);
    differs("SDM 3A 11.5.3: send illegal vector");
    same("an IPI of vector 9: ESR", rd(ESR), 0x20);
    wr(ESR, 0);
    same("ESR: a write clears what was read", rd(ESR), 0);
    wr(SVR, 0xff);
    same("software-disabled: LVTs are masked",
         rd(TIMER) >> 16 & rd(ERROR) >> 16 & rd(LINT0) >> 16 & 1, 1);
    wr(TIMER, 0x40);
    differs("SDM 3A 11.4.7.2: LVT mask bits are stuck while software-disabled");
    same("… and cannot be unmasked", rd(TIMER), 0x10040);
    wr(SVR, 0x1ff);
    same("VERSION's low byte", (rd(VER) & 0xf0), 0x10);
    same("DFR: reserved bits are 1", rd(DFR), 0xffffffff);
}

static void shadows(void)
{
    struct code c = CODE("movl $0x40045, 0xfee00300; sti; nop; nop; cli");
    piece(c);
    same("STI: taken", order(), 0x45);
    c = CODE("movl $0x40045, 0xfee00300; sti; cli; nop; nop");
    piece(c);
    same("STI; CLI leaves no window", order(), 0);
    piece(open_window);
    drain();
    hold = true;
    c = CODE("movl $0x40045, 0xfee00300; sti; nop; 7: nop; cli");
    piece(c);
    same("STI: the next instruction runs first", got.ip, c.at);
    c = CODE("sti; movl $0x40045, 0xfee00300; 7: nop; nop; nop; cli");
    piece(c);
    same("no shadow: at once, or soon", got.ip >= c.at && order() == 0x45, 1);
    c = CODE("movl $0x40045, 0xfee00300; mov %ss, %eax; push $0x202; popf; 7: nop; nop");
    piece(c);
    same("POPF has no shadow", got.ip, c.at);
    c = CODE("movl $0x40045, 0xfee00300; mov %ss, %eax; sti; mov %eax, %ss; nop; 7: nop; nop");
    piece(c);
    differs("SDM 3A 6.8.3: MOV to SS in STI's shadow has one of its own");
    same("MOV to SS behind STI holds interrupts too", got.ip, c.at);
    c = CODE("movl $0x40045, 0xfee00300; sti; sti; nop; 7: nop");
    piece(c);
    same("a second STI has no shadow: after it, or after the next",
         got.ip == c.at || got.ip == c.at - 1, 1);
    c = CODE("movl $0x40045, 0xfee00300; sti; hlt; 7: nop");
    piece(c);
    same("STI; HLT wakes", got.ip, c.at);
    hold = false;
    c = CODE("mov $5, %eax; sti; 1: nop; pushf; pop %ebx; cli");
    piece(c);
    same("STI sets IF", got.bx & FL_IF, FL_IF);
    drain();
}

/* --- NMI --- */

static unsigned nmis, nmi_depth, nmi_nested;

static void nmi_to(unsigned dest)
{
    wr(ICRH, dest << 24);
    wr(ICR, 0x4400);
}

static bool on_nmi(void)
{
    nmis++;
    if (nmi_depth)
        nmi_nested++;
    if (nmis == 1) {
        nmi_depth = 1;
        nmi_to(rd(ID) >> 24);
        for (volatile unsigned i = 0; i < 2000; i++)
            ;
        nmi_depth = 0;
    }
    return true;
}

static bool nmi_hold(void)
{
    return false;
}

static void nmi(void)
{
    uint8_t me = rd(ID) >> 24;
    hooks[NMI] = on_nmi;
    nmis = nmi_nested = 0;
    prep0(CODE("mov $2000, %ecx; 1: pause; loop 1b"));
    nmi_to(me);
    run();
    same("NMI to oneself, and another within its handler", nmis, 2);
    same("… which waited for IRET", nmi_nested, 0);
    hooks[NMI] = nmi_hold;
    struct code c = CODE("movl %ebx, 0xfee00310; movl $0x4400, 0xfee00300; hlt; 7: nop; nop");
    prep0(c);
    in.bx = (word)me << 24;
    run();
    same("NMI wakes HLT with IF 0, or came before it", got.vector == NMI && got.ip <= c.at, 1);
    /* the piece ended without IRET: NMIs stay blocked until one */
    nmis = 0;
    hooks[NMI] = on_nmi;
    c = CODE(
        "movl %ebx, 0xfee00310; movl $0x4400, 0xfee00300; mov $2000, %ecx; 1: pause; loop 1b;"
        "mov %edx, %esi; pushf; push %cs; push $2f; iret; 2: mov $2000, %ecx; 1: pause; loop 1b");
    prep0(c);
    in.bx = (word)me << 24;
    run();
    same("an NMI that waited comes", nmis > 0, 1);
    /* an IRET that faults lets NMIs through all the same */
    struct code send = CODE("movl %ebx, 0xfee00310; movl $0x4400, 0xfee00300; mov $2000, %ecx;"
                            "1: pause; loop 1b");
    hooks[NMI] = nmi_hold;
    prep0(send);
    in.bx = (word)me << 24;
    run();
    same("an NMI that ends its piece", got.vector, NMI);
    c = CODE("pushf; push $0x7770; push $0; 7: iret");
    run0(c);
    fault("… an IRET that faults", c, GP, 0x7770);
    prep0(send);
    in.bx = (word)me << 24;
    run();
    differs("SDM 3A 6.7.1: IRET lets NMIs through even if it faults");
    same("… and the next NMI", got.vector, NMI);
    run0(CODE("pushf; push %cs; push $1f; iret; 1: nop"));
    hooks[NMI] = 0;
}

/* --- the timer --- */

static unsigned ticks;

static bool on_tick(void)
{
    ticks++;
    wr(EOI, 0);
    return true;
}

static void wait_ticks(unsigned n)
{
    struct code c = CODE("sti; mov $1000, %ecx; 1: pause; loop 1b; cli");
    for (unsigned i = 0; i < PATIENCE / 1000 && ticks < n; i++)
        run0(c);
}

/* What the timer counts in a loop, and how long that takes; again if the host did something else
 * between a look at the one and a look at the other. */
static uint32_t counted(uint32_t divide, uint64_t *time)
{
    struct code loop = CODE("mov $100000, %ecx; 1: pause; loop 1b");
    uint64_t inner, outer;
    uint32_t count;
    wr(DIV, divide);
    for (unsigned i = 0; i < 1000; i++) {
        wr(INIT, 0x7fffffff);
        outer = __builtin_ia32_rdtsc();
        count = rd(COUNT);
        inner = __builtin_ia32_rdtsc();
        run0(loop);
        inner = __builtin_ia32_rdtsc() - inner;
        count -= rd(COUNT);
        outer = __builtin_ia32_rdtsc() - outer;
        if (outer - inner < inner / 4)
            break;
    }
    *time = inner >> 10;
    return count;
}

static void timer(void)
{
    hooks[0x90] = on_tick;
    wr(DIV, 0xb);
    wr(TIMER, 0x90);
    ticks = 0;
    wr(INIT, 10000);
    wait_ticks(1);
    same("one-shot: an interrupt", ticks, 1);
    same("… the count stays 0", rd(COUNT), 0);
    wait_ticks(1);
    ticks = 0;
    run0(CODE("sti; mov $100000, %ecx; 1: pause; loop 1b; cli"));
    same("… and no second one", ticks, 0);
    wr(TIMER, 0x20090);
    wr(INIT, 10000);
    wait_ticks(3);
    same("periodic: goes on", ticks >= 3, 1);
    same("… the count is within its start", rd(COUNT) <= 10000, 1);
    wr(INIT, 0);
    ticks = 0;
    run0(CODE("sti; mov $100000, %ecx; 1: pause; loop 1b; cli"));
    ticks = 0;
    run0(CODE("sti; mov $100000, %ecx; 1: pause; loop 1b; cli"));
    same("an initial count of 0 stops it", ticks, 0);
    wr(TIMER, 0x90);
    wr(INIT, 1000);
    run0(CODE("mov $100000, %ecx; 1: pause; loop 1b"));
    wr(TIMER, 0x20090);
    differs("SDM 3A 11.5.4: a count that reached 0 waits for a write of the initial count");
    same("one-shot that ended, made periodic: stays 0", rd(COUNT), 0);
    wr(DIV, 0xa); /* so slow that no pause of the host's matters */
    wr(INIT, 0x40000000);
    wr(TIMER, 0x90);
    same("periodic made one-shot: goes on from there", rd(COUNT) > 0x30000000, 1);
    wr(DIV, 0xb);
    drain();
    wr(TIMER, 0x10090);
    wr(INIT, 1000);
    run0(CODE("sti; nop; nop; cli")); /* what the one-shot left */
    ticks = 0;
    run0(CODE("sti; mov $100000, %ecx; 1: pause; loop 1b; cli"));
    same("masked: no interrupt", ticks, 0);
    same("… but it counts", rd(COUNT), 0);
    uint64_t slow_time, fast_time;
    uint32_t slow = counted(0xa, &slow_time), fast = counted(0xb, &fast_time);
    same("divided by 128: much slower", slow * fast_time < fast * slow_time / 8 && fast > 0, 1);
    wr(INIT, 0);
    wr(DIV, 0xff);
    same("DIVIDE: bits 0, 1, 3", rd(DIV), 0xb);
    if (cpuid(1, 0).c >> 24 & 1) {
        wr(TIMER, 0x40090);
        wr(INIT, 5000);
        same("deadline mode: the initial count does nothing", rd(COUNT), 0);
        ticks = 0;
        uint64_t now;
        __asm__ volatile("rdtsc" : "=A"(now));
        wrmsr(0x6e0, now + (1ull << 50)); /* days: the host may do something else first */
        same("deadline: armed", rdmsr(0x6e0), now + (1ull << 50));
        __asm__ volatile("rdtsc" : "=A"(now));
        wrmsr(0x6e0, now + 1000000);
        wait_ticks(1);
        same("deadline: an interrupt", ticks, 1);
        same("deadline: the MSR is 0", rdmsr(0x6e0), 0);
        wrmsr(0x6e0, 1);
        wait_ticks(2);
        same("a deadline in the past: at once", ticks, 2);
        wrmsr(0x6e0, ~0ull >> 1);
        wr(TIMER, 0x90);
        same("leaving the mode disarms it", rdmsr(0x6e0), 0);
    } else {
        skip("TSC-deadline", "no such feature");
    }
    wr(TIMER, 0x10000);
    drain();
}

/* --- other CPUs --- */

/* At 0x8000, in real mode: what SIPI gives, then flat protected mode and ap_main on an own stack.
 * The words at 0x8f00 are for this CPU alone, as they start one after the other. */
__asm__(AP_START);

/* Stubs that count vectors of the CPU whose counts are at FS. */
__asm__(".balign 16\nap_stubs:\n"
        ".set n, 0\n.rept 256\n.balign 16\n"
        "pushl $n\njmp ap_common\n.set n, n + 1\n.endr\n"
        "ap_common: xchgl %eax, (%esp)\n"
        "incl %fs:(, %eax, 4)\n"
        "cmpl $2, %eax\n"
        "je 1f\n"
        "movl $0, 0xfee000b0\n"
        "1: popl %eax\n"
        "iretl\n");

extern char ap_begin[], ap_end[], ap_stubs[];
uint64_t ap_idt[256] __attribute__((aligned(8)));
uint32_t ap_stack;
static uint8_t ap_stacks[CPUS][4096] __attribute__((aligned(16)));
static volatile uint32_t counts[CPUS][256];
static volatile uint32_t alive[CPUS], seen_id[CPUS], starts;
static volatile bool halt[CPUS];
static unsigned ap_index;
static volatile uint32_t clusters; /* 0: flat; else the LDR of CPU 0 in the cluster model */

_Noreturn void ap_main(void);
void ap_main(void)
{
    unsigned me = ap_index;
    gdt[(FREE >> 3) + me] = descriptor(addr(counts[me]), 1023, 0x93, 4);
    __asm__ volatile("mov %0, %%fs" : : "r"(FREE + 8 * me));
    wr(SVR, 0x1ff);
    wr(TPR, 0);
    wr(DFR, clusters ? 0x0fffffff : 0xffffffff);
    wr(LDR, clusters ? clusters << me : 1u << (24 + me));
    seen_id[me] = rd(ID) >> 24;
    starts++;
    for (;;) {
        alive[me]++;
        if (halt[me])
            __asm__ volatile("sti; hlt");
        else
            __asm__ volatile("sti; nop; nop; cli; pause" : : : "memory");
    }
}

static void settle(void)
{
    for (volatile unsigned i = 0; i < 30000; i++)
        pause();
}

/* A CPU whose thread the host had stopped may still end what it was about. */
static bool comes_to_rest(unsigned cpu)
{
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t before = alive[cpu];
        settle();
        if (alive[cpu] == before)
            return true;
    }
    return false;
}

static void ipi(unsigned dest, uint32_t low)
{
    wr(ICRH, dest << 24);
    wr(ICR, low);
    for (unsigned i = 0; i < 100000 && rd(ICR) >> 12 & 1; i++)
        ;
}

static bool start(unsigned cpu)
{
    uint32_t before = starts;
    ap_index = cpu;
    ap_stack = addr(ap_stacks[cpu]) + sizeof ap_stacks[0];
    ipi(cpu, 0x4500); /* INIT */
    settle();
    ipi(cpu, 0x4608); /* SIPI 0x08000 */
    return wait_for(&starts, before + 1);
}

static void others(void)
{
    for (unsigned i = 0; i < (word)(ap_end - ap_begin); i++)
        ((volatile uint8_t *)0x8000)[i] = (uint8_t)ap_begin[i];
    for (unsigned v = 0; v < 256; v++) {
        word at = (word)(ap_stubs + 16 * v);
        ap_idt[v] = (at & 0xffff) | CS0 << 16 | 0x8eull << 40 | (uint64_t)(at >> 16) << 48;
    }
    uint32_t me = rd(ID) >> 24;
    wr(LDR, 1u << 24);
    *(volatile uint32_t *)0x8f08 = 0;
    same("CPU 1 starts by INIT and SIPI", start(1), 1);
    same("SIPI: CS is the vector times 256", *(volatile uint32_t *)0x8f00, 0x800);
    same("SIPI: CR0 after INIT", *(volatile uint32_t *)0x8f04 & 0x9fffffff, 0x10);
    same("SIPI: EFLAGS", *(volatile uint32_t *)0x8f08, 2);
    same("CPU 2 starts", start(2), 1);
    same("each has its own ID", seen_id[1] << 4 | seen_id[2], 0x12);
    ipi(1, 0x4061);
    same("fixed, physical", wait_for(&counts[1][0x61], 1), 1);
    same("… not to the other", counts[2][0x61], 0);
    ipi(0, 0xc4062);
    same("all but self: CPU 1", wait_for(&counts[1][0x62], 1), 1);
    same("all but self: CPU 2", wait_for(&counts[2][0x62], 1), 1);
    piece(open_window);
    same("all but self: not here", logged, 0);
    ipi(0, 0x84063);
    same("all: CPU 1", wait_for(&counts[1][0x63], 1), 1);
    same("all: CPU 2", wait_for(&counts[2][0x63], 1), 1);
    piece(open_window);
    same("all: here too", order(), 0x63);
    ipi(0xff, 0x4064);
    same("physical 0xff: everybody", wait_for(&counts[1][0x64], 1) && wait_for(&counts[2][0x64], 1),
         1);
    piece(open_window);
    ipi(6, 0x4865);
    same("logical, flat: CPU 1 and 2",
         wait_for(&counts[1][0x65], 1) && wait_for(&counts[2][0x65], 1), 1);
    ipi(4, 0x4866);
    same("logical, flat: CPU 2", wait_for(&counts[2][0x66], 1), 1);
    same("… alone", counts[1][0x66], 0);
    ipi(6, 0x4967);
    for (unsigned i = 0; i < PATIENCE && !(counts[1][0x67] + counts[2][0x67]); i++)
        pause();
    settle();
    same("lowest priority: one of them", counts[1][0x67] + counts[2][0x67], 1);
    ipi(1, 0x4400);
    same("NMI", wait_for(&counts[1][NMI], 1), 1);
    ipi(9, 0x4068);
    settle();
    same("an ID that nobody has", counts[1][0x68] + counts[2][0x68], 0);
    uint32_t before = starts;
    ipi(1, 0x4608);
    settle();
    same("SIPI to a running CPU is ignored", starts, before);
    ipi(1, 0x8500);
    before = alive[1];
    same("INIT level de-assert is ignored", wait_for(&alive[1], before + 2), 1);
    ipi(1, 0x4500);
    settle();
    same("INIT stops a CPU", comes_to_rest(1), 1);
    ipi(1, 0x4069);
    settle();
    same("… which takes no interrupt", counts[1][0x69], 0);
    same("… and starts again", start(1), 1);
    halt[1] = true;
    same("halted", comes_to_rest(1), 1);
    before = alive[1];
    ipi(1, 0x406a);
    same("an IPI wakes it", wait_for(&counts[1][0x6a], 1), 1);
    halt[1] = false;
    ipi(1, 0x406a);
    same("and it goes on", wait_for(&alive[1], before + 3), 1);
    same("this CPU's ID", rd(ID) >> 24, me);
    /* memory: LOCK is atomic between CPUs; tried in litmus tests elsewhere */
}

static void x2apic(void)
{
    struct code rdm = CODE("rdmsr"), wrm = CODE("wrmsr");
    same("IA32_APIC_BASE: enabled, boot processor", rdmsr(0x1b), 0xfee00900);
    prep0(wrm);
    in.cx = 0x1b;
    in.ax = 0xfee00900 | 0x80;
    run();
    differs("SDM 3A 11.4.4: reserved bits of IA32_APIC_BASE");
    fault("IA32_APIC_BASE: a reserved bit", wrm, GP, 0);
    prep0(rdm);
    in.cx = 0x802;
    run();
    differs("SDM 3A 11.12.2: the MSRs are for x2APIC mode");
    fault("x2APIC registers in xAPIC mode", rdm, GP, 0);
    if (!(cpuid(1, 0).c >> 21 & 1)) {
        skip("x2APIC", "no such feature");
        return;
    }
    prep0(wrm);
    in.cx = 0x1b;
    in.ax = 0xfee00500;
    run();
    fault("x2APIC without the enable bit", wrm, GP, 0);
    wrmsr(0x1b, 0xfee00d00);
    same("x2APIC: on", rdmsr(0x1b), 0xfee00d00);
    same("x2APIC: ID", rdmsr(0x802), 0);
    same("x2APIC: LDR", rdmsr(0x80d), 1);
    wrmsr(0x80f, 0x1ff);
    logged = 0;
    hooks[0x73] = 0;
    wrmsr(0x83f, 0x73);
    struct code window = CODE("sti; nop; nop; cli");
    run0(window);
    same("SELF IPI", got.vector, 0x73);
    wrmsr(0x80b, 0);
    static const struct {
        const char *name;
        uint32_t msr, value;
        bool write;
    } bad[] = {
        {"x2APIC: EOI of 1", 0x80b, 1, true},
        {"x2APIC: read of EOI", 0x80b, 0, false},
        {"x2APIC: write of the ID", 0x802, 0, true},
        {"x2APIC: DFR", 0x80e, 0, false},
        {"x2APIC: ICR's high half", 0x831, 0, false},
        {"x2APIC: read of SELF IPI", 0x83f, 0, false},
        {"x2APIC: write of IRR", 0x820, 0, true},
        {"x2APIC: TPR of 0x100", 0x808, 0x100, true},
        {"x2APIC: a gap", 0x840, 0, false},
        {"x2APIC: ESR of 1", 0x828, 1, true},
        {"x2APIC back to xAPIC", 0x1b, 0xfee00900, true},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct code c = bad[i].write ? wrm : rdm;
        prep0(c);
        in.cx = bad[i].msr;
        in.ax = bad[i].value;
        run();
        fault(bad[i].name, c, GP, 0);
    }
    unsigned before = counts[2][0x74];
    wrmsr(0x830, 2ull << 32 | 0x4074);
    same("x2APIC: a fixed IPI by one write", wait_for(&counts[2][0x74], before + 1), 1);
    wrmsr(0x1b, 0xfee00100);
    same("disabled: CPUID has no APIC", cpuid(1, 0).d >> 9 & 1, 0);
    wrmsr(0x1b, 0xfee00900);
    same("enabled again: CPUID has it", cpuid(1, 0).d >> 9 & 1, 1);
    same("enabled again: SVR is as after reset", rd(SVR), 0xff);
}

/* Logical destinations by cluster, SDM 3A 11.6.2.2: the upper 4 bits name it, the lower are a bit a
 * CPU in it. */
static void cluster(void)
{
    clusters = 0x31000000;
    wr(DFR, 0x0fffffff);
    wr(LDR, clusters);
    /* << me: CPU 1 is 0x62, CPU 2 0xc4: each in a cluster of its own */
    same("cluster: CPU 1 starts again", start(1), 1);
    same("cluster: CPU 2 starts again", start(2), 1);
    ipi(0x62, 0x4875);
    same("cluster 6: CPU 1", wait_for(&counts[1][0x75], 1), 1);
    same("… alone", counts[2][0x75], 0);
    ipi(0x6f, 0x4876);
    same("cluster 6, every bit: CPU 1", wait_for(&counts[1][0x76], 1), 1);
    ipi(0xc4, 0x4877);
    same("cluster 12: CPU 2", wait_for(&counts[2][0x77], 1), 1);
    ipi(0xc3, 0x4878);
    ipi(0x24, 0x4878);
    settle();
    same("cluster 12 without its bit, and a cluster of nobody", counts[1][0x78] + counts[2][0x78],
         0);
    ipi(0xff, 0x4879);
    differs("SDM 3A 11.6.2.2: a destination of all ones is a broadcast");
    same("0xff: everybody",
         !is_tcg() && wait_for(&counts[1][0x79], 1) && wait_for(&counts[2][0x79], 1), 1);
    piece(open_window);
    wr(DFR, 0xffffffff);
    wr(LDR, 1u << 24);
}

/* What is wrong with the gate of an external interrupt is told with EXT (SDM 3A 6.13). */
static void bad_gates(void)
{
    struct code c = CODE("movl $0x40041, 0xfee00300; sti; nop; nop; nop; nop; cli");
    hooks[0x41] = 0;
    set_gate(0x41, CS0, 0, 0x0e);
    run0(c);
    same("an interrupt by a gate that is not present", got.vector, NP);
    differs("SDM 3A 6.13: EXT is set by an external event");
    same("… its error code: the vector, IDT, EXT", got.error, 0x41 * 8 + 3);
    wr(EOI, 0);
    set_gate(0x41, GDT_SIZE * 8, 0, 0x8e);
    run0(c);
    same("an interrupt by a gate to nowhere", got.vector, GP);
    differs("SDM 3A 6.13: EXT is set by an external event");
    same("… its error code: the selector, EXT", got.error, GDT_SIZE * 8 + 1);
    wr(EOI, 0);
    reset_gate(0x41);
    set_gate(0x41, CS0, (word)(stubs + 16 * 0x41), 0x8e);
    prep3(CODE("mov $2000, %ecx; 1: pause; loop 1b"));
    in.flags |= FL_IF;
    self(0x41);
    run();
    same("an interrupt at level 3 by a gate of DPL 0", got.vector, 0x41);
    same("… from level 3", got.cs, CS3);
    wr(EOI, 0);
    reset_gate(0x41);
}

void checks(void)
{
    wr(SVR, 0x1ff);
    wr(LINT0, 0x10000);
    wr(LINT1, 0x10000);
    wr(TPR, 0);
    priorities();
    shadows();
    nmi();
    timer();
    others();
    cluster();
    bad_gates();
    x2apic();
}
