"""Debian's own root file system, with systemd, on an IDE disk."""
import hashlib
import json
import math
import os
import re
import subprocess

import pytest
from conftest import ROOT, need

PROMPT = r"root@ishi:[^\n]*# "

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>

static int order(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

int main(void)
{
    static unsigned v[10000];
    unsigned seed = 1, wrong = 0;
    double sum = 0;
    for (int i = 0; i < 10000; i++)
        v[i] = seed = seed * 1664525u + 1013904223u;
    qsort(v, 10000, sizeof v[0], order);
    for (int i = 1; i < 10000; i++) {
        wrong += v[i - 1] > v[i];
        sum += 1.0 / i;
    }
    printf("wrong %u sum %.12f last %u\n", wrong, sum, seed);
    return 0;
}
"""

SCRIPT = """
import hashlib, json, math
print(json.dumps({"pi": math.pi, "sum": 0.1 + 0.2, "root": 2 ** 0.5, "sin": math.sin(1e6), "big": 3 ** 200,
                  "sha": hashlib.sha256(b"abc").hexdigest(), "long": hashlib.sha256(b"a" * 100000).hexdigest()}))
"""


def expected_program():
    seed = 1
    for _ in range(10000):
        seed = (seed * 1664525 + 1013904223) & 0xffffffff
    total = 0.0
    for i in range(1, 10000):
        total += 1.0 / i
    return f"wrong 0 sum {total:.12f} last {seed}"


@pytest.fixture(scope="session")
def debian():
    """Folder with vmlinuz, initrd.gz and root.img."""
    if os.getuid():
        pytest.skip("a Debian root is made as root only")
    need("debootstrap", "mke2fs", "e2fsck", "depmod")
    done = subprocess.run([str(ROOT / "scripts/make-debian-root")], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip(f"a Debian root can't be had: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def write(m, path, text):
    """Types a text into a file of the guest's, as a person would paste it."""
    m.line(f"cat >{path} <<'END-OF-FILE'")
    for line in text.strip().splitlines():
        m.expect("next: ")
        m.line(line)
    m.expect("next: ")
    m.run("END-OF-FILE", PROMPT)


@pytest.mark.long
@pytest.mark.parametrize("clock", ["host", "virtual"])
def test_debian_root(ishi, debian, tmp_path, clock):
    disk = tmp_path / "root.img"
    subprocess.run(["cp", "--sparse=always", f"{debian}/root.img", disk], check=True)
    m = ishi(f"{debian}/vmlinuz", "--initrd", f"{debian}/initrd.gz", "--ide", disk, "--clock", clock,
             "--append", "console=ttyS0 root=/dev/sda quiet", timeout=600)

    m.expect("ishi login: ")
    m.line("root")
    m.expect("Password: ")
    m.line("wrong")
    m.expect("Login incorrect")
    m.expect("login: ")
    m.line("root")
    m.expect("Password: ")
    m.line("ishi")
    m.expect(PROMPT)
    m.run("bind 'set enable-bracketed-paste off'; export PS2='next: ' SYSTEMD_COLORS=0", PROMPT)

    assert re.search(r"^0 loaded units listed", m.run("systemctl --failed --no-pager", PROMPT), re.M)
    assert not re.search(r"(?i)BUG:|\boops\b|call trace|I/O error|ata.*exception", m.run("dmesg", PROMPT))

    m.run("cd /tmp && tar xzmf /root/archive.tar.gz", PROMPT)
    assert "sums 0" in m.run("sha256sum --quiet -c /root/archive.sums; echo sums $?", PROMPT)

    write(m, "a.c", PROGRAM)
    assert expected_program() in m.run("tcc -o a a.c && ./a", PROMPT)

    write(m, "a.py", SCRIPT)
    said = json.loads(re.search(r"\{.*\}", m.run("python3 a.py", PROMPT))[0])
    assert said == {"pi": math.pi, "sum": 0.1 + 0.2, "root": 2 ** 0.5, "sin": math.sin(1e6), "big": 3 ** 200,
                    "sha": hashlib.sha256(b"abc").hexdigest(), "long": hashlib.sha256(b"a" * 100000).hexdigest()}

    m.run("cp -r doc /root/doc; sync", PROMPT)
    m.line("poweroff")
    assert m.status(timeout=600) == 0
    done = subprocess.run(["e2fsck", "-fn", disk], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and "Fix?" not in done.stdout, done.stdout
    count = subprocess.run(["debugfs", "-R", "stat /root/doc", disk], text=True, stdout=subprocess.PIPE)
    assert "Type: directory" in count.stdout
