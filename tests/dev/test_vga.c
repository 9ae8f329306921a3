/* The VGA: registers, the memory window's modes, the pictures, Bochs VBE. */
#include "../unit/unit.h"
#include "dev/vga.h"

#include <stdlib.h>

static uint8_t ram[0x100000] __attribute__((aligned(PAGE_SIZE)));
static uint8_t *vram;
static uint64_t now;
static struct bus bus;
static struct pci_bus pci;
static struct clock timebase;
static struct vga vga;
static struct screen screen;

static uint64_t get_now(void *opaque)
{
    return now;
}

static void start(void)
{
    now = 0;
    bus_init(&bus, ram, sizeof ram, NULL);
    clock_init(&timebase, get_now, NULL);
    pci_init(&pci, &bus, NULL);
    vga_init(&vga, &pci, PCI_DEVFN(2, 0), &timebase, NULL);
    vga_set_rom(&vga, (const uint8_t *)"\x55\xaa\x4e", 3);
    vram = vga.vram;
    assert_true(bus_add(&bus, BUS_MEM, 0xa0000, &vga.window, NULL));
    assert_true(bus_add(&bus, BUS_PORT, 0x3b0, &vga.ports, NULL));
    assert_true(bus_add(&bus, BUS_PORT, 0x1ce, &vga.vbe_ports, NULL));
    pci_config_write(&pci, PCI_DEVFN(2, 0), 0x10, 4, 0xe0000000);
    pci_config_write(&pci, PCI_DEVFN(2, 0), 0x18, 4, 0xe1000000);
    pci_config_write(&pci, PCI_DEVFN(2, 0), 4, 2, 3);
}

static void stop(void)
{
    vga_free(&vga);
    bus_free(&bus);
}

static void seq(unsigned i, unsigned v)
{
    bus_out(&bus, 0x3c4, 2, i | v << 8);
}

static void gc(unsigned i, unsigned v)
{
    bus_out(&bus, 0x3ce, 2, i | v << 8);
}

static void crtc(unsigned i, unsigned v)
{
    bus_out(&bus, 0x3d4, 2, i | v << 8);
}

static void vbe(unsigned i, unsigned v)
{
    bus_out(&bus, 0x1ce, 2, i);
    bus_out(&bus, 0x1cf, 2, v);
}

static unsigned vbe_in(unsigned i)
{
    bus_out(&bus, 0x1ce, 2, i);
    return bus_in(&bus, 0x1cf, 2);
}

/* A mode's timing and memory arrangement, as a VGA BIOS would set it. */
static void set_mode(const uint8_t timing[25], unsigned memory, unsigned mode, unsigned misc)
{
    vga_text_mode(&vga);
    crtc(0x11, 0);
    for (unsigned i = 0; i < 25; i++)
        crtc(i, timing[i]);
    seq(1, 1);
    seq(2, 15);
    seq(4, memory);
    gc(5, mode);
    gc(6, misc);
    memset(vram, 0, 1 << 18);
}

static const uint8_t crtc_12h[25] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,
                                     0x40, 0,    0,    0,    0,    0,    0,    0xea, 0x8c,
                                     0xdf, 0x28, 0,    0xe7, 0x04, 0xe3, 0xff};
static const uint8_t crtc_13h[25] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
                                     0x41, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t crtc_04h[25] = {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,
                                     0xc1, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x14, 0,    0x96, 0xb9, 0xa2, 0xff};

static uint32_t pixel(unsigned x, unsigned y)
{
    vga_capture(&vga, &screen, true);
    return screen.pixels[y * screen.width + x];
}

static void test_text_cells_and_cursor(void **state)
{
    start();
    vga_text_mode(&vga);
    bus_write(&bus, 0xb8000, 2, 0x1f41);
    bus_write(&bus, 0xb8000 + 2 * (80 * 3 + 5), 4, 0x07430742);
    crtc(14, 0);
    crtc(15, 85);
    assert_int_equal(bus_read(&bus, 0xb8000, 2), 0x1f41);
    assert_int_equal(bus_read(&bus, 0xb8001, 1), 0x1f);
    assert_int_equal(bus_read(&bus, 0xa0000, 1), 0xff);
    vga_capture(&vga, &screen, false);
    assert_true(screen.text && screen.cursor && !screen.pixels);
    assert_int_equal(screen.columns, 80);
    assert_int_equal(screen.rows, 25);
    assert_int_equal(screen.cells[0], 0x1f41);
    assert_int_equal(screen.cells[1], 0x0720);
    assert_int_equal(screen.cells[80 * 3 + 5], 0x0742);
    assert_int_equal(screen.cells[80 * 3 + 6], 0x0743);
    assert_int_equal(screen.cursor_x, 5);
    assert_int_equal(screen.cursor_y, 1);
    crtc(0x0d, 80); /* scrolled by a line */
    vga_capture(&vga, &screen, false);
    assert_int_equal(screen.cells[80 * 2 + 5], 0x0742);
    assert_int_equal(screen.cursor_y, 0);
    crtc(0x0a, 0x20);
    vga_capture(&vga, &screen, false);
    assert_false(screen.cursor);
    stop();
}

