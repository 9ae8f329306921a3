/* Runs single-step vectors recorded from an 80286 in real mode (the MOO format: chunks of tag,
 * length, payload) and compares registers, flags, memory and the exception frame.
 *
 *   ISHI_VECTORS=folder test_vectors286 [file …]    all of folder/80286 without a file
 *
 * A flag that the instruction's row calls undefined is not compared: the table, not a list here,
 * says which. What a 386 or later does otherwise than the 286 is in `skips`. Without ISHI_VECTORS:
 * skipped. */
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
#define STEPS    70000   /* a REP of 65535 and its HLT */
#define FLAGS    0x0fd5u /* NT and IOPL are random in the vectors */

enum { AX, BX, CX, DX, CS, SS, DS, ES, SP, BP, SI, DI, IP, FLAGS_REG, REGS };
static const char *const reg_names[REGS] = {"ax", "bx", "cx", "dx", "cs", "ss", "ds",
                                            "es", "sp", "bp", "si", "di", "ip", "flags"};
static const uint8_t general[REGS] = {[AX] = R_AX, [BX] = R_BX, [CX] = R_CX, [DX] = R_DX,
                                      [SP] = R_SP, [BP] = R_BP, [SI] = R_SI, [DI] = R_DI};
static const uint8_t segment[REGS] = {[CS] = SEG_CS, [SS] = SEG_SS, [DS] = SEG_DS, [ES] = SEG_ES};

struct byte_at {
    uint32_t address;
    uint8_t value;
};

#define CELLS 600

struct state {
    unsigned mask; /* registers present */
    uint16_t reg[REGS];
    struct byte_at ram[CELLS];
    unsigned cells;
};

struct vector {
    const char *file;
    unsigned index;
    char name[80];
    uint8_t bytes[16];
    unsigned byte_count;
    struct state init, fina;
    bool has_exception;
    uint8_t exception;
    struct insn in;
};

