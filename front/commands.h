/* The commands of ishi: what its first argument may be. Without one of these names it is `run`. To
 * add a command: a function in a file of its own, and a row in front/main.c's table. */
#ifndef ISHI_FRONT_COMMANDS_H
#define ISHI_FRONT_COMMANDS_H

/* Exit status of the process; odd ones are isa-debug-exit's. */
enum status {
    STATUS_OK = 0,
    STATUS_BAD = 2, /* the command line or a file is not right */
    STATUS_TRIPLE = 4,
    STATUS_HOST = 6,
    STATUS_REBOOT = 8,
};

struct command {
    const char *name;
    const char *args; /* for people, behind the name */
    const char *text; /* for people; one paragraph */
    /* argv[0] is the command's name. Returns the exit status. */
    int (*run)(int argc, char **argv);
};

/* The i-th, or NULL behind the last. */
const struct command *command_at(unsigned i);

int command_run(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_probe(int argc, char **argv);
int command_disasm(int argc, char **argv);
int command_isa(int argc, char **argv);

#endif
