#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""push_slot.py PIN COOKIE    in the pinned map of sockets' owners (abi.h), another socket's record takes
the place of this one's, as newer sockets do.
"""

import json
import subprocess
import sys


def bpftool(*args):
    return subprocess.run(["bpftool", "-j", "map", *args], capture_output=True, check=True).stdout


def main():
    pin, cookie = sys.argv[1], int(sys.argv[2])
    shown = json.loads(bpftool("show", "pinned", pin))
    key = (cookie % shown["max_entries"]).to_bytes(4, "little")
    value = (cookie + shown["max_entries"]).to_bytes(8, "little").ljust(shown["bytes_value"], b"\0")
    bpftool("update", "pinned", pin, "key", *map(str, key), "value", *map(str, value))


main()
