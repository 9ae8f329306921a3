/* 4-level paging: pages of 4 KiB, 2 MiB and 1 GiB, rights at each level, NX, WP, SMEP, SMAP,
 * reserved bits, accessed and dirty bits, global pages, PCID, INVLPG and INVPCID (SDM 3A 4.5
 * to 4.10).
 *
 * kind: check64
 */
#include "lib/check.h"

#define P    1ul
#define W    2ul
#define U    4ul
#define A    0x20ul
#define D    0x40ul
#define PS   0x80ul
#define G    0x100ul
#define NX   (1ul << 63)
#define E_P  1u
#define E_W  2u
#define E_U  4u
#define E_R  8u
#define E_I  16u
#define PGE  0x80ul
#define PCID 0x20000ul
#define SMEP 0x100000ul
#define SMAP 0x200000ul

extern uint64_t boot_pml4[512], boot_pdpt[512];
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t page[4][4096] __attribute__((aligned(4096)));
/* A second address space, for PCID: as the first but for the page at AT. */
static uint64_t pml4_2[512] __attribute__((aligned(4096)));
static uint64_t pdpt_2[512] __attribute__((aligned(4096)));
static uint64_t pd_2[512] __attribute__((aligned(4096)));
static uint64_t pt_2[512] __attribute__((aligned(4096)));

#define AT   0x10000000000ul /* by pml4[2], pdpt[0], pd[0], pt[0] */
#define BIG  0x10000200000ul /* pd[1] */
#define HUGE 0x10040000000ul /* pdpt[1] */

static struct code load, store, call;

static void flush(void)
{
    WRITE_REG("cr3", READ_REG("cr3"));
}

static void maps(void)
{
    boot_pml4[2] = (word)pdpt | P | W | U;
    pdpt[0] = (word)pd | P | W | U;
    pd[0] = (word)pt | P | W | U;
    pt[0] = (word)page[0] | P | W | U;
    pt[1] = (word)page[1] | P | W | U;
    pd[1] = 0x200000 | P | W | U | PS;
    pdpt[1] = 0 | P | W | U | PS;
    page[0][0] = 0xc3;
    flush();
}

static void touch(const char *name, struct code c, bool user, word at, unsigned error)
{
    flush();
    (user ? prep3 : prep0)(c);
    in.bx = at;
    run();
    if (error == DONE) {
        done(name);
        return;
    }
    struct code where = c;
    if (c.start == call.start)
        where.at = at;
    if (error & E_R)
        differs("SDM 3A 4.7: P is set when a reserved bit is");
    fault(name, where, PF, error);
    if (got.vector == PF && got.cr2 != at)
        same("… CR2", got.cr2, at);
}

static uint64_t *const level[4] = {&boot_pml4[2], &pdpt[0], &pd[0], &pt[0]};
static const char *const level_name[4] = {"PML4E", "PDPTE", "PDE", "PTE"};

static void levels(void)
{
    unsigned width = cpuid(0x80000008, 0).a & 0xff;
    for (unsigned i = 0; i < 4; i++) {
        maps();
        note(level_name[i], i);
        *level[i] &= ~P;
        touch("not present", load, true, AT, E_U);
        maps();
        *level[i] &= ~U;
        touch("supervisor: read at level 3", load, true, AT, E_U | E_P);
        touch("supervisor: read at level 0", load, false, AT, DONE);
        maps();
        *level[i] &= ~W;
        touch("read-only: write at level 3", store, true, AT, E_U | E_P | E_W);
        touch("read-only: write at level 0, WP 0", store, false, AT, DONE);
        WRITE_REG("cr0", READ_REG("cr0") | 0x10000);
        touch("read-only: write at level 0, WP 1", store, false, AT, E_P | E_W);
        WRITE_REG("cr0", READ_REG("cr0") & ~0x10000ul);
        maps();
        *level[i] |= NX;
        touch("NX without EFER.NXE", load, true, AT, E_U | E_P | E_R);
        wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
        touch("NX: read", load, true, AT, DONE);
        touch("NX: fetch at level 3", call, true, AT, E_U | E_P | E_I);
        touch("NX: fetch at level 0", call, false, AT, E_P | E_I);
        wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ul);
        maps();
        *level[i] |= 1ul << width;
        touch("a bit beyond the physical address", load, true, AT, E_U | E_P | E_R);
        maps();
        *level[i] |= 0x7ful << 52;
        touch("bits 58:52 are ignored", load, true, AT, DONE);
        maps();
        touch("read", load, true, AT, DONE);
        same("accessed", *level[i] & (A | D), A);
        touch("write", store, true, AT, DONE);
        same("dirty in the last level alone", *level[i] & (A | D), i == 3 ? A | D : A);
    }
    maps();
    *level[0] |= PS;
    touch("PML4E: PS is reserved", load, true, AT, E_U | E_P | E_R);
    maps();
}

