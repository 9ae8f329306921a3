/* How uops become host code. Read this before you write an emitter.
 *
 * REGISTERS. Between blocks the map is the same always (jit_home[]):
 *   gs           segment whose base is the running struct cpu (J_CTX); e_cpu(offset) is a memory
 *                operand in it
 *   r15          J_LEFT: instructions left of the budget; a block subtracts its own at its entry
 *   r14, r12     J_X0, J_X1: scratch, free between uops; every emitter may destroy them
 *   rax rcx rdx rbx rsi rdi r8 r9   the guest's registers of the same names
 *   r10, r11     the guest's RSP and RBP
 *   rbp, r13     free
 * The other guest registers (R_10 … R_15) and temporaries live in c->s.r[] and are memory operands.
 * Within a block those that it uses most have a home too (emit_home.c): in rbp, in r13, and in the
 * home of a register that the block does not use. e->home[] says where each is now; it changes at
 * the block's end only. rax, rcx and rdx are always the guest's; in a block with a helper's uop
 * (but for vector ones) so are all of that list.
 * The host's own rsp stays its stack, 16-byte aligned between uops.
 * xmm0 … xmm15 and MXCSR may be the guest's, and so may be the x87 (vec.c, x87.c): other emitters
 * leave them alone. A call of C stores them back first.
 *
 * AN EMITTER is a function `bool emit_NAME(struct emit *e, const struct uop *u)` that appends code
 * for u to e->a, or returns false without having appended anything: then the uop goes the general
 * way (a helper is called; another uop is interpreted, with the rest of its block). It is found
 *   - by the uop's number, in the table at the end of emit.c, or
 *   - for HELP, CALLF, CALLQ and X87 by the helper's address: a `struct jit_native` table
 *     {helper, emitter}; add the table's name to JIT_NATIVES below.
 * An emitter may take following uops of the same instruction in as well (fusion): it sets e->skip
 * to the number of further uops that it has done.
 *
 * ORDER in an emitter:
 *   1. say what it does to the flags, before the first byte: e_clobber(e) if its code destroys the
 *      host's EFLAGS and the guest's don't come from it; e_flags_in(e) if it needs the guest's
 *      flags in EFLAGS; e_write(e, r) for every guest register that it will write;
 *   2. guest memory: host address by e_read() or e_write_to(), which do the check (see below);
 *   3. the work; nothing architectural is written before the last possible fault;
 *   4. e_flags_out(e, …) if the guest's flags are now in EFLAGS.
 *
 * FLAGS. The guest's flags are known in up to three ways at once: in the host's EFLAGS
 * (e->fl.host), in c->s.cc_* (e->fl.mem), and by a recipe (e->fl.rec) that makes them anew from
 * registers not written since. Whoever destroys one of them calls the functions above, which save
 * only if somebody still looks: e->need[i] says whether uop i or a later one does. Slow paths and
 * exits get the flags into memory in their own cold code.
 *
 * MEMORY. e_read(e, u, size) and e_write_to(e, u, size) emit the check of the uop's memory operand
 * and give back an xmm operand (struct xmem) through which the guest's bytes can be accessed; it
 * may use J_X0 and J_X1, so these are taken until the access is done (J_X0 or J_X1 that is not in
 * it is free). On a miss a stub in the cold part calls interp_access() for the whole uop, which
 * does it by the book, faults included, and goes on at e_resume(e): call that when the uop's code
 * is complete.
 *
 * CALLS. e_call_helper(e, u) calls u->helper with all guest registers in c->s.r[] and takes them
 * back from there; a false return leaves with c->fault. Host flags and xmm registers are lost.
 * e_stub(e, kind, u) makes a cold stub; its jumps are added by e_stub_jcc().
 *
 * COLD CODE is put behind all hot code, in another part of the code memory. */
#ifndef ISHI_JIT_EMIT_H
#define ISHI_JIT_EMIT_H

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/lift.h"
#include "jit/jit.h"
#include "jit/x64.h"

#define J_CTX  X_GS
#define J_LEFT R15
#define J_X0   R14
#define J_X1   R12
#define J_NONE X_NONE

