/* REP strings, self-modifying code, system calls, and the commands of other packages. */
#include "prog.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AREA (256u << 10)
static uint8_t from[AREA], to[AREA];

static void must(bool ok)
{
    if (!ok)
        _exit(1);
}

/* Copies, fills, compares and searches. */
static uint32_t rep(unsigned count)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < AREA; i++)
        from[i] = (uint8_t)(i * 7 >> 3 | 1);
    from[AREA - 5] = 0;
    while (count--) {
        void *s = from, *d = to;
        size_t n = AREA;
        uint8_t zero = 0;
        __asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory");
        d = from, n = AREA;
        __asm__ volatile("repne scasb" : "+D"(d), "+c"(n) : "a"(zero) : "memory", "cc");
        sum = mix(sum, (uint32_t)n);
        s = from, d = to, n = 4096;
        __asm__ volatile("repe cmpsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory", "cc");
        sum = mix(sum, (uint32_t)n);
        d = to + 4096, n = AREA / 8;
        __asm__ volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(count) : "memory");
        sum = mix(sum, to[5000] + to[AREA - 1]);
    }
    return sum;
}

/* Functions whose constants are changed before each call. */
static uint32_t smc(unsigned count)
{
    uint8_t *code =
        mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t sum = 0;
    must(code != MAP_FAILED);
    for (uint32_t n = 0; n < count; n++)
        for (uint32_t i = 0; i < 16; i++) {
            uint8_t *p = code + i * 4096 / 4;
            uint32_t v = n * 77 + i;
            p[0] = 0xb8; /* mov eax, v; ret */
            memcpy(p + 1, &v, 4);
            p[5] = 0xc3;
            for (int k = 0; k < 8; k++)
                sum = mix(sum, ((uint32_t(*)(void))(uintptr_t)p)());
        }
    return sum;
}

static uint32_t getpids(unsigned count)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < count * 100; i++)
        sum += syscall(SYS_getpid) > 0;
    return sum;
}

/* n processes hand a byte around in a ring of pipes; each works through `area` bytes on the way. */
static uint32_t ring(unsigned count, int n, unsigned area)
{
    int pipes[8][2];
    uint8_t byte = 0;
    for (int i = 0; i < n; i++)
        must(pipe(pipes[i]) == 0);
    for (int i = 1; i < n; i++) {
        pid_t child = fork();
        must(child >= 0);
        if (child)
            continue;
        for (unsigned k = 0; k < count; k++) {
            must(read(pipes[i - 1][0], &byte, 1) == 1);
            for (unsigned j = 0; j < area; j += 64)
                byte = (uint8_t)(byte + ++to[j]);
            must(write(pipes[i][1], &byte, 1) == 1);
        }
        _exit(0);
    }
    uint32_t sum = 0;
    for (unsigned k = 0; k < count; k++) {
        must(write(pipes[0][1], &byte, 1) == 1);
        must(read(pipes[n - 1][0], &byte, 1) == 1);
        sum = mix(sum, ++byte);
    }
    for (int i = 1; i < n; i++)
        wait(NULL);
    return sum;
}

static uint32_t pipes(unsigned count)
{
    return ring(count * 10, 2, 0);
}

static uint32_t switches(unsigned count)
{
    return ring(count, 8, 16384);
}

static uint32_t spawn(unsigned count, bool exec)
{
    static char program[] = "/proc/self/exe", nothing[] = "nothing";
    uint32_t sum = 0;
    while (count--) {
        pid_t child = fork();
        int status = -1;
        if (child == 0) {
            if (exec)
                execv(program, (char *[]){program, nothing, NULL});
            _exit(exec);
        }
        waitpid(child, &status, 0);
        sum += status == 0;
    }
    return sum;
}

static uint32_t forks(unsigned count)
{
    return spawn(count, false);
}

static uint32_t execs(unsigned count)
{
    return spawn(count, true);
}

static uint32_t mmaps(unsigned count)
{
    uint32_t sum = 0;
    while (count--) {
        uint8_t *p =
            mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(p != MAP_FAILED);
        for (int i = 0; i < 64; i++)
            sum += ++p[i * 4096];
        munmap(p, 64 * 4096);
    }
    return sum;
}

uint32_t run_command(char **argv, unsigned count)
{
    uint32_t sum = 0;
    while (count--) {
        int out[2], status;
        must(pipe(out) == 0);
        pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            int null = open("/dev/null", O_RDWR);
            dup2(null, 0);
            dup2(out[1], 1);
            dup2(null, 2);
            close(out[0]);
            close(out[1]);
            execv(argv[0], argv);
            _exit(127);
        }
        close(out[1]);
        for (ssize_t n; (n = read(out[0], to, sizeof to)) > 0;)
            for (ssize_t i = 0; i < n; i++)
                sum = sum * 31 + to[i];
        close(out[0]);
        waitpid(child, &status, 0);
        sum = mix(sum, (uint32_t)status);
    }
    return sum;
}

void write_inputs(unsigned kilobytes)
{
    static const char *const words[] = {"stone", "machine", "page",  "table",
                                        "gate",  "segment", "clock", "wire"};
    uint32_t x = 9;
    FILE *f = fopen("/tmp/ishi-bench.txt", "w");
    must(f);
    for (long n = 0; n < (long)kilobytes * 1024;) {
        n += fprintf(f, "%s %u%c", words[next_random(&x) >> 5 & 7], x >> 16 & 255,
                     x & 0xf000 ? ' ' : '\n');
    }
    fclose(f);
    f = fopen("/tmp/ishi-bench.c", "w");
    must(f);
    for (unsigned i = 0; i < kilobytes / 4; i++)
        fprintf(f,
                "int f%u(int *a, int n)\n{\n    int s = %u;\n    for (int i = 0; i < n; i++)\n"
                "        if (a[i] %% %u > i)\n            s += a[i] * %u;\n        else\n          "
                "  a[i] = s ^ i;\n"
                "    return s;\n}\n",
                i, i, i % 13 + 2, i + 3);
    fclose(f);
}

const struct prog progs_sys[] = {
    {"rep", rep},    {"smc", smc},         {"getpid", getpids},
    {"pipe", pipes}, {"fork", forks},      {"mmap", mmaps},
    {"exec", execs}, {"switch", switches}, {0},
};
