/* See area.h. Nearly always the whole operand is within reach, and one access. */
#include "cpu/area.h"

static bool in_reach(const struct cpu *c, const struct uop *u, unsigned from, unsigned n)
{
    uint64_t at = mem_offset(c, u, from);
    return u->asize == 8 || at + n - 1 <= size_mask(u->asize);
}

/* The bytes from `at` that are accessed at once, of those up to `end`. */
static unsigned piece(struct area a, unsigned at, unsigned end)
{
    unsigned n = at < a.head              ? a.unit - at % a.unit
                 : (at - a.head) % 10 < 8 ? 8 - (at - a.head) % 10
                                          : 10 - (at - a.head) % 10;
    return n < end - at ? n : end - at;
}

bool area_probe(struct cpu *c, const struct uop *u, struct area a, unsigned from, unsigned n,
                unsigned acc)
{
    if (in_reach(c, u, from, n))
        return seg_probe(c, u->seg, mem_offset(c, u, from), n, acc);
    for (unsigned at = from, size; at < from + n; at += size) {
        size = piece(a, at, from + n);
        if (!seg_probe(c, u->seg, mem_offset(c, u, at), size, acc))
            return false;
    }
    return true;
}

bool area_load(struct cpu *c, const struct uop *u, struct area a, unsigned from, void *b,
               unsigned n)
{
    if (in_reach(c, u, from, n))
        return seg_load_bytes(c, u->seg, mem_offset(c, u, from), b, n);
    for (unsigned at = from, size; at < from + n; at += size) {
        size = piece(a, at, from + n);
        if (!seg_load_bytes(c, u->seg, mem_offset(c, u, at), (uint8_t *)b + (at - from), size))
            return false;
    }
    return true;
}

bool area_store(struct cpu *c, const struct uop *u, struct area a, unsigned from, const void *b,
                unsigned n)
{
    if (in_reach(c, u, from, n))
        return seg_store_bytes(c, u->seg, mem_offset(c, u, from), b, n);
    if (!area_probe(c, u, a, from, n, ACC_WRITE))
        return false;
    for (unsigned at = from, size; at < from + n; at += size) {
        size = piece(a, at, from + n);
        if (!seg_store_bytes(c, u->seg, mem_offset(c, u, at), (const uint8_t *)b + (at - from),
                             size))
            return false;
    }
    return true;
}
