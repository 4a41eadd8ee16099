#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copy an ELF program with one byte changed where nothing that runs reads it: its build id.

change_byte.py FROM TO. Without a build-id note a byte is appended instead.
"""
import os
import sys

NOTE = b"\x03\x00\x00\x00GNU\x00"  # type NT_GNU_BUILD_ID, owner

data = bytearray(open(sys.argv[1], "rb").read())
at = data.find(NOTE)
if at < 0:
    data.append(0)
else:
    data[at + len(NOTE)] ^= 0xFF
with open(sys.argv[2], "wb") as out:
    out.write(data)
    os.fchmod(out.fileno(), 0o755)
