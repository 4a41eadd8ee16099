#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The generated cyclonus cases: both ends and both together, every cell but a pod's talk to itself."""
import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import truth  # noqa: E402

CELLS = 109956
WORDS = {"allowed": "allow", "blocked": "deny"}


def steps():
    with gzip.open(truth.data_file("cyclonus-cases.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            for number, step in enumerate(case["steps"], 1):
                yield {
                    "name": f"case-{case['n']}-step-{number}", "namespaces": step["namespaces"],
                    "pods": [{"ns": pod["NS"], "name": pod["Name"], "ip": pod["IP"],
                              "labels": pod["Labels"], "ports": pod["Ports"]}
                             for pod in step["pods"]],
                    "policies": step["policies"] or [],
                    "cells": [{"from": probe["f"], "to": probe["t"], "protocol": probe["p"],
                               "port": probe["n"], "ingress": WORDS[probe["i"]],
                               "egress": WORDS[probe["e"]], "verdict": WORDS[probe["c"]]}
                              for probe in step["probes"] if probe["f"] != probe["t"]],
                }


truth.main(steps(), CELLS)
