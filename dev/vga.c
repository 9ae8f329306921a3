#include "dev/vga.h"

#include <stdlib.h>

#define S struct vga_state
STATE_TABLE(vga_table, "vga", S, STATE(S, latch), STATE(S, vbe_index), STATE_ARRAY(S, vbe),
            STATE(S, misc), STATE(S, feature), STATE(S, seq_index), STATE(S, gc_index),
            STATE(S, crtc_index), STATE(S, attr_index), STATE(S, attr_data), STATE(S, dac_mask),
            STATE(S, dac_index), STATE(S, dac_component), STATE(S, dac_reading),
            STATE_ARRAY(S, seq), STATE_ARRAY(S, gc), STATE_ARRAY(S, crtc), STATE_ARRAY(S, attr),
            STATE_BLOB(S, dac), STATE(S, reserved));
#undef S

struct vram {
    uint8_t bytes[VGA_VRAM_SIZE];
};
STATE_TABLE(vga_vram_table, "vram", struct vram, STATE_BLOB(struct vram, bytes));

/* --- status --- */

/* Where the beam is, by the clock: 70 frames a second of 449 lines, 400 of them visible, whatever
 * the mode; the retrace is lines 412 and 413. Programs only wait for the edges. */
static uint8_t input_status(const struct vga *v)
{
    enum { LINE_NS = 31778, LINES = 449 };
    uint64_t now = clock_now(v->clock);
    uint64_t line = now / LINE_NS % LINES, in_line = now % LINE_NS;
    if (line == 412 || line == 413)
        return 0x09;
    return line >= 400 || in_line >= LINE_NS * 4 / 5 ? 0x01 : 0x00;
}

/* --- attribute controller and DAC --- */

static void attr_write(struct vga *v, uint8_t value)
{
    struct vga_state *s = &v->s;
    unsigned i = s->attr_index & 0x1f;
    if (!s->attr_data)
        s->attr_index = value & 0x3f;
    else if (i < 16)
        s->attr[i] = value & 0x3f;
    else if (i <= 20)
        s->attr[i] = value;
    s->attr_data ^= 1;
}

static void dac_next(struct vga_state *s)
{
    if (++s->dac_component == 3) {
        s->dac_component = 0;
        s->dac_index++;
    }
}

static void dac_write(struct vga *v, uint8_t value)
{
    struct vga_state *s = &v->s;
    s->dac[s->dac_index][s->dac_component] =
        s->vbe[VBE_ENABLE] & VBE_8BIT_DAC ? value : value & 0x3f;
    dac_next(s);
}

static uint8_t dac_read(struct vga *v)
{
    struct vga_state *s = &v->s;
    uint8_t value = s->dac[s->dac_index][s->dac_component];
    dac_next(s);
    return value;
}

static void dac_select(struct vga_state *s, uint8_t index, bool reading)
{
    s->dac_index = index;
    s->dac_component = 0;
    s->dac_reading = reading;
}

/* --- ports --- */

static void crtc_write(struct vga_state *s, uint8_t value)
{
    unsigned i = s->crtc_index & 0x1f;
    if (i < 8 && (s->crtc[0x11] & 0x80)) { /* timing is locked, but for bit 8 of line compare */
        if (i == 7)
            s->crtc[7] = (uint8_t)((s->crtc[7] & ~0x10) | (value & 0x10));
        return;
    }
    if (i <= 0x18)
        s->crtc[i] = value;
}

/* The CRTC and its neighbours are at 0x3dx in colour, at 0x3bx in monochrome modes. */
static bool elsewhere(const struct vga *v, unsigned port)
{
    bool colour = v->s.misc & 1;
    return port < 0x3c0 ? colour : port >= 0x3d0 && !colour;
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    struct vga_state *s = &v->s;
    if (elsewhere(v, port))
        return 0xff;
    switch (port) {
    case 0x3c0: return s->attr_data ? 0 : s->attr_index;
    case 0x3c1: return s->attr[s->attr_index & 0x1f];
    case 0x3c2: return 0x10; /* the switch sense bit: a colour monitor */
    case 0x3c4: return s->seq_index;
    case 0x3c5: return s->seq[s->seq_index & 7];
    case 0x3c6: return s->dac_mask;
    case 0x3c7: return s->dac_reading ? 3 : 0;
    case 0x3c8: return s->dac_index;
    case 0x3c9: return dac_read(v);
    case 0x3ca: return s->feature;
    case 0x3cc: return s->misc;
    case 0x3ce: return s->gc_index;
    case 0x3cf: return s->gc[s->gc_index & 15];
    case 0x3b4:
    case 0x3d4: return s->crtc_index;
    case 0x3b5:
    case 0x3d5: return s->crtc[s->crtc_index & 0x1f];
    case 0x3ba:
    case 0x3da: s->attr_data = 0; return input_status(v);
    default: return 0xff;
    }
}

