/* The loaders of kernels, on images made here: what they place, and what they refuse. */
#include "boot/e820.h"
#include "boot_machine.h"

static uint8_t image[256 * 1024];
static struct boot_entry entry;

/* A bzImage of one set-up sector and 8 KiB of kernel, boot protocol 2.15. */
static uint64_t bzimage(void)
{
    memset(image, 0, sizeof image);
    image[0x1f1] = 1;
    put_le32(image + 0x1f4, 8192 / 16);
    put_le16(image + 0x1fe, 0xaa55);
    put_le16(image + 0x200, 0x6aeb);
    memcpy(image + 0x202, "HdrS", 4);
    put_le16(image + 0x206, 0x20f);
    image[0x211] = 1;
    put_le32(image + 0x22c, 0x7fffffff);
    put_le32(image + 0x230, 0x200000);
    image[0x234] = 1;
    put_le16(image + 0x236, 0x3f);
    put_le32(image + 0x238, 2047);
    put_le64(image + 0x258, 0x1000000);
    put_le32(image + 0x260, 0x800000);
    memset(image + 1024, 0x90, 8192);
    return 1024 + 8192;
}

static bool linux_boots(const struct boot_config *c, uint64_t size)
{
    memset(&err, 0, sizeof err);
    return boot_linux(&bus, c, image, size, BOOT_ENTRY_AUTO, &entry, &err);
}

static void test_linux_64(void **state)
{
    static const uint8_t initrd[5000] = "initrd!";
    struct boot_config c = config(1);
    uint64_t size = bzimage();
    enum boot_kind kind;
    machine(64 * MIB);
    c.cmdline = "console=ttyS0";
    c.initrd = initrd;
    c.initrd_size = sizeof initrd;
    assert_true(boot_detect(image, size, size, "k", &kind, &err));
    assert_int_equal(kind, BOOT_LINUX);
    assert_true(linux_boots(&c, size));
    assert_int_equal(entry.rip, 0x1000200);
    assert_int_equal(entry.r[6], BOOT_PARAMS);
    assert_int_equal(entry.efer, 0x500);
    assert_memory_equal(bus.ram + 0x1000000, image + 1024, 8192);
    /* the page tables map 0..4 GiB to itself */
    for (uint64_t a = 0; a < 4ull << 30; a += 0x3fe00000 / 2) {
        uint64_t t = get_le64(bus.ram + entry.cr3 + (a >> 39) * 8);
        t = get_le64(bus.ram + (t & ~0xfffull) + (a >> 30) * 8);
        t = get_le64(bus.ram + (t & ~0xfffull) + (a >> 21 & 511) * 8);
        assert_int_equal(t, (a & ~0x1fffffull) | 0x83);
    }
    const uint8_t *p = bus.ram + BOOT_PARAMS;
    assert_memory_equal(p + 0x202, "HdrS", 4);
    assert_string_equal((char *)bus.ram + get_le32(p + 0x228), "console=ttyS0");
    assert_memory_equal(bus.ram + get_le32(p + 0x218), initrd, sizeof initrd);
    assert_int_equal(get_le32(p + 0x218) % PAGE_SIZE, 0);
    assert_int_equal(get_le32(p + 0x21c), sizeof initrd);
    assert_int_equal(get_le64(p + 0x70), BOOT_RSDP);
    assert_int_equal(p[0x210], 0xff);
    assert_in_range(p[0x1e8], 3, E820_MAX);
    assert_int_equal(get_le32(p + 0x2d0 + 16), E820_RAM);
}

static void test_linux_32(void **state)
{
    struct boot_config c = config(1);
    uint64_t size = bzimage();
    machine(32 * MIB);
    assert_true(boot_linux(&bus, &c, image, size, BOOT_ENTRY_32, &entry, &err));
    assert_int_equal(entry.rip, 0x1000000);
    assert_int_equal(entry.cr0, 0x11);
    assert_int_equal(entry.seg[1].sel, 0x10);
    /* the GDT says what the segment registers hold */
    assert_int_equal(get_le64(bus.ram + entry.gdt_base + 0x10), 0x00cf9b000000ffffull);
    assert_int_equal(get_le64(bus.ram + entry.gdt_base + 0x18), 0x00cf93000000ffffull);
    put_le16(image + 0x236, 0);
    assert_true(linux_boots(&c, size));
    assert_int_equal(entry.rip, 0x1000000);
    assert_false(boot_linux(&bus, &c, image, size, BOOT_ENTRY_64, &entry, &err));
}

