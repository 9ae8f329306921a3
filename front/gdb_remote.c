/* Packets: framing, acknowledgement, stop replies. What is in them: gdb_packets.c. */
#include "front/gdb_remote.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/explain.h"

#define CTRL_C 3

static const char digits[] = "0123456789abcdef";

/* Out. */

void gdb_begin_answer(struct gdb_remote *g)
{
    g->out[0] = '$';
    g->out_size = 1;
}

static void add(struct gdb_remote *g, const char *fmt, va_list ap)
{
    size_t room = 1 + GDB_PACKET - g->out_size;
    int n = vsnprintf(g->out + g->out_size, room + 1, fmt, ap);
    if (n > 0)
        g->out_size += min_u64((size_t)n, room);
}

void gdb_add(struct gdb_remote *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(g, fmt, ap);
    va_end(ap);
}

void gdb_add_hex(struct gdb_remote *g, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && g->out_size + 2 <= 1 + GDB_PACKET; i++) {
        g->out[g->out_size++] = digits[bytes[i] >> 4];
        g->out[g->out_size++] = digits[bytes[i] & 15];
    }
}

void gdb_send(struct gdb_remote *g)
{
    uint8_t sum = 0;
    for (size_t i = 1; i < g->out_size; i++)
        sum = (uint8_t)(sum + (uint8_t)g->out[i]);
    g->out[g->out_size++] = '#';
    g->out[g->out_size++] = digits[sum >> 4];
    g->out[g->out_size++] = digits[sum & 15];
    g->send(g->opaque, g->out, g->out_size);
}

void gdb_answer(struct gdb_remote *g, const char *fmt, ...)
{
    va_list ap;
    gdb_begin_answer(g);
    va_start(ap, fmt);
    add(g, fmt, ap);
    va_end(ap);
    gdb_send(g);
}

void gdb_answer_hex(struct gdb_remote *g, const void *bytes, size_t n)
{
    gdb_begin_answer(g);
    gdb_add_hex(g, bytes, n);
    gdb_send(g);
}

void gdb_print(struct gdb_remote *g, const char *text)
{
    size_t n = strlen(text);
    while (n) {
        size_t piece = min_u64(n, (GDB_PACKET - 1) / 2);
        gdb_begin_answer(g);
        gdb_add(g, "O");
        gdb_add_hex(g, (const uint8_t *)text, piece);
        gdb_send(g);
        text += piece;
        n -= piece;
    }
}

/* Stops. */

static void tell_stop(struct gdb_remote *g, unsigned signal, unsigned cpu, const char *why)
{
    g->cpu = g->monitor.cpu = cpu;
    g->running = false;
    snprintf(g->reason, sizeof g->reason, "T%02x%sthread:%02x;", signal, why, cpu + 1);
    gdb_answer(g, "%s", g->reason);
}

static const struct gdb_stop *find(const struct gdb_remote *g, uint64_t addr, bool watch)
{
    for (unsigned i = 0; i < g->stop_count; i++)
        if (g->stops[i].addr == addr && (g->stops[i].type >= 2) == watch)
            return &g->stops[i];
    return NULL;
}

/* gdb takes a breakpoint that it does not find at rip for one that it has removed since, and goes
 * on without a word: so it is told of a breakpoint only where rip is the linear address. */
static void tell_break(struct gdb_remote *g, const struct debug_stop *s, char *why, size_t size)
{
    const struct gdb_stop *x = find(g, s->addr, s->why == DEBUG_WATCH);
    static const char *const watch[] = {"watch", "rwatch", "awatch"};
    *why = 0;
    if (!x)
        return;
    if (s->why == DEBUG_WATCH)
        snprintf(why, size, "%s:%llx;", watch[x->type - 2], (unsigned long long)s->addr);
    else if (machine_cpu(g->machine, s->cpu)->s.rip == s->addr &&
             (x->type ? g->hwbreak : g->swbreak))
        snprintf(why, size, "%s:;", x->type ? "hwbreak" : "swbreak");
}

void gdb_stopped(struct gdb_remote *g, enum machine_event event)
{
    const struct debug_stop *s = debug_stop(g->machine);
    char why[64] = "";
    if (!debug_paused(g->machine))
        debug_pause(g->machine);
    if (!g->running)
        return;
    if (event == MACHINE_TRIPLE) {
        char text[4096];
        struct cpu *c = machine_triple(g->machine);
        explain_faults(c, text, sizeof text);
        gdb_print(g, text);
        g->triple = true;
        tell_stop(g, 11, c->index, "");
        return;
    }
    if (s->why == DEBUG_BREAK || s->why == DEBUG_WATCH)
        tell_break(g, s, why, sizeof why);
    tell_stop(g, 5, s->cpu, why);
}

void gdb_exited(struct gdb_remote *g, unsigned status)
{
    if (g->running)
        gdb_answer(g, "W%02x", status & 0xff);
    g->running = false;
}

