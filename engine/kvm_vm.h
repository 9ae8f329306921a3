/* What the files engine/kvm*.c share: a virtual machine of the kernel and its CPUs. */
#ifndef ISHI_ENGINE_KVM_VM_H
#define ISHI_ENGINE_KVM_VM_H

#include <linux/kvm.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "dev/chips.h"
#include "engine/engine.h"

#define KVM_SLOTS      64
#define KVM_EXITS      48 /* exit reasons that are counted by number */
#define KVM_PLACES     64 /* ports and pages of device memory that are counted each */
#define KVM_REFUSALS   32 /* instructions that the kernel refused, by address */
#define KVM_XSAVE_SIZE 4096
#define KVM_KICK       SIGRTMIN /* ends KVM_RUN at the end of a run */
#define KVM_ZONES      8        /* of device memory whose writes the kernel collects */

/* Bits of kvm_run.immediate_exit, of which the kernel asks whether it is 0: until the end of the
 * run; and while the last exit's instruction ends. */
#define EXIT_KICKED   1
#define EXIT_FINISHED 2

struct kvm_slot {
    uint64_t paddr, size; /* size 0: free */
    uint8_t *host;
    bool rom;
    bool logs; /* the kernel notes which pages are written */
    bool keep; /* while the map is compared */
};

/* A port, or a page of device memory, and how often the guest went there. */
struct kvm_place {
    uint64_t at, count;
};

/* An instruction that the kernel's emulator refused. */
struct kvm_refusal {
    uint64_t at, count; /* linear address */
    uint8_t bytes[15], length;
    char text[48]; /* disassembled */
};

struct kvm_stats {
    uint64_t exits[KVM_EXITS];
    struct kvm_place port[KVM_PLACES], page[KVM_PLACES], msr[KVM_PLACES];
    struct kvm_refusal refusal[KVM_REFUSALS];
    uint64_t runs, loads, stores; /* KVM_RUN; whole states given to the kernel and taken back */
    uint64_t chips_in;            /* the kernel got the interrupt controllers */
    uint64_t posted;              /* writes to device memory that the kernel collected */
    uint64_t rings, messages;     /* doorbells and messages that came and went by eventfd */
    uint64_t stepped;             /* instructions that our own CPU ran instead */
};

/* What the engine of our own CPU had hooked to the bus. */
struct kvm_hooks {
    void (*remap)(void *opaque);
    void (*code_write)(void *opaque, uint64_t paddr, uint64_t len);
    void *opaque;
};

struct kvm_notify; /* kvm_notify.c */

struct kvm_vm {
    int dev, fd; /* /dev/kvm, the machine */
    unsigned count;
    struct kvm_vcpu *vcpu; /* owned, count of them */
    struct bus *bus;
    const struct log *log;
    struct kvm_hooks soft;
    struct kvm_slot slot[KVM_SLOTS];
    struct kvm_coalesced_mmio_zone zone[KVM_ZONES];
    unsigned zone_count;
    unsigned ring_page; /* where the collected writes are: pages from kvm_vcpu.run; 0: nowhere */
    bool remapped;      /* the bus's map changed since the slots were made */
    bool maps_devices;  /* devices' memory has slots, too */
    bool collects;      /* the zones are as it says, too */
    bool sregs2;        /* KVM_CAP_SREGS2 */
    bool emulates;      /* kvm_emulates() */
    bool debugs;        /* KVM_CAP_SET_GUEST_DEBUG */
    bool clears;        /* KVM_CLEAR_DIRTY_LOG begins anew, not the asking */
    /* Interrupt controllers of the kernel's: kvm_chips.c. */
    struct irq_chips *chips; /* the board's; NULL: the kernel has none of its own */
    bool live;               /* the kernel's are the true ones */
    /* And its interval timer: kvm_pit.c. */
    bool pit;          /* goes with them */
    bool pit_asked;    /* the kernel was, for one */
    bool pit_off;      /* the kernel was told so: chips->pit_off */
    uint64_t pit_owed; /* ticks of channel 0 that got lost between the two */
    /* As the kernel got it, and as it was when it stopped; channel 0's count_load_time is the
     * latest moment at which it can have begun to count, `pit_since` the earliest. */
    struct kvm_pit_state2 pit_was, pit_now;
    uint64_t pit_since;
    bool pit_came;             /* its latest tick that was due */
    struct kvm_notify *notify; /* owned; NULL: nothing comes or goes by eventfd */
    struct kvm_stats stats;
};

