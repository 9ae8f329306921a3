/* Writing AML, the byte code of ACPI's DSDT (ACPI 6.4 chapter 20), term by term.
 *
 * A term that holds others (scope, device, method, package, buffer) is opened, filled and closed;
 * its length is filled in at the end, always in the three-byte form, so that nothing moves. Running
 * out of room is our own bug. Names are four characters; a path has them joined by dots, after an
 * optional backslash: "\\_SB_.PCI0". */
#ifndef ISHI_BOOT_AML_H
#define ISHI_BOOT_AML_H

#include "base/err.h"

struct aml {
    uint8_t *p;
    uint32_t len, cap; /* bytes */
};

typedef uint32_t aml_mark; /* an open term */

void aml_bytes(struct aml *a, const void *p, uint32_t n);
void aml_byte(struct aml *a, uint8_t v);
void aml_path(struct aml *a, const char *path);
void aml_int(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char id[8]); /* "PNP0A03" as an integer */

/* Name(path, …): the object follows. */
void aml_name(struct aml *a, const char *path);
void aml_name_int(struct aml *a, const char *path, uint64_t v);
void aml_name_eisa(struct aml *a, const char *path, const char id[8]);

aml_mark aml_scope(struct aml *a, const char *path);
aml_mark aml_device(struct aml *a, const char *name);
#define AML_SERIALIZED 8 /* or'ed to the number of arguments: it makes named objects */
aml_mark aml_method(struct aml *a, const char *name, unsigned args);
aml_mark aml_package(struct aml *a, uint8_t elements);
aml_mark aml_if(struct aml *a); /* the predicate follows, then the body */
void aml_close(struct aml *a, aml_mark m);

/* Statements and expressions in methods: just an opcode; operands follow. */
void aml_return(struct aml *a);
void aml_store(struct aml *a); /* what, where */
void aml_arg(struct aml *a, unsigned n);
void aml_local(struct aml *a, unsigned n);

/* OperationRegion in PCI configuration space, and a field of bytes in it, one a name. */
void aml_pci_bytes(struct aml *a, const char *region, uint8_t offset, const char *const *names,
                   unsigned n);

/* A resource template: a buffer of descriptors (ACPI 6.4 §6.4). */
aml_mark aml_resources(struct aml *a);
void aml_resources_end(struct aml *a, aml_mark m);
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq); /* edge, active high, exclusive; 0..15 */
void aml_res_memory(struct aml *a, uint32_t base, uint32_t len, bool writable);
/* Level, active high, shared. The first number lies 5 bytes into the template. */
void aml_res_interrupt(struct aml *a, const uint32_t *numbers, uint8_t n);
/* Windows of a bridge, last address included. */
void aml_res_bus(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool cacheable);

#endif
