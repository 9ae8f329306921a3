/* Memory operands that processors access in pieces: images of the FPU's and the vector unit's
 * state, ten-byte numbers, table registers.
 *
 * Each piece begins at an offset of its own, cut to the address size, and goes on from there
 * without a cut, as any access does. So an image that passes the end of what the address size can
 * reach goes on at offset 0, and the 32 bytes of a VMOVUPS don't. The SDM says nothing of it; this
 * is what Intel's processors do. */
#ifndef ISHI_CPU_AREA_H
#define ISHI_CPU_AREA_H

#include "cpu/sysop.h"

/* Pieces of `unit` bytes up to `head`; behind it by turns of 8 and 2. */
struct area {
    uint16_t unit, head;
};

#define AREA_TEN    ((struct area){0, 0})       /* a ten-byte number */
#define AREA_TABLE  ((struct area){2, 2})       /* limit and base */
#define AREA_BLOCKS ((struct area){16, 0xffff}) /* FXSAVE's and XSAVE's images */
#define AREA_ENV16  ((struct area){2, 14})      /* FSTENV's, and FSAVE's registers behind it */
#define AREA_ENV32  ((struct area){4, 28})

/* n bytes from byte `from` of the operand whose offset is in r[R_T0]; b holds those n. All are
 * checked before the first is written. False: c->fault is filled. */
bool area_load(struct cpu *c, const struct uop *u, struct area a, unsigned from, void *b,
               unsigned n);
bool area_store(struct cpu *c, const struct uop *u, struct area a, unsigned from, const void *b,
                unsigned n);
/* May they be accessed? acc: ACC_*. */
bool area_probe(struct cpu *c, const struct uop *u, struct area a, unsigned from, unsigned n,
                unsigned acc);

#endif
