/* The other machine follows ishi through the window, and is compared. */
#include <inttypes.h>
#include <stdio.h>

#include "cpu/mem.h"
#include "front/lockstep.h"

#define NEAR 64 /* how far before the window's end a breakpoint may be */
/* For the other machine to come to the same state: so long, and so many stops, as a busy host makes
 * few of them in that time. */
#define PATIENCE_NS    120000000000ull
#define PATIENCE_STOPS 300000u
#define BLOCK_MAX      600 /* instructions in a block of the other machine, at most */

/* --- telling ---------------------------------------------------------------------------------- */

static void show_step(const struct step *s, const char *prefix)
{
    struct insn in;
    char text[120] = "(no memory is mapped here)", hex[3 * ISA_MAX_LEN + 1] = "";
    bool wide = s->s.w[SW_EFER] & EFER_LMA && s->s.w[SW_ATTR(SEG_CS)] & SEG_L;
    enum isa_mode mode = wide ? ISA_64 : s->s.w[SW_ATTR(SEG_CS)] & SEG_DB ? ISA_32 : ISA_16;
    unsigned n = 0;
    if (s->count && isa_decode(&in, s->bytes, s->count, mode, NULL) == ISA_OK) {
        isa_format(&in, s->s.w[SW_RIP], text, sizeof text);
        n = in.length;
    }
    for (unsigned i = 0; i < n; i++)
        sprintf(hex + 3 * i, "%02x ", s->bytes[i]);
    printf("%s%04" PRIx64 ":%08" PRIx64 "  %-24s %s\n", prefix, s->s.w[SW_SEL(SEG_CS)],
           s->s.w[SW_RIP], hex, text);
}

/* Grain sync knows only these of the way to a difference. */
static void show_meetings(const struct lockstep *l)
{
    uint64_t n = min_u64(l->meetings, min_u64(MEETINGS, l->o->history));
    printf("\nThe last hand-overs:\n");
    for (uint64_t i = l->meetings - n; i < l->meetings; i++) {
        const struct meeting *m = &l->meeting[i % MEETINGS];
        printf("  %12" PRIu64 "  %04x:%08" PRIx64 "  %s\n", m->icount, m->cs, m->rip,
               compare_rules[m->rule].name);
    }
}

/* The instructions that led to position `at` of the window. */
static void show_history(const struct lockstep *l, unsigned at)
{
    unsigned n = (unsigned)min_u64(at, l->o->history);
    if (l->free) {
        show_meetings(l);
        return;
    }
    printf("\nThe last steps:\n");
    for (unsigned i = at - n; i < at; i++)
        show_step(&l->window[i], "  ");
}

bool lockstep_stop(struct lockstep *l)
{
    l->ended = true;
    machine_stop_after(l->side.machine, 0);
    return false;
}

/* Words of position `at` that differ and are not explained. With `print`, tells them. */
static unsigned differences(struct lockstep *l, unsigned at, const struct partial *p, bool print)
{
    const struct snap *mine = &l->window[at].s;
    unsigned found = 0;
    for (unsigned i = 0; i < SW_COUNT; i++) {
        uint64_t diff = (mine->w[i] ^ p->s.w[i]) & p->known[i];
        if (LIKELY(!diff))
            continue;
        enum rule r = rule_of_word(mine, i, diff, l->window[at].undefined, l->window[at].fpu_known,
                                   l->window[at].system_known);
        if (r != RULE_NONE) {
            l->used[r]++;
            continue;
        }
        found++;
        if (!print)
            continue;
        char name[32];
        snap_name(i, name, sizeof name);
        printf("  %-10s ishi %016" PRIx64 "   %s %016" PRIx64, name, mine->w[i] & p->known[i],
               l->w.name, p->s.w[i]);
        if (at)
            printf("   before %016" PRIx64, l->window[at - 1].s.w[i]);
        printf("\n");
    }
    return found;
}

static bool tell_state(struct lockstep *l, unsigned at, const struct partial *p)
{
    l->different = true;
    l->steps += at;
    show_history(l, at);
    printf("Then:\n");
    differences(l, at, p, true);
    show_step(&l->window[at], "  next in ishi, ");
    return lockstep_stop(l);
}

/* --- the other machine goes where ishi is ------------------------------------------------------
 */

