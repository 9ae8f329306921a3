#include "dev/ns16550.h"

#define IER_RX     0x01
#define IER_THRE   0x02
#define IER_LINE   0x04
#define IER_MODEM  0x08
#define IIR_NONE   0x01
#define IIR_THRE   0x02
#define IIR_RX     0x04
#define IIR_LINE   0x06
#define IIR_TIMEUP 0x0c
#define IIR_FIFO   0xc0
#define FCR_ENABLE 0x01
#define FCR_CLR_RX 0x02
#define LCR_BREAK  0x40
#define LCR_DLAB   0x80
#define MCR_DTR    0x01
#define MCR_RTS    0x02
#define MCR_OUT1   0x04
#define MCR_OUT2   0x08
#define MCR_LOOP   0x10
#define LSR_DR     0x01
#define LSR_OE     0x02
#define LSR_BI     0x10
#define LSR_ERRORS 0x1e
#define LSR_THRE   0x20
#define LSR_TEMT   0x40
#define LSR_FIFOE  0x80
#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04
#define MSR_CTS    0x10
#define MSR_DSR    0x20
#define MSR_RI     0x40
#define MSR_DCD    0x80

#define BAUD_BASE  115200 /* 1.8432 MHz / 16 */
#define POLLS_MEAN 16     /* so many reads of LSR in a row: the guest waits for input */

/* clang-format off */
STATE_TABLE(ns16550_table, "ns16550", struct ns16550_state,
    STATE(struct ns16550_state, timeout_at),
    STATE(struct ns16550_state, ier),
    STATE(struct ns16550_state, lcr),
    STATE(struct ns16550_state, mcr),
    STATE(struct ns16550_state, lsr),
    STATE(struct ns16550_state, msr),
    STATE(struct ns16550_state, scr),
    STATE(struct ns16550_state, fcr),
    STATE(struct ns16550_state, dll),
    STATE(struct ns16550_state, dlm),
    STATE(struct ns16550_state, thre_pending),
    STATE(struct ns16550_state, timed_out),
    STATE(struct ns16550_state, head),
    STATE(struct ns16550_state, count),
    STATE(struct ns16550_state, lsr_polls),
    STATE_BLOB(struct ns16550_state, unused),
    STATE_BLOB(struct ns16550_state, fifo),
    STATE_BLOB(struct ns16550_state, error));
/* clang-format on */

static unsigned capacity(const struct ns16550 *u)
{
    return u->s.fcr & FCR_ENABLE ? NS16550_FIFO : 1;
}

static unsigned trigger(const struct ns16550 *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->s.fcr & FCR_ENABLE ? level[u->s.fcr >> 6] : 1;
}

/* The cause to report, most urgent first (data sheet, table IV). */
static uint8_t cause(const struct ns16550 *u)
{
    const struct ns16550_state *s = &u->s;
    if ((s->ier & IER_LINE) && (s->lsr & LSR_ERRORS))
        return IIR_LINE;
    if ((s->ier & IER_RX) && s->count >= trigger(u))
        return IIR_RX;
    if ((s->ier & IER_RX) && s->timed_out)
        return IIR_TIMEUP;
    if ((s->ier & IER_THRE) && s->thre_pending)
        return IIR_THRE;
    if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
        return 0;
    return IIR_NONE;
}

static void update(struct ns16550 *u)
{
    bool level = cause(u) != IIR_NONE;
    if (level == u->level)
        return;
    u->level = level;
    irq_set(&u->irq, level);
}

/* Four characters, counted from the last byte that came or was taken, with bytes left over. */
static void restart_timeout(struct ns16550 *u)
{
    struct ns16550_state *s = &u->s;
    s->timed_out = false;
    s->timeout_at = CLOCK_NEVER;
    if ((s->fcr & FCR_ENABLE) && s->count) {
        unsigned divisor = s->dll | s->dlm << 8;
        unsigned bits = 7 + (s->lcr & 3) + (s->lcr >> 2 & 1) + (s->lcr >> 3 & 1);
        s->timeout_at =
            clock_now(u->clock) + 4ull * bits * (divisor ? divisor : 1) * NS_PER_S / BAUD_BASE;
    }
    timer_set(&u->timeout, s->timeout_at);
}

static void timeout_fire(void *opaque)
{
    struct ns16550 *u = opaque;
    u->s.timeout_at = CLOCK_NEVER;
    u->s.timed_out = u->s.count != 0;
    update(u);
}

