"""The gdb stub, by gdb itself and by a client that speaks the protocol as it likes."""
import os
import pathlib
import platform
import re
import socket
import subprocess
import time

import pytest
import telling
from conftest import ISHI, PATIENCE, ROOT, need

HERE = ROOT / "tests" / "scenario"


def wait_for(path):
    """Until somebody listens at a socket: its name is there before."""
    def listens():
        with open("/proc/net/unix") as f:
            return any(line.split()[3] == "00010000" and line.endswith(f" {path}\n") for line in f)
    end = time.time() + PATIENCE
    while not listens():
        assert time.time() < end, f"nobody listens at {path}"
        time.sleep(0.02)


class Client:
    """The other end of the protocol, without gdb's care."""

    def __init__(self, path, features="swbreak+;hwbreak+", ack=False):
        self.s = socket.socket(socket.AF_UNIX)
        wait_for(path)
        self.s.connect(str(path))
        self.s.settimeout(PATIENCE)
        self.data = b""
        self.ack = True
        if features:
            assert "PacketSize" in self.ask("qSupported:" + features)
        if not ack:
            assert self.ask("QStartNoAckMode") == "OK"
            self.s.sendall(b"+")
            self.ack = False

    def raw(self, data):
        self.s.sendall(data)

    def put(self, body):
        body = body if isinstance(body, bytes) else body.encode()
        self.raw(b"$" + body + b"#%02x" % (sum(body) & 255))

    def get(self):
        """The next packet's body; acknowledged if need be."""
        while True:
            m = re.match(rb"[+-]*\$([^#]*)#(..)", self.data, re.S)
            if m:
                self.data = self.data[m.end():]
                assert sum(m[1]) & 255 == int(m[2], 16)
                if self.ack:
                    self.raw(b"+")
                return m[1].decode()
            more = self.s.recv(65536)
            if not more:
                raise EOFError
            self.data += more

    def ask(self, body):
        self.put(body)
        return self.get()

    def go(self, body="c"):
        """Goes on and returns the stop reply; what it printed before goes to .printed."""
        self.put(body)
        return self.stop()

    def interrupt(self):
        self.raw(b"\x03")
        return self.stop()

    def halted(self, idle):
        """Goes on until it is in the HLT at `idle`, where nothing happens."""
        self.put("c")
        while True:
            reply = self.interrupt()
            if self.reg("rip") == idle + 1:
                return reply
            self.put("c")
            time.sleep(0.01)

    def stop(self):
        self.printed = ""
        while True:
            r = self.get()
            if not r.startswith("O") or r == "OK":
                return r
            self.printed += bytes.fromhex(r[1:]).decode()

    def monitor(self, line):
        self.put("qRcmd," + line.encode().hex())
        assert self.stop() == "OK"
        return self.printed

    def number(self, name):
        """A register by its name, from the description."""
        if not hasattr(self, "regs"):
            xml, at = "", 0
            while True:
                r = self.ask(f"qXfer:features:read:target.xml:{at:x},7ff")
                xml += r[1:]
                at = len(xml)
                if r[0] == "l":
                    break
            self.regs = {m[1]: int(m[2]) for m in re.finditer(r'<reg name="(\w+)"[^>]*regnum="(\d+)"', xml)}
            self.xml = xml
        return self.regs[name]

    def reg(self, name):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{self.number(name):x}")), "little")

    def set_reg(self, name, value, size):
        return self.ask(f"P{self.number(name):x}={value.to_bytes(size, 'little').hex()}")


