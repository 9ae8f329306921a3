#include "front/monitor.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/explain.h"
#include "cpu/mem.h"
#include "front/inspect.h"

void monitor_say(struct monitor *m, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->print(m->opaque, text);
}

bool monitor_address(struct monitor *m, const char *word, uint64_t *v)
{
    char *end;
    if (word[0] == '$')
        return inspect_register(machine_cpu(m->machine, m->cpu), word + 1, v);
    *v = strtoull(word, &end, 0);
    return end != word && !*end;
}

static void dump(struct monitor *m, uint64_t at, uint64_t n, bool physical)
{
    struct cpu *c = machine_cpu(m->machine, m->cpu);
    for (uint64_t i = 0; i < n; i += 16) {
        uint8_t b[16];
        size_t want = min_u64(16, n - i), got = want;
        char hex[64] = "", ascii[20] = "";
        if (physical && !bus_ram(machine_bus(m->machine), at + i, want))
            got = 0;
        else if (physical)
            bus_dma_read(machine_bus(m->machine), at + i, b, want);
        else
            got = mmu_peek(c, at + i, b, want);
        for (size_t k = 0; k < got; k++) {
            snprintf(hex + 3 * k, sizeof hex - 3 * k, "%02x ", b[k]);
            ascii[k] = isprint(b[k]) ? (char)b[k] : '.';
            ascii[k + 1] = 0;
        }
        monitor_say(m, "%016llx  %-48s %s\n", (unsigned long long)(at + i),
                    got ? hex : "no memory here", ascii);
        if (got < want)
            return;
    }
}

static void cmd_x(struct monitor *m, char **arg, bool physical)
{
    uint64_t at, n = 64;
    if (!arg[1] || !monitor_address(m, arg[1], &at) ||
        (arg[2] && !monitor_address(m, arg[2], &n))) {
        monitor_say(m, "%s ADDRESS [BYTES]; an address may be $rip or another register\n", arg[0]);
        return;
    }
    dump(m, at, min_u64(n, 65536), physical);
}

static void cmd_disasm(struct monitor *m, char **arg)
{
    struct cpu *c = machine_cpu(m->machine, m->cpu);
    uint64_t at = c->s.rip, n = 10;
    if ((arg[1] && !monitor_address(m, arg[1], &at)) ||
        (arg[1] && arg[2] && !monitor_address(m, arg[2], &n))) {
        monitor_say(m, "disasm [ADDRESS [COUNT]]; offsets in the code segment\n");
        return;
    }
    char text[200];
    for (uint64_t i = 0; i < min_u64(n, 1000); i++) {
        unsigned length = explain_insn(c, at, text, sizeof text);
        monitor_say(m, "%s\n", text);
        if (!length)
            return;
        at += length;
    }
}

static void show_field(void *opaque, const char *path, enum state_kind kind, const void *data,
                       size_t size)
{
    struct monitor *m = opaque;
    uint64_t v = 0;
    if (kind == STATE_BYTES) {
        monitor_say(m, "  %-24s %zu bytes, hash %016llx\n", path, size,
                    (unsigned long long)hash_bytes(STATE_HASH_INIT, data, size));
        return;
    }
    memcpy(&v, data, min_u64(size, 8));
    monitor_say(m, "  %-24s %#llx\n", path, (unsigned long long)v);
}

static bool show_state(struct monitor *m, const char *name)
{
    for (unsigned i = 0; i < machine_state_count(m->machine); i++) {
        const struct state_ref *r = machine_state(m->machine, i);
        if (!strcmp(r->name, name)) {
            state_walk(r->table, r->data, show_field, m);
            return true;
        }
    }
    return false;
}

static void show_devices(struct monitor *m)
{
    struct bus *b = machine_bus(m->machine);
    for (unsigned space = 0; space < 2; space++) {
        monitor_say(m, space == BUS_PORT ? "ports\n" : "memory\n");
        for (unsigned i = 0; i < b->region_count[space]; i++) {
            const struct region *r = b->region[space][i];
            monitor_say(m, "  %#llx to %#llx  %s%s\n", (unsigned long long)r->base,
                        (unsigned long long)(r->base + r->size - 1), r->name,
                        r->rom ? " (ROM)" : "");
        }
    }
    monitor_say(m, "chips and CPUs (info NAME shows the state of one):\n ");
    for (unsigned i = 0; i < machine_state_count(m->machine); i++)
        monitor_say(m, " %s", machine_state(m->machine, i)->name);
    monitor_say(m, "\n");
}