static void large(void)
{
    maps();
    touch("2 MiB page", load, true, BIG, DONE);
    same("2 MiB page: accessed", pd[1] & (A | D), A);
    touch("2 MiB page: write", CODE("movb (%rbx), %al; movb %al, (%rbx)"), true, BIG + 0x1fffff,
          DONE);
    same("2 MiB page: dirty", pd[1] & (A | D), A | D);
    pd[1] |= 0x2000;
    touch("2 MiB page: bit 13 is reserved", load, true, BIG, E_U | E_P | E_R);
    maps();
    pd[1] |= 0x100000;
    touch("2 MiB page: bit 20 is reserved", load, true, BIG, E_U | E_P | E_R);
    maps();
    pd[1] |= 0x1000;
    touch("2 MiB page: bit 12 is PAT", load, true, BIG, DONE);
    maps();
    if (cpuid(0x80000001, 0).d >> 26 & 1) {
        struct code c = CODE("mov (%rbx), %rax");
        *(volatile uint64_t *)0x9000 = 0x0123456789abcdef;
        touch("1 GiB page", c, true, HUGE + 0x9000, DONE);
        same("1 GiB page: the datum", got.ax, 0x0123456789abcdef);
        same("1 GiB page: accessed", pdpt[1] & (A | D), A);
        touch("1 GiB page: write", CODE("mov (%rbx), %rax; mov %rax, (%rbx)"), true, HUGE + 0x9000,
              DONE);
        same("1 GiB page: dirty", pdpt[1] & (A | D), A | D);
        pdpt[1] |= 0x2000;
        touch("1 GiB page: bit 13 is reserved", load, true, HUGE, E_U | E_P | E_R);
        maps();
        pdpt[1] |= 0x20000000;
        touch("1 GiB page: bit 29 is reserved", load, true, HUGE, E_U | E_P | E_R);
        maps();
    } else {
        skip("1 GiB pages", "no such feature");
        touch("1 GiB page without the feature: PS is reserved", load, true, HUGE, E_U | E_P | E_R);
    }
}

static void supervisor(void)
{
    uint32_t features = cpuid(7, 0).b;
    maps();
    boot_pdpt[0] &= ~U; /* the program's own pages */
    flush();
    if (features >> 7 & 1) {
        WRITE_REG("cr4", READ_REG("cr4") | SMEP);
        touch("SMEP: fetch of a user page", call, false, AT, E_P | E_I);
        touch("SMEP: load", load, false, AT, DONE);
        WRITE_REG("cr4", READ_REG("cr4") & ~SMEP);
    } else {
        skip("SMEP", "no such feature");
    }
    if (features >> 20 & 1) {
        WRITE_REG("cr4", READ_REG("cr4") | SMAP);
        touch("SMAP: load", load, false, AT, E_P);
        touch("SMAP: store", store, false, AT, E_P | E_W);
        touch("SMAP: fetch", call, false, AT, DONE);
        touch("SMAP: STAC", CODE("stac; mov (%rbx), %eax"), false, AT, DONE);
        WRITE_REG("cr4", READ_REG("cr4") & ~SMAP);
    } else {
        skip("SMAP", "no such feature");
    }
    boot_pdpt[0] |= U;
    flush();
}

static void read_as(const char *name, uint8_t want)
{
    prep0(CODE("movb 8(%rbx), %al"));
    in.bx = AT;
    run();
    same(name, got.ax & 0xff, want);
}

#define CALLS 400 /* so many that an engine comes to keep where the code is */

/* Calls the code at AT + 0x40, which is another in each page. */
__attribute__((noinline)) static void calls_as(const char *name, uint8_t want)
{
    prep3(CODE("xor %esi, %esi; 1: call *%rbx; add %eax, %esi; dec %ecx; jnz 1b"));
    in.bx = AT + 0x40;
    in.cx = CALLS;
    run();
    same(name, got.si, CALLS * want);
}

