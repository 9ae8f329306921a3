/* What every unit test includes: cmocka, in the order that it wants. */
#ifndef ISHI_TESTS_UNIT_H
#define ISHI_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RUN(tests) cmocka_run_group_tests(tests, NULL, NULL)

#endif