/* The oldest byte's errors show in LSR when it reaches the top (data sheet 8.4). */
static void show_top(struct ns16550 *u)
{
    struct ns16550_state *s = &u->s;
    s->lsr &= (uint8_t) ~(LSR_DR | LSR_FIFOE);
    if (!s->count)
        return;
    s->lsr |= LSR_DR;
    if (s->error[s->head]) {
        s->lsr |= s->error[s->head];
        s->error[s->head] = 0;
    }
    if (!(s->fcr & FCR_ENABLE))
        return;
    for (unsigned i = 0; i < s->count; i++)
        if (s->error[(s->head + i) % NS16550_FIFO])
            s->lsr |= LSR_FIFOE;
}

static void receive(struct ns16550 *u, uint8_t byte, uint8_t error)
{
    struct ns16550_state *s = &u->s;
    if (s->count >= capacity(u)) {
        s->lsr |= LSR_OE;
        /* without the FIFO the new byte takes the place of the unread one */
        if (!(s->fcr & FCR_ENABLE))
            s->fifo[s->head] = byte;
        return;
    }
    unsigned at = (s->head + s->count++) % NS16550_FIFO;
    s->fifo[at] = byte;
    s->error[at] = error;
    show_top(u);
}

static void clear_rx(struct ns16550 *u)
{
    struct ns16550_state *s = &u->s;
    s->head = s->count = 0;
    memset(s->error, 0, sizeof s->error);
    s->lsr_polls = 0;
    show_top(u);
    restart_timeout(u);
}

/* What the modem lines carry: a peer that is always there, or our own outputs in loopback. */
static uint8_t modem_lines(const struct ns16550 *u)
{
    uint8_t m = u->s.mcr, v = 0;
    if (!(m & MCR_LOOP))
        return u->chr ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    v |= m & MCR_RTS ? MSR_CTS : 0;
    v |= m & MCR_DTR ? MSR_DSR : 0;
    v |= m & MCR_OUT1 ? MSR_RI : 0;
    v |= m & MCR_OUT2 ? MSR_DCD : 0;
    return v;
}

static void update_modem(struct ns16550 *u)
{
    uint8_t now = modem_lines(u), changed = (u->s.msr ^ now) & 0xf0;
    uint8_t deltas = changed >> 4 & ~MSR_TERI;
    if ((changed & MSR_RI) && !(now & MSR_RI))
        deltas |= MSR_TERI; /* RI counts when it falls */
    u->s.msr = now | (u->s.msr & MSR_DELTAS) | deltas;
}

static void transmit(struct ns16550 *u, uint8_t byte)
{
    struct ns16550_state *s = &u->s;
    s->lsr_polls = 0;
    s->thre_pending = false;
    update(u);
    if (!(s->mcr & MCR_LOOP)) {
        chardev_write(u->chr, &byte, 1);
    } else {
        receive(u, byte, 0);
        restart_timeout(u);
    }
    s->thre_pending = true; /* gone already: a new edge for an edge-triggered line */
    update(u);
}

static void write_ier(struct ns16550 *u, uint8_t v)
{
    uint8_t rising = v & ~u->s.ier;
    u->s.ier = v & 0x0f;
    if (rising & IER_THRE)
        u->s.thre_pending = true; /* THR is empty: enabling asks at once */
    else if (!(v & IER_THRE))
        u->s.thre_pending = false;
}

static void write_fcr(struct ns16550 *u, uint8_t v)
{
    struct ns16550_state *s = &u->s;
    bool toggled = (s->fcr ^ v) & FCR_ENABLE;
    s->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
    if (toggled || ((v & FCR_ENABLE) && (v & FCR_CLR_RX)))
        clear_rx(u);
}

static void write_lcr(struct ns16550 *u, uint8_t v)
{
    bool starts_break = (v & ~u->s.lcr) & LCR_BREAK;
    u->s.lcr = v;
    if (starts_break && (u->s.mcr & MCR_LOOP)) {
        receive(u, 0, LSR_BI);
        restart_timeout(u);
    }
}