static void invpcid(word type, word id, word address, unsigned vector, const char *name)
{
    static uint64_t d[2] __attribute__((aligned(16)));
    struct code c = CODE("invpcid (%rdi), %rax");
    d[0] = id;
    d[1] = address;
    prep0(c);
    in.ax = type;
    in.di = (word)d;
    run();
    if (name)
        fault(name, c, vector, 0);
}

static void translations(void)
{
    maps();
    page[0][8] = 0x11;
    page[2][8] = 0x22;
    page[3][8] = 0x33;
    read_as("read", 0x11);
    pt[0] = (word)page[2] | P | W | U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT + 0x777) : "memory");
    read_as("INVLPG of any byte of the page", 0x22);
    pt[0] = (word)page[0] | P | W | U;
    flush();
    read_as("MOV to CR3", 0x11);
    pt[0] = 0;
    struct code c = CODE("mov (%rbx), %eax");
    flush();
    touch("not present", c, true, AT, E_U);
    pt[0] = (word)page[2] | P | W | U;
    read_as("a page made present needs no flush", 0x22);
    WRITE_REG("cr4", READ_REG("cr4") | PGE);
    pt[0] = (word)page[0] | P | W | U | G;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    read_as("global", 0x11);
    pt[0] = (word)page[2] | P | W | U | G;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    read_as("INVLPG drops a global page", 0x22);
    pt[0] = (word)page[0] | P | W | U | G;
    WRITE_REG("cr4", READ_REG("cr4") & ~PGE);
    read_as("a write of CR4.PGE drops it", 0x11);
    c = CODE("mov $0x800000000000, %rax; invlpg (%rax)");
    run0(c);
    done("INVLPG of an address that is not canonical does nothing");

    if (!(cpuid(1, 0).c >> 17 & 1)) {
        skip("PCID", "no such feature");
        return;
    }
    word cr3 = READ_REG("cr3") & ~0xffful;
    struct code set = CODE("mov %rax, %cr3"), en = CODE("mov %rax, %cr4");
    WRITE_REG("cr3", cr3 | 0x18);
    prep0(en);
    in.ax = READ_REG("cr4") | PCID;
    run();
    fault("CR4.PCIDE with CR3 11:0 not 0", en, GP, 0);
    WRITE_REG("cr3", cr3);
    WRITE_REG("cr4", READ_REG("cr4") | PCID);
    for (unsigned i = 0; i < 512; i++)
        pml4_2[i] = boot_pml4[i];
    pml4_2[2] = (word)pdpt_2 | P | W | U;
    pdpt_2[0] = (word)pd_2 | P | W | U;
    pd_2[0] = (word)pt_2 | P | W | U;
    pt_2[0] = (word)page[3] | P | W | U;
    pt[0] = (word)page[0] | P | W | U;
    WRITE_REG("cr3", cr3 | 1);
    read_as("PCID 1", 0x11);
    WRITE_REG("cr3", (word)pml4_2 | 2);
    read_as("PCID 2", 0x33);
    WRITE_REG("cr3", cr3 | 1 | 1ul << 63);
    read_as("PCID 1 again, kept", 0x11);
    pt_2[0] = (word)page[2] | P | W | U;
    WRITE_REG("cr3", (word)pml4_2 | 2);
    read_as("MOV to CR3 without bit 63 drops its PCID", 0x22);
    prep0(set);
    in.ax = cr3 | 1ul << 62;
    run();
    fault("MOV to CR3: bit 62 is reserved", set, GP, 0);
    same("CR3's bit 63 is not stored", READ_REG("cr3") >> 63, 0);
    if (cpuid(7, 0).b >> 10 & 1) {
        pt_2[0] = (word)page[3] | P | W | U;
        invpcid(0, 2, AT, DONE, "INVPCID 0");
        read_as("INVPCID 0: one address", 0x33);
        pt_2[0] = (word)page[2] | P | W | U;
        invpcid(1, 2, 0, DONE, "INVPCID 1");
        read_as("INVPCID 1: one PCID", 0x22);
        pt_2[0] = (word)page[3] | P | W | U | G;
        invpcid(3, 0, 0, DONE, "INVPCID 3");
        read_as("INVPCID 3: all but global", 0x33);
        pt_2[0] = (word)page[2] | P | W | U;
        invpcid(2, 0, 0, DONE, "INVPCID 2");
        read_as("INVPCID 2: all", 0x22);
        invpcid(4, 0, 0, GP, "INVPCID 4");
        invpcid(0, 0x1000, 0, GP, "INVPCID: descriptor bits 63:12");
        invpcid(0, 1, 0x800000000000, GP, "INVPCID 0: not canonical");
        struct code user = CODE("invpcid (%rdi), %rax");
        prep3(user);
        in.di = 0x9000;
        run();
        fault("INVPCID at level 3", user, GP, 0);
    } else {
        skip("INVPCID", "no such feature");
    }
    WRITE_REG("cr3", cr3);
    WRITE_REG("cr4", READ_REG("cr4") & ~PCID);
}

