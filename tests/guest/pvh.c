/* A PVH kernel: the start info in EBX, as Xen's start_info.h lays it out.
 *
 * kind: pvh
 * args: --mem 64M --append "three four" --initrd tests/guest/lib/module.txt
 * expect: magic 0x336ec578
 * expect: protected mode, no paging
 * expect: interrupts off
 * expect: command line: three four
 * expect: the module
 * expect: RSD PTR found
 * expect: type 0x1 at 0x0
 * expect: type 0x1 at 0x100000
 * status: 11
 */
#include "lib/guest.h"

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_entries, reserved;
};

struct module {
    uint64_t base, size, cmdline, reserved;
};

struct range {
    uint64_t base, length;
    uint32_t type, reserved;
};

void guest_main(uint32_t eax, uint32_t ebx)
{
    const struct start_info *s = (const struct start_info *)ebx;
    (void)eax; /* not used by this protocol */
    print_number("magic", s->magic);
    print_state();
    print("command line: ");
    print((const char *)(uint32_t)s->cmdline);
    print("\r\n");
    const struct module *m = (const struct module *)(uint32_t)s->modules;
    for (uint32_t k = 0; s->module_count == 1 && k < (uint32_t)m->size; k++)
        outb(0x3f8, ((const uint8_t *)(uint32_t)m->base)[k]);
    static const char signature[] = "RSD PTR ";
    unsigned same = 0;
    while (same < 8 && ((const char *)(uint32_t)s->rsdp)[same] == signature[same])
        same++;
    if (same == 8)
        print("RSD PTR found\r\n");
    const struct range *map = (const struct range *)(uint32_t)s->map;
    for (uint32_t k = 0; k < s->map_entries; k++) {
        print_number("length", map[k].length);
        print("type 0x");
        outb(0x3f8, (uint8_t)('0' + map[k].type));
        print_number(" at", map[k].base);
    }
    guest_exit(5);
}
