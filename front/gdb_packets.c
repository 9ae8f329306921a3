/* What gdb's packets ask for. A table by the packet's beginning; what is not in it gets the empty
 * answer, by which gdb knows that the stub has no such thing. */
#include "front/gdb_remote.h"

#include <stdio.h>
#include <stdlib.h>

static void ok(struct gdb_remote *g)
{
    gdb_answer(g, "OK");
}

static void no(struct gdb_remote *g)
{
    gdb_answer(g, "E22");
}

/* Reading arguments. */

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A number in hexadecimal, at least one digit. */
static bool number(char **p, uint64_t *v)
{
    char *s = *p;
    *v = 0;
    for (; nibble(*s) >= 0; s++)
        *v = *v << 4 | (uint64_t)nibble(*s);
    bool any = s != *p;
    *p = s;
    return any;
}

static bool skip(char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

/* Bytes in hexadecimal, exactly n. */
static bool bytes(char **p, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++, *p += 2) {
        int high = nibble((*p)[0]), low = high < 0 ? -1 : nibble((*p)[1]);
        if (low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* A thread: a CPU's number and one. A process before it is passed over. */
#define ALL  (-1) /* -1, or 0: any */
#define NONE (-2)

static int thread(struct gdb_remote *g, char **p)
{
    uint64_t v;
    if (skip(p, 'p')) {
        if (!skip(p, '-') && !number(p, &v))
            return NONE;
        if (!skip(p, '.'))
            return ALL;
    }
    if (skip(p, '-'))
        return skip(p, '1') ? ALL : NONE;
    if (!number(p, &v) || v > machine_cpu_count(g->machine))
        return NONE;
    return (int)v - 1;
}

static struct cpu *cpu_of(struct gdb_remote *g)
{
    return machine_cpu(g->machine, g->cpu);
}

/* Threads. */

static void set_thread(struct gdb_remote *g, char *p)
{
    char kind = *p++;
    int cpu = thread(g, &p);
    if ((kind != 'g' && kind != 'c') || cpu == NONE) {
        no(g);
        return;
    }
    if (kind == 'c')
        g->cpu_run = cpu;
    else if (cpu >= 0)
        g->cpu = (unsigned)cpu;
    ok(g);
}

static void thread_alive(struct gdb_remote *g, char *p)
{
    if (thread(g, &p) != NONE)
        ok(g);
    else
        no(g);
}

static void thread_now(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "QC%02x", g->cpu + 1);
}

static void thread_list(struct gdb_remote *g, char *p)
{
    char text[8 * CPU_MAX] = "m";
    size_t n = 1;
    for (unsigned i = 0; i < machine_cpu_count(g->machine); i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%02x", i ? "," : "", i + 1);
    gdb_answer(g, "%s", text);
}

static void thread_list_end(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "l");
}

static void thread_text(struct gdb_remote *g, char *p)
{
    static const char *const activity[] = {"running", "halted", "waits for start-up", "shut down"};
    char text[60];
    int cpu = thread(g, &p);
    if (cpu < 0) {
        no(g);
        return;
    }
    struct cpu *c = machine_cpu(g->machine, (unsigned)cpu);
    snprintf(text, sizeof text, "CPU#%d [%s]", cpu, activity[c->s.activity & 3]);
    gdb_answer_hex(g, text, strlen(text));
}

/* Registers. */

static const struct reg_row *row(struct gdb_remote *g, uint64_t n)
{
    unsigned count;
    const struct reg_row *r = regs_table(g->regs, &count);
    return n < count ? &r[n] : NULL;
}

static void add_register(struct gdb_remote *g, const struct reg_row *r)
{
    uint8_t v[REG_BYTES];
    regs_get(cpu_of(g), r, v);
    gdb_add_hex(g, v, r->bits / 8);
}

static bool write_register(struct gdb_remote *g, const struct reg_row *r, const uint8_t *v)
{
    bool done = regs_set(cpu_of(g), r, v);
    if (done && (r->kind == REG_IP || (r->kind == REG_SEG && r->n == SEG_CS)))
        debug_moved(g->machine, g->cpu);
    return done;
}

static void read_all(struct gdb_remote *g, char *p)
{
    gdb_begin_answer(g);
    for (unsigned i = 0; row(g, i); i++)
        add_register(g, row(g, i));
    gdb_send(g);
}

/* Some registers are in the list by two names: what counts is which one was changed. */
static void write_all(struct gdb_remote *g, char *p)
{
    uint8_t old[REGS_MAX][REG_BYTES], v[REG_BYTES];
    const struct reg_row *r;
    for (unsigned i = 0; (r = row(g, i)) != NULL; i++)
        regs_get(cpu_of(g), r, old[i]);
    for (unsigned i = 0; (r = row(g, i)) != NULL; i++) {
        if (!bytes(&p, v, r->bits / 8))
            break; /* fewer than there are: the rest stays */
        if (memcmp(v, old[i], r->bits / 8))
            write_register(g, r, v);
    }
    if (*p)
        no(g);
    else
        ok(g);
}

static void read_one(struct gdb_remote *g, char *p)
{
    uint64_t n;
    const struct reg_row *r = number(&p, &n) ? row(g, n) : NULL;
    if (!r) {
        gdb_answer(g, "E45");
        return;
    }
    gdb_begin_answer(g);
    add_register(g, r);
    gdb_send(g);
}

static void write_one(struct gdb_remote *g, char *p)
{
    uint64_t n;
    uint8_t v[REG_BYTES];
    const struct reg_row *r = number(&p, &n) ? row(g, n) : NULL;
    if (r && skip(&p, '=') && bytes(&p, v, r->bits / 8) && !*p && write_register(g, r, v))
        ok(g);
    else
        no(g);
}

/* Memory. */

static bool range(char **p, uint64_t *at, uint64_t *n)
{
    return number(p, at) && skip(p, ',') && number(p, n);
}

/* Whose memory: lldb asks for registers of one thread after another and then for memory, as if that
 * were all threads' own. A CPU that waits for its start-up has no page tables to speak of, so it is
 * another's. */
static unsigned memory_cpu(const struct gdb_remote *g)
{
    unsigned n = machine_cpu_count(g->machine);
    for (unsigned i = 0; i < n; i++)
        if (machine_cpu(g->machine, (g->cpu + i) % n)->s.activity != ACT_WAIT_SIPI)
            return (g->cpu + i) % n;
    return g->cpu;
}

static void read_memory(struct gdb_remote *g, char *p)
{
    uint8_t buf[GDB_PACKET / 2];
    uint64_t at, n;
    if (!range(&p, &at, &n)) {
        no(g);
        return;
    }
    n = min_u64(n, sizeof buf);
    size_t got = debug_read(g->machine, memory_cpu(g), g->physical, at, buf, n);
    if (n && !got) {
        gdb_answer(g, "E14");
        return;
    }
    gdb_answer_hex(g, buf, got);
}

static void put_memory(struct gdb_remote *g, uint64_t at, const uint8_t *buf, uint64_t n)
{
    if (debug_write(g->machine, memory_cpu(g), g->physical, at, buf, n) == n)
        ok(g);
    else
        gdb_answer(g, "E14");
}

static void write_memory(struct gdb_remote *g, char *p)
{
    uint8_t buf[GDB_PACKET / 2];
    uint64_t at, n;
    if (range(&p, &at, &n) && skip(&p, ':') && n <= sizeof buf && bytes(&p, buf, n))
        put_memory(g, at, buf, n);
    else
        no(g);
}

/* The same with bytes as they are; 7d says that the next one is xor'ed with 20. */
static void write_binary(struct gdb_remote *g, char *p)
{
    const char *end = g->in + g->in_size;
    uint8_t buf[GDB_PACKET];
    uint64_t at, n, got = 0;
    if (!range(&p, &at, &n) || !skip(&p, ':')) {
        no(g);
        return;
    }
    for (; p < end && got < sizeof buf; p++) {
        bool escaped = *p == 0x7d && p + 1 < end;
        p += escaped;
        buf[got++] = (uint8_t)*p ^ (escaped ? 0x20 : 0);
    }
    if (got == n)
        put_memory(g, at, buf, n);
    else
        no(g);
}

/* Breakpoints and watchpoints. To insert one twice is to insert it once. */

static bool keep(struct gdb_remote *g, const struct gdb_stop *s)
{
    if (g->stop_count == GDB_STOPS)
        return false;
    if (g->stop_count == g->stop_room) {
        unsigned room = g->stop_room ? 2 * g->stop_room : 16;
        struct gdb_stop *more = realloc(g->stops, room * sizeof *more);
        if (!more)
            return false;
        g->stops = more;
        g->stop_room = room;
    }
    g->stops[g->stop_count++] = *s;
    return true;
}

static struct gdb_stop *held(struct gdb_remote *g, const struct gdb_stop *s)
{
    for (unsigned i = 0; i < g->stop_count; i++) {
        struct gdb_stop *x = &g->stops[i];
        if (x->addr == s->addr && x->length == s->length && x->type == s->type)
            return x;
    }
    return NULL;
}

static bool parse_stop(char *p, struct gdb_stop *s)
{
    uint64_t type;
    if (!number(&p, &type) || type > 4 || !skip(&p, ',') || !range(&p, &s->addr, &s->length))
        return false;
    s->type = (uint8_t)type;
    return true;
}

static const uint8_t watch_kind[] = {WATCH_WRITE, WATCH_READ, WATCH_READ | WATCH_WRITE};

static void insert(struct gdb_remote *g, char *p)
{
    struct gdb_stop s;
    bool done = true;
    if (!parse_stop(p, &s)) {
        no(g);
        return;
    }
    if (!held(g, &s)) {
        done = g->stop_count < GDB_STOPS &&
               (s.type < 2 ? debug_break_add(g->machine, s.addr)
                           : debug_watch_add(g->machine, s.addr, s.length, watch_kind[s.type - 2]));
        done = done && keep(g, &s);
    }
    if (done)
        ok(g);
    else
        no(g);
}

static void take_away(struct gdb_remote *g, char *p)
{
    struct gdb_stop s, *x;
    if (!parse_stop(p, &s)) {
        no(g);
        return;
    }
    x = held(g, &s);
    if (x) {
        if (s.type < 2)
            debug_break_remove(g->machine, s.addr);
        else
            debug_watch_remove(g->machine, s.addr, s.length, watch_kind[s.type - 2]);
        *x = g->stops[--g->stop_count];
    }
    ok(g);
}

/* Going on. */

/* One CPU's act by the letter of vCont. */
static void act(struct gdb_remote *g, unsigned cpu, char letter, uint64_t low, uint64_t high)
{
    bool steps = letter == 's' || letter == 'S' || letter == 'r';
    debug_act(g->machine, cpu, steps ? DEBUG_STEPS : DEBUG_RUN, low, high);
}

/* c, s, C, S: all CPUs go on, one of them by a step. */
static void go_on(struct gdb_remote *g, char letter, char *p)
{
    uint64_t v;
    uint8_t buf[8];
    bool step = letter == 's' || letter == 'S';
    unsigned chosen = g->cpu_run >= 0 ? (unsigned)g->cpu_run : g->cpu;
    if (letter == 'C' || letter == 'S') {
        number(&p, &v);
        skip(&p, ';');
    }
    if (number(&p, &v)) {
        unsigned count;
        const struct reg_row *ip = regs_table(g->regs, &count);
        while (ip->kind != REG_IP)
            ip++;
        put_le64(buf, v);
        g->cpu = chosen;
        write_register(g, ip, buf);
    }
    for (unsigned i = 0; i < machine_cpu_count(g->machine); i++)
        act(g, i, step && i == chosen ? 's' : 'c', 0, 0);
    gdb_go(g);
}

static void go_c(struct gdb_remote *g, char *p)
{
    go_on(g, 'c', p);
}
static void go_C(struct gdb_remote *g, char *p)
{
    go_on(g, 'C', p);
}
static void go_s(struct gdb_remote *g, char *p)
{
    go_on(g, 's', p);
}
static void go_S(struct gdb_remote *g, char *p)
{
    go_on(g, 'S', p);
}

struct order {
    char letter;
    int cpu;
    uint64_t low, high;
};

static bool parse_order(struct gdb_remote *g, char **p, struct order *o)
{
    uint64_t v;
    *o = (struct order){.letter = **p, .cpu = ALL};
    if (!o->letter || !strchr("cCsSr", o->letter))
        return false;
    ++*p;
    if ((o->letter == 'C' || o->letter == 'S') && !number(p, &v))
        return false;
    if (o->letter == 'r' && !range(p, &o->low, &o->high))
        return false;
    if (skip(p, ':'))
        o->cpu = thread(g, p);
    return o->cpu != NONE;
}

/* The first order that names a CPU is its own; a CPU without one stands still. */
static void go_cont(struct gdb_remote *g, char *p)
{
    struct order order[CPU_MAX + 1];
    unsigned n = 0, moving = 0, cpus = machine_cpu_count(g->machine);
    while (skip(&p, ';')) {
        if (n == ARRAY_LEN(order) || !parse_order(g, &p, &order[n])) {
            no(g);
            return;
        }
        n++;
    }
    if (!n || *p) {
        no(g);
        return;
    }
    for (unsigned i = 0; i < cpus; i++) {
        unsigned k = 0;
        while (k < n && order[k].cpu != ALL && order[k].cpu != (int)i)
            k++;
        if (k < n)
            act(g, i, order[k].letter, order[k].low, order[k].high);
        else
            debug_act(g->machine, i, DEBUG_HOLD, 0, 0);
        moving += k < n;
    }
    if (moving)
        gdb_go(g);
    else
        no(g);
}

static void what_cont(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "vCont;c;C;s;S;r");
}

/* Non-stop mode would let a debugger look at one CPU while the others run. Here all stop together,
 * and gdb, which does not find the mode in qSupported, says so before it asks. */
static void set_non_stop(struct gdb_remote *g, char *p)
{
    if (!strcmp(p, "0"))
        ok(g);
    else
        gdb_answer(g, "E.ishi stops as a whole: there is no non-stop mode");
}

static void go_away(struct gdb_remote *g, char *p)
{
    ok(g);
    g->detach(g->opaque);
}

static void end_now(struct gdb_remote *g, char *p)
{
    g->kill(g->opaque);
}

static void end_process(struct gdb_remote *g, char *p)
{
    ok(g);
    g->kill(g->opaque);
}

/* Questions and settings. */

static void reason(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "%s", g->reason);
}

