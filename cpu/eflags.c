/* Instructions on EFLAGS and software interrupts, with the rules of IOPL, of virtual-8086 mode and
 * of its extensions VME and PVI (SDM 3B chapter 20). */
#include "cpu/intr.h"
#include "cpu/mem.h"
#include "cpu/sysop.h"

/* Flags that POPF changes at any privilege. */
#define POPF_16 (F_OSZAPC | EF_TF | EF_DF | EF_NT)
#define POPF_32 (POPF_16 | EF_AC | EF_ID)

/* May IF be written directly? */
static bool if_free(const struct cpu *c)
{
    return cpu_real(c) || c->cpl <= iopl(c);
}

/* Does CLI or STI act on VIF instead? */
static bool if_virtual(const struct cpu *c)
{
    return c->cpl == 3 && (c->s.cr4 & (cpu_vm86(c) ? CR4_VME : CR4_PVI));
}

bool h_cli(struct cpu *c, const struct uop *u)
{
    if (if_free(c))
        c->s.rflags &= ~(uint64_t)EF_IF;
    else if (if_virtual(c))
        c->s.rflags &= ~(uint64_t)EF_VIF;
    else
        return cpu_fault(c, EXC_GP, "CLI at level %#llx with IOPL %#llx", c->cpl, iopl(c));
    return true;
}

bool h_sti(struct cpu *c, const struct uop *u)
{
    if (if_free(c)) {
        if (!(c->s.rflags & EF_IF)) {
            c->s.rflags |= EF_IF;
            cpu_shadow(c, SHADOW_STI);
            cpu_attention(c);
        }
        return true;
    }
    if (!if_virtual(c) || (c->s.rflags & EF_VIP))
        return cpu_fault(c, EXC_GP, "STI at level %#llx with IOPL %#llx", c->cpl, iopl(c));
    c->s.rflags |= EF_VIF;
    return true;
}

/* Host address of the value at `sp` on a flat stack, where the TLB knows it. */
static void *flat_top(const struct cpu *c, uint64_t sp, unsigned size, bool write)
{
    bool wide = cpu_64(c);
    if (!(c->key & KEY_FLAT_SS) || !(c->key & KEY_STACK32) || (!wide && sp > 0xffffffff))
        return NULL;
    const struct tlb_entry *e = tlb_slot(c, c->tlb_ctx, sp);
    uint64_t off = sp - (write ? e->write : e->read);
    return off <= PAGE_SIZE - size ? (char *)e->host + off : NULL;
}

static bool push(struct cpu *c, unsigned size, uint64_t v)
{
    void *top = flat_top(c, c->s.r[R_SP] - size, size, true);
    if (LIKELY(top != NULL)) {
        mem_put(top, size, v);
        c->s.r[R_SP] -= size;
        return true;
    }
    struct stack st = stack_now(c);
    if (!stack_push(c, &st, size, v))
        return false;
    c->s.r[R_SP] = stack_sp(&st);
    return true;
}

/* *sp: what RSP is to be. */
static bool pop(struct cpu *c, unsigned size, uint64_t *v, uint64_t *sp)
{
    const void *top = flat_top(c, c->s.r[R_SP], size, false);
    if (LIKELY(top != NULL)) {
        *v = mem_get(top, size);
        *sp = c->s.r[R_SP] + size;
        if (!cpu_64(c))
            *sp = (uint32_t)*sp;
        return true;
    }
    struct stack st = stack_now(c);
    if (!stack_pop(c, &st, size, v))
        return false;
    *sp = stack_sp(&st);
    return true;
}

bool h_pushf(struct cpu *c, const struct uop *u)
{
    uint64_t flags = flags_get(c) & ~(uint64_t)(EF_VM | EF_RF);
    if (cpu_vm86(c) && iopl(c) < 3) {
        if (!(c->s.cr4 & CR4_VME) || u->size != 2)
            return cpu_fault(c, EXC_GP, "PUSHF in virtual-8086 mode with IOPL %#llx", iopl(c), 0);
        flags = (flags & ~(uint64_t)EF_IF) | EF_IOPL | (flags & EF_VIF ? EF_IF : 0);
    }
    return push(c, u->size, flags);
}

