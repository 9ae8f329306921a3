/* acpi_pm: the fixed hardware of ACPI (ACPI 6.4 chapter 4.8), at the offsets of PIIX4's power
 * management block (Intel 290562, 7.2), and the SMI command port.
 *
 * There is no system management mode: writing ACPI_PM_ENABLE to the command port turns SCI_EN on,
 * as the firmware's handler would have done, and other values are only kept. The power button and
 * the timer raise the SCI while SCI_EN and their enable bits are set. */
#ifndef ISHI_DEV_ACPI_PM_H
#define ISHI_DEV_ACPI_PM_H

#include "base/clock.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

#define ACPI_PM_HZ      3579545ull
#define ACPI_PM_ENABLE  0xf1 /* values for the SMI command port */
#define ACPI_PM_DISABLE 0xf0
#define ACPI_PM_S5      0 /* SLP_TYP of S5 */

struct acpi_pm_state {
    uint64_t seen;        /* timer tick up to which its status bit is worked out */
    uint64_t deadline;    /* ns: of the timer's next carry; CLOCK_NEVER: nobody waits for it */
    uint16_t sts, en;     /* PM1 */
    uint16_t cnt;         /* PM1 control */
    uint16_t gpsts, gpen; /* general purpose events */
    uint8_t command, command_status; /* ports 0xb2 and 0xb3 */
    uint8_t other[64];               /* registers that only keep what is written */
    uint8_t unused[4];               /* 0 */
};

extern const struct state_table acpi_pm_table;

struct acpi_pm {
    struct acpi_pm_state s;
    struct region io;  /* 64 ports: PMBASE */
    struct region smi; /* 2 ports: 0xb2 */
    struct timer timer;
    struct clock *clock;
    const struct log *log;
    struct irq sci;
    void (*power_off)(void *opaque);
    void *opaque;
    bool wide; /* the timer has 32 bits; else 24, as on PIIX4 */
};

/* power_off: the guest goes to S5. */
void acpi_pm_init(struct acpi_pm *p, struct clock *clock, const struct log *log, struct irq sci,
                  void (*power_off)(void *opaque), void *opaque);
void acpi_pm_reset(struct acpi_pm *p);
void acpi_pm_restore(struct acpi_pm *p);
/* Somebody presses the power button. False if the guest doesn't listen to it. */
bool acpi_pm_button(struct acpi_pm *p);
/* General purpose event n, 0..15. */
void acpi_pm_event(struct acpi_pm *p, unsigned n);

#endif
