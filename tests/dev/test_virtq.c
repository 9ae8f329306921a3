/* The split ring, from the device's side: what a driver may lay there, and what it may not. */
#include "dev.h"
#include "virtio/queue.h"

#define RAM_SIZE 0x200000
#define DESC     0x1000
#define AVAIL    0x2000
#define USED     0x3000
#define TABLE    0x4000
#define DATA     0x8000
#define SIZE     8

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

static uint8_t ram[RAM_SIZE] __attribute__((aligned(PAGE_SIZE)));
static struct bus bus;
static struct virtq_state s;
static struct virtq q;
static struct virtq_chain c;
static const char *why;

static void start(uint64_t features)
{
    memset(ram, 0, sizeof ram);
    bus_init(&bus, ram, sizeof ram, NULL);
    virtq_reset(&s, SIZE);
    s.desc = DESC;
    s.avail = AVAIL;
    s.used = USED;
    assert_true(virtq_valid(&s));
    q = (struct virtq){&s, &bus, features};
    why = NULL;
}

static void desc(uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
                 unsigned next)
{
    uint8_t *d = ram + table + 16 * i;
    put_le64(d, addr);
    put_le32(d + 8, len);
    put_le16(d + 12, (uint16_t)flags);
    put_le16(d + 14, (uint16_t)next);
}

static void offer(unsigned head)
{
    uint16_t idx = get_le16(ram + AVAIL + 2);
    put_le16(ram + AVAIL + 4 + 2 * (idx % SIZE), (uint16_t)head);
    put_le16(ram + AVAIL + 2, (uint16_t)(idx + 1));
}

static void end(void)
{
    bus_free(&bus);
}

static void broken(const char *text)
{
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_BROKEN);
    assert_non_null(strstr(why, text));
    end();
}

static void test_a_chain_is_taken_and_given_back(void **state)
{
    uint8_t buf[40];
    start(0);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_EMPTY);
    desc(DESC, 5, DATA, 10, NEXT, 2);
    desc(DESC, 2, DATA + 100, 20, NEXT, 7);
    desc(DESC, 7, DATA + 200, 30, NEXT | WRITE, 0);
    desc(DESC, 0, DATA + 300, 1, WRITE, 99);
    offer(5);
    for (unsigned i = 0; i < 400; i++)
        ram[DATA + i] = (uint8_t)i;
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
    assert_int_equal(c.head, 5);
    assert_int_equal(c.count, 4);
    assert_int_equal(c.readable, 2);
    assert_int_equal(c.out_len, 30);
    assert_int_equal(c.in_len, 31);
    assert_true(virtq_read(&q, &c, 8, buf, 4));
    assert_memory_equal(buf, ((uint8_t[]){8, 9, 100, 101}), 4);
    assert_true(virtq_write(&q, &c, 29, "xy", 2));
    assert_int_equal(ram[DATA + 229], 'x');
    assert_int_equal(ram[DATA + 300], 'y');
    assert_true(virtq_give(&q, &c, 31));
    assert_int_equal(get_le16(ram + USED + 2), 1);
    assert_int_equal(get_le32(ram + USED + 4), 5);
    assert_int_equal(get_le32(ram + USED + 8), 31);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_EMPTY);
    end();
}

static void test_indices_wrap(void **state)
{
    start(0);
    desc(DESC, 3, DATA, 1, WRITE, 0);
    for (unsigned i = 0; i < 70000; i++) {
        offer(3);
        assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
        assert_true(virtq_give(&q, &c, i));
        assert_int_equal(get_le16(ram + USED + 2), (uint16_t)(i + 1));
        assert_int_equal(get_le32(ram + USED + 8 + 8 * (i % SIZE)), i);
    }
    end();
}

static void test_indirect(void **state)
{
    start(VIRTQ_INDIRECT);
    desc(DESC, 1, DATA, 4, NEXT, 2);
    desc(DESC, 2, TABLE, 32, INDIRECT | WRITE, 0); /* WRITE means nothing here: 2.7.5.3.2 */
    desc(TABLE, 0, DATA + 8, 8, NEXT, 1);
    desc(TABLE, 1, DATA + 16, 16, WRITE, 0);
    offer(1);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.out_len, 12);
    assert_int_equal(c.in_len, 16);
    end();
}

static void test_indirect_tables_that_are_none(void **state)
{
    start(0);
    desc(DESC, 0, TABLE, 16, INDIRECT, 0);
    offer(0);
    broken("not agreed on");

    start(VIRTQ_INDIRECT);
    desc(DESC, 0, TABLE, 16, INDIRECT | NEXT, 1);
    offer(0);
    broken("goes on");

    static const uint32_t sizes[] = {0, 8, 24};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        start(VIRTQ_INDIRECT);
        desc(DESC, 0, TABLE, sizes[i], INDIRECT, 0);
        offer(0);
        broken("broken size");
    }

    start(VIRTQ_INDIRECT);
    desc(DESC, 0, TABLE, 32, INDIRECT, 0);
    desc(TABLE, 0, TABLE, 32, INDIRECT, 0);
    offer(0);
    broken("in another");

    start(VIRTQ_INDIRECT);
    desc(DESC, 0, TABLE, 32, INDIRECT, 0);
    desc(TABLE, 0, DATA, 1, NEXT, 2);
    offer(0);
    broken("beyond the table's end");

    start(VIRTQ_INDIRECT);
    desc(DESC, 0, 0xfffffffffffffff0ull, 0xfffffff0u, INDIRECT, 0);
    offer(0);
    broken("not in memory");
}