/* Is that position a fetch that faults? A machine that translates has no state to log there. */
static bool is_failed_fetch(const struct lockstep *l, unsigned at)
{
    const struct step *s = &l->window[at];
    return at < l->count && (!s->count || s[1].s.w[SW_CR2] - s->la < ISA_MAX_LEN);
}

/* The position of a state that it logged; beyond the window if it went on past it. */
static unsigned position_of(const struct lockstep *l, uint64_t rip)
{
    unsigned at = l->matched;
    if (l->w.blocks) {
        unsigned end = (unsigned)min_u64(l->count, at + BLOCK_MAX);
        while (at < end && l->window[at].s.w[SW_RIP] != rip)
            at++;
    }
    while (at < l->count && l->window[at].s.w[SW_RIP] != rip && is_failed_fetch(l, at))
        at++;
    return at;
}

/* A state that it logged. */
static bool on_state(void *opaque, const struct partial *p)
{
    struct lockstep *l = opaque;
    unsigned last = l->matched - 1, at = position_of(l, p->s.w[SW_RIP]);
    if (at > l->count)
        return true; /* it went on past the window: a breakpoint was passed */
    if (l->matched && l->window[last].repeats && l->window[last].s.w[SW_RIP] == p->s.w[SW_RIP] &&
        l->window[l->matched].s.w[SW_RIP] != p->s.w[SW_RIP])
        return true; /* another iteration */
    if (l->w.blocks && l->window[at].repeats && differences(l, at, p, false))
        return true; /* likewise: the first one was in the block before */
    if (differences(l, at, p, false))
        return tell_state(l, at, p);
    l->matched = at + 1;
    return true;
}

/* Where to break: the position near the window's end that is come upon least often before. */
static unsigned choose_break(const struct lockstep *l)
{
    unsigned best = l->count, low = l->count > NEAR ? l->count - NEAR : 1, best_cost = ~0u;
    for (unsigned j = l->count; j >= low; j--) {
        unsigned hits = 0;
        for (unsigned i = 1; i <= j; i++)
            hits += l->window[i].la == l->window[j].la;
        unsigned cost = 2 * hits + (l->count - j);
        if (cost < best_cost) {
            best_cost = cost;
            best = j;
        }
        if (hits == 1 || l->window[j - 1].repeats)
            break;
    }
    return best;
}

static bool run_other(struct lockstep *l, const char *packet)
{
    bool ended;
    if (!witness_run(&l->w, packet, on_state, l, &ended, &l->e))
        return lockstep_stop(l);
    return !ended && !l->ended;
}

/* One instruction, and a look if no log shows it. */
static bool step_other(struct lockstep *l, unsigned to)
{
    struct partial p;
    if (!run_other(l, "s"))
        return false;
    if (l->w.text)
        return true;
    if (!witness_state(&l->w, &p, &l->e))
        return lockstep_stop(l);
    return !differences(l, to, &p, false) || tell_state(l, to, &p);
}

/* Registers at the window's end. */
static bool check_registers(struct lockstep *l)
{
    struct partial p;
    if (!witness_state(&l->w, &p, &l->e))
        return lockstep_stop(l);
    if (differences(l, l->count, &p, false))
        return tell_state(l, l->count, &p);
    if ((p.s.w[SW_FLAGS] ^ l->window[l->count].s.w[SW_FLAGS]) & l->window[l->count].undefined)
        witness_set(&l->w, &l->window[l->count].s, SW_FLAGS);
    return true;
}

/* The instruction of the window that wrote there, as far as its operand tells. */
static unsigned writer_of(struct lockstep *l, uint64_t paddr)
{
    for (unsigned i = l->count; i-- > 0;) {
        uint64_t at;
        struct insn in;
        const struct step *s = &l->window[i];
        bool wide = s->s.w[SW_EFER] & EFER_LMA && s->s.w[SW_ATTR(SEG_CS)] & SEG_L;
        enum isa_mode mode = wide ? ISA_64 : s->s.w[SW_ATTR(SEG_CS)] & SEG_DB ? ISA_32 : ISA_16;
        uint64_t sp = s->s.w[SW_R + R_SP] + s->s.w[SW_BASE(SEG_SS)];
        if (isa_decode(&in, s->bytes, s->count, mode, NULL) != ISA_OK)
            continue;
        uint64_t ea = (uint64_t)in.disp;
        if (in.is_mem && in.base < 16)
            ea += s->s.w[SW_R + in.base];
        if (in.is_mem && in.index < 16)
            ea += s->s.w[SW_R + in.index] << in.scale;
        if (in.is_mem && in.base == ISA_RIP)
            ea += s->s.w[SW_RIP] + in.length;
        if (in.is_mem && (!wide || in.seg >= SEG_FS))
            ea += s->s.w[SW_BASE(in.seg)];
        if (in.is_mem && mmu_peek_translate(l->c, wide ? ea : (uint32_t)ea, &at) && paddr - at < 64)
            return i + 1;
        if (!in.is_mem && mmu_peek_translate(l->c, wide ? sp : (uint32_t)sp, &at) &&
            at - paddr <= 8)
            return i + 1;
    }
    return l->count;
}

