#include "front/setup.h"
#include "front/coverage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_LIMIT (4ull << 30)

static void log_line(void *opaque, const char *line)
{
    struct setup *s = opaque;
    fprintf(s->log, "%s%s\n", line, s->log == stderr && s->raw ? "\r" : "");
}

static const uint8_t *load(struct setup *s, const char *path, const char *what, uint64_t *size,
                           struct err *e)
{
    size_t n;
    uint8_t *data = host_read_file(path, what, FILE_LIMIT, &n, e);
    *size = n;
    if (data)
        s->files[s->file_count++] = data;
    return data;
}

static bool open_disk(struct setup *s, struct blockdev *d, const struct disk_option *o,
                      struct err *e)
{
    enum disk_mode mode = s->keep && o->mode == DISK_RW ? DISK_SNAPSHOT : o->mode;
    return disk_open_raw(d, o->path, mode, e);
}

static bool drive_boots(struct blockdev *d, struct err *e);

static bool open_disks(struct setup *s, struct err *e)
{
    struct err ignored;
    const struct options *o = &s->options;
    struct machine_config *c = &s->config;
    for (unsigned i = 0; i < o->disk_count; i++) {
        if (!open_disk(s, &s->disks[i], &o->disk[i], e))
            return false;
        c->disk[i] = (struct machine_disk){&s->disks[i], o->disk[i].cdrom};
    }
    for (unsigned i = 0; i < o->virtio_count; i++) {
        if (!open_disk(s, &s->disks[MACHINE_DISKS + i], &o->virtio[i], e))
            return false;
        c->virtio_disk[i] = &s->disks[MACHINE_DISKS + i];
    }
    c->boot_virtio = o->virtio_first && drive_boots(c->virtio_disk[0], &ignored);
    return true;
}

/* Debian's places first, then others'. */
static const char *const bios_places[] = {"/usr/share/seabios/", "/usr/share/qemu/",
                                          "/usr/local/share/qemu/"};

static const uint8_t *find_bios(struct setup *s, const char *file, uint64_t *size, struct err *e)
{
    char path[200];
    for (size_t i = 0; i < ARRAY_LEN(bios_places); i++) {
        snprintf(path, sizeof path, "%s%s", bios_places[i], file);
        if (access(path, R_OK) == 0)
            return load(s, path, "BIOS", size, e);
    }
    err_set(e, ERR_NOT_FOUND,
            "no SeaBIOS (%s) in /usr/share/seabios: install the package seabios, or "
            "give --firmware FILE",
            file);
    return NULL;
}

/* Without a BIOS to run it, the VGA BIOS still lends its font to the text screen; where there is
 * none, a kernel runs all the same. */
static void open_vga_bios(struct setup *s)
{
    struct err ignored;
    s->config.vga_bios = find_bios(s, "vgabios-stdvga.bin", &s->config.vga_bios_size, &ignored);
}

static bool open_firmware(struct setup *s, struct err *e)
{
    const char *name = s->options.firmware;
    struct machine_config *c = &s->config;
    if (!strcmp(name, "none"))
        return true;
    if (strcmp(name, "seabios"))
        c->bios = load(s, name, "firmware", &c->bios_size, e);
    else
        c->bios = find_bios(s, "bios-256k.bin", &c->bios_size, e);
    if (!c->bios)
        return false;
    if (s->options.rom) {
        c->rom[0].name = s->options.rom;
        c->rom[0].data = load(s, s->options.rom, "option ROM", &c->rom[0].size, e);
        if (!c->rom[0].data)
            return false;
        if (c->rom[0].size < 3 || get_le16(c->rom[0].data) != 0xaa55)
            return err_set(e, ERR_FORMAT, "%s is no option ROM: it doesn't begin with 55 aa",
                           s->options.rom);
    }
    return true;
}

static bool drive_boots(struct blockdev *d, struct err *e)
{
    uint8_t *head = xcalloc(BOOT_HEAD, 1);
    size_t n = min_u64(d->size, BOOT_HEAD);
    enum boot_kind kind = BOOT_DISK;
    bool ok =
        d->ops->read(d->opaque, 0, head, n, e) && boot_detect(head, n, d->size, d->name, &kind, e);
    free(head);
    if (ok && (kind == BOOT_PVH || kind == BOOT_MULTIBOOT))
        return err_set(e, ERR_INVALID, "%s is %s and no disk: give it without --disk or --ide",
                       d->name, boot_kind_name(kind));
    return ok;
}

/* A BIOS that finds nothing says so on the VGA screen, where nobody looks, and waits for ever. */
static bool some_drive_boots(struct setup *s, struct err *e)
{
    struct err other;
    bool first = true;
    if (s->config.floppy || s->config.rom[0].data)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(s->disks); i++) {
        if (!s->disks[i].ops)
            continue;
        if (drive_boots(&s->disks[i], first ? e : &other))
            return true;
        first = false;
    }
    return err_prefix(e, "no drive boots");
}

#define FLOPPY_MAX 2949120u /* bytes: 2.88 MB */

