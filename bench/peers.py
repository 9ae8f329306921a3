"""The programs that are compared, each as a process that is started, spoken to and timed.

Time is CPU time of the whole process: other work on the machine does not count in it. It is read while the
guest waits for a line from us, so that nothing runs meanwhile."""
import os
import selectors
import shutil
import signal
import subprocess
import time

LIMIT = 300  # seconds that one answer may take


class Gone(Exception):
    """The peer ended, or gave no answer in time."""


def cpu_seconds(pid):
    """CPU time of a running process, all threads, to the nanosecond: Linux's clock id of another process."""
    return time.clock_gettime(~pid << 3 | 2)


class Agent:
    """A process with bench/guest/linux/agent.c on its standard input and output. `inside`: its own clock is
    good, as it runs natively; else the process's CPU time counts."""

    def __init__(self, args, inside, limit=LIMIT):
        self.inside = inside
        self.limit = limit
        self.process = subprocess.Popen([str(a) for a in args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self.buffer = b""
        self.seen = b""
        self.wait = selectors.DefaultSelector()
        self.wait.register(self.process.stdout, selectors.EVENT_READ)
        self.expect("@agent")
        self.boot_seconds = self.cpu()

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def expect(self, *words):
        """The next line that begins with one of the words, as words."""
        deadline = time.monotonic() + self.limit
        while True:
            while b"\n" in self.buffer:
                line, _, self.buffer = self.buffer.partition(b"\n")
                self.seen = (self.seen + line + b"\n")[-2000:]
                at = line.find(b"@")
                found = line[at:].decode(errors="replace").split() if at >= 0 else []
                if found and found[0] in ("@failed", *words):
                    return found
            left = deadline - time.monotonic()
            if left <= 0 or not self.wait.select(left):
                raise Gone(f"no answer within {self.limit} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Gone("it ended:\n" + self.seen.decode(errors="replace"))
            self.buffer += data

    def send(self, text):
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Gone("it ended:\n" + self.seen.decode(errors="replace"))

    def run(self, *words):
        """Seconds and checksum of one program, or None if it is not to be had there."""
        self.send("\t".join(str(w) for w in words))
        if self.expect("@ready", "@absent")[0] != "@ready":
            return None
        time.sleep(0.01)  # until an emulator idles
        start = self.cpu()
        self.send("go")
        done = self.expect("@done")
        if done[0] != "@done":
            return None
        time.sleep(0.003)
        return (int(done[2]) / 1e6 if self.inside else self.cpu() - start), done[1]

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def native(agent):
    return Agent([agent], inside=True)


def ishi(program, engine, kernel, initrd):
    engine = ["--engine", engine] if engine else []
    return Agent([program, kernel, "--initrd", initrd, "--mem", "512M", "--append", "console=ttyS0 quiet", *engine],
                 inside=False)


def qemu(bits, kernel, initrd):
    tool = "qemu-system-x86_64" if bits == 64 else "qemu-system-i386"
    return Agent([tool, "-accel", "tcg", "-cpu", "max", "-m", "512", "-display", "none", "-serial", "stdio",
                  "-monitor", "none", "-net", "none", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
                  "-append", "console=ttyS0 quiet"], inside=False)


def has_qemu():
    return shutil.which("qemu-system-x86_64") and shutil.which("qemu-system-i386")
