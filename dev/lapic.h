/* lapic: the local APIC of one CPU, and the bus on which the APICs of a machine send each other
 * messages (SDM 3A chapter 11, "Advanced Programmable Interrupt Controller").
 *
 * xAPIC by its registers at offsets of a page, x2APIC by MSRs; which of them answers is what
 * IA32_APIC_BASE says. The CPU asks lapic_pending() and takes a vector with lapic_ack(); the APIC
 * tells it through struct lapic_cpu when something changed. Nothing here calls into the CPU beyond
 * that, and messages take no time.
 *
 * After a reset the boot CPU's LINT0 is ExtINT and LINT1 NMI, both unmasked: the virtual wire that
 * a BIOS would have set up, for guests that start without one.
 *
 * The timer's bus clock is 1 GHz, so a tick of the undivided timer is 1 ns. */
#ifndef ISHI_DEV_LAPIC_H
#define ISHI_DEV_LAPIC_H

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"

#define LAPIC_MAX     32 /* CPUs */
#define LAPIC_BUS_HZ  NS_PER_S
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2  BIT(10)
#define APIC_BASE_EN  BIT(11)

/* Delivery modes, the same in ICR, LVT, I/O APIC entries and MSIs. */
enum apic_mode {
    APIC_FIXED,
    APIC_LOWEST,
    APIC_SMI,
    APIC_REMOTE_READ,
    APIC_NMI,
    APIC_INIT,
    APIC_SIPI,
    APIC_EXTINT
};

#define APIC_ALL 0xffffffffu /* physical destination: every CPU */

struct apic_msg {
    uint32_t dest; /* APIC ID or logical destination */
    uint8_t vector;
    uint8_t mode; /* enum apic_mode */
    bool logical;
    bool level; /* level-triggered: its EOI is broadcast to the I/O APICs */
};

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic_state {
    uint64_t base;         /* IA32_APIC_BASE */
    uint64_t timer_start;  /* ns: when timer_count began to count */
    uint64_t timer_at;     /* ns: of the timer's next expiry; CLOCK_NEVER: nobody waits for it */
    uint64_t tsc_deadline; /* IA32_TSC_DEADLINE; 0: not armed */
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t ldr, dfr, svr; /* as read in xAPIC mode */
    uint32_t icr_low, icr_high;
    uint32_t esr, esr_new; /* shown; to be shown after the next write */
    uint32_t lvt[LVT_COUNT];
    uint32_t timer_initial, timer_count, timer_divide; /* divide: the register */
    uint8_t tpr;
    bool lint[2];    /* levels of the pins */
    bool extint;     /* an ExtINT message waits */
    uint32_t unused; /* 0 */
};

extern const struct state_table lapic_table;

/* What an APIC needs of its CPU and board. */
struct lapic_cpu {
    void (*intr)(void *cpu, bool level); /* lapic_pending() may have changed to this */
    void (*nmi)(void *cpu);
    void (*init)(void *cpu);
    void (*sipi)(void *cpu, uint8_t vector);
    uint64_t (*tsc)(void *cpu);
    uint64_t tsc_hz;
    int (*ext_ack)(void *cpu); /* INTA to the 8259s: a vector */
    void *cpu;
};

struct lapic {
    struct lapic_state s;
    uint32_t id; /* APIC ID, the same in both modes; 0 is the boot CPU's */
    struct apic_bus *bus;
    struct clock *clock;
    struct timer timer;
    const struct log *log;
    struct lapic_cpu cpu;
};

struct apic_bus {
    struct lapic *lapic[LAPIC_MAX];
    unsigned count;
    void (*eoi)(void *opaque, uint8_t vector); /* to the I/O APICs; may be NULL */
    void *opaque;
};

/* Joins bus as APIC `id`; *bus zeroed before the first. */
void lapic_init(struct lapic *l, uint32_t id, struct apic_bus *bus, struct clock *clock,
                const struct log *log, const struct lapic_cpu *cpu);
/* Power-on or RESET#. */
void lapic_reset(struct lapic *l);
void lapic_restore(struct lapic *l);
/* A pin, 0 or 1. The 8259s' INTR goes to LINT0, NMI to LINT1. Fits struct irq's set. */
void lapic_lint(void *lapic, unsigned pin, bool level);

/* Sends a message to whoever it is for. False if nobody took it. */
bool apic_bus_send(struct apic_bus *b, const struct apic_msg *m);
/* A write of `data` to the message window 0xfee00000 (SDM 3A 11.11), as PCI devices do. */
bool apic_bus_msi(struct apic_bus *b, uint64_t addr, uint32_t data);

/* The CPU's view; each fits the member of that name in struct cpu_apic, with a struct lapic as
 * apic. */
int lapic_ack(void *apic);
/* May be asked by the CPU's thread while others change the state: what it misses then comes as
 * lapic_cpu.intr(). */
bool lapic_pending(void *apic);
/* lapic_mmio_read, if it changes nothing and can as well be done twice; else false. */
bool lapic_mmio_peek(void *apic, uint64_t offset, unsigned size, uint64_t *v);
uint64_t lapic_mmio_read(void *apic, uint64_t offset, unsigned size);
void lapic_mmio_write(void *apic, uint64_t offset, unsigned size, uint64_t value);
uint64_t lapic_base(void *apic);
bool lapic_set_base(void *apic, uint64_t v);
bool lapic_msr_read(void *apic, uint32_t msr, uint64_t *v);
bool lapic_msr_write(void *apic, uint32_t msr, uint64_t v);
void lapic_tsc_changed(void *apic);
uint8_t lapic_tpr(void *apic);
void lapic_set_tpr(void *apic, uint8_t v);

#endif
