/* What a learner asks of a machine: registers, descriptor tables, the page tables as a map,
 * interrupt controllers, PCI. Text for people; never changes the machine. */
#ifndef ISHI_FRONT_INSPECT_H
#define ISHI_FRONT_INSPECT_H

#include "machine/machine.h"

struct inspect_topic {
    const char *name;
    void (*show)(struct machine *m, struct cpu *c, char *buf, size_t size);
};

/* Ends with a NULL name. */
extern const struct inspect_topic inspect_topics[];

/* A register by its name: rax, eip, cr3, … False: no such name. */
bool inspect_register(struct cpu *c, const char *name, uint64_t *v);

#endif
