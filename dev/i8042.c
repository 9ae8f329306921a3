#include "dev/i8042.h"

#define ST_OBF  0x01
#define ST_SYS  0x04
#define ST_CMD  0x08
#define ST_KEYL 0x10 /* the key lock is open */
#define ST_AUX  0x20

#define CB_KBD_INT 0x01 /* the command byte, ram[0] */
#define CB_AUX_INT 0x02
#define CB_SYS     0x04
#define CB_KBD_OFF 0x10
#define CB_AUX_OFF 0x20
#define CB_XLATE   0x40

#define OUT_RESET 0x01 /* low resets the CPU */
#define OUT_A20   0x02

#define ACK    0xfa
#define RESEND 0xfe
#define BAT_OK 0xaa

enum { FROM_NOBODY, FROM_CONTROLLER, FROM_KBD, FROM_AUX };

/* clang-format off */
STATE_TABLE(i8042_queue_table, "i8042 queue", struct i8042_queue,
    STATE(struct i8042_queue, head),
    STATE(struct i8042_queue, count),
    STATE_BLOB(struct i8042_queue, byte));
STATE_TABLE(i8042_table, "i8042", struct i8042_state,
    STATE_ARRAY(struct i8042_state, keys),
    STATE(struct i8042_state, keys_head),
    STATE(struct i8042_state, keys_count),
    STATE(struct i8042_state, data),
    STATE(struct i8042_state, source),
    STATE(struct i8042_state, full),
    STATE(struct i8042_state, wrote_command),
    STATE(struct i8042_state, reply),
    STATE(struct i8042_state, reply_source),
    STATE(struct i8042_state, command),
    STATE(struct i8042_state, output_port),
    STATE_BLOB(struct i8042_state, ram),
    STATE_SUB(struct i8042_state, kbd_reply, &i8042_queue_table),
    STATE_SUB(struct i8042_state, aux, &i8042_queue_table),
    STATE_BLOB(struct i8042_state, seq),
    STATE(struct i8042_state, seq_at),
    STATE(struct i8042_state, seq_count),
    STATE(struct i8042_state, scanning),
    STATE(struct i8042_state, kbd_command),
    STATE(struct i8042_state, kbd_last),
    STATE(struct i8042_state, leds),
    STATE(struct i8042_state, set),
    STATE(struct i8042_state, typematic),
    STATE(struct i8042_state, aux_command),
    STATE(struct i8042_state, aux_last),
    STATE(struct i8042_state, aux_id),
    STATE_BLOB(struct i8042_state, rates),
    STATE(struct i8042_state, resolution),
    STATE(struct i8042_state, reporting),
    STATE(struct i8042_state, remote),
    STATE(struct i8042_state, wrap),
    STATE(struct i8042_state, scale21),
    STATE(struct i8042_state, buttons),
    STATE(struct i8042_state, reported_buttons),
    STATE(struct i8042_state, unused),
    STATE(struct i8042_state, dx),
    STATE(struct i8042_state, dy),
    STATE(struct i8042_state, dz));

/* Scancodes of set 2 by those of set 1, without prefix. */
static const uint8_t set2[0x60] = {
    0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d,
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c, 0x1b,
    0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21, 0x2a,
    0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0c, 0x03,
    0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75, 0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79, 0x69,
    0x72, 0x7a, 0x70, 0x71, 0x84, 0x60, 0x61, 0x78, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
};
/* clang-format on */

/* --- queues --- */

static void put(struct i8042_queue *q, uint8_t v)
{
    if (q->count < I8042_BYTES)
        q->byte[(q->head + q->count++) % I8042_BYTES] = v;
}

static uint8_t take(struct i8042_queue *q)
{
    uint8_t v = q->byte[q->head];
    q->head = (q->head + 1) % I8042_BYTES;
    q->count--;
    return v;
}

/* --- the controller's output buffer --- */

/* What the controller makes of a byte of set 2. */
static uint8_t translate(uint8_t v)
{
    if (v == 0x02) /* the reply to "which set?": 2 */
        return 0x41;
    if (v == 0x7f)
        return 0x54;
    for (uint8_t i = 1; i < sizeof set2; i++)
        if (set2[i] == v)
            return i;
    return v;
}

