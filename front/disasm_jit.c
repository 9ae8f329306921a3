#include "front/disasm_jit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cpu/cpuid.h"
#include "cpu/lift.h"
#include "engine/engine.h"
#include "jit/jit.h"

struct workshop {
    struct cpu c;
    struct bus bus;
    struct clock clock;
    struct rng rng;
    uint8_t ram[PAGE_SIZE];
    struct uop uops[BLOCK_UOPS];
    struct block block;
    struct jit_listing list;
};

static uint64_t no_time(void *opaque)
{
    return 0;
}

static const char *register_name(unsigned r)
{
    static const char *const names[] = {"ax", "cx",  "dx",  "bx",  "sp",  "bp",  "si",  "di", "r8",
                                        "r9", "r10", "r11", "r12", "r13", "r14", "r15", "t0", "t1",
                                        "t2", "t3",  "t4",  "t5",  "t6",  "t7",  "0",   "ip"};
    return r < ARRAY_LEN(names) ? names[r] : "?";
}

static void print_uop(FILE *to, const struct uop *u)
{
    fprintf(to, "    %-12s %s, %s, %s", uop_name(u->op), register_name(u->dst), register_name(u->a),
            register_name(u->b));
    if (u->scale)
        fprintf(to, " << %u", u->scale);
    if (u->imm)
        fprintf(to, ", %s%#" PRIx64, u->imm < 0 ? "-" : "",
                u->imm < 0 ? 0 - (uint64_t)u->imm : (uint64_t)u->imm);
    fputc('\n', to);
}

static void print_host(FILE *to, const uint8_t *p, size_t n, uint64_t address)
{
    while (n) {
        struct insn in;
        char text[120];
        enum isa_result r = isa_decode(&in, p, n, ISA_64, NULL);
        unsigned length = r == ISA_OK ? in.length : 1;
        if (r == ISA_OK)
            isa_format(&in, address, text, sizeof text);
        fprintf(to, "            %08" PRIx64 "  %s\n", address & 0xffffffff,
                r == ISA_OK ? text : "(data)");
        p += length;
        n -= length;
        address += length;
    }
}

static void print_block(FILE *to, const struct workshop *w, const uint8_t *p, uint64_t address,
                        enum isa_mode mode)
{
    const struct jit_listing *l = &w->list;
    unsigned insn = ~0u;
    fprintf(to, "# %u instructions, %u uops, %" PRIu32 " + %" PRIu32 " bytes of host code\n",
            w->block.insns, l->uops, l->bytes, l->cold_bytes);
    print_host(to, l->code, l->at[0], l->address);
    for (unsigned i = 0; i < l->uops; i++) {
        const struct uop *u = &w->uops[i];
        if (u->insn != insn && u->next > u->ip) {
            struct insn in;
            char text[120];
            if (isa_decode(&in, p + u->ip, u->next - u->ip, mode, NULL) != ISA_OK ||
                !isa_format(&in, address + u->ip, text, sizeof text))
                snprintf(text, sizeof text, "(bad)");
            fprintf(to, "%" PRIx64 "  %s\n", address + u->ip, text);
            insn = u->insn;
        }
        print_uop(to, u);
        print_host(to, l->code + l->at[i], l->at[i + 1] - l->at[i], l->address + l->at[i]);
    }
}

static uint32_t key_of(enum isa_mode mode)
{
    uint32_t key = (uint32_t)mode | KEY_STACK32 | KEY_FLAT_DS | KEY_FLAT_ES | KEY_FLAT_SS |
                   KEY_FLAT_CS | KEY_PROT | KEY_AVX | 3u << KEY_CPL_SHIFT;
    return mode == ISA_64 ? key | KEY_LONG : key;
}

static bool list(struct workshop *w, const uint8_t *p, size_t n, uint64_t address,
                 enum isa_mode mode)
{
    struct lifted l;
    lift_block(&w->c, &l, w->uops, BLOCK_UOPS, p, n, key_of(mode), BLOCK_INSNS);
    if (l.crosses)
        return false;
    w->block = (struct block){.uops = w->uops,
                              .insns = (uint16_t)l.insn_count,
                              .bytes = (uint16_t)l.bytes,
                              .key = key_of(mode),
                              .paddr = address & 0xffffffff,
                              .paddr2 = ~0ull};
    w->block.mask[0] = w->block.mask[1] = mode == ISA_64 ? ~0ull : 0xffffffff;
    return jit_list(w->c.jit.jit, &w->block, &w->list);
}

bool jit_print(FILE *to, const uint8_t *p, size_t n, uint64_t address, enum isa_mode mode,
               struct err *e)
{
    struct workshop *w;
    struct cpu *c;
    if (mode == ISA_16)
        return err_set(e, ERR_INVALID, "--jit: 16-bit code is interpreted");
    w = aligned_alloc(64, align_up(sizeof *w, 64));
    if (!w)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    memset(w, 0, sizeof *w);
    c = &w->c;
    bus_init(&w->bus, w->ram, sizeof w->ram, NULL);
    clock_init(&w->clock, no_time, NULL);
    cpu_init(c, 0, 1, &w->bus, &w->clock, &w->rng, NULL, &cpu_model_find("")->features);
    bool ok = engine_jit.join(&c, 1, e);
    if (ok) {
        ok = list(w, p, n, address, mode);
        if (ok)
            print_block(to, w, p, address, mode);
        else
            err_set(e, ERR_INVALID, "--jit: the first instruction is not whole");
        engine_jit.part(&c, 1);
    }
    cpu_free(c);
    bus_free(&w->bus);
    free(w);
    return ok;
}
