/* Single steps, breakpoints on code, data and ports, RF, and the debug registers (SDM 3B chapter
 * 18).
 *
 * kind: check64
 */
#include "lib/check.h"

#define DR6_CLEAR 0xffff0ff0ul
#define BS        0x4000u
#define BD        0x2000u
#define DE_BIT    8u /* CR4.DE */

/* DR7: breakpoint n enabled, kind 0 execute 1 write 2 port 3 access, length 1 2 4 8 bytes. */
#define DR7(n, kind, len)         \
    (0x400ul | 2ul << (2 * (n)) | \
     ((word)(kind) | ((len) == 8 ? 2ul : (len)-1ul) << 2) << (16 + 4 * (n)))

static struct {
    word ip, dr6, flags;
} trace[64];
static unsigned traps;
static uint8_t area[64] __attribute__((aligned(64)));

static bool on_debug(void)
{
    word *frame = (word *)got.frame;
    if (traps < 64) {
        trace[traps].ip = got.ip;
        trace[traps].dr6 = got.dr6;
        trace[traps].flags = got.flags;
    }
    traps++;
    if (got.dr6 & 0xf)
        frame[4] |= FL_RF; /* or a breakpoint on code would hit again */
    WRITE_REG("dr6", DR6_CLEAR);
    return traps < 64;
}

static bool on_breakpoint(void)
{
    return true;
}

static void go(struct code c, unsigned flags)
{
    traps = 0;
    WRITE_REG("dr6", DR6_CLEAR);
    prep0(c);
    in.flags = flags | 2;
    in.bx = (word)area;
    in.si = (word)area + 32;
    in.di = (word)area;
    in.cx = 3;
    run();
    WRITE_REG("dr7", 0x400);
}

/* Trap n was at an offset in the piece, with these bits of DR6. */
static void at(const char *name, struct code c, unsigned n, word offset, word dr6)
{
    same(name, n < traps ? (trace[n].ip - c.start) | (trace[n].dr6 & 0xffff) << 16 : ~0ul,
         offset | (dr6 | 0x0ff0) << 16);
}

