#include "cpu/walk.h"

#include "cpu/cpuid.h"
#include "cpu/share.h"

#define PTE_P  BIT(0)
#define PTE_W  BIT(1)
#define PTE_U  BIT(2)
#define PTE_D  BIT(6)
#define PTE_PS BIT(7)
#define PTE_G  BIT(8)
#define PTE_NX BIT(63)

static uint64_t read_entry(const struct cpu *c, uint64_t addr, unsigned size)
{
    const uint8_t *ram = bus_plain(c->bus, addr);
    bool writable;
    uint8_t *flags;
    if (!ram && (ram = bus_page(c->bus, addr, &writable, &flags)))
        ram += addr & (PAGE_SIZE - 1);
    if (ram)
        return size == 8 ? get_le64(ram) : get_le32(ram);
    cpu_lock((struct cpu *)c); /* a device: nothing of c changes */
    uint64_t v = bus_read(c->bus, addr, size);
    cpu_unlock((struct cpu *)c);
    return v;
}

static struct walk_step *step(struct walk *w, const struct cpu *c, uint64_t addr, unsigned size,
                              unsigned level)
{
    struct walk_step *s = &w->step[w->steps++];
    *s = (struct walk_step){.addr = addr,
                            .value = read_entry(c, addr, size),
                            .size = (uint8_t)size,
                            .level = (uint8_t)level};
    return s;
}

/* Bits from `from` up to 51 that a physical address can't have, and above. */
static uint64_t beyond_paddr(const struct cpu *c)
{
    return bits_get(~0ull, 0, 52) & ~(BIT(cpu_paddr_bits(c)) - 1);
}

static void end(struct walk *w, enum walk_result r)
{
    w->result = r;
}

/* Takes an entry's rights into the walk's. */
static void rights(struct walk *w, uint64_t e, bool nxe)
{
    w->user = w->user && (e & PTE_U);
    w->write = w->write && (e & PTE_W);
    w->nx = w->nx || (nxe && (e & PTE_NX));
}

static void leaf(const struct cpu *c, struct walk *w, uint64_t la, uint64_t base, unsigned shift,
                 uint64_t e)
{
    uint64_t in_page = la & (BIT(shift) - 1);
    w->shift = (uint8_t)shift;
    w->paddr = (base | in_page) & ~(uint64_t)(PAGE_SIZE - 1);
    w->global = (e & PTE_G) && (c->s.cr4 & CR4_PGE);
    w->dirty = e & PTE_D;
    end(w, WALK_OK);
}

/* 32-bit paging (SDM 3A 4.3). */
static void walk32(const struct cpu *c, uint64_t la, struct walk *w)
{
    uint64_t e = step(w, c, (c->s.cr3 & 0xfffff000) | (la >> 22 & 0x3ff) << 2, 4, 2)->value;
    if (!(e & PTE_P)) {
        end(w, WALK_NOT_PRESENT);
        return;
    }
    rights(w, e, false);
    if ((e & PTE_PS) && (c->s.cr4 & CR4_PSE)) {
        /* PSE-36: bits 20:13 are address bits 39:32; what a physical address can't have, and bit
         * 21, is reserved */
        uint64_t high = isa_has(&c->features, FEAT_PSE36) ? bits_get(e, 13, 8) << 32 : 0;
        uint64_t bad = isa_has(&c->features, FEAT_PSE36) ? e & BIT(21) : e & 0x3fe000;
        if (bad || (high & beyond_paddr(c)))
            end(w, WALK_RESERVED);
        else
            leaf(c, w, la, high | (e & 0xffc00000), 22, e);
        return;
    }
    e = step(w, c, (e & 0xfffff000) | (la >> 12 & 0x3ff) << 2, 4, 1)->value;
    if (!(e & PTE_P)) {
        end(w, WALK_NOT_PRESENT);
        return;
    }
    rights(w, e, false);
    leaf(c, w, la, e & 0xfffff000, 12, e);
}

/* Levels from `level` down to 1, of 8-byte entries, the first table at `table`. */
static void walk64(const struct cpu *c, uint64_t la, struct walk *w, uint64_t table, unsigned level)
{
    bool nxe = c->s.efer & EFER_NXE;
    uint64_t reserved = beyond_paddr(c) | (nxe ? 0 : PTE_NX);
    if (!cpu_long(c))
        reserved |= bits_get(~0ull, 0, 11) << 52;
    for (;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t e = step(w, c, table | (la >> shift & 0x1ff) << 3, 8, level)->value;
        if (!(e & PTE_P)) {
            end(w, WALK_NOT_PRESENT);
            return;
        }
        bool large = level > 1 && (e & PTE_PS);
        uint64_t base = e & bits_get(~0ull, 0, 52) & ~0xfffull;
        uint64_t low = large ? base & (BIT(shift) - 1) & ~BIT(12) : 0;
        bool may_be_large = level == 2 || (level == 3 && isa_has(&c->features, FEAT_PDPE1GB));
        if ((e & reserved) || low || (large && !may_be_large)) {
            end(w, WALK_RESERVED);
            return;
        }
        rights(w, e, nxe);
        if (level == 1 || large) {
            leaf(c, w, la, base & ~(BIT(shift) - 1), shift, e);
            return;
        }
        table = base;
    }
}

void walk(const struct cpu *c, uint64_t la, struct walk *w)
{
    const struct cpu_state *s = &c->s;
    w->steps = 0;
    w->user = w->write = true;
    w->nx = w->global = false;
    w->dirty = true;
    w->shift = 12;
    if (!(s->cr0 & CR0_PG)) {
        w->paddr = la & ~(uint64_t)(PAGE_SIZE - 1);
        end(w, WALK_OK);
    } else if (cpu_long(c)) {
        if ((uint64_t)sext(la, 48) != la)
            end(w, WALK_NOT_CANONICAL);
        else
            walk64(c, la, w, s->cr3 & bits_get(~0ull, 0, 52) & ~0xfffull, 4);
    } else if (s->cr4 & CR4_PAE) {
        uint64_t e = s->pdpte[la >> 30 & 3];
        w->step[w->steps++] = (struct walk_step){.addr = ~0ull, .value = e, .size = 8, .level = 3};
        if (!(e & PTE_P))
            end(w, WALK_NOT_PRESENT);
        else
            walk64(c, la, w, e & bits_get(~0ull, 0, 52) & ~0xfffull, 2);
    } else {
        walk32(c, la, w);
    }
}

bool walk_load_pdptes(struct cpu *c, uint64_t cr3)
{
    uint64_t reserved = beyond_paddr(c) | 0x1e6 | bits_get(~0ull, 0, 12) << 52;
    uint64_t e[4];
    for (unsigned i = 0; i < 4; i++) {
        e[i] = read_entry(c, (cr3 & 0xffffffe0) + i * 8, 8);
        if ((e[i] & PTE_P) && (e[i] & reserved))
            return false;
    }
    memcpy(c->s.pdpte, e, sizeof e);
    return true;
}
