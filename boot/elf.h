/* ELF files for x86, as kernels come in: reading program headers and loading by physical address.
 * Every offset and size in the file is hostile; nothing here reads outside [bytes, bytes + size).
 */
#ifndef ISHI_BOOT_ELF_H
#define ISHI_BOOT_ELF_H

#include "bus/bus.h"

struct elf {
    const uint8_t *bytes;
    uint64_t size;
    bool is64;
    unsigned machine; /* ELF_386, ELF_X86_64 */
    uint64_t entry;   /* as in the file: virtual */
    uint64_t phoff;
    unsigned phnum, phentsize;
};
#define ELF_386    3
#define ELF_X86_64 62

struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz;
    uint32_t flags;
};
#define ELF_LOAD 1
#define ELF_NOTE 4
#define ELF_X    1 /* in flags: executable */

/* False: not an x86 ELF executable, or its program headers lie outside the file. */
bool elf_open(struct elf *f, const uint8_t *bytes, uint64_t size, struct err *e);
/* Program header i < phnum. */
struct elf_segment elf_segment(const struct elf *f, unsigned i);
/* The physical entry in the note that a PVH kernel carries. False: there is none. */
bool elf_pvh_entry(const struct elf *f, uint32_t *entry);
/* Copies every loadable segment to its physical address; none may reach below BOOT_LOW_END or into
 * 0x9fc00..0xfffff. *end: the first byte above all of them. */
bool elf_load(const struct elf *f, struct bus *bus, uint64_t *end, struct err *e);
/* The physical address of the entry: through the segment that holds it, else as it stands. */
uint64_t elf_entry_paddr(const struct elf *f);

#endif
