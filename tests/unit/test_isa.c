#include "isa/isa.h"
#include "unit.h"

#include <stdlib.h>

static struct insn decode(enum isa_mode mode, const char *bytes, size_t n, enum isa_result want)
{
    struct insn in;
    enum isa_result got = isa_decode(&in, (const uint8_t *)bytes, n, mode, NULL);
    assert_int_equal(got, want);
    return in;
}

#define DECODE(mode, bytes)       decode(mode, bytes, sizeof(bytes) - 1, ISA_OK)
#define UNDEFINED(mode, bytes)    decode(mode, bytes, sizeof(bytes) - 1, ISA_UNDEFINED)
#define NAME(mode, bytes, string) assert_string_equal(DECODE(mode, bytes).row->name, string)

static void operand_sizes(void **state)
{
    assert_int_equal(DECODE(ISA_16, "\x01\xc8").osize, 2);
    assert_int_equal(DECODE(ISA_16, "\x66\x01\xc8").osize, 4);
    assert_int_equal(DECODE(ISA_32, "\x66\x01\xc8").osize, 2);
    assert_int_equal(DECODE(ISA_64, "\x48\x01\xc8").osize, 8);
    assert_int_equal(DECODE(ISA_64, "\x66\x48\x01\xc8").osize, 8);
    /* A REX before another prefix does not count. */
    assert_int_equal(DECODE(ISA_64, "\x48\x66\x01\xc8").osize, 2);
    assert_int_equal(DECODE(ISA_64, "\x50").osize, 8);
    assert_int_equal(DECODE(ISA_64, "\x66\x50").osize, 2);
    /* Near branches ignore 66 in 64-bit mode. */
    assert_int_equal(DECODE(ISA_64, "\x66\xe8\x00\x00\x00\x00").length, 6);
    assert_int_equal(DECODE(ISA_32, "\x66\xe8\x00\x00").length, 4);
    assert_int_equal(DECODE(ISA_32, "\x66\x0f\x20\xc0").osize, 4);
    assert_int_equal(DECODE(ISA_64, "\x0f\x20\xc0").op[0].size, 8);
}

static void addressing(void **state)
{
    struct insn in = DECODE(ISA_16, "\x8b\x42\xfe"); /* mov ax, [bp+si-2] */
    assert_int_equal(in.base, 5);
    assert_int_equal(in.index, 6);
    assert_int_equal(in.disp, -2);
    assert_int_equal(in.seg, SEG_SS);
    in = DECODE(ISA_16, "\x8b\x0e\x34\x12"); /* mov cx, [0x1234] */
    assert_int_equal(in.base, ISA_NO_REG);
    assert_int_equal(in.disp, 0x1234);
    assert_int_equal(in.seg, SEG_DS);
    in = DECODE(ISA_64, "\x8b\x05\x10\x00\x00\x00");
    assert_int_equal(in.base, ISA_RIP);
    in = DECODE(ISA_32, "\x8b\x05\x10\x00\x00\x00");
    assert_int_equal(in.base, ISA_NO_REG);
    in = DECODE(ISA_64,
                "\x65\x4a\x8b\x04\x25\x28\x00\x00\x00"); /* index r12: REX.X makes 4 a register */
    assert_int_equal(in.index, 12);
    assert_int_equal(in.seg, SEG_GS);
    in = DECODE(ISA_64, "\x2e\x8b\x04\x24");
    assert_int_equal(in.index, ISA_NO_REG);
    assert_int_equal(in.base, 4);
    assert_int_equal(in.seg, SEG_SS);
    assert_false(in.seg_override);
    in = DECODE(ISA_64, "\x41\x8b\x45\x00"); /* r13 needs a displacement, and is no SS base */
    assert_int_equal(in.base, 13);
    assert_int_equal(in.seg, SEG_DS);
    in = DECODE(ISA_64, "\x48\xa1\x01\x02\x03\x04\x05\x06\x07\x08");
    assert_true(in.is_mem);
    assert_int_equal(in.disp, 0x0807060504030201);
    assert_int_equal(DECODE(ISA_64, "\x67\xa1\x01\x02\x03\x04").length, 6);
}

