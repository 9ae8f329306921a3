#include "front/compare_rules.h"

#include <stdlib.h>

#include "cpu/mem.h"

#define FIRMWARE_TOP 0xff000000ull /* from here up the BIOS is, from the start */

/* clang-format off */
const struct compare_rule compare_rules[RULE_COUNT] = {
    [RULE_NONE] = {"both", NULL, "Executed by both and compared."},
    [RULE_PORT] = {"port", "in out insb insw/insd outsb outsw/outsd",
        "Ports: the machine's devices are ishi's; the other machine has none."},
    [RULE_DEVICE] = {"device", NULL,
        "Device memory, video memory, writes to ROM, addresses where nothing is: likewise."},
    [RULE_INTERRUPT] = {"interrupt", NULL,
        "External interrupts, INIT and the wake from HLT: ishi's devices raise them."},
    [RULE_DMA] = {"dma", NULL, "What devices write to memory."},
    [RULE_TIME] = {"time", "rdtsc rdtscp rdpmc", "Counters: each machine has its own time."},
    [RULE_CPUID] = {"cpuid", "cpuid", "The processors are different models."},
    [RULE_MSR] = {"msr", "rdmsr wrmsr",
        "MSRs that are not part of the compared state (WRMSR to EFER, STAR, LSTAR, CSTAR, FMASK, FS, "
        "GS and kernel GS base, SYSENTER_* and PAT is executed by both)."},
    [RULE_RANDOM] = {"random", "rdrand rdseed", "Random numbers."},
    [RULE_HALT] = {"halt", "hlt mwait monitor",
        "Waiting: the other machine would wait for interrupts that it never gets."},
    [RULE_CR8] = {"cr8", NULL, "MOV to and from CR8: the task priority is the local APIC's."},
    [RULE_FPU_IMAGE] = {"fpu-image",
        "fnsave fnstenv fxsave/fxsave/fxsave64 xsave/xsave/xsave64 xsavec/xsavec/xsavec64 "
        "xsaveopt/xsaveopt/xsaveopt64",
        "Images of the FPU in memory: QEMU keeps neither the last instruction's and operand's "
        "address nor the opcode (SDM 1 8.1.8), and tracks XINUSE otherwise (SDM 1 13.6)."},
    [RULE_PUSH_SEGMENT] = {"push-segment", NULL,
        "PUSH of a segment register: ishi writes 16 bits, as recent Intel processors do, and QEMU the "
        "zero-extended selector; SDM 2B, PUSH, allows both."},
    [RULE_WRITE_FAULT] = {"write-fault", NULL,
        "Page faults of instructions that read and write an operand: processors ask for the write at "
        "once, so that the error code says W (SDM 3A 4.7) and no accessed bit is set; QEMU reads first."},
    [RULE_UNDEFINED] = {"undefined-flags", NULL,
        "Flags that the instruction table says an instruction leaves undefined, until another one "
        "writes them."},
    [RULE_RF] = {"rf", NULL,
        "EFLAGS.RF, which is cleared at an instruction's end (SDM 3B 17.3.1.1) and so not seen "
        "between two; QEMU shows it before the instruction."},
    [RULE_NULL_SEGMENT] = {"null-segment", NULL,
        "Base, limit and attributes of a segment register that holds a null selector (SDM 3A "
        "3.4.2): unusable, their values are the implementation's."},
    [RULE_POWER_ON_FPU] = {"power-on-fpu", NULL,
        "The x87 state before the guest first sets it: QEMU starts as after FNINIT, SDM 3A table 9-1 "
        "says FCW 40h, FTW 5555h."},
    [RULE_SYSTEM_SEGMENT] = {"system-segment", NULL,
        "LDTR and TR until the guest loads them, where ishi starts a kernel directly: a gdb stub "
        "can't set them."},
    [RULE_RESET_CS] = {"reset-cs", NULL,
        "The type of CS until protected mode loads it: after a reset it is read/write, accessed (SDM "
        "3A table 9-1), and loads in real mode keep it; QEMU has a code segment there."},
    [RULE_ACCESSED] = {"accessed", NULL,
        "The accessed bit of a code segment, in the register and in the GDT: QEMU does not set it in "
        "transfers of control (SDM 3A 3.4.5.1: whenever the segment is loaded)."},
    [RULE_FLAGS_IMAGE] = {"flags-image", NULL,
        "The flags in an exception's frame that differ in undefined flags alone, or in RF, which faults push as 1 "
        "(SDM 3B 17.3.1.1) and QEMU as 0."},
};
/* clang-format on */

