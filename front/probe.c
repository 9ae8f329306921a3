/* ishi probe: what this host offers for running guests, and what `--engine auto` makes of it. */
#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpuid.h"
#include "engine/kvm_host.h"
#include "front/commands.h"

struct probe {
    struct kvm_report kvm;
    const struct engine *engine;
    char why[300], chips_why[200];
    const char *chips;             /* irqchip */
    const struct cpu_model *model; /* the default one */
};

/* Those of the default model that are, or are not, in the host's set. */
static bool listed(const struct probe *p, unsigned n, bool there)
{
    bool has = isa_has(&p->kvm.features, n);
    return there ? has : isa_has(&p->model->features, n) && !has;
}

static void print_features(const struct probe *p, const char *title, bool there)
{
    unsigned column = 0;
    printf("%s\n ", title);
    for (unsigned i = 0; i < FEAT_COUNT; i++) {
        if (!listed(p, i, there))
            continue;
        if (column + strlen(isa_feature_info[i].name) > 74) {
            printf("\n ");
            column = 0;
        }
        column += (unsigned)printf(" %s", isa_feature_info[i].name);
    }
    printf("%s\n", column ? "" : " none");
}

static const char *host_kind(const struct kvm_report *k)
{
    if (k->emulates && k->usable)
        return "its processor has no VMX or SVM: the kernel runs guests by other means (PVM)";
    if (k->emulates)
        return "its processor has no VMX or SVM";
    return k->nested ? "a virtual machine with VMX or SVM: nested" : "VMX or SVM";
}

static void print_plain(const struct probe *p)
{
    const struct kvm_report *k = &p->kvm;
    if (k->usable)
        printf("KVM        usable: /dev/kvm opens, interface version %d\n", k->version);
    else
        printf("KVM        not usable: %s\n", k->why_not.text);
    printf("host       %s\n", host_kind(k));
    if (k->insn_ps)
        printf("speed      %.2f ns an instruction of level 0 (%s), measured in %.1f ms\n",
               (double)k->insn_ps / 1e3, k->insn_ps > KVM_SLOW_PS ? "emulated" : "native",
               (double)k->measure_ns / 1e6);
    if (k->tsc_khz)
        printf("TSC        %.3f MHz\n", (double)k->tsc_khz / 1e3);
    printf("auto       takes %s: %s\n", p->engine->name, p->why);
    if (k->usable)
        printf("irqchip    --irqchip auto takes %s's on KVM: %s\n", p->chips, p->chips_why);
    if (!k->cap_count)
        return;
    printf("\ncapabilities (needed ones marked *)\n");
    for (unsigned i = 0; i < k->cap_count; i++)
        printf("%c %-26s %7d  %s\n", k->cap[i].needed ? '*' : ' ', k->cap[i].name, k->cap[i].value,
               k->cap[i].use);
    print_features(p, "\nCPU features that guests can have on KVM", true);
    char title[80];
    snprintf(title, sizeof title, "\nfeatures of --cpu %s that they can't", p->model->name);
    print_features(p, title, false);
}

/* Our own words and the kernel's names: no character needs more than this. */
static void json_text(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('"');
}

static void json_features(const struct probe *p, const char *key, bool there)
{
    const char *comma = "";
    printf(",\n  \"%s\": [", key);
    for (unsigned i = 0; i < FEAT_COUNT; i++) {
        if (!listed(p, i, there))
            continue;
        printf("%s", comma);
        json_text(isa_feature_info[i].name);
        comma = ", ";
    }
    printf("]");
}

static void print_json(const struct probe *p)
{
    const struct kvm_report *k = &p->kvm;
    printf("{\n  \"usable\": %s,\n  \"why_not\": ", k->usable ? "true" : "false");
    json_text(k->usable ? "" : k->why_not.text);
    printf(",\n  \"version\": %d,\n  \"emulates\": %s,\n  \"nested\": %s", k->version,
           k->emulates ? "true" : "false", k->nested ? "true" : "false");
    printf(",\n  \"instruction_ps\": %llu,\n  \"tsc_khz\": %llu", (unsigned long long)k->insn_ps,
           (unsigned long long)k->tsc_khz);
    printf(",\n  \"auto\": ");
    json_text(p->engine->name);
    printf(",\n  \"why\": ");
    json_text(p->why);
    printf(",\n  \"irqchip\": ");
    json_text(k->usable ? p->chips : "");
    printf(",\n  \"irqchip_why\": ");
    json_text(k->usable ? p->chips_why : "");
    printf(",\n  \"capabilities\": {");
    for (unsigned i = 0; i < k->cap_count; i++) {
        printf("%s\n    \"%s\": {\"value\": %d, \"needed\": %s, \"use\": ", i ? "," : "",
               k->cap[i].name, k->cap[i].value, k->cap[i].needed ? "true" : "false");
        json_text(k->cap[i].use);
        printf("}");
    }
    printf("\n  }");
    json_features(p, "features", true);
    json_features(p, "missing", false);
    printf("\n}\n");
}

int command_probe(int argc, char **argv)
{
    bool json = argc == 2 && !strcmp(argv[1], "--json");
    if (argc > 1 && !json) {
        fprintf(stderr, "ishi: probe takes --json or nothing\n");
        return STATUS_BAD;
    }
    struct probe *p = xcalloc(1, sizeof *p);
    kvm_probe(&p->kvm, true);
    p->engine = kvm_choose(&p->kvm, p->why, sizeof p->why);
    p->chips = kvm_choose_chips(&p->kvm, p->chips_why, sizeof p->chips_why);
    p->model = cpu_model_find(NULL);
    (json ? print_json : print_plain)(p);
    free(p);
    return STATUS_OK;
}
