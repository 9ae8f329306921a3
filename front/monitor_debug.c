/* The monitor as a debugger: stop, step, breakpoints, memory as gdb shows it. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/explain.h"
#include "front/inspect.h"
#include "front/monitor.h"
#include "machine/debug.h"

static bool mine(struct monitor *m)
{
    if (!m->busy || !m->busy(m->opaque))
        return true;
    monitor_say(m, "a debugger is there: stop and go on by its commands\n");
    return false;
}

static void show_place(struct monitor *m, struct cpu *c)
{
    char text[200];
    explain_insn(c, c->s.rip, text, sizeof text);
    monitor_say(m, "%04x:%s\n", c->s.seg[SEG_CS].sel, text);
}

void monitor_stop(struct monitor *m, char **arg)
{
    if (!mine(m))
        return;
    if (!debug_paused(m->machine))
        debug_pause(m->machine);
    show_place(m, machine_cpu(m->machine, m->cpu));
}

void monitor_cont(struct monitor *m, char **arg)
{
    if (!mine(m))
        return;
    m->steps = 0;
    debug_run_all(m->machine);
    if (debug_paused(m->machine))
        debug_resume(m->machine);
}

static void one_step(struct monitor *m)
{
    for (unsigned i = 0; i < machine_cpu_count(m->machine); i++)
        debug_act(m->machine, i, i == m->cpu ? DEBUG_STEPS : DEBUG_HOLD, 0, 0);
    debug_resume(m->machine);
}

void monitor_step(struct monitor *m, char **arg)
{
    uint64_t n = 1;
    if (!mine(m))
        return;
    if (arg[1] && (!monitor_address(m, arg[1], &n) || !n)) {
        monitor_say(m, "step [N]\n");
        return;
    }
    if (!debug_paused(m->machine))
        debug_pause(m->machine);
    m->steps = n - 1;
    one_step(m);
}

void monitor_stopped(struct monitor *m)
{
    const struct debug_stop s = *debug_stop(m->machine);
    debug_pause(m->machine);
    if (s.why == DEBUG_STEP && m->steps) {
        m->steps--;
        one_step(m);
        return;
    }
    m->cpu = s.cpu;
    if (s.why == DEBUG_BREAK)
        monitor_say(m, "CPU %u: breakpoint at %" PRIx64 "\n", s.cpu, s.addr);
    else if (s.why == DEBUG_WATCH)
        monitor_say(m, "CPU %u: access to %" PRIx64 "\n", s.cpu, s.addr);
    show_place(m, machine_cpu(m->machine, s.cpu));
}

static const char *kinds_text(unsigned kinds)
{
    return kinds == WATCH_READ ? "r" : kinds == WATCH_WRITE ? "w" : "rw";
}

static void list(struct monitor *m)
{
    const struct stops *s = debug_stops(m->machine);
    if (!s->break_count && !s->watch_count)
        monitor_say(m, "no breakpoints\n");
    for (unsigned i = 0; i < s->break_count; i++)
        monitor_say(m, "break %#" PRIx64 "\n", s->breaks[i]);
    for (unsigned i = 0; i < s->watch_count; i++)
        monitor_say(m, "watch %#" PRIx64 " %" PRIu64 " %s\n", s->watch[i].la, s->watch[i].length,
                    kinds_text(s->watch[i].kinds));
}

void monitor_break(struct monitor *m, char **arg)
{
    uint64_t at;
    if (!arg[1])
        list(m);
    else if (!monitor_address(m, arg[1], &at))
        monitor_say(m, "break ADDRESS: a linear address\n");
    else if (!stops_has_break(debug_stops(m->machine), at) && !debug_break_add(m->machine, at))
        monitor_say(m, "no room for another breakpoint\n");
}

void monitor_watch(struct monitor *m, char **arg)
{
    uint64_t at, n = 4;
    const char *how = arg[1] && arg[2] && arg[3] ? arg[3] : "w";
    unsigned kinds = (strchr(how, 'r') ? WATCH_READ : 0) | (strchr(how, 'w') ? WATCH_WRITE : 0);
    if (!arg[1] || !monitor_address(m, arg[1], &at) ||
        (arg[2] && !monitor_address(m, arg[2], &n)) || strspn(how, "rw") != strlen(how))
        monitor_say(m, "watch ADDRESS [BYTES [r|w|rw]]\n");
    else if (!debug_watch_add(m->machine, at, n, kinds))
        monitor_say(m, "no room for that watchpoint\n");
}

void monitor_delete(struct monitor *m, char **arg)
{
    const struct stops *s = debug_stops(m->machine);
    uint64_t at;
    bool any = false;
    if (!mine(m))
        return;
    if (!arg[1]) {
        debug_clear(m->machine);
        return;
    }
    if (!monitor_address(m, arg[1], &at)) {
        monitor_say(m, "delete [ADDRESS]\n");
        return;
    }
    while (debug_break_remove(m->machine, at))
        any = true;
    for (unsigned i = s->watch_count; i-- > 0;) {
        const struct stops_watch w = s->watch[i];
        if (w.la == at)
            any = debug_watch_remove(m->machine, at, w.length, w.kinds) || any;
    }
    if (!any)
        monitor_say(m, "nothing stops at %#" PRIx64 "\n", at);
}

/* Memory as gdb shows it. */