static void supported(struct gdb_remote *g, char *p)
{
    g->swbreak = strstr(p, "swbreak+") != NULL;
    g->hwbreak = strstr(p, "hwbreak+") != NULL;
    gdb_answer(g,
               "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+;swbreak+;"
               "hwbreak+",
               GDB_PACKET);
}

static void no_ack(struct gdb_remote *g, char *p)
{
    ok(g);
    g->no_ack = true;
}

static void attached(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "1"); /* so that gdb detaches when it ends, rather than kill */
}

static void features(struct gdb_remote *g, char *p)
{
    uint64_t at, n;
    size_t size = strlen(g->description);
    if (!range(&p, &at, &n)) {
        no(g);
        return;
    }
    if (at >= size) {
        gdb_answer(g, "l");
        return;
    }
    n = min_u64(min_u64(n, size - at), GDB_PACKET - 1);
    gdb_answer(g, "%c%.*s", at + n < size ? 'm' : 'l', (int)n, g->description + at);
}

/* What lldb asks to know the processor by; it takes the answer over its program's, so it gets none
 * where both kinds may come. */
static void host(struct gdb_remote *g, char *p)
{
    if (g->regs == REGS_BOTH) {
        gdb_answer(g, "%s", "");
        return;
    }
    const char *triple = g->regs == REGS_32 ? "i386-unknown-unknown" : "x86_64-unknown-unknown";
    gdb_begin_answer(g);
    gdb_add(g, "triple:");
    gdb_add_hex(g, (const uint8_t *)triple, strlen(triple));
    gdb_add(g, ";ptrsize:%u;endian:little;", g->regs == REGS_32 ? 4 : 8);
    gdb_send(g);
}

