/* What ishi did alone is handed over to the other machine.
 *
 * With grain sync, a loop that polls a port or a counter until it has the value that it waits for,
 * or that writes one character after the other, would be handed over several times an iteration,
 * and boots consist of such loops to a good part. So when a few such instructions, near to each
 * other, have been met POLL_AFTER times with nothing else between, ishi goes on alone. After each
 * of them it keeps its registers and the pages that were written; when something else is to be met,
 * the other machine gets what was kept after the last one, and follows from there. What ran in
 * between is not compared; it is counted. */
#include "front/lockstep.h"

static void give_page(struct lockstep *l, uint64_t paddr, const uint8_t *mine)
{
    uint8_t copy[PAGE_SIZE];
    if (!witness_read(&l->w, paddr, copy, PAGE_SIZE, &l->e)) {
        lockstep_stop(l);
        return;
    }
    for (unsigned i = 0, k; i < PAGE_SIZE; i = k) {
        k = i + 8;
        if (!memcmp(mine + i, copy + i, 8))
            continue;
        while (k < PAGE_SIZE && memcmp(mine + k, copy + k, 8))
            k += 8;
        witness_write(&l->w, paddr + i, mine + i, k - i);
    }
}

void lockstep_give_pages(struct lockstep *l, uint8_t *which)
{
    uint64_t pages = lockstep_pages(l);
    for (uint64_t k = 0; (k = lockstep_next(which, 1, k, pages)) < pages;) {
        if (lockstep_visible(l, k))
            give_page(l, k << PAGE_SHIFT, lockstep_visible(l, k));
        which[k] = 0;
    }
}

/* The area whose mapping the chipset changes. */
static void give_low(struct lockstep *l)
{
    for (unsigned i = 0; i < LOW_PAGES; i++) {
        bool writable;
        uint64_t paddr = (uint64_t)(LOW_FIRST + i) << PAGE_SHIFT;
        uint8_t *flags, *host = bus_page(l->bus, paddr, &writable, &flags);
        if (host == l->low[i])
            continue;
        l->low[i] = host;
        if (host)
            give_page(l, paddr, host);
    }
}

static void give_registers(struct lockstep *l, const struct snap *before, const struct snap *after)
{
    static const unsigned order[] = {SW_CR4, SW_CR3, SW_EFER, SW_CR0, SW_CR2};
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        if (after->w[order[i]] != before->w[order[i]])
            witness_set(&l->w, after, order[i]);
    }
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (after->w[SW_SEL(i)] != before->w[SW_SEL(i)])
            witness_set(&l->w, after, SW_SEL(i));
    }
    for (unsigned i = SW_R; i <= SW_FLAGS; i++) {
        if (after->w[i] != before->w[i])
            witness_set(&l->w, after, i);
    }
    if (after->w[SW_KGS] != before->w[SW_KGS])
        witness_set(&l->w, after, SW_KGS);
}

void lockstep_hand_over(struct lockstep *l, const struct snap *before, enum rule r)
{
    struct snap after;
    snap_take(&after, l->c);
    l->used[r]++;
    l->meeting[l->meetings++ % MEETINGS] = (struct meeting){
        l->c->s.icount, before->w[SW_RIP], (uint16_t)before->w[SW_SEL(SEG_CS)], (uint8_t)r};
    if (r == RULE_PORT || r == RULE_DEVICE)
        give_low(l);
    if (lockstep_harvest(l, l->written))
        lockstep_give_pages(l, l->written);
    give_registers(l, before, &after);
    l->other_la = lockstep_pc(l->c);
    if (l->poll.times <= POLL_AFTER || r == RULE_INTERRUPT)
        return;
    l->poll.on = true;
    l->poll.start = after;
    l->poll.loops++;
}

/* --- polling ---------------------------------------------------------------------------------- */

/* Can the other machine be brought from `start` to where ishi is by give_registers()? */
static bool can_give(struct lockstep *l)
{
    struct snap now;
    snap_take(&now, l->c);
    for (unsigned i = SW_FLAGS + 1; i < SW_COUNT; i++) {
        if (now.w[i] != l->poll.start.w[i] && i != SW_CR2)
            return false;
    }
    return true;
}

bool lockstep_polls(struct lockstep *l, enum rule r)
{
    struct polling *p = &l->poll;
    uint64_t la = lockstep_pc(l->c), now = l->c->s.icount;
    bool near = now - p->last <= POLL_NEAR, known = false;
    bool can = l->free && (r == RULE_PORT || r == RULE_TIME || r == RULE_DEVICE);
    p->last = now;
    for (unsigned i = 0; i < p->count; i++)
        known |= p->la[i] == la;
    if (!can || !near || (!known && (p->on || p->count == POLL_PLACES)) ||
        (p->on && !can_give(l))) {
        p->count = p->times = 0;
        known = false;
    }
    if (!known && can)
        p->la[p->count++] = la;
    p->times += known;
    return p->on && known;
}

/* Adds the pages that are marked to those kept. False: there are too many. */
static bool keep_pages(struct lockstep *l, const uint8_t *marks, uint8_t bits)
{
    struct polling *p = &l->poll;
    uint64_t pages = lockstep_pages(l);
    for (uint64_t k = 0; (k = lockstep_next(marks, bits, k, pages)) < pages; k++) {
        unsigned at = 0;
        while (at < p->pages && p->page[at] != k)
            at++;
        if (at < p->pages || !lockstep_visible(l, k))
            continue;
        if (at == POLL_PAGES)
            return false;
        p->page[p->pages++] = k;
    }
    return true;
}

/* The marks of written pages stay, so that the CPU writes on without being asked: those kept count
 * as written until the next harvest, and are copied each time. */
void lockstep_poll_keep(struct lockstep *l, enum rule r)
{
    struct polling *p = &l->poll;
    bool room = keep_pages(l, l->written, 1) && keep_pages(l, l->bus->page_flags, PAGE_DIRTY);
    snap_take(&p->state, l->c);
    p->at = l->c->s.icount;
    p->la_after = lockstep_pc(l->c);
    l->used[r]++;
    for (unsigned i = 0; i < p->pages; i++)
        memcpy(p->bytes[i], lockstep_visible(l, p->page[i]), PAGE_SIZE);
    if (room)
        return;
    lockstep_poll_end(l); /* this place is as good as another */
    lockstep_harvest(l, l->written);
    lockstep_give_pages(l, l->written);
}

void lockstep_poll_end(struct lockstep *l)
{
    struct polling *p = &l->poll;
    if (!p->on)
        return;
    p->on = false;
    p->count = p->times = 0;
    if (p->at <= l->met)
        return;
    for (unsigned i = 0; i < p->pages; i++)
        give_page(l, p->page[i] << PAGE_SHIFT, p->bytes[i]);
    p->pages = 0;
    give_low(l);
    give_registers(l, &p->start, &p->state);
    p->steps += p->at - l->met;
    l->met = p->at;
    l->other_la = p->la_after;
}
