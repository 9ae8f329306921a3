/* `ishi disasm`: a file's bytes as instructions.
 *
 * An ELF file's executable segments are taken at their addresses, in the mode of its machine; any
 * other file is raw bytes at --base. Bytes that are no instruction are shown one by one. --jit
 * shows one block, and what the JIT makes of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/elf.h"
#include "front/commands.h"
#include "front/disasm_jit.h"
#include "host/posix/file.h"
#include "isa/isa.h"

#define FILE_LIMIT (1ull << 30)

struct request {
    const char *file;
    uint64_t base, offset, length;
    enum isa_mode mode;
    bool has_mode;
    uint64_t jit; /* list the generated code of the block there */
    bool has_jit;
};

static void print_code(const uint8_t *p, uint64_t n, uint64_t address, enum isa_mode mode)
{
    while (n) {
        struct insn in;
        char text[120], hex[2 * ISA_MAX_LEN + 1];
        enum isa_result r = isa_decode(&in, p, n, mode, NULL);
        unsigned length = r == ISA_OK ? in.length : 1;
        if (r == ISA_OK)
            isa_format(&in, address, text, sizeof text);
        else
            snprintf(text, sizeof text, "(bad)");
        for (unsigned i = 0; i < length; i++)
            snprintf(hex + 2 * i, 3, "%02x", p[i]);
        printf("%8" PRIx64 "  %-22s %s\n", address, hex, text);
        p += length;
        n -= length;
        address += length;
    }
}

/* Bytes that stand at `address`: their instructions, or the block that is asked for. */
static bool print_piece(const struct request *q, const uint8_t *p, uint64_t n, uint64_t address,
                        enum isa_mode mode)
{
    struct err e;
    if (!q->has_jit) {
        print_code(p, n, address, mode);
        return true;
    }
    uint64_t skip = q->jit - address, page = PAGE_SIZE - q->jit % PAGE_SIZE;
    if (skip >= n)
        return false;
    if (!jit_print(stdout, p + skip, min_u64(n - skip, page), q->jit, mode, &e)) {
        fprintf(stderr, "ishi: %s\n", e.text);
        return false;
    }
    return true;
}

/* Executable segments of a file that may lie: elf_open() checked the headers, not where segments
 * are. */
static bool print_elf(const struct elf *f, const struct request *q)
{
    enum isa_mode mode = f->machine == ELF_X86_64 ? ISA_64 : ISA_32;
    bool any = false;
    if (q->has_mode)
        mode = q->mode;
    for (unsigned i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        if (s.type != ELF_LOAD || !(s.flags & ELF_X) || s.offset >= f->size)
            continue;
        uint64_t n = s.filesz < f->size - s.offset ? s.filesz : f->size - s.offset;
        any |= print_piece(q, f->bytes + s.offset, n, s.vaddr, mode);
    }
    return any || !q->has_jit;
}

static int usage(bool asked)
{
    fprintf(asked ? stdout : stderr,
            "usage: ishi disasm [--mode 16|32|64] [--base ADDRESS] [--offset N] "
            "[--length N] [--jit ADDRESS] FILE\n");
    return asked ? STATUS_OK : STATUS_BAD;
}

static bool number(const char *s, uint64_t *v)
{
    char *end;
    *v = strtoull(s, &end, 0);
    return *s && !*end;
}

static bool parse(struct request *q, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (*a != '-') {
            if (q->file)
                return false;
            q->file = a;
            continue;
        }
        if (i + 1 == argc)
            return false;
        uint64_t v;
        if (!number(argv[++i], &v))
            return false;
        if (!strcmp(a, "--base"))
            q->base = v;
        else if (!strcmp(a, "--offset"))
            q->offset = v;
        else if (!strcmp(a, "--length"))
            q->length = v;
        else if (!strcmp(a, "--jit")) {
            q->jit = v;
            q->has_jit = true;
        } else if (!strcmp(a, "--mode") && (v == 16 || v == 32 || v == 64)) {
            q->mode = v == 16 ? ISA_16 : v == 32 ? ISA_32 : ISA_64;
            q->has_mode = true;
        } else
            return false;
    }
    return q->file;
}

int command_disasm(int argc, char **argv)
{
    struct request q = {.mode = ISA_64, .length = ~0ull};
    struct err e;
    struct elf f;
    size_t size;
    if (!parse(&q, argc, argv))
        return usage(argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")));
    uint8_t *bytes = host_read_file(q.file, "file", FILE_LIMIT, &size, &e);
    if (!bytes) {
        fprintf(stderr, "ishi: %s\n", e.text);
        return STATUS_BAD;
    }
    bool done = !q.has_jit;
    if (!q.offset && !q.base && elf_open(&f, bytes, size, &e)) {
        done = print_elf(&f, &q);
    } else if (q.offset < size) {
        uint64_t n = size - q.offset < q.length ? size - q.offset : q.length;
        done = print_piece(&q, bytes + q.offset, n, q.base + q.offset, q.mode);
    }
    free(bytes);
    return done ? STATUS_OK : STATUS_BAD;
}
