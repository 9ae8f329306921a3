#include "front/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* for a stop */

/* --- starting --------------------------------------------------------------------------------- */

static void run_qemu(int gdb, int memory, int log, enum witness_grain grain, bool later)
{
    char object[200], file[64];
    snprintf(object, sizeof object,
             "memory-backend-file,id=ram,size=%llu,mem-path=/proc/self/fd/%d,share=on",
             (unsigned long long)WITNESS_RAM, memory);
    snprintf(file, sizeof file, "/proc/self/fd/%d", log);
    const char *args[40] = {"qemu-system-x86_64",
                            "-machine",
                            "none,memory-backend=ram",
                            "-cpu",
                            "max,apic-id=0",
                            "-m",
                            "4G",
                            "-object",
                            object,
                            "-accel",
                            "tcg",
                            "-nodefaults",
                            "-display",
                            "none",
                            "-monitor",
                            "none",
                            "-serial",
                            "none",
                            "-S",
                            "-gdb",
                            "stdio"};
    unsigned n = 21;
    if (grain == GRAIN_INSN)
        args[n++] = "-singlestep";
    if (grain != GRAIN_SYNC) { /* the log has no state of chained blocks */
        args[n++] = "-d";
        args[n++] = "cpu,fpu,nochain";
    }
    if (grain != GRAIN_SYNC || later) {
        args[n++] = "-D";
        args[n++] = file;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it would not notice that ishi was killed */
    dup2(gdb, 0);
    dup2(gdb, 1);
    fcntl(memory, F_SETFD, 0);
    fcntl(log, F_SETFD, 0);
    execvp(args[0], (char **)args);
    fprintf(stderr, "ishi: %s: %s\n", args[0], strerror(errno));
    _exit(127);
}

bool witness_qemu(struct witness *w, enum witness_grain grain, bool later, struct err *e)
{
    int gdb[2], log[2], memory = memfd_create("ishi-compare", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, (off_t)WITNESS_RAM) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gdb) < 0 || pipe2(log, O_CLOEXEC) < 0)
        return err_set(e, ERR_IO, "starting QEMU: %s", strerror(errno));
    w->ram = mmap(NULL, WITNESS_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (w->ram == MAP_FAILED)
        return err_set(e, ERR_NO_MEMORY, "starting QEMU: %s", strerror(errno));
    fcntl(log[0], F_SETFL, O_NONBLOCK);
    fcntl(log[0], F_SETPIPE_SZ, WITNESS_LOG);
    w->name = "QEMU";
    w->blocks = grain == GRAIN_BLOCK;
    w->text = grain == GRAIN_SYNC && !later ? NULL : xcalloc(1, WITNESS_LOG + 1);
    w->log = log[0];
    w->gdb.fd = gdb[0];
    fflush(stdout);
    w->pid = fork();
    if (w->pid == 0)
        run_qemu(gdb[1], memory, log[1], grain, later);
    close(gdb[1]);
    close(log[1]);
    close(memory);
    if (w->pid < 0)
        return err_set(e, ERR_IO, "starting QEMU: %s", strerror(errno));
    if (!gdbc_describe(&w->gdb, e))
        return err_prefix(e, "qemu-system-x86_64");
    gdbc_queue(&w->gdb, "Qqemu.PhyMemMode:1");
    gdbc_queue(&w->gdb, "Qqemu.sstep=7");
    return true;
}

bool witness_connect(struct witness *w, const char *where, struct err *e)
{
    char reply[GDB_PACKET];
    w->name = "stub";
    w->log = -1;
    if (!gdbc_connect(&w->gdb, where, e) || !gdbc_describe(&w->gdb, e) ||
        !gdbc_ask(&w->gdb, "Qqemu.PhyMemMode:1", reply, sizeof reply, e))
        return false;
    if (strcmp(reply, "OK"))
        return err_set(e, ERR_UNSUPPORTED,
                       "the gdb stub at %s can't read physical memory (Qqemu.PhyMemMode)", where);
    return gdbc_ask(&w->gdb, "Qqemu.sstep=7", reply, sizeof reply, e);
}

