#include "cpu/wide.h"

bool wide_exchange(uint64_t *p, uint64_t expected[2], const uint64_t with[2])
{
    bool equal;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(unsigned __int128 *)(void *)p), "+a"(expected[0]),
                       "+d"(expected[1])
                     : "b"(with[0]), "c"(with[1])
                     : "memory");
    return equal;
}
