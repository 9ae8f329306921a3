"""What ishi's `--display term` draws, as rows of text: the few control sequences that front/screen.c sends."""
import re
import time

import pexpect
from telling import PATIENCE

TOKEN = re.compile(r"\033\[([?0-9;]*)([A-Za-z])|\033?[^\033]", re.S)
UNFINISHED = re.compile(r"\033(\[[?0-9;]*)?$")


class Screen:
    def __init__(self, machine):
        self.child = machine.child
        self.rest = ""
        self.clear()

    def clear(self):
        self.rows = {}
        self.x = self.y = 0

    def feed(self, data):
        data = self.rest + data
        cut = UNFINISHED.search(data)
        self.rest = data[cut.start():] if cut else ""
        for m in TOKEN.finditer(data[:cut.start()] if cut else data):
            if m[2] == "H":
                y, _, x = m[1].partition(";")
                self.y, self.x = int(y or 1) - 1, int(x or 1) - 1
            elif m[2] == "J":
                self.clear()
            elif m[0] == "\r":
                self.x = 0
            elif m[0] == "\n":
                self.y += 1
            elif not m[2]:
                self.rows.setdefault(self.y, {})[self.x] = m[0]
                self.x += 1

    def row(self, y):
        cells = self.rows.get(y, {})
        return "".join(cells.get(x, " ") for x in range(max(cells, default=-1) + 1)).rstrip()

    @property
    def text(self):
        return "\n".join(self.row(y) for y in range(max(self.rows, default=-1) + 1))

    def shows(self, pattern, timeout):
        """The match, once the screen shows the pattern; None if it doesn't in time."""
        end = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.text)
            if found or time.monotonic() > end:
                return found
            try:
                self.feed(self.child.read_nonblocking(65536, timeout=0.5))
            except pexpect.TIMEOUT:
                pass
            except pexpect.EOF:
                raise AssertionError(f"ishi ended without {pattern!r} on the screen:\n{self.text}") from None

    def expect(self, pattern, timeout=PATIENCE):
        found = self.shows(pattern, timeout)
        assert found, f"no {pattern!r} within {timeout} s on the screen:\n{self.text}"
        return found
