/* The disassembler: a decoded instruction as text, Intel syntax.
 *
 * The default segment is left out, except where nothing else says that an operand is memory: an
 * address without registers. Numbers are hexadecimal. */
#include "isa/isa.h"

#include <stdarg.h>
#include <stdio.h>

/* Text that grows in a buffer; len goes on past its end, as snprintf's result does. */
struct text {
    char *buf;
    size_t size;
    int len;
};

static void PRINTF(2, 3) put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t at = min_u64(t->len, t->size);
    int n = vsnprintf(t->buf ? t->buf + at : NULL, t->size - at, fmt, ap);
    va_end(ap);
    t->len += n > 0 ? n : 0;
}

static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs"};

static void put_general(struct text *t, unsigned reg, unsigned size)
{
    static const char *const word[8] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const high[4] = {"ah", "ch", "dh", "bh"};
    if (reg & ISA_HIGH)
        put(t, "%s", high[reg & 3]);
    else if (reg >= 8)
        put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    else if (size == 1)
        put(t, reg < 4 ? "%.1sl" : "%sl", word[reg]);
    else
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", word[reg]);
}

static void put_memory(struct text *t, const struct insn *in, const struct isa_opnd *op,
                       uint64_t next)
{
    static const char *const sizes[33] = {
        [1] = "byte",  [2] = "word",   [4] = "dword",    [6] = "fword",
        [8] = "qword", [10] = "tbyte", [16] = "xmmword", [32] = "ymmword",
    };
    /* a gather reads elements of W's size, by indexes of the operand's */
    unsigned size = op->where != W_VM ? op->size : in->rex & 8 ? 8 : 4;
    if (size < ARRAY_LEN(sizes) && sizes[size])
        put(t, "%s ptr ", sizes[size]);
    bool bare = in->base == ISA_NO_REG && in->index == ISA_NO_REG;
    if (in->seg_override || (bare && in->mode != ISA_64))
        put(t, "%s:", seg_names[in->seg]);
    uint64_t mask = in->asize == 8 ? ~0ull : BIT(in->asize * 8) - 1;
    put(t, "[");
    if (in->base == ISA_RIP)
        put(t, "%s", in->asize == 8 ? "rip" : "eip");
    else if (in->base != ISA_NO_REG)
        put_general(t, in->base, in->asize);
    if (in->index != ISA_NO_REG) {
        put(t, "%s", in->base == ISA_NO_REG ? "" : "+");
        if (op->where == W_VM)
            put(t, "%cmm%u", in->vex_l && size <= op->size ? 'y' : 'x', in->index);
        else
            put_general(t, in->index, in->asize);
        if (in->asize != 2 && (in->scale || in->base == ISA_NO_REG))
            put(t, "*%u", 1u << in->scale);
    }
    if (bare)
        put(t, "0x%llx", (unsigned long long)(in->disp & mask));
    else if (in->disp < 0)
        put(t, "-0x%llx", -(unsigned long long)in->disp);
    else if (in->disp)
        put(t, "+0x%llx", (unsigned long long)in->disp);
    put(t, "]");
    if (in->base == ISA_RIP)
        put(t, " {0x%llx}", (unsigned long long)((next + in->disp) & mask));
}

static void put_operand(struct text *t, const struct insn *in, unsigned i, uint64_t next)
{
    const struct isa_opnd *op = &in->op[i];
    uint64_t mask = in->osize == 8 ? ~0ull : BIT(in->osize * 8) - 1;
    switch (op->where) {
    case W_M:
    case W_VM: put_memory(t, in, op, next); break;
    case W_I: {
        uint64_t v = i && in->op[0].where == W_I ? in->imm2 : in->imm;
        put(t, "0x%llx", (unsigned long long)(op->size >= 8 ? v : v & (BIT(op->size * 8) - 1)));
        break;
    }
    case W_J: put(t, "0x%llx", (unsigned long long)((next + in->imm) & mask)); break;
    case W_A: put(t, "0x%x:0x%llx", in->imm2, (unsigned long long)in->imm); break;
    case W_S:
    case W_SREG: put(t, "%s", seg_names[op->reg]); break;
    case W_C: put(t, "cr%u", op->reg); break;
    case W_D: put(t, "dr%u", op->reg); break;
    case W_V:
    case W_W:
    case W_U:
    case W_H:
    case W_L: put(t, "%cmm%u", op->size == 32 ? 'y' : 'x', op->reg); break;
    case W_XMM0: put(t, "xmm0"); break;
    case W_P:
    case W_Q:
    case W_N: put(t, "mm%u", op->reg); break;
    case W_ST:
    case W_ST0: put(t, "st(%u)", op->where == W_ST ? op->reg : 0); break;
    case W_ONE: put(t, "1"); break;
    default: put_general(t, op->reg, op->size);
    }
}

/* The name for the present size, out of the row's "16/32/64". */
static void put_mnemonic(struct text *t, const struct insn *in)
{
    const char *s = in->row->name;
    unsigned size = in->osize;
    if (*s == '@') {
        size = in->asize;
        s++;
    }
    for (unsigned skip = size / 4; skip; skip--) {
        const char *slash = strchr(s, '/');
        s = slash ? slash + 1 : s;
    }
    put(t, "%.*s", (int)strcspn(s, "/"), s);
}

/* String instructions name their operands in the mnemonic. */
static bool is_implied(const struct insn *in)
{
    for (unsigned i = 0; i < in->op_count; i++)
        if (in->op[i].where == W_X || in->op[i].where == W_Y)
            return true;
    return false;
}

static void put_prefixes(struct text *t, const struct insn *in)
{
    if (in->lock)
        put(t, "lock ");
    if (in->rep && in->row->attr & A_REP)
        put(t, "rep ");
    if (in->rep && in->row->attr & A_REPZ)
        put(t, in->rep == 0xf3 ? "repe " : "repne ");
    if (in->seg_override && (is_implied(in) || !strcmp(in->row->name, "xlatb")))
        put(t, "%s ", seg_names[in->seg]);
}

int isa_mnemonic(const struct insn *in, char *buf, size_t size)
{
    struct text t = {.buf = buf, .size = size};
    if (in->row)
        put_mnemonic(&t, in);
    else
        put(&t, "(bad)");
    return t.len;
}

int isa_format(const struct insn *in, uint64_t ip, char *buf, size_t size)
{
    struct text t = {.buf = buf, .size = size};
    if (!in->row)
        return isa_mnemonic(in, buf, size);
    put_prefixes(&t, in);
    put_mnemonic(&t, in);
    if (is_implied(in))
        return t.len;
    for (unsigned i = 0; i < in->op_count; i++) {
        put(&t, i ? ", " : " ");
        put_operand(&t, in, i, ip + in->length);
    }
    return t.len;
}
