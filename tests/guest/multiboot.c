/* A multiboot 1 kernel: what the specification promises is there.
 *
 * kind: multiboot
 * args: --mem 64M --append "one two" --initrd tests/guest/lib/module.txt
 * expect: eax 0x2badb002
 * expect: protected mode, no paging
 * expect: interrupts off
 * expect: data as linked, bss zero
 * expect: command line: one two
 * expect: lower 0x27f
 * expect: the module
 * expect: module size 0xc
 * expect: usable at 0x100000
 * status: 11
 */
#include "lib/guest.h"

struct module {
    uint32_t start, end, string, reserved;
};

struct info {
    uint32_t flags, lower, upper, boot_device, cmdline, module_count, modules, symbols[4],
        mmap_length, mmap;
};

struct __attribute__((packed)) range {
    uint32_t size; /* of what follows */
    uint64_t base, length;
    uint32_t type;
};

static uint32_t data = 0x12345678;
static uint32_t bss[5000];

void guest_main(uint32_t eax, uint32_t ebx)
{
    const struct info *i = (const struct info *)ebx;
    uint32_t sum = 0;
    print_number("eax", eax);
    print_state();
    for (unsigned k = 0; k < 5000; k++)
        sum |= *(volatile uint32_t *)&bss[k];
    if (*(volatile uint32_t *)&data == 0x12345678 && !sum)
        print("data as linked, bss zero\r\n");
    if (~i->flags & 0x4d) /* memory, command line, modules, map */
        guest_exit(1);
    print("command line: ");
    print((const char *)i->cmdline);
    print("\r\n");
    print_number("lower", i->lower);
    print_number("upper", i->upper);
    const struct module *m = (const struct module *)i->modules;
    for (uint32_t at = m->start; at < m->end; at++)
        outb(0x3f8, *(const uint8_t *)at);
    print_number("module size", m->end - m->start);
    for (uint32_t at = i->mmap; at < i->mmap + i->mmap_length;) {
        const struct range *r = (const struct range *)at;
        print_number(r->type == 1 ? "usable at" : "reserved at", r->base);
        at += r->size + 4;
    }
    guest_exit(5);
}
