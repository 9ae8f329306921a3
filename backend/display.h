/* What a screen shows at one moment. The display asks the graphics device when it wants to draw;
 * the device never pushes. */
#ifndef ISHI_BACKEND_DISPLAY_H
#define ISHI_BACKEND_DISPLAY_H

#include "base/bits.h"

struct screen {
    bool text;
    /* Text: cells of character (code page 437) and attribute, row by row. */
    unsigned columns, rows;
    const uint16_t *cells; /* low byte character, high byte attribute */
    bool cursor;           /* shown, at: */
    unsigned cursor_x, cursor_y;
    /* Both: the picture, 0x00RRGGBB, width * height, row by row. Owned by the device and valid
     * until its next capture. */
    unsigned width, height;
    const uint32_t *pixels;
};

struct display_source {
    /* Fills *s from the device's present state; `want_pixels` false leaves text modes undrawn. */
    void (*capture)(void *dev, struct screen *s, bool want_pixels);
    void *dev;
};

#endif
