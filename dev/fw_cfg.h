/* fw_cfg: the board's way to hand tables, sizes and ROMs to its firmware, with the interface of
 * QEMU's device (its docs/specs/fw_cfg): SeaBIOS and others look for it.
 *
 * Three registers: a selector (16 bits) and a data port at 0x510, and a DMA address (64 bits,
 * big-endian) at 0x514, whose low half starts a transfer described by a struct in guest memory.
 * What can be read are items, each a key and bytes; those with a name are listed in the directory,
 * item 0x19. The guest can't change an item. */
#ifndef ISHI_DEV_FW_CFG_H
#define ISHI_DEV_FW_CFG_H

#include "base/state.h"
#include "bus/bus.h"

#define FW_CFG_PORT     0x510
#define FW_CFG_DMA_PORT 0x514
#define FW_CFG_ITEMS    64
#define FW_CFG_NAME     56 /* bytes of a name, NUL included */

/* Keys of items without a name. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_SIZE = 0x03, /* u64, bytes below 4 GiB */
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05, /* u16 */
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e, /* u16 */
    FW_CFG_MAX_CPUS = 0x0f,  /* u16 */
    FW_CFG_DIRECTORY = 0x19,
    FW_CFG_FIRST_FILE = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002, /* u32 */
};

struct fw_cfg_state {
    uint64_t dma_address; /* as written so far, in host order */
    uint32_t offset;      /* of the next byte in the selected item */
    uint16_t selector;
    uint8_t unused[2]; /* 0 */
};
extern const struct state_table fw_cfg_table;

struct fw_cfg_item {
    uint16_t key;
    char name[FW_CFG_NAME]; /* empty: not in the directory */
    uint8_t *data;          /* owned */
    uint32_t len;
};

struct fw_cfg {
    struct fw_cfg_state s;
    struct region io;  /* 2 ports */
    struct region dma; /* 8 ports */
    struct bus *bus;
    const struct log *log;
    unsigned item_count;
    unsigned file_count;
    struct fw_cfg_item item[FW_CFG_ITEMS]; /* the first is the directory */
};

/* With the signature, the ID and an empty directory. */
void fw_cfg_init(struct fw_cfg *f, struct bus *bus, const struct log *log);
void fw_cfg_free(struct fw_cfg *f);
/* Registers only: the items are the board's. */
void fw_cfg_reset(struct fw_cfg *f);

/* Adds an item, copying its bytes: a file under `name` (the key is then chosen here), or an item
 * with this key if name is NULL. The shape is boot/firmware.h's boot_add_fn. */
void fw_cfg_add(void *fw_cfg, uint16_t key, const char *name, const void *data, uint32_t len);

#endif
