#include "virtio/pci.h"

#define VENDOR     0x1af4
#define FIRST_ID   0x1040 /* of devices without the old interface: plus the type */
#define CAP_VENDOR 0x09

/* The structures in BAR 4, each in a page, and the capabilities that point to them (4.1.4). */
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };
#define BAR           4
#define MSIX_BAR      1
#define PAGE_COMMON   0
#define PAGE_ISR      1
#define PAGE_DEVICE   2
#define PAGE_NOTIFY   3
#define BAR_SIZE      0x4000
#define DOORBELL_SIZE 4

/* The common configuration (4.1.4.3). */
enum {
    R_DEVICE_SELECT = 0x00,
    R_DEVICE_FEATURE = 0x04,
    R_DRIVER_SELECT = 0x08,
    R_DRIVER_FEATURE = 0x0c,
    R_CONFIG_VECTOR = 0x10,
    R_QUEUES = 0x12,
    R_STATUS = 0x14,
    R_GENERATION = 0x15,
    R_QUEUE_SELECT = 0x16,
    R_QUEUE_SIZE = 0x18,
    R_QUEUE_VECTOR = 0x1a,
    R_QUEUE_ENABLE = 0x1c,
    R_QUEUE_NOTIFY = 0x1e,
    R_QUEUE_DESC = 0x20,
    R_QUEUE_AVAIL = 0x28,
    R_QUEUE_USED = 0x30,
    COMMON_SIZE = 0x38,
};

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

#define PAUSE_NS 1000 /* between two parts of much work */

/* clang-format off */
STATE_TABLE(virtio_table, "virtio", struct virtio_state,
    STATE(struct virtio_state, features),
    STATE(struct virtio_state, deadline),
    STATE_SUB(struct virtio_state, queue, &virtq_table),
    STATE(struct virtio_state, device_select),
    STATE(struct virtio_state, driver_select),
    STATE(struct virtio_state, queue_select),
    STATE(struct virtio_state, config_vector),
    STATE(struct virtio_state, status),
    STATE(struct virtio_state, isr),
    STATE(struct virtio_state, waiting),
    STATE(struct virtio_state, generation));
/* clang-format on */

/* --- interrupts ------------------------------------------------------------------------------- */

static void interrupt(struct virtio_pci *v, uint16_t vector, uint8_t why)
{
    if (msix_on(&v->msix)) {
        msix_raise(&v->msix, vector);
        return;
    }
    v->s.isr |= why;
    pci_set_intx(&v->pci, true);
}

void virtio_used(struct virtio_pci *v, unsigned n)
{
    const struct virtq q = virtio_queue(v, n);
    if (virtq_wants_interrupt(&q))
        interrupt(v, v->s.queue[n].vector, ISR_QUEUE);
}

void virtio_broken(struct virtio_pci *v, const char *why)
{
    if (v->s.status & VIRTIO_NEEDS_RESET)
        return;
    LOG(v->log, DEV, "%s: the driver broke the rules: %s", v->pci.name, why);
    v->s.status |= VIRTIO_NEEDS_RESET;
    if (v->s.status & VIRTIO_DRIVER_OK)
        interrupt(v, v->s.config_vector, ISR_CONFIG);
}

/* --- work ------------------------------------------------------------------------------------- */

bool virtio_has(const struct virtio_pci *v, uint64_t feature)
{
    return v->s.features & feature;
}

struct virtq virtio_queue(struct virtio_pci *v, unsigned n)
{
    return (struct virtq){&v->s.queue[n], v->bus, v->s.features};
}

static void set_deadline(struct virtio_pci *v, uint64_t ns)
{
    v->s.deadline = ns;
    timer_set(&v->timer, ns);
}

static void serve(struct virtio_pci *v, unsigned n)
{
    const uint8_t live = VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET, bit = (uint8_t)(1u << n);
    v->s.waiting &= (uint8_t)~bit;
    if (n >= v->kind->queues || !v->s.queue[n].enabled || (v->s.status & live) != VIRTIO_DRIVER_OK)
        return;
    if (!v->kind->serve(v->dev, n))
        return;
    v->s.waiting |= bit;
    if (v->s.deadline == CLOCK_NEVER)
        set_deadline(v, clock_now(v->timer.clock) + PAUSE_NS);
}

