"""xv6, the user's own images (ISHI_XV6 names the folder that has xv6.img and fs.img)."""
import pytest

PROMPT = r"\$ $"


def boot(ishi, xv6, *more):
    return ishi("--ide", f"{xv6}/xv6.img,snapshot", "--ide", f"{xv6}/fs.img,snapshot", *more)


@pytest.mark.parametrize("more", [["--cpus", "2"], ["--cpus", "2", "--firmware", "none"], ["--cpus", "4"]],
                         ids=["seabios", "none", "four"])
def test_shell(ishi, xv6, more):
    m = boot(ishi, xv6, *more)
    m.expect(r"cpu0: starting")
    m.expect(PROMPT)
    assert "usertests" in m.run("ls", PROMPT)
    assert "xv6 is a re-implementation" in m.run("cat README", PROMPT)
    assert m.run("cat README | wc", PROMPT).split()[:3] == ["50", "329", "2286"]
    assert "fork test OK" in m.run("forktest", PROMPT)
    assert "read" in m.run("stressfs", PROMPT)
    assert m.quit() == 0


def test_vga_console(ishi, xv6):
    m = boot(ishi, xv6, "--display", "term")
    m.see("init: starting sh")
    m.send("echo typed on the 'keyboard' | wc\r")
    m.see("echo typed on the 'keyboard' | wc")
    m.see("1 4 24")
    assert m.quit() == 0


@pytest.mark.long
def test_usertests(ishi, xv6):
    m = boot(ishi, xv6, "--cpus", "2")
    m.expect(PROMPT)
    m.line("usertests")
    m.expect("linkunlink ok")  # two processes, the same locks
    m.expect("ALL TESTS PASSED")
    assert m.quit() == 0
