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
    say(&t, "entries %llu, states loaded %llu, stored %llu\nexits by reason:\n",
        (unsigned long long)s->runs, (unsigned long long)s->loads, (unsigned long long)s->stores);
    for (unsigned i = 0; i < KVM_EXITS; i++)
        if (s->exits[i])
            say(&t, "  %-23s %12llu\n", reasons[i] ? reasons[i] : "other",
                (unsigned long long)s->exits[i]);
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