void witness_close(struct witness *w)
{
    if (w->pid > 0) {
        kill(w->pid, SIGKILL);
        while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (w->ram && w->ram != MAP_FAILED)
        munmap(w->ram, WITNESS_RAM);
    if (w->text)
        close(w->log);
    free(w->text);
    if (w->name)
        close(w->gdb.fd);
}

/* --- running ---------------------------------------------------------------------------------- */

/* The states whose text is complete; with `all`, everything that came is. False: fn ended it. */
static bool take_states(struct witness *w, bool all, witness_fn *fn, void *opaque)
{
    char *at = w->text, *end = w->text + w->text_count, *newline;
    bool on = true;
    while (on) {
        char *next = at;
        struct partial p;
        bool complete = false;
        memset(p.known, 0, sizeof p.known);
        while ((newline = memchr(next, '\n', (size_t)(end - next)))) {
            if (next != at && snap_log_begins(next)) {
                complete = true;
                break;
            }
            *newline = 0;
            snap_from_log(&p, next);
            *newline = '\n';
            next = newline + 1;
        }
        if (next == at || (!complete && !all))
            break;
        at = next;
        on = fn(opaque, &p);
    }
    w->text_count = (size_t)(end - at);
    memmove(w->text, at, w->text_count + 1);
    return on;
}

/* What the log has now. */
static bool take_log(struct witness *w, bool all, witness_fn *fn, void *opaque, struct err *e)
{
    bool on = true;
    while (on) {
        ssize_t n = read(w->log, w->text + w->text_count, WITNESS_LOG - w->text_count);
        if (n <= 0)
            break;
        w->text_count += (size_t)n;
        w->text[w->text_count] = 0;
        on = take_states(w, false, fn, opaque);
    }
    return on && all ? take_states(w, true, fn, opaque) : on;
}

/* It runs on and on: says where it is. */
static bool lost(struct witness *w, struct err *e)
{
    char reply[GDB_PACKET];
    struct partial p = {0};
    bool done = false;
    if (send(w->gdb.fd, "\3", 1, MSG_NOSIGNAL) != 1)
        return err_set(e, ERR_IO, "%s does not answer", w->name);
    for (unsigned i = 0; i < 50 && !done; i++) {
        struct pollfd fd = {w->gdb.fd, POLLIN, 0};
        poll(&fd, 1, 100);
        if (!gdbc_receive(&w->gdb, reply, sizeof reply, &done, e))
            return false;
    }
    if (!done || !witness_state(w, &p, e))
        return err_set(e, ERR_IO, "%s does not come to where ishi is, and does not stop", w->name);
    return err_set(e, ERR_IO,
                   "%s does not come to where ishi is: after %d s it is at %04llx:%llx, CR2 %llx",
                   w->name, PATIENCE_MS / 1000, (unsigned long long)p.s.w[SW_SEL(SEG_CS)],
                   (unsigned long long)p.s.w[SW_RIP], (unsigned long long)p.s.w[SW_CR2]);
}

bool witness_run(struct witness *w, const char *packet, witness_fn *fn, void *opaque, bool *ended,
                 struct err *e)
{
    char reply[GDB_PACKET];
    *ended = false;
    if (!gdbc_send(&w->gdb, packet, e))
        return false;
    for (bool done = false; !done;) {
        struct pollfd p[2] = {{w->gdb.fd, POLLIN, 0}, {w->log, POLLIN, 0}};
        if (poll(p, w->log >= 0 && w->text ? 2 : 1, PATIENCE_MS) == 0)
            return lost(w, e);
        if (w->text && !take_log(w, false, fn, opaque, e)) {
            *ended = true;
            return true;
        }
        if (!gdbc_receive(&w->gdb, reply, sizeof reply, &done, e))
            return false;
    }
    if (reply[0] != 'T' && reply[0] != 'S')
        return err_set(e, ERR_IO, "%s stopped with \"%s\"", w->name, reply);
    *ended = w->text && !take_log(w, true, fn, opaque, e);
    return true;
}

/* A line for QEMU's monitor. */
static void command(struct witness *w, const char *line)
{
    char hex[64] = "";
    for (unsigned i = 0; line[i]; i++)
        sprintf(hex + 2 * i, "%02x", line[i]);
    gdbc_queue(&w->gdb, "qRcmd,%s", hex);
}

void witness_log(struct witness *w, bool on)
{
    if (w->text)
        command(w, on ? "log cpu,fpu,nochain" : "log none");
}

void witness_fine(struct witness *w)
{
    command(w, "singlestep on");
    witness_log(w, true);
}

bool witness_state(struct witness *w, struct partial *p, struct err *e)
{
    uint8_t regs[2048];
    size_t n;
    if (!gdbc_registers(&w->gdb, regs, sizeof regs, &n, e))
        return false;
    snap_from_gdb(p, &w->gdb, regs, n);
    return true;
}

bool witness_set(struct witness *w, const struct snap *s, unsigned word)
{
    for (unsigned i = 0; i < w->gdb.reg_count; i++) {
        const struct gdb_reg *r = &w->gdb.reg[i];
        unsigned mine = snap_by_gdb_name(r->name);
        uint64_t v[2] = {s->w[word], 0};
        if (mine == ~0u || (mine != word && !(r->size == 16 && mine + 1 == word)))
            continue;
        if (r->size > 8) {
            v[0] = s->w[mine];
            v[1] = s->w[mine + 1];
        }
        if (r->size > sizeof v)
            return false;
        gdbc_queue_reg(&w->gdb, r, v);
        return true;
    }
    return false;
}

bool witness_read(struct witness *w, uint64_t paddr, void *p, size_t n, struct err *e)
{
    if (!w->ram)
        return gdbc_read(&w->gdb, paddr, p, n, e);
    memcpy(p, w->ram + paddr, n);
    return true;
}

void witness_write(struct witness *w, uint64_t paddr, const void *p, size_t n)
{
    gdbc_queue_write(&w->gdb, paddr, p, n);
}

/* --- into a state ----------------------------------------------------------------------------- */

static bool ignore(void *opaque, const struct partial *p)
{
    return true;
}

/* No packet sets GDTR and IDTR, nor CS without its attributes: three instructions below the reset
 * vector do it, in the segment that the CPU starts with. */
static bool load_tables(struct witness *w, const struct snap *s, struct err *e)
{
    enum { IP = 0xff00, OPERANDS = 0xff20, LENGTH = 0x40 };
    const uint64_t at = 0xffff0000 + IP;
    uint8_t kept[LENGTH],
        put[LENGTH] = {0x66,          0x2e, 0x0f, 0x01, 0x16, OPERANDS & 0xff,
                       OPERANDS >> 8, /* o32 lgdt cs:[…] */
                       0x66,          0x2e, 0x0f, 0x01, 0x1e, (OPERANDS & 0xff) + 8,
                       OPERANDS >> 8, /* o32 lidt cs:[…] */
                       0xea};         /* jmp far */
    struct snap start = {0};
    bool ended;
    memcpy(kept, w->ram + at, LENGTH);
    put_le16(put + 15, (uint16_t)s->w[SW_RIP]);
    put_le16(put + 17, (uint16_t)s->w[SW_SEL(SEG_CS)]);
    put_le16(put + OPERANDS - IP, (uint16_t)s->w[SW_GDT + 1]);
    put_le32(put + OPERANDS - IP + 2, (uint32_t)s->w[SW_GDT]);
    put_le16(put + OPERANDS - IP + 8, (uint16_t)s->w[SW_IDT + 1]);
    put_le32(put + OPERANDS - IP + 10, (uint32_t)s->w[SW_IDT]);
    witness_write(w, at, put, LENGTH);
    start.w[SW_RIP] = IP;
    witness_set(w, &start, SW_RIP);
    for (unsigned i = 0; i < 3; i++) {
        if (!witness_run(w, "s", ignore, NULL, &ended, e))
            return false;
    }
    witness_write(w, at, kept, LENGTH);
    return true;
}

bool witness_enter(struct witness *w, const struct snap *s, struct err *e)
{
    static const unsigned control[] = {SW_CR4, SW_CR3, SW_EFER, SW_CR0, SW_CR2};
    struct snap other = *s;
    bool reset = s->w[SW_BASE(SEG_CS)] == 0xffff0000; /* where QEMU is */
    if (!reset && !load_tables(w, s, e))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(control); i++)
        witness_set(w, s, control[i]);
    for (unsigned i = 0; i < SEG_COUNT && !reset; i++) {
        if (i == SEG_CS && !(s->w[SW_CR0] & CR0_PE))
            continue;
        /* the same selector again would load nothing: by way of another one */
        other.w[SW_SEL(i)] ^= 8;
        witness_set(w, &other, SW_SEL(i));
        witness_set(w, s, SW_SEL(i));
    }
    for (unsigned i = SW_R; i <= SW_FLAGS; i++)
        witness_set(w, s, i);
    return true;
}
