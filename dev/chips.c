#include "dev/chips.h"

void chips_pic(struct irq_chips *c, unsigned n, bool level)
{
    if (!c->input) {
        i8259_set(c->pic, n, level);
        return;
    }
    uint8_t *line = &c->pic->s.chip[n >> 3 & 1].line, bit = (uint8_t)(1 << (n & 7));
    if (n > 15 || n == 2 || level == !!(*line & bit))
        return;
    *line ^= bit;
    c->input(c->opaque, CHIPS_PIC, n, level);
}

void chips_ioapic(struct irq_chips *c, unsigned pin, bool level)
{
    if (!c->input) {
        ioapic_set(c->ioapic, pin, level);
        return;
    }
    uint32_t *line = &c->ioapic->s.line;
    if (pin >= IOAPIC_PINS || level == (*line >> pin & 1))
        return;
    *line ^= 1u << pin;
    c->input(c->opaque, CHIPS_IOAPIC, pin, level);
}

void chips_message(struct irq_chips *c, uint64_t addr, uint32_t data)
{
    if (c->message)
        c->message(c->opaque, addr, data);
    else
        apic_bus_msi(c->apics, addr, data);
}
