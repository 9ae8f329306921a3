/* ishi beside a machine behind a gdb stub.
 *
 * The other machine is a CPU and memory; the devices are ishi's. The comparison is an engine that
 * wraps the interpreter: it lets ishi execute one instruction after the other and keeps the state
 * before each in a window. At an instruction that is ishi's alone (compare_rules.c) and before an
 * interrupt, the other machine is sent after it: it executes the window's instructions, each state
 * it shows on the way is compared, and at the end its registers and all memory that ishi wrote.
 * Then ishi does the instruction, or takes the interrupt, and what that changed is handed over. So
 * both take every interrupt and see every device at the same instruction.
 *
 * An interrupt may wait for a place that the other machine can be stopped at by a breakpoint: an
 * address that the window does not have yet. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/intr.h"
#include "cpu/mem.h"
#include "front/commands.h"
#include "front/lockstep.h"

#define LATE        8000000 /* instructions that an interrupt waits at most for a good place */
#define PROGRESS_NS 10000000000ull
#define LAPIC_ID    0xfee00020 /* 0 for the only CPU, as is the other machine's memory there */
#define PLACE_OLD   64         /* times that the other machine may come upon the place before */
#define FRESH_AT    8192       /* from here on the window ends at the next new address */
#define LONG_REPEAT 500        /* iterations of a string instruction that are not worth logging */

/* --- the engine ------------------------------------------------------------------------------- */

/* What was written between two runs came from devices. */
static bool take_dma(struct lockstep *l)
{
    uint8_t *dma = xcalloc(lockstep_pages(l), 1);
    bool ok = true;
    if (lockstep_harvest(l, dma)) {
        ok = lockstep_sync(l, dma);
        l->used[RULE_DMA]++;
        lockstep_give_pages(l, dma);
    }
    free(dma);
    return ok;
}

static bool is_new(struct lockstep *l, uint64_t la)
{
    return l->seen[(la ^ la >> SEEN_BITS) & ((1u << SEEN_BITS) - 1)] != la + 1;
}

static bool wants_interrupt(const struct cpu *c)
{
    bool shadow = c->s.shadow && c->s.shadow_at == c->s.icount;
    return (c->request & (REQ_INIT | REQ_SIPI)) ||
           ((c->request & REQ_NMI) && !c->s.nmi_blocked && !shadow) ||
           ((c->request & REQ_INTR) && (c->s.rflags & EF_IF) && !shadow);
}

/* False: leave the run with *why. */
static bool attend(struct lockstep *l, struct cpu *c, enum engine_exit *why)
{
    struct snap before;
    bool halted = c->s.activity != ACT_RUN;
    *why = ENGINE_REQUEST;
    if (!halted &&
        (!wants_interrupt(c) || (l->count && l->count < WINDOW - 1 && !is_new(l, lockstep_pc(c)))))
        return true;
    if (!lockstep_sync(l, NULL))
        return false;
    snap_take(&before, c);
    *why = ENGINE_SHUTDOWN;
    if (!cpu_interrupt(c))
        return false;
    *why = ENGINE_HALT;
    if (c->s.activity != ACT_RUN)
        return false;
    lockstep_hand_over(l, &before, RULE_INTERRUPT);
    *why = ENGINE_REQUEST;
    return !l->ended;
}

/* x87 state, LDTR and TR count from the first instruction that sets them. */
static void learn(struct lockstep *l, const struct insn *in)
{
    static const char *const fpu[] = {"fninit", "frstor", "fnsave", "fxrstor", "xrstor"};
    for (size_t i = 0; i < ARRAY_LEN(fpu) && !l->fpu_known; i++)
        l->fpu_known = !strncmp(in->row->name, fpu[i], strlen(fpu[i]));
    if (!strcmp(in->row->name, "ltr"))
        l->system_known = true;
}

static void taint(struct lockstep *l, const struct insn *in)
{
    const struct isa_row *r = in->row;
    if (r->flags_written & ~r->flags_read) /* what it may leave alone is read too */
        l->undefined &= ~(r->flags_written & ~r->flags_read);
    l->undefined |= r->flags_undefined;
}

