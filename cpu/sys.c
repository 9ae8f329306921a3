/* Control and debug registers, the TLB's instructions, HLT and other small change of level 0. */
#include "cpu/cpuid.h"
#include "cpu/debug.h"
#include "cpu/intr.h"
#include "cpu/share.h"
#include "cpu/sysop.h"
#include "cpu/walk.h"
#include "cpu/x87.h"

#define CR0_KNOWN                                                                              \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
     CR0_PG)

static bool feature(const struct cpu *c, enum isa_feature f)
{
    return isa_has(&c->features, f);
}

/* SDM 3A 9.8.5: what must hold when paging goes on with EFER.LME. */
static bool enter_long(struct cpu *c)
{
    const struct cpu_state *s = &c->s;
    if (!(s->cr4 & CR4_PAE))
        return cpu_fault(c, EXC_GP, "CR0.PG with EFER.LME, but CR4.PAE is off", 0, 0);
    if (s->seg[SEG_CS].attr & SEG_L)
        return cpu_fault(c, EXC_GP, "CR0.PG with EFER.LME, but CS.L is set", 0, 0);
    if (!(s->tr.attr & 8))
        return cpu_fault(c, EXC_GP, "CR0.PG with EFER.LME, but TR is a 16-bit TSS", 0, 0);
    return true;
}

static bool cr0_ok(struct cpu *c, uint64_t v)
{
    if ((v & CR0_PG) && !(v & CR0_PE))
        return cpu_fault(c, EXC_GP, "CR0: PG without PE (%#llx)", v, 0);
    if ((v & CR0_NW) && !(v & CR0_CD))
        return cpu_fault(c, EXC_GP, "CR0: NW without CD (%#llx)", v, 0);
    if (!(v & CR0_PG) && (c->s.cr0 & CR0_PG)) {
        if (cpu_64(c))
            return cpu_fault(c, EXC_GP, "CR0: PG cleared in 64-bit mode", 0, 0);
        if (c->s.cr4 & CR4_PCIDE)
            return cpu_fault(c, EXC_GP, "CR0: PG cleared while CR4.PCIDE is set", 0, 0);
    }
    return true;
}

static bool reload_pdptes(struct cpu *c)
{
    if (walk_load_pdptes(c, c->s.cr3))
        return true;
    return cpu_fault(c, EXC_GP, "a PDPTE at CR3 %#llx has a reserved bit set", c->s.cr3, 0);
}

static bool set_cr0(struct cpu *c, uint64_t v)
{
    struct cpu_state *s = &c->s;
    if (v >> 32)
        return cpu_fault(c, EXC_GP, "CR0: bits 63:32 are reserved (%#llx)", v, 0);
    v = (v & CR0_KNOWN) | CR0_ET;
    uint64_t changed = v ^ s->cr0;
    if (!cr0_ok(c, v))
        return false;
    bool on = (v & CR0_PG) && (changed & CR0_PG), off = !(v & CR0_PG);
    if (on && (s->efer & EFER_LME) && !enter_long(c))
        return false;
    bool pae = (v & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LME);
    if (pae && (changed & (CR0_PG | CR0_CD | CR0_NW)) && !reload_pdptes(c))
        return false;
    s->cr0 = v;
    if (on && (s->efer & EFER_LME))
        s->efer |= EFER_LMA;
    if (off)
        s->efer &= ~(uint64_t)EFER_LMA;
    if (changed & (CR0_PG | CR0_WP)) /* PE alone: identity before and after */
        tlb_flush(c);
    cpu_mode_changed(c);
    return true;
}

