/* The picture that the VGA's registers and memory make, drawn when a display asks for it.
 *
 * The CRTC counts characters: each step of its memory address fetches one byte of each plane, which
 * is 8 pixels of 16 colours, 4 of 256, or 8 of 4 in the CGA's arrangement. All modes but VBE's
 * linear ones are drawn by that one rule; a scan line that would only repeat the one above it is
 * left out, so that mode 13h is a picture of 320 by 200. */
#include "dev/vga.h"

#include <stdlib.h>

#define FRAME_NS 14268322ull /* as input status 1 has it: 449 lines of 31778 ns */

/* --- the CRTC's geometry and addresses --- */

struct timing {
    unsigned columns;      /* characters across */
    unsigned lines;        /* scan lines down */
    unsigned line_step;    /* scan lines that show the same memory */
    unsigned row_lines;    /* rows of the row scan counter a character has */
    unsigned start, pitch; /* in characters: top left, from row to row */
    unsigned line_compare; /* after this scan line the address starts again at 0 */
};

static struct timing timing_of(const struct vga *v)
{
    const uint8_t *c = v->s.crtc;
    struct timing t = {
        .columns = c[1] + 1u,
        .lines = (c[0x12] | (c[7] & 2) << 7 | (c[7] & 0x40) << 3) + 1u,
        .line_step = c[9] & 0x80 ? 2 : 1,
        .row_lines = (c[9] & 0x1f) + 1u,
        .start = (unsigned)(c[0x0c] << 8 | c[0x0d]),
        .pitch = c[0x13] * 2u,
        .line_compare = c[0x18] | (c[7] & 0x10u) << 4 | (c[9] & 0x40u) << 3,
    };
    return t;
}

/* The byte of each plane that the CRTC fetches: memory address `ma`, row `row` of the character
 * (IBM, CRT controller, registers 14h and 17h). */
static uint32_t fetch(const struct vga *v, uint32_t ma, unsigned row)
{
    const uint8_t *c = v->s.crtc;
    uint32_t a;
    if (c[0x14] & 0x40) /* doubleword */
        a = ma << 2 | (ma >> 14 & 3);
    else if (c[0x17] & 0x40) /* byte */
        a = ma;
    else
        a = ma << 1 | (c[0x17] & 0x20 ? ma >> 15 & 1 : ma >> 13 & 1);
    if (!(c[0x17] & 1))
        a = (a & ~0x2000u) | (row & 1) << 13;
    if (!(c[0x17] & 2))
        a = (a & ~0x4000u) | (row & 2) << 13;
    return get_le32(v->vram + 4 * (size_t)(a & 0xffff));
}

/* --- colours --- */

static uint32_t dac_colour(const struct vga *v, uint8_t index)
{
    const uint8_t *c = v->s.dac[index & v->s.dac_mask];
    if (v->s.vbe[VBE_ENABLE] & VBE_8BIT_DAC)
        return (uint32_t)(c[0] << 16 | c[1] << 8 | c[2]);
    uint32_t rgb = 0;
    for (unsigned i = 0; i < 3; i++)
        rgb = rgb << 8 | (uint32_t)(c[i] << 2 | c[i] >> 4);
    return rgb;
}

/* A colour of 4 bits, by the attribute controller's palette. */
static uint32_t palette_colour(const struct vga *v, unsigned colour)
{
    const uint8_t *a = v->s.attr;
    uint8_t index = a[colour & a[0x12] & 15];
    if (a[0x10] & 0x80)
        index = (uint8_t)((index & 15) | (a[0x14] & 3) << 4);
    return dac_colour(v, (uint8_t)((index & 0x3f) | (a[0x14] & 12) << 4));
}

/* --- the picture's memory --- */

static bool make_room(struct vga *v, struct screen *s, unsigned width, unsigned height)
{
    size_t need = (size_t)width * height;
    if (need > v->pixel_room) {
        uint32_t *p = realloc(v->pixels, need * sizeof *p);
        if (!p) {
            s->width = s->height = 0;
            s->pixels = NULL;
            return false;
        }
        v->pixels = p;
        v->pixel_room = need;
    }
    s->width = width;
    s->height = height;
    s->pixels = v->pixels;
    return true;
}

