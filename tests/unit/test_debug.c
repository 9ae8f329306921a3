/* machine/debug.h: breakpoints, watchpoints and steps of a whole machine, on the virtual clock, and
 * that a run with them ends as one without. The guest is a boot sector, started without firmware at
 * 0:7c00. */
#include "machine/debug.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#define RAM (2u << 20)

static uint8_t sector[512];
static uint8_t *ram;
static struct machine *m;
static struct err err;

static bool disk_read(void *opaque, uint64_t offset, void *buf, uint64_t len, struct err *e)
{
    memcpy(buf, sector + offset, len);
    return true;
}

static bool disk_write(void *opaque, uint64_t offset, const void *buf, uint64_t len, struct err *e)
{
    return true;
}

static bool disk_flush(void *opaque, struct err *e)
{
    return true;
}

static void disk_close(void *opaque) {}

static const struct blockdev_ops ops = {disk_read, disk_write, disk_flush, disk_close};

/* A machine that runs `code` at 0:7c00. */
static void start(const char *code, size_t n)
{
    static struct blockdev disk;
    memset(sector, 0, sizeof sector);
    memcpy(sector, code, n);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    disk = (struct blockdev){.ops = &ops, .size = sizeof sector};
    ram = aligned_alloc(PAGE_SIZE, RAM);
    memset(ram, 0, RAM);
    struct machine_config cfg = {.ram = ram, .ram_size = RAM, .cpus = 1, .clock = CLOCK_VIRTUAL};
    cfg.disk[0].dev = &disk;
    m = machine_new(&cfg, &err);
    assert_non_null(m);
}
#define START(code) start(code, sizeof(code) - 1)

static int stop_machine(void **state)
{
    machine_free(m);
    free(ram);
    m = NULL;
    return 0;
}

static struct cpu *cpu(void)
{
    return machine_cpu(m, 0);
}

static void expect(enum debug_why why, uint64_t rip)
{
    enum machine_event event;
    while ((event = machine_run(m, &err)) == MACHINE_SLICE)
        ;
    assert_int_equal(event, MACHINE_BREAK);
    assert_int_equal(debug_stop(m)->why, why);
    assert_int_equal(debug_stop(m)->cpu, 0);
    assert_int_equal(cpu()->s.rip, rip);
}

/* 7c00: xor ax, ax; 7c02: inc ax; 7c03: inc bx; 7c04: jmp 7c02 */
#define LOOP "\x31\xc0\x40\x43\xeb\xfc"

static void break_and_go_on(void **state)
{
    START(LOOP);
    assert_true(debug_break_add(m, 0x7c03));
    for (unsigned i = 1; i < 5; i++) {
        debug_run_all(m);
        expect(DEBUG_BREAK, 0x7c03);
        assert_int_equal(debug_stop(m)->addr, 0x7c03);
        assert_int_equal(cpu()->s.r[R_AX], i);
        assert_int_equal(cpu()->s.r[R_BX] & 0xffff, i - 1);
    }
    assert_true(debug_break_remove(m, 0x7c03));
    assert_false(debug_break_remove(m, 0x7c03));
    debug_run_all(m);
    assert_int_equal(machine_run(m, &err), MACHINE_SLICE);
}

/* A breakpoint into code that was translated and linked already. */
static void break_in_hot_code(void **state)
{
    START(LOOP);
    assert_int_equal(machine_run(m, &err), MACHINE_SLICE);
    assert_true(debug_break_add(m, 0x7c04));
    debug_run_all(m);
    expect(DEBUG_BREAK, 0x7c04);
    /* the same address twice: both must go */
    assert_true(debug_break_add(m, 0x7c04));
    assert_true(debug_break_remove(m, 0x7c04));
    debug_run_all(m);
    expect(DEBUG_BREAK, 0x7c04);
}

/* The offset in the page is that of a breakpoint, the page is not. */
static void other_page(void **state)
{
    START(LOOP);
    assert_true(debug_break_add(m, 0x8c03));
    debug_run_all(m);
    assert_int_equal(machine_run(m, &err), MACHINE_SLICE);
}

