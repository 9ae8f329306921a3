#include "base/state.h"

#include <stdio.h>
#include <stdlib.h>

static const char *field_at(const struct state_table *t, uint32_t byte)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        const struct state_field *f = &t->fields[i];
        if (byte >= f->offset && byte < f->offset + f->size * f->count)
            return f->name;
    }
    return NULL;
}

bool state_check(const struct state_table *t, struct err *e)
{
    uint8_t *seen = xcalloc(t->size, 1);
    bool ok = true;
    for (uint32_t i = 0; i < t->field_count && ok; i++) {
        const struct state_field *f = &t->fields[i];
        if (f->table && !state_check(f->table, e)) {
            ok = false;
            break;
        }
        if (f->table && f->size % f->table->size)
            ok = err_set(e, ERR_CONFLICT, "%s: %s is not made of whole %s", t->name, f->name,
                         f->table->name);
        uint64_t bytes = (uint64_t)f->size * f->count;
        if (f->offset + bytes > t->size)
            ok = err_set(e, ERR_CONFLICT, "%s: %s reaches beyond the struct", t->name, f->name);
        for (uint64_t b = 0; b < bytes && ok; b++) {
            if (seen[f->offset + b]++)
                ok = err_set(e, ERR_CONFLICT, "%s: byte %u is named twice, again by %s", t->name,
                             (unsigned)(f->offset + b), f->name);
        }
    }
    for (uint32_t b = 0; b < t->size && ok; b++) {
        if (!seen[b]) {
            const char *before = b ? field_at(t, b - 1) : NULL;
            ok = err_set(e, ERR_CONFLICT, "%s: byte %u, after %s, is not named", t->name, b,
                         before ? before : "the start");
        }
    }
    free(seen);
    return ok;
}

void state_clean(const struct state_table *t, void *data)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        const struct state_field *f = &t->fields[i];
        uint8_t *p = (uint8_t *)data + f->offset;
        if (f->kind != STATE_BOOL && f->kind != STATE_STRUCT)
            continue;
        uint32_t size, n = state_elements(f, &size);
        for (uint32_t k = 0; k < n; k++) {
            if (f->kind == STATE_STRUCT)
                state_clean(f->table, p + (size_t)k * size);
            else
                p[k] = p[k] != 0;
        }
    }
}

/* Multiply-and-fold over 8-byte words; a word's place counts since h feeds the next product. */
static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0xff51afd7ed558ccdull;
    return h ^ (h >> 32);
}

uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        h = mix(h, get_le64(b + i));
    uint64_t tail = n;
    for (; i < n; i++)
        tail = tail << 8 | b[i];
    return mix(h, tail);
}

uint64_t state_hash(uint64_t h, const struct state_table *t, const void *data)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        const struct state_field *f = &t->fields[i];
        const uint8_t *p = (const uint8_t *)data + f->offset;
        if (f->kind == STATE_SCRATCH)
            continue;
        if (f->kind != STATE_STRUCT) {
            h = hash_bytes(h, p, (size_t)f->size * f->count);
            continue;
        }
        uint32_t size, n = state_elements(f, &size);
        for (uint32_t k = 0; k < n; k++)
            h = state_hash(h, f->table, p + (size_t)k * size);
    }
    return h;
}

static void walk(const struct state_table *t, const uint8_t *data, const char *prefix,
                 state_visit_fn *fn, void *opaque)
{
    char path[128];
    for (uint32_t i = 0; i < t->field_count; i++) {
        const struct state_field *f = &t->fields[i];
        const uint8_t *p = data + f->offset;
        if (f->kind == STATE_SCRATCH)
            continue;
        if (f->kind == STATE_BYTES) {
            snprintf(path, sizeof path, "%s%s", prefix, f->name);
            fn(opaque, path, f->kind, p, (size_t)f->size * f->count);
            continue;
        }
        uint32_t size, n = state_elements(f, &size);
        for (uint32_t k = 0; k < n; k++) {
            const uint8_t *el = p + (size_t)k * size;
            const char *dot = f->kind == STATE_STRUCT ? "." : "";
            if (n > 1)
                snprintf(path, sizeof path, "%s%s[%u]%s", prefix, f->name, k, dot);
            else
                snprintf(path, sizeof path, "%s%s%s", prefix, f->name, dot);
            if (f->kind == STATE_STRUCT)
                walk(f->table, el, path, fn, opaque);
            else
                fn(opaque, path, STATE_UINT, el, size);
        }
    }
}

void state_walk(const struct state_table *t, const void *data, state_visit_fn *fn, void *opaque)
{
    walk(t, data, "", fn, opaque);
}