/* The instruction at RIP. NULL: it can't be fetched, or is none. */
static const struct insn *fetch(struct cpu *c, struct insn *in)
{
    uint8_t bytes[ISA_MAX_LEN];
    size_t n = mmu_peek(c, lockstep_pc(c), bytes, sizeof bytes);
    return isa_decode(in, bytes, n, c->key & KEY_CODE, &c->features) == ISA_OK ? in : NULL;
}

/* ishi's instruction alone; all iterations of a repeated one. */
static enum engine_exit run_alone(struct lockstep *l, struct cpu *c, uint64_t end, enum rule r)
{
    struct snap before;
    enum engine_exit why;
    uint64_t rip = c->s.rip;
    bool polls = lockstep_polls(l, r);
    if (!polls && !lockstep_sync(l, NULL))
        return ENGINE_REQUEST;
    snap_take(&before, c);
    c->alone.pass = true;
    do
        why = soft_run(c, 1);
    while (why == ENGINE_BUDGET && c->s.rip == rip && c->s.icount < end &&
           !(c->request & (REQ_INTR | REQ_EXIT)));
    c->alone.pass = false;
    if (polls) {
        lockstep_poll_keep(l, r);
        return why;
    }
    l->steps++;
    l->met = c->s.icount;
    lockstep_hand_over(l, &before, r);
    return why;
}

/* Is the last position of the window a string instruction that is not done? */
static bool amid_repeat(const struct lockstep *l, const struct cpu *c)
{
    const struct step *last = &l->window[l->count ? l->count - 1 : 0];
    return l->count && last->repeats && last->s.w[SW_RIP] == c->s.rip && last->la == lockstep_pc(c);
}

static bool repeats(const struct insn *in)
{
    return in->rep && in->row->attr & (A_REP | A_REPZ);
}

static bool is_long_repeat(const struct cpu *c, const struct insn *in)
{
    uint64_t n = c->s.r[R_CX] & (in->asize == 8 ? ~0ull : BIT(8 * in->asize) - 1);
    return repeats(in) && n > LONG_REPEAT;
}

/* One by itself: the other machine's states within it are neither logged nor compared. */
static enum engine_exit run_long_repeat(struct lockstep *l, struct cpu *c, uint64_t end)
{
    uint64_t rip = c->s.rip;
    enum engine_exit why;
    if (!lockstep_sync(l, NULL))
        return ENGINE_REQUEST;
    lockstep_note(l);
    l->window[0].repeats = true;
    l->count = 1;
    do
        why = soft_run(c, 1);
    while (why == ENGINE_BUDGET && c->s.rip == rip);
    witness_log(&l->w, false);
    bool ok = lockstep_sync(l, NULL);
    witness_log(&l->w, true);
    return ok ? why : ENGINE_REQUEST;
}

static enum engine_exit run_both(struct lockstep *l, struct cpu *c, const struct insn *in,
                                 uint64_t end)
{
    uint64_t la = lockstep_pc(c), icount = c->s.icount, rip = c->s.rip;
    bool more = amid_repeat(l, c);
    if (!more && in && is_long_repeat(c, in))
        return run_long_repeat(l, c, end);
    if (!more && (l->count >= WINDOW || (l->count >= FRESH_AT && is_new(l, la))) &&
        !lockstep_sync(l, NULL))
        return ENGINE_REQUEST;
    if (!more) {
        lockstep_note(l);
        l->window[l->count].repeats = in && repeats(in);
    }
    bool all = more || l->window[l->count].repeats;
    enum engine_exit why;
    do
        why = soft_run(c, 1);
    while (all && why == ENGINE_BUDGET && c->s.rip == rip && c->s.icount < end);
    if (c->s.icount == icount)
        return why;
    l->seen[(la ^ la >> SEEN_BITS) & ((1u << SEEN_BITS) - 1)] = la + 1;
    l->count += !more;
    if (in) {
        taint(l, in);
        learn(l, in);
    }
    return why;
}

