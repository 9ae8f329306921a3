/* Vector and x87 instructions as themselves; vec.c and x87.c say how. */
#ifndef ISHI_JIT_VEC_H
#define ISHI_JIT_VEC_H

#include "jit/emit.h"

/* What this processor and its system can run. */
void vec_host(struct isa_features *f);

/* Thunks, called by generated code with c->jit.vec_live clear, and set. They destroy EFLAGS and
 * J_X0. vec_load: ZF says that the registers are loaded; else an exception is unmasked and nothing
 * was done. Returns the offset of its other entry, which asks nothing: for a return to code where
 * they were loaded. */
uint32_t vec_load(struct x64 *a, bool avx);
void vec_save(struct x64 *a, bool avx);

/* The same for the x87, at any alignment of the stack; they destroy J_X1, too. */
void x87_thunk_load(struct x64 *a);
void x87_thunk_save(struct x64 *a);

/* Is it an instruction of this unit, on registers only or on an operand that was loaded, that the
 * host runs: no fault, no flag read? ready: loads the registers, if they are not, in front of uop
 * u; destroys EFLAGS. */
bool vec_quiet(const struct emit *e, const struct uop *u);
bool x87_quiet(const struct emit *e, const struct uop *u);
void vec_ready(struct emit *e, const struct uop *u);
void x87_ready(struct emit *e, const struct uop *u);

/* General registers that a call of a vector or x87 operation writes. */
uint32_t vec_writes(const struct uop *u);
uint32_t x87_writes(const struct uop *u);
/* Notes where the last x87 instruction is, unless it is FIP_NOTED. Destroys J_X0, no flags. */
void x87_point(struct emit *e, int64_t fip);
/* The address that the x87 instruction u, which x87_access() knows, accesses, into J_X0. */
bool x87_address(struct emit *e, const struct uop *u);
/* Does only a helper need the offset that `lea` puts into R_T0 for the x87 instruction behind it?
 * Then hot code does without, and x87_offset() makes it in the stub of that helper. */
bool x87_spares(const struct emit *e, const struct uop *lea);
void x87_offset(struct emit *e, const struct stub *s);
/* Accesses that e_operand() could do, but for the address: size, direction and alignment.
 * x87_access has base and displacement, too. */
bool vec_access(const struct emit *e, const struct uop *u, struct access *a);
bool x87_access(const struct emit *e, const struct uop *u, struct access *a, int64_t *imm);

#endif
