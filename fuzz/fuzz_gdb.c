/* gdb's protocol: any packets to a machine that runs a small loop. The input's lines are packets,
 * or (first byte odd) the bytes that come from the socket. */
#include "front/gdb_remote.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM (1u << 20)

static bool disk_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    /* inc ax; mov [9000], ax; int 20; jmp back */
    static const uint8_t code[] = {0x40, 0xa3, 0x00, 0x90, 0xcd, 0x20, 0xeb, 0xf8};
    uint8_t sector[512] = {0};
    memcpy(sector, code, sizeof code);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    memcpy(buf, sector + offset, len);
    return true;
}

static bool disk_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    return true;
}

static bool disk_flush(void *opaque, struct err *e)
{
    return true;
}

static void disk_close(void *opaque) {}

static const struct blockdev_ops ops = {disk_read, disk_write, disk_flush, disk_close};

static void sent(void *opaque, const char *bytes, size_t n)
{
    assert(n > 0);
}

static void over(void *opaque)
{
    *(bool *)opaque = true;
}

static bool screenshot(void *opaque, const char *path, struct err *e)
{
    return err_set(e, ERR_INVALID, "not here");
}

/* The machine runs, if gdb lets it; then gdb comes in again. */
static void run(struct gdb_remote *g)
{
    struct err e;
    machine_stop_after(g->machine, machine_icount(g->machine) + 2000);
    for (unsigned i = 0; i < 2 && !debug_paused(g->machine); i++) {
        enum machine_event event = machine_run(g->machine, &e);
        if (event == MACHINE_BREAK || event == MACHINE_TRIPLE)
            gdb_stopped(g, event);
        else if (event != MACHINE_SLICE)
            break;
    }
    gdb_interrupt(g);
}

static void feed(struct gdb_remote *g, const uint8_t *data, size_t n, bool *ended)
{
    while (n && !*ended) {
        const uint8_t *end = memchr(data, '\n', n);
        size_t k = end ? (size_t)(end - data) : n;
        k = min_u64(k, GDB_PACKET);
        memcpy(g->in, data, k); /* X packets look here for their end */
        g->in[k] = 0;
        g->in_size = k;
        gdb_packet(g, g->in, k);
        run(g);
        k += end != NULL;
        data += k;
        n -= k;
    }
}

/* A machine is slow to build: the reset button does as well. */
static struct machine *machine(void)
{
    static struct machine *m;
    static struct blockdev disk = {.ops = &ops, .size = 512};
    static uint8_t *ram;
    struct err e;
    if (!m) {
        ram = aligned_alloc(PAGE_SIZE, RAM);
        memset(ram, 0, RAM);
        struct machine_config cfg = {
            .ram = ram, .ram_size = RAM, .cpus = 2, .clock = CLOCK_VIRTUAL};
        cfg.disk[0].dev = &disk;
        m = machine_new(&cfg, &e);
        assert(m);
        return m;
    }
    debug_clear(m);
    debug_run_all(m);
    if (debug_paused(m))
        debug_resume(m);
    memset(ram, 0, RAM);
    machine_reset(m);
    machine_stop_after(m, machine_icount(m));
    machine_run(m, &e);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool ended = false;
    if (!n)
        return 0;
    struct machine *m = machine();
    struct gdb_remote *g = xcalloc(1, sizeof *g);
    *g = (struct gdb_remote){.machine = m,
                             .send = sent,
                             .detach = over,
                             .kill = over,
                             .screenshot = screenshot,
                             .opaque = &ended};
    debug_pause(m);
    gdb_begin(g);
    g->no_ack = true;
    if (data[0] & 1) {
        gdb_input(g, (const char *)data + 1, n - 1);
        run(g);
    } else {
        feed(g, data + 1, n - 1, &ended);
    }
    gdb_end(g);
    free(g);
    return 0;
}