/* mov cx, 5; mov di, 9000; 7c06: rep stosb; 7c08: jmp 7c00 */
#define REP "\xb9\x05\x00\xbf\x00\x90\xf3\xaa\xeb\xf6"

static void rep_is_one_instruction(void **state)
{
    START(REP);
    assert_true(debug_break_add(m, 0x7c06));
    for (unsigned i = 0; i < 3; i++) {
        debug_run_all(m);
        expect(DEBUG_BREAK, 0x7c06);
        assert_int_equal(cpu()->s.r[R_CX] & 0xffff, 5);
    }
    debug_act(m, 0, DEBUG_STEPS, 0, 0); /* but its iterations are steps */
    expect(DEBUG_STEP, 0x7c06);
    assert_int_equal(cpu()->s.r[R_CX] & 0xffff, 4);
}

static void steps(void **state)
{
    static const uint16_t at[] = {0x7c02, 0x7c03, 0x7c04, 0x7c02, 0x7c03};
    START(LOOP);
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        assert_int_equal(debug_step(m, 0, &err), MACHINE_BREAK);
        assert_int_equal(debug_stop(m)->why, DEBUG_STEP);
        assert_int_equal(cpu()->s.rip, at[i]);
    }
    debug_act(m, 0, DEBUG_STEPS, 0x7c02, 0x7c04); /* on, until outside */
    expect(DEBUG_STEP, 0x7c04);
}

/* 7c00: mov ax, 1234; 7c03: mov [9000], ax; 7c06: mov bx, [9000]; 7c0a: inc byte [9001]; 7c0e: jmp
 * 7c00 */
#define TOUCH "\xb8\x34\x12\xa3\x00\x90\x8b\x1e\x00\x90\xfe\x06\x01\x90\xeb\xf0"

static void watches(void **state)
{
    START(TOUCH);
    assert_true(debug_watch_add(m, 0x9000, 1, WATCH_WRITE));
    debug_run_all(m);
    expect(DEBUG_WATCH, 0x7c06);
    assert_int_equal(debug_stop(m)->addr, 0x9000);
    assert_int_equal(ram[0x9000], 0x34);
    assert_true(debug_watch_remove(m, 0x9000, 1, WATCH_WRITE));
    assert_true(debug_watch_add(m, 0x9001, 1, WATCH_READ));
    debug_run_all(m);
    expect(DEBUG_WATCH, 0x7c0a);
    assert_true(debug_watch_add(m, 0x9001, 4, WATCH_READ | WATCH_WRITE));
    debug_run_all(m);
    expect(DEBUG_WATCH, 0x7c0e);
    assert_int_equal(ram[0x9001], 0x13);
    debug_clear(m);
    debug_run_all(m);
    assert_int_equal(machine_run(m, &err), MACHINE_SLICE);
}

#define VECTOR "\x00\x80\x00\x00" /* 0:8000 */

/* A step through an exception ends at its handler: vector 0 leads to 0:8000. */
static void step_into_exception(void **state)
{
    START("\x31\xc9\xf7\xf1"); /* xor cx, cx; div cx */
    memcpy(ram, VECTOR, 4);
    ram[0x8000] = 0x90;
    assert_int_equal(debug_step(m, 0, &err), MACHINE_BREAK);
    assert_int_equal(debug_step(m, 0, &err), MACHINE_BREAK);
    assert_int_equal(cpu()->s.rip, 0x8000);
}

/* A program that uses the timer's interrupt: 7c00: sti; hlt loop, with vector 8 at 0:8000 that
 * counts at 9000 and ends the interrupt. */
