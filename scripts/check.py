#!/usr/bin/env python3
"""Runs the steps of ./check in order and adds up what they say.

A step is a function that returns a list of Result. What a step can't run here is a result of its own,
"skip", with the reason; it never counts as passed."""
import argparse
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUZZ_SECONDS = 8
SHORT_LINES = 10  # of a failure's reason at the end


@dataclasses.dataclass
class Result:
    name: str
    status: str  # pass, fail, skip
    text: str = ""


def call(args, **more):
    return subprocess.run([str(a) for a in args], cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)


def one(name, args, **more):
    done = call(args, **more)
    if done.returncode == 77:
        return Result(name, "skip", (done.stdout.strip().splitlines() or ["skipped"])[-1])
    return Result(name, "pass" if done.returncode == 0 else "fail", done.stdout[-6000:])


def in_short(result, lines):
    """The reason of a failure in a few lines: as the test tells it (tests/telling.py), else the end of the output."""
    _, told, short = result.text.rpartition("- in short -")
    if told:
        return short.splitlines()[1:lines + 1]
    said = [line for line in result.text.splitlines() if line.strip()]
    errors = [line for line in said if re.search(r"\berror:|^\[ +(ERROR|LINE) +\]|^ERROR:|^SUMMARY:", line)]
    return errors[:lines] or said[-lines:]


def form(_):
    """Layout, direction of includes, headers that stand alone, the docs' freshness."""
    return [one("form: clang-format", ["scripts/check-format"]), one("form: layers", ["scripts/check-layers"]),
            one("form: headers alone", ["scripts/check-headers"])]


def build_in(folder, name, *setup, env=None):
    """Configures and builds. (Sanitizers make gcc warn of what can't be: a warning is a failure elsewhere only.)"""
    whole = dict(os.environ, **(env or {}))
    if not (ROOT / folder / "build.ninja").exists():
        done = call(["meson", "setup", folder, *setup], env=whole)
        if done.returncode:
            return Result(name, "fail", done.stdout[-4000:])
    else:
        call(["meson", "configure", folder, *setup], env=whole)
    return one(name, ["ninja", "-C", folder], env=whole)


def reason_of_skip(text, part):
    """What a cmocka test printed between its start and its skip."""
    said = re.search(rf"^\[ RUN +\] {part}\n(.*?)^\[ +SKIPPED \]", text, re.M | re.S)
    return " ".join(said[1].split()).removeprefix("skipped: ") if said and said[1].strip() else "skipped"


def meson_tests(folder, *suites):
    """Runs meson's tests and reads its log, a JSON object a line. Exit 77 is a skip."""
    args = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "5"]
    for s in suites:
        args += ["--suite", s]
    call(args)
    results = []
    for line in (ROOT / folder / "meson-logs/testlog.json").read_text().splitlines():
        t = json.loads(line)
        status = {"OK": "pass", "SKIP": "skip"}.get(t["result"], "fail")
        text = (t.get("stdout") or "") + (t.get("stderr") or "")
        if status == "skip":
            text = text.strip().splitlines()[-1] if text.strip() else "skipped"
        name = f"{folder}: {t['name'].split(' / ')[-1]}"
        results.append(Result(name, status, text[-4000:]))
        # cmocka's list at its end has them once more
        skipped = re.findall(r"^\[ +SKIPPED \] (\w+)$", text, re.M)
        results += [Result(f"{name}: {part}", "skip", reason_of_skip(text, part)) for part in dict.fromkeys(skipped)]
    return results or [Result(f"{folder}: tests", "fail", "no test was run")]


@functools.lru_cache(maxsize=None)
def build_gcc():
    """The build that most steps use."""
    return build_in("build", "build: gcc", "-Dwerror=true", "-Dtests=true", env={"CC": "gcc"})


def needs_build(step):
    """The step runs what that build made, and says so if there is none."""
    @functools.wraps(step)
    def run(options):
        built = build_gcc()
        return step(options) if built.status == "pass" else [dataclasses.replace(built, name=f"{step.__name__}: {built.name}")]
    return run


def gcc(_):
    built = build_gcc()
    return [built] + (meson_tests("build") if built.status == "pass" else [])


