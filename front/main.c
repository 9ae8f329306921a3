/* ishi, the command: finds out which of its commands is meant. */
#include "front/commands.h"

#include <string.h>

#include "base/bits.h"

static const struct command table[] = {
    {"run", "[OPTION…] [IMAGE]", "Boots IMAGE; the name may be left out.", command_run},
    {"compare", "[OPTION…] [IMAGE]",
     "Runs a machine beside another one and stops at the first difference.", command_compare},
    {"probe", "[--json]", "Says what this host's KVM offers, and which engine auto takes, and why.",
     command_probe},
    {"isa", "[OPTION…] [MNEMONIC|BYTES]",
     "Shows the rows of the instruction table: by name, by bytes, or how often tests ran them.",
     command_isa},
    {"disasm", "[OPTION…] FILE", "Disassembles a raw or ELF file.", command_disasm},
};

const struct command *command_at(unsigned i)
{
    return i < ARRAY_LEN(table) ? &table[i] : NULL;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(table); i++) {
        if (!strcmp(argv[1], table[i].name))
            return table[i].run(argc - 1, argv + 1);
    }
    return command_run(argc, argv);
}
