"""Bad input: one clear line that says what, where and what to do; a status that is not 0; no hang."""
import os
import re

import pytest
from conftest import ROOT

CASES = [
    (["--mem", "0", "x"], "--mem 0: at least 1M"),
    (["--mem", "99999999G", "x"], "more than the 256G"),
    (["--mem", "12X", "x"], "give a size, as 512M or 2G"),
    (["--cpus", "0", "x"], "give a number from 1 to 32"),
    (["--cpus", "33", "x"], "give a number from 1 to 32"),
    (["--cpu", "z80", "x"], "no CPU model"),
    (["--nonsense"], "no option --nonsense"),
    (["--mem"], "--mem needs SIZE"),
    (["/no/such/file"], "No such file"),
    (["--ide", "/no/such/disk"], "No such file"),
    (["/etc"], "is not a file"),
    ([], "nothing to boot"),
    (["--serial", "carrier-pigeon", "x"], "not a place for a serial line"),
    (["--engine", "warp", "x"], "--engine warp"),
]


@pytest.mark.parametrize("args,want", CASES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_command_line(piped, tmp_path, args, want):
    sector = tmp_path / "x"
    sector.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    done = piped(*[str(sector) if a == "x" else a for a in args])
    assert want in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("data,want", [
    (b"", "empty"),
    (bytes(4096), "boot"),
    (b"\x7fELF" + bytes(60), "ELF"),
    (b"\x1f\x8b\x08" + bytes(600), "gzip"),
    (b"QFI\xfb" + bytes(600), "qcow2"),
    (b"just some words\n" * 50, "text"),
], ids=["empty", "zeros", "elf", "gzip", "qcow2", "text"])
def test_bad_image(piped, tmp_path, data, want):
    image = tmp_path / "image"
    image.write_bytes(data)
    done = piped(image)
    assert want.lower() in done.stderr.lower()
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("more", [[], ["--firmware", "none"]], ids=["seabios", "none"])
def test_drives_that_do_not_boot(piped, tmp_path, more):
    a, b = tmp_path / "a.img", tmp_path / "b.img"
    a.write_bytes(bytes(1 << 20))
    b.write_bytes(b"data" * 1024)
    done = piped("--ide", a, "--ide", b, *more, timeout=20)
    assert "a.img" in done.stderr and "no drive boots" in done.stderr or more
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.returncode == 2


def test_second_drive_boots(piped, tmp_path):
    """It is for the BIOS to choose."""
    a, b = tmp_path / "a.img", tmp_path / "b.img"
    a.write_bytes(bytes(1 << 20))
    b.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    done = piped("--ide", a, "--ide", b, "--clock", "virtual", "--stop-after", "1000000", timeout=20)
    assert done.returncode == 0, done.stderr


def test_disk_that_cannot_be_written(piped, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(510) + b"\x55\xaa")
    image.chmod(0o444)
    done = piped("--ide", image)
    assert "can't be written" in done.stderr and ",snapshot" in done.stderr
    assert done.returncode == 2


def test_disk_in_use(ishi, piped, tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(b"\xeb\xfe" + bytes(508) + b"\x55\xaa")
    first = ishi("--firmware", "none", "--ide", image)
    first.expect("interpreter")
    done = piped("--firmware", "none", "--ide", image)
    assert "in use" in done.stderr and done.returncode == 2
    assert first.quit() == 0


def test_help_lists_every_option_of_the_manual(piped):
    text, manual = piped("--help").stdout, piped("--man").stdout
    options = set(re.findall(r"\\fB\\-\\-([a-z\\-]+)\\fR", manual))
    assert len(options) > 15
    for o in options:
        assert "--" + o.replace("\\", "") in text


def test_help_lists_every_cpu_model(piped, tmp_path):
    sector = tmp_path / "x"
    sector.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    refusal = piped("--cpu", "z80", sector).stderr
    listed = re.search(r"CPU models:\n((?:  \S.*\n)+)", piped("--help").stdout)[1]
    assert [line.split()[0] for line in listed.splitlines()] == refusal.partition("there are ")[2].strip().split(", ")


def test_manual_page_is_current(piped):
    assert (ROOT / "docs" / "ishi.1").read_text() == piped("--man").stdout, "renew it: build/ishi --man >docs/ishi.1"
