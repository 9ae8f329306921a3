#include "host/posix/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

uint8_t *host_ram_alloc(uint64_t size, struct err *e)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        err_set(e, ERR_NO_MEMORY,
                "the host has no %llu MiB of memory for the guest: give a smaller "
                "--mem",
                (unsigned long long)(size >> 20));
        return NULL;
    }
    madvise(p, size, MADV_HUGEPAGE);
    return p;
}

void host_ram_free(uint8_t *ram, uint64_t size)
{
    munmap(ram, size);
}

uint64_t host_ram_total(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

static enum err_code code_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_DENIED;
    case ENOSPC:
    case EDQUOT: return ERR_NO_SPACE;
    case ENOMEM: return ERR_NO_MEMORY;
    default: return ERR_IO;
    }
}

static int open_named(const char *path, int flags, const char *what, struct err *e)
{
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd >= 0)
        return fd;
    const char *hint = errno == ENOENT   ? ": check the path"
                       : errno == EACCES ? ": check its permissions"
                                         : "";
    err_set(e, code_of(errno), "%s %s: %s%s", what, path, strerror(errno), hint);
    return -1;
}

uint8_t *host_read_file(const char *path, const char *what, uint64_t limit, size_t *size,
                        struct err *e)
{
    int fd = open_named(path, O_RDONLY, what, e);
    if (fd < 0)
        return NULL;
    struct stat st;
    uint8_t *data = NULL;
    size_t got = 0, room = 0;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        err_set(e, ERR_INVALID, "%s %s is a directory: give a file", what, path);
        goto out;
    }
    for (;;) { /* by reading, not by st_size: pipes and /proc work too */
        if (got + 1 >= room) {
            room = room ? room * 2 : (size_t)(S_ISREG(st.st_mode) ? st.st_size : 0) + 65536;
            uint8_t *more = realloc(data, room);
            if (!more) {
                err_set(e, ERR_NO_MEMORY, "%s %s: not enough memory to read it", what, path);
                free(data);
                data = NULL;
                goto out;
            }
            data = more;
        }
        ssize_t n = read(fd, data + got, room - got - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || got > limit) {
            if (n < 0)
                err_set(e, code_of(errno), "%s %s: %s", what, path, strerror(errno));
            else
                err_set(e, ERR_INVALID, "%s %s is larger than the %llu MiB it may be", what, path,
                        (unsigned long long)(limit >> 20));
            free(data);
            data = NULL;
            goto out;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    data[got] = 0;
    *size = got;
out:
    close(fd);
    return data;
}

bool host_write_file(const char *path, const void *data, size_t n, struct err *e)
{
    int fd = open_named(path, O_WRONLY | O_CREAT | O_TRUNC, "file", e);
    if (fd < 0)
        return false;
    const uint8_t *p = data;
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            err_set(e, code_of(errno), "writing %s: %s", path, strerror(errno));
            close(fd);
            return false;
        }
        p += w;
        n -= (size_t)w;
    }
    if (close(fd) != 0)
        return err_set(e, code_of(errno), "writing %s: %s", path, strerror(errno));
    return true;
}

/* A raw image. With a snapshot, changed blocks live in `overlay`, and `changed` says which. */
#define OVERLAY_BLOCK 4096u

struct raw {
    int fd;
    const char *path;
    uint64_t size;
    uint8_t *overlay; /* size rounded up, demand-zero; NULL without a snapshot */
    uint8_t *changed; /* bit a block */
};

static bool file_read(struct raw *r, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = pread(r->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, code_of(errno), "reading disk %s at byte %llu: %s", r->path,
                           (unsigned long long)offset, strerror(errno));
        if (n == 0)
            return err_set(e, ERR_IO,
                           "reading disk %s at byte %llu: the image became shorter while "
                           "in use",
                           r->path, (unsigned long long)offset);
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return true;
}

static bool is_changed(const struct raw *r, uint64_t block)
{
    return r->changed[block / 8] >> (block % 8) & 1;
}

static bool raw_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    struct raw *r = opaque;
    CHECK(offset <= r->size && len <= r->size - offset);
    if (!r->overlay)
        return file_read(r, offset, buf, len, e);
    uint8_t *p = buf;
    while (len) {
        uint64_t block = offset / OVERLAY_BLOCK;
        uint64_t n = min_u64(len, OVERLAY_BLOCK - offset % OVERLAY_BLOCK);
        if (is_changed(r, block))
            memcpy(p, r->overlay + offset, n);
        else if (!file_read(r, offset, p, n, e))
            return false;
        p += n;
        offset += n;
        len -= n;
    }
    return true;
}

