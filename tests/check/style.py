#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that a formatter does not know. Lengths only warn; the rest are errors."""

import re

from files import Report, lines, sources

HOOK_LINES, FUNCTION_LINES, FILE_LINES, TEST_LINES, WIDTH = 10, 60, 600, 800, 100

# FILE or FILE:FUNCTION -> why it may be longer. A reason is one sentence.
ALLOWED = {
    "bpf/explain.bpf.c:mseg_explain": "copies a context field by field; no logic",
    "tests/unit/daemon_config_golden.inc": "data",
}
# Hooks are counted without declarations and blank lines.
ALLOWED_HOOKS = {
    "bpf/explain.bpf.c": "a test-run program: copies its arguments in and out",
    "bpf/adopt.bpf.c": "iterators: skip what is not meant, then one call",
}

SECTION = re.compile(r'^SEC\("(?!license|\.maps)([^"]+)"\)')
DECLARATION = re.compile(
    r"^\s*(const |volatile |struct |enum |static |__u\d+ |__s\d+ |void |int |bool |u\d+ )+[^()]*"
    r"(=\s*[^;]*)?;\s*$")
LOGGING = re.compile(r"\b(spdlog::|std::c(out|err|log)\b|fprintf\s*\(|f?puts\s*\(|\bprintf\s*\(|"
                     r"syslog\s*\()")
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\([^)]+\): \w)")
COMMENT_OR_TEXT = re.compile(r'"(\\.|[^"\\])*"|//.*$')


def check_lines(report, path, name, text):
    cc = name.endswith((".cc", ".h")) and not name.startswith("bpf/")
    raw = False  # inside a raw string
    for number, line in enumerate(text, 1):
        if TODO.search(line) and not name.startswith("tests/check/"):
            report.error(name, number, "TODO without `(reason): what`")
        if cc:
            if 'R"' in line:
                raw = True
            if "\t" in line and not raw:
                report.error(name, number, "tab")
            if len(line) > WIDTH and not raw:
                report.error(name, number, f"{len(line)} columns, {WIDTH} are allowed")
            if raw and ')"' in line.replace('R"(', ""):
                raw = False
        if line != line.rstrip():
            report.error(name, number, "space at the end of the line")
        if name.endswith(".bpf.c") and re.match(r"\s*#\s*(ifdef|ifndef|if)\b", line):
            report.error(name, number, "no conditional compilation here: probe by CO-RE instead")
        if name.startswith(("labels/", "loader/")) and name.endswith((".cc", ".h")):
            code = COMMENT_OR_TEXT.sub("", line)
            if LOGGING.search(code):
                report.error(name, number, "libraries return errors, they do not print")


def braces(line):
    code = COMMENT_OR_TEXT.sub("", line)
    code = re.sub(r"'(\\.|[^'\\])'", "", code)
    return code.count("{") - code.count("}")


def functions(text):
    """(name, first line, last line) of what looks like a function body that starts a line."""
    head = re.compile(r"^(?!namespace|struct|class|enum|union|extern|#|//|/\*| \*|\}|typedef|using)"
                      r"[A-Za-z_~].*")
    number, depth, start, name, spaces = 0, 0, None, "", 0
    signature = []
    for number, line in enumerate(text, 1):
        if start is None:
            if re.match(r"^(inline )?namespace\b.*\{$", line) or re.match(r'^extern "C" \{', line):
                continue
            if head.match(line) or signature:
                signature = (signature + [line])[-6:]
            joined = " ".join(signature)
            if line.rstrip().endswith((";", "*/", ")")) and "{" not in line:
                if line.rstrip().endswith(";"):
                    signature = []
                continue
            if "{" in line and "(" in joined and signature and "= {" not in joined:
                if braces(line) > 0:
                    words = re.findall(r"([\w:~]+)\s*\(", joined)
                    macro = words and words[0] in ("BPF_PROG", "TEST_CASE", "TEST_CASE_METHOD")
                    name = joined.split("(")[1].split(",")[0] if macro else (words or ["?"])[0]
                    start, depth = number, braces(line)
                signature = []
            elif not line.strip():
                signature = []
            continue
        depth += braces(line)
        if depth <= 0:
            yield name.strip(), start, number
            start, depth = None, 0


def check_lengths(report, name, text):
    limit = TEST_LINES if name.startswith("tests/") else FILE_LINES
    if len(text) > limit and name not in ALLOWED:
        report.warn(name, 1, f"{len(text)} lines, {limit} are usual")
    for function, first, last in functions(text):
        if last - first > FUNCTION_LINES and f"{name}:{function}" not in ALLOWED:
            report.warn(name, first, f"{function}: {last - first - 1} lines, {FUNCTION_LINES} "
                        "are usual")


def check_hooks(report, name, text):
    for number, line in enumerate(text, 1):
        match = SECTION.match(line)
        if not match:
            continue
        body, inside = 0, False
        for rest in text[number:]:
            if rest == "{":
                inside = True
            elif rest == "}":
                break
            elif inside and rest.strip() and not DECLARATION.match(rest):
                if not re.match(r"\s*(/\*|\*)", rest):
                    body += 1
        if body > HOOK_LINES and name not in ALLOWED_HOOKS:
            report.warn(name, number, f"hook {match.group(1)}: {body} statements, {HOOK_LINES} are "
                        "usual; call a helper")


def main():
    report = Report()
    for path, name in sources(".cc", ".h", ".c", ".py", ".sh"):
        if name.startswith(("tests/golden/", "tests/fuzz/corpus/")):
            continue
        text = lines(path)
        check_lines(report, path, name, text)
        if name.endswith((".cc", ".h", ".c")) and name != "bpf/vmlinux.h":
            check_lengths(report, name, text)
        if name.endswith(".bpf.c"):
            check_hooks(report, name, text)
    report.exit()


if __name__ == "__main__":
    main()