static void registers(void **state)
{
    assert_int_equal(DECODE(ISA_32, "\x88\xe0").op[1].reg, ISA_HIGH | 0);
    assert_int_equal(DECODE(ISA_64, "\x40\x88\xe0").op[1].reg, 4);
    assert_int_equal(DECODE(ISA_64, "\x41\xb7\x01").op[0].reg, 15);
    UNDEFINED(ISA_32, "\x8e\xc8");         /* mov cs, ax */
    UNDEFINED(ISA_32, "\x8c\xf0");         /* segment register 6 */
    UNDEFINED(ISA_32, "\x0f\x20\xc8");     /* CR1 */
    UNDEFINED(ISA_64, "\x44\x0f\x21\xc0"); /* DR8 */
    assert_int_equal(DECODE(ISA_64, "\x44\x0f\x20\xc0").op[1].reg, 8);
    /* MOV CR takes any mod as a register. */
    assert_int_equal(DECODE(ISA_32, "\x0f\x20\x00").length, 3);
}

static void immediates(void **state)
{
    assert_int_equal(DECODE(ISA_64, "\x48\x83\xc0\xff").imm, ~0ull);
    assert_int_equal(DECODE(ISA_64, "\x48\x05\xff\xff\xff\xff").imm, ~0ull);
    assert_int_equal(DECODE(ISA_64, "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08").imm,
                     0x0807060504030201);
    struct insn in = DECODE(ISA_32, "\xc8\x10\x00\x03");
    assert_int_equal(in.imm, 0x10);
    assert_int_equal(in.imm2, 3);
    in = DECODE(ISA_32, "\xea\x78\x56\x34\x12\x08\x00");
    assert_int_equal(in.imm, 0x12345678);
    assert_int_equal(in.imm2, 8);
    assert_int_equal(DECODE(ISA_16, "\xeb\xfe").imm, ~1ull);
}

static void prefixes(void **state)
{
    NAME(ISA_64, "\x90", "nop");
    NAME(ISA_64, "\x41\x90", "xchg");
    NAME(ISA_64, "\xf3\x90", "pause");
    NAME(ISA_32, "\xf3\x0f\xb8\xc1", "popcnt");
    NAME(ISA_32, "\x66\xf2\x0f\x38\xf1\xc1", "crc32");
    NAME(ISA_32, "\x66\x0f\x38\xf1\x01", "movbe");
    assert_int_equal(DECODE(ISA_32, "\xf2\xf3\xa4").rep, 0xf3);
    assert_int_equal(DECODE(ISA_32, "\xf3\xf2\xa6").rep, 0xf2);
    DECODE(ISA_32, "\xf0\x01\x00");
    UNDEFINED(ISA_32, "\xf0\x01\xc0");
    UNDEFINED(ISA_32, "\xf0\x03\x00");
    UNDEFINED(ISA_32, "\xf0\x39\x00");
}

static void features(void **state)
{
    struct isa_features none = {{BIT(FEAT_BASE), 0}};
    struct insn in;
    const uint8_t tzcnt[] = {0xf3, 0x0f, 0xbc, 0xc1};
    assert_int_equal(isa_decode(&in, tzcnt, 4, ISA_32, &none), ISA_OK);
    assert_string_equal(in.row->name, "bsf");
    NAME(ISA_32, "\xf3\x0f\xbc\xc1", "tzcnt");
    const uint8_t cmov[] = {0x0f, 0x44, 0xc1};
    assert_int_equal(isa_decode(&in, cmov, 3, ISA_32, &none), ISA_UNDEFINED);
    assert_null(in.row);
}

static void modes(void **state)
{
    UNDEFINED(ISA_64, "\x27");
    UNDEFINED(ISA_64, "\x82\xc0\x01");
    NAME(ISA_32, "\x82\xc0\x01", "add");
    NAME(ISA_32, "\x63\xc0", "arpl");
    NAME(ISA_64, "\x63\xc0", "movsxd");
    NAME(ISA_32, "\xc4\x00", "les");
    NAME(ISA_64, "\x48\x0f\xc7\x08", "cmpxchg16b");
    NAME(ISA_64, "\x0f\xc7\x08", "cmpxchg8b");
    UNDEFINED(ISA_32, "\x0f\x05");
}

