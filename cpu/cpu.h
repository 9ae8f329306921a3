/* One x86 processor: its architectural state and what hangs on it.
 *
 * Rules that every file of cpu/ obeys:
 *  - A function that can raise an exception returns bool; false means c->fault is filled and
 * nothing architectural was changed by the instruction so far (an access that was done to memory
 * excepted where the SDM allows it). The caller returns false at once. The engine delivers the
 * fault.
 *  - rip in c->s.rip is the address of the instruction being executed whenever a helper runs; the
 *    helper of a branch sets c->next_rip. (The interpreter brings it up to date before a helper.)
 *  - Arithmetic flags may be lazy: read them by flags_get(), write them by flags_set() (flags.h).
 *  - Changing CR0, CR3, CR4, EFER, CS, SS, DS, ES, CPL, EFLAGS.VM, XCR0 or DR7 ends with
 *    cpu_mode_changed(); a change of the address space with tlb_flush*() (tlb.h). */
#ifndef ISHI_CPU_CPU_H
#define ISHI_CPU_CPU_H

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/state.h"
#include "bus/bus.h"
#include "cpu/tlb_entry.h"
#include "isa/isa.h"

#define CPU_MAX 32

/* Index into cpu_state.r. */
/* clang-format off */
enum reg {
    R_AX, R_CX, R_DX, R_BX, R_SP, R_BP, R_SI, R_DI,
    R_8, R_9, R_10, R_11, R_12, R_13, R_14, R_15,
    R_T0, R_T1, R_T2, R_T3, R_T4, R_T5, R_T6, R_T7, /* temporaries of one instruction */
    R_ZERO, /* always 0 */
    R_IP,   /* address (offset in CS) of the running block's first instruction */
    R_K0,   /* generated code keeps here what a recipe of the flags needs … */
    R_K1,   /* … when its registers change */
    R_COUNT
};
/* clang-format on */

/* EFLAGS beside the arithmetic ones of isa.h. */
#define EF_FIXED 0x00000002u
#define EF_TF    0x00000100u
#define EF_IF    0x00000200u
#define EF_DF    0x00000400u
#define EF_IOPL  0x00003000u
#define EF_NT    0x00004000u
#define EF_RF    0x00010000u
#define EF_VM    0x00020000u
#define EF_AC    0x00040000u
#define EF_VIF   0x00080000u
#define EF_VIP   0x00100000u
#define EF_ID    0x00200000u

#define CR0_PE         BIT(0)
#define CR0_MP         BIT(1)
#define CR0_EM         BIT(2)
#define CR0_TS         BIT(3)
#define CR0_ET         BIT(4)
#define CR0_NE         BIT(5)
#define CR0_WP         BIT(16)
#define CR0_AM         BIT(18)
#define CR0_NW         BIT(29)
#define CR0_CD         BIT(30)
#define CR0_PG         BIT(31)
#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_FSGSBASE   BIT(16)
#define CR3_PCID       0xfffu /* with CR4.PCIDE */
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define EFER_SCE       BIT(0)
#define EFER_LME       BIT(8)
#define EFER_LMA       BIT(10)
#define EFER_NXE       BIT(11)

/* A segment register with its hidden part (SDM 3A 3.4.3). */
struct seg {
    uint64_t base;
    uint32_t limit; /* in bytes, granularity applied: the last valid offset (expand-up) */
    uint16_t sel;
    uint16_t attr; /* descriptor bits 40..55: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14,
                      G 15. 0 after a null selector was loaded: unusable */
};
#define SEG_TYPE(s) ((s)->attr & 0xf)
#define SEG_S       0x0010
#define SEG_DPL(s)  ((s)->attr >> 5 & 3)
#define SEG_P       0x0080
#define SEG_L       0x2000
#define SEG_DB      0x4000
#define SEG_G       0x8000

struct dtable {
    uint64_t base;
    uint32_t limit; /* 16 significant bits */
    uint32_t unused;
};

/* What a CPU is doing. */
enum activity { ACT_RUN, ACT_HALT, ACT_WAIT_SIPI, ACT_SHUTDOWN };