/* Follows a ring of pointers in the page at AT, and adds up what lies beside them; `store`: writes
 * there, too. An engine that keeps where pages are must forget it in time. */
__attribute__((noinline)) static void follow(bool store) /* one piece of code, made once */
{
    if (store)
        prep3(CODE("xor %esi, %esi; 1: mov (%rbx), %rbx; add 8(%rbx), %esi;"
                   "7: mov %esi, 12(%rbx); dec %ecx; jnz 1b"));
    else
        prep3(CODE("xor %esi, %esi; 1: mov (%rbx), %rbx; add 8(%rbx), %esi; dec %ecx; jnz 1b"));
    in.bx = AT + 0x80;
    in.cx = CALLS * 16;
    run();
}

static void follows_as(const char *name, uint8_t want)
{
    follow(false);
    same(name, got.si, CALLS * 16 * want);
    follow(true);
    same("… with writes", got.si, CALLS * 16 * want);
}

static void stops_writing(const char *name)
{
    follow(true);
    same(name, got.vector << 32 | got.error, (uint64_t)PF << 32 | E_P | E_W | E_U);
}

/* Pushes so often that an engine comes to keep where the stack is, the last time 4711. */
__attribute__((noinline)) static void push_to(const char *name, unsigned to)
{
    struct code c = CODE("push %rcx; pop %rax; push %rax; pop %rcx");
    for (unsigned n = 0; n < 40; n++) {
        prep3(c);
        in.sp = AT + 0x800;
        in.cx = n < 39 ? n : 4711;
        run();
    }
    same(name, *(volatile word *)(page[to] + 0x7f8), 4711);
    *(volatile word *)(page[to] + 0x7f8) = 0;
    for (unsigned n = 0; n < 4; n++) {
        prep3(c);
        in.sp = AT + 0x800;
        in.cx = 1;
        run();
    }
}

static void kept_stack(void)
{
    maps();
    push_to("pushes", 0);
    pt[0] = (word)page[1] | P | W | U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT + 0x7f8) : "memory");
    push_to("pushes, INVLPG in between", 1);
    pt[0] = (word)page[2] | P | W | U;
    flush();
    push_to("pushes, MOV to CR3 in between", 2);
    pt[0] = (word)page[2] | P | U | A | D;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    struct code c = CODE("push %rcx; pop %rax; push %rax; pop %rcx");
    prep3(c);
    in.sp = AT + 0x800;
    run();
    fault("a push to a page made read-only", c, PF, E_P | E_W | E_U);
}

static void kept_pages(void)
{
    maps();
    for (unsigned i = 0; i < 4; i++) {
        uint64_t *ring = (uint64_t *)(page[i] + 0x80);
        for (unsigned n = 0; n < 4; n++) {
            ring[n * 2] = AT + 0x80 + (n + 1) % 4 * 16;
            ring[n * 2 + 1] = i + 1;
        }
    }
    follows_as("a page again and again", 1);
    pt[0] = (word)page[1] | P | W | U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT + 0x90) : "memory");
    follows_as("INVLPG in between", 2);
    pt[0] = (word)page[2] | P | W | U;
    flush();
    follows_as("MOV to CR3 in between", 3);
    pt[0] = (word)page[2] | P | U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    stops_writing("a page made read-only, INVLPG");
    pt[0] = (word)page[3] | P | W | U;
    follow(false);
    differs("SDM 3A 4.10.4.1: a page fault takes the page's entries away");
    same("a fault takes the page's entries away", got.si, CALLS * 16 * 4);
    pt[0] &= ~(W | D);
    flush();
    stops_writing("a page made read-only, MOV to CR3");
    pt[0] |= W;
    follow(true);
    same("a write sets D", pt[0] & (D | A), D | A);
    pt[0] &= ~(uint64_t)(D | A);
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    follow(false);
    same("reads set A", pt[0] & (D | A), A);
    pt[0] &= ~U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    follow(false);
    same("a supervisor's page", got.vector << 32 | got.error, (uint64_t)PF << 32 | E_P | E_U);
}

