/* String instructions, with and without REP.
 *
 * An iteration counts as an instruction (engine.h), so a REP does no more of them than the run has
 * left, and then leaves rip where it is: it goes on with the next run, and an interrupt can be
 * taken between iterations (SDM 2B REP). Iterations whose bytes lie in two pages that the TLB
 * knows are done in bulk; the result is always that of one element after the other. */
#include "cpu/flags.h"
#include "cpu/int_helpers.h"
#include "cpu/interp.h"
#include "cpu/intr.h"
#include "cpu/lift.h"

struct string {
    enum string_op op;
    unsigned size;   /* of an element */
    uint64_t mask;   /* of the address size */
    unsigned seg;    /* of the source */
    uint64_t si, di; /* offsets */
    int64_t step;    /* size, or -size with DF */
    uint64_t acc;    /* STOS, SCAS: rAX; LODS: what was loaded */
    uint64_t a, b;   /* CMPS, SCAS: the last pair */
    uint8_t rep;     /* 0, F3, F2 */
    bool mismatch;   /* REPE, REPNE: the last pair ends it */
    /* The source's page as the last single element found it. Source and destination may want the
     * same TLB slot; without this they would drive each other out at every element. */
    bool kept;
    uint64_t kept_page, kept_generation;
    uintptr_t kept_host;
};

static bool uses_source(enum string_op op)
{
    return op == STR_MOVS || op == STR_CMPS || op == STR_LODS;
}

static bool uses_dest(enum string_op op)
{
    return op != STR_LODS;
}

static bool writes_dest(enum string_op op)
{
    return op == STR_MOVS || op == STR_STOS;
}

static void compare(struct string *s, uint64_t a, uint64_t b)
{
    s->a = a;
    s->b = b;
    s->mismatch = s->rep == 0xf3 ? a != b : a == b;
}

/* Linear address of seg:off if its segment can be used the quick way; *n is cut to the elements
 * that are wholly in the page, in the segment and before the address wraps. */
static bool bulk_place(struct cpu *c, unsigned seg, uint64_t off, bool write,
                       const struct string *s, uint64_t *n, uint64_t *linear)
{
    const struct seg *r = &c->s.seg[seg];
    bool down = s->step < 0;
    uint64_t la = off, room;
    if (cpu_64(c)) {
        if (seg >= SEG_FS)
            la += r->base;
    } else {
        /* expand-up and not execute-only is for the quick way; the rest asks seg_linear() */
        if ((c->key & KEY_PROT) && (!(r->attr & SEG_P) || (r->attr & 0xc) == 4 ||
                                    (write ? (r->attr & 0xa) != 2 : (r->attr & 0xa) == 8)))
            return false;
        if (off > r->limit || r->limit - off < s->size - 1)
            return false;
        if (!down)
            *n = min_u64(*n, ((uint64_t)r->limit - off + 1) / s->size);
        la = (uint32_t)(la + r->base);
    }
    *linear = la;
    room = down ? off + s->size - 1 : s->mask - off;
    if (room < PAGE_SIZE)
        *n = min_u64(*n, (room + 1) / s->size);
    la &= PAGE_SIZE - 1;
    if (la + s->size > PAGE_SIZE)
        return false;
    *n = min_u64(*n, (down ? la + s->size : PAGE_SIZE - la) / s->size);
    return true;
}

/* Host address of seg:off if the TLB knows the page; *n as above. Else NULL. */
static char *bulk_page(struct cpu *c, unsigned seg, uint64_t off, bool write,
                       const struct string *s, uint64_t *n)
{
    uint64_t la, page;
    if (!bulk_place(c, seg, off, write, s, n, &la))
        return NULL;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    page = la & ~(uint64_t)(PAGE_SIZE - 1);
    if ((write ? e->write : e->read) == page)
        return (char *)(e->host + (la - page));
    if (!write && s->kept && s->kept_page == page && s->kept_generation == c->tlb->generation)
        return (char *)(s->kept_host + (la - page));
    return NULL;
}

/* Keeps the source's page, which was just read. */
static void keep_source(struct cpu *c, struct string *s)
{
    uint64_t la, n = 1;
    if (!bulk_place(c, s->seg, s->si, false, s, &n, &la))
        return;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, la);
    s->kept_page = la & ~(uint64_t)(PAGE_SIZE - 1);
    s->kept = e->read == s->kept_page;
    s->kept_host = e->host;
    s->kept_generation = c->tlb->generation;
}

