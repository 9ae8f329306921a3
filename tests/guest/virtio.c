/* Drives a virtio disk by PCI as its specification says (virtio 1.2: 2.7, 4.1, 5.2): capabilities,
 * features, a ring, chains cut in odd pieces, indirect ones, events, MSI-X and INTx, and a driver
 * that breaks the rules. With "go" on the command line it then writes and reads until COM1 receives
 * a character: what a change of engines under it must not disturb.
 *
 * kind: multiboot
 * args: --mem 64M --disk build/guest/disk.img,snapshot
 * qemu: -m 64M -drive file=build/guest/disk.img,format=raw,if=none,id=d,snapshot=on
 * qemu: -device virtio-blk-pci,drive=d,disable-legacy=on
 * expect: end 38 checks 0 failed
 * status: 11
 */
#include "lib/guest.h"

#define RING 16
/* So many different messages; more than an engine remembers. */
#define VECTORS 40

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 };
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, WRITE_ZEROES = 13 };
enum { ACK = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 0x40 };
#define F_FLUSH        (1ull << 9)
#define F_WRITE_ZEROES (1ull << 14)
#define F_INDIRECT     (1ull << 28)
#define F_EVENTS       (1ull << 29)
#define F_VERSION_1    (1ull << 32)

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct header {
    uint32_t type, reserved;
    uint64_t sector;
};

static struct desc table[RING] __attribute__((aligned(4096)));
static struct {
    volatile uint16_t flags, idx, ring[RING], used_event;
} avail __attribute__((aligned(2)));
static struct {
    volatile uint16_t flags, idx;
    struct {
        uint32_t id, len;
    } ring[RING];
    volatile uint16_t avail_event;
} used __attribute__((aligned(4)));
static struct desc indirect[RING] __attribute__((aligned(16)));
static struct header header;
static volatile uint8_t status;
static uint8_t data[8192] __attribute__((aligned(4096))), other[8192];

static uint32_t devfn, pci_msix;
static volatile uint8_t *common, *notify, *isr, *config, *msix;
static volatile uint32_t msi_count, intx_count;
static unsigned count, failed;
static uint64_t idt[256];

/* --- the processor and the interrupt controllers --- */

static inline void fence(void)
{
    __asm__ volatile("lock; addl $0, (%%esp)" : : : "memory");
}

__asm__(".globl msi_entry, intx_entry, other_entry\n"
        "msi_entry: incl msi_count; movl $0, 0xfee000b0; iret\n"
        "intx_entry: pusha; call on_intx; popa; iret\n"
        "other_entry: iret\n");
extern char msi_entry[], intx_entry[], other_entry[];

/* Reading the ISR takes the line down. */
void on_intx(void);
void on_intx(void)
{
    if (isr && *isr & 1)
        intx_count++;
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static void set_up(void)
{
    start_idt(idt, other_entry);
    for (unsigned i = 0; i < VECTORS; i++)
        idt[0x41 + i] = gate(msi_entry);
    for (unsigned i = 0x28; i < 0x30; i++)
        idt[i] = gate(intx_entry);
    start_8259(0xfb, 0xff); /* the cascade */
}

/* --- what came of it --- */

static void print_dec(unsigned v)
{
    char text[11], *p = text + 10;
    *p = 0;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    print(p);
}

/* `qemu`: by what section QEMU does otherwise, or NULL. */
static void same_but(const char *name, uint64_t is, uint64_t want, const char *qemu)
{
    print(is == want ? "ok " : "FAIL ");
    print_dec(++count);
    print(" ");
    print(name);
    failed += is != want;
    if (is != want) {
        print(": got ");
        print_dec((unsigned)is);
        print(" want ");
        print_dec((unsigned)want);
    }
    if (qemu) {
        print(" [qemu: ");
        print(qemu);
        print("]");
    }
    print("\r\n");
}

static void same(const char *name, uint64_t is, uint64_t want)
{
    same_but(name, is, want, 0);
}

/* --- PCI --- */

static uint32_t pci_read(uint32_t reg)
{
    outl(0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc));
    return inl(0xcfc) >> 8 * (reg & 3);
}

static void pci_write(uint32_t reg, uint32_t v)
{
    outl(0xcf8, 0x80000000 | devfn << 8 | reg);
    outl(0xcfc, v);
}

static volatile uint8_t *bar(unsigned n)
{
    return (volatile uint8_t *)(pci_read(0x10 + 4 * n) & ~15u);
}

static uint32_t cap_window, notify_size;

