/* The engine on the host's own processor, by Linux's KVM.
 *
 * All chips stay ishi's own, the local APICs too: the kernel runs instructions and nothing else, so
 * a machine can change between this engine and the others at any instruction boundary.
 *
 * Time: KVM counts no instructions. A run ends after a slice of host time, or at the next timer;
 * s.icount advances by the share of the budget that this is, so it says nothing of the guest.
 *
 * What the kernel can't do (its emulator refuses an instruction, the A20 gate is shut, an INIT or a
 * start-up IPI comes) our own CPU does. */
#ifndef ISHI_ENGINE_KVM_H
#define ISHI_ENGINE_KVM_H

#include "engine/engine.h"

#define KVM_SLICE_NS 1000000ull /* the longest run */

struct kvm_report; /* what a host offers: kvm_host.h */

#endif