/* A vector register; low 16 bytes XMM. Lanes by size. */
union vreg {
    uint8_t b[32];
    uint16_t w[16];
    uint32_t d[8];
    uint64_t q[4];
};

#define MTRR_VAR 8

struct cpu_state {
    uint64_t r[R_COUNT]; /* 0..15 general registers; the rest is scratch */
    uint64_t rip;
    uint64_t rflags; /* without the six arithmetic flags while they are lazy */
    /* Lazy arithmetic flags; see flags.h. Scratch: flags_sync() empties them into rflags. */
    uint64_t cc_dst, cc_src;
    uint64_t cc_op;

    struct seg seg[SEG_COUNT], ldtr, tr;
    struct dtable gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, xcr0, efer;
    uint64_t pdpte[4]; /* of PAE paging, as loaded by the last write of CR3 (SDM 3A 4.4.1) */
    uint64_t dr[4], dr6, dr7;

    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_offset, tsc_aux, misc_enable, spec_ctrl;
    uint64_t mtrr_def, mtrr_fixed[11], mtrr_base[MTRR_VAR], mtrr_mask[MTRR_VAR];
    uint64_t mcg_status, bios_sign, feature_control;
    uint64_t kvmclock, kvmclock_wall; /* MSRs of KVM's paravirtual clock … */
    uint64_t kvmclock_unused;         /* 0 */
    uint64_t kvmclock_start;          /* … and the time-stamp counter at its 0 */

    /* x87. fp_sig/fp_exp are the physical registers R0..R7 (ST(i) is R[(TOP + i) & 7]); the
     * exponent word has the sign in bit 15. MMi is fp_sig[i]. */
    uint64_t fp_sig[8];
    uint16_t fp_exp[8];
    uint16_t fcw, fsw, fop;
    uint8_t ftw; /* bit i: Ri is not empty (FXSAVE's abridged form) */
    uint8_t fp_unused;
    uint16_t fcs, fds;
    uint32_t mxcsr;
    uint64_t fip, fdp;
    uint64_t icount;  /* instructions executed since power-on; a REP iteration counts as one */
    union vreg v[16]; /* 16-byte aligned, for SSE instructions of the host */
    union vreg vt[2]; /* scratch: vector temporaries of one instruction, numbers 16 and 17 */

    uint64_t monitor_addr; /* physical, armed by MONITOR; ~0: not armed */
    uint32_t activity;     /* enum activity */
    uint8_t shadow;        /* SHADOW_*: how long interrupts are still held off */
    uint8_t nmi_blocked;   /* until IRET */
    uint8_t nmi_pending, init_pending;
    uint8_t sipi_pending, sipi_vector; /* start-up IPI that came in */
    uint8_t stepping;                  /* the instruction that runs began with TF set */
    uint8_t mode_unused;
    uint32_t pending_db; /* DR6 bits of traps to deliver after this instruction */
    uint64_t shadow_at;  /* cpu_icount() of the one boundary at which `shadow` holds */
};

#define SHADOW_STI   1 /* no interrupt nor NMI before the next instruction has ended */
#define SHADOW_MOVSS 2 /* nor debug trap */

_Static_assert(offsetof(struct cpu_state, v) % 16 == 0, "vector registers are aligned");

extern const struct state_table cpu_state_table;

/* Exception vectors (SDM 3A 6.3.1). */
enum {
    EXC_DE,
    EXC_DB,
    EXC_NMI,
    EXC_BP,
    EXC_OF,
    EXC_BR,
    EXC_UD,
    EXC_NM,
    EXC_DF,
    EXC_CSO,
    EXC_TS,
    EXC_NP,
    EXC_SS,
    EXC_GP,
    EXC_PF,
    EXC_15,
    EXC_MF,
    EXC_AC,
    EXC_MC,
    EXC_XM,
    EXC_NONE = 0xff,
    /* Not exceptions: the engine's own ways out of an instruction, which then runs anew. */
    EXC_RESTART =
        0x100,        /* must run as the only instruction of its block (device memory, own code) */
    EXC_EXIT = 0x101, /* leave the engine before this instruction */
};