static bool tell_memory(struct lockstep *l, uint64_t paddr, unsigned at, const uint8_t *mine,
                        const uint8_t *other)
{
    l->different = true;
    l->steps += l->count;
    show_history(l, writer_of(l, paddr + at));
    if (l->free)
        printf("Since then, physical memory:\n");
    else
        printf("Within the last %u instructions, physical memory:\n", l->count);
    unsigned told = 0;
    for (unsigned i = 0; i < PAGE_SIZE && told < 16; i += 8) {
        if (memcmp(mine + i, other + i, 8)) {
            printf("  %010" PRIx64 "  ishi %016" PRIx64 "   %s %016" PRIx64 "\n", paddr + i,
                   get_le64(mine + i), l->w.name, get_le64(other + i));
            told++;
        }
    }
    show_step(&l->window[l->count], "  next in ishi, ");
    return lockstep_stop(l);
}

/* The flags of an exception's frame, above the selector of CS, that differ in what can be undefined
 * or in RF. `at`: offset in the page. */
static bool is_flags_image(const uint8_t *mine, const uint8_t *other, unsigned at)
{
    uint32_t a = get_le32(mine + at), b = get_le32(other + at);
    if (((a ^ b) & ~(F_OSZAPC | EF_RF)) || !(a & EF_FIXED) || (a & 0xffc08028))
        return false;
    for (unsigned k = 4; k <= 8 && k <= at; k += 4) {
        uint32_t sel = get_le32(mine + at - k);
        if (sel >= 8 && sel < 0x10000 && sel == get_le32(other + at - k))
            return true;
    }
    return false;
}

/* Is the doubleword at paddr the upper half of a descriptor in the GDT, and only its accessed bit
 * differs? */
static bool is_accessed_bit(struct lockstep *l, uint64_t paddr, uint32_t a, uint32_t b)
{
    const struct dtable *gdt = &l->c->s.gdtr;
    if ((a ^ b) != 0x100 || !(paddr & 4))
        return false;
    for (uint64_t at = 0; at <= gdt->limit; at += 8) {
        uint64_t found;
        if (mmu_peek_translate(l->c, gdt->base + at + 4, &found) && found == paddr)
            return true;
    }
    return false;
}

/* What the guest sees of a page of RAM, or NULL if it is hidden. */
uint8_t *lockstep_visible(struct lockstep *l, uint64_t page)
{
    bool writable;
    uint8_t *flags, *host = bus_page(l->bus, page << PAGE_SHIFT, &writable, &flags);
    return host == l->bus->ram + (page << PAGE_SHIFT) ? host : NULL;
}

/* The first difference in memory while the registers were the same; kept for the case that the
 * other machine never comes to the same state. */
static bool note_trouble(struct lockstep *l, uint64_t paddr, uint32_t mine, uint32_t other)
{
    size_t n = strlen(l->trouble);
    if (n + 120 < sizeof l->trouble)
        snprintf(l->trouble + n, sizeof l->trouble - n,
                 "With the same registers, memory at %" PRIx64 " was %08x in ishi, %08x in %s.\n",
                 paddr, mine, other, l->w.name);
    return false;
}

