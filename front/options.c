#include "front/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpuid.h"

#define DEFAULT_MEM (512ull << 20)

struct option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    const char *arg;  /* name of its argument; NULL: takes none */
    const char *text; /* for people; one paragraph */
    bool (*set)(struct options *o, const char *value, struct err *e);
};

static bool bad(struct err *e, const char *option, const char *value, const char *want)
{
    return err_set(e, ERR_INVALID, "--%s %s: %s", option, value, want);
}

static bool number(const char *s, uint64_t *v, const char **end)
{
    char *stop;
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    *v = strtoull(s, &stop, 0);
    *end = stop;
    return errno == 0;
}

static bool set_mem(struct options *o, const char *s, struct err *e)
{
    uint64_t v;
    const char *end;
    unsigned shift = 20; /* a plain number is MiB, as in QEMU */
    if (!number(s, &v, &end))
        return bad(e, "mem", s, "give a size, as 512M or 2G");
    if (*end) {
        const char *units = "kKmMgGtT", *u = strchr(units, *end);
        if (!u || (end[1] && strcmp(end + 1, "B") && strcmp(end + 1, "iB")))
            return bad(e, "mem", s, "give a size, as 512M or 2G");
        shift = 10 + 10 * (unsigned)((u - units) / 2);
    }
    if (v > RAM_MAX >> shift)
        return bad(e, "mem", s, "more than the 256G that the machine can have");
    v <<= shift;
    if (v < MACHINE_RAM_MIN || v % PAGE_SIZE)
        return bad(e, "mem", s, "at least 1M, in whole pages of 4K");
    o->mem = v;
    return true;
}

static bool set_cpus(struct options *o, const char *s, struct err *e)
{
    uint64_t v;
    const char *end;
    if (!number(s, &v, &end) || *end || v < 1 || v > CPU_MAX)
        return bad(e, "cpus", s, "give a number from 1 to 32");
    o->cpus = (unsigned)v;
    return true;
}

static bool set_cpu(struct options *o, const char *s, struct err *e)
{
    o->cpu = s; /* the machine knows the models */
    return true;
}

static bool set_engine(struct options *o, const char *s, struct err *e)
{
    char names[80] = "auto";
    size_t n = strlen(names);
    const struct engine *x;
    o->engine = strcmp(s, "auto") ? engine_find(s) : NULL;
    for (unsigned i = 0; (x = engine_at(i)) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, ", %s", x->name);
    return o->engine || !strcmp(s, "auto") ||
           err_set(e, ERR_INVALID, "--engine %s: there are %s", s, names);
}

static bool set_append(struct options *o, const char *s, struct err *e)
{
    o->append = s;
    return true;
}

static bool set_initrd(struct options *o, const char *s, struct err *e)
{
    o->initrd = s;
    return true;
}

static bool set_rom(struct options *o, const char *s, struct err *e)
{
    o->rom = s;
    return true;
}

static bool set_firmware(struct options *o, const char *s, struct err *e)
{
    o->firmware = s;
    return true;
}

/* PATH[,snapshot|,readonly]; a path with a comma in it still works when no word follows. */
static struct disk_option disk_option(const char *s, bool cdrom)
{
    char *path = xstrdup(s), *comma = strrchr(path, ','); /* kept for the program's life */
    struct disk_option d = {.path = path, .mode = cdrom ? DISK_RO : DISK_RW, .cdrom = cdrom};
    if (comma && !strcmp(comma, ",snapshot"))
        d.mode = cdrom ? DISK_RO : DISK_SNAPSHOT;
    else if (comma && (!strcmp(comma, ",readonly") || !strcmp(comma, ",ro")))
        d.mode = DISK_RO;
    else
        comma = NULL;
    if (comma)
        *comma = 0;
    return d;
}

static bool add_ide(struct options *o, const char *s, bool cdrom, struct err *e)
{
    if (o->disk_count == MACHINE_DISKS)
        return err_set(e, ERR_INVALID,
                       "%s: the two IDE channels hold four drives, and they are taken", s);
    o->disk[o->disk_count++] = disk_option(s, cdrom);
    return true;
}

static bool set_ide(struct options *o, const char *s, struct err *e)
{
    return add_ide(o, s, false, e);
}

static bool set_cdrom(struct options *o, const char *s, struct err *e)
{
    return add_ide(o, s, true, e);
}

