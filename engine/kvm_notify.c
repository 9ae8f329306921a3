/* What comes from the guest and goes to it by eventfd, with no CPU's thread in between.
 *
 * Doorbells (KVM_IOEVENTFD): a write to one leaves the CPU in the kernel and the guest running; a
 * thread here takes the machine's lock and does the device's work meanwhile. Only where CPUs have
 * threads of their own: one that takes turns would leave the work lying. What was rung is done
 * before a run ends, too, so that nothing waits in a machine that stands still.
 *
 * Messages (KVM_IRQFD): while the kernel has the interrupt controllers, each message that PCI
 * devices send (MSI-X: an address and a value) has a route of its own, and is a write to its
 * eventfd. Should the kernel have to deliver one later, kvm_notify_settle() waits for that: taking
 * an irqfd away does. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cpu/share.h"
#include "engine/kvm_vm.h"

#define BELLS       32
#define MESSAGES    KVM_ROUTES
#define GSI_MESSAGE 128 /* and up: behind the wires of kvm_chips.c */

/* A doorbell of a region, where that lies now. */
struct bell {
    uint64_t paddr;
    const struct region *region;
    uint64_t offset; /* in the region */
    int fd;
};

struct message {
    uint64_t addr;
    uint32_t data;
    int fd;     /* -1: a free place */
    bool armed; /* the kernel listens to it */
};

struct kvm_notify {
    struct kvm_vm *k;
    struct bell bell[BELLS];
    unsigned bells;
    bool any_length; /* KVM_CAP_IOEVENTFD_ANY_LENGTH */
    bool irqfd;      /* KVM_CAP_IRQFD */
    int epoll, quit; /* of the thread; -1 without one */
    pthread_t thread;
    struct message message[MESSAGES];
    unsigned next_message; /* the place to be used next */
};

/* --- doorbells -------------------------------------------------------------------------------- */

void kvm_notify_serve(struct kvm_vm *k)
{
    struct kvm_notify *n = k->notify;
    uint64_t times;
    for (unsigned i = 0; n && i < n->bells; i++) {
        const struct bell *b = &n->bell[i];
        if (read(b->fd, &times, sizeof times) != sizeof times)
            continue;
        k->stats.rings += times;
        b->region->ops->write(b->region->dev, b->offset, 2, 0);
    }
}

/* The machine stands still when CPUs share nothing; who rang is about to end its run, then, and
 * does the work itself. */
static void *attend(void *opaque)
{
    struct kvm_notify *n = opaque;
    struct cpu *c = n->k->vcpu[0].c;
    struct epoll_event e;
    for (;;) {
        if (epoll_wait(n->epoll, &e, 1, -1) != 1)
            continue;
        if (e.data.fd == n->quit)
            return NULL;
        const struct share *s = __atomic_load_n(&c->share, __ATOMIC_SEQ_CST);
        if (!s) {
            sched_yield();
            continue;
        }
        s->take(s->opaque);
        if (__atomic_load_n(&c->share, __ATOMIC_SEQ_CST))
            kvm_notify_serve(n->k);
        s->give(s->opaque);
    }
}

static bool watch(const struct kvm_notify *n, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    return fd >= 0 && epoll_ctl(n->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

/* The process's signals are for other threads. */
static bool start_thread(struct kvm_notify *n)
{
    sigset_t all, old;
    if (n->epoll >= 0)
        return true;
    n->epoll = epoll_create1(EPOLL_CLOEXEC);
    n->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool ok =
        n->epoll >= 0 && watch(n, n->quit) && pthread_create(&n->thread, NULL, attend, n) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ok)
        return true;
    close(n->epoll);
    close(n->quit);
    n->epoll = -1;
    return false;
}

static bool register_bell(const struct kvm_notify *n, const struct bell *b, uint32_t flags)
{
    struct kvm_ioeventfd e = {
        .addr = b->paddr, .len = n->any_length ? 0 : 2, .fd = b->fd, .flags = flags};
    return kvm_call(n->k->fd, KVM_IOEVENTFD, &e) >= 0;
}

static void remove_bells(struct kvm_notify *n)
{
    kvm_notify_serve(n->k);
    while (n->bells) {
        struct bell *b = &n->bell[--n->bells];
        register_bell(n, b, KVM_IOEVENTFD_FLAG_DEASSIGN);
        epoll_ctl(n->epoll, EPOLL_CTL_DEL, b->fd, NULL);
        close(b->fd);
    }
}

/* One that can't be had leaves the kernel as any access does. */
static void add_bell(struct kvm_notify *n, struct bell b)
{
    b.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b.fd >= 0 && watch(n, b.fd) && register_bell(n, &b, 0))
        n->bell[n->bells++] = b;
    else if (b.fd >= 0)
        close(b.fd);
}

