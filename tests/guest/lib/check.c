#include "check.h"

#define DEBUG_EXIT 0x501

struct start in;
struct got got;
uint64_t idt[512] __attribute__((aligned(16)));
uint64_t gdt[GDT_SIZE] __attribute__((aligned(16)));
uint8_t tss[0x68 + 8193] __attribute__((aligned(4096)));
uint8_t stack0[STACK] __attribute__((aligned(4096)));
uint8_t stack3[STACK] __attribute__((aligned(4096)));
uint8_t stack_intr[STACK] __attribute__((aligned(4096)));
bool (*hooks[256])(void);

extern uint32_t start_info;
uint32_t start_info; /* physical address, from EBX at the start */

static unsigned count, failed;
static const char *section, *missing;

void *memset(void *p, int v, word n);
void *memset(void *p, int v, word n)
{
    for (volatile uint8_t *b = p; n--;)
        *b++ = (uint8_t)v;
    return p;
}

void *memcpy(void *to, const void *from, word n);
void *memcpy(void *to, const void *from, word n)
{
    volatile uint8_t *t = to;
    for (const uint8_t *f = from; n--;)
        *t++ = *f++;
    return to;
}

static void print(const char *s)
{
    while (*s)
        outb(0x3f8, (uint8_t)*s++);
}

static void print_hex(uint64_t v)
{
    char text[17], *p = text + 16;
    *p = 0;
    do
        *--p = "0123456789abcdef"[v & 15];
    while (v >>= 4);
    print("0x");
    print(p);
}

static void print_dec(unsigned v)
{
    char text[11], *p = text + 10;
    *p = 0;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    print(p);
}

void note(const char *text, uint64_t v)
{
    print("# ");
    print(text);
    print(" ");
    print_hex(v);
    print("\r\n");
}

bool told(const char *want)
{
    /* cmdline of Xen's start_info.h */
    const volatile char *line = (const volatile char *)(word)get32((void *)(word)(start_info + 24));
    while (*want && *want == *line)
        want++, line++;
    return *want == *line;
}

static void begin(bool ok, const char *name)
{
    print(ok ? "ok " : "FAIL ");
    print_dec(++count);
    print(" ");
    print(name);
    failed += !ok;
}

static void excuse(const char *whose, const char *text)
{
    if (!text)
        return;
    print(whose);
    print(text);
    print("]");
}

static void forget(void)
{
    section = missing = 0;
}

static void end(void)
{
    excuse(" [qemu: ", section);
    excuse(" [kvm: ", missing);
    forget();
    print("\r\n");
}

void differs(const char *text)
{
    section = text;
}

void not_virtualised(const char *text)
{
    missing = text;
}

void same(const char *name, uint64_t is, uint64_t want)
{
    begin(is == want, name);
    if (is != want) {
        print(": got ");
        print_hex(is);
        print(" want ");
        print_hex(want);
    }
    end();
}

static void print_end(unsigned vector, unsigned error, word at)
{
    if (vector == DONE) {
        print("its end");
        return;
    }
    print("vector ");
    print_dec(vector);
    print(" error ");
    print_hex(error);
    print(" at ");
    print_hex(at);
}

void fault(const char *name, struct code c, unsigned vector, unsigned error)
{
    bool ok = got.vector == vector && got.error == error && (vector == DONE || got.ip == c.at);
    begin(ok, name);
    if (!ok) {
        print(": got ");
        print_end((unsigned)got.vector, (unsigned)got.error, got.ip);
        print(" want ");
        print_end(vector, error, c.at);
    }
    end();
}

void done(const char *name)
{
    struct code c = {0, 0};
    fault(name, c, DONE, 0);
}

void skip(const char *name, const char *why)
{
    print("skip ");
    print_dec(++count);
    print(" ");
    print(name);
    print(": ");
    print(why);
    print("\r\n");
    forget();
}

