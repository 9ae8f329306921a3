#include "front/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "jit/jit.h"

static void compiled(void *opaque, const struct block *b, uint64_t rip, const void *code,
                     uint32_t bytes)
{
    struct perf_map *p = opaque;
    bool program = (b->key >> KEY_CPL_SHIFT & 3) == 3;
    fprintf(p->file, "%" PRIxPTR " %" PRIx32 " %s_%" PRIx64 "\n", (uintptr_t)code, bytes,
            program ? "guest" : "kernel", rip);
}

bool perf_open(struct perf_map *p, struct cpu *c, struct err *e)
{
    char name[64];
    snprintf(name, sizeof name, "/tmp/perf-%ld.map", (long)getpid());
    unlink(name); /* of an earlier process; and never through a link that someone else put there */
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    p->file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!p->file)
        return err_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    if (c->jit.jit)
        jit_watch(c->jit.jit, &(struct jit_watch){compiled, p});
    return true;
}

void perf_close(struct perf_map *p)
{
    if (p->file)
        fclose(p->file);
    p->file = NULL;
}