static bool lists(const char *insns, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = insns; s && (s = strstr(s, name)); s += n) {
        if ((s == insns || s[-1] == ' ') && (s[n] == ' ' || !s[n]))
            return true;
    }
    return false;
}

uint8_t *rules_by_row(void)
{
    uint8_t *by_row = xcalloc(isa_row_count, 1);
    for (unsigned i = 0; i < isa_row_count; i++) {
        for (unsigned k = 0; k < RULE_COUNT; k++) {
            if (lists(compare_rules[k].insns, isa_rows[i].name))
                by_row[i] = (uint8_t)k;
        }
        unsigned op = isa_rows[i].op[0];
        if (!strcmp(isa_rows[i].name, "push") && op >= OP_ES && op <= OP_GS)
            by_row[i] = RULE_PUSH_SEGMENT;
    }
    return by_row;
}

static bool shared_msr(uint32_t msr)
{
    switch (msr) {
    case 0xc0000080: /* EFER */
    case 0xc0000081: /* STAR, LSTAR, CSTAR, FMASK */
    case 0xc0000082:
    case 0xc0000083:
    case 0xc0000084:
    case 0xc0000100: /* FS, GS, kernel GS base, TSC_AUX */
    case 0xc0000101:
    case 0xc0000102:
    case 0xc0000103:
    case 0x174: /* SYSENTER */
    case 0x175:
    case 0x176:
    case 0x277: return true; /* PAT */
    default: return false;
    }
}

/* Does an access there stay in memory that both machines have? */
static bool is_memory(struct cpu *c, uint64_t la, bool write)
{
    uint64_t paddr;
    bool writable;
    uint8_t *flags, *host;
    if (!cpu_64(c))
        la = (uint32_t)la;
    if (!mmu_peek_translate(c, la, &paddr))
        return true; /* a page fault on both */
    host = bus_page(c->bus, paddr, &writable, &flags);
    if (!host || (writable && !flags))
        return false;
    if (!flags && paddr >= 0x100000 && paddr < FIRMWARE_TOP) /* a PCI function's ROM */
        return false;
    return writable || !write;
}

static uint64_t cut(uint64_t v, unsigned asize)
{
    return asize == 8 ? v : asize == 4 ? (uint32_t)v : (uint16_t)v;
}

static uint64_t base_of(const struct cpu *c, unsigned seg)
{
    return cpu_64(c) && seg != SEG_FS && seg != SEG_GS ? 0 : c->s.seg[seg].base;
}

static bool operand_ok(struct cpu *c, unsigned seg, uint64_t off, unsigned size, bool write)
{
    uint64_t la = base_of(c, seg) + off;
    return is_memory(c, la, write) && is_memory(c, la + (size ? size : 1) - 1, write);
}

/* A first operand in memory that is only read. */
static bool only_reads(const struct insn *in)
{
    return lists("cmp test bt push jmp call lgdt lidt lldt ltr lmsw verr verw mul imul div idiv",
                 in->row->name);
}

static uint64_t address_of(const struct cpu *c, const struct insn *in)
{
    uint64_t ea = (uint64_t)in->disp;
    if (in->base == ISA_RIP)
        ea += c->s.rip + in->length;
    else if (in->base != ISA_NO_REG)
        ea += c->s.r[in->base & 15];
    if (in->index != ISA_NO_REG)
        ea += c->s.r[in->index & 15] << in->scale;
    return ea;
}