bool is_tcg(void)
{
    return cpuid(1, 0).c >> 31 && cpuid(0x40000000, 0).b == 0x54474354; /* "TCGT" */
}

void finish(void)
{
    print("end ");
    print_dec(count);
    print(" checks ");
    print_dec(failed);
    print(" failed\r\n");
    for (;;) {
        outb(DEBUG_EXIT, failed ? 1 : 5);
        __asm__ volatile("cli; hlt");
    }
}

/* A fault in the handler itself. */
void nested(void);
void nested(void)
{
    begin(false, "the handler faulted");
    print_end((unsigned)got.vector, (unsigned)got.error, got.ip);
    end();
    finish();
}

static void prep(struct code c, word cs, word ss, word data, uint8_t *stack)
{
    memset(&in, 0, sizeof in);
    in.ip = c.start;
    in.cs = cs;
    in.ss = ss;
    in.ds = in.es = data;
    in.fs = in.gs = WIDE ? 0 : data;
    in.sp = (word)(stack + STACK);
    in.flags = 2;
}

void prep0(struct code c)
{
    prep(c, CS0, DS0, DS0, stack0);
}

void prep3(struct code c)
{
    prep(c, CS3, DS3, DS3, stack3);
}

unsigned run0(struct code c)
{
    prep0(c);
    run();
    return (unsigned)got.vector;
}

unsigned run3(struct code c)
{
    prep3(c);
    run();
    return (unsigned)got.vector;
}

uint64_t descriptor(uint32_t base, uint32_t limit, unsigned type, unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(type & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(flags & 0xf) << 52 |
           (uint64_t)(base >> 24) << 56;
}

void set_gate(unsigned vector, unsigned sel, word offset, unsigned type)
{
    uint64_t g = (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)type << 40 |
                 (uint64_t)(offset >> 16 & 0xffff) << 48;
#if WIDE
    idt[2 * vector] = g;
    idt[2 * vector + 1] = offset >> 32;
#else
    idt[vector] = g;
#endif
}

void reset_gate(unsigned vector)
{
    bool user = vector == BP || vector == OF || vector >= 0x80;
    set_gate(vector, CS0, (word)(stubs + 16 * vector), user ? 0xee : 0x8e);
}

void reset_tables(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        word base;
    } g = {sizeof gdt - 1, (word)gdt}, i = {(WIDE ? 16 : 8) * 256 - 1, (word)idt};
    memset(gdt, 0, sizeof gdt);
    gdt[CS0 >> 3] = descriptor(0, 0xfffff, 0x9b, WIDE ? 0xa : 0xc);
    gdt[DS0 >> 3] = descriptor(0, 0xfffff, 0x93, 0xc);
    gdt[3] = descriptor(0, 0xfffff, 0xfb, 0xc);
    gdt[DS3 >> 3] = descriptor(0, 0xfffff, 0xf3, 0xc);
    gdt[5] = WIDE ? descriptor(0, 0xfffff, 0xfb, 0xa) : 0;
    gdt[8] = WIDE ? descriptor(0, 0xfffff, 0x9b, 0xc) : 0;
    gdt[TSS_SEL >> 3] = descriptor((uint32_t)(word)tss, sizeof tss - 1, 0x89, 0);
    gdt[(TSS_SEL >> 3) + 1] = 0;
    memset(tss, 0, sizeof tss);
    *(word *)(tss + 4) = (word)(stack_intr + STACK);
    if (!WIDE)
        *(uint32_t *)(tss + 8) = DS0;
    *(uint16_t *)(tss + 0x66) = 0xffff; /* no I/O bitmap */
    for (unsigned v = 0; v < 256; v++)
        reset_gate(v);
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(g), "m"(i), "r"(TSS_SEL) : "memory");
}

void check_main(void);
void check_main(void)
{
    outb(0x21, 0xff); /* firmware may have left the timer on */
    outb(0xa1, 0xff);
    reset_tables();
    checks();
    finish();
}