/* The exception an instruction raised, with what a person wants to know of it. */
struct fault {
    uint16_t vector; /* EXC_* */
    bool has_error;
    bool soft;       /* INT n, INT3, INTO: a trap by the program */
    uint32_t error;  /* error code */
    uint64_t addr;   /* linear address, for EXC_PF */
    uint64_t rip;    /* of the instruction, filled at delivery */
    const char *why; /* static text, at most two %llx in it for a and b; NULL: nothing to add */
    uint64_t a, b;
};

/* The local APIC as its CPU sees it: what makes interrupts and answers at APIC_BASE. */
struct cpu_apic {
    int (*ack)(void *apic);      /* highest pending vector, taken into service; -1: none any more */
    bool (*pending)(void *apic); /* is a maskable interrupt deliverable now? */
    uint64_t (*mmio_read)(void *apic, uint64_t offset, unsigned size);
    void (*mmio_write)(void *apic, uint64_t offset, unsigned size, uint64_t value);
    /* mmio_read, if it changes nothing and can as well be done twice; else false. */
    bool (*mmio_peek)(void *apic, uint64_t offset, unsigned size, uint64_t *v);
    uint64_t (*base)(void *apic);                            /* IA32_APIC_BASE */
    bool (*set_base)(void *apic, uint64_t v);                /* false: #GP */
    bool (*msr_read)(void *apic, uint32_t msr, uint64_t *v); /* x2APIC 0x800.., TSC_DEADLINE */
    bool (*msr_write)(void *apic, uint32_t msr, uint64_t v);
    void (*tsc_changed)(void *apic); /* the TSC was written: a deadline is another time now */
    uint8_t (*tpr)(void *apic);      /* bits 7:4 of CR8 << 4 */
    void (*set_tpr)(void *apic, uint8_t v);
    void *apic;
};

/* Reasons to leave straight-line execution, or'ed into c->request by whoever has one. */
#define REQ_INTR  1u /* maskable interrupt line is up */
#define REQ_NMI   2u
#define REQ_INIT  4u
#define REQ_SIPI  8u
#define REQ_EXIT  16u /* leave the engine at the next instruction boundary */
#define REQ_DB    32u /* s.pending_db, or TF, wants a trap */
#define REQ_YIELD 64u /* let another CPU run: this one waits for it */

/* Instruction-level mode: what a block of uops was lifted for. Part of a block's key. */
#define KEY_CODE    0x003u /* enum isa_mode */
#define KEY_STACK32 0x004u /* SS.B (always set in 64-bit mode) */
#define KEY_FLAT_DS 0x008u /* base 0, limit 4 GiB - 1, writable, 32-bit; or 64-bit mode */
#define KEY_FLAT_ES 0x010u
#define KEY_FLAT_SS 0x020u
#define KEY_FLAT_CS 0x040u   /* base 0, limit 4 GiB - 1 */
#define KEY_LONG    0x080u   /* EFER.LMA */
#define KEY_PROT    0x100u   /* CR0.PE and not VM */
#define KEY_FPU_NM  0x200u   /* x87 and MMX: CR0.TS or EM */
#define KEY_SSE_UD  0x400u   /* CR0.EM or no CR4.OSFXSR */
#define KEY_SSE_NM  0x800u   /* CR0.TS */
#define KEY_AVX     0x1000u  /* CR4.OSXSAVE, XCR0 has SSE and AVX */
#define KEY_SINGLE  0x2000u  /* one instruction a block */
#define KEY_MMX_UD  0x4000u  /* CR0.EM */
#define KEY_WAIT_NM 0x8000u  /* FWAIT: CR0.TS and MP */
#define KEY_AC      0x10000u /* a TLB set of EFLAGS.AC is in use (tlb.h) */

#define KEY_CPL_SHIFT 24 /* two bits: the CPL, in the key of a block */

#define TRAIL       32 /* power of two */
#define FAULT_CHAIN 8