static void cmd_info(struct monitor *m, char **arg)
{
    struct cpu *c = machine_cpu(m->machine, m->cpu);
    static char text[65536];
    const char *what = arg[1] ? arg[1] : "";
    if (!strcmp(what, "devices")) {
        show_devices(m);
        return;
    }
    for (const struct inspect_topic *t = inspect_topics; t->name; t++) {
        if (!strcmp(what, t->name)) {
            t->show(m->machine, c, text, sizeof text);
            m->print(m->opaque, text);
            return;
        }
    }
    if (*what && show_state(m, what))
        return;
    monitor_say(m, "info devices");
    for (const struct inspect_topic *t = inspect_topics; t->name; t++)
        monitor_say(m, "|%s", t->name);
    monitor_say(m, ", or a chip's name\n");
}

static void cmd_cpu(struct monitor *m, char **arg)
{
    char *end = NULL;
    unsigned long n = arg[1] ? strtoul(arg[1], &end, 10) : 0;
    if (arg[1] && (*end || n >= machine_cpu_count(m->machine))) {
        monitor_say(m, "this machine has CPUs 0 to %u\n", machine_cpu_count(m->machine) - 1);
        return;
    }
    if (arg[1])
        m->cpu = (unsigned)n;
    monitor_say(m, "CPU %u of %u\n", m->cpu, machine_cpu_count(m->machine));
}

static void cmd_screenshot(struct monitor *m, char **arg)
{
    struct err e;
    if (!arg[1])
        monitor_say(m, "screenshot FILE.png\n");
    else if (!m->screenshot(m->opaque, arg[1], &e))
        monitor_say(m, "%s\n", e.text);
}

/* Words as in `log insn,int`, `log none`. */
static void run_log(struct monitor *m, char **arg)
{
    uint32_t mask = 0;
    char *save = NULL;
    for (char *w = arg[1] ? strtok_r(arg[1], ",", &save) : NULL; w;
         w = strtok_r(NULL, ",", &save)) {
        unsigned t = 0;
        while (t < LOG_TOPIC_COUNT && strcmp(w, log_topic_name((enum log_topic)t)))
            t++;
        if (t == LOG_TOPIC_COUNT && strcmp(w, "none")) {
            monitor_say(m, "no topic \"%s\"\n", w);
            return;
        }
        mask |= t < LOG_TOPIC_COUNT ? BIT(t) : 0;
    }
    if (arg[1])
        machine_log(m->machine, mask | BIT(LOG_HOST));
    for (unsigned t = 0; !arg[1] && t < LOG_TOPIC_COUNT; t++)
        monitor_say(m, "%c %-6s %s\n", machine_log_mask(m->machine) & BIT(t) ? '*' : ' ',
                    log_topic_name((enum log_topic)t), log_topic_text((enum log_topic)t));
}

static void run_engine(struct monitor *m, char **arg)
{
    const struct engine *x = arg[1] ? engine_find(arg[1]) : NULL;
    struct err e;
    if (!x) {
        for (unsigned i = 0; (x = engine_at(i)); i++)
            monitor_say(m, "%c %-8s %s\n", x == machine_engine(m->machine) ? '*' : ' ', x->name,
                        x->text);
    } else if (!machine_set_engine(m->machine, x, &e)) {
        monitor_say(m, "%s\n", e.text);
    }
}

static void say_pages(void *opaque, uint64_t paddr, uint64_t pages)
{
    monitor_say(opaque, "%#llx to %#llx\n", (unsigned long long)paddr,
                (unsigned long long)(paddr + pages * PAGE_SIZE - 1));
}