static void update(struct i8042 *k)
{
    struct i8042_state *s = &k->s;
    irq_set(&k->irq_kbd, s->full && s->source != FROM_AUX && (s->ram[0] & CB_KBD_INT));
    irq_set(&k->irq_aux, s->full && s->source == FROM_AUX && (s->ram[0] & CB_AUX_INT));
}

/* The bytes that the keyboard sends for the oldest event, as they come out of the controller. */
static void begin_key(struct i8042_state *s)
{
    uint16_t event = s->keys[s->keys_head], key = event & 0x3ff;
    bool up = event & 0x8000, two = s->set == 2;
    uint8_t raw[8], code = key & 0x7f, n = 0, at = 0;
    s->keys_head = (s->keys_head + 1) % I8042_KEYS;
    s->keys_count--;
    if (key == KEY_PAUSE) { /* make and break in one go when it is pressed, nothing later */
        static const uint8_t pause[2][8] = {{0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5},
                                            {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}};
        n = up ? 0 : two ? 8 : 6;
        memcpy(raw, pause[two], 8);
    } else {
        if (key & 0x100)
            raw[n++] = 0xe0;
        if (up && two)
            raw[n++] = 0xf0;
        raw[n++] = two ? set2[code % sizeof set2] : (uint8_t)(code | (up ? 0x80 : 0));
    }
    if (!(s->ram[0] & CB_XLATE)) {
        memcpy(s->seq, raw, n);
        s->seq_count = n;
    } else { /* F0 becomes bit 7 of the byte after it */
        for (uint8_t i = 0, brk = 0; i < n; i++) {
            if (raw[i] == 0xf0) {
                brk = 0x80;
                continue;
            }
            s->seq[at++] = translate(raw[i]) | brk;
            brk = 0;
        }
        s->seq_count = at;
    }
    s->seq_at = 0;
}

static bool next_kbd_byte(struct i8042_state *s, uint8_t *v)
{
    if (s->ram[0] & CB_KBD_OFF)
        return false;
    if (s->seq_at == s->seq_count && s->kbd_reply.count) {
        *v = take(&s->kbd_reply);
        if (s->ram[0] & CB_XLATE)
            *v = translate(*v);
        return true;
    }
    while (s->seq_at == s->seq_count && s->keys_count)
        begin_key(s);
    if (s->seq_at == s->seq_count)
        return false;
    *v = s->kbd_last = s->seq[s->seq_at++];
    return true;
}

/* Fills the output buffer from whoever has something, the controller first. */
static void pump(struct i8042 *k)
{
    struct i8042_state *s = &k->s;
    if (s->full) {
        update(k);
        return;
    }
    if (s->reply_source) {
        s->data = s->reply;
        s->source = s->reply_source;
        s->reply_source = FROM_NOBODY;
        s->full = true;
    } else if (next_kbd_byte(s, &s->data)) {
        s->source = FROM_KBD;
        s->full = true;
    } else if (s->aux.count && !(s->ram[0] & CB_AUX_OFF)) {
        s->data = s->aux_last = take(&s->aux);
        s->source = FROM_AUX;
        s->full = true;
    }
    update(k);
}

static void answer(struct i8042 *k, uint8_t v, uint8_t source)
{
    k->s.reply = v;
    k->s.reply_source = source;
    pump(k);
}

/* --- the keyboard --- */

static void kbd_defaults(struct i8042_state *s)
{
    s->set = 2;
    s->typematic = 0x2b;
    s->kbd_command = 0;
    s->keys_count = s->seq_at = s->seq_count = 0;
}

static void kbd_parameter(struct i8042_state *s, uint8_t v)
{
    uint8_t command = s->kbd_command;
    s->kbd_command = 0;
    switch (command) {
    case 0xed: s->leds = v & 7; break;
    case 0xf3: s->typematic = v & 0x7f; break;
    default: /* 0xf0: scancode set */
        if (v > 2) {
            put(&s->kbd_reply, RESEND);
            return;
        }
        put(&s->kbd_reply, ACK);
        if (v == 0)
            put(&s->kbd_reply, s->set);
        else
            s->set = v;
        return;
    }
    put(&s->kbd_reply, ACK);
}