static bool set_cr3(struct cpu *c, uint64_t v)
{
    struct cpu_state *s = &c->s;
    if (cpu_long(c)) {
        bool pcid = s->cr4 & CR4_PCIDE, keep = pcid && v >> 63;
        if (keep)
            v &= ~BIT(63);
        if (v >> cpu_paddr_bits(c))
            return cpu_fault(c, EXC_GP, "CR3: a reserved bit is set (%#llx)", v, 0);
        if (pcid) {
            s->cr3 = v;
            tlb_switch(c, v & CR3_PCID, keep);
            return true;
        }
    } else if ((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !walk_load_pdptes(c, v)) {
        return cpu_fault(c, EXC_GP, "a PDPTE at CR3 %#llx has a reserved bit set", v, 0);
    }
    s->cr3 = v;
    tlb_flush_nonglobal(c);
    return true;
}

static uint64_t cr4_known(const struct cpu *c)
{
    /* clang-format off */
    static const struct { uint8_t feature; uint32_t bits; } by[] = {
        {FEAT_VME, CR4_VME | CR4_PVI}, {FEAT_TSC, CR4_TSD}, {FEAT_DE, CR4_DE}, {FEAT_PSE, CR4_PSE},
        {FEAT_PAE, CR4_PAE}, {FEAT_MCE, CR4_MCE}, {FEAT_PGE, CR4_PGE}, {FEAT_MMX, CR4_PCE},
        {FEAT_FXSR, CR4_OSFXSR}, {FEAT_SSE, CR4_OSXMMEXCPT}, {FEAT_UMIP, CR4_UMIP},
        {FEAT_FSGSBASE, CR4_FSGSBASE}, {FEAT_PCID, CR4_PCIDE}, {FEAT_XSAVE, CR4_OSXSAVE},
        {FEAT_SMEP, CR4_SMEP}, {FEAT_SMAP, CR4_SMAP},
    };
    /* clang-format on */
    uint64_t known = 0;
    for (unsigned i = 0; i < ARRAY_LEN(by); i++)
        if (feature(c, by[i].feature))
            known |= by[i].bits;
    return known;
}

static bool set_cr4(struct cpu *c, uint64_t v)
{
    struct cpu_state *s = &c->s;
    uint64_t changed = v ^ s->cr4, old = s->cr4;
    if (v & ~cr4_known(c))
        return cpu_fault(c, EXC_GP, "CR4: a reserved bit is set (%#llx)", v, 0);
    if (cpu_long(c) && !(v & CR4_PAE))
        return cpu_fault(c, EXC_GP, "CR4: PAE cleared in long mode (%#llx)", v, 0);
    if ((v & changed & CR4_PCIDE) && (!cpu_long(c) || (s->cr3 & 0xfff)))
        return cpu_fault(c, EXC_GP, "CR4: PCIDE set outside long mode or with CR3 %#llx", s->cr3,
                         0);
    s->cr4 = v;
    bool pae = (s->cr0 & CR0_PG) && (v & CR4_PAE) && !cpu_long(c);
    if (pae && (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)) && !reload_pdptes(c)) {
        s->cr4 = old;
        return false;
    }
    if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
        tlb_flush(c);
    cpu_mode_changed(c);
    return true;
}

static bool set_cr8(struct cpu *c, uint64_t v)
{
    if (v > 15)
        return cpu_fault(c, EXC_GP, "CR8: %#llx is beyond 15", v, 0);
    cpu_lock(c);
    if (c->apic.set_tpr)
        c->apic.set_tpr(c->apic.apic, (uint8_t)(v << 4));
    cpu_unlock(c);
    cpu_attention(c);
    return true;
}

bool h_mov_to_cr(struct cpu *c, const struct uop *u)
{
    uint64_t v = c->s.r[u->a];
    if (!cpu_64(c))
        v = (uint32_t)v;
    switch (u->dst) {
    case 0: return set_cr0(c, v);
    case 2: c->s.cr2 = v; return true;
    case 3: return set_cr3(c, v);
    case 4: return set_cr4(c, v);
    case 8: return set_cr8(c, v);
    default: return op_undefined(c, "no such control register");
    }
}

bool h_mov_from_cr(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    switch (u->dst) {
    case 0: v = c->s.cr0; break;
    case 2: v = c->s.cr2; break;
    case 3: v = c->s.cr3; break;
    case 4: v = c->s.cr4; break;
    case 8: v = c->apic.tpr ? c->apic.tpr(c->apic.apic) >> 4 : 0; break;
    default: return op_undefined(c, "no such control register");
    }
    reg_put(c, u->a, cpu_64(c) ? 8 : 4, v);
    return true;
}

bool h_clts(struct cpu *c, const struct uop *u)
{
    c->s.cr0 &= ~CR0_TS;
    cpu_mode_changed(c);
    return true;
}

/* Only the low four bits, and PE can't be cleared (SDM 2 LMSW). */
bool h_lmsw(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!rm_get(c, u, 2, &v))
        return false;
    v &= 0xf;
    return set_cr0(c, (c->s.cr0 & ~0xeull) | v);
}

