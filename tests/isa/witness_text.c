/* Cases as lines of text, smaller cases, and what both sides do with the memory of one.
 *
 *   MODE CODE [at=OFFSET] [one] [REGISTER=VALUE …] [mOFFSET=BYTES …]
 *
 * as in `64 480fafc1 rax=5 rcx=ffffffffffffffff flags=202`. Everything is hexadecimal but MODE, 32
 * or 64; what is not named is as wit_default_state() has it. st0=EXPONENT:SIGNIFICAND; `one`: the
 * engine gets the instructions one at a time. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/flags.h"
#include "tests/isa/witness.h"

/* --- Memory --- */

void wit_background(uint8_t *to)
{
    struct rng g;
    rng_seed(&g, 286);
    for (unsigned i = 0; i < WIT_BYTES; i += 8)
        put_le64(to + i, rng_next(&g));
}

void wit_memory(const struct wit_case *c, const uint8_t *background, uint8_t *to)
{
    const uint8_t *from = c->pool;
    memcpy(to, background, WIT_BYTES);
    for (unsigned i = 0; i < c->patches; from += c->patch[i++].len)
        memcpy(to + c->patch[i].at, from, c->patch[i].len);
}

void wit_changed(struct wit_result *r, const uint8_t *before, const uint8_t *now)
{
    r->lo = r->hi = 0;
    if (!memcmp(before, now, WIT_RW))
        return;
    uint32_t lo = 0, hi = WIT_RW;
    while (get_le64(before + lo) == get_le64(now + lo))
        lo += 8;
    while (get_le64(before + hi - 8) == get_le64(now + hi - 8))
        hi -= 8;
    r->lo = lo;
    r->hi = hi;
    memcpy(r->mem + lo, now + lo, hi - lo);
}

void wit_patch(struct wit_case *c, uint64_t at, const void *bytes, unsigned n)
{
    static const uint64_t bases[] = {WIT_DATA, WIT_HIGH, WIT_LOW};
    for (unsigned i = 0; i < ARRAY_LEN(bases); i++) {
        if (at >= bases[i] + WIT_RW || at + n <= bases[i])
            continue;
        if (at < bases[i]) {
            bytes = (const uint8_t *)bytes + (bases[i] - at);
            n -= (unsigned)(bases[i] - at);
            at = bases[i];
        }
        uint64_t off = at - bases[i];
        n = (unsigned)min_u64(n, WIT_RW - off);
        if (c->patches == WIT_PATCHES || c->pool_used + n > sizeof c->pool)
            return;
        c->patch[c->patches++] = (struct wit_patch){(uint16_t)off, (uint16_t)n};
        memcpy(c->pool + c->pool_used, bytes, n);
        c->pool_used += n;
    }
}

void wit_find_insns(const struct wit *w, struct wit_case *c)
{
    c->insns = 0;
    for (unsigned at = 0; at < c->code_len && c->insns < WIT_INSNS;) {
        struct insn in;
        isa_decode(&in, c->code + at, c->code_len - at, c->mode, &w->features);
        c->start[c->insns++] = (uint8_t)at;
        if (!in.row)
            break;
        at += in.length;
    }
}

/* --- Text --- */

