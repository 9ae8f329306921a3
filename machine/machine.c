/* The loop: CPUs take turns, in order, for a quantum of instructions each; between turns the
 * clock's timers fire and the outside is looked at.
 *
 * Determinism on the virtual clock: time is NS_PER_INSN for each instruction that any CPU executes,
 * a turn ends exactly at the next timer, and what may cut machine_run() short (its slice) never
 * moves a turn's end. An access to a device that sets an earlier timer ends the turn at that
 * instruction. */
#include "machine/machine.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "machine/debug.h"
#include "machine/pc.h"

#define NS_PER_INSN 4       /* virtual clock: 250 million instructions a second */
#define TURN        500     /* instructions of a CPU's turn: so many to three times as many … */
#define TURN_MORE   1500    /* … and up to so many until it takes a lock */
#define TURN_ALONE  5000    /* while no other CPU has anything to do */
#define TURN_SHORT  32      /* while a lock is fought for, so many to half as many more … */
#define CONTEST     2000000 /* … until no CPU has found one taken for so many */
#define CHUNK       60000   /* instructions between looks at the host's clock, at most … */
#define CHUNK_MIN   250     /* … and at least … */
#define NS_SLOW     16      /* … as a timer that is near wants it, if one takes so long */
#define SPIN_INSNS  64      /* a PAUSE in so many: the guest waits for time to pass … */
#define SPIN_NS     50000   /* … and the host's processor may do something else for so long */
#define SLICE       200000  /* instructions in one machine_run() */
#define TSC_HZ      1000000000ull

struct machine_state {
    uint64_t now;     /* virtual clock: ns when the present turn's instructions began to count */
    uint64_t total;   /* instructions executed by all CPUs */
    uint32_t current; /* whose turn it is */
    uint32_t quantum; /* instructions left in it */
    uint32_t dice;    /* for the length of turns; not 0 */
    uint32_t contest; /* instructions to go in short turns */
    uint32_t more;    /* so many of the turn's end with the first lock; 0: none */
    uint32_t unused;
};

STATE_TABLE(machine_table, "machine", struct machine_state, STATE(struct machine_state, now),
            STATE(struct machine_state, total), STATE(struct machine_state, current),
            STATE(struct machine_state, quantum), STATE(struct machine_state, dice),
            STATE(struct machine_state, contest), STATE(struct machine_state, more),
            STATE(struct machine_state, unused));

#define STATES 160

struct machine {
    struct machine_state s;
    struct machine_config cfg;
    struct clock clock;
    struct rng rng;
    uint64_t host_start; /* host's ns at power-on */
    uint64_t turn_start; /* current CPU's icount when `now` was taken */
    uint64_t stop_after;
    bool stop_on_reboot;
    bool spins; /* the only CPU waits in a loop with PAUSE */
    struct cpu *cpu[CPU_MAX];
    struct cpu *triple;
    struct debug debug;
    struct pc *pc;
    struct parallel *parallel; /* NULL: CPUs take turns */
    unsigned state_count;
    struct state_ref state[STATES];
    char names[CPU_MAX][16];
};

/* Has no CPU but the present one anything to do? */
static bool alone(const struct machine *m)
{
    for (unsigned i = 0; i < m->cfg.cpus; i++) {
        const struct cpu *c = m->cpu[i];
        if (i != m->s.current && c && (c->s.activity == ACT_RUN || cpu_requests(c)))
            return false;
    }
    return true;
}

/* Short turns, as guests' locks see CPUs that run at once: a long turn stretches the moment in
 * which a CPU holds one lock and wants another. Turns of different lengths, or else two loops that
 * want the same lock could keep step, and one of them would find it taken each time. A CPU that was
 * asleep may find its waker in a longer turn; who waits for it with PAUSE ends that. */
static void choose_turn(struct machine *m)
{
    struct machine_state *s = &m->s;
    s->more = 0;
    if (m->cfg.cpus == 1 || alone(m)) {
        s->quantum = m->cfg.cpus == 1 ? CHUNK : TURN_ALONE;
        return;
    }
    s->dice ^= s->dice << 13; /* Marsaglia's xorshift */
    s->dice ^= s->dice >> 17;
    s->dice ^= s->dice << 5;
    if (s->contest) {
        s->quantum = TURN_SHORT + s->dice % (TURN_SHORT / 2);
        return;
    }
    s->more = TURN_MORE;
    s->quantum = TURN + s->dice % (2 * TURN) + TURN_MORE;
}

