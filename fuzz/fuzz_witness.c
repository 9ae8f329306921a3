/* QEMU's log of CPU states, as it comes through a pipe, beside the gdb stub's answer that ends a
 * run. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front/witness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define ROOM 32768 /* less than a pipe holds */

/* Bytes above ASCII stand for words of the log. */
static const char *const words[] = {
    "EAX=", "RAX=", "R8 =", "EIP=", "EFL=",  "CS =",   "TR =",   "LDT=",  "GDT=",
    "CR0=", "DR6=", "FCW=", "FSW=", "FPR0=", "XMM15=", "YMM01=", "EFER=", "00ff0"};

static bool take(void *opaque, const struct partial *p)
{
    unsigned *left = opaque;
    for (unsigned i = 0; i < SW_COUNT; i++)
        assert(!p->known[i] || !(p->s.w[i] & ~p->known[i]));
    return (*left)-- > 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char stop[] = "$T05thread:01;#07";
    static char text[ROOM], buffer[WITNESS_LOG + 1];
    static struct witness w;
    struct err e;
    unsigned left = n ? data[0] : 0; /* states to take before the run is ended */
    int gdb[2], log[2];
    bool ended;
    size_t k = 0;
    for (size_t i = 1; i < n && k + 16 < ROOM; i++) {
        if (data[i] >= 0x80)
            k += (size_t)sprintf(text + k, "%s", words[data[i] % ARRAY_LEN(words)]);
        else
            text[k++] = (char)data[i];
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, gdb) < 0 || pipe2(log, O_NONBLOCK) < 0)
        abort();
    if ((k && write(log[1], text, k) < 0) || send(gdb[1], stop, sizeof stop - 1, 0) < 0)
        abort();
    close(log[1]);
    memset(&w, 0, sizeof w);
    w.name = "QEMU";
    w.gdb.fd = gdb[0];
    w.log = log[0];
    w.text = buffer;
    witness_run(&w, "c", take, &left, &ended, &e);
    close(log[0]);
    close(gdb[0]);
    close(gdb[1]);
    return 0;
}