/* False: they differ there; told, if `tell`. */
static bool check_page(struct lockstep *l, uint64_t page, bool tell)
{
    uint64_t paddr = page << PAGE_SHIFT;
    const uint8_t *mine = lockstep_visible(l, page);
    uint8_t copy[PAGE_SIZE];
    if (!mine || (l->w.ram && !memcmp(mine, l->w.ram + paddr, PAGE_SIZE)))
        return true;
    if (!witness_read(&l->w, paddr, copy, PAGE_SIZE, &l->e))
        return lockstep_stop(l);
    for (unsigned i = 0; i < PAGE_SIZE; i += 4) {
        if (!memcmp(mine + i, copy + i, 4))
            continue;
        uint32_t a = get_le32(mine + i), b = get_le32(copy + i);
        enum rule r = is_accessed_bit(l, paddr + i, a, b) ? RULE_ACCESSED
                      : is_flags_image(mine, copy, i)     ? RULE_FLAGS_IMAGE
                                                          : RULE_NONE;
        if (r == RULE_NONE)
            return tell ? tell_memory(l, paddr, i, mine, copy)
                        : note_trouble(l, paddr + i, get_le32(mine + i), get_le32(copy + i));
        if (!tell)
            continue; /* it may not be where ishi is */
        l->used[r]++;
        witness_write(&l->w, paddr + i, mine + i, 4);
    }
    return true;
}

/* The first page from i on whose byte has one of the bits; `pages` if none has. */
uint64_t lockstep_next(const uint8_t *bytes, uint8_t bits, uint64_t i, uint64_t pages)
{
    enum { CHUNK = 256 };
    while (i < pages) {
        uint8_t any = 0;
        uint64_t n = min_u64(CHUNK - i % CHUNK, pages - i);
        for (uint64_t k = 0; k < n; k++)
            any |= bytes[i + k];
        for (uint64_t k = i; any & bits && k < i + n; k++) {
            if (bytes[k] & bits)
                return k;
        }
        i += n;
    }
    return pages;
}

/* Notes which pages were written since the last call, in `to`, and begins anew. Returns how many.
 */
unsigned lockstep_harvest(struct lockstep *l, uint8_t *to)
{
    unsigned n = 0;
    uint64_t pages = lockstep_pages(l);
    uint8_t *flags = l->bus->page_flags;
    for (uint64_t k = 0; (k = lockstep_next(flags, PAGE_DIRTY, k, pages)) < pages; n++) {
        flags[k] &= (uint8_t)~PAGE_DIRTY;
        to[k] = l->ever[k] = 1;
    }
    if (n)
        tlb_flush(l->c); /* a write to a page that is not marked must not go unseen */
    return n;
}

static bool check_written(struct lockstep *l, const uint8_t *except)
{
    bool ok = true;
    uint64_t pages = lockstep_pages(l);
    for (uint64_t k = 0; (k = lockstep_next(l->written, 1, k, pages)) < pages;) {
        if (!(except && except[k]))
            ok = ok && check_page(l, k, true);
        l->written[k] = 0;
    }
    return ok;
}

/* All that was ever written: finds what the other machine alone wrote there. */
static bool check_ever(struct lockstep *l)
{
    l->ever_checked = host_now();
    for (uint64_t i = 0; i < lockstep_pages(l); i++) {
        if (l->ever[i] && !check_page(l, i, true))
            return false;
    }
    return true;
}

static void begin_window(struct lockstep *l)
{
    l->count = 0;
    memset(l->seen, 0, sizeof l->seen);
}

/* Runs it to position `target` by a breakpoint there, which it may come upon before. */
static bool run_to_break(struct lockstep *l, unsigned target)
{
    uint64_t la = l->window[target].la;
    gdbc_queue(&l->w.gdb, "Z0,%" PRIx64 ",1", la);
    for (unsigned at = 0; at < target;) {
        bool here = l->window[at].la == la; /* it would not move */
        if (!run_other(l, here ? "s" : "c"))
            return false;
        for (at++; !here && l->window[at].la != la;)
            at++;
    }
    gdbc_queue(&l->w.gdb, "z0,%" PRIx64 ",1", la);
    return true;
}

static bool catch_up(struct lockstep *l)
{
    unsigned from = 0;
    l->matched = 0;
    if (l->w.text && (l->count > 3 || l->window[0].repeats)) {
        from = choose_break(l);
        if (!run_to_break(l, from))
            return false;
    }
    for (unsigned i = from; i < l->count; i++) {
        if (!step_other(l, i + 1))
            return false;
    }
    return true;
}