static uint64_t source(void *opaque)
{
    struct machine *m = opaque;
    if (m->cfg.clock == CLOCK_HOST)
        return (m->debug.paused ? m->debug.paused_at : m->cfg.host_ns()) - m->host_start;
    if (!m->cpu[m->s.current])
        return m->s.now;
    return m->s.now + (cpu_icount(m->cpu[m->s.current]) - m->turn_start) * NS_PER_INSN;
}

static bool on_threads(const struct machine *m)
{
    return m->parallel && parallel_on(m->parallel);
}

/* The board wants attention: end the turn at this instruction. */
static void attention(void *opaque)
{
    struct machine *m = opaque;
    if (on_threads(m))
        parallel_stop(m->parallel);
    else if (m->cpu[m->s.current])
        cpu_request(m->cpu[m->s.current], REQ_EXIT);
}

/* A timer became due earlier. */
static void sooner(void *opaque)
{
    struct machine *m = opaque;
    if (on_threads(m))
        parallel_sooner(m->parallel);
    else
        attention(m);
}

static void add_state(struct machine *m, const char *name, const struct state_table *t, void *data)
{
    CHECK(m->state_count < STATES);
    m->state[m->state_count++] = (struct state_ref){name, t, data};
}

/* Makes the CPU's state readable, and takes it away from the engine. */
static struct cpu *synced(const struct machine *m, unsigned i)
{
    if (m->cfg.engine->sync)
        m->cfg.engine->sync(m->cpu[i]);
    return m->cpu[i];
}

bool machine_own(struct machine *m)
{
    return !m->cfg.engine->own || m->cfg.engine->own(m->cpu, m->cfg.cpus);
}

static bool start_guest(struct machine *m, struct err *e)
{
    struct boot_entry entry;
    bool direct;
    if (!pc_load(m->pc, &entry, &direct, e))
        return false;
    if (direct)
        pc_enter(m->cpu[0], &entry);
    for (unsigned i = 1; i < m->cfg.cpus && direct; i++) /* firmware sets these on every CPU */
        m->cpu[i]->s.mtrr_def = entry.mtrr_def;
    return true;
}

static bool reset(struct machine *m, struct err *e)
{
    for (unsigned i = 0; i < m->cfg.cpus; i++)
        cpu_reset(synced(m, i), false);
    for (unsigned i = 1; i < m->cfg.cpus; i++) /* one RESET# starts all time-stamp counters */
        m->cpu[i]->s.tsc_offset = m->cpu[0]->s.tsc_offset;
    pc_reset(m->pc);
    return start_guest(m, e);
}

