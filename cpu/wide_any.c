/* Hosts on which CPUs take turns. */
#include "cpu/wide.h"

#include "base/err.h"

bool wide_exchange(uint64_t *p, uint64_t expected[2], const uint64_t with[2])
{
    CHECK(false);
    return false;
}
