/* Memory for generated code: one unnamed file in memory, mapped twice, so that no page is writable
 * and executable at once. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/codemem.h"

static void unmap(struct codemem *m)
{
    munmap(m->rw, m->size);
    munmap((void *)(uintptr_t)m->rx, m->size);
}

/* A limit of files' size counts here too; it must not end the program. */
static bool resize(int fd, size_t size)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigaction(SIGXFSZ, &ignore, &old);
    bool done = !ftruncate(fd, (off_t)size);
    sigaction(SIGXFSZ, &old, NULL);
    return done;
}

bool codemem_host(struct codemem *m, size_t size)
{
    int fd = memfd_create("ishi-code", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    void *rw = MAP_FAILED, *rx = MAP_FAILED;
    if (resize(fd, size)) {
        rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    close(fd);
    *m = (struct codemem){rw, rx, size, unmap};
    if (rw != MAP_FAILED && rx != MAP_FAILED)
        return true;
    if (rw != MAP_FAILED)
        munmap(rw, size);
    if (rx != MAP_FAILED)
        munmap(rx, size);
    return false;
}
