/* The bench programs as one static program. Natively it obeys its standard input; as a guest's
 * init, its console. A line `NAME COUNT`, or `run COUNT` and a command with its arguments,
 * separated by tabs, is answered as below; `two NAME COUNT` runs two processes at once, each with a
 * CPU of its own.
 *
 *     @ready                    or @absent; then a line is awaited, and the work begins
 *     @done SUM MICROSECONDS    CPU time of the program and its children
 *
 * While it waits for a line an emulator is idle, so that its CPU time can be read exactly. */
#include "prog.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Unbuffered: parent and child read the same stream in turn. */
static bool read_line(char *to, size_t size)
{
    size_t n = 0;
    char c;
    while (read(0, &c, 1) == 1) {
        if (c == '\n') {
            to[n] = 0;
            return true;
        }
        if (n + 1 < size)
            to[n++] = c;
    }
    return false;
}

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        exit(1);
}

static uint64_t cpu_us(void)
{
    uint64_t us = 0;
    for (int who = 0; who < 2; who++) {
        struct rusage u;
        getrusage(who ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
        us += (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000;
        us += (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    }
    return us;
}

static const struct prog *find(const char *name)
{
    static const struct prog *const all[] = {progs_int, progs_fp, progs_sys};
    for (unsigned i = 0; i < 3; i++)
        for (const struct prog *p = all[i]; p->name; p++)
            if (!strcmp(p->name, name))
                return p;
    return NULL;
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* Two processes at once; 0 if one of them fails. */
static uint32_t run_two(const struct prog *p, unsigned count)
{
    bool good = true;
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            stay_on(i);
            p->run(count);
            _exit(0);
        }
    }
    for (int i = 0, status; i < 2; i++)
        good = wait(&status) > 0 && !status && good;
    return good;
}

static void obey(char *line)
{
    char *argv[32], go[8], answer[64];
    int n = 0;
    for (char *w = strtok(line, "\t"); w && n < 31; w = strtok(NULL, "\t"))
        argv[n++] = w;
    argv[n] = NULL;
    bool two = n > 2 && !strcmp(argv[0], "two");
    if (two) {
        argv[0] = argv[1];
        argv[1] = argv[2];
    }
    if (n < 2)
        return;
    unsigned count = (unsigned)strtoul(argv[1], NULL, 10);
    const struct prog *p = find(argv[0]);
    bool command = !strcmp(argv[0], "run") && n > 2 && !access(argv[2], X_OK);
    if (!command && (!p || (p->there && !p->there()))) {
        say("@absent\n");
        return;
    }
    if (!command && p->setup)
        p->setup();
    say("@ready\n");
    read_line(go, sizeof go);
    uint64_t start = cpu_us();
    uint32_t sum = two ? run_two(p, count) : command ? run_command(argv + 2, count) : p->run(count);
    snprintf(answer, sizeof answer, "@done %08x %llu\n", (unsigned)sum,
             (unsigned long long)(cpu_us() - start));
    say(answer);
}

static void begin_as_init(void)
{
    struct termios t;
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mkdir("/tmp", 0777);
    if (tcgetattr(0, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(0, TCSANOW, &t);
    }
}

int main(int argc, char **argv)
{
    static char line[4000];
    if (argc == 2 && !strcmp(argv[1], "nothing"))
        return 0;
    if (getpid() == 1)
        begin_as_init();
    /* One CPU, as the guests have: what passes between processes takes another way with two. */
    stay_on(sched_getcpu() < 0 ? 0 : sched_getcpu());
    say("@agent\n");
    while (read_line(line, sizeof line)) {
        unsigned kilobytes;
        if (sscanf(line, "inputs\t%u", &kilobytes) == 1) {
            write_inputs(kilobytes);
            say("@ready\n");
            continue;
        }
        pid_t child = fork();
        if (child == 0) {
            obey(line);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status)
            say("@failed\n");
    }
    return 0;
}
