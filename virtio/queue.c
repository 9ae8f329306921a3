#include "virtio/queue.h"

/* Flags of a descriptor, and of the available ring (virtio 1.2, 2.7.5 and 2.7.6). */
#define D_NEXT         1u
#define D_WRITE        2u
#define D_INDIRECT     4u
#define A_NO_INTERRUPT 1u

#define DESC_SIZE 16u

/* clang-format off */
STATE_TABLE(virtq_table, "virtq", struct virtq_state,
    STATE(struct virtq_state, desc),
    STATE(struct virtq_state, avail),
    STATE(struct virtq_state, used),
    STATE(struct virtq_state, size),
    STATE(struct virtq_state, next),
    STATE(struct virtq_state, done),
    STATE(struct virtq_state, told),
    STATE(struct virtq_state, vector),
    STATE(struct virtq_state, enabled),
    STATE_ARRAY(struct virtq_state, reserved));
/* clang-format on */

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

/* Where the ring's words are. The event words lie behind the entries (2.7.7). */

static uint64_t avail_index(const struct virtq_state *s)
{
    return s->avail + 2;
}

static uint64_t avail_entry(const struct virtq_state *s, uint16_t i)
{
    return s->avail + 4 + 2u * (i & (s->size - 1u));
}

static uint64_t used_event(const struct virtq_state *s)
{
    return s->avail + 4 + 2u * s->size;
}

static uint64_t used_entry(const struct virtq_state *s, uint16_t i)
{
    return s->used + 4 + 8u * (i & (s->size - 1u));
}

static uint64_t avail_event(const struct virtq_state *s)
{
    return s->used + 4 + 8u * s->size;
}

void virtq_reset(struct virtq_state *s, uint16_t size)
{
    *s = (struct virtq_state){.size = size, .vector = VIRTQ_NOBODY};
}

static bool fits(uint64_t addr, uint64_t align, uint64_t len)
{
    return addr % align == 0 && addr <= ~0ull - len;
}

bool virtq_valid(const struct virtq_state *s)
{
    unsigned n = s->size;
    return n && n <= VIRTQ_SIZE && (n & (n - 1)) == 0 && fits(s->desc, 16, DESC_SIZE * n) &&
           fits(s->avail, 2, 6 + 2 * n) && fits(s->used, 4, 6 + 8 * n);
}

/* --- taking ----------------------------------------------------------------------------------- */

static bool read_desc(const struct virtq *q, uint64_t table, uint32_t i, struct desc *d)
{
    uint8_t guest_desc[DESC_SIZE];
    if (!bus_dma_read(q->bus, table + DESC_SIZE * (uint64_t)i, guest_desc, sizeof guest_desc))
        return false;
    d->addr = get_le64(guest_desc);
    d->len = get_le32(guest_desc + 8);
    d->flags = get_le16(guest_desc + 12);
    d->next = get_le16(guest_desc + 14);
    return true;
}

static bool broken(const char **why, const char *text)
{
    *why = text;
    return false;
}

static bool add_piece(struct virtq_chain *c, const struct desc *d, const char **why)
{
    bool write = d->flags & D_WRITE;
    if (c->count == VIRTQ_SIZE)
        return broken(why, "a chain is too long, or a loop");
    if (!write && c->readable < c->count)
        return broken(why, "a piece to read comes after one to write");
    c->piece[c->count++] = (struct virtq_piece){d->addr, d->len};
    c->readable += !write;
    *(write ? &c->in_len : &c->out_len) += d->len;
    return c->in_len + c->out_len <= BIT(32) || broken(why, "a chain of more than 4 GiB");
}

/* A chain in a table of `count` descriptors, from `at` on, up to the one that points to another
 * table, which is left in *d. A loop is a chain that is too long. */
static bool walk(const struct virtq *q, uint64_t table, uint32_t count, uint32_t at,
                 struct virtq_chain *c, struct desc *d, const char **why)
{
    for (;;) {
        if (at >= count)
            return broken(why, "a descriptor's number is beyond the table's end");
        if (!read_desc(q, table, at, d))
            return broken(why, "the descriptors are not in memory");
        if (d->flags & D_INDIRECT)
            return true;
        if (!add_piece(c, d, why))
            return false;
        if (!(d->flags & D_NEXT))
            return true;
        at = d->next;
    }
}