@pytest.fixture(scope="session")
def modes(tmp_path_factory):
    """modes.S as a disk image and as a program with symbols."""
    folder = tmp_path_factory.mktemp("modes")
    subprocess.run(["gcc", "-c", HERE / "modes.S", "-o", folder / "modes.o"], check=True)
    subprocess.run(["ld", "-Ttext=0x7c00", "--no-warn-rwx-segments", "-N", folder / "modes.o", "-o", folder / "modes.elf"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", folder / "modes.elf", folder / "modes.img"], check=True)
    symbols = subprocess.run(["nm", folder / "modes.elf"], text=True, check=True, stdout=subprocess.PIPE).stdout
    modes = type("Modes", (), {"img": folder / "modes.img", "elf": folder / "modes.elf"})
    modes.at = {line.split()[2]: int(line.split()[0], 16) for line in symbols.splitlines()}
    return modes


@pytest.fixture(params=["interp", "jit", "kvm"])
def debug(tmp_path, request):
    """Starts ishi, by each engine, with a socket for debuggers; .client() connects."""
    started = []
    if request.param == "jit" and platform.machine() != "x86_64":
        pytest.skip("the JIT needs an x86-64 host")
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("/dev/kvm can't be opened here")

    def start(image, *more, stopped=True):
        path = tmp_path / f"gdb{len(started)}"
        p = subprocess.Popen([str(ISHI), str(image), "--firmware", "none", "--mem", "16M", "--gdb", f"unix:{path}", "--engine", request.param,
                              *(["-S"] if stopped else []), *map(str, more)], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        p.path = path
        p.client = lambda **how: Client(path, **how)
        started.append(p)
        telling.started.append(p)
        return p

    start.engine = request.param
    yield start
    for p in started:
        p.kill()
        p.communicate()


def sector(tmp_path, code):
    image = tmp_path / "sector"
    image.write_bytes(code + bytes(510 - len(code)) + b"\x55\xaa")
    return image


def test_break_step_registers_memory(debug, modes):
    c = debug(modes.img).client()
    at = modes.at
    assert c.ask("?") == "T05thread:01;"
    assert c.reg("rip") == at["_start"] and c.reg("eip") == at["_start"]
    assert c.ask(f"Z0,{at['real']:x},1") == "OK"
    assert c.ask(f"Z0,{at['real']:x},1") == "OK"  # as if once
    assert c.go() == "T05swbreak:;thread:01;"
    assert c.reg("rip") == at["real"] and c.reg("rbx") == 0x5678
    assert c.ask(f"z0,{at['real']:x},1") == "OK"
    assert c.go("vCont;s:1") == "T05thread:01;"
    assert c.reg("rip") == at["real"] + 5
    assert c.ask(f"Z1,{at['long']:x},1") == "OK"
    assert c.go("vCont;c") == "T05hwbreak:;thread:01;"
    assert c.reg("cr0") & 0x80000001 == 0x80000001 and c.reg("efer") == 0x500
    assert c.reg("cs") == 0x18 and c.reg("rbx") == 0x12345678
    end = at["long"] + 10
    assert c.go(f"vCont;r{at['long']:x},{end:x}:1") == "T05thread:01;"
    assert c.reg("rip") == end and c.reg("rbx") == 0x1122334455667788 and c.reg("ebx") == 0x55667788
    assert c.set_reg("ebx", 5, 4) == "OK" and c.reg("rbx") == 5
    assert c.set_reg("rbx", 0x8877665544332211, 8) == "OK"
    c.go("s")
    assert c.reg("xmm9") == 0x8877665544332211
    c.go("s")
    c.go("s")
    assert c.reg("st0") == 0x4000c90fdaa22168c235
    # memory: what is there, what is not
    assert c.ask(f"m{at['gdt']:x},10") == "0000000000000000ffff0000009bcf00"
    assert c.ask("m200000,4") == "E14"
    assert c.ask("m1ffffe,4") == c.ask("m1ffffe,2")  # up to the end
    assert c.ask("Qqemu.PhyMemMode:1") == "OK" and c.ask("qqemu.PhyMemMode") == "1"
    assert c.ask("m200000,4") == "00000000"
    assert c.ask("M200000,4:01020304") == "OK" and c.ask("m200000,4") == "01020304"
    assert c.ask(b"X200000,3:}\x03}\x04}]") == "OK" and c.ask("m200000,4") == "23247d04"
    assert c.ask("mffffffffffffffff,4") == "E14"
    # all registers at once, there and back
    g = c.ask("g")
    assert c.ask("G" + g) == "OK" and c.ask("g") == g


def test_watchpoints(debug, modes):
    c = debug(modes.img).client()
    counter = modes.at["counter"]
    value = lambda: int.from_bytes(bytes.fromhex(c.ask(f"m{counter:x},4")), "little")
    assert c.ask(f"Z2,{counter:x},4") == "OK"
    for i in range(1, 4):
        assert c.go() == f"T05watch:{counter:x};thread:01;"
        assert value() == i
    assert c.ask(f"z2,{counter:x},4") == "OK" and c.ask(f"Z3,{counter:x},4") == "OK"
    assert c.go() == f"T05rwatch:{counter:x};thread:01;" and value() == 3
    assert c.ask(f"z3,{counter:x},4") == "OK" and c.ask(f"Z4,{counter:x},1") == "OK"
    assert c.go() == f"T05awatch:{counter:x};thread:01;" and value() == 4
    assert c.ask(f"z4,{counter:x},1") == "OK" and c.ask("Z2,1000,0") == "E22"
    assert c.ask("Z5,1000,1") == "E22"


@pytest.mark.parametrize("engine", ["interp", "jit"])
def test_a_read_watchpoint_sees_read_and_write(debug, tmp_path, engine):
    """inc [500]; lock inc [500]; mov [500], ax: the first two read, too."""
    c = debug(sector(tmp_path, bytes.fromhex("31c08ed8 ff060005 f0ff060005 a30005 ebf2")), "--engine", engine).client()
    assert c.ask("Z3,500,2") == "OK"
    for rip in [0x7c08, 0x7c0d, 0x7c08, 0x7c0d]:
        assert c.go() == "T05rwatch:500;thread:01;"
        assert c.reg("rip") == rip


def test_memory_of_devices(debug, tmp_path):
    """The VGA's text can be read; registers, whose reading may do something, can't."""
    c = debug(sector(tmp_path, bytes.fromhex("b800b88ed8 c70600004107 90 ebfe"))).client()
    c.ask("Z0,7c0b,1")
    c.go()
    assert c.ask("mb8000,4") == "41072007"
    for registers in (0xfee00020, 0xfec00000, 0xfed00000):
        assert c.ask(f"m{registers:x},4") == "E14"


def test_non_stop_is_refused(debug, tmp_path):
    c = debug(sector(tmp_path, b"\xeb\xfe")).client()
    assert "QNonStop" not in c.ask("qSupported")
    assert c.ask("QNonStop:0") == "OK"
    assert c.ask("QNonStop:1").startswith("E.ishi stops as a whole")


def test_detach_and_attach_again(debug, tmp_path):
    """The machine goes on in between; what the first debugger set is gone."""
    p = debug(sector(tmp_path, b"\x40\xeb\xfd"))
    for _ in range(3):
        c = p.client()
        assert c.ask("Z0,7c00,1") == "OK"
        assert c.go() == "T05swbreak:;thread:01;"
        assert c.reg("rip") == 0x7c00
        assert c.ask("D") == "OK"
        time.sleep(0.1)


def test_one_cpu_steps(debug, tmp_path):
    """By vCont: one steps and the others stand still, or run."""
    c = debug(sector(tmp_path, b"\x40\x40\x40\xeb\xfb"), "--cpus", 2).client()
    ax = lambda: c.reg("rax") & 0xffff
    start = ax()
    for i in range(1, 4):
        assert c.go("vCont;s:1") == "T05thread:01;" and ax() == start + i
    assert c.go("vCont;s:1;c:2") == "T05thread:01;" and c.reg("rip") == 0x7c00
    assert c.go("vCont;r7c00,7c03:1;c") == "T05thread:01;" and c.reg("rip") == 0x7c03  # a range


def test_interrupt_detach_attach_kill(debug, modes):
    p = debug(modes.img, stopped=False)
    c = p.client()
    assert c.ask("Z1,7c00,1") == "OK"
    assert c.halted(modes.at["idle"]) == "T02thread:01;"
    assert "CPU 0" in c.monitor("info registers")
    assert c.ask("qThreadExtraInfo,1") == "CPU#0 [halted]".encode().hex()
    c.put("c")
    assert c.ask("?") == "T02thread:01;"  # a packet stops it, too
    assert c.get().startswith("T02")
    assert c.ask("D") == "OK"
    with pytest.raises(EOFError):
        c.get()
    c = p.client(ack=True)
    assert c.reg("rip") > modes.at["idle"]
    c.raw(b"$m7c00,1#00")  # a wrong sum
    answer = b""
    while b"-" not in answer:
        answer += c.s.recv(10)
    assert answer.strip(b"+") == b"-"
    c.s.close()  # without a word
    c = p.client()
    c.put("k")
    assert p.wait(timeout=PATIENCE) == 0


def test_ends(debug, tmp_path):
    p = debug(sector(tmp_path, b"\xba\x01\x05\xb0\x03\xee"))  # isa-debug-exit
    assert p.client().go() == "W07"
    assert p.wait(timeout=PATIENCE) == 7
    p = debug(sector(tmp_path, b"\xb0\xfe\xe6\x64\xf4"), "--no-reboot")
    assert p.client().go() == "W08"
    assert p.wait(timeout=PATIENCE) == 8
    p = debug(sector(tmp_path, b"\xf4"))
    assert p.client().ask("vKill;1") == "OK"
    assert p.wait(timeout=PATIENCE) == 0


def test_ends_by_a_triple_fault(debug, tmp_path):
    if debug.engine == "kvm" and not re.search(r"^flags.*\b(vmx|svm)\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M):
        pytest.skip("where the host's kernel emulates, it does not look at the IDT's limit in real mode")
    p = debug(sector(tmp_path, b"\xfa\x0f\x01\x1e\x10\x7c\xcc" + bytes(20)))  # lidt [7c10]; int3
    c = p.client()
    assert c.go() == "T0bthread:01;"
    assert "IDT's limit" in c.printed
    assert c.reg("rip") == 0x7c06
    assert c.go() == "W04"
    assert p.wait(timeout=PATIENCE) == 4


def test_kvm_runs_to_breakpoints(debug, tmp_path):
    """The kernel stops at a debugger's breakpoints by itself: no instruction is left to our own CPU but the one that is
    passed at each."""
    if debug.engine != "kvm":
        pytest.skip("of KVM")
    # xor ax, ax; inc ax; mov cx, 2000; dec cx; jnz -3; jmp 7c02
    c = debug(sector(tmp_path, b"\x31\xc0\x40\xb9\xd0\x07\x49\x75\xfd\xeb\xf7")).client()
    assert c.ask("Z1,7c02,1") == "OK"
    for n in range(4):
        assert c.go() == "T05hwbreak:;thread:01;"
        assert c.reg("rip") == 0x7c02 and c.reg("rax") & 0xffff == n
    text = c.monitor("info kvm")
    assert re.search(r"^  debug +4$", text, re.M), text
    assert re.search(r"own CPU ran: [3-9];", text), text


def test_reset_keeps_breakpoints(debug, tmp_path):
    c = debug(sector(tmp_path, b"\x90\xb0\xfe\xe6\x64\xf4")).client()
    assert c.ask("Z0,7c01,1") == "OK"
    for _ in range(3):
        assert c.go() == "T05swbreak:;thread:01;"
        assert c.reg("rip") == 0x7c01


def test_threads(debug, tmp_path):
    c = debug(sector(tmp_path, b"\x90\x90\xeb\xfd"), "--cpus", 3).client()
    assert c.ask("qfThreadInfo") == "m01,02,03" and c.ask("qsThreadInfo") == "l"
    assert c.ask("T3") == "OK" and c.ask("T4") == "E22"
    assert c.ask("Hg3") == "OK" and c.reg("rip") == 0xfff0
    assert c.ask("Hg1") == "OK" and c.reg("rip") == 0x7c00
    assert c.ask("Hg4") == "E22"
    assert c.go("vCont;s:1;c") == "T05thread:01;" and c.reg("rip") == 0x7c01
    c.put("vCont;s:2")  # it waits for its start-up, so nothing happens
    time.sleep(0.2)
    assert c.interrupt().startswith("T02")
    assert c.ask("Hg1") == "OK" and c.reg("rip") == 0x7c01
    assert c.ask("vCont;s:9") == "E22"


def test_memory_of_a_cpu_that_waits_for_its_start(debug, modes):
    c = debug(modes.img, "--cpus", 2).client()
    assert c.ask(f"Z1,{modes.at['idle']:x},1") == "OK"
    assert c.go() == "T05hwbreak:;thread:01;"
    assert c.ask("M12008,8:8300000000000000") == "OK"  # 200000 is 0
    assert c.ask("m207c00,2") == "fa31"
    assert c.ask("Hg2") == "OK" and c.ask("m207c00,2") == "fa31"
    assert c.ask("M207c00,1:90") == "OK" and c.ask("Hg1") == "OK" and c.ask("m7c00,2") == "9031"


def test_refusals(debug, tmp_path):
    c = debug(sector(tmp_path, b"\xeb\xfe")).client()
    assert c.ask("vMustReplyEmpty") == ""
    assert c.ask("qNobodyKnows") == ""
    assert c.ask("vRun;2f62696e") == "E22"
    assert c.ask("vCont?") == "vCont;c;C;s;S;r"
    assert c.ask("qAttached") == "1"
    for bad in ["vCont", "vCont;", "vCont;q", "P", "Pffff=00", "G0", "m", "mzz,1", "M0,1", "M0,2:00", "X0,9:1", "Z0", "Hx1", "qRcmd,1g",
                "qXfer:features:read:target.xml:"]:
        assert c.ask(bad).startswith("E"), bad
    assert c.ask("pffff") == "E45"
    assert c.ask("m" + "f" * 60 + ",1") == "E14"
    c.put("m" * 30000)
    assert c.get() == "E22"
    assert c.ask("m7c00,2") == "ebfe"
    assert c.ask("m7c00,ffffffff").startswith("ebfe")


def test_bases_of_real_mode(debug, tmp_path):
    """A breakpoint is a linear address; gdb, which knows rip only, gets a plain stop then."""
    c = debug(sector(tmp_path, b"\xea\x05\x00\xc0\x07" + b"\x90\xeb\xfd")).client()
    assert c.ask("Z0,7c05,1") == "OK"
    for _ in range(2):
        assert c.go() == "T05thread:01;"
        assert (c.reg("cs"), c.reg("rip")) == (0x7c0, 5)


@pytest.mark.parametrize("model", ["v3", "686"])
def test_description(debug, modes, model):
    c = debug(modes.img, "--cpu", model).client()
    c.number("eax")
    import xml.etree.ElementTree as tree
    regs = [(int(r.get("regnum")), int(r.get("bitsize"))) for r in tree.fromstring(c.xml.partition("<!DOCTYPE target SYSTEM \"gdb-target.dtd\">")[2]).iter("reg")]
    assert sorted(n for n, _ in regs) == list(range(len(regs)))
    assert len(c.ask("g")) == sum(bits for _, bits in regs) // 4
    assert ("rax" in c.regs) == (model == "v3")


def test_steps_and_interrupts(debug, tmp_path):
    """Without interrupts at first, as with QEMU; the handler of the timer at 8000."""
    code = bytes.fromhex("31c08ed8 c70620000080 c70622000000 c606 0080 cf"  # vector 8 leads to an IRET
                         "b036e643 b000e640 b001e640 b011e620 b008e621 b004e621 b001e621 b0fee621 fb ebfe")
    c = debug(sector(tmp_path, code)).client()
    assert c.ask("qqemu.sstepbits") == "ENABLE=1,NOIRQ=2,NOTIMER=4"
    assert c.ask("qqemu.sstep") == "0x7"
    loop = 0x7c00 + len(code) - 2
    c.ask(f"Z0,{loop:x},1")
    c.go()
    c.ask(f"z0,{loop:x},1")
    for _ in range(300):
        c.go("s")
        assert c.reg("rip") == loop
    assert c.ask("Qqemu.sstep=1") == "OK"
    seen = set()
    for _ in range(3000):
        c.go("s")
        seen.add(c.reg("rip"))
        if 0x8000 in seen:
            break
    assert 0x8000 in seen and seen <= {loop, 0x8000}  # at once, on a slow host


def run_virtual(modes, *more, client=None, path=None):
    p = subprocess.Popen([str(ISHI), str(modes.img), "--firmware", "none", "--mem", "16M", "--clock", "virtual", "--stop-after", "100000",
                          *map(str, more)], stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if client:
        client(Client(path))
    return p.communicate(timeout=PATIENCE)[1]


def test_looking_changes_nothing(modes, tmp_path):
    """On the virtual clock a run with a debugger ends in the state of a run without."""
    def look(c):
        for name in ["prot", "count"]:
            c.ask(f"Z0,{modes.at[name]:x},1")
        for _ in range(3):
            c.go()
            c.ask("g")
            c.ask("m7c00,200")
            c.monitor("info pagetable")
            for _ in range(5):
                c.go("s")
        c.ask("D")

    code = tmp_path / "loop"  # that never halts, so that the count is reached
    code.write_bytes(modes.img.read_bytes().replace(b"\xf4\xeb\xfd", b"\x90\xeb\xfd"))
    loop = type("Modes", (), {"img": code, "at": modes.at})
    plain = run_virtual(loop)
    assert "100000 instructions" in plain
    path = tmp_path / "gdb"
    assert run_virtual(loop, "-S", "--gdb", f"unix:{path}", client=look, path=path) == plain


def test_monitor(ishi, modes):
    """The same by the monitor."""
    m = ishi(modes.img, "--firmware", "none", "-S")
    at = modes.at
    m.send("\x01c")
    m.expect(r"\(ishi\) ")
    for line, want in [(f"break {at['prot']:#x}", ""), ("cont", f"breakpoint at {at['prot']:x}\r?\n0008:.*mov eax, 0x10"),
                       ("step 2", "mov es, ax"), ("x/2i $rip", "mov es, ax[^$]*mov ss, ax"), ("delete", ""),
                       (f"watch {at['counter']:#x}", ""), ("break", f"watch {at['counter']:#x} 4 w"), ("cont", "access to"),
                       (f"x/1xw {at['counter']:#x}", "0x00000001"), ("delete 0x1", "nothing stops at 0x1"), ("x/q 0", "x/NFU"),
                       ("delete", ""), (f"break {at['idle']:#x}", ""), ("cont", "breakpoint at"), ("delete", ""), ("cont", ""),
                       ("stop", "jmp|hlt")]:
        m.line(line)
        m.expect(re.escape(line))
        m.expect(want)
    m.line("quit")
    assert m.status() == 0


# gdb itself.

def gdb(*commands):
    need("gdb")
    args = ["gdb", "-q", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off",
            "-ex", f"set remotetimeout {PATIENCE}"]
    for c in commands:
        args += ["-ex", c]
    done = subprocess.run(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=PATIENCE,
                          preexec_fn=lambda: __import__("resource").setrlimit(4, (0, 0)))
    return done.stdout


@pytest.mark.parametrize("program", [True, False], ids=["program", "bare"])
def test_gdb_through_the_modes(debug, modes, program):
    p = debug(modes.img)
    wait_for(p.path)
    begin = [f"file {modes.elf}"] if program else []
    a = {k: f"*{v:#x}" for k, v in modes.at.items()}
    out = gdb(*begin, f"target remote {p.path}", f"break {a['real']}", f"break {a['prot']}", f"break {a['long']}", "continue", "p/x $rbx",
              "stepi", "continue", "p/x $cr0 & 1", "stepi", "continue", "p/x $efer", "set architecture i386:x86-64", "stepi",
              "p/x $rbx", "info registers rip", f"watch *(int*){modes.at['counter']:#x}", "continue", "continue",
              "monitor info registers", "info all-registers", "detach")
    for want in ["$1 = 0x5678", "$2 = 0x1", "$3 = 0x500", "$4 = 0x1122334455667788", "New value = 1", "New value = 2",
                 "64-bit mode", "detached"]:
        assert want in out, out
    assert "too long" not in out and "rror" not in out, out


@pytest.mark.parametrize("model", ["v3", "686"])
def test_gdb_with_a_32_bit_program(debug, modes, tmp_path, model):
    elf = tmp_path / "modes32.elf"
    subprocess.run(["objcopy", "-O", "elf32-i386", modes.elf, elf], check=True)
    p = debug(modes.img, "--cpu", model)
    wait_for(p.path)
    out = gdb(f"file {elf}", f"target remote {p.path}", "break prot", "continue", "p/x $cs", "x/i $pc", "p/x $eax", "stepi",
              "p/x $eip - (int)&prot", "set $ecx = 77", "p $ecx", "detach")
    for want in ["$1 = 0x8", "mov    $0x10,%eax", "$3 = 0x5", "$4 = 77"]:
        assert want in out, out
    assert "too long" not in out and "rejected" not in out, out


def test_gdb_in_long_mode_without_a_program(debug, modes):
    p = debug(modes.img, stopped=False)
    c = p.client()
    c.halted(modes.at["idle"])
    c.ask("D")
    c.s.close()
    out = gdb(f"target remote {p.path}", "x/i $pc", "p/x $rbx", "info threads", "p $mxcsr", "p $ymm9", "detach")
    for want in ["jmp ", "$1 = 0x1122334455667788", "CPU#0 [halted]", "IM DM"]:
        assert want in out, out


def test_gdb_with_a_32_bit_program_in_long_mode(debug, modes, tmp_path):
    """The registers that gdb's program has not are no reason to end the session."""
    elf = tmp_path / "modes32.elf"
    subprocess.run(["objcopy", "-O", "elf32-i386", modes.elf, elf], check=True)
    p = debug(modes.img, stopped=False)
    c = p.client()
    c.halted(modes.at["idle"])
    c.ask("D")
    c.s.close()
    out = gdb(f"file {elf}", f"target remote {p.path}", "p/x $rbx", "detach")
    assert "$1 = 0x1122334455667788" in out and "too long" not in out, out
