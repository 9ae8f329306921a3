#include "front/screen.h"

#include <errno.h>
#include <png.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Code page 437 as Unicode: 0x00..0x1f and 0x7f..0xff; the rest is ASCII. */
static const uint16_t cp437_low[32] = {
    ' ',    0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
    0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
    0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc};
static const uint16_t cp437_high[129] = {
    0x2302, 0xc7,   0xfc,   0xe9,   0xe2,   0xe4,   0xe0,   0xe5,   0xe7,   0xea,   0xeb,   0xe8,
    0xef,   0xee,   0xec,   0xc4,   0xc5,   0xc9,   0xe6,   0xc6,   0xf4,   0xf6,   0xf2,   0xfb,
    0xf9,   0xff,   0xd6,   0xdc,   0xa2,   0xa3,   0xa5,   0x20a7, 0x192,  0xe1,   0xed,   0xf3,
    0xfa,   0xf1,   0xd1,   0xaa,   0xba,   0xbf,   0x2310, 0xac,   0xbd,   0xbc,   0xa1,   0xab,
    0xbb,   0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551,
    0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e,
    0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565,
    0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590,
    0x2580, 0x3b1,  0xdf,   0x393,  0x3c0,  0x3a3,  0x3c3,  0xb5,   0x3c4,  0x3a6,  0x398,  0x3a9,
    0x3b4,  0x221e, 0x3c6,  0x3b5,  0x2229, 0x2261, 0xb1,   0x2265, 0x2264, 0x2320, 0x2321, 0xf7,
    0x2248, 0xb0,   0x2219, 0xb7,   0x221a, 0x207f, 0xb2,   0x25a0, ' '};

/* VGA's colour order (blue is bit 0) as ANSI's (red is bit 0). */
static const uint8_t ansi_colour[8] = {0, 4, 2, 6, 1, 5, 3, 7};

/* One frame's bytes, sent in one write. */
struct frame {
    char *p;
    size_t n, room;
};

static void put(struct frame *f, const char *fmt, ...) PRINTF(2, 3);

static void put(struct frame *f, const char *fmt, ...)
{
    va_list ap;
    if (f->room - f->n < 64) {
        f->room = f->room ? f->room * 2 : 8192;
        f->p = realloc(f->p, f->room);
        CHECK(f->p);
    }
    va_start(ap, fmt);
    f->n += (size_t)vsnprintf(f->p + f->n, f->room - f->n, fmt, ap);
    va_end(ap);
}

static void put_char(struct frame *f, uint8_t c)
{
    unsigned u = c < 32 ? cp437_low[c] : c >= 127 ? cp437_high[c - 127] : c;
    if (u < 0x80)
        put(f, "%c", (char)u);
    else if (u < 0x800)
        put(f, "%c%c", (char)(0xc0 | u >> 6), (char)(0x80 | (u & 63)));
    else
        put(f, "%c%c%c", (char)(0xe0 | u >> 12), (char)(0x80 | (u >> 6 & 63)),
            (char)(0x80 | (u & 63)));
}

static void send(struct frame *f)
{
    for (size_t done = 0; done < f->n;) {
        ssize_t w = write(STDOUT_FILENO, f->p + done, f->n - done);
        if (w < 0 && errno != EINTR && errno != EAGAIN)
            break;
        done += w > 0 ? (size_t)w : 0;
    }
    free(f->p);
}

void screen_begin(struct screen_drawer *d)
{
    *d = (struct screen_drawer){0};
}

static void draw_text(struct screen_drawer *d, const struct screen *s, struct frame *f)
{
    if (d->columns != s->columns || d->rows != s->rows || d->graphics_width) {
        put(f, "\033[0m\033[2J");
        memset(d->cells, 0xff, sizeof d->cells);
        d->columns = s->columns;
        d->rows = s->rows;
        d->graphics_width = 0;
    }
    unsigned attribute = ~0u, next = ~0u;
    for (unsigned i = 0; i < s->columns * s->rows && i < SCREEN_CELLS; i++) {
        uint16_t cell = s->cells[i];
        if (cell == d->cells[i])
            continue;
        d->cells[i] = cell;
        if (i != next)
            put(f, "\033[%u;%uH", i / s->columns + 1, i % s->columns + 1);
        next = (i + 1) % s->columns ? i + 1 : ~0u;
        if (cell >> 8 != attribute) {
            attribute = cell >> 8;
            put(f, "\033[0;%s%u;%um", attribute & 8 ? "1;" : "", 30u + ansi_colour[attribute & 7],
                40u + ansi_colour[attribute >> 4 & 7]);
        }
        put_char(f, (uint8_t)cell);
    }
    unsigned cursor = s->cursor ? s->cursor_y * s->columns + s->cursor_x + 1 : 0;
    if (!f->n && cursor == d->cursor)
        return;
    d->cursor = cursor;
    if (cursor)
        put(f, "\033[?25h\033[%u;%uH", s->cursor_y + 1, s->cursor_x + 1);
    else
        put(f, "\033[?25l");
}

void screen_draw(struct screen_drawer *d, const struct screen *s)
{
    struct frame f = {0};
    if (s->text) {
        draw_text(d, s, &f);
    } else if (d->graphics_width != s->width || d->graphics_height != s->height) {
        put(&f, "\033[0m\033[2J\033[H");
        put(&f, "%ux%u graphics; Ctrl-A s takes a picture\r\n", s->width, s->height);
        d->graphics_width = s->width;
        d->graphics_height = s->height;
    }
    if (f.n)
        send(&f);
}

void screen_end(struct screen_drawer *d)
{
    struct frame f = {0};
    put(&f, "\033[0m\033[?25h\033[%u;1H\r\n", d->rows ? d->rows : 24);
    send(&f);
}

bool screen_write_png(const struct screen *s, const char *path, struct err *e)
{
    if (!s->width || !s->height)
        return err_set(e, ERR_UNSUPPORTED, "the screen is off: no picture for %s", path);
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = s->width,
                       .height = s->height,
                       .format = PNG_FORMAT_RGB};
    uint8_t *rgb = xcalloc((size_t)s->width * s->height, 3);
    for (size_t i = 0; i < (size_t)s->width * s->height; i++) {
        rgb[3 * i] = (uint8_t)(s->pixels[i] >> 16);
        rgb[3 * i + 1] = (uint8_t)(s->pixels[i] >> 8);
        rgb[3 * i + 2] = (uint8_t)s->pixels[i];
    }
    bool ok = png_image_write_to_file(&image, path, 0, rgb, 0, NULL);
    free(rgb);
    return ok || err_set(e, ERR_IO, "picture %s: %s", path, image.message);
}