static const char *const general[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

struct field {
    const char *name;
    uint16_t at, size;
};

/* clang-format off */
static const struct field fields[] = {
#define X(name, member) {name, offsetof(struct wit_state, member), sizeof ((struct wit_state *)0)->member}
    X("flags", rflags), X("fcw", x.fcw), X("fsw", x.fsw), X("ftw", x.ftw), X("fop", x.fop),
    X("fip", x.fip), X("fdp", x.fdp), X("mxcsr", x.mxcsr),
#undef X
};
/* clang-format on */

static uint64_t field_get(const struct wit_state *s, const struct field *f)
{
    uint64_t v = 0;
    memcpy(&v, (const char *)s + f->at, f->size);
    return v;
}

static void field_set(struct wit_state *s, const struct field *f, uint64_t v)
{
    memcpy((char *)s + f->at, &v, f->size);
}

static void print_bytes(const uint8_t *p, unsigned n)
{
    while (n--)
        printf("%02x", *p++);
}

void wit_print_case(const struct wit_case *c)
{
    struct wit_state d;
    const struct wit_state *s = &c->in;
    wit_default_state(&d);
    printf("--case \"%d ", c->mode == ISA_64 ? 64 : 32);
    print_bytes(c->code, c->code_len);
    printf(" at=%x%s", c->code_at, c->odd_budget ? " one" : "");
    for (unsigned i = 0; i < 16; i++)
        if (s->r[i])
            printf(" %s=%llx", general[i], (unsigned long long)s->r[i]);
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        if (field_get(s, &fields[i]) != field_get(&d, &fields[i]))
            printf(" %s=%llx", fields[i].name, (unsigned long long)field_get(s, &fields[i]));
    for (unsigned i = 0; i < 8; i++)
        if (s->x.st[i].sig || s->x.st[i].exp)
            printf(" st%u=%x:%llx", i, s->x.st[i].exp, (unsigned long long)s->x.st[i].sig);
    for (unsigned i = 0; i < 16; i++) {
        const uint64_t *lo = s->x.xmm[i], *hi = s->x.high[i];
        if (lo[0] | lo[1] | hi[0] | hi[1])
            printf(" ymm%u=%016llx%016llx%016llx%016llx", i, (unsigned long long)hi[1],
                   (unsigned long long)hi[0], (unsigned long long)lo[1], (unsigned long long)lo[0]);
    }
    const uint8_t *p = c->pool;
    for (unsigned i = 0; i < c->patches; p += c->patch[i++].len) {
        printf(" m%x=", c->patch[i].at);
        print_bytes(p, c->patch[i].len);
    }
    printf("\"\n");
}

/* Hexadecimal digits as bytes in their order; the number of bytes, or -1. */
static int parse_bytes(const char *s, uint8_t *to, unsigned max)
{
    unsigned n = 0;
    for (; isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]) && n < max; s += 2) {
        unsigned v;
        sscanf(s, "%2x", &v);
        to[n++] = (uint8_t)v;
    }
    return *s ? -1 : (int)n;
}

/* A register of 64 digits, the highest first. */
static bool parse_ymm(const char *s, uint64_t *lo, uint64_t *hi)
{
    uint8_t b[32];
    if (parse_bytes(s, b, sizeof b) != 32)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t v = 0;
        for (unsigned k = 0; k < 8; k++)
            v = v << 8 | b[8 * i + k];
        *(i < 2 ? &hi[1 - i] : &lo[3 - i]) = v;
    }
    return true;
}

static bool parse_token(struct wit_case *c, char *t)
{
    struct wit_state *s = &c->in;
    if (!strcmp(t, "one")) {
        c->odd_budget = true;
        return true;
    }
    char *value = strchr(t, '='), *colon;
    if (!value)
        return false;
    *value++ = 0;
    uint64_t v = strtoull(value, &colon, 16);
    if (!strcmp(t, "at")) {
        c->code_at = (uint16_t)(v % WIT_CODE_BYTES);
        return true;
    }
    for (unsigned i = 0; i < 16; i++)
        if (!strcmp(t, general[i])) {
            s->r[i] = v;
            return true;
        }
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        if (!strcmp(t, fields[i].name)) {
            field_set(s, &fields[i], v);
            return true;
        }
    unsigned n;
    if (sscanf(t, "st%u", &n) == 1 && n < 8 && *colon == ':') {
        s->x.st[n].exp = (uint16_t)v;
        s->x.st[n].sig = strtoull(colon + 1, NULL, 16);
        return true;
    }
    if (sscanf(t, "ymm%u", &n) == 1 && n < 16)
        return parse_ymm(value, s->x.xmm[n], s->x.high[n]);
    uint8_t b[sizeof c->pool];
    if (sscanf(t, "m%x", &n) == 1) {
        int len = parse_bytes(value, b, sizeof b);
        if (len > 0)
            wit_patch(c, WIT_DATA + n, b, (unsigned)len);
        return len > 0;
    }
    return false;
}

