/* The portable layers in WebAssembly: boots a boot sector without firmware, with COM1 on standard
 * output, and ends as the guest ends (isa-debug-exit's status). Run in Node by scripts/check-wasm;
 * it keeps operating-system needs out of the layers that a browser will run. */
#include <stdio.h>
#include <stdlib.h>

#include "machine/machine.h"

#define RAM (16u << 20)

struct image {
    uint8_t *data;
    uint64_t size;
};

static bool image_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    memcpy(buf, ((struct image *)opaque)->data + offset, len);
    return true;
}

static bool image_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    memcpy(((struct image *)opaque)->data + offset, buf, len);
    return true;
}

static bool image_flush(void *opaque, struct err *e)
{
    return true;
}

static void image_close(void *opaque) {}

static const struct blockdev_ops ops = {image_read, image_write, image_flush, image_close};

static void print(void *opaque, const uint8_t *bytes, size_t n)
{
    fwrite(bytes, 1, n, stdout);
}

int main(int argc, char **argv)
{
    struct image image = {xcalloc(1, 1 << 20), 1 << 20};
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || !fread(image.data, 1, image.size, f))
        return 2;
    fclose(f);
    struct blockdev disk = {.ops = &ops, .opaque = &image, .size = image.size, .name = argv[1]};
    struct chardev serial = {.write = print};
    struct machine_config cfg = {.ram = aligned_alloc(PAGE_SIZE, RAM),
                                 .ram_size = RAM,
                                 .cpus = 1,
                                 .clock = CLOCK_VIRTUAL,
                                 .debug_exit_port = 0x501,
                                 .serial = {&serial},
                                 .disk = {{&disk, false}}};
    struct err e;
    memset(cfg.ram, 0, RAM);
    struct machine *m = machine_new(&cfg, &e);
    if (!m) {
        fprintf(stderr, "%s\n", e.text);
        return 2;
    }
    for (;;) {
        switch (machine_run(m, &e)) {
        case MACHINE_SLICE: break;
        case MACHINE_DEBUG_EXIT:
            printf("%016llx\n", (unsigned long long)machine_hash(m));
            return (int)machine_exit_code(m);
        default: return 4;
        }
    }
}