void vga_port_write(struct vga *v, unsigned port, uint8_t value)
{
    struct vga_state *s = &v->s;
    if (elsewhere(v, port))
        return;
    switch (port) {
    case 0x3c0: attr_write(v, value); break;
    case 0x3c2: s->misc = value; break;
    case 0x3c4: s->seq_index = value & 7; break;
    case 0x3c5:
        if (s->seq_index <= 4)
            s->seq[s->seq_index] = value;
        break;
    case 0x3c6: s->dac_mask = value; break;
    case 0x3c7: dac_select(s, value, true); break;
    case 0x3c8: dac_select(s, value, false); break;
    case 0x3c9: dac_write(v, value); break;
    case 0x3ce: s->gc_index = value & 15; break;
    case 0x3cf:
        if (s->gc_index <= 8)
            s->gc[s->gc_index] = value;
        vga_window_changed(v);
        break;
    case 0x3b4:
    case 0x3d4: s->crtc_index = value & 0x1f; break;
    case 0x3b5:
    case 0x3d5: crtc_write(s, value); break;
    case 0x3ba:
    case 0x3da: s->feature = value & 3; break;
    default: break;
    }
}

static uint64_t ports_read(void *dev, uint64_t offset, unsigned size)
{
    return vga_port_read(dev, 0x3b0 + (unsigned)offset);
}

static void ports_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    vga_port_write(dev, 0x3b0 + (unsigned)offset, (uint8_t)value);
}

static const struct region_ops port_ops = {ports_read, ports_write, 1};

/* BAR 2: the VGA ports from 0x3c0 on at 0x400, the VBE registers at 0x500, and at 0x600 how long
 * that block is and the framebuffer's byte order (little, and so it stays). */
static uint64_t mmio_read(void *dev, uint64_t offset, unsigned size)
{
    struct vga *v = dev;
    uint64_t value = 0;
    if (offset >= 0x500 && offset < 0x500 + 2 * VBE_REGISTERS && size == 2)
        return vbe_read(v, (unsigned)(offset - 0x500) / 2);
    if (offset == 0x600 && size == 4)
        return 8;
    if (offset == 0x604 && size == 4)
        return 0x1e1e1e1e;
    for (unsigned i = 0; i < size; i++)
        if (offset + i >= 0x400 && offset + i < 0x420)
            value |= (uint64_t)vga_port_read(v, (unsigned)(offset + i) - 0x400 + 0x3c0) << 8 * i;
    return value;
}

static void mmio_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct vga *v = dev;
    if (offset >= 0x500 && offset < 0x500 + 2 * VBE_REGISTERS && size == 2)
        vbe_write(v, (unsigned)(offset - 0x500) / 2, (uint16_t)value);
    for (unsigned i = 0; i < size; i++)
        if (offset + i >= 0x400 && offset + i < 0x420)
            vga_port_write(v, (unsigned)(offset + i) - 0x400 + 0x3c0, (uint8_t)(value >> 8 * i));
}

static const struct region_ops mmio_ops = {mmio_read, mmio_write, 1 | 2 | 4};

/* --- set-up --- */

/* Zeroed, and page-aligned as the bus wants it; pages that nobody touches cost nothing. */
static uint8_t *aligned_block(void **block, size_t size)
{
    *block = xcalloc(size + PAGE_SIZE, 1);
    return (uint8_t *)align_up((uintptr_t)*block, PAGE_SIZE);
}