static bool is_blank(const struct vga *v)
{
    return !(v->s.attr_index & 0x20) || (v->s.seq[SEQ_CLOCKING] & 0x20);
}

static void draw_blank(struct vga *v, struct screen *s, unsigned width, unsigned height)
{
    if (make_room(v, s, width, height))
        memset(v->pixels, 0, (size_t)width * height * sizeof *v->pixels);
}

/* --- text --- */

static void collect_cells(struct vga *v, struct screen *s, const struct timing *t)
{
    uint32_t address = t->start;
    bool blank = is_blank(v);
    s->columns = t->columns;
    s->rows = t->lines / (t->row_lines * t->line_step);
    s->rows = (unsigned)max_u64(min_u64(s->rows, VGA_MAX_CELLS / s->columns), 1);
    s->cells = v->cells;
    for (unsigned y = 0; y < s->rows; y++) {
        if (y && y * t->row_lines * t->line_step > t->line_compare &&
            (y - 1) * t->row_lines * t->line_step <= t->line_compare)
            address = 0;
        for (unsigned x = 0; x < s->columns; x++)
            v->cells[y * s->columns + x] = blank ? 0x0720 : (uint16_t)fetch(v, address + x, 0);
        address += t->pitch;
    }
}

static void find_cursor(const struct vga *v, struct screen *s, const struct timing *t)
{
    const uint8_t *c = v->s.crtc;
    unsigned at = (unsigned)(c[0x0e] << 8 | c[0x0f]) - t->start;
    bool on = !(c[0x0a] & 0x20) && (c[0x0a] & 0x1f) <= (c[0x0b] & 0x1f) && t->pitch;
    s->cursor = on && at < s->rows * t->pitch && at % t->pitch < s->columns && !is_blank(v);
    s->cursor_x = s->cursor ? at % t->pitch : 0;
    s->cursor_y = s->cursor ? at / t->pitch : 0;
}

/* Where the two fonts begin in plane 2 (sequencer, register 3): [0] for attribute bit 3 clear. */
static void find_fonts(const struct vga *v, uint32_t font[2])
{
    uint8_t r = v->s.seq[SEQ_FONT];
    unsigned b = (r & 3) | (r >> 2 & 4), a = (r >> 2 & 3) | (r >> 3 & 4);
    font[0] = (b & 3) * 0x4000 + (b >> 2) * 0x2000;
    font[1] = (a & 3) * 0x4000 + (a >> 2) * 0x2000;
}

struct text_style {
    unsigned char_width; /* 8 or 9 pixels */
    bool blink, blink_off, cursor_off, line_graphics, mono;
    uint32_t font[2];
    uint32_t colours[16];
};

static struct text_style style_of(const struct vga *v)
{
    uint8_t mode = v->s.attr[0x10];
    uint64_t frame = clock_now(v->clock) / FRAME_NS;
    struct text_style y = {
        .char_width = v->s.seq[SEQ_CLOCKING] & 1 ? 8 : 9,
        .blink = mode & 8,
        .blink_off = frame >> 4 & 1,
        .cursor_off = frame >> 3 & 1,
        .line_graphics = mode & 4,
        .mono = mode & 2,
    };
    find_fonts(v, y.font);
    for (unsigned i = 0; i < 16; i++)
        y.colours[i] = palette_colour(v, i);
    return y;
}

/* One scan line of a character; `bits`: the glyph's, or all for a cursor. */
static void draw_glyph_line(uint32_t *to, const struct text_style *y, uint16_t cell, uint8_t bits)
{
    unsigned attribute = cell >> 8;
    unsigned back = attribute >> 4 & (y->blink ? 7 : 15);
    uint32_t fg = y->colours[attribute & 15], bg = y->colours[back];
    if (y->blink && (attribute & 0x80) && y->blink_off)
        fg = bg;
    for (unsigned x = 0; x < 8; x++)
        to[x] = bits << x & 0x80 ? fg : bg;
    if (y->char_width == 9) {
        bool joined = y->line_graphics && (cell & 0xe0) == 0xc0;
        to[8] = joined && (bits & 1) ? fg : bg;
    }
}

