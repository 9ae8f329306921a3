#include "dev/i8259.h"

#define CASCADE 2 /* the master's input that the slave hangs on */

/* clang-format off */
STATE_TABLE(i8259_chip_table, "i8259 chip", struct i8259_chip,
    STATE(struct i8259_chip, line),
    STATE(struct i8259_chip, irr),
    STATE(struct i8259_chip, isr),
    STATE(struct i8259_chip, imr),
    STATE(struct i8259_chip, elcr),
    STATE(struct i8259_chip, base),
    STATE(struct i8259_chip, lowest),
    STATE(struct i8259_chip, icw),
    STATE(struct i8259_chip, need_icw4),
    STATE(struct i8259_chip, single),
    STATE(struct i8259_chip, ltim),
    STATE(struct i8259_chip, aeoi),
    STATE(struct i8259_chip, rotate_aeoi),
    STATE(struct i8259_chip, sfnm),
    STATE(struct i8259_chip, special_mask),
    STATE(struct i8259_chip, read_isr),
    STATE(struct i8259_chip, poll));
STATE_TABLE(i8259_table, "i8259", struct i8259_state,
    STATE_SUB(struct i8259_state, chip, &i8259_chip_table));
/* clang-format on */

static bool is_level(const struct i8259_chip *c, unsigned n)
{
    return c->ltim || (c->elcr >> n & 1);
}

/* How many steps below the most urgent input the most urgent one of `set` is; 8: set is empty. */
static unsigned rank(const struct i8259_chip *c, uint8_t set)
{
    for (unsigned r = 0; r < 8; r++)
        if (set >> ((c->lowest + 1 + r) & 7) & 1)
            return r;
    return 8;
}

static unsigned input_of_rank(const struct i8259_chip *c, unsigned r)
{
    return (c->lowest + 1 + r) & 7;
}

/* The input that the chip asks for, or -1. */
static int chip_pending(const struct i8259_chip *c, bool master)
{
    uint8_t blocking = c->isr;
    if (c->special_mask)
        blocking &= (uint8_t)~c->imr;
    /* Special fully nested mode: the slave in service may ask again for a more urgent input. */
    if (c->sfnm && master)
        blocking &= (uint8_t) ~(1 << CASCADE);
    unsigned r = rank(c, c->irr & ~c->imr);
    return r < rank(c, blocking) ? (int)input_of_rank(c, r) : -1;
}

static void chip_set(struct i8259_chip *c, unsigned n, bool level)
{
    uint8_t bit = (uint8_t)(1 << n);
    bool was = c->line & bit;
    c->line = level ? c->line | bit : c->line & ~bit;
    if (is_level(c, n))
        c->irr = level ? c->irr | bit : c->irr & ~bit;
    else if (level && !was)
        c->irr |= bit;
}

static void update(struct i8259 *p)
{
    chip_set(&p->s.chip[0], CASCADE, chip_pending(&p->s.chip[1], false) >= 0);
    irq_set(&p->intr, i8259_pending(p));
}

static void chip_take(struct i8259_chip *c, unsigned n)
{
    if (!c->aeoi)
        c->isr |= (uint8_t)(1 << n);
    else if (c->rotate_aeoi)
        c->lowest = (uint8_t)n;
    if (!is_level(c, n))
        c->irr &= (uint8_t) ~(1 << n);
}

/* The slave keeps its request line up while it has more: the master must see a new edge for it. */
static void cascade_edge(struct i8259 *p)
{
    chip_set(&p->s.chip[0], CASCADE, false);
    update(p);
}

bool i8259_pending(const struct i8259 *p)
{
    return chip_pending(&p->s.chip[0], true) >= 0;
}

uint8_t i8259_ack(struct i8259 *p)
{
    struct i8259_chip *m = &p->s.chip[0], *sl = &p->s.chip[1];
    int n = chip_pending(m, true);
    uint8_t vector;
    irq_set(&p->intr, false); /* falls with INTA: what follows is an edge of its own */
    if (n < 0)
        return m->base + 7;
    chip_take(m, (unsigned)n);
    if (n != CASCADE) {
        vector = (uint8_t)(m->base + n);
    } else {
        int k = chip_pending(sl, false);
        if (k >= 0)
            chip_take(sl, (unsigned)k);
        vector = (uint8_t)(sl->base + (k < 0 ? 7 : k));
        cascade_edge(p);
    }
    update(p);
    return vector;
}

void i8259_set(void *pair, unsigned n, bool level)
{
    struct i8259 *p = pair;
    if (n == CASCADE || n > 15)
        return;
    chip_set(&p->s.chip[n >> 3], n & 7, level);
    update(p);
}

static void write_icw1(struct i8259_chip *c, uint8_t v)
{
    c->imr = c->isr = c->irr = 0;
    c->lowest = 7;
    c->special_mask = c->read_isr = c->poll = c->rotate_aeoi = false;
    c->aeoi = c->sfnm = false; /* as if ICW4 were 0 */
    c->need_icw4 = v & 1;
    c->single = v & 2;
    c->ltim = v & 8;
    c->icw = 2;
    /* Edges must come anew, levels are there at once. */
    for (unsigned n = 0; n < 8; n++)
        if (is_level(c, n))
            c->irr |= c->line & (1 << n);
}

