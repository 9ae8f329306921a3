/* Paging in protected mode: 2-level tables with and without 4 MiB pages, and PAE (SDM 3A 4.3, 4.4,
 * 4.6, 4.7): rights, WP, NX, SMEP, SMAP, accessed and dirty bits, reserved bits, error codes,
 * global pages and INVLPG.
 *
 * kind: check32
 */
#include "lib/check.h"

#define P  1u
#define W  2u
#define U  4u
#define A  0x20u
#define D  0x40u
#define PS 0x80u
#define G  0x100u
#define NX (1ull << 63)

#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define PSE    0x10u
#define PAE    0x20u
#define PGE    0x80u
#define SMEP   0x100000u
#define SMAP   0x200000u

/* Error code bits. */
#define E_P 1u
#define E_W 2u
#define E_U 4u
#define E_R 8u
#define E_I 16u

#define AT   0x40000000u /* the page under test */
#define NEXT 0x40001000u
#define BIG  0x40400000u /* the large page under test */

static uint32_t pd[1024] __attribute__((aligned(4096)));
static uint32_t pt[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32)));
static uint64_t pd8[4][512] __attribute__((aligned(4096)));
static uint64_t pt8[512] __attribute__((aligned(4096)));
static uint8_t page[4][4096] __attribute__((aligned(4096)));
static bool pae;

static void set_cr3(void)
{
    WRITE_REG("cr3", pae ? addr(pdpt) : addr(pd));
}

/* Entry of the page table for AT, and of the directory that holds it. */
static void pte(uint64_t v)
{
    if (pae)
        pt8[0] = v;
    else
        pt[0] = (uint32_t)v;
    set_cr3();
}

static void pde(uint64_t v)
{
    if (pae)
        pd8[1][0] = v;
    else
        pd[AT >> 22] = (uint32_t)v;
    set_cr3();
}

static void big(uint64_t v)
{
    if (pae)
        pd8[1][2] = v;
    else
        pd[BIG >> 22] = (uint32_t)v;
    set_cr3();
}

static uint64_t get_pte(void)
{
    return pae ? pt8[0] : pt[0];
}

static uint64_t get_pde(void)
{
    return pae ? pd8[1][0] : pd[AT >> 22];
}

static uint64_t get_big(void)
{
    return pae ? pd8[1][2] : pd[BIG >> 22];
}

/* The low 1 GiB and the top one map to themselves, for level 3 too. */
static void maps(void)
{
    uint64_t table = (pae ? addr(pt8) : addr(pt)) | P | W | U;
    for (unsigned i = 0; i < 1024; i++) {
        pd[i] = (i << 22) | P | W | U | PS;
        pt[i] = 0;
    }
    for (unsigned i = 0; i < 2048; i++)
        pd8[i / 512][i % 512] = ((uint64_t)i << 21) | P | W | U | PS;
    for (unsigned i = 0; i < 512; i++)
        pt8[i] = 0;
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = addr(pd8[i]) | P;
    pde(table);
    pte(addr(page[0]) | P | W | U);
    if (pae)
        pt8[1] = addr(page[1]) | P | W | U;
    else
        pt[1] = addr(page[1]) | P | W | U;
    page[0][0] = 0xc3; /* RET */
}

static struct code load, store, call;

