/* Keys by number, and what to press on a US keyboard for a character or a terminal's key.
 *
 * A key's number is its scancode of set 1; 0x100 is added where the code is preceded by E0. Pause,
 * whose codes obey no rule, has a number of its own. */
#ifndef ISHI_DEV_KEYMAP_H
#define ISHI_DEV_KEYMAP_H

#include "base/bits.h"

/* clang-format off */
enum key {
    KEY_ESC = 0x01, KEY_BACKSPACE = 0x0e, KEY_TAB = 0x0f, KEY_ENTER = 0x1c, KEY_LCTRL = 0x1d,
    KEY_LSHIFT = 0x2a, KEY_RSHIFT = 0x36, KEY_LALT = 0x38, KEY_SPACE = 0x39, KEY_CAPS = 0x3a,
    KEY_F1 = 0x3b, KEY_F10 = 0x44, KEY_NUM = 0x45, KEY_SCROLL = 0x46, KEY_SYSRQ = 0x54,
    KEY_F11 = 0x57, KEY_F12 = 0x58,
    KEY_RCTRL = 0x11d, KEY_PRINT = 0x137, KEY_RALT = 0x138,
    KEY_HOME = 0x147, KEY_UP = 0x148, KEY_PGUP = 0x149, KEY_LEFT = 0x14b, KEY_RIGHT = 0x14d,
    KEY_END = 0x14f, KEY_DOWN = 0x150, KEY_PGDN = 0x151, KEY_INSERT = 0x152, KEY_DELETE = 0x153,
    KEY_LWIN = 0x15b, KEY_RWIN = 0x15c, KEY_MENU = 0x15d,
    KEY_PAUSE = 0x200,
};
/* clang-format on */

struct key_event {
    uint16_t key; /* enum key */
    bool down;
};

#define KEYMAP_EVENTS 8 /* at most so many for one character or terminal key */

/* The events that type a character: its key pressed and released, with Shift or Ctrl around it.
 * CR and LF are Enter, 8 and 127 Backspace, 27 Escape, 1 to 26 Ctrl with a letter. Returns how many
 * events; 0 for a character that isn't on the keyboard. */
size_t keymap_char(uint8_t c, struct key_event *events);

/* Takes a terminal's input apart: bytes go in, keys come out. Zeroed at first. */
struct keymap {
    uint8_t state; /* 0: between keys; else within an escape sequence */
    uint8_t count; /* of the parameters */
    uint8_t param[2];
};

/* Takes one byte; returns the number of events, 0 within an escape sequence. A sequence that is
 * not known is swallowed. ESC before another character is Alt. */
size_t keymap_feed(struct keymap *k, uint8_t byte, struct key_event *events);
/* No byte followed for a while: an ESC that was held back is the Escape key. */
size_t keymap_flush(struct keymap *k, struct key_event *events);

#endif