struct kvm_vcpu {
    struct kvm_vm *vm;
    struct cpu *c;
    int fd;
    struct kvm_run *run;
    size_t run_size;
    bool told;       /* the kernel has the CPUID answers */
    bool loaded;     /* the state is the kernel's; c->s is old but for icount and activity */
    bool unfinished; /* the last exit's instruction ends with the next KVM_RUN */
    bool exited;     /* KVM_RUN came back with an exit that nobody has looked at */
    bool ready;      /* an interrupt can be injected now */
    bool if_flag;
    bool gave_nmi; /* before the last KVM_RUN; and the vector, or -1 */
    int gave_vector;
    unsigned streak;      /* refusals in a row */
    uint64_t own;         /* instructions that our own CPU still runs after one */
    bool told_system;     /* that SYSCALL is our own CPU's here */
    uint8_t refused_mode; /* that the kernel does not take, or 0: mode_of() */
    uint64_t refused_run; /* stats.runs at the last refusal */
    uint64_t slice;       /* ns that the present run may last in the kernel; 0: its timer runs */
    timer_t timer;
    pid_t tid;                    /* of the thread that runs the CPU; atomic */
    struct kvm_guest_debug debug; /* as the kernel has it */
    pid_t thread;                 /* that the timer's signal goes to; 0: no timer yet */
};

/* kvm_state.c: between cpu_state and the kernel's structures. Pure. */
void kvm_regs_from(const struct cpu_state *s, struct kvm_regs *r);
void kvm_regs_to(struct cpu_state *s, const struct kvm_regs *r);
void kvm_sregs_from(const struct cpu *c, struct kvm_sregs2 *r);
void kvm_sregs_to(struct cpu *c, const struct kvm_sregs2 *r);
void kvm_xsave_from(const struct cpu *c, uint8_t *image); /* KVM_XSAVE_SIZE bytes, zeroed */
void kvm_xsave_to(struct cpu *c, const uint8_t *image);
void kvm_debug_from(const struct cpu_state *s, struct kvm_debugregs *r);
void kvm_debug_to(struct cpu_state *s, const struct kvm_debugregs *r);
#define KVM_MSRS 16
unsigned kvm_msrs_from(const struct cpu *c, struct kvm_msr_entry *e); /* returns how many */
void kvm_msrs_to(struct cpu *c, const struct kvm_msr_entry *e, unsigned n);
void kvm_events_from(const struct cpu *c, struct kvm_vcpu_events *e);

/* kvm_irqchip.c: the same for interrupt controllers. `slave`: the second of the pair. */
void kvm_pic_from(const struct i8259_chip *c, bool slave, struct kvm_pic_state *k);
void kvm_pic_to(struct i8259_chip *c, bool slave, const struct kvm_pic_state *k);
void kvm_ioapic_from(const struct ioapic_state *s, struct kvm_ioapic_state *k);
void kvm_ioapic_to(struct ioapic_state *s, const struct kvm_ioapic_state *k);
/* `base` and `deadline`: the MSRs, which are no part of the structure. Reads the clock. */
void kvm_lapic_from(const struct lapic *l, struct kvm_lapic_state *k);
void kvm_lapic_to(struct lapic *l, uint64_t base, uint64_t deadline,
                  const struct kvm_lapic_state *k);
/* Requests the interrupt of a count that ended since the state was `before`, while no guest ran:
 * the kernel may have had no occasion to. */
void kvm_lapic_expired(struct kvm_lapic_state *k, const struct kvm_lapic_state *before);

/* kvm_pit.c: the same for the interval timer, which was paused before; `ns` is the kernel's
 * monotonic clock. What the guest did meanwhile shows against what was given, `was`; `came`: so did
 * channel 0's latest tick. */
void kvm_pit_from(const struct i8254 *p, uint64_t ns, struct kvm_pit_state2 *k);
void kvm_pit_to(struct i8254 *p, uint64_t ns, const struct kvm_pit_state2 *was,
                const struct kvm_pit_state2 *k, bool came);
/* A guest uses ours, and the kernel was not yet asked for one: to make it takes longer than all
 * else at the start of a machine (KVM_REINJECT_CONTROL waits 10 ms and more for readers of a list),
 * and many a guest never looks at it. Has the kernel make one, where it can; gives it ours, paused,
 * after the interrupt controllers; stops it, before these are taken back, so that its ticks have
 * arrived there, and may wait for one, 75 ms at most; takes it back. */
bool kvm_pit_wanted(const struct kvm_vm *k);
void kvm_pit_make(struct kvm_vm *k);
bool kvm_pit_in(struct kvm_vm *k);
void kvm_pit_stop(struct kvm_vm *k);
void kvm_pit_out(struct kvm_vm *k);

/* kvm_chips.c: a local APIC's state and deadline to a CPU, which may have had another before: its
 * deadline would pass once more, and where the timer's mode changes, the kernel drops the count. */
bool kvm_lapic_set(int fd, const struct kvm_lapic_state *state, uint64_t deadline);

/* Before CPUs are made: whether the kernel's interrupt controllers are wanted (`chips`, then), and
 * these. */