static void test_linux_refusals(void **state)
{
    static char line[3000];
    struct boot_config c = config(1);
    uint64_t size = bzimage();
    machine(32 * MIB);
    assert_true(linux_boots(&c, size - 15)); /* the header rounds up to 16 */
    assert_false(linux_boots(&c, size - 16));
    assert_non_null(strstr(err.text, "truncated"));
    for (uint64_t n = 0; n < 1025; n++)
        assert_false(linux_boots(&c, n));
    memset(line, 'a', sizeof line - 1);
    c.cmdline = line;
    assert_false(linux_boots(&c, size));
    assert_non_null(strstr(err.text, "--append"));
    c.cmdline = NULL;
    c.initrd = image;
    c.initrd_size = 9 * MIB; /* never read: it has no room */
    assert_false(linux_boots(&c, size));
    assert_non_null(strstr(err.text, "--mem"));
    c.initrd_size = ~0ull;
    assert_false(linux_boots(&c, size));
    c.initrd_size = 0;
    put_le32(image + 0x260, 0xffffffff);
    assert_false(linux_boots(&c, size));
    assert_non_null(strstr(err.text, "--mem"));
    bzimage();
    put_le64(image + 0x258, ~0ull);
    assert_false(linux_boots(&c, size));
    bzimage();
    put_le32(image + 0x230, 3);
    assert_false(linux_boots(&c, size));
    bzimage();
    put_le32(image + 0x1f4, 0xffffffff);
    assert_false(linux_boots(&c, size));
    bzimage();
    put_le16(image + 0x206, 0x200);
    assert_false(linux_boots(&c, size));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    bzimage();
    assert_true(linux_boots(&c, size));
}

/* An ELF32 or ELF64 with a segment of 4 KiB at 1 MiB (virtual 0xc0100000), entry 0x10 into it, and
 * a PVH note if `pvh`. */
static uint64_t make_elf(bool is64, bool pvh)
{
    memset(image, 0, sizeof image);
    memcpy(image, "\177ELF", 4);
    image[4] = is64 ? 2 : 1;
    image[5] = image[6] = 1;
    put_le16(image + 16, 2);
    put_le16(image + 18, is64 ? 62 : 3);
    uint8_t *ph = image + 0x40, *note = image + 0x200;
    if (is64) {
        put_le64(image + 24, 0xc0100010);
        put_le64(image + 32, 0x40);
        put_le16(image + 54, 56);
        put_le16(image + 56, 2);
        uint64_t v[] = {5ull << 32 | 1,
                        0x1000,
                        0xc0100000,
                        0x100000,
                        0x1000,
                        0x2000,
                        0x1000,
                        4ull << 32 | (pvh ? 4 : 0),
                        0x200,
                        0,
                        0,
                        20,
                        20,
                        4};
        memcpy(ph, v, sizeof v);
    } else {
        put_le32(image + 24, 0xc0100010);
        put_le32(image + 28, 0x40);
        put_le16(image + 42, 32);
        put_le16(image + 44, 2);
        uint32_t v[] = {1,           0x1000, 0xc0100000, 0x100000, 0x1000, 0x2000, 5, 0x1000,
                        pvh ? 4 : 0, 0x200,  0,          0,        20,     20,     4, 4};
        memcpy(ph, v, sizeof v);
    }
    put_le32(note, 4);
    put_le32(note + 4, 4);
    put_le32(note + 8, 18);
    memcpy(note + 12, "Xen", 4);
    put_le32(note + 16, 0x100020);
    memset(image + 0x1000, 0x90, 0x1000);
    return 0x2000;
}

