#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pinned map seen through a hash, so that a test can compare what must not be printed.

map_value.py PIN            how many entries
map_value.py PIN KEY        SHA-256 of the value at a 32-bit key; `absent` where there is none
map_value.py PIN KEY --zero `zero` or `set`: whether the value is all zero
"""

import hashlib
import json
import struct
import subprocess
import sys


def entries(pin):
    run = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", pin],
                         capture_output=True, check=True)
    return [entry for entry in json.loads(run.stdout) if "key" in entry]


def bytes_of(words):
    return bytes(int(word, 16) for word in words)


def main():
    found = entries(sys.argv[1])
    if len(sys.argv) == 2:
        print(len(found))
        return
    key = struct.pack("=I", int(sys.argv[2]))
    values = [bytes_of(entry["value"]) for entry in found if bytes_of(entry["key"]) == key]
    if not values:
        print("absent")
    elif sys.argv[3:] == ["--zero"]:
        print("set" if any(values[0]) else "zero")
    else:
        print(hashlib.sha256(values[0]).hexdigest())


main()