static void refuse_model(const char *name, struct err *e)
{
    char names[200] = "";
    size_t n = 0;
    const struct cpu_model *model;
    for (unsigned i = 0; (model = cpu_model_at(i)) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", model->name);
    err_set(e, ERR_INVALID, "no CPU model \"%s\": there are %s", name, names);
}

/* MODEL[,+kvmclock] */
static bool choose_model(const char *name, struct isa_features *f, struct err *e)
{
    static const char clock[] = ",+kvmclock";
    char plain[32] = "";
    const char *comma = name ? strchr(name, ',') : NULL;
    bool with = comma && !strcmp(comma, clock);
    if (name)
        snprintf(plain, sizeof plain, "%.*s", (int)(with ? comma - name : 31), name);
    const struct cpu_model *model = cpu_model_find(plain);
    if (!model) {
        refuse_model(name, e);
        return false;
    }
    *f = model->features;
    if (with && !isa_has(f, FEAT_HYPERVISOR))
        return err_set(e, ERR_INVALID, "CPU model %s can't have kvmclock", plain);
    if (with)
        f->word[FEAT_KVMCLOCK >> 6] |= BIT(FEAT_KVMCLOCK & 63);
    return true;
}

static bool join(struct machine *m, struct err *e)
{
    const struct engine *x = m->cfg.engine;
    if (x->by_time && m->cfg.clock == CLOCK_VIRTUAL)
        return err_set(e, ERR_INVALID,
                       "--clock virtual counts instructions, which engine %s can't: take another "
                       "engine, or --clock host",
                       x->name);
    if (m->cfg.threads && !x->parallel)
        return err_set(e, ERR_INVALID, "engine %s can't run CPUs side by side", x->name);
    return x->join(m->cpu, m->cfg.cpus, e);
}

/* A thread for each CPU, where they are wanted. */
static bool make_threads(struct machine *m, struct err *e)
{
    const struct machine_config *cfg = &m->cfg;
    if (!cfg->threads)
        return true;
    if (cfg->clock == CLOCK_VIRTUAL)
        return err_set(e, ERR_INVALID,
                       "--sched parallel runs by the host's clock: with --clock virtual CPUs take "
                       "turns");
    if (!cfg->threads->tso)
        return err_set(e, ERR_UNSUPPORTED,
                       "--sched parallel: this host's processors don't keep x86's order of memory "
                       "accesses");
    m->parallel = parallel_new(cfg->threads, &cfg->outside, m->cpu, cfg->cpus, &m->clock, e);
    return m->parallel;
}

struct machine *machine_new(const struct machine_config *cfg, struct err *e)
{
    if (cfg->cpus < 1 || cfg->cpus > CPU_MAX) {
        err_set(e, ERR_INVALID, "%u CPUs: a machine has 1 to %d", cfg->cpus, CPU_MAX);
        return NULL;
    }
    struct isa_features features;
    if (!choose_model(cfg->cpu_model, &features, e))
        return NULL;
    struct machine *m = xcalloc(1, sizeof *m);
    m->cfg = *cfg;
    if (!m->cfg.engine)
        m->cfg.engine = engine_default();
    m->stop_after = ~0ull;
    m->s.dice = (uint32_t)cfg->seed * 2 + 1;
    choose_turn(m);
    if (cfg->clock == CLOCK_HOST)
        m->host_start = cfg->host_ns();
    clock_init(&m->clock, source, m);
    m->clock.sooner = sooner;
    rng_seed(&m->rng, cfg->seed);
    m->pc = pc_new(&m->cfg, &m->clock, attention, m, e);
    if (!m->pc) {
        free(m);
        return NULL;
    }
    add_state(m, "machine", &machine_table, &m->s);
    add_state(m, "rng", &rng_table, &m->rng);
    for (unsigned i = 0; i < cfg->cpus; i++) {
        struct cpu *c = xcalloc(1, sizeof *c);
        c->tsc_hz = TSC_HZ;
        cpu_init(c, i, cfg->cpus, pc_bus(m->pc), &m->clock, &m->rng, &m->cfg.log, &features);
        c->coverage = cfg->coverage;
        c->parallel = cfg->threads;
        c->wall_start = cfg->start_time;
        c->chips = pc_chips(m->pc);
        m->cpu[i] = c;
        snprintf(m->names[i], sizeof m->names[i], "cpu%u", i);
        add_state(m, m->names[i], &cpu_state_table, &c->s);
    }
    if (!join(m, e) || !make_threads(m, e)) {
        machine_free(m);
        return NULL;
    }
    for (unsigned i = 0; i < cfg->cpus; i++) /* the engine has its say on their rate first */
        pc_attach(m->pc, m->cpu[i]);
    for (unsigned i = 0; i < pc_state_count(m->pc); i++) {
        const struct state_ref *r = pc_state(m->pc, i);
        add_state(m, r->name, r->table, r->data);
    }
    if (!reset(m, e)) {
        machine_free(m);
        return NULL;
    }
    machine_log(m, cfg->log.mask);
    return m;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    m->cfg.engine->part(m->cpu, m->cfg.cpus); /* its threads may use our lock */
    parallel_free(m->parallel);
    for (unsigned i = 0; i < m->cfg.cpus; i++) {
        cpu_free(m->cpu[i]);
        free(m->cpu[i]);
    }
    pc_free(m->pc);
    debug_free(m);
    free(m);
}

/* Begins a new count of the present turn's time. */
static void turn_begin(struct machine *m)
{
    m->turn_start = m->cpu[m->s.current]->s.icount;
}

static void next_cpu(struct machine *m)
{
    m->s.current = (m->s.current + 1) % m->cfg.cpus;
    choose_turn(m);
    turn_begin(m);
}

/* Instructions until the next timer, at least 1. On the host's clock nobody knows: a chunk that is
 * short against a timer's wanted precision. */
static uint64_t until_timer(struct machine *m)
{
    if (m->spins)
        return CHUNK_MIN;
    if (m->clock.next == CLOCK_NEVER)
        return m->cfg.clock == CLOCK_HOST ? CHUNK : ~0ull;
    uint64_t now = source(m);
    if (m->cfg.clock == CLOCK_HOST)
        return m->clock.next <= now
                   ? CHUNK_MIN
                   : min_u64(max_u64((m->clock.next - now) / NS_SLOW, CHUNK_MIN), CHUNK);
    return m->clock.next <= now ? 1 : (m->clock.next - now + NS_PER_INSN - 1) / NS_PER_INSN;
}

/* The present CPU runs. False: it had nothing to do. */
static bool turn(struct machine *m, uint64_t limit, enum engine_exit *why, uint64_t *done)
{
    struct cpu *c = m->cpu[m->s.current];
    *done = 0;
    *why = ENGINE_HALT;
    if (c->s.activity != ACT_RUN && !cpu_requests(c))
        return false;
    uint64_t before = c->s.icount, budget = min_u64(limit, min_u64(m->s.quantum, until_timer(m)));
    if (UNLIKELY(m->debug.on) && !debug_turn(m, c, &budget))
        return false;
    uint32_t pauses = c->pauses;
    c->lock_failed = false;
    /* On the host's clock no two runs are the same, and the last instructions of a turn, one by
     * one, take as long as all the others. */
    c->loose = m->cfg.clock == CLOCK_HOST && !m->debug.on && m->stop_after - m->s.total > SLICE;
    c->turn_end = m->s.more ? before + m->s.quantum - min_u64(m->s.quantum, m->s.more) : ~0ull;
    *why = m->cfg.engine->run(c, budget);
    *done = c->s.icount - before;
    m->s.contest -= (uint32_t)min_u64(m->s.contest, *done);
    if (c->lock_failed)
        m->s.contest = CONTEST;
    m->s.total += *done;
    m->s.quantum -= (uint32_t)min_u64(m->s.quantum, *done);
    if (c->loose && *why == ENGINE_BUDGET)
        m->s.quantum = 0;
    if (m->cfg.clock == CLOCK_VIRTUAL)
        m->s.now += *done * NS_PER_INSN;
    m->spins = c->loose && m->cfg.cpus == 1 && (c->pauses - pauses) * SPIN_INSNS >= *done && *done;
    turn_begin(m);
    return *done > 0 || *why != ENGINE_HALT;
}

/* What the guest asked of the board. MACHINE_SLICE: nothing, or it is done. */
static enum machine_event board_event(struct machine *m, struct err *e)
{
    switch (pc_take_event(m->pc)) {
    case PC_RESET:
        LOG(&m->cfg.log, CPU, "reset");
        if (m->stop_on_reboot)
            return MACHINE_REBOOT;
        return reset(m, e) ? MACHINE_SLICE : MACHINE_FAILED;
    case PC_POWER_OFF: return MACHINE_OFF;
    case PC_DEBUG_EXIT: return MACHINE_DEBUG_EXIT;
    case PC_NOTHING: break;
    }
    return MACHINE_SLICE;
}

static uint64_t all_icounts(const struct machine *m)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < m->cfg.cpus; i++)
        n += m->cpu[i]->s.icount;
    return n;
}