static bool overlay_write(struct raw *r, uint64_t offset, const uint8_t *p, uint64_t len,
                          struct err *e)
{
    while (len) {
        uint64_t block = offset / OVERLAY_BLOCK, start = block * OVERLAY_BLOCK;
        uint64_t n = min_u64(len, OVERLAY_BLOCK - (offset - start));
        if (!is_changed(r, block)) {
            uint64_t whole = min_u64(OVERLAY_BLOCK, r->size - start);
            if (n != whole && !file_read(r, start, r->overlay + start, whole, e))
                return false;
            r->changed[block / 8] |= (uint8_t)(1u << block % 8);
        }
        memcpy(r->overlay + offset, p, n);
        p += n;
        offset += n;
        len -= n;
    }
    return true;
}

static bool raw_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    struct raw *r = opaque;
    const uint8_t *p = buf;
    CHECK(offset <= r->size && len <= r->size - offset);
    if (r->overlay)
        return overlay_write(r, offset, p, len, e);
    while (len) {
        ssize_t n = pwrite(r->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(e, code_of(errno), "writing disk %s at byte %llu: %s%s", r->path,
                           (unsigned long long)offset, strerror(errno),
                           errno == ENOSPC ? ": make room on the host" : "");
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return true;
}

static bool raw_flush(void *opaque, struct err *e)
{
    struct raw *r = opaque;
    if (r->overlay || fsync(r->fd) == 0 || errno == EINVAL || errno == EROFS)
        return true;
    return err_set(e, code_of(errno), "flushing disk %s: %s", r->path, strerror(errno));
}

static void raw_close(void *opaque)
{
    struct raw *r = opaque;
    if (r->overlay)
        munmap(r->overlay, align_up(r->size, OVERLAY_BLOCK));
    free(r->changed);
    close(r->fd);
    free(r);
}

static const struct blockdev_ops raw_ops = {raw_read, raw_write, raw_flush, raw_close};

/* A whole-file advisory lock that ends with the descriptor. File systems without locks are let be.
 */
static bool lock_image(int fd, const char *path, bool write, struct err *e)
{
    struct flock l = {.l_type = (short)(write ? F_WRLCK : F_RDLCK), .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &l) == 0 || (errno != EAGAIN && errno != EACCES))
        return true;
    return err_set(e, ERR_CONFLICT,
                   "disk %s is in use by another machine: add ,snapshot to both, or "
                   "stop the other",
                   path);
}

bool disk_open_raw(struct blockdev *b, const char *path, enum disk_mode mode, struct err *e)
{
    int fd = open_named(path, mode == DISK_RW ? O_RDWR : O_RDONLY, "disk", e);
    if (fd < 0) {
        if (mode == DISK_RW && e && e->code == ERR_DENIED)
            err_set(e, ERR_DENIED,
                    "disk %s can't be written: change its permissions, or add "
                    ",snapshot (writes thrown away) or ,readonly",
                    path);
        return false;
    }
    struct stat st;
    off_t size = -1;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        size = lseek(fd, 0, SEEK_END);
    struct raw *r = NULL;
    if (size <= 0) {
        err_set(e, ERR_INVALID, "disk %s %s", path,
                size == 0 ? "is empty: give an image with at least one sector (truncate -s 1G FILE)"
                          : "is not a file or block device");
        goto fail;
    }
    if (!lock_image(fd, path, mode == DISK_RW, e))
        goto fail;
    r = xcalloc(1, sizeof *r);
    *r = (struct raw){.fd = fd, .path = path, .size = (uint64_t)size};
    if (mode == DISK_SNAPSHOT) {
        r->overlay = host_ram_alloc(align_up(r->size, OVERLAY_BLOCK), e);
        if (!r->overlay)
            goto fail;
        r->changed = xcalloc(r->size / OVERLAY_BLOCK / 8 + 1, 1);
    }
    *b = (struct blockdev){
        .ops = &raw_ops, .opaque = r, .size = r->size, .readonly = mode == DISK_RO, .name = path};
    return true;
fail:
    close(fd);
    free(r);
    return false;
}
