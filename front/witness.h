/* The other machine of a comparison, as seen through its gdb stub: registers, memory, steps. QEMU
 * can be started by ishi; it then has no devices at all, its RAM is shared with ishi, and it logs
 * the whole state of its CPU before each instruction or block, which is an order of magnitude
 * faster than to ask for it and shows the hidden parts of segment registers. */
#ifndef ISHI_FRONT_WITNESS_H
#define ISHI_FRONT_WITNESS_H

#include <sys/types.h>

#include "front/compare_snap.h"

#define WITNESS_RAM (4ull << 30) /* of a QEMU that ishi starts: all that 32 bits address */
#define WITNESS_LOG (1u << 20)   /* bytes of log at a time */

struct witness {
    struct gdb_client gdb;
    const char *name; /* for people */
    pid_t pid;        /* 0: not ours */
    uint8_t *ram;     /* WITNESS_RAM bytes shared with it; NULL: only packets */
    int log;          /* what it logs; -1: nothing */
    bool blocks;      /* it logs at the beginning of each of its blocks, not each instruction */
    char *text;       /* log not yet taken, WITNESS_LOG bytes */
    size_t text_count, text_at;
};

enum witness_grain { GRAIN_INSN, GRAIN_BLOCK, GRAIN_SYNC };

/* Starts QEMU: a CPU, 4 GiB of RAM, nothing else. */
/* `later`: grain sync may become insn, by witness_fine(). */
bool witness_qemu(struct witness *w, enum witness_grain grain, bool later, struct err *e);
/* Queues: from now on it logs the state before each instruction. */
void witness_fine(struct witness *w);
/* Connects to a stub whose machine stands still at the same place as ishi's. */
bool witness_connect(struct witness *w, const char *where, struct err *e);
void witness_close(struct witness *w);

/* Runs it by the packet ("s" or "c") until it stops. Each CPU state that it logs meanwhile is given
 * to fn, in order; fn returns false to end the run early. *ended: fn did so. */
typedef bool witness_fn(void *opaque, const struct partial *p);
bool witness_run(struct witness *w, const char *packet, witness_fn *fn, void *opaque, bool *ended,
                 struct err *e);
/* Queues: from now on it logs, or does not. */
void witness_log(struct witness *w, bool on);
/* Its registers, by gdb. */
bool witness_state(struct witness *w, struct partial *p, struct err *e);
/* Queues: a word of the state becomes this. False: gdb's protocol can't write it. */
bool witness_set(struct witness *w, const struct snap *s, unsigned word);

/* Physical memory. Reads see what the CPU last wrote; writes reach translated code, too. */
bool witness_read(struct witness *w, uint64_t paddr, void *p, size_t n, struct err *e);
void witness_write(struct witness *w, uint64_t paddr, const void *p, size_t n);

/* Brings QEMU, just started, into the state s: tables and hidden parts too, as far as descriptors
 * in memory allow. Its memory is as it shall be. */
bool witness_enter(struct witness *w, const struct snap *s, struct err *e);

#endif
