# SPDX-License-Identifier: Apache-2.0
"""What the checks share: which files there are, and how a violation is printed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIP = {".git", "build", "__pycache__", ".ccache"}


def sources(*suffixes, under=""):
    """Files of the tree, as git knows them where there is one; build folders left out."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        paths = [ROOT / name for name in sorted(set(listed)) if name]
    except (OSError, subprocess.CalledProcessError):
        paths = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = sorted(f for f in folders
                                if f not in SKIP and not f.startswith("build-"))
            paths += [Path(folder) / name for name in sorted(names)]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if not path.is_file() or not name.startswith(under):
            continue
        if not suffixes or name.endswith(suffixes):
            yield path, name


def lines(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


class Report:
    """Collects violations; exit() prints the count and ends with 1 if there were any."""

    def __init__(self):
        self.violations = 0
        self.warnings = 0

    def error(self, name, line, what):
        self.violations += 1
        print(f"{name}:{line}: {what}")

    def warn(self, name, line, what):
        self.warnings += 1
        print(f"{name}:{line}: warning: {what}")

    def exit(self):
        check = Path(sys.argv[0]).name
        print(f"{check}: {self.violations} violations, {self.warnings} warnings")
        sys.exit(1 if self.violations else 0)
