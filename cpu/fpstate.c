/* Images of the floating-point and vector state in memory: FSAVE and FSTENV in their four shapes
 * (SDM 1 8.1.10), FXSAVE (SDM 1 10.5), and the XSAVE family (SDM 1 13), with the state components
 * x87, SSE and AVX.
 *
 * Images are built in a buffer and checked before they are written, so that a fault changes
 * nothing. */
#include "cpu/area.h"
#include "cpu/helpers.h"
#include "cpu/softfp_core.h"
#include "cpu/x87.h"

#define MXCSR_MASK 0xffffu
#define MXCSR_INIT 0x1f80u

#define XSTATE_X87   BIT(0)
#define XSTATE_SSE   BIT(1)
#define XSTATE_AVX   BIT(2)
#define XSTATE_ALL   (XSTATE_X87 | XSTATE_SSE | XSTATE_AVX)
#define XCOMP_BV     BIT(63)
#define LEGACY_USED  416u /* the rest of the legacy region is software's */
#define XSAVE_LEGACY 512u
#define XSAVE_AVX    576u /* in both formats: AVX is the first component beyond the header */
#define XSAVE_MAX    832u

/* ---- FSTENV, FSAVE ---- */

static unsigned full_tag_word(const struct cpu *c)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned tag = 3;
        if (c->s.ftw >> i & 1)
            tag = x87_tag((struct f80){c->s.fp_sig[i], c->s.fp_exp[i]});
        tags |= tag << 2 * i;
    }
    return tags;
}

/* The formats differ by mode and operand size: real ones hold linear addresses of 20 or 32 bits. */
static bool real_format(const struct cpu *c)
{
    return cpu_real(c) || cpu_vm86(c);
}

static unsigned env_size(const struct uop *u)
{
    return u->size == 2 ? 14 : 28;
}

/* The selectors of the last instruction and operand, which later processors keep no more (SDM 1
 * 8.1.8). */
static uint16_t saved_fcs(const struct cpu *c)
{
    return isa_has(&c->features, FEAT_NOFCS) ? 0 : c->s.fcs;
}

static uint16_t saved_fds(const struct cpu *c)
{
    return isa_has(&c->features, FEAT_NOFCS) ? 0 : c->s.fds;
}

static void env_pack(const struct cpu *c, const struct uop *u, uint8_t *b)
{
    bool real = real_format(c);
    uint32_t ip = (uint32_t)c->s.fip, dp = (uint32_t)c->s.fdp;
    unsigned fop = c->s.fop & 0x7ff;
    if (real) {
        ip += (uint32_t)c->s.fcs << 4;
        dp += (uint32_t)c->s.fds << 4;
    }
    if (u->size == 2) {
        put_le16(b, c->s.fcw);
        put_le16(b + 2, c->s.fsw);
        put_le16(b + 4, (uint16_t)full_tag_word(c));
        put_le16(b + 6, (uint16_t)ip);
        put_le16(b + 8, (uint16_t)(real ? (ip >> 4 & 0xf000) | fop : saved_fcs(c)));
        put_le16(b + 10, (uint16_t)dp);
        put_le16(b + 12, (uint16_t)(real ? dp >> 4 & 0xf000 : saved_fds(c)));
        return;
    }
    put_le32(b, 0xffff0000u | c->s.fcw);
    put_le32(b + 4, 0xffff0000u | c->s.fsw);
    put_le32(b + 8, 0xffff0000u | full_tag_word(c));
    if (real) {
        put_le32(b + 12, 0xffff0000u | (ip & 0xffff));
        put_le32(b + 16, (ip >> 16) << 12 | fop);
        put_le32(b + 20, 0xffff0000u | (dp & 0xffff));
        put_le32(b + 24, (dp >> 16) << 12);
    } else {
        put_le32(b + 12, ip);
        put_le32(b + 16, fop << 16 | saved_fcs(c));
        put_le32(b + 20, dp);
        put_le32(b + 24, 0xffff0000u | saved_fds(c));
    }
}