static void steps(void)
{
    struct code c = CODE("nop; .byte 0x66, 0x90");
    go(c, FL_TF);
    same("TF: a trap after each instruction, none after INT n", traps, 2);
    at("TF: first trap", c, 0, 1, BS);
    at("TF: second trap", c, 1, 3, BS);
    same("TF: the frame has TF, not RF", trace[0].flags & (FL_TF | FL_RF), FL_TF);
    same("TF: clear in the handler of INT n", got.vector, DONE);
    c = CODE("mov %ss, %eax; mov %eax, %ss; nop; nop");
    go(c, FL_TF);
    same("TF: none after MOV to SS", traps, 3);
    at("TF: it comes after the instruction behind", c, 1, 5, BS);
    c = CODE("push $0x10; pop %rax; nop");
    go(c, FL_TF);
    same("TF: PUSH, POP, NOP", traps, 3);
    c = CODE("sti; cli");
    go(c, FL_TF);
    differs("SDM 3A 6.8.3 has STI hold back no trap");
    at("TF: a trap after STI", c, 0, 1, BS);
    c = CODE("rep movsb; nop");
    go(c, FL_TF);
    same("TF: REP traps after each iteration", traps, 4);
    at("TF: REP: RIP is the instruction", c, 0, 0, BS);
    at("TF: REP: after the last one, the next", c, 2, 2, BS);
    c = CODE("pushfq; orl $0x100, (%rsp); popfq; nop; nop");
    go(c, 0);
    same("POPF that sets TF", traps, 2);
    at("POPF that sets TF: the next instruction runs first", c, 0, 10, BS);
    c = CODE("pushfq; andl $0xfffffeff, (%rsp); popfq; nop");
    go(c, FL_TF);
    same("POPF that clears TF still traps", traps, 3);
    c = CODE("int3; nop");
    hooks[BP] = on_breakpoint;
    go(c, FL_TF);
    differs("SDM 3A 6.12.1: INT3 clears TF, IRET traps after one more instruction");
    same("TF over INT3", traps, 1);
    hooks[BP] = 0;
    c = CODE("nop; 7: ud2");
    go(c, FL_TF);
    fault("a fault under TF", c, UD, 0);
    same("… one trap before it", traps, 1);
    differs("SDM 3B 17.3.1.1: the image of a fault has RF");
    same("… the fault's frame has TF and RF", got.flags & (FL_TF | FL_RF), FL_TF | FL_RF);
    c = CODE(".byte 0xf1; nop");
    go(c, 0);
    differs("SDM 3A 6.12.1.2: INT1");
    same("INT1 is a #DB", traps, 1);
    differs("SDM 3A 6.12.1.2: INT1");
    at("INT1 is a trap, and sets no bit of DR6", c, 0, 1, 0);
    /* SYSCALL: FMASK decides about TF */
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
    wrmsr(0xc0000081, (uint64_t)CS0 << 32);
    struct code to = CODE("nop");
    wrmsr(0xc0000082, to.start);
    c = CODE("syscall");
    wrmsr(0xc0000084, FL_TF);
    go(c, FL_TF);
    same("TF over SYSCALL, masked", traps, 0);
    wrmsr(0xc0000084, 0);
    go(c, FL_TF);
    same("TF over SYSCALL, not masked", traps, 2);
    same("… after SYSCALL, at its target", trace[0].ip, to.start);
    c = CODE("push $0x10; push %rsp; addq $8, (%rsp); pushfq; orl $0x100, (%rsp); push $8; push "
             "$1f; iretq;"
             "1: nop; nop");
    go(c, 0);
    same("IRET that sets TF: after the next instruction", traps, 2);
    c = CODE("cpuid; rdtsc; nop");
    go(c, FL_TF);
    same("TF over CPUID and RDTSC", traps, 3);
    c = CODE("call 1f; nop; jmp 2f; 1: ret; 2: nop");
    go(c, FL_TF);
    same("TF over CALL, RET, JMP", traps, 5);
}

static void code_breaks(void)
{
    struct code c = CODE("nop; 7: nop; nop");
    WRITE_REG("dr0", c.at);
    WRITE_REG("dr7", DR7(0, 0, 1));
    go(c, 0);
    same("a breakpoint on code: once, as RF was set", traps, 1);
    at("… is a fault at the instruction", c, 0, 1, 1);
    same("… its frame has RF clear", trace[0].flags & FL_RF, 0);
    c = CODE("1: nop; loop 1b");
    WRITE_REG("dr2", c.start);
    WRITE_REG("dr7", DR7(2, 0, 1));
    go(c, 0);
    same("a breakpoint in a loop: RF holds for one instruction", traps, 3);
    at("… DR6 has B2", c, 2, 0, 4);
    c = CODE("nop; 7: nop; nop");
    WRITE_REG("dr0", c.at);
    WRITE_REG("dr7", DR7(0, 0, 1));
    go(c, FL_TF);
    differs("SDM 3A 6.9: a trap of the last instruction comes before a breakpoint on the next");
    same("a breakpoint and TF", traps, 4);
    differs("SDM 3A 6.9: a trap of the last instruction comes before a breakpoint on the next");
    at("… first the step", c, 0, 1, BS);
    differs("SDM 3A 6.9: a trap of the last instruction comes before a breakpoint on the next");
    at("… then the breakpoint", c, 1, 1, 1);
    WRITE_REG("dr0", c.at);
    WRITE_REG("dr7", 0x400);
    go(c, 0);
    same("a breakpoint that is not enabled", traps, 0);
    WRITE_REG("dr0", c.at);
    WRITE_REG("dr7", DR7(0, 0, 1));
    prep0(c);
    go(c, 0);
    WRITE_REG("dr7", DR7(0, 0, 1));
    traps = 0;
    prep0(c);
    in.ip = c.at;
    in.flags = FL_RF | 2;
    run();
    same("IRET with RF skips the breakpoint at its target", traps, 0);
    WRITE_REG("dr7", 0x400);
    c = CODE("rep movsb; 7: nop");
    WRITE_REG("dr1", c.at);
    WRITE_REG("dr7", DR7(1, 0, 1) | DR7(0, 0, 1));
    WRITE_REG("dr0", c.at);
    go(c, 0);
    same("two breakpoints at one instruction: one #DB", traps, 1);
    at("… with both bits", c, 0, 2, 3);
}

