/* What the 32-bit guest programs share: output on COM1, and the end by isa-debug-exit. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

/* eax and ebx as the loader left them. */
void guest_main(uint32_t eax, uint32_t ebx);

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
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