/* What a debugger's wishes did to this CPU: see stops.h. */
enum stop_why { STOP_NONE, STOP_BREAK, STOP_WATCH };
struct cpu_stop {
    enum stop_why why;
    unsigned kinds; /* STOP_WATCH: WATCH_* that it watches for */
    uint64_t la;    /* of the breakpoint, or the first byte watched */
    /* A breakpoint that does not stop: where the CPU was when it was told to go on. */
    bool passing;
    uint64_t pass_la, pass_icount, pass_count;
    bool hold;       /* takes no interrupt while it runs */
    bool events;     /* leaves the engine when an interrupt or a trap was delivered */
    uint64_t passed; /* such events delivered while `events` is set */
};

struct cpu;
/* Instructions before which the engine is left (EXC_EXIT), for who runs another machine beside this
 * one and executes them by itself. */
struct cpu_alone {
    const uint8_t *rows; /* by row of the table: ALONE_*; NULL: none, nor for device memory */
    uint64_t same; /* a device's register that the other machine has as memory of equal value */
    bool pass;     /* the next instruction runs all the same */
    bool (*place)(struct cpu *c, uint64_t la); /* for ALONE_PLACE */
    uint8_t hit; /* why the engine was left: ALONE_*; 0: not for this */
};
#define ALONE_ALWAYS    1
#define ALONE_INTERRUPT 2 /* only while an interrupt waits that may be taken */
#define ALONE_DEVICE    3 /* hit: device memory, or a write to ROM */
#define ALONE_PLACE     4 /* if place() says so; la: the instruction's linear address */
#define ALONE_FAULT     5 /* hit: a write that faults */

struct tlb;
struct share;
struct stops;
struct block;
struct block_cache;
struct jit;
struct jump_entry;
struct uop;

/* Where an indirect branch of generated code goes on. */
#define JIT_JUMP_BITS 14
struct jit_jump {
    uint64_t la, stamp; /* valid if both are the CPU's: jit.stamp */
    uint64_t code;      /* address of the block's generated code */
    uint64_t page;      /* la's */
};

#define JIT_HEAT    1024 /* counters of runs, shared by blocks */
#define JIT_WINDOWS 24   /* checks of memory that a block may keep */
#define JIT_SPANS   4096 /* paths of blocks over several pages */

/* A copy of an entry of the TLB that one place in generated code looks at (jit/emit_slot.c). */
#define JIT_SLOTS 512
struct jit_slot {
    uint64_t tag;
    uint64_t limit; /* la - tag must be below it; 0: nothing here */
    uintptr_t host, addend;
};

/* What generated code finds beside the architectural state (jit/). */
struct jit_cpu {
    uint64_t stamp;   /* of address space, mode and CPU: translations of code with it hold */
    uint32_t space;   /* of the TLB, for user code; else 0 */
    uint32_t salt;    /* of the table of jumps, so that spaces do not share its entries */
    uint64_t span_at; /* offset of the space's part of `spans` */
    uint64_t page;    /* linear address of the page whose code runs */
    int64_t left;     /* budget, while helpers run */
    int64_t limit;    /* s.icount at which `left` would be 0 */
    int64_t first;    /* the budget in the first round of a loop; moves with `left` */
    int64_t hidden;   /* a strip of a loop: what `left` and `limit` are below what they should be */
    uint64_t strip;   /* rounds that go on in the page */
    const void *site; /* by which generated code was left; NULL: by a fault */
    const struct uop *resume; /* where the interpreter goes on instead of a fault */
    struct jit *jit;
    struct cpu *self;
    uint64_t scratch[8];
    uint64_t win[JIT_WINDOWS]; /* host - guest addresses */
    uint32_t mxcsr;            /* the host's own */
    uint8_t vec_live;          /* the guest's vector registers and MXCSR are in the host's */
    uint8_t x87_live;          /* the guest's x87 is in the host's */
    uint8_t carry;             /* CF of a recipe that keeps it (flags.h) */
    bool wide;                 /* `resume` because a window could not be opened … */
    bool wide_pair;            /* … which lies across two pages that are neighbours … */
    uint32_t wide_trace;       /* … in this trace (jit_site.trace), or 0 */
    int32_t stale;             /* so many far links with old stamps may yet be taken as they are */
    uint8_t unused;
    uint64_t accesses, helpers;     /* calls out of generated code */
    int32_t heat[JIT_HEAT];         /* runs until a block's paths are compiled as one */
    uint32_t slots_filled;          /* bit n: the nth 32 may not be empty */
    int32_t slot_misses[JIT_SLOTS]; /* until somebody looks how often that is */
    uint64_t slot_since[JIT_SLOTS]; /* icount when somebody did */
    struct jit_slot slot[JIT_SLOTS];
    /* By the TLB's space and by path: `stamp` when its pages were last looked at, or ~0. */
    uint64_t spans[TLB_SPACES][JIT_SPANS];
    struct jit_jump jump[1u << JIT_JUMP_BITS];
};

