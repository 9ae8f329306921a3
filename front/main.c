/* ishi, the command: reads what it is to boot, builds the machine, and runs it with the terminal as
 * its console until it ends. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu/explain.h"
#include "front/console.h"
#include "front/inspect.h"
#include "front/monitor.h"
#include "front/options.h"
#include "front/screen.h"
#include "host/posix/chars.h"

enum status { /* of the process; odd ones are isa-debug-exit's */
              STATUS_OK = 0,
              STATUS_BAD = 2,
              STATUS_TRIPLE = 4,
              STATUS_HOST = 6,
              STATUS_REBOOT = 8,
};

#define FILE_LIMIT (4ull << 30)
#define DRAW_NS    40000000ull /* between two drawings of the screen */

struct front {
    struct options options;
    struct loop loop;
    struct console console;
    struct monitor monitor;
    struct screen_drawer drawer;
    struct machine_config config;
    struct machine *machine;
    struct blockdev disks[MACHINE_DISKS + 1]; /* the last is a floppy's, or unused */
    struct host_char *chars[MACHINE_SERIALS + 1];
    unsigned char_count;
    uint8_t *files[8]; /* freed at the end */
    unsigned file_count;
    FILE *log;
    bool quit;
    bool draw; /* the screen is drawn in the terminal */
    uint64_t drawn_at;
    uint64_t started; /* host's ns */
};

static void note(struct front *f, const char *text)
{
    fprintf(stderr, "ishi: %s%s\n", text, f->console.tty ? "\r" : "");
}

static void log_line(void *opaque, const char *line)
{
    struct front *f = opaque;
    fprintf(f->log, "%s%s\n", line, f->log == stderr && f->console.tty ? "\r" : "");
}

static const uint8_t *load(struct front *f, const char *path, const char *what, uint64_t *size,
                           struct err *e)
{
    size_t n;
    uint8_t *data = host_read_file(path, what, FILE_LIMIT, &n, e);
    *size = n;
    if (data)
        f->files[f->file_count++] = data;
    return data;
}

static bool open_disk(struct front *f, unsigned i, const struct disk_option *o, struct err *e)
{
    if (!disk_open_raw(&f->disks[i], o->path, o->mode, e))
        return false;
    f->config.disk[i] = (struct machine_disk){&f->disks[i], o->cdrom};
    return true;
}

/* Debian's places first, then others'. */
static const char *const bios_places[] = {"/usr/share/seabios/", "/usr/share/qemu/",
                                          "/usr/local/share/qemu/"};

static const uint8_t *find_bios(struct front *f, const char *file, uint64_t *size, struct err *e)
{
    char path[200];
    for (size_t i = 0; i < ARRAY_LEN(bios_places); i++) {
        snprintf(path, sizeof path, "%s%s", bios_places[i], file);
        if (access(path, R_OK) == 0)
            return load(f, path, "BIOS", size, e);
    }
    err_set(e, ERR_NOT_FOUND,
            "no SeaBIOS (%s) in /usr/share/seabios: install the package seabios, or "
            "give --firmware FILE",
            file);
    return NULL;
}

/* Without a BIOS to run it, the VGA BIOS still lends its font to the text screen; where there is
 * none, a kernel runs all the same. */
static void open_vga_bios(struct front *f)
{
    struct err ignored;
    f->config.vga_bios = find_bios(f, "vgabios-stdvga.bin", &f->config.vga_bios_size, &ignored);
}

static bool open_firmware(struct front *f, struct err *e)
{
    const char *name = f->options.firmware;
    struct machine_config *c = &f->config;
    if (!strcmp(name, "none"))
        return true;
    if (strcmp(name, "seabios"))
        c->bios = load(f, name, "firmware", &c->bios_size, e);
    else
        c->bios = find_bios(f, "bios-256k.bin", &c->bios_size, e);
    if (!c->bios)
        return false;
    if (f->options.rom) {
        c->rom[0].name = f->options.rom;
        c->rom[0].data = load(f, f->options.rom, "option ROM", &c->rom[0].size, e);
        return c->rom[0].data != NULL;
    }
    return true;
}

#define FLOPPY_MAX 2949120u /* bytes: 2.88 MB */

