/* A triple fault: no handler for anything, then a breakpoint. ishi says why and ends with 4.
 *
 * kind: pvh
 * args: --no-reboot
 * expect: the IDT is empty now
 * expect: cpu0: a fault while delivering a double fault: the processor shut down
 * status: 4
 */
#include "lib/guest.h"

void guest_main(uint32_t eax, uint32_t ebx)
{
    static const struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } empty = {0, 0};
    (void)eax;
    (void)ebx;
    print("the IDT is empty now\r\n");
    __asm__ volatile("lidt %0; int3" : : "m"(empty));
    guest_exit(1);
}
