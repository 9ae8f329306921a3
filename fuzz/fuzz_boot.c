/* Whatever an image says of itself, detection and each loader answer with success or an error, and
 * touch nothing outside the guest's RAM. First byte: choices; the rest is the image. */
#include "boot/boot.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM (20u << 20)

static void check(bool ok, const struct err *e)
{
    assert(ok || (e->code != ERR_NONE && e->text[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t *ram;
    struct boot_config cfg;
    struct boot_entry entry;
    struct bus bus;
    enum boot_kind kind;
    if (!ram)
        ram = aligned_alloc(PAGE_SIZE, RAM);
    if (n < 1)
        return 0;
    uint8_t choice = data[0];
    data++;
    n--;
    boot_config_default(&cfg);
    cfg.cmdline = choice & 1 ? "console=ttyS0" : NULL;
    cfg.initrd = choice & 2 ? data : NULL;
    cfg.initrd_size = n;
    bus_init(&bus, ram, RAM, NULL);
    for (unsigned k = BOOT_LINUX; k <= BOOT_MULTIBOOT; k++) {
        struct err e = {0};
        check(boot_kernel(&bus, &cfg, k, data, n, choice >> 2 & 1, &entry, &e), &e);
    }
    struct err e = {0};
    check(boot_detect(data, n, n + choice, "image", &kind, &e), &e);
    bus_free(&bus);
    return 0;
}
