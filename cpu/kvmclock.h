/* KVM's paravirtual clock (Linux, Documentation/virt/kvm/x86/msr.rst and cpuid.rst), which a model
 * may have beside its features: by its page and the time-stamp counter a guest knows the time since
 * the reset, and the counter's rate without measuring it.
 *
 * It is ours on every engine. Time is the counter's, scaled: the page is written when the guest
 * says where it is to be, or changes the counter, and holds through a change of engine, as the
 * counter does. */
#ifndef ISHI_CPU_KVMCLOCK_H
#define ISHI_CPU_KVMCLOCK_H

#include "cpu/cpu.h"

/* MSRs. False: n is none of them, or the model has no such clock. */
bool kvmclock_read(const struct cpu *c, uint32_t n, uint64_t *v);
bool kvmclock_write(struct cpu *c, uint32_t n, uint64_t v);
/* The guest added `ticks` to its time-stamp counter: time goes on as before. */
void kvmclock_adjust(struct cpu *c, uint64_t ticks);
/* EAX of CPUID leaf 0x40000001. */
uint32_t kvmclock_features(const struct cpu *c);

/* ns = (ticks, shifted left by *shift, or right if it is negative) * *mul >> 32 */
void kvmclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift);

#endif