/* Host register of each enum reg between blocks, or J_NONE. */
extern const uint8_t jit_home[R_COUNT];

/* A recipe that only generated code has: the operation is done again on r[a], by v or r[b]. */
#define REC_REDO  8u
#define REDO_IMUL 16u

/* How the flags can be made anew; kind is an enum rec_kind or REC_REDO. */
struct flags_rec {
    uint8_t kind, lg; /* log2 of the size */
    uint8_t a, b;
    uint8_t redo; /* REC_REDO: enum x64_shift by v, or REDO_IMUL */
    bool imm;     /* src is v, not r[b] */
    int32_t v;
};

struct flags_where {
    bool host;     /* in EFLAGS */
    bool mem;      /* in c->s.cc_* and rflags */
    bool mem_host; /* and there as CC_HOST */
    bool entry;    /* those that the block found, in front of a loop or in it; see e->late */
    struct flags_rec rec;
};

/* A point at which generated code is left or calls C. It lies in the code memory, 8-aligned. */
struct jit_site {
    bool (*fn)(struct cpu *c, const struct jit_site *s);
    const struct uop *u;
    struct block *block;
    union {
        uint64_t stamp; /* far exits: under which the link holds */
        struct {        /* windows: the first byte, from the base, and how many; u's from there.
                           JIT_EXIT_DEAD: lo is the code's first byte, from the page */
            int32_t lo;
            uint16_t bytes, at;
        };
    };
    int32_t ahead; /* instructions that J_LEFT has already paid for, from this block's first on */
    uint8_t kind;  /* enum jit_exit_kind */
    uint8_t which; /* exit; windows: the base */
    uint16_t size : 6, align : 5, write : 1; /* windows: u's bytes; see below */
    uint16_t slow : 1;                       /* … the interpreter must go on */
    uint16_t cut : 1;                        /* … u's address has 32 bits */
    uint16_t scale : 2;                      /* … of the index */
    uint8_t index, which_as, index_as; /* … 1, 2: their lower halves, zero- or sign-extended */
    uint8_t edge : 1;                  /* … must not be near the end of the 32-bit space */
    uint8_t pairs : 1;                 /* … may lie across two pages */
    uint8_t stores : 1;                /* … u itself writes */
    uint32_t trace;                    /* offset of the trace's struct jit_block, or 0 */
    int32_t page;                      /* the block's page lies there from jit.page */
};

/* One exit of a compiled block. Offsets in the code memory. */
struct jit_exit {
    uint32_t at;    /* the displacement of the jump that takes it */
    uint32_t asked; /* as `out`, for a block that reads the flags */
    uint32_t out;   /* where that goes when it is not linked, or must save the flags first */
    uint32_t quick; /* far: where it may go when they need no saving; near: 0, to the target */
    uint32_t tail;  /* the displacement of the jump at the end of `out` and `quick` */
    uint32_t away;  /* where that goes when it is not linked */
    uint32_t mem;   /* a way to take it with homes as between blocks and flags in memory … */
    uint32_t begin; /* … or, `rec` being noted and true in EFLAGS: the jump itself */
    struct flags_rec rec;
    uint32_t site;
    uint32_t regs; /* guest registers in the recipe, as bits */
    uint8_t flags; /* enum exit_flags */
    bool loop;     /* leads to the block's own beginning, behind its entry; `at` is a JGE */
};
/* How the flags are at an exit: in memory; there as a recipe; nowhere yet: `out` saves them. */
enum exit_flags { EXIT_NONE, EXIT_MEM, EXIT_RECIPE, EXIT_SAVE };

/* What is known of a compiled block; in the code memory, too. */
struct jit_block {
    uint32_t entry, dead; /* its code; where its entry goes when it is dropped */
    uint32_t first;       /* of the block alone: the code's first byte … */
    uint32_t plain;       /* … and behind the counter of its runs, if it has one */
    bool gone;            /* a trace: one of its blocks was dropped */
    bool loops;           /* goes back to its own beginning */
    uint16_t span;        /* a trace over several pages: its number in cpu.jit.spans, or 0 */
    bool strips;          /* in strips */
    uint16_t failed;      /* a trace's checks of several accesses since … */
    uint64_t since;       /* … this instruction count */
    /* Sets all flags before it reads any; until then it may write `writes` while they can still be
     * looked at by a fault (`looks`). */
    bool kills, looks;
    bool asks; /* reads flags before it sets all */
    uint32_t writes;
    struct jit_exit exit[2];
};

