#include "cpu/cpu.h"

#include <stdlib.h>

#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/intr.h"
#include "cpu/share.h"
#include "cpu/tlb.h"

static const struct state_field seg_fields[] = {
    STATE(struct seg, base),
    STATE(struct seg, limit),
    STATE(struct seg, sel),
    STATE(struct seg, attr),
};
static const struct state_table seg_table = {"seg", sizeof(struct seg), ARRAY_LEN(seg_fields),
                                             seg_fields};

static const struct state_field dtable_fields[] = {
    STATE(struct dtable, base),
    STATE(struct dtable, limit),
    STATE_TEMP(struct dtable, unused),
};
static const struct state_table dtable_table = {"dtable", sizeof(struct dtable),
                                                ARRAY_LEN(dtable_fields), dtable_fields};

#define S(f) STATE(struct cpu_state, f)
#define A(f) STATE_ARRAY(struct cpu_state, f)
#define T(f) STATE_TEMP(struct cpu_state, f)
#define SEG(f)                                                                                \
    {                                                                                         \
#f, offsetof(struct cpu_state, f), sizeof(struct seg),                                \
            sizeof(((struct cpu_state *)0)->f) / sizeof(struct seg), STATE_STRUCT, &seg_table \
    }
#define DT(f)                                                                                    \
    {                                                                                            \
#f, offsetof(struct cpu_state, f), sizeof(struct dtable), 1, STATE_STRUCT, &dtable_table \
    }
/* The temporaries at the end of r hold nothing between instructions; whoever saves or hashes calls
 * cpu_settle() first. */
STATE_TABLE(cpu_state_table, "cpu", struct cpu_state,
            {"r", offsetof(struct cpu_state, r), 8, R_T0, STATE_UINT, NULL},
            {"temps", offsetof(struct cpu_state, r) + 8 * R_T0, 8, R_COUNT - R_T0, STATE_SCRATCH,
             NULL},
            S(rip), S(rflags), T(cc_dst), T(cc_src), T(cc_op), SEG(seg), SEG(ldtr), SEG(tr),
            DT(gdtr), DT(idtr), S(cr0), S(cr2), S(cr3), S(cr4), S(xcr0), S(efer), A(pdpte), A(dr),
            S(dr6), S(dr7), S(star), S(lstar), S(cstar), S(fmask), S(kernel_gs_base),
            S(sysenter_cs), S(sysenter_esp), S(sysenter_eip), S(pat), S(tsc_offset), S(tsc_aux),
            S(misc_enable), S(spec_ctrl), S(mtrr_def), A(mtrr_fixed), A(mtrr_base), A(mtrr_mask),
            S(mcg_status), S(bios_sign), S(feature_control), S(kvmclock), S(kvmclock_wall),
            S(kvmclock_unused), S(kvmclock_start), A(fp_sig), A(fp_exp), S(fcw), S(fsw), S(fop),
            S(ftw), T(fp_unused), S(fcs), S(fds), S(mxcsr), S(fip), S(fdp), S(icount),
            STATE_BLOB(struct cpu_state, v), T(vt), S(monitor_addr), S(activity), S(shadow),
            S(nmi_blocked), S(nmi_pending), S(init_pending), S(sipi_pending), S(sipi_vector),
            S(stepping), T(mode_unused), S(pending_db), S(shadow_at));

void cpu_init(struct cpu *c, unsigned index, unsigned count, struct bus *bus, struct clock *clock,
              struct rng *rng, const struct log *log, const struct isa_features *features)
{
    c->index = index;
    c->count = count;
    c->bus = bus;
    c->clock = clock;
    c->rng = rng;
    c->log = log;
    c->features = *features;
    c->tsc_hz = NS_PER_S;
    _Static_assert(TLB_SUPER_AC == 1 && TLB_USER_AC == 3, "bit 0 of a set's number is AC");
    c->tlb = &c->tlb_space;
    tlb_new(c->tlb);
    c->apic_la = ~0ull;
    cpu_reset(c, false);
}