bool h_smsw(struct cpu *c, const struct uop *u)
{
    if ((c->s.cr4 & CR4_UMIP) && c->cpl > 0)
        return cpu_fault(c, EXC_GP, "CR4.UMIP keeps SMSW to level 0", 0, 0);
    if (op_is_mem(u))
        return seg_store(c, u->seg, c->s.r[R_T0], 2, c->s.cr0 & 0xffff);
    reg_put(c, u->a, u->size, c->s.cr0);
    return true;
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them undefined; DR7.GD traps any access. */
static bool debug_reg(struct cpu *c, unsigned *n)
{
    if (*n > 7 || ((*n == 4 || *n == 5) && (c->s.cr4 & CR4_DE)))
        return op_undefined(c, "no such debug register");
    if (*n == 4 || *n == 5)
        *n += 2;
    if (c->s.dr7 & DR7_GD) {
        c->s.dr6 |= DR6_BD;
        return cpu_fault(c, EXC_DB, "DR7.GD: the debug registers are guarded", 0, 0);
    }
    return true;
}

bool h_mov_to_dr(struct cpu *c, const struct uop *u)
{
    unsigned n = u->dst;
    uint64_t v = c->s.r[u->a];
    if (!debug_reg(c, &n))
        return false;
    if (!cpu_64(c))
        v = (uint32_t)v;
    if (n >= 6 && v >> 32)
        return cpu_fault(c, EXC_GP, "DR%llu: bits 63:32 are reserved (%#llx)", n, v);
    debug_set(c, n, v);
    return true;
}

bool h_mov_from_dr(struct cpu *c, const struct uop *u)
{
    unsigned n = u->dst;
    if (!debug_reg(c, &n))
        return false;
    uint64_t v = n == 6 ? c->s.dr6 : n == 7 ? c->s.dr7 : c->s.dr[n];
    reg_put(c, u->a, cpu_64(c) ? 8 : 4, v);
    return true;
}

/* No check of the segment and no fault, whatever the address. */
bool h_invlpg(struct cpu *c, const struct uop *u)
{
    uint64_t la = c->s.r[R_T0];
    if (!cpu_64(c))
        la = (uint32_t)(la + c->s.seg[u->seg].base);
    else if (u->seg == SEG_FS || u->seg == SEG_GS)
        la += c->s.seg[u->seg].base;
    tlb_flush_page(c, la);
    return true;
}

static unsigned pcid_now(const struct cpu *c)
{
    return c->s.cr4 & CR4_PCIDE ? c->s.cr3 & CR3_PCID : 0;
}

/* Only user code is kept by PCID (tlb_switch()); each form drops at least what it must. */
bool h_invpcid(struct cpu *c, const struct uop *u)
{
    uint64_t type = c->s.r[u->dst], d[2];
    if (!cpu_64(c))
        type = (uint32_t)type;
    if (!seg_load_bytes(c, u->seg, c->s.r[R_T0], d, 16))
        return false;
    if (type > 3 || d[0] >> 12)
        return cpu_fault(c, EXC_GP, "INVPCID: type %#llx, descriptor %#llx", type, d[0]);
    if (type <= 1 && d[0] && !(c->s.cr4 & CR4_PCIDE))
        return cpu_fault(c, EXC_GP, "INVPCID of PCID %#llx while CR4.PCIDE is off", d[0], 0);
    if (type == 0 && (uint64_t)sext(d[1], 48) != d[1])
        return cpu_fault(c, EXC_GP, "INVPCID: the address %#llx is not canonical", d[1], 0);
    if (type > 1)
        tlb_flush(c);
    else if (d[0] != pcid_now(c))
        tlb_forget(c, (unsigned)d[0]);
    else if (type == 1)
        tlb_flush_nonglobal(c);
    else
        tlb_flush_page(c, d[1]);
    return true;
}

/* There are no caches to flush. */
bool h_invd(struct cpu *c, const struct uop *u)
{
    return true;
}

bool h_wbinvd(struct cpu *c, const struct uop *u)
{
    return true;
}

bool h_hlt(struct cpu *c, const struct uop *u)
{
    c->s.activity = ACT_HALT;
    return true;
}

/* The armed address is kept for its own sake: MWAIT doesn't watch it, see there. */
bool h_monitor(struct cpu *c, const struct uop *u)
{
    uint64_t off = c->s.r[R_AX] & size_mask(u->asize ? u->asize : 8), v, paddr;
    unsigned seg = u->seg == SEG_FS || u->seg == SEG_GS ? u->seg : SEG_DS;
    uint64_t la = 0;
    if (c->cpl > 0)
        return op_undefined(c, "MONITOR outside level 0");
    if ((uint32_t)c->s.r[R_CX])
        return cpu_fault(c, EXC_GP, "MONITOR: unknown extensions %#llx", c->s.r[R_CX], 0);
    if (!seg_linear(c, seg, off, 1, ACC_READ, &la) || !lin_load(c, la, 1, &v))
        return false;
    c->s.monitor_addr = mmu_peek_translate(c, la, &paddr) ? paddr : ~0ull;
    return true;
}

/* May end at any time for any reason (SDM 2 MWAIT), so it only lets other CPUs run first: then no
 * store needs to be watched. */
bool h_mwait(struct cpu *c, const struct uop *u)
{
    if (c->cpl > 0)
        return op_undefined(c, "MWAIT outside level 0");
    if (c->s.r[R_CX] & 0xfffffffe)
        return cpu_fault(c, EXC_GP, "MWAIT: unknown extensions %#llx", c->s.r[R_CX], 0);
    c->s.monitor_addr = ~0ull;
    cpu_request(c, REQ_YIELD);
    return true;
}

/* CPUs side by side: so many PAUSEs wait for a CPU that runs; then one that has no processor of the
 * host may be what this one waits for. */
#define PAUSES 32

static void spin(struct cpu *c)
{
    if (!c->share || ++c->pauses % PAUSES == 0)
        cpu_request(c, REQ_YIELD);
}

/* In turns, a lock that a CPU frees for a moment only, as SeaBIOS does while it starts the others,
 * is never seen free by them unless a PAUSE ends its turn. */
bool h_pause(struct cpu *c, const struct uop *u)
{
    if (c->count > 1)
        spin(c);
    else
        c->pauses++;
    return true;
}

/* Behind XCHG of r[b] with memory, which held r[a]: how simple locks are taken. One that gets back
 * what it wrote has found the lock taken, and can only wait, as with PAUSE. And an old turn ends
 * here rather than where a lock is free for a moment: what a kernel does quickly between two locks,
 * all other CPUs' turns would else come between. With imm, only the former need be told. */
bool h_exchanged(struct cpu *c, const struct uop *u)
{
    uint64_t mask = ~0ull >> (64 - 8 * u->size), old = c->s.r[u->a] & mask;
    bool failed = old && old == (c->s.r[u->b] & mask);
    if (c->share) {
        if (failed)
            spin(c);
        return true;
    }
    if (failed)
        c->lock_failed = true;
    if (c->lock_failed || c->s.icount + u->insn >= c->turn_end)
        cpu_request(c, REQ_YIELD);
    return true;
}

static bool osxsave(struct cpu *c)
{
    return (c->s.cr4 & CR4_OSXSAVE) || op_undefined(c, "CR4.OSXSAVE is off");
}

static void put_edx_eax(struct cpu *c, uint64_t v)
{
    c->s.r[R_AX] = (uint32_t)v;
    c->s.r[R_DX] = v >> 32;
}

static uint64_t get_edx_eax(const struct cpu *c)
{
    return (uint32_t)c->s.r[R_AX] | c->s.r[R_DX] << 32;
}

bool h_xgetbv(struct cpu *c, const struct uop *u)
{
    uint32_t n = (uint32_t)c->s.r[R_CX];
    if (!osxsave(c))
        return false;
    if (n > 1 || (n == 1 && !feature(c, FEAT_XGETBV1)))
        return cpu_fault(c, EXC_GP, "XGETBV: no XCR%llu", n, 0);
    put_edx_eax(c, n ? c->s.xcr0 & xsave_in_use(c) : c->s.xcr0);
    return true;
}

bool h_xsetbv(struct cpu *c, const struct uop *u)
{
    uint64_t v = get_edx_eax(c), known = feature(c, FEAT_AVX) ? 7 : 3;
    if (!osxsave(c))
        return false;
    if ((uint32_t)c->s.r[R_CX] || (v & ~known) || !(v & 1) || (v & 6) == 4)
        return cpu_fault(c, EXC_GP, "XSETBV: XCR%llu can't be %#llx", (uint32_t)c->s.r[R_CX], v);
    c->s.xcr0 = v;
    cpu_mode_changed(c);
    return true;
}

static bool tsc_ok(struct cpu *c)
{
    if (!(c->s.cr4 & CR4_TSD) || c->cpl == 0)
        return true;
    return cpu_fault(c, EXC_GP, "CR4.TSD keeps the time-stamp counter to level 0", 0, 0);
}

bool h_rdtsc(struct cpu *c, const struct uop *u)
{
    if (!tsc_ok(c))
        return false;
    put_edx_eax(c, cpu_tsc(c));
    return true;
}

bool h_rdtscp(struct cpu *c, const struct uop *u)
{
    if (!tsc_ok(c))
        return false;
    put_edx_eax(c, cpu_tsc(c));
    c->s.r[R_CX] = (uint32_t)c->s.tsc_aux;
    return true;
}

bool h_rdpid(struct cpu *c, const struct uop *u)
{
    reg_put(c, u->a, cpu_64(c) ? 8 : 4, (uint32_t)c->s.tsc_aux);
    return true;
}

/* CPUID says that there are no performance counters: every index is out of range. */
bool h_rdpmc(struct cpu *c, const struct uop *u)
{
    return cpu_fault(c, EXC_GP, "RDPMC: no counter %#llx", c->s.r[R_CX], 0);
}

bool h_cpuid(struct cpu *c, const struct uop *u)
{
    cpu_fence(c);
    struct cpuid_regs v = cpuid_leaf(c, (uint32_t)c->s.r[R_AX], (uint32_t)c->s.r[R_CX]);
    c->s.r[R_AX] = v.r[0];
    c->s.r[R_BX] = v.r[1];
    c->s.r[R_CX] = v.r[2];
    c->s.r[R_DX] = v.r[3];
    return true;
}