struct format {
    uint64_t count;
    char how;      /* x d u i s */
    unsigned size; /* bytes */
};

static bool parse_format(const char *p, struct format *f)
{
    char *end;
    *f = (struct format){1, 'x', 4};
    if (isdigit((unsigned char)*p)) {
        f->count = min_u64(strtoull(p, &end, 10), 4096);
        p = end;
    }
    for (; *p; p++) {
        const char *sizes = "bhwg", *size = strchr(sizes, *p);
        if (size)
            f->size = 1u << (size - sizes);
        else if (strchr("xduis", *p))
            f->how = *p;
        else
            return false;
    }
    return true;
}

static void show_instructions(struct monitor *m, uint64_t at, uint64_t count)
{
    struct cpu *c = machine_cpu(m->machine, m->cpu);
    char text[200];
    unsigned length;
    at -= cpu_64(c) ? 0 : c->s.seg[SEG_CS].base; /* it takes offsets in CS */
    do {
        length = explain_insn(c, at, text, sizeof text);
        monitor_say(m, "%s\n", text);
        at += length;
    } while (length && --count);
}

static void show_string(struct monitor *m, uint64_t at)
{
    char text[256] = "";
    size_t n = debug_read(m->machine, m->cpu, false, at, text, sizeof text - 1);
    for (size_t i = 0; i < n && text[i]; i++)
        text[i] = isprint((unsigned char)text[i]) ? text[i] : '.';
    monitor_say(m, "%016" PRIx64 "  \"%s\"\n", at, text);
}

static void show_numbers(struct monitor *m, uint64_t at, const struct format *f)
{
    unsigned row = 16 / f->size;
    for (uint64_t i = 0; i < f->count; i++) {
        uint8_t b[8] = {0};
        if (i % row == 0)
            monitor_say(m, "%s%016" PRIx64 " ", i ? "\n" : "", at);
        if (debug_read(m->machine, m->cpu, false, at, b, f->size) < f->size) {
            monitor_say(m, " no memory here");
            break;
        }
        uint64_t v = get_le64(b);
        if (f->how == 'x')
            monitor_say(m, " 0x%0*" PRIx64, (int)(2 * f->size), v);
        else if (f->how == 'u')
            monitor_say(m, " %" PRIu64, v);
        else
            monitor_say(m, " %" PRId64, (int64_t)sext(v, 8 * f->size));
        at += f->size;
    }
    monitor_say(m, "\n");
}

void monitor_examine(struct monitor *m, char **arg)
{
    struct format f;
    uint64_t at;
    if (!parse_format(arg[0] + 2, &f) || !f.count || !arg[1] || !monitor_address(m, arg[1], &at))
        monitor_say(m, "x/NFU ADDRESS: N of format x d u i s and size b h w g\n");
    else if (f.how == 'i')
        show_instructions(m, at, f.count);
    else if (f.how == 's')
        show_string(m, at);
    else
        show_numbers(m, at, &f);
}
