/* Instructions of kernels that are too frequent for a call of C: on the interrupt flag, EFLAGS, the
 * base of GS, segment selectors. Each does the case that is common at its level, in protected mode,
 * and leaves the others to the helper. */
#include "cpu/helpers.h"
#include "jit/emit.h"
#include "jit/own.h"

static unsigned level(const struct emit *e)
{
    return e->b->key >> KEY_CPL_SHIFT & 3;
}

static bool kernel(const struct emit *e)
{
    return (e->b->key & KEY_PROT) && level(e) == 0;
}

/* Of an instruction that ends its block: where it goes on, as the helper's caller would say. */
static void goes_on(struct emit *e, const struct uop *u)
{
    int32_t off = (int32_t)(e_page_offset(e, u) + u->next);
    x_load(&e->a, 8, J_X0, E_CPU(jit.page));
    x_lea(&e->a, e->b->mask[0] == ~0ull ? 8 : 4, J_X0, xm(J_X0, off));
    x_store(&e->a, 8, E_CPU(next_rip), J_X0);
}

static bool cli(struct emit *e, const struct uop *u)
{
    if (!kernel(e))
        return false;
    e_clobber(e);
    x_alu_mi(&e->a, XA_AND, 4, E_CPU(s.rflags), ~(int64_t)EF_IF);
    return true;
}

/* With IF clear: it is set, and no interrupt is taken before the next instruction has ended. One
 * that waits already makes it the helper's business; one that another thread raises from here on is
 * a request, which the next block sees. */
static bool sti(struct emit *e, const struct uop *u)
{
    if (!kernel(e))
        return false;
    e_clobber(e);
    struct stub *s = e_stub(e, STUB_HELP, u);
    goes_on(e, u);
    x_alu_mi(&e->a, XA_CMP, 1, E_CPU(intr_quiet), 0);
    e_stub_jcc(e, s, XC_Z);
    x_rm(&e->a, 4, 0xf7, 0, E_CPU(s.rflags)); /* test */
    x_u32(&e->a, EF_IF);
    uint32_t set = x_jcc(&e->a, XC_NZ, e->a.at);
    x_alu_mi(&e->a, XA_OR, 4, E_CPU(s.rflags), EF_IF);
    x_store_i(&e->a, 1, E_CPU(s.shadow), SHADOW_STI);
    x_load(&e->a, 8, J_X0, E_CPU(jit.limit));
    x_alu_rr(&e->a, XA_SUB, 8, J_X0, J_LEFT);
    x_alu_ri(&e->a, XA_SUB, 8, J_X0, e->b->insns - u->insn - 1);
    x_store(&e->a, 8, E_CPU(s.shadow_at), J_X0);
    if (!e->a.full)
        x_patch(e->a.base, set, e->a.at);
    s->back = e->a.at;
    return true;
}

/* Alone, it only counts. */
static bool pause(struct emit *e, const struct uop *u)
{
    if (e->j->cpus[0]->count > 1)
        return false;
    e_clobber(e);
    goes_on(e, u);
    x_alu_mi(&e->a, XA_ADD, 4, E_CPU(pauses), 1);
    return true;
}

static bool swapgs(struct emit *e, const struct uop *u)
{
    struct xmem base = e_cpu(offsetof(struct cpu, s.seg) + SEG_GS * sizeof(struct seg) +
                             offsetof(struct seg, base));
    x_load(&e->a, 8, J_X0, base);
    x_load(&e->a, 8, J_X1, E_CPU(s.kernel_gs_base));
    x_store(&e->a, 8, E_CPU(s.kernel_gs_base), J_X0);
    x_store(&e->a, 8, base, J_X1);
    return true;
}

/* STAC and CLAC choose the set of translations, where SMAP is on; see cpu_rights_changed(). */
static bool set_ac(struct emit *e, const struct uop *u, bool on)
{
    unsigned op = on ? XA_OR : XA_AND;
    int64_t flip = on ? 0 : -1;
    if (!kernel(e))
        return false;
    e_clobber(e);
    struct stub *s = e_stub(e, STUB_HELP, u);
    goes_on(e, u);
    x_rm(&e->a, 4, 0xf7, 0, E_CPU(s.cr4)); /* test */
    x_u32(&e->a, CR4_SMAP);
    e_stub_jcc(e, s, XC_Z);
    x_alu_mi(&e->a, op, 4, E_CPU(s.rflags), flip ^ (int64_t)EF_AC);
    x_alu_mi(&e->a, op, 4, E_CPU(key), flip ^ (int64_t)KEY_AC);
    x_alu_mi(&e->a, op, 8, E_CPU(jit.stamp), flip ^ (int64_t)KEY_AC);
    x_alu_mi(&e->a, op, 1, E_CPU(tlb_ctx), flip ^ 1);
    s->back = e->a.at;
    return true;
}

static bool stac(struct emit *e, const struct uop *u)
{
    return set_ac(e, u, true);
}

static bool clac(struct emit *e, const struct uop *u)
{
    return set_ac(e, u, false);
}

/* Is the stack one that code may push to without asking its segment? */
static bool flat_stack(const struct emit *e)
{
    uint32_t flat = KEY_PROT | KEY_FLAT_SS | KEY_STACK32;
    return (e->b->key & flat) == flat && (e->b->key & KEY_CODE) != ISA_16;
}

/* Host address of `size` bytes at RSP + disp into J_X0. What the check does not let pass is the
 * helper's. */
static void on_stack(struct emit *e, const struct uop *u, int32_t disp, unsigned size, bool write)
{
    unsigned width = (e->b->key & KEY_CODE) == ISA_64 ? 8 : 4;
    x_lea(&e->a, width, J_X0, xm(e->home[R_SP], disp));
    e_check(e, u, size, write);
    e->access->kind = STUB_HELP;
}