static void find_cap(uint32_t at)
{
    volatile uint8_t *where = bar(pci_read(at + 4) & 7) + pci_read(at + 8);
    switch (pci_read(at + 3) & 0xff) {
    case 1: common = where; break;
    case 2:
        notify = where;
        notify_size = pci_read(at + 16);
        break;
    case 3: isr = where; break;
    case 4: config = where; break;
    case 5: cap_window = at; break;
    default: break;
    }
}

static int find(void)
{
    for (devfn = 0; devfn < 256; devfn++)
        if (pci_read(0) == 0x10421af4)
            break;
    if (devfn == 256)
        return 0;
    pci_write(4, 0x406); /* memory, bus master, no INTx yet */
    for (uint32_t at = pci_read(0x34) & 0xfc; at; at = pci_read(at + 1) & 0xfc) {
        if ((pci_read(at) & 0xff) == 0x09)
            find_cap(at);
        else if ((pci_read(at) & 0xff) == 0x11)
            pci_msix = at;
    }
    if (pci_msix)
        msix = bar(pci_read(pci_msix + 4) & 7) + (pci_read(pci_msix + 4) & ~7u);
    return 1;
}

/* --- the device --- */

static uint16_t c16(unsigned at)
{
    return *(volatile uint16_t *)(common + at);
}

static uint32_t c32(unsigned at)
{
    return *(volatile uint32_t *)(common + at);
}

static void w16(unsigned at, uint16_t v)
{
    *(volatile uint16_t *)(common + at) = v;
}

static void w32(unsigned at, uint32_t v)
{
    *(volatile uint32_t *)(common + at) = v;
}

static void w64(unsigned at, const volatile void *p)
{
    w32(at, (uint32_t)p);
    w32(at + 4, 0);
}

static uint64_t offered(void)
{
    uint64_t low;
    w32(0, 0);
    low = c32(4);
    w32(0, 1);
    return low | (uint64_t)c32(4) << 32;
}

static void reset(void)
{
    common[20] = 0;
    while (common[20])
        ;
}

static int agree(uint64_t features)
{
    reset();
    common[20] = ACK;
    common[20] = ACK | DRIVER;
    w32(8, 0);
    w32(12, (uint32_t)features);
    w32(8, 1);
    w32(12, (uint32_t)(features >> 32));
    common[20] = ACK | DRIVER | FEATURES_OK;
    return common[20] & FEATURES_OK;
}

static uint16_t last_used;
static unsigned interrupts_by_msix;

static void start(uint64_t features, int by_msix)
{
    agree(features & offered());
    for (unsigned i = 0; i < sizeof avail; i++)
        ((volatile uint8_t *)&avail)[i] = 0;
    for (unsigned i = 0; i < sizeof used; i++)
        ((volatile uint8_t *)&used)[i] = 0;
    last_used = 0;
    interrupts_by_msix = by_msix;
    pci_write(pci_msix, by_msix ? 0x80000000 : 0);
    w16(22, 0);
    w16(24, RING);
    if (by_msix) {
        volatile uint32_t *entry = (volatile uint32_t *)(msix + 16);
        entry[0] = 0xfee00000;
        entry[1] = 0;
        entry[2] = 0x41;
        entry[3] = 0;
        w16(26, 1);
    }
    w64(32, table);
    w64(40, &avail);
    w64(48, &used);
    w16(28, 1);
    common[20] = ACK | DRIVER | FEATURES_OK | DRIVER_OK;
}

static void put(struct desc *d, const volatile void *addr, uint32_t len, uint16_t flags,
                uint16_t next)
{
    *d = (struct desc){(uint32_t)addr, len, flags, next};
}

static void ring_bell(void)
{
    *(volatile uint16_t *)(notify + notify_size * c16(30)) = 0;
}

static void offer(uint16_t head)
{
    status = 0xee;
    avail.ring[avail.idx % RING] = head;
    fence();
    avail.idx++;
    fence();
}

/* So many pauses are minutes: a busy host may run this CPU, and what serves the disk not, for
 * seconds. */
#define PATIENCE 2000000000u

/* Until it is done; 0: never. */
static int wait_used(void)
{
    for (unsigned i = 0; i < PATIENCE; i++) {
        if (used.idx != last_used) {
            fence();
            last_used = used.idx;
            return 1;
        }
        __asm__ volatile("pause");
    }
    return 0;
}

/* As a driver asks: header, data and status in one piece each. Returns the status. */
static unsigned request(uint32_t type, uint64_t sector, void *buf, uint32_t len)
{
    uint16_t way = type == IN || type == GET_ID ? D_WRITE : 0;
    header = (struct header){type, 0, sector};
    put(&table[0], &header, sizeof header, D_NEXT, len ? 1 : 2);
    put(&table[1], buf, len, (uint16_t)(D_NEXT | way), 2);
    put(&table[2], &status, 1, D_WRITE, 0);
    offer(0);
    ring_bell();
    return wait_used() ? status : 0xff;
}