static void vex(void **state)
{
    struct insn in = DECODE(ISA_64, "\xc4\xe2\xf0\xf2\xc2"); /* andn rax, rcx, rdx */
    assert_string_equal(in.row->name, "andn");
    assert_int_equal(in.osize, 8);
    assert_int_equal(in.op[1].reg, 1);
    in = DECODE(ISA_32, "\xc4\xe2\x70\xf2\xc2");
    assert_int_equal(in.vvvv, 1);
    /* Outside 64-bit mode vvvv has three bits where it is a register, four where it must be unused.
     */
    assert_int_equal(DECODE(ISA_32, "\xc4\xe2\x30\xf2\xc2").op[1].reg, 1);
    UNDEFINED(ISA_32, "\xc4\xe3\x3b\xf0\xc2\x01");
    UNDEFINED(ISA_64, "\x66\xc4\xe2\xf0\xf2\xc2");
    UNDEFINED(ISA_64, "\x48\xc4\xe2\xf0\xf2\xc2");
    UNDEFINED(ISA_64, "\xc4\xe2\xf4\xf2\xc2");     /* L */
    UNDEFINED(ISA_64, "\xc4\xe3\x73\xf0\xc2\x01"); /* rorx with vvvv */
}

static void lengths(void **state)
{
    const char *longest = "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x01\xc0\x90";
    assert_int_equal(decode(ISA_32, longest, 16, ISA_OK).length, 15);
    decode(ISA_32, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x01\xc0", 16,
           ISA_TOO_LONG);
    decode(ISA_32, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66", 16,
           ISA_TOO_LONG);
    decode(ISA_32, "", 0, ISA_TRUNCATED);
    decode(ISA_32, "\x81\xc0\x01\x02\x03", 5, ISA_TRUNCATED);
    decode(ISA_32, "\xc4", 1, ISA_TRUNCATED);
    /* PINSRW has no F3, yet its displacement and immediate are fetched. */
    UNDEFINED(ISA_64, "\xf3\x0f\xc4\x43\x01\x02");
    decode(ISA_64, "\xf3\x0f\xc4\x43\x01", 5, ISA_TRUNCATED);
}