static void move_sp(struct emit *e, int32_t by)
{
    unsigned width = (e->b->key & KEY_CODE) == ISA_64 ? 8 : 4;
    x_lea(&e->a, width, e->home[R_SP], xm(e->home[R_SP], by));
}

static bool pushf(struct emit *e, const struct uop *u)
{
    if (!flat_stack(e) || u->size == 2)
        return false;
    e_flags_in(e);
    e_write(e, R_SP);
    x_u8(&e->a, 0x9c); /* pushf */
    x_op(&e->a, 0, 4, 0x58 | (J_X1 & 7), 0, 0, J_X1, false);
    e_clobber(e);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, F_OSZAPC);
    x_load(&e->a, 4, J_X0, E_CPU(s.rflags));
    x_alu_ri(&e->a, XA_AND, 4, J_X0, ~(int64_t)(F_OSZAPC | EF_VM | EF_RF));
    x_alu_rr(&e->a, XA_OR, 4, J_X1, J_X0);
    x_alu_ri(&e->a, XA_OR, 4, J_X1, EF_FIXED);
    x_store(&e->a, 8, E_CPU(jit.scratch), J_X1);
    on_stack(e, u, -(int32_t)u->size, u->size, true);
    x_load(&e->a, 8, J_X1, E_CPU(jit.scratch));
    x_store(&e->a, u->size, xm(J_X0, 0), J_X1);
    move_sp(e, -(int32_t)u->size);
    e_resume(e);
    return true;
}

/* Where only arithmetic flags and IF change, which is what kernels do with it; and where nothing
 * waits for IF. */
static bool popf(struct emit *e, const struct uop *u)
{
    const int64_t other = EF_TF | EF_DF | EF_NT | EF_AC | EF_ID | EF_IOPL;
    if (!kernel(e) || !flat_stack(e) || u->size == 2)
        return false;
    e_clobber(e);
    e_write(e, R_SP);
    goes_on(e, u);
    on_stack(e, u, 0, u->size, false);
    x_load(&e->a, u->size, J_X0, xm(J_X0, 0));
    x_load(&e->a, 4, J_X1, E_CPU(s.rflags));
    x_rm(&e->a, 4, 0xf7, 0, E_CPU(s.rflags)); /* test */
    x_u32(&e->a, EF_TF | EF_RF);
    e_stub_jcc(e, e->access, XC_NZ);
    x_alu_rr(&e->a, XA_XOR, 4, J_X1, J_X0);
    x_test_ri(&e->a, 4, J_X1, other);
    e_stub_jcc(e, e->access, XC_NZ);
    x_test_ri(&e->a, 4, J_X0, EF_IF);
    uint32_t off = x_jcc(&e->a, XC_Z, e->a.at);
    x_alu_mi(&e->a, XA_CMP, 1, E_CPU(intr_quiet), 0);
    e_stub_jcc(e, e->access, XC_Z);
    if (!e->a.full)
        x_patch(e->a.base, off, e->a.at);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, EF_IF);
    x_alu_mr(&e->a, XA_XOR, 4, E_CPU(s.rflags), J_X1);
    x_mov_rr(&e->a, 4, J_X1, J_X0);
    x_alu_ri(&e->a, XA_AND, 4, J_X1, F_SZAPC);
    x_shift_ri(&e->a, XS_SHL, 4, J_X1, 8);
    x_shift_ri(&e->a, XS_SHR, 4, J_X0, 11); /* OF */
    x_alu_ri(&e->a, XA_AND, 4, J_X0, 1);
    x_alu_rr(&e->a, XA_OR, 4, J_X1, J_X0);
    x_store(&e->a, 4, E_CPU(s.cc_src), J_X1);
    x_store_i(&e->a, 8, E_CPU(s.cc_op), CC_HOST * 4);
    move_sp(e, (int32_t)u->size);
    e->fl = (struct flags_where){.mem = true};
    e_resume(e);
    return true;
}

static struct xmem selector(unsigned seg)
{
    return e_cpu(offsetof(struct cpu, s.seg) + seg * sizeof(struct seg) +
                 offsetof(struct seg, sel));
}

/* A 32-bit push of a selector writes 16 bits; see h_push_sreg(). */
static bool push_sreg(struct emit *e, const struct uop *u)
{
    if (!flat_stack(e) || u->size == 2)
        return false;
    e_clobber(e);
    e_write(e, R_SP);
    on_stack(e, u, -(int32_t)u->size, u->size == 4 ? 2 : 8, true);
    x_rm(&e->a, 4, 0x0fb7, J_X1, selector(u->dst));
    x_store(&e->a, u->size == 4 ? 2 : 8, xm(J_X0, 0), J_X1);
    move_sp(e, -(int32_t)u->size);
    e_resume(e);
    return true;
}

static bool from_sreg(struct emit *e, const struct uop *u)
{
    if (u->aux & 1 || u->dst >= SEG_COUNT)
        return false;
    e_write(e, u->a);
    x_rm(&e->a, 4, 0x0fb7, J_X1, selector(u->dst));
    e_put(e, u->a, u->size, J_X1);
    return true;
}

const struct jit_native jit_natives_sys[] = {
    {h_cli, cli},
    {h_sti, sti},
    {h_pause, pause},
    {h_swapgs, swapgs},
    {h_stac, stac},
    {h_clac, clac},
    {h_pushf, pushf},
    {h_popf, popf},
    {h_push_sreg, push_sreg},
    {h_mov_from_sreg, from_sreg},
    {NULL, NULL},
};