void vga_init(struct vga *v, struct pci_bus *pci, unsigned devfn, struct clock *clock,
              const struct log *log)
{
    static const struct pci_ids ids = {0x1234, 0x1111, 0x030000, 2, 0x1af4, 0x1100, 0};
    memset(v, 0, sizeof *v);
    v->vram = aligned_block(&v->vram_block, VGA_VRAM_SIZE);
    v->clock = clock;
    v->log = log;
    v->display = (struct display_source){vga_capture, v};
    v->window = (struct region){
        .name = "vga window", .size = 0x20000, .ops = &vga_window_ops, .dev = v, .posted = true};
    v->ports = (struct region){.name = "vga ports", .size = 0x30, .ops = &port_ops, .dev = v};
    v->vbe_ports = (struct region){.name = "vbe", .size = 4, .ops = &vbe_port_ops, .dev = v};
    v->framebuffer =
        (struct region){.name = "vga framebuffer", .size = VGA_VRAM_SIZE, .host = v->vram};
    v->mmio = (struct region){.name = "vga mmio", .size = 4096, .ops = &mmio_ops, .dev = v};
    pci_func_init(&v->pci, "vga", &ids);
    pci_func_bar(&v->pci, 0, PCI_BAR_MEM32, &v->framebuffer);
    pci_func_bar(&v->pci, 2, PCI_BAR_MEM32, &v->mmio);
    /* The legacy ports and window answer always, but their drivers want to see them enabled. */
    v->pci.wmask[PCI_COMMAND] |= PCI_COMMAND_IO;
    pci_add(pci, &v->pci, devfn);
    vga_reset(v);
}

/* The 8 by 16 font of a VGA BIOS is known by its first two characters, the blank and the face of
 * code page 437. */
static const uint8_t *find_font(const uint8_t *rom, uint32_t size)
{
    static const uint8_t start[32] = {[18] = 0x7e, 0x81, 0xa5, 0x81, 0x81,
                                      0xbd,        0x99, 0x81, 0x81, 0x7e};
    for (uint32_t i = 0; i + 4096 <= size; i++)
        if (!memcmp(rom + i, start, sizeof start))
            return rom + i;
    return NULL;
}

void vga_set_rom(struct vga *v, const uint8_t *bytes, uint32_t size)
{
    uint32_t room = PAGE_SIZE;
    CHECK(size <= 1u << 20 && !v->rom_block);
    while (room < size)
        room *= 2;
    uint8_t *rom = aligned_block(&v->rom_block, room);
    memcpy(rom, bytes, size);
    v->font = find_font(rom, size);
    v->rom = (struct region){.name = "vga rom", .size = room, .host = rom, .rom = true};
    pci_func_bar(&v->pci, PCI_ROM, PCI_BAR_MEM32, &v->rom);
}

void vga_free(struct vga *v)
{
    free(v->pixels);
    free(v->vram_block);
    free(v->rom_block);
    v->pixels = NULL;
    v->vram_block = v->rom_block = NULL;
    v->pixel_room = 0;
}

void vga_reset(struct vga *v)
{
    memset(&v->s, 0, sizeof v->s);
    v->s.misc = 1;
    v->s.dac_mask = 0xff;
    v->s.gc[GC_DONT_CARE] = 15;
    v->s.gc[GC_BIT_MASK] = 0xff;
    vbe_reset(v);
    vga_window_changed(v);
}

void vga_restore(struct vga *v)
{
    v->s.seq_index &= 7;
    v->s.gc_index &= 15;
    v->s.crtc_index &= 31;
    v->s.dac_component %= 3;
    if (vbe_enabled(v))
        vbe_fix(v);
    vga_window_changed(v);
}

/* Mode 3 by the tables of the IBM manual. */
void vga_text_mode(struct vga *v)
{
    static const uint8_t seq[] = {3, 0, 3, 0, 2};
    static const uint8_t gc[] = {0, 0, 0, 0, 0, 0x10, 0x0e, 15, 0xff};
    static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,
                                   0x4f, 0x0d, 0x0e, 0,    0,    0,    0,    0x9c, 0x8e,
                                   0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t attr[] = {0,  1,  2,  3,  4,  5,  20, 7,    56, 57, 58,
                                   59, 60, 61, 62, 63, 12, 0,  0x0f, 8,  0};
    struct vga_state *s = &v->s;
    vga_reset(v);
    s->misc = 0x67;
    s->attr_index = 0x20;
    memcpy(s->seq, seq, sizeof seq);
    memcpy(s->gc, gc, sizeof gc);
    memcpy(s->crtc, crtc, sizeof crtc);
    memcpy(s->attr, attr, sizeof attr);
    for (unsigned i = 0; i < 64; i++) /* two bits a colour: bits 2:0 strong, 5:3 weak */
        for (unsigned k = 0; k < 3; k++)
            s->dac[i][k] = (uint8_t)((i >> (2 - k) & 1) * 0x2a + (i >> (5 - k) & 1) * 0x15);
    for (unsigned n = 0; n < 0x8000; n++)
        put_le16(v->vram + 4 * n, 0x0720);
    for (unsigned n = 0; v->font && n < 4096; n++)
        v->vram[4 * (n / 16 * 32 + n % 16) + 2] = v->font[n];
    vga_window_changed(v);
}