void lockstep_note(struct lockstep *l)
{
    struct step *s = &l->window[l->count];
    snap_take(&s->s, l->c);
    s->la = cpu_64(l->c) ? l->c->s.rip : (uint32_t)(l->c->s.seg[SEG_CS].base + l->c->s.rip);
    s->undefined = l->undefined;
    s->fpu_known = l->fpu_known;
    s->system_known = l->system_known;
    s->count = (uint8_t)mmu_peek(l->c, s->la, s->bytes, sizeof s->bytes);
}

/* --- grain sync: nothing is known of the way there ---------------------------------------------
 */

/* All pages that the CPU wrote since the last meeting, without telling. */
static bool same_written(struct lockstep *l, const uint8_t *dma)
{
    uint64_t pages = lockstep_pages(l);
    for (uint64_t k = 0; (k = lockstep_next(l->written, 1, k, pages)) < pages; k++) {
        if (!(dma && dma[k]) && !check_page(l, k, false))
            return false;
    }
    return true;
}

/* It was never in ishi's state. `last`: its state when it was at ishi's address. */
static bool never(struct lockstep *l, const struct partial *last)
{
    if (last->known[0])
        tell_state(l, 0, last);
    printf("%s", l->trouble);
    return lockstep_stop(l);
}

/* A breakpoint where ishi is. QEMU goes from block to block within a page without looking for one:
 * a write to the byte there, as it is, makes it forget the blocks that have it. */
static void break_here(struct lockstep *l, uint64_t la)
{
    uint64_t paddr;
    uint8_t byte;
    gdbc_queue(&l->w.gdb, "Z0,%" PRIx64 ",1", la);
    if (l->w.ram && mmu_peek_translate(l->c, la, &paddr) && paddr < WITNESS_RAM &&
        witness_read(&l->w, paddr, &byte, 1, &l->e))
        witness_write(&l->w, paddr, &byte, 1);
}

/* The other machine runs to where ishi is. It may come upon that address before, in another state;
 * equal registers and memory are the same state, however often it was there. */
static bool follow_free(struct lockstep *l, const uint8_t *dma)
{
    const struct step *here = &l->window[0];
    struct partial p = {0}, last = {0};
    uint64_t start = host_now(), stops = 0;
    bool at_it = l->other_la == here->la, ended;
    *l->trouble = 0;
    break_here(l, here->la);
    for (;;) {
        if (!witness_run(&l->w, at_it ? "s" : "c", NULL, l, &ended, &l->e))
            return never(l, &last);
        if (!witness_state(&l->w, &p, &l->e))
            return lockstep_stop(l);
        l->stops++;
        at_it = p.s.w[SW_RIP] == (here->s.w[SW_RIP] & p.known[SW_RIP]);
        if (at_it) {
            last = p;
            if (!differences(l, 0, &p, false)) {
                if (l->sure || same_written(l, dma))
                    break;
            } else if (l->sure) {
                return tell_state(l, 0, &p);
            }
        }
        if (++stops > PATIENCE_STOPS && host_now() - start > PATIENCE_NS)
            return never(l, &last);
    }
    gdbc_queue(&l->w.gdb, "z0,%" PRIx64 ",1", here->la);
    l->other_la = here->la;
    if (p.s.w[SW_FLAGS] != here->s.w[SW_FLAGS])
        witness_set(&l->w, &here->s, SW_FLAGS);
    return true;
}

static bool sync_free(struct lockstep *l, const uint8_t *dma)
{
    lockstep_poll_end(l);
    lockstep_harvest(l, l->written);
    if (l->c->s.icount != l->met) {
        l->undefined = F_OSZAPC;
        lockstep_note(l);
        l->syncs++;
        if (!follow_free(l, dma))
            return false;
        l->steps += l->c->s.icount - l->met;
        l->met = l->c->s.icount;
    }
    if (!check_written(l, dma))
        return false;
    return host_now() - l->ever_checked < 2000000000ull || dma || check_ever(l);
}

bool lockstep_sync(struct lockstep *l, const uint8_t *dma)
{
    if (l->free)
        return sync_free(l, dma);
    if (l->count) {
        lockstep_note(l);
        l->syncs++;
        if (!catch_up(l) || !check_registers(l))
            return false;
    }
    lockstep_harvest(l, l->written);
    if (!check_written(l, dma))
        return false;
    if (l->count && host_now() - l->ever_checked > 2000000000ull && !dma && !check_ever(l))
        return false;
    l->steps += l->count;
    begin_window(l);
    return true;
}
