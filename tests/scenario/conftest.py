"""What the scenario tests share: ishi as a person uses it, on a terminal or in a pipe."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pexpect
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from telling import PATIENCE, pytest_runtest_makereport, spawn  # noqa: E402, F401

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ISHI = ROOT / "build" / "ishi"


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; run by ./check --long")


class Machine:
    """A running ishi on a pseudo-terminal."""

    def __init__(self, *args, timeout=PATIENCE):
        self.child = spawn(str(ISHI), [str(a) for a in args], timeout=timeout, encoding="utf-8", codec_errors="replace", cwd=ROOT,
                           dimensions=(50, 132))

    def expect(self, pattern, timeout=-1):
        self.child.expect(pattern, timeout=timeout)
        return self.child.match

    def send(self, text):
        self.child.send(text)

    def line(self, text):
        self.child.send(text + "\r")

    def run(self, command, prompt, timeout=-1):
        """Types a command and returns what it printed before the next prompt."""
        self.line(command)
        self.expect(prompt, timeout)
        return self.child.before.replace("\r", "").partition("\n")[2]

    def status(self, timeout=PATIENCE):
        """Waits for the end and returns the exit status."""
        self.child.expect(pexpect.EOF, timeout=timeout)
        self.until_ended(timeout)
        self.child.close()
        return self.child.exitstatus

    def until_ended(self, timeout):
        """Its threads may take the host a while, and close() would only wait for tenths of seconds."""
        end = time.time() + timeout
        try:
            while not os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                assert time.time() < end, "it has closed the terminal and does not end"
                time.sleep(0.02)
        except ChildProcessError:  # pexpect has its status already
            pass

    def see(self, text, timeout=PATIENCE):
        """Waits until the terminal's screen, as a person sees it, shows the text."""
        import pyte
        if not hasattr(self, "screen"):
            self.screen = pyte.Screen(132, 50)
            self.stream = pyte.Stream(self.screen)
        end = time.time() + timeout
        while time.time() < end:
            try:
                self.stream.feed(self.child.read_nonblocking(65536, timeout=0.2))
            except pexpect.TIMEOUT:
                pass
            if any(text in line for line in self.screen.display):
                return
        raise AssertionError(f"no {text!r} on the screen:\n" + "\n".join(self.screen.display))

    def quit(self):
        self.send("\x01x")
        return self.status()


@pytest.fixture
def ishi():
    """Starts machines and sees to it that none outlives its test."""
    machines = []

    def start(*args, **more):
        machines.append(Machine(*args, **more))
        return machines[-1]

    yield start
    for m in machines:
        m.child.kill(signal.SIGKILL)
        m.child.wait()  # a machine's memory may take the host a while
        m.child.close()


@pytest.fixture
def piped():
    """Runs ishi to its end with text as its input."""
    def run(*args, text="", timeout=PATIENCE):
        return subprocess.run([str(ISHI), *map(str, args)], input=text, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, cwd=ROOT)

    return run


@pytest.fixture(scope="session")
def xv6():
    """Folder with the user's own xv6.img and fs.img."""
    folder = os.environ.get("ISHI_XV6")
    if not folder:
        pytest.skip("ISHI_XV6 names no folder with xv6.img and fs.img")
    return pathlib.Path(folder)


def guest(name):
    """Folder with a guest's vmlinuz and initrd.gz, fetched once."""
    done = subprocess.run([str(ROOT / "scripts/default-guest"), name], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip(f"{name} can't be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return pathlib.Path(done.stdout.strip())


# A host that stands still for half a minute is no stall of the guest's, which would tell of it with a call trace.
PATIENT_KERNEL = "rcupdate.rcu_cpu_stall_timeout=300 watchdog_thresh=60"


def kernel(name, append):
    """The arguments that boot it."""
    folder = guest(name)
    return [folder / "vmlinuz", "--initrd", folder / "initrd.gz", "--append", f"{append} {PATIENT_KERNEL}"]


@pytest.fixture(scope="session")
def default_guest():
    return guest("cloud-amd64")


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


def need_file(path):
    if not os.path.exists(path):
        pytest.skip(f"{path} is not here")
    return path
