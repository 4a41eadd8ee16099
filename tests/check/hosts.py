#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing but the distribution's own package tools fetches anything, so no script and no build file
names a registry, a mirror or another place to download from."""

import re

from files import Report, lines, sources

URL = re.compile(r"\b(?:https?|ftp|git|ssh|rsync)://([^\s/\"'`)>\]:]*)")
REGISTRY = re.compile(
    r"\b(deb\.debian\.org|security\.debian\.org|snapshot\.debian\.org|pypi\.org|pythonhosted\.org|"
    r"npmjs\.(?:org|com)|crates\.io|proxy\.golang\.org|rubygems\.org|docker\.io|quay\.io|ghcr\.io|"
    r"gcr\.io|mirrors?\.[a-z0-9.-]+\.[a-z]+)\b")
# Names kept for documentation (RFC 2606, RFC 6761), this host, and identifiers that are no address.
FINE = re.compile(r"^$|^(localhost|127\.0\.0\.1|\[?::1\]?|0\.0\.0\.0|.*\$.*|\{.*|.*%s.*)$|"
                  r"(^|\.)(example\.(com|org|net)|[a-z-]+\.(example|test|invalid|localhost))$|"
                  r"^(192\.0\.2|198\.51\.100|203\.0\.113|10|192\.168)\.[0-9.]+$|"
                  r"^(www\.apache\.org|json-schema\.org|mseg\.io)$")
CHECKED = (".py", ".sh", ".cmake", "CMakeLists.txt", ".json", ".yml", ".yaml", ".toml", ".service")


def main():
    report = Report()
    for path, name in sources():
        if name.startswith(("docs/", "tests/golden/", "tests/fuzz/corpus/")):
            continue
        if name == "tests/check/hosts.py" or name.endswith(".md"):
            continue
        text = lines(path)
        if not (name.endswith(CHECKED) or text and text[0].startswith("#!")):
            continue
        for number, line in enumerate(text, 1):
            for host in URL.findall(line):
                if not FINE.search(host):
                    report.error(name, number, f"names the host {host}")
            for host in REGISTRY.findall(line):
                report.error(name, number, f"names the registry {host}")
    report.exit()


if __name__ == "__main__":
    main()