static void kbd_write(struct i8042_state *s, uint8_t v)
{
    struct i8042_queue *q = &s->kbd_reply;
    q->count = 0; /* a host that sends doesn't want to hear the rest */
    if (s->kbd_command) {
        kbd_parameter(s, v);
        return;
    }
    switch (v) {
    case 0xed:
    case 0xf0:
    case 0xf3: s->kbd_command = v; break;
    case 0xee: put(q, 0xee); return;
    case 0xf2:
        put(q, ACK);
        put(q, 0xab);
        put(q, 0x83);
        return;
    case 0xf4:
        s->keys_count = 0;
        s->scanning = true;
        break;
    case 0xf5:
        kbd_defaults(s);
        s->scanning = false;
        break;
    case 0xf6:
        kbd_defaults(s);
        s->scanning = true;
        break;
    case 0xfe: put(q, s->kbd_last); return;
    case 0xff:
        kbd_defaults(s);
        s->scanning = true;
        s->leds = 0;
        put(q, ACK);
        put(q, BAT_OK);
        return;
    default: put(q, RESEND); return;
    }
    put(q, ACK);
}

/* --- the mouse --- */

static void aux_defaults(struct i8042_state *s)
{
    s->reporting = s->remote = s->wrap = s->scale21 = false;
    s->rates[2] = 100;
    s->resolution = 2;
    s->aux_command = 0;
    s->dx = s->dy = s->dz = 0;
}

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* One packet of what was not reported yet. */
static void aux_packet(struct i8042_state *s)
{
    int dx = clamp((int16_t)s->dx, -255, 255), dy = clamp((int16_t)s->dy, -255, 255);
    int dz = clamp((int16_t)s->dz, -8, 7);
    put(&s->aux, (uint8_t)((s->buttons & 7) | 8 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    put(&s->aux, (uint8_t)dx);
    put(&s->aux, (uint8_t)dy);
    if (s->aux_id == 3)
        put(&s->aux, (uint8_t)dz);
    if (s->aux_id == 4)
        put(&s->aux, (uint8_t)((dz & 15) | (s->buttons & 0x18) << 1));
    s->dx -= (uint16_t)dx;
    s->dy -= (uint16_t)dy;
    s->dz = s->aux_id ? s->dz - (uint16_t)dz : 0;
    s->reported_buttons = s->buttons;
}

static void aux_report(struct i8042_state *s)
{
    if (!s->reporting || s->remote || s->wrap)
        return;
    while ((s->dx || s->dy || s->dz || s->buttons != s->reported_buttons) &&
           s->aux.count + 4 <= I8042_BYTES)
        aux_packet(s);
}

static void aux_rate(struct i8042_state *s, uint8_t v)
{
    s->rates[0] = s->rates[1];
    s->rates[1] = s->rates[2];
    s->rates[2] = v;
    if (s->rates[0] == 200 && s->rates[1] == 100 && s->rates[2] == 80)
        s->aux_id = 3;
    else if (s->rates[0] == 200 && s->rates[1] == 200 && s->rates[2] == 80 && s->aux_id == 3)
        s->aux_id = 4;
}

static void aux_status(struct i8042_state *s)
{
    uint8_t b = s->buttons;
    uint8_t buttons = (uint8_t)((b & 1) << 2 | (b & 4) >> 1 | (b & 2) >> 1);
    put(&s->aux, (uint8_t)(s->remote << 6 | s->reporting << 5 | s->scale21 << 4 | buttons));
    put(&s->aux, s->resolution);
    put(&s->aux, s->rates[2]);
}

static void aux_write(struct i8042_state *s, uint8_t v)
{
    struct i8042_queue *q = &s->aux;
    q->count = 0;
    if (s->aux_command) {
        if (s->aux_command == 0xf3)
            aux_rate(s, v);
        else
            s->resolution = v & 3;
        s->aux_command = 0;
        put(q, ACK);
        return;
    }
    if (s->wrap && v != 0xec && v != 0xff) {
        put(q, v);
        return;
    }
    if (v == 0xfe) {
        put(q, s->aux_last);
        return;
    }
    if (v < 0xe6 || v == 0xef || v == 0xed || v == 0xf1 || (v > 0xf6 && v != 0xff)) {
        put(q, RESEND);
        return;
    }
    put(q, ACK);
    switch (v) {
    case 0xe6: s->scale21 = false; break;
    case 0xe7: s->scale21 = true; break;
    case 0xe8:
    case 0xf3: s->aux_command = v; break;
    case 0xe9: aux_status(s); break;
    case 0xea: s->remote = false; break;
    case 0xeb: aux_packet(s); break;
    case 0xec: s->wrap = false; break;
    case 0xee: s->wrap = true; break;
    case 0xf0: s->remote = true; break;
    case 0xf2: put(q, s->aux_id); break;
    case 0xf4: s->reporting = true; break;
    case 0xf5: s->reporting = false; break;
    case 0xf6: aux_defaults(s); break;
    case 0xff:
        aux_defaults(s);
        s->aux_id = 0;
        put(q, BAT_OK);
        put(q, 0x00);
        break;
    }
}

/* --- the controller's commands --- */

static void set_output_port(struct i8042 *k, uint8_t v)
{
    bool resets = !(v & OUT_RESET);
    k->s.output_port = (v & OUT_A20) | OUT_RESET;
    irq_set(&k->a20, v & OUT_A20);
    if (resets)
        irq_pulse(&k->reset);
}

static uint8_t read_output_port(const struct i8042_state *s)
{
    bool aux = s->full && s->source == FROM_AUX;
    return (uint8_t)(s->output_port | 0xcc | (s->full && !aux) << 4 | aux << 5);
}

static void controller_command(struct i8042 *k, uint8_t v)
{
    struct i8042_state *s = &k->s;
    s->command = 0;
    if (v >= 0x20 && v < 0x40) {
        answer(k, s->ram[v & 31], FROM_CONTROLLER);
        return;
    }
    if ((v >= 0x60 && v < 0x80) || (v >= 0xd1 && v <= 0xd4)) {
        s->command = v;
        return;
    }
    if (v >= 0xf0) { /* pulse the low bits of the output port; only the reset line notices */
        if (!(v & OUT_RESET))
            irq_pulse(&k->reset);
        return;
    }
    switch (v) {
    case 0xa4: answer(k, 0xf1, FROM_CONTROLLER); break; /* no password */
    case 0xa7: s->ram[0] |= CB_AUX_OFF; break;
    case 0xa8: s->ram[0] &= (uint8_t)~CB_AUX_OFF; break;
    case 0xa9: answer(k, 0x00, FROM_CONTROLLER); break; /* mouse line good */
    case 0xaa:
        s->ram[0] |= CB_SYS;
        answer(k, 0x55, FROM_CONTROLLER);
        break;
    case 0xab: answer(k, 0x00, FROM_CONTROLLER); break; /* keyboard line good */
    case 0xad: s->ram[0] |= CB_KBD_OFF; break;
    case 0xae: s->ram[0] &= (uint8_t)~CB_KBD_OFF; break;
    case 0xc0: answer(k, 0x80, FROM_CONTROLLER); break;
    case 0xd0: answer(k, read_output_port(s), FROM_CONTROLLER); break;
    case 0xdd: set_output_port(k, (uint8_t)(s->output_port & ~OUT_A20)); break;
    case 0xdf: set_output_port(k, s->output_port | OUT_A20); break;
    case 0xe0: answer(k, 0x00, FROM_CONTROLLER); break;
    default: LOG(k->log, DEV, "i8042: unknown command %#x", v); break;
    }
    pump(k);
}

static void controller_data(struct i8042 *k, uint8_t v)
{
    struct i8042_state *s = &k->s;
    uint8_t command = s->command;
    s->command = 0;
    switch (command) {
    case 0: /* for the keyboard, whose line this opens again */
        s->ram[0] &= (uint8_t)~CB_KBD_OFF;
        kbd_write(s, v);
        break;
    case 0xd1: set_output_port(k, v); break;
    case 0xd2: answer(k, v, FROM_KBD); break;
    case 0xd3: answer(k, v, FROM_AUX); break;
    case 0xd4:
        s->ram[0] &= (uint8_t)~CB_AUX_OFF;
        aux_write(s, v);
        break;
    default: s->ram[command & 31] = v; break;
    }
    pump(k);
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t v = k->s.data; /* an empty buffer gives the last byte again */
    k->s.full = false;
    update(k); /* the lines fall, so that the next byte is an edge */
    aux_report(&k->s);
    pump(k);
    return v;
}

static void data_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *k = dev;
    k->s.wrote_command = false;
    controller_data(k, (uint8_t)value);
}

static uint64_t command_read(void *dev, uint64_t offset, unsigned size)
{
    const struct i8042_state *s = &((struct i8042 *)dev)->s;
    uint8_t v = ST_KEYL | (s->ram[0] & CB_SYS) | (s->wrote_command ? ST_CMD : 0);
    if (s->full)
        v |= s->source == FROM_AUX ? ST_OBF | ST_AUX : ST_OBF;
    return v;
}

static void command_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *k = dev;
    k->s.wrote_command = true;
    controller_command(k, (uint8_t)value);
}