static void write_icw(struct i8259_chip *c, uint8_t v)
{
    switch (c->icw) {
    case 2:
        c->base = v & 0xf8;
        c->icw = !c->single ? 3 : c->need_icw4 ? 4 : 0;
        break;
    case 3: /* the cascade is wired, whatever the guest says */
        c->icw = c->need_icw4 ? 4 : 0;
        break;
    default:
        c->aeoi = v & 2;
        c->sfnm = v & 16;
        c->icw = 0;
        break;
    }
}

/* Ends the service of the most urgent input, -1 if none; masked ones don't count in special mask
 * mode (data sheet, p. 15). */
static int end_nonspecific(struct i8259_chip *c)
{
    unsigned r = rank(c, c->special_mask ? c->isr & ~c->imr : c->isr);
    if (r == 8)
        return -1;
    unsigned n = input_of_rank(c, r);
    c->isr &= (uint8_t) ~(1 << n);
    return (int)n;
}

static void write_ocw2(struct i8259_chip *c, uint8_t v)
{
    uint8_t n = v & 7;
    int ended;
    switch (v >> 5) {
    case 0: c->rotate_aeoi = false; break;
    case 1: end_nonspecific(c); break;
    case 2: break; /* no operation */
    case 3: c->isr &= (uint8_t) ~(1 << n); break;
    case 4: c->rotate_aeoi = true; break;
    case 5:
        ended = end_nonspecific(c);
        if (ended >= 0)
            c->lowest = (uint8_t)ended;
        break;
    case 6: c->lowest = n; break;
    case 7:
        c->isr &= (uint8_t) ~(1 << n);
        c->lowest = n;
        break;
    }
}

static void write_ocw3(struct i8259_chip *c, uint8_t v)
{
    if (v & 0x40)
        c->special_mask = v & 0x20;
    if (v & 4) {
        c->poll = true;
        return;
    }
    if (v & 2)
        c->read_isr = v & 1;
}

static void chip_write(struct i8259 *p, struct i8259_chip *c, uint64_t offset, uint8_t v)
{
    if (offset == 0 && (v & 0x10))
        write_icw1(c, v);
    else if (offset == 0 && (v & 8))
        write_ocw3(c, v);
    else if (offset == 0)
        write_ocw2(c, v);
    else if (c->icw)
        write_icw(c, v);
    else
        c->imr = v;
    update(p);
}

static uint8_t chip_read(struct i8259 *p, struct i8259_chip *c, uint64_t offset)
{
    if (c->poll) {
        int n = chip_pending(c, c == &p->s.chip[0]);
        c->poll = false;
        if (n < 0)
            return 0;
        chip_take(c, (unsigned)n);
        if (c == &p->s.chip[1] || n == CASCADE)
            cascade_edge(p);
        update(p);
        return (uint8_t)(0x80 | n);
    }
    if (offset == 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static uint64_t master_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8259 *p = dev;
    return chip_read(p, &p->s.chip[0], offset);
}

static void master_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
    struct i8259 *p = dev;
    chip_write(p, &p->s.chip[0], offset, (uint8_t)v);
}

static uint64_t slave_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8259 *p = dev;
    return chip_read(p, &p->s.chip[1], offset);
}

static void slave_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
    struct i8259 *p = dev;
    chip_write(p, &p->s.chip[1], offset, (uint8_t)v);
}

static uint64_t elcr_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8259 *p = dev;
    return p->s.chip[offset].elcr;
}

static void elcr_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
    struct i8259 *p = dev;
    struct i8259_chip *c = &p->s.chip[offset];
    /* The timer, the keyboard, the cascade, the clock and the FPU are edges for good. */
    c->elcr = (uint8_t)v & (offset ? 0xde : 0xf8);
    for (unsigned n = 0; n < 8; n++)
        if (is_level(c, n) && !(c->line >> n & 1))
            c->irr &= (uint8_t) ~(1 << n);
        else if (is_level(c, n))
            c->irr |= (uint8_t)(1 << n);
    update(p);
}

static const struct region_ops master_ops = {master_read, master_write, 1};
static const struct region_ops slave_ops = {slave_read, slave_write, 1};
static const struct region_ops elcr_ops = {elcr_read, elcr_write, 1};

void i8259_reset(struct i8259 *p)
{
    for (unsigned i = 0; i < 2; i++) {
        uint8_t line = p->s.chip[i].line; /* the wires are not ours to reset */
        p->s.chip[i] = (struct i8259_chip){.line = line, .lowest = 7};
    }
    update(p);
}

void i8259_restore(struct i8259 *p)
{
    for (unsigned i = 0; i < 2; i++) {
        p->s.chip[i].lowest &= 7;
        p->s.chip[i].base &= 0xf8;
    }
    update(p);
}

void i8259_init(struct i8259 *p, const struct log *log, struct irq intr)
{
    *p = (struct i8259){.log = log, .intr = intr};
    p->io[0] = (struct region){.name = "pic0", .size = 2, .ops = &master_ops, .dev = p};
    p->io[1] = (struct region){.name = "pic1", .size = 2, .ops = &slave_ops, .dev = p};
    p->elcr = (struct region){.name = "elcr", .size = 2, .ops = &elcr_ops, .dev = p};
    i8259_reset(p);
}
