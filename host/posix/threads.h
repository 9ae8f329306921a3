/* POSIX threads, as backend/threads.h wants them. */
#ifndef ISHI_HOST_THREADS_H
#define ISHI_HOST_THREADS_H

#include "backend/threads.h"

extern const struct threads host_threads;

#endif
