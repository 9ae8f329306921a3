/* IDE: disks by PIO and DMA, CD-ROM packets, as a driver would see them. */
#include "../unit/unit.h"
#include "dev/ide.h"

#include <stdlib.h>

#define RAM_SIZE   0x200000
#define DISK_BYTES (400 * IDE_SECTOR + 100) /* the last sector is broken */
#define CD_BYTES   (40 * CD_SECTOR)

static uint8_t ram[RAM_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint8_t disk[DISK_BYTES], cd[CD_BYTES];
static uint64_t now;
static bool host_fails;
static unsigned flushes, edges[2];
static bool level[2];

static struct bus bus;
static struct pci_bus pci;
static struct clock timebase;
static struct ide ide;

static uint64_t get_now(void *opaque)
{
    return now;
}

static bool mem_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    if (host_fails)
        return err_set(e, ERR_IO, "broken");
    memcpy(buf, (uint8_t *)opaque + offset, len);
    return true;
}

static bool mem_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    if (host_fails)
        return err_set(e, ERR_NO_SPACE, "full");
    memcpy((uint8_t *)opaque + offset, buf, len);
    return true;
}

static bool mem_flush(void *opaque, struct err *e)
{
    flushes++;
    return true;
}

static const struct blockdev_ops mem_ops = {mem_read, mem_write, mem_flush, NULL};
static struct blockdev disk_dev = {&mem_ops, disk, sizeof disk, false, "disk"};
static struct blockdev cd_dev = {&mem_ops, cd, sizeof cd, true, "cd"};

static void on_irq(void *opaque, unsigned n, bool l)
{
    edges[n] += l && !level[n];
    level[n] = l;
}

static char said[512];
static unsigned said_count;

static void on_log(void *opaque, const char *line)
{
    strncpy(said, line, sizeof said - 1);
    said_count++;
}

static const struct log log_host = {1u << LOG_HOST, on_log, NULL};

static void start(void)
{
    said_count = 0;
    struct irq irq[2] = {{on_irq, NULL, 0}, {on_irq, NULL, 1}};
    now = 1000;
    host_fails = false;
    flushes = edges[0] = edges[1] = 0;
    level[0] = level[1] = false;
    disk_dev.readonly = false;
    for (unsigned i = 0; i < sizeof disk; i++)
        disk[i] = (uint8_t)(i / 512 + i);
    for (unsigned i = 0; i < sizeof cd; i++)
        cd[i] = (uint8_t)(i / 2048 * 3 + i);
    memset(ram, 0, sizeof ram);
    bus_init(&bus, ram, sizeof ram, NULL);
    clock_init(&timebase, get_now, NULL);
    pci_init(&pci, &bus, NULL);
    ide_init(&ide, &pci, &timebase, irq, &log_host);
    ide_attach(&ide, 0, 0, IDE_DISK, &disk_dev);
    ide_attach(&ide, 1, 0, IDE_CDROM, &cd_dev);
    assert_true(bus_add(&bus, BUS_PORT, 0x1f0, &ide.ch[0].command, NULL));
    assert_true(bus_add(&bus, BUS_PORT, 0x3f6, &ide.ch[0].control, NULL));
    assert_true(bus_add(&bus, BUS_PORT, 0x170, &ide.ch[1].command, NULL));
    assert_true(bus_add(&bus, BUS_PORT, 0x376, &ide.ch[1].control, NULL));
    pci_config_write(&pci, PCI_DEVFN(1, 1), 0x20, 4, 0xc000);
    pci_config_write(&pci, PCI_DEVFN(1, 1), 4, 2, 5);
}

static uint8_t in(unsigned port)
{
    return (uint8_t)bus_in(&bus, (uint16_t)port, 1);
}

static void out(unsigned port, unsigned v)
{
    bus_out(&bus, (uint16_t)port, 1, v);
}

/* As REP INSW: in bulk, and by single reads what is left. */
static void read_many(unsigned port, void *to, unsigned n)
{
    uint8_t *p = to;
    for (unsigned i = 0, done; i < n; i++) {
        done = bus_in_many(&bus, (uint16_t)port, 2, p + 2 * i, n - i);
        assert_true(done < n - i || n < 256); /* the last word of a sector is an event */
        i += done;
        if (i < n)
            put_le16(p + 2 * i, (uint16_t)bus_in(&bus, (uint16_t)port, 2));
    }
}

