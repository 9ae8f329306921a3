/* What the engine counted, as text: `info kvm`. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/kvm_vm.h"

struct text {
    char *buf;
    size_t size, at;
};

static void say(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (t->at < t->size)
        t->at += (size_t)vsnprintf(t->buf + t->at, t->size - t->at, fmt, ap);
    va_end(ap);
}

/* clang-format off */
static const char *const reasons[KVM_EXITS] = {
    [KVM_EXIT_UNKNOWN] = "unknown", [KVM_EXIT_IO] = "port", [KVM_EXIT_DEBUG] = "debug",
    [KVM_EXIT_HLT] = "halt", [KVM_EXIT_MMIO] = "device memory",
    [KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window", [KVM_EXIT_SHUTDOWN] = "shutdown",
    [KVM_EXIT_FAIL_ENTRY] = "failed entry", [KVM_EXIT_INTR] = "signal",
    [KVM_EXIT_SET_TPR] = "TPR lowered", [KVM_EXIT_INTERNAL_ERROR] = "refused instruction",
    [KVM_EXIT_X86_RDMSR] = "RDMSR", [KVM_EXIT_X86_WRMSR] = "WRMSR",
};
/* clang-format on */

static const char *reason(uint32_t n)
{
    return n < KVM_EXITS && reasons[n] ? reasons[n] : "other";
}

static int more(const void *a, const void *b)
{
    const struct kvm_place *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : x->at > y->at ? 1 : -1;
}

static void places(struct text *t, const struct kvm_place *from, const char *what, unsigned most)
{
    struct kvm_place sorted[KVM_PLACES];
    memcpy(sorted, from, sizeof sorted);
    qsort(sorted, KVM_PLACES, sizeof sorted[0], more);
    for (unsigned i = 0; i < most && sorted[i].count; i++)
        say(t, "  %-14s %8llx %12llu\n", what, (unsigned long long)sorted[i].at,
            (unsigned long long)sorted[i].count);
}

static void refusals(struct text *t, const struct kvm_stats *s)
{
    for (unsigned i = 0; i < KVM_REFUSALS && s->refusal[i].count; i++) {
        const struct kvm_refusal *r = &s->refusal[i];
        char hex[40] = "";
        for (unsigned n = 0; n < r->length; n++)
            snprintf(hex + 2 * n, sizeof hex - 2 * n, "%02x", r->bytes[n]);
        say(t, "  %16llx %8llu  %-20s %s\n", (unsigned long long)r->at,
            (unsigned long long)r->count, hex, r->text);
    }
}

void kvm_show(struct cpu *c, char *buf, size_t size)
{
    const struct kvm_stats *s = &c->vcpu->vm->stats;
    struct text t = {buf, size, 0};
    if (c->vcpu->vm->chips)
        say(&t, "interrupt controllers: %s; they went there %llu times\n",
            c->vcpu->vm->live ? "the kernel's" : "the kernel's, but ishi's just now",
            (unsigned long long)s->chips_in);
    else
        say(&t, "interrupt controllers: ishi's\n");
    say(&t, "entries %llu, states loaded %llu, stored %llu\nexits by reason:\n",
        (unsigned long long)s->runs, (unsigned long long)s->loads, (unsigned long long)s->stores);
    for (unsigned i = 0; i < KVM_EXITS; i++)
        if (s->exits[i])
            say(&t, "  %-23s %12llu\n", reason(i), (unsigned long long)s->exits[i]);
    if (s->posted)
        say(&t, "  %-23s %12llu\n", "(writes collected)", (unsigned long long)s->posted);
    if (s->rings || s->messages)
        say(&t, "by eventfd: doorbells rung %llu, messages %llu\n", (unsigned long long)s->rings,
            (unsigned long long)s->messages);
    say(&t, "by place:\n");
    places(&t, s->port, "port", 12);
    places(&t, s->page, "memory page", 8);
    places(&t, s->msr, "MSR", 8);
    if (s->stepped) {
        say(&t, "instructions that ishi's own CPU ran: %llu; KVM stopped at:\n",
            (unsigned long long)s->stepped);
        refusals(&t, s);
    }
}

#define SHOW_SIZE 4096

void kvm_show_log(struct cpu *c)
{
    if (!c->log || !(c->log->mask & BIT(LOG_KVM)))
        return;
    char *text = xcalloc(1, SHOW_SIZE), *save = NULL;
    kvm_show(c, text, SHOW_SIZE);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        log_write(c->log, LOG_KVM, "%s", line);
    free(text);
}

/* The bytes of an access as one number, the way the guest wrote it. */
static unsigned long long value(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    memcpy(&v, p, min_u64(n, 8));
    return v;
}

void kvm_exit_log(const struct kvm_vcpu *v)
{
    const struct kvm_run *run = v->run;
    const struct log *l = v->c->log;
    unsigned n = v->c->index;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        if (run->io.direction == KVM_EXIT_IO_IN)
            LOG(l, EXIT, "cpu%u: IN from port %x, %u bytes, %u times", n, run->io.port,
                run->io.size, run->io.count);
        else
            LOG(l, EXIT, "cpu%u: OUT to port %x of %llx, %u bytes, %u times", n, run->io.port,
                value((const uint8_t *)run + run->io.data_offset, run->io.size), run->io.size,
                run->io.count);
        break;
    case KVM_EXIT_MMIO:
        if (run->mmio.is_write)
            LOG(l, EXIT, "cpu%u: write of %llx to %llx, %u bytes", n,
                value(run->mmio.data, run->mmio.len), (unsigned long long)run->mmio.phys_addr,
                run->mmio.len);
        else
            LOG(l, EXIT, "cpu%u: read of %llx, %u bytes", n,
                (unsigned long long)run->mmio.phys_addr, run->mmio.len);
        break;
    case KVM_EXIT_X86_RDMSR: LOG(l, EXIT, "cpu%u: RDMSR %x", n, run->msr.index); break;
    case KVM_EXIT_X86_WRMSR:
        LOG(l, EXIT, "cpu%u: WRMSR %x of %llx", n, run->msr.index,
            (unsigned long long)run->msr.data);
        break;
    default:
        LOG(l, EXIT, "cpu%u: %s, reason %u", n, reason(run->exit_reason), run->exit_reason);
        break;
    }
}
