/* Why the guest left the kernel: ports, device memory, MSRs, and instructions that the kernel's
 * emulator refuses. */
#include <stdio.h>

#include "cpu/intr.h"
#include "cpu/mem.h"
#include "cpu/msr.h"
#include "cpu/share.h"
#include "engine/kvm_vm.h"

static void count_place(struct kvm_place *table, uint64_t at)
{
    unsigned i = 0;
    /* linear: devices in use are few, and the busy ones come first */
    while (i < KVM_PLACES - 1 && table[i].count && table[i].at != at)
        i++;
    table[i].at = at;
    table[i].count++;
}

void kvm_exit_count(struct kvm_vcpu *v)
{
    struct kvm_stats *s = &v->vm->stats;
    const struct kvm_run *run = v->run;
    s->exits[run->exit_reason < KVM_EXITS ? run->exit_reason : 0]++;
    if (UNLIKELY(v->c->log && (v->c->log->mask & BIT(LOG_EXIT))))
        kvm_exit_log(v);
    if (run->exit_reason == KVM_EXIT_IO)
        count_place(s->port, run->io.port);
    else if (run->exit_reason == KVM_EXIT_MMIO)
        count_place(s->page, run->mmio.phys_addr & ~(uint64_t)(PAGE_SIZE - 1));
    else if (run->exit_reason == KVM_EXIT_X86_RDMSR || run->exit_reason == KVM_EXIT_X86_WRMSR)
        count_place(s->msr, run->msr.index);
}

static void port(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct bus *b = v->vm->bus;
    uint8_t *p = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, p += run->io.size) {
        uint32_t value = 0;
        if (run->io.direction == KVM_EXIT_IO_IN) {
            value = bus_in(b, run->io.port, run->io.size);
            memcpy(p, &value, run->io.size);
        } else {
            memcpy(&value, p, run->io.size);
            bus_out(b, run->io.port, run->io.size, value);
        }
    }
}

/* The local APIC's page is inside the processor: it never reaches the bus. */
static bool is_apic(const struct cpu *c, uint64_t paddr)
{
    uint64_t base = c->apic.base ? c->apic.base(c->apic.apic) : 0;
    return (base & 0xc00) == 0x800 && ((paddr ^ base) & ~(uint64_t)(PAGE_SIZE - 1)) == 0;
}

static void memory(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct cpu *c = v->c;
    uint64_t paddr = run->mmio.phys_addr, value;
    uint8_t *p = run->mmio.data;
    bool apic = is_apic(c, paddr);
    kvm_map_devices(v->vm, paddr);
    for (unsigned left = min_u64(run->mmio.len, 8), n; left; left -= n, paddr += n, p += n) {
        n = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        value = 0;
        if (run->mmio.is_write) {
            memcpy(&value, p, n);
            if (apic)
                c->apic.mmio_write(c->apic.apic, paddr & (PAGE_SIZE - 1), n, value);
            else
                bus_write(v->vm->bus, paddr, n, value);
        } else {
            value = apic ? c->apic.mmio_read(c->apic.apic, paddr & (PAGE_SIZE - 1), n)
                         : bus_read(v->vm->bus, paddr, n);
            memcpy(p, &value, n);
        }
    }
}

#define MSR_TSC          0x10
#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_KVM          0x4b564d00u /* and its neighbours */
#define MSR_EFER         0xc0000080u

/* The kernel answers CPUID by it: a local APIC that is off is not there. */
static void tell_apic_base(struct kvm_vcpu *v)
{
    const struct cpu *c = v->c;
    struct kvm_sregs s = {0};
    if (kvm_call(v->fd, KVM_GET_SREGS, &s) < 0)
        return;
    s.apic_base = c->apic.base(c->apic.apic) & ~(uint64_t)APIC_BASE_X2;
    kvm_call(v->fd, KVM_SET_SREGS, &s);
}

