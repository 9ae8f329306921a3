"""ishi compare: two machines in lockstep. Each way is seen to agree, and to find a difference that is put in."""
import re

import pytest


@pytest.fixture
def disk(tmp_path):
    """A disk whose boot sector counts in a loop and stores what it counts."""
    code = bytes.fromhex(
        "31c0"      # xor ax, ax
        "8ed8"      # mov ds, ax
        "bb0050"    # mov bx, 0x5000
        "40"        # l: inc ax
        "01c1"      # add cx, ax
        "8907"      # mov [bx], ax
        "f7e1"      # mul cx
        "83c302"    # add bx, 2
        "80e7df"    # and bh, 0xdf
        "ebf0")     # jmp l
    path = tmp_path / "disk.img"
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(512 * 63))
    return path


def compare(piped, *args):
    done = piped("compare", "--quiet", *args)
    return done.returncode, done.stdout + done.stderr


def test_engines_agree(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "2M", disk)
    assert status == 0, text
    assert "2000000 instructions" in text and "no difference" in text


def test_split_blocks_agree(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "1M", "--split", "3", disk)
    assert status == 0, text


def test_a_changed_register_is_found(piped, disk):
    status, text = compare(piped, "--engines", "interp,interp", "--steps", "1M", "--inject", "123457", "--firmware", "none",
                           "--history", "3", disk)
    assert status == 1
    assert "differ after 123457 instructions" in text
    assert re.search(r"cpu0.r\[3\]\n *first +\w+\n *second +\w+", text), text
    assert len(re.findall(r"^ +12345[456]  0000:0000", text, re.M)) == 3, text


def test_what_is_not_right_is_said(piped, disk):
    for args, words in [((disk,), "compare with what"), (("--engines", "interp", disk), "two names"),
                        (("--engines", "interp,warp", disk), "no engine warp"), (("--every", "0", disk), "at least 1")]:
        status, text = compare(piped, *args)
        assert status == 2 and words in text, text
