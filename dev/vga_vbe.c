/* The Bochs VBE registers: a linear mode of any size that video memory holds. Every value that the
 * drawing code relies on is brought into range here, when it is written. */
#include "dev/vga.h"

static uint32_t bytes_per_line(const struct vga *v)
{
    uint32_t bpp = v->s.vbe[VBE_BPP];
    return v->s.vbe[VBE_VIRT_WIDTH] * (bpp == 15 ? 16 : bpp) / 8;
}

/* In range afterwards: a known depth; XRES and YRES at most VBE_MAX_*; a line that fits, and a
 * virtual width not less than XRES. What lies beyond the video memory is drawn black. */
void vbe_fix(struct vga *v)
{
    uint16_t *r = v->s.vbe;
    switch (r[VBE_BPP]) {
    case 4:
    case 8:
    case 15:
    case 16:
    case 24:
    case 32: break;
    default: r[VBE_BPP] = 8; break;
    }
    r[VBE_XRES] = (uint16_t)max_u64(min_u64(r[VBE_XRES], VBE_MAX_XRES) & ~7u, 8);
    r[VBE_YRES] = (uint16_t)max_u64(min_u64(r[VBE_YRES], VBE_MAX_YRES), 1);
    r[VBE_VIRT_WIDTH] = (uint16_t)(max_u64(r[VBE_VIRT_WIDTH], r[VBE_XRES]) & 0xfff8);
    uint32_t lines = VGA_VRAM_SIZE / bytes_per_line(v);
    r[VBE_VIRT_HEIGHT] = (uint16_t)min_u64(lines, 65535);
    if (r[VBE_X_OFFSET] > r[VBE_VIRT_WIDTH] - r[VBE_XRES])
        r[VBE_X_OFFSET] = r[VBE_VIRT_WIDTH] - r[VBE_XRES];
    if (r[VBE_Y_OFFSET] + r[VBE_YRES] > r[VBE_VIRT_HEIGHT])
        r[VBE_Y_OFFSET] = r[VBE_VIRT_HEIGHT] > r[VBE_YRES] ? r[VBE_VIRT_HEIGHT] - r[VBE_YRES] : 0;
    r[VBE_BANK] &= VGA_VRAM_SIZE / 0x10000 - 1;
    r[VBE_MEMORY_64K] = VGA_VRAM_SIZE / 0x10000;
}

uint16_t vbe_read(const struct vga *v, unsigned index)
{
    static const uint16_t most[] = {0, VBE_MAX_XRES, VBE_MAX_YRES, 32};
    if (index >= VBE_REGISTERS)
        return 0;
    if ((v->s.vbe[VBE_ENABLE] & VBE_GETCAPS) && index >= VBE_XRES && index <= VBE_BPP)
        return most[index];
    return v->s.vbe[index];
}

static void enable(struct vga *v, uint16_t value)
{
    uint16_t *r = v->s.vbe;
    bool was = vbe_enabled(v);
    r[VBE_ENABLE] = value;
    if (!(value & VBE_ENABLED)) {
        r[VBE_BANK] = 0;
        return;
    }
    if (was)
        return;
    r[VBE_VIRT_WIDTH] = r[VBE_XRES];
    r[VBE_X_OFFSET] = r[VBE_Y_OFFSET] = 0;
    vbe_fix(v);
    LOG(v->log, DEV, "vga: VBE mode %ux%u, %u bits", r[VBE_XRES], r[VBE_YRES], r[VBE_BPP]);
    if (!(value & VBE_NOCLEAR))
        memset(v->vram, 0, min_u64((uint64_t)bytes_per_line(v) * r[VBE_YRES], VGA_VRAM_SIZE));
}

void vbe_write(struct vga *v, unsigned index, uint16_t value)
{
    uint16_t *r = v->s.vbe;
    switch (index) {
    case VBE_ID:
        if (value >= 0xb0c0 && value <= 0xb0c5)
            r[VBE_ID] = value;
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
        if (vbe_enabled(v)) /* a mode is left before the next is set */
            break;
        r[index] = value;
        break;
    case VBE_BANK: r[VBE_BANK] = value & (VGA_VRAM_SIZE / 0x10000 - 1); break;
    case VBE_ENABLE: enable(v, value); break;
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        r[index] = value;
        if (vbe_enabled(v))
            vbe_fix(v);
        break;
    default: break;
    }
}

void vbe_reset(struct vga *v)
{
    memset(v->s.vbe, 0, sizeof v->s.vbe);
    v->s.vbe_index = 0;
    v->s.vbe[VBE_ID] = 0xb0c5;
    v->s.vbe[VBE_MEMORY_64K] = VGA_VRAM_SIZE / 0x10000;
}

/* Index at 0x1ce, data at 0x1cf (0x1d0 where odd words can't be had); words only. */
static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
    const struct vga *v = dev;
    if (size != 2)
        return ~0ull;
    return offset == 0 ? v->s.vbe_index : vbe_read(v, v->s.vbe_index);
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct vga *v = dev;
    if (size != 2)
        return;
    if (offset == 0)
        v->s.vbe_index = (uint16_t)value;
    else
        vbe_write(v, v->s.vbe_index, (uint16_t)value);
}

const struct region_ops vbe_port_ops = {port_read, port_write, 1 | 2};