struct cpu {
    _Alignas(16) struct cpu_state s; /* for s.v */

    /* Derived from s by cpu_mode_changed(). */
    uint32_t key; /* KEY_* without KEY_SINGLE unless debugging needs it */
    uint8_t cpl;
    uint8_t tlb_ctx; /* which set of translations: see tlb.h */
    uint16_t derived_unused;
    uint64_t code_generation; /* of the TLB, for the CPL; see tlb.h */

    uint32_t request;   /* REQ_*; atomic: set by cpu_request(), read by cpu_requests() */
    uint8_t intr_quiet; /* apic.pending() is known to say no: see cpu_intr(); atomic */

    /* Threads: share.h. */
    const struct share *share; /* NULL: no other CPU runs at the same time */
    unsigned locks;            /* cpu_lock()s without cpu_unlock() */
    bool running;              /* its thread is in guest code and holds no lock; atomic */
    /* Turns: the icount from which a lock ends this one; a lock was found taken. */
    uint64_t turn_end;
    bool loose; /* a run may miss its budget by a block, as nothing depends on its end */
    bool lock_failed;
    uint32_t pauses;     /* PAUSE executed, modulo 2^32; beside other CPUs, on threads only */
    bool parallel;       /* can have a thread of its own; to be set before an engine joins */
    uint8_t store_locks; /* of an access to pages with code: mmu.c */

    /* The instruction being executed. */
    uint64_t next_rip; /* where execution goes on; a branch helper overwrites it */
    struct fault fault;
    uint32_t insn_index; /* of the running block: instructions begun before this one */
    bool single;         /* the running block has one instruction */

    /* The run in progress: the interpreter's own (interp.h). */
    struct block *block;     /* that runs; NULL between runs */
    struct jump_entry *jump; /* virtual address → block; owned by the block cache */
    uint64_t limit;          /* icount at which the run ends */
    uint64_t rmw;            /* between LDW and STW: host address, or 0 and … */
    uint64_t rmw_la;         /* … the linear address */
    struct block *link_from; /* the block whose exit link_which led nowhere yet, or NULL */
    uint8_t link_which;
    bool link_near; /* it stays on the page */
    uint8_t leave;  /* enum interp_leave: why the interpreter came back */

    struct tlb *tlb;            /* tlb_space */
    struct block_cache *blocks; /* owned, or shared between CPUs by the engine */

    struct kvm_vcpu *vcpu; /* of the KVM engine, owned by it; NULL on others */

    struct bus *bus;
    struct clock *clock;
    struct rng *rng;
    const struct log *log;
    struct cpu_apic apic; /* all NULL: no APIC */
    /* The board's, for an engine that can take them over (dev/chips.h). NULL: none can be taken. */
    struct irq_chips *chips;
    /* Where its registers were last read: the page's linear address | tlb_ctx, and the TLB's
     * generation then. */
    uint64_t apic_la, apic_generation;
    uint64_t tsc_hz;     /* of the time-stamp counter */
    uint64_t wall_start; /* seconds since 1970, UTC, when the clock was 0 */
    struct isa_features features;
    unsigned index; /* 0 is the boot processor; also the APIC ID */
    unsigned count; /* CPUs in the machine, for CPUID */
    /* FERR#: level of the x87 error line, for CR0.NE = 0 (IRQ 13). May be NULL. */
    void (*ferr)(void *opaque, bool level);
    void *ferr_opaque;

