#include "boot/aml.h"

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_LOCAL0 = 0x60,
    OP_ARG0 = 0x68,
    OP_STORE = 0x70,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    EXT_REGION = 0x80,
    EXT_FIELD = 0x81,
    EXT_DEVICE = 0x82,
};

void aml_bytes(struct aml *a, const void *p, uint32_t n)
{
    CHECK(n <= a->cap - a->len);
    memcpy(a->p + a->len, p, n);
    a->len += n;
}

void aml_byte(struct aml *a, uint8_t v)
{
    aml_bytes(a, &v, 1);
}

static void word(struct aml *a, uint16_t v)
{
    aml_bytes(a, &v, 2);
}

static void dword(struct aml *a, uint32_t v)
{
    aml_bytes(a, &v, 4);
}

static void qword(struct aml *a, uint64_t v)
{
    aml_bytes(a, &v, 8);
}

void aml_path(struct aml *a, const char *path)
{
    if (*path == '\\')
        aml_byte(a, (uint8_t)*path++);
    unsigned n = (unsigned)(strlen(path) + 1) / 5;
    CHECK(n && strlen(path) == n * 5 - 1);
    if (n == 2)
        aml_byte(a, OP_DUAL_NAME);
    if (n > 2) {
        aml_byte(a, OP_MULTI_NAME);
        aml_byte(a, (uint8_t)n);
    }
    for (; n; n--, path += 5)
        aml_bytes(a, path, 4);
}

void aml_int(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        aml_byte(a, v ? OP_ONE : OP_ZERO);
    } else if (v <= 0xff) {
        aml_byte(a, OP_BYTE);
        aml_byte(a, (uint8_t)v);
    } else if (v <= 0xffff) {
        aml_byte(a, OP_WORD);
        word(a, (uint16_t)v);
    } else if (v <= 0xffffffff) {
        aml_byte(a, OP_DWORD);
        dword(a, (uint32_t)v);
    } else {
        aml_byte(a, OP_QWORD);
        qword(a, v);
    }
}

void aml_string(struct aml *a, const char *s)
{
    aml_byte(a, OP_STRING);
    aml_bytes(a, s, (uint32_t)strlen(s) + 1);
}

static uint32_t hex(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_eisa_id(struct aml *a, const char id[8])
{
    /* three letters of five bits, four hexadecimal digits; stored big-endian (ACPI 6.4 §19.3.4) */
    uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                 (uint32_t)(id[2] - '@') << 16 | hex(id[3]) << 12 | hex(id[4]) << 8 |
                 hex(id[5]) << 4 | hex(id[6]);
    aml_byte(a, OP_DWORD);
    dword(a, __builtin_bswap32(v));
}

void aml_name(struct aml *a, const char *path)
{
    aml_byte(a, OP_NAME);
    aml_path(a, path);
}

void aml_name_int(struct aml *a, const char *path, uint64_t v)
{
    aml_name(a, path);
    aml_int(a, v);
}

void aml_name_eisa(struct aml *a, const char *path, const char id[8])
{
    aml_name(a, path);
    aml_eisa_id(a, id);
}

/* Leaves room for a length of the three-byte form; it counts from its own first byte. */
static aml_mark open_term(struct aml *a)
{
    aml_mark m = a->len;
    aml_bytes(a, "\0\0\0", 3);
    return m;
}

void aml_close(struct aml *a, aml_mark m)
{
    uint32_t n = a->len - m;
    CHECK(n < 1u << 20);
    a->p[m] = (uint8_t)(0x80 | (n & 0xf));
    a->p[m + 1] = (uint8_t)(n >> 4);
    a->p[m + 2] = (uint8_t)(n >> 12);
}

aml_mark aml_scope(struct aml *a, const char *path)
{
    aml_byte(a, OP_SCOPE);
    aml_mark m = open_term(a);
    aml_path(a, path);
    return m;
}

aml_mark aml_device(struct aml *a, const char *name)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, EXT_DEVICE);
    aml_mark m = open_term(a);
    aml_path(a, name);
    return m;
}

aml_mark aml_method(struct aml *a, const char *name, unsigned args)
{
    aml_byte(a, OP_METHOD);
    aml_mark m = open_term(a);
    aml_path(a, name);
    aml_byte(a, (uint8_t)args);
    return m;
}

