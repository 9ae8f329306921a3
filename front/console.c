#include "front/console.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define CTRL_A 1

/* What the terminal was before, for the signal handler; a process has one terminal. */
static struct termios saved;
static volatile sig_atomic_t raw;

static void terminal_back(void)
{
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    raw = 0;
}

static void on_signal(int n)
{
    terminal_back();
    signal(n, SIG_DFL);
    raise(n);
}

static void write_all(struct console *c, const uint8_t *p, size_t n)
{
    while (n && !c->output_lost) {
        ssize_t w = write(STDOUT_FILENO, p, n);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        } else if (w < 0 && errno == EAGAIN) {
            struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&out, 1, 1000);
        } else if (w < 0 && errno != EINTR) {
            c->output_lost = true;
        }
    }
}

static void from_guest(void *opaque, const uint8_t *p, size_t n)
{
    struct console *c = opaque;
    if (n)
        c->start_of_line = p[n - 1] == '\n';
    write_all(c, p, n);
}

void console_print(struct console *c, const char *fmt, ...)
{
    char small[1024], *text = small;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof small) {
        text = xcalloc((size_t)n + 1, 1);
        vsnprintf(text, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    for (char *p = text; *p;) { /* raw mode wants CR LF */
        size_t k = strcspn(p, "\n");
        write_all(c, (const uint8_t *)p, k);
        if (p[k]) {
            write_all(c, (const uint8_t *)"\r\n", c->tty ? 2 : 0);
            write_all(c, (const uint8_t *)"\n", c->tty ? 0 : 1);
            k++;
        }
        p += k;
    }
    if (text != small)
        free(text);
}

static void help(struct console *c)
{
    console_print(c, "\nCtrl-A h  this text\n"
                     "Ctrl-A x  quit\n"
                     "Ctrl-A c  monitor prompt, and back\n"
                     "Ctrl-A b  send a break\n"
                     "Ctrl-A r  reset the machine\n"
                     "Ctrl-A p  press the power button\n"
                     "Ctrl-A s  screenshot\n"
                     "Ctrl-A d  draw the VGA screen in the terminal, and back\n"
                     "Ctrl-A a  send Ctrl-A\n");
}

static void prompt(struct console *c)
{
    console_print(c, "(ishi) ");
}

static void monitor_key(struct console *c, uint8_t b)
{
    if (b == '\r' || b == '\n') {
        c->line[c->line_length] = 0;
        c->line_length = 0;
        if (c->tty)
            console_print(c, "\n");
        c->command(c->opaque, c->line);
        if (c->monitor)
            prompt(c);
    } else if (b == 4) { /* Ctrl-D */
        c->monitor = false;
        console_print(c, "\n");
    } else if (b == 127 || b == 8) {
        if (c->line_length) {
            c->line_length--;
            console_print(c, "\b \b");
        }
    } else if (b >= ' ' && c->line_length + 1 < sizeof c->line) {
        c->line[c->line_length++] = (char)b;
        if (c->tty)
            console_print(c, "%c", b);
    }
}

static void to_guest(struct console *c, uint8_t b)
{
    if (c->in_count < sizeof c->in)
        c->in[c->in_count++] = b;
}

static void escape(struct console *c, uint8_t b)
{
    switch (b) {
    case CTRL_A:
    case 'a': to_guest(c, CTRL_A); break;
    case 'h':
    case '?': help(c); break;
    case 'c':
        c->monitor = !c->monitor;
        console_print(c, "\n");
        if (c->monitor)
            prompt(c);
        break;
    case 'b':
        if (c->dev.sink.brk)
            c->dev.sink.brk(c->dev.sink.dev);
        break;
    default: c->key(c->opaque, (char)b);
    }
}

static bool wants(void *opaque)
{
    return ((struct console *)opaque)->in_count < CONSOLE_BUFFER / 2;
}

static void ready(void *opaque)
{
    struct console *c = opaque;
    uint8_t buf[4096];
    ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        loop_remove(c->loop, STDIN_FILENO);
    for (ssize_t i = 0; i < n; i++) {
        if (c->prefix) {
            c->prefix = false;
            escape(c, buf[i]);
        } else if (buf[i] == CTRL_A) {
            c->prefix = true;
        } else if (c->monitor) {
            monitor_key(c, buf[i]);
        } else {
            to_guest(c, buf[i]);
        }
    }
    console_feed(c);
}

void console_feed(struct console *c)
{
    size_t n = 0;
    if (!c->in_count)
        return;
    if (c->type) {
        n = c->type(c->opaque, c->in, c->in_count);
    } else if (c->dev.sink.room) {
        n = c->dev.sink.room(c->dev.sink.dev);
        if (n > c->in_count)
            n = c->in_count;
        if (n)
            c->dev.sink.input(c->dev.sink.dev, c->in, n);
    }
    memmove(c->in, c->in + n, c->in_count - n);
    c->in_count -= n;
}

void console_open(struct console *c, struct loop *loop)
{
    c->loop = loop;
    c->dev.write = from_guest;
    c->dev.opaque = c;
    c->tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a disk beyond the limit of files' size: the write fails */
    if (c->tty) {
        struct termios t = saved;
        cfmakeraw(&t);
        /* A program that prints beside us (make, a shell job) still gets its line ends right. */
        t.c_oflag |= OPOST;
        t.c_oflag &= ~(tcflag_t)ONLCR;
        raw = 1;
        tcsetattr(STDIN_FILENO, TCSANOW, &t);
        static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGABRT, SIGBUS};
        for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
            signal(deadly[i], on_signal);
    }
    loop_add(loop, STDIN_FILENO, wants, ready, c);
}

void console_close(struct console *c)
{
    if (c->tty && !c->start_of_line)
        write_all(c, (const uint8_t *)"\r\n", 2);
    terminal_back();
}