enum stub_kind {
    STUB_ACCESS,   /* interp_access(), then back */
    STUB_RESUME,   /* leave; the rest of the block is interpreted */
    STUB_EXIT,     /* exit `which` */
    STUB_ENTRY,    /* too little budget for the block */
    STUB_PLAIN,    /* too little budget for the trace: its first block alone */
    STUB_STALE,    /* leave: are the trace's pages what they were? */
    STUB_SIDE,     /* exit `which` of one of a trace's blocks */
    STUB_HOT,      /* leave, to make a trace */
    STUB_FLAGS,    /* makes cc_* CC_HOST, then back */
    STUB_HELP,     /* the helper, then back */
    STUB_VEC,      /* loads the vector registers, or leaves as STUB_RESUME, then back */
    STUB_X87,      /* loads the x87, likewise */
    STUB_INDIRECT, /* leave, to c->next_rip */
    STUB_WIDE,     /* jit_wide() for window `which`, then back to the check; or as STUB_RESUME */
};
#define SLOT_KINDS 6
#define STUB_JUMPS 4
#define FIP_NOTED  INT64_MIN
#define STUBS      800

/* Accesses that share one check (emit_win.c). */
#define WINDOWS 64
struct window {
    int32_t lo, hi;       /* its bytes, from the value of the roots */
    int32_t at;           /* the first access */
    uint16_t first, last; /* uops */
    uint16_t uses;        /* accesses */
    uint16_t root, index; /* values that the base and the index are made of */
    uint8_t scale;
    bool write, mixed; /* any writes; some do, some don't */
    uint8_t align;     /* bits of the address of `lo` that must be 0 */
    int32_t aligned;   /* where an access asks for that */
    bool cut;          /* its accesses are */
    bool dropped;      /* is none after all */
    int32_t from;      /* the first access's base, from the root's value … */
    bool moves;        /* … and this or another one's is not the root's value itself */
    bool edge;         /* must not be near the end of the 32-bit space */
    bool pinned;       /* kept through the rounds of a loop */
    bool still;        /* its address stays the same, too */
    int8_t stride;     /* or moves by that each round: it is a strip's */
    bool early;        /* nothing before it can fault but what is checked earlier */
    uint8_t slot;      /* in c->jit.win[]; a pin that moves has the next one, too */
    /* Host registers: host - guest address, or J_NONE: in the slot; of a pin, what takes an address
     * to its offset in the page. */
    uint8_t distance, offset;
    int32_t disp; /* the first access's displacement, which is in both, for short code */
};
/* Where a uop accesses memory: base is a general register, R_IP or R_ZERO; index one or R_ZERO. */
struct access {
    uint8_t base, index, scale, size;
    bool cut; /* the address is cut to 32 bits before anything is added */
    bool write;
    int32_t disp;
    uint8_t align; /* bits of the address that must be 0 */
};

/* A register with a home for the block; or, r being R_COUNT, a window's, whose slot is given. */
#define MOVED 16
struct moved {
    uint8_t r, host;
    uint8_t owner; /* whose home host is between blocks, or R_COUNT */
    bool written;
    uint8_t window; /* windows: which, and is it the offset? */
    bool second;
};

/* One block of a trace (trace.c). */
#define TRACE_PARTS 16
#define TRACE_INSNS 160
#define HEAT        1200 /* runs of compiled code before a trace is made from there */
struct part {
    struct block *b;
    uint16_t first, insns; /* number of its first uop; instructions before it */
    uint8_t via;           /* the exit of the part before that leads here */
    int32_t page;          /* linear, from that of the first part */
};

/* A page that a trace's blocks lie on, beside the one that it begins on. */
#define SPAN_PAGES 4
struct span_page {
    uint64_t paddr;
    int32_t at; /* linear, from that one */
};

