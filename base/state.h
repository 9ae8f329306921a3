/* State is declared: each device is a struct, and beside it stands a table of its fields.
 *
 * Save, restore, hash, diff and `info` walk the table, so a field is written down once. Invariants:
 *  - a state struct holds only what the guest can observe or what decides its future; host handles,
 *    wiring and caches live outside it, in the struct that embeds it;
 *  - every byte of it is named by exactly one field: no padding (state_check proves it, and
 *    tests/unit/state walks every table of the machine);
 *  - SCRATCH fields are named but neither hashed nor saved: they hold nothing between instructions.
 */
#ifndef ISHI_BASE_STATE_H
#define ISHI_BASE_STATE_H

#include "base/err.h"

enum state_kind { STATE_UINT, STATE_BYTES, STATE_STRUCT, STATE_SCRATCH, STATE_BOOL };

struct state_field {
    const char *name;
    uint32_t offset; /* bytes from the start of the struct */
    uint32_t size;   /* bytes of one element; of the whole field for STATE_STRUCT */
    uint32_t count;  /* elements; 1 for a scalar and for STATE_STRUCT: see state_elements */
    enum state_kind kind;
    const struct state_table *table; /* of one element, for STATE_STRUCT */
};

struct state_table {
    const char *name;
    uint32_t size; /* of the struct, in bytes */
    uint32_t field_count;
    const struct state_field *fields;
};

#define STATE_SIZE_(type, f) ((uint32_t)sizeof(((type *)0)->f))
#define STATE_MAKE_(type, f, esize, kind_, table_)                  \
    {                                                               \
#f, (uint32_t)offsetof(type, f), (uint32_t)(esize),         \
            STATE_SIZE_(type, f) / (uint32_t)(esize), kind_, table_ \
    }

#define STATE_KIND_(v) _Generic((v), bool : STATE_BOOL, default : STATE_UINT)
/* An unsigned integer, bool included. */
#define STATE(type, f) \
    STATE_MAKE_(type, f, sizeof(((type *)0)->f), STATE_KIND_(((type *)0)->f), NULL)
/* An array of unsigned integers. */
#define STATE_ARRAY(type, f) \
    STATE_MAKE_(type, f, sizeof(((type *)0)->f[0]), STATE_KIND_(((type *)0)->f[0]), NULL)
/* Raw bytes: a buffer, video memory. */
#define STATE_BLOB(type, f) STATE_MAKE_(type, f, 1, STATE_BYTES, NULL)
/* A struct, or an array of them, with a table of its own. */
#define STATE_SUB(type, f, tab) STATE_MAKE_(type, f, STATE_SIZE_(type, f), STATE_STRUCT, tab)
/* Named, but neither hashed nor saved. */
#define STATE_TEMP(type, f) STATE_MAKE_(type, f, 1, STATE_SCRATCH, NULL)

/* Defines `const struct state_table NAME` for `type` from the initialisers that follow. */
#define STATE_TABLE(table_, name_, type, ...)                                           \
    static const struct state_field table_##_fields[] = {__VA_ARGS__};                  \
    const struct state_table table_ = {name_, sizeof(type), ARRAY_LEN(table_##_fields), \
                                       table_##_fields}

/* Elements of a field, and bytes of one. A table's size is no constant expression for every
 * compiler, so fields of structs are counted here. */
static inline uint32_t state_elements(const struct state_field *f, uint32_t *size)
{
    *size = f->kind == STATE_STRUCT ? f->table->size : f->size;
    return f->size * f->count / *size;
}

/* True if the fields cover every byte of the struct once. Else false, with the byte and the
 * neighbouring field in *e. */
bool state_check(const struct state_table *t, struct err *e);

/* After bytes came from outside: makes every bool 0 or 1, since another value there is undefined
 * behaviour to look at. The owner's restore function then checks what the values mean. */
void state_clean(const struct state_table *t, void *data);

/* A running 64-bit hash; start from STATE_HASH_INIT. Not cryptographic. */
#define STATE_HASH_INIT 0x9e3779b97f4a7c15ull
uint64_t hash_bytes(uint64_t h, const void *p, size_t n);
uint64_t state_hash(uint64_t h, const struct state_table *t, const void *data);

/* Calls fn for each scalar (arrays element by element, blobs as a whole), with its dotted path,
 * as `ch[2].count`; a bool comes as STATE_UINT. Used by info, diff and the snapshot writer. */
typedef void state_visit_fn(void *opaque, const char *path, enum state_kind kind, const void *data,
                            size_t size);
void state_walk(const struct state_table *t, const void *data, state_visit_fn *fn, void *opaque);

/* One named piece of a machine's state; the machine keeps a list of them in board order. */
struct state_ref {
    const char *name; /* instance, as "ide1" */
    const struct state_table *table;
    void *data;
};

#endif