/* The same linear address is other code in each space, at level 3. */
static void code_of_spaces(void)
{
    if (!(cpuid(1, 0).c >> 17 & 1) || !(cpuid(7, 0).b >> 10 & 1)) {
        skip("code and PCID", "no such feature");
        return;
    }
    const uint64_t keep = 1ul << 63;
    maps();
    word cr3 = READ_REG("cr3") & ~0xffful, other = (word)pml4_2;
    for (unsigned i = 0; i < 4; i++) /* mov $i + 1, %eax; ret */
        *(uint64_t *)(page[i] + 0x40) = 0xc300000000b8 | (i + 1) << 8;
    for (unsigned i = 0; i < 512; i++)
        pml4_2[i] = boot_pml4[i];
    pml4_2[2] = (word)pdpt_2 | P | W | U;
    pt[0] = (word)page[0] | P | W | U;
    pt_2[0] = (word)page[1] | P | W | U;
    WRITE_REG("cr3", cr3);
    WRITE_REG("cr4", READ_REG("cr4") | PCID);
    for (unsigned i = 0; i < 3; i++) {
        WRITE_REG("cr3", cr3 | 1 | keep);
        calls_as("code of PCID 1", 1);
        WRITE_REG("cr3", other | 2 | keep);
        calls_as("code of PCID 2", 2);
    }
    pt_2[0] = (word)page[2] | P | W | U;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    calls_as("INVLPG, code", 3);
    WRITE_REG("cr3", cr3 | 1 | keep);
    calls_as("INVLPG elsewhere", 1);
    pt_2[0] = (word)page[3] | P | W | U;
    invpcid(0, 2, AT, DONE, 0);
    WRITE_REG("cr3", other | 2 | keep);
    calls_as("INVPCID 0 from elsewhere, code", 4);
    WRITE_REG("cr3", cr3 | 1 | keep);
    pt_2[0] = (word)page[1] | P | W | U;
    invpcid(1, 2, 0, DONE, 0);
    WRITE_REG("cr3", other | 2 | keep);
    calls_as("INVPCID 1 from elsewhere, code", 2);
    WRITE_REG("cr3", cr3 | 1 | keep);
    pt_2[0] = (word)page[2] | P | W | U;
    WRITE_REG("cr3", other | 2);
    calls_as("MOV to CR3 without bit 63, code", 3);
    pt[0] = (word)page[3] | P | W | U;
    invpcid(3, 0, 0, DONE, 0);
    WRITE_REG("cr3", cr3 | 1 | keep);
    calls_as("INVPCID 3 from elsewhere, code", 4);
    /* more spaces than anybody keeps; PCIDs change hands */
    for (unsigned i = 0; i < 40; i++) {
        bool odd = i & 1;
        WRITE_REG("cr3", (odd ? cr3 : other) | (3 + i % 20) | (i < 20 ? 0 : keep));
        calls_as("code of many PCIDs", odd ? 4 : 3);
    }
    /* global: all spaces have it, and INVLPG in one ends it in all */
    WRITE_REG("cr4", READ_REG("cr4") | PGE);
    pt[0] = pt_2[0] = (word)page[0] | P | W | U | G;
    WRITE_REG("cr3", other | 2);
    calls_as("global code in PCID 2", 1);
    WRITE_REG("cr3", cr3 | 1);
    calls_as("global code in PCID 1", 1);
    pt[0] = pt_2[0] = (word)page[1] | P | W | U | G;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    calls_as("INVLPG of global code", 2);
    WRITE_REG("cr3", other | 2 | keep);
    calls_as("INVLPG of global code elsewhere", 2);
    WRITE_REG("cr3", cr3);
    WRITE_REG("cr4", READ_REG("cr4") & ~(PCID | PGE));
    pt[0] = (word)page[2] | P | W | U;
    flush();
    calls_as("CR4.PCIDE cleared, code", 3);
}

void checks(void)
{
    load = CODE("movl (%rbx), %eax");
    store = CODE("movb %al, (%rbx)");
    call = CODE("mov $0xc3, %al; call *%rbx");
    levels();
    large();
    supervisor();
    translations();
    kept_stack();
    kept_pages();
    code_of_spaces();
}
