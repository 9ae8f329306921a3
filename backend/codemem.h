/* Memory for generated code, from the host: one piece in two views, so that no page is ever both
 * writable and executable. */
#ifndef ISHI_BACKEND_CODEMEM_H
#define ISHI_BACKEND_CODEMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct codemem {
    uint8_t *rw;       /* to write it */
    const uint8_t *rx; /* to run it, and to read it */
    size_t size;       /* bytes; touched as it is used */
    void (*free)(struct codemem *m);
    /* In a copy of the process that fork() made, while the other one waits: gives the copy its own
     * memory in the same place, with what is in the bytes up to `hot` and from `cold` up to `end`.
     * False: the host has none, and both still write to the same. */
    bool (*own)(struct codemem *m, size_t hot, size_t cold, size_t end);
    /* Makes p the base of segment GS for the calling thread; NULL: code may do that itself, by
     * WRGSBASE. Nothing else here uses GS. */
    void (*set_gs)(const void *p);
};

/* Fills *m with `size` bytes. False: the host has none. Defined by the host's part (host/posix);
 * the builds that have no JIT have none. */
bool codemem_host(struct codemem *m, size_t size);
/* Memory that is used all over: large pages, if the host has some, spare its processor's TLB. */
void codemem_spread(void *p, size_t size);

#endif