static void fill(uint8_t *p, unsigned n, uint32_t seed)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)((i + seed) * 0x9e3779b9u >> 24);
}

static unsigned differ(const uint8_t *a, const uint8_t *b, unsigned n)
{
    unsigned d = 0;
    for (unsigned i = 0; i < n; i++)
        d += a[i] != b[i];
    return d;
}

/* --- the checks --- */

static void transport(void)
{
    same("all structures are there", common && notify && isr && config && cap_window && msix, 1);
    same("a reset gives status 0", (reset(), common[20]), 0);
    same("VERSION_1 is offered", offered() >> 32 & 1, 1);
    same_but("without VERSION_1 no FEATURES_OK", !!agree(F_FLUSH), 0, "6.2: a device may refuse");
    same_but("a feature that is not offered: no FEATURES_OK", !!agree(F_VERSION_1 | 1ull << 60), 0,
             "2.2.2");
    same("FEATURES_OK", !!agree(F_VERSION_1), 1);
    same("one queue or more", c16(18) >= 1, 1);
    w16(22, 1000);
    same("a queue that there is not has size 0", c16(24), 0);
    w16(22, 0);
    same("the queue is large enough", c16(24) >= RING, 1);
    same("the disk's size", *(volatile uint32_t *)config, 2048);
    /* the window in configuration space: 4 bytes at the device's configuration */
    pci_write(cap_window + 4, 4);
    pci_write(cap_window + 8, (uint32_t)config - (uint32_t)bar(4));
    pci_write(cap_window + 12, 4);
    same("the same through configuration space", pci_read(cap_window + 16), 2048);
}

static void in_pieces(void)
{
    fill(data, 1024, 1);
    header = (struct header){OUT, 0, 7};
    put(&table[3], &header, 5, D_NEXT, 9);
    put(&table[9], (uint8_t *)&header + 5, 11, D_NEXT, 4);
    put(&table[4], data, 100, D_NEXT, 1);
    put(&table[1], data + 100, 924, D_NEXT, 15);
    put(&table[15], &status, 1, D_WRITE, 0);
    offer(3);
    ring_bell();
    same("a write in odd pieces", wait_used() ? status : 0xff, 0);
    same("it has its head's name", used.ring[0].id, 3);
    header = (struct header){IN, 0, 7};
    put(&table[3], &header, 16, D_NEXT, 4);
    put(&table[4], other, 1023, D_NEXT | D_WRITE, 5);
    put(&table[5], other + 1023, 1, D_NEXT | D_WRITE, 6);
    put(&table[6], &status, 1, D_WRITE, 0);
    offer(3);
    ring_bell();
    same("a read in odd pieces", wait_used() ? status : 0xff, 0);
    same("of so many bytes", used.ring[1].len, 1025);
    same("what was written", differ(data, other, 1024), 0);
}

static void by_indirect(void)
{
    header = (struct header){IN, 0, 7};
    put(&indirect[0], &header, 16, D_NEXT, 7);
    put(&indirect[7], other, 512, D_NEXT | D_WRITE, 2);
    put(&indirect[2], &status, 1, D_WRITE, 0);
    put(&table[0], indirect, 8 * 16, D_INDIRECT, 0);
    fill(other, 512, 99);
    offer(0);
    ring_bell();
    same("an indirect chain", wait_used() ? status : 0xff, 0);
    same("it has read", differ(data, other, 512), 0);
}

static void commands(void)
{
    same("zeros where nobody wrote", request(IN, 100, other, 8192), 0);
    for (unsigned i = 0; i < 8192; i++)
        data[i] = 0;
    same("16 sectors of them", differ(data, other, 8192), 0);
    same("flush", request(FLUSH, 0, 0, 0), 0);
    same("the name", request(GET_ID, 0, other, 20), 0);
    same("beyond the end", request(IN, 2047, other, 1024), 1);
    same("far beyond the end", request(IN, ~0ull, other, 512), 1);
    same("half a sector", request(OUT, 0, other, 100), 1);
    same("what is not known", request(77, 0, other, 512), 2);
}

/* So long that what would come has come. */
static void a_while(void)
{
    for (unsigned i = 0; i < 20000; i++)
        __asm__ volatile("pause");
}

static int until(volatile uint32_t *counter, uint32_t want)
{
    __asm__ volatile("sti");
    for (unsigned i = 0; i < PATIENCE && *counter != want; i++)
        __asm__ volatile("pause");
    __asm__ volatile("cli");
    return *counter == want;
}