/* EBX is the address. */
static void touch(const char *name, struct code c, bool user, uint32_t at, unsigned error)
{
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

static void rights(void)
{
    maps();
    touch("present", load, true, AT, DONE);
    pte(addr(page[0]) | W | U);
    touch("PTE not present, read at level 0", load, false, AT, 0);
    touch("PTE not present, read at level 3", load, true, AT, E_U);
    touch("PTE not present, write at level 3", store, true, AT, E_U | E_W);
    touch("PTE not present: CR2 is the byte", load, true, AT + 0x123, E_U);
    pte(addr(page[0]) | P | W);
    touch("supervisor page, level 0", load, false, AT, DONE);
    touch("supervisor page, read at level 3", load, true, AT, E_U | E_P);
    touch("supervisor page, write at level 3", store, true, AT, E_U | E_P | E_W);
    pte(addr(page[0]) | P | U);
    touch("read-only page, write at level 3", store, true, AT, E_U | E_P | E_W);
    touch("read-only page, write at level 0, WP 0", store, false, AT, DONE);
    WRITE_REG("cr0", READ_REG("cr0") | CR0_WP);
    touch("read-only page, write at level 0, WP 1", store, false, AT, E_P | E_W);
    WRITE_REG("cr0", READ_REG("cr0") & ~CR0_WP);
    pte(addr(page[0]) | P | W | U);
    pde((get_pde() & ~(uint64_t)U));
    touch("supervisor directory entry", load, true, AT, E_U | E_P);
    pde((get_pde() & ~(uint64_t)W) | U);
    touch("read-only directory entry", store, true, AT, E_U | E_P | E_W);
    pde(get_pde() & ~(uint64_t)P);
    touch("directory entry not present", store, true, AT, E_U | E_W);
    maps();
    if (pae)
        pt8[1] = 0;
    else
        pt[1] = 0;
    set_cr3();
    struct code cross = CODE("movl %eax, (%ebx)");
    *(uint32_t *)(page[0] + 4092) = 0x55555555;
    prep3(cross);
    in.bx = AT + 4094;
    run();
    fault("a write across pages, the second not present", cross, PF, E_U | E_W);
    same("… CR2 is the second page", got.cr2, NEXT);
    same("… and nothing was written", *(uint32_t *)(page[0] + 4092), 0x55555555);
    *(uint8_t *)(page[0] + 4095) = 0xb8; /* MOV EAX, imm32: its operand is on the next page */
    prep3(cross);
    in.ip = AT + 4095;
    run();
    same("an instruction across pages: EIP is its beginning", got.ip, AT + 4095);
    same("… CR2 is the second page", got.cr2, NEXT);
    /* implicit supervisor access from level 3 */
    maps();
    pte(addr(gdt) | P | W);
    struct code seg = CODE("mov $0x23, %eax; mov %eax, %fs");
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } g = {GDT_SIZE * 8 - 1, AT + (addr(gdt) & 0xfff)};
    __asm__ volatile("lgdt %0" : : "m"(g));
    run3(seg);
    done("the GDT on a supervisor page, read from level 3");
    reset_tables();
}

static void accessed(void)
{
    maps();
    touch("A: read", load, true, AT, DONE);
    same("A: the PTE has A, not D", get_pte() & (A | D), A);
    same("A: the PDE has A", get_pde() & (A | D), A);
    touch("D: write", store, true, AT, DONE);
    same("D: the PTE has both", get_pte() & (A | D), A | D);
    same("D: not in the PDE", get_pde() & (A | D), A);
    maps();
    pte(addr(page[0]) | P | W);
    touch("A: refused", load, true, AT, E_U | E_P);
    same("A: no D after a refused access", get_pte() & D, 0);
    maps();
    pte(addr(page[0]) | P | U);
    touch("D: refused write", store, true, AT, E_U | E_P | E_W);
    same("D: not set by a refused write", get_pte() & D, 0);
    maps();
    big(addr(page) & 0xffc00000 ? 0x800000 | P | W | U | PS : 0 | P | W | U | PS);
    touch("A: large page read", load, true, BIG, DONE);
    same("A: large page", get_big() & (A | D), A);
    touch("D: large page written", CODE("movb (%ebx), %al; movb %al, (%ebx)"), true, BIG, DONE);
    same("D: large page", get_big() & (A | D), A | D);
    /* a dirty bit cleared in memory is set again once the translation is dropped */
    maps();
    touch("D: write", store, true, AT, DONE);
    if (pae)
        pt8[0] &= ~(uint64_t)D;
    else
        pt[0] &= ~D;
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    touch("D: write after INVLPG", store, true, AT, DONE);
    same("D: set again", get_pte() & D, D);
}