static void load_glyph(unsigned c, unsigned line, unsigned bits)
{
    seq(2, 4);
    seq(4, 6);
    gc(5, 0);
    gc(6, 4);
    bus_write(&bus, 0xa0000 + 32 * c + line, 1, bits);
    seq(2, 3);
    seq(4, 2);
    gc(5, 0x10);
    gc(6, 0x0e);
}

static void test_text_is_drawn_with_the_guests_font(void **state)
{
    start();
    vga_text_mode(&vga);
    crtc(0x0a, 0x20);
    load_glyph('A', 3, 0x81);
    load_glyph(0xc4, 3, 0xff);
    bus_write(&bus, 0xb8000, 2, 0x1e41);
    bus_write(&bus, 0xb8002, 2, 0x07c4);
    assert_int_equal(pixel(0, 3), 0xffff55);
    assert_int_equal(screen.width, 720);
    assert_int_equal(screen.height, 400);
    assert_int_equal(screen.pixels[3 * 720 + 1], 0x0000aa);
    assert_int_equal(screen.pixels[3 * 720 + 7], 0xffff55);
    assert_int_equal(screen.pixels[3 * 720 + 8], 0x0000aa);  /* the ninth dot */
    assert_int_equal(screen.pixels[3 * 720 + 17], 0xaaaaaa); /* joins line graphics */
    /* blinking: there in one half second, gone in the next */
    bus_write(&bus, 0xb8001, 1, 0x9e);
    assert_int_equal(pixel(0, 3), 0xffff55);
    now = 16ull * 14268322;
    assert_int_equal(pixel(0, 3), 0x0000aa);
    stop();
}

static void test_a_vga_bios_lends_its_font(void **state)
{
    static uint8_t bios[8192] = {[1042] = 0x7e, 0x81, 0xa5, 0x81, 0x81,
                                 0xbd,          0x99, 0x81, 0x81, 0x7e};
    bios[1024 + 16 * 'A' + 2] = 0x10;
    start();
    vga_free(&vga);
    bus_free(&bus);
    bus_init(&bus, ram, sizeof ram, NULL);
    pci_init(&pci, &bus, NULL);
    vga_init(&vga, &pci, PCI_DEVFN(2, 0), &timebase, NULL);
    vga_set_rom(&vga, bios, sizeof bios);
    vga_text_mode(&vga);
    put_le16(vga.vram, 0x0f41);
    assert_int_equal(pixel(3, 2), 0xffffff);
    assert_int_equal(pixel(4, 2), 0);
    stop();
}

