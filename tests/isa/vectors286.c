/* Runs single-step vectors recorded from an 80286 in real mode (the MOO format: chunks of tag,
 * length, payload) and compares registers, flags, all of memory and the exception frame.
 *
 *   ISHI_VECTORS=folder test_vectors286 [file …]    all of folder/80286 without a file
 *
 * A flag that the instruction's row calls undefined is not compared: the table, not a list here,
 * says which. No recording is left out: vectors286_adapt.c has what a 386 or later does otherwise.
 * Without ISHI_VECTORS: skipped. */
#include "tests/isa/vectors286.h"
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/tlb.h"
#include "engine/engine.h"
#include "tests/coverage.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define RAM_SIZE (2u << 20)
#define STEPS    70000 /* a REP of 65535 and its HLT */

static const char *const reg_names[REGS] = {"ax", "bx", "cx", "dx", "cs", "ss",    "ds", "es",
                                            "sp", "bp", "si", "di", "ip", "flags", "fs", "gs"};
static const uint8_t general[REGS] = {[AX] = R_AX, [BX] = R_BX, [CX] = R_CX, [DX] = R_DX,
                                      [SP] = R_SP, [BP] = R_BP, [SI] = R_SI, [DI] = R_DI};
static const uint8_t segments[REGS] = {/* plus 1 */
                                       [CS] = SEG_CS + 1, [SS] = SEG_SS + 1, [DS] = SEG_DS + 1,
                                       [ES] = SEG_ES + 1, [FS] = SEG_FS + 1, [GS] = SEG_GS + 1};

#define RULES 8

struct bench {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct log log;
    struct cpu *cpu;
    uint8_t *ram;
    uint8_t *want; /* RAM as it ought to be */
    const struct vector *v;
    unsigned port_reads;
    bool port_wrong;
    unsigned long run, failed, adapted, by_rule[RULES], shown;
};

/* --- Reading --- */

struct bytes {
    const uint8_t *p;
    size_t n;
};

static uint64_t take(struct bytes *b, unsigned size)
{
    uint64_t v = 0;
    if (b->n < size) {
        b->n = 0;
        return 0;
    }
    memcpy(&v, b->p, size);
    b->p += size;
    b->n -= size;
    return v;
}

/* The next chunk's payload; false at the end. */
static bool next_chunk(struct bytes *b, char tag[5], struct bytes *payload)
{
    if (b->n < 8)
        return false;
    memcpy(tag, b->p, 4);
    tag[4] = 0;
    take(b, 4);
    size_t n = take(b, 4);
    if (n > b->n)
        n = b->n;
    *payload = (struct bytes){b->p, n};
    b->p += n;
    b->n -= n;
    return true;
}

static void read_state(struct bytes b, struct state *s)
{
    char tag[5];
    struct bytes p;
    while (next_chunk(&b, tag, &p)) {
        if (!strcmp(tag, "REGS")) {
            s->mask = take(&p, 2);
            for (unsigned i = 0; i < RECORDED; i++)
                if (s->mask >> i & 1)
                    s->reg[i] = take(&p, 2);
        } else if (!strcmp(tag, "RAM ")) {
            unsigned n = take(&p, 4);
            for (s->cells = 0; s->cells < n && s->cells < CELLS; s->cells++) {
                s->ram[s->cells].address = take(&p, 4);
                s->ram[s->cells].value = take(&p, 1);
            }
        }
    }
}

static void read_vector(struct bytes b, struct vector *v)
{
    char tag[5];
    struct bytes p;
    v->index = take(&b, 4);
    while (next_chunk(&b, tag, &p)) {
        if (!strcmp(tag, "NAME")) {
            size_t n = min_u64(take(&p, 4), min_u64(p.n, sizeof v->name - 1));
            memcpy(v->name, p.p, n);
        } else if (!strcmp(tag, "BYTS")) {
            v->byte_count = min_u64(take(&p, 4), min_u64(p.n, sizeof v->bytes));
            memcpy(v->bytes, p.p, v->byte_count);
        } else if (!strcmp(tag, "INIT")) {
            read_state(p, &v->init);
        } else if (!strcmp(tag, "FINA")) {
            read_state(p, &v->fina);
        } else if (!strcmp(tag, "EXCP")) {
            v->has_exception = true;
            v->exception = take(&p, 1);
        }
    }
}

/* --- Running --- */

static void set_segment(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct seg *s = &c->s.seg[seg];
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    s->limit = 0xffff;
    s->attr = SEG_P | SEG_S | 3;
}

