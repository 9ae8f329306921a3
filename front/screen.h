/* The VGA screen without a window: text modes drawn in the terminal, a picture as a PNG file. */
#ifndef ISHI_FRONT_SCREEN_H
#define ISHI_FRONT_SCREEN_H

#include "backend/display.h"
#include "base/err.h"

#define SCREEN_CELLS (132 * 60)

/* What the terminal shows now, so that only changes are sent. */
struct screen_drawer {
    uint16_t cells[SCREEN_CELLS];
    unsigned columns, rows;
    unsigned cursor;                          /* its cell + 1; 0: hidden */
    unsigned graphics_width, graphics_height; /* of the graphics mode that was announced; 0: none */
};

/* Clears the terminal. */
void screen_begin(struct screen_drawer *d);
/* Brings the terminal up to date; a graphics mode is announced in words. */
void screen_draw(struct screen_drawer *d, const struct screen *s);
/* Puts the cursor below the screen and the colours back. */
void screen_end(struct screen_drawer *d);

/* Writes the pixels. */
bool screen_write_png(const struct screen *s, const char *path, struct err *e);

#endif