static void draw_cell(struct vga *v, const struct screen *s, const struct text_style *y,
                      const struct timing *t, unsigned column, unsigned row)
{
    const uint8_t *c = v->s.crtc;
    uint16_t cell = v->cells[row * s->columns + column];
    uint32_t glyph = y->font[cell >> 11 & 1] + (cell & 0xffu) * 32;
    bool cursor = s->cursor && !y->cursor_off && column == s->cursor_x && row == s->cursor_y;
    bool underline = y->mono && (cell & 0x700) == 0x100;
    for (unsigned line = 0; line < t->row_lines; line++) {
        uint8_t bits = v->vram[4 * (size_t)((glyph + line) & 0xffff) + 2];
        if ((cursor && line >= (c[0x0a] & 0x1fu) && line <= (c[0x0b] & 0x1fu)) ||
            (underline && line == (c[0x14] & 0x1fu)))
            bits = 0xff;
        size_t at = (size_t)(row * t->row_lines + line) * s->width + column * y->char_width;
        draw_glyph_line(v->pixels + at, y, cell, bits);
    }
}

static void capture_text(struct vga *v, struct screen *s, bool want_pixels)
{
    struct timing t = timing_of(v);
    s->text = true;
    collect_cells(v, s, &t);
    find_cursor(v, s, &t);
    if (!want_pixels)
        return;
    struct text_style y = style_of(v);
    unsigned width = s->columns * y.char_width, height = s->rows * t.row_lines;
    if (is_blank(v)) {
        draw_blank(v, s, width, height);
        return;
    }
    if (!make_room(v, s, width, height))
        return;
    for (unsigned row = 0; row < s->rows; row++)
        for (unsigned column = 0; column < s->columns; column++)
            draw_cell(v, s, &y, &t, column, row);
}

/* --- planar and packed graphics --- */

enum shift { SHIFT_PLANAR, SHIFT_CGA, SHIFT_256 };

/* Colour of pixel x (0 to 7, or 0 to 3 of 256 colours) of what one fetch gave. */
static unsigned pixel_of(enum shift shift, uint32_t data, unsigned x)
{
    if (shift == SHIFT_256)
        return data >> 8 * x & 0xff;
    if (shift ==
        SHIFT_CGA) { /* planes 0 and 1 one after the other give bits 1:0, 2 and 3 bits 3:2 */
        uint32_t half = x < 4 ? data : data >> 8;
        unsigned down = 6 - 2 * (x & 3);
        return (half >> down & 3) | (half >> (16 + down) & 3) << 2;
    }
    unsigned down = 7 - x;
    return (data >> down & 1) | (data >> (8 + down) & 1) << 1 | (data >> (16 + down) & 1) << 2 |
           (data >> (24 + down) & 1) << 3;
}

struct painter {
    enum shift shift;
    unsigned per_fetch; /* pixels */
    unsigned pan;       /* pixels to the left */
    uint32_t colours[256];
};

static void make_painter(const struct vga *v, struct painter *p)
{
    uint8_t mode = v->s.gc[GC_MODE], pan = v->s.attr[0x13] & 7;
    p->shift = mode & 0x40 ? SHIFT_256 : mode & 0x20 ? SHIFT_CGA : SHIFT_PLANAR;
    p->per_fetch = p->shift == SHIFT_256 ? 4 : 8;
    p->pan = p->shift == SHIFT_256 ? pan / 2 : pan;
    for (unsigned i = 0; i < 256; i++)
        p->colours[i] = p->shift == SHIFT_256 ? dac_colour(v, (uint8_t)i) : palette_colour(v, i);
}

static void draw_line(struct vga *v, const struct painter *p, uint32_t *to, unsigned width,
                      uint32_t address, unsigned row)
{
    uint32_t data = fetch(v, address, row);
    for (unsigned i = 0, x = p->pan; i < width; i++, x++) {
        if (x == p->per_fetch) {
            x = 0;
            data = fetch(v, ++address, row);
        }
        to[i] = p->colours[pixel_of(p->shift, data, x)];
    }
}