bool h_popf(struct cpu *c, const struct uop *u)
{
    uint64_t v, sp, mask = u->size == 2 ? POPF_16 : POPF_32;
    bool virtual = cpu_vm86(c) && iopl(c) < 3;
    if (virtual && (!(c->s.cr4 & CR4_VME) || u->size != 2))
        return cpu_fault(c, EXC_GP, "POPF in virtual-8086 mode with IOPL %#llx", iopl(c), 0);
    if (!pop(c, u->size, &v, &sp))
        return false;
    if (virtual) {
        if ((v & EF_TF) || ((v & EF_IF) && (c->s.rflags & EF_VIP)))
            return cpu_fault(c, EXC_GP, "POPF in virtual-8086 mode: a virtual interrupt pends", 0,
                             0);
        v = (v & ~(uint64_t)EF_VIF) | (v & EF_IF ? EF_VIF : 0);
        mask |= EF_VIF;
    } else {
        if (if_free(c))
            mask |= EF_IF;
        if (c->cpl == 0)
            mask |= EF_IOPL;
    }
    c->s.r[R_SP] = sp;
    flags_replace(c, mask | (u->size > 2 ? EF_RF : 0), v & ~(uint64_t)EF_RF);
    return true;
}

static bool set_ac(struct cpu *c, bool on)
{
    if (c->cpl > 0)
        return op_undefined(c, "CLAC or STAC outside level 0");
    c->s.rflags = (c->s.rflags & ~(uint64_t)EF_AC) | (on ? EF_AC : 0);
    cpu_rights_changed(c);
    return true;
}

bool h_clac(struct cpu *c, const struct uop *u)
{
    return set_ac(c, false);
}

bool h_stac(struct cpu *c, const struct uop *u)
{
    return set_ac(c, true);
}

/* INT n in virtual-8086 mode through the 8086's own table (SDM 3B 20.3.3.4, methods 5 and 6). */
static bool int_redirected(struct cpu *c, unsigned vector)
{
    struct stack st = stack_now(c);
    uint64_t v, flags = flags_get(c), pushed = flags | EF_IOPL, clear = EF_TF | EF_NT;
    if (iopl(c) < 3) {
        pushed = (pushed & ~(uint64_t)EF_IF) | (flags & EF_VIF ? EF_IF : 0);
        clear |= EF_VIF;
    } else {
        clear |= EF_IF;
    }
    if (!lin_load(c, vector * 4, 4, &v) || !stack_push(c, &st, 2, pushed) ||
        !stack_push(c, &st, 2, c->s.seg[SEG_CS].sel) || !stack_push(c, &st, 2, c->next_rip))
        return false;
    c->s.r[R_SP] = stack_sp(&st);
    c->s.seg[SEG_CS] = seg_vm86((uint16_t)(v >> 16));
    c->next_rip = v & 0xffff;
    flags_replace(c, clear, 0);
    cpu_mode_changed(c);
    return true;
}

/* The interrupt redirection bitmap: the 32 bytes before the I/O permission bitmap. */
static bool redirection(struct cpu *c, unsigned vector, bool *to_monitor)
{
    const struct seg *tr = &c->s.tr;
    uint64_t map, byte;
    if (!(tr->attr & 8) || tr->limit < 0x67)
        return cpu_fault(c, EXC_GP, "INT %#llx: no interrupt redirection bitmap", vector, 0);
    if (!sys_load(c, tr->base + 0x66, 2, &map))
        return false;
    if (map < 32 || map - 32 + vector / 8 > tr->limit)
        return cpu_fault(c, EXC_GP, "INT %#llx is beyond the redirection bitmap", vector, 0);
    if (!sys_load(c, tr->base + map - 32 + vector / 8, 1, &byte))
        return false;
    *to_monitor = byte >> (vector & 7) & 1;
    return true;
}

bool h_int(struct cpu *c, const struct uop *u)
{
    unsigned vector = (uint8_t)u->imm;
    bool to_monitor = true;
    if (cpu_vm86(c)) {
        if ((c->s.cr4 & CR4_VME) && !redirection(c, vector, &to_monitor))
            return false;
        if (!to_monitor)
            return int_redirected(c, vector);
        if (iopl(c) < 3)
            return cpu_fault(c, EXC_GP, "INT %#llx in virtual-8086 mode with IOPL %#llx", vector,
                             iopl(c));
    }
    return intr_software(c, vector, SOFT_INT);
}

bool h_int1(struct cpu *c, const struct uop *u)
{
    return intr_software(c, EXC_DB, SOFT_INT1);
}

bool h_int3(struct cpu *c, const struct uop *u)
{
    return intr_software(c, EXC_BP, SOFT_INT3);
}

bool h_into(struct cpu *c, const struct uop *u)
{
    return !(flags_get(c) & F_O) || intr_software(c, EXC_OF, SOFT_INTO);
}