static void command(struct gdb_remote *g, char *p)
{
    char line[512];
    size_t n = strlen(p) / 2;
    if (n >= sizeof line || !bytes(&p, (uint8_t *)line, n)) {
        no(g);
        return;
    }
    line[n] = 0;
    monitor_run(&g->monitor, line);
    ok(g);
}

static void get_physical(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "%u", g->physical);
}

static void set_physical(struct gdb_remote *g, char *p)
{
    g->physical = *p != '0';
    ok(g);
}

static void step_bits(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "ENABLE=%x,NOIRQ=%x,NOTIMER=%x", SSTEP_ENABLE, SSTEP_NOIRQ, SSTEP_NOTIMER);
}

static void get_step(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "0x%x", g->sstep);
}

static void set_step(struct gdb_remote *g, char *p)
{
    uint64_t v;
    if (p[0] == '0' && (p[1] | 32) == 'x')
        p += 2;
    if (!number(&p, &v) || v > (SSTEP_ENABLE | SSTEP_NOIRQ | SSTEP_NOTIMER)) {
        no(g);
        return;
    }
    g->sstep = (unsigned)v;
    debug_step_flags(g->machine, v & SSTEP_NOIRQ ? DEBUG_NOIRQ : 0);
    ok(g);
}

static void agree(struct gdb_remote *g, char *p)
{
    ok(g);
}

