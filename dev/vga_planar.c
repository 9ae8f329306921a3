/* The VGA's memory window: what the graphics controller makes of a byte that the CPU reads or
 * writes. All four planes are handled at once as a 32-bit word, plane 0 lowest. */
#include "dev/vga.h"

/* 0xff in byte p for each bit p of a nibble. */
static uint32_t planes(uint8_t nibble)
{
    uint32_t n = nibble & 15;
    return ((n & 1) | (n & 2) << 7 | (n & 4) << 14 | (n & 8) << 21) * 0xff;
}

static uint32_t everywhere(uint8_t byte)
{
    return byte * 0x01010101u;
}

static uint8_t rotate(uint8_t byte, unsigned n)
{
    return (uint8_t)(byte >> n | byte << (8 - n));
}

void vga_window_changed(struct vga *v)
{
    const uint8_t *gc = v->s.gc;
    v->plain_write = !(gc[GC_MODE] & 3) && !(gc[GC_ENABLE_SET_RESET] & 15) &&
                     !(gc[GC_ROTATE] & 0x1f) && gc[GC_BIT_MASK] == 0xff;
}

/* Offset within the video memory that a window offset stands for, by the memory map select field;
 * false where this mode has nothing. */
static bool decode(const struct vga *v, uint32_t offset, uint32_t *addr)
{
    *addr = offset;
    switch (v->s.gc[GC_MISC] >> 2 & 3) {
    case 0: return true;
    case 1: return offset < 0x10000;
    case 2: *addr = offset - 0x10000; return offset >= 0x10000 && offset < 0x18000;
    default: *addr = offset - 0x18000; return offset >= 0x18000;
    }
}

static uint32_t load(const struct vga *v, uint32_t plane_offset)
{
    return get_le32(v->vram + 4 * (size_t)plane_offset);
}

static void store(struct vga *v, uint32_t plane_offset, uint32_t value, uint32_t mask)
{
    uint8_t *at = v->vram + 4 * (size_t)plane_offset;
    put_le32(at, (get_le32(at) & ~mask) | (value & mask));
}

/* The write modes (IBM, graphics controller, register 5). */
static uint32_t combine(const struct vga *v, uint8_t byte, uint32_t latch)
{
    const uint8_t *gc = v->s.gc;
    uint32_t value, mask = everywhere(gc[GC_BIT_MASK]);
    switch (gc[GC_MODE] & 3) {
    case 0: {
        uint32_t set = planes(gc[GC_SET_RESET]), enable = planes(gc[GC_ENABLE_SET_RESET]);
        value = everywhere(rotate(byte, gc[GC_ROTATE] & 7));
        value = (value & ~enable) | (set & enable);
        break;
    }
    case 1: return latch;
    case 2: value = planes(byte); break;
    default:
        mask &= everywhere(rotate(byte, gc[GC_ROTATE] & 7));
        value = planes(gc[GC_SET_RESET]);
        break;
    }
    switch (gc[GC_ROTATE] >> 3 & 3) {
    case 1: value &= latch; break;
    case 2: value |= latch; break;
    case 3: value ^= latch; break;
    default: break;
    }
    return (value & mask) | (latch & ~mask);
}

/* A bank of 64 KiB of the linear framebuffer, for VBE modes of 8 bits a pixel and more. */
static bool vbe_linear(const struct vga *v)
{
    return vbe_enabled(v) && v->s.vbe[VBE_BPP] >= 8;
}

static uint32_t bank(const struct vga *v)
{
    return vbe_enabled(v) ? (uint32_t)v->s.vbe[VBE_BANK] << 16 : 0;
}

static void write_byte(struct vga *v, uint32_t offset, uint8_t byte)
{
    const uint8_t *seq = v->s.seq;
    uint32_t addr;
    uint8_t map = seq[SEQ_MAP_MASK] & 15;
    if (vbe_linear(v)) {
        if (offset < 0x10000)
            v->vram[(bank(v) + offset) & (VGA_VRAM_SIZE - 1)] = byte;
        return;
    }
    if (!decode(v, offset, &addr))
        return;
    if (seq[SEQ_MEMORY] & 8) { /* chain 4: address bits 1:0 select the plane */
        map &= 1u << (addr & 3);
        addr &= 0xfffc;
    } else if (!(seq[SEQ_MEMORY] & 4)) { /* odd/even: bit 0 does */
        map &= addr & 1 ? 0xa : 0x5;
        addr &= 0xfffe;
    } else {
        addr = (addr & 0xffff) + bank(v);
    }
    addr &= VGA_VRAM_SIZE / 4 - 1;
    store(v, addr, v->plain_write ? everywhere(byte) : combine(v, byte, v->s.latch), planes(map));
}

/* Read mode 1: a bit for each pixel whose colour matches in the planes that count. */
static uint8_t compare(const struct vga *v)
{
    uint32_t differ = (v->s.latch ^ planes(v->s.gc[GC_COMPARE])) & planes(v->s.gc[GC_DONT_CARE]);
    differ |= differ >> 16;
    return (uint8_t) ~(differ | differ >> 8);
}

static uint8_t read_byte(struct vga *v, uint32_t offset)
{
    const uint8_t *gc = v->s.gc;
    uint32_t addr;
    unsigned plane = gc[GC_READ_MAP] & 3;
    if (vbe_linear(v))
        return offset < 0x10000 ? v->vram[(bank(v) + offset) & (VGA_VRAM_SIZE - 1)] : 0xff;
    if (!decode(v, offset, &addr))
        return 0xff;
    if (v->s.seq[SEQ_MEMORY] & 8) {
        plane = addr & 3;
        addr &= 0xfffc;
    } else if (gc[GC_MODE] & 0x10) {
        plane = (plane & 2) | (addr & 1);
        addr &= 0xfffe;
    } else {
        addr = (addr & 0xffff) + bank(v);
    }
    v->s.latch = load(v, addr & (VGA_VRAM_SIZE / 4 - 1));
    return gc[GC_MODE] & 8 ? compare(v) : (uint8_t)(v->s.latch >> 8 * plane);
}

/* The latch is all that a read changes. */
static bool window_peek(void *dev, uint64_t offset, uint8_t *value)
{
    struct vga *v = dev;
    uint32_t latch = v->s.latch;
    *value = read_byte(v, (uint32_t)offset);
    v->s.latch = latch;
    return true;
}

static uint64_t window_read(void *dev, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(dev, (uint32_t)offset + i) << 8 * i;
    return value;
}

static void window_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        write_byte(dev, (uint32_t)offset + i, (uint8_t)(value >> 8 * i));
}

const struct region_ops vga_window_ops = {window_read, window_write, 1 | 2 | 4 | 8, window_peek};