static void formats(void **state)
{
    static const struct {
        enum isa_mode mode;
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {
#define CASE(mode, bytes, text) {mode, bytes, sizeof(bytes) - 1, text}
        CASE(ISA_64, "\x8b\x44\x8b\x10", "mov eax, dword ptr [rbx+rcx*4+0x10]"),
        CASE(ISA_64, "\x64\x8b\x44\x8b\xf0", "mov eax, dword ptr fs:[rbx+rcx*4-0x10]"),
        CASE(ISA_64, "\x8b\x04\x8d\x10\x00\x00\x00", "mov eax, dword ptr [rcx*4+0x10]"),
        CASE(ISA_64, "\x48\x8b\x05\x10\x00\x00\x00", "mov rax, qword ptr [rip+0x10] {0x1017}"),
        CASE(ISA_32, "\xa1\x10\x00\x00\x00", "mov eax, dword ptr ds:[0x10]"),
        CASE(ISA_16, "\x8b\x42\xfe", "mov ax, word ptr [bp+si-0x2]"),
        CASE(ISA_64, "\x48\x83\xe4\xf0", "and rsp, 0xfffffffffffffff0"),
        CASE(ISA_16, "\xeb\xfe", "jmp 0x1000"),
        CASE(ISA_32, "\x74\x7f", "je 0x1081"),
        CASE(ISA_32, "\xea\x78\x56\x34\x12\x08\x00", "jmp 0x8:0x12345678"),
        CASE(ISA_32, "\xf3\xa5", "rep movsd"),
        CASE(ISA_16, "\xf3\x64\xa4", "rep fs movsb"),
        CASE(ISA_64, "\xf2\x48\xaf", "repne scasq"),
        CASE(ISA_64, "\xf0\x4c\x0f\xb1\x09", "lock cmpxchg qword ptr [rcx], r9"),
        CASE(ISA_64, "\x44\x88\xe5", "mov bpl, r12b"),
        CASE(ISA_32, "\x88\xe5", "mov ch, ah"),
        CASE(ISA_64, "\x48\x98", "cdqe"),
        CASE(ISA_64, "\x67\xe3\xfd", "jecxz 0x1000"),
        CASE(ISA_32, "\xc8\x10\x00\x03", "enter 0x10, 0x3"),
        CASE(ISA_32, "\x0f\x22\xd8", "mov cr3, eax"),
        CASE(ISA_32, "\xd1\xe0", "shl eax, 1"),
        CASE(ISA_32, "\x0f\x01\x10", "lgdt fword ptr [eax]"),
        CASE(ISA_32, "\x8e\xd8", "mov ds, ax"),
        CASE(ISA_32, "\xe5\x60", "in eax, 0x60"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct insn in = decode(cases[i].mode, cases[i].bytes, cases[i].n, ISA_OK);
        char buf[100], small[4];
        assert_int_equal(isa_format(&in, 0x1000, buf, sizeof buf), strlen(cases[i].text));
        assert_string_equal(buf, cases[i].text);
        assert_int_equal(isa_format(&in, 0x1000, small, sizeof small), strlen(cases[i].text));
        assert_int_equal(strlen(small), 3);
    }
}

/* What decode.c takes for granted of the rows. */
static void rows_are_sound(void **state)
{
    for (unsigned i = 0; i < isa_row_count; i++) {
        const struct isa_row *r = &isa_rows[i];
        unsigned kind = r->modrm >> 8;
        if (r->attr & A_PLUS_R)
            assert_int_equal(r->opcode & 7, 0);
        if (r->attr & A_VEX)
            assert_true(r->map != MAP_1B && r->prefix != P_ANY && r->prefix != P_NFX);
        for (unsigned k = 0; k < 4; k++) {
            switch (r->op[k]) {
            case OP_M:
            case OP_Mb:
            case OP_Mw:
            case OP_Md:
            case OP_Mq:
            case OP_Mt:
            case OP_Mdq:
            case OP_Mqq:
            case OP_Mp:
            case OP_Ms:
            case OP_Mx:
                if (kind != MK_MEM && kind != MK_DIGIT_MEM)
                    fail_msg("%s: memory operand, but ModRM may be a register", r->name);
                break;
            case OP_Nq:
            case OP_Uss:
            case OP_Usd:
            case OP_Uq:
            case OP_Udq:
            case OP_Ux:
                if (kind != MK_REG && kind != MK_DIGIT_REG && kind != MK_EXACT)
                    fail_msg("%s: register operand, but ModRM may be memory", r->name);
                break;
            }
        }
    }
}

/* Marks the row that the bytes select in each mode. */
static void mark(bool *reached, const uint8_t *bytes, size_t n)
{
    for (unsigned mode = ISA_16; mode <= ISA_64; mode++) {
        struct insn in;
        if (isa_decode(&in, bytes, n, mode, NULL) == ISA_OK)
            reached[isa_row_index(in.row)] = true;
    }
}

/* No row stands behind one that takes all its bytes. (SAHF's and LAHF's two rows differ in the
 * mode, and those of BSF in the feature, so all are there to be had.) */
static void rows_are_reachable(void **state)
{
    static const uint8_t prefix[][3] = {{0},       {1, 0x66}, {1, 0xf3},
                                        {1, 0xf2}, {1, 0x48}, {2, 0x66, 0x48}};
    static const uint8_t escape[][3] = {{0}, {1, 0x0f}, {2, 0x0f, 0x38}, {2, 0x0f, 0x3a}};
    bool *reached = calloc(isa_row_count, 1);
    for (unsigned p = 0; p < ARRAY_LEN(prefix) * ARRAY_LEN(escape); p++) {
        const uint8_t *a = prefix[p / ARRAY_LEN(escape)], *e = escape[p % ARRAY_LEN(escape)];
        for (unsigned k = 0; k < 65536; k++) {
            uint8_t b[15] = {0};
            memcpy(b, a + 1, a[0]);
            memcpy(b + a[0], e + 1, e[0]);
            b[a[0] + e[0]] = k >> 8;
            b[a[0] + e[0] + 1] = k;
            mark(reached, b, sizeof b);
        }
    }
    for (unsigned v = 0; v < 3 * 16 * 2; v++)
        for (unsigned k = 0; k < 65536; k++) {
            /* map; W, L, pp; vvvv unused or a register */
            uint8_t b[15] = {0xc4, 0xe1 + v % 3,
                             (v / 3 & 8) << 4 | (v / 3 & 7) | (v / 48 ? 0x78 : 0x70)};
            b[3] = k >> 8;
            b[4] = k;
            mark(reached, b, sizeof b);
        }
    for (unsigned i = 0; i < isa_row_count; i++)
        if (!reached[i])
            print_error("%s (%02x) is never reached\n", isa_rows[i].name, isa_rows[i].opcode);
    for (unsigned i = 0; i < isa_row_count; i++)
        assert_true(reached[i]);
    free(reached);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operand_sizes),  cmocka_unit_test(addressing),
        cmocka_unit_test(registers),      cmocka_unit_test(immediates),
        cmocka_unit_test(prefixes),       cmocka_unit_test(features),
        cmocka_unit_test(modes),          cmocka_unit_test(vex),
        cmocka_unit_test(lengths),        cmocka_unit_test(formats),
        cmocka_unit_test(rows_are_sound), cmocka_unit_test(rows_are_reachable),
    };
    return RUN(tests);
}