/* All CPUs at once. */
static enum machine_event run_parallel(struct machine *m, struct err *e)
{
    enum machine_event event = board_event(m, e);
    if (event != MACHINE_SLICE)
        return event;
    uint64_t before = all_icounts(m);
    m->triple = parallel_run(m->parallel, m->cfg.engine);
    m->s.total += all_icounts(m) - before;
    return m->triple ? MACHINE_TRIPLE : MACHINE_SLICE;
}

enum machine_event machine_run(struct machine *m, struct err *e)
{
    uint64_t left = SLICE;
    unsigned idle = 0;
    if (m->parallel && !m->debug.on) /* what a debugger wants done, CPUs do in turns */
        return run_parallel(m, e);
    turn_begin(m);
    while (left) {
        enum machine_event event = board_event(m, e);
        if (event != MACHINE_SLICE)
            return event;
        if (m->s.total >= m->stop_after)
            return MACHINE_STOPPED;
        if (m->clock.next <= clock_now(&m->clock)) {
            clock_run(&m->clock);
            idle = 0;
        }
        enum engine_exit why;
        uint64_t done;
        struct cpu *c = m->cpu[m->s.current];
        if (turn(m, min_u64(left, m->stop_after - m->s.total), &why, &done))
            idle = 0;
        else
            idle++;
        left -= min_u64(left, done);
        if (why == ENGINE_SHUTDOWN) {
            m->triple = m->cpu[m->s.current];
            return MACHINE_TRIPLE;
        }
        if (why == ENGINE_HALT || why == ENGINE_YIELD || m->s.quantum == 0)
            next_cpu(m);
        if (UNLIKELY(m->debug.on) && debug_turned(m, c, done))
            return MACHINE_BREAK;
        if (m->spins)
            return MACHINE_IDLE;
        if (idle < m->cfg.cpus)
            continue;
        if (m->cfg.clock == CLOCK_HOST || m->clock.next == CLOCK_NEVER)
            return MACHINE_IDLE;
        m->s.now = max_u64(m->s.now, m->clock.next);
        left -= min_u64(left, 1000); /* an idle guest still lets the outside be looked at */
        idle = 0;
    }
    return MACHINE_SLICE;
}