/* The positional image, by its content. A disk or ISO goes before the drives of --ide. */
static bool open_image(struct front *f, bool *kernel, struct err *e)
{
    struct options *o = &f->options;
    struct machine_config *c = &f->config;
    *kernel = false;
    if (!o->image)
        return true;
    size_t n;
    uint64_t size;
    struct blockdev probe;
    enum boot_kind kind;
    uint8_t *head = xcalloc(BOOT_HEAD, 1);
    bool ok = disk_open_raw(&probe, o->image, DISK_RO, e);
    if (!ok) {
        free(head);
        return false;
    }
    size = probe.size;
    n = min_u64(size, BOOT_HEAD);
    ok = probe.ops->read(probe.opaque, 0, head, n, e);
    probe.ops->close(probe.opaque);
    if (ok && n >= 4 && !memcmp(head, "\177ELF", 4)) { /* its notes may stand anywhere */
        *kernel = true;
        c->kernel = load(f, o->image, "kernel", &c->kernel_size, e);
        ok = c->kernel && boot_detect(c->kernel, c->kernel_size, size, o->image, &kind, e);
    } else if (ok) {
        ok = boot_detect(head, n, size, o->image, &kind, e);
    }
    free(head);
    if (!ok)
        return false;
    switch (kind) {
    case BOOT_LINUX:
    case BOOT_PVH:
    case BOOT_MULTIBOOT:
        *kernel = true;
        c->kernel_kind = kind;
        if (!c->kernel)
            c->kernel = load(f, o->image, "kernel", &c->kernel_size, e);
        return c->kernel != NULL;
    case BOOT_ISO:
    case BOOT_DISK:
        if (kind == BOOT_DISK && size <= FLOPPY_MAX && size % 1024 == 0 &&
            strcmp(o->firmware, "none")) {
            c->floppy = load(f, o->image, "floppy", &c->floppy_size, e);
            return c->floppy != NULL;
        }
        if (o->disk_count == MACHINE_DISKS)
            return err_set(e, ERR_INVALID, "%s: all four drives are taken by --ide and --cdrom",
                           o->image);
        memmove(&o->disk[1], &o->disk[0], o->disk_count * sizeof o->disk[0]);
        o->disk_count++;
        o->disk[0] =
            (struct disk_option){o->image, kind == BOOT_ISO ? DISK_RO : DISK_RW, kind == BOOT_ISO};
        c->boot_cdrom |= kind == BOOT_ISO;
        return true;
    default: break;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s is %s, which this version can't start", o->image,
                   boot_kind_name(kind));
}

static struct chardev *open_char(struct front *f, const char *spec, struct err *e)
{
    char told[128];
    if (!strcmp(spec, "stdio"))
        return &f->console.dev;
    struct host_char *c = host_char_open(spec, &f->loop, told, e);
    if (!c)
        return NULL;
    if (*told)
        note(f, told);
    f->chars[f->char_count++] = c;
    return host_char_dev(c);
}

static bool open_serials(struct front *f, struct err *e)
{
    struct options *o = &f->options;
    unsigned on_stdio = 0;
    if (!o->serial_count && !o->display_term)
        o->serial[o->serial_count++] = "stdio";
    for (unsigned i = 0; i < o->serial_count; i++) {
        on_stdio += !strcmp(o->serial[i], "stdio");
        f->config.serial[i] = open_char(f, o->serial[i], e);
        if (!f->config.serial[i])
            return err_prefix(e, "--serial");
    }
    if (on_stdio > 1)
        return err_set(e, ERR_INVALID, "only one serial port can be on stdio");
    if (o->debugcon) {
        f->config.debugcon = open_char(f, o->debugcon, e);
        if (!f->config.debugcon)
            return err_prefix(e, "--debugcon");
    }
    return true;
}