struct bench {
    struct bus bus;
    struct clock clock;
    struct rng rng;
    struct log log;
    struct cpu *cpu;
    uint8_t *ram;
    unsigned long run, failed, skipped[8], shown; /* skipped: by reason */
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
            for (unsigned i = 0; i < REGS; i++)
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

/* --- What does not apply to a later chip --- */

static bool unlockable(const struct vector *v)
{
    struct insn in;
    return memchr(v->bytes, 0xf0, v->byte_count) &&
           isa_decode(&in, v->bytes, v->byte_count, ISA_16, NULL) == ISA_UNDEFINED;
}

static bool open_bus(const struct vector *v)
{
    return v->in.row && (!strcmp(v->in.row->name, "in") || !strncmp(v->in.row->name, "ins", 3));
}

/* The 286 allows 10 bytes. */
static bool long_instruction(const struct vector *v)
{
    return v->byte_count > 10;
}

/* A word at offset FFFF of the stack segment, read by a POP or through BP: 13 on the 286, #SS on
 * later chips (SDM 3A 20.1.4). */
static bool stack_overrun(const struct vector *v)
{
    return v->has_exception && v->exception == EXC_GP && v->in.row &&
           (!strcmp(v->in.row->name, "pop") || !strcmp(v->in.row->name, "leave") ||
            !strncmp(v->in.row->name, "ret", 3) || (v->in.is_mem && v->in.seg == SEG_SS));
}

/* The 286 leaves SI, DI and CX as they were on the way. */
static bool string_fault(const struct vector *v)
{
    return v->has_exception && v->in.row && v->in.row->attr & (A_REP | A_REPZ);
}

static bool has_fs_gs(const struct vector *v)
{
    return v->in.row && (v->in.opcode == 0x8c || v->in.opcode == 0x8e) &&
           (v->in.modrm >> 3 & 6) == 4;
}

static bool coprocessor_overrun(const struct vector *v)
{
    return v->has_exception && v->exception == EXC_CSO;
}

static const struct {
    const char *why;
    bool (*applies)(const struct vector *v);
} skips[] = {
    {"which exception a word at SS:FFFF raises", stack_overrun},
    {"the index registers after a fault in a string instruction", string_fault},
    {"FS and GS", has_fs_gs},
    {"coprocessor segment overrun, #GP on later chips", coprocessor_overrun},
    {"LOCK where a later chip does not allow it", unlockable},
    {"IN, INS: what an open bus reads", open_bus},
    {"longer than the 286 allows", long_instruction},
};
_Static_assert(ARRAY_LEN(skips) <= ARRAY_LEN(((struct bench *)0)->skipped), "a count for each");

/* --- Running --- */

static void set_segment(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct seg *s = &c->s.seg[seg];
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    s->limit = 0xffff;
    s->attr = SEG_P | SEG_S | 3;
}

static void load(struct bench *b, const struct vector *v)
{
    struct cpu *c = b->cpu;
    for (unsigned i = 0; i < v->init.cells; i++)
        bus_write(&b->bus, v->init.ram[i].address, 1, v->init.ram[i].value);
    cpu_reset(c, false);
    c->s.activity = ACT_RUN;
    c->s.idtr = (struct dtable){.limit = 0x3ff};
    for (unsigned i = 0; i < REGS; i++) {
        if (i >= CS && i <= ES)
            set_segment(c, segment[i], v->init.reg[i]);
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
    if (reg >= CS && reg <= ES)
        return c->s.seg[segment[reg]].sel;
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

/* Which bits of a byte of memory are compared: not the undefined flags that were pushed. */
static uint8_t memory_mask(const struct vector *v, uint32_t address, unsigned flags)
{
    bool pushf = v->in.row && v->in.opcode == 0x9c && v->in.row->map == MAP_1B;
    const struct state *sp = v->fina.mask >> SP & 1 ? &v->fina : &v->init;
    const struct state *ss = v->fina.mask >> SS & 1 ? &v->fina : &v->init;
    uint32_t at = ((uint32_t)ss->reg[SS] << 4) + (uint16_t)(sp->reg[SP] + (pushf ? 0 : 4));
    if (v->has_exception || pushf) {
        if (address == at)
            return flags;
        if (address == at + 1)
            return flags >> 8;
    }
    return 0xff;
}

static bool compare(struct bench *b, const struct vector *v)
{
    bool ok = true;
    unsigned flags = FLAGS & ~(v->in.row ? v->in.row->flags_undefined : 0);
    for (unsigned i = 0; i < REGS; i++) {
        uint16_t want = (v->fina.mask >> i & 1 ? v->fina : v->init).reg[i];
        uint16_t got = actual(b->cpu, i), mask = i == FLAGS_REG ? flags : 0xffff;
        if ((want ^ got) & mask) {
            if (ok)
                show(b, v, reg_names[i], i, want & mask, got & mask);
            ok = false;
        }
    }
    for (unsigned i = 0; i < v->fina.cells; i++) {
        uint32_t at = v->fina.ram[i].address;
        uint8_t want = v->fina.ram[i].value, got = bus_read(&b->bus, at, 1);
        if ((want ^ got) & memory_mask(v, at, flags)) {
            if (ok)
                show(b, v, "memory", at, want, got);
            ok = false;
        }
    }
    return ok;
}

static void run_vector(struct bench *b, struct vector *v)
{
    isa_decode(&v->in, v->bytes, v->byte_count, ISA_16, &b->cpu->features);
    for (size_t i = 0; i < ARRAY_LEN(skips); i++) {
        if (skips[i].applies(v)) {
            b->skipped[i]++;
            return;
        }
    }
    b->run++;
    load(b, v);
    enum engine_exit e = soft_run(b->cpu, STEPS);
    if (e != ENGINE_HALT) {
        show(b, v, "engine exit", e, ENGINE_HALT, e);
        b->failed++;
    } else if (!compare(b, v)) {
        b->failed++;
    }
}

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
    b.ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    memset(b.ram, 0, RAM_SIZE);
    bus_init(&b.bus, b.ram, RAM_SIZE, &b.log);
    bus_set_a20(&b.bus, true);
    clock_init(&b.clock, no_time, NULL);
    rng_seed(&b.rng, 1);
    b.cpu = &cpu;
    cpu_init(b.cpu, 0, 1, &b.bus, &b.clock, &b.rng, &b.log, &cpu_model_find("486")->features);
    coverage_attach(b.cpu);
    soft_join(&b.cpu, 1);
    bool ok = argc < 2 && run_folder(&b, folder);
    for (int i = 1; i < argc; i++)
        ok = run_file(&b, argv[i]) && (ok || i == 1);
    for (size_t i = 0; i < ARRAY_LEN(skips); i++)
        printf("%6lu do not apply: %s\n", b.skipped[i], skips[i].why);
    printf("%lu vectors run, %lu failed\n", b.run, b.failed);
    soft_part(&b.cpu, 1);
    cpu_free(b.cpu);
    bus_free(&b.bus);
    free(b.ram);
    return ok && !b.failed && b.run ? EXIT_SUCCESS : EXIT_FAILURE;
}
