#include "dev/piix3.h"

STATE_TABLE(piix3_table, "piix3", struct piix3_state, STATE(struct piix3_state, pic_level),
            STATE(struct piix3_state, pirq_level), STATE(struct piix3_state, reset_control),
            STATE(struct piix3_state, ferr), STATE_TEMP(struct piix3_state, unused));
STATE_TABLE(piix4_pm_table, "piix4_pm", struct piix4_pm_state,
            STATE_ARRAY(struct piix4_pm_state, smbus));

/* Inputs that no PCI interrupt may be routed to: timer, keyboard, cascade, clock, FPU
 * (290550, 3.3.8: reserved values). */
#define NOT_ROUTABLE 0x2107u

static void drive_pic(struct piix3 *x)
{
    uint16_t level = 0;
    for (unsigned n = 0; n < 4; n++) {
        uint8_t route = x->pci.s.config[PIIX3_PIRQRC + n];
        if ((x->s.pirq_level >> n & 1) && !(route & 0x80))
            level |= 1u << (route & 15);
    }
    level &= (uint16_t)~NOT_ROUTABLE;
    uint16_t change = level ^ x->s.pic_level;
    x->s.pic_level = level;
    for (unsigned i = 0; i < 16; i++)
        if (change >> i & 1)
            irq_set(&x->pic[i], level >> i & 1);
}

void piix3_pirq(void *piix3, unsigned n, bool level)
{
    struct piix3 *x = piix3;
    uint8_t bit = (uint8_t)(1u << (n & 3));
    x->s.pirq_level = (uint8_t)(level ? x->s.pirq_level | bit : x->s.pirq_level & ~bit);
    drive_pic(x);
}

static void isa_written(void *opaque, unsigned offset, unsigned size)
{
    if (offset < PIIX3_PIRQRC + 4 && offset + size > PIIX3_PIRQRC)
        drive_pic(opaque);
}

void piix3_ferr(struct piix3 *x, bool level)
{
    bool rises = level && !(x->s.ferr & PIIX3_FERR);
    if (!level)
        x->s.ferr &= (uint8_t) ~(PIIX3_FERR | PIIX3_IGNNE);
    if (!rises)
        return;
    x->s.ferr |= PIIX3_FERR | PIIX3_IRQ13;
    irq_set(&x->irq13, true);
}

/* Nothing can be read from the coprocessor's ports. */
static uint64_t coprocessor_read(void *dev, uint64_t offset, unsigned size)
{
    return 0xff;
}

static void coprocessor_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct piix3 *x = dev;
    if (offset)
        return; /* 0xf1 reset an 80287 */
    if (x->s.ferr & PIIX3_FERR)
        x->s.ferr |= PIIX3_IGNNE;
    x->s.ferr &= (uint8_t)~PIIX3_IRQ13;
    irq_set(&x->irq13, false);
}

static const struct region_ops coprocessor_ops = {coprocessor_read, coprocessor_write, 1};

static uint64_t reset_read(void *dev, uint64_t offset, unsigned size)
{
    return ((struct piix3 *)dev)->s.reset_control;
}

static void reset_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct piix3 *x = dev;
    /* The change of bit 2 from 0 to 1 resets; the bit itself doesn't stay. */
    x->s.reset_control = value & 2;
    if ((value & 4) && x->reset)
        x->reset(x->reset_opaque);
}

static const struct region_ops reset_ops = {reset_read, reset_write, 1};

void piix3_init(struct piix3 *x, struct pci_bus *pci, void (*reset)(void *), void *opaque,
                const struct log *log)
{
    static const struct pci_ids ids = {0x8086, 0x7000, 0x060100, 0, 0x1af4, 0x1100, 0};
    *x = (struct piix3){.reset = reset, .reset_opaque = opaque, .log = log};
    pci_func_init(&x->pci, "piix3", &ids);
    x->pci.image[PCI_COMMAND] = 7;
    x->pci.image[PCI_STATUS + 1] = 2;
    x->pci.image[PCI_HEADER_TYPE] = 0x80;
    /* Values after a reset and writable bits, by the datasheet's register list */
    static const struct {
        uint8_t at, image, mask;
    } regs[] = {
        {0x4c, 0x4d, 0xff}, {0x4e, 0x03, 0xff}, {0x4f, 0x00, 0x01}, {0x60, 0x80, 0x8f},
        {0x61, 0x80, 0x8f}, {0x62, 0x80, 0x8f}, {0x63, 0x80, 0x8f}, {0x69, 0x02, 0xff},
        {0x6a, 0x00, 0xff}, {0x70, 0x80, 0xff}, {0x76, 0x0c, 0x8f}, {0x77, 0x0c, 0x8f},
        {0x78, 0x02, 0xff}, {0x82, 0x00, 0xff}, {0xa0, 0x08, 0xff}, {0xa2, 0x00, 0xff},
        {0xa3, 0x00, 0xff}, {0xa5, 0x00, 0xff}, {0xa6, 0x00, 0xff}, {0xa7, 0x00, 0xff},
        {0xa8, 0x0f, 0xff}, {0xaa, 0x00, 0xff}, {0xab, 0x00, 0xff}, {0xac, 0x00, 0xff},
        {0xae, 0x00, 0xff},
    };
    for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
        x->pci.image[regs[i].at] = regs[i].image;
        x->pci.wmask[regs[i].at] = regs[i].mask;
    }
    x->pci.config_written = isa_written;
    x->pci.opaque = x;
    x->reset_port =
        (struct region){.name = "reset control", .size = 1, .ops = &reset_ops, .dev = x};
    pci->reset_control = &x->reset_port;
    x->coprocessor =
        (struct region){.name = "coprocessor", .size = 2, .ops = &coprocessor_ops, .dev = x};
    pci_add(pci, &x->pci, PCI_DEVFN(1, 0));
}

