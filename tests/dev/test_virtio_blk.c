/* A virtio disk on the PCI bus: its transport, requests, interrupts, failures and restored states;
 * and MSI-X by itself. tests/guest/virtio.c does much of the same as a guest. */
#include "dev.h"
#include "virtio/blk.h"

#define RAM_SIZE   0x400000
#define DISK_BYTES (100 * 512 + 30) /* the last sector is broken */
#define DEVFN      PCI_DEVFN(3, 0)
#define BAR        0xe0000000u
#define MSIX       0xe0010000u
#define DESC       0x1000
#define AVAIL      0x2000
#define USED       0x3000
#define HEADER     0x4000
#define STATUS     0x4100
#define DATA       0x10000
#define SIZE       8

#define F_RO      BIT(5)
#define F_FLUSH   BIT(9)
#define NO_ANSWER 0xee

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, WRITE_ZEROES = 13 };

static uint8_t ram[RAM_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint8_t disk[DISK_BYTES];
static struct bus bus;
static struct pci_bus pci;
static struct clock timebase;
static struct virtio_blk blk;
static struct wire pirq[4];
static bool host_fails;
static unsigned flushes, messages;
static uint64_t message_addr;
static uint32_t message_data;
static bool *const level = &pirq[2].level; /* device 3, INTA: PIRQC */

static bool mem_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    assert_true(offset + len <= DISK_BYTES);
    memcpy(buf, disk + offset, len);
    return !host_fails || err_set(e, ERR_IO, "broken");
}

static bool mem_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    assert_true(offset + len <= DISK_BYTES);
    if (host_fails)
        return err_set(e, ERR_NO_SPACE, "full");
    memcpy(disk + offset, buf, len);
    return true;
}

static bool mem_flush(void *opaque, struct err *e)
{
    flushes++;
    return true;
}

static const struct blockdev_ops mem_ops = {mem_read, mem_write, mem_flush, NULL};
static struct blockdev dev = {&mem_ops, NULL, DISK_BYTES, false, "a/folder/disk"};
static struct blockdev readonly = {&mem_ops, NULL, DISK_BYTES, true, "disk"};

static void on_message(void *opaque, uint64_t addr, uint32_t data)
{
    messages++;
    message_addr = addr;
    message_data = data;
}

static uint32_t cfg(unsigned reg, unsigned size)
{
    return pci_config_read(&pci, DEVFN, reg, size);
}

static void set_cfg(unsigned reg, unsigned size, uint32_t v)
{
    pci_config_write(&pci, DEVFN, reg, size, v);
}

static uint32_t rd(unsigned at, unsigned size)
{
    return (uint32_t)bus_read(&bus, BAR + at, size);
}

static void wr(unsigned at, unsigned size, uint64_t v)
{
    bus_write(&bus, BAR + at, size, v);
}