static bool set_disk(struct options *o, const char *s, struct err *e)
{
    if (o->virtio_count == MACHINE_VIRTIO)
        return err_set(e, ERR_INVALID, "--disk %s: there are %d already, which is all", s,
                       MACHINE_VIRTIO);
    o->virtio_first |= !o->disk_count;
    o->virtio[o->virtio_count++] = disk_option(s, false);
    return true;
}

static bool set_boot(struct options *o, const char *s, struct err *e)
{
    if (strcmp(s, "disk") && strcmp(s, "cdrom"))
        return bad(e, "boot", s, "give disk or cdrom");
    o->boot_cdrom = s[0] == 'c';
    return true;
}

static bool set_serial(struct options *o, const char *s, struct err *e)
{
    if (o->serial_count == MACHINE_SERIALS)
        return bad(e, "serial", s, "there are four serial ports, and they are taken");
    o->serial[o->serial_count++] = s;
    return true;
}

static bool set_debugcon(struct options *o, const char *s, struct err *e)
{
    o->debugcon = s;
    return true;
}

static bool set_display(struct options *o, const char *s, struct err *e)
{
    if (strcmp(s, "none") && strcmp(s, "term"))
        return bad(e, "display", s, "give none or term");
    o->display_term = s[0] == 't';
    return true;
}

static bool set_screenshot(struct options *o, const char *s, struct err *e)
{
    o->screenshot = s;
    return true;
}

static bool set_irqchip(struct options *o, const char *s, struct err *e)
{
    static const char *const names[] = {
        [CHIPS_OURS] = "ishi", [CHIPS_KERNEL] = "kernel", [CHIPS_AUTO] = "auto"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(s, names[i])) {
            o->irqchip = (enum chips_wish)i;
            return true;
        }
    return bad(e, "irqchip", s, "give auto, ishi or kernel");
}

static bool set_sched(struct options *o, const char *s, struct err *e)
{
    if (strcmp(s, "turns") && strcmp(s, "parallel"))
        return bad(e, "sched", s, "give turns or parallel");
    o->parallel = s[0] == 'p';
    o->turns = !o->parallel;
    return true;
}

static bool set_clock(struct options *o, const char *s, struct err *e)
{
    if (strcmp(s, "host") && strcmp(s, "virtual"))
        return bad(e, "clock", s, "give host or virtual");
    o->clock = s[0] == 'v' ? CLOCK_VIRTUAL : CLOCK_HOST;
    return true;
}

static bool set_entry(struct options *o, const char *s, struct err *e)
{
    if (strcmp(s, "auto") && strcmp(s, "32") && strcmp(s, "64"))
        return bad(e, "entry", s, "give auto, 32 or 64");
    o->entry = s[0] == '3' ? BOOT_ENTRY_32 : s[0] == '6' ? BOOT_ENTRY_64 : BOOT_ENTRY_AUTO;
    return true;
}

static bool set_log(struct options *o, const char *s, struct err *e)
{
    const char *colon = strchr(s, ':');
    size_t n = colon ? (size_t)(colon - s) : strlen(s);
    if (colon)
        o->log_file = colon + 1;
    while (n) {
        size_t k = 0;
        while (k < n && s[k] != ',')
            k++;
        bool found = k == 3 && !strncmp(s, "all", 3);
        if (found)
            o->log_mask |= ~(uint32_t)LOG_STEPS;
        for (unsigned t = 0; t < LOG_TOPIC_COUNT; t++) {
            const char *name = log_topic_name((enum log_topic)t);
            if (strlen(name) == k && !strncmp(s, name, k)) {
                o->log_mask |= 1u << t;
                found = true;
            }
        }
        if (!found)
            return err_set(e, ERR_INVALID, "--log: no topic \"%.*s\"; ishi --help lists them",
                           (int)k, s);
        s += k + (k < n);
        n -= k + (k < n);
    }
    return true;
}

static bool set_u64(const char *name, const char *s, uint64_t *v, struct err *e)
{
    const char *end;
    if (!number(s, v, &end) || *end)
        return bad(e, name, s, "give a number");
    return true;
}

static bool set_stop_after(struct options *o, const char *s, struct err *e)
{
    return set_u64("stop-after", s, &o->stop_after, e);
}

static bool set_seed(struct options *o, const char *s, struct err *e)
{
    return set_u64("seed", s, &o->seed, e);
}

static bool set_rtc(struct options *o, const char *s, struct err *e)
{
    o->start_time_given = true;
    return set_u64("rtc", s, &o->start_time, e);
}