    const struct stops *stops; /* where a debugger wants to stop; NULL: nowhere */
    struct cpu_stop stop;

    struct cpu_alone alone;
    void *watcher; /* of whoever wraps the engine: its own */

    /* For people: the faults since the last one that was delivered whole, and where blocks began.
     */
    struct fault chain[FAULT_CHAIN];
    unsigned chain_count;
    uint64_t trail[TRAIL];
    unsigned trail_at;
    uint64_t *coverage; /* executions by row, for whoever counts them; NULL: nobody, at no cost. To
                           be set before anything was lifted */
    uint64_t unknown_count; /* instructions that raised #UD for want of a row */

    struct jit_cpu jit; /* of generated code */
    struct tlb tlb_space;
};

/* Ties a zeroed CPU to its surroundings and resets it. The features come from a model. */
void cpu_init(struct cpu *c, unsigned index, unsigned count, struct bus *bus, struct clock *clock,
              struct rng *rng, const struct log *log, const struct isa_features *features);
void cpu_free(struct cpu *c);
/* Power-on or RESET# state (SDM 3A table 9-1). `init`: the INIT state, which keeps FPU, MSRs, TSC.
 */
void cpu_reset(struct cpu *c, bool init);
/* Gives the state its one form, for who hashes, compares or saves it between runs: flags in rflags,
 * no interrupt shadow that is past. Changes nothing that the guest can see. */
void cpu_settle(struct cpu *c);
/* Recomputes what is derived from the mode. Cheap. */
void cpu_mode_changed(struct cpu *c);
/* Follows up a change of the key or of the TLB's generation. */
void cpu_stamp(struct cpu *c);
/* The part of it that follows EFLAGS.AC alone. */
void cpu_rights_changed(struct cpu *c);
/* From any thread: wants the CPU's attention at its next instruction boundary. */
void cpu_request(struct cpu *c, uint32_t req);
/* REQ_*, as they are now. What was written before a request was made is seen once it is dropped. */
static inline uint32_t cpu_requests(const struct cpu *c)
{
    return __atomic_load_n(&c->request, __ATOMIC_RELAXED);
}

/* Vector register n: 0..15 architectural, 16 and 17 temporaries. */
static inline union vreg *cpu_vreg(struct cpu *c, unsigned n)
{
    return (union vreg *)((char *)&c->s + offsetof(struct cpu_state, v)) + n;
}

/* The interrupt line of the CPU's APIC changed: apic.pending() says `level`. An APIC that tells
 * each change so spares its CPU the question; one that tells none is asked whenever IF is set. */
void cpu_intr(struct cpu *c, bool level);

/* Fills c->fault; always returns false. `why` is static text for people. */
bool cpu_fault(struct cpu *c, unsigned vector, const char *why, uint64_t a, uint64_t b);
bool cpu_fault_err(struct cpu *c, unsigned vector, uint32_t error, const char *why, uint64_t a,
                   uint64_t b);

/* Instructions executed up to the one being executed. */
static inline uint64_t cpu_icount(const struct cpu *c)
{
    return c->s.icount + c->insn_index;
}

/* The time-stamp counter. */
uint64_t cpu_tsc(const struct cpu *c);

static inline bool cpu_real(const struct cpu *c)
{
    return !(c->s.cr0 & CR0_PE);
}

static inline bool cpu_vm86(const struct cpu *c)
{
    return c->s.rflags & EF_VM;
}

static inline bool cpu_long(const struct cpu *c)
{
    return c->s.efer & EFER_LMA;
}

/* 64-bit mode proper, not compatibility mode. */
static inline bool cpu_64(const struct cpu *c)
{
    return (c->key & KEY_CODE) == ISA_64;
}

#endif