static void env_unpack(struct cpu *c, const struct uop *u, const uint8_t *b)
{
    bool real = real_format(c);
    unsigned tags;
    if (u->size == 2) {
        c->s.fcw = get_le16(b);
        c->s.fsw = get_le16(b + 2);
        tags = get_le16(b + 4);
        c->s.fip = get_le16(b + 6);
        c->s.fdp = get_le16(b + 10);
        c->s.fcs = real ? 0 : get_le16(b + 8);
        c->s.fds = real ? 0 : get_le16(b + 12);
        if (real) {
            c->s.fip |= (get_le16(b + 8) & 0xf000u) << 4;
            c->s.fdp |= (get_le16(b + 12) & 0xf000u) << 4;
            c->s.fop = get_le16(b + 8) & 0x7ff;
        }
    } else {
        c->s.fcw = get_le16(b);
        c->s.fsw = get_le16(b + 4);
        tags = get_le16(b + 8);
        if (real) {
            c->s.fip = get_le16(b + 12) | (get_le32(b + 16) >> 12 & 0xffff) << 16;
            c->s.fdp = get_le16(b + 20) | (get_le32(b + 24) >> 12 & 0xffff) << 16;
            c->s.fop = get_le16(b + 16) & 0x7ff;
            c->s.fcs = c->s.fds = 0;
        } else {
            c->s.fip = get_le32(b + 12);
            c->s.fcs = get_le16(b + 16);
            c->s.fop = get_le16(b + 18) & 0x7ff;
            c->s.fdp = get_le32(b + 20);
            c->s.fds = get_le16(b + 24);
        }
    }
    c->s.fcw = (c->s.fcw & FCW_WRITABLE) | FCW_RESERVED;
    c->s.ftw = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> 2 * i & 3) != 3)
            c->s.ftw |= (uint8_t)(1u << i);
    x87_update_es(c);
}

static struct area env_area(const struct uop *u)
{
    return u->size == 2 ? AREA_ENV16 : AREA_ENV32;
}

/* The area of FSAVE and FSTENV, whose units are words or doublewords. */
static bool area_aligned(struct cpu *c, const struct uop *u, unsigned acc)
{
    return seg_aligned(c, u->seg, c->s.r[R_T0], env_size(u) == 14 ? 2 : 4, acc);
}

bool h_fnstenv(struct cpu *c, const struct uop *u)
{
    uint8_t b[28];
    env_pack(c, u, b);
    if (!area_aligned(c, u, ACC_WRITE) || !area_store(c, u, env_area(u), 0, b, env_size(u)))
        return false;
    c->s.fcw |= 0x3f;
    x87_update_es(c);
    return true;
}

bool h_fldenv(struct cpu *c, const struct uop *u)
{
    uint8_t b[28];
    if (!x87_begin(c) || !area_aligned(c, u, ACC_READ) ||
        !area_load(c, u, env_area(u), 0, b, env_size(u)))
        return false;
    env_unpack(c, u, b);
    return true;
}

bool h_fnsave(struct cpu *c, const struct uop *u)
{
    uint8_t b[108];
    unsigned n = env_size(u);
    env_pack(c, u, b);
    for (unsigned i = 0; i < 8; i++) {
        struct f80 v = x87_get(c, i);
        put_le64(b + n + 10 * i, v.sig);
        put_le16(b + n + 10 * i + 8, v.exp);
    }
    if (!area_aligned(c, u, ACC_WRITE) || !area_store(c, u, env_area(u), 0, b, n + 80))
        return false;
    x87_init(c);
    return true;
}

bool h_frstor(struct cpu *c, const struct uop *u)
{
    uint8_t b[108];
    unsigned n = env_size(u);
    if (!x87_begin(c) || !area_aligned(c, u, ACC_READ) ||
        !area_load(c, u, env_area(u), 0, b, n + 80))
        return false;
    env_unpack(c, u, b);
    for (unsigned i = 0; i < 8; i++) {
        unsigned r = x87_index(c, i);
        c->s.fp_sig[r] = get_le64(b + n + 10 * i);
        c->s.fp_exp[r] = get_le16(b + n + 10 * i + 8);
    }
    return true;
}

/* ---- The legacy region: FXSAVE's 512 bytes, of which the x87's are 0..23 and 32..159, MXCSR's
 * 24..31, and XMM's 160..415 ---- */

static void legacy_x87_pack(const struct cpu *c, bool wide, uint8_t *b)
{
    put_le16(b, c->s.fcw);
    put_le16(b + 2, c->s.fsw);
    b[4] = c->s.ftw;
    b[5] = 0;
    put_le16(b + 6, c->s.fop & 0x7ff);
    if (wide) {
        put_le64(b + 8, c->s.fip);
        put_le64(b + 16, c->s.fdp);
    } else {
        put_le32(b + 8, (uint32_t)c->s.fip);
        put_le32(b + 12, saved_fcs(c));
        put_le32(b + 16, (uint32_t)c->s.fdp);
        put_le32(b + 20, saved_fds(c));
    }
    for (unsigned i = 0; i < 8; i++) {
        struct f80 v = x87_get(c, i);
        put_le64(b + 32 + 16 * i, v.sig);
        put_le64(b + 40 + 16 * i, v.exp);
    }
}

