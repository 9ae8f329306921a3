/* The architectural state in the kernel's structures and back. Each pair of functions is inverse to
 * the other on every state that a guest can bring about. */
#include "cpu/flags.h"
#include "engine/kvm_vm.h"

/* struct kvm_regs is in the order of its declaration, not of the encoding. */
void kvm_regs_from(const struct cpu_state *s, struct kvm_regs *r)
{
    *r = (struct kvm_regs){.rax = s->r[R_AX],
                           .rbx = s->r[R_BX],
                           .rcx = s->r[R_CX],
                           .rdx = s->r[R_DX],
                           .rsi = s->r[R_SI],
                           .rdi = s->r[R_DI],
                           .rsp = s->r[R_SP],
                           .rbp = s->r[R_BP],
                           .r8 = s->r[R_8],
                           .r9 = s->r[R_9],
                           .r10 = s->r[R_10],
                           .r11 = s->r[R_11],
                           .r12 = s->r[R_12],
                           .r13 = s->r[R_13],
                           .r14 = s->r[R_14],
                           .r15 = s->r[R_15],
                           .rip = s->rip,
                           .rflags = s->rflags};
}

void kvm_regs_to(struct cpu_state *s, const struct kvm_regs *r)
{
    const uint64_t all[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
                              r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
    memcpy(s->r, all, sizeof all);
    s->rip = r->rip;
    s->rflags = r->rflags;
    s->cc_op = CC_NONE;
}

static struct kvm_segment seg_from(const struct seg *g)
{
    return (struct kvm_segment){.base = g->base,
                                .limit = g->limit,
                                .selector = g->sel,
                                .type = g->attr & 0xf,
                                .s = g->attr >> 4 & 1,
                                .dpl = g->attr >> 5 & 3,
                                .present = g->attr >> 7 & 1,
                                .avl = g->attr >> 12 & 1,
                                .l = g->attr >> 13 & 1,
                                .db = g->attr >> 14 & 1,
                                .g = g->attr >> 15 & 1,
                                .unusable = !(g->attr & SEG_P)};
}

static uint16_t attr_to(const struct kvm_segment *k)
{
    return (uint16_t)((k->type & 0xf) | (k->s & 1) << 4 | (k->dpl & 3) << 5 |
                      (k->present & 1) << 7 | (k->avl & 1) << 12 | (k->l & 1) << 13 |
                      (k->db & 1) << 14 | (k->g & 1) << 15);
}

/* An unusable segment keeps nothing but its selector, base and, where SS is null at an inner level,
 * its DPL, which is the CPL (SDM 3A 5.5). */
static struct seg seg_to(const struct kvm_segment *k, bool stack)
{
    struct seg g = {.base = k->base, .limit = k->limit, .sel = k->selector, .attr = attr_to(k)};
    if (k->unusable || !k->present) {
        g.limit = 0;
        g.attr = stack ? (uint16_t)(k->dpl << 5) : 0;
    }
    return g;
}

static struct kvm_dtable table_from(const struct dtable *d)
{
    return (struct kvm_dtable){.base = d->base, .limit = (uint16_t)d->limit};
}

void kvm_sregs_from(const struct cpu *c, struct kvm_sregs2 *r)
{
    const struct cpu_state *s = &c->s;
    uint64_t apic = c->apic.base ? c->apic.base(c->apic.apic) : 0;
    bool kernels = c->vcpu && c->vcpu->vm->chips;
    *r = (struct kvm_sregs2){.cs = seg_from(&s->seg[SEG_CS]),
                             .ds = seg_from(&s->seg[SEG_DS]),
                             .es = seg_from(&s->seg[SEG_ES]),
                             .fs = seg_from(&s->seg[SEG_FS]),
                             .gs = seg_from(&s->seg[SEG_GS]),
                             .ss = seg_from(&s->seg[SEG_SS]),
                             .tr = seg_from(&s->tr),
                             .ldt = seg_from(&s->ldtr),
                             .gdt = table_from(&s->gdtr),
                             .idt = table_from(&s->idtr),
                             .cr0 = s->cr0,
                             .cr2 = s->cr2,
                             .cr3 = s->cr3,
                             .cr4 = s->cr4,
                             .cr8 = c->apic.tpr ? c->apic.tpr(c->apic.apic) >> 4 : 0,
                             .efer = s->efer,
                             /* without an APIC the kernel does not switch to x2APIC mode */
                             .apic_base = kernels ? apic : apic & ~(uint64_t)APIC_BASE_X2};
    if ((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA)) {
        r->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(r->pdptrs, s->pdpte, sizeof s->pdpte);
    }
}

void kvm_sregs_to(struct cpu *c, const struct kvm_sregs2 *r)
{
    struct cpu_state *s = &c->s;
    s->seg[SEG_CS] = seg_to(&r->cs, false);
    s->seg[SEG_DS] = seg_to(&r->ds, false);
    s->seg[SEG_ES] = seg_to(&r->es, false);
    s->seg[SEG_FS] = seg_to(&r->fs, false);
    s->seg[SEG_GS] = seg_to(&r->gs, false);
    s->seg[SEG_SS] = seg_to(&r->ss, true);
    s->tr = seg_to(&r->tr, false);
    s->ldtr = seg_to(&r->ldt, false);
    s->gdtr = (struct dtable){.base = r->gdt.base, .limit = r->gdt.limit};
    s->idtr = (struct dtable){.base = r->idt.base, .limit = r->idt.limit};
    s->cr0 = r->cr0;
    s->cr2 = r->cr2;
    s->cr3 = r->cr3;
    s->cr4 = r->cr4;
    s->efer = r->efer;
    if (r->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
        memcpy(s->pdpte, r->pdptrs, sizeof s->pdpte);
}

/* FXSAVE's image in its 64-bit form, the header of XSAVE, the upper halves of YMM (SDM 1 13.4). */
#define XSAVE_HEADER 512
#define XSAVE_AVX    576

void kvm_xsave_from(const struct cpu *c, uint8_t *b)
{
    const struct cpu_state *s = &c->s;
    bool avx = isa_has(&c->features, FEAT_AVX);
    unsigned top = s->fsw >> 11 & 7;
    put_le16(b, s->fcw);
    put_le16(b + 2, s->fsw);
    b[4] = s->ftw;
    put_le16(b + 6, s->fop & 0x7ff);
    put_le64(b + 8, s->fip);
    put_le64(b + 16, s->fdp);
    put_le32(b + 24, s->mxcsr);
    put_le32(b + 28, 0xffff);
    for (unsigned i = 0; i < 8; i++) {
        put_le64(b + 32 + 16 * i, s->fp_sig[(top + i) & 7]);
        put_le16(b + 40 + 16 * i, s->fp_exp[(top + i) & 7]);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(b + 160 + 16 * i, s->v[i].b, 16);
        if (avx)
            memcpy(b + XSAVE_AVX + 16 * i, s->v[i].b + 16, 16);
    }
    put_le64(b + XSAVE_HEADER, avx ? 7 : 3);
}

void kvm_xsave_to(struct cpu *c, const uint8_t *b)
{
    struct cpu_state *s = &c->s;
    uint64_t present = get_le64(b + XSAVE_HEADER);
    bool x87 = present & 1, sse = present & 2, avx = present & 4;
    /* What is absent has its initial value, whatever the image holds (SDM 1 13.6). */
    s->fcw = x87 ? get_le16(b) : 0x37f;
    s->fsw = x87 ? get_le16(b + 2) : 0;
    s->ftw = x87 ? b[4] : 0;
    s->fop = x87 ? get_le16(b + 6) & 0x7ff : 0;
    s->fip = x87 ? get_le64(b + 8) : 0;
    s->fdp = x87 ? get_le64(b + 16) : 0;
    s->fcs = s->fds = 0;
    s->mxcsr = get_le32(b + 24);
    unsigned top = s->fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        s->fp_sig[(top + i) & 7] = x87 ? get_le64(b + 32 + 16 * i) : 0;
        s->fp_exp[(top + i) & 7] = x87 ? get_le16(b + 40 + 16 * i) : 0;
    }
    memset(s->v, 0, sizeof s->v);
    for (unsigned i = 0; i < 16; i++) {
        if (sse)
            memcpy(s->v[i].b, b + 160 + 16 * i, 16);
        if (avx)
            memcpy(s->v[i].b + 16, b + XSAVE_AVX + 16 * i, 16);
    }
}

void kvm_debug_from(const struct cpu_state *s, struct kvm_debugregs *r)
{
    *r = (struct kvm_debugregs){.dr6 = s->dr6, .dr7 = s->dr7};
    memcpy(r->db, s->dr, sizeof r->db);
}

void kvm_debug_to(struct cpu_state *s, const struct kvm_debugregs *r)
{
    memcpy(s->dr, r->db, sizeof s->dr);
    s->dr6 = r->dr6;
    s->dr7 = r->dr7;
}

/* The registers that the kernel must have, as instructions use them. All others stay here: the
 * kernel hands every access to them back (kvm.c). */
#define AT(field) offsetof(struct cpu_state, field)
static const struct {
    uint32_t index;
    uint8_t feature; /* enum isa_feature */
    uint16_t at;
} msrs[] = {
    {0x174, FEAT_SEP, AT(sysenter_cs)},     {0x175, FEAT_SEP, AT(sysenter_esp)},
    {0x176, FEAT_SEP, AT(sysenter_eip)},    {0xc0000081, FEAT_LM, AT(star)},
    {0xc0000082, FEAT_LM, AT(lstar)},       {0xc0000083, FEAT_LM, AT(cstar)},
    {0xc0000084, FEAT_LM, AT(fmask)},       {0xc0000102, FEAT_LM, AT(kernel_gs_base)},
    {0xc0000103, FEAT_RDTSCP, AT(tsc_aux)},
};

unsigned kvm_msrs_from(const struct cpu *c, struct kvm_msr_entry *e)
{
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_LEN(msrs); i++) {
        if (!isa_has(&c->features, msrs[i].feature))
            continue;
        e[n] = (struct kvm_msr_entry){.index = msrs[i].index};
        memcpy(&e[n++].data, (const char *)&c->s + msrs[i].at, 8);
    }
    return n;
}

void kvm_msrs_to(struct cpu *c, const struct kvm_msr_entry *e, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        for (size_t i = 0; i < ARRAY_LEN(msrs); i++)
            if (msrs[i].index == e[k].index)
                memcpy((char *)&c->s + msrs[i].at, &e[k].data, 8);
}

/* NMIs that wait, INIT and start-up IPIs stay with us. */
void kvm_events_from(const struct cpu *c, struct kvm_vcpu_events *e)
{
    const struct cpu_state *s = &c->s;
    *e = (struct kvm_vcpu_events){.flags =
                                      KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
    e->nmi.masked = s->nmi_blocked;
    if (s->shadow_at == s->icount && (s->shadow & SHADOW_MOVSS))
        e->interrupt.shadow = KVM_X86_SHADOW_INT_MOV_SS;
    else if (s->shadow_at == s->icount && (s->shadow & SHADOW_STI))
        e->interrupt.shadow = KVM_X86_SHADOW_INT_STI;
}
