/* Who ticks at input 0: the interval timer, or the HPET's comparator 0 in legacy replacement mode
 * (IA-PC HPET specification 2.3.5), to and fro. By both controllers; comparator 1 comes in the
 * real-time clock's place.
 *
 * kind: multiboot
 * args: --mem 64M
 * expect: all ticked as they should
 * status: 11
 */
#include "lib/guest.h"

#define ROUNDS 4
#define MS     100000 /* of the HPET's ticks */

static volatile uint32_t irq0, pin2, irq8, spurious;
static uint64_t idt[256];
static uint32_t errors;

#define APIC(reg) (*(volatile uint32_t *)(0xfee00000 + (reg)))
#define HPET(reg) (*(volatile uint32_t *)(0xfed00000 + (reg)))

enum { CONFIG = 0x10, COUNTER = 0xf0, T0 = 0x100, T1 = 0x120, COMPARATOR = 8 };
enum { ON = 1, LEGACY = 2 };                     /* of CONFIG */
enum { INTERRUPTS = 4, PERIODIC = 8, SET = 64 }; /* of a timer's */

__asm__(".globl irq0_entry, pin2_entry, irq8_entry, other_entry\n"
        "irq0_entry: push %eax; incl irq0; mov $0x20, %al; outb %al, $0x20; pop %eax; iret\n"
        "pin2_entry: incl pin2; movl $0, 0xfee000b0; iret\n"
        "irq8_entry: push %eax; incl irq8; mov $0x20, %al; outb %al, $0xa0; outb %al, $0x20\n"
        "pop %eax; iret\n"
        "other_entry: incl spurious; iret\n");
extern char irq0_entry[], pin2_entry[], irq8_entry[], other_entry[];

static void set_up(void)
{
    start_idt(idt, other_entry);
    idt[0x20] = gate(irq0_entry);
    idt[0x28] = gate(irq8_entry);
    idt[0x50] = gate(pin2_entry);
    start_8259(0xfa, 0xfe);
    route_pin(2, 0x50);
}

static void check(int ok, const char *what)
{
    if (ok)
        return;
    errors++;
    print("FAIL ");
    print(what);
    print("\r\n");
}

static void pause(uint32_t ms)
{
    uint32_t begun = HPET(COUNTER);
    while (HPET(COUNTER) - begun < ms * MS)
        __asm__ volatile("pause");
}

/* Asleep until they have come some times more; for most of the counter's time, as the host may do
 * something else. */
static void sleep(volatile uint32_t *a, volatile uint32_t *b)
{
    uint32_t at = *a, bt = *b, begun = HPET(COUNTER);
    while ((*a - at < 5 || *b - bt < 5) && HPET(COUNTER) - begun < 40000u * MS)
        __asm__ volatile("cli; nop; sti; hlt");
    check(*a - at >= 5 && *b - bt >= 5, "ticks do not come");
}

static void every_ms(unsigned timer)
{
    uint32_t config = HPET(CONFIG);
    HPET(CONFIG) = config & ~ON; /* or the host lets the first one pass, and the next is far away */
    HPET(timer) = INTERRUPTS | PERIODIC | SET;
    HPET(timer + COMPARATOR) = HPET(COUNTER) + MS;
    HPET(timer + COMPARATOR) = MS;
    HPET(CONFIG) = config;
}

static void one_round(void)
{
    uint32_t a, b;
    sleep(&irq0, &pin2); /* the interval timer's */
    HPET(CONFIG) = ON | LEGACY;
    pause(3); /* one may have been on its way */
    a = irq0;
    b = pin2;
    pause(20);
    check(irq0 == a && pin2 == b, "the interval timer ticks while it is cut off");
    every_ms(T0);
    sleep(&irq0, &pin2);
    every_ms(T1);
    sleep(&irq8, &irq0);
    HPET(T0) = 0;
    HPET(T1) = 0;
    a = irq8;
    HPET(CONFIG) = ON;
    pause(3);
    check(irq8 - a <= 1, "the comparator ticks on");
}

void guest_main(uint32_t eax, uint32_t ebx)
{
    (void)eax;
    (void)ebx;
    set_up();
    HPET(CONFIG) = ON;
    outb(0x43, 0x34);
    outb(0x40, 1193 & 0xff); /* 1 ms */
    outb(0x40, 1193 >> 8);
    __asm__ volatile("sti");
    for (unsigned i = 0; i < ROUNDS; i++)
        one_round();
    sleep(&irq0, &pin2);
    check(spurious == 0, "spurious");
    print_number("spurious", spurious);
    print(errors ? "some did not\r\n" : "all ticked as they should\r\n");
    guest_exit(5);
}