aml_mark aml_package(struct aml *a, uint8_t elements)
{
    aml_byte(a, OP_PACKAGE);
    aml_mark m = open_term(a);
    aml_byte(a, elements);
    return m;
}

aml_mark aml_if(struct aml *a)
{
    aml_byte(a, OP_IF);
    return open_term(a);
}

void aml_return(struct aml *a)
{
    aml_byte(a, OP_RETURN);
}

void aml_store(struct aml *a)
{
    aml_byte(a, OP_STORE);
}

void aml_arg(struct aml *a, unsigned n)
{
    aml_byte(a, (uint8_t)(OP_ARG0 + n));
}

void aml_local(struct aml *a, unsigned n)
{
    aml_byte(a, (uint8_t)(OP_LOCAL0 + n));
}

void aml_pci_bytes(struct aml *a, const char *region, uint8_t offset, const char *const *names,
                   unsigned n)
{
    enum { PCI_CONFIG = 2, BYTE_ACCESS = 1 };
    aml_byte(a, OP_EXT);
    aml_byte(a, EXT_REGION);
    aml_path(a, region);
    aml_byte(a, PCI_CONFIG);
    aml_int(a, offset);
    aml_int(a, n);
    aml_byte(a, OP_EXT);
    aml_byte(a, EXT_FIELD);
    aml_mark m = open_term(a);
    aml_path(a, region);
    aml_byte(a, BYTE_ACCESS);
    for (unsigned i = 0; i < n; i++) {
        aml_path(a, names[i]);
        aml_byte(a, 8); /* bits */
    }
    aml_close(a, m);
}

/* The buffer's size comes before its bytes, as a word constant of the three bytes after the
 * length. */
aml_mark aml_resources(struct aml *a)
{
    aml_byte(a, OP_BUFFER);
    aml_mark m = open_term(a);
    aml_byte(a, OP_WORD);
    word(a, 0);
    return m;
}

void aml_resources_end(struct aml *a, aml_mark m)
{
    static const uint8_t end[] = {0x79, 0};
    aml_bytes(a, end, sizeof end);
    put_le16(a->p + m + 4, (uint16_t)(a->len - m - 6));
    aml_close(a, m);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
    aml_byte(a, 0x47);
    aml_byte(a, 1); /* decodes 16 bits */
    word(a, port);
    word(a, port);
    aml_byte(a, 1);
    aml_byte(a, len);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
    aml_byte(a, 0x22);
    word(a, (uint16_t)(1u << irq));
}

void aml_res_memory(struct aml *a, uint32_t base, uint32_t len, bool writable)
{
    aml_byte(a, 0x86);
    word(a, 9);
    aml_byte(a, writable);
    dword(a, base);
    dword(a, len);
}

void aml_res_interrupt(struct aml *a, const uint32_t *numbers, uint8_t n)
{
    aml_byte(a, 0x89);
    word(a, (uint16_t)(2 + 4 * n));
    aml_byte(a, 0x09); /* consumer, level, high, shared */
    aml_byte(a, n);
    aml_bytes(a, numbers, 4u * n);
}

#define FIXED 0x0c /* minimum and maximum are fixed, positive decode */

static void word_window(struct aml *a, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
    aml_byte(a, 0x88);
    word(a, 13);
    aml_byte(a, type);
    aml_byte(a, FIXED);
    aml_byte(a, flags);
    word(a, 0);
    word(a, first);
    word(a, last);
    word(a, 0);
    word(a, (uint16_t)(last - first + 1));
}

void aml_res_bus(struct aml *a, uint16_t first, uint16_t last)
{
    word_window(a, 2, 0, first, last);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
    word_window(a, 1, 3 /* ISA and other ports */, first, last);
}

void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool cacheable)
{
    bool wide = last > 0xffffffff;
    aml_byte(a, wide ? 0x8a : 0x87);
    word(a, wide ? 43 : 23);
    aml_byte(a, 0);
    aml_byte(a, FIXED);
    aml_byte(a, cacheable ? 3 : 1); /* writable */
    const uint64_t v[] = {0, first, last, 0, last - first + 1};
    for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
        if (wide)
            qword(a, v[i]);
        else
            dword(a, (uint32_t)v[i]);
    }
}