static void test_planar_write_modes(void **state)
{
    start();
    set_mode(crtc_12h, 6, 0, 5);
    vga_capture(&vga, &screen, true);
    assert_int_equal(screen.width, 640);
    assert_int_equal(screen.height, 480);
    assert_false(screen.text);
    /* mode 0 with set/reset: colour 10 where the bit mask allows */
    gc(0, 10);
    gc(1, 15);
    gc(8, 0x80);
    bus_read(&bus, 0xa0000, 1);
    bus_write(&bus, 0xa0000, 1, 0);
    assert_int_equal(pixel(0, 0), 0x55ff55);
    assert_int_equal(pixel(1, 0), 0);
    /* mode 2: the byte is the colour */
    gc(5, 2);
    gc(8, 0x40);
    bus_read(&bus, 0xa0000, 1);
    bus_write(&bus, 0xa0000, 1, 12);
    assert_int_equal(pixel(1, 0), 0xff5555);
    assert_int_equal(pixel(0, 0), 0x55ff55);
    /* mode 3: the byte is a further mask */
    gc(5, 3);
    gc(0, 9);
    gc(8, 0xff);
    bus_read(&bus, 0xa0000, 1);
    bus_write(&bus, 0xa0000, 1, 0x01);
    assert_int_equal(pixel(7, 0), 0x5555ff);
    assert_int_equal(pixel(1, 0), 0xff5555);
    /* mode 1 copies all planes by the latches */
    gc(5, 1);
    bus_read(&bus, 0xa0000, 1);
    bus_write(&bus, 0xa0000 + 80, 1, 0);
    assert_int_equal(pixel(7, 1), 0x5555ff);
    /* XOR with the latches */
    gc(5, 0);
    gc(1, 0);
    gc(3, 0x18);
    bus_read(&bus, 0xa0000, 1);
    bus_write(&bus, 0xa0000, 1, 0xff);
    assert_int_equal(pixel(0, 0), 0xaa00aa);
    /* read mode 1: which pixels are colour 5 (10 turned over)? */
    gc(3, 0);
    gc(5, 8);
    gc(2, 5);
    gc(7, 15);
    assert_int_equal(bus_read(&bus, 0xa0000, 1), 0x80);
    gc(5, 0);
    gc(4, 3);
    assert_int_equal(bus_read(&bus, 0xa0000, 1), vram[3]);
    seq(2, 2); /* map mask */
    bus_write(&bus, 0xa0001, 1, 0x5a);
    assert_int_equal(get_le32(vram + 4), 0x5a00);
    stop();
}

static void test_256_colours_chained_and_not(void **state)
{
    start();
    set_mode(crtc_13h, 0x0e, 0x40, 5);
    for (unsigned i = 0; i < 256; i++) {
        bus_out(&bus, 0x3c8, 1, i);
        bus_out(&bus, 0x3c9, 1, i >> 2);
        bus_out(&bus, 0x3c9, 1, 0);
        bus_out(&bus, 0x3c9, 1, 63);
    }
    bus_out(&bus, 0x3c7, 1, 8);
    assert_int_equal(bus_in(&bus, 0x3c9, 1), 2);
    bus_write(&bus, 0xa0000 + 320 * 7 + 9, 1, 0x80);
    assert_int_equal(pixel(9, 7), 0x8200ff);
    assert_int_equal(screen.width, 320);
    assert_int_equal(screen.height, 200);
    assert_int_equal(bus_read(&bus, 0xa0000 + 320 * 7 + 9, 1), 0x80);
    /* mode X: the same timing, planes by the map mask */
    seq(4, 6);
    crtc(0x14, 0);
    crtc(0x17, 0xe3);
    memset(vram, 0, 1 << 18);
    seq(2, 2);
    bus_write(&bus, 0xa0000 + 80 * 3 + 2, 1, 0x40);
    assert_int_equal(pixel(4 * 2 + 1, 3), 0x4100ff);
    stop();
}

static void test_cga_modes(void **state)
{
    start();
    set_mode(crtc_04h, 2, 0x30, 0x0f);
    seq(1, 9);
    seq(2, 3);
    bus_write(&bus, 0xb8000, 1, 0xe4);     /* colours 3 2 1 0 */
    bus_write(&bus, 0xb8000 + 8192, 1, 1); /* line 1, pixel 3 */
    assert_int_equal(pixel(0, 0), 0x00aaaa);
    assert_int_equal(screen.width, 320);
    assert_int_equal(screen.height, 200);
    assert_int_equal(screen.pixels[1], 0x00aa00);
    assert_int_equal(screen.pixels[2], 0x0000aa);
    assert_int_equal(screen.pixels[320 + 3], 0x0000aa);
    stop();
}