static bool set_debug_exit(struct options *o, const char *s, struct err *e)
{
    uint64_t v = 0;
    if (!set_u64("debug-exit", s, &v, e))
        return false;
    if (v == 0 || v > 0xfffc)
        return bad(e, "debug-exit", s, "give a port number from 1 to 0xfffc");
    o->debug_exit = (uint16_t)v;
    return true;
}

static bool set_stats(struct options *o, const char *s, struct err *e)
{
    o->stats = true;
    return true;
}

static bool set_jit_stats(struct options *o, const char *s, struct err *e)
{
    o->jit_stats = true;
    return true;
}

static bool set_perf(struct options *o, const char *s, struct err *e)
{
    o->perf = true;
    return true;
}

static bool set_coverage(struct options *o, const char *s, struct err *e)
{
    o->coverage = s;
    return true;
}

static bool set_gdb(struct options *o, const char *s, struct err *e)
{
    o->gdb = s;
    return true;
}

static bool set_debug(struct options *o, const char *s, struct err *e)
{
    o->gdb = "tcp:127.0.0.1:1234";
    return true;
}

static bool set_stopped(struct options *o, const char *s, struct err *e)
{
    o->stopped = true;
    return true;
}

static bool set_no_reboot(struct options *o, const char *s, struct err *e)
{
    o->no_reboot = true;
    return true;
}

static const struct option table[] = {
    {"mem", 'm', "SIZE",
     "Memory of the guest, as 512M or 2G; a plain number is in MiB. Default 512M.", set_mem},
    {"cpus", 0, "N", "Number of CPUs, 1 to 32. Default 1.", set_cpus},
    {"smp", 0, "N", "The same as --cpus.", set_cpus},
    {"cpu", 0, "MODEL",
     "What the CPU is: one of the models below. MODEL,+kvmclock adds KVM's paravirtual clock, "
     "which is the same "
     "on every engine.",
     set_cpu},
    {"engine", 0, "NAME",
     "What runs the guest's CPUs: auto takes the best there is; else interp (the interpreter), jit "
     "(translated code) or kvm (the host's processor).",
     set_engine},
    {"append", 0, "TEXT", "Command line of the kernel.", set_append},
    {"initrd", 0, "FILE", "Initial RAM disk of the kernel (Linux), or its module (PVH, multiboot).",
     set_initrd},
    {"entry", 0, "auto|32|64", "Which entry of a Linux kernel to take.", set_entry},
    {"disk", 0, "FILE[,snapshot|,readonly]",
     "A disk by virtio (in Linux /dev/vda, /dev/vdb …), the fastest kind, by a raw image; up to "
     "eight, in order. snapshot keeps writes in memory and throws them away at the end; readonly "
     "refuses them.",
     set_disk},
    {"ide", 0, "FILE[,snapshot|,readonly]",
     "The same as an IDE disk, for systems without a driver for virtio; up to four drives, in "
     "order.",
     set_ide},
    {"cdrom", 0, "FILE", "A CD-ROM drive with an ISO image, as one of the four IDE drives.",
     set_cdrom},
    {"boot", 0, "disk|cdrom", "What the BIOS tries first. Default disk.", set_boot},
    {"firmware", 0, "seabios|none|FILE",
     "What starts a disk: SeaBIOS (default), a BIOS image of your own, or none: the boot sector "
     "starts as a BIOS would start it, but finds no BIOS services.",
     set_firmware},
    {"rom", 0, "FILE", "An option ROM for the BIOS, as iPXE's.", set_rom},
    {"serial", 0, "WHERE",
     "Where a serial port leads; up to four times, for COM1 to COM4: stdio, null, pty, file:PATH, "
     "tcp:HOST:PORT[,server], unix:PATH[,server]. Default: stdio for COM1.",
     set_serial},
    {"debugcon", 0, "WHERE", "Where output to ports 0xe9 and 0x402 goes, as with --serial.",
     set_debugcon},
    {"display", 0, "none|term",
     "term draws the VGA text screen in the terminal, and keys go to the PS/2 keyboard. Default "
     "none.",
     set_display},
    {"screenshot", 0, "FILE.png",
     "Writes a picture of the VGA screen when the machine ends, and at each Ctrl-A s.",
     set_screenshot},
    {"clock", 0, "host|virtual",
     "host: the guest's time is the wall clock's. virtual: it is the number of instructions "
     "executed, "
     "so that a run can be repeated exactly; a guest that waits jumps ahead. Default host.",
     set_clock},
    {"sched", 0, "turns|parallel",
     "turns: the CPUs take turns on one thread of the host. parallel: each has a thread of its "
     "own, "
     "so that a guest with several CPUs can use several of the host's; with --clock host, on "
     "x86-64 "
     "hosts. While a debugger has breakpoints or steps, CPUs take turns. Default parallel where "
     "there are several CPUs and it can be had; with --clock virtual or --stop-after, turns.",
     set_sched},
    {"irqchip", 0, "auto|ishi|kernel",
     "Whose interrupt controllers (PIC, I/O APIC, local APICs) and interval timer a guest has on "
     "KVM: the kernel's spare it an exit for each interrupt and each IPI. auto: the kernel's, "
     "where it has all of them, the host virtualises and CPUs have threads of their own; else "
     "ishi's. Default auto.",
     set_irqchip},
    {"rtc", 0, "SECONDS", "Time of the real-time clock at the start, in seconds since 1970 UTC.",
     set_rtc},
    {"seed", 0, "N", "Seed of the random source that the guest's hardware uses.", set_seed},
    {"stop-after", 0, "N",
     "Stops when N instructions have been executed and prints the hash of the machine's state.",
     set_stop_after},
    {"debug-exit", 0, "PORT",
     "Port of isa-debug-exit: a guest that writes V there ends ishi with status 2*V+1. Default "
     "0x501.",
     set_debug_exit},
    {"coverage", 0, "FOLDER",
     "Counts how often each form of an instruction ran, and adds a file with the counts to FOLDER; "
     "`ishi isa --coverage FOLDER` shows them.",
     set_coverage},
    {"gdb", 0, "WHERE",
     "Lets gdb or lldb debug the machine: tcp:HOST:PORT (no HOST: this machine's own) or "
     "unix:PATH. "
     "In gdb: target remote HOST:PORT, or PATH.",
     set_gdb},
    {"debug", 's', NULL, "The same as --gdb tcp:127.0.0.1:1234.", set_debug},
    {"stopped", 'S', NULL,
     "The machine waits before its first instruction, for gdb or the monitor's cont.", set_stopped},
    {"jit-stats", 0, NULL, "At the end, prints what generated code did, and why it was left.",
     set_jit_stats},
    {"perf", 0, NULL,
     "Names generated code to the host's perf, in /tmp/perf-PID.map: guest_ADDRESS in the guest's "
     "programs, kernel_ADDRESS above them. For `perf record -e cpu-clock`.",
     set_perf},
    {"stats", 0, NULL, "At the end, prints how many instructions ran, in what time.", set_stats},
    {"no-reboot", 0, NULL, "A guest that reboots ends ishi.", set_no_reboot},
    {"log", 0, "TOPIC[,TOPIC…][:FILE]",
     "Writes a log to stderr or FILE. Topics below, or all (but exit and insn).", set_log},
};