struct emit;
typedef bool emit_fn(struct emit *e, const struct uop *u);
struct stub {
    uint8_t kind, jumps, which;
    uint32_t jump[STUB_JUMPS]; /* displacements that lead to it */
    uint32_t back;             /* where it goes on in the hot code; 0: nowhere */
    const struct uop *u;
    struct xmem at; /* where the hot code accesses memory: for `after` */
    bool settled;   /* as e->settled */
    bool entry;     /* STUB_WIDE: in front of the loop */
    bool pinned;    /* the check of pin `which`, which begins at `check` */
    uint32_t check;
    uint32_t paired; /* STUB_WIDE: where it goes on when the window was found to be in two pages */
    /* A check by a slot (emit_slot.c): its number + 1, or 0. */
    uint16_t slot;
    uint16_t bytes;                  /* … what was looked for */
    bool to_host, write;             /* J_X0 is made a host address */
    uint8_t addend;                  /* register that gets the distance, or J_NONE */
    uint32_t sub, missed, done, end; /* its SUB, its branch, behind that, and behind all */
    bool save;                       /* the flags must get to memory first */
    bool vec, x87;                   /* loaded on arrival, and to be so where it goes on */
    int64_t fip;                     /* as e->fip */
    struct flags_where fl;           /* on arrival */
    /* Code after the call, before it goes back; may be NULL. */
    void (*after)(struct emit *e, const struct stub *s);
};

struct emit {
    struct x64 a;    /* hot */
    struct x64 cold; /* swapped with `a` while stubs are emitted */
    struct jit *j;
    struct block *b;
    struct jit_block *jb;
    struct part part[TRACE_PARTS]; /* of a trace; else part[0] is b */
    unsigned parts;
    bool closed; /* the trace's last exit `via` leads to its beginning */
    bool strips; /* windows with a stride */
    uint8_t via;
    uint16_t span;   /* as jit_block.span */
    uint32_t number; /* the trace's */
    struct span_page page[SPAN_PAGES];
    unsigned pages;
    unsigned i, n, skip;           /* number of the uop, of uops, of uops done in advance */
    unsigned ctx;                  /* the TLB's set */
    struct flags_where fl, before; /* now, and at the uop's beginning */
    uint8_t home[R_COUNT];         /* host register of each enum reg, or J_NONE */
    uint8_t moved_home[R_COUNT];
    struct moved moved[MOVED];
    unsigned moves;
    uint32_t loop;             /* where the block goes on from its own end, its homes kept … */
    uint32_t round;            /* … and by which it first sees to vector registers and pins */
    bool vec_early, x87_early; /* they are loaded in front of the loop */
    bool settled;              /* the block's end: homes are as between blocks */
    /* The flags that a round of a loop leaves to the next are not in memory but known by this
     * recipe: cold code notes them, if it is reached before they are set anew. In the first round,
     * when J_LEFT is still jit.first, they are in memory. */
    struct flags_rec late;
    bool early_call; /* hot code calls C before they are */
    bool need[BLOCK_UOPS + 1];
    uint32_t at[BLOCK_UOPS + 1]; /* where each uop's hot code begins, and where the last ends */
    struct stub stub[STUBS];
    unsigned stubs;
    struct window window[WINDOWS];
    unsigned windows;
    uint8_t in_window[BLOCK_UOPS]; /* by uop: number of its window + 1, or 0 */
    uint16_t slots[SLOT_KINDS];    /* the last one given, by kind */
    struct stub *kept;             /* of a check by a slot that was begun */
    struct stub *access;           /* of the access that e_resume() ends */
    /* Offsets of the common code. */
    uint32_t thunk_call, thunk_help, thunk_leave, thunk_far;
    /* Vector and x87 state (vec.c, x87.c): is it known to be in the host's registers? */
    bool vec_live, x87_live;
    int64_t fip; /* where the last x87 instruction is, from jit.page; FIP_NOTED: c->s knows */
    struct isa_features host;
    uint32_t vec_save, vec_load, vec_reload, x87_save, x87_load;
};

