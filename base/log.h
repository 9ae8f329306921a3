/* A machine's log: lines by topic, to a sink that the front end gives.
 *
 * Guest misbehaviour (an unknown register, a bad descriptor) is logged, never fatal. A topic that
 * is off costs one test. */
#ifndef ISHI_BASE_LOG_H
#define ISHI_BASE_LOG_H

#include "base/bits.h"

/* X(identifier, name on the command line, what it shows) */
#define LOG_TOPICS(X)                                                 \
    X(CPU, "cpu", "resets, mode switches, unknown instructions")      \
    X(INT, "int", "each interrupt and exception")                     \
    X(IO, "io", "accesses to ports and memory that no device claims") \
    X(DEV, "dev", "what a guest asks of a chip that it can't do")     \
    X(PCI, "pci", "configuration space")                              \
    X(DISK, "disk", "IDE commands")                                   \
    X(BOOT, "boot", "what the boot loaders do")                       \
    X(KVM, "kvm", "what KVM could not do; at its end, its exits")     \
    X(EXIT, "exit", "each exit of KVM")                               \
    X(INSN, "insn", "each instruction, disassembled; slow")           \
    X(HOST, "host", "the outside: files, terminals, sockets")

enum log_topic {
#define X(id, name, text) LOG_##id,
    LOG_TOPICS(X)
#undef X
        LOG_TOPIC_COUNT
};

/* What "all" leaves out: a line for each step of the machine. */
#define LOG_STEPS (BIT(LOG_INSN) | BIT(LOG_EXIT))

struct log {
    uint32_t mask;                                /* bit n: topic n is on */
    void (*sink)(void *opaque, const char *line); /* no newline; NULL drops */
    void *opaque;
};

void log_write(const struct log *l, enum log_topic topic, const char *fmt, ...) PRINTF(3, 4);
#define LOG(l, topic, ...) \
    ((l) && ((l)->mask & BIT(LOG_##topic)) ? log_write(l, LOG_##topic, __VA_ARGS__) : (void)0)

const char *log_topic_name(enum log_topic topic);
const char *log_topic_text(enum log_topic topic);

#endif