static void by_msix(void)
{
    volatile uint32_t *entry = (volatile uint32_t *)(msix + 16);
    start(F_VERSION_1, 1);
    msi_count = 0;
    request(IN, 0, other, 512);
    same("an interrupt by MSI-X", until(&msi_count, 1), 1);
    entry[3] = 1;
    request(IN, 0, other, 512);
    __asm__ volatile("sti");
    a_while();
    __asm__ volatile("cli");
    same("none while it is masked", msi_count, 1);
    entry[3] = 0;
    same("then it comes", until(&msi_count, 2), 1);
    for (unsigned i = 0; i < 2 * VECTORS; i++) {
        entry[2] = 0x41 + i % VECTORS;
        request(IN, 0, other, 512);
        if (!until(&msi_count, 3 + i))
            break;
    }
    same("one for each of forty vectors, twice", msi_count, 2 + 2 * VECTORS);
}

static void by_events(void)
{
    start(F_VERSION_1 | F_EVENTS | F_INDIRECT, 1);
    msi_count = 0;
    request(IN, 0, other, 512);
    same("events: an interrupt for the first", until(&msi_count, 1), 1);
    avail.used_event = 3;
    request(IN, 0, other, 512);
    request(IN, 0, other, 512);
    __asm__ volatile("sti");
    a_while();
    __asm__ volatile("cli");
    same("events: none before the fourth", msi_count, 1);
    request(IN, 0, other, 512);
    same("events: one with it", until(&msi_count, 2), 1);
    for (unsigned i = 0; i < PATIENCE && used.avail_event != 4; i++)
        __asm__ volatile("pause");
    same("events: the device says from where on to ring", used.avail_event, 4);
}

static void by_intx(void)
{
    unsigned line = pci_read(0x3c) & 0xff;
    start(F_VERSION_1, 0);
    pci_write(4, 0x6);
    intx_count = 0;
    outb(0xa1, (uint8_t) ~(1 << (line & 7)));
    request(IN, 0, other, 512);
    same("an interrupt by INTx", until(&intx_count, 1), 1);
    same("the ISR is clear after it was read", *isr, 0);
    outb(0xa1, 0xff);
    pci_write(4, 0x406);
}

static void misuse(void)
{
    start(F_VERSION_1, 0);
    put(&table[0], &header, 16, D_NEXT, 0);
    offer(0);
    ring_bell();
    for (unsigned i = 0; i < PATIENCE && !(common[20] & NEEDS_RESET); i++)
        __asm__ volatile("pause");
    same("a loop of descriptors: the device needs a reset", !!(common[20] & NEEDS_RESET), 1);
    start(F_VERSION_1, 0);
    same("after which it works", request(IN, 0, other, 512), 0);
}

/* Writes and reads, by interrupts, several sectors and patterns, until COM1 receives a character,
 * and five times at least. */
static unsigned work(void)
{
    unsigned rounds = 0, bad = 0;
    start(F_VERSION_1 | F_EVENTS | F_INDIRECT | F_FLUSH, 1);
    while ((!(inb(0x3fd) & 1) || rounds < 5) && !bad) {
        uint64_t sector = rounds * 37 % 1000;
        unsigned n = 512 * (1 + rounds % 8);
        uint32_t before = msi_count;
        fill(data, n, rounds);
        avail.used_event = used.idx;
        bad += request(OUT, sector, data, n) != 0;
        bad += !until(&msi_count, before + 1);
        fill(other, n, rounds + 1);
        avail.used_event = used.idx;
        bad += request(IN, sector, other, n) != 0;
        bad += !until(&msi_count, before + 2);
        bad += differ(data, other, n) != 0;
        rounds++;
    }
    print_number("rounds", rounds);
    return bad;
}

void guest_main(uint32_t eax, uint32_t ebx)
{
    const uint32_t *info = (const uint32_t *)ebx;
    (void)eax;
    int go = (info[0] & 4) && *(const char *)info[4] == 'g';
    set_up();
    if (!find()) {
        print("FAIL no virtio disk\r\n");
        guest_exit(1);
    }
    if (go) {
        print("begin\r\n");
        same("no difference", work(), 0);
    } else {
        transport();
        start(F_VERSION_1 | F_FLUSH | F_INDIRECT, 0);
        in_pieces();
        by_indirect();
        commands();
        by_msix();
        by_events();
        by_intx();
        misuse();
    }
    print("end ");
    print_dec(count);
    print(" checks ");
    print_dec(failed);
    print(" failed\r\n");
    guest_exit(failed ? 1 : 5);
}
