#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The performance table of the README is that of the report it names."""

import subprocess
import sys

from files import ROOT, Report


def main():
    report = Report()
    if "<!-- bench-table:" in (ROOT / "README.md").read_text(encoding="utf-8"):
        run = subprocess.run([sys.executable, ROOT / "tools/bench-table", "--check"], check=False,
                             capture_output=True, text=True)
        if run.returncode != 0:
            report.error("README.md", 1, (run.stdout + run.stderr).strip())
    report.exit()


if __name__ == "__main__":
    main()
