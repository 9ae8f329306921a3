/* fw_cfg under any sequence of port accesses: five bytes each, an access and a value; the input
 * also fills the guest's memory, so that transfer descriptors are hostile too. */
#include "dev/fw_cfg.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t *ram;
    struct fw_cfg f;
    struct bus bus;
    if (!ram)
        ram = aligned_alloc(PAGE_SIZE, RAM);
    memset(ram, 0, RAM);
    memcpy(ram, data, min_u64(n, RAM));
    bus_init(&bus, ram, RAM, NULL);
    fw_cfg_init(&f, &bus, NULL);
    fw_cfg_add(&f, 0, "file", "0123456789", 10);
    fw_cfg_add(&f, 5, NULL, "ab", 2);
    assert(bus_add(&bus, BUS_PORT, FW_CFG_PORT, &f.io, NULL));
    assert(bus_add(&bus, BUS_PORT, FW_CFG_DMA_PORT, &f.dma, NULL));
    for (; n >= 5; data += 5, n -= 5) {
        uint16_t port = (uint16_t)(FW_CFG_PORT + data[0] % 12);
        unsigned size = 1u << (data[0] >> 4) % 3;
        if (data[0] & 0x80)
            bus_in(&bus, port, size);
        else
            bus_out(&bus, port, size, get_le32(data + 1));
    }
    fw_cfg_free(&f);
    bus_free(&bus);
    return 0;
}