static void print_option(FILE *f, const char *left, const char *text)
{
    fprintf(f, "  %s\n", left);
    while (*text) { /* wrapped at 88 columns, words kept whole */
        size_t n = strlen(text), k = n;
        if (n > 80) {
            k = 80;
            while (k && text[k] != ' ')
                k--;
        }
        fprintf(f, "        %.*s\n", (int)k, text);
        text += k;
        while (*text == ' ')
            text++;
    }
}

static void help(FILE *f)
{
    const struct cpu_model *model;
    fprintf(
        f,
        "Usage: ishi [OPTION…] [IMAGE[,snapshot|,readonly]]\n\n"
        "Boots IMAGE, whatever it is: a Linux kernel (bzImage), an ELF kernel (PVH or\n"
        "multiboot), a disk or floppy image, an ISO. The terminal is the machine's first serial\n"
        "port; Ctrl-A x quits, Ctrl-A h lists the other keys.\n\nOptions:\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *o = &table[i];
        char left[100], letter[8] = "";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        print_option(f, left, o->text);
    }
    print_option(f, "-h, --help", "Prints this text.");
    print_option(f, "--version", "Prints the version.");
    fprintf(f, "\nCPU models:\n");
    for (unsigned i = 0; (model = cpu_model_at(i)); i++)
        fprintf(f, "  %-8s %s\n", model->name, model->text);
    fprintf(f, "\nLog topics:\n");
    for (unsigned t = 0; t < LOG_TOPIC_COUNT; t++)
        fprintf(f, "  %-6s %s\n", log_topic_name((enum log_topic)t),
                log_topic_text((enum log_topic)t));
    fprintf(
        f,
        "\nExit status: 0 the guest powered off, or you quit; 2 the command line or a file is not\n"
        "right; 2*V+1 by isa-debug-exit; 4 triple fault; 6 the host failed while it ran; 8 the\n"
        "guest rebooted and --no-reboot was given.\n");
}

