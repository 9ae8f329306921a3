/* ishi run: builds the machine that the options describe, and runs it with the terminal as its
 * console until it ends. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/explain.h"
#include "engine/kvm_host.h"
#include "front/commands.h"
#include "front/console.h"
#include "front/gdb.h"
#include "front/inspect.h"
#include "front/monitor.h"
#include "front/perf.h"
#include "front/screen.h"
#include "front/setup.h"
#include "host/posix/threads.h"

#define DRAW_NS 40000000ull /* between two drawings of the screen */

struct front {
    struct setup setup;
    struct loop loop;
    struct console console;
    struct monitor monitor;
    struct screen_drawer drawer;
    struct gdb gdb;
    struct perf_map perf;
    struct machine *machine;
    char why[300]; /* that engine, if it was auto's choice */
    bool quit;
    bool draw; /* the screen is drawn in the terminal */
    uint64_t drawn_at;
    uint64_t looked_at; /* host's ns: the last look at the outside */
    uint64_t started;   /* host's ns */
};

static void note(struct front *f, const char *text)
{
    fprintf(stderr, "ishi: %s%s\n", text, f->console.tty ? "\r" : "");
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
    const char *path = f->setup.options.screenshot ? f->setup.options.screenshot : "ishi.png";
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

static void on_note(void *opaque, const char *text)
{
    note(opaque, text);
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

static void tell_engine(struct front *f)
{
    char text[400];
    const struct engine *x = f->setup.config.engine;
    const char *chips = x != &engine_kvm                             ? ""
                        : machine_cpu(f->machine, 0)->chips->kernels ? "; the kernel's irqchip"
                                                                     : "; ishi's irqchip";
    snprintf(text, sizeof text, "engine %s, %s%s%s%s; Ctrl-A x quits, Ctrl-A h helps", x->name,
             x->text, *f->why ? ": " : "", f->why, chips);
    note(f, text);
}

/* The outside, for CPUs on threads. */

static void prepare(void *opaque)
{
    loop_prepare(&((struct front *)opaque)->loop);
}

/* What is waited for beside the descriptors is looked at that often: a guest that makes room for
 * more input, a screen that changes. */
#define LOOK_NS 10000000ull

static bool wait_outside(void *opaque, uint64_t ns)
{
    struct front *f = opaque;
    bool more = f->console.in_count || f->draw || f->loop.polls < f->loop.count;
    bool ready = loop_wait(&f->loop, more ? min_u64(ns, LOOK_NS) : ns);
    return ready || (more && host_now() - f->looked_at >= LOOK_NS);
}

static void wake(void *opaque)
{
    loop_wake(&((struct front *)opaque)->loop);
}

/* Who said nothing gets a thread for each CPU, if that can be and is good for something. */
static bool side_by_side(const struct options *o)
{
    if (o->parallel || o->turns)
        return o->parallel;
    if (o->engine->by_time)
        return true;
    return o->cpus > 1 && o->clock == CLOCK_HOST && !o->stop_after && o->engine->parallel &&
           host_threads.tso;
}

static bool choose_threads(struct front *f, struct err *e)
{
    const struct options *o = &f->setup.options;
    if (!side_by_side(o))
        return true;
    if (o->stop_after)
        return err_set(e, ERR_INVALID,
                       "--stop-after counts the instructions of all CPUs, which --sched parallel "
                       "can't");
    loop_wakeable(&f->loop);
    f->setup.config.threads = &host_threads;
    f->setup.config.outside = (struct outside){prepare, wait_outside, wake, f};
    return true;
}

/* What `auto` is. A run that counts instructions needs an engine that does. */
static bool choose_engine(struct front *f, struct err *e)
{
    struct options *o = &f->setup.options;
    if (o->engine && o->engine->by_time && o->stop_after)
        return err_set(e, ERR_INVALID, "--stop-after counts instructions, which engine %s can't",
                       o->engine->name);
    if (!o->engine && (o->clock == CLOCK_VIRTUAL || o->stop_after)) {
        o->engine = engine_default();
    } else if (!o->engine) {
        struct kvm_report *r = xcalloc(1, sizeof *r);
        kvm_probe(r, false);
        o->engine = kvm_choose(r, f->why, sizeof f->why);
        free(r);
    }
    return true;
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

/* Looks at the outside, and waits for it that many ns. False: it can't go on. */
static bool look(struct front *f, uint64_t wait)
{
    struct err e;
    loop_poll(&f->loop, wait);
    f->looked_at = host_now();
    console_feed(&f->console);
    draw(f);
    for (unsigned i = 0; i < f->setup.char_count; i++) {
        if (host_char_failed(f->setup.chars[i], &e))
            note(f, e.text);
    }
    if (f->console.output_lost)
        note(f, "standard output is closed");
    return !f->console.output_lost;
}

static int run(struct front *f)
{
    struct err e;
    while (!f->quit) {
        uint64_t wait = 0;
        if (debug_paused(f->machine)) {
            if (!look(f, f->draw ? DRAW_NS : NS_PER_S))
                return STATUS_HOST;
            continue;
        }
        enum machine_event event = machine_run(f->machine, &e);
        if (gdb_event(&f->gdb, event))
            continue;
        if (gdb_over(&f->gdb))
            event = MACHINE_TRIPLE;
        switch (event) {
        case MACHINE_SLICE: break;
        case MACHINE_IDLE: wait = patience(f); break;
        case MACHINE_BREAK: monitor_stopped(&f->monitor); break;
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
        if (!look(f, wait))
            return STATUS_HOST;
    }
    return STATUS_OK;
}

static bool gdb_is_here(void *opaque)
{
    return gdb_here(&((struct front *)opaque)->gdb);
}

static bool open_gdb(struct front *f, struct err *e)
{
    const struct options *o = &f->setup.options;
    f->gdb = (struct gdb){.note = on_note, .quit = on_quit, .screenshot = screenshot, .opaque = f};
    f->gdb.listen = f->gdb.fd = -1;
    f->gdb.remote.machine = f->machine;
    /* As QEMU, a step takes no interrupt; on the virtual clock that would change the run. */
    f->gdb.remote.sstep = SSTEP_ENABLE | (o->clock == CLOCK_HOST ? SSTEP_NOIRQ | SSTEP_NOTIMER : 0);
    if (o->stopped)
        debug_pause(f->machine);
    return !o->gdb || gdb_open(&f->gdb, o->gdb, &f->loop, e);
}

static void clean_up(struct front *f)
{
    gdb_close(&f->gdb);
    machine_free(f->machine);
    perf_close(&f->perf);
    setup_close(&f->setup);
    loop_close(&f->loop);
    free(f);
}

int command_run(int argc, char **argv)
{
    struct front *f = xcalloc(1, sizeof *f);
    struct options *o = &f->setup.options;
    struct err e = {0};
    f->started = host_now();
    f->setup.loop = &f->loop;
    f->setup.terminal = &f->console.dev;
    int status = STATUS_BAD;
    switch (options_parse(o, argc, argv, &e)) {
    case OPTIONS_DONE: free(f); return STATUS_OK;
    case OPTIONS_BAD:
        note(f, e.text);
        free(f);
        return STATUS_BAD;
    case OPTIONS_RUN: break;
    }
    if (!choose_engine(f, &e) || !setup_open(&f->setup, &e) || !choose_threads(f, &e) ||
        !(f->machine = machine_new(&f->setup.config, &e))) {
        note(f, e.text);
        clean_up(f);
        return STATUS_BAD;
    }
    if (!open_gdb(f, &e)) {
        note(f, e.text);
        clean_up(f);
        return STATUS_BAD;
    }
    if (o->perf && !perf_open(&f->perf, machine_cpu(f->machine, 0), &e)) {
        note(f, e.text);
        clean_up(f);
        return STATUS_HOST;
    }
    machine_stop_on_reboot(f->machine, o->no_reboot);
    if (o->stop_after)
        machine_stop_after(f->machine, o->stop_after);
    f->monitor = (struct monitor){.machine = f->machine,
                                  .print = on_print,
                                  .quit = on_quit,
                                  .screenshot = screenshot,
                                  .busy = gdb_is_here,
                                  .opaque = f};
    f->console.command = on_command;
    f->console.key = on_key;
    f->console.opaque = f;
    console_open(&f->console, &f->loop);
    f->setup.raw = f->console.tty;
    if (f->console.tty)
        tell_engine(f);
    if (o->display_term)
        set_draw(f, true);
    status = run(f);
    gdb_end_of_run(&f->gdb, (unsigned)status);
    if (f->draw)
        screen_end(&f->drawer);
    if (o->screenshot && !screenshot(f, o->screenshot, &e)) {
        note(f, e.text);
        status = status ? status : STATUS_HOST;
    }
    console_close(&f->console);
    f->setup.raw = false;
    if (o->stats) {
        uint64_t n = machine_icount(f->machine), ns = host_now() - f->started;
        fprintf(stderr, "ishi: %" PRIu64 " instructions in %.3f s, %.0f MIPS\n", n,
                (double)ns / 1e9, (double)n * 1e3 / (double)(ns ? ns : 1));
    }
    if (o->jit_stats && !strcmp(machine_engine(f->machine)->name, "jit")) {
        char text[2048];
        engine_jit.show(machine_cpu(f->machine, 0), text, sizeof text);
        fputs(text, stderr);
    }
    clean_up(f);
    return status;
}