static bool walk_all(const struct virtq *q, struct virtq_chain *c, const char **why)
{
    struct desc d, inner;
    if (!walk(q, q->s->desc, q->s->size, c->head, c, &d, why))
        return false;
    if (!(d.flags & D_INDIRECT))
        return true;
    if (!(q->features & VIRTQ_INDIRECT))
        return broken(why, "an indirect table that was not agreed on");
    if (d.flags & D_NEXT)
        return broken(why, "a chain goes on after its indirect table");
    if (!d.len || d.len % DESC_SIZE)
        return broken(why, "an indirect table of a broken size");
    if (!walk(q, d.addr, d.len / DESC_SIZE, 0, c, &inner, why))
        return false;
    return !(inner.flags & D_INDIRECT) || broken(why, "an indirect table in another");
}

/* How many chains wait; the event word is set before the last look, so that a driver that adds one
 * meanwhile either is seen or notifies. */
static bool look(const struct virtq *q, uint16_t *waiting)
{
    uint16_t index;
    if (!bus_dma_load16(q->bus, avail_index(q->s), &index))
        return false;
    if (index == q->s->next && (q->features & VIRTQ_EVENTS)) {
        if (!bus_dma_store16(q->bus, avail_event(q->s), q->s->next))
            return false;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!bus_dma_load16(q->bus, avail_index(q->s), &index))
            return false;
    }
    *waiting = (uint16_t)(index - q->s->next);
    return true;
}

enum virtq_took virtq_take(const struct virtq *q, struct virtq_chain *c, const char **why)
{
    uint16_t waiting;
    c->count = c->readable = 0;
    c->out_len = c->in_len = 0;
    if (!look(q, &waiting) || !bus_dma_load16(q->bus, avail_entry(q->s, q->s->next), &c->head)) {
        *why = "the available ring is not in memory";
        return VIRTQ_BROKEN;
    }
    if (!waiting)
        return VIRTQ_EMPTY;
    if (waiting > q->s->size) {
        *why = "more chains are available than the queue has entries";
        return VIRTQ_BROKEN;
    }
    if (!walk_all(q, c, why))
        return VIRTQ_BROKEN;
    q->s->next++;
    return VIRTQ_CHAIN;
}

/* --- giving back ------------------------------------------------------------------------------ */

bool virtq_give(const struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    uint8_t entry[8];
    put_le32(entry, c->head);
    put_le32(entry + 4, written);
    return bus_dma_write(q->bus, used_entry(q->s, q->s->done), entry, sizeof entry) &&
           bus_dma_store16(q->bus, q->s->used + 2, ++q->s->done);
}

/* 2.7.10: with events, when `done` has just gone past the one that the driver waits for. */
bool virtq_wants_interrupt(const struct virtq *q)
{
    uint16_t event, flags, now = q->s->done, before = q->s->told;
    q->s->told = now;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was given is seen before this is looked at */
    if (!(q->features & VIRTQ_EVENTS))
        return now != before && bus_dma_load16(q->bus, q->s->avail, &flags) &&
               !(flags & A_NO_INTERRUPT);
    return bus_dma_load16(q->bus, used_event(q->s), &event) &&
           (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* --- a chain's bytes -------------------------------------------------------------------------- */

/* Calls DMA for the pieces of [offset, offset + len) from piece `first` on. */
static bool move(const struct virtq *q, const struct virtq_chain *c, unsigned first,
                 uint64_t offset, uint8_t *to, const uint8_t *from, uint64_t len)
{
    bool ok = true;
    for (unsigned i = first; i < c->count && len; i++) {
        const struct virtq_piece *p = &c->piece[i];
        if (offset >= p->len) {
            offset -= p->len;
            continue;
        }
        uint64_t n = min_u64(len, p->len - offset), addr = p->addr + offset;
        /* a piece may wrap around the address space: there is no memory at its end */
        ok = (to ? bus_dma_read(q->bus, addr, to, n) : bus_dma_write(q->bus, addr, from, n)) && ok;
        to = to ? to + n : NULL;
        from = from ? from + n : NULL;
        len -= n;
        offset = 0;
    }
    CHECK(!len);
    return ok;
}

bool virtq_read(const struct virtq *q, const struct virtq_chain *c, uint64_t offset, void *buf,
                uint64_t len)
{
    CHECK(offset <= c->out_len && len <= c->out_len - offset);
    return move(q, c, 0, offset, buf, NULL, len);
}

bool virtq_write(const struct virtq *q, const struct virtq_chain *c, uint64_t offset,
                 const void *buf, uint64_t len)
{
    CHECK(offset <= c->in_len && len <= c->in_len - offset);
    return move(q, c, c->readable, offset, NULL, buf, len);
}
