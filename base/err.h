/* Host failures as values: a code for programs and one clear line for people.
 *
 * A function that can fail on the host's side takes a `struct err *` last and returns false (or
 * NULL) after filling it. Only front/ prints. What a guest does wrong is never an err: it gets the
 * architecture's answer. What is our own bug is a CHECK. */
#ifndef ISHI_BASE_ERR_H
#define ISHI_BASE_ERR_H

#include "base/bits.h"

enum err_code {
    ERR_NONE,
    ERR_INVALID,     /* an option or argument that makes no sense */
    ERR_NOT_FOUND,   /* no such file, device, name */
    ERR_DENIED,      /* permission */
    ERR_IO,          /* the host's read, write or seek failed */
    ERR_NO_SPACE,    /* disk full */
    ERR_NO_MEMORY,   /* the host has not enough */
    ERR_FORMAT,      /* an image, header or file that breaks its format */
    ERR_CONFLICT,    /* two things want the same place */
    ERR_UNSUPPORTED, /* valid, but not something this build does */
};

struct err {
    enum err_code code;
    char text[400]; /* what, where, and what to do; no newline, NUL-terminated */
};

/* Fills *e (which may be NULL) and returns false, so that a caller can `return err_set(…)`. */
bool err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF(3, 4);

/* Puts "prefix: " before the text that is there. Returns false. */
bool err_prefix(struct err *e, const char *fmt, ...) PRINTF(2, 3);

/* Our own bug: says where on stderr and aborts. Stays on in release builds. */
_Noreturn void check_failed(const char *what, const char *file, int line);
#define CHECK(cond) (LIKELY(cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

/* Memory that ishi can't go on without. Zeroed; aborts with a clear line when there is none, as
 * these are small and of our own choosing. Freed with free(). Sizes that a user or a guest chooses
 * go through the host's allocators and give an err. */
void *xcalloc(size_t n, size_t size);
char *xstrdup(const char *s);

#endif
