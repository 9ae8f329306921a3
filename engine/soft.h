/* What the engines of our own CPU share. */
#ifndef ISHI_ENGINE_SOFT_H
#define ISHI_ENGINE_SOFT_H

#include "cpu/interp.h"
#include "engine/engine.h"

/* As soft_run(), with `run_block` in the place of the interpreter: it runs block b, which fits what
 * is left, and as many more as it likes. c->link_from, if not NULL, is the block whose exit led to
 * b. */
enum engine_exit soft_run_by(struct cpu *c, uint64_t budget,
                             enum interp_leave (*run_block)(struct cpu *c, struct block *b));

#endif