static bool enter(struct lockstep *l)
{
    struct snap s;
    l->entered = true;
    snap_take(&s, l->c);
    for (unsigned i = 0; i < LOW_PAGES; i++) {
        bool writable;
        uint8_t *flags;
        l->low[i] = bus_page(l->bus, (uint64_t)(LOW_FIRST + i) << PAGE_SHIFT, &writable, &flags);
    }
    lockstep_harvest(l, l->written);
    memset(l->written, 0, lockstep_pages(l));
    if (!l->w.ram)
        return true;
    for (uint64_t at = 0; at < WITNESS_RAM; at += PAGE_SIZE) {
        bool writable;
        uint8_t *flags, *host = bus_page(l->bus, at, &writable, &flags);
        static const uint8_t zero[PAGE_SIZE];
        if (host && memcmp(host, zero, PAGE_SIZE))
            memcpy(l->w.ram + at, host, PAGE_SIZE);
    }
    l->system_known = s.w[SW_BASE(SEG_CS)] == 0xffff0000;
    return witness_enter(&l->w, &s, &l->e) || lockstep_stop(l);
}

static void inject(struct lockstep *l, struct cpu *c, uint64_t steps)
{
    if (!l->o->inject || l->injected || steps < l->o->inject)
        return;
    l->injected = true;
    c->s.r[R_BX] ^= BIT(3);
}

static bool at_repeat(struct cpu *c, struct insn *in)
{
    return fetch(c, in) && repeats(in);
}

/* Grain sync: ishi runs freely from one instruction that is its own to the next. */
static enum engine_exit run_free(struct lockstep *l, struct cpu *c, uint64_t end)
{
    struct insn in;
    enum engine_exit why = ENGINE_REQUEST;
    uint8_t hit = c->alone.hit;
    bool late = wants_interrupt(c) && l->waiting && c->s.icount - l->waiting > LATE &&
                !at_repeat(c, &in); /* its iterations would all be met */
    c->alone.hit = 0;
    l->sure = hit == ALONE_ALWAYS;
    l->waiting = !wants_interrupt(c) ? 0 : l->waiting ? l->waiting : c->s.icount;
    if (hit || late || c->s.activity != ACT_RUN) {
        uint64_t taken = l->used[RULE_INTERRUPT];
        if (!attend(l, c, &why))
            return why;
        if (taken != l->used[RULE_INTERRUPT]) {
            l->waiting = 0;
            return ENGINE_BUDGET;
        }
    }
    if (hit) {
        const struct insn *known = fetch(c, &in);
        enum rule r = known ? rule_of_insn(l->by_row, c, known) : RULE_NONE;
        if (hit == ALONE_DEVICE && r == RULE_NONE)
            r = RULE_DEVICE;
        uint32_t held = c->request & REQ_INTR;
        __atomic_fetch_and(&c->request, ~held, __ATOMIC_SEQ_CST);
        c->alone.pass = true;
        why = r == RULE_NONE ? soft_run(c, 1) : run_alone(l, c, end, r);
        c->alone.pass = false;
        cpu_request(c, held);
        return why;
    }
    if (l->o->every && c->s.icount - l->met >= l->o->every && !lockstep_sync(l, NULL))
        return ENGINE_REQUEST;
    inject(l, c, c->s.icount);
    c->stop.hold = true;
    why = soft_run(c, min_u64(l->o->every ? l->o->every : end, end - c->s.icount));
    c->stop.hold = false;
    return why == ENGINE_REQUEST && c->alone.hit ? ENGINE_BUDGET : why;
}

/* From sync to insn; both machines are at the same place. */
static void look_closer(struct lockstep *l, struct cpu *c)
{
    l->free = false;
    c->alone.rows = NULL;
    c->alone.hit = 0;
    witness_fine(&l->w);
    l->count = 0;
}