static void test_vbe_modes(void **state)
{
    start();
    assert_int_equal(vbe_in(0), 0xb0c5);
    assert_int_equal(vbe_in(10), 256);
    vbe(1, 1024);
    vbe(2, 768);
    vbe(3, 32);
    vbe(4, 0x41);
    assert_int_equal(vbe_in(1), 1024);
    assert_int_equal(vbe_in(6), 1024);
    assert_int_equal(vbe_in(7), 4096);
    bus_write(&bus, 0xe0000000 + (1024 * 5 + 3) * 4, 4, 0xff123456);
    assert_int_equal(pixel(3, 5), 0x123456);
    assert_int_equal(screen.width, 1024);
    vbe(9, 2);
    assert_int_equal(pixel(3, 3), 0x123456);
    vbe(5, 1); /* the second bank by the window */
    bus_write(&bus, 0xa0004, 4, 0x00abcdef);
    assert_int_equal(get_le32(vram + 0x10004), 0xabcdef);
    vbe(4, 0);
    vbe(1, 640);
    vbe(2, 480);
    vbe(3, 16);
    vbe(4, 0x41);
    bus_write(&bus, 0xe0000000, 2, 0xf81f);
    assert_int_equal(pixel(0, 0), 0xff00ff);
    assert_int_equal(pixel(3, 5), 0);
    pci_config_write(&pci, PCI_DEVFN(2, 0), 0x30, 4, 0xe2000001);
    assert_int_equal(bus_read(&bus, 0xe2000000, 4), 0x004eaa55);
    /* by memory: VBE registers and the VGA's ports */
    assert_int_equal(bus_read(&bus, 0xe1000500 + 2, 2), 640);
    bus_write(&bus, 0xe1000400, 1, 0x20);
    assert_int_equal(vga.s.attr_index, 0x20);
    stop();
}

static void test_absurd_vbe_modes_stay_in_bounds(void **state)
{
    start();
    vbe(1, 0xffff);
    vbe(2, 0xffff);
    vbe(3, 77);
    vbe(4, 1);
    vbe(6, 0xffff);
    vbe(8, 0xffff);
    vbe(9, 0xffff);
    vbe(5, 0xffff);
    vga_capture(&vga, &screen, true);
    assert_int_equal(screen.width, VBE_MAX_XRES);
    assert_int_equal(screen.height, VBE_MAX_YRES);
    bus_write(&bus, 0xaffff, 1, 1);
    vbe(4, 0);
    vbe(1, 0);
    vbe(2, 0);
    vbe(3, 4);
    vbe(4, 1);
    vga_capture(&vga, &screen, true);
    assert_int_equal(screen.width, 8);
    /* a hostile state */
    memset(&vga.s, 0xff, sizeof vga.s);
    vga_restore(&vga);
    vga_capture(&vga, &screen, true);
    vga.s.vbe[VBE_ENABLE] = 0;
    vga_capture(&vga, &screen, true);
    vga.s.gc[GC_MISC] = 0;
    vga_capture(&vga, &screen, true);
    stop();
}

static void test_registers_read_back_and_lock(void **state)
{
    start();
    vga_text_mode(&vga);
    bus_out(&bus, 0x3d4, 1, 0);
    bus_out(&bus, 0x3d5, 1, 0x12); /* locked by register 11h */
    assert_int_equal(bus_in(&bus, 0x3d5, 1), 0x5f);
    assert_int_equal(bus_in(&bus, 0x3b5, 1), 0xff);
    bus_in(&bus, 0x3da, 1);
    bus_out(&bus, 0x3c0, 1, 0x31);
    bus_out(&bus, 0x3c0, 1, 7);
    bus_in(&bus, 0x3da, 1);
    bus_out(&bus, 0x3c0, 1, 0x31);
    assert_int_equal(bus_in(&bus, 0x3c1, 1), 7);
    /* the retrace comes once a frame */
    unsigned edges = 0, last = 0;
    for (now = 0; now < 14268322ull * 10; now += 5000) {
        unsigned s = bus_in(&bus, 0x3da, 1) & 8;
        edges += s && !last;
        last = s;
    }
    assert_int_equal(edges, 10);
    stop();
}

static void test_state(void **state)
{
    assert_true(state_check(&vga_table, NULL));
    start();
    set_mode(crtc_12h, 6, 0, 5);
    gc(8, 0x0f);
    struct vga_state copy = vga.s;
    stop();
    start();
    vga.s = copy;
    vga_restore(&vga);
    assert_int_equal(state_hash(1, &vga_table, &vga.s), state_hash(1, &vga_table, &copy));
    bus_write(&bus, 0xa0000, 1, 0xff);
    assert_int_equal(vram[0], 0x0f);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_cells_and_cursor),
        cmocka_unit_test(test_text_is_drawn_with_the_guests_font),
        cmocka_unit_test(test_a_vga_bios_lends_its_font),
        cmocka_unit_test(test_planar_write_modes),
        cmocka_unit_test(test_256_colours_chained_and_not),
        cmocka_unit_test(test_cga_modes),
        cmocka_unit_test(test_vbe_modes),
        cmocka_unit_test(test_absurd_vbe_modes_stay_in_bounds),
        cmocka_unit_test(test_registers_read_back_and_lock),
        cmocka_unit_test(test_state),
    };
    return RUN(tests);
}
