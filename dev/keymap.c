#include "dev/keymap.h"

#define SHIFT 0x4000u
#define CTRL  0x8000u
#define ALT   0x2000u
#define KEYS  0x0fffu

/* clang-format off */
static const uint16_t ascii[128] = {
    [8] = KEY_BACKSPACE, [9] = KEY_TAB, [10] = KEY_ENTER, [13] = KEY_ENTER, [27] = KEY_ESC,
    [28] = CTRL | 0x2b, [29] = CTRL | 0x1b, [30] = CTRL | SHIFT | 0x07, [31] = CTRL | SHIFT | 0x0c,
    [0] = CTRL | SHIFT | 0x03,
    [' '] = KEY_SPACE, [127] = KEY_BACKSPACE,
    ['1'] = 0x02, ['2'] = 0x03, ['3'] = 0x04, ['4'] = 0x05, ['5'] = 0x06, ['6'] = 0x07,
    ['7'] = 0x08, ['8'] = 0x09, ['9'] = 0x0a, ['0'] = 0x0b, ['-'] = 0x0c, ['='] = 0x0d,
    ['q'] = 0x10, ['w'] = 0x11, ['e'] = 0x12, ['r'] = 0x13, ['t'] = 0x14, ['y'] = 0x15,
    ['u'] = 0x16, ['i'] = 0x17, ['o'] = 0x18, ['p'] = 0x19, ['['] = 0x1a, [']'] = 0x1b,
    ['a'] = 0x1e, ['s'] = 0x1f, ['d'] = 0x20, ['f'] = 0x21, ['g'] = 0x22, ['h'] = 0x23,
    ['j'] = 0x24, ['k'] = 0x25, ['l'] = 0x26, [';'] = 0x27, ['\''] = 0x28, ['`'] = 0x29,
    ['\\'] = 0x2b, ['z'] = 0x2c, ['x'] = 0x2d, ['c'] = 0x2e, ['v'] = 0x2f, ['b'] = 0x30,
    ['n'] = 0x31, ['m'] = 0x32, [','] = 0x33, ['.'] = 0x34, ['/'] = 0x35,
    ['!'] = SHIFT | 0x02, ['@'] = SHIFT | 0x03, ['#'] = SHIFT | 0x04, ['$'] = SHIFT | 0x05,
    ['%'] = SHIFT | 0x06, ['^'] = SHIFT | 0x07, ['&'] = SHIFT | 0x08, ['*'] = SHIFT | 0x09,
    ['('] = SHIFT | 0x0a, [')'] = SHIFT | 0x0b, ['_'] = SHIFT | 0x0c, ['+'] = SHIFT | 0x0d,
    ['{'] = SHIFT | 0x1a, ['}'] = SHIFT | 0x1b, [':'] = SHIFT | 0x27, ['"'] = SHIFT | 0x28,
    ['~'] = SHIFT | 0x29, ['|'] = SHIFT | 0x2b, ['<'] = SHIFT | 0x33, ['>'] = SHIFT | 0x34,
    ['?'] = SHIFT | 0x35,
};

/* The final letter of ESC [ x and ESC O x. */
static const struct { uint8_t letter; uint16_t key; } letters[] = {
    {'A', KEY_UP}, {'B', KEY_DOWN}, {'C', KEY_RIGHT}, {'D', KEY_LEFT}, {'H', KEY_HOME},
    {'F', KEY_END}, {'P', KEY_F1}, {'Q', KEY_F1 + 1}, {'R', KEY_F1 + 2}, {'S', KEY_F1 + 3},
    {'M', KEY_ENTER}, {'Z', SHIFT | KEY_TAB},
};

/* The number of ESC [ n ~ */
static const uint16_t numbers[25] = {
    [1] = KEY_HOME, [2] = KEY_INSERT, [3] = KEY_DELETE, [4] = KEY_END, [5] = KEY_PGUP,
    [6] = KEY_PGDN, [7] = KEY_HOME, [8] = KEY_END,
    [11] = KEY_F1, [12] = KEY_F1 + 1, [13] = KEY_F1 + 2, [14] = KEY_F1 + 3, [15] = KEY_F1 + 4,
    [17] = KEY_F1 + 5, [18] = KEY_F1 + 6, [19] = KEY_F1 + 7, [20] = KEY_F1 + 8, [21] = KEY_F10,
    [23] = KEY_F11, [24] = KEY_F12,
};
/* clang-format on */