static bool configure(struct front *f, struct err *e)
{
    struct options *o = &f->options;
    struct machine_config *c = &f->config;
    bool kernel;
    *c = (struct machine_config){.ram_size = o->mem,
                                 .cpus = o->cpus,
                                 .cpu_model = o->cpu,
                                 .clock = o->clock,
                                 .host_ns = host_now,
                                 .seed = o->seed,
                                 .debug_exit_port = o->debug_exit,
                                 .boot_cdrom = o->boot_cdrom,
                                 .linux_entry = o->entry,
                                 .cmdline = o->append,
                                 .initrd_name = o->initrd,
                                 .start_time = o->start_time_given ? o->start_time
                                               : o->clock == CLOCK_VIRTUAL
                                                   ? 1767225600 /* 2026: the same in each run */
                                                   : host_wall_seconds()};
    f->log = stderr;
    if (o->log_file && !(f->log = fopen(o->log_file, "w")))
        return err_set(e, ERR_DENIED, "log %s can't be written", o->log_file);
    /* what fails outside while the guest runs is always said */
    c->log = (struct log){o->log_mask | 1u << LOG_HOST, log_line, f};
    if (!o->image && !o->disk_count && !strcmp(o->firmware, "none"))
        return err_set(e, ERR_INVALID, "nothing to boot: give an image, or see ishi --help");
    if (!open_image(f, &kernel, e))
        return false;
    if (!kernel && (o->append || o->initrd))
        return err_set(e, ERR_INVALID, "%s goes with a kernel, and %s is not one",
                       o->append ? "--append" : "--initrd", o->image ? o->image : "no image");
    if (!kernel && !o->disk_count && !c->floppy && !o->rom)
        return err_set(e, ERR_INVALID, "nothing to boot: give an image, or see ishi --help");
    for (unsigned i = 0; i < o->disk_count; i++) {
        if (!open_disk(f, i, &o->disk[i], e))
            return false;
    }
    if (o->initrd && !(c->initrd = load(f, o->initrd, "initrd", &c->initrd_size, e)))
        return false;
    open_vga_bios(f);
    if (!kernel && !open_firmware(f, e))
        return false;
    uint64_t host_total = host_ram_total();
    if (host_total && o->mem > host_total)
        return err_set(e, ERR_NO_MEMORY,
                       "--mem asks for %" PRIu64 " MiB and the host has %" PRIu64
                       ": give a smaller --mem",
                       o->mem >> 20, host_total >> 20);
    c->ram = host_ram_alloc(o->mem, e);
    return c->ram && open_serials(f, e);
}

static bool screenshot(void *opaque, const char *path, struct err *e)
{
    struct front *f = opaque;
    struct screen s;
    const struct display_source *d = machine_display(f->machine);
    d->capture(d->dev, &s, true);
    return screen_write_png(&s, path, e);
}

static void try_screenshot(struct front *f)
{
    struct err e;
    const char *path = f->options.screenshot ? f->options.screenshot : "ishi.png";
    if (screenshot(f, path, &e))
        console_print(&f->console, "\nishi: screen written to %s\n", path);
    else
        console_print(&f->console, "\nishi: %s\n", e.text);
}

static size_t type(void *opaque, const uint8_t *p, size_t n)
{
    return machine_type(((struct front *)opaque)->machine, p, n);
}

static void set_draw(struct front *f, bool on)
{
    f->draw = on;
    f->console.type = on ? type : NULL;
    f->drawn_at = 0;
    if (on)
        screen_begin(&f->drawer);
    else
        screen_end(&f->drawer);
}

static void on_key(void *opaque, char letter)
{
    struct front *f = opaque;
    switch (letter) {
    case 'x': f->quit = true; break;
    case 'r': machine_reset(f->machine); break;
    case 'p': machine_power_button(f->machine); break;
    case 's': try_screenshot(f); break;
    case 'd': set_draw(f, !f->draw); break;
    default: break;
    }
}

static void on_command(void *opaque, const char *line)
{
    monitor_run(&((struct front *)opaque)->monitor, line);
}

static void on_print(void *opaque, const char *text)
{
    console_print(&((struct front *)opaque)->console, "%s", text);
}

static void on_quit(void *opaque)
{
    ((struct front *)opaque)->quit = true;
}

static void draw(struct front *f)
{
    uint64_t now = host_now();
    if (!f->draw || f->console.monitor || now - f->drawn_at < DRAW_NS)
        return;
    struct screen s;
    const struct display_source *d = machine_display(f->machine);
    d->capture(d->dev, &s, false);
    screen_draw(&f->drawer, &s);
    f->drawn_at = now;
}

/* How long the outside may be waited for, in ns. */
static uint64_t patience(struct front *f)
{
    uint64_t wake = machine_wakeup(f->machine), now = machine_now(f->machine);
    uint64_t wait = wake == CLOCK_NEVER ? 1000000000 : wake > now ? wake - now : 0;
    return f->draw ? min_u64(wait, DRAW_NS) : wait;
}

static void tell_lines(struct front *f, const char *text)
{
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        fprintf(stderr, "%.*s%s\n", (int)n, line, f->console.tty ? "\r" : "");
        line += n + (line[n] == '\n');
    }
}