/* The manual page, in man(7), from the same table. */
static void manual(FILE *f)
{
    const struct cpu_model *model;
    fprintf(
        f,
        ".TH ISHI 1\n.SH NAME\nishi \\- one small x86 PC that runs anywhere\n"
        ".SH SYNOPSIS\n.B ishi\n[\\fIOPTION\\fR...] [\\fIIMAGE\\fR[,snapshot|,readonly]]\n.SH "
        "DESCRIPTION\n"
        "Boots \\fIIMAGE\\fR, whatever it is: a Linux kernel (bzImage), an ELF kernel (PVH or\n"
        "multiboot), a disk or floppy image, an ISO. The terminal is the machine's first serial\n"
        "port.\n.SH OPTIONS\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *o = &table[i];
        fprintf(f, ".TP\n");
        if (o->letter)
            fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
        fprintf(f, "\\fB\\-\\-%s\\fR", o->name);
        if (o->arg)
            fprintf(f, " \\fI%s\\fR", o->arg);
        fprintf(f, "\n%s\n", o->text);
    }
    fprintf(f, ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nPrints the options.\n"
               ".TP\n\\fB\\-\\-version\\fR\nPrints the version.\n.SH CPU MODELS\n");
    for (unsigned i = 0; (model = cpu_model_at(i)); i++)
        fprintf(f, ".TP\n\\fB%s\\fR\n%s\n", model->name, model->text);
    fprintf(f, ".SH LOG TOPICS\n");
    for (unsigned t = 0; t < LOG_TOPIC_COUNT; t++)
        fprintf(f, ".TP\n\\fB%s\\fR\n%s\n", log_topic_name((enum log_topic)t),
                log_topic_text((enum log_topic)t));
    fprintf(
        f, ".SH KEYS\nCtrl-A x quits, Ctrl-A h lists the others.\n.SH EXIT STATUS\n"
           "0: the guest powered off, or you quit. 2: the command line or a file is not right.\n"
           "2*V+1: isa-debug-exit. 4: triple fault. 6: the host failed while it ran. 8: the guest\n"
           "rebooted and \\-\\-no\\-reboot was given.\n");
}

static const struct option *find(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strlen(table[i].name) == n && !strncmp(table[i].name, name, n))
            return &table[i];
    }
    return NULL;
}

enum options_result options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    *o = (struct options){.mem = DEFAULT_MEM,
                          .cpus = 1,
                          .clock = CLOCK_HOST,
                          .irqchip = CHIPS_AUTO,
                          .debug_exit = 0x501,
                          .firmware = "seabios",
                          .seed = 1};
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        const struct option *opt = NULL;
        const char *value = NULL;
        if (a[0] != '-' || !a[1]) {
            if (o->image) {
                err_set(e, ERR_INVALID,
                        "both %s and %s given: one image boots, others are --disk, --ide or "
                        "--cdrom",
                        o->image, a);
                return OPTIONS_BAD;
            }
            struct disk_option image = disk_option(a, false);
            o->image = image.path;
            o->image_mode = image.mode;
            continue;
        }
        if (!strcmp(a, "-h") || !strcmp(a, "--help") || !strcmp(a, "--man")) {
            (a[2] == 'm' ? manual : help)(stdout);
            return OPTIONS_DONE;
        }
        if (!strcmp(a, "--version")) {
            printf("ishi %s\n", ISHI_VERSION);
            return OPTIONS_DONE;
        }
        if (a[1] == '-') {
            char *equals = strchr(a, '=');
            opt = find(a + 2, equals ? (size_t)(equals - a - 2) : strlen(a + 2));
            value = equals ? equals + 1 : NULL;
        } else if (!a[2]) {
            for (size_t k = 0; k < ARRAY_LEN(table); k++)
                opt = table[k].letter == a[1] ? &table[k] : opt;
        } else { /* -smp 2, -append …: as QEMU's users type them */
            opt = find(a + 1, strlen(a + 1));
        }
        if (!opt) {
            err_set(e, ERR_INVALID, "no option %s: ishi --help lists them", a);
            return OPTIONS_BAD;
        }
        if (opt->arg && !value) {
            if (++i == argc) {
                err_set(e, ERR_INVALID, "%s needs %s", a, opt->arg);
                return OPTIONS_BAD;
            }
            value = argv[i];
        }
        if (!opt->set(o, value, e))
            return OPTIONS_BAD;
    }
    return OPTIONS_RUN;
}