struct jit_native {
    uop_helper *helper;
    emit_fn *emit;
};
/* Tables of emitters by helper, each ended by a row of NULLs. */
#define JIT_NATIVES(X) X(jit_natives_int) X(jit_natives_locked) X(jit_natives_sys)
#define X(n)           extern const struct jit_native n[];
JIT_NATIVES(X)
#undef X

/* Does the block run at level 3? */
static inline bool e_user(const struct emit *e)
{
    return e->ctx >= TLB_USER;
}

/* A field of the running CPU. */
#define E_CPU(field) xm(J_CTX, (int32_t)offsetof(struct cpu, field))
static inline struct xmem e_cpu(size_t offset)
{
    return xm(J_CTX, (int32_t)offset);
}
static inline struct xmem e_slot(unsigned r)
{
    return e_cpu(offsetof(struct cpu, s.r) + 8 * r);
}

/* The entry of the CPU's table of jumps for the linear address in J_X0: e_jump_entry leaves its
 * offset in J_X1, E_JUMP is then a field of it. salt: may be user code's. */
void e_jump_entry(struct x64 *a, bool salt);
#define E_JUMP(field)   \
    xmi(J_CTX, J_X1, 0, \
        (int32_t)(offsetof(struct cpu, jit.jump) + offsetof(struct jit_jump, field)))

/* Guest registers. e_use: the host register that has all of r, its home or `scratch`. e_get: copies
 * r to a host register. e_put: host register → r, by the rules of the size (small ones merge, 32
 * zero-extend: the value's upper half must be 0 for a register in memory). None touches EFLAGS. */
unsigned e_use(struct emit *e, unsigned r, unsigned scratch);
void e_get(struct emit *e, unsigned host, unsigned r);
void e_put(struct emit *e, unsigned r, unsigned size, unsigned host);

/* Flags; see above. e_flags_out: of the uop's operation, which has a recipe or (kind REC_NONE)
 * none. */
void e_clobber(struct emit *e);
void e_flags_in(struct emit *e);
void e_flags_out(struct emit *e, struct flags_rec rec);
void e_write(struct emit *e, unsigned r);
/* Notes r's value in R_K0 or R_K1 for a recipe, EFLAGS untouched; gives back that number. Destroys
 * J_X0. Only for the recipe that comes next: there is one at a time. */
unsigned e_keep(struct emit *e, unsigned k, unsigned r);

/* Memory. */
struct xmem e_read(struct emit *e, const struct uop *u, unsigned size);
struct xmem e_write_to(struct emit *e, const struct uop *u, unsigned size);
/* The same where e_access_of() knows the access and its base is in a register, or it is in a
 * window: the checks of alignment too. False: nothing was done. */
bool e_operand(struct emit *e, const struct uop *u, struct xmem *m);
void e_resume(struct emit *e);
/* The linear address of the operand into J_X0. False: a form that only the slow path does. */
bool e_address(struct emit *e, const struct uop *u);
/* The same by another form than its own: of an x87 instruction, or to leave a segment out. */
bool e_address_as(struct emit *e, const struct uop *u, unsigned form);
/* The check of the address in J_X0: host address into J_X0; misses go to a new e->access. */
void e_check(struct emit *e, const struct uop *u, unsigned size, bool write);

/* Homes (emit_home.c). home_plan: who gets one in this block, pins too. home_enter: at its entry.
 * home_leave: at its end, puts all back, EFLAGS untouched. home_store, home_load: around calls of
 * C. */
void home_plan(struct emit *e);
void home_enter(struct emit *e);
void home_leave(struct emit *e);
void home_store(struct emit *e);
void home_load(struct emit *e);
/* Makes e->home[] what it is at a stub. */
void home_at(struct emit *e, bool settled);

/* Windows (emit_win.c). e_access_of: where u accesses memory, if that is at a constant from a base.
 * win_plan: before a block is compiled. win_open: is this uop's access without a check, and so
 * without a fault? win_access: the operand of a uop that is in a window. */
