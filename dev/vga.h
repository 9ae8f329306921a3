/* A standard VGA (IBM's PS/2 Hardware Technical Reference, "Video Subsystem") with the Bochs VBE
 * extension and a linear framebuffer, as PCI device 1234:1111 like other emulators' "std" VGA.
 *
 * vga.c has the ports and the PCI function; vga_vbe.c the Bochs VBE registers; vga_planar.c the
 * memory window at 0xa0000; vga_draw.c makes a picture of it all when a display asks.
 *
 * Video memory is four planes, interleaved: byte 4 * n + p of `vram` is byte n of plane p. The
 * linear framebuffer shows the same bytes in order. */
#ifndef ISHI_DEV_VGA_H
#define ISHI_DEV_VGA_H

#include "backend/display.h"
#include "base/clock.h"
#include "dev/pci.h"

#define VGA_VRAM_SIZE (16u << 20)
#define VGA_MAX_CELLS 16384 /* of a text screen */
#define VBE_MAX_XRES  2560
#define VBE_MAX_YRES  1600
#define VBE_REGISTERS 11

/* Registers of the Bochs VBE extension. */
enum vbe_index {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K,
};
#define VBE_ENABLED  0x01
#define VBE_GETCAPS  0x02
#define VBE_8BIT_DAC 0x20
#define VBE_LFB      0x40
#define VBE_NOCLEAR  0x80

/* Indexed registers by name, where several files use them. */
enum { SEQ_CLOCKING = 1, SEQ_MAP_MASK = 2, SEQ_FONT = 3, SEQ_MEMORY = 4 };
enum {
    GC_SET_RESET,
    GC_ENABLE_SET_RESET,
    GC_COMPARE,
    GC_ROTATE,
    GC_READ_MAP,
    GC_MODE,
    GC_MISC,
    GC_DONT_CARE,
    GC_BIT_MASK,
};

struct vga_state {
    uint32_t latch;              /* one byte of each plane, plane 0 lowest */
    uint16_t vbe_index;          /* enum vbe_index */
    uint16_t vbe[VBE_REGISTERS]; /* kept in range by vga_vbe.c: see vbe_fix */
    uint8_t misc, feature;
    uint8_t seq_index, gc_index, crtc_index;
    uint8_t attr_index; /* bit 5: the screen shows video memory */
    uint8_t attr_data;  /* the next write at 0x3c0 is data */
    uint8_t dac_mask, dac_index;
    uint8_t dac_component; /* 0 to 2: red, green, blue */
    uint8_t dac_reading;
    uint8_t seq[8], gc[16], crtc[32], attr[32];
    uint8_t dac[256][3];
    uint8_t reserved;
};
extern const struct state_table vga_table;
extern const struct state_table vga_vram_table; /* of VGA_VRAM_SIZE bytes */

struct vga {
    struct vga_state s;
    struct pci_func pci;
    uint8_t *vram;                /* VGA_VRAM_SIZE bytes, page-aligned, within: */
    void *vram_block, *rom_block; /* owned */
    const uint8_t *font;     /* 256 characters of 8 by 16 in the ROM; NULL when none was found */
    struct region window;    /* 128 KiB at 0xa0000 */
    struct region ports;     /* 48 ports at 0x3b0 */
    struct region vbe_ports; /* 4 ports at 0x1ce */
    struct region framebuffer, mmio, rom; /* the function's BARs */
    struct display_source display;
    struct clock *clock;
    const struct log *log;
    bool plain_write; /* a byte goes to memory as it is; follows from the state */

    /* The last captured picture. */
    uint32_t *pixels;
    size_t pixel_room; /* in pixels */
    uint16_t cells[VGA_MAX_CELLS];
};

/* Becomes device `devfn`; owns its video memory, which starts as zeros. */
void vga_init(struct vga *v, struct pci_bus *pci, unsigned devfn, struct clock *clock,
              const struct log *log);
/* Gives it an expansion ROM, a copy of `size` bytes, at most 1 MiB. Right after vga_init; not
 * needed where the firmware gets the VGA BIOS in another way. */
void vga_set_rom(struct vga *v, const uint8_t *bytes, uint32_t size);
void vga_free(struct vga *v);
/* Power-on, after pci_reset. The screen is blank until a VGA BIOS sets a mode. */
void vga_reset(struct vga *v);
/* After a loaded state. */
void vga_restore(struct vga *v);
/* 80 by 25 colour text, as a VGA BIOS leaves it in mode 3, cleared: for machines without one. */
void vga_text_mode(struct vga *v);

/* --- between the files --- */

uint16_t vbe_read(const struct vga *v, unsigned index);
void vbe_write(struct vga *v, unsigned index, uint16_t value);
void vbe_reset(struct vga *v);
void vbe_fix(struct vga *v); /* puts the registers of a loaded state in range */
static inline bool vbe_enabled(const struct vga *v)
{
    return v->s.vbe[VBE_ENABLE] & VBE_ENABLED;
}
extern const struct region_ops vbe_port_ops, vga_window_ops;
void vga_window_changed(struct vga *v);              /* a register that plain_write depends on */
uint8_t vga_port_read(struct vga *v, unsigned port); /* 0x3b0 to 0x3df */
void vga_port_write(struct vga *v, unsigned port, uint8_t value);
void vga_capture(void *vga, struct screen *s, bool want_pixels);

#endif
