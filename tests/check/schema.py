#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/schema says what labels/ reads: the same fields, good documents validate, bad ones do not."""

import json
import re
from pathlib import Path

import jsonschema
import yaml

from files import ROOT, Report

SCHEMA = "docs/schema/mseg.schema.json"
GOLDEN = "tests/golden/policy"
GOOD = ("docs/policy.md", "tests/golden/ctl/input/order.yaml", "tests/golden/ctl/input/ssh.yaml",
        "tests/golden/ctl/input/all-fields.yaml",
        "tests/fuzz/corpus/policy_yaml/four-kinds.yaml",
        "tests/fuzz/corpus/policy_yaml/expressions.yaml")

# What the parser calls a map -> where the schema describes it.
MAPS = {
    "a document": [],
    "`metadata`": ["properties", "metadata"],
    "`spec` of a Workload": ["$defs", "workload"],
    "`spec` of a Policy": ["$defs", "policy"],
    "`spec` of a Service": ["$defs", "service"],
    "`spec` of an AddressGroup": ["$defs", "addressGroup"],
    "`match`": ["$defs", "match"],
    "a rule": ["$defs", "rule"],
    "`process`": ["$defs", "process"],
    "an item of `matchExpressions`": ["$defs", "expression"],
    "what": ["$defs", "selector"],  # ParseSelector, by whoever calls it
}
READER = re.compile(r'FieldReader fields\(source, \w+, (?:"([^"]+)"|(\w+))\);')
FIELD = re.compile(r'fields\.Take(?:Required)?\("(\w+)"\)')

# Documents that parse: what is wrong is between them.
BETWEEN = {"address-conflicts", "between-documents", "workload-conflicts"}
# What the parser refuses and a schema cannot say or an editor's YAML reads otherwise.
BEYOND = {
    "deep": "not a document at all", "anchors": "resolved by the reader", "tags": "likewise",
    "twice": "likewise", "keys": "likewise", "nul": "no reader takes it",
    "not-utf8": "no reader takes it", "syntax": "no reader takes it", "tabs": "likewise",
    "two-in-one": "how documents are cut",
}


def fields_of_parser():
    """What: fields, from the calls of labels/'s FieldReader."""
    found = {}
    for path in sorted(ROOT.glob("labels/*_parser.cc")):
        what = None
        for line in path.read_text(encoding="utf-8").splitlines():
            reader = READER.search(line)
            if reader:
                what = reader.group(1) or reader.group(2)
                found.setdefault(what, set())
            for field in FIELD.findall(line):
                found.setdefault(what, set()).add(field)
    return found


def check_fields(report, schema):
    found = fields_of_parser()
    for what in sorted(set(found) ^ set(MAPS)):
        report.error(SCHEMA, 1, f"{what}: known to the parser or to this check, not to both")
    for what, path in MAPS.items():
        place = schema
        for step in path:
            place = place[step]
        for field in sorted(found.get(what, set()) ^ set(place["properties"])):
            report.error(SCHEMA, 1, f"`{field}` of {what}: not in both, schema and parser")


def documents_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n---\n".join(re.findall(r"```yaml\n(apiVersion.*?)```", text, re.S))
    return [d for d in yaml.safe_load_all(text) if d is not None]


def check_documents(report, validator):
    for name in GOOD:
        documents = documents_of(ROOT / name)
        if not documents:
            report.error(name, 1, "no documents")
        for document in documents:
            for error in validator.iter_errors(document):
                report.error(name, 1, f"does not validate: {error.message}")
    for path in sorted(Path(ROOT / GOLDEN).glob("*.yaml")):
        name = path.relative_to(ROOT).as_posix()
        if path.stem in BEYOND:
            continue
        valid = [validator.is_valid(document) for document in documents_of(path)]
        if path.stem in BETWEEN and not all(valid):
            report.error(name, 1, "parses, but does not validate")
        if path.stem not in BETWEEN and all(valid):
            report.error(name, 1, "validates, though it does not parse")


def main():
    report = Report()
    schema = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    check_fields(report, schema)
    check_documents(report, jsonschema.Draft202012Validator(schema))
    report.exit()


main()
