/* A compare and exchange of 16 bytes, one file for each kind of host. */
#ifndef ISHI_CPU_WIDE_H
#define ISHI_CPU_WIDE_H

#include <stdbool.h>
#include <stdint.h>

/* Atomic, at an address divisible by 16; *expected receives what was there. Only on hosts where
 * CPUs can run side by side. */
bool wide_exchange(uint64_t *p, uint64_t expected[2], const uint64_t with[2]);

#endif