static void start_timer(void)
{
    static const uint8_t handler[] = {0xff, 0x06, 0x00, 0x90, 0x50, 0xb0,
                                      0x20, 0xe6, 0x20, 0x58, 0xcf};
    /* PIC: vectors from 8, all but IRQ 0 masked; the timer, each 256 counts; sti; xor ax, ax; 7c23:
     * inc ax; cmp ax, 3000; jnz 7c23; 7c29: hlt; xor ax, ax; jmp 7c23 */
    START("\xb0\x11\xe6\x20\xb0\x08\xe6\x21\xb0\x04\xe6\x21\xb0\x01\xe6\x21\xb0\xfe\xe6\x21"
          "\xb0\x34\xe6\x43\xb0\x00\xe6\x40\xb0\x01\xe6\x40\xfb\x31\xc0\x40\x3d\xb8\x0b\x75\xfa\xf4"
          "\x31\xc0\xeb\xf5");
    memcpy(ram + 0x8000, handler, sizeof handler);
    memcpy(ram + 0x20, VECTOR, 4);
}

static uint64_t run_to(uint64_t n)
{
    machine_stop_after(m, n);
    for (;;) {
        enum machine_event event = machine_run(m, &err);
        assert_int_not_equal(event, MACHINE_IDLE);
        if (event == MACHINE_STOPPED)
            return machine_hash(m);
        if (event == MACHINE_BREAK)
            debug_run_all(m);
    }
}

static void looking_changes_nothing(void **state)
{
    start_timer();
    uint64_t plain = run_to(2000000);
    assert_true(ram[0x9000] > 1);
    stop_machine(state);

    start_timer();
    assert_true(debug_break_add(m, 0x8000));
    assert_true(debug_break_add(m, 0x7c2a));
    uint64_t broken = run_to(2000000);
    stop_machine(state);
    assert_int_equal(broken, plain);

    start_timer();
    for (unsigned i = 0; i < 5000; i++) /* through halts and interrupts */
        assert_int_equal(debug_step(m, 0, &err), MACHINE_BREAK);
    debug_run_all(m);
    assert_int_equal(run_to(2000000), plain);
}

/* With interrupts held off, no step ends in the handler, but for the one that wakes from HLT. */
static void steps_without_interrupts(void **state)
{
    unsigned in_handler = 0;
    start_timer();
    run_to(10000);
    machine_stop_after(m, ~0ull);
    debug_step_flags(m, DEBUG_NOIRQ);
    for (unsigned i = 0; i < 30000; i++) {
        uint32_t was = cpu()->s.activity;
        assert_int_equal(debug_step(m, 0, &err), MACHINE_BREAK);
        if (cpu()->s.rip == 0x8000) {
            assert_int_equal(was, ACT_HALT);
            in_handler++;
        }
    }
    assert_true(in_handler > 0);
}

static void memory(void **state)
{
    uint8_t buf[8] = {1, 2, 3, 4};
    START(LOOP);
    assert_int_equal(debug_read(m, 0, false, 0x7c00, buf, 6), 6);
    assert_memory_equal(buf, LOOP, 6);
    machine_run(m, &err);
    assert_int_equal(debug_write(m, 0, true, 0x7c04, "\xf4", 1), 1); /* hlt, into hot code */
    while (machine_run(m, &err) == MACHINE_SLICE && cpu()->s.activity == ACT_RUN)
        ;
    assert_int_equal(cpu()->s.activity, ACT_HALT);
    assert_int_equal(debug_read(m, 0, true, RAM - 4, buf, 8), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(break_and_go_on, stop_machine),
        cmocka_unit_test_teardown(break_in_hot_code, stop_machine),
        cmocka_unit_test_teardown(other_page, stop_machine),
        cmocka_unit_test_teardown(rep_is_one_instruction, stop_machine),
        cmocka_unit_test_teardown(steps, stop_machine),
        cmocka_unit_test_teardown(watches, stop_machine),
        cmocka_unit_test_teardown(step_into_exception, stop_machine),
        cmocka_unit_test_teardown(looking_changes_nothing, stop_machine),
        cmocka_unit_test_teardown(steps_without_interrupts, stop_machine),
        cmocka_unit_test_teardown(memory, stop_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