/* Memory holds what earlier recordings left, wherever this one doesn't say. */
static void load(struct bench *b, const struct vector *v)
{
    struct cpu *c = b->cpu;
    for (unsigned i = 0; i < v->init.cells; i++) {
        bus_write(&b->bus, v->init.ram[i].address, 1, v->init.ram[i].value);
        b->want[v->init.ram[i].address] = v->init.ram[i].value;
    }
    b->v = v;
    b->port_reads = 0;
    b->port_wrong = false;
    cpu_reset(c, false);
    c->s.activity = ACT_RUN;
    c->s.idtr = (struct dtable){.limit = 0x3ff};
    for (unsigned i = 0; i < REGS; i++) {
        if (segments[i])
            set_segment(c, segments[i] - 1, v->init.reg[i]);
        else if (i < IP)
            c->s.r[general[i]] = v->init.reg[i];
    }
    c->s.rip = v->init.reg[IP];
    flags_set(c, (v->init.reg[FLAGS_REG] & FLAGS) | EF_FIXED);
    cpu_mode_changed(c);
    tlb_flush(c);
}

static uint16_t actual(const struct cpu *c, unsigned reg)
{
    if (segments[reg])
        return c->s.seg[segments[reg] - 1].sel;
    if (reg == IP)
        return c->s.rip;
    return reg == FLAGS_REG ? flags_get(c) : c->s.r[general[reg]];
}

static void show(struct bench *b, const struct vector *v, const char *what, unsigned at,
                 unsigned want, unsigned got)
{
    if (b->shown++ >= 200)
        return;
    printf("%s #%u %s [", v->file, v->index, v->name);
    for (unsigned i = 0; i < v->byte_count; i++)
        printf("%02x", v->bytes[i]);
    printf("]%s: %s %x: want %04x, got %04x\n", v->has_exception ? " (exception)" : "", what, at,
           want, got);
}

/* Where flags were pushed: what is undefined in them is not compared. ~0: nowhere. */
static uint32_t pushed_flags(const struct vector *v)
{
    bool pushf = v->in.row && v->in.opcode == 0x9c && v->in.row->map == MAP_1B;
    uint16_t sp = (uint16_t)(final_reg(v, SP) + (pushf ? 0 : 4));
    return v->has_exception || pushf ? ((uint32_t)final_reg(v, SS) << 4) + sp : ~0u;
}

/* One page of memory, and both copies alike again. */
static bool compare_page(struct bench *b, const struct vector *v, uint32_t page, bool quiet)
{
    bool ok = true;
    uint32_t flags_at = pushed_flags(v);
    for (uint32_t at = page; at < page + PAGE_SIZE; at++) {
        uint8_t mask = at == flags_at ? v->flags : at == flags_at + 1 ? v->flags >> 8 : 0xff;
        if ((b->ram[at] ^ b->want[at]) & mask) {
            if (ok && !quiet)
                show(b, v, "memory", at, b->want[at], b->ram[at]);
            ok = false;
        }
        b->want[at] = b->ram[at];
    }
    return ok;
}

/* Memory that was written or ought to have been. */
static bool compare_memory(struct bench *b, const struct vector *v, bool quiet)
{
    bool ok = true;
    for (unsigned i = 0; i < v->fina.cells; i++) {
        uint32_t at = v->fina.ram[i].address;
        b->want[at] = v->fina.ram[i].value;
        bus_mark(&b->bus.page_flags[at >> PAGE_SHIFT], PAGE_DIRTY);
    }
    for (uint32_t page = 0; page < RAM_SIZE; page += PAGE_SIZE) {
        uint8_t *flags = &b->bus.page_flags[page >> PAGE_SHIFT];
        if (!(*flags & PAGE_DIRTY))
            continue;
        *flags &= (uint8_t)~PAGE_DIRTY;
        if (memcmp(b->ram + page, b->want + page, PAGE_SIZE) != 0)
            ok &= compare_page(b, v, page, quiet || !ok);
    }
    return ok;
}

static bool compare(struct bench *b, const struct vector *v)
{
    bool ok = true;
    for (unsigned i = 0; i < REGS; i++) {
        uint16_t want = final_reg(v, i), got = actual(b->cpu, i);
        uint16_t mask = i == FLAGS_REG ? v->flags : 0xffff;
        if ((want ^ got) & mask) {
            if (ok)
                show(b, v, reg_names[i], i, want & mask, got & mask);
            ok = false;
        }
    }
    if (b->port_reads != v->port_count || b->port_wrong) {
        if (ok)
            show(b, v, "bytes read of port", v->port, v->port_count, b->port_reads);
        ok = false;
    }
    return compare_memory(b, v, !ok) && ok;
}

static void adapt(struct bench *b, struct vector *v)
{
    bool any = false;
    for (size_t i = 0; i < adaptation_count; i++) {
        if (!adaptations[i].applies(v))
            continue;
        adaptations[i].adapt(v);
        b->by_rule[i]++;
        any = true;
    }
    b->adapted += any;
}