/* One element, by any path. */
static bool one(struct cpu *c, struct string *s)
{
    uint64_t v = s->acc, d;
    bool compares = s->op == STR_CMPS || s->op == STR_SCAS;
    /* processors read the second operand of CMPS first, which shows when both fault */
    if (compares && !seg_load(c, SEG_ES, s->di, s->size, &d))
        return false;
    if (uses_source(s->op) && !seg_load(c, s->seg, s->si, s->size, &v))
        return false;
    if (uses_source(s->op) && s->rep)
        keep_source(c, s);
    if (writes_dest(s->op) && !seg_store(c, SEG_ES, s->di, s->size, v))
        return false;
    if (compares)
        compare(s, v, d);
    if (s->op == STR_LODS)
        s->acc = v;
    if (uses_source(s->op))
        s->si = (s->si + (uint64_t)s->step) & s->mask;
    if (uses_dest(s->op))
        s->di = (s->di + (uint64_t)s->step) & s->mask;
    return true;
}

static void fill(char *p, uint64_t v, unsigned size, uint64_t n)
{
    if (v == (uint8_t)v * (0x0101010101010101u & ~0ull >> (64 - 8 * size)))
        memset(p, (int)(uint8_t)v, n * size);
    else
        for (uint64_t i = 0; i < n; i++)
            mem_put(p + i * size, size, v);
}

static void copy(char *d, const char *s, unsigned size, uint64_t n, bool down)
{
    if (down ? d >= s || d + n * size <= s : d <= s || d >= s + n * size) {
        memmove(d, s, n * size);
        return;
    }
    if (down) {
        while (n--)
            mem_put(d + n * size, size, mem_get(s + n * size, size));
        return;
    }
    for (uint64_t i = 0; i < n; i++) { /* what was just written is read again */
        mem_put(d + i * size, size, mem_get(s + i * size, size));
    }
}

static uint64_t element(const char *p, unsigned size)
{
    uint64_t v = 0;
    switch (size) {
    case 1: return (uint8_t)*p;
    case 2: return get_le16(p);
    case 4: return get_le32(p);
    default: memcpy(&v, p, 8); return v;
    }
}

/* How many of n bytes at a and b are equal, before the first that is not; perhaps fewer. b NULL:
 * a's are compared with `pattern`, again and again. */
static uint64_t equal_bytes(const char *a, const char *b, uint64_t pattern, uint64_t n)
{
    enum { CHUNK = 256 };
    uint64_t i = 0, x, y = pattern;
    while (b && n - i >= CHUNK && !memcmp(a + i, b + i, CHUNK))
        i += CHUNK;
    for (; n - i >= 8; i += 8) {
        memcpy(&x, a + i, 8);
        if (b)
            memcpy(&y, b + i, 8);
        if (x != y)
            break;
    }
    return i;
}

/* How many of n elements can be passed over as surely not the last of a SCAS or CMPS. */
static uint64_t passed(const struct string *s, const char *from, const char *to, uint64_t n)
{
    static const uint64_t ones[] = {0x0101010101010101, 0x0001000100010001, 0x100000001, 1};
    if (s->rep == 0xf3)
        return equal_bytes(to, from, s->acc * ones[lg_size(s->size)], n * s->size) / s->size;
    if (from || s->size > 1)
        return 0;
    const char *hit = memchr(to, (int)(uint8_t)s->acc, n);
    return hit ? (uint64_t)(hit - to) : n;
}

/* Does up to n elements straight on host memory; returns how many. Downwards only those that look
 * for nothing. */
static uint64_t bulk(struct cpu *c, struct string *s, uint64_t n)
{
    char *from = NULL, *to = NULL;
    uint64_t done = 0, below = 0;
    bool down = s->step < 0;
    if (down && s->op != STR_MOVS && s->op != STR_STOS)
        return 0;
    if (uses_source(s->op) && !(from = bulk_page(c, s->seg, s->si, false, s, &n)))
        return 0;
    if (uses_dest(s->op) && !(to = bulk_page(c, SEG_ES, s->di, writes_dest(s->op), s, &n)))
        return 0;
    if (!n)
        return 0;
    if (down)
        below = (n - 1) * s->size;
    switch (s->op) {
    case STR_MOVS: copy(to - below, from - below, s->size, done = n, down); break;
    case STR_STOS: fill(to - below, s->acc, s->size, done = n); break;
    case STR_LODS: s->acc = element(from + (n - 1) * s->size, s->size), done = n; break;
    default:
        s->mismatch = false;
        done = passed(s, from, to, n);
        done = done < n ? done : n - 1; /* the last is looked at in any case */
        for (; done < n && !s->mismatch; done++)
            compare(s, from ? element(from + done * s->size, s->size) : s->acc,
                    element(to + done * s->size, s->size));
    }
    if (from)
        s->si = (s->si + done * (uint64_t)s->step) & s->mask;
    if (to)
        s->di = (s->di + done * (uint64_t)s->step) & s->mask;
    return done;
}