void piix3_reset(struct piix3 *x)
{
    x->s.pirq_level = 0;
    x->s.reset_control = 0;
    x->s.ferr = 0;
    irq_set(&x->irq13, false);
    drive_pic(x);
}

void piix3_route(struct piix3 *x, const uint8_t irq[4])
{
    for (unsigned n = 0; n < 4; n++)
        pci_config_write(x->pci.bus, x->pci.devfn, PIIX3_PIRQRC + n, 1, irq[n]);
}

/* --- power management --- */

#define PMBASE   0x40
#define DEVACTB  0x58
#define PMMISC   0x80
#define SMBBASE  0x90
#define SMBHSTC  0xd2
#define SMB_STS  0 /* host status: bit 2 device error */
#define SMB_CNT  2 /* host control: bit 6 start */
#define SMB_FAIL 0x04

static uint64_t smbus_read(void *dev, uint64_t offset, unsigned size)
{
    return ((struct piix4_pm *)dev)->s.smbus[offset];
}

static void smbus_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct piix4_pm *m = dev;
    if (offset == SMB_STS) {
        m->s.smbus[SMB_STS] &= (uint8_t)~value;
        return;
    }
    m->s.smbus[offset] = (uint8_t)value;
    if (offset == SMB_CNT && (value & 0x40)) {
        m->s.smbus[SMB_CNT] &= ~0x40;
        m->s.smbus[SMB_STS] |= SMB_FAIL; /* nobody acknowledges the address */
    }
}

static const struct region_ops smbus_ops = {smbus_read, smbus_write, 1};

static void place(struct piix4_pm *m, struct region *r, uint16_t base)
{
    struct err e;
    if (!r || (r->mapped && r->base == base))
        return;
    bus_remove(m->bus, r);
    if (base && !bus_add(m->bus, BUS_PORT, base, r, &e))
        LOG(m->log, PCI, "piix4 pm: %s", e.text);
}

void piix4_pm_restore(struct piix4_pm *m)
{
    const uint8_t *c = m->pci.s.config;
    place(m, m->acpi, c[PMMISC] & 1 ? get_le16(c + PMBASE) & 0xffc0 : 0);
    place(m, &m->smbus, c[SMBHSTC] & 1 ? get_le16(c + SMBBASE) & 0xfff0 : 0);
}

static void pm_written(void *opaque, unsigned offset, unsigned size)
{
    piix4_pm_restore(opaque);
}

void piix4_pm_init(struct piix4_pm *m, struct pci_bus *pci, struct region *acpi,
                   const struct log *log)
{
    static const struct pci_ids ids = {0x8086, 0x7113, 0x068000, 3, 0x1af4, 0x1100, 1};
    *m = (struct piix4_pm){.acpi = acpi, .bus = pci->bus, .log = log};
    pci_func_init(&m->pci, "piix4 pm", &ids);
    m->smbus =
        (struct region){.name = "smbus", .size = sizeof m->s.smbus, .ops = &smbus_ops, .dev = m};
    m->pci.image[PCI_STATUS] = 0x80;
    m->pci.image[PCI_STATUS + 1] = 2;
    m->pci.image[PMBASE] = m->pci.image[SMBBASE] = 1;
    m->pci.image[PCI_INTERRUPT_LINE] = 9; /* the SCI is wired so */
    put_le16(m->pci.wmask + PMBASE, 0xffc0);
    put_le16(m->pci.wmask + SMBBASE, 0xfff0);
    m->pci.wmask[PMMISC] = 1;
    m->pci.wmask[SMBHSTC] = 0x0f;
    put_le32(m->pci.wmask + DEVACTB, 0xffffffff);
    /* Software SMIs count as enabled: firmware takes that for a machine whose SMM was set up before
     * it, and doesn't wait for an SMI that never comes. */
    m->pci.image[DEVACTB + 3] = 2;
    m->pci.config_written = pm_written;
    m->pci.opaque = m;
    pci_add(pci, &m->pci, PCI_DEVFN(1, 3));
}

void piix4_pm_reset(struct piix4_pm *m)
{
    memset(&m->s, 0, sizeof m->s);
    piix4_pm_restore(m);
}

void piix4_pm_enable(struct piix4_pm *m, uint16_t pm_base, uint16_t smb_base)
{
    struct pci_bus *pci = m->pci.bus;
    pci_config_write(pci, m->pci.devfn, PMBASE, 4, pm_base);
    pci_config_write(pci, m->pci.devfn, PMMISC, 1, 1);
    pci_config_write(pci, m->pci.devfn, SMBBASE, 4, smb_base);
    pci_config_write(pci, m->pci.devfn, SMBHSTC, 1, smb_base != 0);
}