static void reserved(void)
{
    unsigned width = (cpuid(0x80000000, 0).a >= 0x80000008 ? cpuid(0x80000008, 0).a : 36) & 0xff;
    maps();
    if (!pae) {
        unsigned pse36 = cpuid(1, 0).d >> 17 & 1;
        big(0x00200000 | P | W | U | PS); /* bit 21 is reserved, whatever PSE-36 gives */
        touch("4 MiB page: bit 21 is reserved", load, true, BIG, E_U | E_P | E_R);
        touch("reserved bit, write at level 0", store, false, BIG, E_P | E_W | E_R);
        big(0x00001000 | P | W | U | PS);
        touch("4 MiB page: bit 12 is PAT, not reserved", load, true, BIG, DONE);
        if (!pse36) {
            big(0x00002000 | P | W | U | PS);
            touch("4 MiB page: bit 13 without PSE-36", load, true, BIG, E_U | E_P | E_R);
        } else {
            big(0x00002000 | P | W | U | PS); /* bit 32 of the address: beyond RAM or not */
            touch("4 MiB page: bit 13 is address bit 32", load, true, BIG, DONE);
        }
        big(0x00200000 | W | U | PS);
        touch("not present comes before reserved", load, true, BIG, E_U);
        return;
    }
    big(0x00002000 | P | W | U | PS);
    touch("2 MiB page: bit 13 is reserved", load, true, BIG, E_U | E_P | E_R);
    big(0x00100000 | P | W | U | PS);
    touch("2 MiB page: bit 20 is reserved", load, true, BIG, E_U | E_P | E_R);
    maps();
    pte(addr(page[0]) | P | W | U | 1ull << width);
    touch("PTE: a bit beyond the physical address", load, true, AT, E_U | E_P | E_R);
    pte(addr(page[0]) | P | W | U | 1ull << 62);
    touch("PTE: bit 62", load, true, AT, E_U | E_P | E_R);
    maps();
    pde(get_pde() | 1ull << 52);
    touch("PDE: bit 52", load, true, AT, E_U | E_P | E_R);
    maps();
    struct code c = CODE("mov %cr3, %eax; 7: mov %eax, %cr3");
    pdpt[1] |= 2;
    run0(c);
    differs("SDM 3A 4.4.1: a reserved bit in a PDPTE is #GP(0) at MOV to CR3");
    fault("PDPTE: bit 1 at MOV to CR3", c, GP, 0);
    pdpt[1] = addr(pd8[1]) | P | 1ull << 63;
    run0(c);
    differs("SDM 3A 4.4.1: a reserved bit in a PDPTE is #GP(0) at MOV to CR3");
    fault("PDPTE: bit 63 at MOV to CR3", c, GP, 0);
    pdpt[1] = 2; /* not present: nothing is reserved */
    run0(c);
    done("PDPTE: not present");
    touch("PDPTE: not present", load, true, AT, E_U);
    pdpt[1] = addr(pd8[1]) | P;
    differs("SDM 3A 4.4.1: PDPTEs are loaded by MOV to CR3");
    touch("PDPTEs are registers: a write to memory is not seen", load, true, AT, E_U);
    set_cr3();
    touch("… before MOV to CR3", load, true, AT, DONE);
}

static void nx(void)
{
    bool have = cpuid(0x80000001, 0).d >> 20 & 1;
    maps();
    touch("execute", call, true, AT, DONE);
    if (!pae || !have) {
        pte(addr(page[0]) | W | U);
        touch("fetch from a page not present: no I bit without NX", call, true, AT, E_U);
        return;
    }
    pte(addr(page[0]) | P | W | U | NX);
    touch("NX without EFER.NXE is a reserved bit", load, true, AT, E_U | E_P | E_R);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
    set_cr3();
    touch("NX: read", load, true, AT, DONE);
    touch("NX: fetch at level 3", call, true, AT, E_U | E_P | E_I);
    touch("NX: fetch at level 0", call, false, AT, E_P | E_I);
    pte(addr(page[0]) | W | U);
    touch("fetch from a page not present", call, true, AT, E_U | E_I);
    maps();
    pde(get_pde() | NX);
    touch("NX in the PDE", call, true, AT, E_U | E_P | E_I);
    maps();
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
}

static void smep_smap(void)
{
    uint32_t features = cpuid(0, 0).a >= 7 ? cpuid(7, 0).b : 0;
    maps();
    /* the program's own pages must be supervisor ones then */
    for (unsigned i = 0; i < 8; i++) {
        pd[i] &= ~U;
        pd8[0][i] &= ~(uint64_t)U;
    }
    set_cr3();
    if (features >> 7 & 1) {
        WRITE_REG("cr4", READ_REG("cr4") | SMEP);
        touch("SMEP: fetch of a user page at level 0", call, false, AT, E_P | E_I);
        touch("SMEP: read of it", load, false, AT, DONE);
        pde(get_pde() & ~(uint64_t)U);
        touch("SMEP: a directory entry makes it a supervisor page", call, false, AT, DONE);
        pde(get_pde() | U);
        WRITE_REG("cr4", READ_REG("cr4") & ~SMEP);
    } else {
        skip("SMEP", "no such feature");
    }
    if (features >> 20 & 1) {
        WRITE_REG("cr4", READ_REG("cr4") | SMAP);
        touch("SMAP: read of a user page at level 0", load, false, AT, E_P);
        touch("SMAP: write", store, false, AT, E_P | E_W);
        touch("SMAP: fetch is not its matter", call, false, AT, DONE);
        prep0(load);
        in.bx = AT;
        in.flags = FL_AC | 2;
        run();
        done("SMAP: AC lets it through");
        struct code c = CODE("stac; movl (%ebx), %eax; clac; 7: movl (%ebx), %eax");
        touch("SMAP: STAC and CLAC", c, false, AT, E_P);
        WRITE_REG("cr4", READ_REG("cr4") & ~SMAP);
        c = CODE("stac");
        maps();
        run3(c);
        fault("STAC at level 3", c, UD, 0);
    } else {
        skip("SMAP", "no such feature");
    }
    maps();
}