static void put(struct cpu *c, unsigned reg, unsigned asize, uint64_t v)
{
    if (asize == 2)
        R(reg) = (R(reg) & ~0xffffull) | v;
    else
        R(reg) = v;
}

/* Writes registers and flags back after at least one element. A REP that has not ended leaves the
 * flags as they were before its first element, as Intel's chips do on a fault; then nothing depends
 * on where a run ended. */
static void commit(struct cpu *c, const struct uop *u, const struct string *s, bool flags)
{
    uint64_t m = ~0ull >> (64 - 8 * s->size);
    if (uses_source(s->op))
        put(c, R_SI, u->asize, s->si);
    if (uses_dest(s->op))
        put(c, R_DI, u->asize, s->di);
    if (s->op == STR_LODS)
        R(R_AX) = s->size >= 4 ? s->acc : (R(R_AX) & ~m) | (s->acc & m);
    if (flags && (s->op == STR_CMPS || s->op == STR_SCAS)) {
        c->s.cc_op = CC_SUB * 4 + lg_size(s->size);
        c->s.cc_dst = (s->a - s->b) & m;
        c->s.cc_src = s->b;
    }
}

/* A REP that comes to no iteration, by its count or a fault, writes ECX all the same if addresses
 * have 32 bits, so that the upper half of RCX goes; MOVS and STOS write their indexes too. */
static void nothing_done(struct cpu *c, const struct uop *u, const struct string *s, uint64_t count)
{
    put(c, R_CX, u->asize, count);
    if (writes_dest(s->op) && uses_source(s->op))
        put(c, R_SI, u->asize, s->si);
    if (writes_dest(s->op))
        put(c, R_DI, u->asize, s->di);
}

static bool rep(struct cpu *c, const struct uop *u, struct string *s)
{
    uint64_t count = R(R_CX) & s->mask, left = c->limit - cpu_icount(c), done = 0;
    bool compares = s->op == STR_CMPS || s->op == STR_SCAS, ok = true;
    if (!count) {
        nothing_done(c, u, s, count);
        return true;
    }
    if (c->key & KEY_SINGLE)
        left = 1;
    left = min_u64(count, left);
    while (done < left) {
        uint64_t n = bulk(c, s, left - done);
        if (!n) {
            ok = one(c, s);
            if (!ok)
                break;
            n = 1;
        }
        done += n;
        if ((compares && s->mismatch) || cpu_requests(c))
            break;
    }
    if (!done) {
        if (c->fault.vector != EXC_RESTART)
            nothing_done(c, u, s, count);
        return false;
    }
    bool ended = ok && (done == count || (compares && s->mismatch));
    commit(c, u, s, ended);
    put(c, R_CX, u->asize, (count - done) & s->mask);
    if (!ok && c->fault.vector != EXC_RESTART) {
        c->s.icount += done; /* the one that faults is not among them */
        return false;
    }
    c->s.icount += done - 1; /* the block counts one */
    if (!ended)
        cpu_repeat(c);
    return true;
}

bool q_string_step(struct cpu *c, const struct uop *u)
{
    uint64_t v = R(u->dst) + (c->s.rflags & EF_DF ? -(uint64_t)u->imm : (uint64_t)u->imm);
    R(u->dst) = u->asize == 4 ? (uint32_t)v : v;
    return true;
}

bool h_string(struct cpu *c, const struct uop *u)
{
    uint64_t mask = ~0ull >> (64 - 8 * u->asize);
    struct string s = {.op = (enum string_op)u->imm,
                       .size = u->size,
                       .mask = mask,
                       .seg = u->seg,
                       .si = R(R_SI) & mask,
                       .di = R(R_DI) & mask,
                       .step = c->s.rflags & EF_DF ? -(int64_t)u->size : u->size,
                       .acc = R(R_AX) & ~0ull >> (64 - 8 * u->size),
                       .rep = (uint8_t)u->aux};
    if (s.rep)
        return rep(c, u, &s);
    if (!one(c, &s))
        return false;
    commit(c, u, &s, true);
    return true;
}