static void data(const char *name, struct code c, word addr, unsigned kind, unsigned len,
                 unsigned want)
{
    WRITE_REG("dr1", addr);
    WRITE_REG("dr7", DR7(1, kind, len));
    go(c, 0);
    same(name, traps, want);
    WRITE_REG("dr7", 0x400);
}

static void data_breaks(void)
{
    struct code store1 = CODE("movb %al, 8(%rbx); nop"), load1 = CODE("movb 8(%rbx), %al; nop");
    struct code store4 = CODE("movl %eax, 6(%rbx); nop"), store8 = CODE("movq %rax, 8(%rbx); nop");
    struct code rmw = CODE("lock incl 8(%rbx); nop");
    word a = (word)area;
    data("write: a store", store1, a + 8, 1, 1, 1);
    at("… is a trap: RIP is the next instruction", store1, 0, 3, 2);
    data("write: a load does not count", load1, a + 8, 1, 1, 0);
    data("access: a load", load1, a + 8, 3, 1, 1);
    data("access: a store", store1, a + 8, 3, 1, 1);
    data("write: the byte beside", store1, a + 9, 1, 1, 0);
    data("write: 4 bytes from 6 reach 8", store4, a + 8, 1, 1, 1);
    data("write: 4 bytes from 6 do not reach 10", store4, a + 10, 1, 1, 0);
    data("write: length 4, its last byte", CODE("movb %al, 11(%rbx)"), a + 8, 1, 4, 1);
    data("write: length 4, beyond it", CODE("movb %al, 12(%rbx)"), a + 8, 1, 4, 0);
    differs("SDM 3B 17.2.5: the length masks low bits of the address");
    data("write: length 2 ignores address bit 0", CODE("movb %al, 8(%rbx)"), a + 9, 1, 2, 1);
    data("write: length 8", CODE("movb %al, 15(%rbx)"), a + 8, 1, 8, 1);
    data("write: 8 bytes", store8, a + 15, 1, 1, 1);
    data("write: LOCK INC", rmw, a + 8, 1, 4, 1);
    data("write: PUSH", CODE("mov %rsp, %rdx; lea 16(%rbx), %rsp; push %rax; mov %rdx, %rsp"),
         a + 8, 1, 8, 1);
    struct code rep = CODE("rep stosb; nop");
    data("write: REP STOSB, the second byte", rep, a + 1, 1, 1, 1);
    at("… trap after that iteration", rep, 0, 0, 2);
    data("access: MOVS reads", CODE("movsb; nop"), a + 32, 3, 1, 1);
    data("access: none by LEA", CODE("lea 8(%rbx), %rax; nop"), a + 8, 3, 1, 0);
    *(uint16_t *)(area + 8) = DS0;
    struct code ss = CODE("movw 8(%rbx), %ss; nop; nop");
    data("access: MOV to SS holds the trap back", ss, a + 8, 3, 2, 1);
    differs("SDM 3A 6.8.3: MOV to SS holds debug traps back");
    at("… for one instruction", ss, 0, 4, 2);
    WRITE_REG("dr1", a + 8);
    WRITE_REG("dr7", DR7(1, 1, 1));
    struct code faulting = CODE("movw $8, %ax; push 8(%rbx); 7: movw %ax, %ss");
    go(faulting, 0);
    same("a fault after no write", traps, 0);
    data("write: XADD with both operands", CODE("xadd %eax, 8(%rbx)"), a + 8, 1, 4, 1);
    data("write: 16 bytes by FXSAVE",
         CODE("mov %cr4, %rax; or $0x200, %rax; mov %rax, %cr4; sub $600, %rsp;"
              "and $-16, %rsp; movups %xmm0, 32(%rbx)"),
         a + 40, 1, 4, 1);
}

