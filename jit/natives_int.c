/* Emitters of integer instructions that the interpreter calls C for. */
#include "cpu/int_helpers.h"
#include "jit/emit.h"

const struct jit_native jit_natives_int[] = {
    {NULL, NULL},
};