static void refuse(struct gdb_remote *g, char *p)
{
    no(g);
}

static void nothing(struct gdb_remote *g, char *p)
{
    gdb_answer(g, "%s", "");
}

/* The first that the packet begins with is taken. */
static const struct {
    const char *name;
    void (*run)(struct gdb_remote *g, char *rest);
} packets[] = {
    {"?", reason},
    {"!", agree},
    {"vCont?", what_cont},
    {"vCont", go_cont},
    {"vKill;", end_process},
    {"vRun", refuse},
    {"vAttach;", reason},
    {"v", nothing},
    {"qSupported", supported},
    {"QStartNoAckMode", no_ack},
    {"QNonStop:", set_non_stop},
    {"qXfer:features:read:target.xml:", features},
    {"qAttached", attached},
    {"qC", thread_now},
    {"qfThreadInfo", thread_list},
    {"qsThreadInfo", thread_list_end},
    {"qThreadExtraInfo,", thread_text},
    {"qHostInfo", host},
    {"qRcmd,", command},
    {"qqemu.PhyMemMode", get_physical},
    {"Qqemu.PhyMemMode:", set_physical},
    {"qqemu.sstepbits", step_bits},
    {"qqemu.sstep", get_step},
    {"Qqemu.sstep=", set_step},
    {"q", nothing},
    {"Q", nothing},
    {"g", read_all},
    {"G", write_all},
    {"p", read_one},
    {"P", write_one},
    {"m", read_memory},
    {"M", write_memory},
    {"X", write_binary},
    {"Z", insert},
    {"z", take_away},
    {"H", set_thread},
    {"T", thread_alive},
    {"c", go_c},
    {"C", go_C},
    {"s", go_s},
    {"S", go_S},
    {"D", go_away},
    {"k", end_now},
};

void gdb_packet(struct gdb_remote *g, char *p, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
        size_t k = strlen(packets[i].name);
        if (!strncmp(p, packets[i].name, k)) {
            packets[i].run(g, p + k);
            return;
        }
    }
    nothing(g, p);
}