void gdb_go(struct gdb_remote *g)
{
    g->running = true;
    if (debug_paused(g->machine))
        debug_resume(g->machine);
}

/* A CPU that is busy, if there is one: where Ctrl-C is about something. */
static unsigned busy(struct gdb_remote *g)
{
    unsigned n = machine_cpu_count(g->machine);
    for (unsigned i = 0; i < n; i++)
        if (machine_cpu(g->machine, (g->cpu + i) % n)->s.activity == ACT_RUN)
            return (g->cpu + i) % n;
    return g->cpu;
}

void gdb_interrupt(struct gdb_remote *g)
{
    if (!debug_paused(g->machine))
        debug_pause(g->machine);
    if (g->running)
        tell_stop(g, 2, busy(g), "");
}

/* In. */

static int hex(char c)
{
    const char *p = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return p ? (int)(p - digits) : -1;
}

static void end_packet(struct gdb_remote *g, bool good)
{
    g->state = GDB_IDLE;
    if (!g->no_ack)
        g->send(g->opaque, good || g->too_long ? "+" : "-", 1);
    if (g->too_long) {
        gdb_answer(g, "E22");
    } else if (good) {
        g->in[g->in_size] = 0;
        if (g->running) /* it does not wait for the stop, so it gets one */
            gdb_interrupt(g);
        gdb_packet(g, g->in, g->in_size);
    }
}

static void take(struct gdb_remote *g, char ch)
{
    switch (g->state) {
    case GDB_IDLE:
        if (ch == '$') {
            g->state = GDB_BODY;
            g->in_size = 0;
            g->sum = 0;
            g->too_long = false;
        } else if (ch == CTRL_C) {
            gdb_interrupt(g);
        } else if (ch == '-' && g->out_size && !g->no_ack) {
            g->send(g->opaque, g->out, g->out_size);
        }
        break;
    case GDB_BODY:
        if (ch == '#') {
            g->state = GDB_SUM1;
        } else if (g->in_size < GDB_PACKET) {
            g->in[g->in_size++] = ch;
            g->sum = (uint8_t)(g->sum + (uint8_t)ch);
        } else {
            g->too_long = true;
        }
        break;
    case GDB_SUM1:
        g->wanted = (uint8_t)((unsigned)hex(ch) << 4);
        g->state = GDB_SUM2;
        break;
    case GDB_SUM2:
        end_packet(g, g->no_ack || (uint8_t)(g->wanted | (unsigned)hex(ch)) == g->sum);
        break;
    }
}

void gdb_input(struct gdb_remote *g, const char *bytes, size_t n)
{
    while (n--)
        take(g, *bytes++);
}

/* Sessions. */

static void print(void *opaque, const char *text)
{
    gdb_print(opaque, text);
}

static void quit(void *opaque)
{
    struct gdb_remote *g = opaque;
    g->kill(g->opaque);
}

static bool busy_monitor(void *opaque)
{
    return true;
}

static bool screenshot(void *opaque, const char *path, struct err *e)
{
    struct gdb_remote *g = opaque;
    return g->screenshot(g->opaque, path, e);
}

void gdb_begin(struct gdb_remote *g)
{
    g->state = GDB_IDLE;
    g->out_size = 0;
    g->no_ack = g->swbreak = g->hwbreak = g->physical = g->running = g->triple = false;
    g->cpu = 0;
    g->monitor = (struct monitor){.machine = g->machine,
                                  .print = print,
                                  .quit = quit,
                                  .screenshot = screenshot,
                                  .busy = busy_monitor,
                                  .opaque = g};
    g->cpu_run = -1;
    snprintf(g->reason, sizeof g->reason, "T05thread:01;");
    debug_step_flags(g->machine, g->sstep & SSTEP_NOIRQ ? DEBUG_NOIRQ : 0);
    struct cpu *c = machine_cpu(g->machine, 0);
    g->regs = !isa_has(&c->features, FEAT_LM) ? REGS_32 : cpu_long(c) ? REGS_64 : REGS_BOTH;
    g->description = gdb_describe(g->regs);
}

void gdb_end(struct gdb_remote *g)
{
    for (unsigned i = 0; i < g->stop_count; i++) {
        const struct gdb_stop *s = &g->stops[i];
        static const uint8_t kinds[] = {WATCH_WRITE, WATCH_READ, WATCH_READ | WATCH_WRITE};
        if (s->type < 2)
            debug_break_remove(g->machine, s->addr);
        else
            debug_watch_remove(g->machine, s->addr, s->length, kinds[s->type - 2]);
    }
    g->stop_count = 0;
    free(g->stops);
    g->stops = NULL;
    g->stop_room = 0;
    free(g->description);
    g->description = NULL;
    g->running = false;
    debug_step_flags(g->machine, 0);
}