/* Time passes until the channel's next interrupt, at most a millisecond. */
static void wait_irq(unsigned ch)
{
    for (unsigned i = 0; i < 1000 && !level[ch]; i++) {
        now += 1000;
        clock_run(&timebase);
    }
    assert_true(level[ch]);
}

static void wait_long(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        now += 1000;
        clock_run(&timebase);
    }
}

static void read_words(unsigned port, void *to, unsigned n)
{
    uint8_t *p = to;
    for (unsigned i = 0; i < n; i++)
        put_le16(p + 2 * i, (uint16_t)bus_in(&bus, (uint16_t)port, 2));
}

static void lba28(unsigned base, unsigned lba, unsigned count, unsigned command)
{
    out(base + 6, 0xe0 | lba >> 24);
    out(base + 2, count);
    out(base + 3, lba);
    out(base + 4, lba >> 8);
    out(base + 5, lba >> 16);
    out(base + 7, command);
}

static void test_identify(void **state)
{
    uint8_t id[512];
    start();
    assert_int_equal(in(0x1f7), 0x50);
    out(0x1f6, 0xa0);
    out(0x1f7, 0xec);
    assert_int_equal(in(0x3f6) & 0x88, 0x80);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x58);
    assert_false(level[0]);
    read_words(0x1f0, id, 256);
    assert_int_equal(in(0x1f7), 0x50);
    assert_int_equal(get_le32(id + 120), 401);
    assert_int_equal(get_le64(id + 200), 401);
    assert_memory_equal(id + 54, "siihd si", 8);
    assert_int_equal(get_le16(id + 6), 16);
    /* the drive that isn't there */
    out(0x1f6, 0xb0);
    assert_int_equal(in(0x1f7), 0);
    out(0x1f7, 0xec);
    assert_int_equal(in(0x1f7), 0);
    bus_free(&bus);
}

static void test_pio_read_goes_sector_by_sector(void **state)
{
    uint8_t buf[1024];
    start();
    lba28(0x1f0, 7, 2, 0x20);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x58);
    for (unsigned i = 0; i < 128; i++)
        put_le32(buf + 4 * i, bus_in(&bus, 0x1f0, 4));
    assert_int_equal(in(0x1f7) & 0x88, 0x80);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x58);
    read_words(0x1f0, buf + 512, 256);
    assert_int_equal(in(0x1f7), 0x50);
    assert_int_equal(edges[0], 2);
    assert_memory_equal(buf, disk + 7 * 512, 1024);
    /* the broken last sector is filled with zeros */
    lba28(0x1f0, 400, 1, 0x20);
    wait_irq(0);
    read_words(0x1f0, buf, 256);
    assert_memory_equal(buf, disk + 400 * 512, 100);
    assert_int_equal(buf[100], 0);
    assert_int_equal(buf[511], 0);
    bus_free(&bus);
}

static void test_pio_in_bulk(void **state)
{
    uint8_t buf[1024], was[512];
    start();
    assert_int_equal(bus_in_many(&bus, 0x1f0, 2, buf, 4), 0); /* no data is wanted */
    assert_int_equal(bus_out_many(&bus, 0x1f0, 2, buf, 4), 0);
    lba28(0x1f0, 7, 2, 0x20);
    wait_irq(0);
    assert_int_equal(bus_in_many(&bus, 0x1f7, 1, buf, 4), 0); /* other registers */
    assert_int_equal(in(0x1f7), 0x58);
    assert_int_equal(bus_out_many(&bus, 0x1f0, 2, buf, 4), 0); /* the wrong way */
    read_many(0x1f0, buf, 100);
    read_many(0x1f0, buf + 200, 156);
    assert_int_equal(in(0x1f7) & 0x88, 0x80);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x58);
    read_many(0x1f0, buf + 512, 256);
    assert_int_equal(in(0x1f7), 0x50);
    assert_memory_equal(buf, disk + 7 * 512, 1024);
    memcpy(was, disk + 9 * 512, 512);
    lba28(0x1f0, 9, 1, 0x30);
    assert_int_equal(bus_in_many(&bus, 0x1f0, 2, buf, 4), 0);
    assert_int_equal(bus_out_many(&bus, 0x1f0, 4, buf, 128), 127);
    assert_int_equal(in(0x1f7), 0x58);
    bus_out(&bus, 0x1f0, 4, get_le32(buf + 508));
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x50);
    assert_memory_equal(disk + 9 * 512, buf, 512);
    memcpy(disk + 9 * 512, was, 512);
    bus_free(&bus);
}

