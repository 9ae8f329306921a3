/* What the programs print with: COM1, polled. */
#ifndef ISHI_BENCH_PORT_H
#define ISHI_BENCH_PORT_H

void run(void);

static inline void outb(unsigned short port, unsigned char v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline unsigned char inb(unsigned short port)
{
    unsigned char v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void print_char(char c)
{
    while (!(inb(0x3fd) & 0x20))
        ;
    outb(0x3f8, (unsigned char)c);
}

/* Eight digits and a line end, sent to the last bit. */
static inline void print_hex(unsigned v)
{
    outb(0x3fb, 0x83); /* 115200 baud, 8 bits */
    outb(0x3f8, 1);
    outb(0x3f9, 0);
    outb(0x3fb, 0x03);
    for (int i = 28; i >= 0; i -= 4)
        print_char("0123456789abcdef"[v >> i & 15]);
    print_char('\n');
    while (!(inb(0x3fd) & 0x40))
        ;
}

#endif
