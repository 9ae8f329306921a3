/* The runtime of the check programs: pieces of code run in any mode and level, and what became of
 * them is compared with what the architecture says.
 *
 * A program is one C file with `kind: check32` or `check64` in its head and a function checks().
 * One check runs a piece of code and compares:
 *
 *     struct code c = CODE("int $0x41");
 *     run3(c);                                  // at level 3; run0() at level 0
 *     fault("INT n by a gate of level 0", c, GP, 0x20a);
 *
 * It prints "ok N name" or "FAIL N name: got … want …" on COM1. A piece ends by an exception, or
 * by the INT 0xff that CODE puts at its end (vector DONE). Its state at that moment is in `got`.
 *
 * differs("SDM …") before a check says that QEMU (TCG) is known not to do what that section asks;
 * not_virtualised("…") that KVM does not do it where the processor virtualises, and why.
 * One CPU runs checks at a time. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>

typedef unsigned long word; /* a register of the mode that the program is compiled for */

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, CSO, TS, NP, SS, GP, PF, MF = 16, AC, MC, XM };
#define DONE 0xff  /* vector: the piece came to its end */
#define RAW  0x100 /* vector: the piece came to raw_entry */

#define FL_CF   0x1u
#define FL_TF   0x100u
#define FL_IF   0x200u
#define FL_DF   0x400u
#define FL_IOPL 0x3000u
#define FL_NT   0x4000u
#define FL_RF   0x10000u
#define FL_VM   0x20000u
#define FL_AC   0x40000u
#define FL_VIF  0x80000u
#define FL_VIP  0x100000u
#define FL_ID   0x200000u

/* Selectors. From FREE on the descriptors are the program's. */
#define CS0 0x08
#define DS0 0x10
#ifdef __x86_64__
#define CS3      0x2b /* 64-bit */
#define CS3C     0x1b /* compatibility mode */
#define CS0C     0x40
#define WIDE     1
#define OWN_BITS "64"
#else
#define CS3      0x1b
#define WIDE     0
#define OWN_BITS "32"
#endif
#define DS3      0x23
#define TSS_SEL  0x30
#define FREE     0x48
#define GDT_SIZE 96

/* A piece of code: where it begins, and its label 7 (its beginning, if it has none), which is
 * where it should fault. */
struct code {
    word start, at;
};

#define CODE_BITS(bits, text)                                                                   \
    __extension__({                                                                             \
        struct code c_;                                                                         \
        /* two statements, so that the piece may have a bare %; volatile keeps them in order */ \
        __asm__ volatile(".pushsection .text.pieces, \"ax\"\n.code" bits "\n7:\n9:\n" text      \
                         "\nint $0xff\n.code" OWN_BITS "\n.popsection");                        \
        __asm__ volatile("movl $9b, %k0\nmovl $7b, %k1" : "=r"(c_.start), "=r"(c_.at));         \
        c_;                                                                                     \
    })
#define CODE(text)   CODE_BITS(OWN_BITS, text)
#define CODE16(text) CODE_BITS("16", text)
#define CODE32(text) CODE_BITS("32", text)

/* What run() starts a piece with. CS's RPL is the level; FL_VM in flags gives virtual-8086 mode. */
struct start {
    word ax, cx, dx, bx, sp, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
    word ip, cs, flags, ss, ds, es, fs, gs;
};

/* How it ended: the interrupt frame and the registers at the handler's first instruction. */
struct got {
    word ax, cx, dx, bx, sp, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
    word ip, cs, flags, ss, ds, es, fs, gs; /* as pushed; sp and ss are those interrupted */
    word vector, error;
    word frame;  /* offset in SS of: vector, error, ip, cs, flags … in words */
    word now_ss; /* the handler's SS */
    word cr2, dr6;
    word now_ds, now_es, now_fs, now_gs;
    uint32_t raw[32]; /* of raw_entry: what lay at SS:SP */
    word now_cs, now_flags;
};

extern struct start in;
extern struct got got;
extern uint64_t gdt[GDT_SIZE];
extern uint64_t idt[512];
extern uint8_t tss[]; /* of TSS_SEL, 0x68 bytes and an I/O bitmap of 8193 */
extern uint8_t stack0[], stack3[], stack_intr[];
#define STACK 8192 /* bytes of each: the top is stack0 + STACK */
extern char stubs[], raw_entry[];
/* Called for its vector instead of ending the piece; true: go on with what was interrupted, as the
 * frame at got.frame now says. Wants a flat stack. */
extern bool (*hooks[256])(void);

void run(void); /* starts `in`, fills `got` */
void prep0(struct code c);
void prep3(struct code c);
unsigned run0(struct code c); /* prep0 and run; the vector */
unsigned run3(struct code c);

/* Each of these is one check. */
void same(const char *name, uint64_t is, uint64_t want);
void fault(const char *name, struct code c, unsigned vector, unsigned error);
void done(const char *name);
void skip(const char *name, const char *why);
/* The next check: QEMU's TCG is wrong by this section. */
void differs(const char *section);
/* The next check: a guest on VMX or SVM can't have it from Linux's KVM, for this reason. */
void not_virtualised(const char *why);
bool is_tcg(void);                       /* for what QEMU would not survive */
void note(const char *text, uint64_t v); /* a line for people */
_Noreturn void finish(void);             /* end early; checks() may simply return */

bool told(const char *word); /* the program's command line is this word */

void checks(void); /* the program */

/* Descriptors. type: bits 40..47, flags: bits 52..55 (G 8, D 4, L 2). */
uint64_t descriptor(uint32_t base, uint32_t limit, unsigned type, unsigned flags);
void set_gate(unsigned vector, unsigned sel, word offset, unsigned type); /* type with P and DPL */
void reset_gate(unsigned vector);
void reset_tables(void); /* GDT, IDT, TSS, TR as at the start */

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

struct cpuid {
    uint32_t a, b, c, d;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

#define READ_REG(name)                                     \
    __extension__({                                        \
        word v_;                                           \
        __asm__ volatile("mov %%" name ", %0" : "=r"(v_)); \
        v_;                                                \
    })
#define WRITE_REG(name, v) __asm__ volatile("mov %0, %%" name : : "r"((word)(v)) : "memory")

static inline void *fill(void *p, uint8_t v, word n)
{
    for (uint8_t *b = p; n--;)
        *b++ = v;
    return p;
}

static inline void put32(void *at, uint32_t v)
{
    *(volatile uint32_t *)at = v;
}

static inline uint32_t get32(const void *at)
{
    return *(const volatile uint32_t *)at;
}

static inline void pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* So many pauses are minutes: a busy host may run this CPU, and another not, for seconds. */
#define PATIENCE 2000000000u

static inline bool wait_for(const volatile uint32_t *p, uint32_t want)
{
    for (unsigned i = 0; i < PATIENCE; i++) {
        if (*p >= want)
            return true;
        pause();
    }
    return false;
}

static inline uint32_t addr(const volatile void *p)
{
    return (uint32_t)(word)p;
}

#endif
