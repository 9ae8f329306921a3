/* What the 32-bit guest programs share: ports, gates and the 8259 pair, output on COM1, and the end
 * by isa-debug-exit. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

/* eax and ebx as the loader left them. */
void guest_main(uint32_t eax, uint32_t ebx);

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint64_t rdtsc(void)
{
    uint64_t v;
    __asm__ volatile("rdtsc" : "=A"(v));
    return v;
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

/* An interrupt gate of the present code segment. */
static inline uint64_t gate(const char *entry)
{
    uint32_t at = (uint32_t)(uintptr_t)entry;
    uint16_t cs;
    __asm__("mov %%cs, %0" : "=r"(cs));
    return (at & 0xffff) | (uint64_t)cs << 16 | 0x8e00ull << 32 | (uint64_t)(at >> 16) << 48;
}

/* The IDT, every vector of which leads to `entry` now. */
static inline void start_idt(uint64_t idt[256], const char *entry)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } idtr = {256 * 8 - 1, (uint32_t)(uintptr_t)idt};
    for (unsigned i = 0; i < 256; i++)
        idt[i] = gate(entry);
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

/* The 8259 pair at vectors 20h and 28h, with these masks; the local APIC is on and lets them
 * through. */
static inline void start_8259(uint8_t first, uint8_t second)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28},
                                       {0x21, 4},    {0xa1, 2},    {0x21, 1},    {0xa1, 1}};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        outb(words[i][0], words[i][1]);
    outb(0x21, first);
    outb(0xa1, second);
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
    *(volatile uint32_t *)0xfee00350 = 0x700; /* LINT0: ExtINT */
}

/* An input of the I/O APIC, by its edges, to the CPU with APIC ID 0. */
static inline void route_pin(unsigned pin, uint8_t vector)
{
    volatile uint32_t *select = (volatile uint32_t *)0xfec00000;
    volatile uint32_t *window = (volatile uint32_t *)0xfec00010;
    *select = 0x10 + 2 * pin;
    *window = vector;
    *select = 0x11 + 2 * pin;
    *window = 0;
}

static inline void print(const char *s)
{
    while (*s)
        outb(0x3f8, (uint8_t)*s++);
}

static inline void print_number(const char *name, uint64_t v)
{
    static const char digit[] = "0123456789abcdef";
    char text[17], *p = text + 16;
    *p = 0;
    do
        *--p = digit[v & 15];
    while ((v >>= 4) && p > text);
    print(name);
    print(" 0x");
    print(p);
    print("\r\n");
}

/* Ends ishi with status 2 * code + 1. */
static inline _Noreturn void guest_exit(uint8_t code)
{
    outb(0x501, code);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static inline void print_state(void)
{
    uint32_t cr0, flags;
    __asm__ volatile("mov %%cr0, %0; pushf; pop %1" : "=r"(cr0), "=r"(flags));
    print(cr0 >> 31 || !(cr0 & 1) ? "paging or real mode\r\n" : "protected mode, no paging\r\n");
    print(flags & 0x200 ? "interrupts on\r\n" : "interrupts off\r\n");
}

#endif