static void legacy_x87_unpack(struct cpu *c, bool wide, const uint8_t *b)
{
    c->s.fcw = (get_le16(b) & FCW_WRITABLE) | FCW_RESERVED;
    c->s.fsw = get_le16(b + 2);
    c->s.ftw = b[4];
    c->s.fop = get_le16(b + 6) & 0x7ff;
    if (wide) { /* Intel's processors keep 48 bits of the instruction's address, 64 of the data's */
        c->s.fip = (uint64_t)sext(get_le64(b + 8), 48);
        c->s.fdp = get_le64(b + 16);
        c->s.fcs = c->s.fds = 0;
    } else {
        c->s.fip = get_le32(b + 8);
        c->s.fcs = get_le16(b + 12);
        c->s.fdp = get_le32(b + 16);
        c->s.fds = get_le16(b + 20);
    }
    for (unsigned i = 0; i < 8; i++) {
        unsigned r = x87_index(c, i);
        c->s.fp_sig[r] = get_le64(b + 32 + 16 * i);
        c->s.fp_exp[r] = get_le16(b + 40 + 16 * i);
    }
    x87_update_es(c);
}

/* XMM8 to XMM15 exist in 64-bit mode only. */
static unsigned vector_count(const struct cpu *c)
{
    return cpu_64(c) ? 16 : 8;
}

static void legacy_sse_pack(const struct cpu *c, uint8_t *b)
{
    for (unsigned i = 0; i < vector_count(c); i++)
        memcpy(b + 160 + 16 * i, c->s.v[i].b, 16);
}

static void legacy_sse_unpack(struct cpu *c, const uint8_t *b)
{
    for (unsigned i = 0; i < vector_count(c); i++)
        memcpy(c->s.v[i].b, b + 160 + 16 * i, 16);
}

static bool misaligned(struct cpu *c, const struct uop *u, unsigned to)
{
    uint64_t la;
    if (!seg_linear(c, u->seg, c->s.r[R_T0], 1, ACC_READ, &la))
        return true;
    if (!(la & (to - 1)))
        return false;
    cpu_fault_err(c, EXC_GP, 0, "state image at %llx is not aligned to %llx bytes", la, to);
    return true;
}

static bool bad_mxcsr(struct cpu *c, uint32_t v)
{
    if (!(v & ~MXCSR_MASK))
        return false;
    cpu_fault_err(c, EXC_GP, 0, "MXCSR value %llx has reserved bits", v, 0);
    return true;
}

bool h_ldmxcsr(struct cpu *c, const struct uop *u)
{
    uint64_t v;
    if (!seg_load(c, u->seg, c->s.r[R_T0], 4, &v) || bad_mxcsr(c, (uint32_t)v))
        return false;
    c->s.mxcsr = (uint32_t)v;
    return true;
}

bool h_stmxcsr(struct cpu *c, const struct uop *u)
{
    return seg_store(c, u->seg, c->s.r[R_T0], 4, c->s.mxcsr);
}

/* Bytes 464..511 are software's, and kept; without CR4.OSFXSR the XMM part is left alone. */
bool h_fxsave(struct cpu *c, const struct uop *u)
{
    uint8_t b[XSAVE_LEGACY];
    if (misaligned(c, u, 16) || !area_probe(c, u, AREA_BLOCKS, 0, sizeof b, ACC_WRITE) ||
        !area_load(c, u, AREA_BLOCKS, 0, b, sizeof b))
        return false;
    legacy_x87_pack(c, u->size == 8, b);
    put_le32(b + 24, c->s.mxcsr);
    put_le32(b + 28, MXCSR_MASK);
    if (c->s.cr4 & CR4_OSFXSR)
        legacy_sse_pack(c, b);
    return area_store(c, u, AREA_BLOCKS, 0, b, LEGACY_USED);
}

bool h_fxrstor(struct cpu *c, const struct uop *u)
{
    uint8_t b[XSAVE_LEGACY];
    if (misaligned(c, u, 16) || !area_load(c, u, AREA_BLOCKS, 0, b, sizeof b) ||
        bad_mxcsr(c, get_le32(b + 24)))
        return false;
    legacy_x87_unpack(c, u->size == 8, b);
    c->s.mxcsr = get_le32(b + 24);
    if (c->s.cr4 & CR4_OSFXSR)
        legacy_sse_unpack(c, b);
    return true;
}

