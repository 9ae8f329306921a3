/* `ishi disasm --jit`: a block as guest instructions, uops and host code, side by side. */
#ifndef ISHI_FRONT_DISASM_JIT_H
#define ISHI_FRONT_DISASM_JIT_H

#include <stdio.h>

#include "base/err.h"
#include "isa/isa.h"

/* Prints the block that begins with p[0], at `address`: as the JIT compiles it for a program (CPL
 * 3, flat segments). n: bytes that may belong to it, all on one page. False: no JIT here, or none
 * for this mode. */
bool jit_print(FILE *to, const uint8_t *p, size_t n, uint64_t address, enum isa_mode mode,
               struct err *e);

#endif
