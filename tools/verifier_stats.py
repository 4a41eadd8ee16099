#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each program costs the verifier on the running kernel, against a recorded baseline.

  tools/verifier_stats.py [OBJECT]            table; exit 1 if a program grew by more than 10 %
  tools/verifier_stats.py --update [OBJECT]   write the numbers of this kernel into the baseline
  tools/verifier_stats.py --json [OBJECT]     numbers only

OBJECT is build/bpf/mseg.bpf.o unless given. Needs root and bpftool. Programs that this kernel
refuses by type (BPF LSM where it is not built in) are named and left out. Stack is the deepest
negative offset from the frame pointer in the object, of one frame.
"""

import argparse
import ctypes
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "tests" / "kernel" / "verifier_baseline.json"
GROWTH = 1.10
EXIT_GREW, EXIT_USAGE, EXIT_MISSING = 1, 2, 4


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fail(message):
    print(f"verifier_stats.py: {message}", file=sys.stderr)
    sys.exit(EXIT_MISSING)


def tool(*names):
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if found:
            return found
    return fail(f"{names[0]} is not installed; run tools/setup")


def stacks(objdump, path, functions):
    """Function -> bytes of stack of its own frame. Other symbols are labels inside of one."""
    out, symbol = {}, None
    for line in run(objdump, "-d", "--no-show-raw-insn", str(path)).stdout.splitlines():
        head = re.match(r"^[0-9a-f]+ <([^>]+)>:", line)
        if head and head.group(1) in functions:
            symbol = head.group(1)
            out.setdefault(symbol, 0)
            continue
        if symbol is None:
            continue
        for offset in re.findall(r"\(r10 - (0x[0-9a-f]+|\d+)\)", line):
            out[symbol] = max(out[symbol], int(offset, 0))
        # Addresses of locals are made by `rN = r10; rN += -off`.
        for offset in re.findall(r"r\d+ \+= -(0x[0-9a-f]+|\d+)", line):
            if int(offset, 0) <= 512:
                out[symbol] = max(out[symbol], int(offset, 0))
    return out


def sections(objdump, path):
    """Program name -> its section, from the symbol table."""
    out = {}
    for line in run(objdump, "-t", str(path)).stdout.splitlines():
        match = re.match(r"^[0-9a-f]+ g\s+F (\S+)\s+[0-9a-f]+ (\S+)$", line)
        if match and match.group(1) != ".text":
            out[match.group(2)] = match.group(1)
    return out


def loaded(bpftool, path):
    """bpftool's descriptions of the object's programs, loaded and pinned for a moment."""
    pins = Path("/sys/fs/bpf") / f"mseg-stats-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        command = [bpftool, "prog", "loadall", str(path), str(pins)]
        result = run(*command)
        if result.returncode != 0:
            return None, result.stderr
        programs = {}
        for pin in sorted(pins.iterdir()):
            shown = run(bpftool, "-j", "prog", "show", "pinned", str(pin))
            info = json.loads(shown.stdout)
            # bpftool does not say verified_insns in every version; /proc does.
            programs[info["name"]] = {"id": info["id"], "xlated": info["bytes_xlated"] // 8,
                                      "jited": info.get("bytes_jited", 0)}
            programs[info["name"]]["verified"] = info.get("verified_insns",
                                                          verified(bpftool, pin))
        return programs, ""
    finally:
        if pins.exists():
            for pin in pins.iterdir():
                pin.unlink()
            pins.rmdir()


def verified(bpftool, pin):
    """verified_insns from the program's fdinfo."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = ctypes.create_string_buffer(str(pin).encode())
    attr = (ctypes.c_uint64 * 16)()
    attr[0] = ctypes.addressof(path)
    fd = libc.syscall(321, 7, ctypes.byref(attr), ctypes.sizeof(attr))  # BPF_OBJ_GET
    if fd < 0:
        return 0
    try:
        text = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    match = re.search(r"verified_insns:\s*(\d+)", text)
    return int(match.group(1)) if match else 0


def without_lsm(build):
    """The families that load everywhere, if the whole object does not."""
    left_out = {f"{name}.bpf.o" for name in ("mseg", "lsm", "hash", "script", "invalidate", "doors",
                                            "passing", "unix", "libraries",
                                            "guard")}
    return sorted(p for p in build.glob("*.bpf.o") if p.name not in left_out)


def measure(path):
    bpftool, objdump = tool("bpftool"), tool("llvm-objdump", "llvm-objdump-14")
    programs, error = loaded(bpftool, path)
    if programs is None:
        programs = {}
        parts = without_lsm(path.parent)
        if not parts:
            fail(f"{path} does not load: {error.strip().splitlines()[-1:]}")
        for part in parts:
            some, why = loaded(bpftool, part)
            if some is None:
                fail(f"{part} does not load:\n{why.strip()[-2000:]}")
            programs.update(some)
    names = sections(objdump, path)
    frames = stacks(objdump, path, names)
    full = {name[:15]: name for name in names}
    out = {}
    for name, numbers in sorted(programs.items()):
        name = full.get(name, name)
        out[name] = {"verified": numbers["verified"], "xlated": numbers["xlated"],
                     "stack": frames.get(name, 0)}
    refused = sorted(set(names) - set(out))
    return out, refused


def prefix():
    return ".".join(os.uname().release.split(".")[:2])


def compare(numbers, recorded):
    """Prints the table; the programs that grew too much."""
    grew = []
    print(f"{'program':24} {'verified':>9} {'before':>9} {'change':>8} {'xlated':>7} {'stack':>6}")
    for name, now in numbers.items():
        before = recorded.get(name, {}).get("verified", 0)
        change = f"{100 * (now['verified'] / before - 1):+.1f} %" if before else "new"
        print(f"{name:24} {now['verified']:9} {before or '-':>9} {change:>8} {now['xlated']:7} "
              f"{now['stack']:6}")
        if before and now["verified"] > GROWTH * before:
            grew.append(f"{name}: {before} -> {now['verified']} verified instructions")
    return grew


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("object", nargs="?", type=Path, default=ROOT / "build/bpf/mseg.bpf.o")
    args = parser.parse_args()
    if not args.object.exists():
        print(f"verifier_stats.py: no {args.object}; build first", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    numbers, refused = measure(args.object)
    baseline = json.loads(args.baseline.read_text()) if args.baseline.exists() else {}
    if args.json:
        print(json.dumps(numbers, indent=2))
        return
    grew = compare(numbers, baseline.get(prefix(), {}))
    if refused:
        print(f"not loaded on {os.uname().release}: {', '.join(refused)}")
    if args.update:
        baseline[prefix()] = numbers
        args.baseline.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
        print(f"recorded for {prefix()} in {args.baseline}")
        return
    if prefix() not in baseline:
        print(f"no baseline for {prefix()}: nothing to compare with (--update records one)")
    for line in grew:
        print(f"grew by more than {round(100 * (GROWTH - 1))} %: {line}")
    sys.exit(EXIT_GREW if grew else 0)


if __name__ == "__main__":
    main()
