#include "boot/elf.h"

#include "boot/internal.h"

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

static bool inside(const struct elf *f, uint64_t offset, uint64_t len)
{
    return offset <= f->size && len <= f->size - offset;
}

bool elf_open(struct elf *f, const uint8_t *b, uint64_t size, struct err *e)
{
    if (size < 52 || memcmp(b, "\177ELF", 4))
        return err_set(e, ERR_FORMAT, "not an ELF file, or cut off in its header");
    *f = (struct elf){.bytes = b, .size = size, .is64 = b[4] == 2, .machine = get_le16(b + 18)};
    if ((b[4] != 1 && b[4] != 2) || b[5] != 1 ||
        (f->machine != ELF_386 && f->machine != ELF_X86_64))
        return err_set(e, ERR_UNSUPPORTED,
                       "an ELF file for another processor (machine %u): ishi is an x86 PC",
                       f->machine);
    if (f->is64 && size < 64)
        return err_set(e, ERR_FORMAT, "an ELF file that is cut off in its header");
    unsigned type = get_le16(b + 16);
    if (type != 2 && type != 3)
        return err_set(e, ERR_UNSUPPORTED,
                       "an ELF file that is not linked (type %u): link it to an executable first",
                       type);
    f->entry = f->is64 ? get_le64(b + 24) : get_le32(b + 24);
    f->phoff = f->is64 ? get_le64(b + 32) : get_le32(b + 28);
    f->phentsize = get_le16(b + (f->is64 ? 54 : 42));
    f->phnum = get_le16(b + (f->is64 ? 56 : 44));
    if (!f->phnum || f->phentsize < (f->is64 ? 56 : 32) ||
        !inside(f, f->phoff, (uint64_t)f->phnum * f->phentsize))
        return err_set(e, ERR_FORMAT,
                       "an ELF file whose program headers are missing or lie outside the file");
    return true;
}

struct elf_segment elf_segment(const struct elf *f, unsigned i)
{
    const uint8_t *p = f->bytes + f->phoff + (uint64_t)i * f->phentsize;
    if (f->is64)
        return (struct elf_segment){get_le32(p),      get_le64(p + 8),  get_le64(p + 16),
                                    get_le64(p + 24), get_le64(p + 32), get_le64(p + 40),
                                    get_le32(p + 4)};
    return (struct elf_segment){get_le32(p),      get_le32(p + 4),  get_le32(p + 8),
                                get_le32(p + 12), get_le32(p + 16), get_le32(p + 20),
                                get_le32(p + 24)};
}

/* Notes of [p, p+n): name size, description size, type, name, description, each padded to 4. */
static bool find_note(const uint8_t *p, uint64_t n, uint32_t *entry)
{
    while (n >= 12) {
        uint64_t name = align_up(get_le32(p), 4), desc = align_up(get_le32(p + 4), 4);
        if (name > n - 12 || desc > n - 12 - name)
            return false;
        if (get_le32(p) == 4 && !memcmp(p + 12, "Xen", 4) && get_le32(p + 8) == NOTE_PHYS32_ENTRY &&
            desc >= 4) {
            *entry = get_le32(p + 12 + name);
            return true;
        }
        p += 12 + name + desc;
        n -= 12 + name + desc;
    }
    return false;
}

bool elf_pvh_entry(const struct elf *f, uint32_t *entry)
{
    for (unsigned i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        if (s.type == ELF_NOTE && inside(f, s.offset, s.filesz) &&
            find_note(f->bytes + s.offset, s.filesz, entry))
            return true;
    }
    return false;
}

static bool load_segment(const struct elf *f, const struct elf_segment *s, struct bus *bus,
                         struct err *e)
{
    if (s->filesz > s->memsz || !inside(f, s->offset, s->filesz))
        return err_set(e, ERR_FORMAT,
                       "the ELF file is truncated or damaged: a segment of %llu bytes at offset "
                       "%llu, in a file of %llu",
                       (unsigned long long)s->filesz, (unsigned long long)s->offset,
                       (unsigned long long)f->size);
    if (s->memsz > RAM_MAX || s->paddr < BOOT_LOW_END ||
        (s->paddr < 0x100000 && s->paddr + s->memsz > BOOT_EBDA))
        return err_set(e, ERR_UNSUPPORTED,
                       "the ELF file wants %#llx bytes at physical address %#llx, where a PC has "
                       "its firmware's data or nothing; link it to 1 MiB or above",
                       (unsigned long long)s->memsz, (unsigned long long)s->paddr);
    return boot_put(bus, s->paddr, f->bytes + s->offset, s->filesz, "the ELF file", e) &&
           boot_zero(bus, s->paddr + s->filesz, s->memsz - s->filesz, "the ELF file", e);
}

bool elf_load(const struct elf *f, struct bus *bus, uint64_t *end, struct err *e)
{
    *end = 0;
    for (unsigned i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        if (s.type != ELF_LOAD || !s.memsz)
            continue;
        if (!load_segment(f, &s, bus, e))
            return false;
        *end = max_u64(*end, s.paddr + s.memsz);
    }
    if (!*end)
        return err_set(e, ERR_FORMAT, "the ELF file has nothing to load");
    return true;
}

uint64_t elf_entry_paddr(const struct elf *f)
{
    for (unsigned i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        if (s.type == ELF_LOAD && f->entry >= s.vaddr && f->entry - s.vaddr < s.memsz)
            return s.paddr + (f->entry - s.vaddr);
    }
    return f->entry;
}