bool kvm_chips_choose(struct kvm_vm *k, struct err *e);
bool kvm_chips_make(struct kvm_vm *k, struct err *e);
/* Drives an input of the kernel's controllers; `k` is a struct kvm_vm. */
void kvm_chips_input(void *k, enum chips_input to, unsigned n, bool level);
#define KVM_ROUTES 32
/* Gives the kernel the board's wires, and up to KVM_ROUTES routes more. */
bool kvm_chips_route(struct kvm_vm *k, const struct kvm_irq_routing_entry *more, unsigned n);
/* No CPU has anything to do first that the kernel can't. */
bool kvm_chips_ready(const struct kvm_vm *k);
/* All CPUs and controllers into the kernel, in stillness (cpu/share.h), and back. */
bool kvm_chips_in(struct kvm_vm *k, struct err *e);
void kvm_chips_out(struct kvm_vm *k);

/* kvm_sync.c: the whole state, to the kernel and back. Both leave `loaded` true and false. With
 * controllers in the kernel, kvm_store() takes all CPUs' back. */
bool kvm_load(struct kvm_vcpu *v, struct err *e);
void kvm_store(struct kvm_vcpu *v);
/* Does what the last exit asked for, and lets its instruction end. */
void kvm_finish(struct kvm_vcpu *v);
/* The system registers alone, into c->s; the kernel keeps its state. */
void kvm_peek_sregs(struct kvm_vcpu *v);
/* Gives the kernel the time-stamp counter's value anew. */
void kvm_load_tsc(struct kvm_vcpu *v);
/* Brings s.tsc_offset up to date with the kernel's counter. */
void kvm_store_tsc(struct kvm_vcpu *v);

/* kvm_mem.c: makes the kernel's slots what the bus's map says. */
bool kvm_map(struct kvm_vm *k, struct err *e);
/* An access to `paddr` has left the guest: the memory of devices gets its slots at the first, as
 * that may take longer than the rest of a machine's start, and many a guest never looks at it. */
void kvm_map_devices(struct kvm_vm *k, uint64_t paddr);
/* Marks in the bus what the kernel has noted of writes. */
void kvm_written(struct kvm_vm *k);
/* And its zones and doorbells, after that and as late as can be: a slot that comes next waits for
 * the kernel to be done with them, some milliseconds. */
void kvm_collect(struct kvm_vm *k);

/* Does the writes that the kernel has collected. */
void kvm_drain(struct kvm_vm *k);

/* kvm_notify.c: doorbells of regions (bus.h) by eventfd, for CPUs on threads of their own. After
 * kvm_map(): those that the bus's map has now. */
void kvm_notify_map(struct kvm_vm *k);
/* Does what the doorbells ask for that were rung until now; with the machine's lock. Before a run
 * ends, so that nothing waits while the machine stands still. */
void kvm_notify_serve(struct kvm_vm *k);
/* Messages of PCI devices by irqfd: fits irq_chips.message while the kernel has the controllers. */
void kvm_notify_message(void *k, uint64_t addr, uint32_t data);
/* Before the controllers' states are taken back: what is on its way has arrived. */
void kvm_notify_settle(struct kvm_vm *k);
void kvm_notify_free(struct kvm_vm *k);

/* kvm_cpuid.c: the features that a guest may be told of; those of the CPUs and the rate of their
 * time-stamp counters made to fit (engine.h, join); the model's answers. */
bool kvm_features(int dev, struct isa_features *f, struct err *e);
bool kvm_fit(struct kvm_vm *k, struct err *e);
bool kvm_set_cpuid(struct kvm_vcpu *v, struct err *e);

/* kvm_debug.c: gives the kernel the debugger's stops. False: our own CPU has to run. */
bool kvm_debug(struct kvm_vcpu *v);
/* The CPU stands at a breakpoint that it was told to go on from. */
bool kvm_debug_passes(const struct kvm_vcpu *v);
/* KVM_EXIT_DEBUG. */
enum engine_exit kvm_debug_exit(struct kvm_vcpu *v);

/* kvm_exit.c: what the guest asked of a device. False: the exit was something else. */
bool kvm_exit_device(struct kvm_vcpu *v);
void kvm_exit_count(struct kvm_vcpu *v);
/* Our own CPU goes on from where the kernel stopped, for n instructions. Gives the machine's lock
 * meanwhile. */
enum engine_exit kvm_step(struct kvm_vcpu *v, uint64_t n);
/* Takes the state back, and notes and says what the kernel could not do: `what` it does with the
 * instruction, as "refuses". */
void kvm_refused(struct kvm_vcpu *v, const char *what);

/* kvm_show.c */
void kvm_show(struct cpu *c, char *buf, size_t size);
/* The same to the log, under "kvm". */
void kvm_show_log(struct cpu *c);
/* The present exit to the log, under "exit". */
void kvm_exit_log(const struct kvm_vcpu *v);

/* kvm_host.c */
int kvm_open(struct err *e); /* /dev/kvm, or -1 */
/* The host's processor has VMX. */
bool kvm_on_vmx(void);
/* The host's processor has no virtualisation: its kernel runs guests by other means (PVM), level 0
 * by an emulator. */
bool kvm_emulates(void);

/* Calls from inside of run() hold the machine's lock (cpu/share.h). */

int kvm_call(int fd, unsigned long request, const void *arg);

#endif
