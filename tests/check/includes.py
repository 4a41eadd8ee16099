#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom (docs/architecture.md, "Folders"): reads every #include of the product."""

import re

from files import ROOT, Report, lines, sources

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')

# A header of the system that is no part of the C or C++ library and belongs to a dependency.
DEPENDENCY = {
    "absl": r"absl/",
    "libbpf": r"bpf/",
    "sodium": r"sodium(/|\.h$)",
    "yaml-cpp": r"yaml-cpp/",
    "nlohmann": r"nlohmann/",
    "rocksdb": r"rocksdb/",
    "kj": r"(kj|capnp)/",
    "spdlog": r"(spdlog|fmt)/",
    "cli11": r"CLI/",
    "systemd": r"systemd/",
    "catch2": r"catch2/",
}
DEPENDENCY = {name: re.compile(pattern) for name, pattern in DEPENDENCY.items()}
# What only code that talks to the kernel needs.
KERNEL = re.compile(r"(linux|sys|asm|net|netinet|arpa)/|(unistd|fcntl|sched|signal|poll)\.h$")
# Headers that only hold constants and types.
KERNEL_HARMLESS = {"labels": {"netinet/in.h", "arpa/inet.h", "sys/socket.h", "linux/types.h"}}
GENERATED = re.compile(r"(mseg\.skel\.h|.*\.capnp\.h)$")
PROJECT = re.compile(r"(labels|loader|daemon|ctl|bench|mseg|tests|bpf)/|mseg\.skel\.h$|.*\.capnp\.h$")

# Folder -> project folders and dependencies that it may use. `mseg` is bpf/include/mseg.
RULES = {
    "labels": ({"labels", "mseg"}, {"absl", "yaml-cpp", "nlohmann", "sodium"}),
    "loader": ({"loader", "mseg"}, {"absl", "libbpf", "sodium"}),
    "daemon": ({"daemon", "labels", "loader", "mseg", "capnp"},
               {"absl", "libbpf", "sodium", "yaml-cpp", "nlohmann", "rocksdb", "spdlog", "cli11",
                "systemd"}),
    "ctl": ({"ctl", "labels", "daemon/api", "mseg", "capnp"},
            {"absl", "yaml-cpp", "nlohmann", "sodium", "kj", "cli11", "spdlog"}),
}
# Event loop and schemas stay in the files that need them.
KJ_FILES = re.compile(r"^daemon/(rpc_server[^/]*|store[^/]*|main[^/]*|api/[^/]*)$")
SKELETON_FILES = {"loader/object.cc"}


def project_folder(header):
    if header.startswith("daemon/api/"):
        return "daemon/api"
    if header.endswith(".capnp.h"):
        return "capnp"
    if header == "mseg.skel.h":
        return "skeleton"
    return header.split("/")[0]


def check_user_side(report, name, number, quote, header):
    folder = name.split("/")[0]
    project, dependencies = RULES[folder]
    if quote == '"' and PROJECT.match(header):
        target = project_folder(header)
        if target == "skeleton":
            if name not in SKELETON_FILES:
                report.error(name, number, f"{header}: only {', '.join(SKELETON_FILES)} may see it")
        elif target == "capnp":
            if folder == "daemon" and not KJ_FILES.match(name):
                report.error(name, number, f"{header}: schemas stay in rpc_server, store and api")
            elif "capnp" not in project:
                report.error(name, number, f"{folder}/ may not include {header}")
        elif target not in project and target.split("/")[0] not in project:
            report.error(name, number, f"{folder}/ may not include {header}")
        return
    for dependency, pattern in DEPENDENCY.items():
        if not pattern.match(header):
            continue
        if dependency == "kj" and folder == "daemon":
            if not KJ_FILES.match(name):
                report.error(name, number, f"{header}: KJ stays in rpc_server, store, main and api")
        elif dependency not in dependencies:
            report.error(name, number, f"{folder}/ may not include {header}")
        return
    if quote == '"' and not (ROOT / name).with_name(header).exists():
        report.error(name, number, f"{header} is not named from the root of the tree")
    elif quote == '"':
        report.error(name, number, f"{header}: write the whole path from the root")
    elif (folder in KERNEL_HARMLESS and KERNEL.match(header)
          and header not in KERNEL_HARMLESS[folder]):
        report.error(name, number, f"{folder}/ makes no system calls, so not <{header}>")


def check_shared(report, name, number, quote, header):
    here = (ROOT / name).parent
    if header == "linux/types.h" or (quote == '"' and (here / header).exists()):
        return
    report.error(name, number, f"shared headers use <linux/types.h> and each other, not {header}")


def check_bpf(report, name, number, quote, header):
    if quote == "<" and header.startswith("bpf/"):
        return
    if quote == '"' and any((ROOT / "bpf" / base / header).exists() for base in ("", "include")):
        return
    report.error(name, number, f"bpf/ uses its own headers and <bpf/*.h>, not {header}")


def main():
    report = Report()
    for path, name in sources(".h", ".c", ".cc", ".inc"):
        folder = name.split("/")[0]
        for number, line in enumerate(lines(path), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, header = match.groups()
            if name.startswith("bpf/include/mseg/"):
                check_shared(report, name, number, quote, header)
            elif folder == "bpf":
                check_bpf(report, name, number, quote, header)
            elif folder in RULES:
                check_user_side(report, name, number, quote, header)
    report.exit()


if __name__ == "__main__":
    main()
