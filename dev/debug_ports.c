#include "dev/debug_ports.h"

STATE_TABLE(debug_ports_table, "debug_ports", struct debug_ports_state,
            STATE(struct debug_ports_state, post));

static uint64_t post_read(void *dev, uint64_t offset, unsigned size)
{
    return ((struct debug_ports *)dev)->s.post;
}

static void post_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    ((struct debug_ports *)dev)->s.post = (uint8_t)value;
}

static uint64_t console_read(void *dev, uint64_t offset, unsigned size)
{
    return ((struct debug_ports *)dev)->console ? 0xe9 : 0xff;
}

static void console_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t byte = (uint8_t)value;
    chardev_write(((struct debug_ports *)dev)->console, &byte, 1);
}

static uint64_t exit_read(void *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_ports *d = dev;
    if (offset == 0 && d->on_exit)
        d->on_exit(d->opaque, (unsigned)value);
}

static const struct region_ops post_ops = {post_read, post_write, 1};
static const struct region_ops console_ops = {console_read, console_write, 1};
static const struct region_ops exit_ops = {exit_read, exit_write, 1 | 2 | 4};

void debug_ports_reset(struct debug_ports *d)
{
    d->s.post = 0;
}

void debug_ports_init(struct debug_ports *d, struct chardev *console,
                      void (*on_exit)(void *opaque, unsigned code), void *opaque)
{
    *d = (struct debug_ports){.console = console, .on_exit = on_exit, .opaque = opaque};
    d->post = (struct region){.name = "post", .size = 1, .ops = &post_ops, .dev = d};
    d->e9 = (struct region){.name = "console e9", .size = 1, .ops = &console_ops, .dev = d};
    d->bios = (struct region){.name = "console 402", .size = 1, .ops = &console_ops, .dev = d};
    d->exit = (struct region){.name = "debug exit", .size = 4, .ops = &exit_ops, .dev = d};
}
