/* The other end of a gdb stub: a client of the remote serial protocol (GDB manual, appendix E), as
 * far as a comparison needs it. Packets that answer OK are queued and sent together with the one
 * that is waited for, as each round trip costs more than an instruction. */
#ifndef ISHI_FRONT_GDB_CLIENT_H
#define ISHI_FRONT_GDB_CLIENT_H

#include "base/err.h"

#define GDB_PACKET 4096 /* bytes of a packet that every stub takes */
#define GDB_REGS   160

/* A register of the stub's target description. */
struct gdb_reg {
    char name[16];
    unsigned number; /* in packets p and P */
    unsigned offset; /* bytes into the reply to g */
    unsigned size;   /* bytes */
};

struct gdb_client {
    int fd;
    struct gdb_reg reg[GDB_REGS];
    unsigned reg_count;
    char in[4 * GDB_PACKET];
    size_t in_count;
    char out[16 * GDB_PACKET];
    size_t out_count;
    unsigned queued; /* packets in `out`, or sent, whose OK has not come */
};

/* unix:PATH, or HOST:PORT. */
bool gdbc_connect(struct gdb_client *g, const char *where, struct err *e);
/* Asks for the target description. */
bool gdbc_describe(struct gdb_client *g, struct err *e);
const struct gdb_reg *gdbc_find(const struct gdb_client *g, const char *name);

/* Queues a packet whose answer is OK. */
void gdbc_queue(struct gdb_client *g, const char *fmt, ...) PRINTF(2, 3);
/* Queues a write of n bytes at `at`, in as many packets as it takes. */
void gdbc_queue_write(struct gdb_client *g, uint64_t at, const void *p, size_t n);
/* Queues a write of a register: its `size` bytes. */
void gdbc_queue_reg(struct gdb_client *g, const struct gdb_reg *r, const void *value);
/* Sends what is queued and the packet, and waits for its answer. */
bool gdbc_ask(struct gdb_client *g, const char *packet, char *reply, size_t size, struct err *e);
/* Sends what is queued and the packet, without waiting. */
bool gdbc_send(struct gdb_client *g, const char *packet, struct err *e);
/* Takes what came in. *done: a reply to a packet that was not queued is in `reply`. */
bool gdbc_receive(struct gdb_client *g, char *reply, size_t size, bool *done, struct err *e);
/* Reads all registers into buf, as bytes. */
bool gdbc_registers(struct gdb_client *g, uint8_t *buf, size_t size, size_t *n, struct err *e);
bool gdbc_read(struct gdb_client *g, uint64_t at, void *p, size_t n, struct err *e);

#endif
