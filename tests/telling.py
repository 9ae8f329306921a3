"""What a failed test tells, for those who see its output only: the end of what its machines said, what their CPUs
do, and, as the last lines, the reason in short, which ./check repeats at its end."""
import os
import re
import subprocess
import time

import pexpect
import pytest

# Seconds that a test waits for anything: no test is about the host's speed, so this only bounds how long a hang
# takes to be told.
PATIENCE = 600
LINES = 60
IN_SHORT = "in short"
MONITOR = r"\(ishi\) $"

# What tests started and may still run: pexpect's children and subprocess's.
started = []


def tail(text, lines=LINES):
    """The last lines as they would be read: without control sequences, long lines cut."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = re.sub(r"\033\[[?0-9;]*[A-Za-z]|\r", "", text or "")
    return [line[-200:] for line in text.rstrip().splitlines()[-lines:]]


def cpu_seconds(pid):
    """What it has used of the host's processors: tells a machine that hangs from one that was not let run."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def registers(child):
    """The CPUs' state by the monitor, if that answers."""
    try:
        if not re.search(MONITOR, child.transcript.text):
            child.send("\x01c")
            child.expect(MONITOR, timeout=10)
        child.send("info registers\r")
        child.expect("info registers\r*\n(.*)" + MONITOR, timeout=10)
        return tail(child.match[1])
    except (pexpect.ExceptionPexpect, OSError):
        return ["the monitor does not answer"]


class Transcript:
    """The end of what a child printed, as its logfile_read."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text = (self.text + text)[-64000:]

    def flush(self):
        pass


def spawn(program, args, **more):
    child = pexpect.spawn(program, args, **more)
    child.transcript = child.logfile_read = Transcript()
    child.since = time.time()
    started.append(child)
    return child


def of_terminal(child):
    """Sections about a child of pexpect's, and a line about it."""
    try:
        child.read_nonblocking(65536, timeout=0)
    except (pexpect.ExceptionPexpect, OSError, ValueError):
        pass
    said = tail(child.transcript.text)
    used, alive = cpu_seconds(child.pid), not child.closed and child.isalive()
    sections = [("ishi's terminal", said)]
    if alive:
        sections.append(("info registers", registers(child)))
    state = f"ran {time.time() - child.since:.0f} s, used {used:.1f} s of processors" if alive else \
        f"has ended, status {child.exitstatus}, signal {child.signalstatus}"
    return sections, "ishi " + state, said


def of_process(process):
    """The same of one of subprocess's; it is ended for that."""
    used, alive = cpu_seconds(process.pid), process.poll() is None
    process.kill()
    try:
        output, errors = process.communicate(timeout=30)
    except (subprocess.TimeoutExpired, ValueError):
        output = errors = ""
    said = tail(output) + tail(errors)
    return [("ishi's output", said)], f"ishi had used {used:.1f} s of processors" if alive else f"ishi has ended, status {process.returncode}", said


def reason(error):
    """A few lines of what went wrong."""
    if isinstance(error, pexpect.ExceptionPexpect):
        awaited = re.findall(r"^ *\d+: (?:re\.compile\()?(.*?)\)?$", str(error), re.M)
        return [f"{type(error).__name__}: awaited {' or '.join(awaited)}"]
    if isinstance(error, subprocess.TimeoutExpired):
        return [f"no end within {error.timeout:.0f} s: " + " ".join(map(str, error.cmd))[-200:]]
    lines = [line for line in str(error).splitlines() if line.strip()]
    return [f"{type(error).__name__}: {lines[0] if lines else ''}"[:200], *(line[:200] for line in lines[1:4])]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "teardown":  # a machine may be for several tests
        started[:] = [c for c in started if not getattr(c, "closed", getattr(c, "returncode", None) is not None)]
    if not report.failed or call.excinfo is None or not hasattr(report.longrepr, "addsection"):
        return
    error, last = call.excinfo.value, []
    short = reason(error)
    if isinstance(error, subprocess.TimeoutExpired):
        last = tail(error.output) + tail(error.stderr)
        report.longrepr.addsection("output", "\n".join(last))
    for child in started:
        sections, state, said = (of_terminal if hasattr(child, "transcript") else of_process)(child)
        for name, lines in sections:
            report.longrepr.addsection(name, "\n".join(lines))
        short.append(state)
        last = said or last
    short.append(f"after {call.duration:.0f} s; the host's load is {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    short += ["| " + line[-160:] for line in last if line.strip()][-5:]
    report.longrepr.addsection(IN_SHORT, "\n".join(short))