static void on_timer(void *opaque)
{
    struct virtio_pci *v = opaque;
    uint8_t waiting = v->s.waiting;
    v->s.deadline = CLOCK_NEVER;
    for (unsigned n = 0; n < VIRTIO_QUEUES; n++)
        if (waiting >> n & 1)
            serve(v, n);
}

/* --- the common configuration ----------------------------------------------------------------- */

/* A reset by the driver: PCI's side stays as it is (4.1.4.3.1). */
static void reset_device(struct virtio_pci *v)
{
    v->s = (struct virtio_state){.config_vector = VIRTQ_NOBODY};
    set_deadline(v, CLOCK_NEVER);
    for (unsigned i = 0; i < v->kind->queues; i++)
        virtq_reset(&v->s.queue[i], VIRTQ_SIZE);
    pci_set_intx(&v->pci, false);
}

/* Only bits are added, and FEATURES_OK only if the features are some that we can do (3.1.1). */
static void set_status(struct virtio_pci *v, uint8_t status)
{
    struct virtio_state *s = &v->s;
    if (!status) {
        reset_device(v);
        return;
    }
    bool can = !(s->features & ~v->offered) && virtio_has(v, VIRTIO_VERSION_1);
    if ((status & ~s->status & VIRTIO_FEATURES_OK) && !can) {
        LOG(v->log, DEV, "%s: the driver wants features %#llx of %#llx", v->pci.name,
            (unsigned long long)s->features, (unsigned long long)v->offered);
        status &= (uint8_t)~VIRTIO_FEATURES_OK;
    }
    s->status = (s->status & VIRTIO_NEEDS_RESET) | (status & (uint8_t)~VIRTIO_NEEDS_RESET);
}

static struct virtq_state *selected(struct virtio_pci *v)
{
    return v->s.queue_select < v->kind->queues ? &v->s.queue[v->s.queue_select] : NULL;
}

static void common_image(struct virtio_pci *v, uint8_t image[COMMON_SIZE])
{
    const struct virtio_state *s = &v->s;
    const struct virtq_state *q = selected(v);
    memset(image, 0, COMMON_SIZE);
    put_le32(image + R_DEVICE_SELECT, s->device_select);
    if (s->device_select < 2)
        put_le32(image + R_DEVICE_FEATURE, (uint32_t)(v->offered >> 32 * s->device_select));
    put_le32(image + R_DRIVER_SELECT, s->driver_select);
    if (s->driver_select < 2)
        put_le32(image + R_DRIVER_FEATURE, (uint32_t)(s->features >> 32 * s->driver_select));
    put_le16(image + R_CONFIG_VECTOR, s->config_vector);
    put_le16(image + R_QUEUES, (uint16_t)v->kind->queues);
    image[R_STATUS] = s->status;
    image[R_GENERATION] = s->generation;
    put_le16(image + R_QUEUE_SELECT, s->queue_select);
    if (!q)
        return;
    put_le16(image + R_QUEUE_SIZE, q->size);
    put_le16(image + R_QUEUE_VECTOR, q->vector);
    put_le16(image + R_QUEUE_ENABLE, q->enabled);
    put_le16(image + R_QUEUE_NOTIFY, s->queue_select);
    put_le64(image + R_QUEUE_DESC, q->desc);
    put_le64(image + R_QUEUE_AVAIL, q->avail);
    put_le64(image + R_QUEUE_USED, q->used);
}