static void test_multiple_lba48_and_chs(void **state)
{
    uint8_t buf[8192];
    start();
    out(0x1f6, 0xe0);
    out(0x1f7, 0xc4); /* without SET MULTIPLE */
    assert_int_equal(in(0x1f7), 0x51);
    assert_int_equal(in(0x1f1), 4);
    out(0x1f2, 16);
    out(0x1f7, 0xc6);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x50);
    for (unsigned i = 0; i < 2; i++) { /* 20 sectors from 9, 48-bit: blocks of 16 and 4 */
        out(0x1f2, i ? 20 : 0);
        out(0x1f3, i ? 9 : 0);
        out(0x1f4, 0);
        out(0x1f5, 0);
    }
    out(0x1f6, 0x40);
    out(0x1f7, 0x29);
    wait_irq(0);
    in(0x1f7);
    read_words(0x1f0, buf, 16 * 256);
    assert_memory_equal(buf, disk + 9 * 512, 8192);
    wait_irq(0);
    in(0x1f7);
    read_words(0x1f0, buf, 4 * 256);
    assert_memory_equal(buf, disk + 25 * 512, 2048);
    assert_int_equal(in(0x1f7), 0x50);
    /* cylinder 0, head 2, sector 5 at 63 a track */
    out(0x1f6, 0xa2);
    out(0x1f2, 1);
    out(0x1f3, 5);
    out(0x1f4, 0);
    out(0x1f5, 0);
    out(0x1f7, 0x20);
    wait_irq(0);
    in(0x1f7);
    read_words(0x1f0, buf, 256);
    assert_memory_equal(buf, disk + (2 * 63 + 4) * 512, 512);
    out(0x1f3, 0); /* no such sector */
    out(0x1f7, 0x20);
    assert_int_equal(in(0x1f7), 0x51);
    assert_int_equal(in(0x1f1), 0x10);
    bus_free(&bus);
}

/* Data follows the command at once, without a look at the status: some teaching systems do so. */
static void test_pio_write_takes_data_at_once(void **state)
{
    start();
    lba28(0x1f0, 3, 1, 0x30);
    for (unsigned i = 0; i < 128; i++)
        bus_out(&bus, 0x1f0, 4, 0xa0000000 + i);
    assert_int_equal(in(0x3f6) & 0x88, 0x80);
    assert_int_equal(edges[0], 0);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x50);
    assert_int_equal(get_le32(disk + 3 * 512 + 4 * 127), 0xa000007f);
    out(0x1f7, 0xe7);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x50);
    assert_int_equal(flushes, 1);
    bus_free(&bus);
}

static void test_errors_are_reported(void **state)
{
    start();
    lba28(0x1f0, 400, 2, 0x20);
    assert_int_equal(in(0x1f7), 0x51);
    assert_int_equal(in(0x1f1), 0x10);
    host_fails = true;
    lba28(0x1f0, 0x11, 1, 0x20);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x51);
    assert_int_equal(in(0x1f1), 0x40);
    assert_int_equal(in(0x1f3), 0x11);
    lba28(0x1f0, 5, 1, 0x30);
    for (unsigned i = 0; i < 128; i++)
        bus_out(&bus, 0x1f0, 4, i);
    wait_irq(0);
    assert_int_equal(in(0x1f7), 0x51);
    assert_int_equal(in(0x1f1), 4);
    assert_int_equal(said_count, 1); /* the user hears of it once */
    assert_string_equal(said, "host: broken: the guest sees an error");
    host_fails = false;
    disk_dev.readonly = true;
    lba28(0x1f0, 5, 1, 0xca);
    assert_int_equal(in(0x1f7), 0x51);
    out(0x1f7, 0xb0); /* SMART */
    assert_int_equal(in(0x1f7), 0x51);
    out(0x1f7, 0x00); /* NOP */
    assert_int_equal(in(0x1f7), 0x51);
    bus_free(&bus);
}

static void prd(unsigned at, unsigned n, uint32_t addr, uint32_t len, bool last)
{
    put_le32(ram + at + 8 * n, addr);
    put_le32(ram + at + 8 * n + 4, (len & 0xffff) | (last ? 0x80000000u : 0));
}