void cpu_free(struct cpu *c)
{
    c->tlb = NULL;
}

static uint64_t tsc_raw(const struct cpu *c)
{
    uint64_t now = clock_now(c->clock);
    return c->tsc_hz == NS_PER_S ? now : mul_div_u64(now, c->tsc_hz, NS_PER_S);
}

uint64_t cpu_tsc(const struct cpu *c)
{
    return tsc_raw(c) + c->s.tsc_offset;
}

/* What RESET# sets and INIT leaves alone (SDM 3A table 9-1). */
static void reset_cold(struct cpu *c)
{
    struct cpu_state *s = &c->s;
    *s = (struct cpu_state){.icount = s->icount}; /* virtual time goes on */
    s->cr0 = CR0_CD | CR0_NW;
    s->xcr0 = 1;
    s->fcw = 0x40;
    s->ftw = 0xff; /* tag word 5555h: all zero, none empty */
    s->mxcsr = 0x1f80;
    s->pat = 0x0007040600070406ull;
    s->misc_enable = 1;     /* fast strings */
    s->feature_control = 1; /* locked, no VMX */
    s->tsc_offset = -tsc_raw(c);
}

void cpu_reset(struct cpu *c, bool init)
{
    struct cpu_state *s = &c->s;
    if (!init)
        reset_cold(c);
    memset(s->r, 0, sizeof s->r);
    s->r[R_DX] = cpuid_signature(c);
    s->cc_op = 0;
    s->rflags = EF_FIXED;
    s->rip = 0xfff0;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct seg){.limit = 0xffff, .attr = 0x93};
    s->seg[SEG_CS].sel = 0xf000;
    s->seg[SEG_CS].base = 0xffff0000;
    s->ldtr = (struct seg){.limit = 0xffff, .attr = 0x82};
    s->tr = (struct seg){.limit = 0xffff, .attr = 0x8b};
    s->gdtr = s->idtr = (struct dtable){.limit = 0xffff};
    s->cr0 = (s->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
    memset(s->dr, 0, sizeof s->dr);
    memset(s->pdpte, 0, sizeof s->pdpte);
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->monitor_addr = ~0ull;
    s->shadow = s->nmi_blocked = s->nmi_pending = s->init_pending = s->sipi_pending = 0;
    s->stepping = 0;
    s->pending_db = 0;
    /* Application processors wait; the boot processor goes to the reset vector, after INIT too. */
    s->activity = c->index ? ACT_WAIT_SIPI : ACT_RUN;
    c->chain_count = 0;
    c->next_rip = s->rip;
    tlb_flush(c);
    cpu_mode_changed(c);
}

void cpu_settle(struct cpu *c)
{
    flags_sync(c);
    if (c->s.shadow_at != c->s.icount)
        c->s.shadow = 0;
    if (!c->s.shadow)
        c->s.shadow_at = 0;
}

static bool seg_flat(const struct seg *s)
{
    return s->base == 0 && s->limit == 0xffffffff;
}

/* Expand-up, writable data. */
static bool seg_flat_data(const struct seg *s)
{
    return seg_flat(s) && (s->attr & (SEG_P | SEG_S | 0xe)) == (SEG_P | SEG_S | 2);
}

static uint32_t fpu_key(const struct cpu_state *s)
{
    uint32_t key = 0;
    if (s->cr0 & (CR0_TS | CR0_EM))
        key |= KEY_FPU_NM;
    if ((s->cr0 & CR0_EM) || !(s->cr4 & CR4_OSFXSR))
        key |= KEY_SSE_UD;
    if (s->cr0 & CR0_TS)
        key |= KEY_SSE_NM;
    if (s->cr0 & CR0_EM)
        key |= KEY_MMX_UD;
    if ((s->cr0 & CR0_TS) && (s->cr0 & CR0_MP))
        key |= KEY_WAIT_NM;
    if ((s->cr4 & CR4_OSXSAVE) && (s->xcr0 & 6) == 6)
        key |= KEY_AVX;
    return key;
}