static enum engine_exit lockstep_run(struct cpu *c, uint64_t budget)
{
    struct lockstep *l = c->watcher;
    uint64_t end = c->s.icount + budget;
    enum engine_exit why = ENGINE_REQUEST;
    if (l->ended || (!l->entered && !enter(l)) || !take_dma(l))
        return ENGINE_REQUEST;
    while (c->s.icount < end && !l->ended) {
        struct insn in;
        if (c->request & (REQ_EXIT | REQ_YIELD)) {
            __atomic_fetch_and(&c->request, ~(uint32_t)(REQ_EXIT | REQ_YIELD), __ATOMIC_SEQ_CST);
            break;
        }
        if (l->free && l->o->from && l->steps >= l->o->from && c->s.icount == l->met)
            look_closer(l, c);
        if (l->free) {
            uint64_t before = c->s.icount;
            why = run_free(l, c, end);
            if (l->o->steps && l->steps + (c->s.icount - l->met) >= l->o->steps && !l->ended) {
                lockstep_sync(l, NULL);
                lockstep_stop(l);
            }
            if (why != ENGINE_BUDGET && !(why == ENGINE_REQUEST && c->s.icount != before))
                break;
            continue;
        }
        if (!attend(l, c, &why))
            break;
        inject(l, c, l->steps + l->count);
        const struct insn *known = fetch(c, &in);
        enum rule r = known ? rule_of_insn(l->by_row, c, known) : RULE_NONE;
        uint32_t held = c->request & REQ_INTR;
        uint64_t before = c->s.icount;
        __atomic_fetch_and(&c->request, ~held, __ATOMIC_SEQ_CST);
        why = r == RULE_NONE ? run_both(l, c, known, end) : run_alone(l, c, end, r);
        cpu_request(c, held);
        if (l->o->steps && l->steps + l->count >= l->o->steps && !amid_repeat(l, c)) {
            lockstep_sync(l, NULL);
            lockstep_stop(l);
            break;
        }
        if (why != ENGINE_BUDGET && !(why == ENGINE_REQUEST && c->s.icount != before))
            break;
    }
    lockstep_harvest(l, l->written);
    return l->ended ? ENGINE_REQUEST : c->s.icount >= end ? ENGINE_BUDGET : why;
}

/* The guest is not told of what QEMU's TCG can't do (as of 7.2). */
static bool join(struct cpu **cpus, unsigned n, struct err *e)
{
    static const enum isa_feature hidden[] = {FEAT_PCID, FEAT_INVPCID, FEAT_SHA, FEAT_XSAVEC};
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
        cpus[0]->features.word[hidden[i] >> 6] &= ~BIT(hidden[i] & 63);
    soft_join(cpus, n);
    return true;
}

static const struct engine lockstep_engine = {.name = "lockstep",
                                              .text = "interpreter beside another machine",
                                              .join = join,
                                              .part = soft_part,
                                              .run = lockstep_run};

/* --- the command ------------------------------------------------------------------------------ */

static void tell_rules(const struct lockstep *l)
{
    for (unsigned i = 1; i < RULE_COUNT; i++) {
        if (l->used[i])
            printf("  %-16s %10" PRIu64 "  %s\n", compare_rules[i].name, l->used[i],
                   compare_rules[i].text);
    }
}

/* Is this a good place to take the interrupt that waits? The other machine comes upon a breakpoint
 * here as often as ishi was here since the last meeting; so a place is good that is new, or the
 * longer it waits, not too old. */
static bool is_good_place(struct cpu *c, uint64_t la)
{
    struct lockstep *l = c->watcher;
    struct place *p = &l->place[(la ^ la >> PLACE_BITS) & ((1u << PLACE_BITS) - 1)];
    if (p->met != l->met) /* several addresses may share a count: it is not too small then */
        *p = (struct place){l->met, 0};
    uint64_t before = p->count++;
    if (!wants_interrupt(c))
        return false;
    l->waiting = l->waiting ? l->waiting : c->s.icount;
    uint64_t waits = c->s.icount - l->waiting;
    return before <= (waits < LATE / 8 ? min_u64(waits / 256, PLACE_OLD) : waits / 256);
}

/* Where the engine is left in a free run. */
static uint8_t *alone_by_row(const uint8_t *by_row)
{
    static const char *const places[] = {"cli", "pushf/pushfd/pushfq", "syscall", "int", "ret"};
    uint8_t *rows = xcalloc(isa_row_count, 1);
    for (unsigned i = 0; i < isa_row_count; i++) {
        rows[i] = by_row[i] ? ALONE_ALWAYS : 0;
        for (size_t k = 0; k < ARRAY_LEN(places); k++) {
            if (!strcmp(isa_rows[i].name, places[k]))
                rows[i] = ALONE_PLACE;
        }
        if (!strcmp(isa_rows[i].name, "pause")) /* it waits for the interrupt, perhaps */
            rows[i] = ALONE_INTERRUPT;
    }
    return rows;
}