bool wit_parse_case(const struct wit *w, const char *line, struct wit_case *c)
{
    char text[8192];
    snprintf(text, sizeof text, "%s", line);
    memset(c, 0, sizeof *c);
    wit_default_state(&c->in);
    c->code_at = 0x100;
    char *save, *t = strtok_r(text, " ", &save);
    if (!t || (strcmp(t, "32") && strcmp(t, "64")))
        return false;
    c->mode = t[0] == '6' ? ISA_64 : ISA_32;
    t = strtok_r(NULL, " ", &save);
    int n = t ? parse_bytes(t, c->code, sizeof c->code) : -1;
    if (n <= 0)
        return false;
    c->code_len = (uint16_t)n;
    while ((t = strtok_r(NULL, " ", &save)))
        if (!parse_token(c, t))
            return false;
    wit_find_insns(w, c);
    return true;
}

/* --- Making a case smaller --- */

struct shrinker {
    const struct wit *w;
    struct wit_case *c;
    wit_shows *shows;
    void *opaque;
};

/* Keeps `t` in the place of the case if it still shows the difference. */
static bool keep_if(struct shrinker *k, const struct wit_case *t)
{
    if (!k->shows(k->opaque, t))
        return false;
    *k->c = *t;
    return true;
}

static void drop_insns(struct shrinker *k)
{
    for (unsigned i = k->c->insns; i-- && k->c->insns > 1;) {
        struct wit_case t = *k->c;
        unsigned from = t.start[i], to = i + 1 < t.insns ? t.start[i + 1] : t.code_len;
        if (i && (t.code[t.start[i - 1]] & 0xf0) == 0x70) /* the jump over it goes too */
            from = t.start[--i];
        if (to - from == t.code_len)
            break;
        memmove(t.code + from, t.code + to, t.code_len - to);
        t.code_len = (uint16_t)(t.code_len - (to - from));
        wit_find_insns(k->w, &t);
        keep_if(k, &t);
    }
}

static void drop_patches(struct shrinker *k)
{
    for (unsigned i = k->c->patches; i--;) {
        struct wit_case t = *k->c;
        unsigned from = 0;
        for (unsigned j = 0; j < i; j++)
            from += t.patch[j].len;
        unsigned to = from + t.patch[i].len;
        memmove(t.pool + from, t.pool + to, t.pool_used - to);
        t.pool_used -= to - from;
        memmove(t.patch + i, t.patch + i + 1, (t.patches - i - 1) * sizeof t.patch[0]);
        t.patches--;
        keep_if(k, &t);
    }
}

/* Each 8 bytes of the state: its default, or else fewer of its bytes. */
static void drop_state(struct shrinker *k)
{
    struct wit_state d;
    wit_default_state(&d);
    for (unsigned at = 0; at < offsetof(struct wit_state, rip); at += 8) {
        struct wit_case t = *k->c;
        char *p = (char *)&t.in + at;
        if (!memcmp(p, (char *)&d + at, 8))
            continue;
        memcpy(p, (char *)&d + at, 8);
        if (keep_if(k, &t))
            continue;
        for (unsigned i = 0; i < 8; i++) {
            t = *k->c;
            if (p[i] == ((char *)&d)[at + i])
                continue;
            p[i] = ((char *)&d)[at + i];
            keep_if(k, &t);
        }
    }
}

void wit_shrink(const struct wit *w, struct wit_case *c, wit_shows *shows, void *opaque)
{
    struct shrinker k = {w, c, shows, opaque};
    struct wit_case t = *c;
    t.odd_budget = false;
    keep_if(&k, &t);
    drop_insns(&k);
    drop_patches(&k);
    drop_state(&k);
    drop_patches(&k);
}
