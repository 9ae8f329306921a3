/* Ports that no PC has, or that nothing stands behind: POST codes, debug consoles, and the port by
 * which a test guest ends the machine.
 *
 * The consoles (0xe9 as in Bochs, 0x402 as SeaBIOS uses it) read 0xe9 while something is connected
 * to them: a guest then writes its log, and saves itself the trouble otherwise. */
#ifndef ISHI_DEV_DEBUG_PORTS_H
#define ISHI_DEV_DEBUG_PORTS_H

#include "backend/chardev.h"
#include "base/state.h"
#include "bus/bus.h"

struct debug_ports_state {
    uint8_t post; /* the last POST code */
};

extern const struct state_table debug_ports_table;

struct debug_ports {
    struct debug_ports_state s;
    struct region post; /* 1 port: 0x80 */
    struct region e9;   /* 1 port */
    struct region bios; /* 1 port: 0x402 */
    struct region exit; /* 4 ports: isa-debug-exit */
    struct chardev *console;
    void (*on_exit)(void *opaque, unsigned code);
    void *opaque;
};

/* console: may be NULL. on_exit: the guest wrote `code` to the exit port; may be NULL. */
void debug_ports_init(struct debug_ports *d, struct chardev *console,
                      void (*on_exit)(void *opaque, unsigned code), void *opaque);
void debug_ports_reset(struct debug_ports *d);

#endif