static void tell_progress(const struct lockstep *l, uint64_t start)
{
    fflush(stdout);
    fprintf(stderr, "ishi: %" PRIu64 " of %" PRIu64 " instructions compared, ", l->steps,
            machine_icount(l->side.machine));
    fprintf(stderr, "%" PRIu64 " meetings, %" PRIu64 " stops, %.0f s; at %" PRIx64 "\n", l->syncs,
            l->stops, (double)(host_now() - start) / 1e9, lockstep_pc(l->c));
}

static int run(struct lockstep *l)
{
    enum machine_event event;
    struct err e = {0};
    uint64_t start = host_now(), told = start;
    do {
        event = machine_run(l->side.machine, &e);
        if (!l->o->quiet && host_now() - told > PROGRESS_NS) {
            told = host_now();
            tell_progress(l, start);
        }
    } while (event == MACHINE_SLICE);
    if (!l->ended && event != MACHINE_STOPPED)
        lockstep_sync(l, NULL);
    double s = (double)(host_now() - start) / 1e9;
    printf("\nishi: against %s: %" PRIu64 " steps in %.1f s, %.0f a second, %" PRIu64
           " hand-overs and other meetings; ",
           l->w.name, l->steps, s, (double)l->steps / s, l->syncs);
    if (l->e.code)
        printf("%s\n", l->e.text);
    else
        printf(l->different ? "a difference\n" : "no unexplained difference\n");
    printf("Rules used:\n");
    tell_rules(l);
    if (l->poll.loops)
        printf("%" PRIu64
               " loops of port, device and counter instructions were left to ishi after %u "
               "meetings: %" PRIu64 " steps, not compared.\n",
               l->poll.loops, POLL_AFTER, l->poll.steps);
    return l->different ? STATUS_DIFFERENT : l->e.code ? STATUS_HOST : STATUS_OK;
}

int compare_stub(const struct compare_options *co, const struct options *o)
{
    struct lockstep *l = xcalloc(1, sizeof *l);
    struct options mine = *o;
    struct err e = {0};
    int status = STATUS_BAD;
    l->o = co;
    l->by_row = rules_by_row();
    l->window = xcalloc(WINDOW + 2, sizeof *l->window);
    mine.engine = &lockstep_engine;
    bool ok = mine.cpus == 1 || err_set(&e, ERR_UNSUPPORTED, "compare --with takes one CPU");
    ok = ok && (mine.mem <= PCI_HOLE ||
                err_set(&e, ERR_UNSUPPORTED, "compare --with takes at most 3G of memory"));
    ok = ok && compare_open(&l->side, &mine, !co->quiet, &e) &&
         (strcmp(co->with, "qemu") ? witness_connect(&l->w, co->with, &e)
                                   : witness_qemu(&l->w, co->grain, co->from != 0, &e));
    if (ok) {
        l->c = machine_cpu(l->side.machine, 0);
        l->c->watcher = l;
        if (co->grain == GRAIN_SYNC && !strcmp(co->with, "qemu"))
            l->c->alone.rows = l->alone_rows = alone_by_row(l->by_row);
        l->c->alone.place = is_good_place;
        l->c->alone.same = LAPIC_ID;
        l->free = co->grain == GRAIN_SYNC;
        l->bus = machine_bus(l->side.machine);
        l->written = xcalloc(lockstep_pages(l), 1);
        l->ever = xcalloc(lockstep_pages(l), 1);
        machine_stop_on_reboot(l->side.machine, true);
        status = run(l);
    } else {
        fprintf(stderr, "ishi: %s\n", e.text);
    }
    witness_close(&l->w);
    compare_close(&l->side);
    free(l->by_row);
    free(l->alone_rows);
    free(l->window);
    free(l->written);
    free(l->ever);
    free(l);
    return status;
}
