/* A machine for the tests of boot/: RAM and a bus, nothing else. */
#ifndef ISHI_TESTS_BOOT_MACHINE_H
#define ISHI_TESTS_BOOT_MACHINE_H

#include "boot/boot.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

static struct bus bus;
static struct err err;

/* So much RAM, all of it 0xcc. */
static inline void machine(uint64_t size)
{
    uint8_t *ram = aligned_alloc(PAGE_SIZE, size);
    memset(ram, 0xcc, size);
    bus_init(&bus, ram, size, NULL);
    memset(&err, 0, sizeof err);
}

static inline int teardown(void **state)
{
    free(bus.ram);
    bus_free(&bus);
    bus.ram = NULL;
    return 0;
}

static inline uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static inline struct boot_config config(unsigned cpus)
{
    struct boot_config c;
    boot_config_default(&c);
    c.cpus = cpus;
    return c;
}

#endif