/* Reads its operand in memory and writes it? Those that take LOCK, and the shifts. */
static bool is_read_and_write(const struct insn *in)
{
    return in->is_mem && in->op_count && in->op[0].where == W_M &&
           (in->row->attr & A_LOCK ||
            lists("rol ror rcl rcr shl shr sar shld shrd", in->row->name));
}

/* Does it fault there, by page? */
static bool fails_to_write(struct cpu *c, const struct insn *in)
{
    uint64_t ea = address_of(c, in);
    if (in->op_count > 1 && lists("bts btr btc", in->row->name) && in->op[1].where == W_G) {
        int64_t bit = (int64_t)(c->s.r[in->op[1].reg & 15] << (64 - 8 * in->op[1].size));
        ea += (uint64_t)((bit >> (64 - 8 * in->op[1].size)) >> 3);
    }
    uint64_t la = base_of(c, in->seg) + cut(ea, in->asize), last = la + in->op[0].size - 1;
    if (!cpu_64(c)) {
        la = (uint32_t)la;
        last = (uint32_t)last;
    }
    return !mmu_may_write(c, la) || !mmu_may_write(c, last);
}

static bool operands_ok(struct cpu *c, const struct insn *in)
{
    const struct cpu_state *s = &c->s;
    for (unsigned i = 0; i < in->op_count; i++) {
        unsigned size = in->op[i].size;
        if (in->op[i].where == W_X &&
            !operand_ok(c, in->seg, cut(s->r[R_SI], in->asize), size, false))
            return false;
        if (in->op[i].where == W_Y && !operand_ok(c, SEG_ES, cut(s->r[R_DI], in->asize), size, !i))
            return false;
    }
    if (!in->is_mem)
        return true;
    uint64_t ea = address_of(c, in);
    bool write = in->op_count && in->op[0].where == W_M && !only_reads(in);
    unsigned size = 1;
    for (unsigned i = 0; i < in->op_count; i++) {
        if (in->op[i].where == W_M)
            size = in->op[i].size;
    }
    return operand_ok(c, in->seg, cut(ea, in->asize), size, write);
}

enum rule rule_of_insn(const uint8_t *by_row, struct cpu *c, const struct insn *in)
{
    enum rule r = (enum rule)by_row[isa_row_index(in->row)];
    if (r == RULE_MSR && !strcmp(in->row->name, "wrmsr") && shared_msr((uint32_t)c->s.r[R_CX]))
        return RULE_NONE;
    if (r != RULE_NONE)
        return r;
    for (unsigned i = 0; i < in->op_count; i++) {
        if (in->op[i].where == W_C && in->op[i].reg == 8)
            return RULE_CR8;
    }
    if (is_read_and_write(in) && fails_to_write(c, in))
        return RULE_WRITE_FAULT;
    return operands_ok(c, in) ? RULE_NONE : RULE_DEVICE;
}

static bool is_segment_part(unsigned word)
{
    return word >= SW_SEG && word < SW_GDT && (word - SW_SEG) % 4;
}

enum rule rule_of_word(const struct snap *mine, unsigned word, uint64_t diff, uint32_t undefined,
                       bool fpu_known, bool system_known)
{
    if ((word == SW_ATTR(SEG_CS) || word == SW_ATTR(SEG_SS)) && diff == 1)
        return RULE_ACCESSED;
    if (word == SW_ATTR(SEG_CS) && diff == 8 && mine->w[word] == 0x93)
        return RULE_RESET_CS;
    if (word == SW_FLAGS && !(diff & ~(uint64_t)(undefined | EF_RF)))
        return diff & EF_RF ? RULE_RF : RULE_UNDEFINED;
    if (word >= SW_FCW && word < SW_MXCSR && !fpu_known)
        return RULE_POWER_ON_FPU;
    if (word >= SW_SEL(SNAP_LDTR) && word < SW_GDT && !system_known)
        return RULE_SYSTEM_SEGMENT;
    if (is_segment_part(word) && !(mine->w[SW_ATTR((word - SW_SEG) / 4)] & SEG_P))
        return RULE_NULL_SEGMENT;
    return RULE_NONE;
}