static void capture_graphics(struct vga *v, struct screen *s)
{
    struct timing t = timing_of(v);
    struct painter p;
    make_painter(v, &p);
    /* Rows of the counter that address the same memory are one line of the picture. */
    bool row_addresses = (v->s.crtc[0x17] & 3) != 3;
    unsigned step = t.line_step * (row_addresses ? 1 : t.row_lines);
    unsigned width = t.columns * p.per_fetch, height = (t.lines + step - 1) / step;
    if (is_blank(v)) {
        draw_blank(v, s, width, height);
        return;
    }
    if (!make_room(v, s, width, height))
        return;
    uint32_t address = t.start + (v->s.crtc[8] >> 5 & 3);
    unsigned row = 0;
    for (unsigned y = 0; y < height; y++) {
        draw_line(v, &p, v->pixels + (size_t)y * width, width, address, row);
        if (!row_addresses || ++row >= t.row_lines) {
            row = 0;
            address += t.pitch;
        }
        if (y * step <= t.line_compare && (y + 1) * step > t.line_compare)
            address = row = 0;
    }
}

/* --- VBE modes --- */

static uint32_t scale(uint32_t value, unsigned bits)
{
    return bits == 6 ? value << 2 | value >> 4 : value << 3 | value >> 2;
}

/* One line of linear pixels; `from` holds width pixels. */
static void draw_linear(const struct vga *v, uint32_t *to, const uint8_t *from, unsigned width)
{
    unsigned bpp = v->s.vbe[VBE_BPP];
    for (unsigned x = 0; x < width; x++) {
        uint32_t p;
        switch (bpp) {
        case 8: to[x] = dac_colour(v, from[x]); break;
        case 15:
            p = get_le16(from + 2 * x);
            to[x] = scale(p >> 10 & 31, 5) << 16 | scale(p >> 5 & 31, 5) << 8 | scale(p & 31, 5);
            break;
        case 16:
            p = get_le16(from + 2 * x);
            to[x] = scale(p >> 11, 5) << 16 | scale(p >> 5 & 63, 6) << 8 | scale(p & 31, 5);
            break;
        case 24:
            to[x] = (uint32_t)(from[3 * x] | from[3 * x + 1] << 8 | from[3 * x + 2] << 16);
            break;
        default: to[x] = get_le32(from + 4 * x) & 0xffffff; break;
        }
    }
}

static void draw_vbe_planar(const struct vga *v, uint32_t *to, const uint8_t *from, unsigned width)
{
    for (unsigned x = 0; x < width; x++)
        to[x] = palette_colour(v, pixel_of(SHIFT_PLANAR, get_le32(from + x / 8 * 4), x & 7));
}

static void capture_vbe(struct vga *v, struct screen *s)
{
    const uint16_t *r = v->s.vbe;
    unsigned bits = r[VBE_BPP] == 15 ? 16 : r[VBE_BPP];
    unsigned width = r[VBE_XRES], height = r[VBE_YRES];
    size_t line = (size_t)r[VBE_VIRT_WIDTH] * bits / 8, used = (size_t)width * bits / 8;
    size_t left = (size_t)(bits == 4 ? r[VBE_X_OFFSET] & ~7u : r[VBE_X_OFFSET]) * bits / 8;
    if (!make_room(v, s, width, height))
        return;
    for (unsigned y = 0; y < height; y++) {
        size_t at = (size_t)(r[VBE_Y_OFFSET] + y) * line + left;
        uint32_t *to = v->pixels + (size_t)y * width;
        if (at + used > VGA_VRAM_SIZE)
            memset(to, 0, width * sizeof *to);
        else if (bits == 4)
            draw_vbe_planar(v, to, v->vram + at, width);
        else
            draw_linear(v, to, v->vram + at, width);
    }
}

void vga_capture(void *vga, struct screen *s, bool want_pixels)
{
    struct vga *v = vga;
    *s = (struct screen){0};
    if (vbe_enabled(v))
        capture_vbe(v, s);
    else if (v->s.gc[GC_MISC] & 1)
        capture_graphics(v, s);
    else
        capture_text(v, s, want_pixels);
}