/* ---- XSAVE. The requested components are EDX:EAX & XCR0 ---- */

static bool xsave_ready(struct cpu *c)
{
    if (!(c->s.cr4 & CR4_OSXSAVE))
        return cpu_fault(c, EXC_UD, "XSAVE family without CR4.OSXSAVE", 0, 0);
    if (c->s.cr0 & CR0_TS)
        return cpu_fault(c, EXC_NM, "XSAVE family with CR0.TS", 0, 0);
    return true;
}

static uint64_t requested(const struct cpu *c)
{
    uint64_t mask = (c->s.r[R_DX] & 0xffffffff) << 32 | (c->s.r[R_AX] & 0xffffffff);
    return mask & c->s.xcr0 & XSTATE_ALL;
}

/* The components that are not in their initial state (SDM 1 13.6). As Intel's processors do, only
 * AVX is tracked: x87 and SSE count as in use always. */
uint64_t xsave_in_use(const struct cpu *c)
{
    uint64_t high = 0;
    for (unsigned i = 0; i < vector_count(c); i++)
        high |= c->s.v[i].q[2] | c->s.v[i].q[3];
    return XSTATE_X87 | XSTATE_SSE | (high ? XSTATE_AVX : 0);
}

static void avx_pack(const struct cpu *c, uint8_t *b)
{
    for (unsigned i = 0; i < vector_count(c); i++)
        memcpy(b + 16 * i, c->s.v[i].b + 16, 16);
}

enum xsave_kind { XSAVE_PLAIN, XSAVE_OPT, XSAVE_COMPACT };

/* Writes the parts that the form defines. Processors ask for the header, with AVX to the end of it,
 * and for the legacy region only if something of it is saved, initial or not; MXCSR goes with SSE
 * and AVX, with XSAVEC it is SSE's alone (SDM 1 13.7, 13.10). XSAVEOPT and XSAVEC don't write what
 * is initial. */
static bool xsave(struct cpu *c, const struct uop *u, enum xsave_kind kind)
{
    uint8_t b[XSAVE_MAX] = {0};
    if (!xsave_ready(c) || misaligned(c, u, 64))
        return false;
    uint64_t want = requested(c), used = xsave_in_use(c) & want;
    uint64_t write = kind == XSAVE_PLAIN ? want : used;
    bool mxcsr = want & (kind == XSAVE_COMPACT ? XSTATE_SSE : XSTATE_SSE | XSTATE_AVX);
    bool legacy = want & XSTATE_X87 || mxcsr;
    unsigned n = (want & XSTATE_AVX ? XSAVE_MAX : XSAVE_AVX) - XSAVE_LEGACY;
    if (!area_probe(c, u, AREA_BLOCKS, XSAVE_LEGACY, n, ACC_WRITE) ||
        (legacy && (!area_probe(c, u, AREA_BLOCKS, 0, LEGACY_USED, ACC_WRITE) ||
                    !area_load(c, u, AREA_BLOCKS, 0, b, LEGACY_USED))) ||
        !area_load(c, u, AREA_BLOCKS, XSAVE_LEGACY, b + XSAVE_LEGACY, 16))
        return false;
    if (write & XSTATE_X87)
        legacy_x87_pack(c, u->size == 8, b);
    if (mxcsr) {
        put_le32(b + 24, c->s.mxcsr);
        put_le32(b + 28, MXCSR_MASK);
    }
    if (write & XSTATE_SSE)
        legacy_sse_pack(c, b);
    if (write & XSTATE_AVX)
        avx_pack(c, b + XSAVE_AVX);
    if (kind == XSAVE_COMPACT) {
        put_le64(b + 512, used);
        put_le64(b + 520, want | XCOMP_BV);
    } else {
        put_le64(b + 512, (get_le64(b + 512) & ~want) | used);
    }
    return (!legacy || area_store(c, u, AREA_BLOCKS, 0, b, LEGACY_USED)) &&
           (!(write & XSTATE_AVX) ||
            area_store(c, u, AREA_BLOCKS, XSAVE_AVX, b + XSAVE_AVX, 16 * vector_count(c))) &&
           area_store(c, u, AREA_BLOCKS, XSAVE_LEGACY, b + XSAVE_LEGACY,
                      kind == XSAVE_COMPACT ? 16 : 8);
}

