/* The board: every chip, where it sits and how it is wired, in one list (docs/memory-map.md has the
 * same as a page). Knows the CPUs only by their APIC connection. */
#ifndef ISHI_MACHINE_PC_H
#define ISHI_MACHINE_PC_H

#include "machine/machine.h"

struct pc;

enum pc_event { PC_NOTHING, PC_RESET, PC_POWER_OFF, PC_DEBUG_EXIT };

/* Builds the board; cfg outlives it. `attention` is called when an event is waiting, from within a
 * device access. NULL with *e when something can't be placed. */
struct pc *pc_new(const struct machine_config *cfg, struct clock *clock,
                  void (*attention)(void *opaque), void *opaque, struct err *e);
void pc_free(struct pc *p);
/* Ties a CPU to its local APIC; in order of index, once each. */
void pc_attach(struct pc *p, struct cpu *c);
/* All chips as after power-on. CPUs are reset by the caller, before. */
void pc_reset(struct pc *p);
/* Puts the guest in place after a reset. *direct: CPU 0 starts at *entry instead of the reset
 * vector. */
bool pc_load(struct pc *p, struct boot_entry *entry, bool *direct, struct err *e);
/* Applies an entry state to a CPU that was just reset. */
void pc_enter(struct cpu *c, const struct boot_entry *entry);

/* What the guest asked for since the last call. */
enum pc_event pc_take_event(struct pc *p);
unsigned pc_exit_code(const struct pc *p);
void pc_ask_reset(struct pc *p);
void pc_power_button(struct pc *p);
/* An NMI of the board's, for CPU 0. False: bit 7 of port 0x70 holds it back, and it is lost. */
bool pc_nmi(struct pc *p);
/* Types on the PS/2 keyboard; returns how many bytes were taken. */
size_t pc_type(struct pc *p, const uint8_t *bytes, size_t n);

/* Text for the monitor: a local APIC, the PCI functions, the interrupt controllers. */
void pc_show_lapic(struct pc *p, unsigned cpu, char *buf, size_t size);
void pc_show_pci(struct pc *p, char *buf, size_t size);
void pc_show_irq(struct pc *p, char *buf, size_t size);

/* For an engine to take over. */
struct irq_chips *pc_chips(struct pc *p);
struct bus *pc_bus(struct pc *p);
const struct display_source *pc_display(struct pc *p);
unsigned pc_state_count(const struct pc *p);
const struct state_ref *pc_state(const struct pc *p, unsigned i);

#endif
