/* i8042: the keyboard controller of a PC (IBM PS/2 technical reference), with a keyboard and an
 * IntelliMouse on it, the A20 gate, the reset line, and port 0x92, which reaches the latter two.
 *
 * Bytes take no time: when the guest has read one, the next is there at once, with a new edge on
 * its interrupt line. Replies to commands overtake keys that wait. Keys don't repeat by themselves.
 *
 * After a reset it is as a BIOS leaves it (translation and IRQ 1 on, mouse interface off, A20
 * open), since a guest may be started without one. */
#ifndef ISHI_DEV_I8042_H
#define ISHI_DEV_I8042_H

#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "dev/keymap.h"

#define I8042_KEYS  32 /* key events that wait */
#define I8042_BYTES 16 /* bytes of replies, and of the mouse, that wait */

struct i8042_queue {
    uint8_t head, count;
    uint8_t byte[I8042_BYTES];
};

struct i8042_state {
    uint16_t keys[I8042_KEYS]; /* number, bit 15: released */
    uint8_t keys_head, keys_count;
    uint8_t data, source; /* the output buffer; who filled it */
    bool full;            /* OBF */
    bool wrote_command;   /* status bit 3 */
    uint8_t reply;        /* the controller's own, waiting for the output buffer */
    uint8_t reply_source; /* 0: none waits */
    uint8_t command;      /* of port 0x64, whose data byte is expected; 0: none */
    uint8_t output_port;  /* bits 0 and 1: reset, A20 */
    uint8_t ram[32];      /* byte 0 is the command byte */

    struct i8042_queue kbd_reply, aux;
    uint8_t seq[8]; /* bytes of the key event that is under way */
    uint8_t seq_at, seq_count;
    bool scanning;
    uint8_t kbd_command; /* whose parameter is expected; 0: none */
    uint8_t kbd_last;    /* last byte sent, for resend */
    uint8_t leds;        /* bit 0 scroll, 1 num, 2 caps */
    uint8_t set;         /* scancode set, 1 or 2 */
    uint8_t typematic;   /* rate and delay; kept, not used */

    uint8_t aux_command, aux_last;
    uint8_t aux_id;   /* 0: plain, 3: wheel, 4: five buttons */
    uint8_t rates[3]; /* the last three sample rates: the knock for the wheel */
    uint8_t resolution;
    bool reporting, remote, wrap, scale21;
    uint8_t buttons, reported_buttons; /* bit 0 left, 1 right, 2 middle, 3 and 4 side */
    uint8_t unused;                    /* 0 */
    uint16_t dx, dy, dz;               /* two's complement; not reported yet; dy upwards */
};

extern const struct state_table i8042_table;

struct i8042 {
    struct i8042_state s;
    struct region data;    /* 1 port: 0x60 */
    struct region command; /* 1 port: 0x64 */
    struct region port92;  /* 1 port */
    const struct log *log;
    struct irq irq_kbd, irq_aux;
    struct irq a20;   /* level: the gate is open */
    struct irq reset; /* pulse: the guest wants the CPU reset */
};

void i8042_init(struct i8042 *k, const struct log *log, struct irq irq_kbd, struct irq irq_aux,
                struct irq a20, struct irq reset);
void i8042_reset(struct i8042 *k);
void i8042_restore(struct i8042 *k);

/* How many key events the keyboard takes now. */
size_t i8042_key_room(const struct i8042 *k);
/* A key (enum key) goes down or up. Lost if there is no room or the guest has scanning off. */
void i8042_key(struct i8042 *k, unsigned key, bool down);
/* Types what keymap_char() says, if there is room for it; false if not. */
bool i8042_type(struct i8042 *k, uint8_t c);
/* The mouse moved by dx to the right, dy downwards, its wheel by dz downwards; the buttons that are
 * down: bit 0 left, 1 right, 2 middle, 3 and 4 side. */
void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, unsigned buttons);

#endif
