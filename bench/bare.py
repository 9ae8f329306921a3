"""Programs without an operating system, in ishi, QEMU's TCG and Bochs.

Each program is a disk image that boots in any PC (bench/guest/bare). From its time the time of an image that does
nothing is taken away, so that BIOS and start-up don't count. Peers that are not installed are left out by name.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import statistics
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
ISHI = ROOT / "build" / "ishi"
RUNS = 3
PROGRAMS = ["integer", "double", "x87"]
BOCHS_BIOS = "/usr/share/bochs/BIOS-bochs-latest"
BOCHS_VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"


def read(fd):
    try:
        return os.read(fd, 65536)
    except OSError:  # a terminal whose other end is gone
        return b""


def call(args, until=None, limit=600, tty=False, watch=None, **more):
    """Seconds of CPU time until the process ends, or prints `until` (it is killed then), and what it printed. With
    `watch`, it is what comes from that file that counts as printed.
    CPU time, as other work on the machine would count otherwise; all of them compute on one thread."""
    start = time.monotonic()
    if tty:
        reader, writer = pty.openpty()
        process = subprocess.Popen([str(a) for a in args], stdin=writer, stdout=writer, stderr=writer,
                                   env=dict(os.environ, TERM="vt100"), **more)
        os.close(writer)
    else:
        process = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, **more)
        reader = process.stdout.fileno()
    out = b""
    late = False
    try:
        while True:
            ready = select.select([fd for fd in (reader, watch) if fd is not None], [], [], limit)[0]
            chunks = {fd: read(fd) for fd in ready}
            if chunks.get(reader) == b"":
                break
            out += chunks.get(reader if watch is None else watch, b"")
            late = time.monotonic() - start > limit
            if late or (until and until in out):
                os.kill(process.pid, signal.SIGKILL)
                break
    finally:
        _, _, used = os.wait4(process.pid, 0)
    if late:
        raise SystemExit(f"bench: {args[0]} did not end within {limit} s")
    return used.ru_utime + used.ru_stime, out.decode(errors="replace")


def checksum(text):
    found = re.findall(r"\b[0-9a-f]{8}\b", text)
    return found[-1] if found else None


def ishi(image, work, engine):
    seconds, text = call([ISHI, "--stats", *(["--engine", engine] if engine else []), "--ide", f"{image},snapshot"])
    mips = re.search(r"(\d+) instructions", text)
    return seconds, checksum(text.partition("ishi: ")[0]), int(mips[1]) if mips else 0


def qemu(image, work, engine):
    seconds, text = call(["qemu-system-i386", "-accel", "tcg", "-display", "none", "-m", "64", "-serial", "stdio",
                          "-drive", f"file={image},format=raw,snapshot=on", "-device",
                          "isa-debug-exit,iobase=0x501"])
    return seconds, checksum(text), 0


def bochs_machine(work, com1, *disks, megs=64):
    """Debian's Bochs has its debugger built in: -rc with a file that says c starts the machine."""
    (work / "rc").write_text("c\n")
    drives = "\n".join(f"ata0-{place}: type=disk, path={disk}, mode=flat"
                       for place, disk in zip(("master", "slave"), disks))
    (work / "bochsrc").write_text(f"""megs: {megs}
romimage: file={BOCHS_BIOS}
vgaromimage: file={BOCHS_VGA}
{drives}
boot: disk
com1: enabled=1, {com1}
log: {work}/log
display_library: term
sound: driver=dummy
cpu: count=1, ips=100000000
clock: sync=none
""")
    return ["bochs", "-q", "-f", work / "bochsrc", "-rc", work / "rc"]


def bochs(image, work, engine):
    shutil.copy(image, work / "disk.img")
    (work / "com1").unlink(missing_ok=True)
    seconds, text = call(bochs_machine(work, f"mode=file, dev={work}/com1", work / "disk.img"), cwd=work, tty=True)
    serial = (work / "com1").read_text(errors="replace") if (work / "com1").exists() else ""
    if not serial:
        raise SystemExit(f"bench: Bochs printed nothing on COM1:\n{text[-2000:]}")
    return seconds, checksum(serial), 0


def xv6(name, folder, work, more):
    """Seconds of CPU time to xv6's shell. In Bochs the serial line is a terminal of its own."""
    for disk in ("xv6.img", "fs.img"):
        shutil.copy(pathlib.Path(folder) / disk, work / disk)
    if name == "Bochs":
        reader, writer = pty.openpty()
        machine = bochs_machine(work, f"mode=term, dev={os.ttyname(writer)}", work / "xv6.img", work / "fs.img",
                                megs=512)
        try:
            # its serial port takes its time, and xv6 doesn't wait for long: characters are missing
            return call(machine, until=b"$ ", tty=True, watch=reader, cwd=work)[0]
        finally:
            os.close(reader)
            os.close(writer)
    if name == "ishi":
        args = [ISHI, "--ide", work / "xv6.img", "--ide", work / "fs.img", *more]
    else:
        args = ["qemu-system-i386", "-accel", "tcg", "-display", "none", "-serial", "stdio", "-m", "512",
                "-drive", f"file={work}/xv6.img,index=0,media=disk,format=raw",
                "-drive", f"file={work}/fs.img,index=1,media=disk,format=raw"]
    return call(args, until=b"\n$ ")[0]


def missing(name):
    """Why a peer can't run here; "" if it can."""
    tool = {"QEMU": "qemu-system-i386", "Bochs": "bochs"}[name]
    if not shutil.which(tool):
        return f"without {name}: {tool} is not installed"
    if name == "Bochs" and not os.path.exists(BOCHS_BIOS):
        return "without Bochs: the packages bochsbios and vgabios are not installed"
    return ""


def peers():
    found = {"ishi": ishi}
    for name, run in (("QEMU", qemu), ("Bochs", bochs)):
        if missing(name):
            print(missing(name))
        else:
            found[name] = run
    return found


def measure(run, image, work, engine):
    results = [run(image, work, engine) for _ in range(RUNS)]
    return statistics.median(r[0] for r in results), results[0][1], results[0][2]


def row(label, seconds, instructions=0):
    ours = seconds["ishi"]
    cells = [f"{label:10} {ours:8.2f} s"]
    cells.append(f"{instructions / ours / 1e6:8.0f} MIPS" if instructions else " " * 13)
    for name in ("QEMU", "Bochs"):
        if name in seconds:
            cells.append(f"{name} {seconds[name]:7.2f} s, ishi is {seconds[name] / ours:5.2f} × as fast")
    print("   ".join(cells), flush=True)


def run(work, engine):
    """Prints a row a program. `engine`: ishi's, or None."""
    print("\nbare metal, 32 bits")
    who = peers()
    subprocess.run(["make", "-s", "-C", HERE / "guest/bare", f"OUT={work}"], check=True)
    empty = {n: measure(f, work / "empty.img", work, engine) for n, f in who.items()}
    for program in PROGRAMS:
        got = {n: measure(f, work / f"{program}.img", work, engine) for n, f in who.items()}
        sums = {n: g[1] for n, g in got.items()}
        if len(set(sums.values())) != 1:
            print(f"{program}: the checksums differ: {sums}")
        row(program, {n: max(g[0] - empty[n][0], 1e-3) for n, g in got.items()}, got["ishi"][2] - empty["ishi"][2])
    row("BIOS, end", {n: e[0] for n, e in empty.items()}, empty["ishi"][2])