static uint64_t port92_read(void *dev, uint64_t offset, unsigned size)
{
    return ((struct i8042 *)dev)->s.output_port & OUT_A20;
}

static void port92_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *k = dev;
    set_output_port(k, (uint8_t)((value & OUT_A20) | OUT_RESET));
    if (value & 1)
        irq_pulse(&k->reset);
}

static const struct region_ops data_ops = {data_read, data_write, 1};
static const struct region_ops command_ops = {command_read, command_write, 1};
static const struct region_ops port92_ops = {port92_read, port92_write, 1};

/* --- from outside --- */

size_t i8042_key_room(const struct i8042 *k)
{
    return I8042_KEYS - (size_t)k->s.keys_count;
}

void i8042_key(struct i8042 *k, unsigned key, bool down)
{
    struct i8042_state *s = &k->s;
    bool known = key == KEY_PAUSE || (key < 0x200 && (key & 0xff) && (key & 0xff) < sizeof set2);
    if (!known || !s->scanning || s->keys_count == I8042_KEYS)
        return;
    s->keys[(s->keys_head + s->keys_count++) % I8042_KEYS] = (uint16_t)(key | (down ? 0 : 0x8000));
    pump(k);
}

bool i8042_type(struct i8042 *k, uint8_t c)
{
    struct key_event ev[KEYMAP_EVENTS];
    size_t n = keymap_char(c, ev);
    if (n > i8042_key_room(k))
        return false;
    for (size_t i = 0; i < n; i++)
        i8042_key(k, ev[i].key, ev[i].down);
    return true;
}

