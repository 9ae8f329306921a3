/* Writes and checks memory, x87 registers and flags, and waits for one-shot timers, round after
 * round: what a change of engines under a running guest must not disturb. A lost interrupt hangs
 * it; one too many is counted. Ends after 20 rounds, or with "go" on the command line when COM1
 * receives a character, but not before the tenth.
 *
 * kind: multiboot
 * args: --mem 64M
 * expect: rounds 0x14
 * expect: stray 0x0
 * expect: nothing was disturbed
 * status: 11
 */
#include "lib/guest.h"

#define WORDS 1024 /* few: an emulating host runs less than a million instructions a second */

static uint32_t memory[WORDS], copy[WORDS];
static volatile uint32_t pit_fired, pin_fired, apic_fired, spurious;
static volatile uint64_t pit_at; /* time-stamp counter */
static uint32_t stray;           /* timer interrupts too many */
static int deadlines;            /* the local APIC has that mode */
static uint64_t idt[256];
static uint32_t errors;

#define APIC(reg) (*(volatile uint32_t *)(0xfee00000 + (reg)))

__asm__(".globl pit_entry, pin_entry, apic_entry, other_entry\n"
        "pin_entry: incl pin_fired; movl $0, 0xfee000b0; iret\n"
        "pit_entry: pusha; incl pit_fired; rdtsc; mov %eax, pit_at; mov %edx, pit_at + 4\n"
        "mov $0x20, %al; outb %al, $0x20; popa; iret\n"
        "apic_entry: incl apic_fired; movl $0, 0xfee000b0; iret\n"
        "other_entry: incl spurious; iret\n");
extern char pit_entry[], pin_entry[], apic_entry[], other_entry[];

static void set_up(void)
{
    start_idt(idt, other_entry);
    idt[0x20] = gate(pit_entry);
    idt[0x40] = gate(apic_entry);
    idt[0x50] = gate(pin_entry);
    start_8259(0xfe, 0xff);
    __asm__ volatile("fninit"); /* a CPU starts with exceptions unmasked, and VMX has no CR0.NE 0 */
    APIC(0x3e0) = 0xb;          /* the timer, undivided */
    APIC(0x320) = 0x40;
    route_pin(2, 0x50); /* where the interval timer is, too */
}

static void check(int ok, const char *what)
{
    if (ok)
        return;
    if (errors++ < 10) {
        print("FAIL ");
        print(what);
        print("\r\n");
    }
}

static uint32_t value(uint32_t i, uint32_t round)
{
    return (i + round * 0x9e3779b9) * 0x85ebca6b;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "A"(v));
}

static int has_deadline(void)
{
    uint32_t eax = 1, ebx, ecx, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    return ecx >> 24 & 1;
}

/* The local APIC's, by a count, or in every other round by a deadline, where it has that. */
static void start_apic(uint32_t round, uint32_t ticks)
{
    if ((round & 1) && ticks && deadlines) {
        APIC(0x320) = 0x40040;
        wrmsr(0x6e0, rdtsc() + ticks);
    } else {
        APIC(0x320) = 0x40;
        APIC(0x380) = 500000;
    }
}

/* One-shots of both timers, that of the interval timer by both controllers; asleep until all came.
 * One too many that comes while the true one is awaited is too early: the first rounds tell what is
 * usual, as nothing tells the counter's rate. */
static void timers(uint32_t round)
{
    static uint32_t pit, pin, apic;
    static uint64_t usual = -1ull;
    uint64_t begun = rdtsc(), took;
    outb(0x43, 0x30);
    outb(0x40, 0x00);
    outb(0x40, 0x04); /* 0.86 ms */
    start_apic(round, round < 10 ? 0 : (uint32_t)usual / 2);
    pit++, pin++, apic++;
    for (;;) {
        __asm__ volatile("cli");
        if (pit_fired >= pit && pin_fired >= pin && apic_fired >= apic)
            break;
        __asm__ volatile("sti; hlt");
    }
    took = pit_at - begun;
    if (round < 10 && took < usual)
        usual = took;
    if (took < usual / 2 || APIC(0x390))
        stray++;
    stray += pit_fired - pit + (pin_fired - pin) + (apic_fired - apic);
    pit = pit_fired;
    pin = pin_fired;
    apic = apic_fired;
    __asm__ volatile("sti");
}

static void one_round(uint32_t round, uint64_t *tsc)
{
    uint32_t from = (uint32_t)memory, to = (uint32_t)copy, n = WORDS, flags;
    uint64_t now;
    long double sum = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        check(round == 0 || memory[i] == value(i, round - 1), "memory");
        memory[i] = value(i, round);
    }
    __asm__ volatile("cld; rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    for (uint32_t i = 0; i < WORDS; i++) {
        check(copy[i] == value(i, round), "copy");
        sum += i; /* lives in an x87 register all the while */
    }
    check(sum == (long double)WORDS * (WORDS - 1) / 2, "x87");
    __asm__ volatile("push $0x200ad7; popf; std; pushf; pop %0; cld" : "=r"(flags));
    check((flags & 0x200ed5) == 0x200ed5, "flags");
    now = rdtsc();
    check(now >= *tsc, "the time-stamp counter went back");
    *tsc = now;
    timers(round);
}

void guest_main(uint32_t eax, uint32_t ebx)
{
    const uint32_t *info = (const uint32_t *)ebx;
    int go = (info[0] & 4) && *(const char *)info[4] == 'g';
    uint64_t tsc = 0;
    uint32_t round = 0;
    (void)eax;
    set_up();
    deadlines = has_deadline();
    print("begin\r\n");
    while (round < 10 || (go ? !(inb(0x3fd) & 1) : round < 20))
        one_round(round++, &tsc);
    print_number("rounds", round);
    print_number("stray", stray);
    print_number("spurious", spurious);
    print(errors || spurious ? "disturbed\r\n" : "nothing was disturbed\r\n");
    guest_exit(5);
}