struct debug *machine_debug(struct machine *m)
{
    return &m->debug;
}

void debug_pause(struct machine *m)
{
    CHECK(!m->debug.paused);
    m->debug.paused = true;
    m->debug.paused_at = m->cfg.clock == CLOCK_HOST ? m->cfg.host_ns() : 0;
}

void debug_resume(struct machine *m)
{
    CHECK(m->debug.paused);
    m->debug.paused = false;
    if (m->cfg.clock == CLOCK_HOST)
        m->host_start += m->cfg.host_ns() - m->debug.paused_at;
}

uint64_t machine_wakeup(const struct machine *m)
{
    return m->spins ? min_u64(m->clock.next, clock_now(&m->clock) + SPIN_NS) : m->clock.next;
}

uint64_t machine_now(const struct machine *m)
{
    return clock_now(&m->clock);
}

void machine_stop_after(struct machine *m, uint64_t n)
{
    m->stop_after = n;
}

void machine_stop_on_reboot(struct machine *m, bool stop)
{
    m->stop_on_reboot = stop;
}

uint64_t machine_icount(const struct machine *m)
{
    return m->s.total;
}

unsigned machine_exit_code(const struct machine *m)
{
    return pc_exit_code(m->pc);
}

struct cpu *machine_triple(struct machine *m)
{
    return m->triple;
}

void machine_log(struct machine *m, uint32_t mask)
{
    m->cfg.log.mask = mask;
    debug_trace(m, mask & BIT(LOG_INSN));
}

uint32_t machine_log_mask(const struct machine *m)
{
    return m->cfg.log.mask;
}

uint64_t machine_hash(struct machine *m)
{
    uint64_t h = STATE_HASH_INIT;
    for (unsigned i = 0; i < m->cfg.cpus; i++)
        cpu_settle(synced(m, i));
    for (unsigned i = 0; i < m->state_count; i++)
        h = state_hash(h, m->state[i].table, m->state[i].data);
    return hash_bytes(h, m->cfg.ram, m->cfg.ram_size);
}

void machine_reset(struct machine *m)
{
    pc_ask_reset(m->pc);
}

void machine_power_button(struct machine *m)
{
    pc_power_button(m->pc);
}

bool machine_nmi(struct machine *m)
{
    return pc_nmi(m->pc);
}

size_t machine_type(struct machine *m, const uint8_t *bytes, size_t n)
{
    return pc_type(m->pc, bytes, n);
}

struct cpu *machine_cpu(struct machine *m, unsigned i)
{
    return synced(m, i);
}

unsigned machine_cpu_count(const struct machine *m)
{
    return m->cfg.cpus;
}

const struct display_source *machine_display(struct machine *m)
{
    return pc_display(m->pc);
}

struct bus *machine_bus(struct machine *m)
{
    return pc_bus(m->pc);
}

const struct engine *machine_engine(const struct machine *m)
{
    return m->cfg.engine;
}

/* The state of a machine is its declared structs, whichever engine runs it. */
bool machine_set_engine(struct machine *m, const struct engine *x, struct err *e)
{
    const struct engine *old = m->cfg.engine;
    struct err lost;
    if (x == old)
        return true;
    for (unsigned i = 0; i < m->cfg.cpus; i++)
        flags_sync(synced(m, i));
    old->part(m->cpu, m->cfg.cpus);
    m->cfg.engine = x;
    if (join(m, e)) {
        for (unsigned i = 0; i < m->cfg.cpus; i++) /* the old one may have waited in its own way */
            cpu_attention(m->cpu[i]);
        return true;
    }
    m->cfg.engine = old;
    CHECK(join(m, &lost)); /* it did before */
    return false;
}

struct pc *machine_pc(struct machine *m)
{
    for (unsigned i = 0; i < m->cfg.cpus; i++) /* its interrupt controllers may be the engine's */
        synced(m, i);
    return m->pc;
}

unsigned machine_state_count(const struct machine *m)
{
    return m->state_count;
}

const struct state_ref *machine_state(const struct machine *m, unsigned i)
{
    for (unsigned k = 0; k < m->cfg.cpus; k++)
        synced(m, k);
    return &m->state[i];
}