static void msr(struct kvm_vcpu *v, bool write)
{
    struct kvm_run *run = v->run;
    uint32_t n = run->msr.index;
    bool ok;
    if (n == MSR_EFER)
        kvm_peek_sregs(v);
    if (n == MSR_TSC_DEADLINE || n == MSR_TSC || n >> 8 == MSR_KVM >> 8)
        kvm_store_tsc(v); /* the two clocks drift; what the guest means is by the kernel's */
    if (!write) {
        uint64_t value;
        ok = cpu_msr_read(v->c, n, &value);
        run->msr.data = value;
    } else {
        ok = cpu_msr_write(v->c, n, run->msr.data);
        if (n == MSR_TSC)
            kvm_load_tsc(v);
        if (n == MSR_APIC_BASE && ok)
            tell_apic_base(v);
    }
    run->msr.error = !ok;
    if (!ok)
        LOG(v->c->log, CPU, "cpu%u: %s MSR %#x, which there is not", v->c->index,
            write ? "write of" : "read of", n);
}

/* A write of EFER that came here decides who runs on (kvm.c, own_mode): the state is taken back. */
static void write_efer(struct kvm_vcpu *v)
{
    struct cpu *c = v->c;
    kvm_peek_sregs(v);
    bool ok = cpu_msr_write(c, MSR_EFER, v->run->msr.data);
    uint64_t efer = c->s.efer;
    v->run->msr.error = !ok;
    v->unfinished = true;
    kvm_store(v);
    if (ok)
        c->s.efer = efer;
    cpu_mode_changed(c);
    tlb_flush(c);
}

bool kvm_exit_device(struct kvm_vcpu *v)
{
    if (v->run->exit_reason == KVM_EXIT_X86_WRMSR && v->run->msr.index == MSR_EFER) {
        write_efer(v);
        return true;
    }
    switch (v->run->exit_reason) {
    case KVM_EXIT_IO: port(v); break;
    case KVM_EXIT_MMIO: memory(v); break;
    case KVM_EXIT_X86_RDMSR: msr(v, false); break;
    case KVM_EXIT_X86_WRMSR: msr(v, true); break;
    default: return false;
    }
    v->unfinished = true;
    return true;
}

static uint64_t code_address(const struct cpu *c)
{
    return cpu_64(c) ? c->s.rip : (uint32_t)(c->s.seg[SEG_CS].base + c->s.rip);
}

static void describe(struct cpu *c, struct kvm_refusal *r, const char *what)
{
    uint8_t code[ISA_MAX_LEN] = {0};
    char hex[2 * ISA_MAX_LEN + 1] = "";
    struct insn in;
    size_t n = mmu_peek(c, r->at, code, sizeof code);
    bool known = n && isa_decode(&in, code, n, c->key & KEY_CODE, NULL) == ISA_OK;
    r->length = (uint8_t)(known ? in.length : min_u64(n, 8));
    memcpy(r->bytes, code, r->length);
    snprintf(r->text, sizeof r->text, "?");
    if (known)
        isa_format(&in, c->s.rip, r->text, sizeof r->text);
    for (unsigned i = 0; i < r->length; i++)
        snprintf(hex + 2 * i, sizeof hex - 2 * i, "%02x", r->bytes[i]);
    LOG(c->log, KVM, "cpu%u: KVM %s %llx, %s: %s; ishi's own CPU runs it", c->index, what,
        (unsigned long long)r->at, hex, r->text);
}

void kvm_refused(struct kvm_vcpu *v, const char *what)
{
    struct kvm_stats *s = &v->vm->stats;
    kvm_store(v);
    uint64_t la = code_address(v->c);
    for (unsigned i = 0; i < KVM_REFUSALS; i++) {
        struct kvm_refusal *r = &s->refusal[i];
        if (r->count && r->at != la)
            continue;
        r->at = la;
        if (!r->count++)
            describe(v->c, r, what);
        return;
    }
}

enum engine_exit kvm_step(struct kvm_vcpu *v, uint64_t n)
{
    struct cpu *c = v->c;
    uint64_t before = c->s.icount;
    /* it looks at events only when asked to, and the asking may have been for KVM */
    cpu_attention(c);
    if (c->s.nmi_pending)
        cpu_request(c, REQ_NMI);
    cpu_unlock(c);
    enum engine_exit why = soft_run(c, n);
    cpu_lock(c);
    v->vm->stats.stepped += c->s.icount - before;
    return why;
}