static void ns16550_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ns16550 *u = dev;
    struct ns16550_state *s = &u->s;
    uint8_t v = (uint8_t)value;
    switch (offset) {
    case 0:
        if (s->lcr & LCR_DLAB)
            s->dll = v;
        else
            transmit(u, v);
        break;
    case 1:
        if (s->lcr & LCR_DLAB)
            s->dlm = v;
        else
            write_ier(u, v);
        break;
    case 2: write_fcr(u, v); break;
    case 3: write_lcr(u, v); break;
    case 4:
        s->mcr = v & 0x1f;
        update_modem(u);
        break;
    case 7: s->scr = v; break;
    default: break; /* LSR and MSR: factory test only */
    }
    update(u);
}

static uint8_t read_rbr(struct ns16550 *u)
{
    struct ns16550_state *s = &u->s;
    uint8_t v = s->fifo[s->head]; /* an empty FIFO gives its last byte again */
    if (!s->count)
        return v;
    if (s->fcr & FCR_ENABLE)
        s->head = (s->head + 1) % NS16550_FIFO;
    s->count--;
    show_top(u);
    restart_timeout(u);
    return v;
}

static uint64_t ns16550_read(void *dev, uint64_t offset, unsigned size)
{
    struct ns16550 *u = dev;
    struct ns16550_state *s = &u->s;
    uint8_t v = 0xff;
    switch (offset) {
    case 0: v = s->lcr & LCR_DLAB ? s->dll : read_rbr(u); break;
    case 1: v = s->lcr & LCR_DLAB ? s->dlm : s->ier; break;
    case 2:
        v = cause(u);
        if (v == IIR_THRE)
            s->thre_pending = false; /* reading it as the cause answers it */
        v |= s->fcr & FCR_ENABLE ? IIR_FIFO : 0;
        break;
    case 3: v = s->lcr; break;
    case 4: v = s->mcr; break;
    case 5:
        v = s->lsr;
        s->lsr &= (uint8_t)~LSR_ERRORS;
        s->lsr_polls += s->lsr_polls < POLLS_MEAN;
        break;
    case 6:
        v = s->msr;
        s->msr &= (uint8_t)~MSR_DELTAS;
        break;
    case 7: v = s->scr; break;
    }
    update(u);
    return v;
}

static const struct region_ops ns16550_ops = {ns16550_read, ns16550_write, 1};

static size_t ns16550_room(void *dev)
{
    struct ns16550 *u = dev;
    const struct ns16550_state *s = &u->s;
    bool listens = (s->mcr & MCR_RTS) || (s->ier & IER_RX) || s->lsr_polls >= POLLS_MEAN;
    if (!listens || (s->mcr & MCR_LOOP) || s->count >= capacity(u))
        return 0;
    return capacity(u) - s->count;
}

static void ns16550_input(void *dev, const uint8_t *bytes, size_t n)
{
    struct ns16550 *u = dev;
    for (size_t i = 0; i < n; i++)
        receive(u, bytes[i], 0);
    restart_timeout(u);
    update(u);
}

static void ns16550_break(void *dev)
{
    struct ns16550 *u = dev;
    if (u->s.mcr & MCR_LOOP)
        return;
    receive(u, 0, LSR_BI);
    restart_timeout(u);
    update(u);
}

void ns16550_reset(struct ns16550 *u)
{
    u->s = (struct ns16550_state){.timeout_at = CLOCK_NEVER, .lsr = LSR_THRE | LSR_TEMT, .dll = 1};
    u->s.msr = modem_lines(u);
    timer_set(&u->timeout, CLOCK_NEVER);
    update(u);
}

void ns16550_restore(struct ns16550 *u)
{
    u->s.head %= NS16550_FIFO;
    if (u->s.count > NS16550_FIFO)
        u->s.count = NS16550_FIFO;
    timer_set(&u->timeout, u->s.timeout_at);
    u->level = cause(u) != IIR_NONE;
    irq_set(&u->irq, u->level);
}

void ns16550_init(struct ns16550 *u, const char *name, struct clock *clock, const struct log *log,
                  struct irq irq, struct chardev *chr)
{
    *u = (struct ns16550){.clock = clock, .log = log, .irq = irq, .chr = chr};
    u->io = (struct region){.name = name, .size = 8, .ops = &ns16550_ops, .dev = u};
    timer_init(&u->timeout, clock, name, timeout_fire, u);
    if (chr)
        chr->sink = (struct chardev_sink){
            .room = ns16550_room, .input = ns16550_input, .brk = ns16550_break, .dev = u};
    ns16550_reset(u);
}