bool h_xsave(struct cpu *c, const struct uop *u)
{
    return xsave(c, u, XSAVE_PLAIN);
}

bool h_xsaveopt(struct cpu *c, const struct uop *u)
{
    return xsave(c, u, XSAVE_OPT);
}

bool h_xsavec(struct cpu *c, const struct uop *u)
{
    return xsave(c, u, XSAVE_COMPACT);
}

static bool header_fault(struct cpu *c, uint64_t bv, uint64_t comp)
{
    return cpu_fault_err(c, EXC_GP, 0, "XRSTOR header: XSTATE_BV %llx, XCOMP_BV %llx", bv, comp);
}

/* The header's reserved bits (SDM 1 13.8.1, 13.8.2). */
static bool header_ok(struct cpu *c, const uint8_t *b)
{
    uint64_t bv = get_le64(b + 512), comp = get_le64(b + 520);
    bool compact = comp & XCOMP_BV, bad = bv & ~c->s.xcr0 || (compact ? bv & ~comp : comp);
    for (unsigned i = compact ? 16 : 8; i < (compact ? 64u : 24u); i += 8)
        bad |= get_le64(b + 512 + i) != 0;
    return !bad || header_fault(c, bv, comp);
}

static void initial_x87(struct cpu *c)
{
    x87_init(c);
    memset(c->s.fp_sig, 0, sizeof c->s.fp_sig);
    memset(c->s.fp_exp, 0, sizeof c->s.fp_exp);
}

/* Processors ask for what is requested, though it may be initial, and in the compact form for no
 * component that the image lacks. They do so before they check the header, but for XCOMP_BV. */
static bool xrstor_read(struct cpu *c, const struct uop *u, uint64_t want, uint8_t *b)
{
    const unsigned header = XSAVE_AVX - XSAVE_LEGACY;
    if (!area_load(c, u, AREA_BLOCKS, XSAVE_LEGACY, b + XSAVE_LEGACY, header))
        return false;
    uint64_t comp = get_le64(b + 520), avx_mxcsr = XSTATE_AVX;
    if (comp & XCOMP_BV) {
        if (comp & ~(c->s.xcr0 | XCOMP_BV))
            return header_fault(c, get_le64(b + 512), comp);
        want &= comp;
        avx_mxcsr = 0;
    }
    return (!(want & XSTATE_AVX) ||
            area_load(c, u, AREA_BLOCKS, XSAVE_AVX, b + XSAVE_AVX, XSAVE_MAX - XSAVE_AVX)) &&
           (!(want & (XSTATE_X87 | XSTATE_SSE | avx_mxcsr)) ||
            area_load(c, u, AREA_BLOCKS, 0, b, LEGACY_USED)) &&
           header_ok(c, b);
}

bool h_xrstor(struct cpu *c, const struct uop *u)
{
    uint8_t b[XSAVE_MAX] = {0};
    uint64_t want = requested(c);
    if (!xsave_ready(c) || misaligned(c, u, 64) || !xrstor_read(c, u, want, b))
        return false;
    uint64_t load = want & get_le64(b + 512);
    bool compact = get_le64(b + 520) & XCOMP_BV;
    /* The standard form loads MXCSR with SSE or AVX whatever XSTATE_BV says; the compact one with
     * SSE, from the image or as its initial value. */
    bool mxcsr = compact ? want & XSTATE_SSE : want & (XSTATE_SSE | XSTATE_AVX);
    bool from_image = !compact || (load & XSTATE_SSE);
    if (mxcsr && from_image && bad_mxcsr(c, get_le32(b + 24)))
        return false;
    if (load & XSTATE_X87)
        legacy_x87_unpack(c, u->size == 8, b);
    else if (want & XSTATE_X87)
        initial_x87(c);
    if (mxcsr)
        c->s.mxcsr = from_image ? get_le32(b + 24) : MXCSR_INIT;
    for (unsigned i = 0; i < vector_count(c); i++) {
        if (want & XSTATE_SSE)
            memset(c->s.v[i].b, 0, 16);
        if (want & XSTATE_AVX)
            memset(c->s.v[i].b + 16, 0, 16);
        if (load & XSTATE_AVX)
            memcpy(c->s.v[i].b + 16, b + XSAVE_AVX + 16 * i, 16);
    }
    if (load & XSTATE_SSE)
        legacy_sse_unpack(c, b);
    return true;
}