bool e_access_of(const struct emit *e, const struct uop *u, struct access *a);
void win_plan(struct emit *e);
/* After home_plan(): which windows are left, and their slots. win_enter: in front of a loop.
 * win_refill: in the cold code of a pin's check, the page that is wanted now; falls through if it
 * is not in the TLB. win_pair: the same for STUB_WIDE, if the window is in two pages. win_site:
 * fills a site of jit_wide(). win_unstrip: where a loop that has strips is left or goes on with the
 * next one, the whole budget; J_X0 and J_X1 are destroyed, EFLAGS not. */
void win_settle(struct emit *e);
void win_enter(struct emit *e);
void win_refill(struct emit *e, const struct stub *s);
void win_pair(struct emit *e, const struct stub *s);
void win_site(const struct emit *e, const struct stub *s, struct jit_site *p);
void win_unstrip(struct emit *e);
struct xmem win_slot(unsigned slot);
bool win_open(const struct emit *e);
struct xmem win_access(struct emit *e, const struct uop *u);
/* The check alone, of `size` bytes at J_X0, which becomes the offset in the page; J_X1: that of the
 * TLB's entry. align: bits of the address that must be 0. e_addend: J_X1 = host - guest address of
 * it. */
void e_look_up(struct emit *e, struct stub *miss, unsigned size, unsigned align, bool write);
/* J_X0 is an address: are its page and the next one neighbours in the host's memory, too? J_X0 =
 * host - guest address in both; J_X1: as e_look_up(), of the first. */
void e_look_up_pair(struct emit *e, struct stub *miss, unsigned align, bool write);
/* The same by a slot, where that may pay: J_X1 is nothing then, and only e_addend(), e_addend_to()
 * and e_to_host() may follow: they are slot_addend() and slot_to_host(). slot_refill: its cold
 * code, which goes to `miss` if the page is not in the TLB either. slot_often: shall a place whose
 * slot has changed its page some times do without? */
void e_look_up_kept(struct emit *e, struct stub *miss, unsigned size, unsigned align, bool write,
                    bool stack);
void slot_refill(struct emit *e, const struct stub *s, struct stub *miss);
bool slot_addend(struct emit *e, unsigned to);
bool slot_to_host(struct emit *e);
bool slot_often(struct cpu *c, unsigned slot);
int32_t e_tlb_info(const struct emit *e, size_t field);
void e_addend(struct emit *e);
void e_addend_to(struct emit *e, unsigned to);
/* J_X0 += the page's host address. The tag, as an operand. The last part of the check: is the
 * offset in `host` in the page? */
void e_to_host(struct emit *e);
struct xmem e_tag(const struct emit *e, bool write);
void e_in_page(struct emit *e, struct stub *miss, unsigned host, unsigned size, unsigned align);
/* Does the block's last uop lead to its own beginning? */
bool e_loops(const struct emit *e);
/* Guest registers that u may write, as bits; ~0: any. */
uint32_t e_writes(const struct uop *u);

/* A load or a read-modify-write and the operation on it as one (emit_fuse.c). False: nothing was
 * done. */
bool fuse_load(struct emit *e, const struct uop *u);
bool fuse_rmw(struct emit *e, const struct uop *u);

/* The flags of CMP or TEST, log2 of whose size is lg. */
void emit_flags_of(struct emit *e, const struct uop *u, bool test, bool imm, unsigned lg);

/* Stubs and calls. */
struct stub *e_stub(struct emit *e, enum stub_kind kind, const struct uop *u);
void e_stub_jcc(struct emit *e, struct stub *s, enum x64_cond cond);
void e_stub_jmp(struct emit *e, struct stub *s);
/* Its code (stubs.c). */
void e_emit_stub(struct emit *e, const struct stub *s);
/* In hot or cold code: calls a site's function; leaves by a site. */
void e_call_site(struct emit *e, uint32_t site, uint32_t thunk);
void e_leave_by(struct emit *e, uint32_t site);
void e_call_helper(struct emit *e, const struct uop *u);
/* Does the jump or call u through a register only follow the load of it? Then the interpreter can
 * begin with that. */
