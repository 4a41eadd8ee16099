#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source file names its licence in its first lines."""

import re

from files import Report, lines, sources

TAG = "SPDX-License-Identifier: Apache-2.0"
SUFFIXES = (".h", ".c", ".cc", ".py", ".sh", ".cmake", ".capnp", ".service", "CMakeLists.txt")
# Data, not work of ours: what a test compares with or feeds in.
DATA = re.compile(r"^tests/(golden|fuzz/corpus|.*/data)/")


def main():
    report = Report()
    for path, name in sources():
        if DATA.match(name):
            continue
        text = lines(path)
        script = bool(text) and text[0].startswith("#!")
        if not (name.endswith(SUFFIXES) or script):
            continue
        if not any(TAG in line for line in text[:3]):
            report.error(name, 1, f"no `{TAG}` in the first three lines")
    report.exit()


if __name__ == "__main__":
    main()