/* The whole of a triple fault: the chain in words, the registers, the last instructions. */
static void tell_triple(struct front *f)
{
    char *text = xcalloc(1, 2 * EXPLAIN_SIZE);
    struct cpu *c = machine_triple(f->machine);
    fflush(stdout);
    explain_faults(c, text, EXPLAIN_SIZE);
    tell_lines(f, text);
    inspect_topics[0].show(f->machine, c, text, 2 * EXPLAIN_SIZE);
    tell_lines(f, text);
    explain_code(c, text, EXPLAIN_SIZE);
    tell_lines(f, "last instructions:\n");
    tell_lines(f, text);
    free(text);
}

static int run(struct front *f)
{
    struct err e;
    while (!f->quit) {
        uint64_t wait = 0;
        enum machine_event event = machine_run(f->machine, &e);
        switch (event) {
        case MACHINE_SLICE: break;
        case MACHINE_IDLE: wait = patience(f); break;
        case MACHINE_OFF: return STATUS_OK;
        case MACHINE_DEBUG_EXIT: return (int)machine_exit_code(f->machine);
        case MACHINE_REBOOT: return STATUS_REBOOT;
        case MACHINE_TRIPLE: tell_triple(f); return STATUS_TRIPLE;
        case MACHINE_FAILED: note(f, e.text); return STATUS_HOST;
        case MACHINE_STOPPED:
            fprintf(stderr, "ishi: %" PRIu64 " instructions, state %016" PRIx64 "%s\n",
                    machine_icount(f->machine), machine_hash(f->machine),
                    f->console.tty ? "\r" : "");
            return STATUS_OK;
        }
        loop_poll(&f->loop, wait);
        console_feed(&f->console);
        draw(f);
        for (unsigned i = 0; i < f->char_count; i++) {
            if (host_char_failed(f->chars[i], &e))
                note(f, e.text);
        }
        if (f->console.output_lost) {
            note(f, "standard output is closed");
            return STATUS_HOST;
        }
    }
    return STATUS_OK;
}

static void clean_up(struct front *f)
{
    machine_free(f->machine);
    for (unsigned i = 0; i < MACHINE_DISKS; i++) {
        struct err e;
        struct blockdev *d = &f->disks[i];
        if (!d->ops)
            continue;
        if (!d->readonly && !d->ops->flush(d->opaque, &e))
            note(f, e.text);
        d->ops->close(d->opaque);
    }
    for (unsigned i = 0; i < f->char_count; i++)
        host_char_close(f->chars[i]);
    for (unsigned i = 0; i < f->file_count; i++)
        free(f->files[i]);
    if (f->config.ram)
        host_ram_free(f->config.ram, f->config.ram_size);
    if (f->log && f->log != stderr)
        fclose(f->log);
}

int main(int argc, char **argv)
{
    struct front *f = xcalloc(1, sizeof *f);
    struct err e = {0};
    f->started = host_now();
    int status = STATUS_BAD;
    switch (options_parse(&f->options, argc, argv, &e)) {
    case OPTIONS_DONE: free(f); return STATUS_OK;
    case OPTIONS_BAD:
        note(f, e.text);
        free(f);
        return STATUS_BAD;
    case OPTIONS_RUN: break;
    }
    if (!configure(f, &e) || !(f->machine = machine_new(&f->config, &e))) {
        note(f, e.text);
        clean_up(f);
        free(f);
        return STATUS_BAD;
    }
    machine_stop_on_reboot(f->machine, f->options.no_reboot);
    if (f->options.stop_after)
        machine_stop_after(f->machine, f->options.stop_after);
    f->monitor = (struct monitor){.machine = f->machine,
                                  .print = on_print,
                                  .quit = on_quit,
                                  .screenshot = screenshot,
                                  .opaque = f};
    f->console.command = on_command;
    f->console.key = on_key;
    f->console.opaque = f;
    console_open(&f->console, &f->loop);
    if (f->console.tty)
        note(f, "interpreter engine; Ctrl-A x quits, Ctrl-A h helps");
    if (f->options.display_term)
        set_draw(f, true);
    status = run(f);
    if (f->draw)
        screen_end(&f->drawer);
    if (f->options.screenshot && !screenshot(f, f->options.screenshot, &e)) {
        note(f, e.text);
        status = status ? status : STATUS_HOST;
    }
    console_close(&f->console);
    if (f->options.stats) {
        uint64_t n = machine_icount(f->machine), ns = host_now() - f->started;
        fprintf(stderr, "ishi: %" PRIu64 " instructions in %.3f s, %.0f MIPS\n", n,
                (double)ns / 1e9, (double)n * 1e3 / (double)(ns ? ns : 1));
    }
    clean_up(f);
    free(f);
    return status;
}
