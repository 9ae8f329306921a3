/* Fast system calls, and the bases of FS and GS: SYSCALL, SYSENTER, SWAPGS, FSGSBASE. */
#include "cpu/sysop.h"

/* The fixed segments that these instructions load without reading a descriptor. */
static struct seg flat_code(uint16_t sel, unsigned dpl, bool wide)
{
    uint16_t attr = (uint16_t)(0x9b | dpl << 5 | SEG_G | (wide ? SEG_L : SEG_DB));
    return (struct seg){.limit = 0xffffffff, .sel = sel, .attr = attr};
}

static struct seg flat_stack(uint16_t sel, unsigned dpl)
{
    return (struct seg){
        .limit = 0xffffffff, .sel = sel, .attr = (uint16_t)(0x93 | dpl << 5 | SEG_G | SEG_DB)};
}

static void load(struct cpu *c, uint16_t cs, uint16_t ss, unsigned dpl, bool wide)
{
    c->s.seg[SEG_CS] = flat_code((uint16_t)((cs & 0xfffc) | dpl), dpl, wide);
    c->s.seg[SEG_SS] = flat_stack((uint16_t)((ss & 0xfffc) | dpl), dpl);
}

static bool canonical(uint64_t v)
{
    return (uint64_t)sext(v, 48) == v;
}

bool h_syscall(struct cpu *c, const struct uop *u)
{
    struct cpu_state *s = &c->s;
    uint64_t flags = flags_get(c);
    uint16_t cs = (uint16_t)(s->star >> 32);
    if (!(s->efer & EFER_SCE))
        return op_undefined(c, "SYSCALL while EFER.SCE is off");
    s->r[R_CX] = c->next_rip;
    s->r[R_11] = flags & ~(uint64_t)EF_RF;
    load(c, cs, (uint16_t)((cs & 0xfffc) + 8), 0, true);
    c->next_rip = s->lstar;
    /* TF that is masked away does not trap in the kernel's first instruction */
    if (s->fmask & EF_TF)
        s->stepping = 0;
    flags_set(c, flags & ~(s->fmask | EF_RF));
    cpu_mode_changed(c);
    return true;
}

bool h_sysret(struct cpu *c, const struct uop *u)
{
    struct cpu_state *s = &c->s;
    uint16_t base = (uint16_t)(s->star >> 48);
    bool wide = u->size == 8;
    if (!(s->efer & EFER_SCE))
        return op_undefined(c, "SYSRET while EFER.SCE is off");
    if (wide && !canonical(s->r[R_CX]))
        return cpu_fault(c, EXC_GP, "SYSRET to %#llx, which is not canonical", s->r[R_CX], 0);
    c->next_rip = wide ? s->r[R_CX] : (uint32_t)s->r[R_CX];
    load(c, (uint16_t)(base + (wide ? 16 : 0)), (uint16_t)(base + 8), 3, wide);
    flags_set(c, (s->r[R_11] & 0x3c7fd7) | EF_FIXED);
    cpu_mode_changed(c);
    return true;
}

bool h_sysenter(struct cpu *c, const struct uop *u)
{
    struct cpu_state *s = &c->s;
    uint16_t cs = (uint16_t)(s->sysenter_cs & 0xfffc);
    if (cpu_real(c) || !cs)
        return cpu_fault(c, EXC_GP, "SYSENTER in real mode or with SYSENTER_CS %#llx",
                         s->sysenter_cs, 0);
    bool wide = cpu_long(c);
    s->r[R_SP] = wide ? s->sysenter_esp : (uint32_t)s->sysenter_esp;
    c->next_rip = wide ? s->sysenter_eip : (uint32_t)s->sysenter_eip;
    load(c, cs, (uint16_t)(cs + 8), 0, wide);
    flags_set(c, flags_get(c) & ~(uint64_t)(EF_VM | EF_IF | EF_RF));
    cpu_mode_changed(c);
    return true;
}

bool h_sysexit(struct cpu *c, const struct uop *u)
{
    struct cpu_state *s = &c->s;
    uint16_t base = (uint16_t)(s->sysenter_cs & 0xfffc);
    bool wide = u->size == 8;
    if (cpu_real(c) || c->cpl != 0 || !base)
        return cpu_fault(c, EXC_GP, "SYSEXIT in real mode, outside level 0 or without SYSENTER_CS",
                         0, 0);
    if (wide && (!canonical(s->r[R_CX]) || !canonical(s->r[R_DX])))
        return cpu_fault(c, EXC_GP, "SYSEXIT to %#llx, stack %#llx: not canonical", s->r[R_DX],
                         s->r[R_CX]);
    s->r[R_SP] = wide ? s->r[R_CX] : (uint32_t)s->r[R_CX];
    c->next_rip = wide ? s->r[R_DX] : (uint32_t)s->r[R_DX];
    base = (uint16_t)(base + (wide ? 32 : 16));
    load(c, base, (uint16_t)(base + 8), 3, wide);
    cpu_mode_changed(c);
    return true;
}

bool h_swapgs(struct cpu *c, const struct uop *u)
{
    uint64_t base = c->s.seg[SEG_GS].base;
    c->s.seg[SEG_GS].base = c->s.kernel_gs_base;
    c->s.kernel_gs_base = base;
    return true;
}

static bool fsgsbase(struct cpu *c)
{
    return (c->s.cr4 & CR4_FSGSBASE) || op_undefined(c, "CR4.FSGSBASE is off");
}

static bool read_base(struct cpu *c, const struct uop *u, unsigned seg)
{
    if (!fsgsbase(c))
        return false;
    reg_put(c, u->a, u->size, c->s.seg[seg].base);
    return true;
}

static bool write_base(struct cpu *c, const struct uop *u, unsigned seg)
{
    uint64_t v = c->s.r[u->a] & size_mask(u->size);
    if (!fsgsbase(c))
        return false;
    if (!canonical(v))
        return cpu_fault(c, EXC_GP, "segment base %#llx is not canonical", v, 0);
    c->s.seg[seg].base = v;
    return true;
}

bool h_rdfsbase(struct cpu *c, const struct uop *u)
{
    return read_base(c, u, SEG_FS);
}

bool h_rdgsbase(struct cpu *c, const struct uop *u)
{
    return read_base(c, u, SEG_GS);
}

bool h_wrfsbase(struct cpu *c, const struct uop *u)
{
    return write_base(c, u, SEG_FS);
}

bool h_wrgsbase(struct cpu *c, const struct uop *u)
{
    return write_base(c, u, SEG_GS);
}
