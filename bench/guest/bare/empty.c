/* What it costs to start and end; subtracted from the others. */
#include "port.h"

void run(void)
{
    print_hex(0);
}