static void add_multiboot(unsigned at, uint32_t flags)
{
    put_le32(image + at, 0x1badb002);
    put_le32(image + at + 4, flags);
    put_le32(image + at + 8, -(0x1badb002 + flags));
}

static void test_pvh(void **state)
{
    struct boot_config c = config(1);
    enum boot_kind kind;
    c.initrd = "module";
    c.initrd_size = 7;
    c.cmdline = "hello";
    machine(4 * MIB);
    for (int is64 = 0; is64 < 2; is64++) {
        uint64_t size = make_elf(is64, true);
        assert_true(boot_detect(image, size, size, "k", &kind, &err));
        assert_int_equal(kind, BOOT_PVH);
        assert_true(boot_kernel(&bus, &c, kind, image, size, 0, &entry, &err));
        assert_int_equal(entry.rip, 0x100020);
        assert_memory_equal(bus.ram + 0x100000, image + 0x1000, 0x1000);
        assert_int_equal(bus.ram[0x101000], 0); /* the part beyond the file's */
        assert_int_equal(bus.ram[0x101fff], 0);
        assert_int_equal(bus.ram[0x102000], 0xcc);
        const uint8_t *p = bus.ram + entry.r[3];
        assert_int_equal(get_le32(p), 0x336ec578);
        assert_int_equal(get_le32(p + 12), 1);
        assert_string_equal((char *)bus.ram + get_le64(p + 24), "hello");
        const uint8_t *mod = bus.ram + get_le64(p + 16);
        assert_string_equal((char *)bus.ram + get_le64(mod), "module");
        assert_int_equal(get_le64(mod + 8), 7);
        assert_true(get_le32(p + 48) >= 3);
        assert_int_equal(get_le64(bus.ram + get_le64(p + 40) + 8), 0x9fc00);
    }
}

static void test_multiboot_elf(void **state)
{
    struct boot_config c = config(1);
    enum boot_kind kind;
    uint64_t size = make_elf(false, false);
    machine(4 * MIB);
    assert_false(boot_detect(image, size, size, "k", &kind, &err));
    assert_non_null(strstr(err.text, "multiboot"));
    add_multiboot(0x1004, 3);
    assert_true(boot_detect(image, size, size, "k", &kind, &err));
    assert_int_equal(kind, BOOT_MULTIBOOT);
    assert_true(boot_kernel(&bus, &c, kind, image, size, 0, &entry, &err));
    assert_int_equal(entry.rip, 0x100010); /* physical, of a virtual entry */
    assert_int_equal(entry.r[0], 0x2badb002);
    const uint8_t *p = bus.ram + entry.r[3];
    assert_int_equal(get_le32(p + 4), 639);
    assert_int_equal(get_le32(p + 8), 3 * 1024);
    assert_string_equal((char *)bus.ram + get_le32(p + 64), "ishi");
    assert_int_equal(get_le32(bus.ram + get_le32(p + 48)), 20);
    add_multiboot(0x1004, 3 | 0x40);
    assert_false(boot_kernel(&bus, &c, kind, image, size, 0, &entry, &err));
}

static void test_multiboot_by_address(void **state)
{
    struct boot_config c = config(1);
    uint32_t address[] = {0x200020, 0x200000, 0x201000, 0x203000, 0x200100};
    enum boot_kind kind;
    machine(4 * MIB);
    memset(image, 0x90, sizeof image);
    add_multiboot(0x40, 0x10003);
    memcpy(image + 0x4c, address, sizeof address);
    assert_true(boot_detect(image, 0x2000, 0x2000, "k", &kind, &err));
    assert_true(boot_multiboot(&bus, &c, image, 0x2000, &entry, &err));
    assert_int_equal(entry.rip, 0x200100);
    assert_memory_equal(bus.ram + 0x200000, image + 0x20, 0x1000);
    assert_int_equal(bus.ram[0x202fff], 0);
    assert_int_equal(bus.ram[0x203000], 0xcc);
    assert_false(boot_multiboot(&bus, &c, image, 0x1000, &entry, &err));
    for (unsigned i = 0; i < 4; i++) { /* each field by itself absurd */
        uint32_t keep = address[i];
        address[i] = i == 1 ? 0x300000 : 0xfffffff0;
        memcpy(image + 0x4c, address, sizeof address);
        assert_false(boot_multiboot(&bus, &c, image, 0x2000, &entry, &err));
        address[i] = keep;
    }
}