static void power_on(struct blockdev *d)
{
    memset(ram, 0, sizeof ram);
    for (unsigned i = 0; i < DISK_BYTES; i++)
        disk[i] = (uint8_t)(i * 7 + i / 512);
    memset(pirq, 0, sizeof pirq);
    host_fails = false;
    flushes = messages = 0;
    dev_clock(&timebase);
    bus_init(&bus, ram, sizeof ram, NULL);
    pci_init(&pci, &bus, NULL);
    pci.msi = on_message;
    for (unsigned i = 0; i < 4; i++)
        pci.pirq[i] = wire_irq(&pirq[i]);
    virtio_blk_init(&blk, "virtio0", d, &pci, DEVFN, &timebase, NULL);
    set_cfg(0x14, 4, MSIX);
    set_cfg(0x20, 4, BAR);
    set_cfg(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void set_64(unsigned at, uint64_t v)
{
    wr(at, 4, (uint32_t)v);
    wr(at + 4, 4, v >> 32);
}

static void drive(uint64_t features)
{
    wr(0x14, 1, 0);
    wr(0x14, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        wr(0x08, 4, i);
        wr(0x0c, 4, (uint32_t)(features >> 32 * i));
    }
    wr(0x14, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    assert_int_equal(rd(0x14, 1), 0xb);
    memset(ram + AVAIL, 0, 0x2000);
    wr(0x16, 2, 0);
    wr(0x18, 2, SIZE);
    set_64(0x20, DESC);
    set_64(0x28, AVAIL);
    set_64(0x30, USED);
    wr(0x1c, 2, 1);
    wr(0x14, 1, 0xf);
}

static void start(uint64_t features)
{
    power_on(&dev);
    drive(VIRTIO_VERSION_1 | features);
}

static void end(void)
{
    bus_free(&bus);
}

static void desc(unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
    uint8_t *d = ram + DESC + 16 * i;
    put_le64(d, addr);
    put_le32(d + 8, len);
    put_le16(d + 12, (uint16_t)flags);
    put_le16(d + 14, (uint16_t)next);
}

static void offer(unsigned head)
{
    uint16_t idx = get_le16(ram + AVAIL + 2);
    put_le16(ram + AVAIL + 4 + 2 * (idx % SIZE), (uint16_t)head);
    put_le16(ram + AVAIL + 2, (uint16_t)(idx + 1));
}

static void lay(uint32_t type, uint64_t sector, uint32_t len)
{
    bool in = type == IN || type == GET_ID;
    put_le32(ram + HEADER, type);
    put_le64(ram + HEADER + 8, sector);
    ram[STATUS] = NO_ANSWER;
    desc(0, HEADER, 16, 1, len ? 1 : 2);
    desc(1, DATA, len, in ? 3 : 1, 2);
    desc(2, STATUS, 1, 2, 0);
    offer(0);
}

static unsigned request(uint32_t type, uint64_t sector, uint32_t len)
{
    lay(type, sector, len);
    wr(0x3000, 2, 0);
    return ram[STATUS];
}

/* --- the transport --- */

static void test_what_it_is(void **state)
{
    power_on(&dev);
    assert_int_equal(cfg(0, 4), 0x10421af4);
    assert_int_equal(cfg(PCI_REVISION, 1), 1);
    assert_int_equal(cfg(PCI_CLASS + 1, 2), 0x0100);
    unsigned seen = 0;
    for (unsigned at = cfg(PCI_CAP_POINTER, 1); at; at = cfg(at + 1, 1)) {
        if (cfg(at, 1) == 0x09)
            seen |= 1u << cfg(at + 3, 1);
        else if (cfg(at, 1) == 0x11)
            seen |= 1;
    }
    assert_int_equal(seen, 0x3f);
    assert_int_equal(rd(0x12, 2), 1);
    assert_int_equal(rd(0x18, 2), VIRTQ_SIZE);
    assert_int_equal(rd(0x1e, 2), 0);
    assert_int_equal(rd(0x2000, 4), 101);
    wr(0x16, 2, 7);
    assert_int_equal(rd(0x18, 2), 0);
    end();
}

static uint64_t offered(void)
{
    wr(0, 4, 0);
    uint64_t low = rd(4, 4);
    wr(0, 4, 1);
    return low | (uint64_t)rd(4, 4) << 32;
}

static void test_features(void **state)
{
    power_on(&dev);
    assert_false(offered() & F_RO);
    assert_true(offered() & VIRTIO_VERSION_1);
    wr(0x14, 1, 3);
    wr(0x08, 4, 1);
    wr(0x0c, 4, 3); /* VERSION_1 and one that we don't have */
    wr(0x14, 1, 0xb);
    assert_int_equal(rd(0x14, 1), 3);
    wr(0x0c, 4, 1);
    wr(0x14, 1, 0xb);
    assert_int_equal(rd(0x14, 1), 0xb);
    wr(0x0c, 4, 0); /* too late */
    assert_int_equal(rd(0x0c, 4), 1);
    end();
    power_on(&readonly);
    assert_true(offered() & F_RO);
    end();
}

static void test_a_queue_that_can_not_be(void **state)
{
    power_on(&dev);
    wr(0x14, 1, 3);
    wr(0x18, 2, 6);
    wr(0x1c, 2, 1);
    assert_int_equal(rd(0x1c, 2), 0);
    assert_int_equal(rd(0x14, 1), 3 | VIRTIO_NEEDS_RESET);
    wr(0x14, 1, 3); /* no driver takes that bit away but by a reset */
    assert_int_equal(rd(0x14, 1), 3 | VIRTIO_NEEDS_RESET);
    wr(0x14, 1, 0);
    assert_int_equal(rd(0x14, 1), 0);
    end();
}

static void test_an_enabled_queue_stays_where_it_is(void **state)
{
    start(0);
    set_64(0x20, 0x9000);
    wr(0x18, 2, 64);
    assert_int_equal(rd(0x20, 4), DESC);
    assert_int_equal(rd(0x18, 2), SIZE);
    end();
}

static void test_the_window_in_configuration_space(void **state)
{
    unsigned at = cfg(PCI_CAP_POINTER, 1);
    start(0);
    for (at = cfg(PCI_CAP_POINTER, 1); cfg(at, 1) != 9 || cfg(at + 3, 1) != 5;)
        at = cfg(at + 1, 1);
    set_cfg(at + 4, 1, 4);
    set_cfg(at + 8, 4, 0x2000);
    set_cfg(at + 12, 4, 4);
    assert_int_equal(cfg(at + 16, 4), 101);
    lay(IN, 0, 512);
    set_cfg(at + 8, 4, 0x3000);
    set_cfg(at + 12, 4, 2);
    set_cfg(at + 16, 4, 0);
    assert_int_equal(ram[STATUS], 0);
    set_cfg(at + 8, 4, 0xfffffffc); /* outside: nothing happens */
    set_cfg(at + 12, 4, 4);
    set_cfg(at + 16, 4, 1);
    cfg(at + 16, 4);
    set_cfg(at + 8, 4, 0x3ffe); /* across the end */
    set_cfg(at + 16, 4, 1);
    set_cfg(at + 12, 4, 3);
    cfg(at + 16, 4);
    end();
}

/* --- requests --- */

static void test_reads_and_writes(void **state)
{
    start(F_FLUSH);
    assert_int_equal(request(IN, 3, 1024), 0);
    assert_memory_equal(ram + DATA, disk + 3 * 512, 1024);
    assert_int_equal(get_le32(ram + USED + 8), 1025);
    memset(ram + DATA, 0x5a, 200 * 512);
    assert_int_equal(request(OUT, 50, 1024), 0);
    assert_int_equal(disk[50 * 512], 0x5a);
    assert_int_equal(disk[52 * 512 - 1], 0x5a);
    assert_int_not_equal(disk[52 * 512], 0x5a);
    assert_int_equal(flushes, 0);
    assert_int_equal(request(FLUSH, 0, 0), 0);
    assert_int_equal(flushes, 1);
    end();
}

static void test_without_flush_writes_go_through(void **state)
{
    start(0);
    assert_int_equal(request(OUT, 50, 512), 0);
    assert_int_equal(flushes, 1);
    end();
}

static void test_the_last_broken_sector(void **state)
{
    start(0);
    assert_int_equal(request(IN, 100, 512), 0);
    assert_memory_equal(ram + DATA, disk + 100 * 512, 30);
    assert_int_equal(ram[DATA + 30], 0);
    assert_int_equal(request(OUT, 100, 512), 0);
    end();
}

static void test_what_can_not_be_done(void **state)
{
    start(0);
    assert_int_equal(request(IN, 101, 512), 1);
    assert_int_equal(request(IN, 100, 1024), 1);
    assert_int_equal(request(IN, ~0ull, 512), 1);
    assert_int_equal(request(OUT, 1ull << 55, 512), 1);
    assert_int_equal(request(IN, 0, 100), 1);
    assert_int_equal(request(77, 0, 512), 2);
    host_fails = true;
    assert_int_equal(request(IN, 0, 512), 1);
    assert_int_equal(request(OUT, 0, 512), 1);
    host_fails = false;
    lay(IN, 0, 512);
    desc(1, 0xfee00000, 512, 3, 2);
    wr(0x3000, 2, 0);
    assert_int_equal(ram[STATUS], 1);
    assert_int_equal(rd(0x14, 1), 0xf);
    end();
    power_on(&readonly);
    drive(VIRTIO_VERSION_1 | F_RO);
    assert_int_equal(request(OUT, 0, 512), 1);
    assert_int_equal(request(WRITE_ZEROES, 0, 16), 1);
    assert_int_equal(request(IN, 0, 512), 0);
    end();
}

static void test_zeroes(void **state)
{
    start(0);
    memset(ram + DATA, 0, 16);
    put_le64(ram + DATA, 10);
    put_le32(ram + DATA + 8, 20);
    assert_int_equal(request(WRITE_ZEROES, 0, 16), 0);
    for (unsigned i = 10 * 512; i < 30 * 512; i++)
        assert_int_equal(disk[i], 0);
    assert_int_not_equal(disk[30 * 512 + 1], 0);
    put_le32(ram + DATA + 8, 92);
    assert_int_equal(request(WRITE_ZEROES, 0, 16), 1);
    put_le32(ram + DATA + 12, 4);
    assert_int_equal(request(WRITE_ZEROES, 0, 16), 2);
    assert_int_equal(request(WRITE_ZEROES, 0, 15), 1);
    end();
}

static void test_the_name(void **state)
{
    start(0);
    assert_int_equal(request(GET_ID, 0, 20), 0);
    assert_string_equal((char *)ram + DATA, "disk");
    end();
}

static void test_what_is_no_request(void **state)
{
    start(0);
    desc(0, HEADER, 15, 1, 1);
    desc(1, STATUS, 1, 2, 0);
    offer(0);
    wr(0x3000, 2, 0);
    assert_true(rd(0x14, 1) & VIRTIO_NEEDS_RESET);
    assert_int_equal(rd(0x1000, 1) & 2, 2); /* the driver is told */
    assert_int_equal(request(IN, 0, 512), NO_ANSWER);
    drive(VIRTIO_VERSION_1);
    assert_int_equal(request(IN, 0, 512), 0);
    end();
}

/* Much work is done in parts, between which the clock goes on. */
static void test_much_work(void **state)
{
    start(0);
    for (unsigned i = 0; i < 6; i++) {
        lay(IN, 0, 0);
        desc(1, 0, 0, 0, 0);
    }
    put_le32(ram + HEADER, 77); /* not known: its length counts all the same */
    desc(0, HEADER, 1u << 20, 1, 2);
    wr(0x3000, 2, 0);
    assert_int_equal(get_le16(ram + USED + 2), 1);
    dev_pass(&timebase, 1000);
    assert_int_equal(get_le16(ram + USED + 2), 2);
    virtio_pci_restore(&blk.virtio);
    dev_pass(&timebase, 100000);
    assert_int_equal(get_le16(ram + USED + 2), 6);
    end();
}

/* --- interrupts --- */

static void test_intx(void **state)
{
    start(0);
    request(IN, 0, 512);
    assert_true(*level);
    assert_int_equal(rd(0x1000, 1), 1);
    assert_false(*level);
    assert_int_equal(rd(0x1000, 1), 0);
    request(IN, 0, 512);
    assert_true(*level);
    wr(0x14, 1, 0);
    assert_false(*level);
    end();
}

static unsigned msix_cap(void)
{
    unsigned at = cfg(PCI_CAP_POINTER, 1);
    while (cfg(at, 1) != 0x11)
        at = cfg(at + 1, 1);
    return at;
}

static void test_msix(void **state)
{
    start(0);
    unsigned cap = msix_cap();
    assert_int_equal(cfg(cap + 2, 2), 1); /* two vectors */
    assert_int_equal(bus_read(&bus, MSIX + 16 + 12, 4), 1);
    bus_write(&bus, MSIX + 16, 8, 0x1fee01003ull);
    bus_write(&bus, MSIX + 24, 4, 0x4142);
    set_cfg(cap + 2, 2, 0x8000);
    wr(0x1a, 2, 9);
    assert_int_equal(rd(0x1a, 2), 0xffff);
    request(IN, 0, 512);
    assert_int_equal(messages, 0);
    wr(0x1a, 2, 1);
    assert_int_equal(rd(0x1a, 2), 1);
    request(IN, 0, 512);
    assert_int_equal(messages, 0);
    assert_int_equal(bus_read(&bus, MSIX + MSIX_PBA, 4), 2);
    bus_write(&bus, MSIX + 28, 4, 0);
    assert_int_equal(messages, 1);
    assert_int_equal(message_addr, 0x1fee01000ull);
    assert_int_equal(message_data, 0x4142);
    assert_int_equal(bus_read(&bus, MSIX + MSIX_PBA, 4), 0);
    assert_false(*level);
    set_cfg(cap + 2, 2, 0xc000); /* all masked */
    request(IN, 0, 512);
    request(IN, 0, 512);
    assert_int_equal(messages, 1);
    set_cfg(cap + 2, 2, 0x8000);
    assert_int_equal(messages, 2);
    set_cfg(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    request(IN, 0, 512);
    assert_int_equal(messages, 2);
    set_cfg(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(messages, 3);
    end();
}

/* The wire is silent while MSI-X is on, and says what it said when that is turned off. */
static void test_msix_takes_the_wire_down(void **state)
{
    start(0);
    request(IN, 0, 512);
    assert_true(*level);
    set_cfg(msix_cap() + 2, 2, 0x8000);
    assert_false(*level);
    set_cfg(msix_cap() + 2, 2, 0);
    assert_true(*level);
    end();
}

/* --- states --- */

static void test_a_state_goes_elsewhere(void **state)
{
    start(F_FLUSH);
    request(IN, 0, 512);
    struct virtio_state s = blk.virtio.s;
    struct msix_state m = blk.virtio.msix.s;
    struct pci_func_state f = blk.virtio.pci.s;
    pci_reset(&pci);
    virtio_pci_reset(&blk.virtio);
    assert_false(*level);
    assert_int_equal(request(IN, 0, 512), NO_ANSWER);
    put_le16(ram + AVAIL + 2, 1);
    blk.virtio.s = s;
    blk.virtio.msix.s = m;
    blk.virtio.pci.s = f;
    pci_restore(&pci);
    virtio_pci_restore(&blk.virtio);
    assert_true(*level);
    assert_int_equal(request(IN, 1, 512), 0);
    assert_memory_equal(ram + DATA, disk + 512, 512);
    end();
}

static void test_a_broken_state_is_mended(void **state)
{
    start(0);
    memset(&blk.virtio.s, 0xff, sizeof blk.virtio.s);
    memset(&blk.virtio.msix.s, 0xff, sizeof blk.virtio.msix.s);
    state_clean(&virtio_table, &blk.virtio.s);
    state_clean(&msix_table, &blk.virtio.msix.s);
    virtio_pci_restore(&blk.virtio);
    assert_int_equal(request(IN, 0, 512), NO_ANSWER);
    wr(0x14, 1, 0);
    drive(VIRTIO_VERSION_1);
    assert_int_equal(request(IN, 0, 512), 0);
    end();
}

static void test_each_byte_of_the_state_is_named(void **state)
{
    assert_table_ok(virtio_table);
    assert_table_ok(msix_table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_is),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_a_queue_that_can_not_be),
        cmocka_unit_test(test_an_enabled_queue_stays_where_it_is),
        cmocka_unit_test(test_the_window_in_configuration_space),
        cmocka_unit_test(test_reads_and_writes),
        cmocka_unit_test(test_without_flush_writes_go_through),
        cmocka_unit_test(test_the_last_broken_sector),
        cmocka_unit_test(test_what_can_not_be_done),
        cmocka_unit_test(test_zeroes),
        cmocka_unit_test(test_the_name),
        cmocka_unit_test(test_what_is_no_request),
        cmocka_unit_test(test_much_work),
        cmocka_unit_test(test_intx),
        cmocka_unit_test(test_msix),
        cmocka_unit_test(test_msix_takes_the_wire_down),
        cmocka_unit_test(test_a_state_goes_elsewhere),
        cmocka_unit_test(test_a_broken_state_is_mended),
        cmocka_unit_test(test_each_byte_of_the_state_is_named),
    };
    return RUN(tests);
}