def clang(_):
    return [build_in("build-clang", "build: clang", "-Dwerror=true", env={"CC": "clang"})]


def sanitize(_):
    built = build_in("build-asan", "build: ASan, UBSan", "-Dwerror=false", "-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized",
                     "-Db_lundef=false", env={"CC": "gcc"})
    if built.status != "pass":
        return [built]
    return [built] + meson_tests("build-asan", "unit", "dev")


def fuzz(options):
    """Each target in fuzz/ for a bounded time, from nothing."""
    built = build_in("build-fuzz", "build: fuzz targets", "-Dfuzz=true", "-Dtests=false", env={"CC": "clang"})
    if built.status != "pass":
        return [built]
    seconds = FUZZ_SECONDS * (10 if options.long else 1)
    results = [built]
    for target in sorted((ROOT / "fuzz").glob("fuzz_*.c")):
        exe = ROOT / "build-fuzz/fuzz" / target.stem
        work = ROOT / "build-fuzz/corpus" / target.stem
        work.mkdir(parents=True, exist_ok=True)
        done = call([exe, f"-max_total_time={seconds}", "-timeout=120", "-rss_limit_mb=2048", "-max_len=4096",
                     f"-artifact_prefix={work}/", work])
        ok = done.returncode == 0 and "Done" in done.stdout
        results.append(Result(f"fuzz: {target.stem}", "pass" if ok else "fail", done.stdout[-4000:]))
    return results


@needs_build
def wasm(_):
    return [one("wasm: a guest in Node", ["scripts/check-wasm"])]


def pytest(folder, *more):
    report = ROOT / "build" / f"{folder.replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    interpreter = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    done = call([interpreter, "-m", "pytest", "-q", f"--junitxml={report}", folder, *more],
                env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    if not report.exists():
        return [Result(folder, "fail", done.stdout[-4000:])]
    import xml.etree.ElementTree as tree
    results = []
    for case in tree.parse(report).iter("testcase"):
        name = f"{folder}: {case.get('classname').split('.')[-1]}.{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skip = case.find("skipped")
        if bad is not None:
            results.append(Result(name, "fail", (bad.text or "")[-12000:]))
        elif skip is not None:
            results.append(Result(name, "skip", skip.get("message") or ""))
        else:
            results.append(Result(name, "pass"))
    return results or [Result(folder, "fail", "no test was run")]


@needs_build
def guest(options):
    return pytest("tests/guest")


@needs_build
def scenario(options):
    return pytest("tests/scenario", *([] if options.long else ["-m", "not long"]))


STEPS = [form, gcc, clang, sanitize, fuzz, wasm, guest, scenario]


def main():
    parser = argparse.ArgumentParser(prog="./check", description="Runs ishi's tests.")
    parser.add_argument("--long", action="store_true", help="the long suites too")
    parser.add_argument("step", nargs="*", help="only these: " + ", ".join(s.__name__ for s in STEPS))
    options = parser.parse_args()
    unknown = set(options.step) - {s.__name__ for s in STEPS}
    if unknown:
        parser.error(f"no step {', '.join(sorted(unknown))}")
    results = []
    for step in STEPS:
        if options.step and step.__name__ not in options.step:
            continue
        start = time.time()
        new = step(options)
        results += new
        bad = [r for r in new if r.status == "fail"]
        for r in bad:
            print(f"--- {r.name} failed\n{r.text}\n---")
        counts = ", ".join(f"{sum(r.status == s for r in new)} {s}" for s in ("pass", "fail", "skip"))
        print(f"{step.__name__}: {counts} ({time.time() - start:.0f} s)", flush=True)
    for r in results:
        if r.status == "skip":
            print(f"skipped {r.name}: {r.text}")
    bad = [r for r in results if r.status == "fail"]
    for r in bad:
        print(f"FAILED {r.name}")
        for line in in_short(r, max(2, SHORT_LINES // len(bad))):
            print(f"    {line[:200]}")
    passed, failed, skipped = (sum(r.status == s for r in results) for s in ("pass", "fail", "skip"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


sys.exit(main())