static void set_features(struct virtio_pci *v, uint32_t value)
{
    unsigned shift = 32 * (v->s.driver_select & 1);
    if (v->s.driver_select > 1 || (v->s.status & VIRTIO_FEATURES_OK))
        return;
    v->s.features = (v->s.features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

/* A vector that there is not reads back as none: how the driver sees that (4.1.5.1.2.1). */
static uint16_t vector_of(const struct virtio_pci *v, uint16_t value)
{
    return value < v->msix.count ? value : VIRTQ_NOBODY;
}

static void enable(struct virtio_pci *v, struct virtq_state *q)
{
    if (virtq_valid(q))
        q->enabled = true;
    else
        virtio_broken(v, "a queue was enabled that can't be where it is");
}

static void set_half(uint64_t *field, uint64_t offset, uint32_t value)
{
    unsigned shift = offset & 4 ? 32 : 0;
    *field = (*field & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

/* Where the queue is can't change while it is enabled. */
static void queue_write(struct virtio_pci *v, uint64_t offset, unsigned size, uint32_t value)
{
    struct virtq_state *q = selected(v);
    if (!q)
        return;
    if (offset == R_QUEUE_VECTOR) {
        q->vector = vector_of(v, (uint16_t)value);
        return;
    }
    if (q->enabled)
        return;
    if (offset == R_QUEUE_SIZE)
        q->size = (uint16_t)value;
    else if (offset == R_QUEUE_ENABLE && (value & 0xffff) == 1)
        enable(v, q);
    else if (size == 4 && (offset & ~4ull) == R_QUEUE_DESC)
        set_half(&q->desc, offset, value);
    else if (size == 4 && (offset & ~4ull) == R_QUEUE_AVAIL)
        set_half(&q->avail, offset, value);
    else if (size == 4 && (offset & ~4ull) == R_QUEUE_USED)
        set_half(&q->used, offset, value);
}

static void common_write(struct virtio_pci *v, uint64_t offset, unsigned size, uint32_t value)
{
    switch (offset) {
    case R_DEVICE_SELECT: v->s.device_select = value; break;
    case R_DRIVER_SELECT: v->s.driver_select = value; break;
    case R_DRIVER_FEATURE: set_features(v, value); break;
    case R_CONFIG_VECTOR: v->s.config_vector = vector_of(v, (uint16_t)value); break;
    case R_STATUS: set_status(v, (uint8_t)value); break;
    case R_QUEUE_SELECT: v->s.queue_select = (uint16_t)value; break;
    default: queue_write(v, offset, size, value); break;
    }
}

/* --- BAR 4 ------------------------------------------------------------------------------------ */

static uint8_t read_isr(struct virtio_pci *v)
{
    uint8_t isr = v->s.isr;
    v->s.isr = 0;
    pci_set_intx(&v->pci, false);
    return isr;
}

static uint64_t bar_read(void *dev, uint64_t offset, unsigned size)
{
    struct virtio_pci *v = dev;
    uint8_t image[VIRTIO_CONFIG + 8] = {0};
    uint64_t at = offset & (PAGE_SIZE - 1);
    uint32_t value = 0;
    if (offset >> PAGE_SHIFT == PAGE_ISR)
        return at ? 0 : read_isr(v);
    if (offset >> PAGE_SHIFT == PAGE_COMMON)
        common_image(v, image);
    else if (offset >> PAGE_SHIFT == PAGE_DEVICE)
        v->kind->config(v->dev, image);
    if (at <= VIRTIO_CONFIG)
        memcpy(&value, image + at, size);
    return value;
}

static void bar_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *v = dev;
    uint64_t at = offset & (PAGE_SIZE - 1);
    if (offset >> PAGE_SHIFT == PAGE_COMMON)
        common_write(v, at, size, (uint32_t)value);
    else if (offset >> PAGE_SHIFT == PAGE_NOTIFY && at / DOORBELL_SIZE < v->kind->queues)
        serve(v, (unsigned)(at / DOORBELL_SIZE));
    else
        LOG(v->log, DEV, "%s: write to offset %#llx", v->pci.name, (unsigned long long)offset);
}

static const struct region_ops bar_ops = {bar_read, bar_write, 1 | 2 | 4};

/* --- configuration space ---------------------------------------------------------------------- */

static unsigned add_cap(struct virtio_pci *v, uint8_t type, unsigned size, uint32_t page,
                        uint32_t length)
{
    unsigned at = pci_func_cap(&v->pci, CAP_VENDOR, size);
    uint8_t *cap = v->pci.image + at;
    cap[2] = (uint8_t)size;
    cap[3] = type;
    cap[4] = type == CFG_PCI ? 0 : BAR;
    put_le32(cap + 8, page << PAGE_SHIFT);
    put_le32(cap + 12, length);
    return at;
}

static void add_caps(struct virtio_pci *v)
{
    add_cap(v, CFG_COMMON, 16, PAGE_COMMON, COMMON_SIZE);
    add_cap(v, CFG_ISR, 16, PAGE_ISR, 1);
    add_cap(v, CFG_DEVICE, 16, PAGE_DEVICE, v->kind->config_size);
    unsigned notify = add_cap(v, CFG_NOTIFY, 20, PAGE_NOTIFY, v->kind->queues * DOORBELL_SIZE);
    put_le32(v->pci.image + notify + 16, DOORBELL_SIZE);
    v->window = add_cap(v, CFG_PCI, 20, 0, 0);
    v->pci.wmask[v->window + 4] = 0xff;
    memset(v->pci.wmask + v->window + 8, 0xff, 12);
}

/* The window (4.1.4.9): an access to its data is one to the BAR, of the length that it says. False:
 * not here, or not possible. */
static bool window(const struct virtio_pci *v, unsigned offset, uint32_t *at, uint32_t *length)
{
    const uint8_t *cap = v->pci.s.config + v->window;
    *at = get_le32(cap + 8);
    *length = get_le32(cap + 12);
    return (offset & ~3u) == v->window + 16 && cap[4] == BAR && *at < BAR_SIZE &&
           (*length == 1 || *length == 2 || *length == 4) && *at % *length == 0;
}

static void config_read(void *opaque, unsigned offset, unsigned size)
{
    struct virtio_pci *v = opaque;
    uint32_t at, length;
    if (window(v, offset, &at, &length))
        put_le32(v->pci.s.config + v->window + 16, (uint32_t)bar_read(v, at, length));
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    struct virtio_pci *v = opaque;
    uint32_t at, length;
    if (window(v, offset, &at, &length))
        bar_write(v, at, length,
                  get_le32(v->pci.s.config + v->window + 16) & ~0u >> (32 - 8 * length));
    msix_config_written(&v->msix, offset, size);
    pci_set_intx(&v->pci, v->s.isr && !msix_on(&v->msix));
}

/* --- set-up ----------------------------------------------------------------------------------- */

void virtio_pci_init(struct virtio_pci *v, const struct virtio_kind *kind, const char *name,
                     void *dev, uint64_t features, struct pci_bus *pci, unsigned devfn,
                     struct clock *clock, const struct log *log)
{
    const struct pci_ids ids = {
        VENDOR, (uint16_t)(FIRST_ID + kind->id), kind->class_code, 1, VENDOR, 0x1100, 1};
    CHECK(kind->queues <= VIRTIO_QUEUES && kind->config_size <= VIRTIO_CONFIG);
    *v = (struct virtio_pci){.kind = kind, .dev = dev, .bus = pci->bus, .log = log};
    v->offered = features | VIRTIO_VERSION_1 | VIRTQ_INDIRECT | VIRTQ_EVENTS;
    v->bar = (struct region){.name = name,
                             .size = BAR_SIZE,
                             .ops = &bar_ops,
                             .dev = v,
                             .doorbells = {PAGE_NOTIFY << PAGE_SHIFT, DOORBELL_SIZE, kind->queues}};
    pci_func_init(&v->pci, name, &ids);
    msix_init(&v->msix, &v->pci, MSIX_BAR, kind->queues + 1);
    pci_func_bar(&v->pci, BAR, PCI_BAR_MEM64, &v->bar);
    add_caps(v);
    v->pci.config_read = config_read;
    v->pci.config_written = config_written;
    v->pci.opaque = v;
    timer_init(&v->timer, clock, name, on_timer, v);
    pci_add(pci, &v->pci, devfn);
    virtio_pci_reset(v);
}

void virtio_pci_reset(struct virtio_pci *v)
{
    reset_device(v);
    msix_reset(&v->msix);
}

void virtio_pci_restore(struct virtio_pci *v)
{
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        struct virtq_state *q = &v->s.queue[i];
        q->enabled = q->enabled && i < v->kind->queues && virtq_valid(q);
    }
    msix_restore(&v->msix);
    timer_set(&v->timer, v->s.deadline);
}