static void test_dma_reads_and_writes(void **state)
{
    start();
    prd(0x1000, 0, 0x10000, 700, false);
    prd(0x1000, 1, 0x20002, 1024 - 700, true);
    bus_out(&bus, 0xc004, 4, 0x1000);
    assert_int_equal(bus_in(&bus, 0xc004, 4), 0x1000);
    assert_int_equal(in(0xc002) & 0x60, 0x60);
    lba28(0x1f0, 20, 2, 0xc8);
    wait_long();
    assert_false(level[0]); /* waits for the bus master */
    out(0xc000, 9);
    assert_int_equal(in(0xc002) & 5, 1);
    wait_irq(0);
    assert_int_equal(in(0xc002) & 7, 4);
    assert_int_equal(in(0x1f7), 0x50);
    out(0xc002, 4);
    assert_int_equal(in(0xc002) & 7, 0);
    out(0xc000, 0);
    assert_memory_equal(ram + 0x10000, disk + 20 * 512, 700);
    assert_memory_equal(ram + 0x20002, disk + 20 * 512 + 700, 324);
    assert_int_equal(ram[0x20002 + 324], 0);

    prd(0x1000, 0, 0x10000, 0, true); /* 64 KiB: more than the command moves */
    out(0xc000, 1);
    lba28(0x1f0, 40, 2, 0xca);
    wait_irq(0);
    assert_int_equal(in(0xc002) & 7, 5);
    assert_int_equal(in(0x1f7), 0x50);
    out(0xc000, 0);
    assert_int_equal(in(0xc002) & 1, 0);
    assert_memory_equal(disk + 40 * 512, disk + 20 * 512, 700);
    bus_free(&bus);
}

static void test_bad_dma_tables_do_no_harm(void **state)
{
    start();
    prd(0x1000, 0, 0x10000, 512, true); /* too short */
    bus_out(&bus, 0xc004, 4, 0x1000);
    lba28(0x1f0, 0, 4, 0xc8);
    out(0xc000, 9);
    wait_long();
    assert_false(level[0]);
    assert_int_equal(in(0xc002) & 7, 0);
    out(0xc000, 0);
    prd(0x1000, 0, 0xfffffff0, 512, true); /* where no memory is */
    lba28(0x1f0, 0, 1, 0xc8);
    out(0xc000, 9);
    wait_irq(0);
    assert_int_equal(in(0xc002) & 2, 2);
    out(0xc000, 0);
    bus_out(&bus, 0xc004, 4, 0xfffffff0); /* a table where no memory is */
    lba28(0x1f0, 0, 1, 0xc8);
    out(0xc000, 9);
    wait_long();
    out(0x3f6, 4);
    out(0x3f6, 0);
    assert_int_equal(in(0x1f7), 0x50);
    bus_free(&bus);
}

static void test_reset_signatures_and_nien(void **state)
{
    start();
    out(0x176, 0xa0);
    out(0x376, 4);
    assert_int_equal(in(0x177), 0x80);
    out(0x376, 0);
    assert_int_equal(in(0x177), 0);
    assert_int_equal(in(0x174), 0x14);
    assert_int_equal(in(0x175), 0xeb);
    out(0x1f7, 0x90);
    assert_int_equal(in(0x1f1), 1);
    assert_int_equal(in(0x1f4), 0);
    assert_true(level[0]);
    in(0x1f7);
    out(0x177, 0xec); /* IDENTIFY DEVICE: aborted, with the signature */
    assert_int_equal(in(0x177), 0x51);
    assert_int_equal(in(0x174), 0x14);
    out(0x3f6, 2);
    edges[0] = 0;
    out(0x1f7, 0xe5);
    wait_long();
    assert_int_equal(edges[0], 0);
    assert_int_equal(in(0x3f6), 0x50);
    assert_int_equal(in(0x1f2), 0xff);
    out(0x3f6, 0); /* still pending: the line rises now */
    assert_int_equal(edges[0], 1);
    bus_free(&bus);
}

/* --- CD-ROM on the second channel --- */

static void packet(const uint8_t p[12], unsigned feature, unsigned limit)
{
    out(0x176, 0xa0);
    out(0x171, feature);
    out(0x174, limit);
    out(0x175, limit >> 8);
    out(0x177, 0xa0);
    assert_int_equal(in(0x377), 0xff); /* nothing there */
    assert_int_equal(in(0x376), 0x58);
    assert_int_equal(in(0x172) & 3, 1);
    for (unsigned i = 0; i < 6; i++)
        bus_out(&bus, 0x170, 2, get_le16(p + 2 * i));
}