static void test_absurd_elf(void **state)
{
    struct boot_config c = config(1);
    machine(4 * MIB);
    uint64_t size = make_elf(true, true);
    for (uint64_t n = 0; n < 0x40 + 56; n++)
        assert_false(boot_pvh(&bus, &c, image, n, &entry, &err));
    static const struct {
        unsigned at;
        uint64_t value;
    } bad[] = {{32, ~0ull},       {0x48, ~0ull},   {0x58, 0},         {0x58, ~0ull},
               {0x58, 0xfffffff}, {0x58, 0x9f000}, {0x60, 0x2000000}, {0x60, ~0ull},
               {0x68, ~0ull},     {0x68, 0x10},    {0x68, 8 * MIB},   {0x40, 2}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        make_elf(true, true);
        put_le64(image + bad[i].at, bad[i].value);
        assert_false(boot_pvh(&bus, &c, image, size, &entry, &err));
    }
    make_elf(true, true);
    put_le32(image + 0x204, 0xfffffffc); /* the note's sizes */
    assert_false(boot_pvh(&bus, &c, image, size, &entry, &err));
    make_elf(true, true);
    put_le16(image + 18, 183);
    assert_false(boot_pvh(&bus, &c, image, size, &entry, &err));
    make_elf(true, true);
    assert_true(boot_pvh(&bus, &c, image, size, &entry, &err));
}

static const char *verdict(const void *head, size_t n, uint64_t size)
{
    enum boot_kind kind = BOOT_KIND_COUNT;
    memset(&err, 0, sizeof err);
    return boot_detect(head, n, size, "x", &kind, &err) ? boot_kind_name(kind) : err.text;
}

static void test_detection(void **state)
{
    memset(image, 0, sizeof image);
    assert_non_null(strstr(verdict(image, 0, 0), "empty"));
    assert_non_null(strstr(verdict(image, BOOT_HEAD, sizeof image), "zeroes"));
    assert_non_null(strstr(verdict("hello, world\n", 13, 13), "text"));
    assert_non_null(strstr(verdict("\x1f\x8b\x08\0", 4, 4), "gzip"));
    assert_non_null(strstr(verdict("QFI\xfb\0\0\0\3", 8, 8), "qcow2"));
    assert_non_null(strstr(verdict("070701000", 9, 9), "--initrd"));
    assert_non_null(strstr(verdict("\177ELF", 4, 4), "cut off"));
    assert_string_equal(verdict(BOOT_SNAPSHOT_MAGIC, 8, 8), boot_kind_name(BOOT_SNAPSHOT));
    put_le16(image + 510, 0xaa55);
    assert_string_equal(verdict(image, BOOT_HEAD, sizeof image), boot_kind_name(BOOT_DISK));
    memcpy(image + 0x8000, "\1CD001", 6);
    memcpy(image + 0x8800, "\377CD001", 6);
    assert_non_null(strstr(verdict(image, BOOT_HEAD, sizeof image), "El Torito"));
    memcpy(image + 0x8800, "\0CD001\1EL TORITO SPECIFICATION", 30);
    assert_string_equal(verdict(image, BOOT_HEAD, sizeof image), boot_kind_name(BOOT_ISO));
    for (size_t n = 1; n < 0x9000; n += 7)
        verdict(image, n, sizeof image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_linux_64, teardown),
        cmocka_unit_test_teardown(test_linux_32, teardown),
        cmocka_unit_test_teardown(test_linux_refusals, teardown),
        cmocka_unit_test_teardown(test_pvh, teardown),
        cmocka_unit_test_teardown(test_multiboot_elf, teardown),
        cmocka_unit_test_teardown(test_multiboot_by_address, teardown),
        cmocka_unit_test_teardown(test_absurd_elf, teardown),
        cmocka_unit_test(test_detection),
    };
    return RUN(tests);
}