/* The doorbells of the bus's map. */
static unsigned wanted(const struct bus *bus, struct bell *list)
{
    unsigned n = 0;
    for (unsigned i = 0; i < bus->region_count[BUS_MEM]; i++) {
        const struct region *r = bus->region[BUS_MEM][i];
        for (unsigned d = 0; d < r->doorbells.count && n < BELLS; d++) {
            uint64_t offset = r->doorbells.at + (uint64_t)d * r->doorbells.stride;
            list[n++] = (struct bell){r->base + offset, r, offset, -1};
        }
    }
    return n;
}

static bool same(const struct kvm_notify *n, const struct bell *list, unsigned count)
{
    for (unsigned i = 0; i < n->bells && count == n->bells; i++)
        if (n->bell[i].paddr != list[i].paddr || n->bell[i].region != list[i].region)
            return false;
    return count == n->bells;
}

static struct kvm_notify *notify_of(struct kvm_vm *k)
{
    struct kvm_notify *n = k->notify;
    if (n)
        return n;
    k->notify = n = xcalloc(1, sizeof *n);
    *n = (struct kvm_notify){.k = k, .epoll = -1, .quit = -1};
    n->any_length = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    n->irqfd = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQFD) > 0;
    for (unsigned i = 0; i < MESSAGES; i++)
        n->message[i].fd = -1;
    return n;
}

void kvm_notify_map(struct kvm_vm *k)
{
    struct bell list[BELLS];
    unsigned count = wanted(k->bus, list);
    if (!k->vcpu[0].c->parallel || ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD) <= 0 ||
        (!k->notify && !count))
        return;
    struct kvm_notify *n = notify_of(k);
    if (same(n, list, count) || !start_thread(n))
        return;
    remove_bells(n);
    for (unsigned i = 0; i < count; i++)
        add_bell(n, list[i]);
    LOG(k->log, KVM, "%u doorbells by eventfd", n->bells);
}

/* --- messages --------------------------------------------------------------------------------- */

static bool set_routes(struct kvm_notify *n)
{
    struct kvm_irq_routing_entry more[MESSAGES];
    unsigned count = 0;
    for (unsigned i = 0; i < MESSAGES; i++) {
        const struct message *m = &n->message[i];
        if (m->fd >= 0)
            more[count++] = (struct kvm_irq_routing_entry){
                .gsi = GSI_MESSAGE + i,
                .type = KVM_IRQ_ROUTING_MSI,
                .u.msi = {(uint32_t)m->addr, (uint32_t)(m->addr >> 32), m->data, {0}}};
    }
    return kvm_chips_route(n->k, more, count);
}

static bool arm(struct kvm_notify *n, struct message *m, bool on)
{
    struct kvm_irqfd f = {.fd = (uint32_t)m->fd,
                          .gsi = GSI_MESSAGE + (uint32_t)(m - n->message),
                          .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    if (m->armed != on && kvm_call(n->k->fd, KVM_IRQFD, &f) >= 0)
        m->armed = on;
    return m->armed == on;
}

/* The message's eventfd, ready; a new one takes the place of the oldest. NULL: it can't be had. */
static struct message *find(struct kvm_notify *n, uint64_t addr, uint32_t data)
{
    struct message *m;
    for (unsigned i = 0; i < MESSAGES; i++) {
        m = &n->message[i];
        if (m->fd >= 0 && m->addr == addr && m->data == data)
            return arm(n, m, true) ? m : NULL;
    }
    m = &n->message[n->next_message++ % MESSAGES];
    if (m->fd < 0)
        m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0 || !arm(n, m, false))
        return NULL;
    m->addr = addr;
    m->data = data;
    if (set_routes(n) && arm(n, m, true))
        return m;
    close(m->fd);
    m->fd = -1;
    return NULL;
}

void kvm_notify_message(void *opaque, uint64_t addr, uint32_t data)
{
    struct kvm_vm *k = opaque;
    const uint64_t one = 1;
    struct kvm_msi msi = {(uint32_t)addr, (uint32_t)(addr >> 32), data, 0, 0, {0}};
    struct kvm_notify *n = notify_of(k);
    struct message *m = n->irqfd ? find(n, addr, data) : NULL;
    k->stats.messages++;
    if (!m || write(m->fd, &one, sizeof one) != sizeof one)
        kvm_call(k->fd, KVM_SIGNAL_MSI, &msi);
}

void kvm_notify_settle(struct kvm_vm *k)
{
    for (unsigned i = 0; k->notify && i < MESSAGES; i++)
        if (k->notify->message[i].armed)
            arm(k->notify, &k->notify->message[i], false);
}

/* --- the end ---------------------------------------------------------------------------------- */

void kvm_notify_free(struct kvm_vm *k)
{
    struct kvm_notify *n = k->notify;
    const uint64_t one = 1;
    if (!n)
        return;
    if (n->epoll >= 0) {
        CHECK(write(n->quit, &one, sizeof one) == sizeof one);
        pthread_join(n->thread, NULL);
        remove_bells(n);
        close(n->epoll);
        close(n->quit);
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        arm(n, &n->message[i], false);
        if (n->message[i].fd >= 0)
            close(n->message[i].fd);
    }
    free(n);
    k->notify = NULL;
}