static void test_chains_that_are_none(void **state)
{
    start(0);
    offer(SIZE);
    broken("beyond the table's end");

    start(0);
    desc(DESC, 0, DATA, 1, NEXT, 0xffff);
    offer(0);
    broken("beyond the table's end");

    start(0);
    desc(DESC, 0, DATA, 1, NEXT, 1);
    desc(DESC, 1, DATA, 1, NEXT, 0);
    offer(0);
    broken("loop");

    start(0);
    desc(DESC, 0, DATA, 1, NEXT | WRITE, 1);
    desc(DESC, 1, DATA, 1, 0, 0);
    offer(0);
    broken("comes after");

    start(0);
    desc(DESC, 0, DATA, 0xffffffff, NEXT, 1);
    desc(DESC, 1, DATA, 2, WRITE, 0);
    offer(0);
    broken("4 GiB");

    start(0);
    put_le16(ram + AVAIL + 2, SIZE + 1);
    broken("more chains");
}

static void test_rings_that_are_nowhere(void **state)
{
    start(0);
    s.avail = RAM_SIZE;
    assert_true(virtq_valid(&s));
    broken("available ring is not in memory");

    start(0);
    s.desc = 0xfee00000;
    offer(0);
    broken("descriptors are not in memory");

    start(0);
    desc(DESC, 0, DATA, 1, WRITE, 0);
    s.used = RAM_SIZE;
    offer(0);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
    assert_false(virtq_give(&q, &c, 0));
    end();

    start(VIRTQ_EVENTS);
    s.used = RAM_SIZE; /* where the event word would go */
    broken("not in memory");
}

static void test_buffers_that_are_nowhere(void **state)
{
    uint8_t buf[64];
    start(0);
    desc(DESC, 0, RAM_SIZE - 8, 16, NEXT, 1);
    desc(DESC, 1, 0xfffffffffffffff8ull, 16, WRITE, 0);
    offer(0);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
    assert_false(virtq_read(&q, &c, 0, buf, 16));
    assert_int_equal(buf[0], 0);
    assert_int_equal(buf[8], 0xff);
    assert_true(virtq_read(&q, &c, 0, buf, 8));
    assert_false(virtq_write(&q, &c, 0, buf, 16));
    end();
}

static void test_where_a_queue_may_be(void **state)
{
    static const struct virtq_state good = {.desc = 0x10, .avail = 2, .used = 4, .size = SIZE};
    struct virtq_state v = good;
    assert_true(virtq_valid(&v));
    static const uint16_t sizes[] = {0, 3, 7, 512, 0xffff};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        v = good;
        v.size = sizes[i];
        assert_false(virtq_valid(&v));
    }
    v = good;
    v.desc = 8;
    assert_false(virtq_valid(&v));
    v = good;
    v.avail = 1;
    assert_false(virtq_valid(&v));
    v = good;
    v.used = 2;
    assert_false(virtq_valid(&v));
    v = good;
    v.desc = ~15ull;
    assert_false(virtq_valid(&v));
    v = good;
    v.used = ~3ull;
    assert_false(virtq_valid(&v));
}

static void give_one(void)
{
    desc(DESC, 0, DATA, 1, WRITE, 0);
    offer(0);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_CHAIN);
    assert_true(virtq_give(&q, &c, 0));
}

static void test_interrupts_by_flag(void **state)
{
    start(0);
    assert_false(virtq_wants_interrupt(&q));
    give_one();
    assert_true(virtq_wants_interrupt(&q));
    assert_false(virtq_wants_interrupt(&q));
    put_le16(ram + AVAIL, 1);
    give_one();
    assert_false(virtq_wants_interrupt(&q));
    end();
}

static void test_interrupts_by_event(void **state)
{
    start(VIRTQ_EVENTS);
    put_le16(ram + AVAIL + 4 + 2 * SIZE, 2);
    give_one();
    assert_false(virtq_wants_interrupt(&q));
    give_one();
    give_one();
    assert_true(virtq_wants_interrupt(&q));
    give_one();
    assert_false(virtq_wants_interrupt(&q));
    put_le16(ram + AVAIL + 4 + 2 * SIZE, 5); /* several at once, past the event */
    for (unsigned i = 0; i < 5; i++)
        give_one();
    assert_true(virtq_wants_interrupt(&q));
    end();
}

/* Empty: the driver is told from where on to ring. */
static void test_event_of_the_available_ring(void **state)
{
    start(VIRTQ_EVENTS);
    give_one();
    give_one();
    assert_int_equal(get_le16(ram + USED + 4 + 8 * SIZE), 0);
    assert_int_equal(virtq_take(&q, &c, &why), VIRTQ_EMPTY);
    assert_int_equal(get_le16(ram + USED + 4 + 8 * SIZE), 2);
    end();
}

static void test_each_byte_of_the_state_is_named(void **state)
{
    assert_table_ok(virtq_table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_chain_is_taken_and_given_back),
        cmocka_unit_test(test_indices_wrap),
        cmocka_unit_test(test_indirect),
        cmocka_unit_test(test_indirect_tables_that_are_none),
        cmocka_unit_test(test_chains_that_are_none),
        cmocka_unit_test(test_rings_that_are_nowhere),
        cmocka_unit_test(test_buffers_that_are_nowhere),
        cmocka_unit_test(test_where_a_queue_may_be),
        cmocka_unit_test(test_interrupts_by_flag),
        cmocka_unit_test(test_interrupts_by_event),
        cmocka_unit_test(test_event_of_the_available_ring),
        cmocka_unit_test(test_each_byte_of_the_state_is_named),
    };
    return RUN(tests);
}
