/* What a gdb stub answers to `ishi compare`: its target description, registers, memory. Each line
 * of the input is a packet; with the first byte odd, the input is what comes from the socket. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front/compare_snap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define ROOM 65536

/* Bytes above ASCII stand for words of the protocol. */
static const char *const words[] = {
    "<reg ", "name=\"", "bitsize=\"", "regnum=\"", "<xi:include href=\"",
    "<!--",  "-->",     "rax\" ",     "xmm1\" ",   "128\"/>",
    "l<",    "m<",      "64\" "};

static size_t spell(char *to, const uint8_t *data, size_t n)
{
    size_t k = 0;
    bool open = false;
    for (size_t i = 0; i < n && k + 64 < ROOM; i++) {
        const char *word = data[i] >= 0x80 ? words[data[i] % ARRAY_LEN(words)] : NULL;
        if (data[i] != '\n' && !open)
            to[k++] = '$';
        open = data[i] != '\n';
        if (!open)
            k += (size_t)sprintf(to + k, "#00");
        else if (word)
            k += (size_t)sprintf(to + k, "%s", word);
        else
            to[k++] = (char)data[i];
    }
    return k + (open ? (size_t)sprintf(to + k, "#00") : 0);
}

static void use(struct gdb_client *g)
{
    static struct partial p;
    uint8_t regs[2048], page[4096];
    struct err e;
    size_t count;
    if (gdbc_describe(g, &e)) {
        for (unsigned i = 0; i < g->reg_count; i++) {
            uint8_t value[16] = {0};
            if (g->reg[i].size <= sizeof value)
                gdbc_queue_reg(g, &g->reg[i], value);
            snap_by_gdb_name(g->reg[i].name);
        }
        if (gdbc_registers(g, regs, sizeof regs, &count, &e))
            snap_from_gdb(&p, g, regs, count);
    }
    gdbc_read(g, 0x1000, page, sizeof page, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char text[ROOM];
    static struct gdb_client g;
    int pair[2];
    if (!n)
        return 0;
    bool raw = data[0] & 1;
    size_t size = raw ? n - 1 : spell(text, data + 1, n - 1);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
    if (size && send(pair[1], raw ? (const void *)(data + 1) : text, size, 0) < 0)
        abort();
    shutdown(pair[1], SHUT_WR); /* no answer is waited for */
    memset(&g, 0, sizeof g);
    g.fd = pair[0];
    use(&g);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
