/* What the programs print with: COM1, polled. */
#ifndef ISHI_BENCH_PORT_H
#define ISHI_BENCH_PORT_H

void run(void);

static inline void outb(unsigned short port, unsigned char v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void print_hex(unsigned v)
{
    for (int i = 28; i >= 0; i -= 4)
        outb(0x3f8, "0123456789abcdef"[v >> i & 15]);
    outb(0x3f8, '\n');
}

#endif