static uint32_t mode_key(const struct cpu_state *s)
{
    const struct seg *cs = &s->seg[SEG_CS];
    uint32_t key = s->efer & EFER_LMA ? KEY_LONG : 0;
    if ((s->cr0 & CR0_PE) && !(s->rflags & EF_VM))
        key |= KEY_PROT;
    if (key & KEY_LONG && cs->attr & SEG_L)
        return key | ISA_64 | KEY_STACK32 | KEY_FLAT_CS | KEY_FLAT_DS | KEY_FLAT_ES | KEY_FLAT_SS;
    key |= cs->attr & SEG_DB ? ISA_32 : ISA_16;
    if (s->seg[SEG_SS].attr & SEG_DB)
        key |= KEY_STACK32;
    if (seg_flat(cs))
        key |= KEY_FLAT_CS;
    if (seg_flat_data(&s->seg[SEG_DS]))
        key |= KEY_FLAT_DS;
    if (seg_flat_data(&s->seg[SEG_ES]))
        key |= KEY_FLAT_ES;
    if (seg_flat_data(&s->seg[SEG_SS]))
        key |= KEY_FLAT_SS;
    return key;
}

static uint8_t tlb_context(const struct cpu *c)
{
    const struct cpu_state *s = &c->s;
    bool ac = s->rflags & EF_AC;
    if (c->cpl == 3)
        return ac && (s->cr0 & CR0_AM) ? TLB_USER_AC : TLB_USER;
    return ac && (s->cr4 & CR4_SMAP) ? TLB_SUPER_AC : TLB_SUPER;
}

void cpu_stamp(struct cpu *c)
{
    uint64_t mode = c->key | (uint64_t)c->cpl << 17 | (uint64_t)c->index << 19;
    _Static_assert(KEY_AC < BIT(17) && CPU_MAX <= 32, "the mode has 24 bits");
    unsigned space = c->cpl == 3 ? c->tlb->space : 0;
    c->code_generation = c->tlb->code[c->cpl == 3 ? 1 + space : 0].generation;
    c->jit.stamp = c->code_generation << 24 | mode;
    c->jit.space = space;
    c->jit.salt = space * ((1u << JIT_JUMP_BITS) / TLB_SPACES) * (uint32_t)sizeof(struct jit_jump);
    c->jit.span_at = space * sizeof c->jit.spans[0];
}

void cpu_rights_changed(struct cpu *c)
{
    c->tlb_ctx = tlb_context(c);
    c->key = (c->key & ~KEY_AC) | (c->tlb_ctx & 1 ? KEY_AC : 0);
    cpu_stamp(c);
}

void cpu_mode_changed(struct cpu *c)
{
    const struct cpu_state *s = &c->s;
    c->cpl = cpu_real(c) ? 0 : cpu_vm86(c) ? 3 : SEG_DPL(&s->seg[SEG_SS]);
    c->key = mode_key(s) | fpu_key(s);
    cpu_rights_changed(c);
    cpu_attention(c);
}

void cpu_request(struct cpu *c, uint32_t req)
{
    __atomic_fetch_or(&c->request, req, __ATOMIC_SEQ_CST);
    if (UNLIKELY(c->share))
        c->share->wake(c->share->opaque, c);
}

void cpu_intr(struct cpu *c, bool level)
{
    __atomic_store_n(&c->intr_quiet, !level, __ATOMIC_SEQ_CST);
    if (level)
        cpu_request(c, REQ_INTR);
}

bool cpu_fault_err(struct cpu *c, unsigned vector, uint32_t error, const char *why, uint64_t a,
                   uint64_t b)
{
    c->fault = (struct fault){
        .vector = (uint16_t)vector, .has_error = true, .error = error, .why = why, .a = a, .b = b};
    return false;
}

bool cpu_fault(struct cpu *c, unsigned vector, const char *why, uint64_t a, uint64_t b)
{
    /* Those that always have an error code get 0, so that no caller forgets it. */
    bool has = vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
    cpu_fault_err(c, vector, 0, why, a, b);
    c->fault.has_error = has;
    return false;
}