bool e_reloads(const struct emit *e, const struct uop *u);
/* All of the access by interp_access(). */
void e_call_access(struct emit *e, const struct uop *u);
/* The rest of the block is interpreted, from u on. */
void e_interpret(struct emit *e, const struct uop *u);
/* Are flags set anew at the block's beginning before anybody can look at the old ones? */
bool e_quiet(const struct emit *e);
/* Puts the flags into memory, if they are not there. Destroys J_X0. */
void e_flags_to_memory(struct emit *e);
/* The same for whoever expects that nobody reads them: by value where they have a recipe, which is
 * quicker to write, but not to read. Destroys J_X0 and J_X1, and EFLAGS. */
void e_flags_pin(struct emit *e);
void e_pin_recipe(struct emit *e, const struct flags_rec *r);
/* Appends a site; its offset. */
uint32_t e_site(struct emit *e, bool (*fn)(struct cpu *, const struct jit_site *), unsigned kind,
                const struct uop *u, int32_t ahead);

/* What sites call (calls.c). */
bool jit_access(struct cpu *c, const struct jit_site *s);
bool jit_help(struct cpu *c, const struct jit_site *s);
bool jit_flags(struct cpu *c, const struct jit_site *s);
bool jit_wide(struct cpu *c, const struct jit_site *s);
bool jit_often(struct cpu *c, const struct jit_site *s);

/* Compiles b. False: no room. */
bool emit_block(struct emit *e, struct block *b);

/* Traces (trace.c). trace_plan: the path that begins with `head` goes into e->part, and its uops
 * into b, which has room for BLOCK_UOPS. False: nothing to be gained. emit_trace: compiles it. */
struct trace_env {
    struct block_cache *blocks;
    /* For a block that has no code yet, `page` from the head's. */
    bool (*compile)(struct jit *j, struct block *b, int32_t page);
    /* Where code is fetched from `at` bytes behind the head's page under the CPU's present stamp;
     * ~0: not known. */
    uint64_t (*find)(struct jit *j, int64_t at);
    bool wide; /* the path may leave the page */
};
bool trace_plan(struct emit *e, const struct trace_env *env, struct block *head, struct block *b);
bool emit_trace(struct emit *e, struct block *b);
/* Out of a trace, by exit `which` of u's block: what was paid for the rest is given back. */
void e_side(struct emit *e, const struct uop *u, unsigned which);
void e_note_recipe(struct emit *e, struct flags_rec *r);
/* Could a trace begin with b? */
bool trace_worth(const struct block *b);
/* The part that u, or nothing, is of; where a part's first byte lies, from jit.page. */
const struct part *e_part(const struct emit *e, const struct uop *u);
static inline int64_t part_offset(const struct part *p)
{
    return p->page + (int64_t)(p->b->paddr & (PAGE_SIZE - 1));
}
static inline int64_t e_page_offset(const struct emit *e, const struct uop *u)
{
    return part_offset(e_part(e, u));
}
/* Is uop i an exit in the middle of a trace? Then which exit leads on, else -1. The part behind it,
 * or NULL. */
int e_inner(const struct emit *e, unsigned i);
const struct part *e_onward(const struct emit *e, unsigned i);
/* … a jump which is taken always, so that nothing is left there? */
bool e_passes(const struct emit *e, unsigned i);
static inline bool uop_calls(const struct uop *u)
{
    return u->op == UOP_CALL64 || u->op == UOP_CALL32;
}
static inline bool uop_returns(const struct uop *u)
{
    return u->op == UOP_RET64 || u->op == UOP_RET32;
}

/* The emitters, by file. */
emit_fn emit_nop, emit_move, emit_extend, emit_lea, emit_bswap, emit_alu, emit_compare, emit_step;
emit_fn emit_shift, emit_imul, emit_bit_test, emit_cond, emit_cmov;
emit_fn emit_load, emit_store, emit_load_rmw, emit_store_rmw, emit_push, emit_pop;
emit_fn emit_vec, emit_vec_load, emit_vec_store, emit_x87;
emit_fn emit_jump, emit_jcc, emit_fused, emit_jump_if, emit_call, emit_ret, emit_indirect,
    emit_exit;

#endif