/* Runs a packet whose data comes by PIO; returns how many bytes came. */
static unsigned packet_in(const uint8_t p[12], uint8_t *buf, unsigned limit)
{
    unsigned n = 0;
    packet(p, 0, limit);
    for (;;) {
        wait_irq(1);
        uint8_t status = in(0x177);
        if (!(status & 8)) {
            assert_int_equal(in(0x172) & 3, 3);
            return n;
        }
        assert_int_equal(in(0x172) & 3, 2);
        unsigned bytes = in(0x174) | in(0x175) << 8;
        assert_true(bytes && bytes <= limit);
        read_words(0x170, buf + n, (bytes + 1) / 2);
        n += bytes;
    }
}

static void test_cd_inquiry_and_sense(void **state)
{
    uint8_t buf[256];
    start();
    assert_int_equal(packet_in((uint8_t[12]){0x12, 0, 0, 0, 36}, buf, 0xfffe), 36);
    assert_int_equal(buf[0], 5);
    assert_memory_equal(buf + 8, "ishi    CD-ROM", 14);
    assert_int_equal(packet_in((uint8_t[12]){0x12, 0, 0, 0, 5}, buf, 0xfffe), 5);
    assert_int_equal(packet_in((uint8_t[12]){0xff}, buf, 0xfffe), 0);
    assert_int_equal(in(0x376), 0x51);
    assert_int_equal(in(0x171), 0x54);
    assert_int_equal(packet_in((uint8_t[12]){0x03, 0, 0, 0, 18}, buf, 0xfffe), 18);
    assert_int_equal(buf[2], 5);
    assert_int_equal(buf[12], 0x20);
    packet_in((uint8_t[12]){0x03, 0, 0, 0, 18}, buf, 0xfffe);
    assert_int_equal(buf[2], 0);
    assert_int_equal(packet_in((uint8_t[12]){0x25}, buf, 8), 8);
    assert_memory_equal(buf, ((uint8_t[8]){0, 0, 0, 39, 0, 0, 8, 0}), 8);
    bus_free(&bus);
}

static void test_cd_reads(void **state)
{
    static uint8_t buf[40 * CD_RAW_SECTOR];
    start();
    /* 20 sectors: more than the buffer, in blocks of an odd limit */
    uint8_t read10[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 20};
    assert_int_equal(packet_in(read10, buf, 2049), 20 * 2048);
    assert_memory_equal(buf, cd + 3 * 2048, 20 * 2048);
    uint8_t read12[12] = {0xa8, 0, 0, 0, 0, 39, 0, 0, 0, 1};
    assert_int_equal(packet_in(read12, buf, 0x8000), 2048);
    assert_memory_equal(buf, cd + 39 * 2048, 2048);
    uint8_t raw[12] = {0xbe, 0, 0, 0, 0, 1, 0, 0, 8, 0xf8};
    assert_int_equal(packet_in(raw, buf, 0xfffe), 8 * 2352);
    assert_memory_equal(buf + 2352 + 12, ((uint8_t[4]){0, 2, 2, 1}), 4);
    assert_memory_equal(buf + 2352 + 16, cd + 2 * 2048, 2048);
    read10[5] = 39;
    assert_int_equal(packet_in(read10, buf, 0x8000), 0);
    assert_int_equal(in(0x171), 0x54);
    host_fails = true;
    read10[5] = 1;
    assert_int_equal(packet_in(read10, buf, 0x8000), 0);
    assert_int_equal(in(0x171), 0x34);
    host_fails = false;
    /* by DMA */
    prd(0x1000, 0, 0x10000, 20 * 2048, true);
    bus_out(&bus, 0xc00c, 4, 0x1000);
    read10[5] = 3;
    packet(read10, 1, 0);
    out(0xc008, 9);
    wait_irq(1);
    assert_int_equal(in(0xc00a) & 7, 4);
    assert_int_equal(in(0x177), 0x50);
    assert_memory_equal(ram + 0x10000, cd + 3 * 2048, 20 * 2048);
    bus_free(&bus);
}