enum { BETWEEN, ESCAPE, CSI, SS3, LINUX };

static uint16_t lookup(uint8_t c)
{
    if (c >= 128)
        return 0;
    if (c >= 'A' && c <= 'Z')
        return SHIFT | ascii[c - 'A' + 'a'];
    if (c >= 1 && c <= 26 && !ascii[c])
        return CTRL | ascii[c - 1 + 'a'];
    return ascii[c];
}

static size_t press(uint16_t chord, struct key_event *ev)
{
    static const struct {
        uint16_t bit, key;
    } mods[] = {{CTRL, KEY_LCTRL}, {ALT, KEY_LALT}, {SHIFT, KEY_LSHIFT}};
    size_t n = 0;
    if (!(chord & KEYS))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(mods); i++)
        if (chord & mods[i].bit)
            ev[n++] = (struct key_event){mods[i].key, true};
    ev[n++] = (struct key_event){chord & KEYS, true};
    ev[n++] = (struct key_event){chord & KEYS, false};
    for (size_t i = ARRAY_LEN(mods); i-- > 0;)
        if (chord & mods[i].bit)
            ev[n++] = (struct key_event){mods[i].key, false};
    return n;
}

size_t keymap_char(uint8_t c, struct key_event *events)
{
    return press(lookup(c), events);
}

static uint16_t letter_key(uint8_t c)
{
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i].letter == c)
            return letters[i].key;
    return 0;
}

/* xterm's second parameter: 1 + shift 1 + alt 2 + ctrl 4 */
static uint16_t modifiers(const struct keymap *k)
{
    unsigned m = k->count >= 1 && k->param[1] ? k->param[1] - 1u : 0;
    return (uint16_t)((m & 1 ? SHIFT : 0) | (m & 2 ? ALT : 0) | (m & 4 ? CTRL : 0));
}

static size_t feed_csi(struct keymap *k, uint8_t c, struct key_event *ev)
{
    uint16_t key = 0;
    if (c >= '0' && c <= '9') {
        if (k->count < 2)
            k->param[k->count] = (uint8_t)(k->param[k->count] * 10 + c - '0');
        return 0;
    }
    if (c == ';') {
        k->count += k->count < 2;
        return 0;
    }
    if (c == '[') {
        k->state = LINUX;
        return 0;
    }
    if (c < 0x40)
        return 0;
    k->state = BETWEEN;
    if (c == '~' && k->param[0] < ARRAY_LEN(numbers))
        key = numbers[k->param[0]];
    else if (c != '~')
        key = letter_key(c);
    return key ? press(key | modifiers(k), ev) : 0;
}

size_t keymap_feed(struct keymap *k, uint8_t c, struct key_event *ev)
{
    switch (k->state) {
    case ESCAPE:
        if (c == 27) /* twice: the first was the key */
            return press(KEY_ESC, ev);
        *k = (struct keymap){.state = c == '[' ? CSI : c == 'O' ? SS3 : BETWEEN};
        return k->state || !lookup(c) ? 0 : press(lookup(c) | ALT, ev);
    case CSI: return feed_csi(k, c, ev);
    case SS3: k->state = BETWEEN; return letter_key(c) ? press(letter_key(c), ev) : 0;
    case LINUX: /* the Linux console's F1 to F5: ESC [ [ A */
        k->state = BETWEEN;
        return c >= 'A' && c <= 'E' ? press((uint16_t)(KEY_F1 + c - 'A'), ev) : 0;
    default:
        if (c == 27) {
            k->state = ESCAPE;
            return 0;
        }
        return keymap_char(c, ev);
    }
}

size_t keymap_flush(struct keymap *k, struct key_event *ev)
{
    bool held = k->state == ESCAPE;
    *k = (struct keymap){0};
    return held ? press(KEY_ESC, ev) : 0;
}