static void global_pages(void)
{
    if (!(cpuid(1, 0).d >> 13 & 1)) {
        skip("global pages", "no such feature");
        return;
    }
    maps();
    WRITE_REG("cr4", READ_REG("cr4") | PGE);
    pte(addr(page[0]) | P | W | U | G);
    page[0][8] = 0x11;
    page[2][8] = 0x22;
    struct code c = CODE("movb (%ebx), %al");
    touch("G: fill the TLB", c, true, AT + 8, DONE);
    pte(addr(page[2]) | P | W | U | G);
    touch("G: read", c, true, AT + 8, DONE);
    same("G: MOV to CR3 kept it or not: either value",
         (got.ax & 0xff) == 0x11 || (got.ax & 0xff) == 0x22, 1);
    __asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
    touch("G: read", c, true, AT + 8, DONE);
    same("G: INVLPG drops it", got.ax & 0xff, 0x22);
    pte(addr(page[0]) | P | W | U | G);
    WRITE_REG("cr4", READ_REG("cr4") & ~PGE);
    touch("G: read", c, true, AT + 8, DONE);
    same("G: a change of CR4.PGE drops it", got.ax & 0xff, 0x11);
}

static void in_mode(bool is_pae, const char *name)
{
    pae = is_pae;
    note(name, pae);
    maps();
    WRITE_REG("cr4", pae ? PSE | PAE : PSE);
    set_cr3();
    WRITE_REG("cr0", READ_REG("cr0") | CR0_PG);
    rights();
    accessed();
    reserved();
    nx();
    smep_smap();
    global_pages();
    WRITE_REG("cr0", READ_REG("cr0") & ~CR0_PG);
}

void checks(void)
{
    load = CODE("movl (%ebx), %eax");
    store = CODE("movb %al, (%ebx)");
    call = CODE("mov $0xc3, %al; call *%ebx");
    in_mode(false, "32-bit paging");
    in_mode(true, "PAE paging");
    struct code c =
        CODE("mov %cr0, %eax; and $0xfffffffe, %eax; or $0x80000000, %eax; 7: mov %eax, %cr0");
    if (is_tcg())
        skip("CR0: PG without PE", "QEMU goes on without protection");
    else
        run0(c), fault("CR0: PG without PE", c, GP, 0);
    c = CODE("mov %cr0, %eax; or $0x20000000, %eax; and $0xbfffffff, %eax; 7: mov %eax, %cr0");
    run0(c);
    differs("SDM 2B MOV: NW without CD is #GP(0)");
    fault("CR0: NW without CD", c, GP, 0);
    WRITE_REG("cr0", 0x11);
    c = CODE("mov %cr4, %eax; or $0x80000000, %eax; 7: mov %eax, %cr4");
    if (is_tcg())
        skip("CR4: a reserved bit", "QEMU lets it through");
    else
        run0(c), fault("CR4: a reserved bit", c, GP, 0);
    c = CODE("mov %cr4, %eax; or $0x20000, %eax; 7: mov %eax, %cr4");
    if (is_tcg())
        skip("CR4.PCIDE outside long mode", "QEMU lets it through");
    else
        run0(c), fault("CR4.PCIDE outside long mode", c, GP, 0);
    c = CODE("mov %cr3, %eax");
    run3(c);
    fault("MOV from CR3 at level 3", c, GP, 0);
    c = CODE("invlpg (%ebx)");
    run3(c);
    fault("INVLPG at level 3", c, GP, 0);
    c = CODE("mov %cr1, %eax");
    run0(c);
    fault("MOV from CR1", c, UD, 0);
}