static void run_vector(struct bench *b, struct vector *v)
{
    v->decoded = isa_decode(&v->in, v->bytes, v->byte_count, ISA_16, &b->cpu->features);
    v->flags = FLAGS & ~(v->in.row ? v->in.row->flags_undefined : 0);
    v->init.reg[FS] = 0x1f50;
    v->init.reg[GS] = 0x2650;
    adapt(b, v);
    b->run++;
    load(b, v);
    enum engine_exit e = soft_run(b->cpu, STEPS);
    if (e != ENGINE_HALT) {
        show(b, v, "engine exit", e, ENGINE_HALT, e);
        compare_memory(b, v, true);
        b->failed++;
    } else if (!compare(b, v)) {
        b->failed++;
    }
}

/* All ports: that of the recording reads as it says, others as nothing is there. */
static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
    struct bench *b = dev;
    const struct vector *v = b->v;
    bool split = v->port == 0xffff; /* the second byte is not a port's */
    uint64_t value = 0;
    b->port_wrong |= offset != v->port || size != (split ? 1 : v->port_size);
    for (unsigned k = 0; k < size; k++) {
        unsigned n = b->port_reads++;
        value |= (uint64_t)(n < v->port_count ? v->port_byte[n] : 0xff) << 8 * k;
    }
    return value;
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value) {}

static bool run_file(struct bench *b, const char *path)
{
    static uint8_t data[4 << 20];
    gzFile f = gzopen(path, "rb");
    int n = f ? gzread(f, data, sizeof data) : -1;
    if (f)
        gzclose(f);
    if (n < 0 || memcmp(data, "MOO ", 4) != 0) {
        fprintf(stderr, "%s: not a file of vectors\n", path);
        return false;
    }
    struct bytes all = {data, n}, p;
    char tag[5];
    const char *slash = strrchr(path, '/');
    unsigned long failed = b->failed, run = b->run;
    while (next_chunk(&all, tag, &p)) {
        if (strcmp(tag, "TEST") != 0)
            continue;
        static struct vector v;
        memset(&v, 0, sizeof v);
        v.file = slash ? slash + 1 : path;
        read_vector(p, &v);
        run_vector(b, &v);
    }
    if (b->failed != failed)
        printf("%s: %lu of %lu failed\n", slash ? slash + 1 : path, b->failed - failed,
               b->run - run);
    return true;
}

static bool run_folder(struct bench *b, const char *folder)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/80286", folder);
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort);
    bool ok = n > 0;
    for (int i = 0; i < n; i++) {
        if (strstr(list[i]->d_name, ".MOO")) {
            snprintf(path, sizeof path, "%s/80286/%s", folder, list[i]->d_name);
            ok &= run_file(b, path);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return ok;
}

static uint64_t no_time(void *opaque)
{
    return 0;
}

int main(int argc, char **argv)
{
    const char *folder = getenv("ISHI_VECTORS");
    if (!folder && argc < 2) {
        puts("skipped: ISHI_VECTORS names no folder of recorded vectors");
        return 77;
    }
    static struct bench b;
    static struct cpu cpu;
    static const struct region_ops ops = {.read = port_read, .write = port_write};
    static struct region ports = {.name = "ports", .size = 0x10000, .ops = &ops, .dev = &b};
    b.ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    b.want = calloc(1, RAM_SIZE);
    memset(b.ram, 0, RAM_SIZE);
    bus_init(&b.bus, b.ram, RAM_SIZE, &b.log);
    bus_set_a20(&b.bus, true);
    CHECK(bus_add(&b.bus, BUS_PORT, 0, &ports, NULL) && adaptation_count <= RULES);
    clock_init(&b.clock, no_time, NULL);
    rng_seed(&b.rng, 1);
    b.cpu = &cpu;
    cpu_init(b.cpu, 0, 1, &b.bus, &b.clock, &b.rng, &b.log, &cpu_model_find("486")->features);
    coverage_attach(b.cpu);
    soft_join(&b.cpu, 1);
    bool ok = argc < 2 && run_folder(&b, folder);
    for (int i = 1; i < argc; i++)
        ok = run_file(&b, argv[i]) && (ok || i == 1);
    printf("%lu vectors run, %lu failed, %lu of them adapted to later chips:\n", b.run, b.failed,
           b.adapted);
    for (size_t i = 0; i < adaptation_count; i++)
        printf("%6lu %s (%s)\n", b.by_rule[i], adaptations[i].what, adaptations[i].source);
    soft_part(&b.cpu, 1);
    cpu_free(b.cpu);
    bus_free(&b.bus);
    free(b.ram);
    free(b.want);
    return ok && !b.failed && b.run ? EXIT_SUCCESS : EXIT_FAILURE;
}