/* The positional image, by its content. A disk or ISO goes before the drives of --ide. */
static bool open_image(struct setup *s, bool *kernel, struct err *e)
{
    struct options *o = &s->options;
    struct machine_config *c = &s->config;
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
        c->kernel = load(s, o->image, "kernel", &c->kernel_size, e);
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
            c->kernel = load(s, o->image, "kernel", &c->kernel_size, e);
        return c->kernel != NULL;
    case BOOT_ISO:
    case BOOT_DISK:
        if (kind == BOOT_DISK && size <= FLOPPY_MAX && size % 1024 == 0 &&
            strcmp(o->firmware, "none")) {
            c->floppy = load(s, o->image, "floppy", &c->floppy_size, e);
            return c->floppy != NULL;
        }
        if (o->disk_count == MACHINE_DISKS)
            return err_set(e, ERR_INVALID, "%s: all four drives are taken by --ide and --cdrom",
                           o->image);
        memmove(&o->disk[1], &o->disk[0], o->disk_count * sizeof o->disk[0]);
        o->disk_count++;
        o->virtio_first = false;
        o->disk[0] = (struct disk_option){o->image, kind == BOOT_ISO ? DISK_RO : o->image_mode,
                                          kind == BOOT_ISO};
        c->boot_cdrom |= kind == BOOT_ISO;
        return true;
    default: break;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s is %s, which this version can't start", o->image,
                   boot_kind_name(kind));
}

static struct chardev *open_char(struct setup *s, const char *spec, struct err *e)
{
    char told[128];
    if (!strcmp(spec, "stdio"))
        return s->terminal;
    struct host_char *c = host_char_open(spec, s->loop, told, e);
    if (!c)
        return NULL;
    if (*told)
        fprintf(stderr, "ishi: %s\n", told);
    s->chars[s->char_count++] = c;
    return host_char_dev(c);
}

static bool open_serials(struct setup *s, struct err *e)
{
    struct options *o = &s->options;
    unsigned on_stdio = 0;
    if (!o->serial_count && !o->display_term)
        o->serial[o->serial_count++] = "stdio";
    for (unsigned i = 0; i < o->serial_count; i++) {
        on_stdio += !strcmp(o->serial[i], "stdio");
        s->config.serial[i] = open_char(s, o->serial[i], e);
        if (!s->config.serial[i])
            return err_prefix(e, "--serial");
    }
    if (on_stdio > 1)
        return err_set(e, ERR_INVALID, "only one serial port can be on stdio");
    if (o->debugcon) {
        s->config.debugcon = open_char(s, o->debugcon, e);
        if (!s->config.debugcon)
            return err_prefix(e, "--debugcon");
    }
    return true;
}

bool setup_open(struct setup *s, struct err *e)
{
    struct options *o = &s->options;
    struct machine_config *c = &s->config;
    bool kernel;
    *c = (struct machine_config){.engine = o->engine,
                                 .irqchip = o->irqchip,
                                 .ram_size = o->mem,
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
    s->log = stderr;
    if (o->log_file && !(s->log = fopen(o->log_file, "w")))
        return err_set(e, ERR_DENIED, "log %s can't be written", o->log_file);
    /* what fails outside while the guest runs is always said */
    c->log = (struct log){o->log_mask | 1u << LOG_HOST, log_line, s};
    if (!o->image && !o->disk_count && !o->virtio_count && !strcmp(o->firmware, "none"))
        return err_set(e, ERR_INVALID, "nothing to boot: give an image, or see ishi --help");
    if (!open_image(s, &kernel, e))
        return false;
    if (!kernel && (o->append || o->initrd))
        return err_set(e, ERR_INVALID, "%s goes with a kernel, and %s is not one",
                       o->append ? "--append" : "--initrd", o->image ? o->image : "no image");
    if (!kernel && !o->disk_count && !o->virtio_count && !c->floppy && !o->rom)
        return err_set(e, ERR_INVALID, "nothing to boot: give an image, or see ishi --help");
    if (!open_disks(s, e))
        return false;
    if (o->initrd && !(c->initrd = load(s, o->initrd, "initrd", &c->initrd_size, e)))
        return false;
    open_vga_bios(s);
    if (!kernel && (!open_firmware(s, e) || !some_drive_boots(s, e)))
        return false;
    uint64_t host_total = host_ram_total();
    if (host_total && o->mem > host_total)
        return err_set(e, ERR_NO_MEMORY,
                       "--mem asks for %" PRIu64 " MiB and the host has %" PRIu64
                       ": give a smaller --mem",
                       o->mem >> 20, host_total >> 20);
    if (!o->coverage)
        o->coverage = getenv(COVERAGE_ENV);
    if (o->coverage)
        c->coverage = xcalloc(isa_row_count, sizeof *c->coverage);
    c->ram = host_ram_alloc(o->mem, e);
    return c->ram && open_serials(s, e);
}

void setup_close(struct setup *s)
{
    for (unsigned i = 0; i < ARRAY_LEN(s->disks); i++) {
        struct err e;
        struct blockdev *d = &s->disks[i];
        if (!d->ops)
            continue;
        if (!d->readonly && !d->ops->flush(d->opaque, &e))
            fprintf(stderr, "ishi: %s%s\n", e.text, s->raw ? "\r" : "");
        d->ops->close(d->opaque);
    }
    for (unsigned i = 0; i < s->char_count; i++)
        host_char_close(s->chars[i]);
    for (unsigned i = 0; i < s->file_count; i++)
        free(s->files[i]);
    if (s->config.coverage && !coverage_write(s->options.coverage, "ishi", s->config.coverage))
        fprintf(stderr, "ishi: no counts can be written to the folder %s\n", s->options.coverage);
    free(s->config.coverage);
    if (s->config.ram)
        host_ram_free(s->config.ram, s->config.ram_size);
    if (s->log && s->log != stderr)
        fclose(s->log);
}
