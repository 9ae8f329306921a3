/* Threads of the host, for who runs CPUs side by side. Where there are none (WebAssembly) nobody
 * gives a struct threads, and CPUs take turns. */
#ifndef ISHI_BACKEND_THREADS_H
#define ISHI_BACKEND_THREADS_H

#include <stdbool.h>
#include <stdint.h>

struct threads {
    /* A lock, held by one thread at a time; not to be taken twice. */
    void *(*lock_new)(void);
    void (*lock_free)(void *lock);
    void (*take)(void *lock);
    void (*give)(void *lock);
    /* A bell: wait() gives the lock while it waits, and may return without a ring. */
    void *(*bell_new)(void);
    void (*bell_free)(void *bell);
    void (*wait)(void *bell, void *lock);
    void (*ring)(void *bell); /* all who wait */
    /* A thread that runs main(opaque), with the process's signals left to others; NULL: the host
     * has none left. join() waits for its end and frees it. */
    void *(*start)(void (*main)(void *opaque), void *opaque);
    void (*join)(void *thread);
    void (*yield)(void); /* lets others run, if the processor is wanted */
    /* The host's processors keep the order of memory accesses that x86's do (TSO). */
    bool tso;
};

#endif