static void test_cd_toc_modes_and_tray(void **state)
{
    uint8_t buf[512];
    start();
    assert_int_equal(packet_in((uint8_t[12]){0x43, 0, 0, 0, 0, 0, 0, 2}, buf, 512), 20);
    assert_memory_equal(
        buf, ((uint8_t[20]){0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, 40}),
        20);
    assert_int_equal(packet_in((uint8_t[12]){0x43, 2, 0, 0, 0, 0, 0xaa, 2}, buf, 512), 12);
    assert_memory_equal(buf + 8, ((uint8_t[4]){0, 0, 2, 40}), 4);
    assert_int_equal(packet_in((uint8_t[12]){0x43, 0, 1, 0, 0, 0, 0, 2}, buf, 512), 12);
    assert_int_equal(packet_in((uint8_t[12]){0x43, 0, 2, 0, 0, 0, 0, 2}, buf, 512), 48);
    assert_int_equal(packet_in((uint8_t[12]){0x5a, 0, 0x2a, 0, 0, 0, 0, 2}, buf, 512), 28);
    assert_int_equal(buf[8], 0x2a);
    assert_int_equal(packet_in((uint8_t[12]){0x1a, 0, 0x3f, 0, 255}, buf, 512), 48);
    assert_int_equal(packet_in((uint8_t[12]){0x46, 0, 0, 0, 0, 0, 0, 2}, buf, 512), 40);
    assert_int_equal(buf[7], 8);
    assert_int_equal(packet_in((uint8_t[12]){0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8}, buf, 512), 8);
    assert_int_equal(packet_in((uint8_t[12]){0x51, 0, 0, 0, 0, 0, 0, 0, 34}, buf, 512), 34);
    /* locked, then open, then another disc */
    packet_in((uint8_t[12]){0x1e, 0, 0, 0, 1}, buf, 512);
    packet_in((uint8_t[12]){0x1b, 0, 0, 0, 2}, buf, 512);
    assert_int_equal(in(0x171), 0x54);
    packet_in((uint8_t[12]){0x1e}, buf, 512);
    packet_in((uint8_t[12]){0x1b, 0, 0, 0, 2}, buf, 512);
    assert_int_equal(in(0x376), 0x50);
    packet_in((uint8_t[12]){0x00}, buf, 512);
    assert_int_equal(in(0x171), 0x24);
    ide_change_medium(&ide, 1, 0, &cd_dev);
    packet_in((uint8_t[12]){0x00}, buf, 512);
    assert_int_equal(in(0x171), 0x64);
    packet_in((uint8_t[12]){0x00}, buf, 512);
    assert_int_equal(in(0x376), 0x50);
    assert_int_equal(packet_in((uint8_t[12]){0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}, buf, 512), 8);
    assert_memory_equal(buf, ((uint8_t[8]){0, 6, 4, 0x10, 2, 2, 0, 0}), 8);
    bus_free(&bus);
}

/* Half-way through a command: a copy of the state, put into another machine, goes on the same. */
static void test_state_can_be_copied_midway(void **state)
{
    uint8_t buf[512];
    assert_true(state_check(&ide_table, NULL));
    start();
    lba28(0x1f0, 7, 2, 0x20);
    wait_irq(0);
    in(0x1f7);
    read_words(0x1f0, buf, 200);
    struct ide_state *copy = xcalloc(1, sizeof *copy);
    struct pci_func_state config = ide.pci.s;
    *copy = ide.s;
    bus_free(&bus);
    start();
    ide.s = *copy;
    ide.pci.s = config;
    pci_restore(&pci);
    ide_restore(&ide);
    assert_int_equal(state_hash(1, &ide_table, &ide.s), state_hash(1, &ide_table, copy));
    read_words(0x1f0, buf + 400, 56);
    assert_memory_equal(buf, disk + 7 * 512, 512);
    wait_irq(0);
    in(0x1f7);
    read_words(0x1f0, buf, 256);
    assert_memory_equal(buf, disk + 8 * 512, 512);
    free(copy);
    bus_free(&bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identify),
        cmocka_unit_test(test_pio_read_goes_sector_by_sector),
        cmocka_unit_test(test_pio_in_bulk),
        cmocka_unit_test(test_multiple_lba48_and_chs),
        cmocka_unit_test(test_pio_write_takes_data_at_once),
        cmocka_unit_test(test_errors_are_reported),
        cmocka_unit_test(test_dma_reads_and_writes),
        cmocka_unit_test(test_bad_dma_tables_do_no_harm),
        cmocka_unit_test(test_reset_signatures_and_nien),
        cmocka_unit_test(test_cd_inquiry_and_sense),
        cmocka_unit_test(test_cd_reads),
        cmocka_unit_test(test_cd_toc_modes_and_tray),
        cmocka_unit_test(test_state_can_be_copied_midway),
    };
    return RUN(tests);
}