static void run_written(struct monitor *m, char **arg)
{
    bool on = arg[1] && !strcmp(arg[1], "on"), off = arg[1] && !strcmp(arg[1], "off");
    if (on || off)
        machine_log_writes(m->machine, on);
    else if (!machine_bus(m->machine)->logs_writes)
        monitor_say(m, "nobody takes note: written on\n");
    else
        monitor_say(m, "%llu pages\n",
                    (unsigned long long)machine_written(m->machine, say_pages, m));
}

static void run_info(struct monitor *m, char **arg)
{
    cmd_info(m, arg);
}
static void run_x(struct monitor *m, char **arg)
{
    cmd_x(m, arg, false);
}
static void run_xp(struct monitor *m, char **arg)
{
    cmd_x(m, arg, true);
}
static void run_reset(struct monitor *m, char **arg)
{
    machine_reset(m->machine);
}
static void run_power(struct monitor *m, char **arg)
{
    machine_power_button(m->machine);
}
static void run_nmi(struct monitor *m, char **arg)
{
    if (!machine_nmi(m->machine))
        m->print(m->opaque, "bit 7 of port 0x70 masks the NMI\n");
}
static void run_quit(struct monitor *m, char **arg)
{
    m->quit(m->opaque);
}
static void run_help(struct monitor *m, char **arg);

static const struct {
    const char *name, *arg, *text;
    void (*run)(struct monitor *m, char **arg);
} commands[] = {
    {"info", "TOPIC", "shows registers, tables, chips; alone, the list of topics", run_info},
    {"x", "ADDRESS [BYTES]", "memory by linear address", run_x},
    {"x/NFU", "ADDRESS", "the same as gdb does it: N of F (x d u i s) and size U (b h w g)", run_x},
    {"xp", "ADDRESS [BYTES]", "memory by physical address", run_xp},
    {"disasm", "[ADDRESS [COUNT]]", "instructions, from where the CPU is", cmd_disasm},
    {"cpu", "[N]", "which CPU the other commands look at", cmd_cpu},
    {"screenshot", "FILE.png", "a picture of the VGA screen", cmd_screenshot},
    {"engine", "[NAME]", "which engine runs the CPUs; goes on with another", run_engine},
    {"log", "[TOPIC,…|none]", "what the log has from here on; insn traces each instruction",
     run_log},
    {"written", "[on|off]", "pages of RAM written since the last time; on begins", run_written},
    {"stop", "", "stops the machine", monitor_stop},
    {"cont", "", "lets it go on", monitor_cont},
    {"step", "[N]", "that many instructions of the chosen CPU, others standing still",
     monitor_step},
    {"break", "[ADDRESS]", "stops before the instruction there; alone, lists all", monitor_break},
    {"watch", "ADDRESS [BYTES [r|w|rw]]", "stops behind an access; BYTES is 4, access w",
     monitor_watch},
    {"delete", "[ADDRESS]", "forgets what stops there; alone, all", monitor_delete},
    {"reset", "", "resets the machine", run_reset},
    {"powerdown", "", "presses the power button", run_power},
    {"nmi", "", "sends an NMI to CPU 0", run_nmi},
    {"quit", "", "ends ishi", run_quit},
    {"help", "", "this list; Ctrl-A c goes back to the guest", run_help},
};

static void run_help(struct monitor *m, char **arg)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        monitor_say(m, "%-10s %-24s %s\n", commands[i].name, commands[i].arg, commands[i].text);
}

void monitor_run(struct monitor *m, const char *line)
{
    char copy[512], *arg[8] = {0}, *save = NULL;
    snprintf(copy, sizeof copy, "%s", line);
    unsigned n = 0;
    for (char *w = strtok_r(copy, " \t", &save); w && n < 7; w = strtok_r(NULL, " \t", &save))
        arg[n++] = w;
    if (!n)
        return;
    if (!strcmp(arg[0], "q") || !strcmp(arg[0], "i"))
        arg[0] = arg[0][0] == 'q' ? "quit" : "info";
    if (!strncmp(arg[0], "x/", 2)) {
        monitor_examine(m, arg);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (!strcmp(arg[0], commands[i].name)) {
            commands[i].run(m, arg);
            return;
        }
    }
    monitor_say(m, "no command \"%s\"; help lists them\n", arg[0]);
}
