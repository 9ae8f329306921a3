/* Memory for generated code: one piece of shared memory, mapped twice, so that no page is writable
 * and executable at once. */
#include <asm/prctl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/codemem.h"

#define FSGSBASE 2 /* in AT_HWCAP2: the kernel lets programs use WRGSBASE */

static void unmap(struct codemem *m)
{
    munmap(m->rw, m->size);
    munmap((void *)(uintptr_t)m->rx, m->size);
}

static bool own(struct codemem *m, size_t hot, size_t cold, size_t end)
{
    void *rx = (void *)(uintptr_t)m->rx;
    uint8_t *new = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (new == MAP_FAILED)
        return false;
    memcpy(new, m->rx, hot);
    memcpy(new + cold, m->rx + cold, end - cold);
    return mremap(new, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, m->rw) == m->rw &&
           mremap(m->rw, 0, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, rx) == rx &&
           !mprotect(rx, m->size, PROT_READ | PROT_EXEC);
}

static void set_gs(const void *p)
{
    syscall(SYS_arch_prctl, ARCH_SET_GS, p);
}

void codemem_spread(void *p, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE),
              first = ((uintptr_t)p + page - 1) & ~(page - 1);
    madvise((void *)first, ((uintptr_t)p + size - first) & ~(page - 1), MADV_HUGEPAGE);
}

bool codemem_host(struct codemem *m, size_t size)
{
    /* Not a file in memory: perf looks into its map of names only for memory without a file, which
     * shared memory is to it. Its second view is made by mremap() of length 0. */
    void *rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *rx = MAP_FAILED;
    if (rw != MAP_FAILED)
        rx = mremap(rw, 0, size, MREMAP_MAYMOVE);
    if (rx != MAP_FAILED && mprotect(rx, size, PROT_READ | PROT_EXEC)) {
        munmap(rx, size);
        rx = MAP_FAILED;
    }
    *m =
        (struct codemem){rw, rx, size, unmap, own, getauxval(AT_HWCAP2) & FSGSBASE ? NULL : set_gs};
    if (rx != MAP_FAILED)
        return true;
    if (rw != MAP_FAILED)
        munmap(rw, size);
    return false;
}