#define IO_BREAKPOINTS "an access to a port leaves the guest before its breakpoint is looked at"

static void ports(void)
{
    struct code c = CODE("mov $0x80, %edx; outb %al, %dx; nop; inb %dx, %al; outb %al, $0x81; nop");
    WRITE_REG("cr4", READ_REG("cr4") | DE_BIT);
    WRITE_REG("dr3", 0x80);
    WRITE_REG("dr7", DR7(3, 2, 1));
    go(c, 0);
    not_virtualised(IO_BREAKPOINTS);
    same("I/O: OUT and IN", traps, 2);
    not_virtualised(IO_BREAKPOINTS);
    at("… a trap", c, 0, 6, 8);
    WRITE_REG("dr3", 0x80);
    WRITE_REG("dr7", DR7(3, 2, 2));
    go(c, 0);
    not_virtualised(IO_BREAKPOINTS);
    same("I/O: two ports", traps, 3);
    WRITE_REG("cr4", READ_REG("cr4") & ~(word)DE_BIT);
}

static void registers(void)
{
    struct code c = CODE("mov %rax, %dr7");
    hooks[DB] = 0;
    prep0(c);
    in.ax = 1ul << 32;
    run();
    fault("MOV to DR7 with a bit above 31", c, GP, 0);
    c = CODE("mov %rax, %dr6");
    prep0(c);
    in.ax = 1ul << 32;
    run();
    fault("MOV to DR6 with a bit above 31", c, GP, 0);
    c = CODE("mov %dr0, %rax");
    run3(c);
    fault("MOV from DR0 at level 3", c, GP, 0);
    c = CODE("mov %rax, %dr0; mov %dr0, %rdx");
    prep0(c);
    in.ax = 0x123456789abcdef0ul;
    run();
    same("DR0 has 64 bits", got.dx, 0x123456789abcdef0ul);
    WRITE_REG("dr7", 0);
    same("DR7: bit 10 is 1", READ_REG("dr7"), 0x400);
    WRITE_REG("dr6", 0);
    differs("SDM 3B 17.2.3: reserved bits of DR6 read as 1");
    same("DR6: reserved bits are 1", READ_REG("dr6") & 0xfffe0ff0, 0xfffe0ff0);
    WRITE_REG("dr6", DR6_CLEAR);
    WRITE_REG("cr4", READ_REG("cr4") | DE_BIT);
    c = CODE("mov %dr4, %rax");
    run0(c);
    fault("DR4 with CR4.DE", c, UD, 0);
    WRITE_REG("cr4", READ_REG("cr4") & ~(word)DE_BIT);
    c = CODE("mov %dr5, %rax");
    run0(c);
    done("DR5 without CR4.DE");
    same("… is DR7", got.ax, 0x400);
    WRITE_REG("dr7", 0x2400);
    c = CODE("mov %dr0, %rax");
    run0(c);
    differs("SDM 3B 17.2.4: DR7.GD");
    fault("DR7.GD: an access to a debug register", c, DB, 0);
    differs("SDM 3B 17.2.4: DR7.GD");
    same("… DR6.BD", got.dr6 & 0xffff, BD | 0x0ff0);
    differs("SDM 3B 17.2.4: DR7.GD");
    same("… GD is clear in the handler", READ_REG("dr7"), 0x400);
    WRITE_REG("dr7", 0x400);
    c = CODE(".byte 0x0f, 0x23, 0x00; nop"); /* the mod field is ignored */
    prep0(c);
    run();
    done("MOV to DR0 with mod 0: a register all the same");
}

void checks(void)
{
    hooks[DB] = on_debug;
    steps();
    code_breaks();
    data_breaks();
    ports();
    registers();
}