void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, unsigned buttons)
{
    struct i8042_state *s = &k->s;
    s->buttons = buttons & (s->aux_id == 4 ? 0x1f : 7);
    s->dx = (uint16_t)clamp((int16_t)s->dx + clamp(dx, -9999, 9999), -9999, 9999);
    s->dy = (uint16_t)clamp((int16_t)s->dy - clamp(dy, -9999, 9999), -9999, 9999);
    s->dz = s->aux_id ? (uint16_t)clamp((int16_t)s->dz + clamp(dz, -99, 99), -99, 99) : 0;
    if (!s->reporting)
        s->dx = s->dy = s->dz = 0;
    aux_report(s);
    pump(k);
}

void i8042_reset(struct i8042 *k)
{
    k->s = (struct i8042_state){.output_port = OUT_RESET | OUT_A20, .scanning = true};
    k->s.ram[0] = CB_XLATE | CB_AUX_OFF | CB_SYS | CB_KBD_INT;
    kbd_defaults(&k->s);
    aux_defaults(&k->s);
    irq_set(&k->a20, true);
    update(k);
}

static void repair(struct i8042_queue *q)
{
    q->head %= I8042_BYTES;
    if (q->count > I8042_BYTES)
        q->count = 0;
}

void i8042_restore(struct i8042 *k)
{
    struct i8042_state *s = &k->s;
    s->keys_head %= I8042_KEYS;
    if (s->keys_count > I8042_KEYS)
        s->keys_count = 0;
    if (s->seq_count > sizeof s->seq || s->seq_at > s->seq_count)
        s->seq_at = s->seq_count = 0;
    repair(&s->kbd_reply);
    repair(&s->aux);
    irq_set(&k->a20, s->output_port & OUT_A20);
    update(k);
}

void i8042_init(struct i8042 *k, const struct log *log, struct irq irq_kbd, struct irq irq_aux,
                struct irq a20, struct irq reset)
{
    *k = (struct i8042){
        .log = log, .irq_kbd = irq_kbd, .irq_aux = irq_aux, .a20 = a20, .reset = reset};
    k->data = (struct region){.name = "kbd data", .size = 1, .ops = &data_ops, .dev = k};
    k->command = (struct region){.name = "kbd command", .size = 1, .ops = &command_ops, .dev = k};
    k->port92 = (struct region){.name = "port92", .size = 1, .ops = &port92_ops, .dev = k};
    i8042_reset(k);
}
