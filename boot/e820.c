#include "boot/e820.h"

#include "boot/boot.h"

static unsigned add(struct e820_entry *map, unsigned n, uint64_t from, uint64_t to, uint32_t type)
{
    if (from >= to)
        return n;
    CHECK(n < E820_MAX);
    map[n] = (struct e820_entry){from, to - from, type};
    return n + 1;
}

unsigned e820_build(const struct bus *bus, struct e820_entry map[E820_MAX])
{
    uint64_t low = bus_ram_low(bus), high = bus_ram_high(bus);
    unsigned n = 0;
    n = add(map, n, 0, min_u64(low, BOOT_EBDA), E820_RAM);
    n = add(map, n, BOOT_EBDA, 0xa0000, E820_RESERVED);
    n = add(map, n, BOOT_ACPI, 0x100000, E820_RESERVED);
    n = add(map, n, 0x100000, low, E820_RAM);
    n = add(map, n, 0xfec00000, 0xfec01000, E820_RESERVED);
    n = add(map, n, 0xfee00000, 0xfee01000, E820_RESERVED);
    n = add(map, n, 0xfffc0000, PCI_HOLE_END, E820_RESERVED);
    return add(map, n, PCI_HOLE_END, PCI_HOLE_END + high, E820_RAM);
}

unsigned e820_ram(const struct bus *bus, struct e820_entry map[E820_MAX])
{
    unsigned n = add(map, 0, 0, bus_ram_low(bus), E820_RAM);
    return add(map, n, PCI_HOLE_END, PCI_HOLE_END + bus_ram_high(bus), E820_RAM);
}

void e820_pack(const struct e820_entry *map, unsigned n, uint8_t *to)
{
    for (unsigned i = 0; i < n; i++, to += E820_SIZE) {
        put_le64(to, map[i].addr);
        put_le64(to + 8, map[i].len);
        put_le32(to + 16, map[i].type);
    }
}
